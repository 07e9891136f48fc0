//! The other process: a rendezvous server, viewers that drop every frame, and sockets that drop every datagram. All of it ends
//! with its standard input.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lllsi_core::Certificate;
use lllsi_core::client::{self, Action, Client, CloseReason, Entry, Event};
use lllsi_proto::invite::Invite;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{LocalSet, spawn_local};

use super::{Error, JOINING, Nothing};
use crate::peer::{self, Ends, Nudge, Outbox, Overflow};
use crate::server::{Config, Server};
use crate::socket::{Endpoint, Received};

/// The first line that this process writes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// The server's address.
    pub(super) server: SocketAddr,
    /// Sockets that drop what comes.
    pub(super) ports: Vec<u16>,
}

/// One line for each empty line that it reads.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Frames that arrived whole.
    pub(super) frames: u64,
    /// Packets that were missing when a later one came.
    pub(super) missed: u64,
}

/// More than anybody asks for here: all viewers come from one address, at once.
const UNBOUNDED: u32 = 1_000_000;

/// Runs it: reads a link, and then an empty line for each [`Tally`] that is wanted.
pub(super) fn run(viewers: u32, link: mpsc::Receiver<String>) -> Result<(), Error> {
    crate::raise_file_limit();
    let mut config = Config { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..Config::default() };
    config.limits.max_connections_per_address = UNBOUNDED;
    config.limits.connections_per_minute = UNBOUNDED;
    config.limits.joins_per_minute = UNBOUNDED;
    config.limits.host_messages_per_minute = UNBOUNDED;
    let server = Server::start(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| crate::Error::Thread { name: "sinks", source })?;
    // All on one thread: a thread for each viewer would have to be woken for each burst, and the host would pay for that.
    LocalSet::new().block_on(&runtime, serve(viewers, server.http(), link))
}

/// Lines of standard input, until it ends.
pub(super) fn lines() -> Result<mpsc::Receiver<String>, Error> {
    let (sender, lines) = mpsc::channel(4);
    let read = move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    };
    let thread = std::thread::Builder::new().name("stdin".into()).spawn(read);
    thread.map_err(|source| crate::Error::Thread { name: "stdin", source })?;
    Ok(lines)
}

async fn serve(
    viewers: u32,
    server: SocketAddr,
    mut lines: mpsc::Receiver<String>,
) -> Result<(), Error> {
    let mut ports = Vec::new();
    for _ in 0..viewers {
        let endpoint = Endpoint::bind(0).map_err(Error::Socket)?;
        ports.push(endpoint.local().port());
        spawn_local(drop_all(endpoint));
    }
    say(&Ready { server, ports })?;
    let Some(link) = lines.recv().await else { return Ok(()) };
    let invite: Invite =
        link.parse().map_err(|_| Error::Sinks { detail: "no link came".into() })?;
    let sinks = Arc::new(Sinks::default());
    spawn_local(join_all(viewers, invite, Arc::clone(&sinks)));
    while lines.recv().await.is_some() {
        say(&sinks.tally())?;
    }
    Ok(())
}

fn say(what: &impl Serialize) -> Result<(), Error> {
    let line = serde_json::to_string(what).map_err(|e| Error::Sinks { detail: e.to_string() })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::Pipe)
}

/// Reads datagrams and drops them.
async fn drop_all(mut endpoint: Endpoint) {
    while endpoint.readable().await.is_ok() {
        while let Ok(Received::Some) = endpoint.receive(|_, _, _| {}) {}
        tokio::task::yield_now().await;
    }
}

type Shown = Arc<Mutex<client::Status>>;

#[derive(Default)]
struct Sinks {
    frames: Arc<AtomicU64>,
    /// Figures of each viewer, and what keeps it from leaving.
    viewers: Mutex<Vec<(Shown, mpsc::Sender<Action>)>>,
}

impl Sinks {
    fn tally(&self) -> Tally {
        let viewers = self.viewers.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = viewers.iter().map(|(status, _)| {
            status.lock().unwrap_or_else(PoisonError::into_inner).arrivals.missed
        });
        Tally { frames: self.frames.load(Ordering::Relaxed), missed: missed.sum() }
    }
}

/// A few at a time, so that none has to wait long for the processor.
async fn join_all(viewers: u32, invite: Invite, sinks: Arc<Sinks>) {
    let (turns, certificate) = (Arc::new(Semaphore::new(JOINING)), Certificate::generate());
    for number in 0..viewers {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        if let Err(error) = join(number, &invite, &certificate, turn, &sinks) {
            tracing::error!(%error, "a viewer does not start");
            return;
        }
    }
}

fn join(
    number: u32,
    invite: &Invite,
    certificate: &Certificate,
    turn: OwnedSemaphorePermit,
    sinks: &Sinks,
) -> Result<(), Error> {
    let endpoint = Endpoint::bind(0).map_err(Error::Socket)?;
    let config = client::Config {
        entry: Entry::from(invite),
        name: format!("viewer {number}"),
        locals: vec![(Ipv4Addr::LOCALHOST, endpoint.local().port()).into()],
        certificate: certificate.clone(),
        random_seed: crate::random()?,
        patience: Duration::ZERO,
    };
    let machine = Client::new(Instant::now(), config);
    let (actions, actions_out) = mpsc::channel(1);
    let status = Shown::default();
    let ends = Ends {
        outbox: Dropping { frames: Arc::clone(&sinks.frames), turn: Some(turn) },
        on_overflow: None,
        inlet: Nothing,
        nudge: Nudge::default(),
    };
    let server = peer::Rendezvous { url: invite.server.clone(), certificate: None };
    let shown = Arc::clone(&status);
    spawn_local(peer::drive(server, endpoint, None, machine, ends, shown, actions_out));
    sinks.viewers.lock().unwrap_or_else(PoisonError::into_inner).push((status, actions));
    Ok(())
}

/// Counts frames. The next viewer's turn is when this one is connected, or has failed.
struct Dropping {
    frames: Arc<AtomicU64>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Outbox<Event> for Dropping {
    fn put(&mut self, event: Event) -> Result<(), Overflow> {
        match event {
            Event::Frame(_) => drop(self.frames.fetch_add(1, Ordering::Relaxed)),
            Event::Connected(_) => self.turn = None,
            Event::Closed(reason) => {
                if reason != CloseReason::HostClosed {
                    tracing::warn!(%reason, "a viewer left");
                }
                self.turn = None;
            }
            _ => {}
        }
        Ok(())
    }
}
