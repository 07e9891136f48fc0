//! LLLSI's wire formats: bytes to types and back. No clock, no randomness, no IO.
//!
//! | module | carries | written down in |
//! |---|---|---|
//! | [`invite`] | the invite link and the identifiers in it | `docs/rendezvous.md` |
//! | [`room`] | a room's name and password | `docs/rendezvous.md` |
//! | [`rendezvous`] | what hosts and clients say to the rendezvous server | `docs/rendezvous.md` |
//! | [`sealed`] | what host and client say to each other through the server, which cannot read it | `docs/rendezvous.md` |
//! | [`control`] | control messages of an established link | `docs/control.md` |
//! | [`rtsmp`] | streams of anything over an established link | `docs/rtsmp.md` |
//! | [`h264`] | H.264 over RTP, and the frame information that travels with each frame | `docs/control.md` |
//!
//! Every parser here takes bytes of a stranger: it is bounded, does not panic, and names what it refused.

pub mod control;
pub mod h264;
pub mod invite;
pub mod rendezvous;
pub mod room;
pub mod rtsmp;
pub mod sealed;

mod fields;

/// The version of all formats in this crate. Peers of different versions part with a clear error.
pub const WIRE_VERSION: u8 = 2;

/// The largest message to or from the rendezvous server, in bytes.
pub const MAX_SIGNAL_BYTES: usize = 64 * 1024;

/// Why bytes from the network, or a link a user typed, were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message ends before its last field.
    #[error("{what}: {got} bytes, at least {need} expected")]
    Truncated {
        /// The message or field.
        what: &'static str,
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        got: usize,
    },
    /// The message is larger than the protocol allows.
    #[error("{what}: {got} bytes, at most {max} allowed")]
    TooLong {
        /// The message or field.
        what: &'static str,
        /// Bytes there.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A field holds a value that has no meaning.
    #[error("{what}: {detail}")]
    Invalid {
        /// The message or field.
        what: &'static str,
        /// What is wrong with it. Never contains secrets.
        detail: String,
    },
    /// The other side speaks another wire version.
    #[error("wire version {theirs}, this program speaks {WIRE_VERSION}")]
    Version {
        /// Their version.
        theirs: u8,
    },
}

impl Error {
    pub(crate) fn invalid(what: &'static str, detail: impl ToString) -> Self {
        Self::Invalid { what, detail: detail.to_string() }
    }
}
