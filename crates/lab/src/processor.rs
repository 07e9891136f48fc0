//! Which processors threads run on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Those that this thread may run on.
///
/// # Panics
///
/// If the system does not tell.
#[must_use]
pub fn allowed() -> Vec<usize> {
    let allowed = sched_getaffinity(None).expect("the system tells");
    (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect()
}

/// Does something on one processor. Threads and programs that it starts stay there.
///
/// # Panics
///
/// If it panics, or may not run there.
pub fn pinned<T: Send>(processor: usize, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(move || {
            let mut only = CpuSet::new();
            only.set(processor);
            sched_setaffinity(None, &only).expect("a thread may be pinned");
            work()
        });
        pinned.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_on_a_processor_stays_there() {
        let last = *allowed().last().unwrap();
        let inner = pinned(last, || std::thread::spawn(allowed).join().unwrap());
        assert_eq!(inner, [last]);
        assert!(allowed().contains(&last));
    }
}
