//! When the host is not heard any more: another link is made with the ticket, until it is up or patience is over. Where no new path
//! for the old link can be arranged, since the connection to the server is lost, that begins as soon as the server takes us again.

use std::time::{Duration, Instant};

use lllsi_proto::invite::{Nonce, Opening};

use super::{Client, CloseReason, Entry, Event, Phase};
use crate::FAR_FUTURE;
use crate::link::Link;
use crate::seal::derive;
use crate::server::Server;
use crate::streams::THE_HOST;

/// Between two attempts, and how long one may take: the path may have died on the way.
const PAUSE: Duration = Duration::from_secs(1);
const ATTEMPT: Duration = Duration::from_secs(10);
/// A link without a connection to the server gets one looked for once a ping is unanswered for this long.
const REJOIN_AFTER: Duration = Duration::from_secs(1);

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
        if !self.may_come_back() {
            return false;
        }
        self.go_away();
        self.try_again();
        true
    }

    fn may_come_back(&self) -> bool {
        !self.config.patience.is_zero() && self.pass.is_some()
    }

    /// When the server is to be asked for the room again, if nothing comes until then.
    pub(super) fn next_rejoin(&self) -> Option<Instant> {
        let is_alone = matches!(self.phase, Phase::Joined(_)) && self.server.is_off();
        let may = is_alone && self.link.is_up() && self.may_come_back();
        let since = self.unanswered_since.filter(|_| may)?;
        Some(self.restart_at.max(since + REJOIN_AFTER))
    }

    /// The link stays until the server has taken us: it may live yet, and the server may be gone for good.
    pub(super) fn rejoin(&mut self) {
        self.restart_at = self.now + PAUSE;
        self.config.entry = self.pass.clone().unwrap_or_else(|| self.config.entry.clone());
        (self.is_rejoining, self.server) = (true, Server::connect(self.now));
    }

    /// The server has taken us, and the link is still silent.
    pub(super) fn rejoined(&mut self) {
        self.go_away();
        self.begin_attempt();
    }

    fn go_away(&mut self) {
        self.streams.lost(self.now, THE_HOST);
        self.away = Some(Away {
            until: self.now + self.config.patience.min(FAR_FUTURE),
            retry_at: self.now,
        });
        (self.report_at, self.ping_at, self.unanswered_since) = (None, None, None);
        (self.restart_at, self.is_restarting) = (self.now, false);
        self.event(Event::Away);
    }

    /// While away: an attempt has failed in a way that another may not.
    pub(super) fn is_worth_another(&self, reason: &CloseReason) -> bool {
        use CloseReason::{HostVanished, NoAnswer, NoPath, ServerUnreachable};
        self.away.is_some_and(|away| self.now < away.until)
            && matches!(reason, HostVanished | NoAnswer | NoPath(_) | ServerUnreachable(_))
    }

    pub(super) fn try_later(&mut self) {
        self.phase = Phase::Away;
        self.leave_server();
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
        self.leave_server();
        self.collect();
        self.server = Server::connect(self.now);
        self.begin_attempt();
    }

    /// Another link, over whatever connection to the server there is.
    fn begin_attempt(&mut self) {
        self.attempt += 1;
        (self.is_rejoining, self.is_server_lost) = (false, false);
        let (seed, now) = (&self.config.random_seed, self.now);
        self.nonce = Nonce::from_bytes(derive(seed, b"client nonce", self.attempt));
        self.opening = Opening::from_bytes(derive(seed, b"opening", self.attempt));
        self.lobby = None;
        let link_seed = derive(seed, b"link", self.attempt);
        (self.link, self.offer) =
            Link::offer(now, &self.config.certificate, self.gather.locals(), link_seed);
        self.unsent = None;
        // The server may see us differently now: the host hears what is known, and the server is asked again.
        let found: Vec<_> = self.gather.reflexive().collect();
        let link = &mut self.link;
        self.untold = found.into_iter().filter_map(|one| link.add_reflexive(now, one)).collect();
        self.gather.refresh(now);
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
