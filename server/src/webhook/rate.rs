//! How often one webhook may be called: a bucket for each, filled at a steady rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rekindle::workflow::WorkflowId;

/// Calls at once, before the rate counts: what a deploy of many parts sends in one moment.
const BURST: u32 = 200;

/// Time that one more call takes to be allowed again: fifty calls a second are far more than agents work off, and each
/// is written to disk.
const REFILL: Duration = Duration::from_millis(20);

/// Buckets that are kept before those that are full again are looked for.
const SWEEP_AT: usize = 1024;

/// The buckets of those who were called lately. Only callers with the right secret come this far.
#[derive(Debug, Default)]
pub(super) struct Rate(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// When each bucket will be full again.
    full_at: HashMap<WorkflowId, Instant>,
    sweep_at: usize,
}

impl Rate {
    /// Takes a call of this workflow.
    ///
    /// # Errors
    /// Too many came: how long to wait.
    pub(super) fn take(&self, workflow: &WorkflowId, now: Instant) -> Result<(), Duration> {
        // Nothing panics between the writes of one update.
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.full_at.len() >= buckets.sweep_at.max(SWEEP_AT) {
            buckets.full_at.retain(|_, full_at| *full_at > now);
            buckets.sweep_at = buckets.full_at.len() * 2;
        }
        let full_at = buckets.full_at.get(workflow).copied().unwrap_or(now).max(now);
        let then = full_at + REFILL;
        match (then - now).checked_sub(REFILL * BURST).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => {
                buckets.full_at.insert(workflow.clone(), then);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate() {
        let (rate, begin) = (Rate::default(), Instant::now());
        let workflow = WorkflowId::new("w").expect("valid");
        for _ in 0..BURST {
            assert_eq!(rate.take(&workflow, begin), Ok(()));
        }
        assert_eq!(rate.take(&workflow, begin), Err(REFILL));
        let other = WorkflowId::new("other").expect("valid");
        assert_eq!(rate.take(&other, begin), Ok(()), "each has its own");
        let later = begin + REFILL;
        assert_eq!(rate.take(&workflow, later), Ok(()));
        assert_eq!(rate.take(&workflow, later), Err(REFILL), "a refusal costs nothing");
        let rested = later + REFILL * BURST;
        for _ in 0..BURST {
            assert_eq!(rate.take(&workflow, rested), Ok(()));
        }
        assert!(rate.take(&workflow, rested).is_err());
    }

    #[test]
    fn who_rests_takes_no_room() {
        let (rate, begin) = (Rate::default(), Instant::now());
        for number in 0..10 * SWEEP_AT {
            let workflow = WorkflowId::new(&format!("w{number}")).expect("valid");
            let now = begin + REFILL * u32::try_from(number).expect("few");
            assert_eq!(rate.take(&workflow, now), Ok(()));
        }
        let kept = rate.0.lock().expect("whole").full_at.len();
        assert!(kept <= SWEEP_AT + 1, "{kept}");
    }
}
