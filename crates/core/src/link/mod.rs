//! One encrypted P2P connection between host and client: a WebRTC transport (`lllsi-rtc`), and the proof that it belongs to
//! the sealed signalling.
//!
//! A link carries nothing until both ends have confirmed over it, with the key of their sealed signalling, whose
//! certificates they see ([`Binding`]): until then media is not sent and whatever arrives is dropped.

mod api;
mod confirm;
mod datagrams;
mod lane;
mod profile;
mod size;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lllsi_proto::control::{
    APP_NAME, CONTROL_CHANNEL, Message, PULSE_CHANNEL, SIZE_NAME, SentFrame,
};
use lllsi_proto::h264::FrameInfo;
use lllsi_proto::rtsmp::{BUNDLE_NAME, LIVE_CHANNEL, STREAMS_CHANNEL};
use lllsi_proto::sealed::PartReason;
use lllsi_rtc::{Event, Extras, Frame, Track, Transport, sdp};

use crate::Transmit;
use crate::assemble::Packet;
use crate::nat::NatKind;
use crate::seal::{Binding, Role, derive};
use crate::stun::Reflexive;
use datagrams::Datagrams;
use profile::{config, wants};
use size::PathSize;

pub use api::{Ignored, LinkError, Path, Tried};
pub(crate) use api::{Lane, LinkEvent};
pub use lllsi_rtc::Certificate;
pub(crate) use size::PacketSize;

/// How long a path is looked for, after the other side's description is known.
const PUNCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Paths are found within this, nearly always.
const STUCK_AFTER: Duration = Duration::from_secs(2);
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(15);
/// How often [`Message::Confirm`] is repeated until the other side has verified it.
const CONFIRM_EVERY: Duration = Duration::from_millis(100);
/// A link without any sign of life for this long is dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(4);
/// RTP payload bytes: with RTP header, extensions, the head of parity, SRTP tag, UDP and IPv6 the packet stays within 1280 bytes.
pub(crate) const MAX_PAYLOAD: usize = 1148;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// ICE and DTLS are under way.
    Punching {
        give_up: Option<Instant>,
    },
    /// DTLS is up; the other side has not proved who it is.
    Confirming {
        give_up: Instant,
    },
    /// It has.
    Up,
    Down,
}

/// How pings, pongs and reports go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulse {
    /// Over the channel: all that a browser has.
    Channel,
    /// With the feedback of the media (RTCP): no acknowledgements, and a third of the cost.
    Feedback,
}

pub(crate) struct Link {
    transport: Transport,
    seed: [u8; 32],
    restarts: u64,
    role: Role,
    binding: Option<Binding>,
    state: State,
    live_queue: lane::Queue,
    datagrams: Datagrams,
    /// Streams may have something to send.
    streams_wait: bool,
    pulse_open: bool,
    /// The other side has proved who it is.
    is_proved: bool,
    /// The other side takes what we send: it has verified us.
    is_ready: bool,
    pulse: Pulse,
    path_size: PathSize,
    /// When our [`Message::Confirm`] is sent (again); `None` once they have verified it.
    confirm_at: Option<Instant>,
    newest_sent: SentFrame,
    /// Its timestamp before it was cut to 32 bits.
    newest_ticks: u64,
    epoch: Instant,
    path: Option<Path>,
    /// When [`LinkEvent::Stuck`] is due.
    stuck_at: Option<Instant>,
    /// The kinds of our NAT and theirs.
    nats: [Option<NatKind>; 2],
    remote_candidates: usize,
    ignored: Ignored,
    /// When something came that only the other side can have sent.
    heard_at: Instant,
    transport_timeout: Option<Instant>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<LinkEvent>,
}

impl Link {
    /// The client's end: returns the SDP offer for the host. No other link has the same seed.
    pub(crate) fn offer(
        now: Instant,
        certificate: &Certificate,
        locals: &[SocketAddr],
        seed: [u8; 32],
    ) -> (Self, String) {
        let config = config(certificate, &seed);
        let (transport, offer) = Transport::offer(now, config, locals, &wants());
        let mut link = Self::new(now, transport, Role::Client, seed);
        link.drain(now);
        (link, offer)
    }

    /// The host's end: returns the SDP answer for the client. No other link has the same seed.
    pub(crate) fn answer(
        now: Instant,
        certificate: &Certificate,
        locals: &[SocketAddr],
        offer: &str,
        seed: [u8; 32],
    ) -> Result<(Self, String), LinkError> {
        let config = config(certificate, &seed);
        let (transport, answer) = Transport::answer(now, config, locals, offer)?;
        let mut link = Self::new(now, transport, Role::Host, seed);
        link.state = State::Punching { give_up: Some(now + PUNCH_TIMEOUT) };
        link.stuck_at = Some(now + STUCK_AFTER);
        link.note_candidates();
        link.drain(now);
        Ok((link, answer))
    }

    fn new(now: Instant, transport: Transport, role: Role, seed: [u8; 32]) -> Self {
        Self {
            transport,
            seed,
            restarts: 0,
            role,
            binding: None,
            state: State::Punching { give_up: None },
            live_queue: lane::Queue::default(),
            datagrams: Datagrams::new(now),
            streams_wait: true,
            pulse_open: false,
            is_proved: false,
            is_ready: false,
            pulse: if role == Role::Client { Pulse::Feedback } else { Pulse::Channel },
            path_size: PathSize::new(),
            confirm_at: None,
            newest_sent: SentFrame::default(),
            newest_ticks: 0,
            epoch: now,
            path: None,
            stuck_at: None,
            nats: [None; 2],
            remote_candidates: 0,
            ignored: Ignored::default(),
            heard_at: now,
            transport_timeout: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The client takes the host's answer: the first, or that to a restart.
    pub(crate) fn accept_answer(&mut self, now: Instant, answer: &str) -> Result<(), LinkError> {
        self.transport.accept_answer(now, answer)?;
        self.note_candidates();
        if let State::Punching { give_up } = &mut self.state {
            *give_up = Some(now + PUNCH_TIMEOUT);
            self.stuck_at = Some(now + STUCK_AFTER);
        }
        self.drain(now);
        Ok(())
    }

    /// The client's path died: an offer with new ICE credentials, over which a new path is found. DTLS, media and
    /// channels go on. The same again while it is not answered. `None` if there is no link any more.
    pub(crate) fn restart(&mut self, now: Instant) -> Option<String> {
        let random = self.restart_random();
        let offer = self.transport.restart(now, &random)?;
        self.drain(now);
        Some(offer)
    }

    /// The host's side of [`Self::restart`].
    pub(crate) fn accept_restart(
        &mut self,
        now: Instant,
        offer: &str,
    ) -> Result<String, LinkError> {
        let random = self.restart_random();
        let answer = self.transport.accept_restart(now, offer, &random)?;
        self.note_candidates();
        self.drain(now);
        Ok(answer)
    }

    fn restart_random(&mut self) -> [u8; 24] {
        self.restarts += 1;
        let random = derive(&self.seed, b"restart", self.restarts);
        *random.first_chunk().expect("32 bytes hold 24")
    }

    /// Sets the key that both sides confirm the transport with.
    pub(crate) fn set_binding(&mut self, now: Instant, binding: Binding) {
        self.binding = Some(binding);
        self.advance(now);
    }

    /// For a hostile viewer of the tests.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    pub(crate) fn ufrag(&self) -> String {
        self.transport.ufrag().to_owned()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(crate) fn is_down(&self) -> bool {
        self.state == State::Down
    }

    /// Those of a description; more may follow.
    fn note_candidates(&mut self) {
        let (taken, ignored) = self.transport.described_candidates();
        self.remote_candidates = taken;
        self.ignored.candidates += ignored;
    }

    pub(crate) fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// The last round trip of a connectivity check.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.transport.rtt()
    }

    /// This machine has these addresses now. Returns the candidate lines of new ones, for the other side.
    pub(crate) fn set_locals(&mut self, now: Instant, locals: &[SocketAddr]) -> Vec<String> {
        let lines = self.transport.set_locals(now, locals);
        self.drain(now);
        lines
    }

    /// Adds an address at which a server sees us, and returns its candidate line for the other side.
    pub(crate) fn add_reflexive(&mut self, now: Instant, found: Reflexive) -> Option<String> {
        let line = self.transport.add_reflexive(now, found.mapped, found.base)?;
        self.drain(now);
        Some(line)
    }

    /// The NAT of one side is of this kind.
    pub(crate) fn note_nat(&mut self, role: Role, kind: NatKind) {
        self.nats[usize::from(role != self.role)] = Some(kind);
    }

    /// Adds an address of the other side. Those over the limit, and kinds we do not use, are ignored.
    pub(crate) fn add_remote(&mut self, now: Instant, line: &str) {
        if self.transport.is_told(line) {
            return;
        }
        self.remote_candidates += 1;
        let added = match self.remote_candidates {
            0..=sdp::MAX_CANDIDATES => self.transport.add_remote_candidate(now, line),
            _ => Err(format!("more than {}", sdp::MAX_CANDIDATES)),
        };
        if let Err(error) = added {
            tracing::debug!(error, "candidate ignored");
            self.ignored.candidates += 1;
        }
        self.drain(now);
    }

    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        data: &[u8],
    ) {
        if !self.transport.handle_datagram(now, source, destination, data) {
            self.ignored.datagrams += 1;
            return;
        }
        if !self.is_up() {
            self.heard_at = now;
        }
        self.drain(now);
        self.advance(now);
    }

    /// Whether an authentic connectivity check came from this address.
    pub(crate) fn knows(&self, source: SocketAddr) -> bool {
        self.transport.knows(source)
    }

    /// All such addresses.
    pub(crate) fn sources(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.transport.sources()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
        self.drain(now);
        self.advance(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::Punching { give_up } => give_up.into_iter().chain(self.stuck_at).min(),
            State::Confirming { give_up } => Some(give_up.min(self.heard_at + SILENCE)),
            State::Up => Some(self.heard_at + SILENCE),
            State::Down => return None,
        };
        let confirm_at = self.confirm_at.filter(|_| self.pulse_open);
        let bundle_at = self.datagrams.timeout().filter(|_| self.is_up());
        let probe_at = self.path_size.timeout().filter(|_| self.is_up());
        let all = [own, self.transport_timeout, confirm_at, bundle_at, probe_at];
        all.into_iter().flatten().min()
    }

    /// Whether nothing has come for so long, from a side that takes pings.
    pub(crate) fn is_at_rest(&self, now: Instant, silence: Duration) -> bool {
        self.is_up() && self.pulse == Pulse::Feedback && now >= self.heard_at + silence
    }

    /// See [`Transport::align_checks`].
    pub(crate) fn align_checks(&mut self, begin: Instant) {
        self.transport.align_checks(begin);
    }

    /// Sends what may be lost, all in one datagram if it goes with the media's feedback, once the link is up.
    pub(crate) fn send_pulse(&mut self, now: Instant, messages: &[Message]) {
        if !self.is_up() || messages.is_empty() {
            return;
        }
        match self.pulse {
            Pulse::Feedback => {
                let bytes: Vec<_> = messages.iter().map(Message::to_bytes).collect();
                self.transport.send_app(APP_NAME, bytes.iter().map(Vec::as_slice));
            }
            Pulse::Channel => {
                messages.iter().for_each(|message| self.write(now, PULSE_CHANNEL, message));
            }
        }
        self.drain(now);
    }

    fn write(&mut self, now: Instant, channel: u16, message: &Message) {
        // A full buffer drops what is repeated anyway; a Goodbye is followed by closing.
        if !self.transport.send(now, channel, true, &message.to_bytes()) {
            tracing::debug!(?message, "control message not taken");
        }
    }

    /// Sends one packetised frame. `captured_at` becomes its RTP time.
    pub(crate) fn send_frame(
        &mut self,
        now: Instant,
        captured_at: Instant,
        info: FrameInfo,
        packets: &Frame,
        extras: Extras,
    ) {
        let (State::Up, Some(track)) = (self.state, self.outgoing()) else { return };
        let ticks = captured_at.saturating_duration_since(self.epoch).as_micros() * 9 / 100;
        // Time does not go back where one layer follows another.
        let ticks = (ticks as u64).max(self.newest_ticks + 1);
        self.newest_ticks = ticks;
        self.newest_sent = SentFrame { timestamp: ticks as u32, info };
        self.transport.send_frame(now, track, ticks as u32, packets, extras);
        self.drain(now);
    }

    /// See [`Transport::take_redundant`].
    pub(crate) fn take_redundant(&mut self) -> u64 {
        self.transport.take_redundant()
    }

    /// See [`Transport::set_pace`].
    pub(crate) fn set_pace(&mut self, now: Instant, bytes_per_second: f64) {
        self.transport.set_pace(now, bytes_per_second);
    }

    /// Whether the other side takes the parity of browsers.
    pub(crate) fn takes_fec(&self) -> bool {
        self.outgoing().is_some_and(|track| self.transport.takes_fec(track))
    }

    /// Sends frames again that were sent since then, at most so many packets of them: the viewer may not have got them.
    pub(crate) fn repeat(&mut self, now: Instant, since: Instant, most: u64) {
        if let (State::Up, Some(track)) = (self.state, self.outgoing()) {
            self.transport.repeat(now, track, since, most as usize);
            self.drain(now);
        }
    }

    /// See [`Transport::packets_sent`].
    pub(crate) fn packets_sent(&self) -> u64 {
        self.transport.packets_sent()
    }

    /// The track that pictures go out on.
    fn outgoing(&self) -> Option<Track> {
        self.transport.outgoing().next()
    }

    /// The track that pictures come in on.
    fn incoming(&self) -> Option<Track> {
        self.transport.incoming().next()
    }

    /// The last frame given to [`Self::send_frame`].
    pub(crate) fn newest_sent(&self) -> SentFrame {
        self.newest_sent
    }

    /// Asks the host for a keyframe.
    pub(crate) fn request_keyframe(&mut self, now: Instant) {
        if let Some(track) = self.incoming() {
            self.transport.request_keyframe(track);
            self.drain(now);
        }
    }

    /// RTP packets before this one are not waited for any more.
    pub(crate) fn forget_before(&mut self, seq: u64) {
        if let Some(track) = self.incoming() {
            self.transport.forget_before(track, seq);
        }
    }

    /// Says goodbye and closes. What is queued then is still to be sent.
    pub(crate) fn close(&mut self, now: Instant, reason: PartReason) {
        if self.is_up() {
            self.write(now, CONTROL_CHANNEL, &Message::Goodbye { reason });
        }
        self.transport.close(now);
        self.drain(now);
        self.state = State::Down;
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn fail(&mut self, error: LinkError) {
        if self.state != State::Down {
            self.state = State::Down;
            self.events.push_back(LinkEvent::Down(error));
        }
    }

    /// Takes out of the transport all it has to say.
    fn drain(&mut self, now: Instant) {
        while let Some(transmit) = self.transport.poll_transmit() {
            self.transmits.push_back(transmit.into());
        }
        while let Some(event) = self.transport.poll_event() {
            self.handle_event(now, event);
        }
        self.transport_timeout = self.transport.timeout();
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Route(route) => {
                let path = Path { local: route.local, remote: route.remote };
                self.path = Some(path);
                if self.is_up() {
                    self.events.push_back(LinkEvent::PathChanged(path));
                    self.probe_path(now);
                }
                self.go_up(now);
            }
            Event::Connected => {
                self.state = State::Confirming { give_up: now + CONFIRM_TIMEOUT };
                self.confirm_at = Some(now);
            }
            Event::ChannelOpen(PULSE_CHANNEL) => self.pulse_open = true,
            Event::Message { channel: STREAMS_CHANNEL | LIVE_CHANNEL, data, .. } => {
                self.heard_at = now;
                if self.is_up() {
                    self.ready();
                    self.events.push_back(LinkEvent::Stream(data));
                }
            }
            Event::Message { data, .. } => {
                self.heard_at = now;
                self.handle_message(now, &data);
            }
            Event::App { name: APP_NAME, data } if self.is_up() => {
                self.heard_at = now;
                if std::mem::replace(&mut self.pulse, Pulse::Feedback) == Pulse::Channel {
                    self.probe_path(now);
                }
                self.handle_message(now, &data);
            }
            Event::App { name: SIZE_NAME, data } if self.is_up() => {
                self.heard_at = now;
                self.handle_probe(&data);
            }
            Event::App { name: BUNDLE_NAME, data } if self.is_up() => {
                self.heard_at = now;
                self.ready();
                match self.datagrams.receive(now, data) {
                    Some(messages) => self.events.extend(messages.map(LinkEvent::Stream)),
                    None => self.ignored.messages += 1,
                }
            }
            Event::Packet(_, packet) if self.is_up() => {
                self.heard_at = now;
                let lllsi_rtc::Packet { index, marker, is_repair, payload, .. } = packet;
                let packet = Packet { seq: index, marker, is_repair, payload };
                self.events.push_back(LinkEvent::Rtp(packet));
            }
            Event::Feedback(results) if self.is_up() => {
                self.note_sizes(now, &results);
                self.events.push_back(LinkEvent::Feedback(results));
            }
            Event::KeyframeRequest(_) if self.is_up() => {
                self.events.push_back(LinkEvent::KeyframeWanted);
            }
            Event::Closed(closed) => self.fail(closed.into()),
            _ => {}
        }
    }

    fn handle_message(&mut self, now: Instant, data: &[u8]) {
        match Message::parse(data) {
            Ok(Some(Message::Confirm { mac, verified })) => {
                self.handle_confirm(now, &mac, verified)
            }
            Ok(Some(message)) if self.is_up() => {
                // They speak, so they have verified us.
                self.confirm_at = None;
                self.ready();
                self.events.push_back(LinkEvent::Message(message));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "control message ignored");
                self.ignored.messages += 1;
            }
        }
    }

    /// What is due besides the transport's own business. Called outside of [`Self::drain`], since it may hand in something new.
    fn advance(&mut self, now: Instant) {
        match self.state {
            State::Punching { give_up: Some(give_up) } if now >= give_up => {
                let [ours, theirs] = self.transport.candidates();
                let is_seen = self.transport.is_seen();
                self.fail(LinkError::NoPath(Tried { ours, theirs, is_seen, nats: self.nats }));
            }
            State::Punching { .. } if self.stuck_at.is_some_and(|at| now >= at) => {
                self.stuck_at = None;
                self.events.push_back(LinkEvent::Stuck);
            }
            State::Confirming { give_up } if now >= give_up => self.fail(LinkError::NotBound),
            State::Confirming { .. } | State::Up if now >= self.heard_at + SILENCE => {
                self.fail(LinkError::Silent);
            }
            _ => {}
        }
        if self.pulse_open && !self.is_down() && self.confirm_at.is_some_and(|at| now >= at) {
            self.confirm_at = Some(now + CONFIRM_EVERY);
            self.write_confirm(now);
            self.drain(now);
        }
        self.send_probes(now);
        if self.is_up()
            && let Some(bundle) = self.datagrams.next_due(now)
        {
            self.transport.send_app(BUNDLE_NAME, [&bundle[..]]);
            self.drain(now);
        }
    }
}
