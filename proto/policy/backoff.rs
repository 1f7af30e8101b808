//! Waits that grow from attempt to attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, PolicyError, within};

/// Lengthens a cooldown from attempt to attempt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BackoffFields", into = "BackoffFields")]
pub struct Backoff {
    multiplier: f64,
    /// Longest wait.
    pub max: Duration,
    jitter: f64,
}

#[derive(Serialize, Deserialize)]
struct BackoffFields {
    multiplier: f64,
    max: Duration,
    jitter: f64,
}

impl Backoff {
    /// `multiplier` 1 to 10, `max` at most a day, `jitter` 0 to 1.
    pub fn new(multiplier: f64, max: Duration, jitter: f64) -> Result<Self, PolicyError> {
        let error = |field, problem| Err(PolicyError { field, problem });
        if !(1.0..=10.0).contains(&multiplier) {
            return error("backoff.multiplier", format!("{multiplier} is not between 1 and 10"));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return error("backoff.jitter", format!("{jitter} is not between 0 and 1"));
        }
        within("backoff.max", max, Duration::ZERO..=DAY)?;
        Ok(Self {
            multiplier,
            max,
            jitter,
        })
    }

    /// Growth from one wait to the next.
    pub const fn multiplier(&self) -> f64 {
        self.multiplier
    }

    /// Share of a wait that is taken off at random.
    pub const fn jitter(&self) -> f64 {
        self.jitter
    }
}

impl TryFrom<BackoffFields> for Backoff {
    type Error = PolicyError;

    fn try_from(fields: BackoffFields) -> Result<Self, PolicyError> {
        Self::new(fields.multiplier, fields.max, fields.jitter)
    }
}

impl From<Backoff> for BackoffFields {
    fn from(backoff: Backoff) -> Self {
        Self {
            multiplier: backoff.multiplier,
            max: backoff.max,
            jitter: backoff.jitter,
        }
    }
}
