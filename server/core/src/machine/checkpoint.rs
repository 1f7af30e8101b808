//! Checkpoints: what shims tell that their agents have saved, and what the next life goes on from.
//!
//! ```text
//!           its shim tells it               a newer one is told
//! (saved) -------------------> OPEN -----------------------------------> SUPERSEDED
//!                               |  the agent says so, its task is over, a start is FRESH
//!                               |--------------------------------------> CLOSED
//!                               |  lives that had read it crashed, `poison_after` in a row
//!                               `--------------------------------------> SET_ASIDE
//! ```
//!
//! Only the newest is ever offered, and only while it is OPEN; nothing opens again, and an older one does not take the place
//! of a newer. That one is SUPERSEDED is not written down: it follows from the newer one. Keeps I8 (a checkpoint is whole or
//! refused, and belongs to one agent and incarnation).

mod close;
mod context;
mod keep;
mod life;

use std::collections::BTreeMap;
use std::sync::Arc;

use rekindle::checkpoint::{CheckpointId, ClosedBy, Standing};
use rekindle::id::{AgentId, Incarnation};
use rekindle::time::Timestamp;

use super::step::{Attributes, Step, attributes};
use crate::checkpoint::{CHECKPOINTS_KEPT_MAX, CheckpointRecord, Line};
use crate::event::EventKind;
use crate::record::{AgentRecord, Record};

/// The checkpoints of one agent that are kept.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    kept: BTreeMap<CheckpointId, Arc<CheckpointRecord>>,
    /// The newest that the shim has on its disk, as it has shown on its stream.
    shown: Option<CheckpointId>,
}

impl Checkpoints {
    /// Adds one that is durable, or new.
    pub(super) fn insert(&mut self, record: Arc<CheckpointRecord>) {
        self.kept.insert(record.id, record);
    }

    /// The newest that is kept.
    pub(super) fn newest(&self) -> Option<&Arc<CheckpointRecord>> {
        self.kept.last_key_value().map(|(_, record)| record)
    }

    /// The one that the next life gets.
    pub(super) fn open(&self, line: &Line) -> Option<&Arc<CheckpointRecord>> {
        self.newest().filter(|newest| line.offers(newest))
    }

    /// Those that are kept, the oldest first.
    pub(super) fn records(&self) -> impl Iterator<Item = &Arc<CheckpointRecord>> {
        self.kept.values()
    }

    /// A stream was opened: what its shim has is not known.
    pub(super) fn stream_opened(&mut self) {
        self.shown = None;
    }

    /// The shim has this one on its disk.
    fn is_shown(&mut self, id: CheckpointId) {
        self.shown = self.shown.max(Some(id));
    }

    /// What does not hold between two steps.
    pub(super) fn problem(&self, agent: &AgentRecord) -> Option<&'static str> {
        if self.kept.len() > CHECKPOINTS_KEPT_MAX {
            return Some("more checkpoints are kept than may be");
        }
        let own = |(id, record): (&CheckpointId, &Arc<CheckpointRecord>)| record.id == *id && record.agent == agent.id;
        if !self.kept.iter().all(own) {
            return Some("a checkpoint is another agent's");
        }
        let newest = self.newest().map(|record| record.id);
        if newest.is_some_and(|id| id.incarnation > agent.incarnation) {
            return Some("a checkpoint is of a life that is not numbered");
        }
        if agent
            .checkpoint_line
            .deleted
            .is_some_and(|deleted| self.kept.contains_key(&deleted))
        {
            return Some("a checkpoint is deleted, and kept");
        }
        None
    }
}

impl Step<'_> {
    fn checkpoints(&mut self, agent: &AgentId) -> &mut Checkpoints {
        &mut self.agent(agent).checkpoints
    }

    /// The one that the agent's next life gets.
    fn open_checkpoint(&self, agent: &AgentId) -> Option<Arc<CheckpointRecord>> {
        let found = self.find(agent)?;
        found.checkpoints.open(&found.record.checkpoint_line).cloned()
    }

    /// A checkpoint that is kept, to change: it will be persisted.
    fn edit_checkpoint(&mut self, agent: &AgentId, id: CheckpointId) -> &mut CheckpointRecord {
        self.checkpoints_touched.insert((agent.clone(), id));
        let record = self
            .checkpoints(agent)
            .kept
            .get_mut(&id)
            .expect("a step looks up the checkpoints that it edits, and forgets none of them");
        Arc::make_mut(record)
    }

    /// Writes what has changed.
    pub(super) fn persist_checkpoints(&mut self) {
        for (agent, id) in std::mem::take(&mut self.checkpoints_touched) {
            let kept = self.find(&agent).and_then(|found| found.checkpoints.kept.get(&id));
            let record = kept.cloned();
            // One that was forgotten by the same step leaves nothing to write.
            if let Some(record) = record {
                self.persist(Record::Checkpoint(record));
            }
        }
    }

    /// Adds a line to the log, on a checkpoint of an agent and on one of its lives.
    fn checkpoint_event(
        &mut self,
        kind: EventKind,
        (agent, incarnation): (&AgentId, Incarnation),
        id: CheckpointId,
        message: impl Into<String>,
        mut details: Attributes,
    ) {
        details.extend(attributes([("checkpoint", &id)]));
        details.extend(self.lateness());
        self.event(kind, Some(agent), incarnation, message, details);
    }

    /// The agent's shim has this one on its disk. One of a namesake that was deleted has other content under its id.
    pub(super) fn checkpoint_shown(&mut self, agent: &AgentId, id: CheckpointId, saved: Timestamp) {
        let checkpoints = self.checkpoints(agent);
        if checkpoints.kept.get(&id).is_none_or(|record| record.saved == saved) {
            checkpoints.is_shown(id);
        }
    }

    fn forget_checkpoint(&mut self, agent: &AgentId, id: CheckpointId) {
        if self.checkpoints(agent).kept.remove(&id).is_some() {
            self.persist(Record::CheckpointForgotten {
                agent: agent.clone(),
                id,
            });
        }
    }

    /// All of an agent that is forgotten itself.
    pub(super) fn forget_checkpoints(&mut self, agent: &AgentId) {
        let ids: Vec<CheckpointId> = self.checkpoints(agent).kept.keys().copied().collect();
        for id in ids {
            self.forget_checkpoint(agent, id);
        }
    }

    /// The newest is offered to nobody any more. One that is over stays as it is.
    fn close_checkpoint(&mut self, agent: &AgentId, by: ClosedBy, why: &str) {
        let Some(open) = self.open_checkpoint(agent) else {
            return;
        };
        let id = open.id;
        self.edit_checkpoint(agent, id).standing = Standing::Closed(by);
        let by = match by {
            ClosedBy::Agent => "agent",
            ClosedBy::Task => "task",
            ClosedBy::Fresh => "fresh",
        };
        let message = format!("no life gets checkpoint {id} any more: {why}");
        let life = self.record(agent).incarnation;
        let details = attributes([("by", &by)]);
        self.checkpoint_event(EventKind::CheckpointClosed, (agent, life), id, message, details);
    }

    /// The newest is offered to nobody any more, as lives crash that read it.
    fn set_aside(&mut self, agent: &AgentId) {
        let Some(open) = self.open_checkpoint(agent) else {
            return;
        };
        let (id, crashes) = (open.id, open.crashes);
        self.edit_checkpoint(agent, id).standing = Standing::SetAside;
        let message = format!(
            "checkpoint {id} is set aside, crashes in a row of lives that had read it: {crashes}; the next one begins \
             without; GetCheckpoint shows it"
        );
        let life = self.record(agent).incarnation;
        let details = attributes([("crashes", &crashes)]);
        self.checkpoint_event(EventKind::CheckpointSetAside, (agent, life), id, message, details);
    }
}
