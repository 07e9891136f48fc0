//! Loss, delay, reorder, NATs, and peers and servers that come and go.

use lllsi_core::client::{self, CloseReason};
use lllsi_core::host::{self, LayerId, LeftReason};
use lllsi_core::{Arrivals, LinkError, Machine, Path};
use lllsi_proto::invite::{Invite, Secret};
use lllsi_proto::sealed::PartReason;
use lllsi_sim::{Conditions, Line, NatKind, NodeId, Setup, World};

use crate::{for_seeds, for_some_seeds, ms, secs, watching};

fn lossy(loss: f64) -> Conditions {
    // Each datagram crosses two accesses.
    Conditions { loss: 1.0 - (1.0f64 - loss).sqrt(), ..Conditions::default() }
}

#[test]
fn a_viewer_joins_within_four_round_trips_and_misses_nothing() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        let connected = world.client(viewer).connected_at.unwrap();
        assert!(connected < ms(250), "connected after {connected:?}");
        world.run_for(secs(3));
        let (view, arrivals) = (world.client(viewer), world.status(viewer).arrivals);
        assert_eq!((arrivals.missed, arrivals.frames_lost, arrivals.keyframe_requests), (0, 0, 0));
        assert!(view.longest_gap < ms(50), "{:?}", view.longest_gap);
        // 10 ms from host to viewer, and the clocks agree.
        let latency = view.latency.unwrap();
        assert!((ms(9)..ms(13)).contains(&latency), "{latency:?}");
    });
}

#[test]
fn twenty_percent_loss_still_gives_a_stream() {
    for_seeds(|seed| {
        let (mut world, viewer) =
            watching(Setup { seed, conditions: lossy(0.2), ..Setup::default() });
        let (frames, sent) = (world.client(viewer).frames, world.host().frames);
        world.run_for(secs(10));
        let (frames, sent) = (world.client(viewer).frames - frames, world.host().frames - sent);
        assert!(world.client(viewer).closed.is_none());
        // Alive, not smooth: a keyframe of forty packets seldom gets through whole. Half of the frames is usual.
        assert!(frames * 5 > sent, "{frames} of {sent} frames");
    });
}

/// 7 Mbit/s for 20 s after the first frames. Returns how many packets were missed at first.
fn all_is_repaired(seed: u64, conditions: Conditions) -> u64 {
    const FRAME_BYTES: usize = 7_000_000 / 8 / 30;
    let setup = Setup { seed, conditions, frame_bytes: FRAME_BYTES, ..Setup::default() };
    let (mut world, viewer) = watching(setup);
    // A packet of the first keyframe may be lost before the viewer takes any.
    world.run_for(secs(2));
    let (before, keyframes) = (world.status(viewer).arrivals, world.host().keyframes);
    world.run_for(secs(20));
    let (after, view) = (world.status(viewer).arrivals, world.host());
    let given_up = |arrivals: Arrivals| {
        let Arrivals { lost, frames_lost, keyframe_requests, .. } = arrivals;
        (lost, frames_lost, keyframe_requests)
    };
    assert_eq!(given_up(after), given_up(before));
    assert_eq!(view.keyframes, keyframes, "nobody asked for one");
    after.missed - before.missed
}

#[test]
fn what_little_is_lost_on_a_long_way_is_repaired_without_a_keyframe() {
    for_some_seeds(10, |seed| {
        let missed = all_is_repaired(seed, Conditions { delay: ms(75), ..lossy(0.003) });
        assert!(missed > 15, "{missed}");
    });
}

#[test]
fn five_percent_loss_on_a_short_way_costs_no_frame() {
    for_some_seeds(10, |seed| {
        let missed = all_is_repaired(seed, lossy(0.05));
        assert!(missed > 400, "{missed}");
    });
}

#[test]
fn reordered_packets_lose_no_frame() {
    let conditions = Conditions { jitter: ms(30), ..Conditions::default() };
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, conditions, ..Setup::default() });
        world.run_for(secs(5));
        let arrivals = world.status(viewer).arrivals;
        assert!(arrivals.missed > 0, "nothing was reordered");
        assert_eq!((arrivals.lost, arrivals.frames_lost), (0, 0));
    });
}

#[test]
fn a_long_way_only_costs_time() {
    let conditions = Conditions { delay: ms(75), ..Conditions::default() };
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, conditions, ..Setup::default() });
        let connected = world.client(viewer).connected_at.unwrap();
        assert!(connected < ms(300 * 13 / 2), "connected after {connected:?}");
        world.run_for(secs(3));
        let latency = world.client(viewer).latency.unwrap();
        assert!((ms(148)..ms(156)).contains(&latency), "{latency:?}");
        assert_eq!(world.status(viewer).arrivals.frames_lost, 0);
    });
}

#[test]
fn a_viewer_that_vanishes_is_dropped_and_the_others_notice_nothing() {
    for_seeds(|seed| {
        let (mut world, ada) = watching(Setup { seed, ..Setup::default() });
        let bob = world.join("Bob");
        assert!(world.run_until(secs(5), |w| w.client(bob).frames >= 10));
        world.kill(bob);
        let dropped = world.run_until(secs(5), |w| w.host().connected.len() == 1);
        assert!(dropped, "{:?}", world.host().events);
        let silent = LeftReason::Link(LinkError::Silent);
        assert!(
            world
                .host()
                .told(|e| matches!(e, host::Event::ViewerLeft { reason, .. } if *reason == silent))
        );
        world.run_for(secs(1));
        assert!(world.client(ada).longest_gap < ms(50));
    });
}

#[test]
fn a_viewer_that_leaves_is_gone_at_once() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        world.tell_client(viewer, client::Action::Leave);
        assert_eq!(world.client(viewer).closed, Some(CloseReason::Left));
        assert!(world.run_until(ms(200), |w| w.host().connected.is_empty()));
        let said = LeftReason::Parted(PartReason::ClientLeft);
        assert!(
            world
                .host()
                .told(|e| matches!(e, host::Event::ViewerLeft { reason, .. } if *reason == said))
        );
    });
}

#[test]
fn a_host_that_vanishes_is_noticed() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        world.kill_host();
        assert!(world.run_until(secs(6), |w| w.client(viewer).closed.is_some()));
        assert_eq!(world.client(viewer).closed, Some(CloseReason::HostVanished));
    });
}

#[test]
fn a_viewer_comes_back_by_itself_when_its_network_does() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, patience: secs(30), ..Setup::default() });
        world.set_conditions(viewer, Conditions { loss: 1.0, ..Conditions::default() });
        world.run_for(secs(8));
        assert!(world.host().connected.is_empty(), "the host does not wait for it");
        assert!(world.client(viewer).told(|event| matches!(event, client::Event::Away)));
        world.set_conditions(viewer, Conditions::default());
        let frames = world.client(viewer).frames;
        let came_back = world.run_until(secs(12), |w| w.client(viewer).frames > frames + 30);
        assert!(came_back, "{:?}", world.client(viewer).events);
        assert_eq!(world.host().connected.len(), 1);
    });
}

/// Between such NATs that is the end of it: who is addressed anew has to be told the other side by way of the server.
#[test]
fn a_path_that_dies_while_a_viewer_comes_back_costs_it_one_attempt() {
    let nat = Some(NatKind::PortRestricted);
    for_seeds(|seed| {
        let (host_nat, client_nat, patience) = (nat, nat, secs(30));
        let setup = Setup { seed, host_nat, client_nat, patience, ..Setup::default() };
        let (mut world, viewer) = watching(setup);
        world.set_conditions(viewer, lossy(1.0));
        let is_away = |w: &World| w.client(viewer).told(|e| matches!(e, client::Event::Away));
        assert!(world.run_until(secs(8), is_away));
        world.set_conditions(viewer, lossy(0.0));
        let is = |e: &client::Event| matches!(e, client::Event::Admitted(_));
        let admitted =
            move |w: &World| w.client(viewer).events.iter().filter(|e| is(&e.1)).count() == 2;
        assert!(world.run_until(secs(8), admitted));
        // Somewhere between the first check and the last proof.
        world.run_for(ms(10 * (seed % 20)));
        let frames = world.client(viewer).frames;
        world.rebind(viewer);
        let back = world.run_until(secs(14), |w| w.client(viewer).frames > frames + 10);
        assert!(back, "{:?}", world.client(viewer).closed);
    });
}

#[test]
fn a_viewer_that_would_come_back_gives_up_when_the_host_is_gone_and_when_its_patience_is() {
    for_seeds(|seed| {
        let patient = Setup { seed, patience: secs(10), ..Setup::default() };
        let (mut world, viewer) = watching(patient.clone());
        world.kill_host();
        // The server knows that the room is no more. But the host may have lost its own connection, and come back.
        world.run_for(secs(12));
        assert_eq!(world.client(viewer).closed, None);
        assert!(world.run_until(secs(5), |w| w.client(viewer).closed.is_some()));
        assert_eq!(world.client(viewer).closed, Some(CloseReason::HostVanished));
        let (mut world, viewer) = watching(patient);
        world.kill_server();
        world.kill_host();
        world.run_for(secs(9));
        assert_eq!(world.client(viewer).closed, None);
        assert!(world.run_until(secs(10), |w| w.client(viewer).closed.is_some()));
        assert_eq!(world.client(viewer).closed, Some(CloseReason::HostVanished));
    });
}

#[test]
fn a_host_that_ends_the_stream_says_so() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        world.tell_host(host::Action::Close);
        assert!(world.run_until(secs(1), |w| w.client(viewer).closed.is_some()));
        assert_eq!(world.client(viewer).closed, Some(CloseReason::HostClosed));
    });
}

#[test]
fn the_server_may_die_after_the_punch_and_come_back() {
    for_seeds(|seed| {
        let (mut world, ada) = watching(Setup { seed, ..Setup::default() });
        let events = world.client(ada).events.len();
        world.kill_server();
        world.run_for(secs(10));
        let (view, arrivals) = (world.client(ada), world.status(ada).arrivals);
        assert_eq!((arrivals.missed, arrivals.frames_lost, arrivals.keyframe_requests), (0, 0, 0));
        assert!(view.longest_gap < ms(50), "{:?}", view.longest_gap);
        let later = &view.events[events..];
        assert!(later.iter().all(|(_, e)| matches!(e, client::Event::ServerLost)), "{later:?}");

        let lonely = world.join("Bob");
        assert!(world.run_until(secs(1), |w| w.client(lonely).closed.is_some()));
        assert!(matches!(world.client(lonely).closed, Some(CloseReason::ServerUnreachable(_))));

        world.start_server();
        world.run_for(secs(5));
        let bob = world.join("Bob");
        assert!(
            world.run_until(secs(5), |w| w.client(bob).frames > 0),
            "the old link admits nobody"
        );
        assert_eq!(world.host().connected.len(), 2);
        assert_eq!(world.status(ada).arrivals.frames_lost, 0);
        let lost = world.host().events.iter().filter(|e| matches!(e, host::Event::ServerLost(_)));
        assert_eq!(lost.count(), 1, "told once, not with each attempt");
    });
}

#[test]
fn a_kicked_viewer_is_told() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        let id = *world.host().connected.keys().next().unwrap();
        world.tell_host(host::Action::Kick(id));
        assert!(world.run_until(secs(1), |w| w.client(viewer).closed.is_some()));
        assert_eq!(world.client(viewer).closed, Some(CloseReason::Kicked));
        assert!(world.host().connected.is_empty());
    });
}

#[test]
fn a_viewer_learns_why_it_was_removed_though_the_goodbye_is_lost() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        world.set_conditions(viewer, Conditions { loss: 0.5, ..Conditions::default() });
        let id = *world.host().connected.keys().next().unwrap();
        world.tell_host(host::Action::Kick(id));
        assert!(world.run_until(secs(1), |w| w.client(viewer).closed.is_some()));
        assert_eq!(world.client(viewer).closed, Some(CloseReason::Kicked));
    });
}

#[test]
fn a_link_that_closes_without_a_reason_ends_the_session_soon() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        world.kill_server();
        world.run_for(secs(1));
        world.set_conditions(viewer, Conditions { loss: 0.5, ..Conditions::default() });
        let id = *world.host().connected.keys().next().unwrap();
        world.tell_host(host::Action::Kick(id));
        world.run_for(secs(5));
        let reason = world.client(viewer).closed.clone();
        use CloseReason::{HostClosed, HostVanished, Kicked};
        assert!(matches!(reason, Some(Kicked | HostClosed | HostVanished)), "{reason:?}");
    });
}

#[test]
fn the_lobby_holds_clients_until_they_are_admitted() {
    for_seeds(|seed| {
        let mut world = World::new(Setup { seed, lobby: true, ..Setup::default() });
        let (ada, bob, eve) = (world.join("Ada"), world.join("Bob"), world.join("Eve"));
        world.run_for(secs(40));
        assert!(world.host().connected.is_empty());
        let waiting: Vec<_> =
            world.host_machine().status().viewers.into_iter().map(|v| (v.id, v.name)).collect();
        assert_eq!(waiting.len(), 3);
        let id_of = |name: &str| waiting.iter().find(|(_, n)| n == name).unwrap().0;

        world.tell_host(host::Action::Kick(id_of("Eve")));
        world.tell_host(host::Action::Admit(id_of("Ada")));
        assert!(world.run_until(secs(5), |w| w.client(ada).frames > 0));
        assert_eq!(world.client(eve).closed, Some(CloseReason::Kicked));
        assert!(world.client(bob).connected_at.is_none());

        world.tell_host(host::Action::Start);
        assert!(world.run_until(secs(5), |w| w.client(bob).frames > 0));
        let late = world.join("Dan");
        assert!(world.run_until(secs(5), |w| w.client(late).frames > 0), "the door is open now");
    });
}

#[test]
fn nats_that_keep_their_mapping_are_punched() {
    for_seeds(|seed| {
        use NatKind::{FullCone, PortRestricted, Symmetric};
        for (host_nat, client_nat) in [
            (Some(PortRestricted), Some(PortRestricted)),
            (Some(FullCone), Some(Symmetric)),
            (None, Some(Symmetric)),
            (Some(PortRestricted), None),
        ] {
            let (world, viewer) =
                watching(Setup { seed, host_nat, client_nat, ..Setup::default() });
            let connected = world.client(viewer).connected_at.unwrap();
            assert!(
                connected < ms(900),
                "{host_nat:?} {client_nat:?}: connected after {connected:?}"
            );
        }
    });
}

#[test]
fn where_no_path_is_both_sides_say_so() {
    for_seeds(|seed| {
        let nat = Some(NatKind::Symmetric);
        let mut world =
            World::new(Setup { seed, host_nat: nat, client_nat: nat, ..Setup::default() });
        let viewer = world.join("Ada");
        assert!(world.run_until(secs(11), |w| w.client(viewer).closed.is_some()));
        let closed = world.client(viewer).closed.as_ref();
        let Some(CloseReason::NoPath(tried)) = closed else { panic!("{closed:?}") };
        assert_eq!(
            (tried.ours.len(), tried.theirs.len(), tried.is_seen),
            (2, 2, true),
            "{tried:?}"
        );
        assert!(world.run_until(secs(5), |w| {
            w.host().told(|e| matches!(e, host::Event::ViewerLeft { .. }))
        }));
    });
}

#[test]
fn a_path_that_dies_is_replaced_without_losing_the_session() {
    for_seeds(|seed| {
        let nat = Some(NatKind::PortRestricted);
        let (mut world, viewer) =
            watching(Setup { seed, host_nat: nat, client_nat: nat, ..Setup::default() });
        let before: Path = world.status(viewer).path.unwrap();
        let host_saw = world.host_machine().status().viewers[0].path.unwrap();
        // Both forget: nothing gets through any more in either direction.
        world.rebind(NodeId::HOST);
        world.rebind(viewer);
        let frames = world.client(viewer).frames;
        let back = world.run_until(secs(4), |w| w.client(viewer).frames > frames + 30);
        assert!(back, "{:?}", world.client(viewer));
        assert!(world.client(viewer).told(|e| matches!(e, client::Event::Restarting)));
        let after = world.host_machine().status().viewers[0].path.unwrap();
        assert!(after != host_saw || world.status(viewer).path.unwrap() != before);
        assert_eq!(world.host().connected.len(), 1);
    });
}

#[test]
fn a_link_at_rest_lives_on_a_bad_line() {
    for_some_seeds(10, |seed| {
        // 10 % each way: a ping is answered four times of five.
        let conditions = lossy(0.1);
        let (mut world, viewer) = watching(Setup { seed, conditions, ..Setup::default() });
        world.is_at_rest = true;
        world.run_for(secs(120));
        assert_eq!(world.host().connected.len(), 1, "{:?}", world.client(viewer));
        let frames = world.client(viewer).frames;
        world.is_at_rest = false;
        assert!(world.run_until(secs(2), |w| w.client(viewer).frames > frames));
    });
}

#[test]
fn a_path_that_dies_at_rest_is_replaced_too() {
    for_seeds(|seed| {
        let nat = Some(NatKind::PortRestricted);
        let (mut world, viewer) =
            watching(Setup { seed, host_nat: nat, client_nat: nat, ..Setup::default() });
        world.is_at_rest = true;
        world.run_for(secs(5) + ms(seed * 73));
        world.rebind(NodeId::HOST);
        world.rebind(viewer);
        world.run_for(secs(10));
        assert!(world.client(viewer).told(|e| matches!(e, client::Event::Restarting)));
        assert_eq!(world.host().connected.len(), 1, "{:?}", world.client(viewer));
        let frames = world.client(viewer).frames;
        world.is_at_rest = false;
        assert!(world.run_until(secs(2), |w| w.client(viewer).frames > frames));
    });
}

#[test]
fn a_path_that_comes_back_is_told() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        let before = world.status(viewer).path;
        world.set_conditions(viewer, Conditions { loss: 1.0, ..Conditions::default() });
        let is_restarting =
            |w: &World| w.client(viewer).told(|e| matches!(e, client::Event::Restarting));
        assert!(world.run_until(secs(3), is_restarting));
        world.set_conditions(viewer, Conditions::default());
        let is_back =
            |w: &World| w.client(viewer).told(|e| matches!(e, client::Event::PathChanged(_)));
        assert!(world.run_until(secs(3), is_back));
        assert_eq!(world.status(viewer).path, before);
    });
}

#[test]
fn refusals_have_their_reasons() {
    for_seeds(|seed| {
        let mut world = World::new(Setup { seed, max_viewers: 1, ..Setup::default() });
        let mut wrong_secret = world.invite();
        wrong_secret.secret = Secret::from_bytes([0; 32]);
        let mut wrong_room = world.invite();
        wrong_room.room = lllsi_proto::invite::RoomToken::from_bytes([0; 32]).room_id();
        let (wrong_secret, wrong_room) = (
            world.join_with("Eve", (&wrong_secret).into()),
            world.join_with("Eve", (&wrong_room).into()),
        );
        world.run_for(secs(1));
        assert_eq!(world.client(wrong_secret).closed, Some(CloseReason::WrongSecret));
        assert_eq!(world.client(wrong_room).closed, Some(CloseReason::UnknownRoom));
        assert!(world.host().told(|e| matches!(e, host::Event::Rejected)));

        let ada = world.join("Ada");
        assert!(world.run_until(secs(5), |w| w.client(ada).frames > 0));
        let bob = world.join("Bob");
        world.run_for(secs(1));
        assert_eq!(world.client(bob).closed, Some(CloseReason::RoomFull));
        world.tell_client(ada, client::Action::Leave);
        world.run_for(secs(1));
        let bob = world.join("Bob");
        assert!(world.run_until(secs(5), |w| w.client(bob).frames > 0), "the place is free again");
    });
}

#[test]
fn an_invitation_ends_by_uses_by_time_and_by_renewal_and_viewers_stay() {
    for_seeds(|seed| {
        let terms = host::Terms { lifetime: Some(secs(30)), uses: Some(1) };
        let mut world = World::new(Setup { seed, terms, ..Setup::default() });
        let ada = world.join("Ada");
        assert!(world.run_until(secs(5), |w| w.client(ada).frames > 0));
        let used_up = world.join("Bob");
        world.run_for(secs(1));
        assert_eq!(world.client(used_up).closed, Some(CloseReason::InviteExpired));

        let old = world.invite();
        let secret = Secret::from_bytes([9; 32]);
        let new = Invite { secret, ..old.clone() };
        world.tell_host(host::Action::Renew { secret, password: None });
        let late = world.join_with("Cyd", (&old).into());
        world.run_for(secs(1));
        assert_eq!(world.client(late).closed, Some(CloseReason::WrongSecret));

        world.run_for(secs(31));
        let too_late = world.join_with("Dan", (&new).into());
        world.run_for(secs(1));
        assert_eq!(world.client(too_late).closed, Some(CloseReason::InviteExpired));
        world.tell_host(host::Action::Renew { secret, password: None });
        let eve = world.join_with("Eve", (&new).into());
        assert!(world.run_until(secs(5), |w| w.client(eve).frames > 0));
        assert_eq!(world.client(ada).closed, None, "who is in stays");
    });
}

#[test]
fn one_encode_serves_all_until_a_path_is_narrow() {
    for_seeds(|seed| {
        let (mut world, narrow) = watching(Setup { seed, ..Setup::default() });
        for name in ["Bob", "Cyd", "Dan"] {
            let id = world.join(name);
            assert!(world.run_until(secs(5), |w| w.client(id).frames > 10));
        }
        assert_eq!(world.host_machine().frames(), u64::from(world.host().frames));
        assert!(world.host().keyframes < 10);
        assert_eq!(world.host().layers.values().filter(|layer| layer.is_watched).count(), 1);
        let wide = world.host().layer(LayerId(0)).bitrate;
        // Of 4 Mbit/s headers take 5.5 %.
        assert_eq!(wide, Some(3_780_000), "nothing stands in the way");
        world.set_lines(narrow, Line::default(), Line::of_rate(1.5e6, 50_000, ms(0)));
        world.run_for(secs(2));
        let bitrates = world.host().layers.values().filter(|layer| layer.is_watched);
        let bitrates: Vec<_> = bitrates.map(|layer| layer.bitrate).collect();
        let is_narrow = bitrates[1].is_some_and(|bitrate| bitrate < 1_600_000);
        assert!(bitrates[0] == wide && is_narrow, "{bitrates:?}");
    });
}
