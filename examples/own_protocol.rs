//! A protocol of one's own on RTSMP's header, fragments and delivery: a pointer that moves (what is late is worth nothing) and
//! clicks (none may be lost), coded in a few bytes, with types and flags of its own.
//!
//! ```text
//! cargo run -p lllsi --example own_protocol
//! ```

use std::time::{Duration, Instant};

use lllsi::stream::Raw;
use lllsi::{Client, Host, Item, Publish, Server, ServerConfig, Source, VectorStream};

/// The protocol's number among the kinds of streams, and its messages' types.
const POINTER: u8 = 200;
const MOVED: u8 = 128;
const CLICKED: u8 = 129;
/// A flag of [`CLICKED`].
const RIGHT_BUTTON: u8 = 0b1000_0000;

/// Where the pointer is; four bytes.
fn point(x: u16, y: u16) -> Raw {
    Raw([x.to_be_bytes(), y.to_be_bytes()].concat().into())
}

fn show(Item { kind, flags, item, age, .. }: &Item<Raw>) -> Option<String> {
    let [a, b, c, d] = *item.0.first_chunk()?;
    let (x, y) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let age = age.unwrap_or_default().as_secs_f64() * 1000.0;
    match *kind {
        MOVED => Some(format!("moved to {x}, {y} ({age:.1} ms ago)")),
        CLICKED if flags & RIGHT_BUTTON != 0 => Some(format!("right click at {x}, {y}")),
        CLICKED => Some(format!("click at {x}, {y}")),
        // A later version's.
        _ => None,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server =
        Server::start(ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() })?;
    let host =
        Host::builder().server(format!("http://{}", server.http())).source(Source::None).start()?;
    let soon = || Instant::now() + Duration::from_secs(20);
    while !matches!(host.recv(soon()), Some(lllsi::HostEvent::Open)) {}

    // One protocol, two streams: each message goes the way that suits it.
    let motion = Publish::real_time("motion", Duration::from_millis(100)).own_kind(POINTER);
    let motion: VectorStream<Raw> = host.publish(motion.format("pointer/1"))?;
    let clicks: VectorStream<Raw> = host.publish(Publish::reliable("clicks").own_kind(POINTER))?;

    let client = Client::join(host.link()).decode(false).start()?;
    let seen_motion = client.own_kind::<Raw>(POINTER, "motion")?;
    let seen_clicks = client.own_kind::<Raw>(POINTER, "clicks")?;
    for stream in [motion.stream(), clicks.stream()] {
        assert!(stream.wait_for_subscribers(1, soon()), "nobody came");
    }

    for step in 1..=5 {
        motion.push_own(MOVED, 0, point(step * 10, step * 20))?;
        if let Some(item) = seen_motion.recv(soon())? {
            println!("{}", show(&item).unwrap_or_default());
        }
    }
    clicks.push_own(CLICKED, 0, point(50, 100))?;
    clicks.push_own(CLICKED, RIGHT_BUTTON, point(51, 100))?;
    for _ in 0..2 {
        if let Some(item) = seen_clicks.recv(soon())? {
            println!("{}", show(&item).unwrap_or_default());
        }
    }
    Ok(())
}
