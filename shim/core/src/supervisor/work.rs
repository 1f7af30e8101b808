//! Work: the attempts that the shim holds, and how they reach the agent.
//!
//! ```text
//!              a slot is free                exec
//! per-message  Accepted ----------> Starting ----> Running --> Ending --+--> told, and forgotten
//!                                                 died, cancel, time    |    once nothing of it lives
//!              the agent asks, or is written to
//! pull, stdin  Accepted ---------------------------> Running -----------+--> by the agent's word, or
//!                                                                            with the life that works on it
//! ```
//!
//! What was accepted is told of until it is over, whatever becomes of the shim: the journal names it. Its text is not
//! kept: what had not begun when the shim died is given back.
//!
//! An attempt at another execution of the name of one that has begun waits for the end of that: an agent, its environment
//! and its control groups know both by one name.

mod attempt;
mod given;
mod ladder;
mod word;

use std::collections::VecDeque;
use std::time::Duration;

use rekindle::activity::ActivityState;
use rekindle::execution::{
    ATTEMPTS_MAX, AttemptId, AttemptResult, Delivery, Dispatch, ExecutionId, HeldAttempt, Output, Verdict,
};
use rekindle::exit::{EndedBy, ExitEvidence};
use rekindle::id::{ExecutionUid, ReportSequence};
use rekindle::process::ProcessIdentity;
use rekindle::report::{ReportFact, Survivor};
use rekindle::time::MonoTime;

use super::{Leaving, Life, Supervisor, Upgrade};
use crate::effect::{Deadline, DeadlineReason, Effect};
use crate::input::RequestNumber;
use crate::journal::{Journal, JournalAttempt, JournalStage};

pub(super) use attempt::Held;
use attempt::{Blocker, Clock, EndingAttempt, Running, Stage, Waits};
use given::Given;

/// Requests for work that wait at a time: as many as an agent can be given at once.
const ASKING_MAX: usize = rekindle::policy::MAX_CONCURRENT_MAX as usize;

/// What the shim holds of work.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// In the order in which they came.
    held: Vec<Held>,
    /// Requests of the agent that wait for work.
    asking: VecDeque<RequestNumber>,
    /// What the life was given.
    given: Given,
}

impl Work {
    /// What an earlier shim left, of which it is not known yet what became.
    pub(super) fn left(journal: &Journal) -> Self {
        let left = |JournalAttempt { attempt, stage }: &JournalAttempt| Held {
            id: attempt.clone(),
            message: "".into(),
            timeout: Duration::ZERO,
            stage: Stage::Left(*stage),
        };
        Self {
            held: journal.attempts.iter().map(left).collect(),
            asking: VecDeque::new(),
            given: Given::default(),
        }
    }

    /// The clocks of what the life's process works on.
    fn shared(&mut self) -> impl Iterator<Item = &mut Clock> {
        self.held.iter_mut().filter_map(|held| match &mut held.stage {
            Stage::Running(Running {
                process: None, clock, ..
            }) => Some(clock),
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => None,
        })
    }

    fn find(&mut self, attempt: &AttemptId) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.id == *attempt)
    }

    /// The attempt that the server names. One that an earlier version of the shim has written down, or of the server has
    /// given, is without its uid.
    pub(super) fn named(&self, attempt: AttemptId) -> AttemptId {
        let same = |held: &&Held| {
            held.id.uid == ExecutionUid::UNKNOWN
                && held.id.execution == attempt.execution
                && held.id.number == attempt.number
        };
        match self.held.iter().find(same) {
            Some(held) => held.id.clone(),
            None => attempt,
        }
    }

    /// Everybody who is known to outlive SIGKILL.
    fn stuck(&self) -> Vec<Survivor> {
        let stuck = |held: &Held| match &held.stage {
            Stage::Ending(ending) => ending.stuck.clone(),
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) => Vec::new(),
        };
        self.held.iter().flat_map(stuck).collect()
    }

    fn begun(&self) -> usize {
        self.held.iter().filter(|held| held.has_begun()).count()
    }

    /// Whether the life's process is to end because of something that it works on.
    pub(super) fn has_condemned(&self) -> bool {
        self.held.iter().any(|held| match &held.stage {
            Stage::Running(running) => running.condemned.is_some(),
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Ending(_) => false,
        })
    }

    /// The place of the first that may begin. One whose namesake has begun waits for the end of that, which has its time, and
    /// lets others pass: the agent, and the processes of each, could not tell them apart.
    fn next(&self) -> Option<usize> {
        let begun = || self.held.iter().filter(|held| held.has_begun());
        let may_begin = |held: &Held| !held.has_begun() && !begun().any(|other| other.id.is_namesake(&held.id));
        self.held.iter().position(may_begin)
    }
}

impl Supervisor {
    /// The server gives an attempt.
    pub(super) fn dispatched(&mut self, dispatch: Dispatch) {
        let Dispatch {
            attempt,
            message,
            timeout,
        } = dispatch;
        if self.work.find(&attempt).is_some() || self.was_told(&attempt) {
            return;
        }
        if !self.has_room_for_attempt() {
            // The server has not acknowledged the end of as many as it may give. It asks what there is when it misses the
            // word that this one was accepted.
            return;
        }
        let held = Held {
            id: attempt.clone(),
            message: message.into(),
            timeout,
            stage: Stage::Accepted,
        };
        let takes = match &self.life {
            // One that is ending tells of it when it is over: what is given back before comes right back.
            Life::Running(_) | Life::Ending(_) => self.settings.delivery != Delivery::None,
            Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Starting { .. } | Life::Quarantined(_) => false,
        };
        self.work.held.push(held);
        if takes {
            self.report_attempt(ReportFact::AttemptAccepted(attempt));
        } else {
            self.give_back(&attempt, "the agent does not run");
        }
    }

    /// Begins what has a slot and, where the agent asks for its work, somebody who asked.
    pub(super) fn pursue_work(&mut self) {
        while let Some(place) = self.next_to_begin() {
            self.begin_attempt(place);
        }
        self.write_attempts();
    }

    fn next_to_begin(&self) -> Option<usize> {
        let ready = match &self.life {
            Life::Running(child) => child.stage.is_ready(),
            Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Ending(_)
            | Life::Quarantined(_) => false,
        };
        let slots = self.policy.max_concurrent as usize;
        let goes_on = self.leaving == Leaving::No && self.upgrade == Upgrade::No;
        let wanted = match self.settings.delivery {
            Delivery::None => false,
            Delivery::PerMessage | Delivery::Stdin => true,
            Delivery::Pull => !self.work.asking.is_empty(),
        };
        if !ready || !goes_on || !wanted || self.work.begun() >= slots {
            return None;
        }
        self.work.next()
    }

    fn begin_attempt(&mut self, place: usize) {
        let Some(incarnation) = self.living() else { return };
        let now = self.clock.now.mono;
        let blocked_limit = self.policy.blocked_limit;
        let Some(held) = self.work.held.get_mut(place) else {
            return;
        };
        let (attempt, message, timeout) = (held.id.clone(), held.message.clone(), held.timeout);
        let delivered = self.work.given.take(&attempt);
        let mut clock = Clock::starts(now, timeout, blocked_limit);
        if let ActivityState::Blocked(_) = self.said.activity.state {
            clock.stop(Blocker::Agent, now);
        }
        let running = Stage::Running(Running {
            process: None,
            since: now,
            clock,
            condemned: None,
            delivered,
            waits: Waits::Unsaid,
        });
        let effect = match self.settings.delivery {
            Delivery::None => return,
            Delivery::PerMessage => {
                held.stage = Stage::Starting { end: None, delivered };
                Effect::SpawnAttempt {
                    attempt,
                    incarnation,
                    message,
                }
            }
            Delivery::Pull => {
                let Some(request) = self.work.asking.pop_front() else {
                    return;
                };
                held.stage = running;
                self.report_attempt(ReportFact::AttemptStarted(attempt.clone(), None));
                Effect::Give {
                    request,
                    incarnation,
                    attempt,
                    message,
                    timeout,
                }
            }
            Delivery::Stdin => {
                held.stage = running;
                self.report_attempt(ReportFact::AttemptStarted(attempt.clone(), None));
                Effect::Feed {
                    incarnation,
                    attempt,
                    message,
                    timeout,
                }
            }
        };
        self.effects.push(effect);
    }

    pub(super) fn attempt_spawned(&mut self, attempt: &AttemptId, process: ProcessIdentity) {
        let now = self.clock.now.mono;
        let blocked_limit = self.policy.blocked_limit;
        let Some(held) = self.work.find(attempt) else { return };
        let Stage::Starting { end, delivered } = held.stage else {
            return;
        };
        let running = Running {
            process: Some(process.clone()),
            since: now,
            clock: Clock::starts(now, held.timeout, blocked_limit),
            condemned: None,
            delivered,
            waits: Waits::Unsaid,
        };
        held.stage = Stage::Running(running.clone());
        self.report_attempt(ReportFact::AttemptStarted(attempt.clone(), Some(process)));
        self.tell_handed_to_attempt(attempt);
        if let Some(end) = end {
            self.begin_attempts_end(attempt, running, end);
        }
    }

    pub(super) fn attempt_spawn_failed(&mut self, attempt: &AttemptId, message: String) {
        let Some(held) = self.work.find(attempt) else { return };
        let Stage::Starting { end, .. } = held.stage else {
            return;
        };
        let verdict = end.map_or(Verdict::SpawnFailed, |end| ladder::verdict_of(end.by));
        self.finish(attempt, result(verdict, message));
    }

    /// It is over: told, and forgotten.
    fn finish(&mut self, attempt: &AttemptId, result: AttemptResult) {
        self.work.held.retain(|held| held.id != *attempt);
        self.note_whether_blocked();
        self.report_attempt(ReportFact::AttemptFinished(attempt.clone(), Box::new(result)));
    }

    /// It has not begun, and does not.
    fn give_back(&mut self, attempt: &AttemptId, why: &str) {
        self.finish(attempt, result(Verdict::NotBegun, why.to_owned()));
    }

    /// The server does not want it begun any more.
    pub(super) fn give_back_unbegun(&mut self, attempt: &AttemptId) {
        let Some(held) = self.work.find(attempt) else { return };
        match &held.stage {
            Stage::Accepted => self.give_back(attempt, "it was not to begin so late"),
            Stage::Left(_) | Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => {}
        }
    }

    /// The life that worked on them is over, and nothing of it is left; how it ended, where that is known.
    pub(super) fn forsake_attempts(&mut self, evidence: Option<&ExitEvidence>) {
        for held in std::mem::take(&mut self.work.held) {
            let verdict = match &held.stage {
                Stage::Accepted | Stage::Left(JournalStage::Accepted) => Verdict::NotBegun,
                Stage::Starting { .. } | Stage::Left(JournalStage::Begun { .. }) => Verdict::Interrupted,
                Stage::Running(running) => running.condemned.map_or(Verdict::Interrupted, ladder::verdict_of),
                Stage::Ending(ending) => ladder::verdict_of(ending.by),
            };
            let result = AttemptResult {
                evidence: evidence.filter(|_| held.has_begun()).cloned().map(Box::new),
                ..result(verdict, "the life that had it is over".to_owned())
            };
            self.report_attempt(ReportFact::AttemptFinished(held.id, Box::new(result)));
        }
        self.work.given = Given::default();
        self.refuse_all();
        self.write_attempts();
    }

    /// The boot that they were held in is over. That one began may be what a power loss has taken from the journal: what
    /// seems not to have begun is not given back, as it might run twice.
    pub(super) fn presume_attempts_begun(&mut self) {
        for held in &mut self.work.held {
            held.stage = Stage::Left(JournalStage::Begun { clock: None });
        }
    }

    /// Whether the journal has the same attempts as the machine, as far as they have begun, and a life to hold them; and no
    /// two of one name have begun that are at different executions.
    pub(super) fn attempts_are_sound(&self) -> bool {
        let written = self
            .journal
            .attempts
            .iter()
            .map(|written| (&written.attempt, written.stage.has_begun()));
        let held = self.work.held.iter().map(|held| (&held.id, held.has_begun()));
        let begun = || self.work.held.iter().filter(|held| held.has_begun());
        let is_apart = |held: &Held| !begun().any(|other| other.id.is_namesake(&held.id));
        written.eq(held) && begun().all(is_apart) && (self.life != Life::Idle || self.work.held.is_empty())
    }

    /// The executions of what has begun.
    pub(super) fn executions_begun(&self) -> impl Iterator<Item = &ExecutionId> {
        self.work
            .held
            .iter()
            .filter(|held| held.has_begun())
            .map(|held| &held.id.execution)
    }

    /// Whether anything is held that has begun.
    pub(super) fn has_attempts_begun(&self) -> bool {
        self.work.begun() > 0
    }

    /// Whether anything runs that only this life of the shim knows of.
    pub(super) fn attempts_bind(&self) -> bool {
        match self.settings.delivery {
            Delivery::None | Delivery::Pull => false,
            Delivery::PerMessage | Delivery::Stdin => self.has_attempts_begun(),
        }
    }

    /// What the server is told that the shim has. Of those that are over the reports tell, which come before.
    pub(super) fn attempts_told(&self) -> Vec<HeldAttempt> {
        let told = |held: &Held| HeldAttempt {
            attempt: held.id.clone(),
            phase: held.phase(),
        };
        self.work.held.iter().map(told).collect()
    }

    /// Takes up what an earlier shim left with a life that goes on. Of what had not begun the text is gone.
    pub(super) fn adopt_attempts(&mut self) {
        let now = self.clock.now.mono;
        let mut not_begun = Vec::new();
        self.work.given = Given::to_a_life_that_goes_on();
        for held in &mut self.work.held {
            match held.stage {
                Stage::Left(JournalStage::Begun { clock }) => {
                    let delivered = self.work.given.take(&held.id);
                    let waits = clock.and_then(|clock| clock.on).map_or(Waits::Unsaid, Waits::For);
                    let clock = match clock {
                        Some(clock) => Clock::adopted(clock, now),
                        None => Clock::starts(now, Duration::ZERO, Duration::ZERO),
                    };
                    held.stage = Stage::Running(Running {
                        process: None,
                        since: now,
                        clock,
                        condemned: None,
                        delivered,
                        waits,
                    });
                }
                Stage::Left(JournalStage::Accepted) => not_begun.push(held.id.clone()),
                Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => {}
            }
        }
        for attempt in not_begun {
            self.give_back(&attempt, "its shim began anew");
        }
        self.write_attempts();
    }

    /// Whether the end of this attempt waits in the outbox.
    fn was_told(&self, attempt: &AttemptId) -> bool {
        self.finished_untold().any(|told| told == attempt)
    }

    /// Those of whose end the server has not acknowledged to know.
    fn finished_untold(&self) -> impl Iterator<Item = &AttemptId> {
        let outbox = &self.journal.outbox;
        outbox.iter().filter_map(|report| report.fact.finished_attempt())
    }

    fn has_room_for_attempt(&self) -> bool {
        self.work.held.len() + self.finished_untold().count() < ATTEMPTS_MAX
    }

    fn report_attempt(&mut self, fact: ReportFact) -> ReportSequence {
        if let Some((attempt, result)) = fact.finished() {
            self.close_with(&attempt.execution, result.verdict);
        }
        self.report(self.journal.last_incarnation, fact)
    }

    /// Keeps the journal's list the same as the machine's.
    fn write_attempts(&mut self) {
        let held: Vec<JournalAttempt> = self.work.held.iter().map(Held::written).collect();
        if held != self.journal.attempts {
            self.journal_mut().attempts = held;
        }
    }

    /// When an attempt must be looked at.
    pub(super) fn work_deadline(&self) -> Option<Deadline> {
        let due = |held: &Held| match &held.stage {
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } => None,
            Stage::Running(running) if running.condemned.is_some() => None,
            Stage::Running(running) => Some((running.clock.deadline(), DeadlineReason::MessageTimeout)),
            Stage::Ending(ending) => ending.phase.deadline(),
        };
        self.work.held.iter().filter_map(due).min()
    }

    pub(super) fn expire_work(&mut self) {
        let now = self.clock.now.mono;
        let ids: Vec<AttemptId> = self.work.held.iter().map(|held| held.id.clone()).collect();
        for id in ids {
            self.expire_attempt(&id, now);
        }
    }

    fn expire_attempt(&mut self, attempt: &AttemptId, now: MonoTime) {
        let grace = self.policy.stop_grace;
        let Some(held) = self.work.find(attempt) else { return };
        match &mut held.stage {
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } => {}
            Stage::Running(running) => {
                if running.condemned.is_none() && running.clock.is_over(now) {
                    self.end_attempt(attempt, EndedBy::MessageTimeout, grace);
                }
            }
            Stage::Ending(ending) => {
                let effect = ending.phase.climb(crate::tree::TreeId::Attempt(attempt.clone()), now);
                self.effects.extend(effect);
            }
        }
    }
}

/// A result that only words tell of.
fn result(verdict: Verdict, message: String) -> AttemptResult {
    AttemptResult {
        verdict,
        message,
        evidence: None,
        output: Output::default(),
    }
}
