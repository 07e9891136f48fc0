//! How a password becomes the pre-shared key of a handshake: [`crate::cpace`], then a derivation.
//!
//! Whoever takes part in an exchange can try one password in it, and nobody can try any afterwards. The host's public
//! key travels along in clear; it is part of what the key comes from, so that the handshake only succeeds with the true
//! one. `docs/rendezvous.md`, section 15, is the specification.
//!
//! ```
//! use lllsi_core::password::{Asking, answer};
//! use lllsi_core::seal::{HostIdentity, Initiator, Responder};
//!
//! # let (random, other_random) = ([1; 32], [2; 32]);
//! let (name, password) = ("kitchen".parse().unwrap(), "k3f9-2mxq".parse().unwrap());
//! let identity = HostIdentity::from_random([3; 96]);
//! let (session, host_key) = ([7; 16], identity.public_key());
//! let asking = Asking::new(&name, &password, session, random);
//! let (to_host, host) =
//!     answer(&name, &password, &session, &asking.share(), &host_key, other_random).unwrap();
//! let client = asking.finish(&to_host, &host_key).unwrap();
//! let (_, hello) = Initiator::begin(&host_key, &client, b"hello");
//! assert!(Responder::accept(&identity, &host, &hello).is_ok());
//! ```

use hkdf::Hkdf;
use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::HostKey;
use lllsi_proto::room::{Password, RoomName};
use sha2::Sha256;

use crate::cpace::{BadShare, Exchange, Role};
use crate::seal::PreShared;

/// Names the purpose in CPace and in the handshake.
const PURPOSE: &[u8] = b"LLLSI room";

/// The client's side of an exchange under way.
#[derive(Debug)]
pub struct Asking {
    exchange: Exchange,
    name: RoomName,
}

impl Asking {
    /// Begins. `session` and `random` must be fresh and random.
    pub fn new(name: &RoomName, password: &Password, session: [u8; 16], random: [u8; 32]) -> Self {
        Self { exchange: begin(name, password, &session, random), name: name.clone() }
    }

    /// What the host needs, besides the session.
    pub fn share(&self) -> [u8; 32] {
        self.exchange.share()
    }

    /// What the handshake rests on, given the host's answer. Whether the host knows the password shows there.
    ///
    /// # Errors
    /// [`BadShare`]: no honest host sends this.
    pub fn finish(self, share: &[u8; 32], host_key: &HostKey) -> Result<PreShared, BadShare> {
        finish(self.exchange, Role::Initiator, share, &self.name, host_key)
    }
}

/// The host's side: its share, and what the handshake rests on. Whether the client knows the password shows there.
///
/// # Errors
/// [`BadShare`]: no honest client sends this.
pub fn answer(
    name: &RoomName,
    password: &Password,
    session: &[u8; 16],
    theirs: &[u8; 32],
    host_key: &HostKey,
    random: [u8; 32],
) -> Result<([u8; 32], PreShared), BadShare> {
    let exchange = begin(name, password, session, random);
    let share = exchange.share();
    Ok((share, finish(exchange, Role::Responder, theirs, name, host_key)?))
}

/// What the key is for.
fn channel(name: &RoomName) -> Vec<u8> {
    [PURPOSE, b" v", &[WIRE_VERSION], name.as_str().as_bytes()].concat()
}

fn begin(name: &RoomName, password: &Password, session: &[u8; 16], random: [u8; 32]) -> Exchange {
    Exchange::begin(password.as_str().as_bytes(), &channel(name), session, random)
}

fn finish(
    exchange: Exchange,
    role: Role,
    theirs: &[u8; 32],
    name: &RoomName,
    host_key: &HostKey,
) -> Result<PreShared, BadShare> {
    let isk = exchange.finish(role, theirs, [b"", host_key.as_bytes()])?;
    Ok(PreShared::new(PURPOSE, name.as_str().as_bytes(), psk(&isk)))
}

fn psk(isk: &[u8; 64]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(None, isk)
        .expand(b"LLLSI room psk", &mut key)
        .expect("32 bytes are within HKDF's limit");
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpace::{self, generator};
    use crate::hex;
    use crate::seal::HostIdentity;
    use curve25519_dalek::montgomery::MontgomeryPoint;

    /// What an attacker tries; the right password is among them.
    const DICTIONARY: [&str; 4] = ["123456", "k3f9-2mxq", "letmein", "k3f9-2mxr"];

    fn times(scalar: [u8; 32], point: [u8; 32]) -> [u8; 32] {
        MontgomeryPoint(point).mul_clamped(scalar).0
    }

    /// The guesses that lead to the key of an exchange, for who knows all that was sent, and `scalars` of their own:
    /// from whatever can be made of them and the points that are known.
    fn found(
        true_key: &[u8; 32],
        [session, ya, yb]: [&[u8; 32]; 3],
        host_key: &HostKey,
        scalars: &[[u8; 32]],
    ) -> Vec<&'static str> {
        let session = &session[..16];
        let name: RoomName = "kitchen".parse().unwrap();
        let leads_there = |guess: &&str| {
            let g = generator(guess.as_bytes(), &channel(&name), session);
            let points = [g, *ya, *yb];
            let products = scalars.iter().flat_map(|s| points.map(|point| times(*s, point)));
            // Also the known values themselves, in place of a product or a secret number.
            let others = [times(*ya, *yb), times(*yb, *ya), times(g, *ya), times(g, *yb), [0; 32]];
            let secrets = products.chain(points).chain(others);
            let data: [&[u8]; 2] = [b"", host_key.as_bytes()];
            let keys = secrets.map(|secret| psk(&cpace::key(session, &secret, [ya, yb], data)));
            keys.into_iter().any(|key| key == *true_key)
        };
        DICTIONARY.into_iter().filter(leads_there).collect()
    }

    #[test]
    fn who_listens_learns_nothing_to_try_passwords_with_and_who_takes_part_one_guess() {
        let (name, password) = ("kitchen".parse().unwrap(), DICTIONARY[1].parse().unwrap());
        let host_key = HostIdentity::from_random([3; 96]).public_key();
        let (session, client, host, own) = ([7; 32], [0xa1; 32], [0xc1; 32], [0xe1; 32]);
        let sid = session[..16].try_into().unwrap();
        let exchange = |guess: &Password, scalar| {
            let asking = Asking::new(&name, &password, sid, client);
            let ya = asking.share();
            let (yb, _) = answer(&name, guess, &sid, &ya, &host_key, scalar).unwrap();
            (ya, yb, *asking.finish(&yb, &host_key).unwrap().key())
        };
        // With the true host: whoever listened, with any secret number but the two.
        let (ya, yb, key) = exchange(&password, host);
        let sent = [&session, &ya, &yb];
        assert!(found(&key, sent, &host_key, &[own, [1; 32]]).is_empty());
        // That the true numbers lead there shows that this would be seen.
        assert_eq!(found(&key, sent, &host_key, &[client]), DICTIONARY);
        assert_eq!(found(&key, sent, &host_key, &[host]), DICTIONARY);

        // With somebody in the host's place, who guesses: what is found is the guess, at once, or nothing ever.
        for guess in DICTIONARY {
            let (ya, yb, key) = exchange(&guess.parse().unwrap(), own);
            let found = found(&key, [&session, &ya, &yb], &host_key, &[own]);
            assert_eq!(!found.is_empty(), guess == password.as_str(), "{guess}: {found:?}");
        }
    }

    /// docs/rendezvous.md, section 15. The browser computes the same with code of its own.
    #[test]
    fn the_documents_vectors_pass() {
        let from = |first: u8| std::array::from_fn(|i| first + i as u8);
        let host_key = HostIdentity::from_random(std::array::from_fn(|i| i as u8)).public_key();
        let (name, password) = ("kitchen".parse().unwrap(), "k3f9-2mxq".parse().unwrap());
        let session = std::array::from_fn(|i| 0xf0 + i as u8);
        let asking = Asking::new(&name, &password, session, from(0xa0));
        let to_host = asking.share();
        let (to_client, host) =
            answer(&name, &password, &session, &to_host, &host_key, from(0xc0)).unwrap();
        let client = asking.finish(&to_client, &host_key).unwrap();
        let share = "8220a36f29ee268c997334516a7761238042cbb58d964dc129ae9b2071504016";
        assert_eq!(to_host[..], hex(share));
        let share = "bc550f26aa5b89bfe56a2bc75e5741f4f728cedde06196dfc92011002934e044";
        assert_eq!(to_client[..], hex(share));
        let key = "61a0316f94ee259ac9285d507ca32db7aaa854dd1e165f3650144d5b6f3faa6e";
        assert_eq!(client.key()[..], hex(key));
        assert_eq!(client.key(), host.key());
    }
}
