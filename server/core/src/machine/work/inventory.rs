//! What a shim says that it has is held against what the server gave it.
//!
//! ```text
//! the server has    the shim names it      it is not named; the same directory   it is not named; anybody else
//! DISPATCHED        ACCEPTED or RUNNING    never arrived: given again            missing: the pass judges
//! ACCEPTED          the same, or RUNNING   missing: the pass judges              missing: the pass judges
//! RUNNING           the same               missing: the pass judges              missing: the pass judges
//! LOST              its end is awaited     LOST
//! QUEUED before it  ACCEPTED or RUNNING
//! another delivery  disowned: ended        nothing
//! over              disowned: ended        nothing
//! no record of it   a stranger: the pass judges
//! ```
//!
//! No record tells of it either where one has its name: what it is an attempt at its uid says. As long as the shim has one
//! that is disowned, or a stranger, what waits under that name is not given.
//!
//! Each row is one of `machine/tests/matrix.rs`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rekindle::execution::{AttemptId, AttemptPhase, ExecutionId, ExecutionState, HeldAttempt};
use rekindle::id::AgentId;
use rekindle::session::{Command, EndWhen};

use super::super::step::{Step, attributes};
use super::Work;
use crate::event::EventKind;
use crate::execution::{Ending, GivenTo};

/// What an attempt that its shim does not name is.
enum Absence {
    /// The shim that has the same directory never got it.
    NeverArrived,
    /// Nobody can say what became of it.
    Missing,
}

/// What an attempt is that a shim names, and that takes no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stray {
    /// It was called LOST: its true end may come.
    Lost,
    /// Its execution is QUEUED, and was not given as often: the store was set back, and this is its newest delivery.
    Ahead,
    /// Its execution is over, or was given again since: it is not to go on.
    Past,
    /// No record tells of it, though one may be of another execution with its name. Only a store that was set back, or that
    /// has forgotten its agent, knows less than a shim.
    Stranger,
}

impl Work {
    /// What an attempt is to the server that its shim has, and that takes no slot.
    pub(super) fn stray(&self, attempt: &AttemptId) -> Stray {
        let Some(record) = self.find_tried(attempt) else {
            return Stray::Stranger;
        };
        match attempt.number.cmp(&record.attempt) {
            Ordering::Less => Stray::Past,
            Ordering::Equal if record.state == ExecutionState::Lost => Stray::Lost,
            Ordering::Equal => Stray::Past,
            // One that was told to end does no more than end.
            Ordering::Greater if self.disowned.contains(attempt) => Stray::Stranger,
            Ordering::Greater if record.state == ExecutionState::Queued => Stray::Ahead,
            Ordering::Greater => Stray::Stranger,
        }
    }
}

impl Step<'_> {
    /// Holds what a shim has against what its agent was given. All that it had to tell of ends was applied before.
    pub(in super::super) fn attempts_inventoried(&mut self, agent: &AgentId, told: Vec<HeldAttempt>) {
        let held: Vec<ExecutionId> = self.work(agent).held.iter().cloned().collect();
        let work = self.work(agent);
        let mut told: BTreeMap<AttemptId, AttemptPhase> = told
            .into_iter()
            .map(|held| (work.named(held.attempt), held.phase))
            .collect();
        work.awaited.clear();
        work.strangers.clear();
        work.disowned.retain(|attempt| told.contains_key(attempt));
        for id in held {
            let newest = self.execution(agent, &id).newest();
            match told.remove(&newest) {
                Some(phase) => self.found(agent, &id, phase),
                None => match self.absence(agent, &id) {
                    Absence::NeverArrived => self.never_arrived(agent, &id),
                    Absence::Missing => {
                        self.work(agent).missing.insert(id);
                    }
                },
            }
        }
        // Of two attempts at one execution the later one counts.
        for (attempt, phase) in told.into_iter().rev() {
            self.strayed(agent, attempt, phase);
        }
        if self.work(agent).is_unclear() {
            self.machine.unclear.insert(agent.clone());
        }
        self.await_pass();
    }

    /// The shim has it, and is as far with it as it says: further than its reports were heard where the store was set back.
    pub(super) fn found(&mut self, agent: &AgentId, id: &ExecutionId, phase: AttemptPhase) {
        self.work(agent).missing.remove(id);
        let (now, incarnation) = (self.now.wall, self.record(agent).incarnation);
        match phase {
            AttemptPhase::Running => self.attempt_started(agent, id, incarnation, now, None),
            // One that is being ended may not have begun.
            AttemptPhase::Accepted | AttemptPhase::Ending => self.attempt_accepted(agent, id, now),
        }
        let record = self.execution(agent, id);
        if let Some(ending) = &record.ending {
            let grace = ending.grace();
            return self.order_end(agent, id, grace);
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

    /// Its shim writes down what it is given before it says so, and has nothing written: it never began. Unless somebody
    /// cancelled it, it is as if it had been queued all along.
    fn never_arrived(&mut self, agent: &AgentId, id: &ExecutionId) {
        match self.execution(agent, id).ending.clone() {
            Some(ending @ Ending::Cancelled { .. }) => self.cancelled_unseen(agent, id, &ending),
            Some(Ending::Interrupted(_) | Ending::OutOfTime) | None => {
                self.take_back(agent, id);
                self.give_again(agent, id, "it never arrived at its shim");
            }
        }
    }

    pub(super) fn strayed(&mut self, agent: &AgentId, attempt: AttemptId, phase: AttemptPhase) {
        match self.work(agent).stray(&attempt) {
            Stray::Lost => self.lost_after_all(agent, attempt),
            Stray::Ahead => {
                let heard = self.heard_of(agent);
                self.adopt(agent, &attempt, heard);
                self.found(agent, &attempt.execution, phase);
            }
            Stray::Past => self.disown(agent, attempt, "its execution is over, or was given again since"),
            Stray::Stranger if self.work(agent).disowned.contains(&attempt) => self.disown(agent, attempt, UNKNOWN),
            Stray::Stranger => {
                self.work(agent).strangers.insert(attempt, phase);
            }
        }
    }

    /// The shim has one that was called LOST. Where its end was wanted by then, it still is.
    fn lost_after_all(&mut self, agent: &AgentId, attempt: AttemptId) {
        let record = self.execution(agent, &attempt.execution);
        let wanted_ended = record.ending.as_ref().map(Ending::grace);
        self.work(agent).awaited.insert(attempt.execution.clone());
        if let Some(grace) = wanted_ended {
            let when = EndWhen::Now;
            self.command(agent, Command::EndAttempt { attempt, grace, when });
        }
    }

    /// Has an attempt ended that nobody waits for. It is told once; the shim ends it by its own ladder, and is asked again
    /// whenever it comes back with it.
    pub(super) fn disown(&mut self, agent: &AgentId, attempt: AttemptId, why: &str) {
        let (grace, when) = (None, EndWhen::Now);
        let order = Command::EndAttempt {
            attempt: attempt.clone(),
            grace,
            when,
        };
        self.command(agent, order);
        if !self.work(agent).disowned.insert(attempt.clone()) {
            return;
        }
        let incarnation = self.record(agent).incarnation;
        let message = format!("its shim has attempt {}, and is told to end it: {why}", attempt.number);
        self.execution_event(
            EventKind::ExecutionDisowned,
            (agent, &attempt.execution),
            incarnation,
            message,
            attributes([("attempt", &attempt.number)]),
        );
    }
}

/// Why a stranger is ended.
pub(super) const UNKNOWN: &str = "no record of the server's tells of it";
