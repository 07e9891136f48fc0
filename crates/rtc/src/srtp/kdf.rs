//! Key derivation with the AES-CM PRF and a key derivation rate of 0 (RFC 3711 §4.3, RFC 7714 §11).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

/// Bytes of the PRF's salt. The AEAD profiles' 12 bytes are padded with zeros at the end.
const PRF_SALT_LEN: usize = 14;
/// Where the label meets the salt: it is followed by the 48 bits of index DIV rate, which are 0.
const LABEL_AT: usize = 7;

/// The labels of one protocol's session keys (RFC 3711 §4.3.1, §4.3.2).
#[derive(Clone, Copy)]
pub(super) struct Labels {
    pub(super) encryption: u8,
    pub(super) authentication: u8,
    pub(super) salt: u8,
}

/// The labels for SRTP.
pub(super) const RTP_LABELS: Labels = Labels { encryption: 0, authentication: 1, salt: 2 };
/// The labels for SRTCP.
pub(super) const RTCP_LABELS: Labels = Labels { encryption: 3, authentication: 4, salt: 5 };

/// The pseudo-random function keyed with a master key: AES-CM with 128 bits, or with 256 bits for
/// AES-256 (RFC 6188 §2).
pub(super) struct Prf {
    key: EncryptingKey,
    salt: Zeroizing<[u8; PRF_SALT_LEN]>,
}

impl Prf {
    /// `None` unless the master key has 16 or 32 bytes and the master salt at most 14.
    pub(super) fn new(master_key: &[u8], master_salt: &[u8]) -> Option<Self> {
        let algorithm = if master_key.len() == 32 { &AES_256 } else { &AES_128 };
        let key = UnboundCipherKey::new(algorithm, master_key).ok()?;
        let mut salt = Zeroizing::new([0; PRF_SALT_LEN]);
        salt.get_mut(..master_salt.len())?.copy_from_slice(master_salt);
        Some(Prf { key: EncryptingKey::ctr(key).ok()?, salt })
    }

    /// The first `N` bytes that the label derives.
    pub(super) fn derive<const N: usize>(&self, label: u8) -> Option<Zeroizing<[u8; N]>> {
        let mut iv = [0; 16];
        iv[..PRF_SALT_LEN].copy_from_slice(&*self.salt);
        iv[LABEL_AT] ^= label;
        let mut out = Zeroizing::new([0; N]);
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        self.key.less_safe_encrypt(&mut *out, context).ok()?;
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    #[test]
    fn aes_128_derives_rfc_3711_appendix_b_3() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let prf = Prf::new(&key, &hex("0EC675AD498AFEEBB6960B3AABE6")).unwrap();
        assert_eq!(prf.derive::<16>(0).unwrap()[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(prf.derive::<14>(2).unwrap()[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        let authentication = hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE
             E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25
             6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2");
        assert_eq!(prf.derive::<94>(1).unwrap()[..], authentication);
    }

    #[test]
    fn aes_256_derives_rfc_6188_section_7_2() {
        let key = hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
        let prf = Prf::new(&key, &hex("3b04803de51ee7c96423ab5b78d2")).unwrap();
        let encryption = hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4");
        assert_eq!(prf.derive::<32>(0).unwrap()[..], encryption);
        assert_eq!(prf.derive::<14>(2).unwrap()[..], hex("fa31791685ca444a9e07c6c64e93"));
        let authentication = hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05");
        assert_eq!(prf.derive::<20>(1).unwrap()[..], authentication);
    }

    #[test]
    fn aead_salt_of_12_bytes_is_padded_at_its_end() {
        // RFC 7714 has no vector for this; the values are from test suites of other implementations.
        let key: Vec<u8> = (0..16).collect();
        let salt: Vec<u8> = (0x40..0x4c).collect();
        let prf = Prf::new(&key, &salt).unwrap();
        assert_eq!(prf.derive::<12>(2).unwrap()[..], hex("1fcd5d561e66dc49ec1c3ccb"));
        let salt = hex("a0a1a2a3a4a5a6a7a8a9aaab");
        let prf = Prf::new(&key, &salt).unwrap();
        assert_eq!(prf.derive::<16>(0).unwrap()[..], hex("077c6143cb221bc355ff23d5f984a16e"));
    }

    #[test]
    fn key_or_salt_of_another_length_is_refused() {
        assert!(Prf::new(&[0; 15], &[0; 14]).is_none());
        assert!(Prf::new(&[0; 24], &[0; 14]).is_none());
        assert!(Prf::new(&[0; 16], &[0; 15]).is_none());
    }
}
