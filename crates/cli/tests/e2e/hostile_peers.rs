//! The real host under attack, over real sockets: by a viewer that it has let in, by strangers, and by a third party that puts
//! the honest viewer's address on its datagrams, which a raw socket lets it do.
//!
//! The attacks are those that core's tests make in virtual time, some of each kind. Each runs twice, with a quiet while before:
//! with a megabit in a second, and with ten. What times should be is printed beside what they are, and what is asserted of them
//! is only that host and honest viewer live: other programs on the machine disturb them, and core's tests measure by the thread.
//! Bytes, keyframes, memory and lines of the log do not hang on that, and are asserted as they should be.

mod raw;
mod viewers;

use std::time::{Duration, Instant};

use lllsi_core::testing::attacks::{ATTACKS, Attack, End, MOST_CHECKS};
use lllsi_lab::{Usage, thread_time_of};

use crate::util::{self, Program, alone};
use raw::Sent;
use viewers::{Honest, Hostile, Service};

const NAMES: &[&str] = &[
    "RTP: on many SSRCs",
    "RTP: with the honest viewer's address",
    "RTCP: NACK of 1,232 bytes",
    "RTCP: PLI",
    "RTCP: FIR, 32 at once with many entries",
    "RTCP: feedback on thousands of packets",
    "RTCP: reports",
    "SCTP: on 10,000 streams",
    "SCTP: channels are opened",
    "SCTP: tiny fragments in order",
    "SCTP: INIT",
    "control: pings, many in a packet",
    "control: pings, and answers are acknowledged",
    "control: reports",
    "control: pings as feedback",
    "control: reports as feedback",
    "STUN: many attributes, of strangers",
    "STUN: signed, from many ports",
    "STUN: signed, with others' addresses",
    "DTLS: handshakes",
];

/// Bytes of an attack in a second: a megabit.
const RATE: usize = 125_000;
const ONCE: Duration = Duration::from_secs(2);
/// As long with ten times as many would be too long for the lane.
const TEN_TIMES: Duration = Duration::from_millis(800);
const QUIET: Duration = Duration::from_millis(800);

/// What is wanted of times: how much later a ping may be answered, how many frames of a second may be missing, and how much more
/// a byte may cost if ten times as many come.
const WANTED_DELAY: f64 = 10.0;
const WANTED_FRAMES: f64 = 1.0;
const WANTED_GROWTH: f64 = 1.5;
/// What is asserted of the same.
const MOST_DELAY: f64 = 500.0;
const LEAST_FRAMES: f64 = 0.3;
const MOST_GROWTH: f64 = 4.0;
const LEAST_ANSWERED: f64 = 0.5;
/// Growth counts where the bytes of an attack keep the net thread busy for this share of the time: less is lost in what it does
/// anyway.
const LEAST_LOAD: f64 = 0.02;

/// Repairs: what may be saved up, and half of what is sent; headers are not counted there.
const SAVED_REPAIRS: usize = 256 * 1024;
const REPAIRS: f64 = 0.5 * 1.1;
/// Answers beyond two bytes for each that came: what data channels begin with, and 50 acknowledgements a second.
const SPARE_ANSWERS: usize = 64 * 1024 + 3 * 50 * 650;
/// Keyframes are made for one viewer once in this time.
const KEYFRAME_EVERY: Duration = Duration::from_millis(500);
/// Lines of the host's log in a second.
const MOST_LINES: f64 = 10.0;
/// The tables of Reed-Solomon codes (`reed-solomon-simd`, `Mul128`, and some small ones), which a host has from its first parity on.
const PARITY_TABLES: u64 = 9 * 1024 * 1024;
/// How much more the host's own memory may grow from the first attack to the last.
const MOST_MEMORY: u64 = 4 * 1024 * 1024;

/// What happened within a while.
struct While {
    time: Duration,
    /// Bytes of an attack.
    attack: usize,
    sent: Sent,
    service: Service,
    /// Processor time of the host's net thread.
    net: Duration,
    /// The same of all its threads, encoder and server among them.
    all: Duration,
    memory: u64,
    lines: usize,
}

impl While {
    fn fps(&self) -> f64 {
        f64::from(self.service.frames) / self.time.as_secs_f64()
    }

    /// The share of its time that the net thread was busy.
    fn load(&self) -> f64 {
        self.net.as_secs_f64() / self.time.as_secs_f64()
    }

    /// The same of all threads.
    fn whole_load(&self) -> f64 {
        self.all.as_secs_f64() / self.time.as_secs_f64()
    }

    /// Bytes that the host has sent to others than the honest viewer, besides the video that the attacker gets too.
    fn answers(&self) -> usize {
        self.sent.others.saturating_sub(self.sent.video)
    }
}

/// An attack, and the quiet while before it.
struct Round {
    quiet: While,
    loud: While,
}

impl Round {
    /// How much later pings were answered, in milliseconds.
    fn delay(&self) -> f64 {
        self.loud.service.ping(0.99) - self.quiet.service.ping(0.99)
    }

    /// Processor time of the net thread for a byte of the attack, in nanoseconds.
    fn cost(&self) -> f64 {
        let load = (self.loud.load() - self.quiet.load()).max(0.0);
        load * self.loud.time.as_secs_f64() * 1e9 / self.loud.attack as f64
    }

    fn figures(&self) -> String {
        let Self { quiet, loud } = self;
        format!(
            "p99 {:.1} -> {:.1} ms, {} of {} answered, fps {:.1} -> {:.1}, in {} kB, out {} kB, {} keyframes, net {:.1} -> {:.1} %, \
             all {:.0} -> {:.0} %, {:.1} MB, {} lines",
            quiet.service.ping(0.99),
            loud.service.ping(0.99),
            loud.service.round_trips.len(),
            loud.service.pings,
            quiet.fps(),
            loud.fps(),
            loud.attack / 1000,
            loud.answers() / 1000,
            loud.service.keyframes,
            quiet.load() * 100.0,
            loud.load() * 100.0,
            quiet.whole_load() * 100.0,
            loud.whole_load() * 100.0,
            loud.memory as f64 / 1e6,
            loud.lines,
        )
    }

    /// What should not be so.
    fn wrong(&self, attack: &Attack) -> Vec<String> {
        let Self { quiet, loud } = self;
        let (seconds, service) = (loud.time.as_secs_f64(), &loud.service);
        let most_answers = match attack.end {
            End::Repairs => SAVED_REPAIRS + (loud.sent.video as f64 * REPAIRS) as usize,
            End::Checks => 2 * loud.attack + MOST_CHECKS,
            _ => 2 * loud.attack,
        };
        // What was asked for just before comes too.
        let most_keyframes = 2 + (seconds / KEYFRAME_EVERY.as_secs_f64()) as u32;
        let answered = service.round_trips.len() as f64 / f64::from(service.pings.max(1));
        let checks = [
            ("the honest viewer's link", service.ended.is_none()),
            ("its pings", answered >= LEAST_ANSWERED && self.delay() < MOST_DELAY),
            ("its frames", loud.fps() >= LEAST_FRAMES * quiet.fps()),
            ("answers", loud.answers() <= most_answers + SPARE_ANSWERS),
            ("keyframes", service.keyframes <= most_keyframes),
            ("lines in the log", (loud.lines as f64) < MOST_LINES * seconds),
        ];
        let wrong = checks.iter().filter(|(_, is_right)| !is_right);
        wrong.map(|(what, _)| format!("{}: {what}: {}", attack.name, self.figures())).collect()
    }
}

/// The honest viewer leaves before the host ends.
struct Scene {
    honest: Honest,
    host: Program,
    link: String,
    joined: u8,
}

impl Scene {
    fn new() -> Self {
        // A small picture that always changes: it is the net thread that is attacked.
        let args = ["host", "--source", "test", "--size", "320x180", "--listen", "127.0.0.1:0"];
        let mut host = Program::start(&args);
        let link = util::text(&host.event("ready"), "link");
        let honest = Honest::join(&link);
        Self { honest, host, link, joined: 1 }
    }

    fn measure(&self, act: impl FnOnce(&Honest) -> (usize, Sent)) -> While {
        let id = self.host.id();
        let lines = || self.host.log().lines().count();
        let before = (thread_time_of(id, "net"), Usage::of(id).cpu, lines());
        self.honest.service();
        let began = Instant::now();
        let (attack, sent) = act(&self.honest);
        let (time, service, usage) = (began.elapsed(), self.honest.service(), Usage::of(id));
        While {
            time,
            attack,
            sent,
            service,
            net: thread_time_of(id, "net") - before.0,
            all: usage.cpu - before.1,
            memory: usage.anonymous_bytes,
            lines: lines() - before.2,
        }
    }

    /// How many viewers have left.
    fn left(&mut self) -> usize {
        self.host.said().iter().filter(|event| event["state"] == "left").count()
    }

    /// A quiet while, and an attack by a viewer that has just come.
    fn round(&mut self, attack: &Attack, rate: usize, time: Duration) -> Round {
        self.joined += 1;
        let mut hostile = Hostile::join(&self.link, self.joined);
        let quiet = self.measure(|_| {
            hostile.behave(QUIET);
            (0, Sent::default())
        });
        self.host.forget();
        let left_before = self.left();
        let loud = self.measure(|honest| hostile.attack(attack, rate, time, honest));
        if attack.end == End::Link {
            self.host.wait_for("end of the attacker's link", |e| e["state"] == "left");
            hostile.leave();
        } else {
            assert_eq!(self.left(), left_before, "{}: it has left\n{}", attack.name, self.host);
            hostile.leave();
            self.host.wait_for("attacker that leaves", |e| e["state"] == "left");
        }
        Round { quiet, loud }
    }
}

/// How the honest viewer was served in all of these.
fn served<'a>(whiles: impl Iterator<Item = &'a While>) -> String {
    let (mut service, mut time) = (Service::default(), Duration::ZERO);
    for one in whiles {
        service.round_trips.extend(&one.service.round_trips);
        service.frames += one.service.frames;
        time += one.time;
    }
    let fps = f64::from(service.frames) / time.as_secs_f64();
    let [median, p99] = [0.5, 0.99].map(|share| service.ping(share));
    format!("p50 {median:.2} ms, p99 {p99:.1} ms, {fps:.1} fps")
}

#[test]
fn attacks_over_real_sockets_cost_a_host_little_and_disturb_no_other_viewer() {
    let _alone = alone();
    let mut scene = Scene::new();
    let (mut rounds, mut wrong, mut unwanted) = (Vec::new(), Vec::new(), Vec::new());
    for name in NAMES {
        let attack = ATTACKS.iter().find(|attack| attack.name == *name);
        let attack = attack.unwrap_or_else(|| panic!("there is no attack “{name}”"));
        let once = scene.round(attack, RATE, ONCE);
        let tenfold = scene.round(attack, 10 * RATE, TEN_TIMES);
        let growth = tenfold.cost() / once.cost().max(1.0);
        let costs = once.loud.load() - once.quiet.load() > LEAST_LOAD;
        eprintln!("{name}: {:.0} -> {:.0} ns for a byte", once.cost(), tenfold.cost());
        for round in [&once, &tenfold] {
            eprintln!("    {}", round.figures());
            wrong.extend(round.wrong(attack));
        }
        if costs && growth > MOST_GROWTH {
            wrong.push(format!(
                "{name}: a byte of ten times as many costs {growth:.1} times as much"
            ));
        }
        let frames = once.quiet.fps() - once.loud.fps();
        // A while begins and ends between two frames.
        let is_wanted = once.delay() < WANTED_DELAY
            && frames < WANTED_FRAMES + 1.0 / QUIET.as_secs_f64()
            && (!costs || growth < WANTED_GROWTH);
        unwanted.extend((!is_wanted).then_some(*name));
        rounds.push([once, tenfold]);
    }
    eprintln!("quiet:  {}", served(rounds.iter().flatten().map(|round| &round.quiet)));
    eprintln!("once:   {}", served(rounds.iter().map(|[once, _]| &once.loud)));
    eprintln!("tenfold: {}", served(rounds.iter().map(|[_, tenfold]| &tenfold.loud)));
    eprintln!("not as wanted of a machine without other load: {unwanted:?}");
    let memory: Vec<_> = rounds.iter().flatten().map(|round| round.loud.memory).collect();
    let (first, last) = (memory[0], memory[memory.len() - 1]);
    assert!(last < first + PARITY_TABLES + MOST_MEMORY, "memory: {memory:?}");
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", scene.host.log());
}
