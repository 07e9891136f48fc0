//! `lllsi join`.

use std::fs::File;
use std::io::{BufWriter, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi::media::convert;
use lllsi::media::picture::I420;
use lllsi::{Arrivals, Client, ClientBuilder, ClientCloseReason, ClientEvent, ClientStats, Size};
use serde_json::{Value, json};

use crate::failure::{Code, Failure};
use crate::report::{Report, rate, rounded, stages};
use crate::screen::Screen;
use crate::stop::{Stop, Until};
use crate::{args, password};

/// A host tests one password with each try: whoever answers gets no more from us.
const MAX_TRIES: u32 = 3;

pub(crate) fn run(args: &args::Join, report: &Report, stop: &Stop) -> Result<(), Failure> {
    let password = match &args.room {
        Some(_) => password::given(args.password_file.as_deref())?,
        None => None,
    };
    // Whoever types can mistype.
    let may_retry = args.room.is_some() && password.is_none() && std::io::stdin().is_terminal();
    let first = invited(args, password)?;
    // Told before a window opens, which would only vanish again.
    first.check()?;
    args.snapshot.as_deref().map_or(Ok(()), may_write)?;
    let mut screen = if args.headless || args.no_decode {
        Screen::headless()
    } else {
        Screen::open("LLLSI", args.fullscreen)?
    };
    let (mut next, mut tries) = (Some(first), 0);
    loop {
        let client = next.take().map_or_else(|| invited(args, None), Ok)?;
        tries += 1;
        match visit(args, client, &mut screen, report, stop)? {
            Some(ClientCloseReason::WrongPassword) if may_retry && tries < MAX_TRIES => {
                report.say("The password is wrong, or another host answers under this name.");
            }
            Some(ClientCloseReason::WrongPassword) if tries == MAX_TRIES => {
                let message = "three passwords were wrong. Whoever answers under this name may not be your host, and each try lets them test one";
                return Err(Failure::new(Code::Impostor, message));
            }
            Some(reason) => return Err(reason.into()),
            None => return Ok(()),
        }
    }
}

/// One session; gives why it failed.
fn visit(
    args: &args::Join,
    client: ClientBuilder,
    screen: &mut Screen,
    report: &Report,
    stop: &Stop,
) -> Result<Option<ClientCloseReason>, Failure> {
    let mut view = View::new(Instant::now(), screen);
    let client = start(client, screen)?;
    let mut until = stop.after(args.seconds);
    let ended = watch(&client, screen, &mut view, &mut until, report, |line| {
        if let Some(line) = line {
            report.status(&line);
        }
        Ok(())
    });
    view.total += client.take_stats().frames;
    drop(client);
    let snapshot = args.snapshot.as_ref().map_or(Ok(()), |path| view.snapshot(path, report));
    let failed = view.end(ended?, report);
    if failed.is_none() {
        snapshot?;
        if !view.seen && until.ran_out() {
            let message = "no picture came in the time that was given";
            return Err(Failure::new(Code::NoPicture, message));
        }
    }
    Ok(failed)
}

/// Whether a picture can be written there at the end. It is found out before, while nothing is lost.
fn may_write(path: &Path) -> Result<(), Failure> {
    let was_there = path.exists();
    match File::options().create(true).append(true).open(path) {
        Ok(_) if was_there => Ok(()),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
    .map_err(|error| {
        Failure::new(Code::File, format!("cannot write the snapshot {}: {error}", path.display()))
    })
}

/// A client for what the user has: a link, or a room's name and password. Asks for what is secret.
fn invited(args: &args::Join, password: Option<String>) -> Result<ClientBuilder, Failure> {
    let client = match (&args.room, &args.server, &args.link) {
        (Some(room), Some(server), _) => {
            let password = password.map_or_else(password::ask, Ok)?;
            Client::join_room(server, room.as_str(), password)
        }
        (_, _, Some(link)) if !link.trim().is_empty() => Client::join(link),
        _ => Client::join(password::typed(
            "invite link",
            "Invite link (not shown): ",
            Code::BadLink,
            "Pass it on stdin or in the environment variable LLLSI_LINK.",
        )?),
    };
    let client = match args.server_certificate {
        Some(hash) => client.server_certificate(hash),
        None => client,
    };
    let patience = Duration::from_secs(args.patience);
    Ok(client.name(&args.name).decode(!args.no_decode).patience(patience))
}

/// Starts a client that wakes the window.
pub(crate) fn start(client: ClientBuilder, screen: &Screen) -> Result<Client, Failure> {
    let client = match screen.waker() {
        Some(waker) => client.waker(waker),
        None => client,
    };
    Ok(client.start()?)
}

/// Watches until it is time to end, the window is closed, or the session is over, which gives its reason. `beside` is
/// called at every turn, once a second with a line for the status.
pub(crate) fn watch(
    client: &Client,
    screen: &mut Screen,
    view: &mut View,
    until: &mut Until<'_>,
    report: &Report,
    mut beside: impl FnMut(Option<String>) -> Result<(), Failure>,
) -> Result<Option<ClientCloseReason>, Failure> {
    while !until.over() && !screen.is_closed() && !report.is_unread() {
        beside(None)?;
        match screen.recv(client, until.turn())? {
            Some(ClientEvent::Closed(reason)) => return Ok(Some(reason)),
            Some(event) => view.event(event, report),
            None => {}
        }
        if until.second() {
            let stats = client.take_stats();
            let line = view.second(&stats, report);
            screen.set_panel(|| view.panel(&stats))?;
            view.arrivals = stats.status.arrivals;
            beside(Some(line))?;
        }
    }
    Ok(None)
}

/// What a viewer knows, and says.
pub(crate) struct View {
    started: Instant,
    /// Whether latency counts up to the window.
    windowed: bool,
    path: Option<lllsi::Path>,
    picture: Option<Arc<I420>>,
    size: Size,
    seen: bool,
    /// Whether the host lets us wait.
    waits: bool,
    /// What had arrived a second ago.
    arrivals: Arrivals,
    last_second: String,
    pub(crate) total: u64,
}

impl View {
    pub(crate) fn new(started: Instant, screen: &Screen) -> Self {
        Self {
            started,
            windowed: screen.has_window(),
            path: None,
            picture: None,
            size: Size::default(),
            seen: false,
            waits: false,
            arrivals: Arrivals::default(),
            last_second: String::new(),
            total: 0,
        }
    }

    pub(crate) fn event(&mut self, event: ClientEvent, report: &Report) {
        let ms = rounded(self.started.elapsed().as_secs_f64() * 1000.0);
        match event {
            ClientEvent::Entered => report.event(&json!({"event": "entered"})),
            ClientEvent::Waiting(code) => {
                self.waits = true;
                report.event(&json!({"event": "waiting", "code": code.to_string()}));
                report.say(&format!("Waiting for the host to let you in. Your code is {code}."));
            }
            ClientEvent::Admitted(_) => {
                self.waits = false;
                report.event(&json!({"event": "admitted"}));
            }
            ClientEvent::Connected { path, after } => {
                self.path = Some(path);
                let ms = rounded(after.as_secs_f64() * 1000.0);
                report.event(&connected(ms, &path));
                report.say(&format!("Connected directly to {} after {ms:.0} ms.", path.remote));
            }
            ClientEvent::PathChanged(path) => {
                self.path = Some(path);
                report.event(&json!({"event": "path", "path": "direct", "local": path.local, "remote": path.remote}));
                report.say(&format!("The link runs to {} now.", path.remote));
            }
            ClientEvent::Restarting => {
                report.event(&json!({"event": "restarting"}));
                report.say("The path is dead; looking for another.");
            }
            ClientEvent::Away => {
                report.event(&json!({"event": "away"}));
                report.say("The host is not heard any more; trying to reach it again.");
            }
            ClientEvent::ServerLost => {
                report.event(&json!({"event": "server_lost"}));
                tracing::info!("the rendezvous server is gone; the link goes on without it");
            }
            ClientEvent::Frame(frame) => {
                if !std::mem::replace(&mut self.seen, true) {
                    let (width, height) = (frame.size.width, frame.size.height);
                    report.event(&json!({"event": "first_frame", "ms": ms, "width": width, "height": height}));
                    report.say(&format!("First picture after {ms:.0} ms, {}.", frame.size));
                    if self.windowed {
                        report.say("F11: whole screen. F12: figures.");
                    }
                } else if self.size != frame.size {
                    let (width, height) = (frame.size.width, frame.size.height);
                    report.event(&json!({"event": "size", "width": width, "height": height}));
                }
                self.size = frame.size;
                self.picture = frame.picture.or(self.picture.take());
            }
            _ => {}
        }
    }

    /// Says how it goes, once a second; gives the same for the status line.
    pub(crate) fn second(&mut self, stats: &ClientStats, report: &Report) -> String {
        self.total += stats.frames;
        if !self.seen {
            return if self.waits { "waiting to be let in" } else { "connecting" }.into();
        }
        let fps = stats.frames as f64 / stats.interval.as_secs_f64();
        let [p50, p95] = self.latency(stats);
        let (arrivals, ignored) = (stats.status.arrivals, stats.status.ignored);
        report.event(&json!({
            "event": "stats",
            "fps": rounded(fps),
            "bitrate_bps": self.bitrate(stats).round(),
            "latency_ms": {"p50": p50, "p95": p95},
            "stages_ms": stages(&stats.stages),
            "longest_gap_ms": rounded(stats.longest_gap.as_secs_f64() * 1000.0),
            "lost": arrivals.lost,
            "missed": arrivals.missed,
            "frames_lost": arrivals.frames_lost,
            "keyframe_requests": arrivals.keyframe_requests,
            "decode_errors": stats.decode_errors,
            "overflows": arrivals.overflows,
            "ignored": {
                "candidates": ignored.candidates,
                "datagrams": ignored.datagrams,
                "messages": ignored.messages,
            },
            "rtt_ms": stats.status.rtt.map(|rtt| rounded(rtt.as_secs_f64() * 1000.0)),
        }));
        self.last_second = self.status_line(fps, p50, stats);
        self.last_second.clone()
    }

    /// Median and 95th percentile, from the change on the host's screen until it is seen here.
    fn latency(&self, stats: &ClientStats) -> [Option<f64>; 2] {
        let seen = if self.windowed { &stats.shown_latency_ms } else { &stats.latency_ms };
        [50.0, 95.0].map(|p| seen.percentile(p).map(rounded))
    }

    /// What arrived in the last second, bit/s.
    fn bitrate(&self, stats: &ClientStats) -> f64 {
        let bytes = stats.status.arrivals.bytes.saturating_sub(self.arrivals.bytes);
        bytes as f64 * 8.0 / stats.interval.as_secs_f64()
    }

    /// The figures as a window shows them.
    fn panel(&self, stats: &ClientStats) -> String {
        let ms = |ms: Option<f64>| ms.map_or("-".into(), |ms| format!("{ms:.1}"));
        let [p50, p95] = self.latency(stats);
        let now = stats.status.arrivals;
        let missed = now.missed.saturating_sub(self.arrivals.missed) as f64;
        let packets = now.packets.saturating_sub(self.arrivals.packets) as f64;
        let loss = 100.0 * missed / (missed + packets).max(1.0);
        let mut lines = vec![
            format!(
                "{:.0} fps   {}   {}",
                stats.frames as f64 / stats.interval.as_secs_f64(),
                self.size,
                rate(self.bitrate(stats))
            ),
            format!("{} ms behind, 95 % within {} ms", ms(p50), ms(p95)),
            String::new(),
        ];
        let medians = stats.stages.medians();
        if let Some((what, ms)) = held_up(&medians, loss) {
            lines.insert(2, format!("mostly {what}: {ms:.1} ms"));
        }
        lines.extend(
            medians
                .into_iter()
                .map(|(name, ms)| format!("{:13} {ms:6.1} ms", name.replace('_', " "))),
        );
        lines.push(String::new());
        lines.push(format!("loss {loss:.1} %   frames lost {}", now.frames_lost));
        if let Some(path) = &self.path {
            let rtt = stats.status.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0);
            lines.push(format!("direct to {}, {} ms away", path.remote, ms(rtt)));
        }
        lines.join("\n")
    }

    fn status_line(&self, fps: f64, p50: Option<f64>, stats: &ClientStats) -> String {
        let latency = p50.map_or("–".into(), |ms| format!("{ms:.1} ms"));
        let stages: Vec<_> = stats
            .stages
            .medians()
            .into_iter()
            .filter(|(_, ms)| *ms >= 0.05)
            .map(|(name, ms)| format!("{} {ms:.1}", name.replace('_', " ")))
            .collect();
        let path = self.path.map_or("–".into(), |path| format!("direct to {}", path.remote));
        format!("{fps:.0} fps seen · {latency} behind ({}) · {path}", stages.join(", "))
    }

    fn snapshot(&self, path: &Path, report: &Report) -> Result<(), Failure> {
        let failed = |detail: String| {
            Failure::new(
                Code::File,
                format!("cannot write the snapshot {}: {detail}", path.display()),
            )
        };
        let Some(picture) = &self.picture else {
            let message = format!("no picture came, so {} was not written", path.display());
            return Err(Failure::new(Code::NoPicture, message));
        };
        let mut rgb = Vec::new();
        convert::to_rgb(picture, &mut rgb).map_err(|e| failed(e.to_string()))?;
        let file = BufWriter::new(File::create(path).map_err(|e| failed(e.to_string()))?);
        let mut encoder = png::Encoder::new(file, picture.size().width, picture.size().height);
        encoder.set_color(png::ColorType::Rgb);
        encoder
            .write_header()
            .and_then(|mut writer| {
                writer.write_image_data(&rgb)?;
                writer.finish()
            })
            .map_err(|e| failed(e.to_string()))?;
        report.say(&format!("Wrote {}.", path.display()));
        Ok(())
    }

    /// Says how it ended; gives why it failed.
    pub(crate) fn end(
        &self,
        reason: Option<ClientCloseReason>,
        report: &Report,
    ) -> Option<ClientCloseReason> {
        let failed = reason.filter(|reason| *reason != ClientCloseReason::Left);
        let told = match &failed {
            None => "left".to_owned(),
            Some(reason) => Failure::from(reason.clone()).code.name().to_owned(),
        };
        report.event(&json!({"event": "end", "reason": told, "frames": self.total}));
        if self.seen {
            report.say(&format!(
                "{} frames seen. The last second: {}.",
                self.total, self.last_second
            ));
        }
        failed
    }
}

/// What holds the picture up for the longest time, and for how long.
fn held_up(medians: &[(&str, f64)], loss: f64) -> Option<(&'static str, f64)> {
    let sum = |names: &[&str]| -> f64 {
        medians.iter().filter(|(name, _)| names.contains(name)).map(|(_, ms)| ms).sum()
    };
    // Of a frame whose packets come one by one the path is slow, unless some of them have to be repaired.
    let (reorder, network) = (sum(&["reorder"]), sum(&["network"]));
    let (repairs, path) = if loss > 0.5 { (reorder, network) } else { (0.0, network + reorder) };
    let host = ["capture_wait", "capture", "convert", "encode_wait", "encode", "send_queue"];
    let all = [
        ("the host", sum(&host)),
        ("the path", path),
        ("lost packets", repairs),
        ("this machine", sum(&["decode_wait", "decode", "present"])),
    ];
    all.into_iter().filter(|(_, ms)| *ms > 0.0).max_by(|(_, a), (_, b)| a.total_cmp(b))
}

fn connected(ms: f64, path: &lllsi::Path) -> Value {
    json!({"event": "connected", "ms": ms, "path": "direct", "local": path.local, "remote": path.remote})
}

/// What a link carries at present, for people.
pub(crate) fn host_rate(bytes: u64, seconds: f64) -> String {
    rate(bytes as f64 * 8.0 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_part_of_the_way_is_named() {
        let stages = |encode, network, reorder, decode| {
            [("encode", encode), ("network", network), ("reorder", reorder), ("decode", decode)]
        };
        for (medians, loss, what) in [
            (stages(12.0, 1.0, 0.2, 5.0), 0.0, ("the host", 12.0)),
            (stages(12.0, 8.0, 6.0, 5.0), 0.0, ("the path", 14.0)),
            (stages(12.0, 8.0, 60.0, 5.0), 4.0, ("lost packets", 60.0)),
            (stages(2.0, 1.0, 0.2, 5.0), 0.0, ("this machine", 5.0)),
        ] {
            assert_eq!(held_up(&medians, loss), Some(what));
        }
        assert_eq!(held_up(&[], 0.0), None);
    }
}
