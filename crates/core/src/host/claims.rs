//! Which viewers may be meant by a datagram, by where it comes from.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::ViewerId;

/// Viewers behind one address: more than one where a NAT gave its port to another, or somebody forges. Each has to open
/// what comes from there, so there is an end to it.
const MAX_CLAIMANTS: usize = 4;

/// Mostly one viewer for an address. What is not meant for a link does not open in it.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<SocketAddr, [Option<ViewerId>; MAX_CLAIMANTS]>);

impl Claims {
    /// A viewer has proved itself at an address. Nothing changes if as many as may have done so before it.
    pub(super) fn add(&mut self, source: SocketAddr, id: ViewerId) {
        let claimants = self.0.entry(source).or_default();
        let free = claimants.iter().position(Option::is_none);
        if let (false, Some(free)) = (claimants.contains(&Some(id)), free) {
            claimants[free] = Some(id);
        }
    }

    /// A viewer has gone from an address.
    pub(super) fn remove(&mut self, source: SocketAddr, id: ViewerId) {
        if let Some(claimants) = self.0.get_mut(&source) {
            for claimant in claimants.iter_mut() {
                *claimant = claimant.filter(|claimant| *claimant != id);
            }
            if claimants.iter().all(Option::is_none) {
                self.0.remove(&source);
            }
        }
    }

    /// Who may be meant.
    pub(super) fn at(&self, source: SocketAddr) -> impl Iterator<Item = ViewerId> + use<> {
        self.0.get(&source).copied().unwrap_or_default().into_iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_few_claimants_and_is_forgotten_with_the_last() {
        let mut claims = Claims::default();
        let [here, there] = [5000, 5001].map(|port| SocketAddr::from(([203, 0, 113, 1], port)));
        for id in [1, 1, 2, 3, 4, 5] {
            claims.add(here, ViewerId(id));
        }
        claims.add(there, ViewerId(5));
        assert_eq!(claims.at(here).collect::<Vec<_>>(), [1, 2, 3, 4].map(ViewerId));
        claims.remove(here, ViewerId(2));
        claims.add(here, ViewerId(5));
        assert_eq!(claims.at(here).collect::<Vec<_>>(), [1, 5, 3, 4].map(ViewerId));
        (1..=5).for_each(|id| claims.remove(here, ViewerId(id)));
        assert!(!claims.is_empty());
        claims.remove(there, ViewerId(5));
        assert!(claims.is_empty());
    }
}
