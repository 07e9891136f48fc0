//! What `lllsi doctor` says of networks, behind each kind of router of `crates/lab/nat.sh` and where something is amiss.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::networks::{Lab, SERVER};
use crate::spaces::Spaces;
use crate::util::{Program, alone, text};

/// It takes no longer, whatever it finds.
const AT_MOST: Duration = Duration::from_secs(5);

/// The server's second address.
const SECOND: &str = "203.0.113.2";

/// Waits for its end. Returns what it says of this topic, and its summary.
fn told(mut doctor: Program, began: Instant, topic: &str) -> (Vec<Value>, Value, Program) {
    let diagnosis = doctor.event("diagnosis");
    let took = began.elapsed();
    assert!(took < AT_MOST, "it took {took:?}\n{doctor}");
    let is_about = |event: &Value| event["event"] == "finding" && event["topic"] == topic;
    let findings: Vec<_> = doctor.said().into_iter().filter(is_about).collect();
    assert!(!findings.is_empty(), "nothing about {topic}\n{doctor}");
    (findings, diagnosis, doctor)
}

/// Behind a router of this kind, the doctor names it, and what it filters.
fn is_named(router: &str, kind: &str, filtering: &str) {
    let _alone = alone();
    let lab = Lab::new(router, "none");
    lab.ip("inet", &format!("address add {SECOND}/32 dev lo"));
    let mut server = lab.start("inet", &["serve", "--listen", SERVER, "--stun-alt", SECOND]);
    let ready = server.event("ready");
    assert_eq!(text(&ready, "stun_alt"), format!("{SECOND}:36543"));
    let url = format!("http://{SERVER}");
    let began = Instant::now();
    let doctor = lab.start("a-home", &["doctor", "--server", &url]);
    let (nat, diagnosis, mut doctor) = told(doctor, began, "nat");
    eprintln!("{router}: {} ({} ms)", nat[0]["nat"], diagnosis["ms"]);
    assert_eq!(diagnosis["nat"]["ipv4"], kind, "{doctor}");
    assert_eq!(nat[0]["nat"]["filtering"], filtering, "{doctor}");
    assert_eq!(nat[0]["state"], if kind.starts_with("symmetric") { "warning" } else { "ok" });
    // Without a screen, and yet fit for a test card.
    assert_eq!(doctor.exit_code(), 0, "{doctor}{server}");
}

#[test]
fn a_router_without_nat_is_named() {
    is_named("none", "none", "open");
}

#[test]
fn a_full_cone_nat_is_named() {
    is_named("fullcone", "fullcone", "open");
}

#[test]
fn an_address_restricted_nat_is_named() {
    is_named("address", "address", "address");
}

#[test]
fn a_port_restricted_nat_is_named() {
    is_named("port", "port", "port");
}

#[test]
fn two_nats_one_behind_the_other_are_named_as_the_stricter() {
    is_named("double", "port", "port");
}

#[test]
fn a_symmetric_nat_is_named() {
    is_named("symmetric", "symmetric", "port");
}

#[test]
fn a_symmetric_nat_with_successive_ports_is_named() {
    is_named("symmetric-seq", "symmetric-seq", "port");
}

/// A server without a second address, and a home beside it.
fn neighbours() -> (Spaces, Program) {
    let spaces = Spaces::new(&["server", "home"]);
    spaces.wire(("server", "eth", "10.9.0.1/24"), ("home", "eth", "10.9.0.2/24"));
    let mut server = spaces.start("server", &["serve"]);
    server.event("ready");
    (spaces, server)
}

const NEIGHBOUR: [&str; 3] = ["doctor", "--server", "http://10.9.0.1:36542"];

#[test]
fn a_server_without_a_second_address_is_enough_to_see_that_there_is_no_nat() {
    let _alone = alone();
    let (spaces, _server) = neighbours();
    let began = Instant::now();
    let (nat, diagnosis, mut doctor) = told(spaces.start("home", &NEIGHBOUR), began, "nat");
    assert_eq!(diagnosis["nat"]["ipv4"], "none", "{doctor}");
    assert_eq!(nat[0]["nat"]["filtering"], Value::Null, "{doctor}");
    assert_eq!(doctor.exit_code(), 0, "{doctor}");
}

#[test]
fn a_firewall_that_stops_udp_is_named() {
    let _alone = alone();
    let (spaces, _server) = neighbours();
    spaces.filter("home", "output", &["oif lo accept", "meta l4proto != udp accept"]);
    let began = Instant::now();
    let (stun, diagnosis, mut doctor) = told(spaces.start("home", &NEIGHBOUR), began, "stun");
    assert_eq!((&stun[0]["state"], &stun[0]["family"]), (&"problem".into(), &"ipv4".into()));
    assert_eq!(diagnosis["nat"]["ipv4"], Value::Null);
    doctor.fails("no_path", 12, "no firewall of this network keeps UDP from leaving");
}

#[test]
fn a_path_that_carries_less_is_measured() {
    let _alone = alone();
    let spaces = Spaces::new(&["server", "router", "home"]);
    spaces.wire(("server", "eth", "10.9.1.1/24"), ("router", "left", "10.9.1.2/24"));
    spaces.wire(("router", "right", "10.9.2.2/24"), ("home", "eth", "10.9.2.1/24"));
    spaces.route_between("router");
    spaces.ip("server", "route add default via 10.9.1.2");
    spaces.ip("home", "route add default via 10.9.2.2");
    // Neither end knows.
    spaces.ip("router", "link set left mtu 1200");
    let mut server = spaces.start("server", &["serve"]);
    server.event("ready");
    let began = Instant::now();
    let args = ["doctor", "--server", "http://10.9.1.1:36542"];
    let (size, _, doctor) = told(spaces.start("home", &args), began, "path_size");
    assert_eq!(size[0]["state"], "warning", "{doctor}");
    assert!(text(&size[0], "message").contains("1112 bytes"), "{doctor}");
}

#[test]
fn a_server_that_does_not_run_or_is_silent_is_named_in_time() {
    let _alone = alone();
    let (spaces, server) = neighbours();
    drop(server);
    // What is sent there is lost.
    spaces.ip("home", "neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev eth nud permanent");
    for (url, next_step) in [
        ("http://10.9.0.1:36542", "that the server runs"),
        ("http://10.9.0.9:36542", "no firewall there closes TCP port 36542"),
    ] {
        let began = Instant::now();
        let doctor = spaces.start("home", &["doctor", "--server", url]);
        let (tcp, _, mut doctor) = told(doctor, began, "tcp");
        assert_eq!(tcp[0]["state"], "problem", "{url}");
        doctor.fails("server_unreachable", 4, next_step);
    }
}

#[test]
fn a_machine_with_nothing_learns_what_it_lacks() {
    let _alone = alone();
    let spaces = Spaces::new(&["lonely"]);
    let began = Instant::now();
    let (screen, diagnosis, mut doctor) =
        told(spaces.start("lonely", &["doctor"]), began, "capture");
    assert_eq!(screen[0]["state"], "warning");
    assert!(text(&screen[0], "message").contains("DISPLAY"), "{screen:?}");
    let said = doctor.said();
    let finding = |topic: &str| said.iter().find(|event| event["topic"] == topic).cloned();
    let window = finding("window").expect("it looks for windows");
    assert!(text(&window, "message").contains("no display"), "{window}");
    assert_eq!(finding("route").expect("it looks for routes")["state"], "problem");
    assert!(finding("encoder").is_some() && finding("sound").is_some(), "{doctor}");
    let advice = said.iter().find(|event| event["event"] == "advice");
    assert!(text(advice.expect("there is one"), "message").contains("--server"), "{doctor}");
    assert_eq!(diagnosis["problems"], 1, "{doctor}");
    doctor.fails("no_path", 12, "Plug in a cable");
    assert!(!doctor.log().contains("panicked"), "{}", doctor.log());
}
