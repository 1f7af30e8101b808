//! What the server is told of checkpoints: the newest, whenever it does not have it just so. Nothing of it waits in an outbox:
//! what was superseded meanwhile is of no use to anybody.

use std::time::Duration;

use rekindle::checkpoint::{CheckpointId, CheckpointState, HeldCheckpoint};
use rekindle::id::Incarnation;
use rekindle::report::ReportFact;
use rekindle::session::{CheckpointKept, CheckpointStock, ShimMessage};
use rekindle::time::MonoTime;

use super::super::{Link, Supervisor};
use crate::effect::{Deadline, DeadlineReason, Effect};
use crate::journal::Takes;

/// Shortest time between two checkpoints that the server is told of one life: each is a write there, of up to 272 KiB.
const PAUSE: Duration = Duration::from_secs(1);

/// What the server has, and was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Its newest, as far as it has said so.
    servers: Option<CheckpointState>,
    /// Told, and not answered.
    under_way: Option<CheckpointState>,
    /// It does not keep this one.
    refused: Option<CheckpointState>,
    told_at: Option<MonoTime>,
}

impl Told {
    pub(super) fn servers(&self) -> Option<CheckpointState> {
        self.servers.clone()
    }

    /// What it has offered is what it has.
    pub(super) fn server_has(&mut self, newest: Option<CheckpointState>) {
        self.servers = newest;
    }

    /// What it has of the newest stands as it does here.
    pub(super) fn server_agrees(&mut self, newest: Option<&CheckpointState>) {
        if let Some(newest) = newest.filter(|newest| Some(newest.id) == self.servers_newest()) {
            self.servers = Some(newest.clone());
        }
    }

    pub(super) fn servers_newest(&self) -> Option<CheckpointId> {
        self.servers.as_ref().map(|state| state.id)
    }
}

impl Supervisor {
    /// A server has welcomed the shim, and says what it has.
    pub(in super::super) fn checkpoints_welcomed(&mut self, stock: CheckpointStock) {
        self.checkpoints.told.under_way = None;
        self.checkpoints.told.told_at = None;
        let takes = match stock {
            CheckpointStock::NotTaken => Takes::No,
            CheckpointStock::Newest(newest) => {
                self.checkpoints.told.servers.clone_from(&newest);
                self.agree_on_newest(newest);
                Takes::Yes
            }
        };
        if self.journal.checkpoints != takes {
            self.journal_mut().checkpoints = takes;
        }
    }

    /// A report on a checkpoint, to a server that understands it: an earlier one would end the stream at it, again and again.
    pub(super) fn tell_of_checkpoint(&mut self, incarnation: Incarnation, fact: ReportFact) {
        match self.journal.checkpoints {
            Takes::Yes => {
                self.report(incarnation, fact);
            }
            Takes::No => {}
        }
    }

    /// What the server should be told, if it can be told anything.
    fn untold(&self) -> Option<HeldCheckpoint> {
        let told = &self.checkpoints.told;
        let held = self
            .held()
            .filter(|_| self.link == Link::Up && self.journal.checkpoints == Takes::Yes)?;
        let state = held.state();
        let is_known = [&told.servers, &told.refused, &told.under_way];
        let is_known = is_known.into_iter().flatten().any(|known| *known == state);
        // It would be refused: the agent was elsewhere meanwhile.
        let is_older = told.servers_newest().is_some_and(|newest| newest > state.id);
        (!is_known && !is_older).then_some(held)
    }

    /// Whether the server is to hear something yet, or to answer.
    pub(in super::super) fn is_checkpoint_owed(&self) -> bool {
        self.link == Link::Up && (self.checkpoints.told.under_way.is_some() || self.untold().is_some())
    }

    /// Tells it, where nothing that was told before is unanswered. While a life goes on, not too often.
    pub(in super::super) fn tell_checkpoint_in_time(&mut self) {
        if self
            .checkpoint_deadline()
            .is_some_and(|(at, _)| at <= self.clock.now.mono)
        {
            self.tell_checkpoint();
        }
    }

    pub(in super::super) fn tell_checkpoint(&mut self) {
        if self.checkpoints.told.under_way.is_none()
            && let Some(held) = self.untold()
        {
            let told = &mut self.checkpoints.told;
            told.under_way = Some(held.state());
            told.told_at = Some(self.clock.now.mono);
            self.effects.push(Effect::Send(ShimMessage::Checkpoint(Box::new(held))));
        }
    }

    /// When it may be told.
    pub(in super::super) fn checkpoint_deadline(&self) -> Option<Deadline> {
        let told = &self.checkpoints.told;
        if told.under_way.is_some() || self.untold().is_none() {
            return None;
        }
        let now = self.clock.now.mono;
        let paused = told.told_at.filter(|_| self.living().is_some());
        let at = paused.map_or(now, |told_at| told_at.saturating_add(PAUSE));
        Some((at, DeadlineReason::Checkpoint))
    }

    pub(in super::super) fn checkpoint_answered(&mut self, kept: CheckpointKept) {
        let told = &mut self.checkpoints.told;
        let Some(state) = told.under_way.take_if(|state| state.id == kept.id) else {
            return;
        };
        match kept.refused {
            None => told.servers = Some(state),
            Some(_) => told.refused = Some(state),
        }
    }
}
