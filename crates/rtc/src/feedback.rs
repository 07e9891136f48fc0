//! Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01): the sender numbers all packets
//! of a transport, the receiver tells when each arrived.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtcp::TransportFeedback;

/// Packets remembered until the peer has told of them: several seconds at 8 Mbit/s.
const MAX_LOGGED: usize = 4096;
/// Statuses that a peer may tell of for each packet that was sent, counted over as many as are remembered. Those who mean
/// well tell of each about once; a few bytes can tell of thousands, over and over.
const STATUSES_PER_PACKET: usize = 4;
/// A unit of arrival times.
const TICK_US: i64 = 250;

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketResult {
    /// When it was sent.
    pub sent_at: Instant,
    /// Its bytes, tag included.
    pub bytes: u32,
    /// Whether it was sent in place of one that may be lost.
    pub is_repair: bool,
    /// When it arrived, on the receiver's clock since an unknown but constant instant; `None` if it had not when the
    /// receiver told.
    pub arrived: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    bytes: u32,
    is_repair: bool,
}

/// The packets that may still be told of.
#[derive(Debug, Default)]
pub(crate) struct TransportLog {
    next: u64,
    sent: VecDeque<Sent>,
    /// Statuses that are looked at before more packets are sent.
    statuses: usize,
}

impl TransportLog {
    /// The number of the packet that [`Self::sent`] records next.
    pub(crate) fn next_number(&self) -> u16 {
        self.next as u16
    }

    pub(crate) fn sent(&mut self, now: Instant, bytes: usize, is_repair: bool) {
        if self.sent.len() == MAX_LOGGED {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { at: now, bytes: bytes as u32, is_repair });
        self.next += 1;
        let most = STATUSES_PER_PACKET * MAX_LOGGED;
        self.statuses = (self.statuses + STATUSES_PER_PACKET).min(most);
    }

    /// What a peer's feedback says about packets that were sent. Others that it names are ignored, and so is all of it if
    /// the peer has told of many more packets than there were.
    pub(crate) fn results(&mut self, feedback: &TransportFeedback<'_>) -> Vec<PacketResult> {
        let Some(left) = self.statuses.checked_sub(feedback.status_count()) else {
            return Vec::new();
        };
        self.statuses = left;
        let reference_us = i64::from(feedback.reference_time) * 64_000;
        // The reference time wraps at 24 bits and may count as negative.
        let base_us = reference_us + (1 << 24) * 64_000;
        let oldest = self.next - self.sent.len() as u64;
        let result = |(number, arrival): (u16, Option<i64>)| {
            let newest = self.next.checked_sub(1)?;
            let index = newest.checked_sub((newest as u16).wrapping_sub(number).into())?;
            let Sent { at: sent_at, bytes, is_repair } =
                *self.sent.get(usize::try_from(index.checked_sub(oldest)?).ok()?)?;
            let arrived = arrival
                .map(|ticks| Duration::from_micros((base_us + ticks * TICK_US).max(0) as u64));
            Some(PacketResult { sent_at, bytes, is_repair, arrived })
        };
        feedback.statuses().filter_map(result).collect()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;
    use crate::rtcp::{self, Packet};

    /// What feedback on so many packets from this one on tells.
    fn tell(log: &mut TransportLog, first: u16, arrivals: &[Option<i64>]) -> Vec<PacketResult> {
        let mut packet = Vec::new();
        rtcp::transport_feedback(&mut packet, 1, 2, first, 0, 0, arrivals);
        let Some(Packet::TransportCc(feedback)) = rtcp::packets(&packet).next() else {
            panic!("it is feedback")
        };
        log.results(&feedback)
    }

    #[test]
    fn feedback_tells_of_packets_that_were_sent_and_of_no_others() {
        let (mut log, now) = (TransportLog::default(), Instant::now());
        (0..10).for_each(|n| log.sent(now, 100 + n, false));
        let told = tell(&mut log, 8, &[Some(4), None, Some(8)]);
        let told: Vec<_> = told.iter().map(|told| (told.bytes, told.arrived.is_some())).collect();
        assert_eq!(told, [(108, true), (109, false)]);
    }

    #[test]
    fn feedback_that_is_repeated_without_end_is_ignored_until_more_is_sent() {
        let (mut log, now) = (TransportLog::default(), Instant::now());
        (0..100).for_each(|_| log.sent(now, 100, false));
        let mut told = 0;
        for _ in 0..1000 {
            told += tell(&mut log, 0, &[None; 100]).len();
        }
        assert_eq!(told, 100 * STATUSES_PER_PACKET);
        (0..100).for_each(|_| log.sent(now, 100, false));
        assert_eq!(tell(&mut log, 100, &[None; 100]).len(), 100);
    }
}
