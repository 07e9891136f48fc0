//! Our streams, and what each peer has of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lllsi_proto::invite::TicketId;
use lllsi_proto::rtsmp::{
    Announcement, EndReason, FrameHead, Kind, MAX_FRAME_BYTES, MAX_STREAMS, Message, Mode,
};

use super::cursor::{Body, Cursor, LiveCursor, Stream};
use super::log::{Log, MapLog, Newest, cost};
use super::peer::{Manners, Peer};
use super::{Audience, Event, Item, MapChange, Offer, Published, StreamId};
use crate::FAR_FUTURE;
use crate::host::ViewerId;

/// What a peer that has lost its link had not consumed is kept for so long.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(30);
/// Whoever takes less than this part of what a stream keeps, as long as the stream is patient, counts as taking nothing.
const LEAST_PART: usize = 100;
/// So many peers that have left are remembered by how they treated streams.
const MAX_LEFT: usize = 256;
/// Answers that wait for a peer's link. Whoever asks for more without taking them breaks the protocol.
const MAX_ANSWERS: usize = 4 * MAX_STREAMS;

pub(super) struct Publisher {
    /// Another for each stream: numbers are used again.
    run: u32,
    streams: BTreeMap<u16, Stream>,
    pub(super) peers: BTreeMap<ViewerId, Peer>,
    /// Those that have left, and may come back by their tickets.
    left: VecDeque<(TicketId, Manners)>,
    pub(super) events: VecDeque<Event>,
}

impl Publisher {
    pub(super) fn new(run: u32) -> Self {
        let (streams, peers) = (BTreeMap::new(), BTreeMap::new());
        Self { run, streams, peers, left: VecDeque::new(), events: VecDeque::new() }
    }

    // --- The application ---

    pub(super) fn publish(&mut self, id: StreamId, offer: Offer) {
        let body = match (offer.kind, offer.mode) {
            (Kind::Video, _) => Body::Pictures,
            (Kind::Map, _) => Body::Map(MapLog::new(offer.capacity)),
            (_, Mode::Reliable) => Body::Reliable(Log::new()),
            (_, Mode::RealTime(_)) => Body::RealTime(Newest::new()),
        };
        let Offer { kind, mode, name, format, of, audience, capacity, patience } = offer;
        self.run = self.run.wrapping_add(1);
        let announcement = Announcement { run: self.run, kind, mode, name, format, of };
        if self.streams.len() >= MAX_STREAMS || self.streams.contains_key(&id.0) {
            return tracing::warn!(
                ?announcement,
                "a stream that cannot be: too many, or its number is taken"
            );
        }
        let figures = Published { id, ..Published::default() };
        let (is_stopped, is_awaited) = (false, false);
        self.peers.values_mut().for_each(|peer| peer.note(id.0));
        let patience = patience.min(FAR_FUTURE);
        let stream = Stream {
            announcement,
            audience,
            body,
            capacity,
            patience,
            is_stopped,
            is_awaited,
            figures,
        };
        self.streams.insert(id.0, stream);
    }

    pub(super) fn withdraw(&mut self, id: StreamId) {
        if self.streams.remove(&id.0).is_some() {
            self.peers.values_mut().for_each(|peer| peer.withdrawn(id.0));
            self.left.iter_mut().for_each(|(_, manners)| manners.forget(id.0));
        }
    }

    pub(super) fn stop(&mut self, now: Instant, id: StreamId, is_stopped: bool) {
        let Some(stream) = self.streams.get_mut(&id.0) else { return };
        stream.is_stopped = is_stopped;
        for peer in self.peers.values_mut() {
            peer.note(id.0);
            // Meanwhile there is nothing to take.
            peer.cursors_of(id.0).for_each(|cursor| cursor.clock.rest(now));
        }
        self.hold_up(now, id.0);
    }

    /// While somebody waits for a place, those who hold the stream up have their clocks running.
    fn hold_up(&mut self, now: Instant, number: u16) {
        let Some(stream) = self.streams.get(&number) else { return };
        if stream.is_awaited && !stream.is_stopped {
            let cursors = self.peers.values_mut().flat_map(|peer| peer.cursors_of(number));
            cursors.filter(|cursor| cursor.holds(stream)).for_each(|cursor| cursor.clock.run(now));
        }
    }

    /// Drops what has not been sent. Subscribers go on behind it.
    pub(super) fn clear(&mut self, now: Instant, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id.0) else { return };
        let Body::Reliable(log) = &stream.body else { return };
        let next = log.next();
        // What waited for a place is cleared too.
        stream.is_awaited = false;
        for cursor in self.peers.values_mut().flat_map(|peer| peer.cursors_of(id.0)) {
            cursor.clock.rest(now);
            // What it holds of before is in its next word about its window.
            if cursor.next < next {
                *cursor = Cursor::new(cursor.tag, cursor.clock, next, 0);
            }
        }
        self.free(now, id.0);
        // Who has just begun to wait asks again.
        self.events.push_back(Event::Freed(id, 0));
    }

    /// Takes a frame that was made `captured_us` on the host's clock. In one turn nobody is sent anything.
    pub(super) fn push(
        &mut self,
        now: Instant,
        id: StreamId,
        item: Item,
        captured_us: u64,
        turn: u64,
    ) {
        let Some(stream) = self.streams.get_mut(&id.0) else { return };
        let Item { kind, flags, made_at, payload } = item;
        stream.figures.frames += 1;
        stream.figures.bytes += payload.len() as u64;
        let counts = cost(&payload);
        let head = FrameHead { kind, flags, stream: id.0, number: 0, captured_us };
        let is_possible = payload.len() <= MAX_FRAME_BYTES && stream.next() < u32::MAX;
        let has_place = is_possible && stream.has_place(counts);
        match (&mut stream.body, stream.announcement.mode) {
            (Body::RealTime(newest), Mode::RealTime(deadline))
                if is_possible && !stream.is_stopped =>
            {
                let until = made_at + Duration::from_micros(deadline.into());
                newest.push(head, payload, until, turn);
            }
            (Body::Reliable(log), _) if has_place => {
                log.push(head, payload);
                self.free(now, id.0);
            }
            (Body::Reliable(_), _) => {
                stream.figures.dropped += 1;
                self.events.push_back(Event::Freed(id, counts));
            }
            _ => stream.figures.dropped += 1,
        }
    }

    /// Whether a frame would overtake real-time frames that nobody has been sent.
    pub(super) fn overtakes(&self, id: StreamId, item: &Item, turn: u64) -> bool {
        match self.streams.get(&id.0).map(|stream| &stream.body) {
            Some(Body::RealTime(newest)) => newest.is_overtaken(cost(&item.payload), turn),
            _ => false,
        }
    }

    pub(super) fn change(&mut self, id: StreamId, changes: Vec<MapChange>, captured_us: u64) {
        if let Some(stream) = self.streams.get_mut(&id.0)
            && let Body::Map(map) = &mut stream.body
        {
            let head = FrameHead { stream: id.0, captured_us, ..FrameHead::default() };
            let before = map.log.next();
            map.change(head, changes);
            let frames = (before..map.log.next()).filter_map(|number| map.log.get(number));
            for kept in frames {
                stream.figures.frames += 1;
                stream.figures.bytes += kept.payload.len() as u64;
            }
        }
    }

    /// What counts as so much waits for a place: whoever has taken too little for too long makes it. Tells whether there is none.
    pub(super) fn wait(&mut self, now: Instant, id: StreamId, counts: usize) -> bool {
        let Some(stream) = self.streams.get_mut(&id.0).filter(|stream| !stream.has_place(counts))
        else {
            return false;
        };
        stream.is_awaited = true;
        self.hold_up(now, id.0);
        self.part_with_slow(now, id.0);
        true
    }

    // --- Links ---

    /// A peer's link is up. Tells who it was, if it has been here before.
    pub(super) fn join(
        &mut self,
        now: Instant,
        id: ViewerId,
        ticket: Option<TicketId>,
    ) -> Option<ViewerId> {
        let same = |(other, peer): (&ViewerId, &Peer)| {
            (*other == id || (ticket.is_some() && peer.ticket == ticket)).then_some(*other)
        };
        let was = self.peers.iter().find_map(same);
        if let Some(was) = was {
            self.lost(now, was);
            self.streams.values_mut().for_each(|stream| stream.audience.rename(was, id));
        }
        let mut before = was.and_then(|was| self.peers.remove(&was)).unwrap_or_default();
        let at = self.left.iter().position(|(other, _)| Some(*other) == ticket);
        if let Some((_, manners)) = at.and_then(|at| self.left.remove(at)) {
            before.manners = manners;
        }
        let peer = before.join(ticket, now + KEPT_FOR, self.streams.keys().copied());
        self.peers.insert(id, peer);
        was
    }

    /// A peer's link is gone: what it has not consumed is kept for a while.
    pub(super) fn lost(&mut self, now: Instant, id: ViewerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.is_up) else {
            return;
        };
        let numbers: Vec<u16> = peer.cursors.keys().chain(peer.live.keys()).copied().collect();
        peer.lost();
        peer.kept_until = Some(now + KEPT_FOR);
        for number in numbers {
            self.events.push_back(Event::Unsubscribed(StreamId(number), id, None));
        }
    }

    /// When what is kept for a peer is to be forgotten.
    pub(super) fn kept_until(&self, id: ViewerId) -> Option<Instant> {
        self.peers.get(&id)?.kept_until
    }

    /// Forgets what is kept for a peer, and the peer if it is gone: tells whether it is.
    pub(super) fn forget(&mut self, now: Instant, id: ViewerId) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return true };
        peer.kept_until = None;
        let is_gone = !peer.is_up;
        let manners = is_gone.then(|| peer.take_manners(now)).filter(|manners| !manners.is_empty());
        if let (Some(manners), Some(ticket)) = (manners, peer.ticket) {
            self.left.truncate(MAX_LEFT - 1);
            self.left.push_front((ticket, manners));
        }
        let kept = peer.take_kept(now);
        if is_gone {
            self.peers.remove(&id);
        }
        kept.into_iter().for_each(|stream| self.free(now, stream));
        is_gone
    }

    /// Takes what a peer says as a subscriber.
    ///
    /// # Errors
    /// [`EndReason::Protocol`] if it makes no sense.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        id: ViewerId,
        message: &Message,
    ) -> Result<(), EndReason> {
        if !self.peers.get(&id).is_some_and(|peer| peer.is_up) {
            return Ok(());
        }
        match *message {
            Message::Subscribe { stream, from, window, tag } => {
                if let Err(reason) = self.subscribe(now, id, stream, (from, window as usize, tag)) {
                    self.unsubscribe(now, id, stream, None);
                    let answer = Message::Ended { stream, reason, tag }.to_bytes();
                    self.peers.entry(id).and_modify(|peer| peer.answers.push_back(answer));
                }
            }
            Message::Unsubscribe(stream) => self.unsubscribe(now, id, stream, None),
            Message::Consumed { stream, number, window } => {
                self.consumed(now, id, stream, number, window as usize)?;
            }
            _ => {}
        }
        if self.peers.get(&id).is_some_and(|peer| peer.answers.len() > MAX_ANSWERS) {
            self.lost(now, id);
            return Err(EndReason::Protocol);
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        now: Instant,
        id: ViewerId,
        number: u16,
        (from, window, tag): (u32, usize, u8),
    ) -> Result<(), EndReason> {
        let stream = self.streams.get_mut(&number).filter(|s| s.audience.has(id));
        let (Some(stream), Some(peer)) = (stream, self.peers.get_mut(&id).filter(|p| p.is_up))
        else {
            return Err(EndReason::Refused);
        };
        if from > stream.next() {
            return Err(EndReason::Protocol);
        }
        let is_new = !peer.cursors.contains_key(&number) && !peer.live.contains_key(&number);
        let clock = peer.clock(now, number);
        let next = match &mut stream.body {
            Body::Reliable(log) => {
                // It may have lost its link before it heard where it began.
                let begun = peer.kept.get(&number).filter(|k| k.consumed + 1 == k.start);
                match begun.map(|kept| kept.start).filter(|start| from <= *start) {
                    Some(start) => start,
                    None if from == 0 => log.next(),
                    // Nobody takes anything twice.
                    None if from < log.first() || from <= clock.taken => {
                        return Err(EndReason::Gone);
                    }
                    None => from,
                }
            }
            // From 0 on, or behind what is kept: the cursor itself finds that it needs a snapshot.
            Body::Map(_) => from,
            Body::RealTime(newest) => {
                let (next, taken) = (newest.next, newest.next - 1);
                peer.live.insert(number, LiveCursor { tag, taken, sending: None });
                let began = Message::Began { stream: number, next, snapshot: 0, tag };
                peer.answers.push_back(began.to_bytes());
                next
            }
            Body::Pictures => {
                self.events.push_back(Event::Pictures(id, true));
                return Ok(());
            }
        };
        if stream.log().is_some() {
            peer.kept.remove(&number);
            peer.manners.clocks.remove(&number);
            peer.cursors.insert(number, Cursor::new(tag, clock, next, window));
        }
        if is_new {
            self.events.push_back(Event::Subscribed(StreamId(number), id));
        }
        self.free(now, number);
        self.hold_up(now, number);
        Ok(())
    }

    fn unsubscribe(&mut self, now: Instant, id: ViewerId, number: u16, reason: Option<EndReason>) {
        let (Some(stream), Some(peer)) = (self.streams.get(&number), self.peers.get_mut(&id))
        else {
            return;
        };
        if matches!(stream.body, Body::Pictures) {
            return self.events.push_back(Event::Pictures(id, false));
        }
        let tag = peer.tag_of(number);
        let clock = peer.clock(now, number);
        peer.manners.clocks.insert(number, clock);
        if peer.forget(number) {
            if let (Some(reason), Some(tag)) = (reason, tag) {
                let ended = Message::Ended { stream: number, reason, tag };
                peer.answers.push_back(ended.to_bytes());
            }
            self.events.push_back(Event::Unsubscribed(StreamId(number), id, reason));
            self.free(now, number);
        }
    }

    fn consumed(
        &mut self,
        now: Instant,
        id: ViewerId,
        number: u16,
        consumed: u32,
        window: usize,
    ) -> Result<(), EndReason> {
        // It may have crossed a withdrawal, or an end.
        let peer = self.peers.get_mut(&id);
        let cursor = peer.and_then(|peer| peer.cursors.get_mut(&number));
        let (Some(cursor), Some(stream)) = (cursor, self.streams.get(&number)) else {
            return Ok(());
        };
        if consumed >= cursor.next {
            self.unsubscribe(now, id, number, Some(EndReason::Protocol));
            return Err(EndReason::Protocol);
        }
        // What was consumed before the last beginning counts no more.
        if consumed >= cursor.consumed {
            let taken = cursor.sent.drain(..(consumed - cursor.consumed) as usize).sum::<usize>();
            cursor.under_way -= taken;
            let is_new = consumed > cursor.consumed;
            (cursor.consumed, cursor.window) = (consumed, window);
            if is_new {
                let enough = (stream.capacity / LEAST_PART).max(1);
                cursor.clock.took(now, consumed, taken, enough);
                // Others do, if anybody.
                cursor.clock.rest(now);
            }
            self.free(now, number);
            self.hold_up(now, number);
        }
        Ok(())
    }

    /// Forgets what everybody has consumed.
    fn free(&mut self, now: Instant, number: u16) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let Body::Reliable(log) = &mut stream.body else { return };
        let cursors =
            self.peers.values().flat_map(|p| [p.cursors.get(&number), p.kept.get(&number)]);
        let behind = cursors.flatten().map(|cursor| cursor.consumed + 1).min();
        let freed = log.free_before(behind.unwrap_or(log.next()));
        if freed > 0 {
            stream.is_awaited = false;
            self.events.push_back(Event::Freed(StreamId(number), freed));
            let cursors = self.peers.values_mut().flat_map(|peer| peer.cursors_of(number));
            cursors.for_each(|cursor| cursor.clock.rest(now));
        }
    }

    /// Streams in which somebody waits for a place, which subscribers could make.
    fn awaited(&self) -> impl Iterator<Item = u16> + '_ {
        let is_it = |stream: &Stream| stream.is_awaited && !stream.is_stopped;
        self.streams.iter().filter(move |(_, stream)| is_it(stream)).map(|(number, _)| *number)
    }

    /// When the next peer has been waited for long enough.
    pub(super) fn impatient_at(&self) -> Option<Instant> {
        self.awaited().filter_map(|number| Some(self.slowest(number)?.0)).min()
    }

    /// Of those that hold a stream up, the one that is waited for the shortest, and until when.
    fn slowest(&self, number: u16) -> Option<(Instant, ViewerId)> {
        let stream = self.streams.get(&number)?;
        let cursors = self.peers.iter().filter_map(|(id, peer)| {
            let cursor = peer.cursors.get(&number).or(peer.kept.get(&number))?;
            let is_known = peer.manners.slow.contains(&number);
            let patience = if is_known { Duration::ZERO } else { stream.patience };
            let until = cursor.clock.until(patience).filter(|_| cursor.holds(stream));
            Some((until?, *id))
        });
        cursors.min()
    }

    pub(super) fn part_with_all_slow(&mut self, now: Instant) {
        let awaited: Vec<_> = self.awaited().collect();
        awaited.into_iter().for_each(|number| self.part_with_slow(now, number));
    }

    fn part_with_slow(&mut self, now: Instant, number: u16) {
        while self.awaited().any(|awaited| awaited == number)
            && let Some((until, id)) = self.slowest(number)
            && now >= until
        {
            let patience = self.streams.get(&number).map_or(Duration::ZERO, |s| s.patience);
            let was_on = self.peers.get(&id).is_some_and(|peer| peer.cursors.contains_key(&number));
            self.unsubscribe(now, id, number, Some(EndReason::TooSlow));
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.manners.was_too_slow(number, was_on, patience);
            }
        }
    }

    // --- What is to be sent ---

    /// The next message for a peer on the ordered channel.
    pub(super) fn poll_ordered(&mut self, id: ViewerId) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(&id).filter(|peer| peer.is_up)?;
        if let Some(message) = peer.poll(id, &self.streams) {
            return Some(message);
        }
        let (turn, streams) = (peer.turn, &mut self.streams);
        let after = peer.cursors.range(turn.saturating_add(1)..).chain(peer.cursors.range(..=turn));
        let number = after
            .filter_map(|(number, cursor)| Some((number, cursor, streams.get(number)?)))
            .find_map(|(number, cursor, stream)| cursor.is_ready(stream).then_some(*number))?;
        peer.turn = number;
        let (cursor, stream) = (peer.cursors.get_mut(&number)?, streams.get_mut(&number)?);
        cursor.step(number, stream)
    }

    /// The next message for a peer on the channel for real-time frames.
    pub(super) fn poll_live(&mut self, now: Instant, id: ViewerId) -> Option<Vec<u8>> {
        self.next_live(now, id, |cursor, stream| cursor.is_ready(stream))
    }

    /// The same, if it has a whole frame with at most so many bytes of payload.
    pub(super) fn poll_small(
        &mut self,
        now: Instant,
        id: ViewerId,
        most: usize,
    ) -> Option<Vec<u8>> {
        self.next_live(now, id, |cursor, stream| cursor.is_small(stream, most))
    }

    fn next_live(
        &mut self,
        now: Instant,
        id: ViewerId,
        is_next: impl Fn(&LiveCursor, &Stream) -> bool,
    ) -> Option<Vec<u8>> {
        let peer = self.peers.get_mut(&id).filter(|peer| peer.is_up)?;
        loop {
            let after = peer.live.range(peer.live_turn.saturating_add(1)..);
            let number = after
                .chain(peer.live.range(..=peer.live_turn))
                .filter_map(|(number, cursor)| Some((number, cursor, self.streams.get(number)?)))
                .find_map(|(number, cursor, stream)| is_next(cursor, stream).then_some(*number))?;
            peer.live_turn = number;
            let (cursor, stream) = (peer.live.get_mut(&number)?, self.streams.get_mut(&number)?);
            // Nothing if it came too late.
            if let Some(message) = cursor.step(now, stream) {
                return Some(message);
            }
        }
    }

    /// Whether a peer is here, or something is kept for it.
    pub(super) fn knows(&self, id: ViewerId) -> bool {
        self.peers.contains_key(&id)
    }

    /// Who gets what is pushed into a stream.
    pub(super) fn subscribers(&self, id: StreamId) -> impl Iterator<Item = ViewerId> + '_ {
        let has =
            move |peer: &Peer| peer.cursors.contains_key(&id.0) || peer.live.contains_key(&id.0);
        self.peers.iter().filter(move |(_, peer)| has(peer)).map(|(id, _)| *id)
    }

    /// All whose links are up.
    pub(super) fn everybody(&self) -> impl Iterator<Item = ViewerId> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.is_up).map(|(id, _)| *id)
    }

    pub(super) fn figures(&self) -> Vec<Published> {
        let figures = |stream: &Stream| Published {
            kept: stream.log().map_or(0, Log::bytes),
            subscribers: self.subscribers(stream.figures.id).collect(),
            ..stream.figures.clone()
        };
        self.streams.values().map(figures).collect()
    }
}

impl Audience {
    /// Who was called so is called so now.
    fn rename(&mut self, was: ViewerId, is: ViewerId) {
        if let Self::Only(ids) = self
            && ids.remove(&was)
        {
            ids.insert(is);
        }
    }

    pub(super) fn has(&self, id: ViewerId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(&id),
        }
    }
}
