//! A third party that puts a peer's address on its datagrams: two ends still connect, and carry all that they are given.
#![allow(clippy::disallowed_methods)] // a test needs some instant to begin at

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_rtc::sdp::Want;
use lllsi_rtc::{
    Certificate, Channel, Config, DtlsVersion, Event, Extras, Frame, Reliability, Track, Transport,
};

const VIDEO: Track = Track(0);
const CHAT: u16 = 0;
const DELAY: Duration = Duration::from_millis(10);

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// What a third party makes up without knowing any key or name.
fn junk(random: &mut Random) -> Vec<u8> {
    let mut datagram = random.bytes(40);
    match random.next() % 10 {
        // Alerts that end a connection: close_notify, and a fatal one.
        0 => datagram = [&[21, 254, 253][..], &[0; 8], &[0, 2, 1, 0]].concat(),
        1 => datagram = [&[21, 254, 253][..], &[0; 7], &[1, 0, 2, 2, 40]].concat(),
        // A change of cipher, an acknowledgement, a record of version 1.3.
        2 => datagram = [&[20, 254, 253][..], &[0; 8], &[0, 1, 1]].concat(),
        3 => datagram = [&[26, 254, 253][..], &[0; 8], &[0, 2, 0, 0]].concat(),
        4 => datagram[0] = 0x2f,
        // Application data and a handshake of later epochs.
        5 => datagram[..13].copy_from_slice(&[23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 27]),
        6 => datagram[..13].copy_from_slice(&[22, 254, 253, 0, 2, 0, 0, 0, 0, 0, 0, 0, 27]),
        7 => datagram[..8].copy_from_slice(&[0, 1, 0, 20, 0x21, 0x12, 0xa4, 0x42]),
        8 => datagram[..2].copy_from_slice(&[0x80, 96 + (random.next() as u8 & 127)]),
        _ => datagram[0] = random.next() as u8,
    }
    datagram
}

struct End {
    transport: Transport,
    at: SocketAddr,
    packets: usize,
    messages: usize,
    is_open: bool,
    closed: Option<Event>,
}

/// Client and host, in this order, and a line between them.
struct Pair {
    now: Instant,
    ends: [End; 2],
    /// When, to which end, and what.
    line: VecDeque<(Instant, usize, Vec<u8>)>,
    random: Random,
    /// Datagrams of the third party for each end at each step.
    junk: usize,
}

fn config(seed: u8, dtls: DtlsVersion) -> Config {
    let channel = Channel {
        id: CHAT,
        ordered: true,
        negotiated: true,
        reliability: Reliability::Reliable,
        ..Channel::default()
    };
    Config {
        certificate: Certificate::generate(),
        dtls,
        channels: vec![channel],
        max_peer_channels: 0,
        random: std::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add(i as u8)),
    }
}

impl Pair {
    fn new(dtls: DtlsVersion, seed: u64, junk: usize) -> Self {
        let now = Instant::now();
        let [client_at, host_at] = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 5000)));
        let wants = [Want::video("0"), Want::data("1")];
        let (mut client, offer) = Transport::offer(now, config(1, dtls), &[client_at], &wants);
        let (host, answer) = Transport::answer(now, config(2, dtls), &[host_at], &offer).unwrap();
        client.accept_answer(now, &answer).unwrap();
        client.take_media();
        let end = |transport, at| End {
            transport,
            at,
            packets: 0,
            messages: 0,
            is_open: false,
            closed: None,
        };
        let ends = [end(client, client_at), end(host, host_at)];
        Self { now, ends, line: VecDeque::new(), random: Random(seed), junk }
    }

    /// Carries datagrams until something is so, for at most ten seconds. Tells whether it came to be.
    fn run(&mut self, mut done: impl FnMut(&[End; 2]) -> bool) -> bool {
        let until = self.now + Duration::from_secs(10);
        while self.now < until {
            self.take_out();
            if done(&self.ends) {
                return true;
            }
            self.now += Duration::from_millis(1);
            while self.line.front().is_some_and(|(at, _, _)| *at <= self.now)
                && let Some((_, to, datagram)) = self.line.pop_front()
            {
                self.deliver(to, &datagram);
            }
            for to in 0..2 {
                for _ in 0..self.junk {
                    let datagram = junk(&mut self.random);
                    self.deliver(to, &datagram);
                }
                let end = &mut self.ends[to];
                if end.transport.timeout().is_some_and(|at| at <= self.now) {
                    end.transport.handle_timeout(self.now);
                }
            }
        }
        false
    }

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        let source = self.ends[1 - to].at;
        let End { transport, at, .. } = &mut self.ends[to];
        transport.handle_datagram(self.now, source, *at, datagram);
    }

    fn take_out(&mut self) {
        for from in 0..2 {
            let end = &mut self.ends[from];
            while let Some(transmit) = end.transport.poll_transmit() {
                let size = transmit.segment_size.unwrap_or(transmit.contents.len());
                for datagram in transmit.contents.chunks(size) {
                    self.line.push_back((self.now + DELAY, 1 - from, datagram.to_vec()));
                }
            }
            while let Some(event) = end.transport.poll_event() {
                match event {
                    Event::ChannelOpen(_) => end.is_open = true,
                    Event::Packet(..) => end.packets += 1,
                    Event::Message { .. } => end.messages += 1,
                    Event::Closed(_) => end.closed = Some(event),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn junk_with_the_peers_address_keeps_no_two_from_each_other() {
    for dtls in [DtlsVersion::Newest, DtlsVersion::V12] {
        for seed in 1..=20 {
            let mut pair = Pair::new(dtls, seed, 3);
            let is_open = pair.run(|ends| ends.iter().all(|end| end.is_open));
            let closed = pair.ends.each_ref().map(|end| end.closed.clone());
            assert!(is_open, "{dtls:?}, seed {seed}: {closed:?}");
            let frame = Frame::from(vec![Arc::from(vec![7; 1000]); 4]);
            for number in 1..=20 {
                let now = pair.now;
                pair.ends[1].transport.send_frame(
                    now,
                    VIDEO,
                    number * 3000,
                    &frame,
                    Extras::default(),
                );
                assert!(pair.ends[0].transport.send(now, CHAT, true, &[number as u8; 3000]));
                pair.run(|[client, host]| {
                    client.packets == number as usize * 4 && host.messages == number as usize
                });
            }
            let [client, host] = &pair.ends;
            let carried = (client.packets, host.messages);
            assert_eq!(carried, (80, 20), "{dtls:?}, seed {seed}: {closed:?}");
        }
    }
}

#[test]
fn whoever_repeats_what_two_say_changes_nothing() {
    let mut pair = Pair::new(DtlsVersion::Newest, 1, 0);
    let mut overheard: Vec<(usize, Vec<u8>)> = Vec::new();
    assert!(pair.run(|ends| ends.iter().all(|end| end.is_open)));
    let frame = Frame::from(vec![Arc::from(vec![7; 1000]); 4]);
    for number in 1..=20_u32 {
        let now = pair.now;
        pair.ends[1].transport.send_frame(now, VIDEO, number * 3000, &frame, Extras::default());
        assert!(pair.ends[0].transport.send(now, CHAT, true, &[number as u8; 3000]));
        pair.take_out();
        overheard.extend(pair.line.iter().map(|(_, to, datagram)| (*to, datagram.clone())));
        assert!(pair.run(|[client, host]| {
            client.packets == number as usize * 4 && host.messages == number as usize
        }));
        for (to, datagram) in &overheard {
            pair.deliver(*to, datagram);
        }
        pair.take_out();
    }
    let [client, host] = &pair.ends;
    assert_eq!((client.packets, host.messages), (80, 20), "each came once");
    assert!(client.closed.is_none() && host.closed.is_none());
}
