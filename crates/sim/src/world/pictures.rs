//! The encoders of the host's layers, and how large their frames are.

use std::sync::Arc;

use lllsi_core::CodedFrame;
use lllsi_core::host::{self, LayerId, MAX_LAYERS};
use lllsi_proto::h264::FrameInfo;

use super::{MAX_BITRATE, Machine, World};

const KEYFRAME_BYTES: usize = 40_000;

/// Pictures that change all over, as a scrolled page does.
#[derive(Debug, Clone, Copy)]
pub struct Pictures {
    /// Bytes of one that is coded as coarsely as can be.
    pub least: usize,
    /// Bytes of one that is coded as finely as makes sense.
    pub most: usize,
}

/// What makes a layer's pictures.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pub(super) frames: u32,
    pub(super) keyframe_wanted: bool,
    /// Whether a picture waits until the host wants one.
    pub(super) is_late: bool,
}

impl World {
    /// Each layer that is watched gets a picture, or waits for one.
    pub(super) fn frame_is_due(&mut self) {
        for layer in (0..MAX_LAYERS).map(LayerId) {
            let view = self.host().layer(layer);
            let waits = view.is_held && self.setup.pictures.is_some();
            let is_first = layer == LayerId::default();
            let is_coded = view.is_watched || is_first && self.host().is_unwatched();
            self.encoders[usize::from(layer.0)].is_late = waits;
            if self.nodes[0].alive && !self.is_at_rest && !waits && is_coded {
                self.frame(layer);
            }
        }
    }

    /// A layer whose picture has waited until the host wanted one.
    pub(super) fn late_layer(&self) -> Option<LayerId> {
        let mut layers = (0..MAX_LAYERS).map(LayerId);
        let is_due = |layer: &LayerId| {
            let is_late = self.encoders[usize::from(layer.0)].is_late;
            is_late && !self.host().layer(*layer).is_held
        };
        layers.find(is_due)
    }

    pub(super) fn frame(&mut self, layer: LayerId) {
        let encoder = &mut self.encoders[usize::from(layer.0)];
        encoder.is_late = false;
        encoder.frames += 1;
        let (number, is_first) = (encoder.frames, encoder.frames == 1);
        let keyframe = std::mem::take(&mut encoder.keyframe_wanted) || is_first;
        let bitrate = self.host().layer(layer).bitrate;
        let Machine::Host(_, view) = &mut self.nodes[0].machine else {
            unreachable!("node 0 is the host")
        };
        view.frames += 1;
        view.keyframes += u32::from(keyframe);
        let info = FrameInfo { number, ..FrameInfo::default() };
        let due = bitrate.unwrap_or(MAX_BITRATE) as usize / 8 / 30;
        let (whole, next) = match self.setup.pictures {
            Some(Pictures { least, most }) => {
                ((4 * due).clamp(2 * least, 2 * most), due.clamp(least, most))
            }
            None => (KEYFRAME_BYTES, self.setup.frame_bytes),
        };
        let data = if keyframe {
            [
                &[0, 0, 0, 1, 0x67, 66, 0, 31, 0, 0, 0, 1, 0x68, 206, 0, 0, 0, 1, 0x65][..],
                &vec![1; whole],
            ]
            .concat()
        } else {
            [&[0, 0, 0, 1, 0x41][..], &vec![1; next]].concat()
        };
        let (captured_at, encoded_at) = (self.now, self.now);
        let data = Arc::new(data);
        let frame = CodedFrame { layer, data, keyframe, captured_at, encoded_at, info };
        self.tell_host(host::Action::Send(frame));
    }
}
