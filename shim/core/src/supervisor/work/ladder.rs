//! How an attempt ends that has processes of its own, and what the end of one means that has none.

use std::time::Duration;

use rekindle::execution::{AttemptId, AttemptResult, Verdict};
use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::ReportSequence;
use rekindle::report::{ReportFact, SURVIVORS_MAX, Survivor};

use super::super::{End, Life, Phase, Supervisor};
use super::{EndingAttempt, Held, Running, Stage, result};
use crate::effect::Effect;
use crate::input::Remains;
use crate::tree::TreeId;

impl Supervisor {
    /// Ends an attempt: what is its own, or the life that works on it.
    pub(in super::super) fn end_attempt(&mut self, attempt: &AttemptId, by: EndedBy, grace: Duration) {
        let now = self.clock.now.mono;
        let Some(held) = self.work.find(attempt) else { return };
        match &mut held.stage {
            Stage::Accepted => {
                let verdict = verdict_of(by);
                self.finish(attempt, result(verdict, "it had not begun".to_owned()));
            }
            // It is being swept already.
            Stage::Left(_) => {}
            Stage::Starting { end, .. } => *end = Some(End::merge(*end, by, grace)),
            Stage::Running(running) if running.process.is_some() => {
                let running = running.clone();
                self.begin_attempts_end(attempt, running, End { by, grace });
            }
            Stage::Running(running) => {
                running.condemned.get_or_insert(by);
                self.end(by, grace);
            }
            Stage::Ending(ending) => ending.phase.hasten(grace, now),
        }
    }

    /// Ends the attempts of a life that has no process of its own; what has not begun is given back.
    pub(in super::super) fn end_attempts(&mut self, by: EndedBy, grace: Duration) {
        let held: Vec<(AttemptId, bool)> = self.work.held.iter().map(|h| (h.id.clone(), h.has_begun())).collect();
        for (attempt, begun) in held {
            if begun {
                self.end_attempt(&attempt, by, grace);
            }
        }
    }

    pub(super) fn begin_attempts_end(&mut self, attempt: &AttemptId, running: Running, End { by, grace }: End) {
        let tree = TreeId::Attempt(attempt.clone());
        let (phase, effect) = Phase::first(tree, self.policy.stop_signal, grace, self.clock.now.mono);
        self.effects.push(effect);
        if let Some(held) = self.work.find(attempt) {
            held.stage = Stage::Ending(EndingAttempt {
                running,
                by,
                died: None,
                phase,
                stuck: Vec::new(),
                survivors_told: None,
            });
        }
    }

    /// Why its processes are being ended; `None` where they are not.
    pub(in super::super) fn attempt_ending(&self, attempt: &AttemptId) -> Option<EndedBy> {
        let held = self.work.held.iter().find(|held| held.id == *attempt)?;
        match &held.stage {
            Stage::Ending(ending) => Some(ending.by),
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) => None,
        }
    }

    /// Its process is dead; others of its tree may live.
    pub(in super::super) fn attempt_exited(&mut self, attempt: &AttemptId) {
        let now = self.clock.now.mono;
        let Some(held) = self.work.find(attempt) else { return };
        match &mut held.stage {
            Stage::Running(running) if running.process.is_some() => {
                let running = running.clone();
                let grace = Duration::ZERO;
                let by = EndedBy::Itself;
                self.begin_attempts_end(attempt, running, End { by, grace });
            }
            Stage::Ending(ending) if ending.died.is_none() => {
                let effect: Option<Effect> = ending.phase.leader_died(TreeId::Attempt(attempt.clone()));
                self.effects.extend(effect);
            }
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => return,
        }
        if let Some(held) = self.work.find(attempt)
            && let Stage::Ending(ending) = &mut held.stage
        {
            ending.died = Some(now);
        }
    }

    pub(in super::super) fn attempt_gone(&mut self, attempt: &AttemptId, mut remains: Remains) {
        let now = self.clock.now.mono;
        let Some(held) = self.work.find(attempt) else { return };
        let (by, died, since) = match &held.stage {
            Stage::Ending(ending) => (ending.by, ending.died, ending.running.since),
            // A driver that sees process and tree die at once may tell the latter alone.
            Stage::Running(running) if running.process.is_some() => (EndedBy::Itself, None, running.since),
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) => return,
        };
        let verdict = match (by, remains.status) {
            (EndedBy::Itself, ExitStatus::Exited(0)) => Verdict::Succeeded,
            (EndedBy::Itself, ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown) => {
                Verdict::Failed
            }
            (_, _) => verdict_of(by),
        };
        let output = std::mem::take(&mut remains.output);
        let uptime = died.unwrap_or(now).saturating_since(since);
        let result = AttemptResult {
            verdict,
            message: String::new(),
            evidence: Some(Box::new(remains.evidence(by, uptime))),
            output,
        };
        self.finish(attempt, result);
    }

    /// SIGKILL did not end its tree in time: it is killed again and again, and keeps its slot, which is told. Where its
    /// life is to end, the agent is quarantined, once nothing is left of it that does not outlive SIGKILL.
    pub(in super::super) fn attempt_survived(&mut self, attempt: &AttemptId, mut survivors: Vec<Survivor>) {
        let now = self.clock.now.mono;
        let Some(held) = self.work.find(attempt) else { return };
        let Stage::Ending(ending) = &mut held.stage else { return };
        if ending.phase != Phase::Overdue {
            return;
        }
        ending.phase = Phase::killed(now);
        survivors.sort_by_key(|survivor| survivor.pid);
        survivors.truncate(SURVIVORS_MAX);
        ending.stuck.clone_from(&survivors);
        if survivors.is_empty() {
            return;
        }
        let before = ending.survivors_told.clone();
        let tree = TreeId::Attempt(attempt.clone());
        self.effects.push(Effect::KillTree { tree });
        match self.life {
            Life::Ending(_) if self.work.held.iter().all(Held::is_stuck) => self.quarantine(self.work.stuck()),
            // Who of the others is left will be known within their grace and the proof of their death, and this is looked at
            // again each time.
            Life::Ending(_) => {}
            Life::Running(_) => self.tell_survivors(attempt, before, survivors),
            Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Starting { .. } | Life::Quarantined(_) => {}
        }
    }

    /// Tells who they are, where others were told before. A server that is away has one such report to come for each
    /// attempt, so that they have a bound.
    fn tell_survivors(
        &mut self,
        attempt: &AttemptId,
        before: Option<(ReportSequence, Vec<Survivor>)>,
        survivors: Vec<Survivor>,
    ) {
        let known = before.is_some_and(|(told_by, told)| told == survivors || !self.is_acknowledged(told_by));
        if known {
            return;
        }
        let told_by = self.report_attempt(ReportFact::AttemptSurvived(attempt.clone(), survivors.clone()));
        if let Some(held) = self.work.find(attempt)
            && let Stage::Ending(ending) = &mut held.stage
        {
            ending.survivors_told = Some((told_by, survivors));
        }
    }
}

/// What an end that somebody asked for makes of an attempt.
pub(super) const fn verdict_of(by: EndedBy) -> Verdict {
    match by {
        EndedBy::MessageTimeout => Verdict::TimedOut,
        EndedBy::MessageCancel => Verdict::Cancelled,
        EndedBy::Itself
        | EndedBy::Command
        | EndedBy::ShimStop
        | EndedBy::StartTimeout
        | EndedBy::Fence
        | EndedBy::Watchdog
        | EndedBy::Stall
        | EndedBy::ShimDeath => Verdict::Interrupted,
    }
}
