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
//! server.handle_input(now, Input::Connected(host));
//! let token = RoomToken::from_bytes([7; 32]);
//! let open = Request::Open { version: 1, token, max_clients: 4, name: None };
//! server.handle_input(now, Input::Received(host, open.to_json()));
//! assert!(matches!(server.poll_output(), Output::Send(to, reply) if to == host && reply.contains("opened")));
//! ```

mod names;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::RoomId;
use lllsi_proto::rendezvous::{Blob, ClientId, Place, Refusal, Reply, Request};
use lllsi_proto::room::RoomName;

use crate::FAR_FUTURE;
use names::Names;

pub use names::Claim;

/// A connection has this long to say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(10);

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
    /// Names of rooms at once, with those that are kept.
    pub max_names: usize,
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
            max_names: 100_000,
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
    /// Somebody connected.
    Connected(ConnectionId),
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
    peers: HashMap<ConnectionId, Peer>,
    rooms: HashMap<RoomId, Room>,
    names: Names,
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    outputs: VecDeque<Output>,
    now: Option<Instant>,
}

impl Rendezvous {
    /// An empty server.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            peers: HashMap::new(),
            rooms: HashMap::new(),
            names: Names::new(config.max_names, config.keep_names),
            deadlines: BTreeSet::new(),
            outputs: VecDeque::new(),
            now: None,
        }
    }

    /// Rooms open at present.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
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
            Input::Connected(id) => self.connected(now, id),
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

    fn connected(&mut self, now: Instant, id: ConnectionId) {
        if self.peers.len() >= self.config.max_connections {
            return self.refuse(id, Refusal::ServerFull);
        }
        let deadline = now + FIRST_WORD;
        self.deadlines.insert((deadline, id));
        self.peers.insert(id, Peer::Silent { deadline });
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            self.refuse(id, Refusal::BadMessage);
        }
    }

    fn received(&mut self, now: Instant, id: ConnectionId, text: &str) {
        let Some(peer) = self.peers.get(&id).copied() else {
            return;
        };
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
            (Peer::Silent { deadline }, Request::Open { token, max_clients, name, .. }) => {
                self.deadlines.remove(&(deadline, id));
                self.open(now, id, token.room_id(), max_clients, name);
            }
            (Peer::Silent { deadline }, Request::Enter { place, .. }) => {
                self.deadlines.remove(&(deadline, id));
                self.enter(id, &place);
            }
            (Peer::Host(room), Request::Relay { client: Some(client), blob }) => {
                self.relay_to_client(room, client, blob);
            }
            (Peer::Client(room, client), Request::Relay { client: None, blob }) => {
                if let Some(room) = self.rooms.get(&room) {
                    let host = room.host;
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
        self.peers.insert(id, Peer::Host(room_id));
        self.send(id, &Reply::Opened { room: room_id, stun_port: self.config.stun_port });
    }

    fn names_changed(&mut self) {
        if !self.config.keep_names.is_zero() {
            self.outputs.push_back(Output::NamesChanged);
        }
    }

    fn enter(&mut self, id: ConnectionId, place: &Place) {
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
        self.peers.insert(id, Peer::Client(room_id, client));
        self.send(id, &Reply::Entered { client, stun_port: self.config.stun_port });
        self.send(host, &Reply::Arrived { client });
    }

    fn relay_to_client(&mut self, room: RoomId, client: ClientId, blob: Blob) {
        // A client that has just left is no fault of the host.
        let to = self.rooms.get(&room).and_then(|room| room.clients.get(&client)).copied();
        if let Some(to) = to {
            self.send(to, &Reply::Relay { client: None, blob });
        }
    }

    fn dismiss(&mut self, room: RoomId, client: ClientId) {
        let to = self.rooms.get_mut(&room).and_then(|room| room.remove(client));
        if let Some(to) = to {
            self.send(to, &Reply::Dismissed);
            self.peers.remove(&to);
            self.outputs.push_back(Output::Close(to));
        }
    }

    /// A connection is gone; whoever depended on it is told.
    fn forget(&mut self, id: ConnectionId) {
        match self.peers.remove(&id) {
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
            self.peers.remove(&client);
            self.outputs.push_back(Output::Close(client));
        }
        if let (Some(name), Some(now)) = (name, self.now) {
            self.names.release(now, name);
            self.names_changed();
        }
    }

    fn refuse(&mut self, id: ConnectionId, reason: Refusal) {
        self.send(id, &Reply::Refused { reason });
        self.forget(id);
        self.outputs.push_back(Output::Close(id));
    }

    fn send(&mut self, to: ConnectionId, reply: &Reply) {
        self.outputs.push_back(Output::Send(to, reply.to_json()));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;
    use lllsi_proto::invite::RoomToken;

    const TOKEN: RoomToken = RoomToken::from_bytes([5; 32]);

    struct Fixture {
        server: Rendezvous,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self { server: Rendezvous::new(Config::default()), now: Instant::now() }
        }

        fn input(&mut self, input: Input) -> Vec<(u64, Option<Reply>)> {
            self.server.handle_input(self.now, input);
            let mut said = Vec::new();
            loop {
                match self.server.poll_output() {
                    Output::Send(to, text) => said.push((to.0, Some(Reply::parse(&text).unwrap()))),
                    Output::Close(to) => said.push((to.0, None)),
                    Output::NamesChanged => {}
                    Output::Timeout(_) => return said,
                }
            }
        }

        fn connect_and_say(&mut self, id: u64, request: Request) -> Vec<(u64, Option<Reply>)> {
            self.input(Input::Connected(ConnectionId(id)));
            self.say(id, request)
        }

        fn say(&mut self, id: u64, request: Request) -> Vec<(u64, Option<Reply>)> {
            self.input(Input::Received(ConnectionId(id), request.to_json()))
        }
    }

    fn open(max_clients: u32) -> Request {
        Request::Open { version: WIRE_VERSION, token: TOKEN, max_clients, name: None }
    }

    fn enter() -> Request {
        Request::Enter { version: WIRE_VERSION, place: Place::Room(TOKEN.room_id()) }
    }

    fn refused(id: u64, reason: Refusal) -> Vec<(u64, Option<Reply>)> {
        vec![(id, Some(Reply::Refused { reason })), (id, None)]
    }

    #[test]
    fn blobs_go_between_host_and_the_client_named() {
        let mut f = Fixture::new();
        f.connect_and_say(1, open(4));
        f.connect_and_say(2, enter());
        let said = f.connect_and_say(3, enter());
        assert_eq!(said[1], (1, Some(Reply::Arrived { client: ClientId(2) })));

        let blob = Blob(vec![1, 2, 3]);
        let said = f.say(3, Request::Relay { client: None, blob: blob.clone() });
        let relayed = Reply::Relay { client: Some(ClientId(2)), blob: blob.clone() };
        assert_eq!(said, [(1, Some(relayed))]);
        let said = f.say(1, Request::Relay { client: Some(ClientId(1)), blob: blob.clone() });
        assert_eq!(said, [(2, Some(Reply::Relay { client: None, blob }))]);
    }

    #[test]
    fn refusals_have_their_reasons() {
        let mut f = Fixture::new();
        assert_eq!(f.connect_and_say(1, enter()), refused(1, Refusal::UnknownRoom));
        f.connect_and_say(2, open(1));
        f.connect_and_say(3, enter());
        assert_eq!(f.connect_and_say(4, enter()), refused(4, Refusal::RoomFull));
        let old = Request::Enter { version: 99, place: Place::Room(TOKEN.room_id()) };
        assert_eq!(f.connect_and_say(5, old), refused(5, Refusal::Version));
        assert_eq!(f.connect_and_say(6, Request::Close), refused(6, Refusal::BadMessage));
        f.input(Input::Connected(ConnectionId(7)));
        let garbage = f.input(Input::Received(ConnectionId(7), "{".into()));
        assert_eq!(garbage, refused(7, Refusal::BadMessage));
    }

    #[test]
    fn a_client_cannot_speak_for_another_or_as_the_host() {
        let mut f = Fixture::new();
        f.connect_and_say(1, open(4));
        f.connect_and_say(2, enter());
        let forged = Request::Relay { client: Some(ClientId(1)), blob: Blob(vec![]) };
        assert_eq!(f.say(2, forged)[0], refused(2, Refusal::BadMessage)[0]);
        f.connect_and_say(3, enter());
        assert_eq!(
            f.say(3, Request::Dismiss { client: ClientId(1) })[0],
            refused(3, Refusal::BadMessage)[0]
        );
    }

    #[test]
    fn the_owner_takes_its_room_up_again_and_waiting_clients_are_told() {
        let mut f = Fixture::new();
        f.connect_and_say(1, open(4));
        f.connect_and_say(2, enter());
        let said = f.connect_and_say(9, open(4));
        assert!(said.contains(&(1, Some(Reply::Refused { reason: Refusal::Replaced }))));
        assert!(said.contains(&(2, Some(Reply::Closed))));
        assert_eq!(f.server.rooms(), 1);
        // The dead connection's end must not close the new room.
        f.input(Input::Disconnected(ConnectionId(1)));
        assert_eq!(f.server.rooms(), 1);
    }

    #[test]
    fn departures_are_told_once() {
        let mut f = Fixture::new();
        f.connect_and_say(1, open(4));
        f.connect_and_say(2, enter());
        let said = f.input(Input::Disconnected(ConnectionId(2)));
        assert_eq!(said, [(1, Some(Reply::Departed { client: ClientId(1) }))]);
        f.connect_and_say(3, enter());
        let said = f.say(1, Request::Dismiss { client: ClientId(2) });
        assert_eq!(said, [(3, Some(Reply::Dismissed)), (3, None)]);
        assert_eq!(f.input(Input::Disconnected(ConnectionId(3))), []);
        f.connect_and_say(4, enter());
        let said = f.say(1, Request::Close);
        assert_eq!(said, [(4, Some(Reply::Closed)), (4, None), (1, None)]);
        assert_eq!(f.server.rooms(), 0);
    }

    #[test]
    fn whoever_connects_and_says_nothing_is_let_go() {
        let mut f = Fixture::new();
        f.input(Input::Connected(ConnectionId(1)));
        f.now += FIRST_WORD;
        assert_eq!(f.input(Input::Timeout), refused(1, Refusal::BadMessage));
        assert!(f.server.peers.is_empty() && f.server.deadlines.is_empty());
    }

    #[test]
    fn the_limits_hold() {
        let config = Config { max_rooms: 1, max_connections: 3, ..Config::default() };
        let mut f = Fixture { server: Rendezvous::new(config), now: Instant::now() };
        f.connect_and_say(1, open(4));
        let other = RoomToken::from_bytes([6; 32]);
        let second =
            Request::Open { version: WIRE_VERSION, token: other, max_clients: 1, name: None };
        assert_eq!(f.connect_and_say(2, second), refused(2, Refusal::ServerFull));
        f.connect_and_say(3, enter());
        f.connect_and_say(4, enter());
        assert_eq!(f.input(Input::Connected(ConnectionId(5))), refused(5, Refusal::ServerFull));
    }

    const OTHER: RoomToken = RoomToken::from_bytes([6; 32]);

    fn open_as(token: RoomToken, name: &str) -> Request {
        let name = Some(name.parse().unwrap());
        Request::Open { version: WIRE_VERSION, token, max_clients: 4, name }
    }

    fn enter_by(name: &str) -> Request {
        Request::Enter { version: WIRE_VERSION, place: Place::Name(name.parse().unwrap()) }
    }

    fn opened(id: u64, token: RoomToken) -> (u64, Option<Reply>) {
        (id, Some(Reply::Opened { room: token.room_id(), stun_port: 0 }))
    }

    #[test]
    fn a_name_leads_to_the_room_of_who_came_first() {
        let config = Config { keep_names: Duration::ZERO, ..Config::default() };
        let mut f = Fixture { server: Rendezvous::new(config), now: Instant::now() };
        assert_eq!(f.connect_and_say(1, enter_by("den")), refused(1, Refusal::UnknownRoom));
        f.connect_and_say(2, open_as(TOKEN, "den"));
        let squatter = f.connect_and_say(3, open_as(OTHER, "den"));
        assert_eq!(squatter, refused(3, Refusal::NameTaken));
        let said = f.connect_and_say(4, enter_by("den"));
        assert_eq!(said[1], (2, Some(Reply::Arrived { client: ClientId(1) })));
        // The same owner again takes it over from its old connection.
        assert!(f.connect_and_say(5, open_as(TOKEN, "den")).contains(&opened(5, TOKEN)));
        f.say(5, Request::Close);
        assert_eq!(f.connect_and_say(6, enter_by("den")), refused(6, Refusal::UnknownRoom));
        assert_eq!(f.connect_and_say(7, open_as(OTHER, "den")), [opened(7, OTHER)]);
    }

    #[test]
    fn names_are_kept_for_their_owners_for_a_while_and_over_a_restart() {
        let keep_names = Duration::from_secs(90);
        let config = Config { keep_names, ..Config::default() };
        let mut f = Fixture { server: Rendezvous::new(config), now: Instant::now() };
        f.connect_and_say(1, open_as(TOKEN, "den"));
        f.input(Input::Disconnected(ConnectionId(1)));
        f.now += Duration::from_secs(60);
        assert_eq!(f.connect_and_say(2, open_as(OTHER, "den")), refused(2, Refusal::NameTaken));
        let kept = f.server.names(f.now);
        let left = Duration::from_secs(30);
        let (name, room) = ("den".parse().unwrap(), TOKEN.room_id());
        assert_eq!(kept, [Claim { name, room, left, used: Duration::ZERO }]);

        f.server = Rendezvous::new(config);
        f.server.restore_names(f.now, kept);
        assert_eq!(f.connect_and_say(3, enter_by("den")), refused(3, Refusal::UnknownRoom));
        assert_eq!(f.connect_and_say(4, open_as(OTHER, "den")), refused(4, Refusal::NameTaken));
        assert_eq!(f.connect_and_say(5, open_as(TOKEN, "den")), [opened(5, TOKEN)]);
        f.input(Input::Disconnected(ConnectionId(5)));
        f.now += keep_names;
        assert_eq!(f.server.names(f.now), []);
        assert_eq!(f.connect_and_say(6, open_as(OTHER, "den")), [opened(6, OTHER)]);
    }

    #[test]
    fn names_have_a_bound_and_those_that_were_used_least_make_room() {
        let config = Config { max_names: 2, ..Config::default() };
        let mut f = Fixture { server: Rendezvous::new(config), now: Instant::now() };
        let third = RoomToken::from_bytes([7; 32]);
        f.connect_and_say(1, open_as(TOKEN, "den"));
        f.connect_and_say(2, open_as(OTHER, "attic"));
        assert_eq!(f.connect_and_say(3, open_as(third, "hall")), refused(3, Refusal::ServerFull));
        f.say(2, Request::Close);
        f.now += Duration::from_secs(10);
        f.say(1, Request::Close);
        assert_eq!(f.connect_and_say(4, open_as(third, "hall")), [opened(4, third)]);
        assert_eq!(f.connect_and_say(5, open_as(third, "den")), refused(5, Refusal::NameTaken));
        f.say(4, Request::Close);
        assert_eq!(f.connect_and_say(7, open_as(third, "attic")), refused(7, Refusal::ServerFull));
        f.now += Duration::from_millis(20);
        assert_eq!(f.connect_and_say(6, open_as(third, "attic")), [opened(6, third)]);
    }

    #[test]
    fn who_knows_the_name_alone_leaves_places_to_the_others() {
        let mut f = Fixture::new();
        f.connect_and_say(1, open_as(TOKEN, "den"));
        f.connect_and_say(2, enter_by("den"));
        f.connect_and_say(3, enter_by("den"));
        assert_eq!(f.connect_and_say(4, enter_by("den")), refused(4, Refusal::RoomFull));
        assert_eq!(f.connect_and_say(5, enter()).len(), 2);
        f.input(Input::Disconnected(ConnectionId(2)));
        assert_eq!(f.connect_and_say(6, enter_by("den")).len(), 2);
        f.connect_and_say(7, enter());
        assert_eq!(f.connect_and_say(8, enter()), refused(8, Refusal::RoomFull));
    }

    #[test]
    fn a_name_that_is_kept_for_ever_is_kept_for_long() {
        let config = Config { keep_names: Duration::MAX, ..Config::default() };
        let mut f = Fixture { server: Rendezvous::new(config), now: Instant::now() };
        f.connect_and_say(1, open_as(TOKEN, "den"));
        f.say(1, Request::Close);
        assert!(f.server.names(f.now)[0].left > Duration::from_secs(365 * 24 * 3600));
    }
}
