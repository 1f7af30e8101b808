//! Arbitrary workflows.

use std::time::Duration;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rekindle::execution::ExecutionState;
use rekindle::id::{FireNumber, Sequence, WorkflowUid};
use rekindle::workflow::{
    AgentEventKind, AgentEvents, Completion, CronText, EXPIRES_AFTER_MAX, EXPIRES_AFTER_MIN, FIRE_KEY_MAX_BYTES,
    FireKey, INTERVAL_MAX, INTERVAL_MIN, Interval, Misfire, Overlap, SecretHash, Trigger, WORKFLOW_ID_MAX_BYTES,
    WorkflowId, WorkflowSpec, WorkflowSpecFields,
};
use rekindle_server_core::workflow::{ErrorOf, Fire, FireSource, FiredBy, LastError, Misfired, WorkflowRecord};

use super::{agent_id, execution_id, request_id, timestamp};

/// Any workflow.
pub(in super::super) fn workflow() -> impl Strategy<Value = WorkflowRecord> {
    let ids = (workflow_id(), any::<u128>(), any::<u64>(), option::of(request_id()));
    let times = (timestamp(), timestamp(), timestamp(), timestamp());
    let secret = option::of(any::<[u8; 32]>().prop_map(SecretHash));
    let standing = (any::<u64>(), any::<u64>(), vec(fire(), 0..4), option::of(last_error()));
    (ids, times, spec(), secret, standing).prop_map(|(ids, times, spec, secret, standing)| {
        let (id, uid, revision, request) = ids;
        let (created, updated, toggled, through) = times;
        let (message_bytes, fired, pending, last_error) = standing;
        WorkflowRecord {
            id,
            uid: WorkflowUid::from_u128(uid),
            revision,
            created,
            updated,
            spec,
            toggled,
            message_bytes,
            secret,
            request,
            fired: FireNumber::new(fired),
            through,
            pending: pending.into(),
            last_error,
        }
    })
}

/// Any workflow's id.
pub(in super::super) fn workflow_id() -> impl Strategy<Value = WorkflowId> {
    let inside = WORKFLOW_ID_MAX_BYTES - 2;
    let pattern = format!("[a-z0-9]([a-z0-9._-]{{0,{inside}}}[a-z0-9])?");
    let pattern = proptest::string::string_regex(&pattern).expect("it is a regular expression");
    pattern.prop_map(|id| WorkflowId::new(&id).expect("the pattern is the alphabet"))
}

/// What any execution of a workflow was made by.
pub(in super::super) fn fired_by() -> impl Strategy<Value = FiredBy> {
    (workflow_id(), any::<u128>(), any::<u64>(), key(), any::<u8>()).prop_map(|(workflow, uid, fire, key, hops)| {
        FiredBy {
            workflow,
            uid: WorkflowUid::from_u128(uid),
            fire: FireNumber::new(fire),
            key,
            hops,
        }
    })
}

fn key() -> impl Strategy<Value = FireKey> {
    let pattern = format!("[!-~]{{1,{FIRE_KEY_MAX_BYTES}}}");
    let pattern = proptest::string::string_regex(&pattern).expect("it is a regular expression");
    pattern.prop_map(|key| FireKey::new(&key).expect("the pattern is the alphabet"))
}

fn spec() -> impl Strategy<Value = WorkflowSpec> {
    let timeout = option::of((1u64..3600).prop_map(Duration::from_secs));
    let policies = (select(&Misfire::ALL[..]), select(&Overlap::ALL[..]));
    let expires = option::of(between(EXPIRES_AFTER_MIN, EXPIRES_AFTER_MAX));
    (agent_id(), any::<bool>(), trigger(), timeout, policies, expires).prop_map(
        |(agent, enabled, trigger, timeout, (misfire, overlap), expires_after)| {
            let fields = WorkflowSpecFields {
                agent,
                enabled,
                trigger,
                timeout,
                misfire,
                overlap,
                expires_after,
            };
            WorkflowSpec::new(fields).expect("within its limits")
        },
    )
}

fn between(min: Duration, max: Duration) -> impl Strategy<Value = Duration> {
    (min.as_secs()..max.as_secs(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let interval = between(INTERVAL_MIN, INTERVAL_MAX);
    let ends: Vec<_> = ExecutionState::ALL
        .into_iter()
        .filter(|state| state.is_over())
        .collect();
    prop_oneof![
        interval.prop_map(|every| Trigger::Interval(Interval::new(every).expect("within"))),
        ("[!-~]{1,40}", "[A-Za-z/_]{1,40}")
            .prop_map(|(cron, zone)| Trigger::Cron(CronText::new(&cron, &zone).expect("printable"))),
        timestamp().prop_map(Trigger::OneShot),
        Just(Trigger::Manual),
        Just(Trigger::Webhook),
        (agent_id(), btree_set(select(AgentEventKind::ALL), 1..4))
            .prop_map(|(agent, types)| Trigger::AgentEvent(AgentEvents::new(agent, types).expect("some"))),
        (workflow_id(), btree_set(select(ends), 1..4))
            .prop_map(|(workflow, ends)| Trigger::Completion(Completion::new(workflow, ends).expect("ends"))),
    ]
}

fn fire() -> impl Strategy<Value = Fire> {
    let misfired = select(vec![Misfired::No, Misfired::Yes]);
    let numbers = (any::<u64>(), any::<u8>(), any::<u64>());
    (numbers, key(), timestamp(), source(), misfired).prop_map(|(numbers, key, at, source, misfired)| {
        let (number, hops, payload_bytes) = numbers;
        Fire {
            number: FireNumber::new(number),
            key,
            at,
            source,
            misfired,
            hops,
            payload_bytes,
        }
    })
}

fn source() -> impl Strategy<Value = FireSource> {
    prop_oneof![
        Just(FireSource::Schedule),
        Just(FireSource::Manual),
        Just(FireSource::Webhook),
        (agent_id(), select(AgentEventKind::ALL), any::<u64>()).prop_map(|(agent, kind, sequence)| {
            let sequence = Sequence::new(sequence);
            FireSource::AgentEvent { agent, kind, sequence }
        }),
        (
            workflow_id(),
            agent_id(),
            execution_id(),
            select(&ExecutionState::ALL[..])
        )
            .prop_map(|(workflow, agent, execution, state)| FireSource::Completion {
                workflow,
                agent,
                execution,
                state,
            }),
    ]
}

fn last_error() -> impl Strategy<Value = LastError> {
    let about = prop_oneof![Just(ErrorOf::Waiting), Just(ErrorOf::Dropped), Just(ErrorOf::Ended)];
    (timestamp(), about, any::<String>()).prop_map(|(time, about, message)| LastError { time, about, message })
}
