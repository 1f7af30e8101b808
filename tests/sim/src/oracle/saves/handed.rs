//! What lives are handed.

use std::time::Duration;

use rekindle::checkpoint::{AskedSave, CheckpointId, HeldCheckpoint, RunContext, Standing};
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Incarnation};

use super::super::{Invariant, Oracle};
use super::{Closed, Life, One, Stage};
use crate::fault::Fault;
use crate::shim::Shim;

/// A life, or a message's process, is about to begin.
pub(crate) struct Handed<'a> {
    pub(crate) incarnation: Incarnation,
    /// The execution that the process is begun for.
    pub(crate) attempt: Option<ExecutionId>,
    pub(crate) handed: Option<&'a HeldCheckpoint>,
    /// The newest on its shim's disk.
    pub(crate) own: Option<&'a HeldCheckpoint>,
    /// What the server has offered with the order.
    pub(crate) offered: Option<CheckpointId>,
    /// The server's order, where there was one.
    pub(crate) run: Option<RunContext>,
    /// Of each of these, whether its task is over.
    pub(crate) tasks: Vec<(CheckpointId, TaskIsOver)>,
    /// Crashes from which on something is surely set aside, and from which on it may be.
    pub(crate) poison_after: (u32, u32),
}

/// Whether the task of a checkpoint is over, as far as its shim or the server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TaskIsOver {
    No,
    Perhaps,
    Surely,
}

impl Handed<'_> {
    fn task(&self, id: CheckpointId) -> TaskIsOver {
        let known = self.tasks.iter().find(|(of, _)| *of == id);
        known.map_or(TaskIsOver::No, |(_, over)| *over)
    }

    fn own(&self) -> Option<CheckpointId> {
        self.own.map(|held| held.checkpoint.id)
    }
}

impl Oracle {
    /// Somebody is about to begin, with this.
    pub(crate) fn handed_over(&mut self, shim: &Shim, facts: &Handed<'_>, now: Duration) {
        let id = facts.handed.map(|held| held.checkpoint.id);
        if let Some(held) = facts.handed {
            self.judge_content(&shim.agent, &held.checkpoint);
        }
        if self.is_one_line(&shim.agent) {
            let problem = match facts.handed {
                Some(held) => self.problem_of_handed(shim, facts, held),
                None => self.problem_of_none(shim, facts),
            };
            if let Some(problem) = problem {
                let what = format!("incarnation {} of {} {problem}", facts.incarnation, shim.agent);
                self.fail(Invariant::I8, what);
            }
        }
        let one = id.and_then(|id| self.saves.ids.get(&(shim.agent.clone(), id)));
        if one.is_some_and(|one| one.by != Some(shim.marker)) {
            self.work.news.push(Fault::SavedElsewhere);
        }
        if facts.attempt.is_none() {
            self.began_anew(shim, facts.incarnation, facts.run.as_ref());
        }
        let key = (shim.agent.clone(), facts.incarnation);
        let life = self.saves.lives.entry(key).or_insert_with(|| Life {
            by: Some(shim.marker),
            began: now,
            ..Life::default()
        });
        life.handed = id.or(life.handed);
    }

    /// A life between two others that another shim began, and when.
    fn began_elsewhere(&self, shim: &Shim, after: Incarnation, before: Incarnation) -> Option<(Incarnation, Duration)> {
        if after.next() >= before {
            return None;
        }
        let (from, to) = ((shim.agent.clone(), after.next()), (shim.agent.clone(), before));
        let mut between = self.saves.lives.range(from..to);
        between
            .find_map(|((_, incarnation), life)| (life.by != Some(shim.marker)).then_some((*incarnation, life.began)))
    }

    fn problem_of_handed(&self, shim: &Shim, facts: &Handed<'_>, held: &HeldCheckpoint) -> Option<String> {
        let id = held.checkpoint.id;
        let one = self.one(&shim.agent, id)?;
        let here = one.on.contains(&shim.marker) && !self.saves.torn.contains(&shim.marker);
        if facts.run == Some(RunContext::Fresh) && facts.attempt.is_none() {
            return Some(format!("is to begin anew, and is handed {id}"));
        }
        if held.standing != Standing::Open {
            return Some(format!("is handed {id}, which is {:?}", held.standing));
        }
        if one.stage != Stage::Durable {
            return Some(format!("is handed {id}, which is on no disk: {one:?}"));
        }
        if facts.attempt.is_none() && id.incarnation >= facts.incarnation {
            return Some(format!("is handed {id}"));
        }
        if one.closed_at == Some(shim.marker) && here {
            return Some(format!("is handed {id}, which its agent has closed"));
        }
        if facts.task(id) == TaskIsOver::Surely {
            return Some(format!("is handed {id}, whose task is over"));
        }
        let (most, _) = facts.poison_after;
        if one.crashes.0 >= most && here && one.on.len() == 1 {
            return Some(format!("is handed {id}, of which {} lives have died", one.crashes.0));
        }
        self.problem_of_order(shim, facts, one, id)
            .or_else(|| self.problem_of_flags(shim, facts.incarnation, one, held))
    }

    /// It is the newest that there is for this life.
    fn problem_of_order(&self, shim: &Shim, facts: &Handed<'_>, one: &One, id: CheckpointId) -> Option<String> {
        let anew = self.saves.fresh.get(&shim.agent).filter(|(since, by)| {
            let knows = facts.run.is_some() || *by == shim.marker;
            knows && *since > id.incarnation && *since < facts.incarnation
        });
        let torn = self.saves.torn.contains(&shim.marker);
        if let Some((since, _)) = anew.filter(|_| !torn) {
            return Some(format!("is handed {id}, and {since} has begun anew"));
        }
        let late = self.began_elsewhere(shim, id.incarnation, facts.incarnation);
        let late = late.filter(|(_, began)| one.saved.is_some_and(|saved| saved > *began));
        if let Some((other, began)) = late.filter(|_| one.by == Some(shim.marker)) {
            return Some(format!(
                "is handed {id}, saved when {other} had begun elsewhere, at {began:?}"
            ));
        }
        let elsewhere = |own: &CheckpointId| self.began_elsewhere(shim, own.incarnation, facts.incarnation).is_some();
        if let Some(own) = facts.own().filter(|own| *own > id && !elsewhere(own)) {
            return Some(format!("is handed {id}, and its shim has {own}"));
        }
        (facts.offered > Some(id)).then(|| format!("is handed {id}, and was offered {:?}", facts.offered))
    }

    /// What is said to be clean is: the life that saved it, or confirmed it, ended well.
    fn problem_of_flags(&self, shim: &Shim, of: Incarnation, one: &One, held: &HeldCheckpoint) -> Option<String> {
        let id = held.checkpoint.id;
        let life = self.saves.lives.get(&(shim.agent.clone(), one.vouched))?;
        if one.vouched >= of {
            return None;
        }
        let ended_well = life
            .ended
            .is_some_and(|end| end.clean || end.asked == AskedSave::Saved(id) && end.asked.is_last_word(end.status));
        (!held.flags.unclean && !ended_well)
            .then(|| format!("is handed {id} as clean, and {} ended {:?}", one.vouched, life.ended))
    }

    /// Nothing is handed over only where there is nothing, or it is over.
    fn problem_of_none(&self, shim: &Shim, facts: &Handed<'_>) -> Option<String> {
        if facts.run == Some(RunContext::Fresh) {
            return None;
        }
        // What an earlier life of this shim has that came after another's has begun is late.
        let elsewhere = |own: &CheckpointId| self.began_elsewhere(shim, own.incarnation, facts.incarnation).is_some();
        let own = facts.own().filter(|own| !elsewhere(own));
        let newest = own.max(facts.offered)?;
        let one = self.one(&shim.agent, newest)?;
        let is_mine = facts
            .attempt
            .as_ref()
            .is_none_or(|attempt| one.task.as_ref() == Some(attempt));
        let (_, least) = facts.poison_after;
        let anew = self.may_be_closed_anew(&shim.agent, newest);
        let torn = self.saves.torn.contains(&shim.marker);
        let over = one.closed > Closed::No || facts.task(newest) > TaskIsOver::No;
        let explained = over || one.crashes.1 >= least || anew || torn;
        (is_mine && !explained).then(|| format!("is handed nothing, and there is {newest}: {one:?}"))
    }

    fn one(&self, agent: &AgentId, id: CheckpointId) -> Option<&One> {
        self.saves.ids.get(&(agent.clone(), id))
    }
}
