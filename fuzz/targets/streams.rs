//! Streams of anything: the messages, fragments in any order, and a host whose peer says whatever it likes.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lllsi_core::host::ViewerId;
use lllsi_core::streams::{
    Action, Audience, Event, Item, MapChange, Offer, StreamId, Streams, SubscriptionId, Wish,
};
use lllsi_fuzz::Choices;
use lllsi_proto::rtsmp::{
    BundleHead, Fragment, FrameHead, InOrder, Kind, Loose, Message, Mode, cut,
};

const WINDOW: u32 = 4000;
const CAPACITY: usize = 8000;

fuzz_target!(|bytes: &[u8]| {
    match Message::parse(bytes.to_vec().into()) {
        Ok(Some(Message::Fragment(Fragment { head, total, offset, data })))
            if data.len() == total as usize =>
        {
            let (again, _) = cut(&head, &data, offset as usize, data.len().max(1));
            assert_eq!(again, bytes);
        }
        Ok(Some(Message::Fragment(_))) | Ok(None) | Err(_) => {}
        Ok(Some(message)) => {
            assert_eq!(Message::parse(message.to_bytes().into()), Ok(Some(message)))
        }
    }
    if let Some((head, messages)) = BundleHead::parse(bytes.to_vec().into()) {
        let messages: Vec<_> = messages.collect();
        assert!(bytes.starts_with(&head.with(messages.iter().map(|message| &message[..]))));
    }
    assemblies(&mut Choices::new(bytes));
    engine(&mut Choices::new(bytes));
});

/// Fragments of anything: what is held stays within bounds, and frames come in order.
fn assemblies(choices: &mut Choices<'_>) {
    let (mut in_order, mut loose, mut newest) = (InOrder::new(1), Loose::new(WINDOW as usize), 0);
    while !choices.is_empty() {
        let head = FrameHead { number: choices.one(8).into(), ..FrameHead::default() };
        let total = u32::from(choices.one(4)) * 600 + u32::from(choices.one(8));
        let offset = u32::from(choices.one(4)) * 300;
        let data = vec![choices.one(255); usize::from(choices.one(3)) * 300 + 1];
        let end = offset + data.len() as u32;
        if end > total {
            continue;
        }
        let fragment = Fragment { head, total, offset, data: data.into() };
        let due = in_order.due();
        if let Ok(Some(frame)) = in_order.push(fragment.clone()) {
            assert_eq!((frame.head.number, frame.payload.len()), (due, total as usize));
        }
        if let Some(frame) = loose.push(fragment) {
            assert!(frame.head.number > newest);
            newest = frame.head.number;
            assert_eq!(frame.payload.len(), total as usize);
        }
        assert!(loose.held() <= WINDOW as usize);
    }
}

/// A host with streams and wishes, and one peer that comes, goes, and says anything.
fn engine(choices: &mut Choices<'_>) {
    let mut now = Instant::now();
    let (peer, mut host) = (ViewerId(1), Streams::new(7));
    let offer = |kind, mode, name: &str| Offer {
        kind,
        mode,
        name: name.into(),
        format: String::new(),
        of: None,
        audience: Audience::All,
        capacity: CAPACITY,
        patience: Duration::from_secs(1),
    };
    let offers = [
        offer(Kind::Vector, Mode::Reliable, "a"),
        offer(Kind::Vector, Mode::RealTime(1000), "b"),
        offer(Kind::Map, Mode::Reliable, "c"),
    ];
    for (id, offer) in (1..).zip(offers) {
        host.act(now, Action::Publish(StreamId(id), offer), |_| 0);
    }
    for (id, kind) in [(1, Kind::Vector), (2, Kind::Map)] {
        let wish = Wish { peer, kind, name: "x".into(), window: WINDOW };
        host.act(now, Action::Subscribe(SubscriptionId(id), wish), |_| 0);
    }
    let (mut held, mut last) = (0, [0; 3]);
    while !choices.is_empty() {
        match choices.one(10) {
            0 => host.join(now, peer, None),
            1 => host.lost(now, peer),
            2 => now += Duration::from_millis(u64::from(choices.one(255)) * 200),
            3 => {
                let item = Item::new(now, vec![1; usize::from(choices.one(255)) * 20].into());
                host.act(now, Action::Push(StreamId(u16::from(choices.one(2)) + 1), item), |_| 0);
            }
            4 => {
                let (key, value) = (vec![choices.one(20)].into(), vec![choices.one(20)].into());
                host.act(
                    now,
                    Action::Change(StreamId(3), vec![MapChange::Insert { key, value }]),
                    |_| 0,
                );
            }
            5 => {
                let id = choices.one(2) + 1;
                host.act(
                    now,
                    Action::Consumed(SubscriptionId(id.into()), last[usize::from(id)]),
                    |_| 0,
                );
                held = 0;
            }
            6 => host.receive(now, peer, known(choices).to_bytes().into(), &|_| Some(1)),
            7 => {
                let head = FrameHead {
                    stream: choices.one(3).into(),
                    number: choices.one(10).into(),
                    flags: choices.one(2) * 4,
                    ..FrameHead::default()
                };
                let payload = vec![0; usize::from(choices.one(20)) * 100];
                let (message, _) = cut(&head, &payload, 0, 600);
                host.receive(now, peer, message.into(), &|_| Some(1));
            }
            8 => host.receive(now, peer, choices.bytes().to_vec().into(), &|_| None),
            _ => {
                for _ in 0..choices.one(20) {
                    let _ = host.poll_ordered(peer);
                    let _ = host.poll_live(now, peer);
                }
            }
        }
        host.handle_timeout(now);
        while let Some(event) = host.poll_event() {
            if let Event::Frame(SubscriptionId(id), frame) = event {
                last[id as usize] = frame.head.number;
                held += frame.payload.len();
            }
        }
        let kept: usize = host.status().published.iter().map(|p| p.kept).sum();
        assert!(kept <= 2 * CAPACITY, "{kept} bytes are kept");
    }
    let _ = held;
}

/// A message of the catalogue.
fn known(choices: &mut Choices<'_>) -> Message {
    let stream = choices.one(4).into();
    let number = u32::from(choices.one(12));
    match choices.one(7) {
        0 => {
            let (window, tag) = (u32::from(choices.one(255)) * 100, choices.one(4));
            Message::Subscribe { stream, from: number, window, tag }
        }
        1 => Message::Consumed { stream, number, window: u32::from(choices.one(255)) * 100 },
        2 => Message::Unsubscribe(stream),
        3 => {
            let (snapshot, tag) = (choices.one(3).into(), choices.one(4));
            Message::Began { stream, next: number, snapshot, tag }
        }
        4 => Message::Withdraw(stream),
        5 => {
            let (reason, tag) = (lllsi_proto::rtsmp::EndReason::Gone, choices.one(4));
            Message::Ended { stream, reason, tag }
        }
        _ => {
            let kind = if choices.one(2) == 0 { Kind::Vector } else { Kind::Map };
            let (run, mode) = (choices.one(2).into(), Mode::Reliable);
            let (name, format, of) = ("x".into(), String::new(), None);
            let announcement =
                lllsi_proto::rtsmp::Announcement { run, kind, mode, name, format, of };
            Message::Announce(stream, announcement)
        }
    }
}
