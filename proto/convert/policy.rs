//! `AgentPolicy`: an absent field means the default.

use std::time::Duration;

use super::time::{duration_to_wire, optional_duration};
use super::{WireError, known};
use crate::exit::{signal_name, signal_number};
use crate::exit_rule::{ExitRule, ExitRuleFields, RuleClass};
use crate::policy::{
    AgentPolicy, Backoff, InterruptPolicy, PolicyError, PolicyFields, PolicyPatch, RebootPolicy, RestartPolicy,
    StopSignal,
};
use crate::wire::v1;

/// What an absent `backoff.multiplier` means.
const MULTIPLIER_DEFAULT: f64 = 2.0;
/// What an absent `backoff.max` means.
const BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(600);
/// Longest name of a signal that is looked at, in bytes.
const SIGNAL_MAX_BYTES: usize = 16;

impl From<PolicyError> for WireError {
    fn from(error: PolicyError) -> Self {
        Self::new(error.field, error.problem)
    }
}

/// Reads a whole policy: what is absent is the default.
///
/// # Errors
/// Names the field that is out of its limits, relative to the policy.
pub fn policy_from_wire(policy: &v1::AgentPolicy) -> Result<AgentPolicy, WireError> {
    let set = set_fields(policy)?;
    Ok(set.apply(&AgentPolicy::default())?)
}

/// Writes a whole policy, every field of it.
pub fn policy_to_wire(policy: &AgentPolicy) -> v1::AgentPolicy {
    let restart = match policy.restart {
        RestartPolicy::OnFailure => v1::RestartPolicy::OnFailure,
        RestartPolicy::Always => v1::RestartPolicy::Always,
        RestartPolicy::Never => v1::RestartPolicy::Never,
    };
    let on_reboot = match policy.on_reboot {
        RebootPolicy::Start => v1::RebootPolicy::Start,
        RebootPolicy::Stay => v1::RebootPolicy::Stay,
    };
    let on_restart = match policy.on_restart {
        InterruptPolicy::Cancel => v1::InterruptPolicy::Cancel,
        InterruptPolicy::Requeue => v1::InterruptPolicy::Requeue,
    };
    v1::AgentPolicy {
        heartbeat_timeout: Some(duration_to_wire(policy.heartbeat_timeout)),
        message_timeout: Some(duration_to_wire(policy.message_timeout)),
        start_timeout: Some(duration_to_wire(policy.start_timeout)),
        stop_grace: Some(duration_to_wire(policy.stop_grace)),
        stop_signal: policy.stop_signal.as_str().to_owned(),
        restart: restart.into(),
        max_attempts: Some(policy.max_attempts),
        cooldown: Some(duration_to_wire(policy.cooldown)),
        backoff: policy.backoff.map(|backoff| v1::Backoff {
            multiplier: backoff.multiplier(),
            max: Some(duration_to_wire(backoff.max)),
            jitter: backoff.jitter(),
        }),
        stable_after: Some(duration_to_wire(policy.stable_after)),
        max_concurrent: Some(policy.max_concurrent),
        queue_limit: Some(policy.queue_limit),
        max_deliveries: Some(policy.max_deliveries),
        on_restart: on_restart.into(),
        on_reboot: on_reboot.into(),
        watchdog_timeout: policy.watchdog_timeout.map(duration_to_wire),
        stall_timeout: policy.stall_timeout.map(duration_to_wire),
        blocked_limit: Some(duration_to_wire(policy.blocked_limit)),
        exit_rules: policy.exit_rules.iter().map(rule_to_wire).collect(),
        poison_after: Some(policy.poison_after),
    }
}

fn rule_to_wire(rule: &ExitRule) -> v1::ExitRule {
    let rule = rule.fields();
    let class = match rule.class {
        RuleClass::Clean => v1::ExitClass::Clean,
        RuleClass::Crash => v1::ExitClass::Crash,
        RuleClass::Quota => v1::ExitClass::Quota,
        RuleClass::Config => v1::ExitClass::Config,
        RuleClass::Auth => v1::ExitClass::Auth,
    };
    let bare = |signal: &i32| {
        let name = signal_name(*signal);
        name.strip_prefix("SIG").map(str::to_owned).unwrap_or(name)
    };
    v1::ExitRule {
        exit_codes: rule.exit_codes.clone(),
        signals: rule.signals.iter().map(bare).collect(),
        output_pattern: rule.output_pattern.clone().unwrap_or_default(),
        exit_class: class.into(),
        park: rule.park.map(duration_to_wire),
    }
}

fn rule_from_wire(rule: &v1::ExitRule) -> Result<ExitRule, WireError> {
    let class = match known(rule.exit_class, "exit_class")? {
        v1::ExitClass::Unspecified => return Err(WireError::missing("exit_class")),
        v1::ExitClass::Clean => RuleClass::Clean,
        v1::ExitClass::Crash => RuleClass::Crash,
        v1::ExitClass::Quota => RuleClass::Quota,
        v1::ExitClass::Config => RuleClass::Config,
        v1::ExitClass::Auth => RuleClass::Auth,
    };
    let signal = |name: &String| {
        let number = (name.len() <= SIGNAL_MAX_BYTES).then(|| signal_number(name)).flatten();
        number.ok_or_else(|| WireError::new("signals", "has a word that is no signal's name"))
    };
    let fields = ExitRuleFields {
        exit_codes: rule.exit_codes.clone(),
        signals: rule.signals.iter().map(signal).collect::<Result<_, _>>()?,
        output_pattern: Some(rule.output_pattern.clone()).filter(|pattern| !pattern.is_empty()),
        class,
        park: optional_duration(rule.park, "park")?,
    };
    // What is wrong with the rule as a whole has no field of its own.
    ExitRule::new(fields).map_err(|error| WireError::new("output_pattern", error.problem))
}

/// Where 0 means that nothing is watched.
fn watched(duration: Option<prost_types::Duration>, field: &str) -> Result<Option<Option<Duration>>, WireError> {
    let duration = optional_duration(duration, field)?;
    Ok(duration.map(|timeout| Some(timeout).filter(|timeout| !timeout.is_zero())))
}

/// The fields that a message sets, as a change.
pub(super) fn set_fields(policy: &v1::AgentPolicy) -> Result<PolicyPatch, WireError> {
    let stop_signal = match policy.stop_signal.as_str() {
        "" => None,
        name if name.len() > 16 => return Err(WireError::new("stop_signal", "is no signal's name")),
        name => Some(StopSignal::parse(name)?),
    };
    let restart = match known(policy.restart, "restart")? {
        v1::RestartPolicy::Unspecified => None,
        v1::RestartPolicy::OnFailure => Some(RestartPolicy::OnFailure),
        v1::RestartPolicy::Always => Some(RestartPolicy::Always),
        v1::RestartPolicy::Never => Some(RestartPolicy::Never),
    };
    let on_reboot = match known(policy.on_reboot, "on_reboot")? {
        v1::RebootPolicy::Unspecified => None,
        v1::RebootPolicy::Start => Some(RebootPolicy::Start),
        v1::RebootPolicy::Stay => Some(RebootPolicy::Stay),
    };
    let on_restart = match known(policy.on_restart, "on_restart")? {
        v1::InterruptPolicy::Unspecified => None,
        v1::InterruptPolicy::Cancel => Some(InterruptPolicy::Cancel),
        v1::InterruptPolicy::Requeue => Some(InterruptPolicy::Requeue),
    };
    Ok(PolicyPatch {
        heartbeat_timeout: optional_duration(policy.heartbeat_timeout, "heartbeat_timeout")?,
        message_timeout: optional_duration(policy.message_timeout, "message_timeout")?,
        start_timeout: optional_duration(policy.start_timeout, "start_timeout")?,
        stop_grace: optional_duration(policy.stop_grace, "stop_grace")?,
        stop_signal,
        restart,
        max_attempts: policy.max_attempts,
        cooldown: optional_duration(policy.cooldown, "cooldown")?,
        backoff: policy.backoff.as_ref().map(backoff).transpose()?.map(Some),
        stable_after: optional_duration(policy.stable_after, "stable_after")?,
        max_concurrent: policy.max_concurrent,
        queue_limit: policy.queue_limit,
        max_deliveries: policy.max_deliveries,
        on_restart,
        on_reboot,
        watchdog_timeout: watched(policy.watchdog_timeout, "watchdog_timeout")?,
        stall_timeout: watched(policy.stall_timeout, "stall_timeout")?,
        blocked_limit: optional_duration(policy.blocked_limit, "blocked_limit")?,
        exit_rules: exit_rules(policy)?,
        poison_after: policy.poison_after,
    })
}

fn exit_rules(policy: &v1::AgentPolicy) -> Result<Option<Vec<ExitRule>>, WireError> {
    if policy.exit_rules.is_empty() {
        return Ok(None);
    }
    let read = |(index, rule)| rule_from_wire(rule).map_err(|error| error.within(&format!("exit_rules[{index}]")));
    Ok(Some(
        policy
            .exit_rules
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()?,
    ))
}

/// The change that makes every field what it is in `fields`.
pub(super) fn whole(fields: PolicyFields) -> PolicyPatch {
    PolicyPatch {
        heartbeat_timeout: Some(fields.heartbeat_timeout),
        message_timeout: Some(fields.message_timeout),
        start_timeout: Some(fields.start_timeout),
        stop_grace: Some(fields.stop_grace),
        stop_signal: Some(fields.stop_signal),
        restart: Some(fields.restart),
        max_attempts: Some(fields.max_attempts),
        cooldown: Some(fields.cooldown),
        backoff: Some(fields.backoff),
        stable_after: Some(fields.stable_after),
        max_concurrent: Some(fields.max_concurrent),
        queue_limit: Some(fields.queue_limit),
        max_deliveries: Some(fields.max_deliveries),
        on_restart: Some(fields.on_restart),
        on_reboot: Some(fields.on_reboot),
        watchdog_timeout: Some(fields.watchdog_timeout),
        stall_timeout: Some(fields.stall_timeout),
        blocked_limit: Some(fields.blocked_limit),
        exit_rules: Some(fields.exit_rules),
        poison_after: Some(fields.poison_after),
    }
}

fn backoff(backoff: &v1::Backoff) -> Result<Backoff, WireError> {
    let multiplier = if backoff.multiplier == 0.0 {
        MULTIPLIER_DEFAULT
    } else {
        backoff.multiplier
    };
    let max = optional_duration(backoff.max, "backoff.max")?.unwrap_or(BACKOFF_MAX_DEFAULT);
    Ok(Backoff::new(multiplier, max, backoff.jitter)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn between(low: u64, high: u64) -> impl Strategy<Value = Duration> {
        (low * 1_000_000_000..=high * 1_000_000_000).prop_map(Duration::from_nanos)
    }

    fn any_rule() -> impl Strategy<Value = ExitRule> {
        let codes = proptest::collection::vec(0..=255, 0..3);
        let signals = proptest::collection::vec(1..=31, 0..3);
        let class = (0..RuleClass::ALL.len()).prop_map(|index| RuleClass::ALL[index]);
        (codes, signals, "[a-z]{1,9}", class, between(1, 3600)).prop_map(
            |(exit_codes, signals, pattern, class, park)| {
                ExitRule::new(ExitRuleFields {
                    exit_codes,
                    signals,
                    output_pattern: Some(pattern),
                    class,
                    park: (class == RuleClass::Quota).then_some(park),
                })
                .expect("within limits")
            },
        )
    }

    pub(in super::super) fn any_policy() -> impl Strategy<Value = AgentPolicy> {
        const DAY: u64 = 24 * 3600;
        let restart = prop_oneof![
            Just(RestartPolicy::OnFailure),
            Just(RestartPolicy::Always),
            Just(RestartPolicy::Never)
        ];
        let on_reboot = prop_oneof![Just(RebootPolicy::Start), Just(RebootPolicy::Stay)];
        let backoff = proptest::option::of((1.0f64..=10.0, between(0, DAY), 0.0f64..=1.0));
        let times = (
            between(1, 30 * DAY),
            between(1, DAY),
            between(0, 3600),
            between(0, DAY),
            between(1, 30 * DAY),
        );
        let signal = (0..StopSignal::ALL.len()).prop_map(|index| StopSignal::ALL[index]);
        let on_restart = prop_oneof![Just(InterruptPolicy::Cancel), Just(InterruptPolicy::Requeue)];
        let work = (between(1, 7 * DAY), 1u32..=64, 0u32..=10_000, 1u32..=100, on_restart);
        let watches = (
            proptest::option::of(between(1, DAY)),
            proptest::option::of(between(1, DAY)),
            between(1, DAY),
            proptest::collection::vec(any_rule(), 0..4),
            0u32..=1000,
        );
        (times, signal, restart, 0u32..=1000, backoff, on_reboot, watches, work).prop_map(
            |(times, stop_signal, restart, max_attempts, backoff, on_reboot, watches, work)| {
                AgentPolicy::new(PolicyFields {
                    heartbeat_timeout: times.0,
                    message_timeout: work.0,
                    max_concurrent: work.1,
                    queue_limit: work.2,
                    max_deliveries: work.3,
                    on_restart: work.4,
                    start_timeout: times.1,
                    stop_grace: times.2,
                    stop_signal,
                    restart,
                    max_attempts,
                    cooldown: times.3,
                    backoff: backoff
                        .map(|(multiplier, max, jitter)| Backoff::new(multiplier, max, jitter).expect("within limits")),
                    stable_after: times.4,
                    on_reboot,
                    watchdog_timeout: watches.0,
                    stall_timeout: watches.1,
                    blocked_limit: watches.2,
                    exit_rules: watches.3,
                    poison_after: watches.4,
                })
                .expect("within limits")
            },
        )
    }

    proptest! {
        #[test]
        fn policies_round_trip(policy in any_policy()) {
            prop_assert_eq!(policy_from_wire(&policy_to_wire(&policy)), Ok(policy));
        }
    }

    #[test]
    fn absent_is_default() {
        assert_eq!(
            policy_from_wire(&v1::AgentPolicy::default()),
            Ok(AgentPolicy::default())
        );
        let message = v1::AgentPolicy {
            max_attempts: Some(0),
            backoff: Some(v1::Backoff::default()),
            ..Default::default()
        };
        let policy = policy_from_wire(&message).expect("valid");
        assert_eq!(policy.max_attempts, 0, "0 is not absent");
        assert_eq!(
            policy.backoff,
            Some(Backoff::new(2.0, Duration::from_secs(600), 0.0).expect("valid"))
        );
    }

    #[test]
    fn errors_name_the_field() {
        let field = |message: v1::AgentPolicy| policy_from_wire(&message).err().map(|error| error.field);
        let message = |change: fn(&mut v1::AgentPolicy)| {
            let mut message = v1::AgentPolicy::default();
            change(&mut message);
            message
        };
        let negative = prost_types::Duration { seconds: -1, nanos: 0 };
        assert_eq!(field(message(|m| m.restart = 9)).as_deref(), Some("restart"));
        assert_eq!(
            field(message(|m| m.stop_signal = "CONT".into())).as_deref(),
            Some("stop_signal")
        );
        let cooldown = v1::AgentPolicy {
            cooldown: Some(negative),
            ..Default::default()
        };
        assert_eq!(field(cooldown).as_deref(), Some("cooldown"));
        let nan = message(|m| {
            m.backoff = Some(v1::Backoff {
                multiplier: f64::NAN,
                max: None,
                jitter: 0.0,
            });
        });
        assert_eq!(field(nan).as_deref(), Some("backoff.multiplier"));
        let rule = |rule: v1::ExitRule| {
            let exit_rules = vec![rule];
            field(v1::AgentPolicy {
                exit_rules,
                ..Default::default()
            })
        };
        let class = v1::ExitClass::Auth.into();
        let pattern = v1::ExitRule {
            output_pattern: "(".into(),
            exit_class: class,
            ..Default::default()
        };
        assert_eq!(rule(pattern).as_deref(), Some("exit_rules[0].output_pattern"));
        let signal = v1::ExitRule {
            signals: vec!["NONE".into()],
            exit_class: class,
            ..Default::default()
        };
        assert_eq!(rule(signal).as_deref(), Some("exit_rules[0].signals"));
        let classless = v1::ExitRule {
            exit_codes: vec![1],
            ..Default::default()
        };
        assert_eq!(rule(classless).as_deref(), Some("exit_rules[0].exit_class"));
    }
}
