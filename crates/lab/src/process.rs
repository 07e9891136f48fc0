//! What a process uses.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// What a process has used so far, and uses now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on processors since its start, in user and kernel mode, by all of its threads.
    pub cpu: Duration,
    /// Memory it holds now; the sum of the next three.
    pub rss_bytes: u64,
    /// Of that: its own, such as the heap.
    pub anonymous_bytes: u64,
    /// Of that: mapped files, above all the program itself.
    pub file_bytes: u64,
    /// Of that: shared with others, such as pictures with the X server.
    pub shared_bytes: u64,
    /// The most memory it has ever held.
    pub peak_rss_bytes: u64,
    /// Threads.
    pub threads: usize,
    /// Open file descriptors.
    pub fds: usize,
}

impl Usage {
    /// Of the process with this number.
    ///
    /// # Panics
    ///
    /// If there is no such process, or it has ended.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let count = |kind| fs::read_dir(directory.join(kind)).map(Iterator::count);
        let usage = || {
            let stat = fs::read_to_string(directory.join("stat"))?;
            let status = fs::read_to_string(directory.join("status"))?;
            let bytes = |key| kilobytes(&status, key).unwrap_or_default() * 1024;
            std::io::Result::Ok(Self {
                cpu: cpu(&stat, rustix::param::clock_ticks_per_second()).unwrap_or_default(),
                rss_bytes: bytes("VmRSS"),
                anonymous_bytes: bytes("RssAnon"),
                file_bytes: bytes("RssFile"),
                shared_bytes: bytes("RssShmem"),
                peak_rss_bytes: bytes("VmHWM"),
                threads: count("task")?,
                fds: count("fd")?,
            })
        };
        usage().unwrap_or_else(|error| panic!("process {pid} cannot be looked at: {error}"))
    }
}

/// Time on processors since its start of the threads of a process that have this name, finer than [`Usage::cpu`].
///
/// # Panics
///
/// If there is no such process, or the system counts no time of threads.
#[must_use]
pub fn thread_time_of(pid: u32, name: &str) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let threads = tasks.filter_map(|task| {
        let task = task.ok()?.path();
        // A thread may end meanwhile.
        let is_named = fs::read_to_string(task.join("comm")).ok()?.trim_end() == name;
        is_named.then(|| fs::read_to_string(task.join("schedstat")).ok()).flatten()
    });
    let nanos = threads.map(|stat| {
        let nanos = stat.split(' ').next().and_then(|field| field.parse().ok());
        Duration::from_nanos(nanos.expect("the first field is the time"))
    });
    nanos.sum()
}

/// User and kernel time from `/proc/PID/stat`.
fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The second field is the name, in parentheses, and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(ticks * 1000 / ticks_per_second))
}

/// A line of `/proc/PID/status`, such as `VmRSS:     1234 kB`.
fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let mut values = status.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    values.next()?.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_whatever_the_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 5 0 0 0 150 25 7 7 20 0 1 0 99 1 2";
        assert_eq!(cpu(stat, 100), Some(Duration::from_millis(1750)));
        assert_eq!(cpu("42 (short) S 1", 100), None);
    }

    #[test]
    fn memory_is_found_by_its_whole_name() {
        let status = "Name:\tVmRSS\nVmRSSX:\t 1 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!(kilobytes(status, "VmRSS"), Some(2048));
        assert_eq!(kilobytes(status, "VmHWM"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id());
        assert!(usage.rss_bytes > 0 && usage.peak_rss_bytes >= usage.rss_bytes, "{usage:?}");
        assert!(usage.threads > 0 && usage.fds > 0, "{usage:?}");
    }
}
