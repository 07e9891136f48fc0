use aws_lc_rs::aead;
use proptest::prelude::*;

use super::cipher::{Cm, Gcm};
use super::*;

const PROFILES: [Profile; 3] =
    [Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];

/// The packet of RFC 7714 §16: 12 bytes of header, SSRC 5501a0b2, sequence number f17b.
const RTP: &str = "8040f17b8041f8d35501a0b2
    47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
/// The packet of RFC 7714 §17.1 and §17.2, SRTCP index 5d4.
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
    deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hexadecimal") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The vectors of RFC 7714 give session keys, so they go in below the key derivation.
fn rfc_7714_direction(profile: Profile) -> Direction {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let algorithm = if key.len() == 16 { &aead::AES_128_GCM } else { &aead::AES_256_GCM };
    let cipher = || Cipher::Gcm(Gcm::new(algorithm, &key, *b"Quid pro quo").unwrap());
    Direction { rtp: cipher(), rtcp: cipher() }
}

fn check_rfc_7714(profile: Profile, srtp: &str, srtcp: &str) {
    let mut sealer = Sealer::new(profile, rfc_7714_direction(profile));
    let mut opener = Opener::new(profile, rfc_7714_direction(profile));

    let mut packet = hex(RTP);
    assert!(sealer.seal_rtp(&mut packet, 0, 12, 0x5501_a0b2, 0xf17b));
    assert_eq!(packet, hex(srtp));
    let len = opener.open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b).unwrap();
    assert_eq!(packet[..len], hex(RTP));

    let mut packet = hex(RTCP);
    sealer.set_rtcp_index(0x5d4);
    assert!(sealer.seal_rtcp(&mut packet));
    assert_eq!(packet, hex(srtcp));
    let len = opener.open_rtcp(&mut packet).unwrap();
    assert_eq!(packet[..len], hex(RTCP));
}

#[test]
fn aead_aes_128_gcm_gives_rfc_7714_sections_16_1_and_17_1() {
    check_rfc_7714(
        Profile::AeadAes128Gcm,
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b
         36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b46
         86303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
    );
}

#[test]
fn aead_aes_256_gcm_gives_rfc_7714_sections_16_2_and_17_2() {
    check_rfc_7714(
        Profile::AeadAes256Gcm,
        "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f
         1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658
         c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
    );
}

#[test]
fn srtcp_that_is_only_tagged_is_refused() {
    // RFC 7714 §17.3: a genuine packet with the E bit 0. DTLS-SRTP encrypts all RTCP.
    let mut packet = hex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
        deadbeefdeadbeefdeadbeefdeadbeefdeadbeef841dd9683dd78ec92ae58790125f62b3000005d4");
    let profile = Profile::AeadAes128Gcm;
    let mut opener = Opener::new(profile, rfc_7714_direction(profile));
    assert_eq!(opener.open_rtcp(&mut packet), None);
}

#[test]
fn aes_cm_keystream_is_that_of_rfc_3711_appendix_b_2() {
    // The payload is zero, so its ciphertext is the keystream; SSRC and index are 0.
    let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
    let salt: [u8; 14] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let cipher = Cipher::Cm(Box::new(Cm::new(&key, salt, &[0; 20]).unwrap()));
    let mut packet = vec![0; 12 + 1_044_512];
    cipher.seal_rtp(&mut packet, 0, 12, 0, 0).unwrap();
    let keystream = &packet[12..12 + 1_044_512];
    let first = hex("E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB
        41E95B3BB0A2E8DD477901E4FCA894C0");
    let last = hex("EC8CDF7398607CB0F2D21675EA9EA1E4362B7C3C6773516318A077D7FC5073AE
        6A2CC3787889374FBEB4C81B17BA6C44");
    assert_eq!(keystream[..48], first);
    assert_eq!(keystream[keystream.len() - 48..], last);
}

#[test]
fn aes_cm_with_sha1_gives_the_packets_of_libsrtp() {
    let (key, salt) =
        (hex("e1f97a0d3e018be0d64fa32c06de4139"), hex("0ec675ad498afeebb6960b3aabe6"));
    let profile = Profile::Aes128CmSha1_80;
    let mut sealer = Sealer::new(profile, direction(profile, &key, &salt).unwrap());
    let mut packet = hex("800f1234decafbadcafebabeabababababababababababababababab");
    assert!(sealer.seal_rtp(&mut packet, 0, 12, 0xcafe_babe, 0x1234));
    let sealed =
        hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    assert_eq!(packet, sealed);
}

fn pair(profile: Profile) -> (Sealer, Opener) {
    let keying: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
    let (sealer, _) = sessions(profile, &keying, true).unwrap();
    let (_, opener) = sessions(profile, &keying, false).unwrap();
    (sealer, opener)
}

fn rtp_packet(seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    packet[2..4].copy_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

#[test]
fn each_side_opens_what_the_other_seals_and_not_its_own() {
    for profile in PROFILES {
        let keying: Vec<u8> = (0..profile.keying_material_len() as u8).collect();
        let (mut client_sealer, client_opener) = sessions(profile, &keying, true).unwrap();
        let (mut server_sealer, server_opener) = sessions(profile, &keying, false).unwrap();
        for (sealer, peer, own) in [
            (&mut client_sealer, &server_opener, &client_opener),
            (&mut server_sealer, &client_opener, &server_opener),
        ] {
            let mut packet = rtp_packet(1, b"hello");
            assert!(sealer.seal_rtp(&mut packet, 0, 12, 1, 1));
            assert_eq!(own.open_rtp(&mut packet.clone(), 12, 1, 1), None);
            assert_eq!(peer.open_rtp(&mut packet, 12, 1, 1), Some(17));
            assert_eq!(packet[..17], rtp_packet(1, b"hello"));
        }
    }
}

#[test]
fn keying_material_of_another_length_is_refused() {
    for profile in PROFILES {
        let len = profile.keying_material_len();
        assert!(sessions(profile, &vec![0; len - 1], true).is_none());
        assert!(sessions(profile, &vec![0; len + 1], true).is_none());
    }
    assert_eq!(PROFILES.map(Profile::keying_material_len), [60, 56, 88]);
}

#[test]
fn batch_in_one_buffer_is_sealed_packet_by_packet() {
    for profile in PROFILES {
        let (mut sealer, opener) = pair(profile);
        let mut batch = Vec::new();
        for seq in 0..3 {
            let start = batch.len();
            batch.extend_from_slice(&rtp_packet(seq, &[9; 100]));
            assert!(sealer.seal_rtp(&mut batch, start, 12, 1, u64::from(seq)));
        }
        let len = 112 + profile.tag_len();
        assert_eq!(batch.len(), 3 * len);
        for (seq, packet) in batch.chunks_mut(len).enumerate() {
            assert_eq!(opener.open_rtp(packet, 12, 1, seq as u64), Some(112));
        }
    }
}

#[test]
fn rollover_counter_is_authenticated() {
    for profile in PROFILES {
        let (mut sealer, opener) = pair(profile);
        let mut packet = rtp_packet(5, b"x");
        assert!(sealer.seal_rtp(&mut packet, 0, 12, 1, 0x3_0005));
        assert_eq!(opener.open_rtp(&mut packet.clone(), 12, 1, 5), None);
        assert_eq!(opener.open_rtp(&mut packet.clone(), 12, 1, 0x4_0005), None);
        assert_eq!(opener.open_rtp(&mut packet, 12, 1, 0x3_0005), Some(13));
    }
}

#[test]
fn no_index_of_an_ssrc_is_used_twice_and_what_is_refused_is_removed() {
    let (mut sealer, _) = pair(Profile::AeadAes128Gcm);
    let mut seal = |ssrc, index| {
        let mut buffer = vec![1, 2, 3];
        buffer.extend_from_slice(&rtp_packet(0, b"secret"));
        let sealed = sealer.seal_rtp(&mut buffer, 3, 12, ssrc, index);
        assert_eq!(buffer.len(), if sealed { 3 + 18 + 16 } else { 3 });
        sealed
    };
    assert!(seal(1, 10));
    assert!(!seal(1, 10));
    assert!(!seal(1, 9));
    assert!(seal(2, 10));
    assert!(seal(1, 12));
    assert!(seal(1, INDEX_LIMIT - 1));
    assert!(!seal(1, INDEX_LIMIT));
    assert!(!seal(3, INDEX_LIMIT));
}

#[test]
fn lists_of_ssrcs_are_bounded() {
    let (mut sealer, mut opener) = pair(Profile::AeadAes128Gcm);
    for ssrc in 0..100u32 {
        assert_eq!(sealer.seal_rtp(&mut rtp_packet(0, b""), 0, 12, ssrc, 0), ssrc < 64);
        let mut packet = vec![0x80, 201, 0, 1];
        packet.extend_from_slice(&ssrc.to_be_bytes());
        assert!(sealer.seal_rtcp(&mut packet));
        assert_eq!(opener.open_rtcp(&mut packet).is_some(), ssrc < 64);
    }
}

#[test]
fn header_longer_than_the_packet_is_refused() {
    for profile in PROFILES {
        let (mut sealer, opener) = pair(profile);
        let mut packet = rtp_packet(0, b"");
        assert!(!sealer.seal_rtp(&mut packet, 0, 13, 1, 0));
        assert!(!sealer.seal_rtp(&mut packet, 99, 12, 1, 1));
        let mut packet = rtp_packet(2, b"");
        assert!(sealer.seal_rtp(&mut packet, 0, 12, 1, 2));
        assert_eq!(opener.open_rtp(&mut packet.clone(), 13, 1, 2), None);
        assert_eq!(opener.open_rtp(&mut packet.clone(), 99, 1, 2), None);
        assert_eq!(opener.open_rtp(&mut packet, 12, 1, 2), Some(12));
    }
}

#[test]
fn srtcp_is_opened_once_in_any_order_within_the_window() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = pair(profile);
        let sealed: Vec<Vec<u8>> = (0..300)
            .map(|_| {
                let mut packet = hex(RTCP);
                assert!(sealer.seal_rtcp(&mut packet));
                assert_eq!(packet.len(), hex(RTCP).len() + profile.rtcp_overhead());
                packet
            })
            .collect();
        let mut open = |n: usize| {
            let mut packet = sealed[n].clone();
            opener.open_rtcp(&mut packet).map(|len| packet[..len].to_vec())
        };
        assert_eq!(open(299), Some(hex(RTCP)));
        assert_eq!(open(299), None);
        assert_eq!(open(200), Some(hex(RTCP)));
        assert_eq!(open(200), None);
        assert_eq!(open(0), None);
    }
}

#[test]
fn senders_of_rtcp_may_count_their_own_srtcp_indexes() {
    let (mut sealer, mut opener) = pair(Profile::AeadAes128Gcm);
    for ssrc in [1u32, 2] {
        sealer.set_rtcp_index(1);
        let mut packet = vec![0x80, 201, 0, 1];
        packet.extend_from_slice(&ssrc.to_be_bytes());
        assert!(sealer.seal_rtcp(&mut packet));
        assert_eq!(opener.open_rtcp(&mut packet.clone()), Some(8));
        assert_eq!(opener.open_rtcp(&mut packet), None);
    }
}

#[test]
fn srtcp_indexes_end_at_2_31() {
    let (mut sealer, mut opener) = pair(Profile::AeadAes128Gcm);
    sealer.set_rtcp_index(ENCRYPTED - 1);
    let mut packet = hex(RTCP);
    assert!(sealer.seal_rtcp(&mut packet));
    assert!(opener.open_rtcp(&mut packet).is_some());
    let mut packet = hex(RTCP);
    assert!(!sealer.seal_rtcp(&mut packet));
    assert!(packet.is_empty());
    let mut short = vec![0x80, 201, 0, 0];
    assert!(!pair(Profile::AeadAes128Gcm).0.seal_rtcp(&mut short));
    assert!(short.is_empty());
}

#[test]
fn debug_shows_the_profile_alone() {
    let (sealer, opener) = pair(Profile::AeadAes256Gcm);
    assert_eq!(format!("{sealer:?}"), "Sealer { profile: AeadAes256Gcm, .. }");
    assert_eq!(format!("{opener:?}"), "Opener { profile: AeadAes256Gcm, .. }");
}

proptest! {
    #[test]
    fn any_changed_bit_of_a_packet_is_noticed(
        profile in prop::sample::select(&PROFILES[..]), at: prop::sample::Index, bit in 0..8,
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let (mut sealer, mut opener) = pair(profile);
        let mut packet = rtp_packet(7, &payload);
        prop_assert!(sealer.seal_rtp(&mut packet, 0, 12, 1, 7));
        let changed = at.index(packet.len());
        packet[changed] ^= 1u8 << bit;
        prop_assert_eq!(opener.open_rtp(&mut packet, 12, 1, 7), None);

        let mut packet = rtp_packet(7, &payload);
        prop_assert!(sealer.seal_rtcp(&mut packet));
        let changed = at.index(packet.len());
        packet[changed] ^= 1u8 << bit;
        prop_assert_eq!(opener.open_rtcp(&mut packet), None);
    }

    #[test]
    fn random_bytes_never_panic_and_never_open(
        profile in prop::sample::select(&PROFILES[..]),
        packet in prop::collection::vec(any::<u8>(), 0..100),
        header_len in 0usize..120, ssrc: u32, index: u64,
    ) {
        let (_, mut opener) = pair(profile);
        prop_assert_eq!(opener.open_rtp(&mut packet.clone(), header_len, ssrc, index >> 10), None);
        prop_assert_eq!(opener.open_rtp(&mut packet.clone(), header_len, ssrc, index), None);
        prop_assert_eq!(opener.open_rtcp(&mut packet.clone()), None);
    }
}
