//! aiortc, in a Python that `.ci/e2e` installs it for.

use std::path::PathBuf;
use std::process::Command;

use lllsi_rtc::DtlsVersion;
use serde_json::json;

use super::peer::Peer;
use super::{asked_for_keyframe, exchange_messages, film, receive_film};
use crate::util::{Program, alone, number, text};

fn start() -> Program {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("aiortc/bin/python");
    assert!(python.exists(), "`.ci/e2e` installs {}", python.display());
    let mut command = Command::new(python);
    command.arg(top.join("tests/e2e/interop/peer.py"));
    Program::spawn("peer.py", &mut command)
}

#[test]
fn interop_aiortc_watches_and_talks() {
    let _alone = alone();
    let mut python = start();
    python.type_line(&json!({"type": "begin"}).to_string());
    let offer = text(&python.event("description"), "sdp");
    let (peer, answer) = Peer::answering(DtlsVersion::Newest, &offer);
    python.type_line(&json!({"type": "answer", "sdp": answer}).to_string());
    exchange_messages(&peer);
    asked_for_keyframe(&peer);
    let seen = python.wait_for("a film whose losses are repaired", |state| {
        state["frames"].as_u64() > Some(50) && state["repairs"].as_u64() > Some(0)
    });
    assert!(number(&seen, "left") < 80.0 && number(&seen, "right") > 160.0, "{seen}");
    assert_eq!(
        (&seen["width"], &seen["height"]),
        (&film::SIZE.width.into(), &film::SIZE.height.into())
    );

    python.type_line(&json!({"type": "keyframe"}).to_string());
    let seen = python.wait_for("another keyframe, and a sender report", |state| {
        number(state, "keyframes") > number(&seen, "keyframes") && state["is_reported"] == true
    });
    eprintln!("{seen}");
    assert_eq!((text(&seen, "dtls"), text(&seen, "role")), ("connected".into(), "client".into()));
    assert!(!peer.with(|transport, _| transport.is_dtls_13()), "aiortc speaks 1.2");
    python.forget();
    assert_eq!(text(&python.event("state"), "ice"), "completed");
}

/// aiortc takes the DTLS role that the offer leaves it.
fn aiortc_answers(setup: &str, role: &str) {
    let _alone = alone();
    let mut python = start();
    let (peer, offer) = Peer::offering(DtlsVersion::Newest);
    let offer = offer.replace("a=setup:actpass", &format!("a=setup:{setup}"));
    python.type_line(&json!({"type": "offer", "sdp": offer}).to_string());
    peer.accept(&text(&python.event("description"), "sdp"));
    exchange_messages(&peer);
    receive_film(&peer);
    python.forget();
    let seen = python.event("state");
    assert_eq!((text(&seen, "ice"), text(&seen, "role")), ("completed".into(), role.into()));
}

#[test]
fn interop_aiortc_answers_as_dtls_client_and_sends_pictures() {
    aiortc_answers("actpass", "client");
}

#[test]
fn interop_aiortc_answers_as_dtls_server_and_sends_pictures() {
    aiortc_answers("active", "server");
}
