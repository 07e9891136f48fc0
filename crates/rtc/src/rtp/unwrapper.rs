/// Extends 16-bit sequence numbers to the packet index 2^16 × ROC + SEQ of RFC 3711 §3.3.1.
///
/// SRTP needs the index for its nonce, and a receiver orders packets by it: one number serves
/// both. The index is guessed before authentication, and only an authenticated packet may move
/// the state, as a forged one could otherwise turn every later guess wrong.
///
/// The first packet has rollover counter 0, whatever its sequence number. A sender therefore
/// starts below 2^15: then no reordering around the first packets can cross a rollover.
///
/// ```
/// use lllsi_rtc::rtp::Unwrapper;
///
/// let mut unwrapper = Unwrapper::default();
/// let first = unwrapper.guess(0xffff);
/// unwrapper.accept(first);
/// assert_eq!(unwrapper.guess(0), 0x1_0000);
/// assert_eq!(unwrapper.guess(0xfffe), 0xfffe);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrapper {
    highest: Option<u64>,
}

impl Unwrapper {
    /// The index of a packet with sequence number `seq`: the one nearest to the highest index
    /// accepted so far (RFC 3711 appendix A). An index never falls below 0: where the nearest one
    /// would, the rollover counter stays 0.
    pub fn guess(&self, seq: u16) -> u64 {
        let Some(highest) = self.highest else { return u64::from(seq) };
        let (rollover, newest) = (highest >> 16, highest as u16);
        let rollover = if newest < 0x8000 {
            // At a distance of exactly 2^15 appendix A keeps the rollover counter.
            if i32::from(seq) - i32::from(newest) > 0x8000 {
                rollover.saturating_sub(1)
            } else {
                rollover
            }
        } else if newest - 0x8000 > seq {
            rollover + 1
        } else {
            rollover
        };
        rollover << 16 | u64::from(seq)
    }

    /// Notes that the packet with this index was authentic. Older indexes than the highest so far
    /// change nothing.
    pub fn accept(&mut self, index: u64) {
        self.highest = self.highest.max(Some(index));
    }

    /// The highest accepted index. Its low 32 bits are the "extended highest sequence number
    /// received" of a report block (RFC 3550 §6.4.1).
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(highest: u64) -> Unwrapper {
        Unwrapper { highest: Some(highest) }
    }

    #[test]
    fn first_packet_has_rollover_counter_0() {
        assert_eq!(Unwrapper::default().guess(0), 0);
        assert_eq!(Unwrapper::default().guess(0xffff), 0xffff);
    }

    #[test]
    fn guess_follows_rfc_3711_appendix_a() {
        assert_eq!(at(0x3_ffff).guess(0), 0x4_0000);
        assert_eq!(at(0x3_0000).guess(0xffff), 0x2_ffff);
        assert_eq!(at(0x3_1000).guess(0x9000), 0x3_9000);
        assert_eq!(at(0x3_1000).guess(0x9001), 0x2_9001);
        assert_eq!(at(0x3_9000).guess(0x1000), 0x3_1000);
        assert_eq!(at(0x3_9000).guess(0x0fff), 0x4_0fff);
    }

    #[test]
    fn index_never_falls_below_0() {
        assert_eq!(at(5).guess(0xfff0), 0xfff0);
    }

    #[test]
    fn guess_changes_nothing_and_old_packets_do_not_move_back() {
        let mut unwrapper = at(0x1_0005);
        unwrapper.guess(0x7000);
        unwrapper.accept(0xffff);
        assert_eq!(unwrapper.highest(), Some(0x1_0005));
        unwrapper.accept(0x1_0006);
        assert_eq!(unwrapper.highest(), Some(0x1_0006));
    }

    proptest! {
        #[test]
        fn index_within_2_15_of_the_highest_is_recovered(
            highest in 0x8000u64..1 << 48, offset in -0x7fffi64..0x8000,
        ) {
            let index = highest.checked_add_signed(offset).unwrap();
            prop_assert_eq!(at(highest).guess(index as u16), index);
        }

        #[test]
        fn any_state_and_sequence_number_give_that_sequence_number(highest: u64, seq: u16) {
            prop_assert_eq!(at(highest >> 8).guess(seq) as u16, seq);
        }
    }
}
