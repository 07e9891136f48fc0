//! The server's machine under any sequence of connections, messages and times.
#![no_main]

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lllsi_core::rendezvous::{Config, ConnectionId, Input, Output, Rendezvous};
use lllsi_fuzz::Choices;
use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::RoomToken;
use lllsi_proto::rendezvous::{Blob, ClientId, Place, Reply, Request};

fn request(choices: &mut Choices<'_>) -> Request {
    let token = RoomToken::from_bytes([choices.one(3); 32]);
    let name = ["den", "attic"][usize::from(choices.one(2))].parse().expect("a name");
    let client = ClientId(choices.one(5).into());
    let blob = Blob(choices.bytes().to_vec());
    match choices.one(8) {
        0 => Request::Open { version: WIRE_VERSION, token, max_clients: 3, name: None },
        1 => Request::Open { version: WIRE_VERSION, token, max_clients: 3, name: Some(name) },
        2 => Request::Enter {
            version: WIRE_VERSION,
            place: Place::Room(token.room_id()),
            blob: Some(Blob(vec![1])),
        },
        3 => Request::Enter { version: WIRE_VERSION, place: Place::Name(name), blob: None },
        4 => Request::Relay { client: Some(client), blob },
        5 => Request::Relay { client: None, blob },
        6 => Request::Dismiss { client },
        _ => Request::Close,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let mut now = Instant::now();
    let mut server = Rendezvous::new(Config {
        max_rooms: 2,
        max_connections: 6,
        max_connections_per_address: 3,
        connections_per_minute: 60,
        max_names: 2,
        ..Config::default()
    });
    let (mut next, mut open) = (0, HashSet::new());
    while !choices.is_empty() {
        let id = ConnectionId(choices.one(8).into());
        let input = match choices.one(6) {
            0 | 1 => {
                next += 1;
                open.insert(ConnectionId(next));
                Input::Connected(ConnectionId(next), Ipv4Addr::new(10, 0, 0, choices.one(3)).into())
            }
            2 => Input::Received(id, request(&mut choices).to_json()),
            3 => Input::Received(id, String::from_utf8_lossy(choices.bytes()).into_owned()),
            4 => {
                open.remove(&id);
                Input::Disconnected(id)
            }
            _ => {
                now += Duration::from_secs(choices.one(100).into());
                Input::Timeout
            }
        };
        server.handle_input(now, input);
        loop {
            match server.poll_output() {
                Output::Send(to, text) => {
                    assert!(open.contains(&to), "nobody is there: {text}");
                    Reply::parse(&text).expect("it speaks sense");
                }
                Output::Close(id) => drop(open.remove(&id)),
                Output::NamesChanged => drop(server.names(now)),
                Output::Timeout(_) => break,
            }
        }
        let counters = server.counters();
        assert!(counters.connections <= 6 && counters.rooms <= 2 && counters.names <= 2);
        assert!(counters.rooms + counters.clients <= counters.connections);
    }
});
