//! One viewer as the host sees it: from its first sealed message through the lobby to its link.

mod linked;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lllsi_proto::control::Report;
use lllsi_proto::invite::{Commitment, Nonce, Opening, TicketId};
use lllsi_proto::rendezvous::{Blob, ClientId};
use lllsi_proto::sealed::{
    self, Admission, Envelope, Hello, MAX_NAME_BYTES, PartReason, Ticket, ToClient, ToHost, Welcome,
};

use super::door::Opened;
use super::uplink::Signs;
use super::{Event, LayerId, LeftReason, Place, ViewerId};
use crate::client::truncate;
use crate::link::Link;
use crate::nat::NatKind;
use crate::rate::Estimate;
use crate::seal::{Binding, Channel, Responder, Role, Secrets, commit, derive};
use crate::stun::Reflexive;
use crate::{FAR_FUTURE, Ignored, LinkError, Path, Transmit};

/// Candidates kept for a client that waits in the lobby.
const MAX_EARLY_CANDIDATES: usize = 20;
/// A client in the lobby has to show the number of its digits this soon.
const REVEAL_TIMEOUT: Duration = Duration::from_secs(15);
/// A viewer may ask for a new path this often.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// A viewer that has not reported for this long has no say in the bitrate. At rest it reports every two seconds, and one report
/// may be lost.
const REPORT_STALE: Duration = Duration::from_secs(5);

/// Whether a viewer goes on.
#[derive(Debug)]
pub(super) enum Step {
    Stay,
    /// It does, over a new path: our own addresses should be looked at again.
    Restarted,
    /// It does, and no path is found: the kind of our NAT may tell why.
    Stuck,
    Leave(LeftReason),
}

/// Where we may be reached.
pub(super) struct Addresses {
    pub(super) locals: Vec<SocketAddr>,
    pub(super) reflexive: Vec<Reflexive>,
}

/// Connectivity checks reach a viewer by another name from now on.
pub(super) struct Renamed {
    pub(super) old: Option<String>,
    pub(super) new: String,
}

/// Where a viewer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewerState {
    /// In the lobby.
    Waiting,
    /// Admitted; a path is being looked for.
    Connecting,
    /// Its link is up.
    Connected,
}

/// What the host knows about a viewer.
#[derive(Debug, Clone)]
pub struct ViewerStatus {
    /// The viewer.
    pub id: ViewerId,
    /// What it calls itself; not verified.
    pub name: String,
    /// Where it stands.
    pub state: ViewerState,
    /// Its link's path, once connected.
    pub path: Option<Path>,
    /// Its newest report.
    pub report: Report,
    /// What its path is thought to carry, bit/s, up to the host's limit.
    pub bitrate: f64,
    /// The layer that it is sent.
    pub layer: LayerId,
    /// Bytes sent to it so far, headers of IP and UDP included.
    pub sent_bytes: u64,
    /// Connectivity checks that were not sent, since nobody answers where it says that it is.
    pub withheld_checks: u64,
    /// What its link did not take.
    pub ignored: Ignored,
}

enum Stage {
    /// Its first message opened; ours is owed.
    Greeted(Responder),
    /// It has our answer and waits in the lobby: the user hears of it when its digits are known.
    Waiting(Channel),
    /// Admitted. The channel lasts as long as both sides are at the server.
    Linked(Box<Link>, Option<Channel>),
    Gone,
}

pub(super) struct Viewer {
    id: ViewerId,
    client: Option<ClientId>,
    hello: Hello,
    nonce: Nonce,
    /// The number on which its digits hang besides its own.
    opening: Opening,
    /// What it has to come back with.
    ticket: Option<TicketId>,
    stage: Stage,
    early_candidates: Vec<String>,
    /// Candidates that came too early and were too many.
    surplus_candidates: u64,
    announced: bool,
    /// Until when the number of its digits has to be there, while it is not.
    reveal_by: Option<Instant>,
    needs_keyframe: bool,
    /// And nobody has been asked for one yet.
    owed_keyframe: bool,
    /// One is to be asked for now.
    keyframe_wanted: bool,
    /// Whether it wants pictures at all.
    wants_pictures: bool,
    path: Option<Path>,
    /// Its newest report, and when that came.
    report: (Report, Instant),
    estimate: Option<Estimate>,
    ufrag: Option<String>,
    renamed: Option<Renamed>,
    /// Addresses that a restart has made it forget, not taken over yet.
    forgotten: Vec<SocketAddr>,
    restart_at: Instant,
    keyframe_at: Instant,
    /// When a ping is answered again.
    pong_at: Instant,
    deadline: Instant,
    blobs: VecDeque<Blob>,
    transmits: VecDeque<Transmit>,
    /// Messages through the server that were not what it sent, since they were counted.
    pub(super) garbled: u64,
    /// Pings, and wishes for a new path or a keyframe, that came too soon, since they were counted.
    pub(super) hasty: u64,
    /// Checks that were not sent on its behalf.
    pub(super) withheld_checks: u64,
    pub(super) sent_bytes: u64,
    events: VecDeque<Event>,
}

impl Viewer {
    /// Takes the first message of a client that has shown that it may speak.
    pub(super) fn greet(
        now: Instant,
        seed: &[u8; 32],
        id: ViewerId,
        client: ClientId,
        opened: Opened,
    ) -> (Self, Step) {
        let Opened { responder, payload, ticket } = opened;
        let (mut hello, step) = match sealed::parse::<Hello>("hello", &payload) {
            Ok(hello) => (hello, Step::Stay),
            Err(error) => {
                tracing::warn!(%error, "a client that knows the secret broke the protocol");
                let nonce = Nonce::from_bytes([0; 32]);
                (
                    Hello {
                        name: String::new(),
                        offer: String::new(),
                        nonce,
                        commitment: Commitment::from_bytes([0; 32]),
                        candidates: Vec::new(),
                        frame_info: false,
                        parity: false,
                    },
                    Step::Leave(PartReason::Protocol.into()),
                )
            }
        };
        // Neither control characters nor those that turn the direction of what follows.
        let shown = |c: &char| {
            !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        let mut name: String = hello.name.chars().filter(shown).collect();
        truncate(&mut name, MAX_NAME_BYTES);
        let mut early_candidates = std::mem::take(&mut hello.candidates);
        let surplus = early_candidates.len().saturating_sub(MAX_EARLY_CANDIDATES);
        early_candidates.truncate(MAX_EARLY_CANDIDATES);
        let viewer = Self {
            id,
            client: Some(client),
            hello: Hello { name, ..hello },
            nonce: Nonce::from_bytes(derive(seed, b"host nonce", id.0.into())),
            opening: Opening::from_bytes(derive(seed, b"host opening", id.0.into())),
            ticket,
            stage: Stage::Greeted(responder),
            early_candidates,
            surplus_candidates: surplus as u64,
            announced: false,
            reveal_by: None,
            needs_keyframe: true,
            owed_keyframe: false,
            keyframe_wanted: false,
            wants_pictures: true,
            path: None,
            report: (Report::default(), now),
            estimate: None,
            ufrag: None,
            renamed: None,
            forgotten: Vec::new(),
            restart_at: now,
            keyframe_at: now,
            pong_at: now,
            deadline: now + FAR_FUTURE,
            blobs: VecDeque::new(),
            transmits: VecDeque::new(),
            garbled: 0,
            hasty: 0,
            withheld_checks: 0,
            sent_bytes: 0,
            events: VecDeque::new(),
        };
        (viewer, step)
    }

    pub(super) fn ticket(&self) -> Option<TicketId> {
        self.ticket
    }

    pub(super) fn client(&self) -> Option<ClientId> {
        self.client
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }

    pub(super) fn is_waiting_for_admission(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_) | Stage::Greeted(_))
    }

    pub(super) fn is_linked(&self) -> bool {
        matches!(self.stage, Stage::Linked(..))
    }

    /// Whether its link has had an authentic check from this address.
    pub(super) fn knows(&self, source: SocketAddr) -> bool {
        matches!(&self.stage, Stage::Linked(link, _) if link.knows(source))
    }

    /// All such addresses.
    pub(super) fn sources(&self) -> Vec<SocketAddr> {
        match &self.stage {
            Stage::Linked(link, _) => link.sources().collect(),
            _ => Vec::new(),
        }
    }

    /// The name by which connectivity checks reach it.
    pub(super) fn ufrag(&self) -> Option<&str> {
        self.ufrag.as_deref()
    }

    fn rename(&mut self, ufrag: String) {
        if self.ufrag.as_ref() == Some(&ufrag) {
            return;
        }
        let old = self.ufrag.replace(ufrag.clone());
        self.renamed = Some(Renamed { old, new: ufrag });
    }

    /// The change of its name that has not been taken over yet.
    pub(super) fn take_renamed(&mut self) -> Option<Renamed> {
        self.renamed.take()
    }

    /// Addresses at which it is not any more.
    pub(super) fn take_forgotten(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.forgotten)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&self.stage, Stage::Linked(link, _) if link.is_up())
    }

    pub(super) fn was_announced(&self) -> bool {
        self.announced
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub(super) fn poll_blob(&mut self) -> Option<Blob> {
        self.blobs.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn take_keyframe_wanted(&mut self) -> bool {
        std::mem::take(&mut self.keyframe_wanted)
    }

    pub(super) fn status(&self, id: ViewerId, layer: LayerId) -> ViewerStatus {
        let state = match &self.stage {
            Stage::Linked(link, _) if link.is_up() => ViewerState::Connected,
            Stage::Linked(..) => ViewerState::Connecting,
            _ => ViewerState::Waiting,
        };
        ViewerStatus {
            id,
            name: self.hello.name.clone(),
            state,
            path: self.path,
            report: self.report.0,
            bitrate: self.estimate.as_ref().map_or(0.0, Estimate::carries),
            layer,
            sent_bytes: self.sent_bytes,
            withheld_checks: self.withheld_checks,
            ignored: self.ignored(),
        }
    }

    /// What was not taken from it.
    pub(super) fn ignored(&self) -> Ignored {
        let mut ignored = Ignored { candidates: self.surplus_candidates, ..Ignored::default() };
        if let Stage::Linked(link, _) = &self.stage {
            ignored += link.ignored();
        }
        ignored
    }

    /// What its path carries, bit/s, and whether it has shown that.
    pub(super) fn allowed_bitrate(&self, now: Instant) -> Option<(f64, bool)> {
        let fresh = now < self.report.1 + REPORT_STALE;
        let estimate = self.estimate.as_ref().filter(|_| self.is_up() && fresh)?;
        Some((estimate.bitrate(), estimate.is_known()))
    }

    /// Bytes of parity and repairs for each byte of pictures.
    pub(super) fn redundancy(&self) -> f64 {
        self.estimate.as_ref().map_or(0.0, Estimate::redundancy)
    }

    /// What its path tells about the host's line, if it is sent pictures.
    pub(super) fn signs(&self, now: Instant) -> Option<Signs> {
        let estimate = self.estimate.as_ref().filter(|_| self.watches())?;
        Some(Signs { congested_at: estimate.congested_at(), received: estimate.received(now) })
    }

    // --- Admission ---

    pub(super) fn refuse(&mut self, reason: PartReason) {
        self.answer(Admission::Refused { reason });
        self.stage = Stage::Gone;
    }

    pub(super) fn wait(&mut self, now: Instant) {
        self.reveal_by = Some(now + REVEAL_TIMEOUT);
        if let Some((channel, _)) = self.answer(Admission::Waiting) {
            self.stage = Stage::Waiting(channel);
        }
    }

    /// Shows the number to which its hello has committed it.
    fn revealed(&mut self, now: Instant, opening: &Opening) -> Step {
        let (true, Stage::Waiting(channel)) = (self.reveal_by.is_some(), &self.stage) else {
            return Step::Stay;
        };
        if commit(Role::Client, opening) != self.hello.commitment {
            return self.breaks_protocol(now, "it shows another number than it has promised");
        }
        let (nonces, openings) = ([self.hello.nonce, self.nonce], [*opening, self.opening]);
        let code = channel.short_code(&Secrets { nonces, openings });
        self.seal(&ToClient::Reveal { opening: self.opening });
        (self.reveal_by, self.announced) = (None, true);
        let (id, name) = (self.id, self.hello.name.clone());
        self.events.push_back(Event::ViewerWaiting { id, name, code });
        Step::Stay
    }

    /// It has not shown its number in time.
    pub(super) fn is_reticent(&self, now: Instant) -> bool {
        self.is_waiting() && self.reveal_by.is_some_and(|by| now >= by)
    }

    pub(super) fn admit(
        &mut self,
        now: Instant,
        place: &Place,
        ours: &Addresses,
        ticket: Option<Ticket>,
    ) -> Result<(), LinkError> {
        self.announced = true;
        let offer = std::mem::take(&mut self.hello.offer);
        let (mut link, answer) = Link::answer(
            now,
            &place.certificate,
            &ours.locals,
            &offer,
            derive(&place.seed, b"link", self.id.0.into()),
        )?;
        link.align_checks(place.epoch);
        let found = ours.reflexive.iter();
        let candidates: Vec<_> =
            found.filter_map(|found| link.add_reflexive(now, *found)).collect();
        for candidate in self.early_candidates.drain(..) {
            link.add_remote(now, &candidate);
        }
        let Some((channel, binding)) = self.answer(Admission::Admitted { answer, ticket }) else {
            return Err(LinkError::Closed);
        };
        self.ticket = ticket.map(|ticket| ticket.id).or(self.ticket);
        link.set_binding(now, binding);
        self.rename(link.ufrag());
        self.stage = Stage::Linked(Box::new(link), Some(channel));
        for candidate in candidates {
            self.seal(&ToClient::Candidate { candidate });
        }
        Ok(())
    }

    /// Tells the decision: in the handshake if that is still to be answered, else in the channel.
    fn answer(&mut self, admission: Admission) -> Option<(Channel, Binding)> {
        let channel = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Greeted(responder) => {
                let (nonce, commitment) = (self.nonce, commit(Role::Host, &self.opening));
                let welcome = Welcome { nonce, commitment, admission };
                let (channel, message) = responder.finish(&sealed::to_bytes(&welcome));
                self.blobs.push_back(Blob(Envelope::Handshake(&message).to_bytes()));
                channel
            }
            Stage::Waiting(mut channel) => {
                let sealed = channel.seal(&sealed::to_bytes(&ToClient::Admission(admission)));
                self.blobs.push_back(Blob(Envelope::Sealed(&sealed).to_bytes()));
                channel
            }
            Stage::Linked(..) | Stage::Gone => return None,
        };
        let binding = channel.binding(&self.hello.nonce, &self.nonce);
        Some((channel, binding))
    }

    fn channel(&mut self) -> Option<&mut Channel> {
        match &mut self.stage {
            Stage::Waiting(channel) | Stage::Linked(_, Some(channel)) => Some(channel),
            _ => None,
        }
    }

    fn seal(&mut self, message: &ToClient) {
        if let Some(channel) = self.channel() {
            let sealed = channel.seal(&sealed::to_bytes(message));
            self.blobs.push_back(Blob(Envelope::Sealed(&sealed).to_bytes()));
        }
    }

    /// It, or we, left the server. Its link goes on.
    pub(super) fn departed(&mut self) -> Step {
        self.client = None;
        match &mut self.stage {
            Stage::Linked(_, channel) => {
                *channel = None;
                Step::Stay
            }
            _ => Step::Leave(LeftReason::Departed),
        }
    }

    // --- What it says through the server ---

    pub(super) fn handle_sealed(&mut self, now: Instant, message: &[u8]) -> Step {
        let Some(channel) = self.channel() else {
            return Step::Stay;
        };
        let Ok(plaintext) = channel.open(message) else {
            return self.is_garbled();
        };
        match sealed::parse::<ToHost>("message from a client", &plaintext) {
            Ok(ToHost::Candidate { candidate }) => self.remote_candidate(now, candidate),
            Ok(ToHost::Restart { offer }) => return self.restart(now, &offer),
            Ok(ToHost::Network { nat }) => self.note_nat(Role::Client, NatKind::named(&nat)),
            Ok(ToHost::Reveal { opening }) => return self.revealed(now, &opening),
            Ok(ToHost::Part { reason }) => return Step::Leave(reason.into()),
            Ok(ToHost::Unknown) => {}
            Err(error) => return self.breaks_protocol(now, error),
        }
        Step::Stay
    }

    fn breaks_protocol(&mut self, now: Instant, detail: impl std::fmt::Display) -> Step {
        tracing::warn!(%detail, "a client broke the protocol");
        self.garbled += 1;
        self.part(now, PartReason::Protocol);
        Step::Leave(PartReason::Protocol.into())
    }

    /// What came through the server is not what the client sent. Nothing on the channel opens any more; a link that is
    /// up does not need it.
    pub(super) fn is_garbled(&mut self) -> Step {
        self.garbled += 1;
        if self.is_up() { self.departed() } else { Step::Leave(LeftReason::Tampered) }
    }

    fn remote_candidate(&mut self, now: Instant, candidate: String) {
        match &mut self.stage {
            Stage::Linked(link, _) => link.add_remote(now, &candidate),
            _ if self.early_candidates.len() < MAX_EARLY_CANDIDATES => {
                self.early_candidates.push(candidate)
            }
            _ => self.surplus_candidates += 1,
        }
    }

    pub(super) fn restart(&mut self, now: Instant, offer: &str) -> Step {
        let Stage::Linked(link, _) = &mut self.stage else {
            return Step::Stay;
        };
        if now < self.restart_at {
            self.hasty += 1;
            return Step::Stay;
        }
        self.restart_at = now + RESTART_PAUSE;
        let before: Vec<_> = link.sources().collect();
        match link.accept_restart(now, offer) {
            Ok(answer) => {
                let ufrag = link.ufrag();
                self.forgotten.extend(before.into_iter().filter(|source| !link.knows(*source)));
                self.rename(ufrag);
                self.seal(&ToClient::Restarted { answer });
                Step::Restarted
            }
            Err(error) => {
                // A dead path ends the link by silence; a live one needs no restart.
                tracing::warn!(%error, "restart refused");
                self.garbled += 1;
                Step::Stay
            }
        }
    }

    /// Says goodbye through every channel there is.
    pub(super) fn part(&mut self, now: Instant, reason: PartReason) {
        match &mut self.stage {
            Stage::Linked(link, _) => link.close(now, reason),
            Stage::Greeted(_) => return self.refuse(reason),
            _ => {}
        }
        self.seal(&ToClient::Part { reason });
        self.collect();
    }

    /// Tells it of what kind our NAT is, where no path is found.
    pub(super) fn tell_nat(&mut self, kind: NatKind) {
        if self.is_linked() && !self.is_up() {
            self.note_nat(Role::Host, Some(kind));
            self.seal(&ToClient::Network { nat: kind.name().into() });
        }
    }

    fn note_nat(&mut self, role: Role, kind: Option<NatKind>) {
        if let (Stage::Linked(link, _), Some(kind)) = (&mut self.stage, kind) {
            link.note_nat(role, kind);
        }
    }

    // --- Its link ---

    pub(super) fn add_reflexive(&mut self, now: Instant, found: Reflexive) -> Step {
        if let Stage::Linked(link, _) = &mut self.stage
            && let Some(candidate) = link.add_reflexive(now, found)
        {
            self.seal(&ToClient::Candidate { candidate });
        }
        Step::Stay
    }

    pub(super) fn set_locals(&mut self, now: Instant, locals: &[SocketAddr]) -> Step {
        if let Stage::Linked(link, _) = &mut self.stage {
            for candidate in link.set_locals(now, locals) {
                self.seal(&ToClient::Candidate { candidate });
            }
        }
        Step::Stay
    }

    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        data: &[u8],
    ) -> Step {
        if let Stage::Linked(link, _) = &mut self.stage {
            link.handle_datagram(now, source, destination, data);
        }
        Step::Stay
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Step {
        if let Stage::Linked(link, _) = &mut self.stage {
            link.handle_timeout(now);
        }
        Step::Stay
    }
}
