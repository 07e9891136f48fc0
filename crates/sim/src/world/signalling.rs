//! Signalling: reliable and in order, with the same delay as datagrams.

use std::time::Duration;

use lllsi_core::rendezvous::{self, ConnectionId};
use lllsi_core::{SignalCommand, SignalEvent};

use super::hostile::SQUATTER;
use super::{Happening, NodeId, SERVER, World};

/// How soon the shell says that there is no network, or tries to connect once more.
const NO_ROUTE_AFTER: Duration = Duration::from_secs(1);
/// How long the shell waits for the answer of a server that is probed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

impl World {
    pub(super) fn command(&mut self, node: NodeId, command: SignalCommand) {
        let delay = self.nodes[node.0].conditions.delay;
        match command {
            SignalCommand::Connect => {
                let connection = ConnectionId(self.next_connection);
                self.next_connection += 1;
                self.nodes[node.0].connection = Some(connection);
                self.nodes[node.0].has_moved = false;
                let is_cut = self.nodes[node.0].conditions.loss >= 1.0;
                let event = if is_cut {
                    SignalEvent::Disconnected { reason: "no route".into() }
                } else if self.server.is_some() {
                    let event = SignalEvent::Resolved { servers: vec![SERVER] };
                    self.after(Duration::ZERO, Happening::Signal { node, connection, event });
                    self.connections.insert(connection, node);
                    let ip = self.nodes[node.0].address.ip();
                    self.tell_server(rendezvous::Input::Connected(connection, ip));
                    SignalEvent::Connected { servers: vec![SERVER] }
                } else {
                    SignalEvent::Disconnected { reason: "connection refused".into() }
                };
                // One round trip for TCP, and one for the WebSocket.
                let after = if is_cut { NO_ROUTE_AFTER } else { 4 * delay };
                self.after(after, Happening::Signal { node, connection, event });
            }
            SignalCommand::Send(text) => {
                let connection = self.nodes[node.0].connection;
                if let Some(connection) = connection.filter(|c| self.connections.contains_key(c)) {
                    self.transcript.push(text.clone());
                    let input = rendezvous::Input::Received(connection, text);
                    self.after(delay, Happening::ToServer { input });
                }
            }
            SignalCommand::Probe => {
                let connection = self.nodes[node.0].connection;
                if let Some(connection) = connection.filter(|c| !self.connections.contains_key(c)) {
                    let event = SignalEvent::Disconnected { reason: "no answer".into() };
                    let has_moved = self.nodes[node.0].has_moved;
                    let after = if has_moved { Duration::ZERO } else { PROBE_TIMEOUT };
                    self.after(after, Happening::Signal { node, connection, event });
                }
            }
            SignalCommand::Close => {
                if let Some(connection) = self.nodes[node.0].connection.take()
                    && self.connections.remove(&connection).is_some()
                {
                    let input = rendezvous::Input::Disconnected(connection);
                    self.after(delay, Happening::ToServer { input });
                }
            }
        }
    }

    pub(super) fn tell_server(&mut self, input: rendezvous::Input) {
        self.after(Duration::ZERO, Happening::ToServer { input });
    }

    pub(super) fn server_input(&mut self, input: rendezvous::Input) {
        let Some(server) = &mut self.server else {
            self.server_wake = self.now + Duration::from_secs(3600);
            return;
        };
        server.handle_input(self.now, input);
        let mut outputs = Vec::new();
        self.server_wake = loop {
            match server.poll_output() {
                rendezvous::Output::Timeout(at) => break at,
                output => outputs.push(output),
            }
        };
        for output in outputs {
            match output {
                rendezvous::Output::Send(SQUATTER, text) => self.note_squatter(&text),
                rendezvous::Output::Send(connection, text) => {
                    self.transcript.push(text.clone());
                    for text in self.meddled(text) {
                        self.tell_peer(connection, SignalEvent::Received(text));
                    }
                }
                rendezvous::Output::Close(connection) => {
                    let reason = "the server closed the connection".into();
                    self.tell_peer(connection, SignalEvent::Disconnected { reason });
                    self.connections.remove(&connection);
                }
                rendezvous::Output::NamesChanged => {}
                rendezvous::Output::Timeout(_) => unreachable!("ends the loop above"),
            }
        }
    }

    fn tell_peer(&mut self, connection: ConnectionId, event: SignalEvent) {
        if let Some(&node) = self.connections.get(&connection) {
            let delay = self.nodes[node.0].conditions.delay;
            self.after(delay, Happening::Signal { node, connection, event });
        }
    }
}
