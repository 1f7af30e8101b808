//! The arithmetic of automatic recovery: whether, and when, an agent that failed is started again.
//!
//! The server decides by it, and a shim that is cut off does; neither has a second copy. Invariant I3 rests on it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::ExitClass;
use crate::policy::{AgentPolicy, RestartPolicy};
use crate::time::{MonoTime, Now, Timestamp};

/// What is spent of the budget. Durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Attempts since the count last returned to zero.
    pub attempts: u32,
    /// When the newest of them began.
    pub last_attempt: Option<Timestamp>,
}

/// What follows an end that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start again at this time, which may have passed. Whether that spends an attempt.
    Restart {
        /// When.
        at: Timestamp,
        /// Whether the budget pays for it.
        spends: Spends,
    },
    /// The budget is spent.
    Exhausted,
    /// No restart can help.
    Hopeless,
    /// The work is done, and the policy does not repeat it.
    Finished,
    /// The policy leaves it to operators.
    LeftToOperators,
}

/// Whether a restart is paid for by the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spends {
    /// One attempt.
    Attempt,
    /// Nothing.
    Nothing,
}

/// Shortest pause after an end that spends nothing, so that one whose time has passed already is no hot loop.
const PARK_MIN: Duration = Duration::from_secs(1);

/// Decides what follows an end at `ended_at` of class `class`.
///
/// `salt` makes the jitter of different agents differ, and that of one agent and attempt the same each time it is
/// asked for: the deadline is never stored.
pub fn verdict(policy: &AgentPolicy, budget: Budget, class: ExitClass, ended_at: Timestamp, salt: u64) -> Verdict {
    let at = match budget.last_attempt {
        Some(last) => last
            .saturating_add(wait_before(policy, budget.attempts.saturating_add(1), salt))
            .max(ended_at),
        None => ended_at,
    };
    match (policy.restart, class) {
        (_, ExitClass::Interrupted) => Verdict::Restart {
            at: ended_at,
            spends: Spends::Nothing,
        },
        (_, ExitClass::Config | ExitClass::Auth) => Verdict::Hopeless,
        (RestartPolicy::Never, ExitClass::Clean) | (RestartPolicy::OnFailure, ExitClass::Clean) => Verdict::Finished,
        (RestartPolicy::Never, ExitClass::Crash | ExitClass::Quota { .. }) => Verdict::LeftToOperators,
        (RestartPolicy::OnFailure | RestartPolicy::Always, ExitClass::Quota { until }) => Verdict::Restart {
            at: until.max(ended_at.saturating_add(policy.cooldown.max(PARK_MIN))),
            spends: Spends::Nothing,
        },
        (RestartPolicy::Always, ExitClass::Clean) => Verdict::Restart {
            at,
            spends: Spends::Nothing,
        },
        (RestartPolicy::OnFailure | RestartPolicy::Always, ExitClass::Crash) => {
            if budget.attempts >= policy.max_attempts {
                Verdict::Exhausted
            } else {
                Verdict::Restart {
                    at,
                    spends: Spends::Attempt,
                }
            }
        }
    }
}

/// A pause before an attempt, in full, and what it is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// From the attempt before.
    SinceAttempt(Duration),
    /// From the end of the newest life.
    SinceEnd(Duration),
}

impl Pause {
    /// Nothing is waited for.
    pub const NONE: Self = Self::SinceEnd(Duration::ZERO);

    /// How long it is.
    pub const fn full(self) -> Duration {
        match self {
            Self::SinceAttempt(full) | Self::SinceEnd(full) => full,
        }
    }

    /// What is left of it at `now`, where the attempt that it leads to is due at `at`. An attempt that began in the life
    /// of the monotonic clock, `attempted`, is counted from by that, as it does not jump (I12).
    pub fn left(self, at: Timestamp, now: Now, attempted: Option<MonoTime>) -> Duration {
        match (self, attempted) {
            (Self::SinceAttempt(full), Some(attempted)) => full.saturating_sub(now.mono.saturating_since(attempted)),
            (Self::SinceAttempt(full) | Self::SinceEnd(full), _) => full.min(at.saturating_since(now.wall)),
        }
    }
}

/// The pause before what [`verdict`] decides, for the same arguments.
pub fn pause(policy: &AgentPolicy, budget: Budget, class: ExitClass, ended_at: Timestamp, salt: u64) -> Pause {
    match (class, budget.last_attempt) {
        (ExitClass::Quota { .. }, _) => match verdict(policy, budget, class, ended_at, salt) {
            Verdict::Restart { at, .. } => Pause::SinceEnd(at.saturating_since(ended_at)),
            Verdict::Exhausted | Verdict::Hopeless | Verdict::Finished | Verdict::LeftToOperators => Pause::NONE,
        },
        (ExitClass::Interrupted, _) => Pause::NONE,
        (ExitClass::Clean | ExitClass::Crash | ExitClass::Config | ExitClass::Auth, Some(_)) => {
            Pause::SinceAttempt(wait_before(policy, budget.attempts.saturating_add(1), salt))
        }
        (ExitClass::Clean | ExitClass::Crash | ExitClass::Config | ExitClass::Auth, None) => Pause::NONE,
    }
}

/// The wait between attempt `attempt - 1` and attempt `attempt`: the policy's cooldown, lengthened by its backoff.
pub fn wait_before(policy: &AgentPolicy, attempt: u32, salt: u64) -> Duration {
    let Some(backoff) = policy.backoff else {
        return policy.cooldown;
    };
    let exponent = i32::try_from(attempt.saturating_sub(2)).unwrap_or(i32::MAX);
    let longest = backoff.max.max(policy.cooldown).as_secs_f64();
    let full = (policy.cooldown.as_secs_f64() * backoff.multiplier().powi(exponent)).min(longest);
    let share = unit_interval(salt ^ u64::from(attempt));
    Duration::try_from_secs_f64(full * (1.0 - backoff.jitter() * share)).unwrap_or(backoff.max)
}

/// A number in [0, 1) that depends on every bit of `seed` (the finalizer of SplitMix64).
fn unit_interval(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let numerator = (z >> 11) as f64;
    numerator / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Backoff, PolicyFields};
    use proptest::prelude::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_nanos(seconds * 1_000_000_000)
    }

    fn policy(change: impl FnOnce(&mut PolicyFields)) -> AgentPolicy {
        let mut fields = PolicyFields::default();
        change(&mut fields);
        AgentPolicy::new(fields).expect("valid")
    }

    fn spent(attempts: u32, last: u64) -> Budget {
        Budget {
            attempts,
            last_attempt: Some(at(last)),
        }
    }

    #[test]
    fn the_default_budget() {
        let policy = AgentPolicy::default();
        let crash = |budget, now| verdict(&policy, budget, ExitClass::Crash, at(now), 7);
        let restart = |t| Verdict::Restart {
            at: at(t),
            spends: Spends::Attempt,
        };
        assert_eq!(
            crash(Budget::default(), 100),
            restart(100),
            "the first attempt comes at once"
        );
        assert_eq!(
            crash(spent(1, 100), 101),
            restart(160),
            "the second waits for the cooldown"
        );
        assert_eq!(
            crash(spent(2, 160), 500),
            restart(500),
            "a cooldown that has passed delays nothing"
        );
        assert_eq!(crash(spent(3, 220), 500), Verdict::Exhausted);
    }

    #[test]
    fn classes_and_policies() {
        let decide = |restart, class| verdict(&policy(|fields| fields.restart = restart), spent(3, 0), class, at(1), 0);
        assert_eq!(decide(RestartPolicy::OnFailure, ExitClass::Clean), Verdict::Finished);
        assert_eq!(decide(RestartPolicy::Never, ExitClass::Clean), Verdict::Finished);
        assert_eq!(decide(RestartPolicy::Never, ExitClass::Crash), Verdict::LeftToOperators);
        assert_eq!(
            decide(RestartPolicy::Always, ExitClass::Clean),
            Verdict::Restart {
                at: at(60),
                spends: Spends::Nothing
            },
            "a clean exit spends nothing, and is paced all the same"
        );
    }

    #[test]
    fn what_a_restart_cannot_cure_or_need_not_pay_for() {
        let decide = |restart, class| verdict(&policy(|fields| fields.restart = restart), spent(3, 0), class, at(1), 0);
        for restart in [RestartPolicy::OnFailure, RestartPolicy::Always, RestartPolicy::Never] {
            assert_eq!(decide(restart, ExitClass::Config), Verdict::Hopeless);
            assert_eq!(decide(restart, ExitClass::Auth), Verdict::Hopeless);
        }
        for restart in [RestartPolicy::OnFailure, RestartPolicy::Always, RestartPolicy::Never] {
            assert_eq!(
                decide(restart, ExitClass::Interrupted),
                Verdict::Restart {
                    at: at(1),
                    spends: Spends::Nothing
                },
                "who was ended with its message goes on"
            );
        }
        let parked = |until| decide(RestartPolicy::OnFailure, ExitClass::Quota { until: at(until) });
        let restart = |t| Verdict::Restart {
            at: at(t),
            spends: Spends::Nothing,
        };
        assert_eq!(parked(500), restart(500), "a spent budget does not matter");
        assert_eq!(parked(0), restart(61), "a time that has passed is paced all the same");
        let never = decide(RestartPolicy::Never, ExitClass::Quota { until: at(500) });
        assert_eq!(never, Verdict::LeftToOperators);
    }

    #[test]
    fn backoff_grows_to_its_cap() {
        let backoff = Backoff::new(2.0, Duration::from_secs(300), 0.0).expect("valid");
        let policy = policy(|fields| fields.backoff = Some(backoff));
        let waits: Vec<u64> = (2..7)
            .map(|attempt| wait_before(&policy, attempt, 9).as_secs())
            .collect();
        assert_eq!(waits, [60, 120, 240, 300, 300]);
    }

    proptest! {
        #[test]
        fn jitter_only_shortens_and_is_the_same_each_time(attempt in 1u32..2000, salt: u64, jitter in 0.0f64..=1.0) {
            let backoff = Backoff::new(3.0, Duration::from_secs(900), jitter).expect("valid");
            let policy = policy(|fields| fields.backoff = Some(backoff));
            let wait = wait_before(&policy, attempt, salt);
            prop_assert!(wait <= Duration::from_secs(900));
            prop_assert_eq!(wait, wait_before(&policy, attempt, salt));
        }

        #[test]
        fn never_before_the_end_and_never_past_the_budget(attempts in 0u32..10, last in 0u64..1000, end in 0u64..1000) {
            let policy = AgentPolicy::default();
            match verdict(&policy, spent(attempts, last), ExitClass::Crash, at(end), 3) {
                Verdict::Restart { at: when, .. } => {
                    prop_assert!(when >= at(end) && attempts < policy.max_attempts);
                }
                Verdict::Exhausted => prop_assert!(attempts >= policy.max_attempts),
                Verdict::Finished | Verdict::LeftToOperators | Verdict::Hopeless => prop_assert!(false),
            }
        }
    }
}
