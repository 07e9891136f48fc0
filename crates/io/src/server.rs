//! The rendezvous server: rooms and sealed signalling over WebSocket, the browser's viewer, `/healthz`, and STUN over UDP.
//!
//! One task owns the [`Rendezvous`] machine; connections talk to it by bounded queues. A connection that does not take
//! what it is sent is closed.
//!
//! ```
//! use lllsi_io::server::{Config, Server};
//!
//! let server = Server::start(Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() }).unwrap();
//! assert_ne!(server.http().port(), 0);
//! server.stop();
//! ```

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lllsi_core::rendezvous::{self, ConnectionId, Input, Output, Rendezvous};
use lllsi_core::{Transmit, stun};
use lllsi_proto::MAX_SIGNAL_BYTES;
use lllsi_proto::invite::CertificateHash;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::socket::{Batch, Endpoint};
pub use crate::tls::Tls;
use crate::{DEFAULT_PORT, Error, SIGNALLING_PATH, page, state, tls};

/// Messages that may wait for one connection.
const CONNECTION_QUEUE: usize = 256;
/// Messages that may wait for the machine; connections wait when it is full.
const MACHINE_QUEUE: usize = 1024;
/// The first byte of a TLS connection (RFC 8446, 5.1): no http request begins so.
const TLS_HANDSHAKE: u8 = 22;
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection as quiet as this is asked whether it is alive: browsers cannot ask by themselves.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Unanswered, it is gone.
const MAX_UNANSWERED: u32 = 3;
/// Between two writings of names, and after how long they are written though nothing has changed.
const NAMES_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
const RENEW_NAMES: Duration = Duration::from_secs(24 * 3600);
/// When the server stops: how long last words are passed on, and then written.
const STOP_GRACE: Duration = Duration::from_millis(150);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// TCP address for http and https, and UDP address for STUN.
    pub listen: SocketAddr,
    /// The certificate for https; else one is made that only its hash vouches for, [`Server::certificate`].
    pub tls: Option<Tls>,
    /// A directory for what outlives a restart: names of rooms, and the certificate that it has made. Without it, names
    /// are free when their rooms are closed, and links with https end with the server.
    pub state: Option<PathBuf>,
    /// Bounds.
    pub limits: rendezvous::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT)),
            tls: None,
            state: None,
            limits: rendezvous::Config::default(),
        }
    }
}

/// A running server, on a thread of its own. Stops when dropped.
pub struct Server {
    http: SocketAddr,
    stun: SocketAddr,
    certificate: Option<CertificateHash>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Binds and starts serving.
    ///
    /// # Errors
    /// [`Error::Listen`] when the address is taken or not ours; [`Error::Tls`] and [`Error::State`] for files that cannot
    /// be used.
    pub fn start(config: Config) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Thread { name: "server", source })?;
        let (tls, certificate) = match &config.tls {
            Some(files) => (tls::signed(files)?, None),
            None => {
                tls::self_signed(config.state.as_deref()).map(|(tls, hash)| (tls, Some(hash)))?
            }
        };
        let https_only = certificate.is_none();
        let (tcp, udp) = runtime.block_on(bind(config.listen))?;
        let failed = |source| Error::Listen { address: config.listen, source };
        let http = tcp.local_addr().map_err(failed)?;
        let stun = udp.local();
        let machine = machine(&config, stun.port())?;
        let keeper = Keeper::new(config.state, config.limits.keep_names);
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("server".into())
            .spawn(move || {
                runtime.block_on(serve(machine, keeper, tcp, udp, tls, https_only, stopped));
            })
            .map_err(|source| Error::Thread { name: "server", source })?;
        Ok(Self { http, stun, certificate, stop, thread: Some(thread) })
    }

    /// The certificate it has made for itself; `None` if it was given one.
    pub fn certificate(&self) -> Option<CertificateHash> {
        self.certificate
    }

    /// Where it listens for http and https.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it answers STUN.
    pub fn stun(&self) -> SocketAddr {
        self.stun
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
    state::prepare(directory)?;
    let mut machine = Rendezvous::new(limits);
    machine.restore_names(Instant::now(), state::names(directory, SystemTime::now())?);
    Ok(machine)
}

/// TCP and UDP at the same port. With port 0 the system picks one that is free for both.
async fn bind(listen: SocketAddr) -> Result<(TcpListener, Endpoint), Error> {
    let failed = |source| Error::Listen { address: listen, source };
    let mut attempts = 0;
    loop {
        let tcp = TcpListener::bind(listen).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        match Endpoint::bind_to(address) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(_) if listen.port() == 0 && attempts < 10 => attempts += 1,
            Err(source) => return Err(failed(source)),
        }
    }
}

/// What connections tell the machine's task.
enum Told {
    Connected(ConnectionId, mpsc::Sender<String>),
    Received(ConnectionId, String),
    Disconnected(ConnectionId),
    Stop,
}

/// Writes names down when they have changed: beside the machine's task, one writing at a time, and with a pause between
/// two.
struct Keeper {
    directory: Option<PathBuf>,
    /// When to write next; soon if something has changed.
    due: Instant,
    /// After how long names are written though nothing has changed.
    renew: Duration,
    /// Before the next try, after one that failed.
    pause: Duration,
    /// Tells whether it went well.
    writing: Option<JoinHandle<bool>>,
}

impl Keeper {
    fn new(directory: Option<PathBuf>, keep: Duration) -> Self {
        let renew = (keep / 2).clamp(NAMES_PAUSE, RENEW_NAMES);
        let due = Instant::now() + renew;
        Self { directory, due, renew, pause: NAMES_PAUSE, writing: None }
    }

    fn changed(&mut self) {
        self.due = self.due.min(Instant::now() + NAMES_PAUSE);
    }

    fn write(&mut self, machine: &Rendezvous) {
        let Some(directory) = self.directory.clone() else { return };
        let (claims, now) = (machine.names(Instant::now()), SystemTime::now());
        // Those of rooms that stay open are moved on by that, too.
        self.due = Instant::now() + self.renew;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let kept = state::keep_names(&directory, now, claims);
            if let Err(error) = &kept {
                tracing::error!(%error, "names of rooms are not kept");
            }
            kept.is_ok()
        }));
    }

    /// Waits until something is to be written; forever if nothing is kept.
    async fn is_due(&mut self) {
        if self.directory.is_none() {
            return std::future::pending().await;
        }
        self.written().await;
        tokio::time::sleep_until(self.due.into()).await;
    }

    /// Waits for the end of a writing, if there is one.
    async fn written(&mut self) {
        if let Some(writing) = &mut self.writing {
            let went_well = writing.await.unwrap_or(false);
            self.writing = None;
            if went_well {
                self.pause = NAMES_PAUSE;
            } else {
                self.due = self.due.min(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(MAX_PAUSE);
            }
        }
    }

    /// The last writing.
    async fn finish(mut self, machine: &Rendezvous) {
        self.written().await;
        self.write(machine);
        self.written().await;
    }
}

async fn serve(
    machine: Rendezvous,
    keeper: Keeper,
    tcp: TcpListener,
    udp: Endpoint,
    tls: TlsAcceptor,
    https_only: bool,
    mut stopped: watch::Receiver<bool>,
) {
    let (told, told_out) = mpsc::channel(MACHINE_QUEUE);
    let last = told.clone();
    let machine = tokio::spawn(run_machine(machine, keeper, told_out));
    let stun = tokio::spawn(answer_stun(udp));
    let accept = tokio::spawn(accept(tcp, tls, https_only, told));
    let _ = stopped.wait_for(|stop| *stop).await;
    accept.abort();
    stun.abort();
    // What peers have said last is still passed on. Then, without the machine, every connection's task says goodbye.
    tokio::time::sleep(STOP_GRACE).await;
    let _ = last.send(Told::Stop).await;
    let _ = machine.await;
    tokio::time::sleep(STOP_GRACE).await;
}

async fn run_machine(mut machine: Rendezvous, mut keeper: Keeper, mut told: mpsc::Receiver<Told>) {
    let mut connections: HashMap<ConnectionId, mpsc::Sender<String>> = HashMap::new();
    let mut deadline = Instant::now() + Duration::from_secs(3600);
    loop {
        let input = tokio::select! {
            told = told.recv() => match told {
                Some(Told::Connected(id, texts)) => {
                    connections.insert(id, texts);
                    Input::Connected(id)
                }
                Some(Told::Received(id, text)) => Input::Received(id, text),
                Some(Told::Disconnected(id)) => {
                    connections.remove(&id);
                    Input::Disconnected(id)
                }
                Some(Told::Stop) | None => {
                    connections.clear();
                    return keeper.finish(&machine).await;
                }
            },
            () = keeper.is_due() => {
                keeper.write(&machine);
                continue;
            }
            () = tokio::time::sleep_until(deadline.into()) => Input::Timeout,
        };
        machine.handle_input(Instant::now(), input);
        deadline = loop {
            match machine.poll_output() {
                Output::Send(to, text) => {
                    let full =
                        connections.get(&to).is_some_and(|texts| texts.try_send(text).is_err());
                    if full {
                        // Its task ends when its queue is dropped, and tells the machine.
                        connections.remove(&to);
                    }
                }
                Output::Close(id) => drop(connections.remove(&id)),
                Output::NamesChanged => keeper.changed(),
                Output::Timeout(at) => break at,
            }
        };
    }
}

/// Answers from the address that was asked: a NAT lets nothing else in.
async fn answer_stun(mut socket: Endpoint) {
    let mut batch = Batch::default();
    loop {
        let mut answers = Vec::new();
        let received = match socket.readable().await {
            Ok(()) => socket.receive(|source, destination, request| {
                answers.extend(stun::answer(source, request).map(|contents| Transmit {
                    source: Some(destination),
                    destination: source,
                    contents,
                }));
            }),
            Err(error) => Err(error),
        };
        if let Err(error) = received {
            tracing::debug!(%error, "receiving for STUN failed");
        }
        for answer in &answers {
            batch.push(&socket, answer).await;
        }
        batch.flush(&socket).await;
    }
}

#[derive(Clone)]
struct Shared {
    told: mpsc::Sender<Told>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

async fn accept(tcp: TcpListener, tls: TlsAcceptor, https_only: bool, told: mpsc::Sender<Told>) {
    let shared = Shared { told, next: Arc::default() };
    let router = page::add_to(Router::new())
        .route("/healthz", get(|| async { "ok\n" }))
        .route(SIGNALLING_PATH, get(upgrade))
        .with_state(shared);
    // Who has a certificate that browsers know means to be spoken to with it.
    let plain = if https_only { Router::new().fallback(redirect) } else { router.clone() };
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, tls.clone(), router.clone(), plain.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: others may leave meanwhile.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves http or https, whichever the first byte begins.
async fn connection(stream: TcpStream, tls: TlsAcceptor, router: Router, plain: Router) {
    let _ = stream.set_nodelay(true);
    let accepted = tokio::time::timeout(TLS_TIMEOUT, async {
        let mut first = [0];
        let read = stream.peek(&mut first).await?;
        let accepted: (Box<dyn Duplex>, Router) = if read == 1 && first[0] == TLS_HANDSHAKE {
            (Box::new(tls.accept(stream).await?), router)
        } else {
            (Box::new(stream), plain)
        };
        std::io::Result::Ok(accepted)
    });
    match accepted.await {
        Ok(Ok((stream, router))) => http(stream, router).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection came to nothing"),
        Err(_) => tracing::debug!("a connection said nothing in time"),
    }
}

/// Bytes both ways, in clear or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn http(stream: Box<dyn Duplex>, router: Router) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(TLS_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    if let Err(error) = served {
        tracing::debug!(%error, "http connection failed");
    }
}

/// Where http is not spoken: the same address with https.
async fn redirect(headers: HeaderMap, uri: Uri) -> Response {
    match headers.get(header::HOST).and_then(|host| host.to_str().ok()) {
        Some(host) => Redirect::permanent(&format!("https://{host}{uri}")).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn upgrade(State(shared): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_SIGNAL_BYTES)
        .max_frame_size(MAX_SIGNAL_BYTES)
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .on_upgrade(move |socket| talk(socket, shared))
}

/// One connection from beginning to end.
async fn talk(mut socket: WebSocket, shared: Shared) {
    let id = ConnectionId(shared.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let (texts_in, mut texts) = mpsc::channel(CONNECTION_QUEUE);
    if shared.told.send(Told::Connected(id, texts_in)).await.is_err() {
        return;
    }
    let mut unanswered = 0;
    loop {
        tokio::select! {
            text = texts.recv() => match text {
                Some(text) => if !send(&mut socket, Message::text(text)).await { break },
                // The machine let it go; what was queued has been sent.
                None => {
                    send(&mut socket, Message::Close(None)).await;
                    break;
                }
            },
            message = tokio::time::timeout(KEEPALIVE, socket.recv()) => match message {
                Ok(Some(Ok(message))) => {
                    unanswered = 0;
                    match message {
                        Message::Text(text) => {
                            if shared.told.send(Told::Received(id, text.to_string())).await.is_err() { break }
                        }
                        // These only show that it is alive.
                        Message::Ping(_) | Message::Pong(_) => {}
                        Message::Binary(_) | Message::Close(_) => break,
                    }
                }
                Err(_) if unanswered < MAX_UNANSWERED => {
                    unanswered += 1;
                    if !send(&mut socket, Message::Ping(Default::default())).await { break }
                }
                _ => break,
            },
        }
    }
    let _ = shared.told.send(Told::Disconnected(id)).await;
}

/// `false` if the peer is gone, or does not take what it is sent.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(tokio::time::timeout(KEEPALIVE, socket.send(message)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

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
}
