//! How an attempt ended.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::exit::ExitEvidence;

/// Most bytes of an attempt's output that are kept: the last ones, as results come last.
pub const OUTPUT_MAX_BYTES: usize = 256 * 1024;

/// How an attempt ended, as the shim that held it saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptResult {
    /// What became of it.
    pub verdict: Verdict,
    /// In words, where the agent or the shim has some; at most [`crate::exit::TAIL_MAX_BYTES`].
    pub message: String,
    /// How its process ended, where it had one of its own, or its agent's did.
    pub evidence: Option<Box<ExitEvidence>>,
    /// What it wrote.
    pub output: Output,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Done.
    Succeeded,
    /// The agent failed at it: by its word, by an exit code, or by a signal that the shim did not send.
    Failed,
    /// Its program does not exist, or could not be executed.
    SpawnFailed,
    /// Its time was over; its processes are proven dead.
    TimedOut,
    /// The server had it ended; its processes are proven dead.
    Cancelled,
    /// The agent was ended, or died, while it worked on this.
    Interrupted,
    /// It was given back before it began.
    NotBegun,
}

/// The output of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The last bytes, at most [`OUTPUT_MAX_BYTES`]; what is no UTF-8 is replaced. Not part of what is serialized: a
    /// journal that is written anew with each fact keeps texts of this length beside it.
    #[serde(skip)]
    pub text: Arc<str>,
    /// Bytes that came before, and were dropped.
    pub dropped: u64,
}
