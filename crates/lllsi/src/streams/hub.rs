//! All streams of a session, between the application's threads and the net thread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lllsi_core::host::ViewerId;
use lllsi_core::streams::{
    Action, Audience, Event, Offer, StreamId, SubscriptionId, THE_HOST, Wish,
};
use lllsi_io::peer::{Inlet, Nudge};
use lllsi_proto::rtsmp::{Announcement, Kind, MAX_STREAMS, Mode, SNAPSHOT};
use lllsi_stream::StreamContainer;

use super::end::{Coded, End, Role, arrivals};
use super::map::Writes;
use super::{StreamError, WAITING};

/// A stream that somebody else has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStream {
    /// Whose; for a client it is always the host's.
    pub peer: ViewerId,
    /// What its items mean.
    pub kind: Kind,
    /// How they are delivered.
    pub mode: Mode,
    /// What it is called.
    pub name: String,
    /// How they are coded: `cbor`, `bytes`, or an application's own word.
    pub format: String,
    /// Of which client it is, if the host passes it on.
    pub of: Option<String>,
}

/// What the application is told about streams of others.
#[derive(Debug)]
pub(crate) enum Told {
    Announced(RemoteStream),
    Withdrawn(RemoteStream),
    Returned { was: ViewerId, is: ViewerId },
}

/// What may have something for the machine. They take turns.
#[derive(Debug)]
enum Dirty {
    End(Role, Weak<End>),
    /// Something was taken of what a client writes.
    Writer(SubscriptionId),
}

/// A client that writes a map of ours.
#[derive(Debug)]
struct Writer {
    peer: ViewerId,
    map: String,
    /// The last frame that was taken, and that the machine knows of.
    taken: u32,
    told: u32,
    is_dirty: bool,
}

#[derive(Debug, Default)]
struct Inner {
    actions: VecDeque<Action>,
    dirty: VecDeque<Dirty>,
    dirty_roles: BTreeSet<Role>,
    ends: BTreeMap<Role, Weak<End>>,
    remote: Vec<RemoteStream>,
    names: BTreeMap<(u8, String), StreamId>,
    /// Maps that clients may write, and the subscriptions to what they write.
    writable: BTreeMap<String, Weak<dyn Writes>>,
    writers: BTreeMap<SubscriptionId, Writer>,
    /// What we subscribe to.
    subscribed: BTreeMap<SubscriptionId, (ViewerId, Kind, String)>,
    /// Who may write which map.
    audiences: BTreeMap<String, Audience>,
    /// What viewers call themselves.
    viewers: BTreeMap<ViewerId, String>,
    next_stream: u16,
    next_subscription: u32,
    is_closed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    nudge: Nudge,
}

impl Hub {
    pub(crate) fn nudge_handle(&self) -> Nudge {
        self.nudge.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that can panic runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An end has something for the machine.
    pub(super) fn nudge(&self, end: &Arc<End>) {
        self.note_dirty(end);
        self.nudge.nudge();
    }

    /// The same on the net thread, which looks whenever it is awake.
    pub(super) fn note_dirty(&self, end: &Arc<End>) {
        let mut inner = self.lock();
        if inner.dirty_roles.insert(end.role) {
            inner.dirty.push_back(Dirty::End(end.role, Arc::downgrade(end)));
        }
    }

    pub(super) fn act(&self, action: Action) {
        self.lock().actions.push_back(action);
        self.nudge.nudge();
    }

    // --- The application's side ---

    /// Publishes a stream.
    pub(super) fn publish(
        self: &Arc<Self>,
        offer: Offer,
        queue: lllsi_stream::StreamVectorContainer<Coded>,
    ) -> Result<Arc<End>, StreamError> {
        let Offer { kind, mode, capacity, .. } = offer;
        let announcement = Announcement {
            run: 0,
            kind,
            mode,
            name: offer.name.clone(),
            format: offer.format.clone(),
            of: None,
        };
        announcement.check().map_err(StreamError::Name)?;
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(StreamError::Closed);
        }
        let key = (u8::from(kind), offer.name.clone());
        if inner.names.contains_key(&key) {
            return Err(StreamError::Taken(offer.name));
        }
        if inner.names.len() >= MAX_STREAMS {
            return Err(StreamError::TooMany);
        }
        let id = inner.free_number();
        inner.names.insert(key, id);
        if kind == Kind::Map {
            inner.audiences.insert(offer.name.clone(), offer.audience.clone());
        }
        let role = Role::Publisher(id);
        let end = End::new(self, (role, kind, offer.name.clone()), Some(mode), capacity, queue);
        let end = Arc::new(end);
        inner.ends.insert(role, Arc::downgrade(&end));
        inner.actions.push_back(Action::Publish(id, offer));
        drop(inner);
        self.nudge.nudge();
        Ok(end)
    }

    /// Subscribes to a stream of somebody, which need not be there yet. What comes is passed on, if it is said to which stream of
    /// ours.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        wish: Wish,
        passed_to: Option<&Arc<End>>,
    ) -> Result<Arc<End>, StreamError> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(StreamError::Closed);
        }
        let key = (wish.peer, wish.kind, wish.name.clone());
        if inner.subscribed.values().any(|other| *other == key) {
            return Err(StreamError::Taken(wish.name));
        }
        inner.next_subscription += 1;
        let id = SubscriptionId(inner.next_subscription);
        let role = Role::Subscriber(id);
        let known = inner.remote.iter().find(|remote| remote.is(&wish));
        let mode = known.map(|remote| remote.mode);
        let queue = arrivals(mode, WAITING);
        let mut end = End::new(self, (role, wish.kind, wish.name.clone()), mode, 0, queue);
        end.passed_to = passed_to.map(Arc::downgrade);
        let end = Arc::new(end);
        inner.ends.insert(role, Arc::downgrade(&end));
        inner.subscribed.insert(id, key);
        inner.actions.push_back(Action::Subscribe(id, wish));
        drop(inner);
        self.nudge.nudge();
        Ok(end)
    }

    /// Clients may write a map.
    pub(super) fn allow_writes(&self, name: &str, map: Weak<dyn Writes>) {
        let mut inner = self.lock();
        inner.writable.insert(name.to_owned(), map);
        let is_of = |remote: &&RemoteStream| remote.kind == Kind::Writes && remote.name == name;
        let there: Vec<_> = inner.remote.iter().filter(is_of).map(|remote| remote.peer).collect();
        there.into_iter().for_each(|peer| inner.subscribe_to_writer(peer, name));
        drop(inner);
        self.nudge.nudge();
    }

    pub(super) fn closed_end(&self, role: Role) {
        let mut inner = self.lock();
        inner.ends.remove(&role);
        inner.dirty_roles.remove(&role);
        let action = match role {
            Role::Publisher(id) => {
                inner.forget_stream(id);
                Action::Withdraw(id)
            }
            Role::Subscriber(id) => {
                inner.subscribed.remove(&id);
                Action::Unsubscribe(id)
            }
        };
        if !inner.is_closed {
            inner.actions.push_back(action);
        }
        drop(inner);
        self.nudge.nudge();
    }

    /// Whose stream a subscription is about.
    pub(super) fn owner(&self, id: SubscriptionId) -> ViewerId {
        self.lock().subscribed.get(&id).map_or(THE_HOST, |(peer, ..)| *peer)
    }

    /// Whether an end is a host's subscription to a stream of a client.
    pub(super) fn is_hosts(&self, end: &End) -> bool {
        matches!(end.role, Role::Subscriber(id) if self.owner(id) != THE_HOST)
    }

    /// Takes pictures, or does without.
    pub(crate) fn watch(&self, wanted: bool) {
        self.act(Action::Pictures(wanted));
    }

    /// What a viewer calls itself.
    pub(super) fn name_of(&self, peer: ViewerId) -> String {
        self.lock().viewers.get(&peer).cloned().unwrap_or_default()
    }

    pub(crate) fn remote(&self) -> Vec<RemoteStream> {
        self.lock().remote.clone()
    }

    // --- The net thread's side ---

    /// The session is over.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        inner.actions.clear();
        let ends: Vec<_> = inner.ends.values().filter_map(Weak::upgrade).collect();
        drop(inner);
        for end in ends {
            end.lock().is_closed = true;
            end.stir();
        }
    }

    /// Takes what the machine tells about streams; what the application is to know.
    pub(crate) fn take(&self, event: Event) -> Option<Told> {
        match event {
            Event::Subscribed(id, peer) => self.at(Role::Publisher(id), |end| {
                end.lock().subscribers.insert(peer);
                self.note_dirty(end);
                end.stir();
            }),
            Event::Unsubscribed(id, peer, _) => self.at(Role::Publisher(id), |end| {
                end.lock().subscribers.remove(&peer);
                end.stir();
            }),
            Event::Freed(id, bytes) => self.at(Role::Publisher(id), |end| {
                end.freed(bytes);
                self.note_dirty(end);
            }),
            Event::Announced(peer, announcement) => {
                return Some(Told::Announced(self.announced(peer, announcement)));
            }
            Event::Withdrawn(peer, kind, name) => return self.withdrawn(peer, kind, &name),
            Event::Returned { was, is } => {
                let mut inner = self.lock();
                inner.remote.retain(|remote| remote.peer != was);
                inner.writers.values_mut().filter(|w| w.peer == was).for_each(|w| w.peer = is);
                inner.subscribed.values_mut().filter(|s| s.0 == was).for_each(|s| s.0 = is);
                for audience in inner.audiences.values_mut() {
                    if let Audience::Only(ids) = audience
                        && ids.remove(&was)
                    {
                        ids.insert(is);
                    }
                }
                return Some(Told::Returned { was, is });
            }
            Event::Began(id, announcement) => {
                if let Some(writer) = self.lock().writers.get_mut(&id) {
                    (writer.taken, writer.told) = (0, 0);
                }
                self.at(Role::Subscriber(id), |end| end.begin(announcement.mode));
            }
            Event::Snapshot(id, frames) => self.at(Role::Subscriber(id), |end| {
                let mut state = end.lock();
                // What was before it has no meaning any more.
                state.queue.clear();
                state.snapshots.clear();
                state.snapshots.push_back((frames, Vec::new()));
                drop(state);
                end.stir();
            }),
            Event::Frame(id, frame) => self.frame(id, frame),
            Event::Stopped(id) => self.at(Role::Subscriber(id), |end| {
                end.lock().is_paused = true;
                end.stir();
            }),
            Event::Continued(id) => self.at(Role::Subscriber(id), |end| {
                end.lock().is_paused = false;
                end.stir();
            }),
            Event::Ended(id, reason) => {
                // A stream that is withdrawn may come back, and is wished for still.
                let mut inner = self.lock();
                if reason.is_some() && inner.writers.remove(&id).is_some() {
                    inner.actions.push_back(Action::Unsubscribe(id));
                }
                drop(inner);
                self.at(Role::Subscriber(id), |end| {
                    end.lock().ended = Some(reason);
                    end.stir();
                });
            }
            Event::Pictures(..) => {}
        }
        None
    }

    fn at(&self, role: Role, act: impl FnOnce(&Arc<End>)) {
        let end = self.lock().ends.get(&role).and_then(Weak::upgrade);
        if let Some(end) = end {
            act(&end);
        }
    }

    fn frame(&self, id: SubscriptionId, frame: lllsi_core::streams::Received) {
        let mut inner = self.lock();
        let Inner { writers, writable, dirty, .. } = &mut *inner;
        if let Some(writer) = writers.get_mut(&id) {
            writer.taken = frame.head.number;
            if !std::mem::replace(&mut writer.is_dirty, true) {
                dirty.push_back(Dirty::Writer(id));
            }
            let map = writable.get(&writer.map).and_then(Weak::upgrade);
            drop(inner);
            if let Some(map) = map {
                map.write(&frame.payload);
            }
            return;
        }
        drop(inner);
        self.at(Role::Subscriber(id), |end| {
            if end.kind == Kind::Map && frame.head.flags & SNAPSHOT != 0 {
                if let Some((_, parts)) = end.lock().snapshots.back_mut() {
                    parts.push(frame.payload);
                }
                return end.stir();
            }
            end.arrived(frame);
        });
    }

    fn announced(&self, peer: ViewerId, announcement: Announcement) -> RemoteStream {
        let Announcement { kind, mode, name, format, of, .. } = announcement;
        let remote = RemoteStream { peer, kind, mode, name, format, of };
        let mut inner = self.lock();
        inner.remote.retain(|other| !other.is_same(&remote));
        inner.remote.push(remote.clone());
        if kind == Kind::Writes {
            inner.subscribe_to_writer(peer, &remote.name);
            self.nudge.nudge();
        }
        remote
    }

    fn withdrawn(&self, peer: ViewerId, kind: Kind, name: &str) -> Option<Told> {
        let mut inner = self.lock();
        let is_it = |r: &RemoteStream| r.peer == peer && r.kind == kind && r.name == name;
        let at = inner.remote.iter().position(is_it)?;
        Some(Told::Withdrawn(inner.remote.remove(at)))
    }

    /// A viewer is here.
    pub(crate) fn came(&self, peer: ViewerId, name: &str) {
        self.lock().viewers.insert(peer, name.to_owned());
    }

    /// It is gone, and with it what it had announced.
    pub(crate) fn left(&self, peer: ViewerId) {
        let mut inner = self.lock();
        inner.viewers.remove(&peer);
        inner.remote.retain(|remote| remote.peer != peer);
    }
}

impl Inner {
    /// A number that no stream of ours has at present.
    fn free_number(&mut self) -> StreamId {
        loop {
            self.next_stream = self.next_stream % u16::MAX + 1;
            let id = StreamId(self.next_stream);
            if self.names.values().all(|other| *other != id) {
                return id;
            }
        }
    }

    /// A stream of ours is not there any more.
    fn forget_stream(&mut self, id: StreamId) {
        let Some((kind, name)) =
            self.names.iter().find(|(_, other)| **other == id).map(|(key, _)| key.clone())
        else {
            return;
        };
        self.names.remove(&(kind, name.clone()));
        if kind != u8::from(Kind::Map) {
            return;
        }
        self.writable.remove(&name);
        self.audiences.remove(&name);
        let of_it = |(id, writer): (&SubscriptionId, &Writer)| (writer.map == name).then_some(*id);
        for id in self.writers.iter().filter_map(of_it).collect::<Vec<_>>() {
            self.writers.remove(&id);
            self.actions.push_back(Action::Unsubscribe(id));
        }
    }

    /// What the machine is to be told of a writer.
    fn writer_action(&mut self, id: SubscriptionId) -> Option<Action> {
        let writer = self.writers.get_mut(&id)?;
        writer.is_dirty = false;
        let is_new = writer.taken > writer.told;
        writer.told = writer.taken;
        is_new.then_some(Action::Consumed(id, writer.taken))
    }

    /// Subscribes to what a client writes, if there is such a map.
    fn subscribe_to_writer(&mut self, peer: ViewerId, name: &str) {
        let is_known = self.writers.values().any(|w| w.peer == peer && w.map == name);
        let may = match self.audiences.get(name) {
            Some(Audience::All) => true,
            Some(Audience::Only(ids)) => ids.contains(&peer),
            None => false,
        };
        if is_known || !may || !self.writable.contains_key(name) {
            return;
        }
        self.next_subscription += 1;
        let id = SubscriptionId(self.next_subscription);
        let (map, taken, told, is_dirty) = (name.to_owned(), 0, 0, false);
        self.writers.insert(id, Writer { peer, map, taken, told, is_dirty });
        let (kind, name) = (Kind::Writes, name.to_owned());
        self.actions.push_back(Action::Subscribe(id, Wish { peer, kind, name, window: 1 << 20 }));
    }
}

impl RemoteStream {
    fn is(&self, wish: &Wish) -> bool {
        self.peer == wish.peer && self.kind == wish.kind && self.name == wish.name
    }

    fn is_same(&self, other: &Self) -> bool {
        self.peer == other.peer && self.kind == other.kind && self.name == other.name
    }
}

/// Gives the net thread what the hub has for the machine, in the form that the machine wants it.
pub(crate) struct FromHub<A> {
    pub(crate) hub: Arc<Hub>,
    pub(crate) wrap: fn(Action) -> A,
}

impl<A: 'static> Inlet<A> for FromHub<A> {
    fn take(&mut self) -> Option<A> {
        loop {
            let mut inner = self.hub.lock();
            if let Some(action) = inner.actions.pop_front() {
                if let Action::Clear(id) = action {
                    let end = inner.ends.get(&Role::Publisher(id)).and_then(Weak::upgrade);
                    drop(inner);
                    // The end may have handed it on already, before what was pushed next.
                    if !end.is_some_and(|end| end.take_cleared()) {
                        continue;
                    }
                }
                return Some((self.wrap)(action));
            }
            let end = match inner.dirty.pop_front()? {
                Dirty::End(role, end) => {
                    inner.dirty_roles.remove(&role);
                    end
                }
                Dirty::Writer(id) => match inner.writer_action(id) {
                    Some(action) => return Some((self.wrap)(action)),
                    None => continue,
                },
            };
            let Some(end) = end.upgrade() else { continue };
            // Not under the lock: the end may be dropped here, and tells the hub.
            drop(inner);
            if let Some(action) = end.next_action() {
                // It may have more; the others come first.
                self.hub.note_dirty(&end);
                return Some((self.wrap)(action));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lllsi_core::streams::Received;
    use lllsi_proto::rtsmp::FrameHead;
    use lllsi_stream::Format;

    use super::super::{Publish, Stream};
    use super::*;

    #[test]
    fn whoever_writes_a_map_without_end_stops_nothing_else() {
        let hub = Arc::new(Hub::default());
        let map = Publish::from("map").of_map().start(&hub, Format::Cbor, None).unwrap();
        let other = Publish::from("other").start(&hub, Format::Cbor, None).unwrap();
        #[derive(Debug)]
        struct Nothing;
        impl Writes for Nothing {
            fn write(&self, _: &[u8]) {}
        }
        let writes: Arc<dyn Writes> = Arc::new(Nothing);
        hub.allow_writes(&map.name, Arc::downgrade(&writes));
        let (kind, mode, name) = (Kind::Writes, Mode::Reliable, "map".into());
        let writer = Announcement { run: 1, kind, mode, name, format: "cbor".into(), of: None };
        hub.take(Event::Announced(ViewerId(1), writer));
        let mut from = FromHub { hub: Arc::clone(&hub), wrap: |action| action };
        let id = std::iter::from_fn(|| from.take()).find_map(|action| match action {
            Action::Subscribe(id, _) => Some(id),
            _ => None,
        });
        let id = id.expect("it subscribes to what is written");

        other.push(Coded::new(vec![1].into()), false, None).unwrap();
        let mut number = 0;
        let mut flood = || {
            for _ in 0..1000 {
                number += 1;
                let head = FrameHead { number, ..FrameHead::default() };
                let frame = Received { head, age_us: None, payload: vec![1].into() };
                hub.take(Event::Frame(id, frame));
            }
        };
        flood();
        let mut acknowledged = 0;
        for _ in 0..4 {
            match from.take() {
                Some(Action::Push(..)) => return assert!(acknowledged <= 1),
                Some(Action::Consumed(..)) => acknowledged += 1,
                _ => {}
            }
            flood();
        }
        panic!("the other stream had no turn");
    }

    #[test]
    fn of_what_is_passed_on_a_windows_worth_waits_however_often_it_begins() {
        let hub = Arc::new(Hub::default());
        let to = Publish::from("to").queue(usize::MAX, lllsi_stream::Overflow::Block);
        let to = to.start(&hub, Format::Bytes, None).unwrap();
        let wish =
            Wish { peer: ViewerId(1), kind: Kind::Vector, name: "s".into(), window: 1 << 20 };
        let from = hub.subscribe(wish, Some(&to)).unwrap();
        let Role::Subscriber(id) = from.role else { panic!("it subscribes") };
        let (kind, mode, name) = (Kind::Vector, Mode::Reliable, "s".into());
        let theirs = Announcement { run: 1, kind, mode, name, format: "bytes".into(), of: None };
        for _ in 0..20 {
            hub.take(Event::Began(id, theirs.clone()));
            for number in 1..=1000 {
                let head = FrameHead { number, ..FrameHead::default() };
                let frame = Received { head, age_us: None, payload: vec![0; 1000].into() };
                hub.take(Event::Frame(id, frame));
            }
        }
        let waits: usize = to.lock().queue.iter().map(|item| item.payload.len()).sum();
        assert!(waits <= 2 << 20, "{waits} bytes");
        // What is cleared counts as taken where it came from.
        Stream::new(to).clear();
        assert_eq!(from.next_action(), Some(Action::Consumed(id, 1000)));
    }

    #[test]
    fn what_an_end_leaves_undone_is_not_in_the_way_of_the_next_one_with_its_number() {
        let hub = Arc::new(Hub::default());
        let end = Publish::from("s").start(&hub, Format::Cbor, None).unwrap();
        hub.note_dirty(&end);
        drop(end);
        let mut from = FromHub { hub: Arc::clone(&hub), wrap: |action| action };
        while from.take().is_some() {}
        assert!(hub.lock().dirty_roles.is_empty());
    }
}
