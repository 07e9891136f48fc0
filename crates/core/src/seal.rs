//! Sealed signalling: Noise_NKpsk0_25519_AESGCM_SHA256 between client and host, through the server.
//!
//! The client knows the host's public key and a pre-shared key: from the link, from the exchange of a password
//! ([`crate::password`]), or from the ticket that the host gave it. The server that relays the messages, and a link
//! holder who runs that server, can neither read nor alter them: nonces count per direction, so a
//! message that was dropped, repeated, swapped or changed does not open, and the channel is dead from then on.
//!
//! Sources: the Noise Protocol Framework, revision 34; RFC 5869 (HKDF) and RFC 2104 (HMAC) for the [`Binding`], which
//! ties the DTLS transport to this handshake as RFC 8844 asks.

mod short_code;

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use lllsi_proto::invite::{HostKey, Nonce, RoomId, RoomToken, Secret};
use lllsi_proto::room::RoomName;
use lllsi_proto::sealed::Ticket;
use lllsi_proto::{MAX_SIGNAL_BYTES, WIRE_VERSION};
use sha2::Sha256;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::{Builder, HandshakeState, TransportState};

pub use short_code::{Secrets, ShortCode, commit};

const PATTERN: &str = "Noise_NKpsk0_25519_AESGCM_SHA256";
const TAG_BYTES: usize = 16;
/// The limit of one Noise message.
const MAX_NOISE_BYTES: usize = 65535;

/// A message did not open: wrong key or secret, or altered, dropped, repeated or reordered on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed message did not open: wrong key, or altered on its way")]
pub struct SealError;

/// What makes a host this host, for the life of its room. All of it is secret and random.
#[derive(Clone)]
pub struct HostIdentity {
    private_key: [u8; 32],
    public_key: HostKey,
    /// Proves to the server that the room is ours.
    pub token: RoomToken,
    /// What a link holder must know.
    pub secret: Secret,
}

impl HostIdentity {
    /// From 96 random bytes.
    pub fn from_random(random: [u8; 96]) -> Self {
        let [private_key, token, secret] = std::array::from_fn(|i| {
            let mut part = [0; 32];
            part.copy_from_slice(&random[i * 32..][..32]);
            part
        });
        let mut dh = DefaultResolver
            .resolve_dh(&snow::params::DHChoice::Curve25519)
            .expect("the default resolver has Curve25519");
        dh.set(&private_key);
        let mut public_key = [0; 32];
        public_key.copy_from_slice(dh.pubkey());
        Self {
            private_key,
            public_key: HostKey::from_bytes(public_key),
            token: RoomToken::from_bytes(token),
            secret: Secret::from_bytes(secret),
        }
    }

    /// The public key that stands in the link.
    pub fn public_key(&self) -> HostKey {
        self.public_key
    }

    /// The room that the token owns.
    pub fn room(&self) -> RoomId {
        self.token.room_id()
    }
}

impl std::fmt::Debug for HostIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostIdentity(room {})", self.room().to_base64())
    }
}

/// What both sides of a handshake must know beforehand, and as what they know it.
#[derive(Clone)]
pub struct PreShared {
    prologue: Vec<u8>,
    key: [u8; 32],
}

impl std::fmt::Debug for PreShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PreShared(..)")
    }
}

impl PreShared {
    #[cfg(test)]
    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    pub(crate) fn new(purpose: &[u8], subject: &[u8], key: [u8; 32]) -> Self {
        Self { prologue: [purpose, b" v", &[WIRE_VERSION], subject].concat(), key }
    }

    /// The secret of an invite link.
    pub fn link(room: &RoomId, secret: &Secret) -> Self {
        Self::new(b"LLLSI signalling", room.as_bytes(), *secret.as_bytes())
    }

    /// The secret of a ticket.
    pub fn ticket(ticket: &Ticket) -> Self {
        Self::new(b"LLLSI ticket", ticket.id.as_bytes(), *ticket.secret.as_bytes())
    }
}

fn builder() -> Builder<'static> {
    Builder::new(PATTERN.parse().expect("the pattern is valid"))
}

fn write(noise: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; payload.len() + 32 + TAG_BYTES];
    let len =
        noise.write_message(payload, &mut message).expect("payloads are bounded, the turn is ours");
    message.truncate(len);
    message
}

fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut payload = vec![0; message.len()];
    let len = noise.read_message(message, &mut payload).map_err(|_| SealError)?;
    payload.truncate(len);
    Ok(payload)
}

/// The client's side of a handshake under way.
pub struct Initiator(Box<HandshakeState>);

impl Initiator {
    /// Begins, and gives the first message with `payload` sealed for the host.
    pub fn begin(host: &HostKey, shared: &PreShared, payload: &[u8]) -> (Self, Vec<u8>) {
        let mut noise = builder()
            .prologue(&shared.prologue)
            .and_then(|b| b.psk(0, &shared.key)?.remote_public_key(host.as_bytes()))
            .and_then(|b| b.build_initiator())
            .expect("all keys the pattern needs are set");
        let message = write(&mut noise, payload);
        (Self(Box::new(noise)), message)
    }

    /// Takes the host's answer: the channel, and its payload.
    pub fn finish(mut self, message: &[u8]) -> Result<(Channel, Vec<u8>), SealError> {
        let payload = read(&mut self.0, message)?;
        Ok((Channel::new(*self.0), payload))
    }
}

/// The host's side of a handshake under way: a first message that opened.
pub struct Responder(Box<HandshakeState>);

impl Responder {
    /// Opens a client's first message. Nothing else is built for a client that does not know the secret.
    pub fn accept(
        identity: &HostIdentity,
        shared: &PreShared,
        message: &[u8],
    ) -> Result<(Self, Vec<u8>), SealError> {
        let mut noise = builder()
            .prologue(&shared.prologue)
            .and_then(|b| b.psk(0, &shared.key)?.local_private_key(&identity.private_key))
            .and_then(|b| b.build_responder())
            .expect("all keys the pattern needs are set");
        let payload = read(&mut noise, message)?;
        Ok((Self(Box::new(noise)), payload))
    }

    /// Answers; the channel is open from here.
    pub fn finish(mut self, payload: &[u8]) -> (Channel, Vec<u8>) {
        let message = write(&mut self.0, payload);
        (Channel::new(*self.0), message)
    }
}

/// An open sealed channel. Every message opens once, in order, or never.
pub struct Channel {
    noise: TransportState,
    handshake_hash: [u8; 32],
}

impl Channel {
    fn new(noise: HandshakeState) -> Self {
        let mut handshake_hash = [0; 32];
        handshake_hash.copy_from_slice(noise.get_handshake_hash());
        let noise = noise.into_transport_mode().expect("both handshake messages are done");
        Self { noise, handshake_hash }
    }

    /// Seals the next message. `plaintext` must fit [`lllsi_proto::sealed::MAX_SEALED_BYTES`].
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        assert!(plaintext.len() + TAG_BYTES <= MAX_NOISE_BYTES.min(MAX_SIGNAL_BYTES));
        let mut message = vec![0; plaintext.len() + TAG_BYTES];
        let len = self
            .noise
            .write_message(plaintext, &mut message)
            .expect("bounded above, nonces do not run out");
        message.truncate(len);
        message
    }

    /// Opens the next message.
    pub fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut plaintext = vec![0; message.len()];
        let len = self.noise.read_message(message, &mut plaintext).map_err(|_| SealError)?;
        plaintext.truncate(len);
        Ok(plaintext)
    }

    /// Prepares the proof that a transport belongs to this channel.
    pub fn binding(&self, client: &Nonce, host: &Nonce) -> Binding {
        let mut secret = [0; 64];
        secret[..32].copy_from_slice(client.as_bytes());
        secret[32..].copy_from_slice(host.as_bytes());
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(&self.handshake_hash), &secret)
            .expand(b"LLLSI transport binding", &mut key)
            .expect("32 bytes are within HKDF's limit");
        Binding { key }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel(..)")
    }
}

/// The token with which the owner of a secret key owns a name at a server: the same each time, and another at each server.
pub fn room_token(owner: &[u8; 32], server: &str, name: &RoomName) -> RoomToken {
    let mut token = [0; 32];
    Hkdf::<Sha256>::new(None, owner)
        .expand_multi_info(
            // No URL has a zero byte in it.
            &[b"LLLSI room token ", server.as_bytes(), b"\0", name.as_str().as_bytes()],
            &mut token,
        )
        .expect("32 bytes are within HKDF's limit");
    RoomToken::from_bytes(token)
}

/// Derives 32 bytes for one purpose from a random seed.
pub(crate) fn derive(seed: &[u8; 32], purpose: &[u8], number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    Hkdf::<Sha256>::new(None, seed)
        .expand_multi_info(&[b"LLLSI ", purpose, b" ", &number.to_be_bytes()], &mut bytes)
        .expect("32 bytes are within HKDF's limit");
    bytes
}

/// Which end of a link speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The publishing end.
    Host,
    /// The viewing end.
    Client,
}

impl Role {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Host => Self::Client,
            Self::Client => Self::Host,
        }
    }
}

/// Proves that both ends of a DTLS transport are the two ends of a sealed channel.
#[derive(Clone)]
pub struct Binding {
    key: [u8; 32],
}

impl Binding {
    fn hmac(&self, role: Role, client_fingerprint: &[u8], host_fingerprint: &[u8]) -> Hmac<Sha256> {
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        hmac.update(match role {
            Role::Client => b"client",
            Role::Host => b"host  ",
        });
        for fingerprint in [client_fingerprint, host_fingerprint] {
            hmac.update(&(fingerprint.len() as u64).to_be_bytes());
            hmac.update(fingerprint);
        }
        hmac
    }

    /// What `role` says about the two certificates' SHA-256 fingerprints.
    pub fn confirm(
        &self,
        role: Role,
        client_fingerprint: &[u8],
        host_fingerprint: &[u8],
    ) -> [u8; 32] {
        self.hmac(role, client_fingerprint, host_fingerprint).finalize().into_bytes().into()
    }

    /// Whether `role` said this. Constant time.
    pub fn verify(
        &self,
        role: Role,
        client_fingerprint: &[u8],
        host_fingerprint: &[u8],
        mac: &[u8],
    ) -> bool {
        self.hmac(role, client_fingerprint, host_fingerprint).verify_slice(mac).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use lllsi_proto::invite::{Opening, TicketId};

    pub(super) fn identity(seed: u8) -> HostIdentity {
        HostIdentity::from_random(std::array::from_fn(|i| seed.wrapping_add(i as u8)))
    }

    fn link(host: &HostIdentity) -> PreShared {
        PreShared::link(&host.room(), &host.secret)
    }

    pub(super) fn channels(host: &HostIdentity) -> (Channel, Channel) {
        let (initiator, hello) = Initiator::begin(&host.public_key(), &link(host), b"hello");
        let (responder, payload) = Responder::accept(host, &link(host), &hello).unwrap();
        assert_eq!(payload, b"hello");
        let (host_end, welcome) = responder.finish(b"welcome");
        let (client_end, payload) = initiator.finish(&welcome).unwrap();
        assert_eq!(payload, b"welcome");
        (client_end, host_end)
    }

    #[test]
    fn both_ends_understand_each_other() {
        let (mut client, mut host) = channels(&identity(1));
        for text in [&b"one"[..], b"", b"three"] {
            assert_eq!(host.open(&client.seal(text)).unwrap(), text);
            assert_eq!(client.open(&host.seal(text)).unwrap(), text);
        }
    }

    #[test]
    fn a_wrong_secret_key_or_room_does_not_open() {
        let (host, other) = (identity(1), identity(2));
        let ticket =
            Ticket { room: host.room(), id: TicketId::from_bytes([1; 16]), secret: host.secret };
        for (key, shared) in [
            (host.public_key(), PreShared::link(&other.room(), &host.secret)),
            (other.public_key(), link(&host)),
            (host.public_key(), PreShared::link(&host.room(), &other.secret)),
            (host.public_key(), PreShared::ticket(&ticket)),
        ] {
            let (_, hello) = Initiator::begin(&key, &shared, b"hello");
            assert!(Responder::accept(&host, &link(&host), &hello).is_err());
        }
    }

    #[test]
    fn dropped_repeated_altered_and_reflected_messages_do_not_open() {
        let host = identity(3);
        let (mut client, mut end) = channels(&host);
        let (first, second) = (client.seal(b"first"), client.seal(b"second"));
        assert!(end.open(&second).is_err(), "reordered");
        assert_eq!(end.open(&first).unwrap(), b"first");
        assert!(end.open(&first).is_err(), "repeated");
        let mut altered = second.clone();
        altered[0] ^= 1;
        assert!(end.open(&altered).is_err(), "altered");
        let own = client.seal(b"x");
        assert!(client.open(&own).is_err(), "reflected");
    }

    #[test]
    fn the_binding_tells_roles_and_fingerprints_apart() {
        let (client, host) = channels(&identity(4));
        let nonces = (Nonce::from_bytes([1; 32]), Nonce::from_bytes([2; 32]));
        let ours = client.binding(&nonces.0, &nonces.1);
        let theirs = host.binding(&nonces.0, &nonces.1);
        let mac = ours.confirm(Role::Client, b"cert c", b"cert h");
        assert!(theirs.verify(Role::Client, b"cert c", b"cert h", &mac));
        assert!(!theirs.verify(Role::Host, b"cert c", b"cert h", &mac));
        assert!(!theirs.verify(Role::Client, b"cert h", b"cert c", &mac));
        assert!(!theirs.verify(Role::Client, b"cert c", b"cert x", &mac));
        let other_session = channels(&identity(4)).0.binding(&nonces.0, &nonces.1);
        assert!(!other_session.verify(Role::Client, b"cert c", b"cert h", &mac));
    }

    /// RFC 5869, A.1, and RFC 4231, 4.3.
    #[test]
    fn published_vectors_of_hkdf_and_hmac_pass() {
        let mut okm = [0; 42];
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22]).expand(&info, &mut okm).unwrap();
        let expected =
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(okm[..], hex(expected));
        let mut hmac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        hmac.update(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac.finalize().into_bytes()[..], hex(expected));
    }

    fn from(first: u8) -> [u8; 32] {
        std::array::from_fn(|i| first + i as u8)
    }

    /// RFC 7748, 6.1.
    #[test]
    fn public_keys_are_the_published_ones() {
        for (private, public) in [
            (
                "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            ),
            (
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            ),
        ] {
            let mut random = [0; 96];
            random[..32].copy_from_slice(&hex(private));
            let identity = HostIdentity::from_random(random);
            assert_eq!(identity.public_key().as_bytes()[..], hex(public));
        }
    }

    /// docs/rendezvous.md, section 14, and docs/control.md, section 3.4. The browser computes the same with code of
    /// another author.
    #[test]
    fn the_documents_vectors_pass() {
        let random: [u8; 96] = std::array::from_fn(|i| i as u8);
        let host = HostIdentity::from_random(random);
        let PreShared { prologue, key: secret } =
            PreShared::link(&host.room(), &Secret::from_bytes(from(0x40)));
        let (client_key, host_key) = (from(0x60), from(0x80));
        let public_key = host.public_key();
        let begin = || {
            let builder = builder().prologue(&prologue).and_then(|b| b.psk(0, &secret));
            builder.expect("they are set once")
        };
        let initiator = begin()
            .fixed_ephemeral_key_for_testing_only(&client_key)
            .remote_public_key(public_key.as_bytes());
        let mut initiator = initiator.and_then(|b| b.build_initiator()).unwrap();
        let responder = begin()
            .fixed_ephemeral_key_for_testing_only(&host_key)
            .local_private_key(&host.private_key);
        let mut responder = responder.and_then(|b| b.build_responder()).unwrap();
        let hello = write(&mut initiator, b"hello");
        assert_eq!(
            hello,
            hex("675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f
            5e206f5d3d8ac074c52dff564f141d85a89bb2630d")
        );
        assert_eq!(read(&mut responder, &hello).unwrap(), b"hello");
        let welcome = write(&mut responder, b"welcome");
        assert_eq!(
            welcome,
            hex("493e82fc74464a59268817623d2053c5eb8e2cc4a988b4fee179ec6b010d531d
            cf9efb007ef44bd0044f6c67c4c4bcf2fe1715e7cdd5d5")
        );
        assert_eq!(read(&mut initiator, &welcome).unwrap(), b"welcome");
        let (mut client, mut host) = (Channel::new(initiator), Channel::new(responder));
        let hash = "68e4de704bba73baaa2ea22425f0de5d4b186d94f201e5f454633f26c7e0b88c";
        assert_eq!(client.handshake_hash[..], hex(hash));
        let [ours, theirs] = [1, 2].map(|n| Nonce::from_bytes([n; 32]));
        let openings = [3, 4].map(|n| Opening::from_bytes([n; 32]));
        let commitments = [
            "f4419f67de87a2d5e94bcc8dc888f5b5bcb456c0da30fbb2612ced9f845d1703",
            "847c10408626f7fe30df97a8bf2a388ac7764a847c96381be443c789ac145608",
        ];
        for (role, opening, commitment) in
            [(Role::Client, openings[0], commitments[0]), (Role::Host, openings[1], commitments[1])]
        {
            assert_eq!(commit(role, &opening).as_bytes()[..], hex(commitment));
        }
        let secrets = Secrets { nonces: [ours, theirs], openings };
        assert_eq!(client.short_code(&secrets).to_string(), "811 496");
        assert_eq!(client.seal(b"one"), hex("2089438654520be580ab86e297bc5ad3e743cd"));
        assert_eq!(host.seal(b"two"), hex("662a09886cfa47890f1d10e49102daf079dfdf"));

        let binding = client.binding(&ours, &theirs);
        let proof = |role| binding.confirm(role, &[0xaa; 32], &[0xbb; 32]);
        let ours = "701e34baf9cd0621e3d83f1ff25d29c82f2379c888a55527c416ac7cd66c2bd3";
        let theirs = "f5efc3014c592d1f89f0e615da20d3688123263702bf92e14d0de54140637483";
        assert_eq!(proof(Role::Client)[..], hex(ours));
        assert_eq!(proof(Role::Host)[..], hex(theirs));
    }
}
