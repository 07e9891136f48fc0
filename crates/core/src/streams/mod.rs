//! Streams of anything between peers: RTSMP as a machine, for all links of a host or the one of a client.
//!
//! The owner says when a link comes and goes, hands in what arrives on its two channels, and takes out what is to be sent for
//! as long as they have room. What a peer has subscribed to, and how far it is, outlives its link for half a minute: whoever
//! comes back with the same ticket goes on where it was. Specified in `docs/rtsmp.md`.

mod api;
mod cursor;
mod log;
mod peer;
mod publisher;
mod subscriber;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use lllsi_proto::invite::TicketId;
use lllsi_proto::rtsmp::Message;

use crate::host::ViewerId;
pub use api::{
    Action, Audience, Event, Item, MapChange, Offer, Published, Received, Status, StreamId,
    Subscribed, SubscriptionId, Wish,
};
pub use log::cost;
use publisher::Publisher;
use subscriber::Subscriber;

/// What a client calls the host.
pub const THE_HOST: ViewerId = ViewerId(0);

/// All streams of a machine: part of [`Host`](crate::host::Host) and [`Client`](crate::client::Client), and usable over any
/// two channels of one's own, one ordered and one not.
///
/// ```
/// use lllsi_core::host::ViewerId;
/// use lllsi_core::streams::{Action, Audience, Event, Item, Offer, StreamId, Streams, SubscriptionId, THE_HOST, Wish};
/// use lllsi_proto::rtsmp::{Kind, Mode};
/// use std::time::{Duration, Instant};
///
/// # let now = Instant::now();
/// let (ada, mut host, mut client) = (ViewerId(1), Streams::new(1), Streams::new(2));
/// let offer = Offer {
///     kind: Kind::Vector,
///     mode: Mode::Reliable,
///     name: "log".into(),
///     format: "bytes".into(),
///     of: None,
///     audience: Audience::All,
///     capacity: 1 << 20,
///     patience: Duration::from_secs(10),
/// };
/// host.act(now, Action::Publish(StreamId(1), offer), |_| 0);
/// let wish = Wish { peer: THE_HOST, kind: Kind::Vector, name: "log".into(), window: 1 << 20 };
/// client.act(now, Action::Subscribe(SubscriptionId(1), wish), |_| 0);
///
/// host.join(now, ada, None);
/// client.join(now, THE_HOST, None);
/// let carry = |host: &mut Streams, client: &mut Streams| {
///     host.calm(ada);
///     client.calm(THE_HOST);
///     loop {
///         match (host.poll_ordered(ada), client.poll_ordered(THE_HOST)) {
///             (None, None) => break,
///             (down, up) => {
///                 down.into_iter().for_each(|m| client.receive(now, THE_HOST, m.into(), &|_| None));
///                 up.into_iter().for_each(|m| host.receive(now, ada, m.into(), &|_| None));
///             }
///         }
///     }
/// };
/// carry(&mut host, &mut client);
/// host.act(now, Action::Push(StreamId(1), Item::new(now, b"hello".to_vec().into())), |_| 0);
/// carry(&mut host, &mut client);
/// let got = std::iter::from_fn(|| client.poll_event()).any(|event| match event {
///     Event::Frame(_, frame) => &frame.payload[..] == b"hello",
///     _ => false,
/// });
/// assert!(got);
/// ```
pub struct Streams {
    publisher: Publisher,
    subscribers: BTreeMap<ViewerId, Subscriber>,
    /// One entry for each peer that is to be told something, or to be forgotten.
    deadlines: BTreeSet<(Instant, ViewerId)>,
    deadline_of: BTreeMap<ViewerId, Instant>,
    /// Peers for which there may be something to send.
    stirred: BTreeSet<ViewerId>,
    /// How often somebody has been served.
    turn: u64,
    wants_pictures: bool,
    events: VecDeque<Event>,
    ignored: u64,
}

impl Streams {
    /// `run` is drawn at random.
    pub fn new(run: u32) -> Self {
        Self {
            publisher: Publisher::new(run),
            subscribers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            stirred: BTreeSet::new(),
            turn: 1,
            wants_pictures: true,
            events: VecDeque::new(),
            ignored: 0,
        }
    }

    /// A link is up, and the other side has confirmed it.
    pub fn join(&mut self, now: Instant, id: ViewerId, ticket: Option<TicketId>) {
        let was = self.publisher.join(now, id, ticket);
        if let Some(was) = was.filter(|was| *was != id) {
            if let Some(mut subscriber) = self.subscribers.remove(&was) {
                subscriber.lost(id, &mut self.events);
                if let Some(early) = self.subscribers.remove(&id) {
                    subscriber.absorb(early);
                }
                self.subscribers.insert(id, subscriber);
            }
            self.events.push_back(Event::Returned { was, is: id });
        }
        self.subscriber(id).join();
        self.settle(id);
    }

    /// A link is gone.
    pub fn lost(&mut self, now: Instant, id: ViewerId) {
        self.publisher.lost(now, id);
        if let Some(subscriber) = self.subscribers.get_mut(&id) {
            subscriber.lost(id, &mut self.events);
        }
        // It never came so far that something could be kept for it.
        if id != THE_HOST && !self.publisher.knows(id) {
            self.forget(now, id);
        }
        self.settle(id);
    }

    /// A peer has left, and will not come back.
    pub fn leave(&mut self, now: Instant, id: ViewerId) {
        self.lost(now, id);
        self.forget(now, id);
        self.settle(id);
        self.stirred.remove(&id);
    }

    /// Whether a peer is here, or may come back.
    pub fn knows(&self, id: ViewerId) -> bool {
        self.publisher.knows(id)
    }

    fn subscriber(&mut self, id: ViewerId) -> &mut Subscriber {
        self.subscribers.entry(id).or_insert_with(|| Subscriber::new(self.wants_pictures))
    }

    /// What was kept for a peer is kept no longer. A host may be away for as long as its client is patient.
    fn forget(&mut self, now: Instant, id: ViewerId) {
        if self.publisher.forget(now, id)
            && id != THE_HOST
            && let Some(subscriber) = self.subscribers.remove(&id)
        {
            subscriber.end_all(&mut self.events);
        }
    }

    /// Takes a message that arrived on one of the two channels. `age_us` tells how long ago a time on the host's clock was,
    /// if that is known.
    pub fn receive(
        &mut self,
        now: Instant,
        id: ViewerId,
        bytes: Bytes,
        age_us: &dyn Fn(u64) -> Option<u64>,
    ) {
        let parsed = Message::parse(bytes);
        let result = match parsed {
            Ok(Some(
                message @ (Message::Subscribe { .. }
                | Message::Unsubscribe(_)
                | Message::Consumed { .. }),
            )) => self.publisher.receive(now, id, &message).map_err(|reason| reason.to_string()),
            Ok(Some(message)) => match self.subscribers.get_mut(&id) {
                Some(subscriber) => subscriber
                    .receive(id, message, age_us, &mut self.events)
                    .map_err(|reason| reason.to_string()),
                None => Ok(()),
            },
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a message about streams makes no sense");
            self.ignored += 1;
        }
        self.settle(id);
    }

    /// Whether all that are [stirred](Self::take_stirred) are to be served before this is done: several actions may be handed in
    /// together, but none takes away what one before it was to send.
    pub fn is_served_before(&self, action: &Action) -> bool {
        match action {
            Action::Withdraw(_) | Action::Stop(_) | Action::Clear(_) => true,
            Action::Push(id, item) => self.publisher.overtakes(*id, item, self.turn),
            _ => false,
        }
    }

    /// Does what the application wants. `host_us` tells what the host's clock showed at a time, 0 if that is not known.
    pub fn act(&mut self, now: Instant, action: Action, host_us: impl Fn(Instant) -> u64) {
        match action {
            Action::Publish(id, offer) => {
                self.publisher.publish(id, offer);
                self.stirred.extend(self.publisher.everybody());
            }
            Action::Withdraw(id) => {
                self.stirred.extend(self.publisher.everybody());
                self.publisher.withdraw(id);
            }
            Action::Stop(id) => self.stop(now, id, true),
            Action::Continue(id) => self.stop(now, id, false),
            Action::Clear(id) => {
                self.publisher.clear(now, id);
                self.stirred.extend(self.publisher.subscribers(id));
            }
            Action::Push(id, item) => {
                let captured_us = host_us(item.made_at);
                self.publisher.push(now, id, item, captured_us, self.turn);
                self.stirred.extend(self.publisher.subscribers(id));
            }
            Action::Change(id, changes) => {
                self.publisher.change(id, changes, host_us(now));
                self.stirred.extend(self.publisher.subscribers(id));
            }
            Action::Wait(id, counts) => {
                if self.publisher.wait(now, id, counts) {
                    self.stirred.extend(self.publisher.everybody());
                }
            }
            Action::Subscribe(id, wish) => {
                let peer = wish.peer;
                let subscriber = self.subscriber(peer);
                subscriber.subscribe(id, wish);
                match subscriber.is_stopped(id) {
                    Some(true) => self.events.push_back(Event::Stopped(id)),
                    Some(false) => self.events.push_back(Event::Continued(id)),
                    None => {}
                }
                self.settle(peer);
            }
            Action::Unsubscribe(id) => self.at_subscription(id, |s| s.unsubscribe(id)),
            Action::Pictures(wanted) => {
                self.wants_pictures = wanted;
                for (id, subscriber) in &mut self.subscribers {
                    subscriber.want_pictures(wanted);
                    self.stirred.insert(*id);
                }
            }
            Action::Consumed(id, number) => {
                self.at_subscription(id, |s| s.consumed(now, id, number));
            }
        }
    }

    fn stop(&mut self, now: Instant, id: StreamId, is_stopped: bool) {
        self.publisher.stop(now, id, is_stopped);
        self.stirred.extend(self.publisher.everybody());
    }

    fn at_subscription(&mut self, id: SubscriptionId, act: impl Fn(&mut Subscriber)) {
        let at = self.subscribers.iter_mut().find(|(_, subscriber)| subscriber.has(id));
        if let Some((&peer, subscriber)) = at {
            act(subscriber);
            self.settle(peer);
        }
    }

    /// Notes when to come back to a peer, and that there may be something to send.
    fn settle(&mut self, id: ViewerId) {
        self.events.append(&mut self.publisher.events);
        self.stirred.insert(id);
        if let Some(before) = self.deadline_of.remove(&id) {
            self.deadlines.remove(&(before, id));
        }
        let tell = self.subscribers.get(&id).and_then(Subscriber::timeout);
        let deadline = [tell, self.publisher.kept_until(id)].into_iter().flatten().min();
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
            self.deadline_of.insert(id, deadline);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Instant> {
        let peers = self.deadlines.first().map(|(at, _)| *at);
        [peers, self.publisher.impatient_at()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(_, id)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            if let Some(subscriber) = self.subscribers.get_mut(&id) {
                subscriber.handle_timeout(now);
            }
            if self.publisher.kept_until(id).is_some_and(|at| now >= at) {
                self.forget(now, id);
            }
            self.settle(id);
        }
        if self.publisher.impatient_at().is_some_and(|at| now >= at) {
            self.publisher.part_with_all_slow(now);
            self.events.append(&mut self.publisher.events);
            self.stirred.extend(self.publisher.everybody());
        }
    }

    /// A peer for which there may be something to send.
    pub fn take_stirred(&mut self) -> Option<ViewerId> {
        self.stirred.pop_first()
    }

    /// A peer's link is about to be served: to be called each time before its messages are polled for. Real-time frames that
    /// have been pushed since this was called for anybody go together if they are small; those that are pushed later overtake
    /// them. Returns whether the peer was stirred.
    pub fn calm(&mut self, id: ViewerId) -> bool {
        self.turn += 1;
        self.stirred.remove(&id)
    }

    /// The next message for a peer on the ordered channel.
    pub fn poll_ordered(&mut self, id: ViewerId) -> Option<Vec<u8>> {
        let subscriber = self.subscribers.get_mut(&id);
        subscriber.and_then(Subscriber::poll).or_else(|| self.publisher.poll_ordered(id))
    }

    /// The next message for a peer on the channel for real-time frames.
    pub fn poll_live(&mut self, now: Instant, id: ViewerId) -> Option<Vec<u8>> {
        self.publisher.poll_live(now, id)
    }

    /// The same, if it has a whole frame with at most so many bytes of payload: for a way that suits small ones.
    pub fn poll_small(&mut self, now: Instant, id: ViewerId, most: usize) -> Option<Vec<u8>> {
        self.publisher.poll_small(now, id, most)
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.append(&mut self.publisher.events);
        self.events.pop_front()
    }

    /// Figures.
    pub fn status(&self) -> Status {
        let subscribed = self.subscribers.iter().flat_map(|(id, s)| s.figures(*id)).collect();
        let too_many: u64 = self.subscribers.values().map(|s| s.ignored).sum();
        let published = self.publisher.figures();
        Status { published, subscribed, ignored: self.ignored + too_many }
    }
}
