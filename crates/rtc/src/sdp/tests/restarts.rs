//! What may follow.

use super::*;

fn restarted(from: &str, to: &str) -> Result<bool, RestartError> {
    check_restart(&parse(NATIVE), &parse(&edited(NATIVE, from, to)))
}

#[test]
fn a_restart_has_new_credentials_and_candidates() {
    let next = edited(NATIVE, "IlLnnnZqoIaUBYA0", "abcd");
    let next = edited(&next, "UD7PODZuCdOdbrQFns3SA7", "0123456789abcdef012345");
    let next = edited(&next, "10.0.0.1 5000", "10.0.0.2 5001");
    assert_eq!(check_restart(&parse(NATIVE), &parse(&next)), Ok(true));
    assert_eq!(restarted("10.0.0.1 5000", "10.0.0.2 5001"), Ok(false));
    assert_eq!(restarted("IlLnnnZqoIaUBYA0", "abcd"), Err(RestartError::Credentials));
}

#[test]
fn certificate_and_role_stay() {
    assert_eq!(restarted("sha-256 D4", "sha-256 D5"), Err(RestartError::Fingerprint));
    let passive = edited(NATIVE, "setup:actpass", "setup:passive");
    let active = edited(NATIVE, "setup:actpass", "setup:active");
    assert_eq!(check_restart(&parse(&passive), &parse(&active)), Err(RestartError::Setup));
    assert_eq!(restarted("setup:actpass", "setup:active"), Ok(false));
}

#[test]
fn lines_stay_what_they_are() {
    let line = |index, what| Err(RestartError::Line { index, what });
    assert_eq!(restarted("Sab", "Sac"), line(0, "its mid"));
    assert_eq!(restarted("sctp-port:5000", "sctp-port:5001"), line(1, "its SCTP port"));
    assert_eq!(restarted("m=video", "m=audio"), line(0, "its kind"));
    assert_eq!(restarted("102", "104"), line(0, "none of its formats is left"));
    assert_eq!(restarted("103", "104"), line(0, "a payload type's meaning"));
    assert_eq!(restarted("H264/90000", "VP8/90000"), line(0, "a payload type's meaning"));
    assert_eq!(restarted("sdes:mid", "sdes:x"), line(0, "a header extension's number"));
    assert_eq!(restarted("a=recvonly", "a=sendrecv"), Ok(false));
    let mut fewer = parse(NATIVE);
    fewer.lines.pop();
    assert_eq!(check_restart(&parse(NATIVE), &fewer), Err(RestartError::Lines));
}

#[test]
fn lines_may_be_added_and_dropped() {
    let previous = offer(&local(), &[Want::video("0"), Want::data("1")]);
    let wants = [Want::video("0"), Want::data("1"), Want::video("2"), Want::audio("3")];
    let mut next = offer(&Local { origin: local().origin.next(), ..local() }, &wants);
    assert_eq!(check_restart(&previous, &next), Ok(false));
    next.lines[0].is_rejected = true;
    assert_eq!(check_restart(&previous, &parse(&next.to_string())), Ok(false));
    // The place of a rejected line is free for another.
    let wants = [Want::audio("4"), Want::data("1"), Want::video("2"), Want::audio("3")];
    assert_eq!(check_restart(&next, &offer(&local(), &wants)), Ok(false));
    assert_eq!(next.origin.version, previous.origin.version + 1);
}

#[test]
fn chromium_goes_on_after_an_answer() {
    // Its first line is stopped in the later offer; here both are of one session.
    let previous = parse(CHROMIUM);
    let later = parse(CHROMIUM_MORE);
    let next = Description { fingerprint: previous.fingerprint, ..later };
    assert_eq!(check_restart(&previous, &next), Ok(true));
}
