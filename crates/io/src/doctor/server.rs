//! The way to a server: its name, TCP, rooms, UDP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use lllsi_proto::invite::RoomToken;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Family, Finding, State, Topic, probe, words};
use crate::peer::Rendezvous;
use crate::signal::{Target, try_room};
use crate::{Error, dial, random};

/// For looking up a name.
const RESOLVE: Duration = Duration::from_secs(1);
/// For a connection, and for a room.
const CONNECT: Duration = Duration::from_millis(1300);
/// Addresses of one family that are tried.
const ADDRESSES: usize = 4;

/// An address of the server, and what became of a connection to it.
struct Knock {
    address: SocketAddr,
    /// After how long it stood.
    result: io::Result<Duration>,
}

/// A room that could be opened.
struct Room {
    /// After how long.
    after: Duration,
    stun_port: u16,
}

/// Looks at everything there is on the way.
pub(super) async fn look(server: &Rendezvous) -> Result<Vec<Finding>, Error> {
    let target = match Target::of(&server.url) {
        Ok(target) => target,
        Err(detail) => {
            let finding = Finding::problem(Topic::Name, format!("{detail}."));
            return Ok(vec![finding.advice("Use http://HOST:PORT or https://HOST:PORT.")]);
        }
    };
    let addresses = match resolve(&target).await {
        Ok(addresses) => addresses,
        Err(why) => return Ok(vec![unnamed(target.name(), &why)]),
    };
    let mut findings = Vec::from_iter(named(target.name(), &addresses));
    let token = RoomToken::from_bytes(random()?);
    let room = room(&target, addresses.clone(), server, token);
    let (knocks, room) = tokio::join!(knock(&addresses), room);
    let is_reached = knocks.iter().any(|knock| knock.result.is_ok());
    findings.extend(knocks.iter().map(|knock| tcp(knock, is_reached)));
    if is_reached {
        findings.push(signalling(&room));
    }
    // A server that says nothing may have STUN nevertheless: the program's own has it at the same port.
    let stun_port = room.map_or(target.port, |room| room.stun_port);
    if stun_port == 0 {
        findings.push(words::no_stun());
        return Ok(findings);
    }
    let at = |family| best(&knocks, family).map(|ip| SocketAddr::new(ip, stun_port));
    let (v4, v6) = tokio::join!(probe::look(at(Family::V4)), probe::look(at(Family::V6)));
    findings.extend(words::seen(&[v4?, v6?], |ip| {
        knocks.iter().any(|knock| knock.address.ip() == ip && knock.result.is_ok())
    }));
    Ok(findings)
}

/// The addresses to try.
async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = match timeout(RESOLVE, dial::resolve(target.name(), target.port)).await {
        Ok(found) => found.map_err(|error| error.to_string())?,
        Err(_) => return Err("the name service does not answer in time".into()),
    };
    let mut counts = [0; 2];
    addresses.retain(|address| {
        let count = &mut counts[usize::from(address.is_ipv6())];
        *count += 1;
        *count <= ADDRESSES
    });
    if addresses.is_empty() { Err("the name has none".into()) } else { Ok(addresses) }
}

fn unnamed(name: &str, why: &str) -> Finding {
    let advice = "Check the server's name, and that this machine's name service works.";
    Finding::problem(Topic::Name, format!("No address is known for {name}: {why}.")).advice(advice)
}

/// What a name means; `None` if it is an address.
fn named(name: &str, addresses: &[SocketAddr]) -> Option<Finding> {
    let ips: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let message = format!("{name} is {}.", ips.join(", "));
    name.parse::<IpAddr>().is_err().then(|| Finding::ok(Topic::Name, message))
}

/// Connects to all addresses at once.
async fn knock(addresses: &[SocketAddr]) -> Vec<Knock> {
    let mut attempts = JoinSet::new();
    for (place, address) in addresses.iter().copied().enumerate() {
        attempts.spawn(async move {
            let began = Instant::now();
            let result = match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(result) => result.map(|_| began.elapsed()),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            (place, Knock { address, result })
        });
    }
    let mut knocks = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        knocks.extend(attempt);
    }
    knocks.sort_by_key(|(place, _)| *place);
    knocks.into_iter().map(|(_, knock)| knock).collect()
}

/// Opens a room, as a host does.
async fn room(
    target: &Target,
    addresses: Vec<SocketAddr>,
    server: &Rendezvous,
    token: RoomToken,
) -> Result<Room, String> {
    let began = Instant::now();
    let attempt = try_room(target, addresses, server.certificate, token);
    match timeout(CONNECT, attempt).await {
        Ok(opened) => opened.map(|stun_port| Room { after: began.elapsed(), stun_port }),
        Err(_) => Err("it does not answer in time".into()),
    }
}

/// The address of a family to ask by UDP: one that TCP reaches, if there is one.
fn best(knocks: &[Knock], family: Family) -> Option<IpAddr> {
    let of = || knocks.iter().filter(|knock| Family::of(knock.address.ip()) == family);
    let reached = of().find(|knock| knock.result.is_ok());
    reached.or_else(|| of().next()).map(|knock| knock.address.ip())
}

/// `is_reached`: at this address or another.
fn tcp(Knock { address, result }: &Knock, is_reached: bool) -> Finding {
    let finding = match result {
        Ok(after) => {
            let ms = words::ms(*after);
            Finding::ok(Topic::Tcp, format!("TCP reaches {address} after {ms} ms."))
        }
        Err(error) => {
            let state = if is_reached { State::Warning } else { State::Problem };
            let port = address.port();
            let (why, advice) = match error.kind() {
                io::ErrorKind::ConnectionRefused => (
                    "nothing listens there".into(),
                    "Check the port, and that the server runs.".into(),
                ),
                io::ErrorKind::TimedOut => (
                    "no answer".into(),
                    format!(
                        "Check that the server runs, and that no firewall there closes TCP port {port}."
                    ),
                ),
                _ => (error.to_string(), "Check this machine's network.".to_owned()),
            };
            let message = format!("TCP does not reach {address}: {why}.");
            Finding::new(Topic::Tcp, state, message).advice(advice)
        }
    };
    finding.family(Family::of(address.ip()))
}

fn signalling(room: &Result<Room, String>) -> Finding {
    let reason = match room {
        Ok(Room { after, .. }) => {
            let message = format!("A room could be opened after {} ms.", words::ms(*after));
            return Finding::ok(Topic::Signalling, message);
        }
        Err(reason) => reason,
    };
    let advice = if reason.contains("certificate") {
        "Give the hash that `lllsi serve` prints as --server-certificate, or let the server's certificate be signed."
    } else if reason.contains("wait a minute") {
        "Wait a minute. If it stays so, the server needs higher limits."
    } else {
        "Check the address: it must be that of an LLLSI server, and a proxy in front of it must pass WebSockets on."
    };
    Finding::problem(Topic::Signalling, format!("No room can be opened: {reason}.")).advice(advice)
}
