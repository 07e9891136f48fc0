//! Offers and answers of our own.

use super::*;

fn answered(offer: &str) -> Description {
    let offer = parse(offer);
    let mut ssrc = 0;
    let answer = answer(&offer, &local(), |_| {
        ssrc += 10;
        Some(Take { send: sender(ssrc), is_receiving: true })
    });
    let answer = answer.unwrap();
    assert_eq!(check_answer(&offer, &answer), Ok(()));
    assert_eq!(parse(&answer.to_string()), answer);
    answer
}

fn media(description: &Description, index: usize) -> &Media {
    description.lines[index].media().unwrap()
}

#[test]
fn an_answer_mirrors_its_offer() {
    for text in ALL.into_iter().filter(|text| parse(text).setup == Setup::ActPass) {
        let (offer, answer) = (parse(text), answered(text));
        let shape = |description: &Description| -> Vec<_> {
            description.lines.iter().map(|line| (line.mid.clone(), line.kind())).collect()
        };
        assert_eq!(shape(&offer), shape(&answer));
        assert_eq!(answer.setup, Setup::Passive);
    }
}

#[test]
fn the_page_gets_video_under_its_own_numbers() {
    let answer = answered(CHROMIUM);
    let video = media(&answer, 0);
    assert_eq!(video.direction, Direction::SendOnly);
    let expected = Codec {
        payload_type: 108,
        format: Format::H264(H264::CONSTRAINED_BASELINE),
        clock_rate: 90_000,
        channels: 1,
        rtx: Some(109),
        feedback: Feedback { nack: true, pli: true, fir: true, transport_cc: false },
    };
    assert_eq!(video.codecs, [expected]);
    let ids: Vec<_> = video.extensions.iter().map(|e| (e.id, e.uri.clone())).collect();
    let known =
        [(4, ExtensionUri::TransportCc), (5, ExtensionUri::PlayoutDelay), (9, ExtensionUri::Mid)];
    assert_eq!(ids, known);
    assert_eq!(
        video.sources,
        [Source { ssrc: 10, rtx: Some(11), fec: None, cname: "host".into() }]
    );
    let text = answer.to_string();
    for line in ["a=ssrc-group:FID 10 11", "a=ssrc:10 cname:host", "a=msid:screen 0"] {
        assert!(text.contains(&format!("{line}\r\n")), "{text}");
    }
    assert!(!text.contains("sctp-init"));
}

#[test]
fn a_line_that_is_sent_has_flexfec_where_the_offer_has_it() {
    let answer = answered(CHROMIUM_FULL);
    let video = media(&answer, 0);
    let names: Vec<_> = video.codecs.iter().map(|codec| codec.format.name()).collect();
    assert_eq!(names, ["H264", "flexfec-03"]);
    assert_eq!(video.flexfec().map(|codec| codec.payload_type), Some(49));
    assert_eq!((video.sources[0].ssrc, video.sources[0].fec), (10, Some(12)));
    let text = answer.to_string();
    for line in
        ["a=ssrc-group:FEC-FR 10 12", "a=ssrc:12 cname:host", "a=fmtp:49 repair-window=10000000"]
    {
        assert!(text.contains(&format!("{line}\r\n")), "{text}");
    }
    // One that is only received has none.
    let offer = parse(CHROMIUM_FULL);
    let receive = |_: &Line| Some(Take { send: None, is_receiving: true });
    let received = super::answer(&offer, &local(), receive).unwrap();
    assert!(received.lines.iter().filter_map(Line::media).all(|media| media.flexfec().is_none()));
}

#[test]
fn each_line_is_answered_for_itself() {
    let offer = parse(CHROMIUM_FULL);
    let mut asked = Vec::new();
    let answer = answer(&offer, &local(), |line| {
        asked.push(line.mid.clone());
        let send = if line.mid == "0" { sender(1) } else { None };
        (line.mid != "1").then_some(Take { send, is_receiving: line.kind() == Kind::Audio })
    });
    let answer = answer.unwrap();
    assert_eq!(asked, ["0", "1", "2", "3"]);
    let rejected: Vec<_> = answer.lines.iter().map(|line| line.is_rejected).collect();
    assert_eq!(rejected, [false, true, false, false]);
    assert_eq!(media(&answer, 0).direction, Direction::SendOnly);
    assert_eq!(media(&answer, 2).direction, Direction::RecvOnly);
    assert!(media(&answer, 2).sources.is_empty());
    let text = answer.to_string();
    assert!(text.contains("a=group:BUNDLE 0 2 3\r\n"));
    assert!(text.contains("m=video 0 UDP/TLS/RTP/SAVPF 96\r\n"));
    assert_eq!(check_answer(&offer, &parse(&text)), Ok(()));
}

#[test]
fn audio_goes_both_ways_where_both_want_it() {
    let answer = answered(CHROMIUM_FULL);
    let audio = media(&answer, 2);
    assert_eq!(audio.direction, Direction::SendRecv);
    assert_eq!(audio.codecs[0].format, Format::Opus(local().opus));
    // Opus is not retransmitted, whatever the sender would like.
    assert_eq!(audio.sources, [Source { ssrc: 30, rtx: None, fec: None, cname: "host".into() }]);
}

#[test]
fn video_without_a_known_format_is_rejected_in_its_place() {
    let answer = answered(FIREFOX_FULL);
    let rejected: Vec<_> = answer.lines.iter().map(|line| line.is_rejected).collect();
    assert_eq!(rejected, [true, true, false, false]);
    // Candidates stand on the first line that is used.
    let text = answer.to_string();
    assert!(text.find("a=candidate").unwrap() > text.find("m=audio").unwrap());
}

#[test]
fn what_the_offerer_receives_only_the_answerer_sends_only() {
    let known = "a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid";
    let text = edited(CHROMIUM, known, &known.replace(":9", ":9/recvonly"));
    let answer = answered(&text).to_string();
    assert!(answer.contains("a=extmap:9/sendonly urn:ietf:params:rtp-hdrext:sdes:mid\r\n"));
}

#[test]
fn extensions_that_do_not_fit_one_byte_headers_are_not_taken() {
    let text = edited(CHROMIUM, "a=extmap:9 ", "a=extmap:16 ");
    assert_eq!(media(&answered(&text), 0).extension(&ExtensionUri::Mid), None);
}

#[test]
fn the_usual_level_of_constrained_baseline_is_preferred() {
    let h264 =
        |profile: &str, mode: u8| format!("packetization-mode={mode};profile-level-id={profile}");
    let chosen = |formats: [(&str, u8); 3]| {
        let mut text = edited(CHROMIUM_FULL, "profile-level-id=42e01f", "profile-level-id=64001f");
        for (payload_type, (profile, mode)) in [104, 102, 116].into_iter().zip(formats) {
            let fmtp = text.lines().find(|l| l.starts_with(&format!("a=fmtp:{payload_type} ")));
            let fmtp = fmtp.unwrap().to_owned();
            let new = format!("a=fmtp:{payload_type} {}", h264(profile, mode));
            text = edited(&text, &fmtp, &new);
        }
        parse(&text).lines[0].media()?.constrained_baseline().map(|codec| codec.payload_type)
    };
    assert_eq!(chosen([("42e01f", 1), ("42e034", 1), ("42c01f", 1)]), Some(104));
    assert_eq!(chosen([("42e01f", 0), ("42e034", 1), ("42c01f", 1)]), Some(102));
    assert_eq!(chosen([("42e01f", 0), ("42001f", 1), ("42c01f", 1)]), Some(116));
    assert_eq!(chosen([("42e01f", 0), ("42001f", 1), ("4d001f", 1)]), None);
}

#[test]
fn an_init_chunk_answers_an_init_chunk() {
    let local = Local { sctp_init: Some(vec![7; 30]), ..local() };
    let init = |text: &str| {
        let answer = answer(&parse(text), &local, |_| Some(Take::default())).unwrap();
        answer.lines[1].application().unwrap().sctp_init.clone()
    };
    assert_eq!(init(NATIVE), Some(vec![7; 30]));
    assert_eq!(init(CHROMIUM), None);
}

#[test]
fn other_media_are_rejected_as_they_came() {
    let other = "m=text 9 RTP/AVP 98 99\r\na=mid:t\r\nm=application";
    let text = edited(NATIVE, "m=application", other).replace("BUNDLE", "BUNDLE t");
    let answer = answered(&text);
    assert!(answer.lines[1].is_rejected);
    assert!(answer.to_string().contains("m=text 0 RTP/AVP 98\r\nc=IN IP4 0.0.0.0\r\na=mid:t\r\n"));
    // The line's kind is not enough: the protocol must be one that is spoken.
    let text = edited(NATIVE, "UDP/TLS/RTP/SAVPF", "RTP/AVP");
    assert!(answered(&text).lines[0].is_rejected);
}

#[test]
fn an_offer_that_leaves_nothing_is_not_answered() {
    let take = |_: &Line| Some(Take::default());
    let text = edited(NATIVE, "setup:actpass", "setup:passive");
    assert_eq!(answer(&parse(&text), &local(), take), Err(AnswerError::Setup));
    assert_eq!(answer(&parse(NATIVE), &local(), |_| None), Err(AnswerError::NothingTaken));
}

#[test]
fn our_offer_has_what_was_wanted() {
    let offer = our_offer();
    let text = offer.to_string();
    assert_eq!(parse(&text), offer);
    assert!(text.contains("a=group:BUNDLE 0 1 v2 a mic\r\n"));
    assert!(text.contains("m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\n"));
    assert!(text.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"));
    assert_eq!(offer.setup, Setup::ActPass);
    assert_eq!(media(&offer, 2).direction, Direction::RecvOnly);
    assert_eq!(media(&offer, 4).direction, Direction::SendRecv);
    assert!(!media(&offer, 4).codecs[0].feedback.pli);
    assert_eq!(media(&offer, 2).extension(&ExtensionUri::AudioLevel), None);
    assert_eq!(media(&offer, 3).extension(&ExtensionUri::AudioLevel), Some(4));
    assert_eq!(media(&offer, 3).extension(&ExtensionUri::PlayoutDelay), None);
}

#[test]
fn both_ends_of_our_own_agree() {
    let local = Local { sctp_init: Some(vec![7; 30]), ..local() };
    let offer = offer(&local, &[Want::video("0"), Want::data("1")]);
    let answer = answered(&offer.to_string());
    assert_eq!(media(&answer, 0).codecs[0].rtx, Some(103));
    assert_eq!(check_answer(&offer, &answer), Ok(()));
    let swapped = Description { lines: answer.lines.iter().rev().cloned().collect(), ..answer };
    let what = "it is of another kind";
    assert_eq!(check_answer(&offer, &swapped), Err(MismatchError::Line { index: 0, what }));
}

#[test]
fn surplus_candidates_are_not_described() {
    let local = Local { candidates: vec!["candidate:1".into(); MAX_CANDIDATES + 1], ..local() };
    assert_eq!(offer(&local, &[Want::data("0")]).candidates.len(), MAX_CANDIDATES);
}

#[test]
fn answers_of_browsers_fit_our_offer() {
    assert_eq!(check_answer(&our_offer(), &parse(CHROMIUM_ANSWER)), Ok(()));
    let firefox = parse(FIREFOX_ANSWER);
    assert_eq!(check_answer(&our_offer(), &firefox), Ok(()));
    let rejected: Vec<_> = firefox.lines.iter().map(|line| line.is_rejected).collect();
    assert_eq!(rejected, [true, false, true, false, false]);
    assert_eq!(firefox.candidates.len(), 0);
}

#[test]
fn an_answer_has_nothing_that_was_not_offered() {
    let offer = our_offer();
    let line = |index, what| Err(MismatchError::Line { index, what });
    let check =
        |from: &str, to: &str| check_answer(&offer, &parse(&edited(CHROMIUM_ANSWER, from, to)));
    assert_eq!(check("setup:active", "setup:actpass"), Err(MismatchError::Setup));
    assert_eq!(check("a=sendonly", "a=sendrecv"), line(0, "its direction was not offered"));
    assert_eq!(check("103", "104"), line(0, "a payload type was offered as something else"));
    assert_eq!(check("102", "104"), line(0, "a payload type was not offered"));
    let what = "a payload type was offered as something else";
    assert_eq!(check("42e01f", "64001f"), line(0, what));
    assert_eq!(check("H264/90000", "VP8/90000"), line(0, what));
    assert_eq!(check("extmap:1 ", "extmap:5 "), line(0, "a header extension was not offered"));
    let what = "its a=sctp-init was not asked for";
    assert_eq!(check("a=sctp-port:5000", "a=sctp-port:5000\na=sctp-init:AAAA"), line(1, what));
    let mut fewer = parse(CHROMIUM_ANSWER);
    fewer.lines.pop();
    assert_eq!(check_answer(&offer, &fewer), Err(MismatchError::Lines));
    let mut refused = offer.clone();
    refused.lines[0].is_rejected = true;
    let answer = parse(CHROMIUM_ANSWER);
    assert_eq!(check_answer(&refused, &answer), line(0, "it was not offered"));
    let other_mid = edited(&edited(CHROMIUM_ANSWER, "mid:v2", "mid:w2"), "1 v2", "1 w2");
    assert_eq!(check_answer(&offer, &parse(&other_mid)), line(2, "it has another mid"));
}
