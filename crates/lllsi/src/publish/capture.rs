//! The capture thread: grabs what has changed, and turns it into video colours where it lies.
//!
//! Where much changes, coloured text is sharpened only once the screen rests: until then every millisecond counts more.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_media::capture::Source;
use lllsi_media::picture::{BgraView, I420, Size, hull};
use lllsi_media::{Error, convert};

use super::IDLE;
use super::desk::{Canvas, Desk, Times};

/// While nobody watches, a picture is taken only this often: enough for the first viewer not to
/// be shown the past.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How long a screen rests before what has changed is sharpened.
const REST: Duration = Duration::from_millis(100);
/// The share of a picture's rows that is sharpened at once.
const SMALL: u32 = 8;
/// Grabs remembered: far more than there are canvases under way.
const REMEMBERED: usize = 8;

/// Takes pictures until it is told to stop, or the source fails. None is larger than `bounds`.
pub(super) fn run(
    mut source: Box<dyn Source>,
    fps: u32,
    bounds: Size,
    desk: &Desk,
) -> Result<(), Error> {
    let interval = Duration::from_secs(1) / fps.max(1);
    let mut converter = Converter::new(bounds);
    let mut canvas = Arc::new(Canvas::default());
    let (mut due_at, mut is_first) = (Instant::now(), true);
    loop {
        let orders = desk.lock();
        let (stop, watched) = (orders.stop, orders.layers.iter().any(|layer| layer.watched));
        drop(orders);
        if stop {
            return Ok(());
        }
        // The first viewer finds a picture, however soon it comes.
        let wait = if watched || is_first { Duration::ZERO } else { UNWATCHED };
        // The frame rate holds over time. After a pause two pictures may follow each other at once: the first is often
        // half of what a program has to paint.
        let earliest = (due_at + wait).checked_sub(interval).unwrap_or(due_at);
        let deadline = converter.sharpen_at.unwrap_or_else(|| Instant::now() + IDLE);
        if let Some(grab) = source.next(earliest, deadline)? {
            let read_at = Instant::now();
            let (changed_at, grabbed_at) = (grab.changed_at, grab.grabbed_at);
            converter.convert(grab.picture, grab.rows, read_at, ours(&mut canvas))?;
            due_at = due_at.max(grabbed_at) + interval;
            let times = Times { changed_at, grabbed_at, read_at, converted_at: Instant::now() };
            canvas = desk.put(canvas, Some(times));
            is_first = false;
        } else if converter.sharpen_at.is_some_and(|at| Instant::now() >= at) {
            converter.sharpen(source.last(), ours(&mut canvas))?;
            canvas = desk.put(canvas, None);
        }
    }
}

fn ours(canvas: &mut Arc<Canvas>) -> &mut Canvas {
    Arc::get_mut(canvas).expect("the desk gives what nobody else holds")
}

/// Turns into video colours only what a canvas does not show yet.
struct Converter {
    bounds: Size,
    scaler: convert::Scaler,
    /// The last picture before it was scaled.
    full: Canvas,
    /// The rows that each of the last grabs changed; the newest, last, has the number `newest`.
    changes: VecDeque<Range<u32>>,
    newest: u64,
    /// The rows that are not sharpened yet, and when they will have rested.
    blurred: Range<u32>,
    sharpen_at: Option<Instant>,
}

impl Converter {
    fn new(bounds: Size) -> Self {
        Self {
            bounds,
            scaler: convert::Scaler::new(),
            full: Canvas::default(),
            changes: VecDeque::new(),
            newest: 0,
            blurred: 0..0,
            sharpen_at: None,
        }
    }

    /// Brings a canvas up to date with a picture in which these rows have changed.
    fn convert(
        &mut self,
        picture: BgraView<'_>,
        mut rows: Range<u32>,
        now: Instant,
        canvas: &mut Canvas,
    ) -> Result<(), Error> {
        if rows.len() as u32 > picture.size().height / SMALL {
            self.blurred = hull(self.blurred.clone(), rows.clone());
            self.sharpen_at = Some(now + REST);
        } else if self.sharpen_at.is_some_and(|at| now >= at) {
            rows = hull(rows, self.take_blurred());
        }
        self.change(picture, rows, canvas)
    }

    /// Sharpens a picture at rest.
    fn sharpen(&mut self, picture: BgraView<'_>, canvas: &mut Canvas) -> Result<(), Error> {
        let rows = self.take_blurred();
        self.change(picture, rows, canvas)
    }

    fn take_blurred(&mut self) -> Range<u32> {
        self.sharpen_at = None;
        std::mem::replace(&mut self.blurred, 0..0)
    }

    fn change(
        &mut self,
        picture: BgraView<'_>,
        rows: Range<u32>,
        canvas: &mut Canvas,
    ) -> Result<(), Error> {
        self.newest += 1;
        if self.changes.len() == REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back(rows);
        let size = picture.size().at_most(self.bounds);
        if size == picture.size().even() {
            let rows = self.update(picture, canvas)?;
            self.sharpen_rows(&mut canvas.picture, rows);
        } else {
            let mut full = std::mem::take(&mut self.full);
            self.update(picture, &mut full)?;
            self.scaler.scale(&full.picture, size, &mut canvas.picture)?;
            self.full = full;
            // What scaling has mixed is sharpened as a whole, at rest.
            if self.blurred.is_empty() {
                convert::sharpen(&mut canvas.picture, 0..size.height);
            }
        }
        Ok(())
    }

    /// Turns what the canvas does not show yet; answers these rows.
    fn update(&self, picture: BgraView<'_>, canvas: &mut Canvas) -> Result<Range<u32>, Error> {
        let size = picture.size();
        let known = self.changed_since(canvas.seen);
        let resized = canvas.picture.size() != size.even();
        let rows = even(known.filter(|_| !resized).unwrap_or(0..size.height));
        convert::to_i420(picture, rows.clone(), &mut canvas.picture)?;
        canvas.seen = self.newest;
        Ok(rows)
    }

    /// Sharpens these rows but for those that do not rest yet.
    fn sharpen_rows(&self, picture: &mut I420, rows: Range<u32>) {
        if self.blurred.is_empty() {
            return convert::sharpen(picture, rows);
        }
        let blurred = even(self.blurred.clone());
        convert::sharpen(picture, rows.start..rows.end.min(blurred.start));
        convert::sharpen(picture, rows.start.max(blurred.end)..rows.end);
    }

    /// The rows changed by all grabs after number `seen`; `None` if they are not remembered.
    fn changed_since(&self, seen: u64) -> Option<Range<u32>> {
        let missed = usize::try_from(self.newest - seen).ok()?;
        let first = self.changes.len().checked_sub(missed)?;
        Some(self.changes.range(first..).cloned().fold(0..0, hull))
    }
}

/// Two rows share their chroma, and are turned and sharpened together.
fn even(rows: Range<u32>) -> Range<u32> {
    rows.start & !1..rows.end.next_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lllsi_media::capture::test_card;

    const BOUNDS: Size = Size::new(4096, 4096);

    /// Three canvases in turn, as between two threads: each is always up to date, and sharp where it should be.
    #[test]
    fn a_canvas_that_missed_some_grabs_catches_up() {
        let mut card = test_card(Size::new(320, 180), 1000);
        let mut converter = Converter::new(BOUNDS);
        let mut canvases: [Canvas; 3] = Default::default();
        let turns = [0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1];
        for (step, turn) in turns.into_iter().enumerate() {
            let (canvas, now) = (&mut canvases[turn], Instant::now());
            if step % 5 == 4 {
                converter.sharpen(card.last(), canvas).unwrap();
            } else {
                let grab = card.next(now, now + Duration::from_secs(5)).unwrap().expect("it moves");
                converter.convert(grab.picture, grab.rows, now, canvas).unwrap();
            }
            let mut whole = I420::default();
            convert::to_i420(card.last(), 0..180, &mut whole).unwrap();
            let blurred = even(converter.blurred.clone());
            convert::sharpen(&mut whole, 0..blurred.start);
            convert::sharpen(&mut whole, blurred.end..180);
            assert!(canvas.picture == whole, "canvas {turn} at step {step}");
        }
    }

    #[test]
    fn a_small_change_is_sharp_at_once_and_a_large_one_later() {
        let size = Size::new(64, 64);
        let pixels = vec![99; size.pixels() * 4];
        let picture = BgraView::new(size, &pixels);
        let (mut converter, mut canvas) = (Converter::new(BOUNDS), Canvas::default());
        let now = Instant::now();
        converter.convert(picture, 0..64, now, &mut canvas).unwrap();
        assert_eq!((converter.blurred.clone(), converter.sharpen_at), (0..64, Some(now + REST)));
        converter.sharpen(picture, &mut canvas).unwrap();
        converter.convert(picture, 8..16, now, &mut canvas).unwrap();
        assert_eq!((converter.blurred.clone(), converter.sharpen_at), (0..0, None));
    }

    #[test]
    fn what_rests_is_sharpened_though_something_small_moves() {
        let mut card = test_card(Size::new(320, 180), 1000);
        let now = Instant::now();
        card.next(now, now + Duration::from_secs(5)).unwrap().expect("it moves");
        let picture = card.last();
        let (mut converter, mut canvas) = (Converter::new(BOUNDS), Canvas::default());
        converter.convert(picture, 0..180, now, &mut canvas).unwrap();
        converter.convert(picture, 8..16, now + REST / 2, &mut canvas).unwrap();
        assert!(!converter.blurred.is_empty(), "it has not rested yet");
        converter.convert(picture, 8..16, now + REST, &mut canvas).unwrap();
        let mut sharp = I420::default();
        convert::to_i420(picture, 0..180, &mut sharp).unwrap();
        convert::sharpen(&mut sharp, 0..180);
        assert!(canvas.picture == sharp);
    }

    #[test]
    fn a_picture_is_scaled_down_to_its_bounds_and_never_up() {
        let mut card = test_card(Size::new(320, 180), 1000);
        let now = Instant::now();
        card.next(now, now + Duration::from_secs(5)).unwrap().expect("it moves");
        for (bounds, size) in [((160, 160), (160, 90)), ((640, 480), (320, 180))] {
            let mut converter = Converter::new(Size::new(bounds.0, bounds.1));
            let mut canvas = Canvas::default();
            converter.convert(card.last(), 0..180, now, &mut canvas).unwrap();
            converter.sharpen(card.last(), &mut canvas).unwrap();
            assert_eq!(canvas.picture.size(), Size::new(size.0, size.1));
        }
    }

    #[test]
    fn only_what_changed_is_converted_again() {
        let mut converter = Converter::new(BOUNDS);
        converter.changes = [0..90, 10..20, 5..5, 30..31].into();
        converter.newest = 4;
        assert_eq!(converter.changed_since(4), Some(0..0));
        assert_eq!(converter.changed_since(2), Some(30..31));
        assert_eq!(converter.changed_since(1), Some(10..31));
        assert_eq!(converter.changed_since(0), Some(0..90));
        converter.newest = 5;
        assert_eq!(converter.changed_since(0), None);
    }
}
