//! I8: what a life is handed was saved whole by an earlier one of the same agent, is the newest that could be had, and is
//! not over.

mod handed;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rekindle::checkpoint::{AskedSave, Checkpoint, CheckpointId, HeldCheckpoint, RunContext};
use rekindle::execution::ExecutionId;
use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus};
use rekindle::id::{AgentId, Incarnation, Marker};
use rekindle_server_core::event::EventKind;
use rekindle_server_core::record::Record;
use rekindle_shim_core::RequestNumber;

use super::{Invariant, Oracle};
use crate::fault::Fault;
use crate::mind::{Ask, AskWhat, Saved, Token, task_of};
use crate::shim::Shim;
use crate::swarm::STABLE_AFTER_MIN;

pub(crate) use handed::{Handed, TaskIsOver};

/// What is kept of checkpoints.
#[derive(Debug, Default)]
pub(crate) struct Saves {
    /// All that was ever saved, by whom.
    tokens: BTreeMap<Token, (AgentId, Incarnation, Saved)>,
    /// Those of which nobody said whose they are.
    unnamed: BTreeSet<Token>,
    /// What stands for each id.
    ids: BTreeMap<(AgentId, CheckpointId), One>,
    lives: BTreeMap<(AgentId, Incarnation), Life>,
    /// The newest that the server has said it has.
    kept: BTreeMap<AgentId, CheckpointId>,
    /// The newest life that began anew, and whose it was.
    fresh: BTreeMap<AgentId, (Incarnation, Marker)>,
    /// The newest life that there was when an operator last wanted one to begin anew.
    anew: BTreeMap<AgentId, Incarnation>,
    /// Agents that were deleted: who is made anew begins its incarnations anew, too.
    remade: BTreeSet<AgentId>,
    /// State directories whose newest file was torn.
    torn: BTreeSet<Marker>,
}

/// One checkpoint, as it truly is.
#[derive(Debug, Clone)]
struct One {
    token: Token,
    task: Option<ExecutionId>,
    stage: Stage,
    /// When it was on a disk for the first time.
    saved: Option<Duration>,
    /// Whose life saved it.
    by: Option<Marker>,
    /// Whose disks it was on.
    on: BTreeSet<Marker>,
    closed: Closed,
    /// Which shim has told its agent that it is closed; who has not heard of that may go on from it.
    closed_at: Option<Marker>,
    /// Lives in a row that surely read it and crashed, and all that may have, in a row or not.
    crashes: (u32, u32),
    /// The newest life that saved or confirmed it.
    vouched: Incarnation,
}

/// How far a save is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Writing,
    Durable,
    /// It never got to the disk, and nobody was told that it did.
    Lost,
}

/// Whether somebody has closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closed {
    No,
    /// Somebody has asked for that, or an operator has deleted it.
    Perhaps,
    /// Who asked was told so.
    Surely,
}

/// One life, as far as it concerns what was saved.
#[derive(Debug, Clone, Default)]
struct Life {
    by: Option<Marker>,
    began: Duration,
    handed: Option<CheckpointId>,
    /// It has read what it was handed, and its shim surely knows.
    read: bool,
    may_have_read: bool,
    /// It has confirmed it, or saved something of its own.
    accepted: bool,
    ended: Option<End>,
}

/// How a life ended that somebody saw end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    clean: bool,
    asked: AskedSave,
    status: ExitStatus,
}

impl Oracle {
    /// A process saves, by whichever way: from here on that is something which was saved.
    pub(crate) fn saves(&mut self, agent: &AgentId, incarnation: Incarnation, saved: &Saved) {
        let known = (agent.clone(), incarnation, saved.clone());
        self.saves.tokens.insert(saved.token, known);
    }

    /// Somebody asks its shim for something.
    pub(crate) fn asked(&mut self, shim: &Shim, _request: RequestNumber, ask: &Ask, _now: Duration) {
        let over = match ask.what {
            AskWhat::Close => true,
            AskWhat::Save(_, task) => task == rekindle_shim_core::TaskIs::Over,
            AskWhat::Load | AskWhat::Confirm => false,
        };
        if let (AskWhat::Save(token, _), None) = (ask.what, ask.named) {
            self.saves.unnamed.insert(token);
        }
        if over {
            // Whatever is the newest by the time that it is heard.
            for ((agent, _), one) in &mut self.saves.ids {
                if *agent == shim.agent {
                    one.closed = one.closed.max(Closed::Perhaps);
                }
            }
        }
    }

    /// A shim is about to write a checkpoint: it is one that its agent has saved, or another one's shim has.
    pub(crate) fn writes(&mut self, shim: &Shim, held: &HeldCheckpoint, is_its_task: bool) {
        let id = held.checkpoint.id;
        let Some(token) = self.judge_content(&shim.agent, &held.checkpoint) else {
            return;
        };
        if !is_its_task {
            let what = format!("{id} of {} names a task that it never had", shim.agent);
            return self.fail(Invariant::I8, what);
        }
        let key = (shim.agent.clone(), id);
        let life_of = self.saves.lives.get(&(shim.agent.clone(), id.incarnation));
        let fresh = One {
            token,
            task: task_of(&held.checkpoint.fields),
            stage: Stage::Writing,
            saved: None,
            by: life_of.and_then(|life| life.by),
            on: BTreeSet::new(),
            closed: Closed::No,
            closed_at: None,
            crashes: (0, 0),
            vouched: id.incarnation,
        };
        let over = self
            .saves
            .tokens
            .get(&token)
            .is_some_and(|(_, _, saved)| saved.task == rekindle_shim_core::TaskIs::Over);
        let known = self.saves.ids.entry(key).or_insert_with(|| fresh.clone());
        let again = known.token != token && self.saves.torn.contains(&shim.marker);
        if again {
            // What a disk has lost nobody can tell from what never was: its number comes again.
            self.saves.remade.insert(shim.agent.clone());
        }
        if known.stage == Stage::Lost || self.saves.remade.contains(&shim.agent) && known.token != token {
            *known = fresh;
        } else if known.token != token {
            let what = format!("{id} of {} is {:?}, and was {:?}", shim.agent, token, known.token);
            return self.fail(Invariant::I8, what);
        }
        if over && let Some(one) = self.saves.ids.get_mut(&(shim.agent.clone(), id)) {
            one.closed = one.closed.max(Closed::Perhaps);
        }
    }

    /// What a checkpoint says is what somebody saved, whole, of this agent and this life.
    fn judge_content(&mut self, agent: &AgentId, checkpoint: &Checkpoint) -> Option<Token> {
        let token = checkpoint.fields.stage.parse().ok().map(Token);
        let known = token.and_then(|token| self.saves.tokens.get(&token));
        let problem = match known {
            None => Some("was saved by nobody".to_owned()),
            Some((of, incarnation, saved)) => {
                let mut draft = saved.fields.clone().into_draft();
                if draft.task_id.is_empty() {
                    draft.task_id.clone_from(&checkpoint.fields.task_id);
                }
                let whole = *checkpoint.fields == draft && checkpoint.body == saved.body;
                // Who does not name its life may be heard when the next one has begun.
                let later = self.saves.unnamed.contains(&saved.token) && *incarnation < checkpoint.id.incarnation;
                let is_its = of == agent && (later || *incarnation == checkpoint.id.incarnation);
                (!whole || !is_its).then(|| format!("was saved by incarnation {incarnation} of {of} as {saved:?}"))
            }
        };
        if let Some(problem) = problem {
            self.fail(Invariant::I8, format!("{checkpoint:?} of {agent} {problem}"));
            return None;
        }
        token
    }

    /// Whether what is said of an agent's checkpoints can be held against anybody: no operator has lied about its lives, and
    /// none has deleted it.
    fn is_one_line(&self, agent: &AgentId) -> bool {
        self.is_honest(agent) && !self.saves.remade.contains(agent)
    }

    /// It is on the disk.
    pub(crate) fn written(&mut self, shim: &Shim, held: &HeldCheckpoint, now: Duration) {
        let id = held.checkpoint.id;
        let own = self
            .saves
            .lives
            .get(&(shim.agent.clone(), id.incarnation))
            .is_none_or(|life| life.by == Some(shim.marker));
        if let Some(one) = self.saves.ids.get_mut(&(shim.agent.clone(), id)) {
            one.stage = Stage::Durable;
            one.saved.get_or_insert(now);
            one.on.insert(shim.marker);
        }
        if own && let Some(life) = self.saves.lives.get_mut(&(shim.agent.clone(), id.incarnation)) {
            life.accepted = true;
        }
        self.saves.torn.remove(&shim.marker);
    }

    /// It is not, and the one before it is.
    pub(crate) fn not_written(&mut self, shim: &Shim, id: CheckpointId) {
        if let Some(one) = self.saves.ids.get_mut(&(shim.agent.clone(), id))
            && one.stage == Stage::Writing
        {
            one.stage = Stage::Lost;
        }
    }

    /// The newest file of a state directory cannot be read any more.
    pub(crate) fn torn(&mut self, shim: &Shim) {
        self.saves.torn.insert(shim.marker);
    }

    /// A power loss takes from a shim how often lives have died of what they read.
    pub(crate) fn counts_forgotten(&mut self, shim: &Shim) {
        for ((agent, _), one) in &mut self.saves.ids {
            if *agent == shim.agent {
                one.crashes.0 = 0;
            }
        }
    }

    /// The task that a checkpoint is of.
    pub(crate) fn task_of(&self, agent: &AgentId, id: CheckpointId) -> Option<ExecutionId> {
        self.saves.ids.get(&(agent.clone(), id))?.task.clone()
    }

    /// A life has looked at what it was handed; its shim may not have heard of it.
    pub(crate) fn has_read(&mut self, shim: &Shim, incarnation: Incarnation, id: CheckpointId) {
        let life = self.saves.lives.entry((shim.agent.clone(), incarnation)).or_default();
        life.may_have_read |= life.handed == Some(id);
    }

    /// A life is about to be given this, if it is open.
    pub(crate) fn may_read(&mut self, shim: &Shim, incarnation: Incarnation, id: CheckpointId) {
        let life = self.saves.lives.entry((shim.agent.clone(), incarnation)).or_default();
        if id.incarnation != incarnation {
            life.handed.get_or_insert(id);
            life.may_have_read = true;
        }
    }

    /// Its shim has heard of it.
    pub(crate) fn is_known_to_have_read(&mut self, shim: &Shim, incarnation: Incarnation) {
        if let Some(life) = self.saves.lives.get_mut(&(shim.agent.clone(), incarnation)) {
            life.read |= life.handed.is_some();
            life.may_have_read |= life.handed.is_some();
        }
    }

    /// A shim tells how a life ended.
    pub(super) fn saver_ended(
        &mut self,
        agent: &AgentId,
        incarnation: Incarnation,
        evidence: &ExitEvidence,
        crash: bool,
    ) {
        let clean = evidence.ended_by == EndedBy::Itself && evidence.status == ExitStatus::Exited(0);
        match evidence.asked_save {
            AskedSave::NotAsked => {}
            AskedSave::NotSaved => self.work.news.push(Fault::NotSavedWhenAsked),
            AskedSave::Saved(id) => {
                self.work.news.push(Fault::SavedWhenAsked);
                let one = self.saves.ids.get(&(agent.clone(), id));
                if id.incarnation != incarnation || one.is_none_or(|one| one.stage != Stage::Durable) {
                    let what =
                        format!("incarnation {incarnation} of {agent} is said to have saved {id} when it was asked to");
                    self.fail(Invariant::I8, what);
                }
            }
        }
        let Some(life) = self.saves.lives.get_mut(&(agent.clone(), incarnation)) else {
            return;
        };
        life.ended.get_or_insert(End {
            clean,
            asked: evidence.asked_save,
            status: evidence.status,
        });
        let life = life.clone();
        let Some(one) = life.handed.and_then(|id| self.saves.ids.get_mut(&(agent.clone(), id))) else {
            return;
        };
        if evidence.ended_by == EndedBy::ShimDeath {
            return;
        }
        if life.may_have_read && crash {
            one.crashes.1 += 1;
        }
        let stable = evidence.uptime >= STABLE_AFTER_MIN;
        if life.accepted || (life.may_have_read && (!crash || stable)) {
            one.crashes.0 = 0;
        } else if life.read && crash {
            one.crashes.0 += 1;
        }
    }

    /// A life is gone with its host, which blames nothing.
    pub(super) fn saver_rebooted(&mut self, agent: &AgentId, incarnation: Incarnation) {
        let life = self.saves.lives.get(&(agent.clone(), incarnation));
        let handed = life.and_then(|life| life.handed);
        if let Some(one) = handed.and_then(|id| self.saves.ids.get_mut(&(agent.clone(), id))) {
            one.crashes.0 = 0;
        }
    }

    /// One record has become durable: counts what is worth counting.
    pub(super) fn save_durable(&mut self, record: &Record) {
        let Record::Event(event) = record else { return };
        if event.kind == EventKind::CheckpointSetAside {
            self.work.news.push(Fault::SetAside);
        } else if event.kind == EventKind::CheckpointClosed && event.message.contains("is over") {
            self.work.news.push(Fault::ClosedWithTask);
        }
    }

    /// The store is an older one: what the server has said since binds nobody.
    pub(super) fn saves_set_back(&mut self) {
        self.saves.kept.clear();
    }

    /// An agent is deleted, and with it what the server has of its checkpoints.
    pub(super) fn saves_forgotten(&mut self, agent: &AgentId) {
        self.saves.kept.remove(agent);
        self.saves.remade.insert(agent.clone());
    }

    /// An operator wants a life to begin anew: what lives before it have saved, or save yet, may be closed from here on.
    pub(crate) fn begins_anew(&mut self, agent: &AgentId) {
        let newest = self.ahead.get(agent).map(|record| record.incarnation);
        self.saves.anew.insert(agent.clone(), newest.unwrap_or_default());
    }

    /// Whether it may have been closed as an operator wanted a life to begin anew.
    fn may_be_closed_anew(&self, agent: &AgentId, id: CheckpointId) -> bool {
        let asked = self
            .saves
            .anew
            .get(agent)
            .is_some_and(|through| *through >= id.incarnation);
        asked
            || self
                .saves
                .fresh
                .get(agent)
                .is_some_and(|(since, _)| *since > id.incarnation)
    }

    /// A life begins with an order of the server's.
    fn began_anew(&mut self, shim: &Shim, incarnation: Incarnation, run: Option<&RunContext>) {
        if run == Some(&RunContext::Fresh) {
            self.work.news.push(Fault::BegunAnew);
            self.saves.fresh.insert(shim.agent.clone(), (incarnation, shim.marker));
        }
    }
}
