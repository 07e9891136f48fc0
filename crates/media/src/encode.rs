//! Pictures to video: [`h264`] makes an [`Encoder`] for interactive streams.
//!
//! What it promises, because a live stream depends on it: one access unit per picture and at
//! once, no picture skipped, a keyframe when asked and otherwise only in place of a picture far too
//! large, the bit rate changeable between any two pictures. A picture that stays the same is refined
//! until it is sharp.

use crate::picture::{I420, Size};
use crate::{Error, fake};
use std::time::Duration;

mod openh264;
mod quality;
mod smooth;
mod soft;

/// What to make an encoder for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The size of every picture; even, [`MIN_SIDE`] to [`MAX_SIDE`].
    pub size: Size,
    /// The most pictures a second, 1 to 60. Each picture may cost `bitrate / fps` bits on
    /// average, so fewer pictures cost less than `bitrate`.
    pub fps: u32,
    /// Bits a second to aim at.
    pub bitrate: u32,
}

/// The longest side of a picture that [`h264`] can code.
pub const MAX_SIDE: u32 = 4096;
/// The shortest: one macroblock.
pub const MIN_SIDE: u32 = 16;
/// The most pictures a second that OpenH264 plans for.
const MAX_FPS: u32 = 60;

impl Config {
    /// Whether [`h264`] can be made for this.
    ///
    /// # Errors
    /// [`Error::UnusableSize`] and [`Error::FrameRate`], with what is possible.
    pub fn check(&self) -> Result<(), Error> {
        let Self { size, fps, .. } = *self;
        let sides = MIN_SIDE..=MAX_SIDE;
        if size != size.even() {
            return Err(Error::UnusableSize { size, reason: "both sides must be even" });
        }
        if !sides.contains(&size.width) || !sides.contains(&size.height) {
            return Err(Error::UnusableSize { size, reason: "each side must be 16 to 4096" });
        }
        if !(1..=MAX_FPS).contains(&fps) {
            return Err(Error::FrameRate { fps, most: MAX_FPS });
        }
        Ok(())
    }
}

/// What a picture is in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one after the last.
    Next,
    /// The last one once more: it is to become finer.
    Again,
    /// One at which decoding can start.
    Keyframe,
}

/// What [`Encoder::encode`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// When to code the next picture at the earliest: what was sent beyond its due would hold it up. Zero: at once.
    pub next_after: Duration,
    /// When to code the picture [`Kind::Again`] if it rests: once the path has had the time to
    /// carry what was sent beyond its due. `None`: that would make it no finer, or take too long.
    pub again_after: Option<Duration>,
}

/// Turns pictures into an H.264 byte stream (Annex B).
pub trait Encoder: Send {
    /// Encodes one picture into `out`, which is cleared first and then holds one whole access
    /// unit. A keyframe begins with its parameter sets. The first picture is a keyframe, later
    /// ones are if `kind` asks for it, or if the picture would otherwise be far larger than the
    /// bit rate carries. `timestamp` counts from any fixed moment and must not go back.
    ///
    /// # Errors
    /// [`Error::SizeChanged`] for a picture that is not of the size the encoder was made for;
    /// [`Error::Encode`] when the encoder itself fails. Both ask for a new encoder.
    fn encode(
        &mut self,
        picture: &I420,
        kind: Kind,
        timestamp: Duration,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, Error>;

    /// Aims at another bit rate, in bits a second, from the next picture on. Values below
    /// 10 kbit/s count as 10 kbit/s.
    fn set_bitrate(&mut self, bps: u32);
}

/// An H.264 encoder in software, Constrained Baseline, which every browser decodes.
///
/// # Errors
/// [`Error::UnusableSize`] and [`Error::FrameRate`] for what [`Config`] excludes,
/// [`Error::CodecSetup`] when the encoder refuses for another reason.
pub fn h264(config: Config) -> Result<Box<dyn Encoder>, Error> {
    Ok(Box::new(openh264::Encoder::new(config)?))
}

/// What would make [`h264`] faster on this machine, in words for a person; `None` if it is as fast
/// as it gets.
pub fn advice() -> Option<&'static str> {
    let x86 = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    (x86 && !crate::openh264::has_assembly()).then_some(
        "This build encodes without assembly: install nasm and build again, and encoding takes \
         half the time or less.",
    )
}

/// An encoder for tests: quick, and what [`crate::decode::fake`] makes of it is the picture's mean
/// grey.
pub fn fake(config: Config) -> Box<dyn Encoder> {
    Box::new(fake::Encoder::new(config))
}

#[cfg(test)]
mod tests;
