//! The capture thread: grabs what has changed, and turns it into video colours where it lies.
//!
//! Where much changes, coloured text is sharpened only once the screen rests: until then every millisecond counts more.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use lllsi_media::capture::Source;
use lllsi_media::picture::{BgraView, Size};
use lllsi_media::{Error, convert};

use super::IDLE;
use super::desk::{Canvas, Desk, Taken, Times};

/// While nobody watches, a picture is taken only this often: enough for the first viewer not to
/// be shown the past.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How long a screen rests before what has changed is sharpened.
const REST: Duration = Duration::from_millis(100);
/// The share of a picture's rows that is sharpened at once.
const SMALL: u32 = 8;
/// Grabs remembered: far more than there are canvases under way.
const REMEMBERED: usize = 8;

/// Takes pictures until it is told to stop, or the source fails.
pub(super) fn run(
    mut source: Box<dyn Source>,
    fps: u32,
    scale: Option<Size>,
    desk: &Desk,
) -> Result<(), Error> {
    let interval = Duration::from_secs(1) / fps.max(1);
    let mut converter = Converter::new(scale);
    let mut canvas = Canvas::default();
    let mut due_at = Instant::now();
    loop {
        let orders = desk.lock();
        let (stop, watched) = (orders.stop, orders.watched);
        drop(orders);
        if stop {
            return Ok(());
        }
        let wait = if watched { Duration::ZERO } else { UNWATCHED };
        // The frame rate holds over time. After a pause two pictures may follow each other at once: the first is often
        // half of what a program has to paint.
        let earliest = (due_at + wait).checked_sub(interval).unwrap_or(due_at);
        let deadline = Instant::now() + if converter.is_sharp() { IDLE } else { REST };
        if let Some(grab) = source.next(earliest, deadline)? {
            let read_at = Instant::now();
            let (changed_at, grabbed_at) = (grab.changed_at, grab.grabbed_at);
            converter.convert(grab.picture, grab.rows, &mut canvas)?;
            due_at = due_at.max(grabbed_at) + interval;
            let times = Times { changed_at, grabbed_at, read_at, converted_at: Instant::now() };
            canvas = desk.put(Taken { canvas, times: Some(times) });
        } else if !converter.is_sharp() && Instant::now() >= deadline {
            converter.sharpen(source.last(), &mut canvas)?;
            canvas = desk.put(Taken { canvas, times: None });
        }
    }
}

/// Turns into video colours only what a canvas does not show yet.
struct Converter {
    scaled: Option<Scaled>,
    /// The rows that each of the last grabs changed; the newest, last, has the number `newest`.
    changes: VecDeque<Range<u32>>,
    newest: u64,
    /// The rows that are not sharpened yet.
    blurred: Range<u32>,
}

/// What scaling needs: the picture before it.
struct Scaled {
    size: Size,
    scaler: convert::Scaler,
    full: Canvas,
}

impl Converter {
    fn new(scale: Option<Size>) -> Self {
        let scaled = scale.map(|size| Scaled {
            size: size.even(),
            scaler: convert::Scaler::new(),
            full: Canvas::default(),
        });
        Self { scaled, changes: VecDeque::new(), newest: 0, blurred: 0..0 }
    }

    fn is_sharp(&self) -> bool {
        self.blurred.is_empty()
    }

    /// Brings a canvas up to date with a picture in which these rows have changed.
    fn convert(
        &mut self,
        picture: BgraView<'_>,
        rows: Range<u32>,
        canvas: &mut Canvas,
    ) -> Result<(), Error> {
        if rows.len() as u32 > picture.size().height / SMALL {
            self.blurred = union(self.blurred.clone(), rows.clone());
        }
        self.change(picture, rows, canvas)
    }

    /// Sharpens a picture at rest.
    fn sharpen(&mut self, picture: BgraView<'_>, canvas: &mut Canvas) -> Result<(), Error> {
        let rows = std::mem::replace(&mut self.blurred, 0..0);
        self.change(picture, rows, canvas)
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
        match self.scaled.take() {
            None => self.update(picture, canvas)?,
            Some(mut scaled) => {
                self.update(picture, &mut scaled.full)?;
                let Scaled { size, scaler, full } = &mut scaled;
                scaler.scale(&full.picture, *size, &mut canvas.picture)?;
                self.scaled = Some(scaled);
            }
        }
        Ok(())
    }

    fn update(&self, picture: BgraView<'_>, canvas: &mut Canvas) -> Result<(), Error> {
        let size = picture.size();
        let known = self.changed_since(canvas.seen);
        let resized = canvas.picture.size() != size.even();
        let rows = known.filter(|_| !resized).unwrap_or(0..size.height);
        // Two rows share their chroma, and are turned and sharpened together.
        let even = |rows: Range<u32>| rows.start & !1..rows.end.next_multiple_of(2);
        let (rows, blurred) = (even(rows), even(self.blurred.clone()));
        convert::to_i420(picture, rows.clone(), &mut canvas.picture)?;
        if blurred.is_empty() {
            convert::sharpen(&mut canvas.picture, rows);
        } else {
            convert::sharpen(&mut canvas.picture, rows.start..rows.end.min(blurred.start));
            convert::sharpen(&mut canvas.picture, rows.start.max(blurred.end)..rows.end);
        }
        canvas.seen = self.newest;
        Ok(())
    }

    /// The rows changed by all grabs after number `seen`; `None` if they are not remembered.
    fn changed_since(&self, seen: u64) -> Option<Range<u32>> {
        let missed = usize::try_from(self.newest - seen).ok()?;
        let first = self.changes.len().checked_sub(missed)?;
        Some(self.changes.range(first..).cloned().fold(0..0, union))
    }
}

/// The smallest range that holds both; an empty one holds nothing.
fn union(one: Range<u32>, other: Range<u32>) -> Range<u32> {
    match (one.is_empty(), other.is_empty()) {
        (true, _) => other,
        (_, true) => one,
        _ => one.start.min(other.start)..one.end.max(other.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lllsi_media::capture::test_card;
    use lllsi_media::picture::I420;

    /// Three canvases in turn, as between two threads: each is always up to date, and sharp where it should be.
    #[test]
    fn a_canvas_that_missed_some_grabs_catches_up() {
        let mut card = test_card(Size::new(320, 180), 1000);
        let mut converter = Converter::new(None);
        let mut canvases: [Canvas; 3] = Default::default();
        let turns = [0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1];
        for (step, turn) in turns.into_iter().enumerate() {
            let (canvas, now) = (&mut canvases[turn], Instant::now());
            if step % 5 == 4 {
                converter.sharpen(card.last(), canvas).unwrap();
            } else {
                let grab = card.next(now, now + Duration::from_secs(5)).unwrap().expect("it moves");
                converter.convert(grab.picture, grab.rows, canvas).unwrap();
            }
            let mut whole = I420::default();
            convert::to_i420(card.last(), 0..180, &mut whole).unwrap();
            let blurred = converter.blurred.start & !1..converter.blurred.end.next_multiple_of(2);
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
        let (mut converter, mut canvas) = (Converter::new(None), Canvas::default());
        converter.convert(picture, 0..64, &mut canvas).unwrap();
        assert!(!converter.is_sharp());
        converter.sharpen(picture, &mut canvas).unwrap();
        converter.convert(picture, 8..16, &mut canvas).unwrap();
        assert!(converter.is_sharp());
    }

    #[test]
    fn only_what_changed_is_converted_again() {
        let mut converter = Converter::new(None);
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
