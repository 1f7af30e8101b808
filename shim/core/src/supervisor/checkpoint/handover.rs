//! What a life begins with: the newest checkpoint that both halves know, written down before the life is there.

use std::sync::Arc;

use rekindle::checkpoint::{
    AskedSave, Checkpoint, CheckpointId, CheckpointState, ClosedBy, HeldCheckpoint, OfferedCheckpoint, Reception,
    Resumption, RunContext, Standing, merged, standing_at_run,
};
use rekindle::execution::{AttemptId, Delivery};
use rekindle::id::Incarnation;
use rekindle::report::ReportFact;

use super::super::{Leaving, Life, Supervisor};
use super::{Ended, is_task};
use crate::tree::TreeId;

/// Whether a life that is being ended was asked to save, and the newest that it had saved by then, durable or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Asked {
    No,
    Yes { newest: CheckpointId },
}

/// Whether a life can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prepared {
    /// What it is handed is being written.
    NotYet,
    Yes,
}

impl Supervisor {
    /// What the process that is run as this tree goes on with: asked for when `Spawn` or `SpawnAttempt` is carried out.
    pub fn handed_over(&self, tree: &TreeId) -> Option<HeldCheckpoint> {
        match tree {
            TreeId::Life(incarnation) => {
                let (life, held) = self.checkpoints.handing.as_ref()?;
                (life == incarnation).then(|| held.clone())
            }
            TreeId::Attempt(attempt) => self.handed_to_attempt(attempt),
        }
    }

    /// A message's process is handed what is of its own task.
    fn handed_to_attempt(&self, attempt: &AttemptId) -> Option<HeldCheckpoint> {
        let agent = &self.journal.agent;
        let held = self.held().filter(|held| held.standing.is_open())?;
        is_task(&held.checkpoint, agent, &attempt.execution).then_some(held)
    }

    /// What the next life is to begin with.
    pub(in super::super) fn note_context(&mut self, context: RunContext) {
        self.checkpoints.context = context;
    }

    /// Begins the life that comes next, where nothing lives and all that was said before is durable.
    pub(in super::super) fn begin_next(&mut self) {
        let free = match self.life {
            Life::Idle | Life::Quarantined(_) => self.leaving == Leaving::No,
            Life::Adopting(_) | Life::Sweeping(_) | Life::Starting { .. } | Life::Running(_) | Life::Ending(_) => false,
        };
        let Some(incarnation) = self.next.filter(|_| free && !self.checkpoints_pending()) else {
            return;
        };
        if let (Life::Quarantined(_), Some(child)) = (&self.life, &self.journal.child) {
            // Forced: it is given up.
            let given_up = child.incarnation;
            self.checkpoint_outlives(given_up, Ended::otherwise());
        }
        let context = self.checkpoints.context.clone();
        if self.prepare(context) == Prepared::Yes {
            self.next = None;
            self.checkpoints.context = RunContext::default();
            self.spawn(incarnation);
        }
    }

    /// A shim that is left alone goes on with what it knows.
    pub(in super::super) fn prepare_alone(&mut self) {
        let offered = self
            .checkpoints
            .told
            .servers()
            .map(|state| OfferedCheckpoint { state, content: None });
        let resumption = Resumption {
            offered,
            ..Resumption::default()
        };
        let _ = self.prepare(RunContext::Resume(Box::new(resumption)));
    }

    fn prepare(&mut self, context: RunContext) -> Prepared {
        match context {
            RunContext::Fresh => {
                self.close_for_fresh();
                Prepared::Yes
            }
            RunContext::Resume(resumption) => self.resume(*resumption),
        }
    }

    /// The server has closed the same in one commit with its order.
    fn close_for_fresh(&mut self) {
        let own = self.journal.checkpoint.clone();
        self.stands(own, |state| {
            if state.standing.is_open() {
                state.standing = Standing::Closed(ClosedBy::Fresh);
            }
        });
        self.checkpoints.told.server_agrees(self.journal.checkpoint.as_ref());
    }

    fn resume(&mut self, resumption: Resumption) -> Prepared {
        let Resumption {
            offered,
            closed_tasks,
            late_through,
        } = resumption;
        let own = self.journal.checkpoint.clone();
        let newest_there = offered.as_ref().map(|offered| offered.state.id);
        let is_late = |own: &CheckpointState| own.id.incarnation <= late_through && Some(own.id) > newest_there;
        // Without another one in its place it is kept as closed: the next shim would find it open.
        let own = match own {
            Some(late) if is_late(&late) => newest_there.is_none().then_some(CheckpointState {
                standing: Standing::Closed(ClosedBy::Fresh),
                ..late
            }),
            own => own,
        };
        let (offered, content) = match offered {
            Some(OfferedCheckpoint { state, content }) => (Some(state), content),
            None => (None, None),
        };
        // Of an agent of the same name that was deleted: what is known of it here says nothing of the server's.
        let own = own.filter(|own| !self.is_namesake(own.id, content.as_ref()));
        if offered.is_some() {
            self.checkpoints.told.server_has(offered.clone());
        }
        let newest = merged(own, offered);
        if let (Some(content), Some(state)) = (content, newest.clone())
            && content.id == state.id
            && self.checkpoint_shown() != Some((content.id, content.saved))
        {
            self.write(HeldCheckpoint::new(content, state), None);
            return Prepared::NotYet;
        }
        let poison_after = self.policy.poison_after;
        let content = self.checkpoints.content.clone();
        let agent = self.journal.agent.clone();
        self.stands(newest, |state| {
            let content = content.as_ref().filter(|content| content.id == state.id);
            let is_closed = |content: &Arc<Checkpoint>| closed_tasks.iter().any(|task| is_task(content, &agent, task));
            if content.is_some_and(is_closed) && state.standing.is_open() {
                state.standing = Standing::Closed(ClosedBy::Task);
            }
            state.standing = standing_at_run(state.standing, state.crashes, poison_after);
        });
        Prepared::Yes
    }

    /// Whether what is held under this id is other than what the server has under it.
    fn is_namesake(&self, id: CheckpointId, servers: Option<&Arc<Checkpoint>>) -> bool {
        let held = self.checkpoints.content.as_ref().filter(|held| held.id == id);
        let servers = servers.filter(|servers| servers.id == id);
        held.zip(servers)
            .is_some_and(|(held, servers)| held.saved != servers.saved)
    }

    /// So the newest stands from here on.
    fn stands(&mut self, state: Option<CheckpointState>, change: impl FnOnce(&mut CheckpointState)) {
        let state = state.map(|mut state| {
            change(&mut state);
            state
        });
        // The file stays, and is newer by its id.
        let passed_over = self.checkpoints.content.take_if(|content| {
            let newest = state.as_ref().map(|state| state.id);
            newest < Some(content.id)
        });
        if let Some(content) = passed_over {
            self.journal_mut().passed_over = Some((content.id, content.saved));
        }
        if state != self.journal.checkpoint {
            self.journal_mut().checkpoint = state;
        }
    }

    /// What the server offered is on the disk, or cannot be.
    pub(super) fn take_offered(&mut self, held: HeldCheckpoint) {
        // A shim that is left alone gives no life a number that had one.
        self.number(held.checkpoint.id.incarnation);
        self.journal_mut().checkpoint = Some(held.state());
        self.checkpoints.content = Some(held.checkpoint);
    }

    /// The life begins, and is handed what is open. Where each message has a process of its own, that is.
    pub(in super::super) fn hand_over(&mut self, incarnation: Incarnation) {
        self.checkpoints.last_words = None;
        self.checkpoints.after = None;
        let held = match self.settings.delivery {
            Delivery::None | Delivery::Pull | Delivery::Stdin => self.held().filter(|held| held.standing.is_open()),
            Delivery::PerMessage => None,
        };
        self.journal_mut().handed = None;
        if let Some(held) = &held {
            self.note_reception(incarnation, held.checkpoint.id, Reception::Given);
        }
        self.checkpoints.handing = held.map(|held| (incarnation, held));
    }

    /// The process is there that was handed it.
    pub(in super::super) fn tell_handed_over(&mut self, incarnation: Incarnation) {
        if let Some((_, held)) = self
            .checkpoints
            .handing
            .as_ref()
            .filter(|(life, _)| *life == incarnation)
        {
            let id = held.checkpoint.id;
            self.tell_of_checkpoint(incarnation, ReportFact::HandedOver(id));
        }
    }

    /// As [`Supervisor::tell_handed_over`], of a message's process.
    pub(in super::super) fn tell_handed_to_attempt(&mut self, attempt: &AttemptId) {
        let Some(incarnation) = self.living() else { return };
        let held = self.handed_to_attempt(attempt);
        let Some(id) = held
            .map(|held| held.checkpoint.id)
            .filter(|id| id.incarnation != incarnation)
        else {
            return;
        };
        if self.reception(incarnation, id).is_none() {
            self.note_reception(incarnation, id, Reception::Given);
            self.tell_of_checkpoint(incarnation, ReportFact::HandedOver(id));
        }
    }

    /// The life is asked to save from here on.
    pub(in super::super) fn ask_to_save(&self, incarnation: Incarnation) -> Asked {
        let next = self.next_id(incarnation).number;
        let waiting = self
            .checkpoints
            .waiting
            .iter()
            .filter(|job| job.is_save_of(incarnation));
        let waiting = u32::try_from(waiting.count()).expect("what waits has a bound");
        let number = next.saturating_sub(1).saturating_add(waiting);
        Asked::Yes {
            newest: CheckpointId::new(incarnation, number),
        }
    }

    /// Whether it did, once all that it said is durable.
    pub(in super::super) fn asked_save(&self, asked: Asked) -> AskedSave {
        let newest = self.journal.checkpoint.as_ref().map(|state| state.id);
        match (asked, newest) {
            (Asked::No, _) => AskedSave::NotAsked,
            (Asked::Yes { newest: before }, Some(id)) if id > before => AskedSave::Saved(id),
            (Asked::Yes { .. }, _) => AskedSave::NotSaved,
        }
    }

    /// As an earlier shim left it, so that the last life's newest save may be in its state file still.
    pub(in super::super) fn hear_last_words(&mut self, incarnation: Incarnation) {
        if incarnation > Incarnation::ZERO {
            self.checkpoints.last_words = Some(incarnation);
        }
    }

    /// The server is told what there is: later, no more of that life comes.
    pub(in super::super) fn heard_last_words(&mut self) {
        self.checkpoints.last_words = None;
    }

    /// The newest by the word of the server that has welcomed the shim.
    pub(super) fn agree_on_newest(&mut self, servers: Option<CheckpointState>) {
        let own = self.journal.checkpoint.clone();
        let Some(own_id) = own.as_ref().map(|own| own.id) else {
            return;
        };
        if let Some(both) = merged(own.clone(), servers).filter(|both| both.id == own_id)
            && Some(&both) != own.as_ref()
        {
            self.journal_mut().checkpoint = Some(both);
        }
    }
}
