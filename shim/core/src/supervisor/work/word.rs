//! What the agent asks for, and what it says of what it works on.

use rekindle::execution::{AttemptId, AttemptResult, Delivery, ExecutionId, Output, Verdict};
use rekindle::exit::EndedBy;

use super::super::Supervisor;
use super::{ASKING_MAX, Blocker, Held, Stage};
use crate::effect::{Effect, Refused};
use crate::input::{RequestNumber, Word};

impl Supervisor {
    /// The agent asks for work.
    pub(in super::super) fn work_asked(&mut self, request: RequestNumber) {
        if self.settings.delivery != Delivery::Pull {
            return self.answer(request, Err(Refused::NotPulled));
        }
        if self.work.asking.len() == ASKING_MAX {
            return self.answer(request, Err(Refused::TooMany));
        }
        self.work.asking.push_back(request);
    }

    pub(in super::super) fn ask_withdrawn(&mut self, request: RequestNumber) {
        self.work.asking.retain(|asking| *asking != request);
    }

    /// Those who waited for work get none of the life that is over.
    pub(super) fn refuse_all(&mut self) {
        while let Some(request) = self.work.asking.pop_front() {
            self.answer(request, Err(Refused::NotRunning));
        }
    }

    /// It was handed to somebody who was gone, and has not begun.
    pub(in super::super) fn give_failed(&mut self, attempt: &AttemptId) {
        let Some(held) = self.work.find(attempt) else { return };
        match &held.stage {
            Stage::Running(running) if running.condemned.is_none() && running.process.is_none() => {
                self.give_back(attempt, "the agent was gone when it was given to it");
            }
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => {}
        }
    }

    /// The agent says something of what it works on.
    pub(in super::super) fn work_said(
        &mut self,
        request: Option<RequestNumber>,
        execution: Option<&ExecutionId>,
        word: Word,
    ) {
        let answer = self
            .find_spoken_of(execution)
            .and_then(|attempt| self.take_word(&attempt, word));
        if let Some(request) = request {
            self.answer(request, answer);
        }
    }

    fn find_spoken_of(&self, execution: Option<&ExecutionId>) -> Result<AttemptId, Refused> {
        let mut open = self.work.held.iter().filter(|held| hears(held));
        match execution {
            Some(execution) => {
                let found = open.filter(|held| held.id.execution == *execution);
                found
                    .map(|held| held.id.clone())
                    .max_by_key(|attempt| attempt.number)
                    .ok_or(Refused::NotRunning)
            }
            None => match (open.next(), open.next()) {
                (Some(only), None) => Ok(only.id.clone()),
                (None, _) => Err(Refused::NotRunning),
                (Some(_), Some(_)) => Err(Refused::Which),
            },
        }
    }

    fn take_word(&mut self, attempt: &AttemptId, word: Word) -> Result<(), Refused> {
        let now = self.clock.now.mono;
        let held = self.work.find(attempt).ok_or(Refused::NotRunning)?;
        let Stage::Running(running) = &mut held.stage else {
            return Err(Refused::NotRunning);
        };
        let (verdict, message, output) = match word {
            Word::Blocked => {
                running.clock.stop(Blocker::Attempt, now);
                self.waits();
                return Ok(());
            }
            Word::Moves => {
                running.clock.go_on(Blocker::Attempt, now);
                self.goes_on();
                return Ok(());
            }
            Word::Done { output } => (Verdict::Succeeded, String::new(), output),
            Word::Failed { message, output } => (Verdict::Failed, message, output),
        };
        if running.process.is_some() {
            // How its process ends tells how it went.
            return Err(Refused::NotPulled);
        }
        self.finish(attempt, in_words(verdict, message, output));
        Ok(())
    }

    /// The life's process says that it is blocked: so is all that it works on.
    pub(in super::super) fn stop_clocks(&mut self) {
        let now = self.clock.now.mono;
        self.work.shared().for_each(|clock| clock.stop(Blocker::Agent, now));
    }

    /// It goes on.
    pub(in super::super) fn restart_clocks(&mut self) {
        let now = self.clock.now.mono;
        self.work.shared().for_each(|clock| clock.go_on(Blocker::Agent, now));
    }

    fn answer(&mut self, request: RequestNumber, answer: Result<(), Refused>) {
        self.effects.push(Effect::Answer { request, answer });
    }
}

/// Whether the agent's word on it counts. One whose time is over has its verdict.
fn hears(held: &Held) -> bool {
    match &held.stage {
        Stage::Running(running) => running.condemned != Some(EndedBy::MessageTimeout),
        Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Ending(_) => false,
    }
}

fn in_words(verdict: Verdict, message: String, output: Output) -> AttemptResult {
    AttemptResult {
        verdict,
        message,
        evidence: None,
        output,
    }
}
