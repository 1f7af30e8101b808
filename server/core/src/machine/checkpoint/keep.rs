//! How a checkpoint that a shim tells of is taken, or refused.

use std::sync::Arc;

use rekindle::checkpoint::{
    Checkpoint, CheckpointId, CheckpointState, ClosedBy, Flags, HeldCheckpoint, Standing, merged, standing_at_run,
};
use rekindle::id::{AgentId, Incarnation};

use super::super::step::{Step, attributes};
use crate::checkpoint::{CHECKPOINTS_KEPT_MAX, CheckpointRecord};
use crate::effect::Effect;
use crate::event::EventKind;
use crate::input::SessionId;
use crate::record::Record;

/// Why a checkpoint is not taken. Its shim logs it, and does not tell of it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("incarnation {0} of the agent has never been; its newest is {1}")]
    NoSuchLife(Incarnation, Incarnation),
    #[error("the server has {0}, which is newer")]
    Older(CheckpointId),
    #[error("the server has another one under this id")]
    Differs,
    #[error("a late write: another host's shim has begun incarnation {0} since")]
    Late(Incarnation),
}

impl Step<'_> {
    /// A shim tells of the newest that its state directory holds. It is answered once that is durable here.
    pub(in super::super) fn shim_saved(&mut self, session: SessionId, held: HeldCheckpoint) {
        let Some(agent) = self.speaker(session) else { return };
        let (id, saved) = (held.checkpoint.id, held.checkpoint.saved);
        let taken = self.take_checkpoint(&agent, held);
        if taken.is_ok() {
            self.checkpoint_shown(&agent, id, saved);
        }
        let refused = taken.err().map(|why| why.to_string());
        self.then(Effect::CheckpointKept { session, id, refused });
    }

    fn take_checkpoint(&mut self, agent: &AgentId, held: HeldCheckpoint) -> Result<(), Refused> {
        let (told, checkpoint) = (held.state(), held.checkpoint);
        let id = told.id;
        let record = self.record(agent);
        if id.incarnation > record.incarnation {
            return Err(Refused::NoSuchLife(id.incarnation, record.incarnation));
        }
        let deleted = record.checkpoint_line.deleted;
        let known = self.checkpoints(agent).kept.get(&id).cloned();
        match known {
            Some(known) if !is_same(&known, &checkpoint) => return Err(Refused::Differs),
            Some(_) => {}
            None if Some(id) == deleted => return Ok(()),
            None => {
                let newest = self.checkpoints(agent).newest().map(|record| record.id).max(deleted);
                if let Some(newest) = newest.filter(|newest| *newest > id) {
                    return Err(Refused::Older(newest));
                }
                if let Some(since) = self.late_since(agent, id) {
                    return Err(Refused::Late(since));
                }
                self.keep(agent, &checkpoint);
            }
        }
        if self.checkpoints(agent).newest().is_some_and(|newest| newest.id == id) {
            self.go_by(agent, told);
        }
        Ok(())
    }

    /// The life that another shim has begun since, where a checkpoint is one that it was not handed.
    pub(super) fn late_since(&self, agent: &AgentId, id: CheckpointId) -> Option<Incarnation> {
        let record = self.record(agent);
        let marker = record.holder.as_ref().map(|holder| holder.marker);
        let elsewhere = record.checkpoint_line.newest_elsewhere(marker)?;
        let late = id.incarnation < elsewhere.incarnation && elsewhere.handed != Some(id);
        late.then_some(elsewhere.incarnation)
    }

    fn keep(&mut self, agent: &AgentId, checkpoint: &Arc<Checkpoint>) {
        let id = checkpoint.id;
        let body_bytes = checkpoint.body.as_bytes().len() as u64;
        let record = CheckpointRecord {
            agent: agent.clone(),
            id,
            fields: Arc::new(checkpoint.fields.clone()),
            body_bytes,
            saved: checkpoint.saved,
            standing: Standing::Open,
            flags: Flags::default(),
            crashes: 0,
            read: None,
            confirmed_by: None,
        };
        self.persist(Record::CheckpointContent {
            agent: agent.clone(),
            checkpoint: checkpoint.clone(),
        });
        self.checkpoints(agent).insert(Arc::new(record));
        self.checkpoints_touched.insert((agent.clone(), id));
        let message = format!(
            "incarnation {} saved checkpoint {id}, with a body of {body_bytes} bytes",
            id.incarnation
        );
        let details = attributes([("body_bytes", &body_bytes)]);
        self.checkpoint_event(
            EventKind::CheckpointSaved,
            (agent, id.incarnation),
            id,
            message,
            details,
        );
        let surplus = self.checkpoints(agent).kept.len().saturating_sub(CHECKPOINTS_KEPT_MAX);
        let oldest: Vec<CheckpointId> = self.checkpoints(agent).kept.keys().take(surplus).copied().collect();
        for id in oldest {
            self.forget_checkpoint(agent, id);
        }
    }

    /// Takes up what its shim says of the newest.
    fn go_by(&mut self, agent: &AgentId, told: CheckpointState) {
        let Some(open) = self.open_checkpoint(agent) else {
            return;
        };
        let known = open.state();
        let Some(both) = merged(Some(told), Some(known.clone())) else {
            return;
        };
        if (&both.flags, both.crashes) != (&known.flags, known.crashes) {
            let record = self.edit_checkpoint(agent, both.id);
            record.flags = both.flags;
            record.crashes = both.crashes;
        }
        match standing_at_run(both.standing, both.crashes, self.record(agent).policy.poison_after) {
            Standing::Closed(by) => {
                let why = match by {
                    ClosedBy::Agent => "the agent says that its task is over",
                    ClosedBy::Task => "its task is over",
                    ClosedBy::Fresh => "its shim has begun a life without it",
                };
                self.close_checkpoint(agent, by, why);
            }
            Standing::SetAside => self.set_aside(agent),
            Standing::Open => {}
        }
        self.close_what_is_over(agent);
    }
}

/// Whether it is what the server has under its id. A body is not compared: no two saves have one id, one time and one length.
fn is_same(known: &CheckpointRecord, told: &Checkpoint) -> bool {
    *known.fields == told.fields && known.saved == told.saved && known.body_bytes == told.body.as_bytes().len() as u64
}
