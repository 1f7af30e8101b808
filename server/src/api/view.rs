//! Records as the API shows them.

use rekindle::checkpoint::{CheckpointDraft, CheckpointId, ClosedBy, Standing};
use rekindle::convert::{
    activity_to_wire, duration_to_wire, failure_from_evidence, policy_to_wire, process_to_wire, timestamp_to_wire,
};
use rekindle::execution::ExecutionId;
use rekindle::wire::v1;
use rekindle_server_core::checkpoint::CheckpointRecord;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::record::{AgentProcess, AgentRecord, Claim, Failure, Holder, Resume};

use crate::handle::{Handle, Live};

/// An agent, with what is known of its session right now.
pub(super) fn agent(record: &AgentRecord, handle: &Handle) -> v1::Agent {
    let live = handle.live(&record.id, record.epoch);
    // Who is dead says nothing.
    let speaks = live.as_ref().filter(|_| record.process.is_some());
    let activity = speaks.and_then(|live| activity_to_wire(&live.activity));
    v1::Agent {
        name: record.id.name(),
        uid: record.uid.to_string(),
        labels: record.labels.clone(),
        policy: Some(policy_to_wire(&record.policy)),
        desired_state: v1::DesiredState::from(record.desired).into(),
        state: v1::AgentState::from(record.state).into(),
        state_reason: record.reason.as_str().to_owned(),
        activity,
        incarnation: record.incarnation.get(),
        process: record.process.as_ref().and_then(process),
        connection: record.holder.as_ref().map(|holder| connection(record, holder, live)),
        recovery: Some(v1::Recovery {
            attempts: record.budget.attempts,
            max_attempts: record.policy.max_attempts,
            next_attempt_time: record.next_attempt().map(timestamp_to_wire),
        }),
        last_failure: record.last_failure.as_ref().map(failure),
        ready: record.is_ready(),
        create_time: Some(timestamp_to_wire(record.created)),
        update_time: Some(timestamp_to_wire(record.updated)),
        etag: record.revision.to_string(),
        resume: record
            .resume
            .as_ref()
            .map(|resume| self::resume(record, resume, handle)),
    }
}

fn resume(record: &AgentRecord, resume: &Resume, handle: &Handle) -> v1::Resume {
    let snapshot = handle.snapshot();
    let newest = snapshot.checkpoints_of(&record.id).next();
    let open = newest.filter(|newest| record.checkpoint_line.offers(newest));
    let launch = resume.launch.clone().map(v1::Launch::from).unwrap_or_default();
    v1::Resume {
        incarnation: resume.incarnation.get(),
        directory: launch.directory,
        arguments: launch.arguments,
        environment_names: launch.environment_names,
        truncated: launch.truncated,
        checkpoint: open.map(|open| open.id.name(&record.id)).unwrap_or_default(),
    }
}

/// A checkpoint, without its body, of an agent of which this one is open.
pub(super) fn checkpoint(record: &CheckpointRecord, open: Option<CheckpointId>) -> v1::Checkpoint {
    let CheckpointDraft {
        task_id,
        issue,
        workspace,
        branch,
        stage,
        memory_refs,
        values,
    } = (*record.fields).clone().into_draft();
    let state = match record.standing {
        Standing::Open if open == Some(record.id) => v1::CheckpointState::Open,
        Standing::Open => v1::CheckpointState::Superseded,
        Standing::Closed(_) => v1::CheckpointState::Closed,
        Standing::SetAside => v1::CheckpointState::SetAside,
    };
    let closed_by = match record.standing {
        Standing::Closed(ClosedBy::Agent) => v1::CheckpointClosedBy::Agent,
        Standing::Closed(ClosedBy::Task) => v1::CheckpointClosedBy::Task,
        Standing::Closed(ClosedBy::Fresh) => v1::CheckpointClosedBy::Fresh,
        Standing::Open | Standing::SetAside => v1::CheckpointClosedBy::Unspecified,
    };
    let in_flight = record.flags.in_flight.iter();
    v1::Checkpoint {
        name: record.id.name(&record.agent),
        incarnation: record.id.incarnation.get(),
        task_id,
        issue,
        workspace,
        branch,
        stage,
        memory_refs,
        values,
        body: Vec::new(),
        body_bytes: record.body_bytes,
        unclean: record.flags.unclean,
        in_flight: in_flight.map(|id| id.name(&record.agent)).collect(),
        state: state.into(),
        closed_by: closed_by.into(),
        crashes: record.crashes,
        create_time: Some(timestamp_to_wire(record.saved)),
    }
}

fn connection(record: &AgentRecord, holder: &Holder, live: Option<Live>) -> v1::Connection {
    let connected = live.is_some() && holder.claim == Claim::Held;
    let (peer, heard) = match live {
        Some(live) => (live.peer, Some(live.last_heard)),
        None => (String::new(), holder.last_heard),
    };
    v1::Connection {
        connected,
        epoch: record.epoch.get(),
        shim_version: holder.shim_version.clone(),
        peer,
        last_heartbeat_time: heard.map(timestamp_to_wire),
        host: holder.host.name.clone(),
    }
}

fn failure(failure: &Failure) -> v1::Failure {
    let evidence = failure.evidence.as_ref().map(failure_from_evidence).unwrap_or_default();
    v1::Failure {
        cause: v1::FailureCause::from(failure.cause).into(),
        message: failure.message.clone(),
        time: Some(timestamp_to_wire(failure.time)),
        incarnation: failure.incarnation.get(),
        ..evidence
    }
}

/// The process of an agent that has one of its own.
pub(super) fn agent_process(record: &AgentRecord, handle: &Handle) -> Option<v1::AgentProcess> {
    let life = record.process.as_ref()?;
    Some(v1::AgentProcess {
        agent: record.id.name(),
        incarnation: life.incarnation.get(),
        process: Some(process(life)?),
        state: v1::AgentState::from(record.state).into(),
        last_heartbeat_time: last_heard(record, handle),
        execution: String::new(),
    })
}

/// The process of an agent's execution that has one of its own.
pub(super) fn execution_process(
    agent: &AgentRecord,
    execution: &ExecutionRecord,
    handle: &Handle,
) -> Option<v1::AgentProcess> {
    let process = execution.process.as_ref()?;
    Some(v1::AgentProcess {
        agent: agent.id.name(),
        incarnation: process.incarnation.get(),
        process: Some(process_to_wire(&process.identity, &process.host)),
        state: v1::AgentState::from(agent.state).into(),
        last_heartbeat_time: last_heard(agent, handle),
        execution: execution.id.name(&execution.agent),
    })
}

fn process(life: &AgentProcess) -> Option<v1::Process> {
    let identity = life.identity.as_ref()?;
    Some(process_to_wire(identity, &life.host))
}

fn last_heard(record: &AgentRecord, handle: &Handle) -> Option<prost_types::Timestamp> {
    let live = handle.live(&record.id, record.epoch)?;
    Some(timestamp_to_wire(live.last_heard))
}

/// An execution, without its texts.
pub(super) fn execution(record: &ExecutionRecord) -> v1::Execution {
    let times = &record.times;
    let name = |id: &ExecutionId| id.name(&record.agent);
    v1::Execution {
        name: name(&record.id),
        uid: record.uid.to_string(),
        state: v1::ExecutionState::from(record.state).into(),
        message: String::new(),
        timeout: Some(duration_to_wire(record.timeout)),
        schedule_to_start_timeout: record
            .start_by
            .map(|at| duration_to_wire(at.saturating_since(times.created))),
        priority: record.priority,
        attempt: record.attempt,
        incarnation: record.given_to.as_ref().map_or(0, |given| given.incarnation.get()),
        output: String::new(),
        output_truncated: record.output.dropped > 0,
        failure: record.failure.as_ref().map(failure),
        process: record
            .process
            .as_ref()
            .map(|process| process_to_wire(&process.identity, &process.host)),
        create_time: Some(timestamp_to_wire(times.created)),
        dispatch_time: times.dispatched.map(timestamp_to_wire),
        accept_time: times.accepted.map(timestamp_to_wire),
        start_time: times.started.map(timestamp_to_wire),
        end_time: times.ended.map(timestamp_to_wire),
        cancelling: record.is_being_ended(),
        redrive_of: record.redrive_of.as_ref().map(name).unwrap_or_default(),
        redriven_as: record.redriven_as.as_ref().map(name).unwrap_or_default(),
        etag: record.revision.to_string(),
        workflow: record
            .workflow
            .as_ref()
            .map(|by| by.workflow.name())
            .unwrap_or_default(),
        workflow_trigger: record
            .workflow
            .as_ref()
            .map(|by| by.key.to_string())
            .unwrap_or_default(),
    }
}

/// An event.
pub(super) fn event(event: &Event) -> v1::Event {
    v1::Event {
        sequence: event.sequence.get(),
        time: Some(timestamp_to_wire(event.time)),
        r#type: event_type(event.kind).into(),
        agent: event
            .agent
            .as_ref()
            .map(rekindle::id::AgentId::name)
            .unwrap_or_default(),
        incarnation: event.incarnation.get(),
        execution: match (&event.agent, &event.execution) {
            (Some(agent), Some(execution)) => execution.name(agent),
            (Some(_), None) | (None, _) => String::new(),
        },
        workflow: event
            .workflow
            .as_ref()
            .map(rekindle::workflow::WorkflowId::name)
            .unwrap_or_default(),
        message: event.message.clone(),
        attributes: event.attributes.clone(),
    }
}

fn event_type(kind: EventKind) -> v1::EventType {
    match kind {
        EventKind::AgentRegistered => v1::EventType::AgentRegistered,
        EventKind::AgentStarting => v1::EventType::AgentStarting,
        EventKind::AgentStarted => v1::EventType::AgentStarted,
        EventKind::AgentReady => v1::EventType::AgentReady,
        EventKind::AgentCrashed => v1::EventType::AgentCrashed,
        EventKind::AgentUnreachable => v1::EventType::AgentUnreachable,
        EventKind::AgentReconnected => v1::EventType::AgentReconnected,
        EventKind::AgentRestarted => v1::EventType::AgentRestarted,
        EventKind::AgentStopping => v1::EventType::AgentStopping,
        EventKind::AgentStopped => v1::EventType::AgentStopped,
        EventKind::AgentTerminated => v1::EventType::AgentTerminated,
        EventKind::AgentQuarantined => v1::EventType::AgentQuarantined,
        EventKind::AgentTakenOver => v1::EventType::AgentTakenOver,
        EventKind::AgentDeleted => v1::EventType::AgentDeleted,
        EventKind::RecoveryScheduled => v1::EventType::RecoveryScheduled,
        EventKind::RecoveryStarted => v1::EventType::RecoveryStarted,
        EventKind::RecoverySucceeded => v1::EventType::RecoverySucceeded,
        EventKind::RecoveryExhausted => v1::EventType::RecoveryExhausted,
        EventKind::ExecutionQueued => v1::EventType::ExecutionQueued,
        EventKind::ExecutionDispatched => v1::EventType::ExecutionDispatched,
        EventKind::ExecutionAccepted => v1::EventType::ExecutionAccepted,
        EventKind::ExecutionRunning => v1::EventType::ExecutionRunning,
        EventKind::ExecutionSucceeded => v1::EventType::ExecutionSucceeded,
        EventKind::ExecutionFailed => v1::EventType::ExecutionFailed,
        EventKind::ExecutionCancelled => v1::EventType::ExecutionCancelled,
        EventKind::ExecutionTimedOut => v1::EventType::ExecutionTimedOut,
        EventKind::ExecutionLost => v1::EventType::ExecutionLost,
        EventKind::ExecutionDeadLetter => v1::EventType::ExecutionDeadLetter,
        EventKind::ExecutionVerdictsHeld => v1::EventType::ExecutionVerdictsHeld,
        EventKind::ExecutionDisowned => v1::EventType::ExecutionDisowned,
        EventKind::ExecutionStranded => v1::EventType::ExecutionStranded,
        EventKind::ExecutionQuarantined => v1::EventType::ExecutionQuarantined,
        EventKind::WorkflowCreated => v1::EventType::WorkflowCreated,
        EventKind::WorkflowUpdated => v1::EventType::WorkflowUpdated,
        EventKind::WorkflowDeleted => v1::EventType::WorkflowDeleted,
        EventKind::WorkflowArmed => v1::EventType::WorkflowArmed,
        EventKind::WorkflowDisarmed => v1::EventType::WorkflowDisarmed,
        EventKind::WorkflowTriggered => v1::EventType::WorkflowTriggered,
        EventKind::WorkflowSkipped => v1::EventType::WorkflowSkipped,
        EventKind::WorkflowExpired => v1::EventType::WorkflowExpired,
        EventKind::CheckpointSaved => v1::EventType::CheckpointSaved,
        EventKind::CheckpointHandedOver => v1::EventType::CheckpointHandedOver,
        EventKind::CheckpointClosed => v1::EventType::CheckpointClosed,
        EventKind::CheckpointSetAside => v1::EventType::CheckpointSetAside,
        EventKind::HostRebooted => v1::EventType::HostRebooted,
        EventKind::ServerStarted => v1::EventType::ServerStarted,
        EventKind::ServerPaused => v1::EventType::ServerPaused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_have_the_words_of_the_design() {
        for kind in EventKind::ALL {
            assert_eq!(event_type(kind).as_str_name(), format!("EVENT_TYPE_{kind}"));
        }
    }
}
