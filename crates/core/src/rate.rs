//! What a viewer's path carries, as far as its reports show it, and how much may be under way on it.
//!
//! A frame leaves in one burst, and the narrowest place of the path spreads its packets apart: the time between the first and the
//! last of them shows what that place carries. Delay comes first: where a queue stands on the path for some frames in a row, more
//! was sent than it carries, before anything is lost. Loss alone counts only when it is heavy: a radio link loses some packets at
//! any rate. How much may be under way has a bound, so a path that becomes narrower holds up a few frames, and not seconds.

mod feedback;
mod parity;
mod silence;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lllsi_proto::control::Report;

use crate::clock::DelayWindow;
use parity::Losses;
use silence::{REPORTS_APART, Silence};

/// Assumed before anything is known: a narrow path shows its first picture soon, and a wide one shows what it is within some
/// round trips.
const FIRST: f64 = 1_000_000.0;
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(200);
const MOST_ROUND_TRIP: Duration = Duration::from_secs(2);
/// A queue counts if it stands this far above the usual for [`FRAMES`] frames in a row…
const STANDING: Duration = Duration::from_millis(30);
const FRAMES: usize = 5;
/// … or this far for [`FEW_FRAMES`].
const LONG: Duration = Duration::from_millis(80);
const FEW_FRAMES: usize = 2;
/// Where delays vary by themselves, the least of some frames is seldom 0. That is the usual, up to this.
const MOST_USUAL: Duration = Duration::from_millis(60);
/// How fast the usual is learnt, from so many frames of which one found hardly a queue: a path that varies is empty now and then.
const LEARNT_IN: Duration = Duration::from_secs(4);
const LEARNT_FROM: usize = 30;
const HARDLY: Duration = Duration::from_millis(10);
/// Packets of the smallest frame whose spread says something.
const TRAIN: u32 = 3;
/// Times between packets are not measured better than this.
const LEAST_SPREAD: Duration = Duration::from_micros(100);
/// Spreads that are looked at together, and how old they may be.
const TRAINS: usize = 5;
const TRAINS_FOR: Duration = Duration::from_secs(2);
/// After a cut, besides a round trip, how long to wait for its effect before the next.
const CUT_PAUSE: Duration = Duration::from_millis(100);
/// After a cut, how long not to grow by trial.
const GROW_PAUSE: Duration = Duration::from_secs(1);
/// Growth in a round trip while the spreads of frames show a wider path.
const GROWTH_SHOWN: f64 = 1.5;
/// Growth in a second by trial, while the path is used and nothing stands in the way.
const GROWTH_TRIED: f64 = 0.25;
/// The path is used if so much of what may be sent is sent.
const USED: f64 = 0.75;
/// So many times what was sent lately may arrive at a moment.
const MOST_ARRIVES: f64 = 1.5;
/// Spreads of which the least shows this share of the most agree, and so much of what they show may be used.
const AGREE: f64 = 0.85;
const SHOWN_SURELY: f64 = 0.9;
/// What a cut leaves of what the path carries, so that its queue drains.
const DRAIN: f64 = 0.85;
/// If less than this share of what spreads show arrives over a full path, others use it too: for so long the rate grows by trial alone.
const DOUBTFUL: f64 = 0.7;
const DOUBTED_FOR: Duration = Duration::from_secs(10);
/// Meanwhile the stream keeps up to this share of the path in spite of a queue, unless more is lost than that.
const OUR_SHARE: f64 = 0.45;
const MOST_LOSS_BESIDE: f64 = 0.05;
/// The share of packets missing that a path may have by itself.
const LOSS_TARGET: f64 = 0.2;
/// How long after a cut loss may be that of a full path.
const FULL_FOR: Duration = Duration::from_secs(1);
/// Packets of which a share of missing ones means nothing.
const FEW: f64 = 20.0;
/// How much faster than the path carries packets may leave.
const PACE: f64 = 1.25;
/// Over how long rates are measured, and after how long nothing was, since little was sent.
const INTERVAL: Duration = Duration::from_millis(250);
const MOST_INTERVAL: Duration = Duration::from_millis(1000);
/// What may be under way: as much as the path takes in the shortest round trip and this, and a bit.
const SLACK: Duration = Duration::from_millis(50);
/// The longest queue of others.
const MOST_QUEUE: Duration = Duration::from_millis(400);
const WINDOW_SHARE: f64 = 1.15;
/// And always so many packets.
const LEAST_WINDOW: u64 = 8;
/// What was sent longer ago than the last round trip and this is under way no more, whatever the viewer says.
const GONE_AFTER: Duration = Duration::from_millis(500);
/// Frames remembered.
const MAX_SENT: usize = 256;

/// The rates that may be used, bit/s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    /// Below this the picture is not worth sending.
    pub(crate) min: f64,
    /// What the user allowed, without headers.
    pub(crate) max: f64,
}

/// What a frame consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameSize {
    /// Its packets.
    pub(crate) packets: u32,
    /// Bytes of their payloads, and of the first one's.
    pub(crate) bytes: u32,
    pub(crate) first: u32,
    /// Packets of parity that went with it.
    pub(crate) parity: u32,
}

/// A frame that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u32,
    at: Instant,
    /// Without parity, and with it.
    packets: u32,
    all: u32,
    bytes: u32,
    first: u32,
    /// Bytes of all of them.
    takes: u32,
    /// Packets sent on the link until its end, with the repairs that were asked for.
    through: u64,
}

/// When a frame arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    /// When it was sent.
    pub(crate) sent_at: Instant,
    /// When its first packet came, on the viewer's clock: microseconds since some moment.
    pub(crate) first_us: i64,
    /// From its first packet to its last.
    pub(crate) spread: Duration,
    /// Its packets.
    pub(crate) packets: u32,
    /// Bytes of their payloads, and of the first one's.
    pub(crate) bytes: u32,
    pub(crate) first: u32,
    /// Whether all came by themselves.
    pub(crate) is_whole: bool,
}

/// The packets of a frame after its first, which left together.
#[derive(Debug, Clone, Copy)]
struct Train {
    at: Instant,
    /// What carried them, bit/s.
    rate: f64,
    packets: u32,
}

/// What is known about one viewer's path.
#[derive(Debug)]
pub(crate) struct Estimate {
    limits: Limits,
    begin: Instant,
    bitrate: f64,
    /// The last frames.
    sent: VecDeque<Sent>,
    /// Bytes of a packet, about.
    each: f64,
    /// Packets sent, and those of them that have arrived or are lost.
    packets: u64,
    seen: u64,
    last: Option<Report>,
    delay: DelayWindow,
    /// From which delays count: clocks begin anywhere.
    first_delay_us: Option<u32>,
    round_trip: DelayWindow,
    last_round_trip: Duration,
    /// How far the last frames were held up beyond the shortest delay.
    queues: VecDeque<Duration>,
    usual: Duration,
    /// How far they usually are on the mean.
    mean: Duration,
    judged_at: Instant,
    trains: VecDeque<Train>,
    /// What the path carries, as its last trains have shown.
    carried: Option<f64>,
    /// Where the present interval began, and what the one before was like.
    interval: (Instant, Report),
    received: f64,
    loss: f64,
    /// Whether there was a queue in the present interval.
    was_full: bool,
    losses: Losses,
    silence: Silence,
    /// Whether feedback on single packets comes.
    is_fed_back: bool,
    cut_at: Option<Instant>,
    congested_at: Option<Instant>,
    /// Until when the spreads of frames are not believed: others' packets are on the path, and not between ours.
    doubted_until: Instant,
}

impl Estimate {
    /// Before the first report.
    pub(crate) fn new(now: Instant, limits: Limits) -> Self {
        Self {
            limits,
            begin: now,
            bitrate: FIRST.clamp(limits.min, limits.max),
            sent: VecDeque::new(),
            each: 1000.0,
            packets: 0,
            seen: 0,
            last: None,
            delay: DelayWindow::default(),
            first_delay_us: None,
            round_trip: DelayWindow::default(),
            last_round_trip: FIRST_ROUND_TRIP,
            queues: VecDeque::new(),
            usual: Duration::ZERO,
            mean: Duration::ZERO,
            judged_at: now,
            trains: VecDeque::new(),
            carried: None,
            interval: (now, Report::default()),
            received: 0.0,
            loss: 0.0,
            was_full: false,
            losses: Losses::default(),
            silence: Silence::default(),
            is_fed_back: false,
            cut_at: None,
            congested_at: None,
            doubted_until: now,
        }
    }

    /// What may be sent, bit/s, besides parity and repairs.
    pub(crate) fn bitrate(&self) -> f64 {
        (self.bitrate / (1.0 + self.redundancy())).max(self.limits.min)
    }

    /// What the path is thought to carry in all, bit/s.
    pub(crate) fn carries(&self) -> f64 {
        self.bitrate
    }

    /// Bytes of parity and repairs for each byte of pictures.
    pub(crate) fn redundancy(&self) -> f64 {
        self.losses.share()
    }

    /// When the path was last found to be full.
    pub(crate) fn congested_at(&self) -> Option<Instant> {
        self.congested_at
    }

    /// What arrives, bit/s: no more than was sent, whatever the viewer says.
    pub(crate) fn received(&self, now: Instant) -> f64 {
        self.received.min(MOST_ARRIVES * self.sent_lately(now))
    }

    /// How many packets of parity should go with a frame of so many packets, so that it is seldom to be repaired: none where asking
    /// takes no time, or where loss may be that of a full path.
    pub(crate) fn parity(&self, packets: usize) -> usize {
        self.losses.bounded(packets, self.shortest_round_trip())
    }

    /// How many packets of FlexFEC should go with it, which have no bound.
    pub(crate) fn fec(&self, packets: usize) -> usize {
        self.losses.wanted_fec(packets, self.shortest_round_trip())
    }

    /// How much later than they come pictures should be shown by a viewer that takes no parity.
    pub(crate) fn playout_delay(&mut self) -> Duration {
        self.losses.delay(self.shortest_round_trip())
    }

    /// How fast packets of large frames may leave, bit/s: a bit faster than the path carries, which shows if it carries more. Before
    /// it has shown anything they leave at once: the first picture is small.
    pub(crate) fn pace(&self) -> f64 {
        self.carried.map_or(f64::INFINITY, |carried| PACE * carried.max(self.bitrate))
    }

    /// Whether the path has shown something of itself.
    pub(crate) fn is_known(&self) -> bool {
        !self.trains.is_empty() || self.cut_at.is_some()
    }

    /// A frame was sent; with it so many packets have been sent in all, with the repairs that were asked for.
    pub(crate) fn sent(&mut self, now: Instant, number: u32, size: FrameSize, through: u64) {
        let FrameSize { packets, bytes, first, parity } = size;
        let repairs = through.saturating_sub(self.packets + u64::from(packets + parity));
        self.packets = through;
        self.losses.sent(packets, parity, repairs);
        self.silence.sent(now, self.last_round_trip);
        let each = bytes / packets.max(1);
        self.each += (f64::from(each) - self.each) / 8.0;
        // Parity takes as much of the path as payloads do.
        let takes = bytes.saturating_add(each.saturating_mul(parity));
        if self.sent.len() == MAX_SENT {
            self.sent.pop_front();
        }
        let all = packets + parity;
        self.sent.push_back(Sent { number, at: now, packets, all, bytes, first, takes, through });
    }

    /// Whether another frame may be sent now: the path still carries what is under way.
    pub(crate) fn has_room(&mut self, now: Instant) -> bool {
        let gone_after = self.last_round_trip.min(MOST_ROUND_TRIP) + GONE_AFTER;
        let gone = self.sent.partition_point(|sent| now > sent.at + gone_after);
        if let Some(gone) = gone.checked_sub(1).and_then(|at| self.sent.get(at)) {
            self.seen = self.seen.max(gone.through).min(self.packets);
        }
        self.packets.saturating_sub(self.seen) < self.window(now)
    }

    /// For how long the viewer has been silent though pictures were sent.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        self.silence.lasts(now)
    }

    /// If the viewer is silent against expectation: since when what was sent may be lost, and how many packets of that may be sent
    /// again at a time: nothing while the path still carries as much as it may.
    pub(crate) fn unheard(&mut self, now: Instant) -> Option<(Instant, u64)> {
        let began = self.silence.began(now)?;
        if !self.has_room(now) {
            return None;
        }
        // What it last spoke of was sent a round trip before.
        let since = began.checked_sub(self.last_round_trip.min(MOST_ROUND_TRIP)).unwrap_or(began);
        Some((since, self.window(now)))
    }

    /// Packets that may be under way.
    fn window(&self, now: Instant) -> u64 {
        let shortest = self.shortest_round_trip();
        // Waiting does not shorten a queue that others make.
        let queue = match now < self.doubted_until {
            true => self.last_round_trip.saturating_sub(shortest).min(MOST_QUEUE),
            false => 2 * self.mean,
        };
        let time = (shortest + queue + SLACK).as_secs_f64();
        let window = WINDOW_SHARE * self.bitrate / 8.0 * time / self.each.max(100.0);
        (window as u64).max(LEAST_WINDOW)
    }

    fn shortest_round_trip(&self) -> Duration {
        self.round_trip.shortest().map_or(FIRST_ROUND_TRIP, |us| {
            Duration::from_micros(us.max(0).cast_unsigned()).min(MOST_ROUND_TRIP)
        })
    }

    /// Takes a report.
    pub(crate) fn reported(&mut self, now: Instant, report: &Report) {
        match self.is_fed_back {
            true => self.silence.is_alive(now),
            false => self.silence.heard(now, REPORTS_APART),
        }
        let last = self.last.replace(*report).unwrap_or_default();
        // Counters that go back say nothing.
        let packets = report.packets.wrapping_sub(last.packets).cast_signed().max(0);
        let missed = report.missed.wrapping_sub(last.missed).cast_signed().max(0);
        self.seen += u64::from(packets.cast_unsigned()) + u64::from(missed.cast_unsigned());
        self.seen = self.seen.min(self.packets);
        self.measure(now, report);
        let is_new = report.frame != last.frame;
        let sent = self.sent.iter().rev().find(|sent| sent.number == report.frame && is_new);
        if let Some(&sent) = sent {
            // Not what was counted: what another overtook was counted twice.
            self.seen = sent.through;
            if let Some(arrival) = report.arrival {
                let spread = arrival.last_us.wrapping_sub(arrival.first_us);
                let spread = Duration::from_micros(spread.into());
                let round_trip = now.saturating_duration_since(sent.at).saturating_sub(spread);
                self.went_round(now, round_trip);
                self.arrived(
                    now,
                    &Arrived {
                        sent_at: sent.at,
                        first_us: arrival.first_us.into(),
                        spread,
                        packets: sent.packets,
                        bytes: sent.bytes,
                        first: sent.first,
                        is_whole: !arrival.is_repaired,
                    },
                );
            }
        }
    }

    fn went_round(&mut self, now: Instant, round_trip: Duration) {
        self.last_round_trip = round_trip;
        self.round_trip.above_shortest(now, round_trip.as_micros() as i64);
    }

    /// Takes note of what arrived in an interval.
    fn measure(&mut self, now: Instant, report: &Report) {
        let (began, first) = self.interval;
        let took = now.saturating_duration_since(began);
        if took < INTERVAL {
            return;
        }
        self.interval = (now, *report);
        if took > MOST_INTERVAL {
            return;
        }
        let bytes = report.bytes.wrapping_sub(first.bytes).cast_signed().max(0);
        self.received = bytes as f64 * 8.0 / took.as_secs_f64();
        let packets = f64::from(report.packets.wrapping_sub(first.packets).cast_signed().max(0));
        let missed = f64::from(report.missed.wrapping_sub(first.missed).cast_signed().max(0));
        // Of few packets a share means nothing.
        self.loss = if packets + missed < FEW { 0.0 } else { missed / (packets + missed) };
        let was_cut = self.cut_at.is_some_and(|at| now < at + FULL_FOR);
        let was_full = std::mem::take(&mut self.was_full) || was_cut;
        self.losses.learn(self.loss, was_full);
        // Where most frames lose packets none may arrive whole.
        if self.loss > LOSS_TARGET {
            self.note_congestion(now);
            self.cut_if_due(now, false);
        }
    }

    /// Takes note of when a frame arrived.
    pub(crate) fn arrived(&mut self, now: Instant, frame: &Arrived) {
        if !frame.is_whole {
            return;
        }
        // Clocks that begin anywhere and wrap: only differences count, and those are small.
        let sent_us = frame.sent_at.saturating_duration_since(self.begin).as_micros() as u32;
        let delay_us = (frame.first_us as u32).wrapping_sub(sent_us);
        let first_us = *self.first_delay_us.get_or_insert(delay_us);
        let delay_us = delay_us.wrapping_sub(first_us).cast_signed();
        let queue = self.delay.above_shortest(now, delay_us.into());
        if self.queues.len() == LEARNT_FROM {
            self.queues.pop_front();
        }
        let queue = Duration::from_micros(queue.into());
        self.was_full |= queue > self.usual + STANDING;
        self.queues.push_back(queue);
        if frame.packets >= TRAIN {
            let after_first = f64::from(frame.bytes.saturating_sub(frame.first)) * 8.0;
            let seconds = frame.spread.max(LEAST_SPREAD).as_secs_f64();
            if self.trains.len() == TRAINS {
                self.trains.pop_front();
            }
            let (rate, packets) = (after_first / seconds, frame.packets - 1);
            self.trains.push_back(Train { at: now, rate, packets });
            self.carried = self.shown(now);
        }
        self.judge(now);
    }

    fn judge(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.judged_at, now));
        let least = |frames: usize| self.queues.iter().rev().take(frames).min().copied();
        let enough = |frames: usize| least(frames).filter(|_| self.queues.len() >= frames);
        let (low, quick) = (enough(FRAMES), enough(FEW_FRAMES));
        let is_over = |queue: Option<Duration>, by| queue.is_some_and(|q| q > self.usual + by);
        let stands = is_over(low, STANDING);
        let is_congested = stands || is_over(quick, LONG);
        if let Some(low) = low.filter(|_| least(LEARNT_FROM) < Some(HARDLY)) {
            let share = (passed.as_secs_f64() / LEARNT_IN.as_secs_f64()).min(1.0);
            let learn = |known: Duration, new: Duration| {
                (known.mul_f64(1.0 - share) + new.mul_f64(share)).min(MOST_USUAL)
            };
            let mean = self.queues.iter().sum::<Duration>() / self.queues.len() as u32;
            (self.usual, self.mean) = (learn(self.usual, low), learn(self.mean, mean));
        }
        if is_congested {
            self.note_congestion(now);
        }
        // Two frames say too little: the path may have been idle before.
        if stands {
            self.doubt(now);
        }
        if is_congested && !self.holds_its_own(now) {
            self.cut_if_due(now, true);
        } else if self.loss <= LOSS_TARGET {
            self.grow(now, passed);
        }
        self.bitrate = self.bitrate.clamp(self.limits.min, self.limits.max);
    }

    fn cut_if_due(&mut self, now: Instant, is_congested: bool) {
        let pause = self.shortest_round_trip() + CUT_PAUSE;
        if self.cut_at.is_some_and(|at| now < at + pause) {
            return;
        }
        self.cut_at = Some(now);
        let shown = self.shown(now).filter(|_| is_congested).unwrap_or(self.received);
        if shown <= 0.0 {
            return;
        }
        self.bitrate = match self.is_used(now) {
            true if now < self.doubted_until => self.bitrate.min(self.received) * DRAIN,
            true => self.bitrate.min(shown) * DRAIN,
            // It carries more than is sent.
            false => self.bitrate.min(shown.max(self.received)).max(self.bitrate / 2.0),
        }
        .clamp(self.limits.min, self.limits.max);
        self.queues.clear();
    }

    /// What a path that is hardly used finds says nothing of what it carries.
    fn note_congestion(&mut self, now: Instant) {
        if self.sent_lately(now) > self.limits.min {
            self.congested_at = Some(now);
        }
    }

    /// A path that is full though less arrives than it carries is shared with others.
    fn doubt(&mut self, now: Instant) {
        let newest = self.trains.iter().rev().take(2).map(|train| train.rate).reduce(f64::min);
        let is_shared = newest.is_some_and(|newest| self.received < DOUBTFUL * newest);
        if is_shared && self.is_used(now) {
            self.doubted_until = now + DOUBTED_FOR;
        }
    }

    /// Whether others make the queue, and would take all: some of the path is ours whatever they do, unless it loses too much.
    fn holds_its_own(&self, now: Instant) -> bool {
        let carried = self.shown(now).unwrap_or_default();
        let loses = self.loss - self.losses.lost() > MOST_LOSS_BESIDE;
        now < self.doubted_until && self.bitrate < OUR_SHARE * carried && !loses
    }

    fn grow(&mut self, now: Instant, passed: Duration) {
        let (shown, most) = (self.shown(now).unwrap_or_default(), self.most(now));
        let shown = shown * if most.is_some() { SHOWN_SURELY } else { DRAIN };
        if shown > self.bitrate && now >= self.doubted_until {
            let round_trip = self.shortest_round_trip().max(Duration::from_millis(10));
            let trips = passed.as_secs_f64() / round_trip.as_secs_f64();
            self.bitrate = shown.min(self.bitrate * GROWTH_SHOWN.powf(trips.min(4.0)));
        } else if self.cut_at.is_none_or(|at| now >= at + GROW_PAUSE) && self.is_used(now) {
            let tried = self.bitrate * (1.0 + GROWTH_TRIED * passed.as_secs_f64().min(0.1));
            self.bitrate = tried.min(most.unwrap_or(tried)).max(self.bitrate);
        }
    }

    /// What the path carries at most, if the spreads of the last frames agree.
    fn most(&self, now: Instant) -> Option<f64> {
        let new = || {
            self.trains.iter().filter(|train| now <= train.at + TRAINS_FOR).map(|train| train.rate)
        };
        let (least, most) = (new().reduce(f64::min)?, new().reduce(f64::max)?);
        (new().count() >= TRAINS && least > AGREE * most).then_some(most * SHOWN_SURELY)
    }

    /// What the spreads of the last frames show: the median, in which longer trains weigh more, as they are measured better.
    fn shown(&self, now: Instant) -> Option<f64> {
        let new = self.trains.iter().filter(|train| now <= train.at + TRAINS_FOR);
        let mut new: Vec<_> = new.collect();
        new.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let all: u32 = new.iter().map(|train| train.packets).sum();
        let mut below = 0;
        let median = new.iter().find(|train| {
            below += train.packets;
            2 * below >= all
        });
        median.map(|train| train.rate)
    }

    /// Whether about as much is sent as may be.
    fn is_used(&self, now: Instant) -> bool {
        self.sent_lately(now) > USED * self.bitrate
    }

    /// What was sent, bit/s.
    fn sent_lately(&self, now: Instant) -> f64 {
        let new = self.sent.iter().rev().take_while(|sent| now <= sent.at + 2 * INTERVAL);
        let bytes: u64 = new.map(|sent| u64::from(sent.takes)).sum();
        bytes as f64 * 8.0 / (2 * INTERVAL).as_secs_f64()
    }
}
