use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::filter::wire::{Chunk, Chunks as WireChunks};
use crate::testing::{
    BEGIN, END, FIRST_TSN, Pair, Random, Raw, UNORDERED, WHOLE, channel, chunk, config, data,
    forward, heartbeat, packet, reset, reset_done, sack, token,
};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn dcep_config(count: u16) -> Config {
    Config { peer_channels: count, ..config() }
}

#[test]
fn both_handshakes_open_the_negotiated_channels_at_both_ends() {
    for snap in [false, true] {
        let pair = Pair::connected([config(), config()], snap);
        for events in &pair.events {
            assert_eq!(events, &[Event::Opened(0), Event::Opened(1)]);
        }
    }
}

#[test]
fn a_token_is_established_without_a_packet_and_a_bad_one_is_refused() {
    let raw = Raw::new(config());
    assert!(raw.end.is_established());
    for bad in [&[][..], &token()[..10], &[0; 28]] {
        let mut end = Channels::new(config()).unwrap();
        let now = Instant::now();
        assert_eq!(end.start(now, true, Some(bad), None), Err(StartError::Token));
    }
}

#[test]
fn the_longest_messages_go_both_ways_and_longer_ones_are_refused() {
    for loss in [0, 20] {
        let mut pair = Pair::connected([config(), config()], false);
        pair.loss = loss;
        pair.jitter = Duration::from_millis(5);
        let text = (0..256 * 1024).map(|at| (at % 251) as u8).collect::<Vec<_>>();
        for end in 0..2 {
            let longer = vec![0; text.len() + 1];
            let max = text.len();
            let error = WriteError::TooLarge { len: max + 1, max };
            assert_eq!(pair.ends[end].write(0, true, &longer), Err(error));
            for _ in 0..3 {
                pair.write(end, 0, &text);
            }
        }
        pair.run(seconds(60));
        for end in 0..2 {
            assert_eq!(pair.messages(end, 0), vec![Bytes::from(text.clone()); 3], "loss {loss}");
            assert_eq!(pair.ends[end].buffered(0), 0);
        }
    }
}

#[test]
fn reliable_messages_come_in_order_through_loss_and_reordering() {
    for seed in 1..6 {
        let mut pair = Pair::connected([config(), config()], seed % 2 == 0);
        pair.random = Random(seed * 77_777);
        pair.loss = 50;
        pair.jitter = Duration::from_millis(15);
        let mut sizes = Random(seed);
        let sent: Vec<_> =
            (0..300u32).map(|index| vec![index as u8; 1 + sizes.below(3000) as usize]).collect();
        for message in &sent {
            pair.write(0, 0, message);
        }
        pair.run(seconds(120));
        assert_eq!(pair.messages(1, 0), sent);
        assert_eq!(pair.ends[1].dropped(), Dropped::default());
    }
}

#[test]
fn unreliable_messages_are_lost_without_holding_up_later_ones() {
    let mut pair = Pair::connected([config(), config()], false);
    pair.loss = 100;
    pair.jitter = Duration::from_millis(5);
    for index in 0..500u32 {
        pair.write(0, 1, &index.to_be_bytes());
        pair.run(Duration::from_millis(10));
    }
    pair.run(seconds(10));
    let count = pair.messages(1, 1).len();
    assert!((380..500).contains(&count), "{count}");
    assert_eq!(pair.ends[0].buffered(1), 0);
    assert_eq!(pair.ends[1].dropped(), Dropped::default());
    // All is given up or acknowledged, so a large message has the link for itself.
    pair.loss = 0;
    pair.write(0, 0, &[1; 100_000]);
    pair.run(seconds(5));
    assert_eq!(pair.messages(1, 0).len(), 1);
}

#[test]
fn messages_of_many_fragments_with_a_lifetime_survive_loss_of_some() {
    let timed = Reliability::MaxLifetime(Duration::from_millis(100));
    let mut both = config();
    both.channels.push(channel(2, true, timed));
    both.channels.push(channel(3, false, Reliability::MaxRetransmits(1)));
    let mut pair = Pair::connected([both.clone(), both], false);
    pair.loss = 80;
    pair.jitter = Duration::from_millis(10);
    for _ in 0..100 {
        let _ = pair.ends[0].write(2, true, &[2; 5000]).unwrap();
        let _ = pair.ends[0].write(3, true, &[3; 5000]).unwrap();
        let _ = pair.ends[0].write(1, true, &[1; 2000]).unwrap();
        pair.run(Duration::from_millis(30));
    }
    pair.run(seconds(20));
    let events = pair.events[1].iter().filter(|event| matches!(event, Event::Message { .. }));
    assert!(events.count() > 100);
    pair.loss = 0;
    pair.events[1].clear();
    pair.write(0, 0, b"still there");
    pair.write(0, 2, b"and this");
    pair.run(seconds(5));
    assert_eq!(pair.messages(1, 2), [&b"and this"[..]]);
}

#[test]
fn empty_messages_and_text_keep_their_kind() {
    let mut pair = Pair::connected([config(), config()], false);
    pair.events[1].clear();
    for (is_binary, data) in [(true, &b""[..]), (false, b""), (false, b"text"), (true, b"x")] {
        assert_eq!(pair.ends[0].write(0, is_binary, data), Ok(true));
    }
    pair.run(seconds(1));
    let message = |is_binary, data: &'static [u8]| Event::Message {
        id: 0,
        is_binary,
        data: Bytes::from_static(data),
    };
    let expected =
        [message(true, b""), message(false, b""), message(false, b"text"), message(true, b"x")];
    assert_eq!(pair.events[1], expected);
}

#[test]
fn either_end_opens_and_closes_channels_and_ids_come_free() {
    let mut pair = Pair::connected([dcep_config(2), dcep_config(2)], false);
    pair.events = Default::default();
    for end in 0..2 {
        for round in 0..5 {
            let label = format!("{end} {round}");
            let wish = Channel {
                label,
                reliability: Reliability::MaxRetransmits(2),
                ..Channel::default()
            };
            let id = pair.ends[end].open(wish.clone()).unwrap();
            assert_eq!(usize::from(id % 2), end, "the client has the even ids");
            pair.run(seconds(1));
            assert_eq!(pair.events[end], [Event::Opened(id)]);
            assert_eq!(pair.events[1 - end], [Event::OpenedByPeer(Channel { id, ..wish })]);
            pair.events = Default::default();
            pair.write(end, id, b"a");
            pair.write(1 - end, id, b"b");
            pair.run(seconds(1));
            assert_eq!(pair.messages(1 - end, id), [&b"a"[..]]);
            assert_eq!(pair.messages(end, id), [&b"b"[..]]);
            pair.ends[(end + round) % 2].close(id);
            assert_eq!(
                pair.ends[(end + round) % 2].write(id, true, b"c"),
                Err(WriteError::NotOpen(id))
            );
            pair.run(seconds(3));
            assert_eq!(pair.events, [vec![Event::Closed(id)], vec![Event::Closed(id)]]);
            pair.events = Default::default();
        }
    }
}

#[test]
fn channels_open_and_close_through_loss() {
    for seed in 1..8 {
        let mut pair = Pair::connected([dcep_config(20), dcep_config(20)], false);
        pair.random = Random(seed * 1_000_003);
        pair.loss = 150;
        pair.jitter = Duration::from_millis(20);
        pair.events = Default::default();
        let ids: Vec<_> =
            (0..10).map(|at| pair.ends[at % 2].open(Channel::default()).unwrap()).collect();
        pair.run(seconds(60));
        for id in &ids {
            pair.write(0, *id, b"to 1");
            pair.write(1, *id, b"to 0");
        }
        // Both ends close at the same time.
        for id in &ids {
            pair.ends[0].close(*id);
            pair.ends[1].close(*id);
        }
        pair.run(seconds(120));
        for end in 0..2 {
            let closed = pair.events[end].iter().filter(|event| matches!(event, Event::Closed(_)));
            assert_eq!(closed.count(), 10, "{:?}", pair.events[end]);
        }
    }
}

#[test]
fn a_negotiated_channel_can_be_closed_and_opened_again() {
    let mut pair = Pair::connected([config(), config()], false);
    pair.ends[0].close(0);
    let bulk = channel(0, true, Reliability::Reliable);
    assert_eq!(pair.ends[0].open(bulk.clone()), Err(OpenError::InUse(0)));
    pair.run(seconds(3));
    pair.events = Default::default();
    for end in &mut pair.ends {
        assert_eq!(end.open(bulk.clone()), Ok(0));
    }
    pair.write(1, 0, b"again");
    pair.run(seconds(1));
    assert_eq!(pair.messages(0, 0), [&b"again"[..]]);
}

#[test]
fn a_full_buffer_refuses_and_tells_when_there_is_room() {
    let mut pair = Pair::connected([config(), config()], false);
    pair.events = Default::default();
    let mut written = 0;
    while pair.ends[0].write(0, true, &[0; 10_000]).unwrap() {
        written += 1;
    }
    assert!((100..=105).contains(&written), "{written}");
    assert!(pair.ends[0].buffered(0) <= 1024 * 1024);
    pair.run(seconds(5));
    assert_eq!(pair.events[0], [Event::Writable(0)]);
    assert_eq!(pair.messages(1, 0).len(), written);
    let mut small = 0;
    while pair.ends[0].write(1, true, &[0]).unwrap() {
        small += 1;
    }
    assert_eq!(small, 1024, "small messages are bounded by their number");
}

#[test]
fn no_packet_is_longer_than_configured() {
    for max in [600, 1200, 1201] {
        let mut both = config();
        both.max_packet_bytes = max;
        let mut pair = Pair::connected([both.clone(), both], false);
        pair.loss = 30;
        for round in 0..60 {
            for _ in 0..100 {
                pair.write(0, 0, &[0; 1]);
                pair.write(0, 1, &[0; 5]);
                pair.write(0, 0, &[0; 21]);
            }
            pair.write(0, 0, &vec![0; 997 * (round % 7 + 1)]);
            pair.run(Duration::from_millis(50));
        }
        pair.run(seconds(60));
        assert!(pair.longest <= usize::from(max), "{} > {max}", pair.longest);
        assert!(pair.longest >= usize::from(max) - 8);
        assert_eq!(pair.messages(1, 0).len(), 60 * 201);
    }
}

#[test]
fn a_peer_that_never_acknowledges_bounds_what_is_sent_to_it() {
    let mut raw = Raw::new(config());
    let mut accepted = 0;
    for _ in 0..20_000 {
        accepted += u32::from(raw.end.write(1, true, &[0; 20]).unwrap());
        let _ = raw.answers();
        raw.now += Duration::from_millis(10);
        raw.end.handle_timeout(raw.now);
    }
    assert!(accepted < 4_000, "{accepted}");
}

#[test]
fn shutdown_and_abort_lose_the_association_once() {
    for kind in [6, 7] {
        let mut raw = Raw::new(config());
        raw.events();
        let value = if kind == 7 { &[0; 4][..] } else { &[] };
        raw.send(&[chunk(kind, 0, value)]).unwrap();
        raw.send(&[data(FIRST_TSN, 0, 0, 53, WHOLE, b"late")]).unwrap();
        assert_eq!(raw.events(), [Event::Lost]);
        assert_eq!(raw.end.poll_timeout(), None);
        assert_eq!(raw.answers().len(), usize::from(kind == 7), "SHUTDOWN is answered");
    }
}

#[test]
fn a_violation_ends_the_link() {
    let mut raw = Raw::new(config());
    let bad = data(FIRST_TSN, 9, 0, 53, WHOLE, b"x");
    assert_eq!(raw.send(&[bad]), Err(Violation::UnknownStream(9)));
    raw.events();
    assert_eq!(raw.send(&[data(FIRST_TSN, 0, 0, 53, WHOLE, b"x")]), Ok(()));
    assert!(raw.events().is_empty() && raw.answers().is_empty());
    assert_eq!(raw.end.poll_timeout(), None);
}

#[test]
fn dcep_messages_are_refused_where_none_belongs() {
    let open = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (stream, message) in
        [(0, &open[..]), (0, &[2]), (1, &open), (3, &[9]), (3, &open[..11]), (3, &[2])]
    {
        let mut raw = Raw::new(dcep_config(4));
        let result = raw.send(&[data(FIRST_TSN, stream, 0, 50, WHOLE, message)]);
        assert_eq!(result, Err(Violation::Dcep(stream)), "{stream} {message:?}");
    }
    let mut raw = Raw::new(dcep_config(4));
    let again =
        [data(FIRST_TSN, 3, 0, 50, WHOLE, &open), data(FIRST_TSN + 1, 3, 1, 50, WHOLE, &open)];
    assert_eq!(raw.send(&again), Err(Violation::Dcep(3)));
}

#[test]
fn what_follows_a_late_open_is_delivered_after_it() {
    let mut raw = Raw::new(dcep_config(4));
    raw.events();
    raw.send(&[data(FIRST_TSN + 1, 5, 1, 53, WHOLE, b"first")]).unwrap();
    assert!(raw.events().is_empty());
    raw.send(&[data(FIRST_TSN, 5, 0, 50, WHOLE, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]).unwrap();
    let events = raw.events();
    assert!(
        matches!(&events[..], [Event::OpenedByPeer(_), Event::Message { id: 5, .. }]),
        "{events:?}"
    );
}

#[test]
fn a_peer_that_reuses_a_stream_without_answering_its_reset_is_held_back() {
    let mut raw = Raw::new(dcep_config(4));
    let open = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    raw.send(&[data(FIRST_TSN, 3, 0, 50, WHOLE, &open)]).unwrap();
    raw.send(&[reset(FIRST_TSN, FIRST_TSN, &[3])]).unwrap();
    raw.send(&[data(FIRST_TSN + 1, 3, 0, 50, WHOLE, &open)]).unwrap();
    assert_eq!(raw.end.dropped().held_back, 1);
    // The end's own reset waits until its ACK of the OPEN is acknowledged.
    let first = u32::from_be_bytes(raw.end.local_init()[16..20].try_into().unwrap());
    let _ = raw.answers();
    raw.send(&[sack(first, 1 << 20, &[])]).unwrap();
    let _ = raw.answers();
    raw.send(&[reset_done(first)]).unwrap();
    raw.events();
    raw.send(&[data(FIRST_TSN + 1, 3, 0, 50, WHOLE, &open)]).unwrap();
    assert!(matches!(&raw.events()[..], [Event::OpenedByPeer(_)]));
}

#[test]
fn answers_stay_within_twice_the_bytes_that_drew_them() {
    let mut raw = Raw::new(config());
    let (mut received, mut answered) = (0, 0);
    for index in 0..20_000u32 {
        let tsn = FIRST_TSN + 2 + 2 * (index % 120);
        let packet = packet(raw.tag, &[data(tsn, 1, 0, 53, WHOLE | UNORDERED, b"x")]);
        received += packet.len();
        raw.end.handle(raw.now, &packet).unwrap();
        answered += raw.answers().iter().map(Bytes::len).sum::<usize>();
        raw.now += Duration::from_micros(10);
    }
    assert!(answered < 64 * 1024 + 2 * received + 20 * 600, "{answered} for {received}");
}

/// A chunk that a hostile peer might send, near the border of what is allowed. `wild` of a hundred
/// values are anything.
fn any_chunk(wild: u32) -> impl Strategy<Value = Vec<u8>> {
    let tame = 100 - wild;
    let tsn = prop_oneof![tame => 0..12u32, tame / 4 => 0..300u32, wild => any::<u32>()];
    let tsn = tsn.prop_map(|ahead| FIRST_TSN.wrapping_add(ahead));
    let stream = prop_oneof![tame => 0..2u16, wild => 0..6u16, wild / 8 => any::<u16>()];
    let ssn = prop_oneof![tame => 0..3u16, wild => any::<u16>()];
    let kind = prop_oneof![tame => Just(53u32), wild => Just(50), wild / 8 => any::<u32>()];
    let flags = prop_oneof![tame => Just(WHOLE | UNORDERED), tame / 2 => 4..8u8, wild => 0..8u8];
    let small = || proptest::collection::vec(any::<u8>(), 0..24);
    prop_oneof![
        tame => (tsn.clone(), stream.clone(), ssn.clone(), kind, flags, 1..30usize).prop_map(
            |(tsn, stream, ssn, kind, flags, len)| data(tsn, stream, ssn, kind, flags, &vec![7; len])
        ),
        tame / 4 => (tsn.clone(), proptest::collection::vec((stream.clone(), ssn), 0..2))
            .prop_map(|(tsn, skipped)| forward(tsn, &skipped)),
        tame / 8 => (0..3u32, tsn, proptest::collection::vec(stream, 1..3))
            .prop_map(|(sequence, tsn, streams)| reset(FIRST_TSN + sequence, tsn, &streams)),
        wild => any::<u32>().prop_map(reset_done),
        wild / 2 => (any::<u32>(), any::<u32>()).prop_map(|(tsn, window)| sack(tsn, window, &[(2, 3), (5, 9)])),
        wild => Just(token()),
        wild => (0..40usize).prop_map(heartbeat),
        wild => (any::<u8>(), any::<u8>(), small()).prop_map(|(kind, flags, value)| chunk(kind, flags, &value)),
    ]
}

/// Feeds packets to one end and checks that the filter's copy says what its SACKs say.
fn feed(mut raw: Raw, packets: Vec<Vec<Vec<u8>>>) {
    for chunks in packets {
        let ended = raw.send(&chunks).is_err() || raw.end.phase == Phase::Ended;
        for answer in raw.answers() {
            for chunk in WireChunks::new(&answer) {
                if let (Ok(Chunk::Sack(sack)), false) = (chunk, ended) {
                    let filter = raw.end.filter.as_ref().unwrap();
                    assert_eq!(Some(sack.cumulative), filter.cumulative());
                }
            }
        }
        raw.now += Duration::from_millis(300);
        raw.end.handle_timeout(raw.now);
        if ended {
            break;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn near_valid_packets_never_panic_and_the_copy_stays_exact(
        packets in proptest::collection::vec(proptest::collection::vec(any_chunk(10), 1..4), 1..40)
    ) {
        feed(Raw::new(dcep_config(3)), packets);
    }

    #[test]
    fn hardly_wrong_packets_never_panic_and_the_copy_stays_exact(
        packets in proptest::collection::vec(proptest::collection::vec(any_chunk(1), 1..3), 1..60)
    ) {
        feed(Raw::new(dcep_config(3)), packets);
    }

    #[test]
    fn fragments_in_any_order_are_put_together_or_refused(
        order in proptest::collection::vec((0..24u32, 0..24u32), 0..60), unordered in any::<bool>()
    ) {
        let flag = |at: u32| [BEGIN, 0, END][at as usize % 3];
        let kind = if unordered { UNORDERED } else { 0 };
        let mut tsns: Vec<_> = (0..24).collect();
        for (a, b) in order {
            tsns.swap(a as usize, b as usize);
        }
        let mut raw = Raw::new(config());
        raw.events();
        for tsn in tsns {
            let ssn = if unordered { 0 } else { (tsn / 3) as u16 };
            raw.send(&[data(FIRST_TSN + tsn, 0, ssn, 53, kind | flag(tsn), &[tsn as u8; 4])]).unwrap();
        }
        prop_assert_eq!(raw.events().len(), 8);
        prop_assert_eq!(raw.end.filter.as_ref().unwrap().cumulative(), Some(FIRST_TSN + 23));
    }

    #[test]
    fn mutated_and_random_bytes_never_panic(
        chunks in proptest::collection::vec(any_chunk(30), 1..4),
        changes in proptest::collection::vec((12..200usize, any::<u8>()), 0..6),
        resealed in any::<bool>(),
        handshake in 0..2usize,
    ) {
        let mut raw = Raw::new(config());
        if handshake == 0 {
            // Waiting for INIT.
            raw.end = Channels::new(config()).unwrap();
            raw.end.start(raw.now, false, None, None).unwrap();
            raw.tag = 0;
        }
        let mut bytes = packet(raw.tag, &chunks);
        for (at, value) in changes {
            let len = bytes.len();
            bytes[at % len] ^= value;
        }
        if resealed {
            bytes = wire::sealed(bytes);
        }
        let _ = raw.end.handle(raw.now, &bytes);
        let _ = raw.answers();
    }
}

#[test]
fn channels_of_this_end_leave_room_for_those_of_the_peer() {
    let mut pair = Pair::connected([dcep_config(200), dcep_config(200)], false);
    let open = |end: &mut Channels| (0..).find_map(|_| end.open(Channel::default()).err());
    assert_eq!(open(&mut pair.ends[0]), Some(OpenError::TooManyChannels));
    assert_eq!(open(&mut pair.ends[1]), Some(OpenError::TooManyChannels));
    pair.run(seconds(5));
    for events in &pair.events {
        let opened = events.iter().filter(|event| matches!(event, Event::OpenedByPeer(_)));
        assert_eq!(opened.count(), MAX_CHANNELS - 200 - 2);
    }
}
