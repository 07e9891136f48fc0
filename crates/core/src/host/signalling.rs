//! What comes through the rendezvous server: from its first word, and a client's, to a viewer.

use std::fmt::Display;

use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::TicketId;
use lllsi_proto::rendezvous::{Blob, ClientId, Refusal, Reply, Request};
use lllsi_proto::sealed::{Envelope, PartReason, Rejection};

use super::door::{Opened, Turned};
use super::viewer::{Step, Viewer};
use super::{CloseReason, Event, HELLO_TIMEOUT, Host, REFUSAL_EVERY, SPARE_CLIENTS, ViewerId};
use crate::SignalEvent;

impl Host {
    pub(super) fn signal(&mut self, event: SignalEvent) {
        match event {
            SignalEvent::Resolved { .. } => {}
            SignalEvent::Connected { servers } => {
                self.server.connected(self.now, servers);
                self.server.send(&Request::Open {
                    version: WIRE_VERSION,
                    token: self.door.token(),
                    max_clients: self.max_clients(),
                    name: self.door.name().cloned(),
                });
            }
            SignalEvent::Received(text) => match Reply::parse(&text) {
                Ok(reply) => self.reply(reply),
                Err(error) => self.garbled(error),
            },
            SignalEvent::Disconnected { reason } => {
                self.server.disconnected(self.now);
                self.server_lost(reason);
            }
        }
    }

    pub(super) fn server_lost(&mut self, reason: String) {
        if !self.room_was_open {
            return self.close(CloseReason::ServerUnreachable(reason));
        }
        self.gather.stop();
        self.arrivals.clear();
        self.door.forget_clients();
        for (_, id) in std::mem::take(&mut self.by_client) {
            self.with_viewer(id, |viewer, _| viewer.departed());
        }
        // Told once, not with each attempt that fails.
        if std::mem::take(&mut self.room_is_open) {
            self.event(Event::ServerLost(reason));
        }
    }

    fn reply(&mut self, reply: Reply) {
        match reply {
            Reply::Opened { stun_port, .. } => {
                let stun = self.server.accepted(stun_port);
                self.gather.ask(self.now, &stun);
                (self.room_is_open, self.room_was_open) = (true, true);
                self.event(Event::RoomOpen);
            }
            // Nothing is built for a client before its first message has opened.
            Reply::Arrived { client } => self.arrived(client),
            Reply::Departed { client } => {
                self.arrivals.retain(|(_, arrived)| *arrived != client);
                if let Some(id) = self.by_client.remove(&client) {
                    self.with_viewer(id, |viewer, _| viewer.departed());
                }
            }
            Reply::Relay { client: Some(client), blob } => self.blob(client, &blob.0),
            Reply::Refused { reason } => self.refused(reason),
            reply => self.garbled(format!("unexpected {reply:?}")),
        }
    }

    fn garbled(&mut self, detail: impl Display) {
        tracing::warn!(%detail, "message from the rendezvous server ignored");
        self.counters.garbled += 1;
    }

    fn arrived(&mut self, client: ClientId) {
        // A server that says more than this lets in more than it was told to.
        if self.arrivals.len() < self.max_clients() as usize {
            self.arrivals.push_back((self.now + HELLO_TIMEOUT, client));
        } else {
            self.counters.surplus += 1;
            self.server.send(&Request::Dismiss { client });
        }
    }

    /// How many clients the server may let in at once.
    fn max_clients(&self) -> u32 {
        self.max_viewers.saturating_mul(2).saturating_add(SPARE_CLIENTS)
    }

    fn refused(&mut self, reason: Refusal) {
        if !self.room_was_open {
            return self.close(CloseReason::Refused(reason));
        }
        // The viewers that are there do not need the server's leave.
        match reason {
            // Trying again would take the room from whoever has it now.
            Refusal::Replaced => {
                self.leave_server();
                if std::mem::take(&mut self.room_is_open) {
                    self.event(Event::Replaced);
                }
            }
            Refusal::NameTaken if self.door.lose_name() => {
                self.server.disconnected(self.now);
                self.event(Event::NameLost);
            }
            _ => self.server.disconnected(self.now),
        }
        self.server_lost(reason.to_string());
    }

    fn blob(&mut self, client: ClientId, blob: &[u8]) {
        match (Envelope::parse(blob), self.by_client.get(&client).copied()) {
            (Ok(Envelope::Handshake(message)), None) => self.handshake(client, None, message),
            (Ok(Envelope::Ticket { id, handshake }), None) => {
                self.handshake(client, Some(id), handshake);
            }
            (Ok(Envelope::ClientShare { session, share }), None) => {
                match self.door.share(self.now, client, &session, &share) {
                    Ok(answer) => {
                        let blob = Blob(answer.to_bytes());
                        self.server.send(&Request::Relay { client: Some(client), blob });
                    }
                    Err(turned) => self.turn_away(client, turned),
                }
            }
            (Ok(Envelope::Sealed(message)), Some(id)) => {
                self.with_viewer(id, |viewer, now| viewer.handle_sealed(now, message));
            }
            (Err(lllsi_proto::Error::Version { .. }), None) => {
                self.reject(client, Rejection::Version(WIRE_VERSION));
            }
            (_, Some(id)) => self.with_viewer(id, |viewer, _| viewer.is_garbled()),
            // The rest of a viewer that has left.
            (Ok(Envelope::Sealed(_)), None) => {}
            (_, None) => self.reject(client, Rejection::Tampered),
        }
    }

    /// Somebody who has shown nothing.
    fn turn_away(&mut self, client: ClientId, Turned { away, event }: Turned) {
        event.into_iter().for_each(|event| self.event(event));
        self.reject(client, away);
    }

    fn reject(&mut self, client: ClientId, rejection: Rejection) {
        match rejection {
            Rejection::TooManyTries => self.counters.slowed += 1,
            _ => self.counters.rejected += 1,
        }
        // The server does not tell that it has gone.
        self.arrivals.retain(|(_, arrived)| *arrived != client);
        let blob = Blob(Envelope::Rejected(rejection).to_bytes());
        self.server.send(&Request::Relay { client: Some(client), blob });
        self.server.send(&Request::Dismiss { client });
    }

    fn handshake(&mut self, client: ClientId, ticket: Option<TicketId>, message: &[u8]) {
        let opened = match self.door.open(self.now, client, ticket, message) {
            Ok(opened) => opened,
            Err(turned) => return self.turn_away(client, turned),
        };
        self.hello(client, opened);
    }

    fn hello(&mut self, client: ClientId, opened: Opened) {
        let id = ViewerId(self.next_viewer);
        self.next_viewer += 1;
        let ticket = opened.ticket;
        // Of those that it has begun before it is the last.
        for before in ticket.map(|ticket| self.with_ticket(ticket)).into_iter().flatten() {
            if !self.viewers[&before].is_up() {
                self.part(before, PartReason::Replaced);
            }
        }
        let (viewer, step) = Viewer::greet(self.now, &self.seed, id, client, opened);
        self.arrivals.retain(|(_, arrived)| *arrived != client);
        self.by_client.insert(client, id);
        self.deadlines.insert((viewer.deadline(), id));
        self.viewers.insert(id, viewer);
        let crowd = self.max_viewers.saturating_add(SPARE_CLIENTS) as usize;
        let may_come = ticket.is_some() || self.door.is_open(self.now);
        match step {
            Step::Leave(_) => self.refuse(id, PartReason::Protocol),
            _ if !may_come => self.refuse(id, PartReason::InviteExpired),
            _ if self.viewers.len() > crowd => self.refuse(id, PartReason::RoomFull),
            // Whoever has been let in before does not wait again.
            _ if self.lobby && ticket.is_none() => self.with_viewer(id, |viewer, now| {
                viewer.wait(now);
                Step::Stay
            }),
            _ => self.admit(id),
        }
    }

    pub(super) fn refuse(&mut self, id: ViewerId, reason: PartReason) {
        self.counters.refused += 1;
        if self.now >= self.tell_refusal_at {
            self.tell_refusal_at = self.now + REFUSAL_EVERY;
            self.event(Event::Refused(reason));
        }
        self.with_viewer(id, |viewer, _| {
            viewer.refuse(reason);
            Step::Leave(reason.into())
        });
    }
}
