//! A running stream does not allocate: not in capture, conversion, encoder, decoder or display.
//! `crates/cli/tests/screen_allocations.rs` shows the same with a real screen and a real window.

use lllsi_lab::{Allocations, Counting};
use lllsi_media::picture::{I420, Size};
use lllsi_media::render::{self, Display, Scene};
use lllsi_media::{capture, convert, decode, encode};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZE: Size = Size::new(640, 360);
/// What the first pictures need is kept for the others.
const WARM_UP: u64 = 40;
const PICTURES: u64 = 80;

/// What each stage has allocated, by name.
#[derive(Default)]
struct Stages(Vec<(&'static str, u64)>);

impl Stages {
    fn time<T>(&mut self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let before = Allocations::so_far();
        let done = work();
        let spent = Allocations::since(before).count;
        match self.0.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, sum)) => *sum += spent,
            None => self.0.push((stage, spent)),
        }
        done
    }
}

/// Sends pictures of the test card through all stages, to a display of this size.
fn run(window: Size) -> Stages {
    let mut source = capture::test_card(SIZE, 500);
    let config = encode::Config { size: SIZE, fps: 30, bitrate: 1_000_000 };
    let mut encoder = encode::h264(config).expect("an encoder");
    let mut decoder = decode::h264().expect("a decoder");
    let mut display = render::memory(window);
    let (mut picture, mut shown, mut coded) = (I420::default(), I420::default(), Vec::new());
    let mut stages = Stages::default();
    for n in 0..PICTURES {
        if n == WARM_UP {
            stages.0.iter_mut().for_each(|(_, sum)| *sum = 0);
        }
        let now = Instant::now();
        let grab = stages.time("capture", || source.next(now, now + Duration::from_secs(5)));
        let grab = grab.expect("a card").expect("it moves");
        stages.time("convert", || {
            convert::to_i420(grab.picture, grab.rows.clone(), &mut picture).expect("it fits");
            convert::sharpen(&mut picture, grab.rows);
        });
        let kind = if n % 2 == 0 { encode::Kind::Next } else { encode::Kind::Again };
        let time = Duration::from_millis(33 * n);
        stages.time("encode", || encoder.encode(&picture, kind, time, &mut coded)).expect("coded");
        let decoded = stages.time("decode", || decoder.decode(&coded, &mut shown));
        assert!(decoded.expect("it is whole"));
        let scene = Scene { picture: Some(&shown), panel: "30 fps\n12 ms", notice: "Hello" };
        stages.time("present", || display.show(&scene)).expect("it is shown");
    }
    stages
}

#[test]
fn a_running_stream_does_not_allocate() {
    let none: Vec<_> =
        ["capture", "convert", "encode", "decode", "present"].map(|stage| (stage, 0)).into();
    assert_eq!(run(SIZE).0, none);
    // In a window of another size only the scaler allocates: it makes its tables anew each time.
    let scaled = run(Size::new(500, 400)).0;
    assert_eq!(scaled[..4], none[..4]);
}
