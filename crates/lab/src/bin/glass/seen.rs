//! What was seen over one line, and what the programs said of it.

use std::fmt;
use std::time::Duration;

use lllsi_lab::Sample;
use lllsi_lab::clock_code::between;
use lllsi_lab::summary::median;
use serde_json::{Value, json};

use crate::lines::{STEPS, System};

/// Without a new picture for longer than this, it is frozen.
const FROZEN: Duration = Duration::from_millis(200);

/// What was seen over one line.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) system: System,
    pub(crate) line: String,
    pub(crate) size: (u16, u16),
    pub(crate) is_blind: bool,
    /// From the start of the viewer to its first picture.
    pub(crate) first: Option<Duration>,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) fps: f64,
    pub(crate) frozen_s: f64,
    /// Into the line from the host.
    pub(crate) mbps: f64,
    /// In the worst second.
    pub(crate) most_mbps: f64,
    /// What arrived of it, and of a download beside it.
    pub(crate) shares: Option<[f64; 2]>,
    pub(crate) told: Option<Told>,
    /// After the motion stopped, and after another page was turned to: how long until the viewer showed it so well as
    /// [`AT_REST`] and [`TURNED`] want.
    pub(crate) rest: Vec<Option<Duration>>,
    pub(crate) turn: Vec<Option<Duration>>,
}

/// What host and viewer said of themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// Parity and repairs to all else that the host sent.
    pub(crate) redundancy: f64,
    /// What the host thought the path to carry.
    pub(crate) path_mbps: f64,
    /// How many keyframes a program asked for in place of pictures that were lost.
    pub(crate) keyframes_asked: Option<f64>,
}

impl Told {
    pub(crate) fn of(host: &[Value], viewer: Option<&[Value]>) -> Option<Self> {
        let stats = |events: &[Value]| -> Vec<Value> {
            events.iter().filter(|event| event["event"] == "stats").cloned().collect()
        };
        let host = stats(host);
        let sum = |figure: fn(&Value) -> &Value| -> f64 {
            host.iter().filter_map(|event| figure(event).as_f64()).sum()
        };
        let all = sum(|event| &event["bitrate_bps"]);
        let redundant = sum(|event| &event["redundancy_bps"]);
        let path_mbps = sum(|event| &event["paths_bps"][0]) / host.len() as f64 / 1e6;
        let keyframes_asked = viewer.map(stats).and_then(|stats| {
            let asked = |event: Option<&Value>| event?["keyframe_requests"].as_f64();
            Some(asked(stats.last())? - asked(stats.first())?)
        });
        let redundancy = redundant / (all - redundant);
        (all > redundant).then_some(Self { redundancy, path_mbps, keyframes_asked })
    }

    fn median(all: &[Self]) -> Option<Self> {
        let first = all.first()?;
        let of = |figure: fn(&Self) -> f64| median(all.iter().map(figure));
        Some(Self {
            redundancy: of(|told| told.redundancy),
            path_mbps: of(|told| told.path_mbps),
            keyframes_asked: first
                .keyframes_asked
                .map(|_| of(|told| told.keyframes_asked.unwrap_or_default())),
        })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redundancy, path_mbps, keyframes_asked } = self;
        write!(f, ", {:.0} % redundant, path {path_mbps:.2} Mbit/s", redundancy * 100.0)?;
        keyframes_asked.map_or(Ok(()), |asked| write!(f, ", {asked} keyframes asked"))
    }
}

impl Seen {
    pub(crate) fn of(
        line: &str,
        size: (u16, u16),
        first: Option<Duration>,
        samples: &[&Sample],
        sent: &[(u64, u64)],
    ) -> Self {
        let rate = |from: &(u64, u64), to: &(u64, u64)| {
            let seconds = between(from.0, to.0).as_secs_f64();
            (to.1 - from.1) as f64 * 8.0 / 1e6 / seconds.max(1e-3)
        };
        let ends = sent.first().zip(sent.last());
        let seconds = ends.map_or(0.0, |(a, b)| between(a.0, b.0).as_secs_f64());
        let mbps = ends.map_or(0.0, |(from, to)| rate(from, to));
        let worst = sent.windows(STEPS + 1).map(|steps| rate(&steps[0], &steps[STEPS]));
        let mut ms: Vec<f64> =
            samples.iter().map(|sample| sample.latency().as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        let of = |share: f64| ms.get((ms.len() as f64 * share) as usize).copied();
        let gaps = samples.windows(2).map(|two| two[1].seen_us.saturating_sub(two[0].seen_us));
        let long = gaps.filter(|gap| u128::from(*gap) > FROZEN.as_micros());
        let frozen_s = if samples.is_empty() { seconds } else { long.sum::<u64>() as f64 / 1e6 };
        Self {
            system: System::Program,
            is_blind: false,
            line: line.into(),
            size,
            first,
            p50_ms: of(0.5).unwrap_or(f64::NAN),
            p95_ms: of(0.95).unwrap_or(f64::NAN),
            fps: samples.len() as f64 / seconds,
            frozen_s,
            mbps,
            most_mbps: worst.reduce(f64::max).unwrap_or(mbps),
            shares: None,
            told: None,
            rest: Vec::new(),
            turn: Vec::new(),
        }
    }

    /// Of several runs, figure by figure.
    pub(crate) fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure));
        // Never is later than any time.
        let time = |of: &dyn Fn(&Self) -> Option<Duration>| {
            let never = Duration::MAX;
            let mut times: Vec<_> = runs.iter().map(|run| of(run).unwrap_or(never)).collect();
            times.sort();
            Some(times[times.len() / 2]).filter(|time| *time < never)
        };
        let times = |of: fn(&Self) -> &[Option<Duration>]| {
            (0..of(&runs[0]).len()).map(|at| time(&|run| of(run)[at])).collect()
        };
        Self {
            is_blind: runs.iter().any(|run| run.is_blind),
            first: time(&|run| run.first),
            p50_ms: of(|run| run.p50_ms),
            p95_ms: of(|run| run.p95_ms),
            fps: of(|run| run.fps),
            frozen_s: of(|run| run.frozen_s),
            mbps: of(|run| run.mbps),
            most_mbps: of(|run| run.most_mbps),
            shares: runs[0].shares.map(|_| {
                [0, 1].map(|kind: usize| {
                    median(runs.iter().filter_map(|run| Some(run.shares?[kind])))
                })
            }),
            told: Told::median(&runs.iter().filter_map(|run| run.told).collect::<Vec<_>>()),
            rest: times(|run| &run.rest),
            turn: times(|run| &run.turn),
            ..runs[0].clone()
        }
    }

    pub(crate) fn row(&self) -> String {
        let first = self.first.map_or("-".into(), |first| format!("{:.2}", first.as_secs_f64()));
        let seconds = |after: &[Option<Duration>]| {
            let each = |after: &Option<Duration>| {
                after.map_or("never".into(), |after| format!("{:.2}", after.as_secs_f64()))
            };
            after.iter().map(each).collect::<Vec<_>>().join(" / ")
        };
        let (rest, turn) = (seconds(&self.rest), seconds(&self.turn));
        let shares = self.shares.map_or(String::new(), |[tcp, own]| {
            format!("  arrived {own:.2}, TCP's {tcp:.2} Mbit/s")
        });
        let told = self.told.map_or(String::new(), |told| told.to_string());
        format!(
            "{:>9} {:>7} {:>8}  first {first:>5} s  p50 {:>6.1}  p95 {:>6.1} ms  {:>5.1} fps  frozen {:>5.2} s  {:>6.2}, at most {:>5.2} Mbit/s{told}{shares}  \
             rest 38 dB {rest} s  turn 30 / 40 dB {turn} s",
            format!("{}x{}", self.size.0, self.size.1),
            self.line,
            self.system.name(),
            self.p50_ms,
            self.p95_ms,
            self.fps,
            self.frozen_s,
            self.mbps,
            self.most_mbps,
        )
    }

    pub(crate) fn json(&self) -> Value {
        let seconds = |after: &[Option<Duration>]| -> Vec<Option<f64>> {
            after.iter().map(|after| after.map(|after| after.as_secs_f64())).collect()
        };
        json!({
            "size": [self.size.0, self.size.1],
            "line": self.line,
            "system": self.system.name(),
            "first_s": self.first.map(|first| first.as_secs_f64()),
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "fps": self.fps,
            "frozen_s": self.frozen_s,
            "mbps": self.mbps,
            "worst_second_mbps": self.most_mbps,
            "redundancy": self.told.map(|told| told.redundancy),
            "path_mbps": self.told.map(|told| told.path_mbps),
            "keyframes_asked": self.told.and_then(|told| told.keyframes_asked),
            "beside_tcp_mbps": self.shares.map(|[tcp, own]| json!({"own": own, "tcp": tcp})),
            "rest_38_db_s": seconds(&self.rest),
            "turn_30_40_db_s": seconds(&self.turn),
        })
    }

    pub(crate) fn is_blind(&self) -> bool {
        self.is_blind
    }
}
