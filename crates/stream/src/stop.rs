//! Telling threads to stop, and threads that stop with their owner.

use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex};

/// Tells whoever has a clone of it to stop.
///
/// ```
/// use lllsi_stream::StopToken;
/// use std::time::{Duration, Instant};
///
/// let token = StopToken::new();
/// let theirs = token.clone();
/// let thread = std::thread::spawn(move || theirs.wait_until(Instant::now() + Duration::from_secs(60)));
/// token.stop();
/// assert!(thread.join().unwrap(), "it did not wait for a minute");
/// ```
#[derive(Clone, Default)]
pub struct StopToken(Arc<(Mutex<bool>, Condvar)>);

impl StopToken {
    /// One that nobody has been told by yet.
    pub fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    /// Tells all to stop; it cannot be taken back.
    pub fn stop(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether it is time to stop.
    pub fn is_stopped(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is time to stop.
    pub fn wait(&self) {
        let mut stopped = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            stopped = self.0.1.wait(stopped).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until it is time to stop, or until `deadline`; whether it is.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        let mut stopped = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if *stopped || left.is_zero() {
                return *stopped;
            }
            let waited = self.0.1.wait_timeout(stopped, left);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl std::fmt::Debug for StopToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StopToken(stopped: {})", self.is_stopped())
    }
}

/// A named thread that is told to stop, and waited for, when this is dropped.
///
/// ```
/// use lllsi_stream::Worker;
///
/// let worker = Worker::spawn("counter", |stop| {
///     let mut turns = 0u64;
///     while !stop.is_stopped() {
///         turns += 1;
///     }
///     turns
/// })?;
/// let turns = worker.join().expect("it does not panic");
/// # let _ = turns;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Worker<T> {
    stop: StopToken,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread that looks at its token now and then.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn(
        name: &str,
        work: impl FnOnce(&StopToken) -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = StopToken::new();
        let theirs = stop.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&theirs))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// What tells it to stop.
    pub fn stop_token(&self) -> &StopToken {
        &self.stop
    }

    /// Tells it to stop, and waits for what it gives; `None` if it panicked.
    pub fn join(mut self) -> Option<T> {
        self.stop.stop();
        self.thread.take()?.join().ok()
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // What it panicked with has been told on stderr.
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    #[test]
    fn a_worker_ends_before_its_owner() {
        let ended = std::sync::Arc::new(AtomicBool::new(false));
        let theirs = ended.clone();
        let worker = Worker::spawn("test", move |stop| {
            stop.wait();
            theirs.store(true, Ordering::SeqCst);
        });
        drop(worker.unwrap());
        assert!(ended.load(Ordering::SeqCst));
    }

    #[test]
    fn a_wait_has_its_end() {
        let token = StopToken::new();
        assert!(!token.wait_until(Instant::now() + Duration::from_millis(1)));
        token.stop();
        token.wait();
        assert!(token.wait_until(Instant::now()));
    }
}
