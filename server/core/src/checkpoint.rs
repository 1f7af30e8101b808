//! What is durable of an agent's checkpoints.

use std::sync::Arc;

use rekindle::checkpoint::{CheckpointFields, CheckpointId, CheckpointState, Flags, Reception, Standing};
use rekindle::id::{AgentId, Incarnation, Marker};
use rekindle::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Most checkpoints that are kept of one agent. Only the newest is handed to anybody; those before it are for people who look
/// at what went wrong.
pub const CHECKPOINTS_KEPT_MAX: usize = 8;

/// What is durable of one checkpoint, but for its body, which is a record of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Whose it is.
    pub agent: AgentId,
    /// `{checkpoint}` of `agents/{agent}/checkpoints/{checkpoint}`.
    pub id: CheckpointId,
    /// What the agent said. It does not change, and is stored beside what does.
    #[serde(skip)]
    pub fields: Arc<CheckpointFields>,
    /// How long its body is.
    pub body_bytes: u64,
    /// When it was saved, by the clock of the agent's host.
    pub saved: Timestamp,
    /// Whether it was offered when it was the newest.
    pub standing: Standing,
    /// What the next life should know.
    pub flags: Flags,
    /// Crashes in a row of lives that had read it.
    pub crashes: u32,
    /// The newest life that has read it.
    pub read: Option<Reading>,
    /// The newest life that has confirmed it.
    pub confirmed_by: Option<Incarnation>,
}

impl CheckpointRecord {
    /// The newest life whose work it is: that has saved it, or confirmed it.
    pub fn bearer(&self) -> Incarnation {
        self.confirmed_by
            .map_or(self.id.incarnation, |confirmed| confirmed.max(self.id.incarnation))
    }

    /// What a life has done with it.
    pub fn reception(&self, life: Incarnation) -> Reception {
        if self.bearer() >= life {
            Reception::Accepted
        } else if self.read.is_some_and(|read| read.by == life) {
            Reception::Read
        } else {
            Reception::Given
        }
    }

    /// As shims are told of it.
    pub fn state(&self) -> CheckpointState {
        CheckpointState {
            id: self.id,
            standing: self.standing,
            flags: self.flags.clone(),
            crashes: self.crashes,
        }
    }
}

/// A life has read a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The life.
    pub by: Incarnation,
    /// Crashes in a row until then: its shim may tell of its crash both as such, and as one more of these.
    pub crashes: u32,
}

/// What is durable of an agent's line of checkpoints beside those that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The newest that an operator has deleted: whoever still holds it hands it to nobody.
    pub deleted: Option<CheckpointId>,
    /// The newest life that has begun, and what it went on from.
    pub begun: Option<Begun>,
    /// The newest life of any other state directory than that one's.
    #[serde(default)]
    pub begun_elsewhere: Option<Begun>,
}

impl Line {
    /// Whether the next life gets the newest that is kept. Where a newer one was deleted, that does not take its place.
    pub fn offers(&self, newest: &CheckpointRecord) -> bool {
        newest.standing.is_open() && self.deleted.is_none_or(|deleted| deleted < newest.id)
    }

    /// A life has begun, of the shim with this state directory.
    pub(crate) fn begins(&mut self, incarnation: Incarnation, marker: Marker) {
        if self.begun.is_some_and(|begun| begun.incarnation >= incarnation) {
            return;
        }
        if let Some(before) = self.begun.filter(|begun| begun.marker != marker) {
            self.begun_elsewhere = Some(before);
        }
        self.begun = Some(Begun {
            incarnation,
            marker,
            handed: None,
        });
    }

    /// The newest life that has begun with any other state directory than this one. What its shim has saved before that, and
    /// that life was not handed, came too late, however often it comes.
    pub(crate) fn newest_elsewhere(&self, marker: Option<Marker>) -> Option<Begun> {
        self.begun
            .filter(|begun| Some(begun.marker) != marker)
            .or(self.begun_elsewhere.filter(|begun| Some(begun.marker) != marker))
    }
}

/// How a life began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The life.
    pub incarnation: Incarnation,
    /// Of the state directory that its shim has.
    pub marker: Marker,
    /// What it was handed.
    pub handed: Option<CheckpointId>,
}
