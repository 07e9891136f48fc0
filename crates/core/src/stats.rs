//! Small statistics: percentiles of a bounded number of samples.

/// Collects samples and answers percentiles. Holds at most [`Self::CAPACITY`] samples; more replace the oldest.
///
/// ```
/// let mut samples = lllsi_core::stats::Percentiles::default();
/// for ms in 1..=100 {
///     samples.push(f64::from(ms));
/// }
/// assert_eq!(samples.percentile(50.0), Some(50.0));
/// assert_eq!(samples.percentile(95.0), Some(95.0));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Percentiles {
    samples: Vec<f64>,
    next: usize,
}

impl Percentiles {
    /// The most samples kept.
    pub const CAPACITY: usize = 1024;

    /// Adds a sample.
    pub fn push(&mut self, sample: f64) {
        if self.samples.len() < Self::CAPACITY {
            self.samples.push(sample);
        } else {
            self.samples[self.next] = sample;
            self.next = (self.next + 1) % Self::CAPACITY;
        }
    }

    /// The `p`th percentile (nearest rank), `p` in 0–100; `None` without samples.
    pub fn percentile(&self, p: f64) -> Option<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (p / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// Forgets all samples, keeps the memory.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_samples_make_room() {
        let mut samples = Percentiles::default();
        assert_eq!(samples.percentile(50.0), None);
        for i in 0..3 * Percentiles::CAPACITY {
            samples.push(i as f64);
        }
        assert_eq!(samples.percentile(0.0), Some(2.0 * Percentiles::CAPACITY as f64));
        samples.clear();
        assert_eq!(samples.percentile(50.0), None);
    }
}
