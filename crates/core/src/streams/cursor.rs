//! How far a peer is in a stream of ours, and what it is sent next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_proto::rtsmp::{
    Announcement, FRAGMENT_BYTES, FRAME, FrameHead, LIVE_FRAGMENT_BYTES, Message, SNAPSHOT, cut,
};

use super::log::{Checkpoint, Kept, Log, MapLog, Newest, cost};
use super::{Audience, Published};

/// A stream of ours.
pub(super) struct Stream {
    pub(super) announcement: Announcement,
    pub(super) audience: Audience,
    pub(super) body: Body,
    pub(super) capacity: usize,
    pub(super) patience: Duration,
    pub(super) is_stopped: bool,
    /// Somebody waits for a place.
    pub(super) is_awaited: bool,
    pub(super) figures: Published,
}

/// What is kept of it.
pub(super) enum Body {
    Reliable(Log),
    Map(MapLog),
    RealTime(Newest),
    /// Goes another way.
    Pictures,
}

impl Stream {
    pub(super) fn log(&self) -> Option<&Log> {
        match &self.body {
            Body::Reliable(log) => Some(log),
            Body::Map(map) => Some(&map.log),
            Body::RealTime(_) | Body::Pictures => None,
        }
    }

    /// Whether so much more may be kept. The one frame that is larger than all the place there is may be alone.
    pub(super) fn has_place(&self, counts: usize) -> bool {
        self.log().is_none_or(|log| log.bytes() == 0 || log.bytes() + counts <= self.capacity)
    }

    pub(super) fn next(&self) -> u32 {
        match &self.body {
            Body::RealTime(newest) => newest.next,
            _ => self.log().map_or(0, Log::next),
        }
    }
}

/// How far a peer is in a reliable stream.
pub(super) struct Cursor {
    /// Of its subscription.
    pub(super) tag: u8,
    /// It has not been told where the stream begins for it.
    owes_began: bool,
    /// The frame that it began with.
    pub(super) start: u32,
    /// The frame that is sent next, and from where on.
    pub(super) next: u32,
    pub(super) offset: usize,
    pub(super) consumed: u32,
    /// What each of the frames counts as that are sent and not consumed, and all of them.
    pub(super) sent: VecDeque<usize>,
    pub(super) under_way: usize,
    pub(super) window: usize,
    pub(super) clock: Clock,
    snapshot: Option<Snapshot>,
}

/// For how long a peer has held a stream up. Only taking something puts it back: going away and coming again does not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    held_up: Duration,
    /// Since when it does.
    since: Option<Instant>,
    /// What it has taken meanwhile.
    moved: usize,
    /// The furthest frame that it has taken.
    pub(super) taken: u32,
}

impl Clock {
    /// Somebody waits for what it has not taken.
    pub(super) fn run(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Nobody does.
    pub(super) fn rest(&mut self, now: Instant) {
        let since = self.since.take();
        self.held_up += since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    }

    /// It has taken frames up to this one: so many bytes, of which so many are enough.
    pub(super) fn took(&mut self, now: Instant, number: u32, bytes: usize, enough: usize) {
        self.taken = self.taken.max(number);
        self.moved += bytes;
        if self.moved >= enough {
            (self.held_up, self.moved) = (Duration::ZERO, 0);
            self.since = self.since.map(|_| now);
        }
    }

    /// It is counted no more than so long.
    pub(super) fn spare(&mut self, most: Duration) {
        self.held_up = self.held_up.min(most);
    }

    /// When a patience is over.
    pub(super) fn until(&self, patience: Duration) -> Option<Instant> {
        Some(self.since? + patience.saturating_sub(self.held_up))
    }
}

struct Snapshot {
    of: Arc<Checkpoint>,
    frame: usize,
    offset: usize,
}

/// How far a peer is in a real-time stream.
pub(super) struct LiveCursor {
    pub(super) tag: u8,
    pub(super) taken: u32,
    pub(super) sending: Option<(Kept, Instant, usize)>,
}

impl Cursor {
    pub(super) fn new(tag: u8, clock: Clock, next: u32, window: usize) -> Self {
        let (start, consumed) = (next, next.saturating_sub(1));
        let (sent, offset, under_way, snapshot) = (VecDeque::new(), 0, 0, None);
        let owes_began = true;
        Self {
            tag,
            owes_began,
            start,
            next,
            offset,
            consumed,
            sent,
            under_way,
            window,
            clock,
            snapshot,
        }
    }

    /// Whether what it has not taken is the oldest that is kept.
    pub(super) fn holds(&self, stream: &Stream) -> bool {
        stream.log().is_some_and(|log| self.consumed + 1 == log.first())
    }

    pub(super) fn is_ready(&self, stream: &Stream) -> bool {
        let Some(log) = stream.log() else { return false };
        if self.owes_began {
            return true;
        }
        let under_way = self.offset > 0 || self.snapshot.as_ref().is_some_and(|s| s.offset > 0);
        if under_way {
            return true;
        }
        if stream.is_stopped {
            return false;
        }
        let is_behind = self.next < log.first().max(1);
        let fits = |kept: &Kept| {
            (self.under_way == 0 && self.window > 0)
                || self.under_way + cost(&kept.payload) <= self.window
        };
        self.snapshot.is_some() || is_behind || log.get(self.next).is_some_and(fits)
    }

    pub(super) fn step(&mut self, number: u16, stream: &mut Stream) -> Option<Vec<u8>> {
        if let Some(snapshot) = &mut self.snapshot {
            let (message, is_last) = snapshot.step(number)?;
            if is_last {
                self.snapshot = None;
            }
            return Some(message);
        }
        if let Body::Map(map) = &mut stream.body
            && self.next < map.log.first().max(1)
        {
            let of = map.checkpoint();
            (self.next, self.consumed, self.under_way) = (of.next, of.next - 1, 0);
            self.sent.clear();
            // What it holds of before is in its next word about its window; or it has just said so.
            if !std::mem::take(&mut self.owes_began) {
                self.window = 0;
            }
            // Half of a frame that is not kept any more may have been sent: the subscriber forgets it.
            self.offset = 0;
            let (next, snapshot, tag) = (of.next, of.frames.len() as u32, self.tag);
            self.snapshot = (!of.frames.is_empty()).then_some(Snapshot { of, frame: 0, offset: 0 });
            return Some(Message::Began { stream: number, next, snapshot, tag }.to_bytes());
        }
        if std::mem::take(&mut self.owes_began) {
            let (next, snapshot, tag) = (self.next, 0, self.tag);
            return Some(Message::Began { stream: number, next, snapshot, tag }.to_bytes());
        }
        let kept = stream.log()?.get(self.next)?;
        if self.offset == 0 {
            self.sent.push_back(cost(&kept.payload));
            self.under_way += cost(&kept.payload);
        }
        let (message, end) = cut(&kept.head, &kept.payload, self.offset, FRAGMENT_BYTES);
        self.offset = end;
        if end == kept.payload.len() {
            (self.next, self.offset) = (self.next + 1, 0);
            stream.figures.sent += 1;
        }
        Some(message)
    }
}

impl Snapshot {
    pub(super) fn step(&mut self, stream: u16) -> Option<(Vec<u8>, bool)> {
        let payload = self.of.frames.get(self.frame)?;
        let number = self.frame as u32 + 1;
        let head = FrameHead { kind: FRAME, flags: SNAPSHOT, stream, number, captured_us: 0 };
        let (message, end) = cut(&head, payload, self.offset, FRAGMENT_BYTES);
        self.offset = end;
        if end == payload.len() {
            (self.frame, self.offset) = (self.frame + 1, 0);
        }
        Some((message, self.frame == self.of.frames.len()))
    }
}

impl LiveCursor {
    pub(super) fn is_ready(&self, stream: &Stream) -> bool {
        let Body::RealTime(newest) = &stream.body else { return false };
        let is_newer = |(kept, _): &(Kept, Instant)| kept.head.number > self.taken;
        self.sending.is_some() || newest.frames.back().is_some_and(is_newer)
    }

    /// Whether the next message is a whole frame with at most so many bytes of payload.
    pub(super) fn is_small(&self, stream: &Stream, most: usize) -> bool {
        let Body::RealTime(newest) = &stream.body else { return false };
        let next = newest.frames.iter().find(|(kept, _)| kept.head.number > self.taken);
        self.sending.is_none() && next.is_some_and(|(kept, _)| kept.payload.len() <= most)
    }

    pub(super) fn step(&mut self, now: Instant, stream: &mut Stream) -> Option<Vec<u8>> {
        let Body::RealTime(newest) = &stream.body else { return None };
        if self.sending.as_ref().is_some_and(|(_, until, _)| now > *until) {
            self.sending = None;
            stream.figures.dropped += 1;
        }
        if self.sending.is_none() {
            let (kept, until) =
                newest.frames.iter().find(|(kept, _)| kept.head.number > self.taken)?;
            stream.figures.dropped += u64::from(kept.head.number - self.taken - 1);
            self.taken = kept.head.number;
            if now > *until {
                stream.figures.dropped += 1;
                return None;
            }
            stream.figures.sent += 1;
            self.sending = Some((kept.clone(), *until, 0));
        }
        let (kept, _, offset) = self.sending.as_mut()?;
        let (message, end) = cut(&kept.head, &kept.payload, *offset, LIVE_FRAGMENT_BYTES);
        *offset = end;
        if end == kept.payload.len() {
            self.sending = None;
        }
        Some(message)
    }
}
