//! The log: each line that a step adds to it, without holes (I5), and how its oldest lines go.

use std::sync::Arc;

use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Incarnation, Sequence};
use rekindle::workflow::WorkflowId;

use super::step::{Attributes, Step};
use super::{TRIM_STEP, TRIM_STEP_MAX};
use crate::event::{Event, EventKind};
use crate::record::Record;

/// What an event is about.
#[derive(Clone, Copy, Default)]
struct About<'a> {
    agent: Option<&'a AgentId>,
    execution: Option<&'a ExecutionId>,
    workflow: Option<&'a WorkflowId>,
}

impl Step<'_> {
    /// Adds a line to the log, on the fleet or on an agent.
    pub(super) fn event(
        &mut self,
        kind: EventKind,
        agent: Option<&AgentId>,
        incarnation: Incarnation,
        message: impl Into<String>,
        attributes: Attributes,
    ) {
        let about = About {
            agent,
            ..About::default()
        };
        self.log(kind, about, incarnation, message.into(), attributes);
    }

    /// Adds a line to the log, on an execution.
    pub(super) fn execution_event(
        &mut self,
        kind: EventKind,
        (agent, execution): (&AgentId, &ExecutionId),
        incarnation: Incarnation,
        message: impl Into<String>,
        attributes: Attributes,
    ) {
        let known = self.find(agent).and_then(|agent| agent.work.find(execution));
        let workflow = known.and_then(|known| Some(known.workflow.as_ref()?.workflow.clone()));
        let about = About {
            agent: Some(agent),
            execution: Some(execution),
            workflow: workflow.as_ref(),
        };
        self.log(kind, about, incarnation, message.into(), attributes);
    }

    /// Adds a line to the log, on a workflow and its agent.
    pub(super) fn workflow_event(
        &mut self,
        kind: EventKind,
        (workflow, agent): (&WorkflowId, &AgentId),
        message: impl Into<String>,
        attributes: Attributes,
    ) {
        let incarnation = self
            .find(agent)
            .map_or(Incarnation::ZERO, |agent| agent.record.incarnation);
        let about = About {
            agent: Some(agent),
            execution: None,
            workflow: Some(workflow),
        };
        self.log(kind, about, incarnation, message.into(), attributes);
    }

    fn log(
        &mut self,
        kind: EventKind,
        about: About<'_>,
        incarnation: Incarnation,
        message: String,
        attributes: Attributes,
    ) {
        let sequence = self.machine.last_event.next();
        if self.machine.first_event == Sequence::ZERO {
            self.machine.first_event = sequence;
        }
        self.machine.last_event = sequence;
        self.persist(Record::Event(Arc::new(Event {
            sequence,
            time: self.now.wall,
            kind,
            agent: about.agent.cloned(),
            incarnation,
            execution: about.execution.cloned(),
            workflow: about.workflow.cloned(),
            message,
            attributes,
        })));
        if let Some(agent) = about.agent {
            self.agent_turned(agent, kind, sequence);
        }
        let kept = sequence.get() + 1 - self.machine.first_event.get();
        if kept > self.machine.policy.events_max.saturating_add(TRIM_STEP) {
            // Little by little, where the limit was lowered by much.
            let step = self.machine.first_event.get() + TRIM_STEP_MAX;
            let surplus = sequence.get() - self.machine.policy.events_max;
            self.trim_events(Sequence::new(surplus.min(step)));
        }
    }

    pub(super) fn trim_events(&mut self, through: Sequence) {
        let newest = Sequence::new(self.machine.last_event.get().saturating_sub(1));
        let through = through.min(newest);
        if through >= self.machine.first_event && self.machine.first_event != Sequence::ZERO {
            self.machine.first_event = through.next();
            self.persist(Record::EventsTrimmed { through });
        }
    }
}
