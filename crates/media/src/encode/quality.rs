//! How finely the next picture is coded: a pure policy over what the pictures before it cost.
//!
//! A picture coded with quantiser `q` takes about `weight × 2^(-q/6)` bits. The weights of pictures
//! that follow each other are alike, so the last ones tell which quantiser meets the budget. Where
//! much more of the picture changes than did before, as when a page is turned, a keyframe's weight
//! is the better guess.

use super::Kind;
use std::time::Duration;

/// The finest quantiser while pictures follow each other.
const FINEST: f64 = 20.0;
/// The finest for a picture at rest: luma differs by a step or two, and less is not seen.
const FINEST_AT_REST: f64 = 14.0;
/// The coarsest that H.264 has.
const COARSEST: f64 = 51.0;
/// How much finer a picture may be than the one before, in steps of the quantiser.
const REFINEMENT: f64 = 2.0;
/// Pictures' worth of bits that a keyframe, or a whole new picture, may take.
const BURST: f64 = 4.0;
/// The share of a second within which what was overspent is saved.
const DEBT_SECONDS: f64 = 0.5;
/// How long a path may be busy with a refinement of more than one step…
const REFINEMENT_SECONDS: f64 = 0.066;
/// … and of one step. A change that comes meanwhile has to wait so long, and the eye has little
/// from the last steps: a picture for which they take longer stays a little coarser.
const LAST_STEP_SECONDS: f64 = 0.25;
/// The longest wait for a debt to be carried, in seconds: more is a bit rate that no longer holds.
const LONGEST: f64 = 10.0;
/// Steps of one refinement, at most.
const MOST_STEPS: u8 = 6;
/// A step of refinement takes about this share of the weight of the picture itself.
const STEP_SHARE: f64 = 0.1;
/// Bits × 2^(q/6) a pixel of a keyframe of text, before the first.
const KEYFRAME_WEIGHT: f64 = 48.0;
/// A change is a new picture if it is this many times as large as usual, and by this much larger.
const UNUSUAL: (f64, f64) = (4.0, 0.05);
/// After a pause of so many usual intervals what moved is so far away that the encoder does not find it again.
const PAUSE: f64 = 1.7;

/// The state of the policy.
#[derive(Debug, Clone)]
pub(super) struct Quality {
    fps: f64,
    /// Bits a second.
    bitrate: f64,
    /// Bits spent beyond what time has brought in.
    debt: f64,
    /// Weights: of pictures lately, of the last keyframe, and of one step of refinement.
    usual: f64,
    keyframe: f64,
    step: f64,
    /// The share of the picture that changes lately.
    change: f64,
    /// The last quantiser.
    last: f64,
    /// Until when the debt is reckoned, in seconds.
    time: f64,
    /// Between two pictures that follow each other, in seconds.
    interval: f64,
}

impl Quality {
    pub(super) fn new(pixels: usize, fps: u32, bitrate: u32) -> Self {
        let keyframe = pixels as f64 * KEYFRAME_WEIGHT;
        Self {
            fps: fps.into(),
            bitrate: bitrate.into(),
            debt: 0.0,
            usual: 0.0,
            keyframe,
            step: keyframe * STEP_SHARE,
            change: 0.0,
            last: COARSEST,
            time: 0.0,
            interval: 1.0 / f64::from(fps),
        }
    }

    pub(super) fn set_bitrate(&mut self, bitrate: u32) {
        self.bitrate = bitrate.into();
    }

    /// The quantiser for a picture of which the share `change` differs from the one before. `time`
    /// in seconds.
    pub(super) fn quantiser(&mut self, kind: Kind, change: f64, time: f64) -> u8 {
        // What was not used is lost: a path does not store it either.
        let passed = (time - self.time).max(0.0);
        self.debt = (self.debt - passed * self.bitrate).max(0.0);
        self.time = time;
        let is_new = self.is_new(change) || passed > PAUSE * self.interval;
        // A picture once a second and less is no motion.
        self.interval = (self.interval * 3.0 + passed.min(1.0)) / 4.0;
        let wanted = match kind {
            Kind::Again => (self.last - self.refinement()).max(FINEST_AT_REST),
            Kind::Keyframe => self.affordable(self.keyframe, BURST),
            Kind::Next if is_new => self.affordable(self.usual.max(self.keyframe * change), BURST),
            Kind::Next => self.affordable(self.usual, 1.0).max(self.last - REFINEMENT).max(FINEST),
        };
        wanted.round().clamp(FINEST_AT_REST, COARSEST) as u8
    }

    /// The quantiser with which a picture of this weight takes so many pictures' bits.
    fn affordable(&self, weight: f64, pictures: f64) -> f64 {
        let saved = 1.0 - self.debt / (self.bitrate * DEBT_SECONDS);
        let bits = self.bitrate / self.fps * pictures * saved.clamp(0.25, 1.0);
        (6.0 * (weight.max(1.0) / bits).log2()).clamp(FINEST, COARSEST)
    }

    fn is_new(&self, change: f64) -> bool {
        change > self.change * UNUSUAL.0 + UNUSUAL.1
    }

    /// By how much the next refinement is finer.
    fn refinement(&self) -> f64 {
        let due = REFINEMENT_SECONDS * self.bitrate;
        let steps = (1..=MOST_STEPS).rev().map(f64::from).find(|&steps| self.cost(steps) <= due);
        steps.unwrap_or(1.0)
    }

    /// Bits of a refinement by so many steps.
    fn cost(&self, steps: f64) -> f64 {
        self.step * steps * f64::exp2((steps - self.last) / 6.0)
    }

    /// Takes note of what the picture cost for which [`Self::quantiser`] was asked last.
    pub(super) fn coded(&mut self, kind: Kind, change: f64, quantiser: u8, bits: f64) {
        self.debt += bits;
        let finer = self.last - f64::from(quantiser);
        self.last = quantiser.into();
        let weight = bits * f64::exp2(self.last / 6.0);
        match kind {
            Kind::Again => {
                self.step = weight / finer.max(1.0);
                return;
            }
            Kind::Keyframe => self.keyframe = weight,
            Kind::Next => {
                // Pictures that cost much and little in turn are coded as the dear ones: those are the late ones.
                self.usual = weight.max((self.usual * 3.0 + weight) / 4.0);
                self.change = (self.change + change) / 2.0;
            }
        }
        self.step = STEP_SHARE * weight;
    }

    /// How long the path needs to carry what was sent beyond its due, before the picture is coded
    /// once more; `None` if it is as fine as it gets.
    pub(super) fn again_after(&self) -> Option<Duration> {
        let fine = self.last <= FINEST_AT_REST;
        let dear = self.cost(1.0) > LAST_STEP_SECONDS * self.bitrate;
        (!fine && !dear).then(|| Duration::from_secs_f64((self.debt / self.bitrate).min(LONGEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: usize = 1280 * 720;
    const BITRATE: u32 = 5_000_000;
    const BUDGET: f64 = 5_000_000.0 / 30.0;

    /// Pictures whose cost follows the model exactly.
    struct Scene {
        quality: Quality,
        time: f64,
    }

    impl Scene {
        fn new() -> Self {
            Self::with(30, BITRATE)
        }

        fn with(fps: u32, bitrate: u32) -> Self {
            Self { quality: Quality::new(PIXELS, fps, bitrate), time: 0.0 }
        }

        /// Codes one picture; answers its quantiser and bits.
        fn code(&mut self, kind: Kind, weight: f64, change: f64) -> (u8, f64) {
            self.time += 1.0 / 30.0;
            let q = self.quality.quantiser(kind, change, self.time);
            let bits = weight * f64::exp2(-f64::from(q) / 6.0);
            self.quality.coded(kind, change, q, bits);
            (q, bits)
        }

        /// Refines a picture of this weight until it is as fine as it gets; answers the bits of
        /// each refinement.
        fn rest(&mut self, weight: f64) -> Vec<f64> {
            let mut all = Vec::new();
            while let Some(wait) = self.quality.again_after() {
                self.time += wait.as_secs_f64().max(2.0 / 30.0);
                let before = self.quality.last;
                let q = self.quality.quantiser(Kind::Again, 0.0, self.time);
                assert!(f64::from(q) < before, "it does not get finer at {q}");
                // Each step of the quantiser costs a share of the picture.
                let bits = weight * 0.1 * (before - f64::from(q)) * f64::exp2(-f64::from(q) / 6.0);
                self.quality.coded(Kind::Again, 0.0, q, bits);
                all.push(bits);
            }
            all
        }
    }

    /// The weight of which this quantiser takes the budget of one picture.
    fn weight(quantiser: f64) -> f64 {
        BUDGET * f64::exp2(quantiser / 6.0)
    }

    #[test]
    fn steady_motion_takes_what_is_allowed_and_no_more() {
        for wanted in [24.0, 30.0, 38.0] {
            let mut scene = Scene::new();
            let spent: f64 =
                (0..300).map(|_| scene.code(Kind::Next, weight(wanted), 0.3).1).skip(150).sum();
            let share = spent / (150.0 * BUDGET);
            assert!((0.7..=1.01).contains(&share), "{share} of the budget at {wanted}");
        }
    }

    #[test]
    fn a_turned_page_costs_a_burst_and_not_more() {
        let mut scene = Scene::new();
        let page = weight(46.0); // a keyframe at 34 takes four pictures' bits
        scene.code(Kind::Keyframe, page, 1.0);
        for _ in 0..100 {
            scene.code(Kind::Next, 1000.0, 0.001);
        }
        let (_, bits) = scene.code(Kind::Next, page, 0.9);
        assert!(bits < 1.2 * BURST * BUDGET, "{} pictures' bits", bits / BUDGET);
        let typed = (0..15).map(|_| scene.code(Kind::Next, 1000.0, 0.001).0).last();
        assert!(typed < Some(24), "fine again after half a second: {typed:?}");
    }

    #[test]
    fn a_picture_at_rest_is_refined_at_the_pace_of_the_path() {
        let text = weight(46.0);
        for (fps, bitrate) in [(30, 300_000), (30, 1_000_000), (5, 1_000_000), (60, 20_000_000)] {
            let mut scene = Scene::with(fps, bitrate);
            scene.code(Kind::Keyframe, text, 1.0);
            let (begin, owed) = (scene.time, scene.quality.debt);
            let refinements = scene.rest(text);
            let longest = refinements.iter().fold(0.0, |longest: f64, &bits| longest.max(bits));
            let carried = (scene.time - begin) * f64::from(bitrate);
            let spent = owed + refinements.iter().sum::<f64>();
            let case = format!("at {bitrate} bit/s, {fps} a second");
            // The last one is still under way.
            assert!(spent <= carried + longest * 1.01, "{spent} of {carried} {case}");
            let seconds = longest / f64::from(bitrate);
            assert!(seconds <= LAST_STEP_SECONDS * 1.01, "{seconds} s in one go {case}");
        }
    }

    #[test]
    fn a_path_that_carries_it_gets_the_finest_picture_soon() {
        let mut scene = Scene::with(30, 20_000_000);
        scene.code(Kind::Keyframe, weight(46.0), 1.0);
        let begin = scene.time;
        scene.rest(weight(46.0));
        assert_eq!(scene.quality.last, FINEST_AT_REST);
        assert!(scene.time - begin < 1.0, "{} s", scene.time - begin);
    }

    #[test]
    fn what_was_owed_before_a_rest_does_not_count_after_it() {
        let (page, mut scene) = (weight(46.0), Scene::new());
        scene.code(Kind::Keyframe, page, 1.0);
        scene.rest(page);
        scene.time += 60.0;
        let (_, bits) = scene.code(Kind::Next, page, 1.0);
        assert!(bits > 0.8 * BURST * BUDGET, "{} pictures' bits", bits / BUDGET);
    }

    #[test]
    fn no_history_leads_out_of_the_range() {
        let mut quality = Quality::new(16 * 16, 1, 10_000);
        let mut odd = 1u32;
        for _ in 0..10_000 {
            odd = odd.wrapping_mul(0x9e37_79b9) ^ odd >> 7;
            let kind = [Kind::Next, Kind::Again, Kind::Keyframe][odd as usize % 3];
            let change = f64::from(odd % 100) / 99.0;
            let q = quality.quantiser(kind, change, f64::from(odd >> 10));
            assert!((14..=51).contains(&q));
            quality.coded(kind, change, q, f64::from(odd >> 4));
            assert!(quality.again_after() <= Some(Duration::from_secs(10)));
        }
    }
}
