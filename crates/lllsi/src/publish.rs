//! The host's picture pipeline: a capture thread and an encode thread.
//!
//! Capture hands the newest picture to the encoder: what the encoder had no time for is replaced. The encoder waits
//! for the net thread rather than lose a coded frame. A screen at rest is coded a few times more, until it is sharp.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi_core::CodedFrame;
use lllsi_core::host::Action;
use lllsi_io::peer::Actions;
use lllsi_media::capture::{Grab, Source};
use lllsi_media::picture::{Bgra, I420, Size};
use lllsi_media::{convert, encode};
use lllsi_proto::h264::FrameInfo;

use crate::Error;
use crate::stages::{Stages, Summary};

/// How often a thread without work looks whether it should stop.
const IDLE: Duration = Duration::from_millis(200);
/// A picture at rest is coded again this often…
const REFINE_EVERY: Duration = Duration::from_millis(66);
/// … at most so many times, or until nothing is left to improve.
const MAX_REFINEMENTS: u32 = 45;
const REFINED_BYTES: usize = 400;

/// How pictures are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub(crate) fps: u32,
    pub(crate) bitrate: u32,
    /// Scale to this.
    pub(crate) size: Option<Size>,
}

/// Figures of the pipeline since they were last taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) encodes: u64,
    pub(crate) bytes: u64,
    pub(crate) summary: Summary,
}

/// A picture on its way to the encoder.
struct Grabbed {
    picture: Bgra,
    changed_at: Instant,
    grabbed_at: Instant,
    done_at: Instant,
}

/// What the encode thread is to do. Each field keeps the newest.
#[derive(Default)]
struct Orders {
    grabbed: Option<Grabbed>,
    /// A buffer on its way back to the capture thread.
    spare: Option<Bgra>,
    keyframe: bool,
    bitrate: Option<u32>,
    watched: bool,
    stop: bool,
    figures: Figures,
}

/// The encode thread's mailbox.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<(Mutex<Orders>, Condvar)>);

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Orders> {
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

    /// Whether anybody watches: without viewers nothing is encoded.
    pub(crate) fn set_watched(&self, watched: bool) {
        self.order(|orders| orders.watched = watched);
    }

    /// Figures since the last call.
    pub(crate) fn take_figures(&self) -> Figures {
        std::mem::take(&mut self.lock().figures)
    }

    /// Replaces the waiting picture; gives a buffer for the next one.
    fn put(&self, grabbed: Grabbed) -> Bgra {
        let mut orders = self.lock();
        let replaced = orders.grabbed.replace(grabbed).map(|g| g.picture);
        self.0.1.notify_one();
        replaced.or_else(|| orders.spare.take()).unwrap_or_default()
    }

    /// Waits for something to do, until `deadline`.
    fn wait(&self, deadline: Instant) -> MutexGuard<'_, Orders> {
        let mut orders = self.lock();
        loop {
            let work = orders.watched && (orders.grabbed.is_some() || orders.keyframe);
            let left = deadline.saturating_duration_since(Instant::now());
            if work || orders.stop || left.is_zero() {
                return orders;
            }
            orders = self.0.1.wait_timeout(orders, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The running threads. Dropping it stops and joins them.
pub(crate) struct Pipeline {
    desk: Desk,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts the threads. `failed` is told once if one cannot go on.
    pub(crate) fn start(
        source: Box<dyn Source>,
        config: Config,
        desk: Desk,
        actions: Actions<Action>,
        failed: impl Fn(lllsi_media::Error) + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut pipeline =
            Self { desk: desk.clone(), stop: Arc::clone(&stop), threads: Vec::new() };
        let encoder = Encoding {
            desk: desk.clone(),
            config,
            actions,
            encoder: None,
            number: 0,
            begin: Instant::now(),
        };
        let told = failed.clone();
        pipeline.spawn("encode", move || {
            if let Err(error) = encoder.run() {
                told(error);
            }
        })?;
        pipeline.spawn("capture", move || {
            if let Err(error) = capture(source, config.fps, &desk, &stop) {
                failed(error);
            }
        })?;
        Ok(pipeline)
    }

    fn spawn(
        &mut self,
        name: &'static str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        let thread = thread.map_err(|source| lllsi_io::Error::Thread { name, source })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.desk.order(|orders| orders.stop = true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a picture thread panicked");
            }
        }
    }
}

fn capture(
    mut source: Box<dyn Source>,
    fps: u32,
    desk: &Desk,
    stop: &AtomicBool,
) -> Result<(), lllsi_media::Error> {
    let interval = Duration::from_secs(1) / fps.max(1);
    let mut picture = Bgra::default();
    let mut due_at = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        // The frame rate is a ceiling: changes that come faster are taken together.
        let wait = due_at.saturating_duration_since(Instant::now() + interval / 2);
        std::thread::sleep(wait.min(IDLE));
        let Grab::Fresh { changed_at, grabbed_at } =
            source.next(Instant::now() + IDLE, &mut picture)?
        else {
            continue;
        };
        // The frame rate holds over time; a single picture may be half an interval early, so that a source which keeps
        // the rate itself is never held back.
        due_at = due_at.max(grabbed_at) + interval;
        picture = desk.put(Grabbed { picture, changed_at, grabbed_at, done_at: Instant::now() });
    }
    Ok(())
}

/// When the stages before the encoder began and ended.
#[derive(Clone, Copy)]
struct Times {
    changed_at: Instant,
    grabbed_at: Instant,
    grab_done_at: Instant,
    convert_at: Instant,
    converted_at: Instant,
}

impl Times {
    /// A picture that is coded again has no stages before.
    fn again(now: Instant) -> Self {
        Self {
            changed_at: now,
            grabbed_at: now,
            grab_done_at: now,
            convert_at: now,
            converted_at: now,
        }
    }
}

struct Encoding {
    desk: Desk,
    config: Config,
    actions: Actions<Action>,
    encoder: Option<(Size, Box<dyn encode::Encoder>)>,
    number: u32,
    begin: Instant,
}

impl Encoding {
    fn run(mut self) -> Result<(), lllsi_media::Error> {
        let (mut full, mut scaled, mut scaler) =
            (I420::default(), I420::default(), convert::Scaler::new());
        let (mut coded, mut have_picture) = (Vec::new(), false);
        // How often the picture has been coded since it changed; none is waiting to be.
        let mut refinements = MAX_REFINEMENTS;
        loop {
            let deadline =
                Instant::now() + if refinements < MAX_REFINEMENTS { REFINE_EVERY } else { IDLE };
            let mut orders = self.desk.wait(deadline);
            if orders.stop {
                return Ok(());
            }
            let watched = orders.watched;
            let (grabbed, keyframe) =
                (orders.grabbed.take(), watched && std::mem::take(&mut orders.keyframe));
            if let Some(bitrate) = orders.bitrate.take() {
                self.config.bitrate = bitrate;
            }
            drop(orders);

            let now = Instant::now();
            let fresh = grabbed.is_some();
            let mut times = Times::again(now);
            if let Some(grabbed) = grabbed {
                convert::to_i420(&grabbed.picture, &mut full)?;
                if let Some(size) = self.config.size {
                    scaler.scale(&full, size.even(), &mut scaled)?;
                }
                (times.changed_at, times.grabbed_at) = (grabbed.changed_at, grabbed.grabbed_at);
                (times.grab_done_at, times.converted_at) = (grabbed.done_at, Instant::now());
                self.desk.lock().spare = Some(grabbed.picture);
                have_picture = true;
            }
            let refine = !fresh && refinements < MAX_REFINEMENTS;
            if !(watched && have_picture && (fresh || keyframe || refine)) {
                continue;
            }
            let picture = if self.config.size.is_some() { &scaled } else { &full };
            self.encode(picture, keyframe, times, &mut coded)?;
            refinements = if fresh || keyframe { 0 } else { refinements + 1 };
            if refine && coded.len() < REFINED_BYTES {
                refinements = MAX_REFINEMENTS;
            }
        }
    }

    fn encode(
        &mut self,
        picture: &I420,
        keyframe: bool,
        times: Times,
        coded: &mut Vec<u8>,
    ) -> Result<(), lllsi_media::Error> {
        let (size, bitrate) = (picture.size(), self.config.bitrate);
        let encoder = match &mut self.encoder {
            Some((have, encoder)) if *have == size => {
                encoder.set_bitrate(bitrate)?;
                encoder
            }
            none => {
                let config = encode::Config { size, fps: self.config.fps, bitrate };
                &mut none.insert((size, encode::h264(config)?)).1
            }
        };
        let begin_at = Instant::now();
        let encoded = encoder.encode(picture, keyframe, times.grabbed_at - self.begin, coded)?;
        let encoded_at = Instant::now();
        if coded.is_empty() {
            return Ok(());
        }
        self.number = self.number.wrapping_add(1);
        let us = |from: Instant, to: Instant| to.saturating_duration_since(from).as_micros() as u32;
        let info = FrameInfo {
            number: self.number,
            captured_us: 0,
            capture_wait_us: us(times.changed_at, times.grabbed_at),
            capture_us: us(times.grabbed_at, times.grab_done_at),
            convert_us: us(times.convert_at, times.converted_at),
            encode_wait_us: us(times.grab_done_at, times.convert_at)
                + us(times.converted_at, begin_at),
            encode_us: us(begin_at, encoded_at),
            send_queue_us: 0,
        };
        self.note(&info, coded.len());
        let frame = CodedFrame {
            data: Arc::from(coded.as_slice()),
            keyframe: encoded.keyframe,
            captured_at: times.grabbed_at,
            encoded_at,
            info,
        };
        // `false` means the session is over: the owner stops this thread.
        let _ = self.actions.act(Action::Send(frame));
        Ok(())
    }

    fn note(&self, info: &FrameInfo, bytes: usize) {
        let ms = |us: u32| Some(f64::from(us) / 1000.0);
        let stages = Stages {
            capture_wait: ms(info.capture_wait_us),
            capture: ms(info.capture_us),
            convert: ms(info.convert_us),
            encode_wait: ms(info.encode_wait_us),
            encode: ms(info.encode_us),
            ..Stages::default()
        };
        let figures = &mut self.desk.lock().figures;
        figures.encodes += 1;
        figures.bytes += bytes as u64;
        figures.summary.push(&stages);
    }
}
