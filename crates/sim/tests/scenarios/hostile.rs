//! A hostile server, hostile clients and a hostile network: whatever they do, nobody sees or shows what the other side
//! did not mean, and sessions end with a reason or go on.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use lllsi_core::Machine;
use lllsi_core::client::{self, CloseReason};
use lllsi_core::host;
use lllsi_core::seal::{HostIdentity, Initiator, PreShared, Responder};
use lllsi_core::testing::attacks::{ATTACKS, MOST_CHECKS};
use lllsi_proto::invite::{Commitment, Nonce};
use lllsi_proto::rendezvous::{Blob, ClientId, Refusal, Reply};
use lllsi_proto::sealed::{self, Envelope, Hello};
use lllsi_sim::{NatKind, NodeId, Setup, World};

use crate::{for_seeds, ms, secs, watching};

#[test]
fn clients_cannot_make_a_host_bombard_another_machine() {
    for_seeds(|seed| {
        let victim: IpAddr = "203.0.113.9".parse().unwrap();
        let claims = (5000..5019).map(|port| SocketAddr::new(victim, port)).collect();
        let mut world = World::new(Setup { seed, claims, ..Setup::default() });
        for name in ["Eve", "Mallory", "Eve again", "Mallory again"] {
            let attacker = world.join(name);
            assert!(world.run_until(secs(5), |w| w.client(attacker).frames > 0));
            world.tell_client(attacker, client::Action::Leave);
        }
        let elapsed = world.elapsed().as_secs() as u32;
        let sent = world.host_sent.get(&victim).map_or(0, Vec::len) as u32;
        // A dozen, and one more in five seconds.
        assert!((1..=12 + elapsed / 5 + 1).contains(&sent), "{sent} checks in {elapsed} s");
    });
}

/// Each attack that a viewer can make a host can make too, on a viewer: for 2 s, with a megabit in a second.
#[test]
fn a_hostile_host_makes_a_viewer_send_little_and_costs_itself_at_most() {
    const BYTES_IN_10_MS: usize = 1250;
    // What data channels begin with, acknowledgements, checks of addresses, and what it says anyway.
    const SPARE: usize = 64 * 1024 + 2 * 50 * 650 + MOST_CHECKS;
    for attack in ATTACKS {
        let (mut world, viewer) = watching(Setup::default());
        let (mut came, mut sent, mut number) = (0, 0, 0);
        for step in 1..=200 {
            while came < step * BYTES_IN_10_MS {
                let (more, answered) = world.attack(viewer, attack, number);
                (came, sent, number) = (came + more.max(20), sent + answered, number + 1);
            }
            world.run_for(ms(10));
        }
        let name = attack.name;
        assert!(sent <= 2 * came + SPARE, "{name}: {sent} bytes sent for {came}");
        let frames = world.client(viewer).frames;
        world.run_for(secs(2));
        let view = world.client(viewer);
        let goes_on = view.frames > frames;
        // Who breaks the association of data channels breaks its own link.
        let breaks = ["SCTP: ", "control: "].iter().any(|kind| name.starts_with(kind));
        assert!(goes_on || (breaks && view.closed.is_some()), "{name}: {view:?}");
    }
}

#[test]
fn a_hostile_server_cannot_end_or_disturb_a_session() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        let junk = |client| {
            [&[1, 1][..], &[1, 2, 7, 7], &[1, 3, 1], &[9, 1], &[]]
                .map(|bytes: &[u8]| Reply::Relay { client, blob: Blob(bytes.to_vec()) }.to_json())
        };
        for text in junk(Some(ClientId(1))).iter().chain(&junk(Some(ClientId(77)))) {
            world.server_says(NodeId::HOST, text);
        }
        for text in &junk(None) {
            world.server_says(viewer, text);
        }
        for id in [NodeId::HOST, viewer] {
            world.server_says(id, "not even JSON");
            world.server_says(id, &Reply::Dismissed.to_json());
            world.server_says(id, &Reply::Closed.to_json());
            world.server_says(id, &Reply::Refused { reason: Refusal::ServerFull }.to_json());
        }
        let frames = world.client(viewer).frames;
        world.run_for(secs(6));
        assert!(world.client(viewer).frames > frames + 150);
        assert_eq!(world.status(viewer).arrivals.missed, 0);
        let late = world.join("Bob");
        assert!(world.run_until(secs(5), |w| w.client(late).frames > 0), "the room is open again");
    });
}

#[test]
fn sealed_messages_that_are_dropped_repeated_swapped_or_altered_are_never_taken() {
    const SEALED: u8 = 2;
    type Meddle = fn(&mut Vec<Vec<u8>>, Vec<u8>) -> Vec<Vec<u8>>;
    // To the host's, of which the first is the admission; and whether the client's session ends.
    let attacks: [(&str, Meddle, bool); 4] = [
        ("drops the first", |seen, e| if seen.is_empty() { Vec::new() } else { vec![e] }, true),
        ("repeats each", |_, e| vec![e.clone(), e], false),
        (
            "swaps the first two",
            |seen, e| match seen.as_slice() {
                [] => Vec::new(),
                [first] => vec![e, first.clone()],
                _ => vec![e],
            },
            true,
        ),
        (
            "alters the first",
            |seen, mut e| {
                e[5] ^= u8::from(seen.is_empty());
                vec![e]
            },
            true,
        ),
    ];
    for (what, meddle, ends) in attacks {
        // Behind a NAT a candidate follows the admission. Without one the link needs no more than that.
        let nat = ends.then_some(NatKind::PortRestricted);
        let setup = Setup { lobby: true, host_nat: nat, client_nat: nat, ..Setup::default() };
        let mut world = World::new(setup);
        let mut seen = Vec::new();
        let ada = world.join("Ada");
        world.run_for(secs(1));
        world.meddle(move |envelope| {
            if envelope.get(1) != Some(&SEALED) {
                return vec![envelope];
            }
            let passed = meddle(&mut seen, envelope.clone());
            seen.push(envelope);
            passed
        });
        world.tell_host(host::Action::Start);
        world.run_for(secs(5));
        let closed = world.client(ada).closed.clone();
        let expected = ends.then_some(CloseReason::Tampered);
        assert_eq!(closed, expected, "a server that {what}: {:?}", world.client(ada));
        assert_eq!(world.client(ada).frames > 0, !ends, "a server that {what}");
    }
}

#[test]
fn forged_datagrams_do_not_end_a_link_or_keep_a_dead_one() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        let (host, client) = {
            let path = world.status(viewer).path.unwrap();
            (path.remote, path.local)
        };
        let stranger = "198.51.100.9:9".parse().unwrap();
        let forgeries: [&[u8]; 6] = [
            &[],
            &[0x80, 0, 0],
            // A DTLS alert in clear, fatal; then something that only begins like DTLS.
            &[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
            &[22],
            &[0xff; 1500],
            &[0x80, 102, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3],
        ];
        for data in forgeries {
            for source in [stranger, host] {
                world.forge(source, viewer, data);
            }
            for source in [stranger, client] {
                world.forge(source, NodeId::HOST, data);
            }
        }
        let frames = world.client(viewer).frames;
        world.run_for(secs(2));
        assert!(world.client(viewer).frames > frames + 50, "{:?}", world.client(viewer));

        world.kill_host();
        let gone = (0..60).any(|_| {
            world.run_for(ms(100));
            world.forge(host, viewer, &[0x80, 0, 0]);
            world.client(viewer).closed == Some(CloseReason::HostVanished)
        });
        assert!(gone, "forged signs of life keep a dead link");
    });
}

#[test]
fn hostile_offers_are_refused_and_the_host_goes_on() {
    let (mut world, viewer) = watching(Setup::default());
    let invite = world.invite();
    let video = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n";
    let credentials =
        "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=mid:0\r\n";
    let twice =
        "m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=rtpmap:102 H264/90000\r\na=rtpmap:102 rtx/90000\r\n";
    let rejected = "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:x\r\na=inactive\r\n".repeat(600);
    let offers = [
        String::new(),
        "v=0".into(),
        "x".repeat(40_000),
        format!("{video}{twice}{credentials}"),
        format!("{video}m=video 9 X 102\r\na=ice-ufrag:{}\r\n", "u".repeat(300)),
        format!("{video}{rejected}"),
    ];
    for (number, offer) in offers.into_iter().enumerate() {
        let hello = Hello {
            name: "Eve".into(),
            offer,
            nonce: Nonce::from_bytes([1; 32]),
            commitment: Commitment::from_bytes([2; 32]),
            candidates: Vec::new(),
            frame_info: false,
            parity: false,
        };
        let payload = sealed::to_bytes(&hello);
        let shared = PreShared::link(&invite.room, &invite.secret);
        let (_, message) = Initiator::begin(&invite.host_key, &shared, &payload);
        let blob = Blob(Envelope::Handshake(&message).to_bytes());
        let client = Some(ClientId(1000 + number as u32));
        world.server_says(NodeId::HOST, &Reply::Relay { client, blob }.to_json());
    }
    let frames = world.client(viewer).frames;
    world.run_for(secs(2));
    assert!(world.client(viewer).frames > frames + 50);
    assert_eq!(world.host_machine().status().viewers.len(), 1);
}

/// The server belongs to somebody who was invited too.
#[test]
fn a_link_holder_who_runs_the_server_can_neither_read_nor_answer_for_the_host() {
    let mut world = World::new(Setup::default());
    let (invite, mallory) = (world.invite(), HostIdentity::from_random([3; 96]));
    let shared = PreShared::link(&invite.room, &invite.secret);
    let seen = Rc::new(Cell::new(0));
    let counted = Rc::clone(&seen);
    world.meddle(move |envelope| match Envelope::parse(&envelope) {
        // To the host, then to the client: she answers in its place, with all that she knows.
        Ok(Envelope::Handshake(message)) => {
            counted.set(counted.get() + 1);
            assert!(Responder::accept(&mallory, &shared, message).is_err(), "it is not for her");
            if counted.get() == 1 {
                return vec![envelope];
            }
            let (_, own) = Initiator::begin(&mallory.public_key(), &shared, b"{}");
            let (responder, _) = Responder::accept(&mallory, &shared, &own).unwrap();
            let (_, welcome) = responder.finish(b"{}");
            vec![Envelope::Handshake(&welcome).to_bytes()]
        }
        _ => vec![envelope],
    });
    let ada = world.join("Ada");
    world.run_for(secs(2));
    assert_eq!(seen.get(), 2);
    assert_eq!(world.client(ada).closed, Some(CloseReason::Tampered));
    assert!(world.host().connected.is_empty());
}

#[test]
fn the_server_sees_nothing_it_could_use() {
    let nat = Some(NatKind::PortRestricted);
    let mut world = World::new(Setup { host_nat: nat, client_nat: nat, ..Setup::default() });
    let viewer = world.join("Ada-Lovelace");
    assert!(world.run_until(secs(20), |w| w.client(viewer).frames >= 10));
    world.tell_client(viewer, client::Action::Leave);
    world.run_for(secs(1));
    let transcript = world.transcript.join("\n");
    assert!(transcript.contains("relay"), "there is something to look at");
    let invite = world.invite();
    // As text, and as base64 would show it whatever its alignment.
    for needle in [
        "v=0",
        "m=video",
        "a=candidate",
        "candidate:",
        "ice-ufrag",
        "ice-pwd",
        "fingerprint",
        "sha-256",
        // Long: three letters occur by chance in sealed bytes.
        "Ada-Lovelace",
        "10.0.",
        "203.0.113",
        "typ host",
        "srflx",
        "admitted",
    ] {
        assert!(!transcript.contains(needle), "`{needle}` in clear");
        for encoded in base64_forms(needle) {
            assert!(!transcript.contains(&encoded), "`{needle}` in base64");
        }
    }
    assert!(!transcript.contains(&invite.secret.to_base64()), "the secret in clear");
    assert!(!transcript.contains(&invite.host_key.to_base64()), "the host's key in clear");
}

/// The middle of a text's base64url at each of its three alignments.
fn base64_forms(text: &str) -> Vec<String> {
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    (0..3usize)
        .filter_map(|shift| {
            let padded = [&vec![0; shift][..], text.as_bytes()].concat();
            let encoded = encode(&padded);
            let begin = (shift * 8).div_ceil(6);
            let end = padded.len() * 8 / 6;
            // Short pieces occur by chance.
            (end - begin >= 6).then(|| encoded[begin..end].to_owned())
        })
        .collect()
}
