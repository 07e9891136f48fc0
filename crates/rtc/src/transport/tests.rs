//! Two transports and a line between them, in virtual time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::Extras;
use crate::channels::Reliability;
use crate::sdp::Want;
use crate::send::Frame;
use crate::srtp::Profile;

const VIDEO: Track = Track(0);
const CHAT: u16 = 0;

/// What happens to a datagram on its way.
enum Fate {
    Arrives,
    Lost,
}

struct End {
    transport: Transport,
    at: SocketAddr,
    events: Vec<Event>,
}

impl End {
    fn packets(&self) -> Vec<&Packet> {
        let packets = self.events.iter().filter_map(|event| match event {
            Event::Packet(VIDEO, packet) => Some(packet),
            _ => None,
        });
        packets.collect()
    }

    fn messages(&self) -> Vec<&[u8]> {
        let messages = self.events.iter().filter_map(|event| match event {
            Event::Message { data, .. } => Some(&data[..]),
            _ => None,
        });
        messages.collect()
    }

    fn is_connected(&self) -> bool {
        self.events.contains(&Event::Connected)
            && self.events.iter().any(|event| matches!(event, Event::ChannelOpen(_)))
    }
}

/// Client and host, in this order.
struct Pair {
    now: Instant,
    ends: [End; 2],
    delay: Duration,
    /// When, to which end, and what.
    line: VecDeque<(Instant, usize, Vec<u8>)>,
}

fn config(seed: u8, dtls: DtlsVersion) -> Config {
    let channel = Channel {
        id: CHAT,
        label: "chat".into(),
        protocol: String::new(),
        ordered: true,
        reliability: Reliability::Reliable,
        negotiated: true,
    };
    Config {
        certificate: Certificate::generate(),
        dtls,
        channels: vec![channel],
        max_peer_channels: 1,
        random: std::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add(i as u8)),
    }
}

impl Pair {
    fn new(delay: Duration, dtls: DtlsVersion) -> Self {
        Self::with(delay, |_, config| config.dtls = dtls)
    }

    /// With each end's configuration as `change` makes it.
    fn with(delay: Duration, change: impl Fn(usize, &mut Config)) -> Self {
        Self::negotiated(delay, change, |offer| offer)
    }

    /// And with the offer that the host gets as `alter` makes it.
    #[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
    fn negotiated(
        delay: Duration,
        change: impl Fn(usize, &mut Config),
        alter: impl Fn(String) -> String,
    ) -> Self {
        let now = Instant::now();
        let [client_at, host_at] = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 5000)));
        let wants = [Want::video("0"), Want::data("1")];
        let configs = [0, 1].map(|end| {
            let mut config = config(end as u8 + 1, DtlsVersion::Newest);
            change(end, &mut config);
            config
        });
        let [client, host] = configs;
        let (mut client, offer) = Transport::offer(now, client, &[client_at], &wants);
        let (host, answer) = Transport::answer(now, host, &[host_at], &alter(offer)).unwrap();
        client.accept_answer(now, &answer).unwrap();
        client.take_media();
        let ends = [(client, client_at), (host, host_at)].map(|(transport, at)| End {
            transport,
            at,
            events: Vec::new(),
        });
        Self { now, ends, delay, line: VecDeque::new() }
    }

    fn connected(delay: Duration) -> Self {
        let mut pair = Self::new(delay, DtlsVersion::Newest);
        assert!(pair.run(|_, _| Fate::Arrives, |ends| ends.iter().all(End::is_connected)));
        pair
    }

    /// Carries datagrams until something is so, for at most 20 s. Tells whether it came to be.
    fn run(
        &mut self,
        fate: impl FnMut(usize, &[u8]) -> Fate,
        done: impl FnMut(&[End; 2]) -> bool,
    ) -> bool {
        self.run_until(self.now + Duration::from_secs(20), fate, done)
    }

    fn run_until(
        &mut self,
        until: Instant,
        mut fate: impl FnMut(usize, &[u8]) -> Fate,
        mut done: impl FnMut(&[End; 2]) -> bool,
    ) -> bool {
        while self.now < until {
            self.take_out(&mut fate);
            if done(&self.ends) {
                return true;
            }
            let timers = self.ends.iter_mut().filter_map(|end| end.transport.timeout());
            let next = timers.chain(self.line.front().map(|(at, _, _)| *at)).min();
            let soon = self.now + Duration::from_micros(100);
            self.now = next.unwrap_or(until).max(soon).min(until);
            while let Some((_, to, datagram)) = self.line.pop_front_if(|(at, _, _)| *at <= self.now)
            {
                let source = self.ends[1 - to].at;
                let End { transport, at, .. } = &mut self.ends[to];
                transport.handle_datagram(self.now, source, *at, &datagram);
            }
            for end in &mut self.ends {
                if end.transport.timeout().is_some_and(|at| at <= self.now) {
                    end.transport.handle_timeout(self.now);
                }
            }
        }
        false
    }

    fn take_out(&mut self, fate: &mut impl FnMut(usize, &[u8]) -> Fate) {
        for from in 0..2 {
            let End { transport, events, .. } = &mut self.ends[from];
            while let Some(transmit) = transport.poll_transmit() {
                let size = transmit.segment_size.unwrap_or(transmit.contents.len());
                for datagram in transmit.contents.chunks(size) {
                    if matches!(fate(from, datagram), Fate::Arrives) {
                        let at = self.now + self.delay;
                        self.line.push_back((at, 1 - from, datagram.to_vec()));
                    }
                }
            }
            events.extend(std::iter::from_fn(|| transport.poll_event()));
        }
    }

    fn send_frame(&mut self, number: u32, packets: usize) {
        let payloads = (0..packets).map(|i| {
            Arc::from(vec![number as u8 ^ i as u8; if i + 1 == packets { 300 } else { 1100 }])
        });
        let frame = Frame::from(payloads.collect::<Vec<_>>());
        self.ends[1].transport.send_frame(
            self.now,
            VIDEO,
            number * 3000,
            &frame,
            Extras::default(),
        );
    }
}

/// Whether a datagram is DTLS.
fn is_dtls(datagram: &[u8]) -> bool {
    Protocol::of(datagram) == Some(Protocol::Dtls)
}

#[test]
fn a_hello_goes_where_a_check_came_from_and_waits_there_for_an_answer() {
    let mut pair = Pair::new(Duration::from_millis(10), DtlsVersion::Newest);
    let (mut hellos, mut calls) = (0, 0);
    let begin = pair.now;
    // What the client sends is lost: the host's checks come through, and none of the client's is answered.
    pair.run_until(
        begin + Duration::from_secs(3),
        |from, datagram| {
            hellos += u32::from(from == 0 && is_dtls(datagram));
            if from == 0 { Fate::Lost } else { Fate::Arrives }
        },
        |_| {
            calls += 1;
            false
        },
    );
    assert_eq!(hellos, 1, "one flight, since the source of a check can be forged");
    assert!(calls < 3000, "it is woken {calls} times in 3 s");
    // Once a path is selected it goes there again.
    assert!(pair.run(|_, _| Fate::Arrives, |ends| ends.iter().all(End::is_connected)));
}

#[test]
fn a_handshake_that_is_too_large_for_the_path_begins_anew() {
    for to_host_too in [true, false] {
        let mut pair = Pair::new(Duration::from_millis(10), DtlsVersion::Newest);
        let fits = |from, datagram: &[u8]| {
            let is_limited = from == 1 || to_host_too;
            if is_limited && is_dtls(datagram) && datagram.len() > 548 {
                Fate::Lost
            } else {
                Fate::Arrives
            }
        };
        assert!(pair.run(fits, |ends| ends.iter().all(End::is_connected)), "{to_host_too}");
        carries_messages(&mut pair, fits);
    }
}

#[test]
fn a_path_that_carries_the_handshake_carries_messages() {
    let mut pair = Pair::new(Duration::from_millis(10), DtlsVersion::V12);
    let fits = |_, datagram: &[u8]| match datagram.len() {
        ..=1150 => Fate::Arrives,
        _ => Fate::Lost,
    };
    assert!(pair.run(fits, |ends| ends.iter().all(End::is_connected)));
    carries_messages(&mut pair, fits);
}

/// Messages of many packets come through both ways.
fn carries_messages(pair: &mut Pair, fate: impl FnMut(usize, &[u8]) -> Fate) {
    let now = pair.now;
    for end in &mut pair.ends {
        assert!(end.transport.send(now, CHAT, true, &[7; 20_000]));
    }
    assert!(pair.run(fate, |ends| ends.iter().all(|end| end.messages().len() == 1)));
}

#[test]
fn two_ends_connect_and_carry_media_and_messages_with_either_version_of_dtls() {
    for dtls in [DtlsVersion::Newest, DtlsVersion::V12] {
        let mut pair = Pair::new(Duration::from_millis(10), dtls);
        assert!(pair.run(|_, _| Fate::Arrives, |ends| ends.iter().all(End::is_connected)));
        assert_eq!(pair.ends[0].transport.is_dtls_13(), dtls == DtlsVersion::Newest);
        let profiles = pair.ends.each_ref().map(|end| end.transport.srtp_profile());
        assert_eq!(profiles, [Some(Profile::AeadAes256Gcm); 2]);
        let now = pair.now;
        assert!(pair.ends[0].transport.send(now, CHAT, true, &[7; 200_000]));
        assert!(pair.ends[1].transport.send(now, CHAT, true, b"hello"));
        pair.send_frame(1, 5);
        assert!(pair.run(
            |_, _| Fate::Arrives,
            |[client, host]| {
                client.packets().len() == 5
                    && client.messages() == [b"hello"]
                    && host.messages().len() == 1
            }
        ));
        let [client, host] = &pair.ends;
        assert_eq!(host.messages()[0].len(), 200_000);
        let indices: Vec<_> = client.packets().iter().map(|p| (p.index, p.marker)).collect();
        assert_eq!(indices, [(1, false), (2, false), (3, false), (4, false), (5, true)]);
    }
}

/// The types of the RTCP packets in each datagram by which a client asks for a keyframe and for a lost packet.
fn requests(offers_reduced: bool) -> Vec<Vec<u8>> {
    let alter = |offer: String| match offers_reduced {
        true => offer,
        false => offer.replace("a=rtcp-rsize\r\n", ""),
    };
    let mut pair = Pair::negotiated(Duration::from_millis(10), |_, _| {}, alter);
    assert!(pair.run(|_, _| Fate::Arrives, |ends| ends.iter().all(End::is_connected)));
    pair.ends[0].transport.request_keyframe(VIDEO);
    pair.send_frame(1, 2);
    let mut requests = Vec::new();
    let mut media = 0;
    let fate = |from: usize, datagram: &[u8]| {
        let is_rtcp = crate::rtcp::is_rtcp(datagram);
        if from == 0 && is_rtcp {
            requests.push(datagram.to_vec());
            return Fate::Lost;
        }
        media += usize::from(matches!(datagram.first(), Some(128..=191)) && !is_rtcp);
        if media == 1 { Fate::Lost } else { Fate::Arrives }
    };
    pair.run_until(pair.now + Duration::from_millis(30), fate, |_| false);
    let (_, opener) = pair.ends[1].transport.srtp.as_mut().unwrap();
    let types = requests.iter_mut().map(|packet| {
        let len = opener.open_rtcp(packet).unwrap();
        let mut rest = &packet[..len];
        let mut types = Vec::new();
        while let [_, kind, high, low, ..] = *rest {
            types.push(kind);
            rest = &rest[4 + 4 * usize::from(u16::from_be_bytes([high, low]))..];
        }
        types
    });
    types.collect()
}

#[test]
fn requests_go_alone_only_where_both_ends_know_reduced_rtcp() {
    let (report, name, nack, pli) = (201, 202, 205, 206);
    assert_eq!(requests(true), [[pli], [nack]]);
    assert_eq!(requests(false), [[report, name, pli], [report, name, nack]]);
}

#[test]
fn packets_of_one_size_leave_in_one_batch() {
    let mut pair = Pair::connected(Duration::from_millis(1));
    pair.send_frame(1, 14);
    let transmits: Vec<_> = std::iter::from_fn(|| pair.ends[1].transport.poll_transmit()).collect();
    let media = transmits.iter().filter(|transmit| transmit.segment_size.is_some());
    assert_eq!(media.count(), 1, "{transmits:?}");
}

/// Sends frames of 30 a second and loses some packets. Returns how many were lost on their way out, and how many never
/// came.
fn stream(rtt: Duration, packets: usize, seconds: u32, loss: f64) -> (usize, usize) {
    let mut pair = Pair::connected(rtt / 2);
    let mut random = 1_u64;
    let mut lost = 0;
    let mut fate = |from: usize, datagram: &[u8]| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let is_media = matches!(datagram.first(), Some(128..=191));
        if is_media && ((random >> 33) as f64) < loss * f64::from(1_u32 << 31) {
            lost += usize::from(from == 1);
            return Fate::Lost;
        }
        Fate::Arrives
    };
    let sent = seconds * 30;
    for number in 1..=sent {
        pair.send_frame(number, packets);
        pair.run_until(pair.now + Duration::from_micros(33_333), &mut fate, |_| false);
    }
    // The last packets of all show as missing only when later ones come.
    pair.send_frame(sent + 1, 1);
    let all = sent as usize * packets + 1;
    pair.run(|_, _| Fate::Arrives, |[client, _]| client.packets().len() == all);
    let mut came: Vec<_> = pair.ends[0].packets().iter().map(|p| p.index).collect();
    came.sort_unstable();
    came.dedup();
    assert_eq!(came.len(), pair.ends[0].packets().len(), "a packet came twice");
    (lost, all - came.len())
}

#[test]
fn every_lost_packet_is_repaired_on_a_long_line() {
    // 7 Mbit/s.
    let (lost, missing) = stream(Duration::from_millis(300), 26, 10, 0.003);
    assert!(lost > 10, "{lost} lost");
    assert_eq!(missing, 0, "of {lost} lost");
}

#[test]
fn every_lost_packet_is_repaired_where_many_are_lost() {
    let (lost, missing) = stream(Duration::from_millis(20), 26, 5, 0.05);
    assert!(lost > 100, "{lost} lost");
    assert_eq!(missing, 0, "of {lost} lost");
}

#[test]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
fn addresses_that_servers_tell_have_a_bound() {
    let now = Instant::now();
    let base = SocketAddr::from(([10, 0, 0, 1], 5000));
    let wants = [Want::video("0")];
    let (mut client, _) = Transport::offer(now, config(1, DtlsVersion::Newest), &[base], &wants);
    let told: Vec<_> = (1..=5)
        .map(|n| client.add_reflexive(now, SocketAddr::from(([203, 0, 113, n], 5000)), base))
        .collect();
    assert!(told[..4].iter().all(Option::is_some) && told[4].is_none());
    let nowhere = SocketAddr::from(([239, 0, 0, 1], 5000));
    assert_eq!(client.add_reflexive(now, nowhere, base), None);
}

#[test]
fn either_end_opens_channels_and_closes_them() {
    for from in 0..2 {
        let mut pair = Pair::connected(Duration::from_millis(10));
        let now = pair.now;
        let channel = Channel { label: "more".into(), ..Channel::default() };
        let id = pair.ends[from].transport.open_channel(now, channel).unwrap();
        let is_open = |ends: &[End; 2]| {
            let opened = |event: &Event| matches!(event, Event::ChannelOpened(c) if c.id == id);
            ends[from].events.contains(&Event::ChannelOpen(id))
                && ends[1 - from].events.iter().any(opened)
        };
        assert!(pair.run(|_, _| Fate::Arrives, is_open));
        let now = pair.now;
        assert!(pair.ends[1 - from].transport.send(now, id, false, b"welcome"));
        assert!(pair.run(|_, _| Fate::Arrives, |ends| ends[from].messages() == [b"welcome"]));
        let now = pair.now;
        pair.ends[from].transport.close_channel(now, id);
        let is_closed =
            |ends: &[End; 2]| ends.iter().all(|end| end.events.contains(&Event::ChannelClosed(id)));
        assert!(pair.run(|_, _| Fate::Arrives, is_closed));
    }
}

#[test]
fn a_candidate_that_is_too_long_is_refused() {
    let mut pair = Pair::connected(Duration::from_millis(1));
    let line = |padding: usize| {
        format!("candidate:1 1 udp 1 192.0.2.1 5 typ host {}", "x".repeat(padding))
    };
    let now = pair.now;
    let transport = &mut pair.ends[0].transport;
    assert!(transport.add_remote_candidate(now, line(0).trim()).is_ok());
    assert!(transport.add_remote_candidate(now, &line(crate::sdp::MAX_CANDIDATE_BYTES)).is_err());
}

#[test]
fn media_go_only_where_the_peer_has_answered_a_check() {
    let mut pair = Pair::new(Duration::from_millis(10), DtlsVersion::Newest);
    // The client keeps its answers back: it may have forged where its checks come from.
    let is_answer = |datagram: &[u8]| matches!(datagram, [1, 1, ..]);
    let silent = |from: usize, datagram: &[u8]| match from == 0 && is_answer(datagram) {
        true => Fate::Lost,
        false => Fate::Arrives,
    };
    pair.run_until(pair.now + Duration::from_secs(2), silent, |_| false);
    assert!(pair.ends[1].events.contains(&Event::Connected));
    pair.send_frame(1, 5);
    pair.run_until(pair.now + Duration::from_secs(1), silent, |_| false);
    assert!(!pair.ends[1].events.iter().any(|event| matches!(event, Event::Route(_))));
    assert!(pair.ends[0].packets().is_empty());
}

#[test]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
fn a_large_certificate_is_taken_without_a_panic() {
    let names: Vec<_> = (0..100).map(|n| format!("{n}{}.example", "a".repeat(50))).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, private_key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    assert!(certificate.len() > 4096);
    let large = Certificate::of(dimpl::DtlsCertificate { certificate, private_key });
    for large_at in 0..2 {
        let mut pair = Pair::with(Duration::from_millis(5), |end, config| {
            if end == large_at {
                config.certificate = large.clone();
            }
        });
        // Descriptions name it, so it is the right one.
        assert!(pair.run(|_, _| Fate::Arrives, |ends| ends.iter().all(End::is_connected)));
    }
}

#[test]
fn a_restart_that_nobody_answers_costs_the_path_in_use_nothing() {
    let mut pair = Pair::connected(Duration::from_millis(10));
    let offer = pair.ends[0].transport.restart(pair.now, &[9; 24]);
    assert!(offer.is_some());
    assert_eq!(pair.ends[0].transport.restart(pair.now, &[8; 24]), offer, "an answer fits both");
    for number in 1..=40 {
        pair.send_frame(number, 2);
        pair.run_until(pair.now + Duration::from_secs(1), |_, _| Fate::Arrives, |_| false);
    }
    assert_eq!(pair.ends[0].packets().len(), 80);
    assert!(pair.ends.iter().all(|end| !end.transport.is_closed()));
}

#[test]
fn a_restart_keeps_media_and_messages_going() {
    let mut pair = Pair::connected(Duration::from_millis(10));
    pair.send_frame(1, 3);
    let offer = pair.ends[0].transport.restart(pair.now, &[9; 24]).unwrap();
    let answer = pair.ends[1].transport.accept_restart(pair.now, &offer, &[8; 24]).unwrap();
    pair.ends[0].transport.accept_answer(pair.now, &answer).unwrap();
    pair.run_until(pair.now + Duration::from_secs(2), |_, _| Fate::Arrives, |_| false);
    pair.send_frame(2, 3);
    let now = pair.now;
    assert!(pair.ends[1].transport.send(now, CHAT, true, b"still here"));
    assert!(pair.run(
        |_, _| Fate::Arrives,
        |[client, _]| client.packets().len() == 6 && client.messages() == [b"still here"]
    ));
    let again = pair.ends[1].transport.accept_restart(now, &offer, &[7; 24]);
    assert_eq!(again, Ok(answer), "it may have been lost");
}

#[test]
fn alerts_that_anybody_could_send_do_not_end_a_handshake() {
    let mut pair = Pair::new(Duration::from_millis(10), DtlsVersion::Newest);
    let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0];
    for _ in 0..200 {
        pair.run_until(pair.now + Duration::from_millis(1), |_, _| Fate::Arrives, |_| false);
        let (now, [client_at, host_at]) = (pair.now, [pair.ends[0].at, pair.ends[1].at]);
        pair.ends[0].transport.handle_datagram(now, host_at, client_at, &alert);
        pair.ends[1].transport.handle_datagram(now, client_at, host_at, &alert);
        pair.ends[1].transport.handle_datagram(now, client_at, host_at, &[22; 60]);
    }
    assert!(pair.run(|_, _| Fate::Arrives, |ends| ends.iter().all(End::is_connected)));
}
