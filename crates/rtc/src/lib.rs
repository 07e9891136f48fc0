//! A sans-IO WebRTC transport: one encrypted path between two peers, for media and messages.
//!
//! It composes ICE (by [`is`]), DTLS (by [`dimpl`]), SCTP (by [`sctp_proto`]), and RTP, RTCP, SRTP, session descriptions
//! and data channels of its own. It knows nothing of rooms, invitations or trust: that the peer has the certificate which
//! its description names is all that it checks.
//!
//! # The loop contract
//!
//! The owner of a [`Transport`]
//!
//! 1. hands in one thing with the present time: a datagram, the time that [`Transport::timeout`] named, or a call,
//! 2. takes all of [`Transport::poll_transmit`] and [`Transport::poll_event`],
//! 3. waits for the next datagram or the next timeout.
//!
//! Nothing here reads a clock or opens a socket. Randomness is an argument, but for what lies inside the cryptography and
//! the numbers of STUN transactions and SCTP associations.
//!
//! Every peer counts as hostile. What arrives is looked at in this order: its first byte (RFC 7983), whether its source
//! has passed a connectivity check, whether its SSRC or stream is known, and whether it is authentic. Nothing is allocated
//! before the last of these but a copy of the datagram.

mod batch;
mod dtls;
mod feedback;
mod flexfec;
mod ice;
mod pacer;
mod parity;
mod receive;
mod send;
mod transport;

#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
pub mod testing;

pub mod channels;
pub mod dcep;
pub mod filter;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod srtp;

use std::net::SocketAddr;

pub use channels::{Channel, Reliability};
pub use dtls::{Certificate, DtlsVersion};
pub use feedback::PacketResult;
pub use ice::{is_stun, may_be_tried};
pub use send::{Extras, Frame};
pub use transport::{Closed, Config, Event, NegotiationError, Packet, Track, Transport};

/// The addresses that datagrams go between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Ours: it names the socket to send from.
    pub local: SocketAddr,
    /// The peer's, as we see it.
    pub remote: SocketAddr,
}

/// Datagrams to send over one route.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where from and where to.
    pub route: Route,
    /// The bytes of one datagram, or of several one after the other.
    pub contents: Vec<u8>,
    /// Bytes of each datagram; the last may be shorter. `None` if there is one.
    pub segment_size: Option<usize>,
}

impl std::fmt::Debug for Transmit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { route, contents, segment_size } = self;
        write!(f, "Transmit({route:?}, {} bytes, by {segment_size:?})", contents.len())
    }
}
