//! How long and how often the present invitation holds.

use std::time::{Duration, Instant};

/// How long and how often an invitation holds. Whoever has been let in stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// From its making.
    pub lifetime: Option<Duration>,
    /// Clients that are let in with it.
    pub uses: Option<u32>,
}

/// What is left of the present invitation.
pub(super) struct Invitation {
    expires_at: Option<Instant>,
    uses: Option<u32>,
}

impl Invitation {
    pub(super) fn new(now: Instant, terms: Terms) -> Self {
        Self { expires_at: terms.lifetime.map(|lifetime| now + lifetime), uses: terms.uses }
    }

    /// Whether somebody may still knock with it.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.uses != Some(0) && self.expires_at.is_none_or(|at| now < at)
    }

    /// One that was let in did not come.
    pub(super) fn give_back(&mut self) {
        if let Some(left) = &mut self.uses {
            *left = left.saturating_add(1);
        }
    }

    /// Lets one in. Whoever waits in the lobby may have knocked before it was used up.
    pub(super) fn take(&mut self) -> bool {
        match &mut self.uses {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}
