//! What each viewer may be sent: what its path carries, within what all together may take.

use std::collections::BTreeMap;

use super::{Host, layers};

impl Host {
    /// Learns what the host's own line carries.
    pub(super) fn look_at_uplink(&mut self) {
        let signs = self.viewers.values().filter_map(|viewer| viewer.signs(self.now));
        let signs: Vec<_> = signs.collect();
        self.uplink.look(self.now, &signs);
    }

    /// What was under way may have arrived, or be lost, though nobody said so.
    pub(super) fn reconsider_room(&mut self) {
        for id in self.layers.full() {
            if let Some(viewer) = self.viewers.get_mut(&id) {
                let is_full = viewer.is_full(self.now);
                self.layers.note(self.now, id, viewer.watches(), is_full);
            }
        }
    }

    /// What each viewer's path carries, and all of them together.
    pub(super) fn reconsider_bitrates(&mut self) {
        let (mut rates, mut taken, mut with_redundancy) = (BTreeMap::new(), 0.0, Vec::new());
        for (id, viewer) in self.viewers.iter().filter(|(_, viewer)| viewer.watches()) {
            match viewer.allowed_bitrate(self.now) {
                Some(allowed) => {
                    rates.insert(*id, allowed);
                    with_redundancy.push(1.0 + viewer.redundancy());
                }
                // One that says nothing is still sent its layer.
                None => taken += self.layers.bitrate_of(*id),
            }
        }
        // Parity and repairs count towards a viewer's share.
        rates.values_mut().zip(&with_redundancy).for_each(|((rate, _), times)| *rate *= times);
        let mut all: Vec<_> = rates.values_mut().map(|(rate, _)| rate).collect();
        layers::shares(&mut all, (self.uplink.limit() - taken).max(0.0));
        rates.values_mut().zip(&with_redundancy).for_each(|((rate, _), times)| *rate /= times);
        self.layers.reconsider(self.now, &rates);
    }
}
