//! What the streams of a machine are told and tell.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lllsi_proto::rtsmp::{Announcement, EndReason, FRAME, FrameHead, Kind, Mode};

use crate::host::ViewerId;

/// Names one of our streams: drawn by the application, and not used again before it was withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct StreamId(pub u16);

/// Names one of our subscriptions: drawn by the application, and not used again within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u32);

/// Who may have a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who is there, or comes.
    All,
    /// These.
    Only(BTreeSet<ViewerId>),
}

/// A stream that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What its frames mean.
    pub kind: Kind,
    /// How they are delivered.
    pub mode: Mode,
    /// Unique among our streams of this kind.
    pub name: String,
    /// How the payload is to be read.
    pub format: String,
    /// Whose stream is passed on.
    pub of: Option<String>,
    /// Who may have it.
    pub audience: Audience,
    /// Bytes kept for subscribers that have not taken them yet; of a map, bytes of changes that are kept for those who
    /// come back.
    pub capacity: usize,
    /// When there is no more place, how long a subscriber that takes nothing is waited for.
    pub patience: Duration,
}

/// A frame that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its type: RTSMP's own, or an application's.
    pub kind: u8,
    /// An application's own flags; see [`lllsi_proto::rtsmp::FrameHead`].
    pub flags: u8,
    /// When it was made.
    pub made_at: Instant,
    /// What it carries.
    pub payload: Bytes,
}

impl Item {
    /// A frame of RTSMP's own type.
    pub fn new(made_at: Instant, payload: Bytes) -> Self {
        Self { kind: FRAME, flags: 0, made_at, payload }
    }
}

/// A change of a map. Keys and values are whole items in CBOR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapChange {
    /// Sets a key's value.
    Insert {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Takes a key out.
    Remove {
        /// The key.
        key: Bytes,
    },
    /// Takes all out.
    Clear,
}

/// A stream that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whose; [`THE_HOST`](super::THE_HOST) for a client.
    pub peer: ViewerId,
    /// What its frames mean.
    pub kind: Kind,
    /// What it is called.
    pub name: String,
    /// Bytes that may be under way, or wait for the application.
    pub window: u32,
}

/// What the application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Publish a stream.
    Publish(StreamId, Offer),
    /// Publish it no more. What subscribers have not got is lost: see that [`Event::Freed`] has told of all.
    Withdraw(StreamId),
    /// Send nothing for a while. What is brought meanwhile is kept, or dropped, as ever.
    Stop(StreamId),
    /// Go on.
    Continue(StreamId),
    /// Drop what has not been sent.
    Clear(StreamId),
    /// Send a frame.
    Push(StreamId, Item),
    /// Change a map.
    Change(StreamId, Vec<MapChange>),
    /// A frame that [counts as](super::cost) so much waits for a place: part with whoever has taken nothing for too long. There may
    /// be a place by now: then [`Event::Freed`] has told so, or will.
    Wait(StreamId, usize),
    /// Subscribe to a stream, as soon as it is there.
    Subscribe(SubscriptionId, Wish),
    /// And not any more.
    Unsubscribe(SubscriptionId),
    /// The application has taken the frames up to this number.
    Consumed(SubscriptionId, u32),
    /// Take pictures of whoever has some, as is done from the start; or do without.
    Pictures(bool),
}

/// What the streams tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody has subscribed to a stream of ours.
    Subscribed(StreamId, ViewerId),
    /// And has no part in it any more: for this reason, or since they wished so, or are gone.
    Unsubscribed(StreamId, ViewerId, Option<EndReason>),
    /// So many bytes of a stream of ours need not be kept any more: whoever waits for a place may ask again. Told of every clear, of
    /// 0 bytes perhaps.
    Freed(StreamId, usize),
    /// Somebody has a stream.
    Announced(ViewerId, Announcement),
    /// And not any more.
    Withdrawn(ViewerId, Kind, String),
    /// A subscription has begun, or goes on at another frame than was due: what lies between is lost.
    Began(SubscriptionId, Announcement),
    /// So many frames hold a map, in place of all that there was of it.
    Snapshot(SubscriptionId, u32),
    /// A frame.
    Frame(SubscriptionId, Received),
    /// Nothing comes for a while.
    Stopped(SubscriptionId),
    /// It goes on.
    Continued(SubscriptionId),
    /// Nothing more comes: for this reason; or since the stream was withdrawn, and then it begins again when it is announced again.
    Ended(SubscriptionId, Option<EndReason>),
    /// Who was called so has come back, and is called so now. Subscriptions have moved along.
    Returned {
        /// Before.
        was: ViewerId,
        /// Now.
        is: ViewerId,
    },
    /// Somebody wants our pictures, or does not.
    Pictures(ViewerId, bool),
}

/// A frame that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// All but the payload.
    pub head: FrameHead,
    /// How long ago it was made, microseconds; `None` if that is not known.
    pub age_us: Option<u64>,
    /// What it carries.
    pub payload: Bytes,
}

/// Figures of one of our streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Which.
    pub id: StreamId,
    /// Frames that were brought.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames sent, for each subscriber once.
    pub sent: u64,
    /// Frames that a subscriber did not get since a newer one was there, or they were past their deadline.
    pub dropped: u64,
    /// Bytes that are kept.
    pub kept: usize,
    /// Who has subscribed.
    pub subscribers: Vec<ViewerId>,
}

/// Figures of one of our subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// Which.
    pub id: SubscriptionId,
    /// Whose stream.
    pub peer: ViewerId,
    /// Frames delivered.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames of a real-time stream that did not come, or not whole.
    pub lost: u64,
    /// Frames that came past their deadline.
    pub late: u64,
}

/// Figures of all streams of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Ours.
    pub published: Vec<Published>,
    /// Those of others that we subscribe to.
    pub subscribed: Vec<Subscribed>,
    /// Messages that made no sense, and announcements that were too many.
    pub ignored: u64,
}
