//! When a host's net thread rests.

use std::time::{Duration, Instant};

/// Many viewers acknowledge a frame one after another, and waking the thread for each costs more than the acknowledgements. If
/// nothing had to be done for what came, a host's thread waits until this long after it was woken before it looks for more.
const REST: Duration = Duration::from_micros(250);
/// The thread rests only after so many times in a row: few viewers cost little.
const BEFORE_REST: u32 = 4;

/// Whether the thread is woken again and again and nothing comes of it.
#[derive(Default)]
pub(crate) struct Calm {
    put_out: u64,
    woken_at: Option<Instant>,
    times: u32,
}

impl Calm {
    /// How long to rest, given all that the machine has put out.
    pub(crate) fn rest(&mut self, put_out: u64, now: Instant) -> Option<Duration> {
        let passed = self.woken_at.replace(now).map(|at| now.saturating_duration_since(at));
        let has_come_of_it = std::mem::replace(&mut self.put_out, put_out) != put_out;
        let Some(left) = passed.filter(|_| !has_come_of_it).and_then(|p| REST.checked_sub(p))
        else {
            self.times = 0;
            return None;
        };
        self.times += 1;
        if self.times < BEFORE_REST {
            return None;
        }
        self.woken_at = Some(now + left);
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_woken_for_nothing_rests_until_something_comes_of_it() {
        let (mut calm, mut now) = (Calm::default(), Instant::now());
        let step = REST / 5;
        let mut wake = |put_out, passed| {
            now += passed;
            calm.rest(put_out, now)
        };
        assert_eq!(wake(1, step), None, "something came of it");
        for _ in 1..BEFORE_REST {
            assert_eq!(wake(1, step), None);
        }
        assert_eq!(wake(1, step), Some(REST - step));
        // It was asleep for as long, and a bit more.
        assert_eq!(wake(1, REST - step), Some(REST));
        assert_eq!(wake(2, REST), None, "something came of it");
        for _ in 0..2 * BEFORE_REST {
            assert_eq!(wake(2, 2 * REST), None, "it is woken seldom");
        }
    }
}
