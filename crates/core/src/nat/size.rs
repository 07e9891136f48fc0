//! How large datagrams may be that reach a server.

use std::net::SocketAddr;
use std::time::Instant;

use super::Probe;
use super::round::{Ask, Ids, Round};
use crate::Transmit;

/// Sends a server requests of several sizes, and sees which are answered, in 1.2 s at most. Its socket must not let the system take
/// datagrams apart. Answers are small: this is about the way to the server alone.
#[derive(Debug)]
pub struct SizeProbe {
    /// The largest first.
    sizes: Vec<u16>,
    round: Round,
    is_over: bool,
}

impl SizeProbe {
    /// With datagrams of these sizes: multiples of four, from 24 on, without headers of IP and UDP. `seed` is random.
    pub fn new(now: Instant, server: SocketAddr, seed: &[u8; 32], sizes: &[u16]) -> Self {
        let mut sizes = sizes.to_vec();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut ids = Ids::new(seed);
        let asks = sizes.iter().map(|size| Ask::padded(server, *size, ids.take())).collect();
        Self { sizes, round: Round::new(now, asks), is_over: false }
    }

    fn advance(&mut self, now: Instant) {
        // What is smaller comes through as well.
        self.is_over |= self.round.is_over(now) || self.round.answer(0).is_some();
    }
}

impl Probe for SizeProbe {
    /// The largest size that was answered; `None` if none was.
    type Outcome = Option<u16>;

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.advance(now);
        if self.is_over { None } else { self.round.poll(now) }
    }

    fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        data: &[u8],
    ) {
        if self.round.handle(now, source, local, data) {
            self.advance(now);
        }
    }

    fn timeout(&self) -> Instant {
        self.round.timeout()
    }

    fn outcome(&self) -> Option<Option<u16>> {
        let mut numbered = self.sizes.iter().enumerate();
        let largest = numbered.find(|(number, _)| self.round.answer(*number).is_some());
        self.is_over.then(|| largest.map(|(_, size)| *size))
    }
}
