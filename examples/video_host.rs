//! The original's host application: shares a screen with whoever has the invite link.
//!
//! ```text
//! cargo run --release -p lllsi --example video_host -- [SERVER-URL]
//! ```
//!
//! Without a server's URL it starts one here. Without a display it shows a test card.

use std::time::{Duration, Instant};

use lllsi::media::capture;
use lllsi::{Host, HostEvent, Server, ServerConfig, Source};

fn main() -> Result<(), lllsi::Error> {
    let (url, _server) = match std::env::args().nth(1) {
        Some(url) => (url, None),
        None => {
            let server = Server::start(ServerConfig::default())?;
            (format!("http://127.0.0.1:{}", server.http().port()), Some(server))
        }
    };
    let screen = capture::default_display();
    let source = if screen { Source::Screen(None) } else { Source::TestCard };
    let host = Host::builder().server(url).source(source).max_viewers(8).start()?;
    loop {
        match host.recv(Instant::now() + Duration::from_secs(1)) {
            Some(HostEvent::Open) => println!("Invite your viewers: {}", host.link()),
            Some(HostEvent::Connected { id, name, path }) => {
                println!("{name} (#{id}) watches from {}", path.remote);
            }
            Some(HostEvent::Left { id, reason }) => println!("#{id} is gone: {reason}"),
            Some(HostEvent::SourceFailed(error)) => return Err(error.into()),
            Some(HostEvent::Closed(reason)) => {
                println!("The end: {reason}");
                return Ok(());
            }
            Some(_) => {}
            None => {
                let stats = host.take_stats();
                println!(
                    "{} here, {} frames in {:?}",
                    stats.viewers.len(),
                    stats.encodes,
                    stats.interval
                );
            }
        }
    }
}
