//! What host and client say to each other through the rendezvous server, which cannot read it.
//!
//! A [`Blob`](crate::rendezvous::Blob) is an [`Envelope`]: one version byte, one kind byte, and the rest. The two
//! handshake messages of Noise_NKpsk0 carry [`Hello`] and [`Welcome`]; after them every message is sealed in order. Who
//! has a password in place of a link exchanges two shares of CPace before.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::fields::Fields;
use crate::invite::{Commitment, HostKey, Nonce, Opening, RoomId, Secret, TicketId};
use crate::{Error, WIRE_VERSION};

/// The largest sealed plaintext, in bytes: what fits a signalling message as base64 with its envelope.
pub const MAX_SEALED_BYTES: usize = 44 * 1024;

/// The longest name a client may give itself, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// A blob, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope<'a> {
    /// A Noise handshake message.
    Handshake(&'a [u8]),
    /// A Noise transport message.
    Sealed(&'a [u8]),
    /// The host could not even begin; nothing authenticates this.
    Rejected(Rejection),
    /// From a client that has a password: its half of the exchange.
    ClientShare {
        /// Names the exchange; random.
        session: [u8; 16],
        /// The share.
        share: [u8; 32],
    },
    /// The host's half of the exchange.
    HostShare {
        /// The share.
        share: [u8; 32],
        /// For the handshake that follows. That it is the host's is known once the handshake has succeeded.
        host_key: HostKey,
    },
    /// From a client that has been let in before: a Noise handshake message.
    Ticket {
        /// Which ticket.
        id: TicketId,
        /// The message.
        handshake: &'a [u8],
    },
}

/// Why a handshake was rejected. Unauthenticated: the server could forge it, and gains a refusal by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The first message does not open with what the link, the password or the ticket leads to.
    WrongSecret,
    /// The other side speaks this wire version.
    Version(u8),
    /// What came is not what a client sends: it was altered, repeated or made up on the way.
    Tampered,
    /// Too many passwords were tried; later ones are heard again.
    TooManyTries,
}

const KIND_HANDSHAKE: u8 = 1;
const KIND_SEALED: u8 = 2;
const KIND_REJECTED: u8 = 3;
const KIND_CLIENT_SHARE: u8 = 4;
const KIND_HOST_SHARE: u8 = 5;
const KIND_TICKET: u8 = 6;

impl<'a> Envelope<'a> {
    /// Takes a blob apart.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Error> {
        let [version, kind, rest @ ..] = blob else {
            return Err(Error::Truncated { what: "envelope", need: 2, got: blob.len() });
        };
        match (*kind, rest) {
            // Readable in every version: it says which one the other side has.
            (KIND_REJECTED, [1, ..]) => Ok(Self::Rejected(Rejection::WrongSecret)),
            (KIND_REJECTED, [2, ..]) => Ok(Self::Rejected(Rejection::Version(*version))),
            (KIND_REJECTED, [3, ..]) => Ok(Self::Rejected(Rejection::Tampered)),
            (KIND_REJECTED, [4, ..]) => Ok(Self::Rejected(Rejection::TooManyTries)),
            _ if *version != WIRE_VERSION => Err(Error::Version { theirs: *version }),
            (KIND_HANDSHAKE, body) => Ok(Self::Handshake(body)),
            (KIND_SEALED, body) => Ok(Self::Sealed(body)),
            (KIND_CLIENT_SHARE, rest) => {
                let mut fields = Fields { what: "password exchange", rest };
                Ok(Self::ClientShare { session: fields.array()?, share: fields.array()? })
            }
            (KIND_HOST_SHARE, rest) => {
                let mut fields = Fields { what: "password exchange", rest };
                let (share, host_key) = (fields.array()?, HostKey::from_bytes(fields.array()?));
                Ok(Self::HostShare { share, host_key })
            }
            (KIND_TICKET, rest) => {
                let mut fields = Fields { what: "ticket", rest };
                let id = TicketId::from_bytes(fields.array()?);
                Ok(Self::Ticket { id, handshake: fields.rest })
            }
            (kind, _) => Err(Error::invalid("envelope", format!("kind {kind}"))),
        }
    }

    /// As the bytes of a blob.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, parts): (u8, [&[u8]; 2]) = match self {
            Self::Handshake(body) => (KIND_HANDSHAKE, [body, &[]]),
            Self::Sealed(body) => (KIND_SEALED, [body, &[]]),
            Self::Rejected(rejection) => (KIND_REJECTED, [rejection.code(), &[]]),
            Self::ClientShare { session, share } => (KIND_CLIENT_SHARE, [session, share]),
            Self::HostShare { share, host_key } => (KIND_HOST_SHARE, [share, host_key.as_bytes()]),
            Self::Ticket { id, handshake } => (KIND_TICKET, [id.as_bytes(), handshake]),
        };
        let mut bytes = Vec::with_capacity(2 + parts[0].len() + parts[1].len());
        bytes.extend_from_slice(&[WIRE_VERSION, kind]);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}

impl Rejection {
    fn code(self) -> &'static [u8] {
        match self {
            Self::WrongSecret => &[1],
            Self::Version(_) => &[2],
            Self::Tampered => &[3],
            Self::TooManyTries => &[4],
        }
    }
}

/// The client's first words, in the first handshake message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What the client calls itself, at most [`MAX_NAME_BYTES`].
    pub name: String,
    /// Its SDP offer.
    pub offer: String,
    /// Its half of the transport binding.
    pub nonce: Nonce,
    /// To the number that it reveals if it has to wait in the lobby.
    pub commitment: Commitment,
    /// Its addresses that are not in the offer, as SDP candidate lines.
    #[serde(default)]
    pub candidates: Vec<String>,
    /// Whether it reads the frame information that stands before the first payload of a frame.
    #[serde(default)]
    pub frame_info: bool,
    /// Whether it makes lost packets again from parity packets.
    #[serde(default)]
    pub parity: bool,
}

/// The host's first words, in the second handshake message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Its half of the transport binding.
    pub nonce: Nonce,
    /// To the number that it reveals to a client that waits in the lobby and has shown its own.
    pub commitment: Commitment,
    /// What becomes of the client.
    pub admission: Admission,
}

/// The host's decision about a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Admission {
    /// Come in: the SDP answer, with the host's candidates so far.
    Admitted {
        /// The answer.
        answer: String,
        /// With what to come back, for a client that has none yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<Ticket>,
    },
    /// Wait in the lobby. The host's addresses stay unknown to the client.
    Waiting,
    /// Not today.
    Refused {
        /// Why.
        reason: PartReason,
    },
}

/// What a host gives to a client that it lets in: good for coming back while the stream lives, without link or password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Where to come back to: a name may lead elsewhere by then.
    pub room: RoomId,
    /// Tells the host which one it is.
    pub id: TicketId,
    /// The pre-shared key of the handshake.
    pub secret: Secret,
}

/// Why host and client part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartReason {
    /// The host has as many viewers as it allows.
    #[error("the host has as many viewers as it allows")]
    RoomFull,
    /// The host removed this client.
    #[error("the host removed this viewer")]
    Kicked,
    /// The host ended the stream.
    #[error("the host ended the stream")]
    HostClosed,
    /// The client left.
    #[error("the viewer left")]
    ClientLeft,
    /// What the other side sent breaks the protocol.
    #[error("what the other side sent breaks the protocol")]
    Protocol,
    /// The same viewer came back by another connection.
    #[error("the viewer came back by another connection")]
    Replaced,
    /// The host has no more pictures: its screen is gone.
    #[error("the host's screen is gone")]
    SourceLost,
    /// The invitation is used up, or its time is over.
    #[error("the invitation is not valid any more")]
    InviteExpired,
    /// A reason this version does not know.
    #[error("a reason this version does not know")]
    #[serde(other)]
    Unknown,
}

/// From host to client, after the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToClient {
    /// The decision, if it was [`Admission::Waiting`] before.
    Admission(Admission),
    /// One more address of the host, as an SDP candidate line.
    Candidate {
        /// `candidate:…`
        candidate: String,
    },
    /// The number of which the welcome has the hash, once the client has shown its own.
    Reveal {
        /// The number.
        opening: Opening,
    },
    /// No path has been found yet, and of what kind the host's NAT is.
    Network {
        /// The kind's name, such as `symmetric`.
        nat: String,
    },
    /// The answer to [`ToHost::Restart`].
    Restarted {
        /// The SDP answer.
        answer: String,
    },
    /// The host lets the client go.
    Part {
        /// Why.
        reason: PartReason,
    },
    /// Something a newer version says.
    #[serde(other)]
    Unknown,
}

/// From client to host, after the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToHost {
    /// One more address of the client, as an SDP candidate line.
    Candidate {
        /// `candidate:…`
        candidate: String,
    },
    /// No path has been found yet, and of what kind the client's NAT is.
    Network {
        /// The kind's name, such as `symmetric`.
        nat: String,
    },
    /// The client has to wait in the lobby, and shows the number whose hash is in its hello.
    Reveal {
        /// The number.
        opening: Opening,
    },
    /// The client's path died: an SDP offer with new ICE credentials.
    Restart {
        /// The offer.
        offer: String,
    },
    /// The client leaves.
    Part {
        /// Why.
        reason: PartReason,
    },
    /// Something a newer version says.
    #[serde(other)]
    Unknown,
}

/// Writes a message of this module as the plaintext to be sealed.
pub fn to_bytes(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("plain structs with string keys serialize")
}

/// Reads a message of this module from an opened plaintext.
pub fn parse<T: DeserializeOwned>(what: &'static str, plaintext: &[u8]) -> Result<T, Error> {
    if plaintext.len() > MAX_SEALED_BYTES {
        return Err(Error::TooLong { what, got: plaintext.len(), max: MAX_SEALED_BYTES });
    }
    serde_json::from_slice(plaintext).map_err(|e| Error::invalid(what, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn envelopes_survive_a_round_trip() {
        for envelope in [
            Envelope::Handshake(&[1, 2]),
            Envelope::Sealed(&[]),
            Envelope::Rejected(Rejection::WrongSecret),
            Envelope::Rejected(Rejection::Version(WIRE_VERSION)),
            Envelope::Rejected(Rejection::Tampered),
            Envelope::Rejected(Rejection::TooManyTries),
            Envelope::ClientShare { session: [1; 16], share: [2; 32] },
            Envelope::HostShare { share: [3; 32], host_key: HostKey::from_bytes([4; 32]) },
            Envelope::Ticket { id: TicketId::from_bytes([5; 16]), handshake: &[6] },
        ] {
            assert_eq!(Envelope::parse(&envelope.to_bytes()), Ok(envelope));
        }
    }

    #[test]
    fn an_exchange_that_is_cut_off_is_refused() {
        for (kind, length) in [(KIND_CLIENT_SHARE, 48), (KIND_HOST_SHARE, 64), (KIND_TICKET, 16)] {
            let whole = [&[WIRE_VERSION, kind][..], &vec![7; length]].concat();
            assert!(Envelope::parse(&whole).is_ok());
            let cut = Envelope::parse(&whole[..whole.len() - 1]);
            assert!(matches!(cut, Err(Error::Truncated { .. })), "{cut:?}");
        }
    }

    #[test]
    fn another_version_is_named_and_its_rejection_is_understood() {
        assert_eq!(Envelope::parse(&[9, KIND_HANDSHAKE, 0]), Err(Error::Version { theirs: 9 }));
        let rejected = Envelope::Rejected(Rejection::Version(9));
        assert_eq!(Envelope::parse(&[9, KIND_REJECTED, 2]), Ok(rejected));
    }

    #[test]
    fn unknown_messages_of_newer_versions_are_tolerated() {
        let message = br#"{"type":"confetti","colour":"red"}"#;
        assert_eq!(parse("message", message), Ok(ToHost::Unknown));
        let message = br#"{"type":"candidate","candidate":"c","priority":1}"#;
        assert_eq!(parse("message", message), Ok(ToHost::Candidate { candidate: "c".into() }));
    }

    #[test]
    fn a_decision_survives_a_round_trip() {
        let admission = Admission::Refused { reason: PartReason::RoomFull };
        let message = ToClient::Admission(admission);
        assert_eq!(parse("message", &to_bytes(&message)), Ok(message));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::parse(&bytes);
            let _ = parse::<Hello>("hello", &bytes);
            let _ = parse::<Welcome>("welcome", &bytes);
            let _ = parse::<ToHost>("message", &bytes);
        }
    }
}
