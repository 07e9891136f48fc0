//! Pictures for LLLSI: where they come from, how they are coded, how they are read again.
//!
//! ```text
//! capture::Source ─ BgraView ─> convert ─ I420 ─> encode::Encoder ─ Annex B ─> …
//! … ─ Annex B ─> decode::Decoder ─ I420 ─> render::Display
//! ```
//!
//! Each arrow is one buffer that is lent again and again, so a running stream does not allocate
//! (but for small messages to and from X servers, and tables where a picture is scaled).
//! Nothing here starts a thread, touches the network or knows about sessions: the caller decides
//! which thread runs which stage and how often.
//!
//! Each role is a small trait with private backends, whose names never show in the public types,
//! and a fake beside them for tests and for machines without a screen:
//!
//! | role | for real | fake |
//! |---|---|---|
//! | [`capture::Source`] | [`capture::screen`] | [`capture::test_card`] |
//! | [`encode::Encoder`] | [`encode::h264`] | [`encode::fake`] |
//! | [`decode::Decoder`] | [`decode::h264`] | [`decode::fake`] |
//! | [`render::Display`] | [`render::window`] | [`render::memory`] |
//!
//! # How often a picture is touched
//!
//! From screen to screen, the pixels of a picture are written: by the X server into memory shared
//! with it (the rows that changed); by [`convert`] as I420 (the rows that changed); by the codec,
//! inside; by the decoder out of its own buffers into an [`picture::I420`]; by [`render`] as BGRA
//! into memory shared with the window's server, scaled before that if the window has another
//! size; by that server onto the screen. Where a host's picture is larger than it may be, it is
//! scaled as a whole, and where an X server shares no memory, it sends the rows. There is no other
//! copy of a whole picture.
//!
//! ```
//! use lllsi_media::{capture, convert, decode, encode};
//! use lllsi_media::picture::{I420, Size};
//! use std::time::{Duration, Instant};
//!
//! # fn main() -> Result<(), lllsi_media::Error> {
//! let size = Size::new(320, 180);
//! let mut source = capture::test_card(size, 30);
//! let mut encoder = encode::h264(encode::Config { size, fps: 30, bitrate: 1_000_000 })?;
//! let mut decoder = decode::h264()?;
//!
//! let (mut picture, mut seen, mut coded) = (I420::default(), I420::default(), Vec::new());
//! let now = Instant::now();
//! let grab = source.next(now, now + Duration::from_secs(1))?.expect("the first comes at once");
//! convert::to_i420(grab.picture, grab.rows, &mut picture)?;
//! encoder.encode(&picture, encode::Kind::Keyframe, Duration::ZERO, &mut coded)?;
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
mod fake;
mod openh264;
pub mod picture;
pub mod render;

pub use error::Error;
