//! Session descriptions of any peer: reading them, answering them, and what a transport makes of them.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use lllsi_rtc::sdp::{Description, Want};
use lllsi_rtc::{Certificate, Config, DtlsVersion, Transport};

fn config(seed: u8) -> Config {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    Config {
        certificate: MADE.get_or_init(Certificate::generate).clone(),
        dtls: DtlsVersion::Newest,
        channels: Vec::new(),
        max_peer_channels: 1,
        random: [seed; 48],
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest).replace('\n', "\r\n");
    if let Ok(description) = Description::parse(&text) {
        let mut again =
            Description::parse(&description.to_string()).expect("what was read is sound");
        // Those are counted, and not written.
        again.candidates_left_out = description.candidates_left_out;
        assert_eq!(again, description, "what is written is what was read");
    }
    let now = Instant::now();
    let [ours, theirs] = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 5000)));
    if first % 2 == 0 {
        if let Ok((mut transport, answer)) = Transport::answer(now, config(1), &[ours], &text) {
            Description::parse(&answer).expect("an answer of ours is sound");
            let _ = transport.accept_restart(now, &text, &[3; 24]);
            let _ = transport.poll_transmit();
        }
    } else {
        let wants = [Want::video("0"), Want::data("1")];
        let (mut transport, _) = Transport::offer(now, config(2), &[theirs], &wants);
        let _ = transport.accept_answer(now, &text);
        let _ = transport.add_remote_candidate(now, text.lines().next().unwrap_or_default());
        let _ = transport.poll_transmit();
    }
});
