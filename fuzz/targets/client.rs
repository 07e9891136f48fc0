//! The client's machine against any server and any network.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lllsi_core::client::{Action, Client, Config, Entry};
use lllsi_core::seal::HostIdentity;
use lllsi_core::{Certificate, Input, Machine, Output, SignalEvent};
use lllsi_fuzz::Choices;
use lllsi_proto::rendezvous::{Blob, ClientId, Refusal, Reply};

fn certificate() -> Certificate {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    MADE.get_or_init(Certificate::generate).clone()
}

fn reply(choices: &mut Choices<'_>) -> String {
    let client = ClientId(choices.one(3).into());
    let blob = Blob([&[1, choices.one(8)], choices.bytes()].concat());
    let reply = match choices.one(8) {
        0 | 1 => {
            let (stun_port, relayed) = (choices.one(2).into(), choices.one(2) == 1);
            Reply::Entered { client, stun_port, relayed }
        }
        2 => Reply::Closed,
        3 => Reply::Refused { reason: Refusal::RoomFull },
        4 => return String::from_utf8_lossy(choices.bytes()).into_owned(),
        _ => Reply::Relay { client: None, blob },
    };
    reply.to_json()
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let mut now = Instant::now();
    let host = HostIdentity::from_random([7; 96]);
    let entry = match choices.one(2) {
        0 => Entry::Link { room: host.room(), host_key: host.public_key(), secret: host.secret },
        _ => Entry::Room {
            name: "den".parse().expect("a name"),
            password: "p".parse().expect("one"),
        },
    };
    let here = SocketAddr::from(([10, 0, 0, 1], 5000));
    let mut client = Client::new(
        now,
        Config {
            entry,
            name: "Ada".into(),
            locals: vec![here],
            certificate: certificate(),
            random_seed: [choices.one(255); 32],
            patience: std::time::Duration::from_secs(30),
        },
    );
    loop {
        while !matches!(client.poll_output(), Output::Timeout(_)) {}
        if choices.is_empty() || client.is_closed() {
            break;
        }
        match choices.one(6) {
            0 | 1 => {
                let server = SocketAddr::from(([192, 0, 2, 1], 36542));
                client.handle_input(
                    now,
                    Input::Signal(SignalEvent::Connected { servers: vec![server] }),
                );
            }
            2 | 3 => {
                let text = reply(&mut choices);
                client.handle_input(now, Input::Signal(SignalEvent::Received(text)));
            }
            4 => {
                let source = SocketAddr::from(([10, 0, 0, choices.one(4)], 5000));
                let data = choices.bytes();
                client.handle_input(now, Input::Datagram { source, destination: here, data });
            }
            _ => {
                now += Duration::from_millis(u64::from(choices.one(255)) * 40);
                client.handle_input(now, Input::Timeout);
                if choices.one(50) == 49 {
                    client.handle_input(now, Input::Action(Action::RequestKeyframe));
                }
            }
        }
    }
});
