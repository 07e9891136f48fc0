//! Load for a rendezvous server: many rooms and clients at a steady rate, and how long each had to wait.
//!
//! Connections say what hosts and clients say first, and stay. What is measured is the time from when a join was due
//! until the server's answer: a server that falls behind cannot hide it.
//!
//! [`fanout`] is load for a host in place of a server.

pub mod fanout;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use lllsi_proto::invite::{RoomId, RoomToken};
use lllsi_proto::rendezvous::{Place, Reply, Request};
use lllsi_proto::{MAX_SIGNAL_BYTES, WIRE_VERSION};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::{Error, SIGNALLING_PATH};

/// Connections that come from one address: a server allows not too many.
const PER_ADDRESS: u32 = 100;
/// Nothing takes longer that goes well.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What came of one kind of connections.
#[derive(Debug, Clone, Default)]
pub struct Wave {
    /// From when each was due until the server's answer, sorted.
    pub waited: Vec<Duration>,
    /// Those that came to nothing, and the first reason.
    pub failed: (u32, Option<String>),
    /// From the first to the last.
    pub took: Duration,
}

impl Wave {
    /// The time within which `percent` of those that went well had their answer.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let rank = (percent / 100.0 * self.waited.len() as f64).ceil() as usize;
        self.waited.get(rank.saturating_sub(1)).copied()
    }

    /// In a second.
    pub fn rate(&self) -> f64 {
        self.waited.len() as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Connections that stay until this is dropped.
pub struct Standing {
    stop: watch::Sender<()>,
    runtime: tokio::runtime::Runtime,
    server: Arc<Target>,
    made: u32,
}

struct Target {
    address: SocketAddr,
    url: String,
}

impl Standing {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::Thread`] if no runtime can be made; [`Error::Load`] for an address that cannot be used.
    pub fn new(server: &str) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Thread { name: "load", source })?;
        let wrong = |detail: String| Error::Load { detail: format!("{server}: {detail}") };
        let uri: Uri = server.parse().map_err(|e| wrong(format!("{e}")))?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(wrong("an address that begins with http:// is needed".into()));
        };
        let port = uri.port_u16().unwrap_or(80);
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut found = runtime
            .block_on(tokio::net::lookup_host((name, port)))
            .map_err(|e| wrong(e.to_string()))?;
        let address = found.next().ok_or_else(|| wrong("no address is known for it".into()))?;
        // Whoever is not there is not asked a thousand times.
        std::net::TcpStream::connect_timeout(&address, TIMEOUT)
            .map_err(|e| wrong(format!("nobody listens there: {e}")))?;
        let url = format!("ws://{host}:{port}{SIGNALLING_PATH}");
        let server = Arc::new(Target { address, url });
        Ok(Self { stop: watch::Sender::new(()), runtime, server, made: 0 })
    }

    /// Opens rooms, `rate` in a second.
    pub fn open(&mut self, rooms: u32, rate: u32) -> Wave {
        let request = |n| Request::Open {
            version: WIRE_VERSION,
            token: token(n),
            max_clients: 64,
            name: None,
        };
        self.wave((0..rooms).map(request), rate)
    }

    /// Enters each of the rooms that were opened, so many times.
    pub fn enter(&mut self, rooms: u32, clients: u32, rate: u32) -> Wave {
        let request = |n| {
            let room: RoomId = token(n % rooms.max(1)).room_id();
            Request::Enter { version: WIRE_VERSION, place: Place::Room(room), blob: None }
        };
        self.wave((0..rooms * clients).map(request), rate)
    }

    fn wave(&mut self, requests: impl ExactSizeIterator<Item = Request>, rate: u32) -> Wave {
        let number = requests.len();
        let (told, mut heard) = mpsc::channel(1024);
        let mut wave = Wave::default();
        let (server, stop, made) = (&self.server, &self.stop, &mut self.made);
        self.runtime.block_on(async {
            let begin = Instant::now();
            let spawn = async {
                for (n, request) in requests.enumerate() {
                    let due = begin + Duration::from_secs(1) / rate.max(1) * n as u32;
                    tokio::time::sleep_until(due.into()).await;
                    let one = join(Arc::clone(server), *made, request, due, told.clone());
                    let mut stopped = stop.subscribe();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = one => {}
                            _ = stopped.changed() => {}
                        }
                    });
                    *made += 1;
                }
            };
            let gather = async {
                for _ in 0..number {
                    match heard.recv().await {
                        Some(Ok(waited)) => wave.waited.push(waited),
                        Some(Err(reason)) => {
                            wave.failed.0 += 1;
                            wave.failed.1.get_or_insert(reason);
                        }
                        None => break,
                    }
                }
            };
            tokio::join!(spawn, gather);
            wave.took = begin.elapsed();
        });
        wave.waited.sort();
        wave
    }

    /// Keeps everything connected for a while.
    pub fn stay(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }
}

fn token(number: u32) -> RoomToken {
    let mut bytes = [0xb7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    RoomToken::from_bytes(bytes)
}

/// One connection: tells when it has its answer, then stays.
async fn join(
    server: Arc<Target>,
    number: u32,
    request: Request,
    due: Instant,
    told: mpsc::Sender<Result<Duration, String>>,
) {
    let attempt = tokio::time::timeout(TIMEOUT, begin(&server, number, &request));
    let outcome = attempt.await.unwrap_or_else(|_| Err("no answer in time".into()));
    match outcome {
        Ok(mut socket) => {
            let _ = told.send(Ok(due.elapsed())).await;
            drop(told);
            while let Some(Ok(_)) = socket.next().await {}
        }
        Err(reason) => drop(told.send(Err(reason)).await),
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

async fn begin(server: &Target, number: u32, request: &Request) -> Result<Socket, String> {
    let text = |e: std::io::Error| e.to_string();
    let socket = match server.address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(text)?;
    if let IpAddr::V4(ip) = server.address.ip()
        && ip.is_loopback()
    {
        // A machine has sixteen million of them for itself.
        let [_, b, c, d] = (number / PER_ADDRESS + 2).to_be_bytes();
        socket.bind((Ipv4Addr::new(127, b, c, d), 0).into()).map_err(text)?;
    }
    let stream = socket.connect(server.address).await.map_err(text)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_SIGNAL_BYTES))
        .read_buffer_size(1024)
        .write_buffer_size(0);
    let made = client_async_with_config(server.url.as_str(), stream, Some(config)).await;
    let (mut socket, _) = made.map_err(|e| e.to_string())?;
    socket.send(Message::text(request.to_json())).await.map_err(|e| e.to_string())?;
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => match Reply::parse(&text) {
                Ok(Reply::Opened { .. } | Reply::Entered { .. }) => return Ok(socket),
                Ok(Reply::Refused { reason }) => return Err(reason.to_string()),
                other => return Err(format!("unexpected: {other:?}")),
            },
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the server closed the connection".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::server::{Config, Server};

    #[test]
    fn a_flood_from_one_address_does_not_hinder_others() {
        let mut config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        config.limits.max_connections_per_address = 5;
        let server = Server::start(config).expect("it starts");
        // From 127.0.0.1: five are taken in, though they say nothing, and no more.
        let connect = |_| std::net::TcpStream::connect(server.http()).expect("it listens");
        let flood: Vec<_> = (0..50).map(connect).collect();
        let mut last = flood.last().expect("there are fifty");
        last.set_read_timeout(Some(TIMEOUT)).expect("it can be set");
        assert_eq!(last.read(&mut [0]).expect("it is ended"), 0);
        // From 127.0.0.2.
        let mut standing =
            Standing::new(&format!("http://{}", server.http())).expect("it is there");
        let opened = standing.open(5, 1000);
        assert_eq!((opened.waited.len(), opened.failed), (5, (0, None)));
        // A sixth from there is told why.
        let sixth = standing.open(6, 1000);
        let told = sixth.failed.1.expect("it is refused");
        assert!(told.contains("from this address") || told.contains("reset"), "{told}");
    }

    #[test]
    fn rooms_are_opened_and_entered_and_stay() {
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let server = Server::start(config).expect("it starts");
        let mut standing =
            Standing::new(&format!("http://{}", server.http())).expect("it is there");
        let opened = standing.open(20, 1000);
        assert_eq!((opened.waited.len(), opened.failed), (20, (0, None)));
        let entered = standing.enter(20, 2, 1000);
        assert_eq!((entered.waited.len(), entered.failed.clone()), (40, (0, None)));
        assert!(entered.percentile(99.0) >= entered.percentile(50.0) && entered.rate() > 1.0);
        drop(standing);
        let missing = Standing::new("http://127.0.0.1:9").err().map(|error| error.to_string());
        assert!(missing.is_some_and(|told| told.contains("nobody listens")));
        assert!(Standing::new("https://x").is_err());
    }
}
