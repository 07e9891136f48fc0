//! `lllsi bench rendezvous`: what a rendezvous server can take.

use std::time::Duration;

use lllsi::load::{Standing, Wave};
use serde_json::json;

use super::memory;
use crate::args;
use crate::failure::{Code, Failure};
use crate::report::{Report, rounded};

/// Before memory is looked at: what was only passing through has been given back.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn rendezvous(args: &args::BenchRendezvous, report: &Report) -> Result<(), Failure> {
    lllsi::raise_file_limit();
    let mut standing = Standing::new(&args.server)?;
    let before = args.pid.map(memory).transpose()?;
    report.say(&format!("Opening {} rooms, {} a second.", args.rooms, args.rate));
    let opened = standing.open(args.rooms, args.rate);
    tell("open", &opened, report);
    report.say(&format!("{} clients enter each.", args.clients));
    let entered = standing.enter(args.rooms, args.clients, args.rate);
    tell("enter", &entered, report);
    standing.stay(SETTLE);
    let connections = opened.waited.len() + entered.waited.len();
    if let (Some(before), Some(after)) = (before, args.pid.map(memory).transpose()?) {
        let each = after.saturating_sub(before) as f64 / connections.max(1) as f64 / 1024.0;
        report.event(&json!({"event": "memory", "before_bytes": before, "after_bytes": after, "connections": connections, "kib_each": rounded(each)}));
        report.say(&format!(
            "Memory of the server: {:.1} MiB, with {connections} connections {:.1} MiB: {each:.1} KiB each.",
            before as f64 / 1048576.0,
            after as f64 / 1048576.0
        ));
    }
    match opened.failed.1.or(entered.failed.1) {
        None => Ok(()),
        Some(reason) => {
            let failed = opened.failed.0 + entered.failed.0;
            Err(Failure::new(Code::Refused, format!("{failed} connections failed: {reason}")))
        }
    }
}

fn tell(what: &str, wave: &Wave, report: &Report) {
    let ms = |percent| wave.percentile(percent).map(|time| rounded(time.as_secs_f64() * 1000.0));
    let [p50, p99, most] = [50.0, 99.0, 100.0].map(ms);
    let (number, failed) = (wave.waited.len(), wave.failed.0);
    let rate = rounded(wave.rate());
    report.event(&json!({"event": what, "number": number, "failed": failed, "per_second": rate, "ms": {"p50": p50, "p99": p99, "max": most}}));
    let shown = |ms: Option<f64>| ms.map_or("–".to_owned(), |ms| ms.to_string());
    report.say(&format!(
        "{number} done, {failed} failed, {rate} a second; waited {} ms (median), {} ms (99 %), {} ms (longest).",
        shown(p50), shown(p99), shown(most)
    ));
}
