//! Peers that change networks, and routers that come back with another address.

use std::net::SocketAddr;
use std::time::Duration;

use lllsi_core::client;
use lllsi_sim::{Conditions, NatKind, NodeId, Setup, World};

use crate::{for_some_seeds, secs, watching};

/// How soon a picture is there again once the network is.
const SOON: Duration = Duration::from_secs(5);

/// NATs of the host and of its viewer that meet.
const NATS: [[Option<NatKind>; 2]; 4] = [
    [None, None],
    [Some(NatKind::FullCone), Some(NatKind::FullCone)],
    [Some(NatKind::PortRestricted), Some(NatKind::PortRestricted)],
    [None, Some(NatKind::Symmetric)],
];

fn setup(seed: u64, [host_nat, client_nat]: [Option<NatKind>; 2]) -> Setup {
    Setup { seed, host_nat, client_nat, patience: secs(30), ..Setup::default() }
}

fn cut(world: &mut World, id: NodeId) {
    world.set_conditions(id, Conditions { loss: 1.0, ..Conditions::default() });
    world.break_connection(id);
}

/// Something happens to the network, and a picture is there again soon.
fn the_picture_comes_back(world: &mut World, viewer: NodeId, change: impl FnOnce(&mut World)) {
    change(world);
    // What is under way may still arrive.
    let frames = world.client(viewer).frames + 5;
    let back = world.run_until(SOON, |w| w.client(viewer).frames > frames);
    assert!(back, "{:#?}", world.client(viewer).events);
    assert_eq!(world.client(viewer).closed, None);
    world.run_for(secs(5));
    let now = world.client(viewer).frames;
    assert!(now > frames + 100, "{now} frames, {frames} before");
    assert_eq!(world.host().connected.len(), 1, "{:#?}", world.host().events);
}

#[test]
fn a_viewer_may_change_networks() {
    for_some_seeds(10, |seed| {
        for nats in NATS {
            let (mut world, viewer) = watching(setup(seed, nats));
            world.run_for(secs(1 + seed % 3));
            the_picture_comes_back(&mut world, viewer, |world| world.roam(viewer));
            the_picture_comes_back(&mut world, viewer, |world| world.roam(viewer));
        }
    });
}

#[test]
fn a_host_may_change_networks_and_is_found_there_by_its_link() {
    for_some_seeds(10, |seed| {
        for nats in NATS {
            let (mut world, viewer) = watching(setup(seed, nats));
            world.run_for(secs(1 + seed % 3));
            the_picture_comes_back(&mut world, viewer, |world| world.roam(NodeId::HOST));
            let other = world.join("Bob");
            assert!(world.run_until(SOON, |w| w.client(other).frames > 10), "by the same link");
        }
    });
}

#[test]
fn a_router_may_come_back_with_another_address() {
    let nat = Some(NatKind::PortRestricted);
    for_some_seeds(10, |seed| {
        for gone_for in [1, 3, 6, 12] {
            for of_host in [true, false] {
                let (mut world, viewer) = watching(setup(seed, [nat, nat]));
                world.run_for(secs(1 + seed % 3));
                let at = if of_host { NodeId::HOST } else { viewer };
                cut(&mut world, at);
                world.run_for(secs(gone_for));
                the_picture_comes_back(&mut world, viewer, |world| {
                    world.reboot_router(at);
                    world.set_conditions(at, Conditions::default());
                });
            }
        }
    });
}

#[test]
fn a_viewer_may_come_back_while_the_host_is_away_from_the_server() {
    for_some_seeds(10, |seed| {
        let (mut world, viewer) = watching(setup(seed, [None, None]));
        cut(&mut world, viewer);
        let is_away = |w: &World| w.client(viewer).told(|e| matches!(e, client::Event::Away));
        assert!(world.run_until(secs(8), is_away));
        world.kill_server();
        world.start_server();
        cut(&mut world, NodeId::HOST);
        world.set_conditions(viewer, Conditions::default());
        world.run_for(secs(3 + seed));
        assert_eq!(world.client(viewer).closed, None, "it has patience");
        the_picture_comes_back(&mut world, viewer, |world| {
            world.set_conditions(NodeId::HOST, Conditions::default());
        });
    });
}

#[test]
fn a_clearly_shorter_path_takes_over_without_a_break() {
    for_some_seeds(10, |seed| {
        for (of_host, of_viewer) in [(true, false), (false, true), (true, true)] {
            let far = Conditions { delay: Duration::from_millis(35), ..Conditions::default() };
            let (host_detour, client_detour) = (of_host.then_some(far), of_viewer.then_some(far));
            let setup = Setup { seed, host_detour, client_detour, ..Setup::default() };
            let (mut world, viewer) = watching(setup);
            world.run_for(SOON);
            // Of second addresses.
            let is_far = |at: SocketAddr| at.to_string().starts_with("100.64.");
            let path = world.status(viewer).path.expect("there is one");
            assert!(!is_far(path.local) && !is_far(path.remote), "{path:?}");
            // All that were sent meanwhile have come: 30 a second.
            let frames = world.client(viewer).frames;
            world.run_for(secs(10));
            let now = world.client(viewer).frames;
            assert!(now >= frames + 299, "{} frames in 10 s", now - frames);
            let away = |e: &client::Event| matches!(e, client::Event::Away);
            assert!(!world.client(viewer).told(away), "{:#?}", world.client(viewer).events);
        }
    });
}
