//! A display that nobody sees.

use super::compose::Composer;
use super::{Display, Event, Scene};
use crate::Error;
use crate::picture::Size;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

/// A [`Display`] in memory; see [`super::memory`].
pub struct Memory {
    size: Size,
    pixels: Vec<u32>,
    composer: Composer,
    bell: Arc<Bell>,
    events: Vec<Event>,
}

/// Rung by wakers.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    change: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.change.notify_one();
    }
}

impl Memory {
    pub(super) fn new(size: Size) -> Self {
        Self {
            size,
            pixels: vec![0; size.pixels()],
            composer: Composer::default(),
            bell: Arc::default(),
            events: Vec::new(),
        }
    }

    /// What is seen: 0x00RRGGBB, rows without gaps, top first.
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// Plays a person: the next [`Display::wait`] tells this event.
    pub fn act(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Plays a person who resizes the window.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
        self.pixels.resize(size.pixels(), 0);
        self.events.push(Event::Redraw);
    }
}

impl Display for Memory {
    fn size(&self) -> Size {
        self.size
    }

    fn show(&mut self, scene: &Scene<'_>) -> Result<Instant, Error> {
        self.composer.compose(scene, self.size, &mut self.pixels)?;
        Ok(Instant::now())
    }

    fn wait(&mut self, deadline: Instant, events: &mut Vec<Event>) -> Result<(), Error> {
        if self.events.is_empty() {
            let rung = self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = self.bell.change.wait_timeout_while(rung, left, |rung| !*rung);
            *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
        }
        events.append(&mut self.events);
        Ok(())
    }

    fn waker(&self) -> Waker {
        Arc::clone(&self.bell).into()
    }

    fn fit(&mut self, picture: Size) {
        self.resize(picture);
    }

    fn set_fullscreen(&mut self, _: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Key, memory};
    use std::time::Duration;

    #[test]
    fn events_are_told_and_wakers_end_the_waiting() {
        let mut display = memory(Size::new(32, 32));
        let (mut events, late) = (Vec::new(), Instant::now() + Duration::from_secs(60));
        display.act(Event::Key(Key::F11));
        display.resize(Size::new(16, 16));
        display.wait(late, &mut events).unwrap();
        assert_eq!(events, [Event::Key(Key::F11), Event::Redraw]);
        let waker = display.waker();
        let thread = std::thread::spawn(move || waker.wake());
        display.wait(late, &mut events).unwrap();
        thread.join().unwrap();
        assert!(Instant::now() < late && events.len() == 2);
        let soon = Instant::now() + Duration::from_millis(5);
        display.wait(soon, &mut events).unwrap();
        assert!(Instant::now() >= soon, "one call wakes once");
    }
}
