//! Chromium.

use lllsi_lab::{Chromium, Tab};
use lllsi_rtc::{DtlsVersion, srtp};
use serde_json::{Value, json};

use super::peer::Peer;
use super::{asked_for_keyframe, exchange_messages, film, receive_film};
use crate::browser;
use crate::util::{alone, number};

const PAGE: &str = include_str!("page.js");
/// Keeps a page's connection where an expression finds it.
const KEEP: &str = "globalThis.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...parameters) { super(...parameters); globalThis.kept = this; }
}";
/// Its transport, once it shows pictures.
const TRANSPORT: &str = "kept.getStats().then((all) => {
    const of = (type) => [...all.values()].find((entry) => entry.type === type);
    return of('inbound-rtp')?.framesDecoded > 25 && of('transport');
})";

fn page(browser: &Chromium) -> Tab {
    let tab = browser.open("about:blank");
    let _ = tab.evaluate(PAGE);
    tab
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// What Chromium says of the connection is what we say of it.
fn agree(peer: &Peer, seen: &Value) {
    let (is_13, profile) =
        peer.with(|transport, _| (transport.is_dtls_13(), transport.srtp_profile()));
    let version = if is_13 { "FEFC" } else { "FEFD" };
    let cipher = match profile.expect("it is connected") {
        srtp::Profile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        srtp::Profile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
        srtp::Profile::Aes128CmSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
    };
    assert_eq!(seen["dtlsState"], "connected", "{seen}");
    assert_eq!((text(&seen["tlsVersion"]), text(&seen["srtpCipher"])), (version, cipher));
}

fn chromium_watches(dtls: DtlsVersion) {
    let _alone = alone();
    let browser = Chromium::start();
    let tab = page(&browser);
    let (peer, answer) = Peer::answering(dtls, text(&tab.evaluate("offer()")));
    let _ = tab.evaluate(&format!("accept({})", json!(answer)));
    exchange_messages(&peer);
    asked_for_keyframe(&peer);
    let seen = tab.until(
        "film whose losses are repaired",
        "seen().then((now) => now.framesDecoded > 50 && now.repairs > 0 && now)",
    );
    eprintln!("{dtls:?}: {seen}");
    agree(&peer, &seen);
    assert_eq!(peer.with(|transport, _| transport.is_dtls_13()), dtls == DtlsVersion::Newest);
    assert_eq!(
        (&seen["width"], &seen["height"]),
        (&film::SIZE.width.into(), &film::SIZE.height.into())
    );
    assert!(number(&seen, "left") < 80.0 && number(&seen, "right") > 160.0, "{seen}");
}

#[test]
fn interop_chromium_watches_and_talks_by_dtls_12() {
    chromium_watches(DtlsVersion::V12);
}

#[test]
fn interop_chromium_watches_and_talks_by_dtls_13() {
    chromium_watches(DtlsVersion::Newest);
}

#[test]
fn interop_chromium_answers_sends_pictures_and_talks() {
    let _alone = alone();
    let browser = Chromium::start();
    let tab = page(&browser);
    let (peer, offer) = Peer::offering(DtlsVersion::Newest);
    let answer = tab.evaluate(&format!("answer({})", json!(offer)));
    peer.accept(text(&answer));
    exchange_messages(&peer);
    receive_film(&peer);
    let seen = tab.evaluate("seen()");
    eprintln!("{seen}");
    agree(&peer, &seen);
}

#[test]
fn interop_a_host_and_the_page_speak_dtls_13() {
    let _alone = alone();
    let (_host, link) = browser::host(&[]);
    let chromium = Chromium::start();
    let tab = chromium.open("about:blank");
    tab.before(KEEP);
    tab.navigate(&link);
    browser::state(&tab, "form");
    tab.until("an invitation", "document.body?.dataset.way === 'invited'");
    browser::click_join(&tab, "Ada");
    browser::state(&tab, "playing");
    let seen = tab.until("pictures", TRANSPORT);
    eprintln!("{seen}");
    assert_eq!((text(&seen["dtlsState"]), text(&seen["tlsVersion"])), ("connected", "FEFC"));
}
