//! ICE (RFC 8445) with trickling (RFC 8838) by the `is` crate, and what that crate leaves to its owner: pace, bounds on
//! sources, datagrams that the kernel would refuse, and consent (RFC 7675).

mod routes;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket, TransId};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol, Sha1HmacProvider};

use crate::Route;
use crate::sdp::Credentials;
use routes::Routes;

/// The shortest time between two checks (Ta; RFC 8445, 14.2, allows no less).
const PACE: Duration = Duration::from_millis(5);
/// An unanswered check is repeated after this, then after twice that, and so on. The first ones often meet a NAT that the
/// peer has not opened yet.
const FIRST_CHECK_RTO: Duration = Duration::from_millis(30);
/// The longest time between two checks of a pair while none is selected.
const MAX_CHECK_RTO: Duration = Duration::from_secs(2);
/// The selected pair is checked this often (RFC 7675, 5.1).
const CONSENT_CHECK: Duration = Duration::from_secs(5);
/// Routine checks are made at multiples of this, if they are [aligned](Ice::align).
const RHYTHM: Duration = Duration::from_millis(250);
/// With the times above, checks of a pair go on for about 12 s.
const MAX_CHECKS: usize = 11;
/// Consent to send expires this long after the peer's last valid response (RFC 7675, 5.1).
const CONSENT: Duration = Duration::from_secs(30);
/// Remote addresses that have passed a check. `is` keeps a candidate for each, and looks at all of them per check.
const MAX_SOURCES: usize = 64;
/// Addresses at which the peer says that it sees us, over the life of a transport: `is` keeps a candidate for each.
const MAX_MAPPED: usize = 128;
/// Addresses of our own over the life of a transport: `is` keeps a candidate for each.
const MAX_HOSTS: usize = 128;
/// Checks remembered as answered: `is` takes any number of responses to one.
const MAX_ANSWERED: usize = 256;
/// If the selected route has not answered for this long, those that were left may be used again.
const NEEDS_LEFT_ROUTES: Duration = Duration::from_secs(10);
/// The longest round trip that is believed.
const MAX_RTT: Duration = Duration::from_secs(1);
/// STUN attributes of one message. Browsers send at most ten.
const MAX_ATTRIBUTES: usize = 24;
const STUN_HEADER_BYTES: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Whether a datagram is STUN, by its first bits and magic cookie (RFC 8489, 5).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= STUN_HEADER_BYTES && datagram[0] < 4 && datagram[4..8] == STUN_COOKIE
}

/// What one call tells.
pub(crate) enum IceEvent {
    /// Everything but checks goes over this route from now on.
    Selected(Route),
}

/// A candidate of ours.
struct Ours {
    at: SocketAddr,
    /// The address of the socket behind it.
    base: SocketAddr,
    /// For the peer. It has no user fragment: the one in use may be replaced by a restart while the line is under way.
    line: String,
}

pub(crate) struct Ice {
    agent: IceAgent,
    credentials: Credentials,
    is_offerer: bool,
    reflexive: usize,
    /// Host and reflexive candidates. The agent's own list holds what it learnt, too.
    ours: Vec<Ours>,
    /// Of the peer's description, and those that followed.
    theirs: Vec<SocketAddr>,
    /// A server has told how it sees us.
    is_seen: bool,
    /// Addresses of host candidates so far, those that are gone included: the agent keeps them.
    hosts: Vec<SocketAddr>,
    sources: VecDeque<SocketAddr>,
    mapped: Vec<SocketAddr>,
    answered: VecDeque<TransId>,
    responses: u64,
    routes: Routes,
    selected: Option<Route>,
    /// When consent expires; `None` before a pair is selected.
    consent_until: Option<Instant>,
    handled_at: Option<Instant>,
    /// Since when [`RHYTHM`] counts.
    aligned_to: Option<Instant>,
}

impl Ice {
    pub(crate) fn new(is_controlling: bool, credentials: Credentials, tie_breaker: u64) -> Self {
        let mut agent = IceAgent::with_hmac(creds(&credentials), &Hmac);
        agent.set_controlling(is_controlling);
        agent.set_control_tie_breaker(tie_breaker);
        agent.set_timing_advance(PACE);
        agent.set_initial_stun_rto(FIRST_CHECK_RTO);
        agent.set_max_stun_rto(MAX_CHECK_RTO);
        agent.set_max_stun_retransmits(MAX_CHECKS);
        Self {
            agent,
            credentials,
            is_offerer: is_controlling,
            reflexive: 0,
            ours: Vec::new(),
            theirs: Vec::new(),
            is_seen: false,
            hosts: Vec::new(),
            sources: VecDeque::new(),
            mapped: Vec::new(),
            answered: VecDeque::new(),
            responses: 0,
            routes: Routes::default(),
            selected: None,
            consent_until: None,
            handled_at: None,
            aligned_to: None,
        }
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn set_remote_credentials(&mut self, theirs: &Credentials) {
        self.agent.set_remote_credentials(creds(theirs));
    }

    /// New credentials; local candidates stay, and the route in use until another one is found.
    pub(crate) fn restart(&mut self, credentials: Credentials, route: Option<Route>) {
        self.agent.ice_restart(creds(&credentials), true);
        self.agent.set_max_stun_rto(MAX_CHECK_RTO);
        self.credentials = credentials;
        self.sources.retain(|source| route.is_some_and(|route| route.remote == *source));
        (self.responses, self.reflexive) = (0, 0);
        self.theirs.clear();
        self.take_back_routes();
    }

    pub(crate) fn is_offerer(&self) -> bool {
        self.is_offerer
    }

    /// Lines of all local candidates.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &String> {
        self.ours.iter().map(|ours| &ours.line)
    }

    /// Our sockets have these addresses now. Returns the candidate lines of new ones. No checks leave from others any more.
    pub(crate) fn set_hosts(&mut self, addresses: &[SocketAddr]) -> Vec<String> {
        let known = self.agent.local_candidates();
        let gone: Vec<_> =
            known.filter(|candidate| !addresses.contains(&candidate.local())).collect();
        for candidate in &gone {
            self.agent.invalidate_candidate(candidate);
        }
        self.ours.retain(|ours| addresses.contains(&ours.base));
        if !gone.is_empty() {
            self.routes.clear();
        }
        addresses.iter().filter_map(|address| self.add_host(*address)).collect()
    }

    fn add_host(&mut self, address: SocketAddr) -> Option<String> {
        let is_known = self.agent.local_candidates().any(|known| known.addr() == address);
        let was_known = self.hosts.contains(&address);
        if is_known || (!was_known && self.hosts.len() == MAX_HOSTS) {
            return None;
        }
        if !was_known {
            self.hosts.push(address);
        }
        let candidate = Candidate::host(address, Protocol::Udp);
        let candidate = candidate.inspect_err(|error| {
            tracing::debug!(%address, %error, "local address not usable");
        });
        self.add_local(candidate.ok()?)
    }

    /// Adds an address at which a server saw `base`. Returns its candidate line, unless it is known.
    pub(crate) fn add_reflexive(&mut self, mapped: SocketAddr, base: SocketAddr) -> Option<String> {
        let candidate = Candidate::server_reflexive(mapped, base, Protocol::Udp).ok()?;
        self.is_seen = true;
        let line = self.add_local(candidate)?;
        self.reflexive += 1;
        Some(line)
    }

    /// Reflexive addresses added since the last restart.
    pub(crate) fn reflexive(&self) -> usize {
        self.reflexive
    }

    fn add_local(&mut self, candidate: Candidate) -> Option<String> {
        let (at, base) = (candidate.addr(), candidate.local());
        // With the priority that the agent gives it: the earlier, the higher.
        let line = self.agent.add_local_candidate(candidate)?.to_sdp_string();
        let line = line.split(" ufrag ").next().map_or_else(String::new, str::to_owned);
        // One that was left and comes back is in the list already.
        self.ours.retain(|ours| (ours.at, ours.base) != (at, base));
        self.ours.push(Ours { at, base, line: line.clone() });
        Some(line)
    }

    /// Adds an address of the peer; a line that `is` does not understand is an error.
    pub(crate) fn add_remote(&mut self, line: &str) -> Result<(), String> {
        let candidate = Candidate::from_sdp_string(line).map_err(|e| e.to_string())?;
        if !may_be_tried(candidate.addr()) {
            return Err("it leads nowhere".into());
        }
        self.theirs.push(candidate.addr());
        self.agent.add_remote_candidate(candidate);
        Ok(())
    }

    /// Whether the peer has named this address, and it may still be tried: to be told again changes nothing.
    pub(crate) fn is_told(&self, line: &str) -> bool {
        let at = Candidate::from_sdp_string(line).map(|candidate| candidate.addr());
        at.is_ok_and(|at| {
            self.theirs.contains(&at)
                && self.agent.remote_candidates().any(|theirs| theirs.addr() == at)
        })
    }

    /// Whether a server has told how it sees us.
    pub(crate) fn is_seen(&self) -> bool {
        self.is_seen
    }

    /// The addresses of our candidates and the peer's, without those that checks have shown.
    pub(crate) fn candidates(&self) -> [Vec<SocketAddr>; 2] {
        [self.ours.iter().map(|ours| ours.at).collect(), self.theirs.clone()]
    }

    /// Whether an authentic check came from this address. Whether the peer receives there is another question, which
    /// [`Self::has_answered`] answers: an address can be forged.
    pub(crate) fn knows(&self, source: SocketAddr) -> bool {
        self.sources.contains(&source)
    }

    /// Whether the peer has answered a check of ours at this address, so that it receives there.
    pub(crate) fn has_answered(&self, remote: SocketAddr) -> bool {
        self.agent.has_viable_remote_candidate(remote)
    }

    /// Whether a check of ours has left for this address.
    pub(crate) fn has_checked(&self, remote: SocketAddr) -> bool {
        self.routes.has_checked(remote)
    }

    /// Media begin to go where the peer has answered: consent lasts from now.
    pub(crate) fn begin_consent(&mut self, now: Instant) {
        self.consent_until.get_or_insert(now + CONSENT);
    }

    /// The peer is not at this address any more: it speaks from another one. The next best pair is selected.
    pub(crate) fn abandon(&mut self, remote: SocketAddr) {
        let there: Vec<_> =
            self.agent.remote_candidates().filter(|theirs| theirs.addr() == remote).collect();
        for candidate in &there {
            self.agent.invalidate_candidate(candidate);
        }
    }

    /// All such addresses.
    pub(crate) fn sources(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sources.iter().copied()
    }

    /// Takes a STUN datagram. Returns whether it was authentic.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let is_known = self.knows(source);
        let is_welcome = is_known || (self.sources.len() < MAX_SOURCES && may_be_tried(source));
        if !is_welcome || !is_well_formed(datagram) {
            return false;
        }
        let Ok(message) = StunMessage::parse(datagram) else { return false };
        let route = Route { local: destination, remote: source };
        if self.routes.has_left(route) {
            // Nothing may bring it back.
            return self.agent.accepts_message(&message);
        }
        let is_nomination = message.use_candidate();
        let is_answer = message.is_successful_binding_response();
        let answer = is_answer.then(|| (message.trans_id(), message.mapped_address()));
        if answer.is_some_and(|(id, mapped)| !self.may_take_answer(id, mapped)) {
            return false;
        }
        let packet = StunPacket { proto: Protocol::Udp, source, destination, message };
        if !self.agent.handle_packet(now, packet) {
            return false;
        }
        if !is_known {
            self.sources.push_back(source);
        }
        if let Some((id, mapped)) = answer {
            self.note_answer(id, mapped);
            self.routes.answered(now, id);
        } else if is_nomination {
            self.routes.nominated(now, route);
        }
        self.prefer_shorter(now);
        let responses = self.agent.nominated_pair_responses_received().unwrap_or(0);
        if responses > self.responses {
            self.consent_until = Some(now + CONSENT);
        }
        self.responses = responses;
        true
    }

    /// Leaves the selected route if another one is clearly shorter.
    fn prefer_shorter(&mut self, now: Instant) {
        let Some(long) = self.selected else { return };
        let Some(short) = self.routes.take_shorter(now, long, self.is_offerer) else { return };
        tracing::debug!(?long, ?short, "a shorter route takes over");
        if short.remote == long.remote {
            let candidates = self.agent.local_candidates();
            let gone: Vec<_> = candidates.filter(|ours| ours.local() == long.local).collect();
            for candidate in &gone {
                self.agent.invalidate_candidate(candidate);
            }
        } else {
            self.abandon(long.remote);
        }
        self.handle_timeout(now);
    }

    /// Each check is answered once, and from a bounded number of our addresses as the peer sees them.
    fn may_take_answer(&self, id: TransId, mapped: Option<SocketAddr>) -> bool {
        let is_new_address = mapped.is_some_and(|address| !self.mapped.contains(&address));
        let is_one_too_many = is_new_address && self.mapped.len() == MAX_MAPPED;
        !is_one_too_many && !self.answered.contains(&id)
    }

    fn note_answer(&mut self, id: TransId, mapped: Option<SocketAddr>) {
        if self.answered.len() == MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back(id);
        if let Some(address) = mapped.filter(|address| !self.mapped.contains(address)) {
            self.mapped.push(address);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.handled_at = Some(now);
        let in_need = |until: Instant| now + CONSENT >= until + NEEDS_LEFT_ROUTES;
        if self.routes.has_left_any() && self.consent_until.is_some_and(in_need) {
            self.take_back_routes();
        }
        self.agent.handle_timeout(now);
    }

    /// Routes that were left for a shorter one may be used again.
    fn take_back_routes(&mut self) {
        self.routes.clear();
        let hosts = self.ours.iter().filter(|ours| ours.at == ours.base).map(|ours| ours.at);
        for address in hosts.collect::<Vec<_>>() {
            let _ = self.add_host(address);
        }
    }

    /// Routine checks are made in a rhythm that begins here: those of many agents fall together.
    pub(crate) fn align(&mut self, begin: Instant) {
        self.aligned_to = Some(begin);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn timeout(&mut self) -> Option<Instant> {
        let check = self.agent.poll_timeout().map(|at| self.aligned(at));
        [check, self.consent_until].into_iter().flatten().min()
    }

    /// The next beat after a check that is not urgent is due.
    fn aligned(&self, due: Instant) -> Instant {
        let (Some(begin), Some(handled)) = (self.aligned_to, self.handled_at) else { return due };
        if due < handled + MAX_CHECK_RTO {
            return due;
        }
        let beats = due.saturating_duration_since(begin).as_nanos().div_ceil(RHYTHM.as_nanos());
        begin + RHYTHM * beats as u32
    }

    /// Whether the peer has not confirmed for [`CONSENT`] that it wants to receive: nothing may be sent any more.
    pub(crate) fn has_lost_consent(&self, now: Instant) -> bool {
        self.consent_until.is_some_and(|until| now >= until)
    }

    /// The next check or response, with the route that it takes.
    pub(crate) fn poll_transmit(&mut self) -> Option<(Route, Vec<u8>)> {
        loop {
            let transmit = self.agent.poll_transmit()?;
            let route = Route { local: transmit.source, remote: transmit.destination };
            if is_routable(route) {
                self.note_check(route, &transmit.contents);
                return Some((route, transmit.contents.into()));
            }
        }
    }

    fn note_check(&mut self, route: Route, datagram: &[u8]) {
        let check = StunMessage::parse(datagram).ok().filter(StunMessage::is_binding_request);
        if let (Some(check), Some(now)) = (check, self.handled_at) {
            self.routes.sent(now, check.trans_id(), route);
        }
    }

    pub(crate) fn poll_event(&mut self, now: Instant) -> Option<IceEvent> {
        loop {
            if let IceAgentEvent::NominatedSend { source, destination, .. } =
                self.agent.poll_event()?
            {
                let route = Route { local: source, remote: destination };
                self.agent.set_max_stun_rto(CONSENT_CHECK);
                self.selected = Some(route);
                self.consent_until = Some(now + CONSENT);
                self.responses = self.agent.nominated_pair_responses_received().unwrap_or(0);
                return Some(IceEvent::Selected(route));
            }
        }
    }

    /// The last round trip over the selected route.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.agent.nominated_pair_rtt().map(|rtt| rtt.min(MAX_RTT))
    }
}

fn creds(credentials: &Credentials) -> IceCreds {
    IceCreds { ufrag: credentials.ufrag().into(), pass: credentials.pwd().into() }
}

/// Whether a datagram to this address reaches at most one machine, at a real port.
pub fn may_be_tried(address: SocketAddr) -> bool {
    let is_broadcast = matches!(address.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0
        && !address.ip().is_unspecified()
        && !address.ip().is_multicast()
        && !is_broadcast
}

/// The kernel refuses datagrams from a loopback address to another machine, and a socket that was refused once may lose
/// segmentation offload for good.
fn is_routable(route: Route) -> bool {
    let Route { local, remote } = route;
    local.is_ipv4() == remote.is_ipv4() && local.ip().is_loopback() == remote.ip().is_loopback()
}

/// Attributes that `is` warns of before it knows whether a message is authentic: MAPPED-ADDRESS, UNKNOWN-ATTRIBUTES,
/// ALTERNATE-SERVER. A check has none of them.
const FOREIGN_ATTRIBUTES: [[u8; 2]; 3] = [[0x00, 0x01], [0x00, 0x0a], [0x80, 0x23]];

/// Whether the attributes fit, and are not such, or so many, that a stranger can cause work or lines in a log.
fn is_well_formed(datagram: &[u8]) -> bool {
    if !is_stun(datagram) {
        return false;
    }
    let mut rest = &datagram[STUN_HEADER_BYTES..];
    for _ in 0..MAX_ATTRIBUTES {
        let Some((&[kind @ .., high, low], body)) = rest.split_first_chunk::<4>() else {
            return rest.is_empty();
        };
        if FOREIGN_ATTRIBUTES.contains(&kind) {
            return false;
        }
        let padded = usize::from(u16::from_be_bytes([high, low])).next_multiple_of(4);
        let Some(next) = body.get(padded..) else { return false };
        rest = next;
    }
    rest.is_empty()
}

#[derive(Debug)]
struct Hmac;

impl Sha1HmacProvider for Hmac {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        use aws_lc_rs::hmac;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut context = hmac::Context::with_key(&key);
        payloads.iter().for_each(|payload| context.update(payload));
        let mut tag = [0; 20];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], port))
    }

    /// A controlled agent that knows its peer's credentials, and what the peer's checks are signed with.
    fn controlled() -> (Ice, String, String) {
        let [ours, theirs] = [1, 2].map(|seed| Credentials::from_random(&[seed; 24]));
        let (name, password) = (format!("{}:{}", ours.ufrag(), theirs.ufrag()), ours.pwd().into());
        let mut ice = Ice::new(false, ours, 7);
        ice.set_hosts(&[address(1, 5000)]);
        ice.set_remote_credentials(&theirs);
        (ice, name, password)
    }

    fn check(name: &str, password: &str) -> Vec<u8> {
        let message =
            StunMessage::binding_request(name, is::stun::TransId::new(), true, 9, 1, false);
        let mut bytes = vec![0; 200];
        let len = message.to_bytes(Some(password.as_bytes()), &mut bytes, |key, parts| {
            Hmac.sha1_hmac(key, parts)
        });
        bytes.truncate(len.expect("it fits"));
        bytes
    }

    #[test]
    fn checks_make_sources_known_if_they_are_authentic_and_not_too_many() {
        let (now, (mut ice, name, password)) = (Instant::now(), controlled());
        let ours = address(1, 5000);
        assert!(!ice.handle(now, address(9, 1), ours, &check(&name, "another password")));
        assert!(!ice.knows(address(9, 1)));
        for port in 1..=MAX_SOURCES as u16 + 1 {
            ice.handle(now, address(2, port), ours, &check(&name, &password));
        }
        assert_eq!(ice.sources().count(), MAX_SOURCES);
        assert!(!ice.knows(address(2, MAX_SOURCES as u16 + 1)));
        assert!(ice.handle(now, address(2, 1), ours, &check(&name, &password)));
    }

    /// What a peer answers to a check, from an address as it says that it sees us.
    fn answer(to: &[u8], mapped: SocketAddr, password: &str) -> Vec<u8> {
        let check = StunMessage::parse(to).unwrap();
        let reply = StunMessage::binding_reply(check.trans_id(), mapped);
        let mut bytes = vec![0; 200];
        let sign = |key: &[u8], parts: &[&[u8]]| Hmac.sha1_hmac(key, parts);
        let len = reply.to_bytes(Some(password.as_bytes()), &mut bytes, sign).unwrap();
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn a_check_is_answered_once_and_from_a_bounded_number_of_addresses() {
        let (mut now, (mut ice, ..)) = (Instant::now(), controlled());
        let theirs = Credentials::from_random(&[2; 24]);
        let (ours, peer) = (address(1, 5000), address(2, 5000));
        ice.add_remote("candidate:1 1 udp 2130706175 10.0.0.2 5000 typ host").unwrap();
        let (mut taken, mut port) = (0, 0);
        for _ in 0..2 * MAX_MAPPED {
            now += Duration::from_millis(500);
            ice.handle_timeout(now);
            while let Some((_, check)) = ice.poll_transmit() {
                for _ in 0..3 {
                    port += 1;
                    let mapped = address(3, port);
                    taken += usize::from(ice.handle(
                        now,
                        peer,
                        ours,
                        &answer(&check, mapped, theirs.pwd()),
                    ));
                }
            }
        }
        assert!(taken > 10 && taken <= MAX_MAPPED && taken * 3 <= usize::from(port), "{taken}");
        assert!(ice.mapped.len() <= MAX_MAPPED && ice.answered.len() <= MAX_ANSWERED);
    }

    #[test]
    fn candidates_must_lead_somewhere() {
        let (mut ice, ..) = controlled();
        assert!(ice.add_remote("candidate:1 1 udp 2130706175 203.0.113.1 5000 typ host").is_ok());
        for line in [
            "candidate:1 1 udp 2130706175 255.255.255.255 5000 typ host",
            "candidate:1 1 udp 2130706175 0.0.0.0 5000 typ host",
            "candidate:1 1 udp 2130706175 239.0.0.1 5000 typ host",
            "candidate:1 1 udp 2130706175 203.0.113.1 0 typ host",
            "candidate:1 1 udp 2130706175 0a1b.local 5000 typ host",
            "nonsense",
        ] {
            assert!(ice.add_remote(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_the_kernel_would_refuse_is_not_sent() {
        let [loopback, lan] = ["127.0.0.1:1", "192.0.2.1:1"].map(|a| a.parse().unwrap());
        let v6 = "[2001:db8::1]:1".parse().unwrap();
        assert!(is_routable(Route { local: lan, remote: lan }));
        assert!(is_routable(Route { local: loopback, remote: loopback }));
        for (local, remote) in [(loopback, lan), (lan, loopback), (lan, v6)] {
            assert!(!is_routable(Route { local, remote }), "{local} to {remote}");
        }
    }

    #[test]
    fn messages_with_attributes_without_end_are_not_parsed() {
        let header = |len: u16| {
            let [high, low] = len.to_be_bytes();
            [&[0, 1, high, low][..], &STUN_COOKIE, &[7; 12]].concat()
        };
        let attributes = |number: usize| [0x7f, 0xff, 0, 0].repeat(number);
        assert!(is_well_formed(&[header(96), attributes(MAX_ATTRIBUTES)].concat()));
        assert!(!is_well_formed(&[header(100), attributes(MAX_ATTRIBUTES + 1)].concat()));
        // The last attribute says that it is longer than the datagram.
        assert!(!is_well_formed(&[header(4), vec![0, 6, 0, 8]].concat()));
    }

    /// RFC 5769, 2.1: a request with what browsers add to it.
    #[test]
    fn the_published_request_is_authentic() {
        let request = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
            \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\
            \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \
            \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
            \x80\x28\x00\x04\xe5\x7a\x3b\xcf";
        assert!(is_well_formed(request));
        let message = StunMessage::parse(request).unwrap();
        let verify =
            |password: &[u8]| message.verify(password, |key, parts| Hmac.sha1_hmac(key, parts));
        assert!(verify(b"VOkJxbRl1RmTxUk/WvJxBt") && !verify(b"another"));
    }

    /// RFC 5769, 2.2 and 2.3: answers over IPv4 and IPv6.
    #[test]
    fn the_published_answers_are_authentic_and_name_the_address() {
        let v4 = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
            \x80\x22\x00\x0btest vector \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
            \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
            \x80\x28\x00\x04\xc0\x7d\x4c\x96";
        let v6 = b"\x01\x01\x00\x48\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
            \x80\x22\x00\x0btest vector \x00\x20\x00\x14\x00\x02\xa1\x47\
            \x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\
            \x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41\
            \x80\x28\x00\x04\xc8\xfb\x0b\x4c";
        for (answer, address) in [
            (&v4[..], "192.0.2.1:32853"),
            (&v6[..], "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
        ] {
            assert!(is_well_formed(answer));
            let message = StunMessage::parse(answer).unwrap();
            let password = b"VOkJxbRl1RmTxUk/WvJxBt";
            assert!(message.verify(password, |key, parts| Hmac.sha1_hmac(key, parts)));
            assert_eq!(message.mapped_address(), Some(address.parse().unwrap()));
        }
    }

    #[test]
    fn addresses_that_come_are_told_and_those_that_go_are_not_used() {
        let (now, (mut ice, ..)) = (Instant::now(), controlled());
        let priority = |line: &String| line.split(' ').nth(3).unwrap().parse::<u32>().unwrap();
        ice.add_remote("candidate:1 1 udp 2130706175 10.0.0.9 5000 typ host").unwrap();
        let mapped = SocketAddr::from(([203, 0, 113, 9], 41_000));
        let reflexive = ice.add_reflexive(mapped, address(1, 5000)).unwrap();
        assert_eq!(ice.lines().last(), Some(&reflexive));
        let added = ice.set_hosts(&[address(1, 5000), address(2, 5000)]);
        let first = ice.lines().next().unwrap();
        assert_eq!(added.len(), 1, "one was known: {added:?}");
        assert!(added[0].contains(" 10.0.0.2 5000 ") && !added[0].contains("ufrag"), "{added:?}");
        assert!(priority(first) > priority(&added[0]), "{first} {added:?}");
        assert!(ice.set_hosts(&[address(2, 5000)]).is_empty());
        assert_eq!(
            ice.lines().cloned().collect::<Vec<_>>(),
            added,
            "with what it had been seen as"
        );
        ice.handle_timeout(now);
        let from: Vec<_> = std::iter::from_fn(|| ice.poll_transmit()).collect();
        assert!(!from.is_empty() && from.iter().all(|(route, _)| route.local == address(2, 5000)));
        // It comes back.
        assert_eq!(ice.set_hosts(&[address(1, 5000)]).len(), 1);
        for port in 0..2 * MAX_HOSTS as u16 {
            ice.set_hosts(&[address(3, 1 + port)]);
        }
        assert!(ice.hosts.len() <= MAX_HOSTS);
        // Those that were there before may come back as often as they like.
        assert_eq!(ice.set_hosts(&[address(1, 5000)]).len(), 1);
    }

    #[test]
    fn consent_ends_when_the_peer_answers_no_more() {
        let [ours, theirs] = [1, 2].map(|seed| Credentials::from_random(&[seed; 24]));
        let [at, other] = [address(1, 5000), address(2, 5000)];
        let mut ends = [Ice::new(true, ours.clone(), 1), Ice::new(false, theirs.clone(), 2)];
        ends[0].set_hosts(&[at]);
        ends[1].set_hosts(&[other]);
        ends[0].set_remote_credentials(&theirs);
        ends[1].set_remote_credentials(&ours);
        let line = ends[1].lines().next().cloned().unwrap();
        ends[0].add_remote(&line).unwrap();
        let (begin, mut now, mut selected) = (Instant::now(), Instant::now(), false);
        // The peer is gone after two seconds.
        while now < begin + Duration::from_secs(60) && !ends[0].has_lost_consent(now) {
            now += Duration::from_millis(5);
            for from in 0..2 {
                ends[from].handle_timeout(now);
                while let Some((route, datagram)) = ends[from].poll_transmit() {
                    if now < begin + Duration::from_secs(2) {
                        ends[1 - from].handle(now, route.local, route.remote, &datagram);
                    }
                }
                selected |= ends[from].poll_event(now).is_some();
            }
        }
        let lasted = now - begin;
        assert!(selected && ends[0].has_lost_consent(now));
        assert!(lasted > CONSENT && lasted < CONSENT + Duration::from_secs(3), "{lasted:?}");
    }
}
