//! How finely the next picture is coded: a pure policy over what the pictures before it cost.
//!
//! A picture coded with quantiser `q` takes about `weight × 2^(-q/6)` bits. The weights of pictures
//! that follow each other are alike, so the last ones tell which quantiser meets the budget. Where
//! much more of the picture changes than did before, as when a page is turned, a keyframe's weight
//! is the better guess.
//!
//! Where even the coarsest quantiser takes too much, what moves is coded without its finest detail, and where that takes too
//! much as well, fewer pictures are coded. What rests becomes sharp again at the pace of the path.

#[cfg(test)]
mod tests;

use super::Kind;
use super::soft::BLOCK;
use crate::picture::Size;
use std::time::Duration;

/// The finest quantiser while pictures follow each other.
const FINEST: f64 = 20.0;
/// The finest for a picture at rest: luma differs by a step or two, and less is not seen.
const FINEST_AT_REST: f64 = 14.0;
/// The coarsest that H.264 has.
const COARSEST: f64 = 51.0;
/// How much finer a picture may be than the one before, in steps of the quantiser.
const REFINEMENT: u8 = 2;
/// Pictures' worth of bits that it may take then: usually, and at times where others take as much too, or hardly anything.
const FINER_SHARE: f64 = 1.15;
const FINER_AT_TIMES: f64 = 1.6;
const FINER_BESIDE_LITTLE: f64 = 7.0;
/// How long after a picture that takes more than usually there is no other, in seconds.
const FINER_EVERY: f64 = 0.5;
/// The share of the picture that changes where hardly anything does.
const LITTLE: f64 = 0.05;
/// Pictures' worth of bits that a keyframe, or a whole new picture, may take…
const BURST: f64 = 4.0;
/// … and if it comes after a rest, so that it is coded as finely as this: text can be read then.
const MOST_BURST: f64 = 8.0;
const READABLE: f64 = 38.0;
/// The share of a second within which what was overspent is saved.
const DEBT_SECONDS: f64 = 0.5;
/// How long a path may be busy with a refinement of more than one step…
const REFINEMENT_SECONDS: f64 = 0.2;
/// … and of one step. A change that comes meanwhile has to wait so long, and the eye has little
/// from the last steps: a picture for which they take longer stays a little coarser.
const LAST_STEP_SECONDS: f64 = 0.25;
/// Steps down to this quantiser are seen: text is not sharp before. They may take longer.
const SEEN: f64 = 22.0;
const STEP_SEEN_SECONDS: f64 = 0.8;
/// The longest wait for a debt to be carried, in seconds: more is a bit rate that no longer holds.
const LONGEST: f64 = 10.0;
/// Steps of one refinement, at most.
const MOST_STEPS: u8 = 10;
/// A step of refinement takes about this share of the weight of the picture itself.
const STEP_SHARE: f64 = 0.1;
/// Bits × 2^(q/6) a pixel of a keyframe of text, before the first.
const KEYFRAME_WEIGHT: f64 = 80.0;
/// A change is a new picture if it is this many times as large as usual, and by this much larger.
const UNUSUAL: (f64, f64) = (4.0, 0.05);
/// Sharp pictures coarser than this are worth less than soft ones that take as much.
const TOO_COARSE: f64 = 47.0;
/// And so fine at least they have to be so that what moves becomes sharp again.
const WORTH_IT: f64 = 44.0;
/// Soft pictures are not coded finer than this: the bits are better spent on more pictures.
const FINEST_SOFT: f64 = 43.0;
/// The share of a picture's bits for which soft ones are made.
const SOFT_SHARE: f64 = 0.5;
/// The share of a picture's bits for which what moves is sharpened, and the least share of the picture.
const SHARPENED_SHARE: f64 = 0.5;
const LEAST_SHARPENED: f64 = 0.02;
/// The share of the bit rate that sharpens what rests, whatever else moves.
const SHARPENED_ALWAYS: f64 = 0.5;
/// By how much less a soft keyframe weighs than a sharp one.
const KEYFRAME_GAIN: f64 = 4.0;
/// The same of other pictures: before it is known, and within which bounds it is learnt.
const GAIN: f64 = 8.0;
const GAINS: (f64, f64) = (1.2, 20.0);
/// What is left of it after each picture, so that sharp ones are tried again.
const FORGOTTEN: f64 = 0.995;
/// The same of a step of refinement, down to this share of what it last took: it is not tried again where it is far too dear.
const STEP_KEPT: f64 = 0.33;
/// By how much less the softest pictures weigh than soft ones.
const SOFTEST_GAIN: f64 = 1.8;
/// After so many soft pictures in a row their weight is known.
const COMPARED: u8 = 16;
/// The quantiser with which blocks at rest are sharpened: a coarser one leaves them soft, and a finer one is for later.
const SHARPENING: f64 = 32.0;
/// The same beside what moves and takes all there is, since that is coded as finely.
const SHARPENING_BESIDE: f64 = 36.0;
/// Where more than this share of a picture is soft, the rest is not worth keeping as it is until all is sharp.
const MOSTLY_SOFT: f64 = 0.5;
/// How long a path may be busy with what is sharpened at once.
const SHARPENING_SECONDS: f64 = 0.15;
/// A picture that keeps a path busy for longer, in seconds, is coded once more, coarser…
const MOST_SECONDS: f64 = 0.3;
/// … unless it has less than so many bits, and so is one that has more: 1,500 packets are what viewers can take.
const MOST_ALWAYS: f64 = 300_000.0;
const MOST_EVER: f64 = 1500.0 * 1100.0 * 8.0;
/// Beyond what a path has had the time to carry, so much of a second may be under way when the next picture is coded.
const AHEAD_SECONDS: f64 = 0.1;
/// After a pause of so many usual intervals what moved is so far away that the encoder does not find it again.
const PAUSE: f64 = 1.7;

/// How to code a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Plan {
    pub(super) quantiser: u8,
    /// The share of the rows, from the top, in which what has changed is to be sharp.
    pub(super) sharp: f64,
    /// Whether the rest is to lose all but large areas.
    pub(super) is_softest: bool,
    /// The share of the picture that is soft and is to become sharp.
    pub(super) sharpens: f64,
    /// Whether nearly all bits of the picture go into that, since the rest stays as it is.
    pub(super) is_striped: bool,
}

impl Plan {
    /// By how much less a keyframe weighs than if it were sharp.
    fn keyframe_gain(&self) -> f64 {
        match (self.sharp == 1.0, self.is_softest) {
            (true, _) => 1.0,
            (_, true) => KEYFRAME_GAIN * SOFTEST_GAIN,
            _ => KEYFRAME_GAIN,
        }
    }

    /// Whether it leaves out more.
    fn is_coarser_than(&self, other: &Self) -> bool {
        let rank = |plan: &Self| (plan.is_softest, 1.0 - plan.sharp, plan.quantiser);
        rank(self) > rank(other)
    }
}

/// The state of the policy.
#[derive(Debug, Clone)]
pub(super) struct Quality {
    fps: f64,
    /// Bits a second.
    bitrate: f64,
    /// Bits spent beyond what time has brought in.
    debt: f64,
    /// Of the last picture, in bits.
    size: f64,
    /// Weights: of pictures lately, of the last keyframe, and of one step of refinement.
    usual: f64,
    keyframe: f64,
    step: f64,
    /// What a step last took.
    step_taken: f64,
    /// The share of the picture that changes lately.
    change: f64,
    /// The last quantiser, and when a picture was last made finer than is usual.
    last: f64,
    finer_at: f64,
    /// Bits kept for sharpening what rests beside what moves, and whether the last picture has used some.
    kept: f64,
    has_sharpened: bool,
    /// The least share of the picture that is sharpened: a row of blocks, and not too little.
    least_sharpened: f64,
    /// The share of the rows, from the top, in which what moves is sharp.
    sharp: f64,
    is_softest: bool,
    /// By how much less soft pictures weigh.
    gain: f64,
    /// What sharp ones weighed, and how many soft ones have followed.
    compared: Option<(f64, u8)>,
    /// Until when the debt is reckoned, in seconds.
    time: f64,
    /// When something moved last, in seconds, and whether the picture was refined since.
    moved: f64,
    has_rested: bool,
    /// Between two pictures that follow each other, in seconds.
    interval: f64,
}

impl Quality {
    pub(super) fn new(size: Size, fps: u32, bitrate: u32) -> Self {
        let keyframe = size.pixels() as f64 * KEYFRAME_WEIGHT;
        Self {
            fps: fps.into(),
            bitrate: bitrate.into(),
            debt: 0.0,
            size: 0.0,
            usual: 0.0,
            keyframe,
            step: keyframe * STEP_SHARE,
            step_taken: keyframe * STEP_SHARE,
            change: 0.0,
            last: COARSEST,
            finer_at: 0.0,
            kept: 0.0,
            has_sharpened: false,
            least_sharpened: (BLOCK as f64 / f64::from(size.height)).clamp(LEAST_SHARPENED, 1.0),
            sharp: 1.0,
            is_softest: false,
            gain: GAIN,
            compared: None,
            time: 0.0,
            moved: 0.0,
            has_rested: false,
            interval: 1.0 / f64::from(fps),
        }
    }

    pub(super) fn set_bitrate(&mut self, bitrate: u32) {
        let before = std::mem::replace(&mut self.bitrate, bitrate.into());
        // What is owed was sent when the path carried more: it takes no longer than it did.
        let share = (self.bitrate / before).min(1.0);
        (self.debt, self.size) = (self.debt * share, self.size * share);
    }

    /// How to code a picture of which the share `change` differs from the one before, and the share `soft` is soft. `time` in
    /// seconds.
    pub(super) fn plan(&mut self, kind: Kind, change: f64, soft: f64, time: f64) -> Plan {
        // What was not used is lost: a path does not store it either.
        let passed = (time - self.time).max(0.0);
        self.debt = (self.debt - passed * self.bitrate).max(0.0);
        self.time = time;
        let passed = (time - self.moved).max(0.0);
        let is_new = self.is_new(change) || passed > PAUSE * self.interval || self.has_rested;
        if kind != Kind::Again {
            // A picture once a second and less is no motion.
            self.interval = (self.interval * 3.0 + passed.min(1.0)) / 4.0;
            self.moved = time;
            if std::mem::take(&mut self.has_rested) {
                // What comes now need not be like what moved before.
                self.usual = 0.0;
            }
        }
        let (mut sharpens, mut is_striped) = (0.0, false);
        let mut wanted = match kind {
            Kind::Again if soft > 0.0 => {
                // What is sharp already is not to become much finer on the way.
                is_striped = soft > MOSTLY_SOFT || self.last <= SHARPENING;
                let finer = (self.last - self.refinement()).max(SHARPENING);
                let wanted = if is_striped { SHARPENING } else { finer };
                sharpens = self.sharpening(wanted, SHARPENING_SECONDS * self.bitrate);
                wanted
            }
            Kind::Again => (self.last - self.refinement()).max(FINEST_AT_REST),
            Kind::Keyframe => self.fresh(self.keyframe, BURST),
            Kind::Next if change < LITTLE => self.beside_rest(change, soft),
            Kind::Next if is_new => {
                let weight = self.usual_when_sharp().max(self.keyframe * change);
                // Not all of it, where such pictures follow each other.
                let wanted = self.fresh(weight, (passed * self.fps / 2.0).clamp(1.0, MOST_BURST));
                // What has not changed is coded anew too if it is to be finer.
                if self.is_new(change) {
                    wanted
                } else {
                    wanted.max(self.last - self.finer_by(change))
                }
            }
            Kind::Next => {
                // What pictures weigh depends on what is soft, which that decides first.
                let wanted = self.following();
                wanted.max(self.last - self.finer_by(change))
            }
        };
        self.has_rested |= kind == Kind::Again;
        let is_fine = wanted <= SHARPENING || change < LITTLE;
        if kind == Kind::Next
            && self.sharp == 1.0
            && soft > 0.0
            && is_fine
            && let Some((share, quantiser)) = self.sharpen_beside(passed)
        {
            (sharpens, wanted) = (share, quantiser);
        }
        let finest = if kind == Kind::Again { FINEST_AT_REST } else { FINEST };
        let quantiser = wanted.round().clamp(finest, COARSEST) as u8;
        Plan { quantiser, sharp: self.sharp, is_softest: self.is_softest, sharpens, is_striped }
    }

    /// The quantiser for a new picture that weighs so much if it is sharp, and may take so many pictures' bits if it can be read
    /// then.
    fn fresh(&mut self, weight: f64, pictures: f64) -> f64 {
        let few = pictures.min(BURST);
        let sharp = match self.affordable(weight, few) {
            coarse if coarse > READABLE => self.affordable(weight, pictures).max(READABLE),
            fine => fine,
        };
        let soft = self.affordable(weight / KEYFRAME_GAIN, few);
        let is_sharp = sharp <= TOO_COARSE;
        self.soften(if is_sharp { 1.0 } else { 0.0 }, soft > COARSEST);
        if is_sharp { sharp } else { soft.max(FINEST_SOFT) }
    }

    /// The quantiser for a picture of which hardly anything has changed.
    fn beside_rest(&mut self, change: f64, soft: f64) -> f64 {
        if change < self.change / UNUSUAL.0 {
            // What moved before moves no longer.
            self.usual = self.usual.min(self.keyframe * change);
            self.change = change;
        }
        self.soften(1.0, false);
        let wanted = match self.usual {
            // After a rest nothing is known.
            0.0 => self.affordable(self.keyframe * change, BURST),
            usual => self.affordable(usual, 1.0),
        };
        // First all becomes sharp, and then finer.
        let finer = if soft > 0.0 { 0.0 } else { self.finer_by(change) };
        wanted.max(self.last - finer)
    }

    /// What rests beside what moves: the share of the picture that is sharpened now, and the quantiser of the picture. It may take what
    /// is left, or a part of the bit rate that is kept for it: what moves becomes coarser by the debt then.
    fn sharpen_beside(&mut self, passed: f64) -> Option<(f64, f64)> {
        let (picture, most) = (self.bitrate / self.fps, SHARPENING_SECONDS * self.bitrate);
        let moving = |quantiser: f64| self.usual * f64::exp2(-quantiser / 6.0);
        // What moves is coded as finely, and takes more than usually then.
        let beyond = |quantiser: f64| (moving(quantiser) - picture).max(0.0);
        let finest = if beyond(SHARPENING) > 0.0 { SHARPENING_BESIDE } else { SHARPENING };
        let mut quantisers = (finest as u8..=WORTH_IT as u8).map(f64::from);
        let quantiser = quantisers.find(|&quantiser| {
            self.sharpening(quantiser, most - beyond(quantiser)) >= self.least_sharpened
        })?;
        let left = (picture - moving(quantiser)).max(SHARPENED_ALWAYS * picture) * self.fps;
        // After a pause there is no more than between pictures that follow each other.
        self.kept = (self.kept + left * passed.min(PAUSE / self.fps)).min(most);
        let share = self.sharpening(quantiser, self.kept - beyond(quantiser));
        let is_full = self.kept == most;
        let is_due = share >= self.least_sharpened
            && (is_full || beyond(quantiser) == 0.0 && self.debt <= picture)
            // What moves is learnt from the pictures in between.
            && !self.has_sharpened;
        is_due.then(|| {
            self.kept = 0.0;
            (share, quantiser)
        })
    }

    /// The quantiser for a picture that is much like the last one.
    fn following(&mut self) -> f64 {
        let wanted = self.affordable(self.usual, 1.0);
        let when_sharp = self.affordable(self.usual_when_sharp(), 1.0);
        if self.sharp > 0.0 && wanted > TOO_COARSE {
            if self.sharp == 1.0 {
                self.compared = Some((self.usual, 0));
            } else {
                self.gain = (2.0 * self.gain).min(GAINS.1);
            }
            self.soften(0.0, false);
        } else if self.sharp > 0.0 || when_sharp < WORTH_IT {
            // What is sharpened costs once more, so it is done bit by bit.
            let share = self.sharpening(wanted, SHARPENED_SHARE * self.bitrate / self.fps);
            self.sharp = (self.sharp + share.max(LEAST_SHARPENED)).min(1.0);
            self.is_softest = false;
        } else if self.affordable(self.usual, BURST) > COARSEST {
            self.soften(0.0, true);
        } else if self.affordable(self.usual * SOFTEST_GAIN, 1.0) < COARSEST {
            self.soften(0.0, false);
        }
        match self.sharp {
            0.0 => self.affordable(self.usual, SOFT_SHARE).max(FINEST_SOFT),
            1.0 => self.affordable(self.usual, 1.0),
            // What is still soft is not worth more.
            _ => self.affordable(self.usual, 1.0).max(FINEST_SOFT),
        }
    }

    /// Takes note of what part of what moves is sharp, and of how soft the rest is.
    fn soften(&mut self, sharp: f64, is_softest: bool) {
        let is_softest = is_softest && sharp == 0.0;
        let before = self.saving();
        (self.sharp, self.is_softest) = (sharp, is_softest);
        self.usual *= before / self.saving();
    }

    /// By how much less what moves weighs than if it were sharp.
    fn saving(&self) -> f64 {
        let gain = if self.is_softest { self.gain * SOFTEST_GAIN } else { self.gain };
        gain / (1.0 + (gain - 1.0) * self.sharp)
    }

    fn usual_when_sharp(&self) -> f64 {
        self.usual * self.saving()
    }

    /// Learns by how much less soft pictures weigh than the sharp ones before them.
    fn compare(&mut self) {
        if self.sharp < 1.0 {
            self.gain = (self.gain * FORGOTTEN).max(GAINS.0);
        }
        let Some((sharp, pictures)) = &mut self.compared else { return };
        *pictures += 1;
        if self.sharp > 0.0 || self.is_softest {
            self.compared = None;
        } else if *pictures == COMPARED {
            self.gain = (*sharp / self.usual.max(1.0)).clamp(GAINS.0, GAINS.1);
            self.compared = None;
        }
    }

    /// The quantiser with which a picture of this weight takes so many pictures' bits; coarser ones than there are mean that
    /// it takes more.
    fn affordable(&self, weight: f64, pictures: f64) -> f64 {
        let saved = 1.0 - self.debt / (self.bitrate * DEBT_SECONDS);
        let bits = self.bitrate / self.fps * pictures * saved.clamp(0.25, 1.0);
        (6.0 * (weight.max(1.0) / bits).log2()).max(FINEST)
    }

    /// The share of the picture that can be sharpened with so many bits.
    fn sharpening(&self, quantiser: f64, bits: f64) -> f64 {
        let whole = self.keyframe * f64::exp2(-quantiser / 6.0);
        (bits / whole).clamp(0.0, 1.0)
    }

    /// How much finer than the last picture the next one may be: what moved and was found again is coded anew by that, once.
    fn finer_by(&self, change: f64) -> f64 {
        let picture = self.bitrate / self.fps;
        let pictures = match (self.time < self.finer_at + FINER_EVERY, change < LITTLE) {
            (true, _) => FINER_SHARE,
            (_, true) => FINER_BESIDE_LITTLE.min(LAST_STEP_SECONDS * self.fps).max(FINER_SHARE),
            _ => FINER_AT_TIMES,
        };
        let takes =
            |steps: f64| self.usual * f64::exp2((steps - self.last) / 6.0) + self.cost(steps);
        let fits = |steps: f64, pictures: f64| takes(steps) <= pictures * picture;
        let mut steps = (1..=REFINEMENT).rev().map(f64::from);
        let most = |steps| if steps == 1.0 { pictures } else { FINER_SHARE };
        steps.find(|&steps| fits(steps, most(steps))).unwrap_or(0.0)
    }

    /// The weight of what moved, was found again, and cost little: to make it finer costs as much as what is new.
    fn found_again(&self, change: f64) -> f64 {
        self.keyframe * change / 2.0
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

    /// A coarser plan for a picture that took far more bits than a path carries in time: it is to be coded again, as a keyframe.
    /// `None` if it did not, or nothing is coarser.
    pub(super) fn coarser(
        &mut self,
        kind: Kind,
        change: f64,
        plan: &Plan,
        bits: f64,
    ) -> Option<Plan> {
        let seconds = MOST_SECONDS.max(1.5 * BURST / self.fps);
        let most = (seconds * self.bitrate).clamp(MOST_ALWAYS, MOST_EVER);
        let most = match kind == Kind::Next && change < LITTLE {
            // It was dear only since all became finer, and a keyframe would be dearer.
            true if f64::from(plan.quantiser) < self.last => MOST_EVER,
            true => (2.0 * most).min(MOST_EVER),
            false => most,
        };
        if kind == Kind::Again || bits <= most {
            return None;
        }
        let weight = bits * f64::exp2(f64::from(plan.quantiser) / 6.0);
        let before = self.clone();
        let change = if kind == Kind::Keyframe { 1.0 } else { change.max(0.1) };
        if kind == Kind::Next {
            self.usual = self.usual.max(weight);
        }
        self.keyframe = self.keyframe.max(weight * plan.keyframe_gain() / change);
        let wanted = self.fresh(self.keyframe, BURST).min(COARSEST);
        let quantiser = wanted.round() as u8;
        let coarser = Plan {
            quantiser,
            sharp: self.sharp,
            is_softest: self.is_softest,
            sharpens: 0.0,
            is_striped: false,
        };
        if !coarser.is_coarser_than(plan) {
            *self = before;
            return None;
        }
        Some(coarser)
    }

    /// Takes note of what the picture cost that was coded by the last plan, of which the share `sharpened` was soft before.
    pub(super) fn coded(
        &mut self,
        kind: Kind,
        change: f64,
        sharpened: f64,
        plan: &Plan,
        bits: f64,
    ) {
        self.debt += bits;
        self.size = bits;
        self.has_sharpened = kind == Kind::Next && plan.sharpens > 0.0;
        let finer = self.last - f64::from(plan.quantiser);
        let is_new = self.is_new(change);
        self.last = plan.quantiser.into();
        let weight = bits * f64::exp2(self.last / 6.0);
        match kind {
            Kind::Again if sharpened > 0.0 && plan.is_striped => {
                self.keyframe = (self.keyframe + weight / sharpened) / 2.0;
                self.step_took(STEP_SHARE * self.keyframe);
                return;
            }
            Kind::Again => {
                self.step_took(weight / finer.max(1.0));
                return;
            }
            Kind::Keyframe => self.keyframe = weight * plan.keyframe_gain(),
            // It is not like those that follow.
            Kind::Next if plan.sharpens > 0.0 => self.change = (self.change + change) / 2.0,
            Kind::Next if finer > 0.0 && !is_new => {
                // What was coded anew to be finer need not be again.
                let step = (weight - self.usual).max(0.0) / finer;
                let least = STEP_SHARE * self.found_again(change) / 2.0;
                self.step_took(step.max((self.step + step) / 2.0).max(least));
                if bits > FINER_SHARE * self.bitrate / self.fps {
                    self.finer_at = self.time;
                }
                self.compare();
                return;
            }
            Kind::Next => {
                // Pictures that cost much and little in turn are coded as the dear ones: those are the late ones.
                self.usual = weight.max((self.usual * 3.0 + weight) / 4.0);
                self.change = (self.change + change) / 2.0;
                self.compare();
            }
        }
        if kind == Kind::Keyframe || is_new {
            let is_whole = kind == Kind::Keyframe;
            let whole = if is_whole { self.keyframe } else { self.found_again(change) };
            self.step_took(STEP_SHARE * weight.max(whole));
        } else {
            self.step = (self.step * FORGOTTEN).max(self.step_taken * STEP_KEPT);
        }
    }

    /// Takes note of what a step of refinement weighs.
    fn step_took(&mut self, step: f64) {
        (self.step, self.step_taken) = (step, step);
    }

    /// How long the path needs until it has carried so much of what was sent that the next picture is not held up.
    pub(super) fn next_after(&self) -> Duration {
        // Pictures are often as large as the one before.
        let ahead = (1.0 / self.fps + AHEAD_SECONDS - self.size / self.bitrate).max(0.0);
        Duration::from_secs_f64((self.debt / self.bitrate - ahead).clamp(0.0, LONGEST))
    }

    /// How long the path needs to carry what was sent beyond its due, before the picture is coded
    /// once more; `None` if it is as fine as it gets.
    pub(super) fn again_after(&self, is_soft: bool) -> Option<Duration> {
        let fine = self.last <= FINEST_AT_REST;
        let most = if self.last > SEEN { STEP_SEEN_SECONDS } else { LAST_STEP_SECONDS };
        let dear = self.cost(1.0) > most * self.bitrate;
        let due = (self.debt / self.bitrate).min(LONGEST);
        (is_soft || !fine && !dear).then(|| Duration::from_secs_f64(due))
    }
}
