//! A viewer's link: frames and streams to it, and what it says.

use std::time::{Duration, Instant};

use lllsi_proto::control::{Message, Report};
use lllsi_proto::h264::FrameInfo;
use lllsi_rtc::{Extras, Frame};

use super::{Stage, Step, Viewer};
use crate::host::Event;
use crate::link::{Lane, LinkEvent, PacketSize};
use crate::rate::{Estimate, FrameSize, Limits};
use crate::streams::Streams;
use crate::{CodedFrame, FAR_FUTURE, micros_since};

/// A viewer may ask for a keyframe this often, or once in a round trip if that is longer: the last one may be under way.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(500);
/// While pictures go to a viewer a report comes with each, or when the last one is late.
const REPORT_EXPECTED: Duration = Duration::from_secs(2);
/// A viewer's pings are answered this often: an answer is longer than a ping.
const PONG_PAUSE: Duration = Duration::from_millis(5);

impl Viewer {
    pub(in crate::host) fn send_frame(
        &mut self,
        now: Instant,
        frame: &CodedFrame,
        info: FrameInfo,
        packets: &Frame,
    ) {
        self.needs_keyframe &= !frame.keyframe;
        let extras = self.extras(packets);
        if let (false, true, Stage::Linked(link, _)) =
            (self.needs_keyframe, self.wants_pictures, &mut self.stage)
        {
            let count = packets.payloads.len();
            if let Some(estimate) = &self.estimate {
                link.set_pace(now, estimate.pace() / 8.0);
            }
            link.send_frame(now, frame.captured_at, info, packets, extras);
            if let Some(estimate) = &mut self.estimate {
                // The silence of others shows no cut. What is new goes first.
                let is_heard = extras.prefix || estimate.is_fed_back();
                if let Some((since, most)) = estimate.unheard(now).filter(|_| is_heard) {
                    link.repeat(now, since, most);
                }
                let lengths = || packets.payloads.iter().map(|payload| payload.len() as u32);
                let size = FrameSize {
                    packets: count as u32,
                    bytes: lengths().sum(),
                    first: lengths().next().unwrap_or_default(),
                    parity: extras.parity as u32,
                };
                estimate.sent(now, info.number, size, link.packets_sent());
            }
        }
    }

    /// What it is sent with a frame.
    fn extras(&mut self, packets: &Frame) -> Extras {
        let (count, prefix) = (packets.payloads.len(), self.hello.frame_info);
        let parity = self.wants_parity(count).min(packets.parity());
        let takes_fec = matches!(&self.stage, Stage::Linked(link, _) if link.takes_fec());
        match &mut self.estimate {
            Some(estimate) if takes_fec => {
                Extras { prefix, parity: estimate.fec(count), ..Extras::default() }
            }
            Some(estimate) if !prefix => {
                Extras { delay: estimate.playout_delay(), ..Extras::default() }
            }
            _ => Extras { prefix, parity, ..Extras::default() },
        }
    }

    /// Bytes of repairs and parity that were sent to it since this was last asked.
    pub(in crate::host) fn take_redundant(&mut self) -> u64 {
        match &mut self.stage {
            Stage::Linked(link, _) => link.take_redundant(),
            _ => 0,
        }
    }

    /// Whether its path carries as much as may be under way: another frame would only wait there.
    pub(in crate::host) fn is_full(&mut self, now: Instant) -> bool {
        // One that says nothing does not hold up others for long.
        let speaks = now < self.report.1 + REPORT_EXPECTED;
        let estimate = self.estimate.as_mut().filter(|_| self.wants_pictures && speaks);
        estimate.is_some_and(|estimate| !estimate.has_room(now))
    }

    /// Whether it is silent though it is sent pictures.
    pub(in crate::host) fn is_unheard(&self, now: Instant, silence: Duration) -> bool {
        let estimate = self.estimate.as_ref().filter(|_| self.is_up());
        estimate.is_some_and(|estimate| estimate.silent_for(now) >= silence)
    }

    /// How large the packets of its pictures may be.
    pub(in crate::host) fn packet_size(&self) -> PacketSize {
        match &self.stage {
            Stage::Linked(link, _) => link.packet_size(),
            _ => PacketSize::Full,
        }
    }

    /// Whether it is sent pictures.
    pub(in crate::host) fn watches(&self) -> bool {
        self.is_up() && self.wants_pictures
    }

    /// How many parity packets it should get with a frame of so many.
    pub(in crate::host) fn wants_parity(&self, packets: usize) -> usize {
        // It covers the frame information.
        let takes_it = self.hello.parity && self.hello.frame_info && self.wants_pictures;
        let estimate = self.estimate.as_ref().filter(|_| takes_it);
        estimate.map_or(0, |estimate| estimate.parity(packets))
    }

    /// For a hostile host of the tests.
    #[cfg(any(test, feature = "testing"))]
    pub(in crate::host) fn transport(&mut self) -> Option<&mut lllsi_rtc::Transport> {
        match &mut self.stage {
            Stage::Linked(link, _) => Some(link.transport()),
            _ => None,
        }
    }

    /// Streams may have something for it.
    pub(in crate::host) fn expect_streams(&mut self) {
        if let Stage::Linked(link, _) = &mut self.stage {
            link.expect_streams();
        }
    }

    /// See [`Link::is_at_rest`](crate::link::Link::is_at_rest).
    pub(in crate::host) fn is_at_rest(&self, now: Instant, silence: Duration) -> bool {
        matches!(&self.stage, Stage::Linked(link, _) if link.is_at_rest(now, silence))
    }

    /// Asks it for a sign of life.
    pub(in crate::host) fn ping(&mut self, now: Instant, sent_us: u64) {
        if let Stage::Linked(link, _) = &mut self.stage {
            link.send_pulse(now, &[Message::Ping { sent_us }]);
        }
    }

    /// It wants pictures from now on, or none.
    pub(in crate::host) fn want_pictures(&mut self, wants: bool) {
        if wants && !self.wants_pictures {
            self.needs_keyframe = true;
            self.owed_keyframe = true;
        }
        self.wants_pictures = wants;
    }

    fn keyframe_pause(&self) -> Duration {
        let rtt = match &self.stage {
            Stage::Linked(link, _) => link.rtt(),
            _ => None,
        };
        KEYFRAME_PAUSE.max(rtt.unwrap_or_default())
    }

    /// Asks for the keyframe that it has been waiting for, as soon as it may.
    fn ask_for_keyframe(&mut self, now: Instant) {
        self.owed_keyframe &= self.needs_keyframe && self.wants_pictures;
        if self.owed_keyframe && now >= self.keyframe_at {
            self.owed_keyframe = false;
            self.keyframe_at = now + self.keyframe_pause();
            self.keyframe_wanted = true;
        }
    }

    /// Takes over what happened on the link, and sets when to be woken next.
    pub(in crate::host) fn advance(
        &mut self,
        now: Instant,
        epoch: Instant,
        limits: Limits,
        streams: &mut Streams,
    ) -> Step {
        let mut step = self.take_events(now, epoch, limits, streams);
        let is_new = streams.calm(self.id);
        if let Stage::Linked(link, _) = &mut self.stage {
            link.send_streams(now, is_new, |lane| match lane {
                Lane::Ordered => streams.poll_ordered(self.id),
                Lane::Live => streams.poll_live(now, self.id),
                Lane::Small(most) => streams.poll_small(now, self.id, most),
            });
        }
        // To send takes time to the link too: it may have found that it is over.
        if !matches!(step, Step::Leave(_))
            && let later @ (Step::Leave(_) | Step::Stuck) =
                self.take_events(now, epoch, limits, streams)
        {
            step = later;
        }
        self.collect();
        let link = match &self.stage {
            Stage::Linked(link, _) => link.timeout(),
            _ => None,
        };
        self.ask_for_keyframe(now);
        if self.is_reticent(now) {
            return self.breaks_protocol(now, "it shows no number for its digits");
        }
        let keyframe = self.owed_keyframe.then_some(self.keyframe_at);
        let reveal = self.reveal_by.filter(|_| self.is_waiting());
        let deadline = link.into_iter().chain(keyframe).chain(reveal).min();
        self.deadline = deadline.unwrap_or(now + FAR_FUTURE);
        step
    }

    fn take_events(
        &mut self,
        now: Instant,
        epoch: Instant,
        limits: Limits,
        streams: &mut Streams,
    ) -> Step {
        let mut found = Step::Stay;
        while let Some(event) = self.poll_link() {
            match self.link_event(now, epoch, limits, streams, event) {
                Step::Stay => {}
                step @ Step::Leave(_) => return step,
                step => found = step,
            }
        }
        found
    }

    fn poll_link(&mut self) -> Option<LinkEvent> {
        match &mut self.stage {
            Stage::Linked(link, _) => link.poll_event(),
            _ => None,
        }
    }

    pub(super) fn collect(&mut self) {
        if let Stage::Linked(link, _) = &mut self.stage {
            self.transmits.extend(std::iter::from_fn(|| link.poll_transmit()));
        }
    }

    pub(in crate::host) fn link_event(
        &mut self,
        now: Instant,
        epoch: Instant,
        limits: Limits,
        streams: &mut Streams,
        event: LinkEvent,
    ) -> Step {
        match event {
            LinkEvent::Up(path) => {
                self.path = Some(path);
                self.estimate = Some(Estimate::new(now, limits));
                self.report = (Report::default(), now);
                let name = self.hello.name.clone();
                self.events.push_back(Event::ViewerConnected { id: self.id, name, path });
                self.keyframe_wanted = true;
            }
            LinkEvent::PathChanged(path) => {
                self.path = Some(path);
                self.events.push_back(Event::ViewerPath { id: self.id, path });
            }
            LinkEvent::SizeReduced => (self.needs_keyframe, self.owed_keyframe) = (true, true),
            LinkEvent::KeyframeWanted if !self.wants_pictures => self.hasty += 1,
            LinkEvent::KeyframeWanted if now < self.keyframe_at => self.hasty += 1,
            LinkEvent::KeyframeWanted => {
                self.keyframe_at = now + self.keyframe_pause();
                self.needs_keyframe = true;
                self.keyframe_wanted = true;
            }
            LinkEvent::Message(Message::Ping { .. }) if now < self.pong_at => self.hasty += 1,
            LinkEvent::Message(Message::Ping { sent_us }) => {
                self.pong_at = now + PONG_PAUSE;
                if let Stage::Linked(link, _) = &mut self.stage {
                    let (received_us, newest) = (micros_since(epoch, now), link.newest_sent());
                    link.send_pulse(now, &[Message::Pong { sent_us, received_us, newest }]);
                }
            }
            LinkEvent::Message(Message::Report(report)) => {
                self.report = (report, now);
                if let Some(estimate) = &mut self.estimate {
                    estimate.reported(now, &report);
                }
            }
            LinkEvent::Message(Message::Goodbye { reason }) => return Step::Leave(reason.into()),
            LinkEvent::Feedback(packets) => {
                if let Some(estimate) = &mut self.estimate {
                    estimate.fed_back(now, packets);
                }
            }
            LinkEvent::Message(_) | LinkEvent::Rtp(_) => {}
            LinkEvent::Stuck => return Step::Stuck,
            LinkEvent::Ready => streams.join(now, self.id, self.ticket),
            LinkEvent::Stream(bytes) => {
                let host_us = micros_since(epoch, now);
                // Clocks agree to within a round trip: it may seem not to be made yet.
                let age_us = |made_us| Some(host_us.saturating_sub(made_us));
                streams.receive(now, self.id, bytes, &age_us);
            }
            LinkEvent::Down(error) => return Step::Leave(error.into()),
        }
        Step::Stay
    }
}
