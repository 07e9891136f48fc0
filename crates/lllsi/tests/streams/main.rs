//! Streams of anything between a real host and real clients.

mod bounds;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lllsi::stream::{Overflow, Raw};
use lllsi::{
    Client, ClientEvent, Host, HostEvent, Kind, MapEvent, Publish, Server, ServerConfig, Source,
    StreamError, ViewerId,
};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

struct Session {
    host: Host,
    _server: Server,
}

fn session() -> Session {
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(ServerConfig { listen, ..Default::default() }).unwrap();
    let url = format!("http://{}", server.http());
    let host = Host::builder().server(url).source(Source::None).start().unwrap();
    wait(&host, |event| matches!(event, HostEvent::Open).then_some(()));
    Session { host, _server: server }
}

fn wait<T>(host: &Host, wanted: impl Fn(HostEvent) -> Option<T>) -> T {
    let deadline = soon();
    loop {
        let event = host.recv(deadline).expect("it comes in time");
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

impl Session {
    fn join(&self) -> Client {
        Client::join(self.host.link()).name("Ada").start().unwrap()
    }
}

#[test]
fn reliable_items_arrive_all_and_in_order_and_whoever_brings_too_many_waits() {
    let session = session();
    let out = session.host.publish::<(u32, String)>(Publish::reliable("log").keep(20_000)).unwrap();
    let clients = [session.join(), session.join()];
    let ins = clients.each_ref().map(|client| client.vector::<(u32, String)>("log").unwrap());
    assert!(out.stream().wait_for_subscribers(2, soon()));
    let text = |n: u32| "x".repeat(n as usize % 300);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..2000).for_each(|n| out.push_back((n, text(n))).unwrap()));
        for stream in &ins {
            scope.spawn(move || {
                for n in 0..2000 {
                    assert_eq!(stream.pop_front(soon()), Ok(Some((n, text(n)))));
                }
            });
        }
    });
    assert!(out.stream().flush(soon()));
    let published = &session.host.take_stats().streams.published;
    assert!(published.iter().any(|p| p.subscribers.len() == 2), "{published:?}");
    drop(out);
    assert_eq!(ins[0].pop_front(soon()), Err(StreamError::Ended(None)));
}

#[test]
fn large_items_and_raw_bytes_and_the_largest_there_is() {
    let session = session();
    let out = session.host.publish::<Raw>("files").unwrap();
    let client = session.join();
    let stream = client.vector::<Raw>("files").unwrap();
    assert!(out.stream().wait_for_subscribers(1, soon()));
    for length in [0, 1, 16 << 10, (16 << 10) + 1, 3_000_000, 16 << 20] {
        let bytes: Vec<u8> = (0..length).map(|i: u32| (i.wrapping_mul(31) >> 3) as u8).collect();
        out.push_back(Raw(bytes.clone().into())).unwrap();
        let got = stream.pop_front(soon()).unwrap().expect("in time");
        assert!(got.0 == bytes, "{length} bytes");
    }
    let too_large = out.push_back(Raw(vec![0; (16 << 20) + 1].into()));
    assert_eq!(too_large, Err(StreamError::TooLarge((16 << 20) + 1)));
}

#[test]
fn real_time_items_know_their_age_and_a_slow_reader_has_the_newest() {
    let session = session();
    let publish = Publish::real_time("t", Duration::from_secs(5));
    let out = session.host.publish::<u32>(publish).unwrap();
    let client = session.join();
    let stream = client.vector::<u32>("t").unwrap();
    assert!(out.stream().wait_for_subscribers(1, soon()));
    out.push_back(1).unwrap();
    let first = stream.recv(soon()).unwrap().expect("in time");
    assert_eq!((first.item, first.number), (1, 1));
    assert!(first.age.expect("the clocks agree") < Duration::from_secs(5));
    for n in 2..500 {
        out.push_back(n).unwrap();
        std::thread::sleep(Duration::from_micros(300));
    }
    let deadline = soon();
    while stream.stream().counts().dropped == 0 {
        assert!(
            Instant::now() < deadline,
            "more than sixteen wait for a reader that does not read"
        );
        std::thread::yield_now();
    }
    assert!(stream.stream().counts().waiting <= 16);
    let mut last = 1;
    while last < 499 {
        let next = stream.pop_front(deadline).unwrap().expect("the newest comes in time");
        assert!(next > last, "{next} after {last}");
        last = next;
    }
}

#[test]
fn a_map_is_shared_and_a_late_joiner_has_it_as_it_is() {
    let session = session();
    let map = session.host.publish_map::<String, u32>("board").unwrap();
    map.allow_writes();
    for n in 0..1000 {
        map.insert(format!("k{n}"), n).unwrap();
    }
    map.remove("k3".into()).unwrap();
    let [ada, bob] = [session.join(), session.join()];
    let [hers, his] = [&ada, &bob].map(|client| client.map::<String, u32>("board").unwrap());
    assert_eq!(hers.next_event(soon()), Ok(Some(MapEvent::Reset)));
    assert_eq!((hers.len(), hers.get("k3"), hers.get("k999")), (999, None, Some(999)));
    assert_eq!(his.next_event(soon()), Ok(Some(MapEvent::Reset)));
    his.insert("bob".into(), 7).unwrap();
    assert_eq!(hers.next_event(soon()), Ok(Some(MapEvent::Inserted("bob".into(), 7))));
    assert_eq!(map.get("bob"), Some(7));
    hers.remove("bob".into()).unwrap();
    let deadline = soon();
    while his.next_event(deadline).unwrap().expect("in time") != MapEvent::Removed("bob".into()) {}
    assert_eq!(hers.next_event(soon()), Ok(Some(MapEvent::Removed("bob".into()))));
    map.clear().unwrap();
    assert_eq!(hers.next_event(soon()), Ok(Some(MapEvent::Reset)));
    assert!(hers.is_empty());
}

#[test]
fn a_client_publishes_to_the_host_which_passes_it_on() {
    let session = session();
    let [ada, bob] = [session.join(), session.join()];
    let out = ada.publish::<u32>(Publish::reliable("numbers")).unwrap();
    let theirs = wait(&session.host, |event| match event {
        HostEvent::Announced(stream) => Some(stream),
        _ => None,
    });
    assert_eq!((theirs.name.as_str(), theirs.kind), ("numbers", Kind::Vector));
    let passed = session.host.pass_on(&theirs, "ada's numbers", None).unwrap();
    let stream = bob.vector::<u32>("ada's numbers").unwrap();
    assert!(passed.stream().wait_for_subscribers(1, soon()));
    assert!(out.stream().wait_for_subscribers(1, soon()));
    (0..500).for_each(|n| out.push_back(n).unwrap());
    assert!((0..500).all(|n| stream.pop_front(soon()) == Ok(Some(n))));
    assert!(bob.streams().iter().any(|s| s.of.as_deref() == Some("Ada")));
    assert!(out.stream().flush(soon()), "the publisher knows that all was taken");
}

#[test]
fn streams_are_for_chosen_viewers_stopped_cleared_and_closed() {
    let session = session();
    let [ada, bob] = [session.join(), session.join()];
    let ids: BTreeSet<ViewerId> = (0..2)
        .map(|_| {
            wait(&session.host, |event| match event {
                HostEvent::Connected { id, .. } => Some(id),
                _ => None,
            })
        })
        .collect();
    let chosen = *ids.first().unwrap();
    let publish = Publish::reliable("s").to([chosen]).queue(4, Overflow::DropOldest);
    let out = session.host.publish::<u32>(publish).unwrap();
    let again = session.host.publish::<u32>("s").map(drop);
    assert_eq!(again, Err(StreamError::Taken("s".into())));
    let streams = [&ada, &bob].map(|client| client.vector::<u32>("s").unwrap());
    assert!(out.stream().wait_for_subscribers(1, soon()));
    assert_eq!(out.stream().subscribers(), [chosen].into());
    out.push_back(1).unwrap();
    let deadline = soon();
    let got = loop {
        let got = streams.each_ref().map(|s| s.pop_front(Instant::now()).unwrap());
        if got != [None, None] || Instant::now() > deadline {
            break got;
        }
    };
    assert!(got == [Some(1), None] || got == [None, Some(1)], "{got:?}");
    let mine = &streams[usize::from(got[0].is_none())];
    out.stream().stop();
    while mine.stream().is_on() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    out.push_back(2).unwrap();
    out.stream().clear();
    out.push_back(3).unwrap();
    out.stream().resume();
    assert_eq!(mine.pop_front(soon()), Ok(Some(3)), "what was cleared does not come");
    session.host.kick(chosen);
    assert_eq!(mine.pop_front(soon()), Err(StreamError::Closed));
    assert!(!mine.stream().is_on());
    assert_eq!(ada.publish::<u32>("late").is_err(), got[0].is_some());
}

#[test]
fn a_protocol_of_ones_own() {
    let session = session();
    let publish = Publish::reliable("pointer").own_kind(200).format("pointer/1");
    let out = session.host.publish::<Raw>(publish).unwrap();
    let client = session.join();
    let stream = client.own_kind::<Raw>(200, "pointer").unwrap();
    assert!(out.stream().wait_for_subscribers(1, soon()));
    out.push_own(130, 0b1010_0000, Raw((&b"moved"[..]).into())).unwrap();
    let got = stream.recv(soon()).unwrap().expect("in time");
    assert_eq!((got.kind, got.flags, &got.item.0[..]), (130, 0b1010_0000, &b"moved"[..]));
    assert_eq!(client.streams()[0].format, "pointer/1");
}

#[test]
fn pictures_are_a_stream_that_can_be_done_without() {
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(ServerConfig { listen, ..Default::default() }).unwrap();
    let host = Host::builder()
        .server(format!("http://{}", server.http()))
        .size(lllsi::Size::new(320, 240))
        .start()
        .unwrap();
    wait(&host, |event| matches!(event, HostEvent::Open).then_some(()));
    let client = Client::join(host.link()).start().unwrap();
    let next = |patience: Duration| {
        let deadline = Instant::now() + patience;
        loop {
            match client.recv(deadline) {
                Some(ClientEvent::Frame(frame)) => return Some(frame),
                Some(ClientEvent::Closed(reason)) => panic!("{reason}"),
                Some(_) => {}
                None => return None,
            }
        }
    };
    assert!(next(Duration::from_secs(20)).is_some());
    assert!(client.streams().iter().any(|stream| stream.kind == Kind::Video));
    client.watch(false);
    let deadline = soon();
    while next(Duration::from_millis(500)).is_some() {
        assert!(Instant::now() < deadline, "pictures still come");
    }
    client.watch(true);
    assert!(next(Duration::from_secs(20)).is_some());
}

#[test]
fn items_may_be_taken_from_behind_and_all_count_as_taken() {
    let session = session();
    let out = session.host.publish::<u32>("numbers").unwrap();
    let client = session.join();
    let stream = client.vector::<u32>("numbers").unwrap();
    assert!(out.stream().wait_for_subscribers(1, soon()));
    (1..=3).for_each(|n| out.push_back(n).unwrap());
    while stream.stream().counts().waiting < 3 {
        std::thread::yield_now();
    }
    assert_eq!(stream.pop_back(soon()), Ok(Some(3)));
    assert_eq!([stream.pop_front(soon()), stream.pop_front(soon())], [Ok(Some(1)), Ok(Some(2))]);
    assert!(out.stream().flush(soon()), "the publisher knows that all was taken");
}

#[test]
fn a_real_time_item_that_nobody_took_in_time_is_not_taken_at_all() {
    let session = session();
    let deadline = Duration::from_millis(300);
    let out = session.host.publish::<u32>(Publish::real_time("now", deadline)).unwrap();
    let client = session.join();
    let stream = client.vector::<u32>("now").unwrap();
    assert!(out.stream().wait_for_subscribers(1, soon()));
    // The first ones come before the client knows the host's clock.
    while stream.stream().counts().waiting == 0 {
        out.push_back(1).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(deadline);
    // What was under way when it was looked may have come since.
    let _ = stream.pop_front(Instant::now() + Duration::from_millis(1));
    assert!(stream.stream().counts().late > 0);
}

#[test]
fn what_waits_while_a_publisher_has_stopped_is_not_lost_by_going_on() {
    let session = session();
    let out = session.host.publish::<u32>("numbers").unwrap();
    let client = session.join();
    let stream = client.vector::<u32>("numbers").unwrap();
    assert!(out.stream().wait_for_subscribers(1, soon()));
    out.stream().stop();
    while stream.stream().is_on() {
        std::thread::yield_now();
    }
    (1..=3).for_each(|n| out.push_back(n).unwrap());
    stream.stream().resume();
    out.stream().resume();
    for n in 1..=3 {
        assert_eq!(stream.pop_front(soon()), Ok(Some(n)));
    }
}

#[test]
fn what_cannot_be_passed_on_leaves_nothing_behind() {
    let session = session();
    let client = session.join();
    let out = client.publish::<u32>("numbers").unwrap();
    let theirs = wait(&session.host, |event| match event {
        HostEvent::Announced(stream) => Some(stream),
        _ => None,
    });
    let taken = session.host.vector_from::<u32>(theirs.peer, "numbers").unwrap();
    let passed = session.host.pass_on(&theirs, "again", None);
    assert_eq!(passed.err(), Some(StreamError::Taken("numbers".into())));
    drop(taken);
    let passed = session.host.pass_on(&theirs, "again", None).unwrap();
    let other = session.join();
    let again = other.vector::<u32>("again").unwrap();
    assert!(passed.stream().wait_for_subscribers(1, soon()));
    // Until the host's second subscription is what the client knows of.
    let deadline = soon();
    while again.pop_front(Instant::now() + Duration::from_millis(20)) == Ok(None) {
        assert!(Instant::now() < deadline);
        out.push_back(7).unwrap();
    }
}
