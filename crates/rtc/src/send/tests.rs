#![allow(clippy::disallowed_methods)] // a test needs some instant to begin at

use super::*;
use crate::srtp::{self, Profile};

const RTT: Duration = Duration::from_millis(100);

struct Fixture {
    sender: Sender,
    sealer: Sealer,
    log: TransportLog,
    batches: Batches,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let profile = Profile::AeadAes128Gcm;
        let keys = vec![7; profile.keying_material_len()];
        let (sealer, _) = srtp::sessions(profile, &keys, true).unwrap();
        let format = Format {
            ssrc: 1,
            payload_type: 102,
            rtx: Some((2, 103)),
            fec: None,
            playout_delay: None,
            transport_cc: Some(3),
        };
        let (log, batches) = (TransportLog::default(), Batches::default());
        Self { sender: Sender::new(format), sealer, log, batches, now: Instant::now() }
    }

    fn send(&mut self, packets: usize) {
        let payloads = (0..packets).map(|_| Arc::from(vec![7; 1000])).collect();
        self.send_frame(&Frame::new(payloads, Arc::new([])), false);
    }

    fn send_frame(&mut self, frame: &Frame, is_prefixed: bool) -> Vec<(usize, usize)> {
        let Self { sender, sealer, log, batches, now } = self;
        let extras = Extras { prefix: is_prefixed, ..Extras::default() };
        sender.send(*now, 0, frame, extras, &mut Wire { sealer, log, batches });
        let batches = std::iter::from_fn(|| self.batches.pop());
        batches.map(|batch| (batch.bytes.len(), batch.segment)).collect()
    }

    fn repair(&mut self, numbers: impl IntoIterator<Item = u16>) -> usize {
        let Self { sender, sealer, log, batches, now } = self;
        sender.repair(*now, RTT, numbers.into_iter(), &mut Wire { sealer, log, batches });
        self.sent()
    }

    /// How many packets were sent.
    fn sent(&mut self) -> usize {
        let batches = std::iter::from_fn(|| self.batches.pop());
        batches.map(|batch| batch.bytes.len().div_ceil(batch.segment)).sum()
    }
}

#[test]
fn a_packet_is_repaired_once_in_a_round_trip() {
    let mut f = Fixture::new();
    f.send(10);
    assert_eq!(f.repair([3, 4, 3, 3]), 2);
    assert_eq!(f.repair([3, 4, 5]), 1);
    f.now += RTT;
    assert_eq!(f.repair([3, 4, 5]), 3);
}

#[test]
fn where_packets_get_lost_repairs_are_sent_twice() {
    let mut f = Fixture::new();
    let frame = Frame::from(vec![Arc::from(vec![7; 1000]); 3]);
    let Fixture { sender, sealer, log, batches, now } = &mut f;
    let extras = Extras { parity: 1, ..Extras::default() };
    sender.send(*now, 0, &frame, extras, &mut Wire { sealer, log, batches });
    let _ = f.sent();
    assert_eq!(f.repair([2]), 2);
}

#[test]
fn a_peer_that_takes_flexfec_is_sent_it_after_the_frame() {
    let mut f = Fixture::new();
    f.sender.format.fec = Some((3, 49));
    let frame = Frame::from(vec![Arc::from(vec![7; 1000]); 5]);
    let Fixture { sender, sealer, log, batches, now } = &mut f;
    let extras = Extras { parity: 2, ..Extras::default() };
    sender.send(*now, 0, &frame, extras, &mut Wire { sealer, log, batches });
    let sent: Vec<_> = std::iter::from_fn(|| batches.pop()).collect();
    let packets = sent.iter().flat_map(|batch| batch.bytes.chunks(batch.segment));
    let headers: Vec<_> = packets.map(|packet| Header::parse(packet).unwrap()).collect();
    let of = |ssrc| headers.iter().filter(move |header| header.ssrc == ssrc);
    assert_eq!((of(1).count(), of(3).count(), headers.len()), (5, 2, 7));
    assert!(of(3).all(|header| header.payload_type == 49 && !header.marker));
    assert_eq!((sender.written(), log.next_number()), (7, 7));
}

#[test]
fn the_end_of_the_last_frame_is_sent_again_some_times() {
    let mut f = Fixture::new();
    f.send(5);
    let mut sent = Vec::new();
    while let Some(due) = f.sender.tail_due() {
        sent.push(due - f.now);
        let Fixture { sender, sealer, log, batches, .. } = &mut f;
        sender.send_tail(due - Duration::from_nanos(1), true, &mut Wire { sealer, log, batches });
        assert_eq!(f.sent(), 0);
        let Fixture { sender, sealer, log, batches, .. } = &mut f;
        sender.send_tail(due, true, &mut Wire { sealer, log, batches });
        assert_eq!(f.sent(), 1);
    }
    assert_eq!(sent, [1, 3, 7].map(|times| TAIL_AFTER * times));
    assert_eq!(f.sender.written(), 5, "the peer asked for none of them");
    f.send(5);
    f.now += TAIL_AFTER;
    let Fixture { sender, sealer, log, batches, now } = &mut f;
    sender.send_tail(*now, false, &mut Wire { sealer, log, batches });
    assert_eq!(f.sent(), 0);
    assert!(f.sender.tail_due() > Some(f.now), "once the frame has left");
}

#[test]
fn nothing_stays_due_for_a_track_that_is_not_received() {
    let mut f = Fixture::new();
    f.send(1);
    assert!(f.sender.tail_due().is_some());
    f.sender.set_active(false);
    assert_eq!(f.sender.tail_due(), None);
}

#[test]
fn what_may_be_lost_is_sent_again_but_for_what_has_just_left() {
    let mut f = Fixture::new();
    f.sender.repair_budget = MAX_REPAIR_BUDGET;
    f.send(5);
    f.now += RTT;
    let since = f.now;
    f.send(3);
    f.now += RTT;
    f.send(4);
    let _ = f.sent();
    let mut repeat = |since, most, now| {
        let Fixture { sender, sealer, log, batches, .. } = &mut f;
        sender.repeat(now, since, most, &mut Wire { sealer, log, batches });
        f.sent()
    };
    let now = since + RTT;
    assert_eq!(repeat(since, 100, now), 3);
    assert_eq!(repeat(since, 100, now + REPEAT_PAUSE / 2), 4, "the three have only just gone");
    assert_eq!(repeat(since, 100, now + REPEAT_PAUSE * 2), 7);
    assert_eq!(repeat(since - RTT, 6, now + RTT), 6, "the oldest first");
    assert_eq!(f.sender.written(), 12, "the peer asked for none of them");
    f.sender.repair_budget = FIRST_REPAIR_BUDGET;
    let Fixture { sender, sealer, log, batches, .. } = &mut f;
    sender.repeat(now + 2 * RTT, since, 100, &mut Wire { sealer, log, batches });
    assert_eq!(f.sent(), 0, "the rest is for what is asked for");
}

#[test]
fn what_is_sent_again_unasked_leaves_once_and_is_a_repair_like_others() {
    let mut f = Fixture::new();
    f.sender.repair_budget = MAX_REPAIR_BUDGET;
    let frame = Frame::from(vec![Arc::from(vec![7; 1000]); 3]);
    let Fixture { sender, sealer, log, batches, now } = &mut f;
    let extras = Extras { parity: 1, ..Extras::default() };
    sender.send(*now, 0, &frame, extras, &mut Wire { sealer, log, batches });
    let since = *now;
    *now += RTT;
    let _ = f.sent();
    let Fixture { sender, sealer, log, batches, now } = &mut f;
    sender.repeat(*now, since, 100, &mut Wire { sealer, log, batches });
    assert_eq!(f.sent(), 3);
    assert_eq!(f.repair([2]), 0, "it is under way");
    f.now += RTT;
    assert_eq!(f.repair([2]), 2);
}

#[test]
fn what_was_never_sent_or_too_long_ago_is_not_repaired() {
    let mut f = Fixture::new();
    assert_eq!(f.repair(0..100), 0);
    f.send(10);
    assert_eq!(f.repair([0, 11, 5000, 65_535]), 0);
    f.now += KEPT + RTT;
    assert_eq!(f.repair(1..=10), 0);
}

#[test]
fn repairs_are_a_share_of_what_is_sent() {
    let mut f = Fixture::new();
    for _ in 0..20 {
        f.send(100);
    }
    let mut repairs = 0;
    for _ in 0..100 {
        f.now += Duration::from_millis(15);
        repairs += f.repair(1..=2000);
    }
    let bound = (FIRST_REPAIR_BUDGET + 2_000_000.0 * REPAIR_SHARE).min(MAX_REPAIR_BUDGET);
    assert!(repairs > 100 && repairs as f64 * 1000.0 <= bound, "{repairs} repairs");
}

#[test]
fn what_is_kept_for_repairs_has_a_bound() {
    let mut f = Fixture::new();
    for _ in 0..2 * MAX_KEPT_FRAMES {
        f.send(40);
    }
    assert!(f.sender.history.len() <= MAX_KEPT_FRAMES + 1);
    assert!(f.sender.kept_packets <= MAX_KEPT_PACKETS + 40);
}

#[test]
fn packets_of_a_track_have_headers_of_one_length_and_numbers_of_the_transport() {
    let mut f = Fixture::new();
    f.send(14);
    assert_eq!(f.log.next_number(), 14);
    f.repair([1]);
    assert_eq!(f.log.next_number(), 15);
}

#[test]
fn a_frame_is_one_batch_with_its_prefix_and_without() {
    let payloads = [960, 1000, 1000, 500].map(|len| Arc::from(vec![7; len]));
    let frame = Frame::new(payloads.into(), Arc::new([9; 40]));
    for is_prefixed in [true, false] {
        let mut f = Fixture::new();
        let packet = 1000 + 12 + 8 + f.sealer.profile().tag_len();
        let sent = f.send_frame(&frame, is_prefixed);
        assert_eq!(sent, [(4 * packet - 500, packet)], "{is_prefixed}");
    }
}

#[test]
fn reports_are_sent_while_packets_are() {
    let mut f = Fixture::new();
    assert_eq!(f.sender.report_due(), None);
    let epoch = f.now;
    f.send(1);
    let mut report = Vec::new();
    f.sender.report(f.now, epoch, &mut report);
    assert!(!report.is_empty() && f.sender.report_due() == Some(f.now + REPORT_EVERY));
    f.now += REPORT_EVERY;
    report.clear();
    f.sender.report(f.now, epoch, &mut report);
    assert!(report.is_empty() && f.sender.report_due().is_none(), "nothing was sent since");
}
