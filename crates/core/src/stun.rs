//! STUN (RFC 8489): the server's answer to "from where do you see me?", and the question on a peer's socket. A server with two
//! addresses also answers from the other one where it is asked to (RFC 5780), so that a NAT shows of what kind it is.
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
const ATTRIBUTE_HEAD_BYTES: usize = 4;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const CHANGE_REQUEST: u16 = 0x0003;
const USERNAME: u16 = 0x0006;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PADDING: u16 = 0x0026;
const OTHER_ADDRESS: u16 = 0x802c;
/// Flags of CHANGE-REQUEST (RFC 5780, 7.2).
const CHANGE_IP: u32 = 4;
const CHANGE_PORT: u32 = 2;

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

/// From which of its addresses a server is to answer (RFC 5780, 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The one that was asked.
    Asked,
    /// The IP address that was asked, and the server's other port.
    OtherPort,
    /// The server's other IP address, and its other port.
    Other,
}

impl Origin {
    /// What a CHANGE-REQUEST asks for. `None` if it makes no sense, or wants the other IP address with the same port: no test
    /// of RFC 5780 needs that, and it would take another socket.
    fn wanted(value: &[u8]) -> Option<Self> {
        let flags = u32::from_be_bytes(value.try_into().ok()?);
        match flags & (CHANGE_IP | CHANGE_PORT) {
            0 => Some(Self::Asked),
            CHANGE_PORT => Some(Self::OtherPort),
            CHANGE_IP => None,
            _ => Some(Self::Other),
        }
    }

    fn flags(self) -> u32 {
        match self {
            Self::Asked => 0,
            Self::OtherPort => CHANGE_PORT,
            Self::Other => CHANGE_IP | CHANGE_PORT,
        }
    }
}

/// The answer to a binding request that came from `source`; `None` for anything else.
///
/// ```
/// assert_eq!(lllsi_core::stun::answer("192.0.2.1:5".parse().unwrap(), b"not stun"), None);
/// ```
pub fn answer(source: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    answer_with(source, request, None).map(|(contents, _)| contents)
}

/// [`answer`] of a server that has a second address besides the one that was asked, and from where it is to leave. It tells that
/// address (OTHER-ADDRESS of RFC 5780), and nothing else that is not needed: an answer is hardly larger than its request. Without
/// a second address, requests for an answer from elsewhere have none.
pub fn answer_with(
    source: SocketAddr,
    request: &[u8],
    other: Option<SocketAddr>,
) -> Option<(Vec<u8>, Origin)> {
    let (id, attributes) = parse(request, BINDING_REQUEST)?;
    let mut origin = Origin::Asked;
    for (kind, value) in attributes {
        match kind {
            // Requests with a user name are connectivity checks that went astray.
            USERNAME => return None,
            CHANGE_REQUEST => origin = Origin::wanted(value)?,
            _ => {}
        }
    }
    if origin != Origin::Asked && other.is_none() {
        return None;
    }
    let mut body = attribute(XOR_MAPPED_ADDRESS, &write_address(source, &mask(&id)));
    if let Some(other) = other {
        body.extend(attribute(OTHER_ADDRESS, &write_address(other, &PLAIN)));
    }
    let mut response = header(BINDING_SUCCESS, body.len() as u16, &id);
    response.extend(body);
    Some((response, origin))
}

/// A request for an answer from there.
pub(crate) fn request(id: &TransactionId, origin: Origin) -> Vec<u8> {
    if origin == Origin::Asked {
        return header(BINDING_REQUEST, 0, id);
    }
    let change = attribute(CHANGE_REQUEST, &origin.flags().to_be_bytes());
    [header(BINDING_REQUEST, change.len() as u16, id), change].concat()
}

/// A request that is made longer, to `bytes`, a multiple of four (PADDING of RFC 5780, 7.6).
pub(crate) fn padded_request(id: &TransactionId, bytes: u16) -> Vec<u8> {
    let rest = usize::from(bytes).saturating_sub(HEADER_BYTES + ATTRIBUTE_HEAD_BYTES);
    let padding = attribute(PADDING, &vec![0; rest]);
    [header(BINDING_REQUEST, padding.len() as u16, id), padding].concat()
}

fn header(kind: [u8; 2], length: u16, id: &TransactionId) -> Vec<u8> {
    [&kind[..], &length.to_be_bytes(), &COOKIE, id].concat()
}

/// An attribute whose value needs no padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// What hides an address: magic cookie and transaction id (RFC 8489, 14.2).
type Mask = [u8; 16];

/// Of attributes that hide nothing.
const PLAIN: Mask = [0; 16];

fn mask(id: &TransactionId) -> Mask {
    let mut mask = PLAIN;
    mask[..4].copy_from_slice(&COOKIE);
    mask[4..].copy_from_slice(id);
    mask
}

fn xor<const N: usize>(mut octets: [u8; N], mask: &Mask) -> [u8; N] {
    for (octet, mask) in octets.iter_mut().zip(mask) {
        *octet ^= mask;
    }
    octets
}

/// The value of an attribute that holds an address.
fn write_address(address: SocketAddr, mask: &Mask) -> Vec<u8> {
    let ip = address.ip().to_canonical();
    let [high, low] = xor(address.port().to_be_bytes(), mask);
    let mut value = vec![0, if ip.is_ipv4() { 1 } else { 2 }, high, low];
    match ip {
        IpAddr::V4(ip) => value.extend(xor(ip.octets(), mask)),
        IpAddr::V6(ip) => value.extend(xor(ip.octets(), mask)),
    }
    value
}

fn read_address(value: &[u8], mask: &Mask) -> Option<SocketAddr> {
    let (&[_, family, high, low], octets) = value.split_first_chunk::<4>()?;
    let ip = match family {
        1 => Ipv4Addr::from(xor(<[u8; 4]>::try_from(octets).ok()?, mask)).into(),
        2 => Ipv6Addr::from(xor(<[u8; 16]>::try_from(octets).ok()?, mask)).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(xor([high, low], mask))))
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

/// What a server's answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: TransactionId,
    /// How it sees us.
    pub(crate) mapped: SocketAddr,
    /// Its second address.
    pub(crate) other: Option<SocketAddr>,
}

impl Told {
    /// `None` for anything but a server's answer. Of attributes that it has twice the first counts.
    pub(crate) fn parse(datagram: &[u8]) -> Option<Self> {
        let (id, attributes) = parse(datagram, BINDING_SUCCESS)?;
        let (mut mapped, mut other) = (None, None);
        for (kind, value) in attributes {
            match kind {
                XOR_MAPPED_ADDRESS if mapped.is_none() => {
                    mapped = Some(read_address(value, &mask(&id))?);
                }
                OTHER_ADDRESS if other.is_none() => other = read_address(value, &PLAIN),
                _ => {}
            }
        }
        Some(Self { id, mapped: mapped?, other })
    }
}

fn mapped_address(datagram: &[u8], expected: &TransactionId) -> Option<SocketAddr> {
    Told::parse(datagram).filter(|told| told.id == *expected).map(|told| told.mapped)
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

    /// Whether these are its servers, in whatever order.
    pub(crate) fn asks(&self, servers: &[SocketAddr]) -> bool {
        self.servers.len() == servers.len() && servers.iter().all(|at| self.servers.contains(at))
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
        Some((server, request(&self.id, Origin::Asked)))
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

    /// The server's address that has answered last.
    pub(crate) fn answered_by(&self) -> Option<SocketAddr> {
        self.servers.get(self.turn).copied().filter(|_| self.reflexive.is_some())
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
    fn a_server_with_two_addresses_tells_the_other_and_answers_from_it_where_it_is_asked_to() {
        let [source, other]: [SocketAddr; 2] =
            ["192.0.2.1:5", "198.51.100.1:36543"].map(|a| a.parse().unwrap());
        for origin in [Origin::Asked, Origin::OtherPort, Origin::Other] {
            let asked = request(&[7; 12], origin);
            let (contents, from) = answer_with(source, &asked, Some(other)).unwrap();
            assert_eq!(from, origin);
            let told = Told { id: [7; 12], mapped: source, other: Some(other) };
            assert_eq!(Told::parse(&contents), Some(told));
            assert_eq!(
                answer(source, &asked).is_some(),
                origin == Origin::Asked,
                "it has no other"
            );
        }
    }

    #[test]
    fn what_no_server_here_does_is_not_answered() {
        let source: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let other = "198.51.100.1:36543".parse().ok();
        let change = |value: &[u8]| {
            let change = attribute(CHANGE_REQUEST, value);
            [header(BINDING_REQUEST, change.len() as u16, &[7; 12]), change].concat()
        };
        assert!(answer_with(source, &change(&[0, 0, 0, 6]), other).is_some());
        for value in [&[0, 0, 0, 4][..], &[6], &[], &[0; 8]] {
            assert_eq!(answer_with(source, &change(value), other), None, "{value:?}");
        }
    }

    #[test]
    fn an_answer_is_not_longer_for_a_long_request() {
        let source: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let long = padded_request(&[7; 12], 1472);
        assert_eq!(long.len(), 1472);
        let answered = answer(source, &long).unwrap();
        assert_eq!(answered, answer(source, &request(&[7; 12], Origin::Asked)).unwrap());
        let other = "198.51.100.1:36543".parse().ok();
        assert_eq!(answer_with(source, &long, other).unwrap().0.len(), answered.len() + 12);
    }

    #[test]
    fn noise_is_not_answered() {
        let source = "192.0.2.1:1".parse().unwrap();
        for noise in [&[][..], &[0; 20], &[0xff; 40], &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]] {
            assert_eq!(answer(source, noise), None);
        }
    }
}
