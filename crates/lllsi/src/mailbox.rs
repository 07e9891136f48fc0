//! What is handed to an application: events in order, and the newest frame.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// Events an application may leave unread. What comes then is dropped, but never the end of the session.
const MAX_EVENTS: usize = 1024;

/// Both ends of the hand-off. Events are kept in order; of frames only the newest.
pub(crate) struct Mailbox<E, F> {
    inner: Arc<(Mutex<Inner<E, F>>, Condvar)>,
    /// Woken too, when something comes: for readers that also wait for something else.
    waker: Option<Waker>,
}

struct Inner<E, F> {
    events: VecDeque<E>,
    frame: Option<F>,
    closed: bool,
}

/// What is read from a mailbox.
pub(crate) enum Mail<E, F> {
    Event(E),
    Frame(F),
}

impl<E, F> Clone for Mailbox<E, F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), waker: self.waker.clone() }
    }
}

impl<E, F> Mailbox<E, F> {
    pub(crate) fn new(waker: Option<Waker>) -> Self {
        let inner = Inner { events: VecDeque::new(), frame: None, closed: false };
        Self { inner: Arc::new((Mutex::new(inner), Condvar::new())), waker }
    }

    fn notify(&self) {
        self.inner.1.notify_all();
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<E, F>> {
        // No code that can panic runs under this lock.
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put_event(&self, event: E) {
        let mut inner = self.lock();
        if inner.events.len() < MAX_EVENTS {
            inner.events.push_back(event);
        } else {
            tracing::warn!("the application does not read its events: one was dropped");
        }
        drop(inner);
        self.notify();
    }

    /// Puts an event of which there may be very many: it never takes the place of others.
    pub(crate) fn put_minor(&self, event: E) {
        if self.lock().events.len() < MAX_EVENTS / 2 {
            self.put_event(event);
        }
    }

    /// Puts the last event there will be.
    pub(crate) fn close(&self, event: E) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.events.push_back(event);
            inner.closed = true;
        }
        drop(inner);
        self.notify();
    }

    /// Replaces an unread frame.
    pub(crate) fn put_frame(&self, frame: F) {
        self.lock().frame = Some(frame);
        self.notify();
    }

    /// The next event, else the newest frame; waits until `deadline`. `None`: nothing in time, or all is read after the
    /// last event.
    pub(crate) fn take(&self, deadline: Instant) -> Option<Mail<E, F>> {
        let mut inner = self.lock();
        loop {
            // A frame that came before the end is shown before the end.
            let ending = inner.closed && inner.events.len() == 1;
            if ending && let Some(frame) = inner.frame.take() {
                return Some(Mail::Frame(frame));
            }
            if let Some(event) = inner.events.pop_front() {
                return Some(Mail::Event(event));
            }
            if let Some(frame) = inner.frame.take() {
                return Some(Mail::Frame(frame));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.closed {
                return None;
            }
            inner =
                self.inner.1.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lllsi_media::picture::Size;
    use lllsi_media::render::{self, Display};
    use std::time::Duration;

    fn read(mailbox: &Mailbox<u32, u32>) -> Vec<(char, u32)> {
        let now = Instant::now();
        std::iter::from_fn(|| mailbox.take(now))
            .map(|mail| match mail {
                Mail::Event(event) => ('e', event),
                Mail::Frame(frame) => ('f', frame),
            })
            .collect()
    }

    #[test]
    fn events_stay_in_order_and_the_newest_frame_wins() {
        let mailbox = Mailbox::new(None);
        mailbox.put_event(1);
        mailbox.put_frame(10);
        mailbox.put_frame(11);
        mailbox.put_event(2);
        assert_eq!(read(&mailbox), [('e', 1), ('e', 2), ('f', 11)]);
    }

    #[test]
    fn the_end_comes_last_and_always() {
        let mailbox = Mailbox::new(None);
        for i in 0..2 * MAX_EVENTS as u32 {
            mailbox.put_event(i);
        }
        mailbox.put_frame(7);
        mailbox.close(9999);
        mailbox.close(1);
        let all = read(&mailbox);
        assert_eq!(all.len(), MAX_EVENTS + 2);
        assert_eq!(all[MAX_EVENTS..], [('f', 7), ('e', 9999)]);
    }

    #[test]
    fn a_reader_is_woken() {
        let mailbox = Mailbox::<u32, u32>::new(None);
        let writer = mailbox.clone();
        let thread = std::thread::spawn(move || writer.put_frame(5));
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(matches!(mailbox.take(deadline), Some(Mail::Frame(5))));
        thread.join().unwrap();
    }

    #[test]
    fn whoever_waits_elsewhere_is_woken_by_everything_that_comes() {
        let mut display = render::memory(Size::new(2, 2));
        let mailbox = Mailbox::<u32, u32>::new(Some(display.waker()));
        type Put = fn(&Mailbox<u32, u32>);
        let puts: [Put; 3] = [|m| m.put_event(1), |m| m.put_frame(2), |m| m.close(3)];
        for put in puts {
            put(&mailbox);
            let late = Instant::now() + Duration::from_secs(60);
            display.wait(late, &mut Vec::new()).unwrap();
            assert!(Instant::now() < late);
        }
    }
}
