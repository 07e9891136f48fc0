//! The viewing side.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lllsi_core::client::{self as machine, Action, CloseReason, Entry};
use lllsi_core::seal::ShortCode;
use lllsi_core::stats::Percentiles;
use lllsi_core::{Certificate, Path};
use lllsi_io::peer::{self, Outbox, Overflow, Peer};
use lllsi_io::random;
use lllsi_media::decode;
use lllsi_media::picture::{I420, Size};
use lllsi_proto::invite::{CertificateHash, Invite};

use crate::mailbox::{Mail, Mailbox};
use crate::play::{self, Figures, Player};
use crate::streams::{FromHub, Hub, RemoteStream, Told};
use crate::{Error, Stages, Summary, server_url};

/// How long coming back is tried.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client tells its application.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The server let us into the room.
    Entered,
    /// The host lets us wait. It sees the same digits, and may ask for them to know us.
    Waiting(ShortCode),
    /// The host lets us in; a path is being looked for. What it gave us is for [`Client::join_again`].
    Admitted(Option<Pass>),
    /// The link is up, encrypted and confirmed.
    Connected {
        /// The addresses it runs between.
        path: Path,
        /// Since [`ClientBuilder::start`].
        after: Duration,
    },
    /// The link runs over another path; or after [`Self::Restarting`] over the same again.
    PathChanged(Path),
    /// The path is dead; another is looked for.
    Restarting,
    /// The host is not heard any more. Another link is being made: [`Self::Connected`] follows, or [`Self::Closed`].
    Away,
    /// The host has a stream, from now on, or over another link again.
    Announced(RemoteStream),
    /// And not any more.
    Withdrawn(RemoteStream),
    /// The server is gone. An established link does not need it.
    ServerLost,
    /// The newest frame. Older ones that were not read in time are skipped.
    Frame(Frame),
    /// It is over; no event follows.
    Closed(CloseReason),
}

/// A frame, ready to be shown.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The picture; `None` if decoding is off. Its memory is used again once it is dropped.
    pub picture: Option<Arc<I420>>,
    /// Its size.
    pub size: Size,
    /// The host's count of frames.
    pub number: Option<u32>,
    /// Whether it was a keyframe.
    pub keyframe: bool,
    /// From the change on the host's screen until it was decoded, once the clocks are synchronised. Milliseconds.
    pub latency_ms: Option<f64>,
    /// When it was decoded.
    pub decoded_at: Instant,
    /// The same, by stage.
    pub stages: Stages,
}

/// Figures of a client since they were last taken.
#[derive(Debug, Clone)]
pub struct ClientStats {
    /// The interval they are about.
    pub interval: Duration,
    /// Frames decoded, or received if decoding is off.
    pub frames: u64,
    /// Frames the decoder refused.
    pub decode_errors: u64,
    /// The longest time between two frames.
    pub longest_gap: Duration,
    /// From the change on the host's screen to the decoded picture, milliseconds.
    pub latency_ms: Percentiles,
    /// From there to the viewer's screen, milliseconds: of the frames that [`Client::note_shown`] was told of.
    pub shown_latency_ms: Percentiles,
    /// Median time by stage.
    pub stages: Summary,
    /// The whole session's arrivals, and the present path.
    pub status: machine::Status,
}

/// What a host gives to a client that it lets in: good for coming back while the stream lives, without link or
/// password, unless the host kicks the client. It is a secret.
#[derive(Debug, Clone)]
pub struct Pass {
    server: peer::Rendezvous,
    entry: Entry,
}

/// What somebody has been given to join with.
#[derive(Debug, Clone)]
enum Invitation {
    Link(String),
    Room { server: String, name: String, password: String },
    Pass(Pass),
}

/// Sets up a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    invitation: Invitation,
    certificate: Option<CertificateHash>,
    name: String,
    decode: bool,
    waker: Option<Waker>,
    patience: Duration,
}

/// A viewer of one host's stream. Dropping it leaves, and waits for its threads: not for async code.
///
/// ```no_run
/// # fn main() -> Result<(), lllsi::Error> {
/// use lllsi::{Client, ClientEvent};
/// use std::time::{Duration, Instant};
///
/// # let link = "";
/// let client = Client::join(link).name("Ada").start()?;
/// while let Some(event) = client.recv(Instant::now() + Duration::from_secs(60)) {
///     match event {
///         ClientEvent::Frame(frame) => println!("{} after {:?} ms", frame.size, frame.latency_ms),
///         ClientEvent::Closed(reason) => println!("the end: {reason}"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Client {
    peer: Peer<machine::Client>,
    decoder: Option<JoinHandle<()>>,
    mailbox: Mailbox<ClientEvent, Frame>,
    figures: Arc<Mutex<Figures>>,
    stats_at: Mutex<Instant>,
    pub(crate) hub: Arc<Hub>,
}

impl ClientBuilder {
    /// What the host is shown; default `viewer`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// When the host is not heard any more, how long coming back is tried; default 30 s. [`Duration::ZERO`] ends the session at once.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether frames are decoded; default yes.
    pub fn decode(mut self, decode: bool) -> Self {
        self.decode = decode;
        self
    }

    /// Is woken whenever there may be something to [`recv`](Client::recv): for a thread that also waits for something
    /// else, such as a window.
    pub fn waker(mut self, waker: Waker) -> Self {
        self.waker = Some(waker);
        self
    }

    /// For [`Client::join_room`]: the only certificate to accept from an `https://` server, for servers that have made
    /// their own; default what the system trusts. Links say so themselves.
    pub fn server_certificate(mut self, hash: CertificateHash) -> Self {
        self.certificate = Some(hash);
        self
    }

    /// Whether the link, or the server's address, the room's name and the password, can be understood; without joining.
    ///
    /// # Errors
    /// Those of [`Self::start`] that concern them.
    pub fn check(&self) -> Result<(), Error> {
        self.pass().map(drop)
    }

    /// Where to, and with what.
    fn pass(&self) -> Result<Pass, Error> {
        Ok(match &self.invitation {
            Invitation::Link(link) => {
                let invite: Invite = link.parse()?;
                let (url, certificate) = (invite.server.clone(), invite.certificate);
                Pass { server: peer::Rendezvous { url, certificate }, entry: Entry::from(&invite) }
            }
            Invitation::Room { server, name, password } => {
                let url = server_url(server.clone(), self.certificate)?;
                let name = name.parse().map_err(Error::Room)?;
                let password = password.parse().map_err(Error::Room)?;
                Pass {
                    server: peer::Rendezvous { url, certificate: self.certificate },
                    entry: Entry::Room { name, password },
                }
            }
            Invitation::Pass(pass) => pass.clone(),
        })
    }

    /// Starts threads and begins to join.
    ///
    /// # Errors
    /// [`Error::Link`] and [`Error::Room`] for a link, name or password that cannot be one; [`Error::ServerAddress`] and
    /// [`Error::CertificateWithoutHttps`]; [`Error::Io`] for what the system refuses.
    pub fn start(self) -> Result<Client, Error> {
        let started = Instant::now();
        let Pass { server, entry } = self.pass()?;
        let (random_seed, name, patience) = (random()?, self.name, self.patience);
        let make = move |locals| {
            let config = machine::Config {
                entry,
                name,
                locals,
                certificate: Certificate::generate(),
                random_seed,
                patience,
            };
            machine::Client::new(Instant::now(), config)
        };
        let mailbox = Mailbox::new(self.waker);
        let (player, frames) = play::queue();
        let hub = Arc::new(Hub::default());
        let outbox = ToApplication {
            hub: Arc::clone(&hub),
            mailbox: mailbox.clone(),
            player: Some(player),
            started,
            server: server.clone(),
        };
        let ends = peer::Ends {
            outbox,
            on_overflow: Some(Action::RequestKeyframe),
            nudge: hub.nudge_handle(),
            inlet: FromHub { hub: Arc::clone(&hub), wrap: Action::Stream },
        };
        let peer = peer::spawn(server, peer::Place::default(), make, ends)?;
        let figures = Arc::default();
        let decoder = play::start(
            frames,
            decode::h264()?,
            self.decode,
            peer.actions(),
            mailbox.clone(),
            Arc::clone(&figures),
        )?;
        let stats_at = Mutex::new(started);
        Ok(Client { peer, decoder: Some(decoder), mailbox, figures, stats_at, hub })
    }
}

impl Client {
    /// Begins to set up a client for an invite link.
    pub fn join(link: impl Into<String>) -> ClientBuilder {
        Self::invited(Invitation::Link(link.into()))
    }

    /// Begins to set up a client for a room with a name, at the server with this base URL. The server learns nothing of
    /// the password. Whoever answers under the name can test one password with each try: after a few that fail, ask the
    /// host by another way before trying again.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), lllsi::Error> {
    /// use lllsi::Client;
    ///
    /// let client = Client::join_room("https://rendezvous.example", "kitchen", "k3f9-2mxq").start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn join_room(
        server: impl Into<String>,
        name: impl Into<String>,
        password: impl Into<String>,
    ) -> ClientBuilder {
        let (server, name, password) = (server.into(), name.into(), password.into());
        Self::invited(Invitation::Room { server, name, password })
    }

    /// Begins to set up a client that has been let in before, with what [`ClientEvent::Admitted`] told. Its earlier
    /// connection, if it is there yet, ends once the new one is up.
    pub fn join_again(pass: Pass) -> ClientBuilder {
        Self::invited(Invitation::Pass(pass))
    }

    fn invited(invitation: Invitation) -> ClientBuilder {
        let (certificate, waker) = (None, None);
        let (name, patience) = ("viewer".into(), PATIENCE);
        ClientBuilder { invitation, certificate, name, decode: true, waker, patience }
    }

    /// The next event, else the newest frame; waits until `deadline`. `None`: nothing in time, or the session is over
    /// and all is read.
    pub fn recv(&self, deadline: Instant) -> Option<ClientEvent> {
        Some(match self.mailbox.take(deadline)? {
            Mail::Event(event) => event,
            Mail::Frame(frame) => ClientEvent::Frame(frame),
        })
    }

    /// Lists this machine's addresses again, and looks for a new path where the old one is gone. The client does so by itself: on
    /// Linux when the kernel reports a change, elsewhere every two seconds. Call it to be sooner.
    pub fn network_changed(&self) {
        self.peer.network_changed();
    }

    /// Leaves the room; [`ClientEvent::Closed`] follows.
    pub fn leave(&self) {
        self.peer.act(Action::Leave);
    }

    /// Takes note that a frame has been shown at this time, for the figures.
    pub fn note_shown(&self, frame: &Frame, at: Instant) {
        self.figures().shown(frame, at);
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        // No code that can panic runs under this lock.
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Figures since the last call.
    pub fn take_stats(&self) -> ClientStats {
        let now = Instant::now();
        let mut at = self.stats_at.lock().unwrap_or_else(PoisonError::into_inner);
        let interval = now - std::mem::replace(&mut *at, now);
        let figures = self.figures().take();
        ClientStats {
            interval,
            frames: figures.frames,
            decode_errors: figures.decode_errors,
            longest_gap: figures.longest_gap,
            latency_ms: figures.latency_ms,
            shown_latency_ms: figures.shown_latency_ms,
            stages: figures.summary,
            status: self.peer.status(),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave();
        self.peer.join();
        if let Some(decoder) = self.decoder.take()
            && decoder.join().is_err()
        {
            tracing::error!("the decode thread panicked");
        }
    }
}

/// Sorts the machine's events: frames go to the decoder, the others to the application.
struct ToApplication {
    hub: Arc<Hub>,
    mailbox: Mailbox<ClientEvent, Frame>,
    /// Dropped with the net thread's end: the decode thread ends then.
    player: Option<Player>,
    started: Instant,
    server: peer::Rendezvous,
}

impl Drop for ToApplication {
    /// Tells the end even if the net thread panicked; after an orderly end this changes nothing.
    fn drop(&mut self) {
        self.hub.close();
        self.mailbox.close(ClientEvent::Closed(CloseReason::Fault));
    }
}

impl Outbox<machine::Event> for ToApplication {
    fn put(&mut self, event: machine::Event) -> Result<(), Overflow> {
        let event = match event {
            machine::Event::Frame(frame) => {
                return self.player.as_ref().map_or(Ok(()), |player| player.put(frame));
            }
            machine::Event::Closed(reason) => {
                self.player = None;
                self.hub.close();
                self.mailbox.close(ClientEvent::Closed(reason));
                return Ok(());
            }
            machine::Event::Entered => ClientEvent::Entered,
            machine::Event::Waiting(code) => ClientEvent::Waiting(code),
            machine::Event::Admitted(entry) => {
                let server = self.server.clone();
                ClientEvent::Admitted(entry.map(|entry| Pass { server, entry }))
            }
            machine::Event::Connected(path) => {
                ClientEvent::Connected { path, after: self.started.elapsed() }
            }
            machine::Event::PathChanged(path) => ClientEvent::PathChanged(path),
            machine::Event::Restarting => ClientEvent::Restarting,
            machine::Event::Away => ClientEvent::Away,
            machine::Event::Stream(event) => {
                match self.hub.take(event) {
                    Some(Told::Announced(s)) => self.mailbox.put_minor(ClientEvent::Announced(s)),
                    Some(Told::Withdrawn(s)) => self.mailbox.put_minor(ClientEvent::Withdrawn(s)),
                    Some(Told::Returned { .. }) | None => {}
                }
                return Ok(());
            }
            machine::Event::ServerLost => ClientEvent::ServerLost,
        };
        self.mailbox.put_event(event);
        Ok(())
    }
}
