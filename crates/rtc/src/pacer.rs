//! When the packets of large frames leave: a frame leaves at once as far as any path takes it, and the rest at the pace that the
//! owner sets. What leaves faster than the path carries waits in a queue on it, and is lost where that is short.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::batch::{Batch, MAX_BYTES};

/// Bytes that may leave at once after a pause: queues on the way are longer.
const BURST: f64 = 32_000.0;
/// What leaves together otherwise takes about so long at the pace.
const TOGETHER: Duration = Duration::from_millis(5);
/// What waits leaves within this, if need be faster: the pace may be wrong, and pictures are not to be old.
const MOST_WAIT: Duration = Duration::from_millis(150);
/// The most that waits; beyond it packets leave at once.
const MAX_WAITING: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes a second; none if everything leaves at once.
    rate: Option<f64>,
    /// Bytes a second at least, as long as packets wait.
    hurry: f64,
    /// Bytes that may leave; less than 0 after more have left.
    credit: f64,
    /// When that was so.
    at: Option<Instant>,
    waiting: VecDeque<Batch>,
    bytes: usize,
}

impl Default for Pacer {
    fn default() -> Self {
        Self { rate: None, hurry: 0.0, credit: BURST, at: None, waiting: VecDeque::new(), bytes: 0 }
    }
}

impl Pacer {
    pub(crate) fn set_rate(&mut self, now: Instant, rate: f64) {
        self.earn(now);
        self.rate = Some(rate.max(1.0)).filter(|rate| rate.is_finite());
    }

    /// Bytes that a batch may have.
    pub(crate) fn most_together(&self) -> usize {
        let together = self.rate.map_or(f64::INFINITY, |rate| rate * TOGETHER.as_secs_f64());
        together.min(MAX_BYTES as f64) as usize
    }

    pub(crate) fn push(&mut self, now: Instant, batch: Batch) {
        self.earn(now);
        self.bytes += batch.bytes.len();
        self.waiting.push_back(batch);
        self.hasten();
    }

    /// So many bytes left around it.
    pub(crate) fn spend(&mut self, now: Instant, bytes: usize) {
        self.earn(now);
        self.credit = (self.credit - bytes as f64).max(-BURST);
        self.hasten();
    }

    /// Lets all that waits leave within [`MOST_WAIT`].
    fn hasten(&mut self) {
        if !self.waiting.is_empty() {
            let waits = (self.bytes as f64 - self.credit).max(0.0);
            self.hurry = self.hurry.max(waits / MOST_WAIT.as_secs_f64());
        }
    }

    /// What may leave now.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Batch> {
        self.earn(now);
        if self.waiting.is_empty() {
            self.hurry = 0.0;
        }
        if self.rate.is_some() && self.credit <= 0.0 && self.bytes <= MAX_WAITING {
            return None;
        }
        let batch = self.waiting.pop_front()?;
        self.bytes -= batch.bytes.len();
        self.credit -= batch.bytes.len() as f64;
        Some(batch)
    }

    /// When something may leave.
    pub(crate) fn due(&self) -> Option<Instant> {
        let (at, rate) = self.at.filter(|_| !self.waiting.is_empty()).zip(self.rate())?;
        // A byte more than there has to be.
        Some(at + Duration::from_secs_f64((1.0 - self.credit).max(0.0) / rate))
    }

    fn rate(&self) -> Option<f64> {
        self.rate.map(|rate| rate.max(self.hurry))
    }

    fn earn(&mut self, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        let earned = self.rate().map_or(BURST, |rate| rate * passed.as_secs_f64());
        // What was owed for long is forgiven: the path has carried it.
        self.credit = (self.credit + earned).clamp(-BURST, BURST);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;
    use crate::batch::Batches;

    fn batch(bytes: usize) -> Batch {
        let mut batches = Batches::default();
        batches.push(bytes, 0, |buffer| {
            buffer.resize(bytes, 0);
            true
        });
        batches.pop().unwrap()
    }

    /// Lets everything leave that waits; returns how long that took, and what left at once.
    fn drain(pacer: &mut Pacer, begin: Instant) -> (Duration, usize) {
        let (mut now, mut at_once) = (begin, 0);
        loop {
            while let Some(batch) = pacer.pop(now) {
                at_once += if now == begin { batch.bytes.len() } else { 0 };
            }
            let Some(due) = pacer.due() else { return (now - begin, at_once) };
            assert!(due > now, "it would be asked for ever");
            now = due;
        }
    }

    #[test]
    fn a_small_frame_leaves_at_once_and_a_large_one_at_the_pace() {
        let (mut pacer, begin) = (Pacer::default(), Instant::now());
        pacer.set_rate(begin, 500_000.0);
        assert_eq!(pacer.most_together(), 2500);
        (0..12).for_each(|_| pacer.push(begin, batch(2500)));
        assert_eq!(drain(&mut pacer, begin), (Duration::ZERO, 30_000));
        let later = begin + Duration::from_secs(1);
        (0..40).for_each(|_| pacer.push(later, batch(2500)));
        let (took, at_once) = drain(&mut pacer, later);
        assert_eq!(at_once, 32_500);
        assert!((0.12..0.14).contains(&took.as_secs_f64()), "{took:?} for 67,500 bytes");
    }

    #[test]
    fn a_pace_that_is_too_slow_makes_nothing_old() {
        let (mut pacer, begin) = (Pacer::default(), Instant::now());
        pacer.set_rate(begin, 10_000.0);
        (0..100).for_each(|_| pacer.push(begin, batch(1000)));
        assert!(drain(&mut pacer, begin).0 <= MOST_WAIT);
        // Nor does one that follows close behind others, or repairs.
        let mut now = begin + Duration::from_secs(10);
        pacer.push(now, batch(32_000));
        assert!(pacer.pop(now).is_some());
        now += Duration::from_millis(33);
        (0..20).for_each(|_| pacer.push(now, batch(1000)));
        pacer.spend(now, 64_000);
        assert!(drain(&mut pacer, now).0 <= MOST_WAIT + Duration::from_millis(1));
    }

    #[test]
    fn without_a_pace_or_beyond_a_bound_nothing_waits() {
        let (mut pacer, begin) = (Pacer::default(), Instant::now());
        assert_eq!(pacer.most_together(), MAX_BYTES);
        (0..100).for_each(|_| pacer.push(begin, batch(60_000)));
        assert_eq!(drain(&mut pacer, begin).0, Duration::ZERO);
        pacer.set_rate(begin, 1000.0);
        (0..100).for_each(|_| pacer.push(begin, batch(60_000)));
        let left = std::iter::from_fn(|| pacer.pop(begin)).count();
        assert!(left >= 100 - MAX_WAITING / 60_000, "{left}");
    }

    #[test]
    fn what_leaves_around_it_counts_but_not_for_ever() {
        let (mut pacer, begin) = (Pacer::default(), Instant::now());
        pacer.set_rate(begin, 320_000.0);
        pacer.spend(begin, 10_000_000);
        pacer.push(begin, batch(1000));
        assert!(pacer.pop(begin).is_none());
        let due = pacer.due().unwrap();
        assert!(due <= begin + Duration::from_millis(101) && pacer.pop(due).is_some());
    }
}
