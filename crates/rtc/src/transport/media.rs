//! RTP and RTCP of all tracks.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Event, FIRST_RTT, MAX_EVENTS, Packet, Track, Transport};
use crate::batch::{Batch, MAX_BYTES};
use crate::rtcp::{self, Packet as Rtcp};
use crate::rtp::Header;
use crate::send::{CNAME, Extras, Frame, Wire};
use crate::{Transmit, parity, receive, send};

/// Of an RTCP packet: with its trailer it fits any path.
const MAX_RTCP_BYTES: usize = 1212;

impl Transport {
    /// Takes RTP packets from now on. Those that come before are as good as lost, and are asked for again.
    pub fn take_media(&mut self) {
        self.takes_media = true;
    }

    /// Tracks that can be sent, in the order of their media lines.
    pub fn outgoing(&self) -> impl Iterator<Item = Track> + '_ {
        self.senders.iter().filter(|(_, sender)| sender.is_active()).map(|(track, _)| *track)
    }

    /// Tracks that can be received, in the order of their media lines.
    pub fn incoming(&self) -> impl Iterator<Item = Track> + '_ {
        self.receivers.iter().map(|(track, _)| *track)
    }

    /// Sends the packets of one frame, with what the peer knows of. Nothing happens before [`Event::Connected`], or if the
    /// peer does not receive the track.
    pub fn send_frame(
        &mut self,
        now: Instant,
        track: Track,
        timestamp: u32,
        frame: &Frame,
        extras: Extras,
    ) {
        self.batches.most = self.pacer.most_together();
        self.with_sender(
            |(of, sender)| *of == track && sender.is_active(),
            |sender, wire| sender.send(now, timestamp, frame, extras, wire),
        );
        self.batches.most = MAX_BYTES;
        while let Some(batch) = self.batches.pop() {
            self.pacer.push(now, batch);
        }
        self.release(now);
        self.send_feedback(now);
    }

    /// Bytes of repairs and parity that were sent since this was last asked, without headers of IP and UDP.
    pub fn take_redundant(&mut self) -> u64 {
        self.senders.iter_mut().map(|(_, sender)| sender.take_redundant()).sum()
    }

    /// How fast frames leave from now on, bytes a second, where they are larger than any path takes at once. Repairs and messages
    /// do not wait, and frames leave the later for them. At first nothing waits.
    pub fn set_pace(&mut self, now: Instant, rate: f64) {
        self.pacer.set_rate(now, rate);
    }

    /// Lets what may leave now.
    pub(super) fn release(&mut self, now: Instant) {
        while let Some(batch) = self.pacer.pop(now) {
            self.transmit(batch);
        }
    }

    fn transmit(&mut self, batch: Batch) {
        let Some(route) = self.route else { return };
        let segment_size = (batch.segment < batch.bytes.len()).then_some(batch.segment);
        self.transmits.push_back(Transmit { route, contents: batch.bytes, segment_size });
    }

    /// Sends at once what was written around the pacer.
    fn send_batches(&mut self, now: Instant) {
        while let Some(batch) = self.batches.pop() {
            self.pacer.spend(now, batch.bytes.len());
            self.transmit(batch);
        }
    }

    /// Whether the peer takes FlexFEC on a track.
    pub fn takes_fec(&self, track: Track) -> bool {
        self.senders.iter().any(|(of, sender)| *of == track && sender.takes_fec())
    }

    /// Sends again what was sent of a track since then, at most so many packets, as repairs that nobody has asked for yet. What
    /// was sent in this moment is left out. Nothing happens while packets of frames wait for their pace: they leave first.
    pub fn repeat(&mut self, now: Instant, track: Track, since: Instant, most: usize) {
        if self.pacer.due().is_some() {
            return;
        }
        self.with_sender(
            |(of, sender)| *of == track && sender.is_active(),
            |sender, wire| sender.repeat(now, since, most, wire),
        );
        self.send_batches(now);
    }

    /// RTP packets of all tracks sent so far, with parity, and with the repairs that the peer asked for: those that it did not ask
    /// for stand in place of others that may be lost.
    pub fn packets_sent(&self) -> u64 {
        self.senders.iter().map(|(_, sender)| sender.written()).sum()
    }

    /// Packets of a track before this one are not waited for any more.
    pub fn forget_before(&mut self, track: Track, index: u64) {
        if let Some((_, receiver)) = self.receivers.iter_mut().find(|(of, _)| *of == track) {
            receiver.forget_before(index);
        }
    }

    /// Asks the peer for a picture that can be decoded without another one (RFC 4585, 6.3.1).
    pub fn request_keyframe(&mut self, track: Track) {
        let Some((_, receiver)) = self.receivers.iter().find(|(of, _)| *of == track) else {
            return;
        };
        let mut packet = Vec::with_capacity(64);
        rtcp::pli(&mut packet, self.own_ssrc(), receiver.ssrc());
        self.send_rtcp(packet);
    }

    /// Sends data of the application's own in one RTCP packet (RFC 3550, 6.7), each with this name. It comes at once or not at
    /// all, and costs less than a message of a channel: nothing is acknowledged. Nothing is sent before
    /// [`Event::Connected`], or if all of it does not fit a packet of 1,212 bytes.
    pub fn send_app<'a>(&mut self, name: [u8; 4], data: impl IntoIterator<Item = &'a [u8]>) {
        let mut packet = Vec::with_capacity(128);
        for data in data {
            rtcp::app(&mut packet, self.own_ssrc(), name, data);
        }
        if packet.len() <= MAX_RTCP_BYTES {
            self.send_rtcp(packet);
        }
    }

    fn with_sender(
        &mut self,
        is_it: impl Fn(&(Track, send::Sender)) -> bool,
        act: impl FnOnce(&mut send::Sender, &mut Wire<'_>),
    ) {
        let Self { senders, srtp, log, batches, .. } = self;
        let sender = senders.iter_mut().find(|sender| is_it(sender));
        let (Some((_, sender)), Some((sealer, _))) = (sender, srtp) else { return };
        if self.route.is_some() && !self.is_closed {
            act(sender, &mut Wire { sealer, log, batches });
        }
    }

    pub(super) fn media_timeout(&self) -> Option<Instant> {
        let senders = self.senders.iter().map(|(_, sender)| sender);
        let reports = senders.flat_map(|sender| [sender.report_due(), sender.tail_due()]).flatten();
        let missing = self.receivers.iter().filter_map(|(_, receiver)| receiver.timeout());
        reports.chain(missing).min()
    }

    /// Sends reports and requests that are due.
    pub(super) fn send_feedback(&mut self, now: Instant) {
        if self.media_timeout().is_none_or(|at| now < at) {
            return;
        }
        let (rtt, ssrc, epoch) = (self.round_trip(), self.own_ssrc(), self.epoch);
        let mut packets = Vec::new();
        for (_, sender) in &mut self.senders {
            let mut packet = Vec::with_capacity(128);
            sender.report(now, epoch, &mut packet);
            packets.push(packet);
        }
        for (_, receiver) in &mut self.receivers {
            let mut packet = Vec::with_capacity(128);
            receiver.ask(now, rtt, ssrc, &mut packet);
            packets.push(packet);
        }
        packets.into_iter().for_each(|packet| self.send_rtcp(packet));
        let has_left = self.pacer.due().is_none();
        let tracks: Vec<_> = self.senders.iter().map(|(track, _)| *track).collect();
        for track in tracks {
            let act = |sender: &mut send::Sender, wire: &mut Wire<'_>| {
                sender.send_tail(now, has_left, wire);
            };
            self.with_sender(|(of, sender)| *of == track && sender.is_active(), act);
        }
        self.send_batches(now);
    }

    fn round_trip(&self) -> Duration {
        self.ice.rtt().unwrap_or(FIRST_RTT)
    }

    pub(super) fn send_rtcp(&mut self, packet: Vec<u8>) {
        if packet.is_empty() {
            return;
        }
        let mut packet = match self.has_reduced_rtcp() || rtcp::is_compound(&packet) {
            true => packet,
            false => self.compound(&packet),
        };
        if let (Some((sealer, _)), Some(route), false) =
            (&mut self.srtp, self.route, self.is_closed)
            && sealer.seal_rtcp(&mut packet)
        {
            self.transmits.push_back(Transmit { route, contents: packet, segment_size: None });
        }
    }

    /// The packet after a report and a name, as RFC 3550, 6.1, wants it.
    fn compound(&self, packet: &[u8]) -> Vec<u8> {
        let mut compound = Vec::with_capacity(packet.len() + 64);
        rtcp::receiver_report(&mut compound, self.own_ssrc(), &[]);
        rtcp::cname(&mut compound, self.own_ssrc(), CNAME);
        compound.extend_from_slice(packet);
        compound
    }

    pub(super) fn handle_rtp(&mut self, now: Instant, datagram: &[u8]) -> bool {
        if !self.is_connected {
            return false;
        }
        match rtcp::is_rtcp(datagram) {
            true => self.handle_rtcp(now, datagram),
            false => self.handle_packet(now, datagram),
        }
    }

    fn handle_packet(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let Some(header) = Header::parse(datagram).filter(|_| self.takes_media) else {
            return false;
        };
        let Self { receivers, srtp, .. } = self;
        let receiver = receivers.iter_mut().find(|(_, receiver)| receiver.takes(&header));
        let (Some((track, receiver)), Some((_, opener))) = (receiver, srtp) else { return false };
        if self.events.len() >= MAX_EVENTS {
            return false;
        }
        let mut packet = datagram.to_vec();
        if header.payload_type == parity::PAYLOAD_TYPE {
            let Some(payload) = receiver.open_parity(&mut packet, &header, opener) else {
                return false;
            };
            let payload = Bytes::from(packet).slice(payload);
            let made = receiver.parity_came(now, &payload, header.timestamp);
            self.events.extend(made.into_iter().map(|made| of_parity(*track, made)));
            return true;
        }
        let Some(received) = receiver.open(now, &mut packet, &header, opener) else {
            return false;
        };
        let receive::Received { index, marker, timestamp, is_repair, payload } = received;
        let payload = Bytes::from(packet).slice(payload);
        let made = receiver.payload_came(now, index, &payload);
        let packet = Packet { index, marker, timestamp, is_repair, payload };
        self.events.push_back(Event::Packet(*track, packet));
        self.events.extend(made.into_iter().map(|made| of_parity(*track, made)));
        self.send_feedback(now);
        true
    }

    fn handle_rtcp(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let Some((_, opener)) = &mut self.srtp else { return false };
        let mut packet = datagram.to_vec();
        let Some(len) = opener.open_rtcp(&mut packet) else { return false };
        packet.truncate(len);
        let packet = Bytes::from(packet);
        for rtcp in rtcp::packets(&packet) {
            self.handle_report(now, &packet, &rtcp);
        }
        true
    }

    /// Takes one of the packets that `compound` consists of.
    fn handle_report(&mut self, now: Instant, compound: &Bytes, packet: &Rtcp<'_>) {
        match packet {
            Rtcp::App(app) if self.events.len() < MAX_EVENTS => {
                let (name, data) = (app.name, compound.slice_ref(app.data));
                self.events.push_back(Event::App { name, data });
            }
            Rtcp::Nack(nack) => {
                let (rtt, ssrc) = (self.round_trip(), nack.media_ssrc);
                self.with_sender(
                    |(_, sender)| sender.ssrc() == ssrc,
                    |sender, wire| sender.repair(now, rtt, nack.sequences(), wire),
                );
                self.send_batches(now);
            }
            Rtcp::Pli { media_ssrc, .. } => self.keyframe_requested(*media_ssrc),
            Rtcp::Fir(fir) => {
                // A request names few streams in good faith; there are no more than media lines.
                for (ssrc, _) in fir.entries().take(crate::sdp::MAX_LINES) {
                    self.keyframe_requested(ssrc);
                }
            }
            Rtcp::TransportCc(feedback) => {
                let results = self.log.results(feedback);
                if !results.is_empty() && self.events.len() < MAX_EVENTS {
                    self.events.push_back(Event::Feedback(results));
                }
            }
            _ => {}
        }
    }

    /// Told once until it is taken, however often it was asked for.
    fn keyframe_requested(&mut self, ssrc: u32) {
        let track = self.senders.iter().find(|(_, sender)| sender.ssrc() == ssrc);
        let Some(event) = track.map(|(track, _)| Event::KeyframeRequest(*track)) else { return };
        if !self.events.contains(&event) {
            self.events.push_back(event);
        }
    }
}

/// A packet that parity has made again.
fn of_parity(track: Track, made: parity::Made) -> Event {
    let parity::Made { index, is_last: marker, timestamp, payload } = made;
    Event::Packet(track, Packet { index, marker, timestamp, is_repair: true, payload })
}
