//! A rendezvous server that meddles with what it passes on. Whatever it does, nobody sees or shows anything that the
//! other side did not mean: sessions end with a reason, or go on without the server.

use std::net::SocketAddr;
use std::sync::mpsc::channel;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lllsi_core::seal::{HostIdentity, Initiator, PreShared, Responder};
use lllsi_lab::{Chromium, Meddler};
use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::Invite;
use serde_json::{Value, json};

use crate::browser::{end, host, join, state};
use crate::rooms::{NAME, PASSWORD, form, named_host, program, server_of, try_password};
use crate::util::{self, PATIENCE, Program, alone};

/// Kinds of envelopes, see docs/rendezvous.md, section 8.
const HANDSHAKE: u8 = 1;
const SEALED: u8 = 2;
const REJECTED: u8 = 3;
const HOST_SHARE: u8 = 5;

/// The envelope in a message of the server, if there is one.
fn envelope(text: &str) -> Option<Vec<u8>> {
    let message: Value = serde_json::from_str(text).ok()?;
    URL_SAFE_NO_PAD.decode(message["blob"].as_str()?).ok()
}

fn relay(envelope: &[u8]) -> String {
    json!({"type": "relay", "blob": URL_SAFE_NO_PAD.encode(envelope)}).to_string()
}

/// A server that changes envelopes of this kind on their way to the client.
fn meddler(
    link: &str,
    kind: u8,
    mut meddle: impl FnMut(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static,
) -> String {
    let (server, fragment) = link.split_once("/#").expect("a link has a fragment");
    let server: SocketAddr =
        server.trim_start_matches("http://").parse().expect("the server is an address");
    let meddler = Meddler::start(server, move |text| match envelope(&text) {
        Some(envelope) if envelope.get(1) == Some(&kind) => {
            meddle(envelope).iter().map(|envelope| relay(envelope)).collect()
        }
        _ => vec![text],
    });
    format!("http://{}/#{fragment}", meddler.address())
}

fn altered(mut envelope: Vec<u8>) -> Vec<u8> {
    if let Some(last) = envelope.last_mut() {
        *last ^= 1;
    }
    envelope
}

/// What is passed on in place of an envelope.
type Meddle = fn(Vec<u8>) -> Vec<Vec<u8>>;
/// What a server does, to envelopes of which kind, and how sessions end then: code, and a program's exit.
type Attack = (&'static str, u8, Meddle, (&'static str, i32));

const ATTACKS: [Attack; 6] = [
    ("alters the host's answer", HANDSHAKE, |e| vec![altered(e)], ("tampered", 13)),
    ("cuts the host's answer", HANDSHAKE, |e| vec![e[..20].to_vec()], ("tampered", 13)),
    ("claims another version", HANDSHAKE, |e| vec![[&[9], &e[1..]].concat()], ("version", 8)),
    ("alters the admission", SEALED, |e| vec![altered(e)], ("tampered", 13)),
    (
        "says that the secret is wrong",
        SEALED,
        |_| vec![vec![WIRE_VERSION, REJECTED, 1]],
        ("tampered", 13),
    ),
    ("says nothing sensible", SEALED, |_| vec![Vec::new()], ("tampered", 13)),
];

#[test]
fn whatever_a_server_does_before_admission_ends_the_session_with_its_reason() {
    let _alone = alone();
    let (mut host, link) = host(&["--lobby"]);
    let browser = Chromium::start();
    for (what, kind, meddle, (code, exit)) in ATTACKS {
        let hostile = meddler(&link, kind, meddle);
        let mut native = Program::start(&["join", &hostile, "--headless"]);
        let tab = join(&browser, &hostile, "Ada");
        if kind == SEALED {
            for _ in 0..2 {
                let waiting = host.wait_for("a guest", |e| e["state"] == "waiting");
                host.type_line(&format!("admit {}", waiting["id"]));
            }
        }
        let (found, words) = end(&tab);
        assert_eq!(found, code, "a server that {what}: {words}");
        let error = native.wait_for("its end", |e| e["event"] == "error");
        assert_eq!(error["code"], code, "a server that {what}");
        assert_eq!(native.exit_code(), exit);
        host.forget();
    }
}

#[test]
fn sealed_messages_in_another_order_end_a_session_before_admission() {
    let _alone = alone();
    let (mut host, link) = host(&["--lobby"]);
    let browser = Chromium::start();
    let mut join_both = |hostile: [String; 2]| {
        let native = Program::start(&["join", &hostile[0], "--headless"]);
        let tab = join(&browser, &hostile[1], "Ada");
        for _ in 0..2 {
            let id = host.wait_for("a guest", |e| e["state"] == "waiting")["id"].clone();
            host.type_line(&format!("admit {id}"));
            host.type_line(&format!("kick {id}"));
        }
        (native, tab)
    };
    // Being let in comes after being sent away.
    let swapping = || {
        let mut first: Option<Vec<u8>> = None;
        meddler(&link, SEALED, move |envelope| match first.take() {
            Some(first) => vec![envelope, first],
            None => {
                first = Some(envelope);
                Vec::new()
            }
        })
    };
    let (mut native, tab) = join_both([swapping(), swapping()]);
    native.fails("tampered", 13, "interferes");
    let (found, words) = end(&tab);
    assert_eq!(found, "tampered", "{words}");
}

#[test]
fn whatever_a_server_does_after_admission_disturbs_no_link() {
    let _alone = alone();
    let (_host, link) = host(&[]);
    let browser = Chromium::start();
    let attacks: [Meddle; 3] =
        [|e| vec![altered(e)], |e| vec![e.clone(), e], |_| vec![vec![WIRE_VERSION, REJECTED, 1]]];
    for meddle in attacks {
        let hostile = meddler(&link, SEALED, meddle);
        let mut native = Program::start(&["join", &hostile, "--headless"]);
        native.event("first_frame");
        native.ends_well();
        state(&join(&browser, &hostile, "Ada"), "playing");
    }
}

#[test]
fn an_answer_meant_for_another_client_does_not_open() {
    let _alone = alone();
    let (_host, link) = host(&[]);
    let browser = Chromium::start();
    let (captured, answers) = channel();
    let first = meddler(&link, HANDSHAKE, move |envelope| {
        let _ = captured.send(envelope);
        Vec::new()
    });
    let _robbed = Program::start(&["join", &first, "--headless"]);
    let stolen = answers.recv_timeout(PATIENCE).expect("an answer to another");
    let second = meddler(&link, HANDSHAKE, move |_| vec![stolen.clone()]);
    let (found, words) = end(&join(&browser, &second, "Ada"));
    assert_eq!(found, "tampered", "{words}");
    Program::start(&["join", &second, "--headless"]).fails("tampered", 13, "interferes");
}

/// The server belongs to somebody who was invited too, and who has keys of her own.
#[test]
fn a_link_holder_who_runs_the_server_can_neither_read_nor_answer_for_the_host() {
    let _alone = alone();
    let mut server = Program::start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = util::text(&server.event("ready"), "http");
    let address = address.trim_start_matches("http://").parse().expect("it is an address");
    let (seen, hellos) = channel();
    // Between the host and the server: what clients say.
    let before_host = Meddler::start(address, move |text| {
        // Only a host is told from whom something comes.
        let is_for_host = text.contains("\"client\"");
        match envelope(&text) {
            Some(envelope) if is_for_host && envelope.get(1) == Some(&HANDSHAKE) => {
                let _ = seen.send(envelope[2..].to_vec());
            }
            _ => {}
        }
        vec![text]
    });
    let url = format!("http://{}", before_host.address());
    let mut host = Program::start(&["host", "--source", "test", "--server", &url]);
    let link = util::text(&host.event("ready"), "link");
    let invite: Invite = link.parse().expect("it is a link");
    let mallory = HostIdentity::from_random([3; 96]);
    let shared = PreShared::link(&invite.room, &invite.secret);
    let (_, own) = Initiator::begin(&mallory.public_key(), &shared, b"{}");
    let (responder, _) =
        Responder::accept(&mallory, &shared, &own).expect("she can talk to herself");
    let (_, welcome) = responder.finish(b"{}");
    let hostile = meddler(&link, HANDSHAKE, move |_| {
        vec![[&[WIRE_VERSION, HANDSHAKE], &welcome[..]].concat()]
    });

    let browser = Chromium::start();
    let (found, words) = end(&join(&browser, &hostile, "Ada"));
    assert_eq!(found, "tampered", "{words}");
    Program::start(&["join", &hostile, "--headless"]).fails("tampered", 13, "interferes");
    for _ in 0..2 {
        let hello = hellos.recv_timeout(PATIENCE).expect("what a client said went by");
        assert!(Responder::accept(&mallory, &shared, &hello).is_err(), "it is not for her");
    }
}

/// The same of an exchange of a password: shares are 32 bytes, and the host's key follows.
const PASSWORD_ATTACKS: [Attack; 6] = [
    ("alters the host's share", HOST_SHARE, |e| vec![changed(e, 2)], ("wrong_password", 24)),
    ("gives another key for the host's", HOST_SHARE, |e| vec![altered(e)], ("wrong_password", 24)),
    ("gives a share of small order", HOST_SHARE, |e| vec![zeroed(e)], ("tampered", 13)),
    ("cuts the host's share", HOST_SHARE, |e| vec![e[..40].to_vec()], ("tampered", 13)),
    ("claims another version", HOST_SHARE, |e| vec![[&[9], &e[1..]].concat()], ("version", 8)),
    (
        "forges a refusal",
        HOST_SHARE,
        |_| vec![vec![WIRE_VERSION, REJECTED, 4]],
        ("too_many_tries", 25),
    ),
];

fn changed(mut envelope: Vec<u8>, at: usize) -> Vec<u8> {
    envelope[at] ^= 1;
    envelope
}

fn zeroed(mut envelope: Vec<u8>) -> Vec<u8> {
    envelope[2..34].fill(0);
    envelope
}

#[test]
fn whatever_a_server_does_to_the_exchange_of_a_password_ends_the_session_with_its_reason() {
    let _alone = alone();
    let browser = Chromium::start();
    for (what, kind, meddle, (code, exit)) in PASSWORD_ATTACKS {
        // A new host each time: wrong passwords are slowed.
        let mut host = named_host(NAME, PASSWORD, &["--listen", "127.0.0.1:0"]);
        let link = util::text(&host.event("ready"), "link");
        let hostile = server_of(&meddler(&link, kind, meddle));
        let tab = form(&browser, &hostile);
        try_password(&tab, PASSWORD);
        let (found, words) = end(&tab);
        assert_eq!(found, code, "a server that {what}: {words}");
        program(&hostile, NAME, PASSWORD).fails(code, exit, "");
        assert!(!host.said().iter().any(|e| e["event"] == "viewer"), "a server that {what}");
    }
}
