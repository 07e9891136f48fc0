//! What a test does with a client besides what clients do.

use std::time::{Duration, Instant};

use lllsi_proto::control::Report;
use lllsi_rtc::Transport;

use super::Client;

#[doc(hidden)]
impl Client {
    /// For a hostile viewer, which seals what it likes.
    pub fn transport(&mut self) -> &mut Transport {
        self.link.transport()
    }

    /// Changes all reports from now on.
    pub fn lie(&mut self, lie: fn(&mut Report)) {
        self.lie = Some(lie);
    }

    /// A ping is due at once.
    pub fn ping(&mut self, now: Instant) {
        self.ping_at = self.ping_at.map(|_| now);
    }

    /// The shortest round trip of the pings that were answered since this was called before.
    pub fn round_trip(&mut self) -> Option<Duration> {
        std::mem::take(&mut self.clock).rtt_us().map(Duration::from_micros)
    }
}
