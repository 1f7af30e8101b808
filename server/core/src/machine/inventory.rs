//! Inventory: what a shim says of its child, held against what is wanted.
//!
//! A hello may be long under way, and its shim may have given the stream up and begun a life alone since. So nothing is
//! concluded from a hello: the shim is welcomed first, does nothing alone from there on, and then says what it holds.

use rekindle::id::{AgentId, Incarnation};
use rekindle::report::{Child, ChildPhase, Inventory, Report};
use rekindle::session::Command;
use rekindle::state::{AgentState, Desired, FailureCause};

use super::life::{End, Lost, is_over};
use super::step::{Attributes, Step};
use super::{Due, Overdue, PolicyTold, Session, Settled};
use crate::claim::Admission;
use crate::effect::{Disconnect, Effect};
use crate::input::SessionId;
use crate::record::{Operation, OperationKind, StateReason, Unsettled};

impl Step<'_> {
    pub(super) fn shim_inventoried(&mut self, session: SessionId, inventory: Inventory) {
        let Some(id) = self.machine.sessions.get(&session).cloned() else {
            return;
        };
        if let Some(problem) = hole(&inventory.reports) {
            self.close(&id, session, self.now.mono);
            return self.then(Effect::Disconnect {
                session,
                cause: Disconnect::Protocol(problem),
            });
        }
        let Some(unsettled) = self.unsettled(&id) else { return };
        let Inventory {
            last_incarnation: last,
            child,
            quarantined,
            attempts,
            reports,
            wanted,
            checkpoint,
        } = inventory;
        if let Some(holder) = &mut self.edit(&id).holder {
            holder.goes_by = wanted;
        }
        if let Some((checkpoint, saved)) = checkpoint {
            self.checkpoint_shown(&id, checkpoint, saved);
        }
        let told = !reports.is_empty();
        self.end_of_fenced(&id, last, unsettled.admission);
        // The session is not settled yet, so that what these facts entail is commanded once all of them are known.
        let left = child.as_ref().map(|child| child.incarnation).or(quarantined);
        self.catch_up(&id, reports, left);
        self.catch_up_with(&id, child.as_ref(), last);
        self.agent(&id).session = Some(Session {
            id: session,
            settled: Settled::Yes,
        });
        if let Some(cursor) = self.record(&id).reports.filter(|_| told) {
            // Before any command: an order that comes after the acknowledgement was given in its knowledge.
            let through = cursor.sequence;
            self.then(Effect::Acknowledge { session, through });
        }
        if self.agent(&id).policy == PolicyTold::No {
            self.agent(&id).policy = PolicyTold::Yes;
            let policy = self.record(&id).policy.clone();
            self.command(&id, Command::SetPolicy(Box::new(policy)));
        }
        let told = Told {
            child,
            quarantined,
            last,
        };
        self.reconcile(&id, told, unsettled);
        self.attempts_inventoried(&id, attempts);
    }

    /// What another shim ran is over, as its fence was waited out: it is neither this shim's, nor a reason to take for old what
    /// this one says of the lives before it.
    fn end_of_fenced(&mut self, id: &AgentId, last: Incarnation, admission: Admission) {
        let newest = self.record(id).process.as_ref().map(|process| process.incarnation);
        let elsewhere = newest.filter(|newest| admission == Admission::FencedOff && *newest > last);
        if let Some(incarnation) = elsewhere {
            self.life_ended(id, incarnation, End::Lost(Lost::Fence));
        }
    }

    /// How the shim came to hold the agent, where that is still to be concluded from; it is, from here on.
    fn unsettled(&mut self, id: &AgentId) -> Option<Unsettled> {
        self.record(id).holder.as_ref()?.unsettled.as_ref()?;
        self.edit(id).holder.as_mut()?.unsettled.take()
    }

    /// What the shim has seen, and told in none of its reports: only a store that was set back knows less than a shim. The
    /// next life is numbered above both.
    fn catch_up_with(&mut self, id: &AgentId, child: Option<&Child>, last: Incarnation) {
        let seen = child.map_or(last, |child| child.incarnation.max(last));
        let record = self.edit(id);
        record.used_elsewhere = record.used_elsewhere.max(seen);
        if seen > record.incarnation {
            if record.run_order().is_some() {
                let next = seen.next().max(record.next_incarnation());
                self.renumber_order(id, next);
            } else {
                self.edit(id).incarnation = seen;
            }
        }
    }

    /// The newest life may have begun under a shim that cannot be asked any more. It is not ordered again under its
    /// number: a number stands for one life (I1).
    fn outnumber(&mut self, id: &AgentId, last: Incarnation, admission: Admission) {
        let record = self.record(id);
        let unasked = match admission {
            Admission::First | Admission::Same | Admission::Successor => false,
            Admission::Free | Admission::Rebooted | Admission::FencedOff => true,
        };
        let ordered = match record.state {
            AgentState::Starting | AgentState::Running | AgentState::Unreachable | AgentState::Stopping => true,
            AgentState::Crashed => record.reason == StateReason::Failure(FailureCause::HeartbeatTimeout),
            AgentState::Pending | AgentState::Stopped | AgentState::Terminated | AgentState::Quarantined => false,
        };
        let known = record.is_spawned() || last >= record.incarnation || record.desired == Desired::Stopped;
        if unasked && ordered && !known {
            let (next, unasked) = (record.next_incarnation(), record.incarnation);
            if admission == Admission::FencedOff {
                let message = format!(
                    "incarnation {unasked} may have begun, and was ended, its shim being without a server for too long"
                );
                self.set_failure(id, FailureCause::Fenced, unasked, &message, None, Vec::new());
            }
            self.renumber_order(id, next);
        }
    }

    /// Holds what the shim says against what is wanted.
    fn reconcile(&mut self, id: &AgentId, told: Told, Unsettled { admission, launch }: Unsettled) {
        let Told {
            child,
            quarantined,
            last,
        } = told;
        self.outnumber(id, last, admission);
        if let Some(child) = child {
            return self.child_lives(id, child);
        }
        let end = match admission {
            Admission::Rebooted => End::Rebooted(launch),
            Admission::FencedOff => End::Lost(Lost::Fence),
            Admission::First | Admission::Free | Admission::Same | Admission::Successor => End::Lost(Lost::Shim),
        };
        let record = self.record(id);
        if (record.state, record.reason) == (AgentState::Stopped, StateReason::ShimStopped) {
            return self.agent(id).due = Due::Now;
        }
        // A quarantine that its shim still speaks of goes on.
        let told_of =
            record.state == AgentState::Quarantined && admission != Admission::Rebooted && quarantined.is_some();
        if told_of || !record.may_live() {
            // A stop waited for the shim's word that it had begun nothing alone.
            let stops = |operation: &Operation| operation.kind == OperationKind::Stop;
            if self.record(id).operation.as_ref().is_some_and(stops) {
                match self.record(id).state {
                    // Once the survivors are dead the shim tells what became of the rest.
                    AgentState::Quarantined => self.order_stop(id),
                    AgentState::Pending
                    | AgentState::Starting
                    | AgentState::Running
                    | AgentState::Unreachable
                    | AgentState::Crashed
                    | AgentState::Stopping
                    | AgentState::Stopped
                    | AgentState::Terminated => self.never_began(id),
                }
            }
            return;
        }
        let ended = match &record.process {
            Some(process) => Some(process.incarnation),
            None if record.state == AgentState::Quarantined => Some(record.incarnation),
            None => (last >= record.incarnation).then_some(record.incarnation),
        };
        match ended {
            Some(incarnation) => {
                self.life_ended(id, incarnation, end);
                let record = self.record(id);
                if record.state == AgentState::Starting {
                    self.order_run(id);
                } else if record.state == AgentState::Stopping && record.desired == Desired::Stopped {
                    self.never_began(id);
                }
            }
            None if self.record(id).desired == Desired::Stopped => self.never_began(id),
            None if self.find(id).is_some_and(|agent| agent.overdue == Overdue::Yes) => {
                let incarnation = self.record(id).incarnation;
                self.life_ended(id, incarnation, End::NotStarted);
            }
            None => {
                if self.record(id).state != AgentState::Starting {
                    self.enter(
                        id,
                        AgentState::Starting,
                        StateReason::AwaitingShim,
                        "the order to start may not have arrived; it is given again",
                        Attributes::new(),
                    );
                }
                self.order_run(id);
            }
        }
    }

    /// Tells the shim to run the newest incarnation.
    pub(super) fn order_run(&mut self, id: &AgentId) {
        let record = self.record(id);
        let grace = record.operation.as_ref().and_then(|operation| operation.grace);
        let (incarnation, state) = (record.incarnation, record.state);
        if state == AgentState::Starting {
            self.await_start(id);
        }
        let context = self.run_context(id);
        self.command(
            id,
            Command::Run {
                incarnation,
                grace,
                context,
            },
        );
    }

    pub(super) fn order_stop(&mut self, id: &AgentId) {
        let record = self.record(id);
        let grace = record.operation.as_ref().and_then(|operation| operation.grace);
        let incarnation = record.incarnation;
        self.command(id, Command::Stop { incarnation, grace });
    }

    fn child_lives(&mut self, id: &AgentId, child: Child) {
        let record = self.record(id);
        let host = record
            .holder
            .as_ref()
            .map_or_else(String::new, |holder| holder.host.name.clone());
        let (desired, state, newest) = (record.desired, record.state, record.incarnation);
        let over = is_over(record) && record.unbegun().is_none();
        let awaits_shim = (state, record.reason) == (AgentState::Stopped, StateReason::ShimStopped);
        let back = match &child.process {
            Some(_) => "the shim is back, with the same process",
            None => "the shim is back, and the agent goes on taking messages",
        };
        self.began(id, child.incarnation);
        self.edit(id).process = Some(crate::record::AgentProcess {
            incarnation: child.incarnation,
            identity: child.process,
            host,
        });
        if state == AgentState::Quarantined {
            if desired == Desired::Stopped {
                self.order_stop(id);
            }
            return;
        }
        if desired == Desired::Stopped {
            self.enter_unless(id, state, AgentState::Stopping, StateReason::Operator, "told to stop");
            self.order_stop(id);
        } else if child.incarnation < newest && over && !awaits_shim {
            // The newest was another shim's, and its end decides what follows, by the budget. Nothing goes on beside that.
            self.edit(id).process = None;
            self.order_stop(id);
        } else if child.incarnation < newest {
            if over {
                // The newest was another shim's, and its number stands for that life (I1).
                let next = self.record(id).next_incarnation();
                self.renumber_order(id, next);
            }
            self.enter_unless(
                id,
                state,
                AgentState::Stopping,
                StateReason::Operator,
                "told to make way for a new life",
            );
            self.order_run(id);
        } else {
            match child.phase {
                ChildPhase::Starting => self.enter_unless(id, state, AgentState::Starting, StateReason::None, back),
                ChildPhase::Stopping => self.enter_unless(id, state, AgentState::Stopping, StateReason::None, back),
                ChildPhase::Ready if state == AgentState::Running => self.await_stable(id),
                ChildPhase::Ready => self.became_ready(id, back),
            }
        }
    }

    fn enter_unless(&mut self, id: &AgentId, from: AgentState, to: AgentState, reason: StateReason, message: &str) {
        if from != to {
            self.enter(id, to, reason, message, Attributes::new());
        }
    }
}

/// What is wrong with the order of reports; a shim leaves none out.
fn hole(reports: &[Report]) -> Option<String> {
    let gap = |pair: &&[Report]| matches!(pair, [before, after] if before.sequence.next() != after.sequence);
    match reports.windows(2).find(gap) {
        Some([before, after]) => Some(format!("report {} came after {}", after.sequence, before.sequence)),
        Some(_) | None => None,
    }
}

/// What a shim says that lives.
struct Told {
    child: Option<Child>,
    quarantined: Option<Incarnation>,
    last: Incarnation,
}
