//! What a test may do to the peers, the server and the network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use lllsi_core::{Input, Machine as _, SignalEvent, client, host, rendezvous};
use lllsi_proto::control::Report;

use super::{Happening, Machine, NodeId, Stimulus, World, server};
use crate::cubic::Cubic;
use crate::line::{Line, LineState};
use crate::net::Conditions;

impl World {
    /// Tells the host something.
    pub fn tell_host(&mut self, action: host::Action) {
        self.tell_host_all([action]);
    }

    /// Tells the host several things before it is asked what is to be sent.
    pub fn tell_host_all(&mut self, actions: impl IntoIterator<Item = host::Action>) {
        if let Machine::Host(host, _) = &mut self.nodes[0].machine {
            let input = |action| host.handle_input(self.now, Input::Action(action));
            actions.into_iter().for_each(input);
        }
        self.drain(NodeId(0));
    }

    /// Tells a client something.
    pub fn tell_client(&mut self, id: NodeId, action: client::Action) {
        if let Machine::Client(client, _) = &mut self.nodes[id.0].machine {
            client.handle_input(self.now, Input::Action(action));
        }
        self.drain(id);
    }

    /// The host vanishes without a word.
    pub fn kill_host(&mut self) {
        self.kill(NodeId(0));
    }

    /// A peer vanishes without a word.
    pub fn kill(&mut self, id: NodeId) {
        self.nodes[id.0].alive = false;
        if let Some(connection) = self.nodes[id.0].connection.take() {
            self.connections.remove(&connection);
            self.tell_server(rendezvous::Input::Disconnected(connection));
        }
    }

    /// The server vanishes; every connection to it breaks.
    pub fn kill_server(&mut self) {
        self.server = None;
        for (connection, node) in std::mem::take(&mut self.connections) {
            let event = SignalEvent::Disconnected { reason: "the server vanished".into() };
            self.after(Duration::ZERO, Happening::Signal { node, connection, event });
        }
    }

    /// A new server, with nothing in memory.
    pub fn start_server(&mut self) {
        self.server = Some(server());
    }

    /// A hostile server says something to a peer.
    pub fn server_says(&mut self, id: NodeId, text: &str) {
        self.input(id, Stimulus::Signal(SignalEvent::Received(text.into())));
    }

    /// Somebody sends a peer a datagram from a forged address.
    pub fn forge(&mut self, source: SocketAddr, id: NodeId, data: &[u8]) {
        let destination = self.nodes[id.0].address;
        self.input(id, Stimulus::Datagram { source, destination, data });
    }

    /// A client changes its reports from now on.
    pub fn lie(&mut self, id: NodeId, lie: fn(&mut Report)) {
        if let Machine::Client(client, _) = &mut self.nodes[id.0].machine {
            client.lie(lie);
        }
    }

    /// A peer's NAT forgets its mappings.
    pub fn rebind(&mut self, id: NodeId) {
        if let Some(nat) = &mut self.nodes[id.0].nat {
            nat.rebind();
        }
    }

    /// A peer is in another network now. Its connection to the server leads nowhere any more, and nobody says so.
    pub fn roam(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        self.roamed += 1;
        let ip: IpAddr = Ipv4Addr::new(198, 51, 100, self.roamed).into();
        match &mut node.nat {
            Some(nat) => {
                nat.move_to(ip);
                node.address.set_ip(Ipv4Addr::new(10, 1, self.roamed, 2).into());
            }
            None => node.address.set_ip(ip),
        }
        let address = node.address;
        self.by_ip.retain(|_, of| *of != id);
        self.by_ip.insert(ip, id);
        self.break_connection(id);
        // The shell sees that the connection's address is gone.
        self.nodes[id.0].has_moved = true;
        self.input(id, Stimulus::LocalsChanged(vec![address]));
    }

    /// A peer's router is there again, with another address. The peer itself has the same.
    pub fn reboot_router(&mut self, id: NodeId) {
        self.roamed += 1;
        let ip: IpAddr = Ipv4Addr::new(198, 51, 100, self.roamed).into();
        let nat = self.nodes[id.0].nat.as_mut().expect("there is one");
        nat.move_to(ip);
        self.by_ip.retain(|_, of| *of != id);
        self.by_ip.insert(ip, id);
        self.break_connection(id);
    }

    /// A peer's connection to the server leads nowhere any more, and nobody says so.
    pub fn break_connection(&mut self, id: NodeId) {
        if let Some(connection) = self.nodes[id.0].connection {
            self.connections.remove(&connection);
        }
    }

    /// A peer's access changes.
    pub fn set_conditions(&mut self, id: NodeId, conditions: Conditions) {
        self.nodes[id.0].conditions = conditions;
    }

    /// A peer's line to the network and from it, from now on. It comes on top of [`Setup::conditions`](super::Setup::conditions).
    pub fn set_lines(&mut self, id: NodeId, up: Line, down: Line) {
        let states = (LineState::new(up, self.now), LineState::new(down, self.now));
        self.nodes[id.0].lines = Some(states);
    }

    /// A TCP connection begins to fill the host's line, from the host. Its acknowledgements take so long.
    pub fn download(&mut self, way_back: Duration) {
        self.downloads.push(Cubic::new(self.now, way_back));
    }

    /// Bytes that such connections have carried so far.
    pub fn downloaded(&self) -> u64 {
        self.downloads.iter().map(Cubic::acknowledged).sum()
    }
}
