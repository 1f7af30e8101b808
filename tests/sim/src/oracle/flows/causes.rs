//! What turns of agents' lives and ends of executions must set off.

use std::collections::BTreeMap;

use rekindle::workflow::{AgentEventKind, Trigger, WorkflowId};
use rekindle_server_core::effect::Outcome;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::record::Record;

use super::super::work::Told;
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
            Trigger::Completion(watched) => events
                .filter(|event| {
                    let state = Told::of(event.kind).map(Told::state);
                    state.is_some_and(|state| watched.states.contains(&state))
                        && self.is_made_by(event, &watched.workflow)
                })
                .count(),
            Trigger::Interval(_) | Trigger::Cron(_) | Trigger::OneShot(_) | Trigger::Manual | Trigger::Webhook => 0,
        }
    }

    /// Whether an event tells of an execution that a workflow of this name, the one that there is, has made.
    fn is_made_by(&self, event: &Event, workflow: &WorkflowId) -> bool {
        let (Some(agent), Some(id)) = (&event.agent, &event.execution) else {
            return false;
        };
        let made = self.execution(agent, id);
        let by = made.as_ref().and_then(|record| record.workflow.as_ref());
        let known = self.flows.ahead.get(workflow);
        by.is_some_and(|by| by.workflow == *workflow && known.is_some_and(|flow| flow.record.uid == by.uid))
    }
}

/// The turn of an agent's life that an event tells of.
fn turn(kind: EventKind) -> Option<AgentEventKind> {
    AgentEventKind::parse(kind.as_str())
}
