//! Which execution an agent is given, and when.

use std::time::Duration;

use rekindle::execution::{AttemptId, Delivery, ExecutionId, ExecutionState};
use rekindle::id::{AgentId, ReportSequence};
use rekindle::session::CommandId;
use rekindle::state::{AgentState, Desired};

use super::super::Agent;
use super::super::step::{Attributes, Step, attributes};
use crate::effect::Effect;
use crate::event::EventKind;
use crate::execution::{GivenTo, OutputSize};
use crate::record::Record;

/// Time from the dispatch to the shim's word that it has the attempt, past which its stream is cut: what it says when it
/// is back decides.
pub(super) const DISPATCH_GRACE: Duration = Duration::from_secs(60);

impl Step<'_> {
    /// Gives an agent what it has room for.
    pub(in super::super) fn pump(&mut self, agent: &AgentId) {
        while self.free_slots(agent) > 0 {
            let Some(next) = self.work(agent).next_to_give() else {
                return;
            };
            self.dispatch(agent, &next);
        }
    }

    /// What waits for an agent whose shim takes none is told of, once for each such shim: it waits for another one, or for the
    /// end of its `schedule_to_start_timeout`.
    pub(in super::super) fn strand(&mut self, agent: &AgentId) {
        let waiting = self.work(agent).queue.len();
        if waiting == 0 || !self.record(agent).takes_no_messages() {
            return;
        }
        let incarnation = self.record(agent).incarnation;
        let message = format!(
            "executions wait, {waiting} of them, and the agent's shim takes none: start it with --delivery per-message, pull or \
             stdin, or cancel them"
        );
        self.event(
            EventKind::ExecutionStranded,
            Some(agent),
            incarnation,
            message,
            attributes([("waiting", &waiting)]),
        );
    }

    /// How many executions the agent can be given now.
    pub(super) fn free_slots(&self, agent: &AgentId) -> usize {
        let Some(agent) = self.find(agent).filter(|agent| takes_work(agent)) else {
            return 0;
        };
        let slots = agent.record.policy.max_concurrent as usize;
        slots.saturating_sub(agent.work.held.len())
    }

    fn dispatch(&mut self, agent: &AgentId, id: &ExecutionId) {
        let Some((session, record)) = self
            .find(agent)
            .and_then(|found| Some((found.settled()?, &found.record)))
        else {
            return;
        };
        let Some(holder) = &record.holder else { return };
        let message = format!("given to the shim on {}", holder.host.name);
        let newest = self.execution(agent, id).newest();
        let next = AttemptId {
            number: newest.number + 1,
            ..newest
        };
        let after = self.heard_of(agent);
        self.delivered(agent, &next, after, message);
        let timeout = self.execution(agent, id).timeout;
        let at = self.now.mono.saturating_add(DISPATCH_GRACE);
        self.set_execution_due(agent, id, Some(at));
        let number = CommandId(self.machine.next_command);
        self.machine.next_command += 1;
        self.then(Effect::Dispatch {
            session,
            id: number,
            agent: agent.clone(),
            attempt: next,
            timeout,
        });
    }

    /// Takes an attempt that the shim has begun, or ended, for the newest of its execution: the server has it QUEUED, as its
    /// store was set back. Given again it would be done twice. What the shim tells of it after this report counts.
    pub(super) fn adopt(&mut self, agent: &AgentId, attempt: &AttemptId, after: ReportSequence) {
        let message = "its shim has it already, and the server's store has not: it was set back";
        self.work(agent).strangers.remove(attempt);
        self.delivered(agent, attempt, after, message);
    }

    /// The newest report of the shim that holds the agent.
    pub(super) fn heard_of(&mut self, agent: &AgentId) -> ReportSequence {
        let cursor = self.record(agent).reports;
        cursor.map_or(ReportSequence::ZERO, |cursor| cursor.sequence)
    }

    /// From here on an attempt is the newest of its execution, and the shim that holds the agent has it, or is to have it;
    /// what it tells of it comes after this report.
    fn delivered(&mut self, agent: &AgentId, attempt: &AttemptId, after: ReportSequence, message: impl Into<String>) {
        let record = self.record(agent);
        let given_to = record.holder.as_ref().map(|holder| GivenTo {
            marker: holder.marker,
            boot: holder.host.boot_id,
            incarnation: record.incarnation,
            after,
        });
        let (id, now) = (&attempt.execution, self.now.wall);
        if self.execution(agent, id).output.kept > 0 {
            // What is shown is the newest attempt's.
            self.persist(Record::ExecutionOutput {
                agent: agent.clone(),
                id: id.clone(),
                text: "".into(),
            });
        }
        let execution = self.edit_execution(agent, id);
        execution.output = OutputSize::default();
        execution.failure = None;
        execution.attempt = attempt.number;
        execution.given_before = std::mem::replace(&mut execution.given_to, given_to);
        execution.times.dispatched = Some(now);
        execution.times.accepted = None;
        execution.times.started = None;
        self.enter_execution(agent, id, ExecutionState::Dispatched, message, Attributes::new());
    }
}

/// Nothing is given to an agent that is not ready, or whose shim has not said yet what it has.
fn takes_work(agent: &Agent) -> bool {
    let record = &agent.record;
    let delivers = record
        .holder
        .as_ref()
        .is_some_and(|holder| holder.delivery != Delivery::None);
    delivers
        && agent.settled().is_some()
        && record.state == AgentState::Running
        && record.desired == Desired::Running
        && record.operation.is_none()
}
