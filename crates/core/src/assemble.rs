//! The viewer's frame assembler: RTP packets in any order in, whole frames in decoding order out.
//!
//! No playout delay: a frame leaves the moment it is complete and all before it have left. A gap is waited for only as
//! long as a repair can still come in time; then everything up to the next keyframe is dropped and one is asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lllsi_proto::h264::{Depacketizer, FrameInfo, starts_keyframe};

/// Packets held while one is missing: about three seconds at 8 Mbit/s.
const MAX_PACKETS: usize = 4096;
/// Bytes held while one is missing.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Packets kept that came before the beginning of the first keyframe: they may belong behind it.
const MAX_EARLY: usize = 512;
/// How long a missing packet is waited for, besides two round trips, after the last sign that it may still come…
const PATIENCE: Duration = Duration::from_millis(150);
/// … and in all.
const MOST_PATIENCE: Duration = Duration::from_secs(2);
/// How often a keyframe is asked for, at least.
const REQUEST_EVERY: Duration = Duration::from_millis(250);
/// How long the host has to begin with one by itself: it makes one for all who have joined lately.
const FIRST_WITHIN: Duration = Duration::from_millis(600);

/// A whole frame, in decoding order.
#[derive(Debug, Clone)]
pub struct Frame {
    /// H.264 in Annex B form.
    pub data: Vec<u8>,
    /// Whether it can be decoded without an earlier one.
    pub keyframe: bool,
    /// What the host knows about it; `None` if the publisher is not LLLSI.
    pub info: Option<FrameInfo>,
    /// When its first packet came.
    pub first_packet_at: Instant,
    /// When its last missing packet came.
    pub complete_at: Instant,
    /// Whether one of its packets had to be repaired.
    pub is_repaired: bool,
    /// From capture to complete arrival in microseconds, once the clocks are synchronised.
    pub latency_us: Option<u64>,
}

/// One RTP packet as it came.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// Extended sequence number.
    pub(crate) seq: u64,
    pub(crate) marker: bool,
    /// Whether it was sent again.
    pub(crate) is_repair: bool,
    pub(crate) payload: Bytes,
}

#[derive(Debug)]
struct Slot {
    packet: Packet,
    at: Instant,
}

/// What has arrived since the link was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// RTP packets, repairs included.
    pub packets: u64,
    /// RTP payload bytes.
    pub bytes: u64,
    /// Packets missing when a later one came, repaired since or not.
    pub missed: u64,
    /// Packets given up.
    pub lost: u64,
    /// Packets that were too many, or too far ahead, to be kept while others are missing.
    pub overflows: u64,
    /// Whole frames delivered.
    pub frames: u64,
    /// Frames the host numbered that were never delivered, since the first.
    pub frames_lost: u64,
    /// Keyframes asked for.
    pub keyframe_requests: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// `slots[i]` is packet `base + i`. Empty while a keyframe is waited for.
    slots: VecDeque<Option<Slot>>,
    base: u64,
    early: VecDeque<(Instant, Packet)>,
    /// Slots before this are all filled and hold no end of a frame.
    scanned: usize,
    bytes: usize,
    /// Newest sequence number seen.
    newest: Option<u64>,
    /// Set while only the beginning of a keyframe is accepted.
    need_keyframe: bool,
    request_at: Option<Instant>,
    /// While something is missing: since when, and when something last came of the frame that waits for it.
    blocked: Option<(Instant, Instant)>,
    /// Where the first frame ends among the slots, if its end has come.
    end: Option<usize>,
    patience: Duration,
    depacketizer: Depacketizer,
    last_number: Option<u32>,
    arrivals: Arrivals,
}

impl Assembler {
    /// `rtt` is what is known of the round trip at the beginning.
    pub(crate) fn new(now: Instant, rtt: Option<Duration>) -> Self {
        let rtt = rtt.unwrap_or_default();
        let mut assembler = Self {
            need_keyframe: true,
            // The host begins with a keyframe by itself: ask only if it does not come.
            request_at: Some(now + FIRST_WITHIN + rtt),
            ..Self::default()
        };
        assembler.set_rtt(rtt);
        assembler
    }

    /// Packets before this one are not waited for any more.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn arrivals(&self) -> Arrivals {
        self.arrivals
    }

    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.patience = PATIENCE + 2 * rtt.min(Duration::from_secs(1));
    }

    pub(crate) fn push(&mut self, now: Instant, packet: Packet) {
        self.arrivals.packets += 1;
        self.arrivals.bytes += packet.payload.len() as u64;
        if let Some(newest) = self.newest {
            self.arrivals.missed += packet.seq.saturating_sub(newest + 1);
        }
        self.newest = self.newest.max(Some(packet.seq));
        if !self.need_keyframe || !self.slots.is_empty() {
            return self.insert(now, now, packet);
        }
        if !starts_keyframe(&packet.payload) {
            if self.early.len() == MAX_EARLY {
                self.early.pop_front();
            }
            return self.early.push_back((now, packet));
        }
        self.base = packet.seq;
        // It is on its way: asking for another one would only delay it.
        self.request_at = Some(now + REQUEST_EVERY.max(self.patience));
        self.insert(now, now, packet);
        for (at, packet) in std::mem::take(&mut self.early) {
            self.insert(now, at, packet);
        }
    }

    fn insert(&mut self, now: Instant, at: Instant, packet: Packet) {
        let Some(offset) = packet.seq.checked_sub(self.base) else {
            return;
        };
        let offset = offset as usize;
        if offset >= MAX_PACKETS || self.bytes + packet.payload.len() > MAX_BYTES {
            self.arrivals.overflows += 1;
            self.give_up(now);
            return;
        }
        if self.slots.len() <= offset {
            self.slots.resize_with(offset + 1, || None);
        }
        let slot = &mut self.slots[offset];
        if slot.is_none() {
            // A repair of a later frame is no sign that this one's still comes.
            let progresses = self.end.is_none_or(|end| offset <= end);
            if packet.marker && progresses {
                self.end = Some(offset);
            }
            self.bytes += packet.payload.len();
            *slot = Some(Slot { packet, at });
            if progresses {
                self.note_progress(now);
            }
        }
    }

    /// What is waited for is on its way.
    fn note_progress(&mut self, now: Instant) {
        if let Some((_, progress_at)) = &mut self.blocked {
            *progress_at = now;
        }
        let began = self.slots.front().and_then(Option::as_ref).map(|slot| slot.at);
        let is_young = began.is_some_and(|at| now < at + MOST_PATIENCE);
        if let Some(at) = self.request_at.as_mut().filter(|_| is_young) {
            *at = (*at).max(now + self.patience);
        }
    }

    /// The next whole frame, if there is one.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Frame> {
        loop {
            let end = self.frame_end()?;
            if let Some(frame) = self.take(end) {
                self.need_keyframe = false;
                self.request_at = None;
                return Some(frame);
            }
            self.give_up(now);
        }
    }

    /// The slot with the marker of the first frame, if all up to it are there.
    fn frame_end(&mut self) -> Option<usize> {
        while let Some(Some(slot)) = self.slots.get(self.scanned) {
            self.scanned += 1;
            if slot.packet.marker {
                return Some(self.scanned - 1);
            }
        }
        None
    }

    /// Takes the first frame out; `None` if its payloads make no sense.
    fn take(&mut self, end: usize) -> Option<Frame> {
        let first = self.slots.front()?.as_ref()?;
        let (keyframe, mut first_at, mut complete_at) =
            (starts_keyframe(&first.packet.payload), first.at, first.at);
        let (mut sound, mut is_repaired) = (true, false);
        for slot in self.slots.drain(..=end).flatten() {
            self.bytes -= slot.packet.payload.len();
            first_at = first_at.min(slot.at);
            complete_at = complete_at.max(slot.at);
            is_repaired |= slot.packet.is_repair;
            sound = sound && self.depacketizer.push(&slot.packet.payload).is_ok();
        }
        self.base += end as u64 + 1;
        self.scanned = 0;
        self.blocked = None;
        self.end = self.find_end();
        let (data, info) = self.depacketizer.take();
        if !sound {
            return None;
        }
        self.arrivals.frames += 1;
        if let Some(info) = info {
            if let Some(last) = self.last_number {
                self.arrivals.frames_lost += u64::from(info.frames_since(last));
            }
            self.last_number = Some(info.number);
        }
        let frame = Frame {
            data,
            keyframe,
            info,
            first_packet_at: first_at,
            complete_at,
            is_repaired,
            latency_us: None,
        };
        Some(frame)
    }

    /// Drops what cannot be completed: all up to the next keyframe that has begun, or all.
    fn give_up(&mut self, now: Instant) {
        self.need_keyframe = true;
        self.request_at = Some(now);
        self.blocked = None;
        self.scanned = 0;
        let next = (1..self.slots.len())
            .find(|&i| self.slots[i].as_ref().is_some_and(|s| starts_keyframe(&s.packet.payload)))
            .unwrap_or(self.slots.len());
        for slot in self.slots.drain(..next) {
            match slot {
                Some(slot) => self.bytes -= slot.packet.payload.len(),
                None => self.arrivals.lost += 1,
            }
        }
        self.base += next as u64;
        self.end = self.find_end();
        if next > 0 && !self.slots.is_empty() {
            // A keyframe is under way already.
            self.request_at = Some(now + REQUEST_EVERY);
        }
    }

    /// The decoder could not use a frame: only a keyframe helps.
    pub(crate) fn reset(&mut self, now: Instant) {
        self.give_up(now);
    }

    /// Whether a keyframe should be asked for now.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        // Filled slots behind an empty one: something is missing.
        if self.slots.len() > self.scanned {
            self.blocked.get_or_insert((now, now));
            if self.patience_ends_at().is_some_and(|at| now >= at) {
                self.give_up(now);
            }
        } else {
            self.blocked = None;
        }
        let due = self.request_at.is_some_and(|at| now >= at);
        if due {
            self.arrivals.keyframe_requests += 1;
            self.request_at = Some(now + REQUEST_EVERY.max(self.patience));
        }
        due
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        [self.patience_ends_at(), self.request_at].into_iter().flatten().min()
    }

    fn find_end(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|slot| slot.packet.marker))
    }

    /// When what is missing is given up.
    fn patience_ends_at(&self) -> Option<Instant> {
        let (since, progress_at) = self.blocked?;
        Some((progress_at + self.patience).min(since + MOST_PATIENCE))
    }

    /// Newest complete frame's number.
    pub(crate) fn newest_frame(&self) -> u32 {
        self.last_number.unwrap_or(0)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;
    use lllsi_proto::h264::packetize;

    const KEY: u8 = 0x67;
    const DELTA: u8 = 0x41;

    /// Packets of consecutive frames, first byte of each frame's NAL unit given, numbered from 1.
    fn packets(kinds: &[u8]) -> Vec<Packet> {
        let mut seq = 0;
        let mut packets = Vec::new();
        for (number, kind) in (1..).zip(kinds) {
            let frame = [&[0, 0, 0, 1, *kind][..], &[1; 500]].concat();
            // A keyframe's parameter sets come first and small.
            let frame =
                if *kind == KEY { [&[0, 0, 0, 1, KEY, 1][..], &frame].concat() } else { frame };
            let prefix = FrameInfo { number, ..FrameInfo::default() }.to_prefix();
            let payloads = packetize(&frame, 200);
            let last = payloads.len() - 1;
            for (i, payload) in payloads.into_iter().enumerate() {
                seq += 1;
                let payload = [if i == 0 { &prefix[..] } else { &[] }, &payload].concat().into();
                packets.push(Packet { seq, marker: i == last, is_repair: false, payload });
            }
        }
        packets
    }

    fn numbers(assembler: &mut Assembler, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| assembler.poll(now)).map(|f| f.info.unwrap().number).collect()
    }

    #[test]
    fn packets_that_overtake_the_first_keyframe_are_kept() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        let mut packets = packets(&[KEY, DELTA]);
        packets.rotate_left(2);
        for packet in packets {
            assembler.push(now, packet);
        }
        assert_eq!(numbers(&mut assembler, now), [1, 2]);
    }

    #[test]
    fn reordered_packets_make_frames_in_order() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        let mut shuffled = packets(&[KEY, DELTA, DELTA]);
        let last = shuffled.len() - 1;
        shuffled.swap(1, last);
        shuffled.swap(2, 5);
        for packet in shuffled {
            assembler.push(now, packet);
        }
        assert_eq!(numbers(&mut assembler, now), [1, 2, 3]);
        assert_eq!(assembler.arrivals().frames_lost, 0);
    }

    #[test]
    fn a_repair_that_comes_in_time_loses_nothing() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        let mut packets = packets(&[KEY, DELTA, DELTA]);
        let late = packets.remove(5);
        for packet in packets {
            assembler.push(now, packet);
        }
        assert_eq!(numbers(&mut assembler, now), [1]);
        assert!(!assembler.handle_timeout(now));
        let repaired = now + PATIENCE / 2;
        assembler.push(repaired, late);
        assert_eq!(numbers(&mut assembler, repaired), [2, 3]);
        let arrivals = assembler.arrivals();
        assert_eq!((arrivals.missed, arrivals.lost, arrivals.frames_lost), (1, 0, 0));
    }

    #[test]
    fn a_packet_that_never_comes_costs_frames_up_to_the_next_keyframe() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        let mut packets = packets(&[KEY, DELTA, DELTA, KEY, DELTA]);
        packets.remove(5);
        for packet in packets {
            assembler.push(now, packet);
        }
        assert_eq!(numbers(&mut assembler, now), [1]);
        assembler.handle_timeout(now);
        let later = now + PATIENCE;
        assert_eq!(assembler.timeout(), Some(later));
        assembler.handle_timeout(later);
        assert_eq!(numbers(&mut assembler, later), [4, 5]);
        assert_eq!(assembler.arrivals().frames_lost, 2);
        assert_eq!(assembler.timeout(), None);
    }

    #[test]
    fn a_frame_that_is_still_coming_is_waited_for() {
        let begin = Instant::now();
        let mut assembler = Assembler::new(begin, None);
        let mut packets = packets(&[KEY]);
        let late = packets.remove(2);
        let (step, mut now) = (PATIENCE * 2 / 3, begin);
        for packet in packets {
            assembler.push(now, packet);
            assert!(!assembler.handle_timeout(now), "it is on its way");
            now += step;
        }
        assert!(now >= begin + 2 * PATIENCE, "or it proves nothing");
        assembler.push(now, late);
        assert_eq!(numbers(&mut assembler, now), [1]);
        assert_eq!((assembler.arrivals().lost, assembler.arrivals().keyframe_requests), (0, 0));
    }

    #[test]
    fn repairs_of_later_frames_do_not_prolong_the_wait() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        let mut packets = packets(&[KEY, DELTA, DELTA]);
        let late = packets.remove(8);
        packets.remove(5);
        for packet in packets {
            assembler.push(now, packet);
        }
        assert_eq!(numbers(&mut assembler, now), [1]);
        assembler.handle_timeout(now);
        assembler.push(now + PATIENCE / 2, late);
        assert_eq!(assembler.timeout(), Some(now + PATIENCE));
    }

    #[test]
    fn progress_is_waited_for_up_to_a_bound() {
        let mut now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        let packets = packets(&[KEY, DELTA]);
        let (first, rest) = packets.split_first().unwrap();
        let begin = now;
        assembler.push(now, first.clone());
        // A frame of which one packet after another comes late, but never the second.
        for seq in 0..10_000 {
            let packet = Packet { seq: first.seq + 2 + seq, marker: false, ..rest[1].clone() };
            assembler.push(now, packet);
            if assembler.handle_timeout(now) {
                break;
            }
            now += PATIENCE / 2;
        }
        let waited = now - begin;
        assert!(waited <= MOST_PATIENCE + PATIENCE, "{waited:?}");
        assert_eq!(assembler.arrivals().keyframe_requests, 1);
    }

    #[test]
    fn it_begins_with_a_keyframe_and_asks_for_one_that_does_not_come() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        for packet in packets(&[DELTA, DELTA]) {
            assembler.push(now, packet);
        }
        assert!(numbers(&mut assembler, now).is_empty());
        assert!(!assembler.handle_timeout(now));
        assert!(!assembler.handle_timeout(now + FIRST_WITHIN / 2));
        assert!(assembler.handle_timeout(now + FIRST_WITHIN));
        assert!(!assembler.handle_timeout(now + FIRST_WITHIN), "not twice at once");
    }

    #[test]
    fn hostile_sequence_numbers_cost_bounded_memory() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        let template = packets(&[KEY]);
        for i in 0..200_000u64 {
            let seq = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            assembler.push(now, Packet { seq, ..template[0].clone() });
            while assembler.poll(now).is_some() {}
            assert!(assembler.slots.len() <= MAX_PACKETS);
        }
        assert!(assembler.arrivals().overflows > 0);
    }

    #[test]
    fn bytes_have_a_bound_while_something_is_missing() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        assembler.push(now, packets(&[KEY])[0].clone());
        let large = Packet {
            seq: 0,
            marker: false,
            is_repair: false,
            payload: vec![DELTA; 64 * 1024].into(),
        };
        for seq in 3..300 {
            assembler.push(now, Packet { seq, ..large.clone() });
            assert!(assembler.bytes <= MAX_BYTES);
        }
        assert!(assembler.arrivals().overflows > 0);
    }

    #[test]
    fn packets_before_the_first_keyframe_have_a_bound() {
        let now = Instant::now();
        let mut assembler = Assembler::new(now, None);
        let template = packets(&[DELTA]).remove(0);
        for seq in 0..2 * MAX_EARLY as u64 {
            assembler.push(now, Packet { seq, ..template.clone() });
        }
        assert_eq!(assembler.early.len(), MAX_EARLY);
        let oldest = assembler.early.front().map(|(_, packet)| packet.seq);
        assert_eq!(oldest, Some(MAX_EARLY as u64));
    }
}
