#![allow(clippy::disallowed_methods)] // a test needs some instant to begin at

use super::*;
use lllsi_proto::control::Arrival;
use lllsi_rtc::PacketResult;

const LIMITS: Limits = Limits { min: 1e5, max: 8e6 };
const MS: Duration = Duration::from_millis(1);
const PACKET: u32 = 1200;

/// A path that carries so much, with a queue before it, and a viewer that reports each frame.
struct Path {
    estimate: Estimate,
    begin: Instant,
    now: Instant,
    carries: f64,
    /// What others send, bit/s, and the queue that they keep standing.
    others: f64,
    standing: Duration,
    idle_at: Instant,
    packets: u32,
    number: u32,
    reports: VecDeque<(Instant, Report)>,
    queues: Vec<Duration>,
    held: u32,
}

impl Path {
    const ONE_WAY: Duration = Duration::from_millis(40);

    fn new(carries: f64) -> Self {
        let begin = Instant::now();
        Self {
            estimate: Estimate::new(begin, LIMITS),
            begin,
            now: begin,
            carries,
            others: 0.0,
            standing: Duration::ZERO,
            idle_at: begin,
            packets: 0,
            number: 0,
            reports: VecDeque::new(),
            queues: Vec::new(),
            held: 0,
        }
    }

    /// Sends frames that use a share of what may be sent, 30 a second.
    fn run(&mut self, seconds: u32, share: f64) {
        for _ in 0..30 * seconds {
            while let Some(&(at, report)) = self.reports.front()
                && at <= self.now
            {
                self.reports.pop_front();
                self.estimate.reported(self.now, &report);
            }
            if self.estimate.has_room(self.now) {
                let bytes = self.estimate.bitrate() * share / 30.0 / 8.0;
                self.send(((bytes / f64::from(PACKET)) as u32).max(1));
            } else {
                self.held += 1;
            }
            self.now += Duration::from_millis(33);
        }
    }

    fn send(&mut self, packets: u32) {
        self.number += 1;
        self.packets += packets;
        let all = u64::from(self.packets);
        let size = FrameSize { packets, bytes: packets * PACKET, first: PACKET, parity: 0 };
        self.estimate.sent(self.now, self.number, size, all);
        let each = Duration::from_secs_f64(f64::from(PACKET) * 8.0 / self.carries);
        let theirs = Duration::from_secs_f64(self.others * 0.033 / self.carries);
        let begins = self.idle_at.max(self.now + self.standing) + theirs;
        self.queues.push(begins - self.now);
        self.idle_at = begins + packets * each;
        // The viewer's clock begins elsewhere.
        let us = |at: Instant| ((at - self.begin).as_micros() as u32).wrapping_sub(77_000_000);
        let arrival = Arrival {
            first_us: us(begins + each + Self::ONE_WAY),
            last_us: us(self.idle_at + Self::ONE_WAY),
            is_repaired: false,
        };
        let report = Report {
            frame: self.number,
            packets: self.packets,
            bytes: u64::from(self.packets * PACKET),
            arrival: Some(arrival),
            ..Report::default()
        };
        self.reports.push_back((self.idle_at + 2 * Self::ONE_WAY, report));
    }

    /// The mean of the last half of the queues.
    fn queue(&self) -> Duration {
        let late = &self.queues[self.queues.len() / 2..];
        late.iter().sum::<Duration>() / late.len() as u32
    }
}

#[test]
fn it_settles_below_what_a_path_carries_and_keeps_its_queue_short() {
    for carries in [5e5, 2e6, 6e6] {
        let mut path = Path::new(carries);
        path.run(30, 1.0);
        let share = path.estimate.bitrate() / carries;
        assert!((0.6..1.4).contains(&share), "{share} of {carries}");
        assert!(path.queue() < 70 * MS, "{:?} at {carries}", path.queue());
    }
}

#[test]
fn what_others_take_of_a_path_is_not_sent_into_it() {
    let mut path = Path::new(8e6);
    path.others = 5e6;
    path.run(30, 1.0);
    let bitrate = path.estimate.bitrate();
    assert!((1.5e6..4e6).contains(&bitrate), "{bitrate}");
    assert!(path.queue() < 100 * MS, "{:?}", path.queue());
}

#[test]
fn where_others_keep_a_queue_standing_a_share_is_held() {
    let mut path = Path::new(8e6);
    path.run(5, 1.0);
    (path.others, path.standing) = (5e6, 150 * MS);
    path.run(30, 1.0);
    let bitrate = path.estimate.bitrate();
    assert!((2e6..5e6).contains(&bitrate), "{bitrate}");
}

#[test]
fn a_wide_path_is_found_within_some_round_trips() {
    let mut path = Path::new(1e8);
    path.run(1, 1.0);
    assert_eq!((path.estimate.bitrate(), path.held), (LIMITS.max, 0));
}

#[test]
fn a_path_that_becomes_narrower_is_known_soon() {
    let mut path = Path::new(8e6);
    path.run(5, 1.0);
    path.carries = 2e6;
    path.queues.clear();
    path.run(2, 1.0);
    assert!(path.estimate.bitrate() < 2.4e6, "{}", path.estimate.bitrate());
    let longest = path.queues.iter().max().unwrap();
    assert!(*longest < 500 * MS, "{longest:?}");
}

#[test]
fn little_traffic_does_not_make_a_path_narrow() {
    let mut path = Path::new(8e6);
    path.run(5, 1.0);
    let before = path.estimate.bitrate();
    path.run(20, 0.05);
    assert!(path.estimate.bitrate() >= before * 0.9);
}

#[test]
fn what_a_viewer_never_reports_is_under_way_only_for_a_while() {
    let now = Instant::now();
    let mut estimate = Estimate::new(now, LIMITS);
    estimate.sent(now, 1, FrameSize { packets: 100, bytes: 120_000, first: 1200, parity: 0 }, 100);
    assert!(!estimate.has_room(now + 100 * MS));
    assert!(estimate.has_room(now + 1000 * MS));
}

/// What became of so many packets that were sent at this moment, of which those up to a number have arrived in turn.
fn fed_back(sent_at: Instant, count: u32, is_repair: bool, arrived: u32) -> Vec<PacketResult> {
    let packet = |at: u32| {
        let arrived = (at < arrived).then(|| Duration::from_millis(5000 + u64::from(at)));
        PacketResult { sent_at, bytes: PACKET, is_repair, arrived }
    };
    (0..count).map(packet).collect()
}

#[test]
fn a_browsers_silence_shows_by_its_feedback() {
    let mut path = Path::new(5e6);
    path.estimate.reported(path.now, &Report::default());
    for beat in 0..100_u32 {
        path.send(1);
        path.now += Duration::from_millis(62);
        assert!(path.estimate.unheard(path.now).is_none(), "at {beat}");
        path.estimate.fed_back(path.now, Vec::new());
        if beat % 3 == 0 {
            path.estimate.reported(path.now, &Report::default());
        }
    }
    path.send(1);
    path.now += Duration::from_millis(70);
    assert!(path.estimate.unheard(path.now).is_none());
    path.now += Duration::from_millis(30);
    assert!(path.estimate.unheard(path.now).is_some());
}

#[test]
fn repairs_that_leave_with_a_frame_are_no_part_of_it() {
    let mut estimate = Estimate::new(Instant::now(), LIMITS);
    let mut now = estimate.begin;
    for number in 1..20 {
        let size = FrameSize { packets: 6, bytes: 6 * PACKET, first: PACKET, parity: 0 };
        estimate.sent(now, number, size, u64::from(6 * number));
        // All of the frame, and six of the repairs.
        let mut packets = fed_back(now, 6, false, 6);
        packets.extend(fed_back(now, 20, true, 6));
        estimate.fed_back(now + 80 * MS, packets);
        // As many as a frame has, but only some of them its own.
        let mut packets = fed_back(now, 6, false, 2);
        packets.extend(fed_back(now, 20, true, 4));
        estimate.fed_back(now + 81 * MS, packets);
        now += 33 * MS;
    }
    let rates = estimate.trains.iter().map(|train| train.rate / 1e6);
    // A packet each millisecond.
    assert!(
        estimate.trains.len() == TRAINS && rates.clone().all(|rate| (9.0..11.0).contains(&rate)),
        "{:?}",
        rates.collect::<Vec<_>>()
    );
}

#[test]
fn heavy_loss_counts_though_no_frame_arrives_whole_and_loss_of_few_packets_does_not() {
    let after = |packets: u32, missed: u32| {
        let mut path = Path::new(8e6);
        path.run(3, 1.0);
        let before = path.estimate.bitrate();
        let mut report = path.estimate.last.expect("it has reported");
        for _ in 0..8 {
            path.now += INTERVAL;
            report.packets += packets;
            report.missed += missed;
            report.bytes += u64::from(packets * PACKET);
            path.estimate.reported(path.now, &report);
        }
        path.estimate.bitrate() / before
    };
    assert!(after(60, 40) < 0.6);
    assert!(after(95, 5) > 0.94, "but for its repairs");
    assert!(after(3, 2) > 0.99);
}

#[test]
fn it_stays_within_its_limits_whatever_is_reported() {
    let now = Instant::now();
    let mut estimate = Estimate::new(now, LIMITS);
    for i in 0..5000u32 {
        let now = now + i * 7 * MS;
        let odd = i.wrapping_mul(0x9e37_79b9);
        let size = FrameSize {
            packets: odd % 50,
            bytes: odd % 60_000,
            first: odd % 1300,
            parity: odd % 7,
        };
        estimate.sent(now, i, size, u64::from(i) * 20);
        let arrival = Arrival { first_us: odd, last_us: odd << (i % 20), is_repaired: false };
        let report = Report {
            frame: i.wrapping_sub(odd % 3),
            packets: odd >> (i % 31),
            missed: odd >> (i % 7),
            bytes: u64::from(odd) << (i % 32),
            arrival: Some(arrival),
            ..Report::default()
        };
        estimate.reported(now, &report);
        let _ = estimate.has_room(now);
        assert!((LIMITS.min..=LIMITS.max).contains(&estimate.bitrate()), "{i}");
    }
}
