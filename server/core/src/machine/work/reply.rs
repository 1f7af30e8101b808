//! What a step has changed of executions, and who is answered with it, at the step's end.

use rekindle::execution::ExecutionId;
use rekindle::id::AgentId;

use super::super::step::Step;
use crate::effect::{Answer, CancelAnswer, CancelOutcome};
use crate::input::CallId;
use crate::record::Record;

/// An answer that is given with an execution's record as the step leaves it.
pub(in super::super) struct ExecutionReply {
    call: CallId,
    agent: AgentId,
    id: ExecutionId,
    /// Of a cancel.
    outcome: Option<CancelOutcome>,
}

impl Step<'_> {
    /// Writes what has changed, and answers with it.
    pub(in super::super) fn persist_executions(&mut self) {
        for (agent, id) in std::mem::take(&mut self.executions) {
            let record = self.work(&agent).renew(&id);
            self.persist(Record::Execution(record));
        }
        for ExecutionReply {
            call,
            agent,
            id,
            outcome,
        } in std::mem::take(&mut self.execution_replies)
        {
            let Some(execution) = self.find(&agent).and_then(|found| found.work.find(&id)).cloned() else {
                continue;
            };
            let answer = match outcome {
                None => Answer::Execution(Ok(execution)),
                Some(outcome) => Answer::Cancelled(Ok(CancelAnswer { execution, outcome })),
            };
            self.reply(call, answer);
        }
    }

    /// An execution's record changes: it will be persisted.
    pub(in super::super) fn touch_execution(&mut self, agent: &AgentId, id: &ExecutionId) {
        self.executions.insert((agent.clone(), id.clone()));
    }

    /// An execution is forgotten: nothing of it is persisted.
    pub(in super::super) fn untouch_execution(&mut self, agent: &AgentId, id: &ExecutionId) {
        self.executions.remove(&(agent.clone(), id.clone()));
    }

    /// An agent may have room for another execution by the end of the step.
    pub(in super::super) fn touch_pump(&mut self, agent: &AgentId) {
        self.pumped.insert(agent.clone());
    }

    pub(in super::super) fn execution_at_end(&mut self, call: CallId, agent: &AgentId, id: &ExecutionId) {
        self.execution_replies.push(ExecutionReply {
            call,
            agent: agent.clone(),
            id: id.clone(),
            outcome: None,
        });
    }

    pub(in super::super) fn cancelled_at_end(
        &mut self,
        call: CallId,
        agent: &AgentId,
        id: &ExecutionId,
        outcome: CancelOutcome,
    ) {
        self.machine.calls.remove(&call);
        self.execution_replies.push(ExecutionReply {
            call,
            agent: agent.clone(),
            id: id.clone(),
            outcome: Some(outcome),
        });
    }
}
