//! How long a check takes over each route. `is` selects by priority alone, and what has the highest may be the long way round: a
//! tunnel that looks like a network, or a second network far from the peer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::TransId;

use crate::Route;

/// Checks whose answers are waited for.
const MAX_SENT: usize = 64;
/// Routes that are measured.
const MAX_ROUTES: usize = 64;
/// Routes that were given up. A peer that has more of them keeps to what is selected.
const MAX_LEFT: usize = 8;
/// A route takes over if it is shorter than the selected one by this factor and this much: less is jitter.
const FACTOR: f64 = 1.5;
const MARGIN: Duration = Duration::from_millis(10);

/// A route that a check has come back over.
#[derive(Debug)]
struct Measured {
    route: Route,
    /// The last two round trips, the newest first.
    rtts: [Option<Duration>; 2],
    /// The peer, which chooses, has chosen it once.
    is_nominated: bool,
}

impl Measured {
    /// The shorter of two round trips: one alone may have waited for a radio to wake up.
    fn rtt(&self) -> Option<Duration> {
        let [newest, before] = self.rtts;
        Some(newest?.min(before?))
    }
}

/// All routes between two peers.
#[derive(Debug, Default)]
pub(super) struct Routes {
    sent: VecDeque<(TransId, Route, Instant)>,
    measured: Vec<Measured>,
    left: Vec<Route>,
}

impl Routes {
    /// What was measured holds no more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A check leaves.
    pub(super) fn sent(&mut self, now: Instant, id: TransId, route: Route) {
        if self.sent.len() == MAX_SENT {
            self.sent.pop_front();
        }
        self.sent.push_back((id, route, now));
    }

    /// Whether a check has left for this address.
    pub(super) fn has_checked(&self, remote: SocketAddr) -> bool {
        self.sent.iter().any(|(_, route, _)| route.remote == remote)
            || self.measured.iter().any(|measured| measured.route.remote == remote)
    }

    /// It is answered.
    pub(super) fn answered(&mut self, now: Instant, id: TransId) {
        let Some(at) = self.sent.iter().position(|(sent, ..)| *sent == id) else { return };
        let Some((_, route, sent)) = self.sent.remove(at) else { return };
        if let Some(measured) = self.measured(route) {
            measured.rtts = [Some(now.saturating_duration_since(sent)), measured.rtts[0]];
        }
    }

    /// The peer chooses a route.
    pub(super) fn nominated(&mut self, route: Route) {
        if let Some(measured) = self.measured(route) {
            measured.is_nominated = true;
        }
    }

    fn measured(&mut self, route: Route) -> Option<&mut Measured> {
        let is_known = self.measured.iter().any(|measured| measured.route == route);
        if !is_known && self.measured.len() < MAX_ROUTES {
            self.measured.push(Measured { route, rtts: [None; 2], is_nominated: false });
        }
        self.measured.iter_mut().find(|measured| measured.route == route)
    }

    /// A route that should take over from the selected one, which counts as left from here on. Where the peer chooses, it has to
    /// be one that the peer has chosen.
    pub(super) fn take_shorter(&mut self, selected: Route, we_choose: bool) -> Option<Route> {
        if self.left.len() == MAX_LEFT {
            return None;
        }
        let rtt_of = |measured: &Measured| Some((measured.rtt()?, measured.route));
        let (present, _) = rtt_of(self.measured.iter().find(|m| m.route == selected)?)?;
        let others = self.measured.iter().filter(|measured| measured.route != selected);
        let others = others.filter(|measured| we_choose || measured.is_nominated);
        let others = others.filter(|measured| !self.left.contains(&measured.route));
        let (rtt, shorter) = others.filter_map(rtt_of).min_by_key(|(rtt, _)| *rtt)?;
        if present < rtt.mul_f64(FACTOR) + MARGIN {
            return None;
        }
        self.left.push(selected);
        Some(shorter)
    }

    /// Whether a route was given up for a shorter one.
    pub(super) fn has_left(&self, route: Route) -> bool {
        self.left.contains(&route)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    fn route(last: u8) -> Route {
        let at = |last| ([10, 0, 0, last], 5000).into();
        Route { local: at(1), remote: at(last) }
    }

    fn answer(routes: &mut Routes, route: Route, rtt: u64) {
        let (now, id) = (Instant::now(), TransId::new());
        routes.sent(now, id, route);
        routes.answered(now + Duration::from_millis(rtt), id);
    }

    #[test]
    fn a_route_takes_over_if_its_best_of_two_answers_is_clearly_shorter() {
        let mut routes = Routes::default();
        for (rtts, takes_over) in [([80, 90], false), ([50, 50], false), ([90, 30], true)] {
            routes.clear();
            (0..2).for_each(|_| answer(&mut routes, route(2), 80));
            answer(&mut routes, route(3), rtts[0]);
            assert_eq!(routes.take_shorter(route(2), true), None, "one answer says little");
            answer(&mut routes, route(3), rtts[1]);
            let expected = takes_over.then_some(route(3));
            assert_eq!(routes.take_shorter(route(2), true), expected, "{rtts:?}");
        }
    }

    #[test]
    fn where_the_peer_chooses_it_has_chosen_what_takes_over() {
        let mut routes = Routes::default();
        for (at, rtt) in [(2, 80), (3, 20), (2, 80), (3, 20)] {
            answer(&mut routes, route(at), rtt);
        }
        assert_eq!(routes.take_shorter(route(2), false), None);
        routes.nominated(route(3));
        assert_eq!(routes.take_shorter(route(2), false), Some(route(3)));
        assert!(routes.has_left(route(2)) && !routes.has_left(route(3)));
        assert_eq!(routes.take_shorter(route(3), false), None, "there is no way back");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut routes = Routes::default();
        for n in 0..200 {
            let (now, other) = (Instant::now(), route(n));
            routes.sent(now, TransId::new(), other);
            answer(&mut routes, other, 5);
            answer(&mut routes, other, 5);
            routes.take_shorter(other, true);
        }
        assert!(routes.sent.len() <= MAX_SENT && routes.measured.len() <= MAX_ROUTES);
        assert!(routes.left.len() <= MAX_LEFT);
    }
}
