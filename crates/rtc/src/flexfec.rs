//! Parity of a frame for browsers: FlexFEC (draft-ietf-payload-flexible-fec-scheme-03), which Chromium takes as `flexfec-03`.
//! A packet of it is the XOR of some packets of the frame, each of which it makes again if it is the only one of them that is lost.
//! It covers whole RTP packets with their header extensions, so it is made for each peer anew.

use crate::rtp;

/// The most packets of a frame that has parity: a mask names so many.
const MAX_PACKETS: usize = 109;
/// The most parity packets of a frame.
const MAX_PARITY: usize = 32;
/// Bytes before the XOR of what follows the RTP headers, with the longest mask.
const MAX_HEAD: usize = 32;

/// The parity of one frame, while its packets are written.
#[derive(Debug)]
pub(crate) struct Parity {
    packets: usize,
    rows: Vec<Row>,
}

/// One parity packet: the XOR of the packets in its mask.
#[derive(Debug, Clone, Default)]
struct Row {
    /// A bit for each packet, the first of the frame's in the highest.
    mask: u128,
    /// Of the first eight bytes of RTP headers, with the length of what follows a header in place of the sequence number.
    head: [u8; 8],
    /// Of what follows the headers.
    rest: Vec<u8>,
}

impl Parity {
    /// For a frame of so many packets; none if they are too many. More parity packets than one more than these would cover nothing.
    pub(crate) fn new(packets: usize, count: usize) -> Option<Self> {
        let is_possible = (1..=MAX_PACKETS).contains(&packets) && count > 0;
        let rows = count.min(MAX_PARITY).min(packets + 1);
        is_possible.then(|| Self { packets, rows: vec![Row::default(); rows] })
    }

    /// Takes the next packet of the frame as it is before encryption, with a header of 12 bytes and what follows it.
    pub(crate) fn add(&mut self, index: usize, packet: &[u8]) {
        let Some((head, rest)) = packet.split_at_checked(rtp::FIXED_HEADER_LEN) else { return };
        let members = members(index, self.rows.len());
        for (which, row) in self.rows.iter_mut().enumerate() {
            // All are as long as the longest packet: what is sent together has one length.
            if row.rest.len() < rest.len() {
                row.rest.resize(rest.len(), 0);
            }
            if members >> which & 1 == 0 {
                continue;
            }
            row.mask |= 1 << (127 - index);
            let length = (rest.len() as u16).to_be_bytes();
            let covered =
                [head[0], head[1], length[0], length[1], head[4], head[5], head[6], head[7]];
            xor(&mut row.head, &covered);
            xor(&mut row.rest, rest);
        }
    }

    /// The payloads of the parity packets, each in two parts. `first` is the number of the frame's first packet.
    pub(crate) fn payloads(&self, ssrc: u32, first: u16) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
        self.rows.iter().map(move |row| (row.head(self.packets, ssrc, first), &row.rest[..]))
    }
}

impl Row {
    /// The FEC header (draft 03, 4.2.2.1): one source, and as much of the mask as the frame needs.
    fn head(&self, packets: usize, ssrc: u32, first: u16) -> Vec<u8> {
        let mut head = Vec::with_capacity(MAX_HEAD);
        head.extend_from_slice(&self.head);
        // Neither a retransmission nor a fixed mask.
        head[0] &= 0x3f;
        head.extend_from_slice(&[1, 0, 0, 0]);
        head.extend_from_slice(&ssrc.to_be_bytes());
        head.extend_from_slice(&first.to_be_bytes());
        // Parts of 15, 31 and 63 packets; a bit before each tells whether it is the last.
        let part = |from: u32, bits: u32| (self.mask << from >> (128 - bits)) as u64;
        let is_last = |until: usize, bits: u32| u64::from(packets <= until) << bits;
        head.extend_from_slice(&((is_last(15, 15) | part(0, 15)) as u16).to_be_bytes());
        if packets > 15 {
            head.extend_from_slice(&((is_last(46, 31) | part(15, 31)) as u32).to_be_bytes());
        }
        if packets > 46 {
            head.extend_from_slice(&(is_last(MAX_PACKETS, 63) | part(46, 63)).to_be_bytes());
        }
        head
    }
}

fn xor(into: &mut [u8], bytes: &[u8]) {
    into.iter_mut().zip(bytes).for_each(|(into, byte)| *into ^= byte);
}

/// Of the three parity packets that cover a packet, where there are many: how far the second and the third are from the first. Packets
/// with the same distances share one parity packet at most, mostly.
const DISTANCES: [[usize; 2]; 5] = [[1, 3], [2, 3], [1, 4], [3, 4], [2, 5]];
const MANY: usize = 8;

/// The parity packets that cover a packet, a bit for each. No two packets of a usual frame have the same, which are up to 15 with four
/// parity packets and 84 with eight, so two that are lost are made again one after the other; where there are more parity packets, three
/// and more that are lost mostly are too.
fn members(index: usize, rows: usize) -> u32 {
    if rows <= 4 {
        // The first packets are in most: a frame of few leaves no parity packet without any.
        let sets = (1 << rows) - 1;
        return (sets - index % sets) as u32;
    }
    let apart = if rows < MANY { 0 } else { DISTANCES.len() * rows };
    let (pairs, triples) = (pairs(rows), pairs(rows) * (rows - 2) / 3);
    match index % (pairs + triples) {
        nth if nth < apart => spread(nth, rows),
        nth if nth < apart + pairs => pair(nth - apart, rows),
        nth => {
            let is_used = |set: &u32| (0..apart).any(|nth| spread(nth, rows) == *set);
            let mut left = (0..triples).map(|nth| triple(nth, rows)).filter(|set| !is_used(set));
            left.nth(nth - apart - pairs).unwrap_or(1)
        }
    }
}

fn spread(nth: usize, of: usize) -> u32 {
    let [second, third] = DISTANCES[nth / of];
    [0, second, third].into_iter().fold(0, |set, by| set | 1 << ((nth + by) % of))
}

fn pairs(of: usize) -> usize {
    of * of.saturating_sub(1) / 2
}

fn pair(mut nth: usize, of: usize) -> u32 {
    for first in 0..of {
        let left = of - first - 1;
        if nth < left {
            return 1 << first | 2 << (first + nth);
        }
        nth -= left;
    }
    1
}

fn triple(mut nth: usize, of: usize) -> u32 {
    for first in 0..of {
        let left = pairs(of - first - 1);
        if nth < left {
            return 1 << first | pair(nth, of - first - 1) << (first + 1);
        }
        nth -= left;
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSRC: u32 = 0x0102_0304;
    const FIRST: u16 = 65_530;

    /// RTP packets of a frame, with header extensions and payloads of different lengths.
    fn packets(count: usize) -> Vec<Vec<u8>> {
        let packet = |index: usize| {
            let header = rtp::Header {
                marker: index + 1 == count,
                payload_type: 102,
                sequence: FIRST.wrapping_add(index as u16),
                timestamp: 90_000,
                ssrc: SSRC,
                ..rtp::Header::default()
            };
            let mut packet = Vec::new();
            header.write(&mut packet, &[(3, &(index as u16).to_be_bytes())]);
            packet.extend((0..30 + 7 * (index % 5)).map(|byte| (byte * (index + 1)) as u8));
            packet
        };
        (0..count).map(packet).collect()
    }

    fn parity(packets: &[Vec<u8>], count: usize) -> Vec<Vec<u8>> {
        let mut parity = Parity::new(packets.len(), count).unwrap();
        packets.iter().enumerate().for_each(|(index, packet)| parity.add(index, packet));
        let payloads = parity.payloads(SSRC, FIRST).map(|(head, rest)| [&head, rest].concat());
        payloads.collect()
    }

    /// What a receiver reads: the packets that are covered, and the length of the header.
    fn mask(payload: &[u8]) -> (Vec<usize>, usize) {
        assert_eq!((payload[0] >> 6, &payload[8..12]), (0, &[1, 0, 0, 0][..]));
        assert_eq!((&payload[12..16], &payload[16..18]), (&[1, 2, 3, 4][..], &[0xff, 0xfa][..]));
        let (mut members, mut at, mut first) = (Vec::new(), 18, 0);
        for bytes in [2, 4, 8] {
            let bits = bytes * 8 - 1;
            let word =
                payload[at..at + bytes].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            members.extend(
                (0..bits).filter(|bit| word >> (bits - 1 - bit) & 1 == 1).map(|bit| first + bit),
            );
            (at, first) = (at + bytes, first + bits);
            if word >> bits == 1 {
                return (members, at);
            }
        }
        panic!("no last part");
    }

    /// Makes a packet again as a receiver does, from a parity packet and the others that it covers.
    fn make(payload: &[u8], missing: usize, packets: &[Vec<u8>]) -> Vec<u8> {
        let (members, head) = mask(payload);
        let (mut fields, mut rest) = (payload[..8].to_vec(), payload[head..].to_vec());
        for member in members.into_iter().filter(|member| *member != missing) {
            let packet = &packets[member];
            let length = ((packet.len() - 12) as u16).to_be_bytes();
            xor(&mut fields, &[&packet[..2], &length, &packet[4..8]].concat());
            xor(&mut rest, &packet[12..]);
        }
        let length = usize::from(u16::from_be_bytes([fields[2], fields[3]]));
        let number = FIRST.wrapping_add(missing as u16).to_be_bytes();
        let version = 0x80 | fields[0] & 0x3f;
        let header = [&[version, fields[1]], &number[..], &fields[4..8], &SSRC.to_be_bytes()];
        [&header.concat(), &rest[..length]].concat()
    }

    #[test]
    fn each_packet_is_made_again_by_each_parity_packet_that_covers_it() {
        let few = (1..10).flat_map(|count| (1..=count + 1).map(move |rows| (count, rows)));
        for (count, rows) in few.chain([(15, 2), (16, 3), (46, 5), (47, 8), (109, 32)]) {
            let packets = packets(count);
            let parity = parity(&packets, rows);
            assert_eq!(parity.len(), rows);
            assert!(parity.iter().all(|payload| !mask(payload).0.is_empty()), "{count}, {rows}");
            let mut covered = vec![0; count];
            for payload in &parity {
                for member in mask(payload).0 {
                    covered[member] += 1;
                    assert_eq!(make(payload, member, &packets), packets[member]);
                }
            }
            assert!(covered.iter().all(|times| *times > 0), "{count} packets, {rows} rows");
        }
    }

    #[test]
    fn four_lost_packets_are_made_again_where_there_is_much_parity() {
        let (packets, rows) = (16, 8);
        let makes = |lost: &[usize]| {
            let mut left: Vec<u32> = lost.iter().map(|index| members(*index, rows)).collect();
            loop {
                let alone = (0..rows).find_map(|row| {
                    let mut covered =
                        left.iter().enumerate().filter(|(_, set)| *set >> row & 1 == 1);
                    covered.next().filter(|_| covered.next().is_none()).map(|(which, _)| which)
                });
                match alone {
                    Some(which) => drop(left.swap_remove(which)),
                    None => return left.is_empty(),
                }
            }
        };
        let fours = (0..packets).flat_map(|a| (0..a).map(move |b| [a, b]));
        let fours: Vec<_> = fours
            .flat_map(|[a, b]| (0..b).flat_map(move |c| (0..c).map(move |d| [a, b, c, d])))
            .collect();
        let made = fours.iter().filter(|lost| makes(&lost[..])).count();
        assert!(fours.iter().all(|lost| makes(&lost[..2]) && makes(&lost[..3])));
        assert!(made * 100 > fours.len() * 98, "{made} of {}", fours.len());
    }

    #[test]
    fn two_lost_packets_are_covered_differently() {
        for (packets, rows) in [(3, 2), (7, 3), (15, 4), (20, 5), (35, 6), (84, 8), (96, 9)] {
            let mut sets: Vec<_> = (0..packets).map(|index| members(index, rows)).collect();
            assert!(sets.iter().all(|set| *set > 0 && *set < 1 << rows));
            sets.sort_unstable();
            sets.dedup();
            assert_eq!(sets.len(), packets, "{rows} rows");
        }
    }

    #[test]
    fn frames_of_too_many_packets_have_none() {
        assert!(Parity::new(MAX_PACKETS + 1, 3).is_none() && Parity::new(0, 3).is_none());
        assert!(Parity::new(5, 0).is_none());
        assert_eq!(Parity::new(5, 9).unwrap().rows.len(), 6);
    }
}
