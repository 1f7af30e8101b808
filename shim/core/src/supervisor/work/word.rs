//! What the agent asks for, and what it says of what it works on.

use rekindle::activity::ActivityState;
use rekindle::execution::{AttemptId, AttemptResult, Delivery, Output, Verdict};
use rekindle::exit::EndedBy;

use super::super::{Life, Supervisor};
use super::given::Delivered;
use super::{ASKING_MAX, Blocker, Held, Stage, Waits, result};
use crate::effect::{Effect, Refused};
use crate::input::{About, RequestNumber, Word};

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

    /// Nobody waits for work any more: each was told to ask again.
    pub(in super::super) fn all_turned_away(&mut self) {
        self.work.asking.clear();
    }

    /// It was handed to somebody who was gone, and has not begun.
    pub(in super::super) fn give_failed(&mut self, attempt: &AttemptId) {
        let Some(held) = self.work.find(attempt) else { return };
        match &held.stage {
            Stage::Running(running) if running.condemned.is_none() && running.process.is_none() => {
                let delivered = running.delivered;
                self.work.given.take_back(attempt, delivered);
                self.give_back(attempt, "the agent was gone when it was given to it");
            }
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => {}
        }
    }

    /// It could not be written to the agent, which takes no other either: it is as one that ends. Of one that ends already
    /// its end tells more.
    pub(in super::super) fn feed_failed(&mut self, attempt: &AttemptId, message: String) {
        let Life::Running(_) = self.life else { return };
        let Some(held) = self.work.find(attempt) else { return };
        match &held.stage {
            Stage::Running(running) if running.condemned.is_none() && running.process.is_none() => {
                self.finish(attempt, result(Verdict::Interrupted, message));
                self.stops_by_itself();
            }
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => {}
        }
    }

    /// The agent says something of what it works on.
    pub(in super::super) fn work_said(&mut self, request: Option<RequestNumber>, about: &About, word: Word) {
        let answer = match self.find_spoken_of(about) {
            Ok(attempt) => self.take_word(&attempt, word),
            Err(refused) => self.was_told_so(about, &word, refused),
        };
        if let Some(request) = request {
            self.answer(request, answer);
        }
    }

    fn find_spoken_of(&self, about: &About) -> Result<AttemptId, Refused> {
        let heard = || self.work.held.iter().filter_map(heard);
        match about {
            About::Only => {
                let mut heard = heard();
                match (heard.next(), heard.next()) {
                    (Some((only, _)), None) => Ok(only.clone()),
                    (None, _) => Err(Refused::NotRunning),
                    (Some(_), Some(_)) => Err(Refused::Which),
                }
            }
            About::Execution(execution) => {
                let mut at = heard().filter(|(id, _)| id.execution == *execution);
                match (at.next(), at.next()) {
                    (Some((only, Delivered::Once)), None) => Ok(only.clone()),
                    (None, _) => Err(Refused::NotRunning),
                    (Some(_), _) => Err(Refused::WhichAttempt),
                }
            }
            About::Attempt { execution, number } => {
                let mut at = heard().map(|(id, _)| id).filter(|id| id.execution == *execution);
                if let Some(id) = at.clone().find(|id| id.number == *number) {
                    return Ok(id.clone());
                }
                let is_other = at.next().is_some();
                Err(if is_other {
                    Refused::OtherAttempt
                } else {
                    Refused::NotRunning
                })
            }
        }
    }

    /// Said once more: of an end that waits in the outbox, the same word changes nothing.
    fn was_told_so(&self, about: &About, word: &Word, refused: Refused) -> Result<(), Refused> {
        let (verdict, message, output) = match word {
            Word::Done { output } => (Verdict::Succeeded, "", output),
            Word::Failed { message, output } => (Verdict::Failed, message.as_str(), output),
            Word::Blocked(_) | Word::Moves | Word::Progress { .. } => return Err(refused),
        };
        let Some(told) = self.end_told(about) else {
            return Err(refused);
        };
        let is_same = told.verdict == verdict && told.message == message && told.output == *output;
        match refused {
            Refused::NotRunning | Refused::OtherAttempt if is_same => Ok(()),
            Refused::NotRunning => match about {
                About::Execution(_) | About::Attempt { .. } => Err(Refused::EndedOtherwise),
                // It need not be about that one.
                About::Only => Err(refused),
            },
            Refused::OtherAttempt
            | Refused::WhichAttempt
            | Refused::Which
            | Refused::NotPulled
            | Refused::EndedOtherwise
            | Refused::TooMany => Err(refused),
        }
    }

    /// The newest end in the outbox of what the agent speaks of. Of an attempt that it does not name, where this life had it.
    fn end_told(&self, about: &About) -> Option<&AttemptResult> {
        let living = self.living();
        let is_meant = |attempt: &AttemptId, incarnation| match about {
            About::Only => Some(incarnation) == living,
            About::Execution(execution) => Some(incarnation) == living && attempt.execution == *execution,
            About::Attempt { execution, number } => attempt.execution == *execution && attempt.number == *number,
        };
        self.journal.outbox.iter().rev().find_map(|report| {
            let (attempt, result) = report.fact.finished()?;
            is_meant(attempt, report.incarnation).then_some(result)
        })
    }

    fn take_word(&mut self, attempt: &AttemptId, word: Word) -> Result<(), Refused> {
        let now = self.clock.now.mono;
        let held = self.work.find(attempt).ok_or(Refused::NotRunning)?;
        let Stage::Running(running) = &mut held.stage else {
            return Err(Refused::NotRunning);
        };
        let (verdict, message, output) = match word {
            Word::Blocked(on) => {
                running.clock.stop(Blocker::Attempt, now);
                running.waits = Waits::For(on);
                self.note_whether_blocked();
                return Ok(());
            }
            Word::Moves => {
                self.goes_on(attempt);
                return Ok(());
            }
            Word::Progress { text } => {
                let has_output = running.process.is_some();
                self.goes_on(attempt);
                if !has_output {
                    let attempt = attempt.clone();
                    self.effects.push(Effect::ShowProgress { attempt, text });
                }
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

    fn goes_on(&mut self, attempt: &AttemptId) {
        let now = self.clock.now.mono;
        if let Some(held) = self.work.find(attempt)
            && let Stage::Running(running) = &mut held.stage
        {
            running.clock.go_on(Blocker::Attempt, now);
            running.waits = match running.waits {
                Waits::Unsaid => Waits::Unsaid,
                Waits::For(_) | Waits::NotAnyMore => Waits::NotAnyMore,
            };
        }
        self.moves_on();
    }

    /// What the agent says that it is doing, by its words on what it works on; `None` where it has said nothing of that.
    pub(in super::super) fn said_of_work(&self) -> Option<ActivityState> {
        let waits = self.work.held.iter().filter_map(|held| match &held.stage {
            Stage::Running(running) => Some(running.waits),
            Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Ending(_) => None,
        });
        let states = waits.filter_map(|waits| match waits {
            Waits::Unsaid => None,
            Waits::For(on) => Some(ActivityState::Blocked(on)),
            Waits::NotAnyMore => Some(ActivityState::Busy),
        });
        states.max_by_key(|state| matches!(state, ActivityState::Blocked(_)))
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

/// An attempt on which the agent's word counts. One whose time is over has its verdict.
fn heard(held: &Held) -> Option<(&AttemptId, Delivered)> {
    match &held.stage {
        Stage::Running(running) if running.condemned != Some(EndedBy::MessageTimeout) => {
            Some((&held.id, running.delivered))
        }
        Stage::Left(_) | Stage::Accepted | Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => None,
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
