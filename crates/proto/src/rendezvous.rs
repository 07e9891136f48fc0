//! What hosts and clients say to the rendezvous server, and what it answers: JSON text messages over a WebSocket.
//!
//! The server learns who is in which room and relays [`Blob`]s it cannot read.
//!
//! ```
//! use lllsi_proto::rendezvous::Request;
//!
//! let text = Request::Close.to_json();
//! assert_eq!(Request::parse(&text).unwrap(), Request::Close);
//! ```

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::invite::{RoomId, RoomToken, decode};
use crate::room::RoomName;
use crate::{Error, MAX_SIGNAL_BYTES};

/// A client's number in its room, given by the server. Not reused while the room lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u32);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sealed message as the server sees it: opaque bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        decode("blob", &text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// How a client says which room it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "Places")]
pub enum Place {
    /// By its id.
    Room(RoomId),
    /// By its name.
    Name(RoomName),
}

#[derive(Deserialize)]
struct Places {
    room: Option<RoomId>,
    name: Option<RoomName>,
}

impl TryFrom<Places> for Place {
    type Error = &'static str;

    fn try_from(places: Places) -> Result<Self, Self::Error> {
        match places {
            Places { room: Some(room), name: None } => Ok(Self::Room(room)),
            Places { room: None, name: Some(name) } => Ok(Self::Name(name)),
            _ => Err("either a room's id or its name is needed"),
        }
    }
}

/// From a host or client to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// A host opens its room, or takes it up again after the connection broke. First message of a host.
    Open {
        /// [`crate::WIRE_VERSION`] of the host.
        version: u8,
        /// Proof of ownership; its hash is the room id.
        token: RoomToken,
        /// How many clients the server may let in at once.
        max_clients: u32,
        /// What the room is to be called, if it is to have a name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<RoomName>,
    },
    /// A client enters a room. First message of a client.
    Enter {
        /// [`crate::WIRE_VERSION`] of the client.
        version: u8,
        /// The room.
        #[serde(flatten)]
        place: Place,
        /// The first message for the host: it goes there at once, where the server knows of this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blob: Option<Blob>,
    },
    /// A sealed message for the other side.
    Relay {
        /// For whom; only a host says so, a client's messages go to the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<ClientId>,
        /// The message.
        blob: Blob,
    },
    /// The host is done with a client: the server lets it go.
    Dismiss {
        /// The client.
        client: ClientId,
    },
    /// The host closes its room.
    Close,
}

/// From the server to a host or client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// To a host: the room is open.
    Opened {
        /// The room.
        room: RoomId,
        /// UDP port at which this server answers STUN; 0 if it does not.
        stun_port: u16,
    },
    /// To a client: it is in the room; the host has been told.
    Entered {
        /// The client's number.
        client: ClientId,
        /// UDP port at which this server answers STUN; 0 if it does not.
        stun_port: u16,
        /// Whether the message that came with [`Request::Enter`] went to the host.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        relayed: bool,
    },
    /// To a host: a client entered.
    Arrived {
        /// The client.
        client: ClientId,
    },
    /// To a host: a client left the server (which says nothing about an established link).
    Departed {
        /// The client.
        client: ClientId,
    },
    /// A sealed message from the other side.
    Relay {
        /// From whom; only a host is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<ClientId>,
        /// The message.
        blob: Blob,
    },
    /// To a client: the host closed the room, or its connection to the server is gone.
    Closed,
    /// To a client: the host is done with it.
    Dismissed,
    /// The server refused; it closes the connection after this.
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// Why the server refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// No host has such a room open.
    #[error("no such room")]
    UnknownRoom,
    /// The room holds as many clients as its host allows.
    #[error("the room is full")]
    RoomFull,
    /// The wire versions differ.
    #[error("incompatible wire version")]
    Version,
    /// The message could not be understood, or came at the wrong time.
    #[error("message not understood")]
    BadMessage,
    /// The room was taken over by a newer connection of its owner.
    #[error("replaced by a newer connection of the same host")]
    Replaced,
    /// Another host has this name.
    #[error("another host has this name")]
    NameTaken,
    /// Too much comes from this address, or over this connection.
    #[error("too many connections or messages from this address: wait a minute")]
    TooOften,
    /// The server is at one of its limits.
    #[error("the server is at its limit")]
    ServerFull,
    /// A reason this version does not know.
    #[error("refused for a reason this version does not know")]
    #[serde(other)]
    Unknown,
}

impl Refusal {
    /// The reason as it is written on the wire: `too_often`.
    pub fn code(&self) -> String {
        to_json(self).trim_matches('"').to_owned()
    }
}

fn parse<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    if text.len() > MAX_SIGNAL_BYTES {
        return Err(Error::TooLong { what, got: text.len(), max: MAX_SIGNAL_BYTES });
    }
    // serde_json quotes at most a field name or number: no secret gets into the message.
    serde_json::from_str(text).map_err(|e| Error::invalid(what, e))
}

fn to_json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("plain structs with string keys serialize")
}

impl Request {
    /// Parses one message of at most [`MAX_SIGNAL_BYTES`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse("request to the rendezvous server", text)
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

impl Reply {
    /// Parses one message of at most [`MAX_SIGNAL_BYTES`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse("message from the rendezvous server", text)
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_survive_a_round_trip() {
        let token = RoomToken::from_bytes([1; 32]);
        let blob = Blob(vec![1, 2, 3]);
        for request in [
            Request::Open { version: 1, token, max_clients: 8, name: None },
            Request::Open { version: 1, token, max_clients: 8, name: "kitchen".parse().ok() },
            Request::Enter { version: 1, place: Place::Room(token.room_id()), blob: None },
            Request::Enter {
                version: 1,
                place: Place::Name("kitchen".parse().unwrap()),
                blob: Some(Blob(vec![1, 2])),
            },
            Request::Relay { client: Some(ClientId(4)), blob: blob.clone() },
            Request::Relay { client: None, blob: blob.clone() },
            Request::Dismiss { client: ClientId(9) },
            Request::Close,
        ] {
            assert_eq!(Request::parse(&request.to_json()), Ok(request));
        }
        for reply in [
            Reply::Opened { room: token.room_id(), stun_port: 3478 },
            Reply::Refused { reason: Refusal::UnknownRoom },
            Reply::Relay { client: None, blob },
        ] {
            assert_eq!(Reply::parse(&reply.to_json()), Ok(reply));
        }
    }

    #[test]
    fn a_room_is_named_in_one_way() {
        let json = r#"{"type":"enter","version":1,"name":"kitchen","more":2}"#;
        let place = Place::Name("kitchen".parse().unwrap());
        assert_eq!(Request::parse(json), Ok(Request::Enter { version: 1, place, blob: None }));
        assert!(Request::parse(r#"{"type":"enter","version":1}"#).is_err());
        let both =
            format!(r#"{{"type":"enter","version":1,"room":"{}","name":"a"}}"#, "A".repeat(43));
        assert!(Request::parse(&both).is_err());
        assert!(Request::parse(r#"{"type":"enter","version":1,"name":""}"#).is_err());
    }

    #[test]
    fn a_newer_server_may_refuse_for_reasons_we_do_not_know() {
        let reply = Reply::parse(r#"{"type":"refused","reason":"full_moon","since":3}"#);
        assert_eq!(reply, Ok(Reply::Refused { reason: Refusal::Unknown }));
    }

    #[test]
    fn oversized_messages_are_refused_before_they_are_parsed() {
        let text = format!(r#"{{"type":"relay","blob":"{}"}}"#, "A".repeat(MAX_SIGNAL_BYTES));
        assert!(matches!(Request::parse(&text), Err(Error::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,200}") {
            let _ = (Request::parse(&text), Reply::parse(&text));
        }
    }
}
