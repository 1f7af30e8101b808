//! One life of the agent's process, from its spawn to its last line.

use std::cell::Cell;
use std::io;

use rekindle::exit::ExitStatus;
use rekindle::id::{BootId, Incarnation};
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle_shim_core::{Notice, Remains, Sample};
use rustix::process::{Pid, Signal};

use super::cgroup::Group;
use super::notify::{NotifySocket, Speakers};
use super::oom::Kills;
use super::output::{Output, Outputs};
use super::pidfd::{Pidfd, Watched};
use super::spawn::{self, Birth, Program, SpawnError};
use super::tree::{Force, Root, Tree};
use super::{identity, reap};

/// A child that was spawned and is not reaped. Dropping it ends nothing.
#[derive(Debug)]
pub(crate) struct Child {
    incarnation: Incarnation,
    pid: Pid,
    pidfd: Watched,
    process: ProcessIdentity,
    /// Removed with the child's burial.
    group: Option<Group>,
    /// What the shim has sent it of SIGKILL while it lived.
    killed: Cell<Force>,
    /// Those for want of memory in its life.
    kills: Option<Kills>,
    output: Output,
    notify: NotifySocket,
}

impl Child {
    /// Runs the program; returns once its exec has succeeded or failed. Only for the main thread: the child dies with
    /// the thread that spawns it. Of a program that could not be run nothing lives.
    ///
    /// # Errors
    /// Where a program that was run cannot be watched, nor be proven dead.
    pub(crate) async fn spawn(
        program: &Program,
        birth: &Birth,
        boot_id: BootId,
        outputs: &mut Outputs,
        tree: &Tree,
    ) -> io::Result<Result<Self, SpawnError>> {
        let (output, ends) = match outputs.open() {
            Ok(opened) => opened,
            Err(source) => return Ok(Err(SpawnError::new(program, source))),
        };
        let notify = match NotifySocket::bind() {
            Ok(notify) => notify,
            Err(source) => return Ok(Err(SpawnError::new(program, source))),
        };
        let group = tree.group(birth.incarnation);
        // Who finds no door does not enter, which is seen and told below.
        let door = group.as_ref().and_then(|group| group.door().ok());
        let kills = Kills::from_here_on(group.as_ref());
        let spawned = match spawn::spawn(program, birth, ends, notify.name(), door) {
            Ok(spawned) => spawned,
            Err(error) => return Ok(Err(error)),
        };
        let pid = Pid::from_child(&spawned);
        let group = group.filter(|group| entered(group, pid));
        let root = Root {
            leader: pid,
            group: group.as_ref(),
        };
        match Self::know(pid, boot_id) {
            Ok((pidfd, process)) => Ok(Ok(Self {
                incarnation: birth.incarnation,
                pid,
                pidfd,
                process,
                group,
                killed: Cell::new(Force::None),
                kills,
                output,
                notify,
            })),
            Err(source) => {
                // Without a descriptor there is no way to watch it: nobody must find it running.
                drop(spawned);
                tree.end_unwatched(root).await?;
                Ok(Err(SpawnError::new(program, source)))
            }
        }
    }

    fn know(pid: Pid, boot_id: BootId) -> io::Result<(Watched, ProcessIdentity)> {
        let pidfd = Pidfd::open(pid)?;
        let process = identity::of_child(pid, &pidfd, boot_id)?;
        Ok((pidfd.watch()?, process))
    }

    /// Which life it is.
    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Who it is.
    pub(crate) const fn process(&self) -> &ProcessIdentity {
        &self.process
    }

    /// Its pid. It names nobody else before [`Child::bury`].
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns as soon as the child itself is dead.
    pub(crate) async fn exited(&self) -> io::Result<()> {
        self.pidfd.dead().await
    }

    /// Waits until the child or another process of its tree says something. Never empty; of each kind the last word. Can
    /// be dropped at any point, and called again.
    pub(crate) async fn notices(&self, tree: &Tree) -> io::Result<Vec<Notice>> {
        let speakers = Speakers {
            leader: self.pid,
            tree,
            boot_id: self.process.boot_id,
        };
        self.notify.notices(speakers, self.output.redaction()).await
    }

    /// What the child's tree has used and written so far.
    pub(crate) fn sample(&self, tree: &Tree) -> io::Result<Sample> {
        tree.sample(
            self.output.written_bytes(),
            self.group.as_ref().and_then(Group::cpu_usage),
        )
    }

    /// Sends a signal to the child alone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.note(signal);
        self.pidfd.signal(signal)
    }

    /// Sends a signal to the child's whole tree.
    pub(crate) fn signal_tree(&self, tree: &Tree, signal: Signal) -> io::Result<()> {
        self.note(signal);
        tree.signal(self.pid, signal)
    }

    /// Returns when nothing of the child's tree lives. Can be dropped at any point, and called again.
    pub(crate) async fn tree_gone(&self, tree: &Tree, force: Force) -> io::Result<()> {
        match force {
            Force::Kill => self.note(Signal::KILL),
            Force::None => {}
        }
        tree.gone(self.root(), force).await
    }

    /// Names what lives of the child's tree.
    pub(crate) fn survivors(&self, tree: &Tree) -> io::Result<Vec<Survivor>> {
        tree.survivors(self.root())
    }

    /// Before a signal is sent: whether it may be what ends the child.
    fn note(&self, signal: Signal) {
        if signal == Signal::KILL && !reap::is_dead(self.pid).is_ok_and(|dead| dead) {
            self.killed.set(Force::Kill);
        }
    }

    pub(super) const fn root(&self) -> Root<'_> {
        Root {
            leader: self.pid,
            group: self.group.as_ref(),
        }
    }

    /// Reaps the child and tells what is left of it. The child and its tree are dead; others of the tree who died are
    /// reaped by [`Tree::reap`].
    pub(crate) fn bury(self) -> Remains {
        let (stdout_tail, stderr_tail) = self.output.finish();
        let death = reap::bury(self.pid);
        let sigkill = match death.status {
            ExitStatus::Signaled { signal, .. } => signal == Signal::KILL.as_raw(),
            ExitStatus::Exited(_) | ExitStatus::Unknown => false,
        };
        let oom_killed = sigkill && self.killed.get() == Force::None && self.kills.as_ref().is_some_and(Kills::any);
        Remains {
            status: death.status,
            oom_killed,
            user_time: death.user_time,
            system_time: death.system_time,
            max_rss_kib: death.max_rss_kib,
            stderr_tail,
            stdout_tail,
        }
    }
}

/// Whether the child was let into its group; it is told where not.
fn entered(group: &Group, pid: Pid) -> bool {
    let inside = group.holds(pid);
    if !inside {
        let group = group.dir().display();
        tracing::warn!(pid = pid.as_raw_pid(), %group, "the agent's process could not enter its cgroup");
    }
    inside
}

impl Tree {
    /// Takes away the dead who have lost their parents; `child` is reaped by [`Child::bury`] alone.
    pub(crate) fn reap(&self, child: Option<&Child>) -> io::Result<()> {
        self.reap_orphans(child.map(Child::pid))
    }
}
