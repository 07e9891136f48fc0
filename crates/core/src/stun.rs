//! STUN (RFC 8489): the server's answer to "from where do you see me?", and the question on a peer's socket.
//!
//! Connectivity checks between peers are not here: those are part of ICE, in the link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// First retransmission; it doubles until [`MAX_RTO`].
const FIRST_RTO: Duration = Duration::from_millis(200);
const MAX_RTO: Duration = Duration::from_secs(3);
/// A NAT may forget an idle UDP mapping after 30 s (RFC 4787, REQ-5 allows no less than 120, many do).
const REFRESH: Duration = Duration::from_secs(20);
/// An answer as new as this is not asked for again.
const FRESH: Duration = Duration::from_secs(1);

const HEADER_BYTES: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const USERNAME: u16 = 0x0006;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

pub(crate) type TransactionId = [u8; 12];

pub use lllsi_rtc::is_stun;

/// The number that tells which answer belongs to which request.
pub(crate) fn transaction_id(datagram: &[u8]) -> Option<TransactionId> {
    datagram.get(8..)?.first_chunk().copied().filter(|_| is_stun(datagram))
}

/// What a connectivity check, or an answer to one, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A binding request.
    Request,
    /// A binding success response.
    Success,
}

impl Class {
    /// `None` for anything else.
    pub(crate) fn of(datagram: &[u8]) -> Option<Self> {
        match datagram {
            [0, 1, ..] if is_stun(datagram) => Some(Self::Request),
            [1, 1, ..] if is_stun(datagram) => Some(Self::Success),
            _ => None,
        }
    }
}

/// The answer to a binding request that came from `source`; `None` for anything else.
///
/// ```
/// assert_eq!(lllsi_core::stun::answer("192.0.2.1:5".parse().unwrap(), b"not stun"), None);
/// ```
pub fn answer(source: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let (id, mut attributes) = parse(request, BINDING_REQUEST)?;
    // Requests with a user name are connectivity checks that went astray.
    if attributes.any(|(kind, _)| kind == USERNAME) {
        return None;
    }
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    let mut value = vec![0, if source.is_ipv4() { 1 } else { 2 }];
    value.extend_from_slice(&(source.port() ^ 0x2112).to_be_bytes());
    match source.ip() {
        IpAddr::V4(ip) => value.extend(xor(ip.octets(), &id)),
        IpAddr::V6(ip) => value.extend(xor(ip.octets(), &id)),
    }
    let mut response = header(BINDING_SUCCESS, value.len() as u16 + 4, &id);
    response.extend_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
    response.extend_from_slice(&(value.len() as u16).to_be_bytes());
    response.extend(value);
    Some(response)
}

fn header(kind: [u8; 2], length: u16, id: &TransactionId) -> Vec<u8> {
    [&kind[..], &length.to_be_bytes(), &COOKIE, id].concat()
}

/// An address, or what hides it, by magic cookie and transaction id (RFC 8489, 14.2).
fn xor<const N: usize>(mut octets: [u8; N], id: &TransactionId) -> [u8; N] {
    for (octet, mask) in octets.iter_mut().zip(COOKIE.iter().chain(id)) {
        *octet ^= mask;
    }
    octets
}

/// Transaction and attributes of a message of this kind.
fn parse(
    datagram: &[u8],
    kind: [u8; 2],
) -> Option<(TransactionId, impl Iterator<Item = (u16, &[u8])>)> {
    if !is_stun(datagram) || datagram[..2] != kind {
        return None;
    }
    let id = datagram[8..HEADER_BYTES].try_into().ok()?;
    let mut rest = &datagram[HEADER_BYTES..];
    let attributes = std::iter::from_fn(move || {
        let (head, body) = rest.split_first_chunk::<4>()?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = body.get(..len)?;
        // Values are padded to four bytes.
        rest = body.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    });
    Some((id, attributes))
}

fn mapped_address(datagram: &[u8], expected: &TransactionId) -> Option<SocketAddr> {
    let (id, mut attributes) = parse(datagram, BINDING_SUCCESS)?;
    let (_, value) =
        attributes.find(|(kind, _)| *kind == XOR_MAPPED_ADDRESS).filter(|_| id == *expected)?;
    let (head, octets) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2], head[3]]) ^ 0x2112;
    let ip = match head[1] {
        1 => Ipv4Addr::from(xor(<[u8; 4]>::try_from(octets).ok()?, &id)).into(),
        2 => Ipv6Addr::from(xor(<[u8; 16]>::try_from(octets).ok()?, &id)).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The local ufrag that a connectivity check is meant for: how an unknown source finds its link.
pub(crate) fn addressee(datagram: &[u8]) -> Option<String> {
    let (_, mut attributes) = parse(datagram, BINDING_REQUEST)?;
    let (_, name) = attributes.find(|(kind, _)| *kind == USERNAME)?;
    let (ours, _theirs) = std::str::from_utf8(name).ok()?.split_once(':')?;
    Some(ours.to_owned())
}

/// An address at which a server sees us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reflexive {
    pub(crate) mapped: SocketAddr,
    /// The local address behind it.
    pub(crate) base: SocketAddr,
}

/// Asks a STUN server for our reflexive address of one family, and keeps the NAT's mapping alive.
#[derive(Debug)]
pub(crate) struct Question {
    /// The server's addresses, asked in turn until one answers.
    servers: Vec<SocketAddr>,
    turn: usize,
    /// Unpredictable, so that only who sees the request can answer it.
    id: TransactionId,
    next_at: Instant,
    rto: Duration,
    reflexive: Option<Reflexive>,
}

impl Question {
    pub(crate) fn new(now: Instant, servers: Vec<SocketAddr>, id: TransactionId) -> Self {
        Self { servers, turn: 0, id, next_at: now, rto: FIRST_RTO, reflexive: None }
    }

    /// Asks again now: the network may have changed.
    pub(crate) fn refresh(&mut self, now: Instant) {
        (self.next_at, self.rto) = (now, FIRST_RTO);
    }

    /// This machine has these addresses now. What was found of others does not hold any more.
    pub(crate) fn keep(&mut self, locals: &[SocketAddr]) {
        self.reflexive = self.reflexive.filter(|found| locals.contains(&found.base));
    }

    /// Asks again soon, if the last answer is older than [`FRESH`].
    pub(crate) fn freshen(&mut self, now: Instant) {
        if self.next_at > now && self.next_at + FRESH < now + REFRESH {
            self.refresh(now);
        }
    }

    pub(crate) fn timeout(&self) -> Instant {
        self.next_at
    }

    /// A request, if one is due, and where to.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        if now < self.next_at {
            return None;
        }
        let server = *self.servers.get(self.turn)?;
        self.turn = (self.turn + 1) % self.servers.len();
        self.next_at = now + self.rto;
        self.rto = (self.rto * 2).min(MAX_RTO);
        Some((server, header(BINDING_REQUEST, 0, &self.id)))
    }

    /// Takes a datagram from the server. Returns what is new in it.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        datagram: &[u8],
    ) -> Option<Reflexive> {
        let asked = self.servers.iter().position(|server| *server == source)?;
        let mapped = mapped_address(datagram, &self.id)?;
        // What answers is asked again.
        self.turn = asked;
        // The next question gets an id of its own; late answers to this one count no more.
        let counter = u32::from_be_bytes([self.id[8], self.id[9], self.id[10], self.id[11]]);
        self.id[8..].copy_from_slice(&counter.wrapping_add(1).to_be_bytes());
        self.next_at = now + REFRESH;
        self.rto = FIRST_RTO;
        let found = Some(Reflexive { mapped, base: local });
        (self.reflexive != found).then(|| self.reflexive = found)?;
        found
    }

    pub(crate) fn reflexive(&self) -> Option<Reflexive> {
        self.reflexive
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    #[test]
    fn a_peer_learns_its_reflexive_address_once_and_keeps_it_alive() {
        let [dead, server]: [SocketAddr; 2] =
            ["192.0.2.1:3478", "192.0.2.2:3478"].map(|a| a.parse().unwrap());
        let local = "10.0.0.2:5000".parse().unwrap();
        let mapped: SocketAddr = "203.0.113.9:41000".parse().unwrap();
        let start = Instant::now();
        let mut question = Question::new(start, vec![dead, server], [7; 12]);

        let (to, lost) = question.poll(start).unwrap();
        assert!(to == dead && is_stun(&lost) && question.poll(start).is_none());
        let again = start + FIRST_RTO;
        let (to, request) = question.poll(again).unwrap();
        assert_eq!(to, server, "the next one is asked");

        let found = Some(Reflexive { mapped, base: local });
        let response = answer(mapped, &request).unwrap();
        assert_eq!(question.handle(again, mapped, local, &response), None, "not from the server");
        assert_eq!(question.handle(again, server, local, &response), found);
        assert_eq!(question.timeout(), again + REFRESH);

        question.freshen(again + FRESH / 2);
        assert_eq!(question.timeout(), again + REFRESH, "it is new");
        question.freshen(again + 2 * FRESH);
        assert_eq!(question.timeout(), again + 2 * FRESH);
        let (to, request) = question.poll(again + REFRESH).unwrap();
        assert_eq!(to, server, "the one that answers stays");
        let response = answer(mapped, &request).unwrap();
        assert_eq!(question.handle(again + REFRESH, server, local, &response), None, "nothing new");
        assert_eq!(question.reflexive(), found);
    }

    /// RFC 5769, 2.2 and 2.3, without the attributes that are not ours.
    #[test]
    fn published_vectors_pass() {
        let id = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
        let request = header(BINDING_REQUEST, 0, &id);
        for (address, value) in [
            ("192.0.2.1:32853", &b"\x00\x01\xa1\x47\xe1\x12\xa6\x43"[..]),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                b"\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9",
            ),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let response = answer(address, &request).unwrap();
            assert_eq!(&response[HEADER_BYTES + 4..], value);
            assert_eq!(mapped_address(&response, &id), Some(address));
        }
    }

    #[test]
    fn noise_is_not_answered() {
        let source = "192.0.2.1:1".parse().unwrap();
        for noise in [&[][..], &[0; 20], &[0xff; 40], &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]] {
            assert_eq!(answer(source, noise), None);
        }
    }
}
