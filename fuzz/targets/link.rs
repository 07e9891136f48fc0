//! What comes over a link, and before there is one: control messages, video payloads, STUN.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use lllsi_core::stun;
use lllsi_fuzz::Choices;
use lllsi_proto::control::Message;
use lllsi_proto::h264::{Depacketizer, FrameInfo, nal_units, packetize, starts_keyframe};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(message)) = Message::parse(bytes) {
        assert_eq!(Message::parse(&message.to_bytes()), Ok(Some(message)));
    }
    let source = SocketAddr::from(([203, 0, 113, 1], 9));
    let _ = stun::answer(source, bytes);
    let _ = stun::answer_with(source, bytes, Some(SocketAddr::from(([203, 0, 113, 2], 10))));
    let _ = stun::is_stun(bytes);

    let mut choices = Choices::new(bytes);
    let mut frame = Depacketizer::default();
    while !choices.is_empty() {
        let payload = choices.bytes();
        let _ = starts_keyframe(payload);
        let _ = frame.push(payload);
        if choices.one(4) == 3 {
            let _ = frame.take();
        }
    }
    // What we send ourselves is put together again.
    let prefix = FrameInfo::default().to_prefix();
    let payloads = packetize(bytes, 200);
    let mut whole = Depacketizer::default();
    for (i, payload) in payloads.iter().enumerate() {
        let payload = [if i == 0 { &prefix[..] } else { &[] }, payload].concat();
        assert!(payload.len() <= 200);
        // NAL units may be of kinds that are no pictures, which a receiver refuses.
        let _ = whole.push(&payload);
    }
    let _ = nal_units(bytes).count();
});
