//! What must hold of workflows between any two steps.

use std::collections::{BTreeMap, BTreeSet};

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::AgentId;
use rekindle::state::AgentState;
use rekindle::workflow::{PENDING_MAX, Trigger, WorkflowId};

use super::super::Machine;
use super::super::check::Violation;
use super::{Workflow, Workflows};

/// Its executions, by its name: those that go on, and those whose fires' keys are taken.
#[derive(Default)]
struct Made {
    live: BTreeSet<(AgentId, ExecutionId)>,
    keyed: usize,
}

impl Machine {
    pub(in super::super) fn check_workflows(&self) -> Result<(), Violation> {
        let mut made: BTreeMap<&WorkflowId, Made> = BTreeMap::new();
        for execution in self.executions() {
            let Some(by) = &execution.workflow else { continue };
            let known = self.workflows.all.get(&by.workflow);
            if known.is_none_or(|workflow| workflow.record.uid != by.uid) {
                continue;
            }
            let made = made.entry(&by.workflow).or_default();
            if !execution.state.is_over() {
                made.live.insert((execution.agent.clone(), execution.id.clone()));
            }
            made.keyed += usize::from(!execution.state.is_over() || execution.state == ExecutionState::Succeeded);
        }
        for (id, workflow) in &self.workflows.all {
            let none = Made::default();
            let problem = workflow
                .problem(made.get(id).unwrap_or(&none))
                .or_else(|| self.runner_problem(workflow))
                .or_else(|| self.workflows.problem(id, workflow));
            if let Some(problem) = problem {
                let agent = workflow.record.spec.agent.clone();
                return Err(Violation { agent, problem });
            }
        }
        let Some(problem) = self.workflows.counts_problem() else {
            return Ok(());
        };
        let agent = AgentId::new("workflows").expect("within the alphabet");
        Err(Violation { agent, problem })
    }

    /// A runner that could go on does, or is about to.
    fn runner_problem(&self, workflow: &Workflow) -> Option<&'static str> {
        let spec = &workflow.record.spec;
        let agent = self.agents.get(&spec.agent);
        let is_armed = spec.enabled && agent.is_some_and(|agent| agent.record.state == AgentState::Running);
        let could = is_armed && !workflow.record.pending.is_empty() && workflow.in_the_way().next().is_none();
        if could && workflow.again.is_none() && workflow.blocked.is_none() {
            return Some("a fire waits, and nothing is in its way");
        }
        None
    }
}

impl Workflow {
    fn problem(&self, made: &Made) -> Option<&'static str> {
        let record = &self.record;
        if record.pending.len() > PENDING_MAX {
            return Some("more fires wait than may");
        }
        let numbers: Vec<_> = record.pending.iter().map(|fire| fire.number).collect();
        if !numbers.is_sorted_by(|a, b| a < b) || numbers.last().is_some_and(|last| *last > record.fired) {
            return Some("its fires are not in their order");
        }
        let with_payload = record.pending.iter().filter(|fire| fire.payload_bytes > 0);
        let bytes = |fire: &&crate::workflow::Fire| (fire.number, fire.payload_bytes);
        let kept = self.payloads.iter().map(|(number, text)| (*number, text.len() as u64));
        if !with_payload.map(|fire| bytes(&fire)).eq(kept) {
            return Some("what its fires have brought is not what is kept");
        }
        if self.live != made.live {
            return Some("what it works on is not what goes on of its executions");
        }
        if self.keys.len() != made.keyed {
            return Some("a key of its executions is not known, or is of one that does not count");
        }
        if record.spec.expires_after.is_some() == self.expiries.is_empty() && !record.pending.is_empty() {
            return Some("a fire's expiry is not watched, or of nothing");
        }
        let is_interval = matches!(record.spec.trigger, Trigger::Interval(_));
        if self.next.is_some() != (is_interval && record.spec.enabled) {
            return Some("an interval does not count, or something else does");
        }
        if self.timer != self.first_time() {
            return Some("its timer is not its first time");
        }
        None
    }
}

impl Workflows {
    fn problem(&self, id: &WorkflowId, workflow: &Workflow) -> Option<&'static str> {
        let spec = &workflow.record.spec;
        let under = |index: Option<&BTreeSet<WorkflowId>>| index.is_some_and(|ids| ids.contains(id));
        let is_linked = match &spec.trigger {
            Trigger::AgentEvent(events) => under(self.watching.get(&events.agent)),
            Trigger::Completion(completion) => under(self.following.get(&completion.workflow)),
            Trigger::Interval(_) | Trigger::Cron(_) | Trigger::OneShot(_) | Trigger::Manual | Trigger::Webhook => true,
        };
        if !is_linked || !under(self.of_agent.get(&spec.agent)) {
            return Some("a workflow is not found by what it is for");
        }
        let has_timer = workflow.timer.is_none_or(|at| self.timers.contains(&(at, id.clone())));
        let has_wall = workflow.wall.is_none_or(|at| self.walls.contains(&(at, id.clone())));
        let has_place = workflow.blocked.is_none_or(|since| {
            let blocked = self.blocked.get(&spec.agent);
            blocked.is_some_and(|blocked| blocked.contains(&(since, id.clone())))
        });
        if !has_timer || !has_wall || !has_place {
            return Some("a workflow's time is not indexed");
        }
        None
    }

    fn counts_problem(&self) -> Option<&'static str> {
        let all = || self.all.values();
        let text_bytes: usize = all().map(Workflow::text_bytes).sum();
        let of_trigger = |is: fn(&Trigger) -> bool| all().filter(|w| is(&w.record.spec.trigger)).count();
        let counts = [
            (size(&self.of_agent), self.all.len()),
            (
                size(&self.watching),
                of_trigger(|trigger| matches!(trigger, Trigger::AgentEvent(_))),
            ),
            (
                size(&self.following),
                of_trigger(|trigger| matches!(trigger, Trigger::Completion(_))),
            ),
            (size(&self.blocked), all().filter(|w| w.blocked.is_some()).count()),
            (self.timers.len(), all().filter(|w| w.timer.is_some()).count()),
            (self.walls.len(), all().filter(|w| w.wall.is_some()).count()),
            (
                self.requests.len(),
                all().filter(|w| w.record.request.is_some()).count(),
            ),
            (self.text_bytes, text_bytes),
        ];
        let wrong = counts.iter().any(|(indexed, there)| indexed != there);
        wrong.then_some("something of workflows is indexed that is not there")
    }
}

fn size<K, V>(index: &BTreeMap<K, BTreeSet<V>>) -> usize {
    index.values().map(BTreeSet::len).sum()
}
