//! What a shim tells of an attempt, and what follows from it.

use rekindle::execution::{AttemptId, AttemptResult, ExecutionId, ExecutionState, Verdict};
use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus};
use rekindle::id::{AgentId, Incarnation, ReportSequence};
use rekindle::policy::InterruptPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle::state::FailureCause;
use rekindle::time::Timestamp;

use super::super::step::{Attributes, Step, attributes};
use super::cancel::because;
use super::inventory::{Stray, UNKNOWN};
use super::with_attempt;
use crate::event::EventKind;
use crate::execution::{AttemptProcess, Ending, ExecutionRecord, OutputSize};
use crate::record::{Failure, Record};

/// What a shim tells of an attempt.
pub(in super::super) enum Attempt {
    Accepted,
    Started(Option<ProcessIdentity>),
    Survived(Vec<Survivor>),
    Finished(Box<AttemptResult>),
}

/// Whether an end is one that was not heard before, of an attempt that counts or that waits for another go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    No,
    Yes,
}

/// What becomes of an execution whose attempt is over.
enum Next {
    /// It is over.
    Over(ExecutionState, Option<FailureCause>),
    /// It is given again; the attempt counts.
    Again(&'static str),
    /// It is given again; the attempt does not count, as it did not begin.
    NotBegun,
}

impl Step<'_> {
    /// Applies what a shim tells of an attempt of its agent, by a report of this number. What is told of another delivery
    /// than the newest is old, and what is told of one that is over is known, but for the true end of one that was called
    /// LOST. What is told of an execution that waits, of a delivery that it has not had, is about its newest one: the
    /// store was set back to before that.
    pub(in super::super) fn attempted(
        &mut self,
        agent: &AgentId,
        (incarnation, sequence): (Incarnation, ReportSequence),
        attempt: &AttemptId,
        told: Attempt,
    ) {
        let attempt = &self.work(agent).named(attempt.clone());
        if is_of_one_that_began(&told) && self.work(agent).stray(attempt) == Stray::Ahead {
            let before = ReportSequence::new(sequence.get().saturating_sub(1));
            self.adopt(agent, attempt, before);
        }
        let holder = self.record(agent).holder.as_ref().map(|holder| holder.marker);
        let known = self.work(agent).find_tried(attempt);
        let of_newest = known.filter(|record| {
            let given = record.given_to.as_ref();
            given.is_some_and(|given| Some(given.marker) == holder && sequence > given.after)
        });
        let is_open = of_newest.is_some_and(|record| is_open_to(record, attempt, &told));
        let waits = |record: &ExecutionRecord| {
            record.state == ExecutionState::Queued && record.newest() == *attempt && record.attempt > 0
        };
        let news = match of_newest {
            Some(record) if is_open || waits(record) => News::Yes,
            Some(_) | None => News::No,
        };
        if let Attempt::Finished(result) = &told {
            self.work(agent).is_gone(attempt);
            if !is_open {
                self.pass_over(agent, attempt, result, news);
            }
            if news == News::Yes
                && let Some(given) = &mut self.edit_execution(agent, &attempt.execution).given_to
            {
                // Told again, it is known also where the execution waits for its next attempt, or for another go at this one.
                given.after = sequence;
            }
        }
        if !is_open {
            return;
        }
        let (id, time) = (&attempt.execution, self.seen());
        match told {
            Attempt::Accepted => self.attempt_accepted(agent, id, time),
            Attempt::Started(process) => self.attempt_started(agent, id, incarnation, time, process),
            Attempt::Survived(survivors) => self.attempt_survived(agent, id, incarnation, time, survivors),
            Attempt::Finished(result) => self.attempt_finished(agent, id, incarnation, time, *result),
        }
    }

    pub(super) fn attempt_accepted(&mut self, agent: &AgentId, id: &ExecutionId, time: Timestamp) {
        if self.execution(agent, id).state != ExecutionState::Dispatched {
            return;
        }
        self.edit_execution(agent, id).times.accepted = Some(time);
        let message = "in the shim's keeping";
        self.enter_execution(agent, id, ExecutionState::Accepted, message, Attributes::new());
        match self.execution(agent, id).ending {
            Some(Ending::Cancelled { grace, .. }) => self.await_end_of(agent, id, grace),
            Some(Ending::Interrupted(_) | Ending::OutOfTime) | None => {
                let at = self.work(agent).start_by(id);
                self.set_execution_due(agent, id, at);
            }
        }
    }

    pub(super) fn attempt_started(
        &mut self,
        agent: &AgentId,
        id: &ExecutionId,
        incarnation: Incarnation,
        time: Timestamp,
        process: Option<ProcessIdentity>,
    ) {
        match self.execution(agent, id).state {
            ExecutionState::Dispatched | ExecutionState::Accepted => {}
            ExecutionState::Queued
            | ExecutionState::Running
            | ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::Cancelled
            | ExecutionState::TimedOut
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => return,
        }
        let host = self.host_name(agent);
        let mut details = Attributes::new();
        let mut message = "the agent works on it".to_owned();
        if let Some(identity) = &process {
            details = attributes([("pid", &identity.pid), ("host", &host)]);
            message = format!("runs as pid {} on {host}", identity.pid);
        }
        let record = self.edit_execution(agent, id);
        record.times.started = Some(time);
        record.process = process.map(|identity| AttemptProcess {
            incarnation,
            identity,
            host,
        });
        self.enter_execution(agent, id, ExecutionState::Running, message, details);
        self.watch_begun(agent, id);
    }

    /// A result that changes nothing. It is acknowledged as any other, or the reports behind it would never be heard; where
    /// something is lost with it that nobody knows from elsewhere, an event keeps what it said.
    fn pass_over(&mut self, agent: &AgentId, attempt: &AttemptId, result: &AttemptResult, news: News) {
        let bytes = result.output.text.len();
        let verdict = match result.verdict {
            Verdict::Succeeded => "succeeded",
            Verdict::Failed => "failed",
            Verdict::SpawnFailed => "could not be started",
            Verdict::TimedOut => "ran past its time",
            // That it did not end by itself is no news; what it wrote until then is.
            Verdict::Cancelled | Verdict::Interrupted | Verdict::NotBegun if bytes == 0 => return,
            Verdict::Cancelled => "was ended",
            Verdict::Interrupted => "was interrupted",
            Verdict::NotBegun => "did not begin",
        };
        let AttemptId { execution, uid, number } = attempt;
        let why = match self.work(agent).find(execution) {
            None => UNKNOWN,
            Some(record) if record.uid != *uid => "another execution has its name since",
            Some(record) if *number > record.attempt => "the server's records know only of earlier ones",
            Some(record) if *number < record.attempt => "its execution was given again before that was heard",
            Some(record) if record.state == ExecutionState::Cancelled => {
                "it counts as cancelled since before that was heard"
            }
            Some(_) if news == News::Yes => "its execution waits to be given again since before that was heard",
            // Told again.
            Some(_) => return,
        };
        let incarnation = self.record(agent).incarnation;
        let mut details = attributes([("attempt", number), ("verdict", &verdict), ("output_bytes", &bytes)]);
        details.extend(self.lateness());
        self.execution_event(
            EventKind::ExecutionDisowned,
            (agent, execution),
            incarnation,
            format!("attempt {number} {verdict}, and its result is dropped: {why}"),
            details,
        );
    }

    /// It is as it was, and keeps its slot: who must act is told.
    fn attempt_survived(
        &mut self,
        agent: &AgentId,
        id: &ExecutionId,
        incarnation: Incarnation,
        time: Timestamp,
        survivors: Vec<Survivor>,
    ) {
        let named: Vec<String> = survivors.iter().map(ToString::to_string).collect();
        let message = format!(
            "SIGKILL did not end {}; its slot is held until they are dead",
            named.join(", ")
        );
        let record = self.edit_execution(agent, id);
        record.failure = Some(Failure {
            cause: FailureCause::Survivors,
            message: message.clone(),
            time,
            incarnation,
            evidence: None,
            survivors,
        });
        let details = with_attempt(attributes([("survivors", &named.len())]), record.attempt);
        self.execution_event(
            EventKind::ExecutionQuarantined,
            (agent, id),
            incarnation,
            message,
            details,
        );
    }

    fn attempt_finished(
        &mut self,
        agent: &AgentId,
        id: &ExecutionId,
        incarnation: Incarnation,
        time: Timestamp,
        result: AttemptResult,
    ) {
        let deliveries = self.record(agent).policy.max_deliveries;
        let record = self.execution(agent, id);
        let next = what_next(record, deliveries, &result);
        let AttemptResult {
            message,
            evidence,
            output,
            ..
        } = result;
        let reason = record.ending.as_ref().map_or("", Ending::reason);
        let text = format!("{}{}", in_words(&next, &message, evidence.as_deref()), because(reason));
        let kept = output.text.len() as u64;
        if kept > 0 || record.output.kept > 0 {
            self.persist(Record::ExecutionOutput {
                agent: agent.clone(),
                id: id.clone(),
                text: output.text,
            });
        }
        let record = self.edit_execution(agent, id);
        record.process = None;
        record.output = OutputSize {
            kept,
            dropped: output.dropped,
        };
        match next {
            Next::Over(state, cause) => {
                let failure = cause.map(|cause| Failure {
                    cause,
                    message: text.clone(),
                    time,
                    incarnation,
                    evidence: evidence.map(|evidence| *evidence),
                    survivors: Vec::new(),
                });
                let record = self.edit_execution(agent, id);
                record.failure = failure;
                record.times.ended = Some(time);
                let details = match cause {
                    Some(cause) => attributes([("cause", &cause), ("output_bytes", &kept)]),
                    None => attributes([("output_bytes", &kept)]),
                };
                self.enter_execution(agent, id, state, text, details);
            }
            Next::Again(_) => {
                // Told until the next attempt begins.
                self.edit_execution(agent, id).failure = Some(Failure {
                    cause: FailureCause::Interrupted,
                    message: text.clone(),
                    time,
                    incarnation,
                    evidence: evidence.map(|evidence| *evidence),
                    survivors: Vec::new(),
                });
                self.give_again(agent, id, &format!("{text}; it is given again"));
            }
            Next::NotBegun => {
                self.take_back(agent, id);
                self.give_again(agent, id, "given back before it began");
            }
        }
    }

    /// An attempt that an operator wanted ended, and that is not there: that is for good, as the operator is told so.
    pub(super) fn cancelled_unseen(&mut self, agent: &AgentId, id: &ExecutionId, ending: &Ending) {
        let reason = because(ending.reason());
        let message = format!("its end was asked for, and its shim does not have it{reason}");
        self.edit_execution(agent, id).failure = None;
        self.enter_execution(agent, id, ExecutionState::Cancelled, message, Attributes::new());
    }

    /// The newest attempt did not begin, and does not count: the one before is the newest again.
    pub(super) fn take_back(&mut self, agent: &AgentId, id: &ExecutionId) {
        let record = self.edit_execution(agent, id);
        record.attempt -= 1;
        record.given_to = record.given_before.take();
    }

    /// Puts an execution back into its place in the queue.
    pub(super) fn give_again(&mut self, agent: &AgentId, id: &ExecutionId, message: &str) {
        let record = self.edit_execution(agent, id);
        record.ending = None;
        record.process = None;
        self.enter_execution(agent, id, ExecutionState::Queued, message, Attributes::new());
        let at = self.work(agent).start_by(id);
        // Of an attempt that counts it is taken that it has begun, and in time.
        let waits = self.execution(agent, id).attempt == 0;
        match at.filter(|_| waits) {
            Some(at) if at <= self.now.mono => self.not_started(agent, id),
            at => self.set_execution_due(agent, id, at),
        }
    }

    fn host_name(&self, agent: &AgentId) -> String {
        let holder = self.record(agent).holder.as_ref();
        holder.map_or_else(String::new, |holder| holder.host.name.clone())
    }
}

/// Whether it tells of an attempt that has, or may have, begun.
fn is_of_one_that_began(told: &Attempt) -> bool {
    match told {
        Attempt::Accepted => false,
        Attempt::Started(_) | Attempt::Survived(_) => true,
        Attempt::Finished(result) => match result.verdict {
            Verdict::NotBegun => false,
            Verdict::Succeeded
            | Verdict::Failed
            | Verdict::SpawnFailed
            | Verdict::TimedOut
            | Verdict::Cancelled
            | Verdict::Interrupted => true,
        },
    }
}

fn is_open_to(record: &ExecutionRecord, attempt: &AttemptId, told: &Attempt) -> bool {
    let lost = match told {
        Attempt::Accepted | Attempt::Started(_) | Attempt::Survived(_) => false,
        Attempt::Finished(result) => match result.verdict {
            // That it was ended or never begun says no more than that it is lost.
            Verdict::Interrupted | Verdict::NotBegun => false,
            // One that waits is wanted: the order that ended it is carried out by that.
            Verdict::Cancelled => record.state == ExecutionState::Lost,
            Verdict::Succeeded | Verdict::Failed | Verdict::SpawnFailed | Verdict::TimedOut => {
                record.state == ExecutionState::Lost
                    // Called lost, and not given to anybody since.
                    || record.state == ExecutionState::Queued && record.attempt > 0
            }
        },
    };
    attempt.number == record.attempt && (record.state.is_held() || lost)
}

fn what_next(record: &ExecutionRecord, deliveries: u32, result: &AttemptResult) -> Next {
    let cancelled = Next::Over(ExecutionState::Cancelled, None);
    let timed_out = |cause| Next::Over(ExecutionState::TimedOut, Some(cause));
    let asked_for = match &record.ending {
        None => None,
        Some(Ending::Cancelled { .. } | Ending::Interrupted(InterruptPolicy::Cancel)) => Some(cancelled),
        Some(Ending::Interrupted(InterruptPolicy::Requeue)) => Some(Next::Again("interrupted by an operator")),
        Some(Ending::OutOfTime) => Some(timed_out(FailureCause::MessageTimeout)),
    };
    match result.verdict {
        Verdict::Succeeded => Next::Over(ExecutionState::Succeeded, None),
        Verdict::Failed => Next::Over(ExecutionState::Failed, Some(cause(result.evidence.as_deref()))),
        Verdict::SpawnFailed => Next::Over(ExecutionState::Failed, Some(FailureCause::SpawnFailed)),
        Verdict::TimedOut => timed_out(FailureCause::MessageTimeout),
        Verdict::Cancelled => asked_for.unwrap_or(Next::Over(ExecutionState::Cancelled, None)),
        Verdict::Interrupted => match asked_for {
            Some(next) => next,
            None if record.attempt < deliveries => Next::Again("the agent died with it"),
            None => Next::Over(ExecutionState::DeadLetter, Some(FailureCause::Interrupted)),
        },
        Verdict::NotBegun => match &record.ending {
            Some(Ending::Cancelled { .. } | Ending::OutOfTime) => asked_for.unwrap_or(Next::NotBegun),
            // What had not begun counts as queued, and stays so.
            Some(Ending::Interrupted(_)) | None => Next::NotBegun,
        },
    }
}

fn cause(evidence: Option<&ExitEvidence>) -> FailureCause {
    match evidence {
        Some(evidence) if evidence.oom_killed => FailureCause::OomKilled,
        Some(ExitEvidence {
            status: ExitStatus::Signaled { .. },
            ended_by: EndedBy::Itself,
            ..
        }) => FailureCause::Signaled,
        Some(_) => FailureCause::Exited,
        None => FailureCause::Reported,
    }
}

fn in_words(next: &Next, message: &str, evidence: Option<&ExitEvidence>) -> String {
    let said = match evidence {
        Some(evidence) => format!("its process {}", evidence.status),
        None if message.is_empty() => String::new(),
        None => message.lines().next().unwrap_or_default().to_owned(),
    };
    let what = match next {
        Next::Over(ExecutionState::Succeeded, _) => "done",
        Next::Over(ExecutionState::Cancelled, _) => "ended, as somebody asked for it",
        Next::Over(ExecutionState::TimedOut, Some(FailureCause::QueueTimeout)) => "it did not start in time",
        Next::Over(ExecutionState::TimedOut, _) => "it ran past its time, and was ended",
        Next::Over(ExecutionState::DeadLetter, _) => "the agent died with it, as often as its policy allows",
        Next::Over(
            ExecutionState::Failed
            | ExecutionState::Lost
            | ExecutionState::Queued
            | ExecutionState::Dispatched
            | ExecutionState::Accepted
            | ExecutionState::Running,
            _,
        ) => "failed",
        Next::Again(why) => why,
        Next::NotBegun => "it did not begin",
    };
    if said.is_empty() {
        what.to_owned()
    } else if let Next::Over(ExecutionState::Failed, _) = next {
        said
    } else {
        format!("{what}: {said}")
    }
}
