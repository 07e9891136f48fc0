//! What was received above the cumulative TSN: the receiver's half of RFC 9260 section 6.2, as a
//! copy of what the association keeps.

use std::collections::VecDeque;

use super::wire::Data;

/// How far above the cumulative TSN a chunk may lie.
pub const TSN_WINDOW: u32 = 4096;

/// A received chunk, packed into 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slot {
    flags: u8,
    /// Payload protocol identifier; those the filter takes fit into a byte.
    pub payload_type: u8,
    /// Stream identifier.
    pub stream: u16,
    /// Stream sequence number.
    pub ssn: u16,
    /// Bytes of user data; 0 in a slot whose chunk has not come.
    pub len: u16,
}

impl Slot {
    /// A slot for `data`.
    pub fn new(data: &Data, payload_type: u8) -> Self {
        let flags =
            u8::from(data.unordered) << 2 | u8::from(data.begins) << 1 | u8::from(data.ends);
        Self { flags, payload_type, stream: data.stream, ssn: data.ssn, len: data.len }
    }

    /// The U bit.
    pub fn unordered(&self) -> bool {
        self.flags & 4 != 0
    }

    /// The B bit.
    pub fn begins(&self) -> bool {
        self.flags & 2 != 0
    }

    /// The E bit.
    pub fn ends(&self) -> bool {
        self.flags & 1 != 0
    }

    fn is_whole(&self) -> bool {
        self.begins() && self.ends()
    }

    fn is_present(&self) -> bool {
        self.len != 0
    }
}

/// How much lies above the cumulative TSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Chunks that are whole messages.
    pub whole: usize,
    /// Chunks that are fragments.
    pub fragments: usize,
    /// Bytes of user data of both.
    pub bytes: usize,
    /// Runs of consecutive TSNs: the gap ack blocks of the next SACK.
    pub runs: usize,
}

/// The chunks above the cumulative TSN.
#[derive(Debug)]
pub struct Window {
    cumulative: u32,
    slots: VecDeque<Slot>,
    load: Load,
}

impl Window {
    /// A window whose next TSN is `initial_tsn`.
    pub fn new(initial_tsn: u32) -> Self {
        let cumulative = initial_tsn.wrapping_sub(1);
        Self { cumulative, slots: VecDeque::new(), load: Load::default() }
    }

    /// The last TSN up to which all has come.
    pub fn cumulative(&self) -> u32 {
        self.cumulative
    }

    /// What lies above the cumulative TSN.
    pub fn load(&self) -> Load {
        self.load
    }

    /// How far `tsn` lies above the cumulative TSN; `None` when it does not.
    pub fn ahead(&self, tsn: u32) -> Option<u32> {
        let ahead = tsn.wrapping_sub(self.cumulative);
        (1..=1 << 31).contains(&ahead).then_some(ahead)
    }

    /// Whether the chunk `ahead` of the cumulative TSN has come.
    pub fn has(&self, ahead: u32) -> bool {
        ahead
            .checked_sub(1)
            .and_then(|index| self.slots.get(index as usize))
            .is_some_and(Slot::is_present)
    }

    /// Takes a chunk that had not come and lies within [`TSN_WINDOW`].
    pub fn insert(&mut self, ahead: u32, slot: Slot) {
        debug_assert!((1..=TSN_WINDOW).contains(&ahead) && !self.has(ahead));
        self.load.runs += 1;
        self.load.runs -= usize::from(self.has(ahead - 1));
        self.load.runs -= usize::from(self.has(ahead + 1));
        if slot.is_whole() {
            self.load.whole += 1;
        } else {
            self.load.fragments += 1;
        }
        self.load.bytes += usize::from(slot.len);
        let index = ahead as usize - 1;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot::default());
        }
        self.slots[index] = slot;
    }

    /// Moves the cumulative TSN up by one, over a chunk that has come.
    pub fn take_next(&mut self) -> Option<Slot> {
        self.slots.front().filter(|slot| slot.is_present())?;
        self.step()
    }

    /// Moves the cumulative TSN up by one towards `target`, over a chunk or over its absence:
    /// `Some(None)`. `None` at the target. An absence ends the walk early at the target when
    /// nothing that has come lies before it.
    pub fn skip(&mut self, target: u32) -> Option<Option<Slot>> {
        self.ahead(target)?;
        if self.slots.is_empty() {
            self.cumulative = target;
            return Some(None);
        }
        Some(self.step())
    }

    fn step(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front().unwrap_or_default();
        self.cumulative = self.cumulative.wrapping_add(1);
        if !slot.is_present() {
            return None;
        }
        self.load.runs -= usize::from(!self.has(1));
        if slot.is_whole() {
            self.load.whole -= 1;
        } else {
            self.load.fragments -= 1;
        }
        self.load.bytes -= usize::from(slot.len);
        Some(slot)
    }
}
