//! Work: the words that its scenarios are told in.

mod cancels;
mod delivery;
mod messages;
mod namesakes;
mod retention;
mod setbacks;
mod slots;
mod survivors;
mod times;
mod verdicts;

use rekindle::execution::{
    AttemptId, AttemptPhase, AttemptResult, Delivery, ExecutionId, ExecutionState, HeldAttempt, Output, Verdict,
};
use rekindle::policy::InterruptPolicy;
use rekindle::session::EndWhen;
use rekindle::state::FailureCause;

use super::*;
use crate::effect::{CancelOutcome, ExecutionError};
use crate::execution::ExecutionRecord;
use crate::input::{CancelExecution, CreateExecution};

pub(super) fn id(id: &str) -> ExecutionId {
    ExecutionId::new(id).expect("valid")
}

pub(super) fn agent() -> AgentId {
    AgentId::new("a").expect("valid")
}

pub(super) fn result(verdict: Verdict) -> ReportFactOf {
    ReportFactOf(verdict, "")
}

/// An end of an attempt, with the text that it wrote.
#[derive(Clone, Copy)]
pub(super) struct ReportFactOf(pub(super) Verdict, pub(super) &'static str);

impl ReportFactOf {
    pub(super) fn of(self, attempt: AttemptId) -> ReportFact {
        let result = AttemptResult {
            verdict: self.0,
            message: String::new(),
            evidence: None,
            output: Output {
                text: self.1.into(),
                dropped: 0,
            },
        };
        ReportFact::AttemptFinished(attempt, Box::new(result))
    }
}

pub(super) fn worker(change: impl FnOnce(&mut PolicyFields)) -> Hello {
    Hello {
        delivery: Delivery::PerMessage,
        policy: policy(change),
        ..hello("a", 1)
    }
}

impl World {
    /// A ready agent that takes messages, of a server whose adoption window is over.
    pub(super) fn at_work(change: impl FnOnce(&mut PolicyFields)) -> Self {
        let mut world = Self::new();
        world.connect(worker(change));
        world.spawn(1);
        world.pass(60);
        world.told();
        world.commands();
        world
    }

    pub(super) fn send(&mut self, execution: &str) -> Option<Result<(), ExecutionError>> {
        self.send_with(execution, |_| ())
    }

    pub(super) fn send_with(
        &mut self,
        execution: &str,
        change: impl FnOnce(&mut CreateExecution),
    ) -> Option<Result<(), ExecutionError>> {
        let mut create = CreateExecution {
            agent: agent(),
            id: Some(id(execution)),
            message: "do".into(),
            timeout: None,
            schedule_to_start: None,
            priority: 0,
            request_id: None,
            redrive_of: None,
        };
        change(&mut create);
        let call = self.request(Request::CreateExecution(Box::new(create)));
        self.answered(call, |answer| match answer {
            Answer::Execution(answer) => Some(answer.clone().map(drop)),
            Answer::Operation(_)
            | Answer::Updated(_)
            | Answer::CheckpointDeleted(_)
            | Answer::Deleted(_)
            | Answer::Signalled(_)
            | Answer::Cancelled(_)
            | Answer::Workflow(_)
            | Answer::WorkflowDeleted(_)
            | Answer::Triggered(_) => None,
        })
    }

    pub(super) fn cancel(&mut self, execution: &str) -> CallId {
        self.request(Request::CancelExecution(CancelExecution {
            agent: agent(),
            id: id(execution),
            reason: String::new(),
            grace: None,
        }))
    }

    fn cancelled(&self, call: CallId) -> Option<CancelOutcome> {
        self.answered(call, |answer| match answer {
            Answer::Cancelled(answer) => answer.as_ref().ok().map(|answer| answer.outcome),
            Answer::Operation(_)
            | Answer::Updated(_)
            | Answer::CheckpointDeleted(_)
            | Answer::Deleted(_)
            | Answer::Signalled(_)
            | Answer::Execution(_)
            | Answer::Workflow(_)
            | Answer::WorkflowDeleted(_)
            | Answer::Triggered(_) => None,
        })
    }

    fn answered<T>(&self, call: CallId, pick: impl Fn(&Answer) -> Option<T>) -> Option<T> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Reply { call: other, answer } if *other == call => pick(answer),
            Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::CheckpointKept { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        })
    }

    pub(super) fn execution(&self, execution: &str) -> &ExecutionRecord {
        let execution = id(execution);
        let mut all = self.machine.executions();
        all.find(|record| record.id == execution).expect("it is kept")
    }

    pub(super) fn is(&self, execution: &str) -> ExecutionState {
        self.execution(execution).state
    }

    /// What was dispatched since it was last asked.
    pub(super) fn dispatched(&mut self) -> Vec<String> {
        let (given, rest) = std::mem::take(&mut self.effects)
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Dispatch { .. }));
        self.effects = rest;
        let given: Vec<Effect> = given;
        given
            .iter()
            .filter_map(|effect| match effect {
                Effect::Dispatch { attempt, .. } => Some(attempt.to_string()),
                Effect::Welcome { .. }
                | Effect::Refuse { .. }
                | Effect::Disconnect { .. }
                | Effect::Acknowledge { .. }
                | Effect::CheckpointKept { .. }
                | Effect::Command { .. }
                | Effect::Reply { .. } => None,
            })
            .collect()
    }

    /// An attempt at the execution that a shim was last given under this name.
    pub(super) fn attempt(&self, execution: &str, number: u32) -> AttemptId {
        let execution = id(execution);
        let uid = self.given.get(&execution).copied().unwrap_or(ExecutionUid::UNKNOWN);
        AttemptId { execution, uid, number }
    }

    pub(super) fn accept(&mut self, execution: &str, number: u32) {
        let attempt = self.attempt(execution, number);
        self.report(1, ReportFact::AttemptAccepted(attempt));
    }

    pub(super) fn start(&mut self, execution: &str, number: u32) {
        self.accept(execution, number);
        let attempt = self.attempt(execution, number);
        self.report(1, ReportFact::AttemptStarted(attempt, None));
    }

    pub(super) fn finish(&mut self, execution: &str, number: u32, end: ReportFactOf) {
        let attempt = self.attempt(execution, number);
        self.report(1, end.of(attempt));
    }

    /// The same shim says hello again, with these attempts.
    pub(super) fn back_with(&mut self, held: &[(&str, u32, AttemptPhase)]) {
        self.disconnect();
        self.back_with_reports(held, Vec::new());
    }

    pub(super) fn back_with_reports(&mut self, held: &[(&str, u32, AttemptPhase)], reports: Vec<Report>) {
        let attempts = held.iter().map(|(execution, number, phase)| HeldAttempt {
            attempt: self.attempt(execution, *number),
            phase: *phase,
        });
        let inventory = Inventory {
            last_incarnation: Incarnation::new(1),
            child: Some(self.child(1)),
            attempts: attempts.collect(),
            reports,
            ..Inventory::default()
        };
        let policy = self.agent().policy.clone();
        let same = Hello {
            policy,
            ..worker(|_| ())
        };
        self.connect_with(same, inventory);
    }

    pub(super) fn ends(&mut self) -> Vec<String> {
        self.commands()
            .into_iter()
            .filter_map(|command| match command {
                Command::EndAttempt { attempt, when, .. } => Some(match when {
                    EndWhen::Now => attempt.to_string(),
                    EndWhen::Overdue => format!("{attempt} if overdue"),
                    EndWhen::NotBegun => format!("{attempt} if not begun"),
                }),
                Command::Run { .. }
                | Command::Stop { .. }
                | Command::Signal { .. }
                | Command::SetPolicy(_)
                | Command::Charge(_)
                | Command::Dispatch(_) => None,
            })
            .collect()
    }
}
