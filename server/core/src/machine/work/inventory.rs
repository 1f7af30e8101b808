//! What a shim says that it has is held against what the server gave it.

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::execution::{AttemptId, ExecutionId, ExecutionState, HeldAttempt};
use rekindle::id::AgentId;
use rekindle::session::{Command, EndWhen};
use rekindle::state::FailureCause;

use super::super::Machine;
use super::super::step::{Attributes, Step, attributes};
use crate::event::EventKind;
use crate::execution::{Ending, ExecutionRecord, GivenTo};
use crate::record::Failure;

/// Time between two passes over what is missing.
pub(in super::super) const PASS_INTERVAL: Duration = Duration::from_secs(10);

/// Of fewer executions than this all may be called LOST: a small fleet may lose all that it has.
const MASS_MIN: usize = 10;

/// What an attempt that its shim does not name is.
enum Absence {
    /// The shim that has the same directory never got it.
    NeverArrived,
    /// Nobody can say what became of it.
    Missing,
}

impl Step<'_> {
    /// Holds what a shim has against what its agent was given. All that it had to tell of ends was applied before.
    pub(in super::super) fn attempts_inventoried(&mut self, agent: &AgentId, told: Vec<HeldAttempt>) {
        let held: Vec<ExecutionId> = self.work(agent).held.iter().cloned().collect();
        let mut told: BTreeMap<ExecutionId, AttemptId> = told
            .into_iter()
            .map(|held| (held.attempt.execution.clone(), held.attempt))
            .collect();
        for id in held {
            let newest = self.execution(agent, &id).newest();
            if told.get(&id).is_some_and(|attempt| *attempt == newest) {
                told.remove(&id);
                self.found(agent, &id);
            } else {
                match self.absence(agent, &id) {
                    Absence::NeverArrived => self.never_arrived(agent, &id),
                    Absence::Missing => {
                        self.work(agent).missing.insert(id);
                        self.machine.missing.insert(agent.clone());
                    }
                }
            }
        }
        self.work(agent).awaited.clear();
        for (id, attempt) in told {
            // Of one that was called LOST the true end may come yet.
            let lost = self
                .work(agent)
                .find(&id)
                .is_some_and(|record| record.state == ExecutionState::Lost && record.attempt == attempt.number);
            if lost {
                self.work(agent).awaited.insert(id);
            } else {
                let (grace, when) = (None, EndWhen::Now);
                self.command(agent, Command::EndAttempt { attempt, grace, when });
            }
        }
        self.await_pass();
    }

    fn found(&mut self, agent: &AgentId, id: &ExecutionId) {
        self.work(agent).missing.remove(id);
        let record = self.execution(agent, id);
        if record.ending.is_some() {
            return self.order_end(agent, id, None);
        }
        match record.state {
            ExecutionState::Running => self.watch(agent, id),
            ExecutionState::Accepted => {
                let at = self.work(agent).start_by(id);
                self.set_execution_due(agent, id, at);
            }
            ExecutionState::Dispatched
            | ExecutionState::Queued
            | ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::Cancelled
            | ExecutionState::TimedOut
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => {}
        }
    }

    fn absence(&mut self, agent: &AgentId, id: &ExecutionId) -> Absence {
        let holder = self.record(agent).holder.as_ref();
        let here = holder.map(|holder| (holder.marker, holder.host.boot_id));
        let record = self.execution(agent, id);
        let given = record
            .given_to
            .as_ref()
            .map(|GivenTo { marker, boot, .. }| (*marker, *boot));
        if record.state == ExecutionState::Dispatched && given.is_some() && given == here {
            Absence::NeverArrived
        } else {
            Absence::Missing
        }
    }

    /// Its shim writes down what it is given before it says so, and has nothing written: it never began.
    fn never_arrived(&mut self, agent: &AgentId, id: &ExecutionId) {
        if let Some(ending) = self.execution(agent, id).ending.clone() {
            return self.ended_unseen(agent, id, &ending);
        }
        self.take_back(agent, id);
        self.give_again(agent, id, "it never arrived at its shim");
    }

    /// Arms the pass, where something is missing.
    fn await_pass(&mut self) {
        if !self.machine.missing.is_empty() && self.machine.pass.is_none() {
            self.machine.pass = Some(self.now.mono.saturating_add(PASS_INTERVAL));
        }
    }

    /// The pass over all that is missing: LOST, unless it is so many that it is rather the server that has lost its
    /// memory. Then nothing happens, and one event says so. What an operator wants ended is no verdict of the server, and
    /// ends whatever else is missing: it is the way out of a mass absence.
    pub(in super::super) fn pass(&mut self) {
        self.machine.pass = None;
        let Machine { agents, missing, .. } = &mut *self.machine;
        missing.retain(|id| agents.get(id).is_some_and(|agent| agent.work.is_something_missing()));
        if missing.is_empty() {
            self.machine.held_verdicts = false;
            return;
        }
        let mut missing: Vec<(AgentId, ExecutionId)> = Vec::new();
        let mut given_up: Vec<(AgentId, ExecutionId)> = Vec::new();
        let mut judged = 0;
        for (id, agent) in &self.machine.agents {
            if agent.settled().is_none() {
                // Unreachable is unknown.
                continue;
            }
            judged += agent.work.held.len();
            for execution in &agent.work.missing {
                let ended = agent.work.find(execution).is_some_and(|record| is_wanted_ended(record));
                let of = if ended { &mut given_up } else { &mut missing };
                of.push((id.clone(), execution.clone()));
            }
        }
        judged -= given_up.len();
        given_up.truncate(LOST_PER_PASS);
        for (agent, id) in &given_up {
            self.lost(agent, id);
        }
        if judged >= MASS_MIN && missing.len() * 2 > judged {
            self.hold_verdicts(missing.len(), judged);
        } else {
            self.machine.held_verdicts = false;
            missing.truncate(LOST_PER_PASS);
            for (agent, id) in &missing {
                self.lost(agent, id);
            }
        }
        self.await_pass();
    }

    fn hold_verdicts(&mut self, missing: usize, judged: usize) {
        if std::mem::replace(&mut self.machine.held_verdicts, true) {
            return;
        }
        self.event(
            EventKind::ExecutionVerdictsHeld,
            None,
            rekindle::id::Incarnation::ZERO,
            format!(
                "{missing} of {judged} executions are missing at their shims; that is so many that none is called LOST; \
                 was the server's store set back?"
            ),
            attributes([("missing", &missing), ("judged", &judged)]),
        );
    }

    fn lost(&mut self, agent: &AgentId, id: &ExecutionId) {
        let deliveries = self.record(agent).policy.max_deliveries;
        let record = self.execution(agent, id);
        if let Some(ending) = record.ending.clone() {
            return self.ended_unseen(agent, id, &ending);
        }
        let again = record.attempt < deliveries;
        let incarnation = record
            .given_to
            .as_ref()
            .map_or_else(Default::default, |given| given.incarnation);
        let message = "its shim does not have it, and nobody can say how it ended";
        self.edit_execution(agent, id).failure = Some(Failure {
            cause: FailureCause::Lost,
            message: message.to_owned(),
            time: self.now.wall,
            incarnation,
            evidence: None,
            survivors: Vec::new(),
        });
        self.enter_execution(agent, id, ExecutionState::Lost, message, Attributes::new());
        if again {
            self.give_again(agent, id, "it is given again, as its policy has it");
        }
    }
}

/// Whether an operator wants its attempt ended, by a cancel of it or by an order for its agent.
fn is_wanted_ended(record: &ExecutionRecord) -> bool {
    match &record.ending {
        Some(Ending::Cancelled { .. } | Ending::Interrupted(_)) => true,
        Some(Ending::OutOfTime) | None => false,
    }
}

/// Most executions that one pass calls LOST, so that its batch stays small; the next pass goes on.
const LOST_PER_PASS: usize = 256;
