//! The host's clock as a client sees it, and how long the way from there is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples kept: ten seconds at two a second.
const WINDOW: usize = 20;
/// A link at rest is not asked for its clock. Samples from before say little after this: clocks drift apart.
const MAX_AGE_US: u64 = 30_000_000;
/// The shortest delay of a path is looked for over two of these.
const DELAY_WINDOW: Duration = Duration::from_secs(5);

/// Estimates the offset between two clocks from pings: the sample with the shortest round trip of the last ten seconds
/// is the least disturbed (the clock filter of RFC 5905, section 10, in its simplest form).
#[derive(Debug, Default)]
pub(crate) struct ClockSync {
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_us: u64,
    rtt_us: u64,
    /// Host clock minus our clock.
    offset_us: i64,
}

impl ClockSync {
    /// Takes a ping's three times: sent and answered on our clock, received on the host's. Microseconds.
    pub(crate) fn sample(&mut self, sent_us: u64, host_us: u64, now_us: u64) {
        let Some(rtt_us) = now_us.checked_sub(sent_us) else {
            return;
        };
        let middle = (sent_us + rtt_us / 2) as i64;
        let offset_us = (host_us as i64).wrapping_sub(middle);
        self.samples.push_back(Sample { at_us: now_us, rtt_us, offset_us });
        let is_old = |sample: &Sample| now_us.saturating_sub(sample.at_us) > MAX_AGE_US;
        while self.samples.len() > WINDOW || self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    fn best(&self) -> Option<Sample> {
        self.samples.iter().copied().min_by_key(|s| s.rtt_us)
    }

    /// Shortest recent round trip, microseconds.
    pub(crate) fn rtt_us(&self) -> Option<u64> {
        self.best().map(|s| s.rtt_us)
    }

    /// What the host's clock shows when ours shows `now_us`.
    pub(crate) fn host_us(&self, now_us: u64) -> Option<u64> {
        (now_us as i64).wrapping_add(self.best()?.offset_us).try_into().ok()
    }

    /// How long ago, at our time `now_us`, the host's clock showed `host_us`. Microseconds; may be slightly negative.
    pub(crate) fn age_us(&self, host_us: u64, now_us: u64) -> Option<i64> {
        let offset = self.best()?.offset_us;
        Some((now_us as i64).wrapping_add(offset).wrapping_sub(host_us as i64))
    }
}

/// The shortest one-way delay seen lately, in a clock difference that is unknown but constant.
#[derive(Debug, Default)]
pub(crate) struct DelayWindow {
    previous: Option<i64>,
    current: Option<i64>,
    turn_at: Option<Instant>,
}

impl DelayWindow {
    /// The shortest of the last five to ten seconds, microseconds.
    pub(crate) fn shortest(&self) -> Option<i64> {
        [self.previous, self.current].into_iter().flatten().min()
    }

    /// How far `delay_us` stands above the shortest of the last five to ten seconds, microseconds.
    pub(crate) fn above_shortest(&mut self, now: Instant, delay_us: i64) -> u32 {
        let turn_at = *self.turn_at.get_or_insert(now + DELAY_WINDOW);
        if now >= turn_at {
            self.previous = self.current.take();
            if now >= turn_at + DELAY_WINDOW {
                // After a long rest clocks have drifted apart.
                self.previous = None;
            }
            self.turn_at = Some(now + DELAY_WINDOW);
        }
        self.current = Some(self.current.map_or(delay_us, |least| least.min(delay_us)));
        let shortest = self.shortest().unwrap_or(delay_us);
        delay_us.saturating_sub(shortest).clamp(0, u32::MAX.into()) as u32
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    #[test]
    fn the_least_delayed_sample_counts() {
        let mut clock = ClockSync::default();
        assert_eq!(clock.age_us(0, 0), None);
        // The host's clock is 1,000,000 ahead. A queue of 40 ms on the way there bends the first sample.
        clock.sample(0, 1_000_000 + 45_000, 50_000);
        clock.sample(100_000, 1_100_000 + 5_000, 110_000);
        assert_eq!(clock.rtt_us(), Some(10_000));
        assert_eq!(clock.age_us(1_200_000, 230_000), Some(30_000));
        // After a rest a longer round trip tells more than one of long ago.
        let later = MAX_AGE_US + 200_000;
        clock.sample(later, later + 1_000_000 + 10_000, later + 20_000);
        assert_eq!(clock.rtt_us(), Some(20_000));
    }

    #[test]
    fn absurd_times_do_no_harm() {
        let mut clock = ClockSync::default();
        clock.sample(u64::MAX, 0, 5);
        clock.sample(0, u64::MAX, 5);
        let _ = clock.age_us(0, u64::MAX);
    }

    #[test]
    fn a_standing_queue_shows_and_an_old_minimum_is_forgotten() {
        let now = Instant::now();
        let mut delay = DelayWindow::default();
        assert_eq!(delay.above_shortest(now, -5_000), 0);
        assert_eq!(delay.above_shortest(now, 35_000), 40_000);
        // The path became longer for good.
        let later = now + 3 * DELAY_WINDOW;
        delay.above_shortest(now + DELAY_WINDOW, 35_000);
        delay.above_shortest(now + 2 * DELAY_WINDOW, 35_000);
        assert_eq!(delay.above_shortest(later, 36_000), 1_000);
        // Nothing was measured for a while: the first measure is all that is known.
        let later = later + 2 * DELAY_WINDOW;
        assert_eq!(delay.above_shortest(later, 90_000), 0);
        assert_eq!(delay.above_shortest(later, i64::MAX), u32::MAX);
    }
}
