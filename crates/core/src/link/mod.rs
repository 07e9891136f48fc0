//! One encrypted P2P connection between host and client: ICE, DTLS, SRTP and SCTP by str0m, which is named nowhere else.
//!
//! A link carries nothing until both ends have confirmed over it, with the key of their sealed signalling, whose
//! certificates they see ([`Binding`]): until then media is not sent and whatever arrives is dropped.

mod api;
mod confirm;
mod description;
mod dtls;
mod lane;
mod profile;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lllsi_proto::control::{Message, SentFrame};
use lllsi_proto::h264::FrameInfo;
use lllsi_proto::sealed::PartReason;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionValues, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::assemble::Packet;
use crate::seal::{Binding, Role};
use crate::{Transmit, stun};
use description::{Checked, MAX_CANDIDATES};
use profile::{PLAYOUT_DELAY, VIDEO_PT, add_host_candidates, channels, config};

pub use api::{Ignored, LinkError, Path};
pub(crate) use api::{Lane, LinkEvent};
pub use profile::Certificate;

/// While no path is found, ICE is driven this often: str0m starts one check per call, but asks to be called only every
/// 50 ms.
const PUNCH_TICK: Duration = Duration::from_millis(5);
/// How long a path is looked for, after the other side's description is known.
const PUNCH_TIMEOUT: Duration = Duration::from_secs(15);
/// How often [`Message::Confirm`] is repeated until the other side has verified it.
const CONFIRM_EVERY: Duration = Duration::from_millis(100);
/// A link without any sign of life for this long is dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(4);
/// Addresses of ours that servers have told us, per link and restart.
const MAX_REFLEXIVE: usize = 4;
/// Addresses from which the other side has proved itself by a connectivity check.
const MAX_SOURCES: usize = 64;
/// RTP payload bytes: with RTP header, extension, SRTP tag, UDP and IPv6 the packet stays within 1280 bytes.
pub(crate) const MAX_PAYLOAD: usize = 1160;
/// Answers to NACKs: packets kept, for how long, and as what share of all that is sent.
const RESEND_PACKETS: usize = 2048;
const RESEND_AGE: Duration = Duration::from_secs(2);
const RESEND_SHARE: f32 = 0.5;

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

pub(crate) struct Link {
    rtc: Rtc,
    role: Role,
    binding: Option<Binding>,
    fingerprints: Option<(Vec<u8>, Vec<u8>)>,
    state: State,
    control: ChannelId,
    pulse: ChannelId,
    streams: ChannelId,
    live: ChannelId,
    live_queue: lane::Queue,
    pulse_open: bool,
    /// The other side takes what we send: it has verified us.
    is_ready: bool,
    /// When our [`Message::Confirm`] is sent (again); `None` once they have verified it.
    confirm_at: Option<Instant>,
    video: Option<(Mid, Pt)>,
    pending: Option<SdpPendingOffer>,
    next_seq: u64,
    newest_sent: SentFrame,
    epoch: Instant,
    path: Option<Path>,
    remote_candidates: usize,
    reflexive: usize,
    sources: VecDeque<SocketAddr>,
    ignored: Ignored,
    /// When something came that only the other side can have sent; before that is known, anything.
    heard_at: Instant,
    rtc_timeout: Instant,
    transmits: VecDeque<Transmit>,
    events: VecDeque<LinkEvent>,
}

impl Link {
    /// The client's end: gives the SDP offer for the host.
    pub(crate) fn offer(
        now: Instant,
        certificate: &Certificate,
        locals: &[SocketAddr],
    ) -> (Self, String) {
        let mut rtc = config(certificate).build(now);
        add_host_candidates(&mut rtc, locals);
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let channels = channels().map(|c| changes.add_channel_with_config(c));
        let (offer, pending) = changes.apply().expect("new media needs an offer");
        let mut link = Self::new(now, rtc, Role::Client, channels);
        link.pending = Some(pending);
        link.video = Some((mid, Pt::new_with_value(VIDEO_PT)));
        link.drain(now);
        (link, offer.to_sdp_string())
    }

    /// The host's end: gives the SDP answer for the client.
    pub(crate) fn answer(
        now: Instant,
        certificate: &Certificate,
        locals: &[SocketAddr],
        offer: &str,
    ) -> Result<(Self, String), LinkError> {
        let checked = description::check(offer).map_err(bad_description)?;
        let offer = SdpOffer::from_sdp_string(&checked.text).map_err(bad_description)?;
        let mut rtc =
            config(certificate).set_extension(PLAYOUT_DELAY, Extension::PlayoutDelay).build(now);
        add_host_candidates(&mut rtc, locals);
        let answer = rtc.sdp_api().accept_offer(offer).map_err(bad_description)?;
        let channels = channels().map(|c| rtc.direct_api().create_data_channel(c));
        let mut link = Self::new(now, rtc, Role::Host, channels);
        link.state = State::Punching { give_up: Some(now + PUNCH_TIMEOUT) };
        link.note_candidates(&checked);
        link.drain(now);
        let answer = answer.to_sdp_string();
        if !answer.contains("H264/90000") {
            let detail = "no H.264 video that both sides know".into();
            return Err(LinkError::BadDescription(detail));
        }
        Ok((link, answer))
    }

    fn new(now: Instant, rtc: Rtc, role: Role, channels: [ChannelId; 4]) -> Self {
        let [control, pulse, streams, live] = channels;
        Self {
            rtc,
            role,
            binding: None,
            fingerprints: None,
            state: State::Punching { give_up: None },
            control,
            pulse,
            streams,
            live,
            live_queue: lane::Queue::default(),
            pulse_open: false,
            is_ready: false,
            confirm_at: None,
            video: None,
            pending: None,
            next_seq: 1,
            newest_sent: SentFrame::default(),
            epoch: now,
            path: None,
            remote_candidates: 0,
            reflexive: 0,
            sources: VecDeque::new(),
            ignored: Ignored::default(),
            heard_at: now,
            rtc_timeout: now,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The client takes the host's answer: the first, or that to a restart.
    pub(crate) fn accept_answer(&mut self, now: Instant, answer: &str) -> Result<(), LinkError> {
        // Gone also if the answer makes no sense: another offer may follow.
        let Some(pending) = self.pending.take() else {
            return Err(LinkError::BadDescription("an answer without an offer".into()));
        };
        let checked = description::check(answer).map_err(bad_description)?;
        let answer = SdpAnswer::from_sdp_string(&checked.text).map_err(bad_description)?;
        self.note_candidates(&checked);
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(bad_description)?;
        if let State::Punching { give_up } = &mut self.state {
            *give_up = Some(now + PUNCH_TIMEOUT);
        }
        self.drain(now);
        Ok(())
    }

    /// The client's path died: an offer with new ICE credentials, over which a new path is found. DTLS, media and
    /// channels go on. `None` while an earlier offer is not answered.
    pub(crate) fn restart(&mut self, now: Instant) -> Option<String> {
        if self.pending.is_some() {
            return None;
        }
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply()?;
        self.pending = Some(pending);
        self.reflexive = 0;
        self.drain(now);
        Some(offer.to_sdp_string())
    }

    /// The host's side of [`Self::restart`].
    pub(crate) fn accept_restart(
        &mut self,
        now: Instant,
        offer: &str,
    ) -> Result<String, LinkError> {
        let before = self.ufrag();
        let checked = description::check(offer).map_err(bad_description)?;
        let offer = SdpOffer::from_sdp_string(&checked.text).map_err(bad_description)?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(bad_description)?;
        self.drain(now);
        if self.ufrag() == before {
            return Err(LinkError::BadDescription("a restart with the old credentials".into()));
        }
        self.note_candidates(&checked);
        self.reflexive = 0;
        Ok(answer.to_sdp_string())
    }

    /// Sets the key that both sides confirm the transport with.
    pub(crate) fn set_binding(&mut self, now: Instant, binding: Binding) {
        self.binding = Some(binding);
        self.advance(now);
    }

    pub(crate) fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(crate) fn is_down(&self) -> bool {
        self.state == State::Down
    }

    /// Those of a description; more may follow.
    fn note_candidates(&mut self, checked: &Checked) {
        self.remote_candidates = checked.candidates;
        self.ignored.candidates += checked.left_out;
    }

    pub(crate) fn ignored(&self) -> Ignored {
        self.ignored
    }

    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Adds a local address found later, and gives its candidate line for the other side.
    pub(crate) fn add_local(
        &mut self,
        now: Instant,
        mapped: SocketAddr,
        base: SocketAddr,
    ) -> Option<String> {
        if self.reflexive >= MAX_REFLEXIVE || !description::may_be_tried(mapped) {
            return None;
        }
        self.reflexive += 1;
        let candidate = Candidate::server_reflexive(mapped, base, "udp").ok()?;
        // Without a user fragment: while a restart is under way, str0m would put the old one in.
        let line = candidate.to_sdp_string();
        self.rtc.add_local_candidate(candidate)?;
        self.drain(now);
        Some(line)
    }

    /// The candidate line of a local address that has been added before.
    pub(crate) fn reflexive_line(&self, mapped: SocketAddr, base: SocketAddr) -> Option<String> {
        Some(Candidate::server_reflexive(mapped, base, "udp").ok()?.to_sdp_string())
    }

    /// Adds an address of the other side. Those over the limit, and kinds we do not use, are ignored.
    pub(crate) fn add_remote(&mut self, now: Instant, line: &str) {
        self.remote_candidates += 1;
        let candidate = match self.remote_candidates {
            0..=MAX_CANDIDATES => description::candidate(line),
            _ => Err(format!("more than {MAX_CANDIDATES}")),
        };
        match candidate {
            Ok(candidate) => self.rtc.add_remote_candidate(candidate),
            Err(error) => {
                tracing::debug!(error, "candidate ignored");
                self.ignored.candidates += 1;
            }
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
        let Ok(receive) = Receive::new(Protocol::Udp, source, destination, data) else {
            self.ignored.datagrams += 1;
            return;
        };
        let input = Input::Receive(now, receive);
        let is_theirs = match stun::is_stun(data) {
            true => self.rtc.accepts(&input),
            false => self.knows(source),
        };
        if !is_theirs {
            self.ignored.datagrams += 1;
            return;
        }
        if stun::is_stun(data) {
            self.note_source(source);
        }
        if !self.is_up() {
            self.heard_at = now;
        }
        // Anybody can put another's address on a datagram: what it breaks in the parsers must not end the link. If the
        // link is broken, its limits of time end it.
        if let Err(error) = self.rtc.handle_input(input) {
            tracing::debug!(%source, %error, "datagram refused");
            self.ignored.datagrams += 1;
        }
        self.drain(now);
        self.advance(now);
    }

    /// Whether the other side has proved by a connectivity check that it is at this address.
    pub(crate) fn knows(&self, source: SocketAddr) -> bool {
        self.sources.contains(&source)
    }

    /// All such addresses.
    pub(crate) fn sources(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sources.iter().copied()
    }

    fn note_source(&mut self, source: SocketAddr) {
        if !self.knows(source) && self.sources.len() < MAX_SOURCES {
            self.sources.push_back(source);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.rtc.handle_input(Input::Timeout(now)) {
            Ok(()) => self.drain(now),
            Err(error) => self.fail(error.into()),
        }
        self.advance(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Instant> {
        let own = match self.state {
            State::Punching { give_up: Some(give_up) } => give_up.min(now + PUNCH_TICK),
            State::Punching { give_up: None } => self.rtc_timeout,
            State::Confirming { give_up } => give_up.min(self.heard_at + SILENCE),
            State::Up => self.heard_at + SILENCE,
            State::Down => return None,
        };
        let confirm_at = self.confirm_at.filter(|_| self.pulse_open);
        [Some(own), Some(self.rtc_timeout), confirm_at].into_iter().flatten().min()
    }

    /// Sends a control message once the link is up.
    pub(crate) fn send(&mut self, now: Instant, message: &Message) {
        if self.is_up() {
            let channel = match message {
                Message::Goodbye { .. } => self.control,
                _ => self.pulse,
            };
            self.write(channel, message);
            self.handle_timeout(now);
        }
    }

    fn write(&mut self, channel: ChannelId, message: &Message) {
        if let Some(mut channel) = self.rtc.channel(channel) {
            // A full buffer drops what is repeated anyway; a Goodbye is followed by closing.
            if !matches!(channel.write(true, &message.to_bytes()), Ok(true)) {
                tracing::debug!(?message, "control message not taken");
            }
        }
    }

    /// Sends one packetised frame. `captured_at` becomes its RTP time.
    pub(crate) fn send_frame(
        &mut self,
        now: Instant,
        captured_at: Instant,
        info: FrameInfo,
        payloads: &[Arc<[u8]>],
    ) {
        let (State::Up, Some((mid, pt))) = (self.state, self.video) else {
            return;
        };
        let ticks = captured_at.saturating_duration_since(self.epoch).as_micros() * 9 / 100;
        self.newest_sent = SentFrame { timestamp: ticks as u32, info };
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            return;
        };
        for (i, payload) in payloads.iter().enumerate() {
            let packet =
                RtpWrite::new(pt, self.next_seq.into(), ticks as u32, now, payload.clone())
                    .marker(i + 1 == payloads.len())
                    .nackable(true);
            // Sent only where it was agreed on: browsers would wait for a smoother picture.
            stream.write_rtp(if i == 0 { packet.ext_vals(no_delay()) } else { packet });
            self.next_seq += 1;
        }
        // str0m sends what was queued when time is handed in.
        self.handle_timeout(now);
    }

    /// The last frame given to [`Self::send_frame`].
    pub(crate) fn newest_sent(&self) -> SentFrame {
        self.newest_sent
    }

    /// Asks the host for a keyframe.
    pub(crate) fn request_keyframe(&mut self, now: Instant) {
        let Some((mid, _)) = self.video else { return };
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            self.handle_timeout(now);
        }
    }

    /// Says goodbye and closes. What is queued then is still to be sent.
    pub(crate) fn close(&mut self, now: Instant, reason: PartReason) {
        self.send(now, &Message::Goodbye { reason });
        if self.rtc.close().is_ok() {
            self.drain(now);
        }
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

    /// Takes out of str0m all it has to say.
    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.rtc_timeout = at;
                    return;
                }
                Ok(Output::Transmit(t)) => {
                    let contents: Vec<u8> = t.contents.into();
                    self.note_path(t.source, t.destination, &contents);
                    let source = Some(t.source);
                    self.transmits.push_back(Transmit {
                        source,
                        destination: t.destination,
                        contents,
                    });
                }
                Ok(Output::Event(event)) => self.handle_event(now, event),
                Err(error) => return self.fail(error.into()),
            }
        }
    }

    /// Whatever is not a connectivity check goes over the path in use.
    fn note_path(&mut self, local: SocketAddr, remote: SocketAddr, contents: &[u8]) {
        let path = Path { local, remote };
        if stun::is_stun(contents) || self.path == Some(path) {
            return;
        }
        self.path = Some(path);
        if self.is_up() {
            self.events.push_back(LinkEvent::PathChanged(path));
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::MediaAdded(added) if self.video.is_none() => {
                self.video = self.video_format(added.mid);
            }
            Event::Connected => {
                self.state = State::Confirming { give_up: now + PUNCH_TIMEOUT };
                self.confirm_at = Some(now);
                self.fingerprints = self.read_fingerprints();
            }
            Event::ChannelOpen(id, _) if id == self.pulse => self.pulse_open = true,
            Event::ChannelData(data) if data.id == self.streams || data.id == self.live => {
                self.heard_at = now;
                if self.is_up() {
                    self.ready();
                    self.events.push_back(LinkEvent::Stream(data.data.into()));
                }
            }
            Event::ChannelData(data) => {
                self.heard_at = now;
                self.handle_message(now, &data.data);
            }
            Event::RtpPacket(packet) if self.is_up() => {
                self.heard_at = now;
                let (seq, marker) = (*packet.seq_no, packet.header.marker);
                self.events.push_back(LinkEvent::Rtp(Packet {
                    seq,
                    marker,
                    payload: packet.payload,
                }));
            }
            Event::KeyframeRequest(_) if self.is_up() => {
                self.events.push_back(LinkEvent::KeyframeWanted);
            }
            Event::Closed => self.fail(LinkError::Closed),
            _ => {}
        }
    }

    /// The payload type agreed on for a video line, and the resend cache set up for it.
    fn video_format(&mut self, mid: Mid) -> Option<(Mid, Pt)> {
        let media = self.rtc.media(mid).filter(|m| m.kind() == MediaKind::Video)?;
        let pt = *media.remote_pts().first()?;
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_rtx_cache(RESEND_PACKETS, RESEND_AGE, Some(RESEND_SHARE));
        }
        Some((mid, pt))
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

    /// What is due besides str0m's own business. Called outside of [`Self::drain`], since it may hand in something new.
    fn advance(&mut self, now: Instant) {
        match self.state {
            State::Punching { give_up: Some(give_up) } if now >= give_up => {
                self.fail(LinkError::NoPath)
            }
            State::Confirming { give_up } if now >= give_up => self.fail(LinkError::NotBound),
            State::Confirming { .. } | State::Up if now >= self.heard_at + SILENCE => {
                self.fail(LinkError::Silent);
            }
            _ => {}
        }
        if self.pulse_open && !self.is_down() && self.confirm_at.is_some_and(|at| now >= at) {
            self.confirm_at = Some(now + CONFIRM_EVERY);
            self.write_confirm();
            self.handle_timeout(now);
        }
    }
}

/// Frames are to be shown when they arrive.
fn no_delay() -> ExtensionValues {
    ExtensionValues {
        play_delay_min: Some(MediaTime::ZERO),
        play_delay_max: Some(MediaTime::ZERO),
        ..ExtensionValues::default()
    }
}

fn bad_description(error: impl ToString) -> LinkError {
    LinkError::BadDescription(error.to_string())
}
