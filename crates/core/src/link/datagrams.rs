//! Small real-time messages between native peers go in datagrams of their own, each of which repeats some that went before: SCTP takes
//! loss for a full path, and sends next to nothing where a fifth is lost. Specified in docs/rtsmp.md, section 2.1.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lllsi_proto::rtsmp::{BUNDLE_BYTES, BUNDLE_HEAD_BYTES, BUNDLED_BYTES, BundleHead};

/// Bytes of the largest frame that goes this way.
pub(super) const MAX_FRAME: usize = 500;
/// Messages kept to be sent, and sent again.
const MAX_MESSAGES: usize = 64;
/// Times that bundles were sent at.
const MAX_SENT: usize = 256;
/// What SRTCP, UDP and IP add to a bundle, in bytes.
const OVERHEAD: f64 = 80.0;

/// A message is sent so often that it gets lost this rarely, at most so many times, and not again after so long.
const MAY_FAIL: f64 = 0.009;
const MOST_TIMES: u32 = 4;
const USEFUL: Duration = Duration::from_millis(150);
/// Loss that is assumed before any is known, and how many bundles it is learnt from.
const FIRST_LOST: f64 = 0.05;
const LEARNT_FROM: f64 = 40.0;
/// Without new messages the last ones are sent again after this.
const REPEAT_AFTER: Duration = Duration::from_millis(15);
/// What came is acknowledged within this.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(50);
/// A client shows that it takes bundles this often, until it gets one.
const OFFER_EVERY: Duration = Duration::from_millis(200);
const OFFERS: u32 = 10;

/// Bytes a second that may leave: at first, at least and at most, by how much more after each acknowledgement, and what is left of it
/// where bundles wait on their way for longer than this, or more of them are lost.
const FIRST_RATE: f64 = 48_000.0;
const RATES: (f64, f64) = (8_000.0, 64_000.0);
const MORE: f64 = 1_000.0;
const LESS: f64 = 0.7;
const QUEUE: Duration = Duration::from_millis(100);
const MOST_LOST: f64 = 0.35;
/// What is not used is saved up for so many seconds.
const SAVED_SECONDS: f64 = 0.25;
/// The shortest round trip is looked for over this long.
const WINDOW: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    since: Instant,
    times: u32,
}

/// What one end of a link sends, and has got.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// The other side has sent some: it takes them.
    is_known: bool,
    /// When the next offer is due, and how many there were.
    offer: Option<(Instant, u32)>,
    /// The oldest first; those that were never sent are the last.
    messages: VecDeque<Message>,
    repeat_at: Option<Instant>,
    number: u32,
    sent: VecDeque<(u32, Instant)>,
    /// Of the other side's: the highest number, when it came, and how many came.
    highest: u32,
    came_at: Instant,
    received: u32,
    acknowledge_at: Option<Instant>,
    /// What the other side has said last of the same.
    acknowledged: (u32, u32),
    lost: f64,
    shortest: Option<(Duration, Instant)>,
    rate: f64,
    /// Bytes that may leave, and when that was so.
    credit: f64,
    at: Instant,
}

impl Datagrams {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_known: false,
            offer: None,
            messages: VecDeque::new(),
            repeat_at: None,
            number: 0,
            sent: VecDeque::new(),
            highest: 0,
            came_at: now,
            received: 0,
            acknowledge_at: None,
            acknowledged: (0, 0),
            lost: FIRST_LOST,
            shortest: None,
            rate: FIRST_RATE,
            credit: FIRST_RATE * SAVED_SECONDS,
            at: now,
        }
    }

    /// Shows the other side that this one takes bundles.
    pub(super) fn offer(&mut self, now: Instant) {
        self.offer = Some((now, 0)).filter(|_| !self.is_known);
    }

    /// Whether a message may be handed in.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.credit = (self.credit + passed * self.rate).min(self.rate * SAVED_SECONDS);
        self.is_known && self.credit > 0.0 && self.messages.len() < MAX_MESSAGES
    }

    /// Takes a message with a frame of at most [`MAX_FRAME`] bytes.
    pub(super) fn push(&mut self, now: Instant, bytes: Vec<u8>) {
        self.credit -= bytes.len() as f64;
        self.messages.push_back(Message { bytes, since: now, times: 0 });
    }

    /// A bundle with messages that were not sent yet, if there are some.
    pub(super) fn next_new(&mut self, now: Instant) -> Option<Vec<u8>> {
        let is_new = self.messages.back().is_some_and(|message| message.times == 0);
        is_new.then(|| self.bundle(now))
    }

    /// A bundle, if one is due.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.timeout().filter(|at| now >= *at)?;
        if let Some((_, offers)) = self.offer.filter(|(at, _)| now >= *at) {
            self.offer = (offers + 1 < OFFERS).then_some((now + OFFER_EVERY, offers + 1));
        }
        Some(self.bundle(now))
    }

    /// When the next is.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let offer = self.offer.map(|(at, _)| at);
        [offer, self.repeat_at, self.acknowledge_at].into_iter().flatten().min()
    }

    /// A bundle of what is new, and of what there is room for of what was sent before, the newest of that first. The messages stand in
    /// their order: an older one that comes later is of no use.
    fn bundle(&mut self, now: Instant) -> Vec<u8> {
        let times = self.times();
        self.messages.retain(|message| {
            message.times == 0 || (message.times < times && now < message.since + USEFUL)
        });
        let first_new = self.messages.partition_point(|message| message.times > 0);
        let mut room = BUNDLE_BYTES - BUNDLE_HEAD_BYTES;
        let (mut from, mut to) = (first_new, first_new);
        let takes = |message: &Message| BUNDLED_BYTES + message.bytes.len();
        while let Some(message) = self.messages.get(to)
            && takes(message) <= room
        {
            room -= takes(message);
            to += 1;
        }
        while let Some(message) = from.checked_sub(1).and_then(|at| self.messages.get(at))
            && takes(message) <= room
        {
            room -= takes(message);
            from -= 1;
        }
        let paid: usize = self.messages.range(first_new..to).map(|new| new.bytes.len()).sum();
        self.messages.range_mut(from..to).for_each(|message| message.times += 1);
        self.number += 1;
        if self.sent.len() == MAX_SENT {
            self.sent.pop_front();
        }
        self.sent.push_back((self.number, now));
        self.acknowledge_at = None;
        let is_repeated = self.messages.iter().any(|message| message.times < times);
        self.repeat_at = is_repeated.then_some(now + REPEAT_AFTER);
        let held = now.saturating_duration_since(self.came_at).as_millis();
        let head = BundleHead {
            number: self.number,
            highest: self.highest,
            received: self.received,
            held_ms: held.try_into().unwrap_or(u16::MAX),
        };
        let bundle = head.with(self.messages.range(from..to).map(|message| &message.bytes[..]));
        self.credit -= (bundle.len() - paid) as f64 + OVERHEAD;
        bundle
    }

    /// How often a message is sent.
    fn times(&self) -> u32 {
        let gets_lost = |times: &u32| self.lost.powi(times.cast_signed()) <= MAY_FAIL;
        (1..MOST_TIMES).find(gets_lost).unwrap_or(MOST_TIMES)
    }

    /// Takes a bundle, and returns its messages; `None` if it is none.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        bundle: Bytes,
    ) -> Option<impl Iterator<Item = Bytes> + use<>> {
        let (head, messages) = BundleHead::parse(bundle)?;
        let mut messages = messages.peekable();
        self.received = self.received.wrapping_add(1);
        if head.number > self.highest {
            (self.highest, self.came_at) = (head.number, now);
        }
        self.acknowledged(now, &head);
        // Of what carries nothing only an offer is acknowledged, or that would never end.
        if messages.peek().is_some() || head.highest == 0 {
            self.acknowledge_at.get_or_insert(now + ACKNOWLEDGE_WITHIN);
        }
        (self.is_known, self.offer) = (true, None);
        Some(messages)
    }

    fn acknowledged(&mut self, now: Instant, head: &BundleHead) {
        let (highest, received) = self.acknowledged;
        if head.highest <= highest || head.highest > self.number {
            return;
        }
        self.acknowledged = (head.highest, head.received);
        let sent = f64::from(head.highest - highest);
        let came = f64::from(head.received.wrapping_sub(received)).min(sent);
        let share = (sent / LEARNT_FROM).min(1.0);
        self.lost += (1.0 - came / sent - self.lost) * share;
        let at = self.sent.iter().find(|(number, _)| *number == head.highest);
        let held = Duration::from_millis(head.held_ms.into());
        let took = at.map(|(_, at)| now.saturating_duration_since(*at).saturating_sub(held));
        let mut waits = false;
        if let Some(took) = took {
            let known = self.shortest.filter(|(_, at)| now < *at + WINDOW);
            let shortest = known.filter(|(shortest, _)| *shortest <= took).unwrap_or((took, now));
            self.shortest = Some(shortest);
            waits = took > shortest.0 + QUEUE;
        }
        self.rate = match waits || self.lost > MOST_LOST {
            true => (self.rate * LESS).max(RATES.0),
            false => (self.rate + MORE).min(RATES.1),
        };
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test needs some instant to begin at
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Two ends that know of each other.
    fn two(now: Instant) -> [Datagrams; 2] {
        let [mut client, mut host] = [(); 2].map(|()| Datagrams::new(now));
        client.offer(now);
        assert!(!host.has_room(now), "it does not know yet");
        let offer = client.next_due(now).unwrap();
        assert_eq!(host.receive(now, offer.into()).unwrap().count(), 0);
        assert!(host.has_room(now));
        let answer = host.next_due(now + ACKNOWLEDGE_WITHIN).unwrap();
        assert_eq!(client.receive(now + ACKNOWLEDGE_WITHIN, answer.into()).unwrap().count(), 0);
        assert!(client.has_room(now) && client.offer.is_none());
        [client, host]
    }

    /// Sends a thousand messages, 10 ms apart, of which so many in 256 bundles are lost. Returns how many came before a newer one, and
    /// how many bytes were sent for each.
    fn send(lost: u32) -> (usize, usize) {
        let mut now = Instant::now();
        let [mut from, mut to] = two(now);
        let (mut newest, mut came, mut bytes) = (0, 0, 0);
        for number in 1..=1000_u32 {
            now += ms(10);
            if let Some(acknowledgement) = to.next_due(now) {
                from.receive(now, acknowledgement.into()).unwrap().for_each(drop);
            }
            assert!(from.has_room(now), "{number}");
            from.push(now, number.to_be_bytes().to_vec());
            let bundle = from.next_new(now).unwrap();
            assert!(from.next_new(now).is_none());
            bytes += bundle.len();
            if number.wrapping_mul(2_654_435_761) >> 24 < lost {
                continue;
            }
            for message in to.receive(now, bundle.into()).unwrap() {
                let number = u32::from_be_bytes(message[..].try_into().unwrap());
                came += usize::from(number > newest);
                newest = newest.max(number);
            }
        }
        (came, bytes / 1000)
    }

    #[test]
    fn what_is_lost_comes_with_the_next_and_nothing_is_repeated_where_nothing_is() {
        let (came, bytes) = send(0);
        assert!(came == 1000 && bytes <= BUNDLE_HEAD_BYTES + 8, "{came}, {bytes} bytes each");
        let (came, bytes) = send(51);
        assert!(came >= 980 && bytes > BUNDLE_HEAD_BYTES + 12, "{came}, {bytes} bytes each");
    }

    #[test]
    fn the_last_is_repeated_by_itself_and_then_there_is_rest() {
        let mut now = Instant::now();
        let [mut client, mut host] = two(now);
        client.push(now, vec![7; 100]);
        let _lost = client.next_new(now).unwrap();
        now += REPEAT_AFTER;
        let again = client.next_due(now).unwrap();
        assert_eq!(host.receive(now, again.into()).unwrap().count(), 1);
        now += ACKNOWLEDGE_WITHIN;
        let acknowledgement = host.next_due(now).unwrap();
        assert_eq!(client.receive(now, acknowledgement.into()).unwrap().count(), 0);
        assert_eq!((client.timeout(), host.timeout()), (None, None));
    }

    #[test]
    fn an_offer_is_answered_again_if_the_answer_was_lost() {
        let mut now = Instant::now();
        let [mut client, mut host] = [(); 2].map(|()| Datagrams::new(now));
        client.offer(now);
        for _ in 0..2 {
            let offer = client.next_due(now).unwrap();
            host.receive(now, offer.into()).unwrap().for_each(drop);
            now += OFFER_EVERY;
            assert!(host.next_due(now).is_some());
        }
    }

    #[test]
    fn one_that_never_answers_is_offered_nothing_for_ever() {
        let mut now = Instant::now();
        let mut client = Datagrams::new(now);
        client.offer(now);
        let mut offers = 0;
        while let Some(at) = client.timeout() {
            now = at;
            offers += u32::from(client.next_due(now).is_some());
        }
        assert!(offers == OFFERS && !client.has_room(now));
    }

    #[test]
    fn a_full_path_gets_less_and_what_has_no_room_is_not_taken() {
        let mut now = Instant::now();
        let [mut from, mut to] = two(now);
        // A queue grows by 60 ms with each bundle.
        for late in 1..40 {
            now += ms(1000);
            from.push(now, vec![7; 400]);
            let bundle = from.next_new(now).unwrap();
            to.receive(now, bundle.into()).unwrap().for_each(drop);
            let acknowledgement = to.next_due(now + ACKNOWLEDGE_WITHIN).unwrap();
            let at = now + ACKNOWLEDGE_WITHIN + ms(20 + 60 * late);
            from.receive(at, acknowledgement.into()).unwrap().for_each(drop);
        }
        assert!(from.rate < FIRST_RATE / 2.0, "{}", from.rate);
        let mut taken = 0;
        while from.has_room(now) {
            from.push(now, vec![7; MAX_FRAME]);
            taken += 1;
        }
        assert!(taken <= MAX_MESSAGES);
        while let Some(bundle) = from.next_new(now) {
            assert!(bundle.len() <= BUNDLE_BYTES);
        }
    }

    #[test]
    fn an_end_that_lies_about_what_came_changes_nothing_of_ours() {
        let now = Instant::now();
        let [mut client, _] = two(now);
        for head in [
            BundleHead { number: u32::MAX, highest: u32::MAX, received: 0, held_ms: 0 },
            BundleHead { number: 0, highest: 1, received: u32::MAX, held_ms: u16::MAX },
        ] {
            client.receive(now, head.with([]).into()).unwrap().for_each(drop);
            assert!((0.0..=1.0).contains(&client.lost) && client.rate >= RATES.0);
        }
        assert!(client.receive(now, Bytes::from_static(&[0; 3])).is_none());
    }
}
