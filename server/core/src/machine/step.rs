//! One step: what it touches, what it says, and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rekindle::checkpoint::CheckpointId;
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Incarnation};
use rekindle::session::{Charge, Command, CommandId, Wanted};
use rekindle::state::AgentState;
use rekindle::time::{Now, Timestamp};

use super::work::ExecutionReply;
use super::workflow::Flow;
use super::{Agent, Charged, Machine, TIMERS_PER_STEP};
use crate::effect::{Answer, DeadlineReason, Effect, OperationAnswer, OperationOutcome, Outcome};
use crate::event::EventKind;
use crate::input::{CallId, Input};
use crate::record::{AgentRecord, Operation, OperationKind, Record, StateReason};

/// What a shim tells later than this after it was is told as late: more than a stream that is up takes, and than the clocks
/// of hosts that keep time differ.
const LATE: Duration = Duration::from_secs(1);

/// One step in progress.
pub(super) struct Step<'m> {
    pub(super) machine: &'m mut Machine,
    pub(super) now: Now,
    /// When that was which a shim tells of, by its host's clock; not later than now.
    seen: Option<Timestamp>,
    outcome: Outcome,
    touched: BTreeSet<AgentId>,
    replies: Vec<Reply>,
    updates: Vec<(CallId, AgentId)>,
    /// Executions that are persisted at the end.
    pub(super) executions: BTreeSet<(AgentId, ExecutionId)>,
    /// Agents that may have room for an execution.
    pub(super) pumped: BTreeSet<AgentId>,
    pub(super) execution_replies: Vec<ExecutionReply>,
    /// Checkpoints that are persisted at the end.
    pub(super) checkpoints_touched: BTreeSet<(AgentId, CheckpointId)>,
    /// Operations that are done by this step.
    pub(super) done: BTreeMap<AgentId, Operation>,
    /// What happens to workflows.
    pub(super) flow: Flow,
}

/// An answer that is given with the agent's record as the step leaves it.
pub(super) struct Reply {
    pub(super) call: CallId,
    pub(super) agent: AgentId,
    pub(super) previous_state: AgentState,
    pub(super) outcome: OperationOutcome,
    pub(super) detail: String,
}

/// The attributes of an event.
pub(super) type Attributes = BTreeMap<String, String>;

/// Collects attributes from pairs.
pub(super) fn attributes<const N: usize>(pairs: [(&str, &dyn fmt::Display); N]) -> Attributes {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_string()))
        .collect()
}

/// What the life was handed that an operation ordered, once that has begun.
fn handed(record: &AgentRecord, operation: &Operation) -> Option<CheckpointId> {
    match operation.kind {
        OperationKind::Restart | OperationKind::Start => {
            let begun = record
                .checkpoint_line
                .begun
                .filter(|begun| begun.incarnation >= operation.target)?;
            begun.handed
        }
        OperationKind::Stop => None,
    }
}

impl<'m> Step<'m> {
    pub(super) fn new(machine: &'m mut Machine, now: Now) -> Self {
        machine.workflows.look_at_clocks(now);
        Self {
            machine,
            now,
            seen: None,
            outcome: Outcome::default(),
            touched: BTreeSet::new(),
            replies: Vec::new(),
            updates: Vec::new(),
            executions: BTreeSet::new(),
            pumped: BTreeSet::new(),
            execution_replies: Vec::new(),
            checkpoints_touched: BTreeSet::new(),
            done: BTreeMap::new(),
            flow: Flow::default(),
        }
    }

    pub(super) fn run(mut self, input: Input) -> Outcome {
        match input {
            Input::ShimConnected { session, hello } => self.shim_connected(session, *hello),
            Input::ShimInventoried { session, inventory } => self.shim_inventoried(session, *inventory),
            Input::ShimReported { session, report } => self.shim_reported(session, report),
            Input::ShimSaved { session, held } => self.shim_saved(session, *held),
            Input::ShimLeft { session } => self.shim_left(session),
            Input::ShimConfirmed { session, command } => self.shim_confirmed(session, command),
            Input::ShimSignalled {
                session,
                command,
                result,
            } => self.shim_signalled(session, command, result),
            Input::SessionClosed { session, last_heard } => self.session_closed(session, last_heard),
            Input::LeaseExpired { session, last_heard } => self.lease_expired(session, last_heard),
            Input::CommandLost { command } => self.command_lost(command),
            Input::Requested { call, request } => self.requested(call, request),
            Input::CallExpired { call } => self.call_expired(call),
            Input::CallAbandoned { call } => self.call_abandoned(call),
            Input::EventsAged { through } => self.trim_events(through),
            Input::ExecutionsAged { executions, most } => self.executions_aged(executions, most),
            Input::MessageLost { session, attempt } => self.message_lost(session, &attempt),
            Input::Paused { gap } => self.paused(gap),
            Input::Tick => self.tick(),
        }
        self.finish()
    }

    pub(super) fn finish(mut self) -> Outcome {
        let touched = std::mem::take(&mut self.touched);
        for id in &touched {
            self.pursue_recovery(id);
        }
        self.pumped.extend(touched.iter().chain(&self.touched).cloned());
        loop {
            self.run_workflows();
            let pumped = std::mem::take(&mut self.pumped);
            for id in &pumped {
                if self.machine.agents.contains_key(id) {
                    self.pump(id);
                    self.machine.recount(id);
                }
            }
            // What it was given leaves room for what waits behind it.
            self.pumped.clear();
            for id in &pumped {
                self.wake_blocked(id);
            }
            if self.flow.is_quiet() && self.pumped.is_empty() {
                break;
            }
        }
        for id in touched
            .into_iter()
            .chain(std::mem::take(&mut self.touched))
            .collect::<BTreeSet<_>>()
        {
            let now = self.now.wall;
            self.charge(&id);
            if let Some(agent) = self.machine.agents.get_mut(&id) {
                let record = Arc::make_mut(&mut agent.record);
                record.revision += 1;
                record.updated = now;
                self.outcome.persist.push(Record::Agent(agent.record.clone()));
            }
        }
        self.persist_executions();
        self.persist_workflows();
        self.persist_checkpoints();
        for reply in std::mem::take(&mut self.replies) {
            // A deleted agent's waiters were answered by the deletion.
            let Some(agent) = self.machine.agents.get(&reply.agent) else {
                continue;
            };
            let operation = agent.record.operation.as_ref().or(self.done.get(&reply.agent));
            let answer = OperationAnswer {
                agent: agent.record.clone(),
                previous_state: reply.previous_state,
                outcome: reply.outcome,
                detail: reply.detail,
                cancels: operation.map(|operation| operation.cancels.clone()).unwrap_or_default(),
                asked: operation.and_then(|operation| operation.asked),
                handed: operation.and_then(|operation| handed(&agent.record, operation)),
            };
            self.reply(reply.call, Answer::Operation(Ok(answer)));
        }
        for (call, id) in std::mem::take(&mut self.updates) {
            let record = self.agent(&id).record.clone();
            self.reply(call, Answer::Updated(Ok(record)));
        }
        self.outcome
    }

    /// Tells a shim what to go by alone, where that has changed: before it is told to run anything, as an attempt that it
    /// does not know of would be made twice (I3).
    fn charge(&mut self, id: &AgentId) {
        let Some((session, record)) = self.find(id).and_then(|agent| Some((agent.settled()?, &agent.record))) else {
            return;
        };
        let charged = Charged {
            wanted: record.wanted(),
            budget: record.budget,
        };
        if self.find(id).is_some_and(|agent| agent.charged == Some(charged)) {
            return;
        }
        let last_attempt = charged.budget.last_attempt;
        let attempted = self.find(id).and_then(|agent| agent.attempted);
        let last_attempt_ago = last_attempt.map(|at| match attempted {
            Some(attempted) => self.now.mono.saturating_since(attempted),
            None => self.now.wall.saturating_since(at),
        });
        let charge = Charge {
            wanted: charged.wanted,
            attempts: charged.budget.attempts,
            last_attempt_ago,
            salt: record.salt(),
            past: record.past(),
        };
        let number = self.next_command();
        let agent = self.agent(id);
        agent.charged = Some(charged);
        match charged.wanted {
            Wanted::Rest => agent.rests.push(number),
            Wanted::Run => {
                agent.rests.clear();
                // Written before it is told.
                if let Some(holder) = &mut Arc::make_mut(&mut agent.record).holder {
                    holder.goes_by = Wanted::Run;
                }
            }
        }
        let told = Effect::Command {
            session,
            id: number,
            command: Command::Charge(charge),
        };
        let first = self.outcome.then.iter().position(|effect| match effect {
            Effect::Command { session: other, .. } => *other == session,
            Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::CheckpointKept { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => false,
        });
        let place = first.unwrap_or(self.outcome.then.len());
        self.outcome.then.insert(place, told);
    }

    /// An agent, where there is one.
    pub(super) fn find(&self, id: &AgentId) -> Option<&Agent> {
        self.machine.agents.get(id)
    }

    /// An agent that is known to exist.
    pub(super) fn agent(&mut self, id: &AgentId) -> &mut Agent {
        self.machine
            .agents
            .get_mut(id)
            .expect("a step looks up the agents it was handed, and deletes none of them")
    }

    /// An agent's record, to read.
    pub(super) fn record(&self, id: &AgentId) -> &AgentRecord {
        &self
            .find(id)
            .expect("a step looks up the agents it was handed, and deletes none of them")
            .record
    }

    /// An agent's record, to change: it will be persisted.
    pub(super) fn edit(&mut self, id: &AgentId) -> &mut AgentRecord {
        self.touched.insert(id.clone());
        Arc::make_mut(&mut self.agent(id).record)
    }

    /// Puts an agent into a state, with the one event that tells of it.
    pub(super) fn enter(
        &mut self,
        id: &AgentId,
        state: AgentState,
        reason: StateReason,
        message: impl Into<String>,
        attributes: Attributes,
    ) {
        let now = self.now.wall;
        let record = self.edit(id);
        let back = matches!(record.state, AgentState::Unreachable | AgentState::Crashed) && record.process.is_some();
        let was = record.state;
        record.state = state;
        record.reason = reason;
        record.state_since = now;
        let incarnation = record.incarnation;
        self.machine.set_timer(id, None);
        self.agent(id).due = super::Due::NotYet;
        self.agent(id).overdue = super::Overdue::No;
        if state == AgentState::Starting {
            self.await_start(id);
        }
        let kind = match state {
            AgentState::Pending => EventKind::AgentRegistered,
            AgentState::Starting if back => EventKind::AgentReconnected,
            AgentState::Starting => EventKind::AgentStarting,
            AgentState::Running if back => EventKind::AgentReconnected,
            AgentState::Running => EventKind::AgentReady,
            AgentState::Unreachable => EventKind::AgentUnreachable,
            AgentState::Crashed => EventKind::AgentCrashed,
            AgentState::Stopping => EventKind::AgentStopping,
            AgentState::Stopped => EventKind::AgentStopped,
            AgentState::Terminated => EventKind::AgentTerminated,
            AgentState::Quarantined => EventKind::AgentQuarantined,
        };
        self.event(kind, Some(id), incarnation, message, attributes);
        match (was == AgentState::Running, state == AgentState::Running) {
            (false, true) => self.agent_is_up(id),
            (true, false) => self.agent_is_down(id),
            (true, true) | (false, false) => {}
        }
    }

    /// Does what follows from something that a shim saw at this time.
    pub(super) fn as_seen(&mut self, time: Timestamp, what: impl FnOnce(&mut Self)) {
        self.seen = Some(time.min(self.now.wall));
        what(self);
        self.seen = None;
    }

    /// When that was which is taken up: as a shim saw it, else now.
    pub(super) fn seen(&self) -> Timestamp {
        self.seen.unwrap_or(self.now.wall)
    }

    /// How long ago that was, for the event of it, where it is told late.
    pub(super) fn lateness(&self) -> Attributes {
        let late = self.now.wall.saturating_since(self.seen());
        if late < LATE {
            return Attributes::new();
        }
        attributes([("late_ms", &late.as_millis())])
    }

    pub(super) fn persist(&mut self, record: Record) {
        self.outcome.persist.push(record);
    }

    pub(super) fn then(&mut self, effect: Effect) {
        self.outcome.then.push(effect);
    }

    /// Sends a command to an agent's shim, if it has said what it holds. What is not sent is made good by its inventory.
    pub(super) fn command(&mut self, id: &AgentId, command: Command) -> Option<CommandId> {
        let session = self.find(id)?.settled()?;
        let number = self.next_command();
        self.then(Effect::Command {
            session,
            id: number,
            command,
        });
        Some(number)
    }

    fn next_command(&mut self) -> CommandId {
        let number = CommandId(self.machine.next_command);
        self.machine.next_command += 1;
        number
    }

    pub(super) fn reply(&mut self, call: CallId, answer: Answer) {
        self.machine.calls.remove(&call);
        self.then(Effect::Reply { call, answer });
    }

    pub(super) fn reply_at_end(&mut self, reply: Reply) {
        self.replies.push(reply);
    }

    pub(super) fn updated_at_end(&mut self, call: CallId, id: &AgentId) {
        self.updates.push((call, id.clone()));
    }

    fn paused(&mut self, gap: Duration) {
        self.machine.renewed = self.now.mono;
        self.machine.adopts_until = self.machine.adopts_until.saturating_add(gap);
        for agent in self.machine.agents.values_mut().filter(|agent| agent.session.is_none()) {
            agent.last_heard = agent.last_heard.saturating_add(gap).min(self.now.mono);
        }
        // What a verdict rests on must have been watched, and a lease that was renewed proves nothing before it could run
        // out. A cooldown needs no watching.
        let renewed = self.now.mono.saturating_add(self.machine.policy.lease);
        let judged = |reason| match reason {
            DeadlineReason::Lease
            | DeadlineReason::HeartbeatTimeout
            | DeadlineReason::StartTimeout
            | DeadlineReason::Stable => true,
            DeadlineReason::Recovery | DeadlineReason::Work | DeadlineReason::Pass | DeadlineReason::Workflow => false,
        };
        let late: Vec<_> = self
            .machine
            .timers
            .iter()
            .filter(|(_, reason, _)| judged(*reason))
            .cloned()
            .collect();
        for (at, reason, id) in late {
            let at = at.saturating_add(gap);
            match reason {
                DeadlineReason::Lease => self.machine.set_lease(&id, Some(at)),
                DeadlineReason::HeartbeatTimeout | DeadlineReason::StartTimeout => {
                    self.machine.set_timer(&id, Some(super::Timer { at, reason }));
                }
                DeadlineReason::Stable => {
                    let at = at.max(renewed);
                    self.machine.set_timer(&id, Some(super::Timer { at, reason }));
                }
                DeadlineReason::Recovery | DeadlineReason::Work | DeadlineReason::Pass | DeadlineReason::Workflow => {}
            }
        }
        let millis = gap.as_millis();
        self.event(
            EventKind::ServerPaused,
            None,
            Incarnation::ZERO,
            format!("the server did not run for {millis} ms; nobody is judged silent for that"),
            attributes([("gap_ms", &millis)]),
        );
    }

    fn tick(&mut self) {
        if self.machine.pass.is_some_and(|at| at <= self.now.mono) {
            self.pass();
        }
        self.workflows_due();
        for _ in 0..TIMERS_PER_STEP {
            let Some((reason, id)) = self.machine.take_due(self.now.mono) else {
                return;
            };
            match reason {
                DeadlineReason::Lease => self.silent(&id),
                DeadlineReason::HeartbeatTimeout => self.heartbeat_timed_out(&id),
                DeadlineReason::Recovery => self.recovery_due(&id),
                DeadlineReason::StartTimeout => self.start_timed_out(&id),
                DeadlineReason::Stable => self.stable(&id),
                DeadlineReason::Work => self.work_due(&id),
                // Kept apart: one for all agents, and those of workflows.
                DeadlineReason::Pass | DeadlineReason::Workflow => {}
            }
        }
    }
}
