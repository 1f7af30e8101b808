//! What the oracle is shown of the world, where a question needs more than it keeps.

use std::time::Duration;

use rekindle::exit::{EndedBy, ExitStatus};

use rekindle::id::{AgentId, Incarnation};
use rekindle::report::{Report, ReportFact};
use rekindle::session::ShimMessage;
use rekindle::state::{AgentState, FailureCause};
use rekindle_server_core::effect::{Answer, OperationOutcome};
use rekindle_server_core::input::{Request, Wait};
use rekindle_server_core::record::{AgentRecord, Record, StateReason};
use rekindle_shim_core::TreeId;

use super::World;
use super::network::DELAY_MAX;
use super::server::HEARTBEAT;
use super::work::Wanted;
use crate::fault::Fault;
use crate::host::{GivenUp, Process, Role};
use crate::oracle::Invariant;
use crate::queue::{OrderIx, ShimIx, Uid};
use crate::shim::{EndAsked, Linked, Shim, StopAsked};

/// A result that was told so late has waited for a server that was away.
const TOLD_LATE: Duration = Duration::from_secs(20);

/// A shim that fences looks at its clocks at least so often.
const FENCE_LOOK: Duration = Duration::from_secs(5);

impl World {
    fn processes_of<'a>(&'a self, agent: &'a AgentId) -> impl Iterator<Item = &'a Process> {
        self.hosts
            .iter()
            .flat_map(|host| host.processes.values())
            .filter(move |process| {
                process
                    .owner
                    .is_some_and(|owner| self.shims[owner.shim.0].agent == *agent)
            })
    }

    /// Whether a process lives on although its shim's fence was waited out by this one, which holds the agent since, and cannot
    /// know.
    fn outlives_fence(&self, process: &Process, holder: ShimIx) -> bool {
        let fenced = self.swarm.agents[self.shims[holder.0].nature].fence_after.is_some();
        let Some(owner) = process.owner.filter(|owner| fenced && owner.shim != holder) else {
            return false;
        };
        // What hangs in the kernel after the fence's SIGKILL outlives every fence.
        let hangs = matches!(process.dying, Some((_, ExitStatus::Signaled { signal: 9, .. })));
        // A shim that was killed fences nobody: its child died with it, and not who had left the child's tree.
        let left_behind = owner.role == Role::Grandchild && self.shims[owner.shim.0].running.is_none();
        hangs || left_behind
    }

    /// I1: a life begins only when nothing of an earlier one lives, anywhere.
    pub(super) fn judge_order_to_spawn(&mut self, ix: ShimIx, incarnation: Incarnation) {
        let agent = self.shims[ix.0].agent.clone();
        let living = self
            .processes_of(&agent)
            .find(|process| process.given_up == GivenUp::No && !self.outlives_fence(process, ix));
        if let Some(process) = living.filter(|_| self.oracle.is_honest(&agent)) {
            let what = format!(
                "incarnation {incarnation} of {agent} begins, and {:?} lives",
                process.owner
            );
            self.oracle.fail(Invariant::I1, what);
        }
        // A shim that fences itself cannot end what SIGKILL does not; who takes over after its time cannot know that.
        let fences = self.swarm.agents[self.shims[ix.0].nature].fence_after.is_some();
        let named = self.processes_of(&agent).any(|process| {
            let elsewhere = process.owner.is_some_and(|owner| owner.shim != ix);
            process.given_up == GivenUp::Named && !(fences && elsewhere)
        });
        if named && self.oracle.is_honest(&agent) {
            let what = format!("incarnation {incarnation} of {agent} begins beside survivors, and nobody forced it");
            self.oracle.fail(Invariant::I1, what);
        }
        let stable_after = self
            .server
            .disk
            .agent(&agent)
            .map_or(Duration::MAX, |record| record.policy.stable_after);
        // A shim that is left alone goes by the policy that it was last told.
        let charge = self.shims[ix.0].journal.charge.as_ref();
        let stable_after = charge.map_or(stable_after, |charge| stable_after.min(charge.policy.stable_after));
        // The server believes in a dead child for as long as word of its death is on its way, or its shim has a lease.
        let believed = self.swarm.machine.lease + HEARTBEAT + DELAY_MAX;
        let stable_after = stable_after.saturating_sub(believed);
        let known = self
            .server
            .disk
            .agent(&agent)
            .map_or(0, |record| record.budget.attempts);
        // What a shim begins alone after an operator's order that it has not heard of belongs to the budget before it.
        let running = self.shims[ix.0].running.as_ref();
        let alone = running.is_some_and(|running| running.linked == Linked::No);
        let ordered = self
            .server
            .disk
            .agent(&agent)
            .is_some_and(|record| record.operation.is_some());
        // A shim that surely had fenced itself has ended its child, as far as the server can know, whatever truly did.
        let fenced = self.server.disk.agent(&agent).is_some_and(|record| {
            let failure = record.last_failure.as_ref();
            failure.is_some_and(|failure| failure.cause == FailureCause::Fenced)
        });
        if alone && ordered || !alone && fenced {
            self.oracle.forgive(&agent);
        }
        self.oracle
            .begins(&self.shims[ix.0], incarnation, self.now, stable_after, known);
    }

    /// A life begins: as its program is about to be run, or, where each message has a process, as soon as it is written.
    pub(super) fn life_begins(&mut self, ix: ShimIx, incarnation: Incarnation) {
        self.judge_order_to_spawn(ix, incarnation);
        let linked = self.shims[ix.0].running.as_ref().map(|running| running.linked);
        if linked == Some(Linked::No) {
            self.fired(Fault::RecoversAlone);
        }
    }

    /// A shim has written its journal.
    pub(super) fn witness_journal(&mut self, ix: ShimIx) {
        let shim = &self.shims[ix.0];
        let agent = shim.agent.clone();
        for report in self.oracle.journalled(shim, &shim.journal) {
            if report.fact == ReportFact::Spawned(None) {
                self.life_begins(ix, report.incarnation);
                self.oracle.began_without_process(&agent);
            }
            if let ReportFact::AttemptStarted(attempt, _) = &report.fact {
                self.given.insert((ix, attempt.clone()), self.now);
            }
            self.oracle.reported(&agent, &report, self.now);
        }
    }

    /// I4: who lives is ended only because somebody wants that.
    pub(super) fn judge_end(&mut self, ix: ShimIx, tree: &TreeId) {
        let shim = &self.shims[ix.0];
        let host = &self.hosts[shim.host.0];
        let Some(running) = &shim.running else { return };
        let watched = running.watched(tree);
        // The same end goes on, by harsher means.
        if watched.is_some_and(|watched| watched.asked == EndAsked::Yes) {
            return;
        }
        let living = self.living_of(ix, tree);
        let is_child = |uid: &Uid| {
            let owner = host.find(*uid).and_then(|process| process.owner);
            owner.is_some_and(|owner| owner.role == Role::Child)
        };
        let incarnation = match tree {
            TreeId::Life(incarnation) => Some(*incarnation),
            TreeId::Attempt(_) => watched.map(|watched| watched.incarnation),
        };
        let Some(incarnation) = incarnation.filter(|_| living.iter().any(is_child)) else {
            return;
        };
        let stopped = running.stop == StopAsked::Yes;
        let alone = host.moment(self.now).since_boot.saturating_sub(running.contact);
        let fenced = self.swarm.agents[shim.nature]
            .fence_after
            .is_some_and(|fence| alone + FENCE_LOOK >= fence);
        let ordered = self.oracle.is_ordered_to_end(&shim.agent, incarnation);
        // Whether the child did what it is held to is judged by what the shim reports.
        let judged = running.supervisor.ending(tree).is_some_and(|by| match by {
            EndedBy::StartTimeout | EndedBy::Watchdog | EndedBy::Stall | EndedBy::Itself => true,
            EndedBy::MessageTimeout => self.is_task_to_end(ix, tree, Wanted::ByTime),
            EndedBy::MessageCancel => self.is_task_to_end(ix, tree, Wanted::ByServer),
            EndedBy::Command | EndedBy::ShimStop | EndedBy::Fence | EndedBy::ShimDeath => false,
        });
        let cancelled = running.supervisor.ending(tree) == Some(EndedBy::MessageCancel);
        let agent = shim.agent.clone();
        if cancelled {
            self.judge_end_of_stranger(ix);
        }
        if fenced && !stopped && !ordered {
            self.fired(Fault::Fenced);
        }
        if !stopped && !ordered && !fenced && !judged && self.oracle.is_honest(&agent) {
            let what = format!("{tree} of {agent} is ended, and nobody asked for it");
            self.oracle.fail(Invariant::I4, what);
        }
        if let Some(running) = &mut self.shims[ix.0].running
            && let Some(watched) = running.watched_mut(tree)
        {
            watched.asked = EndAsked::Yes;
        }
    }

    /// I7: a shim that says that its child is dead is right.
    pub(super) fn judge_clean_exit(&mut self, ix: ShimIx) {
        let shim = &self.shims[ix.0];
        let left = self.hosts[shim.host.0]
            .processes
            .values()
            .any(|process| process.owner.is_some_and(|owner| owner.shim == ix) && process.given_up == GivenUp::No);
        if left {
            let what = format!("the shim of {} has ended, and its tree lives", shim.agent);
            self.oracle.fail(Invariant::I7, what);
        }
    }

    /// I7, I11: who is recorded as ended is dead. A record that is written again for another reason concludes nothing: a
    /// shim that is alone may have begun a life since it was concluded.
    pub(super) fn judge_durable_states(&mut self, batch: &[Record]) {
        for record in batch {
            let Record::Agent(record) = record else { continue };
            let concluded =
                |record: &AgentRecord| (record.state_since, record.state, record.reason, record.incarnation);
            let known = self.server.disk.agent(&record.id);
            if known.is_some_and(|known| is_ended(known) && concluded(known) == concluded(record)) {
                continue;
            }
            if !is_ended(record) || !self.oracle.is_honest(&record.id) {
                continue;
            }
            let holder = record.holder.as_ref().and_then(|holder| {
                let is_holder = |shim: &Shim| shim.agent == record.id && shim.marker == holder.marker;
                self.shims.iter().position(is_holder).map(ShimIx)
            });
            let alive = self.processes_of(&record.id).find(|process| {
                process.given_up == GivenUp::No
                    && !holder.is_some_and(|holder| self.outlives_fence(process, holder))
                    && process
                        .owner
                        .is_some_and(|owner| owner.incarnation <= record.incarnation)
            });
            if let Some(process) = alive {
                let what = format!("{} is {}, and {:?} lives", record.id, record.state, process.owner);
                let invariant = if record.state == AgentState::Stopped {
                    Invariant::I7
                } else {
                    Invariant::I11
                };
                self.oracle.fail(invariant, what);
            }
        }
    }

    /// An answer says what is.
    pub(super) fn judge_answer(&mut self, ix: OrderIx, answer: &Answer) {
        match answer {
            Answer::Signalled(Ok(signalled)) => {
                let Request::Signal(request) = self.orders[ix.0].request() else {
                    return;
                };
                if !self.oracle.knows(&request.agent, &signalled.process) {
                    let what = format!(
                        "{} is said to have been signalled, and is not {}",
                        signalled.process, request.agent
                    );
                    self.oracle.fail(Invariant::I2, what);
                }
            }
            Answer::Operation(Ok(answer)) if answer.outcome == OperationOutcome::Completed => {
                let waited = match self.orders[ix.0].request() {
                    Request::Run(run) => run.wait != Wait::Accepted,
                    Request::Stop(_)
                    | Request::Update(_)
                    | Request::Delete(_)
                    | Request::Signal(_)
                    | Request::CreateExecution(_)
                    | Request::CancelExecution(_)
                    | Request::CreateWorkflow(_)
                    | Request::UpdateWorkflow(_)
                    | Request::DeleteWorkflow(_)
                    | Request::TriggerWorkflow(_)
                    | Request::DeleteCheckpoint { .. } => false,
                };
                let process = answer.agent.process.as_ref();
                let identity = process.and_then(|process| process.identity.as_ref());
                let known = identity.is_some_and(|identity| self.oracle.knows(&answer.agent.id, identity));
                // The retry of a request that is done tells of then, and shows the agent of now.
                if waited && identity.is_some() && !known {
                    let what = format!("{} is said to run, and never did", answer.agent.id);
                    self.oracle.fail(Invariant::I1, what);
                }
            }
            Answer::Operation(_)
            | Answer::Updated(_)
            | Answer::Deleted(_)
            | Answer::Signalled(_)
            | Answer::Execution(_)
            | Answer::Cancelled(_)
            | Answer::Workflow(_)
            | Answer::WorkflowDeleted(_)
            | Answer::Triggered(_)
            | Answer::CheckpointDeleted(_) => {}
        }
    }

    /// Reports are about to reach the machine.
    pub(super) fn witness_words(&mut self, ix: ShimIx, message: &ShimMessage) {
        let reports = match message {
            ShimMessage::Inventory(inventory) => &inventory.reports,
            ShimMessage::Report(report) => std::slice::from_ref(&**report),
            ShimMessage::Hello(_)
            | ShimMessage::Heartbeat
            | ShimMessage::Goodbye
            | ShimMessage::Activity(_)
            | ShimMessage::Confirmed(_)
            | ShimMessage::Output(_)
            | ShimMessage::Checkpoint(_)
            | ShimMessage::SignalResult(..) => return,
        };
        let shim = &self.shims[ix.0];
        let Some(running) = &self.server.running else { return };
        let record = running.machine.records().find(|record| record.id == shim.agent);
        let cursor = record
            .and_then(|record| record.reports)
            .map(|cursor| (cursor.marker, cursor.sequence));
        let wall = self.hosts[shim.host.0].wall.wall(self.now);
        let late = |report: &Report| {
            report.fact.finished_attempt().is_some() && wall.saturating_since(report.time) > TOLD_LATE
        };
        let late = reports.iter().any(late);
        self.oracle.delivered(shim, reports, cursor);
        if late {
            self.fired(Fault::ToldLate);
        }
    }
}

/// Whether nothing of an agent is said to live.
fn is_ended(record: &AgentRecord) -> bool {
    record.process.is_none()
        && match record.state {
            AgentState::Crashed => record.reason != StateReason::Failure(FailureCause::HeartbeatTimeout),
            AgentState::Stopped | AgentState::Terminated => true,
            AgentState::Pending
            | AgentState::Starting
            | AgentState::Running
            | AgentState::Unreachable
            | AgentState::Stopping
            | AgentState::Quarantined => false,
        }
}
