//! `lllsi serve`.

use lllsi::{Server, ServerConfig, Tls};
use serde_json::json;

use crate::args;
use crate::failure::Failure;
use crate::report::Report;
use crate::stop::Stop;

pub(crate) fn run(args: &args::Serve, report: &Report, stop: &Stop) -> Result<(), Failure> {
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut config = ServerConfig {
        tls: tls.map(|(certificate, key)| Tls { certificate, key }),
        ..Default::default()
    };
    config.listen = args.listen.unwrap_or(config.listen);
    let server = Server::start(config)?;
    let http = format!("{scheme}://{}", server.http());
    report.event(&json!({"event": "ready", "http": http, "stun": server.stun().to_string()}));
    report.say(&format!(
        "Rendezvous server at {http}, STUN at udp://{}. Ctrl-C ends it.",
        server.stun()
    ));
    if scheme == "http" && !server.http().ip().is_loopback() {
        report.say("Signalling is sealed between the peers in any case; browsers will want https (--tls-cert, --tls-key).");
    }
    let until = stop.after(None);
    while !until.over() {
        std::thread::sleep(until.turn().saturating_duration_since(std::time::Instant::now()));
    }
    server.stop();
    Ok(())
}
