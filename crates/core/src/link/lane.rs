//! The ways that streams go, and how much each is given at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lllsi_proto::rtsmp::{BUNDLE_NAME, LIVE_CHANNEL, STREAMS_CHANNEL};

use super::{Lane, Link, LinkError, LinkEvent, Role, datagrams};

/// Bytes that the channel of reliable streams may hold: docs/rtsmp.md, section 2.
const ORDERED_BUFFER: usize = 256 << 10;
/// Bytes that the channel of real-time frames may hold.
const LIVE_BUFFER: usize = 64 << 10;
/// So much is never a queue: the congestion window is not smaller.
const LITTLE: usize = 3 << 10;
/// How much longer than the shortest a delivery may take before it is taken for a queue. SCTP acknowledges every second packet,
/// others after up to 200 ms.
const SLACK: Duration = Duration::from_millis(50);
/// The shortest time to delivery is looked for over this long.
const WINDOW: Duration = Duration::from_secs(10);
/// Assumed before anything was delivered.
const FIRST: Duration = Duration::from_millis(250);

/// Watches the channel. SCTP sends as fast as its congestion window lets it, and queues the rest: a frame is better off waiting
/// here, where a newer one takes its place.
#[derive(Debug, Default)]
pub(super) struct Queue {
    written: u64,
    /// Where the messages that are under way end, and when they were written.
    under_way: VecDeque<(u64, Instant)>,
    shortest: Option<(Duration, Instant)>,
}

impl Queue {
    /// Takes note of what has been delivered, given how many bytes the channel holds: to be called as soon as that may change.
    fn note(&mut self, now: Instant, held: usize) {
        let delivered = self.written.saturating_sub(held as u64);
        while let Some(&(end, at)) = self.under_way.front().filter(|(end, _)| *end <= delivered) {
            self.under_way.pop_front();
            let (took, is_last) = (now.saturating_duration_since(at), end == delivered);
            // Others may have been delivered before.
            let is_shorter =
                self.shortest.is_none_or(|(shortest, at)| took < shortest || now > at + WINDOW);
            if is_last && is_shorter {
                self.shortest = Some((took, now));
            }
        }
    }

    /// Whether a message written now would soon be on its way, given how many bytes the channel holds.
    pub(super) fn has_room(&mut self, now: Instant, held: usize) -> bool {
        self.note(now, held);
        let patience = self.shortest.map_or(FIRST, |(shortest, _)| shortest * 3 / 2) + SLACK;
        let is_stuck = self.under_way.front().is_some_and(|(_, at)| now > *at + patience);
        held < LITTLE || (held < LIVE_BUFFER && !is_stuck)
    }

    pub(super) fn wrote(&mut self, now: Instant, bytes: usize) {
        self.written += bytes as u64;
        self.under_way.push_back((self.written, now));
    }
}

impl Link {
    /// Sends what there is for the two channels of streams, as long as they have room for it. `is_new`: there may be something
    /// that was not there at the last call. Without it only what had no room then is looked for.
    pub(crate) fn send_streams(
        &mut self,
        now: Instant,
        is_new: bool,
        mut next: impl FnMut(Lane) -> Option<Vec<u8>>,
    ) {
        self.streams_wait |= is_new;
        if !self.live_queue.under_way.is_empty() {
            self.live_queue.note(now, self.transport.buffered(LIVE_CHANNEL));
        }
        if !self.streams_wait || !self.is_ready || !self.is_up() {
            return;
        }
        let mut sent = false;
        self.streams_wait = false;
        while self.datagrams.has_room(now)
            && let Some(message) = next(Lane::Small(datagrams::MAX_FRAME))
        {
            self.datagrams.push(now, message);
        }
        while let Some(bundle) = self.datagrams.next_new(now) {
            sent = true;
            self.transport.send_app(BUNDLE_NAME, [&bundle[..]]);
        }
        for (lane, channel) in [(Lane::Live, LIVE_CHANNEL), (Lane::Ordered, STREAMS_CHANNEL)] {
            loop {
                let held = self.transport.buffered(channel);
                let has_room = match channel {
                    LIVE_CHANNEL => self.live_queue.has_room(now, held),
                    _ => held < ORDERED_BUFFER,
                };
                if !has_room {
                    self.streams_wait = true;
                    break;
                }
                let Some(message) = next(lane) else { break };
                sent = true;
                if !self.transport.write(channel, true, &message) {
                    let detail = "a channel did not take what it had room for".into();
                    return self.fail(LinkError::Transport(detail));
                }
                if lane == Lane::Live {
                    self.live_queue.wrote(now, message.len());
                }
            }
        }
        if sent {
            self.transport.flush(now);
            self.drain(now);
        }
    }

    /// Streams may have something to send at the next call of [`Self::send_streams`].
    pub(crate) fn expect_streams(&mut self) {
        self.streams_wait = true;
    }

    /// The other side takes what we send on reliable channels: before, it would drop it.
    pub(super) fn ready(&mut self) {
        if !self.is_ready {
            self.is_ready = true;
            if self.role == Role::Client {
                self.datagrams.offer(self.heard_at);
            }
            self.events.push_back(LinkEvent::Ready);
        }
    }
}
