//! Every order in which threads can run: `RUSTFLAGS="--cfg loom" cargo test -p lllsi-stream --test loom --release`.
#![cfg(loom)]

use lllsi_stream::{NotSent, Overflow, StopToken, StreamVectorContainer, handoff, newest};
use loom::thread;

#[test]
fn whoever_waits_for_a_place_gets_it_and_the_order_is_kept() {
    loom::model(|| {
        let (sender, receiver) = handoff(StreamVectorContainer::new(1, Overflow::Block));
        let thread = thread::spawn(move || (1..=3).all(|n| sender.send(n).is_ok()));
        let received: Vec<i32> = receiver.iter().collect();
        assert_eq!(received, [1, 2, 3]);
        assert!(thread.join().unwrap());
    });
}

#[test]
fn two_senders_lose_nothing() {
    // With three threads all orders are too many: those in which a thread is put off twice at most.
    let mut few = loom::model::Builder::new();
    few.preemption_bound = Some(2);
    few.check(|| {
        let (sender, receiver) = handoff(StreamVectorContainer::new(1, Overflow::Block));
        let other = sender.clone();
        let threads =
            [(sender, 1), (other, 2)].map(|(s, n)| thread::spawn(move || s.send(n).is_ok()));
        let sum: i32 = receiver.iter().sum();
        assert_eq!(sum, 3);
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    });
}

#[test]
fn a_receiver_that_goes_lets_senders_go() {
    loom::model(|| {
        let (sender, receiver) = handoff(StreamVectorContainer::new(1, Overflow::Block));
        assert_eq!(sender.try_send(1), Ok(()));
        let thread = thread::spawn(move || sender.send(2).is_ok());
        drop(receiver);
        assert!(!thread.join().unwrap());
    });
}

#[test]
fn the_newest_value_is_seen_in_the_end() {
    loom::model(|| {
        let (sender, receiver) = newest();
        let thread = thread::spawn(move || {
            for n in 1..=2 {
                assert_ne!(sender.try_send(n), Err(NotSent::Full(n)));
            }
        });
        let mut last = 0;
        while let Some(n) = receiver.recv() {
            assert!(n > last);
            last = n;
        }
        assert_eq!(last, 2);
        thread.join().unwrap();
    });
}

#[test]
fn a_stop_wakes_whoever_waits() {
    loom::model(|| {
        let token = StopToken::new();
        let theirs = token.clone();
        let thread = thread::spawn(move || theirs.wait());
        token.stop();
        thread.join().unwrap();
        assert!(token.is_stopped());
    });
}
