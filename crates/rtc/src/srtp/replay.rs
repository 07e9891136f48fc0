/// A replay window (RFC 3711 §3.3.2): which of the newest packet indexes were received.
///
/// `WORDS` bounds the memory at 8 × `WORDS` bytes; the window covers the newest
/// 64 × (`WORDS` − 1) indexes at least, 4,096 by default, as resends arrive late at high rates.
/// Older indexes count as received. The bits lie in a ring of words, of which one is the newest
/// block of 64 indexes; advancing clears whole words and shifts nothing (RFC 6479).
///
/// ```
/// use lllsi_rtc::srtp::Replay;
///
/// let mut replay: Replay = Replay::default();
/// assert!(replay.check(7));
/// replay.accept(7);
/// assert!(!replay.check(7));
/// assert!(replay.check(6));
/// ```
#[derive(Clone, Debug)]
pub struct Replay<const WORDS: usize = 65> {
    newest: Option<u64>,
    words: [u64; WORDS],
}

impl<const WORDS: usize> Default for Replay<WORDS> {
    fn default() -> Self {
        const { assert!(WORDS >= 2, "one word is the newest block, the rest is the window") };
        Replay { newest: None, words: [0; WORDS] }
    }
}

impl<const WORDS: usize> Replay<WORDS> {
    /// Whether a packet with this index would be new. The caller checks before it decrypts, and
    /// calls [`accept`](Self::accept) only for a packet that proved authentic.
    pub fn check(&self, index: u64) -> bool {
        let Some(newest) = self.newest else { return true };
        if index > newest {
            return true;
        }
        let age = newest / 64 - index / 64;
        age < WORDS as u64 && self.words[slot::<WORDS>(index / 64)] & bit(index) == 0
    }

    /// Notes an authentic packet. Indexes older than the window change nothing.
    pub fn accept(&mut self, index: u64) {
        let block = index / 64;
        let newest = self.newest.map_or(block, |newest| newest / 64);
        if block > newest {
            let fresh = (block - newest).min(WORDS as u64);
            for cleared in 0..fresh {
                self.words[slot::<WORDS>(block - cleared)] = 0;
            }
        } else if newest - block >= WORDS as u64 {
            return;
        }
        self.words[slot::<WORDS>(block)] |= bit(index);
        self.newest = self.newest.max(Some(index));
    }
}

fn slot<const WORDS: usize>(block: u64) -> usize {
    (block % WORDS as u64) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_index_is_new_once() {
        let mut replay: Replay = Replay::default();
        for index in [70_000, 69_999, 0, 65_905, 70_001, 74_000, 70_002] {
            let within = index != 0;
            assert_eq!(replay.check(index), within, "{index}");
            if within {
                replay.accept(index);
                assert!(!replay.check(index), "{index}");
            }
        }
    }

    #[test]
    fn window_covers_4096_indexes_at_least_and_ends_one_block_later() {
        let mut replay: Replay = Replay::default();
        replay.accept(1_000_000);
        assert!(replay.check(1_000_000 - 4095));
        assert!(!replay.check(1_000_000 - 4096 - 64));
    }

    #[test]
    fn jump_beyond_the_ring_forgets_every_bit_and_refuses_the_old() {
        let mut replay: Replay<3> = Replay::default();
        (0..192).for_each(|index| replay.accept(index));
        replay.accept(1 << 40);
        assert!(!replay.check(191));
        assert!(replay.check((1 << 40) - 1));
        replay.accept(5);
        assert!(replay.check((1 << 40) - 64));
    }

    #[test]
    fn largest_index_is_accepted() {
        let mut replay: Replay<2> = Replay::default();
        replay.accept(u64::MAX);
        assert!(!replay.check(u64::MAX));
        assert!(replay.check(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn window_agrees_with_a_set_of_indexes(
            steps in prop::collection::vec((-200i64..250, any::<bool>()), 1..300),
        ) {
            let mut replay: Replay<3> = Replay::default();
            let mut seen = HashSet::new();
            let mut newest = 10_000i64;
            for (step, forged) in steps {
                let index = newest + step;
                let expected = !seen.contains(&index);
                if newest - index < 128 {
                    prop_assert_eq!(replay.check(index as u64), expected || seen.is_empty());
                } else if !seen.is_empty() && !expected {
                    prop_assert!(!replay.check(index as u64), "received twice: {}", index);
                }
                if !forged {
                    replay.accept(index as u64);
                    seen.insert(index);
                    newest = newest.max(index);
                    if seen.len() == 1 {
                        newest = index;
                    }
                }
            }
        }
    }
}
