//! One direction of a line as people have it: rate, queue, delay, jitter, loss and cuts, in any time that its owner keeps.

use std::time::{Duration, Instant};

use crate::net::Rng;

/// What one direction of a line does to packets.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Bits a second, each from so long after the beginning, in order; without any there is no limit.
    pub rates: Vec<(Duration, f64)>,
    /// Bytes that may wait for others to leave. Packets beyond it are dropped.
    pub queue: usize,
    /// From end to end, besides the time in the queue.
    pub delay: Duration,
    /// The delay varies at random by up to this much in both directions; packets keep their order.
    pub jitter: Duration,
    /// The share of packets lost at random, 0–1.
    pub loss: f64,
    /// Interruptions.
    pub cut: Option<Cut>,
}

/// Packets that enter a line during an interruption are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// From the end of one to the end of the next.
    pub every: Duration,
    /// How long each is.
    pub lasts: Duration,
}

impl Default for Line {
    /// A line without limits.
    fn default() -> Self {
        Self {
            rates: Vec::new(),
            queue: usize::MAX,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            cut: None,
        }
    }
}

impl Line {
    /// A line of one rate, in bits a second, whose queue takes so many bytes.
    #[must_use]
    pub fn of_rate(rate: f64, queue: usize, delay: Duration) -> Self {
        Self { rates: vec![(Duration::ZERO, rate)], queue, delay, ..Self::default() }
    }
}

/// A line at work.
///
/// ```
/// use lllsi_sim::{Line, LineState, Rng};
/// use std::time::{Duration, Instant};
///
/// let (now, mut rng) = (Instant::now(), Rng::new(1));
/// let line = Line::of_rate(8e6, 10_000, Duration::from_millis(40));
/// let mut state = LineState::new(line, now);
/// // A thousand bytes take a millisecond at 8 Mbit/s.
/// assert_eq!(state.pass(now, 1000, &mut rng), Some(now + Duration::from_millis(41)));
/// ```
#[derive(Debug, Clone)]
pub struct LineState {
    line: Line,
    begin: Instant,
    /// When the last packet that was taken has left the queue.
    idle_at: Instant,
    /// When it arrives.
    newest: Instant,
}

impl LineState {
    /// A line that begins to work at this moment.
    #[must_use]
    pub fn new(line: Line, begin: Instant) -> Self {
        Self { line, begin, idle_at: begin, newest: begin }
    }

    /// When a packet of so many bytes arrives; `None` if it is lost.
    pub fn pass(&mut self, now: Instant, bytes: usize, rng: &mut Rng) -> Option<Instant> {
        let (chance, jitter) = (rng.unit(), rng.unit());
        let is_cut = self.line.cut.is_some_and(|cut| {
            let within = (now - self.begin).as_nanos() % cut.every.as_nanos().max(1);
            within >= (cut.every.saturating_sub(cut.lasts)).as_nanos()
        });
        if is_cut || chance < self.line.loss || self.waiting(now) + bytes as f64 > self.room() {
            return None;
        }
        self.idle_at = self.left_at(self.idle_at.max(now), bytes as f64);
        let jitter = self.line.jitter.mul_f64(2.0 * jitter);
        let earliest = self.line.delay.saturating_sub(self.line.jitter);
        self.newest = self.newest.max(self.idle_at + earliest + jitter);
        Some(self.newest)
    }

    /// An empty queue takes any packet.
    fn room(&self) -> f64 {
        (self.line.queue as f64).max(1500.0)
    }

    /// Bytes in the queue.
    fn waiting(&self, now: Instant) -> f64 {
        let (mut at, mut bytes) = (now, 0.0);
        while at < self.idle_at {
            let (rate, until) = self.rate_at(at);
            let end = until.map_or(self.idle_at, |until| until.min(self.idle_at));
            bytes += rate.unwrap_or_default() / 8.0 * (end - at).as_secs_f64();
            at = end;
        }
        bytes
    }

    /// When so many bytes have left, the first of them at `at`.
    fn left_at(&self, mut at: Instant, mut bytes: f64) -> Instant {
        loop {
            let (Some(rate), until) = self.rate_at(at) else { return at };
            let end = at + Duration::from_secs_f64(bytes * 8.0 / rate.max(1.0));
            match until.filter(|until| *until < end) {
                None => return end,
                Some(until) => {
                    bytes -= rate / 8.0 * (until - at).as_secs_f64();
                    at = until;
                }
            }
        }
    }

    /// The rate at a moment, and when another follows.
    fn rate_at(&self, at: Instant) -> (Option<f64>, Option<Instant>) {
        let since = at - self.begin;
        let next = self.line.rates.partition_point(|(from, _)| *from <= since);
        let rate = next.checked_sub(1).map(|i| self.line.rates[i].1);
        (rate, self.line.rates.get(next).map(|(from, _)| self.begin + *from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn state(line: Line) -> (LineState, Instant, Rng) {
        let now = Instant::now();
        (LineState::new(line, now), now, Rng::new(7))
    }

    #[test]
    fn packets_leave_at_the_rate_and_a_full_queue_drops() {
        let (mut state, now, mut rng) = state(Line::of_rate(8e6, 10_000, 40 * MS));
        let arrivals: Vec<_> =
            (0..20).filter_map(|_| state.pass(now, 1000, &mut rng)).map(|at| at - now).collect();
        let expected: Vec<_> = (1..=10).map(|n| (40 + n) * MS).collect();
        assert_eq!(arrivals, expected);
        assert_eq!(state.pass(now + 5 * MS, 1000, &mut rng), Some(now + 51 * MS));
    }

    #[test]
    fn a_rate_that_falls_holds_up_what_waits() {
        let rates = vec![(Duration::ZERO, 8e6), (2 * MS, 2e6)];
        let line = Line { rates, queue: 100_000, ..Line::default() };
        let (mut state, now, mut rng) = state(line);
        let arrivals = (0..4).filter_map(|_| state.pass(now, 1000, &mut rng));
        assert_eq!(arrivals.map(|at| at - now).collect::<Vec<_>>(), [MS, 2 * MS, 6 * MS, 10 * MS]);
    }

    #[test]
    fn jitter_keeps_the_order_and_the_mean() {
        let line = Line { delay: 40 * MS, jitter: 30 * MS, ..Line::default() };
        let (mut state, now, mut rng) = state(line);
        let delays: Vec<_> = (0..500)
            .map(|i| {
                let sent = now + i * 33 * MS;
                state.pass(sent, 1000, &mut rng).expect("nothing is lost") - sent
            })
            .collect();
        assert!(delays.iter().all(|delay| (10 * MS..=70 * MS).contains(delay)));
        let mean = delays.iter().sum::<Duration>() / 500;
        assert!((35 * MS..55 * MS).contains(&mean), "{mean:?}");
    }

    #[test]
    fn cuts_and_chance_lose_packets() {
        let cut = Some(Cut { every: 3000 * MS, lasts: 80 * MS });
        let (mut state, now, mut rng) = self::state(Line { cut, ..Line::default() });
        let lost = |from: u32, to: u32, state: &mut LineState, rng: &mut Rng| {
            (from..to).filter(|ms| state.pass(now + *ms * MS, 100, rng).is_none()).count()
        };
        assert_eq!(lost(0, 2920, &mut state, &mut rng), 0);
        assert_eq!(lost(2920, 3000, &mut state, &mut rng), 80);
        assert_eq!(lost(3000, 5920, &mut state, &mut rng), 0);
        let (mut state, _, _) = self::state(Line { loss: 0.1, ..Line::default() });
        let lost = (0..1000).filter(|_| state.pass(now, 100, &mut rng).is_none()).count();
        assert!((60..140).contains(&lost), "{lost} of 1000 at 10 %");
    }
}
