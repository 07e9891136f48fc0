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
/// A route counts while its last answer is as new as this: the checks of a route that is alive come more often.
const FRESH: Duration = Duration::from_secs(12);
/// … and while no check has waited for its answer for longer than this and two round trips.
const PATIENCE: Duration = Duration::from_millis(200);
/// A route takes over if it is shorter than the selected one by this factor and this much: less is jitter.
const FACTOR: f64 = 1.5;
const MARGIN: Duration = Duration::from_millis(10);

/// A route that a check has come back over.
#[derive(Debug)]
struct Measured {
    route: Route,
    /// The last two round trips, the newest first.
    rtts: [Option<Duration>; 2],
    answered_at: Option<Instant>,
    /// When the first check left that has no answer yet.
    unanswered_since: Option<Instant>,
    /// When the peer, if it chooses, has chosen it last.
    nominated_at: Option<Instant>,
}

impl Measured {
    /// The shorter of two round trips: one alone may have waited for a radio to wake up.
    fn rtt(&self) -> Option<Duration> {
        let [newest, before] = self.rtts;
        Some(newest?.min(before?))
    }

    /// Whether the route works, as far as can be known.
    fn is_alive(&self, now: Instant) -> bool {
        let patience = PATIENCE + 2 * self.rtts[0].unwrap_or_default();
        self.answered_at.is_some_and(|at| now < at + FRESH)
            && self.unanswered_since.is_none_or(|since| now < since + patience)
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
        if let Some(measured) = self.measured(route) {
            measured.unanswered_since.get_or_insert(now);
        }
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
            (measured.answered_at, measured.unanswered_since) = (Some(now), None);
        }
    }

    /// The peer chooses a route.
    pub(super) fn nominated(&mut self, now: Instant, route: Route) {
        if let Some(measured) = self.measured(route) {
            measured.nominated_at = Some(now);
        }
    }

    fn measured(&mut self, route: Route) -> Option<&mut Measured> {
        let is_known = self.measured.iter().any(|measured| measured.route == route);
        if !is_known && self.measured.len() < MAX_ROUTES {
            self.measured.push(Measured {
                route,
                rtts: [None; 2],
                answered_at: None,
                unanswered_since: None,
                nominated_at: None,
            });
        }
        self.measured.iter_mut().find(|measured| measured.route == route)
    }

    /// Returns a route that should take over from the selected one, and remembers that the selected one was left. If the peer
    /// chooses, only a route that it has chosen can take over.
    pub(super) fn take_shorter(
        &mut self,
        now: Instant,
        selected: Route,
        we_choose: bool,
    ) -> Option<Route> {
        if self.left.len() == MAX_LEFT {
            return None;
        }
        let rtt_of = |measured: &Measured| Some((measured.rtt()?, measured.route));
        let (present, _) = rtt_of(self.measured.iter().find(|m| m.route == selected)?)?;
        let others = self.measured.iter().filter(|measured| measured.route != selected);
        let is_chosen =
            |measured: &&Measured| measured.nominated_at.is_some_and(|at| now < at + FRESH);
        let others = others.filter(|measured| we_choose || is_chosen(measured));
        let others = others.filter(|measured| measured.is_alive(now));
        let others = others.filter(|measured| !self.left.contains(&measured.route));
        let (rtt, shorter) = others.filter_map(rtt_of).min_by_key(|(rtt, _)| *rtt)?;
        if present < rtt.mul_f64(FACTOR) + MARGIN {
            return None;
        }
        self.left.push(selected);
        Some(shorter)
    }

    /// Whether there is a route that was given up.
    pub(super) fn has_left_any(&self) -> bool {
        !self.left.is_empty()
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

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A check and its answer. Returns when that came.
    fn answer(routes: &mut Routes, at: Instant, route: Route, rtt: u64) -> Instant {
        let id = TransId::new();
        routes.sent(at, id, route);
        routes.answered(at + ms(rtt), id);
        at + ms(rtt)
    }

    /// One of 80 ms is selected, and another has these round trips.
    fn two(now: Instant, rtts: [u64; 2]) -> (Routes, Instant) {
        let mut routes = Routes::default();
        let mut at = now;
        for rtt in rtts {
            answer(&mut routes, at, route(2), 80);
            at = answer(&mut routes, at, route(3), rtt);
        }
        (routes, at)
    }

    #[test]
    fn a_route_takes_over_if_its_best_of_two_answers_is_clearly_shorter() {
        let now = Instant::now();
        for (rtts, takes_over) in [([80, 90], false), ([50, 50], false), ([90, 30], true)] {
            let (mut routes, at) = two(now, rtts);
            let expected = takes_over.then_some(route(3));
            assert_eq!(routes.take_shorter(at, route(2), true), expected, "{rtts:?}");
        }
        let mut routes = Routes::default();
        [80, 80].into_iter().for_each(|rtt| _ = answer(&mut routes, now, route(2), rtt));
        let at = answer(&mut routes, now, route(3), 20);
        assert_eq!(routes.take_shorter(at, route(2), true), None, "one answer says little");
    }

    #[test]
    fn where_the_peer_chooses_it_has_chosen_what_takes_over() {
        let (mut routes, at) = two(Instant::now(), [20, 20]);
        assert_eq!(routes.take_shorter(at, route(2), false), None);
        routes.nominated(at, route(3));
        let later = answer(&mut routes, at + FRESH, route(3), 20);
        assert_eq!(routes.take_shorter(later, route(2), false), None, "that is long ago");
        routes.nominated(later, route(3));
        assert_eq!(routes.take_shorter(later, route(2), false), Some(route(3)));
        assert!(routes.has_left(route(2)) && !routes.has_left(route(3)));
        assert_eq!(routes.take_shorter(later, route(3), true), None, "there is no way back");
    }

    #[test]
    fn a_route_that_does_not_answer_takes_over_nothing() {
        let (mut routes, at) = two(Instant::now(), [20, 20]);
        routes.sent(at, TransId::new(), route(3));
        let late = at + PATIENCE + ms(40);
        assert_eq!(routes.take_shorter(late, route(2), true), None);
        let again = answer(&mut routes, late, route(3), 20);
        assert_eq!(routes.take_shorter(again + FRESH, route(2), true), None);
        assert_eq!(routes.take_shorter(again, route(2), true), Some(route(3)));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (mut routes, now) = (Routes::default(), Instant::now());
        for n in 0..200 {
            let other = route(n);
            routes.sent(now, TransId::new(), other);
            answer(&mut routes, now, other, 5);
            answer(&mut routes, now, other, 5);
            routes.take_shorter(now, other, true);
        }
        assert!(routes.sent.len() <= MAX_SENT && routes.measured.len() <= MAX_ROUTES);
        assert!(routes.left.len() <= MAX_LEFT);
    }
}
