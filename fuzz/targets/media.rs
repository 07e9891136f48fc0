//! RTP, RTCP and SRTP of any peer.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use lllsi_fuzz::Choices;
use lllsi_rtc::rtcp::{self, Packet};
use lllsi_rtc::rtp::{self, Header};
use lllsi_rtc::srtp::{self, Profile};

fn read_rtcp(bytes: &[u8]) {
    let mut statuses = 0;
    for packet in rtcp::packets(bytes) {
        match packet {
            Packet::Nack(nack) => {
                assert!(nack.sequences().count() <= bytes.len() / 4 * 17);
            }
            Packet::Fir(fir) => drop(black_box(fir.entries().count())),
            Packet::Bye(bye) => assert!(bye.sources().count() <= 31),
            Packet::TransportCc(feedback) => {
                let count = feedback.statuses().count();
                assert_eq!(count, feedback.status_count());
                statuses += count;
            }
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                assert!(black_box(blocks).count() <= 31);
            }
            _ => {}
        }
    }
    assert!(statuses <= rtcp::MAX_STATUSES);
}

fn read_rtp(bytes: &[u8]) {
    let Some(header) = Header::parse(bytes) else { return };
    assert!(header.len <= bytes.len());
    let mut count = 0;
    for (id, value) in rtp::extensions(bytes) {
        black_box((id, value));
        count += 1;
    }
    assert!(count <= bytes.len());
    if let Some(payload) = rtp::payload(&header, bytes) {
        assert!(payload.len() <= bytes.len() - header.len);
    }
}

fn open(bytes: &[u8], choice: u8) {
    let profiles = [Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];
    let profile = profiles[usize::from(choice)];
    let keying = vec![7; profile.keying_material_len()];
    let (mut sealer, _) =
        srtp::sessions(profile, &keying, true).expect("as many bytes as it wants");
    let (_, mut opener) = srtp::sessions(profile, &keying, false).expect("here too");
    let mut packet = bytes.to_vec();
    assert_eq!(opener.open_rtcp(&mut packet), None, "nobody sealed it");
    if let Some(header) = Header::parse(bytes) {
        let mut packet = bytes.to_vec();
        let index = header.sequence.into();
        assert_eq!(opener.open_rtp(&mut packet, header.len, header.ssrc, index), None);
        let mut packet = bytes.to_vec();
        if sealer.seal_rtp(&mut packet, 0, header.len, header.ssrc, index) {
            let len = opener.open_rtp(&mut packet, header.len, header.ssrc, index);
            assert_eq!(len.map(|len| &packet[..len]), Some(bytes), "what is sealed opens");
        }
    }
    let mut packet = bytes.to_vec();
    if sealer.seal_rtcp(&mut packet) {
        let len = opener.open_rtcp(&mut packet);
        assert_eq!(len.map(|len| &packet[..len]), Some(bytes), "what is sealed opens");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let profile = choices.one(3);
    let rest = choices.rest();
    black_box(rtcp::is_rtcp(rest));
    read_rtcp(rest);
    read_rtp(rest);
    open(rest, profile);
});
