//! Streams of anything between a real host and real clients.

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
fn a_map_that_clients_may_not_write_stays_as_it_is() {
    let session = session();
    let map = session.host.publish_map::<u32, u32>("rules").unwrap();
    map.insert(1, 1).unwrap();
    let client = session.join();
    let copy = client.map::<u32, u32>("rules").unwrap();
    copy.insert(1, 2).unwrap();
    wait(&session.host, |event| match event {
        HostEvent::Announced(stream) => (stream.kind == Kind::Writes).then_some(()),
        _ => None,
    });
    assert_eq!(copy.next_event(soon()), Ok(Some(MapEvent::Reset)));
    assert_eq!((map.get(&1), copy.get(&1)), (Some(1), Some(1)));
}

#[test]
fn what_is_over_a_bound_is_not_written_to_a_map() {
    let session = session();
    let map = session.host.publish_map::<u32, String>("notes").unwrap();
    map.allow_writes();
    let client = session.join();
    let copy = client.map::<u32, String>("notes").unwrap();
    let long = "x".repeat(64 << 10);
    assert!(matches!(copy.insert(1, long), Err(StreamError::TooLarge(_))));
    copy.insert(2, "short".into()).unwrap();
    let deadline = soon();
    while copy
        .next_event(deadline)
        .unwrap()
        .is_some_and(|e| e != MapEvent::Inserted(2, "short".into()))
    {}
    assert_eq!((map.len(), copy.len()), (1, 1));
    assert_eq!(
        client.map::<u32, String>("notes").map(drop),
        Err(StreamError::Taken("notes".into()))
    );
    drop(copy);
    let again = client.map::<u32, String>("notes").unwrap();
    assert_eq!(again.next_event(soon()), Ok(Some(MapEvent::Reset)));
    again.insert(3, "again".into()).unwrap();
    while map.get(&3).is_none() {
        assert!(Instant::now() < deadline, "what is written by a later handle comes too");
        std::thread::yield_now();
    }
}

#[test]
fn a_map_has_a_bound() {
    let session = session();
    let map = session.host.publish_map::<u32, String>("large").unwrap();
    let large = || "x".repeat(12 << 20);
    for key in 0..3 {
        map.insert(key, large()).unwrap();
    }
    assert_eq!(map.insert(3, large()), Err(StreamError::Full));
    map.insert(0, large()).unwrap();
    map.remove(1).unwrap();
    map.insert(3, large()).unwrap();
    assert_eq!(map.len(), 3);
    let client = session.join();
    let copy = client.map::<u32, String>("large").unwrap();
    assert_eq!(copy.next_event(soon()), Ok(Some(MapEvent::Reset)));
    assert_eq!(copy.len(), 3);
}

#[test]
fn a_map_is_written_by_those_alone_for_whom_it_is() {
    let session = session();
    let clients = [session.join(), session.join()];
    let connected = |_| {
        wait(&session.host, |event| match event {
            HostEvent::Connected { id, .. } => Some(id),
            _ => None,
        })
    };
    let [chosen, _] = [(); 2].map(connected);
    let map = session.host.publish_map::<u32, u32>(Publish::from("ours").to([chosen])).unwrap();
    map.allow_writes();
    let copies = clients.each_ref().map(|client| client.map::<u32, u32>("ours").unwrap());
    for (n, copy) in (0..).zip(&copies) {
        copy.insert(n, n).unwrap();
    }
    for _ in 0..2 {
        wait(&session.host, |event| match event {
            HostEvent::Announced(stream) => (stream.kind == Kind::Writes).then_some(()),
            _ => None,
        });
    }
    let deadline = soon();
    while map.is_empty() {
        assert!(Instant::now() < deadline, "the chosen one may write");
        std::thread::yield_now();
    }
    // What the other one says later comes behind anything that the host had asked it for.
    for client in &clients {
        let later = client.publish::<u32>(Publish::reliable("later")).unwrap();
        let announced = wait(&session.host, |event| match event {
            HostEvent::Announced(stream) => (stream.kind == Kind::Vector).then_some(stream),
            _ => None,
        });
        let stream = session.host.vector_from::<u32>(announced.peer, "later").unwrap();
        assert!(later.stream().wait_for_subscribers(1, soon()));
        later.push_back(7).unwrap();
        assert_eq!(stream.pop_front(soon()), Ok(Some(7)));
    }
    assert_eq!(map.len(), 1, "and nobody else");
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
