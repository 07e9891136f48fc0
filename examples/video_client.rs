//! The original's client application: watches a stream by its invite link, and says how far behind it is.
//!
//! ```text
//! LLLSI_LINK='http://…' cargo run --release -p lllsi --example video_client
//! ```
//!
//! The link comes from the environment, since other users of a machine can see command lines.

use std::time::{Duration, Instant};

use lllsi::{Client, ClientEvent};

fn main() -> Result<(), lllsi::Error> {
    let link = std::env::var("LLLSI_LINK").unwrap_or_default();
    let client = Client::join(link).name("video_client").start()?;
    let mut second = Instant::now() + Duration::from_secs(1);
    loop {
        match client.recv(second) {
            Some(ClientEvent::Connected { path, after }) => {
                println!("Connected directly to {} after {after:?}", path.remote);
            }
            Some(ClientEvent::Frame(frame)) => {
                // Here a window would show `frame.picture`.
                assert!(frame.picture.is_some(), "decoding is on by default");
            }
            Some(ClientEvent::Closed(reason)) => {
                println!("The end: {reason}");
                return Ok(());
            }
            Some(event) => println!("{event:?}"),
            None => {}
        }
        if Instant::now() >= second {
            second += Duration::from_secs(1);
            let stats = client.take_stats();
            let latency = stats.latency_ms.percentile(50.0);
            println!("{} frames, {latency:.1?} ms behind", stats.frames);
        }
    }
}
