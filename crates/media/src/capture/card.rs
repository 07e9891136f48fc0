//! The test card: a stand-in for a screen that nobody can take for one.

use super::glyphs::{self, fill};
use super::{Grab, Source};
use crate::Error;
use crate::picture::{Bgra, BgraView, Size};
use std::fmt::Write;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const WORDS: &str = "LLLSI TEST CARD - NOT A SCREEN";
/// As long as every text of the clock.
const CLOCK: &str = "00:00:00.000 UTC";

const WHITE: [u8; 4] = [255; 4];
const INK: [u8; 4] = [24, 18, 14, 255];
/// The colour bars: white, yellow, cyan, green, magenta, red, blue at 75 %.
const BARS: [[u8; 4]; 7] = [
    [191, 191, 191, 255],
    [0, 191, 191, 255],
    [191, 191, 0, 255],
    [0, 191, 0, 255],
    [191, 0, 191, 255],
    [0, 0, 191, 255],
    [191, 0, 0, 255],
];

/// A painted background, and what moves over it.
pub(super) struct TestCard {
    /// The last picture; only its moving parts are painted again.
    canvas: Bgra,
    /// Its time as text, kept for its memory.
    clock: String,
    fps: u32,
    started: Instant,
    /// The number of the next picture; it is due at `started + frame / fps`.
    frame: u64,
}

impl TestCard {
    pub(super) fn new(size: Size, fps: u32) -> Self {
        let canvas = background(size);
        Self { canvas, clock: String::new(), fps: fps.max(1), started: Instant::now(), frame: 0 }
    }

    fn due(&self, frame: u64) -> Instant {
        let fps = u64::from(self.fps);
        let nanos = frame % fps * 1_000_000_000 / fps;
        self.started + Duration::from_secs(frame / fps) + Duration::from_nanos(nanos)
    }

    /// The number of the latest picture that is due by `now`.
    fn latest(&self, now: Instant) -> u64 {
        (now.duration_since(self.started).as_nanos() * u128::from(self.fps) / 1_000_000_000) as u64
    }

    /// The rows of clock and block.
    fn moving_rows(&self) -> Range<u32> {
        let layout = Layout::new(self.size());
        let bottom = (layout.track + layout.block).min(self.size().height);
        layout.clock.1.min(bottom)..bottom
    }

    /// Paints picture number `frame` with the clock at `time` (since midnight).
    fn paint(&mut self, frame: u64, time: Duration) {
        let size = self.canvas.size();
        let layout = Layout::new(size);
        let text = glyphs::line(CLOCK.len() as u32, layout.dot);
        fill(&mut self.canvas, layout.clock, text, INK);
        self.clock.clear();
        write_clock(&mut self.clock, time);
        glyphs::write(&mut self.canvas, &self.clock, layout.clock, layout.dot, WHITE);

        let (track, block) = (layout.track, layout.block);
        fill(&mut self.canvas, (0, track), Size::new(size.width, block), INK);
        // Once across in four seconds, and at least by a pixel from each picture to the next;
        // in whole steps, or two pictures around a turn could be the same.
        let way = u64::from(size.width.saturating_sub(block)).max(1);
        let step = (way / (4 * u64::from(self.fps))).max(1);
        let way = way - way % step;
        let at = frame * step % (2 * way);
        let x = at.min(2 * way - at) as u32; // there and back
        fill(&mut self.canvas, (x, track), Size::new(block, block), BARS[frame as usize / 7 % 7]);
    }
}

impl Source for TestCard {
    fn size(&self) -> Size {
        self.canvas.size()
    }

    fn describe(&self) -> String {
        format!("test card, {}, {} pictures a second", self.size(), self.fps)
    }

    fn next(&mut self, earliest: Instant, deadline: Instant) -> Result<Option<Grab<'_>>, Error> {
        let due = self.due(self.frame);
        let at = due.max(earliest);
        std::thread::sleep(at.min(deadline).saturating_duration_since(Instant::now()));
        if at > deadline {
            return Ok(None);
        }
        let grabbed_at = Instant::now();
        let frame = self.frame.max(self.latest(grabbed_at));
        let rows = if self.frame == 0 { 0..self.size().height } else { self.moving_rows() };
        self.paint(frame, time_of_day());
        self.frame = frame + 1;
        let changed_at = self.due(frame);
        Ok(Some(Grab { picture: self.canvas.view(), rows, changed_at, grabbed_at }))
    }

    fn last(&self) -> BgraView<'_> {
        if self.frame == 0 { BgraView::default() } else { self.canvas.view() }
    }
}

/// Where things are, in pixels.
struct Layout {
    /// The side of a letter's dot.
    dot: u32,
    words: (u32, u32),
    clock: (u32, u32),
    /// The top of the strip in which the block runs, and the block's side.
    track: u32,
    block: u32,
}

impl Layout {
    fn new(size: Size) -> Self {
        let (w, h) = (size.width, size.height);
        let dot = (w * 3 / 4 / glyphs::line(WORDS.len() as u32, 1).width).max(1);
        let centred = |text: &str| w.saturating_sub(glyphs::line(text.len() as u32, dot).width) / 2;
        Self {
            dot,
            words: (centred(WORDS), h * 28 / 100),
            clock: (centred(CLOCK), h * 47 / 100),
            track: h * 63 / 100,
            block: (h / 12).max(2),
        }
    }
}

/// Bars above, a dark field for what is written and moves, a ramp of greys below.
fn background(size: Size) -> Bgra {
    let mut picture = Bgra::new(size);
    let (w, h) = (size.width, size.height);
    let bars = h * 20 / 100;
    let ramp = h * 80 / 100;
    fill(&mut picture, (0, bars), Size::new(w, ramp - bars), INK);
    for (bar, colour) in (0..).zip(BARS) {
        let left = w * bar / 7;
        fill(&mut picture, (left, 0), Size::new(w * (bar + 1) / 7 - left, bars), colour);
    }
    for x in 0..w {
        let grey = (u64::from(x) * 255 / u64::from(w)) as u8;
        let line = Size::new(1, (h - ramp) / 2);
        fill(&mut picture, (x, ramp), line, [grey, grey, grey, 255]);
        let tint = [grey, 128, 255 - grey, 255];
        fill(&mut picture, (x, ramp + line.height), Size::new(1, h), tint);
    }
    let layout = Layout::new(size);
    glyphs::write(&mut picture, WORDS, layout.words, layout.dot, WHITE);
    picture
}

/// Time since midnight UTC.
fn time_of_day() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::new(now.as_secs() % 86_400, now.subsec_nanos())
}

fn write_clock(into: &mut String, time: Duration) {
    let seconds = time.as_secs();
    let (h, m, s, ms) = (seconds / 3600, seconds / 60 % 60, seconds % 60, time.subsec_millis());
    write!(into, "{h:02}:{m:02}:{s:02}.{ms:03} UTC").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(source: &mut TestCard) -> Grab<'_> {
        let now = Instant::now();
        source.next(now, now + Duration::from_secs(5)).unwrap().expect("the card moves")
    }

    #[test]
    fn the_clock_reads_as_a_clock() {
        let time = Duration::from_millis(((13 * 60 + 5) * 60 + 9) * 1000 + 42);
        let mut text = String::new();
        write_clock(&mut text, time);
        assert_eq!(text, "13:05:09.042 UTC");
        assert_eq!(text.len(), CLOCK.len());
    }

    #[test]
    fn every_picture_differs_even_when_the_clock_stands_still() {
        for size in [Size::new(320, 180), Size::new(64, 64), Size::new(2, 2), Size::new(1, 1)] {
            let mut card = TestCard::new(size, 30);
            let mut before = card.canvas.clone();
            for frame in 0..300 {
                card.paint(frame, Duration::ZERO);
                assert!(card.canvas != before || size.width < 16, "{size}: {frame}");
                before.clone_from(&card.canvas);
            }
        }
    }

    #[test]
    fn pictures_come_at_their_pace() {
        let mut card = TestCard::new(Size::new(64, 48), 100);
        let grab = next(&mut card);
        assert_eq!((grab.picture.size(), grab.rows), (Size::new(64, 48), 0..48));
        let first = grab.changed_at;
        for _ in 0..10 {
            let grab = next(&mut card);
            assert!(grab.grabbed_at >= grab.changed_at);
            let whole = (grab.changed_at - first).as_nanos() % 10_000_000;
            assert_eq!(whole, 0, "off the schedule");
        }
        assert!(first.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn a_late_caller_gets_the_present_picture_and_not_the_missed_ones() {
        let mut card = TestCard::new(Size::new(64, 48), 100);
        next(&mut card);
        std::thread::sleep(Duration::from_millis(55));
        next(&mut card);
        assert!(card.frame >= 6, "{}", card.frame);
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let mut card = TestCard::new(Size::new(64, 48), 1);
        next(&mut card);
        let now = Instant::now();
        let deadline = now + Duration::from_millis(5);
        assert!(card.next(now, deadline).unwrap().is_none());
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn what_is_outside_the_rows_named_is_as_before() {
        let mut card = TestCard::new(Size::new(320, 180), 100);
        let mut before = next(&mut card).picture.data().to_vec();
        for _ in 0..20 {
            let grab = next(&mut card);
            let (stride, data) = (grab.picture.stride(), grab.picture.data());
            for (y, (row, was)) in data.chunks(stride).zip(before.chunks(stride)).enumerate() {
                assert!(grab.rows.contains(&(y as u32)) || row == was, "row {y} changed");
            }
            before = data.to_vec();
        }
    }

    #[test]
    fn a_caller_may_put_off_the_next_picture() {
        let mut card = TestCard::new(Size::new(64, 48), 100);
        next(&mut card);
        let earliest = Instant::now() + Duration::from_millis(30);
        let grab = card.next(earliest, earliest + Duration::from_secs(5)).unwrap().unwrap();
        assert!(grab.grabbed_at >= earliest && grab.changed_at <= grab.grabbed_at);
    }
}
