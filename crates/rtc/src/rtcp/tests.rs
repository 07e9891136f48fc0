use proptest::prelude::*;

use super::*;

fn only(compound: &[u8]) -> Packet<'_> {
    let mut all = packets(compound);
    let packet = all.next().expect("a packet");
    assert!(all.next().is_none());
    packet
}

fn sequences(compound: &[u8]) -> Vec<u16> {
    match only(compound) {
        Packet::Nack(nack) => nack.sequences().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn receiver_report_has_the_bytes_of_rfc_3550() {
    let block = ReportBlock {
        ssrc: 0x0102_0304,
        fraction_lost: 0x80,
        cumulative_lost: -2,
        highest_sequence: 0x0001_ffff,
        jitter: 5,
        last_report: 0xaabb_ccdd,
        delay: 65_536,
    };
    let mut out = Vec::new();
    receiver_report(&mut out, 0xcafe_babe, &[block]);
    let expected = [
        0x81, 201, 0, 7, 0xca, 0xfe, 0xba, 0xbe, 1, 2, 3, 4, 0x80, 0xff, 0xff, 0xfe, 0, 1, 0xff,
        0xff, 0, 0, 0, 5, 0xaa, 0xbb, 0xcc, 0xdd, 0, 1, 0, 0,
    ];
    assert_eq!(out, expected);
    let Packet::ReceiverReport { sender, blocks } = only(&out) else { panic!() };
    assert_eq!(sender, 0xcafe_babe);
    assert_eq!(blocks.collect::<Vec<_>>(), [block]);
}

#[test]
fn cumulative_loss_is_clamped_to_24_bits() {
    for (lost, read) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1)] {
        let mut out = Vec::new();
        receiver_report(
            &mut out,
            1,
            &[ReportBlock { cumulative_lost: lost, ..Default::default() }],
        );
        let Packet::ReceiverReport { mut blocks, .. } = only(&out) else { panic!() };
        assert_eq!(blocks.next().unwrap().cumulative_lost, read);
    }
}

#[test]
fn data_of_an_application_comes_back_in_whole_words() {
    let mut out = Vec::new();
    app(&mut out, 0xcafe_babe, *b"NAME", &[1, 2, 3, 4, 5]);
    app(&mut out, 7, *b"NONE", &[]);
    let first = [0x80, 204, 0, 4, 0xca, 0xfe, 0xba, 0xbe, 78, 65, 77, 69, 1, 2, 3, 4, 5, 0, 0, 0];
    assert_eq!(out[..20], first);
    let all: Vec<_> = packets(&out)
        .map(|packet| match packet {
            Packet::App(app) => (app.subtype, app.sender, app.name, app.data.to_vec()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected =
        [(0, 0xcafe_babe, *b"NAME", vec![1, 2, 3, 4, 5, 0, 0, 0]), (0, 7, *b"NONE", vec![])];
    assert_eq!(all, expected);
    assert!(packets(&[0x80, 204, 0, 1, 0, 0, 0, 7]).next().is_none(), "it has no name");
}

#[test]
fn sender_report_has_the_bytes_of_rfc_3550() {
    let info = SenderInfo {
        sender: 1,
        ntp: 0x0203_0405_0607_0809,
        timestamp: 10,
        packets: 11,
        octets: 12,
    };
    let mut out = Vec::new();
    sender_report(&mut out, &info, &[]);
    let expected = [
        0x80, 200, 0, 6, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0, 12,
    ];
    assert_eq!(out, expected);
    let Packet::SenderReport { info: read, blocks } = only(&out) else { panic!() };
    assert_eq!(read, info);
    assert_eq!(blocks.count(), 0);
}

#[test]
fn report_holds_31_blocks_at_most() {
    let mut out = Vec::new();
    sender_report(&mut out, &SenderInfo::default(), &[ReportBlock::default(); 40]);
    let Packet::SenderReport { blocks, .. } = only(&out) else { panic!() };
    assert_eq!(blocks.count(), 31);
}

#[test]
fn report_with_fewer_blocks_than_it_counts_is_refused() {
    let mut out = Vec::new();
    receiver_report(&mut out, 1, &[ReportBlock::default()]);
    out[0] = 0x82;
    assert!(packets(&out).next().is_none());
}

#[test]
fn nack_packs_16_followers_into_one_entry() {
    let mut out = Vec::new();
    assert_eq!(nack(&mut out, 1, 2, &[100, 101, 116, 117]), 4);
    let expected = [0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 100, 0x80, 0x01, 0, 117, 0, 0];
    assert_eq!(out, expected);
    assert_eq!(sequences(&out), [100, 101, 116, 117]);
}

#[test]
fn nack_packs_across_the_wrap_and_drops_repetitions() {
    let mut out = Vec::new();
    assert_eq!(nack(&mut out, 1, 2, &[0xffff, 0xffff, 0, 0, 15]), 5);
    assert_eq!(out.len(), 16);
    assert_eq!(sequences(&out), [0xffff, 0, 15]);
}

#[test]
fn nack_is_bounded_and_says_how_many_it_took() {
    let lost: Vec<u16> = (0..1000).map(|n| n * 20).collect();
    let mut out = Vec::new();
    assert_eq!(nack(&mut out, 1, 2, &lost), MAX_NACK_ENTRIES);
    assert_eq!(out.len(), 1024);
    assert_eq!(sequences(&out), lost[..MAX_NACK_ENTRIES]);
    assert_eq!(nack(&mut out, 1, 2, &[]), 0);
    assert_eq!(out.len(), 1024);
}

#[test]
fn key_frame_requests_have_the_bytes_of_rfc_4585_and_5104() {
    let mut out = Vec::new();
    pli(&mut out, 1, 2);
    assert_eq!(out, [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    out.clear();
    fir(&mut out, 1, 2, 7);
    assert_eq!(out, [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 7, 0, 0, 0]);
    let Packet::Fir(fir) = only(&out) else { panic!() };
    assert_eq!(fir.sender, 1);
    assert_eq!(fir.entries().collect::<Vec<_>>(), [(2, 7)]);
}

#[test]
fn bye_names_its_sources() {
    let mut out = Vec::new();
    bye(&mut out, &[5, 6]);
    assert_eq!(out, [0x82, 203, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6]);
    let Packet::Bye(bye) = only(&out) else { panic!() };
    assert_eq!(bye.sources().collect::<Vec<_>>(), [5, 6]);
    assert!(packets(&[0x82, 203, 0, 1, 0, 0, 0, 5]).next().is_none());
}

#[test]
fn cname_ends_with_a_zero_byte_and_is_cut_between_characters() {
    let mut out = Vec::new();
    cname(&mut out, 1, "ab");
    assert_eq!(out, [0x81, 202, 0, 3, 0, 0, 0, 1, 1, 2, b'a', b'b', 0, 0, 0, 0]);
    out.clear();
    cname(&mut out, 1, "abcdef");
    assert_eq!(out.len(), 20, "the end of the list needs a word of its own");
    out.clear();
    cname(&mut out, 1, &"é".repeat(200));
    assert_eq!((out[9], out.len()), (254, 268));
    assert!(matches!(only(&out), Packet::Other));
}

#[test]
fn feedback_without_entries_or_with_half_a_one_is_refused() {
    let head = [0, 0, 0, 1, 0, 0, 0, 2];
    for (first, packet_type, extra) in
        [(0x81, 205, 0), (0x84, 206, 0), (0x84, 206, 4), (0x84, 206, 12), (0x81, 206, 4)]
    {
        let mut packet = vec![first, packet_type, 0, 2 + extra as u8 / 4];
        packet.extend_from_slice(&head);
        packet.resize(packet.len() + extra, 0);
        assert!(packets(&packet).next().is_none(), "{packet:?}");
    }
}

#[test]
fn padding_is_removed_also_in_chromiums_form() {
    // A padded NACK in the middle of a compound packet, and one whose padding is no whole word.
    let mut compound = vec![0xa1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 0, 0, 0, 0, 4];
    pli(&mut compound, 1, 2);
    assert_eq!(packets(&compound).count(), 2);
    for padding in [0, 17] {
        compound[19] = padding;
        assert_eq!(packets(&compound).count(), 0);
    }
    assert!(packets(&[0xa0, 203, 0, 0]).next().is_none());
}

#[test]
fn packets_end_at_the_first_malformed_one() {
    let mut compound = Vec::new();
    pli(&mut compound, 1, 2);
    let malformed_at = compound.len();
    pli(&mut compound, 3, 4);
    pli(&mut compound, 5, 6);
    assert_eq!(packets(&compound).count(), 3);
    assert_eq!(packets(&compound[..malformed_at + 11]).count(), 1);
    assert_eq!(packets(&compound[..malformed_at + 3]).count(), 1);
    compound[malformed_at] = 0x41;
    assert_eq!(packets(&compound).count(), 1);
    assert_eq!(packets(&[]).count(), 0);
}

#[test]
fn packets_of_one_compound_packet_are_bounded() {
    let mut compound = Vec::new();
    (0..100).for_each(|_| bye(&mut compound, &[]));
    assert_eq!(packets(&compound).count(), MAX_PACKETS);
}

#[test]
fn statuses_of_one_compound_packet_are_bounded() {
    // 20 bytes that report 8,000 losses.
    let feedback =
        [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0x1f, 0x40, 0, 0, 0, 0, 0x1f, 0x40, 0, 0];
    assert_eq!(packets(&feedback).count(), 1);
    assert_eq!(packets(&feedback.repeat(5)).count(), 1);
}

#[test]
fn rtcp_is_told_from_rtp_by_its_type() {
    assert!(is_rtcp(&[0x80, 200]));
    assert!(is_rtcp(&[0x81, 206, 0]));
    assert!(!is_rtcp(&[0x80, 0x80 | 96]));
    assert!(!is_rtcp(&[0x80, 96]));
    assert!(!is_rtcp(&[0x00, 200]));
    assert!(!is_rtcp(&[0x80]));
}

/// Reads everything there is to read, and counts it.
fn read_all(compound: &[u8]) -> usize {
    packets(compound)
        .map(|packet| match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                blocks.count()
            }
            Packet::Nack(nack) => nack.sequences().count(),
            Packet::Fir(fir) => fir.entries().count(),
            Packet::TransportCc(feedback) => feedback.statuses().count(),
            Packet::Bye(bye) => bye.sources().count(),
            Packet::App(app) => app.data.len(),
            Packet::Pli { .. } | Packet::Other => 1,
        })
        .sum()
}

fn everything() -> Vec<u8> {
    let mut out = Vec::new();
    sender_report(&mut out, &SenderInfo::default(), &[ReportBlock::default(); 2]);
    receiver_report(&mut out, 1, &[ReportBlock::default(); 3]);
    cname(&mut out, 1, "name");
    nack(&mut out, 1, 2, &[1, 2, 3, 40]);
    pli(&mut out, 1, 2);
    fir(&mut out, 1, 2, 3);
    transport_feedback(&mut out, 1, 2, 3, 4, 5, &[Some(1), None, Some(900), Some(2)]);
    bye(&mut out, &[1, 2]);
    out
}

#[test]
fn compound_of_everything_reads_back_in_order() {
    let compound = everything();
    assert_eq!(packets(&compound).count(), 8);
    assert_eq!(read_all(&compound), 2 + 3 + 1 + 4 + 1 + 1 + 4 + 2);
}

proptest! {
    #[test]
    fn nack_reads_back(steps in prop::collection::vec(1u16..40, 1..600), first: u16) {
        let lost: Vec<u16> = steps
            .iter()
            .scan(first, |at, step| { *at = at.wrapping_add(*step); Some(*at) })
            .collect();
        let mut out = Vec::new();
        let taken = nack(&mut out, 1, 2, &lost);
        prop_assert!(taken == lost.len() || out.len() == 1024);
        prop_assert_eq!(sequences(&out), &lost[..taken]);
    }

    #[test]
    fn random_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        packet_type in 198u8..208, frame: bool,
    ) {
        if frame && bytes.len() >= 4 {
            let words = bytes.len() / 4 - 1;
            bytes[0] = bytes[0] & 0x3f | 0x80;
            bytes[1] = packet_type;
            bytes[2] = 0;
            bytes[3] = words as u8;
        }
        prop_assert!(read_all(&bytes) <= MAX_STATUSES + bytes.len() * 17);
    }

    #[test]
    fn mutated_compound_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut: prop::sample::Index,
    ) {
        let mut compound = everything();
        for (at, value) in changes {
            let at = at.index(compound.len());
            compound[at] = value;
        }
        read_all(&compound);
        read_all(&compound[..cut.index(compound.len())]);
    }
}
