//! What must hold whatever the network does: each scenario over many seeds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lllsi_core::client::{self, CloseReason};
use lllsi_core::host::{self, LeftReason};
use lllsi_core::seal::Initiator;
use lllsi_core::{LinkError, Machine, Path};
use lllsi_proto::invite::{Invite, Nonce, Secret};
use lllsi_proto::rendezvous::{Blob, ClientId, Refusal, Reply};
use lllsi_proto::sealed::{self, Envelope, Hello, PartReason};
use lllsi_sim::{Conditions, NatKind, NodeId, Setup, World};

/// How many, unless `LLLSI_SEEDS` says otherwise: `.ci/long` runs more.
const SEEDS: u64 = 50;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs a scenario over all seeds, on two threads, and names the seed that fails.
fn for_seeds(scenario: impl Fn(u64) + Sync) {
    let seeds = std::env::var("LLLSI_SEEDS").map_or(SEEDS, |n| n.parse().expect("a number"));
    std::thread::scope(|scope| {
        for half in 0..2 {
            let scenario = &scenario;
            scope.spawn(move || {
                for seed in (half..seeds).step_by(2) {
                    let failed =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scenario(seed)));
                    assert!(failed.is_ok(), "seed {seed} failed, see above");
                }
            });
        }
    });
}

/// A world with one viewer that sees the stream.
fn watching(setup: Setup) -> (World, NodeId) {
    let mut world = World::new(setup);
    let viewer = world.join("Ada");
    let seen = world.run_until(secs(20), |w| w.client(viewer).frames >= 10);
    assert!(seen, "no stream: {:?}", world.client(viewer));
    (world, viewer)
}

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
fn the_lobby_holds_clients_until_they_are_admitted() {
    for_seeds(|seed| {
        let mut world = World::new(Setup { seed, lobby: true, ..Setup::default() });
        let (ada, bob, eve) = (world.join("Ada"), world.join("Bob"), world.join("Eve"));
        world.run_for(secs(40));
        assert!(world.host().connected.is_empty());
        let waiting: Vec<_> =
            world.host_machine().status().into_iter().map(|v| (v.id, v.name)).collect();
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
        assert!(world.run_until(secs(20), |w| w.client(viewer).closed.is_some()));
        assert_eq!(world.client(viewer).closed, Some(CloseReason::NoPath));
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
        let host_saw = world.host_machine().status()[0].path.unwrap();
        // Both forget: nothing gets through any more in either direction.
        world.rebind(NodeId::HOST);
        world.rebind(viewer);
        let frames = world.client(viewer).frames;
        let back = world.run_until(secs(4), |w| w.client(viewer).frames > frames + 30);
        assert!(back, "{:?}", world.client(viewer));
        assert!(world.client(viewer).told(|e| matches!(e, client::Event::Restarting)));
        let after = world.host_machine().status()[0].path.unwrap();
        assert!(after != host_saw || world.status(viewer).path.unwrap() != before);
        assert_eq!(world.host().connected.len(), 1);
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
fn clients_cannot_make_a_host_bombard_another_machine() {
    for_seeds(|seed| {
        let victim: IpAddr = "203.0.113.9".parse().unwrap();
        let claims = (5000..5019).map(|port| SocketAddr::new(victim, port)).collect();
        let mut world = World::new(Setup { seed, claims, ..Setup::default() });
        for name in ["Eve", "Mallory", "Eve again", "Mallory again"] {
            let attacker = world.join(name);
            assert!(world.run_until(secs(5), |w| w.client(attacker).frames > 0));
            world.tell_client(attacker, client::Action::Leave);
        }
        let elapsed = world.elapsed().as_secs() as u32;
        let sent = world.host_sent.get(&victim).copied().unwrap_or_default();
        // A dozen, and one more in five seconds.
        assert!((1..=12 + elapsed / 5 + 1).contains(&sent), "{sent} checks in {elapsed} s");
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
        let (wrong_secret, wrong_room) =
            (world.join_with("Eve", wrong_secret), world.join_with("Eve", wrong_room));
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
        world.tell_host(host::Action::Renew(secret));
        let late = world.join_with("Cyd", old.clone());
        world.run_for(secs(1));
        assert_eq!(world.client(late).closed, Some(CloseReason::WrongSecret));

        world.run_for(secs(31));
        let too_late = world.join_with("Dan", Invite { secret, ..old.clone() });
        world.run_for(secs(1));
        assert_eq!(world.client(too_late).closed, Some(CloseReason::InviteExpired));
        world.tell_host(host::Action::Renew(secret));
        let eve = world.join_with("Eve", Invite { secret, ..old });
        assert!(world.run_until(secs(5), |w| w.client(eve).frames > 0));
        assert_eq!(world.client(ada).closed, None, "who is in stays");
    });
}

#[test]
fn one_encode_serves_all_and_a_narrow_path_lowers_the_rate() {
    for_seeds(|seed| {
        let (mut world, _) = watching(Setup { seed, ..Setup::default() });
        for name in ["Bob", "Cyd", "Dan"] {
            let id = world.join(name);
            assert!(world.run_until(secs(5), |w| w.client(id).frames > 10));
        }
        assert_eq!(world.host_machine().frames(), u64::from(world.host().frames));
        assert_eq!(world.host().bitrate, None, "nothing stands in the way");
        assert!(world.host().keyframes < 10);
    });
}

#[test]
fn a_hostile_server_cannot_end_or_disturb_a_session() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        let junk = |client| {
            [&[1, 1][..], &[1, 2, 7, 7], &[1, 3, 1], &[9, 1], &[]]
                .map(|bytes: &[u8]| Reply::Relay { client, blob: Blob(bytes.to_vec()) }.to_json())
        };
        for text in junk(Some(ClientId(1))).iter().chain(&junk(Some(ClientId(77)))) {
            world.server_says(NodeId::HOST, text);
        }
        for text in &junk(None) {
            world.server_says(viewer, text);
        }
        for id in [NodeId::HOST, viewer] {
            world.server_says(id, "not even JSON");
            world.server_says(id, &Reply::Dismissed.to_json());
            world.server_says(id, &Reply::Closed.to_json());
            world.server_says(id, &Reply::Refused { reason: Refusal::ServerFull }.to_json());
        }
        let frames = world.client(viewer).frames;
        world.run_for(secs(6));
        assert!(world.client(viewer).frames > frames + 150);
        assert_eq!(world.status(viewer).arrivals.missed, 0);
        let late = world.join("Bob");
        assert!(world.run_until(secs(5), |w| w.client(late).frames > 0), "the room is open again");
    });
}

#[test]
fn forged_datagrams_do_not_end_a_link_or_keep_a_dead_one() {
    for_seeds(|seed| {
        let (mut world, viewer) = watching(Setup { seed, ..Setup::default() });
        let (host, client) = {
            let path = world.status(viewer).path.unwrap();
            (path.remote, path.local)
        };
        let stranger = "198.51.100.9:9".parse().unwrap();
        let forgeries: [&[u8]; 6] = [
            &[],
            &[0x80, 0, 0],
            // A DTLS alert in clear, fatal; then something that only begins like DTLS.
            &[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
            &[22],
            &[0xff; 1500],
            &[0x80, 102, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3],
        ];
        for data in forgeries {
            for source in [stranger, host] {
                world.forge(source, viewer, data);
            }
            for source in [stranger, client] {
                world.forge(source, NodeId::HOST, data);
            }
        }
        let frames = world.client(viewer).frames;
        world.run_for(secs(2));
        assert!(world.client(viewer).frames > frames + 50, "{:?}", world.client(viewer));

        world.kill_host();
        let gone = (0..60).any(|_| {
            world.run_for(ms(100));
            world.forge(host, viewer, &[0x80, 0, 0]);
            world.client(viewer).closed == Some(CloseReason::HostVanished)
        });
        assert!(gone, "forged signs of life keep a dead link");
    });
}

#[test]
fn hostile_offers_are_refused_and_the_host_goes_on() {
    let (mut world, viewer) = watching(Setup::default());
    let invite = world.invite();
    let video = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n";
    let credentials =
        "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=mid:0\r\n";
    let twice =
        "m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=rtpmap:102 H264/90000\r\na=rtpmap:102 rtx/90000\r\n";
    let rejected = "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:x\r\na=inactive\r\n".repeat(600);
    let offers = [
        String::new(),
        "v=0".into(),
        "x".repeat(40_000),
        format!("{video}{twice}{credentials}"),
        format!("{video}m=video 9 X 102\r\na=ice-ufrag:{}\r\n", "u".repeat(300)),
        format!("{video}{rejected}"),
    ];
    for (number, offer) in offers.into_iter().enumerate() {
        let hello = Hello { name: "Eve".into(), offer, nonce: Nonce::from_bytes([1; 32]) };
        let payload = sealed::to_bytes(&hello);
        let (_, message) =
            Initiator::begin(&invite.room, &invite.host_key, &invite.secret, &payload);
        let blob = Blob(Envelope::Handshake(&message).to_bytes());
        let client = Some(ClientId(1000 + number as u32));
        world.server_says(NodeId::HOST, &Reply::Relay { client, blob }.to_json());
    }
    let frames = world.client(viewer).frames;
    world.run_for(secs(2));
    assert!(world.client(viewer).frames > frames + 50);
    assert_eq!(world.host_machine().status().len(), 1);
}

#[test]
fn the_server_sees_nothing_it_could_use() {
    let nat = Some(NatKind::PortRestricted);
    let mut world = World::new(Setup { host_nat: nat, client_nat: nat, ..Setup::default() });
    let viewer = world.join("Ada-Lovelace");
    assert!(world.run_until(secs(20), |w| w.client(viewer).frames >= 10));
    world.tell_client(viewer, client::Action::Leave);
    world.run_for(secs(1));
    let transcript = world.transcript.join("\n");
    assert!(transcript.contains("relay"), "there is something to look at");
    let invite = world.invite();
    // As text, and as base64 would show it whatever its alignment.
    for needle in [
        "v=0",
        "m=video",
        "a=candidate",
        "candidate:",
        "ice-ufrag",
        "ice-pwd",
        "fingerprint",
        "sha-256",
        // Long: three letters occur by chance in sealed bytes.
        "Ada-Lovelace",
        "10.0.",
        "203.0.113",
        "typ host",
        "srflx",
        "admitted",
    ] {
        assert!(!transcript.contains(needle), "`{needle}` in clear");
        for encoded in base64_forms(needle) {
            assert!(!transcript.contains(&encoded), "`{needle}` in base64");
        }
    }
    assert!(!transcript.contains(&invite.secret.to_base64()), "the secret in clear");
    assert!(!transcript.contains(&invite.host_key.to_base64()), "the host's key in clear");
}

/// The middle of a text's base64url at each of its three alignments.
fn base64_forms(text: &str) -> Vec<String> {
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    (0..3usize)
        .filter_map(|shift| {
            let padded = [&vec![0; shift][..], text.as_bytes()].concat();
            let encoded = encode(&padded);
            let begin = (shift * 8).div_ceil(6);
            let end = padded.len() * 8 / 6;
            // Short pieces occur by chance.
            (end - begin >= 6).then(|| encoded[begin..end].to_owned())
        })
        .collect()
}
