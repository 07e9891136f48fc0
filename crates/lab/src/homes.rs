//! Home networks behind NATs, and a server on the internet between them: the namespaces of `nat.sh`, with a delay between a
//! home's router and the internet where one is wanted. Needs root.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lllsi_sim::{Line, LineState, Rng};

use crate::forward::{Forwarding, Ways};
use crate::space::Space;

/// All kinds of NAT, those that let most in first: `nat.sh` says what they do.
pub const KINDS: [&str; 7] =
    ["none", "fullcone", "address", "port", "double", "symmetric", "symmetric-seq"];
/// Where the server is to listen.
pub const SERVER: &str = "203.0.113.1:36542";
/// The most homes.
pub const MOST: usize = 26;

/// Packets of a burst that wait for the forwarder.
const QUEUE: usize = 10_000;
/// Where an IPv4 header has its protocol and its destination, and UDP's number (RFC 791).
const PROTOCOL: usize = 9;
const DESTINATION: std::ops::Range<usize> = 16..20;
const UDP: u8 = 17;

/// What a home network is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// One of [`KINDS`].
    pub nat: &'static str,
    /// How long packets take between its router and the internet, one way. Without any, they go by wire.
    pub delay: Duration,
}

/// Homes, and the internet between them, until they are dropped. They are counted from 0.
#[derive(Debug)]
pub struct Homes {
    name: String,
    homes: Vec<Home>,
    pauses: Arc<Mutex<Pauses>>,
    forwarding: Option<Forwarding>,
}

impl Homes {
    /// Makes them.
    ///
    /// # Panics
    ///
    /// Without root, `ip`, `nft` or `/dev/net/tun`; with more than [`MOST`] of them.
    #[must_use]
    pub fn start(homes: &[Home]) -> Self {
        assert!(homes.len() <= MOST, "there are letters for {MOST} homes");
        let name = format!("lllsi{}", std::process::id());
        let (homes, pauses) = (homes.to_vec(), Arc::default());
        // What fails from here on is removed.
        let mut made = Self { name, homes, pauses, forwarding: None };
        let kinds = made.homes.iter().map(|home| home.nat);
        let done = made.script("up").args(kinds).output().expect("nat.sh starts");
        let complaint = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "the homes cannot be built: {complaint}");
        let (mut ends, mut lines, now) = (Vec::new(), Vec::new(), Instant::now());
        for (number, home) in made.homes.iter().enumerate().filter(|(_, home)| home.is_far()) {
            ends.extend(made.lay(number));
            let line = Line { delay: home.delay, ..Line::default() };
            lines.push([(); 2].map(|()| LineState::new(line.clone(), now)));
        }
        let lines = Lines { lines, pauses: Arc::clone(&made.pauses) };
        made.forwarding = Some(Forwarding::start(ends, lines));
        made
    }

    /// The machine in a home.
    #[must_use]
    pub fn home(&self, number: usize) -> Space {
        self.space(&format!("{}-home", letter(number)))
    }

    /// The server's machine.
    #[must_use]
    pub fn internet(&self) -> Space {
        self.space("inet")
    }

    /// NATs forget to whom the machines in their homes have sent: what let one peer in lets no other in.
    ///
    /// # Panics
    ///
    /// If `nft` fails.
    pub fn forget(&self) {
        for router in (0..self.homes.len()).flat_map(|number| self.nats(number)) {
            let mut command = router.command("nft");
            let done = command.args(["flush", "set", "ip", "nat", "sent"]).output();
            let done = done.expect("`ip` starts");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    }

    /// Begins to watch what goes over lines from homes to the NATs of these homes by UDP.
    pub fn watch(&self, homes: &[usize]) {
        let now = Instant::now();
        let pause = |home: &usize| Pause { to: outer(*home), newest: now, longest: Duration::ZERO };
        self.pauses().0 = homes.iter().map(pause).collect();
    }

    /// The longest time without a packet since then, for each of those homes.
    #[must_use]
    pub fn longest_pauses(&self) -> Vec<Duration> {
        let now = Instant::now();
        self.pauses().0.iter().map(|pause| pause.longest.max(now - pause.newest)).collect()
    }

    fn pauses(&self) -> MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn space(&self, place: &str) -> Space {
        Space::named(format!("{}-{place}", self.name))
    }

    fn script(&self, what: &str) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/nat.sh"));
        command.args([what, &self.name]);
        command
    }

    /// The routers of a home that translate addresses, the outer one last.
    fn nats(&self, number: usize) -> Vec<Space> {
        let places: &[&str] = match self.homes[number].nat {
            "none" => &[],
            "double" => &["router", "outer"],
            _ => &["router"],
        };
        let letter = letter(number);
        places.iter().map(|place| self.space(&format!("{letter}-{place}"))).collect()
    }

    /// Puts a line in place of the wire between a home's router and the internet; returns both ends of it that are read here.
    fn lay(&self, number: usize) -> [std::fs::File; 2] {
        let (letter, [a, b, c, _]) = (letter(number), outer(number).octets());
        let router = self.nats(number).pop();
        let router = router.unwrap_or_else(|| self.space(&format!("{letter}-router")));
        let (internet, near) = (self.internet(), format!("to-{letter}"));
        internet.ip(&format!("link delete {near}"));
        let ends = [
            router.device("wan", &format!("{a}.{b}.{c}.2/24")),
            internet.device(&near, &format!("{a}.{b}.{c}.1/24")),
        ];
        router.ip("route add default dev wan");
        internet.ip(&format!("route add 10.0.{}.0/24 dev {near}", number + 1));
        for (space, device) in [(&router, "wan"), (&internet, near.as_str())] {
            space.ip(&format!("link set {device} txqueuelen {QUEUE}"));
        }
        ends
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        // It reads from devices that go with their machines.
        drop(self.forwarding.take());
        let _ = self.script("down").output();
    }
}

impl Home {
    fn is_far(&self) -> bool {
        !self.delay.is_zero()
    }
}

fn letter(number: usize) -> char {
    char::from(b'a' + number as u8)
}

/// The address of a home's NAT on the internet, as in `nat.sh`.
fn outer(number: usize) -> Ipv4Addr {
    match number {
        0 => Ipv4Addr::new(192, 0, 2, 2),
        1 => Ipv4Addr::new(198, 51, 100, 2),
        _ => Ipv4Addr::new(198, 18, number as u8 + 1, 2),
    }
}

/// Each has an end at a router, then one on the internet.
struct Lines {
    lines: Vec<[LineState; 2]>,
    pauses: Arc<Mutex<Pauses>>,
}

impl Ways for Lines {
    fn take(
        &mut self,
        now: Instant,
        from: usize,
        packet: &[u8],
        rng: &mut Rng,
    ) -> Option<(Instant, usize)> {
        if from.is_multiple_of(2) {
            self.pauses.lock().unwrap_or_else(PoisonError::into_inner).note(now, packet);
        }
        let at = self.lines[from / 2][from % 2].pass(now, packet.len(), rng)?;
        Some((at, from ^ 1))
    }
}

/// What is watched.
#[derive(Debug, Default)]
struct Pauses(Vec<Pause>);

#[derive(Debug)]
struct Pause {
    to: Ipv4Addr,
    newest: Instant,
    longest: Duration,
}

impl Pauses {
    fn note(&mut self, now: Instant, packet: &[u8]) {
        let is_udp = packet.get(PROTOCOL) == Some(&UDP);
        let to = packet.get(DESTINATION).and_then(<[u8]>::first_chunk::<4>);
        let Some(to) = to.filter(|_| is_udp).copied().map(Ipv4Addr::from) else { return };
        if let Some(pause) = self.0.iter_mut().find(|pause| pause.to == to) {
            pause.longest = pause.longest.max(now - pause.newest);
            pause.newest = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pause_is_that_of_one_address() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let pause = |to| Pause { to, newest: now, longest: Duration::ZERO };
        let mut pauses = Pauses(vec![pause(outer(1)), pause(outer(2))]);
        let packet = |to: Ipv4Addr, protocol| {
            let mut packet = vec![0; 28];
            packet[PROTOCOL] = protocol;
            packet[DESTINATION].copy_from_slice(&to.octets());
            packet
        };
        for (after, to, protocol) in
            [(30, 1, UDP), (50, 2, UDP), (60, 3, UDP), (70, 1, 6), (110, 1, UDP), (120, 1, UDP)]
        {
            pauses.note(now + ms(after), &packet(outer(to), protocol));
        }
        pauses.note(now + ms(500), &[0; 9]);
        let longest: Vec<_> = pauses.0.iter().map(|pause| pause.longest).collect();
        assert_eq!(longest, [ms(80), ms(50)]);
    }

    #[test]
    fn homes_have_letters_and_addresses_of_their_own() {
        let all: std::collections::HashSet<_> = (0..MOST).map(outer).collect();
        assert_eq!((all.len(), letter(0), letter(MOST - 1)), (MOST, 'a', 'z'));
    }
}
