//! Signalling: reliable and in order, with the same delay as datagrams.

use std::time::Duration;

use lllsi_core::rendezvous::{self, ConnectionId};
use lllsi_core::{SignalCommand, SignalEvent};

use super::hostile::SQUATTER;
use super::{Happening, NodeId, SERVER, World};

impl World {
    pub(super) fn command(&mut self, node: NodeId, command: SignalCommand) {
        let delay = self.nodes[node.0].conditions.delay;
        match command {
            SignalCommand::Connect => {
                let connection = ConnectionId(self.next_connection);
                self.next_connection += 1;
                self.nodes[node.0].connection = Some(connection);
                let event = if self.server.is_some() {
                    self.connections.insert(connection, node);
                    let ip = self.nodes[node.0].address.ip();
                    self.tell_server(rendezvous::Input::Connected(connection, ip));
                    SignalEvent::Connected { server: SERVER }
                } else {
                    SignalEvent::Disconnected { reason: "connection refused".into() }
                };
                self.after(2 * delay, Happening::Signal { node, connection, event });
            }
            SignalCommand::Send(text) => {
                if let Some(connection) = self.nodes[node.0].connection {
                    self.transcript.push(text.clone());
                    let input = rendezvous::Input::Received(connection, text);
                    self.after(delay, Happening::ToServer { input });
                }
            }
            SignalCommand::Close => {
                if let Some(connection) = self.nodes[node.0].connection.take() {
                    self.connections.remove(&connection);
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
