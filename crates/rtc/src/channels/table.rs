//! The channels of a link by id.

use super::config::{Channel, Reliability};
use super::outgoing::Waiting;
use sctp_proto::ReliabilityType;

/// Where a channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The association is not established.
    Waiting,
    /// OPEN was sent.
    Asked,
    /// Messages go both ways.
    Open,
    /// This end closed it.
    Closing,
    /// The peer reset it.
    Closed,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) channel: Channel,
    pub(super) state: State,
    pub(super) waiting: Waiting,
    /// A message was refused, and [`Event::Writable`](super::Event::Writable) is owed.
    pub(super) refused: bool,
    by_peer: bool,
}

/// Entries sorted by channel id.
#[derive(Debug, Default)]
pub(super) struct Table {
    sorted: Vec<Entry>,
    by_peer: usize,
}

impl Table {
    pub(super) fn get(&self, id: u16) -> Option<&Entry> {
        self.index(id).ok().map(|at| &self.sorted[at])
    }

    pub(super) fn get_mut(&mut self, id: u16) -> Option<&mut Entry> {
        self.index(id).ok().map(|at| &mut self.sorted[at])
    }

    /// Number of channels that the peer did not open.
    pub(super) fn local(&self) -> usize {
        self.sorted.len() - self.by_peer
    }

    pub(super) fn ids(&self) -> Vec<u16> {
        self.sorted.iter().map(|entry| entry.channel.id).collect()
    }

    /// Adds a channel of this end; `false` when its id is taken.
    pub(super) fn insert(&mut self, channel: Channel, state: State) -> bool {
        self.add(channel, state, false)
    }

    /// Adds a channel that the peer opened.
    pub(super) fn insert_from_peer(&mut self, channel: Channel) {
        self.by_peer += usize::from(self.add(channel, State::Open, true));
    }

    fn add(&mut self, channel: Channel, state: State, by_peer: bool) -> bool {
        let Err(at) = self.index(channel.id) else { return false };
        let waiting = Waiting::default();
        self.sorted.insert(at, Entry { channel, state, waiting, refused: false, by_peer });
        true
    }

    pub(super) fn remove(&mut self, id: u16) {
        if let Ok(at) = self.index(id) {
            self.by_peer -= usize::from(self.sorted.remove(at).by_peer);
        }
    }

    fn index(&self, id: u16) -> Result<usize, usize> {
        self.sorted.binary_search_by_key(&id, |entry| entry.channel.id)
    }
}

/// The association's words for a channel's reliability.
pub(super) fn reliability(channel: &Channel) -> (bool, ReliabilityType, u32) {
    let (kind, value) = match channel.reliability {
        Reliability::Reliable => (ReliabilityType::Reliable, 0),
        Reliability::MaxRetransmits(count) => (ReliabilityType::Rexmit, count.into()),
        Reliability::MaxLifetime(time) => {
            (ReliabilityType::Timed, u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
        }
    };
    (!channel.ordered, kind, value)
}
