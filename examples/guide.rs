//! The speed of a race car, live.

use std::time::{Duration, Instant};

use lllsi::{Client, Host, Publish, Server, ServerConfig, Source};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Speed {
    car: String,
    kmh: f64,
}

fn host() -> Result<(), Box<dyn std::error::Error>> {
    // The rendezvous server; it may as well run elsewhere: `lllsi serve`. It also serves our page.
    let (listen, pages) = (([127, 0, 0, 1], 0).into(), Some("pages".into()));
    let server = Server::start(ServerConfig { listen, pages, ..Default::default() })?;

    // The host. `Source::Screen(None)` would show the screen besides.
    let host =
        Host::builder().server(format!("http://{}", server.http())).source(Source::None).start()?;
    println!("link: {}", host.link());
    println!("page: {}", host.link().replace("/#", "/app/#"));

    let speeds = host.publish::<Speed>(Publish::real_time("speed", Duration::from_millis(250)))?;
    let board = host.publish_map::<String, String>("board")?;
    board.allow_writes();
    board.insert("race".into(), "about to begin".into())?;

    let began = Instant::now();
    loop {
        let kmh = 200.0 + 80.0 * began.elapsed().as_secs_f64().sin();
        speeds.push_back(Speed { car: "7".into(), kmh })?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read(link: String) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::join(link).name("terminal").decode(false).start()?;
    let board = client.map::<String, String>("board")?;
    board.insert("terminal".into(), "was here".into())?;
    for (at, speed) in client.vector::<Speed>("speed")?.iter().enumerate() {
        if at % 50 == 0 {
            println!("car {}: {:.0} km/h; the board: {:?}", speed.car, speed.kmh, board.entries());
        }
    }
    println!("the host is gone");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(link) => read(link),
        None => host(),
    }
}
