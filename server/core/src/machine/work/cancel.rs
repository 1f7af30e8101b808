//! How an execution is cancelled, and who waits for it.

use std::time::Duration;

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::AgentId;
use rekindle::policy::InterruptPolicy;

use super::super::WAITERS_MAX;
use super::super::step::{Attributes, Step};
use super::EndWaiter;
use crate::effect::{Answer, CancelOutcome, ExecutionError};
use crate::execution::Ending;
use crate::input::{CallId, CancelExecution};

impl Step<'_> {
    pub(in super::super) fn cancel_requested(&mut self, call: CallId, cancel: CancelExecution) {
        let CancelExecution {
            agent,
            id,
            reason,
            grace,
        } = cancel;
        let known = self.find(&agent).and_then(|found| found.work.find(&id)).cloned();
        let Some(record) = known else {
            let error = match self.find(&agent) {
                None => ExecutionError::AgentNotFound(agent),
                Some(_) => ExecutionError::NotFound { agent, id },
            };
            return self.reply(call, Answer::Cancelled(Err(error)));
        };
        match record.state {
            ExecutionState::Queued => {
                let message = format!("cancelled before it was given to the agent{}", because(&reason));
                self.enter_execution(&agent, &id, ExecutionState::Cancelled, message, Attributes::new());
                self.cancelled_at_end(call, &agent, &id, CancelOutcome::Cancelled);
            }
            ExecutionState::Dispatched | ExecutionState::Accepted | ExecutionState::Running => {
                self.cancel_held(&agent, &id, reason, grace);
                self.await_end(call, &agent, &id);
            }
            ExecutionState::Cancelled => self.cancelled_at_end(call, &agent, &id, CancelOutcome::Cancelled),
            ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::TimedOut
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => self.cancelled_at_end(call, &agent, &id, CancelOutcome::AlreadyOver),
        }
    }

    /// Cancels what a newer fire of its workflow takes the place of. Nobody waits for the answer.
    pub(in super::super) fn supersede(&mut self, agent: &AgentId, id: &ExecutionId, reason: &str) {
        let record = self.execution(agent, id);
        match (record.state, &record.ending) {
            (ExecutionState::Queued, _) => {
                let message = format!("cancelled before it was given to the agent{}", because(reason));
                self.enter_execution(agent, id, ExecutionState::Cancelled, message, Attributes::new());
            }
            // It is asked for again in its own time.
            (_, Some(Ending::Cancelled { .. })) => {}
            (ExecutionState::Dispatched | ExecutionState::Accepted | ExecutionState::Running, _) => {
                self.cancel_held(agent, id, reason.to_owned(), None);
            }
            (
                ExecutionState::Succeeded
                | ExecutionState::Failed
                | ExecutionState::Cancelled
                | ExecutionState::TimedOut
                | ExecutionState::Lost
                | ExecutionState::DeadLetter,
                _,
            ) => {}
        }
    }

    fn cancel_held(&mut self, agent: &AgentId, id: &ExecutionId, reason: String, grace: Option<Duration>) {
        // What ends it for another reason goes on; somebody who wants it gone changes what it is called.
        self.ask_for_end(agent, id, Ending::Cancelled { reason, grace });
    }

    fn await_end(&mut self, call: CallId, agent: &AgentId, id: &ExecutionId) {
        let found = self.agent(agent);
        let waits = found.settled().is_some() && found.work.waiters.len() < WAITERS_MAX;
        if !waits {
            return self.cancelled_at_end(call, agent, id, CancelOutcome::Pending);
        }
        let waiter = EndWaiter {
            call,
            execution: id.clone(),
        };
        found.work.waiters.push(waiter);
        self.machine.calls.insert(call, agent.clone());
    }

    /// Answers those who waited for the end of an execution that is over.
    pub(super) fn answer_end_waiters(&mut self, agent: &AgentId, id: &ExecutionId) {
        let outcome = match self.execution(agent, id).state {
            ExecutionState::Cancelled => CancelOutcome::Cancelled,
            ExecutionState::Queued
            | ExecutionState::Dispatched
            | ExecutionState::Accepted
            | ExecutionState::Running
            | ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::TimedOut
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => CancelOutcome::AlreadyOver,
        };
        let waiters = std::mem::take(&mut self.work(agent).waiters);
        let (over, waiting): (Vec<EndWaiter>, _) = waiters.into_iter().partition(|waiter| waiter.execution == *id);
        self.work(agent).waiters = waiting;
        for waiter in over {
            self.cancelled_at_end(waiter.call, agent, id, outcome);
        }
    }

    /// Whether the call was one that waited for an end: it is told that the end goes on.
    pub(in super::super) fn end_wait_expired(&mut self, call: CallId, agent: &AgentId) -> bool {
        let waiters = &mut self.work(agent).waiters;
        let Some(place) = waiters.iter().position(|waiter| waiter.call == call) else {
            return false;
        };
        let waiter = waiters.remove(place);
        self.cancelled_at_end(call, agent, &waiter.execution, CancelOutcome::Pending);
        true
    }

    pub(in super::super) fn forget_end_waiter(&mut self, call: CallId, agent: &AgentId) {
        self.work(agent).waiters.retain(|waiter| waiter.call != call);
    }

    /// An operator ends or replaces the life that works on them. Gives those that are cancelled by that: what has not begun
    /// goes to the next life.
    pub(in super::super) fn interrupt_executions(&mut self, agent: &AgentId) -> Vec<ExecutionId> {
        let policy = self.record(agent).policy.on_restart;
        let held: Vec<ExecutionId> = self.work(agent).held.iter().cloned().collect();
        for id in &held {
            if self.execution(agent, id).ending.is_none() {
                self.edit_execution(agent, id).ending = Some(Ending::Interrupted(policy));
            }
        }
        match policy {
            InterruptPolicy::Cancel => {
                let runs = |id: &ExecutionId| self.execution(agent, id).state == ExecutionState::Running;
                held.into_iter().filter(runs).collect()
            }
            InterruptPolicy::Requeue => Vec::new(),
        }
    }
}

/// The caller's words, behind what is told.
pub(super) fn because(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    }
}
