//! The rendezvous server's machine: rooms in memory, sealed messages passed on. It cannot read what it passes on.
//!
//! It differs from the other machines in its inputs: it speaks to many connections, and to no datagrams (its STUN
//! answers are stateless, [`crate::stun::answer`]).
//!
//! ```
//! use lllsi_core::rendezvous::{Config, ConnectionId, Input, Output, Rendezvous};
//! use lllsi_proto::invite::RoomToken;
//! use lllsi_proto::rendezvous::Request;
//! # let now = std::time::Instant::now();
//! let mut server = Rendezvous::new(Config::default());
//! let host = ConnectionId(1);
//! server.handle_input(now, Input::Connected(host, "203.0.113.7".parse().unwrap()));
//! let token = RoomToken::from_bytes([7; 32]);
//! let open = Request::Open { version: lllsi_proto::WIRE_VERSION, token, max_clients: 4, name: None };
//! server.handle_input(now, Input::Received(host, open.to_json()));
//! assert!(matches!(server.poll_output(), Output::Send(to, reply) if to == host && reply.contains("opened")));
//! ```

mod addresses;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::RoomId;
use lllsi_proto::rendezvous::{Blob, ClientId, Place, Refusal, Reply, Request};
use lllsi_proto::room::RoomName;

use crate::FAR_FUTURE;
use crate::bucket::{Bucket, Rate};
use addresses::Addresses;
use names::Names;

pub use names::Claim;

/// The server's bounds.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// UDP port of the STUN answers, told to peers; 0 for none.
    pub stun_port: u16,
    /// Rooms at once.
    pub max_rooms: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Clients in one room at once, whatever its host asks for.
    pub max_clients_per_room: u32,
    /// Connections at once from one address: an IPv4 address, or an IPv6 /64.
    pub max_connections_per_address: u32,
    /// New connections from one address.
    pub connections_per_minute: u32,
    /// Rooms that are opened or entered from one address.
    pub joins_per_minute: u32,
    /// Messages from one client.
    pub client_messages_per_minute: u32,
    /// Messages from one host, who speaks to all its clients.
    pub host_messages_per_minute: u32,
    /// Names of rooms at once, with those that are kept.
    pub max_names: usize,
    /// For the first message of a connection.
    pub first_word: Duration,
    /// How long a name stays its owner's after the room was closed; zero where nothing outlives the server.
    pub keep_names: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stun_port: 0,
            max_rooms: 20_000,
            max_connections: 60_000,
            max_clients_per_room: 4096,
            max_connections_per_address: 512,
            connections_per_minute: 600,
            joins_per_minute: 300,
            client_messages_per_minute: 600,
            host_messages_per_minute: 60_000,
            max_names: 100_000,
            first_word: Duration::from_secs(10),
            keep_names: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

/// Names a connection; given by the shell, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What happens to the server.
#[derive(Debug)]
pub enum Input {
    /// The time last answered by [`Output::Timeout`] has come.
    Timeout,
    /// Somebody connected from this address.
    Connected(ConnectionId, IpAddr),
    /// A text message came, within [`lllsi_proto::MAX_SIGNAL_BYTES`].
    Received(ConnectionId, String),
    /// A connection is gone.
    Disconnected(ConnectionId),
}

/// What the server wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a text message.
    Send(ConnectionId, String),
    /// Close a connection once everything is sent. No [`Input::Disconnected`] need follow.
    Close(ConnectionId),
    /// [`Rendezvous::names`] are others than before: they may be written down. Only if names are kept.
    NamesChanged,
    /// Nothing more for now; call again at this time.
    Timeout(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Silent { deadline: Instant },
    Host(RoomId),
    Client(RoomId, ClientId),
}

#[derive(Debug)]
struct Connection {
    peer: Peer,
    ip: IpAddr,
    messages: Bucket,
}

/// What the server has done since it began, and what there is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections at present.
    pub connections: usize,
    /// Rooms open at present.
    pub rooms: usize,
    /// Clients in them.
    pub clients: usize,
    /// Names of rooms, with those that are kept.
    pub names: usize,
    /// Rooms that were opened.
    pub opened: u64,
    /// Clients that entered.
    pub entered: u64,
    /// Messages that were passed on.
    pub relayed: u64,
    /// Connections that were refused, or ended for what they did, by reason.
    pub refused: BTreeMap<Refusal, u64>,
}

#[derive(Debug)]
struct Room {
    host: ConnectionId,
    clients: BTreeMap<ClientId, ConnectionId>,
    /// Those of them that came by the room's name, which is no secret: they leave places to the others.
    by_name: BTreeSet<ClientId>,
    next_client: u32,
    max_clients: u32,
    name: Option<RoomName>,
}

impl Room {
    fn has_place(&self, by_name: bool) -> bool {
        let max = self.max_clients as usize;
        self.clients.len() < max && (!by_name || self.by_name.len() < max.div_ceil(2))
    }

    fn remove(&mut self, client: ClientId) -> Option<ConnectionId> {
        self.by_name.remove(&client);
        self.clients.remove(&client)
    }
}

/// The server's machine.
#[derive(Debug)]
pub struct Rendezvous {
    config: Config,
    connections: HashMap<ConnectionId, Connection>,
    addresses: Addresses,
    rooms: HashMap<RoomId, Room>,
    names: Names,
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    counters: Counters,
    outputs: VecDeque<Output>,
    now: Option<Instant>,
}

impl Rendezvous {
    /// An empty server.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            connections: HashMap::new(),
            addresses: Addresses::new(&config),
            rooms: HashMap::new(),
            names: Names::new(config.max_names, config.keep_names),
            deadlines: BTreeSet::new(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            now: None,
        }
    }

    /// What the server has done, and what there is now.
    pub fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.len(),
            rooms: self.rooms.len(),
            names: self.names.len(),
            ..self.counters.clone()
        }
    }

    /// All names, for a server that is to know them after a restart.
    pub fn names(&self, now: Instant) -> Vec<Claim> {
        self.names.claims(now)
    }

    /// Knows names from before a restart.
    pub fn restore_names(&mut self, now: Instant, claims: impl IntoIterator<Item = Claim>) {
        claims.into_iter().for_each(|claim| self.names.restore(now, claim));
    }

    /// Takes one input; drain [`Self::poll_output`] after it.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = Some(now);
        match input {
            Input::Timeout => self.expire(now),
            Input::Connected(id, ip) => self.connected(now, id, ip),
            Input::Received(id, text) => self.received(now, id, &text),
            Input::Disconnected(id) => self.forget(id),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let next = self.deadlines.first().map(|(at, _)| *at);
        let now = self.now.expect("poll_output follows handle_input");
        Output::Timeout(next.unwrap_or(now + FAR_FUTURE))
    }

    fn connected(&mut self, now: Instant, id: ConnectionId, ip: IpAddr) {
        if self.connections.len() >= self.config.max_connections {
            return self.refuse(id, Refusal::ServerFull);
        }
        if !self.addresses.arrive(now, ip) {
            return self.refuse(id, Refusal::TooOften);
        }
        let deadline = now + self.config.first_word;
        self.deadlines.insert((deadline, id));
        let messages = Bucket::full(now, self.client_rate());
        let peer = Peer::Silent { deadline };
        self.connections.insert(id, Connection { peer, ip, messages });
    }

    fn client_rate(&self) -> Rate {
        Rate::per_minute(self.config.client_messages_per_minute)
    }

    /// Whether this connection may say one thing more now.
    fn may_speak(&mut self, now: Instant, id: ConnectionId) -> bool {
        let (client, host) = (self.client_rate(), self.config.host_messages_per_minute);
        self.connections.get_mut(&id).is_some_and(|connection| match connection.peer {
            Peer::Host(_) => connection.messages.take(now, Rate::per_minute(host)),
            _ => connection.messages.take(now, client),
        })
    }

    /// From now on a connection is this.
    fn is_now(&mut self, now: Instant, id: ConnectionId, peer: Peer) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.peer = peer;
            if let Peer::Host(_) = peer {
                let rate = Rate::per_minute(self.config.host_messages_per_minute);
                connection.messages = Bucket::full(now, rate);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            self.refuse(id, Refusal::BadMessage);
        }
    }

    fn received(&mut self, now: Instant, id: ConnectionId, text: &str) {
        let Some((peer, ip)) = self.connections.get(&id).map(|c| (c.peer, c.ip)) else {
            return;
        };
        if !self.may_speak(now, id) {
            return self.refuse(id, Refusal::TooOften);
        }
        let Ok(request) = Request::parse(text) else {
            return self.refuse(id, Refusal::BadMessage);
        };
        match (peer, request) {
            (
                Peer::Silent { .. },
                Request::Open { version, .. } | Request::Enter { version, .. },
            ) if version != WIRE_VERSION => {
                self.refuse(id, Refusal::Version);
            }
            (Peer::Silent { .. }, Request::Open { .. } | Request::Enter { .. })
                if !self.addresses.join(now, ip) =>
            {
                self.refuse(id, Refusal::TooOften);
            }
            (Peer::Silent { deadline }, Request::Open { token, max_clients, name, .. }) => {
                self.deadlines.remove(&(deadline, id));
                self.open(now, id, token.room_id(), max_clients, name);
            }
            (Peer::Silent { deadline }, Request::Enter { place, blob, .. }) => {
                self.deadlines.remove(&(deadline, id));
                self.enter(now, id, &place, blob);
            }
            (Peer::Host(room), Request::Relay { client: Some(client), blob }) => {
                self.relay_to_client(room, client, blob);
            }
            (Peer::Client(room, client), Request::Relay { client: None, blob }) => {
                if let Some(room) = self.rooms.get(&room) {
                    let host = room.host;
                    self.counters.relayed += 1;
                    self.send(host, &Reply::Relay { client: Some(client), blob });
                }
            }
            (Peer::Host(room), Request::Dismiss { client }) => self.dismiss(room, client),
            (Peer::Host(_), Request::Close) => {
                self.forget(id);
                self.outputs.push_back(Output::Close(id));
            }
            _ => self.refuse(id, Refusal::BadMessage),
        }
    }

    fn open(
        &mut self,
        now: Instant,
        id: ConnectionId,
        room_id: RoomId,
        max_clients: u32,
        name: Option<RoomName>,
    ) {
        if name.as_ref().is_some_and(|name| !self.names.may_have(now, name, &room_id)) {
            return self.refuse(id, Refusal::NameTaken);
        }
        // The token proves ownership, so a newer connection is the same host come back: the old one is dead.
        if let Some(old) = self.rooms.get(&room_id).map(|room| room.host) {
            self.refuse(old, Refusal::Replaced);
        }
        let has_place = self.rooms.len() < self.config.max_rooms;
        if !has_place || name.as_ref().is_some_and(|name| !self.names.take(now, name, room_id)) {
            return self.refuse(id, Refusal::ServerFull);
        }
        if name.is_some() {
            self.names_changed();
        }
        let max_clients = max_clients.min(self.config.max_clients_per_room);
        let room = Room {
            host: id,
            clients: BTreeMap::new(),
            by_name: BTreeSet::new(),
            next_client: 1,
            max_clients,
            name,
        };
        self.rooms.insert(room_id, room);
        self.counters.opened += 1;
        self.is_now(now, id, Peer::Host(room_id));
        self.send(id, &Reply::Opened { room: room_id, stun_port: self.config.stun_port });
    }

    fn names_changed(&mut self) {
        if !self.config.keep_names.is_zero() {
            self.outputs.push_back(Output::NamesChanged);
        }
    }

    fn enter(&mut self, now: Instant, id: ConnectionId, place: &Place, blob: Option<Blob>) {
        let room_id = match place {
            Place::Room(room) => Some(*room),
            Place::Name(name) => self.names.room(name),
        };
        let found = room_id.and_then(|id| self.rooms.get_mut(&id).map(|room| (id, room)));
        let Some((room_id, room)) = found else {
            return self.refuse(id, Refusal::UnknownRoom);
        };
        let by_name = matches!(place, Place::Name(_));
        if !room.has_place(by_name) {
            return self.refuse(id, Refusal::RoomFull);
        }
        let client = ClientId(room.next_client);
        room.next_client = room.next_client.wrapping_add(1);
        room.clients.insert(client, id);
        if by_name {
            room.by_name.insert(client);
        }
        let host = room.host;
        (self.counters.entered, self.counters.clients) =
            (self.counters.entered + 1, self.counters.clients + 1);
        self.is_now(now, id, Peer::Client(room_id, client));
        let (stun_port, relayed) = (self.config.stun_port, blob.is_some());
        self.send(id, &Reply::Entered { client, stun_port, relayed });
        self.send(host, &Reply::Arrived { client });
        if let Some(blob) = blob {
            self.counters.relayed += 1;
            self.send(host, &Reply::Relay { client: Some(client), blob });
        }
    }

    fn relay_to_client(&mut self, room: RoomId, client: ClientId, blob: Blob) {
        // A client that has just left is no fault of the host.
        let to = self.rooms.get(&room).and_then(|room| room.clients.get(&client)).copied();
        if let Some(to) = to {
            self.counters.relayed += 1;
            self.send(to, &Reply::Relay { client: None, blob });
        }
    }

    fn dismiss(&mut self, room: RoomId, client: ClientId) {
        let to = self.rooms.get_mut(&room).and_then(|room| room.remove(client));
        if let Some(to) = to {
            self.send(to, &Reply::Dismissed);
            self.end(to);
            self.outputs.push_back(Output::Close(to));
        }
    }

    /// A connection is gone; whoever depended on it is told.
    fn forget(&mut self, id: ConnectionId) {
        match self.end(id) {
            Some(Peer::Silent { deadline }) => drop(self.deadlines.remove(&(deadline, id))),
            Some(Peer::Client(room, client)) => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.remove(client);
                    let host = room.host;
                    self.send(host, &Reply::Departed { client });
                }
            }
            Some(Peer::Host(room)) => self.close(&room),
            None => {}
        }
    }

    fn close(&mut self, room: &RoomId) {
        let Some(Room { clients, name, .. }) = self.rooms.remove(room) else {
            return;
        };
        for client in clients.into_values() {
            self.send(client, &Reply::Closed);
            self.end(client);
            self.outputs.push_back(Output::Close(client));
        }
        if let (Some(name), Some(now)) = (name, self.now) {
            self.names.release(now, name);
            self.names_changed();
        }
    }

    /// A connection does not count any more; what it was.
    fn end(&mut self, id: ConnectionId) -> Option<Peer> {
        let Connection { peer, ip, .. } = self.connections.remove(&id)?;
        self.addresses.leave(ip);
        self.counters.clients -= usize::from(matches!(peer, Peer::Client(..)));
        Some(peer)
    }

    fn refuse(&mut self, id: ConnectionId, reason: Refusal) {
        *self.counters.refused.entry(reason).or_default() += 1;
        self.send(id, &Reply::Refused { reason });
        self.forget(id);
        self.outputs.push_back(Output::Close(id));
    }

    fn send(&mut self, to: ConnectionId, reply: &Reply) {
        self.outputs.push_back(Output::Send(to, reply.to_json()));
    }
}
