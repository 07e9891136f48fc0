use std::time::Duration;

use proptest::prelude::*;

use super::wire::{Chunk, Chunks};
use super::*;
use crate::channels::{Channels, Config, Event};
use crate::testing::{
    BEGIN, END, FIRST_TSN, Raw, UNORDERED, WHOLE, chunk, config, data, forward, heartbeat, packet,
    reset, sack, token,
};

fn raw() -> Raw {
    let mut raw = Raw::new(config());
    raw.events();
    raw
}

fn whole(ahead: u32, stream: u16, ssn: u16) -> Vec<u8> {
    data(FIRST_TSN + ahead, stream, ssn, 53, WHOLE, b"x")
}

fn loose(ahead: u32) -> Vec<u8> {
    data(FIRST_TSN + ahead, 1, 0, 53, WHOLE | UNORDERED, b"x")
}

#[test]
fn data_on_a_stream_that_is_not_open_ends_the_link() {
    for (ppid, flags) in [(53, WHOLE), (50, WHOLE), (53, UNORDERED | WHOLE), (53, BEGIN)] {
        let mut raw = raw();
        let result = raw.send(&[data(FIRST_TSN, 3, 0, ppid, flags, b"x")]);
        assert_eq!(result, Err(Violation::UnknownStream(3)), "{ppid} {flags}");
    }
}

#[test]
fn dcep_opens_only_the_peers_ids_and_only_as_many_as_allowed() {
    let open = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let config = Config { peer_channels: 2, ..config() };
    let offer = |ahead: u32, stream| data(FIRST_TSN + ahead, stream, 0, 50, WHOLE, &open);
    let mut raw = Raw::new(config.clone());
    assert_eq!(raw.send(&[offer(0, 4)]), Err(Violation::UnknownStream(4)), "even ids are ours");
    let mut raw = Raw::new(config.clone());
    assert_eq!(raw.send(&[offer(0, 3)]), Ok(()));
    assert_eq!(raw.send(&[offer(1, 5)]), Ok(()));
    assert_eq!(raw.send(&[offer(2, 7)]), Err(Violation::UnknownStream(7)));
    let mut raw = Raw::new(config.clone());
    let three = [offer(1, 3), offer(2, 5), offer(3, 7)];
    assert_eq!(raw.send(&three), Err(Violation::UnknownStream(7)));
    // Something else than OPEN comes first, in order or behind a gap.
    let mut raw = Raw::new(config.clone());
    assert_eq!(raw.send(&[whole(0, 3, 0)]), Err(Violation::UnknownStream(3)));
    let mut raw = Raw::new(config);
    assert_eq!(raw.send(&[whole(1, 3, 0)]), Err(Violation::UnknownStream(3)));
    let mut raw = Raw::new(Config { peer_channels: 2, ..super::tests::config() });
    assert_eq!(raw.send(&[data(FIRST_TSN + 1, 3, 0, 53, BEGIN, b"x")]), Ok(()));
    assert_eq!(raw.send(&[whole(0, 0, 0)]), Err(Violation::UnknownStream(3)));
}

#[test]
fn a_duplicate_is_judged_by_nothing() {
    let mut raw = raw();
    raw.send(&[whole(0, 0, 0), loose(3)]).unwrap();
    // What it says now does not matter: the association looks at its TSN only.
    for ahead in [0, 3] {
        assert_eq!(raw.send(&[data(FIRST_TSN + ahead, 99, 9, 53, BEGIN, b"y")]), Ok(()));
    }
    assert_eq!(raw.events().len(), 2);
    assert_eq!(raw.end.dropped(), Dropped::default());
}

#[test]
fn what_rfc_8260_adds_was_not_negotiated() {
    for kind in [64, 194] {
        let result = raw().send(&[chunk(kind, 0, &[0; 16])]);
        assert_eq!(result, Err(Violation::NotNegotiated(kind)));
    }
}

#[test]
fn one_short_fragment_is_legal_and_hundreds_are_not() {
    let mut raw = raw();
    raw.send(&[data(FIRST_TSN, 0, 0, 53, BEGIN, b"0123456789")]).unwrap();
    raw.send(&[data(FIRST_TSN + 1, 0, 0, 53, END, &[0; 1000])]).unwrap();
    assert_eq!(raw.events().len(), 1);
    // In order.
    for ahead in 2.. {
        let flags = if ahead == 2 { BEGIN } else { 0 };
        if let Err(violation) = raw.send(&[data(FIRST_TSN + ahead, 0, 1, 53, flags, b"x")]) {
            assert_eq!((violation, ahead), (Violation::TooManyFragments, 66));
            break;
        }
    }
    // Above a gap, and on whichever streams.
    for step in [1, 3] {
        let mut raw = super::tests::raw();
        let mut sent = 0;
        let end = (1..).map(|at| at * step).find_map(|ahead| {
            sent += 1;
            let flags = if ahead % 2 == 0 { UNORDERED } else { 0 };
            raw.send(&[data(FIRST_TSN + ahead, (ahead % 2) as u16, 0, 53, flags, b"x")]).err()
        });
        assert_eq!((end, sent), (Some(Violation::TooManyFragments), 65));
    }
}

#[test]
fn fragments_as_dcsctp_makes_them_pass() {
    // Each packet ends with a fragment of ten bytes and begins with its rest, above a gap.
    let mut raw = raw();
    let mut ahead = 1;
    for message in 1..500u16 {
        let first = data(FIRST_TSN + ahead, 0, message, 53, BEGIN, &[0; 10]);
        raw.send(&[first]).unwrap();
        raw.send(&[data(FIRST_TSN + ahead + 1, 0, message, 53, END, &[0; 1160])]).unwrap();
        ahead += 2;
    }
    assert_eq!(raw.send(&[whole(0, 0, 0)]), Ok(()));
    assert_eq!(raw.events().len(), 500);
    assert_eq!(raw.end.dropped(), Dropped::default());
}

#[test]
fn a_message_may_be_as_long_as_configured_and_not_longer() {
    for (last, expected) in [(1024, Ok(())), (1025, Err(Violation::MessageTooLarge(0)))] {
        let mut raw = raw();
        for at in 0..255 {
            let flags = if at == 0 { BEGIN } else { 0 };
            raw.send(&[data(FIRST_TSN + at, 0, 0, 53, flags, &[0; 1024])]).unwrap();
        }
        let end = data(FIRST_TSN + 255, 0, 0, 53, END, &vec![0; last]);
        assert_eq!(raw.send(&[end]), expected);
        assert_eq!(raw.events().len(), usize::from(expected.is_ok()));
    }
}

#[test]
fn fragments_and_sequence_numbers_that_make_no_message_end_the_link() {
    let broken =
        |chunks: &[Vec<u8>]| assert_eq!(raw().send(chunks), Err(Violation::BrokenMessage(0)));
    let part = |ahead: u32, ssn, flags| data(FIRST_TSN + ahead, 0, ssn, 53, flags, b"x");
    broken(&[part(0, 0, 0)]);
    broken(&[part(0, 0, END)]);
    broken(&[part(0, 0, BEGIN), part(1, 0, BEGIN)]);
    broken(&[part(0, 0, BEGIN), part(1, 1, END)]);
    broken(&[part(0, 0, BEGIN), part(1, 0, END | UNORDERED)]);
    broken(&[part(0, 1, WHOLE)]);
    broken(&[part(0, 0, WHOLE), part(1, 0, WHOLE)]);
    // The sequence number lies further ahead than there are messages.
    broken(&[part(5, 6, WHOLE)]);
    broken(&[part(5, 40_000, WHOLE)]);
    // A message that another one interrupts.
    let mut raw = raw();
    raw.send(&[part(2, 0, END)]).unwrap();
    raw.send(&[part(0, 0, BEGIN)]).unwrap();
    assert_eq!(raw.send(&[loose(1)]), Err(Violation::BrokenMessage(1)));
}

#[test]
fn unknown_payload_types_end_the_link() {
    for kind in [0, 52, 54, 306] {
        let result = raw().send(&[data(FIRST_TSN, 0, 0, kind, WHOLE, b"x")]);
        assert_eq!(result, Err(Violation::PayloadType(kind)));
    }
}

#[test]
fn what_the_association_would_read_differently_is_malformed() {
    let smuggled = whole(0, 77, 0);
    let mut in_sack = sack(1, 1, &[]);
    in_sack.extend_from_slice(&smuggled);
    let len = in_sack.len() as u16;
    in_sack[2..4].copy_from_slice(&len.to_be_bytes());
    let mut in_heartbeat = heartbeat(4);
    in_heartbeat.extend_from_slice(&smuggled);
    let len = in_heartbeat.len() as u16;
    in_heartbeat[2..4].copy_from_slice(&len.to_be_bytes());
    let in_cookie_ack = chunk(11, 0, &smuggled);
    let in_shutdown = chunk(7, 0, &[0; 24]);
    let reset_all = reset(FIRST_TSN, FIRST_TSN, &[]);
    let unordered_gaps = sack(1, 1, &[(5, 6), (2, 3)]);
    let overlapping_gaps = sack(1, 1, &[(2, 6), (4, 8)]);
    let unknown = chunk(0xc1, 0, &[]);
    let bad = [
        in_sack,
        in_heartbeat,
        in_cookie_ack,
        in_shutdown,
        reset_all,
        unordered_gaps,
        overlapping_gaps,
        unknown,
    ];
    for (at, chunk) in bad.into_iter().enumerate() {
        let mut raw = raw();
        assert_eq!(raw.send(std::slice::from_ref(&chunk)), Ok(()), "{at}");
        assert_eq!(raw.end.dropped().malformed, 1, "{at}");
        assert!(raw.answers().is_empty(), "{at}");
        assert_eq!(raw.send(&[whole(0, 0, 0), chunk]), Err(Violation::Malformed), "{at}");
    }
}

#[test]
fn a_packet_holds_one_control_chunk_of_a_kind_and_is_not_too_long() {
    let mut raw = raw();
    raw.send(&[heartbeat(4), heartbeat(4)]).unwrap();
    assert!(raw.answers().is_empty());
    raw.send(&[heartbeat(4)]).unwrap();
    assert_eq!(raw.answers().len(), 1);
    assert_eq!(raw.send(&[heartbeat(2100)]), Err(Violation::PacketTooLarge(2120)));
    assert_eq!(raw.send(&[data(FIRST_TSN, 0, 0, 53, WHOLE, b"")]), Ok(()), "ended");
}

#[test]
fn a_data_chunk_without_data_is_malformed() {
    assert_eq!(raw().send(&[data(FIRST_TSN, 0, 0, 53, WHOLE, b"")]), Err(Violation::Malformed));
}

#[test]
fn chunks_far_above_a_gap_wait_until_it_is_filled() {
    let mut raw = raw();
    raw.send(&[loose(TSN_WINDOW)]).unwrap();
    assert_eq!(raw.end.dropped().held_back, 1);
    raw.send(&[loose(TSN_WINDOW - 1)]).unwrap();
    assert_eq!((raw.end.dropped().held_back, raw.events().len()), (1, 1));
    // Whole messages are bounded by their number, runs of them by what a SACK can tell.
    for ahead in 1..3000 {
        raw.send(&[loose(ahead)]).unwrap();
    }
    assert_eq!(raw.events().len(), MAX_WAITING_MESSAGES - 1);
    raw.send(&[loose(0)]).unwrap();
    raw.send(&[loose(MAX_WAITING_MESSAGES as u32 + 5)]).unwrap();
    assert_eq!(raw.events().len(), 2, "there is room again");
    let mut raw = super::tests::raw();
    for at in 1..1000 {
        raw.send(&[loose(2 * at)]).unwrap();
    }
    assert_eq!(raw.events().len(), MAX_GAPS);
    let longest = raw.answers().iter().map(|answer| answer.len()).max();
    assert_eq!(longest, Some(28 + 4 * MAX_GAPS));
}

#[test]
fn bytes_above_a_gap_never_exhaust_the_receive_buffer() {
    let mut raw = raw();
    for at in 1..3000 {
        raw.send(&[data(FIRST_TSN + at, 0, at as u16, 53, WHOLE, &[0; 1100])]).unwrap();
    }
    raw.send(&[data(FIRST_TSN, 0, 0, 53, WHOLE, b"x")]).unwrap();
    let count = raw.events().len();
    assert!((1000..=MAX_WAITING_MESSAGES + 1).contains(&count), "{count}");
    assert!(raw.end.is_established());
}

#[test]
fn forward_tsn_skips_what_was_abandoned_and_names_its_streams() {
    // An unordered message of which one fragment came, and an ordered one that is named.
    let mut raw = raw();
    raw.send(&[data(FIRST_TSN, 1, 0, 53, UNORDERED | BEGIN, b"x")]).unwrap();
    raw.send(&[forward(FIRST_TSN + 1, &[])]).unwrap();
    raw.send(&[data(FIRST_TSN + 2, 0, 0, 53, BEGIN, b"x")]).unwrap();
    raw.send(&[whole(4, 0, 1)]).unwrap();
    raw.send(&[forward(FIRST_TSN + 3, &[(0, 0)])]).unwrap();
    assert_eq!(raw.events().len(), 1);
    raw.send(&[whole(5, 0, 2)]).unwrap();
    assert_eq!(raw.events().len(), 1);
    // Not named, it would stay in the association.
    let mut raw = super::tests::raw();
    raw.send(&[data(FIRST_TSN, 0, 0, 53, BEGIN, b"x")]).unwrap();
    assert_eq!(raw.send(&[forward(FIRST_TSN + 1, &[])]), Err(Violation::BrokenMessage(0)));
    let mut raw = super::tests::raw();
    assert_eq!(raw.send(&[forward(FIRST_TSN + 1, &[(9, 0)])]), Err(Violation::UnknownStream(9)));
    // An old one changes nothing.
    let mut raw = super::tests::raw();
    assert_eq!(raw.send(&[forward(FIRST_TSN - 1, &[(9, 0)])]), Ok(()));
}

#[test]
fn a_forward_tsn_may_jump_far_and_data_follows() {
    let mut raw = raw();
    let mut last = FIRST_TSN;
    for jump in [5000, 70_000, 1 << 30, 1 << 30] {
        raw.send(&[loose(1), loose(3)]).unwrap();
        last = last.wrapping_add(jump);
        raw.send(&[forward(last, &[])]).unwrap();
        let next = data(last.wrapping_add(1), 1, 0, 53, WHOLE | UNORDERED, b"x");
        raw.send(&[next]).unwrap();
        last = last.wrapping_add(1);
    }
    assert_eq!(raw.events().len(), 2 + 4);
}

#[test]
fn a_reset_within_a_message_ends_the_link_and_data_after_a_reset_waits() {
    let mut raw = raw();
    raw.send(&[data(FIRST_TSN, 0, 0, 53, BEGIN, b"x")]).unwrap();
    assert_eq!(raw.send(&[reset(FIRST_TSN, FIRST_TSN, &[0])]), Err(Violation::BrokenMessage(0)));
    // A reset that waits for an earlier chunk.
    let mut raw = super::tests::raw();
    raw.send(&[reset(FIRST_TSN, FIRST_TSN + 1, &[0])]).unwrap();
    raw.send(&[whole(2, 0, 0)]).unwrap();
    assert_eq!(raw.end.dropped().held_back, 1);
    raw.send(&[whole(0, 0, 0), whole(1, 0, 1)]).unwrap();
    assert_eq!(raw.events().last(), Some(&Event::Closed(0)));
}

#[test]
fn data_on_a_closed_stream_is_bounded() {
    let mut raw = raw();
    raw.end.close(0);
    let end = (0..2000u32).find_map(|at| {
        raw.send(&[data(FIRST_TSN + at, 0, at as u16, 53, WHOLE, &[0; 1000])])
            .err()
            .map(|end| (at, end))
    });
    assert_eq!(end, Some((524, Violation::ClosedStream)));
    assert!(raw.events().is_empty());
}

#[test]
fn handshake_packets_are_dropped_once_established() {
    let mut raw = raw();
    let tag = std::mem::replace(&mut raw.tag, 0);
    raw.send(&[token()]).unwrap();
    raw.tag = tag;
    let mut ack = token();
    ack[0] = 2;
    for chunk in [ack, chunk(10, 0, &[1; 32]), chunk(9, 0, &[0, 6, 0, 4])] {
        raw.send(&[chunk]).unwrap();
    }
    assert_eq!(raw.end.dropped().unexpected, 4);
    assert!(raw.answers().is_empty() && raw.events().is_empty());
}

#[test]
fn a_second_init_before_the_cookie_makes_no_second_association() {
    let mut raw = raw();
    raw.end = Channels::new(config()).unwrap();
    raw.end.start(raw.now, false, None, None).unwrap();
    raw.tag = 0;
    let mut answers = 0;
    for at in 0..40u8 {
        let mut init = token();
        init[7] = at % 2;
        raw.send(&[init]).unwrap();
        answers += raw.answers().len();
    }
    assert!((1..=16).contains(&answers), "{answers}");
    let mut wide = token();
    wide[8] = 0x7f;
    raw.send(&[wide]).unwrap();
    assert_eq!(raw.end.dropped().malformed, 1, "a window that would overflow");
}

#[test]
fn sacks_that_acknowledge_nothing_run_out() {
    let mut filter = Filter::new(
        Setup::Snap { initial_tsn: 1 },
        Limits { max_message: 1, peer_streams: 0, peer_is_odd: true, receive_buffer: 1 << 21 },
    );
    let now = std::time::Instant::now();
    let sack = packet(1, &[sack(5, 0, &[(2, 1000)])]);
    let passes = (0..100_000).filter(|_| filter.check(now, &sack, 1000) == Ok(Verdict::Pass));
    let passes = passes.count();
    assert!((2000..=4004).contains(&passes), "{passes}");
    let later = now + Duration::from_secs(1);
    assert_eq!(filter.check(later, &sack, 1000), Ok(Verdict::Pass));
}

#[test]
fn the_checksum_is_that_of_rfc_9260() {
    // From RFC 3720 section B.4: 32 bytes of zero. The checksum's own place counts as zero too.
    assert_eq!(wire::checksum(&[0; 32]), 0x8a91_36aa);
    let mut up: Vec<u8> = (0..32).collect();
    up[8..12].fill(0xee);
    let mut zeroed = up.clone();
    zeroed[8..12].fill(0);
    assert_eq!(wire::checksum(&up), wire::checksum(&zeroed));
}

#[test]
fn a_long_packet_is_split_at_chunks() {
    let chunks: Vec<_> = (0..50).map(|at| whole(at, 0, at as u16)).collect();
    let long = packet(7, &chunks);
    let mut parts = Vec::new();
    wire::split(&long, 300, |part| parts.push(part));
    assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= 300));
    let all: Vec<_> = parts.iter().flat_map(|part| Chunks::new(part).map(Result::unwrap)).collect();
    assert_eq!(all, Chunks::new(&long).map(Result::unwrap).collect::<Vec<_>>());
    for part in parts {
        assert_eq!(wire::sealed(part.clone()), part);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_walked_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for chunk in Chunks::new(&bytes).flatten() {
            match chunk {
                Chunk::ForwardTsn(forward) => drop(forward.skipped().count()),
                Chunk::Reconfig(Some(request)) => drop(request.streams().count()),
                _ => {}
            }
        }
        let _ = wire::parse_token(&bytes);
        wire::split(&bytes, 40, |_| {});
    }
}
