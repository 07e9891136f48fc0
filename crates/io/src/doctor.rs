//! What the network lets this machine do: its addresses, the way to a server, and the NAT before it.
//!
//! ```
//! use lllsi_io::doctor::{self, State};
//!
//! for finding in doctor::examine(None).unwrap() {
//!     println!("{}: {}", finding.state.name(), finding.message);
//!     if let (State::Problem, Some(advice)) = (finding.state, &finding.advice) {
//!         println!("{advice}");
//!     }
//! }
//! ```

mod here;
mod probe;
mod server;
mod words;

use std::fmt;
use std::net::IpAddr;

pub use lllsi_core::nat::{Filtering, Nat, NatKind};

use crate::Error;
use crate::peer::Rendezvous;

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// As it should be.
    Ok,
    /// Streams work, but some things do not, or not everywhere.
    Warning,
    /// Streams do not work before this is mended.
    Problem,
}

impl State {
    /// The name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// An address of this machine, and whether peers try it.
    Interface,
    /// The way to other networks.
    Route,
    /// A packet filter of this machine.
    Firewall,
    /// The server's name.
    Name,
    /// The server, by TCP.
    Tcp,
    /// What the server is there for: rooms.
    Signalling,
    /// The server, by UDP.
    Stun,
    /// The kind of the NAT.
    Nat,
    /// How large packets may be.
    PathSize,
    /// The screen.
    Capture,
    /// The encoder.
    Encoder,
    /// The viewer's window.
    Window,
    /// Sound.
    Sound,
}

impl Topic {
    /// The name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Route => "route",
            Self::Firewall => "firewall",
            Self::Name => "name",
            Self::Tcp => "tcp",
            Self::Signalling => "signalling",
            Self::Stun => "stun",
            Self::Nat => "nat",
            Self::PathSize => "path_size",
            Self::Capture => "capture",
            Self::Encoder => "encoder",
            Self::Window => "window",
            Self::Sound => "sound",
        }
    }

    /// The topics that it stands with.
    pub fn area(self) -> Area {
        match self {
            Self::Interface | Self::Route | Self::Firewall => Area::Network,
            Self::Name | Self::Tcp | Self::Signalling | Self::Stun => Area::Server,
            Self::Nat | Self::PathSize => Area::Path,
            Self::Capture | Self::Encoder | Self::Window | Self::Sound => Area::Media,
        }
    }
}

/// Topics that stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Area {
    /// This machine's network.
    Network,
    /// The server.
    Server,
    /// What is between.
    Path,
    /// Pictures and sound.
    Media,
}

/// Something that was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// The family of addresses that it is about, if it is about one.
    pub family: Option<Family>,
    /// How good it is.
    pub state: State,
    /// In one sentence, or some.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The figures behind [`Topic::Nat`].
    pub nat: Option<Nat>,
}

impl Finding {
    /// With a sentence.
    pub fn new(topic: Topic, state: State, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { topic, family: None, state, message, advice: None, nat: None }
    }

    /// That something is as it should be.
    pub fn ok(topic: Topic, message: impl Into<String>) -> Self {
        Self::new(topic, State::Ok, message)
    }

    /// That something is missing, without which streams work nevertheless.
    pub fn warning(topic: Topic, message: impl Into<String>) -> Self {
        Self::new(topic, State::Warning, message)
    }

    /// That something keeps streams from working.
    pub fn problem(topic: Topic, message: impl Into<String>) -> Self {
        Self::new(topic, State::Problem, message)
    }

    /// With what to do about it.
    pub fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// About addresses of this family.
    pub fn family(self, family: Family) -> Self {
        Self { family: Some(family), ..self }
    }
}

/// Looks at this machine's network and, if one is named, at the way to a server: blocks for less than five seconds, and without a
/// server hardly at all. Sends nothing to any other machine than the server.
///
/// # Errors
/// [`Error::Thread`], [`Error::Socket`] and [`Error::Random`] for what the system refuses. What is wrong with the network or the
/// server is a finding.
pub fn examine(server: Option<&Rendezvous>) -> Result<Vec<Finding>, Error> {
    let mut findings = here::look(server.is_some_and(Rendezvous::is_loopback));
    if let Some(server) = server {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Thread { name: "doctor", source })?;
        let found = runtime.block_on(server::look(server));
        // Without waiting for a name that is still looked up.
        runtime.shutdown_background();
        findings.extend(found?);
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::server::{Config, Server};

    fn to(url: String) -> Rendezvous {
        Rendezvous { url, certificate: None }
    }

    fn of(findings: &[Finding], topic: Topic) -> Vec<&Finding> {
        findings.iter().filter(|finding| finding.topic == topic).collect()
    }

    #[test]
    #[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is this machine
    fn a_server_of_this_machine_is_found_in_order() {
        let listen = ([127, 0, 0, 1], 0).into();
        let stun_alt = Some(([127, 0, 0, 2], 0).into());
        let server = Server::start(Config { listen, stun_alt, ..Config::default() });
        let server = server.expect("it starts");
        let findings = examine(Some(&to(format!("http://{}", server.http())))).expect("it looks");
        for topic in [Topic::Tcp, Topic::Signalling, Topic::Stun, Topic::PathSize] {
            let found = of(&findings, topic);
            assert!(found.len() == 1 && found[0].state == State::Ok, "{findings:?}");
        }
        let [nat] = of(&findings, Topic::Nat)[..] else { panic!("{findings:?}") };
        let figures = nat.nat.expect("it has figures");
        assert_eq!((nat.family, nat.state), (Some(Family::V4), State::Ok));
        assert_eq!((figures.kind, figures.filtering), (NatKind::None, Some(Filtering::Open)));
        assert_eq!(server.figures().expect("it runs").counters.opened, 1);
    }

    #[test]
    fn a_server_that_leaves_its_udp_port_to_a_host_is_no_problem() {
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let server = Server::start(Config { leaves_udp: true, ..config }).expect("it starts");
        let findings = examine(Some(&to(format!("http://{}", server.http())))).expect("it looks");
        let [stun] = of(&findings, Topic::Stun)[..] else { panic!("{findings:?}") };
        assert_eq!(stun.state, State::Ok);
        assert!(of(&findings, Topic::Nat).is_empty(), "{findings:?}");
    }

    #[test]
    fn a_server_that_is_not_there_is_named_soon() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|tcp| tcp.local_addr());
        let began = Instant::now();
        let url = format!("http://{}", free.expect("some port is free"));
        let findings = examine(Some(&to(url))).expect("it looks");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        for topic in [Topic::Tcp, Topic::Stun] {
            let found = of(&findings, topic);
            assert!(found.len() == 1 && found[0].state == State::Problem, "{findings:?}");
            assert!(found[0].advice.is_some(), "{findings:?}");
        }
        assert!(of(&findings, Topic::Nat).is_empty(), "{findings:?}");
    }

    #[test]
    fn a_name_without_an_address_and_a_url_that_is_none_are_problems() {
        for url in ["http://no.such.name.invalid", "nonsense"] {
            let findings = examine(Some(&to(url.to_owned()))).expect("it looks");
            let [name] = of(&findings, Topic::Name)[..] else { panic!("{findings:?}") };
            assert_eq!(name.state, State::Problem, "{url}");
        }
    }

    #[test]
    fn without_a_server_this_machine_is_looked_at() {
        let findings = examine(None).expect("it looks");
        assert!(!of(&findings, Topic::Interface).is_empty(), "{findings:?}");
        assert!(!of(&findings, Topic::Route).is_empty(), "{findings:?}");
        let is_about_here = |finding: &Finding| finding.topic.area() == Area::Network;
        assert!(findings.iter().all(is_about_here), "{findings:?}");
    }
}
