//! Arbitrary policies, to their limits.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rekindle::exit_rule::{ExitRule, ExitRuleFields, RuleClass};
use rekindle::policy::{
    AgentPolicy, Backoff, InterruptPolicy, MAX_CONCURRENT_MAX, MAX_DELIVERIES_MAX, MESSAGE_TIMEOUT_MAX,
    MESSAGE_TIMEOUT_MIN, POISON_AFTER_MAX, PolicyFields, QUEUE_LIMIT_MAX, RebootPolicy, RestartPolicy, StopSignal,
};

/// Any policy.
pub(super) fn policy() -> impl Strategy<Value = AgentPolicy> {
    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let backoff = (1.0..=10.0, between(Duration::ZERO, DAY), 0.0..=1.0).prop_map(|(multiplier, max, jitter)| {
        Backoff::new(multiplier, max, jitter).expect("the ranges are the limits")
    });
    let restart = select(vec![
        RestartPolicy::OnFailure,
        RestartPolicy::Always,
        RestartPolicy::Never,
    ]);
    let on_reboot = select(vec![RebootPolicy::Start, RebootPolicy::Stay]);
    let stop = (between(Duration::ZERO, 3600 * SECOND), select(&StopSignal::ALL[..]));
    let start = (
        between(SECOND, 30 * DAY),
        between(SECOND, DAY),
        between(SECOND, 30 * DAY),
    );
    let attempts = (restart, 0..=1000u32, between(Duration::ZERO, DAY), option::of(backoff));
    let watches = (
        option::of(between(SECOND, DAY)),
        option::of(between(SECOND, DAY)),
        between(SECOND, DAY),
        (option::of(exit_rule()), 0..=POISON_AFTER_MAX),
        work_policy(),
    );
    (start, stop, attempts, on_reboot, watches).prop_map(|(start, stop, attempts, on_reboot, watches)| {
        let (watchdog_timeout, stall_timeout, blocked_limit, (exit_rule, poison_after), work) = watches;
        let (heartbeat_timeout, start_timeout, stable_after) = start;
        let (stop_grace, stop_signal) = stop;
        let (restart, max_attempts, cooldown, backoff) = attempts;
        AgentPolicy::new(PolicyFields {
            heartbeat_timeout,
            start_timeout,
            stop_grace,
            stop_signal,
            restart,
            max_attempts,
            cooldown,
            backoff,
            stable_after,
            on_reboot,
            watchdog_timeout,
            stall_timeout,
            blocked_limit,
            exit_rules: exit_rule.into_iter().collect(),
            poison_after,
            ..work
        })
        .expect("the ranges are the limits")
    })
}

/// What of a policy concerns executions.
fn work_policy() -> impl Strategy<Value = PolicyFields> {
    let limits = (1..=MAX_CONCURRENT_MAX, 0..=QUEUE_LIMIT_MAX, 1..=MAX_DELIVERIES_MAX);
    let timeout = between(MESSAGE_TIMEOUT_MIN, MESSAGE_TIMEOUT_MAX);
    (timeout, limits, interrupt()).prop_map(|(message_timeout, limits, on_restart)| {
        let (max_concurrent, queue_limit, max_deliveries) = limits;
        PolicyFields {
            message_timeout,
            max_concurrent,
            queue_limit,
            max_deliveries,
            on_restart,
            ..PolicyFields::default()
        }
    })
}

/// What a restart does with executions.
pub(super) fn interrupt() -> impl Strategy<Value = InterruptPolicy> {
    select(vec![InterruptPolicy::Cancel, InterruptPolicy::Requeue])
}

fn exit_rule() -> impl Strategy<Value = ExitRule> {
    let fields = (0..=255, 1..=64, option::of("[a-z]{1,9}"), select(&RuleClass::ALL[..]));
    fields.prop_map(|(code, signal, output_pattern, class)| {
        ExitRule::new(ExitRuleFields {
            exit_codes: vec![code],
            signals: vec![signal],
            output_pattern,
            class,
            park: None,
        })
        .expect("the ranges are the limits")
    })
}

/// A duration between these, to the nanosecond.
fn between(least: Duration, most: Duration) -> impl Strategy<Value = Duration> {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).expect("less than 584 years");
    (nanos(least)..=nanos(most)).prop_map(Duration::from_nanos)
}
