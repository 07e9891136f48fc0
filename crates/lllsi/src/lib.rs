//! LLLSI: low latency live streams, peer to peer and encrypted, that no server can see.
//!
//! A [`Host`] publishes a screen to many [`Client`]s. A small rendezvous [`Server`] introduces them and may go away
//! after that. Everything the host's friends need is in one invite link, or in a room's name and password.
//!
//! ```
//! use lllsi::{Client, ClientEvent, Host, HostEvent, Server, ServerConfig, Size, Source};
//! use std::time::{Duration, Instant};
//!
//! # fn main() -> Result<(), lllsi::Error> {
//! let soon = || Instant::now() + Duration::from_secs(20);
//! let server = Server::start(ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() })?;
//!
//! let host = Host::builder()
//!     .server(format!("http://{}", server.http()))
//!     .source(Source::TestCard)
//!     .size(Size::new(320, 240))
//!     .start()?;
//! assert!(matches!(host.recv(soon()), Some(HostEvent::Open)));
//!
//! let client = Client::join(host.link()).name("Ada").start()?;
//! let picture = loop {
//!     match client.recv(soon()) {
//!         Some(ClientEvent::Frame(frame)) => break frame.picture.expect("decoding is on by default"),
//!         Some(_) => {}
//!         None => panic!("no picture in time"),
//!     }
//! };
//! assert_eq!(picture.size(), Size::new(320, 240));
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! | here | rests on |
//! |---|---|
//! | [`Host`]: capture and encode threads, net thread | `lllsi-media`, `lllsi-io` |
//! | [`Client`]: net thread, decode thread | `lllsi-media`, `lllsi-io` |
//! | [`Server`] | `lllsi-io` |
//! | [`Doctor`]: what this machine and its network are fit for | `lllsi-io`, `lllsi-media` |
//!
//! The machines that speak the protocols are in `lllsi-core`, without any IO; [`media`] has the pieces for pictures.

pub mod doctor;

mod client;
mod host;
mod mailbox;
mod play;
mod pool;
mod publish;
mod stages;
mod streams;

pub use client::{Client, ClientBuilder, ClientEvent, ClientStats, Frame, Pass};
pub use doctor::{Diagnosis, Doctor};
pub use host::{Host, HostBuilder, HostEvent, HostStats, Source};
pub use lllsi_core::client::CloseReason as ClientCloseReason;
pub use lllsi_core::host::{
    CloseReason as HostCloseReason, Counters as TurnedAway, LeftReason, Room, ViewerId,
    ViewerState, ViewerStatus,
};
pub use lllsi_core::rendezvous::{Config as ServerLimits, Counters as ServerCounters};
pub use lllsi_core::seal::ShortCode;
pub use lllsi_core::streams::{Published, Status as StreamsStatus, Subscribed};
pub use lllsi_core::{Arrivals, Ignored, LinkError, Path, Tried};
pub use lllsi_io::server::{
    Config as ServerConfig, Figures as ServerFigures, Patience as ServerPatience, Server, Tls,
};
pub use lllsi_io::{
    DEFAULT_PORT, Error as IoError, Reached, StunAltError, load, local_addresses, page_files,
    raise_file_limit,
};
pub use lllsi_media as media;
pub use lllsi_media::picture::Size;
pub use lllsi_proto::Error as LinkTextError;
pub use lllsi_proto::invite::{CertificateHash, Invite};
pub use lllsi_proto::rendezvous::Refusal;
pub use lllsi_proto::room::{Password, RoomName};
pub use lllsi_proto::rtsmp::{EndReason, Kind, Mode};
pub use lllsi_proto::sealed::PartReason;
/// Containers, hand-offs between threads, and typed actions: for an application's own parts.
pub use lllsi_stream as stream;
pub use stages::{Stages, Summary};
pub use streams::{
    Item, Key, MapEvent, MapStream, PassedOn, Publish, RemoteStream, Stream, StreamCounts,
    StreamError, Value, VectorStream,
};

/// What can fail in setting up a host, client or server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The link, or another text, was not understood.
    #[error(transparent)]
    Link(#[from] lllsi_proto::Error),
    /// Sockets, threads or files.
    #[error(transparent)]
    Io(#[from] lllsi_io::Error),
    /// Capture, encoder or decoder.
    #[error(transparent)]
    Media(#[from] lllsi_media::Error),
    /// A host was not told which server to use.
    #[error(
        "no rendezvous server given: start one with `Server::start`, or name one with `.server(url)`"
    )]
    NoServer,
    /// This cannot be a room's name, or a password.
    #[error(transparent)]
    Room(lllsi_proto::Error),
    /// A server's address is not one.
    #[error("the server's address `{server}` must begin with http:// or https://")]
    ServerAddress {
        /// As it was given.
        server: String,
    },
    /// A certificate proves nothing where none is shown.
    #[error("a server's certificate needs an address that begins with https://, not {server}")]
    CertificateWithoutHttps {
        /// The server as it was named.
        server: String,
    },
}

/// A server's base URL, as it is used: without slashes at its end.
fn server_url(url: String, certificate: Option<CertificateHash>) -> Result<String, Error> {
    let server = url.trim().trim_end_matches('/').to_owned();
    if !server.starts_with("http://") && !server.starts_with("https://") {
        return Err(Error::ServerAddress { server });
    }
    if certificate.is_some() && !server.starts_with("https://") {
        return Err(Error::CertificateWithoutHttps { server });
    }
    Ok(server)
}
