//! A peer's connection to the rendezvous server: one WebSocket, from the machine's commands to its events.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use lllsi_core::{SignalCommand, SignalEvent};
use lllsi_proto::invite::{CertificateHash, RoomToken};
use lllsi_proto::rendezvous::{Reply, Request};
use lllsi_proto::{MAX_SIGNAL_BYTES, WIRE_VERSION};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::network::is_local;
use crate::server::Duplex;
use crate::{SIGNALLING_PATH, dial, tls};

/// Commands and events that may wait. A machine sends a handful per client.
const QUEUE: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A ping after this much quiet; an answer is due within as much again.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// And within this where the connection is probed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages that are read of a server until it has said whether a room is open.
const FIRST_MESSAGES: usize = 8;

/// Where a rendezvous server is, and how it proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    /// Its base URL, `http://…` or `https://…`.
    pub url: String,
    /// The only certificate to accept; else what the system trusts. For `https://` alone.
    pub certificate: Option<CertificateHash>,
}

impl Rendezvous {
    /// Whether its URL names this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.url.split("//").nth(1).unwrap_or(&self.url);
        ["localhost", "127.", "[::1]"].iter().any(|near| host.starts_with(near))
    }
}

/// The machine's end: hands over commands, gets events.
pub(crate) struct Signalling {
    server: Rendezvous,
    events: mpsc::Receiver<SignalEvent>,
    orders: Option<mpsc::Sender<Order>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Signalling {
    pub(crate) fn new(server: Rendezvous) -> Self {
        Self { server, events: nothing(), orders: None, task: None }
    }

    pub(crate) fn command(&mut self, command: SignalCommand) {
        match command {
            SignalCommand::Connect => {
                let (orders_in, orders) = mpsc::channel(QUEUE);
                let (events_in, events) = mpsc::channel(QUEUE);
                self.task = Some(tokio::spawn(run(self.server.clone(), orders, events_in)));
                (self.orders, self.events) = (Some(orders_in), events);
            }
            SignalCommand::Send(text) => self.order(Order::Send(text)),
            SignalCommand::Probe => self.order(Order::Probe),
            SignalCommand::Close => (self.orders, self.events) = (None, nothing()),
        }
    }

    fn order(&mut self, order: Order) {
        // A server that does not take what it is sent is as good as gone: the task ends, and says so.
        self.orders = self.orders.take().filter(|orders| orders.try_send(order).is_ok());
    }

    /// The next event; `None` while no connection is wanted.
    pub(crate) async fn event(&mut self) -> Option<SignalEvent> {
        self.events.recv().await
    }

    /// Waits until what was queued before [`SignalCommand::Close`] is written.
    pub(crate) async fn closed(self) {
        if let Some(task) = self.task {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, task).await;
        }
    }
}

/// What a connection is to do.
#[derive(Debug)]
enum Order {
    Send(String),
    Probe,
}

fn nothing() -> mpsc::Receiver<SignalEvent> {
    mpsc::channel(1).1
}

/// One connection from beginning to end.
async fn run(
    server: Rendezvous,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<SignalEvent>,
) {
    let attempt = tokio::select! {
        attempt = tokio::time::timeout(CONNECT_TIMEOUT, connect(&server, &events)) => attempt,
        // Nothing is sent before it is connected: it is not wanted any more.
        _ = orders.recv() => return,
    };
    let reason = match attempt {
        Ok(Ok(Connection { socket, servers, local })) => {
            let _ = events.send(SignalEvent::Connected { servers }).await;
            talk(socket, local, orders, &events).await
        }
        Ok(Err(reason)) => reason,
        Err(_) => format!("{} does not answer", strip_fragment(&server.url)),
    };
    // Nobody listens any more if the machine closed the connection itself.
    let _ = events.send(SignalEvent::Disconnected { reason }).await;
}

/// A URL as it may be shown and sent: without what is behind `#`.
fn strip_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or(url)
}

type Socket = WebSocketStream<Box<dyn Duplex>>;

/// A connection that stands.
struct Connection {
    socket: Socket,
    /// The server's addresses, the one that this is to first.
    servers: Vec<SocketAddr>,
    /// Our end of it.
    local: IpAddr,
}

/// Where a server's URL leads.
pub(crate) struct Target {
    uri: Uri,
    /// As it stands in the URL: an IPv6 address in brackets.
    host: String,
    pub(crate) port: u16,
    tls: bool,
}

impl Target {
    pub(crate) fn of(url: &str) -> Result<Self, String> {
        let url = strip_fragment(url);
        let uri: Uri = url.parse().map_err(|e| format!("{url} is no URL: {e}"))?;
        let host = uri.host().ok_or_else(|| format!("{url} names no server"))?.to_owned();
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { uri, host, port, tls })
    }

    /// The name or address of the server.
    pub(crate) fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

async fn connect(
    server: &Rendezvous,
    events: &mpsc::Sender<SignalEvent>,
) -> Result<Connection, String> {
    let target = Target::of(&server.url)?;
    let Target { host, port, .. } = &target;
    let servers = dial::resolve(target.name(), *port).await;
    let servers = servers.map_err(|e| format!("{host}:{port}: {e}"))?;
    let _ = events.send(SignalEvent::Resolved { servers: servers.clone() }).await;
    connect_to(&target, servers, server.certificate).await
}

/// Connects to a server whose addresses are known.
async fn connect_to(
    target: &Target,
    mut servers: Vec<SocketAddr>,
    certificate: Option<CertificateHash>,
) -> Result<Connection, String> {
    let Target { uri, host, port, tls } = target;
    let failed = |e| format!("{host}:{port}: {e}");
    let (tcp, connected) = dial::connect(&servers).await.map_err(failed)?;
    let _ = tcp.set_nodelay(true);
    let local = tcp.local_addr().map_err(failed)?.ip().to_canonical();
    servers.sort_by_key(|server| *server != connected);
    let stream: Box<dyn Duplex> = if *tls {
        let name = ServerName::try_from(target.name().to_owned());
        let name = name.map_err(|e| format!("{host}: {e}"))?;
        let stream = tls::connector(certificate)?.connect(name, tcp).await;
        Box::new(stream.map_err(|e| format!("no TLS with {host}:{port}: {}", explained(&e)))?)
    } else {
        Box::new(tcp)
    };
    let scheme = if *tls { "wss" } else { "ws" };
    let path = uri.path().trim_end_matches('/');
    let request = format!("{scheme}://{host}:{port}{path}{SIGNALLING_PATH}");
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_SIGNAL_BYTES))
        .max_frame_size(Some(MAX_SIGNAL_BYTES))
        .read_buffer_size(4096);
    let (socket, _) = client_async_with_config(request, stream, Some(config))
        .await
        .map_err(|e| format!("{host}:{port} is no LLLSI server: {e}"))?;
    Ok(Connection { socket, servers, local })
}

/// Opens a room at a server, and closes it again: does the server do what it is there for? Returns the port at which it answers
/// STUN; 0 if it does not.
pub(crate) async fn try_room(
    target: &Target,
    servers: Vec<SocketAddr>,
    certificate: Option<CertificateHash>,
    token: RoomToken,
) -> Result<u16, String> {
    let mut socket = connect_to(target, servers, certificate).await?.socket;
    let open = Request::Open { version: WIRE_VERSION, token, max_clients: 1, name: None };
    send(&mut socket, Message::text(open.to_json())).await?;
    // Pings may come before.
    for _ in 0..FIRST_MESSAGES {
        let text = match socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(error.to_string()),
            None => break,
        };
        let _ = socket.close(None).await;
        return match Reply::parse(&text) {
            Ok(Reply::Opened { stun_port, .. }) => Ok(stun_port),
            Ok(Reply::Refused { reason }) => Err(reason.to_string()),
            Ok(_) => Err("the server says something else than whether the room is open".into()),
            Err(error) => Err(error.to_string()),
        };
    }
    Err("the server ends the connection before it has opened a room".into())
}

/// Why TLS failed, in words for a person where it is about certificates.
fn explained(error: &std::io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        )) => "its certificate is not the one that was told".into(),
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "nobody this system trusts has signed its certificate".into()
        }
        _ => error.to_string(),
    }
}

/// Carries texts both ways until one side ends it. Gives the reason.
async fn talk(
    mut socket: Socket,
    local: IpAddr,
    mut orders: mpsc::Receiver<Order>,
    events: &mpsc::Sender<SignalEvent>,
) -> String {
    let mut answered = true;
    let mut quiet = Box::pin(tokio::time::sleep(KEEPALIVE));
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Send(text)) => {
                    if let Err(reason) = send(&mut socket, Message::text(text)).await {
                        return reason;
                    }
                }
                Some(Order::Probe) => {
                    if !is_local(local) {
                        return "this machine has lost the address of the connection".into();
                    }
                    // One that is under way keeps its time.
                    if !std::mem::replace(&mut answered, false) {
                        continue;
                    }
                    quiet.as_mut().reset(Instant::now() + PROBE_TIMEOUT);
                    if let Err(reason) = send(&mut socket, Message::Ping(Bytes::new())).await {
                        return reason;
                    }
                }
                None => {
                    let _ = socket.close(None).await;
                    return "closed".into();
                }
            },
            message = socket.next() => match message {
                Some(Ok(message)) => {
                    answered = true;
                    quiet.as_mut().reset(Instant::now() + KEEPALIVE);
                    if let Message::Text(text) = message
                        && events.send(SignalEvent::Received(text.to_string())).await.is_err()
                    {
                        return "closed".into();
                    }
                }
                Some(Err(error)) => return error.to_string(),
                None => return "the server closed the connection".into(),
            },
            () = &mut quiet => {
                if !answered {
                    return "the server does not answer any more".into();
                }
                answered = false;
                quiet.as_mut().reset(Instant::now() + KEEPALIVE);
                if let Err(reason) = send(&mut socket, Message::Ping(Bytes::new())).await {
                    return reason;
                }
            }
        }
    }
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), String> {
    match tokio::time::timeout(KEEPALIVE, socket.send(message)).await {
        Ok(sent) => sent.map_err(|e| e.to_string()),
        Err(_) => Err("the server does not take what it is sent".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::accept_async;

    /// A peer's connection to a server that this test plays.
    async fn connected() -> (Signalling, WebSocketStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        let mut signalling = Signalling::new(Rendezvous { url, certificate: None });
        signalling.command(SignalCommand::Connect);
        let (stream, _) = listener.accept().await.expect("it connects");
        let server = accept_async(stream).await.expect("it speaks WebSocket");
        let events = [signalling.event().await, signalling.event().await];
        let [Some(SignalEvent::Resolved { .. }), Some(SignalEvent::Connected { .. })] = events
        else {
            panic!("{events:?}")
        };
        (signalling, server)
    }

    async fn disconnected(signalling: &mut Signalling) -> String {
        loop {
            match signalling.event().await {
                Some(SignalEvent::Resolved { .. }) => {}
                Some(SignalEvent::Disconnected { reason }) => return reason,
                event => panic!("{event:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_says_too_much_at_once_is_left() {
        let (mut signalling, mut server) = connected().await;
        let most = "x".repeat(MAX_SIGNAL_BYTES);
        server.send(Message::text(most.as_str())).await.expect("it reads");
        let event = signalling.event().await;
        assert!(matches!(event, Some(SignalEvent::Received(text)) if text == most));
        server.send(Message::text(most + "x")).await.expect("it reads");
        let reason = disconnected(&mut signalling).await;
        assert!(reason.contains("too long"), "{reason}");
    }

    #[tokio::test]
    async fn a_server_that_takes_nothing_is_left() {
        let (mut signalling, server) = connected().await;
        // More than waits here and in the system's buffers.
        for _ in 0..4 * QUEUE {
            signalling.command(SignalCommand::Send("x".repeat(16 * 1024)));
            tokio::task::yield_now().await;
        }
        assert!(signalling.orders.is_none());
        // What was queued is still tried, for as long as a server may take.
        tokio::time::pause();
        let reason = disconnected(&mut signalling).await;
        assert!(reason.contains("does not take"), "{reason}");
        drop(server);
    }

    #[tokio::test]
    async fn a_server_that_answers_no_ping_is_left_though_it_is_spoken_to() {
        let (mut signalling, server) = connected().await;
        tokio::time::pause();
        let reason = loop {
            tokio::select! {
                event = signalling.events.recv() => match event {
                    Some(SignalEvent::Disconnected { reason }) => break reason,
                    event => panic!("{event:?}"),
                },
                () = tokio::time::sleep(KEEPALIVE / 2) => {
                    signalling.command(SignalCommand::Send("x".into()));
                }
            }
        };
        assert!(reason.contains("does not answer"), "{reason}");
        drop(server);
    }

    #[tokio::test]
    async fn a_connection_that_is_probed_shows_soon_whether_it_stands() {
        let (mut signalling, mut server) = connected().await;
        tokio::time::pause();
        let begin = Instant::now();
        signalling.command(SignalCommand::Probe);
        let pinged = server.next().await;
        assert!(matches!(pinged, Some(Ok(Message::Ping(_)))), "{pinged:?}");
        server.flush().await.expect("it takes the answer");
        let silence = tokio::time::timeout(2 * PROBE_TIMEOUT, signalling.event()).await;
        assert!(silence.is_err(), "{silence:?}");
        // This time nobody reads the ping.
        signalling.command(SignalCommand::Probe);
        let reason = disconnected(&mut signalling).await;
        assert!(reason.contains("does not answer"), "{reason}");
        assert!(begin.elapsed() < KEEPALIVE);
        drop(server);
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        let mut signalling = Signalling::new(Rendezvous { url, certificate: None });
        signalling.command(SignalCommand::Connect);
        let held = listener.accept().await.expect("it connects");
        tokio::time::pause();
        let reason = disconnected(&mut signalling).await;
        assert!(reason.contains("does not answer"), "{reason}");
        drop(held);
    }
}
