//! What a link tells.

use std::fmt;
use std::net::SocketAddr;
use std::ops::AddAssign;

use bytes::Bytes;
use lllsi_proto::control::Message;
use lllsi_rtc::{Closed, NegotiationError, PacketResult};

use super::{PUNCH_TIMEOUT, SILENCE};
use crate::assemble::Packet;
use crate::nat::NatKind;

/// The addresses a link runs between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Ours.
    pub local: SocketAddr,
    /// Theirs, as we see it.
    pub remote: SocketAddr,
}

/// What a link has ignored since it was made: over a bound, or without sense. More than a few mean that the other side is
/// broken, or that somebody throws things at us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Addresses of the other side: over 20, too long, or such as lead nowhere.
    pub candidates: u64,
    /// Datagrams that were not the other side's, or of no kind that belongs here. Those that are, but do not open, are
    /// dropped below.
    pub datagrams: u64,
    /// Control messages that were cut off, or too long.
    pub messages: u64,
}

impl AddAssign for Ignored {
    fn add_assign(&mut self, more: Self) {
        self.candidates += more.candidates;
        self.datagrams += more.datagrams;
        self.messages += more.messages;
    }
}

/// The addresses between which a path was looked for.
///
/// ```
/// use lllsi_core::Tried;
/// use lllsi_core::nat::NatKind;
/// let at = |text: &str| text.parse().unwrap();
/// let tried = Tried {
///     ours: vec![at("10.0.0.2:5000"), at("203.0.113.9:41000")],
///     theirs: Vec::new(),
///     is_seen: true,
///     nats: [Some(NatKind::Symmetric), None],
/// };
/// let ours = "10.0.0.2, 203.0.113.9 here (behind a NAT that gives each peer another port)";
/// assert_eq!(tried.to_string(), format!("between {ours} and no address there"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tried {
    /// Ours.
    pub ours: Vec<SocketAddr>,
    /// The other side's, as it told them.
    pub theirs: Vec<SocketAddr>,
    /// Whether a server has told us how it sees us: then our datagrams get out at least.
    pub is_seen: bool,
    /// The kinds of NAT before us and before the other side, as far as a server with two addresses has shown them.
    pub nats: [Option<NatKind>; 2],
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |side: &[SocketAddr]| {
            let mut ips: Vec<_> = side.iter().map(|at| at.ip().to_string()).collect();
            ips.dedup();
            let more = ips.len().saturating_sub(MOST_LISTED);
            ips.truncate(MOST_LISTED);
            match (ips.is_empty(), more) {
                (true, _) => "no address".to_owned(),
                (_, 0) => ips.join(", "),
                _ => format!("{} and {more} more", ips.join(", ")),
            }
        };
        let [here, there] = self
            .nats
            .map(|nat| nat.map_or_else(String::new, |nat| format!(" ({})", nat.description())));
        let (ours, theirs) = (list(&self.ours), list(&self.theirs));
        write!(f, "between {ours} here{here} and {theirs} there{there}")
    }
}

/// Addresses of one side that are listed.
const MOST_LISTED: usize = 4;

/// Why a link ended, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No pair of addresses let datagrams through.
    #[error("no direct path: within {limit} s no datagram came through {0}", limit = PUNCH_TIMEOUT.as_secs())]
    NoPath(Tried),
    /// Nothing was heard for some seconds.
    #[error("no sign of life for {} s", SILENCE.as_secs())]
    Silent,
    /// The other side's description of itself made no sense.
    #[error("the other side's session description was refused: {0}")]
    BadDescription(String),
    /// The transport does not belong to the sealed signalling: somebody sits between the peers.
    #[error("the encrypted transport is not the one agreed on: somebody may sit in between")]
    NotBound,
    /// The transport failed.
    #[error("the encrypted transport failed: {0}")]
    Transport(String),
    /// The other side closed the transport without a word.
    #[error("the other side closed the connection")]
    Closed,
}

/// The ways that streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Everything arrives, in order.
    Ordered,
    /// Nothing is sent twice.
    Live,
    /// Real-time frames of at most so many bytes, each whole: what gets lost is made up for.
    Small(usize),
}

/// What a link tells its machine.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// Both ends are confirmed.
    Up(Path),
    PathChanged(Path),
    /// No path has been found for a while.
    Stuck,
    /// Streams may be sent: the other side has verified us.
    Ready,
    Message(Message),
    /// A message on one of the channels of streams.
    Stream(Bytes),
    Rtp(Packet),
    KeyframeWanted,
    /// Packets as large as those before do not come through on the present path: pictures that are under way will not.
    SizeReduced,
    Down(LinkError),
    /// When packets arrived, as the other side says.
    Feedback(Vec<PacketResult>),
}

impl From<Closed> for LinkError {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Certificate => Self::NotBound,
            Closed::Peer => Self::Closed,
            Closed::Consent => Self::Silent,
            closed => Self::Transport(closed.to_string()),
        }
    }
}

impl From<NegotiationError> for LinkError {
    fn from(error: NegotiationError) -> Self {
        Self::BadDescription(error.to_string())
    }
}
