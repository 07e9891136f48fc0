//! A host, its viewers, and how they are served.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use lllsi_core::client::Event;
use lllsi_lab::summary::median;
use lllsi_lab::{
    CODE_AT, Network, Painter, Peer, Probe, Program, Side, Summary, Usage, XServer, session,
};
use lllsi_proto::control::Report;
use lllsi_sim::Line;
use serde_json::Value;

use crate::options::Options;

/// Good viewers, besides the page.
const GOOD: usize = 20;
const BEHIND: usize = 4;
/// How much of the beginning does not count.
const WARM_UP: Duration = Duration::from_secs(6);
/// Programs that nobody ends do so themselves.
const SPARE: Duration = Duration::from_secs(90);
const MAX_VIEWERS: &str = "32";

/// The far machines.
const CLEAN: Side = Side::Far(0);
const NARROW: Side = Side::Far(1);
const LOSSY: Side = Side::Far(2);
const LYING: Side = Side::Far(3);

/// How a viewer was served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) fps: f64,
    /// From capture to what the viewer does with pictures; the page's from paint to paint.
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) mbps: f64,
}

/// How all were, at once.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) good: Vec<Served>,
    pub(crate) page: Served,
    /// Narrow, lossy and lying, if they were there.
    pub(crate) others: Option<[Served; 3]>,
    /// The host's, in percent of a core.
    pub(crate) cpu: f64,
}

fn delayed() -> Line {
    Line { delay: Duration::from_millis(40), ..Line::default() }
}

/// Good viewers, alone or beside the others.
pub(crate) fn crowd(options: &Options, is_beside: bool) -> Round {
    let narrow = Line::of_rate(5e5, 56_000, Duration::from_millis(40));
    let lossy = Line { loss: 0.1, ..delayed() };
    let down = [delayed(), narrow, lossy, delayed()];
    let lines = down.map(|line| (line, delayed()));
    let network = Arc::new(Network::start(lines.into()));
    let [source, target] = [(); 2].map(|()| XServer::start(options.size, 24));
    let _painter = Painter::start(source.display(), options.scene);
    let limit = WARM_UP + options.time + SPARE;
    let arguments = ["--max-viewers", MAX_VIEWERS];
    let (host, link) = session::host(&network, &options.lllsi, &source, &arguments, limit);
    let viewer = |side| viewer(session::join(&network, side, &options.lllsi, &link, limit));
    let _page = session::page(&network, CLEAN, &link, &target, options.size);
    let probe = Probe::start(target.display(), CODE_AT);
    let mut good: Vec<_> = (0..GOOD).map(|_| viewer(CLEAN)).collect();
    let mut others = is_beside.then(|| [viewer(NARROW), viewer(LOSSY)]);
    let liar = is_beside.then(|| Liar::join(&network, &link));

    let all = |good: &mut Vec<Program>, others: &mut Option<[Program; 2]>| {
        let served = |programs: &mut [Program]| -> Vec<Served> {
            programs.iter_mut().map(|viewer| Served::of(&viewer.news())).collect()
        };
        (served(good), others.as_mut().map(|others| served(others)))
    };
    sleep(WARM_UP);
    all(&mut good, &mut others);
    let _ = probe.take();
    let lied = liar.as_ref().map(Liar::frames);
    let (began, before) = (Instant::now(), Usage::of(host.pid()).cpu);
    sleep(options.time);
    let seconds = began.elapsed().as_secs_f64();
    let cpu = (Usage::of(host.pid()).cpu - before).as_secs_f64() * 100.0 / seconds;
    let samples = probe.take();
    let (good, others) = all(&mut good, &mut others);
    let page = Summary::of(&samples).map_or(Served::NOTHING, |summary| Served {
        fps: samples.len() as f64 / seconds,
        p50_ms: summary.p50_ms,
        p95_ms: summary.p95_ms,
        ..Served::NOTHING
    });
    let lying = liar.zip(lied).map(|(liar, before)| Served {
        fps: f64::from(liar.frames() - before) / seconds,
        ..Served::NOTHING
    });
    let others = others.zip(lying).map(|(others, lying)| [others[0], others[1], lying]);
    Round { good, page, others, cpu }
}

/// Viewers behind one uplink of a host.
pub(crate) fn behind(options: &Options, rate: f64) -> Vec<Served> {
    let up = Line::of_rate(rate, 100_000, Duration::from_millis(40));
    let network = Network::start(vec![(up, delayed())]);
    let source = XServer::start(options.size, 24);
    let _painter = Painter::start(source.display(), options.scene);
    let limit = WARM_UP + options.time + SPARE;
    let (_host, link) = session::host(&network, &options.lllsi, &source, &[], limit);
    let viewers =
        (0..BEHIND).map(|_| viewer(session::join(&network, CLEAN, &options.lllsi, &link, limit)));
    let mut viewers: Vec<_> = viewers.collect();
    sleep(WARM_UP);
    viewers.iter_mut().for_each(|viewer| drop(viewer.news()));
    sleep(options.time);
    viewers.iter_mut().map(|viewer| Served::of(&viewer.news())).collect()
}

fn viewer(mut command: Command) -> Program {
    Program::start("A viewer", command.args(["--no-decode", "--headless"]))
}

impl Served {
    const NOTHING: Self = Self { fps: 0.0, p50_ms: f64::NAN, p95_ms: f64::NAN, mbps: f64::NAN };

    /// By what a program says of each second: means, and of latencies the medians.
    fn of(events: &[Value]) -> Self {
        let stats: Vec<_> = events.iter().filter(|event| event["event"] == "stats").collect();
        let of = |figure: fn(&Value) -> &Value| -> Vec<f64> {
            stats.iter().filter_map(|event| figure(event).as_f64()).collect()
        };
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        Self {
            fps: mean(of(|event| &event["fps"])),
            p50_ms: median(of(|event| &event["latency_ms"]["p50"])),
            p95_ms: median(of(|event| &event["latency_ms"]["p95"])),
            mbps: mean(of(|event| &event["bitrate_bps"])) / 1e6,
        }
    }
}

/// A viewer whose reports say that nothing arrives, and late.
struct Liar {
    frames: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    fn join(network: &Network, link: &str) -> Self {
        let (frames, stop) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (counted, stopped, link) = (Arc::clone(&frames), Arc::clone(&stop), link.to_owned());
        let thread = network.spawn(LYING, move || {
            let mut peer = Peer::join(&link, "liar", 1, LYING.address());
            peer.client.lie(lie);
            while !stopped.load(Ordering::Relaxed) {
                peer.turn(Instant::now() + Duration::from_millis(20));
                let events = peer.events.drain(..);
                let frames = events.filter(|event| matches!(event, Event::Frame(_))).count();
                counted.fetch_add(frames as u32, Ordering::Relaxed);
            }
            peer.leave();
        });
        Self { frames, stop, thread: Some(thread) }
    }

    fn frames(&self) -> u32 {
        self.frames.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lie(report: &mut Report) {
    report.missed = report.packets;
    report.queued_us = 1_000_000;
    if let Some(arrival) = &mut report.arrival {
        arrival.last_us = arrival.first_us.wrapping_add(1_000_000);
    }
}
