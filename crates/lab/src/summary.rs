//! Many samples in a few figures.

use crate::probe::Sample;

/// How long it took from paint to paint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Pictures seen.
    pub count: usize,
    /// Half of them took no longer, in ms.
    pub p50_ms: f64,
    /// 95 % of them took no longer, in ms.
    pub p95_ms: f64,
    /// The longest, in ms.
    pub max_ms: f64,
}

impl Summary {
    /// Of these samples. None of none.
    #[must_use]
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let mut times: Vec<f64> =
            samples.iter().map(|sample| sample.latency().as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        let max_ms = *times.last()?;
        // The nearest rank: a figure that was really measured.
        let rank = |share: f64| times[(times.len() as f64 * share).ceil() as usize - 1];
        Some(Self { count: times.len(), p50_ms: rank(0.5), p95_ms: rank(0.95), max_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let sample = |ms: u64| Sample { painted_us: 1000, seen_us: 1000 + ms * 1000 };
        let samples: Vec<Sample> = (1..=100).rev().map(sample).collect();
        let all = Summary { count: 100, p50_ms: 50.0, p95_ms: 95.0, max_ms: 100.0 };
        assert_eq!(Summary::of(&samples), Some(all));
        let one = Summary { count: 1, p50_ms: 7.0, p95_ms: 7.0, max_ms: 7.0 };
        assert_eq!(Summary::of(&[sample(7)]), Some(one));
        assert_eq!(Summary::of(&[]), None);
    }
}
