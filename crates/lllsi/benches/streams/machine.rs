//! How fast the machine itself runs. Virtual machines share their processors with others: at times everything on them takes
//! many times as long for tens of milliseconds, which no system call tells.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(4);
/// About 5 µs of work, done so often that other threads of ours do not get in between each time: the fastest counts.
const STEPS: u32 = 7_000;
const ATTEMPTS: usize = 4;
/// It stands still if the same work takes so many times as long as at best.
const STILL: u32 = 5;

/// Measures all the time, on a thread of its own.
pub(crate) struct Meter {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, Duration)>>,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let ends = Arc::<AtomicBool>::default();
        let theirs = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let (mut all, mut best) = (Vec::new(), Duration::MAX);
            while !theirs.load(Ordering::Relaxed) {
                std::thread::sleep(EVERY);
                let at = Instant::now();
                let took = probe(best);
                best = best.min(took);
                all.push((at, took));
            }
            all
        });
        Self { ends, thread }
    }

    /// When it stood still.
    pub(crate) fn end(self, epoch: Instant) -> Stills {
        self.ends.store(true, Ordering::Relaxed);
        let all = self.thread.join().expect("it ends well");
        let best = all.iter().map(|(_, took)| *took).min().unwrap_or_default();
        let mut stills = Stills::default();
        for pair in all.windows(2) {
            let [(from, before), (to, after)] = [pair[0], pair[1]];
            stills.total += to - from;
            if before.max(after) > best * STILL {
                stills.between.push([from, to].map(|at| at.saturating_duration_since(epoch)));
            }
        }
        stills
    }
}

/// How long the work takes. Once is enough if that is nearly as fast as at best: this is not to be in the way of what is measured.
fn probe(best: Duration) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        let began = Instant::now();
        let sum = (0..STEPS).fold(1u32, |sum, step| black_box(sum.wrapping_mul(3) ^ step));
        black_box(sum);
        fastest = fastest.min(began.elapsed());
        if fastest <= best.saturating_mul(2) {
            break;
        }
    }
    fastest
}

/// When the machine stood still, in order; since an epoch.
#[derive(Debug, Default)]
pub(crate) struct Stills {
    between: Vec<[Duration; 2]>,
    total: Duration,
}

impl Stills {
    /// Adds those of another time, for [`Self::share`].
    pub(crate) fn extend(&mut self, later: Self) {
        self.between.extend(later.between);
        self.total += later.total;
    }

    /// Which part of the time that was.
    pub(crate) fn share(&self) -> f64 {
        let all: Duration = self.between.iter().map(|[from, to]| *to - *from).sum();
        all.as_secs_f64() / self.total.as_secs_f64()
    }

    /// Whether it did at some time in between, of one epoch.
    pub(crate) fn touch(&self, from: Duration, to: Duration) -> bool {
        let next = self.between.partition_point(|[_, end]| *end < from);
        self.between.get(next).is_some_and(|[begin, _]| *begin <= to)
    }
}
