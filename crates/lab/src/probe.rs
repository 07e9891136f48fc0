//! Sees when a painted moment appears on another display.

use crate::clock_code::{self, between, now_micros};
use crate::connect::{connect, pixels};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use x11rb::connection::Connection as _;
use x11rb::errors::{ReplyError, ReplyOrIdError};
use x11rb::protocol::Event;
use x11rb::protocol::damage::{ConnectionExt as _, ReportLevel};
use x11rb::protocol::xproto::{Rectangle, Window};
use x11rb::rust_connection::RustConnection;

/// How soon a dropped probe ends.
const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// An older moment is a misread one: its CRC is right by chance.
const PLAUSIBLE: Duration = Duration::from_secs(60);

/// One picture that was painted here and seen there. Both by [`now_micros`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was painted.
    pub painted_us: u64,
    /// When the other display was found to show it, see [`Probe`].
    pub seen_us: u64,
}

impl Sample {
    /// From paint to paint.
    #[must_use]
    pub fn latency(&self) -> Duration {
        between(self.painted_us, self.seen_us)
    }
}

/// A thread that watches for clock codes on a display, until it is dropped or the display is lost.
///
/// A picture counts as seen when the news that its place has changed is read (DAMAGE), before the grab that finds out
/// what is there now: the grab is our own business and takes time. Two things keep that honest. A grab that finds
/// nothing new adds no sample, and the next news has a time of its own. And a moment painted after the news must have
/// come during the grab, so the time after the grab counts. What is left is that a picture that comes during the grab
/// and was painted before it is seen too early by less than a grab, some tenths of a millisecond.
#[derive(Debug)]
pub struct Probe {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Watches for codes whose upper left corner is there, unscaled. What is there already does not count.
    ///
    /// # Panics
    ///
    /// If the display cannot be reached, knows no DAMAGE, has another depth than 24, or has no such place.
    #[must_use]
    pub fn start(display: &str, at: (i16, i16)) -> Self {
        let (connection, screen) = connect(display);
        let samples = Arc::default();
        let eye = Eye { connection, root: screen.root, at, samples: Arc::clone(&samples) };
        let known = eye
            .open()
            .unwrap_or_else(|error| panic!("display {display} cannot be watched: {error}"));
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        // A lost display ends the thread, and that is all: losing it is what some tests are about.
        let thread = std::thread::spawn(move || drop(eye.watch(known, &stopped)));
        Self { samples, stop, thread: Some(thread) }
    }

    /// What it has seen since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Eye {
    connection: RustConnection,
    root: Window,
    at: (i16, i16),
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Eye {
    /// Asks to be told of changes; what is shown now.
    fn open(&self) -> Result<Option<u64>, ReplyOrIdError> {
        self.connection.damage_query_version(1, 1)?.reply()?;
        let damage = self.connection.generate_id()?;
        // Every single change, with its place: no other level tells of the second change to the same place at once.
        self.connection.damage_create(damage, self.root, ReportLevel::RAW_RECTANGLES)?.check()?;
        Ok(self.look()?)
    }

    fn watch(&self, mut known: Option<u64>, stop: &AtomicBool) -> Result<(), ReplyError> {
        while !stop.load(Ordering::Relaxed) {
            let Some(heard) = self.news()? else {
                self.sleep()?;
                continue;
            };
            let Some(painted) = self.look()?.filter(|painted| Some(*painted) != known) else {
                continue;
            };
            known = Some(painted);
            let seen = [heard, now_micros()];
            let Some(seen_us) = seen.into_iter().find(|seen| between(painted, *seen) < PLAUSIBLE)
            else {
                continue;
            };
            let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            samples.push(Sample { painted_us: painted, seen_us });
        }
        Ok(())
    }

    /// When the first of the waiting news about our place was read. Takes all that wait: one look answers them.
    fn news(&self) -> Result<Option<u64>, ReplyError> {
        let mut heard = None;
        while let Some(event) = self.connection.poll_for_event()? {
            if matches!(event, Event::DamageNotify(event) if self.concerns(event.area)) {
                heard.get_or_insert_with(now_micros);
            }
        }
        Ok(heard)
    }

    fn concerns(&self, area: Rectangle) -> bool {
        let overlap = |start: i16, length: usize, other: i16, other_length: u16| {
            let (start, other) = (i32::from(start), i32::from(other));
            start < other + i32::from(other_length) && other < start + length as i32
        };
        overlap(self.at.0, clock_code::WIDTH, area.x, area.width)
            && overlap(self.at.1, clock_code::HEIGHT, area.y, area.height)
    }

    fn look(&self) -> Result<Option<u64>, ReplyError> {
        let size = (clock_code::WIDTH as u16, clock_code::HEIGHT as u16);
        let bgra = pixels(&self.connection, self.root, self.at, size)?;
        Ok(clock_code::read(&bgra, clock_code::WIDTH * 4))
    }

    fn sleep(&self) -> Result<(), ReplyError> {
        let mut sources = [PollFd::new(self.connection.stream(), PollFlags::IN)];
        match poll(&mut sources, Some(&LOOK_UP)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(ReplyError::ConnectionError(std::io::Error::from(error).into())),
        }
    }
}
