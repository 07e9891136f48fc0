//! Parts of a program that do not know each other: a thermometer, a heater and a log speak through a mediator.
//!
//! ```text
//! cargo run -p lllsi --example mediator
//! ```

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use lllsi::stream::{Action, ActionListener, Mediator, Overflow, Worker};

/// The thermometer has read something.
#[derive(Clone)]
struct Reading(i32);

impl Action for Reading {
    type Reply = ();
}

/// Asks whoever knows whether it is being heated.
struct IsHeating;

impl Action for IsHeating {
    type Reply = bool;
}

/// Keeps it between 19 and 21 degrees.
struct Heater {
    is_on: Arc<AtomicBool>,
    room: Arc<AtomicI32>,
}

impl ActionListener<Reading> for Heater {
    fn on_action(&self, &Reading(celsius): &Reading) {
        let is_on = match celsius {
            ..19 => true,
            22.. => false,
            _ => self.is_on.load(Ordering::Relaxed),
        };
        self.is_on.store(is_on, Ordering::Relaxed);
        self.room.fetch_add(if is_on { 1 } else { -1 }, Ordering::Relaxed);
    }
}

fn main() -> std::io::Result<()> {
    let mediator = Mediator::new();
    let room = Arc::new(AtomicI32::new(15));

    // The heater: called on the thermometer's thread, and asked from this one.
    let is_on = Arc::new(AtomicBool::new(false));
    let heater = Heater { is_on: Arc::clone(&is_on), room: Arc::clone(&room) };
    let _heating = mediator.listen(heater);
    let _asked = mediator.listen(move |_: &IsHeating| is_on.load(Ordering::Relaxed));

    // The log: on a thread of its own, with what it has no time for left out.
    let (listening, readings) = mediator.queue::<Reading>(16, Overflow::DropOldest);
    let (line, lines) = mpsc::channel();
    let log = Worker::spawn("log", move |_| {
        for Reading(celsius) in readings.iter() {
            let _ = line.send(format!("{celsius} °C"));
        }
    })?;

    // The thermometer: twenty readings, then it stops by itself.
    let sender = mediator.clone();
    let thermometer = Worker::spawn("thermometer", move |stop| {
        for _ in 0..20 {
            sender.send(&Reading(room.load(Ordering::Relaxed)));
            stop.wait_until(Instant::now() + Duration::from_millis(20));
        }
    })?;

    for (number, line) in lines.iter().take(20).enumerate() {
        let heating = mediator.request(&IsHeating) == Some(true);
        println!("{number:2}: {line}{}", if heating { ", heating" } else { "" });
    }
    drop((thermometer, listening, log));
    Ok(())
}
