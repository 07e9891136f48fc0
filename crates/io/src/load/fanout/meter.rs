//! What the system has counted: processor time of one thread, and memory of this process. Linux alone tells.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Error;

/// A thread of this process whose processor time can be read, in nanoseconds.
pub(super) struct Thread(PathBuf);

impl Thread {
    /// The one of this name.
    pub(super) fn named(name: &str) -> Result<Self, Error> {
        let tasks = Path::new("/proc/self/task");
        let entries = std::fs::read_dir(tasks).map_err(no_clock)?;
        let mut named = entries.filter_map(|entry| {
            let task = entry.ok()?.path();
            let comm = std::fs::read_to_string(task.join("comm")).ok()?;
            (comm.trim_end() == name).then_some(task)
        });
        match named.next() {
            Some(task) => Ok(Self(task.join("schedstat"))),
            None => Err(Error::NoClock { detail: format!("no thread has the name {name}") }),
        }
    }

    /// The one that calls this.
    pub(super) fn current() -> Self {
        Self("/proc/thread-self/schedstat".into())
    }

    /// How long it has run so far.
    pub(super) fn used(&self) -> Result<Duration, Error> {
        // The system adds up at a tick, or when a thread gives way: of the caller itself the last milliseconds would be missing.
        std::thread::yield_now();
        let text = std::fs::read_to_string(&self.0).map_err(no_clock)?;
        let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
        nanos.map(Duration::from_nanos).ok_or(Error::NoClock { detail: text })
    }
}

fn no_clock(error: std::io::Error) -> Error {
    Error::NoClock { detail: error.to_string() }
}

/// Resident memory of this process in bytes. The sum in `status` is some hundred kilobytes off with several processors; this
/// one is counted page by page.
pub(super) fn memory() -> Result<u64, Error> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").map_err(no_clock)?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or(Error::NoClock { detail: "smaps_rollup names no resident memory".into() })
}
