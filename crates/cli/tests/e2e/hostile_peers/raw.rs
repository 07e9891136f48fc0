//! Below UDP: datagrams with any address on them, and all that a host sends to anybody. Raw sockets take root, as the lane has.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// The protocol of packets that bring their own IP header.
const OWN_HEADER: i32 = 255;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

fn open(protocol: Protocol) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol));
    socket.unwrap_or_else(|error| panic!("no raw socket: {error}; this test needs root"))
}

/// Sends what others seem to have sent.
pub(super) struct Forger(Socket);

impl Forger {
    pub(super) fn new() -> Self {
        Self(open(Protocol::from(OWN_HEADER)))
    }

    /// Sends one datagram. Both addresses are this machine's own, so that no answer leaves it.
    pub(super) fn send(&self, source: SocketAddr, destination: SocketAddr, data: &[u8]) {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) else {
            panic!("not IPv4: {source}, {destination}")
        };
        let udp_len = (UDP_HEADER + data.len()) as u16;
        let len = (IP_HEADER as u16 + udp_len).to_be_bytes();
        let mut packet = vec![0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend(from.octets());
        packet.extend(to.octets());
        // UDP over IPv4 may go without a checksum; the kernel fills in that of the IP header.
        for number in [source.port(), destination.port(), udp_len, 0] {
            packet.extend(number.to_be_bytes());
        }
        packet.extend(data);
        // A full queue drops it, as a network would.
        let _ = self.0.send_to(&packet, &destination.into());
    }
}

/// What a host has sent.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sent {
    /// Video to one viewer: others get the same.
    pub(super) video: usize,
    /// All to everybody else, at whatever address.
    pub(super) others: usize,
}

/// Hears all datagrams of this machine, and counts a host's.
pub(super) struct Tap {
    socket: Socket,
    /// The ports of the host and of the viewer whose video is counted.
    ports: [u16; 2],
    sent: Sent,
    buffer: Vec<u8>,
}

impl Tap {
    pub(super) fn new(host: SocketAddr, viewer: SocketAddr) -> Self {
        let socket = open(Protocol::UDP);
        socket.set_nonblocking(true).expect("it can be set");
        let ports = [host.port(), viewer.port()];
        Self { socket, ports, sent: Sent::default(), buffer: vec![0; 65_536] }
    }

    /// Counts the datagrams that have come. The caller must call it often: the kernel drops what does not fit into the socket's
    /// queue, and those are not counted.
    pub(super) fn hear(&mut self) {
        while let Ok(len) = self.socket.read(&mut self.buffer) {
            let packet = &self.buffer[..len];
            // Several datagrams that the kernel has not cut apart yet have one header.
            let ip_header = usize::from(packet[0] & 15) * 4;
            let Some((header, data)) = packet[ip_header..].split_at_checked(UDP_HEADER) else {
                continue;
            };
            let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            match [port(0), port(2)] == self.ports {
                true if is_video(data) => self.sent.video += data.len(),
                false if port(0) == self.ports[0] => self.sent.others += data.len(),
                _ => {}
            }
        }
    }

    pub(super) fn sent(mut self) -> Sent {
        self.hear();
        self.sent
    }
}

/// RTP, and not RTCP (RFC 5761, section 4).
fn is_video(data: &[u8]) -> bool {
    matches!(data, [128..192, kind, ..] if !(192..224).contains(kind))
}
