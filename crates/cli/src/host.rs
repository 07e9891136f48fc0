//! `lllsi host`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, ErrorKind, IsTerminal};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use lllsi::media::encode;
use lllsi::{
    CertificateHash, DEFAULT_PORT, Host, HostEvent, HostStats, Invite, IoError, PartReason, Server,
    ServerConfig, ViewerId, ViewerState, local_addresses,
};
use qrcode::QrCode;
use qrcode::render::unicode;
use serde_json::{Value, json};
use terminal_size::{Height, Width, terminal_size};

use crate::failure::{Code, Failure};
use crate::join::host_rate;
use crate::report::{Report, rounded, stages, turned_away};
use crate::stop::{Stop, Until};
use crate::{args, password};

const HELP: &str = "\
Commands:
  list       who is here
  admit ID   let one in who waits
  start      let all in who wait, and all who come later
  kick ID    send one away, from the stream or from waiting
  renew      another link and password in place of these
  quit       end the stream";

/// How many ports after the default one are tried where that is taken.
const OTHER_PORTS: u16 = 10;

pub(crate) fn run(args: &args::Host, report: &Report, stop: &Stop) -> Result<(), Failure> {
    // Before there is a server, whose port the stream is to have: people take their time.
    let password = room_password(args)?;
    let embedded = match &args.server {
        Some(_) => None,
        None => Some(start_server(args)?),
    };
    let (url, certificate) = match (&args.server, &embedded) {
        (Some(url), _) => (url.clone(), args.server_certificate),
        (None, Some(server)) => own_url(server),
        (None, None) => unreachable!("one is there without the other"),
    };
    let generated = password.is_none();
    let mut builder = configured(args, password, embedded.is_some())?.server(url);
    builder = match (args.media_port, &embedded) {
        (Some(port), _) => builder.media_port(port),
        (None, Some(server)) if !server.http().ip().is_loopback() => {
            builder.media_port(server.http().port())
        }
        _ => builder,
    };
    if let Some(server) = &embedded {
        builder = builder.reached(server.reached());
    }
    if let Some(hash) = certificate {
        builder = builder.server_certificate(hash);
    }
    let host = builder.start()?;
    let here = Here { host: &host, embedded: embedded.as_ref(), args };
    let ended = stream(here, generated, stop.after(args.seconds), report);
    drop(host);
    let reason = ended.as_ref().err().map_or("ended", |failure| failure.code.name());
    report.event(&json!({"event": "end", "reason": reason}));
    ended?;
    report.say("The stream is over.");
    Ok(())
}

/// Streams until it is time to end.
fn stream(
    here: Here<'_>,
    generated: bool,
    mut until: Until<'_>,
    report: &Report,
) -> Result<(), Failure> {
    let (host, mut open) = (here.host, false);
    let mut talk = Talk::new(here);
    while !until.over() && !talk.quit && !report.is_unread() {
        match host.recv(until.turn()) {
            Some(HostEvent::Open) if !open => {
                open = true;
                talk.links = ready(&talk.here, generated, report);
            }
            Some(HostEvent::Closed(reason)) => return Err(reason.into()),
            Some(HostEvent::SourceFailed(error)) => return Err(error.into()),
            Some(event) => {
                talk.note(&event);
                say(&event, report);
            }
            None => {}
        }
        talk.commands(report);
        if until.second() && open {
            talk.second(&host.take_stats(), report);
            talk.look_at_links(report);
        }
    }
    if !open && until.ran_out() {
        let message = "the room could not be opened in the time that was given";
        return Err(Failure::new(Code::ServerUnreachable, message));
    }
    Ok(())
}

/// A host as the command line wants it, but for its server.
fn configured(
    args: &args::Host,
    password: Option<String>,
    is_server_here: bool,
) -> Result<lllsi::HostBuilder, Failure> {
    let mut builder = builder(&args.picture)
        .source(args.source.0.clone())
        .lobby(args.lobby)
        .max_viewers(args.max_viewers);
    if let Some(name) = &args.room {
        builder = builder.room(name.as_str());
    }
    if let Some(password) = password {
        builder = builder.password(password);
    }
    // A server that ends with this program keeps no names.
    if let (Some(_), false) = (&args.room, is_server_here) {
        let state = state(args).ok_or_else(|| {
            let message = "there is no directory for the secret by which the name stays yours";
            Failure::new(Code::File, message).next("Name one with --state DIR.")
        })?;
        builder = builder.state(state);
    }
    if let Some(lifetime) = args.invite_expires {
        builder = builder.invite_expires(lifetime);
    }
    if let Some(uses) = args.invite_uses {
        builder = builder.invite_uses(uses);
    }
    Ok(builder)
}

/// A host builder with the picture's settings.
pub(crate) fn builder(picture: &args::Picture) -> lllsi::HostBuilder {
    let mut builder = Host::builder().fps(picture.fps).bitrate(picture.bitrate);
    if let Some(uplink) = picture.uplink {
        builder = builder.uplink(uplink);
    }
    if let Some(size) = picture.size {
        builder = builder.size(size);
    }
    builder
}

/// A server of its own. Where others reach it the stream has the UDP port of the same number, so that a firewall has to let through one.
fn start_server(args: &args::Host) -> Result<Server, Failure> {
    let listen = args.listen.unwrap_or(ServerConfig::default().listen);
    let leaves_udp = !listen.ip().is_loopback() && args.media_port.is_none();
    let start = |port| {
        let listen = SocketAddr::new(listen.ip(), port);
        // Another port can still be taken now, and not once the stream needs this one.
        match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Err(source) if leaves_udp && source.kind() == ErrorKind::AddrInUse => {
                Err(IoError::Listen { address: listen, source })
            }
            free => {
                drop(free);
                Server::start(ServerConfig { listen, leaves_udp, ..Default::default() })
            }
        }
    };
    match start(listen.port()) {
        // An outgoing connection of another program may have it: the system chooses such ports.
        Err(IoError::Listen { source, .. })
            if args.listen.is_none() && source.kind() == ErrorKind::AddrInUse =>
        {
            let others = (1..=OTHER_PORTS).map(|n| listen.port() + n);
            Ok(others.map(start).find_map(Result::ok).map_or_else(|| start(0), Ok)?)
        }
        started => Ok(started?),
    }
}

/// How this machine reaches its own server, and the certificate that it has then. The host's link leads there too: with https where
/// others reach it, since browsers elsewhere play nothing without.
fn own_url(server: &Server) -> (String, Option<CertificateHash>) {
    let at = server.http();
    match at.ip() {
        ip if ip.is_unspecified() => (format!("http://127.0.0.1:{}", at.port()), None),
        ip if ip.is_loopback() => (format!("http://{at}"), None),
        _ => (format!("https://{at}"), server.certificate()),
    }
}

/// The password that was chosen; `None`: one is generated.
fn room_password(args: &args::Host) -> Result<Option<String>, Failure> {
    match (&args.room, args.ask_password) {
        (None, _) => Ok(None),
        (Some(_), true) => password::ask().map(Some),
        (Some(_), false) => password::given(args.password_file.as_deref()),
    }
}

fn state(args: &args::Host) -> Option<PathBuf> {
    args.state.clone().or_else(password::default_state)
}

/// The stream, and the ways that lead to it.
struct Here<'a> {
    host: &'a Host,
    embedded: Option<&'a Server>,
    args: &'a args::Host,
}

impl Here<'_> {
    /// The link, for this machine first, then for each address others may reach: with https, which browsers ask for there.
    fn links(&self) -> Vec<String> {
        let mut links = vec![self.host.link()];
        if let (Some(server), Ok(invite)) = (self.embedded, self.host.link().parse::<Invite>())
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

    /// How others find the room by its name, in JSON. The password stands there if nobody has chosen it.
    fn room(&self, show_password: bool) -> Value {
        let Some(room) = self.host.room() else { return Value::Null };
        let password = show_password.then(|| room.password.as_str().to_owned());
        json!({"name": room.name, "password": password})
    }

    fn tell_room(&self, show_password: bool, report: &Report) {
        let Some(room) = self.host.room() else { return };
        let password = match show_password {
            true => format!("password {}", room.password.as_str()),
            false => "with your password".into(),
        };
        report.say(&format!("Room:              {}, {password}", room.name));
        let links = self.links();
        let shared = links.get(1).unwrap_or(&links[0]);
        let Some((server, _)) = shared.split_once("/#") else { return };
        report.say(&format!("  In a browser:    {server}/#room={}", in_url(room.name.as_str())));
        let hash = self.embedded.and_then(Server::certificate).or(self.args.server_certificate);
        let hash = hash.filter(|_| server.starts_with("https://"));
        let hash = hash
            .map_or(String::new(), |hash| format!(" --server-certificate {}", hash.to_base64()));
        let name = room.name.as_str().replace('\'', "'\\''");
        report
            .say(&format!("  In a terminal:   lllsi join --server {server}{hash} --room '{name}'"));
    }
}

/// As part of a URL (RFC 3986, 2.1).
fn in_url(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

/// Tells that the room is open, and returns the links.
fn ready(here: &Here<'_>, generated: bool, report: &Report) -> Vec<String> {
    let (links, embedded) = (here.links(), here.embedded.is_some());
    let shared = links.get(1).unwrap_or(&links[0]);
    if let Some(port) = other_port(here) {
        report.say(&format!("Another program has port {DEFAULT_PORT}: it is {port} this time."));
    }
    report.event(&json!({
        "event": "ready",
        "link": links[0],
        "links": links,
        "room": here.room(generated),
    }));
    // For another device's camera: of no use for a link to this machine, or in a file.
    let has_own_certificate = embedded && shared.starts_with("https://");
    if std::io::stdout().is_terminal() && (!embedded || has_own_certificate) {
        show_code(shared, report);
    }
    say_links(&links, embedded, report);
    here.tell_room(generated, report);
    report.say(match here.host.room() {
        None => "Whoever has a link may join: in a browser, or with `lllsi join`, which asks for it.",
        Some(_) => "Whoever has a link, or knows the password, may join: in a browser, or with `lllsi join`.",
    });
    if has_own_certificate {
        report.say("Browsers will warn that they do not know this machine's certificate; the program knows it from the link.");
    }
    let short = here.host.room().is_some_and(|room| room.password.is_short());
    let advice = short.then_some("The password is short: whoever tries long enough may guess it. Eight characters or more are better.");
    for advice in advice.into_iter().chain(encode::advice()) {
        report.event(&json!({"event": "advice", "message": advice}));
        report.say(advice);
    }
    report.say(if here.args.lobby {
        HELP
    } else {
        "Ctrl-C ends the stream; type help for commands."
    });
    links
}

/// The port of the server started here, if the usual one was taken.
fn other_port(here: &Here<'_>) -> Option<u16> {
    let port = here.embedded?.http().port();
    (here.args.listen.is_none() && port != DEFAULT_PORT).then_some(port)
}

fn say_links(links: &[String], embedded: bool, report: &Report) {
    for link in links {
        let whose = match embedded {
            true if link.starts_with("http://") => "On this machine:   ",
            true => "On your network:   ",
            false => "Invite your viewers:   ",
        };
        report.say(&format!("{whose}{link}"));
    }
}

/// A link as a code for cameras, where there is room for it. In colours of its own, so that it is dark on light whatever
/// the terminal's are.
fn show_code(link: &str, report: &Report) {
    let Ok(code) = QrCode::new(link) else { return };
    let code = code
        .render::<unicode::Dense1x2>()
        .quiet_zone(true)
        .dark_color(unicode::Dense1x2::Light)
        .light_color(unicode::Dense1x2::Dark)
        .build();
    let (width, height) = (code.lines().map(|l| l.chars().count()).max(), code.lines().count());
    let fits = terminal_size().is_some_and(|(Width(columns), Height(rows))| {
        width.is_some_and(|width| width <= columns.into()) && height < rows.into()
    });
    if fits {
        for line in code.lines() {
            report.say(&format!("\x1b[97;40m{line}\x1b[0m"));
        }
    }
}

/// What a viewer calls itself, if it does.
fn called(name: &str) -> &str {
    if name.trim().is_empty() { "somebody" } else { name }
}

fn viewer(state: &str, id: ViewerId) -> Value {
    json!({"event": "viewer", "state": state, "id": id.0})
}

/// Says what a viewer does.
fn say_viewer(event: &HostEvent, report: &Report) {
    match event {
        HostEvent::Waiting { id, name, code } => {
            let mut event = viewer("waiting", *id);
            event["name"] = json!(name);
            event["code"] = json!(code.to_string());
            report.event(&event);
            report.say(&format!(
                "{} (#{id}) waits, and sees the code {code}. Type: admit {id}",
                called(name)
            ));
        }
        HostEvent::Connected { id, name, path } => {
            let mut event = viewer("connected", *id);
            event["name"] = json!(name);
            event["path"] = json!("direct");
            event["remote"] = json!(path.remote);
            report.event(&event);
            report.say(&format!(
                "{} (#{id}) watches, directly from {}.",
                called(name),
                path.remote
            ));
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
        _ => {}
    }
}

/// Says what happened.
pub(crate) fn say(event: &HostEvent, report: &Report) {
    match event {
        HostEvent::Refused { reason } => {
            report.event(&json!({"event": "refused", "reason": reason.to_string()}));
            let next = match reason {
                PartReason::InviteExpired => " Type renew for another link.",
                _ => "",
            };
            report.say(&format!("Somebody was sent away: {reason}.{next}"));
        }
        HostEvent::Rejected => {
            report.event(&json!({"event": "rejected"}));
            report.say("Somebody knocked with a link that is not right.");
        }
        HostEvent::WrongPassword => {
            report.event(&json!({"event": "wrong_password"}));
            report.say("Somebody tried a wrong password.");
        }
        HostEvent::NameLost => {
            report.event(&json!({"event": "name_lost"}));
            report.say("While the server was away, somebody else took the room's name. Your link works as before; the name leads elsewhere.");
        }
        HostEvent::Replaced => {
            report.event(&json!({"event": "replaced"}));
            report.say("The same room was opened by another run of this program: new viewers join there, and nobody new here any more. Those who are here stay.");
        }
        HostEvent::ServerLost { reason } => {
            report.event(&json!({"event": "server_lost", "reason": reason}));
            report.say(&format!("The rendezvous server is gone ({reason}). Viewers go on; new ones can join when it is back."));
        }
        HostEvent::Open => {
            report.event(&json!({"event": "server_back"}));
            report.say("The room is open again.");
        }
        event => say_viewer(event, report),
    }
}

/// Says how it goes, once a second.
pub(crate) fn stats(stats: &HostStats, report: &Report) -> String {
    let viewers = || stats.viewers.iter().filter(|v| v.state == ViewerState::Connected);
    let paths: Vec<_> = viewers().map(|viewer| viewer.bitrate.round()).collect();
    let viewers = viewers().count();
    let seconds = stats.interval.as_secs_f64();
    let fps = stats.frames as f64 / seconds;
    report.event(&json!({
        "event": "stats",
        "viewers": viewers,
        "fps": rounded(fps),
        "encodes": stats.encodes,
        "bitrate_bps": (stats.sent_bytes as f64 * 8.0 / seconds).round(),
        "redundancy_bps": (stats.redundant_bytes as f64 * 8.0 / seconds).round(),
        "paths_bps": paths,
        "stages_ms": stages(&stats.stages),
        "turned_away": turned_away(&stats.turned_away).into_iter().map(|(name, _, count)| (name, count)).collect::<BTreeMap<_, _>>(),
    }));
    format!("{viewers} watching · {fps:.0} fps · {}", host_rate(stats.sent_bytes, seconds))
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
    here: Here<'a>,
    /// As they were told last.
    links: Vec<String>,
    /// Another run of this host has the room.
    replaced: bool,
    name: Option<String>,
    lines: Receiver<String>,
    /// Who is here, as far as it was told.
    here_are: BTreeSet<ViewerId>,
    quit: bool,
}

impl<'a> Talk<'a> {
    fn new(here: Here<'a>) -> Self {
        let name = here.args.name.clone();
        let here_are = BTreeSet::new();
        let (links, lines) = (Vec::new(), read_lines());
        Self { here, links, replaced: false, name, lines, here_are, quit: false }
    }

    /// Takes note of what happened.
    fn note(&mut self, event: &HostEvent) {
        match event {
            HostEvent::Replaced => self.replaced = true,
            HostEvent::Waiting { id, .. } | HostEvent::Connected { id, .. } => {
                self.here_are.insert(*id);
            }
            HostEvent::Left { id, .. } => drop(self.here_are.remove(id)),
            _ => {}
        }
    }

    /// Tells the links again if the network has changed: they name this machine's addresses.
    fn look_at_links(&mut self, report: &Report) {
        let links = self.here.links();
        if links == self.links {
            return;
        }
        let room = self.here.room(false);
        report.event(&json!({"event": "link", "link": links[0], "links": links, "room": room}));
        report.say("The network has changed. This machine is reached by:");
        say_links(&links, self.here.embedded.is_some(), report);
        self.links = links;
    }

    fn renew(&mut self, report: &Report) {
        if self.replaced {
            return report.say("New viewers join the other run of this program: renew it there.");
        }
        if let Err(error) = self.here.host.renew_invitation() {
            return report.say(&format!("The link stays as it is: {error}."));
        }
        let links = self.here.links();
        let room = self.here.room(true);
        report.event(&json!({"event": "link", "link": links[0], "links": links, "room": room}));
        report.say("What you told before lets nobody in any more. The new link:");
        links.iter().for_each(|link| report.say(link));
        self.here.tell_room(true, report);
        self.links = links;
    }

    fn commands(&mut self, report: &Report) {
        while let Ok(line) = self.lines.try_recv() {
            let mut words = line.split_whitespace();
            let (command, id) = (
                words.next(),
                words.next().map(|id| id.trim_start_matches('#').parse().map(ViewerId)),
            );
            match (command, id) {
                (Some("admit" | "kick"), Some(Ok(id))) if !self.here_are.contains(&id) => {
                    report.event(&json!({"event": "no_such_viewer", "id": id.0}));
                    report.say(&format!("There is no #{id}."));
                }
                (Some("admit"), Some(Ok(id))) => self.here.host.admit(id),
                (Some("kick"), Some(Ok(id))) => self.here.host.kick(id),
                (Some("start"), None) => self.here.host.open_door(),
                (Some("renew"), None) => self.renew(report),
                (Some("list"), None) => self.list(report),
                (Some("quit"), None) => self.quit = true,
                (None, _) => {}
                _ => {
                    report.event(&json!({"event": "no_such_command", "line": line}));
                    report.say(HELP);
                }
            }
        }
    }

    fn list(&self, report: &Report) {
        let (viewers, counters) = (self.here.host.viewers(), self.here.host.turned_away());
        if viewers.is_empty() {
            report.say("Nobody is here.");
        }
        for v in viewers {
            let state = match v.state {
                ViewerState::Waiting => "waits",
                ViewerState::Connecting => "is connecting",
                ViewerState::Connected => "watches",
            };
            report.say(&format!("#{} {} {state}", v.id, called(&v.name)));
        }
        let counted = turned_away(&counters).into_iter().filter(|(_, _, count)| *count > 0);
        let counted: Vec<_> = counted.map(|(_, what, count)| format!("{what} {count}")).collect();
        if !counted.is_empty() {
            report.say(&format!("Not taken since the start: {}", counted.join(", ")));
        }
    }

    fn second(&self, figures: &HostStats, report: &Report) {
        let line = stats(figures, report);
        let name = self.name.as_ref().map_or(String::new(), |name| format!("{name} · "));
        // Where somebody may be typing, a line that is written anew would wipe that away.
        if !std::io::stdin().is_terminal() {
            report.status(&format!("{name}{line}"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_into_urls() {
        assert_eq!(in_url("K\u{fc}che 1/#"), "K%C3%BCche%201%2F%23");
    }
}
