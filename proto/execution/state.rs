//! How far an execution is, and how its message reaches the agent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExecutionState {
    /// It waits for a slot.
    Queued,
    /// Sent to the shim.
    Dispatched,
    /// In the shim's keeping, and not begun.
    Accepted,
    /// The agent works on it.
    Running,
    /// Done.
    Succeeded,
    /// The agent failed at it.
    Failed,
    /// An operator ended it.
    Cancelled,
    /// Its time was over.
    TimedOut,
    /// Nobody can say how it ended. Provisional: a true result of the same attempt replaces it.
    Lost,
    /// The agent died with it, as often as the policy allows.
    DeadLetter,
}

impl ExecutionState {
    /// Every state, in the order of the lifecycle.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Dispatched,
        Self::Accepted,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Lost,
        Self::DeadLetter,
    ];

    /// The word of the design, as operators see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Dispatched => "DISPATCHED",
            Self::Accepted => "ACCEPTED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
            Self::Lost => "LOST",
            Self::DeadLetter => "DEAD_LETTER",
        }
    }

    /// Whether the agent has it: it takes a slot.
    pub const fn is_held(self) -> bool {
        match self {
            Self::Dispatched | Self::Accepted | Self::Running => true,
            Self::Queued
            | Self::Succeeded
            | Self::Failed
            | Self::Cancelled
            | Self::TimedOut
            | Self::Lost
            | Self::DeadLetter => false,
        }
    }

    /// Whether it is over. LOST is, as long as no true result replaces it.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut | Self::Lost | Self::DeadLetter => true,
            Self::Queued | Self::Dispatched | Self::Accepted | Self::Running => false,
        }
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a message reaches the agent; chosen on the shim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// It takes none.
    #[default]
    None,
    /// The agent's command is run once for each message.
    PerMessage,
    /// A long-lived agent takes messages through the shim's socket.
    Pull,
    /// A long-lived agent reads messages as lines from its stdin, and answers on its stdout.
    Stdin,
}

impl Delivery {
    /// The word of the flag `--delivery`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PerMessage => "per-message",
            Self::Pull => "pull",
            Self::Stdin => "stdin",
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
