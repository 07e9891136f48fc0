//! When the host is not heard any more: another link is made with the ticket, until it is up or patience is over.

use std::time::{Duration, Instant};

use lllsi_proto::invite::Nonce;

use super::{Client, CloseReason, Entry, Event, Phase};
use crate::FAR_FUTURE;
use crate::link::Link;
use crate::seal::derive;
use crate::server::Server;
use crate::streams::THE_HOST;

/// Between two attempts, and how long one may take: the path may have died on the way.
const PAUSE: Duration = Duration::from_secs(1);
const ATTEMPT: Duration = Duration::from_secs(10);

/// A client whose link is lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    /// When it gives up.
    until: Instant,
    /// When the next attempt begins. One may be under way until then.
    retry_at: Instant,
}

impl Away {
    pub(super) fn timeout(&self) -> Instant {
        self.retry_at.min(self.until)
    }
}

impl Client {
    /// The link is lost. Tells whether coming back is tried.
    pub(super) fn come_back(&mut self) -> bool {
        if self.config.patience.is_zero() || self.pass.is_none() {
            return false;
        }
        self.streams.lost(self.now, THE_HOST);
        self.away = Some(Away {
            until: self.now + self.config.patience.min(FAR_FUTURE),
            retry_at: self.now,
        });
        (self.report_at, self.ping_at, self.unanswered_since) = (None, None, None);
        (self.restart_at, self.is_restarting) = (self.now, false);
        self.event(Event::Away);
        self.try_again();
        true
    }

    /// While away: an attempt has failed in a way that another may not.
    pub(super) fn is_worth_another(&self, reason: &CloseReason) -> bool {
        use CloseReason::{HostVanished, NoAnswer, NoPath, ServerUnreachable};
        self.away.is_some_and(|away| self.now < away.until)
            && matches!(reason, HostVanished | NoAnswer | NoPath | ServerUnreachable(_))
    }

    pub(super) fn try_later(&mut self) {
        self.phase = Phase::Away;
        self.server.close();
        if let Some(away) = &mut self.away {
            away.retry_at = self.now + PAUSE;
        }
    }

    /// What is due while away.
    pub(super) fn wait_away(&mut self) {
        let Some(away) = self.away else { return };
        if self.now >= away.until {
            self.end(CloseReason::HostVanished);
        } else if self.now >= away.retry_at {
            self.try_again();
        }
    }

    fn try_again(&mut self) {
        self.server.close();
        self.collect();
        self.attempt += 1;
        let (seed, now) = (&self.config.random_seed, self.now);
        self.nonce = Nonce::from_bytes(derive(seed, b"client nonce", self.attempt));
        self.server = Server::connect(now, &derive(seed, b"server", self.attempt));
        let link_seed = derive(seed, b"link", self.attempt);
        (self.link, self.offer) =
            Link::offer(now, &self.config.certificate, &self.config.locals, link_seed);
        self.config.entry = self.pass.clone().unwrap_or_else(|| self.config.entry.clone());
        (self.phase, self.started) = (Phase::Entering, now);
        if let Some(away) = &mut self.away {
            away.retry_at = self.now + ATTEMPT;
        }
    }

    /// What lets us in again.
    pub(super) fn keep_pass(&mut self, entry: Option<&Entry>) {
        self.pass = entry.cloned().or(self.pass.take());
    }
}
