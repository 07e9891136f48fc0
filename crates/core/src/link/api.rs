//! What a link tells.

use std::net::SocketAddr;
use std::ops::AddAssign;

use bytes::Bytes;
use lllsi_proto::control::Message;
use lllsi_rtc::{Closed, NegotiationError, PacketResult};

use super::{PUNCH_TIMEOUT, SILENCE};
use crate::assemble::Packet;

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

/// Why a link ended, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No pair of addresses let datagrams through.
    #[error("no direct path: no pair of addresses let datagrams through within {} s", PUNCH_TIMEOUT.as_secs())]
    NoPath,
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
    /// Streams may be sent: the other side has verified us.
    Ready,
    Message(Message),
    /// A message on one of the channels of streams.
    Stream(Bytes),
    Rtp(Packet),
    KeyframeWanted,
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
