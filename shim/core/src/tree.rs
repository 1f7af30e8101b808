//! Whose processes: what a shim spawns, watches and ends as one.

use std::fmt;

use rekindle::execution::AttemptId;
use rekindle::id::Incarnation;

/// A process and all its descendants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TreeId {
    /// Of a life's process.
    Life(Incarnation),
    /// Of the process that was run for one message.
    Attempt(AttemptId),
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Life(incarnation) => write!(f, "incarnation {incarnation}"),
            Self::Attempt(attempt) => write!(f, "execution {attempt}"),
        }
    }
}
