//! One attempt that the shim holds, and its time.

use std::sync::Arc;
use std::time::Duration;

use rekindle::activity::BlockedOn;
use rekindle::execution::{AttemptId, AttemptPhase};
use rekindle::exit::EndedBy;
use rekindle::id::ReportSequence;
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle::time::MonoTime;

use super::super::{End, Phase};
use super::given::Delivered;
use crate::journal::{Blockers, JournalAttempt, JournalClock, JournalStage};

/// A verdict that comes so late was held up, by a shim that did not run: what the agent said meanwhile is heard first.
const LATE: Duration = Duration::from_secs(1);

/// Shortest time that an attempt has under a shim that has come up beside its agent: who waits to say that it is done, as
/// `rekindle self` does, finds the socket again meanwhile.
const COME_BACK: Duration = Duration::from_secs(5);

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
    Starting { end: Option<End>, delivered: Delivered },
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
    pub(super) delivered: Delivered,
    pub(super) waits: Waits,
}

/// Whether the agent says of an attempt that it waits for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    Unsaid,
    For(BlockedOn),
    NotAnyMore,
}

/// An attempt whose own processes are being ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndingAttempt {
    pub(super) running: Running,
    pub(super) by: EndedBy,
    pub(super) died: Option<MonoTime>,
    pub(super) phase: Phase,
    /// Who of it outlived the newest SIGKILL, once that is known.
    pub(super) stuck: Vec<Survivor>,
    /// Who of it outlives SIGKILL, as was last told, and by which report.
    pub(super) survivors_told: Option<(ReportSequence, Vec<Survivor>)>,
}

/// The time that an attempt has. It stands still while the agent is blocked, for as long as that may last in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clock {
    /// When it is over, if it stands still no longer.
    until: MonoTime,
    /// Since when it stands still, and by whose word.
    blocked: Option<(MonoTime, Blockers)>,
    /// How much longer it may stand still.
    patience: Duration,
    looked: Looked,
}

/// Whose word has a clock stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocker {
    /// What the agent says of this attempt.
    Attempt,
    /// What it says of itself.
    Agent,
}

/// Whether a look came so late that the verdict was put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    InTime,
    Late,
}

impl Clock {
    pub(super) fn starts(now: MonoTime, timeout: Duration, blocked_limit: Duration) -> Self {
        Self {
            until: now.saturating_add(timeout),
            blocked: None,
            patience: blocked_limit,
            looked: Looked::InTime,
        }
    }

    /// As an earlier shim left it. Who waits to say that it is done has a moment to come back.
    pub(super) fn adopted(left: JournalClock, now: MonoTime) -> Self {
        let at = |since_boot: Duration| MonoTime::START.saturating_add(since_boot);
        let mut clock = Self {
            until: at(left.until),
            blocked: left.blocked.map(|since| (at(since), left.blockers)),
            patience: left.patience,
            looked: Looked::InTime,
        };
        let lacks = now.saturating_add(COME_BACK).saturating_since(clock.deadline());
        clock.until = clock.until.saturating_add(lacks);
        clock
    }

    /// As it is written down, of an attempt that waits for these, if it does.
    pub(super) fn written(&self, waits: Waits) -> JournalClock {
        let since_boot = |at: MonoTime| Duration::from_nanos(at.as_nanos());
        JournalClock {
            until: since_boot(self.until),
            blocked: self.blocked.map(|(since, _)| since_boot(since)),
            blockers: self.blocked.map(|(_, blockers)| blockers).unwrap_or_default(),
            on: match waits {
                Waits::For(on) => Some(on),
                Waits::Unsaid | Waits::NotAnyMore => None,
            },
            patience: self.patience,
        }
    }

    pub(super) fn stop(&mut self, by: Blocker, now: MonoTime) {
        self.blocked = Some(match self.blocked {
            Some((since, blockers)) => (since, blockers.and(by)),
            None => (now, by.alone()),
        });
    }

    pub(super) fn go_on(&mut self, by: Blocker, now: MonoTime) {
        let Some((since, blockers)) = self.blocked else {
            return;
        };
        self.blocked = blockers.without(by).map(|left| (since, left));
        if self.blocked.is_none() {
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

    /// Whether it is over. The first time that it is looked at late it goes on for a moment.
    pub(super) fn is_over(&mut self, now: MonoTime) -> bool {
        let deadline = self.deadline();
        if deadline.saturating_add(LATE) <= now && self.looked == Looked::InTime {
            if self.blocked.take().is_some() {
                self.patience = Duration::ZERO;
            }
            self.until = now.saturating_add(LATE / 2);
            self.looked = Looked::Late;
            return false;
        }
        deadline <= now
    }
}

impl Blocker {
    const fn alone(self) -> Blockers {
        match self {
            Self::Attempt => Blockers::Attempt,
            Self::Agent => Blockers::Agent,
        }
    }
}

impl Blockers {
    const fn and(self, other: Blocker) -> Self {
        match (self, other) {
            (Self::Attempt, Blocker::Attempt) => Self::Attempt,
            (Self::Agent, Blocker::Agent) => Self::Agent,
            (Self::Attempt, Blocker::Agent) | (Self::Agent, Blocker::Attempt) | (Self::Both, _) => Self::Both,
        }
    }

    const fn without(self, gone: Blocker) -> Option<Self> {
        match (self, gone) {
            (Self::Attempt, Blocker::Attempt) | (Self::Agent, Blocker::Agent) => None,
            (Self::Attempt, Blocker::Agent) | (Self::Both, Blocker::Agent) => Some(Self::Attempt),
            (Self::Agent, Blocker::Attempt) | (Self::Both, Blocker::Attempt) => Some(Self::Agent),
        }
    }
}

impl Held {
    /// As the server is told.
    pub(super) const fn phase(&self) -> AttemptPhase {
        match &self.stage {
            Stage::Left(JournalStage::Accepted) | Stage::Accepted | Stage::Starting { end: None, .. } => {
                AttemptPhase::Accepted
            }
            Stage::Running(Running { condemned: None, .. }) => AttemptPhase::Running,
            Stage::Left(JournalStage::Begun { .. })
            | Stage::Starting { end: Some(_), .. }
            | Stage::Running(_)
            | Stage::Ending(_) => AttemptPhase::Ending,
        }
    }

    /// As it is written down.
    pub(super) fn written(&self) -> JournalAttempt {
        let stage = match &self.stage {
            Stage::Left(stage) => *stage,
            Stage::Accepted => JournalStage::Accepted,
            Stage::Starting { .. } | Stage::Ending(_) => JournalStage::Begun { clock: None },
            Stage::Running(running) => JournalStage::Begun {
                clock: running.process.is_none().then(|| running.clock.written(running.waits)),
            },
        };
        JournalAttempt {
            attempt: self.id.clone(),
            stage,
        }
    }

    /// Whether all that is left of it is known to outlive SIGKILL, or nothing of it was ever there.
    pub(super) const fn is_stuck(&self) -> bool {
        match &self.stage {
            Stage::Ending(ending) => !ending.stuck.is_empty(),
            Stage::Accepted => true,
            Stage::Left(_) | Stage::Starting { .. } | Stage::Running(_) => false,
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
