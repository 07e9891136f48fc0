//! Something to look at: a screen of coloured text that scrolls, with a [clock code](crate::clock_code) on it.

mod canvas;
mod motion;
mod prose;

use canvas::Canvas;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Frames a second unless there is a reason for others: screens are captured 30 times a second, and two rhythms that
/// are the same can lock phase, so that every frame waits equally long.
pub const USUAL_FPS: f64 = 29.5;

/// Where the clock code is painted: its upper left corner.
pub const CODE_AT: (i16, i16) = (16, 16);

/// What is painted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scene {
    /// Text that scrolls by one line with each frame, as a terminal with much output. The bar above it stands still
    /// but for the code.
    Scroll {
        /// Frames a second.
        fps: f64,
    },
    /// The same screen at rest but for the code: as little change as a typed letter brings.
    Tick {
        /// Frames a second.
        fps: f64,
    },
    /// The same screen, painted once.
    Still,
    /// Another page of text with each frame.
    Pages {
        /// Frames a second.
        fps: f64,
    },
    /// A film below the bar.
    Film {
        /// Frames a second.
        fps: f64,
    },
    /// Noise below the bar.
    Noise {
        /// Frames a second.
        fps: f64,
    },
}

impl Scene {
    /// By its name on a command line, at the usual pace.
    ///
    /// # Errors
    ///
    /// If it has another name.
    pub fn named(name: &str) -> Result<Self, String> {
        let fps = USUAL_FPS;
        Ok(match name {
            "scroll" => Self::Scroll { fps },
            "pages" => Self::Pages { fps },
            "film" => Self::Film { fps },
            "noise" => Self::Noise { fps },
            _ => return Err(format!("scene `{name}` is unknown")),
        })
    }

    fn period(self) -> Option<Duration> {
        match self {
            Self::Scroll { fps }
            | Self::Tick { fps }
            | Self::Pages { fps }
            | Self::Film { fps }
            | Self::Noise { fps } => Some(Duration::from_secs_f64(1.0 / fps)),
            Self::Still => None,
        }
    }
}

/// Answered when it is done.
enum Command {
    Play(Scene, SyncSender<()>),
    Rest(SyncSender<()>),
    Turn(SyncSender<()>),
}

/// A thread that paints over the whole of a display, until it is dropped or the display is lost.
#[derive(Debug)]
pub struct Painter {
    commands: Option<SyncSender<Command>>,
    frames: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Painter {
    /// Covers a display and paints a scene. The first frame is there when this returns.
    ///
    /// # Panics
    ///
    /// If the display cannot be reached or has another depth than 24.
    #[must_use]
    pub fn start(display: &str, scene: Scene) -> Self {
        let canvas = Canvas::new(display);
        let (commands, orders) = sync_channel(1);
        let frames = Arc::default();
        let work = Work { canvas, scene, frames: Arc::clone(&frames) };
        // A lost display ends the thread, and that is all: losing it is what some tests are about.
        let thread = std::thread::spawn(move || drop(work.run(&orders)));
        let painter = Self { commands: Some(commands), frames, thread: Some(thread) };
        painter.play(scene);
        painter
    }

    /// Goes on with another scene. Its first frame is there when this returns.
    pub fn play(&self, scene: Scene) {
        self.order(|done| Command::Play(scene, done));
    }

    /// Stops the motion with one last frame, which is there when this returns. Nothing changes any more.
    pub fn rest(&self) {
        self.order(Command::Rest);
    }

    /// Stops the motion with another page of text, which is there when this returns.
    pub fn turn(&self) {
        self.order(Command::Turn);
    }

    /// How many frames it has painted.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    fn order(&self, command: impl FnOnce(SyncSender<()>) -> Command) {
        let (done, wait) = sync_channel(1);
        let commands = self.commands.as_ref().expect("it is there until the drop");
        // Both fail only when the display is lost.
        let _ = commands.send(command(done));
        let _ = wait.recv();
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    canvas: Canvas,
    scene: Scene,
    frames: Arc<AtomicU64>,
}

impl Work {
    /// An error is a lost display.
    fn run(mut self, orders: &Receiver<Command>) -> Result<(), canvas::Lost> {
        self.canvas.fill()?;
        let mut pace = None;
        loop {
            let order = match &pace {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(pace) => orders.recv_timeout(Pace::wait(pace)),
            };
            match order {
                Ok(Command::Play(scene, done)) => {
                    self.scene = scene;
                    self.paint()?;
                    self.canvas.settle()?;
                    pace = scene.period().map(Pace::new);
                    let _ = done.send(());
                }
                Ok(Command::Turn(done)) => {
                    self.canvas.fill()?;
                    self.canvas.stamp()?;
                    self.canvas.settle()?;
                    pace = None;
                    let _ = done.send(());
                }
                Ok(Command::Rest(done)) => {
                    self.paint()?;
                    self.canvas.settle()?;
                    pace = None;
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.paint()?;
                    pace.iter_mut().for_each(Pace::next);
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn paint(&mut self) -> Result<(), canvas::Lost> {
        match self.scene {
            Scene::Scroll { .. } => self.canvas.scroll()?,
            Scene::Pages { .. } => self.canvas.fill()?,
            Scene::Film { .. } => self.canvas.film()?,
            Scene::Noise { .. } => self.canvas.noise()?,
            Scene::Tick { .. } | Scene::Still => {}
        }
        self.canvas.stamp()?;
        self.frames.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// When frames are due: by a schedule that does not drift, and without a burst after a pause.
struct Pace {
    start: Instant,
    period: Duration,
    frame: u32,
}

impl Pace {
    fn new(period: Duration) -> Self {
        Self { start: Instant::now(), period, frame: 1 }
    }

    fn wait(&self) -> Duration {
        (self.start + self.period * self.frame).saturating_duration_since(Instant::now())
    }

    fn next(&mut self) {
        let passed = self.start.elapsed().as_nanos() / self.period.as_nanos().max(1);
        self.frame = (self.frame + 1).max(passed as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_skips_what_it_has_missed() {
        let period = Duration::from_secs(1000);
        let mut pace = Pace { start: Instant::now() - period * 7 / 2, period, frame: 1 };
        pace.next();
        assert_eq!(pace.frame, 3, "late by half a period");
        pace.next();
        assert_eq!(pace.frame, 4);
        assert!(pace.wait() > period / 3 && pace.wait() < period * 2 / 3);
    }

    #[test]
    fn a_still_scene_has_no_period() {
        assert_eq!(Scene::Still.period(), None);
        assert_eq!(Scene::Scroll { fps: 50.0 }.period(), Some(Duration::from_millis(20)));
    }
}
