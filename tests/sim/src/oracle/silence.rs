//! I12: nobody is called silent who was heard, or whom the server was not there to hear.

use std::time::Duration;

use rekindle::id::AgentId;
use rekindle::state::FailureCause;
use rekindle_server_core::effect::Outcome;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::record::{AgentRecord, Record, StateReason};

use super::{Invariant, Oracle};

impl Oracle {
    /// A server has started at `aware`, in time that it was there to hear. Nobody was heard yet, and nobody is silent
    /// before the adoption window has passed.
    pub(crate) fn server_started(&mut self, aware: Duration, adoption_window: Duration) {
        self.contact.clear();
        (self.started, self.adoption_window) = (aware, adoption_window);
    }

    /// An agent's shim could be heard at this time.
    pub(crate) fn heard(&mut self, agent: &AgentId, aware: Duration) {
        // What a start allowed counts no more: the shim was there.
        self.contact.insert(agent.clone(), aware);
    }

    /// Whether somebody is called silent.
    pub(crate) fn is_about_silence(outcome: &Outcome) -> bool {
        outcome.persist.iter().any(|record| match record {
            Record::Event(event) => matches!(event.kind, EventKind::AgentUnreachable | EventKind::AgentCrashed),
            Record::Agent(_)
            | Record::AgentDeleted(_)
            | Record::EventsTrimmed { .. }
            | Record::Request(_)
            | Record::RequestForgotten { .. }
            | Record::Execution(_)
            | Record::ExecutionMessage { .. }
            | Record::ExecutionOutput { .. }
            | Record::ExecutionForgotten { .. }
            | Record::Workflow(_)
            | Record::WorkflowMessage { .. }
            | Record::FirePayload { .. }
            | Record::FirePayloadForgotten { .. }
            | Record::WorkflowDeleted(_)
            | Record::Checkpoint(_)
            | Record::CheckpointContent { .. }
            | Record::CheckpointForgotten { .. }
            | Record::Host(_)
            | Record::HostForgotten(_) => false,
        })
    }

    /// Checks every verdict of silence. A beat may be missing `beat` before the silence began.
    pub(crate) fn silence(&mut self, outcome: &Outcome, aware: Duration, lease: Duration, beat: Duration) {
        for record in &outcome.persist {
            let (agent, least) = match record {
                Record::Event(event) if event.kind == EventKind::AgentUnreachable => {
                    let Event { agent: Some(agent), .. } = &**event else {
                        continue;
                    };
                    (agent, lease)
                }
                Record::Agent(record) if is_timed_out(record) => {
                    (&record.id, record.policy.heartbeat_timeout.max(lease))
                }
                Record::Event(_)
                | Record::Agent(_)
                | Record::AgentDeleted(_)
                | Record::EventsTrimmed { .. }
                | Record::Request(_)
                | Record::RequestForgotten { .. }
                | Record::Execution(_)
                | Record::ExecutionMessage { .. }
                | Record::ExecutionOutput { .. }
                | Record::ExecutionForgotten { .. }
                | Record::Workflow(_)
                | Record::WorkflowMessage { .. }
                | Record::FirePayload { .. }
                | Record::FirePayloadForgotten { .. }
                | Record::WorkflowDeleted(_)
                | Record::Checkpoint(_)
                | Record::CheckpointContent { .. }
                | Record::CheckpointForgotten { .. }
                | Record::Host(_)
                | Record::HostForgotten(_) => continue,
            };
            let (heard, least) = match self.contact.get(agent) {
                Some(heard) => (*heard, least),
                None => (self.started, least.max(self.adoption_window)),
            };
            let silent = aware.saturating_sub(heard);
            if silent + beat < least {
                let what = format!("{agent} is called silent after {silent:?}");
                return self.fail(Invariant::I12, what);
            }
        }
    }
}

fn is_timed_out(record: &AgentRecord) -> bool {
    record.reason == StateReason::Failure(FailureCause::HeartbeatTimeout) && record.state_since == record.updated
}
