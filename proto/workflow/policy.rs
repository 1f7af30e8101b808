//! What becomes of a fire that cannot go at once.

use serde::{Deserialize, Serialize};

/// What becomes of a schedule's fires that come while the agent is not RUNNING, or that nobody was there to see come.
/// Others wait, each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Misfire {
    /// They are skipped.
    Skip,
    /// The newest waits; it takes the place of those before it.
    #[default]
    Once,
    /// Each waits, up to [`PENDING_MAX`](super::PENDING_MAX).
    All,
}

impl Misfire {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Skip, Self::Once, Self::All];

    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "SKIP",
            Self::Once => "ONCE",
            Self::All => "ALL",
        }
    }
}

/// What becomes of a fire whose turn comes while an execution of the same workflow goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// It is skipped.
    Skip,
    /// It waits for the end, in the order in which they came.
    #[default]
    Queue,
    /// The one that goes on is cancelled; when it has ended, the newest fire goes.
    CancelRunning,
}

impl Overlap {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Skip, Self::Queue, Self::CancelRunning];

    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "SKIP",
            Self::Queue => "QUEUE",
            Self::CancelRunning => "CANCEL_RUNNING",
        }
    }
}
