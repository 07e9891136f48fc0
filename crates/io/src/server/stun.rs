//! STUN over UDP. With a second address, a peer can find out how the NAT before it behaves (RFC 5780).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use lllsi_core::Transmit;
use lllsi_core::stun::{self, Origin};

use crate::metrics::{Shell, count};
use crate::socket::{Batch, Endpoint};
use crate::{Error, StunAltError};

/// The socket where the server listens.
const FIRST: usize = 0;
/// The one with the second address.
const SECOND: usize = 1;

/// A server's UDP sockets.
pub(super) struct Stun {
    /// Where the server listens; then, if there is a second address, its socket, and one with the first IP address and the second
    /// port, where that is not the same one.
    doors: Vec<Door>,
    second: Option<SocketAddr>,
}

struct Door {
    socket: Endpoint,
    batch: Batch,
}

impl Door {
    fn new(socket: Endpoint) -> Self {
        Self { socket, batch: Batch::default() }
    }

    fn bind(address: SocketAddr) -> io::Result<Self> {
        Endpoint::bind_to(address).map(Self::new)
    }
}

impl Stun {
    /// Answers at `first`, and at the second address. Port 0 of that one is the port after that of `first`.
    pub(super) fn new(first: Endpoint, second: Option<SocketAddr>) -> Result<Self, Error> {
        let listen = first.local();
        let mut doors = vec![Door::new(first)];
        let Some(address) = second else { return Ok(Self { doors, second }) };
        let failed = |reason| Error::StunAlt { address, reason };
        let second = second_of(listen, address).map_err(failed)?;
        let failed = |reason| Error::StunAlt { address: second, reason };
        let bound = |address| Door::bind(address).map_err(|e| failed(unusable(e)));
        if listen.ip().is_unspecified() {
            // One socket has all of this machine's addresses, whatever the second one is: is that one of them?
            UdpSocket::bind((second.ip(), 0)).map_err(|e| failed(unusable(e)))?;
            doors.push(bound(SocketAddr::new(listen.ip(), second.port()))?);
        } else {
            doors.push(bound(second)?);
            doors.push(bound(SocketAddr::new(listen.ip(), second.port()))?);
        }
        Ok(Self { doors, second: Some(second) })
    }

    /// Where it answers.
    pub(super) fn first(&self) -> SocketAddr {
        self.doors[FIRST].socket.local()
    }

    /// Where it answers as well.
    pub(super) fn second(&self) -> Option<SocketAddr> {
        self.second
    }

    /// Answers without end: from the address that was asked, since a NAT passes nothing else, or from the one that is asked for.
    pub(super) async fn serve(mut self, shell: Arc<Shell>) {
        loop {
            let (at, ready) = self.readable().await;
            let answers = match ready {
                Ok(()) => self.hear(at),
                Err(error) => Err(error),
            };
            let answers = answers.unwrap_or_else(|error| {
                tracing::debug!(%error, "receiving for STUN failed");
                Vec::new()
            });
            for (door, answer) in &answers {
                count(&shell.stun);
                let Door { socket, batch } = &mut self.doors[*door];
                batch.push(socket, answer).await;
            }
            for Door { socket, batch } in &mut self.doors {
                batch.flush(socket).await;
            }
        }
    }

    /// Waits for one of the sockets, of which there are three at most.
    async fn readable(&self) -> (usize, io::Result<()>) {
        tokio::select! {
            ready = self.door_readable(0) => (0, ready),
            ready = self.door_readable(1) => (1, ready),
            ready = self.door_readable(2) => (2, ready),
        }
    }

    async fn door_readable(&self, at: usize) -> io::Result<()> {
        match self.doors.get(at) {
            Some(door) => door.socket.readable().await,
            None => std::future::pending().await,
        }
    }

    /// Takes requests from a socket. Returns the answers, and which socket each is to leave by.
    fn hear(&mut self, at: usize) -> io::Result<Vec<(usize, Transmit)>> {
        let (second, last) = (self.second, self.doors.len() - 1);
        let mut answers = Vec::new();
        self.doors[at].socket.receive(|source, destination, request| {
            // Of all addresses that a wildcard has, one may be the second itself.
            let other = second.filter(|second| at == FIRST && is_other(*second, destination));
            let Some((contents, origin)) = stun::answer_with(source, request, other) else {
                return;
            };
            let (door, from) = match (origin, other) {
                (Origin::Other, Some(other)) => (SECOND, other),
                (Origin::OtherPort, Some(other)) => {
                    (last, SocketAddr::new(destination.ip(), other.port()))
                }
                (_, None) | (Origin::Asked, _) => (at, destination),
            };
            let (source, destination) = (Some(from), source);
            answers.push((door, Transmit { source, destination, contents, segment_size: None }));
        })?;
        Ok(answers)
    }
}

/// Whether a server that was asked at `asked` can answer from there as well.
fn is_other(second: SocketAddr, asked: SocketAddr) -> bool {
    second.is_ipv4() == asked.is_ipv4() && second.ip() != asked.ip()
}

/// The second address of a server that listens there, with its port.
fn second_of(listen: SocketAddr, second: SocketAddr) -> Result<SocketAddr, StunAltError> {
    let ip = second.ip().to_canonical();
    let next = listen.port().checked_add(1);
    let port = if second.port() == 0 { next } else { Some(second.port()) };
    let listens_at_all = listen.ip().is_unspecified();
    // The wildcard of IPv6 is that of IPv4 too.
    let is_of_family = ip.is_ipv4() == listen.is_ipv4() || (listens_at_all && listen.is_ipv6());
    if ip.is_unspecified() || ip.is_multicast() {
        Err(StunAltError::NotOne)
    } else if ip == listen.ip().to_canonical() {
        Err(StunAltError::SameIp)
    } else if !is_of_family {
        Err(StunAltError::OtherFamily)
    } else {
        let port = port.ok_or(StunAltError::NoPort)?;
        if port == listen.port() {
            return Err(StunAltError::SamePort);
        }
        Ok(SocketAddr::new(ip, port))
    }
}

/// Why there is no socket with the second address.
fn unusable(error: io::Error) -> StunAltError {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => StunAltError::NotHere,
        io::ErrorKind::AddrInUse => StunAltError::Taken,
        _ => StunAltError::Socket(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Config, Server};
    use super::StunAltError as Why;
    use super::*;

    /// A binding request with these flags of CHANGE-REQUEST.
    fn request(flags: u8) -> Vec<u8> {
        let head = [0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        [&head[..], &[7; 12], &[0, 3, 0, 4, 0, 0, 0, flags]].concat()
    }

    fn start(listen: &str, second: &str) -> Result<Server, Error> {
        let stun_alt = Some(second.parse().expect("an address"));
        let listen = listen.parse().expect("an address");
        Server::start(Config { listen, stun_alt, ..Config::default() })
    }

    /// From where the answer to a request comes.
    fn answers_from(server: SocketAddr, request: &[u8]) -> Option<SocketAddr> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("it can be set");
        socket.send_to(request, server).expect("it is sent");
        let received = socket.recv_from(&mut [0; 200]);
        received.ok().map(|(_, source)| source)
    }

    #[test]
    #[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is this machine
    fn a_server_answers_from_the_address_that_it_is_asked_for() {
        for listen in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(server) = start(listen, "127.0.0.2:0") else {
                assert_eq!(listen, "[::]:0", "a machine may be without IPv6");
                continue;
            };
            let port = server.http().port();
            let second = server.stun_alt().expect("it has one");
            assert_eq!(second, SocketAddr::from(([127, 0, 0, 2], port + 1)));
            let first = SocketAddr::from(([127, 0, 0, 1], port));
            let other_port = SocketAddr::new(first.ip(), second.port());
            assert_eq!(answers_from(first, &request(0)), Some(first), "{listen}");
            assert_eq!(answers_from(first, &request(2)), Some(other_port), "{listen}");
            assert_eq!(answers_from(first, &request(6)), Some(second), "{listen}");
            assert_eq!(answers_from(first, &request(4)), None, "{listen}");
            for asked in [second, other_port] {
                assert_eq!(answers_from(asked, &request(0)), Some(asked), "{listen}");
                assert_eq!(answers_from(asked, &request(6)), None, "{listen}");
            }
        }
    }

    #[test]
    fn a_server_with_one_address_answers_from_no_other() {
        let listen = ([127, 0, 0, 1], 0).into();
        let server = Server::start(Config { listen, ..Config::default() }).expect("it starts");
        assert_eq!(server.stun_alt(), None);
        let first = server.stun().expect("it has one");
        assert_eq!(answers_from(first, &request(0)), Some(first));
        assert_eq!(answers_from(first, &request(2)), None);
        assert_eq!(answers_from(first, &request(6)), None);
    }

    #[test]
    fn a_second_address_that_cannot_be_one_is_refused() {
        let second = |listen: &str, second: &str| {
            second_of(listen.parse().expect("an address"), second.parse().expect("an address"))
        };
        let told = |listen, of| second(listen, of).map_err(|error| error.to_string());
        assert_eq!(told("192.0.2.1:7", "192.0.2.2:0"), Ok("192.0.2.2:8".parse().unwrap()));
        assert_eq!(told("[::]:7", "192.0.2.2:9"), Ok("192.0.2.2:9".parse().unwrap()));
        assert!(second("[::]:7", "[2001:db8::2]:0").is_ok());
        for (listen, of, why) in [
            ("192.0.2.1:7", "192.0.2.1:7", Why::SameIp),
            ("192.0.2.1:7", "192.0.2.1:8", Why::SameIp),
            ("192.0.2.1:7", "192.0.2.2:7", Why::SamePort),
            ("192.0.2.1:7", "0.0.0.0:8", Why::NotOne),
            ("192.0.2.1:7", "224.0.0.1:8", Why::NotOne),
            ("192.0.2.1:7", "[2001:db8::2]:8", Why::OtherFamily),
            ("0.0.0.0:7", "[2001:db8::2]:8", Why::OtherFamily),
            ("192.0.2.1:65535", "192.0.2.2:0", Why::NoPort),
        ] {
            assert_eq!(told(listen, of), Err(why.to_string()), "{listen}, {of}");
        }
    }

    #[test]
    fn a_second_address_of_another_machine_or_with_a_port_in_use_is_refused() {
        let reason = |second: &str| match start("127.0.0.1:0", second) {
            Err(Error::StunAlt { reason, .. }) => reason,
            other => panic!("{:?}", other.err()),
        };
        assert!(matches!(reason("192.0.2.77:0"), StunAltError::NotHere));
        let taken = UdpSocket::bind("127.0.0.2:0");
        // Elsewhere than on Linux the machine has no such address.
        if let Ok(taken) = taken {
            let taken = taken.local_addr().expect("it is bound").to_string();
            assert!(matches!(reason(&taken), StunAltError::Taken));
        }
    }
}
