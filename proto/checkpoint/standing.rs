//! Whether a checkpoint is offered to the next life, and what that life should know of how it came about.

use serde::{Deserialize, Serialize};

use super::CheckpointId;
use crate::execution::{ATTEMPTS_MAX, ExecutionId};
use crate::exit::ExitStatus;

/// Most executions that are named as having been in flight: all that a shim can have.
pub const IN_FLIGHT_MAX: usize = ATTEMPTS_MAX;

/// How an agent's newest checkpoint stands. One that is not open does not open again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// The next life gets it.
    #[default]
    Open,
    /// No life gets it any more.
    Closed(ClosedBy),
    /// Lives that read it have crashed in a row, so that none gets it any more.
    SetAside,
}

/// Why a checkpoint is offered no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClosedBy {
    /// The agent said that its work is done.
    Agent,
    /// The execution that it names as its task has ended.
    Task,
    /// An operator had a life begin without it.
    Fresh,
}

impl Standing {
    /// Whether the next life gets it.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Open => true,
            Self::Closed(_) | Self::SetAside => false,
        }
    }
}

/// How the life ended that saved a checkpoint, or confirmed it, as far as the next one should know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// It ended otherwise than by its own clean exit, or after it had saved when it was asked to: it may have done more
    /// than the checkpoint says.
    pub unclean: bool,
    /// What it had begun then and not finished, each once; at most [`IN_FLIGHT_MAX`].
    pub in_flight: Vec<ExecutionId>,
}

impl Flags {
    /// Of an unclean end. Each execution is named once, and of too many the first.
    pub fn unclean(in_flight: impl IntoIterator<Item = ExecutionId>) -> Self {
        let mut flags = Self {
            unclean: true,
            in_flight: Vec::new(),
        };
        for execution in in_flight {
            if flags.in_flight.len() < IN_FLIGHT_MAX && !flags.in_flight.contains(&execution) {
                flags.in_flight.push(execution);
            }
        }
        flags
    }
}

/// Whether a life that was ended on purpose saved when it was asked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskedSave {
    /// Nobody asked it.
    #[default]
    NotAsked,
    /// It did: this one was durable on its host before its tree was dead.
    Saved(CheckpointId),
    /// It did not.
    NotSaved,
}

/// The signal that nobody can put off (signal(7)).
const SIGKILL: i32 = 9;

impl AskedSave {
    /// Whether who was asked had nothing left to say when it was over, and it ended in this way: it saved, and did not go on
    /// until it was killed.
    pub const fn is_last_word(self, status: ExitStatus) -> bool {
        match (self, status) {
            (Self::Saved(_), ExitStatus::Signaled { signal: SIGKILL, .. }) | (Self::NotAsked | Self::NotSaved, _) => {
                false
            }
            (Self::Saved(_), ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown) => true,
        }
    }
}
