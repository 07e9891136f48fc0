//! What a browser says of single packets, in place of the reports of native viewers on whole frames.

use std::time::Instant;

use lllsi_rtc::PacketResult;

use super::silence::{FEEDBACK_APART, Silence};
use super::{Arrived, Estimate};

impl Estimate {
    /// Whether the viewer is a browser that feeds back what has arrived.
    pub(crate) fn is_fed_back(&self) -> bool {
        self.is_fed_back
    }

    /// Takes feedback on single packets, in the order in which they were sent: all packets of a frame are sent at one moment, and
    /// repairs at any.
    pub(crate) fn fed_back(&mut self, now: Instant, mut packets: Vec<PacketResult>) {
        if !std::mem::replace(&mut self.is_fed_back, true) {
            self.silence = Silence::default();
        }
        self.silence.heard(now, FEEDBACK_APART);
        packets.retain(|packet| !packet.is_repair);
        for packets in packets.chunk_by(|a, b| a.sent_at == b.sent_at) {
            let arrived = || packets.iter().filter_map(|packet| packet.arrived);
            let (Some(first), Some(last)) = (arrived().min(), arrived().max()) else { continue };
            let sent_at = packets[0].sent_at;
            let (spread, count) = (last - first, arrived().count());
            let round_trip = now.saturating_duration_since(sent_at).saturating_sub(spread);
            self.went_round(now, round_trip);
            // Frames of which feedback names a part show less.
            let frame = self.sent.iter().rev().find(|sent| sent.at == sent_at).copied();
            // Of all of them it is known whether they have arrived.
            if let Some(frame) = frame.filter(|frame| packets.len() >= frame.all as usize) {
                self.seen = self.seen.max(frame.through).min(self.packets);
            }
            let Some(frame) = frame.filter(|frame| frame.all as usize == count) else {
                continue;
            };
            let bytes = packets.iter().map(|packet| packet.bytes).sum();
            self.arrived(
                now,
                &Arrived {
                    sent_at,
                    first_us: first.as_micros() as i64,
                    spread,
                    packets: frame.all,
                    bytes,
                    first: frame.first,
                    is_whole: true,
                },
            );
        }
    }
}
