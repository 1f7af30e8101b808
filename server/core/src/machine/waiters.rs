//! Callers that wait for an operation: parked, answered, told that it goes on, or forgotten.

use rekindle::id::AgentId;
use rekindle::state::AgentState;

use super::step::{Reply, Step};
use super::{WAITERS_MAX, Waiter};
use crate::effect::OperationOutcome;
use crate::input::{CallId, Wait};
use crate::record::{AgentRecord, OperationKind};

impl Step<'_> {
    /// Answers at once what is decided, or cannot be waited for; parks the rest.
    pub(super) fn park(&mut self, waiter: Waiter, id: &AgentId) {
        let agent = self.agent(id);
        let (connected, crowded) = (agent.session.is_some(), agent.waiters.len() >= WAITERS_MAX);
        let now = match reached(&waiter, &agent.record) {
            Some(detail) => Some((OperationOutcome::Completed, detail)),
            None if !connected || crowded => {
                Some((OperationOutcome::Pending, pending_detail(&agent.record, connected)))
            }
            None => None,
        };
        let Waiter {
            call, previous_state, ..
        } = waiter;
        match now {
            Some((outcome, detail)) => {
                self.reply_at_end(Reply {
                    call,
                    agent: id.clone(),
                    previous_state,
                    outcome,
                    detail,
                });
            }
            None => {
                agent.waiters.push(waiter);
                self.machine.calls.insert(call, id.clone());
            }
        }
    }

    pub(super) fn answer_waiters(
        &mut self,
        id: &AgentId,
        concerned: impl Fn(&Waiter) -> bool,
        outcome: OperationOutcome,
        detail: &str,
    ) {
        let (answered, waiting) = std::mem::take(&mut self.agent(id).waiters)
            .into_iter()
            .partition(concerned);
        self.agent(id).waiters = waiting;
        let answered: Vec<Waiter> = answered;
        for Waiter {
            call, previous_state, ..
        } in answered
        {
            self.reply_at_end(Reply {
                call,
                agent: id.clone(),
                previous_state,
                outcome,
                detail: detail.to_owned(),
            });
        }
    }

    pub(super) fn call_expired(&mut self, call: CallId) {
        if self.signal_expired(call) {
            return;
        }
        let Some(id) = self.machine.calls.get(&call).cloned() else {
            return;
        };
        if self.end_wait_expired(call, &id) {
            return;
        }
        let agent = self.agent(&id);
        let detail = pending_detail(&agent.record, agent.session.is_some());
        self.answer_waiters(&id, |waiter| waiter.call == call, OperationOutcome::Pending, &detail);
    }

    pub(super) fn call_abandoned(&mut self, call: CallId) {
        self.forget_signal(call);
        if let Some(id) = self.machine.calls.remove(&call) {
            self.agent(&id).waiters.retain(|waiter| waiter.call != call);
            self.forget_end_waiter(call, &id);
        }
    }
}

/// What was waited for, where it is reached.
fn reached(waiter: &Waiter, record: &AgentRecord) -> Option<String> {
    if waiter.kind == OperationKind::Stop {
        return match waiter.wait {
            Wait::Accepted => Some("the stop is ordered".to_owned()),
            Wait::Started | Wait::Ready if record.operation.is_none() => Some("nothing runs".to_owned()),
            Wait::Started | Wait::Ready => None,
        };
    }
    let ready =
        record.state == AgentState::Running && record.incarnation >= waiter.target && record.operation.is_none();
    match waiter.wait {
        _ if ready => Some(format!("incarnation {} is ready", record.incarnation)),
        Wait::Accepted => Some(format!("incarnation {} is ordered", waiter.target)),
        Wait::Started if record.is_spawned() && record.incarnation >= waiter.target => {
            Some(format!("incarnation {} is spawned", record.incarnation))
        }
        Wait::Started | Wait::Ready => None,
    }
}

/// What a pending operation waits for.
fn pending_detail(record: &AgentRecord, connected: bool) -> String {
    let waits = match record.state {
        _ if !connected => "no shim is connected; it happens once, when one is",
        AgentState::Stopping => "the old process tree is being ended",
        AgentState::Starting => "the new process is not ready yet",
        AgentState::Pending
        | AgentState::Running
        | AgentState::Unreachable
        | AgentState::Crashed
        | AgentState::Stopped
        | AgentState::Terminated
        | AgentState::Quarantined => "it goes on",
    };
    format!("pending: {waits}")
}
