//! The same pictures over the lines people have.

use std::thread::sleep;
use std::time::{Duration, Instant};

use lllsi_lab::screen::{grab, psnr};
use lllsi_lab::{CODE_AT, Network, Painter, Probe, Sample, Scene, Side, USUAL_FPS, XServer};
use lllsi_sim::{Cut, Line};
use serde_json::{Value, json};

use crate::options::Options;
use crate::peers::Peers;

/// How much of the beginning does not count but for the first picture.
const WARM_UP: Duration = Duration::from_secs(4);
/// Without a new picture for longer than this, it is frozen.
const FROZEN: Duration = Duration::from_millis(200);
/// How long a line is watched.
const TIME: Duration = Duration::from_secs(20);
/// How sharp text at rest has to become, and a turned page: first readable, then sharp. In decibels.
const AT_REST: [f64; 1] = [38.0];
const TURNED: [f64; 2] = [30.0, 40.0];
/// How long that is waited for.
const SHARP_WITHIN: Duration = Duration::from_secs(12);
/// From the start of the viewer to its first picture, at most.
const PATIENCE: Duration = Duration::from_secs(15);

/// A line by its name: from the host to the viewer, and back.
pub(crate) fn named(name: &str) -> Option<(Line, Line)> {
    let ms = Duration::from_millis;
    let usual = Line { delay: ms(40), ..Line::default() };
    let both = |line: Line| (line.clone(), line);
    let narrow = |rate, queue| (Line::of_rate(rate, queue, ms(40)), usual.clone());
    Some(match name {
        "clean" => both(usual),
        "loss1" => both(Line { loss: 0.01, ..usual }),
        "loss5" => both(Line { loss: 0.05, ..usual }),
        "loss10" => both(Line { loss: 0.1, ..usual }),
        "cuts" => {
            let cut = Some(Cut { every: Duration::from_secs(3), lasts: ms(80) });
            both(Line { cut, ..usual })
        }
        "jitter" => both(Line { jitter: ms(30), ..usual }),
        "far" => both(Line { delay: ms(150), loss: 0.01, ..usual }),
        "8M" => narrow(8e6, 100_000),
        "4M" => {
            let near = Line { delay: ms(20), ..Line::default() };
            (Line::of_rate(4e6, 56_000, ms(20)), near)
        }
        "3M" => narrow(3e6, 56_000),
        "2M" => narrow(2e6, 56_000),
        "1M" => narrow(1e6, 56_000),
        "300k" => narrow(3e5, 56_000),
        _ => return None,
    })
}

/// All of [`named`].
pub(crate) const NAMES: [&str; 13] = [
    "clean", "loss1", "loss5", "loss10", "cuts", "jitter", "far", "8M", "4M", "3M", "2M", "1M",
    "300k",
];

/// What was seen over one line.
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) size: (u16, u16),
    /// From the start of the viewer to its first picture.
    first: Option<Duration>,
    p50_ms: f64,
    p95_ms: f64,
    fps: f64,
    frozen_s: f64,
    /// Into the line from the host.
    mbps: f64,
    /// After the motion stopped, and after another page was turned to: how long until the viewer showed it so well as
    /// [`AT_REST`] and [`TURNED`] want.
    rest: Vec<Option<Duration>>,
    turn: Vec<Option<Duration>>,
}

pub(crate) fn run(options: &Options) -> Vec<Seen> {
    let mut all = Vec::new();
    for size in &options.sizes {
        for name in &options.lines {
            let seen = measure(options, *size, name);
            eprintln!("{}", seen.row());
            all.push(seen);
        }
    }
    all
}

fn measure(options: &Options, size: (u16, u16), name: &str) -> Seen {
    let (up, down) = named(name).expect("names were checked");
    let (source, target) = (XServer::start(size, 24), XServer::start(size, 24));
    let painter = Painter::start(source.display(), Scene::Scroll { fps: USUAL_FPS });
    let network = Network::start(up, down);
    let limit = WARM_UP + TIME + PATIENCE + Duration::from_secs(60);
    let mut peers = Peers::over(&network, &options.lllsi, &source, &target, limit);
    let probe = Probe::start(target.display(), CODE_AT);
    let began = Instant::now();
    let mut samples = Vec::new();
    while samples.is_empty() && began.elapsed() < PATIENCE {
        sleep(Duration::from_millis(5));
        samples = probe.take();
    }
    let first = (!samples.is_empty()).then(|| began.elapsed());
    sleep(WARM_UP);
    let (from, sent) = (Instant::now(), network.sent(Side::Near));
    let _ = probe.take();
    sleep(TIME);
    let samples = probe.take();
    let seconds = from.elapsed().as_secs_f64();
    peers.assert_running();
    let mbps = (network.sent(Side::Near) - sent) as f64 * 8.0 / 1e6 / seconds;
    drop(probe);
    painter.rest();
    let rest = sharp_after(&source, &target, &AT_REST);
    sleep(SHARP_WITHIN / 4); // for what is not as sharp as it gets
    painter.turn();
    let turn = sharp_after(&source, &target, &TURNED);
    peers.assert_running();
    Seen { rest, turn, ..Seen::of(name, size, first, &samples, seconds, mbps) }
}

/// How long it takes from now until the target shows the source as well as each of these, which grow.
fn sharp_after(source: &XServer, target: &XServer, decibels: &[f64]) -> Vec<Option<Duration>> {
    let (begin, shown) = (Instant::now(), grab(source.display()));
    let mut after = Vec::new();
    while after.len() < decibels.len() && begin.elapsed() < SHARP_WITHIN {
        let seen = grab(target.display());
        let (at, seen) = (begin.elapsed(), psnr(&shown, &seen));
        after.extend(decibels[after.len()..].iter().filter(|db| seen >= **db).map(|_| Some(at)));
        sleep(Duration::from_millis(20));
    }
    after.resize(decibels.len(), None);
    after
}

impl Seen {
    fn of(
        line: &str,
        size: (u16, u16),
        first: Option<Duration>,
        samples: &[Sample],
        seconds: f64,
        mbps: f64,
    ) -> Self {
        let mut ms: Vec<f64> =
            samples.iter().map(|sample| sample.latency().as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        let of = |share: f64| ms.get((ms.len() as f64 * share) as usize).copied();
        let gaps = samples.windows(2).map(|two| two[1].seen_us.saturating_sub(two[0].seen_us));
        let long = gaps.filter(|gap| u128::from(*gap) > FROZEN.as_micros());
        let frozen_s = if samples.is_empty() { seconds } else { long.sum::<u64>() as f64 / 1e6 };
        Self {
            line: line.into(),
            size,
            first,
            p50_ms: of(0.5).unwrap_or(f64::NAN),
            p95_ms: of(0.95).unwrap_or(f64::NAN),
            fps: samples.len() as f64 / seconds,
            frozen_s,
            mbps,
            rest: Vec::new(),
            turn: Vec::new(),
        }
    }

    pub(crate) fn row(&self) -> String {
        let first =
            self.first.map_or("never".into(), |first| format!("{:.2}", first.as_secs_f64()));
        let seconds = |after: &[Option<Duration>]| {
            let each = |after: &Option<Duration>| {
                after.map_or("never".into(), |after| format!("{:.2}", after.as_secs_f64()))
            };
            after.iter().map(each).collect::<Vec<_>>().join(" / ")
        };
        let (rest, turn) = (seconds(&self.rest), seconds(&self.turn));
        format!(
            "{:>9} {:>7}  first {first:>5} s  p50 {:>6.1}  p95 {:>6.1} ms  {:>5.1} fps  frozen {:>5.2} s  {:>6.2} Mbit/s  \
             rest 38 dB {rest} s  turn 30 / 40 dB {turn} s",
            format!("{}x{}", self.size.0, self.size.1),
            self.line,
            self.p50_ms,
            self.p95_ms,
            self.fps,
            self.frozen_s,
            self.mbps,
        )
    }

    pub(crate) fn json(&self) -> Value {
        let seconds = |after: &[Option<Duration>]| -> Vec<Option<f64>> {
            after.iter().map(|after| after.map(|after| after.as_secs_f64())).collect()
        };
        json!({
            "size": [self.size.0, self.size.1],
            "line": self.line,
            "first_s": self.first.map(|first| first.as_secs_f64()),
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "fps": self.fps,
            "frozen_s": self.frozen_s,
            "mbps": self.mbps,
            "rest_38_db_s": seconds(&self.rest),
            "turn_30_40_db_s": seconds(&self.turn),
        })
    }

    pub(crate) fn is_blind(&self) -> bool {
        self.first.is_none()
    }
}
