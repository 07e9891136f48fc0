//! The host's machine: keeps a room open, lets clients in, sends each the frames of a layer.
//!
//! ```
//! use lllsi_core::host::{Config, Host};
//! use lllsi_core::seal::HostIdentity;
//! use lllsi_core::{Certificate, Machine, Output, SignalCommand};
//! # let now = std::time::Instant::now();
//! let config = Config {
//!     identity: HostIdentity::from_random([7; 96]),
//!     locals: vec!["127.0.0.1:5000".parse().unwrap()],
//!     certificate: Certificate::generate(),
//!     random_seed: [9; 32],
//!     lobby: false,
//!     max_viewers: 8,
//!     terms: Default::default(),
//!     room: None,
//!     max_bitrate: 4_000_000,
//!     max_uplink: None,
//!     layers: 1,
//! };
//! let mut host = Host::new(now, config);
//! assert!(matches!(host.poll_output(), Output::Signal(SignalCommand::Connect)));
//! ```

mod api;
mod checks;
mod claims;
mod door;
mod frames;
mod invitation;
mod layers;
mod rates;
mod rest;
mod signalling;
#[cfg(any(test, feature = "testing"))]
mod testing;
#[cfg(test)]
mod tests;
mod uplink;
mod viewer;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_proto::invite::TicketId;
use lllsi_proto::rendezvous::{ClientId, Request};
use lllsi_proto::rtsmp::EndReason;
use lllsi_proto::sealed::PartReason;

use crate::gather::Gather;
use crate::rate::Limits;
use crate::seal::derive;
use crate::server::Server;
use crate::streams::{self, Streams};
use crate::stun::Reflexive;
use crate::{Certificate, FAR_FUTURE, Input, LinkError, Machine, Output, micros_since, stun};
use checks::Checks;
use claims::Claims;
use door::Door;
use frames::Sending;
use layers::Layers;
use rest::Rest;
use uplink::Uplink;
use viewer::{Addresses, Renamed, Step, Viewer};

pub use api::{
    Action, CloseReason, Config, Counters, Event, LayerId, LeftReason, MAX_LAYERS, Room, Status,
    ViewerId,
};
pub use invitation::Terms;
pub use viewer::{ViewerState, ViewerStatus};

/// Below this the picture is not worth sending, bit/s.
const MIN_BITRATE: f64 = 300_000.0;
/// Clients in the lobby or under way, over the viewers allowed: they are told properly that the room is full.
const SPARE_CLIENTS: u32 = 16;
/// A client that has arrived at the server has this long to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(15);
/// What payloads may take of the user's limit: headers of IPv4, UDP and RTP and an authentication tag go with each packet, 64 of
/// about 1,150 bytes.
const PAYLOAD_SHARE: f64 = 0.945;
/// Refusals are told the application at most one in this time.
const REFUSAL_EVERY: Duration = Duration::from_secs(1);
/// How often bit rates are reconsidered.
const RATE_EVERY: Duration = Duration::from_millis(100);
/// How often the way to the server is looked at while viewers are not heard.
const DOUBT_EVERY: Duration = Duration::from_secs(3);
/// What every link begins with.
struct Place {
    certificate: Certificate,
    seed: [u8; 32],
    epoch: Instant,
}

/// The host's machine. See the [crate documentation](crate) for how to drive it.
pub struct Host {
    place: Arc<Place>,
    seed: [u8; 32],
    lobby: bool,
    max_viewers: u32,
    limits: Limits,
    server: Server,
    gather: Gather,
    doubt_at: Instant,
    room_is_open: bool,
    room_was_open: bool,
    viewers: BTreeMap<ViewerId, Viewer>,
    next_viewer: u32,
    /// The server's numbers begin anew when it restarts: they count for one connection.
    by_client: HashMap<ClientId, ViewerId>,
    by_source: Claims,
    by_ufrag: HashMap<String, ViewerId>,
    checks: Checks,
    streams: Streams,
    door: Door,
    /// One entry per viewer, at its [`Viewer::deadline`].
    deadlines: BTreeSet<(Instant, ViewerId)>,
    /// Clients that have arrived, and until when they must have said something.
    arrivals: VecDeque<(Instant, ClientId)>,
    layers: Layers,
    uplink: Uplink,
    rate_at: Instant,
    rest: Rest,
    frames: u64,
    sending: Option<Sending>,
    counters: Counters,
    sent_bytes: u64,
    redundant_bytes: u64,
    /// When the next refusal may be told.
    tell_refusal_at: Instant,
    epoch: Instant,
    closed: bool,
    outputs: VecDeque<Output<Event>>,
    now: Instant,
}

impl Host {
    /// Begins to open the room.
    pub fn new(now: Instant, config: Config) -> Self {
        let max = f64::from(config.max_bitrate) * PAYLOAD_SHARE;
        let seed = config.random_seed;
        let door = Door::new(now, config.identity, config.room, config.terms, seed);
        let place = Place { certificate: config.certificate, seed, epoch: now };
        let [a, b, c, d, ..] = derive(&seed, b"streams", 0);
        let run = [a, b, c, d];
        let mut host = Self {
            limits: Limits { min: MIN_BITRATE.min(max), max },
            layers: Layers::new(now, config.layers, max as u32),
            uplink: Uplink::new(
                now,
                config.max_uplink.map(|up| f64::from(up) * PAYLOAD_SHARE),
                MIN_BITRATE.min(max),
            ),
            server: Server::connect(now),
            gather: Gather::new(config.locals, &seed),
            doubt_at: now,
            place: Arc::new(place),
            seed,
            lobby: config.lobby,
            max_viewers: config.max_viewers,
            room_is_open: false,
            room_was_open: false,
            viewers: BTreeMap::new(),
            next_viewer: 1,
            by_client: HashMap::new(),
            by_source: Claims::default(),
            by_ufrag: HashMap::new(),
            deadlines: BTreeSet::new(),
            arrivals: VecDeque::new(),
            rate_at: now,
            rest: Rest::new(now),
            frames: 0,
            sending: None,
            counters: Counters::default(),
            sent_bytes: 0,
            redundant_bytes: 0,
            tell_refusal_at: now,
            epoch: now,
            closed: false,
            outputs: VecDeque::new(),
            checks: Checks::default(),
            streams: Streams::new(u32::from_be_bytes(run)),
            door,
            now,
        };
        host.server.collect(&mut host.outputs);
        host
    }

    /// Frames sent so far: each was encoded and packetised once, however many viewers there are.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    fn timeout(&self) -> Instant {
        if self.closed {
            return self.now + FAR_FUTURE;
        }
        let viewers = self.deadlines.first().map(|(at, _)| *at);
        let arrival = self.arrivals.front().map(|(at, _)| *at);
        let keyframe = self.layers.timeout();
        let rate = (!self.by_source.is_empty()).then_some(self.rate_at);
        let server = [self.server.timeout(), self.gather.timeout()].into_iter().flatten().min();
        [viewers, arrival, keyframe, rate, server, self.streams.timeout()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.now + FAR_FUTURE)
    }

    fn expire(&mut self) {
        let now = self.now;
        if self.server.handle_timeout(now) {
            self.server_lost("it does not answer".into());
        }
        let due: Vec<_> =
            self.deadlines.range(..=(now, ViewerId(u32::MAX))).map(|(_, id)| *id).collect();
        for id in due {
            self.with_viewer(id, |viewer, now| viewer.handle_timeout(now));
        }
        self.streams.handle_timeout(now);
        while let Some(&(_, client)) = self.arrivals.front().filter(|(at, _)| *at <= now) {
            self.arrivals.pop_front();
            self.counters.silent += 1;
            self.server.send(&Request::Dismiss { client });
        }
        if now >= self.rate_at {
            self.rate_at = now + RATE_EVERY;
            self.look_at_uplink();
            self.reconsider_room();
            self.reconsider_bitrates();
            self.ping_those_at_rest();
        }
    }

    fn action(&mut self, action: Action) {
        match action {
            Action::Admit(id) if self.viewers.get(&id).is_some_and(Viewer::was_announced) => {
                self.admit(id);
            }
            Action::Admit(_) => {}
            Action::Start => {
                self.lobby = false;
                let waiting: Vec<_> = self.waiting().collect();
                waiting.into_iter().for_each(|id| self.admit(id));
            }
            Action::Renew { secret, password } => {
                let here = self.viewers.values().filter_map(Viewer::ticket).collect();
                self.door.renew(self.now, secret, password, &here);
            }
            Action::Kick(id) => self.kick(id),
            Action::Send(frame) => self.send(frame),
            // Whoever is gone has no streams.
            Action::Stream(streams::Action::Subscribe(id, wish))
                if !self.viewers.contains_key(&wish.peer) && !self.streams.knows(wish.peer) =>
            {
                let gone = streams::Event::Ended(id, Some(EndReason::Gone));
                self.event(Event::Stream(gone));
            }
            Action::Stream(action) => {
                if self.streams.is_served_before(&action) {
                    while self.serve_next() {}
                }
                let epoch = self.epoch;
                self.streams.act(self.now, action, |at| micros_since(epoch, at));
            }
            Action::LoseSource => self.close(CloseReason::SourceLost),
            Action::Close => self.close(CloseReason::Closed),
        }
    }

    fn waiting(&self) -> impl Iterator<Item = ViewerId> + '_ {
        self.viewers.iter().filter(|(_, v)| v.is_waiting()).map(|(id, _)| *id)
    }

    // --- Datagrams ---

    fn datagram(&mut self, source: SocketAddr, destination: SocketAddr, data: &[u8]) {
        if let Some(found) = self.gather.handle_datagram(self.now, source, destination, data) {
            return self.reflexive(found);
        }
        let answered = self.checks.received(source.ip(), data);
        // An unknown source is only listened to if it names a viewer in a connectivity check.
        if let Some(named) = stun::addressee(data) {
            let Some(&id) = self.by_ufrag.get(&named) else {
                self.counters.strangers += 1;
                return;
            };
            if self.hear(id, source, destination, data) {
                self.checks.asked(self.now, source.ip());
            }
            return;
        }
        if let Some(id) = answered {
            self.hear(id, source, destination, data);
            return;
        }
        let mut claimants = self.by_source.at(source).peekable();
        if claimants.peek().is_none() {
            self.counters.strangers += 1;
        }
        for id in claimants {
            self.with_viewer(id, |viewer, now| {
                viewer.handle_datagram(now, source, destination, data)
            });
        }
    }

    /// A datagram came from a source that may be a viewer. Returns whether it is.
    fn hear(&mut self, id: ViewerId, source: SocketAddr, to: SocketAddr, data: &[u8]) -> bool {
        self.with_viewer(id, |viewer, now| viewer.handle_datagram(now, source, to, data));
        let is_known = self.viewers.get(&id).is_some_and(|viewer| viewer.knows(source));
        if is_known {
            self.by_source.add(source, id);
        }
        is_known
    }

    fn reflexive(&mut self, found: Reflexive) {
        let ids: Vec<_> = self.viewers.keys().copied().collect();
        for id in ids {
            self.with_viewer(id, |viewer, now| viewer.add_reflexive(now, found));
        }
    }

    fn locals_changed(&mut self, locals: Vec<SocketAddr>) {
        self.gather.set_locals(self.now, locals.clone());
        self.server.network_changed(self.now);
        let ids: Vec<_> = self.viewers.keys().copied().collect();
        for id in ids {
            self.with_viewer(id, |viewer, now| viewer.set_locals(now, &locals));
        }
    }

    /// A viewer is not heard: it may be gone, or our own way to the network has changed.
    fn doubt_network(&mut self) {
        if self.now >= self.doubt_at {
            self.doubt_at = self.now + DOUBT_EVERY;
            self.server.probe();
            self.gather.refresh(self.now);
        }
    }

    // --- Streams ---

    /// Sends a viewer what streams have for it, if there is one for whom they have something.
    fn serve_next(&mut self) -> bool {
        let Some(id) = self.streams.take_stirred() else { return false };
        self.with_viewer(id, |viewer, _| {
            viewer.expect_streams();
            Step::Stay
        });
        self.settle();
        true
    }

    /// Tells what has come up.
    fn settle(&mut self) {
        while let Some(event) = self.streams.poll_event() {
            match event {
                streams::Event::Pictures(id, wants) => self.with_viewer(id, |viewer, _| {
                    viewer.want_pictures(wants);
                    Step::Stay
                }),
                event => self.event(Event::Stream(event)),
            }
        }
        if self.layers.is_unrated() {
            self.reconsider_bitrates();
        }
        self.layers.ask_for_keyframes(self.now);
        while let Some(event) = self.layers.poll_event() {
            self.event(event);
        }
        if let Some(kind) = self.gather.take_kind() {
            let ids: Vec<_> = self.viewers.keys().copied().collect();
            for id in ids {
                self.with_viewer(id, |viewer, _| {
                    viewer.tell_nat(kind);
                    Step::Stay
                });
            }
        }
        while let Some(transmit) = self.gather.poll_transmit(self.now) {
            self.outputs.push_back(Output::Transmit(transmit));
        }
        self.server.collect(&mut self.outputs);
    }

    // --- Viewers ---

    fn admit(&mut self, id: ViewerId) {
        let Some(viewer) = self.viewers.get(&id).filter(|v| v.is_waiting_for_admission()) else {
            return;
        };
        let had = viewer.ticket();
        // Who comes back has the place of the link that it had: that counts once, and not against itself.
        let linked = self.viewers.values().filter(|v| v.is_linked());
        let tickets: HashSet<_> = linked.filter_map(Viewer::ticket).collect();
        let others = tickets.iter().filter(|ticket| Some(**ticket) != had).count();
        if others >= self.max_viewers as usize {
            // Who waits in the lobby may be let in when another has left.
            if !viewer.is_waiting() {
                self.refuse(id, PartReason::RoomFull);
            }
            return;
        }
        let given = if had.is_some() { None } else { self.door.let_in() };
        if had.is_none() && given.is_none() {
            return self.refuse(id, PartReason::InviteExpired);
        }
        self.gather.freshen(self.now);
        let place = Arc::clone(&self.place);
        let (locals, reflexive) = (self.gather.locals().to_vec(), self.gather.reflexive());
        let ours = Addresses { locals, reflexive: reflexive.collect() };
        let mut came = false;
        self.with_viewer(id, |viewer, now| match viewer.admit(now, &place, &ours, given) {
            Ok(()) => {
                came = true;
                Step::Stay
            }
            Err(error) => {
                viewer.refuse(PartReason::Protocol);
                Step::Leave(error.into())
            }
        });
        self.counters.refused += u64::from(!came);
        if let (false, Some(ticket)) = (came, given) {
            self.door.take_back(&ticket);
        }
    }

    /// Once its new link is up, who came back leaves the one that it had: that it said hello proves less, since the
    /// server may have kept that back for a while.
    fn replace(&mut self, id: ViewerId) {
        if let Some(ticket) = self.viewers.get(&id).and_then(Viewer::ticket) {
            let before = self.with_ticket(ticket).filter(|other| *other < id);
            before.for_each(|other| self.part(other, PartReason::Replaced));
        }
    }

    fn kick(&mut self, id: ViewerId) {
        if let Some(ticket) = self.viewers.get(&id).and_then(Viewer::ticket) {
            self.door.revoke(ticket);
            // It may be about to come back by another connection.
            self.with_ticket(ticket).for_each(|id| self.part(id, PartReason::Kicked));
        }
        self.part(id, PartReason::Kicked);
    }

    /// The viewers that came with this ticket, or were given it: at most one of them is up.
    fn with_ticket(&self, ticket: TicketId) -> impl Iterator<Item = ViewerId> + use<> {
        let same = self.viewers.iter().filter(|(_, v)| v.ticket() == Some(ticket));
        let same: Vec<_> = same.map(|(id, _)| *id).collect();
        same.into_iter()
    }

    fn part(&mut self, id: ViewerId, reason: PartReason) {
        self.with_viewer(id, |viewer, now| {
            viewer.part(now, reason);
            Step::Leave(reason.into())
        });
    }

    /// Does something with a viewer, then takes over what it wants sent and said and when it wants to be woken.
    /// All work on a viewer goes through here, so nothing has to be looked for later.
    fn with_viewer(&mut self, id: ViewerId, act: impl FnOnce(&mut Viewer, Instant) -> Step) {
        let Some(viewer) = self.viewers.get_mut(&id) else {
            return;
        };
        let (deadline, client) = (viewer.deadline(), viewer.client());
        let step = guarded(|| {
            let step = act(viewer, self.now);
            if let Step::Restarted = step {
                self.gather.refresh(self.now);
            }
            match step {
                Step::Leave(reason) => Step::Leave(reason),
                _ => viewer.advance(self.now, self.epoch, self.limits, &mut self.streams),
            }
        });
        if let Step::Stuck = step {
            self.gather.find_kind(self.now);
            self.gather.kind().into_iter().for_each(|kind| viewer.tell_nat(kind));
        }
        while let Some(transmit) = viewer.poll_transmit() {
            let to = transmit.destination.ip();
            if self.checks.may_go(self.now, id, to, &transmit.contents) {
                let bytes = transmit.wire_bytes();
                viewer.sent_bytes += bytes;
                self.sent_bytes += bytes;
                self.outputs.push_back(Output::Transmit(transmit));
            } else {
                viewer.withheld_checks += 1;
                self.counters.withheld_checks += 1;
            }
        }
        self.redundant_bytes += viewer.take_redundant();
        self.counters.garbled += std::mem::take(&mut viewer.garbled);
        self.counters.hasty += std::mem::take(&mut viewer.hasty);
        while let Some(blob) = viewer.poll_blob() {
            if client.is_some() {
                self.server.send(&Request::Relay { client, blob });
            }
        }
        let is_full = viewer.is_full(self.now);
        self.layers.note(self.now, id, viewer.watches(), is_full);
        if viewer.take_keyframe_wanted() {
            self.layers.want_keyframe(self.now, id);
        }
        let mut is_new = false;
        while let Some(event) = viewer.poll_event() {
            is_new |= matches!(event, Event::ViewerConnected { .. });
            self.outputs.push_back(Output::Event(event));
        }
        if let Some(Renamed { old, new }) = viewer.take_renamed() {
            self.by_ufrag.insert(new, id);
            if let Some(old) = old {
                self.by_ufrag.remove(&old);
            }
        }
        for source in viewer.take_forgotten() {
            self.by_source.remove(source, id);
        }
        if let (Some(client), None) = (client, viewer.client())
            && self.by_client.remove(&client).is_some()
        {
            self.server.send(&Request::Dismiss { client });
        }
        if let Step::Leave(reason) = step {
            return self.remove(id, deadline, reason);
        }
        let after = viewer.deadline();
        if after != deadline {
            self.deadlines.remove(&(deadline, id));
            self.deadlines.insert((after, id));
        }
        if is_new {
            self.replace(id);
        }
    }

    fn remove(&mut self, id: ViewerId, deadline: Instant, reason: LeftReason) {
        let Some(viewer) = self.viewers.remove(&id) else {
            return;
        };
        self.deadlines.remove(&(deadline, id));
        self.layers.remove(self.now, id);
        self.counters.ignored += viewer.ignored();
        self.counters.faults += u64::from(reason == LeftReason::Fault);
        for source in viewer.sources() {
            self.by_source.remove(source, id);
        }
        if let Some(ufrag) = viewer.ufrag() {
            self.by_ufrag.remove(ufrag);
        }
        if let Some(client) = viewer.client() {
            self.by_client.remove(&client);
            self.server.send(&Request::Dismiss { client });
        }
        if reason == LeftReason::Link(LinkError::Silent) {
            self.doubt_network();
        }
        match &reason {
            // It may come back, or has.
            LeftReason::Link(_) | LeftReason::Fault | LeftReason::Parted(PartReason::Replaced) => {
                self.streams.lost(self.now, id)
            }
            _ => self.streams.leave(self.now, id),
        }
        if viewer.was_announced() {
            self.event(Event::ViewerLeft { id, reason });
        }
    }

    fn close(&mut self, reason: CloseReason) {
        let told = match reason {
            CloseReason::SourceLost => PartReason::SourceLost,
            _ => PartReason::HostClosed,
        };
        let ids: Vec<_> = self.viewers.keys().copied().collect();
        for id in ids {
            self.part(id, told);
        }
        self.server.send(&Request::Close);
        self.leave_server();
        self.server.collect(&mut self.outputs);
        self.closed = true;
        self.sending = None;
        self.event(Event::Closed(reason));
    }

    /// Closes the connection to the server for good.
    fn leave_server(&mut self) {
        self.server.close();
        self.gather.stop();
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// A fault in one link, such as a hostile client might provoke in the libraries below, ends that link alone.
fn guarded(act: impl FnOnce() -> Step) -> Step {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(act))
        .unwrap_or(Step::Leave(LeftReason::Fault))
}

impl Machine for Host {
    type Action = Action;
    type Event = Event;
    type Status = Status;

    const SERVES_MANY: bool = true;

    fn handle_input(&mut self, now: Instant, input: Input<'_, Action>) {
        self.now = now;
        if self.closed {
            return;
        }
        // What comes from viewers may come in between; all else finds the frame sent.
        if !matches!(input, Input::Datagram { .. }) {
            while self.send_next() {}
        }
        match input {
            Input::Timeout => self.expire(),
            Input::Datagram { source, destination, data } => {
                self.datagram(source, destination, data)
            }
            Input::Signal(event) => self.signal(event),
            Input::LocalsChanged(locals) => self.locals_changed(locals),
            Input::Action(action) => self.action(action),
        }
        if !self.closed {
            self.settle();
        }
    }

    fn poll_output(&mut self) -> Output<Event> {
        // A frame, and what streams have, for one viewer after another: it is on its way before the next one's is made.
        while self.outputs.is_empty() && !self.closed && (self.send_next() || self.serve_next()) {}
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timeout()))
    }

    fn status(&self) -> Status {
        let viewers = self.viewers.iter();
        // Of a client that has not shown the number of its digits nobody is to hear.
        let viewers = viewers.filter(|(_, viewer)| viewer.was_announced());
        let viewers: Vec<_> = viewers.map(|(id, v)| v.status(*id, self.layers.of(*id))).collect();
        let mut counters = self.counters;
        viewers.iter().for_each(|viewer| counters.ignored += viewer.ignored);
        Status {
            viewers,
            counters,
            sent_bytes: self.sent_bytes,
            redundant_bytes: self.redundant_bytes,
            streams: self.streams.status(),
        }
    }

    fn is_closed(&self) -> bool {
        self.closed && self.outputs.is_empty()
    }
}
