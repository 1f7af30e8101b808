//! What filters can ask of agents and events.

use std::borrow::Cow;
use std::sync::Arc;

use rekindle::state::Desired;
use rekindle_server_core::event::Event;
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::record::AgentRecord;
use rekindle_server_core::workflow::WorkflowRecord;

use super::filter::{Field, Filter, Kind, Subject, Value};
use crate::handle::Handle;
use crate::snapshot::Snapshot;
use crate::status::invalid;

/// Reads the `filter` of a request.
pub(super) fn filter<S: Subject>(text: &str) -> Result<Filter<S>, tonic::Status> {
    Filter::parse(text).map_err(|error| invalid("filter", error.to_string()))
}

/// An agent, and whether its shim is connected.
pub(super) struct AgentSubject<'a> {
    pub(super) record: &'a AgentRecord,
    pub(super) handle: &'a Handle,
}

const STATES: &[&str] = &[
    "PENDING",
    "STARTING",
    "RUNNING",
    "UNREACHABLE",
    "CRASHED",
    "STOPPING",
    "STOPPED",
    "TERMINATED",
    "QUARANTINED",
];

impl Subject for AgentSubject<'_> {
    const FIELDS: &'static [Field] = &[
        Field {
            name: "name",
            kind: Kind::Text,
        },
        Field {
            name: "state",
            kind: Kind::Word {
                prefix: "AGENT_STATE_",
                words: STATES,
            },
        },
        Field {
            name: "state_reason",
            kind: Kind::Text,
        },
        Field {
            name: "desired_state",
            kind: Kind::Word {
                prefix: "DESIRED_STATE_",
                words: &["RUNNING", "STOPPED"],
            },
        },
        Field {
            name: "ready",
            kind: Kind::Flag,
        },
        Field {
            name: "connection.connected",
            kind: Kind::Flag,
        },
        Field {
            name: "connection.host",
            kind: Kind::Text,
        },
        Field {
            name: "incarnation",
            kind: Kind::Number,
        },
        Field {
            name: "labels",
            kind: Kind::Map,
        },
    ];

    fn value(&self, field: &'static str, key: &str) -> Option<Value<'_>> {
        let record = self.record;
        Some(match field {
            "name" => Value::Text(Cow::Owned(record.id.name())),
            "state" => Value::Text(Cow::Borrowed(record.state.as_str())),
            "state_reason" => Value::Text(Cow::Borrowed(record.reason.as_str())),
            "desired_state" => Value::Text(Cow::Borrowed(match record.desired {
                Desired::Running => "RUNNING",
                Desired::Stopped => "STOPPED",
            })),
            "ready" => Value::Flag(record.is_ready()),
            "connection.connected" => Value::Flag(self.handle.live(&record.id, record.epoch).is_some()),
            "connection.host" => Value::Text(Cow::Borrowed(&record.holder.as_ref()?.host.name)),
            "incarnation" => Value::Number(record.incarnation.get()),
            "labels" => Value::Text(Cow::Borrowed(record.labels.get(key)?)),
            _ => return None,
        })
    }
}

/// An execution.
pub(super) struct ExecutionSubject<'a>(pub(super) &'a ExecutionRecord);

const EXECUTION_STATES: &[&str] = &[
    "QUEUED",
    "DISPATCHED",
    "ACCEPTED",
    "RUNNING",
    "SUCCEEDED",
    "FAILED",
    "CANCELLED",
    "TIMED_OUT",
    "LOST",
    "DEAD_LETTER",
];

impl Subject for ExecutionSubject<'_> {
    const FIELDS: &'static [Field] = &[
        Field {
            name: "name",
            kind: Kind::Text,
        },
        Field {
            name: "state",
            kind: Kind::Word {
                prefix: "EXECUTION_STATE_",
                words: EXECUTION_STATES,
            },
        },
        Field {
            name: "attempt",
            kind: Kind::Number,
        },
        Field {
            name: "incarnation",
            kind: Kind::Number,
        },
        Field {
            name: "cancelling",
            kind: Kind::Flag,
        },
        Field {
            name: "workflow",
            kind: Kind::Text,
        },
    ];

    fn value(&self, field: &'static str, _key: &str) -> Option<Value<'_>> {
        let record = self.0;
        Some(match field {
            "name" => Value::Text(Cow::Owned(record.id.name(&record.agent))),
            "state" => Value::Text(Cow::Borrowed(record.state.as_str())),
            "attempt" => Value::Number(record.attempt.into()),
            "incarnation" => Value::Number(record.given_to.as_ref()?.incarnation.get()),
            "cancelling" => Value::Flag(record.is_being_ended()),
            "workflow" => Value::Text(Cow::Owned(record.workflow.as_ref()?.workflow.name())),
            _ => return None,
        })
    }
}

/// A workflow, and what its runner follows from.
pub(super) struct WorkflowSubject<'a> {
    pub(super) record: &'a WorkflowRecord,
    pub(super) snapshot: &'a Snapshot,
}

const TRIGGERS: &[&str] = &[
    "INTERVAL",
    "CRON",
    "ONE_SHOT",
    "MANUAL",
    "WEBHOOK",
    "AGENT_EVENT",
    "COMPLETION",
];

const RUNNER_STATES: &[&str] = &["DISARMED", "WAITING", "ARMED", "IN_FLIGHT"];

impl Subject for WorkflowSubject<'_> {
    const FIELDS: &'static [Field] = &[
        Field {
            name: "name",
            kind: Kind::Text,
        },
        Field {
            name: "agent",
            kind: Kind::Text,
        },
        Field {
            name: "enabled",
            kind: Kind::Flag,
        },
        Field {
            name: "trigger",
            kind: Kind::Word {
                prefix: "",
                words: TRIGGERS,
            },
        },
        Field {
            name: "runner.state",
            kind: Kind::Word {
                prefix: "RUNNER_STATE_",
                words: RUNNER_STATES,
            },
        },
        Field {
            name: "runner.pending",
            kind: Kind::Number,
        },
    ];

    fn value(&self, field: &'static str, _key: &str) -> Option<Value<'_>> {
        let Self { record, snapshot } = self;
        Some(match field {
            "name" => Value::Text(Cow::Owned(record.id.name())),
            "agent" => Value::Text(Cow::Owned(record.spec.agent.name())),
            "enabled" => Value::Flag(record.spec.enabled),
            "trigger" => Value::Text(Cow::Owned(record.spec.trigger.as_str().to_ascii_uppercase())),
            "runner.state" => {
                let agent = snapshot.agents.get(&record.spec.agent);
                let live = snapshot.executions.of_workflow(record);
                let runner = record.runner(agent.map(|agent| &**agent), live.map(|execution| &**execution));
                Value::Text(Cow::Borrowed(runner.state.as_str()))
            }
            "runner.pending" => Value::Number(record.pending.len() as u64),
            _ => return None,
        })
    }
}

/// An event.
pub(super) struct EventSubject(pub(super) Arc<Event>);

const EVENT_TYPES: &[&str] = &[
    "AGENT_REGISTERED",
    "AGENT_STARTING",
    "AGENT_STARTED",
    "AGENT_READY",
    "AGENT_CRASHED",
    "AGENT_UNREACHABLE",
    "AGENT_RECONNECTED",
    "AGENT_RESTARTED",
    "AGENT_STOPPING",
    "AGENT_STOPPED",
    "AGENT_TERMINATED",
    "AGENT_QUARANTINED",
    "AGENT_TAKEN_OVER",
    "AGENT_DELETED",
    "RECOVERY_SCHEDULED",
    "RECOVERY_STARTED",
    "RECOVERY_SUCCEEDED",
    "RECOVERY_EXHAUSTED",
    "EXECUTION_QUEUED",
    "EXECUTION_DISPATCHED",
    "EXECUTION_ACCEPTED",
    "EXECUTION_RUNNING",
    "EXECUTION_SUCCEEDED",
    "EXECUTION_FAILED",
    "EXECUTION_CANCELLED",
    "EXECUTION_TIMED_OUT",
    "EXECUTION_LOST",
    "EXECUTION_DEAD_LETTER",
    "EXECUTION_VERDICTS_HELD",
    "EXECUTION_DISOWNED",
    "EXECUTION_STRANDED",
    "EXECUTION_QUARANTINED",
    "WORKFLOW_CREATED",
    "WORKFLOW_UPDATED",
    "WORKFLOW_DELETED",
    "WORKFLOW_ARMED",
    "WORKFLOW_DISARMED",
    "WORKFLOW_TRIGGERED",
    "WORKFLOW_SKIPPED",
    "WORKFLOW_EXPIRED",
    "CHECKPOINT_SAVED",
    "CHECKPOINT_HANDED_OVER",
    "CHECKPOINT_CLOSED",
    "CHECKPOINT_SET_ASIDE",
    "HOST_REBOOTED",
    "SERVER_STARTED",
    "SERVER_PAUSED",
];

impl Subject for EventSubject {
    const FIELDS: &'static [Field] = &[
        Field {
            name: "type",
            kind: Kind::Word {
                prefix: "EVENT_TYPE_",
                words: EVENT_TYPES,
            },
        },
        Field {
            name: "agent",
            kind: Kind::Text,
        },
        Field {
            name: "execution",
            kind: Kind::Text,
        },
        Field {
            name: "workflow",
            kind: Kind::Text,
        },
        Field {
            name: "sequence",
            kind: Kind::Number,
        },
        Field {
            name: "incarnation",
            kind: Kind::Number,
        },
        Field {
            name: "attributes",
            kind: Kind::Map,
        },
    ];

    fn value(&self, field: &'static str, key: &str) -> Option<Value<'_>> {
        let event = &self.0;
        Some(match field {
            "type" => Value::Text(Cow::Borrowed(event.kind.as_str())),
            "agent" => Value::Text(Cow::Owned(event.agent.as_ref()?.name())),
            "execution" => Value::Text(Cow::Owned(event.execution.as_ref()?.name(event.agent.as_ref()?))),
            "workflow" => Value::Text(Cow::Owned(event.workflow.as_ref()?.name())),
            "sequence" => Value::Number(event.sequence.get()),
            "incarnation" => Value::Number(event.incarnation.get()),
            "attributes" => Value::Text(Cow::Borrowed(event.attributes.get(key)?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle::execution::ExecutionState;
    use rekindle::state::AgentState;
    use rekindle_server_core::event::EventKind;
    use rekindle_server_core::workflow::RunnerState;

    #[test]
    fn every_word_can_be_filtered_for() {
        assert_eq!(STATES, AgentState::ALL.map(AgentState::as_str));
        assert_eq!(EXECUTION_STATES, ExecutionState::ALL.map(ExecutionState::as_str));
        assert_eq!(RUNNER_STATES, RunnerState::ALL.map(RunnerState::as_str));
        assert_eq!(EVENT_TYPES, EventKind::ALL.map(EventKind::as_str));
    }
}
