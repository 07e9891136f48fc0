//! Gathering (RFC 8445, 5.1.1): the addresses of this machine, and those at which the server sees it.

use std::net::SocketAddr;
use std::time::Instant;

use crate::Transmit;
use crate::nat::{NatKind, NatProbe, Outcome, Probe};
use crate::seal::derive;
use crate::stun::{Question, Reflexive};

/// What is known of our own addresses.
#[derive(Debug)]
pub(crate) struct Gather {
    locals: Vec<SocketAddr>,
    seed: [u8; 32],
    /// Questions asked so far, over all servers.
    asked: u64,
    /// One for each family in which the server has addresses: a NAT of one knows nothing of the other.
    questions: Vec<Question>,
    /// Finds out of what kind the NAT before us is, where that is of use.
    probe: Option<NatProbe>,
    probed: u64,
    is_kind_told: bool,
}

impl Gather {
    /// With this machine's addresses, the best first. `seed` makes the questions to servers unpredictable.
    pub(crate) fn new(locals: Vec<SocketAddr>, seed: &[u8; 32]) -> Self {
        Self {
            locals,
            seed: *seed,
            asked: 0,
            questions: Vec::new(),
            probe: None,
            probed: 0,
            is_kind_told: false,
        }
    }

    pub(crate) fn locals(&self) -> &[SocketAddr] {
        &self.locals
    }

    /// This machine has these addresses now. Servers are asked again how they see us.
    pub(crate) fn set_locals(&mut self, now: Instant, locals: Vec<SocketAddr>) {
        self.questions.iter_mut().for_each(|question| question.keep(&locals));
        self.locals = locals;
        self.probe = None;
        self.refresh(now);
    }

    /// Asks the STUN server at these addresses, instead of any others before.
    pub(crate) fn ask(&mut self, now: Instant, servers: &[SocketAddr]) {
        let (v6, v4): (Vec<SocketAddr>, Vec<_>) = servers.iter().partition(|at| at.is_ipv6());
        let families = [v4, v6];
        self.questions.retain(|question| families.iter().any(|servers| question.asks(servers)));
        for servers in families {
            if servers.is_empty() || self.questions.iter().any(|known| known.asks(&servers)) {
                continue;
            }
            self.asked += 1;
            let id = derive(&self.seed, b"STUN", self.asked);
            let id = *id.first_chunk().expect("32 bytes hold 12");
            self.questions.push(Question::new(now, servers, id));
        }
    }

    /// Asks nobody, and forgets what was found.
    pub(crate) fn stop(&mut self) {
        self.questions.clear();
        self.probe = None;
    }

    /// No path is found. Of what kind our NAT is will tell why, if a server with a second address has answered.
    pub(crate) fn find_kind(&mut self, now: Instant) {
        let server = self.questions.iter().find_map(Question::answered_by);
        if let (None, Some(server)) = (&self.probe, server) {
            self.probed += 1;
            let seed = derive(&self.seed, b"NAT", self.probed);
            self.probe = Some(NatProbe::new(now, server, &seed));
            self.is_kind_told = false;
        }
    }

    /// Of what kind it is, as far as that is known.
    pub(crate) fn kind(&self) -> Option<NatKind> {
        match self.probe.as_ref()?.outcome()? {
            Outcome::Found(nat) if nat.kind != NatKind::Unknown => Some(nat.kind),
            _ => None,
        }
    }

    /// [`Self::kind`], the first time that it is known.
    pub(crate) fn take_kind(&mut self) -> Option<NatKind> {
        let kind = self.kind()?;
        (!std::mem::replace(&mut self.is_kind_told, true)).then_some(kind)
    }

    /// A path died, or a new one is looked for: how the server sees us may have changed.
    pub(crate) fn refresh(&mut self, now: Instant) {
        self.questions.iter_mut().for_each(|question| question.refresh(now));
    }

    /// Somebody is about to look for a path to us: what is not quite new is asked for again.
    pub(crate) fn freshen(&mut self, now: Instant) {
        self.questions.iter_mut().for_each(|question| question.freshen(now));
    }

    /// How the server sees us.
    pub(crate) fn reflexive(&self) -> impl Iterator<Item = Reflexive> + '_ {
        self.questions.iter().filter_map(Question::reflexive)
    }

    /// Takes a datagram that may come from a server. Returns what is new in it.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        data: &[u8],
    ) -> Option<Reflexive> {
        if let Some(probe) = &mut self.probe {
            probe.handle_datagram(now, source, local, data);
        }
        self.questions.iter_mut().find_map(|question| question.handle(now, source, local, data))
    }

    /// What is to be sent now.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let asked = self.questions.iter_mut().find_map(|question| question.poll(now));
        let Some((destination, contents)) = asked else {
            return self.probe.as_mut()?.poll_transmit(now);
        };
        // The source is left to the system: routing picks it.
        Some(Transmit { source: None, destination, contents, segment_size: None })
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        let probe = self.probe.as_ref().filter(|probe| probe.outcome().is_none());
        let probe = probe.map(Probe::timeout);
        self.questions.iter().map(Question::timeout).chain(probe).min()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;
    use crate::stun;

    #[test]
    fn both_families_of_a_server_are_asked() {
        let now = Instant::now();
        let servers = ["[2001:db8::1]:9", "192.0.2.1:9"].map(|a| a.parse().unwrap());
        let locals: Vec<SocketAddr> = vec!["10.0.0.2:5000".parse().unwrap()];
        let mut gather = Gather::new(locals.clone(), &[1; 32]);
        assert_eq!((gather.poll_transmit(now).is_none(), gather.timeout()), (true, None));
        gather.ask(now, &servers);
        let mut found = Vec::new();
        while let Some(question) = gather.poll_transmit(now) {
            let mapped = SocketAddr::new(question.destination.ip(), 41_000);
            let answer = stun::answer(mapped, &question.contents).unwrap();
            let new = gather.handle_datagram(now, question.destination, locals[0], &answer);
            found.push(new.unwrap().mapped);
        }
        found.sort();
        assert_eq!(found, ["192.0.2.1:41000", "[2001:db8::1]:41000"].map(|a| a.parse().unwrap()));
        assert_eq!(gather.reflexive().count(), 2);
        gather.set_locals(now, locals.clone());
        assert_eq!(gather.reflexive().count(), 2);
        gather.ask(now, &[servers[1], servers[0]]);
        assert_eq!(gather.reflexive().count(), 2, "what is known of these servers stays");
        gather.ask(now, &servers[1..]);
        assert_eq!(gather.reflexive().count(), 1);
        gather.set_locals(now, vec!["10.0.0.3:5000".parse().unwrap()]);
        assert_eq!(gather.reflexive().count(), 0, "of an address that is gone");
        gather.stop();
        assert_eq!((gather.reflexive().count(), gather.timeout()), (0, None));
    }
}
