//! Slots and times: how many messages are worked on at once, how often each begins, and how long each may take.

use std::time::Duration;

use rekindle::execution::{AttemptId, ExecutionState};
use rekindle::id::AgentId;
use rekindle_shim_core::TreeId;

use super::super::World;
use crate::host::GivenUp;
use crate::oracle::Invariant;
use crate::queue::{Event, ShimIx, TaskIx};
use crate::shim::EndAsked;
use crate::task::Task;

/// Time from the limit to the first signal, as the design has it.
const IN_TIME: Duration = Duration::from_millis(250);

/// A shim that did not run for a while hears first what was said meanwhile.
const LATE: Duration = Duration::from_millis(1_500);

/// A shim that comes up beside an agent lets it say for as long that it is done.
const COME_BACK: Duration = Duration::from_secs(5);

impl World {
    /// Never more than there are slots: what is alive of an agent under one shim.
    pub(super) fn judge_slots(&mut self, ix: ShimIx) {
        let Some(running) = &self.shims[ix.0].running else {
            return;
        };
        let slots = running.supervisor.policy().max_concurrent as usize;
        let alive = |task: &&Task| task.shim == ix && !task.is_over() && !self.is_given_up(task);
        let alive = self.tasks.iter().filter(alive).count();
        if alive > slots {
            let what = format!(
                "{} works on {alive} messages, and has {slots} slots",
                self.shims[ix.0].agent
            );
            self.oracle.fail(Invariant::I6, what);
        }
    }

    pub(in crate::world) fn is_given_up(&self, task: &Task) -> bool {
        let process = task.worker().and_then(|uid| self.hosts[task.host.0].find(uid));
        process.is_some_and(|process| process.given_up == GivenUp::Named)
    }

    /// What begins is wanted, and does not begin more often than was asked for.
    pub(super) fn judge_task_begin(&mut self, ix: TaskIx) {
        let task = &self.tasks[ix.0];
        let (agent, attempt) = (task.agent.clone(), task.attempt.clone());
        if !self.oracle.is_honest(&agent) {
            return;
        }
        let mut beside = self.tasks.iter().filter(|other| {
            let is_namesake = other.shim == task.shim && other.attempt.is_namesake(&attempt);
            is_namesake && other.worker().is_some() && !self.is_given_up(other)
        });
        if let Some(other) = beside.next() {
            let what = format!("{attempt} of {agent} begins beside another execution of its name: {other:?}");
            return self.oracle.fail(Invariant::I6, what);
        }
        drop(beside);
        let known = self.server.disk.execution_of(&agent, &attempt);
        let state = known.map(|record| (record.state, record.attempt));
        match state {
            Some((state, number)) if may_run(state) && number == attempt.number => {}
            Some((state, number)) => {
                let what = format!("{attempt} of {agent} begins, and it is {state} in attempt {number}");
                self.oracle.fail(Invariant::I6, what);
            }
            // Its agent was deleted, or the store was set back to before it was made.
            None => return,
        }
        self.oracle.task_began(&agent, &attempt);
    }

    /// Its time is over: somebody must have done something about it, if its shim could.
    pub(in crate::world) fn task_due(&mut self, ix: TaskIx) {
        let task = &self.tasks[ix.0];
        let (Some(began), Some(worker)) = (task.began(), task.worker()) else {
            return;
        };
        let shim = &self.shims[task.shim.0];
        let Some(running) = &shim.running else {
            return self.after(LATE, Event::TaskDue(ix));
        };
        if let Some(until) = self.hindered(task.shim, shim.life) {
            return self.queue.push(until, Event::TaskDue(ix));
        }
        // Under a shim that has come up since it may say for a moment that it is done.
        let due = task.extra
            + if running.steady_since > began {
                running.steady_since + (task.timeout + LATE).max(COME_BACK)
            } else {
                began + task.timeout
            };
        if self.now < due + IN_TIME {
            return self.queue.push(due + IN_TIME, Event::TaskDue(ix));
        }
        let tree = self.tree_of_task(ix);
        // One that ends by itself, as it has said, has the time for that.
        let ends = running.supervisor.ending(&tree).is_some();
        let grace = running.supervisor.policy().stop_grace + IN_TIME;
        if ends && self.now < due + IN_TIME + grace {
            return self.queue.push(due + IN_TIME + grace, Event::TaskDue(ix));
        }
        let watched = running.watched(&tree);
        let ended = watched.is_none_or(|watched| watched.asked == EndAsked::Yes || watched.died.is_some());
        let dying = self.hosts[task.host.0].find(worker).is_none_or(super::is_killed);
        if !ended && !dying {
            let what = format!(
                "{} of {} had {:?}, and works on after {:?}",
                task.attempt,
                task.agent,
                task.timeout,
                self.now.saturating_sub(began)
            );
            self.oracle.fail(Invariant::InTime, what);
        }
    }

    /// I4: a message's process is ended only because somebody wants that, or its time is over.
    pub(in crate::world) fn is_task_to_end(&self, ix: ShimIx, tree: &TreeId, by: Wanted) -> bool {
        if by == Wanted::ByTime && self.had_its_time(ix, tree) {
            return true;
        }
        let of_tree = |task: &&Task| {
            task.shim == ix
                && match tree {
                    TreeId::Life(incarnation) => task.incarnation == *incarnation,
                    TreeId::Attempt(attempt) => task.attempt == *attempt,
                }
        };
        let mut tasks = self.tasks.iter().filter(of_tree);
        match by {
            Wanted::ByTime => tasks.any(|task| {
                let had = task.began().map(|began| self.now.saturating_sub(began));
                had.is_some_and(|had| had >= task.timeout)
            }),
            // One that was given by an earlier shim, or is on its way to who works on it, is held by the journal alone.
            Wanted::ByServer => {
                let held = self.shims[ix.0].journal.attempts.iter().map(|held| &held.attempt);
                let agent = &self.shims[ix.0].agent;
                tasks.any(|task| self.is_unwanted(agent, &task.attempt))
                    || held.into_iter().any(|attempt| self.is_unwanted(agent, attempt))
            }
        }
    }

    /// Whether the server wants an attempt ended.
    fn is_unwanted(&self, agent: &AgentId, attempt: &AttemptId) -> bool {
        let known = self.server.disk.execution_of(agent, attempt);
        known
            .is_none_or(|record| record.ending.is_some() || !record.state.is_held() || record.attempt != attempt.number)
    }

    /// Whether something that was given with a life, or to a process, has had its time as its shim sees it.
    fn had_its_time(&self, ix: ShimIx, tree: &TreeId) -> bool {
        self.given.iter().any(|((shim, attempt), at)| {
            let known = self.server.disk.execution_of(&self.shims[ix.0].agent, attempt);
            let timeout = known.map_or(Duration::MAX, |record| record.timeout);
            let of_tree = match tree {
                TreeId::Life(_) => true,
                TreeId::Attempt(tree) => tree == attempt,
            };
            *shim == ix && of_tree && self.now.saturating_sub(*at) >= timeout && self.is_held_at(ix, attempt)
        })
    }

    fn is_held_at(&self, ix: ShimIx, attempt: &AttemptId) -> bool {
        let held = &self.shims[ix.0].journal.attempts;
        held.iter().any(|held| held.attempt == *attempt)
    }
}

/// Who wants a task's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::world) enum Wanted {
    ByTime,
    ByServer,
}

/// Whether an attempt may begin whose execution is in this state.
const fn may_run(state: ExecutionState) -> bool {
    match state {
        ExecutionState::Dispatched | ExecutionState::Accepted | ExecutionState::Running | ExecutionState::Lost => true,
        // Its loss is told, and it is not given again yet.
        ExecutionState::Queued => true,
        ExecutionState::Succeeded
        | ExecutionState::Failed
        | ExecutionState::Cancelled
        | ExecutionState::TimedOut
        | ExecutionState::DeadLetter => false,
    }
}
