//! The host's machine against any server, any client that knows the link or the password, and any network.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lllsi_core::host::{Action, Config, Host, LayerId, MAX_LAYERS, Room, ViewerId};
use lllsi_core::seal::{HostIdentity, Initiator, PreShared};
use lllsi_core::{Certificate, CodedFrame, Input, Machine, Output, SignalEvent};
use lllsi_fuzz::Choices;
use lllsi_proto::h264::FrameInfo;
use lllsi_proto::invite::Secret;
use lllsi_proto::rendezvous::{Blob, ClientId, Refusal, Reply};
use lllsi_proto::sealed::Envelope;

const OFFER: &str = include_str!("../offer.sdp");

fn certificate() -> Certificate {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    MADE.get_or_init(Certificate::generate).clone()
}

fn address(choices: &mut Choices<'_>) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, choices.one(4)], 5000))
}

/// A first message of somebody who was invited.
fn hello(choices: &mut Choices<'_>, identity: &HostIdentity) -> Vec<u8> {
    let sound = format!(
        r#"{{"name":"Ada","offer":{:?},"nonce":"{}"}}"#,
        OFFER.replace('\n', "\r\n"),
        "A".repeat(43)
    );
    let payload = match choices.one(3) {
        0 => sound.into_bytes(),
        1 => {
            // As somebody changes it.
            let mut changed = sound.into_bytes();
            for _ in 0..=choices.one(8) {
                let at =
                    usize::from(choices.one(255)) * usize::from(choices.one(255)) % changed.len();
                changed[at] = choices.one(255);
            }
            changed
        }
        _ => choices.bytes().to_vec(),
    };
    let shared = PreShared::link(&identity.room(), &identity.secret);
    let (_, message) = Initiator::begin(&identity.public_key(), &shared, &payload);
    Envelope::Handshake(&message).to_bytes()
}

fn reply(choices: &mut Choices<'_>, identity: &HostIdentity) -> String {
    let client = ClientId(choices.one(6).into());
    let blob = match choices.one(4) {
        0 | 1 => hello(choices, identity),
        2 => [&[1, choices.one(8)], choices.bytes()].concat(),
        _ => choices.bytes().to_vec(),
    };
    let reply = match choices.one(8) {
        0 => Reply::Opened { room: identity.room(), stun_port: 3478 },
        1 => Reply::Arrived { client },
        2 => Reply::Departed { client },
        3 => Reply::Refused {
            reason: [Refusal::Replaced, Refusal::NameTaken][usize::from(choices.one(2))],
        },
        _ => Reply::Relay { client: Some(client), blob: Blob(blob) },
    };
    reply.to_json()
}

fn action(choices: &mut Choices<'_>, now: Instant) -> Action {
    let id = ViewerId(choices.one(8).into());
    match choices.one(5) {
        0 => Action::Admit(id),
        1 => Action::Start,
        2 => Action::Kick(id),
        3 => Action::Renew { secret: Secret::from_bytes([choices.one(2); 32]), password: None },
        _ => Action::Send(CodedFrame {
            layer: LayerId(choices.one(4) as u8),
            data: Arc::new(choices.bytes().to_vec()),
            keyframe: choices.one(2) == 0,
            captured_at: now,
            encoded_at: now,
            info: FrameInfo::default(),
        }),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let mut now = Instant::now();
    let identity = HostIdentity::from_random([7; 96]);
    let room = Room { name: "den".parse().expect("a name"), password: "p".parse().expect("one") };
    let mut host = Host::new(
        now,
        Config {
            identity: identity.clone(),
            locals: vec![SocketAddr::from(([10, 0, 0, 1], 5000))],
            certificate: certificate(),
            random_seed: [choices.one(255); 32],
            lobby: choices.one(2) == 0,
            max_viewers: 2,
            max_bitrate: 4_000_000,
            max_uplink: None,
            layers: MAX_LAYERS,
            terms: Default::default(),
            room: Some(room),
        },
    );
    loop {
        while !matches!(host.poll_output(), Output::Timeout(_)) {}
        if choices.is_empty() || host.is_closed() {
            break;
        }
        match choices.one(8) {
            0 => {
                let server = SocketAddr::from(([192, 0, 2, 1], 36542));
                host.handle_input(
                    now,
                    Input::Signal(SignalEvent::Connected { servers: vec![server] }),
                );
            }
            1 => {
                let reason = "gone".into();
                host.handle_input(now, Input::Signal(SignalEvent::Disconnected { reason }));
            }
            2 | 3 | 4 => {
                let text = reply(&mut choices, &identity);
                host.handle_input(now, Input::Signal(SignalEvent::Received(text)));
            }
            5 => {
                let (source, destination) = (address(&mut choices), address(&mut choices));
                let data = choices.bytes();
                host.handle_input(now, Input::Datagram { source, destination, data });
            }
            6 => host.handle_input(now, Input::Action(action(&mut choices, now))),
            _ => {
                now += Duration::from_millis(u64::from(choices.one(255)) * 40);
                host.handle_input(now, Input::Timeout);
            }
        }
        assert!(host.status().viewers.len() <= 2 + 16 + 1, "no more than are allowed");
    }
});
