//! The host's picture pipeline: a capture thread, and an encode thread for each layer.
//!
//! Capture hands the newest picture to all encoders: what an encoder had no time for is replaced. Encoders wait
//! for the net thread rather than lose a coded frame. A screen at rest is coded a few times more, until it is sharp.

mod capture;
mod desk;
mod encode;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use lllsi_core::CodedFrame;
use lllsi_core::host::{LayerId, MAX_LAYERS};
use lllsi_media::capture::Source;
use lllsi_media::encode::Encoder;
use lllsi_media::picture::Size;

use crate::Error;
pub(crate) use desk::Desk;
use encode::Encoding;

const LAYERS: usize = MAX_LAYERS as usize;
/// The names of the encode threads.
const ENCODE: [&str; LAYERS] = ["encode", "encode 1", "encode 2"];
/// How often a thread without work looks whether it should stop.
const IDLE: Duration = Duration::from_millis(200);
/// And one whose layer nobody is sent: it is woken when that changes.
const REST: Duration = Duration::from_secs(10);

/// Makes an encoder whenever the pictures have another size.
pub(crate) type MakeEncoder =
    fn(lllsi_media::encode::Config) -> Result<Box<dyn Encoder>, lllsi_media::Error>;

/// How pictures are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub(crate) fps: u32,
    pub(crate) bitrate: u32,
    /// No picture is larger.
    pub(crate) bounds: Size,
}

/// The running threads. Dropping it stops and joins them.
pub(crate) struct Pipeline {
    desk: Desk,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts the threads. `send` takes the coded frames, and may wait. `failed` is called if a thread cannot go on; why
    /// lies on the desk.
    pub(crate) fn start(
        source: Box<dyn Source>,
        make: MakeEncoder,
        config: Config,
        desk: Desk,
        send: impl FnMut(CodedFrame) + Clone + Send + 'static,
        failed: impl Fn() + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let mut pipeline = Self { desk: desk.clone(), threads: Vec::new() };
        let capturing = desk.clone();
        let taking = move || capture::run(source, config.fps, config.bounds, &capturing);
        let failing = desk.clone();
        let tell = move |error| {
            failing.fail(error);
            failed();
        };
        for (layer, name) in (0..).map(LayerId).zip(ENCODE) {
            let encoding = Encoding::new(layer, desk.clone(), config, make, send.clone());
            pipeline.spawn(name, move || encoding.run(), tell.clone())?;
        }
        pipeline.spawn("capture", taking, tell)?;
        Ok(pipeline)
    }

    fn spawn(
        &mut self,
        name: &'static str,
        run: impl FnOnce() -> Result<(), lllsi_media::Error> + Send + 'static,
        tell: impl FnOnce(lllsi_media::Error) + Send + 'static,
    ) -> Result<(), Error> {
        let guarded = move || {
            // Nothing of what `run` owns is used again.
            let ended = catch_unwind(AssertUnwindSafe(run));
            let ended = ended.unwrap_or(Err(lllsi_media::Error::Panicked { stage: name }));
            ended.unwrap_or_else(tell);
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(guarded);
        let thread = thread.map_err(|source| lllsi_io::Error::Thread { name, source })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.desk.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a picture thread panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lllsi_media::capture::{self, Grab};
    use lllsi_media::picture::{BgraView, I420};
    use lllsi_media::{decode, encode as coding};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(20);
    const BOUNDS: Size = Size::new(4096, 4096);
    const CONFIG: Config = Config { fps: 60, bitrate: 1_000_000, bounds: BOUNDS };

    /// Flat grey pictures: each takes the next grey and size; then it is lost.
    struct Script(std::vec::IntoIter<(u8, Size)>, Size, Vec<u8>);

    impl Source for Script {
        fn size(&self) -> Size {
            self.1
        }

        fn describe(&self) -> String {
            "a script".into()
        }

        fn next(
            &mut self,
            earliest: Instant,
            _: Instant,
        ) -> Result<Option<Grab<'_>>, lllsi_media::Error> {
            std::thread::sleep(earliest.saturating_duration_since(Instant::now()));
            let Some((grey, size)) = self.0.next() else {
                let (display, reason) = ("script".into(), "it ends here".into());
                return Err(lllsi_media::Error::DisplayLost { display, reason });
            };
            self.1 = size;
            self.2.clear();
            self.2.resize(size.pixels() * 4, grey);
            let (picture, now) = (BgraView::new(size, &self.2), Instant::now());
            Ok(Some(Grab { picture, rows: 0..size.height, changed_at: now, grabbed_at: now }))
        }

        fn last(&self) -> BgraView<'_> {
            BgraView::new(self.1, &self.2)
        }
    }

    fn fake(config: coding::Config) -> Result<Box<dyn Encoder>, lllsi_media::Error> {
        Ok(coding::fake(config))
    }

    fn watched() -> Desk {
        let desk = Desk::default();
        desk.set_watched(LayerId(0), true);
        desk.want_keyframe(LayerId(0));
        desk
    }

    fn start(
        source: Box<dyn Source>,
        desk: &Desk,
    ) -> (Pipeline, Receiver<CodedFrame>, Receiver<()>) {
        let (frames, frames_out) = channel();
        let (failed, failed_out) = channel();
        let send = move |frame| drop(frames.send(frame));
        let told = move || {
            let _ = failed.send(());
        };
        let pipeline = Pipeline::start(source, fake, CONFIG, desk.clone(), send, told);
        (pipeline.expect("threads start"), frames_out, failed_out)
    }

    #[test]
    fn a_new_size_begins_with_a_keyframe_and_a_lost_source_is_told() {
        let sizes = [Size::new(64, 48), Size::new(32, 32)];
        let script: Vec<_> = sizes.iter().flat_map(|&size| vec![(200, size); 5]).collect();
        let source = Box::new(Script(script.into_iter(), sizes[0], Vec::new()));
        let desk = watched();
        let (_pipeline, frames, failed) = start(source, &desk);
        failed.recv_timeout(PATIENCE).expect("the source is lost");
        let reason = desk.take_failure().expect("it lies there").to_string();
        assert!(reason.contains("it ends here"), "{reason}");
        let (mut decoder, mut seen, mut shown) = (decode::fake(), I420::default(), Vec::new());
        for frame in frames.try_iter() {
            assert!(decoder.decode(&frame.data, &mut seen).expect("it can be decoded"));
            assert!(
                frame.keyframe || shown.last() == Some(&seen.size()),
                "a size without a keyframe"
            );
            shown.push(seen.size());
        }
        shown.dedup();
        assert_eq!(shown, sizes);
    }

    #[test]
    fn a_picture_at_rest_is_coded_again_until_nothing_is_left_to_refine() {
        let desk = watched();
        // One picture a second: it rests in between.
        let source = capture::test_card(Size::new(64, 48), 1);
        let (_pipeline, frames, _failed) = start(source, &desk);
        let first = frames.recv_timeout(PATIENCE).expect("a picture");
        let again = frames.recv_timeout(PATIENCE).expect("it is refined");
        assert!(first.keyframe && !again.keyframe);
        assert_eq!((again.info.number, again.info.capture_us), (2, 0));
        desk.want_keyframe(LayerId(0));
        let frame = std::iter::from_fn(|| frames.recv_timeout(PATIENCE).ok()).find(|f| f.keyframe);
        assert!(frame.is_some(), "a keyframe for whoever asked");
    }

    /// A source with a defect.
    struct Defect;

    impl Source for Defect {
        fn size(&self) -> Size {
            Size::new(64, 48)
        }

        fn describe(&self) -> String {
            "a defect".into()
        }

        fn next(&mut self, _: Instant, _: Instant) -> Result<Option<Grab<'_>>, lllsi_media::Error> {
            panic!("as it must in this test")
        }

        fn last(&self) -> BgraView<'_> {
            BgraView::new(Size::default(), &[])
        }
    }

    #[test]
    fn a_panic_in_a_thread_is_told() {
        let desk = watched();
        let (_pipeline, _frames, failed) = start(Box::new(Defect), &desk);
        failed.recv_timeout(PATIENCE).expect("it is told");
        let reason = desk.take_failure();
        assert!(matches!(reason, Some(lllsi_media::Error::Panicked { stage: "capture" })));
    }

    #[test]
    fn nothing_is_coded_while_nobody_watches() {
        let desk = Desk::default();
        let source = capture::test_card(Size::new(64, 48), 100);
        let (_pipeline, frames, _failed) = start(source, &desk);
        assert!(frames.recv_timeout(IDLE * 2).is_err());
        desk.set_watched(LayerId(1), true);
        desk.want_keyframe(LayerId(1));
        let first = frames.recv_timeout(PATIENCE).expect("a picture");
        assert!(first.keyframe && first.layer == LayerId(1));
    }

    #[test]
    fn layers_are_coded_side_by_side_and_one_that_waits_holds_up_no_other() {
        let desk = Desk::default();
        let source = capture::test_card(Size::new(64, 48), 100);
        let (_pipeline, frames, _failed) = start(source, &desk);
        for layer in [LayerId(0), LayerId(2)] {
            desk.set_watched(layer, true);
            desk.set_bitrate(layer, 1_000_000);
        }
        let mut began = std::collections::BTreeSet::new();
        while began.len() < 2 {
            let frame = frames.recv_timeout(PATIENCE).expect("both begin");
            assert!(!began.insert(frame.layer) || frame.keyframe, "with a keyframe");
        }
        desk.set_held(LayerId(2), true);
        // What was under way when it was to wait.
        let of_both = (0..8).map(|_| frames.recv_timeout(PATIENCE).expect("pictures go on"));
        drop(of_both.collect::<Vec<_>>());
        let later = (0..8).map(|_| frames.recv_timeout(PATIENCE).expect("pictures go on").layer);
        assert!(later.collect::<Vec<_>>().iter().all(|layer| *layer == LayerId(0)));
        desk.set_held(LayerId(2), false);
        let goes_on = |frame: CodedFrame| frame.layer == LayerId(2);
        assert!(frames.iter().take(100).any(goes_on));
    }
}
