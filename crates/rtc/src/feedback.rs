//! Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01): the sender numbers all packets
//! of a transport, the receiver tells when each arrived.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtcp::TransportFeedback;

/// Packets remembered until the peer has told of them: several seconds at 8 Mbit/s.
const MAX_LOGGED: usize = 4096;
/// A unit of arrival times.
const TICK_US: i64 = 250;

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketResult {
    /// When it was sent.
    pub sent_at: Instant,
    /// Its bytes, tag included.
    pub bytes: u32,
    /// When it arrived, on the receiver's clock since an unknown but constant instant; `None` if it had not when the
    /// receiver told.
    pub arrived: Option<Duration>,
}

/// The packets that may still be told of.
#[derive(Debug, Default)]
pub(crate) struct TransportLog {
    next: u64,
    sent: VecDeque<(Instant, u32)>,
}

impl TransportLog {
    /// The number of the packet that [`Self::sent`] tells of next.
    pub(crate) fn next_number(&self) -> u16 {
        self.next as u16
    }

    pub(crate) fn sent(&mut self, now: Instant, bytes: usize) {
        if self.sent.len() == MAX_LOGGED {
            self.sent.pop_front();
        }
        self.sent.push_back((now, bytes as u32));
        self.next += 1;
    }

    /// What a peer's feedback says about packets that were sent. Others that it names are ignored.
    pub(crate) fn results<'a>(
        &'a self,
        feedback: &'a TransportFeedback<'a>,
    ) -> impl Iterator<Item = PacketResult> + 'a {
        let reference_us = i64::from(feedback.reference_time) * 64_000;
        // The reference time wraps at 24 bits and may count as negative.
        let base_us = reference_us + (1 << 24) * 64_000;
        let oldest = self.next - self.sent.len() as u64;
        feedback.statuses().filter_map(move |(number, arrival)| {
            let newest = self.next.checked_sub(1)?;
            let index = newest.checked_sub((newest as u16).wrapping_sub(number).into())?;
            let (sent_at, bytes) =
                *self.sent.get(usize::try_from(index.checked_sub(oldest)?).ok()?)?;
            let arrived = arrival
                .map(|ticks| Duration::from_micros((base_us + ticks * TICK_US).max(0) as u64));
            Some(PacketResult { sent_at, bytes, arrived })
        })
    }
}
