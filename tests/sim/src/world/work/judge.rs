//! I6, I11: what is said of executions is held against what truly became of them.

use std::time::Duration;

use rekindle::execution::{AttemptId, ExecutionState};
use rekindle::exit::ExitStatus;
use rekindle::id::AgentId;
use rekindle::state::FailureCause;
use rekindle_server_core::effect::Outcome;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::record::Record;

use super::super::World;
use crate::host::{GivenUp, Process};
use crate::oracle::{Invariant, WantedEnded};
use crate::stream::{Inventoried, ServerEnd};
use crate::swarm::Losses;
use crate::task::{Task, TaskEnd, TaskStage, Word};

impl World {
    /// Every verdict on an attempt is true, or nobody can know better.
    pub(in crate::world) fn judge_work(&mut self, outcome: &Outcome) {
        for event in events(&outcome.persist) {
            let (Some(agent), Some(id)) = (&event.agent, &event.execution) else {
                continue;
            };
            let Some(number) = event.attributes.get("attempt").and_then(|number| number.parse().ok()) else {
                continue;
            };
            let after = executions(&outcome.persist).find(|after| after.agent == *agent && after.id == *id);
            let Some(after) = after.filter(|_| self.oracle.is_honest(agent)) else {
                continue;
            };
            let attempt = AttemptId {
                number,
                ..after.newest()
            };
            if let Some(problem) = self.problem_of_verdict(agent, &attempt, event.kind, after) {
                let what = format!("{attempt} of {agent} {problem}");
                self.oracle.fail(Invariant::I11, what);
            }
        }
    }

    /// What counts as not begun did not begin: it is given again under the same number.
    pub(in crate::world) fn judge_returns(&mut self, outcome: &Outcome) {
        for after in executions(&outcome.persist) {
            let Some(before) = self.oracle.execution(&after.agent, &after.id) else {
                continue;
            };
            let told = |of: EventKind| {
                let of_this = |event: &&Event| {
                    let (agent, id) = (event.agent.as_ref(), event.execution.as_ref());
                    event.kind == of && agent == Some(&after.agent) && id == Some(&after.id)
                };
                u32::try_from(events(&outcome.persist).filter(of_this).count()).expect("few")
            };
            let counted = after.attempt - told(EventKind::ExecutionDispatched);
            if told(EventKind::ExecutionQueued) == 0 || counted >= before.attempt {
                continue;
            }
            let attempt = before.newest();
            let began = |task: &&Task| task.is_of(after) && task.attempt == attempt && task.began().is_some();
            let problem = self
                .tasks
                .iter()
                .find(began)
                .map(|task| format!("{attempt} counts as not begun, and {task:?} did"));
            if let Some(what) = problem.filter(|_| self.oracle.is_honest(&after.agent)) {
                self.oracle.fail(Invariant::I6, what);
            }
        }
    }

    fn problem_of_verdict(
        &self,
        agent: &AgentId,
        attempt: &AttemptId,
        kind: EventKind,
        after: &ExecutionRecord,
    ) -> Option<String> {
        let told = kind.execution_state()?;
        let ends: Vec<(Option<Duration>, TaskEnd)> = self.ends_of(after, attempt).collect();
        let any = |of: fn(TaskEnd) -> bool| ends.iter().any(|(_, how)| of(*how));
        match told {
            ExecutionState::Queued
            | ExecutionState::Dispatched
            | ExecutionState::Accepted
            | ExecutionState::Running => None,
            ExecutionState::Succeeded => (!any(is_success)).then(|| format!("is called done, and is {ends:?}")),
            ExecutionState::Failed => (!any(is_failure)).then(|| format!("is called failed, and is {ends:?}")),
            ExecutionState::Cancelled => self.problem_of_cancel(agent, attempt, after),
            ExecutionState::TimedOut => self.problem_of_timeout(agent, attempt, after),
            ExecutionState::DeadLetter => {
                let works = self.works_on(after).next();
                works.map(|task| format!("is a DEAD_LETTER, and {task:?} goes on"))
            }
            ExecutionState::Lost if self.losses() == Losses::Forbidden => {
                Some("is called LOST, and there is nothing but too much to do".to_owned())
            }
            ExecutionState::Lost => self.problem_of_loss(agent, attempt),
        }
    }

    fn problem_of_cancel(&self, agent: &AgentId, attempt: &AttemptId, after: &ExecutionRecord) -> Option<String> {
        match self.oracle.wanted_ended(agent, &attempt.execution) {
            Some(WantedEnded::Itself) => None,
            // What had not begun goes to the next life.
            Some(WantedEnded::WithItsAgent) => self
                .oracle
                .ended_unbegun(agent, attempt, after.times.started)
                .then(|| "is CANCELLED by an order for its agent, and had not begun".to_owned()),
            None => Some("is CANCELLED, and nobody asked for it".to_owned()),
        }
    }

    /// How the starts of an attempt truly ended.
    fn ends_of(&self, of: &ExecutionRecord, attempt: &AttemptId) -> impl Iterator<Item = (Option<Duration>, TaskEnd)> {
        let tasks = self
            .tasks
            .iter()
            .filter(|task| task.is_of(of) && task.attempt == *attempt);
        tasks.filter_map(|task| match task.stage {
            TaskStage::Over { began, how } => Some((began, how)),
            TaskStage::Starting | TaskStage::Works { .. } => None,
        })
    }

    fn works_on<'a>(&'a self, of: &'a ExecutionRecord) -> impl Iterator<Item = &'a Task> {
        self.tasks.iter().filter(move |task| {
            task.is_of(of)
                && task.worker().is_some_and(|uid| {
                    let process = self.hosts[task.host.0].find(uid);
                    process.is_some_and(|process| !self.is_past_help(task, process))
                })
        })
    }

    /// A survivor that was told of; or what hangs in the kernel after a fence's SIGKILL, which outlives every fence.
    fn is_past_help(&self, task: &Task, process: &Process) -> bool {
        let fences = self.swarm.agents[self.shims[task.shim.0].nature].fence_after.is_some();
        process.given_up == GivenUp::Named || fences && super::is_killed(process)
    }

    /// Called out of time is only what had its time.
    fn problem_of_timeout(&self, agent: &AgentId, attempt: &AttemptId, after: &ExecutionRecord) -> Option<String> {
        let cause = after.failure.as_ref().map(|failure| failure.cause);
        if cause != Some(FailureCause::MessageTimeout) {
            return None;
        }
        let tasks = self
            .tasks
            .iter()
            .filter(|task| task.is_of(after) && task.attempt == *attempt);
        let began = tasks.filter_map(Task::began);
        // A shim that dies between writing that an attempt begins and giving it leaves nobody who could know.
        let given = self.given.iter().filter(|((shim, given), _)| {
            let of = &self.shims[shim.0].agent;
            of == agent && given == attempt
        });
        let first = began.chain(given.map(|(_, at)| *at)).min();
        let had = first.map_or(Duration::ZERO, |first| self.now.saturating_sub(first));
        (had < after.timeout).then(|| format!("is called out of time after {had:?} of {:?}", after.timeout))
    }

    /// Called LOST is only what the shim that was given it cannot tell of: its journal outlives all but its boot, and
    /// another shim has another one.
    fn problem_of_loss(&self, agent: &AgentId, attempt: &AttemptId) -> Option<String> {
        let given = self.oracle.given_to(agent, &attempt.execution)?;
        let holder = self.oracle.holder_of(agent);
        let elsewhere = holder.is_none_or(|marker| marker != given.marker);
        if !elsewhere && !self.oracle.boots.is_over(given.boot) {
            return Some("is called LOST, and its shim has its directory".to_owned());
        }
        let knows = self.streams.iter().any(|stream| {
            let shim = &self.shims[stream.shim.0];
            let heard = stream.server == ServerEnd::Held
                && stream.inventoried == Inventoried::Yes
                && stream.server_life == self.server.life
                && stream.shim_life == shim.life;
            let has = shim.running.as_ref().is_some_and(|running| {
                let journal = running.supervisor.journal();
                let finished = journal
                    .outbox
                    .iter()
                    .filter_map(|report| report.fact.finished_attempt());
                let held = journal.attempts.iter().map(|held| &held.attempt);
                held.chain(finished).any(|has| has == attempt)
            });
            shim.agent == *agent && heard && has
        });
        knows.then(|| "is called LOST, and its shim has it".to_owned())
    }

    /// Nobody works on what is over, unless it is called LOST.
    pub(in crate::world) fn judge_durable_work(&mut self, batch: &[Record]) {
        self.forget_given(batch);
        for record in executions(batch) {
            let concluded = record.state.is_over() && record.state != ExecutionState::Lost;
            if !concluded || !self.oracle.is_honest(&record.agent) {
                continue;
            }
            let known = self.server.disk.execution(&record.agent, &record.id);
            if known.is_some_and(|known| known.state == record.state) {
                continue;
            }
            let mut works = self.works_on(record);
            let problem = works
                .next()
                .map(|task| format!("{} is {}, and {task:?} goes on", record.newest(), record.state));
            drop(works);
            if let Some(what) = problem {
                self.oracle.fail(Invariant::I6, what);
            }
        }
    }

    /// The name of what is forgotten may come again.
    fn forget_given(&mut self, batch: &[Record]) {
        for record in batch {
            if let Record::ExecutionForgotten { agent, id } = record {
                let shims = &self.shims;
                self.given
                    .retain(|(shim, attempt), _| shims[shim.0].agent != *agent || attempt.execution != *id);
            }
        }
    }

    /// What is kept of what the agent wrote is what it wrote, in that attempt.
    pub(in crate::world) fn judge_outputs(&mut self, batch: &[Record]) {
        for record in executions(batch) {
            if record.state != ExecutionState::Succeeded {
                continue;
            }
            let kept = self.server.disk.output(&record.agent, &record.id);
            let wrote = Task::output(&record.newest()).text;
            // It may be forgotten by now, and another one have its name.
            let known = self.server.disk.execution(&record.agent, &record.id);
            if known.is_some_and(|known| known.uid == record.uid) && kept != Some(&wrote) {
                let what = format!(
                    "{} of {} wrote {wrote:?}, and {kept:?} is kept",
                    record.newest(),
                    record.agent
                );
                self.oracle.fail(Invariant::I11, what);
            }
        }
    }
}

fn events(records: &[Record]) -> impl Iterator<Item = &Event> {
    records.iter().filter_map(|record| {
        if let Record::Event(event) = record {
            Some(&**event)
        } else {
            None
        }
    })
}

fn executions(records: &[Record]) -> impl Iterator<Item = &ExecutionRecord> {
    records.iter().filter_map(|record| {
        if let Record::Execution(execution) = record {
            Some(&**execution)
        } else {
            None
        }
    })
}

const fn is_success(how: TaskEnd) -> bool {
    match how {
        TaskEnd::Died(ExitStatus::Exited(0)) | TaskEnd::Said(Word::Done) => true,
        TaskEnd::Died(_) | TaskEnd::Said(Word::Failed) | TaskEnd::NeverRan | TaskEnd::Forsaken => false,
    }
}

const fn is_failure(how: TaskEnd) -> bool {
    match how {
        TaskEnd::Died(ExitStatus::Exited(0)) | TaskEnd::Said(Word::Done) | TaskEnd::Forsaken => false,
        TaskEnd::Died(_) | TaskEnd::Said(Word::Failed) | TaskEnd::NeverRan => true,
    }
}
