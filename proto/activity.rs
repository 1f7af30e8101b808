//! What an agent says that it is doing. For people, and for the pause of its stall detection; no verdict rests on it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest text of a status, in bytes; the rest is cut off.
pub const STATUS_MAX_BYTES: usize = 256;

/// What an agent says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// What it is doing.
    pub state: ActivityState,
    /// In its own words, at most [`STATUS_MAX_BYTES`].
    pub status: String,
}

/// What an agent is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ActivityState {
    /// It has not said.
    #[default]
    Unsaid,
    /// Waiting for work.
    Idle,
    /// At work.
    Busy,
    /// Waiting for somebody.
    Blocked(BlockedOn),
}

/// Who or what a blocked agent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockedOn {
    /// Somebody's consent.
    Approval,
    /// Something that is used up for a while.
    Quota,
    /// Somebody's answer.
    User,
}

impl FromStr for ActivityState {
    type Err = ();

    /// `IDLE`, `BUSY`, or `BLOCKED:` and one of `approval`, `quota`, `user`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "IDLE" => Ok(Self::Idle),
            "BUSY" => Ok(Self::Busy),
            "BLOCKED:approval" => Ok(Self::Blocked(BlockedOn::Approval)),
            "BLOCKED:quota" => Ok(Self::Blocked(BlockedOn::Quota)),
            "BLOCKED:user" => Ok(Self::Blocked(BlockedOn::User)),
            _ => Err(()),
        }
    }
}
