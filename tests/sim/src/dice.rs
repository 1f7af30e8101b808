//! The one source of randomness of a run.

use std::ops::Range;
use std::time::Duration;

/// A seeded generator with the questions that a world asks.
#[derive(Debug)]
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Whether something of this probability happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.0.f64() < probability
    }

    /// Evenly from a range.
    pub(crate) fn between(&mut self, range: &Range<Duration>) -> Duration {
        let (low, high) = (nanos(range.start), nanos(range.end));
        if high <= low {
            range.start
        } else {
            Duration::from_nanos(self.0.u64(low..high))
        }
    }

    /// Evenly from milliseconds.
    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        self.between(&(Duration::from_millis(range.start)..Duration::from_millis(range.end)))
    }

    /// From an exponential distribution, cut at ten times its mean.
    pub(crate) fn about(&mut self, mean: Duration) -> Duration {
        let share = -(1.0 - self.0.f64()).ln();
        mean.mul_f64(share.min(10.0))
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0.usize(..limit.max(1))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// One of several; `None` of none.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
