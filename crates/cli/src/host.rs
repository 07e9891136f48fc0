//! `lllsi host`.

use std::io::{BufRead, IsTerminal};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use lllsi::media::encode;
use lllsi::{
    Host, HostEvent, HostStats, Invite, Server, ServerConfig, ViewerId, ViewerState,
    local_addresses,
};
use qrcode::QrCode;
use qrcode::render::unicode;
use serde_json::{Value, json};

use crate::args;
use crate::failure::{Code, Failure};
use crate::join::host_rate;
use crate::report::{Report, rounded, stages};
use crate::stop::Stop;

const HELP: &str = "Commands: list · admit ID · start (admit all, and all who come later) · kick ID (or refuse) · renew (another link instead of this one) · quit";

pub(crate) fn run(args: &args::Host, report: &Report, stop: &Stop) -> Result<(), Failure> {
    let embedded = match &args.server {
        Some(_) => None,
        None => Some(start_server(args.listen)?),
    };
    let url = match (&args.server, &embedded) {
        (Some(url), _) => url.clone(),
        (None, Some(server)) => format!("http://{}", reachable_here(server.http())),
        (None, None) => unreachable!("one is there without the other"),
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        let message = format!("the server's address `{url}` must begin with http:// or https://");
        return Err(Failure::new(Code::ServerUnreachable, message));
    }
    let mut builder = builder(&args.picture);
    if let Some(hash) = args.server_certificate {
        builder = builder.server_certificate(hash);
    }
    if let Some(lifetime) = args.invite_expires {
        builder = builder.invite_expires(lifetime);
    }
    if let Some(uses) = args.invite_uses {
        builder = builder.invite_uses(uses);
    }
    let host = builder
        .server(url)
        .source(args.source.0.clone())
        .lobby(args.lobby)
        .max_viewers(args.max_viewers)
        .start()?;
    let mut until = stop.after(args.seconds);
    let mut talk = Talk { host: &host, name: args.name.clone(), lines: read_lines(), quit: false };
    let mut open = false;
    while !until.over() && !talk.quit {
        match host.recv(until.turn()) {
            Some(HostEvent::Open) if !open => {
                open = true;
                ready(&host, args, embedded.as_ref(), report);
            }
            Some(HostEvent::Closed(reason)) => return Err(reason.into()),
            Some(HostEvent::SourceFailed(error)) => return Err(error.into()),
            Some(event) => say(&event, report),
            None => {}
        }
        talk.commands(embedded.as_ref(), report);
        if until.second() && open {
            talk.second(&host.take_stats(), report);
        }
    }
    drop(host);
    report.say("The stream is over.");
    Ok(())
}

/// A host builder with the picture's settings.
pub(crate) fn builder(picture: &args::Picture) -> lllsi::HostBuilder {
    let builder = Host::builder().fps(picture.fps).bitrate(picture.bitrate);
    match picture.size {
        Some(size) => builder.size(size),
        None => builder,
    }
}

fn start_server(listen: Option<SocketAddr>) -> Result<Server, Failure> {
    let mut config = ServerConfig::default();
    config.listen = listen.unwrap_or(config.listen);
    Ok(Server::start(config)?)
}

/// How this machine reaches its own server.
fn reachable_here(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], listen.port()))
    } else {
        listen
    }
}

/// The link, for this machine first, then for each address others may reach: with https, which browsers ask for there.
fn links(host: &Host, embedded: Option<&Server>) -> Vec<String> {
    let mut links = vec![host.link()];
    if let (Some(server), Ok(invite)) = (embedded, host.link().parse::<Invite>())
        && server.http().ip().is_unspecified()
    {
        let far = local_addresses(server.http().port(), false)
            .into_iter()
            .filter(|a| !a.ip().is_loopback());
        links.extend(far.map(|address| {
            let (server, certificate) = (format!("https://{address}"), server.certificate());
            Invite { server, certificate, ..invite.clone() }.to_string()
        }));
    }
    links
}

fn ready(host: &Host, args: &args::Host, embedded: Option<&Server>, report: &Report) {
    let links = links(host, embedded);
    let shared = links.get(1).unwrap_or(&links[0]);
    report.event(&json!({"event": "ready", "link": links[0], "links": links}));
    // For another device's camera: of no use for a link to this machine, or in a file.
    let scannable = std::io::stdout().is_terminal() && (embedded.is_none() || links.len() > 1);
    if let (Ok(code), true) = (QrCode::new(shared), scannable) {
        report.say(&code.render::<unicode::Dense1x2>().quiet_zone(true).build());
    }
    match (embedded.is_some(), links.as_slice()) {
        (true, [here, there @ ..]) => {
            report.say(&format!("On this machine:   {here}"));
            for link in there {
                report.say(&format!("On your network:   {link}"));
            }
        }
        _ => report.say(&format!("Invite your viewers:   {shared}")),
    }
    report
        .say("Whoever has a link may join: in a browser, or with `lllsi join`, which asks for it.");
    if embedded.is_some() && links.len() > 1 {
        report.say("Browsers will warn that they do not know this machine's certificate; the program knows it from the link.");
    }
    if let Some(advice) = encode::advice() {
        report.event(&json!({"event": "advice", "message": advice}));
        report.say(advice);
    }
    report.say(if args.lobby { HELP } else { "Ctrl-C ends the stream; type help for commands." });
}

fn viewer(state: &str, id: ViewerId) -> Value {
    json!({"event": "viewer", "state": state, "id": id.0})
}

/// Says what happened.
pub(crate) fn say(event: &HostEvent, report: &Report) {
    match event {
        HostEvent::Waiting { id, name, code } => {
            let mut event = viewer("waiting", *id);
            event["name"] = json!(name);
            event["code"] = json!(code.to_string());
            report.event(&event);
            report
                .say(&format!("{name} (#{id}) waits, and sees the code {code}. Type: admit {id}"));
        }
        HostEvent::Connected { id, name, path } => {
            let mut event = viewer("connected", *id);
            event["name"] = json!(name);
            event["path"] = json!("direct");
            event["remote"] = json!(path.remote);
            report.event(&event);
            report.say(&format!("{name} (#{id}) watches, directly from {}.", path.remote));
        }
        HostEvent::PathChanged { id, path } => {
            let mut event = viewer("path", *id);
            event["path"] = json!("direct");
            event["remote"] = json!(path.remote);
            report.event(&event);
        }
        HostEvent::Left { id, reason } => {
            let mut event = viewer("left", *id);
            event["reason"] = json!(reason.to_string());
            report.event(&event);
            report.say(&format!("#{id} is gone: {reason}."));
        }
        HostEvent::Rejected => {
            report.event(&json!({"event": "rejected"}));
            report.say("Somebody knocked with a link that is not right.");
        }
        HostEvent::ServerLost { reason } => {
            report.event(&json!({"event": "server_lost", "reason": reason}));
            report.say(&format!("The rendezvous server is gone ({reason}). Viewers go on; new ones can join when it is back."));
        }
        HostEvent::Open => {
            report.event(&json!({"event": "server_back"}));
            report.say("The room is open again.");
        }
        _ => {}
    }
}

/// Says how it goes, once a second.
pub(crate) fn stats(stats: &HostStats, report: &Report) -> String {
    let viewers = stats.viewers.iter().filter(|v| v.state == ViewerState::Connected).count();
    let seconds = stats.interval.as_secs_f64();
    let fps = stats.encodes as f64 / seconds;
    report.event(&json!({
        "event": "stats",
        "viewers": viewers,
        "fps": rounded(fps),
        "encodes": stats.encodes,
        "bitrate_bps": (stats.bytes as f64 * 8.0 / seconds).round(),
        "stages_ms": stages(&stats.stages),
    }));
    format!("{viewers} watching · {fps:.0} fps · {}", host_rate(stats.bytes, seconds))
}

/// Reads commands while the stream runs. The thread ends with the program.
fn read_lines() -> Receiver<String> {
    let (sender, receiver) = sync_channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Talk<'a> {
    host: &'a Host,
    name: Option<String>,
    lines: Receiver<String>,
    quit: bool,
}

impl Talk<'_> {
    fn renew(&self, embedded: Option<&Server>, report: &Report) {
        if let Err(error) = self.host.renew_link() {
            return report.say(&format!("The link stays as it is: {error}."));
        }
        let links = links(self.host, embedded);
        report.event(&json!({"event": "link", "link": links[0], "links": links}));
        report.say("The link before lets nobody in any more. The new one:");
        links.iter().for_each(|link| report.say(link));
    }

    fn commands(&mut self, embedded: Option<&Server>, report: &Report) {
        while let Ok(line) = self.lines.try_recv() {
            let mut words = line.split_whitespace();
            let (command, id) = (
                words.next(),
                words.next().map(|id| id.trim_start_matches('#').parse().map(ViewerId)),
            );
            match (command, id) {
                (Some("admit"), Some(Ok(id))) => self.host.admit(id),
                (Some("kick"), Some(Ok(id))) => self.host.kick(id),
                (Some("start"), None) => self.host.open_door(),
                (Some("renew"), None) => self.renew(embedded, report),
                (Some("list"), None) => self.list(report),
                (Some("quit"), None) => self.quit = true,
                (None, _) => {}
                _ => report.say(HELP),
            }
        }
    }

    fn list(&self, report: &Report) {
        let viewers = self.host.take_stats().viewers;
        if viewers.is_empty() {
            report.say("Nobody is here.");
        }
        for v in viewers {
            let state = match v.state {
                ViewerState::Waiting => "waits",
                ViewerState::Connecting => "is connecting",
                ViewerState::Connected => "watches",
            };
            report.say(&format!("#{} {} {state}", v.id, v.name));
        }
    }

    fn second(&self, figures: &HostStats, report: &Report) {
        let line = stats(figures, report);
        let name = self.name.as_ref().map_or(String::new(), |name| format!("{name} · "));
        report.status(&format!("{name}{line}"));
    }
}

/// For `demo`: waits until the room is open.
pub(crate) fn wait_open(host: &Host, deadline: Instant) -> Result<(), Failure> {
    loop {
        match host.recv(deadline) {
            Some(HostEvent::Open) => return Ok(()),
            Some(HostEvent::Closed(reason)) => return Err(reason.into()),
            Some(HostEvent::SourceFailed(error)) => return Err(error.into()),
            Some(_) => {}
            None => return Err(Failure::new(Code::Unexpected, "the room did not open")),
        }
    }
}
