//! `AgentPolicy`: an absent field means the default.

use super::time::{duration_to_wire, optional_duration};
use super::{WireError, known};
use crate::policy::{
    AgentPolicy, Backoff, PolicyError, PolicyFields, PolicyPatch, RebootPolicy, RestartPolicy, StopSignal,
};
use crate::wire::v1;

/// What an absent `backoff.multiplier` means.
const MULTIPLIER_DEFAULT: f64 = 2.0;
/// What an absent `backoff.max` means.
const BACKOFF_MAX_DEFAULT: std::time::Duration = std::time::Duration::from_secs(600);

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
    v1::AgentPolicy {
        heartbeat_timeout: Some(duration_to_wire(policy.heartbeat_timeout)),
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
        on_reboot: on_reboot.into(),
    }
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
    Ok(PolicyPatch {
        heartbeat_timeout: optional_duration(policy.heartbeat_timeout, "heartbeat_timeout")?,
        start_timeout: optional_duration(policy.start_timeout, "start_timeout")?,
        stop_grace: optional_duration(policy.stop_grace, "stop_grace")?,
        stop_signal,
        restart,
        max_attempts: policy.max_attempts,
        cooldown: optional_duration(policy.cooldown, "cooldown")?,
        backoff: policy.backoff.as_ref().map(backoff).transpose()?.map(Some),
        stable_after: optional_duration(policy.stable_after, "stable_after")?,
        on_reboot,
    })
}

/// The change that makes every field what it is in `fields`.
pub(super) fn whole(fields: PolicyFields) -> PolicyPatch {
    PolicyPatch {
        heartbeat_timeout: Some(fields.heartbeat_timeout),
        start_timeout: Some(fields.start_timeout),
        stop_grace: Some(fields.stop_grace),
        stop_signal: Some(fields.stop_signal),
        restart: Some(fields.restart),
        max_attempts: Some(fields.max_attempts),
        cooldown: Some(fields.cooldown),
        backoff: Some(fields.backoff),
        stable_after: Some(fields.stable_after),
        on_reboot: Some(fields.on_reboot),
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
    use std::time::Duration;

    fn between(low: u64, high: u64) -> impl Strategy<Value = Duration> {
        (low * 1_000_000_000..=high * 1_000_000_000).prop_map(Duration::from_nanos)
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
        (times, signal, restart, 0u32..=1000, backoff, on_reboot).prop_map(
            |(times, stop_signal, restart, max_attempts, backoff, on_reboot)| {
                AgentPolicy::new(PolicyFields {
                    heartbeat_timeout: times.0,
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
    }
}
