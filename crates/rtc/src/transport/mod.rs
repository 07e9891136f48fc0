//! The parts put together: datagrams in, datagrams and events out.

mod media;
mod negotiate;
#[cfg(feature = "testing")]
mod raw;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::batch::Batches;
use crate::channels::{self, Channel, Channels};
use crate::dtls::{Dtls, DtlsEvent};
use crate::feedback::{PacketResult, TransportLog};
use crate::ice::{Ice, IceEvent, is_stun};
use crate::pacer::Pacer;
use crate::receive::Receiver;
use crate::sdp::{Credentials, Description};
use crate::send::Sender;
use crate::srtp::{self, Opener, Sealer};
use crate::{Certificate, DtlsVersion, Route, Transmit};

pub use negotiate::NegotiationError;
use negotiate::SMALL_SCTP_BYTES;

/// Assumed until a check was answered.
const FIRST_RTT: Duration = Duration::from_millis(100);
/// A path over which nothing of the handshake has come back for this long may carry smaller datagrams only.
const SMALL_AFTER: Duration = Duration::from_secs(3);
/// Media that come from another address while none have come over the selected route for this long: the peer has moved.
const MOVED_AFTER: Duration = Duration::from_millis(300);
/// Events that wait to be taken. A drained transport has none, so only a datagram with very many messages comes near.
const MAX_EVENTS: usize = 4096;

/// What a transport is made with. `Debug` does not show the random bytes, of which passwords come.
#[derive(Clone)]
pub struct Config {
    /// Ours.
    pub certificate: Certificate,
    /// Versions of DTLS.
    pub dtls: DtlsVersion,
    /// Channels that both ends make without a word between them (RFC 8831, 6.4).
    pub channels: Vec<Channel>,
    /// Channels that the peer may open by message (RFC 8832).
    pub max_peer_channels: u16,
    /// Unpredictable bytes: credentials, SSRCs and numbers come of them.
    pub random: [u8; 48],
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dtls, channels, max_peer_channels, .. } = self;
        let mut debug = f.debug_struct("Config");
        debug.field("dtls", dtls).field("channels", channels);
        debug.field("max_peer_channels", max_peer_channels).finish_non_exhaustive()
    }
}

/// A media line of the description, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Track(pub usize);

/// An RTP packet of a track that had not come before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its sequence number, extended to a number that does not wrap.
    pub index: u64,
    /// Whether it is the last of a frame.
    pub marker: bool,
    /// Media time, in ticks of the format's clock.
    pub timestamp: u32,
    /// Whether it was sent again because it had been lost.
    pub is_repair: bool,
    /// What it carries.
    pub payload: Bytes,
}

/// What happens on a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Datagrams go this way from now on. May come before and after [`Self::Connected`], and again.
    Route(Route),
    /// DTLS is up, with the certificate that the peer's description names: media and messages may be sent.
    Connected,
    /// Messages may be sent on this channel.
    ChannelOpen(u16),
    /// The peer has opened a channel.
    ChannelOpened(Channel),
    /// A message came.
    Message {
        /// The channel's number.
        channel: u16,
        /// Whether it was sent as bytes, and not as text.
        is_binary: bool,
        /// Its bytes.
        data: Bytes,
    },
    /// A channel that did not take a message has room again.
    ChannelWritable(u16),
    /// The channel is closed.
    ChannelClosed(u16),
    /// A packet of a track came.
    Packet(Track, Packet),
    /// The peer asks for a picture that can be decoded without another one.
    KeyframeRequest(Track),
    /// Data of the application's own came, in whole words: the sender's, and zeros.
    App {
        /// Whose data it is.
        name: [u8; 4],
        /// Its bytes.
        data: Bytes,
    },
    /// The peer tells when packets arrived.
    Feedback(Vec<PacketResult>),
    /// The transport is over. Nothing follows.
    Closed(Closed),
}

/// Why a transport is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Peer,
    /// The peer has not the certificate that its description names.
    #[error("the certificate is not the one that the description names")]
    Certificate,
    /// The handshake failed.
    #[error("the DTLS handshake failed: {0}")]
    Handshake(String),
    /// The peer has not answered a check for 30 s (RFC 7675).
    #[error("the peer does not answer any more")]
    Consent,
    /// The peer misuses the data channels.
    #[error("the peer misuses the data channels: {0}")]
    Channels(String),
}

/// An encrypted path to a peer. See the [crate documentation](crate) for how to drive it.
///
/// ```
/// use lllsi_rtc::{Certificate, Config, DtlsVersion, Transport, sdp};
/// # let now = std::time::Instant::now();
/// let config = |seed| Config {
///     certificate: Certificate::generate(),
///     dtls: DtlsVersion::Newest,
///     channels: Vec::new(),
///     max_peer_channels: 1,
///     random: [seed; 48], // of a generator that nobody can predict
/// };
/// let wants = [sdp::Want::video("0"), sdp::Want::data("1")];
/// let (mut client, offer) = Transport::offer(now, config(1), &["192.0.2.1:5000".parse()?], &wants);
/// let (mut host, answer) = Transport::answer(now, config(2), &["192.0.2.2:5000".parse()?], &offer)?;
/// client.accept_answer(now, &answer)?;
/// assert!(client.poll_transmit().is_some(), "the first check goes at once");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Transport {
    config: Config,
    ice: Ice,
    dtls: Option<Dtls>,
    /// Where the handshake came from, or to a client the peer's first check, until ICE has selected a route.
    early_route: Option<Route>,
    /// What a client has sent there: again over the selected route, if nothing has come back.
    early_flight: Vec<Vec<u8>>,
    has_heard_dtls: bool,
    /// When a client begins anew with smaller datagrams, if nothing of the handshake has come back.
    small_at: Option<Instant>,
    is_small: bool,
    /// When media came over the selected route.
    heard_at: Instant,
    route: Option<Route>,
    /// Whether the peer's certificate is the one that its description names.
    is_verified: bool,
    is_connected: bool,
    srtp: Option<(Sealer, Opener)>,
    channels: Channels,
    senders: Vec<(Track, Sender)>,
    receivers: Vec<(Track, Receiver)>,
    takes_media: bool,
    log: TransportLog,
    batches: Batches,
    pacer: Pacer,
    local: Option<Description>,
    remote: Option<Description>,
    /// An offer of ours that is not answered yet.
    pending: Option<Description>,
    /// Credentials of that offer, if it restarts ICE: they hold from the answer on. Until then the path in use goes on.
    coming: Option<Credentials>,
    /// Those of the peer's last description: tried, and not.
    candidates: (usize, u64),
    epoch: Instant,
    /// When ICE, DTLS or the channels are due; `None` inside if none is, outside if it is to be looked up again.
    parts_due: Option<Option<Instant>>,
    is_closed: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// What a datagram is, by its first byte (RFC 7983, 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Stun,
    Dtls,
    Rtp,
}

impl Protocol {
    fn of(datagram: &[u8]) -> Option<Self> {
        match datagram.first()? {
            0..=3 if is_stun(datagram) => Some(Self::Stun),
            20..=63 => Some(Self::Dtls),
            128..=191 => Some(Self::Rtp),
            _ => None,
        }
    }
}

impl Transport {
    /// Takes a datagram that came from `source` to our address `destination`. Returns whether it was the peer's: `false`
    /// if it was ignored.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let protocol = Protocol::of(datagram);
        let is_known = protocol == Some(Protocol::Stun) || self.ice.knows(source);
        if self.is_closed || !is_known {
            return false;
        }
        let is_theirs = match protocol {
            Some(Protocol::Stun) => {
                let is_theirs = self.ice.handle(now, source, destination, datagram);
                let route = Route { local: destination, remote: source };
                is_theirs && self.begin_early(now, route)
            }
            Some(Protocol::Dtls) => {
                self.handle_dtls(now, datagram, Route { local: destination, remote: source })
            }
            Some(Protocol::Rtp) => {
                let is_theirs = self.handle_rtp(now, datagram);
                if is_theirs {
                    self.heard_from(now, source);
                }
                return is_theirs;
            }
            None => false,
        };
        if is_theirs {
            self.drive(now);
        }
        is_theirs
    }

    fn handle_dtls(&mut self, now: Instant, datagram: &[u8], route: Route) -> bool {
        // A client that has had no answer begins anew, whatever has come of its first hello here.
        let is_anew = !self.is_small && !self.is_connected && !self.is_dtls_client();
        if is_anew && Dtls::is_small_hello(datagram) {
            self.begin_small(now);
        }
        let Some(dtls) = &mut self.dtls else { return false };
        // A third party can put the peer's address on a datagram: what it breaks must not end the transport. If the
        // handshake is broken, the owner's limit of time ends it.
        let result = dtls.handle(now, datagram);
        if let Err(error) = &result {
            tracing::debug!(%error, "DTLS datagram refused");
        }
        if let Ok(true) = result {
            (self.has_heard_dtls, self.early_route) = (true, Some(route));
        }
        result.is_ok()
    }

    /// A check of the peer came through, so a ClientHello may: it does not wait until a check of ours is answered.
    fn begin_early(&mut self, now: Instant, route: Route) -> bool {
        // The check may have come before the answer that says who begins.
        let may_begin = self.dtls.as_ref().is_none_or(Dtls::is_client);
        if self.route.is_none() && self.early_route.is_none() && may_begin {
            self.early_route = Some(route);
            self.ice.handle_timeout(now);
        }
        true
    }

    /// Media came from there. ICE keeps to a selected pair until checks have failed for long; a peer that has moved speaks from
    /// another address meanwhile.
    fn heard_from(&mut self, now: Instant, source: SocketAddr) {
        let Some(route) = self.route else { return };
        if route.remote == source {
            self.heard_at = now;
            return;
        }
        // What was under way over the route before, or is still to be switched to this one, is no sign of a move; nor is what
        // somebody else sends again from where nobody answers checks.
        let patience = MOVED_AFTER + 2 * self.ice.rtt().unwrap_or(FIRST_RTT);
        let has_moved = now >= self.heard_at + patience && self.ice.has_answered(source);
        if self.ice.is_offerer() && has_moved {
            self.heard_at = now;
            self.ice.abandon(route.remote);
            self.ice.handle_timeout(now);
            self.drive(now);
        }
    }

    /// Begins the handshake anew, with datagrams that any path of IPv4 carries.
    fn begin_small(&mut self, now: Instant) {
        let Config { certificate, dtls, .. } = &self.config;
        self.is_small = true;
        let is_client = self.dtls.as_ref().is_some_and(Dtls::is_client);
        match Dtls::new(now, certificate, *dtls, is_client, true) {
            Ok(dtls) => self.dtls = Some(dtls),
            Err(error) => tracing::debug!(%error, "no smaller DTLS"),
        }
        self.early_flight.clear();
    }

    /// Whether a client does not know yet that its handshake arrives where it goes.
    fn is_early(&self) -> bool {
        self.route.is_none() && !self.has_heard_dtls && self.is_dtls_client()
    }

    fn is_dtls_client(&self) -> bool {
        self.dtls.as_ref().is_some_and(Dtls::is_client)
    }

    /// Does what is due. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed {
            return;
        }
        if self.ice.has_lost_consent(now) {
            return self.close_with(Closed::Consent);
        }
        if self.ice.timeout().is_none_or(|at| now >= at) {
            self.ice.handle_timeout(now);
        }
        if self.small_at.is_some_and(|at| now >= at) {
            self.small_at = None;
            if !self.has_heard_dtls {
                self.begin_small(now);
            }
        }
        if let Some(dtls) = &mut self.dtls
            && dtls.timeout().is_none_or(|at| now >= at)
            && let Err(error) = dtls.handle_timeout(now)
        {
            return self.close_with(Closed::Handshake(error.to_string()));
        }
        if self.channels.poll_timeout().is_some_and(|at| now >= at) {
            self.channels.handle_timeout(now);
        }
        self.send_feedback(now);
        self.release(now);
        self.drive(now);
    }

    /// Makes routine checks of the path in a rhythm of 250 ms that begins here: with one beginning for many transports their
    /// checks fall together, and their owner is woken less often.
    pub fn align_checks(&mut self, begin: Instant) {
        self.ice.align(begin);
        self.parts_due = None;
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn timeout(&mut self) -> Option<Instant> {
        if self.is_closed {
            return None;
        }
        let parts = match self.parts_due {
            Some(due) => due,
            None => {
                let channels = self.channels.poll_timeout().filter(|_| self.is_connected);
                // What it would send again waits for a route.
                let waits = self.is_early() && !self.early_flight.is_empty();
                let dtls = self.dtls.as_ref().filter(|_| !waits).and_then(Dtls::timeout);
                let due = [self.ice.timeout(), dtls, channels, self.small_at];
                let due = due.into_iter().flatten().min();
                *self.parts_due.insert(due)
            }
        };
        [parts, self.media_timeout(), self.pacer.due()].into_iter().flatten().min()
    }

    /// The next datagrams to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Tells the peer that the transport is over (DTLS close_notify) and ends it. What [`Self::poll_transmit`] returns
    /// after this is still to be sent.
    pub fn close(&mut self, now: Instant) {
        if let Some(dtls) = self.dtls.as_mut().filter(|_| !self.is_closed)
            && dtls.close().is_ok()
        {
            self.drive(now);
        }
        self.is_closed = true;
        self.events.clear();
    }

    fn close_with(&mut self, reason: Closed) {
        if !self.is_closed {
            self.is_closed = true;
            self.events.push_back(Event::Closed(reason));
        }
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether an authentic check of the peer came from this address.
    pub fn knows(&self, source: SocketAddr) -> bool {
        self.ice.knows(source)
    }

    /// All such addresses, at most 64.
    pub fn sources(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ice.sources()
    }

    /// The last round trip of a check over the route in use.
    pub fn rtt(&self) -> Option<Duration> {
        self.ice.rtt()
    }

    /// Whether the connection runs over DTLS 1.3.
    pub fn is_dtls_13(&self) -> bool {
        self.dtls.as_ref().is_some_and(Dtls::is_version_13)
    }

    /// How media are protected, once [`Event::Connected`] came.
    pub fn srtp_profile(&self) -> Option<srtp::Profile> {
        self.srtp.as_ref().map(|(sealer, _)| sealer.profile())
    }

    // --- Channels ---

    /// Sends a message. Returns `false` if the channel is not open or holds too much that is not sent yet.
    pub fn send(&mut self, now: Instant, channel: u16, is_binary: bool, data: &[u8]) -> bool {
        let took = self.write(channel, is_binary, data);
        self.drive(now);
        took
    }

    /// As [`Self::send`], for several messages at once: they may share datagrams. [`Self::flush`] is to follow.
    pub fn write(&mut self, channel: u16, is_binary: bool, data: &[u8]) -> bool {
        self.is_connected
            && !self.is_closed
            && matches!(self.channels.write(channel, is_binary, data), Ok(true))
    }

    /// Sends what was written.
    pub fn flush(&mut self, now: Instant) {
        self.drive(now);
    }

    /// Opens a channel by message (RFC 8832), or a negotiated one. Returns its number; [`Event::ChannelOpen`] follows.
    ///
    /// # Errors
    /// See [`channels::OpenError`].
    pub fn open_channel(
        &mut self,
        now: Instant,
        channel: Channel,
    ) -> Result<u16, channels::OpenError> {
        let id = self.channels.open(channel)?;
        self.drive(now);
        Ok(id)
    }

    /// Closes a channel; [`Event::ChannelClosed`] follows.
    pub fn close_channel(&mut self, now: Instant, channel: u16) {
        self.channels.close(channel);
        self.drive(now);
    }

    /// Bytes of the channel's messages that the peer has not acknowledged.
    pub fn buffered(&mut self, channel: u16) -> usize {
        self.channels.buffered(channel)
    }

    // --- Between the parts ---

    /// Carries what each part has to say to the others, until none has anything.
    fn drive(&mut self, now: Instant) {
        // Media alone does not change when they are due: there is more of it than of all else.
        self.parts_due = None;
        self.drive_ice(now);
        loop {
            self.drive_dtls(now);
            if self.is_closed || !self.drive_channels(now) {
                break;
            }
        }
    }

    fn drive_ice(&mut self, now: Instant) {
        while let Some((route, contents)) = self.ice.poll_transmit() {
            self.transmits.push_back(Transmit { route, contents, segment_size: None });
        }
        while let Some(IceEvent::Selected(route)) = self.ice.poll_event(now) {
            self.select(now, route);
        }
        self.select_early(now);
    }

    /// Where the handshake came through media may go too, once the peer has shown that it receives there: its nomination may
    /// take longer.
    fn select_early(&mut self, now: Instant) {
        if let (None, Some(route), true) = (self.route, self.early_route, self.is_connected)
            && self.ice.has_answered(route.remote)
        {
            self.ice.begin_consent(now);
            self.select(now, route);
        }
    }

    fn select(&mut self, now: Instant, route: Route) {
        let before = self.route.replace(route);
        if before.is_none() && self.is_dtls_client() {
            self.small_at = Some(now + SMALL_AFTER);
        }
        if before != Some(route) {
            self.heard_at = now;
            self.events.push_back(Event::Route(route));
        }
        for contents in std::mem::take(&mut self.early_flight) {
            if !self.has_heard_dtls {
                self.transmits.push_back(Transmit { route, contents, segment_size: None });
            }
        }
    }

    /// The handshake may be answered before ICE has selected a route: the ClientHello comes first.
    fn drive_dtls(&mut self, now: Instant) {
        let Some(route) = self.route.or(self.early_route) else { return };
        let is_early = self.is_early();
        // The address of a check can be forged: one flight goes there, and no more before something has come back.
        if is_early && !self.early_flight.is_empty() {
            return;
        }
        // The peer drops what comes from a source whose check it has not seen: ours goes first.
        if self.route.is_none() && self.is_dtls_client() && !self.ice.has_checked(route.remote) {
            return;
        }
        while let Some(event) = self.dtls.as_mut().and_then(Dtls::poll) {
            match event {
                DtlsEvent::Packet(contents) => {
                    if is_early {
                        self.early_flight.push(contents.clone());
                    }
                    self.transmits.push_back(Transmit { route, contents, segment_size: None });
                }
                DtlsEvent::PeerCertificate(fingerprint) => {
                    let named = self.remote.as_ref().map(|remote| remote.fingerprint);
                    self.is_verified = named == Some(fingerprint);
                    if !self.is_verified {
                        return self.close_with(Closed::Certificate);
                    }
                }
                DtlsEvent::Keys(profile, keys) => {
                    let is_client = self.is_dtls_client();
                    self.srtp = srtp::sessions(profile, &keys, is_client);
                    self.connected(now);
                }
                // The keys follow, or nothing does that could be sent.
                DtlsEvent::Connected => {}
                DtlsEvent::Data(data) if self.is_connected => {
                    if let Err(violation) = self.channels.handle(now, &data) {
                        return self.close_with(Closed::Channels(violation.to_string()));
                    }
                }
                DtlsEvent::Data(_) => {}
                DtlsEvent::Closed => return self.close_with(Closed::Peer),
            }
        }
    }

    fn connected(&mut self, now: Instant) {
        if !self.is_verified || self.srtp.is_none() {
            return self.close_with(Closed::Certificate);
        }
        self.is_connected = true;
        self.events.push_back(Event::Connected);
        self.select_early(now);
        let is_client = self.is_dtls_client();
        let application = self.remote.as_ref().and_then(|remote| {
            remote.lines.iter().find_map(|line| line.application().filter(|_| !line.is_rejected))
        });
        let Some(application) = application else { return };
        if self.is_small {
            self.channels.set_packet_bytes(SMALL_SCTP_BYTES);
        }
        let init = application.sctp_init.as_deref().filter(|_| self.offers_init());
        if let Err(error) = self.channels.start(now, is_client, init, application.max_message_size)
        {
            self.close_with(Closed::Channels(error.to_string()));
        }
    }

    /// Returns whether DTLS has something new to send.
    fn drive_channels(&mut self, now: Instant) -> bool {
        if !self.is_connected {
            return false;
        }
        let mut sent = false;
        while let Some(packet) = self.channels.poll_transmit(now) {
            let Some(dtls) = &mut self.dtls else { break };
            if let Err(error) = dtls.send(&packet) {
                tracing::debug!(%error, "record not sent");
                break;
            }
            sent = true;
            // DTLS holds ten records at most.
            self.drive_dtls(now);
        }
        while self.events.len() < MAX_EVENTS
            && let Some(event) = self.channels.poll_event()
        {
            self.events.push_back(match event {
                channels::Event::Opened(id) => Event::ChannelOpen(id),
                channels::Event::OpenedByPeer(channel) => Event::ChannelOpened(channel),
                channels::Event::Message { id, data, is_binary } => {
                    Event::Message { channel: id, is_binary, data }
                }
                channels::Event::Writable(id) => Event::ChannelWritable(id),
                channels::Event::Closed(id) => Event::ChannelClosed(id),
                channels::Event::Lost => {
                    self.close_with(Closed::Peer);
                    return false;
                }
            });
        }
        sent
    }
}
