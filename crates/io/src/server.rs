//! The rendezvous server: rooms and sealed signalling over WebSocket, the browser's viewer, `/healthz`, and STUN over UDP.
//!
//! One task, the hub, owns the [`Rendezvous`] machine; connections talk to it by bounded queues. A connection that does
//! not take what it is sent is closed.
//!
//! ```
//! use lllsi_io::server::{Config, Server};
//!
//! let server = Server::start(Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() }).unwrap();
//! assert_ne!(server.http().port(), 0);
//! server.stop();
//! ```

mod hub;
mod keeper;
mod pages;
mod stun;
mod web;

use std::fs::File;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lllsi_core::rendezvous::{self, Rendezvous};
use lllsi_proto::invite::CertificateHash;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

pub use crate::metrics::Figures;
use crate::metrics::Shell;
use crate::socket::Endpoint;
pub use crate::tls::Tls;
use crate::{DEFAULT_PORT, Error, Reached, state, tls};
use hub::Told;
use keeper::Keeper;
use stun::Stun;
pub(crate) use web::Duplex;
use web::Web;

/// Messages that may wait for the machine; connections wait when it is full.
const MACHINE_QUEUE: usize = 1024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// When the server stops: how long last words are passed on, and then written.
const STOP_GRACE: Duration = Duration::from_millis(150);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// TCP address for http and https, and UDP address for STUN.
    pub listen: SocketAddr,
    /// Whether the UDP port is left to a host in this process: then one port is all that a firewall has to let through. The
    /// server then answers no STUN: a client that can reach it can reach the host.
    pub leaves_udp: bool,
    /// A second IP address of this machine, for STUN alone: with it a peer can find out how the NAT before it behaves (RFC 5780).
    /// Its port differs from that of `listen`; 0 is the one after that. A server that leaves its UDP port does not use it.
    pub stun_alt: Option<SocketAddr>,
    /// The certificate for https; else one is made that only its hash vouches for, [`Server::certificate`].
    pub tls: Option<Tls>,
    /// A directory for what outlives a restart: names of rooms, and the certificate that it has made. Without it, names
    /// are free when their rooms are closed, and links with https end with the server.
    pub state: Option<PathBuf>,
    /// Where figures are served as Prometheus reads them, at `/metrics`, by http and to everybody who can connect there;
    /// default nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether a proxy stands in front, whose `X-Forwarded-For` tells from where somebody comes. Without one, anybody
    /// could claim to come from elsewhere.
    pub behind_proxy: bool,
    /// A directory with pages of an application's own, read at the start and served below `/app/`: at most 64 MiB. They may
    /// import the modules that the viewer's page is made of, such as `/room.js`.
    pub pages: Option<PathBuf>,
    /// Bounds.
    pub limits: rendezvous::Config,
    /// How long it waits for whoever connects.
    pub patience: Patience,
}

/// How long a server waits, and how much it keeps for whoever does not take it. What goes past any of these is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For TLS, and then for the head of a request.
    pub beginning: Duration,
    /// For all pages that are asked for over one connection.
    pub pages: Duration,
    /// For a word before a signalling connection is asked whether it is alive, three times; and for one message to be
    /// taken.
    pub quiet: Duration,
    /// Messages that wait for one connection.
    pub queue: usize,
}

impl Default for Patience {
    fn default() -> Self {
        let [beginning, pages, quiet] = [10, 60, 20].map(Duration::from_secs);
        Self { beginning, pages, quiet, queue: 256 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT)),
            leaves_udp: false,
            stun_alt: None,
            tls: None,
            state: None,
            metrics: None,
            behind_proxy: false,
            pages: None,
            limits: rendezvous::Config::default(),
            patience: Patience::default(),
        }
    }
}

/// A running server, on a thread of its own. Stops when dropped.
pub struct Server {
    http: SocketAddr,
    stun: Option<SocketAddr>,
    stun_alt: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    certificate: Option<CertificateHash>,
    told: mpsc::Sender<Told>,
    shell: Arc<Shell>,
    reached: Reached,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Held until the thread has written what it keeps.
    _state: Option<File>,
}

impl Server {
    /// Binds and starts serving.
    ///
    /// # Errors
    /// [`Error::Listen`] when the address is taken or not ours, and [`Error::StunAlt`] for that of STUN; [`Error::Tls`],
    /// [`Error::State`], [`Error::StateInUse`] and [`Error::Damaged`] for files that cannot be used.
    pub fn start(config: Config) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Thread { name: "server", source })?;
        let pages = config.pages.as_deref().map(pages::read).transpose()?;
        let state = config.state.as_deref().map(state::lock).transpose()?;
        let (tls, certificate) = match &config.tls {
            Some(files) => (tls::signed(files)?, None),
            None => {
                tls::self_signed(config.state.as_deref()).map(|(tls, hash)| (tls, Some(hash)))?
            }
        };
        let (tcp, udp) = runtime.block_on(bind(&config))?;
        let failed = |source| Error::Listen { address: config.listen, source };
        let http = tcp.local_addr().map_err(failed)?;
        let stun = udp.as_ref().map(Stun::first);
        let stun_alt = udp.as_ref().and_then(Stun::second);
        let metrics = match config.metrics {
            Some(address) => Some(runtime.block_on(bind_metrics(address))?),
            None => None,
        };
        let metrics_at = metrics.as_ref().and_then(|tcp| tcp.local_addr().ok());
        let (shell, reached) = (Arc::<Shell>::default(), Reached::default());
        let web = Web {
            tls,
            https_only: certificate.is_none(),
            behind_proxy: config.behind_proxy,
            max_connections: config.limits.max_connections,
            max_per_address: config.limits.max_connections_per_address,
            patience: config.patience,
            pages: pages.map(Arc::new),
            shell: Arc::clone(&shell),
            reached: reached.clone(),
        };
        let machine = machine(&config, stun.map_or(0, |stun| stun.port()))?;
        let keeper = Keeper::new(config.state, config.limits.keep_names);
        let (told, told_out) = mpsc::channel(MACHINE_QUEUE);
        let hub = (told.clone(), told_out);
        let parts =
            Parts { machine, keeper, tcp, udp, metrics, web, shell: Arc::clone(&shell), hub };
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("server".into())
            .spawn(move || runtime.block_on(serve(parts, stopped)))
            .map_err(|source| Error::Thread { name: "server", source })?;
        Ok(Self {
            http,
            stun,
            stun_alt,
            metrics: metrics_at,
            certificate,
            told,
            shell,
            reached,
            stop,
            thread: Some(thread),
            _state: state,
        })
    }

    /// The certificate it has made for itself; `None` if it was given one.
    pub fn certificate(&self) -> Option<CertificateHash> {
        self.certificate
    }

    /// Where it listens for http and https.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it answers STUN; `None` if it [leaves its port](Config::leaves_udp) to a host.
    pub fn stun(&self) -> Option<SocketAddr> {
        self.stun
    }

    /// The second address where it answers STUN, if it was given one.
    pub fn stun_alt(&self) -> Option<SocketAddr> {
        self.stun_alt
    }

    /// At which addresses clients have come in, now and later.
    pub fn reached(&self) -> Reached {
        self.reached.clone()
    }

    /// Where it serves figures; `None` if it does not.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Its figures at present, from a thread that may wait a moment for them; `None` if it has ended by a fault.
    ///
    /// # Panics
    /// In asynchronous code, which must not wait.
    pub fn figures(&self) -> Option<Figures> {
        let (asked, answer) = oneshot::channel();
        self.told.blocking_send(Told::Asked(asked)).ok()?;
        Some(self.shell.figures(answer.blocking_recv().ok()?))
    }

    /// Stops it; rooms are gone. Links between peers go on.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The machine, with the names that were kept.
fn machine(config: &Config, stun_port: u16) -> Result<Rendezvous, Error> {
    let mut limits = rendezvous::Config { stun_port, ..config.limits };
    let Some(directory) = &config.state else {
        limits.keep_names = Duration::ZERO;
        return Ok(Rendezvous::new(limits));
    };
    let mut machine = Rendezvous::new(limits);
    machine.restore_names(Instant::now(), state::names(directory, SystemTime::now())?);
    Ok(machine)
}

/// TCP and, unless that is left to a host, UDP at the same port. With port 0 the system picks one that is free for both.
async fn bind(config: &Config) -> Result<(TcpListener, Option<Stun>), Error> {
    let listen = config.listen;
    let failed = |source| Error::Listen { address: listen, source };
    let mut attempts = 0;
    loop {
        let tcp = listener(listen).map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        if config.leaves_udp {
            return Ok((tcp, None));
        }
        let udp = Endpoint::bind_to(address).map_err(failed);
        match udp.and_then(|udp| Stun::new(udp, config.stun_alt)) {
            Ok(stun) => return Ok((tcp, Some(stun))),
            Err(_) if listen.port() == 0 && attempts < 10 => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Every address of IPv6 is also every one of IPv4, as it is for the other socket and not on every system.
fn listener(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Where it says that the port is free at once after a restart, not that two may have it.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn bind_metrics(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

/// What a server is made of.
struct Parts {
    machine: Rendezvous,
    keeper: Keeper,
    tcp: TcpListener,
    udp: Option<Stun>,
    metrics: Option<TcpListener>,
    web: Web,
    shell: Arc<Shell>,
    /// The queue to the machine, both ends.
    hub: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
}

async fn serve(parts: Parts, mut stopped: watch::Receiver<bool>) {
    let Parts { machine, keeper, tcp, udp, metrics, web, shell, hub: (told, told_out) } = parts;
    let last = told.clone();
    let hub = tokio::spawn(hub::run(machine, keeper, told_out, Arc::clone(&shell)));
    let mut fronts = tokio::task::JoinSet::new();
    if let Some(tcp) = metrics {
        fronts.spawn(web::serve_metrics(tcp, told.clone(), web.patience, Arc::clone(&shell)));
    }
    if let Some(udp) = udp {
        fronts.spawn(udp.serve(shell));
    }
    fronts.spawn(web::accept(tcp, web, told));
    let _ = stopped.wait_for(|stop| *stop).await;
    fronts.abort_all();
    // What peers have said last is still passed on. Then, without the hub, every connection's task says goodbye.
    tokio::time::sleep(STOP_GRACE).await;
    let _ = last.send(Told::Stop).await;
    let _ = hub.await;
    tokio::time::sleep(STOP_GRACE).await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use lllsi_proto::invite::RoomToken;
    use lllsi_proto::rendezvous::{Blob, ClientId, Place, Request};
    use tokio_tungstenite::tungstenite;

    use super::*;

    /// What a server answers to a plain http request for its page.
    fn plain_answer(config: Config) -> String {
        let server = Server::start(Config { listen: ([127, 0, 0, 1], 0).into(), ..config });
        let server = server.expect("it starts");
        let mut stream = std::net::TcpStream::connect(server.http()).expect("it listens");
        let request = b"GET /?a HTTP/1.1\r\nHost: lan.example:7\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it takes requests");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in text");
        answer
    }

    #[test]
    fn http_leads_to_the_page_or_to_https_where_there_is_a_signed_certificate() {
        let page = plain_answer(Config::default());
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("<!doctype html>"), "{page}");

        let directory = tempfile::tempdir().expect("a temporary directory");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it works");
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("it can be written");
            path
        };
        let certificate = write("certificate.pem", made.cert.pem());
        let key = write("key.pem", made.signing_key.serialize_pem());
        let tls = Some(Tls { certificate, key });
        let redirected = plain_answer(Config { tls, ..Config::default() }).to_lowercase();
        assert!(redirected.starts_with("http/1.1 308"), "{redirected}");
        assert!(redirected.contains("location: https://lan.example:7/?a"), "{redirected}");
    }

    /// A host that sends more than its client takes: the client is let go, the host is not kept waiting.
    #[test]
    fn a_connection_that_takes_nothing_is_ended_and_counted() {
        use tungstenite::Message;
        type Socket = tungstenite::WebSocket<std::net::TcpStream>;
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let server = Server::start(config).expect("it starts");
        let connect = |request: &Request| -> Socket {
            let stream = std::net::TcpStream::connect(server.http()).expect("it listens");
            let url = format!("ws://{}{}", server.http(), crate::SIGNALLING_PATH);
            let (mut socket, _) = tungstenite::client(url, stream).expect("it speaks");
            socket.send(Message::text(request.to_json())).expect("it reads");
            let answer = socket.read().expect("it answers");
            assert!(answer.to_text().is_ok_and(|text| !text.contains("refused")), "{answer}");
            socket
        };
        let token = RoomToken::from_bytes([7; 32]);
        let version = lllsi_proto::WIRE_VERSION;
        let mut host = connect(&Request::Open { version, token, max_clients: 4, name: None });
        let place = Place::Room(token.room_id());
        let _client = connect(&Request::Enter { version, place, blob: None });
        let blob = Blob(vec![7; 40 * 1024]);
        let relay = Request::Relay { client: Some(ClientId(1)), blob }.to_json();
        let mut slow = 0;
        for _ in 0..2000 {
            host.send(Message::text(relay.as_str())).expect("it takes what a host says");
            slow = server.figures().expect("it runs").slow;
            if slow > 0 {
                break;
            }
        }
        assert_eq!(slow, 1);
    }
}
