//! What is durable, behind one small trait.
//!
//! The driver loads the [`Records`] once, when it starts, and from then on writes the `persist` of each outcome as one
//! batch; what a machine decided is carried out only when [`Store::commit`] has returned `Ok`. Invariants I3 and I5
//! rest on that. A commit that failed may or may not have happened: the store takes no more of them, and the process
//! ends. Its successor finds out what is durable by loading it.
//!
//! ```text
//! driver ── Record* ──> write_set: keys and values, limits checked ──> SledStore: apply, flush, fdatasync
//!                       (one file per stored type in record/)      └─> MemoryStore: the fake for tests
//! ```
//!
//! One contract suite, `contract`, runs against every backend.

use std::io;
use std::path::PathBuf;

use rekindle::checkpoint::CheckpointId;
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Sequence};
use rekindle_server_core::event::Event;
use rekindle_server_core::record::{Record, Records};

mod poison;
mod record;
mod sled_store;
mod span;
mod write_set;

#[cfg(test)]
mod contract;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod sample;

pub use record::{DecodeError, SCHEMA_VERSION};
pub use sled_store::{OpenError, SledStore};
pub use write_set::VALUE_MAX_BYTES;

/// Where records survive the process.
///
/// All methods block; call them where blocking is allowed.
pub trait Store: Send + Sync + 'static {
    /// Everything that a machine is recovered from, in the order of the agents' ids.
    ///
    /// # Errors
    /// When something stored cannot be read or decoded, and after a commit has failed: what memory holds then is not
    /// what is durable.
    fn load(&self) -> Result<Records, StoreError>;

    /// Writes the batch, all of it or nothing, in its order; durable when this returns `Ok`. One caller at a time;
    /// others wait. It may never return, where the disk does not answer.
    ///
    /// Events continue the log without a hole, and a trim leaves its newest line. An empty batch writes nothing.
    ///
    /// # Errors
    /// After any error it is unknown whether the batch is durable, and every later commit fails with
    /// [`StoreError::Poisoned`]. A batch that [`StoreError::is_refusal`] holds for has left no trace.
    fn commit(&self, batch: &[Record]) -> Result<(), StoreError>;

    /// Durable events in `(after, through]`, in order, at most `limit`, without a hole between the first and the last
    /// returned. Those that were trimmed are missing at the start.
    ///
    /// # Errors
    /// When an event cannot be read or decoded.
    fn events(&self, after: Sequence, through: Sequence, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// A text of an execution, as far as it is durable; empty where there is none.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    fn text(&self, agent: &AgentId, id: &ExecutionId, text: Text) -> Result<String, StoreError>;

    /// The body of a checkpoint, as far as it is durable; empty where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn checkpoint_body(&self, agent: &AgentId, id: CheckpointId) -> Result<Vec<u8>, StoreError>;

    /// What operators want to know of the store itself.
    ///
    /// # Errors
    /// When its size cannot be read.
    fn describe(&self) -> Result<StoreDescription, StoreError>;
}

/// Which text of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// What the agent is asked to do.
    Message,
    /// What is kept of the output of its newest attempt.
    Output,
}

/// What operators want to know of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDescription {
    /// Which backend it is, with its version.
    pub backend: &'static str,
    /// The format of what is stored.
    pub schema_version: u32,
    /// What it takes on disk, in bytes.
    pub size_bytes: u64,
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An earlier commit failed.
    #[error(
        "the store takes no more writes, because an earlier one failed: {first}; mend that, and start rekindle-server again"
    )]
    Poisoned {
        /// The first failure, with its sources.
        first: String,
    },
    /// A record is larger than any that the vocabulary allows.
    #[error("the record of {record} takes {bytes} bytes, and {limit} is the most that is stored; nothing was written")]
    RecordTooLarge {
        /// The record, as a resource name or its like.
        record: String,
        /// What it takes, encoded.
        bytes: usize,
        /// What it may take.
        limit: usize,
    },
    /// An event that does not follow the newest one.
    #[error("event {found} does not follow event {newest}; nothing was written")]
    EventOutOfSequence {
        /// The newest event.
        newest: Sequence,
        /// The one that was to be added.
        found: Sequence,
    },
    /// A trim that would leave the log without its newest line, from which the numbering goes on.
    #[error("trimming the events through {through} would take the newest, {newest}; nothing was written")]
    NewestEventTrimmed {
        /// The end of the trim.
        through: Sequence,
        /// The newest event.
        newest: Sequence,
    },
    /// A record has no encoding.
    #[error("cannot encode the record of {record}; nothing was written")]
    Encode {
        /// The record, as a resource name or its like.
        record: String,
        /// Why.
        source: serde_json::Error,
    },
    /// What is stored is not what this server stores.
    #[error("the store holds something unreadable under the key {key:?}; restore the data directory from a backup")]
    Corrupt {
        /// The key, what is not printable escaped.
        key: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// The file system failed.
    #[error("cannot {action} {}{}", .path.display(), remedy(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// sled failed by itself.
    #[error("sled cannot {action} {}", .path.display())]
    Engine {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: sled::Error,
    },
    /// sled moved a page out of its log, to a file that nothing makes durable.
    #[error("sled wrote a file of its own to {}, which a power cut can lose; please report this as a bug", .path.display())]
    BlobWritten {
        /// The folder that must be empty.
        path: PathBuf,
    },
    /// The backend panicked; what it said is on stderr.
    #[error("the store in {} panicked while it committed; its message is in the log", .path.display())]
    Panicked {
        /// The store.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether the batch was refused before anything of it was written.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Poisoned { .. }
            | Self::RecordTooLarge { .. }
            | Self::EventOutOfSequence { .. }
            | Self::NewestEventTrimmed { .. }
            | Self::Encode { .. } => true,
            Self::Corrupt { .. }
            | Self::Io { .. }
            | Self::Engine { .. }
            | Self::BlobWritten { .. }
            | Self::Panicked { .. } => false,
        }
    }
}

/// What to do about a failure of the file system, as the end of a sentence.
fn remedy(error: &io::Error) -> &'static str {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds are std's, and most have no remedy of their own"
    )]
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room on its file system, and start rekindle-server again"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; its file system must be writable",
        io::ErrorKind::PermissionDenied => "; the user that runs rekindle-server must own it",
        _ => "",
    }
}
