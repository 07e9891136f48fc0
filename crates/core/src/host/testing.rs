//! What a test does with a host besides what hosts do.

use lllsi_rtc::Transport;

use super::Host;

#[doc(hidden)]
impl Host {
    /// For a hostile host, which seals what it likes for its first viewer.
    pub fn transport(&mut self) -> Option<&mut Transport> {
        self.viewers.values_mut().find_map(|viewer| viewer.transport())
    }
}
