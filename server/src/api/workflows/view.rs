//! Workflows as the API shows them.

use rekindle::convert::{duration_to_wire, timestamp_to_wire};
use rekindle::wire::v1;
use rekindle_server_core::schedule;
use rekindle_server_core::workflow::{RunnerState, WorkflowRecord};

use crate::snapshot::Snapshot;

/// A workflow, without its message.
pub(super) fn workflow(record: &WorkflowRecord, snapshot: &Snapshot) -> v1::Workflow {
    let spec = &record.spec;
    v1::Workflow {
        name: record.id.name(),
        uid: record.uid.to_string(),
        agent: spec.agent.name(),
        enabled: Some(spec.enabled),
        trigger: Some(v1::Trigger::from(&spec.trigger)),
        message: String::new(),
        timeout: spec.timeout.map(duration_to_wire),
        misfire: v1::Misfire::from(spec.misfire).into(),
        overlap: v1::Overlap::from(spec.overlap).into(),
        expires_after: spec.expires_after.map(duration_to_wire),
        runner: Some(runner(record, snapshot)),
        create_time: Some(timestamp_to_wire(record.created)),
        update_time: Some(timestamp_to_wire(record.updated)),
        etag: record.revision.to_string(),
    }
}

fn runner(record: &WorkflowRecord, snapshot: &Snapshot) -> v1::Runner {
    let agent = snapshot.agents.get(&record.spec.agent);
    let live: Vec<_> = snapshot.executions.of_workflow(record).collect();
    let runner = record.runner(agent.map(|agent| &**agent), live.iter().map(|execution| &***execution));
    let state = match runner.state {
        RunnerState::Disarmed => v1::RunnerState::Disarmed,
        RunnerState::Waiting => v1::RunnerState::Waiting,
        RunnerState::Armed => v1::RunnerState::Armed,
        RunnerState::InFlight => v1::RunnerState::InFlight,
    };
    v1::Runner {
        state: state.into(),
        waiting_for: runner.waiting_for,
        since: Some(timestamp_to_wire(runner.since)),
        last_error: record
            .last_error
            .as_ref()
            .map(|error| error.message.clone())
            .unwrap_or_default(),
        next_fire_time: schedule::next_fire_time(record).map(timestamp_to_wire),
        pending: u32::try_from(record.pending.len()).unwrap_or(u32::MAX),
        executions: live
            .iter()
            .map(|execution| execution.id.name(&execution.agent))
            .collect(),
    }
}
