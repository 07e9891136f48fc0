//! An outgoing track: packets of frames, the answers to NACKs, and sender reports.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Batches;
use crate::feedback::TransportLog;
use crate::flexfec::Parity;
use crate::rtp::{FIXED_HEADER_LEN, Header};
use crate::srtp::Sealer;
use crate::{parity, rtcp};

/// One frame, made once and shared by all transports that send it.
///
/// ```
/// use lllsi_rtc::Frame;
///
/// let frame = Frame::new(vec![[7; 1000].into()], [30, 1, 2, 3].into()).with_parity(1);
/// let same = frame.clone(); // not a byte is copied
/// assert_eq!(frame, same);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The RTP payloads.
    pub payloads: Arc<[Arc<[u8]>]>,
    /// What stands before the first payload, for peers that know of it: whole words. The first packet to others has as many
    /// zeros among its header extensions, so that a frame whose payloads are made for one length has packets of one length.
    pub prefix: Arc<[u8]>,
    parity: Arc<[Arc<[u8]>]>,
}

impl Frame {
    /// A frame without parity.
    pub fn new(payloads: Vec<Arc<[u8]>>, prefix: Arc<[u8]>) -> Self {
        Self { payloads: payloads.into(), prefix, parity: Arc::new([]) }
    }

    /// How many packets of parity it has.
    pub fn parity(&self) -> usize {
        self.parity.len()
    }

    /// With so many packets of parity, from which receivers that got the prefix make as many lost ones again. Frames of more
    /// than 128 packets have none, others at most 32.
    #[must_use]
    pub fn with_parity(mut self, count: usize) -> Self {
        self.parity = parity::of(&self.payloads, &self.prefix, count).into();
        self
    }
}

impl From<Vec<Arc<[u8]>>> for Frame {
    /// Without a prefix.
    fn from(payloads: Vec<Arc<[u8]>>) -> Self {
        Self::new(payloads, Arc::new([]))
    }
}

/// Why a packet is sent again.
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// The peer asks for it, over a path of this round trip.
    Asked(Duration),
    /// The peer is silent.
    Silence,
    /// Nothing has followed it.
    Tail,
}

/// What a peer is sent of a frame besides its payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// Its prefix: the peer knows of it.
    pub prefix: bool,
    /// So many packets of parity. A peer that has agreed on FlexFEC is sent them in that form, others are sent those of the frame, as
    /// far as it has them, and know of them.
    pub parity: usize,
    /// How much later than it comes the peer should show it: a multiple of 10 ms, at most 40.95 s.
    pub delay: Duration,
}

/// Packets are kept for repairs as long as anybody may still wait for them.
const KEPT: Duration = Duration::from_secs(2);
/// Frames and packets kept: two seconds at 50 Mbit/s.
const MAX_KEPT_FRAMES: usize = 1024;
const MAX_KEPT_PACKETS: usize = 16_384;
/// Repairs may be this share of all that is sent.
const REPAIR_SHARE: f64 = 0.5;
/// Bytes of repairs that may be saved up, and that there are at the beginning.
const MAX_REPAIR_BUDGET: f64 = 256.0 * 1024.0;
const FIRST_REPAIR_BUDGET: f64 = 64.0 * 1024.0;
/// If no frame follows the last one for so long its last packet is sent again, so many times and each time after twice as long: a
/// receiver sees what it misses by what comes after it.
const TAIL_AFTER: Duration = Duration::from_millis(120);
const TAILS: u32 = 3;
/// What may be lost is not sent again twice within this.
const REPEAT_PAUSE: Duration = Duration::from_millis(25);
/// Numbers that one NACK may name; those after them are ignored. A peer asks for the rest again.
const MAX_NACKED: usize = 1024;
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// What all sources of a transport share (RFC 3550, 6.5.1).
pub(crate) const CNAME: &str = "lllsi";
/// RTP's clock for video, ticks per microsecond are 9 / 100 (RFC 6184, 8.1).
const VIDEO_CLOCK: u64 = 90_000;

/// What both ends agreed on about a track's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    /// SSRC and payload type of repairs (RFC 4588).
    pub(crate) rtx: Option<(u32, u8)>,
    /// SSRC and payload type of FlexFEC.
    pub(crate) fec: Option<(u32, u8)>,
    /// Numbers of header extensions.
    pub(crate) playout_delay: Option<u8>,
    pub(crate) transport_cc: Option<u8>,
}

/// What all tracks of a transport share on their way out.
pub(crate) struct Wire<'a> {
    pub(crate) sealer: &'a mut Sealer,
    pub(crate) log: &'a mut TransportLog,
    pub(crate) batches: &'a mut Batches,
}

/// A frame that was sent.
#[derive(Debug)]
struct Sent {
    /// Index of its first packet.
    first: u64,
    timestamp: u32,
    at: Instant,
    frame: Frame,
    /// Whether its prefix was sent.
    is_prefixed: bool,
    /// Repairs may be lost too: each is sent so many times.
    copies: u8,
    /// When each packet was repaired last; empty until one is.
    repaired: Vec<Option<Instant>>,
}

/// What stands before a payload.
enum Lead<'a> {
    Bytes(&'a [&'a [u8]]),
    /// Nothing does: header extensions take as many bytes, if there are some.
    Room(usize),
}

pub(crate) struct Sender {
    format: Format,
    /// Packets are numbered from 1: a receiver knows by the first that it gets how many it missed.
    next: u64,
    next_rtx: u64,
    next_fec: u64,
    /// Whether the peer receives it.
    is_active: bool,
    history: VecDeque<Sent>,
    kept_packets: usize,
    /// The playout delay in the headers of its packets.
    delay: [u8; 3],
    repair_budget: f64,
    packets: u32,
    octets: u32,
    /// Bytes of repairs and parity.
    redundant: u64,
    /// Repairs that the peer did not ask for.
    unasked: u64,
    /// When the last packet is sent again, and how often it was.
    tail: Option<(Instant, u32)>,
    report_at: Option<Instant>,
    reported: u32,
}

impl Sender {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            next: 1,
            next_rtx: 1,
            next_fec: 1,
            is_active: true,
            history: VecDeque::new(),
            kept_packets: 0,
            delay: [0; 3],
            repair_budget: FIRST_REPAIR_BUDGET,
            packets: 0,
            octets: 0,
            redundant: 0,
            unasked: 0,
            tail: None,
            report_at: None,
            reported: 0,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.is_active
    }

    pub(crate) fn set_active(&mut self, is_active: bool) {
        self.is_active = is_active;
        // Nothing would send it, and it would stay due.
        self.tail = self.tail.filter(|_| is_active);
    }

    /// Whether the peer takes FlexFEC.
    pub(crate) fn takes_fec(&self) -> bool {
        self.format.fec.is_some()
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.format.ssrc
    }

    /// Bytes of repairs and parity since this was last asked.
    pub(crate) fn take_redundant(&mut self) -> u64 {
        std::mem::take(&mut self.redundant)
    }

    /// Packets sent so far, with parity, and with the repairs that the peer asked for.
    pub(crate) fn written(&self) -> u64 {
        self.next - 1 + self.next_rtx - 1 + self.next_fec - 1 - self.unasked
    }

    /// Sends a frame, with what the peer knows of.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        timestamp: u32,
        frame: &Frame,
        extras: Extras,
        wire: &mut Wire<'_>,
    ) {
        self.forget(now);
        let is_prefixed = extras.prefix;
        self.delay = playout_delay(extras.delay);
        let payloads = &frame.payloads;
        let mut fec = self.format.fec.and_then(|_| Parity::new(payloads.len(), extras.parity));
        let mut coming: usize = payloads.iter().map(|payload| payload.len() + 64).sum();
        for (i, payload) in payloads.iter().enumerate() {
            let header = Header {
                marker: i + 1 == payloads.len(),
                payload_type: self.format.payload_type,
                sequence: self.next as u16,
                timestamp,
                ssrc: self.format.ssrc,
                ..Header::default()
            };
            coming = coming.saturating_sub(payload.len() + 64);
            let prefix = if i == 0 { &frame.prefix[..] } else { &[] };
            let lead = if is_prefixed { Lead::Bytes(&[prefix]) } else { Lead::Room(prefix.len()) };
            let covered = fec.as_mut().map(|fec| (fec, i));
            self.write(now, header, self.next, &lead, payload, coming, covered, wire);
            self.next += 1;
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(payload.len() as u32);
            let earned = payload.len() as f64 * REPAIR_SHARE;
            self.repair_budget = (self.repair_budget + earned).min(MAX_REPAIR_BUDGET);
        }
        self.kept_packets += payloads.len();
        let first = self.next - payloads.len() as u64;
        match fec {
            Some(fec) => self.send_fec(now, timestamp, first, &fec, wire),
            None => self.send_parity(now, timestamp, first, frame, extras.parity, wire),
        }
        let is_lossy = extras.parity > 0 || !extras.delay.is_zero();
        self.history.push_back(Sent {
            first,
            timestamp,
            at: now,
            frame: frame.clone(),
            is_prefixed,
            copies: 1 + u8::from(is_lossy),
            repaired: Vec::new(),
        });
        self.report_at.get_or_insert(now);
        self.tail = Some((now + TAIL_AFTER, 0));
    }

    fn send_fec(
        &mut self,
        now: Instant,
        timestamp: u32,
        first: u64,
        fec: &Parity,
        wire: &mut Wire<'_>,
    ) {
        let Some((ssrc, payload_type)) = self.format.fec else { return };
        for (head, rest) in fec.payloads(self.format.ssrc, first as u16) {
            let sequence = self.next_fec as u16;
            let header = Header { payload_type, sequence, timestamp, ssrc, ..Header::default() };
            let lead = Lead::Bytes(&[&head]);
            self.redundant += self.write(now, header, self.next_fec, &lead, rest, 0, None, wire);
            self.next_fec += 1;
        }
    }

    fn send_parity(
        &mut self,
        now: Instant,
        timestamp: u32,
        first: u64,
        frame: &Frame,
        count: usize,
        wire: &mut Wire<'_>,
    ) {
        let Some((ssrc, _)) = self.format.rtx else { return };
        for (which, shard) in frame.parity.iter().enumerate().take(count) {
            let header = Header {
                payload_type: parity::PAYLOAD_TYPE,
                sequence: self.next_rtx as u16,
                timestamp,
                ssrc,
                ..Header::default()
            };
            let head = parity::head(first, frame.payloads.len(), frame.parity.len(), which);
            let coming = (count.min(frame.parity.len()) - which - 1) * (shard.len() + 64);
            let lead = Lead::Bytes(&[&head]);
            let number = self.next_rtx;
            self.redundant += self.write(now, header, number, &lead, shard, coming, None, wire);
            self.next_rtx += 1;
        }
    }

    /// Writes one packet, and adds it to the parity that covers it. Returns its bytes. All packets of a track have headers of one
    /// length: the kernel cuts batches apart by size.
    #[allow(clippy::too_many_arguments)] // parts of one packet
    fn write(
        &self,
        now: Instant,
        header: Header,
        index: u64,
        lead: &Lead<'_>,
        payload: &[u8],
        coming: usize,
        covered: Option<(&mut Parity, usize)>,
        wire: &mut Wire<'_>,
    ) -> u64 {
        let Wire { sealer, log, batches } = wire;
        let delay = self.format.playout_delay.map(|id| (id, self.delay));
        let number = self.format.transport_cc.map(|id| (id, log.next_number().to_be_bytes()));
        let number_at = FIXED_HEADER_LEN + 4 + delay.map_or(0, |(_, value)| value.len() + 1) + 1;
        // Parity covers a zero in place of what is another in each sending, as receivers of FlexFEC read it.
        let written =
            number.map(|(id, number)| (id, if covered.is_some() { [0; 2] } else { number }));
        let mut extensions: [(u8, &[u8]); 2] = [(0, &[]); 2];
        let mut count = 0;
        for (id, value) in [
            delay.as_ref().map(|(id, value)| (*id, &value[..])),
            written.as_ref().map(|(id, value)| (*id, &value[..])),
        ]
        .into_iter()
        .flatten()
        {
            extensions[count] = (id, value);
            count += 1;
        }
        let (before, zeros) = match *lead {
            Lead::Bytes(parts) => (parts, 0),
            Lead::Room(zeros) => (&[][..], zeros.next_multiple_of(4)),
        };
        let extension_len = match count {
            0 => 0,
            _ => {
                let elements: usize = extensions[..count].iter().map(|(_, v)| v.len() + 1).sum();
                4 + elements.next_multiple_of(4) + zeros
            }
        };
        let before_len: usize = before.iter().map(|part| part.len()).sum();
        let tag = sealer.profile().tag_len();
        let len = 12 + extension_len + before_len + payload.len() + tag;
        batches.push(len, coming, |buffer| {
            let start = buffer.len();
            let header_len = header.write_padded(buffer, &extensions[..count], zeros);
            before.iter().for_each(|part| buffer.extend_from_slice(part));
            buffer.extend_from_slice(payload);
            if let Some((parity, index)) = covered {
                parity.add(index, &buffer[start..]);
                if let Some((_, number)) = number {
                    let at = start + number_at;
                    buffer[at..at + number.len()].copy_from_slice(&number);
                }
            }
            sealer.seal_rtp(buffer, start, header_len, header.ssrc, index)
        });
        if number.is_some() {
            let is_repair = self.format.rtx == Some((header.ssrc, header.payload_type));
            log.sent(now, len, is_repair);
        }
        len as u64
    }

    /// When [`Self::send_tail`] is due.
    pub(crate) fn tail_due(&self) -> Option<Instant> {
        self.tail.map(|(at, _)| at)
    }

    /// Sends the last packet again, if that is due, or later if some of its frame has not left yet.
    pub(crate) fn send_tail(&mut self, now: Instant, has_left: bool, wire: &mut Wire<'_>) {
        let Some((_, times)) = self.tail.filter(|(at, _)| now >= *at) else { return };
        if !has_left {
            self.tail = Some((now + TAIL_AFTER, times));
            return;
        }
        self.tail = (times + 1 < TAILS).then(|| (now + TAIL_AFTER * (2 << times), times + 1));
        self.forget(now);
        if let Some(at) = self.history.len().checked_sub(1)
            && let Some(offset) = self.history[at].frame.payloads.len().checked_sub(1)
        {
            let before = self.next_rtx;
            self.resend(now, Reason::Tail, (at, offset), wire);
            self.unasked += self.next_rtx - before;
        }
    }

    /// Sends again what was sent since then, at most so many packets and the oldest first: the peer may not know yet that it misses
    /// them. Packets that were repaired a moment ago are left out.
    pub(crate) fn repeat(
        &mut self,
        now: Instant,
        since: Instant,
        most: usize,
        wire: &mut Wire<'_>,
    ) {
        let first = self.history.partition_point(|sent| sent.at < since);
        // Not what has just left.
        let last = self.history.partition_point(|sent| sent.at < now);
        let (mut left, before) = (most, self.next_rtx);
        'all: for at in first..last {
            for offset in 0..self.history[at].frame.payloads.len() {
                if left == 0 {
                    break 'all;
                }
                left -= usize::from(self.resend(now, Reason::Silence, (at, offset), wire));
            }
        }
        self.unasked += self.next_rtx - before;
    }

    /// Repairs packets that the peer misses, each at most once per round trip: an answer that is under way already is
    /// not sent again.
    pub(crate) fn repair(
        &mut self,
        now: Instant,
        rtt: Duration,
        missing: impl Iterator<Item = u16>,
        wire: &mut Wire<'_>,
    ) {
        self.forget(now);
        for sequence in missing.take(MAX_NACKED) {
            let newest = self.next - 1;
            let Some(index) = newest.checked_sub((newest as u16).wrapping_sub(sequence).into())
            else {
                continue;
            };
            let after = self.history.partition_point(|sent| sent.first <= index);
            let Some(at) = after.checked_sub(1) else { continue };
            let offset = (index - self.history[at].first) as usize;
            self.resend(now, Reason::Asked(rtt), (at, offset), wire);
        }
    }

    /// Sends one packet of a kept frame as a repair, unless that was done a moment ago, or there is no budget for it. Where packets get
    /// lost what the peer asks for leaves twice. Returns whether it was sent.
    fn resend(
        &mut self,
        now: Instant,
        reason: Reason,
        (at, offset): (usize, usize),
        wire: &mut Wire<'_>,
    ) -> bool {
        let Some((ssrc, payload_type)) = self.format.rtx else { return false };
        let Some(sent) = self.history.get_mut(at) else { return false };
        let Some(payload) = sent.frame.payloads.get(offset).map(Arc::clone) else { return false };
        let (pause, kept, copies) = match reason {
            // Both ends measure the round trip, and not the same one.
            Reason::Asked(rtt) => (rtt * 3 / 4, Some(0.0), sent.copies),
            // What the peer asks for goes first.
            Reason::Silence => (REPEAT_PAUSE, Some(FIRST_REPAIR_BUDGET), 1),
            Reason::Tail => (REPEAT_PAUSE, None, 1),
        };
        sent.repaired.resize(sent.frame.payloads.len(), None);
        let is_under_way = sent.repaired[offset].is_some_and(|at| now < at + pause);
        let bytes = payload.len() as f64;
        if is_under_way || kept.is_some_and(|kept| self.repair_budget < kept + bytes) {
            return false;
        }
        sent.repaired[offset] = Some(now);
        let (marker, timestamp) = (offset + 1 == sent.frame.payloads.len(), sent.timestamp);
        let original = ((sent.first + offset as u64) as u16).to_be_bytes();
        let prefix = (sent.is_prefixed && offset == 0).then(|| Arc::clone(&sent.frame.prefix));
        let lead = Lead::Bytes(&[&original, prefix.as_deref().unwrap_or_default()]);
        for _ in 0..copies {
            let sequence = self.next_rtx as u16;
            let header =
                Header { marker, payload_type, sequence, timestamp, ssrc, ..Header::default() };
            let number = self.next_rtx;
            self.redundant += self.write(now, header, number, &lead, &payload, 0, None, wire);
            self.next_rtx += 1;
            self.repair_budget -= kept.map_or(0.0, |_| bytes);
        }
        true
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.history.front()
            && (now.saturating_duration_since(oldest.at) > KEPT
                || self.history.len() > MAX_KEPT_FRAMES
                || self.kept_packets > MAX_KEPT_PACKETS)
        {
            self.kept_packets -= oldest.frame.payloads.len();
            self.history.pop_front();
        }
    }

    /// When [`Self::report`] is due: each second while packets are sent.
    pub(crate) fn report_due(&self) -> Option<Instant> {
        self.report_at
    }

    /// Appends a sender report, if one is due. RFC 3550, 6.4.1, lets senders without a wall clock count NTP time from any
    /// beginning: here it counts from `epoch`, like the RTP timestamps.
    pub(crate) fn report(&mut self, now: Instant, epoch: Instant, out: &mut Vec<u8>) {
        if self.report_at.is_none_or(|at| now < at) {
            return;
        }
        if self.reported == self.packets {
            self.report_at = None;
            return;
        }
        self.reported = self.packets;
        self.report_at = Some(now + REPORT_EVERY);
        let elapsed = now.saturating_duration_since(epoch).as_nanos() as u64;
        let (seconds, rest) = (elapsed / 1_000_000_000, elapsed % 1_000_000_000);
        let info = rtcp::SenderInfo {
            sender: self.format.ssrc,
            ntp: (seconds << 32) | ((rest << 32) / 1_000_000_000),
            timestamp: (u128::from(elapsed) * u128::from(VIDEO_CLOCK) / 1_000_000_000) as u32,
            packets: self.packets,
            octets: self.octets,
        };
        rtcp::sender_report(out, &info, &[]);
        rtcp::cname(out, self.format.ssrc, CNAME);
    }
}

/// 24 bits: 12 each for the least and the greatest delay, in units of 10 ms.
fn playout_delay(delay: Duration) -> [u8; 3] {
    let units = (delay.as_millis() / 10).min(0xfff) as u32;
    let [_, a, b, c] = (units << 12 | units).to_be_bytes();
    [a, b, c]
}
