//! Names of rooms: first come, first served, and kept for their owners for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lllsi_proto::invite::RoomId;
use lllsi_proto::room::RoomName;

/// Whose a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub name: RoomName,
    /// The room of its owner.
    pub room: RoomId,
    /// How long it stays so if the owner does not come back.
    pub left: Duration,
}

#[derive(Debug)]
struct Owner {
    room: RoomId,
    /// `None`: the room is open.
    until: Option<Instant>,
}

impl Owner {
    fn has_lapsed(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

#[derive(Debug)]
pub(super) struct Names {
    owners: HashMap<RoomName, Owner>,
    max: usize,
    keep: Duration,
}

impl Names {
    pub(super) fn new(max: usize, keep: Duration) -> Self {
        Self { owners: HashMap::new(), max, keep }
    }

    /// The open room of this name.
    pub(super) fn room(&self, name: &RoomName) -> Option<RoomId> {
        self.owners.get(name).filter(|owner| owner.until.is_none()).map(|owner| owner.room)
    }

    /// Whether the name is free, or this room's already.
    pub(super) fn may_have(&self, now: Instant, name: &RoomName, room: &RoomId) -> bool {
        self.owners.get(name).is_none_or(|owner| owner.room == *room || owner.has_lapsed(now))
    }

    /// Gives a name that it may have to an open room; `false` if there are too many.
    pub(super) fn take(&mut self, now: Instant, name: &RoomName, room: RoomId) -> bool {
        if !self.owners.contains_key(name) && self.owners.len() >= self.max {
            self.owners.retain(|_, owner| !owner.has_lapsed(now));
            if self.owners.len() >= self.max {
                return false;
            }
        }
        self.owners.insert(name.clone(), Owner { room, until: None });
        true
    }

    /// The room is closed.
    pub(super) fn release(&mut self, now: Instant, name: RoomName) {
        if self.keep.is_zero() {
            self.owners.remove(&name);
        } else if let Some(owner) = self.owners.get_mut(&name) {
            owner.until = Some(now + self.keep);
        }
    }

    pub(super) fn claims(&self, now: Instant) -> Vec<Claim> {
        let claim = |(name, owner): (&RoomName, &Owner)| Claim {
            name: name.clone(),
            room: owner.room,
            left: owner.until.map_or(self.keep, |until| until.saturating_duration_since(now)),
        };
        self.owners.iter().filter(|(_, owner)| !owner.has_lapsed(now)).map(claim).collect()
    }

    pub(super) fn restore(&mut self, now: Instant, claim: Claim) {
        if self.owners.len() < self.max {
            let until = Some(now + claim.left.min(self.keep));
            self.owners.insert(claim.name, Owner { room: claim.room, until });
        }
    }
}
