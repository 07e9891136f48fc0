//! Whether a viewer that should be heard is silent: its path may be cut, and what was sent meanwhile lost.

use std::time::{Duration, Instant};

/// While pictures arrive the reports of viewers are as far apart as this, or closer, and so is the feedback of browsers: WebRTC sends
/// it every 50 ms, and Chromium with a coarse timer every 62.
pub(super) const REPORTS_APART: Duration = Duration::from_millis(33);
pub(super) const FEEDBACK_APART: Duration = Duration::from_millis(65);
/// A silence that is longer than usual by this is one, and one that is longer than the other is the end of a path, or of a viewer.
const LEAST: Duration = Duration::from_millis(15);
const MOST: Duration = Duration::from_millis(500);
/// How many times what they usually are late makes a silence, and how much of what each one shows is learnt.
const USUALLY_LATE: u32 = 4;
const LEARNT: f64 = 1.0 / 16.0;
/// A browser that has reported less than this ago is not cut off: its feedback was lost.
const ALIVE: Duration = FEEDBACK_APART;
/// Without pictures they end: after a rest of this nothing is expected before the next picture has gone round.
const REST: Duration = Duration::from_millis(90);

#[derive(Debug, Default)]
pub(super) struct Silence {
    heard_at: Option<Instant>,
    sent_at: Option<Instant>,
    /// Before this nothing is expected.
    expected_at: Option<Instant>,
    /// How far apart reports or feedback are, and by how much they come later than that on the mean.
    apart: Duration,
    late: Duration,
    /// When a report came besides feedback, and whether none did for a while.
    alive_at: Option<Instant>,
    is_cut: bool,
}

impl Silence {
    /// A picture was sent over a path of this round trip.
    pub(super) fn sent(&mut self, now: Instant, round_trip: Duration) {
        if self.sent_at.is_none_or(|at| now > at + REST) {
            (self.expected_at, self.is_cut) = (Some(now + round_trip), false);
        }
        self.sent_at = Some(now);
    }

    /// A report or feedback came, of the kind that comes as often as this.
    pub(super) fn heard(&mut self, now: Instant, apart: Duration) {
        (self.apart, self.is_cut) = (apart, false);
        // Without pictures they are late by nature.
        if self.sent_at > self.heard_at {
            let due = self.since().map_or(now, |since| since + apart);
            let late = now.saturating_duration_since(due);
            self.late = self.late.mul_f64(1.0 - LEARNT) + late.mul_f64(LEARNT);
        }
        self.heard_at = Some(now);
    }

    /// A report came besides feedback.
    pub(super) fn is_alive(&mut self, now: Instant) {
        self.alive_at = Some(now);
    }

    /// When the last one came, if the next should have come by now, and not long ago.
    pub(super) fn began(&mut self, now: Instant) -> Option<Instant> {
        let patience = self.apart + LEAST + USUALLY_LATE * self.late;
        let silent = now.saturating_duration_since(self.since()?);
        let is_late = silent > patience;
        self.is_cut |= is_late && self.alive_at.is_none_or(|at| now > at + ALIVE);
        self.heard_at.filter(|_| self.is_cut && is_late && silent < patience + MOST)
    }

    /// For how long nothing has come though something was sent since.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        let is_expected = self.sent_at > self.heard_at;
        let since = self.since().filter(|_| is_expected);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Nothing is known of a viewer before it has said something.
    fn since(&self) -> Option<Instant> {
        self.heard_at.map(|at| self.expected_at.map_or(at, |expected| at.max(expected)))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(80);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn reports_that_stay_away_are_a_silence_and_a_rest_is_none() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        let mut now = begin;
        for _ in 0..100 {
            now += ms(33);
            silence.sent(now, ROUND_TRIP);
            assert_eq!(silence.began(now), None);
            silence.heard(now, REPORTS_APART);
        }
        assert_eq!(silence.began(now + ms(60)), Some(now));
        for _ in 0..20 {
            now += Duration::from_secs(2);
            silence.heard(now, REPORTS_APART);
        }
        silence.sent(now, ROUND_TRIP);
        assert_eq!(silence.began(now + ROUND_TRIP), None, "the first picture after a rest");
        assert!(silence.began(now + ROUND_TRIP + ms(60)).is_some());
        assert_eq!(silence.began(now + ROUND_TRIP + 2 * MOST), None, "the path is gone");
    }

    #[test]
    fn a_silence_lasts_for_as_long_as_what_was_sent_is_not_heard_of() {
        let now = Instant::now();
        let mut silence = Silence::default();
        assert_eq!(silence.lasts(now), Duration::ZERO);
        silence.sent(now, ROUND_TRIP);
        silence.sent(now + ms(60), ROUND_TRIP);
        silence.heard(now + ms(100), REPORTS_APART);
        assert_eq!(silence.lasts(now + ms(500)), Duration::ZERO, "nothing was sent since");
        silence.sent(now + ms(130), ROUND_TRIP);
        assert_eq!(silence.lasts(now + ms(500)), ms(400));
        // After a rest it begins when an answer can have come.
        silence.sent(now + ms(5000), ROUND_TRIP);
        assert_eq!(silence.lasts(now + ms(5000) + ROUND_TRIP + ms(50)), ms(50));
    }

    #[test]
    fn the_feedback_of_a_browser_is_missed_after_a_beat() {
        let mut now = Instant::now();
        let mut silence = Silence::default();
        for _ in 0..100 {
            silence.sent(now + ms(1), ROUND_TRIP);
            now += ms(62);
            assert_eq!(silence.began(now), None);
            silence.heard(now, FEEDBACK_APART);
        }
        silence.sent(now + ms(1), ROUND_TRIP);
        assert_eq!(silence.began(now + ms(70)), None);
        assert_eq!(silence.began(now + ms(85)), Some(now));
    }

    #[test]
    fn feedback_that_is_lost_while_others_come_is_no_silence() {
        let mut now = Instant::now();
        let mut silence = Silence::default();
        silence.heard(now, FEEDBACK_APART);
        silence.sent(now + ms(1), ms(1));
        now += ms(100);
        silence.is_alive(now - ms(30));
        assert_eq!(silence.began(now), None);
        let heard = now - ms(100);
        assert_eq!(silence.began(now + ms(40)), Some(heard));
        // What comes first after a cut does not say that nothing was lost in it.
        silence.is_alive(now + ms(45));
        assert_eq!(silence.began(now + ms(50)), Some(heard));
        // Nor does it say so after a rest.
        silence.sent(now + ms(300), ROUND_TRIP);
        assert_eq!(silence.began(now + ms(300)), None);
        silence.is_alive(now + ms(300) + ROUND_TRIP + ms(60));
        assert_eq!(silence.began(now + ms(300) + ROUND_TRIP + ms(100)), None);
        silence.heard(now + ms(500), FEEDBACK_APART);
        assert_eq!(silence.began(now + ms(510)), None);
    }

    #[test]
    fn where_reports_vary_longer_silences_are_usual() {
        let mut now = Instant::now();
        let mut silence = Silence::default();
        for gap in [10, 80, 10, 70].into_iter().cycle().take(100) {
            silence.sent(now + ms(1), ROUND_TRIP);
            now += ms(gap);
            silence.heard(now, REPORTS_APART);
        }
        silence.sent(now, ROUND_TRIP);
        assert_eq!(silence.began(now + ms(80)), None);
        assert!(silence.began(now + ms(200)).is_some());
    }
}
