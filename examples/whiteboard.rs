//! A board on which everybody draws: a map that the host and its clients share, natively and in browsers.
//!
//! ```text
//! cargo run -p lllsi --example whiteboard             the host, with a server; prints a link
//! cargo run -p lllsi --example whiteboard -- LINK     somebody who draws a circle, and says who else draws
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lllsi::{Client, Host, MapEvent, MapStream, Server, ServerConfig, Source};

/// A line, by who drew it and which of theirs it is: colour, and points from 0 to 1000.
type Strokes = MapStream<(String, u32), (String, Vec<(u16, u16)>)>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(link) => draw(link),
        None => host(),
    }
}

fn host() -> Result<(), Box<dyn std::error::Error>> {
    let pages = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/whiteboard").into());
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(ServerConfig { listen, pages, ..Default::default() })?;
    let url = format!("http://{}", server.http());
    let host = Host::builder().server(url).source(Source::None).start()?;
    let strokes: Strokes = host.publish_map("strokes")?;
    strokes.allow_writes();
    println!("Draw along:    {}", host.link());
    println!("In a browser:  {}", host.link().replace("/#", "/app/#"));
    follow(&strokes)
}

fn draw(link: String) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::join(link).name("compass").decode(false).start()?;
    let strokes: Strokes = client.map("strokes")?;
    let me = format!("compass {}", std::process::id());
    let point = |step: u32| {
        let angle = f64::from(step) / 50.0 * std::f64::consts::TAU;
        ((500.0 + 300.0 * angle.cos()) as u16, (500.0 + 300.0 * angle.sin()) as u16)
    };
    for step in 0..50 {
        let line = vec![point(step), point(step + 1)];
        strokes.insert((me.clone(), step), ("#c03".into(), line))?;
    }
    follow(&strokes)
}

/// Says who draws.
fn follow(strokes: &Strokes) -> Result<(), Box<dyn std::error::Error>> {
    let mut seen = BTreeSet::new();
    loop {
        match strokes.next_event(Instant::now() + Duration::from_secs(1))? {
            Some(MapEvent::Inserted((who, _), _)) if seen.insert(who.clone()) => {
                println!("{who} draws; {} lines are there", strokes.len());
            }
            Some(MapEvent::Inserted(..)) | None => {}
            Some(MapEvent::Reset) => println!("{} lines are there", strokes.len()),
            Some(MapEvent::Removed((who, line))) => println!("{who} took line {line} away"),
        }
    }
}
