//! How many connectivity checks go to machines that have answered none.
//!
//! Clients name the addresses at which a host is to look for them, and could name another machine's. So each machine
//! gets a handful of checks from the host, whoever names it and however often; and one more for every valid check that
//! comes from there (RFC 8445, 19.5.1, asks to limit this attack). An answer to a check that went there, with its
//! number, lifts the limit: only who is there can know it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::ViewerId;
use crate::network;
use crate::stun::{Class, TransactionId, transaction_id};

/// Checks for a machine of which nothing is known. A pair of addresses takes seven in its first two seconds.
const BUDGET: u32 = 12;
/// One more after so long.
const REFILL: Duration = Duration::from_secs(5);
/// Machines remembered, each for a minute: more than a dozen clients can name in that time. If all are in use, no others
/// are looked for.
const MAX_MACHINES: usize = 8192;
/// Checks of which the numbers are remembered, for each machine.
const MAX_NUMBERS: usize = 32;

/// What is known about the machines at which viewers were looked for lately.
#[derive(Debug, Default)]
pub(super) struct Checks {
    machines: HashMap<IpAddr, Machine>,
    /// When to look again for machines to forget.
    sweep_at: Option<Instant>,
}

#[derive(Debug)]
struct Machine {
    left: u32,
    refilled_at: Instant,
    /// Those of the newest checks, and who each is for.
    numbers: VecDeque<(TransactionId, ViewerId)>,
    answered: bool,
}

impl Machine {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled_at);
        let refills = (passed.as_millis() / REFILL.as_millis()) as u32;
        if refills > 0 {
            self.left = self.left.saturating_add(refills).min(BUDGET.max(self.left));
            self.refilled_at += REFILL * refills;
        }
    }

    /// Whether it may be forgotten: a new one would get no more.
    fn is_as_new(&self, now: Instant) -> bool {
        now >= self.refilled_at + REFILL * BUDGET
    }
}

impl Checks {
    /// Whether a datagram of a viewer's link may be sent to this address; if it is a check, it counts as sent.
    pub(super) fn may_go(
        &mut self,
        now: Instant,
        id: ViewerId,
        to: IpAddr,
        datagram: &[u8],
    ) -> bool {
        let (Some(Class::Request), Some(number)) = (Class::of(datagram), transaction_id(datagram))
        else {
            return true;
        };
        let Some(machine) = self.at(now, to) else { return false };
        if !machine.answered {
            if machine.left == 0 {
                return false;
            }
            machine.left -= 1;
        }
        if machine.numbers.len() == MAX_NUMBERS {
            machine.numbers.pop_front();
        }
        machine.numbers.push_back((number, id));
        true
    }

    /// A check with the right password came from there.
    pub(super) fn asked(&mut self, now: Instant, from: IpAddr) {
        if let Some(machine) = self.at(now, from) {
            machine.left = machine.left.saturating_add(1);
        }
    }

    /// Takes a datagram from there, and returns the viewer whose check it answers. A viewer's source is unknown until its own first
    /// check, and its answer may come before that.
    pub(super) fn received(&mut self, from: IpAddr, datagram: &[u8]) -> Option<ViewerId> {
        let answered =
            transaction_id(datagram).filter(|_| Class::of(datagram) == Some(Class::Success))?;
        let machine = self.machines.get_mut(&network(from))?;
        let at = machine.numbers.iter().position(|(number, _)| *number == answered)?;
        machine.answered = true;
        machine.numbers.remove(at).map(|(_, id)| id)
    }

    /// `None`: too many others are being looked for.
    fn at(&mut self, now: Instant, ip: IpAddr) -> Option<&mut Machine> {
        let ip = network(ip);
        if !self.machines.contains_key(&ip) {
            if self.machines.len() >= MAX_MACHINES && self.sweep_at.is_none_or(|at| now >= at) {
                self.machines.retain(|_, machine| !machine.is_as_new(now));
                self.sweep_at = Some(now + Duration::from_secs(1));
            }
            if self.machines.len() >= MAX_MACHINES {
                return None;
            }
            let numbers = VecDeque::new();
            let fresh = Machine { left: BUDGET, refilled_at: now, numbers, answered: false };
            self.machines.insert(ip, fresh);
        }
        let machine = self.machines.get_mut(&ip)?;
        if machine.answered {
            // In use: not to be forgotten.
            machine.refilled_at = now;
        } else {
            machine.refill(now);
        }
        Some(machine)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    const VICTIM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

    /// A check, or the answer to it.
    fn stun(class: [u8; 2], number: u32) -> Vec<u8> {
        let mut datagram = [&class[..], &[0, 0, 0x21, 0x12, 0xa4, 0x42], &[7; 8]].concat();
        datagram.extend_from_slice(&number.to_be_bytes());
        datagram
    }

    /// How many of so many checks go out.
    fn sent(checks: &mut Checks, now: Instant, to: IpAddr, numbers: std::ops::Range<u32>) -> usize {
        numbers.filter(|n| checks.may_go(now, ViewerId(*n), to, &stun([0, 1], *n))).count()
    }

    #[test]
    fn a_machine_that_does_not_answer_gets_a_handful_and_then_one_now_and_then() {
        let (mut checks, now) = (Checks::default(), Instant::now());
        assert_eq!(sent(&mut checks, now, VICTIM, 0..500), BUDGET as usize);
        let later = now + REFILL * 3;
        assert_eq!(sent(&mut checks, later, VICTIM, 500..600), 3);
        checks.asked(later, VICTIM);
        assert_eq!(sent(&mut checks, later, VICTIM, 600..700), 1);
        let id = ViewerId(1);
        assert!(checks.may_go(later, id, VICTIM, &stun([1, 1], 1)), "answers are not limited");
        assert!(checks.may_go(later, id, VICTIM, &[0x80; 40]), "and media is not");
    }

    #[test]
    fn only_an_answer_from_where_the_check_went_lifts_the_limit() {
        let (mut checks, now) = (Checks::default(), Instant::now());
        let attacker = IpAddr::from([192, 0, 2, 7]);
        sent(&mut checks, now, VICTIM, 0..20);
        sent(&mut checks, now, attacker, 100..120);
        // The attacker knows the number of a check that it got, and puts the victim's address on its answer.
        assert_eq!(checks.received(VICTIM, &stun([1, 1], 100)), None);
        assert_eq!(sent(&mut checks, now, VICTIM, 20..40), 0);
        assert_eq!(checks.received(attacker, &stun([1, 1], 100)), Some(ViewerId(100)));
        assert_eq!(sent(&mut checks, now, attacker, 120..180), 60);
        assert_eq!(checks.received(attacker, &stun([1, 1], 120)), None, "that is long ago");
        assert_eq!(checks.received(attacker, &stun([1, 1], 179)), Some(ViewerId(179)));
        assert_eq!(checks.received(attacker, &stun([1, 1], 179)), None, "once");
    }

    #[test]
    fn a_network_of_one_machine_counts_as_one() {
        let (mut checks, now) = (Checks::default(), Instant::now());
        let all: usize = (0..100u16)
            .map(|i| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, i).into())
            .map(|ip| sent(&mut checks, now, ip, 0..5))
            .sum();
        assert_eq!(all, BUDGET as usize);
    }

    #[test]
    fn names_without_end_do_not_bring_a_victim_back() {
        let (mut checks, now) = (Checks::default(), Instant::now());
        sent(&mut checks, now, VICTIM, 0..20);
        for i in 0..20_000u32 {
            sent(&mut checks, now, IpAddr::from(i.to_be_bytes()), 0..1);
        }
        assert_eq!(sent(&mut checks, now, VICTIM, 20..40), 0);
        assert!(checks.machines.len() <= MAX_MACHINES);
        // Those of long ago are forgotten.
        let later = now + REFILL * BUDGET;
        assert_eq!(sent(&mut checks, later, IpAddr::from([9, 9, 9, 9]), 0..1), 1);
    }
}
