//! A frame on its way to all viewers: packetised once, but for those whose paths carry no packets of the usual size, and sealed for
//! one viewer when the one before is on its way. So what is sealed is in the processor's cache when it is sent, and no more of it is
//! in memory than one viewer's.

use std::collections::{BTreeMap, VecDeque};

use lllsi_proto::h264::{FrameInfo, packetize};
use lllsi_rtc::Frame;

use super::viewer::{Step, Viewer};
use super::{Host, ViewerId};
use crate::link::PacketSize;
use crate::{CodedFrame, micros_since};

/// A frame that some viewers have not been sent yet.
pub(super) struct Sending {
    frame: CodedFrame,
    info: FrameInfo,
    packets: BTreeMap<PacketSize, Frame>,
    left: VecDeque<ViewerId>,
}

impl Host {
    /// Begins to send a frame: [`Self::send_next`] does it.
    pub(super) fn send(&mut self, frame: CodedFrame) {
        self.frames += 1;
        let mut info = frame.info;
        // The frames of each layer are counted apart.
        info.number = info.number & FrameInfo::MAX_NUMBER
            | u32::from(frame.layer.0) << FrameInfo::MAX_NUMBER.count_ones();
        info.captured_us = micros_since(self.epoch, frame.captured_at);
        info.send_queue_us =
            self.now.saturating_duration_since(frame.encoded_at).as_micros() as u32;
        let mut left = self.layers.send(self.now, frame.layer, frame.keyframe);
        let all = &self.viewers;
        let viewers = || left.iter().filter_map(move |id| all.get(id));
        let mut packets = BTreeMap::new();
        for size in viewers().map(Viewer::packet_size) {
            packets.entry(size).or_insert_with(|| {
                let payloads: Vec<_> = packetize(&frame.data, size.payload());
                let same = viewers().filter(|viewer| viewer.packet_size() == size);
                let parity = same.map(|viewer| viewer.wants_parity(payloads.len())).max();
                let packets = Frame::new(payloads, info.to_prefix().into());
                packets.with_parity(parity.unwrap_or_default())
            });
        }
        // Nobody is always the last in the queue of the host's line.
        left.rotate_left(self.frames as usize % left.len().max(1));
        self.sending = Some(Sending { frame, info, packets, left });
    }

    /// Sends the frame to one more viewer, if there is one that has not been sent it.
    pub(super) fn send_next(&mut self) -> bool {
        let Some(mut sending) = self.sending.take() else { return false };
        let Some(id) = sending.left.pop_front() else { return false };
        let Sending { frame, info, packets, .. } = &sending;
        self.with_viewer(id, |viewer, now| {
            // A size that was found since the frame was packetised is that of the next one.
            let packets = packets.get(&viewer.packet_size()).or_else(|| packets.values().next());
            if let Some(packets) = packets {
                viewer.send_frame(now, frame, *info, packets);
            }
            Step::Stay
        });
        self.sending = Some(sending);
        self.settle();
        true
    }
}
