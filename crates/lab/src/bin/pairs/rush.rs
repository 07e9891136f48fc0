//! Many viewers join one host within a few seconds, while two watch already.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lllsi_lab::{Home, Homes, Program, Spread, processor};
use serde_json::{Value, json};

use crate::meeting::ms;
use crate::options::Options;
use crate::report::spread;
use crate::stage::{self, HOST, LEG, Viewers};

/// Homes of the two that watch already.
const WATCHING: [usize; 2] = [1, 2];
/// The first home of those that join: before it are the host's and those two.
pub(crate) const FIRST: usize = 3;
/// All begin within this time, so that all are in after ten seconds.
const WITHIN: Duration = Duration::from_secs(9);
/// Before that, the two watch for so long.
const SETTLE: Duration = Duration::from_secs(3);
/// From the start of the last viewer to its first frame, at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// Programs that nothing ends do so themselves.
const LIMIT: Duration = Duration::from_secs(180);
/// For so long the host may send nothing to one that watches.
const MOST_PAUSE_MS: f64 = 100.0;
/// Places beside those of the viewers.
const SPARE_PLACES: u32 = 100;

/// What a rush was like.
#[derive(Debug)]
pub(crate) struct Outcome {
    viewers: u32,
    routers: u32,
    /// From the start of the first viewer to that of the last.
    begun_ms: f64,
    /// From the start of the first viewer until all that see something have seen their first frame.
    all_ms: Option<f64>,
    /// From the start of each to its first frame.
    each_ms: Option<Spread>,
    /// Codes of those that saw nothing.
    failed: Vec<String>,
    /// The longest time in which the host sent nothing to each that watched already.
    pauses_ms: Vec<f64>,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let processors = processor::allowed();
    let [joining, serving, ..] = processors[..] else { panic!("a rush needs two processors") };
    let mut homes =
        vec![Home { nat: "port", delay: Duration::ZERO }; FIRST + options.routers as usize];
    // What the host sends is seen on its line.
    homes[HOST].delay = LEG;
    let homes = Homes::start(&homes);
    let places = options.viewers + SPARE_PLACES;
    let start = || stage::start(&homes, &options.lllsi, places, LIMIT);
    let (_programs, viewers) = processor::pinned(serving, start);
    let mut watching = WATCHING.map(|home| viewers.join(home, &["--no-decode"]));
    watching.iter_mut().for_each(|viewer| drop(viewer.event("first_frame")));
    sleep(SETTLE);
    homes.watch(&WATCHING);
    let mut joined = processor::pinned(joining, || join_all(options, &viewers));
    let (seen, failed) = firsts(&mut joined);
    let pauses = homes.longest_pauses();
    watching.iter_mut().for_each(Program::assert_running);
    let [first, last] = [joined.first(), joined.last()]
        .map(|viewer| viewer.expect("there is one at least").started());
    Outcome {
        viewers: options.viewers,
        routers: options.routers,
        begun_ms: ms(first, last),
        all_ms: seen.iter().map(|(_, at)| ms(first, *at)).reduce(f64::max),
        each_ms: Spread::of(seen.iter().map(|(started, at)| ms(*started, *at))),
        failed,
        pauses_ms: pauses.iter().map(|pause| pause.as_secs_f64() * 1000.0).collect(),
    }
}

/// Viewers behind all routers in turn, evenly over time.
fn join_all(options: &Options, viewers: &Viewers<'_>) -> Vec<Program> {
    let (begin, step) = (Instant::now(), WITHIN / options.viewers);
    let join = |number| {
        let at = begin + step * number;
        sleep(at.saturating_duration_since(Instant::now()));
        viewers.join(FIRST + (number % options.routers) as usize, &["--no-decode"])
    };
    (0..options.viewers).map(join).collect()
}

/// When each viewer started and saw its first frame; the codes of those that did not.
fn firsts(viewers: &mut [Program]) -> (Vec<(Instant, Instant)>, Vec<String>) {
    let (mut seen, mut failed) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + PATIENCE;
    for viewer in viewers {
        match viewer.one_of(&["first_frame", "error"], deadline) {
            Some((at, event)) if event["event"] == "first_frame" => {
                seen.push((viewer.started(), at));
            }
            Some((_, event)) => failed.push(event["code"].as_str().unwrap_or("unknown").into()),
            None => failed.push("silent".into()),
        }
    }
    (seen, failed)
}

impl Outcome {
    /// Whether all saw something, and those that watched already went on to.
    pub(crate) fn holds(&self) -> bool {
        self.failed.is_empty() && self.pauses_ms.iter().all(|pause| *pause <= MOST_PAUSE_MS)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "viewers": self.viewers,
            "routers": self.routers,
            "last_began_ms": self.begun_ms,
            "all_seen_ms": self.all_ms,
            "start_to_first_frame_ms": spread(self.each_ms),
            "failed": self.failed,
            "longest_pauses_ms": self.pauses_ms,
            "holds": self.holds(),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { viewers, routers, .. } = self;
        let seconds = |ms: f64| ms / 1000.0;
        let begun = seconds(self.begun_ms);
        writeln!(f, "{viewers} viewers behind {routers} routers began within {begun:.1} s")?;
        if let (Some(all), Some(each)) = (self.all_ms, self.each_ms) {
            let all = seconds(all);
            writeln!(f, "the last first frame came {all:.1} s after the first viewer began")?;
            let Spread { least, median, most } = each;
            writeln!(f, "each after its own start: {median:.0} ms ({least:.0}–{most:.0})")?;
        }
        writeln!(f, "saw nothing: {} {}", self.failed.len(), self.failed.join(" "))?;
        let pauses: Vec<_> = self.pauses_ms.iter().map(|pause| format!("{pause:.0}")).collect();
        let (pauses, holds) = (pauses.join(" and "), if self.holds() { "holds" } else { "fails" });
        writeln!(f, "longest time without a packet to those that watched: {pauses} ms")?;
        write!(f, "{holds}: no more than {MOST_PAUSE_MS} ms, and all see something")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            viewers: 100,
            routers: 10,
            begun_ms: 9900.0,
            all_ms: Some(10_300.0),
            each_ms: Spread::of([300.0, 400.0, 900.0]),
            failed: Vec::new(),
            pauses_ms: vec![40.0, 45.0],
        }
    }

    #[test]
    fn a_rush_holds_if_all_see_something_and_none_waits() {
        assert!(outcome().holds());
        assert!(!Outcome { failed: vec!["no_path".into()], ..outcome() }.holds());
        assert!(!Outcome { pauses_ms: vec![40.0, 130.0], ..outcome() }.holds());
        assert_eq!(outcome().json()["start_to_first_frame_ms"]["median"], 400.0);
        assert!(outcome().to_string().contains("10.3 s after the first viewer began"));
    }
}
