//! `lllsi demo`: server, host and viewer on this machine.

use std::time::{Duration, Instant};

use lllsi::media::capture;
use lllsi::{Client, ClientEvent, Host, HostEvent, Server, ServerConfig, Source};
use serde_json::json;

use crate::failure::Failure;
use crate::join::View;
use crate::report::Report;
use crate::stop::Stop;
use crate::{args, host};

const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &args::Demo, report: &Report, stop: &Stop) -> Result<(), Failure> {
    let server =
        Server::start(ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() })?;
    let http = format!("http://{}", server.http());
    report.event(&json!({"event": "ready", "http": http, "stun": server.stun().to_string()}));
    let (host, shown) = start_host(args, &http, report)?;
    host::wait_open(&host, Instant::now() + OPEN_TIMEOUT)?;
    report.event(&json!({"event": "ready", "link": host.link(), "source": shown}));
    report.say(&format!("Streaming {shown} from this program to itself: encrypted, peer to peer."));
    report.say(&format!("Watch along with:   lllsi join '{}'", host.link()));

    let client = Client::join(host.link()).name("demo").start()?;
    let mut view = View::new(Instant::now());
    let mut until = stop.after(args.seconds);
    let reason = loop {
        if until.over() {
            break None;
        }
        while let Some(event) = host.recv(Instant::now()) {
            match event {
                HostEvent::Closed(reason) => return Err(reason.into()),
                HostEvent::SourceFailed(error) => return Err(error.into()),
                event => host::say(&event, report),
            }
        }
        match client.recv(until.turn()) {
            Some(ClientEvent::Closed(reason)) => break Some(reason),
            Some(event) => view.event(event, report),
            None => {}
        }
        if until.second() {
            let sent = host::stats(&host.take_stats(), report);
            let seen = view.second(&client.take_stats(), report);
            report.status(&format!("{sent} · {seen}"));
        }
    };
    view.total += client.take_stats().frames;
    drop(client);
    drop(host);
    server.stop();
    view.end(reason, report)
}

/// The screen where there is one, else the test card.
fn start_host(
    args: &args::Demo,
    http: &str,
    report: &Report,
) -> Result<(Host, &'static str), Failure> {
    let start = |source: Source| host::builder(&args.picture).server(http).source(source).start();
    let shown = |source: &Source| match source {
        Source::Screen(_) => "your screen",
        Source::TestCard => "a test card",
    };
    if let Some(args::Source(source)) = &args.source {
        return Ok((start(source.clone())?, shown(source)));
    }
    if capture::default_display() {
        match start(Source::Screen(None)) {
            Ok(host) => return Ok((host, shown(&Source::Screen(None)))),
            Err(error) => {
                report.say(&format!("The screen cannot be shown ({error}): here is a test card."))
            }
        }
    }
    Ok((start(Source::TestCard)?, shown(&Source::TestCard)))
}
