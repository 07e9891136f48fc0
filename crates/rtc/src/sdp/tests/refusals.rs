//! What is refused, and what the refusal says.

use super::*;

/// Edits of [`NATIVE`], whose video begins in line 8, and its data channels in line 35.
fn refusal(from: &str, to: &str) -> String {
    Description::parse(&edited(NATIVE, from, to)).unwrap_err().to_string()
}

fn assert_refused(edits: &[(&str, &str, &str)]) {
    for (from, to, expected) in edits {
        assert_eq!(refusal(from, to), *expected, "{from} -> {to}");
    }
}

#[test]
fn what_the_transport_needs_may_not_be_missing() {
    assert_refused(&[
        (
            "a=ice-ufrag:IlLnnnZqoIaUBYA0",
            "a=x",
            "a=ice-ufrag is missing from the media line in line 8",
        ),
        (
            "a=ice-pwd:UD7PODZuCdOdbrQFns3SA7",
            "a=x",
            "a=ice-pwd is missing from the media line in line 8",
        ),
        (
            "a=fingerprint:",
            "a=x:",
            "a=fingerprint:sha-256 is missing from the media line in line 8",
        ),
        ("a=setup:actpass", "a=x", "a=setup is missing from the media line in line 8"),
        ("a=mid:Sab", "a=x", "a=mid is missing from the media line in line 8"),
        ("a=rtcp-mux", "a=x", "a=rtcp-mux is missing from the media line in line 8"),
        ("a=sctp-port:5000", "a=x", "a=sctp-port is missing from the media line in line 35"),
    ]);
    let without_both = edited(NATIVE, "a=ice-ufrag", "a=x");
    let without_both = edited(&without_both, "a=ice-pwd", "a=x");
    assert_eq!(
        Description::parse(&without_both).unwrap_err(),
        ParseError::Missing { line: 8, attribute: "ice-ufrag" }
    );
}

#[test]
fn all_lines_are_of_one_transport() {
    let not_bundled = "line 35 begins a media line that is not in a=group:BUNDLE";
    assert_refused(&[
        ("BUNDLE Sab", "BUNDLE Sac", "line 5: a=group names a media line that is not there"),
        ("a=group:BUNDLE Sab PbR", "a=group:BUNDLE Sab", not_bundled),
        (
            "a=group:BUNDLE",
            "a=group:LS",
            "line 8 begins a media line that is not in a=group:BUNDLE",
        ),
        ("a=mid:PbR", "a=mid:Sab", "line 35: a=mid is that of an earlier media line"),
        ("a=extmap-allow-mixed", "a=group:BUNDLE Sab PbR", "line 6: a=group comes twice"),
    ]);
    for (from, to, attribute) in [
        ("ice-ufrag:IlLn", "ice-ufrag:IlLm", "ice-ufrag"),
        ("ice-pwd:UD7P", "ice-pwd:UD7Q", "ice-pwd"),
        ("sha-256 D4", "sha-256 D5", "fingerprint"),
        ("setup:actpass", "setup:active", "setup"),
    ] {
        let (first, second) = NATIVE.split_at(NATIVE.rfind("m=").unwrap());
        let error = Description::parse(&format!("{first}{}", edited(second, from, to)));
        assert_eq!(error, Err(ParseError::Conflict { line: 35, attribute }));
    }
}

#[test]
fn nothing_means_two_things_on_one_transport() {
    let (session, media) = NATIVE.split_at(NATIVE.find("m=").unwrap());
    let (video, data) = media.split_at(media.rfind("m=").unwrap());
    let session = edited(session, "BUNDLE", "BUNDLE v2");
    let with = |more: &str| {
        let more = edited(&edited(more, "a=mid:", "a=mid:v2\na=x:"), "\na=ssrc", "\na=x");
        Description::parse(&format!("{session}{video}{more}{data}"))
    };
    assert!(with(video).is_ok());
    let conflict = |attribute| Err(ParseError::Conflict { line: 35, attribute });
    assert_eq!(with(&edited(video, "sdes:mid", "sdes:x")), conflict("extmap"));
    assert_eq!(with(&edited(video, "H264/90000", "VP8/90000")), conflict("rtpmap"));
    assert_eq!(with(&edited(video, "rtx/90000", "VP8/90000")), conflict("rtpmap"));
    let same_source = format!("{session}{video}{}{data}", edited(video, "mid:Sab", "mid:v2"));
    let error = Description::parse(&same_source).unwrap_err();
    assert_eq!(error.to_string(), "line 35: a=ssrc is used twice");
    let two_associations = format!("{session}{video}{data}{}", edited(data, "mid:PbR", "mid:v2"));
    let error = Description::parse(&two_associations).unwrap_err();
    assert_eq!(error.to_string(), "line 46: more than 1 media lines for data channels");
}

#[test]
fn credentials_are_those_that_ice_allows() {
    let wrong = "line 8: a=ice-ufrag or a=ice-pwd is too short, too long, or has characters that \
        ICE does not allow";
    let (long, short) = ("u".repeat(200), "x".repeat(21));
    assert_refused(&[
        ("IlLnnnZqoIaUBYA0", "abc", wrong),
        ("IlLnnnZqoIaUBYA0", &long, wrong),
        ("IlLnnnZqoIaUBYA0", "abc:", wrong),
        ("IlLnnnZqoIaUBYA0", "äöüß", wrong),
        ("UD7PODZuCdOdbrQFns3SA7", &short, wrong),
        ("UD7PODZuCdOdbrQFns3SA7", &long, wrong),
    ]);
}

#[test]
fn only_full_ice_and_sha_256_are_spoken() {
    let short = "line 14: a=fingerprint is not 32 bytes in hex";
    let other = "a=fingerprint:sha-256 is missing from the media line in line 8";
    let role = "line 15: a=setup is none of actpass, active, passive";
    assert_refused(&[
        (
            "a=extmap-allow-mixed",
            "a=ice-lite",
            "line 6: a=ice-lite is not spoken: only full ICE is",
        ),
        ("sha-256 D4", "sha-1 D4", other),
        ("sha-256 D4", "sha-512 D4", other),
        ("sha-256 D4:", "sha-256 ", short),
        ("sha-256 D4:", "sha-256 D4:D4:", short),
        ("sha-256 D4:", "sha-256 +4:", short),
        ("sha-256 D4:", "sha-256 D4", short),
        ("sha-256 D4:", "sha-256 ä:", short),
        ("setup:actpass", "setup:holdconn", role),
        ("setup:actpass", "setup:", role),
    ]);
}

#[test]
fn once_is_once() {
    for (line, name) in [
        ("a=ice-ufrag:IlLnnnZqoIaUBYA0", "ice-ufrag"),
        ("a=ice-pwd:UD7PODZuCdOdbrQFns3SA7", "ice-pwd"),
        ("a=setup:actpass", "setup"),
        ("a=mid:Sab", "mid"),
        ("a=rtpmap:102 H264/90000", "rtpmap"),
        ("a=fmtp:103 apt=102", "fmtp"),
        ("a=sctp-port:5000", "sctp-port"),
        ("a=max-message-size:262144", "max-message-size"),
    ] {
        let refusal = refusal(line, &format!("{line}\n{line}"));
        assert!(refusal.ends_with(&format!(": a={name} comes twice")), "{refusal}");
    }
    let refusal = refusal("a=recvonly", "a=recvonly\na=sendonly");
    assert_eq!(refusal, "line 19: a=sendrecv or another direction comes twice");
}

#[test]
fn media_lines_have_their_form() {
    let form = "line 8 is not of the form m=<media> <port> <proto> <fmt>";
    let range = "line 8 has a payload type outside 0 to 63 and 96 to 127";
    let video = "video 9 UDP/TLS/RTP/SAVPF 102 103";
    let long = format!("{video}{}", " 1".repeat(300));
    assert_refused(&[
        (video, "video", form),
        (video, "video 9 UDP/TLS/RTP/SAVPF", form),
        (video, "video 9  102", form),
        (video, "video 9 UDP/TLS/RTP/SAVPF 102  103", form),
        (video, "video 9 UDP/TLS/RTP/SAVPF 102 ", form),
        (video, "video 9/2 UDP/TLS/RTP/SAVPF 102 103", form),
        (video, "video 65536 UDP/TLS/RTP/SAVPF 102 103", form),
        (video, "vi(eo 9 UDP/TLS/RTP/SAVPF 102 103", form),
        (video, "video 9 UDP/TLS/RTP/SAVPF 102 128", range),
        (video, "video 9 UDP/TLS/RTP/SAVPF 102 72", range),
        (video, "video 9 UDP/TLS/RTP/SAVPF 102 x", "line 8 has no payload types"),
        (video, "video 9 UDP/TLS/RTP/SAVPF 102 102", "line 8 has a payload type twice"),
        (video, &long, "line 8 has more than 512 bytes"),
        ("a=mid:Sab", "a=mid:", "line 16: a=mid is not a token of at most 32 bytes"),
        ("Sab", "S@b", "line 16: a=mid is not a token of at most 32 bytes"),
        ("Sab", &"x".repeat(33), "line 16: a=mid is not a token of at most 32 bytes"),
        ("o=str0m-0.25.0 ", "o=", "line 2 has no session id and version of 64 bits"),
        (" 2 IN", " +2 IN", "line 2 has no session id and version of 64 bits"),
    ]);
}

#[test]
fn formats_have_their_form() {
    let map = "line 21: a=rtpmap is not of the form <payload type> <name>/<clock rate>";
    let mode = "line 27: a=fmtp has no packetization-mode from 0 to 2";
    let profile = "line 27: a=fmtp has no profile-level-id of 3 bytes in hex";
    assert_refused(&[
        ("102 H264/90000", "102 H264", map),
        ("102 H264/90000", "102 H264/0", map),
        ("102 H264/90000", "102 H264/-1", map),
        ("102 H264/90000", "102 H264/90000/0", map),
        ("102 H264/90000", "102 H264/90000/2/3", map),
        ("102 H264/90000", "102 /90000", map),
        ("packetization-mode=1", "packetization-mode=3", mode),
        ("packetization-mode=1", "packetization-mode=", mode),
        ("profile-level-id=42e01f", "profile-level-id=42e01", profile),
        ("profile-level-id=42e01f", "profile-level-id=42e01f0", profile),
        ("profile-level-id=42e01f", "profile-level-id=42+01f", profile),
        ("profile-level-id=42e01f", "profile-level-id=4äe01", profile),
    ]);
}

#[test]
fn extensions_and_names_have_their_form() {
    let range = "line 17: a=extmap is numbered outside 1 to 14 and 16 to 255";
    let mid = "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid";
    let with = |line: &str| format!("{mid}\n{line}");
    let many: String = (16..48).map(|id| format!("\na=extmap:{id} urn:x")).collect();
    assert_refused(&[
        ("extmap:1 ", "extmap:0 ", range),
        ("extmap:1 ", "extmap:15 ", range),
        ("extmap:1 ", "extmap:256 ", range),
        ("extmap:1 ", "extmap:x ", "line 17: a=extmap has no number"),
        ("extmap:1 ", "extmap:1/x ", "line 17: a=extmap has no such direction"),
        (mid, "a=extmap:1", "line 17: a=extmap has no URI"),
        (mid, &with("a=extmap:1 urn:x"), "line 18: a=extmap comes twice"),
        (mid, &with(&mid.replace(":1", ":2")), "line 18: a=extmap comes twice"),
        (mid, &format!("{mid}{many}"), "line 49: more than 32 header extensions"),
        ("a=msid:", "a=msid: ", "line 19: a=msid is not one or two names of at most 64 bytes"),
        ("a=msid:", "a=msid:a b ", "line 19: a=msid is not one or two names of at most 64 bytes"),
    ]);
}

#[test]
fn sources_have_their_form_and_a_bound() {
    let twice = "line 34: a=ssrc-group has an SSRC twice";
    let group = "a=ssrc-group:FID 2322352535 1170060730";
    let sources = |count: u32| {
        let lines = (0..count).map(|ssrc| format!("a=ssrc:{ssrc} cname:x\n"));
        lines.collect::<String>() + group
    };
    assert_refused(&[
        (
            "a=ssrc:2322352535 cname",
            "a=ssrc:4294967296 cname",
            "line 30: a=ssrc has no number of 32 bits",
        ),
        (group, "a=ssrc-group:FID 1 1", twice),
        (
            group,
            &format!("a=ssrc-group:FID 1 2\n{}", "a=ssrc-group:FID 2 3"),
            "line 35: a=ssrc-group has an SSRC twice",
        ),
        (group, &format!("{group}\n{group}"), "line 35: a=ssrc-group has an SSRC twice"),
        (
            group,
            "a=ssrc-group:FID 1 2\na=ssrc-group:FEC-FR 1 2",
            "line 35: a=ssrc-group has an SSRC twice",
        ),
        (
            group,
            "a=ssrc-group:FID 1",
            "line 34: a=ssrc-group pairs other than two numbers of 32 bits",
        ),
        (
            group,
            "a=ssrc-group:FID 1 2 3",
            "line 34: a=ssrc-group pairs other than two numbers of 32 bits",
        ),
        (group, &sources(16), "line 8: more than 16 sources"),
        (group, &sources(47), "line 80: more than 16 sources"),
    ]);
    assert!(Description::parse(&edited(NATIVE, group, &sources(15))).is_ok());
    let long = format!("cname:{}", "x".repeat(65));
    let refusal = refusal("cname:7b5sZEHLrdbNAphMrDxA", &long);
    assert_eq!(refusal, "line 30: a=ssrc has a cname of more than 64 bytes");
}

#[test]
fn data_channels_have_their_form() {
    let init = "a=sctp-init:AQAAGq78JXMAEAAA/////9jA0yaACAAGgsA=";
    let wrong = "line 45: a=sctp-init is not 1 to 2048 bytes in base64";
    let long = format!("a=sctp-init:{}", "AAAA".repeat(683));
    let format = "line 35 has another format than webrtc-datachannel";
    let port = "line 43: a=sctp-port is not a port from 1 to 65535";
    assert_refused(&[
        ("webrtc-datachannel", "5000", format),
        ("a=sctp-port:5000", "a=sctp-port:0", port),
        ("a=sctp-port:5000", "a=sctp-port:65536", port),
        ("size:262144", "size:x", "line 44: a=max-message-size is not a number of 64 bits"),
        (init, "a=sctp-init:", wrong),
        (init, "a=sctp-init:A", wrong),
        (init, &long, wrong),
    ]);
}

#[test]
fn rejecting_everything_is_describing_nothing() {
    let text = edited(&edited(NATIVE, "video 9", "video 0"), "application 9", "application 0");
    assert_eq!(Description::parse(&text), Err(ParseError::NoMedia));
    let (session, _) = NATIVE.split_at(NATIVE.find("m=").unwrap());
    let session = edited(session, "a=group", "a=x");
    assert_eq!(Description::parse(&session), Err(ParseError::NoMedia));
}

#[test]
fn refusals_hold_no_password() {
    let password = "UD7PODZuCdOdbrQFns3SA7";
    for from in NATIVE.lines() {
        for to in
            [String::new(), format!("{from}\n{from}"), format!("{from}\u{1}"), from[2..].into()]
        {
            if let Err(error) = Description::parse(&edited(NATIVE, from, &to)) {
                assert!(!format!("{error} {error:?}").contains(password), "{error}");
            }
        }
    }
}
