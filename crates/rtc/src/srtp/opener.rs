use std::fmt;

use super::cipher::Cipher;
use super::{Direction, ENCRYPTED, INDEX_LIMIT, Profile, RTCP_HEADER_LEN, Replay};

/// The most SSRCs of which the peer's RTCP is taken: it bounds the list of replay windows.
const MAX_RTCP_SENDERS: usize = 64;

/// Checks and decrypts what the peer sends.
pub struct Opener {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    /// Replay windows of 128 SRTCP indexes by the sender's SSRC: RFC 3711 §3.2.3 has a context per
    /// SSRC, and libsrtp counts the SRTCP index per SSRC, so that a browser with two senders uses
    /// every index twice.
    rtcp_replay: Vec<(u32, Replay<3>)>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Opener {
    pub(super) fn new(profile: Profile, Direction { rtp, rtcp }: Direction) -> Self {
        Opener { profile, rtp, rtcp, rtcp_replay: Vec::new() }
    }

    /// The profile, for the lengths it removes.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Checks and decrypts an SRTP packet in place (RFC 3711 §3.3, RFC 7714 §8) and returns the
    /// length of the RTP packet, header included. `header_len` and `ssrc` are those of
    /// [`crate::rtp::Header::parse`], `index` is the guess of [`crate::rtp::Unwrapper`].
    ///
    /// The caller checks its replay window of this SSRC before, and moves window and unwrapper
    /// only after `Some`. `None` means: not authentic, too short, or an index of 2^48 and above;
    /// the packet may be overwritten then.
    pub fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        if index >= INDEX_LIMIT {
            return None;
        }
        self.rtp.open_rtp(packet, header_len, ssrc, index)
    }

    /// Checks and decrypts an SRTCP packet in place (RFC 3711 §3.4, RFC 7714 §9) and returns the
    /// length of the (compound) RTCP packet.
    ///
    /// `None` means: not authentic, too short, not encrypted (E bit 0), replayed or older than the
    /// window, or from the 65th SSRC; the packet may be overwritten then.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Option<usize> {
        let word = self.rtcp.index_word(packet)?;
        if word & ENCRYPTED == 0 {
            return None;
        }
        let index = u64::from(word & !ENCRYPTED);
        let header: &[u8; RTCP_HEADER_LEN] = packet.first_chunk()?;
        let ssrc = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let known = self.rtcp_replay.iter().position(|(sender, _)| *sender == ssrc);
        match known {
            Some(at) if !self.rtcp_replay[at].1.check(index) => return None,
            None if self.rtcp_replay.len() == MAX_RTCP_SENDERS => return None,
            _ => {}
        }
        let len = self.rtcp.open_rtcp(packet, ssrc, word)?;
        let at = known.unwrap_or_else(|| {
            self.rtcp_replay.push((ssrc, Replay::default()));
            self.rtcp_replay.len() - 1
        });
        self.rtcp_replay[at].1.accept(index);
        Some(len)
    }
}
