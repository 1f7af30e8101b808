//! What many rounds come to.

use std::time::Duration;

use serde::Serialize;

/// The distribution of one measurement, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// How many rounds were measured.
    pub rounds: usize,
    /// What one round in ten does not exceed: about what it takes when nothing comes in between.
    pub p10_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// What nine rounds in ten do not exceed.
    pub p90_ms: f64,
    /// What 99 of 100 rounds do not exceed; with fewer than 100 rounds, the maximum.
    pub p99_ms: f64,
    /// The slowest round.
    pub max_ms: f64,
}

impl Figures {
    /// Of these samples; `None` without any.
    pub fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let max = *sorted.last()?;
        Some(Self {
            rounds: sorted.len(),
            p10_ms: millis(nearest_rank(&sorted, 10)),
            p50_ms: millis(nearest_rank(&sorted, 50)),
            p90_ms: millis(nearest_rank(&sorted, 90)),
            p99_ms: millis(nearest_rank(&sorted, 99)),
            max_ms: millis(max),
        })
    }
}

/// The smallest sample that is not exceeded by `percent` of them.
fn nearest_rank(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let figures = Figures::of(&samples).expect("there are samples");
        assert_eq!(
            figures,
            Figures {
                rounds: 200,
                p10_ms: 20.0,
                p50_ms: 100.0,
                p90_ms: 180.0,
                p99_ms: 198.0,
                max_ms: 200.0
            }
        );
        let one = Figures::of(&[Duration::from_millis(3)]).expect("there is a sample");
        assert_eq!((one.p50_ms, one.p99_ms), (3.0, 3.0));
        assert_eq!(Figures::of(&[]), None);
    }
}
