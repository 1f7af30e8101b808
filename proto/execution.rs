//! Work: one message given to an agent, and how that goes.

mod id;
mod live;
mod result;
mod state;

pub use id::{AttemptId, EXECUTION_ID_MAX_BYTES, ExecutionId, ExecutionNameError};
pub use live::{Follow, OUTPUT_PART_MAX_BYTES, OutputKind, OutputPart};
pub use result::{AttemptResult, OUTPUT_MAX_BYTES, Output, Verdict};
pub use state::{Delivery, ExecutionState};

use std::time::Duration;

/// Longest message, in bytes of UTF-8. Longer ones belong in a file that the message names.
pub const MESSAGE_MAX_BYTES: usize = 256 * 1024;

/// Most executions that a shim has at a time, those included of which the server has not acknowledged the end: as many
/// as an agent may be given at once, and again as many whose end waits for a server that is away.
pub const ATTEMPTS_MAX: usize = 2 * crate::policy::MAX_CONCURRENT_MAX as usize;

/// An execution that a shim is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Which attempt at which execution.
    pub attempt: AttemptId,
    /// What the agent is asked to do, at most [`MESSAGE_MAX_BYTES`].
    pub message: String,
    /// Time from its start, past which it is ended.
    pub timeout: Duration,
}

/// An attempt that a shim holds: accepted, and not known to the server as finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldAttempt {
    /// Which attempt at which execution.
    pub attempt: AttemptId,
    /// How far it is.
    pub phase: AttemptPhase,
}

/// How far an attempt that a shim holds is. A server that knows less of it, as its store was set back, goes by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptPhase {
    /// Durable in the shim's state directory, and not begun.
    Accepted,
    /// Begun.
    Running,
    /// Being ended, by a cancel or at its time.
    Ending,
}
