//! How an agent is supervised: a policy that exists is valid.

mod backoff;
mod patch;
mod stop_signal;

use std::ops::{Deref, RangeInclusive};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit_rule::{ExitRule, RULES_MAX};

pub use backoff::Backoff;
pub use patch::PolicyPatch;
pub use stop_signal::StopSignal;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A policy before its limits are checked: what [`AgentPolicy`] is made of, and what it reads as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyFields {
    /// Silence of the shim after which the agent counts as crashed; 1 s to 30 days.
    pub heartbeat_timeout: Duration,
    /// Longest run of one execution that names no limit of its own; 100 ms to 7 days.
    pub message_timeout: Duration,
    /// Time from the spawn to readiness, past which the start has failed; 10 ms to 1 day.
    pub start_timeout: Duration,
    /// Time between the stop signal and SIGKILL; 0 (KILL at once) to 1 hour.
    pub stop_grace: Duration,
    /// First signal of a stop.
    pub stop_signal: StopSignal,
    /// When an ended child is started again.
    pub restart: RestartPolicy,
    /// Automatic restarts before the agent is TERMINATED; 0 to 1000.
    pub max_attempts: u32,
    /// Time between two automatic restarts; 0 to 1 day.
    pub cooldown: Duration,
    /// Lengthens `cooldown` from attempt to attempt.
    pub backoff: Option<Backoff>,
    /// Time of RUNNING after which the count of attempts returns to zero; 1 s to 30 days.
    pub stable_after: Duration,
    /// Executions that the agent is given at once; 1 to 64.
    pub max_concurrent: u32,
    /// Executions that may wait for the agent; at most 10,000.
    pub queue_limit: u32,
    /// Deliveries of one execution, the first included, where the agent dies with it; 1 to 100.
    pub max_deliveries: u32,
    /// What becomes of executions that run when an operator restarts or stops the agent.
    pub on_restart: InterruptPolicy,
    /// What follows when the agent's host has rebooted.
    pub on_reboot: RebootPolicy,
    /// Time from ping to ping of a ready agent, past which it counts as hung; 100 ms to 1 day. `None`: not watched.
    pub watchdog_timeout: Option<Duration>,
    /// Time in which a ready agent must write, ping or use the processor, past which it counts as hung; 1 s to 30 days.
    /// `None`: not watched.
    pub stall_timeout: Option<Duration>,
    /// Longest time that an agent may say that it is blocked, and `stall_timeout` pauses; 1 s to 30 days.
    pub blocked_limit: Duration,
    /// What ends of the program mean; the first that matches decides. At most 16.
    pub exit_rules: Vec<ExitRule>,
    /// Crashes in a row of lives that have read the same checkpoint, after which it is set aside; at most 1000, 0 for never.
    pub poison_after: u32,
}

impl Default for PolicyFields {
    fn default() -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(180),
            message_timeout: Duration::from_secs(300),
            start_timeout: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            stop_signal: StopSignal::Term,
            restart: RestartPolicy::OnFailure,
            max_attempts: 3,
            cooldown: Duration::from_secs(60),
            backoff: None,
            stable_after: Duration::from_secs(600),
            max_concurrent: 1,
            queue_limit: 100,
            // Nothing runs twice unasked.
            max_deliveries: 1,
            on_restart: InterruptPolicy::Cancel,
            on_reboot: RebootPolicy::Start,
            watchdog_timeout: None,
            stall_timeout: None,
            // Somebody who is asked for approval answers within a working day, or is not there.
            blocked_limit: DAY,
            exit_rules: Vec::new(),
            // Once may be chance.
            poison_after: 2,
        }
    }
}

/// A valid policy. Read its fields as those of [`PolicyFields`]; change it through [`AgentPolicy::new`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "PolicyFields", into = "PolicyFields")]
pub struct AgentPolicy(PolicyFields);

impl Eq for AgentPolicy {}

/// Which field of a policy is out of its limits, and what they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PolicyError {
    /// The field's name in the API.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl AgentPolicy {
    /// Checks every limit.
    pub fn new(fields: PolicyFields) -> Result<Self, PolicyError> {
        let zero = Duration::ZERO;
        within("heartbeat_timeout", fields.heartbeat_timeout, SECOND..=30 * DAY)?;
        within("start_timeout", fields.start_timeout, Duration::from_millis(10)..=DAY)?;
        within(
            "message_timeout",
            fields.message_timeout,
            MESSAGE_TIMEOUT_MIN..=MESSAGE_TIMEOUT_MAX,
        )?;
        within("stop_grace", fields.stop_grace, zero..=STOP_GRACE_MAX)?;
        within("cooldown", fields.cooldown, zero..=DAY)?;
        within("stable_after", fields.stable_after, SECOND..=30 * DAY)?;
        within("blocked_limit", fields.blocked_limit, SECOND..=30 * DAY)?;
        if let Some(timeout) = fields.watchdog_timeout {
            within("watchdog_timeout", timeout, Duration::from_millis(100)..=DAY)?;
        }
        if let Some(timeout) = fields.stall_timeout {
            within("stall_timeout", timeout, SECOND..=30 * DAY)?;
        }
        if fields.exit_rules.len() > RULES_MAX {
            return Err(PolicyError {
                field: "exit_rules",
                problem: format!("{} rules are more than {RULES_MAX}", fields.exit_rules.len()),
            });
        }
        counted("max_attempts", fields.max_attempts, 0..=MAX_ATTEMPTS_MAX)?;
        counted("max_concurrent", fields.max_concurrent, 1..=MAX_CONCURRENT_MAX)?;
        counted("queue_limit", fields.queue_limit, 0..=QUEUE_LIMIT_MAX)?;
        counted("max_deliveries", fields.max_deliveries, 1..=MAX_DELIVERIES_MAX)?;
        counted("poison_after", fields.poison_after, 0..=POISON_AFTER_MAX)?;
        Ok(Self(fields))
    }

    /// The fields, to be changed and checked again.
    pub fn into_fields(self) -> PolicyFields {
        self.0
    }
}

/// Longest time between the stop signal and SIGKILL, in a policy or a call: a stop that takes longer is no stop.
pub const STOP_GRACE_MAX: Duration = Duration::from_secs(3600);

/// Most automatic restarts that a policy may allow: past that the budget guards nothing.
pub const MAX_ATTEMPTS_MAX: u32 = 1000;

/// Shortest run of one execution: less is over before its process is there.
pub const MESSAGE_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Longest run of one execution: past that it is no message but a service.
pub const MESSAGE_TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Most executions that one agent is given at once: a shim watches each of them, in one thread.
pub const MAX_CONCURRENT_MAX: u32 = 64;

/// Most executions that may wait for one agent: past that whoever sends them has to know.
pub const QUEUE_LIMIT_MAX: u32 = 10_000;

/// Most deliveries of one execution: what has killed its agent so often will do it again.
pub const MAX_DELIVERIES_MAX: u32 = 100;

/// Most crashes that a checkpoint may be read before: as many as there may be restarts.
pub const POISON_AFTER_MAX: u32 = MAX_ATTEMPTS_MAX;

impl Deref for AgentPolicy {
    type Target = PolicyFields;

    fn deref(&self) -> &PolicyFields {
        &self.0
    }
}

impl TryFrom<PolicyFields> for AgentPolicy {
    type Error = PolicyError;

    fn try_from(fields: PolicyFields) -> Result<Self, PolicyError> {
        Self::new(fields)
    }
}

impl From<AgentPolicy> for PolicyFields {
    fn from(policy: AgentPolicy) -> Self {
        policy.0
    }
}

fn within(field: &'static str, value: Duration, limits: RangeInclusive<Duration>) -> Result<(), PolicyError> {
    if limits.contains(&value) {
        return Ok(());
    }
    let show = crate::duration::show;
    let problem = format!(
        "{} is not between {} and {}",
        show(value),
        show(*limits.start()),
        show(*limits.end())
    );
    Err(PolicyError { field, problem })
}

fn counted(field: &'static str, value: u32, limits: RangeInclusive<u32>) -> Result<(), PolicyError> {
    if limits.contains(&value) {
        return Ok(());
    }
    let problem = format!("{value} is not between {} and {}", limits.start(), limits.end());
    Err(PolicyError { field, problem })
}

/// When an ended child is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// After a failure; a clean exit stays ended.
    OnFailure,
    /// After every exit that no operator asked for.
    Always,
    /// By operators only.
    Never,
}

/// What becomes of executions that run when an operator restarts or stops their agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterruptPolicy {
    /// They are CANCELLED.
    #[default]
    Cancel,
    /// They are queued again, as another attempt.
    Requeue,
}

/// What follows when the agent's host has rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RebootPolicy {
    /// The shim starts the agent again; no attempt is spent.
    Start,
    /// The agent stays STOPPED.
    Stay,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_name_their_field() {
        let check = |change: fn(&mut PolicyFields)| {
            let mut fields = PolicyFields::default();
            change(&mut fields);
            AgentPolicy::new(fields).err().map(|error| error.to_string())
        };
        assert_eq!(check(|_| ()), None);
        assert_eq!(check(|p| p.stop_grace = Duration::ZERO), None, "0 means at once");
        assert_eq!(
            check(|p| p.heartbeat_timeout = Duration::ZERO).as_deref(),
            Some("heartbeat_timeout: 0s is not between 1s and 30days")
        );
        assert_eq!(
            check(|p| p.max_attempts = 1001).as_deref(),
            Some("max_attempts: 1001 is not between 0 and 1000")
        );
        assert_eq!(
            check(|p| p.max_concurrent = 0).as_deref(),
            Some("max_concurrent: 0 is not between 1 and 64")
        );
        assert!(check(|p| p.cooldown = Duration::MAX).is_some());
        assert!(Backoff::new(f64::NAN, SECOND, 0.0).is_err());
    }

    #[test]
    fn signals_by_name() {
        assert_eq!(StopSignal::parse("sigterm"), Ok(StopSignal::Term));
        assert!(StopSignal::parse("STOP").is_err(), "a stopped process does not end");
    }
}
