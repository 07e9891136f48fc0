//! What a client is given, told and tells.

use std::net::SocketAddr;
use std::time::Duration;

use lllsi_proto::WIRE_VERSION;
use lllsi_proto::invite::{HostKey, Invite, RoomId, Secret};
use lllsi_proto::rendezvous::{Place, Refusal};
use lllsi_proto::room::{Password, RoomName};
use lllsi_proto::sealed::Ticket;

use crate::assemble::Arrivals;
use crate::link::SILENCE;
use crate::seal::ShortCode;
use crate::streams;
use crate::{Certificate, Frame, Ignored, LinkError, Path, Tried};

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to, and with what.
    pub entry: Entry,
    /// What the host is shown; cut to [`lllsi_proto::sealed::MAX_NAME_BYTES`].
    pub name: String,
    /// Our addresses with the port of our socket.
    pub locals: Vec<SocketAddr>,
    /// Our certificate.
    pub certificate: Certificate,
    /// 32 fresh random bytes.
    pub random_seed: [u8; 32],
    /// When the host is not heard any more, for how long coming back is tried.
    pub patience: Duration,
}

/// How a client finds its room, and what lets it in.
#[derive(Debug, Clone)]
pub enum Entry {
    /// An invite link.
    Link {
        /// The room.
        room: RoomId,
        /// Whom the link leads to.
        host_key: HostKey,
        /// What the link's holders know.
        secret: Secret,
    },
    /// A name and a password.
    Room {
        /// The room's name at the server.
        name: RoomName,
        /// Its password, or a guess.
        password: Password,
    },
    /// What the host gave when it let us in.
    Ticket {
        /// Who gave it.
        host_key: HostKey,
        /// The ticket.
        ticket: Ticket,
    },
}

impl From<&Invite> for Entry {
    fn from(invite: &Invite) -> Self {
        let Invite { room, host_key, secret, .. } = *invite;
        Self::Link { room, host_key, secret }
    }
}

impl Entry {
    /// How the server knows the room.
    pub fn place(&self) -> Place {
        match self {
            Self::Link { room, .. } => Place::Room(*room),
            Self::Room { name, .. } => Place::Name(name.clone()),
            Self::Ticket { ticket, .. } => Place::Room(ticket.room),
        }
    }
}

/// What a client may be told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Leave the room.
    Leave,
    /// A frame could not be decoded: go on with a keyframe.
    RequestKeyframe,
    /// Do something with a stream.
    Stream(streams::Action),
}

/// What a client tells.
#[derive(Debug)]
pub enum Event {
    /// The server let us into the room.
    Entered,
    /// The host lets us wait. It sees the same digits, and may ask for them to know us.
    Waiting(ShortCode),
    /// The host lets us in; a path is being looked for. The ticket is for coming back while the stream lives.
    Admitted(Option<Entry>),
    /// The link is up, encrypted and confirmed: the first, or another after [`Self::Away`].
    Connected(Path),
    /// The link runs over another path now; or after [`Self::Restarting`] over the same again.
    PathChanged(Path),
    /// The path is dead; another is looked for.
    Restarting,
    /// The host is not heard any more; another link is being made.
    Away,
    /// Something happened to a stream.
    Stream(streams::Event),
    /// The server is gone. An established link does not need it.
    ServerLost,
    /// A frame, in decoding order.
    Frame(Frame),
    /// It is over; no event follows.
    Closed(CloseReason),
}

/// Why a client's session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This program failed.
    #[error("a fault in this program ended the session")]
    Fault,
    /// We left.
    #[error("you left")]
    Left,
    /// The server cannot be reached.
    #[error("the rendezvous server cannot be reached: {0}")]
    ServerUnreachable(String),
    /// The server knows no such room.
    #[error("there is no such room")]
    UnknownRoom,
    /// The room is full.
    #[error("the room is full")]
    RoomFull,
    /// The link's secret is not the host's.
    #[error("the link's secret is wrong")]
    WrongSecret,
    /// The password is wrong; or somebody else answers under the room's name.
    #[error("the password is wrong, or another host answers under this name")]
    WrongPassword,
    /// The host hears no passwords at present.
    #[error("too many wrong passwords were tried at this room")]
    TooManyTries,
    /// The ticket is not, or not any more, one of the host's.
    #[error("the host does not know us any more")]
    WrongTicket,
    /// We came back by another connection.
    #[error("you joined again by another connection")]
    Replaced,
    /// Somebody on the way altered, dropped or repeated sealed messages.
    #[error("sealed messages were altered on their way")]
    Tampered,
    /// The other side speaks another wire version.
    #[error("the {who} speaks another wire version than ours ({WIRE_VERSION})")]
    Version {
        /// `host` or `server`.
        who: &'static str,
    },
    /// The host did not answer.
    #[error("the host does not answer")]
    NoAnswer,
    /// The host removed us, or did not let us in.
    #[error("the host removed you")]
    Kicked,
    /// The host ended the stream.
    #[error("the host ended the stream")]
    HostClosed,
    /// The host has no more pictures: its screen is gone.
    #[error("the host's screen is gone, and with it the stream")]
    SourceLost,
    /// The invitation is used up, or its time is over.
    #[error("the invitation is not valid any more")]
    InviteExpired,
    /// The host is not heard any more.
    #[error("the host vanished: nothing was heard from it for {} s", SILENCE.as_secs())]
    HostVanished,
    /// No path was found.
    #[error("{}", LinkError::NoPath(.0.clone()))]
    NoPath(Tried),
    /// The link failed.
    #[error(transparent)]
    Link(LinkError),
    /// The server refused.
    #[error("the rendezvous server refused: {0}")]
    Refused(Refusal),
    /// The host or server said something that makes no sense.
    #[error("the {who} broke the protocol: {detail}")]
    Protocol {
        /// `host` or `server`.
        who: &'static str,
        /// What was wrong.
        detail: String,
    },
}

/// What a client knows about its session.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// What arrived.
    pub arrivals: Arrivals,
    /// Shortest recent round trip to the host.
    pub rtt: Option<Duration>,
    /// The link's path.
    pub path: Option<Path>,
    /// What the link did not take.
    pub ignored: Ignored,
    /// Our streams, and those that we subscribe to.
    pub streams: streams::Status,
}
