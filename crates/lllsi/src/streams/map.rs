//! Values by key.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lllsi_core::host::ViewerId;
use lllsi_core::streams::{self as machine, Wish};
use lllsi_proto::rtsmp::{EndReason, Kind, MAX_FRAME_BYTES};
use lllsi_stream::{ENTRY_COST, Format, MapChange, MapReplica, StreamContainer, StreamData};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::end::{Coded, State, Tell};
use super::publish::Publish;
use super::{Hub, Stream, StreamError, WINDOW};

/// Bytes of changes that wait for the net thread.
const MAX_CHANGES: usize = 1 << 20;
/// A key and its value: together with what else is in a frame they fit.
const MAX_ENTRY: usize = MAX_FRAME_BYTES - 2 * MAX_CHANGES;
/// What a client may write at once: it is applied on the net thread.
const MAX_WRITE_BYTES: usize = 64 << 10;
const MAX_WRITES: usize = 256;
/// How long a client's change may wait for the host.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// A copy of somebody else's map. Whoever has one keeps it smaller.
const MAX_COPY: usize = 64 << 20;
/// Events that are not read, and what they count as. More become a single [`MapEvent::Reset`].
const MAX_EVENTS: usize = 65_536;
const MAX_EVENT_BYTES: usize = 16 << 20;

/// What can be a key.
pub trait Key: Serialize + DeserializeOwned + Clone + Eq + Hash + Debug + Send + 'static {}
impl<K: Serialize + DeserializeOwned + Clone + Eq + Hash + Debug + Send + 'static> Key for K {}

/// What can be a value.
pub trait Value: Serialize + DeserializeOwned + Clone + Debug + Send + 'static {}
impl<V: Serialize + DeserializeOwned + Clone + Debug + Send + 'static> Value for V {}

/// What happened to a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapEvent<K, V> {
    /// The map is another as a whole: there for the first time, cleared, or not followed change by change. Look at all of it.
    Reset,
    /// A key has this value now.
    Inserted(K, V),
    /// A key is not there any more.
    Removed(K),
}

/// One end of a map that is the same everywhere: the last value of a key wins. Whoever comes late gets it as it is at present, and
/// every change after that, in order. Clones are the same end.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lllsi::{Client, Host, MapEvent, Source};
/// use std::time::{Duration, Instant};
///
/// let host = Host::builder().server("https://rendezvous.example").source(Source::None).start()?;
/// let cursors = host.publish_map::<String, (i32, i32)>("cursors")?;
/// cursors.allow_writes();
/// cursors.insert("host".into(), (10, 10))?;
///
/// // Somewhere else:
/// let client = Client::join(host.link()).start()?;
/// let cursors = client.map::<String, (i32, i32)>("cursors")?;
/// cursors.insert("Ada".into(), (3, 4))?;
/// let soon = Instant::now() + Duration::from_secs(5);
/// while let Some(event) = cursors.next_event(soon)? {
///     match event {
///         MapEvent::Reset => println!("now: {:?}", cursors.entries()),
///         MapEvent::Inserted(who, (x, y)) => println!("{who} is at {x}, {y}"),
///         MapEvent::Removed(who) => println!("{who} is gone"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MapStream<K, V>(Arc<Inner<K, V>>);

#[derive(Debug)]
struct Inner<K, V> {
    stream: Stream,
    map: Mutex<Map<K, V>>,
    /// Where a client sends what it writes.
    writes: Mutex<Option<Stream>>,
}

#[derive(Debug)]
struct Map<K, V> {
    entries: MapReplica<K, V>,
    /// Since somebody asked for them; each with what it counts as.
    events: Option<VecDeque<(MapEvent<K, V>, usize)>>,
    event_bytes: usize,
}

/// A map that takes what clients write.
pub(super) trait Writes: Debug + Send + Sync {
    /// Takes changes in their coded form.
    fn write(&self, changes: &[u8]);
}

impl<K, V> Clone for MapStream<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key, V: Value> MapStream<K, V> {
    fn new(stream: Stream) -> Self {
        // How large a map of ours is, is looked at where it is changed.
        let most = if stream.is_ours() { usize::MAX } else { MAX_COPY };
        let map = Map { entries: MapReplica::new(most), events: None, event_bytes: 0 };
        let map = Mutex::new(map);
        Self(Arc::new(Inner { stream, map, writes: Mutex::new(None) }))
    }

    pub(crate) fn publish(hub: &Arc<Hub>, publish: Publish) -> Result<Self, StreamError> {
        Ok(Self::new(Stream::new(publish.of_map().start(hub, Format::Cbor, None)?)))
    }

    pub(crate) fn subscribe(
        hub: &Arc<Hub>,
        peer: ViewerId,
        name: &str,
    ) -> Result<Self, StreamError> {
        let wish = Wish { peer, kind: Kind::Map, name: name.into(), window: WINDOW };
        Ok(Self::new(Stream::new(hub.subscribe(wish, None)?)))
    }

    /// What it has in common with all streams.
    pub fn stream(&self) -> &Stream {
        &self.0.stream
    }

    /// For a map of a host's: clients may change it. Their changes are applied in the order in which they come.
    pub fn allow_writes(&self) {
        if self.0.stream.is_ours() {
            let map = Arc::downgrade(&self.0) as Weak<dyn Writes>;
            self.0.stream.0.hub.allow_writes(self.0.stream.name(), map);
        }
    }

    /// Sets a key's value. At a client's end the change is sent to the host, and is seen here when it comes back, if the host lets
    /// clients write: that it was sent does not mean that it will be. Waits while too much is under way.
    ///
    /// # Errors
    /// [`StreamError::Data`] and [`StreamError::TooLarge`] for what cannot be sent; [`StreamError::Full`] if the map would hold more
    /// than 48 MiB (each entry counts as 128 bytes more than it has), what a client writes over that being left out; and at a client's
    /// end, if 64 changes wait and the host takes none for ten seconds, as it does where clients may not write; at a host's copy of a
    /// client's map [`StreamError::Ended`]: it is the client's alone; [`StreamError::Closed`] after the session's end.
    pub fn insert(&self, key: K, value: V) -> Result<(), StreamError> {
        self.0.change(MapChange::Insert(key, value))
    }

    /// Takes a key out; see [`Self::insert`].
    ///
    /// # Errors
    /// Those of [`Self::insert`].
    pub fn remove(&self, key: K) -> Result<(), StreamError> {
        self.0.change(MapChange::Remove(key))
    }

    /// Takes all out; see [`Self::insert`].
    ///
    /// # Errors
    /// Those of [`Self::insert`].
    pub fn clear(&self) -> Result<(), StreamError> {
        self.0.change(MapChange::Clear)
    }

    /// A key's value at present.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.catch_up().entries.get(key).cloned()
    }

    /// All entries at present, in no order.
    pub fn entries(&self) -> Vec<(K, V)> {
        let map = self.0.catch_up();
        map.entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// How many entries there are at present.
    pub fn len(&self) -> usize {
        self.0.catch_up().entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened next to the map; waits until `deadline`. The first is [`MapEvent::Reset`] if there is anything already. `None` if
    /// nothing happens in time.
    ///
    /// # Errors
    /// [`StreamError::Ended`] and [`StreamError::Closed`] if nothing more can happen.
    pub fn next_event(&self, deadline: Instant) -> Result<Option<MapEvent<K, V>>, StreamError> {
        let Inner { stream, .. } = &*self.0;
        loop {
            let mut map = self.0.catch_up();
            let is_empty = map.entries.is_empty();
            let events = map.events.get_or_insert_with(|| match is_empty {
                true => VecDeque::new(),
                false => [(MapEvent::Reset, 0)].into(),
            });
            if let Some((event, counts)) = events.pop_front() {
                map.event_bytes -= counts;
                return Ok(Some(event));
            }
            // Changed under the map's lock, so nothing is missed from here on.
            let seen = stream.0.lock().changed;
            drop(map);
            let something = |state: &mut State| match state.changed != seen || has_mail(state) {
                true => Some(Ok(())),
                false => state.over().map(Err),
            };
            match stream.0.wait_for(Some(deadline), something) {
                Some(result) => result?,
                None => return Ok(None),
            }
        }
    }
}

fn has_mail(state: &State) -> bool {
    match state.snapshots.front() {
        Some((frames, parts)) => parts.len() as u32 >= *frames,
        None => !state.queue.is_empty() && state.queue.iter().any(|item| item.number > 0),
    }
}

impl<K: Key, V: Value> Inner<K, V> {
    fn lock(&self) -> MutexGuard<'_, Map<K, V>> {
        // What a developer's own code for keys may leave behind when it panics is theirs.
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: MapChange<K, V>) -> Result<(), StreamError> {
        match self.stream.is_ours() {
            true => self.change_ours(change, true),
            false => self.ask_for(&change),
        }
    }

    /// The map is ours: changes it, and tells.
    fn change_ours(&self, change: MapChange<K, V>, may_wait: bool) -> Result<(), StreamError> {
        let coded = code(&change)?;
        let bytes = match &coded {
            machine::MapChange::Insert { key, value } => key.len() + value.len(),
            machine::MapChange::Remove { key } => key.len(),
            machine::MapChange::Clear => 1,
        };
        let end = &self.stream.0;
        let mut coded = Some(coded);
        // Both under the map's lock, so that all have the changes in one order.
        let mut map = self.lock();
        loop {
            let mut state = end.lock();
            if let Some(over) = state.over() {
                return Err(over);
            }
            if !may_wait || state.changes_bytes < MAX_CHANGES {
                if let Some(coded) = coded.take() {
                    if !state.grow(&coded) {
                        return Err(StreamError::Full);
                    }
                    state.changes.push(coded);
                }
                state.changes_bytes += bytes;
                state.changed += 1;
                break;
            }
            drop(state);
            drop(map);
            let has_place = |state: &mut State| {
                (state.changes_bytes < MAX_CHANGES || state.is_closed).then_some(())
            };
            end.wait_for(None, has_place);
            map = self.lock();
        }
        let fits = map.apply(change, bytes);
        debug_assert!(fits, "a map of ours is as large as it is");
        drop(map);
        end.nudge();
        end.stir();
        Ok(())
    }

    /// The map is the host's: sends the change there.
    fn ask_for(&self, change: &MapChange<K, V>) -> Result<(), StreamError> {
        if self.stream.0.hub.is_hosts(&self.stream.0) {
            return Err(StreamError::Ended(Some(EndReason::Refused)));
        }
        let payload = change.to_bytes()?;
        if payload.len() > MAX_WRITE_BYTES {
            return Err(StreamError::TooLarge(payload.len()));
        }
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = match &mut *writes {
            Some(stream) => stream,
            none => {
                let publish = Publish::reliable(self.stream.name()).of_writes();
                none.insert(Stream::new(publish.start(&self.stream.0.hub, Format::Cbor, None)?))
            }
        };
        // It waits until the host has subscribed: for ever, where clients may not write.
        stream.0.push(Coded::new(payload), false, Some(Instant::now() + WRITE_WITHIN))
    }

    /// Takes over what has come, so that the map is as new as it can be.
    fn catch_up(&self) -> MutexGuard<'_, Map<K, V>> {
        let mut map = self.lock();
        if self.stream.is_ours() {
            return map;
        }
        let end = &self.stream.0;
        let mut took = Tell::Nothing;
        loop {
            let mut state = end.lock();
            if !has_mail(&state) {
                break;
            }
            let fits = if let Some((_, parts)) = state.snapshots.pop_front() {
                drop(state);
                map.replace(&parts)
            } else {
                let Some(item) = state.queue.pop_front() else { break };
                took = took.max(state.took(&item));
                drop(state);
                map.read(&item.payload)
            };
            if !fits {
                tracing::warn!(name = self.stream.name(), "a map is larger than maps may be");
                end.break_off();
                break;
            }
        }
        end.tell(took);
        map
    }
}

impl<K: Key, V: Value> Map<K, V> {
    /// Makes a change that has so many bytes. Tells whether there was place for it.
    fn apply(&mut self, change: MapChange<K, V>, bytes: usize) -> bool {
        if let Some(events) = &mut self.events {
            let event = match &change {
                MapChange::Insert(key, value) => MapEvent::Inserted(key.clone(), value.clone()),
                MapChange::Remove(key) => MapEvent::Removed(key.clone()),
                MapChange::Clear => MapEvent::Reset,
            };
            let counts = bytes + ENTRY_COST;
            let is_full = events.len() >= MAX_EVENTS || self.event_bytes + counts > MAX_EVENT_BYTES;
            if matches!(event, MapEvent::Reset) || is_full {
                self.all_is_new();
            } else {
                events.push_back((event, counts));
                self.event_bytes += counts;
            }
        }
        self.entries.apply(change, bytes).is_ok()
    }

    /// Makes the changes that these bytes hold. Tells whether there was place for them.
    fn read(&mut self, bytes: &[u8]) -> bool {
        match MapChange::read_all(bytes) {
            Ok(changes) => changes.into_iter().all(|(change, bytes)| self.apply(change, bytes)),
            Err(error) => {
                tracing::warn!(%error, "a change of a map was left out");
                true
            }
        }
    }

    /// The map is what these parts of a snapshot hold. Tells whether there was place for it.
    fn replace(&mut self, parts: &[Bytes]) -> bool {
        self.entries.reset();
        // It is one event.
        let events = self.events.take();
        let fits = parts.iter().all(|part| self.read(part));
        self.events = events;
        self.all_is_new();
        fits
    }

    fn all_is_new(&mut self) {
        if let Some(events) = &mut self.events {
            events.clear();
            events.push_back((MapEvent::Reset, 0));
            self.event_bytes = 0;
        }
    }
}

impl<K: Key, V: Value> Writes for Inner<K, V> {
    fn write(&self, changes: &[u8]) {
        if changes.len() > MAX_WRITE_BYTES {
            return tracing::warn!(bytes = changes.len(), "what a client wrote is too much");
        }
        match MapChange::read_some(changes, MAX_WRITES) {
            Ok(changes) => {
                changes.into_iter().for_each(|(change, _)| drop(self.change_ours(change, false)))
            }
            Err(error) => tracing::warn!(%error, "what a client wrote was left out"),
        }
    }
}

/// Key and value in their coded forms.
fn code<K: Key, V: Value>(change: &MapChange<K, V>) -> Result<machine::MapChange, StreamError> {
    let coded = match change {
        MapChange::Insert(key, value) => {
            machine::MapChange::Insert { key: key.to_bytes()?, value: value.to_bytes()? }
        }
        MapChange::Remove(key) => machine::MapChange::Remove { key: key.to_bytes()? },
        MapChange::Clear => machine::MapChange::Clear,
    };
    if let machine::MapChange::Insert { key, value } = &coded
        && key.len() + value.len() > MAX_ENTRY
    {
        return Err(StreamError::TooLarge(key.len() + value.len()));
    }
    Ok(coded)
}

#[cfg(test)]
mod tests {
    use lllsi_core::streams::{Event, Received, SubscriptionId, THE_HOST};
    use lllsi_proto::rtsmp::{Announcement, FrameHead, Mode};

    use super::*;

    #[test]
    fn a_map_that_is_too_large_is_given_up_whatever_comes_after() {
        let hub = Arc::new(Hub::default());
        let map = MapStream::<u32, String>::subscribe(&hub, THE_HOST, "map").unwrap();
        let id = SubscriptionId(1);
        let (kind, mode, name) = (Kind::Map, Mode::Reliable, "map".into());
        let theirs = Announcement { run: 1, kind, mode, name, format: "cbor".into(), of: None };
        hub.take(Event::Began(id, theirs.clone()));
        hub.take(Event::Snapshot(id, 0));
        let value = "x".repeat(1 << 20);
        let frame = |number| {
            let payload = MapChange::Insert(number, &value).to_bytes().unwrap();
            let head = FrameHead { number, ..FrameHead::default() };
            Event::Frame(id, Received { head, age_us: None, payload })
        };
        for number in 1..=63 {
            hub.take(frame(number));
        }
        assert_eq!(map.len(), 63);
        for number in 64..=70 {
            hub.take(frame(number));
        }
        assert!(map.len() < 65);
        hub.take(Event::Began(id, theirs));
        let ended = map.next_event(Instant::now()).and_then(|_| map.next_event(Instant::now()));
        assert_eq!(ended, Err(StreamError::Ended(Some(EndReason::Protocol))));
    }

    #[test]
    fn events_that_nobody_reads_have_a_bound() {
        let events = Some(VecDeque::new());
        let mut map = Map { entries: MapReplica::new(usize::MAX), events, event_bytes: 0 };
        for (changes, bytes) in [(200_000, 10), (10_000, 1 << 16)] {
            for n in 0..changes {
                assert!(map.apply(MapChange::Insert(n % 7, n), bytes));
                let events = map.events.as_ref().expect("somebody asked for them");
                assert!(events.len() <= MAX_EVENTS && map.event_bytes <= MAX_EVENT_BYTES);
            }
            let counts: usize = map.events.iter().flatten().map(|(_, counts)| counts).sum();
            assert_eq!(map.event_bytes, counts);
        }
    }
}
