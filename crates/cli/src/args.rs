//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use lllsi::media::encode;
use lllsi::{CertificateHash, DEFAULT_PORT, RoomName, ServerLimits, ServerPatience, Size};

use crate::failure::exit_codes;

/// Low latency live streams, peer to peer and encrypted, that no server can see.
#[derive(Debug, Parser)]
#[command(name = "lllsi", version, max_term_width = 100, after_help = exit_codes(), propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Write one JSON object per line to stdout instead of text.
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    /// Log more to stderr; repeat for more still.
    #[arg(short, long, global = true, display_order = 900, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work on this machine alone: server, host and viewer in one.
    Demo(Demo),
    /// Publish your screen to whoever has the invite link, or a room's name and password.
    Host(Host),
    /// Watch a stream by its invite link, or by its room's name and password.
    Join(Join),
    /// Run a rendezvous server: it introduces peers and cannot see their sessions.
    Serve(Serve),
    /// See what this machine, its network and a server are fit for, and what to do where they are not.
    Doctor(Doctor),
    /// Show the hashes of the browser's page, and write its files for a web server of your own.
    Page(Page),
    /// See what a rendezvous server can take, and what viewers cost a host.
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Open rooms and enter them at a steady rate, and tell how long each had to wait.
    Rendezvous(BenchRendezvous),
    /// Send frames to many viewers on this machine, and tell what a packet costs.
    Fanout(BenchFanout),
    /// The viewers of `fanout`.
    #[command(hide = true)]
    FanoutSinks {
        /// How many.
        #[arg(long)]
        viewers: u32,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchFanout {
    /// Viewers, all in one other process.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) viewers: u32,
    /// How long frames are sent, in all.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Frames of 14 packets that each viewer gets in a second: 30 are 4 Mbit/s.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) fps: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchRendezvous {
    /// The server, by http.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:36542")]
    pub(crate) server: String,
    /// Rooms to open.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rooms: u32,
    /// Clients that enter each.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) clients: u32,
    /// Connections made in a second.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// The server's process, if it is on this machine: its memory is told too.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Rendezvous server: the way there is looked at, and the NAT of this network. No other server is asked, and without this
    /// option none.
    #[arg(long, value_name = "URL", value_parser = server_url)]
    pub(crate) server: Option<String>,
    /// The certificate of an https server that has made its own, as `lllsi serve` and the host print it.
    #[arg(long, value_name = "HASH", requires = "server")]
    pub(crate) server_certificate: Option<CertificateHash>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Page {
    /// Write the files to this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// TCP address for http or https, and UDP address for STUN. Default: all addresses, port 36542.
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(crate) listen: Option<SocketAddr>,
    /// A second IP address of this machine, for STUN alone: with it `lllsi doctor` names the kind of a NAT. Its port is another
    /// than that of --listen; default the next one.
    #[arg(long, value_name = "ADDR", value_parser = second_address)]
    pub(crate) stun_alt: Option<SocketAddr>,
    /// A directory for what outlives a restart: whose the names of rooms are, and the certificate that is made where none
    /// is given. Without it, names are free once their rooms are closed, and links with https end with this run.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Certificate chain (PEM) for https. Without it one is made that browsers will not know.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key (PEM) for https.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Serve figures for Prometheus at http://ADDR/metrics, to everybody who can connect there: 9364 is that port of this
    /// machine alone.
    #[arg(long, value_name = "ADDR", value_parser = metrics_address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// A directory with pages of your own application: served below /app/. They can import the viewer's modules, such as
    /// /room.js.
    #[arg(long, value_name = "DIR")]
    pub(crate) pages: Option<PathBuf>,
    /// A proxy stands in front: its X-Forwarded-For tells where somebody comes from. Never without one.
    #[arg(long)]
    pub(crate) behind_proxy: bool,
    /// With --json: how often to write a line of figures, in seconds, while there is something new to tell. No line tells
    /// who somebody is, or from where.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) log_every: u64,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// How long one server waits.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Patience")]
pub(crate) struct Patience {
    /// Time for TLS, and then for the head of a request, such as 10s.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) begin_within: Duration,
    /// Time in which one connection may ask for pages.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) pages_within: Duration,
    /// Quiet after which a connection is asked whether it is alive, and the time for taking a message.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) quiet: Duration,
    /// Messages that wait for one connection.
    #[arg(long, value_name = "N", default_value_t = ServerPatience::default().queue)]
    pub(crate) max_waiting: usize,
}

impl From<&Patience> for ServerPatience {
    fn from(patience: &Patience) -> Self {
        Self {
            beginning: patience.begin_within,
            pages: patience.pages_within,
            quiet: patience.quiet,
            queue: patience.max_waiting,
        }
    }
}

/// What one server, and one address, may take.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().max_connections)]
    pub(crate) max_connections: usize,
    /// Rooms at once.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().max_rooms)]
    pub(crate) max_rooms: usize,
    /// Names of rooms at once, with those kept for their owners.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().max_names)]
    pub(crate) max_names: usize,
    /// Clients in one room at once.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().max_clients_per_room)]
    pub(crate) max_clients_per_room: u32,
    /// Connections at once from one address (an IPv4 address, or an IPv6 /64).
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().max_connections_per_address)]
    pub(crate) max_connections_per_address: u32,
    /// New connections a minute from one address.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().connections_per_minute)]
    pub(crate) connections_per_minute: u32,
    /// Rooms opened or entered a minute from one address.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().joins_per_minute)]
    pub(crate) joins_per_minute: u32,
    /// Messages a minute from one client.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().client_messages_per_minute)]
    pub(crate) client_messages_per_minute: u32,
    /// Messages a minute from one host.
    #[arg(long, value_name = "N", default_value_t = ServerLimits::default().host_messages_per_minute)]
    pub(crate) host_messages_per_minute: u32,
    /// Time for the first message of a connection, such as 10s.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) first_word_within: Duration,
}

impl From<&Limits> for ServerLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            max_connections: limits.max_connections,
            max_rooms: limits.max_rooms,
            max_names: limits.max_names,
            max_clients_per_room: limits.max_clients_per_room,
            max_connections_per_address: limits.max_connections_per_address,
            connections_per_minute: limits.connections_per_minute,
            joins_per_minute: limits.joins_per_minute,
            client_messages_per_minute: limits.client_messages_per_minute,
            host_messages_per_minute: limits.host_messages_per_minute,
            first_word: limits.first_word_within,
            ..Self::default()
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Host {
    /// Rendezvous server. Without it, one is started here.
    #[arg(long, value_name = "URL", conflicts_with = "listen", value_parser = server_url)]
    pub(crate) server: Option<String>,
    /// The certificate of an https server that has made its own, as `lllsi serve` prints it.
    #[arg(long, value_name = "HASH", requires = "server")]
    pub(crate) server_certificate: Option<CertificateHash>,
    /// Where the server started here listens, by TCP and UDP. Default: all addresses, port 36542, or another if that is taken.
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub(crate) listen: Option<SocketAddr>,
    /// The UDP port that the stream leaves from, for a firewall that lets one through. Default: that of the server started here;
    /// with --server one of the system's choice.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) media_port: Option<u16>,
    /// `screen`, `screen:DISPLAY` (such as `screen:1`), or `test` for a test card.
    #[arg(long, value_name = "SOURCE", default_value = "screen")]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) picture: Picture,
    /// A name for the room, besides its link: whoever knows it and the password may join. The password is generated
    /// unless it is given by --password-file, --ask-password or the environment variable LLLSI_PASSWORD.
    #[arg(long, value_name = "NAME")]
    pub(crate) room: Option<RoomName>,
    /// A file with the room's password in its first line.
    #[arg(long, value_name = "FILE", requires = "room")]
    pub(crate) password_file: Option<PathBuf>,
    /// Ask for the room's password.
    #[arg(long, requires = "room", conflicts_with = "password_file")]
    pub(crate) ask_password: bool,
    /// A directory for the secret by which the name stays yours. Default: lllsi in your directory for state.
    #[arg(long, value_name = "DIR", requires_all = ["room", "server"])]
    pub(crate) state: Option<PathBuf>,
    /// Let clients wait until you admit them. Type `help` while it runs.
    #[arg(long)]
    pub(crate) lobby: bool,
    /// How long the invite link holds, such as 90s, 30m, 2h or 7d. Whoever has been let in stays.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) invite_expires: Option<Duration>,
    /// How many clients are let in with the invite link.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) invite_uses: Option<u32>,
    /// A name for this stream, shown in the status line.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Viewers at once, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) max_viewers: u32,
    /// End after this many seconds.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Picture {
    /// Frames per second at most, 1 to 60.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) fps: u32,
    /// Bits per second at most for each viewer, such as `5M` or `800k`; 100k to 200M.
    #[arg(long, value_name = "RATE", default_value = "5M", value_parser = bitrate)]
    pub(crate) bitrate: u32,
    /// Bits per second at most for all viewers together, such as `8M`; no limit by default.
    #[arg(long, value_name = "RATE", value_parser = bitrate)]
    pub(crate) uplink: Option<u32>,
    /// Size of the test card (default 1280x720), or within which the screen is to fit.
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) size: Option<Size>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The invite link. A command line can be seen by other users of this machine: leave the link out and you are
    /// asked for it, or put it into the environment variable LLLSI_LINK.
    #[arg(env = "LLLSI_LINK", hide_env_values = true)]
    pub(crate) link: Option<String>,
    /// In place of a link: the name of the room. You are asked for its password, unless it is given by --password-file
    /// or in the environment variable LLLSI_PASSWORD.
    #[arg(long, value_name = "NAME", requires = "server")]
    pub(crate) room: Option<RoomName>,
    /// The rendezvous server that the room is at.
    #[arg(long, value_name = "URL", requires = "room", value_parser = server_url)]
    pub(crate) server: Option<String>,
    /// The certificate of an https server that has made its own, as `lllsi serve` and the host print it.
    #[arg(long, value_name = "HASH", requires = "server")]
    pub(crate) server_certificate: Option<CertificateHash>,
    /// A file with the room's password in its first line.
    #[arg(long, value_name = "FILE", requires = "room")]
    pub(crate) password_file: Option<PathBuf>,
    /// Show no window.
    #[arg(long)]
    pub(crate) headless: bool,
    /// Begin with the whole screen; F11 leaves and enters it.
    #[arg(long, conflicts_with_all = ["headless", "no_decode"])]
    pub(crate) fullscreen: bool,
    /// What the host is shown.
    #[arg(long, default_value = "viewer")]
    pub(crate) name: String,
    /// When the host is not heard any more, try for so many seconds to reach it again.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) patience: u64,
    /// Leave after this many seconds.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
    /// Write the last picture to this PNG file at the end.
    #[arg(long, value_name = "FILE.png", conflicts_with = "no_decode")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Receive without decoding and without a window, for measurements with many viewers.
    #[arg(long)]
    pub(crate) no_decode: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Show no window. On a machine without a display there is none anyway.
    #[arg(long)]
    pub(crate) headless: bool,
    /// End after this many seconds; without it, Ctrl-C or closing the window ends it.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
    /// `screen`, `screen:DISPLAY` or `test`. Default: the screen where there is one, else the test card.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<Source>,
    #[command(flatten)]
    pub(crate) picture: Picture,
}

/// What is shown, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source(pub(crate) lllsi::Source);

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "test" => Ok(Self(lllsi::Source::TestCard)),
            None if text == "screen" => Ok(Self(lllsi::Source::Screen(None))),
            Some(("screen", display)) if !display.is_empty() => {
                // `screen:1` and `screen::1` both mean display `:1`; `screen:host:1` names another machine's.
                let display =
                    if display.contains(':') { display.to_owned() } else { format!(":{display}") };
                Ok(Self(lllsi::Source::Screen(Some(display))))
            }
            _ => Err("use `screen`, `screen:DISPLAY` or `test`".into()),
        }
    }
}

/// `ADDR:PORT`, `ADDR`, or `PORT`.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, DEFAULT_PORT)))
        .or_else(|_| text.parse().map(|port| SocketAddr::from(([0u16; 8], port))))
        .map_err(|_: std::num::ParseIntError| {
            "use ADDRESS:PORT, ADDRESS or PORT, such as 0.0.0.0:36542".into()
        })
}

/// `ADDR:PORT` or `ADDR`, whose port 0 stands for that after the server's.
fn second_address(text: &str) -> Result<SocketAddr, String> {
    let ip = || text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0));
    text.parse().or_else(|_| ip()).map_err(|_: std::net::AddrParseError| {
        "use ADDRESS or ADDRESS:PORT, such as 203.0.113.2".into()
    })
}

/// `ADDR:PORT`, or a port of this machine alone.
fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse().map(|port| SocketAddr::from(([127, 0, 0, 1], port))))
        .map_err(|_: std::num::ParseIntError| "use ADDRESS:PORT or PORT, such as 9364".into())
}

/// A server's base URL.
fn server_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with(['/', ':', '#']) => Ok(text.to_owned()),
        _ => Err("use http://HOST:PORT or https://HOST:PORT".into()),
    }
}

/// A picture's size that can be coded.
fn size(text: &str) -> Result<Size, String> {
    let possible = encode::MIN_SIDE..=encode::MAX_SIDE;
    match text.parse::<Size>() {
        Ok(size) if possible.contains(&size.width) && possible.contains(&size.height) => Ok(size),
        _ => {
            let (least, most) = (possible.start(), possible.end());
            Err(format!("use a size from {least}x{least} to {most}x{most}, such as 1280x720"))
        }
    }
}

/// A number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let parse = |(unit, seconds): (char, u64)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds)
    };
    match units.into_iter().find_map(parse) {
        Some(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("use a number with s, m, h or d, up to 365d".into()),
    }
}

/// A rate with an optional `k` or `M`.
fn bitrate(text: &str) -> Result<u32, String> {
    let (number, factor) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1.0), |number| (number, 1e6)),
    };
    let rate =
        number.parse::<f64>().map_err(|_| "use a number, such as 5M, 2.5M or 800k")? * factor;
    if !(100e3..=200e6).contains(&rate) {
        return Err("use a rate from 100k to 200M".into());
    }
    Ok(rate as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn sources_rates_and_addresses_are_understood() {
        let screen = |display: &str| Ok(Source(lllsi::Source::Screen(Some(display.into()))));
        assert_eq!("screen:1".parse(), screen(":1"));
        assert_eq!("screen::1.0".parse(), screen(":1.0"));
        assert_eq!("test".parse(), Ok(Source(lllsi::Source::TestCard)));
        assert!("camera".parse::<Source>().is_err() && "screen:".parse::<Source>().is_err());
        assert_eq!(
            (bitrate("5M"), bitrate("800k"), bitrate("2500000")),
            (Ok(5_000_000), Ok(800_000), Ok(2_500_000))
        );
        assert!(bitrate("fast").is_err() && bitrate("1").is_err() && bitrate("NaN").is_err());
        assert_eq!(listen_address("127.0.0.1"), Ok("127.0.0.1:36542".parse().unwrap()));
        assert_eq!(listen_address("8080"), Ok("[::]:8080".parse().unwrap()));
        assert!(listen_address("somewhere").is_err());
        assert_eq!(second_address("203.0.113.2"), Ok("203.0.113.2:0".parse().unwrap()));
        assert_eq!(second_address("[2001:db8::2]:7"), Ok("[2001:db8::2]:7".parse().unwrap()));
        assert!(second_address("8080").is_err());
    }
}
