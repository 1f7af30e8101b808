//! Operators: what they order, how they retry, and what they do when they are sure, or only think so.

use std::time::Duration;

use rekindle::id::{AgentId, RequestId};
use rekindle::label::LabelsPatch;
use rekindle::policy::PolicyPatch;
use rekindle::session::Wanted;
use rekindle::state::AgentState;
use rekindle_server_core::effect::Answer;
use rekindle_server_core::input::{
    CallId, DeleteRequest, Force, Input, Missing, Request, RunRequest, SignalRequest, StopRequest, Unless, UpdateMode,
    UpdateRequest, Wait,
};
use rekindle_server_core::record::{AgentRecord, Claim, OperationKind};

use super::World;
use crate::fault::Fault;
use crate::host::Up as HostUp;
use crate::queue::{Event, OrderIx};
use crate::shim::{Linked, Shim};
use crate::swarm;

/// Longest time that a caller waits for its answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often a caller whose server went away tries again.
const TRIES_MAX: u32 = 12;

/// What an operator wants, until it is answered.
#[derive(Debug)]
pub(crate) struct Order {
    request: Request,
    /// Retried only with it.
    request_id: Option<RequestId>,
    forced: Forced,
    tries: u32,
    /// The call that waits for an answer.
    pub(crate) call: Option<CallId>,
    hangs_up: HangsUp,
    pub(crate) done: Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forced {
    No,
    Rightly,
    Wrongly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HangsUp {
    No,
    Yes,
}

/// Whether an order has its answer, or is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    No,
    Yes,
}

impl Order {
    /// What was asked for.
    pub(crate) const fn request(&self) -> &Request {
        &self.request
    }
}

impl World {
    pub(super) fn operates(&mut self) {
        if !self.is_rough() {
            return;
        }
        let agents = self.swarm.agents.len();
        let agent = AgentId::new(&format!("agent-{}", self.dice.below(agents))).expect("valid");
        self.order(&agent);
        if let Some(every) = self.swarm.operate_every {
            let wait = self.dice.about(every);
            self.after(wait, Event::Operates);
        }
    }

    fn order(&mut self, agent: &AgentId) {
        let number = self.orders.len();
        let with_id = self.dice.chance(self.swarm.operators.with_request_id);
        let request_id = with_id.then(|| RequestId::new(&format!("r{number}")).expect("valid"));
        let known = self.server.disk.agent(agent).cloned();
        let mut forced = Forced::No;
        let delete = self.swarm.operators.delete;
        if let Some(request) = self.deletes_checkpoint(agent) {
            return self.order_is_sent(request, None, Forced::No);
        }
        let request = match self.dice.below(20) {
            0..3 => self.update(agent),
            3..5 => Request::Signal(SignalRequest {
                agent: agent.clone(),
                signal: if self.dice.chance(0.5) { 9 } else { 15 },
                expected_incarnation: known.map(|record| record.incarnation).filter(|_| self.dice.chance(0.5)),
            }),
            _ if self.dice.chance(delete) => {
                let sure = known.as_deref().is_some_and(|record| self.is_surely_dead(record));
                let force = if sure && self.dice.chance(0.5) {
                    Force::Yes
                } else {
                    Force::No
                };
                if force == Force::Yes {
                    forced = Forced::Rightly;
                }
                Request::Delete(DeleteRequest {
                    agent: agent.clone(),
                    etag: None,
                    force,
                })
            }
            5..9 => Request::Stop(StopRequest {
                agent: agent.clone(),
                reason: String::new(),
                request_id: request_id.clone(),
                expected_incarnation: known.map(|record| record.incarnation).filter(|_| self.dice.chance(0.2)),
                grace: self.dice.chance(0.2).then(|| self.dice.millis(0..3_000)),
                wait: self.wait(),
            }),
            _ => {
                forced = known.as_deref().map_or(Forced::No, |record| self.force(record));
                self.run_request(agent, request_id.clone(), forced)
            }
        };
        self.order_is_sent(request, request_id, forced);
    }

    fn order_is_sent(&mut self, request: Request, request_id: Option<RequestId>, forced: Forced) {
        let number = self.orders.len();
        let hangs_up = if self.dice.chance(self.swarm.operators.hang_up) {
            HangsUp::Yes
        } else {
            HangsUp::No
        };
        self.orders.push(Order {
            request,
            request_id,
            forced,
            tries: 0,
            call: None,
            hangs_up,
            done: Done::No,
        });
        self.order_arrives(OrderIx(number));
    }

    /// A request about work, which needs no force.
    pub(super) fn order_work(&mut self, request: Request, request_id: Option<RequestId>) {
        self.order_is_sent(request, request_id, Forced::No);
    }

    fn run_request(&mut self, agent: &AgentId, request_id: Option<RequestId>, forced: Forced) -> Request {
        let expected = self.server.disk.agent(agent).map(|record| record.incarnation);
        Request::Run(RunRequest {
            agent: agent.clone(),
            kind: if self.dice.chance(0.5) {
                OperationKind::Restart
            } else {
                OperationKind::Start
            },
            reason: String::new(),
            request_id,
            expected_incarnation: expected.filter(|_| self.dice.chance(0.2)),
            grace: self.dice.chance(0.2).then(|| self.dice.millis(0..3_000)),
            unless: if self.dice.chance(0.3) {
                Unless::Up
            } else {
                Unless::Never
            },
            force: if forced == Forced::No { Force::No } else { Force::Yes },
            wait: self.wait(),
            context: self.some_context(),
        })
    }

    fn update(&mut self, agent: &AgentId) -> Request {
        let policy = swarm::policy(&mut self.dice);
        let patch = PolicyPatch {
            max_attempts: self.dice.chance(0.5).then_some(policy.max_attempts),
            cooldown: self.dice.chance(0.5).then_some(policy.cooldown),
            restart: self.dice.chance(0.5).then_some(policy.restart),
            stop_grace: self.dice.chance(0.5).then_some(policy.stop_grace),
            ..PolicyPatch::default()
        };
        Request::Update(Box::new(UpdateRequest {
            agent: agent.clone(),
            policy: Some(patch),
            labels: self.dice.chance(0.3).then(LabelsPatch::default),
            etag: None,
            missing: if self.dice.chance(0.5) {
                Missing::Create
            } else {
                Missing::Fail
            },
            mode: if self.dice.chance(0.1) {
                UpdateMode::ValidateOnly
            } else {
                UpdateMode::Apply
            },
        }))
    }

    fn wait(&mut self) -> Wait {
        match self.dice.below(4) {
            0 => Wait::Accepted,
            1 => Wait::Started,
            _ => Wait::Ready,
        }
    }

    /// Whether an operator would use force, and would be right.
    fn force(&mut self, record: &AgentRecord) -> Forced {
        let quarantined = record.state == AgentState::Quarantined;
        if self.is_surely_dead(record)
            || (quarantined && self.lives(&record.id) == 0 && !self.may_begin_alone(&record.id))
        {
            return if self.dice.chance(0.7) {
                Forced::Rightly
            } else {
                Forced::No
            };
        }
        let silent = record.state == AgentState::Unreachable || quarantined;
        if silent && self.dice.chance(self.swarm.operators.lie) {
            return Forced::Wrongly;
        }
        Forced::No
    }

    /// The holder's host is down, and nothing of the agent lives anywhere.
    fn is_surely_dead(&self, record: &AgentRecord) -> bool {
        let Some(holder) = record.holder.as_ref().filter(|holder| holder.claim == Claim::Held) else {
            return false;
        };
        let down = |name: &str| {
            self.hosts
                .iter()
                .any(|host| host.name == name && host.up == HostUp::Down)
        };
        down(&holder.host.name) && self.lives(&record.id) == 0
    }

    /// Whether a shim that the server cannot reach may start the agent by itself: who takes it from that shim says that it
    /// will not.
    fn may_begin_alone(&self, agent: &AgentId) -> bool {
        let charged = |shim: &Shim| {
            let wanted = shim.journal.charge.as_ref().map(|charge| charge.wanted);
            wanted == Some(Wanted::Run) && shim.journal.boot_id == self.hosts[shim.host.0].boot_id()
        };
        let linked = |shim: &Shim| {
            shim.running
                .as_ref()
                .is_some_and(|running| running.linked == Linked::Yes)
        };
        self.shims
            .iter()
            .any(|shim| shim.agent == *agent && charged(shim) && !linked(shim))
    }

    /// Processes of an agent, over all hosts.
    pub(super) fn lives(&self, agent: &AgentId) -> usize {
        let of_agent = |shim: crate::queue::ShimIx| self.shims[shim.0].agent == *agent;
        self.hosts
            .iter()
            .flat_map(|host| host.processes.values())
            .filter(|process| process.owner.is_some_and(|owner| of_agent(owner.shim)))
            .count()
    }

    pub(super) fn order_arrives(&mut self, ix: OrderIx) {
        let order = &self.orders[ix.0];
        if order.done == Done::Yes {
            return;
        }
        if self.server.running.is_none() {
            return self.order_again(ix);
        }
        let until = self.server.stands_still_until();
        if until > self.now {
            return self.queue.push(until, Event::OrderArrives(ix));
        }
        if !self.may_force(ix) {
            self.orders[ix.0].done = Done::Yes;
            return;
        }
        let order = &mut self.orders[ix.0];
        order.tries += 1;
        let tries = order.tries;
        let call = CallId((ix.0 as u64) * 1000 + u64::from(order.tries));
        order.call = Some(call);
        let (request, hangs_up) = (order.request.clone(), order.hangs_up);
        if tries > 1 {
            self.fired(Fault::RequestRetried);
        }
        if let Some(running) = &mut self.server.running {
            running.calls.insert(call, ix);
        }
        let wait = match hangs_up {
            HangsUp::Yes => self.dice.millis(1..10_000),
            HangsUp::No => DEADLINE,
        };
        self.after(wait, Event::OrderExpires(ix, call.0));
        self.server_step(Input::Requested { call, request });
        self.server_turns();
    }

    /// An honest operator looks again before each try.
    fn may_force(&mut self, ix: OrderIx) -> bool {
        let order = &self.orders[ix.0];
        let agent = match &order.request {
            Request::Run(run) => run.agent.clone(),
            Request::Delete(delete) => delete.agent.clone(),
            Request::Stop(_)
            | Request::Update(_)
            | Request::Signal(_)
            | Request::CreateExecution(_)
            | Request::CancelExecution(_)
            | Request::CreateWorkflow(_)
            | Request::UpdateWorkflow(_)
            | Request::DeleteWorkflow(_)
            | Request::TriggerWorkflow(_)
            | Request::DeleteCheckpoint { .. } => return true,
        };
        match order.forced {
            Forced::No => true,
            Forced::Rightly => {
                let record = self.server.disk.agent(&agent).cloned();
                let still = record.is_some_and(|record| {
                    let quarantined = record.state == AgentState::Quarantined
                        && self.lives(&agent) == 0
                        && !self.may_begin_alone(&agent);
                    self.is_surely_dead(&record) || quarantined
                });
                if still {
                    self.fired(Fault::ForcedRightly);
                }
                still
            }
            Forced::Wrongly => {
                self.fired(Fault::ForcedWrongly);
                self.oracle.lied(&agent);
                true
            }
        }
    }

    fn order_again(&mut self, ix: OrderIx) {
        let order = &mut self.orders[ix.0];
        order.call = None;
        order.tries += 1;
        if order.request_id.is_none() || order.tries > TRIES_MAX {
            order.done = Done::Yes;
            return;
        }
        let wait = self.dice.millis(500..5_000);
        self.after(wait, Event::OrderArrives(ix));
    }

    /// The server that was to answer is gone.
    pub(super) fn calls_lost(&mut self, orders: Vec<OrderIx>) {
        for ix in orders {
            self.order_again(ix);
        }
    }

    pub(super) fn order_expires(&mut self, ix: OrderIx, call: u64) {
        let call = CallId(call);
        let waits = self.orders[ix.0].call == Some(call) && self.orders[ix.0].done == Done::No;
        if !waits || self.server.running.is_none() {
            return;
        }
        let until = self.server.stands_still_until();
        if until > self.now {
            return self.queue.push(until, Event::OrderExpires(ix, call.0));
        }
        let input = match self.orders[ix.0].hangs_up {
            HangsUp::Yes => {
                self.fired(Fault::CallAbandoned);
                self.orders[ix.0].done = Done::Yes;
                if let Some(running) = &mut self.server.running {
                    running.calls.remove(&call);
                }
                Input::CallAbandoned { call }
            }
            HangsUp::No => {
                self.fired(Fault::CallExpired);
                Input::CallExpired { call }
            }
        };
        self.server_step(input);
        self.server_turns();
    }

    /// An answer has left the server.
    pub(super) fn answered(&mut self, call: CallId, answer: Answer) {
        let Some(running) = &mut self.server.running else {
            return;
        };
        let Some(ix) = running.calls.remove(&call) else { return };
        let order = &mut self.orders[ix.0];
        order.done = Done::Yes;
        if let (Request::Delete(_), Answer::Deleted(Ok(()))) = (&order.request, &answer) {
            self.fired(Fault::AgentDeleted);
        }
        self.judge_answer(ix, &answer);
    }

    /// After the storm: whoever is quarantined, with nothing left of it, is started with force.
    pub(super) fn tidy_up(&mut self) {
        let quarantined: Vec<AgentId> = self
            .server
            .disk
            .agents()
            .filter(|record| record.state == AgentState::Quarantined)
            .map(|record| record.id.clone())
            .collect();
        for agent in quarantined {
            if self.lives(&agent) > 0 {
                continue;
            }
            let ix = OrderIx(self.orders.len());
            let request = self.run_request(&agent, None, Forced::Rightly);
            let request = match request {
                Request::Run(run) => Request::Run(RunRequest {
                    expected_incarnation: None,
                    unless: Unless::Never,
                    ..run
                }),
                request @ (Request::Stop(_)
                | Request::Update(_)
                | Request::Delete(_)
                | Request::Signal(_)
                | Request::CreateExecution(_)
                | Request::CancelExecution(_)
                | Request::CreateWorkflow(_)
                | Request::UpdateWorkflow(_)
                | Request::DeleteWorkflow(_)
                | Request::TriggerWorkflow(_)
                | Request::DeleteCheckpoint { .. }) => request,
            };
            self.orders.push(Order {
                request,
                request_id: None,
                forced: Forced::Rightly,
                tries: 0,
                call: None,
                hangs_up: HangsUp::No,
                done: Done::No,
            });
            self.order_arrives(ix);
        }
    }
}
