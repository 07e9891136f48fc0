//! Datagrams on their way through NATs and lines.

use std::net::SocketAddr;
use std::time::Instant;

use lllsi_core::{Transmit, stun};

use super::{Happening, NodeId, OVERHEARD, SERVER, Stimulus, World};

impl World {
    pub(super) fn transmit(&mut self, from: NodeId, transmit: &Transmit) {
        for datagram in transmit.datagrams() {
            self.send(from, transmit.destination, datagram.to_vec());
        }
    }

    fn send(&mut self, from: NodeId, destination: SocketAddr, data: Vec<u8>) {
        self.sent_bytes += data.len();
        if from == NodeId::HOST {
            if self.overheard.len() < OVERHEARD {
                self.overheard.push(data.clone());
            }
            let sent = (self.elapsed(), data.len());
            self.host_sent.entry(destination.ip()).or_default().push(sent);
        }
        let node = &mut self.nodes[from.0];
        let source = match &mut node.nat {
            Some(nat) => nat.outbound(node.address, destination),
            None => node.address,
        };
        let to = self.by_ip.get(&destination.ip()).copied();
        let arrives = self.way_out(from, data.len()).and_then(|at| match to {
            Some(to) => self.way_in(to, at, data.len()),
            None => Some(at),
        });
        if let Some(at) = arrives {
            self.at(at, Happening::Datagram { source, destination, data });
        }
    }

    /// When a datagram has left a peer's access; `None` if it is lost.
    fn way_out(&mut self, from: NodeId, bytes: usize) -> Option<Instant> {
        let node = &mut self.nodes[from.0];
        let at = self.now + node.conditions.pass(&mut self.rng)?;
        match &mut node.lines {
            Some((up, _)) => up.pass(at, bytes, &mut self.rng),
            None => Some(at),
        }
    }

    /// When a datagram that is there at a moment has come through a peer's access; `None` if it is lost.
    fn way_in(&mut self, to: NodeId, at: Instant, bytes: usize) -> Option<Instant> {
        let node = &mut self.nodes[to.0];
        let at = at + node.conditions.pass(&mut self.rng)?;
        match &mut node.lines {
            Some((_, down)) => down.pass(at, bytes, &mut self.rng),
            None => Some(at),
        }
    }

    pub(super) fn arrive(&mut self, source: SocketAddr, destination: SocketAddr, data: &[u8]) {
        if destination == SERVER {
            let answer = self.server.is_some().then(|| stun::answer(source, data)).flatten();
            if let (Some(data), Some(&to)) = (answer, self.by_ip.get(&source.ip()))
                && let Some(at) = self.way_in(to, self.now, data.len())
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
        let inner = match &node.nat {
            Some(nat) => nat.inbound(source, destination),
            None => (destination == node.address).then_some(destination),
        };
        if let (Some(destination), true) = (inner, node.alive) {
            self.input(id, Stimulus::Datagram { source, destination, data });
        }
    }
}
