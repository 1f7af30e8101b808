//! Runners: armed while their workflow is enabled and their agent RUNNING, with one event for each turn.

use rekindle::id::{AgentId, Sequence};
use rekindle::workflow::WorkflowId;

use super::super::step::{Attributes, Step};
use crate::event::{About, EventKind};

impl Step<'_> {
    /// The agent is RUNNING: the runners of its workflows are armed, and of nobody else's.
    pub(in super::super) fn agent_is_up(&mut self, agent: &AgentId) {
        for id in self.enabled_of(agent) {
            let message = format!("{} is RUNNING: the workflow fires", agent.name());
            self.workflow_event(EventKind::WorkflowArmed, (&id, agent), message, Attributes::new());
            self.flow.woken.insert(id);
        }
    }

    /// The agent is RUNNING no longer: what fires from here on waits, or is skipped.
    pub(in super::super) fn agent_is_down(&mut self, agent: &AgentId) {
        for id in self.enabled_of(agent) {
            let message = format!("{} is not RUNNING: the workflow waits for it", agent.name());
            self.workflow_event(EventKind::WorkflowDisarmed, (&id, agent), message, Attributes::new());
        }
    }

    fn enabled_of(&self, agent: &AgentId) -> Vec<WorkflowId> {
        let of_agent = self.machine.workflows.of_agent.get(agent).into_iter().flatten();
        let enabled = of_agent.filter(|id| self.workflow(id).is_some_and(|workflow| workflow.record.spec.enabled));
        enabled.cloned().collect()
    }

    /// An event tells of an agent: some workflows may have waited for it.
    pub(in super::super) fn agent_turned(&mut self, agent: &AgentId, kind: EventKind, sequence: Sequence) {
        if !self.machine.workflows.watching.contains_key(agent) {
            return;
        }
        if let About::Agent(kind) = kind.about() {
            self.flow.turned.push((agent.clone(), kind, sequence));
        }
    }
}
