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

/// Least, middle and most of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// Half of them are no larger.
    pub median: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of these figures. None of none.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        Some(Self { least, median: figures[figures.len() / 2], most })
    }
}

/// The middle of some figures. Not a number if there are none.
#[must_use]
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    Spread::of(figures).map_or(f64::NAN, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_the_figures_in_any_order() {
        let spread = Spread { least: 1.0, median: 3.0, most: 9.0 };
        assert_eq!(Spread::of([9.0, 1.0, 3.0]), Some(spread));
        assert_eq!(Spread::of([]), None);
        assert!(median([]).is_nan());
    }

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
