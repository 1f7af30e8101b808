//! What turns of agents' lives and ends of executions must set off.

use std::collections::BTreeMap;

use rekindle::execution::ExecutionState;
use rekindle::workflow::{AgentEventKind, Trigger, WorkflowId};
use rekindle_server_core::effect::Outcome;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::record::Record;

use super::super::{Invariant, Oracle};
use super::{Flow, News, source_is};

impl Oracle {
    /// Each turn that a workflow watches sets it off once, and each end; nothing else does.
    pub(super) fn judge_causes(&mut self, outcome: &Outcome, all: &BTreeMap<WorkflowId, News<'_>>) {
        let mut wrong = Vec::new();
        for (id, flow) in &self.flows.ahead {
            let news = all.get(id);
            let record = news.and_then(|news| news.record).unwrap_or(&flow.record);
            let same = record.uid == flow.record.uid && record.spec == flow.record.spec;
            if !same || news.is_some_and(|news| news.deleted) {
                continue;
            }
            let expected = self.causes_of(flow, outcome);
            let told = news.map_or(0, |news| {
                let of = |source| {
                    news.of(EventKind::WorkflowTriggered)
                        .filter(|event| source_is(event, source))
                        .count()
                };
                of("agent_event") + of("completion") + news.turned_away()
            });
            if expected != told {
                wrong.push(format!("{expected} things have set {id} off, and {told} are told of"));
            }
        }
        if let Some(what) = wrong.pop() {
            self.fail(Invariant::I10, what);
        }
    }

    /// Before a step counts: what it forgets of executions that go on has ended by that.
    pub(in super::super) fn flows_cut_off(&mut self, outcome: &Outcome) {
        let forgotten = outcome.persist.iter().filter_map(|record| {
            if let Record::ExecutionForgotten { agent, id } = record {
                self.execution(agent, id)
            } else {
                None
            }
        });
        self.flows.cut = forgotten.filter(|record| !record.state.is_over()).collect();
    }

    fn causes_of(&self, flow: &Flow, outcome: &Outcome) -> usize {
        if !flow.record.spec.enabled {
            return 0;
        }
        let events = outcome.persist.iter().filter_map(|record| {
            if let Record::Event(event) = record {
                Some(&**event)
            } else {
                None
            }
        });
        match &flow.record.spec.trigger {
            Trigger::AgentEvent(watched) => events
                .filter(|event| {
                    let kind = turn(event.kind);
                    event.agent.as_ref() == Some(&watched.agent)
                        && kind.is_some_and(|kind| watched.types.contains(&kind))
                })
                .count(),
            Trigger::Completion(watched) => {
                let told = events.filter(|event| {
                    let state = event.kind.execution_state();
                    state.is_some_and(|state| watched.states.contains(&state))
                        && self.is_made_by(event, &watched.workflow)
                });
                let cut = self.flows.cut.iter().filter(|record| {
                    let is_queued = record.state == ExecutionState::Queued;
                    let end = if is_queued {
                        ExecutionState::Cancelled
                    } else {
                        ExecutionState::Lost
                    };
                    watched.states.contains(&end) && self.is_by(record, &watched.workflow)
                });
                told.count() + cut.count()
            }
            Trigger::Interval(_) | Trigger::Cron(_) | Trigger::OneShot(_) | Trigger::Manual | Trigger::Webhook => 0,
        }
    }

    /// Whether an event tells of an execution that a workflow of this name has made.
    fn is_made_by(&self, event: &Event, workflow: &WorkflowId) -> bool {
        let (Some(agent), Some(id)) = (&event.agent, &event.execution) else {
            return false;
        };
        let made = self.execution(agent, id);
        made.is_some_and(|record| self.is_by(&record, workflow))
    }

    /// Whether a workflow of this name has made an execution: the one that there is, or one that is gone.
    fn is_by(&self, record: &ExecutionRecord, workflow: &WorkflowId) -> bool {
        let by = record.workflow.as_ref();
        let known = self.flows.ahead.get(workflow);
        by.is_some_and(|by| by.workflow == *workflow && known.is_none_or(|flow| flow.record.uid == by.uid))
    }
}

/// The turn of an agent's life that an event tells of.
fn turn(kind: EventKind) -> Option<AgentEventKind> {
    AgentEventKind::parse(kind.as_str())
}
