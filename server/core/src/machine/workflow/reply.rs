//! What a step has changed of workflows, and who is answered with it, at the step's end.

use std::collections::{BTreeMap, BTreeSet};

use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, FireNumber, Sequence};
use rekindle::workflow::{AgentEventKind, FireKey, WorkflowId};

use super::super::step::Step;
use super::{TEXT_PER_STEP_MAX_BYTES, WORKFLOWS_PER_STEP};
use crate::effect::{Answer, TriggerAnswer, TriggerOutcome, Was, WorkflowAnswer};
use crate::execution::ExecutionRecord;
use crate::input::CallId;
use crate::record::Record;

/// What happens to workflows in one step.
#[derive(Default)]
pub(in super::super) struct Flow {
    /// Runners that may go on.
    pub(super) woken: BTreeSet<WorkflowId>,
    /// Turns of agents' lives that somebody waits for.
    pub(super) turned: Vec<(AgentId, AgentEventKind, Sequence)>,
    /// Executions of workflows that have ended, as they were then.
    pub(super) ended: Vec<ExecutionRecord>,
    /// What is persisted at the end.
    pub(super) touched: BTreeSet<WorkflowId>,
    /// What fires have become.
    pub(super) made: BTreeMap<(WorkflowId, FireNumber), (AgentId, ExecutionId)>,
    /// Fires that were skipped or have expired, and why.
    pub(super) skipped: BTreeMap<(WorkflowId, FireNumber), String>,
    /// Executions that were offered to agents.
    pub(super) runs: usize,
    /// Bytes of their messages.
    pub(super) run_bytes: usize,
    replies: Vec<(CallId, WorkflowId, Asked)>,
}

/// What a caller is told at the end of the step.
pub(super) enum Asked {
    /// The workflow as it is then.
    Workflow(Was),
    /// What came of a fire.
    Fire(FireNumber, FireKey),
    /// The execution of an earlier fire.
    Execution(AgentId, ExecutionId),
}

impl Flow {
    /// Whether nothing is left to follow up on.
    pub(in super::super) fn is_quiet(&self) -> bool {
        self.woken.is_empty() && self.turned.is_empty() && self.ended.is_empty()
    }

    /// Whether this step has offered as much as one may.
    pub(super) const fn is_full(&self) -> bool {
        self.runs >= WORKFLOWS_PER_STEP || self.run_bytes >= TEXT_PER_STEP_MAX_BYTES
    }

    pub(super) fn reply_at_end(&mut self, call: CallId, id: WorkflowId, asked: Asked) {
        self.replies.push((call, id, asked));
    }
}

impl Step<'_> {
    /// Writes what has changed, and answers with it.
    pub(in super::super) fn persist_workflows(&mut self) {
        for id in std::mem::take(&mut self.flow.touched) {
            if let Some(workflow) = self.workflow(&id) {
                let record = workflow.record.clone();
                self.persist(Record::Workflow(record));
            }
        }
        for (call, id, asked) in std::mem::take(&mut self.flow.replies) {
            if let Some(answer) = self.workflow_answer(&id, asked) {
                self.reply(call, answer);
            }
        }
    }

    /// None where the workflow is gone, which no step does that asks for one.
    fn workflow_answer(&self, id: &WorkflowId, asked: Asked) -> Option<Answer> {
        let workflow = self.workflow(id)?;
        let (record, message) = (workflow.record.clone(), workflow.message.clone());
        let triggered = |fire, key, outcome| {
            let workflow = record.clone();
            Answer::Triggered(Ok(TriggerAnswer {
                workflow,
                fire,
                key,
                outcome,
            }))
        };
        let find = |agent: &AgentId, execution: &ExecutionId| self.find(agent)?.work.find(execution).cloned();
        Some(match asked {
            Asked::Workflow(was) => Answer::Workflow(Ok(WorkflowAnswer {
                workflow: record,
                message,
                was,
            })),
            Asked::Execution(agent, execution) => {
                let execution = find(&agent, &execution)?;
                let by = execution.workflow.clone()?;
                triggered(by.fire, by.key, TriggerOutcome::Execution(execution))
            }
            Asked::Fire(number, key) => {
                let of = (id.clone(), number);
                let made = self
                    .flow
                    .made
                    .get(&of)
                    .and_then(|(agent, execution)| find(agent, execution));
                let outcome = match (made, self.flow.skipped.get(&of)) {
                    (Some(execution), _) => TriggerOutcome::Execution(execution),
                    (None, Some(why)) => TriggerOutcome::Skipped(why.clone()),
                    (None, None) => TriggerOutcome::Pending,
                };
                triggered(number, key, outcome)
            }
        })
    }
}
