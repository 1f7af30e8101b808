//! How an agent is supervised: a policy that exists is valid.

use std::ops::{Deref, RangeInclusive};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit_rule::{ExitRule, RULES_MAX};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A policy before its limits are checked: what [`AgentPolicy`] is made of, and what it reads as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyFields {
    /// Silence of the shim after which the agent counts as crashed; 1 s to 30 days.
    pub heartbeat_timeout: Duration,
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
    /// What follows when the agent's host has rebooted.
    pub on_reboot: RebootPolicy,
    /// Time from ping to ping of a ready agent, past which it counts as hung; 100 ms to 1 day. `None`: not watched.
    #[serde(default)]
    pub watchdog_timeout: Option<Duration>,
    /// Time in which a ready agent must write, ping or use the processor, past which it counts as hung; 1 s to 30 days.
    /// `None`: not watched.
    #[serde(default)]
    pub stall_timeout: Option<Duration>,
    /// Longest time that an agent may say that it is blocked, and `stall_timeout` pauses; 1 s to 30 days.
    #[serde(default = "blocked_limit_default")]
    pub blocked_limit: Duration,
    /// What ends of the program mean; the first that matches decides. At most 16.
    #[serde(default)]
    pub exit_rules: Vec<ExitRule>,
}

/// Somebody who is asked for approval answers within a working day, or is not there.
const BLOCKED_LIMIT_DEFAULT: Duration = DAY;

const fn blocked_limit_default() -> Duration {
    BLOCKED_LIMIT_DEFAULT
}

impl Default for PolicyFields {
    fn default() -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(180),
            start_timeout: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            stop_signal: StopSignal::Term,
            restart: RestartPolicy::OnFailure,
            max_attempts: 3,
            cooldown: Duration::from_secs(60),
            backoff: None,
            stable_after: Duration::from_secs(600),
            on_reboot: RebootPolicy::Start,
            watchdog_timeout: None,
            stall_timeout: None,
            blocked_limit: BLOCKED_LIMIT_DEFAULT,
            exit_rules: Vec::new(),
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
        if fields.max_attempts > MAX_ATTEMPTS_MAX {
            return Err(PolicyError {
                field: "max_attempts",
                problem: format!("{} is more than {MAX_ATTEMPTS_MAX}", fields.max_attempts),
            });
        }
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

/// A change of some of a policy's fields; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyPatch {
    /// See [`PolicyFields`], as for each field below.
    pub heartbeat_timeout: Option<Duration>,
    /// See [`PolicyFields`].
    pub start_timeout: Option<Duration>,
    /// See [`PolicyFields`].
    pub stop_grace: Option<Duration>,
    /// See [`PolicyFields`].
    pub stop_signal: Option<StopSignal>,
    /// See [`PolicyFields`].
    pub restart: Option<RestartPolicy>,
    /// See [`PolicyFields`].
    pub max_attempts: Option<u32>,
    /// See [`PolicyFields`].
    pub cooldown: Option<Duration>,
    /// See [`PolicyFields`]; `Some(None)` removes the backoff.
    pub backoff: Option<Option<Backoff>>,
    /// See [`PolicyFields`].
    pub stable_after: Option<Duration>,
    /// See [`PolicyFields`].
    pub on_reboot: Option<RebootPolicy>,
    /// See [`PolicyFields`]; `Some(None)` switches the watchdog off.
    pub watchdog_timeout: Option<Option<Duration>>,
    /// See [`PolicyFields`]; `Some(None)` switches it off.
    pub stall_timeout: Option<Option<Duration>>,
    /// See [`PolicyFields`].
    pub blocked_limit: Option<Duration>,
    /// See [`PolicyFields`].
    pub exit_rules: Option<Vec<ExitRule>>,
}

impl Eq for PolicyPatch {}

impl PolicyPatch {
    /// The policy after the change, checked.
    pub fn apply(&self, base: &AgentPolicy) -> Result<AgentPolicy, PolicyError> {
        AgentPolicy::new(PolicyFields {
            heartbeat_timeout: self.heartbeat_timeout.unwrap_or(base.heartbeat_timeout),
            start_timeout: self.start_timeout.unwrap_or(base.start_timeout),
            stop_grace: self.stop_grace.unwrap_or(base.stop_grace),
            stop_signal: self.stop_signal.unwrap_or(base.stop_signal),
            restart: self.restart.unwrap_or(base.restart),
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            cooldown: self.cooldown.unwrap_or(base.cooldown),
            backoff: self.backoff.unwrap_or(base.backoff),
            stable_after: self.stable_after.unwrap_or(base.stable_after),
            on_reboot: self.on_reboot.unwrap_or(base.on_reboot),
            watchdog_timeout: self.watchdog_timeout.unwrap_or(base.watchdog_timeout),
            stall_timeout: self.stall_timeout.unwrap_or(base.stall_timeout),
            blocked_limit: self.blocked_limit.unwrap_or(base.blocked_limit),
            exit_rules: self.exit_rules.clone().unwrap_or_else(|| base.exit_rules.clone()),
        })
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

/// What follows when the agent's host has rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RebootPolicy {
    /// The shim starts the agent again; no attempt is spent.
    Start,
    /// The agent stays STOPPED.
    Stay,
}

/// First signal of a stop: those that a program may handle, and KILL for one that must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGKILL.
    Kill,
}

impl StopSignal {
    /// Every stop signal.
    pub const ALL: [Self; 7] = [
        Self::Term,
        Self::Int,
        Self::Quit,
        Self::Hup,
        Self::Usr1,
        Self::Usr2,
        Self::Kill,
    ];

    /// Its name without `SIG`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Kill => "KILL",
        }
    }

    /// From its name, with or without `SIG`, in either case.
    pub fn parse(name: &str) -> Result<Self, PolicyError> {
        let upper = name.trim().to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        Self::ALL
            .into_iter()
            .find(|signal| signal.as_str() == bare)
            .ok_or_else(|| PolicyError {
                field: "stop_signal",
                problem: format!("{name:?} is none of TERM, INT, QUIT, HUP, USR1, USR2, KILL"),
            })
    }
}

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
            Some("max_attempts: 1001 is more than 1000")
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
