//! The network that this machine is in: the addresses that a peer may try, the best first, and when they change.

mod reached;
mod watch;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use if_addrs::{IfOperStatus, Interface};

pub use reached::Reached;
use watch::Watch;

use crate::peer::{Nudge, Rendezvous};
use crate::socket::Endpoint;

/// Where datagrams to any machine go, of IPv4 and of IPv6: nothing is sent there, routing is asked (RFC 5737 and RFC 3849).
const ANYWHERE: [&str; 2] = ["192.0.2.1:9", "[2001:db8::1]:9"];

/// `ARPHRD_ETHER` of linux/if_arp.h, Wi-Fi included. WireGuard, TUN, PPP, IPIP and the like are of other types.
const ETHERNET: &str = "1";

/// Addresses that are used at most, without loopback ones.
const MAX_ADDRESSES: usize = 16;

/// What an address is good for, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rank {
    /// Somebody has come in at it.
    Reached,
    /// Datagrams to anywhere leave from it, over a network and not through a tunnel.
    Default,
    /// Of another network.
    Network,
    /// Of a virtual private network or the like. What can go without it should.
    Tunnel,
    /// Of a network inside this machine, for containers and virtual machines.
    Bridge,
    /// Chosen by the machine itself, since nobody has given it one (RFC 3927).
    LinkLocal,
    /// Of the machine itself.
    Loopback,
}

impl Rank {
    /// Addresses of a rank that are used at most: each makes a peer try another pair.
    fn most(self) -> usize {
        match self {
            Self::Reached | Self::Default => 4,
            Self::Network => 6,
            Self::Tunnel => 3,
            Self::Bridge | Self::Loopback => 2,
            Self::LinkLocal => 1,
        }
    }
}

/// This machine's addresses, each with `port`, the best first: at most 16, of which two are of bridges. At most two loopback
/// addresses follow, and only if `loopback` is set or there are no others; link-local ones of IPv6 never, since they mean nothing without their interface.
pub fn local_addresses(port: u16, loopback: bool) -> Vec<SocketAddr> {
    look_at(port, loopback, &[]).unwrap_or_default()
}

/// The network as the machine knows it.
pub(crate) struct Network {
    watch: Watch,
    /// Nudged by an application that knows of a change.
    look: Nudge,
    reached: Reached,
    pub(crate) locals: Vec<SocketAddr>,
    port: u16,
    /// Whether the server is on this machine, and others may be.
    loopback: bool,
}

impl Network {
    pub(crate) fn new(
        server: &Rendezvous,
        endpoint: &Endpoint,
        look: Nudge,
        reached: Reached,
    ) -> Self {
        let (port, loopback) = (endpoint.local().port(), server.is_loopback());
        // Opened before the addresses are listed, so that no change in between is missed.
        let watch = Watch::new();
        let locals = look_at(port, loopback, &reached.addresses()).unwrap_or_default();
        Self { watch, look, reached, locals, port, loopback }
    }

    /// Waits until our addresses change, or it is said that they have. Returns them. Loses nothing where it is cancelled.
    pub(crate) async fn changed(&mut self) -> Vec<SocketAddr> {
        loop {
            let is_certain = tokio::select! {
                () = self.watch.changed() => false,
                () = self.look.nudged() => true,
                () = self.reached.changed() => false,
            };
            let reached = self.reached.addresses();
            let Some(locals) = look_at(self.port, self.loopback, &reached) else {
                self.watch.look_again();
                continue;
            };
            if is_certain || locals != self.locals {
                self.locals.clone_from(&locals);
                return locals;
            }
        }
    }
}

/// [`local_addresses`], those first at which somebody has come in; or `None` if they cannot be listed now.
pub(crate) fn look_at(port: u16, loopback: bool, reached: &[IpAddr]) -> Option<Vec<SocketAddr>> {
    let ranked = ranked().inspect_err(|error| {
        tracing::warn!(%error, "the network interfaces cannot be listed");
    });
    let ranked = ranked.ok()?.into_iter().map(|Own { rank, ip, .. }| {
        (if reached.contains(&ip) && rank != Rank::Tunnel { Rank::Reached } else { rank }, ip)
    });
    let addresses = best(ranked.collect(), loopback);
    Some(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// An address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    /// The interface that has it.
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) rank: Rank,
}

/// All addresses of interfaces that are up, in the system's order.
fn ranked() -> io::Result<Vec<Own>> {
    let sources: Vec<_> = ways().into_iter().flatten().collect();
    let interfaces = if_addrs::get_if_addrs()?;
    let own = interfaces.into_iter().filter(is_up).map(|interface| {
        let ip = interface.ip();
        let rank = rank(ip, kind(&interface), sources.contains(&ip));
        Own { name: interface.name, ip, rank }
    });
    Ok(own.collect())
}

/// The addresses that peers may try, the best first, and those that they may not.
pub(crate) fn survey() -> io::Result<[Vec<Own>; 2]> {
    let mut all = ranked()?;
    let best = best(all.iter().map(|own| (own.rank, own.ip)).collect(), false);
    let place = |own: &Own| best.iter().position(|ip| *ip == own.ip);
    all.sort_by_key(|own| place(own).unwrap_or(usize::MAX));
    let (used, unused) = all.into_iter().partition(|own| place(own).is_some());
    Ok([used, unused])
}

/// The addresses from which datagrams to anywhere leave, by IPv4 and by IPv6.
pub(crate) fn ways() -> [Option<IpAddr>; 2] {
    ANYWHERE.map(source_towards)
}

/// Whether this machine still has the address.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    let interfaces = if_addrs::get_if_addrs();
    // Where they cannot be listed nothing is known.
    interfaces.map_or(true, |all| all.iter().any(|interface| interface.ip() == ip))
}

/// The address from which a datagram to there would leave.
fn source_towards(destination: &str) -> Option<IpAddr> {
    let any = if destination.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(destination).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}

/// A bridge without a container has no carrier. Tunnels do not say whether they are up.
fn is_up(interface: &Interface) -> bool {
    use IfOperStatus::{Down, LowerLayerDown, NotPresent};
    !matches!(interface.oper_status, Down | LowerLayerDown | NotPresent)
}

/// What an interface leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network,
    Tunnel,
    Bridge,
}

fn kind(interface: &Interface) -> Kind {
    let attribute =
        |name: &str| std::fs::read_to_string(format!("/sys/class/net/{}/{name}", interface.name));
    let device = attribute("uevent").unwrap_or_default();
    let device = device.lines().find_map(|line| line.strip_prefix("DEVTYPE="));
    // Elsewhere than on Linux there are no such files.
    let is_ethernet = attribute("type").map_or(true, |kind| kind.trim() == ETHERNET);
    match device {
        Some("bridge") => Kind::Bridge,
        Some("vxlan" | "geneve") => Kind::Tunnel,
        _ if interface.is_p2p() || !is_ethernet || attribute("tun_flags").is_ok() => Kind::Tunnel,
        _ => Kind::Network,
    }
}

fn rank(ip: IpAddr, kind: Kind, is_default: bool) -> Rank {
    match (ip, kind) {
        _ if ip.is_loopback() => Rank::Loopback,
        (IpAddr::V4(v4), _) if v4.is_link_local() => Rank::LinkLocal,
        (_, Kind::Tunnel) => Rank::Tunnel,
        // Also of a bridge that stands for the machine's own network interface.
        _ if is_default => Rank::Default,
        (_, Kind::Network) => Rank::Network,
        (_, Kind::Bridge) => Rank::Bridge,
    }
}

fn best(mut ranked: Vec<(Rank, IpAddr)>, loopback: bool) -> Vec<IpAddr> {
    ranked.retain(|(_, ip)| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()));
    // In the system's order within a rank.
    ranked.sort_by_key(|(rank, _)| *rank);
    let is_alone = ranked.iter().all(|(rank, _)| *rank == Rank::Loopback);
    let mut counts = HashMap::new();
    ranked.retain(|(rank, _)| {
        let count = counts.entry(*rank).or_insert(0);
        *count += 1;
        *count <= rank.most() && (*rank != Rank::Loopback || loopback || is_alone)
    });
    // A peer takes no more than 20 from us, those included at which servers see us.
    let inside = ranked.partition_point(|(rank, _)| *rank != Rank::Loopback);
    ranked.drain(inside.min(MAX_ADDRESSES)..inside);
    ranked.into_iter().map(|(_, ip)| ip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_an_address_and_loopback_only_where_wanted() {
        let with = local_addresses(5, true);
        assert!(with.iter().any(|a| a.ip().is_loopback() && a.port() == 5), "{with:?}");
        let without = local_addresses(5, false);
        let lonely = without.iter().all(|a| a.ip().is_loopback());
        assert!(lonely || without.iter().all(|a| !a.ip().is_loopback()), "{without:?}");
        assert!(with.iter().all(|address| is_local(address.ip())));
        assert!(!is_local("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_survey_tells_the_addresses_that_are_used_in_their_order() {
        let [used, unused] = survey().unwrap();
        let ips: Vec<_> = used.iter().map(|own| own.ip).collect();
        let told: Vec<_> = local_addresses(5, false).iter().map(SocketAddr::ip).collect();
        assert_eq!(ips, told);
        assert!(unused.iter().all(|own| !ips.contains(&own.ip)), "{unused:?}");
    }

    #[test]
    fn networks_come_before_tunnels_and_bridges_and_of_these_there_are_few() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let of = |text: &str, kind, is_default| (rank(ip(text), kind, is_default), ip(text));
        let mut found: Vec<_> =
            (0..30).map(|n| of(&format!("172.{}.0.1", 17 + n), Kind::Bridge, false)).collect();
        found.extend([
            of("127.0.0.1", Kind::Network, false),
            of("169.254.7.7", Kind::Network, true),
            of("10.8.0.2", Kind::Tunnel, true),
            of("fe80::1", Kind::Network, false),
            of("192.168.7.2", Kind::Network, false),
            of("2001:db8::2", Kind::Network, true),
            of("192.168.1.2", Kind::Network, true),
        ]);
        let wanted = [
            "2001:db8::2",
            "192.168.1.2",
            "192.168.7.2",
            "10.8.0.2",
            "172.17.0.1",
            "172.18.0.1",
            "169.254.7.7",
        ];
        assert_eq!(best(found.clone(), false), wanted.map(ip));
        assert_eq!(best(found, true).last(), Some(&ip("127.0.0.1")));
        // Of all ranks there may be more than a peer takes.
        let many =
            |rank, most: u8| (0..most).map(move |n| (rank, IpAddr::from([10, rank as u8, 0, n])));
        let mut all: Vec<_> = many(Rank::Reached, 9).chain(many(Rank::Default, 9)).collect();
        all.extend(
            many(Rank::Network, 9).chain(many(Rank::Tunnel, 9)).chain(many(Rank::Bridge, 9)),
        );
        all.push((Rank::Loopback, ip("127.0.0.1")));
        let all = best(all, true);
        assert_eq!((all.len(), all[16]), (MAX_ADDRESSES + 1, ip("127.0.0.1")));
        // A bridge may stand for the interface that is in it.
        let bridged = [of("172.17.0.1", Kind::Bridge, false), of("10.0.0.2", Kind::Bridge, true)];
        assert_eq!(best(bridged.to_vec(), false), ["10.0.0.2", "172.17.0.1"].map(ip));
        assert_eq!(best(vec![of("::1", Kind::Network, false)], false), [ip("::1")]);
    }
}
