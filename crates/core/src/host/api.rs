//! What a host is given, told and tells.

use std::fmt;
use std::net::SocketAddr;

use lllsi_proto::invite::Secret;
use lllsi_proto::rendezvous::Refusal;
use lllsi_proto::room::{Password, RoomName};
use lllsi_proto::sealed::PartReason;

use super::ViewerStatus;
use super::invitation::Terms;
pub use super::layers::MAX_LAYERS;
use crate::seal::{HostIdentity, ShortCode};
use crate::streams;
use crate::{Certificate, CodedFrame, Ignored, LinkError, Path};

/// What a host needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Keys of the room.
    pub identity: HostIdentity,
    /// Our addresses with the port of our socket.
    pub locals: Vec<SocketAddr>,
    /// Our certificate.
    pub certificate: Certificate,
    /// 32 fresh random bytes.
    pub random_seed: [u8; 32],
    /// Whether clients wait until they are admitted.
    pub lobby: bool,
    /// Viewers at once.
    pub max_viewers: u32,
    /// The most that is sent to one viewer, bit/s.
    pub max_bitrate: u32,
    /// The most that is sent to all viewers together, bit/s.
    pub max_uplink: Option<u32>,
    /// How many layers there may be: encodings of the pictures, for viewers whose paths carry more or less. 1 to [`MAX_LAYERS`];
    /// with one layer the narrowest path decides for all.
    pub layers: u8,
    /// How long and how often the invitation holds.
    pub terms: Terms,
    /// How to find it without a link.
    pub room: Option<Room>,
}

/// A name for the room, and the password of whoever comes by it.
#[derive(Debug, Clone)]
pub struct Room {
    /// First come, first served at each server.
    pub name: RoomName,
    /// Never told to the server.
    pub password: Password,
}

/// Names a viewer; not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerId(pub u32);

impl fmt::Display for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a layer: one encoding of the pictures. The first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LayerId(pub u8);

/// What a host knows about its session.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// All viewers and waiting clients.
    pub viewers: Vec<ViewerStatus>,
    /// What it did not take.
    pub counters: Counters,
    /// Bytes sent to all viewers so far, headers of IP and UDP included.
    pub sent_bytes: u64,
    /// Those of them that are parity and repairs, without headers of IP and UDP.
    pub redundant_bytes: u64,
    /// Its streams, and those that it subscribes to.
    pub streams: streams::Status,
}

/// What a host has not taken since it began: over a bound, without sense, or from nobody it knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients that came to the server and did not say in time what lets them in.
    pub silent: u64,
    /// Clients that were sent away unheard, since so many others were there that had said nothing yet.
    pub surplus: u64,
    /// Clients that could not show what lets them in.
    pub rejected: u64,
    /// Clients that tried passwords too fast.
    pub slowed: u64,
    /// Clients that knew what lets them in and were not let in: no place, an invitation that is over, words without sense.
    pub refused: u64,
    /// Messages of the server, or through it, that make no sense.
    pub garbled: u64,
    /// Wishes of viewers for another path or a keyframe, and pings, that came too soon after the last.
    pub hasty: u64,
    /// Datagrams from nobody we know. A few are usual: what viewers that have left had sent, answers to late checks.
    pub strangers: u64,
    /// Connectivity checks that were not sent, since nobody answers where viewers say that they are.
    pub withheld_checks: u64,
    /// Links that a fault in this program has ended.
    pub faults: u64,
    /// What all links have ignored, ended ones too.
    pub ignored: Ignored,
}

/// What a host may be told to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Let one waiting client in.
    Admit(ViewerId),
    /// Let all waiting clients in, and later ones at once.
    Start,
    /// Invite with another secret from now on: the one before is worth nothing any more. Its terms begin anew.
    Renew {
        /// The link's secret.
        secret: Secret,
        /// A password, for a room with a name.
        password: Option<Password>,
    },
    /// Remove a viewer or waiting client.
    Kick(ViewerId),
    /// Send a frame to the viewers of its layer.
    Send(CodedFrame),
    /// Do something with a stream.
    Stream(streams::Action),
    /// There are no more pictures: end the stream for all, and tell them why.
    LoseSource,
    /// End the stream for all.
    Close,
}

/// What a host tells.
#[derive(Debug, Clone)]
pub enum Event {
    /// The room is open at the server: the first time, or again.
    RoomOpen,
    /// The server is gone; it is tried again. Established links do not need it.
    ServerLost(String),
    /// A client waits to be admitted.
    ViewerWaiting {
        /// The client.
        id: ViewerId,
        /// What it calls itself; not verified.
        name: String,
        /// What it sees too: whoever tells the host these digits is this client.
        code: ShortCode,
    },
    /// A viewer's link is up, encrypted and confirmed.
    ViewerConnected {
        /// The viewer.
        id: ViewerId,
        /// What it calls itself; not verified.
        name: String,
        /// The link's path.
        path: Path,
    },
    /// A viewer's link runs over another path.
    ViewerPath {
        /// The viewer.
        id: ViewerId,
        /// The new path.
        path: Path,
    },
    /// A viewer or waiting client is gone.
    ViewerLeft {
        /// The viewer.
        id: ViewerId,
        /// Why.
        reason: LeftReason,
    },
    /// Somebody who knew what lets in was sent away; told once a second at most.
    Refused(PartReason),
    /// Somebody knocked who does not know the link's secret.
    Rejected,
    /// Somebody tried a wrong password.
    WrongPassword,
    /// The server has given our name to another host while we were away: the link alone leads here now.
    NameLost,
    /// A newer connection with our token has the room now: new clients go there. Links that are up stay.
    Replaced,
    /// Something happened to a stream.
    Stream(streams::Event),
    /// Whether somebody is to be sent a layer: while nobody is, it should not be coded. Its rate and the wish for a keyframe follow.
    Watched(LayerId, bool),
    /// The next frame of a layer should be a keyframe.
    KeyframeWanted(LayerId),
    /// A layer's encoder should aim at this rate, bit/s.
    Bitrate(LayerId, u32),
    /// Whether the next picture of a layer should wait, before it is coded: another frame would only wait on its viewers' paths.
    Hold(LayerId, bool),
    /// It is over; no event follows.
    Closed(CloseReason),
}

/// Why a viewer is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeftReason {
    /// It or we said so.
    #[error(transparent)]
    Parted(#[from] PartReason),
    /// Its link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It left the server while it waited.
    #[error("it left while it waited")]
    Departed,
    /// Its link hit a fault in this program. The other links go on.
    #[error("a fault in this program ended its link")]
    Fault,
    /// A sealed message did not open.
    #[error("its sealed messages were altered on their way")]
    Tampered,
}

/// Why a host's session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This program failed.
    #[error("a fault in this program ended the session")]
    Fault,
    /// We closed.
    #[error("the stream was ended")]
    Closed,
    /// There are no more pictures.
    #[error("there is nothing to show any more")]
    SourceLost,
    /// The server cannot be reached at all.
    #[error("the rendezvous server cannot be reached: {0}")]
    ServerUnreachable(String),
    /// The server refused us.
    #[error("the rendezvous server refused: {0}")]
    Refused(Refusal),
}
