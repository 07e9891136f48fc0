//! `lllsi bench`: what a rendezvous server can take, and what viewers cost a host.

use std::process::Command;
use std::time::Duration;

use lllsi::load::fanout::{self, Figures, Progress};
use lllsi::load::{Standing, Wave};
use serde_json::json;

use crate::args;
use crate::failure::{Code, Failure};
use crate::report::{Report, rounded};

/// Before memory is looked at: what was only passing through has been given back.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn rendezvous(args: &args::BenchRendezvous, report: &Report) -> Result<(), Failure> {
    lllsi::raise_file_limit();
    let mut standing = Standing::new(&args.server)?;
    let before = memory(args.pid)?;
    report.say(&format!("Opening {} rooms, {} a second.", args.rooms, args.rate));
    let opened = standing.open(args.rooms, args.rate);
    tell("open", &opened, report);
    report.say(&format!("{} clients enter each.", args.clients));
    let entered = standing.enter(args.rooms, args.clients, args.rate);
    tell("enter", &entered, report);
    standing.stay(SETTLE);
    let connections = opened.waited.len() + entered.waited.len();
    if let (Some(before), Some(after)) = (before, memory(args.pid)?) {
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

pub(crate) fn fanout(args: &args::BenchFanout, report: &Report) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|e| {
        Failure::new(Code::Unexpected, format!("this program does not find itself: {e}"))
    })?;
    let mut sinks = Command::new(program);
    sinks.args(["bench", "fanout-sinks", "--viewers", &args.viewers.to_string()]);
    let config = fanout::Config {
        viewers: args.viewers,
        time: Duration::from_secs(args.seconds.into()),
        fps: args.fps.into(),
        sinks,
    };
    report.say(&format!("{} viewers join.", args.viewers));
    let figures = fanout::measure(config, |progress| match progress {
        Progress::Connected(after) => {
            report.say(&format!("All are connected after {:.1} s.", after.as_secs_f64()));
        }
        Progress::Sending(packets) => {
            let fps = args.fps;
            report.say(&format!("Sending {fps} frames a second to each: {packets:.0} packets."));
        }
    })?;
    tell_fanout(&figures, report);
    Ok(())
}

pub(crate) fn fanout_sinks(viewers: u32) -> Result<(), Failure> {
    Ok(fanout::sinks(viewers)?)
}

fn tell_fanout(figures: &Figures, report: &Report) {
    let Figures { us_per_packet, bare_seal_us, bare_gso_us, bare_sendto_us, seal_cm_us, .. } =
        *figures;
    let (ratio, per_core) = (figures.ratio(), figures.viewers_per_core());
    let estimated = figures.us_per_packet_cm_estimated();
    let arrived = 100.0 * figures.arrived as f64 / figures.frames.max(1) as f64;
    report.say(&format!(
        "{} packets sent, {arrived:.2} % of the frames arrived, {} packets were late or lost.\n\
         A packet costs the host {us_per_packet:.2} µs of processor time: {ratio:.2} times sealing ({bare_seal_us:.2} µs) and \
         sending in batches ({bare_gso_us:.2} µs) alone.\n\
         Sending one by one costs {bare_sendto_us:.2} µs. Sealing with AES-CM and HMAC-SHA1 costs {seal_cm_us:.2} µs: a packet \
         would cost {estimated:.2} µs.\n\
         One core could serve {per_core:.0} viewers of 4 Mbit/s. A viewer takes {:.0} kB of memory, and {:.0} µs a second while \
         nothing is sent.",
        figures.packets, figures.missed, figures.kb_per_viewer, figures.idle_us_per_link_second,
    ));
    let rounds: Vec<_> = figures.rounds.iter().map(|us| thousandths(*us)).collect();
    report.event(&json!({
        "event": "fanout",
        "viewers": figures.viewers,
        "fps": figures.fps,
        "packets": figures.packets,
        "frames": figures.frames,
        "arrived": figures.arrived,
        "missed": figures.missed,
        "profile": "AEAD_AES_256_GCM",
        "us_per_packet": thousandths(us_per_packet),
        "us_per_packet_rounds": rounds,
        "bare_seal_us": thousandths(bare_seal_us),
        "bare_gso_us": thousandths(bare_gso_us),
        "bare_sendto_us": thousandths(bare_sendto_us),
        "ratio": thousandths(ratio),
        "seal_cm_us": thousandths(seal_cm_us),
        "us_per_packet_cm_estimated": thousandths(estimated),
        "viewers_per_core": per_core.floor(),
        "kb_per_viewer": rounded(figures.kb_per_viewer),
        "idle_us_per_link_second": rounded(figures.idle_us_per_link_second),
    }));
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Resident memory of a process of this machine, in bytes.
fn memory(pid: Option<u32>) -> Result<Option<u64>, Failure> {
    let Some(pid) = pid else { return Ok(None) };
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path)
        .map_err(|e| Failure::new(Code::File, format!("cannot read {path}: {e}")))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.map(|kib| kib * 1024))
}
