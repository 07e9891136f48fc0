//! Latency by stage, from the change on the host's screen to the picture at the viewer.

use lllsi_core::Frame;
use lllsi_core::stats::Percentiles;
use lllsi_proto::h264::FrameInfo;

const STAGES: usize = 11;

/// The time one frame spent in each stage, in milliseconds. `None`: not known here, or not yet.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stages {
    /// From the change of the screen to the grab.
    pub capture_wait: Option<f64>,
    /// The grab.
    pub capture: Option<f64>,
    /// Colour conversion and scaling.
    pub convert: Option<f64>,
    /// Waiting for the encoder.
    pub encode_wait: Option<f64>,
    /// The encoder.
    pub encode: Option<f64>,
    /// From the encoder to the socket.
    pub send_queue: Option<f64>,
    /// From the host's socket to the viewer's, first packet.
    pub network: Option<f64>,
    /// From the first packet to the last: transmission, reorder, repair.
    pub reorder: Option<f64>,
    /// Waiting for the decoder.
    pub decode_wait: Option<f64>,
    /// The decoder.
    pub decode: Option<f64>,
    /// From the decoder to the screen.
    pub present: Option<f64>,
}

impl Stages {
    /// Names and values, in the order in which a frame goes through them.
    pub fn named(&self) -> [(&'static str, Option<f64>); STAGES] {
        [
            ("capture_wait", self.capture_wait),
            ("capture", self.capture),
            ("convert", self.convert),
            ("encode_wait", self.encode_wait),
            ("encode", self.encode),
            ("send_queue", self.send_queue),
            ("network", self.network),
            ("reorder", self.reorder),
            ("decode_wait", self.decode_wait),
            ("decode", self.decode),
            ("present", self.present),
        ]
    }

    /// What the host knows.
    pub(crate) fn of_host(info: &FrameInfo) -> Self {
        let ms = |us: u32| Some(f64::from(us) / 1000.0);
        Self {
            capture_wait: ms(info.capture_wait_us),
            capture: ms(info.capture_us),
            convert: ms(info.convert_us),
            encode_wait: ms(info.encode_wait_us),
            encode: ms(info.encode_us),
            ..Self::default()
        }
    }

    /// What a frame that has just arrived tells.
    pub(crate) fn of_arrival(frame: &Frame) -> Self {
        let Some(info) = &frame.info else {
            return Self::default();
        };
        let reorder = (frame.complete_at - frame.first_packet_at).as_secs_f64() * 1000.0;
        let network = frame
            .latency_us
            .map(|us| ((us as f64 - info.in_host_us() as f64) / 1000.0 - reorder).max(0.0));
        let send_queue = Some(f64::from(info.send_queue_us) / 1000.0);
        Self { send_queue, network, reorder: Some(reorder), ..Self::of_host(info) }
    }
}

/// Collects stages and answers their medians.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    stages: [Percentiles; STAGES],
}

impl Summary {
    pub(crate) fn push(&mut self, stages: &Stages) {
        for ((_, ms), samples) in stages.named().into_iter().zip(&mut self.stages) {
            if let Some(ms) = ms {
                samples.push(ms);
            }
        }
    }

    /// Median of each stage that has samples, milliseconds.
    pub fn medians(&self) -> Vec<(&'static str, f64)> {
        let names = Stages::default().named();
        let medians = self.stages.iter().map(|samples| samples.percentile(50.0));
        names.into_iter().zip(medians).filter_map(|((name, _), ms)| Some((name, ms?))).collect()
    }
}
