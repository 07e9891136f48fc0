//! Texts that people and servers give: links, names, messages in JSON. What is understood is written and understood again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lllsi_proto::invite::Invite;
use lllsi_proto::rendezvous::{Reply, Request};
use lllsi_proto::room::{Password, RoomName};

fuzz_target!(|text: &str| {
    if let Ok(invite) = text.parse::<Invite>() {
        assert_eq!(invite.to_string().parse(), Ok(invite));
    }
    if let Ok(name) = text.parse::<RoomName>() {
        assert_eq!(name.as_str().parse(), Ok(name));
    }
    let _ = text.parse::<Password>();
    if let Ok(request) = Request::parse(text) {
        assert_eq!(Request::parse(&request.to_json()), Ok(request));
    }
    if let Ok(reply) = Reply::parse(text) {
        assert_eq!(Reply::parse(&reply.to_json()), Ok(reply));
    }
});
