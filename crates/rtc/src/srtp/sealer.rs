use std::fmt;

use super::cipher::Cipher;
use super::{Direction, ENCRYPTED, INDEX_LIMIT, Profile, RTCP_HEADER_LEN};

/// The most SSRCs one association sends with: it bounds the list of used indexes.
const MAX_STREAMS: usize = 64;

/// Protects what this side sends.
///
/// **Nonces.** The nonce of a packet is its SSRC and index, and a second packet with the same
/// would give AES-GCM's authentication key away. The sealer therefore takes indexes of one SSRC in
/// strictly rising order only, and refuses any other. A resend has an SSRC and indexes of its own
/// (RFC 4588), so this costs it nothing. Two SSRCs of one association must differ for good: an
/// SSRC whose counter starts anew is refused too. SRTCP indexes are counted here.
///
/// Whatever is refused is removed from the buffer, so that nothing leaves unprotected even where
/// the caller ignores the result.
pub struct Sealer {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    /// Per SSRC the lowest index that may still be used.
    next: Vec<(u32, u64)>,
    next_rtcp: u32,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Sealer {
    pub(super) fn new(profile: Profile, Direction { rtp, rtcp }: Direction) -> Self {
        Sealer { profile, rtp, rtcp, next: Vec::new(), next_rtcp: 0 }
    }

    /// The profile, for the lengths it adds.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Protects the RTP packet `buffer[start..]` in place and appends its tag
    /// (RFC 3711 §3.3, RFC 7714 §8). Earlier packets before `start` stay as they are, so that one
    /// buffer can hold a batch. `header_len` is what [`crate::rtp::Header::write`] returned,
    /// `index` is 2^16 × ROC + sequence number and starts below 2^16.
    ///
    /// Returns `false` and truncates the buffer to `start` if the index is not above all earlier
    /// ones of this SSRC or not below 2^48, if `header_len` is longer than the packet, or if the
    /// SSRC is the 65th of this association.
    pub fn seal_rtp(
        &mut self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> bool {
        let sealed = self.claim(ssrc, index)
            && self.rtp.seal_rtp(buffer, start, header_len, ssrc, index).is_some();
        if !sealed {
            buffer.truncate(start);
        }
        sealed
    }

    /// Protects the RTCP packet in `buffer`, which may be compound (RFC 3711 §3.4, RFC 7714 §9),
    /// with the E bit set and the next SRTCP index.
    ///
    /// Returns `false` and clears the buffer if it has fewer than 8 bytes or if all 2^31 indexes
    /// are used up.
    pub fn seal_rtcp(&mut self, buffer: &mut Vec<u8>) -> bool {
        let sealed = self.try_seal_rtcp(buffer).is_some();
        if !sealed {
            buffer.clear();
        }
        sealed
    }

    fn try_seal_rtcp(&mut self, buffer: &mut Vec<u8>) -> Option<()> {
        let index = self.next_rtcp;
        if index & ENCRYPTED != 0 {
            return None;
        }
        let header: &[u8; RTCP_HEADER_LEN] = buffer.first_chunk()?;
        let ssrc = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        self.next_rtcp += 1;
        self.rtcp.seal_rtcp(buffer, ssrc, index)
    }

    /// Marks an index as used, before the packet is sealed: a failure must not leave it usable.
    fn claim(&mut self, ssrc: u32, index: u64) -> bool {
        if index >= INDEX_LIMIT {
            return false;
        }
        if let Some((_, next)) = self.next.iter_mut().find(|(used, _)| *used == ssrc) {
            let rises = index >= *next;
            if rises {
                *next = index + 1;
            }
            return rises;
        }
        let room = self.next.len() < MAX_STREAMS;
        if room {
            self.next.push((ssrc, index + 1));
        }
        room
    }

    /// Lets a test reach the index of a published vector or the last one.
    #[cfg(test)]
    pub(super) fn set_rtcp_index(&mut self, index: u32) {
        self.next_rtcp = index;
    }
}
