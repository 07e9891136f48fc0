//! Both ends show over the link that its certificates are those of the sealed signalling: docs/control.md, section 3.

use std::time::Instant;

use lllsi_proto::control::{Message, PULSE_CHANNEL};

use super::{Link, LinkError, LinkEvent, State};
use crate::seal::Role;

impl Link {
    /// Both certificates' fingerprints, client's first: ours, and the one DTLS has checked theirs against.
    pub(super) fn fingerprints(&self) -> Option<([u8; 32], [u8; 32])> {
        let (ours, theirs) =
            (self.transport.local_fingerprint(), self.transport.remote_fingerprint()?);
        Some(match self.role {
            Role::Client => (ours, theirs),
            Role::Host => (theirs, ours),
        })
    }

    pub(super) fn handle_confirm(&mut self, now: Instant, mac: &[u8], verified: bool) {
        if let State::Confirming { .. } = self.state {
            let (Some(binding), Some((client, host))) = (&self.binding, self.fingerprints()) else {
                return;
            };
            if !binding.verify(self.role.other(), &client, &host, mac) {
                return self.fail(LinkError::NotBound);
            }
            self.is_proved = true;
            self.go_up(now);
            if verified && self.is_up() {
                self.ready();
            }
        } else if self.is_up() {
            self.confirm_at = if verified { None } else { Some(now) };
            if verified {
                self.ready();
            }
        }
    }

    /// The other side has proved who it is, and there is a path to it.
    pub(super) fn go_up(&mut self, now: Instant) {
        if let (true, State::Confirming { .. }, Some(path)) =
            (self.is_proved, self.state, self.path)
        {
            self.state = State::Up;
            self.transport.take_media();
            self.heard_at = now;
            self.events.push_back(LinkEvent::Up(path));
            // Tell them at once: they wait for it.
            self.confirm_at = Some(now);
        }
    }

    pub(super) fn write_confirm(&mut self, now: Instant) {
        let (Some(binding), Some((client, host))) = (&self.binding, self.fingerprints()) else {
            return;
        };
        let mac = binding.confirm(self.role, &client, &host);
        self.write(now, PULSE_CHANNEL, &Message::Confirm { mac, verified: self.is_up() });
    }
}
