//! The addresses of this machine at which others have come in. A machine may have more networks than a peer is to be told of, but
//! in these somebody is.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The most addresses that are remembered. Later ones are ignored, so a stranger cannot change our candidates without end.
const MAX_REACHED: usize = 4;

/// Shared by a server and the host beside it. A clone is the same list.
///
/// ```
/// let reached = lllsi_io::Reached::default();
/// assert!(reached.addresses().is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Reached(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The newest first.
    addresses: Mutex<VecDeque<IpAddr>>,
    is_new: Notify,
}

impl Reached {
    /// The addresses, the newest first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.lock().iter().copied().collect()
    }

    /// Somebody has come in at an address.
    pub(crate) fn note(&self, at: IpAddr) {
        let at = at.to_canonical();
        let mut addresses = self.lock();
        if at.is_loopback() || addresses.contains(&at) || addresses.len() == MAX_REACHED {
            return;
        }
        addresses.push_front(at);
        self.0.is_new.notify_one();
    }

    /// Waits for an address that was not there. Loses nothing where it is cancelled.
    pub(crate) async fn changed(&self) {
        self.0.is_new.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<IpAddr>> {
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_addresses_are_remembered_once_each() {
        let reached = Reached::default();
        for n in [1, 2, 2, 3, 4, 5] {
            reached.note(IpAddr::from([10, 0, n, 1]));
        }
        reached.note("::ffff:10.0.4.1".parse().unwrap());
        reached.note("127.0.0.1".parse().unwrap());
        let expected = [4, 3, 2, 1].map(|n| IpAddr::from([10, 0, n, 1]));
        assert_eq!(reached.addresses(), expected);
    }
}
