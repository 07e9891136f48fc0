//! The client's machine: enters a room by a link, or by name and password; finds a path to the host, receives its stream.
//!
//! ```
//! use lllsi_core::client::{Client, Config, Entry};
//! use lllsi_core::{Certificate, Machine, Output, SignalCommand};
//! # use lllsi_core::seal::HostIdentity;
//! # let host = HostIdentity::from_random([7; 96]);
//! # let (room, host_key, secret) = (host.room(), host.public_key(), host.secret);
//! # let now = std::time::Instant::now();
//! # use std::time::Duration;
//! let config = Config {
//!     entry: Entry::Link { room, host_key, secret },
//!     name: "Ada".into(),
//!     locals: vec!["127.0.0.1:5000".parse().unwrap()],
//!     certificate: Certificate::generate(),
//!     random_seed: [1; 32],
//!     patience: Duration::from_secs(30),
//! };
//! let mut client = Client::new(now, config);
//! assert!(matches!(client.poll_output(), Output::Signal(SignalCommand::Connect)));
//! ```

mod api;
mod away;
mod signalling;
#[cfg(any(test, feature = "testing"))]
mod testing;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lllsi_proto::control::{Arrival, Message, Report, SentFrame};
use lllsi_proto::invite::{Commitment, HostKey, Nonce, Opening};
use lllsi_proto::rendezvous::Blob;
use lllsi_proto::sealed::{MAX_NAME_BYTES, PartReason, ToHost};

use crate::assemble::Assembler;
use crate::clock::{ClockSync, DelayWindow};
use crate::gather::Gather;
use crate::link::{Lane, Link, LinkEvent};
use crate::password::Asking;
use crate::seal::{Channel, Initiator, derive};
use crate::server::Server;
use crate::streams::{Streams, THE_HOST};
use crate::{FAR_FUTURE, Input, LinkError, Machine, Output, Path, micros_since};

use away::Away;

pub use api::{Action, CloseReason, Config, Entry, Event, Status};

/// From the start to the host's first answer.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
/// A link on which nothing has come since a ping was sent this long ago gets a new path looked for, if the server is still
/// there to arrange it.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// The same at rest: of the silence that ends a link more than half has passed by then.
const IDLE_RESTART_AFTER: Duration = Duration::from_millis(500);
/// A link that closed without a goodbye: the reason may be lost, and comes through the server within this time.
const REASON_PATIENCE: Duration = Duration::from_secs(1);
/// The host takes one restart a second. One whose answer was lost is asked for again after this.
const RESTART_PAUSE: Duration = Duration::from_millis(1500);
/// Each frame is acknowledged by a report when it is whole. While packets come and make no frame, one goes out this often.
const REPORT_EVERY: Duration = Duration::from_millis(30);
/// However fast frames come, reports go no faster.
const MIN_REPORT_EVERY: Duration = Duration::from_millis(5);
/// After so many reports of the same packets a link is at rest: some may have been lost.
const SAME_REPORTS: u32 = 3;
/// Pings go this often while packets come.
const PING_EVERY: Duration = Duration::from_millis(500);
/// A screen at rest sends nothing, and the host pings by itself every two seconds. If it does not, a client pings after this.
const IDLE_PING_AFTER: Duration = Duration::from_millis(2250);
/// And this often until something comes: before a silence of 4 s ends the link a dozen may be lost.
const PROBE_EVERY: Duration = Duration::from_millis(150);
/// The host's clock is asked for this often, whatever comes meanwhile.
const CLOCK_EVERY: Duration = Duration::from_secs(10);
/// The first pings come quickly, so that latency is known from the first frames on.
const FIRST_PINGS: u32 = 5;
const FIRST_PING_EVERY: Duration = Duration::from_millis(20);

enum Phase {
    Entering,
    /// The host has our half of the password's exchange.
    Asking(Asking),
    Handshaking(Initiator),
    Waiting(Channel),
    /// Admitted; the channel stays for candidates and restarts while the server is there.
    Joined(Channel),
    /// The link is lost; another attempt follows.
    Away,
    Closed,
}

/// The client's machine. See the [crate documentation](crate) for how to drive it.
pub struct Client {
    config: Config,
    nonce: Nonce,
    /// The number that is shown to the host where we have to wait.
    opening: Opening,
    /// Of a host that lets us wait: its nonce, and its commitment to a number of its own.
    lobby: Option<(Nonce, Commitment)>,
    /// With whom the handshake is, or was.
    host_key: Option<HostKey>,
    phase: Phase,
    server: Server,
    gather: Gather,
    link: Link,
    offer: String,
    /// The first message for the host went with the wish to enter, and may have to go again.
    unsent: Option<Blob>,
    /// Candidates that were found before there was a channel to tell them through.
    untold: Vec<String>,
    path: Option<Path>,
    assembler: Assembler,
    clock: ClockSync,
    delay: DelayWindow,
    latency_us: u32,
    /// The longest since the last report.
    queued_us: u32,
    /// Where our clock begins.
    epoch: Instant,
    /// When the present attempt to get in began.
    started: Instant,
    /// A new path is not looked for before.
    restart_at: Instant,
    is_restarting: bool,
    /// The link is silent, and the server is asked for the room once more.
    is_rejoining: bool,
    /// The application knows that there is no connection to the server any more.
    is_server_lost: bool,
    /// The host has closed the link without a goodbye; the session ends then.
    end_at: Option<Instant>,
    report_at: Option<Instant>,
    reported_at: Instant,
    /// When the newest frame arrived.
    arrival: Option<Arrival>,
    /// Packets in the last report, and how many reports in a row told so.
    reported: (u64, u32),
    ping_at: Option<Instant>,
    pinged_at: Instant,
    pings: u32,
    /// The host's pings are not answered before.
    pong_at: Instant,
    /// The first ping since which nothing came.
    unanswered_since: Option<Instant>,
    streams: Streams,
    away: Option<Away>,
    attempt: u64,
    /// What lets us in again.
    pass: Option<Entry>,
    outputs: VecDeque<Output<Event>>,
    now: Instant,
    #[cfg(any(test, feature = "testing"))]
    lie: Option<fn(&mut Report)>,
}

impl Client {
    /// Begins to join.
    pub fn new(now: Instant, mut config: Config) -> Self {
        truncate(&mut config.name, MAX_NAME_BYTES);
        let (link, offer) = Link::offer(
            now,
            &config.certificate,
            &config.locals,
            derive(&config.random_seed, b"link", 0),
        );
        let run = derive(&config.random_seed, b"streams", 0);
        let run = run.first_chunk().expect("it is longer");
        let mut client = Self {
            phase: Phase::Entering,
            server: Server::connect(now),
            gather: Gather::new(std::mem::take(&mut config.locals), &config.random_seed),
            nonce: Nonce::from_bytes(derive(&config.random_seed, b"client nonce", 0)),
            opening: Opening::from_bytes(derive(&config.random_seed, b"opening", 0)),
            lobby: None,
            host_key: None,
            link,
            offer,
            unsent: None,
            untold: Vec::new(),
            path: None,
            assembler: Assembler::new(now, None),
            clock: ClockSync::default(),
            delay: DelayWindow::default(),
            latency_us: 0,
            queued_us: 0,
            epoch: now,
            started: now,
            restart_at: now,
            is_restarting: false,
            is_rejoining: false,
            is_server_lost: false,
            end_at: None,
            report_at: None,
            reported_at: now,
            arrival: None,
            reported: (0, 0),
            ping_at: None,
            pinged_at: now,
            pings: 0,
            pong_at: now,
            unanswered_since: None,
            streams: Streams::new(u32::from_be_bytes(*run)),
            away: None,
            attempt: 0,
            pass: None,
            outputs: VecDeque::new(),
            now,
            #[cfg(any(test, feature = "testing"))]
            lie: None,
            config,
        };
        client.collect();
        client
    }

    fn timeout(&self) -> Instant {
        if matches!(self.phase, Phase::Closed) {
            return self.now + FAR_FUTURE;
        }
        let welcome = self.waits_for_welcome().then(|| self.started + WELCOME_TIMEOUT);
        [
            welcome,
            self.next_restart(),
            self.next_rejoin(),
            self.end_at,
            self.server.timeout(),
            self.gather.timeout(),
            self.link.timeout(),
            self.assembler.timeout().filter(|_| self.link.is_up()),
            self.report_at,
            self.ping_at,
            self.streams.timeout(),
            self.away.map(|away| away.timeout()),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.now + FAR_FUTURE)
    }

    fn waits_for_welcome(&self) -> bool {
        // In the lobby the digits are still to come.
        matches!(self.phase, Phase::Entering | Phase::Asking(_) | Phase::Handshaking(_))
            || (matches!(self.phase, Phase::Waiting(_)) && self.lobby.is_some())
    }

    fn datagram(&mut self, source: SocketAddr, destination: SocketAddr, data: &[u8]) {
        if let Some(found) = self.gather.handle_datagram(self.now, source, destination, data) {
            let candidate = self.link.add_reflexive(self.now, found);
            return self.tell_candidates(candidate);
        }
        self.link.handle_datagram(self.now, source, destination, data);
    }

    fn locals_changed(&mut self, locals: Vec<SocketAddr>) {
        let candidates = self.link.set_locals(self.now, &locals);
        self.gather.set_locals(self.now, locals);
        self.server.network_changed(self.now);
        self.tell_candidates(candidates);
    }

    // --- The host, over the link ---

    fn advance(&mut self) {
        let now = self.now;
        if self.server.handle_timeout(now) {
            match self.phase {
                Phase::Joined(_) => self.server_lost(),
                _ => return self.end(CloseReason::ServerUnreachable("it does not answer".into())),
            }
        }
        if self.waits_for_welcome() && now >= self.started + WELCOME_TIMEOUT {
            return self.end(CloseReason::NoAnswer);
        }
        if self.end_at.is_some_and(|at| now >= at || !self.server.is_connected()) {
            return self.end(CloseReason::HostClosed);
        }
        while let Some(event) = self.link.poll_event() {
            self.link_event(event);
            if matches!(self.phase, Phase::Closed) {
                return;
            }
        }
        let kind = self.gather.take_kind();
        self.tell_nat(kind);
        self.wait_away();
        self.serve_streams();
        if self.link.is_up() {
            self.frames();
            self.pulse();
        }
    }

    /// Sends and tells what has come up in streams.
    fn serve_streams(&mut self) {
        let now = self.now;
        self.streams.handle_timeout(now);
        let is_new = self.streams.calm(THE_HOST);
        let streams = &mut self.streams;
        self.link.send_streams(now, is_new, |lane| match lane {
            Lane::Ordered => streams.poll_ordered(THE_HOST),
            Lane::Live => streams.poll_live(now, THE_HOST),
            Lane::Small(most) => streams.poll_small(now, THE_HOST, most),
        });
        while let Some(event) = self.streams.poll_event() {
            self.outputs.push_back(Output::Event(Event::Stream(event)));
        }
    }

    fn link_event(&mut self, event: LinkEvent) {
        if matches!(event, LinkEvent::Rtp(_) | LinkEvent::Message(_) | LinkEvent::Stream(_)) {
            self.heard();
        }
        match event {
            LinkEvent::Up(path) => {
                (self.path, self.away) = (Some(path), None);
                self.assembler = Assembler::new(self.now, self.link.rtt());
                (self.report_at, self.ping_at) = (Some(self.now), Some(self.now));
                self.unanswered_since = None;
                self.event(Event::Connected(path));
            }
            LinkEvent::PathChanged(path) => {
                self.path_found(path);
                // Neither side sends anything at rest: the silence may be nearly over.
                self.ping_at = self.ping_at.map(|_| self.now);
            }
            LinkEvent::Rtp(packet) => {
                // After a rest at once, and with the end of each frame, though some of it may be missing.
                let is_due = packet.marker || self.is_idle();
                let soon = if is_due { self.now } else { self.reported_at + REPORT_EVERY };
                self.assembler.push(self.now, packet);
                self.report_by(soon);
                self.ping_at = self.ping_at.map(|at| at.min(self.now + PING_EVERY));
            }
            LinkEvent::Message(Message::Pong { sent_us, received_us, .. }) => {
                self.clock.sample(sent_us, received_us, self.micros(self.now));
                if let Some(rtt) = self.clock.rtt_us() {
                    self.assembler.set_rtt(Duration::from_micros(rtt));
                }
            }
            LinkEvent::Message(Message::Ping { sent_us }) => self.answer_ping(sent_us),
            LinkEvent::Message(Message::Goodbye { reason }) => self.parted(reason),
            LinkEvent::Ready => {
                // Pings from before the host was up are lost, and items of streams are judged by its clock.
                (self.ping_at, self.pings) = (Some(self.now), 0);
                self.unanswered_since = None;
                self.streams.join(self.now, THE_HOST, None);
            }
            LinkEvent::Stream(bytes) => {
                let (clock, now_us) = (&self.clock, self.micros(self.now));
                let age_us = |made_us| Some(clock.age_us(made_us, now_us)?.max(0).cast_unsigned());
                self.streams.receive(self.now, THE_HOST, bytes, &age_us);
            }
            LinkEvent::Stuck => {
                self.gather.find_kind(self.now);
                self.tell_nat(self.gather.kind());
            }
            LinkEvent::Message(_)
            | LinkEvent::KeyframeWanted
            | LinkEvent::SizeReduced
            | LinkEvent::Feedback(_) => {}
            LinkEvent::Down(LinkError::Silent) if self.away.is_none() && self.come_back() => {}
            LinkEvent::Down(LinkError::Closed) if self.server.is_connected() => {
                self.end_at = Some(self.now + REASON_PATIENCE);
            }
            LinkEvent::Down(error) => self.end(match error {
                LinkError::NoPath(tried) => CloseReason::NoPath(tried),
                LinkError::Silent => CloseReason::HostVanished,
                LinkError::Closed => CloseReason::HostClosed,
                error => CloseReason::Link(error),
            }),
        }
    }

    fn path_found(&mut self, path: Path) {
        self.path = Some(path);
        self.is_restarting = false;
        self.event(Event::PathChanged(path));
    }

    /// The link lives: pings at rest can wait, and a path that was thought dead is not.
    fn heard(&mut self) {
        self.unanswered_since = None;
        if self.is_idle() && self.pings >= FIRST_PINGS {
            let clock_at = self.pinged_at + CLOCK_EVERY;
            self.ping_at = Some(clock_at.min(self.now + IDLE_PING_AFTER));
        }
        if let (true, Some(path)) = (self.is_restarting, self.path) {
            self.path_found(path);
        }
        if self.is_rejoining {
            self.leave_server();
        }
    }

    /// The next report is due then, or earlier.
    fn report_by(&mut self, at: Instant) {
        let at = at.max(self.reported_at + MIN_REPORT_EVERY);
        self.report_at = Some(self.report_at.map_or(at, |due| due.min(at)));
    }

    /// Whether nothing has come for some reports.
    fn is_idle(&self) -> bool {
        self.reported.1 >= SAME_REPORTS
    }

    fn frames(&mut self) {
        while let Some(mut frame) = self.assembler.poll(self.now) {
            if let Some(info) = &frame.info {
                let complete_us = self.micros(frame.complete_at);
                let latency = self.clock.age_us(info.captured_us, complete_us);
                frame.latency_us = latency.map(|us| us.max(0) as u64);
                self.latency_us = frame.latency_us.unwrap_or(0).min(u32::MAX.into()) as u32;
                // Wrapping: the host may claim any time.
                let sent_us = (info.captured_us as i64).wrapping_add(info.in_host_us() as i64);
                let delay_us = (complete_us as i64).wrapping_sub(sent_us);
                let queued_us = self.delay.above_shortest(self.now, delay_us);
                self.queued_us = self.queued_us.max(queued_us);
            }
            let wrapping = |at| self.micros(at) as u32;
            self.arrival = Some(Arrival {
                first_us: wrapping(frame.first_packet_at),
                last_us: wrapping(frame.complete_at),
                is_repaired: frame.is_repaired,
            });
            self.report_by(self.now);
            self.event(Event::Frame(frame));
        }
        let wants_keyframe = self.assembler.handle_timeout(self.now);
        self.link.forget_before(self.assembler.base());
        if wants_keyframe {
            self.link.request_keyframe(self.now);
        }
    }

    /// Reports and pings that are due, and the search for a path that is gone.
    fn pulse(&mut self) {
        let now = self.now;
        let mut messages = Vec::new();
        let is_ping_due = self.ping_at.is_some_and(|at| now >= at);
        if self.report_at.is_some_and(|at| now >= at) {
            messages.push(Message::Report(self.report()));
        }
        if is_ping_due {
            self.pings += 1;
            let every = match self.is_idle() {
                _ if self.pings < FIRST_PINGS => FIRST_PING_EVERY,
                true => PROBE_EVERY,
                false => PING_EVERY,
            };
            (self.pinged_at, self.ping_at) = (now, Some(now + every));
            self.unanswered_since.get_or_insert(now);
            messages.push(Message::Ping { sent_us: self.micros(now) });
        }
        self.link.send_pulse(now, &messages);
        if self.next_restart().is_some_and(|at| now >= at) {
            self.restart();
        }
        if self.next_rejoin().is_some_and(|at| now >= at) {
            self.rejoin();
        }
    }

    /// The host asks at rest, for a sign of life: a report goes with it, as some before may be lost.
    fn answer_ping(&mut self, sent_us: u64) {
        if self.now < self.pong_at {
            return;
        }
        self.pong_at = self.now + MIN_REPORT_EVERY;
        let (now, received_us) = (self.now, self.micros(self.now));
        let newest = SentFrame::default();
        let pong = Message::Pong { sent_us, received_us, newest };
        let report = Message::Report(self.report());
        self.link.send_pulse(now, &[pong, report]);
    }

    fn report(&mut self) -> Report {
        let arrivals = self.assembler.arrivals();
        let same = arrivals.packets == self.reported.0;
        self.reported = (arrivals.packets, if same { self.reported.1 + 1 } else { 0 });
        self.reported_at = self.now;
        self.report_at = (!self.is_idle()).then_some(self.now + REPORT_EVERY);
        #[allow(unused_mut)] // but in tests
        let mut report = Report {
            frame: self.assembler.newest_frame(),
            packets: arrivals.packets as u32,
            missed: arrivals.missed as u32,
            bytes: arrivals.bytes,
            // What was under way before says nothing about now.
            queued_us: std::mem::take(&mut self.queued_us),
            latency_us: self.latency_us,
            arrival: self.arrival,
        };
        #[cfg(any(test, feature = "testing"))]
        self.lie.inspect(|lie| lie(&mut report));
        report
    }

    fn restart(&mut self) {
        let now = self.now;
        self.restart_at = now + RESTART_PAUSE;
        self.gather.refresh(now);
        self.server.probe();
        if let Some(offer) = self.link.restart(now) {
            self.is_restarting = true;
            self.event(Event::Restarting);
            self.seal(&ToHost::Restart { offer });
        }
    }

    fn can_restart(&self) -> bool {
        let has_channel = matches!(self.phase, Phase::Joined(_)) && !self.is_rejoining;
        self.link.is_up() && self.server.is_connected() && has_channel
    }

    /// When a new path is to be looked for, if nothing comes until then.
    fn next_restart(&self) -> Option<Instant> {
        let since = self.unanswered_since.filter(|_| self.can_restart())?;
        let after = if self.is_idle() { IDLE_RESTART_AFTER } else { RESTART_AFTER };
        let round_trip = Duration::from_micros(self.clock.rtt_us().unwrap_or(0));
        Some(self.restart_at.max(since + after + round_trip.min(RESTART_AFTER)))
    }

    fn micros(&self, at: Instant) -> u64 {
        micros(self.epoch, at)
    }

    // --- The end ---

    fn leave(&mut self) {
        self.seal(&ToHost::Part { reason: PartReason::ClientLeft });
        self.end(CloseReason::Left);
    }

    fn parted(&mut self, reason: PartReason) {
        self.end(match reason {
            PartReason::RoomFull => CloseReason::RoomFull,
            PartReason::Kicked => CloseReason::Kicked,
            PartReason::SourceLost => CloseReason::SourceLost,
            PartReason::InviteExpired => CloseReason::InviteExpired,
            PartReason::Replaced => CloseReason::Replaced,
            PartReason::Protocol => CloseReason::Protocol {
                who: "host",
                detail: "it says that we broke the protocol".into(),
            },
            _ => CloseReason::HostClosed,
        });
    }

    fn protocol_error(&mut self, who: &'static str, detail: impl ToString) {
        self.end(CloseReason::Protocol { who, detail: detail.to_string() });
    }

    fn end(&mut self, reason: CloseReason) {
        if self.is_worth_another(&reason) {
            return self.try_later();
        }
        (self.phase, self.end_at) = (Phase::Closed, None);
        if !self.link.is_down() {
            self.link.close(self.now, PartReason::ClientLeft);
        }
        self.leave_server();
        // Goodbyes go out before the event, so that a shell may stop at it.
        self.collect();
        self.event(Event::Closed(reason));
    }

    /// Closes the connection to the server for good.
    fn leave_server(&mut self) {
        self.is_rejoining = false;
        self.server.close();
        self.gather.stop();
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Gathers what the parts want sent.
    fn collect(&mut self) {
        while let Some(transmit) = self.link.poll_transmit() {
            self.outputs.push_back(Output::Transmit(transmit));
        }
        while let Some(transmit) = self.gather.poll_transmit(self.now) {
            self.outputs.push_back(Output::Transmit(transmit));
        }
        self.server.collect(&mut self.outputs);
    }
}

impl Machine for Client {
    type Action = Action;
    type Event = Event;
    type Status = Status;

    fn status(&self) -> Status {
        Status {
            arrivals: self.assembler.arrivals(),
            rtt: self.clock.rtt_us().map(Duration::from_micros),
            path: self.path,
            ignored: self.link.ignored(),
            streams: self.streams.status(),
        }
    }

    fn handle_input(&mut self, now: Instant, input: Input<'_, Action>) {
        self.now = now;
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        match input {
            // While a path is looked for, ICE takes a step each time it is woken.
            Input::Timeout => self.link.handle_timeout(now),
            Input::Datagram { source, destination, data } => {
                self.datagram(source, destination, data)
            }
            Input::Signal(event) => self.signal(event),
            Input::LocalsChanged(locals) => self.locals_changed(locals),
            Input::Action(Action::Leave) => self.leave(),
            Input::Action(Action::Stream(action)) => {
                let (clock, epoch) = (&self.clock, self.epoch);
                let host_us = |at| clock.host_us(micros(epoch, at)).unwrap_or(0);
                self.streams.act(now, action, host_us);
            }
            Input::Action(Action::RequestKeyframe) => self.assembler.reset(now),
        }
        self.advance();
        self.collect();
    }

    fn poll_output(&mut self) -> Output<Event> {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.timeout()))
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed) && self.outputs.is_empty()
    }
}

/// Our clock: an hour in front, so that a clock behind ours does not count below zero.
fn micros(epoch: Instant, at: Instant) -> u64 {
    micros_since(epoch, at) + 3_600_000_000
}

/// Cuts a string to at most `max` bytes, between characters.
pub(crate) fn truncate(text: &mut String, max: usize) {
    let end = (0..=max.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text.truncate(end);
}
