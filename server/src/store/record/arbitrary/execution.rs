//! Arbitrary executions.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rekindle::execution::{EXECUTION_ID_MAX_BYTES, ExecutionId, ExecutionState};
use rekindle::id::{BootId, ExecutionUid, Marker, ReportSequence};
use rekindle_server_core::execution::{AttemptProcess, Ending, ExecutionRecord, GivenTo, OutputSize, Times};

use super::failure::failure;
use super::policy::interrupt;
use super::{agent_id, fired_by, identity, incarnation, request_id, timestamp};

/// Any execution.
pub(in super::super) fn execution() -> impl Strategy<Value = ExecutionRecord> {
    let ids = (agent_id(), execution_id(), any::<u128>(), option::of(request_id()));
    let order = (any::<u64>(), option::of(any::<u64>()));
    let place = (any::<i32>(), order, option::of(timestamp()), any::<Duration>());
    let standing = (any::<u64>(), execution_state(), option::of(ending()), any::<u32>());
    let given = (option::of(given_to()), option::of(given_to()));
    let newest = (given, option::of(attempt_process()), times());
    let end = (option::of(failure()), any::<u64>(), any::<u64>());
    let links = (
        option::of(execution_id()),
        option::of(execution_id()),
        option::of(fired_by()),
    );
    (ids, place, standing, newest, end, links).prop_map(|(ids, place, standing, newest, end, links)| {
        let (agent, id, uid, request) = ids;
        let (priority, (order, end_order), start_by, timeout) = place;
        let (revision, state, ending, attempt) = standing;
        let ((given_to, given_before), process, times) = newest;
        let (failure, kept, dropped) = end;
        let (redrive_of, redriven_as, workflow) = links;
        ExecutionRecord {
            agent,
            id,
            uid: ExecutionUid::from_u128(uid),
            revision,
            state,
            ending,
            priority,
            order,
            end_order,
            timeout,
            start_by,
            attempt,
            given_to,
            given_before,
            process,
            times,
            failure,
            output: OutputSize { kept, dropped },
            request,
            redrive_of,
            redriven_as,
            workflow,
        }
    })
}

/// Any execution's id.
pub(in super::super) fn execution_id() -> impl Strategy<Value = ExecutionId> {
    let inside = EXECUTION_ID_MAX_BYTES - 2;
    let pattern = format!("[a-z0-9]([a-z0-9._-]{{0,{inside}}}[a-z0-9])?");
    let pattern = proptest::string::string_regex(&pattern).expect("it is a regular expression");
    pattern.prop_map(|id| ExecutionId::new(&id).expect("the pattern is the alphabet"))
}

fn execution_state() -> impl Strategy<Value = ExecutionState> {
    select(&ExecutionState::ALL[..])
}

fn ending() -> impl Strategy<Value = Ending> {
    let cancelled = (any::<String>(), option::of(any::<Duration>()));
    prop_oneof![
        cancelled.prop_map(|(reason, grace)| Ending::Cancelled { reason, grace }),
        interrupt().prop_map(Ending::Interrupted),
        Just(Ending::OutOfTime),
    ]
}

fn given_to() -> impl Strategy<Value = GivenTo> {
    (any::<u128>(), any::<u128>(), incarnation(), any::<u64>()).prop_map(|(marker, boot, incarnation, after)| GivenTo {
        marker: Marker::from_u128(marker),
        boot: BootId::from_u128(boot),
        incarnation,
        after: ReportSequence::new(after),
    })
}

fn attempt_process() -> impl Strategy<Value = AttemptProcess> {
    (incarnation(), identity(), any::<String>()).prop_map(|(incarnation, identity, host)| AttemptProcess {
        incarnation,
        identity,
        host,
    })
}

fn times() -> impl Strategy<Value = Times> {
    let step = || option::of(timestamp());
    (timestamp(), step(), step(), step(), (step(), step())).prop_map(
        |(created, dispatched, accepted, started, (ended, closed))| Times {
            created,
            dispatched,
            accepted,
            started,
            ended,
            closed,
        },
    )
}
