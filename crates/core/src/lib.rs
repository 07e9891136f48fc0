//! LLLSI's sans-IO machines: [`Host`](host::Host), [`Client`](client::Client) and
//! [`Rendezvous`](rendezvous::Rendezvous).
//!
//! # The loop contract
//!
//! All three have one shape. Their owner
//!
//! 1. hands in one [`Input`] with the present time: `handle_input(now, input)`,
//! 2. calls `poll_output()` until it answers [`Output::Timeout`], doing what each answer says,
//! 3. waits for the next datagram, signalling message, frame or action, or for that time, and begins again.
//!
//! Nothing here reads a clock, opens a socket or starts a thread (`clippy.toml` bans it), and nothing calls back. The
//! one thing that cannot be handed in is the randomness inside the cryptography of [`snow`] and [`lllsi_rtc`].
//! `crates/io` is the shell around these machines for real networks, `crates/sim` the one for virtual networks.

pub mod client;
pub mod cpace;
pub mod host;
pub mod nat;
pub mod password;
mod rate;
pub mod rendezvous;
pub mod seal;
pub mod stats;
pub mod streams;
pub mod stun;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;

mod assemble;
mod bucket;
mod clock;
mod gather;
mod link;
mod server;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_proto::h264::FrameInfo;

pub use assemble::{Arrivals, Frame};
pub use link::{Certificate, Ignored, LinkError, Path, Tried};

/// The shape that [`host::Host`] and [`client::Client`] share: whatever drives one drives the other.
pub trait Machine {
    /// What it may be told to do.
    type Action;
    /// What it tells.
    type Event;
    /// Figures about its session.
    type Status;

    /// Whether many send to it what need not be taken in at once: its thread may let some of it gather.
    const SERVES_MANY: bool = false;

    /// Takes one input; drain [`Self::poll_output`] after it.
    fn handle_input(&mut self, now: Instant, input: Input<'_, Self::Action>);

    /// What is to be done next.
    fn poll_output(&mut self) -> Output<Self::Event>;

    /// Figures about the session.
    fn status(&self) -> Self::Status;

    /// Whether the session is over: all outputs drained, nothing more will come.
    fn is_closed(&self) -> bool;
}

/// What a machine is given: one at a time, each followed by a full drain of its outputs. But datagrams may also be handed in
/// while there are outputs left, and a host takes several actions of [streams] before it is drained: small real-time frames
/// go together then.
#[derive(Debug)]
pub enum Input<'a, A> {
    /// The time last answered by [`Output::Timeout`] has come (being early does no harm).
    Timeout,
    /// A UDP datagram arrived.
    Datagram {
        /// Who sent it.
        source: SocketAddr,
        /// The local address it was sent to: a real one, not the wildcard.
        destination: SocketAddr,
        /// Its bytes.
        data: &'a [u8],
    },
    /// Something happened to the connection to the rendezvous server.
    Signal(SignalEvent),
    /// The addresses of this machine may have changed: these are all that there are, each with the port of our socket, the best
    /// first.
    LocalsChanged(Vec<SocketAddr>),
    /// The developer, or the user, wants something.
    Action(A),
}

/// What happens to the connection to the rendezvous server.
#[derive(Debug, Clone)]
pub enum SignalEvent {
    /// The addresses of the server's name are known, with the port of its URL, and it is being connected to.
    Resolved {
        /// The addresses, of both families.
        servers: Vec<SocketAddr>,
    },
    /// It is established.
    Connected {
        /// The addresses of the server's name, the one that it is connected to first. STUN is asked there too, in both
        /// families.
        servers: Vec<SocketAddr>,
    },
    /// A text message came.
    Received(String),
    /// It could not be established, or is gone.
    Disconnected {
        /// In plain words.
        reason: String,
    },
}

/// What a machine wants done.
#[derive(Debug)]
pub enum Output<E> {
    /// Send these datagrams.
    Transmit(Transmit),
    /// Do this with the connection to the rendezvous server.
    Signal(SignalCommand),
    /// Tell the developer.
    Event(E),
    /// Nothing more for now: call again with [`Input::Timeout`] at this time, or with another input before.
    Timeout(Instant),
}

/// Datagrams to send, over one route.
pub struct Transmit {
    /// The local address to send from; `None` leaves it to the system's routing.
    pub source: Option<SocketAddr>,
    /// Where to.
    pub destination: SocketAddr,
    /// The bytes of one datagram, or of several one after the other.
    pub contents: Vec<u8>,
    /// Bytes of each datagram; the last may be shorter. `None` if there is one.
    pub segment_size: Option<usize>,
}

impl Transmit {
    /// Its datagrams, in the order in which they are to be sent.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.contents.chunks(self.segment_size.unwrap_or(self.contents.len()).max(1))
    }

    /// What it takes of a path: its bytes, and the headers of IP and UDP of each datagram.
    pub fn wire_bytes(&self) -> u64 {
        let headers = if self.destination.is_ipv6() { 48 } else { 28 };
        (self.contents.len() + self.datagrams().len() * headers) as u64
    }
}

impl From<lllsi_rtc::Transmit> for Transmit {
    fn from(transmit: lllsi_rtc::Transmit) -> Self {
        let lllsi_rtc::Transmit { route, contents, segment_size } = transmit;
        Self { source: Some(route.local), destination: route.remote, contents, segment_size }
    }
}

impl std::fmt::Debug for Transmit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Transmit({:?} -> {}, {} bytes)",
            self.source,
            self.destination,
            self.contents.len()
        )
    }
}

/// What to do with the connection to the rendezvous server.
#[derive(Clone, PartialEq, Eq)]
pub enum SignalCommand {
    /// Establish it; answered by [`SignalEvent::Connected`] or [`SignalEvent::Disconnected`].
    Connect,
    /// Send a text message.
    Send(String),
    /// See whether it still stands, within some seconds; [`SignalEvent::Disconnected`] follows if it does not.
    Probe,
    /// Close it once everything is sent. No [`SignalEvent`] follows.
    Close,
}

impl std::fmt::Debug for SignalCommand {
    /// Without the text: a host's first message holds its room's token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect => f.write_str("Connect"),
            Self::Send(text) => write!(f, "Send({} bytes)", text.len()),
            Self::Probe => f.write_str("Probe"),
            Self::Close => f.write_str("Close"),
        }
    }
}

/// A coded picture on its way from the encoder to the viewers.
#[derive(Debug, Clone)]
pub struct CodedFrame {
    /// Which encoding of the pictures it belongs to.
    pub layer: host::LayerId,
    /// H.264 in Annex B form.
    pub data: Arc<Vec<u8>>,
    /// Whether it can be decoded without an earlier one.
    pub keyframe: bool,
    /// When the picture was grabbed.
    pub captured_at: Instant,
    /// When the encoder was done.
    pub encoded_at: Instant,
    /// Number and durations; the machine fills in the send queue and the capture time on its clock.
    pub info: FrameInfo,
}

/// What a machine answers when nothing is due.
const FAR_FUTURE: Duration = Duration::from_secs(24 * 3600);

/// Microseconds from `epoch` to `at`, 0 if it lies before.
fn micros_since(epoch: Instant, at: Instant) -> u64 {
    at.saturating_duration_since(epoch).as_micros() as u64
}

/// What one machine or household has of addresses: an IPv4 address, or the IPv6 /64 of which it has all at will.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// Published vectors are written in hexadecimal.
#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
