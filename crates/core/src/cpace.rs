//! CPace: two sides that share a password agree on a key, and nobody else learns anything to try passwords with.
//!
//! CPACE-X25519-SHA512 of draft-irtf-cfrg-cpace-21, in the setting of an initiator and a responder. Whoever sits
//! between the two gets one guess for each exchange it takes part in. The key is the same on both sides only if
//! password, channel, session and all that was sent are the same; that it is has to be proved afterwards by using it.
//!
//! ```
//! use lllsi_core::cpace::{Exchange, Role};
//!
//! # let (random, other_random) = ([1; 32], [2; 32]);
//! let (channel, session) = (b"LLLSI room kitchen", [7; 16]);
//! let client = Exchange::begin(b"k3f9-2mxq", channel, &session, random);
//! let host = Exchange::begin(b"k3f9-2mxq", channel, &session, other_random);
//! let (to_host, to_client) = (client.share(), host.share());
//! let data: [&[u8]; 2] = [b"", b"the host's key"];
//! let key = client.finish(Role::Initiator, &to_client, data).unwrap();
//! assert_eq!(host.finish(Role::Responder, &to_host, data), Ok(key));
//! ```

mod elligator;

use curve25519_dalek::montgomery::MontgomeryPoint;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// The group's names in hashes (section 7.2: `G.DSI`, and `G.DSI || "_ISK"`).
const GENERATOR: &[u8] = b"CPace255";
const KEY: &[u8] = b"CPace255_ISK";
/// SHA-512 takes its input in blocks of so many bytes.
const BLOCK_BYTES: usize = 128;

/// The other side's share is one that makes every key the same: only an attacker sends such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share that no honest peer sends: the password exchange was tampered with")]
pub struct BadShare;

/// Which side one is: it decides the order in the transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The side that speaks first.
    Initiator,
    /// The other one.
    Responder,
}

/// One side of one exchange.
pub struct Exchange {
    session: Vec<u8>,
    scalar: [u8; 32],
    share: [u8; 32],
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchange(..)")
    }
}

impl Exchange {
    /// `channel` names what the key is for, and `session` this exchange; both sides must use the same. `random` must
    /// be fresh for each exchange.
    pub fn begin(password: &[u8], channel: &[u8], session: &[u8], random: [u8; 32]) -> Self {
        let generator = generator(password, channel, session);
        let share = MontgomeryPoint(generator).mul_clamped(random).0;
        Self { session: session.to_vec(), scalar: random, share }
    }

    /// What the other side needs.
    pub fn share(&self) -> [u8; 32] {
        self.share
    }

    /// The key, given the other side's share and what came along with the shares: the initiator's, then the
    /// responder's. It must be the same on both sides.
    ///
    /// # Errors
    /// [`BadShare`] for a point of small order.
    pub fn finish(
        self,
        role: Role,
        theirs: &[u8; 32],
        data: [&[u8]; 2],
    ) -> Result<[u8; 64], BadShare> {
        let secret = MontgomeryPoint(*theirs).mul_clamped(self.scalar).0;
        if secret.ct_eq(&[0; 32]).into() {
            return Err(BadShare);
        }
        let shares = match role {
            Role::Initiator => [&self.share, theirs],
            Role::Responder => [theirs, &self.share],
        };
        Ok(key(&self.session, &secret, shares, data))
    }
}

/// The key out of the secret point and all that was sent (section 7.1: `ISK`).
pub(crate) fn key(
    session: &[u8],
    secret: &[u8; 32],
    shares: [&[u8; 32]; 2],
    data: [&[u8]; 2],
) -> [u8; 64] {
    let mut input = Vec::new();
    for part in [KEY, session, secret, shares[0], data[0], shares[1], data[1]] {
        put(&mut input, part);
    }
    Sha512::digest(input).into()
}

/// Appends a length (LEB128), then the bytes.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// What is hashed to a generator: the password fills the first block alone.
fn generator_string(password: &[u8], channel: &[u8], session: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, GENERATOR);
    put(&mut out, password);
    let padding = BLOCK_BYTES.saturating_sub(out.len() + 1);
    put(&mut out, &vec![0; padding]);
    put(&mut out, channel);
    put(&mut out, session);
    out
}

pub(crate) fn generator(password: &[u8], channel: &[u8], session: &[u8]) -> [u8; 32] {
    let digest = Sha512::digest(generator_string(password, channel, session));
    elligator::map(digest.first_chunk().expect("a digest has 64 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    fn hex32(text: &str) -> [u8; 32] {
        hex(text).try_into().expect("32 bytes")
    }

    // draft-irtf-cfrg-cpace-21, B.1.
    const CHANNEL: &[u8] = b"\x0bA_initiator\x0bB_responder";
    const SESSION: &str = "7e4b4791d6a8ef019b936c79fb7f2c57";
    const YA: &str = "21b4f4bd9e64ed355c3eb676a28ebedaf6d8f17bdc365995b319097153044080";
    const YB: &str = "848b0779ff415f0af4ea14df9dd1d3c29ac41d836c7808896c4eba19c51ac40a";

    #[test]
    fn the_generator_is_the_published_one() {
        let string = generator_string(b"Password", CHANNEL, &hex(SESSION));
        assert_eq!(string.len(), 170);
        assert_eq!(string[..19], hex("0843506163653235350850617373776f72646d"));
        assert!(string[19..128].iter().all(|byte| *byte == 0));
        let g = "d04bf6d41f6a289632a2e929fa29bebd51092512a7829fdde7d314b62f05a73f";
        assert_eq!(generator(b"Password", CHANNEL, &hex(SESSION)), hex32(g));
    }

    #[test]
    fn both_sides_get_the_published_key() {
        let begin = |scalar| Exchange::begin(b"Password", CHANNEL, &hex(SESSION), hex32(scalar));
        let (a, b) = (begin(YA), begin(YB));
        let [to_b, to_a] = [a.share(), b.share()];
        let ya = "1d13c89278cdadd826f6d8d7f887701430f8380ddc17611cdd6dc989ce0c9f32";
        let yb = "248cccf6d5cdc3646f0ad593f9e6cef4e69d4945f8372e623512ecea32185623";
        assert_eq!((to_b, to_a), (hex32(ya), hex32(yb)));
        let key = hex("6e19b875f7a561d6b3ca3dbb9ef42ac55de3e717881018204b8922b4d5e53bb2
            aa82c300bea7b65d2b671da71922ddf6472301b79bc270adfa8bf413285f2263");
        let data: [&[u8]; 2] = [b"ADa", b"ADb"];
        assert_eq!(a.finish(Role::Initiator, &to_a, data).unwrap()[..], key);
        assert_eq!(b.finish(Role::Responder, &to_b, data).unwrap()[..], key);
    }

    #[test]
    fn points_of_small_order_are_refused_and_others_multiply_as_published() {
        let scalar = hex32("af46e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449aff");
        let refused = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        for share in refused {
            let exchange = Exchange::begin(b"Password", b"", b"", scalar);
            assert_eq!(
                exchange.finish(Role::Initiator, &hex32(share), [b"", b""]),
                Err(BadShare),
                "{share}"
            );
        }
        let products = [
            (
                "daffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                "d8e2c776bbacd510d09fd9278b7edcd25fc5ae9adfba3b6e040e8d3b71b21806",
            ),
            (
                "dbffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                "c85c655ebe8be44ba9c0ffde69f2fe10194458d137f09bbff725ce58803cdb38",
            ),
            (
                "d9ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                "db64dafa9b8fdd136914e61461935fe92aa372cb056314e1231bc4ec12417456",
            ),
            (
                "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
                "e062dcd5376d58297be2618c7498f55baa07d7e03184e8aada20bca28888bf7a",
            ),
            (
                "4c9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
                "993c6ad11c4c29da9a56f7691fd0ff8d732e49de6250b6c2e80003ff4629a175",
            ),
        ];
        for (point, product) in products {
            let found = MontgomeryPoint(hex32(point)).mul_clamped(scalar).0;
            assert_eq!(found, hex32(product), "{point}");
        }
    }

    #[test]
    fn any_difference_gives_another_key() {
        let run = |password: &[u8], channel: &[u8], session: &[u8], data: &[u8]| {
            let a = Exchange::begin(b"right", b"room", b"session", [3; 32]);
            let b = Exchange::begin(password, channel, session, [4; 32]);
            let (to_b, to_a) = (a.share(), b.share());
            let a = a.finish(Role::Initiator, &to_a, [b"", b"key"]).unwrap();
            (a, b.finish(Role::Responder, &to_b, [b"", data]).unwrap())
        };
        let (one, other) = run(b"right", b"room", b"session", b"key");
        assert_eq!(one, other);
        for (one, other) in [
            run(b"wrong", b"room", b"session", b"key"),
            run(b"right", b"moor", b"session", b"key"),
            run(b"right", b"room", b"sessions", b"key"),
            run(b"right", b"room", b"session", b"kez"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn lengths_are_leb128() {
        let mut out = Vec::new();
        put(&mut out, &[5; 300]);
        assert_eq!((out[..3].to_vec(), out.len()), (vec![0xac, 0x02, 5], 302));
    }
}
