#![allow(clippy::disallowed_methods)] // a test needs some instant to begin at

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::round::ROUND;
use super::*;
use crate::stun::answer_with;

const LOCAL: &str = "10.0.0.2:5000";
const OUTER: &str = "192.0.2.2";
const FIRST: &str = "203.0.113.1:36542";
const SECOND: &str = "203.0.113.2:36543";

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// How a router maps.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mapping {
    /// Not at all.
    None,
    /// To one port.
    Same,
    /// To another port for each peer, so far from the one before.
    Steps(u16),
}

/// A router, as small as it can be.
#[derive(Debug)]
struct Router {
    mapping: Mapping,
    filtering: Filtering,
    ports: HashMap<SocketAddr, u16>,
    sent: HashSet<SocketAddr>,
}

impl Router {
    fn new(mapping: Mapping, filtering: Filtering) -> Self {
        Self { mapping, filtering, ports: HashMap::new(), sent: HashSet::new() }
    }

    /// A datagram leaves for there: how is its source seen?
    fn out(&mut self, to: SocketAddr) -> SocketAddr {
        self.sent.insert(to);
        let number = self.ports.len() as u16;
        let port = match self.mapping {
            Mapping::None => return at(LOCAL),
            Mapping::Same => 40_000,
            Mapping::Steps(step) => {
                *self.ports.entry(to).or_insert(40_000_u16.wrapping_add(number.wrapping_mul(step)))
            }
        };
        SocketAddr::new(OUTER.parse().unwrap(), port)
    }

    fn lets_in(&self, from: SocketAddr) -> bool {
        match self.filtering {
            Filtering::Open => true,
            Filtering::Address => self.sent.iter().any(|sent| sent.ip() == from.ip()),
            Filtering::Port => self.sent.contains(&from),
        }
    }
}

/// A server with a second address, or without; of its sockets some may be silent.
#[derive(Debug, Clone, Copy)]
struct Server {
    second: Option<&'static str>,
    answers_at_second: bool,
}

impl Server {
    const WHOLE: Self = Self { second: Some(SECOND), answers_at_second: true };
    const SIMPLE: Self = Self { second: None, answers_at_second: false };

    /// The answer to a request that comes to `to`, and from where it leaves.
    fn answer(
        self,
        source: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Option<(SocketAddr, Vec<u8>)> {
        if to != at(FIRST) {
            let answer = answer_with(source, data, None).filter(|_| self.answers_at_second)?;
            return Some((to, answer.0));
        }
        let (contents, origin) = answer_with(source, data, self.second.map(at))?;
        let second = self.second.map_or(to, at);
        let from = match origin {
            Origin::Asked => to,
            Origin::OtherPort => SocketAddr::new(to.ip(), second.port()),
            Origin::Other => second,
        };
        Some((from, contents))
    }
}

/// Runs a probe to its outcome. `lost` decides for each request whether it is lost.
fn found(router: &mut Router, server: Server, mut lost: impl FnMut(&[u8]) -> bool) -> Outcome {
    let began = Instant::now();
    let mut now = began;
    let mut probe = NatProbe::new(now, at(FIRST), &[1; 32]);
    loop {
        while let Some(Transmit { destination, contents, .. }) = probe.poll_transmit(now) {
            let source = router.out(destination);
            let answer = server.answer(source, destination, &contents);
            if let Some((from, answer)) = answer.filter(|_| !lost(&contents))
                && router.lets_in(from)
            {
                probe.handle_datagram(now, from, at(LOCAL), &answer);
            }
        }
        if let Some(outcome) = probe.outcome() {
            assert!(now <= began + 2 * ROUND, "after {:?}", now - began);
            return outcome;
        }
        now = probe.timeout();
    }
}

/// The kind of a NAT, by a whole server.
fn kind(mapping: Mapping, filtering: Filtering, lost: impl FnMut(&[u8]) -> bool) -> NatKind {
    match found(&mut Router::new(mapping, filtering), Server::WHOLE, lost) {
        Outcome::Found(nat) => {
            assert_eq!(nat.filtering, Some(filtering));
            assert_eq!((nat.local, nat.second), (at(LOCAL), Some(at(SECOND))));
            nat.kind
        }
        Outcome::Silent => panic!("it has answered"),
    }
}

const KINDS: [(Mapping, Filtering, NatKind); 10] = [
    (Mapping::None, Filtering::Open, NatKind::None),
    (Mapping::None, Filtering::Address, NatKind::None),
    (Mapping::None, Filtering::Port, NatKind::None),
    (Mapping::Same, Filtering::Open, NatKind::FullCone),
    (Mapping::Same, Filtering::Address, NatKind::Address),
    (Mapping::Same, Filtering::Port, NatKind::Port),
    (Mapping::Steps(7919), Filtering::Port, NatKind::Symmetric),
    (Mapping::Steps(7919), Filtering::Open, NatKind::Symmetric),
    (Mapping::Steps(1), Filtering::Port, NatKind::SymmetricSequential),
    // Downwards, by two.
    (Mapping::Steps(65_534), Filtering::Port, NatKind::SymmetricSequential),
];

#[test]
fn each_kind_is_named() {
    for (mapping, filtering, named) in KINDS {
        assert_eq!(kind(mapping, filtering, |_| false), named, "{mapping:?}, {filtering:?}");
    }
}

#[test]
fn requests_that_are_lost_change_nothing() {
    for (mapping, filtering, named) in KINDS {
        let mut copies = HashMap::<Vec<u8>, u32>::new();
        // The first three of each.
        let lost = |request: &[u8]| {
            let number = copies.entry(request.to_vec()).or_default();
            *number += 1;
            *number <= 3
        };
        assert_eq!(kind(mapping, filtering, lost), named, "{mapping:?}, {filtering:?}");
    }
}

#[test]
fn without_an_answer_the_outcome_is_silence() {
    let mut router = Router::new(Mapping::Same, Filtering::Port);
    assert_eq!(found(&mut router, Server::WHOLE, |_| true), Outcome::Silent);
}

#[test]
fn without_a_second_address_a_nat_is_seen_at_once_and_not_its_kind() {
    for (mapping, named) in [(Mapping::None, NatKind::None), (Mapping::Same, NatKind::Unknown)] {
        let now = Instant::now();
        let mut router = Router::new(mapping, Filtering::Port);
        let mut probe = NatProbe::new(now, at(FIRST), &[1; 32]);
        let request = probe.poll_transmit(now).unwrap();
        let source = router.out(request.destination);
        let answer = Server::SIMPLE.answer(source, request.destination, &request.contents);
        let (from, answer) = answer.unwrap();
        probe.handle_datagram(now, from, at(LOCAL), &answer);
        let Some(Outcome::Found(nat)) = probe.outcome() else { panic!("it is over: {probe:?}") };
        assert_eq!((nat.kind, nat.mapped), (named, source));
        assert_eq!((nat.filtering, nat.second), (None, None));
        assert!(probe.poll_transmit(now).is_none());
    }
}

#[test]
fn a_second_address_that_does_not_answer_leaves_the_kind_unknown() {
    let server = Server { answers_at_second: false, ..Server::WHOLE };
    let mut router = Router::new(Mapping::Same, Filtering::Port);
    let Outcome::Found(nat) = found(&mut router, server, |_| false) else { panic!("it answers") };
    assert_eq!((nat.kind, nat.second), (NatKind::Unknown, Some(at(SECOND))));
}

#[test]
fn a_second_address_that_is_none_is_not_sent_to() {
    for other in [
        FIRST,
        "203.0.113.2:36542",
        "203.0.113.1:36543",
        "203.0.113.2:0",
        "224.0.0.1:36543",
        "255.255.255.255:36543",
        "0.0.0.0:36543",
        "[2001:db8::2]:36543",
    ] {
        let server = Server { second: Some(other), answers_at_second: true };
        let mut router = Router::new(Mapping::Same, Filtering::Port);
        let outcome = found(&mut router, server, |_| false);
        let Outcome::Found(nat) = outcome else { panic!("it answers") };
        assert_eq!((nat.kind, nat.second), (NatKind::Unknown, None), "{other}");
        assert_eq!(router.sent, HashSet::from([at(FIRST)]), "{other}");
    }
}

#[test]
fn what_comes_from_elsewhere_or_answers_no_question_is_ignored() {
    let now = Instant::now();
    let mut probe = NatProbe::new(now, at(FIRST), &[1; 32]);
    let mut requests = Vec::new();
    while let Some(transmit) = probe.poll_transmit(now) {
        requests.push(transmit.contents);
    }
    let answer =
        |request: &[u8]| answer_with(at("192.0.2.2:7"), request, Some(at(SECOND))).unwrap().0;
    for (request, source) in [
        (&requests[ASKED], SECOND),
        (&requests[ASKED], "203.0.113.1:36543"),
        // From where it was sent to, though it is to come from elsewhere.
        (&requests[FROM_OTHER_PORT], FIRST),
        (&requests[FROM_OTHER], FIRST),
        (&requests[FROM_OTHER], "203.0.113.1:36543"),
    ] {
        probe.handle_datagram(now, at(source), at(LOCAL), &answer(request));
    }
    // The questions themselves, and an answer to one that was never asked.
    let strange = crate::stun::request(&[9; 12], Origin::Asked);
    for data in [&requests[ASKED][..], &answer(&strange)[..], &[], &[0; 20]] {
        probe.handle_datagram(now, at(FIRST), at(LOCAL), data);
    }
    probe.poll_transmit(now + ROUND);
    assert_eq!(probe.outcome(), Some(Outcome::Silent));
}

/// The largest size that is found on a path that carries so much.
fn largest(carries: usize) -> Option<u16> {
    let mut now = Instant::now();
    let mut probe = SizeProbe::new(now, at(FIRST), &[1; 32], &[548, 1232, 1472, 1084]);
    loop {
        while let Some(Transmit { contents, .. }) = probe.poll_transmit(now) {
            assert!([548, 1084, 1232, 1472].contains(&contents.len()));
            if contents.len() <= carries {
                let (answer, _) = answer_with(at(LOCAL), &contents, None).unwrap();
                probe.handle_datagram(now, at(FIRST), at(LOCAL), &answer);
            }
        }
        if let Some(outcome) = probe.outcome() {
            return outcome;
        }
        now = probe.timeout();
    }
}

#[test]
fn the_largest_size_that_is_answered_is_found() {
    for (carries, told) in [
        (9000, Some(1472)),
        (1472, Some(1472)),
        (1471, Some(1232)),
        (1100, Some(1084)),
        (548, Some(548)),
        (500, None),
    ] {
        assert_eq!(largest(carries), told, "{carries}");
    }
}

proptest! {
    #[test]
    fn no_datagram_panics_or_holds_a_probe_up(
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..8),
        changes in prop::collection::vec((0_usize..80, any::<u8>()), 0..40),
    ) {
        let began = Instant::now();
        let (mut now, mut changes) = (began, changes.into_iter());
        let mut probe = NatProbe::new(now, at(FIRST), &[1; 32]);
        while probe.outcome().is_none() {
            while let Some(Transmit { destination, contents, .. }) = probe.poll_transmit(now) {
                let answer = Server::WHOLE.answer(at("192.0.2.2:7"), destination, &contents);
                let Some((from, mut answer)) = answer else { continue };
                // Some answers are damaged.
                if let Some((place, value)) = changes.next()
                    && let Some(byte) = answer.get_mut(place)
                {
                    *byte = value;
                }
                for data in noise.iter().chain([&answer]) {
                    probe.handle_datagram(now, from, at(LOCAL), data);
                }
            }
            now = probe.timeout();
            prop_assert!(now <= began + 2 * ROUND);
        }
    }
}
