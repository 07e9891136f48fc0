//! The invite link, and the identifiers and secrets it is made of.
//!
//! ```text
//! https://server.example/#v2.<room id>.<host public key>.<secret>[.<certificate hash>]
//! ```
//!
//! What follows `#` never reaches the server: programs cut it off before they connect, and browsers do not send it.
//!
//! ```
//! use lllsi_proto::invite::{HostKey, Invite, RoomToken, Secret};
//!
//! let token = RoomToken::from_bytes([7; 32]);
//! let invite = Invite {
//!     server: "https://rendezvous.example".into(),
//!     room: token.room_id(),
//!     host_key: HostKey::from_bytes([1; 32]),
//!     secret: Secret::from_bytes([2; 32]),
//!     certificate: None,
//! };
//! let link = invite.to_string();
//! assert_eq!(link.parse::<Invite>().unwrap(), invite);
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Error, WIRE_VERSION};

/// The longest link that is looked at, in bytes.
const MAX_LINK_BYTES: usize = 2048;

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident, $length:literal, $what:literal, secret: $secret:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Wraps the bytes.
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// As base64url without padding, the form used on the wire and in links.
            pub fn to_base64(&self) -> String {
                URL_SAFE_NO_PAD.encode(self.0)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let bytes = decode($what, text)?;
                let bytes = bytes.try_into().map_err(|bytes: Vec<u8>| {
                    Error::invalid($what, format!("{} bytes, {} expected", bytes.len(), $length))
                })?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if $secret {
                    write!(f, "{}(..)", stringify!($name))
                } else {
                    write!(f, "{}({})", stringify!($name), self.to_base64())
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.to_base64())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes!(
    /// Names a room at the rendezvous server: the SHA-256 of its owner's [`RoomToken`].
    RoomId, 32, "room id", secret: false
);
bytes!(
    /// Proves ownership of a room to the server. Only host and server know it, never a link holder.
    RoomToken, 32, "room token", secret: true
);
bytes!(
    /// The host's X25519 public key: whoever has the link knows whom it leads to.
    HostKey, 32, "host key", secret: false
);
bytes!(
    /// The link's secret: the pre-shared key of the handshake between client and host.
    Secret, 32, "link secret", secret: true
);
bytes!(
    /// SHA-256 of a server's certificate, for servers whose certificate nobody has signed.
    CertificateHash, 32, "certificate hash", secret: false
);
bytes!(
    /// A random value each side contributes to the transport binding, see [`crate::sealed`].
    Nonce, 32, "nonce", secret: true
);
bytes!(
    /// A random number of the client, on which the digits in the lobby hang. See [`crate::sealed::Hello`].
    Opening, 32, "opening", secret: true
);
bytes!(
    /// A hash that fixes an [`Opening`] before it is shown.
    Commitment, 32, "commitment", secret: false
);

bytes!(
    /// Names what a host has given to a client that it let in, see [`Ticket`](crate::sealed::Ticket).
    TicketId, 16, "ticket id", secret: false
);

macro_rules! hash {
    ($name:ident) => {
        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }
    };
}

hash!(RoomId);
hash!(TicketId);

impl RoomToken {
    /// The room this token owns.
    pub fn room_id(&self) -> RoomId {
        RoomId(Sha256::digest(self.0).into())
    }
}

impl CertificateHash {
    /// The hash of a certificate in DER form.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// A parsed invite link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The server's base URL, `http://` or `https://`, without a trailing slash.
    pub server: String,
    /// The room.
    pub room: RoomId,
    /// Whom the link leads to.
    pub host_key: HostKey,
    /// What admits its holder.
    pub secret: Secret,
    /// The server's certificate, if it is one that only links vouch for. Needs an `https://` server.
    pub certificate: Option<CertificateHash>,
}

impl fmt::Display for Invite {
    /// Writes the link, its secret included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (room, key) = (self.room.to_base64(), self.host_key.to_base64());
        write!(f, "{}/#v{WIRE_VERSION}.{room}.{key}.{}", self.server, self.secret.to_base64())?;
        match &self.certificate {
            Some(hash) => write!(f, ".{}", hash.to_base64()),
            None => Ok(()),
        }
    }
}

impl FromStr for Invite {
    type Err = Error;

    fn from_str(link: &str) -> Result<Self, Error> {
        let link = link.trim();
        if link.len() > MAX_LINK_BYTES {
            return Err(Error::TooLong {
                what: "invite link",
                got: link.len(),
                max: MAX_LINK_BYTES,
            });
        }
        let (server, fragment) = link.split_once('#').ok_or_else(|| {
            Error::invalid("invite link", "no `#`: was it cut off when it was copied?")
        })?;
        let server = server.trim_end_matches('/');
        let host = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://"));
        if host.is_none_or(|h| h.is_empty() || h.contains(char::is_whitespace)) {
            return Err(Error::invalid("invite link", "it must begin with https:// or http://"));
        }
        let mut parts = fragment.split('.');
        let mut part = |what| {
            parts
                .next()
                .ok_or_else(|| Error::invalid("invite link", format!("the {what} is missing")))
        };
        let version = part("version")?;
        let version =
            version.strip_prefix('v').and_then(|v| v.parse::<u8>().ok()).ok_or_else(|| {
                Error::invalid("invite link", "the part behind `#` must begin with `v2.`")
            })?;
        if version != WIRE_VERSION {
            return Err(Error::Version { theirs: version });
        }
        let invite = Self {
            server: server.to_owned(),
            room: part("room id")?.parse()?,
            host_key: part("host key")?.parse()?,
            secret: part("secret")?.parse()?,
            certificate: parts.next().map(str::parse).transpose()?,
        };
        if parts.next().is_some() {
            return Err(Error::invalid("invite link", "something follows its last part"));
        }
        if invite.certificate.is_some() && !server.starts_with("https://") {
            return Err(Error::invalid("invite link", "a certificate without https://"));
        }
        Ok(invite)
    }
}

/// Decodes base64url without padding. The text itself stays out of the error: it may be a secret.
pub(crate) fn decode(what: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::invalid(what, "not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn invite() -> Invite {
        Invite {
            server: "http://127.0.0.1:36542".into(),
            room: RoomToken::from_bytes([9; 32]).room_id(),
            host_key: HostKey::from_bytes([3; 32]),
            secret: Secret::from_bytes([4; 32]),
            certificate: None,
        }
    }

    #[test]
    fn link_survives_a_round_trip() {
        let link = invite().to_string();
        assert_eq!(link.parse(), Ok(invite()));
        assert_eq!(format!("  {link}\n").parse(), Ok(invite()));
        let certificate = Some(CertificateHash::of(b"a certificate"));
        let pinned = Invite { server: "https://[::1]:36542".into(), certificate, ..invite() };
        assert_eq!(pinned.to_string().parse(), Ok(pinned));
    }

    #[test]
    fn a_damaged_link_says_what_is_wrong() {
        let link = invite().to_string();
        let says = |text: &str, needle: &str| {
            let error = text.parse::<Invite>().unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
            assert!(!error.contains(&invite().secret.to_base64()), "secret in an error: {error}");
        };
        says("hello", "no `#`");
        says(&link.replace("http:", "ftp:"), "must begin with https://");
        says(&link.replace("#v2.", "#v1."), "wire version 1");
        says(&link.replace("#v2.", "#2."), "begin with `v2.`");
        says(&link[..link.len() - 2], "link secret");
        says(link.rsplit_once('.').unwrap().0, "the secret is missing");
        says(&format!("{link}.x"), "certificate hash");
        says(&format!("{link}.{}", invite().room.to_base64()), "without https");
        says(&format!("{link}.{}.x", invite().room.to_base64()), "something follows");
        says(&format!("http://x/#{}", "a".repeat(4000)), "at most 2048");
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let shown = format!("{:?}", invite());
        assert!(!shown.contains(&invite().secret.to_base64()));
        assert!(shown.contains("Secret(..)"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,300}") {
            let _ = text.parse::<Invite>();
        }
    }
}
