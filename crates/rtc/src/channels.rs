//! The data channels of a link (RFC 8831): a state machine between decrypted DTLS records, each
//! one SCTP packet, and messages.
//!
//! It does no input or output and reads no clock, except that the association reads it once when
//! this end sends INIT, for the time of INIT's first retransmission. TSNs, tags and cookies come
//! from the random generator of `rand`, which the association does not let one replace.

mod config;
mod incoming;
mod outgoing;
mod table;

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
pub(crate) mod tests;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Payload,
    PayloadProtocolIdentifier, ServerConfig, TransportConfig, generate_snap_token,
};

use crate::dcep;
use crate::filter::wire::{self, DATA_HEADER_BYTES, HEADER_BYTES};
use crate::filter::{Dropped, Filter, Limits, MAX_PACKET_BYTES, Setup, Verdict, Violation};

pub use self::config::{
    Channel, Config, Event, MAX_CHANNELS, MAX_MESSAGE_BYTES, OpenError, Reliability, StartError,
    WriteError,
};
use self::outgoing::{MAX_IN_FLIGHT, MAX_MESSAGES, Outgoing};
use self::table::{State, Table};

/// The association wants an address, and makes no use of it.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000));
/// Retransmission timeouts (RFC 9260 section 6.3.1) in milliseconds. The association delays its
/// acknowledgement by up to 200 ms, so a shorter minimum would retransmit each lone message and
/// shrink the congestion window to one packet. The maximum is short because ICE, not SCTP,
/// decides when a peer is gone.
const RTO_INITIAL_MS: u64 = 500;
const RTO_MIN_MS: u64 = 300;
const RTO_MAX_MS: u64 = 4000;
/// Longest message when the peer's description has no `a=max-message-size` (RFC 8841 section 6).
const DEFAULT_REMOTE_MAX_MESSAGE: u32 = 64 * 1024;
/// Bytes of answers that a peer may draw before it has paid for them, two for each it sends.
const MAX_CREDIT: i64 = 64 * 1024;
/// A packet may have at least this many bytes.
const LEAST_PACKET_BYTES: u16 = 500;
/// Pause between answers when the credit is used up.
const ANSWER_PAUSE: Duration = Duration::from_millis(20);
/// Chunks in flight up to which the association is asked for packets at any time.
const MANY_IN_FLIGHT: u32 = 128;
/// Pause between asking it, for each chunk in flight: asking takes some 0.08 us for each.
const PAUSE_PER_CHUNK: Duration = Duration::from_micros(1);

/// The data channels of one link.
///
/// After each call of [`handle`](Self::handle), [`handle_timeout`](Self::handle_timeout),
/// [`write`](Self::write), [`open`](Self::open) and [`close`](Self::close) the caller takes
/// packets from [`poll_transmit`](Self::poll_transmit) and events from
/// [`poll_event`](Self::poll_event) until there are none. Packets that arrive together are better
/// handled together: one look of the association over what it has in flight then serves them all.
///
/// ```
/// use lllsi_rtc::channels::{Channel, Channels, Config};
/// use std::time::Instant;
///
/// let control = Channel { id: 0, label: "control".into(), ordered: true, negotiated: true, ..Channel::default() };
/// let mut channels = Channels::new(Config { channels: vec![control], ..Config::default() })?;
/// let now = Instant::now();
/// channels.start(now, true, None, Some(256 * 1024))?;
/// let init = channels.poll_transmit(now);
/// assert!(init.is_some());
/// # Ok::<(), lllsi_rtc::channels::StartError>(())
/// ```
pub struct Channels {
    config: Config,
    transport: Arc<TransportConfig>,
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Option<Association>,
    filter: Option<Filter>,
    token: Bytes,
    phase: Phase,
    is_client: bool,
    max_send: usize,
    table: Table,
    refused: Vec<u16>,
    events: VecDeque<Event>,
    outgoing: Outgoing,
    has_work: bool,
    credit: i64,
    pause: Option<Instant>,
    gathered: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Handshake,
    Established,
    Ended,
}

impl Channels {
    /// Channels that are not started.
    ///
    /// # Errors
    /// The configuration cannot work; see [`StartError`].
    pub fn new(config: Config) -> Result<Self, StartError> {
        if config.channels.len() + usize::from(config.peer_channels) > MAX_CHANNELS {
            return Err(StartError::TooManyChannels);
        }
        if config.max_message_bytes > MAX_MESSAGE_BYTES {
            return Err(StartError::MessageBytes(config.max_message_bytes));
        }
        let packet = config.max_packet_bytes;
        if !(LEAST_PACKET_BYTES..=MAX_PACKET_BYTES as u16).contains(&packet) {
            return Err(StartError::PacketBytes(packet));
        }
        let mut table = Table::default();
        for channel in &config.channels {
            let channel = Channel { negotiated: true, ..channel.clone() };
            let id = channel.id;
            if id == u16::MAX || !table.insert(channel, State::Waiting) {
                return Err(StartError::ChannelId(id));
            }
        }
        let transport = Arc::new(transport_config(&config));
        let endpoint = endpoint(packet, &transport);
        Ok(Self {
            token: generate_snap_token(&transport).unwrap_or_default(),
            config,
            transport,
            endpoint,
            handle: AssociationHandle(0),
            association: None,
            filter: None,
            phase: Phase::New,
            is_client: false,
            max_send: 0,
            table,
            refused: Vec::new(),
            events: VecDeque::new(),
            outgoing: Outgoing::default(),
            has_work: false,
            credit: MAX_CREDIT,
            pause: None,
            gathered: None,
        })
    }

    /// Packets have this many bytes at most, from 500 on: before the association [starts](Self::start).
    pub fn set_packet_bytes(&mut self, bytes: u16) {
        debug_assert!(self.phase == Phase::New && bytes >= LEAST_PACKET_BYTES);
        self.config.max_packet_bytes = bytes;
        self.endpoint = endpoint(bytes, &self.transport);
    }

    /// This end's SNAP token (draft-hancke-tsvwg-snap): an INIT chunk for `a=sctp-init`.
    pub fn local_init(&self) -> &[u8] {
        &self.token
    }

    /// Starts the association once DTLS is connected.
    ///
    /// `is_client` says whether this end is the DTLS client: it sends INIT, and its DCEP channels
    /// have even ids. With `remote_init`, the peer's SNAP token, the association is established at
    /// once; the peer must have [`local_init`](Self::local_init) then. `remote_max_message` is
    /// the peer's `a=max-message-size` in bytes, 0 for any.
    ///
    /// # Errors
    /// Started before, or a bad token.
    pub fn start(
        &mut self,
        now: Instant,
        is_client: bool,
        remote_init: Option<&[u8]>,
        remote_max_message: Option<u32>,
    ) -> Result<(), StartError> {
        if self.phase != Phase::New {
            return Err(StartError::AlreadyStarted);
        }
        self.is_client = is_client;
        let max_send = match remote_max_message {
            None => DEFAULT_REMOTE_MAX_MESSAGE,
            Some(0) => u32::MAX,
            Some(bytes) => bytes,
        };
        self.max_send = self.config.max_buffered_bytes.min(max_send as usize);
        let mut client = ClientConfig::new();
        client.transport = self.transport.clone();
        let setup = match remote_init {
            Some(token) => {
                let init = wire::parse_token(token).ok_or(StartError::Token)?;
                client = client.with_snap(self.token.clone(), Bytes::copy_from_slice(token));
                Setup::Snap { initial_tsn: init.initial_tsn }
            }
            None if is_client => Setup::Initiator,
            None => Setup::Responder,
        };
        if setup != Setup::Responder {
            let connected = self.endpoint.connect(client, PEER);
            let (handle, association) = connected.map_err(|_| StartError::Token)?;
            self.handle = handle;
            self.association = Some(association);
            self.endpoint.reject_new_associations();
        }
        let mut filter = Filter::new(setup, self.limits());
        for id in self.table.ids() {
            filter.allow(id);
        }
        self.filter = Some(filter);
        self.phase = Phase::Handshake;
        self.has_work = true;
        self.drain(now).map_err(|_| StartError::Token)
    }

    /// Takes a packet from the peer.
    ///
    /// # Errors
    /// The peer did what ends the link: the caller closes DTLS and forgets the link. Later packets
    /// are ignored.
    pub fn handle(&mut self, now: Instant, packet: &[u8]) -> Result<(), Violation> {
        let result = self.take_packet(now, packet);
        if result.is_err() {
            self.phase = Phase::Ended;
            self.has_work = false;
        }
        result
    }

    /// Lets time pass: for [`poll_timeout`](Self::poll_timeout), and harmless at other times.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.phase == Phase::Ended {
            return;
        }
        let Some(association) = &mut self.association else { return };
        if association.poll_timeout().is_some_and(|at| at <= now) {
            association.handle_timeout(now);
            self.has_work = true;
            // Timers bring no DATA, so what they lead to cannot be a violation.
            let _ = self.drain(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) and then
    /// [`poll_transmit`](Self::poll_transmit) are to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Ended {
            return None;
        }
        let timer = self.association.as_ref().and_then(Association::poll_timeout);
        let pause = self.pause.filter(|_| self.has_work);
        timer.into_iter().chain(pause).min()
    }

    /// The next packet for the peer, to be sent as one DTLS record.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(packet) = self.outgoing.next() {
            return Some(packet);
        }
        if self.has_work && self.may_answer(now) {
            self.gather(now);
        }
        self.outgoing.next()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Opens a channel and returns its id: the given one if it is negotiated, else the lowest free
    /// one of this end, told to the peer with DCEP (RFC 8832). [`Event::Opened`] follows.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&mut self, mut channel: Channel) -> Result<u16, OpenError> {
        if matches!(self.phase, Phase::New | Phase::Ended) {
            return Err(OpenError::NotRunning);
        }
        if self.table.local() + usize::from(self.config.peer_channels) >= MAX_CHANNELS {
            return Err(OpenError::TooManyChannels);
        }
        if !channel.negotiated {
            if dcep::open_message(&channel).is_none() {
                return Err(OpenError::NameTooLong);
            }
            let mut ids = (u16::from(!self.is_client)..u16::MAX).step_by(2);
            let free = |&id: &u16| self.table.get(id).is_none();
            channel.id = ids.find(free).ok_or(OpenError::TooManyChannels)?;
        }
        let id = channel.id;
        if id == u16::MAX || !self.table.insert(channel, State::Waiting) {
            return Err(OpenError::InUse(id));
        }
        if let Some(filter) = &mut self.filter {
            filter.allow(id);
        }
        if self.phase == Phase::Established {
            self.open_stream(id);
        }
        Ok(id)
    }

    /// Closes a channel (RFC 8831 section 6.7): what was written is still delivered, what comes is
    /// not. [`Event::Closed`] follows once the peer has answered; a channel that the peer does not
    /// know yet is dropped without an event. A peer that goes on sending more than half a mebibyte
    /// ends the link, so ask one that sends much to stop first.
    pub fn close(&mut self, id: u16) {
        let Some(entry) = self.table.get_mut(id) else { return };
        match entry.state {
            State::Closing | State::Closed => return,
            State::Waiting => return self.forget(id),
            State::Asked | State::Open => entry.state = State::Closing,
        }
        self.refused.retain(|&other| other != id);
        if let Some(filter) = &mut self.filter {
            filter.close(id);
        }
        let association = self.association.as_mut();
        if let Some(Ok(mut stream)) = association.map(|association| association.stream(id)) {
            // It fails only while the association shuts down, when no channel is left anyway.
            let _ = stream.close();
        }
        self.has_work = true;
    }

    /// Writes a message. `Ok(false)`: the channel's buffer is full, and [`Event::Writable`] will
    /// tell when to try again.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn write(&mut self, id: u16, is_binary: bool, data: &[u8]) -> Result<bool, WriteError> {
        let in_flight = self.in_flight();
        let entry = self.table.get_mut(id).filter(|entry| entry.state == State::Open);
        let entry = entry.ok_or(WriteError::NotOpen(id))?;
        if data.len() > self.max_send {
            return Err(WriteError::TooLarge { len: data.len(), max: self.max_send });
        }
        let stream = self.association.as_mut().and_then(|association| association.stream(id).ok());
        let mut stream = stream.ok_or(WriteError::NotOpen(id))?;
        let buffered = stream.buffered_amount().unwrap_or(0);
        entry.waiting.keep(buffered);
        let bytes = data.len().max(1);
        if (buffered > 0 && buffered + bytes > self.config.max_buffered_bytes)
            || entry.waiting.messages() >= MAX_MESSAGES
            || in_flight >= MAX_IN_FLIGHT
        {
            if !std::mem::replace(&mut entry.refused, true) {
                self.refused.push(id);
            }
            return Ok(false);
        }
        // RFC 8831 section 6.6: an empty message is one byte with a payload type of its own.
        let (data, kind) = match (data.is_empty(), is_binary) {
            (false, false) => (data, PayloadProtocolIdentifier::String),
            (false, true) => (data, PayloadProtocolIdentifier::Binary),
            (true, false) => (&[0][..], PayloadProtocolIdentifier::StringEmpty),
            (true, true) => (&[0][..], PayloadProtocolIdentifier::BinaryEmpty),
        };
        stream.write_with_ppi(data, kind).map_err(|_| WriteError::NotOpen(id))?;
        entry.waiting.add(bytes);
        self.has_work = true;
        Ok(true)
    }

    /// Bytes on a channel that wait to be sent or acknowledged.
    pub fn buffered(&mut self, id: u16) -> usize {
        let stream = self.association.as_mut().and_then(|association| association.stream(id).ok());
        stream.and_then(|stream| stream.buffered_amount().ok()).unwrap_or(0)
    }

    /// Whether the association is established.
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// What the filter dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.filter.as_ref().map(Filter::dropped).unwrap_or_default()
    }

    /// The last TSN that was sent.
    #[cfg(feature = "testing")]
    pub(crate) fn last_tsn(&self) -> Option<u32> {
        self.outgoing.last_tsn()
    }

    /// The peer's last TSN up to which all has come.
    #[cfg(feature = "testing")]
    pub(crate) fn received(&self) -> Option<u32> {
        self.filter.as_ref().and_then(Filter::cumulative)
    }

    fn limits(&self) -> Limits {
        let max_message = self.config.max_message_bytes as usize;
        Limits {
            max_message,
            peer_streams: self.config.peer_channels.into(),
            peer_is_odd: self.is_client,
            receive_buffer: receive_buffer(&self.config),
        }
    }

    fn take_packet(&mut self, now: Instant, packet: &[u8]) -> Result<(), Violation> {
        let in_flight = self.in_flight();
        let Some(filter) = &mut self.filter else { return Ok(()) };
        if self.phase == Phase::Ended {
            return Ok(());
        }
        match filter.check(now, packet, in_flight)? {
            Verdict::Pass => {}
            Verdict::Drop => return Ok(()),
            Verdict::Lost => {
                self.lose();
                return Ok(());
            }
        }
        self.credit = (self.credit + 2 * packet.len() as i64).min(MAX_CREDIT);
        let bytes = Bytes::copy_from_slice(packet);
        // The endpoint refuses packets with a wrong checksum or tag, which the filter must not
        // take into its copy; it does not read chunks behind the first, so the filter comes first.
        let Some((handle, event)) = self.endpoint.handle(now, PEER, None, None, bytes) else {
            return Ok(());
        };
        filter.commit(packet)?;
        match event {
            DatagramEvent::NewAssociation(association) => {
                self.handle = handle;
                self.association = Some(association);
                self.endpoint.reject_new_associations();
            }
            DatagramEvent::AssociationEvent(event) => {
                if let Some(association) = &mut self.association {
                    association.handle_event(event);
                }
            }
        }
        self.has_work = true;
        self.drain(now)
    }

    /// Tells of channels that refused a message and have room again.
    fn offer_room(&mut self) {
        if self.refused.is_empty() || self.phase == Phase::Ended {
            return;
        }
        if self.in_flight() >= MAX_IN_FLIGHT {
            return;
        }
        let Some(association) = &mut self.association else { return };
        let half = self.config.max_buffered_bytes / 2;
        self.refused.retain(|&id| {
            let Some(entry) = self.table.get_mut(id) else { return false };
            let buffered = association.stream(id).and_then(|stream| stream.buffered_amount());
            let buffered = buffered.unwrap_or(0);
            entry.waiting.keep(buffered);
            if buffered > half || entry.waiting.messages() > MAX_MESSAGES / 2 {
                return true;
            }
            entry.refused = false;
            self.events.push_back(Event::Writable(id));
            false
        });
    }

    fn in_flight(&self) -> u32 {
        self.outgoing.in_flight(self.filter.as_ref().and_then(Filter::acknowledged))
    }

    /// A SACK may be twenty times as long as the chunk it answers, and a peer that draws such
    /// answers gets them at a slower pace. The association is asked for packets less often the
    /// more it has in flight, because it looks through all of that each time.
    fn may_answer(&mut self, now: Instant) -> bool {
        let mut wait = Duration::ZERO;
        let in_flight = self.in_flight();
        if in_flight > MANY_IN_FLIGHT {
            wait = PAUSE_PER_CHUNK * in_flight.min(MAX_IN_FLIGHT);
        }
        if self.credit <= 0 {
            wait = ANSWER_PAUSE;
        }
        let due = self.gathered.map(|at| at + wait).filter(|due| *due > now);
        self.pause = due;
        due.is_none()
    }

    /// Takes all that the association may send now. It is asked once: asked again at once, it
    /// would retransmit another congestion window.
    fn gather(&mut self, now: Instant) {
        self.has_work = false;
        self.gathered = Some(now);
        let Some(association) = &mut self.association else { return };
        let Some(transmit) = association.poll_transmit(now) else { return };
        let Payload::RawEncode(packets) = transmit.payload else { return };
        let max = usize::from(self.config.max_packet_bytes);
        for packet in packets {
            let answer = self.outgoing.push(packet, max);
            self.credit = (self.credit - answer as i64).max(-MAX_CREDIT);
        }
    }
}

fn endpoint(packet: u16, transport: &Arc<TransportConfig>) -> Endpoint {
    let mut config = EndpointConfig::default();
    let payload = usize::from(packet) - HEADER_BYTES - DATA_HEADER_BYTES;
    config.max_payload_size((payload & !3) as u32);
    let mut server = ServerConfig::default();
    server.transport = transport.clone();
    Endpoint::new(Arc::new(config), Some(Arc::new(server)))
}

fn receive_buffer(config: &Config) -> usize {
    let least = Limits::least_receive_buffer(config.max_message_bytes as usize);
    (config.receive_window_bytes as usize).min(1 << 30).max(least)
}

fn transport_config(config: &Config) -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(receive_buffer(config) as u32)
        .with_max_receive_message_size(config.max_message_bytes)
        .with_max_send_message_size(DEFAULT_REMOTE_MAX_MESSAGE)
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        .with_rto_initial_ms(RTO_INITIAL_MS)
        .with_rto_min_ms(RTO_MIN_MS)
        .with_rto_max_ms(RTO_MAX_MS)
}
