//! Datagrams on their way through NATs and lines.

use std::net::SocketAddr;
use std::time::Instant;

use lllsi_core::{Transmit, stun};

use super::{Happening, Node, NodeId, OVERHEARD, SERVER, Stimulus, World};
use crate::net::Conditions;

impl Node {
    /// The access of one of its addresses.
    fn conditions_at(&self, address: SocketAddr) -> Conditions {
        let detour = self.detour.filter(|(detour, _)| detour.ip() == address.ip());
        detour.map_or(self.conditions, |(_, conditions)| conditions)
    }
}

impl World {
    pub(super) fn transmit(&mut self, from: NodeId, transmit: &Transmit) {
        for datagram in transmit.datagrams() {
            self.send(from, transmit.source, transmit.destination, datagram.to_vec());
        }
    }

    fn send(
        &mut self,
        from: NodeId,
        source: Option<SocketAddr>,
        destination: SocketAddr,
        data: Vec<u8>,
    ) {
        self.sent_bytes += data.len();
        if from == NodeId::HOST {
            if self.overheard.len() < OVERHEARD {
                self.overheard.push(data.clone());
            }
            let sent = (self.elapsed(), data.len());
            self.host_sent.entry(destination.ip()).or_default().push(sent);
        }
        let node = &mut self.nodes[from.0];
        let detour = node.detour.filter(|(detour, _)| source == Some(*detour));
        let source = match (&mut node.nat, detour) {
            (_, Some((detour, _))) => detour,
            (Some(nat), None) => nat.outbound(node.address, destination),
            (None, None) => node.address,
        };
        let to = self.by_ip.get(&destination.ip()).copied();
        let arrives = self.way_out(from, source, data.len()).and_then(|at| match to {
            Some(to) => self.way_in(to, destination, at, data.len()),
            None => Some(at),
        });
        if let Some(at) = arrives {
            self.at(at, Happening::Datagram { source, destination, data });
        }
    }

    /// When a datagram has left a peer's access; `None` if it is lost.
    fn way_out(&mut self, from: NodeId, source: SocketAddr, bytes: usize) -> Option<Instant> {
        let node = &mut self.nodes[from.0];
        let at = self.now + node.conditions_at(source).pass(&mut self.rng)?;
        match &mut node.lines {
            Some((up, _)) => up.pass(at, bytes, &mut self.rng),
            None => Some(at),
        }
    }

    /// When a datagram that is there at a moment has come through a peer's access; `None` if it is lost.
    fn way_in(
        &mut self,
        to: NodeId,
        destination: SocketAddr,
        at: Instant,
        bytes: usize,
    ) -> Option<Instant> {
        let node = &mut self.nodes[to.0];
        let at = at + node.conditions_at(destination).pass(&mut self.rng)?;
        match &mut node.lines {
            Some((_, down)) => down.pass(at, bytes, &mut self.rng),
            None => Some(at),
        }
    }

    pub(super) fn arrive(&mut self, source: SocketAddr, destination: SocketAddr, data: &[u8]) {
        if destination == SERVER {
            let answer = self.server.is_some().then(|| stun::answer(source, data)).flatten();
            if let (Some(data), Some(&to)) = (answer, self.by_ip.get(&source.ip()))
                && let Some(at) = self.way_in(to, source, self.now, data.len())
            {
                self.at(at, Happening::Datagram { source: SERVER, destination: source, data });
            }
            return;
        }
        // Private addresses of others lead nowhere.
        let Some(&id) = self.by_ip.get(&destination.ip()) else {
            return;
        };
        let node = &self.nodes[id.0];
        let is_detour = node.detour.is_some_and(|(detour, _)| detour == destination);
        let inner = match &node.nat {
            Some(nat) if !is_detour => nat.inbound(source, destination),
            _ => (is_detour || destination == node.address).then_some(destination),
        };
        if let (Some(destination), true) = (inner, node.alive) {
            self.input(id, Stimulus::Datagram { source, destination, data });
        }
    }
}
