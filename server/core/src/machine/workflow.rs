//! Workflows: what is asked of them.

use super::step::Step;
use crate::effect::{Answer, WorkflowError};
use crate::input::{CallId, CreateWorkflow, DeleteWorkflow, TriggerWorkflow, UpdateWorkflow};

impl Step<'_> {
    pub(super) fn create_workflow_requested(&mut self, call: CallId, _create: CreateWorkflow) {
        let limit = 0;
        self.reply(call, Answer::Workflow(Err(WorkflowError::TooMany { limit })));
    }

    pub(super) fn update_workflow_requested(&mut self, call: CallId, update: UpdateWorkflow) {
        self.reply(call, Answer::Workflow(Err(WorkflowError::NotFound(update.id))));
    }

    pub(super) fn delete_workflow_requested(&mut self, call: CallId, delete: &DeleteWorkflow) {
        self.reply(
            call,
            Answer::WorkflowDeleted(Err(WorkflowError::NotFound(delete.id.clone()))),
        );
    }

    pub(super) fn trigger_requested(&mut self, call: CallId, trigger: TriggerWorkflow) {
        self.reply(call, Answer::Triggered(Err(WorkflowError::NotFound(trigger.id))));
    }
}
