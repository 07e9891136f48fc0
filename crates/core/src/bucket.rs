//! Tokens that come back with time: how often something may happen.

use std::time::{Duration, Instant};

/// How many at once, and how soon one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// At once, after a rest.
    pub(crate) burst: u32,
    /// One more after so long.
    pub(crate) every: Duration,
}

impl Rate {
    /// So many in a minute, all of them at once after a rest.
    pub(crate) const fn per_minute(number: u32) -> Self {
        let number = if number == 0 { 1 } else { number };
        Self { burst: number, every: Duration::from_micros(60_000_000 / number as u64) }
    }
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    left: u32,
    refilled_at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant, rate: Rate) -> Self {
        Self { left: rate.burst, refilled_at: now }
    }

    fn refill(&mut self, now: Instant, rate: Rate) {
        let passed = now.saturating_duration_since(self.refilled_at);
        let more = passed.as_micros() / rate.every.as_micros().max(1);
        let more = more.min(rate.burst.into()) as u32;
        if self.left.saturating_add(more) >= rate.burst {
            (self.left, self.refilled_at) = (rate.burst, now);
        } else {
            self.left += more;
            self.refilled_at += rate.every * more;
        }
    }

    /// Takes one; `false` if there is none.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> bool {
        self.refill(now, rate);
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }

    /// One that was taken did not count.
    pub(crate) fn give_back(&mut self, rate: Rate) {
        self.left = self.left.saturating_add(1).min(rate.burst);
    }

    /// Whether it is as a new one would be.
    pub(crate) fn is_full(&mut self, now: Instant, rate: Rate) -> bool {
        self.refill(now, rate);
        self.left == rate.burst
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_by_one_and_never_more_than_the_burst() {
        let rate = Rate { burst: 3, every: Duration::from_secs(5) };
        let mut now = Instant::now();
        let mut bucket = Bucket::full(now, rate);
        let mut takes = |now, times| (0..times).filter(|_| bucket.take(now, rate)).count();
        assert_eq!(takes(now, 10), 3);
        now += Duration::from_millis(4999);
        assert_eq!(takes(now, 10), 0);
        now += Duration::from_millis(1);
        assert_eq!(takes(now, 10), 1);
        now += Duration::from_secs(3600 * 24 * 365);
        assert_eq!(takes(now, 10), 3);
        let largest = Rate::per_minute(u32::MAX);
        let mut most = Bucket::full(now, largest);
        assert!(most.take(now, largest) && most.take(now + rate.every, largest));
        bucket.give_back(rate);
        assert!(bucket.take(now, rate) && !bucket.take(now, rate));
        assert!(!bucket.is_full(now, rate));
        assert!(bucket.is_full(now + rate.every * 3, rate));
    }
}
