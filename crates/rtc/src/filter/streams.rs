//! The streams on which a peer may send, and the order of its messages on them.

use super::window::{Slot, Window};
use super::wire::payload_type;
use super::{Violation, pending_fragments};

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// DATA is delivered.
    Open,
    /// The peer sent on the stream, and its DCEP OPEN was not read yet.
    Offered,
    /// This end closed it; what the peer sends until it resets the stream cannot be read.
    Closing,
    /// The peer reset it; it may not be used until the reset of the other direction is answered.
    Resetting,
}

/// A stream.
#[derive(Debug)]
pub struct Stream {
    /// Stream identifier.
    pub id: u16,
    /// Where it stands.
    pub phase: Phase,
    /// Opened by the peer with DCEP, so it counts against the number the peer may open.
    pub by_peer: bool,
    /// SSN of the first ordered message that does not end at or below the cumulative TSN.
    pub next_ssn: u16,
    /// Bytes that came since this end closed it.
    pub unread: usize,
}

/// Serial number comparison (RFC 1982): whether `a` comes before `b`.
fn before(a: u16, b: u16) -> bool {
    (1..1 << 15).contains(&b.wrapping_sub(a))
}

/// The streams, sorted by id.
#[derive(Debug, Default)]
pub struct Streams {
    sorted: Vec<Stream>,
    by_peer: usize,
}

impl Streams {
    /// The stream `id`.
    pub fn get(&self, id: u16) -> Option<&Stream> {
        self.index(id).ok().map(|at| &self.sorted[at])
    }

    /// The stream `id`, to be changed.
    pub fn get_mut(&mut self, id: u16) -> Option<&mut Stream> {
        self.index(id).ok().map(|at| &mut self.sorted[at])
    }

    /// Number of streams that the peer opened.
    pub fn by_peer(&self) -> usize {
        self.by_peer
    }

    /// Adds a stream unless it is there.
    pub fn insert(&mut self, id: u16, phase: Phase) {
        if let Err(at) = self.index(id) {
            let by_peer = phase == Phase::Offered;
            self.by_peer += usize::from(by_peer);
            self.sorted.insert(at, Stream { id, phase, by_peer, next_ssn: 0, unread: 0 });
        }
    }

    /// Forgets a stream.
    pub fn remove(&mut self, id: u16) {
        if let Ok(at) = self.index(id) {
            self.by_peer -= usize::from(self.sorted.remove(at).by_peer);
        }
    }

    fn index(&self, id: u16) -> Result<usize, usize> {
        self.sorted.binary_search_by_key(&id, |stream| stream.id)
    }
}

/// A message of which all fragments up to the cumulative TSN have come, but not the last.
#[derive(Debug, Clone, Copy)]
struct Open {
    first: Slot,
    fragments: usize,
    bytes: usize,
}

impl Open {
    fn new(first: Slot) -> Self {
        Self { first, fragments: 1, bytes: usize::from(first.len) }
    }

    fn continues(&self, slot: &Slot) -> bool {
        let same = |slot: &Slot| (slot.stream, slot.ssn, slot.unordered(), slot.payload_type);
        !slot.begins() && same(&self.first) == same(slot)
    }

    fn add(&mut self, slot: &Slot) {
        self.fragments += 1;
        self.bytes += usize::from(slot.len);
    }
}

/// Follows the messages in order of their TSNs. RFC 9260 section 6.9 numbers the fragments of a
/// message consecutively, so without gaps at most one message is incomplete. All that comes
/// otherwise would stay in the association for good, and ends the link.
#[derive(Debug, Default)]
pub struct Messages {
    open: Option<Open>,
}

impl Messages {
    /// The stream of the incomplete message.
    pub fn open_on(&self) -> Option<u16> {
        self.open.map(|open| open.first.stream)
    }

    /// Takes the next chunk in order.
    pub fn take(
        &mut self,
        slot: Slot,
        streams: &mut Streams,
        max_message: usize,
    ) -> Result<(), Violation> {
        let broken = Err(Violation::BrokenMessage(slot.stream));
        let Some(stream) = streams.get_mut(slot.stream) else { return broken };
        match &mut self.open {
            None if slot.begins() => {
                if stream.phase == Phase::Resetting
                    || (!slot.unordered() && slot.ssn != stream.next_ssn)
                {
                    return broken;
                }
                if stream.phase == Phase::Offered
                    && stream.next_ssn == 0
                    && slot.payload_type != payload_type::DCEP
                {
                    return Err(Violation::UnknownStream(slot.stream));
                }
                self.open = Some(Open::new(slot));
            }
            Some(open) if open.continues(&slot) => open.add(&slot),
            _ => return broken,
        }
        let open = self.open.get_or_insert(Open::new(slot));
        if open.bytes > max_message {
            return Err(Violation::MessageTooLarge(slot.stream));
        }
        if open.fragments > pending_fragments(open.bytes) {
            return Err(Violation::TooManyFragments);
        }
        if slot.ends() {
            self.open = None;
            if !slot.unordered() {
                stream.next_ssn = stream.next_ssn.wrapping_add(1);
            }
        }
        Ok(())
    }

    /// Moves over what a FORWARD TSN skips (RFC 3758 section 3.6), after [`skip_ssn`] was called
    /// for each stream in it. An ordered message may be left incomplete only if it was named.
    pub fn skip_to(
        &mut self,
        target: u32,
        window: &mut Window,
        streams: &mut Streams,
    ) -> Result<(), Violation> {
        while let Some(slot) = window.skip(target) {
            let Some(slot) = slot else {
                self.abandon(streams)?;
                continue;
            };
            match &mut self.open {
                Some(open) if open.continues(&slot) => open.add(&slot),
                _ => {
                    self.abandon(streams)?;
                    self.open = Some(Open::new(slot));
                }
            }
            let begun = self.open.is_some_and(|open| open.first.begins());
            if begun && slot.ends() {
                self.open = None;
                complete(&slot, streams)?;
            } else if slot.ends() {
                self.abandon(streams)?;
            }
        }
        // The association drops an unordered message's fragments up to the new cumulative TSN,
        // and those of an ordered one if its SSN was skipped.
        if let Some(open) = self.open
            && (open.first.unordered() || !open.first.begins() || was_named(&open.first, streams))
        {
            self.abandon(streams)?;
        }
        Ok(())
    }

    fn abandon(&mut self, streams: &Streams) -> Result<(), Violation> {
        match self.open.take() {
            Some(open) if !open.first.unordered() && !was_named(&open.first, streams) => {
                Err(Violation::BrokenMessage(open.first.stream))
            }
            _ => Ok(()),
        }
    }
}

/// Moves a stream's next SSN behind the last one that a FORWARD TSN skips.
pub fn skip_ssn(streams: &mut Streams, id: u16, last_ssn: u16) {
    if let Some(stream) = streams.get_mut(id)
        && !before(last_ssn, stream.next_ssn)
    {
        stream.next_ssn = last_ssn.wrapping_add(1);
    }
}

fn was_named(slot: &Slot, streams: &Streams) -> bool {
    streams.get(slot.stream).is_some_and(|stream| before(slot.ssn, stream.next_ssn))
}

fn complete(slot: &Slot, streams: &mut Streams) -> Result<(), Violation> {
    if slot.unordered() || was_named(slot, streams) {
        return Ok(());
    }
    match streams.get_mut(slot.stream) {
        Some(stream) if stream.next_ssn == slot.ssn => {
            stream.next_ssn = stream.next_ssn.wrapping_add(1);
            Ok(())
        }
        _ => Err(Violation::BrokenMessage(slot.stream)),
    }
}
