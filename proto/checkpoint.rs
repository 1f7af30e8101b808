//! Checkpoints: what an agent saves of its work, so that a later life goes on with it.
//!
//! An agent has one line of them, in the order of their ids: a newer one supersedes those before it. Only the newest is ever
//! handed to a life, and only while it is open. Both halves go by the same arithmetic: [`standing_at_run`] says which one a
//! life gets, [`crashes_after`] when one is to blame.

mod blame;
mod content;
mod handover;
mod id;
mod standing;

pub use blame::{LifeEnd, Reception, crashes_after, is_poison};
pub use content::{
    BODY_MAX_BYTES, Checkpoint, CheckpointBody, CheckpointDraft, CheckpointError, CheckpointFields, FIELDS_MAX_BYTES,
    MEMORY_REF_MAX_BYTES, MEMORY_REFS_MAX, TEXT_MAX_BYTES, VALUE_KEY_MAX_BYTES, VALUE_MAX_BYTES, VALUES_MAX,
};
pub use handover::{
    CheckpointState, HeldCheckpoint, OfferedCheckpoint, Resumption, RunContext, merged, standing_at_run,
};
pub use id::{CHECKPOINT_ID_MAX_BYTES, CheckpointId, CheckpointIdError};
pub use standing::{AskedSave, ClosedBy, Flags, IN_FLIGHT_MAX, Standing};
