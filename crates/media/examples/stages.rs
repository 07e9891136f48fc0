//! What each stage costs on this machine: median and 95th percentile, in milliseconds a picture.
//!
//! ```text
//! cargo run --release -p lllsi-media --example stages            # test card, 720p and 1080p
//! cargo run --release -p lllsi-media --example stages -- screen  # the screen, at its size
//! ```
#![allow(clippy::print_stdout)]

use lllsi_media::capture::{self, Source};
use lllsi_media::picture::{I420, Size};
use lllsi_media::render::{self, Display, Scene};
use lllsi_media::{Error, convert, decode, encode};
use std::time::{Duration, Instant};

const PICTURES: u32 = 150;

/// The times of one stage.
#[derive(Default)]
struct Stage(Vec<Duration>);

impl Stage {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.0.push(started.elapsed());
        done
    }

    fn print(mut self, name: &str) {
        self.0.sort_unstable();
        let at = |part: usize| self.0[self.0.len() * part / 100].as_secs_f64() * 1e3;
        println!("  {name:8} {:6.2} {:6.2}", at(50), at(95));
    }
}

fn main() -> Result<(), Error> {
    if std::env::args().nth(1).as_deref() == Some("screen") {
        return measure(capture::screen(None)?);
    }
    measure(capture::test_card(Size::new(1280, 720), 30))?;
    measure(capture::test_card(Size::new(1920, 1080), 30))
}

fn measure(mut source: Box<dyn Source>) -> Result<(), Error> {
    println!("{}", source.describe());
    let [mut capture, mut convert, mut encode, mut decode, mut render]: [Stage; 5] =
        Default::default();
    let (mut picture, mut shown) = (I420::default(), I420::default());
    let (mut coded, mut largest, mut total, mut worst) = (Vec::new(), 0, 0, f64::INFINITY);

    let size = source.size().even();
    let bitrate = (size.pixels() as f64 * 2.6) as u32;
    let mut encoder = encode::h264(encode::Config { size, fps: 30, bitrate })?;
    let mut decoder = decode::h264()?;
    let mut display = render::memory(size);
    let started = Instant::now();
    for _ in 0..PICTURES {
        let now = Instant::now();
        let Some(grab) = source.next(now, now + Duration::from_secs(5))? else {
            println!("  nothing moves on the screen");
            break;
        };
        capture.0.push(grab.grabbed_at.elapsed());
        convert.time(|| convert::to_i420(grab.picture, grab.rows, &mut picture))?;
        encode
            .time(|| encoder.encode(&picture, encode::Kind::Next, started.elapsed(), &mut coded))?;
        decode.time(|| decoder.decode(&coded, &mut shown))?;
        render.time(|| display.show(&Scene { picture: Some(&shown), ..Scene::default() }))?;
        (largest, total) = (coded.len().max(largest), total + coded.len());
        worst = picture.luma_psnr(&shown).min(worst);
    }
    let pictures = capture.0.len();
    capture.print("capture");
    convert.print("convert");
    encode.print("encode");
    decode.print("decode");
    render.print("render");
    println!(
        "  {} bytes a picture, {largest} at most; luma at least {worst:.1} dB",
        total / pictures
    );
    Ok(())
}
