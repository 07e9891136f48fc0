//! A layer's encode thread: codes the newest picture once for all its viewers, and refines it while it rests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_core::CodedFrame;
use lllsi_core::host::LayerId;
use lllsi_media::Error;
use lllsi_media::encode::{self, Kind};
use lllsi_media::picture::{I420, Size};
use lllsi_proto::h264::FrameInfo;

use super::desk::{Canvas, Desk, Times};
use super::{Config, IDLE, MakeEncoder};
use crate::pool::Pool;
use crate::stages::Stages;

/// A picture at rest is coded again so long after the last time, or later if the encoder says so…
const REFINE_EVERY: Duration = Duration::from_millis(66);
/// … until it is as fine as it gets, or so many times: no encoder keeps a screen at rest busy for ever. A picture of the largest
/// size has 256 rows of blocks, which may have to be sharpened one by one.
const MAX_REFINEMENTS: u32 = 256 + 60;

/// The thread's own.
pub(super) struct Encoding<S> {
    layer: LayerId,
    desk: Desk,
    config: Config,
    make: MakeEncoder,
    send: S,
    encoder: Option<(Size, Box<dyn encode::Encoder>)>,
    coded: Pool<Vec<u8>>,
    number: u32,
    begin: Instant,
    /// Of the last picture; time does not go back.
    captured_at: Instant,
}

impl Times {
    /// A picture that is coded again has no stages before.
    fn again(now: Instant) -> Self {
        Self { changed_at: now, grabbed_at: now, read_at: now, converted_at: now }
    }
}

impl<S: FnMut(CodedFrame)> Encoding<S> {
    /// `send` takes the frames; it may wait.
    pub(super) fn new(
        layer: LayerId,
        desk: Desk,
        config: Config,
        make: MakeEncoder,
        send: S,
    ) -> Self {
        let begin = Instant::now();
        Self {
            layer,
            desk,
            config,
            make,
            send,
            encoder: None,
            coded: Pool::default(),
            number: 0,
            begin,
            captured_at: begin,
        }
    }

    /// Codes pictures until it is told to stop, or the encoder fails.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let layer = usize::from(self.layer.0);
        let mut present: Option<Arc<Canvas>> = None;
        // How often the picture may still be coded again, and when.
        let (mut refinements, mut refine_at) = (0, Instant::now());
        let mut keyframe = false;
        // When the path has carried what was sent beyond its due.
        let mut next_at = Instant::now();
        loop {
            let deadline = if refinements > 0 { refine_at } else { Instant::now() + IDLE };
            let runs = self.encoder.is_some();
            let mut orders = self.desk.wait(layer, runs, next_at, deadline);
            if orders.stop {
                return Ok(());
            }
            let own = &mut orders.layers[layer];
            if !own.watched {
                (own.keyframe, own.bitrate) = (false, None);
                drop(orders);
                // The next viewer finds the newest picture, and a fresh encoder.
                (self.encoder, refinements, keyframe) = (None, 0, false);
                next_at = Instant::now();
                continue;
            }
            keyframe |= std::mem::take(&mut own.keyframe);
            if let Some(bitrate) = own.bitrate.take() {
                self.config.bitrate = bitrate;
                // An encoder begins with its rate, and with a keyframe.
                keyframe |= !runs;
            }
            let mut times: Option<Times> = None;
            if let Some(taken) = own.taken.take() {
                times = taken.times;
                refinements = if runs { MAX_REFINEMENTS } else { 0 };
                present = Some(taken.canvas);
            }
            drop(orders);
            let Some(canvas) = &present else { continue };
            let kind = match (keyframe, times.is_some()) {
                (true, _) => Kind::Keyframe,
                // The rate that it begins with is still to come.
                _ if !runs => continue,
                (_, true) => Kind::Next,
                _ if refinements > 0 && Instant::now() >= refine_at => Kind::Again,
                _ => continue,
            };
            // A picture that waited while nobody watched may be old.
            let times = times.filter(|_| runs);
            let times = times.unwrap_or_else(|| Times::again(Instant::now()));
            let begin_at = Instant::now();
            let (next_after, again_after) = self.encode(&canvas.picture, kind, times)?;
            keyframe = false;
            refinements = match again_after {
                None => 0,
                Some(_) if kind == Kind::Again => refinements - 1,
                Some(_) => MAX_REFINEMENTS,
            };
            next_at = begin_at + next_after;
            refine_at = Instant::now() + again_after.unwrap_or_default().max(REFINE_EVERY);
        }
    }

    /// Codes a picture and sends it. Returns how long the next one has to wait, and when to code this one again.
    fn encode(
        &mut self,
        picture: &I420,
        kind: Kind,
        times: Times,
    ) -> Result<(Duration, Option<Duration>), Error> {
        let (size, bitrate) = (picture.size(), self.config.bitrate);
        let encoder = match &mut self.encoder {
            Some((have, encoder)) if *have == size => {
                encoder.set_bitrate(bitrate);
                encoder
            }
            none => {
                let config = encode::Config { size, fps: self.config.fps, bitrate };
                &mut none.insert((size, (self.make)(config)?)).1
            }
        };
        let begin_at = Instant::now();
        // A refinement may have come between a grab and its turn.
        self.captured_at = self.captured_at.max(times.grabbed_at);
        let timestamp = self.captured_at.saturating_duration_since(self.begin);
        let (data, encoded) = self.coded.fill(|out| encoder.encode(picture, kind, timestamp, out));
        let (encoded, encoded_at) = (encoded?, Instant::now());
        let bytes = data.len();
        if bytes == 0 {
            return Ok((Duration::ZERO, None));
        }
        self.number = self.number.wrapping_add(1);
        let us = |from: Instant, to: Instant| to.saturating_duration_since(from).as_micros() as u32;
        let info = FrameInfo {
            number: self.number,
            captured_us: 0,
            capture_wait_us: us(times.changed_at, times.grabbed_at),
            capture_us: us(times.grabbed_at, times.read_at),
            convert_us: us(times.read_at, times.converted_at),
            encode_wait_us: us(times.converted_at, begin_at),
            encode_us: us(begin_at, encoded_at),
            send_queue_us: 0,
        };
        self.note(&info, bytes);
        let (captured_at, keyframe) = (self.captured_at, encoded.keyframe);
        let layer = self.layer;
        (self.send)(CodedFrame { layer, data, keyframe, captured_at, encoded_at, info });
        Ok((encoded.next_after, encoded.again_after))
    }

    fn note(&self, info: &FrameInfo, bytes: usize) {
        let stages = Stages::of_host(info);
        let figures = &mut self.desk.lock().figures;
        figures.frames[usize::from(self.layer.0)] += 1;
        figures.bytes += bytes as u64;
        figures.summary.push(&stages);
    }
}
