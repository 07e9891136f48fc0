//! What the host's threads leave for each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lllsi_core::host::LayerId;
use lllsi_media::picture::I420;

use super::{IDLE, LAYERS, REST};
use crate::stages::Summary;

/// Figures of the pipeline since they were last taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Frames of each layer.
    pub(crate) frames: [u64; LAYERS],
    pub(crate) bytes: u64,
    pub(crate) summary: Summary,
}

/// A picture in video colours, and which grab it was last brought up to date with.
#[derive(Default)]
pub(super) struct Canvas {
    pub(super) picture: I420,
    pub(super) seen: u64,
}

/// A picture on its way to the encoders.
#[derive(Clone)]
pub(super) struct Taken {
    pub(super) canvas: Arc<Canvas>,
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
    pub(super) layers: [LayerOrders; LAYERS],
    pub(super) stop: bool,
    /// Why there are no more pictures.
    pub(super) failure: Option<lllsi_media::Error>,
    pub(super) figures: Figures,
    /// Canvases that encoders have, or had.
    canvases: Vec<Arc<Canvas>>,
}

/// What one layer's encoder is to do.
#[derive(Default)]
pub(super) struct LayerOrders {
    pub(super) taken: Option<Taken>,
    pub(super) keyframe: bool,
    pub(super) bitrate: Option<u32>,
    /// Pictures are to wait: the viewers' paths are full.
    pub(super) held: bool,
    pub(super) watched: bool,
}

/// The desk on which orders lie; its copies are the same one.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    orders: Mutex<Orders>,
    /// Where each layer's encoder waits.
    changes: [Condvar; LAYERS],
}

impl Desk {
    pub(super) fn lock(&self) -> MutexGuard<'_, Orders> {
        // No code that can panic runs under this lock.
        self.0.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, layer: LayerId, change: impl FnOnce(&mut LayerOrders)) {
        let at = usize::from(layer.0);
        let mut orders = self.lock();
        if let (Some(layer), Some(changed)) = (orders.layers.get_mut(at), self.0.changes.get(at)) {
            change(layer);
            changed.notify_one();
        }
    }

    /// A layer's next frame is to be a keyframe.
    pub(crate) fn want_keyframe(&self, layer: LayerId) {
        self.order(layer, |orders| orders.keyframe = true);
    }

    pub(crate) fn set_bitrate(&self, layer: LayerId, bitrate: u32) {
        self.order(layer, |orders| orders.bitrate = Some(bitrate));
    }

    /// Whether a layer's pictures are to wait before they are coded. The newest counts once they need not.
    pub(crate) fn set_held(&self, layer: LayerId, held: bool) {
        self.order(layer, |orders| orders.held = held);
    }

    /// Whether anybody is sent a layer: without viewers nothing is encoded.
    pub(crate) fn set_watched(&self, layer: LayerId, watched: bool) {
        self.order(layer, |orders| orders.watched = watched);
    }

    /// Figures since the last call.
    pub(crate) fn take_figures(&self) -> Figures {
        std::mem::take(&mut self.lock().figures)
    }

    /// There are no more pictures. The first reason counts.
    pub(super) fn fail(&self, error: lllsi_media::Error) {
        self.lock().failure.get_or_insert(error);
    }

    /// Why there are no more pictures, once.
    pub(crate) fn take_failure(&self) -> Option<lllsi_media::Error> {
        self.lock().failure.take()
    }

    /// All threads are to end.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.0.changes.iter().for_each(Condvar::notify_one);
    }

    /// Replaces the waiting picture of all layers; returns a canvas for the next one.
    pub(super) fn put(&self, canvas: Arc<Canvas>, times: Option<Times>) -> Arc<Canvas> {
        let mut orders = self.lock();
        for layer in &mut orders.layers {
            // What makes a waiting picture finer does not make it older.
            let times = times.or(layer.taken.take().and_then(|replaced| replaced.times));
            layer.taken = Some(Taken { canvas: Arc::clone(&canvas), times });
        }
        orders.canvases.push(canvas);
        let canvases = &mut orders.canvases;
        let free = (0..canvases.len()).filter(|at| Arc::strong_count(&canvases[*at]) == 1);
        let newest = free.max_by_key(|at| canvases[*at].seen);
        let free = newest.map(|at| canvases.swap_remove(at)).unwrap_or_default();
        for (layer, changed) in orders.layers.iter().zip(&self.0.changes) {
            if layer.watched {
                changed.notify_one();
            }
        }
        free
    }

    /// Waits for something to encode in a layer, until `deadline`, or longer while pictures are to wait. Nothing is to be encoded
    /// before `earliest`. Returns at once if a layer that `runs` is watched no more.
    pub(super) fn wait(
        &self,
        layer: usize,
        runs: bool,
        earliest: Instant,
        deadline: Instant,
    ) -> MutexGuard<'_, Orders> {
        let mut orders = self.lock();
        loop {
            let now = Instant::now();
            let LayerOrders { watched, held, taken, keyframe, .. } = &orders.layers[layer];
            let held = *watched && *held;
            let work = *watched && !held && (taken.is_some() || *keyframe);
            let left = match (held, work) {
                _ if !watched => {
                    if runs {
                        Duration::ZERO
                    } else {
                        REST
                    }
                }
                (true, _) => IDLE,
                (_, true) => earliest.saturating_duration_since(now),
                _ => earliest.max(deadline).saturating_duration_since(now),
            };
            if orders.stop || left.is_zero() {
                return orders;
            }
            let changed = &self.0.changes[layer];
            orders = changed.wait_timeout(orders, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
