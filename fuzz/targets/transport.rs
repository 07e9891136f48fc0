//! What comes over a link that is up, sealed by its peer or made by anybody: the transport goes on or ends, answers within
//! bounds, and never takes what was not sealed.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use lllsi_fuzz::Choices;
use lllsi_rtc::sdp::Want;
use lllsi_rtc::{
    Certificate, Channel, Config, DtlsVersion, Event, Reliability, Track, Transport, testing,
};

const VIDEO: Track = Track(0);

struct Link {
    now: Instant,
    ends: [(Transport, SocketAddr); 2],
}

fn config(seed: u8) -> Config {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    let channel = |id, is_reliable| Channel {
        id,
        ordered: is_reliable,
        negotiated: true,
        reliability: match is_reliable {
            true => Reliability::Reliable,
            false => Reliability::MaxRetransmits(0),
        },
        ..Channel::default()
    };
    Config {
        certificate: MADE.get_or_init(Certificate::generate).clone(),
        dtls: DtlsVersion::Newest,
        channels: vec![channel(0, true), channel(1, false)],
        max_peer_channels: 2,
        random: std::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add(i as u8)),
    }
}

impl Link {
    fn new() -> Self {
        let now = Instant::now();
        let [client_at, host_at] = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 5000)));
        let wants = [Want::video("0"), Want::data("1")];
        let (mut client, offer) = Transport::offer(now, config(1), &[client_at], &wants);
        let (host, answer) = Transport::answer(now, config(2), &[host_at], &offer).expect("sound");
        client.accept_answer(now, &answer).expect("it fits");
        client.take_media();
        let mut link = Self { now, ends: [(client, client_at), (host, host_at)] };
        for _ in 0..60 {
            link.pass(Duration::from_millis(5), true);
        }
        assert!(link.ends.iter().all(|(end, _)| end.srtp_profile().is_some()), "they connect");
        link
    }

    /// Lets time pass. Returns how many bytes each end has sent.
    fn pass(&mut self, time: Duration, is_answered: bool) -> [usize; 2] {
        let mut sent = [0; 2];
        self.now += time;
        for end in 0..2 {
            if self.ends[end].0.timeout().is_some_and(|at| at <= self.now) {
                self.ends[end].0.handle_timeout(self.now);
            }
        }
        for _ in 0..100 {
            let mut is_quiet = true;
            for from in 0..2 {
                let source = self.ends[from].1;
                while let Some(transmit) = self.ends[from].0.poll_transmit() {
                    is_quiet = false;
                    sent[from] += transmit.contents.len();
                    let size = transmit.segment_size.unwrap_or(transmit.contents.len());
                    let (to, at) = &mut self.ends[1 - from];
                    if is_answered && transmit.route.remote == *at {
                        for datagram in transmit.contents.chunks(size) {
                            to.handle_datagram(self.now, source, *at, datagram);
                        }
                    }
                }
                while let Some(event) = self.ends[from].0.poll_event() {
                    drop(event);
                }
            }
            if is_quiet {
                break;
            }
        }
        sent
    }
}

/// Chunks with the right tag and checksum, some with TSNs that are expected.
fn packet(choices: &mut Choices<'_>, hostile: &Transport) -> Vec<u8> {
    let Some((tag, _)) = hostile.sctp_numbers() else { return Vec::new() };
    let base = hostile.sctp_sent().unwrap_or_default();
    let mut chunks = Vec::new();
    for _ in 0..=choices.one(6) {
        let (tsn, stream) = (base.wrapping_add(choices.one(40).into()), choices.one(6).into());
        chunks.push(match choices.one(6) {
            0 | 1 => {
                let (ssn, flags) = (choices.one(4).into(), choices.one(8));
                let kind = [50, 51, 53, 56, 57, 99][usize::from(choices.one(6))];
                testing::data(tsn, stream, ssn, kind, flags, choices.bytes())
            }
            2 => {
                let gaps = [(2 + u16::from(choices.one(9)), 4 + u16::from(choices.one(20)))];
                let seen = hostile.sctp_received().unwrap_or_default();
                testing::sack(seen.wrapping_add(choices.one(3).into()), 1 << 16, &gaps)
            }
            3 => testing::forward(tsn, &[(stream, choices.one(4).into())]),
            4 => testing::reset(tsn, base, &[stream]),
            _ => {
                let (kind, flags) = (choices.one(255), choices.one(255));
                testing::chunk(kind, flags, choices.bytes())
            }
        });
    }
    testing::packet(tag, &chunks)
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let mut link = Link::new();
    // Either end may be the hostile one.
    let hostile = usize::from(choices.one(2));
    let mut index = 1;
    let frame = lllsi_rtc::Frame::from(vec![std::sync::Arc::from(vec![7; 900]); 5]).with_parity(2);
    while !choices.is_empty() && link.ends.iter().all(|(end, _)| !end.is_closed()) {
        let now = link.now;
        let (source, at) = (link.ends[hostile].1, link.ends[1 - hostile].1);
        match choices.one(9) {
            0 => {
                let mut data = choices.bytes().to_vec();
                if let [first, second, ..] = &mut data[..] {
                    (*first, *second) = (0x80 | *first & 0x3f, 192 | *second & 0x1f);
                }
                link.ends[hostile].0.send_raw_rtcp(&data);
            }
            1 => {
                let mut data = choices.bytes().to_vec();
                let ssrc = link.ends[hostile].0.outgoing_ssrc(VIDEO).unwrap_or(7);
                if data.len() >= 12 {
                    data[0] = 0x80 | data[0] & 0x3f;
                    data[2..4].copy_from_slice(&(index as u16).to_be_bytes());
                    data[8..12].copy_from_slice(&ssrc.to_be_bytes());
                }
                link.ends[hostile].0.send_raw_rtp(&data, index);
                index += 1 + u64::from(choices.one(4)) * 1000;
            }
            2 => link.ends[hostile].0.send_raw_sctp(now, choices.bytes()),
            3 | 4 => {
                let packet = packet(&mut choices, &link.ends[hostile].0);
                link.ends[hostile].0.send_raw_sctp(now, &packet);
            }
            5 => {
                let data = choices.bytes();
                let is_theirs = link.ends[1 - hostile].0.handle_datagram(now, source, at, data);
                let is_dtls = matches!(data.first(), Some(20..=63));
                assert!(!is_theirs || is_dtls, "nobody sealed it");
            }
            6 => {
                let other = SocketAddr::from(([10, 0, 0, 3 + choices.one(4)], 5000));
                let signed = choices.one(2) == 0;
                let attributes = [(
                    u16::from(choices.one(60)) | 0x8000 * u16::from(signed),
                    choices.bytes().to_vec(),
                )];
                if let Some((name, password)) = link.ends[hostile].0.check_credentials() {
                    let password = Some(&*password).filter(|_| signed);
                    let check = testing::check(&name, password, &attributes, index);
                    link.ends[1 - hostile].0.handle_datagram(now, other, at, &check);
                }
            }
            7 => {
                let (end, _) = &mut link.ends[1 - hostile];
                end.send_frame(
                    now,
                    VIDEO,
                    index as u32,
                    &frame,
                    lllsi_rtc::Extras { parity: 2, ..lllsi_rtc::Extras::default() },
                );
                end.send(now, choices.one(2).into(), true, choices.bytes());
            }
            _ => {
                let time = Duration::from_millis(u64::from(choices.one(255)) * 4);
                link.pass(time, choices.one(4) > 0);
            }
        }
        link.pass(Duration::ZERO, true);
    }
    while let Some(event) = link.ends[1 - hostile].0.poll_event() {
        assert!(!matches!(event, Event::Connected), "they are connected already");
    }
});
