//! H.264 over RTP (RFC 6184, packetization mode 1), and the [`FrameInfo`] that travels with each frame.
//!
//! [`packetize`] is done once per frame for all viewers; [`Depacketizer`] puts a frame together again. The frame information
//! stands before the first payload, for viewers that say that they know it; to others the payloads go as they are, so any
//! WebRTC peer can play the stream.
//!
//! ```
//! use lllsi_proto::h264::{Depacketizer, FrameInfo, packetize};
//!
//! let frame = [0, 0, 0, 1, 0x65, 1, 2, 3];
//! let info = FrameInfo { number: 1, ..FrameInfo::default() };
//! let payloads = packetize(&frame, 1000);
//! let mut depacketizer = Depacketizer::default();
//! depacketizer.push(&[&info.to_prefix()[..], &payloads[0]].concat()).unwrap();
//! for payload in &payloads[1..] {
//!     depacketizer.push(payload).unwrap();
//! }
//! let (data, got) = depacketizer.take();
//! assert_eq!((data.as_slice(), got), (&frame[..], Some(info)));
//! ```

use std::sync::Arc;

use crate::Error;
use crate::fields::Fields;

/// The largest frame that is put together, in bytes.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of [`FrameInfo::to_prefix`].
pub const PREFIX_BYTES: usize = 40;

const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;
/// RFC 6184 (5.2) leaves this type undefined, and has receivers ignore it.
const NAL_PREFIX: u8 = 30;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// What the host knows about a frame, for the viewer's latency by stage. Durations in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameInfo {
    /// Counts the encoded frames of a layer, in its lower 28 bits; the upper four name the layer.
    pub number: u32,
    /// When the picture was grabbed, on the host's clock, microseconds.
    pub captured_us: u64,
    /// From the first change of the screen to the grab.
    pub capture_wait_us: u32,
    /// The grab itself.
    pub capture_us: u32,
    /// Colour conversion and scaling.
    pub convert_us: u32,
    /// Waiting for the encoder.
    pub encode_wait_us: u32,
    /// The encoder.
    pub encode_us: u32,
    /// From the encoder's end to the packets' way to the socket.
    pub send_queue_us: u32,
}

impl FrameInfo {
    /// The bits of [`Self::number`] that count.
    pub const MAX_NUMBER: u32 = (1 << 28) - 1;

    /// The layer.
    pub fn layer(&self) -> u8 {
        (self.number >> 28) as u8
    }

    /// How many frames of the same layer came between an earlier frame and this one; 0 if that one is of another layer.
    pub fn frames_since(&self, number: u32) -> u32 {
        let steps = self.number.wrapping_sub(number) & Self::MAX_NUMBER;
        let is_same = self.number >> 28 == number >> 28;
        if is_same { steps.saturating_sub(1) } else { 0 }
    }

    /// From the grab to the host's socket, microseconds.
    pub fn in_host_us(&self) -> u64 {
        [self.capture_us, self.convert_us, self.encode_wait_us, self.encode_us, self.send_queue_us]
            .into_iter()
            .map(u64::from)
            .sum()
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.captured_us.to_be_bytes());
        for us in [
            self.capture_wait_us,
            self.capture_us,
            self.convert_us,
            self.encode_wait_us,
            self.encode_us,
            self.send_queue_us,
        ] {
            out.extend_from_slice(&us.to_be_bytes());
        }
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            number: fields.u32()?,
            captured_us: fields.u64()?,
            capture_wait_us: fields.u32()?,
            capture_us: fields.u32()?,
            convert_us: fields.u32()?,
            encode_wait_us: fields.u32()?,
            encode_us: fields.u32()?,
            send_queue_us: fields.u32()?,
        })
    }

    /// What stands before the first payload of a frame, for viewers that know it.
    pub fn to_prefix(self) -> [u8; PREFIX_BYTES] {
        let mut out = Vec::with_capacity(PREFIX_BYTES);
        out.extend_from_slice(&[NAL_PREFIX, PREFIX_BYTES as u8, 0, 0]);
        self.write(&mut out);
        *out.first_chunk().expect("a head of 4 bytes and fields of 36")
    }

    /// Splits a payload into the information that stands before it, and the rest. A prefix with more fields than these is of a
    /// later version; one with fewer makes no sense and stays.
    fn split(payload: &[u8]) -> (Option<Self>, &[u8]) {
        let &[NAL_PREFIX, len, _, _, ref rest @ ..] = payload else { return (None, payload) };
        let mut fields = Fields { what: "frame information", rest };
        match (Self::read(&mut fields), payload.get(usize::from(len)..)) {
            (Ok(info), Some(after)) if usize::from(len) >= PREFIX_BYTES => (Some(info), after),
            _ => (None, payload),
        }
    }
}

/// The NAL units of an Annex B byte stream, without their start codes.
pub fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = skip_start_code(annex_b);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = start_code(bytes).unwrap_or(bytes.len());
        rest = skip_start_code(&bytes[end..]);
        // A fourth byte of the next start code, and trailing zero bytes, belong to no NAL unit.
        let len = bytes[..end].iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        Some(&bytes[..len])
    })
    .filter(|nal| !nal.is_empty())
}

fn skip_start_code(bytes: &[u8]) -> Option<&[u8]> {
    start_code(bytes).map(|at| &bytes[at + 3..])
}

/// Where three bytes 0, 0, 1 begin. Most places are passed over three at a time.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(window) = bytes.get(at..at + 3) {
        match window {
            [0, 0, 1] => return Some(at),
            [_, _, 0] => at += 1,
            [_, _, _] => at += 3,
            _ => break,
        }
    }
    None
}

/// Splits a frame into RTP payloads of at most `max_payload` bytes (at least 100). The last one carries the marker.
///
/// The first has [`PREFIX_BYTES`] less, so that the information has room before it. Fragments of one NAL unit have equal
/// sizes, with that room, but for the last, smaller one: what segmentation offload wants.
pub fn packetize(annex_b: &[u8], max_payload: usize) -> Vec<Arc<[u8]>> {
    assert!(max_payload >= 100, "an RTP payload must hold at least the frame information");
    let mut payloads = Vec::with_capacity(annex_b.len() / max_payload + 3);
    let mut group: Vec<&[u8]> = Vec::new();
    let mut group_bytes = 1;
    for nal in nal_units(annex_b) {
        if group_bytes + 2 + nal.len() > max_payload - room(&payloads) {
            flush(&mut group, &mut payloads);
            group_bytes = 1;
        }
        if nal.len() > max_payload - room(&payloads) {
            fragment(nal, max_payload, &mut payloads);
        } else {
            group_bytes += 2 + nal.len();
            group.push(nal);
        }
    }
    flush(&mut group, &mut payloads);
    payloads
}

/// What the next payload leaves to the frame information.
fn room(payloads: &[Arc<[u8]>]) -> usize {
    if payloads.is_empty() { PREFIX_BYTES } else { 0 }
}

/// Sends a lone NAL unit as it is, several as one aggregate (STAP-A, RFC 6184 5.7.1).
fn flush(group: &mut Vec<&[u8]>, payloads: &mut Vec<Arc<[u8]>>) {
    match group.as_slice() {
        [] => {}
        [nal] => payloads.push(Arc::from(*nal)),
        nals => {
            let importance = nals.iter().map(|nal| nal[0] & 0x60).max().unwrap_or(0);
            let mut payload = vec![importance | NAL_STAP_A];
            for nal in nals {
                // Checked by the caller: the aggregate, so each unit, fits one payload.
                payload.extend_from_slice(&(nal.len() as u16).to_be_bytes());
                payload.extend_from_slice(nal);
            }
            payloads.push(payload.into());
        }
    }
    group.clear();
}

/// Cuts a NAL unit into fragments (FU-A, RFC 6184 5.8).
fn fragment(nal: &[u8], max_payload: usize, payloads: &mut Vec<Arc<[u8]>>) {
    let (header, mut body) = (nal[0], &nal[1..]);
    let mut room = room(payloads);
    let count = (room + body.len()).div_ceil(max_payload - 2);
    let size = (room + body.len()).div_ceil(count);
    let mut start = 0x80;
    while !body.is_empty() {
        let (chunk, rest) = body.split_at((size - room).min(body.len()));
        let end = if rest.is_empty() { 0x40 } else { 0 };
        let mut payload = Vec::with_capacity(2 + chunk.len());
        payload.extend_from_slice(&[header & 0x60 | NAL_FU_A, start | end | header & 0x1f]);
        payload.extend_from_slice(chunk);
        payloads.push(payload.into());
        (body, room, start) = (rest, 0, 0);
    }
}

/// Whether a payload begins a frame that can be decoded without an earlier one.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    match FrameInfo::split(payload).1 {
        [header, rest @ ..] if header & 0x1f == NAL_STAP_A => {
            aggregated(rest).flatten().any(|nal| matches!(nal[0] & 0x1f, NAL_SPS | NAL_IDR))
        }
        [header, ..] => header & 0x1f == NAL_SPS,
        [] => false,
    }
}

/// The non-empty NAL units of a STAP-A body; an error ends it.
fn aggregated(mut body: &[u8]) -> impl Iterator<Item = Result<&[u8], Error>> {
    std::iter::from_fn(move || {
        let (size, rest) = match body {
            [] => return None,
            [a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            [_] => {
                body = &[];
                return Some(Err(Error::Truncated { what: "STAP-A", need: 2, got: 1 }));
            }
        };
        if size == 0 || size > rest.len() {
            body = &[];
            return Some(Err(Error::Truncated {
                what: "STAP-A unit",
                need: size,
                got: rest.len(),
            }));
        }
        body = &rest[size..];
        Some(Ok(&rest[..size]))
    })
}

/// Puts one frame together from its payloads, given in order and without gaps.
#[derive(Debug, Default)]
pub struct Depacketizer {
    data: Vec<u8>,
    info: Option<FrameInfo>,
    in_fragment: bool,
}

impl Depacketizer {
    /// Takes the next payload. After an error the frame is lost: call [`Self::take`] and drop what it gives.
    pub fn push(&mut self, payload: &[u8]) -> Result<(), Error> {
        let (info, payload) = FrameInfo::split(payload);
        self.info = info.or(self.info);
        let [header, rest @ ..] = payload else {
            return Err(Error::Truncated { what: "RTP payload", need: 1, got: 0 });
        };
        let kind = header & 0x1f;
        if self.in_fragment && kind != NAL_FU_A {
            return Err(Error::invalid("RTP payload", "a fragmented NAL unit was not finished"));
        }
        if self.data.len() + payload.len() > MAX_FRAME_BYTES {
            let got = self.data.len() + payload.len();
            return Err(Error::TooLong { what: "frame", got, max: MAX_FRAME_BYTES });
        }
        match kind {
            1..=23 => self.nal(payload),
            NAL_STAP_A => {
                for nal in aggregated(rest) {
                    self.nal(nal?);
                }
            }
            NAL_FU_A => return self.fragment(*header, rest),
            kind => {
                return Err(Error::invalid("RTP payload", format!("NAL unit type {kind}")));
            }
        }
        Ok(())
    }

    fn nal(&mut self, nal: &[u8]) {
        self.data.extend_from_slice(&START_CODE);
        self.data.extend_from_slice(nal);
    }

    fn fragment(&mut self, indicator: u8, rest: &[u8]) -> Result<(), Error> {
        let [fu_header, body @ ..] = rest else {
            return Err(Error::Truncated { what: "FU-A", need: 1, got: 0 });
        };
        let (start, end) = (fu_header & 0x80 != 0, fu_header & 0x40 != 0);
        if start == self.in_fragment {
            return Err(Error::invalid("FU-A", "fragments do not fit together"));
        }
        if start {
            self.data.extend_from_slice(&START_CODE);
            self.data.push(indicator & 0x60 | fu_header & 0x1f);
        }
        self.data.extend_from_slice(body);
        self.in_fragment = !end;
        Ok(())
    }

    /// The frame so far as Annex B bytes, and its information; begins the next one.
    pub fn take(&mut self) -> (Vec<u8>, Option<FrameInfo>) {
        self.in_fragment = false;
        (std::mem::take(&mut self.data), self.info.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn annex_b(nals: &[Vec<u8>]) -> Vec<u8> {
        nals.iter().flat_map(|nal| START_CODE.iter().chain(nal)).copied().collect()
    }

    fn info() -> FrameInfo {
        FrameInfo { number: 7, captured_us: 1 << 40, encode_us: 3, ..FrameInfo::default() }
    }

    #[test]
    fn a_large_frame_is_cut_into_equal_fragments() {
        let frame = annex_b(&[vec![0x67, 1, 2], vec![0x68, 3], vec![0x65; 10_000]]);
        let payloads = packetize(&frame, 1100);
        assert!(starts_keyframe(&payloads[0]) && !starts_keyframe(&payloads[1]));
        let fragments = &payloads[1..];
        assert_eq!(fragments.len(), 10);
        assert!(fragments[..9].iter().all(|p| p.len() == fragments[0].len()));
        assert!(fragments[9].len() <= fragments[0].len());
        // Where a fragment comes first, it leaves room for the information.
        let payloads = packetize(&annex_b(&[vec![0x41; 10_000]]), 1100);
        assert_eq!(payloads.len(), 10);
        let first = payloads[0].len() + PREFIX_BYTES;
        assert!(payloads[1..9].iter().all(|p| p.len() == first) && payloads[9].len() <= first);
    }

    #[test]
    fn a_prefix_of_a_later_version_is_read_and_one_cut_short_is_refused() {
        let payload = [0x41, 1, 2, 3];
        let mut longer = [&info().to_prefix()[..], b"more", &payload].concat();
        longer[1] += 4;
        let mut depacketizer = Depacketizer::default();
        depacketizer.push(&longer).unwrap();
        let (data, got) = depacketizer.take();
        assert_eq!((data.ends_with(&payload), got), (true, Some(info())));
        for len in 0..PREFIX_BYTES {
            assert!(depacketizer.push(&info().to_prefix()[..len]).is_err());
        }
    }

    #[test]
    fn start_codes_are_found_wherever_they_stand() {
        for before in 0..8 {
            for filler in [0, 1, 7] {
                let bytes = [&vec![filler; before][..], &[0, 0, 1, 9]].concat();
                let expected = bytes.windows(3).position(|window| window == [0, 0, 1]);
                assert_eq!(start_code(&bytes), expected, "{bytes:?}");
            }
        }
        assert_eq!(start_code(&[0, 0]), None);
    }

    #[test]
    fn a_small_frame_is_one_payload() {
        let frame = annex_b(&[vec![0x41; 300]]);
        assert_eq!(packetize(&frame, 1100).len(), 1);
    }

    #[test]
    fn a_lost_fragment_is_noticed() {
        let frame = annex_b(&[vec![0x65; 5000]]);
        let payloads = packetize(&frame, 1000);
        let mut depacketizer = Depacketizer::default();
        depacketizer.push(&payloads[0]).unwrap();
        assert!(depacketizer.push(&payloads[0]).is_err());
    }

    #[test]
    fn endless_frames_are_refused() {
        let mut depacketizer = Depacketizer::default();
        depacketizer.push(&[NAL_FU_A, 0x80 | 5]).unwrap();
        let payload = [&[NAL_FU_A, 5][..], &[1; 60_000]].concat();
        let error = (0..100).find_map(|_| depacketizer.push(&payload).err());
        assert!(matches!(error, Some(Error::TooLong { .. })), "{error:?}");
    }

    prop_compose! {
        fn nal()(kind in prop::sample::select(vec![0x41u8, 0x65, 0x67, 0x68]),
                 body in prop::collection::vec(1u8.., 1..4000)) -> Vec<u8> {
            let mut nal = vec![kind];
            nal.extend(body);
            nal
        }
    }

    proptest! {
        #[test]
        fn frames_survive_a_round_trip(
            nals in prop::collection::vec(nal(), 1..5),
            number: u32, captured_us: u64, send_queue_us: u32, max in 100usize..1400,
        ) {
            let frame = annex_b(&nals);
            let info = FrameInfo { number, captured_us, send_queue_us, ..FrameInfo::default() };
            let payloads = packetize(&frame, max);
            let mut depacketizer = Depacketizer::default();
            for (i, payload) in payloads.iter().enumerate() {
                let prefix = info.to_prefix();
                let payload = [if i == 0 { &prefix[..] } else { &[] }, payload].concat();
                prop_assert!(payload.len() <= max);
                depacketizer.push(&payload).unwrap();
            }
            prop_assert_eq!(depacketizer.take(), (frame, Some(info)));
        }

        #[test]
        fn depacketizing_never_panics(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8),
        ) {
            let mut depacketizer = Depacketizer::default();
            for payload in &payloads {
                starts_keyframe(payload);
                let _ = depacketizer.push(payload);
            }
            depacketizer.take();
        }
    }
}
