//! What lives do with checkpoints, and what their ends mean for them.

use rekindle::checkpoint::{AskedSave, CheckpointId, Flags, LifeEnd, Reception, crashes_after, is_poison};
use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::exit::{EndedBy, ExitClass};
use rekindle::exit_rule::classify;
use rekindle::id::{AgentId, Incarnation};

use super::super::life::{End, Lost};
use super::super::step::{Step, attributes};
use crate::checkpoint::Reading;
use crate::event::EventKind;
use crate::record::{Operation, OperationKind};

impl Step<'_> {
    /// A life has begun under the shim that holds the agent.
    pub(in super::super) fn began(&mut self, agent: &AgentId, incarnation: Incarnation) {
        let marker = self.record(agent).holder.as_ref().map(|holder| holder.marker);
        if let Some(marker) = marker {
            self.edit(agent).checkpoint_line.begins(incarnation, marker);
        }
    }

    /// The shim has handed a life a checkpoint.
    pub(in super::super) fn handed_over(&mut self, agent: &AgentId, incarnation: Incarnation, id: CheckpointId) {
        self.began(agent, incarnation);
        self.checkpoints(agent).is_shown(id);
        if let Some(begun) = &mut self.edit(agent).checkpoint_line.begun
            && begun.incarnation == incarnation
        {
            begun.handed = Some(id);
        }
        let kept = self.checkpoints(agent).kept.get(&id);
        let flags = kept.map(|record| record.flags.clone()).unwrap_or_default();
        let in_flight = flags.in_flight.len();
        let how = if flags.unclean {
            ", whose life ended uncleanly"
        } else {
            ""
        };
        let message = format!("incarnation {incarnation} goes on from checkpoint {id}{how}");
        let details = attributes([("unclean", &flags.unclean), ("in_flight", &in_flight)]);
        self.checkpoint_event(
            EventKind::CheckpointHandedOver,
            (agent, incarnation),
            id,
            message,
            details,
        );
    }

    /// A life has read what it was handed. Only the newest can be to blame for what follows.
    pub(in super::super) fn checkpoint_read(&mut self, agent: &AgentId, incarnation: Incarnation, id: CheckpointId) {
        let open = self.open_checkpoint(agent).filter(|open| open.id == id);
        let Some(open) = open.filter(|open| open.read.is_none_or(|read| read.by < incarnation)) else {
            return;
        };
        self.edit_checkpoint(agent, id).read = Some(Reading {
            by: incarnation,
            crashes: open.crashes,
        });
    }

    /// A life has made what it was handed its own.
    pub(in super::super) fn checkpoint_confirmed(
        &mut self,
        agent: &AgentId,
        incarnation: Incarnation,
        id: CheckpointId,
    ) {
        if self.open_checkpoint(agent).is_some_and(|open| open.id == id) {
            let record = self.edit_checkpoint(agent, id);
            record.confirmed_by = record.confirmed_by.max(Some(incarnation));
            record.crashes = 0;
            record.flags = Flags::default();
        }
    }

    /// A life is over: what that says of the newest checkpoint.
    pub(in super::super) fn checkpoint_after(&mut self, agent: &AgentId, incarnation: Incarnation, end: &End) {
        if let End::Exited(evidence) = end
            && let Some(operation) = &mut self.edit(agent).operation
            && operation.ends(incarnation)
        {
            operation.asked = Some(evidence.asked_save);
        }
        let Some(open) = self.open_checkpoint(agent) else {
            return;
        };
        let id = open.id;
        if open.bearer() == incarnation && !self.is_clean(agent, end) {
            self.is_unclean(agent, incarnation, end.is_unseen());
        }
        let crashes = match (open.reception(incarnation), self.life_end(agent, end)) {
            (Reception::Read, end @ LifeEnd::Crash) => {
                let before = open.read.map_or(0, |read| read.crashes);
                crashes_after(before, Reception::Read, end).max(open.crashes)
            }
            (reception @ (Reception::Given | Reception::Read), end) => crashes_after(open.crashes, reception, end),
            // What it saved, or made its own, counts none already.
            (Reception::Accepted, LifeEnd::Crash | LifeEnd::WithItsShim | LifeEnd::Other) => open.crashes,
        };
        if crashes != open.crashes {
            self.edit_checkpoint(agent, id).crashes = crashes;
        }
        if is_poison(crashes, self.record(agent).policy.poison_after) {
            self.set_aside(agent);
        }
    }

    /// The life whose work the newest is may go on where nobody sees it, or has ended there.
    pub(in super::super) fn checkpoint_given_up(&mut self, agent: &AgentId) {
        let lives = self.record(agent).process.as_ref().map(|process| process.incarnation);
        let bearer = self.open_checkpoint(agent).map(|open| open.bearer());
        if let Some(incarnation) = bearer.filter(|bearer| lives == Some(*bearer)) {
            self.is_unclean(agent, incarnation, Seen::No);
        }
    }

    fn is_unclean(&mut self, agent: &AgentId, incarnation: Incarnation, seen: Seen) {
        let Some(open) = self.open_checkpoint(agent) else {
            return;
        };
        // Whose shim is there has told itself what was in flight, as it finished what was not before it told the end.
        let in_flight = match seen {
            Seen::Yes => Vec::new(),
            Seen::No => self.in_flight_of(agent, incarnation),
        };
        let flags = Flags::unclean(open.flags.in_flight.iter().cloned().chain(in_flight));
        if flags != open.flags {
            self.edit_checkpoint(agent, open.id).flags = flags;
        }
    }

    /// What a life was given, and has not finished as far as anybody said.
    fn in_flight_of(&mut self, agent: &AgentId, incarnation: Incarnation) -> Vec<ExecutionId> {
        let work = self.work(agent);
        let records = work.records().filter(|record| match record.state {
            ExecutionState::Accepted | ExecutionState::Running => {
                let given = record.given_to.as_ref();
                given.is_some_and(|given| given.incarnation == incarnation)
            }
            ExecutionState::Queued
            | ExecutionState::Dispatched
            | ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::Cancelled
            | ExecutionState::TimedOut
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => false,
        });
        records.map(|record| record.id.clone()).collect()
    }

    /// Whether a life had nothing left to say: it ended well by itself, or saved when it was asked to.
    fn is_clean(&self, agent: &AgentId, end: &End) -> bool {
        let End::Exited(evidence) = end else { return false };
        match evidence.asked_save {
            AskedSave::Saved(_) => evidence.asked_save.is_last_word(evidence.status),
            AskedSave::NotSaved => false,
            AskedSave::NotAsked => {
                let rules = &self.record(agent).policy.exit_rules;
                evidence.ended_by == EndedBy::Itself && classify(rules, evidence, self.now.wall) == ExitClass::Clean
            }
        }
    }

    /// What an end is for the checkpoint that the life had read.
    fn life_end(&self, agent: &AgentId, end: &End) -> LifeEnd {
        let policy = &self.record(agent).policy;
        let evidence = match end {
            End::Exited(evidence) => evidence,
            End::SpawnFailed(_) | End::NotStarted => return LifeEnd::Crash,
            End::Lost(Lost::Shim) => return LifeEnd::WithItsShim,
            End::Rebooted(_) | End::Lost(Lost::ShimStop | Lost::Fence) => return LifeEnd::Other,
        };
        let class = match evidence.ended_by {
            EndedBy::Itself => Some(classify(&policy.exit_rules, evidence, self.now.wall)),
            EndedBy::StartTimeout
            | EndedBy::Watchdog
            | EndedBy::Stall
            | EndedBy::ShimDeath
            | EndedBy::MessageTimeout => Some(ExitClass::Crash),
            EndedBy::MessageCancel => Some(ExitClass::Interrupted),
            EndedBy::Command | EndedBy::ShimStop | EndedBy::Fence => None,
        };
        LifeEnd::seen(evidence.ended_by, class, evidence.uptime, policy.stable_after)
    }
}

/// Whether a shim saw a life end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Seen {
    Yes,
    No,
}

impl Operation {
    /// Whether it is by this order that a life ends.
    fn ends(&self, incarnation: Incarnation) -> bool {
        match self.kind {
            OperationKind::Restart | OperationKind::Start => incarnation < self.target,
            OperationKind::Stop => incarnation <= self.target,
        }
    }
}

impl End {
    /// Whether a shim saw it, and tells the rest.
    pub(in super::super) const fn is_unseen(&self) -> Seen {
        match self {
            Self::Exited(_) | Self::SpawnFailed(_) => Seen::Yes,
            Self::NotStarted | Self::Rebooted(_) | Self::Lost(_) => Seen::No,
        }
    }
}
