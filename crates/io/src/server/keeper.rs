//! Keeps the names of rooms in a file.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use lllsi_core::rendezvous::Rendezvous;
use tokio::task::JoinHandle;

use crate::state;

/// Between two writings, and at most after one that failed.
const NAMES_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// After how long names are written though nothing has changed, at most.
const RENEW_NAMES: Duration = Duration::from_secs(24 * 3600);

/// Writes names down when they have changed: beside the machine's task, one writing at a time, and with a pause between
/// two.
pub(super) struct Keeper {
    directory: Option<PathBuf>,
    /// When to write next; soon if something has changed.
    due: Instant,
    /// After how long names are written though nothing has changed.
    renew: Duration,
    /// Before the next try, after one that failed.
    pause: Duration,
    /// Tells whether it went well.
    writing: Option<JoinHandle<bool>>,
}

impl Keeper {
    pub(super) fn new(directory: Option<PathBuf>, keep: Duration) -> Self {
        let renew = (keep / 2).clamp(NAMES_PAUSE, RENEW_NAMES);
        let due = Instant::now() + renew;
        Self { directory, due, renew, pause: NAMES_PAUSE, writing: None }
    }

    pub(super) fn changed(&mut self) {
        self.due = self.due.min(Instant::now() + NAMES_PAUSE);
    }

    pub(super) fn write(&mut self, machine: &Rendezvous) {
        let Some(directory) = self.directory.clone() else { return };
        let (claims, now) = (machine.names(Instant::now()), SystemTime::now());
        // Those of rooms that stay open are moved on by that, too.
        self.due = Instant::now() + self.renew;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let kept = state::keep_names(&directory, now, claims);
            if let Err(error) = &kept {
                tracing::error!(%error, "names of rooms are not kept");
            }
            kept.is_ok()
        }));
    }

    /// Waits until something is to be written; forever if nothing is kept.
    pub(super) async fn is_due(&mut self) {
        if self.directory.is_none() {
            return std::future::pending().await;
        }
        self.written().await;
        tokio::time::sleep_until(self.due.into()).await;
    }

    /// Waits for the end of a writing, if there is one.
    async fn written(&mut self) {
        if let Some(writing) = &mut self.writing {
            let went_well = writing.await.unwrap_or(false);
            self.writing = None;
            if went_well {
                self.pause = NAMES_PAUSE;
            } else {
                self.due = self.due.min(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(MAX_PAUSE);
            }
        }
    }

    /// The last writing.
    pub(super) async fn finish(mut self, machine: &Rendezvous) {
        self.written().await;
        self.write(machine);
        self.written().await;
    }
}
