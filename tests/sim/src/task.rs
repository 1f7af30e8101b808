//! Tasks: every attempt at an execution that truly began, and what truly became of it.

use std::sync::Arc;
use std::time::Duration;

use rekindle::execution::{AttemptId, Output};
use rekindle::exit::ExitStatus;
use rekindle::id::{AgentId, Incarnation};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_shim_core::RequestNumber;

use crate::queue::{HostIx, Life, ShimIx, TaskIx, Uid};

/// One attempt, as the agent has it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) agent: AgentId,
    pub(crate) attempt: AttemptId,
    pub(crate) shim: ShimIx,
    /// Of the shim, as it gave it.
    pub(crate) shim_life: Life,
    pub(crate) host: HostIx,
    pub(crate) incarnation: Incarnation,
    pub(crate) timeout: Duration,
    pub(crate) stage: TaskStage,
    /// Time that it may have on top, as it was blocked.
    pub(crate) extra: Duration,
}

/// How far a task truly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskStage {
    /// Its program is about to be run.
    Starting,
    /// Somebody works on it.
    Works { began: Duration, worker: Uid },
    /// It is over.
    Over { began: Option<Duration>, how: TaskEnd },
}

/// How a task truly ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskEnd {
    /// Its program could not be run.
    NeverRan,
    /// Its own process ended like this.
    Died(ExitStatus),
    /// The agent said so, and may or may not have been heard.
    Said(Word),
    /// The agent was gone with it.
    Forsaken,
}

/// What an agent says of a task that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Done,
    Failed,
}

/// What an agent says of a task that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    Yes,
    NotAnyMore,
}

impl Task {
    /// Whether it is one of this execution.
    pub(crate) fn is_of(&self, record: &ExecutionRecord) -> bool {
        self.agent == record.agent && self.attempt.execution == record.id && self.attempt.uid == record.uid
    }

    /// Who works on it.
    pub(crate) const fn worker(&self) -> Option<Uid> {
        match self.stage {
            TaskStage::Works { worker, .. } => Some(worker),
            TaskStage::Starting | TaskStage::Over { .. } => None,
        }
    }

    /// When it truly began.
    pub(crate) const fn began(&self) -> Option<Duration> {
        match self.stage {
            TaskStage::Starting => None,
            TaskStage::Works { began, .. } => Some(began),
            TaskStage::Over { began, .. } => began,
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        match self.stage {
            TaskStage::Over { .. } => true,
            TaskStage::Starting | TaskStage::Works { .. } => false,
        }
    }

    /// It is over, if it was not before.
    pub(crate) fn ends(&mut self, how: TaskEnd) {
        if !self.is_over() {
            let began = self.began();
            self.stage = TaskStage::Over { began, how };
        }
    }

    /// What somebody who works on it writes.
    pub(crate) fn output(attempt: &AttemptId) -> Output {
        Output {
            text: Arc::from(format!("result of {attempt} of {}", attempt.uid)),
            dropped: 0,
        }
    }
}

/// One of the hands with which an agent takes its work itself.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) host: HostIx,
    pub(crate) shim: ShimIx,
    /// The agent's process.
    pub(crate) agent: Uid,
    pub(crate) doing: Doing,
}

/// What a hand does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Nothing,
    /// It has asked for work.
    Asks(RequestNumber),
    Works(TaskIx),
    /// It has said how that ended, and waits for the answer.
    Says(RequestNumber, TaskIx, Word),
}
