//! What comes through the rendezvous server: from its first word to the host's decision, and candidates after that.

use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::{HostKey, Opening};
use lllsi_proto::rendezvous::{Blob, Refusal, Reply, Request};
use lllsi_proto::sealed::{
    self, Admission, Envelope, Hello, Rejection, Ticket, ToClient, ToHost, Welcome,
};

use super::{Client, CloseReason, Entry, Event, Phase, RESTART_PAUSE};
use crate::SignalEvent;
use crate::nat::NatKind;
use crate::password::Asking;
use crate::seal::{Channel, Initiator, PreShared, Role, Secrets, commit, derive};

/// Candidates that may wait for a channel; of more than 20 a host takes none.
const MAX_UNTOLD: usize = 20;

impl Client {
    pub(super) fn signal(&mut self, event: SignalEvent) {
        match event {
            // The answer may come before the hello leaves. Most servers answer STUN at the port of their URL.
            SignalEvent::Resolved { servers } => self.gather.ask(self.now, &servers),
            SignalEvent::Connected { servers } => {
                self.server.connected(self.now, servers);
                let place = self.config.entry.place();
                // A client that rejoins keeps its link until the server has let it in.
                let blob = (!self.is_rejoining).then(|| Blob(self.first_message()));
                self.unsent.clone_from(&blob);
                self.server.send(&Request::Enter { version: WIRE_VERSION, place, blob });
            }
            SignalEvent::Received(text) => match Reply::parse(&text) {
                Ok(reply) => self.reply(reply),
                Err(error) => self.server_talks_nonsense(error),
            },
            SignalEvent::Disconnected { reason } => match self.phase {
                Phase::Joined(_) => self.server_lost(),
                _ => self.end(CloseReason::ServerUnreachable(reason)),
            },
        }
    }

    /// The server is not needed any more: it is not looked for again while the link lives.
    pub(super) fn server_lost(&mut self) {
        self.leave_server();
        if !std::mem::replace(&mut self.is_server_lost, true) {
            self.event(Event::ServerLost);
        }
    }

    fn reply(&mut self, reply: Reply) {
        match (reply, &self.phase) {
            (Reply::Entered { stun_port, relayed, .. }, _)
                if self.is_rejoining || self.unsent.is_some() =>
            {
                self.entered(stun_port, relayed);
            }
            (Reply::Relay { blob, client: None }, _) => self.blob(&blob.0),
            // Once admitted, the link decides about the session, not the server.
            (Reply::Closed | Reply::Dismissed | Reply::Refused { .. }, Phase::Joined(_)) => {
                self.server_lost()
            }
            // The host may have lost its own connection to the server, and come back as well.
            (Reply::Closed | Reply::Refused { reason: Refusal::UnknownRoom }, _)
                if self.away.is_some() =>
            {
                self.end(CloseReason::HostVanished);
            }
            (Reply::Closed, _) => self.end(CloseReason::HostClosed),
            (Reply::Dismissed, _) => self.end(CloseReason::Kicked),
            (Reply::Refused { reason }, _) => self.end(match reason {
                Refusal::UnknownRoom => CloseReason::UnknownRoom,
                Refusal::RoomFull => CloseReason::RoomFull,
                Refusal::Version => CloseReason::Version { who: "server" },
                reason => CloseReason::Refused(reason),
            }),
            (reply, _) => self.server_talks_nonsense(format!("unexpected {reply:?}")),
        }
    }

    fn server_talks_nonsense(&mut self, detail: impl ToString) {
        match self.phase {
            Phase::Joined(_) => self.server_lost(),
            _ => self.protocol_error("server", detail),
        }
    }

    /// The server has let us into the room.
    fn entered(&mut self, stun_port: u16, relayed: bool) {
        let mut unsent = self.unsent.take().filter(|_| !relayed);
        if self.is_rejoining {
            self.rejoined();
            unsent = Some(Blob(self.first_message()));
        }
        let stun = self.server.accepted(stun_port);
        self.gather.ask(self.now, &stun);
        self.event(Event::Entered);
        if let Some(blob) = unsent {
            self.server.send(&Request::Relay { client: None, blob });
        }
    }

    /// What shows the host what lets us in.
    fn first_message(&mut self) -> Vec<u8> {
        match self.config.entry.clone() {
            Entry::Link { room, host_key, secret } => {
                let message = self.hello(host_key, &PreShared::link(&room, &secret));
                Envelope::Handshake(&message).to_bytes()
            }
            Entry::Ticket { host_key, ticket } => {
                let handshake = self.hello(host_key, &PreShared::ticket(&ticket));
                Envelope::Ticket { id: ticket.id, handshake: &handshake }.to_bytes()
            }
            Entry::Room { name, password } => {
                let fresh = |purpose| derive(&self.config.random_seed, purpose, 0);
                let (session, scalar) = (fresh(b"password session"), fresh(b"password share"));
                let session = *session.first_chunk().expect("it is longer");
                let asking = Asking::new(&name, &password, session, scalar);
                let share = Envelope::ClientShare { session, share: asking.share() }.to_bytes();
                self.phase = Phase::Asking(asking);
                share
            }
        }
    }

    /// The first message of the handshake.
    fn hello(&mut self, host_key: HostKey, shared: &PreShared) -> Vec<u8> {
        let hello = Hello {
            name: self.config.name.clone(),
            offer: std::mem::take(&mut self.offer),
            nonce: self.nonce,
            commitment: commit(Role::Client, &self.opening),
            candidates: std::mem::take(&mut self.untold),
            frame_info: true,
            parity: true,
        };
        let (initiator, message) = Initiator::begin(&host_key, shared, &sealed::to_bytes(&hello));
        self.host_key = Some(host_key);
        self.phase = Phase::Handshaking(initiator);
        message
    }

    fn relay(&mut self, envelope: &Envelope<'_>) {
        self.server.send(&Request::Relay { client: None, blob: Blob(envelope.to_bytes()) });
    }

    pub(super) fn seal(&mut self, message: &ToHost) {
        // The server takes nothing for the host yet.
        if self.is_rejoining {
            return;
        }
        if let Phase::Waiting(channel) | Phase::Joined(channel) = &mut self.phase {
            let sealed = channel.seal(&sealed::to_bytes(message));
            self.relay(&Envelope::Sealed(&sealed));
        }
    }

    fn blob(&mut self, blob: &[u8]) {
        match (Envelope::parse(blob), std::mem::replace(&mut self.phase, Phase::Closed)) {
            (Ok(Envelope::HostShare { share, host_key }), Phase::Asking(asking)) => {
                match asking.finish(&share, &host_key) {
                    Ok(shared) => {
                        let message = self.hello(host_key, &shared);
                        self.relay(&Envelope::Handshake(&message));
                    }
                    Err(_) => self.end(CloseReason::Tampered),
                }
            }
            (Ok(Envelope::Handshake(message)), Phase::Handshaking(initiator)) => {
                match initiator.finish(message) {
                    Ok((channel, payload)) => self.welcome(channel, &payload),
                    Err(_) => self.end(CloseReason::Tampered),
                }
            }
            (Ok(Envelope::Sealed(message)), Phase::Waiting(mut channel)) => {
                let opened = channel.open(message);
                self.phase = Phase::Waiting(channel);
                self.opened(opened.ok());
            }
            (Ok(Envelope::Sealed(message)), Phase::Joined(mut channel)) => {
                let opened = channel.open(message);
                self.phase = Phase::Joined(channel);
                self.opened(opened.ok());
            }
            // A host says so before it has heard of a password, never after: that would be to hear of another.
            (Ok(Envelope::Rejected(Rejection::TooManyTries)), Phase::Handshaking(_)) => {
                self.end(CloseReason::Tampered);
            }
            // Unauthenticated, so it can only end a handshake that has not succeeded.
            (Ok(Envelope::Rejected(rejection)), Phase::Asking(_) | Phase::Handshaking(_)) => {
                self.rejected(rejection);
            }
            (Err(lllsi_proto::Error::Version { .. }), Phase::Asking(_) | Phase::Handshaking(_)) => {
                self.end(CloseReason::Version { who: "host" });
            }
            (_, Phase::Joined(channel)) => {
                // Not the host's doing, or useless: the link goes on without the server.
                self.phase = Phase::Joined(channel);
                self.server_lost();
            }
            _ => self.end(CloseReason::Tampered),
        }
    }

    fn rejected(&mut self, rejection: Rejection) {
        self.end(match (rejection, &self.config.entry) {
            (Rejection::WrongSecret, Entry::Link { .. }) => CloseReason::WrongSecret,
            (Rejection::WrongSecret, Entry::Room { .. }) => CloseReason::WrongPassword,
            (Rejection::WrongSecret, Entry::Ticket { .. }) => CloseReason::WrongTicket,
            (Rejection::Version(_), _) => CloseReason::Version { who: "host" },
            (Rejection::Tampered, _) => CloseReason::Tampered,
            (Rejection::TooManyTries, _) => CloseReason::TooManyTries,
        });
    }

    fn welcome(&mut self, channel: Channel, payload: &[u8]) {
        match sealed::parse::<Welcome>("welcome", payload) {
            Ok(welcome) => {
                self.link.set_binding(self.now, channel.binding(&self.nonce, &welcome.nonce));
                self.phase = Phase::Waiting(channel);
                if welcome.admission == Admission::Waiting {
                    self.lobby = Some((welcome.nonce, welcome.commitment));
                    self.seal(&ToHost::Reveal { opening: self.opening });
                }
                let untold = std::mem::take(&mut self.untold);
                self.tell_candidates(untold);
                self.admission(welcome.admission);
            }
            Err(error) => self.protocol_error("host", error),
        }
    }

    /// Tells the host where else we may be reached.
    pub(super) fn tell_candidates(&mut self, candidates: impl IntoIterator<Item = String>) {
        for candidate in candidates {
            match self.phase {
                Phase::Waiting(_) | Phase::Joined(_) => self.seal(&ToHost::Candidate { candidate }),
                _ if self.untold.len() < MAX_UNTOLD => self.untold.push(candidate),
                _ => {}
            }
        }
    }

    /// Tells the host the kind of our NAT: where no path is found, the errors of both sides name the kinds.
    pub(super) fn tell_nat(&mut self, kind: Option<NatKind>) {
        if let Some(kind) = kind {
            self.link.note_nat(Role::Client, kind);
            self.seal(&ToHost::Network { nat: kind.name().into() });
        }
    }

    fn opened(&mut self, plaintext: Option<Vec<u8>>) {
        let Some(plaintext) = plaintext else {
            return match self.phase {
                Phase::Joined(_) => self.server_lost(),
                _ => self.end(CloseReason::Tampered),
            };
        };
        match sealed::parse::<ToClient>("message from the host", &plaintext) {
            Ok(ToClient::Admission(admission)) if matches!(self.phase, Phase::Waiting(_)) => {
                self.admission(admission);
            }
            Ok(ToClient::Candidate { candidate }) => {
                self.link.add_remote(self.now, &candidate);
                // Once the link is up, this says that the host's network has changed: the path may be dead.
                self.ping_at = self.ping_at.map(|_| self.now);
            }
            Ok(ToClient::Reveal { opening }) => self.revealed(opening),
            Ok(ToClient::Network { nat }) => {
                NatKind::named(&nat)
                    .into_iter()
                    .for_each(|nat| self.link.note_nat(Role::Host, nat));
            }
            Ok(ToClient::Restarted { answer }) => {
                self.restart_at = self.now + RESTART_PAUSE;
                if let Err(error) = self.link.accept_answer(self.now, &answer) {
                    tracing::warn!(%error, "restart failed");
                }
            }
            Ok(ToClient::Part { reason }) => self.parted(reason),
            Ok(_) => {}
            Err(error) => self.protocol_error("host", error),
        }
    }

    /// The host has seen our number, and shows its own: both have the digits now.
    fn revealed(&mut self, theirs: Opening) {
        let (Phase::Waiting(channel), Some((nonce, commitment))) = (&self.phase, &self.lobby)
        else {
            return;
        };
        if commit(Role::Host, &theirs) != *commitment {
            return self.end(CloseReason::Tampered);
        }
        let (nonces, openings) = ([self.nonce, *nonce], [self.opening, theirs]);
        let code = channel.short_code(&Secrets { nonces, openings });
        self.lobby = None;
        self.event(Event::Waiting(code));
    }

    fn admission(&mut self, admission: Admission) {
        match admission {
            // The host's number follows.
            Admission::Waiting => {}
            Admission::Refused { reason } => self.parted(reason),
            Admission::Admitted { answer, ticket } => {
                match self.link.accept_answer(self.now, &answer) {
                    Ok(()) => self.admitted(ticket),
                    Err(error) => self.protocol_error("host", error),
                }
            }
        }
    }

    fn admitted(&mut self, ticket: Option<Ticket>) {
        let Phase::Waiting(channel) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            unreachable!("callers check that we wait")
        };
        self.phase = Phase::Joined(channel);
        let entry = match (ticket, self.host_key, &self.config.entry) {
            (Some(ticket), Some(host_key), _) => Some(Entry::Ticket { host_key, ticket }),
            (_, _, entry @ Entry::Ticket { .. }) => Some(entry.clone()),
            _ => None,
        };
        self.keep_pass(entry.as_ref());
        self.event(Event::Admitted(entry));
    }
}
