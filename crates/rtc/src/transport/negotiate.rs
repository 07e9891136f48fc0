//! Offers, answers and candidates.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::{Config, Track, Transport};
use crate::batch::Batches;
use crate::channels::{self, Channels};
use crate::dtls::Dtls;
use crate::feedback::TransportLog;
use crate::ice::Ice;
use crate::pacer::Pacer;
use crate::receive::{self, Receiver};
use crate::sdp::{
    self, AnswerError, Credentials, Description, ExtensionUri, Feedback, Local, MismatchError,
    Msid, Origin, ParseError, RestartError, Setup, Source, Take, Want,
};
use crate::send::{self, Sender};

/// The greatest message of a data channel that is taken.
const MAX_MESSAGE_BYTES: u32 = 256 * 1024;
/// Bytes of an SCTP packet, which cannot change later: with DTLS around it, it is no larger than what the handshake sends.
const MAX_SCTP_BYTES: u16 = 1112;
/// The same after a handshake of small datagrams.
pub(super) const SMALL_SCTP_BYTES: u16 = 508;
/// Incoming streams known at a time, over the life of a transport.
const MAX_RECEIVERS: usize = 2 * sdp::MAX_LINES;
/// Our addresses that servers have told, for each restart.
const MAX_REFLEXIVE: usize = 4;

/// Why a description of the peer was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// It could not be read.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It is an offer that cannot be answered.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It is an answer that does not fit the offer.
    #[error(transparent)]
    Mismatch(#[from] MismatchError),
    /// It changes what must stay.
    #[error(transparent)]
    Restart(#[from] RestartError),
    /// It is an answer without an offer before it.
    #[error("an answer came without an offer before it")]
    NoOffer,
    /// It was to restart ICE, and has the old credentials.
    #[error("the restart has the old credentials")]
    SameCredentials,
    /// It has no video that both sides know.
    #[error("no H.264 video that both sides know")]
    NoVideo,
    /// DTLS could not be set up.
    #[error("DTLS could not be set up: {0}")]
    Dtls(String),
}

impl Transport {
    /// The offering end, with the addresses of its sockets. Returns the offer for the peer.
    ///
    /// # Panics
    /// If two of the configured channels have the same number.
    pub fn offer(
        now: Instant,
        config: Config,
        locals: &[SocketAddr],
        wants: &[Want],
    ) -> (Self, String) {
        let mut transport = Self::new(now, config, locals, true);
        let offer = sdp::offer(&transport.describe(Origin::new(transport.session())), wants);
        let text = offer.to_string();
        transport.pending = Some(offer);
        transport.handle_timeout(now);
        (transport, text)
    }

    /// The answering end: sends on all video lines of the offer that receive. Returns the answer for the peer.
    ///
    /// # Errors
    /// If the offer cannot be read, or holds no video that can be sent.
    ///
    /// # Panics
    /// If two of the configured channels have the same number.
    pub fn answer(
        now: Instant,
        config: Config,
        locals: &[SocketAddr],
        offer: &str,
    ) -> Result<(Self, String), NegotiationError> {
        let offer = Description::parse(offer)?;
        let mut transport = Self::new(now, config, locals, false);
        let answer = transport.answer_to(&offer, Origin::new(transport.session()))?;
        let text = answer.to_string();
        transport.agree(now, answer, offer, false)?;
        transport.handle_timeout(now);
        Ok((transport, text))
    }

    fn new(now: Instant, config: Config, locals: &[SocketAddr], is_offerer: bool) -> Self {
        let random = &config.random;
        let credentials = Credentials::from_random(random.first_chunk().expect("48 hold 24"));
        let tie_breaker = u64::from_be_bytes(random[24..32].try_into().expect("8 bytes"));
        let mut ice = Ice::new(is_offerer, credentials, tie_breaker);
        ice.set_hosts(locals);
        let channels = Channels::new(channels::Config {
            channels: config.channels.clone(),
            peer_channels: config.max_peer_channels,
            max_message_bytes: MAX_MESSAGE_BYTES,
            max_packet_bytes: MAX_SCTP_BYTES,
            ..channels::Config::default()
        });
        let channels = channels.expect("channels have numbers of their own");
        Self {
            config,
            ice,
            dtls: None,
            early_route: None,
            early_flight: Vec::new(),
            has_heard_dtls: false,
            small_at: None,
            is_small: false,
            heard_at: now,
            route: None,
            is_verified: false,
            is_connected: false,
            srtp: None,
            channels,
            senders: Vec::new(),
            receivers: Vec::new(),
            takes_media: false,
            log: TransportLog::default(),
            batches: Batches::default(),
            pacer: Pacer::default(),
            local: None,
            remote: None,
            pending: None,
            coming: None,
            candidates: (0, 0),
            epoch: now,
            parts_due: None,
            is_closed: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    fn session(&self) -> u64 {
        u64::from_be_bytes(self.config.random[32..40].try_into().expect("8 bytes"))
    }

    /// The SSRC that our requests come from; those of our tracks follow it.
    pub(super) fn own_ssrc(&self) -> u32 {
        u32::from_be_bytes(self.config.random[40..44].try_into().expect("4 bytes"))
    }

    fn describe(&self, origin: Origin) -> Local {
        Local {
            origin,
            credentials: self.ice.credentials().clone(),
            fingerprint: self.config.certificate.fingerprint(),
            candidates: self.ice.lines().cloned().collect(),
            extensions: match self.ice.is_offerer() {
                // Our own receivers show frames when they arrive, and tell of each frame.
                true => Vec::new(),
                false => vec![ExtensionUri::PlayoutDelay, ExtensionUri::TransportCc],
            },
            feedback: Feedback {
                nack: true,
                pli: true,
                fir: true,
                transport_cc: !self.ice.is_offerer(),
            },
            opus: String::new(),
            max_message_size: MAX_MESSAGE_BYTES,
            sctp_init: Some(self.channels.local_init().to_vec()),
        }
    }

    /// Whether our INIT chunk stands in our description: then SCTP needs no handshake of its own.
    pub(super) fn offers_init(&self) -> bool {
        let lines = self.local.iter().flat_map(|local| &local.lines);
        lines.filter_map(|line| line.application()).any(|of| of.sctp_init.is_some())
    }

    fn answer_to(
        &self,
        offer: &Description,
        origin: Origin,
    ) -> Result<Description, NegotiationError> {
        let answer = sdp::answer(offer, &self.describe(origin), |line| {
            let index = offer.lines.iter().position(|other| other.mid == line.mid);
            // Of the line's place, so that a track has the same in each description.
            let ssrc = self.own_ssrc().wrapping_add(3 * index.unwrap_or(0) as u32);
            let source = Source {
                ssrc: ssrc.wrapping_add(1),
                rtx: Some(ssrc.wrapping_add(2)),
                fec: Some(ssrc.wrapping_add(3)),
                cname: send::CNAME.into(),
            };
            let msid = Some(Msid { stream: "lllsi".into(), track: format!("track{ssrc}") });
            let send = Some(sdp::Sender { source, msid });
            Some(Take { send, is_receiving: false })
        })?;
        let has_video = answer.lines.iter().any(|line| {
            line.kind() == sdp::Kind::Video
                && line.media().is_some_and(|media| media.direction.sends())
        });
        if has_video { Ok(answer) } else { Err(NegotiationError::NoVideo) }
    }

    /// Sets up what both descriptions say. A track that is there already goes on.
    fn agree(
        &mut self,
        now: Instant,
        local: Description,
        remote: Description,
        is_client: bool,
    ) -> Result<(), NegotiationError> {
        for (index, (ours, theirs)) in local.lines.iter().zip(&remote.lines).enumerate() {
            let track = Track(index);
            let is_used = !ours.is_rejected && !theirs.is_rejected;
            let (Some(ours), Some(theirs), true) = (ours.media(), theirs.media(), is_used) else {
                self.pause(track);
                continue;
            };
            self.agree_on_line(track, ours, theirs);
        }
        self.ice.set_remote_credentials(&remote.credentials);
        self.candidates = (0, remote.candidates_left_out);
        for line in &remote.candidates {
            match self.ice.add_remote(line) {
                Ok(()) => self.candidates.0 += 1,
                Err(error) => {
                    tracing::debug!(error, "candidate ignored");
                    self.candidates.1 += 1;
                }
            }
        }
        if self.dtls.is_none() {
            let Config { certificate, dtls, .. } = &self.config;
            let dtls = Dtls::new(now, certificate, *dtls, is_client, false);
            self.dtls = Some(dtls.map_err(|error| NegotiationError::Dtls(error.to_string()))?);
        }
        (self.local, self.remote) = (Some(local), Some(remote));
        // The first check goes at once.
        self.ice.handle_timeout(now);
        Ok(())
    }

    fn agree_on_line(&mut self, track: Track, ours: &sdp::Media, theirs: &sdp::Media) {
        // The answer has the one format that both take; it stands in both.
        let codec =
            |media: &sdp::Media| media.codecs.first().map(|codec| (codec.payload_type, codec.rtx));
        let answered = if self.ice.is_offerer() { codec(theirs) } else { codec(ours) };
        let Some((payload_type, rtx_type)) = answered else { return };
        let rtx = |source: &Source| source.rtx.zip(rtx_type);
        // Only we answer with it, and only to an offer that has it.
        let fec_type = ours.flexfec().map(|codec| codec.payload_type);
        let known = |uri| {
            theirs.extension(&uri).and_then(|id| ours.extension(&uri).filter(|own| *own == id))
        };
        match ours.sources.first() {
            Some(source) if ours.direction.sends() => {
                let format = send::Format {
                    ssrc: source.ssrc,
                    payload_type,
                    rtx: rtx(source),
                    fec: source.fec.zip(fec_type),
                    playout_delay: known(ExtensionUri::PlayoutDelay),
                    transport_cc: known(ExtensionUri::TransportCc),
                };
                match self.senders.binary_search_by_key(&track, |(of, _)| *of) {
                    Ok(at) => self.senders[at].1.set_active(true),
                    Err(at) => self.senders.insert(at, (track, Sender::new(format))),
                }
            }
            _ => self.pause(track),
        }
        if let Some(source) = theirs.sources.first().filter(|_| theirs.direction.sends()) {
            let format = receive::Format { ssrc: source.ssrc, payload_type, rtx: rtx(source) };
            // One that is known keeps its window against packets that are sent again.
            if self.receivers.iter().all(|(_, receiver)| receiver.ssrc() != source.ssrc) {
                if self.receivers.len() == MAX_RECEIVERS {
                    self.receivers.remove(0);
                }
                self.receivers.push((track, Receiver::new(format)));
            }
        }
    }

    /// A track that is not sent for now keeps its numbers: packets must not have the same twice.
    fn pause(&mut self, track: Track) {
        if let Some((_, sender)) = self.senders.iter_mut().find(|(of, _)| *of == track) {
            sender.set_active(false);
        }
    }

    /// Takes the peer's answer: the first, or that to a restart.
    ///
    /// # Errors
    /// If it cannot be read or does not fit. The offer is gone then, so another may follow.
    pub fn accept_answer(&mut self, now: Instant, answer: &str) -> Result<(), NegotiationError> {
        let offer = self.pending.take().ok_or(NegotiationError::NoOffer)?;
        let coming = self.coming.take();
        let answer = Description::parse(answer)?;
        sdp::check_answer(&offer, &answer)?;
        if let Some(before) = &self.remote
            && !sdp::check_restart(before, &answer)?
        {
            return Err(NegotiationError::SameCredentials);
        }
        let is_client = answer.setup == Setup::Passive;
        if let Some(credentials) = coming {
            self.ice.restart(credentials, self.route);
        }
        self.agree(now, offer, answer, is_client)?;
        self.handle_timeout(now);
        Ok(())
    }

    /// An offer with new ICE credentials, by which a new path is found. DTLS, media and channels go on. While an offer is not
    /// answered, the same again: its answer may be late, and fits either. `None` before the first answer, and once the
    /// transport is over.
    pub fn restart(&mut self, now: Instant, random: &[u8; 24]) -> Option<String> {
        if self.is_closed || self.remote.is_none() {
            return None;
        }
        if let Some(pending) = &self.pending {
            return Some(pending.to_string());
        }
        let before = self.local.as_ref()?;
        let credentials = Credentials::from_random(random);
        let local = self.describe(before.origin.next());
        let offer = Description {
            origin: local.origin,
            credentials: credentials.clone(),
            candidates: local.candidates.into_iter().take(sdp::MAX_CANDIDATES).collect(),
            setup: Setup::ActPass,
            ..before.clone()
        };
        let text = offer.to_string();
        (self.pending, self.coming) = (Some(offer), Some(credentials));
        self.handle_timeout(now);
        Some(text)
    }

    /// Takes the peer's [`Self::restart`]. Returns the answer; the same as before for an offer that comes again.
    ///
    /// # Errors
    /// If it cannot be read, or changes anything but ICE's credentials and candidates. Nothing has changed then.
    pub fn accept_restart(
        &mut self,
        now: Instant,
        offer: &str,
        random: &[u8; 24],
    ) -> Result<String, NegotiationError> {
        let offer = Description::parse(offer)?;
        let (Some(before), Some(local)) = (&self.remote, &self.local) else {
            return Err(NegotiationError::NoOffer);
        };
        if !sdp::check_restart(before, &offer)? {
            // The answer was lost, or is late.
            return Ok(local.to_string());
        }
        let origin = local.origin.next();
        // Looks the offer over before anything changes.
        self.answer_to(&offer, origin)?;
        self.ice.restart(Credentials::from_random(random), self.route);
        let answer = self.answer_to(&offer, origin)?;
        let text = answer.to_string();
        let is_client = self.is_dtls_client();
        self.agree(now, answer, offer, is_client)?;
        self.handle_timeout(now);
        Ok(text)
    }

    /// Whether RTCP packets may go without a report before them (RFC 5506, 5): if both descriptions say so of all media.
    pub(super) fn has_reduced_rtcp(&self) -> bool {
        let descriptions = [&self.local, &self.remote].into_iter().flatten();
        let lines = descriptions.flat_map(|description| &description.lines);
        let mut media = lines.filter(|line| !line.is_rejected).filter_map(sdp::Line::media);
        media.all(|media| media.has_reduced_rtcp)
    }

    /// Our user fragment: checks of the peer name it first.
    pub fn ufrag(&self) -> &str {
        self.ice.credentials().ufrag()
    }

    /// SHA-256 of the certificate that the peer's description names.
    pub fn remote_fingerprint(&self) -> Option<[u8; 32]> {
        self.remote.as_ref().map(|remote| remote.fingerprint)
    }

    /// SHA-256 of our certificate.
    pub fn local_fingerprint(&self) -> [u8; 32] {
        self.config.certificate.fingerprint()
    }

    /// How many candidates of the peer's last description are tried, and how many are not: they were too many, too long,
    /// of a kind that is not used, or lead nowhere.
    pub fn described_candidates(&self) -> (usize, u64) {
        self.candidates
    }

    /// Our sockets have these addresses now. Returns the candidate lines of new ones, for the peer. No checks leave from others any
    /// more; if the path began at one of them the next one is found among the rest, or by [`Self::restart`].
    pub fn set_locals(&mut self, now: Instant, locals: &[SocketAddr]) -> Vec<String> {
        let lines = self.ice.set_hosts(locals);
        self.handle_timeout(now);
        lines
    }

    /// Adds the address at which a server saw `base`. Returns its candidate line for the peer; `None` if it is known, leads
    /// nowhere, or is one too many.
    pub fn add_reflexive(
        &mut self,
        now: Instant,
        mapped: SocketAddr,
        base: SocketAddr,
    ) -> Option<String> {
        if self.ice.reflexive() >= MAX_REFLEXIVE || !crate::may_be_tried(mapped) {
            return None;
        }
        let line = self.ice.add_reflexive(mapped, base)?;
        self.handle_timeout(now);
        Some(line)
    }

    /// Whether a server has told how it sees us, by [`Self::add_reflexive`].
    pub fn is_seen(&self) -> bool {
        self.ice.is_seen()
    }

    /// The addresses of our candidates, and of the peer's since the last restart.
    pub fn candidates(&self) -> [Vec<SocketAddr>; 2] {
        self.ice.candidates()
    }

    /// Whether the peer has named this candidate before, and it is still tried.
    pub fn is_told(&self, line: &str) -> bool {
        line.len() <= sdp::MAX_CANDIDATE_BYTES && self.ice.is_told(line)
    }

    /// Adds a candidate of the peer.
    ///
    /// # Errors
    /// In plain words, if it cannot be read, is of no kind that is used, or leads nowhere.
    pub fn add_remote_candidate(&mut self, now: Instant, line: &str) -> Result<(), String> {
        if line.len() > sdp::MAX_CANDIDATE_BYTES {
            let most = sdp::MAX_CANDIDATE_BYTES;
            return Err(format!("{} bytes, at most {most} are taken", line.len()));
        }
        self.ice.add_remote(line)?;
        self.handle_timeout(now);
        Ok(())
    }
}
