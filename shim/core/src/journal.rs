//! What a supervisor writes down, so that the shim's next life tells the truth.
//!
//! The journal guards against the death of the shim, not of the host: after a power loss the boot id differs, every
//! process of the earlier boot is dead, and a lost line can only make the shim tell less than it knew.

use rekindle::id::{AgentId, BootId, Incarnation, Marker, ReportSequence};
use rekindle::process::ProcessIdentity;
use rekindle::report::Report;
use serde::{Deserialize, Serialize};

/// Everything that outlives one life of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The agent that the state directory belongs to.
    pub agent: AgentId,
    /// Planted in the environment of every child that was ever spawned from this directory.
    pub marker: Marker,
    /// The boot that `child` was spawned in.
    pub boot_id: BootId,
    /// Lives of the shim so far, this one included.
    pub lives: u64,
    /// The newest report's number.
    pub last_report: ReportSequence,
    /// The highest incarnation that was spawned, or tried. Written before the spawn.
    pub last_incarnation: Incarnation,
    /// The life whose tree is not proven dead.
    pub child: Option<JournalChild>,
    /// What the server has not acknowledged, in order.
    pub outbox: Vec<Report>,
}

/// A life whose tree is not proven dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalChild {
    /// The life.
    pub incarnation: Incarnation,
    /// Its process, once that is known.
    pub process: Option<ProcessIdentity>,
}

impl Journal {
    /// The journal of a state directory that has spawned nothing.
    pub const fn new(agent: AgentId, marker: Marker, boot_id: BootId) -> Self {
        Self {
            agent,
            marker,
            boot_id,
            lives: 0,
            last_report: ReportSequence::ZERO,
            last_incarnation: Incarnation::ZERO,
            child: None,
            outbox: Vec::new(),
        }
    }
}
