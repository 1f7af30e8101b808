//! Work: what agents do with the messages that they are given, and what truly becomes of each.
//!
//! An agent with a process for each message has it begun here; one that takes its work itself has hands, which ask, work,
//! say how it went, and hang up; one that is written to answers, or does not.

mod clients;
mod hands;
mod judge;
mod limits;
mod lines;
mod tasks;

use std::time::Duration;

use rekindle::execution::AttemptId;
use rekindle::id::Incarnation;
use rekindle_shim_core::JournalStage;

pub(super) use limits::Wanted;

use super::World;
use crate::fault::Fault;
use crate::host::{Process, Up as HostUp};
use crate::queue::{Event, HostIx, ShimIx, TaskIx, Uid};
use crate::swarm::{Losses, WorkNature};
use crate::task::{Doing, Task, TaskEnd, TaskStage, Word};

/// Longest task in calm weather: what is left shall be done soon.
const SOON: u64 = 2_000;

impl World {
    pub(super) fn begin_work(&mut self) {
        let Some(work) = &self.swarm.work else { return };
        self.queue.push(work.employ_every, Event::Employs);
        if let Some(setback) = &work.setback {
            self.queue.push(setback.copied, Event::Copies);
            self.queue.push(setback.put_back, Event::SetsBack);
        }
        if let Some(rush) = &work.rush {
            self.queue.push(rush.during.start, Event::Rushes);
        }
    }

    /// Whether anything may be called LOST in this world.
    fn losses(&self) -> Losses {
        let work = self.swarm.work.as_ref();
        work.map_or(Losses::Explained, |work| work.losses)
    }

    fn chance_of(&mut self, of: impl Fn(&WorkNature) -> f64) -> bool {
        let probability = self.swarm.work.as_ref().map_or(0.0, of);
        self.misfortune(probability)
    }

    /// An attempt that is about to begin.
    fn new_task(&mut self, ix: ShimIx, attempt: AttemptId, incarnation: Incarnation) -> TaskIx {
        let shim = &self.shims[ix.0];
        let agent = shim.agent.clone();
        let known = self.server.disk.execution_of(&agent, &attempt);
        let timeout = known.map_or(Duration::MAX, |record| record.timeout);
        let task = TaskIx(self.tasks.len());
        self.tasks.push(Task {
            agent,
            attempt,
            shim: ix,
            shim_life: shim.life,
            host: shim.host,
            incarnation,
            timeout,
            stage: TaskStage::Starting,
            extra: Duration::ZERO,
        });
        self.judge_slots(ix);
        task
    }

    /// Somebody works on it from here on.
    fn task_begins(&mut self, ix: TaskIx, worker: Uid) {
        let began = self.now;
        let task = &mut self.tasks[ix.0];
        task.stage = TaskStage::Works { began, worker };
        let timeout = task.timeout;
        self.judge_task_begin(ix);
        if let Some(at) = began.checked_add(timeout) {
            self.queue.push(at, Event::TaskDue(ix));
        }
    }

    /// How long it takes, if it ever ends.
    fn task_takes(&mut self) -> Option<Duration> {
        if self.chance_of(|work| work.tasks.hangs) {
            self.fired(Fault::TaskHangs);
            return None;
        }
        let takes = self.swarm.work.as_ref()?.tasks.takes;
        if self.is_rough() {
            Some(self.dice.about(takes))
        } else {
            Some(self.dice.millis(1..SOON))
        }
    }

    fn task_word(&mut self) -> Word {
        if self.chance_of(|work| work.tasks.fails) {
            self.fired(Fault::TaskFails);
            Word::Failed
        } else {
            Word::Done
        }
    }

    /// The agent's process, as far as it can do anything; or when to look again.
    fn able(&self, host: HostIx, uid: Uid) -> Able {
        if let HostUp::Sleeps { until, .. } = self.hosts[host.0].up {
            return Able::At(until);
        }
        match self.hosts[host.0].find(uid) {
            Some(process) if is_killed(process) => Able::Never,
            Some(process) if process.health == crate::host::Health::Hangs => Able::At(self.now + HUNG_LOOK),
            Some(_) => Able::Now,
            None => Able::Never,
        }
    }

    /// A process is dead, and with it goes what it worked on.
    pub(super) fn task_loses(&mut self, uid: Uid, status: rekindle::exit::ExitStatus) {
        for ix in 0..self.tasks.len() {
            if self.tasks[ix].worker() == Some(uid) {
                let own = self.is_own_process(TaskIx(ix), uid);
                let how = if own { TaskEnd::Died(status) } else { TaskEnd::Forsaken };
                self.tasks[ix].ends(how);
            }
        }
    }

    /// A host is down, and with it goes what was worked on there.
    pub(super) fn work_is_lost(&mut self, host: HostIx) {
        for task in self.tasks.iter_mut().filter(|task| task.host == host) {
            task.ends(TaskEnd::Forsaken);
        }
    }

    /// A shim is about to be gone: who of its agent talks to it finds that out, and tries again.
    pub(super) fn work_is_cut(&mut self, ix: ShimIx) {
        self.count_what_is_left(ix);
        for task in self.tasks.iter_mut().filter(|task| task.shim == ix) {
            if task.stage == TaskStage::Starting {
                task.ends(TaskEnd::NeverRan);
            }
        }
        for hand in 0..self.hands.len() {
            let doing = match self.hands[hand].doing {
                Doing::Asks(_) => Doing::Nothing,
                Doing::Says(_, task, _) => Doing::Works(task),
                Doing::Nothing | Doing::Works(_) => continue,
            };
            if self.hands[hand].shim == ix {
                self.hands[hand].doing = doing;
                let wait = self.dice.millis(500..3_000);
                self.after(wait, Event::Moves(crate::queue::HandIx(hand)));
            }
        }
    }

    /// The rows of the design's matrix, as a shim that goes leaves them.
    fn count_what_is_left(&mut self, ix: ShimIx) {
        let journal = &self.shims[ix.0].journal;
        let begun = |stage: &JournalStage| stage.has_begun();
        let accepted = journal.attempts.iter().any(|held| !begun(&held.stage));
        let running = journal.attempts.iter().any(|held| begun(&held.stage));
        let finished = journal
            .outbox
            .iter()
            .any(|report| report.fact.finished_attempt().is_some());
        for (is, fault) in [
            (accepted, Fault::ShimGoneWithAccepted),
            (running, Fault::ShimGoneWithRunning),
            (finished, Fault::ShimGoneWithFinished),
        ] {
            if is {
                self.fired(fault);
            }
        }
    }
}

/// Time between two looks of somebody who hangs.
const HUNG_LOOK: Duration = Duration::from_secs(5);

/// Whether somebody can do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Able {
    Now,
    At(Duration),
    Never,
}

/// Whether it got SIGKILL, and does nothing any more.
fn is_killed(process: &Process) -> bool {
    let killed = |status| matches!(status, rekindle::exit::ExitStatus::Signaled { signal: 9, .. });
    process.dying.is_some_and(|(_, status)| killed(status))
}
