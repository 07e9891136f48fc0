//! What a peer has of our streams, and what it is to be told of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use lllsi_proto::invite::TicketId;
use lllsi_proto::rtsmp::Message;

use super::cursor::{Cursor, LiveCursor, Stream};
use crate::host::ViewerId;

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
    /// Streams that it was too slow for: it is not waited for again.
    pub(super) slow: BTreeSet<u16>,
    /// The streams that it knows of over this link: which run, and whether as stopped.
    told: BTreeMap<u16, (u32, bool)>,
    /// Those of which it may have to be told something. However many come and go meanwhile, they are few.
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
        let Self { kept, slow, .. } = self;
        let (unsettled, kept_until) = (streams.collect(), Some(kept_until));
        let (is_up, owes_all_told) = (true, true);
        Self { ticket, is_up, owes_all_told, unsettled, kept, slow, kept_until, ..Self::default() }
    }

    pub(super) fn lost(&mut self) {
        self.is_up = false;
        self.answers.clear();
        self.told.clear();
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
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        while let Some(&number) = self.unsettled.first() {
            let stream = streams.get(&number).filter(|stream| stream.audience.has(id));
            let is = stream.map(|stream| (stream.announcement.run, stream.is_stopped));
            let message = match (self.told.remove(&number), is, stream) {
                (None, Some((run, _)), Some(stream)) => {
                    self.told.insert(number, (run, false));
                    Message::Announce(number, stream.announcement.clone())
                }
                (Some((was, is_stopped)), Some(is), _) if was == is.0 => {
                    self.told.insert(number, is);
                    match (is_stopped, is.1) {
                        (false, true) => Message::Pause(number),
                        (true, false) => Message::Resume(number),
                        _ => {
                            self.unsettled.remove(&number);
                            continue;
                        }
                    }
                }
                (Some(_), ..) => Message::Withdraw(number),
                (None, ..) => {
                    self.unsettled.remove(&number);
                    continue;
                }
            };
            return Some(message.to_bytes());
        }
        std::mem::take(&mut self.owes_all_told).then(|| Message::AllTold.to_bytes())
    }
}
