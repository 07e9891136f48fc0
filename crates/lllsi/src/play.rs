//! The viewer's decode thread.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi_core::client::Action;
use lllsi_core::stats::Percentiles;
use lllsi_io::peer::{Actions, Overflow};
use lllsi_media::decode::Decoder;
use lllsi_media::picture::{I420, Size};

use crate::Error;
use crate::client::{ClientEvent, Frame};
use crate::mailbox::Mailbox;
use crate::pool::Pool;
use crate::stages::{Stages, Summary};

/// Coded frames that may wait for the decoder: a second at 30 fps. A decoder further behind goes on with a keyframe.
const QUEUE: usize = 30;

/// Figures of a viewer since they were last taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) frames: u64,
    pub(crate) decode_errors: u64,
    /// The longest time between two frames.
    pub(crate) longest_gap: Duration,
    last_frame_at: Option<Instant>,
    /// To the decoded picture.
    pub(crate) latency_ms: Percentiles,
    /// To the screen, of frames that were shown.
    pub(crate) shown_latency_ms: Percentiles,
    pub(crate) summary: Summary,
}

impl Figures {
    /// Takes the figures and begins anew; a gap that is open goes on.
    pub(crate) fn take(&mut self) -> Self {
        let fresh = Self { last_frame_at: self.last_frame_at, ..Self::default() };
        std::mem::replace(self, fresh)
    }

    /// Takes note of a frame that has been shown.
    pub(crate) fn shown(&mut self, frame: &Frame, at: Instant) {
        let ms = at.saturating_duration_since(frame.decoded_at).as_secs_f64() * 1000.0;
        self.summary.push(&Stages { present: Some(ms), ..Stages::default() });
        if let Some(latency) = frame.latency_ms {
            self.shown_latency_ms.push(latency + ms);
        }
    }
}

/// The net thread's end: takes frames, never waits.
pub(crate) struct Player(SyncSender<lllsi_core::Frame>);

impl Player {
    pub(crate) fn put(&self, frame: lllsi_core::Frame) -> Result<(), Overflow> {
        match self.0.try_send(frame) {
            Err(TrySendError::Full(_)) => Err(Overflow),
            // The decode thread has ended, and has told so.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}

/// A queue to a decode thread that is not started yet.
pub(crate) fn queue() -> (Player, Receiver<lllsi_core::Frame>) {
    let (sender, receiver) = sync_channel(QUEUE);
    (Player(sender), receiver)
}

/// Starts the decode thread; it ends when its [`Player`] is dropped.
pub(crate) fn start(
    frames: Receiver<lllsi_core::Frame>,
    decoder: Box<dyn Decoder>,
    decode: bool,
    actions: Actions<Action>,
    mailbox: Mailbox<ClientEvent, Frame>,
    figures: Arc<Mutex<Figures>>,
) -> Result<JoinHandle<()>, Error> {
    let decoding = Decoding {
        decoder,
        keep_decoding: decode,
        pictures: Pool::default(),
        size: None,
        actions,
        mailbox,
        figures,
    };
    let thread =
        std::thread::Builder::new().name("decode".into()).spawn(move || decoding.run(&frames));
    Ok(thread.map_err(|source| lllsi_io::Error::Thread { name: "decode", source })?)
}

struct Decoding {
    decoder: Box<dyn Decoder>,
    /// Otherwise only the first picture is decoded, to learn its size.
    keep_decoding: bool,
    pictures: Pool<I420>,
    size: Option<Size>,
    actions: Actions<Action>,
    mailbox: Mailbox<ClientEvent, Frame>,
    figures: Arc<Mutex<Figures>>,
}

impl Decoding {
    fn run(mut self, frames: &Receiver<lllsi_core::Frame>) {
        while let Ok(frame) = frames.recv() {
            self.frame(&frame);
        }
    }

    fn frame(&mut self, frame: &lllsi_core::Frame) {
        let begin = Instant::now();
        let decode = self.keep_decoding || self.size.is_none();
        let picture = if decode { self.decode(&frame.data) } else { None };
        if decode && picture.is_none() {
            return;
        }
        let done = Instant::now();
        let mut stages = Stages::of_arrival(frame);
        let ms =
            |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1000.0;
        stages.decode_wait = Some(ms(frame.complete_at, begin));
        stages.decode = Some(ms(begin, done));
        let wait_us = u64::from(frame.info.map_or(0, |info| info.capture_wait_us));
        let latency_ms =
            frame.latency_us.map(|us| (us + wait_us) as f64 / 1000.0 + ms(frame.complete_at, done));
        self.note(&stages, latency_ms);
        self.mailbox.put_frame(Frame {
            picture: picture.filter(|_| self.keep_decoding),
            size: self.size.unwrap_or_default(),
            number: frame.info.map(|info| info.number),
            keyframe: frame.keyframe,
            latency_ms,
            decoded_at: done,
            stages,
        });
    }

    fn decode(&mut self, data: &[u8]) -> Option<Arc<I420>> {
        let (picture, decoded) = self.pictures.fill(|picture| self.decoder.decode(data, picture));
        match decoded {
            Ok(true) => {
                self.size = Some(picture.size());
                Some(picture)
            }
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(%error, "a frame could not be decoded");
                self.figures().decode_errors += 1;
                self.actions.act(Action::RequestKeyframe);
                None
            }
        }
    }

    fn figures(&self) -> std::sync::MutexGuard<'_, Figures> {
        // No code that can panic runs under this lock.
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, stages: &Stages, latency_ms: Option<f64>) {
        let mut figures = self.figures();
        figures.frames += 1;
        let now = Instant::now();
        let gap = figures.last_frame_at.replace(now).map_or(Duration::ZERO, |last| now - last);
        figures.longest_gap = figures.longest_gap.max(gap);
        figures.summary.push(stages);
        if let Some(ms) = latency_ms {
            figures.latency_ms.push(ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_is_a_second_behind_overflows() {
        let now = Instant::now();
        let frame = lllsi_core::Frame {
            data: Vec::new(),
            keyframe: false,
            info: None,
            first_packet_at: now,
            complete_at: now,
            is_repaired: false,
            latency_us: None,
        };
        let (player, frames) = queue();
        for _ in 0..QUEUE {
            assert_eq!(player.put(frame.clone()), Ok(()));
        }
        assert_eq!(player.put(frame.clone()), Err(Overflow));
        frames.recv().expect("there are some");
        assert_eq!(player.put(frame.clone()), Ok(()));
        drop(frames);
        assert_eq!(player.put(frame), Ok(()), "the decode thread's end is told elsewhere");
    }
}
