//! I6: how much an agent is given at a time, and how much waits for it, by the policy of that moment.

use std::sync::Arc;

use rekindle::execution::ExecutionState;
use rekindle::id::AgentId;
use rekindle::state::{AgentState, Desired};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::record::AgentRecord;

use super::super::{Invariant, Oracle};
use super::Key;
use crate::fault::Fault;

impl Oracle {
    /// Counts where an agent gets more slots, or fewer, while that matters.
    pub(super) fn note_slots(&mut self, record: &AgentRecord) {
        let slots = record.policy.max_concurrent as usize;
        let Some(before) = self.work.slots.insert(record.id.clone(), slots) else {
            return;
        };
        let held = self.held_by(&record.id);
        if slots < before && slots < held {
            self.work.news.push(Fault::SlotsTaken);
        }
        if slots > before && self.waiting_for(&record.id) > 0 {
            self.work.news.push(Fault::SlotsAdded);
        }
    }

    /// Nothing is given to an agent that is not ready, or has no slot.
    pub(super) fn judge_dispatch(&mut self, agent: &AgentId) {
        let Some(record) = self.ahead.get(agent).cloned() else {
            return;
        };
        let held = self.held_by(agent);
        if held > record.policy.max_concurrent as usize {
            let what = format!("{agent} holds {held}, and has {} slots", record.policy.max_concurrent);
            self.fail(Invariant::I6, what);
        }
        if !takes_work(&record) {
            self.fail(Invariant::I6, format!("{agent} is {}, and is given work", record.state));
        }
    }

    /// What was asked for just now waits only where there was room for it. What is given again waits in any case.
    pub(super) fn judge_room(&mut self, (agent, id): &Key) {
        let waits = self
            .execution(agent, id)
            .is_some_and(|made| made.state == ExecutionState::Queued);
        let Some(limit) = self.ahead.get(agent).map(|record| record.policy.queue_limit as usize) else {
            return;
        };
        let waiting = self.waiting_for(agent);
        if waits && waiting > limit {
            let what = format!("{id} is number {waiting} to wait for {agent}, which has room for {limit}");
            self.fail(Invariant::I6, what);
        }
    }

    fn held_by(&self, agent: &AgentId) -> usize {
        self.of_agent(agent).filter(|record| record.state.is_held()).count()
    }

    fn waiting_for(&self, agent: &AgentId) -> usize {
        let waits = |record: &&Arc<ExecutionRecord>| record.state == ExecutionState::Queued;
        self.of_agent(agent).filter(waits).count()
    }

    /// The executions of an agent, as the machine has them.
    pub(in crate::oracle) fn of_agent<'a>(
        &'a self,
        agent: &'a AgentId,
    ) -> impl Iterator<Item = &'a Arc<ExecutionRecord>> {
        self.work.ahead.values().filter(move |record| record.agent == *agent)
    }
}

fn takes_work(record: &AgentRecord) -> bool {
    record.state == AgentState::Running && record.desired == Desired::Running && record.operation.is_none()
}
