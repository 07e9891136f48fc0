//! Results for readers and for programs.

use crate::bench::{Outcome, Phase};
use crate::peers::Claim;
use lllsi_lab::{Summary, Usage};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The order of a frame's way. Stages that are not here come last.
const WAY: [&str; 10] = [
    "capture_wait",
    "capture",
    "convert",
    "encode_wait",
    "encode",
    "send_queue",
    "network",
    "reorder",
    "decode_wait",
    "decode",
];
/// What a codec costs. The rest is ours.
const CODEC: [&str; 4] = ["encode", "decode", "encode_wait", "decode_wait"];
const LABEL: usize = 42;
const COLUMN: usize = 21;

pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table { outcomes, text: String::new() };
    table.row("", |outcome| format!("{} {}x{}", outcome.system, outcome.size.0, outcome.size.1));
    table.row("measuring itself, p50 / p95 / max ms", |outcome| times(outcome.baseline));
    table.phase("text scrolls", |outcome| &outcome.scroll);
    table.phase("only the clock changes", |outcome| &outcome.tick);
    table.heading("at rest");
    table.load(|outcome| &outcome.still);
    table.row("PSNR after 1 / 5 s, dB", |outcome| {
        let [early, late] = outcome.psnr_db;
        format!("{early:.1} / {late:.1}")
    });
    table.heading("memory, MB: own + files + shared");
    table.row("host", |outcome| memory(&outcome.host));
    table.row("viewer", |outcome| memory(&outcome.viewer));
    table.text
}

struct Table<'a> {
    outcomes: &'a [Outcome],
    text: String,
}

impl Table<'_> {
    fn heading(&mut self, heading: &str) {
        let _ = writeln!(self.text, "\n{heading}");
    }

    fn row(&mut self, label: &str, value: impl Fn(&Outcome) -> String) {
        let _ = write!(self.text, "{label:LABEL$}");
        for outcome in self.outcomes {
            let _ = write!(self.text, " {:>COLUMN$}", value(outcome));
        }
        self.text.push('\n');
    }

    fn phase(&mut self, heading: &str, phase: impl Fn(&Outcome) -> &Phase) {
        self.heading(heading);
        self.row("paint to paint, p50 / p95 / max ms", |outcome| times(phase(outcome).latency));
        self.row("pictures a second, seen / painted", |outcome| {
            let phase = phase(outcome);
            format!("{:.1} / {:.1}", phase.seen_fps, phase.painted_fps)
        });
        self.claim(|outcome| phase(outcome).claim.as_ref(), |outcome| phase(outcome).latency);
        self.load(&phase);
        self.ratio(|outcome| Some(phase(outcome).latency?.p50_ms));
    }

    fn claim(
        &mut self,
        claim: impl Fn(&Outcome) -> Option<&Claim>,
        truth: impl Fn(&Outcome) -> Option<Summary>,
    ) {
        self.row("the viewer's own p50, ms", |outcome| figure(claim(outcome).map(|c| c.p50_ms)));
        self.row("  that is more than the truth by", |outcome| {
            figure(difference(claim(outcome), truth(outcome)))
        });
        for stage in stages(self.outcomes.iter().filter_map(&claim)) {
            self.row(&format!("  {stage}"), |outcome| {
                figure(claim(outcome).and_then(|claim| claim.stages.get(&stage).copied()))
            });
        }
        self.row("  all but encode, decode and their waits", |outcome| {
            figure(claim(outcome).map(overhead))
        });
    }

    fn load(&mut self, phase: impl Fn(&Outcome) -> &Phase) {
        self.row("host + viewer, % of a core", |outcome| {
            let phase = phase(outcome);
            format!("{:.1} + {:.1}", phase.host_cpu, phase.viewer_cpu)
        });
        self.row("machine idle, %", |outcome| format!("{:.0}", phase(outcome).idle));
        self.row("on loopback, kbit/s", |outcome| format!("{:.0}", phase(outcome).lo_kbps));
    }

    /// How LLLSI compares with others at the same size.
    fn ratio(&mut self, p50: impl Fn(&Outcome) -> Option<f64>) {
        let outcomes = self.outcomes;
        let base = |size| outcomes.iter().find(|o| o.size == size).and_then(&p50);
        if outcomes.iter().any(|outcome| outcome.system != outcomes[0].system) {
            self.row("LLLSI's p50 to this one's", |outcome| {
                let ratio = base(outcome.size).zip(p50(outcome)).map(|(ours, its)| ours / its);
                ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
            });
        }
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.2}"))
}

fn times(summary: Option<Summary>) -> String {
    summary.map_or("–".to_owned(), |Summary { p50_ms, p95_ms, max_ms, .. }| {
        format!("{p50_ms:.1} / {p95_ms:.1} / {max_ms:.1}")
    })
}

fn memory(usage: &Usage) -> String {
    let [own, files, shared] = [usage.anonymous_bytes, usage.file_bytes, usage.shared_bytes]
        .map(|bytes| bytes.div_ceil(1_000_000));
    format!("{own} + {files} + {shared}")
}

fn difference(claim: Option<&Claim>, truth: Option<Summary>) -> Option<f64> {
    Some(claim?.p50_ms - truth?.p50_ms)
}

fn overhead(claim: &Claim) -> f64 {
    let ours = claim.stages.iter().filter(|(name, _)| !CODEC.contains(&name.as_str()));
    ours.map(|(_, ms)| ms).sum()
}

/// The names of all stages, in the order of a frame's way.
fn stages<'a>(claims: impl Iterator<Item = &'a Claim>) -> Vec<String> {
    let mut names: Vec<String> = claims.flat_map(|claim| claim.stages.keys().cloned()).collect();
    let place = |name: &String| WAY.iter().position(|stage| stage == name).unwrap_or(WAY.len());
    names.sort_by(|a, b| (place(a), a).cmp(&(place(b), b)));
    names.dedup();
    names
}

pub(crate) fn json(outcome: &Outcome) -> Value {
    json!({
        "system": outcome.system,
        "size": format!("{}x{}", outcome.size.0, outcome.size.1),
        "baseline_ms": summary(outcome.baseline),
        "scroll": phase(&outcome.scroll),
        "tick": phase(&outcome.tick),
        "still": phase(&outcome.still),
        // JSON has no infinity: the same picture has none.
        "psnr_db": outcome.psnr_db.map(|db| db.is_finite().then_some(db)),
        "host": usage(&outcome.host),
        "viewer": usage(&outcome.viewer),
    })
}

fn phase(phase: &Phase) -> Value {
    let claim = phase.claim.as_ref();
    json!({
        "latency_ms": summary(phase.latency),
        "seen_fps": phase.seen_fps,
        "painted_fps": phase.painted_fps,
        "claimed_p50_ms": claim.map(|claim| claim.p50_ms),
        "claim_minus_truth_ms": difference(claim, phase.latency),
        "stages_ms": claim.map(|claim| &claim.stages),
        "overhead_ms": claim.map(overhead),
        "host_cpu_percent": phase.host_cpu,
        "viewer_cpu_percent": phase.viewer_cpu,
        "loopback_kbps": phase.lo_kbps,
        "machine_idle_percent": phase.idle,
    })
}

fn summary(summary: Option<Summary>) -> Value {
    summary.map_or(Value::Null, |Summary { count, p50_ms, p95_ms, max_ms }| {
        json!({ "count": count, "p50": p50_ms, "p95": p95_ms, "max": max_ms })
    })
}

fn usage(usage: &Usage) -> Value {
    json!({
        "rss_bytes": usage.rss_bytes,
        "anonymous_bytes": usage.anonymous_bytes,
        "file_bytes": usage.file_bytes,
        "shared_bytes": usage.shared_bytes,
        "peak_rss_bytes": usage.peak_rss_bytes,
        "threads": usage.threads,
        "fds": usage.fds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        let stages = ["window", "decode", "encode_wait", "capture", "encode"];
        let stages = stages.into_iter().zip([1.0, 2.0, 4.0, 8.0, 16.0]);
        Claim { p50_ms: 31.0, stages: stages.map(|(name, ms)| (name.to_owned(), ms)).collect() }
    }

    #[test]
    fn stages_are_in_the_order_of_a_frames_way() {
        let names = stages([&claim(), &claim()].into_iter());
        assert_eq!(names, ["capture", "encode_wait", "encode", "decode", "window"]);
    }

    #[test]
    fn overhead_is_what_is_not_the_codecs() {
        assert!((overhead(&claim()) - 9.0).abs() < 1e-9);
    }
}
