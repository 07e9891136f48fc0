//! Ctrl-C, SIGTERM, and the end of `--seconds`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::failure::{Code, Failure};

/// How often a command looks up from its work.
const TURN: Duration = Duration::from_millis(50);

/// The exit code of a program that a second Ctrl-C has ended, as shells have it.
pub(crate) const INTERRUPTED: i32 = 130;

/// Tells when to end.
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// `at_once`: there is nobody to say goodbye to.
    pub(crate) fn install(at_once: bool) -> Result<Self, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        let handler = Arc::clone(&asked);
        let stop = move || {
            // Who asks twice does not want to wait, say for a display that no longer answers.
            if handler.swap(true, Ordering::Relaxed) || at_once {
                std::process::exit(INTERRUPTED);
            }
        };
        ctrlc::set_handler(stop).map_err(|e| {
            Failure::new(Code::Unexpected, format!("signals cannot be handled: {e}"))
        })?;
        Ok(Self { asked })
    }

    /// A clock that runs out after `seconds`, or never.
    pub(crate) fn after(&self, seconds: Option<u64>) -> Until<'_> {
        let end = seconds.map(|s| Instant::now() + Duration::from_secs(s));
        Until { stop: self, end, second_at: Instant::now() + Duration::from_secs(1) }
    }
}

/// The time a command has.
pub(crate) struct Until<'a> {
    stop: &'a Stop,
    end: Option<Instant>,
    second_at: Instant,
}

impl Until<'_> {
    /// Whether it is time to end.
    pub(crate) fn over(&self) -> bool {
        self.stop.asked.load(Ordering::Relaxed) || self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Whether the time that was given has run out, and nobody has asked to end before that.
    pub(crate) fn ran_out(&self) -> bool {
        self.over() && !self.stop.asked.load(Ordering::Relaxed)
    }

    /// How long to wait for an event before looking up.
    pub(crate) fn turn(&self) -> Instant {
        let turn = Instant::now() + TURN;
        self.end.map_or(turn, |end| turn.min(end))
    }

    /// `true` once a second.
    pub(crate) fn second(&mut self) -> bool {
        let due = Instant::now() >= self.second_at;
        if due {
            self.second_at += Duration::from_secs(1);
        }
        due
    }
}
