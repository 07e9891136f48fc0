//! Delays and memory.

use std::time::Instant;

/// What every frame begins with: when it was made, on the clock of this process.
pub(crate) const FRAME_BYTES: usize = 64;

/// A frame of this moment.
pub(crate) fn stamp(epoch: Instant) -> Vec<u8> {
    let mut frame = (epoch.elapsed().as_nanos() as u64).to_be_bytes().to_vec();
    frame.resize(FRAME_BYTES, 0);
    frame
}

/// How old a frame is, milliseconds.
pub(crate) fn age(epoch: Instant, frame: &[u8]) -> f64 {
    let made = frame.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    (epoch.elapsed().as_nanos() as u64).saturating_sub(made) as f64 / 1e6
}

/// Delays in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Delays(Vec<f64>);

impl Delays {
    pub(crate) fn new(mut delays: Vec<f64>) -> Self {
        delays.sort_by(f64::total_cmp);
        Self(delays)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
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
