//! Peers that mean harm, and bounds.

use super::*;

#[test]
fn hostile_subscribers_are_refused_and_cost_nothing() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    let say = |net: &mut Net, message: Message| {
        net.host.receive(net.now, ada, message.to_bytes().into(), &|_| None);
    };
    say(&mut net, Message::Consumed { stream: 1, number: 7, window: 9 });
    net.carry(ada, 100);
    let broken = Event::Ended(SubscriptionId(1), Some(EndReason::Protocol));
    assert_eq!(net.told[&ada].last(), Some(&broken), "it consumed what never was");
    say(&mut net, Message::Subscribe { stream: 1, from: 99, window: 9, tag: 1 });
    say(&mut net, Message::Subscribe { stream: 77, from: 0, window: 9, tag: 1 });
    say(&mut net, Message::Unsubscribe(77));
    assert_eq!(net.host.status().ignored, 1);
    assert!(net.host.status().published[0].subscribers.is_empty());
    // One that asks without end and takes no answer.
    for _ in 0..10_000 {
        say(&mut net, Message::Subscribe { stream: 77, from: 0, window: 9, tag: 1 });
    }
    assert_eq!(net.host.poll_ordered(ada), None, "it gets nothing any more");
    assert!(net.host.publisher.peers[&ada].answers.is_empty(), "and nothing is kept for it");
}

#[test]
fn hostile_publishers_are_bounded() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    let announce = |stream: u16, name: String| {
        let (kind, mode, format) = (Kind::Vector, Mode::Reliable, String::new());
        Message::Announce(stream, Announcement { run: 1, kind, mode, name, format, of: None })
    };
    let say = |net: &mut Net, bytes: Vec<u8>| {
        let peer = net.peers.get_mut(&ada).unwrap();
        peer.receive(net.now, THE_HOST, bytes.into(), &|_| None);
    };
    say(&mut net, announce(1, "s".into()).to_bytes());
    say(&mut net, announce(2, "s".into()).to_bytes());
    for n in 3..600 {
        say(&mut net, announce(n, format!("n{n}")).to_bytes());
    }
    let ignored = 597 + 2 - MAX_STREAMS as u64;
    assert_eq!(net.peers[&ada].status().ignored, ignored);
    say(&mut net, Message::Began { stream: 1, next: 1, snapshot: 0, tag: 1 }.to_bytes());
    for number in 1..=30 {
        let head = FrameHead { stream: 1, number, ..FrameHead::default() };
        say(&mut net, cut(&head, &[7; 68], 0, 100).0);
    }
    net.carry(ada, 1000);
    assert_eq!(net.frames(ada).len(), WINDOW as usize / 100, "more than the window is not held");
    let broken = Event::Ended(SubscriptionId(1), Some(EndReason::Protocol));
    assert_eq!(net.told[&ada].last(), Some(&broken));
}

#[test]
fn a_beginning_before_the_first_frame_breaks_the_protocol() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    let began = Message::Began { stream: 1, next: 0, snapshot: 0, tag: 1 };
    let peer = net.peers.get_mut(&ada).unwrap();
    peer.receive(net.now, THE_HOST, began.to_bytes().into(), &|_| None);
    net.carry(ada, 100);
    let broken = Event::Ended(SubscriptionId(1), Some(EndReason::Protocol));
    assert_eq!(net.told[&ada].last(), Some(&broken));
}

#[test]
fn a_number_is_for_one_stream_and_telling_again_changes_nothing() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    let (kind, mode, format) = (Kind::Vector, Mode::Reliable, String::new());
    for n in 0..1000 {
        let (name, format) = (format!("n{}", n / 2), format.clone());
        let announcement = Announcement { run: 1, kind, mode, name, format, of: None };
        let message = Message::Announce(1, announcement).to_bytes();
        net.peers.get_mut(&ada).unwrap().receive(net.now, THE_HOST, message.into(), &|_| None);
    }
    net.carry(ada, 10);
    assert_eq!(net.told[&ada].len(), 1);
    assert_eq!(net.peers[&ada].status().ignored, 998);
}

#[test]
fn snapshots_have_a_bound() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Map, "m");
    net.host_acts(Action::Publish(StreamId(1), offer(Kind::Map, Mode::Reliable, "m")));
    net.carry(ada, 100);
    let peer = net.peers.get_mut(&ada).unwrap();
    let began = Message::Began { stream: 1, next: 2, snapshot: 1000, tag: 1 };
    peer.receive(net.now, THE_HOST, began.to_bytes().into(), &|_| None);
    let payload = vec![0; 1 << 20];
    for number in 1..=65 {
        let head = FrameHead { stream: 1, number, flags: SNAPSHOT, ..FrameHead::default() };
        let (message, _) = cut(&head, &payload, 0, payload.len());
        peer.receive(net.now, THE_HOST, message.into(), &|_| None);
    }
    net.carry(ada, 100);
    assert_eq!(net.frames(ada).len(), 63);
    let broken = Event::Ended(SubscriptionId(1), Some(EndReason::Protocol));
    assert_eq!(net.told[&ada].last(), Some(&broken));
}

#[test]
fn streams_that_come_and_go_cost_a_peer_that_is_slow_nothing() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    net.carry(ada, 100);
    for n in 0..100_000_u32 {
        // Numbers are used again, long before some peers have heard of their first use.
        let id = StreamId((n % 50) as u16);
        net.host_acts(Action::Publish(id, offer(Kind::Vector, Mode::Reliable, &format!("n{n}"))));
        if n % 50 != 7 || n < 99_000 {
            net.host_acts(Action::Withdraw(id));
        }
    }
    net.carry(ada, 3);
    net.host_acts(Action::Withdraw(StreamId(7)));
    net.host_acts(Action::Publish(StreamId(7), offer(Kind::Vector, Mode::Reliable, "s")));
    net.carry(ada, 100);
    net.push(7, vec![1]);
    net.carry(ada, 100);
    let told = &net.told[&ada];
    assert!(told.len() < 10, "{} events", told.len());
    assert_eq!(net.frames(ada).len(), 1, "{told:?}");
}

#[test]
fn whoever_never_has_told_all_is_not_believed_to_have_ever_more() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    let mut number = 0;
    for _ in 0..20 {
        for _ in 0..MAX_STREAMS {
            number += 1;
            let (kind, mode, name) = (Kind::Vector, Mode::Reliable, format!("n{number}"));
            let format = String::new();
            let announcement = Announcement { run: 1, kind, mode, name, format, of: None };
            let message = Message::Announce(number, announcement).to_bytes();
            net.host.receive(net.now, ada, message.into(), &|_| None);
        }
        net.lose(ada);
        net.host.join(net.now, ada, Some(ticket(ada)));
    }
    net.carry(ada, 0);
    let count = |wanted: fn(&Event) -> bool| net.host_told.iter().filter(|e| wanted(e)).count();
    let announced = count(|event| matches!(event, Event::Announced(..)));
    let withdrawn = count(|event| matches!(event, Event::Withdrawn(..)));
    assert_eq!((announced, withdrawn), (20 * MAX_STREAMS, 19 * MAX_STREAMS));
}
