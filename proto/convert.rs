//! Wire to vocabulary and back: the only place that reads the generated types' fields.
//!
//! Decoding checks every limit, so that what comes out is valid; encoding cannot fail. What names something or is a
//! number is refused when it is out of its limits. Evidence (last lines, messages, names of processes) is cut to its
//! limit instead: a report that was refused for its text would be sent again for ever.

mod activity;
mod attempt;
mod checkpoint;
mod command;
mod execution;
mod exit;
mod hello;
mod inventory;
mod launch;
mod live;
mod message;
mod patch;
mod policy;
mod process;
mod report;
mod state;
mod text;
mod time;
mod workflow;

pub use activity::activity_to_wire;
pub use checkpoint::{checkpoint_from_wire, checkpoint_id_from_wire, checkpoint_to_wire};
pub use command::{HEARTBEAT_INTERVAL_MAX, STANDING_MAX_BYTES};
pub use exit::{evidence_from_failure, failure_from_evidence};
pub use patch::AgentPatch;
pub use policy::{policy_from_wire, policy_to_wire};
pub use process::{
    HOST_NAME_MAX_BYTES, MACHINE_ID_MAX_BYTES, SHIM_VERSION_MAX_BYTES, process_from_wire, process_to_wire,
};
pub use report::{COMMAND_MAX_BYTES, MESSAGE_MAX_BYTES};
pub use text::{cut_line, line};
pub use time::{duration_from_wire, duration_to_wire, timestamp_from_wire, timestamp_to_wire};
pub use workflow::WorkflowChange;

/// Largest number of an incarnation, epoch, sequence or command that is taken from the wire: 2^63 - 1. It fits the
/// signed integers of every language, and leaves the counter as many steps again before it would run out.
pub const COUNTER_MAX: u64 = i64::MAX as u64;

/// What is wrong with a message, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// Path of the field in its message, `reports[2].time` for example.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl WireError {
    /// An error of one field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }

    fn missing(field: &str) -> Self {
        Self::new(field, "is missing")
    }

    /// The same error, seen from the message that holds the field's message as `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self {
            field: format!("{parent}.{}", self.field),
            problem: self.problem,
        }
    }
}

/// A counter that starts with 1.
fn counter<T>(number: u64, field: &str, new: impl FnOnce(u64) -> T) -> Result<T, WireError> {
    if number == 0 {
        return Err(WireError::new(field, "is missing; the first is 1"));
    }
    counter_or_zero(number, field, new)
}

/// A counter of which 0 means none.
fn counter_or_zero<T>(number: u64, field: &str, new: impl FnOnce(u64) -> T) -> Result<T, WireError> {
    if number > COUNTER_MAX {
        return Err(WireError::new(field, format!("{number} is more than {COUNTER_MAX}")));
    }
    Ok(new(number))
}

/// The value of an enum's field, which proto3 carries as a bare number.
fn known<T: TryFrom<i32>>(number: i32, field: &str) -> Result<T, WireError> {
    T::try_from(number).map_err(|_| WireError::new(field, format!("{number} is no value of this enum")))
}
