//! How many connectivity checks go to a machine that has answered none.
//!
//! A client names the addresses at which a host is to look for it, and could name another machine's. So each address
//! gets a handful of checks, and one more for every check of the client's own that comes from there: who puts
//! another's address on those sends as much as he causes (RFC 8445, 19.5.1, asks to limit this attack).

use std::collections::VecDeque;
use std::net::IpAddr;

/// Checks for a machine of which nothing is known. A pair of addresses takes six in its first two seconds.
const BUDGET: u32 = 12;
/// Machines remembered: more than a client may name in three restarts.
const MAX_MACHINES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Checks {
    machines: VecDeque<Machine>,
    withheld: u64,
}

#[derive(Debug)]
struct Machine {
    ip: IpAddr,
    left: u32,
    answered: bool,
}

impl Checks {
    /// Whether a check may be sent there; if so, it counts as sent.
    pub(super) fn may_go(&mut self, to: IpAddr) -> bool {
        let machine = self.machine(to);
        let may = machine.answered || machine.left > 0;
        machine.left = machine.left.saturating_sub(1);
        self.withheld += u64::from(!may);
        may
    }

    /// A check with the right password came from there.
    pub(super) fn asked(&mut self, from: IpAddr) {
        let machine = self.machine(from);
        machine.left = machine.left.saturating_add(1);
    }

    /// An answer to one of our checks came from there: somebody is there who wants them.
    pub(super) fn answered(&mut self, from: IpAddr) {
        self.machine(from).answered = true;
    }

    /// Checks that were not sent.
    pub(super) fn withheld(&self) -> u64 {
        self.withheld
    }

    fn machine(&mut self, ip: IpAddr) -> &mut Machine {
        if let Some(at) = self.machines.iter().position(|machine| machine.ip == ip) {
            return &mut self.machines[at];
        }
        if self.machines.len() == MAX_MACHINES {
            let unknown = self.machines.iter().position(|machine| !machine.answered);
            self.machines.remove(unknown.unwrap_or(0));
        }
        self.machines.push_back(Machine { ip, left: BUDGET, answered: false });
        self.machines.back_mut().expect("it was just put there")
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::Certificate;
    use crate::link::Link;

    #[test]
    fn an_answer_lifts_the_limit_and_a_question_allows_one_more() {
        let (mut checks, ip) = (Checks::default(), IpAddr::from([192, 0, 2, 7]));
        assert_eq!((0..50).filter(|_| checks.may_go(ip)).count(), BUDGET as usize);
        assert_eq!(checks.withheld(), 50 - u64::from(BUDGET));
        checks.asked(ip);
        assert!(checks.may_go(ip) && !checks.may_go(ip));
        checks.answered(ip);
        assert!((0..50).all(|_| checks.may_go(ip)));
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_strangers_first() {
        let mut checks = Checks::default();
        let friend = IpAddr::from([192, 0, 2, 7]);
        checks.answered(friend);
        for i in 0..1000u32 {
            checks.may_go(IpAddr::from(i.to_be_bytes()));
        }
        assert_eq!(checks.machines.len(), MAX_MACHINES);
        assert!(checks.machines.iter().any(|machine| machine.ip == friend));
    }

    #[test]
    fn a_client_cannot_make_a_host_bombard_another_machine() {
        let victim = "203.0.113.9";
        let certificate = Certificate::generate();
        let mut now = Instant::now();
        let own: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let (_, offer) = Link::offer(now, &certificate, &[]);
        let locals = ["198.51.100.1:4000", "10.0.0.1:4000"].map(|a| a.parse().unwrap());
        let (mut host, _) = Link::answer(now, &certificate, &locals, &offer).unwrap();
        host.add_remote(now, &format!("candidate:9 1 udp 9 {} {} typ host", own.ip(), own.port()));
        for port in 5000..5019 {
            host.add_remote(
                now,
                &format!("candidate:{port} 1 udp 2130706175 {victim} {port} typ host"),
            );
        }
        let (mut to_victim, end) = (0, now + Duration::from_secs(14));
        while let Some(at) = host.timeout(now).filter(|at| *at < end) {
            now = at.max(now + Duration::from_millis(1));
            host.handle_timeout(now);
            while let Some(transmit) = host.poll_transmit() {
                to_victim += u32::from(transmit.destination.ip().to_string() == victim);
            }
        }
        assert!((1..=BUDGET).contains(&to_victim), "{to_victim} checks");
        assert!(host.withheld_checks() > 0);
    }
}
