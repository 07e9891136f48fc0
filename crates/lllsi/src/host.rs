//! The publishing side.

mod sorter;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lllsi_core::host::{
    self as machine, Action, CloseReason, Counters, LeftReason, Room, ViewerId, ViewerStatus,
};
use lllsi_core::seal::{HostIdentity, ShortCode};
use lllsi_core::streams::Status as StreamsStatus;
use lllsi_core::{Certificate, Path};
use lllsi_io::peer::{self, Peer};
use lllsi_io::{Reached, random, room_token};
use lllsi_media::picture::Size;
use lllsi_media::{capture, encode};
use lllsi_proto::invite::{CertificateHash, Invite, Secret};
use lllsi_proto::room::Password;
use lllsi_proto::sealed::PartReason;

use crate::mailbox::{Mail, Mailbox};
use crate::publish::{self, Desk, Pipeline};
use crate::streams::{self, FromHub, Hub, RemoteStream, Stream};
use crate::{Error, Summary, server_url};
use sorter::Sorter;

/// What a host shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// A screen: the display named, else the default one.
    Screen(Option<String>),
    /// An animated picture with a running clock, which says that it is a test card.
    #[default]
    TestCard,
    /// No pictures: streams of other things alone.
    None,
}

/// What a host tells its application.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// The room is open at the server: the first time, or again after the server was gone.
    Open,
    /// The server is gone; it is tried again. Viewers are not affected.
    ServerLost {
        /// In plain words.
        reason: String,
    },
    /// A client waits to be admitted.
    Waiting {
        /// The client.
        id: ViewerId,
        /// What it calls itself; not verified.
        name: String,
        /// What it sees too: whoever tells the host these digits is this client.
        code: ShortCode,
    },
    /// A viewer sees the stream.
    Connected {
        /// The viewer.
        id: ViewerId,
        /// What it calls itself; not verified.
        name: String,
        /// The addresses its link runs between.
        path: Path,
    },
    /// A viewer's link runs over another path.
    PathChanged {
        /// The viewer.
        id: ViewerId,
        /// The new path.
        path: Path,
    },
    /// A viewer or waiting client is gone.
    Left {
        /// The viewer.
        id: ViewerId,
        /// Why.
        reason: LeftReason,
    },
    /// Somebody who knew what lets in was sent away: no place, or the invitation is over. Told once a second at most.
    Refused {
        /// Why.
        reason: PartReason,
    },
    /// Somebody knocked who does not know the link's secret.
    Rejected,
    /// Somebody tried a wrong password.
    WrongPassword,
    /// While it was away, the server has given the room's name to another host: the link alone leads here now.
    NameLost,
    /// Another run of this host has opened the room: new viewers go there. Those that are here stay.
    Replaced,
    /// The pictures ended, and with them the stream: the viewers are told, and [`HostEvent::Closed`] follows.
    SourceFailed(lllsi_media::Error),
    /// A client has a stream, from now on, or over another link again.
    Announced(RemoteStream),
    /// And not any more.
    Withdrawn(RemoteStream),
    /// A client that had lost its link is back under another number: what it subscribed to, and what we have of it, goes on.
    Returned {
        /// Before.
        was: ViewerId,
        /// Now.
        is: ViewerId,
    },
    /// It is over; no event follows.
    Closed(CloseReason),
}

/// Figures of a host since they were last taken.
#[derive(Debug, Clone)]
pub struct HostStats {
    /// The interval they are about.
    pub interval: Duration,
    /// Frames of the layer with the most: what a viewer of it is shown.
    pub frames: u64,
    /// Frames encoded in all layers. Viewers whose paths carry about the same share one.
    pub encodes: u64,
    /// Bytes encoded.
    pub bytes: u64,
    /// Bytes sent to all viewers, headers, parity and repairs included.
    pub sent_bytes: u64,
    /// Those of them that are parity and repairs, without headers of IP and UDP.
    pub redundant_bytes: u64,
    /// Median time by stage.
    pub stages: Summary,
    /// All viewers and waiting clients.
    pub viewers: Vec<ViewerStatus>,
    /// What was not taken, since the host began.
    pub turned_away: Counters,
    /// Its streams, since they began.
    pub streams: StreamsStatus,
}

/// Sets up a [`Host`].
#[derive(Debug, Clone)]
pub struct HostBuilder {
    server: Option<String>,
    certificate: Option<CertificateHash>,
    source: Source,
    fps: u32,
    bitrate: u32,
    uplink: Option<u32>,
    place: peer::Place,
    size: Option<Size>,
    lobby: bool,
    max_viewers: u32,
    terms: machine::Terms,
    room: Option<String>,
    password: Option<String>,
    state: Option<PathBuf>,
}

/// A room, and the stream in it. Dropping it ends the stream, says goodbye to all, and waits for its threads: not for
/// async code.
///
/// Needs a rendezvous server; see the [crate documentation](crate) for a whole example.
///
/// ```no_run
/// # fn main() -> Result<(), lllsi::Error> {
/// use lllsi::{Host, Source};
///
/// let host = Host::builder()
///     .server("https://rendezvous.example")
///     .source(Source::Screen(None))
///     .start()?;
/// println!("Invite your viewers: {}", host.link());
/// # Ok(())
/// # }
/// ```
pub struct Host {
    // Held for its threads; they end with it.
    _pipeline: Option<Pipeline>,
    // In the catalogue for as long as there are pictures.
    _pictures: Option<Stream>,
    pub(crate) hub: Arc<Hub>,
    peer: Peer<machine::Host>,
    desk: Desk,
    mailbox: Mailbox<HostEvent, ()>,
    invited: Mutex<(Invite, Option<Room>)>,
    /// When figures were taken for the last time, and what had been sent by then.
    /// When figures were last taken, and bytes sent by then: all, and redundant ones.
    last_stats: Mutex<(Instant, [u64; 2])>,
}

impl HostBuilder {
    /// The rendezvous server's base URL, `http://…` or `https://…`.
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.server = Some(url.into());
        self
    }

    /// The only certificate to accept from an `https://` server, for servers that have made their own
    /// ([`Server::certificate`](crate::Server::certificate)); default what the system trusts. Links carry it on.
    pub fn server_certificate(mut self, hash: CertificateHash) -> Self {
        self.certificate = Some(hash);
        self
    }

    /// What to show; default [`Source::TestCard`].
    pub fn source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Frames per second at most, 1–60; default 30.
    pub fn fps(mut self, fps: u32) -> Self {
        self.fps = fps;
        self
    }

    /// Bits per second at most, for each viewer; default 5,000,000.
    pub fn bitrate(mut self, bitrate: u32) -> Self {
        self.bitrate = bitrate;
        self
    }

    /// Bits per second at most for all viewers together; default no limit.
    pub fn uplink(mut self, uplink: u32) -> Self {
        self.uplink = Some(uplink);
        self
    }

    /// Size of the test card, default 1280x720; or within which the screen is to fit, default the largest that can be
    /// coded ([`encode::MAX_SIDE`]). A larger screen is scaled down in its proportions.
    pub fn size(mut self, size: Size) -> Self {
        self.size = Some(size);
        self
    }

    /// Whether clients wait until they are admitted; default no.
    pub fn lobby(mut self, lobby: bool) -> Self {
        self.lobby = lobby;
        self
    }

    /// How long an invite link holds; default as long as the stream. Whoever has been let in stays.
    pub fn invite_expires(mut self, after: Duration) -> Self {
        self.terms.lifetime = Some(after);
        self
    }

    /// How many clients are let in with an invite link; default any number.
    pub fn invite_uses(mut self, uses: u32) -> Self {
        self.terms.uses = Some(uses);
        self
    }

    /// A name for the room, besides its link: whoever knows it and the password may ask to be let in. First come, first
    /// served at each server.
    pub fn room(mut self, name: impl Into<String>) -> Self {
        self.room = Some(name.into());
        self
    }

    /// The password of the room's name; default a generated one, [`Host::room`].
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// A directory for the secret by which this host owns its room's name; default none, and then nobody can take the
    /// name up again once this host has ended, at servers that keep names.
    pub fn state(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state = Some(directory.into());
        self
    }

    /// The UDP port that the stream leaves from, for firewalls that let one through; default one of the system's choice.
    pub fn media_port(mut self, port: u16) -> Self {
        self.place.port = port;
        self
    }

    /// The addresses at which clients have come in to a server in this process ([`Server::reached`](crate::Server::reached)). The host
    /// names them to viewers first; of a machine with many networks it would leave some out.
    pub fn reached(mut self, reached: Reached) -> Self {
        self.place.reached = reached;
        self
    }

    /// Viewers at once; default 16.
    pub fn max_viewers(mut self, max_viewers: u32) -> Self {
        self.max_viewers = max_viewers;
        self
    }

    /// Starts threads and opens the room; [`HostEvent::Open`] tells when it is open.
    ///
    /// # Errors
    /// [`Error::NoServer`] without a server; [`Error::ServerAddress`] and [`Error::CertificateWithoutHttps`];
    /// [`Error::Room`] for a name or password that cannot be one; [`Error::Media`] for a screen that cannot be captured,
    /// and for a size or frame rate that cannot be coded; [`Error::Io`] for what the system refuses.
    pub fn start(mut self) -> Result<Host, Error> {
        let server = server_url(self.server.take().ok_or(Error::NoServer)?, self.certificate)?;
        let room = self.named()?;
        let pictures = self.pictures()?;
        let mut identity = HostIdentity::from_random(random()?);
        if let (Some(room), Some(directory)) = (&room, &self.state) {
            identity.token = room_token(directory, &server, &room.name)?;
        }
        let invite = Invite {
            server: server.clone(),
            room: identity.room(),
            host_key: identity.public_key(),
            secret: identity.secret,
            certificate: self.certificate,
        };
        let random_seed = random()?;
        let (lobby, max_viewers, max_bitrate) = (self.lobby, self.max_viewers, self.bitrate);
        let (terms, named, max_uplink) = (self.terms, room.clone(), self.uplink);
        let make = move |locals| {
            let config = machine::Config {
                identity,
                locals,
                certificate: Certificate::generate(),
                random_seed,
                lobby,
                max_viewers,
                terms,
                room: named,
                max_bitrate,
                max_uplink,
                layers: machine::MAX_LAYERS,
            };
            machine::Host::new(Instant::now(), config)
        };
        let (mailbox, desk) = (Mailbox::new(None), Desk::default());
        let hub = Arc::new(Hub::default());
        let outbox = Sorter { mailbox: mailbox.clone(), desk: desk.clone(), hub: Arc::clone(&hub) };
        let server = peer::Rendezvous { url: server, certificate: self.certificate };
        let ends = peer::Ends {
            outbox,
            on_overflow: None,
            nudge: hub.nudge_handle(),
            inlet: FromHub { hub: Arc::clone(&hub), wrap: Action::Stream },
        };
        let peer = peer::spawn(server, self.place, make, ends)?;
        let (_pictures, _pipeline) = match pictures {
            Some((source, config)) => {
                let stream = streams::pictures(&hub).ok();
                (stream, Some(start_pipeline(source, config, &desk, &peer)?))
            }
            None => (None, None),
        };
        let last_stats = Mutex::new((Instant::now(), [0; 2]));
        let invited = Mutex::new((invite, room));
        Ok(Host { _pipeline, _pictures, hub, peer, desk, mailbox, invited, last_stats })
    }

    /// Where pictures come from, and how they are made; `None` if there are to be none.
    #[allow(clippy::type_complexity)] // once
    fn pictures(&self) -> Result<Option<(Box<dyn capture::Source>, publish::Config)>, Error> {
        let source = match &self.source {
            Source::Screen(display) => capture::screen(display.as_deref())?,
            Source::TestCard => {
                capture::test_card(self.size.unwrap_or(Size::new(1280, 720)), self.fps)
            }
            Source::None => return Ok(None),
        };
        let largest = Size::new(encode::MAX_SIDE, encode::MAX_SIDE);
        let bounds = self.size.unwrap_or(largest).at_most(largest);
        let size = source.size().at_most(bounds);
        encode::Config { size, fps: self.fps, bitrate: self.bitrate }.check()?;
        Ok(Some((source, publish::Config { fps: self.fps, bitrate: self.bitrate, bounds })))
    }

    /// The room's name and password.
    fn named(&self) -> Result<Option<Room>, Error> {
        let Some(name) = &self.room else { return Ok(None) };
        let password = match &self.password {
            Some(password) => password.parse().map_err(Error::Room)?,
            None => Password::from_random(random()?),
        };
        Ok(Some(Room { name: name.parse().map_err(Error::Room)?, password }))
    }
}

/// Starts the threads that make pictures and send them.
fn start_pipeline(
    source: Box<dyn capture::Source>,
    config: publish::Config,
    desk: &Desk,
    peer: &Peer<machine::Host>,
) -> Result<Pipeline, Error> {
    let (actions, ending) = (peer.actions(), peer.actions());
    let send = move |frame| {
        // `false` means that the session is over: the owner stops the threads.
        let _ = actions.act(Action::Send(frame));
    };
    let failed = move || {
        let _ = ending.act(Action::LoseSource);
    };
    Pipeline::start(source, encode::h264, config, desk.clone(), send, failed)
}

impl Host {
    /// Begins to set up a host.
    pub fn builder() -> HostBuilder {
        HostBuilder {
            server: None,
            certificate: None,
            source: Source::default(),
            fps: 30,
            bitrate: 5_000_000,
            uplink: None,
            place: peer::Place::default(),
            size: None,
            lobby: false,
            max_viewers: 16,
            terms: machine::Terms::default(),
            room: None,
            password: None,
            state: None,
        }
    }

    fn invited(&self) -> MutexGuard<'_, (Invite, Option<Room>)> {
        // No code that can panic runs under this lock.
        self.invited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists this machine's addresses again, sends new ones to the viewers, and reconnects to the server if the old connection is dead.
    /// The host does so by itself: on Linux when the kernel reports a change, elsewhere every two seconds. Call it to be sooner.
    pub fn network_changed(&self) {
        self.peer.network_changed();
    }

    /// The invite link. Whoever has it may ask to be let in.
    pub fn link(&self) -> String {
        self.invited().0.to_string()
    }

    /// The room's name and present password, if it has them, and has not lost them: [`HostEvent::NameLost`].
    pub fn room(&self) -> Option<Room> {
        self.invited().1.clone()
    }

    /// Makes another invite link, and another password for a room with a name: those before are worth nothing from now
    /// on, nor is the pass of whoever is not here. Viewers stay.
    ///
    /// # Errors
    /// [`Error::Io`] if the system gives no random numbers.
    pub fn renew_invitation(&self) -> Result<(), Error> {
        let (secret, password) = (Secret::from_bytes(random()?), Password::from_random(random()?));
        let mut invited = self.invited();
        invited.0.secret = secret;
        let password = invited.1.as_mut().map(|room| {
            room.password = password;
            room.password.clone()
        });
        // In the order in which it is shown.
        self.peer.act(Action::Renew { secret, password });
        Ok(())
    }

    /// The next event; waits until `deadline`. `None`: nothing in time, or the session is over and all is read.
    pub fn recv(&self, deadline: Instant) -> Option<HostEvent> {
        match self.mailbox.take(deadline)? {
            Mail::Event(event) => {
                if let HostEvent::NameLost = event {
                    self.invited().1 = None;
                }
                Some(event)
            }
            Mail::Frame(()) => None,
        }
    }

    /// Lets a waiting client in.
    pub fn admit(&self, id: ViewerId) {
        self.peer.act(Action::Admit(id));
    }

    /// Lets all waiting clients in, and later ones at once.
    pub fn open_door(&self) {
        self.peer.act(Action::Start);
    }

    /// Removes a viewer or waiting client.
    pub fn kick(&self, id: ViewerId) {
        self.peer.act(Action::Kick(id));
    }

    /// All viewers and waiting clients, as they were a quarter of a second ago at most.
    pub fn viewers(&self) -> Vec<ViewerStatus> {
        self.peer.status().viewers
    }

    /// What was not taken, since the host began.
    pub fn turned_away(&self) -> Counters {
        self.peer.status().counters
    }

    /// Figures since the last call.
    pub fn take_stats(&self) -> HostStats {
        let now = Instant::now();
        let mut last = self.last_stats.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = self.desk.take_figures();
        let machine::Status { viewers, counters, sent_bytes, redundant_bytes, streams } =
            self.peer.status();
        let (at, [sent, redundant]) =
            std::mem::replace(&mut *last, (now, [sent_bytes, redundant_bytes]));
        let interval = now - at;
        HostStats {
            interval,
            encodes: figures.frames.iter().sum(),
            frames: figures.frames.into_iter().max().unwrap_or_default(),
            bytes: figures.bytes,
            sent_bytes: sent_bytes.saturating_sub(sent),
            redundant_bytes: redundant_bytes.saturating_sub(redundant),
            stages: figures.summary,
            viewers,
            turned_away: counters,
            streams,
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.peer.act(Action::Close);
        self.peer.join();
    }
}
