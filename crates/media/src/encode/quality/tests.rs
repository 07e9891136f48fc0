use super::*;

const SIZE: Size = Size::new(1280, 720);
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
        Self { quality: Quality::new(SIZE, fps, bitrate), time: 0.0 }
    }

    /// Codes one picture; answers its quantiser and bits.
    fn code(&mut self, kind: Kind, weight: f64, change: f64) -> (u8, f64) {
        self.time += 1.0 / 30.0;
        let plan = self.quality.plan(kind, change, 0.0, self.time);
        let gain = if kind == Kind::Keyframe { KEYFRAME_GAIN } else { GAIN };
        let gain = if plan.is_softest { gain * SOFTEST_GAIN } else { gain };
        let weight = weight * (plan.sharp + (1.0 - plan.sharp) / gain);
        let bits = weight * f64::exp2(-f64::from(plan.quantiser) / 6.0);
        self.quality.coded(kind, change, 0.0, &plan, bits);
        (plan.quantiser, bits)
    }

    /// Refines a picture of this weight until it is as fine as it gets; answers the bits of
    /// each refinement.
    fn rest(&mut self, weight: f64) -> Vec<f64> {
        let mut all = Vec::new();
        while let Some(wait) = self.quality.again_after(false) {
            self.time += wait.as_secs_f64().max(2.0 / 30.0);
            let before = self.quality.last;
            let plan = self.quality.plan(Kind::Again, 0.0, 0.0, self.time);
            let q = plan.quantiser;
            assert!(f64::from(q) < before, "it does not get finer at {q}");
            // Each step of the quantiser costs a share of the picture.
            let bits = weight * 0.1 * (before - f64::from(q)) * f64::exp2(-f64::from(q) / 6.0);
            self.quality.coded(Kind::Again, 0.0, 0.0, &plan, bits);
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
        assert!(seconds <= STEP_SEEN_SECONDS * 1.01, "{seconds} s in one go {case}");
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
fn a_cursor_beside_text_makes_no_dear_step_look_cheap() {
    let text = weight(46.0);
    for bitrate in [500_000, 1_000_000, 5_000_000] {
        let mut scene = Scene::with(30, bitrate);
        scene.code(Kind::Keyframe, text, 1.0);
        scene.rest(text);
        let mut longest: f64 = 0.0;
        for _ in 0..3000 {
            scene.time += 1.0 / 30.0;
            let before = scene.quality.last;
            let plan = scene.quality.plan(Kind::Next, 0.01, 0.0, scene.time);
            let finer = (before - f64::from(plan.quantiser)).max(0.0);
            let weight = text * (0.0001 + 0.1 * finer);
            let bits = weight * f64::exp2(-f64::from(plan.quantiser) / 6.0);
            let coarser = scene.quality.coarser(Kind::Next, 0.01, &plan, bits);
            assert_eq!(coarser, None, "it would be coded again as a soft keyframe");
            scene.quality.coded(Kind::Next, 0.01, 0.0, &plan, bits);
            longest = longest.max(bits / f64::from(bitrate));
        }
        let most = 3.1 * LAST_STEP_SECONDS;
        assert!(longest <= most, "{longest} s in one go at {bitrate} bit/s");
        let again = scene.rest(text).into_iter().fold(0.0, f64::max) / f64::from(bitrate);
        assert!(again <= 3.1 * STEP_SEEN_SECONDS, "{again} s at {bitrate} bit/s at rest");
    }
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
fn text_in_motion_is_soft_where_the_path_is_narrow_and_sharp_where_it_is_not() {
    for (bitrate, is_sharp) in [(600_000, false), (8_000_000, true)] {
        let mut scene = Scene::with(30, bitrate);
        scene.code(Kind::Keyframe, weight(50.0), 1.0);
        // What takes 100 kbit with the coarsest quantiser.
        let moving = 1e5 * f64::exp2(COARSEST / 6.0);
        let bits: Vec<_> = (0..300).map(|_| scene.code(Kind::Next, moving, 0.8).1).collect();
        assert_eq!(scene.quality.sharp == 1.0, is_sharp, "at {bitrate}");
        let mean = bits.iter().skip(100).sum::<f64>() / 200.0;
        assert!(mean < 1.05 * f64::from(bitrate) / 30.0, "{mean} bits at {bitrate}");
    }
}

#[test]
fn what_moves_becomes_sharp_bit_by_bit_once_the_path_is_wider() {
    let mut scene = Scene::with(30, 600_000);
    let moving = 1e5 * f64::exp2(COARSEST / 6.0);
    scene.code(Kind::Keyframe, moving, 1.0);
    for _ in 0..60 {
        scene.code(Kind::Next, moving, 0.8);
    }
    assert_eq!(scene.quality.sharp, 0.0);
    scene.quality.set_bitrate(10_000_000);
    let mut shares = vec![0.0];
    while shares.last() < Some(&1.0) && shares.len() < 120 {
        scene.code(Kind::Next, moving, 0.8);
        shares.push(scene.quality.sharp);
    }
    assert_eq!(shares.last(), Some(&1.0), "{shares:?}");
    assert!(shares.windows(2).all(|two| two[1] >= two[0]), "{shares:?}");
    assert!(shares.len() > 3, "not all at once: {shares:?}");
}

#[test]
fn what_moves_becomes_finer_without_a_large_picture() {
    let mut scene = Scene::new();
    let page = weight(50.0);
    scene.code(Kind::Keyframe, page, 1.0);
    let (mut last, mut largest, mut large) = (f64::INFINITY, 0.0, 0);
    for picture in 0..300 {
        scene.time += 1.0 / 30.0;
        let plan = scene.quality.plan(Kind::Next, 0.8, 0.0, scene.time);
        let quantiser = f64::from(plan.quantiser);
        // The encoder finds again what scrolls, and codes it anew where it is to be finer.
        let finer = (last - quantiser).clamp(0.0, 10.0);
        let weight = page * (0.02 + STEP_SHARE * 0.4 * finer);
        let bits = weight * f64::exp2(-quantiser / 6.0);
        scene.quality.coded(Kind::Next, 0.8, 0.0, &plan, bits);
        if picture > 5 {
            largest = f64::max(largest, bits);
            large += u32::from(bits > 1.2 * BUDGET);
        }
        last = quantiser;
    }
    assert!(last <= 26.0, "{last}");
    assert!(largest <= 2.0 * BUDGET, "{} pictures' worth", largest / BUDGET);
    assert!(large <= 300 / 15, "{large} large pictures");
}

/// A page of text at rest of which some is soft, with a clock on it: what the encoder does not find as it was is coded anew.
#[test]
fn what_rests_beside_a_clock_becomes_sharp_and_then_fine() {
    for bitrate in [1_000_000, 5_000_000] {
        let (mut scene, page, budget) =
            (Scene::with(30, bitrate), weight(46.0), f64::from(bitrate) / 30.0);
        scene.code(Kind::Keyframe, page, 1.0);
        let (mut soft, mut at, mut largest) = (0.9, COARSEST, 0.0);
        for _ in 0..600 {
            scene.time += 1.0 / 30.0;
            let plan = scene.quality.plan(Kind::Next, 0.001, soft, scene.time);
            let quantiser = f64::from(plan.quantiser);
            let finer = (at - quantiser).max(0.0) * STEP_SHARE * (1.0 - soft);
            let sharpened = plan.sharpens.min(soft);
            let bits = (1000.0 + page * (finer + sharpened)) * f64::exp2(-quantiser / 6.0);
            scene.quality.coded(Kind::Next, 0.001, sharpened, &plan, bits);
            (soft, at) = (soft - sharpened, at.min(quantiser));
            largest = f64::max(largest, bits);
            let again = scene.quality.coarser(Kind::Next, 0.001, &plan, bits);
            assert_eq!(again, None, "{bits} bits at {bitrate}");
        }
        assert!(soft == 0.0 && at < 24.0, "{soft} soft, quantiser {at} at {bitrate}");
        assert!(largest < 12.0 * budget, "{} pictures' worth at {bitrate}", largest / budget);
    }
}

/// A small video takes all that the path carries, or more, while the page beside it is soft since it was turned.
#[test]
fn what_rests_beside_a_dear_video_becomes_sharp() {
    let row = BLOCK as f64 / f64::from(SIZE.height);
    // The last one takes more than there is with the coarsest quantiser too.
    for (bitrate, times, slower) in [
        (600_000, 1.5, 1.5),
        (600_000, 4.0, 1.5),
        (1_000_000, 1.5, 1.5),
        (5_000_000, 1.5, 1.5),
        (600_000, 10.0, 8.0),
    ] {
        let (mut scene, page, budget) =
            (Scene::with(30, bitrate), weight(46.0), f64::from(bitrate) / 30.0);
        scene.code(Kind::Keyframe, page, 1.0);
        // So many times what there is, with the quantiser that text needs.
        let video = times * budget * f64::exp2(SHARPENING / 6.0);
        let (mut soft, mut turned, mut sharp_after): (f64, _, _) = (0.0, 0.0, None);
        for picture in 0..1000 {
            scene.time += (1.0_f64 / 30.0).max(scene.quality.next_after().as_secs_f64());
            if picture == 100 {
                (soft, turned) = (1.0, scene.time);
            }
            let plan = scene.quality.plan(Kind::Next, 0.04, soft, scene.time);
            let rows = (plan.sharpens / row).floor() * row;
            let sharpened = soft.min(if plan.sharpens > 0.0 { rows.max(row) } else { 0.0 });
            let bits = (video + page * sharpened) * f64::exp2(-f64::from(plan.quantiser) / 6.0);
            scene.quality.coded(Kind::Next, 0.04, sharpened, &plan, bits);
            soft -= sharpened;
            if picture >= 100 && soft < 1e-9 {
                sharp_after.get_or_insert(scene.time - turned);
            }
        }
        let case = format!("{times} times what there is at {bitrate}");
        // It may count on a part of the bit rate, of which what moves takes some.
        let due = page * f64::exp2(-SHARPENING / 6.0) / f64::from(bitrate) / SHARPENED_ALWAYS;
        let due = slower * due;
        assert!(sharp_after.is_some_and(|after| after < due), "{sharp_after:?} of {due} s, {case}");
        let most = if times > 4.0 { 1.5 } else { 1.1 };
        assert!(scene.time < most * 1000.0 / 30.0, "{} s for all pictures, {case}", scene.time);
    }
}

/// What is typed beside a soft page waits no longer for its rows than pictures that follow each other may take.
#[test]
fn what_is_typed_beside_a_soft_page_is_not_held_up() {
    let row = BLOCK as f64 / f64::from(SIZE.height);
    for bitrate in [150_000, 300_000, 1_000_000, 5_000_000] {
        let (mut scene, page) = (Scene::with(30, bitrate), weight(46.0));
        scene.code(Kind::Keyframe, page, 1.0);
        let mut all = 0.0;
        for _ in 0..100 {
            scene.time += 0.2;
            let plan = scene.quality.plan(Kind::Next, 0.001, 0.9, scene.time);
            let sharpened = if plan.sharpens > 0.0 { plan.sharpens.max(row) } else { 0.0 };
            let bits = (1000.0 + page * sharpened) * f64::exp2(-f64::from(plan.quantiser) / 6.0);
            scene.quality.coded(Kind::Next, 0.001, sharpened, &plan, bits);
            all += sharpened;
            let seconds = bits / f64::from(bitrate);
            assert!(seconds <= 1.2 * SHARPENING_SECONDS, "{seconds} s at {bitrate} bit/s");
        }
        assert!(all > 0.5 || bitrate < 300_000, "{all} sharpened at {bitrate} bit/s");
    }
}

#[test]
fn soft_pictures_become_sharp_where_that_costs_little_more() {
    let mut scene = Scene::with(30, 1_000_000);
    // A film: sharp it takes more than there is at first, and half more than soft later on.
    for _ in 0..20 {
        scene.code(Kind::Next, weight(60.0), 0.9);
    }
    assert_eq!(scene.quality.sharp, 0.0);
    let film = 1e6 / 30.0 * f64::exp2(43.0 / 6.0);
    for _ in 0..600 {
        scene.time += 1.0 / 30.0;
        let plan = scene.quality.plan(Kind::Next, 0.9, 0.0, scene.time);
        let weight = film * (plan.sharp + (1.0 - plan.sharp) / 1.5);
        let bits = weight * f64::exp2(-f64::from(plan.quantiser) / 6.0);
        scene.quality.coded(Kind::Next, 0.9, 0.0, &plan, bits);
    }
    assert_eq!(scene.quality.sharp, 1.0);
}

#[test]
fn the_next_picture_waits_for_one_that_was_too_dear() {
    let mut scene = Scene::new();
    scene.code(Kind::Keyframe, weight(20.0), 1.0);
    assert_eq!(scene.quality.next_after(), Duration::ZERO);
    let plan = scene.quality.plan(Kind::Next, 1.0, 0.0, scene.time);
    scene.quality.coded(Kind::Next, 1.0, 0.0, &plan, f64::from(BITRATE) / 2.0);
    let wait = scene.quality.next_after().as_secs_f64();
    assert!((0.35..0.52).contains(&wait), "{wait} s after half a second's worth of bits");
}

#[test]
fn what_is_typed_after_a_rest_is_not_coded_like_the_motion_before_it() {
    let mut scene = Scene::with(30, 1_000_000);
    let moving = 1e5 * f64::exp2(COARSEST / 6.0);
    scene.code(Kind::Keyframe, moving, 1.0);
    for _ in 0..60 {
        scene.code(Kind::Next, moving, 0.8);
    }
    assert_eq!(scene.quality.sharp, 0.0);
    scene.rest(moving);
    scene.code(Kind::Next, 1000.0, 0.001);
    assert_eq!(scene.quality.sharp, 1.0);
    assert!(scene.quality.last < 30.0, "{}", scene.quality.last);
}

#[test]
fn what_is_owed_takes_no_longer_when_the_bit_rate_falls() {
    let mut scene = Scene::with(30, 20_000_000);
    let plan = scene.quality.plan(Kind::Keyframe, 1.0, 0.0, 0.0);
    scene.quality.coded(Kind::Keyframe, 1.0, 0.0, &plan, 2_500_000.0);
    let before = scene.quality.next_after();
    scene.quality.set_bitrate(300_000);
    assert!(scene.quality.next_after().abs_diff(before) < Duration::from_millis(1));
}

#[test]
fn no_history_leads_out_of_the_range() {
    let mut quality = Quality::new(Size::new(16, 16), 1, 10_000);
    let mut odd = 1u32;
    for _ in 0..10_000 {
        odd = odd.wrapping_mul(0x9e37_79b9) ^ odd >> 7;
        let kind = [Kind::Next, Kind::Again, Kind::Keyframe][odd as usize % 3];
        let change = f64::from(odd % 100) / 99.0;
        let soft = f64::from(odd >> 7 & 1) * change;
        let plan = quality.plan(kind, change, soft, f64::from(odd >> 10));
        assert!((14..=51).contains(&plan.quantiser) && (0.0..=1.0).contains(&plan.sharpens));
        quality.coded(kind, change, plan.sharpens * soft, &plan, f64::from(odd >> 4));
        assert!(quality.next_after() <= Duration::from_secs(10));
        assert!(quality.again_after(soft > 0.0) <= Some(Duration::from_secs(10)));
    }
}
