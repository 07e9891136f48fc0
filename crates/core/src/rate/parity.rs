//! How much parity goes with frames: a pure policy over what a path loses by itself.

use std::time::Duration;

/// Loss that parity is sent for, at least and at most, and how much of what an interval shows is learnt: quickly, and for longer, as
/// a path that loses one packet in a hundred shows nothing of it for a second or two.
const LEAST_LOSS: f64 = 0.004;
const MOST_LOSS: f64 = 0.2;
const LEARNT: f64 = 0.15;
const KEPT: f64 = 0.02;
/// What is assumed at least of a path so far that a repair is seen, until so many intervals in a row have lost nothing.
const FIRST_LOSS: f64 = 0.01;
const VERY_FAR: Duration = Duration::from_millis(200);
const CLEAN: u32 = 40;
/// Where a round trip is shorter, repairs are soon enough.
const FAR: Duration = Duration::from_millis(50);
/// The share of frames that may have to be repaired in spite of parity, up to a usual round trip.
const FAILS: f64 = 0.02;
const USUAL_ROUND_TRIP: Duration = Duration::from_millis(80);
/// What is sent at most, on average, for each packet, with the repairs that are asked for: so many times the share that is lost, and a little more.
/// Packets that were not sent may follow later, and those that were too many are made up for, up to the others. It may be more where a
/// larger share of the frames had to be repaired otherwise, but no more than half of their packets, and on very far paths: a repair takes
/// too long there.
const MOST_TIMES: f64 = 3.0;
const MOST_BESIDES: f64 = 0.03;
const MOST_SAVED: f64 = 4.0;
const MOST_OWED: f64 = 16.0;
const MOST_FAIL: f64 = 0.045;
/// FlexFEC makes fewer packets again than Reed-Solomon codes do: by so much more of it for each percent of loss, up to the other.
const WEAKER: f64 = 0.12;
const MUCH_WEAKER: f64 = 0.65;
/// A viewer without parity shows pictures later where packets are lost, so that repairs come in time: by a round trip and what it
/// takes to notice a loss, and at most by the other. It does so from this loss on, until there is less than the other.
const NOTICED_IN: Duration = Duration::from_millis(40);
const MOST_DELAY: Duration = Duration::from_millis(500);
const SMOOTH_FROM: f64 = 0.006;
const SMOOTH_UNTIL: f64 = 0.002;
/// The delay is left as it is until it is wrong by this.
const DELAY_STEP: Duration = Duration::from_millis(30);
/// Packets of the largest frame with parity, and of the most parity.
const MOST_PACKETS: usize = 96;
const MOST_PARITY: usize = 32;

/// What is known of a path's losses.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// The share of packets that it loses by itself, lately and for longer.
    lately: f64,
    usually: f64,
    /// Intervals since one has lost something, or since the beginning.
    clean: u32,
    /// Parity packets for each packet, lately.
    share: f64,
    /// Packets of parity that may be sent beyond what the next frame brings; negative if there were more.
    saved: f64,
    /// How much later than they come pictures should be shown.
    delay: Duration,
}

impl Losses {
    /// Takes note of the share of packets that an interval has lost: none by itself if the path was full.
    pub(super) fn learn(&mut self, lost: f64, was_full: bool) {
        let lost = if was_full { 0.0 } else { lost.clamp(0.0, MOST_LOSS) };
        self.clean = if lost > 0.0 { 0 } else { self.clean.saturating_add(1) };
        self.lately += (lost - self.lately) * LEARNT;
        self.usually += (lost - self.usually) * if was_full { LEARNT } else { KEPT };
    }

    /// Takes note of what was sent with a frame, and of how many repairs have been asked for since the last.
    pub(super) fn sent(&mut self, packets: u32, parity: u32, repairs: u64) {
        self.saved += self.most(packets as usize) - f64::from(parity) - repairs as f64;
        self.saved = self.saved.clamp(-MOST_OWED, MOST_SAVED);
        self.share += (f64::from(parity) / f64::from(packets.max(1)) - self.share) / 8.0;
    }

    /// The share of packets that the path loses by itself.
    pub(super) fn lost(&self) -> f64 {
        self.lately.max(self.usually)
    }

    /// Packets of parity for each packet, lately, or of repairs if those are more.
    pub(super) fn share(&self) -> f64 {
        self.share.max(self.lately)
    }

    /// How much later than they come pictures should be shown by a viewer that takes no parity, so that those that have to be repaired
    /// do not hold up others.
    pub(super) fn delay(&mut self, round_trip: Duration) -> Duration {
        let wanted = (round_trip + NOTICED_IN).min(MOST_DELAY);
        if self.lost() < SMOOTH_UNTIL {
            self.delay = Duration::ZERO;
        } else if self.lost() > SMOOTH_FROM && wanted.abs_diff(self.delay) > DELAY_STEP {
            self.delay = wanted;
        }
        self.delay
    }

    /// How many packets of parity a frame of so many should have.
    fn wanted(&self, packets: usize, round_trip: Duration) -> usize {
        // Little is seen of few losses: what is found of them varies.
        let may_lose = self.clean < CLEAN && round_trip > VERY_FAR;
        let lost = if may_lose { self.lost().max(FIRST_LOSS) } else { self.lost() };
        if lost < LEAST_LOSS || round_trip <= FAR || packets > MOST_PACKETS {
            return 0;
        }
        // A repair holds the picture up for a round trip.
        let times = round_trip.as_secs_f64() / USUAL_ROUND_TRIP.as_secs_f64();
        least(packets, lost, FAILS / (times * times).max(1.0)).max(1)
    }

    /// How many packets of Reed-Solomon codes go with it, within the bound on redundancy.
    pub(super) fn bounded(&self, packets: usize, round_trip: Duration) -> usize {
        let wanted = self.wanted(packets, round_trip);
        if wanted == 0 || round_trip > VERY_FAR {
            return wanted;
        }
        let may_be = (self.saved + self.most(packets)).max(0.0) as usize;
        wanted.min(may_be.max(least(packets, self.lost(), MOST_FAIL).min(packets / 2)))
    }

    /// Packets of parity that so many bring, on average.
    fn most(&self, packets: usize) -> f64 {
        (MOST_TIMES * self.lost() + MOST_BESIDES) * packets as f64
    }

    /// How many packets of FlexFEC go with a frame of so many: a browser repairs late, so these have no bound.
    pub(super) fn wanted_fec(&self, packets: usize, round_trip: Duration) -> usize {
        let weaker = (self.lost() * 100.0 * WEAKER).min(MUCH_WEAKER);
        let wanted = (self.wanted(packets, round_trip) as f64 * (1.0 + weaker)).round() as usize;
        wanted.min(MOST_PARITY).min(packets + 1)
    }
}

/// The least parity with which no larger share of the frames has to be repaired.
fn least(packets: usize, lost: f64, may_fail: f64) -> usize {
    let most = packets.min(MOST_PARITY);
    (0..=most).find(|parity| fails(packets, *parity, lost) < may_fail).unwrap_or(most)
}

/// The chance that more packets are lost of a frame and its parity than it can do without.
fn fails(packets: usize, parity: usize, lost: f64) -> f64 {
    let all = (packets + parity) as f64;
    let mut exactly = (1.0 - lost).powf(all);
    let mut at_most = exactly;
    for count in 1..=parity {
        exactly *= (all - count as f64 + 1.0) / count as f64 * lost / (1.0 - lost);
        at_most += exactly;
    }
    1.0 - at_most
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(80);

    fn losing(lost: f64) -> Losses {
        let saved = MOST_SAVED;
        Losses { lately: lost, usually: lost, clean: CLEAN, saved, ..Losses::default() }
    }

    #[test]
    fn parity_is_for_far_paths_that_lose_packets() {
        let losses = losing(0.05);
        let wanted = |packets, round_trip| losses.wanted(packets, round_trip);
        assert_eq!([1, 5, 14, 90].map(|packets| wanted(packets, ROUND_TRIP)), [1, 2, 3, 10]);
        assert_eq!(wanted(14, FAR), 0);
        assert_eq!(wanted(MOST_PACKETS + 1, ROUND_TRIP), 0);
        assert!(wanted(14, 4 * ROUND_TRIP) > wanted(14, ROUND_TRIP));
        assert_eq!(losing(LEAST_LOSS / 2.0).wanted(14, ROUND_TRIP), 0);
    }

    #[test]
    fn parity_takes_no_more_than_its_share() {
        let share_with = |lost, packets, round_trip, repairs_in_ten: u64| {
            let mut losses = losing(lost);
            let mut all = 0;
            for frame in 0..1000 {
                let parity = losses.bounded(packets, round_trip);
                let repairs = if frame % 10 == 0 { repairs_in_ten } else { 0 };
                losses.sent(packets as u32, parity as u32, repairs);
                all += parity as u64 + repairs;
            }
            all as f64 / (1000 * packets) as f64
        };
        let share = |lost, packets, round_trip| share_with(lost, packets, round_trip, 0);
        for lost in [0.01, 0.03, 0.05, 0.1] {
            for (packets, repairs) in [(16, 0), (40, 0), (40, 4)] {
                let share = share_with(lost, packets, ROUND_TRIP, repairs);
                assert!(share > lost && share < 3.0 * lost + 0.05, "{lost} {packets}: {share}");
            }
        }
        // Where few packets are too many to be left to repairs, no more than those have.
        for (lost, packets) in [(0.01, 2), (0.01, 7), (0.03, 7), (0.05, 2), (0.05, 7), (0.1, 7)] {
            let (share, least) =
                (share(lost, packets, ROUND_TRIP), least(packets, lost, MOST_FAIL));
            let most = (3.0 * lost + 0.05).max(least as f64 / packets as f64);
            // Besides what was saved at first.
            assert!(share > lost && share <= most + 0.001, "{lost} {packets}: {share}");
        }
        // Repairs take the place of parity.
        for repairs in [0, 1] {
            let share = share_with(0.05, 1, ROUND_TRIP, repairs);
            assert!((0.17..0.19).contains(&share), "{repairs} repairs in ten frames: {share}");
        }
        // Frames of few packets take turns, unless too many of them had to be repaired then.
        assert!(share(0.05, 4, ROUND_TRIP) < 0.27 && share(0.05, 8, ROUND_TRIP) > 0.24);
        assert!(share(0.05, 7, 2 * VERY_FAR) > 0.25);
    }

    #[test]
    fn a_very_far_path_has_parity_until_it_has_lost_nothing_for_long() {
        let mut losses = Losses::default();
        assert!(losses.wanted(14, 2 * VERY_FAR) > 0);
        assert_eq!(losses.wanted(14, ROUND_TRIP), 0);
        (0..CLEAN).for_each(|_| losses.learn(0.0, false));
        assert_eq!(losses.wanted(14, 2 * VERY_FAR), 0);
        losses.learn(0.01, false);
        (1..CLEAN).for_each(|_| losses.learn(0.0, false));
        assert!(losses.lost() < LEAST_LOSS && losses.wanted(14, 2 * VERY_FAR) > 0);
    }

    #[test]
    fn loss_on_a_full_path_is_not_its_own() {
        let mut losses = losing(0.05);
        (0..50).for_each(|_| losses.learn(0.3, true));
        assert_eq!(losses.wanted(14, ROUND_TRIP), 0);
        (0..50).for_each(|_| losses.learn(0.3, false));
        assert!(losses.wanted(14, ROUND_TRIP) > 0);
        (0..50).for_each(|_| losses.learn(f64::NAN, true));
    }
}
