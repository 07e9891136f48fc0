//! How large the packets of a link's path may be: found by probes (RFC 8899), while pictures are on their way already. Nearly all
//! paths carry what is sent at first; on the others nothing else would show why no picture comes.

use std::time::{Duration, Instant};

use lllsi_proto::control::SIZE_NAME;
use lllsi_rtc::PacketResult;

use super::{Link, LinkEvent, MAX_PAYLOAD, Pulse};
use crate::seal::Role;

/// Between two rounds of probes: a round trip and half of one, and this.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often a probe is sent until it counts as lost.
const ROUNDS: u32 = 3;
/// A path is probed this often at most.
const BEGIN_EVERY: Duration = Duration::from_secs(1);
/// Larger sizes are tried again this often.
const LATER: Duration = Duration::from_secs(10);
/// What stands around the RTP payload in a datagram: headers, extensions, the head of parity, the tag.
const AROUND: usize = 84;

/// Of that, what stands around the data of an APP packet: its head, the index and tag of SRTCP.
const AROUND_DATA: usize = 32;
/// The first byte of that data, before another and the bytes of the datagram.
const PROBE: u8 = 0;
const ACKNOWLEDGEMENT: u8 = 1;
/// So many large packets that are lost in a row, while some others arrive, are too large.
const MOST_LOST: u32 = 16;
const LEAST_ARRIVED: u32 = 2;
const LOST_FOR: Duration = Duration::from_millis(700);
/// Of a path whose round trip is not known.
const USUAL_ROUND_TRIP: Duration = Duration::from_millis(100);

/// The sizes that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PacketSize {
    /// For the least that IPv4 allows, an MTU of 576 bytes (RFC 791).
    Small,
    /// For one of 1,112 bytes.
    Middle,
    /// For one of 1,260 bytes, or 1,280 with IPv6, which allows no less (RFC 8200).
    Full,
}

impl PacketSize {
    const ALL: [Self; 3] = [Self::Full, Self::Middle, Self::Small];

    fn smaller(self) -> Option<Self> {
        Self::ALL.into_iter().find(|size| *size < self)
    }

    /// The most bytes of an RTP payload.
    pub(crate) fn payload(self) -> usize {
        match self {
            Self::Full => MAX_PAYLOAD,
            Self::Middle => 1000,
            Self::Small => 548 - AROUND,
        }
    }

    /// The most bytes of a datagram.
    pub(super) fn datagram(self) -> usize {
        self.payload() + AROUND
    }
}

/// What is known of a path.
#[derive(Debug)]
pub(super) struct PathSize {
    size: PacketSize,
    /// The largest that has come through since the path was found.
    found: Option<PacketSize>,
    rounds: u32,
    probe_at: Option<Instant>,
    begun_at: Option<Instant>,
    /// A probe of so many bytes came, and is to be acknowledged.
    owed: Option<usize>,
    /// Packets too large for the next smaller size that were lost in a row, and smaller ones that arrived meanwhile.
    lost: u32,
    arrived: u32,
    /// When the first of those was lost.
    lost_at: Option<Instant>,
}

impl PathSize {
    pub(super) fn new() -> Self {
        let (probe_at, begun_at, owed) = (None, None, None);
        let (found, rounds, lost, arrived) = (None, 0, 0, 0);
        let size = PacketSize::Full;
        Self { size, found, rounds, probe_at, begun_at, owed, lost, arrived, lost_at: None }
    }

    /// What packets may have now.
    pub(super) fn size(&self) -> PacketSize {
        self.size
    }

    /// A path was found: all sizes are tried on it, but no more often than every second, however often the other side moves.
    pub(super) fn begin(&mut self, now: Instant) {
        let at = match self.begun_at {
            Some(coming) if coming > now => coming,
            begun => begun.map_or(now, |begun| now.max(begun + BEGIN_EVERY)),
        };
        (self.found, self.rounds, self.probe_at) = (None, 0, Some(at));
        self.begun_at = Some(at);
    }

    /// A path to a side that knows of no probes was found: it is taken for a usual one.
    fn forget(&mut self) {
        (self.size, self.lost, self.arrived, self.lost_at) = (PacketSize::Full, 0, 0, None);
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.probe_at
    }

    /// What has become of a packet, as feedback shows it. Returns whether packets become smaller.
    fn fed_back(&mut self, now: Instant, bytes: usize, has_arrived: bool) -> bool {
        let Some(smaller) = self.size.smaller() else { return false };
        let is_large = bytes > smaller.payload() + AROUND;
        match (is_large, has_arrived) {
            (true, true) => (self.lost, self.arrived, self.lost_at) = (0, 0, None),
            (true, false) => {
                self.lost += 1;
                self.lost_at.get_or_insert(now);
            }
            (false, true) if self.lost > 0 => self.arrived += 1,
            (false, _) => {}
        }
        // A queue that is full drops large packets too, though not for long.
        let lasts = self.lost_at.is_some_and(|at| now >= at + LOST_FOR);
        if self.lost < MOST_LOST || self.arrived < LEAST_ARRIVED || !lasts {
            return false;
        }
        self.forget();
        self.size = smaller;
        true
    }

    /// The sizes of which a probe is due.
    pub(super) fn probes(
        &mut self,
        now: Instant,
        round_trip: Duration,
    ) -> impl Iterator<Item = PacketSize> + use<> {
        let is_due = self.probe_at.is_some_and(|at| now >= at);
        if is_due {
            self.rounds = self.rounds.saturating_add(1);
            let is_known = self.rounds > ROUNDS;
            // A side that acknowledges none does not know of probes.
            self.size = self.found.filter(|_| is_known).unwrap_or(self.size);
            let after = if is_known { LATER } else { round_trip.mul_f64(1.5) + PATIENCE };
            self.probe_at = Some(now + after);
        }
        let found = self.found;
        PacketSize::ALL.into_iter().filter(move |size| is_due && Some(*size) > found)
    }

    /// The other side has got a probe of so many bytes.
    pub(super) fn acknowledged(&mut self, bytes: usize) {
        let acknowledged = PacketSize::ALL.into_iter().find(|size| size.datagram() == bytes);
        self.found = self.found.max(acknowledged);
        self.size = self.found.map_or(self.size, |found| self.size.max(found));
        if self.found == Some(PacketSize::Full) {
            self.probe_at = None;
        }
    }
}

impl Link {
    /// What the packets of pictures may have.
    pub(crate) fn packet_size(&self) -> PacketSize {
        self.path_size.size()
    }

    /// A path was found: what fits is to be found out, if pictures go to the other side, and it knows of probes.
    pub(super) fn probe_path(&mut self, now: Instant) {
        match (self.role, self.pulse) {
            (Role::Host, Pulse::Feedback) => self.path_size.begin(now),
            (Role::Host, Pulse::Channel) => self.path_size.forget(),
            (Role::Client, _) => {}
        }
    }

    /// Browsers acknowledge no probes, but tell of each packet.
    pub(super) fn note_sizes(&mut self, now: Instant, results: &[PacketResult]) {
        for result in results {
            if self.path_size.fed_back(now, result.bytes as usize, result.arrived.is_some()) {
                self.events.push_back(LinkEvent::SizeReduced);
            }
        }
    }

    pub(super) fn send_probes(&mut self, now: Instant) {
        if !self.is_up() {
            return;
        }
        let before = self.path_size.size();
        let round_trip = self.rtt().unwrap_or(USUAL_ROUND_TRIP);
        let due = self.path_size.probes(now, round_trip).map(|size| (PROBE, size.datagram()));
        let owed = self.path_size.owed.take().map(|bytes| (ACKNOWLEDGEMENT, bytes));
        let mut is_sent = false;
        for (kind, bytes) in due.chain(owed) {
            let [high, low] = (bytes as u16).to_be_bytes();
            let mut data = vec![kind, 0, high, low];
            if kind == PROBE {
                data.resize(bytes - AROUND_DATA, 0);
            }
            self.transport.send_app(SIZE_NAME, [&data[..]]);
            is_sent = true;
        }
        if self.path_size.size() < before {
            self.events.push_back(LinkEvent::SizeReduced);
        }
        if is_sent {
            self.drain(now);
        }
    }

    pub(super) fn handle_probe(&mut self, data: &[u8]) {
        match (self.role, data) {
            (Role::Client, [PROBE, ..]) => self.path_size.owed = Some(data.len() + AROUND_DATA),
            (Role::Host, &[ACKNOWLEDGEMENT, _, high, low, ..]) => {
                self.path_size.acknowledged(u16::from_be_bytes([high, low]).into());
            }
            _ => self.ignored.messages += 1,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(80);

    /// Probes a path until nothing is due for a while. Each probe comes through if it is no larger than `most`, and is not the
    /// number that is lost. Returns how long it took until the size was as it stayed. Each probe is acknowledged before the next
    /// round.
    fn probed(path: &mut PathSize, begin: Instant, most: usize, lost: Option<u32>) -> Duration {
        let (mut now, mut number, mut changed) = (begin, 0, begin);
        path.begin(now);
        while now < begin + Duration::from_secs(5) {
            let before = path.size();
            let due: Vec<_> = path.probes(now, ROUND_TRIP).collect();
            if path.size() != before {
                changed = now;
            }
            let before = path.size();
            for size in due {
                number += 1;
                if size.datagram() <= most && Some(number) != lost {
                    path.acknowledged(size.datagram());
                }
            }
            if path.size() != before {
                changed = now;
            }
            now += Duration::from_millis(10);
        }
        changed - begin
    }

    #[test]
    fn the_largest_size_that_comes_through_is_found_soon() {
        let begin = Instant::now();
        let mut path = PathSize::new();
        assert!(path.probes(begin, ROUND_TRIP).next().is_none(), "there is no path yet");
        assert_eq!(probed(&mut path, begin, 1232, None), Duration::ZERO);
        assert_eq!((path.size(), path.timeout()), (PacketSize::Full, None));
        for (mtu, size) in
            [(1260, PacketSize::Full), (1200, PacketSize::Middle), (576, PacketSize::Small)]
        {
            let mut path = PathSize::new();
            let took = probed(&mut path, begin, mtu - 28, None);
            assert_eq!(path.size(), size);
            assert!(took < Duration::from_millis(600), "{took:?}");
        }
    }

    #[test]
    fn a_side_that_keeps_moving_is_not_probed_each_time() {
        let begin = Instant::now();
        let (mut path, mut count) = (PathSize::new(), 0);
        for ms in 0..3000 {
            let now = begin + Duration::from_millis(ms);
            path.begin(now);
            count += path.probes(now, ROUND_TRIP).count();
        }
        assert!((3..=3 * 4).contains(&count), "{count} probes in 3 s");
    }

    #[test]
    fn one_lost_probe_makes_nothing_smaller() {
        let begin = Instant::now();
        let mut path = PathSize::new();
        let took = probed(&mut path, begin, 1232, Some(1));
        assert_eq!((path.size(), took), (PacketSize::Full, Duration::ZERO), "it never shrank");
    }

    #[test]
    fn feedback_shows_that_large_packets_do_not_come_through() {
        let (begin, mut path) = (Instant::now(), PathSize::new());
        for _ in 0..100 {
            assert!(!path.fed_back(begin, 1148, false), "nothing comes through");
        }
        assert!((0..10).all(|_| !path.fed_back(begin, 300, true)), "a queue may be full");
        let later = begin + LOST_FOR;
        assert!(path.fed_back(later, 300, true));
        assert_eq!(path.size(), PacketSize::Middle);
        for number in 0..1000 {
            // Losses of a path that carries them.
            let now = later + Duration::from_millis(10 * number);
            assert!(!path.fed_back(now, 1000, number % 4 == 0) && !path.fed_back(now, 300, true));
        }
        path.forget();
        assert_eq!(path.size(), PacketSize::Full);
    }

    #[test]
    fn another_path_is_probed_anew_and_a_side_that_knows_nothing_of_it_is_sent_what_it_was() {
        let begin = Instant::now();
        let mut path = PathSize::new();
        probed(&mut path, begin, 1172, None);
        assert_eq!(path.size(), PacketSize::Middle);
        probed(&mut path, begin, 1232, None);
        assert_eq!(path.size(), PacketSize::Full);
        probed(&mut path, begin, 0, None);
        assert_eq!(path.size(), PacketSize::Full);
    }
}
