//! What happens over a host's bounds, and what only its inside can show.
#![allow(clippy::disallowed_methods)] // a test needs some instant to begin at

use lllsi_proto::MAX_SIGNAL_BYTES;
use lllsi_proto::control::Message;
use lllsi_proto::invite::{Nonce, Opening, Secret};
use lllsi_proto::rendezvous::{Blob, Reply};
use lllsi_proto::sealed::{
    self, Admission, Envelope, Hello, MAX_NAME_BYTES, MAX_SEALED_BYTES, Rejection, ToClient,
    ToHost, Welcome,
};

use super::*;
use crate::SignalEvent;
use crate::link::{Link, LinkEvent};
use crate::password::Asking;
use crate::seal::{Channel, HostIdentity, Initiator, PreShared, Role, commit};

#[cfg(target_os = "linux")]
mod hostile;

/// To which all joiners commit.
const OPENING: Opening = Opening::from_bytes([4; 32]);

/// A host at a server that this test plays.
struct Fixture {
    host: Host,
    now: Instant,
    identity: HostIdentity,
    events: Vec<Event>,
    requests: Vec<Request>,
    transmits: Vec<crate::Transmit>,
    /// When the host is to be woken.
    deadline: Instant,
}

impl Fixture {
    fn new(lobby: bool, max_viewers: u32) -> Self {
        let (now, identity) = (Instant::now(), HostIdentity::from_random([7; 96]));
        let room =
            Room { name: "kitchen".parse().unwrap(), password: "right one".parse().unwrap() };
        let config = Config {
            identity: identity.clone(),
            locals: vec![SocketAddr::from(([10, 0, 0, 1], 5000))],
            certificate: Certificate::generate(),
            random_seed: [9; 32],
            lobby,
            max_viewers,
            max_bitrate: 4_000_000,
            max_uplink: None,
            layers: MAX_LAYERS,
            terms: Terms::default(),
            room: Some(room),
        };
        let host = Host::new(now, config);
        let mut fixture = Self {
            host,
            now,
            identity,
            events: Vec::new(),
            requests: Vec::new(),
            transmits: Vec::new(),
            deadline: now,
        };
        let server = SocketAddr::from(([192, 0, 2, 1], 36542));
        fixture.input(Input::Signal(SignalEvent::Connected { servers: vec![server] }));
        fixture.reply(&Reply::Opened { room: fixture.identity.room(), stun_port: 0 });
        fixture.requests.clear();
        fixture
    }

    fn input(&mut self, input: Input<'_, Action>) {
        self.host.handle_input(self.now, input);
        loop {
            match self.host.poll_output() {
                Output::Event(event) => self.events.push(event),
                Output::Signal(crate::SignalCommand::Send(text)) => {
                    self.requests.push(Request::parse(&text).unwrap());
                }
                Output::Transmit(transmit) => self.transmits.push(transmit),
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
                _ => {}
            }
        }
    }

    fn text(&mut self, text: impl Into<String>) {
        self.input(Input::Signal(SignalEvent::Received(text.into())));
    }

    fn reply(&mut self, reply: &Reply) {
        self.text(reply.to_json());
    }

    fn envelope(&mut self, client: u32, envelope: &Envelope<'_>) {
        let blob = Blob(envelope.to_bytes());
        self.reply(&Reply::Relay { client: Some(ClientId(client)), blob });
    }

    /// The last blob for a client.
    fn blob(&self, client: u32) -> &[u8] {
        let for_it = |request| match request {
            &Request::Relay { client: Some(to), ref blob } if to.0 == client => Some(&blob.0[..]),
            _ => None,
        };
        let last = self.requests.iter().rev().find_map(for_it);
        last.unwrap_or_else(|| panic!("nothing was sent to client {client}"))
    }

    /// A client that knows the link says hello.
    fn greet(&mut self, number: u32) -> Joiner {
        self.greet_as(number, format!("client {number}"))
    }

    fn greet_as(&mut self, number: u32, name: String) -> Joiner {
        self.greet_from(number, name, SocketAddr::from(([10, 0, 0, 2], 5000)), [1; 32])
    }

    fn greet_from(&mut self, number: u32, name: String, at: SocketAddr, seed: [u8; 32]) -> Joiner {
        let (link, offer) = Link::offer(self.now, &Certificate::generate(), &[at], seed);
        let hello = Hello {
            name,
            offer,
            nonce: Nonce::from_bytes([1; 32]),
            commitment: commit(Role::Client, &OPENING),
            candidates: Vec::new(),
            frame_info: true,
            parity: true,
        };
        let shared = PreShared::link(&self.identity.room(), &self.identity.secret);
        let host_key = self.identity.public_key();
        let (initiator, message) = Initiator::begin(&host_key, &shared, &sealed::to_bytes(&hello));
        self.envelope(number, &Envelope::Handshake(&message));
        let Ok(Envelope::Handshake(answer)) = Envelope::parse(self.blob(number)) else {
            panic!("no answer to a good hello")
        };
        let (channel, payload) = initiator.finish(answer).unwrap();
        let welcome = sealed::parse::<Welcome>("welcome", &payload).unwrap();
        let (admission, nonce) = (welcome.admission, welcome.nonce);
        Joiner { number, channel, link, admission, nonce, told: 0 }
    }

    /// A client that knows the link knocks, and shows its number.
    fn knock(&mut self, number: u32) -> Joiner {
        let mut joiner = self.greet(number);
        assert!(matches!(joiner.admission, Admission::Waiting));
        joiner.say(self, &ToHost::Reveal { opening: OPENING });
        joiner
    }

    /// Clients of which the user has heard that they wait.
    fn waiting(&self) -> Vec<ViewerId> {
        let waiting = self.events.iter().filter_map(|event| match event {
            Event::ViewerWaiting { id, .. } => Some(*id),
            _ => None,
        });
        waiting.collect()
    }

    fn counters(&self) -> Counters {
        self.host.status().counters
    }
}

/// A client at the server, after its hello.
struct Joiner {
    number: u32,
    channel: Channel,
    link: Link,
    admission: Admission,
    /// The host's.
    nonce: Nonce,
    /// Candidates that it has named.
    told: u32,
}

impl Joiner {
    fn say(&mut self, fixture: &mut Fixture, message: &ToHost) {
        let sealed = self.channel.seal(&sealed::to_bytes(message));
        fixture.envelope(self.number, &Envelope::Sealed(&sealed));
    }

    fn candidates(&mut self, fixture: &mut Fixture, number: u32) {
        for _ in 0..number {
            self.told += 1;
            let port = 5000 + self.told;
            let candidate = format!("candidate:1 1 udp 2130706175 203.0.113.1 {port} typ host");
            self.say(fixture, &ToHost::Candidate { candidate });
        }
    }

    /// What the host says last.
    fn hear(&mut self, fixture: &Fixture) -> ToClient {
        let Ok(Envelope::Sealed(sealed)) = Envelope::parse(fixture.blob(self.number)) else {
            panic!("not a sealed message")
        };
        sealed::parse("message", &self.channel.open(sealed).unwrap()).unwrap()
    }

    /// Asks for a new path; whether the host takes part.
    fn restart(&mut self, fixture: &mut Fixture) -> bool {
        let Some(offer) = self.link.restart(fixture.now) else {
            panic!("the offer before was not answered")
        };
        let before = fixture.requests.len();
        self.say(fixture, &ToHost::Restart { offer });
        if fixture.requests.len() == before {
            return false;
        }
        let ToClient::Restarted { answer } = self.hear(fixture) else {
            panic!("another answer was due")
        };
        self.link.accept_answer(fixture.now, &answer).unwrap();
        true
    }
}

/// A fault as a hostile client might provoke in the libraries below.
#[test]
fn a_fault_in_one_link_ends_that_link_alone() {
    let mut f = Fixture::new(true, 8);
    f.knock(1);
    f.knock(2);
    f.host.with_viewer(ViewerId(1), |_, _| panic!("a fault that this test provokes"));
    f.input(Input::Timeout);
    let left = |event: &Event| match event {
        Event::ViewerLeft { id, reason } => *id == ViewerId(1) && *reason == LeftReason::Fault,
        _ => false,
    };
    assert!(f.events.iter().any(left), "{:?}", f.events);
    let names: Vec<_> = f.host.status().viewers.into_iter().map(|viewer| viewer.name).collect();
    assert_eq!(names, ["client 2"]);
    assert_eq!(f.counters().faults, 1);
}

#[test]
fn a_client_names_twenty_candidates_and_no_more() {
    let mut f = Fixture::new(true, 8);
    let mut joiner = f.knock(1);
    joiner.candidates(&mut f, 25);
    assert_eq!(f.counters().ignored.candidates, 5, "in the lobby");
    // The offer has one more.
    f.input(Input::Action(Action::Admit(ViewerId(1))));
    assert_eq!(f.counters().ignored.candidates, 6);
    joiner.candidates(&mut f, 3);
    assert_eq!(f.counters().ignored.candidates, 9, "after it");
    joiner.told = 0;
    joiner.candidates(&mut f, 15);
    assert_eq!(f.counters().ignored.candidates, 9, "those that were taken may be told again");
    f.input(Input::Action(Action::Kick(ViewerId(1))));
    assert_eq!(f.counters().ignored.candidates, 9, "what left is still counted");
}

#[test]
fn clients_that_say_nothing_or_are_too_many_are_let_go() {
    let mut f = Fixture::new(false, 2);
    let most = 2 * 2 + SPARE_CLIENTS;
    for client in 1..=most + 5 {
        f.reply(&Reply::Arrived { client: ClientId(client) });
    }
    assert_eq!(f.counters().surplus, 5);
    f.now += HELLO_TIMEOUT;
    f.input(Input::Timeout);
    assert_eq!(f.counters().silent, u64::from(most));
    let dismissed = |request: &&Request| matches!(request, Request::Dismiss { .. });
    assert_eq!(f.requests.iter().filter(dismissed).count(), most as usize + 5);
}

#[test]
fn who_comes_to_a_crowded_lobby_is_told_that_the_room_is_full() {
    let mut f = Fixture::new(true, 1);
    let crowd = 1 + SPARE_CLIENTS;
    for client in 1..=crowd {
        assert!(matches!(f.greet(client).admission, Admission::Waiting));
    }
    let Admission::Refused { reason } = f.greet(1000).admission else { panic!("it came in") };
    assert_eq!(reason, PartReason::RoomFull);
    f.greet(1001);
    assert_eq!(f.host.viewers.len(), crowd as usize);
    assert_eq!(f.counters().refused, 2);
    let told = |event: &&Event| matches!(event, Event::Refused(PartReason::RoomFull));
    assert_eq!(f.events.iter().filter(told).count(), 1, "once a second");
}

#[test]
fn the_user_hears_of_a_knock_when_its_digits_are_known() {
    let mut f = Fixture::new(true, 8);
    let mut joiner = f.greet(1);
    assert_eq!((f.waiting(), f.host.status().viewers.len()), (vec![], 0));
    f.input(Input::Action(Action::Admit(ViewerId(1))));
    assert!(f.host.viewers[&ViewerId(1)].is_waiting(), "it cannot be admitted yet");
    for _ in 0..2 {
        joiner.say(&mut f, &ToHost::Reveal { opening: OPENING });
        assert_eq!(f.waiting(), [ViewerId(1)], "once");
    }
    f.now += FAR_FUTURE / 2;
    f.input(Input::Timeout);
    assert_eq!(f.host.status().viewers.len(), 1, "then it may wait");
}

#[test]
fn a_client_that_shows_another_number_or_none_is_let_go_and_nobody_hears_of_it() {
    let mut f = Fixture::new(true, 8);
    let mut joiner = f.greet(1);
    joiner.say(&mut f, &ToHost::Reveal { opening: Opening::from_bytes([5; 32]) });
    let told = f.requests.iter().any(|r| matches!(r, Request::Dismiss { client } if client.0 == 1));
    assert!(told && f.host.viewers.is_empty());
    f.greet(2);
    f.now = f.deadline;
    f.input(Input::Timeout);
    assert!(f.host.viewers.is_empty());
    assert_eq!((f.waiting(), f.counters().garbled), (Vec::new(), 2));
    let left = |event: &Event| matches!(event, Event::ViewerLeft { .. });
    assert!(!f.events.iter().any(left), "{:?}", f.events);
}

#[test]
fn names_are_cut_and_change_no_line_of_whoever_reads_them() {
    let mut f = Fixture::new(true, 8);
    let mut joiner = f.greet_as(1, format!("\u{202e}\n{}", "\u{e9}".repeat(1000)));
    joiner.say(&mut f, &ToHost::Reveal { opening: OPENING });
    assert_eq!(f.host.status().viewers[0].name, "\u{e9}".repeat(MAX_NAME_BYTES / 2));
}

#[test]
fn paths_are_changed_once_a_second_at_most() {
    let mut f = Fixture::new(false, 8);
    let mut joiner = f.greet(1);
    let Admission::Admitted { answer, .. } = &joiner.admission else { panic!("not let in") };
    joiner.link.accept_answer(f.now, answer).unwrap();
    assert!(joiner.restart(&mut f));
    assert!(!joiner.restart(&mut f));
    assert_eq!(f.counters().hasty, 1);
}

#[test]
fn keyframes_are_made_five_times_a_second_at_most() {
    let mut f = Fixture::new(false, 8);
    f.host.layers.note(f.now, ViewerId(1), true, false);
    for _ in 0..1000 {
        f.host.layers.want_keyframe(f.now, ViewerId(1));
        f.input(Input::Timeout);
        f.now += Duration::from_millis(1);
    }
    let made = f.events.iter().filter(|event| matches!(event, Event::KeyframeWanted(_))).count();
    assert_eq!(made, 5);
}

#[test]
fn what_makes_no_sense_is_counted_and_changes_nothing_for_others() {
    let mut f = Fixture::new(false, 8);
    f.text("nonsense");
    f.text("x".repeat(MAX_SIGNAL_BYTES + 1));
    f.reply(&Reply::Dismissed);
    assert_eq!(f.counters().garbled, 3);
    let stranger = SocketAddr::from(([203, 0, 113, 9], 9));
    let ours = SocketAddr::from(([10, 0, 0, 1], 5000));
    f.input(Input::Datagram { source: stranger, destination: ours, data: &[0x80; 30] });
    assert_eq!(f.counters().strangers, 1);
    assert!(matches!(f.greet(1).admission, Admission::Admitted { .. }));
    // Not what the client has sent: nothing more can open.
    f.envelope(1, &Envelope::Sealed(&[7; 40]));
    assert_eq!(f.counters().garbled, 4);
    let left = |event: &Event| match event {
        Event::ViewerLeft { id, reason } => *id == ViewerId(1) && *reason == LeftReason::Tampered,
        _ => false,
    };
    assert!(f.events.iter().any(left), "{:?}", f.events);
}

#[test]
fn one_viewer_gets_a_keyframe_every_500_ms_at_most() {
    let mut f = Fixture::new(false, 8);
    f.greet(1);
    let (epoch, limits, mut streams) = (f.now, f.host.limits, Streams::new(1));
    let mut viewer = f.host.viewers.remove(&ViewerId(1)).expect("it is there");
    let mut made = 0;
    for _ in 0..1200 {
        viewer.link_event(f.now, epoch, limits, &mut streams, LinkEvent::KeyframeWanted);
        viewer.advance(f.now, epoch, limits, &mut streams);
        made += u32::from(viewer.take_keyframe_wanted());
        f.now += Duration::from_millis(1);
    }
    assert_eq!((made, viewer.hasty), (3, 1197));
}

/// That the others are answered the tests of hostile viewers see, whose honest viewer waits for each answer.
#[test]
fn one_viewers_pings_are_answered_once_in_5_ms_at_most() {
    let mut f = Fixture::new(false, 8);
    f.greet(1);
    let (epoch, limits) = (f.now, f.host.limits);
    for _ in 0..1000 {
        f.host.with_viewer(ViewerId(1), |viewer, now| {
            let ping = LinkEvent::Message(Message::Ping { sent_us: 1 });
            viewer.link_event(now, epoch, limits, &mut Streams::new(1), ping)
        });
        f.input(Input::Timeout);
        f.now += Duration::from_millis(1);
    }
    assert_eq!(f.counters().hasty, 800);
}

#[test]
fn a_viewer_that_turns_pictures_off_and_on_gets_no_more_of_them_either() {
    let mut f = Fixture::new(false, 8);
    f.greet(1);
    let (epoch, limits, mut streams) = (f.now, f.host.limits, Streams::new(1));
    let mut viewer = f.host.viewers.remove(&ViewerId(1)).expect("it is there");
    let mut made = 0;
    for n in 0..1201 {
        viewer.want_pictures(n % 2 == 0);
        viewer.advance(f.now, epoch, limits, &mut streams);
        made += u32::from(viewer.take_keyframe_wanted());
        f.now += Duration::from_millis(1);
    }
    assert_eq!(made, 3);
}

#[test]
fn a_viewer_without_pictures_asks_for_no_keyframes() {
    let mut f = Fixture::new(false, 8);
    f.greet(1);
    let (now, limits, mut streams) = (f.now, f.host.limits, Streams::new(1));
    let mut viewer = f.host.viewers.remove(&ViewerId(1)).expect("it is there");
    viewer.want_pictures(false);
    viewer.link_event(now, now, limits, &mut streams, LinkEvent::KeyframeWanted);
    assert_eq!((viewer.take_keyframe_wanted(), viewer.hasty), (false, 1));
}

#[test]
fn a_sealed_message_over_the_bound_ends_its_client() {
    let mut f = Fixture::new(true, 8);
    let mut joiner = f.greet(1);
    joiner.say(&mut f, &ToHost::Candidate { candidate: "x".repeat(MAX_SEALED_BYTES) });
    let ToClient::Part { reason } = joiner.hear(&f) else { panic!("it stays") };
    assert_eq!(reason, PartReason::Protocol);
    assert_eq!(f.counters().garbled, 1);
    assert!(f.host.status().viewers.is_empty());
}

#[test]
fn wrong_secrets_and_guesses_are_counted() {
    let mut f = Fixture::new(false, 8);
    let wrong = PreShared::link(&f.identity.room(), &Secret::from_bytes([0; 32]));
    let (_, message) = Initiator::begin(&f.identity.public_key(), &wrong, b"hello");
    f.envelope(1, &Envelope::Handshake(&message));
    assert_eq!((f.counters().rejected, f.counters().slowed), (1, 0));
    let (name, guess) = ("kitchen".parse().unwrap(), "wrong one".parse().unwrap());
    for client in 2..=12 {
        let (session, scalar) = ([client as u8; 16], [client as u8; 32]);
        let share = Asking::new(&name, &guess, session, scalar).share();
        f.envelope(client, &Envelope::ClientShare { session, share });
    }
    assert_eq!((f.counters().rejected, f.counters().slowed), (1, 1));
    let told = Envelope::parse(f.blob(12)).unwrap();
    assert_eq!(told, Envelope::Rejected(Rejection::TooManyTries));
}
