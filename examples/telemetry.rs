//! A stream of readings from a host to many, natively and in browsers.
//!
//! ```text
//! cargo run -p lllsi --example telemetry              the host, with a server; prints a link
//! cargo run -p lllsi --example telemetry -- LINK      somebody who reads along
//! ```

use std::time::{Duration, Instant};

use lllsi::{Client, Host, Publish, Server, ServerConfig, Source};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    celsius: f64,
    rpm: u32,
}

/// Nobody needs a reading that is older.
const DEADLINE: Duration = Duration::from_millis(250);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(link) => read(link),
        None => publish(),
    }
}

fn publish() -> Result<(), Box<dyn std::error::Error>> {
    let pages = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/telemetry").into());
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(ServerConfig { listen, pages, ..Default::default() })?;
    let url = format!("http://{}", server.http());
    let host = Host::builder().server(url).source(Source::None).start()?;
    let readings = host.publish::<Reading>(Publish::real_time("readings", DEADLINE))?;
    println!("Read along:    {}", host.link());
    println!("In a browser:  {}", host.link().replace("/#", "/app/#"));
    let began = Instant::now();
    loop {
        let seconds = began.elapsed().as_secs_f64();
        let rpm = (3000.0 + 500.0 * (seconds / 3.0).sin()) as u32;
        readings.push_back(Reading { celsius: 60.0 + 5.0 * seconds.sin(), rpm })?;
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read(link: String) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::join(link).name("reader").decode(false).start()?;
    let readings = client.vector::<Reading>("readings")?;
    loop {
        let Some(got) = readings.recv(Instant::now() + Duration::from_secs(20))? else {
            return Err("no readings for 20 seconds".into());
        };
        if got.number % 100 == 0 {
            let Reading { celsius, rpm } = got.item;
            let age = got.age.unwrap_or_default();
            println!("{celsius:.1} °C, {rpm} rpm, {:.1} ms old", age.as_secs_f64() * 1000.0);
        }
    }
}
