//! Pictures for LLLSI: where they come from, how they are coded, how they are read again.
//!
//! ```text
//! capture::Source ─ Bgra ─> convert ─ I420 ─> encode::Encoder ─ Annex B ─> decode::Decoder ─ I420 ─>
//! ```
//!
//! Each arrow is one owned buffer that the caller lends again and again, so a running stream does
//! not allocate. Nothing here starts a thread, touches the network or knows about sessions: the
//! caller decides which thread runs which stage and how often.
//!
//! Each role is a small trait with private backends; names of backends never show in the public
//! types. [`capture::test_card`] stands in for a screen wherever there is none.
//!
//! ```
//! use lllsi_media::{capture, convert, decode, encode};
//! use lllsi_media::picture::{Bgra, I420, Size};
//! use std::time::{Duration, Instant};
//!
//! # fn main() -> Result<(), lllsi_media::Error> {
//! let size = Size::new(320, 180);
//! let mut source = capture::test_card(size, 30);
//! let mut encoder = encode::h264(encode::Config { size, fps: 30, bitrate: 1_000_000 })?;
//! let mut decoder = decode::h264()?;
//!
//! let (mut screen, mut picture, mut seen) = (Bgra::default(), I420::default(), I420::default());
//! let mut coded = Vec::new();
//! source.next(Instant::now() + Duration::from_secs(1), &mut screen)?;
//! convert::to_i420(&screen, &mut picture)?;
//! encoder.encode(&picture, true, Duration::ZERO, &mut coded)?;
//! assert!(decoder.decode(&coded, &mut seen)?);
//! assert!(picture.luma_psnr(&seen) > 25.0);
//! # Ok(())
//! # }
//! ```

pub mod capture;
pub mod convert;
pub mod decode;
pub mod encode;
mod error;
mod openh264;
pub mod picture;

pub use error::Error;
