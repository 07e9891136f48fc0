//! The two transforms: AES-GCM (RFC 7714) and AES counter mode with HMAC-SHA1 (RFC 3711 §4).

use aws_lc_rs::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::kdf::{Labels, Prf};
use super::{ENCRYPTED, INDEX_WORD_LEN, Profile, RTCP_HEADER_LEN};

const GCM_TAG_LEN: usize = Profile::AeadAes128Gcm.tag_len();
const CM_SALT_LEN: usize = Profile::Aes128CmSha1_80.salt_len();
const CM_TAG_LEN: usize = Profile::Aes128CmSha1_80.tag_len();
/// Bytes of the session authentication key (RFC 3711 §8.2).
const HMAC_KEY_LEN: usize = 20;

/// The session keys of one sender for one protocol, expanded once.
pub(super) enum Cipher {
    Gcm(Gcm),
    // The cipher library keeps a decryption schedule beside the encryption one, hence the size.
    Cm(Box<Cm>),
}

impl Cipher {
    pub(super) fn derive(profile: Profile, prf: &Prf, labels: Labels) -> Option<Self> {
        Some(match profile {
            Profile::Aes128CmSha1_80 => Cipher::Cm(Box::new(Cm::new(
                &prf.derive::<16>(labels.encryption)?[..],
                *prf.derive(labels.salt)?,
                &prf.derive::<HMAC_KEY_LEN>(labels.authentication)?[..],
            )?)),
            Profile::AeadAes128Gcm => Cipher::Gcm(Gcm::new(
                &aead::AES_128_GCM,
                &prf.derive::<16>(labels.encryption)?[..],
                *prf.derive(labels.salt)?,
            )?),
            Profile::AeadAes256Gcm => Cipher::Gcm(Gcm::new(
                &aead::AES_256_GCM,
                &prf.derive::<32>(labels.encryption)?[..],
                *prf.derive(labels.salt)?,
            )?),
        })
    }

    /// Encrypts `buffer[start + header_len..]` and appends the tag. `None` leaves the buffer in an
    /// unspecified state.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<()> {
        let (header, body) = buffer.get_mut(start..)?.split_at_mut_checked(header_len)?;
        match self {
            Cipher::Gcm(gcm) => {
                let nonce = gcm.nonce(ssrc, index);
                let tag = gcm.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), body);
                buffer.extend_from_slice(tag.ok()?.as_ref());
            }
            Cipher::Cm(cm) => {
                cm.apply_keystream(ssrc, index, body)?;
                let tag = cm.tag(&buffer[start..], &rollover(index));
                buffer.extend_from_slice(&tag);
            }
        }
        Some(())
    }

    /// Checks the tag and decrypts `packet[header_len..]`; returns the packet's length without
    /// its tag. A packet that fails may be overwritten.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        match self {
            Cipher::Gcm(gcm) => {
                let (header, body) = packet.split_at_mut_checked(header_len)?;
                let nonce = gcm.nonce(ssrc, index);
                let plaintext = gcm.key.open_in_place(nonce, Aad::from(&*header), body).ok()?;
                Some(header_len + plaintext.len())
            }
            Cipher::Cm(cm) => {
                let len = packet.len().checked_sub(CM_TAG_LEN)?;
                let (packet, tag) = packet.split_at_mut(len);
                let body = header_len..len;
                packet.get(body.clone())?;
                verify_slices_are_equal(&cm.tag(packet, &rollover(index)), tag).ok()?;
                cm.apply_keystream(ssrc, index, &mut packet[body])?;
                Some(len)
            }
        }
    }

    /// Encrypts an RTCP packet and appends index word and tag in the profile's order: the AEAD
    /// profiles have the tag first (RFC 7714 §9.3), the others last (RFC 3711 §3.4). The packet
    /// must have [`RTCP_HEADER_LEN`] bytes or more.
    pub(super) fn seal_rtcp(&self, buffer: &mut Vec<u8>, ssrc: u32, index: u32) -> Option<()> {
        let word = (index | ENCRYPTED).to_be_bytes();
        let (header, body) = buffer.split_first_chunk_mut::<RTCP_HEADER_LEN>()?;
        match self {
            Cipher::Gcm(gcm) => {
                let nonce = gcm.nonce(ssrc, u64::from(index));
                let aad = Aad::from(rtcp_aad(header, word));
                let tag = gcm.key.seal_in_place_separate_tag(nonce, aad, body).ok()?;
                buffer.extend_from_slice(tag.as_ref());
                buffer.extend_from_slice(&word);
            }
            Cipher::Cm(cm) => {
                cm.apply_keystream(ssrc, u64::from(index), body)?;
                buffer.extend_from_slice(&word);
                let tag = cm.tag(buffer, &[]);
                buffer.extend_from_slice(&tag);
            }
        }
        Some(())
    }

    /// The index word of an SRTCP packet, or `None` if the packet is too short for one.
    pub(super) fn index_word(&self, packet: &[u8]) -> Option<u32> {
        let end = match self {
            Cipher::Gcm(_) => packet.len(),
            Cipher::Cm(_) => packet.len().checked_sub(CM_TAG_LEN)?,
        };
        let tag_len = match self {
            Cipher::Gcm(_) => GCM_TAG_LEN,
            Cipher::Cm(_) => CM_TAG_LEN,
        };
        if packet.len() < RTCP_HEADER_LEN + tag_len + INDEX_WORD_LEN {
            return None;
        }
        packet[..end].last_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// Checks the tag and decrypts an SRTCP packet whose [`index_word`](Self::index_word) is
    /// `word`; returns the length of the RTCP packet.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, word: u32) -> Option<usize> {
        let index = u64::from(word & !ENCRYPTED);
        match self {
            Cipher::Gcm(gcm) => {
                let end = packet.len().checked_sub(INDEX_WORD_LEN)?;
                let (header, body) = packet[..end].split_first_chunk_mut::<RTCP_HEADER_LEN>()?;
                let aad = Aad::from(rtcp_aad(header, word.to_be_bytes()));
                let plaintext = gcm.key.open_in_place(gcm.nonce(ssrc, index), aad, body).ok()?;
                Some(RTCP_HEADER_LEN + plaintext.len())
            }
            Cipher::Cm(cm) => {
                let len = packet.len().checked_sub(CM_TAG_LEN)?;
                let (packet, tag) = packet.split_at_mut(len);
                verify_slices_are_equal(&cm.tag(packet, &[]), tag).ok()?;
                let len = len.checked_sub(INDEX_WORD_LEN)?;
                cm.apply_keystream(ssrc, index, packet.get_mut(RTCP_HEADER_LEN..len)?)?;
                Some(len)
            }
        }
    }
}

/// The associated data of an encrypted SRTCP packet (RFC 7714 §9.2): its header and index word.
fn rtcp_aad(
    header: &[u8; RTCP_HEADER_LEN],
    word: [u8; INDEX_WORD_LEN],
) -> [u8; RTCP_HEADER_LEN + INDEX_WORD_LEN] {
    let mut aad = [0; RTCP_HEADER_LEN + INDEX_WORD_LEN];
    aad[..RTCP_HEADER_LEN].copy_from_slice(header);
    aad[RTCP_HEADER_LEN..].copy_from_slice(&word);
    aad
}

/// The rollover counter, which HMAC covers although no packet carries it (RFC 3711 §4.2).
fn rollover(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// AES-GCM with its salt (RFC 7714).
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; NONCE_LEN],
}

impl Gcm {
    pub(super) fn new(
        algorithm: &'static aead::Algorithm,
        key: &[u8],
        salt: [u8; NONCE_LEN],
    ) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Gcm { key, salt })
    }

    /// RFC 7714 §8.1 for RTP and §9.1 for RTCP: the latter's index has 31 bits, and the bytes
    /// above them are zero, so that one layout serves both.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        xor(&mut nonce[2..6], &ssrc.to_be_bytes());
        xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// AES counter mode and HMAC-SHA1 with an 80-bit tag (RFC 3711 §4.1.1, §4.2.1).
pub(super) struct Cm {
    key: EncryptingKey,
    salt: [u8; CM_SALT_LEN],
    mac: hmac::Key,
}

impl Cm {
    pub(super) fn new(key: &[u8], salt: [u8; CM_SALT_LEN], mac_key: &[u8]) -> Option<Self> {
        let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, key).ok()?).ok()?;
        let mac = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, mac_key);
        Some(Cm { key, salt, mac })
    }

    fn apply_keystream(&self, ssrc: u32, index: u64, body: &mut [u8]) -> Option<()> {
        // RFC 3711 §4.1.1: the last two bytes count blocks.
        let mut iv = [0; 16];
        iv[..CM_SALT_LEN].copy_from_slice(&self.salt);
        xor(&mut iv[4..8], &ssrc.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        self.key.less_safe_encrypt(body, context).ok()?;
        Some(())
    }

    fn tag(&self, packet: &[u8], suffix: &[u8]) -> [u8; CM_TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(packet);
        context.update(suffix);
        let mut tag = [0; CM_TAG_LEN];
        tag.copy_from_slice(&context.sign().as_ref()[..CM_TAG_LEN]);
        tag
    }
}

fn xor(bytes: &mut [u8], mask: &[u8]) {
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
