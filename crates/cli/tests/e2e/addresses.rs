//! Machines with many addresses, with dead ones, and with some that come and go.

use std::time::Duration;

use serde_json::Value;

use crate::spaces::Spaces;
use crate::util::{Program, alone, number, text};

/// How soon a picture is there again once the network is.
const SOON: Duration = Duration::from_secs(5);

const HOST: [&str; 3] = ["host", "--source", "test"];

/// All links of a host.
fn links(event: &Value) -> Vec<String> {
    let links = event["links"].as_array().expect("there are links");
    links.iter().map(|link| link.as_str().expect("it is a text").to_owned()).collect()
}

/// Joins by a link, and returns the first picture's viewer and the address at which it sees the host.
fn watch(spaces: &Spaces, at: &str, link: &str) -> (Program, String) {
    let mut viewer = spaces.start(at, &["join", link, "--headless"]);
    let connected = viewer.event("connected");
    viewer.event("first_frame");
    (viewer, text(&connected, "remote"))
}

/// A picture comes within the next seconds.
fn sees(viewer: &mut Program) {
    viewer.forget();
    viewer.wait_for_within(SOON, "picture", |event| {
        event["event"] == "stats" && number(event, "fps") > 5.0
    });
}

#[test]
fn a_server_whose_ipv6_is_dead_is_reached_by_ipv4() {
    let _alone = alone();
    let spaces = Spaces::new(&["server", "home"]);
    spaces.wire(("server", "eth", "10.9.0.1/24"), ("home", "eth", "10.9.0.2/24"));
    spaces.address("home", "eth", "2001:db8:9::2/64");
    // What is sent there is lost.
    spaces.ip("home", "neigh add 2001:db8:9::1 lladdr 02:00:00:00:00:09 dev eth nud permanent");
    spaces.hosts("home", "2001:db8:9::1 server.test\n10.9.0.1 server.test\n127.0.0.1 localhost\n");
    let mut server = spaces.start("server", &["serve"]);
    server.event("ready");
    let to = ["--server", "http://server.test:36542"];
    let mut host = spaces.start("home", &[&HOST[..], &to].concat());
    let ready = host.wait_for_within(SOON, "ready", |event| event["event"] == "ready");
    let (_viewer, remote) = watch(&spaces, "home", &text(&ready, "link"));
    assert!(remote.starts_with("10.9.0.2:") || remote.starts_with("[2001:db8:9::2]:"), "{remote}");
}

#[test]
fn many_bridges_hide_no_network() {
    let _alone = alone();
    let spaces = Spaces::new(&["host", "viewer"]);
    for n in 0..18 {
        // The same on both sides, as container engines choose them.
        let address = format!("172.{}.0.1/16", 17 + n);
        spaces.bridge("host", &format!("br{n}"), &address);
        spaces.bridge("viewer", &format!("br{n}"), &address);
    }
    spaces.wire(("host", "eth", "169.254.7.1/16"), ("viewer", "eth", "169.254.7.2/16"));
    spaces.address("host", "eth", "10.9.0.1/24");
    spaces.address("viewer", "eth", "10.9.0.2/24");
    spaces.ip("host", "route add default via 10.9.0.2 src 10.9.0.1");
    let mut host = spaces.start("host", &HOST);
    let links = links(&host.event("ready"));
    assert!(links[0].starts_with("http://127.0.0.1:"), "{links:?}");
    assert!(links[1].starts_with("https://10.9.0.1:"), "the first that others use: {links:?}");
    let (_viewer, remote) = watch(&spaces, "viewer", &links[1]);
    assert!(remote.starts_with("10.9.0.1:"), "{remote}");
}

#[test]
fn who_comes_in_over_any_bridge_is_met_there() {
    let _alone = alone();
    let spaces = Spaces::new(&["host", "container"]);
    for n in 0..20 {
        spaces.bridge("host", &format!("br{n}"), &format!("172.{}.0.1/16", 17 + n));
    }
    // Of a network for containers that leads nowhere else.
    spaces.wire(("host", "veth", "172.36.0.3/16"), ("container", "eth", "172.36.0.2/16"));
    spaces.ip("host", "address flush dev veth");
    spaces.ip("host", "link set veth master br19");
    let mut host = spaces.start("host", &HOST);
    let links = links(&host.event("ready"));
    let (_, rest) = links[1].split_once("https://").expect("it is one");
    let (_, rest) = rest.split_once(':').expect("with a port");
    let (_viewer, remote) = watch(&spaces, "container", &format!("https://172.36.0.1:{rest}"));
    assert!(remote.starts_with("172.36.0.1:"), "{remote}");
}

#[test]
fn a_tunnel_is_used_only_where_there_is_no_other_way() {
    let _alone = alone();
    let spaces = Spaces::new(&["host", "viewer"]);
    // They are there before the network that they go over.
    spaces.ip("host", "link add vpn type vxlan id 7 dstport 4789 remote 10.9.0.2");
    spaces.ip("viewer", "link add vpn type vxlan id 7 dstport 4789 remote 10.9.0.1");
    for (name, address) in [("host", "10.1.0.1/24"), ("viewer", "10.1.0.2/24")] {
        spaces.address(name, "vpn", address);
        spaces.ip(name, "link set vpn up");
    }
    spaces.wire(("host", "eth", "10.9.0.1/24"), ("viewer", "eth", "10.9.0.2/24"));
    let mut host = spaces.start("host", &HOST);
    let links = links(&host.event("ready"));
    assert!(links[1].starts_with("https://10.9.0.1:"), "{links:?}");
    // Though it is asked for through the tunnel.
    let through = links.iter().find(|link| link.contains("//10.1.0.1:")).expect("there is one");
    let (_viewer, remote) = watch(&spaces, "viewer", through);
    assert!(remote.starts_with("10.9.0.1:"), "{remote}");
}

#[test]
fn a_host_that_listens_at_one_address_has_a_link_that_browsers_take() {
    let _alone = alone();
    let spaces = Spaces::new(&["host", "viewer"]);
    spaces.wire(("host", "eth", "10.9.0.1/24"), ("viewer", "eth", "10.9.0.2/24"));
    let mut host = spaces.start("host", &[&HOST[..], &["--listen", "10.9.0.1"]].concat());
    let links = links(&host.event("ready"));
    assert!(links.len() == 1 && links[0].starts_with("https://10.9.0.1:36542/"), "{links:?}");
    let (_viewer, remote) = watch(&spaces, "viewer", &links[0]);
    assert!(remote.starts_with("10.9.0.1:"), "{remote}");
}

#[test]
fn a_firewall_need_let_only_one_port_through() {
    let _alone = alone();
    let spaces = Spaces::new(&["host", "viewer"]);
    spaces.wire(("host", "eth", "10.9.0.1/24"), ("viewer", "eth", "10.9.0.2/24"));
    for (chain, lo, port) in [("input", "iif", "dport"), ("output", "oif", "sport")] {
        let (own, one) = (format!("{lo} lo accept"), format!("th {port} 36542 accept"));
        spaces.filter("host", chain, &[&own, &format!("meta l4proto {{ tcp, udp }} {one}")]);
    }
    let mut host = spaces.start("host", &HOST);
    let links = links(&host.event("ready"));
    let (_viewer, remote) = watch(&spaces, "viewer", &links[1]);
    assert_eq!(remote, "10.9.0.1:36542");
}

#[test]
fn a_stream_may_have_a_port_of_its_own() {
    let _alone = alone();
    let spaces = Spaces::new(&["host", "viewer"]);
    spaces.wire(("host", "eth", "10.9.0.1/24"), ("viewer", "eth", "10.9.0.2/24"));
    let mut host = spaces.start("host", &[&HOST[..], &["--media-port", "7000"]].concat());
    let links = links(&host.event("ready"));
    let (_viewer, remote) = watch(&spaces, "viewer", &links[1]);
    assert_eq!(remote, "10.9.0.1:7000");
    let mut second = spaces.start("host", &[&HOST[..], &["--media-port", "7000"]].concat());
    second.fails("listen", 14, "--media-port");
}

#[test]
fn a_host_whose_port_is_taken_takes_another() {
    let _alone = alone();
    let spaces = Spaces::new(&["host", "viewer"]);
    spaces.wire(("host", "eth", "10.9.0.1/24"), ("viewer", "eth", "10.9.0.2/24"));
    let mut other = spaces.start("host", &["serve"]);
    other.event("ready");
    let mut host = spaces.start("host", &HOST);
    let links = links(&host.event("ready"));
    assert!(links[1].starts_with("https://10.9.0.1:36543/"), "{links:?}");
    let (_viewer, remote) = watch(&spaces, "viewer", &links[1]);
    assert_eq!(remote, "10.9.0.1:36543");
}

#[test]
fn a_host_may_start_before_its_network() {
    let _alone = alone();
    let spaces = Spaces::new(&["host", "viewer"]);
    let mut host = spaces.start("host", &HOST);
    let before = links(&host.event("ready"));
    assert_eq!(before.len(), 1, "for this machine alone: {before:?}");
    spaces.wire(("host", "eth", "10.9.0.1/24"), ("viewer", "eth", "10.9.0.2/24"));
    let told = host.wait_for_within(SOON, "new link", |event| event["event"] == "link");
    let now = links(&told);
    assert!(now[1].starts_with("https://10.9.0.1:"), "{now:?}");
    let (_viewer, remote) = watch(&spaces, "viewer", &now[1]);
    assert!(remote.starts_with("10.9.0.1:"), "{remote}");
}

/// A picture comes though the path carries IP packets of so many bytes at most.
fn is_seen_over(mtu: u32) {
    let _alone = alone();
    let spaces = Spaces::over_a_narrow_router(mtu);
    // Its pictures fill packets.
    let mut host = spaces.start("host", &[&HOST[..], &["--size", "1920x1080"]].concat());
    let links = links(&host.event("ready"));
    let (mut viewer, _) = watch(&spaces, "viewer", &links[1]);
    sees(&mut viewer);
    assert!(!viewer.said().iter().any(|event| event["event"] == "restarting"), "{viewer}");
}

#[test]
fn a_path_may_carry_less_than_usual() {
    is_seen_over(1200);
    is_seen_over(1150);
}

#[test]
fn a_path_may_carry_no_more_than_ipv4_asks_for() {
    is_seen_over(576);
}

/// A server, and two machines whose addresses change while one streams to the other.
fn moving(changes: &[(&str, &str, &str)]) {
    let _alone = alone();
    let spaces = Spaces::new(&["server", "host", "viewer"]);
    spaces.wire(("server", "left", "10.9.1.1/24"), ("host", "eth", "10.9.1.2/24"));
    spaces.wire(("server", "right", "10.9.2.1/24"), ("viewer", "eth", "10.9.2.2/24"));
    spaces.address("server", "left", "10.9.3.1/24");
    spaces.address("server", "right", "10.9.4.1/24");
    spaces.route_between("server");
    spaces.ip("host", "route add default via 10.9.1.1");
    spaces.ip("viewer", "route add default via 10.9.2.1");
    let mut server = spaces.start("server", &["serve", "--listen", "10.9.1.1"]);
    server.event("ready");
    let to = ["--server", "http://10.9.1.1:36542"];
    let mut host = spaces.start("host", &[&HOST[..], &to].concat());
    let (mut viewer, _) = watch(&spaces, "viewer", &text(&host.event("ready"), "link"));
    for (at, address, router) in changes {
        spaces.ip(at, "address flush dev eth");
        spaces.address(at, "eth", address);
        spaces.ip(at, &format!("route add default via {router}"));
        sees(&mut viewer);
    }
    assert!(!viewer.said().iter().any(|event| event["event"] == "error"), "{viewer}{host}");
}

#[test]
fn a_host_may_change_its_address_while_it_streams() {
    moving(&[("host", "10.9.3.2/24", "10.9.3.1"), ("host", "10.9.1.2/24", "10.9.1.1")]);
}

#[test]
fn a_viewer_may_change_its_address_while_it_watches() {
    moving(&[("viewer", "10.9.4.2/24", "10.9.4.1"), ("viewer", "10.9.2.2/24", "10.9.2.1")]);
}
