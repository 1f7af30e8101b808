//! Arbitrary records, for round trips: every variant, every text, and numbers from end to end.

mod checkpoint;
mod execution;
mod failure;
mod holder;
mod policy;
mod workflow;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rekindle::id::{AGENT_ID_MAX_BYTES, REQUEST_ID_MAX_BYTES};
use rekindle::id::{AgentId, AgentUid, BootId, Epoch, Incarnation, Marker, ReportSequence, RequestId, Sequence};
use rekindle::process::ProcessIdentity;
use rekindle::recovery::Budget;
use rekindle::state::{AgentState, Desired};
use rekindle::time::Timestamp;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::host::{HostKey, HostRecord};
use rekindle_server_core::record::{
    AgentProcess, AgentRecord, Context, Fate, Operation, OperationKind, ReportCursor, RequestRecord, Resume, Source,
    StateReason,
};

use checkpoint::{asked, line};
pub(super) use checkpoint::{checkpoint, checkpoint_id};
pub(super) use execution::{execution, execution_id};
use failure::{cause, failure};
use holder::{holder, launch};
use policy::policy;
pub(super) use workflow::workflow;
use workflow::{fired_by, workflow_id};

/// Any agent.
pub(super) fn agent() -> impl Strategy<Value = AgentRecord> {
    let identity = (agent_id(), any::<u128>(), timestamp(), timestamp(), any::<u64>());
    let rules = (texts(), source(), policy(), source(), desired());
    let standing = (state(), reason(), timestamp(), incarnation(), option::of(process()));
    let session = (any::<u64>(), option::of(holder()), option::of(cursor()));
    let resume = (incarnation(), option::of(launch())).prop_map(|(incarnation, launch)| Resume { incarnation, launch });
    let failure = (
        option::of(failure()),
        option::of(timestamp()),
        option::of(resume),
        line(),
    );
    let recovery = (budget(), any::<bool>(), option::of(operation()), failure);
    (identity, rules, standing, session, recovery).prop_map(|(identity, rules, standing, session, recovery)| {
        let (id, uid, created, updated, revision) = identity;
        let (labels, labels_source, policy, policy_source, desired) = rules;
        let (state, reason, state_since, incarnation, process) = standing;
        let (epoch, holder, reports) = session;
        let (budget, recovering, operation, (last_failure, parked_until, resume, checkpoint_line)) = recovery;
        AgentRecord {
            id,
            uid: AgentUid::from_u128(uid),
            created,
            updated,
            revision,
            labels,
            labels_source,
            policy,
            policy_source,
            desired,
            state,
            reason,
            state_since,
            incarnation,
            used_elsewhere: Incarnation::new(epoch / 2),
            given_up: Incarnation::new(epoch / 3),
            process,
            epoch: Epoch::new(epoch),
            holder,
            reports,
            budget,
            recovering,
            operation,
            last_failure,
            parked_until,
            resume,
            checkpoint_line,
        }
    })
}

/// Any event.
pub(super) fn event() -> impl Strategy<Value = Event> {
    let fields = (any::<u64>(), timestamp(), select(&EventKind::ALL[..]));
    let about = (
        option::of(agent_id()),
        option::of(execution_id()),
        option::of(workflow_id()),
    );
    (fields, about, incarnation(), any::<String>(), texts()).prop_map(
        |((sequence, time, kind), (agent, execution, workflow), incarnation, message, attributes)| Event {
            sequence: Sequence::new(sequence),
            time,
            kind,
            agent,
            incarnation,
            execution,
            workflow,
            message,
            attributes,
        },
    )
}

/// Any request.
pub(super) fn request() -> impl Strategy<Value = RequestRecord> {
    let fate = prop_oneof![
        Just(Fate::Open),
        any::<String>().prop_map(Fate::Completed),
        any::<String>().prop_map(Fate::Failed),
    ];
    let ids = (agent_id(), request_id());
    (ids, timestamp(), operation_kind(), incarnation(), state(), fate).prop_map(
        |((agent, id), time, kind, target, previous_state, fate)| RequestRecord {
            agent,
            id,
            time,
            kind,
            target,
            previous_state,
            fate,
        },
    )
}

/// Any agent's id.
pub(super) fn agent_id() -> impl Strategy<Value = AgentId> {
    let inside = AGENT_ID_MAX_BYTES - 2;
    let pattern = format!("[a-z0-9]([a-z0-9._-]{{0,{inside}}}[a-z0-9])?");
    let pattern = proptest::string::string_regex(&pattern).expect("it is a regular expression");
    pattern.prop_map(|id| AgentId::new(&id).expect("the pattern is the alphabet"))
}

fn request_id() -> impl Strategy<Value = RequestId> {
    let pattern = format!("[!-~]{{1,{REQUEST_ID_MAX_BYTES}}}");
    let pattern = proptest::string::string_regex(&pattern).expect("it is a regular expression");
    pattern.prop_map(|id| RequestId::new(&id).expect("the pattern is the alphabet"))
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_unix_nanos)
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation::new)
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(any::<String>(), any::<String>(), 0..4)
}

fn source() -> impl Strategy<Value = Source> {
    select(vec![Source::Shim, Source::Operator])
}

fn desired() -> impl Strategy<Value = Desired> {
    select(vec![Desired::Running, Desired::Stopped])
}

fn state() -> impl Strategy<Value = AgentState> {
    select(&AgentState::ALL[..])
}

fn operation_kind() -> impl Strategy<Value = OperationKind> {
    select(vec![OperationKind::Restart, OperationKind::Start, OperationKind::Stop])
}

fn reason() -> impl Strategy<Value = StateReason> {
    let plain = select(vec![
        StateReason::None,
        StateReason::Operator,
        StateReason::Recovery,
        StateReason::FirstStart,
        StateReason::Finished,
        StateReason::Repeat,
        StateReason::Reboot,
        StateReason::ShimStopped,
        StateReason::AwaitingShim,
        StateReason::LeaseExpired,
        StateReason::Survivors,
        StateReason::Agent,
    ]);
    prop_oneof![plain, cause().prop_map(StateReason::Failure)]
}

fn process() -> impl Strategy<Value = AgentProcess> {
    (incarnation(), option::of(identity()), any::<String>()).prop_map(|(incarnation, identity, host)| AgentProcess {
        incarnation,
        identity,
        host,
    })
}

fn identity() -> impl Strategy<Value = ProcessIdentity> {
    let numbers = (any::<u32>(), option::of(any::<u64>()), any::<u64>());
    (any::<u128>(), numbers, timestamp()).prop_map(|(boot_id, numbers, start_time)| {
        let (pid, pidfd_inode, start_time_ticks) = numbers;
        ProcessIdentity {
            boot_id: BootId::from_u128(boot_id),
            pid,
            pidfd_inode,
            start_time_ticks,
            start_time,
        }
    })
}

/// Any host that has rebooted.
pub(super) fn host_record() -> impl Strategy<Value = HostRecord> {
    let machine =
        (any::<String>(), any::<String>()).prop_map(|(name, machine_id)| HostKey::Machine { name, machine_id });
    let directory = (any::<String>(), any::<u128>()).prop_map(|(name, marker)| HostKey::Directory {
        name,
        marker: Marker::from_u128(marker),
    });
    let boots = proptest::collection::vec(any::<u128>(), 1..4);
    (prop_oneof![machine, directory], boots).prop_map(|(key, boots)| {
        let boot = |boot: &u128| BootId::from_u128(*boot);
        let mut host = HostRecord::new(key, boot(&boots[0]));
        host.enter(boot(&boots[0]), boots.iter().map(boot));
        host
    })
}

fn cursor() -> impl Strategy<Value = ReportCursor> {
    (any::<u128>(), any::<u64>()).prop_map(|(marker, sequence)| ReportCursor {
        marker: Marker::from_u128(marker),
        sequence: ReportSequence::new(sequence),
    })
}

fn budget() -> impl Strategy<Value = Budget> {
    (any::<u32>(), option::of(timestamp())).prop_map(|(attempts, last_attempt)| Budget { attempts, last_attempt })
}

fn operation() -> impl Strategy<Value = Operation> {
    let context = select(vec![Context::Resume, Context::Fresh]);
    let rest = (
        option::of(any::<Duration>()),
        vec(execution_id(), 0..3),
        context,
        option::of(asked()),
    );
    (operation_kind(), incarnation(), state(), any::<String>(), rest).prop_map(
        |(kind, target, previous_state, reason, (grace, cancels, context, asked))| Operation {
            kind,
            target,
            previous_state,
            reason,
            grace,
            cancels,
            context,
            asked,
        },
    )
}
