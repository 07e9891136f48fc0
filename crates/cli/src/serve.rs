//! `lllsi serve`.

use std::collections::BTreeMap;
use std::time::Instant;

use lllsi::{Server, ServerConfig, ServerFigures, Tls};
use serde_json::{Value, json};

use crate::args;
use crate::failure::{Code, Failure};
use crate::report::Report;
use crate::stop::Stop;

pub(crate) fn run(args: &args::Serve, report: &Report, stop: &Stop) -> Result<(), Failure> {
    lllsi::raise_file_limit();
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let mut config = ServerConfig {
        tls: tls.map(|(certificate, key)| Tls { certificate, key }),
        state: args.state.clone(),
        stun_alt: args.stun_alt,
        metrics: args.metrics,
        behind_proxy: args.behind_proxy,
        pages: args.pages.clone(),
        limits: (&args.limits).into(),
        patience: (&args.patience).into(),
        ..Default::default()
    };
    config.listen = args.listen.unwrap_or(config.listen);
    let server = Server::start(config)?;
    let at = server.http();
    report.event(&ready(&server));
    let (http, https) = (format!("http://{at}"), format!("https://{at}"));
    report.say(&format!(
        "Rendezvous server at {http} and {https}, and STUN at its UDP port. Ctrl-C ends it."
    ));
    if let Some(at) = server.stun_alt() {
        report.say(&format!(
            "STUN at {at} too: `lllsi doctor --server` names the kind of a NAT with it."
        ));
    }
    if let Some(at) = server.metrics() {
        report.say(&format!("Figures at http://{at}/metrics."));
    }
    let port = at.port();
    if at.ip().is_loopback() {
        report.say(&format!("Hosts on this machine: lllsi host --server {http}"));
    } else if let Some(hash) = server.certificate() {
        let hash = hash.to_base64();
        report.say(&format!(
            "Hosts: lllsi host --server https://THIS-MACHINE:{port} --server-certificate {hash}"
        ));
        if args.state.is_none() {
            report.say("The certificate is for this run alone: --state DIR keeps it.");
        }
        report.say("Browsers do not know this certificate and will warn; --tls-cert and --tls-key take one that they know.");
    } else {
        report.say(&format!("Hosts: lllsi host --server https://NAME-IN-THE-CERTIFICATE:{port}"));
    }
    watch(&server, args.log_every, report, stop)?;
    server.stop();
    Ok(())
}

/// Where a server is.
pub(crate) fn ready(server: &Server) -> Value {
    let at = server.http();
    json!({
        "event": "ready",
        "http": format!("http://{at}"),
        "https": format!("https://{at}"),
        "certificate": server.certificate().map(|hash| hash.to_base64()),
        "stun": server.stun().map(|at| at.to_string()),
        "stun_alt": server.stun_alt().map(|at| at.to_string()),
        "metrics": server.metrics().map(|at| at.to_string()),
    })
}

/// Says how it goes until it is time to stop.
fn watch(server: &Server, every: u64, report: &Report, stop: &Stop) -> Result<(), Failure> {
    let broken = || Failure::new(Code::Unexpected, "the server ended by a fault; see the log");
    let (mut until, mut seconds, mut told) = (stop.after(None), 0, ServerFigures::default());
    while !until.over() {
        std::thread::sleep(until.turn().saturating_duration_since(Instant::now()));
        if until.second() {
            let figures = server.figures().ok_or_else(broken)?;
            seconds += 1;
            if seconds % every == 0 && figures != told {
                report.event(&as_event("stats", &figures));
                told = figures.clone();
            }
            report.status(&in_words(&figures));
        }
    }
    let figures = server.figures().ok_or_else(broken)?;
    report.event(&as_event("stopping", &figures));
    report.say(&format!("Stopping: {}.", in_words(&figures)));
    Ok(())
}

fn as_event(event: &str, figures: &ServerFigures) -> Value {
    let machine = &figures.counters;
    let refused = machine.refused.iter().map(|(why, count)| (why.code(), *count));
    json!({
        "event": event,
        "connections": machine.connections,
        "rooms": machine.rooms,
        "clients": machine.clients,
        "names": machine.names,
        "opened": machine.opened,
        "entered": machine.entered,
        "relayed": machine.relayed,
        "refused": refused.collect::<BTreeMap<_, _>>(),
        "accepted": figures.accepted,
        "dropped": figures.dropped,
        "slow": figures.slow,
        "late": figures.late,
        "unanswered": figures.unanswered,
        "oversized": figures.oversized,
        "stun": figures.stun,
    })
}

fn in_words(figures: &ServerFigures) -> String {
    let machine = &figures.counters;
    let refused: u64 = machine.refused.values().sum();
    format!(
        "rooms {}, clients {}; since the start rooms {}, clients {}, refused {refused}",
        machine.rooms, machine.clients, machine.opened, machine.entered
    )
}
