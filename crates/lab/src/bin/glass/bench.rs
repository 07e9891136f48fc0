//! What is measured, in which order.

use crate::options::Options;
use crate::peers::{Claim, Peers};
use lllsi_lab::screen::{grab, psnr};
use lllsi_lab::{CODE_AT, Painter, Probe, Scene, Summary, USUAL_FPS, Usage, XServer};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Measuring what measuring costs.
const BASELINE: Duration = Duration::from_secs(5);
/// From the start of a system to its usual pace.
const WARM_UP: Duration = Duration::from_secs(4);
/// From one scene to the next.
const CHANGE: Duration = Duration::from_secs(2);
/// When the picture at rest is looked at.
const REST: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// When nothing should happen any more.
const QUIET: Duration = Duration::from_secs(6);

/// One system at one size.
pub(crate) struct Outcome {
    pub(crate) system: &'static str,
    pub(crate) size: (u16, u16),
    /// Painter and probe on one display.
    pub(crate) baseline: Option<Summary>,
    pub(crate) scroll: Phase,
    pub(crate) tick: Phase,
    pub(crate) still: Phase,
    /// Between both displays, at the times of [`REST`].
    pub(crate) psnr_db: [f64; 2],
    /// At the end.
    pub(crate) host: Usage,
    pub(crate) viewer: Usage,
}

/// Some seconds of one scene.
pub(crate) struct Phase {
    pub(crate) latency: Option<Summary>,
    /// Painted and seen, in a second.
    pub(crate) painted_fps: f64,
    pub(crate) seen_fps: f64,
    pub(crate) claim: Option<Claim>,
    /// In percent of a core.
    pub(crate) host_cpu: f64,
    pub(crate) viewer_cpu: f64,
    /// Over the loopback interface, whoever sent it.
    pub(crate) lo_kbps: f64,
    /// Of the whole machine, in percent. With little left, the load is measured and not the system.
    pub(crate) idle: f64,
}

pub(crate) fn run(options: &Options) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for size in &options.sizes {
        let scenes = WARM_UP + CHANGE + QUIET + options.time * 2;
        // Generous: that programs end by themselves is for the case that nobody ends them.
        let limit = scenes + Duration::from_secs(60);
        eprintln!("{}x{}: some {} s each", size.0, size.1, scenes.as_secs() + 6);
        let lllsi = |source: &_, target: &_| Peers::lllsi(&options.lllsi, source, target, limit);
        outcomes.push(measure(*size, options.time, lllsi));
        if options.vnc {
            let vnc = |source: &_, target: &_| Peers::vnc(source, target, limit);
            outcomes.push(measure(*size, options.time, vnc));
        }
    }
    outcomes
}

fn measure(
    size: (u16, u16),
    time: Duration,
    start: impl FnOnce(&XServer, &XServer) -> Peers,
) -> Outcome {
    let source = XServer::start(size, 24);
    let target = XServer::start(size, 24);
    let scroll = Scene::Scroll { fps: USUAL_FPS };
    let painter = Painter::start(source.display(), scroll);
    let baseline = baseline(&source);

    let mut scenes = Scenes {
        peers: start(&source, &target),
        painter,
        probe: Probe::start(target.display(), CODE_AT),
    };
    sleep(WARM_UP);
    let scroll = scenes.measure(time);
    scenes.painter.play(Scene::Tick { fps: USUAL_FPS });
    sleep(CHANGE);
    let tick = scenes.measure(time / 2);
    scenes.painter.rest();
    let rested = Instant::now();
    let psnr_db = REST.map(|after| {
        sleep_until(rested + after);
        psnr(&grab(source.display()), &grab(target.display()))
    });
    sleep_until(rested + QUIET);
    let still = scenes.measure(time / 2);
    let [host, viewer] = scenes.usage();
    let system = scenes.peers.system;
    Outcome { system, size, baseline, scroll, tick, still, psnr_db, host, viewer }
}

fn baseline(server: &XServer) -> Option<Summary> {
    let probe = Probe::start(server.display(), CODE_AT);
    sleep(BASELINE);
    Summary::of(&probe.take())
}

struct Scenes {
    peers: Peers,
    painter: Painter,
    probe: Probe,
}

impl Scenes {
    fn measure(&mut self, time: Duration) -> Phase {
        self.peers.assert_running();
        let (usage, loopback, painted) = (self.usage(), loopback_bytes(), self.painter.frames());
        let (idle, ticks) = machine_ticks();
        let start = Instant::now();
        drop((self.probe.take(), self.peers.claim()));
        sleep(time);
        self.peers.assert_running();
        let (samples, claim) = (self.probe.take(), self.peers.claim());
        let seconds = start.elapsed().as_secs_f64();
        let (after, (idle_after, ticks_after)) = (self.usage(), machine_ticks());
        let cpu = |i: usize| (after[i].cpu - usage[i].cpu).as_secs_f64() * 100.0 / seconds;
        Phase {
            latency: Summary::of(&samples),
            painted_fps: (self.painter.frames() - painted) as f64 / seconds,
            seen_fps: samples.len() as f64 / seconds,
            claim,
            host_cpu: cpu(0),
            viewer_cpu: cpu(1),
            lo_kbps: (loopback_bytes() - loopback) as f64 * 8.0 / 1000.0 / seconds,
            // The time spent idle may even decrease, says proc(5).
            idle: idle_after.saturating_sub(idle) as f64 * 100.0
                / (ticks_after - ticks).max(1) as f64,
        }
    }

    fn usage(&self) -> [Usage; 2] {
        [&self.peers.host, &self.peers.viewer].map(|program| Usage::of(program.pid()))
    }
}

fn sleep_until(moment: Instant) {
    sleep(moment.saturating_duration_since(Instant::now()));
}

/// What the loopback interface has received since the machine was started.
fn loopback_bytes() -> u64 {
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let loopback = devices.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    loopback.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Ticks of all processors since the machine was started: without work, and in all.
fn machine_ticks() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let total = stat.lines().next().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user already.
    let ticks: Vec<u64> =
        total.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
    (ticks.iter().skip(3).take(2).sum(), ticks.iter().sum())
}
