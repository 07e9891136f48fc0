//! `lllsi demo`: server, host and viewer on this machine.

use std::time::{Duration, Instant};

use lllsi::media::{capture, render};
use lllsi::{Client, Host, HostEvent, Server, ServerConfig, Source};
use serde_json::json;

use crate::failure::Failure;
use crate::join::{self, View};
use crate::report::Report;
use crate::screen::Screen;
use crate::stop::Stop;
use crate::{args, host, serve};

const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &args::Demo, report: &Report, stop: &Stop) -> Result<(), Failure> {
    let server =
        Server::start(ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() })?;
    let http = format!("http://{}", server.http());
    report.event(&serve::ready(&server));
    let (host, shown) = start_host(args, &http, report)?;
    host::wait_open(&host, Instant::now() + OPEN_TIMEOUT)?;
    let link = host.link();
    report.event(
        &json!({"event": "ready", "link": link, "links": [link], "room": null, "source": shown}),
    );
    report.say(&format!("Streaming {shown} from this program to itself: encrypted, peer to peer."));
    report.say(&format!("Watch along in a browser, or with lllsi join:   {}", host.link()));

    let mut screen = open_screen(args, report);
    let client = join::start(Client::join(host.link()).name("demo"), &screen)?;
    let mut view = View::new(Instant::now(), &screen);
    let mut until = stop.after(args.seconds);
    let reason = join::watch(&client, &mut screen, &mut view, &mut until, report, |seen| {
        while let Some(event) = host.recv(Instant::now()) {
            match event {
                HostEvent::Closed(reason) => return Err(reason.into()),
                HostEvent::SourceFailed(error) => return Err(error.into()),
                event => host::say(&event, report),
            }
        }
        if let Some(seen) = seen {
            let sent = host::stats(&host.take_stats(), report);
            report.status(&format!("{sent} · {seen}"));
        }
        Ok(())
    })?;
    view.total += client.take_stats().frames;
    drop(client);
    drop(host);
    server.stop();
    view.end(reason, report).map_or(Ok(()), |reason| Err(reason.into()))
}

/// A window where there is a display for it.
fn open_screen(args: &args::Demo, report: &Report) -> Screen {
    if args.headless || !render::has_display() {
        return Screen::headless();
    }
    Screen::open("LLLSI demo", false).unwrap_or_else(|failure| {
        report.say(&format!("{failure} Going on without a window."));
        Screen::headless()
    })
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
        Source::None => "no pictures",
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
