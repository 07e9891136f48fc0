//! Home networks behind real NATs, in network namespaces.

use std::process::Command;

use serde_json::Value;

use crate::mean;
use crate::spaces::{etc, write_hosts};
use crate::util::{NO_DISPLAY, Program, alone, lllsi, run, text};

/// The outer addresses of the two homes in `crates/lab/nat.sh`, and the server's.
const OUTER_A: &str = "192.0.2.2:";
const OUTER_B: &str = "198.51.100.2:";
pub(crate) const SERVER: &str = "203.0.113.1:36542";

/// Two homes and a server between them, see `crates/lab/nat.sh`. Removed when dropped.
pub(crate) struct Lab(String);

impl Lab {
    pub(crate) fn new(nat_a: &str, nat_b: &str) -> Self {
        let lab = Self(format!("lllsi{}-{nat_a}-{nat_b}", std::process::id()));
        run(Self::script().args(["up", &lab.0, nat_a, nat_b]));
        lab
    }

    fn script() -> Command {
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/nat.sh"))
    }

    pub(crate) fn ip(&self, place: &str, words: &str) {
        let space = format!("{}-{place}", self.0);
        run(Command::new("ip").args(["-n", &space]).args(words.split_whitespace()));
    }

    /// IPv6 for home a and the server, without a NAT.
    fn add_ipv6(&self) {
        for (place, device, address) in [
            ("inet", "lo", "2001:db8:5::1/128"),
            ("inet", "to-a", "2001:db8:1::1/64"),
            ("a-router", "wan", "2001:db8:1::2/64"),
            ("a-router", "lan", "2001:db8:2::1/64"),
            ("a-home", "eth", "2001:db8:2::2/64"),
        ] {
            self.ip(place, &format!("address add {address} dev {device} nodad"));
        }
        for place in ["inet", "a-router"] {
            let forward = "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding";
            let space = format!("{}-{place}", self.0);
            run(Command::new("ip").args(["netns", "exec", &space, "sh", "-c", forward]));
        }
        self.ip("a-home", "-6 route add default via 2001:db8:2::1");
        self.ip("a-router", "-6 route add default via 2001:db8:1::1");
        self.ip("inet", "-6 route add 2001:db8:2::/64 via 2001:db8:1::2");
    }

    pub(crate) fn start(&self, place: &str, args: &[&str]) -> Program {
        let inner = lllsi(args);
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &format!("{}-{place}", self.0)])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_remove("LLLSI_LINK")
            // A home has none.
            .envs(NO_DISPLAY);
        Program::spawn(&format!("{place}: {}", args.join(" ")), &mut command)
    }

    /// A server on the internet, a host in home a, a viewer in home b.
    fn session(&self) -> (Program, Program, Program) {
        // All addresses of a machine that has several: STUN must answer from the one that was asked.
        self.session_at(&["serve"])
    }

    fn session_at(&self, serve: &[&str]) -> (Program, Program, Program) {
        let mut server = self.start("inet", serve);
        server.event("ready");
        let url = format!("http://{SERVER}");
        let mut host = self.start("a-home", &["host", "--source", "test", "--server", &url]);
        let link = text(&host.event("ready"), "link");
        let viewer = self.start("b-home", &["join", &link, "--headless"]);
        (server, host, viewer)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Self::script().args(["down", &self.0]).status();
        for home in ["a-home", "b-home"] {
            let _ = std::fs::remove_dir_all(etc(&format!("{}-{home}", self.0)));
        }
    }
}

/// Host and viewer meet directly, and see each other at these addresses.
fn meets(nat_a: &str, nat_b: &str, host_at: &str, viewer_at: &str) {
    let _alone = alone();
    let lab = Lab::new(nat_a, nat_b);
    let (_server, mut host, mut viewer) = lab.session();
    let connected = viewer.event("connected");
    eprintln!("{nat_a} to {nat_b}: {connected}");
    assert_eq!(connected["path"], "direct");
    assert!(text(&connected, "remote").starts_with(host_at), "{connected}");
    let connected = host.wait_for("viewer", |e| e["state"] == "connected");
    assert!(text(&connected, "remote").starts_with(viewer_at), "{connected}");
    viewer.event("first_frame");
    assert!(mean(&mut viewer, 2, "fps") > 0.0, "{viewer}");
    assert!(!viewer.said().iter().any(lost), "{viewer}{host}");
}

fn lost(event: &Value) -> bool {
    event["frames_lost"].as_u64() > Some(0)
}

#[test]
fn peers_meet_between_networks() {
    meets("none", "none", "10.0.1.2:", "10.0.2.2:");
}

#[test]
fn peers_meet_through_the_usual_nats() {
    meets("port", "port", OUTER_A, OUTER_B);
}

#[test]
fn a_host_with_both_families_is_met_by_a_viewer_with_ipv4_alone() {
    let _alone = alone();
    let lab = Lab::new("port", "port");
    lab.add_ipv6();
    let [ipv6, ipv4] = ["2001:db8:5::1", "203.0.113.1"].map(|ip| format!("{ip} server.test\n"));
    write_hosts(&format!("{}-a-home", lab.0), &(ipv6 + &ipv4));
    write_hosts(&format!("{}-b-home", lab.0), &ipv4);
    let mut server = lab.start("inet", &["serve"]);
    server.event("ready");
    let url = "http://server.test:36542";
    let mut host = lab.start("a-home", &["host", "--source", "test", "--server", url]);
    let link = text(&host.event("ready"), "link");
    let mut viewer = lab.start("b-home", &["join", &link, "--headless"]);
    let connected = viewer.event("connected");
    assert!(text(&connected, "remote").starts_with(OUTER_A), "{connected}");
    viewer.event("first_frame");
}

#[test]
fn peers_between_which_there_is_no_path_are_told_behind_which_nats_they_are() {
    let _alone = alone();
    let lab = Lab::new("symmetric", "port");
    lab.ip("inet", "address add 203.0.113.2/32 dev lo");
    let (_server, mut host, mut viewer) = lab.session_at(&["serve", "--stun-alt", "203.0.113.2"]);
    viewer.event("admitted");
    viewer.fails("no_path", 12, "These NATs cannot be crossed");
    let error = viewer.said().into_iter().rev().find(|event| event["event"] == "error");
    let left = host.wait_for("its end", |e| e["state"] == "left");
    let told = [text(&error.expect("it has failed"), "message"), text(&left, "reason")];
    let [symmetric, port] =
        ["gives each peer another port", "lets in only peers that were sent to"];
    for (told, expected) in told.iter().zip([[port, symmetric], [symmetric, port]]) {
        let (here, there) = told.split_once(") and ").expect("both sides are named");
        assert!(here.contains(expected[0]) && there.contains(expected[1]), "{told}");
        assert!(there.contains("192.0.2.2") || there.contains("198.51.100.2"), "{told}");
    }
}

#[test]
fn peers_behind_two_symmetric_nats_are_told_that_there_is_no_path() {
    let _alone = alone();
    let lab = Lab::new("symmetric", "symmetric");
    let (_server, mut host, mut viewer) = lab.session();
    viewer.event("admitted");
    viewer.fails("no_path", 12, "Try another network");
    let left = host.wait_for("its end", |e| e["state"] == "left");
    // The host reports the addresses that were tried, too.
    assert!(text(&left, "reason").contains("198.51.100.2"), "{left}");
}
