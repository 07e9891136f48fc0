//! The common header, and frames in fragments: the layer that other protocols may stand on too.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::MAX_FRAME_BYTES;
use crate::Error;
use crate::fields::Fields;

/// Type of RTSMP's own frames.
pub const FRAME: u8 = 1;
/// Types from here on are an application's: frames that mean what it says.
pub const OWN_TYPES: u8 = 128;

const FIRST: u8 = 1;
const LAST: u8 = 2;
/// Flag of a frame: part of a map's snapshot. In frames of an application's own types it and the higher bits are the application's.
pub const SNAPSHOT: u8 = 4;

/// A fragment that is not a frame's last is at least this long: how many of them a frame can have is bounded so.
const MIN_FRAGMENT_BYTES: usize = 256;
/// Frames of a real-time stream that are put together at the same time.
const LOOSE_FRAMES: usize = 4;

/// What every message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: u8,
    /// Depends on the type.
    pub flags: u8,
    /// The publisher's number of the stream; 0 for what is about none.
    pub stream: u16,
    /// Of a frame in its stream; else depends on the type.
    pub number: u32,
}

impl Header {
    /// Length.
    pub const BYTES: usize = 8;

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            kind: fields.u8()?,
            flags: fields.u8()?,
            stream: u16::from_be_bytes(fields.array()?),
            number: fields.u32()?,
        })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend([self.kind, self.flags]);
        out.extend(self.stream.to_be_bytes());
        out.extend(self.number.to_be_bytes());
    }
}

/// A frame but for its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Its type: [`FRAME`], or one from [`OWN_TYPES`] on.
    pub kind: u8,
    /// [`SNAPSHOT`]; or an application's own flags, in the upper six bits.
    pub flags: u8,
    /// The publisher's number of the stream.
    pub stream: u16,
    /// Of the frame in the stream, from 1 on.
    pub number: u32,
    /// When it was made, in microseconds of the host's clock; 0 if that is not known.
    pub captured_us: u64,
}

impl Default for FrameHead {
    fn default() -> Self {
        Self { kind: FRAME, flags: 0, stream: 0, number: 0, captured_us: 0 }
    }
}

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// All but the payload.
    pub head: FrameHead,
    /// What it carries.
    pub payload: Bytes,
}

/// A part of a frame, as it is in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Of the frame; its capture time only in the first fragment.
    pub head: FrameHead,
    /// Bytes of the whole frame.
    pub total: u32,
    /// Where in the frame this part begins.
    pub offset: u32,
    /// The part.
    pub data: Bytes,
}

/// Writes the fragment of a frame that begins at `offset`, with at most `max` bytes of it. Also tells where the next one
/// begins: at the payload's length if this is the last.
pub fn cut(head: &FrameHead, payload: &[u8], offset: usize, max: usize) -> (Vec<u8>, usize) {
    let end = payload.len().min(offset + max);
    let (is_first, is_last) = (offset == 0, end == payload.len());
    let mut flags = head.flags & !(FIRST | LAST);
    flags |= if is_first { FIRST } else { 0 };
    flags |= if is_last { LAST } else { 0 };
    let mut out = Vec::with_capacity(Header::BYTES + 16 + end - offset);
    Header { kind: head.kind, flags, stream: head.stream, number: head.number }.write(&mut out);
    if !(is_first && is_last) {
        out.extend((payload.len() as u32).to_be_bytes());
        out.extend((offset as u32).to_be_bytes());
    }
    if is_first {
        out.extend(head.captured_us.to_be_bytes());
    }
    out.extend_from_slice(&payload[offset..end]);
    (out, end)
}

impl Fragment {
    /// Reads one message, of which nothing is copied.
    pub(super) fn parse(bytes: Bytes) -> Result<Self, Error> {
        const WHAT: &str = "fragment of a frame";
        let mut fields = Fields { what: WHAT, rest: &bytes };
        let Header { kind, flags, stream, number } = Header::read(&mut fields)?;
        let (is_first, is_last) = (flags & FIRST != 0, flags & LAST != 0);
        let place = match is_first && is_last {
            true => None,
            false => Some((fields.u32()?, fields.u32()?)),
        };
        let captured_us = if is_first { fields.u64()? } else { 0 };
        let data = bytes.slice(bytes.len() - fields.rest.len()..);
        let (total, offset) = place.unwrap_or((data.len() as u32, 0));
        let max = MAX_FRAME_BYTES;
        if total as usize > max || data.len() > max {
            return Err(Error::TooLong {
                what: "frame",
                got: (total as usize).max(data.len()),
                max,
            });
        }
        let end = offset as usize + data.len();
        let is_sound = (offset == 0) == is_first
            && (end == total as usize) == is_last
            && end <= total as usize
            && (is_last || data.len() >= MIN_FRAGMENT_BYTES);
        if !is_sound {
            let detail = format!("{} bytes at {offset} of {total} with flags {flags}", data.len());
            return Err(Error::invalid(WHAT, detail));
        }
        let flags = flags & !(FIRST | LAST);
        let head = FrameHead { kind, flags, stream, number, captured_us };
        Ok(Self { head, total, offset, data })
    }

    fn is_whole(&self) -> bool {
        self.data.len() == self.total as usize
    }
}

/// Why frames of a stream cannot be put together: the publisher broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Frames are numbered without gaps on a reliable stream.
    #[error("frame {got} came where {due} was due")]
    Number {
        /// The number that was due.
        due: u32,
        /// The one that came.
        got: u32,
    },
    /// Another part of the frame was due.
    #[error("byte {got} of a frame came where {due} was due")]
    Offset {
        /// Where the next fragment had to begin.
        due: u32,
        /// Where it began.
        got: u32,
    },
    /// The parts of a frame tell different things about it.
    #[error("the fragments of a frame contradict each other")]
    Contradiction,
}

/// Puts frames together that come in order: those of a reliable stream. Holds one frame at most, and of that what has come.
#[derive(Debug)]
pub struct InOrder {
    due: u32,
    parts: Option<(FrameHead, u32, BytesMut)>,
}

impl InOrder {
    /// Begins with the frame of this number.
    pub fn new(due: u32) -> Self {
        Self { due, parts: None }
    }

    /// The number of the frame that is not whole yet.
    pub fn due(&self) -> u32 {
        self.due
    }

    /// Bytes held of a frame that is not whole yet.
    pub fn held(&self) -> usize {
        self.parts.as_ref().map_or(0, |(_, _, bytes)| bytes.len())
    }

    /// Takes the next fragment; a frame if it was its last.
    ///
    /// # Errors
    /// [`Broken`]: the stream is of no use any more.
    pub fn push(&mut self, fragment: Fragment) -> Result<Option<Frame>, Broken> {
        let Fragment { head, total, offset, data } = &fragment;
        if head.number != self.due {
            return Err(Broken::Number { due: self.due, got: head.number });
        }
        let due = self.held() as u32;
        if *offset != due {
            return Err(Broken::Offset { due, got: *offset });
        }
        let whole = match &mut self.parts {
            None if fragment.is_whole() => (fragment.head, fragment.data),
            None => {
                self.parts = Some((*head, *total, BytesMut::from(&data[..])));
                return Ok(None);
            }
            Some((first, of, bytes)) => {
                if (first.kind, first.flags, *of) != (head.kind, head.flags, *total) {
                    return Err(Broken::Contradiction);
                }
                bytes.extend_from_slice(data);
                if bytes.len() < *of as usize {
                    return Ok(None);
                }
                (*first, std::mem::take(bytes).freeze())
            }
        };
        self.parts = None;
        self.due = self.due.wrapping_add(1);
        Ok(Some(Frame { head: whole.0, payload: whole.1 }))
    }
}

/// Puts frames together whose fragments overtake each other, or get lost: those of a real-time stream. A frame is given out
/// once, and never after a newer one. At most four frames are under way, and at most `window` bytes of them.
#[derive(Debug)]
pub struct Loose {
    window: usize,
    held: usize,
    /// The newest frame that was given out.
    newest: u32,
    frames: VecDeque<Parts>,
    void: u64,
}

#[derive(Debug)]
struct Parts {
    number: u32,
    total: u32,
    head: Option<FrameHead>,
    bytes: usize,
    parts: BTreeMap<u32, Bytes>,
}

impl Loose {
    /// For at most so many bytes of frames that are not whole yet.
    pub fn new(window: usize) -> Self {
        Self::after(0, window)
    }

    /// The same, where `newest` was given out before: over another link.
    pub fn after(newest: u32, window: usize) -> Self {
        Self { window, held: 0, newest, frames: VecDeque::new(), void: 0 }
    }

    /// Frames that were given up since their fragments made no sense, or were too many.
    pub fn void(&self) -> u64 {
        self.void
    }

    /// Bytes held of frames that are not whole yet.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The newest frame that was given out; 0 before the first.
    pub fn newest(&self) -> u32 {
        self.newest
    }

    /// Takes a fragment; a frame if it was the last that was missing.
    pub fn push(&mut self, fragment: Fragment) -> Option<Frame> {
        let number = fragment.head.number;
        if number <= self.newest {
            return None;
        }
        if fragment.is_whole() {
            self.given(number);
            return Some(Frame { head: fragment.head, payload: fragment.data });
        }
        if !self.frames.iter().any(|parts| parts.number == number) {
            self.frames.push_back(Parts::new(&fragment));
        }
        let at = self.frames.iter().position(|parts| parts.number == number)?;
        let length = fragment.data.len();
        match self.frames[at].add(fragment) {
            Ok(true) => self.held += length,
            // What comes twice changes nothing.
            Ok(false) => return None,
            Err(_) => {
                self.give_up(at);
                return None;
            }
        }
        if self.frames[at].bytes == self.frames[at].total as usize {
            let frame = self.frames[at].join();
            self.given(number);
            return frame;
        }
        while self.frames.len() > LOOSE_FRAMES || self.held > self.window {
            let oldest = (0..self.frames.len()).min_by_key(|&at| self.frames[at].number)?;
            self.give_up(oldest);
        }
        None
    }

    fn give_up(&mut self, at: usize) {
        if let Some(parts) = self.frames.remove(at) {
            self.held -= parts.bytes;
            self.void += 1;
        }
    }

    /// Older ones have no use any more.
    fn given(&mut self, number: u32) {
        self.newest = number;
        self.frames.retain(|parts| parts.number > number);
        self.held = self.frames.iter().map(|parts| parts.bytes).sum();
    }
}

impl Parts {
    fn new(fragment: &Fragment) -> Self {
        let (number, total) = (fragment.head.number, fragment.total);
        Self { number, total, head: None, bytes: 0, parts: BTreeMap::new() }
    }

    /// `false` for a part that is there already.
    fn add(&mut self, fragment: Fragment) -> Result<bool, Broken> {
        let Fragment { head, total, offset, data } = fragment;
        if total != self.total {
            return Err(Broken::Contradiction);
        }
        if self.parts.get(&offset).is_some_and(|part| part.len() == data.len()) {
            return Ok(false);
        }
        let before = self.parts.range(..=offset).next_back();
        let after = self.parts.range(offset..).next();
        let end = offset as usize + data.len();
        if before.is_some_and(|(at, part)| *at as usize + part.len() > offset as usize)
            || after.is_some_and(|(at, _)| end > *at as usize)
        {
            return Err(Broken::Contradiction);
        }
        if offset == 0 {
            self.head = Some(head);
        }
        self.bytes += data.len();
        self.parts.insert(offset, data);
        Ok(true)
    }

    /// They do not overlap and fill the frame, so they are all there.
    fn join(&self) -> Option<Frame> {
        let mut payload = BytesMut::with_capacity(self.bytes);
        self.parts.values().for_each(|part| payload.extend_from_slice(part));
        Some(Frame { head: self.head?, payload: payload.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtsmp::Message;
    use proptest::prelude::*;

    fn head(number: u32) -> FrameHead {
        FrameHead { stream: 9, number, captured_us: 77, flags: SNAPSHOT, ..FrameHead::default() }
    }

    fn payload(number: u32, length: usize) -> Vec<u8> {
        (0..length).map(|i| (i as u32 * 31 + number) as u8).collect()
    }

    fn fragments(number: u32, length: usize, max: usize) -> Vec<Fragment> {
        let (payload, mut offset, mut out) = (payload(number, length), 0, Vec::new());
        loop {
            let (bytes, next) = cut(&head(number), &payload, offset, max);
            let Ok(Some(Message::Fragment(fragment))) = Message::parse(bytes.into()) else {
                panic!("a fragment of our own")
            };
            out.push(fragment);
            if next == length {
                return out;
            }
            offset = next;
        }
    }

    fn message(flags: u8, total: u32, offset: u32, data: usize) -> Bytes {
        let mut out = Vec::new();
        Header { kind: FRAME, flags, stream: 1, number: 1 }.write(&mut out);
        out.extend(total.to_be_bytes());
        out.extend(offset.to_be_bytes());
        if flags & FIRST != 0 {
            out.extend([0; 8]);
        }
        out.extend(vec![0; data]);
        out.into()
    }

    #[test]
    fn fragments_without_sense_are_refused() {
        let refused = |flags, total, offset, data| {
            Message::parse(message(flags, total, offset, data)).is_err()
        };
        assert!(!refused(FIRST, 1000, 0, 400));
        assert!(!refused(0, 1000, 400, 400));
        assert!(!refused(LAST, 1000, 900, 100));
        let too_much = MAX_FRAME_BYTES as u32 + 1;
        assert!(refused(FIRST, too_much, 0, 400), "a huge total");
        assert!(refused(0, u32::MAX, u32::MAX, 400), "an end that does not fit");
        assert!(refused(FIRST, 1000, 1, 400), "a first one that is not in front");
        assert!(refused(0, 1000, 0, 400), "one in front that is not the first");
        assert!(refused(LAST, 1000, 800, 100), "a last one that does not end it");
        assert!(refused(0, 1000, 700, 300), "one at the end that is not the last");
        assert!(refused(0, 1000, 700, 301), "one that goes past the end");
        assert!(refused(FIRST, 1000, 0, MIN_FRAGMENT_BYTES - 1), "a crumb");
        assert!(refused(0, 1000, 400, 0), "nothing");
    }

    #[test]
    fn what_is_out_of_order_is_named() {
        let mut parts = fragments(5, 3000, 1000);
        let mut assembly = InOrder::new(4);
        assert_eq!(assembly.push(parts[0].clone()), Err(Broken::Number { due: 4, got: 5 }));
        let mut assembly = InOrder::new(5);
        assert_eq!(assembly.push(parts[1].clone()), Err(Broken::Offset { due: 0, got: 1000 }));
        assert_eq!(assembly.push(parts[0].clone()), Ok(None));
        assert_eq!(assembly.push(parts[0].clone()), Err(Broken::Offset { due: 1000, got: 0 }));
        parts[1].total = 4000;
        assert_eq!(assembly.push(parts[1].clone()), Err(Broken::Contradiction));
    }

    #[test]
    fn memory_of_a_frame_is_what_has_come_of_it() {
        let mut assembly = InOrder::new(1);
        assembly.push(fragments(1, MAX_FRAME_BYTES, 1000).remove(0)).unwrap();
        assert_eq!(assembly.held(), 1000);
    }

    #[test]
    fn loose_frames_have_bounds() {
        let mut loose = Loose::new(10_000);
        for number in 1..100 {
            assert_eq!(loose.push(fragments(number, 5000, 1000).remove(0)), None);
        }
        assert_eq!((loose.frames.len(), loose.held(), loose.void()), (4, 4000, 95));
        let mut large = fragments(200, 50_000, 1000);
        large.pop();
        large.into_iter().for_each(|part| assert_eq!(loose.push(part), None));
        assert!(loose.held() <= 10_000);
    }

    #[test]
    fn an_overlap_makes_a_frame_void_and_a_repetition_does_not() {
        let parts = fragments(1, 3000, 1000);
        let mut loose = Loose::new(10_000);
        assert_eq!(loose.push(parts[0].clone()), None);
        assert_eq!(loose.push(parts[0].clone()), None);
        assert_eq!((loose.held(), loose.void()), (1000, 0));
        let mut overlap = parts[1].clone();
        overlap.offset = 900;
        assert_eq!(loose.push(overlap), None);
        assert_eq!((loose.held(), loose.void()), (0, 1));
    }

    proptest! {
        #[test]
        fn frames_in_order_survive(lengths in proptest::collection::vec(0usize..5000, 1..8), max in 256usize..2000) {
            let mut assembly = InOrder::new(1);
            for (number, length) in (1..).zip(lengths) {
                let mut parts = fragments(number, length, max);
                let last = parts.pop().unwrap();
                for part in parts {
                    prop_assert_eq!(assembly.push(part), Ok(None));
                }
                let frame = Frame { head: head(number), payload: payload(number, length).into() };
                prop_assert_eq!(assembly.push(last), Ok(Some(frame)));
            }
        }

        /// In whatever order fragments come, and whichever are lost: what is given out is right, and newer than what was.
        #[test]
        fn loose_frames_are_whole_and_in_order(
            frames in proptest::collection::vec(0usize..5000, 1..8),
            order in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..60),
        ) {
            let mut all: Vec<_> = (1..).zip(&frames).flat_map(|(n, len)| fragments(n, *len, 700)).collect();
            let (mut loose, mut newest) = (Loose::new(1 << 20), 0);
            for (index, twice) in order {
                if all.is_empty() { break; }
                let part = all.remove(index.index(all.len()));
                if twice { all.push(part.clone()); }
                if let Some(frame) = loose.push(part) {
                    let number = frame.head.number;
                    prop_assert!(number > newest);
                    newest = number;
                    prop_assert_eq!(frame.head, head(number));
                    prop_assert_eq!(&frame.payload[..], payload(number, frames[number as usize - 1]));
                }
                prop_assert!(loose.frames.len() <= LOOSE_FRAMES);
            }
        }
    }
}
