//! One attempt that the shim holds, and its time.

use std::sync::Arc;
use std::time::Duration;

use rekindle::execution::{AttemptId, AttemptPhase};
use rekindle::exit::EndedBy;
use rekindle::process::ProcessIdentity;
use rekindle::time::MonoTime;

use super::super::{End, Phase};
use crate::journal::{JournalAttempt, JournalStage};

/// A verdict that comes so late was held up, by a shim that did not run: what the agent said meanwhile is heard first.
const LATE: Duration = Duration::from_secs(1);

/// An attempt that the shim holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Held {
    pub(super) id: AttemptId,
    /// What the agent is asked to do; empty where an earlier shim has handed it over.
    pub(super) message: Arc<str>,
    /// Time that it has from its start.
    pub(super) timeout: Duration,
    pub(super) stage: Stage,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// An earlier shim left it, and it is not known what became of its processes.
    Left(JournalStage),
    /// It waits for a slot, or for the agent to ask for it.
    Accepted,
    /// Its program is being run.
    Starting { end: Option<End> },
    /// The agent works on it.
    Running(Running),
    /// Its own processes are being ended.
    Ending(EndingAttempt),
}

/// What is known of an attempt that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    /// `None` where the life's process works on it.
    pub(super) process: Option<ProcessIdentity>,
    pub(super) since: MonoTime,
    pub(super) clock: Clock,
    /// Why the life's process is ended because of it.
    pub(super) condemned: Option<EndedBy>,
}

/// An attempt whose own processes are being ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndingAttempt {
    pub(super) running: Running,
    pub(super) by: EndedBy,
    pub(super) died: Option<MonoTime>,
    pub(super) phase: Phase,
}

/// The time that an attempt has. It stands still while the agent is blocked, for as long as that may last in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clock {
    /// When it is over, if the agent is not blocked.
    until: MonoTime,
    blocked: Option<MonoTime>,
    /// How much longer it may stand still.
    patience: Duration,
}

impl Clock {
    pub(super) fn starts(now: MonoTime, timeout: Duration, blocked_limit: Duration) -> Self {
        Self {
            until: now.saturating_add(timeout),
            blocked: None,
            patience: blocked_limit,
        }
    }

    pub(super) fn stop(&mut self, now: MonoTime) {
        self.blocked.get_or_insert(now);
    }

    pub(super) fn go_on(&mut self, now: MonoTime) {
        if let Some(since) = self.blocked.take() {
            let stood = now.saturating_since(since).min(self.patience);
            self.patience -= stood;
            self.until = self.until.saturating_add(stood);
        }
    }

    /// When it is over, if the agent stays as it is.
    pub(super) fn deadline(&self) -> MonoTime {
        match self.blocked {
            Some(_) => self.until.saturating_add(self.patience),
            None => self.until,
        }
    }

    /// Whether it is over. One that is looked at late goes on for a moment.
    pub(super) fn is_over(&mut self, now: MonoTime) -> bool {
        let deadline = self.deadline();
        if deadline.saturating_add(LATE) <= now {
            self.blocked = None;
            self.until = now.saturating_add(LATE / 2);
            return false;
        }
        deadline <= now
    }
}

impl Held {
    /// As the server is told.
    pub(super) const fn phase(&self) -> AttemptPhase {
        match &self.stage {
            Stage::Left(JournalStage::Accepted) | Stage::Accepted | Stage::Starting { end: None } => {
                AttemptPhase::Accepted
            }
            Stage::Running(Running { condemned: None, .. }) => AttemptPhase::Running,
            Stage::Left(JournalStage::Begun { .. })
            | Stage::Starting { end: Some(_) }
            | Stage::Running(_)
            | Stage::Ending(_) => AttemptPhase::Ending,
        }
    }

    /// As it is written down, `now` by the clock that goes on in suspend being `since_boot`.
    pub(super) fn written(&self, now: MonoTime, since_boot: Duration) -> JournalAttempt {
        let stage = match &self.stage {
            Stage::Left(stage) => *stage,
            Stage::Accepted => JournalStage::Accepted,
            Stage::Starting { .. } | Stage::Ending(_) => JournalStage::Begun { deadline: None },
            Stage::Running(running) => JournalStage::Begun {
                deadline: Some(since_boot + running.clock.deadline().saturating_since(now)),
            },
        };
        JournalAttempt {
            attempt: self.id.clone(),
            stage,
        }
    }

    /// Whether it takes a slot.
    pub(super) const fn has_begun(&self) -> bool {
        match &self.stage {
            Stage::Accepted => false,
            Stage::Left(stage) => stage.has_begun(),
            Stage::Starting { .. } | Stage::Running(_) | Stage::Ending(_) => true,
        }
    }
}
