//! Messages that have a process of their own.

use rekindle::execution::AttemptId;
use rekindle::exit::ExitStatus;
use rekindle::id::Incarnation;
use rekindle_shim_core::{Input as ShimFact, TreeId};

use super::super::World;
use crate::fault::Fault;
use crate::host::{Branch, Owner, Role};
use crate::mutation::Mutation;
use crate::queue::{Event, HostIx, Life, ShimIx, TaskIx, Uid};
use crate::shim::{EndAsked, Watch, Watched};
use crate::task::{TaskEnd, Word};

impl World {
    /// A shim wants its program run for a message.
    pub(in crate::world) fn order_task(&mut self, ix: ShimIx, attempt: AttemptId, incarnation: Incarnation) {
        let times = if self.mutation == Mutation::MessageRunTwice {
            2
        } else {
            1
        };
        for _ in 0..times {
            let task = self.new_task(ix, attempt.clone(), incarnation);
            let life = self.shims[ix.0].life;
            let wait = self.dice.millis(1..15);
            self.after(wait, Event::SpawnsTask(ix, life, task));
        }
    }

    pub(in crate::world) fn spawns_task(&mut self, ix: ShimIx, life: Life, task: TaskIx) {
        let shim = &self.shims[ix.0];
        if shim.life != life || shim.running.is_none() {
            return self.tasks[task.0].ends(TaskEnd::NeverRan);
        }
        if let Some(until) = self.hindered(ix, life) {
            return self.queue.push(until, Event::SpawnsTask(ix, life, task));
        }
        let (attempt, incarnation) = (self.tasks[task.0].attempt.clone(), self.tasks[task.0].incarnation);
        let (host, branch) = (shim.host, Branch::Task(task));
        let owner = Owner {
            shim: ix,
            marker: shim.marker,
            incarnation,
            branch,
            role: Role::Child,
        };
        let fails = self.chance_of(|work| work.tasks.exec_fails);
        let child = if fails { None } else { self.new_process(host, owner) };
        let Some((uid, process)) = child else {
            self.fired(Fault::TaskExecFails);
            self.tasks[task.0].ends(TaskEnd::NeverRan);
            let message = "/no/such/program: no such file".to_owned();
            return self.shim_step(ix, ShimFact::AttemptSpawnFailed { attempt, message });
        };
        self.oracle
            .task_spawned(&self.shims[ix.0], incarnation, branch, uid, &process);
        let watched = Watched {
            incarnation,
            branch,
            child: uid,
            pid: process.pid,
            died: None,
            watch: Watch::No,
            asked: EndAsked::No,
        };
        if let Some(running) = &mut self.shims[ix.0].running {
            running.errands.insert(attempt.clone(), watched);
        }
        self.task_begins(task, uid);
        self.gets_mind(ix, uid, TreeId::Attempt(attempt.clone()), incarnation);
        self.plan_task(host, uid);
        self.shim_step(ix, ShimFact::AttemptSpawned { attempt, process });
    }

    /// What the program has in mind.
    fn plan_task(&mut self, host: HostIx, uid: Uid) {
        if self.misfortune(self.swarm.children.forks) {
            let wait = self.dice.millis(1..3_000);
            self.after(wait, Event::Forks(host, uid));
        }
        let Some(wait) = self.task_takes() else { return };
        let status = match self.task_word() {
            Word::Done => ExitStatus::Exited(0),
            Word::Failed if self.dice.chance(0.3) => ExitStatus::Signaled {
                signal: 11,
                core_dumped: true,
            },
            Word::Failed => ExitStatus::Exited(1),
        };
        self.dies_after(host, uid, wait, status);
    }

    /// Whether the process was begun for this task alone.
    pub(super) fn is_own_process(&self, task: TaskIx, uid: Uid) -> bool {
        self.oracle.branch_of(uid) == Some(Branch::Task(task))
    }

    /// The tree that is ended when a task has to end.
    pub(super) fn tree_of_task(&self, task: TaskIx) -> TreeId {
        let of = &self.tasks[task.0];
        match of.worker() {
            Some(uid) if self.is_own_process(task, uid) => TreeId::Attempt(of.attempt.clone()),
            Some(_) | None => TreeId::Life(of.incarnation),
        }
    }
}
