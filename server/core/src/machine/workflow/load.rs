//! From records to workflows: timers are derived anew, and what waits goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekindle::id::FireNumber;
use rekindle::time::Now;
use rekindle::workflow::{Trigger, WorkflowId};

use super::super::Machine;
use super::Workflow;
use crate::execution::ExecutionRecord;
use crate::workflow::WorkflowRecord;

impl Machine {
    /// Takes up what an earlier life of the server left. Nothing fires in this: what is due comes with the first tick.
    pub(in super::super) fn recover_workflows(
        &mut self,
        records: Vec<WorkflowRecord>,
        messages: Vec<(WorkflowId, Arc<str>)>,
        payloads: Vec<(WorkflowId, FireNumber, Arc<str>)>,
        now: Now,
    ) {
        let mut messages: BTreeMap<_, _> = messages.into_iter().collect();
        let mut brought: BTreeMap<WorkflowId, BTreeMap<FireNumber, Arc<str>>> = BTreeMap::new();
        for (id, fire, text) in payloads {
            brought.entry(id).or_default().insert(fire, text);
        }
        for record in records {
            let id = record.id.clone();
            let message = messages.remove(&id).unwrap_or_default();
            let mut workflow = Workflow::new(Arc::new(record), message);
            workflow.payloads = brought.remove(&id).unwrap_or_default();
            let waits = |number: &FireNumber| workflow.record.pending.iter().any(|fire| fire.number == *number);
            workflow.payloads.retain(|number, _| waits(number));
            self.workflows.insert(workflow);
            self.resume_workflow(&id, now);
        }
        let executions: Vec<Arc<ExecutionRecord>> = self.executions().cloned().collect();
        for execution in executions {
            self.workflows.note(&execution);
        }
    }

    /// What is left of its times. An interval waits for no longer than it is, whatever became of the wall clock meanwhile.
    fn resume_workflow(&mut self, id: &WorkflowId, now: Now) {
        let Some(workflow) = self.workflows.all.get_mut(id) else {
            return;
        };
        let record = &workflow.record;
        if let Trigger::Interval(interval) = record.spec.trigger
            && record.spec.enabled
        {
            let due = record.through.saturating_add(interval.every());
            let left = due.saturating_since(now.wall).min(interval.every());
            workflow.next = Some(now.mono.saturating_add(left));
        }
        if !record.pending.is_empty() {
            workflow.again = Some(now.mono);
        }
        self.workflows.count_expiries(id, now);
        self.workflows.await_wall(id);
    }
}
