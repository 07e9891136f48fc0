//! How finely the next picture is coded: a pure policy over what the pictures before it cost.
//!
//! A picture coded with quantiser `q` takes about `weight × 2^(-q/6)` bits. The weights of pictures
//! that follow each other are alike, so the last ones tell which quantiser meets the budget. Where
//! much more of the picture changes than did before, as when a page is turned, a keyframe's weight
//! is the better guess.

use super::Kind;

/// The finest quantiser while pictures follow each other.
const FINEST: f64 = 20.0;
/// The finest for a picture at rest: luma differs by a step or two, and less is not seen.
const FINEST_AT_REST: f64 = 14.0;
/// The coarsest: text can still be read. Beyond it a lower frame rate serves better.
const COARSEST: f64 = 42.0;
/// How much finer a picture may be than the one before, in steps of the quantiser.
const REFINEMENT: f64 = 2.0;
/// Pictures' worth of bits that a keyframe, or a whole new picture, may take.
const BURST: f64 = 4.0;
/// The share of a second within which what was overspent is saved.
const DEBT_SECONDS: f64 = 0.5;
/// Bits × 2^(q/6) a pixel of a keyframe of text, before the first.
const KEYFRAME_WEIGHT: f64 = 48.0;
/// A change is a new picture if it is this many times as large as usual, and by this much larger.
const UNUSUAL: (f64, f64) = (4.0, 0.05);

/// The state of the policy.
#[derive(Debug, Clone)]
pub(super) struct Quality {
    fps: f64,
    /// Bits a second.
    bitrate: f64,
    /// Bits spent beyond what time has brought in.
    debt: f64,
    /// Weights: of pictures lately, and of the last keyframe.
    usual: f64,
    keyframe: f64,
    /// The share of the picture that changes lately.
    change: f64,
    /// The last quantiser.
    last: f64,
    /// How much finer the next refinement is.
    stride: f64,
    /// When the last picture was coded, in seconds.
    time: f64,
}

impl Quality {
    pub(super) fn new(pixels: usize, fps: u32, bitrate: u32) -> Self {
        Self {
            fps: fps.into(),
            bitrate: bitrate.into(),
            debt: 0.0,
            usual: 0.0,
            keyframe: pixels as f64 * KEYFRAME_WEIGHT,
            change: 0.0,
            last: COARSEST,
            stride: 4.0,
            time: 0.0,
        }
    }

    pub(super) fn set_bitrate(&mut self, bitrate: u32) {
        self.bitrate = bitrate.into();
    }

    /// The quantiser for a picture of which the share `change` differs from the one before.
    pub(super) fn quantiser(&self, kind: Kind, change: f64) -> u8 {
        let wanted = match kind {
            Kind::Again => (self.last - self.stride).max(FINEST_AT_REST),
            Kind::Keyframe => self.affordable(self.keyframe, BURST),
            Kind::Next if self.is_new(change) => {
                self.affordable(self.usual.max(self.keyframe * change), BURST)
            }
            Kind::Next => self.affordable(self.usual, 1.0).max(self.last - REFINEMENT).max(FINEST),
        };
        wanted.round().clamp(FINEST_AT_REST, COARSEST) as u8
    }

    /// The quantiser with which a picture of this weight takes so many pictures' bits.
    fn affordable(&self, weight: f64, pictures: f64) -> f64 {
        let saved = 1.0 - self.debt.max(0.0) / (self.bitrate * DEBT_SECONDS);
        let bits = self.bitrate / self.fps * pictures * saved.clamp(0.25, 1.0);
        (6.0 * (weight.max(1.0) / bits).log2()).clamp(FINEST, COARSEST)
    }

    fn is_new(&self, change: f64) -> bool {
        change > self.change * UNUSUAL.0 + UNUSUAL.1
    }

    /// Takes note of what a picture cost. `time` in seconds.
    pub(super) fn coded(&mut self, kind: Kind, change: f64, quantiser: u8, bits: f64, time: f64) {
        let earned = (time - self.time).clamp(0.0, 1.0) * self.bitrate;
        self.time = time;
        // What was not used is lost: a path does not store it either.
        self.debt = (self.debt - earned).max(0.0) + bits;
        self.last = quantiser.into();
        let weight = bits * f64::exp2(self.last / 6.0);
        match kind {
            Kind::Again => {
                let due = self.bitrate / self.fps * 2.0;
                let stride = if bits < due / 4.0 { self.stride * 2.0 } else { due / bits * 3.0 };
                self.stride = stride.clamp(1.0, 6.0);
                return;
            }
            Kind::Keyframe => self.keyframe = weight,
            Kind::Next => {
                self.usual = (self.usual + weight) / 2.0;
                self.change = (self.change + change) / 2.0;
            }
        }
        self.stride = 3.0;
    }

    /// Whether a picture at rest is as fine as it gets.
    pub(super) fn is_finest(&self) -> bool {
        self.last <= FINEST_AT_REST
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
            Self { quality: Quality::new(PIXELS, 30, BITRATE), time: 0.0 }
        }

        /// Codes one picture; answers its quantiser and bits.
        fn code(&mut self, kind: Kind, weight: f64, change: f64) -> (u8, f64) {
            let q = self.quality.quantiser(kind, change);
            let bits = weight * f64::exp2(-f64::from(q) / 6.0);
            self.time += 1.0 / 30.0;
            self.quality.coded(kind, change, q, bits, self.time);
            (q, bits)
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
        let mut scene = Scene::new();
        let (mut q, _) = scene.code(Kind::Keyframe, weight(46.0), 1.0);
        let mut steps = 0;
        while !scene.quality.is_finest() {
            let before = q;
            // Each step of the quantiser costs a share of the keyframe.
            let kept = f64::exp2(-f64::from(before) / 6.0) * weight(46.0) * 0.1;
            q = scene.quality.quantiser(Kind::Again, 0.0);
            assert!(q < before, "it does not get finer at {q}");
            let bits = kept * f64::from(before - q);
            scene.time += 2.0 / 30.0;
            scene.quality.coded(Kind::Again, 0.0, q, bits, scene.time);
            steps += 1;
        }
        assert!(steps < 25, "{steps} steps");
    }

    #[test]
    fn no_history_leads_out_of_the_range() {
        let mut quality = Quality::new(16 * 16, 1, 10_000);
        let mut odd = 1u32;
        for _ in 0..10_000 {
            odd = odd.wrapping_mul(0x9e37_79b9) ^ odd >> 7;
            let kind = [Kind::Next, Kind::Again, Kind::Keyframe][odd as usize % 3];
            let change = f64::from(odd % 100) / 99.0;
            let q = quality.quantiser(kind, change);
            assert!((14..=42).contains(&q));
            quality.coded(kind, change, q, f64::from(odd >> 4), f64::from(odd >> 10));
        }
    }
}
