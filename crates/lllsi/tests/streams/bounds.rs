//! What is too much, or not allowed.

use lllsi::{EndReason, RemoteStream};

use super::*;

/// What a client has announced.
fn announced(host: &Host, kind: Kind) -> RemoteStream {
    wait(host, |event| match event {
        HostEvent::Announced(stream) => (stream.kind == kind).then_some(stream),
        _ => None,
    })
}

/// Hears something from a client: which comes behind anything that the host had asked it for before.
fn hear(host: &Host, client: &Client) {
    let later = client.publish::<u32>("later").unwrap();
    let stream = host.vector_from::<u32>(announced(host, Kind::Vector).peer, "later").unwrap();
    assert!(later.stream().wait_for_subscribers(1, soon()));
    later.push_back(7).unwrap();
    assert_eq!(stream.pop_front(soon()), Ok(Some(7)));
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
    // 48 MiB but for 500 bytes.
    let rest = (48 << 20) - 3 * ((12 << 20) + 128 + 6) - 128 - 500;
    map.insert(4, "x".repeat(rest)).unwrap();
    map.allow_writes();
    copy.insert(5, "x".repeat(400)).unwrap();
    copy.insert(6, "x".repeat(40)).unwrap();
    wait(&session.host, |event| match event {
        HostEvent::Announced(stream) => (stream.kind == Kind::Writes).then_some(()),
        _ => None,
    });
    let deadline = soon();
    while map.get(&6).is_none() {
        assert!(Instant::now() < deadline, "what is small enough has a place");
        std::thread::yield_now();
    }
    assert_eq!(map.get(&5), None, "what is not is left out");
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
    clients.iter().for_each(|client| hear(&session.host, client));
    assert_eq!(map.len(), 1, "and nobody else");
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
    hear(&session.host, &client);
    assert_eq!((map.get(&1), copy.get(&1)), (Some(1), Some(1)));
}

#[test]
fn a_hosts_copy_of_a_clients_map_is_not_written_there() {
    let session = session();
    let client = session.join();
    let theirs = client.publish_map::<u32, u32>("theirs").unwrap();
    theirs.insert(1, 1).unwrap();
    let announced = announced(&session.host, Kind::Map);
    let copy = session.host.map_from::<u32, u32>(announced.peer, "theirs").unwrap();
    assert_eq!(copy.next_event(soon()), Ok(Some(MapEvent::Reset)));
    assert_eq!(copy.insert(2, 2), Err(StreamError::Ended(Some(EndReason::Refused))));
    assert!(client.streams().is_empty(), "and nobody is told of a wish");
}

#[test]
fn more_streams_may_come_and_go_than_there_are_numbers() {
    let session = session();
    for _ in 0..70_000 {
        session.host.publish::<u32>("one after another").unwrap();
    }
    let client = session.join();
    let out = session.host.publish::<u32>("last").unwrap();
    let last = client.vector::<u32>("last").unwrap();
    assert!(out.stream().wait_for_subscribers(1, soon()));
    out.push_back(7).unwrap();
    assert_eq!(last.pop_front(soon()), Ok(Some(7)));
}
