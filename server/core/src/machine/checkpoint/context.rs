//! What a life is told to begin with.

use std::sync::Arc;

use rekindle::checkpoint::{
    Checkpoint, CheckpointBody, CheckpointState, ClosedBy, Flags, OfferedCheckpoint, Resumption, RunContext, Standing,
};
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Incarnation};

use super::super::step::Step;
use crate::checkpoint::CheckpointRecord;
use crate::record::AgentRecord;

impl Step<'_> {
    /// What goes with each order to run. The shim goes by the newer one of this and its own; so it is told, too, which of its
    /// own count for nothing.
    pub(in super::super) fn run_context(&self, agent: &AgentId) -> RunContext {
        if self.fresh_start(agent).is_some() {
            return RunContext::Fresh;
        }
        let record = self.record(agent);
        RunContext::Resume(Box::new(Resumption {
            offered: self.offered(agent),
            closed_tasks: cancelled_by_order(record),
            late_through: late_through(record),
        }))
    }

    fn offered(&self, agent: &AgentId) -> Option<OfferedCheckpoint> {
        let state = self.known_checkpoint(agent)?;
        let shown = self.find(agent)?.checkpoints.shown;
        let open = self.open_checkpoint(agent);
        let wanted = open.as_ref().filter(|open| shown != Some(open.id));
        Some(OfferedCheckpoint {
            content: wanted.map(|open| Arc::new(without_body(open))),
            state,
        })
    }

    /// The newest that is known of, also where it is offered to nobody: its shim may have it as open.
    pub(in super::super) fn known_checkpoint(&self, agent: &AgentId) -> Option<CheckpointState> {
        let newest = self.find(agent)?.checkpoints.newest();
        let deleted = self.record(agent).checkpoint_line.deleted;
        match deleted.filter(|id| newest.is_none_or(|newest| newest.id < *id)) {
            Some(id) => Some(CheckpointState {
                id,
                standing: Standing::Closed(ClosedBy::Fresh),
                flags: Flags::default(),
                crashes: 0,
            }),
            None => newest.map(|newest| newest.state()),
        }
    }
}

/// What a checkpoint says, but for its body, which only the store has.
fn without_body(record: &CheckpointRecord) -> Checkpoint {
    Checkpoint {
        id: record.id,
        fields: (*record.fields).clone(),
        body: CheckpointBody::default(),
        saved: record.saved,
    }
}

/// Executions that the order which is under way cancels. What the old life saves of them while it is being ended is over.
fn cancelled_by_order(record: &AgentRecord) -> Vec<ExecutionId> {
    let operation = record.operation.as_ref();
    operation.map_or_else(Vec::new, |operation| operation.cancels.clone())
}

/// The newest life of which the shim must have saved late, as another one's shim has begun a later life since.
fn late_through(record: &AgentRecord) -> Incarnation {
    let marker = record.holder.as_ref().map(|holder| holder.marker);
    let elsewhere = record.checkpoint_line.newest_elsewhere(marker);
    elsewhere.map_or(Incarnation::ZERO, |begun| {
        Incarnation::new(begun.incarnation.get().saturating_sub(1))
    })
}
