//! Our transport with those of others: Chromium's, and aiortc's, which is written in Python.

mod aiortc;
mod film;
mod page;
mod peer;

use lllsi_rtc::{Channel, Event};

use peer::Peer;

/// As large as both sides take.
const LARGE: usize = 256 * 1024;

/// What is sent on a channel: text, and bytes, few and many.
fn messages() -> [(bool, Vec<u8>); 3] {
    let large = (0..LARGE).map(|at| (at % 251) as u8);
    [(false, "Grüße".into()), (true, (0..=255).collect()), (true, large.collect())]
}

fn next_message(peer: &Peer, channel: u16) -> (bool, Vec<u8>) {
    peer.until("message", |events| {
        let is_it =
            |event: &Event| matches!(event, Event::Message { channel: on, .. } if *on == channel);
        match events.remove(events.iter().position(is_it)?) {
            Event::Message { is_binary, data, .. } => Some((is_binary, data.to_vec())),
            _ => None,
        }
    })
}

/// Sends the messages, which the other side sends back.
fn converse(peer: &Peer, channel: u16) {
    for (is_binary, data) in messages() {
        assert!(peer.with(|transport, now| transport.send(now, channel, is_binary, &data)));
        let (as_binary, back) = next_message(peer, channel);
        assert!(as_binary == is_binary && back == data, "another message of {} bytes", back.len());
    }
}

/// Exchanges messages on a channel that the other side opens, and on one that we open.
fn exchange_messages(peer: &Peer) {
    let theirs = peer.until("channel of theirs", |events| {
        events.iter().find_map(|event| match event {
            Event::ChannelOpened(channel) => Some(channel.clone()),
            _ => None,
        })
    });
    assert_eq!((&theirs.label[..], &theirs.protocol[..]), ("theirs", "echo"));
    for message in messages() {
        assert!(next_message(peer, theirs.id) == message, "not what they send at first");
    }
    converse(peer, theirs.id);

    let ours = Channel { label: "ours".into(), ordered: true, ..Channel::default() };
    let opened = peer.with(|transport, now| transport.open_channel(now, ours));
    let ours = opened.expect("there is room for it");
    let open = Event::ChannelOpen(ours);
    peer.until("channel of ours", |events| events.contains(&open).then_some(()));
    converse(peer, ours);
}

/// Receives a film: lost packets are repaired, and a keyframe comes when it is asked for.
fn receive_film(peer: &Peer) {
    let starts_keyframe = |event: &Event| match event {
        Event::Packet(_, packet) => lllsi_proto::h264::starts_keyframe(&packet.payload),
        _ => false,
    };
    let (frames, repairs) = peer.until("film", |events| {
        let of = |is_it: fn(&lllsi_rtc::Packet) -> bool| {
            events.iter().filter(|event| matches!(event, Event::Packet(_, p) if is_it(p))).count()
        };
        let (frames, repairs) = (of(|packet| packet.marker), of(|packet| packet.is_repair));
        (frames >= 50 && repairs > 0).then_some((frames, repairs))
    });
    let keyframes = peer.until("first keyframe", |events| {
        Some(events.iter().filter(|event| starts_keyframe(event)).count())
            .filter(|count| *count > 0)
    });
    peer.with(|transport, _| {
        let track = transport.incoming().next().expect("they send");
        transport.request_keyframe(track);
    });
    peer.until("keyframe that was asked for", |events| {
        let count = events.iter().filter(|event| starts_keyframe(event)).count();
        (count > keyframes).then_some(())
    });
    eprintln!("{frames} frames came, {repairs} repairs among them");
}

fn asked_for_keyframe(peer: &Peer) {
    let is_it = |event: &Event| matches!(event, Event::KeyframeRequest(_));
    peer.until("request for a keyframe", |events| {
        events.iter().position(is_it).map(|at| events.remove(at))
    });
}
