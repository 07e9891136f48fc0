//! The same pictures over the lines people have.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lllsi_lab::clock_code::{between, now_micros};
use lllsi_lab::screen::{grab, psnr};
use lllsi_lab::{CODE_AT, Download, Network, Painter, Probe, Program, Side, XServer, session};
use lllsi_sim::{Cut, Line};

use crate::browsers::{self, Browsers};
use crate::options::Options;
use crate::seen::{Seen, Told};

/// How much of the beginning does not count but for the first picture.
const WARM_UP: Duration = Duration::from_secs(4);
/// What was sent is looked at this often; so many are a second.
const STEP: Duration = Duration::from_millis(200);
pub(crate) const STEPS: usize = 5;
/// How long a line is watched: alone, and beside a download.
pub(crate) const TIME: Duration = Duration::from_secs(20);
pub(crate) const TIME_BESIDE: Duration = Duration::from_secs(60);
/// How sharp text at rest has to become, and a turned page: first readable, then sharp. In decibels.
const AT_REST: [f64; 1] = [38.0];
const TURNED: [f64; 2] = [30.0, 40.0];
/// How long that is waited for.
const SHARP_WITHIN: Duration = Duration::from_secs(12);
/// From the start of the viewer to its first picture, at most.
const PATIENCE: Duration = Duration::from_secs(15);

/// When the line `dip` becomes narrow, and wide again.
const DIP: (Duration, Duration) = (Duration::from_secs(12), Duration::from_secs(20));
/// Phases are looked at from a second after a change of the line.
const CHANGE: Duration = Duration::from_secs(1);

/// A line by its name: from the host to the viewer, and back.
pub(crate) fn named(name: &str) -> Option<(Line, Line)> {
    let ms = Duration::from_millis;
    let usual = Line { delay: ms(40), ..Line::default() };
    let near = Line { delay: ms(20), ..Line::default() };
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
        "dip" => {
            let rates = vec![(Duration::ZERO, 8e6), (DIP.0, 2e6), (DIP.1, 8e6)];
            (Line { rates, queue: 100_000, ..usual.clone() }, usual)
        }
        "8M" => narrow(8e6, 100_000),
        "4M" => (Line::of_rate(4e6, 56_000, ms(20)), near),
        "8M50ms" => (Line::of_rate(8e6, 50_000, ms(20)), near),
        "8M200ms" => (Line::of_rate(8e6, 200_000, ms(20)), near),
        "3M" => narrow(3e6, 56_000),
        "2M" => narrow(2e6, 56_000),
        "1M" => narrow(1e6, 56_000),
        "300k" => narrow(3e5, 56_000),
        _ => return None,
    })
}

/// All of [`named`].
pub(crate) const NAMES: [&str; 16] = [
    "clean", "loss1", "loss5", "loss10", "cuts", "jitter", "far", "dip", "8M", "8M50ms", "8M200ms",
    "4M", "3M", "2M", "1M", "300k",
];

/// What brings pictures from one screen to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// LLLSI, from program to program.
    Program,
    /// LLLSI, and its page in Chromium.
    Page,
    /// Chromium's screen share.
    Chromium,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Page => "page",
            Self::Chromium => "Chromium",
        }
    }
}

pub(crate) fn run(options: &Options) -> Vec<Seen> {
    let systems = match options.chromium {
        true => &[System::Program, System::Page, System::Chromium][..],
        false => &[System::Program],
    };
    let mut all = Vec::new();
    for size in &options.sizes {
        for name in &options.lines {
            // One after the other and from the beginning, so that a busy minute does not fall on one of them.
            let mut runs: Vec<Vec<Vec<Seen>>> = vec![Vec::new(); systems.len()];
            for _ in 0..options.runs {
                for (system, runs) in systems.iter().zip(&mut runs) {
                    let seen = measure(options, *size, name, *system);
                    seen.iter().for_each(|seen| eprintln!("{}", seen.row()));
                    runs.push(seen);
                }
            }
            for runs in &runs {
                let phase = |at: usize| runs.iter().map(|run| run[at].clone()).collect::<Vec<_>>();
                all.extend((0..runs[0].len()).map(|at| Seen::median(&phase(at))));
            }
        }
    }
    all
}

/// What shows one screen on another: programs, and what has to live beside them.
struct Running {
    programs: Vec<Program>,
    _browsers: Option<Browsers>,
}

impl Running {
    /// Chromium's screen share.
    fn chromium(
        network: &Arc<Network>,
        source: &XServer,
        target: &XServer,
        size: (u16, u16),
    ) -> Self {
        let browsers = browsers::chromium(network, source, target, size);
        Self { programs: Vec::new(), _browsers: Some(browsers) }
    }

    fn assert(&mut self) {
        self.programs.iter_mut().for_each(Program::assert_running);
    }

    /// What the programs have said since this was last asked.
    fn told(&mut self) -> Option<Told> {
        let mut news = self.programs.iter_mut().map(Program::news);
        Told::of(&news.next()?, news.next().as_deref())
    }

    /// A host, and a program or the page that watches it.
    fn lllsi(
        system: System,
        options: &Options,
        network: &Arc<Network>,
        (source, target): (&XServer, &XServer),
        size: (u16, u16),
    ) -> Self {
        let limit = WARM_UP + options.watched() + PATIENCE + Duration::from_secs(60);
        let bitrate = options.bitrate.as_deref().map(|bitrate| ["--bitrate", bitrate]);
        let arguments = bitrate.as_ref().map_or(&[][..], |words| &words[..]);
        let (host, link) = session::host(network, &options.lllsi, source, arguments, limit);
        if system == System::Page {
            let held = session::page(network, Side::Far(0), &link, target, size);
            return Self { programs: vec![host], _browsers: Some(Browsers::from(held)) };
        }
        let mut command = session::join(network, Side::Far(0), &options.lllsi, &link, limit);
        let viewer = Program::start("The viewer", command.env("DISPLAY", target.display()));
        Self { programs: vec![host, viewer], _browsers: None }
    }
}

fn measure(options: &Options, size: (u16, u16), name: &str, system: System) -> Vec<Seen> {
    let (up, down) = named(name).expect("names were checked");
    let (source, target) = (XServer::start(size, 24), XServer::start(size, 24));
    let scroll = || Painter::start(source.display(), options.scene);
    let (network, begin_us) = (Arc::new(Network::start(vec![(up, down)])), now_micros());
    let time = options.watched();
    let (mut running, painter) = if system == System::Chromium {
        // What it shows on the screen that it shares is painted over.
        (Running::chromium(&network, &source, &target, size), scroll())
    } else {
        let painter = scroll();
        (Running::lllsi(system, options, &network, (&source, &target), size), painter)
    };
    let probe = Probe::start(target.display(), CODE_AT);
    let began = Instant::now();
    let mut samples = Vec::new();
    while samples.is_empty() && began.elapsed() < PATIENCE {
        sleep(Duration::from_millis(5));
        samples = probe.take();
    }
    // A browser had begun before.
    let is_known = !samples.is_empty() && system == System::Program;
    let (first, is_blind) = (is_known.then(|| began.elapsed()), samples.is_empty());
    let download = options.beside.then(|| Download::start(&network));
    sleep(WARM_UP);
    let _ = (probe.take(), running.told());
    let arrived = network.arrived();
    let sent = watch(&network, time);
    let samples = probe.take();
    let arrived = [0, 1].map(|kind| network.arrived()[kind] - arrived[kind]);
    let shares = download.map(|_| arrived.map(|bytes| bytes as f64 * 8e-6 / time.as_secs_f64()));
    let told = running.told();
    running.assert();
    drop(probe);
    painter.rest();
    let rest = sharp_after(&source, &target, &AT_REST);
    sleep(SHARP_WITHIN / 4); // for what is not as sharp as it gets
    painter.turn();
    let turn = sharp_after(&source, &target, &TURNED);
    running.assert();
    let of = |name: &str, from: Duration, to: Duration| {
        let within = |us: &u64| {
            let at = between(begin_us, *us);
            from <= at && at < to
        };
        let samples: Vec<_> = samples.iter().filter(|sample| within(&sample.seen_us)).collect();
        let sent: Vec<_> = sent.iter().filter(|(us, _)| within(us)).copied().collect();
        let seen = Seen::of(name, size, first, &samples, &sent);
        let (rest, turn) = (rest.clone(), turn.clone());
        Seen { system, is_blind, shares, told, rest, turn, ..seen }
    };
    let end = between(begin_us, now_micros());
    match name {
        "dip" => vec![
            of("dip: 8M", Duration::ZERO, DIP.0),
            of("dip: 2M", DIP.0, DIP.1),
            of("dip: 8M", DIP.1 + CHANGE, end),
        ],
        name => vec![of(name, Duration::ZERO, end)],
    }
}

/// Watches for a while; returns what had been sent into the line, and when, every fifth of a second.
fn watch(network: &Network, time: Duration) -> Vec<(u64, u64)> {
    let (begin, mut sent) = (Instant::now(), Vec::new());
    while begin.elapsed() <= time {
        sent.push((now_micros(), network.sent(Side::Near)));
        sleep(STEP);
    }
    sent
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
