//! Whom a stream waits for, and for how long.

use super::*;

#[test]
fn a_window_and_a_capacity_bound_what_a_stopped_subscriber_costs() {
    let mut net = Net::new();
    let [slow, quick] = [1, 2].map(|id| net.add(id, Kind::Vector, "s"));
    publish(&mut net, Mode::Reliable);
    for id in [slow, quick] {
        net.carry(id, 100);
    }
    for n in 0..100 {
        net.push(1, vec![n; 68]);
        net.carry(slow, 100);
        net.carry(quick, 100);
        net.consume(quick);
        net.pass(Duration::from_millis(60));
        net.carry(quick, 100);
    }
    assert_eq!(net.frames(quick).len(), 100, "the other has all");
    assert_eq!(net.frames(slow).len(), WINDOW as usize / 100);
    assert_eq!(net.host.status().published[0].kept, CAPACITY);
    net.wait();
    net.pass(Duration::from_secs(5));
    net.carry(slow, 100);
    assert_eq!(
        net.told[&slow].last(),
        Some(&Event::Ended(SubscriptionId(1), Some(EndReason::TooSlow)))
    );
    let parted = Event::Unsubscribed(StreamId(1), slow, Some(EndReason::TooSlow));
    assert!(net.host_told.contains(&parted));
    assert_eq!(net.host.status().published[0].kept, 0);
}

#[test]
fn whoever_takes_something_is_waited_for() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    (0..100).for_each(|n| net.push(1, vec![n; 68]));
    net.wait();
    for _ in 0..4 {
        net.pass(Duration::from_secs(4));
        net.carry(ada, 100);
        net.consume(ada);
        net.carry(ada, 100);
        net.wait();
    }
    assert!(net.frames(ada).len() >= 60);
    net.pass(Duration::from_secs(6));
    net.carry(ada, 100);
    let told = net.told[&ada].last();
    assert_eq!(told, Some(&Event::Ended(SubscriptionId(1), Some(EndReason::TooSlow))));
}

#[test]
fn whoever_takes_next_to_nothing_is_not_waited_for() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    (0..100).for_each(|n| net.push(1, vec![n]));
    net.wait();
    for number in 1..=3 {
        assert!(!matches!(net.told[&ada].last(), Some(Event::Ended(..))));
        net.pass(Duration::from_secs(2));
        net.act(ada, Action::Consumed(SubscriptionId(1), number));
        net.carry(ada, 100);
        net.wait();
    }
    net.carry(ada, 100);
    let told = net.told[&ada].last();
    assert_eq!(told, Some(&Event::Ended(SubscriptionId(1), Some(EndReason::TooSlow))));
}

#[test]
fn who_takes_nothing_is_not_waited_for_whatever_it_says() {
    let subscribe = |from| Message::Subscribe { stream: 1, from, window: WINDOW, tag: 9 };
    // Where it stands, further on, at the end; away and back; what it took long ago.
    let words: [&[Message]; 5] = [
        &[subscribe(1)],
        &[subscribe(2)],
        &[subscribe(0)],
        &[Message::Unsubscribe(1), subscribe(0)],
        &[Message::Consumed { stream: 1, number: 0, window: WINDOW }],
    ];
    for words in words {
        let mut net = Net::new();
        let ada = net.add(1, Kind::Vector, "s");
        publish(&mut net, Mode::Reliable);
        net.carry(ada, 100);
        let too_slow = Event::Unsubscribed(StreamId(1), ada, Some(EndReason::TooSlow));
        let mut waits = 0;
        while !net.host_told.contains(&too_slow) {
            assert!(waits < 3, "{words:?}: it is waited for");
            waits += 1;
            (0..200).for_each(|n| net.push(1, vec![n; 68]));
            net.wait();
            net.pass(Duration::from_secs(4));
            for word in words {
                net.host.receive(net.now, ada, word.to_bytes().into(), &|_| Some(0));
            }
        }
    }
}

#[test]
fn what_is_kept_for_a_lost_peer_is_forgotten_in_time() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    net.lose(ada);
    net.push(1, vec![1]);
    net.pass(Duration::from_secs(29));
    assert!(net.host.status().published[0].kept > 0);
    net.pass(Duration::from_secs(2));
    assert_eq!(net.host.status().published[0].kept, 0);
    assert!(net.host_told.contains(&Event::Freed(StreamId(1), 33)));
    net.join(ada);
    net.carry(ada, 100);
    assert!(net.frames(ada).is_empty());
}

#[test]
fn whoever_was_too_slow_once_is_not_waited_for_again() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    let fill = |net: &mut Net| (0..100).for_each(|n| net.push(1, vec![n; 68]));
    let too_slow = Event::Unsubscribed(StreamId(1), ada, Some(EndReason::TooSlow));
    for waits in [Duration::from_secs(5), Duration::ZERO, Duration::ZERO] {
        net.host_told.clear();
        net.carry(ada, 100);
        fill(&mut net);
        net.wait();
        net.pass(waits);
        net.carry(ada, 100);
        assert!(net.host_told.contains(&too_slow), "{waits:?}");
        net.act(ada, Action::Unsubscribe(SubscriptionId(1)));
        net.wish(ada, Kind::Vector, "s");
    }
}

#[test]
fn nobody_is_too_slow_for_a_stream_that_is_stopped() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    net.host_acts(Action::Stop(StreamId(1)));
    (0..100).for_each(|n| net.push(1, vec![n; 68]));
    net.wait();
    net.pass(Duration::from_secs(60));
    net.host_acts(Action::Continue(StreamId(1)));
    net.wait();
    for _ in 0..10 {
        net.carry(ada, 100);
        net.consume(ada);
        net.pass(Duration::from_secs(1));
    }
    assert_eq!(net.frames(ada).len(), 100);
}

#[test]
fn patience_begins_with_the_first_frame_that_is_not_taken_also_without_a_link() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    net.pass(Duration::from_secs(3600));
    net.lose(ada);
    (0..100).for_each(|n| net.push(1, vec![n; 68]));
    net.wait();
    net.pass(Duration::from_secs(4));
    net.join(ada);
    for _ in 0..10 {
        net.carry(ada, 100);
        net.consume(ada);
        net.pass(Duration::from_millis(60));
    }
    assert_eq!(net.frames(ada).len(), 100, "{:?}", net.told[&ada].last());
}

#[test]
fn patience_may_have_no_end() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    let offer = offer(Kind::Vector, Mode::Reliable, "s");
    net.host_acts(Action::Publish(StreamId(1), Offer { patience: Duration::MAX, ..offer }));
    net.carry(ada, 100);
    (0..100).for_each(|n| net.push(1, vec![n; 68]));
    net.wait();
    net.pass(Duration::from_secs(3600));
    assert_eq!(net.host.status().published[0].subscribers, [ada]);
}

#[test]
fn after_a_clear_nothing_is_sent_before_the_subscriber_has_said_what_it_can_hold() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    (0..20).for_each(|n| net.push(1, vec![n; 68]));
    while net.host.poll_ordered(ada).is_some() {}
    (0..20).for_each(|n| net.push(1, vec![n; 68]));
    net.host_acts(Action::Clear(StreamId(1)));
    net.push(1, vec![41; 68]);
    let began = Message::Began { stream: 1, next: 41, snapshot: 0, tag: 1 };
    assert_eq!(net.host.poll_ordered(ada), Some(began.to_bytes()));
    assert_eq!(net.host.poll_ordered(ada), None, "it may hold a window's worth already");
    let consumed = Message::Consumed { stream: 1, number: 40, window: 100 };
    net.host.receive(net.now, ada, consumed.to_bytes().into(), &|_| None);
    assert!(net.host.poll_ordered(ada).is_some());
}

#[test]
fn a_client_may_be_more_patient_than_its_host_is() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Map, "m");
    net.host_acts(Action::Publish(StreamId(1), offer(Kind::Map, Mode::Reliable, "m")));
    net.carry(ada, 100);
    net.lose(ada);
    for _ in 0..5 {
        net.pass(Duration::from_secs(10));
    }
    net.carry(ada, 100);
    net.join(ada);
    let (key, value) = (vec![1].into(), vec![2].into());
    net.host_acts(Action::Change(StreamId(1), vec![MapChange::Insert { key, value }]));
    net.carry(ada, 100);
    assert!(!net.told[&ada].iter().any(|event| matches!(event, Event::Ended(..))));
    assert!(!net.frames(ada).is_empty());
}

#[test]
fn to_clear_again_and_again_makes_nothing_wait_for_a_peer() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    for n in 0..10_000_u32 {
        net.push(1, n.to_be_bytes().to_vec());
        net.host_acts(Action::Clear(StreamId(1)));
    }
    net.push(1, vec![1]);
    net.carry(ada, 10);
    let frames = net.frames(ada);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].head.number, 10_001);
}

const TOO_SLOW: Event = Event::Unsubscribed(StreamId(1), ViewerId(1), Some(EndReason::TooSlow));

/// Somebody, and a stream that holds as much as it may.
fn full() -> (Net, ViewerId) {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    publish(&mut net, Mode::Reliable);
    net.carry(ada, 100);
    (0..100).for_each(|n| net.push(1, vec![n; 68]));
    (net, ada)
}

/// A program that was started anew, with the ticket of the one before.
fn load_again(net: &mut Net, id: ViewerId) {
    net.peers.insert(id, Streams::new(1));
    net.wish(id, Kind::Vector, "s");
    net.join(id);
    net.carry(id, 100);
}

#[test]
fn patience_counts_only_while_somebody_waits() {
    let (mut net, ada) = full();
    net.pass(Duration::from_secs(3600));
    net.wait();
    net.pass(Duration::from_secs(4));
    assert!(!net.host_told.contains(&TOO_SLOW));
    net.pass(Duration::from_secs(2));
    net.carry(ada, 100);
    assert!(net.host_told.contains(&TOO_SLOW));
}

#[test]
fn nobody_takes_anything_twice() {
    let (mut net, ada) = full();
    for _ in 0..4 {
        net.carry(ada, 100);
        net.consume(ada);
        net.pass(Duration::from_millis(60));
    }
    // Another one still needs it.
    let bob = net.add(2, Kind::Vector, "s");
    net.carry(bob, 100);
    (0..20).for_each(|n| net.push(1, vec![n; 68]));
    net.carry(ada, 100);
    let taken = net.frames(ada).last().unwrap().head.number;
    net.consume(ada);
    net.pass(Duration::from_millis(60));
    net.carry(ada, 100);
    let back = Message::Subscribe { stream: 1, from: taken, window: WINDOW, tag: 1 };
    net.host.receive(net.now, ada, back.to_bytes().into(), &|_| None);
    net.carry(ada, 100);
    let gone = Event::Ended(SubscriptionId(1), Some(EndReason::Gone));
    assert_eq!(net.told[&ada].last(), Some(&gone));
}

#[test]
fn whoever_says_goodbye_is_not_waited_for_anew_when_it_comes_back() {
    let (mut net, ada) = full();
    net.wait();
    net.pass(Duration::from_secs(4));
    net.host.leave(net.now, ada);
    load_again(&mut net, ada);
    (0..100).for_each(|n| net.push(1, vec![n; 68]));
    net.wait();
    net.pass(Duration::from_secs(2));
    net.carry(ada, 0);
    assert!(net.host_told.contains(&TOO_SLOW), "four seconds and two are more than five");
}

#[test]
fn whoever_had_no_link_for_too_long_is_waited_for_once_it_takes_something_again() {
    let (mut net, ada) = full();
    net.lose(ada);
    net.wait();
    net.pass(Duration::from_secs(6));
    assert!(net.host_told.contains(&TOO_SLOW));
    net.host_told.clear();
    load_again(&mut net, ada);
    net.push(1, vec![0; 68]);
    net.carry(ada, 100);
    net.consume(ada);
    net.pass(Duration::from_millis(60));
    net.carry(ada, 100);
    (0..100).for_each(|n| net.push(1, vec![n; 68]));
    net.wait();
    net.pass(Duration::from_secs(4));
    assert!(!net.host_told.contains(&TOO_SLOW));
}

#[test]
fn a_stream_that_is_cleared_while_a_peer_is_away_goes_on_behind_that() {
    let (mut net, ada) = full();
    net.carry(ada, 5);
    net.consume(ada);
    net.pass(Duration::from_millis(60));
    net.carry(ada, 5);
    net.lose(ada);
    net.host_acts(Action::Clear(StreamId(1)));
    net.push(1, vec![7; 68]);
    net.join(ada);
    net.carry(ada, 100);
    assert!(!net.told[&ada].iter().any(|event| matches!(event, Event::Ended(..))));
    assert_eq!(net.frames(ada).last().map(|frame| frame.head.number), Some(101));
}

#[test]
fn what_has_ended_for_a_reason_does_not_begin_again_by_itself() {
    let (mut net, ada) = full();
    net.wait();
    net.pass(Duration::from_secs(5));
    net.carry(ada, 100);
    assert!(net.host_told.contains(&TOO_SLOW));
    net.lose(ada);
    net.join(ada);
    net.carry(ada, 100);
    assert!(net.host.status().published[0].subscribers.is_empty());
    net.wish(ada, Kind::Vector, "s");
    net.carry(ada, 100);
    assert_eq!(net.host.status().published[0].subscribers, [ada]);
}

#[test]
fn what_was_waited_is_remembered_whatever_is_said_in_between() {
    let subscribe = |from| Message::Subscribe { stream: 1, from, window: WINDOW, tag: 9 };
    for words in [[Message::Unsubscribe(1), subscribe(0)], [subscribe(9999), subscribe(0)]] {
        let (mut net, ada) = full();
        net.wait();
        net.pass(Duration::from_secs(4));
        for word in [&[Message::Unsubscribe(1)][..], &words].concat() {
            net.host.receive(net.now, ada, word.to_bytes().into(), &|_| Some(0));
        }
        (0..100).for_each(|n| net.push(1, vec![n; 68]));
        net.wait();
        net.pass(Duration::from_secs(2));
        assert!(net.host_told.contains(&TOO_SLOW), "{words:?}");
    }
}

#[test]
fn a_clear_ends_all_waiting() {
    let (mut net, ada) = full();
    let bob = net.add(2, Kind::Vector, "s");
    net.carry(ada, 5);
    net.carry(bob, 100);
    net.wait();
    net.host_acts(Action::Clear(StreamId(1)));
    net.push(1, vec![7; 68]);
    net.pass(Duration::from_secs(60));
    let subscribers = &net.host.status().published[0].subscribers;
    assert_eq!(*subscribers, [ada, bob]);
}

#[test]
fn whoever_was_parted_with_once_while_it_was_away_has_some_patience_left() {
    let (mut net, ada) = full();
    for has_patience in [true, false] {
        net.host_told.clear();
        net.lose(ada);
        net.wait();
        net.pass(Duration::from_secs(6));
        assert!(net.host_told.contains(&TOO_SLOW));
        net.host_told.clear();
        load_again(&mut net, ada);
        (0..100).for_each(|n| net.push(1, vec![n; 68]));
        net.wait();
        net.carry(ada, 0);
        assert_eq!(!net.host_told.contains(&TOO_SLOW), has_patience);
    }
}

/// Several actions may be handed in before anybody hears what was freed meanwhile.
#[test]
fn nobody_is_parted_with_for_what_has_a_place() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    let impatient = Offer { patience: Duration::ZERO, ..offer(Kind::Vector, Mode::Reliable, "s") };
    net.host_acts(Action::Publish(StreamId(1), impatient));
    net.carry(ada, 100);
    (0..100).for_each(|n| net.push(1, vec![n; 68]));
    net.host_acts(Action::Clear(StreamId(1)));
    net.wait();
    net.push(1, vec![100]);
    net.carry(ada, 100);
    net.pass(Duration::from_secs(1));
    assert_eq!(net.frames(ada).last().map(|f| f.payload[0]), Some(100));
    assert_eq!(net.host.status().published[0].subscribers, [ada]);
    // A small one has a place besides it, one of all the place there is has not.
    net.host_acts(Action::Wait(StreamId(1), 100));
    assert_eq!(net.host.status().published[0].subscribers, [ada]);
    net.wait();
    assert_eq!(net.host.status().published[0].subscribers, []);
}

/// It may have begun to wait while the stream was being cleared.
#[test]
fn who_waits_hears_of_every_clear() {
    let mut net = Net::new();
    let ada = net.add(1, Kind::Vector, "s");
    let small = Offer { capacity: 1000, ..offer(Kind::Vector, Mode::Reliable, "s") };
    net.host_acts(Action::Publish(StreamId(1), small));
    net.carry(ada, 100);
    (0..10).for_each(|n| net.push(1, vec![n; 68]));
    // All is sent, and nothing taken.
    net.carry(ada, 100);
    net.host_acts(Action::Wait(StreamId(1), 100));
    net.host_told.clear();
    net.host_acts(Action::Clear(StreamId(1)));
    net.carry(ada, 100);
    assert_eq!(net.host_told, [Event::Freed(StreamId(1), 0)]);
}
