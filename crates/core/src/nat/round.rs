//! Questions that are asked at once, and again until each is answered or the time is over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Transmit;
use crate::seal::derive;
use crate::stun::{Origin, Told, TransactionId, padded_request, request};

/// Between two requests of one question.
const REPEAT: Duration = Duration::from_millis(200);
/// The time for all questions of a round, and so for at most six requests of each.
pub(super) const ROUND: Duration = Duration::from_millis(1200);

/// Numbers for questions.
#[derive(Debug)]
pub(super) struct Ids {
    seed: [u8; 32],
    used: u64,
}

impl Ids {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Self { seed: *seed, used: 0 }
    }

    pub(super) fn take(&mut self) -> TransactionId {
        self.used += 1;
        let id = derive(&self.seed, b"NAT", self.used);
        *id.first_chunk().expect("32 bytes hold 12")
    }
}

/// A request, and the answer to it.
#[derive(Debug)]
pub(super) struct Ask {
    to: SocketAddr,
    /// From where of the server the answer comes.
    origin: Origin,
    id: TransactionId,
    request: Vec<u8>,
    answer: Option<Answer>,
}

/// An answer to a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// How the server sees us.
    pub(super) mapped: SocketAddr,
    /// Where we are.
    pub(super) local: SocketAddr,
    /// The server's second address.
    pub(super) other: Option<SocketAddr>,
    /// Since the round began.
    pub(super) after: Duration,
}

impl Ask {
    pub(super) fn new(to: SocketAddr, origin: Origin, id: TransactionId) -> Self {
        Self { to, origin, id, request: request(&id, origin), answer: None }
    }

    /// With a request of so many bytes.
    pub(super) fn padded(to: SocketAddr, bytes: u16, id: TransactionId) -> Self {
        Self { request: padded_request(&id, bytes), ..Self::new(to, Origin::Asked, id) }
    }

    /// Whether the answer can come from there. A server that answers from elsewhere than it was asked to shows nothing.
    fn may_come_from(&self, source: SocketAddr) -> bool {
        let (same_ip, same_port) = (source.ip() == self.to.ip(), source.port() == self.to.port());
        match self.origin {
            Origin::Asked => same_ip && same_port,
            Origin::OtherPort => same_ip && !same_port,
            Origin::Other => !same_ip && !same_port,
        }
    }
}

/// Some questions, and the time for them.
#[derive(Debug)]
pub(super) struct Round {
    asks: Vec<Ask>,
    began: Instant,
    /// The question that is looked at next in the present turn.
    next: usize,
    /// When all that have no answer are asked again.
    again_at: Instant,
}

impl Round {
    pub(super) fn new(now: Instant, asks: Vec<Ask>) -> Self {
        Self { asks, began: now, next: 0, again_at: now + REPEAT }
    }

    /// The next request that is due.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Transmit> {
        if now >= self.again_at {
            (self.next, self.again_at) = (0, now + REPEAT);
        }
        while let Some(ask) = self.asks.get(self.next) {
            self.next += 1;
            if ask.answer.is_none() {
                // The source is left to the system: routing picks it.
                let (destination, contents) = (ask.to, ask.request.clone());
                return Some(Transmit { source: None, destination, contents, segment_size: None });
            }
        }
        None
    }

    /// Takes a datagram. Returns whether it is the first answer to one of the questions.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let Some(Told { id, mapped, other }) = Told::parse(datagram) else { return false };
        let ask = self.asks.iter_mut().find(|ask| ask.id == id && ask.may_come_from(source));
        let Some(ask) = ask.filter(|ask| ask.answer.is_none()) else { return false };
        let after = now.saturating_duration_since(self.began);
        ask.answer = Some(Answer { mapped, local, other, after });
        true
    }

    pub(super) fn answer(&self, number: usize) -> Option<Answer> {
        self.asks.get(number)?.answer
    }

    /// Whether all questions have an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.asks.iter().all(|ask| ask.answer.is_some())
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.began + ROUND
    }

    pub(super) fn timeout(&self) -> Instant {
        self.again_at.min(self.began + ROUND)
    }
}
