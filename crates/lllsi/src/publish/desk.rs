//! What the host's threads leave for each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lllsi_media::picture::I420;

use super::IDLE;
use crate::stages::Summary;

/// Figures of the pipeline since they were last taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) encodes: u64,
    pub(crate) bytes: u64,
    pub(crate) summary: Summary,
}

/// A picture in video colours, and which grab it was last brought up to date with.
#[derive(Default)]
pub(super) struct Canvas {
    pub(super) picture: I420,
    pub(super) seen: u64,
}

/// A picture on its way to the encoder.
pub(super) struct Taken {
    pub(super) canvas: Canvas,
    /// `None`: it is the one before, but finer.
    pub(super) times: Option<Times>,
}

/// When the stages before the encoder began and ended.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) changed_at: Instant,
    pub(super) grabbed_at: Instant,
    pub(super) read_at: Instant,
    pub(super) converted_at: Instant,
}

/// What is to be done. Each field keeps the newest.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) taken: Option<Taken>,
    /// On its way back to the capture thread.
    pub(super) spare: Option<Canvas>,
    pub(super) keyframe: bool,
    pub(super) bitrate: Option<u32>,
    /// Pictures are to wait: the viewers' paths are full.
    pub(super) held: bool,
    pub(super) watched: bool,
    pub(super) stop: bool,
    /// Why there are no more pictures.
    pub(super) failure: Option<lllsi_media::Error>,
    pub(super) figures: Figures,
}

/// The desk on which orders lie; its copies are the same one.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<(Mutex<Orders>, Condvar)>);

impl Desk {
    pub(super) fn lock(&self) -> MutexGuard<'_, Orders> {
        // No code that can panic runs under this lock.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock());
        self.0.1.notify_one();
    }

    /// The next frame is to be a keyframe.
    pub(crate) fn want_keyframe(&self) {
        self.order(|orders| orders.keyframe = true);
    }

    pub(crate) fn set_bitrate(&self, bitrate: u32) {
        self.order(|orders| orders.bitrate = Some(bitrate));
    }

    /// Whether pictures are to wait before they are coded. The newest counts once they need not.
    pub(crate) fn set_held(&self, held: bool) {
        self.order(|orders| orders.held = held);
    }

    /// Whether anybody watches: without viewers nothing is encoded.
    pub(crate) fn set_watched(&self, watched: bool) {
        self.order(|orders| orders.watched = watched);
    }

    /// Figures since the last call.
    pub(crate) fn take_figures(&self) -> Figures {
        std::mem::take(&mut self.lock().figures)
    }

    /// There are no more pictures. The first reason counts.
    pub(super) fn fail(&self, error: lllsi_media::Error) {
        self.order(|orders| {
            orders.failure.get_or_insert(error);
        });
    }

    /// Why there are no more pictures, once.
    pub(crate) fn take_failure(&self) -> Option<lllsi_media::Error> {
        self.lock().failure.take()
    }

    /// Both threads are to end.
    pub(super) fn stop(&self) {
        self.order(|orders| orders.stop = true);
    }

    /// Replaces the waiting picture; gives a canvas for the next one.
    pub(super) fn put(&self, mut taken: Taken) -> Canvas {
        let mut orders = self.lock();
        let replaced = orders.taken.take();
        // What makes a waiting picture finer does not make it older.
        taken.times = taken.times.or(replaced.as_ref().and_then(|replaced| replaced.times));
        orders.taken = Some(taken);
        let replaced = replaced.map(|replaced| replaced.canvas);
        self.0.1.notify_one();
        replaced.or_else(|| orders.spare.take()).unwrap_or_default()
    }

    /// Waits for something to encode, until `deadline`, or longer while pictures are to wait. Nothing is to be encoded before
    /// `earliest`.
    pub(super) fn wait(&self, earliest: Instant, deadline: Instant) -> MutexGuard<'_, Orders> {
        let mut orders = self.lock();
        loop {
            let now = Instant::now();
            let held = orders.watched && orders.held;
            let work = orders.watched && !held && (orders.taken.is_some() || orders.keyframe);
            let left = match (held, work) {
                (true, _) => IDLE,
                (_, true) => earliest.saturating_duration_since(now),
                _ => earliest.max(deadline).saturating_duration_since(now),
            };
            if orders.stop || left.is_zero() {
                return orders;
            }
            orders = self.0.1.wait_timeout(orders, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
