//! Checkpoints: what the agent saves, and what the next life is handed of it.
//!
//! ```text
//! the agent saves ──> waits ──> is being written ──> durable: the newest, OPEN ──┬──> handed to the next life
//!                     (one after the other)          superseded by the next one  ├──> CLOSED: its task is over
//!                                                                                └──> SET ASIDE: who read it crashed
//! ```
//!
//! The content of the newest is in a file of the state directory, whole or not at all. How it stands is the journal's to
//! tell, and only where that differs from a checkpoint that was just saved: one that is newer than the journal's is open. So
//! a save is one write, and each later change of how it stands is one, too.
//!
//! Keeps invariant I8: a checkpoint is of the life that saved it, and one that a life is handed is whole.

mod blame;
mod handover;
mod told;
mod word;

use std::collections::VecDeque;
use std::sync::Arc;

use rekindle::checkpoint::{
    Checkpoint, CheckpointBody, CheckpointFields, CheckpointId, CheckpointState, ClosedBy, Flags, HeldCheckpoint,
    RunContext, Standing,
};
use rekindle::execution::{ExecutionId, Verdict};
use rekindle::id::{AgentId, Incarnation};
use rekindle::time::Timestamp;

use super::Supervisor;
use crate::effect::{CheckpointAnswer, CheckpointRefused, Effect, Outlives};
use crate::input::{NotWritten, RequestNumber, TaskIs};
use crate::journal::JournalHanded;
use told::Told;

pub(super) use blame::Ended;
pub(super) use handover::Asked;

/// Words of the agent that wait for the disk at a time: a life says them one after the other, and one more for each of what it
/// works on side by side is generous. Each may hold a body.
const WAITING_MAX: usize = 8;

/// What the supervisor knows of checkpoints beside the journal.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkpoints {
    /// What the state directory holds.
    content: Option<Arc<Checkpoint>>,
    /// Under way to the disk.
    writing: Option<Writing>,
    /// What comes after that, in order.
    waiting: VecDeque<Job>,
    /// The newest number that was given out: that of a failed write is not given again, as it may be on the disk.
    numbered: Option<CheckpointId>,
    /// The life before this shim's first, of which the newest save may have been left in its state file.
    last_words: Option<Incarnation>,
    /// The newest life that is over, and what its end makes of a save of its that the disk is late with.
    after: Option<(Incarnation, Flags)>,
    /// What the life that comes next begins with.
    context: RunContext,
    /// What the newest life was handed.
    handing: Option<(Incarnation, HeldCheckpoint)>,
    told: Told,
}

/// Something that has to wait until what came before it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Job {
    Save {
        request: RequestNumber,
        incarnation: Incarnation,
        fields: CheckpointFields,
        body: CheckpointBody,
        task: TaskIs,
    },
    Confirm {
        request: RequestNumber,
        incarnation: Incarnation,
    },
    Close {
        request: RequestNumber,
    },
    /// The task is over.
    CloseTask(ExecutionId),
}

impl Job {
    fn is_save_of(&self, life: Incarnation) -> bool {
        match self {
            Self::Save { incarnation, .. } => *incarnation == life,
            Self::Confirm { .. } | Self::Close { .. } | Self::CloseTask(_) => false,
        }
    }
}

/// A write that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Writing {
    held: HeldCheckpoint,
    /// `None` where the server offered it.
    saved: Option<(RequestNumber, TaskIs)>,
}

impl Supervisor {
    /// Takes up what the state directory holds.
    pub(super) fn take_up_checkpoint(&mut self, held: Option<HeldCheckpoint>) {
        let Some(held) = held else { return };
        if self.journal.passed_over == Some((held.checkpoint.id, held.checkpoint.saved)) {
            return;
        }
        let written = self.journal.checkpoint.as_ref();
        let counts = match written {
            None => true,
            // Saved after the journal was written; or what was newer is lost, and had not been closed.
            Some(written) => {
                held.checkpoint.id > written.id || held.checkpoint.id < written.id && written.standing.is_open()
            }
        };
        let counts = counts && Some(held.checkpoint.id) > self.journal.closed_through;
        let is_older = written.is_some_and(|written| held.checkpoint.id < written.id);
        if let Some(written) = written {
            self.checkpoints.numbered = Some(written.id);
        }
        if counts {
            let mut state = held.state();
            // The disk may have been late with it: what the life's end has made of its save before holds for this one, too.
            let of_its_life = written.filter(|written| written.id.incarnation == state.id.incarnation);
            if let Some(written) = of_its_life {
                state.flags = written.flags.clone();
            }
            if is_older {
                self.journal_mut().handed = None;
            }
            if is_older || self.journal.boot_id != self.settings.host.boot_id {
                // Nobody knows how the life went on.
                state.flags.unclean = true;
            }
            self.journal_mut().checkpoint = Some(state);
        }
        self.checkpoints.content = Some(held.checkpoint);
    }

    /// How a checkpoint stands is forgotten with the next save; that it is over is not.
    pub(super) fn remember_closed(&mut self) {
        let closed = self
            .journal
            .checkpoint
            .as_ref()
            .filter(|state| !state.standing.is_open());
        self.journal.closed_through = self.journal.closed_through.max(closed.map(|state| state.id));
    }

    /// The newest checkpoint, where its content is here.
    fn held(&self) -> Option<HeldCheckpoint> {
        let state = self.journal.checkpoint.as_ref()?;
        let content = self
            .checkpoints
            .content
            .as_ref()
            .filter(|content| content.id == state.id)?;
        Some(HeldCheckpoint::new(Arc::clone(content), state.clone()))
    }

    /// The newest that the state directory holds whole, and when it was saved.
    pub(super) fn checkpoint_shown(&self) -> Option<(CheckpointId, Timestamp)> {
        self.checkpoints
            .content
            .as_ref()
            .map(|content| (content.id, content.saved))
    }

    /// Whether something is not durable yet that a life has said. The next one waits for that.
    pub(super) fn checkpoints_pending(&self) -> bool {
        self.checkpoints.writing.is_some() || !self.checkpoints.waiting.is_empty()
    }

    /// Whether a life that died with its shim has saved what is not durable yet.
    pub(super) fn last_words_pending(&self) -> bool {
        let Some(dead) = self.checkpoints.last_words else {
            return false;
        };
        let writing = self.checkpoints.writing.as_ref();
        writing.is_some_and(|writing| writing.held.checkpoint.id.incarnation == dead)
            || self.checkpoints.waiting.iter().any(|job| job.is_save_of(dead))
    }

    /// Whether something is on its way to the disk.
    pub(super) fn is_being_written(&self) -> bool {
        self.checkpoints.writing.is_some()
    }

    /// What is over is closed before another program takes this one's place; who waits for a save asks that one.
    pub(super) fn close_what_waits(&mut self) {
        for job in std::mem::take(&mut self.checkpoints.waiting) {
            if let Job::CloseTask(execution) = &job {
                self.close_if_of(execution);
            }
            self.checkpoints.waiting.push_back(job);
        }
    }

    /// Does what waits, up to the next write.
    pub(super) fn pursue_checkpoints(&mut self) {
        while self.checkpoints.writing.is_none()
            // Who saves all the time would put it off for ever.
            && !self.is_upgrade_due()
            && let Some(job) = self.checkpoints.waiting.pop_front()
        {
            match job {
                Job::Save {
                    request,
                    incarnation,
                    fields,
                    body,
                    task,
                } => self.begin_save(request, incarnation, fields, body, task),
                Job::Confirm { request, incarnation } => {
                    let answer = self.confirm(incarnation);
                    self.answer_checkpoint(request, answer.map(|()| CheckpointAnswer::Done));
                }
                Job::Close { request } => {
                    let answer = self.close(ClosedBy::Agent);
                    self.answer_checkpoint(request, answer.map(|()| CheckpointAnswer::Done));
                }
                Job::CloseTask(execution) => self.close_if_of(&execution),
            }
        }
        self.conclude_gone();
        self.begin_next();
    }

    fn begin_save(
        &mut self,
        request: RequestNumber,
        incarnation: Incarnation,
        fields: CheckpointFields,
        body: CheckpointBody,
        task: TaskIs,
    ) {
        let id = self.next_id(incarnation);
        self.checkpoints.numbered = Some(id);
        let checkpoint = Checkpoint {
            id,
            fields,
            body,
            saved: self.clock.now.wall,
        };
        let held = HeldCheckpoint::new(Arc::new(checkpoint), CheckpointState::saved(id));
        self.write(held, Some((request, task)));
    }

    fn write(&mut self, held: HeldCheckpoint, saved: Option<(RequestNumber, TaskIs)>) {
        self.effects.push(Effect::WriteCheckpoint(held.clone()));
        self.checkpoints.writing = Some(Writing { held, saved });
    }

    /// Numbers of one life only rise, whatever has become of the newest.
    fn next_id(&self, incarnation: Incarnation) -> CheckpointId {
        let known = [
            self.journal.checkpoint.as_ref().map(|state| state.id),
            self.checkpoint_shown().map(|(id, _)| id),
            self.checkpoints.numbered,
            self.checkpoints.told.servers_newest(),
        ];
        let of_life = known.into_iter().flatten().filter(|id| id.incarnation == incarnation);
        let newest = of_life.map(|id| id.number).max().unwrap_or(0);
        CheckpointId::new(incarnation, newest.saturating_add(1))
    }

    pub(super) fn checkpoint_written(&mut self, id: CheckpointId, result: Result<(), NotWritten>) {
        let Some(writing) = self
            .checkpoints
            .writing
            .take_if(|writing| writing.held.checkpoint.id == id)
        else {
            return;
        };
        match writing.saved {
            // A life that begins is not held up by a disk that is full: it goes on with what is in memory.
            None => self.take_offered(writing.held),
            Some((request, task)) => {
                let answer = match result {
                    Ok(()) => {
                        self.saved(writing.held, task);
                        Ok(CheckpointAnswer::Saved(id))
                    }
                    Err(why) => Err(CheckpointRefused::NotWritten(why)),
                };
                self.answer_checkpoint(request, answer);
            }
        }
        self.pursue_checkpoints();
    }

    /// It is durable, and the newest. That alone is not worth a write of the journal: the file tells it.
    fn saved(&mut self, held: HeldCheckpoint, task: TaskIs) {
        let mut state = held.state();
        if let Some((_, flags)) = (self.checkpoints.after.as_ref()).filter(|(life, _)| *life == state.id.incarnation) {
            state.flags = flags.clone();
            self.journal_mut();
        }
        self.journal.checkpoint = Some(state);
        self.checkpoints.content = Some(held.checkpoint);
        match task {
            TaskIs::GoingOn => {}
            TaskIs::Over => self.change_standing(Standing::Closed(ClosedBy::Agent)),
        }
    }

    /// The agent is told so only once a power loss cannot take it: else the next life would do again what is done.
    fn change_standing(&mut self, standing: Standing) {
        if let Some(state) = &mut self.journal_mut().checkpoint {
            state.standing = standing;
        }
        self.outlives = Outlives::TheBoot;
    }

    fn close(&mut self, by: ClosedBy) -> Result<(), CheckpointRefused> {
        let state = self
            .journal
            .checkpoint
            .as_ref()
            .ok_or(CheckpointRefused::NothingSaved)?;
        if state.standing.is_open() {
            self.change_standing(Standing::Closed(by));
        }
        Ok(())
    }

    /// Its checkpoint is closed with what is over by the word of the agent or of its processes. What was interrupted goes on in
    /// another life, and of what was cancelled the server knows whether it does.
    pub(super) fn close_with(&mut self, execution: &ExecutionId, verdict: Verdict) {
        match verdict {
            Verdict::Succeeded | Verdict::Failed | Verdict::TimedOut => self.close_task(execution),
            Verdict::SpawnFailed | Verdict::Cancelled | Verdict::Interrupted | Verdict::NotBegun => {}
        }
    }

    /// The execution has ended, by the word of the agent or of its processes.
    fn close_task(&mut self, execution: &ExecutionId) {
        let job = Job::CloseTask(execution.clone());
        if !self.checkpoints_pending() {
            self.close_if_of(execution);
        } else if !self.checkpoints.waiting.contains(&job) {
            self.checkpoints.waiting.push_back(job);
        }
    }

    fn close_if_of(&mut self, execution: &ExecutionId) {
        let agent = &self.journal.agent;
        let is_open = |held: &HeldCheckpoint| held.standing.is_open();
        if self
            .held()
            .filter(is_open)
            .is_some_and(|held| is_task(&held.checkpoint, agent, execution))
            && let Some(state) = &mut self.journal_mut().checkpoint
        {
            state.standing = Standing::Closed(ClosedBy::Task);
        }
    }

    fn answer_checkpoint(&mut self, request: RequestNumber, answer: Result<CheckpointAnswer, CheckpointRefused>) {
        self.effects.push(Effect::AnswerCheckpoint { request, answer });
    }

    /// Whether what the journal says of checkpoints can be so.
    pub(super) fn checkpoints_are_sound(&self) -> bool {
        let child = self.journal.child.as_ref().map(|child| child.incarnation);
        let is_living = |handed: &JournalHanded| Some(handed.incarnation) == child;
        self.journal.handed.as_ref().is_none_or(is_living)
    }
}

/// Whether a checkpoint is of this execution: it names it, by its id or its whole name.
fn is_task(checkpoint: &Checkpoint, agent: &AgentId, execution: &ExecutionId) -> bool {
    let task = &checkpoint.fields.task_id;
    task == execution.as_str() || *task == execution.name(agent)
}
