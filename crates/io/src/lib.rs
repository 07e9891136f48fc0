//! LLLSI's shell: the real network around the machines of `lllsi-core`.
//!
//! | module | what it is |
//! |---|---|
//! | [`doctor`] | what the network lets this machine do, in findings |
//! | [`load`] | many connections at once, to see what a server can take |
//! | [`peer`] | one thread that owns a machine, its socket and its connection to the server |
//! | [`server`] | the rendezvous server: WebSocket, health, STUN |
//!
//! The only thing between a machine and the world is [`peer::spawn`]; `crates/sim` replaces it by a virtual network.

pub mod doctor;
pub mod load;
pub mod peer;
pub mod server;

mod calm;
mod dial;
mod metrics;
mod network;
mod page;
mod signal;
mod socket;
mod state;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use network::{Reached, local_addresses};
pub use page::files as page_files;
pub use state::room_token;

/// The port the original LLLSI used, and this one's default.
pub const DEFAULT_PORT: u16 = 36542;

/// Where the rendezvous server listens for WebSockets.
pub const SIGNALLING_PATH: &str = "/v1/rendezvous";

/// What can fail around the machines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The UDP socket could not be set up.
    #[error("no UDP socket: {0}")]
    Socket(#[source] std::io::Error),
    /// The UDP port of the stream cannot be had.
    #[error("UDP port {port} cannot be used for the stream: {source}")]
    MediaPort {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("the {name} thread did not start: {source}")]
    Thread {
        /// Which.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The server's address is taken or not ours.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The second address for STUN cannot be used.
    #[error("the second address for STUN cannot be {address}: {reason}")]
    StunAlt {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        reason: StunAltError,
    },
    /// A certificate or key could not be used.
    #[error("cannot use the TLS file {}: {detail}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// What outlives a run could not be read or written.
    #[error("cannot use {}: {detail}", path.display())]
    State {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Another server uses the directory.
    #[error("another server of this machine uses {}", path.display())]
    StateInUse {
        /// The directory.
        path: PathBuf,
    },
    /// What was kept makes no sense.
    #[error("{} is damaged ({detail}); without it {loss}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
        /// What is lost if it is removed.
        loss: &'static str,
    },
    /// No certificate could be made.
    #[error("no certificate for https can be made: {detail}")]
    Certificate {
        /// Why.
        detail: String,
    },
    /// A server cannot be put under load.
    #[error("no load can be made for {detail}")]
    Load {
        /// Why.
        detail: String,
    },
    /// The system gave no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

/// Why a server cannot have a second address for STUN.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StunAltError {
    /// It stands for none, or for several.
    #[error("it is not the address of one machine")]
    NotOne,
    /// The server listens there anyway.
    #[error("its IP address is the one that the server listens at")]
    SameIp,
    /// The server listens there anyway.
    #[error("its port is the one that the server listens at")]
    SamePort,
    /// There is no port after that of the server.
    #[error("there is no port after the one that the server listens at")]
    NoPort,
    /// One is of IPv4 and one of IPv6.
    #[error("the server does not listen at addresses of its family")]
    OtherFamily,
    /// Another machine may have it.
    #[error("this machine does not have it")]
    NotHere,
    /// Another program has the port.
    #[error("its port is in use")]
    Taken,
    /// The system refuses.
    #[error("{0}")]
    Socket(#[source] std::io::Error),
}

/// Lets this process have as many files and sockets open as the system allows it.
#[cfg(unix)]
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Lets this process have as many files and sockets open as the system allows it.
#[cfg(not(unix))]
pub fn raise_file_limit() {}

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Error::Random(e.to_string()))?;
    Ok(bytes)
}
