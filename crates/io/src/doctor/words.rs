//! What was seen by UDP, in sentences.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lllsi_core::nat::{Filtering, Nat, NatKind, Outcome};

use super::probe::{HEADERS, Seen, USUAL};
use super::{Family, Finding, State, Topic};

/// Milliseconds for people.
pub(super) fn ms(time: Duration) -> String {
    format!("{:.0}", (time.as_secs_f64() * 1000.0).max(1.0))
}

/// A server that answers no STUN.
pub(super) fn no_stun() -> Finding {
    let message = "This server answers no STUN: it is a host's own. Peers that reach it reach the host, who streams from the same port. \
        The kind of this network's NAT cannot be told.";
    Finding::ok(Topic::Stun, message)
}

/// Turns what the probes saw in both families into findings. `is_reached` returns whether TCP reaches an address.
pub(super) fn seen(all: &[Option<Seen>; 2], is_reached: impl Fn(IpAddr) -> bool) -> Vec<Finding> {
    let all = all.iter().flatten();
    let is_found = |seen: &Seen| matches!(seen.nat, Some(Outcome::Found(_)));
    let is_any_found = all.clone().any(is_found);
    let mut findings: Vec<_> =
        all.clone().map(|seen| stun(seen, is_reached(seen.server.ip()), is_any_found)).collect();
    for seen in all {
        if let Some(Outcome::Found(found)) = &seen.nat {
            findings.extend([nat(found, seen.server), size(seen)]);
        }
    }
    findings
}

/// Whether UDP reaches the server. `is_any_found`: there, or at its other address.
fn stun(seen: &Seen, is_reached: bool, is_any_found: bool) -> Finding {
    let server = seen.server;
    let finding = match seen.nat {
        Some(Outcome::Found(nat)) => {
            let (ms, mapped) = (ms(nat.answered_after), nat.mapped);
            let message = format!(
                "UDP reaches {server}, which answers after {ms} ms and sees this machine at {mapped}."
            );
            Finding::ok(Topic::Stun, message)
        }
        Some(Outcome::Silent) => {
            let state = if is_any_found { State::Warning } else { State::Problem };
            let though = if is_reached {
                ", though TCP does: a firewall stops UDP, here or at the server"
            } else {
                ""
            };
            let port = server.port();
            let advice = format!(
                "Check that no firewall of this network keeps UDP from leaving, to any address and port, since peers may have any; \
                 and that UDP port {port} of the server is open."
            );
            let message = format!("UDP does not reach {server}{though}.");
            Finding::new(Topic::Stun, state, message).advice(advice)
        }
        None => Finding::warning(
            Topic::Stun,
            format!("Whether UDP reaches {server} did not show in time."),
        )
        .advice("Try again when this machine has less to do."),
    };
    finding.family(Family::of(server.ip()))
}

/// The kind of NAT, and what it means.
fn nat(nat: &Nat, server: SocketAddr) -> Finding {
    let family = Family::of(server.ip());
    let finding = match nat.kind {
        NatKind::None => without_nat(nat),
        NatKind::FullCone => Finding::ok(
            Topic::Nat,
            "A full-cone NAT: one port for all peers, and all come in. Direct paths work with every peer.",
        ),
        NatKind::Address => Finding::ok(
            Topic::Nat,
            "An address-restricted NAT: one port for all peers, and those come in whose address was sent to. \
             Direct paths work with nearly every peer.",
        ),
        NatKind::Port => Finding::ok(
            Topic::Nat,
            "A port-restricted NAT, as most home routers have: one port for all peers, and those come in that were sent to. \
             Direct paths work with all peers but those behind symmetric NATs.",
        ),
        NatKind::Symmetric => symmetric("a new port for each peer"),
        NatKind::SymmetricSequential => symmetric("for each peer the next port"),
        _ => unknown(nat, server),
    };
    Finding { nat: Some(*nat), ..finding.family(family) }
}

fn without_nat(nat: &Nat) -> Finding {
    let advice = "Links to peers open it by themselves. A server here, such as that of `lllsi host`, needs its TCP and UDP port opened.";
    match nat.filtering {
        Some(Filtering::Open) => {
            Finding::ok(Topic::Nat, "No NAT, and no filter: every peer reaches this machine.")
        }
        Some(Filtering::Address) => Finding::ok(
            Topic::Nat,
            "No NAT, but a firewall: it passes what comes from addresses that were sent to.",
        )
        .advice(advice),
        Some(Filtering::Port) => {
            Finding::ok(Topic::Nat, "No NAT, but a firewall: it passes answers alone.")
                .advice(advice)
        }
        None => Finding::ok(
            Topic::Nat,
            "No NAT. It takes a server with two addresses to find out what a firewall passes.",
        ),
    }
}

fn symmetric(what: &str) -> Finding {
    let message = format!(
        "A symmetric NAT: {what}. There is no direct path to peers behind another one, or behind a port-restricted one."
    );
    let advice = "Use a network with IPv6 on both sides, or another network on one of them. Where the router is yours, look for a setting \
        such as “NAT type: open” or “full cone”, or forward a UDP port to the host, who names it with --media-port.";
    Finding::warning(Topic::Nat, message).advice(advice)
}

fn unknown(nat: &Nat, server: SocketAddr) -> Finding {
    let (message, advice) = match nat.second {
        None => (
            "A NAT of unknown kind: it takes a server with two addresses to find that out."
                .to_owned(),
            "The server can have a second address: `lllsi serve --stun-alt ADDR`.".to_owned(),
        ),
        Some(second) => (
            format!(
                "A NAT of unknown kind: the server's second address for STUN, {second}, does not answer."
            ),
            format!(
                "Open UDP port {} at the server, at that address and at {}.",
                second.port(),
                server.ip()
            ),
        ),
    };
    Finding::warning(Topic::Nat, message).advice(advice)
}

/// How large packets may be.
fn size(seen: &Seen) -> Finding {
    let family = Family::of(seen.server.ip());
    let headers = HEADERS[usize::from(seen.server.is_ipv6())];
    let mtu =
        seen.mtu.map_or(String::new(), |mtu| format!(" The system takes {mtu} for the largest."));
    let advice = "A tunnel on the way, such as a VPN, may take more of each packet than the network knows: lower the MTU of its interface.";
    let Some(size) = seen.size else {
        let message = "How large packets may be did not show in time.";
        let advice = "Try again when this machine has less to do.";
        return Finding::warning(Topic::PathSize, message).advice(advice).family(family);
    };
    let finding = match size.map(|size| (size, size + headers)) {
        Some((USUAL, bytes)) => Finding::ok(
            Topic::PathSize,
            format!("Packets of {bytes} bytes reach the server, as streams use them. Larger ones do not.{mtu}"),
        ),
        Some((size, bytes)) if size > USUAL => Finding::ok(
            Topic::PathSize,
            format!("Packets of {bytes} bytes reach the server: streams use {} at most.", USUAL + headers),
        ),
        Some((_, bytes)) => Finding::warning(
            Topic::PathSize,
            format!(
                "Packets of {bytes} bytes reach the server, and packets of {} do not.{mtu} Streams use smaller ones then, which cost more.",
                USUAL + headers
            ),
        )
        .advice(advice),
        None => Finding::warning(
            Topic::PathSize,
            format!("Small requests reach the server, and packets of {} bytes do not.{mtu}", 548 + headers),
        )
        .advice(advice),
    };
    finding.family(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: NatKind, filtering: Option<Filtering>) -> Nat {
        let [mapped, local] = ["192.0.2.2:7", "10.0.0.2:7"].map(|address| address.parse().unwrap());
        let answered_after = Duration::from_millis(7);
        Nat { kind, mapped, local, filtering, second: None, answered_after }
    }

    fn way(nat: Option<Outcome>, size: Option<u16>) -> Seen {
        let size = Some(size);
        Seen { server: "203.0.113.1:36542".parse().unwrap(), nat, size, mtu: Some(1500) }
    }

    fn is_sentence(text: &str) -> bool {
        text.ends_with('.') && !text.contains("  ") && !text.contains('\n')
    }

    #[test]
    fn each_kind_of_nat_has_its_sentences_and_symmetric_ones_are_warned_of() {
        use NatKind::{
            Address, FullCone, None as No, Port, Symmetric, SymmetricSequential, Unknown,
        };
        for (kind, state) in [
            (No, State::Ok),
            (FullCone, State::Ok),
            (Address, State::Ok),
            (Port, State::Ok),
            (Symmetric, State::Warning),
            (SymmetricSequential, State::Warning),
            (Unknown, State::Warning),
        ] {
            let filters = [Filtering::Open, Filtering::Address, Filtering::Port].map(Some);
            for filtering in filters.into_iter().chain([None]) {
                let told = nat(&found(kind, filtering), way(None, None).server);
                assert_eq!((told.state, told.topic), (state, Topic::Nat), "{kind:?}");
                assert!(is_sentence(&told.message), "{told:?}");
                assert_eq!(told.nat.map(|nat| nat.kind), Some(kind));
                assert!(state == State::Ok || told.advice.is_some_and(|text| is_sentence(&text)));
            }
        }
    }

    #[test]
    fn udp_that_is_stopped_is_a_problem_unless_another_family_gets_through() {
        let is_found = Some(Outcome::Found(found(NatKind::Port, None)));
        let silent = || Some(way(Some(Outcome::Silent), None));
        let states = |all: [Option<Seen>; 2], is_reached: bool| -> Vec<_> {
            let all = seen(&all, |_| is_reached);
            all.into_iter()
                .filter(|f| f.topic == Topic::Stun)
                .map(|f| (f.state, f.message))
                .collect()
        };
        for is_reached in [true, false] {
            let told = states([silent(), None], is_reached);
            assert_eq!((told.len(), told[0].0), (1, State::Problem));
            assert_eq!(told[0].1.contains("firewall"), is_reached, "{told:?}");
        }
        let both = states([Some(way(is_found, None)), silent()], true);
        assert_eq!([both[0].0, both[1].0], [State::Ok, State::Warning]);
        assert_eq!(states([Some(way(None, None)), None], true)[0].0, State::Warning);
    }

    #[test]
    fn paths_that_carry_less_than_streams_use_are_warned_of() {
        for (bytes, state, told) in [
            (Some(1472), State::Ok, "1500"),
            (Some(1232), State::Ok, "1260"),
            (Some(1084), State::Warning, "1112"),
            (Some(548), State::Warning, "576"),
            (None, State::Warning, "576"),
        ] {
            let finding = size(&way(None, bytes));
            assert_eq!((finding.state, finding.topic), (state, Topic::PathSize), "{bytes:?}");
            assert!(finding.message.contains(told) && is_sentence(&finding.message), "{finding:?}");
        }
    }
}
