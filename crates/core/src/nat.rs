//! What lies between this machine and a server, for UDP of one family: the kind of NAT (RFC 4787), found out with a server that has two
//! addresses (RFC 5780), and how large datagrams may be.
//!
//! As everywhere in this crate, time and datagrams are handed in.
//!
//! ```
//! use lllsi_core::nat::{NatProbe, Outcome, Probe};
//!
//! # let mut now = std::time::Instant::now();
//! let mut probe = NatProbe::new(now, "203.0.113.1:36542".parse().unwrap(), &[7; 32]);
//! // Nothing that is sent has an answer.
//! while probe.outcome().is_none() {
//!     while let Some(transmit) = probe.poll_transmit(now) {
//!         assert_eq!(transmit.destination, "203.0.113.1:36542".parse().unwrap());
//!     }
//!     now = probe.timeout();
//! }
//! assert_eq!(probe.outcome(), Some(Outcome::Silent));
//! ```

mod round;
mod size;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lllsi_rtc::may_be_tried;

use crate::Transmit;
use crate::stun::Origin;
use round::{Answer, Ask, Ids, Round};

pub use size::SizeProbe;

/// The most by which ports differ that are given one after the other: others behind the same NAT take some in between.
const MAX_STEP: i32 = 64;

/// The questions of the first round. The server's other sockets answer two of them, which have not been sent to before.
const ASKED: usize = 0;
const FROM_OTHER_PORT: usize = 1;
const FROM_OTHER: usize = 2;

/// The shape that [`NatProbe`] and [`SizeProbe`] share: whatever drives one drives the other.
///
/// Its owner sends what [`Self::poll_transmit`] returns until that is `None`, and ends where there is an [`Self::outcome`].
/// Otherwise it waits for a datagram, or until [`Self::timeout`], and begins again. Each probe needs a socket of its own.
pub trait Probe {
    /// What is found out.
    type Outcome;

    /// The next datagram to send, for now.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;

    /// Takes a datagram from `source` that came to our address `local`. What is no answer to a question is ignored.
    fn handle_datagram(&mut self, now: Instant, source: SocketAddr, local: SocketAddr, data: &[u8]);

    /// When to call [`Self::poll_transmit`] again at the latest.
    fn timeout(&self) -> Instant;

    /// What was found out; `None` while that lasts.
    fn outcome(&self) -> Option<Self::Outcome>;
}

/// The kind of a NAT, by how it maps addresses and filters (RFC 4787).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NatKind {
    /// There is none: the server sees this machine's own address.
    None,
    /// The same outer port for all peers, open to all peers.
    FullCone,
    /// The same outer port for all peers, open to the IP addresses that were sent to.
    Address,
    /// The same outer port for all peers, open to the addresses and ports that were sent to.
    Port,
    /// Another outer port for each peer.
    Symmetric,
    /// Another outer port for each peer, and each close to the one before.
    SymmetricSequential,
    /// There is one. More cannot be told, since the server has no second address, or that one does not answer.
    Unknown,
}

impl NatKind {
    /// All that can be told.
    const KNOWN: [Self; 6] = [
        Self::None,
        Self::FullCone,
        Self::Address,
        Self::Port,
        Self::Symmetric,
        Self::SymmetricSequential,
    ];

    /// The kind that [`Self::name`] calls so.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::KNOWN.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether each peer sees another port, so that none can be told where to send.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Symmetric | Self::SymmetricSequential)
    }

    /// Where a peer is, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Self::None => "without a NAT",
            Self::FullCone => "behind a NAT that lets everybody in",
            Self::Address | Self::Port => "behind a NAT that lets in only peers that were sent to",
            Self::Symmetric | Self::SymmetricSequential => {
                "behind a NAT that gives each peer another port"
            }
            Self::Unknown => "behind a NAT",
        }
    }

    /// The name for programs.
    ///
    /// ```
    /// assert_eq!(lllsi_core::nat::NatKind::SymmetricSequential.name(), "symmetric-seq");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::FullCone => "fullcone",
            Self::Address => "address",
            Self::Port => "port",
            Self::Symmetric => "symmetric",
            Self::SymmetricSequential => "symmetric-seq",
            Self::Unknown => "unknown",
        }
    }
}

/// Which UDP datagrams come in without being asked for: through a NAT, or where there is none through a firewall (RFC 4787, 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filtering {
    /// Everything.
    Open,
    /// What comes from an IP address that was sent to.
    Address,
    /// What comes from an address and port that was sent to.
    Port,
}

impl Filtering {
    /// The name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Address => "address",
            Self::Port => "port",
        }
    }
}

/// How a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat {
    /// What is between.
    pub kind: NatKind,
    /// The address at which the server sees this machine.
    pub mapped: SocketAddr,
    /// The address of this machine behind that.
    pub local: SocketAddr,
    /// What comes in; `None` where the server has no second address to find out with.
    pub filtering: Option<Filtering>,
    /// The second address that the server has told.
    pub second: Option<SocketAddr>,
    /// When the server's first answer came, from the first request on.
    pub answered_after: Duration,
}

/// What a [`NatProbe`] has found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No answer came: UDP does not reach the server, or its answers do not reach us.
    Silent,
    /// The server has answered.
    Found(Nat),
}

/// Finds out the kind of a NAT, in 2.4 s at most.
///
/// The filter shows only while nothing has been sent to the server's second address: neither over the probe's socket nor, since
/// some NATs do not tell sockets apart there, over another.
#[derive(Debug)]
pub struct NatProbe {
    server: SocketAddr,
    ids: Ids,
    round: Round,
    /// What the first round has shown; `None` while it lasts.
    seen: Option<Nat>,
    outcome: Option<Outcome>,
}

impl NatProbe {
    /// Asks this server. `seed` is random, and makes the questions unpredictable: only who sees one can answer it.
    pub fn new(now: Instant, server: SocketAddr, seed: &[u8; 32]) -> Self {
        let mut ids = Ids::new(seed);
        let origins = [Origin::Asked, Origin::OtherPort, Origin::Other];
        let asks = origins.map(|origin| Ask::new(server, origin, ids.take()));
        let round = Round::new(now, asks.into());
        Self { server, ids, round, seen: None, outcome: None }
    }

    /// Goes on where a round is over.
    fn advance(&mut self, now: Instant) {
        let may_go_on = self.round.is_over(now) || self.has_heard_enough();
        if self.outcome.is_some() || !may_go_on {
            return;
        }
        match self.seen {
            None => self.judge_filtering(now),
            Some(nat) => {
                let kind = self.judge_mapping(&nat);
                self.outcome = Some(Outcome::Found(Nat { kind, ..nat }));
            }
        }
    }

    /// Whether nothing else that may come would change what is found out.
    fn has_heard_enough(&self) -> bool {
        if self.seen.is_some() {
            return self.round.is_answered();
        }
        let asked = self.round.answer(ASKED);
        let is_open = self.round.answer(FROM_OTHER).is_some();
        asked.is_some_and(|answer| is_open || self.second(&answer).is_none())
    }

    /// The server's second address, if it makes sense: a server could name any machine there.
    fn second(&self, answer: &Answer) -> Option<SocketAddr> {
        let server = self.server;
        answer.other.filter(|other| {
            let is_other = other.ip() != server.ip() && other.port() != server.port();
            is_other && other.is_ipv4() == server.is_ipv4() && may_be_tried(*other)
        })
    }

    /// The first round is over: what came from where nothing was sent to?
    fn judge_filtering(&mut self, now: Instant) {
        let [asked, from_other_port, from_other] =
            [ASKED, FROM_OTHER_PORT, FROM_OTHER].map(|number| self.round.answer(number));
        let Some(answer) = asked.or(from_other_port).or(from_other) else {
            self.outcome = Some(Outcome::Silent);
            return;
        };
        let second = self.second(&answer);
        let filtering = second.map(|_| match (from_other, from_other_port) {
            (Some(_), _) => Filtering::Open,
            (None, Some(_)) => Filtering::Address,
            (None, None) => Filtering::Port,
        });
        let Answer { mapped, local, after: answered_after, .. } = answer;
        let kind = if mapped == local { NatKind::None } else { NatKind::Unknown };
        let nat = Nat { kind, mapped, local, filtering, second, answered_after };
        match second {
            Some(second) if kind == NatKind::Unknown => {
                self.seen = Some(nat);
                let other_port = SocketAddr::new(self.server.ip(), second.port());
                let asks = [self.server, second, other_port]
                    .map(|server| Ask::new(server, Origin::Asked, self.ids.take()));
                self.round = Round::new(now, asks.into());
            }
            _ => self.outcome = Some(Outcome::Found(nat)),
        }
    }

    /// The second round is over: does the NAT show each of the server's sockets the same?
    fn judge_mapping(&self, nat: &Nat) -> NatKind {
        let mapped = |number| self.round.answer(number).map(|answer| answer.mapped);
        let first = mapped(0).unwrap_or(nat.mapped);
        match [mapped(1), mapped(2)] {
            // Another IP address and another port see the same: so does every peer.
            [Some(second), _] if second == first => match nat.filtering {
                Some(Filtering::Open) => NatKind::FullCone,
                Some(Filtering::Address) => NatKind::Address,
                Some(Filtering::Port) | None => NatKind::Port,
            },
            [Some(second), Some(third)] if are_successive([first, second, third]) => {
                NatKind::SymmetricSequential
            }
            [Some(_), _] => NatKind::Symmetric,
            [None, Some(third)] if third != first => NatKind::Symmetric,
            [None, _] => NatKind::Unknown,
        }
    }
}

impl Probe for NatProbe {
    type Outcome = Outcome;

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.advance(now);
        if self.outcome.is_some() { None } else { self.round.poll(now) }
    }

    fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        data: &[u8],
    ) {
        if self.outcome.is_none() && self.round.handle(now, source, local, data) {
            self.advance(now);
        }
    }

    fn timeout(&self) -> Instant {
        self.round.timeout()
    }

    fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }
}

/// Whether these have ports with small steps between them, all up or all down.
fn are_successive(seen: [SocketAddr; 3]) -> bool {
    let [a, b, c] = seen.map(|address| i32::from(address.port()));
    let steps = [b - a, c - b];
    let are_small = |sign: i32| steps.iter().all(|step| (1..=MAX_STEP).contains(&(sign * step)));
    seen.iter().all(|address| address.ip() == seen[0].ip()) && (are_small(1) || are_small(-1))
}
