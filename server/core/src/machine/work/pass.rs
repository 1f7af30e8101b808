//! The pass: the watchdog's verdicts on what the server and its shims say different things of.
//!
//! What its shim does not have is LOST, and what no record tells of is ended, unless it is so much that it is rather the
//! server whose memory was set back. Then nothing happens, and one event says so. Only shims that are there are judged by:
//! unreachable is unknown. And they are judged together, once all had their time to come who outlived the server's start: the
//! first ones back are no measure of the fleet. It costs by what is unclear, and not by the fleet.

use std::time::Duration;

use rekindle::execution::{AttemptId, ExecutionId};
use rekindle::id::{AgentId, Incarnation};
use rekindle::policy::InterruptPolicy;
use rekindle::state::FailureCause;

use super::super::step::{Attributes, Step, attributes};
use super::super::{Machine, Verdicts};
use super::inventory::{Stray, UNKNOWN};
use crate::event::EventKind;
use crate::execution::{Ending, ExecutionRecord};
use crate::record::Failure;

/// Time between two passes.
pub(in super::super) const PASS_INTERVAL: Duration = Duration::from_secs(10);

/// Of fewer executions than this all may be called LOST, where no shim has what no record tells of: a small fleet may lose
/// all that it has. That verdict a true result replaces; an end is for good, and has no such bound.
const MASS_MIN: usize = 10;

/// Most executions that one pass judges of each kind, so that its batch stays small; the next pass goes on.
const JUDGED_PER_PASS: usize = 256;

/// What is unclear at shims that are there.
#[derive(Default)]
struct Unclear {
    /// Missing, and wanted ended by an operator. That is no verdict of the server, and ends it whatever else is missing: it
    /// is the way out of a mass absence.
    given_up: Vec<(AgentId, ExecutionId)>,
    /// Missing.
    missing: Vec<(AgentId, ExecutionId)>,
    /// Known to their shims alone.
    strangers: Vec<(AgentId, AttemptId)>,
}

impl Unclear {
    fn disputed(&self) -> usize {
        self.missing.len() + self.strangers.len()
    }

    /// Whether most of what is judged is disputed.
    fn is_mass(&self, judged: usize) -> bool {
        self.disputed() * 2 > judged
    }
}

impl Step<'_> {
    /// Arms the pass, where something is unclear.
    pub(super) fn await_pass(&mut self) {
        if !self.machine.unclear.is_empty() && self.machine.pass.is_none() {
            self.machine.pass = Some(self.now.mono.saturating_add(PASS_INTERVAL));
        }
    }

    pub(in super::super) fn pass(&mut self) {
        self.machine.pass = None;
        self.recognise_strangers();
        let Machine { agents, unclear, .. } = &mut *self.machine;
        unclear.retain(|id| agents.get(id).is_some_and(|agent| agent.work.is_unclear()));
        if unclear.is_empty() {
            self.machine.verdicts = Verdicts::Passed;
            return;
        }
        let unclear = self.unclear();
        let judged = self.machine.watched + unclear.strangers.len() - unclear.given_up.len();
        for (agent, id) in unclear.given_up.iter().take(JUDGED_PER_PASS) {
            self.lost(agent, id);
        }
        if self.machine.adopts_until <= self.now.mono {
            self.give_verdicts(unclear, judged);
        }
        self.await_pass();
    }

    /// Gives all the verdicts, or none.
    fn give_verdicts(&mut self, unclear: Unclear, judged: usize) {
        let is_small = judged < MASS_MIN && unclear.strangers.is_empty();
        if unclear.is_mass(judged) && !is_small {
            return self.hold_verdicts(&unclear, judged);
        }
        self.machine.verdicts = Verdicts::Passed;
        for (agent, id) in unclear.missing.iter().take(JUDGED_PER_PASS) {
            self.lost(agent, id);
        }
        for (agent, attempt) in unclear.strangers.into_iter().take(JUDGED_PER_PASS) {
            if self.work(&agent).stray(&attempt) != Stray::Stranger {
                // The newest attempt of what has just been called lost: the next pass has it go on.
                continue;
            }
            self.work(&agent).strangers.remove(&attempt);
            self.disown(&agent, attempt, UNKNOWN);
        }
    }

    /// What no record told of when its shim named it, and one tells of by now: the store was set back to before this delivery
    /// of its execution, which has come as far since, or waits for it again.
    fn recognise_strangers(&mut self) {
        let mut recognised = Vec::new();
        for id in &self.machine.unclear {
            let Some(agent) = self.machine.agents.get(id) else {
                continue;
            };
            let known = |attempt: &AttemptId| agent.work.stray(attempt) != Stray::Stranger;
            // The later attempt at an execution comes first: it is the one that counts.
            let strangers = agent.work.strangers.iter().rev().filter(|(attempt, _)| known(attempt));
            recognised.extend(strangers.map(|(attempt, phase)| (id.clone(), attempt.clone(), *phase)));
        }
        for (agent, attempt, phase) in recognised {
            self.work(&agent).strangers.remove(&attempt);
            let record = self.execution(&agent, &attempt.execution);
            if record.newest() == attempt && record.state.is_held() {
                self.found(&agent, &attempt.execution, phase);
            } else {
                self.strayed(&agent, attempt, phase);
            }
        }
    }

    fn unclear(&self) -> Unclear {
        let mut all = Unclear::default();
        for id in &self.machine.unclear {
            let Some(agent) = self.find(id).filter(|agent| agent.settled().is_some()) else {
                continue;
            };
            for execution in &agent.work.missing {
                let given_up = agent.work.find(execution).is_some_and(|record| is_wanted_ended(record));
                let of = if given_up { &mut all.given_up } else { &mut all.missing };
                of.push((id.clone(), execution.clone()));
            }
            let strangers = agent.work.strangers.keys();
            all.strangers
                .extend(strangers.map(|attempt| (id.clone(), attempt.clone())));
        }
        all
    }

    fn hold_verdicts(&mut self, unclear: &Unclear, judged: usize) {
        if std::mem::replace(&mut self.machine.verdicts, Verdicts::Held) == Verdicts::Held {
            return;
        }
        let (missing, unknown) = (unclear.missing.len(), unclear.strangers.len());
        self.event(
            EventKind::ExecutionVerdictsHeld,
            None,
            Incarnation::ZERO,
            format!(
                "of {judged} executions, {missing} are missing at their shims and {unknown} are known to their shims alone: \
                 so many that the server rather doubts its own store, and ends none of them. Was the store set back, as by \
                 a restored backup? Then what runs goes on, and ends by itself or at its time. If not, ListExecutions and \
                 ListEvents show what became of whom. CancelExecution gives up one that is missing, and RestartAgent ends \
                 what only the shim of an agent knows"
            ),
            attributes([("missing", &missing), ("unknown", &unknown), ("judged", &judged)]),
        );
    }

    /// The shim does not have it, and nobody can say how it ended.
    ///
    /// ```text
    /// its end was wanted     verdict                        a true result
    /// not at all             LOST, or QUEUED by the policy  replaces it, until it is given again
    /// its time was over      LOST                           replaces it
    /// by a cancel            CANCELLED                      is dropped: somebody was told
    /// by a stop or restart   CANCELLED                      is dropped: somebody was told
    /// the same, to go again  QUEUED                         replaces it, until it is given again
    /// ```
    fn lost(&mut self, agent: &AgentId, id: &ExecutionId) {
        let deliveries = self.record(agent).policy.max_deliveries;
        let record = self.execution(agent, id);
        let (message, again) = match record.ending.clone() {
            None => (
                "its shim does not have it, and nobody can say how it ended",
                record.attempt < deliveries,
            ),
            Some(Ending::OutOfTime) => (
                "its time was over, its shim does not have it, and nobody can say how it ended",
                false,
            ),
            Some(ending @ (Ending::Cancelled { .. } | Ending::Interrupted(InterruptPolicy::Cancel))) => {
                return self.cancelled_unseen(agent, id, &ending);
            }
            Some(Ending::Interrupted(InterruptPolicy::Requeue)) => {
                return self.give_again(agent, id, "interrupted by an operator; it is given again");
            }
        };
        let incarnation = record
            .given_to
            .as_ref()
            .map_or_else(Default::default, |given| given.incarnation);
        self.edit_execution(agent, id).failure = Some(Failure {
            cause: FailureCause::Lost,
            message: message.to_owned(),
            time: self.now.wall,
            incarnation,
            evidence: None,
            survivors: Vec::new(),
        });
        let state = rekindle::execution::ExecutionState::Lost;
        self.enter_execution(agent, id, state, message, Attributes::new());
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
