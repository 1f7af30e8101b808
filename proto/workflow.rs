//! Workflows: what makes executions for an agent, when, and what becomes of those that cannot go at once.

mod id;
mod key;
mod policy;
mod spec;
mod text;
mod trigger;

pub use id::{WORKFLOW_ID_MAX_BYTES, WorkflowId, WorkflowNameError};
pub use key::{FIRE_KEY_MAX_BYTES, FireKey, FireKeyError, SecretHash};
pub use policy::{Misfire, Overlap};
pub use spec::{WorkflowError, WorkflowPatch, WorkflowSpec, WorkflowSpecFields};
pub use text::{PAYLOAD_MARK, with_payload};
pub use trigger::{
    AgentEventKind, AgentEvents, CRON_EXPRESSION_MAX_BYTES, Completion, CronText, INTERVAL_MAX, INTERVAL_MIN, Interval,
    TIME_ZONE_MAX_BYTES, Trigger, TriggerError,
};

/// Largest payload of a trigger, in bytes of UTF-8: a quarter of what a message may have, of which it is a part.
pub const PAYLOAD_MAX_BYTES: usize = 64 * 1024;

/// Most fires of one workflow that wait. What waits longer than a hundred runs is a backlog that nobody reads any more, and
/// the record of a workflow is written as a whole.
pub const PENDING_MAX: usize = 100;

/// Most workflows that one fire may set off one after another through the ends of their executions: a longer chain is
/// rather a ring.
pub const CHAIN_MAX: u8 = 16;

/// Longest time that a fire may wait: past that nobody expects it any more.
pub const EXPIRES_AFTER_MAX: std::time::Duration = std::time::Duration::from_secs(366 * 24 * 3600);

/// Shortest time that a fire may be given to wait: less is over before a commit is.
pub const EXPIRES_AFTER_MIN: std::time::Duration = std::time::Duration::from_secs(1);
