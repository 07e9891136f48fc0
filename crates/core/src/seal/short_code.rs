//! The six digits by which people tell who of those in the lobby is who.
//!
//! A hash commitment keeps both sides from choosing them, as in ZRTP (RFC 6189, 4.4.1.1): the client commits in its hello to a
//! number that it reveals under seal after the host's welcome. A party that shakes hands with both sides has to finish with one
//! of them before it knows what that side will show, so it has one guess in a million.

use hkdf::Hkdf;
use lllsi_proto::invite::{Commitment, Nonce, Opening};
use sha2::{Digest, Sha256};

use super::Channel;

/// What a client says in its hello: the number that it will reveal is fixed from here on.
pub fn commit(opening: &Opening) -> Commitment {
    let hash =
        Sha256::new().chain_update(b"LLLSI short code commitment").chain_update(opening.as_bytes());
    Commitment::from_bytes(hash.finalize().into())
}

impl Channel {
    /// What both people see: if they read the same, these are the two ends of one channel. The nonces and the opening were sent
    /// under seal, so the digits cannot be computed from what the server sees.
    pub fn short_code(&self, client: &Nonce, host: &Nonce, opening: &Opening) -> ShortCode {
        let secret = [client.as_bytes(), host.as_bytes(), opening.as_bytes()].map(|part| &part[..]);
        let mut bytes = [0; 8];
        Hkdf::<Sha256>::new(Some(&self.handshake_hash), &secret.concat())
            .expand(b"LLLSI short code", &mut bytes)
            .expect("8 bytes are within HKDF's limit");
        ShortCode((u64::from_be_bytes(bytes) % 1_000_000) as u32)
    }
}

/// A short authentication string, six digits: a client tells it to the host by another way, such as a call, and the host knows
/// which of those who wait it is. A guess is right once in a million, and each costs a knock that the host sees.
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
        let code = |channel: &Channel, [a, b, c]: [u8; 3]| {
            let (client, host) = (Nonce::from_bytes([a; 32]), Nonce::from_bytes([b; 32]));
            channel.short_code(&client, &host, &Opening::from_bytes([c; 32]))
        };
        let shown = code(&client, [1, 2, 3]);
        assert_eq!(shown, code(&host, [1, 2, 3]));
        // Four in a million runs may fail here.
        let others = [[0, 2, 3], [1, 0, 3], [1, 2, 0]].map(|parts| code(&host, parts));
        assert!(others.iter().chain([&code(&other, [1, 2, 3])]).all(|code| *code != shown));
        assert_eq!(ShortCode(48_213).to_string(), "048 213");
    }

    #[test]
    fn a_commitment_holds_for_one_opening() {
        let [one, other] = [1, 2].map(|n| Opening::from_bytes([n; 32]));
        assert_eq!(commit(&one), commit(&one));
        assert_ne!(commit(&one), commit(&other));
    }
}
