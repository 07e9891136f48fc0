//! What host and client say to each other through the server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lllsi_proto::sealed::{Envelope, Hello, Rejection, ToClient, ToHost, Welcome, parse};

fuzz_target!(|bytes: &[u8]| {
    match Envelope::parse(bytes) {
        // It tells of the other side's version; what we write tells of ours.
        Ok(Envelope::Rejected(Rejection::Version(_))) | Err(_) => {}
        Ok(envelope) => assert_eq!(Envelope::parse(&envelope.to_bytes()), Ok(envelope)),
    }
    let _ = parse::<Hello>("hello", bytes);
    let _ = parse::<Welcome>("welcome", bytes);
    let _ = parse::<ToHost>("message", bytes);
    let _ = parse::<ToClient>("message", bytes);
});
