//! An admitted viewer that misbehaves, a stranger, and a third party that forges source addresses: the work that each causes
//! at a host is in proportion to what it sends, and no other viewer is disturbed.
//!
//! Each attack runs in virtual time beside an honest viewer, with so many bytes and with ten times as many. Time of
//! processors and memory are this thread's own, so a busy machine disturbs them little; the best of several runs counts.

use lllsi_lab::{Allocations, Counting, thread_time};
use lllsi_proto::control::Message;

use super::*;
use crate::CodedFrame;
use crate::link::MAX_PAYLOAD;
use crate::testing::attacks::{self, ATTACKS, Attack, Attacker, Datagram, End};
use lllsi_proto::h264::packetize;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes of an attack; ten times as many are sent to compare with.
const BYTES: usize = 64 * 1024;
const RUNS: usize = 3;
/// An attack goes on for two seconds. Every third step the host sends a frame, and in each the honest viewer pings.
const STEPS: usize = 200;
const STEP: Duration = Duration::from_millis(10);
const FRAME_BYTES: usize = 8000;
/// What ten times the bytes cost must reach this to be compared: below it the clock tells too little.
const LEAST_TIME: Duration = Duration::from_millis(10);
/// What is wanted is 1.5, and printed; work that grows with the square of what came would show as 10. Other tests that run
/// meanwhile disturb the clock.
const MAX_GROWTH: f64 = 4.0;
/// Answers beyond two bytes for each that came: what data channels begin with, and 50 acknowledgements a second.
const SPARE_ANSWERS: usize = 64 * 1024 + 2 * 50 * 650;
/// What a link may hold of its other side's: a receive window of data channels, and small things.
const MAX_HELD: i64 = 4 * 1024 * 1024;
/// Repairs: what there is at the beginning, and half of what is sent; headers are not counted there.
const REPAIR_BYTES: usize = (64 * 1024 + STEPS / 3 * FRAME_BYTES / 2) * 11 / 10;

/// TEST-NET-3 begins so.
const STRANGERS: [u8; 2] = [203, 0];
const HOST: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 1), 5000));

/// A viewer's end of its link.
struct Peer {
    link: Link,
    at: SocketAddr,
    packets: usize,
    pongs: usize,
    is_up: bool,
    is_down: bool,
}

impl Peer {
    fn take_events(&mut self) {
        while let Some(event) = self.link.poll_event() {
            match event {
                LinkEvent::Up(_) => self.is_up = true,
                LinkEvent::Rtp(_) => self.packets += 1,
                LinkEvent::Message(Message::Pong { .. }) => self.pongs += 1,
                LinkEvent::Down(_) => self.is_down = true,
                _ => {}
            }
        }
    }
}

/// A host, an honest viewer and one that is about to misbehave, without any delay between them.
struct World {
    f: Fixture,
    honest: Peer,
    hostile: Peer,
    /// The hostile viewer does not answer any more.
    is_raw: bool,
    is_attacked: bool,
    /// What the honest viewer has sent until the attack begins.
    overheard: Vec<Vec<u8>>,
    /// Bytes of what the hostile viewer has sent as it should.
    lived: usize,
    /// Bytes that the host has sent to others than the honest viewer.
    answered: usize,
    /// What datagrams of the attack and the host's own timers took.
    time: Duration,
}

impl World {
    fn new() -> Self {
        let mut f = Fixture::new(false, 8);
        let mut peer = |number: u8| {
            let at = SocketAddr::from(([10, 0, 0, number + 1], 5000));
            let name = format!("client {number}");
            let mut joiner = f.greet_from(number.into(), name, at, [number; 32]);
            let Admission::Admitted { answer, .. } = &joiner.admission else {
                panic!("not let in")
            };
            joiner.link.accept_answer(f.now, answer).unwrap();
            let theirs = Nonce::from_bytes([1; 32]);
            joiner.link.set_binding(f.now, joiner.channel.binding(&theirs, &joiner.nonce));
            let link = joiner.link;
            Peer { link, at, packets: 0, pongs: 0, is_up: false, is_down: false }
        };
        let [honest, hostile] = [peer(1), peer(2)];
        let mut world = Self {
            f,
            honest,
            hostile,
            is_raw: false,
            is_attacked: false,
            overheard: Vec::new(),
            lived: 0,
            answered: 0,
            time: Duration::ZERO,
        };
        for _ in 0..100 {
            world.pass(STEP);
        }
        assert!(world.honest.is_up && world.hostile.is_up, "both are connected");
        // The attacker has just sent a ping, since silence would end its link.
        let now = world.f.now;
        world.hostile.link.send_pulse(now, &[Message::Ping { sent_us: 1 }]);
        world.settle();
        world
    }

    /// Lets time pass, with all that is due meanwhile.
    fn pass(&mut self, time: Duration) {
        let until = self.f.now + time;
        loop {
            self.settle();
            let links = match self.is_raw {
                true => [self.honest.link.timeout(), None],
                false => [self.honest.link.timeout(), self.hostile.link.timeout()],
            };
            let next = links.into_iter().flatten().min().unwrap_or(until).min(self.f.deadline);
            if next > until {
                break;
            }
            // A deadline that stays in the past must not hold up time.
            self.f.now = next.max(self.f.now + Duration::from_micros(100)).min(until);
            let now = self.f.now;
            if self.f.deadline <= now {
                let before = thread_time();
                self.f.input(Input::Timeout);
                self.time += thread_time() - before;
            }
            self.honest.link.handle_timeout(now);
            if !self.is_raw {
                self.hostile.link.handle_timeout(now);
            }
            if now == until {
                self.settle();
                break;
            }
        }
        self.f.now = until;
    }

    /// Carries datagrams to and fro until there are none.
    fn settle(&mut self) {
        let now = self.f.now;
        loop {
            let mut is_quiet = true;
            for transmit in std::mem::take(&mut self.f.transmits) {
                is_quiet = false;
                let peer = if transmit.destination == self.honest.at {
                    &mut self.honest
                } else {
                    self.answered += transmit.contents.len();
                    if self.is_raw || transmit.destination != self.hostile.at {
                        continue;
                    }
                    &mut self.hostile
                };
                for datagram in transmit.datagrams() {
                    peer.link.handle_datagram(now, HOST, peer.at, datagram);
                }
            }
            while let Some(transmit) = self.honest.link.poll_transmit() {
                is_quiet = false;
                for data in transmit.datagrams() {
                    if !self.is_attacked {
                        self.overheard.push(data.to_vec());
                    }
                    let source = self.honest.at;
                    self.f.input(Input::Datagram { source, destination: HOST, data });
                }
            }
            while let Some(transmit) = self.hostile.link.poll_transmit().filter(|_| !self.is_raw) {
                is_quiet = false;
                self.lived += transmit.contents.len();
                let before = thread_time();
                for data in transmit.datagrams() {
                    let source = self.hostile.at;
                    self.f.input(Input::Datagram { source, destination: HOST, data });
                }
                self.time += thread_time() - before;
            }
            self.honest.take_events();
            self.hostile.take_events();
            if is_quiet {
                return;
            }
        }
    }

    fn attack(&mut self, datagrams: &[Datagram]) {
        let before = thread_time();
        for (source, data) in datagrams {
            self.f.input(Input::Datagram { source: *source, destination: HOST, data });
        }
        self.time += thread_time() - before;
    }

    fn send_frame(&mut self) {
        let mut data = vec![0x55; FRAME_BYTES];
        data[..5].copy_from_slice(&[0, 0, 0, 1, 0x65]);
        let now = self.f.now;
        self.f.input(Input::Action(Action::Send(CodedFrame {
            layer: LayerId(0),
            data: Arc::new(data),
            keyframe: true,
            captured_at: now,
            encoded_at: now,
            info: Default::default(),
        })));
    }
}

/// What became of an attack.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    time: Duration,
    sent: usize,
    answered: usize,
    held: i64,
    keyframes: usize,
    has_left: bool,
}

/// Runs an attack, or none, and looks after the honest viewer.
fn run(attack: Option<&Attack>, bytes: usize) -> Outcome {
    let mut world = World::new();
    world.is_raw = attack.is_none_or(|attack| !attack.is_live);
    world.is_attacked = true;
    world.f.events.clear();
    world.f.requests.clear();
    (world.answered, world.lived, world.time) = (0, 0, Duration::ZERO);
    let (mut sent, mut number, mut pings, mut keyframes) = (0, 0, 0, 0);
    let mut has_left = false;
    let per_frame = packetize(&vec![0x55; FRAME_BYTES], MAX_PAYLOAD).len();
    let (mut frames, packets_before) = (0, world.honest.packets);
    let pongs_before = world.honest.pongs;
    world.f.events.shrink_to_fit();
    let before = Allocations::so_far();
    for step in 1..=STEPS {
        if let Some(attack) = attack {
            let mut datagrams = Vec::new();
            while sent < bytes * step / STEPS {
                let World { f, honest, hostile, overheard, .. } = &mut world;
                let made = (attack.make)(&mut Attacker {
                    transport: hostile.link.transport(),
                    now: f.now,
                    number,
                    at: hostile.at,
                    honest_at: honest.at,
                    overheard,
                    strangers: STRANGERS,
                });
                number += 1;
                sent += made.iter().map(|(_, data)| data.len()).sum::<usize>();
                datagrams.extend(made);
            }
            world.attack(&datagrams);
        }
        let now = world.f.now;
        if step % 3 == 0 {
            world.send_frame();
            frames += 1;
        }
        pings += 1;
        world.honest.link.send_pulse(now, &[Message::Ping { sent_us: step as u64 }]);
        world.settle();
        let what = attack.map_or("no attack", |attack| attack.name);
        assert!(!world.honest.is_down, "{what}: the honest viewer's link is down");
        assert_eq!(world.honest.pongs - pongs_before, pings, "{what}: pings at once, step {step}");
        let packets = world.honest.packets - packets_before;
        assert!(packets >= frames * per_frame, "{what}: {packets} packets of {frames} frames");
        for event in world.f.events.drain(..) {
            match event {
                Event::KeyframeWanted(_) => keyframes += 1,
                Event::ViewerLeft { id, reason } => {
                    assert_eq!(id, ViewerId(2), "{what}: {reason:?}");
                    assert_ne!(reason, LeftReason::Fault, "{what}");
                    has_left = true;
                }
                _ => {}
            }
        }
        world.f.requests.clear();
        world.pass(STEP);
    }
    world.f.events = Vec::new();
    world.f.requests = Vec::new();
    world.f.transmits = Vec::new();
    let held = Allocations::since(before).held;
    let World { answered, lived, time, .. } = world;
    sent += lived;
    Outcome { time, sent, answered, held, keyframes, has_left }
}

/// The best of several runs, less what there is without an attack.
fn best(attack: &Attack, bytes: usize, idle: &Outcome) -> Outcome {
    let runs = (0..RUNS).map(|_| run(Some(attack), bytes));
    let mut best = runs.min_by_key(|outcome| outcome.time).expect("there is one");
    best.time = best.time.saturating_sub(idle.time);
    best.answered = best.answered.saturating_sub(idle.answered);
    best.held -= idle.held;
    best
}

/// What is wrong with the outcome of an attack.
fn judge(attack: &Attack, idle: &Outcome) -> Vec<String> {
    let [once, tenfold] = [BYTES, 10 * BYTES].map(|bytes| best(attack, bytes, idle));
    let per_byte = |outcome: &Outcome| outcome.time.as_secs_f64() * 1e6 / outcome.sent as f64;
    let ratio = |outcome: &Outcome| outcome.answered as f64 / outcome.sent as f64;
    println!(
        "{:44} {:7.3} {:7.3} us/B, out/in {:5.2} {:5.2}, held {:5} {:5} kB, keyframes {} {}",
        attack.name,
        per_byte(&once),
        per_byte(&tenfold),
        ratio(&once),
        ratio(&tenfold),
        once.held / 1024,
        tenfold.held / 1024,
        once.keyframes,
        tenfold.keyframes
    );
    let mut wrong = Vec::new();
    let mut check = |what: &str, is_right: bool| {
        if !is_right {
            wrong.push(format!("{}: {what}: {once:?}, then {tenfold:?}", attack.name));
        }
    };
    for outcome in [&once, &tenfold] {
        check("who leaves", outcome.has_left == (attack.end == End::Link));
        let allowed = match attack.end {
            End::Repairs => REPAIR_BYTES,
            End::Checks => 2 * outcome.sent + attacks::MOST_CHECKS,
            _ => 2 * outcome.sent + SPARE_ANSWERS,
        };
        check("answers", outcome.answered <= allowed);
        let most = STEPS * STEP.as_millis() as usize / 500 + 1;
        check("keyframes", outcome.keyframes <= most);
        check("memory", outcome.held < MAX_HELD);
    }
    let growth = per_byte(&tenfold) / per_byte(&once).max(1e-4);
    check("what a byte costs", tenfold.time < LEAST_TIME || growth < MAX_GROWTH);
    wrong
}

/// Judges all attacks whose names begin so.
fn judge_all(kind: &str) {
    let idle = (0..RUNS).map(|_| run(None, 0)).min_by_key(|idle| idle.time).expect("there is one");
    let attacks: Vec<_> = ATTACKS.iter().filter(|attack| attack.name.starts_with(kind)).collect();
    assert!(!attacks.is_empty(), "{kind}");
    let wrong: Vec<_> = attacks.into_iter().flat_map(|attack| judge(attack, &idle)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn rtp_that_nobody_made_costs_little_and_harms_nobody() {
    judge_all("RTP: ");
}

#[test]
fn floods_of_rtcp_have_bounded_answers_and_harm_nobody() {
    judge_all("RTCP: ");
}

#[test]
fn misuse_of_data_channels_ends_the_link_of_whoever_does_it_or_costs_little() {
    judge_all("SCTP: ");
}

#[test]
fn floods_of_control_messages_have_bounded_answers_and_harm_nobody() {
    judge_all("control: ");
}

#[test]
fn hostile_checks_have_bounded_answers_and_harm_nobody() {
    judge_all("STUN: ");
}

#[test]
fn dtls_that_a_third_party_makes_costs_little_and_ends_no_link() {
    judge_all("DTLS: ");
}

/// A viewer that asks for new paths again and again must not pile up claims on addresses, nor keep others from them.
#[test]
fn a_restart_ends_a_viewers_claims_on_the_addresses_that_it_forgets() {
    let mut world = World::new();
    let mut claimed = Vec::new();
    for number in 0..20 {
        let World { f, honest, hostile, overheard, .. } = &mut world;
        let (now, at, honest_at) = (f.now, hostile.at, honest.at);
        let (transport, strangers) = (hostile.link.transport(), STRANGERS);
        let mut attacker = Attacker { transport, now, number, at, honest_at, overheard, strangers };
        let (source, data) = (attacker.other_port(), attacker.check(true, &[]));
        world.attack(&[(source, data)]);
        claimed.push(source);
    }
    let claims = |f: &Fixture| {
        claimed.iter().filter(|at| f.host.by_source.at(**at).any(|id| id == ViewerId(2))).count()
    };
    assert!(claims(&world.f) > 10, "{} claims", claims(&world.f));
    let now = world.f.now;
    let offer = world.hostile.link.restart(now).expect("no restart is under way");
    world.f.host.with_viewer(ViewerId(2), |viewer, now| viewer.restart(now, &offer));
    assert_eq!(claims(&world.f), 0);
    let is_honest = |id| id == ViewerId(1);
    assert!(world.f.host.by_source.at(world.honest.at).any(is_honest));
}
