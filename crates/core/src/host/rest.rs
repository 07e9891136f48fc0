//! Viewers at rest: a host and its viewers hear of each other though nothing is sent.

use std::time::{Duration, Instant};

use super::viewer::Step;
use super::{Host, ViewerId};
use crate::micros_since;

/// How often viewers at rest are looked after, all at once: to be woken for each would cost several times as much.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// A viewer from which nothing has come for this long is at rest.
const REST: Duration = Duration::from_millis(1750);
/// One that has not answered by then is pinged whenever the bitrate is reconsidered: of the silence that ends a link less than
/// half is left.
const UNANSWERED: Duration = Duration::from_millis(2500);

/// One that is sent pictures is in doubt earlier.
const UNHEARD: Duration = Duration::from_secs(1);

/// When viewers at rest are looked after, and which.
pub(super) struct Rest {
    beat_at: Instant,
    /// Those that were pinged at the last beat, and have not answered.
    pinged: Vec<ViewerId>,
}

impl Rest {
    pub(super) fn new(now: Instant) -> Self {
        Self { beat_at: now, pinged: Vec::new() }
    }
}

impl Host {
    /// Pings the viewers from which nothing has come for a while: all that are at rest at each beat, and between two beats those
    /// that have not answered.
    pub(super) fn ping_those_at_rest(&mut self) {
        let (now, is_beat) = (self.now, self.now >= self.rest.beat_at);
        if is_beat {
            self.rest.beat_at = now + BEAT_EVERY;
            let at_rest = self.viewers.iter().filter(|(_, viewer)| viewer.is_at_rest(now, REST));
            self.rest.pinged = at_rest.map(|(id, _)| *id).collect();
        }
        let viewers = &self.viewers;
        let is_silent = |id: &ViewerId, time| {
            viewers.get(id).is_some_and(|viewer| viewer.is_at_rest(now, time))
        };
        self.rest.pinged.retain(|id| is_silent(id, REST));
        let due = self.rest.pinged.iter().filter(|id| is_beat || is_silent(id, UNANSWERED));
        let due: Vec<_> = due.copied().collect();
        let is_unheard = viewers.values().any(|viewer| viewer.is_unheard(now, UNHEARD));
        if is_unheard || due.iter().any(|id| is_silent(id, UNANSWERED)) {
            self.doubt_network();
        }
        let host_us = micros_since(self.epoch, now);
        for id in due {
            self.with_viewer(id, |viewer, now| {
                viewer.ping(now, host_us);
                Step::Stay
            });
        }
    }
}
