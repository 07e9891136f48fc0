//! What a peer has announced, and what we have of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use lllsi_proto::rtsmp::{
    Announcement, Broken, EndReason, Fragment, Frame, InOrder, Kind, Loose, MAX_STREAMS, Message,
    Mode, SNAPSHOT,
};

use super::log::cost;
use super::{Event, Received, Subscribed, SubscriptionId, Wish};
use crate::host::ViewerId;

/// How long after a frame was taken the publisher is told at the latest.
const TELL_WITHIN: Duration = Duration::from_millis(50);
/// Messages that wait for the peer's link. Whoever makes us say more without listening is not answered.
const MAX_MESSAGES: usize = 4 * MAX_STREAMS;
/// The largest snapshot of a map that is taken.
const MAX_SNAPSHOT_BYTES: usize = 64 << 20;

pub(super) struct Subscriber {
    remote: BTreeMap<u16, Announcement>,
    /// What it had over the link before, until it has told all that it has now.
    before: BTreeMap<u16, Announcement>,
    /// Those of which nothing comes at present.
    stopped: BTreeSet<u16>,
    wishes: BTreeMap<SubscriptionId, Subscription>,
    messages: VecDeque<Vec<u8>>,
    /// Of the newest subscription.
    tag: u8,
    /// Some of the subscriptions are to tell what was consumed.
    owes: bool,
    /// When the publisher is told what has been consumed.
    tell_at: Option<Instant>,
    is_up: bool,
    wants_pictures: bool,
    pub(super) ignored: u64,
}

struct Subscription {
    wish: Wish,
    /// It ended for a reason: another has to be made.
    is_over: bool,
    /// Of which run's stream; stays over a link that is lost.
    source: Option<Source>,
    figures: Subscribed,
}

/// A stream that is subscribed, or was when the link was lost.
struct Source {
    stream: u16,
    run: u32,
    tag: u8,
    is_on: bool,
    /// Over this link.
    has_begun: bool,
    frames: Frames,
}

enum Frames {
    InOrder(Ordered),
    Loose(Loose, Duration),
}

/// Where we are in a reliable stream.
struct Ordered {
    assembly: InOrder,
    /// Whether the publisher has said where.
    has_begun: bool,
    snapshot: Option<Snapshot>,
    /// What the frames count as that the application has not consumed, the oldest first, and all of them.
    waiting: VecDeque<usize>,
    waits: usize,
    /// The newest frame that it has consumed, and that the publisher knows of.
    consumed: u32,
    told: u32,
    /// The publisher counts from behind this frame on, since the link was made.
    floor: u32,
    /// What counts as consumed since then.
    untold: usize,
    /// The publisher is to be told what was consumed, and what can be held.
    owes: bool,
}

/// A snapshot that is coming.
struct Snapshot {
    assembly: InOrder,
    frames: u32,
    bytes: usize,
}

impl Subscriber {
    pub(super) fn new(wants_pictures: bool) -> Self {
        Self {
            remote: BTreeMap::new(),
            before: BTreeMap::new(),
            stopped: BTreeSet::new(),
            wishes: BTreeMap::new(),
            messages: VecDeque::new(),
            tag: 0,
            owes: false,
            tell_at: None,
            is_up: false,
            wants_pictures,
            ignored: 0,
        }
    }

    /// The link is up: the peer announces everything anew.
    pub(super) fn join(&mut self) {
        self.is_up = true;
    }

    pub(super) fn lost(&mut self, peer: ViewerId, events: &mut VecDeque<Event>) {
        (self.is_up, self.owes, self.tell_at) = (false, false, None);
        self.messages.clear();
        self.before.append(&mut self.remote);
        // Whoever never has told all is not believed to have more than others may.
        while self.before.len() > MAX_STREAMS
            && let Some((_, announcement)) = self.before.pop_first()
        {
            self.withdrawn(peer, announcement, events);
        }
        self.stopped.clear();
        for source in self.wishes.values_mut().filter_map(|wish| wish.source.as_mut()) {
            source.is_on = false;
        }
    }

    // --- The application ---

    pub(super) fn subscribe(&mut self, id: SubscriptionId, wish: Wish) {
        let figures = Subscribed { id, peer: wish.peer, frames: 0, bytes: 0, lost: 0, late: 0 };
        self.wishes.insert(id, Subscription { wish, is_over: false, source: None, figures });
        self.begin(id);
    }

    /// Whether nothing comes of what a subscription is to, at present; `None` if that is not there.
    pub(super) fn is_stopped(&self, id: SubscriptionId) -> Option<bool> {
        let source = self.wishes.get(&id)?.source.as_ref()?;
        Some(self.stopped.contains(&source.stream))
    }

    pub(super) fn unsubscribe(&mut self, id: SubscriptionId) {
        if let Some(source) = self.wishes.remove(&id).and_then(|wish| wish.source)
            && source.is_on
        {
            self.messages.push_back(Message::Unsubscribe(source.stream).to_bytes());
        }
    }

    pub(super) fn want_pictures(&mut self, wanted: bool) {
        self.wants_pictures = wanted;
        let streams = self.remote.iter().filter(|(_, a)| a.kind == Kind::Video);
        let message = |stream| match wanted {
            true => Message::Subscribe { stream, from: 0, window: 0, tag: 0 },
            false => Message::Unsubscribe(stream),
        };
        self.messages.extend(streams.map(|(stream, _)| message(*stream).to_bytes()));
    }

    /// The application has taken the frames up to this one.
    pub(super) fn consumed(&mut self, now: Instant, id: SubscriptionId, number: u32) {
        let Some(Subscription { wish, source: Some(source), .. }) = self.wishes.get_mut(&id) else {
            return;
        };
        let Frames::InOrder(ordered) = &mut source.frames else { return };
        if number < ordered.consumed || number >= ordered.assembly.due() {
            return;
        }
        let count = ((number - ordered.consumed) as usize).min(ordered.waiting.len());
        let taken: usize = ordered.waiting.drain(..count).sum();
        ordered.waits -= taken;
        ordered.untold += taken;
        ordered.consumed = number;
        let is_much = ordered.untold >= wish.window as usize / 2;
        let at = if is_much { now } else { now + TELL_WITHIN };
        self.tell_at = Some(self.tell_at.map_or(at, |before| before.min(at)));
        if is_much {
            self.handle_timeout(now);
        }
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.tell_at.filter(|_| self.is_up)
    }

    /// Tells the publisher what has been consumed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.tell_at.is_none_or(|at| now < at) {
            return;
        }
        self.tell_at = None;
        for source in self.wishes.values_mut().filter_map(|wish| wish.source.as_mut()) {
            if let Frames::InOrder(ordered) = &mut source.frames
                && ordered.consumed > ordered.told
            {
                (ordered.owes, self.owes) = (true, true);
            }
        }
    }

    /// What is to be told of one of the subscriptions. However late it is sent, it is as things are then.
    fn owed(&mut self) -> Option<Vec<u8>> {
        if !self.owes {
            return None;
        }
        for Subscription { wish, source, .. } in self.wishes.values_mut() {
            if let Some(Source { stream, is_on: true, frames: Frames::InOrder(ordered), .. }) =
                source
                && std::mem::take(&mut ordered.owes)
            {
                (ordered.told, ordered.untold) = (ordered.consumed, 0);
                let (number, held) = ordered.progress();
                let (stream, window) = (*stream, wish.window.saturating_sub(held as u32));
                return Some(Message::Consumed { stream, number, window }.to_bytes());
            }
        }
        self.owes = false;
        None
    }

    /// Subscribes, if the stream is there.
    fn begin(&mut self, id: SubscriptionId) {
        let Some(Subscription { wish, is_over: false, source, .. }) = self.wishes.get_mut(&id)
        else {
            return;
        };
        let matches = |a: &Announcement| a.kind == wish.kind && a.name == wish.name;
        let Some((&stream, announcement)) = self.remote.iter().find(|(_, a)| matches(a)) else {
            return;
        };
        // Of these every change counts.
        if matches!(wish.kind, Kind::Map | Kind::Writes) && announcement.mode != Mode::Reliable {
            return;
        }
        let (run, window) = (announcement.run, wish.window);
        let same = source.take().filter(|s| (s.stream, s.run) == (stream, run));
        let (frames, from, window) = match (same.map(|s| s.frames), announcement.mode) {
            (Some(Frames::InOrder(mut ordered)), Mode::Reliable) => {
                let (from, held) = ordered.again();
                (Frames::InOrder(ordered), from, window.saturating_sub(held as u32))
            }
            (_, Mode::Reliable) => (Frames::InOrder(Ordered::new(1)), 0, window),
            (before, Mode::RealTime(deadline)) => {
                let deadline = Duration::from_micros(deadline.into());
                let newest = match before {
                    Some(Frames::Loose(loose, _)) => loose.newest(),
                    _ => 0,
                };
                (Frames::Loose(Loose::after(newest, window as usize), deadline), 0, window)
            }
        };
        self.tag = self.tag.wrapping_add(1);
        let tag = self.tag;
        *source = Some(Source { stream, run, tag, is_on: true, has_begun: false, frames });
        self.say(&Message::Subscribe { stream, from, window, tag });
    }

    // --- The publisher ---

    /// Takes what the peer says as a publisher. `age_us` tells how long ago a time on the host's clock was.
    ///
    /// # Errors
    /// [`EndReason::Protocol`] if it makes no sense.
    pub(super) fn receive(
        &mut self,
        peer: ViewerId,
        message: Message,
        age_us: &dyn Fn(u64) -> Option<u64>,
        events: &mut VecDeque<Event>,
    ) -> Result<(), EndReason> {
        match message {
            Message::Fragment(fragment) => return self.fragment(fragment, age_us, events),
            Message::Announce(stream, announcement) => {
                let twin = |(n, a): (&u16, &Announcement)| {
                    *n != stream && a.kind == announcement.kind && a.name == announcement.name
                };
                match self.remote.get(&stream) {
                    Some(known) if *known == announcement => return Ok(()),
                    // A number is for one stream.
                    Some(_) => return Err(EndReason::Protocol),
                    None => {}
                }
                if self.remote.len() >= MAX_STREAMS || self.remote.iter().any(twin) {
                    self.ignored += 1;
                    return Ok(());
                }
                if announcement.kind == Kind::Video && !self.wants_pictures {
                    self.say(&Message::Unsubscribe(stream));
                }
                self.remote.insert(stream, announcement.clone());
                let wanted = |s: &Subscription| {
                    !s.is_over
                        && s.wish.kind == announcement.kind
                        && s.wish.name == announcement.name
                };
                let wishes: Vec<_> =
                    self.wishes.iter().filter(|(_, s)| wanted(s)).map(|(id, _)| *id).collect();
                events.push_back(Event::Announced(peer, announcement));
                for id in wishes {
                    self.begin(id);
                    // If it is stopped, that is said next.
                    events.push_back(Event::Continued(id));
                }
            }
            Message::Withdraw(stream) => {
                self.stopped.remove(&stream);
                if let Some(announcement) = self.remote.remove(&stream) {
                    let Announcement { kind, name, .. } = announcement;
                    events.push_back(Event::Withdrawn(peer, kind, name));
                }
                self.end(stream, None, events);
            }
            // It may be about an earlier subscription.
            Message::Ended { stream, tag, .. } | Message::Began { stream, tag, .. }
                if !self.is_present(stream, tag) => {}
            Message::Ended { stream, reason, .. } => self.end(stream, Some(reason), events),
            Message::Pause(stream) => {
                if self.remote.contains_key(&stream) {
                    self.stopped.insert(stream);
                }
                self.tell(stream, Event::Stopped, events);
            }
            Message::Resume(stream) => {
                self.stopped.remove(&stream);
                self.tell(stream, Event::Continued, events);
            }
            Message::AllTold => self.all_told(peer, events),
            Message::Began { stream, next, snapshot, .. } => {
                return self.began(stream, next, snapshot, events);
            }
            _ => {}
        }
        Ok(())
    }

    /// What it had before and has not announced again was withdrawn while the link was lost.
    fn all_told(&mut self, peer: ViewerId, events: &mut VecDeque<Event>) {
        for before in std::mem::take(&mut self.before).into_values() {
            let is_it = |a: &Announcement| a.kind == before.kind && a.name == before.name;
            if !self.remote.values().any(is_it) {
                self.withdrawn(peer, before, events);
            }
        }
    }

    fn withdrawn(
        &mut self,
        peer: ViewerId,
        Announcement { kind, name, .. }: Announcement,
        events: &mut VecDeque<Event>,
    ) {
        for (id, Subscription { wish, is_over, source, .. }) in &mut self.wishes {
            if wish.kind == kind && wish.name == name && !*is_over {
                *source = None;
                events.push_back(Event::Ended(*id, None));
            }
        }
        events.push_back(Event::Withdrawn(peer, kind, name));
    }

    /// Whether a subscription to a stream is on that has this tag.
    fn is_present(&mut self, stream: u16, tag: u8) -> bool {
        self.on(stream).any(|(_, s)| s.source.as_ref().is_some_and(|source| source.tag == tag))
    }

    /// The subscriptions to a stream that are on.
    fn on(&mut self, stream: u16) -> impl Iterator<Item = (SubscriptionId, &mut Subscription)> {
        let is_on = move |s: &Subscription| {
            s.source.as_ref().is_some_and(|source| source.is_on && source.stream == stream)
        };
        self.wishes.iter_mut().filter(move |(_, s)| is_on(s)).map(|(id, s)| (*id, s))
    }

    fn tell(
        &mut self,
        stream: u16,
        event: fn(SubscriptionId) -> Event,
        events: &mut VecDeque<Event>,
    ) {
        events.extend(self.on(stream).map(|(id, _)| event(id)));
    }

    fn end(&mut self, stream: u16, reason: Option<EndReason>, events: &mut VecDeque<Event>) {
        for (id, subscription) in self.on(stream) {
            (subscription.source, subscription.is_over) = (None, reason.is_some());
            events.push_back(Event::Ended(id, reason));
        }
    }

    fn began(
        &mut self,
        stream: u16,
        next: u32,
        frames: u32,
        events: &mut VecDeque<Event>,
    ) -> Result<(), EndReason> {
        let Some(announcement) = self.remote.get(&stream).cloned() else { return Ok(()) };
        if next == 0 {
            self.end(stream, Some(EndReason::Protocol), events);
            return Err(EndReason::Protocol);
        }
        let is_map = announcement.kind == Kind::Map;
        let mut owes = false;
        for (id, Subscription { source, .. }) in self.on(stream) {
            if let Some(source) = source {
                source.has_begun = true;
            }
            let Some(Source { frames: Frames::InOrder(ordered), .. }) = source else {
                events.push_back(Event::Began(id, announcement.clone()));
                continue;
            };
            // It goes on where it stood.
            if ordered.has_begun && ordered.assembly.due() == next && frames == 0 {
                continue;
            }
            *ordered = Ordered { has_begun: true, owes: true, ..Ordered::new(next) };
            owes = true;
            if !is_map {
                events.push_back(Event::Began(id, announcement.clone()));
                continue;
            }
            let assembly = InOrder::new(1);
            ordered.snapshot = (frames > 0).then_some(Snapshot { assembly, frames, bytes: 0 });
            events.push_back(Event::Began(id, announcement.clone()));
            events.push_back(Event::Snapshot(id, frames));
        }
        self.owes |= owes;
        Ok(())
    }

    fn fragment(
        &mut self,
        fragment: Fragment,
        age_us: &dyn Fn(u64) -> Option<u64>,
        events: &mut VecDeque<Event>,
    ) -> Result<(), EndReason> {
        let stream = fragment.head.stream;
        // One that was under way when we unsubscribed.
        let Some((id, subscription)) = self.on(stream).next() else { return Ok(()) };
        let Subscription { wish, source: Some(source), figures, .. } = subscription else {
            return Ok(());
        };
        // One that was under way when we subscribed again.
        if !source.has_begun {
            return Ok(());
        }
        let frame = match &mut source.frames {
            Frames::InOrder(ordered) => ordered.push(wish.kind, wish.window as usize, fragment),
            Frames::Loose(loose, deadline) => Ok(figures.take(loose, *deadline, fragment, age_us)),
        };
        match frame {
            Ok(Some(Frame { head, payload })) => {
                figures.frames += 1;
                figures.bytes += payload.len() as u64;
                let age_us = if head.captured_us == 0 { None } else { age_us(head.captured_us) };
                events.push_back(Event::Frame(id, Received { head, age_us, payload }));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, stream, "a stream is broken");
                self.say(&Message::Unsubscribe(stream));
                self.end(stream, Some(EndReason::Protocol), events);
                Err(EndReason::Protocol)
            }
        }
    }

    pub(super) fn poll(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front().or_else(|| self.owed())
    }

    pub(super) fn has(&self, id: SubscriptionId) -> bool {
        self.wishes.contains_key(&id)
    }

    /// The peer is gone for good.
    pub(super) fn end_all(self, events: &mut VecDeque<Event>) {
        let gone = Some(EndReason::Gone);
        events.extend(self.wishes.into_keys().map(|id| Event::Ended(id, gone)));
    }

    /// Takes over what was wished of the same peer under another name.
    pub(super) fn absorb(&mut self, other: Self) {
        self.wishes.extend(other.wishes);
    }

    fn say(&mut self, message: &Message) {
        if self.messages.len() < MAX_MESSAGES {
            self.messages.push_back(message.to_bytes());
        } else {
            self.ignored += 1;
        }
    }

    pub(super) fn figures(&self, peer: ViewerId) -> impl Iterator<Item = Subscribed> + '_ {
        self.wishes.values().map(move |s| Subscribed { peer, ..s.figures.clone() })
    }
}

/// More came than we are ready to hold, or what came makes no frames.
#[derive(Debug, thiserror::Error)]
enum Violation {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("more came than the window allows")]
    Window,
    #[error("a snapshot of more than {MAX_SNAPSHOT_BYTES} bytes")]
    Snapshot,
}

impl Ordered {
    fn new(due: u32) -> Self {
        Self {
            assembly: InOrder::new(due),
            has_begun: false,
            snapshot: None,
            waiting: VecDeque::new(),
            waits: 0,
            consumed: due.saturating_sub(1),
            told: due.saturating_sub(1),
            floor: due.saturating_sub(1),
            untold: 0,
            owes: false,
        }
    }

    /// What the publisher is told: a frame that it counts, and what still waits here of those before.
    fn progress(&self) -> (u32, usize) {
        let before = self.floor.saturating_sub(self.consumed) as usize;
        (self.consumed.max(self.floor), self.waiting.iter().take(before).sum())
    }

    /// Over a new link: from where on, and what the frames count as that wait here.
    fn again(&mut self) -> (u32, usize) {
        // A snapshot that was cut off is of no use; nor is half a frame.
        if self.snapshot.is_some() || !self.has_begun {
            *self = Self::new(1);
            return (0, 0);
        }
        let due = self.assembly.due();
        (self.assembly, self.floor) = (InOrder::new(due), due.saturating_sub(1));
        (due, self.waits)
    }

    fn push(
        &mut self,
        kind: Kind,
        window: usize,
        fragment: Fragment,
    ) -> Result<Option<Frame>, Violation> {
        if kind == Kind::Map && fragment.head.flags & SNAPSHOT != 0 {
            return self.push_snapshot(fragment);
        }
        let frame = self.assembly.push(fragment)?;
        // A single frame may be larger than the window.
        if self.waits >= window {
            return Err(Violation::Window);
        }
        if let Some(Frame { payload, .. }) = &frame {
            self.waiting.push_back(cost(payload));
            self.waits += cost(payload);
        }
        Ok(frame)
    }

    fn push_snapshot(&mut self, fragment: Fragment) -> Result<Option<Frame>, Violation> {
        let Some(snapshot) = &mut self.snapshot else {
            let (due, got) = (0, fragment.head.number);
            return Err(Broken::Number { due, got }.into());
        };
        snapshot.bytes += cost(&fragment.data);
        if snapshot.bytes > MAX_SNAPSHOT_BYTES {
            return Err(Violation::Snapshot);
        }
        let frame = snapshot.assembly.push(fragment)?;
        if snapshot.assembly.due() > snapshot.frames {
            self.snapshot = None;
        }
        Ok(frame)
    }
}

impl Subscribed {
    /// Takes a fragment of a real-time stream; a frame if it is whole and in time.
    fn take(
        &mut self,
        loose: &mut Loose,
        deadline: Duration,
        fragment: Fragment,
        age_us: &dyn Fn(u64) -> Option<u64>,
    ) -> Option<Frame> {
        let before = loose.newest();
        let frame = loose.push(fragment)?;
        if before > 0 {
            self.lost += u64::from(frame.head.number - before - 1);
        }
        let age = age_us(frame.head.captured_us).map(Duration::from_micros);
        if age.is_none_or(|age| age > deadline) {
            self.late += 1;
            return None;
        }
        Some(frame)
    }
}
