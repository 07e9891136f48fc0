//! Two ends without a network between them: what a channel carries arrives, or the link is lost.

mod hostile;
mod patience;

use std::collections::BTreeMap;
use std::time::Duration;

use lllsi_proto::rtsmp::{
    Announcement, EndReason, FrameHead, Kind, MAX_STREAMS, Mode, SNAPSHOT, cut,
};
use proptest::prelude::*;

use super::*;

const WINDOW: u32 = 2000;
const CAPACITY: usize = 10_000;

/// A host with peers.
struct Net {
    now: Instant,
    host: Streams,
    peers: BTreeMap<ViewerId, Streams>,
    /// What is under way to each peer, and from it.
    down: BTreeMap<ViewerId, VecDeque<Vec<u8>>>,
    up: BTreeMap<ViewerId, VecDeque<Vec<u8>>>,
    host_told: Vec<Event>,
    told: BTreeMap<ViewerId, Vec<Event>>,
}

fn ticket(id: ViewerId) -> TicketId {
    TicketId::from_bytes([id.0 as u8 % 10; 16])
}

impl Net {
    #[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
    fn new() -> Self {
        Self {
            now: Instant::now(),
            host: Streams::new(1),
            peers: BTreeMap::new(),
            down: BTreeMap::new(),
            up: BTreeMap::new(),
            host_told: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// A peer, with one wish, which is up.
    fn add(&mut self, id: u32, kind: Kind, name: &str) -> ViewerId {
        let id = ViewerId(id);
        self.peers.insert(id, Streams::new(id.0));
        self.wish(id, kind, name);
        self.join(id);
        id
    }

    fn wish(&mut self, id: ViewerId, kind: Kind, name: &str) {
        let wish = Wish { peer: THE_HOST, kind, name: name.into(), window: WINDOW };
        self.act(id, Action::Subscribe(SubscriptionId(1), wish));
    }

    fn join(&mut self, id: ViewerId) {
        self.host.join(self.now, id, Some(ticket(id)));
        self.peers.get_mut(&id).unwrap().join(self.now, THE_HOST, None);
    }

    fn lose(&mut self, id: ViewerId) {
        self.host.lost(self.now, id);
        self.peers.get_mut(&id).unwrap().lost(self.now, THE_HOST);
        self.down.remove(&id);
        self.up.remove(&id);
    }

    fn act(&mut self, id: ViewerId, action: Action) {
        self.peers.get_mut(&id).unwrap().act(self.now, action, |_| 0);
    }

    fn host_acts(&mut self, action: Action) {
        self.host.act(self.now, action, |_| 0);
    }

    fn push(&mut self, stream: u16, payload: Vec<u8>) {
        self.host_acts(Action::Push(StreamId(stream), Item::new(self.now, payload.into())));
    }

    /// Something waits that takes all the place there is.
    fn wait(&mut self) {
        self.host_acts(Action::Wait(StreamId(1), CAPACITY));
    }

    /// Moves at most so many messages in each direction between the host and a peer.
    fn carry(&mut self, id: ViewerId, mut most: usize) {
        let peer = self.peers.get_mut(&id).unwrap();
        self.host.calm(id);
        peer.calm(THE_HOST);
        while most > 0 {
            most -= 1;
            let now = self.now;
            let down = self.host.poll_ordered(id).or_else(|| self.host.poll_live(now, id));
            let up = peer.poll_ordered(THE_HOST).or_else(|| peer.poll_live(now, THE_HOST));
            if down.is_none() && up.is_none() {
                break;
            }
            if let Some(message) = down {
                peer.receive(now, THE_HOST, message.into(), &|_| Some(0));
            }
            if let Some(message) = up {
                self.host.receive(now, id, message.into(), &|_| Some(0));
            }
        }
        self.told.entry(id).or_default().extend(std::iter::from_fn(|| peer.poll_event()));
        self.host_told.extend(std::iter::from_fn(|| self.host.poll_event()));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.host.handle_timeout(self.now);
        self.peers.values_mut().for_each(|peer| peer.handle_timeout(self.now));
        self.host_told.extend(std::iter::from_fn(|| self.host.poll_event()));
    }

    fn frames(&self, id: ViewerId) -> Vec<Received> {
        let frame = |event: &Event| match event {
            Event::Frame(_, frame) => Some(frame.clone()),
            _ => None,
        };
        self.told.get(&id).map(|told| told.iter().filter_map(frame).collect()).unwrap_or_default()
    }

    /// The application takes what has come.
    fn consume(&mut self, id: ViewerId) {
        if let Some(frame) = self.frames(id).iter().rfind(|f| f.head.flags & SNAPSHOT == 0) {
            self.act(id, Action::Consumed(SubscriptionId(1), frame.head.number));
        }
    }
}

fn offer(kind: Kind, mode: Mode, name: &str) -> Offer {
    Offer {
        kind,
        mode,
        name: name.into(),
        format: String::new(),
        of: None,
        audience: Audience::All,
        capacity: CAPACITY,
        patience: Duration::from_secs(5),
    }
}

fn publish(net: &mut Net, mode: Mode) {
    net.host_acts(Action::Publish(StreamId(1), offer(Kind::Vector, mode, "s")));
}

const REAL_TIME: Mode = Mode::RealTime(100_000);

#[test]
fn a_subscriber_gets_what_comes_after_and_may_come_before_the_stream() {
    let mut net = Net::new();
    let early = net.add(1, Kind::Vector, "s");
    net.carry(early, 100);
    publish(&mut net, Mode::Reliable);
    net.carry(early, 100);
    net.push(1, vec![1]);
    let late = net.add(2, Kind::Vector, "s");
    net.carry(late, 100);
    net.push(1, vec![2]);
    for id in [early, late] {
        net.carry(id, 100);
    }
    let numbers = |id| net.frames(id).iter().map(|f| f.head.number).collect::<Vec<_>>();
    assert_eq!((numbers(early), numbers(late)), (vec![1, 2], vec![2]));
    let subscribed = Event::Subscribed(StreamId(1), early);
    assert!(net.host_told.contains(&subscribed), "{:?}", net.host_told);
    assert_eq!(net.host.status().published[0].subscribers, [early, late]);
}

#[test]
fn streams_are_for_those_for_whom_they_are() {
    let mut net = Net::new();
    let [ada, bob] = [1, 2].map(|id| net.add(id, Kind::Vector, "s"));
    let audience = Audience::Only([ada].into());
    let offer = Offer { audience, ..offer(Kind::Vector, Mode::Reliable, "s") };
    net.host_acts(Action::Publish(StreamId(1), offer));
    for id in [ada, bob] {
        net.carry(id, 100);
    }
    assert!(net.told[&bob].is_empty(), "{:?}", net.told[&bob]);
    // One that knows of it from somewhere.
    let ask = Message::Subscribe { stream: 1, from: 0, window: 1, tag: 1 };
    net.host.receive(net.now, bob, ask.to_bytes().into(), &|_| None);
    net.push(1, vec![1]);
    for id in [ada, bob] {
        net.carry(id, 100);
    }
    assert_eq!((net.frames(ada).len(), net.frames(bob).len()), (1, 0));
}

#[test]
fn withdrawn_stopped_and_cleared_streams_are_so_at_both_ends() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    net.host_acts(Action::Stop(StreamId(1)));
    net.push(1, vec![1]);
    net.carry(ada, 100);
    assert_eq!(net.told[&ada].last(), Some(&Event::Stopped(SubscriptionId(1))));
    net.host_acts(Action::Clear(StreamId(1)));
    net.push(1, vec![2]);
    net.host_acts(Action::Continue(StreamId(1)));
    net.carry(ada, 100);
    assert_eq!(net.frames(ada).iter().map(|f| f.payload[0]).collect::<Vec<_>>(), [2]);
    net.host_acts(Action::Withdraw(StreamId(1)));
    net.carry(ada, 100);
    assert!(net.told[&ada].contains(&Event::Ended(SubscriptionId(1), None)));
    net.host_acts(Action::Publish(StreamId(2), offer(Kind::Vector, Mode::Reliable, "s")));
    net.carry(ada, 100);
    net.push(2, vec![3]);
    net.carry(ada, 100);
    assert_eq!(net.frames(ada).last().unwrap().payload[0], 3);
}

#[test]
fn of_real_time_frames_the_newest_wins_and_none_is_late() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, REAL_TIME);
    net.carry(ada, 100);
    for n in 1..=3 {
        net.push(1, vec![n]);
        // Served, but the channel has no room.
        net.carry(ada, 0);
    }
    net.carry(ada, 100);
    net.push(1, vec![4]);
    net.pass(Duration::from_millis(101));
    net.carry(ada, 100);
    assert_eq!(net.frames(ada).iter().map(|f| f.payload[0]).collect::<Vec<_>>(), [3]);
    let figures = &net.host.status().published[0];
    assert_eq!((figures.sent, figures.dropped), (1, 3));
    // What is late on the way is counted at the other end; here its age is told by hand.
    let head = FrameHead { stream: 1, number: 9, captured_us: 5, ..FrameHead::default() };
    let (message, _) = cut(&head, b"late", 0, 100);
    let peer = net.peers.get_mut(&ada).unwrap();
    peer.receive(net.now, THE_HOST, message.into(), &|_| Some(100_001));
    let figures = &peer.status().subscribed[0];
    assert_eq!((figures.frames, figures.late, figures.lost), (1, 1, 5));
}

#[test]
fn small_real_time_frames_of_one_turn_go_together() {
    let mut net = Net::new();
    let [ada, bob] = [1, 2].map(|id| net.add(id, Kind::Vector, "s"));
    publish(&mut net, REAL_TIME);
    net.carry(ada, 100);
    net.carry(bob, 100);
    (1..=3).for_each(|n| net.push(1, vec![n]));
    net.carry(ada, 100);
    // Some do not fit into a packet with those before: whoever does not serve everybody first has these overtaken.
    for n in 4..=6 {
        let item = Item::new(net.now, vec![n; 600].into());
        let push = Action::Push(StreamId(1), item);
        assert_eq!(net.host.is_served_before(&push), n > 4);
        net.host_acts(push);
    }
    net.push(1, vec![7]);
    net.carry(ada, 100);
    net.carry(bob, 100);
    let got = |id| net.frames(id).iter().map(|f| f.payload[0]).collect::<Vec<_>>();
    assert_eq!((got(ada), got(bob)), (vec![1, 2, 3, 6, 7], vec![6, 7]));
    let figures = &net.host.status().published[0];
    assert_eq!((figures.sent, figures.dropped), (7, 7));
}

#[test]
fn what_was_under_way_to_an_earlier_subscription_is_not_taken_for_this_one() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    net.push(1, vec![1]);
    net.act(ada, Action::Unsubscribe(SubscriptionId(1)));
    net.wish(ada, Kind::Vector, "s");
    net.carry(ada, 100);
    net.push(1, vec![2]);
    net.carry(ada, 100);
    assert_eq!(net.frames(ada).iter().map(|f| f.payload[0]).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_map_may_be_left_and_wanted_again_before_it_has_come() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Map, "m");
    net.host_acts(Action::Publish(StreamId(1), offer(Kind::Map, Mode::Reliable, "m")));
    let (key, value): (Bytes, Bytes) = (vec![1].into(), vec![2].into());
    net.host_acts(Action::Change(StreamId(1), vec![MapChange::Insert { key, value }]));
    // The host has heard the first wish, and what it has sent is under way.
    while let Some(message) = net.host.poll_ordered(ada) {
        net.peers.get_mut(&ada).unwrap().receive(net.now, THE_HOST, message.into(), &|_| None);
    }
    let mut up = Vec::new();
    let mut polled = |net: &mut Net| {
        let peer = net.peers.get_mut(&ada).unwrap();
        up.extend(std::iter::from_fn(|| peer.poll_ordered(THE_HOST)));
        for message in up.drain(..) {
            net.host.receive(net.now, ada, message.into(), &|_| None);
        }
    };
    polled(&mut net);
    let under_way: Vec<_> = std::iter::from_fn(|| net.host.poll_ordered(ada)).collect();
    assert!(under_way.len() >= 2, "a beginning and a snapshot");
    net.act(ada, Action::Unsubscribe(SubscriptionId(1)));
    net.wish(ada, Kind::Map, "m");
    for message in under_way {
        net.peers.get_mut(&ada).unwrap().receive(net.now, THE_HOST, message.into(), &|_| None);
    }
    polled(&mut net);
    net.carry(ada, 100);
    let told = &net.told[&ada];
    assert!(!told.iter().any(|event| matches!(event, Event::Ended(..))), "{told:?}");
    assert_eq!(net.frames(ada).len(), 1);
}

#[test]
fn a_stream_that_takes_the_name_of_another_is_told_behind_its_end() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    let offer = || offer(Kind::Vector, Mode::Reliable, "s");
    net.host_acts(Action::Publish(StreamId(2), offer()));
    net.carry(ada, 100);
    net.host_acts(Action::Withdraw(StreamId(2)));
    net.host_acts(Action::Publish(StreamId(1), offer()));
    net.carry(ada, 100);
    net.push(1, vec![7]);
    net.carry(ada, 100);
    assert_eq!(net.frames(ada).len(), 1);
}

#[test]
fn who_comes_back_under_another_name_is_still_meant() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    let audience = Audience::Only([ada].into());
    let offer = Offer { audience, ..offer(Kind::Vector, Mode::Reliable, "s") };
    net.host_acts(Action::Publish(StreamId(1), offer));
    net.carry(ada, 100);
    net.push(1, vec![1]);
    net.lose(ada);
    // The same ticket, another number.
    let again = ViewerId(11);
    let peer = net.peers.remove(&ada).unwrap();
    net.peers.insert(again, peer);
    net.join(again);
    net.carry(again, 100);
    assert_eq!(net.frames(again).iter().map(|f| f.payload[0]).collect::<Vec<_>>(), [1]);
    assert!(net.host_told.contains(&Event::Returned { was: ada, is: again }));
}

#[test]
fn what_was_withdrawn_while_a_peer_was_away_is_told_when_it_is_back() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    net.lose(ada);
    net.host_acts(Action::Withdraw(StreamId(1)));
    net.join(ada);
    net.carry(ada, 100);
    let told = &net.told[&ada];
    assert!(told.contains(&Event::Ended(SubscriptionId(1), None)), "{told:?}");
    assert!(told.contains(&Event::Withdrawn(THE_HOST, Kind::Vector, "s".into())));
}

#[test]
fn whoever_wants_no_pictures_may_say_so_before_there_is_a_link() {
    let mut net = Net::new();
    net.host_acts(Action::Publish(StreamId(1), offer(Kind::Video, REAL_TIME, "screen")));
    let ada = net.add(1, Kind::Vector, "s");
    net.peers.insert(ada, Streams::new(1));
    net.act(ada, Action::Pictures(false));
    net.join(ada);
    net.carry(ada, 100);
    assert!(net.host_told.contains(&Event::Pictures(ada, false)), "{:?}", net.host_told);
}

#[test]
fn whoever_subscribes_to_a_stopped_stream_is_told_that_it_is() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "other");
    publish(&mut net, Mode::Reliable);
    net.host_acts(Action::Stop(StreamId(1)));
    net.carry(ada, 100);
    net.act(ada, Action::Unsubscribe(SubscriptionId(1)));
    net.wish(ada, Kind::Vector, "s");
    net.carry(ada, 100);
    assert!(net.told[&ada].contains(&Event::Stopped(SubscriptionId(1))), "{:?}", net.told[&ada]);
}

/// A frame is half sent when it is not kept any more: a snapshot follows, and what comes after it is whole.
#[test]
fn a_map_outruns_a_frame_that_is_half_sent() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Map, "m");
    let offer = Offer { capacity: 50_000, ..offer(Kind::Map, Mode::Reliable, "m") };
    net.host_acts(Action::Publish(StreamId(1), offer));
    net.carry(ada, 100);
    let change = |key: u8, length: usize| {
        let value = vec![7; length].into();
        Action::Change(StreamId(1), vec![MapChange::Insert { key: vec![key].into(), value }])
    };
    net.host_acts(change(1, 40_000));
    net.carry(ada, 1);
    net.host_acts(change(2, 40_000));
    net.carry(ada, 100);
    net.host_acts(change(3, 1));
    net.carry(ada, 100);
    assert!(!net.told[&ada].iter().any(|e| matches!(e, Event::Ended(..))), "{:?}", net.told[&ada]);
    assert_eq!(net.frames(ada).last().unwrap().payload.len(), 3);
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Carry(usize),
    Lose,
    Join,
    Consume,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..3000).prop_map(Step::Push),
        4 => (0usize..6).prop_map(Step::Carry),
        1 => Just(Step::Lose),
        2 => Just(Step::Join),
        2 => Just(Step::Consume),
        1 => (0u64..200).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..80)
}

fn numbered(n: u32, length: usize) -> Vec<u8> {
    let mut payload = n.to_be_bytes().to_vec();
    payload.resize(length.max(4), n as u8);
    payload
}

proptest! {
    /// Wherever the link is lost, and however little is carried before: all arrives, once, in order.
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(steps in steps()) {
        let mut net = Net::new();
        let ada = net.add(1, Kind::Vector, "s");
        net.host_acts(Action::Publish(StreamId(1), Offer { capacity: 1 << 20, ..offer(Kind::Vector, Mode::Reliable, "s") }));
        net.carry(ada, 3);
        prop_assert!(net.host_told.contains(&Event::Subscribed(StreamId(1), ada)));
        let (mut pushed, mut is_up) = (Vec::new(), true);
        for step in steps {
            match step {
                Step::Push(length) => {
                    let payload = numbered(pushed.len() as u32, length);
                    net.push(1, payload.clone());
                    pushed.push(payload);
                }
                Step::Carry(most) if is_up => net.carry(ada, most),
                Step::Lose if is_up => { net.lose(ada); is_up = false; }
                Step::Join if !is_up => { net.join(ada); is_up = true; }
                Step::Consume => net.consume(ada),
                Step::Pass(ms) => net.pass(Duration::from_millis(ms)),
                _ => {}
            }
        }
        if !is_up { net.join(ada); }
        for _ in 0..pushed.len() + 10 {
            net.carry(ada, 1000);
            net.consume(ada);
            net.pass(Duration::from_millis(60));
        }
        let got: Vec<_> = net.frames(ada).iter().map(|f| f.payload.to_vec()).collect();
        prop_assert_eq!(got, pushed);
        net.carry(ada, 1000);
        prop_assert_eq!(net.host.status().published[0].kept, 0, "all is consumed and forgotten");
    }

    /// Whoever joins a map whenever, and however slow it is: at every frame it has what the map was then.
    #[test]
    fn a_map_is_as_it_was_at_every_frame(steps in map_steps()) {
        let mut net = Net::new();
        let small = Offer { capacity: 200, ..offer(Kind::Map, Mode::Reliable, "m") };
        net.host_acts(Action::Publish(StreamId(1), small));
        let ada = ViewerId(1);
        net.peers.insert(ada, Streams::new(9));
        net.wish(ada, Kind::Map, "m");
        let (mut model, mut history, mut is_up) = (BTreeMap::new(), vec![BTreeMap::new()], false);
        for step in steps {
            match step {
                MapStep::Change(changes) => {
                    for change in &changes {
                        match change {
                            (0, _) => model.clear(),
                            (key, None) => drop(model.remove(key)),
                            (key, Some(value)) => drop(model.insert(*key, *value)),
                        }
                    }
                    history.push(model.clone());
                    let change = |change: &(u8, Option<u8>)| match *change {
                        (0, _) => MapChange::Clear,
                        (key, None) => MapChange::Remove { key: vec![key].into() },
                        (key, Some(value)) => MapChange::Insert { key: vec![key].into(), value: vec![value].into() },
                    };
                    net.host_acts(Action::Change(StreamId(1), changes.iter().map(change).collect()));
                }
                MapStep::Carry(most) if is_up => net.carry(ada, most),
                MapStep::Turn if is_up => { net.lose(ada); is_up = false; }
                MapStep::Turn => { net.join(ada); is_up = true; }
                MapStep::Consume => net.consume(ada),
                MapStep::Carry(_) => {}
            }
        }
        if !is_up { net.join(ada); }
        for _ in 0..history.len() + 5 {
            net.carry(ada, 1000);
            net.consume(ada);
            net.pass(Duration::from_millis(60));
        }
        let mine = replay(&net.told[&ada], &history)?;
        prop_assert_eq!(mine, model);
    }
}

#[derive(Debug, Clone)]
enum MapStep {
    Change(Vec<(u8, Option<u8>)>),
    Carry(usize),
    Turn,
    Consume,
}

fn map_steps() -> impl Strategy<Value = Vec<MapStep>> {
    let change = (0u8..12, proptest::option::of(0u8..20));
    let step = prop_oneof![
        6 => proptest::collection::vec(change, 1..4).prop_map(MapStep::Change),
        4 => (0usize..4).prop_map(MapStep::Carry),
        1 => Just(MapStep::Turn),
        2 => Just(MapStep::Consume),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Makes the map out of what was told, and compares it with what it was at each frame.
fn replay(told: &[Event], history: &[BTreeMap<u8, u8>]) -> Result<BTreeMap<u8, u8>, TestCaseError> {
    let (mut map, mut left) = (BTreeMap::new(), 0);
    for event in told {
        match event {
            Event::Snapshot(_, frames) => {
                map.clear();
                left = *frames;
            }
            Event::Frame(_, Received { head, payload, .. }) => {
                let mut rest = &payload[..];
                while let [kind, tail @ ..] = rest {
                    rest = match (kind, tail) {
                        (0x82, [key, value, tail @ ..]) => {
                            map.insert(*key, *value);
                            tail
                        }
                        (0x81, [key, tail @ ..]) => {
                            map.remove(key);
                            tail
                        }
                        (0x80, tail) => {
                            map.clear();
                            tail
                        }
                        _ => return Err(TestCaseError::fail("no change")),
                    };
                }
                if head.flags & SNAPSHOT != 0 {
                    left -= 1;
                } else {
                    prop_assert_eq!(left, 0, "a change before the snapshot was whole");
                    prop_assert_eq!(&map, &history[head.number as usize]);
                }
            }
            _ => {}
        }
    }
    Ok(map)
}
