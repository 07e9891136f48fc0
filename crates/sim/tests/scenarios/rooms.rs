//! Rooms with names and passwords, and tickets to come back with.

use std::cell::RefCell;
use std::rc::Rc;

use lllsi_core::client::{self, CloseReason, Entry};
use lllsi_core::host::{self, Room};
use lllsi_core::password::answer;
use lllsi_core::seal::{HostIdentity, Responder};
use lllsi_core::{Machine, host::ViewerState};
use lllsi_proto::rendezvous::{Blob, ClientId, Reply};
use lllsi_proto::room::RoomName;
use lllsi_proto::sealed::{Envelope, PartReason, Rejection};
use lllsi_sim::{Conditions, Intruder, NodeId, Setup, World};

use crate::{for_seeds, ms, secs};

/// Kinds of envelopes.
const CLIENT_SHARE: u8 = 4;
const HOST_SHARE: u8 = 5;
const TICKET: u8 = 6;
const PASSWORD: &str = "k3f9-2mxq";

fn name() -> RoomName {
    "kitchen".parse().unwrap()
}

fn setup(seed: u64) -> Setup {
    let room = Some(Room { name: name(), password: PASSWORD.parse().unwrap() });
    Setup { seed, room, ..Setup::default() }
}

fn with(password: &str) -> Entry {
    Entry::Room { name: name(), password: password.parse().unwrap() }
}

/// Joins, and says how it ended.
fn try_to_join(world: &mut World, entry: Entry) -> Option<CloseReason> {
    let client = world.join_with("Eve", entry);
    world.run_until(secs(20), |w| w.client(client).closed.is_some() || w.client(client).frames > 0);
    world.client(client).closed.clone()
}

fn watches(world: &mut World, client: NodeId) -> bool {
    world.run_until(secs(20), |w| w.client(client).frames > 0)
}

/// What the host gave to a client that it let in.
fn ticket(world: &World, client: NodeId) -> Entry {
    let events = &world.client(client).events;
    let found = events.iter().find_map(|(_, event)| match event {
        client::Event::Admitted(entry) => entry.clone(),
        _ => None,
    });
    found.expect("a ticket")
}

#[test]
fn name_and_password_lead_to_the_stream_one_round_trip_later_than_a_link() {
    for_seeds(|seed| {
        let mut world = World::new(setup(seed));
        let begun = world.elapsed();
        let ada = world.join_with("Ada", with(PASSWORD));
        assert!(watches(&mut world, ada), "{:?}", world.client(ada));
        let connected = world.client(ada).connected_at.unwrap() - begun;
        assert!(connected < ms(300), "connected after {connected:?}");
        assert!(!world.transcript.join("").contains(PASSWORD));
        let bob = world.join("Bob");
        assert!(watches(&mut world, bob), "the link leads there too");
        let wrong_name =
            Entry::Room { name: "attic".parse().unwrap(), password: PASSWORD.parse().unwrap() };
        assert_eq!(try_to_join(&mut world, wrong_name), Some(CloseReason::UnknownRoom));
    });
}

#[test]
fn wrong_passwords_are_slowed_and_nobody_is_locked_out() {
    for_seeds(|seed| {
        let mut world = World::new(setup(seed));
        let ada = world.join_with("Ada", with(PASSWORD));
        assert!(watches(&mut world, ada));
        for _ in 0..10 {
            assert_eq!(try_to_join(&mut world, with("wrong")), Some(CloseReason::WrongPassword));
        }
        let told = |w: &World| {
            w.host().events.iter().filter(|e| matches!(e, host::Event::WrongPassword)).count()
        };
        assert_eq!(told(&world), 10);
        assert_eq!(try_to_join(&mut world, with(PASSWORD)), Some(CloseReason::TooManyTries));
        assert_eq!(told(&world), 10, "a flood is not told");

        let bob = world.join("Bob");
        assert!(watches(&mut world, bob), "a link is no guess");
        let back = ticket(&world, ada);
        world.tell_client(ada, client::Action::Leave);
        let ada = world.join_with("Ada", back);
        assert!(watches(&mut world, ada), "a ticket is no guess");

        world.run_for(secs(5));
        let cyd = world.join_with("Cyd", with(PASSWORD));
        assert!(watches(&mut world, cyd), "{:?}", world.client(cyd));
    });
}

#[test]
fn a_ticket_brings_back_past_the_lobby_and_the_terms_but_not_after_a_kick() {
    for_seeds(|seed| {
        let terms = host::Terms { lifetime: None, uses: Some(1) };
        let mut world = World::new(Setup { lobby: true, terms, ..setup(seed) });
        let ada = world.join("Ada");
        world.run_for(secs(1));
        let waiting = world.host_machine().status().viewers[0].id;
        world.tell_host(host::Action::Admit(waiting));
        assert!(watches(&mut world, ada));

        // Her link dies without a word; the host does not know yet.
        world.set_conditions(ada, Conditions { loss: 1.0, ..Conditions::default() });
        world.run_for(secs(1));
        let back = ticket(&world, ada);
        let again = world.join_with("Ada", back.clone());
        assert!(watches(&mut world, again), "{:?}", world.client(again));
        let replaced = |e: &host::Event| matches!(e, host::Event::ViewerLeft { reason, .. } if *reason == PartReason::Replaced.into());
        assert!(world.host().told(replaced));
        let states: Vec<_> =
            world.host_machine().status().viewers.iter().map(|v| v.state).collect();
        assert_eq!(states, [ViewerState::Connected]);

        // The one before is told, if it is there.
        let third = world.join_with("Ada", back.clone());
        assert!(watches(&mut world, third));
        world.run_for(secs(1));
        assert_eq!(world.client(again).closed, Some(CloseReason::Replaced));

        let viewer = world.host_machine().status().viewers[0].id;
        world.tell_host(host::Action::Kick(viewer));
        world.run_for(secs(1));
        assert_eq!(world.client(third).closed, Some(CloseReason::Kicked));
        assert_eq!(try_to_join(&mut world, back), Some(CloseReason::WrongTicket));
    });
}

#[test]
fn another_password_ends_the_one_before() {
    for_seeds(|seed| {
        let mut world = World::new(setup(seed));
        let ada = world.join_with("Ada", with(PASSWORD));
        assert!(watches(&mut world, ada));
        let secret = world.invite().secret;
        let password = Some("other".parse().unwrap());
        world.tell_host(host::Action::Renew { secret, password });
        assert_eq!(try_to_join(&mut world, with(PASSWORD)), Some(CloseReason::WrongPassword));
        assert_eq!(try_to_join(&mut world, with("other")), None);
        assert_eq!(world.client(ada).closed, None, "who is in stays");
    });
}

#[test]
fn a_name_that_is_squatted_while_the_server_was_away_costs_no_viewer() {
    for_seeds(|seed| {
        let mut world = World::new(setup(seed));
        let ada = world.join_with("Ada", with(PASSWORD));
        assert!(watches(&mut world, ada));
        world.kill_server();
        world.run_for(ms(10));
        world.start_server();
        world.squat(&name());
        let lost = |w: &World| w.host().told(|e| matches!(e, host::Event::NameLost));
        assert!(world.run_until(secs(10), lost));
        let bob = world.join("Bob");
        world.run_for(secs(5));
        let bob = if world.client(bob).closed.is_some() { world.join("Bob") } else { bob };
        assert!(watches(&mut world, bob), "the link leads to the host as before");
        assert_eq!(world.client(ada).closed, None);
        assert!(world.squatted.is_empty());
    });
}

/// What a server does to envelopes of one kind, and how the client's session ends.
type Attack = (&'static str, u8, fn(Vec<u8>) -> Vec<Vec<u8>>, CloseReason);

fn altered(mut envelope: Vec<u8>, at: usize) -> Vec<Vec<u8>> {
    envelope[at] ^= 1;
    vec![envelope]
}

#[test]
fn whatever_a_server_does_to_an_exchange_lets_nobody_in() {
    let attacks: [Attack; 10] = [
        ("alters the session", CLIENT_SHARE, |e| altered(e, 2), CloseReason::WrongPassword),
        ("alters the client's share", CLIENT_SHARE, |e| altered(e, 18), CloseReason::WrongPassword),
        ("alters the host's share", HOST_SHARE, |e| altered(e, 2), CloseReason::WrongPassword),
        ("alters the host's key", HOST_SHARE, |e| altered(e, 34), CloseReason::WrongPassword),
        ("cuts the client's share", CLIENT_SHARE, |e| vec![e[..20].into()], CloseReason::Tampered),
        ("cuts the host's share", HOST_SHARE, |e| vec![e[..20].into()], CloseReason::Tampered),
        ("drops the host's share", HOST_SHARE, |_| Vec::new(), CloseReason::NoAnswer),
        ("repeats the host's share", HOST_SHARE, |e| vec![e.clone(), e], CloseReason::Tampered),
        (
            "claims another version",
            HOST_SHARE,
            |mut e| {
                e[0] = 0;
                vec![e]
            },
            CloseReason::Version { who: "host" },
        ),
        (
            "gives the client a share of small order",
            HOST_SHARE,
            |mut e| {
                e[2..34].fill(0);
                vec![e]
            },
            CloseReason::Tampered,
        ),
    ];
    for (what, kind, attack, reason) in attacks {
        let mut world = World::new(setup(1));
        world.meddle(move |envelope| match envelope.get(1) {
            Some(found) if *found == kind => attack(envelope),
            _ => vec![envelope],
        });
        assert_eq!(try_to_join(&mut world, with(PASSWORD)), Some(reason), "a server that {what}");
        assert!(world.host().connected.is_empty(), "a server that {what}");
        world.stop_meddling();
        assert_eq!(try_to_join(&mut world, with(PASSWORD)), None, "after a server that {what}");
    }
}

#[test]
fn shares_swapped_between_clients_let_nobody_in() {
    let mut world = World::new(setup(1));
    let mut kept: Option<Vec<u8>> = None;
    // Each host share goes to the client that asked after.
    world.meddle(move |envelope| match envelope.get(1) {
        Some(&HOST_SHARE) => kept.replace(envelope).into_iter().collect(),
        _ => vec![envelope],
    });
    let first = world.join_with("Ada", with(PASSWORD));
    world.run_for(secs(1));
    let second = try_to_join(&mut world, with(PASSWORD));
    assert_eq!(second, Some(CloseReason::WrongPassword));
    world.run_for(secs(20));
    assert_eq!(world.client(first).closed, Some(CloseReason::NoAnswer));
}

/// Whether whoever squats a name, and answers with one guess, can open what the client says then.
fn opened_by_squatter(guess: &str) -> bool {
    let mut world = World::new(Setup { room: None, ..setup(1) });
    world.squat(&name());
    let client = world.join_with("Ada", with(PASSWORD));
    assert!(world.run_until(secs(5), |w| w.squatted.len() == 1), "{:?}", world.client(client));
    let (number, envelope) = world.squatted[0].clone();
    let Ok(Envelope::ClientShare { session, share: theirs }) = Envelope::parse(&envelope) else {
        panic!("{envelope:?}")
    };
    let identity = HostIdentity::from_random([3; 96]);
    let host_key = identity.public_key();
    let guess = guess.parse().unwrap();
    let (share, shared) = answer(&name(), &guess, &session, &theirs, &host_key, [2; 32]).unwrap();
    world.answer_as_squatter(number, Envelope::HostShare { share, host_key }.to_bytes());
    assert!(world.run_until(secs(5), |w| w.squatted.len() == 2), "{:?}", world.client(client));
    let (_, envelope) = world.squatted[1].clone();
    let Ok(Envelope::Handshake(hello)) = Envelope::parse(&envelope) else { panic!("{envelope:?}") };
    // To be asked for another try after that would be one guess more.
    let refusal = Envelope::Rejected(Rejection::TooManyTries).to_bytes();
    world.answer_as_squatter(number, refusal);
    world.run_for(secs(1));
    assert_eq!(world.client(client).closed, Some(CloseReason::Tampered));
    Responder::accept(&identity, &shared, hello).is_ok()
}

/// What is left to try afterwards: `lllsi_core::password`, in its own tests.
#[test]
fn whoever_squats_a_name_gets_one_guess() {
    assert!(!opened_by_squatter("letmein"));
    assert!(opened_by_squatter(PASSWORD), "this test can see it");
}

#[test]
fn a_hello_with_a_ticket_that_the_server_kept_back_ends_no_link() {
    let mut world = World::new(setup(1));
    let ada = world.join("Ada");
    assert!(watches(&mut world, ada));
    let back = ticket(&world, ada);
    let kept = Rc::new(RefCell::new(Vec::new()));
    let into = Rc::clone(&kept);
    world.meddle(move |envelope| match envelope.get(1) {
        Some(&TICKET) => {
            into.borrow_mut().push(envelope);
            Vec::new()
        }
        _ => vec![envelope],
    });
    let first = world.join_with("Ada", back.clone());
    world.run_for(secs(1));
    world.kill(first);
    world.stop_meddling();
    let again = world.join_with("Ada", back);
    assert!(watches(&mut world, again));

    let blob = Blob(kept.borrow_mut().pop().expect("it went through the server"));
    world.server_says(NodeId::HOST, &Reply::Arrived { client: ClientId(99) }.to_json());
    let late = Reply::Relay { client: Some(ClientId(99)), blob };
    world.server_says(NodeId::HOST, &late.to_json());
    let frames = world.client(again).frames;
    world.run_for(secs(30));
    assert_eq!(world.client(again).closed, None);
    assert!(world.client(again).frames > frames + 800, "it goes on undisturbed");
    assert_eq!(world.host_machine().status().viewers.len(), 1, "nobody came");
}

#[test]
fn a_kick_ends_all_that_came_with_a_ticket() {
    let mut world = World::new(setup(1));
    let eve = world.join("Eve");
    assert!(watches(&mut world, eve));
    let viewer = world.host_machine().status().viewers[0].id;
    let back = ticket(&world, eve);
    // Under way by another connection, over a line that takes its time.
    let again = world.join_with("Eve", back);
    world.set_conditions(again, Conditions { delay: ms(500), ..Conditions::default() });
    assert!(world.run_until(secs(5), |w| w.host_machine().status().viewers.len() == 2));
    world.tell_host(host::Action::Kick(viewer));
    world.run_for(secs(5));
    assert_eq!(world.client(eve).closed, Some(CloseReason::Kicked));
    assert_eq!(world.client(again).closed, Some(CloseReason::Kicked));
}

#[test]
fn one_ticket_holds_one_place() {
    let mut world = World::new(Setup { max_viewers: 2, ..setup(1) });
    let ada = world.join("Ada");
    assert!(watches(&mut world, ada));
    let back = ticket(&world, ada);
    for _ in 0..10 {
        let again = world.join_with("Ada", back.clone());
        world.set_conditions(again, Conditions { delay: ms(500), ..Conditions::default() });
        world.run_for(secs(1));
    }
    let states: Vec<_> = world.host_machine().status().viewers.iter().map(|v| v.state).collect();
    assert!(states.len() <= 2, "one is there, one is under way: {states:?}");
    let bob = world.join("Bob");
    assert!(watches(&mut world, bob), "{:?}", world.client(bob));
}

#[test]
fn tickets_that_were_hoarded_end_with_the_invitation() {
    let mut world = World::new(setup(1));
    let ada = world.join("Ada");
    assert!(watches(&mut world, ada));
    let eve = world.join("Eve");
    assert!(watches(&mut world, eve));
    let hoarded = ticket(&world, eve);
    world.tell_client(eve, client::Action::Leave);
    world.run_for(secs(1));
    let secret = world.invite().secret;
    world.tell_host(host::Action::Renew { secret, password: None });
    assert_eq!(try_to_join(&mut world, hoarded), Some(CloseReason::WrongTicket));
    let present = ticket(&world, ada);
    assert_eq!(try_to_join(&mut world, present), None);
}

#[test]
fn whoever_knows_the_name_alone_cannot_fill_the_room() {
    let mut world = World::new(setup(1));
    // Some talk nonsense; then they come, say nothing, and some go at once.
    for _ in 0..40 {
        world.intrude(&name(), Intruder::TalksNonsense);
        world.run_for(ms(10));
    }
    for round in 0..40 {
        world.intrude(&name(), if round % 2 == 0 { Intruder::Stays } else { Intruder::Goes });
        world.run_for(ms(100));
    }
    let ada = world.join("Ada");
    assert!(watches(&mut world, ada), "{:?}", world.client(ada));
    world.run_for(secs(20));
    let bob = world.join_with("Bob", with(PASSWORD));
    assert!(watches(&mut world, bob), "those that said nothing were sent away");
}
