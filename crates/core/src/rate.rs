//! The rate policy: a pure function from what a viewer reports to what may be sent to it.
//!
//! Delay comes first: a queue that stands 30 ms above the path's shortest delay means the rate is too high, before
//! anything is lost. Loss alone counts only when it is heavy: a radio link loses some packets at any rate.

use std::time::Duration;

/// The standing queue that is tolerated.
const QUEUE_TARGET: Duration = Duration::from_millis(30);
/// The share of missing packets that is tolerated.
const LOSS_TARGET: f64 = 0.10;
/// After a cut, how long to wait for its effect before the next.
const CUT_PAUSE: Duration = Duration::from_millis(300);
/// After a cut, how long not to grow.
const GROW_PAUSE: Duration = Duration::from_secs(1);
/// Growth per second while nothing stands in the way.
const GROWTH_PER_SECOND: f64 = 0.15;

/// The rates that may be used, bit/s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Below this the picture is not worth sending.
    pub min: f64,
    /// What the user allowed.
    pub max: f64,
}

/// What is known about one viewer's path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// What may be sent, bit/s.
    pub bitrate: f64,
    /// Time since the last cut.
    pub since_cut: Duration,
}

impl Estimate {
    /// Before the first report: optimistic, since no user wants to wait for a sharp picture.
    pub fn new(limits: Limits) -> Self {
        Self { bitrate: limits.max, since_cut: GROW_PAUSE }
    }
}

/// What a viewer reported about an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Its length.
    pub interval: Duration,
    /// What arrived, bit/s.
    pub received: f64,
    /// The share of packets that were missing, 0–1.
    pub loss: f64,
    /// How far the delay stood above the path's shortest.
    pub queue: Duration,
}

/// The next estimate.
///
/// ```
/// use lllsi_core::rate::{Estimate, Limits, Sample, next};
/// use std::time::Duration;
///
/// let limits = Limits { min: 3e5, max: 5e6 };
/// let interval = Duration::from_millis(100);
/// let queued = Sample { interval, received: 4e6, loss: 0.0, queue: Duration::from_millis(90) };
/// assert!(next(Estimate::new(limits), &queued, limits).bitrate < 4e6);
/// ```
pub fn next(estimate: Estimate, sample: &Sample, limits: Limits) -> Estimate {
    let since_cut = estimate.since_cut + sample.interval;
    let congested = sample.queue > QUEUE_TARGET || sample.loss > LOSS_TARGET;
    let (bitrate, since_cut) = if congested && since_cut >= CUT_PAUSE {
        // What arrived is what the path carries, if as much was sent; a bit less drains its queue.
        let carried = sample.received.max(estimate.bitrate * 0.5);
        (estimate.bitrate.min(carried) * 0.85, Duration::ZERO)
    } else if !congested && since_cut >= GROW_PAUSE {
        (estimate.bitrate * (1.0 + GROWTH_PER_SECOND * sample.interval.as_secs_f64()), since_cut)
    } else {
        (estimate.bitrate, since_cut)
    };
    Estimate { bitrate: bitrate.clamp(limits.min, limits.max), since_cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { min: 3e5, max: 8e6 };
    const INTERVAL: Duration = Duration::from_millis(100);

    fn sample(received: f64, loss: f64, queue_ms: u64) -> Sample {
        Sample { interval: INTERVAL, received, loss, queue: Duration::from_millis(queue_ms) }
    }

    /// A bottleneck of `capacity` bit/s with a queue before it, for `seconds`.
    fn run(capacity: f64, seconds: u32) -> (Estimate, Vec<f64>) {
        let (mut estimate, mut queued_bits, mut queues) =
            (Estimate::new(LIMITS), 0.0f64, Vec::new());
        for _ in 0..seconds * 10 {
            queued_bits =
                (queued_bits + (estimate.bitrate - capacity) * INTERVAL.as_secs_f64()).max(0.0);
            let queue_ms = queued_bits / capacity * 1000.0;
            queues.push(queue_ms);
            let received = estimate.bitrate.min(capacity);
            estimate = next(estimate, &sample(received, 0.0, queue_ms as u64), LIMITS);
        }
        (estimate, queues)
    }

    #[test]
    fn it_settles_below_a_bottleneck_and_keeps_the_queue_short() {
        for capacity in [5e5, 2e6, 6e6] {
            let (estimate, queues) = run(capacity, 60);
            assert!(estimate.bitrate > capacity * 0.6, "{estimate:?} of {capacity}");
            assert!(estimate.bitrate < capacity * 1.25, "{estimate:?} of {capacity}");
            let late = &queues[queues.len() / 2..];
            let mean = late.iter().sum::<f64>() / late.len() as f64;
            assert!(mean < 60.0, "mean queue {mean} ms at {capacity}");
        }
    }

    #[test]
    fn it_uses_all_that_is_allowed_where_nothing_stands_in_the_way() {
        assert_eq!(run(1e9, 60).0.bitrate, LIMITS.max);
    }

    #[test]
    fn light_loss_alone_changes_nothing_and_heavy_loss_does() {
        let start = Estimate::new(LIMITS);
        assert_eq!(next(start, &sample(5e6, 0.02, 0), LIMITS).bitrate, LIMITS.max);
        assert!(next(start, &sample(5e6, 0.3, 0), LIMITS).bitrate < 5e6);
    }

    #[test]
    fn it_stays_within_its_limits_whatever_is_reported() {
        let mut estimate = Estimate::new(LIMITS);
        for i in 0..1000u32 {
            let wild = sample(f64::from(i % 7) * 1e9, f64::from(i % 3), u64::from(i % 5) * 10_000);
            estimate = next(estimate, &wild, LIMITS);
            assert!((LIMITS.min..=LIMITS.max).contains(&estimate.bitrate));
        }
    }
}
