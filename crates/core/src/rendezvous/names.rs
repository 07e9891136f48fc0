//! Names of rooms: first come, first served, and kept for their owners for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lllsi_proto::invite::RoomId;
use lllsi_proto::room::RoomName;

/// Longer than this nothing is kept, whatever is asked for: times stay within what clocks can count.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Between two searches for a name to give up.
const SEARCH_PAUSE: Duration = Duration::from_millis(20);

/// Whose a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub name: RoomName,
    /// The room of its owner.
    pub room: RoomId,
    /// How long it stays so if the owner does not come back.
    pub left: Duration,
    /// How long the owner has had its room open, in all: where there are too many names, those that were used least go.
    pub used: Duration,
}

#[derive(Debug)]
struct Owner {
    room: RoomId,
    /// How long its room was open before.
    used: Duration,
    since: Since,
}

#[derive(Debug, Clone, Copy)]
enum Since {
    Open(Instant),
    Closed { until: Instant },
}

impl Owner {
    fn is_open(&self) -> bool {
        matches!(self.since, Since::Open(_))
    }

    fn has_lapsed(&self, now: Instant) -> bool {
        matches!(self.since, Since::Closed { until } if now >= until)
    }

    fn used(&self, now: Instant) -> Duration {
        match self.since {
            Since::Open(begin) => self.used.saturating_add(now.saturating_duration_since(begin)),
            Since::Closed { .. } => self.used,
        }
    }
}

#[derive(Debug)]
pub(super) struct Names {
    owners: HashMap<RoomName, Owner>,
    max: usize,
    keep: Duration,
    /// Looking through all names takes a while: not more often.
    crowded_until: Option<Instant>,
}

impl Names {
    pub(super) fn new(max: usize, keep: Duration) -> Self {
        Self { owners: HashMap::new(), max, keep: keep.min(FOR_EVER), crowded_until: None }
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    /// The open room of this name.
    pub(super) fn room(&self, name: &RoomName) -> Option<RoomId> {
        self.owners.get(name).filter(|owner| owner.is_open()).map(|owner| owner.room)
    }

    /// Whether the name is free, or this room's already.
    pub(super) fn may_have(&self, now: Instant, name: &RoomName, room: &RoomId) -> bool {
        self.owners.get(name).is_none_or(|owner| owner.room == *room || owner.has_lapsed(now))
    }

    /// Gives a name that it may have to an open room; `false` if there are too many.
    pub(super) fn take(&mut self, now: Instant, name: &RoomName, room: RoomId) -> bool {
        let had = self.owners.get(name).filter(|owner| owner.room == room);
        let used = had.map_or(Duration::ZERO, |owner| owner.used(now));
        if !self.owners.contains_key(name) && !self.make_room(now) {
            return false;
        }
        self.owners.insert(name.clone(), Owner { room, used, since: Since::Open(now) });
        true
    }

    /// Makes room for one more: first those that have lapsed go, then the one that was used least. `false` if all are in
    /// use, or it was looked for a moment ago.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.owners.len() < self.max {
            return true;
        }
        if self.crowded_until.is_some_and(|until| now < until) {
            return false;
        }
        self.crowded_until = Some(now + SEARCH_PAUSE);
        self.owners.retain(|_, owner| !owner.has_lapsed(now));
        if self.owners.len() >= self.max {
            let closed = self.owners.iter().filter(|(_, owner)| !owner.is_open());
            let least = closed.min_by_key(|(_, owner)| owner.used).map(|(name, _)| name.clone());
            least.and_then(|name| self.owners.remove(&name));
        }
        self.owners.len() < self.max
    }

    /// The room is closed.
    pub(super) fn release(&mut self, now: Instant, name: RoomName) {
        if self.keep.is_zero() {
            self.owners.remove(&name);
        } else if let Some(owner) = self.owners.get_mut(&name) {
            owner.used = owner.used(now);
            owner.since = Since::Closed { until: now + self.keep };
        }
    }

    pub(super) fn claims(&self, now: Instant) -> Vec<Claim> {
        let claim = |(name, owner): (&RoomName, &Owner)| Claim {
            name: name.clone(),
            room: owner.room,
            left: match owner.since {
                Since::Open(_) => self.keep,
                Since::Closed { until } => until.saturating_duration_since(now),
            },
            used: owner.used(now),
        };
        self.owners.iter().filter(|(_, owner)| !owner.has_lapsed(now)).map(claim).collect()
    }

    pub(super) fn restore(&mut self, now: Instant, Claim { name, room, left, used }: Claim) {
        if self.owners.len() < self.max {
            let since = Since::Closed { until: now + left.min(self.keep) };
            self.owners.insert(name, Owner { room, used, since });
        }
    }
}
