//! Transport-wide congestion control feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::write::{begin, finish};
use super::{FORMAT_TRANSPORT_CC, PADDING_BIT, TRANSPORT_FEEDBACK, split_u32};

/// The most packet statuses that one feedback, or all feedback of one compound packet, may have.
pub const MAX_STATUSES: usize = 8192;

/// The most statuses that [`transport_feedback`] writes: with 2 bytes of delta each, and 2 bytes
/// for 7 of them, the packet stays below 1,200 bytes.
const MAX_WRITTEN: usize = 504;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// Which of a range of packets arrived, and when.
///
/// It was read as a whole: each status has its symbol and each arrival its delta, so that
/// [`statuses`](Self::statuses) yields exactly [`status_count`](Self::status_count) items.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    /// The SSRC of the receiver.
    pub sender: u32,
    /// An SSRC of the sender; the feedback counts the packets of all of them.
    pub media_ssrc: u32,
    /// The transport-wide sequence number of the first status.
    pub base_sequence: u16,
    /// The instant that arrivals count from, in units of 64 ms, 24 bits signed; it wraps.
    pub reference_time: i32,
    /// Counts the feedback packets, so that a lost one is noticed; it wraps.
    pub feedback_count: u8,
    status_count: u16,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    /// `None` if there are no statuses or more than [`MAX_STATUSES`], if chunks or deltas are
    /// missing or more than 3 bytes are left over, or if a symbol is the reserved one.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender, rest) = split_u32(body)?;
        let (media_ssrc, rest) = split_u32(rest)?;
        let (&[base_high, base_low, count_high, count_low], rest) = rest.split_first_chunk()?;
        let (time_and_count, chunks_and_deltas) = split_u32(rest)?;
        let status_count = u16::from_be_bytes([count_high, count_low]);
        if status_count == 0 || usize::from(status_count) > MAX_STATUSES {
            return None;
        }
        let (chunks, deltas) = split_chunks(chunks_and_deltas, status_count)?;
        Some(TransportFeedback {
            sender,
            media_ssrc,
            base_sequence: u16::from_be_bytes([base_high, base_low]),
            reference_time: time_and_count as i32 >> 8,
            feedback_count: time_and_count as u8,
            status_count,
            chunks,
            deltas,
        })
    }

    /// How many packets the feedback reports on, 1..=[`MAX_STATUSES`].
    pub fn status_count(&self) -> usize {
        usize::from(self.status_count)
    }

    /// The packets in order as (transport-wide sequence number, arrival): the arrival is in units
    /// of 250 µs from [`reference_time`](Self::reference_time), `None` if the packet did not
    /// arrive.
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk::Run { symbol: NOT_RECEIVED, left: 0 },
            sequence: self.base_sequence,
            left: self.status_count,
            arrival: 0,
        }
    }
}

/// Splits chunks from deltas, and checks that there are as many of each as the count needs.
fn split_chunks(bytes: &[u8], status_count: u16) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    let mut left = status_count;
    let mut delta_bytes = 0;
    while left > 0 {
        let (word, after) = rest.split_first_chunk()?;
        let mut chunk = Chunk::parse(*word);
        if let Chunk::Run { symbol, left: run } = chunk {
            if run == 0 {
                return None;
            }
            let run = run.min(left);
            delta_bytes += usize::from(run) * delta_len(symbol)?;
            left -= run;
        }
        if let Chunk::Vector { .. } = chunk {
            while left > 0
                && let Some(symbol) = chunk.next()
            {
                delta_bytes += delta_len(symbol)?;
                left -= 1;
            }
        }
        rest = after;
    }
    let chunks = &bytes[..bytes.len() - rest.len()];
    let (deltas, leftover) = rest.split_at_checked(delta_bytes)?;
    // Most senders declare the padding to whole words, which is gone by now; some do not.
    (leftover.len() < 4).then_some((chunks, deltas))
}

fn delta_len(symbol: u8) -> Option<usize> {
    match symbol {
        NOT_RECEIVED => Some(0),
        SMALL_DELTA => Some(1),
        LARGE_DELTA => Some(2),
        _ => None,
    }
}

/// A packet status chunk (§3.1.1).
#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// `left` times the same symbol (§3.1.3).
    Run { symbol: u8, left: u16 },
    /// `left` symbols of `width` bits each, from the highest bit on (§3.1.4).
    Vector { bits: u16, width: u8, left: u8 },
}

impl Chunk {
    fn parse(word: [u8; 2]) -> Self {
        let word = u16::from_be_bytes(word);
        if word & 0x8000 == 0 {
            Chunk::Run { symbol: (word >> 13) as u8, left: word & 0x1fff }
        } else if word & 0x4000 == 0 {
            Chunk::Vector { bits: word << 2, width: 1, left: 14 }
        } else {
            Chunk::Vector { bits: word << 2, width: 2, left: 7 }
        }
    }
}

impl Iterator for Chunk {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        match self {
            Chunk::Run { symbol, left } => {
                *left = left.checked_sub(1)?;
                Some(*symbol)
            }
            Chunk::Vector { bits, width, left } => {
                *left = left.checked_sub(1)?;
                let symbol = (*bits >> (16 - *width)) as u8;
                *bits <<= *width;
                Some(symbol)
            }
        }
    }
}

/// Iterator over packet statuses, see [`TransportFeedback::statuses`].
#[derive(Clone, Debug)]
pub struct Statuses<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    chunk: Chunk,
    sequence: u16,
    left: u16,
    arrival: i64,
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let symbol = match self.chunk.next() {
            Some(symbol) => symbol,
            None => {
                let (word, rest) = self.chunks.split_first_chunk()?;
                self.chunks = rest;
                self.chunk = Chunk::parse(*word);
                self.chunk.next()?
            }
        };
        let delta = match symbol {
            SMALL_DELTA => {
                let (&delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i64::from(delta))
            }
            LARGE_DELTA => {
                let (delta, rest) = self.deltas.split_first_chunk()?;
                self.deltas = rest;
                Some(i64::from(i16::from_be_bytes(*delta)))
            }
            _ => None,
        };
        self.arrival += delta.unwrap_or(0);
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some((sequence, delta.map(|_| self.arrival)))
    }
}

/// Appends transport feedback for the packets from `base_sequence` on, whose `arrivals` are in
/// units of 250 µs from `reference_time` (in units of 64 ms), and returns how many of them it
/// holds: it ends after 504, and before an arrival more than 8 s away from the one before.
/// Appends nothing if it would hold none.
pub fn transport_feedback(
    out: &mut Vec<u8>,
    sender: u32,
    media_ssrc: u32,
    base_sequence: u16,
    reference_time: i32,
    feedback_count: u8,
    arrivals: &[Option<i64>],
) -> usize {
    let arrivals = representable(&arrivals[..arrivals.len().min(MAX_WRITTEN)]);
    if arrivals.is_empty() {
        return 0;
    }
    let start = begin(out, TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_CC);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media_ssrc.to_be_bytes());
    out.extend_from_slice(&base_sequence.to_be_bytes());
    out.extend_from_slice(&(arrivals.len() as u16).to_be_bytes());
    let time_and_count = (reference_time as u32) << 8 | u32::from(feedback_count);
    out.extend_from_slice(&time_and_count.to_be_bytes());
    write_vectors(out, arrivals);
    for delta in deltas(arrivals).flatten() {
        match u8::try_from(delta) {
            Ok(small) => out.push(small),
            Err(_) => out.extend_from_slice(&(delta as i16).to_be_bytes()),
        }
    }
    write_padding(out, start);
    finish(out, start);
    arrivals.len()
}

/// The longest start of `arrivals` whose deltas fit 16 bits.
fn representable(arrivals: &[Option<i64>]) -> &[Option<i64>] {
    let fits = |delta: &Option<i64>| delta.is_none_or(|delta| i16::try_from(delta).is_ok());
    &arrivals[..deltas(arrivals).take_while(fits).count()]
}

/// The distance of each arrival from the one before, the first from the reference time.
fn deltas(arrivals: &[Option<i64>]) -> impl Iterator<Item = Option<i64>> + '_ {
    arrivals.iter().scan(0i64, |previous, arrival| {
        Some(arrival.map(|arrival| {
            let delta = arrival.saturating_sub(*previous);
            *previous = arrival;
            delta
        }))
    })
}

/// Appends one vector of 2-bit symbols for each 7 statuses.
fn write_vectors(out: &mut Vec<u8>, arrivals: &[Option<i64>]) {
    let mut symbols = deltas(arrivals).map(|delta| match delta {
        None => NOT_RECEIVED,
        Some(0..=255) => SMALL_DELTA,
        Some(_) => LARGE_DELTA,
    });
    for _ in 0..arrivals.len().div_ceil(7) {
        let vector = (0..7).fold(0b11u16, |vector, _| {
            vector << 2 | u16::from(symbols.next().unwrap_or(NOT_RECEIVED))
        });
        out.extend_from_slice(&vector.to_be_bytes());
    }
}

/// Pads the packet from `start` to whole words and declares it, in Chromium's way: the count in
/// the last byte is below 4, although RFC 3550 §6.4.1 wants a multiple of it.
fn write_padding(out: &mut Vec<u8>, start: usize) {
    let unaligned = (out.len() - start) % 4;
    if unaligned != 0 {
        let padding = 4 - unaligned;
        out.resize(out.len() + padding - 1, 0);
        out.push(padding as u8);
        out[start] |= PADDING_BIT;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtcp::{HEADER_LEN, Packet, packets};

    fn body(count: u16, chunks_and_deltas: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe];
        body.extend_from_slice(&count.to_be_bytes());
        body.extend_from_slice(&[0xff, 0xff, 0xfe, 9]);
        body.extend_from_slice(chunks_and_deltas);
        body
    }

    fn statuses(count: u16, chunks_and_deltas: &[u8]) -> Option<Vec<(u16, Option<i64>)>> {
        let body = body(count, chunks_and_deltas);
        let feedback = TransportFeedback::parse(&body)?;
        Some(feedback.statuses().collect())
    }

    #[test]
    fn fields_are_where_the_draft_puts_them() {
        let body = body(1, &[0x00, 0x01]);
        let feedback = TransportFeedback::parse(&body).unwrap();
        assert_eq!((feedback.sender, feedback.media_ssrc), (1, 2));
        assert_eq!((feedback.base_sequence, feedback.status_count()), (0xfffe, 1));
        assert_eq!((feedback.reference_time, feedback.feedback_count), (-2, 9));
    }

    #[test]
    fn run_of_small_deltas_adds_them_up_across_the_wrap() {
        let expected = [(0xfffe, Some(4)), (0xffff, Some(259)), (0, Some(259))];
        assert_eq!(statuses(3, &[0x20, 0x03, 4, 255, 0]).unwrap(), expected);
    }

    #[test]
    fn run_longer_than_the_count_is_cut() {
        assert_eq!(statuses(1, &[0x3f, 0xff, 4]).unwrap(), [(0xfffe, Some(4))]);
    }

    #[test]
    fn two_bit_vector_mixes_losses_with_small_and_large_deltas() {
        // 11 | 00 01 10 00 00 00 00: lost, small, large (−1), and four beyond the count.
        let expected = [(0xfffe, None), (0xffff, Some(8)), (0, Some(7))];
        assert_eq!(statuses(3, &[0xc6, 0x00, 8, 0xff, 0xff]).unwrap(), expected);
    }

    #[test]
    fn one_bit_vector_is_followed_by_the_next_chunk() {
        // 10 | 01000000000001, then a run of one large delta (0x0100).
        let all = statuses(15, &[0x90, 0x01, 0x40, 0x01, 1, 2, 1, 0]).unwrap();
        let received: Vec<_> =
            all.iter().filter_map(|&(seq, arrival)| Some((seq, arrival?))).collect();
        assert_eq!(all.len(), 15);
        assert_eq!(received, [(0xffff, 1), (11, 3), (12, 259)]);
    }

    #[test]
    fn feedback_is_refused_as_a_whole_unless_everything_is_there() {
        assert_eq!(statuses(0, &[0x20, 0x01, 4]), None, "no statuses");
        assert_eq!(statuses(2, &[0x20, 0x01, 4, 0]), None, "no second chunk's deltas");
        assert_eq!(statuses(2, &[0x20, 0x02, 4]), None, "a delta missing");
        assert_eq!(statuses(1, &[0x40, 0x01, 4]), None, "half a large delta");
        assert_eq!(statuses(1, &[0x60, 0x01, 4, 4]), None, "the reserved symbol in a run");
        assert_eq!(statuses(1, &[0xf0, 0x00, 4, 4]), None, "the reserved symbol in a vector");
        assert_eq!(statuses(1, &[0x20, 0x00, 0x20, 0x01, 4]), None, "an empty run");
        assert_eq!(statuses(1, &[0x20, 0x01, 4, 0, 0, 0, 0]), None, "bytes left over");
        assert_eq!(statuses(8193, &[0x1f, 0xff, 0x1f, 0xff]), None, "too many statuses");
        assert_eq!(statuses(8192, &[0x1f, 0xff, 0x00, 0x01]).unwrap().len(), 8192);
        assert!(TransportFeedback::parse(&body(1, &[])[..15]).is_none());
    }

    #[test]
    fn written_feedback_is_what_the_draft_shows() {
        let mut out = Vec::new();
        let arrivals = [Some(4), None, Some(0), Some(255)];
        assert_eq!(transport_feedback(&mut out, 1, 2, 0x0102, -2, 9, &arrivals), 4);
        let expected = [
            0xaf, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 0, 4, 0xff, 0xff, 0xfe, 9, 0xd2, 0x40,
            4, 0xff, 0xfc, 255, 0, 2,
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn written_feedback_ends_before_a_delta_that_does_not_fit() {
        let mut out = Vec::new();
        let mut write = |arrivals: &[_]| transport_feedback(&mut out, 1, 2, 0, 0, 0, arrivals);
        assert_eq!(write(&[Some(0), Some(32_767), Some(65_535)]), 2);
        assert_eq!(write(&[Some(-32_769)]), 0);
        assert_eq!(write(&[Some(i64::MAX), Some(i64::MIN)]), 0);
        assert_eq!(write(&[]), 0);
        assert_eq!(write(&[Some(-1); 2000]), MAX_WRITTEN);
        let mut out = Vec::new();
        let arrivals: Vec<_> = (0..2000).map(|n| Some(n % 2 * 1000)).collect();
        transport_feedback(&mut out, 1, 2, 0, 0, 0, &arrivals);
        assert!((1100..1200).contains(&out.len()));
    }

    proptest! {
        #[test]
        fn written_feedback_reads_back(
            base: u16, time in -(1 << 23)..1 << 23, count: u8,
            steps in prop::collection::vec(prop::option::of(-32_768i64..=32_767), 1..=MAX_WRITTEN),
        ) {
            let mut arrival = 0;
            let arrivals: Vec<Option<i64>> = steps
                .iter()
                .map(|step| step.map(|step| { arrival += step; arrival }))
                .collect();
            let mut out = Vec::new();
            let taken = transport_feedback(&mut out, 1, 2, base, time, count, &arrivals);
            prop_assert_eq!(taken, arrivals.len());
            let mut read = packets(&out);
            let Some(Packet::TransportCc(feedback)) = read.next() else {
                return Err(TestCaseError::fail("not read"));
            };
            prop_assert_eq!(feedback.reference_time, time);
            prop_assert_eq!(feedback.feedback_count, count);
            let sequences = (0..).map(|n: u16| base.wrapping_add(n));
            let expected: Vec<_> = sequences.zip(arrivals).collect();
            prop_assert_eq!(feedback.statuses().collect::<Vec<_>>(), expected);
        }

        #[test]
        fn statuses_are_as_many_as_declared_or_the_feedback_is_refused(
            count: u16, bytes in prop::collection::vec(any::<u8>(), 0..300), small in any::<bool>(),
        ) {
            let count = if small { count % 64 } else { count };
            let body = body(count, &bytes);
            if let Some(feedback) = TransportFeedback::parse(&body) {
                prop_assert_eq!(feedback.statuses().count(), usize::from(count));
            }
        }

        #[test]
        fn mutated_feedback_never_panics(
            arrivals in prop::collection::vec(prop::option::of(0i64..3000), 1..100),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut out = Vec::new();
            transport_feedback(&mut out, 1, 2, 0, 0, 0, &arrivals);
            for (at, value) in changes {
                let at = HEADER_LEN + at.index(out.len() - HEADER_LEN);
                out[at] = value;
            }
            for packet in packets(&out) {
                if let Packet::TransportCc(feedback) = packet {
                    prop_assert_eq!(feedback.statuses().count(), feedback.status_count());
                }
            }
        }
    }
}
