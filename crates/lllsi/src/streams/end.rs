//! One end of a stream, between the application and the net thread.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lllsi_core::host::ViewerId;
use lllsi_core::streams::{self as machine, Action, Item, StreamId, SubscriptionId, cost};
use lllsi_proto::rtsmp::{EndReason, FRAME, FrameHead, Kind, Mode};
use lllsi_stream::{ENTRY_COST, Overflow, Pushed, StreamContainer, StreamVectorContainer};

use super::hub::Hub;
use super::{StreamError, WAITING, WINDOW};

/// How often the net thread is woken for what the application has taken, if that is little.
const TELL_EVERY: Duration = Duration::from_millis(20);

/// All entries of a map, coded: whoever comes late takes a snapshot of 64 MiB at most.
const MAX_MAP_BYTES: usize = 48 << 20;

/// Whose end it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Publisher(StreamId),
    Subscriber(SubscriptionId),
}

/// An item in its coded form, on its way from or to the application.
#[derive(Debug, Clone)]
pub(super) struct Coded {
    /// Its number in the stream; 0 before it is sent. It counts since the stream began, for the last time or before.
    pub(super) number: u32,
    pub(super) epoch: u32,
    /// Its type and flags, as they are in its header.
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) made_at: Instant,
    pub(super) age: Option<Duration>,
    /// If it is real-time: after which it is too late.
    pub(super) until: Option<Instant>,
    pub(super) payload: Bytes,
    /// If it is passed on: where it came from.
    pub(super) from: Option<Weak<End>>,
}

impl Coded {
    pub(super) fn new(payload: Bytes) -> Self {
        let (made_at, age, until, from) = (Instant::now(), None, None, None);
        Self { number: 0, epoch: 0, kind: FRAME, flags: 0, made_at, age, until, payload, from }
    }
}

/// Whether the publisher is to be told that something was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tell {
    Nothing,
    Later,
    Now,
}

/// Figures of one end of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Items brought: by the application to its end, or by the link to a subscriber's.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items that were dropped here, by the rule for what is over the bound, or by [`Stream::clear`](super::Stream::clear).
    pub dropped: u64,
    /// Items of a real-time stream that were past their deadline when the application would have taken them.
    pub late: u64,
    /// Items that wait here.
    pub waiting: usize,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) queue: StreamVectorContainer<Coded>,
    pub(super) counts: StreamCounts,
    /// The machine is to clear what it has: before it is handed what is pushed next, and before any later action of the hub.
    pub(super) is_cleared: bool,
    /// Somebody waits for something to come or go.
    is_awaited: bool,
    /// Bytes that the machine keeps for subscribers.
    kept: usize,
    /// It was told that somebody waits for a place.
    told: bool,
    /// The last item that the application has taken, and that the machine knows of.
    pub(super) taken: u32,
    told_taken: u32,
    /// The newest that it has taken, of those behind one that still waits too.
    newest: u32,
    /// What it has taken since, and since when.
    taken_bytes: usize,
    told_at: Option<Instant>,
    /// How often it has begun.
    epoch: u32,
    /// We have stopped it.
    pub(super) is_stopped: bool,
    /// The publisher has.
    pub(super) is_paused: bool,
    pub(super) mode: Option<Mode>,
    pub(super) subscribers: BTreeSet<ViewerId>,
    /// How it ended, if it did: `Some(None)` if it was withdrawn.
    pub(super) ended: Option<Option<EndReason>>,
    /// It ended since it broke the protocol.
    pub(super) is_broken: bool,
    /// The session is over.
    pub(super) is_closed: bool,
    /// Parts of a snapshot of a map that come before anything else, and how many have been announced.
    pub(super) snapshots: VecDeque<(u32, Vec<Bytes>)>,
    /// Changes of a map that wait to be sent.
    pub(super) changes: Vec<machine::MapChange>,
    pub(super) changes_bytes: usize,
    /// How often a map of ours was changed, and how large its entries are, coded; each by its key, and all of them.
    pub(super) changed: u64,
    pub(super) sizes: HashMap<Bytes, usize>,
    pub(super) size: usize,
}

/// One end of a stream.
#[derive(Debug)]
pub(super) struct End {
    pub(super) role: Role,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) hub: Arc<Hub>,
    capacity: usize,
    state: Mutex<State>,
    /// Something has come, or gone; or it has ended.
    stirred: Condvar,
    /// If it is passed on: as what.
    pub(super) passed_to: Option<Weak<End>>,
}

impl End {
    pub(super) fn new(
        hub: &Arc<Hub>,
        (role, kind, name): (Role, Kind, String),
        mode: Option<Mode>,
        capacity: usize,
        queue: StreamVectorContainer<Coded>,
    ) -> Self {
        let state = State {
            queue,
            counts: StreamCounts::default(),
            is_awaited: false,
            is_cleared: false,
            kept: 0,
            told: false,
            taken: 0,
            told_taken: 0,
            newest: 0,
            taken_bytes: 0,
            told_at: None,
            epoch: 0,
            is_stopped: false,
            is_paused: false,
            mode,
            subscribers: BTreeSet::new(),
            ended: None,
            is_broken: false,
            is_closed: false,
            snapshots: VecDeque::new(),
            changes: Vec::new(),
            changes_bytes: 0,
            changed: 0,
            sizes: HashMap::new(),
            size: 0,
        };
        let (hub, state, stirred) = (Arc::clone(hub), Mutex::new(state), Condvar::new());
        Self { role, kind, name, hub, capacity, state, stirred, passed_to: None }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever waits looks again.
    pub(super) fn stir(&self) {
        // To wake nobody would cost a system call.
        if std::mem::take(&mut self.lock().is_awaited) {
            self.stirred.notify_all();
        }
    }

    /// The net thread looks again.
    pub(super) fn nudge(self: &Arc<Self>) {
        self.hub.nudge(self);
    }

    /// Something has been taken. The net thread is not woken for each of many: it looks by itself whenever it is awake, which pings
    /// make it twice a second.
    pub(super) fn tell(self: &Arc<Self>, tell: Tell) {
        match tell {
            Tell::Now => self.nudge(),
            Tell::Later => self.hub.note_dirty(self),
            Tell::Nothing => {}
        }
    }

    /// Waits until something is so, at most until `deadline`; a result at last.
    pub(super) fn wait_for<T>(
        &self,
        deadline: Option<Instant>,
        mut so: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(result) = so(&mut state) {
                return Some(result);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            state.is_awaited = true;
            state = match left {
                None => self.stirred.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.stirred.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    // --- The application's side ---

    /// Puts an item in, behind or in front of those that wait. Waits for a place if the rule says so.
    pub(super) fn push(
        self: &Arc<Self>,
        item: Coded,
        in_front: bool,
        deadline: Option<Instant>,
    ) -> Result<(), StreamError> {
        let mut item = Some(item);
        let result = self.wait_for(deadline, |state| {
            if state.is_closed {
                return Some(Err(StreamError::Closed));
            }
            let brought = item.take()?;
            let bytes = brought.payload.len() as u64;
            let pushed = match in_front {
                true => state.queue.push_front(brought),
                false => state.queue.push_back(brought),
            };
            match pushed {
                Pushed::Full(again) => {
                    item = Some(again);
                    return None;
                }
                Pushed::Dropped => state.counts.dropped += 1,
                Pushed::Kept { dropped } => state.counts.dropped += dropped as u64,
            }
            state.counts.items += 1;
            state.counts.bytes += bytes;
            Some(Ok(()))
        });
        self.nudge();
        result.unwrap_or(Err(StreamError::Full))
    }

    /// Takes the next item, or the last; `None` if there is none in time.
    pub(super) fn pop(
        self: &Arc<Self>,
        at_back: bool,
        deadline: Option<Instant>,
    ) -> Result<Option<Coded>, StreamError> {
        let result = self.wait_for(deadline, |state| match state.next(at_back) {
            Some(item) => {
                let tell = state.took(&item);
                Some(Ok((item, tell)))
            }
            None => state.over().map(Err),
        });
        match result {
            Some(Ok((item, tell))) => {
                match self.role {
                    // There is a place for whoever waits.
                    Role::Publisher(_) => self.stir(),
                    Role::Subscriber(_) => self.tell(tell),
                }
                Ok(Some(item))
            }
            Some(Err(error)) => Err(error),
            None => Ok(None),
        }
    }

    // --- The net thread's side ---

    /// What the machine is to do for this end.
    pub(super) fn next_action(&self) -> Option<Action> {
        let mut state = self.lock();
        match self.role {
            Role::Publisher(id) if std::mem::take(&mut state.is_cleared) => Some(Action::Clear(id)),
            Role::Subscriber(id) => (state.taken > state.told_taken).then(|| {
                (state.told_taken, state.taken_bytes) = (state.taken, 0);
                state.told_at = Some(Instant::now());
                Action::Consumed(id, state.taken)
            }),
            Role::Publisher(id) if self.kind == Kind::Map => {
                let changes = std::mem::take(&mut state.changes);
                state.changes_bytes = 0;
                drop(state);
                self.stir();
                (!changes.is_empty()).then_some(Action::Change(id, changes))
            }
            // What a client writes waits for the host.
            Role::Publisher(_) if self.kind == Kind::Writes && state.subscribers.is_empty() => None,
            Role::Publisher(id) => {
                let next = state.queue.iter().next()?;
                let counts = cost(&next.payload);
                let is_reliable = state.mode == Some(Mode::Reliable);
                if is_reliable && state.kept > 0 && state.kept + counts > self.capacity {
                    let is_new = !std::mem::replace(&mut state.told, true);
                    return is_new.then_some(Action::Wait(id, counts));
                }
                let coded = state.queue.pop_front()?;
                state.kept += if is_reliable { counts } else { 0 };
                drop(state);
                self.stir();
                self.left(&coded);
                let Coded { kind, flags, made_at, payload, .. } = coded;
                Some(Action::Push(id, Item { kind, flags, made_at, payload }))
            }
        }
    }

    /// Whether it was cleared, and the machine has not heard of that.
    pub(super) fn take_cleared(&self) -> bool {
        std::mem::take(&mut self.lock().is_cleared)
    }

    /// An item has left this end: if it is passed on, that is taken where it came from.
    pub(super) fn left(&self, item: &Coded) {
        if let Some(from) = item.from.as_ref().and_then(Weak::upgrade) {
            from.lock().took(item);
            self.hub.note_dirty(&from);
        }
    }

    pub(super) fn freed(&self, bytes: usize) {
        let mut state = self.lock();
        state.kept = state.kept.saturating_sub(bytes);
        state.told = false;
        drop(state);
        self.stir();
    }

    /// Takes an item that has come over the link.
    pub(super) fn arrived(self: &Arc<Self>, received: machine::Received) {
        let machine::Received { head, age_us, payload } = received;
        let FrameHead { kind, flags, number, .. } = head;
        let age = age_us.map(Duration::from_micros);
        let coded = Coded { number, kind, flags, age, ..Coded::new(payload) };
        if let Some(to) = self.passed_to.as_ref().and_then(Weak::upgrade) {
            let from = Some(Arc::downgrade(self));
            let made_at =
                coded.made_at.checked_sub(age.unwrap_or_default()).unwrap_or(coded.made_at);
            let epoch = self.lock().epoch;
            let mut state = to.lock();
            // It was reliable when this began.
            if state.mode == Some(Mode::Reliable) && self.lock().mode != Some(Mode::Reliable) {
                state.counts.dropped += 1;
                return;
            }
            let _ = state.queue.push_back(Coded { from, made_at, epoch, ..coded });
            state.counts.items += 1;
            drop(state);
            return self.hub.note_dirty(&to);
        }
        let mut state = self.lock();
        if state.is_broken {
            return;
        }
        state.counts.items += 1;
        state.counts.bytes += coded.payload.len() as u64;
        let epoch = state.epoch;
        let until = match state.mode {
            Some(Mode::RealTime(micros)) => {
                let left =
                    Duration::from_micros(micros.into()).saturating_sub(age.unwrap_or_default());
                Some(coded.made_at + left)
            }
            _ => None,
        };
        match state.queue.push_back(Coded { epoch, until, ..coded }) {
            Pushed::Kept { dropped } => state.counts.dropped += dropped as u64,
            Pushed::Dropped | Pushed::Full(_) => state.counts.dropped += 1,
        }
        // Whatever the queue was made for.
        while matches!(state.mode, Some(Mode::RealTime(_)))
            && state.queue.len() > WAITING
            && state.queue.pop_front().is_some()
        {
            state.counts.dropped += 1;
        }
        drop(state);
        self.stir();
    }

    /// The stream begins, or begins anew. Of what was not taken of it before, a window's worth stays.
    pub(super) fn begin(&self, mode: Mode) {
        let mut state = self.lock();
        // Until it is asked for anew.
        if state.is_broken {
            return;
        }
        if state.mode != Some(mode) {
            state.turn_to(mode);
        }
        state.shrink();
        state.epoch += 1;
        (state.taken, state.told_taken, state.newest, state.ended) = (0, 0, 0, None);
        drop(state);
        self.stir();
        if let Some(to) = self.passed_to.as_ref().and_then(Weak::upgrade) {
            to.lock().shrink();
        }
    }

    /// What came broke the protocol: no more of it is taken.
    pub(super) fn break_off(&self) {
        let mut state = self.lock();
        (state.is_broken, state.ended) = (true, Some(Some(EndReason::Protocol)));
        state.queue.clear();
        state.snapshots.clear();
        drop(state);
        if let Role::Subscriber(id) = self.role {
            self.hub.act(Action::Unsubscribe(id));
        }
        self.stir();
    }

    /// Bytes that wait here or are kept for subscribers.
    pub(super) fn is_delivered(state: &State) -> bool {
        state.kept == 0 && state.queue.is_empty() && state.changes.is_empty()
    }
}

impl State {
    /// The next item that is not too late, or the last.
    fn next(&mut self, at_back: bool) -> Option<Coded> {
        loop {
            let item = if at_back { self.queue.pop_back() } else { self.queue.pop_front() }?;
            if item.until.is_none_or(|until| Instant::now() <= until) {
                return Some(item);
            }
            self.counts.late += 1;
        }
    }

    /// The application has an item. Tells how soon the publisher is to be told.
    pub(super) fn took(&mut self, item: &Coded) -> Tell {
        if item.epoch != self.epoch || matches!(self.mode, Some(Mode::RealTime(_))) {
            return Tell::Nothing;
        }
        self.newest = self.newest.max(item.number);
        // What is in front of it still waits, if it was taken from behind.
        let front = self.queue.iter().find(|front| front.epoch == self.epoch);
        let before = front.map_or(self.newest, |front| front.number.saturating_sub(1));
        self.taken = self.taken.max(before);
        self.taken_bytes += cost(&item.payload);
        let is_much = self.taken_bytes >= WINDOW as usize / 8;
        let is_due = self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if is_much || is_due { Tell::Now } else { Tell::Later }
    }

    /// A map of ours changes. `false` if it would be too large.
    pub(super) fn grow(&mut self, change: &machine::MapChange) -> bool {
        match change {
            machine::MapChange::Insert { key, value } => {
                let before = self.sizes.get(key).copied().unwrap_or(0);
                let now = key.len() + value.len() + ENTRY_COST;
                if self.size - before + now > MAX_MAP_BYTES {
                    return false;
                }
                self.size = self.size - before + now;
                self.sizes.insert(key.clone(), now);
            }
            machine::MapChange::Remove { key } => self.size -= self.sizes.remove(key).unwrap_or(0),
            machine::MapChange::Clear => (self.sizes, self.size) = (HashMap::new(), 0),
        }
        true
    }

    /// It is delivered in another way than was thought.
    fn turn_to(&mut self, mode: Mode) {
        let before = std::mem::replace(&mut self.queue, arrivals(Some(mode), WAITING));
        for item in before.iter().cloned() {
            if let Pushed::Kept { dropped } = self.queue.push_back(item) {
                self.counts.dropped += dropped as u64;
            }
        }
        self.mode = Some(mode);
    }

    /// Drops the oldest items until no more than a window's worth waits.
    fn shrink(&mut self) {
        let mut bytes: usize = self.queue.iter().map(|item| cost(&item.payload)).sum();
        while bytes > WINDOW as usize
            && let Some(item) = self.queue.pop_front()
        {
            bytes -= cost(&item.payload);
            self.counts.dropped += 1;
        }
    }

    /// Why nothing more comes.
    pub(super) fn over(&self) -> Option<StreamError> {
        match (self.is_closed, self.ended) {
            (true, _) => Some(StreamError::Closed),
            (_, Some(reason)) => Some(StreamError::Ended(reason)),
            _ => None,
        }
    }
}

/// What the application holds. The net thread may hold an end for a moment longer; with the last of these it is over all the same.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<End>);

impl Deref for Handle {
    type Target = Arc<End>;

    fn deref(&self) -> &Arc<End> {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.hub.closed_end(self.role);
    }
}

/// A queue for what arrives: of a reliable stream the window is its bound.
pub(super) fn arrivals(mode: Option<Mode>, items: usize) -> StreamVectorContainer<Coded> {
    match mode {
        Some(Mode::RealTime(_)) => StreamVectorContainer::new(items, Overflow::DropOldest),
        _ => StreamVectorContainer::new(usize::MAX, Overflow::Block),
    }
}
