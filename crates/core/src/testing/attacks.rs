//! What a hostile viewer, a stranger and a third party send to a host.

use std::net::SocketAddr;
use std::time::Instant;

use lllsi_proto::control::{APP_NAME, CONTROL_CHANNEL, Message, PULSE_CHANNEL, Report};
use lllsi_proto::rtsmp::{BUNDLE_NAME, BundleHead, FRAME};
use lllsi_rtc::testing::{self, BEGIN, UNORDERED, WHOLE};
use lllsi_rtc::{Track, Transport, rtcp};

/// A datagram and the address on it.
pub type Datagram = (SocketAddr, Vec<u8>);

/// What an attack leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Nothing,
    /// The end of the attacker's link.
    Link,
    /// Repairs, within their budget.
    Repairs,
    /// Checks of the host's own, for each address at which the viewer seems to be.
    Checks,
}

/// The addresses of a viewer, twelve checks for each in two seconds, and an answer.
pub const MOST_CHECKS: usize = 64 * 13 * 160;

pub struct Attack {
    /// Its kind, a colon, and what it is.
    pub name: &'static str,
    pub end: End,
    pub make: fn(&mut Attacker<'_>) -> Vec<Datagram>,
    /// Whether the attacker goes on to speak SCTP, ICE and DTLS as it should.
    pub is_live: bool,
}

/// What one who attacks has at hand.
pub struct Attacker<'a> {
    pub transport: &'a mut Transport,
    pub now: Instant,
    /// How often it has sent something before.
    pub number: u32,
    pub at: SocketAddr,
    pub honest_at: SocketAddr,
    /// What the addresses of strangers begin with.
    pub strangers: [u8; 2],
    /// What the honest viewer has sent before.
    pub overheard: &'a [Vec<u8>],
}

impl Attacker<'_> {
    /// What the transport has to send now.
    fn sealed(&mut self) -> Vec<Datagram> {
        let at = self.at;
        let transmits = std::iter::from_fn(|| self.transport.poll_transmit());
        transmits.map(|transmit| (at, transmit.contents)).collect()
    }

    fn rtcp(&mut self, packet: &[u8]) -> Vec<Datagram> {
        self.transport.send_raw_rtcp(packet);
        self.sealed()
    }

    fn app(&mut self, count: usize, name: [u8; 4], data: &[u8]) -> Vec<Datagram> {
        let mut packet = Vec::new();
        (0..count).for_each(|_| rtcp::app(&mut packet, 1, name, data));
        self.rtcp(&packet)
    }

    fn sctp(&mut self, chunks: &[Vec<u8>]) -> Vec<Datagram> {
        let now = self.now;
        let (tag, _) = self.transport.sctp_numbers().expect("they are connected");
        self.transport.send_raw_sctp(now, &testing::packet(tag, chunks));
        self.sealed()
    }

    /// The TSN of a chunk: those up to 100 may have been used by honest messages.
    fn tsn(&mut self, offset: u32) -> u32 {
        let sent = self.transport.sctp_sent().expect("they are connected");
        sent.wrapping_add(1 + offset)
    }

    /// As many chunks as a packet holds, from this TSN on.
    fn chunks(
        &mut self,
        count: u32,
        step: u32,
        make: impl Fn(u32, u32) -> Vec<u8>,
    ) -> Vec<Datagram> {
        let first = self.number * count;
        let base = self.tsn(0);
        let chunks: Vec<_> =
            (first..first + count).map(|n| make(base.wrapping_add(n * step), n)).collect();
        self.sctp(&chunks)
    }

    fn messages(&mut self, count: u32, message: &[u8]) -> Vec<Datagram> {
        self.chunks(count, 1, |tsn, _| {
            testing::data(tsn, PULSE_CHANNEL, 0, 53, WHOLE | UNORDERED, message)
        })
    }

    fn video(&mut self) -> u32 {
        // A hostile host receives none.
        self.transport.incoming_ssrc(Track(0)).unwrap_or(1)
    }

    /// Bytes that look random, and are others each time.
    fn noise(&self, len: usize) -> Vec<u8> {
        let mut random = testing::Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(self.number + 1));
        (0..len).map(|_| random.next() as u8).collect()
    }

    fn rtp(&self, source: SocketAddr) -> Vec<Datagram> {
        let mut packet = self.noise(50);
        packet[..2].copy_from_slice(&[0x80, 96]);
        vec![(source, packet)]
    }

    fn stranger(&self) -> SocketAddr {
        let [first, second] = self.strangers;
        let [_, _, high, low] = self.number.to_be_bytes();
        SocketAddr::from(([first, second, high, low], 1024 + self.number as u16 % 60_000))
    }

    pub fn other_port(&self) -> SocketAddr {
        SocketAddr::new(self.at.ip(), 6000 + (self.number % 50_000) as u16)
    }

    /// A check with the user name that reaches the hostile viewer's link, signed or not.
    pub fn check(&mut self, is_signed: bool, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let seed = self.number.into();
        let (name, password) = self.transport.check_credentials().expect("they are connected");
        testing::check(&name, Some(&*password).filter(|_| is_signed), attributes, seed)
    }

    fn dtls(&self, first: u8, len: usize) -> Vec<Datagram> {
        let mut record = self.noise(len);
        record[0] = first;
        if first < 32 {
            record[1..5].copy_from_slice(&[254, 253, 0, 0]);
            record[11..13].copy_from_slice(&(len as u16 - 13).to_be_bytes());
        }
        vec![(self.honest_at, record)]
    }
}

/// 345 empty attributes that nobody knows: some 1,400 bytes.
fn many_attributes() -> Vec<(u16, Vec<u8>)> {
    (0..330).map(|n| (0x8100 + n, Vec::new())).collect()
}

/// As many as are read, long ones.
fn long_attributes() -> Vec<(u16, Vec<u8>)> {
    (0..20).map(|n| (0x8100 + n, vec![7; 60])).collect()
}

/// A packet of RTCP's type 205 or 206.
fn feedback(kind: u8, format: u8, body: &[u8]) -> Vec<u8> {
    let words = (body.len() / 4) as u16;
    [&[0x80 | format, kind], &words.to_be_bytes()[..], body].concat()
}

fn nack(ssrc: u32, entries: usize, first: u16) -> Vec<u8> {
    let mut body = [1_u32.to_be_bytes(), ssrc.to_be_bytes()].concat();
    for n in 0..entries {
        body.extend_from_slice(&first.wrapping_add(n as u16 * 17).to_be_bytes());
        body.extend_from_slice(&[0xff; 2]);
    }
    feedback(205, 1, &body)
}

/// Feedback of a few bytes that claims to report on 8191 packets.
fn transport_cc(ssrc: u32) -> Vec<u8> {
    let mut body = [1_u32.to_be_bytes(), ssrc.to_be_bytes()].concat();
    body.extend_from_slice(&[0, 0, 0x1f, 0xff, 0, 0, 0, 0, 0x1f, 0xff, 0, 0]);
    feedback(205, 15, &body)
}

const fn attack(
    name: &'static str,
    end: End,
    make: fn(&mut Attacker<'_>) -> Vec<Datagram>,
) -> Attack {
    Attack { name, end, make, is_live: false }
}

/// One that goes on to acknowledge and answer all that it gets.
const fn live(name: &'static str, make: fn(&mut Attacker<'_>) -> Vec<Datagram>) -> Attack {
    Attack { name, end: End::Nothing, make, is_live: true }
}

pub const ATTACKS: &[Attack] = &[
    attack("RTP: on many SSRCs", End::Nothing, |a| a.rtp(a.at)),
    attack("RTP: with the honest viewer's address", End::Nothing, |a| a.rtp(a.honest_at)),
    attack("RTP: of strangers", End::Nothing, |a| a.rtp(a.stranger())),
    attack("RTP: RTCP that nobody sealed", End::Nothing, |a| {
        let mut packet = a.noise(60);
        packet[..2].copy_from_slice(&[0x80, 205]);
        packet[56] |= 0x80;
        vec![(a.honest_at, packet)]
    }),
    attack("RTCP: NACK of 1,232 bytes", End::Repairs, |a| {
        let packet = nack(a.video(), 300, (a.number as u16).wrapping_mul(300));
        a.rtcp(&packet)
    }),
    attack("RTCP: NACK of the newest packets", End::Repairs, |a| {
        let packet = nack(a.video(), 1, a.number as u16 % 600);
        a.rtcp(&packet)
    }),
    attack("RTCP: PLI", End::Nothing, |a| {
        let mut packet = Vec::new();
        rtcp::pli(&mut packet, 1, a.video());
        a.rtcp(&packet)
    }),
    attack("RTCP: FIR, 32 at once with many entries", End::Nothing, |a| {
        let mut body = [1_u32.to_be_bytes(), [0; 4]].concat();
        for _ in 0..4 {
            body.extend_from_slice(&a.video().to_be_bytes());
            body.extend_from_slice(&[a.number as u8, 0, 0, 0]);
        }
        let packet = feedback(206, 4, &body).repeat(28);
        a.rtcp(&packet)
    }),
    attack("RTCP: feedback on thousands of packets", End::Nothing, |a| {
        let packet = transport_cc(a.video());
        a.rtcp(&packet)
    }),
    attack("RTCP: reports", End::Nothing, |a| {
        let mut packet = Vec::new();
        for _ in 0..40 {
            rtcp::receiver_report(&mut packet, a.number, &[]);
        }
        a.rtcp(&packet)
    }),
    attack("RTCP: from an SSRC of its own each time", End::Nothing, |a| {
        let mut packet = Vec::new();
        rtcp::receiver_report(&mut packet, a.number, &[]);
        a.rtcp(&packet)
    }),
    attack("SCTP: on 10,000 streams", End::Link, |a| {
        a.chunks(40, 1, |tsn, n| testing::data(tsn, 10 + (n % 10_000) as u16, 0, 53, WHOLE, &[7]))
    }),
    attack("SCTP: channels are opened", End::Link, |a| {
        let open = [3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, b'x'];
        a.chunks(1, 1, |tsn, n| testing::data(tsn, 9 + 2 * n as u16, 0, 50, WHOLE, &open))
    }),
    attack("SCTP: tiny fragments in order", End::Link, |a| {
        a.chunks(40, 1, |tsn, n| {
            let flags = if n == 0 { BEGIN } else { 0 };
            testing::data(tsn, CONTROL_CHANNEL, 0, 53, flags, &[7])
        })
    }),
    attack("SCTP: tiny fragments with gaps", End::Link, |a| {
        a.chunks(40, 2, |tsn, _| testing::data(tsn + 1, CONTROL_CHANNEL, 0, 53, 0, &[7]))
    }),
    attack("SCTP: tiny messages above a gap", End::Nothing, |a| {
        a.chunks(40, 1, |tsn, _| {
            testing::data(tsn + 1, PULSE_CHANNEL, 0, 53, WHOLE | UNORDERED, &[0xff])
        })
    }),
    attack("SCTP: tiny messages with gaps", End::Nothing, |a| {
        a.chunks(40, 2, |tsn, _| {
            testing::data(tsn + 1, PULSE_CHANNEL, 0, 53, WHOLE | UNORDERED, &[0xff])
        })
    }),
    attack("SCTP: large messages that wait for a gap", End::Nothing, |a| {
        a.chunks(1, 1, |tsn, n| {
            testing::data(tsn + 1, CONTROL_CHANNEL, n as u16, 53, WHOLE, &[7; 1100])
        })
    }),
    attack("SCTP: INIT", End::Nothing, |a| {
        let init = [1, 0, 0, 20, 0, 0, 0, 9, 0, 2, 0, 0, 0, 8, 0, 8, 0, 0, 0, 9];
        a.sctp(&[init.to_vec()])
    }),
    attack("SCTP: COOKIE ECHO", End::Nothing, |a| {
        let cookie = a.noise(40);
        a.sctp(&[testing::chunk(10, 0, &cookie)])
    }),
    attack("SCTP: HEARTBEAT", End::Nothing, |a| a.sctp(&[testing::heartbeat(8)])),
    attack("SCTP: SACK of what was not sent", End::Link, |a| {
        let gaps: Vec<_> = (0..250).map(|n| (2 * n + 2, 2 * n + 2)).collect();
        let seen = a.transport.sctp_received().expect("they are connected");
        a.sctp(&[testing::sack(seen, 0, &gaps)])
    }),
    attack("SCTP: SACK that never confirms what is under way", End::Nothing, |a| {
        if a.number % 4 == 0 {
            let (base, first) = (a.tsn(0), a.number / 4 * 20);
            let ping = Message::Ping { sent_us: 1 }.to_bytes();
            let flags = WHOLE | UNORDERED;
            let data = |n| testing::data(base.wrapping_add(n), PULSE_CHANNEL, 0, 53, flags, &ping);
            return a.sctp(&(first..first + 20).map(data).collect::<Vec<_>>());
        }
        let seen = a.transport.sctp_received().expect("they are connected");
        a.sctp(&[testing::sack(seen, 1 << 20, &[])])
    }),
    attack("SCTP: resets out of sequence", End::Nothing, |a| {
        let (sequence, last) = (a.number, a.tsn(0));
        a.sctp(&[testing::reset(sequence, last, &[CONTROL_CHANNEL])])
    }),
    attack("SCTP: ABORT", End::Link, |a| a.sctp(&[testing::chunk(6, 0, &[])])),
    attack("SCTP: packets that make no sense", End::Link, |a| {
        let noise = a.noise(80);
        let now = a.now;
        a.transport.send_raw_sctp(now, &noise);
        a.sealed()
    }),
    attack("control: pings, many in a packet", End::Nothing, |a| {
        let ping = Message::Ping { sent_us: a.number.into() }.to_bytes();
        a.messages(30, &ping)
    }),
    attack("control: pings, one in a packet", End::Nothing, |a| {
        let ping = Message::Ping { sent_us: a.number.into() }.to_bytes();
        a.messages(1, &ping)
    }),
    live("control: pings, and answers are acknowledged", |a| {
        let (now, ping) = (a.now, Message::Ping { sent_us: a.number.into() }.to_bytes());
        for _ in 0..30 {
            a.transport.write(PULSE_CHANNEL, true, &ping);
        }
        a.transport.flush(now);
        a.sealed()
    }),
    attack("control: reports", End::Nothing, |a| {
        let report = Report { packets: a.number, bytes: u64::MAX, ..Report::default() };
        a.messages(10, &Message::Report(report).to_bytes())
    }),
    attack("control: pings as feedback", End::Nothing, |a| {
        let ping = Message::Ping { sent_us: a.number.into() }.to_bytes();
        a.app(30, APP_NAME, &ping)
    }),
    attack("control: reports as feedback", End::Nothing, |a| {
        let report = Report { packets: a.number, bytes: u64::MAX, ..Report::default() };
        a.app(20, APP_NAME, &Message::Report(report).to_bytes())
    }),
    attack("streams: bundles of the smallest messages", End::Nothing, |a| {
        let head = BundleHead { number: a.number, highest: a.number, ..BundleHead::default() };
        let message = [FRAME, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        a.app(1, BUNDLE_NAME, &head.with([&message[..]; 50]))
    }),
    attack("RTCP: data of unknown applications", End::Nothing, |a| a.app(30, *b"WHAT", &[7; 20])),
    attack("control: confirmations", End::Nothing, |a| {
        let confirm = Message::Confirm { mac: [a.number as u8; 32], verified: false };
        a.messages(10, &confirm.to_bytes())
    }),
    attack("control: what makes no sense", End::Nothing, |a| {
        let noise = a.noise(20);
        a.messages(15, &[&[0xee], &noise[..]].concat())
    }),
    attack("STUN: many attributes, of strangers", End::Nothing, |a| {
        let check = testing::check("nobody:here", None, &many_attributes(), a.number.into());
        vec![(a.stranger(), check)]
    }),
    attack("STUN: many attributes, not signed", End::Nothing, |a| {
        vec![(a.at, a.check(false, &many_attributes()))]
    }),
    attack("STUN: many attributes, signed", End::Nothing, |a| {
        vec![(a.at, a.check(true, &many_attributes()))]
    }),
    attack("STUN: long attributes, of strangers, not signed", End::Nothing, |a| {
        vec![(a.stranger(), a.check(false, &long_attributes()))]
    }),
    attack("STUN: long attributes, signed", End::Nothing, |a| {
        vec![(a.at, a.check(true, &long_attributes()))]
    }),
    attack("STUN: signed, from one port", End::Nothing, |a| vec![(a.at, a.check(true, &[]))]),
    attack("STUN: signed, from many ports", End::Checks, |a| {
        vec![(a.other_port(), a.check(true, &[]))]
    }),
    attack("STUN: signed, with others' addresses", End::Checks, |a| {
        vec![(a.stranger(), a.check(true, &[]))]
    }),
    attack("STUN: nominates many ports", End::Checks, |a| {
        vec![(a.other_port(), a.check(true, &[(0x25, Vec::new())]))]
    }),
    attack("STUN: claims the host's role", End::Nothing, |a| {
        vec![(a.at, a.check(true, &[(0x8029, vec![0xff; 8])]))]
    }),
    attack("STUN: answers that nobody asked for", End::Nothing, |a| {
        let mut answer = a.check(true, &[]);
        answer[0] = 1;
        vec![(a.honest_at, answer)]
    }),
    attack("STUN: what others have sent, with strangers' addresses", End::Checks, |a| {
        let checks: Vec<_> = a.overheard.iter().filter(|data| data[0] < 4).collect();
        vec![(a.stranger(), checks[a.number as usize % checks.len()].clone())]
    }),
    attack("DTLS: all that others have sent, again", End::Nothing, |a| {
        let again = &a.overheard[a.number as usize % a.overheard.len()];
        vec![(a.honest_at, again.clone())]
    }),
    attack("DTLS: alerts", End::Nothing, |a| {
        let mut alert = a.dtls(21, 15);
        alert[0].1[13..].copy_from_slice(&[1, 0]);
        alert
    }),
    attack("DTLS: handshakes", End::Nothing, |a| a.dtls(22, 300)),
    attack("DTLS: hellos", End::Nothing, |a| {
        let mut hello = a.dtls(22, 120);
        hello[0].1[13..25].copy_from_slice(&[1, 0, 0, 95, 0, 0, 0, 0, 0, 0, 0, 95]);
        hello
    }),
    attack("DTLS: change of cipher", End::Nothing, |a| a.dtls(20, 14)),
    attack("DTLS: acknowledgements", End::Nothing, |a| a.dtls(26, 40)),
    attack("DTLS: records that nobody sealed", End::Nothing, |a| a.dtls(23, 100)),
    attack("DTLS: the same of version 1.3", End::Nothing, |a| {
        let mut record = a.dtls(0x2f, 100);
        record[0].1[3..5].copy_from_slice(&[0, 95]);
        record
    }),
];
