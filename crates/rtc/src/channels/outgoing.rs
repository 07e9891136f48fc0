//! What was sent and is not acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::filter::wire::{self, Chunk, Chunks};

/// Messages that may wait to be sent or acknowledged, per channel.
pub(super) const MAX_MESSAGES: usize = 1024;
/// Chunks that may be sent and not acknowledged, at which no more are written. The association
/// looks through all of them several times whenever it sends, also through those given up.
pub(super) const MAX_IN_FLIGHT: u32 = 2048;

/// Sizes of the messages of a channel that wait to be sent or acknowledged. The association tells
/// only their bytes; a limit of bytes alone would let a peer that acknowledges nothing make it
/// hold a million messages of one byte.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    sizes: VecDeque<u32>,
    bytes: usize,
}

impl Waiting {
    /// Forgets the oldest messages, as far as the others make up the `buffered` bytes.
    pub(super) fn keep(&mut self, buffered: usize) {
        while let Some(&oldest) = self.sizes.front() {
            if self.bytes - (oldest as usize) < buffered {
                break;
            }
            self.bytes -= oldest as usize;
            self.sizes.pop_front();
        }
    }

    pub(super) fn add(&mut self, len: usize) {
        self.sizes.push_back(u32::try_from(len).unwrap_or(u32::MAX));
        self.bytes += self.sizes.back().map_or(0, |&size| size as usize);
    }

    pub(super) fn messages(&self) -> usize {
        self.sizes.len()
    }
}

/// Packets that wait to be taken, and the highest TSN in what was sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    packets: VecDeque<Bytes>,
    first_tsn: Option<u32>,
    last_tsn: u32,
}

impl Outgoing {
    pub(super) fn next(&mut self) -> Option<Bytes> {
        self.packets.pop_front()
    }

    #[cfg(feature = "testing")]
    pub(super) fn last_tsn(&self) -> Option<u32> {
        self.first_tsn.map(|_| self.last_tsn)
    }

    /// Chunks sent that the peer has not acknowledged, given the last TSN it did.
    pub(super) fn in_flight(&self, acknowledged: Option<u32>) -> u32 {
        let Some(first) = self.first_tsn else { return 0 };
        let from = acknowledged.unwrap_or(first.wrapping_sub(1));
        let count = self.last_tsn.wrapping_sub(from);
        if count < 1 << 31 { count } else { 0 }
    }

    /// Queues a packet, split if it is longer than `max`. Returns the bytes of it that answer
    /// the peer: zero for a packet with DATA.
    pub(super) fn push(&mut self, packet: Bytes, max: usize) -> usize {
        let mut answers = true;
        for chunk in Chunks::new(&packet).flatten() {
            match chunk {
                Chunk::Data(data) => {
                    answers = false;
                    self.note(data.tsn);
                }
                Chunk::ForwardTsn(forward) => self.note(forward.new_cumulative),
                _ => {}
            }
        }
        let len = packet.len();
        if len > max {
            wire::split(&packet, max, |part| self.packets.push_back(part.into()));
        } else {
            self.packets.push_back(packet);
        }
        if answers { len } else { 0 }
    }

    fn note(&mut self, tsn: u32) {
        if self.first_tsn.is_none() {
            self.first_tsn = Some(tsn);
            self.last_tsn = tsn;
        } else if tsn.wrapping_sub(self.last_tsn) < 1 << 31 {
            self.last_tsn = tsn;
        }
    }
}
