//! Streams beside bare data channels of the library below (str0m), in one run on one machine, over loopback.
//!
//! ```text
//! cargo bench -p lllsi --bench streams -- fanout     one publisher, 50 subscribers, 100 frames a second down, 10 up each
//! cargo bench -p lllsi --bench streams -- rate       the highest rate at which 99 % arrive, and 99 % of those within 20 ms
//! cargo bench -p lllsi --bench streams -- bulk       how much goes through one link; needs Chromium
//! cargo bench -p lllsi --bench streams -- stopped    what a stopped subscriber costs the others
//! ```
//!
//! A frame is made when it is due; if whoever makes it was asleep then, when it wakes up.
//!
//! `--seconds N` sets how long each part is measured, `--subscribers N` how many there are, `--down N` the rate of `fanout`.
//!
//! On a shared machine, whatever is on its way while the machine itself stands still is late: [`machine`] tells when.

mod bare;
mod chromium;
mod figures;
mod machine;
mod ours;

use std::time::{Duration, Instant};

use figures::{Delays, Seen, megabytes};
use machine::{Meter, Stills};

/// What is to be measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) subscribers: usize,
    pub(crate) down_per_second: u32,
    pub(crate) up_per_second: u32,
    pub(crate) seconds: u64,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |name: &str, default: u64| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let plan = Plan {
        subscribers: number("--subscribers", 50).max(1) as usize,
        down_per_second: number("--down", 100).max(1) as u32,
        up_per_second: 10,
        seconds: number("--seconds", 10),
    };
    match args.first().map(String::as_str) {
        Some("fanout") => fanout(plan),
        Some("rate") => rate(plan),
        Some("bulk") => bulk(Duration::from_secs(plan.seconds)),
        Some("stopped") => stopped(plan),
        Some("subscriber") => ours::subscriber(&args[1]),
        _ => println!("One of: fanout, rate, bulk, stopped"),
    }
}

fn fanout(plan: Plan) {
    println!(
        "{} subscribers, {} frames a second down, {} up each, {} s each",
        plan.subscribers, plan.down_per_second, plan.up_per_second, plan.seconds
    );
    let (epoch, idle) = (Instant::now(), Meter::start());
    std::thread::sleep(Duration::from_secs(5));
    let idle = idle.end(epoch);
    // Half of the bare channels' time before, half after: the machine is not the same all the time.
    let half = Plan { seconds: plan.seconds.div_ceil(2), ..plan };
    let mut bare = bare::fanout(half);
    let ours = ours::fanout(plan);
    bare.extend(bare::fanout(half));
    println!("                 bare channel         streams        difference of p99");
    show("down", &bare.down, &ours.down);
    show("up", &bare.up, &ours.up);
    println!(
        "Without frames that were on their way while the machine ran at less than a fifth of its speed; \
         {:.1} % of 5 s before anything began, {:.1} and {:.1} % of the time:",
        idle.share() * 100.0,
        bare.stills.share() * 100.0,
        ours.stills.share() * 100.0
    );
    show("down", &bare.undisturbed[0], &ours.undisturbed[0]);
    show("up", &bare.undisturbed[1], &ours.undisturbed[1]);
    let per_frame = |m: &Measured| m.cpu.as_secs_f64() * 1e6 / (m.down.len() + m.up.len()) as f64;
    println!(
        "processor time of both ends for each frame that came: {:.0} µs, {:.0} µs",
        per_frame(&bare),
        per_frame(&ours)
    );
    let [first, last] = ours.memory;
    println!(
        "memory of publisher and subscribers: {} MB after a quarter, {} MB at the end",
        megabytes(first),
        megabytes(last)
    );
}

fn show(what: &str, bare: &Delays, ours: &Delays) {
    println!(
        "{what:5} p50 / p99  {:6.2} / {:6.2} ms   {:6.2} / {:6.2} ms   {:+.2} ms",
        bare.percentile(0.5),
        bare.percentile(0.99),
        ours.percentile(0.5),
        ours.percentile(0.99),
        ours.percentile(0.99) - bare.percentile(0.99)
    );
    println!("      delivered  {:13}       {:13}", bare.len(), ours.len());
}

fn rate(plan: Plan) {
    let seconds = plan.seconds.min(5);
    let highest = |name: &str, run: fn(Plan) -> Measured| {
        let mut best = [None; 2];
        for down_per_second in [100, 200, 300, 400, 600, 800, 1200, 1600] {
            let measured = run(Plan { down_per_second, seconds, ..plan });
            // One for each of them may be on its way when the time begins or ends.
            let due = (u64::from(down_per_second) * seconds.max(1) - 1) * plan.subscribers as u64;
            let share = measured.down.len() as f64 / due as f64;
            let p99 = [&measured.down, &measured.undisturbed[0]].map(|all| all.percentile(0.99));
            println!(
                "{name}: {down_per_second} a second: 99 % within {:.2} ms ({:.2} without those on their way while the \
                 machine stood still), {:.1} % delivered",
                p99[0],
                p99[1],
                share * 100.0
            );
            let holds = p99.map(|p99| p99 < 20.0 && share >= 0.99);
            for at in 0..2 {
                best[at] = if holds[at] { Some(down_per_second) } else { best[at] };
            }
            if holds == [false; 2] {
                break;
            }
        }
        best
    };
    let bare = highest("bare channel", bare::fanout);
    let ours = highest("streams", ours::fanout);
    for (what, at) in [("all", 0), ("without those", 1)] {
        println!(
            "Highest with 99 % of 99 % within 20 ms, {what}: bare {:?}, streams {:?}, to each of {} subscribers",
            bare[at], ours[at], plan.subscribers
        );
    }
}

fn bulk(time: Duration) {
    let bare = bare::bulk(time);
    println!("bare channel, reliable: {:.1} MB/s", bare / 1e6);
    let ours = ours::bulk(time);
    println!("reliable stream:        {:.1} MB/s, {:.2} of it", ours / 1e6, ours / bare);
    let chromium = ours::with_a_page(|url| chromium::bulk(url, time));
    println!(
        "Chromium, page to page: {:.1} MB/s; the stream is {:.2} of it",
        chromium / 1e6,
        ours / chromium
    );
}

fn stopped(plan: Plan) {
    let plan = Plan { subscribers: plan.subscribers.min(10), ..plan };
    let [before, after] = ours::stopped(plan);
    let show = |what: &str, delays: &Delays, memory: u64| {
        println!(
            "{what}: p50 {:.2}, p99 {:.2}, longest {:.2} ms, publisher and others {} MB",
            delays.percentile(0.5),
            delays.percentile(0.99),
            delays.percentile(1.0),
            megabytes(memory)
        );
    };
    show("all take what comes ", &before.down, before.memory[1]);
    show("one has been stopped", &after.down, after.memory[1]);
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) down: Delays,
    pub(crate) up: Delays,
    /// Down and up, of frames that were not on their way while the machine stood still.
    undisturbed: [Delays; 2],
    stills: Stills,
    /// Processor time while it was measured.
    cpu: Duration,
    /// After a quarter of the time, and at the end.
    memory: [u64; 2],
}

impl Measured {
    fn new(seen: [Vec<Seen>; 2], stills: Stills, cpu: Duration, memory: [u64; 2]) -> Self {
        let [[down, d], [up, u]] = seen.map(|seen| Delays::of(seen, &stills));
        Self { down, up, undisturbed: [d, u], stills, cpu, memory }
    }

    fn extend(&mut self, later: Self) {
        self.down.extend(later.down);
        self.up.extend(later.up);
        let [down, up] = later.undisturbed;
        self.undisturbed[0].extend(down);
        self.undisturbed[1].extend(up);
        self.stills.extend(later.stills);
        self.cpu += later.cpu;
    }
}
