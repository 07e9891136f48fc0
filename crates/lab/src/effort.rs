//! What a thread has done so far.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time that processors have spent on this thread. Other programs on a busy machine do not count.
#[must_use]
pub fn thread_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.unsigned_abs() as u32)
}
