//! This machine: its addresses, its ways to other networks, and what may filter packets on it.

use std::net::IpAddr;

use super::{Family, Finding, State, Topic};
use crate::network::{self, Own, Rank};

/// So many of the addresses that are not tried are named.
const NAMED: usize = 4;

/// Where the server is on this machine it takes no network to stream.
pub(super) fn look(is_server_here: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let [used, unused] = network::survey().unwrap_or_else(|error| {
        let message = format!("The network interfaces cannot be listed: {error}.");
        findings.push(Finding::warning(Topic::Interface, message));
        [Vec::new(), Vec::new()]
    });
    findings.extend(used.iter().enumerate().map(|(place, own)| used_one(place, own)));
    findings.extend(unused_ones(&unused));
    let is_alone = used.iter().all(|own| own.rank == Rank::Loopback);
    findings.extend(routes(network::ways(), is_alone, is_server_here));
    findings.extend(firewall());
    findings
}

fn used_one(place: usize, Own { name, ip, rank }: &Own) -> Finding {
    let is_first = place == 0 && *rank != Rank::Loopback;
    let tried = if is_first { "is tried first" } else { "is tried" };
    let what = match rank {
        Rank::Reached => "somebody has come in at it",
        Rank::Default => "datagrams to other networks leave from it",
        Rank::Network => "it leads to another network",
        Rank::Tunnel => "a tunnel, such as a VPN, for where there is no other way",
        Rank::Bridge => "a network inside this machine",
        Rank::LinkLocal => "the machine has given itself that address, since no network has",
        Rank::Loopback => "for this machine alone",
    };
    let mtu = mtu(name).map_or(String::new(), |mtu| format!(", MTU {mtu}"));
    let message = format!("{ip} ({name}{mtu}) {tried}: {what}.");
    Finding::ok(Topic::Interface, message).family(Family::of(*ip))
}

/// The largest packet of an interface, where the system says it.
fn mtu(interface: &str) -> Option<u32> {
    let told = std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu"));
    told.ok()?.trim().parse().ok()
}

/// The others in one sentence: there may be many.
fn unused_ones(unused: &[Own]) -> Option<Finding> {
    // These are never meant for others.
    let is_own =
        |ip: IpAddr| ip.is_loopback() || matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let others: Vec<_> = unused.iter().filter(|own| !is_own(own.ip)).collect();
    let named: Vec<_> =
        others.iter().take(NAMED).map(|own| format!("{} ({})", own.ip, own.name)).collect();
    let more = if others.len() > NAMED { " and others" } else { "" };
    let message = format!(
        "Not tried, since there are better ones or too many of their kind: {}{more}.",
        named.join(", ")
    );
    (!others.is_empty()).then(|| Finding::ok(Topic::Interface, message))
}

fn routes([v4, v6]: [Option<IpAddr>; 2], is_alone: bool, is_server_here: bool) -> Vec<Finding> {
    if is_alone && v4.is_none() && v6.is_none() {
        let state = if is_server_here { State::Warning } else { State::Problem };
        let message = "There is no network: this machine reaches no other.";
        let advice = "Plug in a cable or join a wireless network, and check that the machine gets an address.";
        return vec![Finding::new(Topic::Route, state, message).advice(advice)];
    }
    let route = |family: Family, way: Option<IpAddr>, other: Option<IpAddr>| {
        let finding = match (family, way, other) {
            (_, Some(ip), _) => {
                Finding::ok(Topic::Route, format!("{family} leads to other networks, from {ip}."))
            }
            (Family::V6, None, Some(_)) => {
                let message = "IPv6 leads to no other network. Nothing needs it, but where both sides have it no NAT is in the way.";
                Finding::ok(Topic::Route, message)
            }
            (Family::V4, None, Some(_)) => {
                let message =
                    "IPv4 leads to no other network: machines without IPv6 are not reached.";
                Finding::warning(Topic::Route, message)
            }
            (_, None, None) => {
                let message = format!(
                    "{family} leads to no other network: machines of this one alone are reached."
                );
                let advice = "Check that the machine has a default route, which routers announce.";
                Finding::warning(Topic::Route, message).advice(advice)
            }
        };
        finding.family(family)
    };
    vec![route(Family::V4, v4, v6), route(Family::V6, v6, v4)]
}

/// What is known to filter packets, as far as that shows without rights.
#[cfg(target_os = "linux")]
fn firewall() -> Option<Finding> {
    let ufw = std::fs::read_to_string("/etc/ufw/ufw.conf").unwrap_or_default();
    let firewalld = std::path::Path::new("/sys/fs/cgroup/system.slice/firewalld.service");
    let (name, command) = if ufw.lines().any(|line| line.trim() == "ENABLED=yes") {
        ("ufw", "ufw allow 36542")
    } else if firewalld.exists() {
        ("firewalld", "firewall-cmd --add-port=36542/tcp --add-port=36542/udp")
    } else {
        return None;
    };
    let message = format!(
        "{name} filters packets on this machine. Links to peers pass it; a server here, as `lllsi host` starts one, may be out of reach."
    );
    let advice = format!(
        "Let TCP and UDP port 36542 in, if others are to reach a server here: sudo {command}"
    );
    Some(Finding::ok(Topic::Firewall, message).advice(advice))
}

/// What is known to filter packets, as far as that shows without rights.
#[cfg(not(target_os = "linux"))]
fn firewall() -> Option<Finding> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn own(name: &str, at: &str, rank: Rank) -> Own {
        Own { name: name.into(), ip: ip(at), rank }
    }

    #[test]
    fn addresses_are_named_with_what_they_are_good_for() {
        let finding = used_one(0, &own("wlan7", "192.168.1.2", Rank::Default));
        assert!(finding.message.starts_with("192.168.1.2 (wlan7"), "{finding:?}");
        assert!(finding.message.contains("tried first"), "{finding:?}");
        let finding = used_one(0, &own("lo", "127.0.0.1", Rank::Loopback));
        assert!(!finding.message.contains("first"), "{finding:?}");
        let finding = used_one(3, &own("wg0", "2001:db8::1", Rank::Tunnel));
        assert_eq!(finding.family, Some(Family::V6));
    }

    #[test]
    fn however_many_addresses_are_not_tried_there_is_one_sentence_of_them() {
        assert_eq!(unused_ones(&[own("lo", "127.0.0.1", Rank::Loopback)]), None);
        assert_eq!(unused_ones(&[own("eth", "fe80::1", Rank::Network)]), None);
        let bridges: Vec<_> = (0..30)
            .map(|n| own(&format!("br{n}"), &format!("172.{n}.0.1"), Rank::Bridge))
            .collect();
        let message = unused_ones(&bridges).unwrap().message;
        assert!(message.contains("172.3.0.1 (br3) and others"), "{message}");
    }

    #[test]
    fn a_machine_without_a_network_is_a_problem_unless_it_streams_to_itself() {
        let states = |ways, is_alone, is_server_here| -> Vec<_> {
            routes(ways, is_alone, is_server_here).iter().map(|finding| finding.state).collect()
        };
        let (v4, v6) = (Some(ip("192.0.2.7")), Some(ip("2001:db8::7")));
        assert_eq!(states([None, None], true, false), [State::Problem]);
        assert_eq!(states([None, None], true, true), [State::Warning]);
        assert_eq!(states([None, None], false, false), [State::Warning; 2]);
        assert_eq!(states([v4, None], false, false), [State::Ok; 2]);
        assert_eq!(states([None, v6], false, false), [State::Warning, State::Ok]);
        assert_eq!(states([v4, v6], false, false), [State::Ok; 2]);
    }
}
