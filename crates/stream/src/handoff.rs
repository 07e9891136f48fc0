//! Handing items from threads to a thread, through any [`StreamContainer`].

use std::sync::PoisonError;
use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::{Overflow, Pushed, StreamContainer, StreamVectorContainer};

/// Both ends of a hand-off through a container, whose rule says what happens when it is full. A sender waits for a place
/// under [`Overflow::Block`] alone.
///
/// ```
/// use lllsi_stream::{Overflow, StreamVectorContainer, handoff};
///
/// let (sender, receiver) = handoff(StreamVectorContainer::new(8, Overflow::Block));
/// let thread = std::thread::spawn(move || (1..=100).try_for_each(|n| sender.send(n)));
/// assert_eq!(receiver.iter().sum::<u32>(), 5050);
/// thread.join().unwrap().unwrap();
/// ```
pub fn handoff<C: StreamContainer>(container: C) -> (Sender<C>, Receiver<C>) {
    let state = State { container, senders: 1, has_receiver: true, counts: Counts::default() };
    let shared = Shared { state: Mutex::new(state), filled: Condvar::new(), freed: Condvar::new() };
    let shared = Arc::new(shared);
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// A hand-off that holds one value: the newest. Nobody waits to write it.
///
/// ```
/// let (sender, receiver) = lllsi_stream::newest();
/// sender.send("old").unwrap();
/// sender.send("new").unwrap();
/// assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some("new"), None));
/// ```
pub fn newest<T>() -> (Sender<StreamVectorContainer<T>>, Receiver<StreamVectorContainer<T>>) {
    handoff(StreamVectorContainer::new(1, Overflow::KeepNewest))
}

/// What has gone through a hand-off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that were brought, those that were dropped too.
    pub sent: u64,
    /// Items that were taken out.
    pub received: u64,
    /// Items that were dropped, by the container's rule.
    pub dropped: u64,
}

/// Nobody is at the other end any more: here is the item again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody receives any more")]
pub struct Closed<T>(pub T);

/// Why an item was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent<T> {
    /// There was no place in time.
    #[error("there is no place at present")]
    Full(T),
    /// Nobody receives any more.
    #[error("nobody receives any more")]
    Closed(T),
}

struct State<C> {
    container: C,
    senders: usize,
    has_receiver: bool,
    counts: Counts,
}

struct Shared<C> {
    state: Mutex<State<C>>,
    /// An item has come, or the last sender has gone.
    filled: Condvar,
    /// An item was taken, or the receiver has gone.
    freed: Condvar,
}

impl<C> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // A container that panics is the developer's own; what it holds is as whole as it is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end where items are put in. Clones share it.
pub struct Sender<C: StreamContainer>(Arc<Shared<C>>);

impl<C: StreamContainer> Clone for Sender<C> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<C: StreamContainer> Drop for Sender<C> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        if state.senders == 0 {
            self.0.filled.notify_all();
        }
    }
}

impl<C: StreamContainer> Sender<C> {
    /// Puts an item in, waiting for a place under [`Overflow::Block`].
    ///
    /// # Errors
    /// [`Closed`] once the receiver is gone.
    pub fn send(&self, item: C::Item) -> Result<(), Closed<C::Item>> {
        match self.put(item, |state| {
            Some(self.0.freed.wait(state).unwrap_or_else(PoisonError::into_inner))
        }) {
            Ok(()) => Ok(()),
            Err(NotSent::Full(item) | NotSent::Closed(item)) => Err(Closed(item)),
        }
    }

    /// Puts an item in, if that needs no waiting.
    ///
    /// # Errors
    /// [`NotSent`] with the item.
    pub fn try_send(&self, item: C::Item) -> Result<(), NotSent<C::Item>> {
        self.put(item, |_| None)
    }

    /// Puts an item in, waiting until `deadline` at most.
    ///
    /// # Errors
    /// [`NotSent`] with the item.
    pub fn send_until(&self, item: C::Item, deadline: Instant) -> Result<(), NotSent<C::Item>> {
        self.put(item, |state| {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.0.freed.wait_timeout(state, left);
            Some(waited.unwrap_or_else(PoisonError::into_inner).0)
        })
    }

    /// `wait` gives the lock back after something may have changed, or `None` to give up.
    fn put<'a>(
        &'a self,
        mut item: C::Item,
        mut wait: impl FnMut(MutexGuard<'a, State<C>>) -> Option<MutexGuard<'a, State<C>>>,
    ) -> Result<(), NotSent<C::Item>> {
        let mut state = self.0.lock();
        loop {
            if !state.has_receiver {
                return Err(NotSent::Closed(item));
            }
            match state.container.push(item) {
                Pushed::Kept { dropped } => {
                    state.counts.sent += 1;
                    state.counts.dropped += dropped as u64;
                    self.0.filled.notify_one();
                    return Ok(());
                }
                Pushed::Dropped => {
                    state.counts.sent += 1;
                    state.counts.dropped += 1;
                    return Ok(());
                }
                Pushed::Full(back) => item = back,
            }
            match wait(state) {
                Some(again) => state = again,
                None => return Err(NotSent::Full(item)),
            }
        }
    }

    /// What has gone through.
    pub fn counts(&self) -> Counts {
        self.0.lock().counts
    }
}

/// The end where items are taken out.
pub struct Receiver<C: StreamContainer>(Arc<Shared<C>>);

impl<C: StreamContainer> Drop for Receiver<C> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.has_receiver = false;
        state.container.clear();
        self.0.freed.notify_all();
    }
}

impl<C: StreamContainer> Receiver<C> {
    /// The next item; waits for it. `None` once all senders are gone and everything is taken.
    pub fn recv(&self) -> Option<C::Item> {
        self.get(|state| Some(self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner)))
    }

    /// The next item, if there is one.
    pub fn try_recv(&self) -> Option<C::Item> {
        self.get(|_| None)
    }

    /// The next item; waits until `deadline` at most.
    pub fn recv_until(&self, deadline: Instant) -> Option<C::Item> {
        self.get(|state| {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.0.filled.wait_timeout(state, left);
            Some(waited.unwrap_or_else(PoisonError::into_inner).0)
        })
    }

    fn get<'a>(
        &'a self,
        mut wait: impl FnMut(MutexGuard<'a, State<C>>) -> Option<MutexGuard<'a, State<C>>>,
    ) -> Option<C::Item> {
        let mut state = self.0.lock();
        loop {
            if let Some(item) = state.container.pop() {
                state.counts.received += 1;
                self.0.freed.notify_one();
                return Some(item);
            }
            if state.senders == 0 {
                return None;
            }
            state = wait(state)?;
        }
    }

    /// All items that come, until all senders are gone.
    pub fn iter(&self) -> impl Iterator<Item = C::Item> {
        std::iter::from_fn(|| self.recv())
    }

    /// Whether all senders are gone and everything is taken.
    pub fn is_over(&self) -> bool {
        let state = self.0.lock();
        state.senders == 0 && state.container.is_empty()
    }

    /// What has gone through.
    pub fn counts(&self) -> Counts {
        self.0.lock().counts
    }
}
