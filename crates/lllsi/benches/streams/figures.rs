//! Delays, memory, processor time.

use std::time::{Duration, Instant};

use crate::machine::Stills;

/// What every frame begins with: when it was made, on the clock of this process.
pub(crate) const FRAME_BYTES: usize = 64;

/// A frame that was made then.
pub(crate) fn stamp(epoch: Instant, made_at: Instant) -> Vec<u8> {
    let nanos = made_at.saturating_duration_since(epoch).as_nanos() as u64;
    let mut frame = nanos.to_be_bytes().to_vec();
    frame.resize(FRAME_BYTES, 0);
    frame
}

/// When a frame was made, and how old it was when it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    made_us: u32,
    age_us: u32,
}

/// Takes note of a frame that has come.
pub(crate) fn seen(epoch: Instant, frame: &[u8]) -> Seen {
    let made = frame.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let age = (epoch.elapsed().as_nanos() as u64).saturating_sub(made);
    Seen { made_us: (made / 1000) as u32, age_us: (age / 1000) as u32 }
}

/// Delays in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Delays(Vec<f64>);

impl Delays {
    /// All of them, and those of frames that were not on their way while the machine stood still.
    pub(crate) fn of(seen: Vec<Seen>, stills: &Stills) -> [Self; 2] {
        let is_undisturbed = |seen: &&Seen| {
            let made = Duration::from_micros(seen.made_us.into());
            !stills.touch(made, made + Duration::from_micros(seen.age_us.into()))
        };
        let undisturbed = seen.iter().filter(is_undisturbed).map(Seen::age_ms).collect();
        [Self(seen.iter().map(Seen::age_ms).collect()), Self(undisturbed)].map(Self::sorted)
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
        self.0.sort_by(f64::total_cmp);
    }

    fn sorted(mut self) -> Self {
        self.0.sort_by(f64::total_cmp);
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
    }
}

impl Seen {
    fn age_ms(&self) -> f64 {
        f64::from(self.age_us) / 1e3
    }
}

/// Resident memory of this process, bytes.
pub(crate) fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// Processor time that this process has used so far.
pub(crate) fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    // utime and stime, in hundredths of a second.
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>() * 10)
}
