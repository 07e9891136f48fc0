//! Parity of a frame: packets from which its receiver makes lost ones again without asking for them (Reed-Solomon codes, by
//! `reed-solomon-simd`). They go between peers that have agreed on it elsewhere, on the SSRC of repairs, with a payload type that
//! no description of ours names. Their payload, in bytes:
//!
//! | Offset | Length | Field |
//! |---|---|---|
//! | 0 | 2 | sequence number of the frame's first packet |
//! | 2 | 1 | packets of the frame |
//! | 3 | 1 | parity packets that were made for the frame |
//! | 4 | 1 | which of those this one is |
//! | 5 | 1 | 0 |
//! | 6 | | parity over the payloads, each after its length in 2 bytes, filled up with zeros to one length |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Payload type of parity packets.
pub(crate) const PAYLOAD_TYPE: u8 = 126;
/// The most packets of a frame that has parity, and the most parity packets.
pub(crate) const MAX_PACKETS: usize = 128;
pub(crate) const MAX_PARITY: usize = 32;
/// Bytes before the parity itself.
const HEAD: usize = 6;
/// Payloads kept for frames that are not whole.
const MAX_KEPT: usize = 1024;
/// Frames whose parity is kept.
const MAX_BLOCKS: usize = 16;
/// A payload that is longer than any path takes is not kept.
const MAX_PAYLOAD: usize = 1500;
/// Frames that are made again in a second: each may take half a millisecond.
const MAX_MADE: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);

/// The parity of a frame's payloads, at most so many packets; none for a frame of too many packets.
pub(crate) fn of(payloads: &[Arc<[u8]>], prefix: &[u8], count: usize) -> Vec<Arc<[u8]>> {
    let count = count.min(MAX_PARITY);
    let longest = payloads.iter().map(|payload| payload.len()).max().unwrap_or_default();
    let longest = longest.max(prefix.len() + payloads.first().map_or(0, |payload| payload.len()));
    if count == 0 || payloads.is_empty() || payloads.len() > MAX_PACKETS {
        return Vec::new();
    }
    let length = (longest + 2).next_multiple_of(2);
    let shards = payloads.iter().enumerate().map(|(i, payload)| {
        let prefix = if i == 0 { prefix } else { &[] };
        shard(&[prefix, payload], length)
    });
    let parity = reed_solomon_simd::encode(payloads.len(), count, shards).unwrap_or_default();
    parity.into_iter().map(Arc::from).collect()
}

fn shard(parts: &[&[u8]], length: usize) -> Vec<u8> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let mut shard = Vec::with_capacity(length);
    shard.extend_from_slice(&(bytes as u16).to_be_bytes());
    parts.iter().for_each(|part| shard.extend_from_slice(part));
    shard.resize(length, 0);
    shard
}

/// What stands before the parity in its packet.
pub(crate) fn head(first: u64, packets: usize, parity: usize, which: usize) -> [u8; HEAD] {
    let [a, b] = (first as u16).to_be_bytes();
    [a, b, packets as u8, parity as u8, which as u8, 0]
}

/// A payload that was made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) index: u64,
    /// Whether it ends its frame.
    pub(crate) is_last: bool,
    pub(crate) timestamp: u32,
    pub(crate) payload: Bytes,
}

/// The parity of one frame.
#[derive(Debug)]
struct Block {
    packets: usize,
    parity: usize,
    timestamp: u32,
    shards: BTreeMap<usize, Bytes>,
}

/// What a receiver keeps, from the first parity packet on.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    payloads: BTreeMap<u64, Bytes>,
    /// By the number of the frame's first packet.
    blocks: BTreeMap<u64, Block>,
    /// Since when frames are counted that were made again, and how many.
    made: Option<(Instant, u32)>,
}

impl Keeper {
    /// Keeps a payload that came, and returns what can be made by it.
    pub(crate) fn came(&mut self, now: Instant, index: u64, payload: Bytes) -> Vec<Made> {
        if payload.len() > MAX_PAYLOAD {
            return Vec::new();
        }
        self.keep(index, payload);
        let block = self.blocks.range(..=index).next_back();
        match block.filter(|(first, block)| index < *first + block.packets as u64) {
            Some((&first, _)) => self.make(now, first),
            None => Vec::new(),
        }
    }

    /// Takes the payload of a parity packet, and returns what can be made by it. `unwrap` extends sequence numbers.
    pub(crate) fn parity(
        &mut self,
        now: Instant,
        payload: &Bytes,
        timestamp: u32,
        unwrap: impl FnOnce(u16) -> u64,
    ) -> Vec<Made> {
        let Some(&[a, b, packets, parity, which, _]) = payload.first_chunk::<HEAD>() else {
            return Vec::new();
        };
        let (packets, parity, which) = (packets.into(), usize::from(parity), usize::from(which));
        let is_sound = (1..=MAX_PACKETS).contains(&packets)
            && which < parity
            && parity <= MAX_PARITY
            && payload.len() <= MAX_PAYLOAD;
        if !is_sound {
            return Vec::new();
        }
        let first = unwrap(u16::from_be_bytes([a, b]));
        let none = Block { packets, parity, timestamp, shards: BTreeMap::new() };
        let block = self.blocks.entry(first).or_insert(none);
        // One frame has one parity: another is a mistake, or malice.
        if (block.packets, block.parity, block.timestamp) == (packets, parity, timestamp) {
            block.shards.insert(which, payload.slice(HEAD..));
        }
        while self.blocks.len() > MAX_BLOCKS {
            self.blocks.pop_first();
        }
        self.make(now, first)
    }

    fn make(&mut self, now: Instant, first: u64) -> Vec<Made> {
        let Some(block) = self.blocks.remove(&first) else { return Vec::new() };
        let indexes = first..first + block.packets as u64;
        let there = || self.payloads.range(indexes.clone());
        let missing = block.packets - there().count();
        if missing > block.shards.len() {
            self.blocks.insert(first, block);
            return Vec::new();
        }
        let length = block.shards.values().next().map_or(0, Bytes::len);
        let is_short = there().any(|(_, payload)| payload.len() + 2 > length);
        let may_make = missing > 0 && !is_short && may_make(&mut self.made, now);
        let made = if !may_make {
            BTreeMap::new()
        } else {
            let shards = there()
                .map(|(index, payload)| ((index - first) as usize, shard(&[payload], length)));
            let parity = block.shards.iter().map(|(which, shard)| (*which, shard));
            reed_solomon_simd::decode(block.packets, block.parity, shards, parity)
                .unwrap_or_default()
        };
        let (last, timestamp) = (block.packets - 1, block.timestamp);
        let made = made.into_iter().filter_map(|(at, shard)| {
            let length = u16::from_be_bytes(*shard.first_chunk()?);
            let payload = Bytes::from(shard).split_off(2);
            let payload = (usize::from(length) <= payload.len())
                .then(|| payload.slice(..usize::from(length)))?;
            Some(Made { index: first + at as u64, is_last: at == last, timestamp, payload })
        });
        let made: Vec<_> = made.collect();
        for made in &made {
            self.keep(made.index, made.payload.clone());
        }
        made
    }

    fn keep(&mut self, index: u64, payload: Bytes) {
        self.payloads.insert(index, payload);
        while self.payloads.len() > MAX_KEPT {
            self.payloads.pop_first();
        }
    }
}

/// Whether another frame may be made again, given since when they are counted, and how many there were.
fn may_make(made: &mut Option<(Instant, u32)>, now: Instant) -> bool {
    let (since, count) = made.filter(|(since, _)| now < *since + SECOND).unwrap_or((now, 0));
    *made = Some((since, count + 1));
    count < MAX_MADE
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payloads(lengths: &[usize]) -> Vec<Arc<[u8]>> {
        lengths.iter().enumerate().map(|(i, len)| vec![i as u8 + 1; *len].into()).collect()
    }

    fn packet(first: u64, packets: usize, parity: &[Arc<[u8]>], which: usize) -> Bytes {
        [&head(first, packets, parity.len(), which)[..], &parity[which]].concat().into()
    }

    #[test]
    fn as_many_lost_packets_as_there_is_parity_are_made_again() {
        let frame = payloads(&[900, 1000, 1000, 999, 17]);
        let parity = of(&frame, &[7; 40], 2);
        let first = 65_534;
        for lost in [[0, 1], [1, 4], [3, 4]] {
            let (mut keeper, now) = (Keeper::default(), Instant::now());
            let mut made = Vec::new();
            for which in 0..2 {
                let packet = packet(first, frame.len(), &parity, which);
                made.extend(keeper.parity(now, &packet, 5, u64::from));
            }
            for (i, payload) in frame.iter().enumerate().filter(|(i, _)| !lost.contains(i)) {
                let prefix = if i == 0 { &[7; 40][..] } else { &[] };
                let payload = [prefix, payload].concat().into();
                made.extend(keeper.came(now, first + i as u64, payload));
            }
            assert_eq!(made.len(), 2, "{lost:?}");
            for (made, lost) in made.iter().zip(lost) {
                let prefix = if lost == 0 { &[7; 40][..] } else { &[] };
                assert_eq!(made.payload, [prefix, &frame[lost]].concat());
                let (index, is_last) = (made.index, made.is_last);
                assert_eq!((index, is_last), (first + lost as u64, lost == 4));
            }
            assert!(keeper.blocks.is_empty());
        }
    }

    #[test]
    fn more_lost_packets_than_parity_are_left_to_repairs() {
        let frame = payloads(&[100; 6]);
        let parity = of(&frame, &[], 1);
        let (mut keeper, now) = (Keeper::default(), Instant::now());
        assert!(keeper.parity(now, &packet(1, 6, &parity, 0), 0, u64::from).is_empty());
        for i in 0..4 {
            assert!(keeper.came(now, 1 + i, Bytes::copy_from_slice(&frame[i as usize])).is_empty());
        }
        let made = keeper.came(now, 5, Bytes::copy_from_slice(&frame[4]));
        assert_eq!(made.iter().map(|made| made.index).collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn a_frame_of_too_many_packets_has_none() {
        assert!(of(&payloads(&[10; MAX_PACKETS + 1]), &[], 3).is_empty());
        assert!(of(&[], &[], 3).is_empty());
    }

    #[test]
    fn no_more_frames_are_made_again_than_a_second_may_cost() {
        let (mut keeper, now) = (Keeper::default(), Instant::now());
        let parity = of(&payloads(&[100]), &[], 1);
        let mut made = |now, first| {
            let packet = packet(first, 1, &parity, 0);
            keeper.parity(now, &packet, 0, |_| first).len()
        };
        assert_eq!((0..2000).map(|first| made(now, first)).sum::<usize>(), MAX_MADE as usize);
        assert_eq!(made(now + SECOND, 3000), 1);
    }

    #[test]
    fn parity_alone_fills_no_memory() {
        let (mut keeper, mut now) = (Keeper::default(), Instant::now());
        let parity = of(&payloads(&[100; 32]), &[], 32);
        for first in (0..).step_by(32).take(MAX_KEPT) {
            now += SECOND / MAX_MADE;
            for which in 0..32 {
                keeper.parity(now, &packet(first, 32, &parity, which), 0, |_| first);
            }
        }
        assert!(keeper.payloads.len() == MAX_KEPT && keeper.blocks.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_bounded_and_makes_no_panic(
            packets in proptest::collection::vec(
                (any::<bool>(), 0u64..3000, proptest::collection::vec(any::<u8>(), 0..40)), 0..300)
        ) {
            let (mut keeper, now) = (Keeper::default(), Instant::now());
            for (is_parity, index, bytes) in packets {
                let made = match is_parity {
                    true => keeper.parity(now, &bytes.into(), 0, u64::from),
                    false => keeper.came(now, index, bytes.into()),
                };
                prop_assert!(made.len() <= MAX_PARITY);
                prop_assert!(keeper.blocks.len() <= MAX_BLOCKS);
                prop_assert!(keeper.payloads.len() <= MAX_KEPT);
            }
        }
    }
}
