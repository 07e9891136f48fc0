//! Sealed signalling: Noise_NKpsk0_25519_AESGCM_SHA256 between client and host, through the server.
//!
//! The client knows the host's public key and the pre-shared secret from the link. The server that relays the
//! messages, and a link holder who runs that server, can neither read nor alter them: nonces count per direction, so a
//! message that was dropped, repeated, swapped or changed does not open, and the channel is dead from then on.
//!
//! Sources: the Noise Protocol Framework, revision 34; RFC 5869 (HKDF) and RFC 2104 (HMAC) for the [`Binding`], which
//! ties the DTLS transport to this handshake as RFC 8844 asks.

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use lllsi_proto::invite::{HostKey, Nonce, RoomId, RoomToken, Secret};
use lllsi_proto::{MAX_SIGNAL_BYTES, WIRE_VERSION};
use sha2::Sha256;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::{Builder, HandshakeState, TransportState};

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

fn prologue(room: &RoomId) -> Vec<u8> {
    let mut bytes = b"LLLSI signalling v".to_vec();
    bytes.push(WIRE_VERSION);
    bytes.extend_from_slice(room.as_bytes());
    bytes
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
    pub fn begin(
        room: &RoomId,
        host: &HostKey,
        secret: &Secret,
        payload: &[u8],
    ) -> (Self, Vec<u8>) {
        let mut noise = builder()
            .prologue(&prologue(room))
            .and_then(|b| b.psk(0, secret.as_bytes())?.remote_public_key(host.as_bytes()))
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
    pub fn accept(identity: &HostIdentity, message: &[u8]) -> Result<(Self, Vec<u8>), SealError> {
        let mut noise = builder()
            .prologue(&prologue(&identity.room()))
            .and_then(|b| {
                b.psk(0, identity.secret.as_bytes())?.local_private_key(&identity.private_key)
            })
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

/// Derives 32 bytes for one purpose from a random seed.
pub(crate) fn derive(seed: &[u8; 32], purpose: &[u8], number: u32) -> [u8; 32] {
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

    fn identity(seed: u8) -> HostIdentity {
        HostIdentity::from_random(std::array::from_fn(|i| seed.wrapping_add(i as u8)))
    }

    fn channels(host: &HostIdentity) -> (Channel, Channel) {
        let (initiator, hello) =
            Initiator::begin(&host.room(), &host.public_key(), &host.secret, b"hello");
        let (responder, payload) = Responder::accept(host, &hello).unwrap();
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
        for (room, key, secret) in [
            (other.room(), host.public_key(), host.secret),
            (host.room(), other.public_key(), host.secret),
            (host.room(), host.public_key(), other.secret),
        ] {
            let (_, hello) = Initiator::begin(&room, &key, &secret, b"hello");
            assert!(Responder::accept(&host, &hello).is_err());
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

    /// Noise_NKpsk0_25519_AESGCM_SHA256 from the cacophony test vectors would need fixed ephemerals; snow runs them in
    /// its own tests. Here the pinned vectors of what we compose ourselves: RFC 5869 A.1 and RFC 4231 case 2.
    #[test]
    fn published_vectors_of_hkdf_and_hmac_pass() {
        let mut okm = [0; 42];
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22]).expand(&info, &mut okm).unwrap();
        assert_eq!(hex(&okm[..16]), "3cb25f25faacd57a90434f64d0362f2a");
        let mut hmac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        hmac.update(b"what do ya want for nothing?");
        assert_eq!(hex(&hmac.finalize().into_bytes()[..16]), "5bdcc146bf60754e6a042426089575c7");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
