//! Runners: armed while their workflow is enabled and their agent RUNNING, with one event for each turn.

use rekindle::id::{AgentId, Sequence};
use rekindle::workflow::{AgentEventKind, WorkflowId};

use super::super::step::{Attributes, Step};
use crate::event::EventKind;

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
        if let Some(kind) = turn(kind) {
            self.flow.turned.push((agent.clone(), kind, sequence));
        }
    }
}

/// The turn of an agent's life that an event tells of.
fn turn(kind: EventKind) -> Option<AgentEventKind> {
    match kind {
        EventKind::AgentRegistered => Some(AgentEventKind::Registered),
        EventKind::AgentStarting => Some(AgentEventKind::Starting),
        EventKind::AgentStarted => Some(AgentEventKind::Started),
        EventKind::AgentReady => Some(AgentEventKind::Ready),
        EventKind::AgentCrashed => Some(AgentEventKind::Crashed),
        EventKind::AgentUnreachable => Some(AgentEventKind::Unreachable),
        EventKind::AgentReconnected => Some(AgentEventKind::Reconnected),
        EventKind::AgentRestarted => Some(AgentEventKind::Restarted),
        EventKind::AgentStopping => Some(AgentEventKind::Stopping),
        EventKind::AgentStopped => Some(AgentEventKind::Stopped),
        EventKind::AgentTerminated => Some(AgentEventKind::Terminated),
        EventKind::AgentQuarantined => Some(AgentEventKind::Quarantined),
        EventKind::AgentTakenOver => Some(AgentEventKind::TakenOver),
        EventKind::AgentDeleted => Some(AgentEventKind::Deleted),
        EventKind::RecoveryScheduled
        | EventKind::RecoveryStarted
        | EventKind::RecoverySucceeded
        | EventKind::RecoveryExhausted
        | EventKind::ExecutionQueued
        | EventKind::ExecutionDispatched
        | EventKind::ExecutionAccepted
        | EventKind::ExecutionRunning
        | EventKind::ExecutionSucceeded
        | EventKind::ExecutionFailed
        | EventKind::ExecutionCancelled
        | EventKind::ExecutionTimedOut
        | EventKind::ExecutionLost
        | EventKind::ExecutionDeadLetter
        | EventKind::ExecutionVerdictsHeld
        | EventKind::ExecutionDisowned
        | EventKind::ExecutionStranded
        | EventKind::ExecutionQuarantined
        | EventKind::WorkflowCreated
        | EventKind::WorkflowUpdated
        | EventKind::WorkflowDeleted
        | EventKind::WorkflowArmed
        | EventKind::WorkflowDisarmed
        | EventKind::WorkflowTriggered
        | EventKind::WorkflowSkipped
        | EventKind::WorkflowExpired
        | EventKind::CheckpointSaved
        | EventKind::CheckpointHandedOver
        | EventKind::CheckpointClosed
        | EventKind::CheckpointSetAside
        | EventKind::HostRebooted
        | EventKind::ServerStarted
        | EventKind::ServerPaused => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_is_told_of_by_the_event_of_its_name() {
        let told: Vec<_> = EventKind::ALL
            .into_iter()
            .filter_map(|kind| Some((kind, turn(kind)?)))
            .collect();
        assert!(told.iter().all(|(event, turn)| event.as_str() == turn.as_str()));
        assert_eq!(told.len(), AgentEventKind::ALL.len());
    }
}
