//! At what pace pictures are coded: one encode serves all viewers.

use std::collections::BTreeSet;

use super::{Event, Host, ViewerId};

/// The pace, as the encoder knows it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bitrate: u32,
    /// Viewers on whose paths another frame would only wait.
    full: BTreeSet<ViewerId>,
    is_held: bool,
}

impl Host {
    /// The narrowest path that still reports decides. One of which nothing is known yet has a say only where there is no other.
    pub(super) fn reconsider_bitrate(&mut self) {
        let allowed = || self.viewers.values().filter_map(|v| v.allowed_bitrate(self.now));
        let known = allowed().filter(|(_, is_known)| *is_known).map(|(bitrate, _)| bitrate);
        let least =
            known.reduce(f64::min).or(allowed().map(|(bitrate, _)| bitrate).reduce(f64::min));
        let Some(bitrate) = least else { return };
        let (bitrate, known) = (bitrate as u32, self.pace.bitrate);
        let is_most = bitrate == self.limits.max as u32;
        if bitrate != known && (bitrate.abs_diff(known) > known / 20 || is_most) {
            self.pace.bitrate = bitrate;
            self.event(Event::Bitrate(bitrate));
        }
    }

    /// What was under way may have arrived, or be lost, though nobody said so.
    pub(super) fn reconsider_room(&mut self) {
        let full: Vec<_> = self.pace.full.iter().copied().collect();
        for id in full {
            let is_full = self.viewers.get_mut(&id).is_some_and(|v| v.is_full(self.now));
            self.note_room(id, is_full);
        }
        self.decide_hold();
    }

    /// Takes note of whether another frame would only wait on a viewer's path.
    pub(super) fn note_room(&mut self, id: ViewerId, is_full: bool) {
        let changes = match is_full {
            true => self.pace.full.insert(id),
            false => self.pace.full.remove(&id),
        };
        if changes {
            self.decide_hold();
        }
    }

    /// Pictures wait while more than half of the viewers' paths are full: one viewer does not hold up another.
    fn decide_hold(&mut self) {
        let viewers = self.viewers.values().filter(|viewer| viewer.watches()).count();
        let is_held = 2 * self.pace.full.len() > viewers;
        if std::mem::replace(&mut self.pace.is_held, is_held) != is_held {
            self.event(Event::Hold(is_held));
        }
    }
}
