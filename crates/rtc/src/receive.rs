//! An incoming track: packets in, each at most once; which are missing, and when to ask for them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::parity::{self, Keeper, Made};
use crate::rtcp;
use crate::rtp::{self, Header, Unwrapper};
use crate::srtp::{Opener, Replay};

/// A packet is taken for lost this long after a later one came, or when [`LATER_PACKETS`] later ones did: networks
/// reorder a little.
const REORDERING: Duration = Duration::from_millis(5);
/// Where there is parity, it comes after its frame.
const REORDERING_WITH_PARITY: Duration = Duration::from_millis(12);
const LATER_PACKETS: u64 = 3;
/// A repair is asked for again after a round trip and this.
const SLACK: Duration = Duration::from_millis(5);
/// Where packets get lost requests do too: each is sent twice, so far apart. The other side repairs a packet once in a round trip.
const SECOND: Duration = Duration::from_millis(10);
/// Repairs are not asked for more often than this, however short the round trip.
const MIN_RETRY: Duration = Duration::from_millis(10);
/// Missing packets known at a time; of more, the oldest are given up. A gap longer than this is not repaired.
const MAX_MISSING: usize = 2048;
/// A sender keeps packets no longer than this.
const MAX_AGE: Duration = Duration::from_secs(2);
/// Senders number packets from 1, so the first that comes tells how many were lost before, unless it is far from 1.
const MAX_FIRST: u64 = 512;

/// What both ends agreed on about a track's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    /// SSRC and payload type of repairs (RFC 4588).
    pub(crate) rtx: Option<(u32, u8)>,
}

/// A packet that was not there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// Number of the packet in the track: its sequence number, extended.
    pub(crate) index: u64,
    pub(crate) marker: bool,
    pub(crate) timestamp: u32,
    pub(crate) is_repair: bool,
    /// Where the payload lies in the datagram.
    pub(crate) payload: Range<usize>,
}

#[derive(Debug)]
struct Missing {
    since: Instant,
    due: Instant,
    /// Whether it is asked for a second time in a round trip.
    is_second: bool,
}

/// Numbers and replay window of one SSRC.
#[derive(Default)]
struct Stream {
    unwrapper: Unwrapper,
    replay: Box<Replay>,
}

impl Stream {
    /// Opens a packet in place. Returns its index, and the length of the plain packet.
    fn open(
        &mut self,
        packet: &mut [u8],
        header: &Header,
        opener: &Opener,
    ) -> Option<(u64, usize)> {
        let index = self.unwrapper.guess(header.sequence);
        if !self.replay.check(index) {
            return None;
        }
        let len = opener.open_rtp(packet, header.len, header.ssrc, index)?;
        self.replay.accept(index);
        self.unwrapper.accept(index);
        Some((index, len))
    }
}

pub(crate) struct Receiver {
    format: Format,
    media: Stream,
    repairs: Stream,
    /// From the first parity packet on.
    parity: Option<Box<Keeper>>,
    missing: BTreeMap<u64, Missing>,
    /// The earliest deadline among those that are missing.
    due: Option<Instant>,
}

impl Receiver {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            media: Stream::default(),
            repairs: Stream::default(),
            parity: None,
            missing: BTreeMap::new(),
            due: None,
        }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.format.ssrc
    }

    /// Whether a packet with this header may be one of this track's. Nothing is allocated before.
    pub(crate) fn takes(&self, header: &Header) -> bool {
        let Format { ssrc, payload_type, rtx } = self.format;
        let names = (header.ssrc, header.payload_type);
        let parity = rtx.map(|(ssrc, _)| (ssrc, parity::PAYLOAD_TYPE));
        names == (ssrc, payload_type) || Some(names) == rtx || Some(names) == parity
    }

    /// Opens a parity packet. Returns where its payload lies, or `None` as [`Self::open`] does.
    pub(crate) fn open_parity(
        &mut self,
        packet: &mut [u8],
        header: &Header,
        opener: &Opener,
    ) -> Option<Range<usize>> {
        let (_, len) = self.repairs.open(packet, header, opener)?;
        payload_range(header, packet.get(..len)?)
    }

    /// Takes the payload of a parity packet, and returns what it makes again.
    pub(crate) fn parity_came(
        &mut self,
        now: Instant,
        payload: &Bytes,
        timestamp: u32,
    ) -> Vec<Made> {
        let media = &self.media.unwrapper;
        let keeper = self.parity.get_or_insert_default();
        let made = keeper.parity(now, payload, timestamp, |number| media.guess(number));
        self.made(now, made)
    }

    /// Takes the payload of a packet, and returns what can be made again by it.
    pub(crate) fn payload_came(&mut self, now: Instant, index: u64, payload: &Bytes) -> Vec<Made> {
        let Some(keeper) = &mut self.parity else { return Vec::new() };
        let made = keeper.came(now, index, payload.clone());
        self.made(now, made)
    }

    /// What was made again is as good as received: it is neither asked for nor taken once more.
    fn made(&mut self, now: Instant, made: Vec<Made>) -> Vec<Made> {
        let is_new = |made: &Made| self.media.replay.check(made.index);
        let made: Vec<_> = made.into_iter().filter(is_new).collect();
        for made in &made {
            let newest = self.media.unwrapper.highest();
            self.media.replay.accept(made.index);
            self.media.unwrapper.accept(made.index);
            self.note(now, newest, made.index);
        }
        made
    }

    /// Opens a packet that it [takes](Self::takes). Returns `None` if it is not authentic, not new or malformed.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        packet: &mut [u8],
        header: &Header,
        opener: &Opener,
    ) -> Option<Received> {
        if header.ssrc != self.format.ssrc {
            return self.open_repair(now, packet, header, opener);
        }
        let newest = self.media.unwrapper.highest();
        let (index, len) = self.media.open(packet, header, opener)?;
        let payload = payload_range(header, packet.get(..len)?)?;
        self.note(now, newest, index);
        let Header { marker, timestamp, .. } = *header;
        Some(Received { index, marker, timestamp, is_repair: false, payload })
    }

    /// A repair carries the original's number before its payload (RFC 4588, 4).
    fn open_repair(
        &mut self,
        now: Instant,
        packet: &mut [u8],
        header: &Header,
        opener: &Opener,
    ) -> Option<Received> {
        let (_, len) = self.repairs.open(packet, header, opener)?;
        let payload = payload_range(header, packet.get(..len)?)?;
        let original = packet.get(payload.clone())?.first_chunk().copied()?;
        let index = self.media.unwrapper.guess(u16::from_be_bytes(original));
        // Only what is missing, and what comes late after all is ignored then. The end of the last frame is known to be missing by its
        // repair alone.
        let is_missing = self.missing.remove(&index).is_some();
        let newest = self.media.unwrapper.highest();
        let is_old = newest.is_none_or(|newest| newest >= index);
        if !self.media.replay.check(index) || (is_old && !is_missing) {
            return None;
        }
        self.media.replay.accept(index);
        if !is_old {
            self.media.unwrapper.accept(index);
            self.note(now, newest, index);
        }
        let Header { marker, timestamp, .. } = *header;
        let payload = payload.start + 2..payload.end;
        Some(Received { index, marker, timestamp, is_repair: true, payload })
    }

    /// Takes note of a packet, and of the gap that shows by it.
    fn note(&mut self, now: Instant, newest: Option<u64>, index: u64) {
        self.missing.remove(&index);
        let first = match newest {
            Some(newest) => newest + 1,
            None if index <= MAX_FIRST => 1,
            None => index,
        };
        if first < index {
            if index - first > MAX_MISSING as u64 {
                // So much is not repaired in time: the track begins anew here.
                self.missing.clear();
                self.due = None;
                return;
            }
            let due = now + self.reordering();
            for lost in first..index {
                self.missing.insert(lost, Missing { since: now, due, is_second: false });
            }
            while self.missing.len() > MAX_MISSING {
                self.missing.pop_first();
            }
            self.wake(due);
        }
        if self.parity.is_some() {
            return;
        }
        let reordered = index.saturating_sub(LATER_PACKETS);
        // Of those that became old enough by this packet only: the rest waits for its time.
        let mut is_due = false;
        for (_, missing) in self.missing.range_mut(..=reordered).rev() {
            if missing.since + REORDERING != missing.due || missing.due <= now {
                break;
            }
            missing.due = now;
            is_due = true;
        }
        if is_due {
            self.wake(now);
        }
    }

    fn reordering(&self) -> Duration {
        if self.parity.is_some() { REORDERING_WITH_PARITY } else { REORDERING }
    }

    fn wake(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Packets before this one are not waited for any more.
    pub(crate) fn forget_before(&mut self, index: u64) {
        if self.missing.first_key_value().is_some_and(|(first, _)| *first < index) {
            self.missing = self.missing.split_off(&index);
        }
    }

    /// When [`Self::ask`] is due.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Appends a NACK for the packets that are to be asked for now.
    pub(crate) fn ask(&mut self, now: Instant, rtt: Duration, sender: u32, out: &mut Vec<u8>) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.missing.retain(|_, missing| now < missing.since + MAX_AGE);
        let due = self.missing.iter().filter(|(_, missing)| now >= missing.due);
        let numbers: Vec<u16> = due.map(|(index, _)| *index as u16).collect();
        let asked = rtcp::nack(out, sender, self.format.ssrc, &numbers);
        let is_lossy = self.parity.is_some() && rtt > 4 * SECOND;
        let again = now + (rtt + SLACK).max(MIN_RETRY);
        let due = self.missing.values_mut().filter(|missing| now >= missing.due);
        due.take(asked).for_each(|missing| {
            missing.is_second = is_lossy && !missing.is_second;
            missing.due = if missing.is_second { now + SECOND } else { again };
        });
        self.due = self.missing.values().map(|missing| missing.due).min();
    }
}

fn payload_range(header: &Header, plain: &[u8]) -> Option<Range<usize>> {
    let payload = rtp::payload(header, plain)?;
    Some(header.len..header.len + payload.len())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;
    use crate::rtcp::Packet;
    use crate::srtp::{self, Profile, Sealer};

    const RTT: Duration = Duration::from_millis(50);
    const FORMAT: Format = Format { ssrc: 1, payload_type: 102, rtx: Some((2, 103)) };

    struct Fixture {
        receiver: Receiver,
        sealer: Sealer,
        opener: Opener,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let profile = Profile::AeadAes128Gcm;
            let keys = vec![7; profile.keying_material_len()];
            let (sealer, _) = srtp::sessions(profile, &keys, true).unwrap();
            let (_, opener) = srtp::sessions(profile, &keys, false).unwrap();
            Self { receiver: Receiver::new(FORMAT), sealer, opener, now: Instant::now() }
        }

        fn packet(&mut self, ssrc: u32, payload_type: u8, index: u64, payload: &[u8]) -> Vec<u8> {
            let sequence = index as u16;
            let header = Header { ssrc, payload_type, sequence, ..Header::default() };
            let mut packet = Vec::new();
            let len = header.write(&mut packet, &[]);
            packet.extend_from_slice(payload);
            assert!(self.sealer.seal_rtp(&mut packet, 0, len, ssrc, index));
            packet
        }

        fn open(&mut self, mut packet: Vec<u8>) -> Option<Received> {
            let header = Header::parse(&packet).unwrap();
            self.receiver.open(self.now, &mut packet, &header, &self.opener)
        }

        fn media(&mut self, index: u64) -> Option<Received> {
            let packet = self.packet(1, 102, index, b"frame");
            self.open(packet)
        }

        fn asked(&mut self) -> Vec<u16> {
            let mut packet = Vec::new();
            self.receiver.ask(self.now, RTT, 9, &mut packet);
            let nacks = rtcp::packets(&packet).filter_map(|packet| match packet {
                Packet::Nack(nack) => Some(nack.sequences().collect::<Vec<_>>()),
                _ => None,
            });
            nacks.flatten().collect()
        }
    }

    #[test]
    fn a_gap_is_asked_for_after_later_packets_or_a_moment_and_again_each_round_trip() {
        let mut f = Fixture::new();
        f.media(1);
        f.media(3);
        assert!(f.asked().is_empty(), "it may have been overtaken");
        f.now += REORDERING;
        assert_eq!(f.asked(), [2]);
        assert!(f.asked().is_empty());
        f.now += RTT + SLACK;
        assert_eq!(f.asked(), [2]);
        for index in [5, 6, 7] {
            f.media(index);
        }
        assert_eq!(f.asked(), [4], "three later ones came");
    }

    #[test]
    fn with_parity_each_request_is_sent_twice() {
        let mut f = Fixture::new();
        f.receiver.parity = Some(Box::default());
        f.media(1);
        f.media(3);
        f.now += REORDERING_WITH_PARITY;
        assert_eq!(f.asked(), [2]);
        f.now += SECOND;
        assert_eq!(f.asked(), [2]);
        f.now += RTT / 2;
        assert!(f.asked().is_empty(), "the repair is under way");
        f.now += RTT / 2 + SLACK;
        assert_eq!(f.asked(), [2]);
    }

    #[test]
    fn packets_lost_before_the_first_that_comes_are_asked_for() {
        let mut f = Fixture::new();
        f.media(3);
        f.now += REORDERING;
        assert_eq!(f.asked(), [1, 2]);
        let mut late = Fixture::new();
        late.media(MAX_FIRST + 1);
        late.now += REORDERING;
        assert!(late.asked().is_empty());
    }

    #[test]
    fn a_repair_is_taken_once_and_only_where_something_is_missing() {
        let mut f = Fixture::new();
        f.media(1);
        let late = f.packet(1, 102, 2, b"frame");
        f.media(3);
        let repairs: Vec<_> = [(1, 2_u16), (2, 2), (3, 3)]
            .into_iter()
            .map(|(index, original)| {
                let payload = [&original.to_be_bytes()[..], b"again"].concat();
                let packet = f.packet(2, 103, index, &payload);
                f.open(packet)
            })
            .collect();
        let first = repairs[0].as_ref().unwrap();
        assert!(first.index == 2 && first.is_repair && first.payload.len() == 5);
        assert!(repairs[1..].iter().all(Option::is_none));
        assert_eq!(f.open(late), None, "it is there already");
        f.now += REORDERING;
        assert!(f.asked().is_empty());
    }

    #[test]
    fn a_repair_of_what_nothing_followed_shows_what_is_missing() {
        let mut f = Fixture::new();
        f.media(1);
        let last = f.packet(2, 103, 1, &[&4_u16.to_be_bytes()[..], b"end"].concat());
        assert_eq!(f.open(last).map(|received| received.index), Some(4));
        let again = f.packet(2, 103, 2, &[&4_u16.to_be_bytes()[..], b"end"].concat());
        assert_eq!(f.open(again), None);
        assert_eq!(f.media(4), None);
        f.now += REORDERING;
        assert_eq!(f.asked(), [2, 3]);
    }

    #[test]
    fn repeated_and_forged_packets_are_dropped() {
        let mut f = Fixture::new();
        let packet = f.packet(1, 102, 1, b"frame");
        let mut forged = packet.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(f.open(forged), None);
        assert!(f.open(packet.clone()).is_some());
        assert_eq!(f.open(packet), None);
    }

    #[test]
    fn what_is_missing_has_a_bound_and_is_forgotten_in_time() {
        let mut f = Fixture::new();
        f.media(1);
        f.media(30_000);
        assert!(f.receiver.missing.is_empty(), "so many are not repaired");
        f.media(32_000);
        f.media(34_000);
        assert_eq!(f.receiver.missing.len(), MAX_MISSING);
        f.receiver.forget_before(33_998);
        f.now += REORDERING;
        assert_eq!(f.asked(), [33_998, 33_999]);
        f.now += MAX_AGE;
        assert!(f.asked().is_empty() && f.receiver.timeout().is_none());
    }

    #[test]
    fn only_this_tracks_packets_are_taken() {
        let receiver = Receiver::new(FORMAT);
        let header = |ssrc, payload_type| Header { ssrc, payload_type, ..Header::default() };
        assert!(receiver.takes(&header(1, 102)) && receiver.takes(&header(2, 103)));
        for (ssrc, payload_type) in [(1, 103), (2, 102), (3, 102)] {
            assert!(!receiver.takes(&header(ssrc, payload_type)));
        }
    }
}
