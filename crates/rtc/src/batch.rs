//! Datagrams that the kernel can cut apart itself (UDP segmentation offload, GSO).

use std::collections::VecDeque;

/// Segments of one send: the kernel's limit is 64.
const MAX_SEGMENTS: usize = 60;
/// Bytes of one send: a UDP datagram's length has 16 bits.
pub(crate) const MAX_BYTES: usize = 60_000;

/// One or more datagrams of one size, of which the last may be smaller.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) segment: usize,
    segments: usize,
    /// A datagram smaller than the others ends its batch.
    is_closed: bool,
}

impl Batch {
    fn takes(&self, len: usize, most: usize) -> bool {
        !self.is_closed
            && len <= self.segment
            && self.segments < MAX_SEGMENTS
            && self.bytes.len() + len <= most
    }
}

/// Gathers datagrams of one route, in the order in which they are to be sent.
#[derive(Debug)]
pub(crate) struct Batches {
    all: VecDeque<Batch>,
    /// Bytes of one, unless a single datagram has more.
    pub(crate) most: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self { all: VecDeque::new(), most: MAX_BYTES }
    }
}

impl Batches {
    /// Appends a datagram of `len` bytes, which `write` appends to the buffer, or nothing if it fails. `coming` bytes are
    /// expected to follow in the same batch.
    pub(crate) fn push(
        &mut self,
        len: usize,
        coming: usize,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) {
        let most = self.most.min(MAX_BYTES);
        if !self.all.back().is_some_and(|batch| batch.takes(len, most)) {
            let bytes = Vec::with_capacity((len + coming).min(most.max(len)));
            self.all.push_back(Batch { bytes, segment: len, ..Batch::default() });
        }
        let batch = self.all.back_mut().expect("one was pushed if there was none");
        let start = batch.bytes.len();
        if write(&mut batch.bytes) {
            debug_assert_eq!(batch.bytes.len(), start + len);
            batch.segments += 1;
            batch.is_closed = len < batch.segment;
        } else {
            batch.bytes.truncate(start);
        }
        if batch.bytes.is_empty() {
            self.all.pop_back();
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Batch> {
        self.all.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_one_size_go_together_and_a_smaller_one_ends_them() {
        let mut batches = Batches::default();
        for (len, works) in [(5, true), (5, true), (5, false), (3, true), (3, true), (5, true)] {
            batches.push(len, 0, |buffer| {
                buffer.resize(buffer.len() + len, 7);
                works
            });
        }
        batches.push(9, 0, |_| false);
        let all: Vec<_> = std::iter::from_fn(|| batches.pop())
            .map(|batch| (batch.bytes.len(), batch.segment))
            .collect();
        assert_eq!(all, [(13, 5), (3, 3), (5, 5)]);
    }

    #[test]
    fn a_batch_is_never_larger_than_the_kernel_takes() {
        let mut batches = Batches::default();
        for _ in 0..200 {
            batches.push(1200, 200 * 1200, |buffer| {
                buffer.resize(buffer.len() + 1200, 7);
                true
            });
        }
        let lens: Vec<_> = std::iter::from_fn(|| batches.pop()).map(|b| b.bytes.len()).collect();
        assert_eq!(lens.iter().sum::<usize>(), 200 * 1200);
        assert!(lens.iter().all(|len| *len <= MAX_BYTES && len / 1200 <= MAX_SEGMENTS));
    }
}
