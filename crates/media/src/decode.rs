//! Video to pictures: [`h264`] makes a [`Decoder`].
//!
//! It shows nothing rather than something wrong: a damaged picture is an error, and after one
//! nothing is decoded until a keyframe, so errors never spread through the predictions.

use crate::picture::I420;
use crate::{Error, fake};

mod openh264;

/// Turns an H.264 byte stream (Annex B) into pictures.
pub trait Decoder: Send {
    /// Decodes one whole access unit. `true`: its picture is in `out`, which takes its size.
    /// `false`: it held no picture (parameter sets alone, or nothing). The sender's size may
    /// change at any keyframe.
    ///
    /// # Errors
    /// [`Error::NeedsKeyframe`] at the start and after damage, until a keyframe comes;
    /// [`Error::Damaged`] when the bytes make no whole picture. Both ask for a keyframe; the
    /// decoder stays usable, and `out` stays as it was.
    fn decode(&mut self, annex_b: &[u8], out: &mut I420) -> Result<bool, Error>;
}

/// An H.264 decoder in software, for streams whose pictures are sent in the order they are shown
/// (no B pictures): each comes out with its own access unit.
///
/// # Errors
/// [`Error::CodecSetup`] when the decoder cannot be made.
pub fn h264() -> Result<Box<dyn Decoder>, Error> {
    Ok(Box::new(openh264::Decoder::new()?))
}

/// A decoder for tests: the other half of [`crate::encode::fake`].
pub fn fake() -> Box<dyn Decoder> {
    Box::new(fake::Decoder::default())
}

#[cfg(test)]
mod tests;
