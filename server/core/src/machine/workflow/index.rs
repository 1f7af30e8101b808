//! Which workflow is for which agent, waits for what, and works on what.

use std::collections::{BTreeMap, BTreeSet};

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::AgentId;
use rekindle::time::{MonoTime, Timestamp};
use rekindle::workflow::{Trigger, WorkflowId, WorkflowSpec};

use super::super::step::Step;
use super::{Workflow, Workflows};
use crate::execution::ExecutionRecord;
use crate::workflow::{ErrorOf, LastError};

impl Workflows {
    /// Adds one under all that it is found by.
    pub(super) fn insert(&mut self, workflow: Workflow) {
        let id = workflow.record.id.clone();
        if let Some(request) = &workflow.record.request {
            self.requests.insert(request.clone(), id.clone());
        }
        self.text_bytes += workflow.text_bytes();
        self.link(&id, &workflow.record.spec);
        self.all.insert(id, workflow);
    }

    /// Takes one out of everything.
    pub(super) fn remove(&mut self, id: &WorkflowId) -> Option<Workflow> {
        self.set_wall(id, None);
        self.unblock(id);
        let mut workflow = self.all.remove(id)?;
        if let Some(at) = workflow.timer.take() {
            self.timers.remove(&(at, id.clone()));
        }
        if let Some(request) = &workflow.record.request {
            self.requests.remove(request);
        }
        self.text_bytes -= workflow.text_bytes();
        self.unlink(id, &workflow.record.spec);
        Some(workflow)
    }

    /// Has it found by what it is for, and by what it waits for.
    pub(super) fn link(&mut self, id: &WorkflowId, spec: &WorkflowSpec) {
        self.of_agent.entry(spec.agent.clone()).or_default().insert(id.clone());
        match &spec.trigger {
            Trigger::AgentEvent(events) => {
                let watching = self.watching.entry(events.agent.clone()).or_default();
                watching.insert(id.clone());
            }
            Trigger::Completion(completion) => {
                let following = self.following.entry(completion.workflow.clone()).or_default();
                following.insert(id.clone());
            }
            Trigger::Interval(_) | Trigger::Cron(_) | Trigger::OneShot(_) | Trigger::Manual | Trigger::Webhook => {}
        }
    }

    pub(super) fn unlink(&mut self, id: &WorkflowId, spec: &WorkflowSpec) {
        take_out(&mut self.of_agent, &spec.agent, id);
        match &spec.trigger {
            Trigger::AgentEvent(events) => take_out(&mut self.watching, &events.agent, id),
            Trigger::Completion(completion) => take_out(&mut self.following, &completion.workflow, id),
            Trigger::Interval(_) | Trigger::Cron(_) | Trigger::OneShot(_) | Trigger::Manual | Trigger::Webhook => {}
        }
    }

    /// Sets when it goes off next by the wall clock.
    pub(super) fn set_wall(&mut self, id: &WorkflowId, at: Option<Timestamp>) {
        let Some(workflow) = self.all.get_mut(id) else { return };
        if let Some(old) = std::mem::replace(&mut workflow.wall, at) {
            self.walls.remove(&(old, id.clone()));
        }
        if let Some(at) = at {
            self.walls.insert((at, id.clone()));
        }
    }

    /// Sets its timer to the first of its times.
    pub(super) fn rearm(&mut self, id: &WorkflowId) {
        let Some(workflow) = self.all.get_mut(id) else { return };
        let first = workflow.first_time();
        if let Some(old) = std::mem::replace(&mut workflow.timer, first) {
            self.timers.remove(&(old, id.clone()));
        }
        if let Some(at) = first {
            self.timers.insert((at, id.clone()));
        }
    }

    /// Its agent did not take its next execution: it is offered again in the order of these times.
    pub(super) fn block(&mut self, id: &WorkflowId, since: Timestamp) {
        self.unblock(id);
        let Some(workflow) = self.all.get_mut(id) else { return };
        workflow.blocked = Some(since);
        let blocked = self.blocked.entry(workflow.record.spec.agent.clone()).or_default();
        blocked.insert((since, id.clone()));
    }

    pub(super) fn unblock(&mut self, id: &WorkflowId) {
        let Some(workflow) = self.all.get_mut(id) else { return };
        if let Some(since) = workflow.blocked.take() {
            take_out(&mut self.blocked, &workflow.record.spec.agent, &(since, id.clone()));
        }
    }

    /// The workflow that made an execution, where it is still there, and not another one of its name.
    fn of(&mut self, record: &ExecutionRecord) -> Option<&mut Workflow> {
        let by = record.workflow.as_ref()?;
        self.all
            .get_mut(&by.workflow)
            .filter(|workflow| workflow.record.uid == by.uid)
    }

    /// An execution goes on.
    pub(in super::super) fn goes_on(&mut self, record: &ExecutionRecord) {
        let Some(key) = record.workflow.as_ref().map(|by| by.key.clone()) else {
            return;
        };
        if let Some(workflow) = self.of(record) {
            workflow.live.insert((record.agent.clone(), record.id.clone()));
            workflow.keys.insert((key, record.agent.clone(), record.id.clone()));
        }
    }

    /// An execution is over, or is forgotten. Gives the workflow that works on it no longer.
    fn ends(&mut self, record: &ExecutionRecord, keeps_key: bool) -> Option<WorkflowId> {
        let by = record.workflow.as_ref()?;
        let workflow = self.of(record)?;
        let key = (by.key.clone(), record.agent.clone(), record.id.clone());
        if keeps_key {
            workflow.keys.insert(key);
        } else {
            workflow.keys.remove(&key);
        }
        let was_live = workflow.live.remove(&(record.agent.clone(), record.id.clone()));
        was_live.then(|| by.workflow.clone())
    }

    /// Notes what an execution is.
    pub(super) fn note(&mut self, record: &ExecutionRecord) -> Option<WorkflowId> {
        if !record.state.is_over() {
            self.goes_on(record);
            return None;
        }
        self.ends(record, record.state == ExecutionState::Succeeded)
    }
}

impl Workflow {
    /// Those of its executions that the next one must not go beside: what an agent that it was for
    /// once still does is not.
    pub(super) fn in_the_way(&self) -> impl Iterator<Item = &(AgentId, ExecutionId)> {
        self.live.iter().filter(|(agent, _)| *agent == self.record.spec.agent)
    }

    pub(super) fn first_time(&self) -> Option<MonoTime> {
        let expiry = self.expiries.values().min().copied();
        self.next.into_iter().chain(expiry).chain(self.again).min()
    }

    pub(super) fn text_bytes(&self) -> usize {
        self.message.len() + self.payloads.values().map(|payload| payload.len()).sum::<usize>()
    }
}

impl Step<'_> {
    /// An execution has changed its state, told of in these words.
    pub(in super::super) fn execution_moved(&mut self, record: &ExecutionRecord, message: &str) {
        if record.workflow.is_none() {
            return;
        }
        self.note_error(record, message);
        let freed = self.machine.workflows.note(record);
        self.flow.woken.extend(freed);
        if record.state.is_over() {
            self.flow.ended.push(record.clone());
        }
    }

    /// Notes on its workflow how an execution has ended, where it has, and was not made by an earlier one of the name.
    fn note_error(&mut self, record: &ExecutionRecord, message: &str) {
        let Some(workflow) = self.machine.workflows.of(record) else {
            return;
        };
        let (id, had_error) = (workflow.record.id.clone(), workflow.record.last_error.is_some());
        match record.state {
            ExecutionState::Queued
            | ExecutionState::Dispatched
            | ExecutionState::Accepted
            | ExecutionState::Running => {}
            ExecutionState::Succeeded if had_error => self.edit_workflow(&id).last_error = None,
            ExecutionState::Succeeded => {}
            ExecutionState::Failed
            | ExecutionState::Cancelled
            | ExecutionState::TimedOut
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => {
                let message = format!("{} is {}: {message}", record.id.name(&record.agent), record.state);
                let error = LastError::new(self.now.wall, ErrorOf::Ended, message);
                self.edit_workflow(&id).last_error = Some(error);
            }
        }
    }

    /// An execution is forgotten. One that went on, as its agent is deleted, has no other end than this: nobody is given it
    /// any more, or nobody will ever know how it ended.
    pub(in super::super) fn execution_gone(&mut self, record: &ExecutionRecord) {
        let end = match record.state {
            ExecutionState::Queued => Some(ExecutionState::Cancelled),
            ExecutionState::Dispatched | ExecutionState::Accepted | ExecutionState::Running => {
                Some(ExecutionState::Lost)
            }
            ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::Cancelled
            | ExecutionState::TimedOut
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => None,
        };
        if let Some(state) = end.filter(|_| record.workflow.is_some()) {
            let ended = ExecutionRecord {
                state,
                ..record.clone()
            };
            self.note_error(&ended, "its agent was deleted");
            self.flow.ended.push(ended);
        }
        let freed = self.machine.workflows.ends(record, false);
        self.flow.woken.extend(freed);
    }
}

fn take_out<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    let Some(values) = index.get_mut(key) else { return };
    values.remove(value);
    if values.is_empty() {
        index.remove(key);
    }
}
