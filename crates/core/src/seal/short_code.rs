//! Six digits that a client in the lobby and the host both see, so that people can compare them.
//!
//! Hash commitments keep both sides from choosing them, as in ZRTP (RFC 6189, 4.4.1.1). Each side commits to a number in its message
//! of the handshake. The client reveals its number first; the host then shows the knock and reveals its own. Until it reveals, a
//! client cannot know its digits, so each try to hit those of another client is a knock that the host sees.

use hkdf::Hkdf;
use lllsi_proto::invite::{Commitment, Nonce, Opening};
use sha2::{Digest, Sha256};

use super::{Channel, Role};

/// Fixes the number that a side will reveal.
pub fn commit(role: Role, opening: &Opening) -> Commitment {
    let label: &[u8] = match role {
        Role::Client => b"LLLSI short code, client",
        Role::Host => b"LLLSI short code, host",
    };
    let hash = Sha256::new().chain_update(label).chain_update(opening.as_bytes());
    Commitment::from_bytes(hash.finalize().into())
}

/// The secrets on which the digits hang besides the handshake: of the client and of the host.
#[derive(Debug, Clone, Copy)]
pub struct Secrets {
    /// The nonces of hello and welcome.
    pub nonces: [Nonce; 2],
    /// The numbers that were committed to.
    pub openings: [Opening; 2],
}

impl Channel {
    /// What both people see: if they read the same, these are the two ends of one channel. All secrets were sent under seal, so
    /// the digits cannot be computed from what the server sees.
    pub fn short_code(&self, Secrets { nonces, openings }: &Secrets) -> ShortCode {
        let secret = [
            *nonces[0].as_bytes(),
            *nonces[1].as_bytes(),
            *openings[0].as_bytes(),
            *openings[1].as_bytes(),
        ];
        let mut bytes = [0; 8];
        Hkdf::<Sha256>::new(Some(&self.handshake_hash), secret.as_flattened())
            .expand(b"LLLSI short code", &mut bytes)
            .expect("8 bytes are within HKDF's limit");
        ShortCode((u64::from_be_bytes(bytes) % 1_000_000) as u32)
    }
}

/// A short authentication string of six digits. A client reads it to the host over another channel, such as a call, and the host
/// lets in the knock that shows the same. A guess is right once in a million, and each guess is a knock that the host sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortCode(u32);

impl std::fmt::Display for ShortCode {
    /// In two groups of three, such as `048 213`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:03} {:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::tests::{channels, identity};

    #[test]
    fn both_ends_show_the_same_digits_and_each_part_changes_them() {
        let (client, host) = channels(&identity(1));
        let (other, _) = channels(&identity(1));
        let code = |channel: &Channel, [a, b, c, d]: [u8; 4]| {
            let nonces = [a, b].map(|n| Nonce::from_bytes([n; 32]));
            let openings = [c, d].map(|n| Opening::from_bytes([n; 32]));
            channel.short_code(&Secrets { nonces, openings })
        };
        let shown = code(&client, [1, 2, 3, 4]);
        assert_eq!(shown, code(&host, [1, 2, 3, 4]));
        // Five in a million runs may fail here.
        let others = [[0, 2, 3, 4], [1, 0, 3, 4], [1, 2, 0, 4], [1, 2, 3, 0]];
        let others = others.map(|parts| code(&host, parts));
        assert!(others.iter().chain([&code(&other, [1, 2, 3, 4])]).all(|code| *code != shown));
        assert_eq!(ShortCode(48_213).to_string(), "048 213");
    }

    #[test]
    fn a_commitment_holds_for_one_opening_of_one_side() {
        let [one, other] = [1, 2].map(|n| Opening::from_bytes([n; 32]));
        assert_eq!(commit(Role::Client, &one), commit(Role::Client, &one));
        assert_ne!(commit(Role::Client, &one), commit(Role::Client, &other));
        assert_ne!(commit(Role::Client, &one), commit(Role::Host, &one));
    }
}
