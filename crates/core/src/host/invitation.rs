//! How long and how often the present invitation holds.

use std::time::Instant;

use super::Terms;

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
