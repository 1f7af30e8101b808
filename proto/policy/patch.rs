//! What an update changes of a policy.

use std::time::Duration;

use super::{
    AgentPolicy, Backoff, InterruptPolicy, PolicyError, PolicyFields, RebootPolicy, RestartPolicy, StopSignal,
};
use crate::exit_rule::ExitRule;

/// A change of some of a policy's fields; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyPatch {
    /// See [`PolicyFields`], as for each field below.
    pub heartbeat_timeout: Option<Duration>,
    /// See [`PolicyFields`].
    pub message_timeout: Option<Duration>,
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
    pub max_concurrent: Option<u32>,
    /// See [`PolicyFields`].
    pub queue_limit: Option<u32>,
    /// See [`PolicyFields`].
    pub max_deliveries: Option<u32>,
    /// See [`PolicyFields`].
    pub on_restart: Option<InterruptPolicy>,
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
    /// See [`PolicyFields`].
    pub poison_after: Option<u32>,
}

impl Eq for PolicyPatch {}

impl PolicyPatch {
    /// The policy after the change, checked.
    pub fn apply(&self, base: &AgentPolicy) -> Result<AgentPolicy, PolicyError> {
        AgentPolicy::new(PolicyFields {
            heartbeat_timeout: self.heartbeat_timeout.unwrap_or(base.heartbeat_timeout),
            message_timeout: self.message_timeout.unwrap_or(base.message_timeout),
            start_timeout: self.start_timeout.unwrap_or(base.start_timeout),
            stop_grace: self.stop_grace.unwrap_or(base.stop_grace),
            stop_signal: self.stop_signal.unwrap_or(base.stop_signal),
            restart: self.restart.unwrap_or(base.restart),
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            cooldown: self.cooldown.unwrap_or(base.cooldown),
            backoff: self.backoff.unwrap_or(base.backoff),
            stable_after: self.stable_after.unwrap_or(base.stable_after),
            max_concurrent: self.max_concurrent.unwrap_or(base.max_concurrent),
            queue_limit: self.queue_limit.unwrap_or(base.queue_limit),
            max_deliveries: self.max_deliveries.unwrap_or(base.max_deliveries),
            on_restart: self.on_restart.unwrap_or(base.on_restart),
            on_reboot: self.on_reboot.unwrap_or(base.on_reboot),
            watchdog_timeout: self.watchdog_timeout.unwrap_or(base.watchdog_timeout),
            stall_timeout: self.stall_timeout.unwrap_or(base.stall_timeout),
            blocked_limit: self.blocked_limit.unwrap_or(base.blocked_limit),
            exit_rules: self.exit_rules.clone().unwrap_or_else(|| base.exit_rules.clone()),
            poison_after: self.poison_after.unwrap_or(base.poison_after),
        })
    }
}
