//! RestartAgent, StartAgent and StopAgent: serialised per agent, joined, replaced, and answered.

use std::sync::Arc;
use std::time::Duration;

use rekindle::id::{AgentId, Incarnation};
use rekindle::recovery::Budget;
use rekindle::session::{Command, Wanted};
use rekindle::state::{AgentState, Desired, FailureCause};

use super::Waiter;
use super::request::Order;
use super::step::{Attributes, Reply, Step};
use crate::effect::{Answer, OperationOutcome, RequestError};
use crate::input::{CallId, Force, Request, RunRequest, StopRequest, Unless, Wait};
use crate::record::{AgentRecord, Claim, Context, Fate, Operation, OperationKind, Record, StateReason};

impl Step<'_> {
    pub(super) fn requested(&mut self, call: CallId, request: Request) {
        match request {
            Request::Run(run) => self.run_requested(call, run),
            Request::Stop(stop) => self.stop_requested(call, stop),
            Request::Update(update) => self.update_requested(call, *update),
            Request::Delete(delete) => self.delete_requested(call, delete),
            Request::Signal(signal) => self.signal_requested(call, &signal),
            Request::CreateExecution(create) => self.create_requested(call, *create),
            Request::CancelExecution(cancel) => self.cancel_requested(call, cancel),
            Request::CreateWorkflow(create) => self.create_workflow_requested(call, *create),
            Request::UpdateWorkflow(update) => self.update_workflow_requested(call, *update),
            Request::DeleteWorkflow(delete) => self.delete_workflow_requested(call, &delete),
            Request::TriggerWorkflow(trigger) => self.trigger_requested(call, trigger),
            Request::DeleteCheckpoint { agent, id } => self.delete_checkpoint_requested(call, &agent, id),
        }
    }

    fn run_requested(&mut self, call: CallId, run: RunRequest) {
        let (id, kind) = (&run.agent, run.kind);
        let order = Order {
            agent: id,
            kind,
            request_id: run.request_id.as_ref(),
            expected: run.expected_incarnation,
        };
        if !self.is_fresh(call, run.wait, &order) {
            return;
        }
        let record = self.record(id);
        let previous_state = record.state;
        if run.unless == Unless::Up && record.desired == Desired::Running && is_up(previous_state) {
            return self.already_up(call, &order, run.wait);
        }
        if previous_state == AgentState::Quarantined && run.force == Force::No {
            let error = RequestError::Quarantined(id.clone());
            return self.reply(call, Answer::Operation(Err(error)));
        }
        if run.force == Force::Yes {
            self.force(id);
        }
        // What is about to begin may have been handed a checkpoint already: a fresh start joins none but its like.
        let joins = run.context == Context::Resume || self.fresh_start(id).is_some();
        let target = match self.joinable(id).filter(|_| joins) {
            Some(target) => target,
            None => self.order_new_life(id),
        };
        let previous_state = match &self.record(id).operation {
            Some(running) if running.kind != OperationKind::Stop && running.target == target => {
                let previous_state = running.previous_state;
                self.await_shim(id);
                if self.shorten_grace(id, run.grace) {
                    self.order_run(id);
                }
                previous_state
            }
            Some(_) | None => {
                self.replace_operation(id, kind, target);
                let operation = Operation {
                    kind,
                    target,
                    previous_state,
                    reason: run.reason,
                    grace: run.grace,
                    cancels: self.interrupt_executions(id),
                    context: run.context,
                    asked: None,
                };
                self.edit(id).operation = Some(operation);
                self.close_what_is_over(id);
                self.begin_run(id, previous_state);
                previous_state
            }
        };
        self.remember(&order, target, previous_state, Fate::Open);
        self.park(
            Waiter {
                call,
                kind,
                target,
                wait: run.wait,
                previous_state,
            },
            id,
        );
    }

    /// Nothing is ordered of an agent that is up. One that still starts is waited for.
    fn already_up(&mut self, call: CallId, order: &Order<'_>, wait: Wait) {
        let (id, kind) = (order.agent, order.kind);
        let record = self.record(id);
        let (previous_state, target) = (record.state, record.incarnation);
        if previous_state == AgentState::Starting {
            self.remember(order, target, previous_state, Fate::Open);
            let waiter = Waiter {
                call,
                kind,
                target,
                wait,
                previous_state,
            };
            return self.park(waiter, id);
        }
        let detail = format!("nothing was ordered: {previous_state} counts as up");
        self.remember(order, target, previous_state, Fate::Completed(detail.clone()));
        self.reply_at_end(Reply {
            call,
            agent: id.clone(),
            previous_state,
            outcome: OperationOutcome::Completed,
            detail,
        });
    }

    /// Takes a shorter grace into an order that is under way; whether it did. A longer one changes nothing.
    fn shorten_grace(&mut self, id: &AgentId, grace: Option<Duration>) -> bool {
        let record = self.record(id);
        let in_force = record.policy.stop_grace;
        let current = record
            .operation
            .as_ref()
            .map(|operation| operation.grace.unwrap_or(in_force));
        let shorter = grace.filter(|grace| current.is_some_and(|current| *grace < current));
        if shorter.is_some()
            && let Some(operation) = &mut self.edit(id).operation
        {
            operation.grace = shorter;
        }
        shorter.is_some()
    }

    /// The incarnation that a restart may join: one that is ordered, and not spawned.
    fn joinable(&self, id: &AgentId) -> Option<Incarnation> {
        let record = self.record(id);
        let ordered = match record.run_order() {
            Some(target) => Some(target),
            None => (record.state == AgentState::Starting && record.operation.is_none()).then_some(record.incarnation),
        };
        ordered.filter(|_| !record.is_spawned())
    }

    fn order_new_life(&mut self, id: &AgentId) -> Incarnation {
        let record = self.edit(id);
        record.incarnation = record.next_incarnation();
        record.incarnation
    }

    /// The operator vouches for the old process: a silent holder's claim ends, and so does a quarantine.
    fn force(&mut self, id: &AgentId) {
        let connected = self.agent(id).session.is_some();
        if !connected || self.record(id).state == AgentState::Quarantined {
            self.checkpoint_given_up(id);
        }
        let record = self.edit(id);
        if !connected && let Some(holder) = &mut record.holder {
            holder.claim = Claim::Released;
        }
        if record.state == AgentState::Quarantined {
            record.given_up = record.incarnation;
        }
        if !connected || record.state == AgentState::Quarantined {
            record.process = None;
        }
        if !connected {
            self.machine.set_lease(id, None);
        }
    }

    /// What force gave up on is not RUNNING any more.
    fn await_shim(&mut self, id: &AgentId) {
        let record = self.record(id);
        if record.state == AgentState::Running && record.process.is_none() {
            let message = "the old process is given up; the order waits for a shim";
            self.enter(
                id,
                AgentState::Starting,
                StateReason::AwaitingShim,
                message,
                Attributes::new(),
            );
        }
    }

    /// Gives the newest order to run another number.
    pub(super) fn renumber_order(&mut self, id: &AgentId, number: Incarnation) {
        let record = self.edit(id);
        let old = record.run_order().unwrap_or(record.incarnation);
        record.incarnation = number;
        if let Some(operation) = &mut record.operation
            && operation.kind != OperationKind::Stop
        {
            operation.target = number;
        }
        self.retarget(id, |kind, target| kind != OperationKind::Stop && target == old, number);
    }

    /// Who waits for an order, waits for it under its new number.
    pub(super) fn retarget(
        &mut self,
        id: &AgentId,
        concerned: impl Fn(OperationKind, Incarnation) -> bool,
        number: Incarnation,
    ) {
        for waiter in &mut self.agent(id).waiters {
            if concerned(waiter.kind, waiter.target) {
                waiter.target = number;
            }
        }
        for index in 0..self.agent(id).requests.len() {
            let known = &mut self.agent(id).requests[index];
            if known.fate == Fate::Open && concerned(known.kind, known.target) {
                Arc::make_mut(known).target = number;
                let known = known.clone();
                self.persist(Record::Request(known));
            }
        }
    }

    fn begin_run(&mut self, id: &AgentId, state: AgentState) {
        let connected = self.agent(id).settled().is_some();
        let record = self.edit(id);
        record.desired = Desired::Running;
        record.budget = Budget::default();
        record.recovering = false;
        let target = record.incarnation;
        let why = match record.operation.as_ref().map(|operation| operation.reason.as_str()) {
            Some("") | None => String::new(),
            Some(reason) => format!(" ({reason})"),
        };
        let ordered = format!("an operator ordered incarnation {target}{why}");
        match (record.process.is_some(), connected) {
            (true, true) => self.enter(
                id,
                AgentState::Stopping,
                StateReason::Operator,
                ordered,
                Attributes::new(),
            ),
            // What cannot be told to anybody changes nothing that can be seen.
            (true, false) => {}
            (false, _) if state == AgentState::Starting => {}
            (false, false) if may_be_starting(self.record(id)) => {}
            (false, _) => {
                let reason = if connected {
                    StateReason::Operator
                } else {
                    StateReason::AwaitingShim
                };
                self.enter(id, AgentState::Starting, reason, ordered, Attributes::new());
            }
        }
        self.order_run(id);
    }

    fn stop_requested(&mut self, call: CallId, stop: StopRequest) {
        let (id, kind) = (&stop.agent, OperationKind::Stop);
        let order = Order {
            agent: id,
            kind,
            request_id: stop.request_id.as_ref(),
            expected: stop.expected_incarnation,
        };
        if !self.is_fresh(call, stop.wait, &order) {
            return;
        }
        let record = self.record(id);
        let running = record.operation.as_ref().filter(|operation| operation.kind == kind);
        let (state, target) = (record.state, record.incarnation);
        let previous_state = running.map_or(state, |operation| operation.previous_state);
        if running.is_some() {
            if self.shorten_grace(id, stop.grace) {
                self.order_stop(id);
            }
        } else {
            self.replace_operation(id, kind, target);
            self.edit(id).desired = Desired::Stopped;
            let operation = Operation {
                kind,
                target,
                previous_state,
                reason: stop.reason,
                grace: stop.grace,
                cancels: self.interrupt_executions(id),
                context: Context::Resume,
                asked: None,
            };
            self.close_what_is_over(id);
            self.begin_stop(id, operation);
        }
        let fate = match self.record(id).operation {
            Some(_) => Fate::Open,
            None => Fate::Completed("nothing ran".to_owned()),
        };
        self.remember(&order, target, previous_state, fate);
        self.park(
            Waiter {
                call,
                kind,
                target,
                wait: stop.wait,
                previous_state,
            },
            id,
        );
    }

    fn begin_stop(&mut self, id: &AgentId, operation: Operation) {
        let connected = self.agent(id).settled().is_some();
        let record = self.record(id);
        let state = record.state;
        let (incarnation, grace) = (operation.target, operation.grace);
        let why = if operation.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", operation.reason)
        };
        let held = record.holder.as_ref().filter(|holder| holder.claim == Claim::Held);
        let may_live =
            state == AgentState::Quarantined || held.is_some() && (record.process.is_some() || may_be_starting(record));
        // It may be alone before it hears of the stop: its word is waited for.
        let may_begin = held.is_some_and(|holder| holder.goes_by == Wanted::Run);
        if !may_live && !may_begin && state == AgentState::Stopped {
            return self.machine.set_timer(id, None);
        }
        if !may_live && !may_begin {
            let message = format!("stopped by an operator{why}; nothing ran");
            return self.enter(
                id,
                AgentState::Stopped,
                StateReason::Operator,
                message,
                Attributes::new(),
            );
        }
        self.edit(id).operation = Some(operation);
        if connected {
            if may_live && state != AgentState::Stopping && state != AgentState::Quarantined {
                let message = format!("an operator ordered a stop{why}");
                self.enter(
                    id,
                    AgentState::Stopping,
                    StateReason::Operator,
                    message,
                    Attributes::new(),
                );
            }
            let number = self.command(id, Command::Stop { incarnation, grace });
            self.agent(id).rests.extend(number);
        }
    }

    /// Ends the running operation, if there is one.
    pub(super) fn finish_operation(&mut self, id: &AgentId, fate: Fate) {
        let Some(operation) = self.edit(id).operation.take() else {
            return;
        };
        let (stops, ordered) = (operation.kind == OperationKind::Stop, operation.target);
        self.done.insert(id.clone(), operation);
        let concerned = |kind: OperationKind, target| (kind == OperationKind::Stop) == stops && target == ordered;
        self.settle(id, concerned, &fate);
    }

    /// Closes the requests that are open, and answers the callers that wait.
    pub(super) fn settle(&mut self, id: &AgentId, concerned: impl Fn(OperationKind, Incarnation) -> bool, fate: &Fate) {
        let (outcome, detail) = match fate {
            Fate::Open => return,
            Fate::Completed(detail) => (OperationOutcome::Completed, detail.clone()),
            Fate::Failed(detail) => (OperationOutcome::Failed, detail.clone()),
        };
        for index in 0..self.agent(id).requests.len() {
            let known = &mut self.agent(id).requests[index];
            if known.fate == Fate::Open && concerned(known.kind, known.target) {
                Arc::make_mut(known).fate = fate.clone();
                let known = known.clone();
                self.persist(Record::Request(known));
            }
        }
        self.answer_waiters(id, |waiter| concerned(waiter.kind, waiter.target), outcome, &detail);
    }

    /// A new order decides what was ordered before, with or without an operation, unless that waits for the same life.
    fn replace_operation(&mut self, id: &AgentId, by: OperationKind, target: Incarnation) {
        self.agent(id).stopped = None;
        self.edit(id).operation = None;
        let runs = |kind| kind != OperationKind::Stop;
        let decided = |kind, waited| !(runs(by) && runs(kind) && waited == target);
        let detail = format!("replaced by a later {} (incarnation {target})", by.as_str());
        self.settle(id, decided, &Fate::Failed(detail));
    }

    /// What an operator ordered, in words.
    pub(super) fn operation_text(&self, id: &AgentId) -> String {
        let record = self.record(id);
        let Some(operation) = &record.operation else {
            return String::new();
        };
        let why = if operation.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", operation.reason)
        };
        format!("the {} that an operator ordered is done{why}", operation.kind.as_str())
    }
}

/// Whether a life of it runs, or is about to, as far as is known.
pub(super) fn is_up(state: AgentState) -> bool {
    match state {
        AgentState::Starting | AgentState::Running | AgentState::Unreachable => true,
        AgentState::Pending
        | AgentState::Crashed
        | AgentState::Stopping
        | AgentState::Stopped
        | AgentState::Terminated
        | AgentState::Quarantined => false,
    }
}

/// Whether an order to start may have reached a shim that is silent.
pub(super) fn may_be_starting(record: &AgentRecord) -> bool {
    match record.state {
        AgentState::Starting | AgentState::Stopping | AgentState::Unreachable => true,
        AgentState::Crashed => record.reason == StateReason::Failure(FailureCause::HeartbeatTimeout),
        AgentState::Pending
        | AgentState::Running
        | AgentState::Stopped
        | AgentState::Terminated
        | AgentState::Quarantined => false,
    }
}
