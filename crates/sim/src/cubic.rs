//! A TCP connection as it fills a line: CUBIC, RFC 9438, without its start-up's and its fast recovery's finer points.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of a packet.
const PACKET: usize = 1500;
/// What a loss leaves of the window, and how fast it grows back (RFC 9438, 4.6 and 5.1).
const BETA: f64 = 0.7;
const C: f64 = 0.4;
/// Windows that it begins with, and the least, in packets.
const FIRST: f64 = 10.0;
const LEAST: f64 = 2.0;

/// The sender of a download that never ends.
///
/// ```
/// use lllsi_sim::{Cubic, Line, LineState, Rng};
/// use std::time::{Duration, Instant};
///
/// let (begin, mut rng) = (Instant::now(), Rng::new(1));
/// let mut line = LineState::new(Line::of_rate(8e6, 100_000, Duration::from_millis(20)), begin);
/// let mut flow = Cubic::new(begin, Duration::from_millis(20));
/// let mut now = begin;
/// while now < begin + Duration::from_secs(20) {
///     flow.turn(now, |bytes| line.pass(now, bytes, &mut rng));
///     now = flow.timeout().max(now + Duration::from_micros(1));
/// }
/// let rate = flow.acknowledged() as f64 * 8.0 / 20.0;
/// assert!(rate > 7e6 && rate < 8e6, "it fills the line: {rate} bit/s");
/// ```
#[derive(Debug, Clone)]
pub struct Cubic {
    window: f64,
    /// Above this it grows by CUBIC.
    threshold: f64,
    /// The window at the last loss, and when that was.
    most: f64,
    lost_at: Instant,
    /// From a packet's arrival to its acknowledgement's.
    way_back: Duration,
    /// When each packet's acknowledgement comes, or its loss is noticed.
    under_way: VecDeque<(Instant, bool)>,
    acknowledged: u64,
    round_trip: Duration,
}

impl Cubic {
    /// A connection whose acknowledgements take this long.
    #[must_use]
    pub fn new(now: Instant, way_back: Duration) -> Self {
        Self {
            window: FIRST,
            threshold: f64::MAX,
            most: 0.0,
            lost_at: now,
            way_back,
            under_way: VecDeque::new(),
            acknowledged: 0,
            round_trip: 2 * way_back,
        }
    }

    /// Bytes that have been acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// When to call [`Self::turn`] again.
    #[must_use]
    pub fn timeout(&self) -> Instant {
        self.under_way.front().map_or(self.lost_at, |(at, _)| *at)
    }

    /// Takes the acknowledgements that are due, and sends what may be sent. `send` takes a packet's bytes and returns when it
    /// arrives.
    pub fn turn(&mut self, now: Instant, mut send: impl FnMut(usize) -> Option<Instant>) {
        while let Some(&(_, has_arrived)) = self.under_way.front().filter(|(at, _)| *at <= now) {
            self.under_way.pop_front();
            if has_arrived { self.acknowledge(now) } else { self.lose(now) }
        }
        while (self.under_way.len() as f64) < self.window {
            let arrives = send(PACKET);
            // Packets behind a lost one show the loss.
            let known_at = arrives.map_or(now + self.round_trip, |at| at + self.way_back);
            if arrives.is_some() {
                self.round_trip = known_at - now;
            }
            let known_at = self.under_way.back().map_or(known_at, |(last, _)| known_at.max(*last));
            self.under_way.push_back((known_at, arrives.is_some()));
        }
    }

    fn acknowledge(&mut self, now: Instant) {
        self.acknowledged += PACKET as u64;
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let k = (self.most * (1.0 - BETA) / C).cbrt();
        let since = (now - self.lost_at).as_secs_f64() - k;
        let target = C * since.powi(3) + self.most;
        // At least as fast as Reno.
        let step = ((target - self.window) / self.window).clamp(0.5 / self.window, 0.5);
        self.window += step;
    }

    fn lose(&mut self, now: Instant) {
        // One reaction in a round trip.
        if self.most > 0.0 && now < self.lost_at + self.round_trip {
            return;
        }
        self.most = self.window;
        self.window = (self.window * BETA).max(LEAST);
        (self.threshold, self.lost_at) = (self.window, now);
    }
}
