//! What a server does, told by what it says.
#![allow(clippy::disallowed_methods)] // a test needs some instant to begin at

use super::*;
use lllsi_proto::invite::RoomToken;
use std::net::Ipv4Addr;

const ADA: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
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
        self.input(Input::Connected(ConnectionId(id), ADA));
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
    Request::Enter { version: WIRE_VERSION, place: Place::Room(TOKEN.room_id()), blob: None }
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
    let old = Request::Enter { version: 99, place: Place::Room(TOKEN.room_id()), blob: None };
    assert_eq!(f.connect_and_say(5, old), refused(5, Refusal::Version));
    assert_eq!(f.connect_and_say(6, Request::Close), refused(6, Refusal::BadMessage));
    f.input(Input::Connected(ConnectionId(7), ADA));
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
    assert_eq!(f.server.counters().rooms, 1);
    // The dead connection's end must not close the new room.
    f.input(Input::Disconnected(ConnectionId(1)));
    assert_eq!(f.server.counters().rooms, 1);
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
    assert_eq!(f.server.counters().rooms, 0);
}

#[test]
fn whoever_connects_and_says_nothing_is_let_go() {
    let mut f = Fixture::new();
    f.input(Input::Connected(ConnectionId(1), ADA));
    f.now += Config::default().first_word;
    assert_eq!(f.input(Input::Timeout), refused(1, Refusal::BadMessage));
    assert!(f.server.connections.is_empty() && f.server.deadlines.is_empty());
}

#[test]
fn what_a_client_says_as_it_enters_goes_to_the_host() {
    let mut f = Fixture { server: Rendezvous::new(Config::default()), now: Instant::now() };
    f.connect_and_say(1, open(4));
    let blob = Blob(vec![1, 2, 3]);
    let place = Place::Room(TOKEN.room_id());
    let enter = Request::Enter { version: WIRE_VERSION, place, blob: Some(blob.clone()) };
    let client = ClientId(1);
    let told = [
        (2, Some(Reply::Entered { client, stun_port: 0, relayed: true })),
        (1, Some(Reply::Arrived { client })),
        (1, Some(Reply::Relay { client: Some(client), blob })),
    ];
    assert_eq!(f.connect_and_say(2, enter), told);
}

#[test]
fn the_limits_hold() {
    let config = Config { max_rooms: 1, max_connections: 3, ..Config::default() };
    let mut f = Fixture { server: Rendezvous::new(config), now: Instant::now() };
    f.connect_and_say(1, open(4));
    let other = RoomToken::from_bytes([6; 32]);
    let second = Request::Open { version: WIRE_VERSION, token: other, max_clients: 1, name: None };
    assert_eq!(f.connect_and_say(2, second), refused(2, Refusal::ServerFull));
    f.connect_and_say(3, enter());
    f.connect_and_say(4, enter());
    assert_eq!(f.input(Input::Connected(ConnectionId(5), ADA)), refused(5, Refusal::ServerFull));
}

#[test]
fn a_room_holds_no_more_than_the_server_allows_whatever_its_host_asks_for() {
    let config = Config { max_clients_per_room: 2, ..Config::default() };
    let mut f = Fixture { server: Rendezvous::new(config), now: Instant::now() };
    f.connect_and_say(1, open(1000));
    for id in [2, 3] {
        let said = f.connect_and_say(id, enter());
        assert!(matches!(said[0], (_, Some(Reply::Entered { .. }))), "{said:?}");
    }
    assert_eq!(f.connect_and_say(4, enter()), refused(4, Refusal::RoomFull));
}

const OTHER: RoomToken = RoomToken::from_bytes([6; 32]);

fn open_as(token: RoomToken, name: &str) -> Request {
    let name = Some(name.parse().unwrap());
    Request::Open { version: WIRE_VERSION, token, max_clients: 4, name }
}

fn enter_by(name: &str) -> Request {
    let place = Place::Name(name.parse().unwrap());
    Request::Enter { version: WIRE_VERSION, place, blob: None }
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

fn limited(config: Config) -> Fixture {
    Fixture { server: Rendezvous::new(config), now: Instant::now() }
}

#[test]
fn a_flood_from_one_address_leaves_the_others_alone() {
    let mut f = limited(Config { max_connections_per_address: 2, ..Config::default() });
    let eve: IpAddr = "203.0.113.66".parse().unwrap();
    for id in 1..=2 {
        assert_eq!(f.input(Input::Connected(ConnectionId(id), eve)), []);
    }
    let third = f.input(Input::Connected(ConnectionId(3), eve));
    assert_eq!(third, refused(3, Refusal::TooOften));
    assert_eq!(f.connect_and_say(4, open(4)).len(), 1, "from elsewhere");
    f.input(Input::Disconnected(ConnectionId(1)));
    assert_eq!(f.input(Input::Connected(ConnectionId(5), eve)), [], "one is free again");
    assert_eq!(f.server.counters().refused, BTreeMap::from([(Refusal::TooOften, 1)]));
}

#[test]
fn addresses_of_one_household_count_as_one() {
    let mut f = limited(Config { max_connections_per_address: 1, ..Config::default() });
    let connect = |f: &mut Fixture, id, ip: &str| {
        f.input(Input::Connected(ConnectionId(id), ip.parse().unwrap())).is_empty()
    };
    assert!(connect(&mut f, 1, "2001:db8:1:2::1"));
    assert!(!connect(&mut f, 2, "2001:db8:1:2:ffff::9"));
    assert!(connect(&mut f, 3, "2001:db8:1:3::1"));
    assert!(connect(&mut f, 4, "::ffff:198.51.100.1"));
    assert!(!connect(&mut f, 5, "198.51.100.1"));
}

#[test]
fn connections_and_joins_have_a_rate_that_recovers() {
    let config = Config { connections_per_minute: 3, joins_per_minute: 2, ..Config::default() };
    let mut f = limited(config);
    f.connect_and_say(1, open(9));
    f.connect_and_say(2, enter());
    assert_eq!(f.connect_and_say(3, enter()), refused(3, Refusal::TooOften), "joins");
    let fourth = f.input(Input::Connected(ConnectionId(4), ADA));
    assert_eq!(fourth, refused(4, Refusal::TooOften), "connections");
    f.now += Duration::from_secs(30);
    assert_eq!(f.connect_and_say(5, enter()).len(), 2);
}

#[test]
fn who_says_too_much_is_sent_away() {
    let config =
        Config { client_messages_per_minute: 5, host_messages_per_minute: 50, ..Config::default() };
    let mut f = limited(config);
    f.connect_and_say(1, open(4));
    f.connect_and_say(2, enter());
    let say = |client| Request::Relay { client, blob: Blob(vec![1]) };
    for _ in 0..4 {
        assert_eq!(f.say(2, say(None)).len(), 1);
    }
    let said = f.say(2, say(None));
    assert_eq!(said[0], refused(2, Refusal::TooOften)[0]);
    for _ in 0..50 {
        f.say(1, say(Some(ClientId(1))));
    }
    assert_eq!(f.say(1, say(Some(ClientId(1))))[0], refused(1, Refusal::TooOften)[0]);
}

#[test]
fn addresses_that_are_gone_are_forgotten() {
    let mut f = Fixture::new();
    for n in 0..120_000u32 {
        let id = ConnectionId(n.into());
        f.server.handle_input(f.now, Input::Connected(id, Ipv4Addr::from(n).into()));
        f.server.handle_input(f.now, Input::Disconnected(id));
        while !matches!(f.server.poll_output(), Output::Timeout(_)) {}
    }
    assert!(f.server.addresses.len() <= 50_001);
}

#[test]
fn counters_tell_what_there_is_and_was() {
    let mut f = Fixture::new();
    f.connect_and_say(1, open_as(TOKEN, "den"));
    f.connect_and_say(2, enter());
    f.say(2, Request::Relay { client: None, blob: Blob(vec![1]) });
    f.connect_and_say(3, enter());
    f.input(Input::Disconnected(ConnectionId(3)));
    let now = f.server.counters();
    assert_eq!((now.connections, now.rooms, now.clients, now.names), (2, 1, 1, 1));
    assert_eq!((now.opened, now.entered, now.relayed), (1, 2, 1));
    f.input(Input::Disconnected(ConnectionId(1)));
    let after = f.server.counters();
    assert_eq!((after.connections, after.rooms, after.clients), (0, 0, 0));
}
