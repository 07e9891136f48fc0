//! Streams of anything over bad networks: what is reliable arrives, and what is real-time is never late.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lllsi_core::streams::{
    Action, Audience, Event, Item, MapChange, Offer, Received, StreamId, Subscribed,
    SubscriptionId, THE_HOST, Wish,
};
use lllsi_core::{Machine, client, host};
use lllsi_proto::rtsmp::{Kind, Mode, SNAPSHOT};
use lllsi_sim::{Conditions, NatKind, NodeId, Setup, World};

use crate::{for_some_seeds, ms, secs, watching};

/// Each of these takes seconds.
const SEEDS: u64 = 6;

const STREAM: StreamId = StreamId(1);
const SUBSCRIPTION: SubscriptionId = SubscriptionId(1);

fn offer(kind: Kind, mode: Mode) -> Offer {
    let (name, format, of) = ("s".into(), String::new(), None);
    let (audience, capacity, patience) = (Audience::All, 8 << 20, secs(30));
    Offer { kind, mode, name, format, of, audience, capacity, patience }
}

fn wish(peer: host::ViewerId, kind: Kind) -> Action {
    Action::Subscribe(SUBSCRIPTION, Wish { peer, kind, name: "s".into(), window: 1 << 20 })
}

/// A fifth is lost, and it takes 200 ms there and back.
fn bad() -> Conditions {
    Conditions { delay: ms(50), loss: 1.0 - 0.8f64.sqrt(), ..Conditions::default() }
}

/// One of the two ends, and what its application has got.
struct End {
    node: NodeId,
    read: usize,
    got: Vec<Received>,
    /// When it had come, at the latest.
    got_at: Vec<Instant>,
    /// When this end made its items.
    made_at: Vec<Instant>,
    figures: Option<Subscribed>,
    numbers: u32,
    snapshots: u32,
}

impl End {
    fn new(node: NodeId) -> Self {
        let (got, got_at, made_at, figures) = (Vec::new(), Vec::new(), Vec::new(), None);
        Self { node, read: 0, got, got_at, made_at, figures, numbers: 0, snapshots: 0 }
    }

    fn act(&self, world: &mut World, action: Action) {
        match self.node {
            NodeId::HOST => world.tell_host(host::Action::Stream(action)),
            node => world.tell_client(node, client::Action::Stream(action)),
        }
    }

    /// Reads what was told, and takes it.
    fn read(&mut self, world: &mut World) {
        let told: Vec<Event> = match self.node {
            NodeId::HOST => {
                let events = &world.host().events[self.read..];
                self.read += events.len();
                let stream = |event: &host::Event| match event {
                    host::Event::Stream(event) => Some(event.clone()),
                    _ => None,
                };
                events.iter().filter_map(stream).collect()
            }
            node => {
                let events = &world.client(node).events[self.read..];
                self.read += events.len();
                let stream = |(_, event): &(Duration, client::Event)| match event {
                    client::Event::Stream(event) => Some(event.clone()),
                    _ => None,
                };
                events.iter().filter_map(stream).collect()
            }
        };
        let before = self.numbers;
        for event in told {
            match event {
                Event::Frame(_, frame) => {
                    if frame.head.flags & SNAPSHOT == 0 {
                        self.numbers = frame.head.number;
                    }
                    self.got.push(frame);
                    self.got_at.push(world.now());
                }
                Event::Snapshot(_, frames) => self.snapshots += frames,
                Event::Ended(_, reason) => panic!("the stream ended: {reason:?}"),
                _ => {}
            }
        }
        let status = match self.node {
            NodeId::HOST => world.host_machine().status().streams,
            node => world.status(node).streams,
        };
        self.figures = status.subscribed.into_iter().next();
        if self.numbers > before {
            self.act(world, Action::Consumed(SUBSCRIPTION, self.numbers));
        }
    }

    fn push(&mut self, world: &mut World, number: u32, length: usize) {
        self.made_at.push(world.now());
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + length, 7);
        let item = Item::new(world.now(), payload.into());
        self.act(world, Action::Push(STREAM, item));
    }

    fn payload_numbers(&self) -> Vec<u32> {
        let number =
            |f: &Received| u32::from_be_bytes(*f.payload.first_chunk().expect("four bytes"));
        self.got.iter().map(number).collect()
    }
}

/// How often both ends look at what has come.
const TURN: Duration = ms(20);

/// A host with one client on a bad network behind NATs: frames both ways for `seconds`, with what happens to the network in
/// the meantime. In the end as long as it takes until `done`.
fn two_ways(
    seed: u64,
    mode: Mode,
    largest: usize,
    happen: impl Fn(&mut World, NodeId, u32),
    done: impl Fn(&End, u32) -> bool,
) -> [End; 2] {
    let (host_nat, client_nat) = (Some(NatKind::PortRestricted), Some(NatKind::PortRestricted));
    let setup = Setup { seed, host_nat, client_nat, patience: secs(30), ..Setup::default() };
    let (mut world, viewer) = watching(setup);
    let mut ends = [End::new(NodeId::HOST), End::new(viewer)];
    let id = *world.host().connected.keys().next().expect("it is connected");
    for (end, peer) in ends.iter().zip([id, THE_HOST]) {
        end.act(&mut world, Action::Publish(STREAM, offer(Kind::Vector, mode)));
        end.act(&mut world, wish(peer, Kind::Vector));
    }
    world.run_for(secs(1));
    for node in [NodeId::HOST, viewer] {
        world.set_conditions(node, bad());
    }
    const FRAMES: u32 = 1000;
    for number in 0..FRAMES {
        happen(&mut world, viewer, number);
        for end in &mut ends {
            end.push(&mut world, number, (number as usize * 37) % largest);
            end.read(&mut world);
        }
        world.run_for(TURN);
    }
    for _ in 0..60_000 {
        world.run_for(TURN);
        ends.iter_mut().for_each(|end| end.read(&mut world));
        if ends.iter().all(|end| done(end, FRAMES)) {
            break;
        }
    }
    ends
}

/// The first time: nothing comes through for five seconds. Then the client's NAT gives it another address.
fn trouble(world: &mut World, viewer: NodeId, number: u32) {
    match number {
        200 => world.set_conditions(viewer, Conditions { loss: 1.0, ..bad() }),
        450 => world.set_conditions(viewer, bad()),
        700 => world.rebind(viewer),
        _ => {}
    }
}

#[test]
fn reliable_streams_lose_and_reorder_nothing() {
    for_some_seeds(SEEDS, |seed| {
        let done = |end: &End, frames: u32| end.got.len() as u32 >= frames;
        let ends = two_ways(seed, Mode::Reliable, 3000, trouble, done);
        for end in &ends {
            assert_eq!(end.payload_numbers(), (0..1000).collect::<Vec<_>>());
        }
    });
}

#[test]
fn small_real_time_frames_come_through_where_a_fifth_is_lost() {
    for_some_seeds(SEEDS, |seed| {
        let ends = two_ways(seed, Mode::RealTime(300_000), 200, |_, _, _| {}, |_, _| true);
        let came = ends.map(|end| end.payload_numbers().len());
        println!("{came:?} of 1000");
        assert!(came.iter().all(|came| *came >= 900), "{came:?}");
    });
}

#[test]
fn real_time_streams_are_never_late_and_every_gap_is_told() {
    const DEADLINE: u32 = 300_000;
    /// A client knows the host's clock as well as the least delayed of its pings tells.
    const CLOCKS: Duration = ms(5);
    for_some_seeds(SEEDS, |seed| {
        let ends = two_ways(seed, Mode::RealTime(DEADLINE), 200, trouble, |_, _| true);
        for (end, publisher) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            let numbers = end.payload_numbers();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            assert!(numbers.len() > 50, "{} of 1000 came", numbers.len());
            // By the time of the world, not by what one end thinks of the other's clock.
            let latest = Duration::from_micros(DEADLINE.into()) + TURN + CLOCKS;
            for (number, got_at) in numbers.iter().zip(&end.got_at) {
                let age = *got_at - publisher.made_at[*number as usize];
                assert!(age <= latest, "frame {number} was {age:?} old");
            }
            let Subscribed { frames, lost, late, .. } = end.figures.clone().expect("it subscribes");
            let (first, last) = (end.got[0].head.number, end.got[numbers.len() - 1].head.number);
            assert_eq!(frames, numbers.len() as u64);
            let told = frames + lost + late;
            assert!(told > u64::from(last - first) && told <= 1000, "{frames}, {lost}, {late}");
        }
    });
}

/// Writes to a map with ten thousand entries go on while somebody joins; in the end both have the same.
#[test]
fn a_late_joiner_of_a_large_map_has_it_as_it_is() {
    for_some_seeds(SEEDS, |seed| {
        let mut world = World::new(Setup { seed, patience: secs(30), ..Setup::default() });
        let host = End::new(NodeId::HOST);
        host.act(&mut world, Action::Publish(STREAM, offer(Kind::Map, Mode::Reliable)));
        let mut model = BTreeMap::new();
        // Keys and values are CBOR: 0x1a, and four bytes.
        let number = |n: u32| [&[0x1a][..], &n.to_be_bytes()].concat();
        let mut write = |world: &mut World, key: u32, value: u32| {
            let (key, value) = (number(key), number(value));
            model.insert(key.clone(), value.clone());
            let change = MapChange::Insert { key: key.into(), value: value.into() };
            host.act(world, Action::Change(STREAM, vec![change]));
        };
        (0..10_000).for_each(|key| write(&mut world, key, 0));
        let viewer = world.join("Ada");
        let mut end = End::new(viewer);
        end.act(&mut world, wish(THE_HOST, Kind::Map));
        let mut value = 1;
        while end.snapshots == 0 || end.got.len() < end.snapshots as usize || value < 2000 {
            // Some are overwritten, some are new.
            write(&mut world, (value * 7919) % 12_000, value);
            value += 1;
            world.run_for(ms(2));
            end.read(&mut world);
            assert!(value < 20_000, "no snapshot came");
        }
        world.run_for(secs(1));
        end.read(&mut world);
        let mut map = BTreeMap::new();
        for frame in &end.got {
            for entry in frame.payload.chunks(11) {
                assert_eq!(entry[0], 0x82);
                map.insert(entry[1..6].to_vec(), entry[6..].to_vec());
            }
        }
        assert!(map == model, "{} entries came of {}", map.len(), model.len());
        assert!(end.got.len() > end.snapshots as usize, "no change came after the snapshot");
    });
}

/// A net thread hands in several actions at once.
#[test]
fn what_a_host_sends_is_not_taken_away_by_what_it_does_next() {
    let value = || vec![1].into();
    let change = Action::Change(STREAM, vec![MapChange::Insert { key: value(), value: value() }]);
    for (kind, mode, then) in [
        (Kind::Map, Mode::Reliable, Some(Action::Withdraw(STREAM))),
        (Kind::Vector, Mode::Reliable, Some(Action::Withdraw(STREAM))),
        (Kind::Vector, Mode::Reliable, Some(Action::Stop(STREAM))),
        (Kind::Vector, Mode::Reliable, Some(Action::Clear(STREAM))),
        // A larger frame of the same stream.
        (Kind::Vector, Mode::RealTime(1_000_000), None),
    ] {
        let (mut world, ada) = watching(Setup::default());
        let viewers = [ada, world.join("Bob")];
        End::new(NodeId::HOST).act(&mut world, Action::Publish(STREAM, offer(kind, mode)));
        world.run_for(secs(5));
        for viewer in viewers {
            End::new(viewer).act(&mut world, wish(THE_HOST, kind));
        }
        world.run_for(secs(1));
        let frame = Item::new(world.now(), vec![1; 1000].into());
        let what = match kind {
            Kind::Map => change.clone(),
            _ => Action::Push(STREAM, frame),
        };
        let expected = if then.is_none() { 2 } else { 1 };
        let then = then.unwrap_or_else(|| what.clone());
        world.tell_host_all([what, then.clone()].map(host::Action::Stream));
        world.run_for(secs(1));
        for viewer in viewers {
            let told = world.client(viewer).events.iter();
            let is_frame = |(_, e): &&(_, _)| matches!(e, client::Event::Stream(Event::Frame(..)));
            assert_eq!(told.filter(is_frame).count(), expected, "before {then:?}");
        }
    }
}
