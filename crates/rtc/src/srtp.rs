//! SRTP and SRTCP (RFC 3711) with the AEAD profiles of RFC 7714, keyed by DTLS (RFC 5764).
//!
//! [`sessions`] turns the keying material of a DTLS handshake into a [`Sealer`] for what this side
//! sends and an [`Opener`] for what the peer sends. Both work in place. The caller parses the RTP
//! header and counts packet indexes ([`crate::rtp::Unwrapper`]); RTP replay windows ([`Replay`])
//! are per SSRC and lie with the receiver of that SSRC.

mod cipher;
mod kdf;
mod opener;
mod replay;
mod sealer;

pub use opener::Opener;
pub use replay::Replay;
pub use sealer::Sealer;

use cipher::Cipher;
use kdf::{Labels, Prf, RTCP_LABELS, RTP_LABELS};

/// Bytes of the RTCP header that SRTCP leaves readable: the first word and the sender's SSRC.
const RTCP_HEADER_LEN: usize = 8;
/// Bytes of the word with the E bit and the SRTCP index (RFC 3711 §3.4).
const INDEX_WORD_LEN: usize = 4;
/// The E bit of that word: the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// RTP packet indexes are 48 bits (RFC 3711 §3.3.1); one key never protects more packets.
const INDEX_LIMIT: u64 = 1 << 48;

/// A protection profile that DTLS negotiates (RFC 5764 §4.1.2, RFC 7714 §14.2).
///
/// ```
/// use lllsi_rtc::srtp::Profile;
///
/// assert_eq!(Profile::AeadAes128Gcm.keying_material_len(), 2 * (16 + 12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, which every WebRTC peer has (RFC 8827 §6.5).
    Aes128CmSha1_80,
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`.
    AeadAes256Gcm,
}

impl Profile {
    /// Bytes of a master key, and of a session encryption key.
    pub const fn key_len(self) -> usize {
        match self {
            Profile::Aes128CmSha1_80 | Profile::AeadAes128Gcm => 16,
            Profile::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt, and of a session salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Profile::Aes128CmSha1_80 => 14,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of the authentication tag. An SRTP packet is longer than its RTP packet by this.
    pub const fn tag_len(self) -> usize {
        match self {
            Profile::Aes128CmSha1_80 => 10,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
        }
    }

    /// Bytes by which an SRTCP packet is longer than its RTCP packet: tag and index word.
    pub const fn rtcp_overhead(self) -> usize {
        self.tag_len() + INDEX_WORD_LEN
    }

    /// Bytes to export from DTLS with the label `EXTRACTOR-dtls_srtp` (RFC 5764 §4.2).
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

/// The two directions of an association, from exported DTLS keying material (RFC 5764 §4.2):
/// client key, server key, client salt, server salt. The DTLS client seals with the client's.
/// `None` if `keying` does not have exactly [`Profile::keying_material_len`] bytes.
///
/// ```
/// use lllsi_rtc::srtp::{self, Profile};
///
/// let profile = Profile::AeadAes128Gcm;
/// let keying = vec![7; profile.keying_material_len()];
/// let (mut sealer, _) = srtp::sessions(profile, &keying, true).unwrap();
/// let (_, opener) = srtp::sessions(profile, &keying, false).unwrap();
///
/// let mut buffer = vec![0x80, 96, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1];
/// buffer.extend_from_slice(b"payload");
/// assert!(sealer.seal_rtp(&mut buffer, 0, 12, 1, 5));
/// assert_eq!(buffer.len(), 12 + 7 + profile.tag_len());
/// assert_eq!(opener.open_rtp(&mut buffer, 12, 1, 5), Some(12 + 7));
/// assert_eq!(&buffer[12..12 + 7], b"payload");
/// ```
pub fn sessions(profile: Profile, keying: &[u8], is_dtls_client: bool) -> Option<(Sealer, Opener)> {
    if keying.len() != profile.keying_material_len() {
        return None;
    }
    let (keys, salts) = keying.split_at(2 * profile.key_len());
    let (client_key, server_key) = keys.split_at(profile.key_len());
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    let client = direction(profile, client_key, client_salt)?;
    let server = direction(profile, server_key, server_salt)?;
    let (ours, theirs) = if is_dtls_client { (client, server) } else { (server, client) };
    Some((Sealer::new(profile, ours), Opener::new(profile, theirs)))
}

/// The session keys of one sender.
struct Direction {
    rtp: Cipher,
    rtcp: Cipher,
}

fn direction(profile: Profile, master_key: &[u8], master_salt: &[u8]) -> Option<Direction> {
    let prf = Prf::new(master_key, master_salt)?;
    let cipher = |labels: Labels| Cipher::derive(profile, &prf, labels);
    Some(Direction { rtp: cipher(RTP_LABELS)?, rtcp: cipher(RTCP_LABELS)? })
}

#[cfg(test)]
mod tests;
