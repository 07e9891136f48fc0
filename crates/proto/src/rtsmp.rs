//! RTSMP, the Real-Time Stream Message Protocol: streams of anything over a link. Written down in `docs/rtsmp.md`.
//!
//! Two layers. Below: a common [`Header`], frames cut into [`Fragment`]s, and [`InOrder`] and [`Loose`], which put them
//! together again. Any protocol of an application's own may stand on it, with types from [`OWN_TYPES`] on. Above: the
//! [`Message`]s by which streams are announced, subscribed and acknowledged.
//!
//! ```
//! use lllsi_proto::rtsmp::{FrameHead, InOrder, Message, cut};
//!
//! let head = FrameHead { kind: 200, stream: 7, number: 1, ..FrameHead::default() };
//! let payload = vec![5; 40_000];
//! let (mut whole, mut offset, mut assembly) = (None, 0, InOrder::new(1));
//! while offset < payload.len() {
//!     let (bytes, next) = cut(&head, &payload, offset, 16 * 1024);
//!     let Ok(Some(Message::Fragment(fragment))) = Message::parse(bytes.into()) else { panic!() };
//!     whole = assembly.push(fragment).unwrap();
//!     offset = next;
//! }
//! let frame = whole.expect("the last fragment was the last");
//! assert_eq!((frame.head, frame.payload), (head, payload.into()));
//! ```

mod bundle;
mod fragment;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::fields::Fields;
pub use bundle::{BUNDLE_BYTES, BUNDLE_HEAD_BYTES, BUNDLE_NAME, BUNDLED_BYTES, BundleHead};
pub use fragment::{
    Broken, FRAME, Fragment, Frame, FrameHead, Header, InOrder, Loose, OWN_TYPES, SNAPSHOT, cut,
};

/// SCTP stream of the channel on which everything arrives, in order.
pub const STREAMS_CHANNEL: u16 = 2;
/// SCTP stream of the channel on which nothing is sent twice.
pub const LIVE_CHANNEL: u16 = 3;

/// The largest frame.
pub const MAX_FRAME_BYTES: usize = 16 << 20;
/// The most of a frame that one message on [`STREAMS_CHANNEL`] holds.
pub const FRAGMENT_BYTES: usize = 16 << 10;
/// The same on [`LIVE_CHANNEL`]: each is one packet there.
pub const LIVE_FRAGMENT_BYTES: usize = 1100;
/// Streams that one publisher may have at once.
pub const MAX_STREAMS: usize = 256;
/// The longest name of a stream, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest announcement, in bytes.
pub const MAX_BODY_BYTES: usize = 4096;
/// The most that a subscriber may be ready to hold of one stream, in bytes.
pub const MAX_WINDOW: u32 = 32 << 20;

/// What a stream's frames mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum Kind {
    /// One item each.
    Vector,
    /// Changes of a map.
    Map,
    /// Pictures: the link's own video. It is steered here, and sent elsewhere.
    Video,
    /// Changes that a client asks of a map of the host's.
    Writes,
    /// An application's own, from 128 on; or one of a later version.
    Other(u8),
}

impl From<u8> for Kind {
    fn from(kind: u8) -> Self {
        match kind {
            1 => Self::Vector,
            2 => Self::Map,
            3 => Self::Video,
            4 => Self::Writes,
            other => Self::Other(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Vector => 1,
            Kind::Map => 2,
            Kind::Video => 3,
            Kind::Writes => 4,
            Kind::Other(other) => other,
        }
    }
}

/// How a stream's frames are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All, in order, once.
    Reliable,
    /// The newest, not older than so many microseconds, in order, with gaps.
    RealTime(u32),
}

/// What a publisher tells of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Another for each stream of a publisher, which draws the first: numbers are used again, and what was said of a stream of
    /// another run says nothing about this one.
    pub run: u32,
    /// What its frames mean.
    pub kind: Kind,
    /// How they are delivered.
    pub mode: Mode,
    /// Unique among the publisher's streams of this kind; at most [`MAX_NAME_BYTES`].
    pub name: String,
    /// How the payload is to be read: `cbor`, `bytes`, or an application's own word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// Of whose stream it is a copy, if the host passes on a client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// Why a subscriber gets no more of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// It took too long to take what was there.
    #[error("the subscriber was too slow")]
    TooSlow,
    /// What it asks for is not there any more.
    #[error("what was asked for is not kept any more")]
    Gone,
    /// It may not have it.
    #[error("the stream is not for this subscriber")]
    Refused,
    /// One side broke the protocol.
    #[error("the protocol was broken")]
    Protocol,
    /// A reason of a later version.
    #[error("the stream ended")]
    Unknown,
}

/// What goes over the two channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A part of a frame, from the publisher.
    Fragment(Fragment),
    /// The publisher has a stream, from now on.
    Announce(u16, Announcement),
    /// And from now on not any more.
    Withdraw(u16),
    /// Nothing will come for a while.
    Pause(u16),
    /// Something may come again.
    Resume(u16),
    /// The subscriber wants a stream.
    Subscribe {
        /// Which.
        stream: u16,
        /// The first frame; 0 for whatever comes next.
        from: u32,
        /// Bytes that it is ready to hold.
        window: u32,
        /// By which answers to this are known from those to earlier ones.
        tag: u8,
    },
    /// And not any more.
    Unsubscribe(u16),
    /// The subscriber has taken all frames up to this one.
    Consumed {
        /// Which.
        stream: u16,
        /// The last frame that it has taken.
        number: u32,
        /// Bytes of later frames that it is ready to hold.
        window: u32,
    },
    /// The publisher answers [`Message::Subscribe`]; or goes on elsewhere by itself.
    Began {
        /// Which.
        stream: u16,
        /// The first frame that comes.
        next: u32,
        /// Of a map: so many frames with [`SNAPSHOT`] come first.
        snapshot: u32,
        /// Of the subscription.
        tag: u8,
    },
    /// The publisher sends no more of it.
    Ended {
        /// Which.
        stream: u16,
        /// Why.
        reason: EndReason,
        /// Of the subscription.
        tag: u8,
    },
    /// The publisher has announced all that it has, over this link.
    AllTold,
}

const ANNOUNCE: u8 = 16;
const WITHDRAW: u8 = 17;
const PAUSE: u8 = 18;
const RESUME: u8 = 19;
const SUBSCRIBE: u8 = 20;
const UNSUBSCRIBE: u8 = 21;
const CONSUMED: u8 = 22;
const BEGAN: u8 = 23;
const ENDED: u8 = 24;
const ALL_TOLD: u8 = 25;

impl Message {
    /// Reads one message of either channel; `None` for a type that this version does not know.
    pub fn parse(bytes: Bytes) -> Result<Option<Self>, Error> {
        let mut fields = Fields { what: "stream message", rest: &bytes };
        let Header { kind, flags, stream, number } = Header::read(&mut fields)?;
        let message = match kind {
            FRAME | OWN_TYPES..=u8::MAX => {
                return Fragment::parse(bytes).map(|f| Some(Self::Fragment(f)));
            }
            ANNOUNCE => Self::Announce(stream, Announcement::parse(fields.rest)?),
            WITHDRAW => Self::Withdraw(stream),
            PAUSE => Self::Pause(stream),
            RESUME => Self::Resume(stream),
            SUBSCRIBE => {
                let window = fields.u32()?.min(MAX_WINDOW);
                Self::Subscribe { stream, from: number, window, tag: flags }
            }
            UNSUBSCRIBE => Self::Unsubscribe(stream),
            CONSUMED => Self::Consumed { stream, number, window: fields.u32()?.min(MAX_WINDOW) },
            BEGAN => Self::Began { stream, next: number, snapshot: fields.u32()?, tag: flags },
            ENDED => {
                let (reason, tag) = (reason_from(flags), fields.u8()?);
                Self::Ended { stream, reason, tag }
            }
            ALL_TOLD => Self::AllTold,
            _ => return Ok(None),
        };
        Ok(Some(message))
    }

    /// As one message of [`STREAMS_CHANNEL`]. Frames have [`cut`].
    ///
    /// # Panics
    /// For a fragment.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, flags, stream, number, field) = match self {
            Self::Fragment(_) => panic!("frames are cut"),
            Self::Announce(stream, announcement) => return announcement.to_bytes(*stream),
            Self::Withdraw(stream) => (WITHDRAW, 0, stream, 0, None),
            Self::Pause(stream) => (PAUSE, 0, stream, 0, None),
            Self::Resume(stream) => (RESUME, 0, stream, 0, None),
            Self::Subscribe { stream, from, window, tag } => {
                (SUBSCRIBE, *tag, stream, *from, Some(window))
            }
            Self::Unsubscribe(stream) => (UNSUBSCRIBE, 0, stream, 0, None),
            Self::Consumed { stream, number, window } => {
                (CONSUMED, 0, stream, *number, Some(window))
            }
            Self::Began { stream, next, snapshot, tag } => {
                (BEGAN, *tag, stream, *next, Some(snapshot))
            }
            Self::Ended { stream, reason, .. } => (ENDED, code_of(*reason), stream, 0, None),
            Self::AllTold => (ALL_TOLD, 0, &0, 0, None),
        };
        let mut out = Vec::with_capacity(12);
        Header { kind, flags, stream: *stream, number }.write(&mut out);
        out.extend(field.into_iter().flat_map(|field| field.to_be_bytes()));
        if let Self::Ended { tag, .. } = self {
            out.push(*tag);
        }
        out
    }
}

impl Announcement {
    fn parse(body: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "announcement of a stream";
        if body.len() > MAX_BODY_BYTES {
            return Err(Error::TooLong { what: WHAT, got: body.len(), max: MAX_BODY_BYTES });
        }
        let announcement: Self =
            serde_json::from_slice(body).map_err(|e| Error::invalid(WHAT, e))?;
        announcement.check()?;
        Ok(announcement)
    }

    fn to_bytes(&self, stream: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        Header { kind: ANNOUNCE, flags: 0, stream, number: 0 }.write(&mut out);
        serde_json::to_writer(&mut out, self).expect("plain structs with string keys serialize");
        out
    }

    /// Whether a stream may be called so.
    ///
    /// # Errors
    /// [`Error::TooLong`], and [`Error::Invalid`] for an empty name.
    pub fn check(&self) -> Result<(), Error> {
        let words = [("name of a stream", &self.name), ("format of a stream", &self.format)];
        for (what, word) in words {
            if word.len() > MAX_NAME_BYTES {
                return Err(Error::TooLong { what, got: word.len(), max: MAX_NAME_BYTES });
            }
        }
        match self.name.is_empty() {
            true => Err(Error::invalid("name of a stream", "it is empty")),
            false => Ok(()),
        }
    }
}

fn code_of(reason: EndReason) -> u8 {
    match reason {
        EndReason::Unknown => 0,
        EndReason::TooSlow => 1,
        EndReason::Gone => 2,
        EndReason::Refused => 3,
        EndReason::Protocol => 4,
    }
}

fn reason_from(code: u8) -> EndReason {
    match code {
        1 => EndReason::TooSlow,
        2 => EndReason::Gone,
        3 => EndReason::Refused,
        4 => EndReason::Protocol,
        _ => EndReason::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn announcement() -> Announcement {
        let (name, format) = ("telemetry".into(), "cbor".into());
        Announcement {
            run: 7,
            kind: Kind::Vector,
            mode: Mode::RealTime(200_000),
            name,
            format,
            of: None,
        }
    }

    fn samples() -> Vec<Message> {
        let stream = 513;
        let mut samples = vec![
            Message::Announce(stream, announcement()),
            Message::Withdraw(stream),
            Message::Pause(stream),
            Message::Resume(stream),
            Message::Subscribe { stream, from: 9, window: 65_536, tag: 7 },
            Message::Unsubscribe(stream),
            Message::Consumed { stream, number: 3, window: 1 },
            Message::Began { stream, next: 4, snapshot: 2, tag: 255 },
            Message::AllTold,
        ];
        let ended = |code| Message::Ended { stream, reason: reason_from(code), tag: 9 };
        samples.extend((0..=4).map(ended));
        samples
    }

    #[test]
    fn messages_survive() {
        for message in samples() {
            assert_eq!(Message::parse(message.to_bytes().into()), Ok(Some(message)));
        }
    }

    #[test]
    fn what_a_later_version_adds_is_ignored() {
        for message in &samples()[1..] {
            let bytes = [&message.to_bytes()[..], b"from the future"].concat();
            assert_eq!(Message::parse(bytes.into()), Ok(Some(message.clone())));
        }
        let body = br#"{"run":7,"kind":200,"mode":"reliable","name":"x","colour":"red"}"#;
        let bytes = [&[ANNOUNCE, 0, 0, 1, 0, 0, 0, 0][..], body].concat();
        let Ok(Some(Message::Announce(1, read))) = Message::parse(bytes.into()) else { panic!() };
        assert_eq!(
            (read.kind, read.mode, read.name.as_str()),
            (Kind::Other(200), Mode::Reliable, "x")
        );
        assert_eq!(Message::parse(vec![99, 0, 0, 0, 0, 0, 0, 0].into()), Ok(None));
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_refused() {
        for message in samples() {
            let bytes = message.to_bytes();
            for end in 0..Header::BYTES {
                let parsed = Message::parse(bytes[..end].to_vec().into());
                assert!(matches!(parsed, Err(Error::Truncated { .. })), "{message:?} cut at {end}");
            }
        }
        let long = |name: usize| Announcement { name: "n".repeat(name), ..announcement() };
        assert_eq!(long(MAX_NAME_BYTES).check(), Ok(()));
        for name in [0, MAX_NAME_BYTES + 1, MAX_BODY_BYTES] {
            assert!(Message::parse(long(name).to_bytes(1).into()).is_err(), "{name}");
        }
    }

    /// The same bytes stand in `docs/rtsmp.md`.
    #[test]
    fn vectors() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let subscribe = Message::Subscribe { stream: 1, from: 0, window: 1 << 20, tag: 7 };
        assert_eq!(hex(subscribe.to_bytes()), "140700010000000000100000");
        let head = FrameHead { stream: 1, number: 2, captured_us: 3, ..FrameHead::default() };
        assert_eq!(hex(cut(&head, b"hi", 0, 16).0), "010300010000000200000000000000036869");
        assert_eq!(
            hex(cut(&head, b"hi", 0, 1).0),
            "010100010000000200000002000000000000000000000003".to_owned() + "68"
        );
        assert_eq!(hex(cut(&head, b"hi", 1, 1).0), "0102000100000002000000020000000169");
        let document = include_str!("../../../docs/rtsmp.md");
        assert!(document.contains("140700010000000000100000"));
        assert!(document.contains("0103000100000002"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::parse(bytes.into());
        }
    }
}
