//! Pictures of which a viewer can see that they are the right ones: dark on the left, bright and moving on the right.

use std::time::Duration;

use lllsi_media::encode::{self, Encoder, Kind};
use lllsi_media::picture::{I420, Size};
use lllsi_proto::h264::packetize;
use lllsi_rtc::Frame;

pub(crate) const SIZE: Size = Size::new(320, 240);
/// From one picture to the next.
pub(crate) const PAUSE: Duration = Duration::from_millis(40);
/// Bytes of a payload, as hosts send them.
const MAX_PAYLOAD: usize = 1148;
/// Luma of the left half, and the least of the right one.
const DARK: u8 = 40;
const BRIGHT: u8 = 190;

pub(crate) struct Film {
    encoder: Box<dyn Encoder>,
    picture: I420,
    number: u32,
    coded: Vec<u8>,
}

impl Film {
    pub(crate) fn new() -> Self {
        let config = encode::Config { size: SIZE, fps: 25, bitrate: 2_000_000 };
        let encoder = encode::h264(config).expect("the size can be encoded");
        Self { encoder, picture: I420::new(SIZE), number: 0, coded: Vec::new() }
    }

    /// Whether no picture was made yet.
    pub(crate) fn is_new(&self) -> bool {
        self.number == 0
    }

    /// The next picture, as RTP payloads, and its RTP timestamp.
    pub(crate) fn next(&mut self, is_keyframe: bool) -> (u32, Frame) {
        self.paint();
        let kind = if is_keyframe { Kind::Keyframe } else { Kind::Next };
        let time = PAUSE * self.number;
        self.encoder.encode(&self.picture, kind, time, &mut self.coded).expect("it is encoded");
        self.number += 1;
        let timestamp = time.as_millis() as u32 * 90;
        (timestamp, packetize(&self.coded, MAX_PAYLOAD).into())
    }

    fn paint(&mut self) {
        let width = SIZE.width as usize;
        let moved = 3 * self.number as usize;
        let [luma, _, _] = self.picture.planes_mut();
        for (y, row) in luma.chunks_mut(width).enumerate() {
            let (left, right) = row.split_at_mut(width / 2);
            left.fill(DARK);
            for (x, pixel) in right.iter_mut().enumerate() {
                *pixel = BRIGHT + ((x * x / 7 + y * y / 5 + moved) % 32) as u8;
            }
        }
    }
}
