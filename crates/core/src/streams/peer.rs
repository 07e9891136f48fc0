//! What a peer has of our streams, and what it is to be told of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use lllsi_proto::invite::TicketId;
use lllsi_proto::rtsmp::Message;

use super::cursor::{Clock, Cursor, LiveCursor, Stream};
use crate::host::ViewerId;

/// How a peer has treated streams before. It stays when it leaves, if it may come back.
#[derive(Debug, Default, Clone)]
pub(super) struct Manners {
    /// Streams that it was too slow for: it is not waited for again.
    pub(super) slow: BTreeSet<u16>,
    /// Those that it was parted with once while it had no link, which is not its fault.
    absent: BTreeSet<u16>,
    /// Of streams that it has no part in.
    pub(super) clocks: BTreeMap<u16, Clock>,
}

impl Manners {
    pub(super) fn is_empty(&self) -> bool {
        self.slow.is_empty() && self.clocks.is_empty()
    }

    pub(super) fn was_too_slow(&mut self, stream: u16, was_on: bool, patience: Duration) {
        if was_on || !self.absent.insert(stream) {
            self.slow.insert(stream);
        } else if let Some(clock) = self.clocks.get_mut(&stream) {
            clock.spare(patience / 2);
        }
    }

    /// The number may be another stream's.
    pub(super) fn forget(&mut self, stream: u16) {
        self.slow.remove(&stream);
        self.absent.remove(&stream);
        self.clocks.remove(&stream);
    }
}

#[derive(Default)]
pub(super) struct Peer {
    pub(super) ticket: Option<TicketId>,
    pub(super) is_up: bool,
    /// To what it has asked. Over a bound it is not heard any more.
    pub(super) answers: VecDeque<Vec<u8>>,
    pub(super) cursors: BTreeMap<u16, Cursor>,
    pub(super) live: BTreeMap<u16, LiveCursor>,
    /// Whose turn it was.
    pub(super) turn: u16,
    pub(super) live_turn: u16,
    /// What it had when it lost its link: it may come back.
    pub(super) kept: BTreeMap<u16, Cursor>,
    pub(super) kept_until: Option<Instant>,
    pub(super) manners: Manners,
    /// The streams that it knows of over this link, and whether as stopped; those that are not there any more; and those of
    /// which it may have to be told something. However many come and go meanwhile, these are few.
    told: BTreeMap<u16, bool>,
    gone: BTreeSet<u16>,
    unsettled: BTreeSet<u16>,
    owes_all_told: bool,
}

impl Peer {
    /// Its link is up: it is told of everything anew.
    pub(super) fn join(
        self,
        ticket: Option<TicketId>,
        kept_until: Instant,
        streams: impl Iterator<Item = u16>,
    ) -> Self {
        let Self { kept, manners, .. } = self;
        let (unsettled, kept_until) = (streams.collect(), Some(kept_until));
        let (is_up, owes_all_told) = (true, true);
        let peer = Self { ticket, is_up, owes_all_told, unsettled, ..Self::default() };
        Self { kept, manners, kept_until, ..peer }
    }

    pub(super) fn lost(&mut self) {
        self.is_up = false;
        self.answers.clear();
        self.told.clear();
        self.gone.clear();
        self.unsettled.clear();
        self.owes_all_told = false;
        self.kept.append(&mut self.cursors);
        self.live.clear();
    }

    /// A stream has come, or gone, or is stopped, or goes on.
    pub(super) fn note(&mut self, stream: u16) {
        if self.is_up {
            self.unsettled.insert(stream);
        }
    }

    /// A stream is not there any more.
    pub(super) fn withdrawn(&mut self, stream: u16) {
        self.forget(stream);
        self.manners.forget(stream);
        self.unsettled.remove(&stream);
        if self.told.remove(&stream).is_some() {
            self.gone.insert(stream);
        }
    }

    /// The clock of its subscription, or of one before, at rest.
    pub(super) fn clock(&self, now: Instant, stream: u16) -> Clock {
        let cursor = self.cursors.get(&stream).or(self.kept.get(&stream));
        let clock = cursor.map(|cursor| cursor.clock).or(self.manners.clocks.get(&stream).copied());
        let mut clock = clock.unwrap_or_default();
        clock.rest(now);
        clock
    }

    /// Forgets where it was when it lost its link: in these streams.
    pub(super) fn take_kept(&mut self, now: Instant) -> Vec<u16> {
        let numbers: Vec<u16> = self.kept.keys().copied().collect();
        for number in &numbers {
            if !self.cursors.contains_key(number) {
                let clock = self.clock(now, *number);
                self.manners.clocks.insert(*number, clock);
            }
        }
        self.kept.clear();
        numbers
    }

    /// How it has treated streams, when it leaves.
    pub(super) fn take_manners(&mut self, now: Instant) -> Manners {
        for number in self.cursors.keys().chain(self.kept.keys()).copied().collect::<Vec<_>>() {
            let clock = self.clock(now, number);
            self.manners.clocks.insert(number, clock);
        }
        std::mem::take(&mut self.manners)
    }

    /// By which its subscription is known to it, if it can be told anything.
    pub(super) fn tag_of(&self, stream: u16) -> Option<u8> {
        let tag = self.cursors.get(&stream).map(|cursor| cursor.tag);
        tag.or(self.live.get(&stream).map(|cursor| cursor.tag)).filter(|_| self.is_up)
    }

    /// Where it is in a reliable stream, with a link or without.
    pub(super) fn cursors_of(&mut self, stream: u16) -> impl Iterator<Item = &mut Cursor> {
        self.cursors.get_mut(&stream).into_iter().chain(self.kept.get_mut(&stream))
    }

    /// Has no part in a stream any more. Tells whether it had.
    pub(super) fn forget(&mut self, stream: u16) -> bool {
        let kept = self.kept.remove(&stream).is_some();
        self.cursors.remove(&stream).is_some() | self.live.remove(&stream).is_some() | kept
    }

    /// The next message that is not a part of a stream.
    pub(super) fn poll(
        &mut self,
        id: ViewerId,
        streams: &BTreeMap<u16, Stream>,
    ) -> Option<Vec<u8>> {
        // A stream may have the name of one that is gone.
        if let Some(number) = self.gone.pop_first() {
            return Some(Message::Withdraw(number).to_bytes());
        }
        while let Some(&number) = self.unsettled.first() {
            let stream = streams.get(&number).filter(|stream| stream.audience.has(id));
            let message = match (stream, self.told.get(&number)) {
                (Some(stream), None) => {
                    self.told.insert(number, false);
                    Message::Announce(number, stream.announcement.clone())
                }
                (Some(stream), Some(&was)) if was != stream.is_stopped => {
                    self.told.insert(number, stream.is_stopped);
                    if stream.is_stopped { Message::Pause(number) } else { Message::Resume(number) }
                }
                _ => {
                    self.unsettled.remove(&number);
                    continue;
                }
            };
            return Some(message.to_bytes());
        }
        if std::mem::take(&mut self.owes_all_told) {
            return Some(Message::AllTold.to_bytes());
        }
        self.answers.pop_front()
    }
}
