//! http, https and WebSockets: from a TCP connection to what the hub is told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lllsi_core::network;
use lllsi_core::rendezvous::ConnectionId;
use lllsi_proto::MAX_SIGNAL_BYTES;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite;

use super::Patience;
use super::hub::Told;
use super::pages::{self, Pages};
use crate::metrics::{Shell, count};
use crate::{Reached, SIGNALLING_PATH, metrics, page};

/// The first byte of a TLS connection (RFC 8446, 5.1): no http request begins so.
const TLS_HANDSHAKE: u8 = 22;
/// Who may ask for figures at once.
const MAX_WATCHERS: usize = 16;
/// Unanswered, it is gone.
const MAX_UNANSWERED: u32 = 3;

#[derive(Clone)]
struct Shared {
    told: mpsc::Sender<Told>,
    next: Arc<AtomicU64>,
    behind_proxy: bool,
    patience: Patience,
    shell: Arc<Shell>,
}

/// How connections are served.
pub(super) struct Web {
    pub(super) tls: TlsAcceptor,
    /// Http leads to https, where browsers know the certificate.
    pub(super) https_only: bool,
    /// A proxy in front tells from where somebody comes.
    pub(super) behind_proxy: bool,
    /// Connections at once, and from one address, that have not become signalling ones.
    pub(super) max_connections: usize,
    pub(super) max_per_address: u32,
    pub(super) patience: Patience,
    /// An application's own.
    pub(super) pages: Option<Arc<Pages>>,
    pub(super) shell: Arc<Shell>,
    pub(super) reached: Reached,
}

/// From where a connection comes.
#[derive(Debug, Clone, Copy)]
struct CameFrom(IpAddr);

/// Accepts connections, up to the limits.
pub(super) async fn accept(tcp: TcpListener, web: Web, told: mpsc::Sender<Told>) {
    let (shell, patience) = (Arc::clone(&web.shell), web.patience);
    let shared =
        Shared { told, next: Arc::default(), behind_proxy: web.behind_proxy, patience, shell };
    let waits = Waits { patience, shell: Arc::clone(&web.shell) };
    let router = pages::add_to(page::add_to(Router::new()), web.pages.clone())
        .route("/healthz", get(|| async { "ok\n" }))
        .route(SIGNALLING_PATH, get(upgrade))
        .with_state(shared);
    let plain = if web.https_only { Router::new().fallback(redirect) } else { router.clone() };
    let (mut connections, mut crowd, mut failing) = (JoinSet::new(), Crowd::default(), false);
    loop {
        tokio::select! {
            accepted = tcp.accept() => match accepted {
                Ok((stream, from)) => {
                    failing = false;
                    count(&web.shell.accepted);
                    stream.local_addr().into_iter().for_each(|at| web.reached.note(at.ip()));
                    let from = from.ip();
                    let many = crowd.number(from) >= web.max_per_address && !web.behind_proxy;
                    if many || connections.len() >= web.max_connections {
                        count(&web.shell.dropped);
                        continue;
                    }
                    let serve = connection(stream, from, web.tls.clone(), router.clone(), plain.clone(), waits.clone());
                    crowd.add(connections.spawn(serve).id(), from);
                }
                Err(error) => {
                    // Out of descriptors, most likely: others may leave meanwhile. Told once.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = connections.join_next_with_id() => crowd.remove(match ended {
                Ok((task, ())) => task,
                Err(fault) => fault.id(),
            }),
        }
    }
}

/// Connections that are not signalling ones yet, by where they come from.
#[derive(Default)]
struct Crowd {
    numbers: HashMap<IpAddr, u32>,
    networks: HashMap<task::Id, IpAddr>,
}

impl Crowd {
    fn number(&self, from: IpAddr) -> u32 {
        self.numbers.get(&network(from)).copied().unwrap_or_default()
    }

    fn add(&mut self, task: task::Id, from: IpAddr) {
        *self.numbers.entry(network(from)).or_default() += 1;
        self.networks.insert(task, network(from));
    }

    fn remove(&mut self, task: task::Id) {
        if let Some(network) = self.networks.remove(&task)
            && let Entry::Occupied(mut number) = self.numbers.entry(network)
        {
            *number.get_mut() -= 1;
            if *number.get() == 0 {
                number.remove();
            }
        }
    }
}

/// Serves http or https, whichever the first byte begins.
async fn connection(
    stream: TcpStream,
    from: IpAddr,
    tls: TlsAcceptor,
    router: Router,
    plain: Router,
    waits: Waits,
) {
    let _ = stream.set_nodelay(true);
    let accepted = tokio::time::timeout(waits.patience.beginning, async {
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
        Ok(Ok((stream, router))) => http(stream, from, router, &waits).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection came to nothing"),
        Err(_) => count(&waits.shell.late),
    }
}

/// Bytes both ways, in clear or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Speaks http, and notes in each request from where it comes.
struct Noted {
    from: IpAddr,
    inner: TowerToHyperService<Router>,
}

impl hyper::service::Service<Request<Incoming>> for Noted {
    type Response = Response;
    type Error = Infallible;
    type Future =
        <TowerToHyperService<Router> as hyper::service::Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(CameFrom(self.from));
        self.inner.call(request)
    }
}

/// How long connections that are not signalling ones may take, and who counts them.
#[derive(Clone)]
struct Waits {
    patience: Patience,
    shell: Arc<Shell>,
}

async fn http(stream: Box<dyn Duplex>, from: IpAddr, router: Router, waits: &Waits) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(waits.patience.beginning);
    let service = Noted { from, inner: TowerToHyperService::new(router) };
    // One that becomes a signalling connection ends here, and goes on in a task of its own.
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    match tokio::time::timeout(waits.patience.pages, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_timeout() => count(&waits.shell.late),
        Ok(Err(error)) => tracing::debug!(%error, "http connection failed"),
        Err(_) => count(&waits.shell.late),
    }
}

/// Figures, for whoever watches over the server.
pub(super) async fn serve_metrics(
    tcp: TcpListener,
    told: mpsc::Sender<Told>,
    patience: Patience,
    shell: Arc<Shell>,
) {
    let waits = Waits { patience, shell: Arc::clone(&shell) };
    let figures = move || {
        let (told, shell) = (told.clone(), Arc::clone(&shell));
        async move {
            let (asked, answer) = oneshot::channel();
            let _ = told.send(Told::Asked(asked)).await;
            match answer.await {
                Ok(counters) => metrics::text(&shell.figures(counters)).into_response(),
                Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
    };
    let router = Router::new().route("/metrics", get(figures));
    let mut watchers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = tcp.accept(), if watchers.len() < MAX_WATCHERS => match accepted {
                Ok((stream, from)) => {
                    let (router, waits) = (router.clone(), waits.clone());
                    watchers.spawn(async move { http(Box::new(stream), from.ip(), router, &waits).await });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = watchers.join_next() => {}
        }
    }
}

/// Where http is not spoken: the same address with https.
async fn redirect(headers: HeaderMap, uri: Uri) -> Response {
    match headers.get(header::HOST).and_then(|host| host.to_str().ok()) {
        Some(host) => Redirect::permanent(&format!("https://{host}{uri}")).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn upgrade(
    State(shared): State<Shared>,
    Extension(CameFrom(address)): Extension<CameFrom>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let told = if shared.behind_proxy { forwarded_for(&headers) } else { None };
    let from = told.unwrap_or(address);
    upgrade
        .max_message_size(MAX_SIGNAL_BYTES)
        .max_frame_size(MAX_SIGNAL_BYTES)
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .on_upgrade(move |socket| talk(socket, from, shared))
}

/// The address that the nearest proxy has seen: it adds to the end of what others may have made up.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// One connection from beginning to end.
async fn talk(mut socket: WebSocket, from: IpAddr, shared: Shared) {
    let id = ConnectionId(shared.next.fetch_add(1, Ordering::Relaxed));
    let (texts_in, mut texts) = mpsc::channel(shared.patience.queue.max(1));
    if shared.told.send(Told::Connected(id, from, texts_in)).await.is_err() {
        return;
    }
    let mut unanswered = 0;
    let pause = shared.patience.quiet;
    let mut quiet = Box::pin(tokio::time::sleep(pause));
    loop {
        tokio::select! {
            text = texts.recv() => match text {
                Some(text) => match send(&mut socket, pause, Message::text(text)).await {
                    Sent::Taken => {}
                    Sent::Gone => break,
                    Sent::Late => {
                        // Otherwise the hub has counted it already.
                        if !texts.is_closed() {
                            count(&shared.shell.slow);
                        }
                        break;
                    }
                },
                // The machine let it go; what was queued has been sent.
                None => {
                    let _ = send(&mut socket, pause, Message::Close(None)).await;
                    break;
                }
            },
            message = socket.recv() => match message {
                Some(Ok(message)) => {
                    unanswered = 0;
                    quiet.as_mut().reset(Instant::now() + pause);
                    match message {
                        Message::Text(text) => {
                            if shared.told.send(Told::Received(id, text.to_string())).await.is_err() { break }
                        }
                        // These only show that it is alive.
                        Message::Ping(_) | Message::Pong(_) => {}
                        Message::Binary(_) | Message::Close(_) => break,
                    }
                }
                Some(Err(error)) => {
                    if is_too_long(error) {
                        count(&shared.shell.oversized);
                    }
                    break;
                }
                None => break,
            },
            () = &mut quiet => {
                if unanswered == MAX_UNANSWERED {
                    count(&shared.shell.unanswered);
                    break;
                }
                unanswered += 1;
                quiet.as_mut().reset(Instant::now() + pause);
                if !matches!(send(&mut socket, pause, Message::Ping(Default::default())).await, Sent::Taken) { break }
            }
        }
    }
    let _ = shared.told.send(Told::Disconnected(id)).await;
}

fn is_too_long(error: axum::Error) -> bool {
    let error = error.into_inner().downcast::<tungstenite::Error>();
    error.is_ok_and(|error| matches!(*error, tungstenite::Error::Capacity(_)))
}

/// What became of a message.
enum Sent {
    Taken,
    Gone,
    /// The peer does not take what it is sent.
    Late,
}

async fn send(socket: &mut WebSocket, within: Duration, message: Message) -> Sent {
    match tokio::time::timeout(within, socket.send(message)).await {
        Ok(Ok(())) => Sent::Taken,
        Ok(Err(_)) => Sent::Gone,
        Err(_) => Sent::Late,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::SinkExt;
    use lllsi_core::rendezvous::Counters;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::client_async;

    use super::*;

    const UPGRADE: &str = "GET /v1/rendezvous HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

    fn patience() -> Patience {
        Patience::default()
    }

    /// A server's front, and what it tells the hub.
    async fn front(max_connections: usize) -> (SocketAddr, Arc<Shell>, mpsc::Receiver<Told>) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = tcp.local_addr().expect("it has one");
        let (told, hub) = mpsc::channel(16);
        let shell = Arc::<Shell>::default();
        let web = Web {
            pages: None,
            tls: crate::tls::self_signed(None).expect("it can be made").0,
            https_only: false,
            behind_proxy: false,
            max_connections,
            max_per_address: 100,
            patience: patience(),
            shell: Arc::clone(&shell),
            reached: Reached::default(),
        };
        tokio::spawn(accept(tcp, web, told));
        (address, shell, hub)
    }

    /// Waits until the server ends a connection.
    async fn ended(mut stream: TcpStream) {
        let mut rest = Vec::new();
        // Reset or closed.
        let _ = stream.read_to_end(&mut rest).await;
    }

    #[tokio::test]
    async fn whoever_does_not_get_to_the_point_is_let_go() {
        let (address, shell, _hub) = front(100).await;
        let page = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for beginning in [&b""[..], &[TLS_HANDSHAKE], b"GET / HTTP/1.1\r\nHo", page] {
            let begin = Instant::now();
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(beginning).await.expect("it reads");
            // Real time would be ten seconds for each.
            tokio::time::pause();
            ended(stream).await;
            let took = begin.elapsed();
            assert!(took < 3 * patience().beginning, "{took:?}");
            tokio::time::resume();
        }
        assert_eq!(shell.figures(Counters::default()).late, 4);
    }

    #[tokio::test]
    async fn whoever_asks_for_pages_without_end_is_let_go() {
        let (address, shell, _hub) = front(100).await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let (begin, mut served, mut answer) = (Instant::now(), 0, [0; 4096]);
        tokio::time::pause();
        loop {
            let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
            match stream.read(&mut answer).await {
                Ok(1..) if asked.is_ok() => served += 1,
                _ => break,
            }
            tokio::time::sleep(patience().beginning / 2).await;
        }
        let took = begin.elapsed();
        assert!(served > 1 && took < 2 * patience().pages, "{served} in {took:?}");
        assert_eq!(shell.figures(Counters::default()).late, 1);
    }

    #[tokio::test]
    async fn connections_over_the_number_are_dropped_and_counted() {
        let (address, shell, _hub) = front(2).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(TcpStream::connect(address).await.expect("it listens"));
        }
        ended(TcpStream::connect(address).await.expect("it listens")).await;
        let figures = shell.figures(Counters::default());
        assert_eq!((figures.accepted, figures.dropped), (3, 1));
    }

    #[tokio::test]
    async fn a_connection_that_answers_no_ping_is_ended() {
        let (address, shell, mut hub) = front(100).await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let begin = Instant::now();
        stream.write_all(UPGRADE.as_bytes()).await.expect("it reads");
        let Some(Told::Connected(id, _, texts)) = hub.recv().await else { panic!("not told") };
        tokio::time::pause();
        ended(stream).await;
        let took = begin.elapsed();
        assert!(took >= patience().quiet * (MAX_UNANSWERED + 1), "{took:?}");
        assert!(matches!(hub.recv().await, Some(Told::Disconnected(gone)) if gone == id));
        assert_eq!(shell.figures(Counters::default()).unanswered, 1);
        drop(texts);
    }

    #[tokio::test]
    async fn a_message_over_the_bound_ends_its_connection() {
        let (address, shell, mut hub) = front(100).await;
        let stream = TcpStream::connect(address).await.expect("it listens");
        let (mut socket, _) =
            client_async("ws://x/v1/rendezvous", stream).await.expect("it speaks");
        let Some(Told::Connected(id, _, _texts)) = hub.recv().await else { panic!("not told") };
        for (more, is_taken) in [(0, true), (1, false)] {
            let text = "x".repeat(MAX_SIGNAL_BYTES + more);
            socket.send(tungstenite::Message::text(text)).await.expect("it reads");
            let taken = match hub.recv().await {
                Some(Told::Received(..)) => true,
                Some(Told::Disconnected(gone)) if gone == id => false,
                _ => panic!("something else was told"),
            };
            assert_eq!(taken, is_taken);
        }
        assert_eq!(shell.figures(Counters::default()).oversized, 1);
    }

    #[test]
    fn a_proxy_is_believed_about_the_last_address_alone() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded_for(&headers), None);
        headers.append("x-forwarded-for", "10.0.0.1, 198.51.100.7".parse().expect("a value"));
        assert_eq!(forwarded_for(&headers), "198.51.100.7".parse().ok());
        headers.append("x-forwarded-for", "2001:db8::1".parse().expect("a value"));
        assert_eq!(forwarded_for(&headers), "2001:db8::1".parse().ok());
        headers.append("x-forwarded-for", "nonsense".parse().expect("a value"));
        assert_eq!(forwarded_for(&headers), None);
    }
}
