//! What the oracle is shown of checkpoints.

use rekindle::checkpoint::{CheckpointFields, HeldCheckpoint, RunContext};
use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::{AgentId, Incarnation};
use rekindle::session::Command;
use rekindle_server_core::effect::{Effect, Outcome};
use rekindle_shim_core::{CheckpointAnswer, CheckpointRefused, Input as ShimFact, TreeId};

use super::super::World;
use crate::mind::{Ask, task_of};
use crate::oracle::{Handed, TaskIsOver};
use crate::queue::ShimIx;
use crate::task::Task;

impl World {
    /// A shim's core wants its program run: what is it handed?
    pub(in crate::world) fn hands_over(&mut self, ix: ShimIx, tree: TreeId, incarnation: Incarnation) {
        let running = self.shims[ix.0].running.as_ref();
        let handed = running.and_then(|running| running.supervisor.handed_over(&tree));
        if self.swarm.checkpoints.is_some() {
            self.judge_handover(ix, &tree, incarnation, handed.as_ref());
        }
        if let Some(running) = &mut self.shims[ix.0].running {
            running.handing.insert(tree, handed);
        }
    }

    fn judge_handover(&mut self, ix: ShimIx, tree: &TreeId, incarnation: Incarnation, handed: Option<&HeldCheckpoint>) {
        let shim = &self.shims[ix.0];
        let running = shim.running.as_ref();
        if running.is_some_and(|running| running.writing.held.is_some()) && matches!(tree, TreeId::Life(_)) {
            let what = format!(
                "incarnation {incarnation} of {} begins while a save is written",
                shim.agent
            );
            self.oracle.fail(crate::oracle::Invariant::I8, what);
        }
        let unseen = self
            .unseen_file(ix, incarnation)
            .filter(|_| matches!(tree, TreeId::Life(_)));
        if let Some(what) = unseen.filter(|_| self.oracle.is_honest(&shim.agent)) {
            self.oracle
                .fail(crate::oracle::Invariant::I8, format!("of {}, {what}", shim.agent));
        }
        let shim = &self.shims[ix.0];
        let run = shim.runs.get(&incarnation);
        let own = shim.state.newest.clone();
        let offered = match run {
            Some(RunContext::Resume(resumption)) => resumption.offered.as_ref().map(|offered| offered.state.id),
            Some(RunContext::Fresh) | None => None,
        };
        let closed_tasks = match run {
            Some(RunContext::Resume(resumption)) => resumption.closed_tasks.clone(),
            Some(RunContext::Fresh) | None => Vec::new(),
        };
        let all = [
            handed.map(|held| held.checkpoint.id),
            own.as_ref().map(|held| held.checkpoint.id),
            offered,
        ];
        let mut tasks = Vec::new();
        for id in all.into_iter().flatten() {
            let task = self.oracle.task_of(&shim.agent, id);
            let over = task
                .as_ref()
                .map_or(TaskIsOver::No, |task| self.is_over_for(ix, task, &closed_tasks));
            tasks.push((id, over));
        }
        let poison_after = self.poison_after(&shim.agent, ix);
        let facts = Handed {
            incarnation,
            attempt: match tree {
                TreeId::Life(_) => None,
                TreeId::Attempt(attempt) => Some(attempt.execution.clone()),
            },
            handed,
            own: own.as_ref(),
            offered,
            run: run.cloned(),
            tasks,
            poison_after,
        };
        self.oracle.handed_over(shim, &facts, self.now);
        for fault in std::mem::take(&mut self.oracle.work.news) {
            self.fired(fault);
        }
    }

    /// The limit that surely holds, and the lowest that may.
    fn poison_after(&self, agent: &AgentId, ix: ShimIx) -> (u32, u32) {
        let nature = self.swarm.agents[self.shims[ix.0].nature].policy.poison_after;
        let charged = self.shims[ix.0]
            .journal
            .charge
            .as_ref()
            .map(|charge| charge.policy.poison_after);
        let known = self.server.disk.agent(agent).map(|record| record.policy.poison_after);
        let all = [
            Some(nature),
            charged,
            known,
            Some(rekindle::policy::AgentPolicy::default().poison_after),
        ];
        let limits = all.into_iter().flatten().filter(|limit| *limit > 0);
        let least = limits.clone().min().unwrap_or(u32::MAX);
        let never = all.into_iter().flatten().any(|limit| limit == 0);
        let most = if never {
            u32::MAX
        } else {
            limits.max().unwrap_or(u32::MAX)
        };
        (most, least)
    }

    /// Whether a task is over for a shim that is about to begin a life, as far as it surely knows, or may.
    fn is_over_for(&self, ix: ShimIx, task: &ExecutionId, closed_tasks: &[ExecutionId]) -> TaskIsOver {
        if closed_tasks.contains(task) {
            return TaskIsOver::Surely;
        }
        let agent = &self.shims[ix.0].agent;
        let known = self.oracle.execution(agent, task);
        let ended = known.is_none_or(|record| record.state.is_over());
        let cancelled = self.oracle.wanted_ended(agent, task).is_some();
        if ended || cancelled || self.was_worked_on(agent, task) {
            TaskIsOver::Perhaps
        } else {
            TaskIsOver::No
        }
    }

    /// A fact is about to reach a shim.
    pub(in crate::world) fn witness_saves(&mut self, ix: ShimIx, fact: &ShimFact) {
        if let ShimFact::StateFileRead { incarnation } = fact {
            self.oracle.is_known_to_have_read(&self.shims[ix.0], *incarnation);
        }
        let shim = &self.shims[ix.0];
        // Its shim may die before it answers, and has written down by then that it was asked.
        if let (ShimFact::LoadAsked { .. }, Some(newest)) = (fact, &shim.journal.checkpoint) {
            self.oracle.may_read(shim, shim.journal.last_incarnation, newest.id);
        }
        if let ShimFact::Commanded(
            _,
            Command::Run {
                incarnation, context, ..
            },
        ) = fact
        {
            self.shims[ix.0].runs.insert(*incarnation, context.clone());
        }
    }

    fn was_worked_on(&self, agent: &AgentId, task: &ExecutionId) -> bool {
        let is_over = |of: &Task| of.agent == *agent && of.attempt.execution == *task && of.is_over();
        // What a shim has begun the agent may never have seen.
        let told = self.shims.iter().filter(|shim| shim.agent == *agent).any(|shim| {
            let finished = shim
                .journal
                .outbox
                .iter()
                .filter_map(|report| report.fact.finished_attempt());
            finished.into_iter().any(|attempt| attempt.execution == *task)
        });
        told || self.tasks.iter().any(is_over)
    }

    /// What the server offers with an order is the newest that it has acknowledged, and not what is over. As it decides:
    /// what it hears before the order leaves is told by the next one.
    pub(in crate::world) fn judge_offers(&mut self, outcome: &Outcome) {
        if self.swarm.checkpoints.is_none() {
            return;
        }
        for effect in &outcome.then {
            if let Effect::Command {
                session,
                command: Command::Run {
                    incarnation, context, ..
                },
                ..
            } = effect
            {
                let stream = usize::try_from(session.0).expect("a stream's place");
                self.judge_offer(self.streams[stream].shim, *incarnation, context);
            }
        }
    }

    fn judge_offer(&mut self, ix: ShimIx, incarnation: Incarnation, context: &RunContext) {
        let agent = self.shims[ix.0].agent.clone();
        let newest = self.oracle.newest_kept(&agent);
        let task = newest.and_then(|id| self.oracle.task_of(&agent, id));
        let ended = |task: &ExecutionId| match self.oracle.execution(&agent, task).map(|record| record.state) {
            Some(ExecutionState::Lost) | None => TaskIsOver::Perhaps,
            Some(state) if state.is_over() => TaskIsOver::Surely,
            // Its shim may have said so.
            Some(_) if self.was_worked_on(&agent, task) => TaskIsOver::Perhaps,
            Some(_) => TaskIsOver::No,
        };
        let ends_with_it = |task: &ExecutionId| match context {
            RunContext::Resume(resumption) => resumption.closed_tasks.contains(task),
            RunContext::Fresh => false,
        };
        let over = match &task {
            // Its shim closes that, by the list beside what it is offered; and a cancel may have come to nothing since.
            Some(task) if ends_with_it(task) || self.oracle.wanted_ended(&agent, task).is_some() => TaskIsOver::Perhaps,
            Some(task) => ended(task),
            None => TaskIsOver::No,
        };
        let (_, may_die) = self.poison_after(&agent, ix);
        self.oracle.offered(&agent, incarnation, context, over, may_die);
    }

    /// A checkpoint that is about to be written is one that was saved.
    pub(super) fn judge_write(&mut self, ix: ShimIx, held: &HeldCheckpoint) {
        let task = task_of(&held.checkpoint.fields);
        let is_its =
            task.is_none_or(|task| self.knows_execution(&self.shims[ix.0].agent, &task, &held.checkpoint.fields));
        self.oracle.writes(&self.shims[ix.0], held, is_its);
    }

    /// Whether an agent was ever given an execution of this name, or has made the name up itself.
    fn knows_execution(&self, agent: &AgentId, task: &ExecutionId, _fields: &CheckpointFields) -> bool {
        let known = self.oracle.execution(agent, task).is_some();
        known
            || self
                .tasks
                .iter()
                .any(|of| of.agent == *agent && of.attempt.execution == *task)
    }

    pub(super) fn judge_answer_on_saves(
        &mut self,
        ix: ShimIx,
        ask: &Ask,
        answer: &Result<CheckpointAnswer, CheckpointRefused>,
    ) {
        let living = self
            .minds
            .get(&ask.uid)
            .map_or(Incarnation::ZERO, |mind| mind.incarnation);
        let shim = &self.shims[ix.0];
        self.oracle.answered(shim, ask, answer, living);
        for fault in std::mem::take(&mut self.oracle.work.news) {
            self.fired(fault);
        }
    }
}
