//! Those who have work: what they ask for, how they repeat themselves, and when they think again.

use std::collections::BTreeSet;
use std::time::Duration;

use rekindle::execution::{Delivery, ExecutionId};
use rekindle::id::{AgentId, RequestId};
use rekindle::policy::PolicyPatch;
use rekindle_server_core::execution::{Ending, ExecutionRecord};
use rekindle_server_core::input::{
    CancelExecution, CreateExecution, Input, Missing, Request, UpdateMode, UpdateRequest,
};

use super::super::World;
use crate::fault::Fault;
use crate::queue::Event;
use crate::swarm::{self, EXECUTIONS_MAX, Losses};

/// Most executions that are forgotten at a time.
const FORGOTTEN_MAX: usize = 5;

/// How often a name that is free again is used again, where there is one: such worlds are few.
const USED_AGAIN: f64 = 0.5;

impl World {
    pub(in crate::world) fn employs(&mut self) {
        let Some(every) = self.swarm.work.as_ref().map(|work| work.employ_every) else {
            return;
        };
        if !self.is_rough() {
            return;
        }
        if let Some(agent) = self.some_agent() {
            self.client_acts(&agent);
        }
        let wait = self.dice.about(every);
        self.after(wait, Event::Employs);
    }

    /// More comes than there is room for, for a while.
    pub(in crate::world) fn rushes(&mut self) {
        let Some(rush) = self.swarm.work.as_ref().and_then(|work| work.rush.as_ref()) else {
            return;
        };
        let (every, until, begins) = (rush.every, rush.during.end, self.now == rush.during.start);
        if !self.is_rough() || self.now >= until || self.created >= EXECUTIONS_MAX {
            return;
        }
        if begins {
            self.fired(match self.losses() {
                Losses::Explained => Fault::Overloaded,
                Losses::Forbidden => Fault::OverloadedAlone,
            });
        }
        if let Some(agent) = self.some_agent() {
            self.create(&agent, None);
        }
        self.after(every, Event::Rushes);
    }

    /// One that takes messages, for the most part.
    fn some_agent(&mut self) -> Option<AgentId> {
        let takes: Vec<usize> = (0..self.swarm.agents.len())
            .filter(|nature| self.swarm.delivery(*nature) != Delivery::None)
            .collect();
        let any = self.dice.below(self.swarm.agents.len());
        let chosen = self.dice.pick(&takes).copied();
        let nature = if self.dice.chance(0.05) { Some(any) } else { chosen };
        nature.map(|nature| AgentId::new(&format!("agent-{nature}")).expect("valid"))
    }

    fn client_acts(&mut self, agent: &AgentId) {
        if self.chance_of(|work| work.clients.forget) {
            return self.forget_some(agent);
        }
        if self.chance_of(|work| work.clients.cancel) {
            return self.cancel_one(agent);
        }
        if self.chance_of(|work| work.clients.repeat) {
            return self.repeat_one();
        }
        if self.chance_of(|work| work.resize) {
            return self.resize(agent);
        }
        if self.chance_of(|work| work.clients.redrive) {
            let over = self.executions(agent, |record| record.state.is_over());
            let Some(id) = self.dice.pick(&over).cloned() else {
                return;
            };
            self.fired(Fault::Redriven);
            return self.create(agent, Some(id));
        }
        self.create(agent, None);
    }

    /// An agent gets another number of slots, and another queue, whatever it works on.
    fn resize(&mut self, agent: &AgentId) {
        let policy = PolicyPatch {
            max_concurrent: Some(swarm::some_slots(&mut self.dice)),
            queue_limit: Some(swarm::some_queue(&mut self.dice)),
            ..PolicyPatch::default()
        };
        let update = UpdateRequest {
            agent: agent.clone(),
            policy: Some(policy),
            labels: None,
            etag: None,
            missing: Missing::Fail,
            mode: UpdateMode::Apply,
        };
        self.order_work(Request::Update(Box::new(update)), None);
    }

    fn executions(&self, agent: &AgentId, like: impl Fn(&ExecutionRecord) -> bool) -> Vec<ExecutionId> {
        let all = self.server.disk.executions_of(agent);
        all.filter(|record| like(record))
            .map(|record| record.id.clone())
            .collect()
    }

    fn create(&mut self, agent: &AgentId, redrive_of: Option<ExecutionId>) {
        if self.created >= EXECUTIONS_MAX {
            return;
        }
        self.created += 1;
        let number = self.created;
        let with_id = self.chance_of(|work| work.clients.with_request_id);
        let request_id = with_id.then(|| RequestId::new(&format!("w{number}")).expect("valid"));
        let own_timeout = self.chance_of(|work| work.clients.own_timeout);
        let start_timeout = self.chance_of(|work| work.clients.start_timeout);
        let own_name = self
            .dice
            .chance(0.2)
            .then(|| ExecutionId::new(&format!("e{number}")).expect("valid"));
        let create = CreateExecution {
            agent: agent.clone(),
            id: self.name_used_again(agent).or(own_name),
            message: format!("m{number}"),
            timeout: own_timeout.then(|| self.dice.millis(200..20_000)),
            schedule_to_start: start_timeout.then(|| self.dice.millis(500..30_000)),
            priority: i32::try_from(self.dice.below(3)).expect("small") - 1,
            request_id: request_id.clone(),
            redrive_of,
        };
        self.order_work(Request::CreateExecution(Box::new(create)), request_id);
    }

    /// A name that the server knows nothing of any more, and one of the agent's shims has something of: an attempt, or its
    /// end. Most worlds have none.
    fn name_used_again(&mut self, agent: &AgentId) -> Option<ExecutionId> {
        let journals = self.shims.iter().filter(|shim| shim.agent == *agent);
        let left = journals.flat_map(|shim| {
            let held = shim.journal.attempts.iter().map(|held| &held.attempt);
            let told = shim.journal.outbox.iter();
            held.chain(told.filter_map(|report| report.fact.finished_attempt()))
        });
        let is_forgotten = |id: &&ExecutionId| self.server.disk.execution(agent, id).is_none();
        let names = left.map(|attempt| &attempt.execution).filter(is_forgotten);
        let names: BTreeSet<ExecutionId> = names.cloned().collect();
        let names: Vec<ExecutionId> = names.into_iter().collect();
        if names.is_empty() || !self.dice.chance(USED_AGAIN) {
            return None;
        }
        let name = self.dice.pick(&names).cloned();
        self.fired(Fault::NameUsedAgain);
        name
    }

    fn cancel_one(&mut self, agent: &AgentId) {
        let open = self.executions(agent, |record| !record.state.is_over());
        let any = self.executions(agent, |_| true);
        let from = if self.dice.chance(0.8) { open } else { any };
        let Some(id) = self.dice.pick(&from).cloned() else {
            return;
        };
        let grace = self.dice.chance(0.3).then(|| self.dice.millis(0..3_000));
        self.cancel(agent, id, grace);
    }

    fn cancel(&mut self, agent: &AgentId, id: ExecutionId, grace: Option<Duration>) {
        self.fired(Fault::CancelAsked);
        let cancel = CancelExecution {
            agent: agent.clone(),
            id,
            reason: String::new(),
            grace,
        };
        self.order_work(Request::CancelExecution(cancel), None);
    }

    /// The same request comes once more, whatever became of the first.
    fn repeat_one(&mut self) {
        let asked: Vec<(Request, RequestId)> = self
            .orders
            .iter()
            .filter_map(|order| match order.request() {
                request @ Request::CreateExecution(create) => Some((request.clone(), create.request_id.clone()?)),
                Request::CancelExecution(_)
                | Request::Run(_)
                | Request::Stop(_)
                | Request::Update(_)
                | Request::Delete(_)
                | Request::Signal(_)
                | Request::CreateWorkflow(_)
                | Request::UpdateWorkflow(_)
                | Request::DeleteWorkflow(_)
                | Request::TriggerWorkflow(_)
                | Request::DeleteCheckpoint { .. } => None,
            })
            .collect();
        let Some((request, id)) = self.dice.pick(&asked).cloned() else {
            return;
        };
        self.fired(Fault::CreateRepeated);
        self.order_work(request, Some(id));
    }

    /// Old executions are forgotten, as the real driver has it done by their age.
    fn forget_some(&mut self, agent: &AgentId) {
        let standing = self.server.stands_still_until() > self.now;
        if self.server.running.is_none() || standing {
            return;
        }
        let over = self.executions(agent, |record| record.state.is_over());
        let executions: Vec<_> = over
            .into_iter()
            .take(FORGOTTEN_MAX)
            .map(|id| (agent.clone(), id))
            .collect();
        if executions.is_empty() {
            return;
        }
        self.fired(Fault::ExecutionsForgotten);
        let most = executions.len();
        self.server_step(Input::ExecutionsAged { executions, most });
        self.server_turns();
    }

    /// After the storm: what a mass absence holds back is cancelled, by somebody who has read the alarm.
    pub(in crate::world) fn cancel_what_is_held_back(&mut self, agent: &AgentId) {
        if !self.oracle.verdicts_are_held() {
            return;
        }
        let cancelled = |record: &ExecutionRecord| matches!(record.ending, Some(Ending::Cancelled { .. }));
        for id in self.executions(agent, |record| record.state.is_held() && !cancelled(record)) {
            self.cancel(agent, id, None);
        }
    }
}
