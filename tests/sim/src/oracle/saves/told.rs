//! What shims and the server answer of checkpoints.

use rekindle::checkpoint::{CheckpointId, RunContext, Standing};
use rekindle::id::{AgentId, Incarnation};
use rekindle::session::CheckpointKept;
use rekindle_shim_core::{CheckpointAnswer, CheckpointRefused, TaskIs};

use super::super::{Invariant, Oracle};
use super::{Closed, Stage, TaskIsOver};
use crate::fault::Fault;
use crate::mind::{Ask, AskWhat};
use crate::shim::Shim;

impl Oracle {
    /// A shim answers its agent; `living` is the life that asked.
    pub(crate) fn answered(
        &mut self,
        shim: &Shim,
        ask: &Ask,
        answer: &Result<CheckpointAnswer, CheckpointRefused>,
        living: Incarnation,
    ) {
        let newest = shim.state.newest.as_ref();
        let problem = match (ask.what, answer) {
            (AskWhat::Save(token, task), Ok(CheckpointAnswer::Saved(id))) => {
                let one = self.saves.ids.get_mut(&(shim.agent.clone(), *id));
                let is_it = one
                    .as_ref()
                    .is_some_and(|one| one.token == token && one.stage == Stage::Durable);
                if let Some(one) = one.filter(|_| task == TaskIs::Over) {
                    (one.closed, one.closed_at) = (Closed::Surely, Some(shim.marker));
                    self.work.news.push(Fault::ClosedByAgent);
                }
                let there = newest.is_some_and(|held| held.checkpoint.id >= *id);
                let is_its = ask.named.is_none_or(|named| named == id.incarnation);
                (!is_it || !there || !is_its).then(|| format!("{id} is answered as saved, and is not on the disk"))
            }
            (AskWhat::Load, Ok(CheckpointAnswer::Loaded(loaded))) => loaded.as_ref().and_then(|held| {
                let id = held.checkpoint.id;
                self.judge_content(&shim.agent, &held.checkpoint);
                // Who asks is handed it by that.
                let life = self.saves.lives.get_mut(&(shim.agent.clone(), living));
                if let Some(life) = life.filter(|_| id.incarnation != living) {
                    life.handed = Some(id);
                    (life.read, life.may_have_read) = (true, true);
                }
                (id.incarnation > living).then(|| format!("{id} is loaded by incarnation {living}"))
            }),
            (AskWhat::Confirm, Ok(CheckpointAnswer::Done)) => {
                self.confirmed(shim, living);
                None
            }
            (AskWhat::Close, Ok(CheckpointAnswer::Done)) => {
                self.work.news.push(Fault::ClosedByAgent);
                let known = shim.journal.checkpoint.as_ref();
                let open = known.is_some_and(|state| state.standing == Standing::Open);
                let id = known.map(|state| state.id);
                if let Some(one) = id.and_then(|id| self.saves.ids.get_mut(&(shim.agent.clone(), id))) {
                    (one.closed, one.closed_at) = (Closed::Surely, Some(shim.marker));
                }
                open.then(|| format!("{id:?} is answered as closed, and is open on the disk"))
            }
            (_, Err(_)) => None,
            (what, Ok(answer)) => Some(format!("{what:?} is answered {answer:?}")),
        };
        if let Some(problem) = problem {
            self.fail(Invariant::I8, format!("of {}, {problem}", shim.agent));
        }
    }

    fn confirmed(&mut self, shim: &Shim, living: Incarnation) {
        self.work.news.push(Fault::Confirmed);
        let life = self.saves.lives.get_mut(&(shim.agent.clone(), living));
        let handed = life.and_then(|life| {
            life.accepted = true;
            life.handed
        });
        if let Some(one) = handed.and_then(|id| self.saves.ids.get_mut(&(shim.agent.clone(), id))) {
            one.vouched = one.vouched.max(living);
        }
    }

    /// The server says that it has a checkpoint, or why not.
    pub(crate) fn kept(&mut self, agent: &AgentId, kept: &CheckpointKept) {
        if kept.refused.is_some() {
            return self.work.news.push(Fault::CheckpointRefused);
        }
        let newest = self.saves.kept.entry(agent.clone()).or_insert(kept.id);
        *newest = kept.id.max(*newest);
        let one = self.saves.ids.get(&(agent.clone(), kept.id));
        if one.is_none_or(|one| one.stage != Stage::Durable) {
            let what = format!("the server has {} of {agent}, which was never on a disk", kept.id);
            self.fail(Invariant::I8, what);
        }
    }

    /// The newest that the server has said it has.
    pub(crate) fn newest_kept(&self, agent: &AgentId) -> Option<CheckpointId> {
        self.saves.kept.get(agent).copied()
    }

    /// Somebody deletes a checkpoint at the server, or is about to.
    pub(crate) fn deletes(&mut self, agent: &AgentId, id: CheckpointId) {
        self.work.news.push(Fault::CheckpointDeleted);
        if let Some(one) = self.saves.ids.get_mut(&(agent.clone(), id)) {
            one.closed = one.closed.max(Closed::Perhaps);
        }
        if self.saves.kept.get(agent) == Some(&id) {
            self.saves.kept.remove(agent);
        }
    }

    /// The server orders a life: what it offers with that is the newest that it has, and not open where that is over.
    /// `may_die` is the number of crashes from which on it may be set aside.
    pub(crate) fn offered(
        &mut self,
        agent: &AgentId,
        incarnation: Incarnation,
        context: &RunContext,
        task: TaskIsOver,
        may_die: u32,
    ) {
        if !self.is_one_line(agent) {
            return;
        }
        let RunContext::Resume(resumption) = context else {
            return;
        };
        let offered = resumption.offered.as_ref().map(|offered| &offered.state);
        let newest = self.newest_kept(agent);
        let id = offered.map(|state| state.id);
        let is_open = offered.is_some_and(|state| state.standing == Standing::Open);
        let one = newest.and_then(|id| self.saves.ids.get(&(agent.clone(), id)));
        let explained = one.is_none_or(|one| {
            let anew = newest.is_some_and(|id| self.may_be_closed_anew(agent, id));
            one.closed > Closed::No || task > TaskIsOver::No || one.crashes.1 >= may_die || anew
        });
        let problem = if id < newest {
            Some(format!("{id:?}, and has {newest:?}"))
        } else if id == newest && is_open && task == TaskIsOver::Surely {
            Some(format!("{id:?}, whose task is over"))
        } else if id == newest && id.is_some() && !is_open && !explained {
            Some(format!("{offered:?}, and it is {one:?}"))
        } else {
            None
        };
        if let Some(problem) = problem {
            let what = format!("with incarnation {incarnation} of {agent} the server offers {problem}");
            self.fail(Invariant::I8, what);
        }
    }
}
