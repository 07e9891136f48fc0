//! The capture thread: grabs what has changed, and turns it into video colours where it lies.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use lllsi_media::capture::{Grab, Source};
use lllsi_media::picture::Size;
use lllsi_media::{Error, convert};

use super::IDLE;
use super::desk::{Canvas, Desk, Taken};

/// While nobody watches, a picture is taken only this often: enough for the first viewer not to
/// be shown the past.
const UNWATCHED: Duration = Duration::from_secs(1);
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
        // The frame rate holds over time; a single picture may be half an interval early, so that
        // a source which keeps the rate itself is never held back.
        let earliest = (due_at + wait).checked_sub(interval / 2).unwrap_or(due_at);
        let Some(grab) = source.next(earliest, Instant::now() + IDLE)? else {
            continue;
        };
        let (changed_at, grabbed_at, read_at) = (grab.changed_at, grab.grabbed_at, Instant::now());
        converter.convert(&grab, &mut canvas)?;
        due_at = due_at.max(grabbed_at) + interval;
        let converted_at = Instant::now();
        canvas = desk.put(Taken { canvas, changed_at, grabbed_at, read_at, converted_at });
    }
}

/// Turns into video colours only what a canvas does not show yet.
struct Converter {
    scaled: Option<Scaled>,
    /// The rows that each of the last grabs changed; the newest, last, has the number `newest`.
    changes: VecDeque<Range<u32>>,
    newest: u64,
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
        Self { scaled, changes: VecDeque::new(), newest: 0 }
    }

    /// Brings a canvas up to date with a grab.
    fn convert(&mut self, grab: &Grab<'_>, canvas: &mut Canvas) -> Result<(), Error> {
        self.newest += 1;
        if self.changes.len() == REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back(grab.rows.clone());
        match self.scaled.take() {
            None => self.update(grab, canvas)?,
            Some(mut scaled) => {
                self.update(grab, &mut scaled.full)?;
                let Scaled { size, scaler, full } = &mut scaled;
                scaler.scale(&full.picture, *size, &mut canvas.picture)?;
                self.scaled = Some(scaled);
            }
        }
        Ok(())
    }

    fn update(&self, grab: &Grab<'_>, canvas: &mut Canvas) -> Result<(), Error> {
        let rows = self.changed_since(canvas.seen).unwrap_or(0..grab.picture.size().height);
        convert::to_i420(grab.picture, rows, &mut canvas.picture)?;
        canvas.seen = self.newest;
        Ok(())
    }

    /// The rows changed by all grabs after number `seen`; `None` if they are not remembered.
    fn changed_since(&self, seen: u64) -> Option<Range<u32>> {
        let missed = usize::try_from(self.newest - seen).ok()?;
        let first = self.changes.len().checked_sub(missed)?;
        let missed = self.changes.range(first..).filter(|rows| !rows.is_empty()).cloned();
        missed
            .reduce(|one, other| one.start.min(other.start)..one.end.max(other.end))
            .or(Some(0..0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lllsi_media::capture::test_card;
    use lllsi_media::picture::I420;

    /// Three canvases in turn, as between two threads: each is always up to date.
    #[test]
    fn a_canvas_that_missed_some_grabs_catches_up() {
        let mut card = test_card(Size::new(320, 180), 1000);
        let mut converter = Converter::new(None);
        let mut canvases: [Canvas; 3] = Default::default();
        for turn in [0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1] {
            let now = Instant::now();
            let grab = card.next(now, now + Duration::from_secs(5)).unwrap().expect("it moves");
            converter.convert(&grab, &mut canvases[turn]).unwrap();
            let mut whole = I420::default();
            convert::to_i420(grab.picture, 0..180, &mut whole).unwrap();
            assert!(canvases[turn].picture == whole, "canvas {turn}");
        }
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
