use super::*;
use crate::Error;
use crate::encode::{self, Kind};
use crate::picture::Size;
use proptest::prelude::*;
use std::time::Duration;

const SIZE: Size = Size::new(160, 96);

/// A keyframe and the pictures after it: a bright square that wanders.
fn stream(count: usize) -> Vec<Vec<u8>> {
    let config = encode::Config { size: SIZE, fps: 30, bitrate: 300_000 };
    let mut encoder = encode::h264(config).unwrap();
    let encode = |n| {
        let mut picture = I420::new(SIZE);
        let [luma, ..] = picture.planes_mut();
        for row in luma.chunks_exact_mut(160).skip(n).take(40) {
            row[n..n + 40].fill(200);
        }
        let mut coded = Vec::new();
        encoder
            .encode(&picture, Kind::Next, Duration::from_millis(33 * n as u64), &mut coded)
            .unwrap();
        coded
    };
    (0..count).map(encode).collect()
}

fn damaged(answer: &Result<bool, Error>) -> bool {
    matches!(answer, Err(Error::Damaged { .. } | Error::NeedsKeyframe))
}

#[test]
fn each_access_unit_gives_its_picture_at_once() {
    let mut decoder = h264().unwrap();
    let mut out = I420::default();
    for (n, unit) in stream(8).iter().enumerate() {
        assert!(decoder.decode(unit, &mut out).unwrap());
        let luma = |x: usize| out.planes()[0][(n + 20) * 160 + x];
        assert_eq!(out.size(), SIZE);
        assert!(luma(n + 4) > 180 && luma(n + 46) < 40, "picture {n} is not shown yet");
    }
}

#[test]
fn other_profiles_are_shown_at_once_too() {
    let mut decoder = h264().unwrap();
    let mut units = stream(5);
    units[0][5] = 77; // Main; the rest of Baseline's parameter sets is valid there
    for unit in units {
        assert!(decoder.decode(&unit, &mut I420::default()).unwrap());
    }
}

#[test]
fn parameter_sets_may_come_on_their_own() {
    let unit = &stream(1)[0];
    let slice = unit.windows(5).position(|bytes| bytes == [0, 0, 0, 1, 0x65]).unwrap();
    let (sets, slice) = unit.split_at(slice);
    let mut decoder = h264().unwrap();
    let mut out = I420::default();
    assert!(!decoder.decode(sets, &mut out).unwrap());
    assert!(decoder.decode(slice, &mut out).unwrap());
}

#[test]
fn nothing_is_shown_before_a_keyframe() {
    let units = stream(3);
    let mut decoder = h264().unwrap();
    let mut out = I420::default();
    let early = decoder.decode(&units[1], &mut out);
    assert!(matches!(early, Err(Error::NeedsKeyframe)), "{early:?}");
    assert!(!decoder.decode(&[], &mut out).unwrap());
    assert!(decoder.decode(&units[0], &mut out).unwrap());
    assert!(decoder.decode(&units[1], &mut out).unwrap());
}

#[test]
fn a_lost_picture_is_noticed_and_a_keyframe_heals() {
    let units = stream(6);
    let mut decoder = h264().unwrap();
    let mut out = I420::default();
    decoder.decode(&units[0], &mut out).unwrap();
    decoder.decode(&units[1], &mut out).unwrap();
    for unit in &units[3..] {
        let answer = decoder.decode(unit, &mut out);
        assert!(damaged(&answer), "{answer:?}");
    }
    for unit in &units {
        assert!(decoder.decode(unit, &mut out).unwrap());
    }
}

#[test]
fn truncated_pictures_are_errors() {
    let units = stream(2);
    let mut out = I420::default();
    for keep in (5..units[0].len()).step_by(7) {
        let mut decoder = h264().unwrap();
        let answer = decoder.decode(&units[0][..keep], &mut out);
        // Cut within the parameter sets, there is no picture to miss yet.
        assert!(!matches!(answer, Ok(true)), "{keep}: {answer:?}");
        assert!(decoder.decode(&units[0], &mut out).unwrap(), "healed after {keep}");
        assert!(damaged(&decoder.decode(&units[1][..units[1].len() / 2], &mut out)));
        assert!(damaged(&decoder.decode(&units[1], &mut out)), "went on without a keyframe");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_is_an_error_and_never_a_picture(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut decoder = h264().unwrap();
        let mut out = I420::default();
        for start in [&[][..], &[0, 0, 0, 1], &[0, 0, 1, 0x67], &[0, 0, 0, 1, 0x65]] {
            let unit = [start, &bytes].concat();
            let answer = decoder.decode(&unit, &mut out);
            prop_assert!(!matches!(answer, Ok(true)));
        }
    }

    #[test]
    fn flipped_bits_never_panic_and_a_keyframe_heals(
        flips in prop::collection::vec((0usize..4, any::<prop::sample::Index>(), 0u32..8), 1..8),
    ) {
        let mut units = stream(4);
        for (unit, byte, bit) in flips {
            let at = byte.index(units[unit].len());
            units[unit][at] ^= 1 << bit;
        }
        let mut decoder = h264().unwrap();
        let mut out = I420::default();
        for unit in &units {
            let _ = decoder.decode(unit, &mut out);
        }
        prop_assert!(decoder.decode(&stream(1)[0], &mut out).unwrap());
        prop_assert_eq!(out.size(), SIZE);
    }
}
