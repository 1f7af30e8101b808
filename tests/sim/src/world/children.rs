//! The processes that shims run: they begin, fork, do not listen, hang, and end.

use std::time::Duration;

use rekindle::execution::Output;
use rekindle::exit::ExitStatus;
use rekindle::id::Incarnation;
use rekindle::policy::StopSignal;
use rekindle::process::ProcessIdentity;
use rekindle_shim_core::{Input as ShimFact, Remains, TreeId};

use super::World;
use crate::fault::Fault;
use crate::host::{Branch, GivenUp, Health, Manners, Owner, Process, Role, Up as HostUp};
use crate::mutation::Mutation;
use crate::queue::{Event, HostIx, Life, ShimIx, Uid};
use crate::shim::{EndAsked, Leftovers, Watch, Watched};
use crate::task::Task;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl World {
    pub(super) fn spawns(&mut self, ix: ShimIx, life: Life, incarnation: Incarnation) {
        let shim = &self.shims[ix.0];
        if shim.life != life || shim.running.is_none() {
            return;
        }
        if let Some(until) = self.hindered(ix, life) {
            return self.queue.push(until, Event::Spawns(ix, life, incarnation));
        }
        let host = shim.host;
        let owner = Owner {
            shim: ix,
            marker: shim.marker,
            incarnation,
            branch: Branch::Life,
            role: Role::Child,
        };
        let fails = self.misfortune(self.swarm.children.exec_fails);
        let child = if fails { None } else { self.new_process(host, owner) };
        let Some((uid, process)) = child else {
            self.fired(Fault::ExecFails);
            let message = "/no/such/program: no such file".to_owned();
            return self.shim_step(ix, ShimFact::SpawnFailed { incarnation, message });
        };
        self.oracle.spawned(&self.shims[ix.0], incarnation, uid, &process);
        let watched = Watched {
            incarnation,
            branch: Branch::Life,
            child: uid,
            pid: process.pid,
            died: None,
            watch: Watch::No,
            asked: EndAsked::No,
        };
        if let Some(running) = &mut self.shims[ix.0].running {
            running.watched = Some(watched);
        }
        self.plan_life(host, uid);
        self.plan_words(ix, host, uid);
        self.gets_hands(ix, uid);
        self.gets_mind(ix, uid, TreeId::Life(incarnation), incarnation);
        self.shim_step(ix, ShimFact::Spawned { incarnation, process });
    }

    pub(super) fn new_process(&mut self, host: HostIx, owner: Owner) -> Option<(Uid, ProcessIdentity)> {
        let pid = self.hosts[host.0].free_pid(&mut self.dice)?;
        let uid = Uid(self.next_uid);
        self.next_uid += 1;
        if self.hosts[host.0].had.insert(pid, uid).is_some() {
            self.fired(Fault::PidReused);
        }
        let here = &self.hosts[host.0];
        let moment = here.moment(self.now);
        let identity = ProcessIdentity {
            boot_id: here.boot_id(),
            pid,
            pidfd_inode: self.swarm.pidfs.then_some(uid.0),
            start_time_ticks: u64::try_from(moment.since_boot.as_millis() / 10).unwrap_or(u64::MAX),
            start_time: moment.now.wall,
        };
        let manners = if self.misfortune(self.swarm.children.ignores_term) {
            Manners::IgnoresIt
        } else {
            Manners::EndsSoon
        };
        let hangs_for = if self.misfortune(self.swarm.children.unkillable) {
            self.dice.millis(500..60_000)
        } else {
            Duration::ZERO
        };
        let process = Process {
            uid,
            identity: identity.clone(),
            owner: Some(owner),
            manners,
            health: Health::Works,
            hangs_for,
            dying: None,
            given_up: GivenUp::No,
        };
        self.hosts[host.0].processes.insert(pid, process);
        Some((uid, identity))
    }

    /// What the program has in mind.
    fn plan_life(&mut self, host: HostIx, uid: Uid) {
        if self.misfortune(self.swarm.children.forks) {
            let wait = self.dice.millis(1..3_000);
            self.after(wait, Event::Forks(host, uid));
        }
        let status = if self.dice.chance(self.swarm.children.exits_cleanly) {
            ExitStatus::Exited(0)
        } else if self.dice.chance(0.3) {
            ExitStatus::Signaled {
                signal: 11,
                core_dumped: true,
            }
        } else {
            ExitStatus::Exited(3)
        };
        if self.misfortune(self.swarm.children.exits_at_once) {
            self.fired(Fault::ExitsAtOnce);
            let wait = self.dice.millis(0..20);
            self.dies_after(host, uid, wait, status);
        } else if let Some(mean) = self.swarm.children.lives_for.filter(|_| self.is_rough()) {
            let wait = self.dice.about(mean);
            self.dies_after(host, uid, wait, status);
        }
    }

    pub(super) fn forks(&mut self, host: HostIx, parent: Uid) {
        if let HostUp::Sleeps { until, .. } = self.hosts[host.0].up {
            return self.queue.push(until, Event::Forks(host, parent));
        }
        let Some(Process {
            owner: Some(owner),
            dying,
            ..
        }) = self.hosts[host.0].find(parent)
        else {
            return;
        };
        // Who got SIGKILL forks no more.
        if matches!(dying, Some((_, ExitStatus::Signaled { signal: SIGKILL, .. }))) {
            return;
        }
        let owner = Owner {
            role: Role::Grandchild,
            ..*owner
        };
        if let Some((uid, _)) = self.new_process(host, owner) {
            self.oracle
                .forked(&self.shims[owner.shim.0], owner.incarnation, owner.branch, uid);
            if self.is_being_killed(owner) {
                self.kill(host, uid);
            }
            self.fired(Fault::Forks);
            if owner.branch != Branch::Life {
                self.fired(Fault::TaskLeavesBehind);
            }
            if self.dice.chance(self.swarm.children.setsid) {
                self.fired(Fault::Setsid);
            }
        }
    }

    /// Whether a shim looks for every process of this tree, to kill it.
    fn is_being_killed(&self, owner: Owner) -> bool {
        let running = self.shims[owner.shim.0].running.as_ref();
        running.is_some_and(|running| {
            let watched = running.watched(&self.tree_of(owner));
            running.sweeping.is_some() || watched.is_some_and(|watched| watched.watch == Watch::Kill)
        })
    }

    /// A process ends after a while, unless its end is nearer already.
    pub(super) fn dies_after(&mut self, host: HostIx, uid: Uid, wait: Duration, status: ExitStatus) {
        let at = self.now + wait;
        let Some(process) = self.hosts[host.0].find_mut(uid) else {
            return;
        };
        if process.dying.is_some_and(|(sooner, _)| sooner <= at) {
            return;
        }
        process.dying = Some((at, status));
        self.queue.push(at, Event::Dies(host, uid, status));
    }

    pub(super) fn kill(&mut self, host: HostIx, uid: Uid) {
        let Some(process) = self.hosts[host.0].find(uid) else {
            return;
        };
        let (hangs_for, branch) = (process.hangs_for, process.owner.map(|owner| owner.branch));
        if !hangs_for.is_zero() {
            self.fired(Fault::Unkillable);
            if matches!(branch, Some(Branch::Task(_))) {
                self.fired(Fault::TaskOutlivesKill);
            }
            // It does nothing else from here on.
            if let Some(process) = self.hosts[host.0].find_mut(uid) {
                process.dying = None;
                process.hangs_for = Duration::ZERO;
            }
        }
        let killed = ExitStatus::Signaled {
            signal: SIGKILL,
            core_dumped: false,
        };
        let already = self.hosts[host.0]
            .find(uid)
            .and_then(|process| process.dying)
            .is_some_and(|(_, how)| how == killed);
        if already {
            return;
        }
        let wait = hangs_for
            + self
                .dice
                .between(&(Duration::from_micros(50)..Duration::from_millis(2)));
        self.dies_after(host, uid, wait, killed);
    }

    pub(super) fn ask(&mut self, host: HostIx, uid: Uid, signal: i32) {
        let Some(process) = self.hosts[host.0].find(uid) else {
            return;
        };
        // Who got SIGKILL, however long it hangs, heeds nothing else.
        if matches!(process.dying, Some((_, ExitStatus::Signaled { signal: SIGKILL, .. }))) {
            return;
        }
        match process.manners {
            Manners::IgnoresIt => self.fired(Fault::IgnoresTerm),
            Manners::EndsSoon => {
                self.may_save_before_end(uid);
                let wait = self
                    .dice
                    .between(&(Duration::from_micros(50)..Duration::from_millis(800)));
                let status = if self.dice.chance(0.5) {
                    ExitStatus::Exited(0)
                } else {
                    ExitStatus::Signaled {
                        signal,
                        core_dumped: false,
                    }
                };
                self.dies_after(host, uid, wait, status);
            }
        }
    }

    /// A stop signal, or SIGKILL, to a whole tree.
    pub(super) fn end_tree(&mut self, ix: ShimIx, tree: &TreeId, signal: Option<StopSignal>) {
        self.judge_end(ix, tree);
        let host = self.shims[ix.0].host;
        let watched = self.watched(ix, tree);
        let mut ended = self.living_of(ix, tree);
        if self.mutation == Mutation::SignalsBarePid
            && let Some(watched) = watched
        {
            let whoever = self.hosts[host.0].processes.get(&watched.pid);
            ended.extend(whoever.map(|process| process.uid));
        }
        for uid in ended {
            self.oracle.signalled(&self.shims[ix.0], tree, watched, uid);
            match signal {
                Some(StopSignal::Kill) | None => self.kill(host, uid),
                Some(_) => self.ask(host, uid, SIGTERM),
            }
        }
        if signal.is_none() {
            self.watch_tree(ix, tree, Watch::Kill);
        }
    }

    /// The processes of a tree.
    pub(super) fn living_of(&self, ix: ShimIx, tree: &TreeId) -> Vec<Uid> {
        let branch = match tree {
            TreeId::Life(incarnation) => Some((*incarnation, Branch::Life)),
            TreeId::Attempt(_) => self
                .watched(ix, tree)
                .map(|watched| (watched.incarnation, watched.branch)),
        };
        let host = &self.hosts[self.shims[ix.0].host.0];
        let living = branch.map(|(incarnation, branch)| host.tree(ix, incarnation, branch));
        living.into_iter().flatten().map(|process| process.uid).collect()
    }

    /// What a shim knows of a tree.
    pub(super) fn watched(&self, ix: ShimIx, tree: &TreeId) -> Option<Watched> {
        self.shims[ix.0].running.as_ref()?.watched(tree).copied()
    }

    /// The tree that a process belongs to.
    pub(super) fn tree_of(&self, owner: Owner) -> TreeId {
        match owner.branch {
            Branch::Life => TreeId::Life(owner.incarnation),
            Branch::Task(task) => TreeId::Attempt(self.tasks[task.0].attempt.clone()),
        }
    }

    pub(super) fn await_tree(&mut self, ix: ShimIx, tree: &TreeId) {
        self.watch_tree(ix, tree, Watch::Await);
    }

    fn watch_tree(&mut self, ix: ShimIx, tree: &TreeId, watch: Watch) {
        let running = self.shims[ix.0].running.as_mut();
        let watched = running.and_then(|running| running.watched_mut(tree));
        if let Some(watched) = watched.filter(|watched| watched.watch != Watch::Kill) {
            watched.watch = watch;
        }
        self.tree_may_be_gone(ix, tree);
    }

    fn tree_may_be_gone(&mut self, ix: ShimIx, tree: &TreeId) {
        let Some(watched) = self.watched(ix, tree).filter(|watched| watched.watch != Watch::No) else {
            return;
        };
        let believes = self.mutation == Mutation::TaskTakenForDead && matches!(tree, TreeId::Attempt(_));
        let Some(status) = watched.died.or_else(|| believes.then_some(ExitStatus::Unknown)) else {
            return;
        };
        let left = !self.living_of(ix, tree).is_empty();
        if left && self.mutation != Mutation::ChildIsTree && !believes {
            return;
        }
        if let Some(running) = &mut self.shims[ix.0].running {
            running.forget(tree);
        }
        let remains = Remains {
            status,
            oom_killed: false,
            user_time: Duration::ZERO,
            system_time: Duration::ZERO,
            max_rss_kib: 0,
            stderr_tail: String::new(),
            stdout_tail: String::new(),
            output: match tree {
                TreeId::Life(_) => Output::default(),
                TreeId::Attempt(attempt) => Task::output(attempt),
            },
        };
        let tree = tree.clone();
        self.last_look_at_files(ix, &tree);
        self.shim_hears(ix, ShimFact::TreeGone { tree, remains });
    }

    pub(super) fn dies(&mut self, host: HostIx, uid: Uid, status: ExitStatus) {
        let Some(process) = self.hosts[host.0].find(uid) else {
            return;
        };
        if process.dying != Some((self.now, status)) {
            return;
        }
        if let HostUp::Sleeps { until, .. } = self.hosts[host.0].up {
            if let Some(process) = self.hosts[host.0].find_mut(uid) {
                process.dying = Some((until, status));
            }
            return self.queue.push(until, Event::Dies(host, uid, status));
        }
        let (pid, owner) = (process.identity.pid, process.owner);
        self.hosts[host.0].processes.remove(&pid);
        self.trace.note(self.now, || {
            format!("process {} (pid {pid}) of {owner:?} is dead: {status}", uid.0)
        });
        let Some(owner) = owner else { return };
        self.task_loses(uid, status);
        let reused = self.swarm.strikes.contains(&Fault::PidReused);
        if reused && self.misfortune(0.2) {
            self.stranger_gets(host, pid);
        }
        if owner.role == Role::Child && owner.branch == Branch::Life {
            if !matches!(
                status,
                ExitStatus::Signaled {
                    signal: SIGKILL | SIGTERM,
                    ..
                }
            ) {
                self.fired(Fault::ChildExits);
            }
            self.oracle.died(&self.shims[owner.shim.0], owner.incarnation, self.now);
        }
        self.shim_sees_death(uid, owner, status);
    }

    fn shim_sees_death(&mut self, uid: Uid, owner: Owner, status: ExitStatus) {
        let ix = owner.shim;
        let marker = owner.marker;
        let host = self.shims[ix.0].host;
        let Some(running) = &mut self.shims[ix.0].running else {
            return;
        };
        let sweeping = running.sweeping.is_some();
        let waiting = running.leftovers == Leftovers::Yes;
        if let Some(tree) = running.led_by(uid) {
            if let Some(watched) = running.watched_mut(&tree) {
                watched.died = Some(status);
            }
            self.shim_hears(ix, ShimFact::ChildExited { tree });
        }
        let tree = self.tree_of(owner);
        self.tree_may_be_gone(ix, &tree);
        let ours = |process: &Process| process.owner.is_some_and(|owner| owner.marker == marker);
        if !self.hosts[host.0].processes.values().any(ours) {
            if sweeping {
                self.swept(ix);
            } else if waiting {
                if let Some(running) = &mut self.shims[ix.0].running {
                    running.leftovers = Leftovers::No;
                }
                self.shim_hears(ix, ShimFact::Swept { survivors: Vec::new() });
            }
        }
    }

    /// The kernel kills a child whose shim is gone (prctl(2), PR_SET_PDEATHSIG); its own children live on.
    pub(super) fn orphan(&mut self, ix: ShimIx) {
        let host = self.shims[ix.0].host;
        let children: Vec<Uid> = self.hosts[host.0]
            .processes
            .values()
            .filter(|process| {
                process
                    .owner
                    .is_some_and(|owner| owner.shim == ix && owner.role == Role::Child)
            })
            .map(|process| process.uid)
            .collect();
        for uid in children {
            self.kill(host, uid);
        }
    }

    /// An operator's signal to the child, and the process that got it.
    pub(super) fn signal_child(
        &mut self,
        ix: ShimIx,
        incarnation: Incarnation,
        signal: i32,
    ) -> Result<ProcessIdentity, String> {
        let host = self.shims[ix.0].host;
        let tree = TreeId::Life(incarnation);
        let Some(watched) = self.watched(ix, &tree) else {
            return Err("nothing runs".to_owned());
        };
        let target = if self.mutation == Mutation::SignalsBarePid {
            self.hosts[host.0].processes.get(&watched.pid)
        } else {
            self.hosts[host.0].find(watched.child)
        };
        let Some((uid, identity)) = target.map(|process| (process.uid, process.identity.clone())) else {
            return Err("it is dead".to_owned());
        };
        self.oracle.signalled(&self.shims[ix.0], &tree, Some(watched), uid);
        if signal == SIGKILL {
            self.kill(host, uid);
        } else {
            self.ask(host, uid, signal);
        }
        Ok(identity)
    }
}
