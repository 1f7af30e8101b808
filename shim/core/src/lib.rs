//! The decisions of one supervisor, as a machine without input or output.
//!
//! The shim's driver hands facts in, writes what an outcome persists, and then carries out what it asks for. There is
//! no clock, no randomness and no process here, so that the simulator runs the same code that hosts run.

mod effect;
mod input;
mod journal;
mod supervisor;
mod tree;

pub use effect::{Deadline, DeadlineReason, Effect, ExitCode, Outcome, Outlives, Refused};
pub use input::{About, Input, Moment, Notice, Remains, RequestNumber, Sample, Word};
pub use journal::{
    Ended, Handover, Journal, JournalAttempt, JournalCharge, JournalChild, JournalClock, JournalLaunch, JournalPhase,
    JournalStage, Told,
};
pub use supervisor::{
    Directory, FAREWELL_MAX, KILL_PROOF, OnShimExit, PATIENCE, Readiness, Settings, Supervisor, Violation,
};
pub use tree::TreeId;
