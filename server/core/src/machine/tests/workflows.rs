//! Workflows: the words that their scenarios are told in.

mod arming;
mod calls;
mod chains;
mod clocks;
mod errors;
mod laws;
mod matrix;
mod runners;

use std::collections::BTreeSet;

use rekindle::execution::{ExecutionState, Verdict};
use rekindle::id::FireNumber;
use rekindle::workflow::{
    CronText, FireKey, Interval, Misfire, Overlap, SecretHash, Trigger, WorkflowPatch, WorkflowSpec, WorkflowSpecFields,
};

use super::work::{agent, result, worker};
use super::*;
use crate::effect::{TriggerAnswer, TriggerOutcome, WorkflowAnswer, WorkflowError};
use crate::input::{
    CreateWorkflow, DeleteWorkflow, Missing, Rotate, TriggerWorkflow, TriggeredBy, UpdateMode, UpdateWorkflow,
};
use crate::workflow::{RunnerState, WorkflowRecord};

pub(super) const MINUTE: u64 = 60;

pub(super) fn wid(id: &str) -> WorkflowId {
    WorkflowId::new(id).expect("valid")
}

pub(super) fn every(seconds: u64) -> Trigger {
    Trigger::Interval(Interval::new(Duration::from_secs(seconds)).expect("valid"))
}

pub(super) fn cron(expression: &str) -> Trigger {
    Trigger::Cron(CronText::new(expression, "UTC").expect("a text"))
}

pub(super) fn spec(trigger: Trigger, change: impl FnOnce(&mut WorkflowSpecFields)) -> WorkflowSpec {
    let mut fields = WorkflowSpecFields::new(agent(), trigger);
    change(&mut fields);
    WorkflowSpec::new(fields).expect("valid")
}

pub(super) fn creation(id: &str, spec: WorkflowSpec) -> CreateWorkflow {
    CreateWorkflow {
        id: Some(wid(id)),
        spec,
        message: "do {payload}".to_owned(),
        secret: None,
        request_id: None,
        mode: UpdateMode::Apply,
    }
}

pub(super) fn update(id: &str, patch: WorkflowPatch) -> UpdateWorkflow {
    UpdateWorkflow {
        id: wid(id),
        patch,
        message: None,
        secret: None,
        rotate: Rotate::No,
        etag: None,
        missing: Missing::Fail,
        mode: UpdateMode::Apply,
    }
}

pub(super) fn switched(enabled: bool) -> WorkflowPatch {
    WorkflowPatch {
        enabled: Some(enabled),
        ..WorkflowPatch::default()
    }
}

impl World {
    fn said(&self, call: CallId) -> Option<&Answer> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Reply { call: other, answer } if *other == call => Some(answer),
            Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::CheckpointKept { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        })
    }

    pub(super) fn workflow_answer(&mut self, request: Request) -> Result<WorkflowAnswer, WorkflowError> {
        let call = self.request(request);
        match self.said(call) {
            Some(Answer::Workflow(answer)) => answer.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn create(&mut self, create: CreateWorkflow) -> Result<WorkflowAnswer, WorkflowError> {
        self.workflow_answer(Request::CreateWorkflow(Box::new(create)))
    }

    pub(super) fn change(&mut self, update: UpdateWorkflow) -> Result<WorkflowAnswer, WorkflowError> {
        self.workflow_answer(Request::UpdateWorkflow(Box::new(update)))
    }

    /// Makes a workflow, and forgets the events of that.
    pub(super) fn flow(&mut self, id: &str, trigger: Trigger, change: impl FnOnce(&mut WorkflowSpecFields)) {
        self.create(creation(id, spec(trigger, change))).expect("made");
        self.told();
    }

    pub(super) fn switch(&mut self, id: &str, enabled: bool) {
        self.change(update(id, switched(enabled))).expect("there");
    }

    pub(super) fn drop_workflow(&mut self, id: &str, etag: Option<u64>) -> Result<(), WorkflowError> {
        let call = self.request(Request::DeleteWorkflow(DeleteWorkflow { id: wid(id), etag }));
        match self.said(call) {
            Some(Answer::WorkflowDeleted(answer)) => answer.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn trigger_with(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut TriggerWorkflow),
    ) -> Result<TriggerAnswer, WorkflowError> {
        let mut trigger = TriggerWorkflow {
            id: wid(id),
            uid: None,
            key: None,
            payload: String::new(),
            by: TriggeredBy::Call,
        };
        change(&mut trigger);
        let call = self.request(Request::TriggerWorkflow(trigger));
        match self.said(call) {
            Some(Answer::Triggered(answer)) => answer.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// What came of a trigger: `waits`, the state of its execution, or `skipped`.
    pub(super) fn trigger(&mut self, id: &str, key: &str) -> Result<String, WorkflowError> {
        let key = FireKey::new(key).expect("valid");
        let answer = self.trigger_with(id, |trigger| trigger.key = Some(key))?;
        let became = match &answer.outcome {
            TriggerOutcome::Pending => "waits".to_owned(),
            TriggerOutcome::Execution(execution) => execution.state.to_string(),
            TriggerOutcome::Skipped(_) => "skipped".to_owned(),
        };
        Ok(format!("{} {became}", answer.fire))
    }

    pub(super) fn record(&self, id: &str) -> &WorkflowRecord {
        let id = wid(id);
        self.machine
            .workflows()
            .find(|record| record.id == id)
            .expect("it is there")
    }

    /// The numbers of the fires that wait.
    pub(super) fn waiting(&self, id: &str) -> Vec<u64> {
        self.record(id).pending.iter().map(|fire| fire.number.get()).collect()
    }

    pub(super) fn runner(&self, id: &str) -> RunnerState {
        let record = self.record(id);
        let agent = self.machine.records().find(|agent| agent.id == record.spec.agent);
        let live = self
            .machine
            .executions()
            .filter(|execution| execution.goes_on_of(record));
        record
            .runner(agent.map(|agent| &**agent), live.map(|execution| &**execution))
            .state
    }

    /// What was made of the fires of a workflow: their numbers, and what the executions are.
    pub(super) fn made(&self, id: &str) -> String {
        let record = self.record(id);
        let mut made: Vec<(u64, String)> = (self.machine.executions())
            .filter(|execution| execution.is_of(record))
            .map(|execution| {
                let fire = execution.workflow.as_ref().expect("it is of one").fire.get();
                (fire, format!("{fire}:{}", execution.state))
            })
            .collect();
        made.sort();
        made.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
    }

    /// The name of the execution of a fire.
    pub(super) fn execution_of(&self, id: &str, fire: u64) -> String {
        let record = self.record(id);
        let number = FireNumber::new(fire);
        let mut all = self.machine.executions().filter(|execution| execution.is_of(record));
        let made = all.find(|execution| execution.workflow.as_ref().is_some_and(|by| by.fire == number));
        made.expect("it was made").id.to_string()
    }

    /// The agent does what it was given for a fire, so far or to the end.
    pub(super) fn works_on(&mut self, id: &str, fire: u64) {
        let execution = self.execution_of(id, fire);
        self.start(&execution, 1);
    }

    pub(super) fn did(&mut self, id: &str, fire: u64, verdict: Verdict) {
        let execution = self.execution_of(id, fire);
        self.finish(&execution, 1, result(verdict));
    }

    /// Does what a fire asks for, whole.
    pub(super) fn does(&mut self, id: &str, fire: u64) {
        self.works_on(id, fire);
        self.did(id, fire, Verdict::Succeeded);
    }

    /// The agent's process dies, and is not started again by itself.
    pub(super) fn dies(&mut self) {
        let incarnation = self.agent().incarnation.get();
        self.exit(incarnation, 1);
        assert_ne!(self.state(), AgentState::Running);
    }

    /// The next life of the agent is ready.
    pub(super) fn comes_back(&mut self) {
        self.restart(|_| ());
        let incarnation = self.agent().incarnation.get();
        self.spawn(incarnation);
        assert_eq!(self.state(), AgentState::Running);
    }

    /// The shim's stream is open again, with the same life under it.
    pub(super) fn reconnects(&mut self) {
        let incarnation = self.agent().incarnation.get();
        let inventory = Inventory {
            last_incarnation: Incarnation::new(incarnation),
            child: Some(self.child(incarnation)),
            ..Inventory::default()
        };
        self.connect_with(worker(|_| ()), inventory);
    }

    /// What the log has said of workflows since it was last asked.
    pub(super) fn told_of_workflows(&mut self) -> String {
        let told = self.told();
        let words = told.split(' ').filter_map(|word| word.strip_prefix("WORKFLOW_"));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The wall clock is set, and nothing else passes.
    pub(super) fn set_clock(&mut self, change: impl FnOnce(Timestamp) -> Timestamp) {
        self.now.wall = change(self.now.wall);
    }
}
