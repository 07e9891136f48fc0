//! What the fake encoder and decoder agree on: a picture's size and its mean grey, in H.264's
//! clothes, so that all that carries real video carries this too.

use crate::Error;
use crate::encode::{Config, Encoded, Kind};
use crate::picture::{I420, Size};
use std::time::Duration;

const START: [u8; 4] = [0, 0, 0, 1];
/// NAL headers: of a parameter set, of the slice of a keyframe and of another.
const SPS: u8 = 0x67;
const IDR: u8 = 0x65;
const DELTA: u8 = 0x41;
/// Values are written seven bits a byte with the eighth set: no start code can occur.
const VALUE: usize = 3;

/// See [`crate::encode::fake`].
pub(crate) struct Encoder {
    size: Size,
    keyframe_due: bool,
}

impl Encoder {
    pub(crate) fn new(config: Config) -> Self {
        Self { size: config.size, keyframe_due: true }
    }
}

impl crate::encode::Encoder for Encoder {
    fn encode(
        &mut self,
        picture: &I420,
        kind: Kind,
        _: Duration,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, Error> {
        out.clear();
        if picture.size() != self.size {
            return Err(Error::SizeChanged { expected: self.size, found: picture.size() });
        }
        let keyframe = std::mem::take(&mut self.keyframe_due) || kind == Kind::Keyframe;
        if keyframe {
            out.extend(START.into_iter().chain([SPS, 0x80]));
        }
        out.extend(START.into_iter().chain([if keyframe { IDR } else { DELTA }]));
        let luma = picture.planes()[0];
        let sum: u64 = luma.iter().map(|&value| u64::from(value)).sum();
        for value in [self.size.width, self.size.height, (sum / luma.len() as u64) as u32] {
            out.extend([value >> 14, value >> 7, value].map(|bits| bits as u8 | 0x80));
        }
        let again_after = (kind != Kind::Again).then_some(Duration::ZERO);
        Ok(Encoded { keyframe, next_after: Duration::ZERO, again_after })
    }

    fn set_bitrate(&mut self, _: u32) {}
}

/// See [`crate::decode::fake`].
#[derive(Default)]
pub(crate) struct Decoder {
    started: bool,
}

impl crate::decode::Decoder for Decoder {
    fn decode(&mut self, annex_b: &[u8], out: &mut I420) -> Result<bool, Error> {
        let slice = annex_b.windows(4).rposition(|bytes| bytes[..3] == START[1..]);
        let Some((kind, values)) = slice.and_then(|at| annex_b[at + 3..].split_first()) else {
            return Ok(false);
        };
        match *kind {
            IDR => {}
            DELTA if self.started => {}
            DELTA => return Err(Error::NeedsKeyframe),
            _ => return Ok(false),
        }
        let value = |bytes: &[u8]| bytes.iter().fold(0, |sum, b| sum << 7 | u32::from(b & 0x7f));
        let read: Vec<_> = values.chunks_exact(VALUE).map(value).collect();
        let &[width, height, grey] = read.as_slice() else {
            self.started = false;
            return Err(Error::Damaged { bytes: annex_b.len(), state: 0 });
        };
        out.reset(Size::new(width.min(4096), height.min(4096)));
        let [y, u, v] = out.planes_mut();
        y.fill(grey as u8);
        u.fill(128);
        v.fill(128);
        self.started = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn the_fakes_understand_each_other() {
        let size = Size::new(320, 180);
        let mut encoder = encode::fake(Config { size, fps: 30, bitrate: 1 });
        let mut decoder = decode::fake();
        let (mut coded, mut seen, mut picture) = (Vec::new(), I420::default(), I420::new(size));
        let none = Duration::ZERO;
        assert!(encoder.encode(&picture, Kind::Next, none, &mut coded).unwrap().keyframe);
        picture.planes_mut()[0].fill(99);
        let mut later = Vec::new();
        assert!(!encoder.encode(&picture, Kind::Next, none, &mut later).unwrap().keyframe);
        assert!(matches!(decoder.decode(&later, &mut seen), Err(Error::NeedsKeyframe)));
        assert!(decoder.decode(&coded, &mut seen).unwrap());
        assert!(decoder.decode(&later, &mut seen).unwrap());
        assert_eq!((seen.size(), seen.planes()[0][7]), (size, 99));
        later.pop();
        assert!(matches!(decoder.decode(&later, &mut seen), Err(Error::Damaged { .. })));
        let other = I420::new(Size::new(16, 16));
        let refused = encoder.encode(&other, Kind::Next, none, &mut coded);
        assert!(matches!(refused, Err(Error::SizeChanged { .. })));
    }
}
