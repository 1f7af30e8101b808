//! The decisions of one supervisor, as a machine without input or output.
//!
//! The shim's driver hands facts in, writes what an outcome persists, and then carries out what it asks for. There is
//! no clock, no randomness and no process here, so that the simulator runs the same code that hosts run.

mod effect;
mod input;
mod journal;
mod supervisor;
mod tree;

pub use effect::{
    CheckpointAnswer, CheckpointRefused, Deadline, DeadlineReason, Effect, ExitCode, Outcome, Outlives, Refused,
};
pub use input::{About, Input, Moment, NotWritten, Notice, Remains, RequestNumber, Sample, TaskIs, Word, WriteFault};
pub use journal::{
    Ended, Handover, Journal, JournalAttempt, JournalCharge, JournalChild, JournalClock, JournalHanded, JournalLaunch,
    JournalPhase, JournalStage, Takes, Told,
};
pub use supervisor::{
    AsksToSave, Directory, FAREWELL_MAX, KILL_PROOF, OnShimExit, PATIENCE, Readiness, Settings, Supervisor, Violation,
};
pub use tree::TreeId;
