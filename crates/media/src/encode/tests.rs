use super::*;
use crate::capture::test_card;
use crate::{convert, decode};
use std::time::Instant;

const HD: Size = Size::new(1280, 720);

/// A running test card and the stages behind it.
struct Bench {
    encoder: Box<dyn Encoder>,
    decoder: Box<dyn decode::Decoder>,
    coded: Vec<u8>,
    shown: I420,
    frame: u32,
}

impl Bench {
    fn new(size: Size, bitrate: u32) -> Self {
        Self {
            encoder: h264(Config { size, fps: 30, bitrate }).unwrap(),
            decoder: decode::h264().unwrap(),
            coded: Vec::new(),
            shown: I420::default(),
            frame: 0,
        }
    }

    /// Sends one picture through.
    fn send(&mut self, picture: &I420, kind: Kind) -> Encoded {
        let timestamp = Duration::from_secs(1) * self.frame / 30;
        self.frame += 1;
        let encoded = self.encoder.encode(picture, kind, timestamp, &mut self.coded).unwrap();
        assert!(!self.coded.is_empty(), "skipped a picture");
        assert!(self.decoder.decode(&self.coded, &mut self.shown).unwrap());
        encoded
    }
}

/// Some pictures of the test card in motion.
fn pictures(size: Size, count: usize) -> Vec<I420> {
    let mut card = test_card(size, 120);
    let grab = |_| {
        let now = Instant::now();
        let grab = card.next(now, now + Duration::from_secs(5)).unwrap().expect("it moves");
        let mut picture = I420::default();
        convert::to_i420(grab.picture, grab.rows, &mut picture).unwrap();
        picture
    };
    (0..count).map(grab).collect()
}

/// The types of the NAL units in an access unit.
fn units(annex_b: &[u8]) -> Vec<u8> {
    let starts = annex_b.windows(4).filter(|bytes| bytes[..3] == [0, 0, 1]);
    starts.map(|bytes| bytes[3] & 0x1f).collect()
}

#[test]
fn the_moving_test_card_arrives_well() {
    let mut bench = Bench::new(HD, 5_000_000);
    for picture in pictures(HD, 20) {
        bench.send(&picture, Kind::Next);
        let quality = picture.luma_psnr(&bench.shown);
        assert!(quality >= 35.0, "{quality} dB");
    }
}

#[test]
fn keyframes_come_when_asked_and_only_then() {
    let size = Size::new(320, 240);
    let mut bench = Bench::new(size, 500_000);
    let card = pictures(size, 40);
    let black = I420::new(size);
    for (at, picture) in card.iter().enumerate() {
        let asked = at == 25;
        // Every seventh picture is black: a hard cut must not bring a keyframe either.
        let picture = if at % 7 == 3 { &black } else { picture };
        let kind = if asked { Kind::Keyframe } else { Kind::Next };
        let keyframe = bench.send(picture, kind).keyframe;
        assert_eq!(keyframe, asked || at == 0, "picture {at}");
        let expected: &[u8] = if keyframe { &[7, 8, 5] } else { &[1] };
        assert_eq!(units(&bench.coded), expected, "picture {at}");
    }
}

#[test]
fn parameter_sets_stay_the_same_when_the_rate_changes() {
    let size = Size::new(320, 240);
    let mut bench = Bench::new(size, 500_000);
    let picture = &pictures(size, 1)[0];
    bench.send(picture, Kind::Keyframe);
    let slice = |coded: &[u8]| coded.windows(4).position(|b| b == [0, 0, 1, 0x65]).unwrap();
    let sets = bench.coded[..slice(&bench.coded)].to_vec();
    assert_eq!(sets[4..7], [0x67, 66, 0xc0], "Constrained Baseline");
    bench.encoder.set_bitrate(30_000_000);
    bench.send(picture, Kind::Next);
    bench.send(picture, Kind::Keyframe);
    assert_eq!(bench.coded[..slice(&bench.coded)], sets);
}

#[test]
fn a_picture_at_rest_becomes_nearly_lossless() {
    let mut bench = Bench::new(HD, 2_500_000);
    let picture = &pictures(HD, 1)[0];
    bench.send(picture, Kind::Next);
    let mut quality = picture.luma_psnr(&bench.shown);
    let mut bytes = 0;
    let refined = (0..20).take_while(|_| {
        let goes_on = bench.send(picture, Kind::Again).again_after.is_some();
        bytes += bench.coded.len();
        goes_on
    });
    let refined = refined.count();
    assert!(refined < 20, "it is never fine enough");
    assert!(quality < 46.0, "{quality} dB already");
    quality = picture.luma_psnr(&bench.shown);
    assert!(quality >= 46.0, "{quality} dB");
    bench.send(picture, Kind::Again);
    // In proportion: OpenH264 rounds in another way with its assembly.
    let last = bench.coded.len();
    assert!(8 * last < bytes, "{last} bytes for nothing new, {bytes} before");
}

#[test]
fn what_was_soft_on_a_narrow_path_becomes_sharp_at_rest() {
    /// Letters, as far as an encoder can tell them.
    fn text(size: Size) -> I420 {
        let mut picture = I420::new(size);
        for (at, pixel) in picture.planes_mut()[0].iter_mut().enumerate() {
            let (x, y) = (at as u32 % size.width / 2, at as u32 / size.width / 2);
            let is_ink = (x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b))
                .wrapping_mul(0x2c1b_3c6d)
                >> 30
                == 0;
            *pixel = if y % 6 < 4 && is_ink { 16 } else { 235 };
        }
        picture
    }
    let mut bench = Bench::new(HD, 1_000_000);
    let picture = text(HD);
    bench.send(&picture, Kind::Next);
    assert!(bench.coded.len() < 30_000, "{} bytes at first", bench.coded.len());
    let mut pictures = 0;
    while picture.luma_psnr(&bench.shown) < 30.0 {
        // As long as the path needs.
        let encoded = bench.send(&picture, Kind::Again);
        assert!(encoded.again_after.is_some(), "{} dB", picture.luma_psnr(&bench.shown));
        bench.frame += (encoded.again_after.unwrap().as_secs_f64() * 30.0) as u32;
        assert!(bench.coded.len() < 60_000, "{} bytes at once", bench.coded.len());
        pictures += 1;
    }
    assert!(pictures > 3, "it was not soft");
}

#[test]
fn the_bit_rate_can_change_on_the_way() {
    /// Noise, which costs whatever it may.
    fn noise(size: Size, seed: u32) -> I420 {
        let mut picture = I420::new(size);
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        for byte in picture.planes_mut()[0].iter_mut() {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            *byte = 64 + (state >> 25) as u8;
        }
        picture
    }
    let size = Size::new(320, 240);
    let mut bench = Bench::new(size, 12_000_000);
    for bitrate in [12_000_000, 4_000_000, 12_000_000] {
        bench.encoder.set_bitrate(bitrate);
        let mut bytes = 0;
        for n in 0..30 {
            bench.send(&noise(size, n), Kind::Next);
            // The first pictures find the new rate, the last ten keep it.
            bytes += if n >= 20 { bench.coded.len() } else { 0 };
        }
        let due = bitrate as usize / 8 / 30 * 10;
        // A step of the quantiser is an eighth of the bits.
        let range = due * 7 / 8..due * 17 / 16;
        assert!(range.contains(&bytes), "{bytes} bytes, {due} were due");
    }
    bench.encoder.set_bitrate(0); // raised to what is possible
    bench.send(&noise(size, 0), Kind::Next);
}

#[test]
fn impossible_configurations_are_refused() {
    let config = |width, height, fps| Config { size: Size::new(width, height), fps, bitrate: 1 };
    for (config, word) in [
        (config(321, 240, 30), "even"),
        (config(14, 240, 30), "16"),
        (config(8192, 240, 30), "4096"),
        (config(320, 240, 0), "frames"),
        (config(320, 240, 61), "60"),
    ] {
        let error = h264(config).err().expect("refused").to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(h264(config(16, 16, 60)).is_ok());
}

#[test]
fn another_size_needs_another_encoder() {
    let mut bench = Bench::new(Size::new(320, 240), 500_000);
    let picture = I420::new(Size::new(240, 320));
    let mut out = vec![1];
    let refused = bench.encoder.encode(&picture, Kind::Next, Duration::ZERO, &mut out);
    assert!(matches!(refused, Err(Error::SizeChanged { .. })) && out.is_empty());
}

/// A page of what looks like text.
fn page(size: Size, seed: u32) -> I420 {
    let mut picture = I420::new(size);
    let (width, mut random) = (size.width as usize, seed);
    for plane in &mut picture.planes_mut()[1..] {
        plane.fill(128);
    }
    for (row, pixels) in picture.planes_mut()[0].chunks_mut(width).enumerate() {
        for (at, pixel) in pixels.iter_mut().enumerate() {
            random = random.wrapping_mul(0x9e37_79b9).wrapping_add(row as u32) ^ random >> 9;
            let is_ink = row % 13 < 9 && at % 6 < 5 && random >> 29 < 3;
            *pixel = if is_ink { 40 } else { 235 };
        }
    }
    picture
}

/// OpenH264 leaves a block as it was if what is wrong with it is a little less than before, as the loop filter makes it.
#[test]
fn a_page_that_changes_a_little_while_it_is_coarse_becomes_sharp() {
    let size = Size::new(640, 360);
    let mut bench = Bench::new(size, 1_500_000);
    let [first, mut second] = [1, 2].map(|seed| page(size, seed));
    let rest = |bench: &mut Bench, picture: &I420, kind| {
        let mut again = bench.send(picture, kind).again_after;
        while again.is_some() {
            // As long as that takes.
            bench.frame += 30;
            again = bench.send(picture, Kind::Again).again_after;
        }
    };
    rest(&mut bench, &first, Kind::Keyframe);
    bench.frame += 60;
    bench.send(&second, Kind::Next);
    bench.frame += 9;
    second.planes_mut()[0][..200].fill(90);
    rest(&mut bench, &second, Kind::Next);
    let quality = second.luma_psnr(&bench.shown);
    assert!(quality > 42.0, "{quality} dB");
}

/// A video of noise beside it takes all that the path carries.
#[test]
fn a_page_that_was_turned_beside_a_video_becomes_sharp() {
    const VIDEO: usize = 160;
    let mut bench = Bench::new(HD, 1_000_000);
    let width = HD.width as usize;
    let mut noise = 1_u32;
    let mut paint = |picture: &mut I420| {
        for row in picture.planes_mut()[0].chunks_mut(width).skip(500).take(VIDEO) {
            for pixel in &mut row[1000..1000 + VIDEO] {
                noise = noise.wrapping_mul(0x9e37_79b9) ^ noise >> 15;
                *pixel = 64 + (noise >> 25) as u8;
            }
        }
    };
    let [mut first, mut second] = [1, 2].map(|seed| page(HD, seed));
    let mut encoded = bench.send(&first, Kind::Keyframe);
    let (mut shown, mut pictures) = (0.0, 0);
    while shown < 20.0 {
        let picture = if shown < 5.0 { &mut first } else { &mut second };
        paint(picture);
        // As long as the path needs.
        let waits = encoded.next_after.as_secs_f64() * 30.0;
        bench.frame += (waits.ceil() as u32).saturating_sub(1);
        encoded = bench.send(picture, Kind::Next);
        (shown, pictures) = (f64::from(bench.frame) / 30.0, pictures + 1);
    }
    // But for the video, which is painted alike in both.
    for picture in [&mut second, &mut bench.shown] {
        for row in picture.planes_mut()[0].chunks_mut(width).skip(500).take(VIDEO) {
            row[1000..1000 + VIDEO].fill(0);
        }
    }
    let quality = second.luma_psnr(&bench.shown);
    // Smooth it has 12.
    assert!(quality > 24.0, "{quality} dB");
    assert!(pictures > 300, "{pictures} pictures in 20 s");
}
