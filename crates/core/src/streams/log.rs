//! What a publisher keeps of its streams until it is delivered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lllsi_proto::rtsmp::{FRAGMENT_BYTES, FrameHead, LIVE_FRAGMENT_BYTES};

use super::MapChange;

/// What a frame costs besides its payload, so that small ones have a bound too.
const FRAME_COST: usize = 32;

/// What a frame counts as, wherever bytes are bounded.
pub fn cost(payload: &Bytes) -> usize {
    payload.len() + FRAME_COST
}

/// A frame of changes takes no more once it has so many bytes.
const CHANGES_BYTES: usize = 256 << 10;

/// A frame and its head.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) head: FrameHead,
    pub(super) payload: Bytes,
}

/// Frames with numbers that have no gaps.
#[derive(Debug)]
pub(super) struct Log {
    first: u32,
    frames: VecDeque<Kept>,
    bytes: usize,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { first: 1, frames: VecDeque::new(), bytes: 0 }
    }

    /// The oldest frame that is kept; [`Self::next`] if there is none.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// The number of the frame that comes next.
    pub(super) fn next(&self) -> u32 {
        self.first + self.frames.len() as u32
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, mut head: FrameHead, payload: Bytes) {
        head.number = self.next();
        self.bytes += cost(&payload);
        self.frames.push_back(Kept { head, payload });
    }

    pub(super) fn get(&self, number: u32) -> Option<&Kept> {
        self.frames.get(number.checked_sub(self.first)? as usize)
    }

    /// What the frames from the first of these numbers to before the second count as.
    pub(super) fn cost(&self, from: u32, to: u32) -> usize {
        (from..to).filter_map(|number| self.get(number)).map(|kept| cost(&kept.payload)).sum()
    }

    /// Forgets the frames before this number; what they counted as.
    pub(super) fn free_before(&mut self, number: u32) -> usize {
        let mut freed = 0;
        while self.first < number
            && let Some(kept) = self.frames.pop_front()
        {
            self.first += 1;
            freed += cost(&kept.payload);
        }
        self.bytes -= freed;
        freed
    }

    /// Forgets the oldest frames until no more than so many bytes are kept.
    pub(super) fn shrink(&mut self, bytes: usize) {
        while self.bytes > bytes {
            self.free_before(self.first + 1);
        }
    }
}

/// A map as it was before one of its frames, coded.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// The frame that comes next.
    pub(super) next: u32,
    pub(super) frames: Vec<Bytes>,
    bytes: usize,
}

/// A map, and its newest changes.
#[derive(Debug)]
pub(super) struct MapLog {
    pub(super) log: Log,
    entries: BTreeMap<Bytes, Bytes>,
    checkpoint: Option<Arc<Checkpoint>>,
    capacity: usize,
}

impl MapLog {
    pub(super) fn new(capacity: usize) -> Self {
        Self { log: Log::new(), entries: BTreeMap::new(), checkpoint: None, capacity }
    }

    /// Makes changes, which become a frame, or several if they are many.
    pub(super) fn change(&mut self, head: FrameHead, changes: Vec<MapChange>) {
        let mut payload = Vec::new();
        for change in changes {
            if payload.len() >= CHANGES_BYTES {
                self.log.push(head, std::mem::take(&mut payload).into());
            }
            match change {
                MapChange::Insert { key, value } => {
                    write_entry(&mut payload, &key, &value);
                    self.entries.insert(key, value);
                }
                MapChange::Remove { key } => {
                    payload.push(0x81);
                    payload.extend_from_slice(&key);
                    self.entries.remove(&key);
                }
                MapChange::Clear => {
                    payload.push(0x80);
                    self.entries.clear();
                }
            }
        }
        self.log.push(head, payload.into());
        self.log.shrink(self.capacity);
    }

    /// The map at present, or at some time since which the changes are kept and fewer than the map itself.
    pub(super) fn checkpoint(&mut self) -> Arc<Checkpoint> {
        let next = self.log.next();
        let usable = self.checkpoint.take().filter(|c| {
            c.next >= self.log.first() && self.log.cost(c.next, next) <= c.bytes.max(FRAGMENT_BYTES)
        });
        let checkpoint = usable.unwrap_or_else(|| Arc::new(self.snapshot(next)));
        self.checkpoint = Some(Arc::clone(&checkpoint));
        checkpoint
    }

    fn snapshot(&self, next: u32) -> Checkpoint {
        let (mut frames, mut frame, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (key, value) in &self.entries {
            write_entry(&mut frame, key, value);
            if frame.len() >= FRAGMENT_BYTES {
                bytes += frame.len();
                frames.push(std::mem::take(&mut frame).into());
            }
        }
        if !frame.is_empty() {
            bytes += frame.len();
            frames.push(frame.into());
        }
        Checkpoint { next, frames, bytes }
    }
}

fn write_entry(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.push(0x82);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// The newest frame of a real-time stream, and small ones that came just before it.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) frames: VecDeque<(Kept, Instant)>,
    pub(super) next: u32,
    /// In which turn they came, and their bytes with their heads.
    turn: u64,
    bytes: usize,
}

impl Newest {
    pub(super) fn new() -> Self {
        Self { frames: VecDeque::new(), next: 1, turn: 0, bytes: 0 }
    }

    /// Whether one that counts as so much would overtake some that nobody has been sent.
    pub(super) fn is_overtaken(&self, counts: usize, turn: u64) -> bool {
        turn == self.turn && !self.frames.is_empty() && self.bytes + counts > LIVE_FRAGMENT_BYTES
    }

    /// Overtakes those before it; but what comes in one turn, before anybody is sent anything, and fits into one packet goes
    /// together.
    pub(super) fn push(&mut self, mut head: FrameHead, payload: Bytes, until: Instant, turn: u64) {
        if turn != self.turn || self.is_overtaken(cost(&payload), turn) {
            self.frames.clear();
            (self.turn, self.bytes) = (turn, 0);
        }
        self.bytes += cost(&payload);
        head.number = self.next;
        self.next += 1;
        self.frames.push_back((Kept { head, payload }, until));
    }
}
