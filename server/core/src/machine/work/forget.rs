//! How executions are forgotten: with their agent, and by age and count.

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::AgentId;

use super::super::Agent;
use super::super::step::Step;
use crate::effect::{Answer, ExecutionError};
use crate::record::Record;

impl Step<'_> {
    /// Forgets the first so many of these that are over, and of which nobody expects a word any more. Others are left alone.
    pub(in super::super) fn executions_aged(&mut self, aged: Vec<(AgentId, ExecutionId)>, most: usize) {
        let mut forgotten = 0;
        for (agent, id) in aged {
            if forgotten < most && self.find(&agent).is_some_and(|found| may_be_forgotten(found, &id)) {
                self.forget_execution(&agent, &id);
                forgotten += 1;
            }
        }
    }

    /// All of an agent that is forgotten itself.
    pub(in super::super) fn forget_executions(&mut self, agent: &AgentId) {
        let ids: Vec<ExecutionId> = self.work(agent).executions.keys().cloned().collect();
        for waiter in std::mem::take(&mut self.work(agent).waiters) {
            let error = ExecutionError::NotFound {
                agent: agent.clone(),
                id: waiter.execution,
            };
            self.reply(waiter.call, Answer::Cancelled(Err(error)));
        }
        for id in ids {
            self.forget_execution(agent, &id);
        }
        self.machine.rearm_work(agent);
    }

    fn forget_execution(&mut self, agent: &AgentId, id: &ExecutionId) {
        let work = self.work(agent);
        work.set_due(id, None);
        let Some(execution) = work.executions.remove(id) else {
            return;
        };
        work.queue.remove(&super::Place::of(&execution.record));
        work.held.remove(id);
        work.missing.remove(id);
        work.awaited.remove(id);
        if let Some(request) = &execution.record.request {
            work.requests.remove(request);
        }
        self.untouch_execution(agent, id);
        self.execution_gone(&execution.record);
        self.persist(Record::ExecutionForgotten {
            agent: agent.clone(),
            id: id.clone(),
        });
    }
}

/// Whether nothing is to come of an execution. The true end of one that is LOST may lie in the outbox of a shim that is
/// away; a shim that is there has told what it has.
fn may_be_forgotten(agent: &Agent, id: &ExecutionId) -> bool {
    agent.work.find(id).is_some_and(|record| match record.state {
        ExecutionState::Succeeded
        | ExecutionState::Failed
        | ExecutionState::Cancelled
        | ExecutionState::TimedOut
        | ExecutionState::DeadLetter => true,
        ExecutionState::Lost => agent.settled().is_some() && !agent.work.awaited.contains(id),
        ExecutionState::Queued | ExecutionState::Dispatched | ExecutionState::Accepted | ExecutionState::Running => {
            false
        }
    })
}
