//! How a checkpoint is closed otherwise than by its agent: with its task, by a fresh start, and by an operator who deletes it.

use rekindle::checkpoint::{CheckpointId, ClosedBy};
use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::{AgentId, Incarnation};
use rekindle::policy::InterruptPolicy;

use super::super::step::{Step, attributes};
use crate::checkpoint::CheckpointRecord;
use crate::effect::{Answer, CheckpointError};
use crate::event::EventKind;
use crate::execution::{Ending, ExecutionRecord};
use crate::input::CallId;
use crate::record::{Context, OperationKind};

impl Step<'_> {
    /// Closes the newest where what it is about is over, or will be by an order that is under way.
    pub(in super::super) fn close_what_is_over(&mut self, agent: &AgentId) {
        let Some(open) = self.open_checkpoint(agent) else {
            return;
        };
        if self
            .fresh_start(agent)
            .is_some_and(|target| open.id.incarnation < target)
        {
            return self.close_checkpoint(agent, ClosedBy::Fresh, "a fresh start is ordered");
        }
        let Some(task) = task_of(&open) else { return };
        let Some(execution) = self.work(agent).find(&task).cloned() else {
            return;
        };
        if ends_its_task(&execution) {
            let why = match execution.state.is_over() {
                true => format!("{} is {}", task.name(agent), execution.state),
                false => format!("{} is being cancelled", task.name(agent)),
            };
            self.close_checkpoint(agent, ClosedBy::Task, &why);
        }
    }

    /// The life that an operator's order brings, while it goes on, where it begins without a checkpoint.
    pub(in super::super) fn fresh_start(&self, agent: &AgentId) -> Option<Incarnation> {
        let operation = self.record(agent).operation.as_ref()?;
        match (operation.kind, operation.context) {
            (OperationKind::Restart | OperationKind::Start, Context::Fresh) => Some(operation.target),
            (OperationKind::Restart | OperationKind::Start, Context::Resume) | (OperationKind::Stop, _) => None,
        }
    }

    pub(in super::super) fn delete_checkpoint_requested(&mut self, call: CallId, agent: &AgentId, id: CheckpointId) {
        let answer = self.delete_checkpoint(agent, id);
        self.reply(call, Answer::CheckpointDeleted(answer));
    }

    fn delete_checkpoint(&mut self, agent: &AgentId, id: CheckpointId) -> Result<(), CheckpointError> {
        let not_found = || CheckpointError::NotFound {
            agent: agent.clone(),
            id,
        };
        let found = self.find(agent).ok_or_else(not_found)?;
        if !found.checkpoints.kept.contains_key(&id) {
            return Err(not_found());
        }
        let is_newest = found.checkpoints.newest().is_some_and(|newest| newest.id == id);
        let is_open = self.open_checkpoint(agent).is_some_and(|open| open.id == id);
        if is_newest {
            let line = &mut self.edit(agent).checkpoint_line;
            line.deleted = line.deleted.max(Some(id));
        }
        if is_open {
            let message = format!("no life gets checkpoint {id} any more: an operator has deleted it");
            let details = attributes([("by", &"delete")]);
            let life = self.record(agent).incarnation;
            self.checkpoint_event(EventKind::CheckpointClosed, (agent, life), id, message, details);
        }
        self.forget_checkpoint(agent, id);
        Ok(())
    }
}

/// The execution that a checkpoint is about, where its task can be one of the agent's.
fn task_of(record: &CheckpointRecord) -> Option<ExecutionId> {
    let task = &record.fields.task_id;
    match ExecutionId::from_name(task) {
        Ok((agent, id)) => (agent == record.agent).then_some(id),
        Err(_) => ExecutionId::new(task).ok(),
    }
}

/// Whether nothing of an execution is to be gone on with. One that is LOST may yet turn out to be under way.
fn ends_its_task(execution: &ExecutionRecord) -> bool {
    match execution.state {
        ExecutionState::Succeeded
        | ExecutionState::Failed
        | ExecutionState::Cancelled
        | ExecutionState::TimedOut
        | ExecutionState::DeadLetter => true,
        ExecutionState::Running => match &execution.ending {
            Some(Ending::Cancelled { .. } | Ending::Interrupted(InterruptPolicy::Cancel)) => true,
            Some(Ending::Interrupted(InterruptPolicy::Requeue) | Ending::OutOfTime) | None => false,
        },
        ExecutionState::Queued | ExecutionState::Dispatched | ExecutionState::Accepted | ExecutionState::Lost => false,
    }
}
