//! `lllsi serve`.

use lllsi::{Server, ServerConfig, Tls};
use serde_json::json;

use crate::args;
use crate::failure::Failure;
use crate::report::Report;
use crate::stop::Stop;

pub(crate) fn run(args: &args::Serve, report: &Report, stop: &Stop) -> Result<(), Failure> {
    lllsi::raise_file_limit();
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let mut config = ServerConfig {
        tls: tls.map(|(certificate, key)| Tls { certificate, key }),
        state: args.state.clone(),
        metrics: args.metrics,
        behind_proxy: args.behind_proxy,
        limits: (&args.limits).into(),
        ..Default::default()
    };
    config.listen = args.listen.unwrap_or(config.listen);
    let server = Server::start(config)?;
    let (at, stun) = (server.http(), server.stun());
    let hash = server.certificate().map(|hash| hash.to_base64());
    let (http, https) = (format!("http://{at}"), format!("https://{at}"));
    report.event(&json!({"event": "ready", "http": http, "https": https, "certificate": hash, "stun": stun.to_string(), "metrics": server.metrics().map(|at| at.to_string())}));
    report.say(&format!(
        "Rendezvous server at {http} and {https}, STUN at udp://{stun}. Ctrl-C ends it."
    ));
    if let Some(at) = server.metrics() {
        report.say(&format!("Figures at http://{at}/metrics."));
    }
    if let (Some(hash), false) = (hash, at.ip().is_loopback()) {
        report.say(&format!(
            "Hosts: lllsi host --server https://THIS-MACHINE:{} --server-certificate {hash}",
            at.port()
        ));
        if args.state.is_none() {
            report.say("The certificate is for this run alone: --state DIR keeps it.");
        }
        report.say("Browsers do not know this certificate and will warn; --tls-cert and --tls-key take one that they know.");
    }
    let until = stop.after(None);
    while !until.over() {
        std::thread::sleep(until.turn().saturating_duration_since(std::time::Instant::now()));
    }
    server.stop();
    Ok(())
}
