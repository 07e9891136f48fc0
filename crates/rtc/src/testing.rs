//! Two ends in virtual time, and a peer made by hand.
#![allow(dead_code, missing_docs, missing_debug_implementations, unreachable_pub)]
#![allow(clippy::should_implement_trait)] // a generator has no end

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::channels::{Channel, Channels, Config, Event, Reliability};
use crate::filter::Violation;
use crate::filter::wire::{self, chunk_type};
use bytes::Bytes;

/// A small generator, so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

pub fn channel(id: u16, ordered: bool, reliability: Reliability) -> Channel {
    Channel { id, ordered, reliability, negotiated: true, ..Channel::default() }
}

/// Channel 0 ordered and reliable, 1 unordered and without retransmission.
pub fn config() -> Config {
    let bulk = channel(0, true, Reliability::Reliable);
    let pulse = channel(1, false, Reliability::MaxRetransmits(0));
    Config { channels: vec![bulk, pulse], ..Config::default() }
}

/// Two ends and the wire between them; end 0 is the DTLS client.
pub struct Pair {
    pub now: Instant,
    pub ends: [Channels; 2],
    pub events: [Vec<Event>; 2],
    pub delay: Duration,
    pub jitter: Duration,
    /// Lost packets of a thousand.
    pub loss: u64,
    pub random: Random,
    pub longest: usize,
    pub packets: [u64; 2],
    wire: BTreeMap<(Instant, u64), (usize, Bytes)>,
    sent: u64,
}

impl Pair {
    pub fn new(configs: [Config; 2]) -> Self {
        Self {
            now: Instant::now(),
            ends: configs.map(|config| Channels::new(config).unwrap()),
            events: [Vec::new(), Vec::new()],
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            random: Random(0x1234_5678_9abc_def1),
            longest: 0,
            packets: [0; 2],
            wire: BTreeMap::new(),
            sent: 0,
        }
    }

    pub fn start(&mut self, snap: bool) {
        let tokens = [0, 1].map(|end| self.ends[end].local_init().to_vec());
        for end in 0..2 {
            let remote = snap.then(|| tokens[1 - end].as_slice());
            self.ends[end].start(self.now, end == 0, remote, Some(256 * 1024)).unwrap();
        }
    }

    pub fn connected(configs: [Config; 2], snap: bool) -> Self {
        let mut pair = Self::new(configs);
        pair.start(snap);
        pair.run(Duration::from_secs(1));
        assert!(pair.ends.iter().all(Channels::is_established));
        pair
    }

    /// Lets all that is due within `time` happen.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.pump();
        loop {
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let timers = self.ends.iter().filter_map(Channels::poll_timeout);
            let Some(next) = arrival.into_iter().chain(timers).min().filter(|at| *at <= until)
            else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (end, packet) = entry.remove();
                self.ends[end].handle(self.now, &packet).unwrap();
            }
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
            self.pump();
        }
        self.now = until;
    }

    pub fn pump(&mut self) {
        for end in 0..2 {
            while let Some(packet) = self.ends[end].poll_transmit(self.now) {
                self.longest = self.longest.max(packet.len());
                self.packets[end] += 1;
                if self.random.below(1000) < self.loss {
                    continue;
                }
                let jitter = self.random.below(self.jitter.as_micros() as u64 + 1);
                let at = self.now + self.delay + Duration::from_micros(jitter);
                self.sent += 1;
                self.wire.insert((at, self.sent), (1 - end, packet));
            }
            while let Some(event) = self.ends[end].poll_event() {
                self.events[end].push(event);
            }
        }
    }

    /// The messages that came on channel `id` of an end, in order; forgets all its events.
    pub fn messages(&mut self, end: usize, id: u16) -> Vec<Bytes> {
        let events = std::mem::take(&mut self.events[end]);
        let message = |event| match event {
            Event::Message { id: on, data, .. } if on == id => Some(data),
            _ => None,
        };
        events.into_iter().filter_map(message).collect()
    }

    /// Writes a message as soon as there is room.
    pub fn write(&mut self, end: usize, id: u16, data: &[u8]) {
        while !self.ends[end].write(id, true, data).unwrap() {
            self.run(Duration::from_millis(5));
        }
    }
}

pub const FIRST_TSN: u32 = 1000;
pub const BEGIN: u8 = 2;
pub const END: u8 = 1;
pub const WHOLE: u8 = 3;
pub const UNORDERED: u8 = 4;

/// One end, and a peer that sends what it likes.
pub struct Raw {
    pub now: Instant,
    pub end: Channels,
    pub tag: u32,
}

impl Raw {
    /// Established with SNAP; the end is the DTLS client, so the peer's DCEP ids are odd.
    pub fn new(config: Config) -> Self {
        let mut end = Channels::new(config).unwrap();
        let now = Instant::now();
        let tag = u32::from_be_bytes(end.local_init()[4..8].try_into().unwrap());
        end.start(now, true, Some(&token()), None).unwrap();
        Self { now, end, tag }
    }

    pub fn send(&mut self, chunks: &[Vec<u8>]) -> Result<(), Violation> {
        let packet = packet(self.tag, chunks);
        self.end.handle(self.now, &packet)
    }

    pub fn answers(&mut self) -> Vec<Bytes> {
        std::iter::from_fn(|| self.end.poll_transmit(self.now)).collect()
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.end.poll_event()).collect()
    }
}

pub fn token() -> Vec<u8> {
    let mut token = vec![chunk_type::INIT, 0, 0, 28];
    token.extend_from_slice(&0x1111_1111u32.to_be_bytes());
    token.extend_from_slice(&(1u32 << 20).to_be_bytes());
    token.extend_from_slice(&[0xff; 4]);
    token.extend_from_slice(&FIRST_TSN.to_be_bytes());
    token.extend_from_slice(&[0x80, 8, 0, 6, 130, 192, 0, 0]);
    token[3] = 26;
    token
}

pub fn packet(tag: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend_from_slice(&tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    for chunk in chunks {
        packet.extend_from_slice(chunk);
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    wire::sealed(packet)
}

pub fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let len = (value.len() + 4) as u16;
    let mut chunk = vec![kind, flags, (len >> 8) as u8, len as u8];
    chunk.extend_from_slice(value);
    chunk
}

pub fn data(tsn: u32, stream: u16, ssn: u16, kind: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend_from_slice(&stream.to_be_bytes());
    value.extend_from_slice(&ssn.to_be_bytes());
    value.extend_from_slice(&kind.to_be_bytes());
    value.extend_from_slice(payload);
    chunk(chunk_type::DATA, flags, &value)
}

pub fn sack(cumulative: u32, window: u32, gaps: &[(u16, u16)]) -> Vec<u8> {
    let mut value = cumulative.to_be_bytes().to_vec();
    value.extend_from_slice(&window.to_be_bytes());
    value.extend_from_slice(&(gaps.len() as u16).to_be_bytes());
    value.extend_from_slice(&[0, 0]);
    for (first, last) in gaps {
        value.extend_from_slice(&first.to_be_bytes());
        value.extend_from_slice(&last.to_be_bytes());
    }
    chunk(chunk_type::SACK, 0, &value)
}

pub fn forward(cumulative: u32, skipped: &[(u16, u16)]) -> Vec<u8> {
    let mut value = cumulative.to_be_bytes().to_vec();
    for (stream, ssn) in skipped {
        value.extend_from_slice(&stream.to_be_bytes());
        value.extend_from_slice(&ssn.to_be_bytes());
    }
    chunk(chunk_type::FORWARD_TSN, 0, &value)
}

pub fn reset(sequence: u32, last_tsn: u32, streams: &[u16]) -> Vec<u8> {
    let len = 16 + 2 * streams.len() as u16;
    let mut value = vec![0, 13, (len >> 8) as u8, len as u8];
    value.extend_from_slice(&sequence.to_be_bytes());
    value.extend_from_slice(&0u32.to_be_bytes());
    value.extend_from_slice(&last_tsn.to_be_bytes());
    for stream in streams {
        value.extend_from_slice(&stream.to_be_bytes());
    }
    chunk(chunk_type::RECONFIG, 0, &value)
}

pub fn reset_done(sequence: u32) -> Vec<u8> {
    let mut value = vec![0, 16, 0, 12];
    value.extend_from_slice(&sequence.to_be_bytes());
    value.extend_from_slice(&1u32.to_be_bytes());
    chunk(chunk_type::RECONFIG, 0, &value)
}

pub fn heartbeat(len: usize) -> Vec<u8> {
    let total = (len + 4) as u16;
    let mut value = vec![0, 1, (total >> 8) as u8, total as u8];
    value.resize(len + 4, 7);
    chunk(chunk_type::HEARTBEAT, 0, &value)
}

/// A connectivity check with these attributes before its own: any type, any bytes. Without a password it has a signature
/// that nobody made. `seed` makes its number.
pub fn check(
    name: &str,
    password: Option<&str>,
    attributes: &[(u16, Vec<u8>)],
    seed: u64,
) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 7, 7, 7, 7];
    message.extend_from_slice(&seed.to_be_bytes());
    attribute(&mut message, 6, name.as_bytes());
    attribute(&mut message, 0x24, &0x6e00_00ff_u32.to_be_bytes());
    attribute(&mut message, 0x802a, &[9; 8]);
    attributes.iter().for_each(|(kind, value)| attribute(&mut message, *kind, value));
    let len = (message.len() - 20 + 24) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    let signature = password.map_or([7; 20], |password| {
        use aws_lc_rs::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let tag = hmac::sign(&key, &message);
        tag.as_ref().try_into().unwrap()
    });
    attribute(&mut message, 8, &signature);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}
