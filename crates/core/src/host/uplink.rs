//! What all viewers together may be sent: what the user allows, and what the host's own line carries where that is narrower than the
//! paths behind it.
//!
//! A viewer's path is measured by its own packets, and those of others before it in the queue of the host's line only look like a
//! path that is now narrow and now wide. So where most viewers find a queue at the same time, what arrives at all of them together is
//! the line's rate, and each gets a share of it.

use std::time::{Duration, Instant};

/// Viewers that find a queue within this time do so together.
const TOGETHER: Duration = Duration::from_millis(400);
/// After a change, how long to wait for its effect.
const PAUSE: Duration = Duration::from_millis(800);
/// After a queue, the limit is this share of what arrives, so that the queue drains.
const DRAIN: f64 = 0.85;
/// Growth in a second by trial, while the line is used and has no queue: at first, and from so long after a change on.
const GROWTH: f64 = 0.08;
const LATER_GROWTH: f64 = 0.2;
const LATER: Duration = Duration::from_secs(5);
/// The line is used if so much of what may be sent arrives.
const USED: f64 = 0.7;
/// A limit that has not been used for this long is dropped.
const FORGOTTEN: Duration = Duration::from_secs(20);

/// Viewers that find a queue together get at least this share of what arrives at all.
const MOST: f64 = 0.8;

/// One viewer's path, as far as it tells about the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// When it was last found to be full.
    pub(super) congested_at: Option<Instant>,
    /// What arrives of what is sent, bit/s.
    pub(super) received: f64,
}

/// The host's line.
#[derive(Debug)]
pub(super) struct Uplink {
    /// What the user allows, bit/s.
    allowed: f64,
    /// What each viewer gets at least, bit/s.
    least: f64,
    /// What the line carries, if it is known to be narrow.
    carried: Option<f64>,
    changed_at: Instant,
    used_at: Instant,
    looked_at: Instant,
}

impl Uplink {
    pub(super) fn new(now: Instant, allowed: Option<f64>, least: f64) -> Self {
        let allowed = allowed.unwrap_or(f64::INFINITY);
        Self { allowed, least, carried: None, changed_at: now, used_at: now, looked_at: now }
    }

    /// What all viewers together may be sent, bit/s.
    pub(super) fn limit(&self) -> f64 {
        self.allowed.min(self.carried.unwrap_or(f64::INFINITY))
    }

    /// Looks at all viewers that are sent pictures.
    pub(super) fn look(&mut self, now: Instant, viewers: &[Signs]) {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.looked_at, now));
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_congested = |signs: &&Signs| {
            signs.congested_at.is_some_and(|at| since(at) < TOGETHER && at > self.changed_at)
        };
        let count = viewers.len();
        let congested = viewers.iter().filter(is_congested).count();
        let received: f64 = viewers.iter().map(|signs| signs.received).sum();
        let theirs: f64 = viewers.iter().filter(is_congested).map(|signs| signs.received).sum();
        let is_full = count > 1 && 2 * congested > count && theirs > MOST * received;
        let may_change = since(self.changed_at) >= PAUSE;
        if is_full && may_change {
            let carried = self.limit().min(received) * DRAIN;
            self.carried = Some(carried.max(self.least * count as f64));
            (self.changed_at, self.used_at) = (now, now);
        } else if let Some(carried) = &mut self.carried {
            if received > USED * *carried {
                self.used_at = now;
                if may_change {
                    let is_late = since(self.changed_at) >= LATER;
                    let growth = if is_late { LATER_GROWTH } else { GROWTH };
                    *carried *= 1.0 + growth * passed.as_secs_f64();
                }
            } else if since(self.used_at) >= FORGOTTEN {
                self.carried = None;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn viewers(now: Instant, congested: usize, all: usize, received: f64) -> Vec<Signs> {
        let signs = |at| Signs { congested_at: (at < congested).then_some(now), received };
        (0..all).map(signs).collect()
    }

    #[test]
    fn a_queue_that_most_find_shows_what_the_line_carries() {
        let mut now = Instant::now();
        let mut uplink = Uplink::new(now, None, 3e5);
        let mut look = |uplink: &mut Uplink, ms: u32, congested, received| {
            let end = now + ms * MS;
            while now < end {
                now += 100 * MS;
                uplink.look(now, &viewers(now, congested, 4, received));
            }
        };
        look(&mut uplink, 3000, 2, 1.5e6);
        assert!(uplink.limit().is_infinite(), "half of them may be narrow by themselves");
        look(&mut uplink, 100, 4, 1.5e6);
        assert!((uplink.limit() - 5.1e6).abs() < 1.0, "{}", uplink.limit());
        look(&mut uplink, 5000, 0, 1.2e6);
        let grown = uplink.limit();
        assert!((6e6..8e6).contains(&grown), "{grown}");
        look(&mut uplink, 19_000, 0, 0.1e6);
        assert!(uplink.limit() <= grown);
        look(&mut uplink, 2000, 0, 0.1e6);
        assert!(uplink.limit().is_infinite());
    }

    #[test]
    fn two_narrow_paths_do_not_slow_down_a_wide_one_and_each_gets_the_least() {
        let now = Instant::now();
        let (mut uplink, later) = (Uplink::new(now, None, 3e5), now + 1000 * MS);
        let mut signs = viewers(later, 2, 3, 5e5);
        signs[2].received = 4e6;
        uplink.look(later, &signs);
        assert!(uplink.limit().is_infinite());
        uplink.look(later, &viewers(later, 3, 3, 1e5));
        assert!((uplink.limit() - 9e5).abs() < 1.0, "{}", uplink.limit());
    }

    #[test]
    fn one_viewer_says_nothing_of_the_line_and_the_users_limit_holds() {
        let now = Instant::now();
        let mut uplink = Uplink::new(now, Some(3e6), 3e5);
        for second in 1..10 {
            let now = now + second * 1000 * MS;
            uplink.look(now, &viewers(now, 1, 1, 1e6));
            assert!((uplink.limit() - 3e6).abs() < 1.0);
        }
    }
}
