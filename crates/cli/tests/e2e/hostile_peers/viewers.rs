//! An honest viewer, which notes how it is served, and a hostile one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi_core::Input;
use lllsi_core::client::Event;
use lllsi_core::testing::attacks::{Attack, Attacker};
use lllsi_lab::Peer;

use super::raw::{Forger, Sent, Tap};
use crate::util::PATIENCE;

const PING_EVERY: Duration = Duration::from_millis(10);
/// An attacker sends what is due each time.
const STEP: Duration = Duration::from_millis(5);
/// Sent in a row before it is heard what comes of them.
const SENDS_BEFORE_HEARING: u32 = 16;
/// What the addresses of strangers begin with: this machine's own, so that nothing leaves it.
const STRANGERS: [u8; 2] = [127, 80];

/// How the honest viewer was served for a while.
#[derive(Debug, Default, Clone)]
pub(super) struct Service {
    pub(super) frames: u32,
    pub(super) keyframes: u32,
    pub(super) pings: u32,
    pub(super) round_trips: Vec<Duration>,
    /// Why its link has ended, if it has.
    pub(super) ended: Option<String>,
}

impl Service {
    /// Within how many milliseconds this share of the answers came.
    pub(super) fn ping(&self, share: f64) -> f64 {
        let mut sorted = self.round_trips.clone();
        sorted.sort();
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        let longest = sorted.get(rank.saturating_sub(1)).copied().unwrap_or(Duration::MAX);
        longest.as_secs_f64() * 1e3
    }
}

/// A viewer on a thread of its own. It leaves when this is dropped.
pub(super) struct Honest {
    pub(super) at: SocketAddr,
    pub(super) overheard: Vec<Vec<u8>>,
    service: Arc<Mutex<Service>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Honest {
    pub(super) fn join(link: &str) -> Self {
        let mut peer = Peer::join(link, "honest", 1, Ipv4Addr::LOCALHOST);
        let (service, stop) = (Arc::<Mutex<Service>>::default(), Arc::<AtomicBool>::default());
        let deadline = Instant::now() + PATIENCE;
        while service.lock().expect("nobody else has it yet").frames == 0 {
            assert!(Instant::now() < deadline, "no frame comes");
            watch(&mut peer, &service);
        }
        let (at, overheard) = (peer.at, peer.sent.clone());
        let (noted, stopped) = (Arc::clone(&service), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                watch(&mut peer, &noted);
            }
            peer.leave();
        });
        Self { at, overheard, service, stop, thread: Some(thread) }
    }

    /// How it was served since this was called before.
    pub(super) fn service(&self) -> Service {
        std::mem::take(&mut *self.service.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Pings once, and notes what comes until the next is due.
fn watch(peer: &mut Peer, service: &Mutex<Service>) {
    let until = Instant::now() + PING_EVERY;
    peer.client.ping(Instant::now());
    peer.input(Input::Timeout);
    let note = || service.lock().unwrap_or_else(PoisonError::into_inner);
    note().pings += 1;
    while Instant::now() < until {
        peer.turn(until);
        let mut service = note();
        service.round_trips.extend(peer.client.round_trip());
        for event in peer.events.drain(..) {
            match event {
                Event::Frame(frame) => {
                    service.frames += 1;
                    service.keyframes += u32::from(frame.keyframe);
                }
                Event::Closed(reason) => service.ended = Some(format!("{reason:?}")),
                Event::Away => service.ended = Some("the host is not heard".into()),
                _ => {}
            }
        }
    }
}

/// A viewer that has been let in, and what it can put on its datagrams.
pub(super) struct Hostile {
    peer: Peer,
    forger: Forger,
    number: u32,
}

impl Hostile {
    pub(super) fn join(link: &str, seed: u8) -> Self {
        let peer = Peer::join(link, "hostile", seed, Ipv4Addr::LOCALHOST);
        Self { peer, forger: Forger::new(), number: 0 }
    }

    /// Watches as viewers do.
    pub(super) fn behave(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.peer.turn(until);
            self.peer.events.clear();
        }
    }

    /// Attacks with so many bytes in a second. Returns all bytes that it has sent, and what the host has sent meanwhile.
    pub(super) fn attack(
        &mut self,
        attack: &Attack,
        rate: usize,
        time: Duration,
        honest: &Honest,
    ) -> (usize, Sent) {
        // Silence would end its link before the attack does.
        self.peer.client.ping(Instant::now());
        self.peer.input(Input::Timeout);
        let mut tap = Tap::new(self.peer.host(), honest.at);
        let (began, mut bytes) = (Instant::now(), 0);
        self.peer.bytes = 0;
        while began.elapsed() < time {
            let due = (rate as f64 * began.elapsed().as_secs_f64()) as usize;
            while bytes + self.peer.bytes < due {
                let made = self.send(attack, honest);
                bytes += made;
                if made == 0 {
                    // One that speaks SCTP as it should waits for acknowledgements.
                    break;
                }
                if self.number.is_multiple_of(SENDS_BEFORE_HEARING) {
                    tap.hear();
                }
            }
            match attack.is_live {
                true => self.behave(STEP),
                false => self.peer.ignore(STEP),
            }
            tap.hear();
        }
        (bytes + self.peer.bytes, tap.sent())
    }

    /// Sends what the attack makes next: so many bytes.
    fn send(&mut self, attack: &Attack, honest: &Honest) -> usize {
        let host = self.peer.host();
        let made = (attack.make)(&mut Attacker {
            transport: self.peer.client.transport(),
            now: Instant::now(),
            number: self.number,
            at: self.peer.at,
            honest_at: honest.at,
            strangers: STRANGERS,
            overheard: &honest.overheard,
        });
        self.number += 1;
        for (source, data) in &made {
            match *source == self.peer.at {
                true => self.peer.send(host, data),
                false => self.forger.send(*source, host, data),
            }
        }
        made.iter().map(|(_, data)| data.len()).sum()
    }

    pub(super) fn leave(self) {
        self.peer.leave();
    }
}
