//! Descriptions of this library and of browsers, as they were made.

use super::*;

mod answers;
mod hostile;
mod refusals;
mod restarts;

/// An offer of another native stack.
const NATIVE: &str = include_str!("../fixtures/native.sdp");
/// Chromium 156: a page's offer with one video line and data channels.
const CHROMIUM: &str = include_str!("../fixtures/chromium.sdp");
/// With two video lines of all formats, and audio both ways.
const CHROMIUM_FULL: &str = include_str!("../fixtures/chromium_full.sdp");
/// After the first video line was stopped and another added.
const CHROMIUM_MORE: &str = include_str!("../fixtures/chromium_more.sdp");
/// Its answer to [`our_offer`].
const CHROMIUM_ANSWER: &str = include_str!("../fixtures/chromium_answer.sdp");
/// Firefox 153: as [`CHROMIUM`], without H.264.
const FIREFOX: &str = include_str!("../fixtures/firefox.sdp");
/// As [`CHROMIUM_FULL`], without H.264.
const FIREFOX_FULL: &str = include_str!("../fixtures/firefox_full.sdp");
/// Its answer to [`our_offer`]: no video.
const FIREFOX_ANSWER: &str = include_str!("../fixtures/firefox_answer.sdp");

const ALL: [&str; 8] = [
    NATIVE,
    CHROMIUM,
    CHROMIUM_FULL,
    CHROMIUM_MORE,
    CHROMIUM_ANSWER,
    FIREFOX,
    FIREFOX_FULL,
    FIREFOX_ANSWER,
];

fn parse(text: &str) -> Description {
    Description::parse(text).unwrap()
}

/// A description with one passage replaced everywhere.
fn edited(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not there");
    text.replace(from, to)
}

fn local() -> Local {
    Local {
        origin: Origin::new(9),
        credentials: Credentials::from_random(&[9; 24]),
        fingerprint: [9; 32],
        candidates: vec!["candidate:1 1 udp 2130706175 192.0.2.1 5000 typ host".into()],
        extensions: vec![
            ExtensionUri::Mid,
            ExtensionUri::PlayoutDelay,
            ExtensionUri::TransportCc,
            ExtensionUri::AudioLevel,
        ],
        feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: false },
        opus: "minptime=10;useinbandfec=1".into(),
        max_message_size: 262_144,
        sctp_init: None,
    }
}

fn sender(ssrc: u32) -> Option<Sender> {
    let source = Source { ssrc, rtx: Some(ssrc + 1), fec: Some(ssrc + 2), cname: "host".into() };
    Some(Sender { source, msid: Some(Msid { stream: "screen".into(), track: "0".into() }) })
}

/// What browsers' answers in the fixtures answer: video, data, more video, audio, and audio both ways.
fn our_offer() -> Description {
    let mut microphone = Want::audio("mic");
    let source = Source { ssrc: 77, rtx: None, fec: None, cname: "me".into() };
    let send = Some(Sender { source, msid: None });
    microphone.kind = WantKind::Audio(Take { send, is_receiving: true });
    let wants =
        [Want::video("0"), Want::data("1"), Want::video("v2"), Want::audio("a"), microphone];
    offer(&local(), &wants)
}

#[test]
fn a_native_offer_is_read_in_full() {
    let offer = parse(NATIVE);
    assert_eq!(offer.origin, Origin { session: 2_579_977_753_357_446_786, version: 2 });
    assert_eq!(offer.credentials.ufrag(), "IlLnnnZqoIaUBYA0");
    assert_eq!(offer.credentials.pwd(), "UD7PODZuCdOdbrQFns3SA7");
    assert_eq!(offer.fingerprint[..3], [0xd4, 0xfb, 0x78]);
    assert_eq!((offer.setup, offer.candidates.len()), (Setup::ActPass, 1));
    assert!(offer.candidates[0].starts_with("candidate:fffeff7e2ebf775d89416631 1 udp 2130706175"));
    let media = Media {
        direction: Direction::RecvOnly,
        codecs: vec![Codec {
            payload_type: 102,
            format: Format::H264(H264::CONSTRAINED_BASELINE),
            clock_rate: 90_000,
            channels: 1,
            rtx: Some(103),
            feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: true },
        }],
        extensions: vec![Extension {
            id: 1,
            direction: Direction::SendRecv,
            uri: ExtensionUri::Mid,
        }],
        sources: vec![Source {
            ssrc: 2_322_352_535,
            rtx: Some(1_170_060_730),
            fec: None,
            cname: "7b5sZEHLrdbNAphMrDxA".into(),
        }],
        msid: Some(Msid {
            stream: "O09EFiuCbZgqn5XBYJTD".into(),
            track: "7b5sZEHLrdbNAphMrDxA".into(),
        }),
        has_reduced_rtcp: false,
    };
    let video = Line { mid: "Sab".into(), is_rejected: false, body: Body::Video(media) };
    assert_eq!(offer.lines[0], video);
    let data = offer.line("PbR").and_then(Line::application).unwrap();
    assert_eq!((data.sctp_port, data.max_message_size), (5000, Some(262_144)));
    assert_eq!(data.sctp_init.as_ref().map(Vec::len), Some(26));
}

#[test]
fn an_offer_of_chromium_is_read_line_by_line() {
    let offer = parse(CHROMIUM_FULL);
    let kinds: Vec<_> = offer.lines.iter().map(Line::kind).collect();
    assert_eq!(kinds, [Kind::Video, Kind::Video, Kind::Audio, Kind::Application]);
    let video = offer.lines[1].media().unwrap();
    assert_eq!(video.direction, Direction::RecvOnly);
    assert!(video.has_reduced_rtcp);
    assert_eq!(video.extension(&ExtensionUri::PlayoutDelay), Some(5));
    assert_eq!(video.extensions.len(), 11);
    // 13 formats with retransmissions each, without static types and those of repairs.
    assert_eq!(video.codecs.iter().filter(|codec| codec.rtx.is_some()).count(), 16);
    let best = video.constrained_baseline().unwrap();
    assert_eq!((best.payload_type, best.rtx), (108, Some(109)));
    // Below 64 there are payload types too.
    assert_eq!(video.codec(39).and_then(|codec| codec.rtx), Some(40));
    let audio = offer.lines[2].media().unwrap();
    assert_eq!((audio.direction, audio.sources[0].ssrc), (Direction::SendRecv, 58_913_680));
    let opus = audio.codec(111).unwrap();
    assert_eq!((opus.clock_rate, opus.channels), (48_000, 2));
    assert_eq!(opus.format, Format::Opus("minptime=10;useinbandfec=1".into()));
}

#[test]
fn a_stopped_line_of_chromium_keeps_its_place() {
    let offer = parse(CHROMIUM_MORE);
    let rejected: Vec<_> = offer.lines.iter().map(|line| line.is_rejected).collect();
    assert_eq!(rejected, [true, false, false]);
    assert_eq!(offer.lines[2].kind(), Kind::Video);
}

#[test]
fn firefox_bundles_lines_of_port_zero() {
    let offer = parse(FIREFOX_FULL);
    assert_eq!(offer.lines.len(), 4);
    assert!(offer.lines.iter().all(|line| !line.is_rejected));
    // Its fingerprint is the session's.
    assert_eq!(offer.fingerprint[0], 0x53);
    assert_eq!((offer.candidates.len(), offer.candidates_left_out), (8, 0));
    let video = offer.lines[0].media().unwrap();
    let delay = video.extensions.iter().find(|e| e.uri == ExtensionUri::PlayoutDelay).unwrap();
    assert_eq!((delay.id, delay.direction), (6, Direction::RecvOnly));
    // Its formats' parameters come before their names.
    assert_eq!(video.codec(120).and_then(|codec| codec.rtx), Some(124));
    assert_eq!(video.constrained_baseline(), None);
    assert_eq!(offer.lines[3].application().unwrap().max_message_size, Some(1_073_741_823));
}

#[test]
fn what_is_written_is_read_as_the_same() {
    for text in ALL {
        let description = parse(text);
        let written = description.to_string();
        assert_eq!(parse(&written), description, "{written}");
        assert!(written.split_inclusive('\n').all(|line| line.ends_with("\r\n")));
    }
}

#[test]
fn fingerprints_of_other_hashes_are_skipped() {
    let line = "a=fingerprint:sha-256 ";
    let other = "a=fingerprint:sha-512 C7:6F\r\n";
    let before = NATIVE.replace(line, &format!("{other}{line}"));
    let after = NATIVE.replace("a=setup:", &format!("{other}a=setup:"));
    assert_eq!(before.matches(other).count(), 2);
    assert_eq!([parse(&before), parse(&after)], [parse(NATIVE), parse(NATIVE)]);
}

#[test]
fn line_ends_may_be_of_either_kind() {
    assert_eq!(parse(&NATIVE.replace("\r\n", "\n")), parse(NATIVE));
    assert_eq!(parse(NATIVE.trim_end()), parse(NATIVE));
}

#[test]
fn what_belongs_to_the_transport_may_stand_in_the_session() {
    let lines = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:"];
    let is_of_transport = |line: &&str| lines.iter().any(|name| line.starts_with(name));
    let (shared, rest): (Vec<_>, Vec<_>) = NATIVE.lines().partition(is_of_transport);
    let rest = rest.join("\n");
    let (session, media) = rest.split_once("m=").unwrap();
    let moved = format!("{session}{}\nm={media}", shared[..4].join("\n"));
    assert_eq!(parse(&moved), parse(NATIVE));
    // One line may tell it for all.
    let (first, second) = NATIVE.split_at(NATIVE.rfind("m=").unwrap());
    let second: Vec<_> = second.lines().filter(|line| !is_of_transport(line)).collect();
    assert_eq!(parse(&format!("{first}{}", second.join("\n"))), parse(NATIVE));
}

#[test]
fn a_single_line_needs_no_group() {
    let (single, _) = NATIVE.split_at(NATIVE.rfind("m=").unwrap());
    let single = edited(single, "a=group:BUNDLE Sab PbR", "a=x");
    assert_eq!(parse(&single).lines.len(), 1);
}

#[test]
fn candidates_are_bounded() {
    let (session, media) = NATIVE.split_once("a=ice-ufrag").unwrap();
    let surplus = "a=candidate:1 1 udp 1 192.0.2.1 5 typ host\n".repeat(MAX_CANDIDATES + 1);
    let offer = parse(&format!("{session}{surplus}a=ice-ufrag{media}"));
    assert_eq!((offer.candidates.len(), offer.candidates_left_out), (MAX_CANDIDATES, 2));
    let long = format!("a=candidate:{}\n", "x".repeat(MAX_CANDIDATE_BYTES - 9));
    let offer = parse(&format!("{session}{long}{}a=ice-ufrag{media}", long.replacen('x', "", 1)));
    assert_eq!((offer.candidates.len(), offer.candidates_left_out), (2, 1));
}

#[test]
fn what_is_unknown_is_skipped() {
    let unknown = "a=rtcp-mux\na=x-unknown:1\na=rid:1 send\na=end-of-candidates\n\
        a=ssrc-group:SIM 1 2\na=rtpmap:99 VP8/90000\na=extmap:4097 urn:x\na=rtcp-fb:* x";
    assert_eq!(parse(&edited(NATIVE, "a=rtcp-mux", unknown)), parse(NATIVE));
}

#[test]
fn feedback_may_be_for_all_formats() {
    let text = edited(NATIVE, "a=rtcp-fb:102 nack pli", "a=x");
    let pli = |text: &str| parse(text).lines[0].media().unwrap().codecs[0].feedback.pli;
    assert!(!pli(&text));
    assert!(pli(&edited(&text, "a=rtcp-mux", "a=rtcp-mux\na=rtcp-fb:* nack pli")));
}

#[test]
fn parameters_of_h264_have_defaults_and_no_case() {
    let format = |fmtp: &str| {
        let known = "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;\
            profile-level-id=42e01f";
        parse(&edited(NATIVE, known, fmtp)).lines[0].media().unwrap().codecs[0].format.clone()
    };
    let least = H264 {
        profile_level_id: [0x42, 0, 0x0a],
        packetization_mode: 0,
        is_level_asymmetry_allowed: false,
    };
    assert_eq!(format("a=x"), Format::H264(least));
    let given = format("a=fmtp:102 Profile-Level-ID=42C01E; packetization-mode=1 ;x");
    let expected = H264 { profile_level_id: [0x42, 0xc0, 0x1e], packetization_mode: 1, ..least };
    assert_eq!(given, Format::H264(expected));
    assert!(expected.is_constrained_baseline());
    assert!(!least.is_constrained_baseline());
}

#[test]
fn a_greater_message_than_any_is_any_great_one() {
    let text = edited(NATIVE, "max-message-size:262144", "max-message-size:99999999999");
    assert_eq!(parse(&text).lines[1].application().unwrap().max_message_size, Some(u32::MAX));
}

#[test]
fn debug_output_holds_no_password() {
    let offer = parse(NATIVE);
    assert!(!format!("{offer:?}").contains(offer.credentials.pwd()));
    assert!(!format!("{:?}", local()).contains(local().credentials.pwd()));
}

#[test]
fn random_credentials_are_valid() {
    for byte in [0, 9, 0xfb, 0xff] {
        let made = Credentials::from_random(&[byte; 24]);
        assert_eq!((made.ufrag().len(), made.pwd().len()), (8, 24));
        assert_eq!(Credentials::new(made.ufrag(), made.pwd()), Some(made));
    }
    assert_eq!(Credentials::new("abc", "x".repeat(22)), None);
    assert_eq!(Credentials::new("abcd", "x".repeat(21)), None);
    assert_eq!(Credentials::new("ab-d", "x".repeat(22)), None);
    assert_eq!(Credentials::new("x".repeat(61), "x".repeat(22)), None);
}
