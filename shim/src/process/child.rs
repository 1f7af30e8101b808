//! One life of the agent's process, from its spawn, or its adoption, to its last line.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::id::{BootId, Incarnation, Marker};
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle_shim_core::{Notice, Remains, Sample};
use rustix::process::{Pid, Signal};

use super::cgroup::{Group, Groups};
use super::handover::ChildsOwn;
use super::inherited::{self, Inherited};
use super::notify::{Kin, NotifyName, NotifySocket, Speakers};
use super::oom::Kills;
use super::output::{Output, Outputs, Pause};
use super::pidfd::{Pidfd, Watched};
use super::reap::Death;
use super::spawn::{self, Birth, Program, SpawnError};
use super::tree::{Force, Root, Tree};
use super::{identity, reap};

/// A child that lives, or is not buried. Dropping it ends nothing.
#[derive(Debug)]
pub(crate) struct Child {
    incarnation: Incarnation,
    pid: Pid,
    pidfd: Watched,
    process: ProcessIdentity,
    origin: Origin,
    /// What the shim has sent it of SIGKILL while it lived.
    killed: Cell<Force>,
    /// Those for want of memory in its life.
    kills: Option<Kills>,
    output: Output,
    notify: NotifySocket,
}

/// What connects a child with the shim that adopts it.
#[derive(Debug)]
pub(crate) enum Left {
    /// This process's program before has left all of it.
    Descriptors(ChildsOwn<OwnedFd>),
    /// The shim that spawned it is gone; this is the name of its notify socket, if that is known.
    Name(Option<NotifyName>),
}

/// Where a child comes from.
#[derive(Debug)]
enum Origin {
    /// This process, which alone can reap it.
    Spawned {
        /// Removed with the child's burial.
        group: Option<Group>,
    },
    /// An earlier shim.
    Adopted(Inherited),
}

impl Child {
    /// Runs the program, which hears of `notify`; returns once its exec has succeeded or failed. Only for the main
    /// thread: the child dies with the thread that spawns it. Of a program that could not be run nothing lives.
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
        let notify = match NotifySocket::bind(birth.notify) {
            Ok(notify) => notify,
            Err(source) => return Ok(Err(SpawnError::new(program, source))),
        };
        let group = tree.group(birth.incarnation);
        let kills = Kills::from_here_on(group.as_ref());
        let pid = match spawn::spawn(program, birth, ends, group.as_ref()) {
            Ok(pid) => pid,
            Err(error) => return Ok(Err(error)),
        };
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
                origin: Origin::Spawned { group },
                killed: Cell::new(Force::None),
                kills,
                output,
                notify,
            })),
            Err(source) => {
                // Without a descriptor there is no way to watch it: nobody must find it running.
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

    /// Takes up the child of an earlier shim, or of this process's program before; `None` when there is none of this
    /// identity any more. The boot is the caller's to compare. It says what it says to what was `left`, and writes to it.
    ///
    /// # Errors
    /// Where it cannot be watched.
    pub(crate) async fn adopt(
        incarnation: Incarnation,
        process: &ProcessIdentity,
        marker: Marker,
        left: Left,
        outputs: &mut Outputs,
    ) -> io::Result<Option<Self>> {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let (Some(pid), Some(pidfd)) = (pid, identity::find_marked(process, marker)?) else {
            return Ok(None);
        };
        let group = Groups::of(marker, incarnation, pid)?;
        let kills = Kills::from_here_on(group.as_ref());
        let origin = if reap::is_child(pid)? {
            Origin::Spawned { group }
        } else {
            Origin::Adopted(Inherited::of(marker, process.clone(), group)?)
        };
        let (notify, streams) = match left {
            Left::Descriptors(own) => (NotifySocket::resume(own.notify)?, own.streams),
            Left::Name(name) => (NotifySocket::take_up(name).await?, None),
        };
        Ok(Some(Self {
            incarnation,
            pid,
            pidfd: pidfd.watch()?,
            process: process.clone(),
            origin,
            killed: Cell::new(Force::None),
            kills,
            output: match streams {
                Some(streams) => outputs.resume(streams)?,
                None => outputs.take_up(),
            },
            notify,
        }))
    }

    /// What the next program of this process needs to go on with it.
    pub(crate) fn so_far(&self) -> ChildsOwn<BorrowedFd<'_>> {
        ChildsOwn {
            incarnation: self.incarnation,
            notify: self.notify.as_fd(),
            streams: self.output.so_far(),
        }
    }

    /// Which life it is.
    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Who it is.
    pub(crate) const fn process(&self) -> &ProcessIdentity {
        &self.process
    }

    /// Its pid. Of one that was spawned it names nobody else before [`Child::bury`].
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
            kin: match &self.origin {
                Origin::Spawned { .. } => Kin::Descent(tree),
                Origin::Adopted(inherited) => Kin::Marks(inherited.hunt()),
            },
            boot_id: self.process.boot_id,
        };
        self.notify.notices(speakers, self.output.redaction()).await
    }

    /// What the child's tree has used and written so far.
    pub(crate) fn sample(&self, tree: &Tree) -> io::Result<Sample> {
        let group_cpu = self.group().and_then(Group::cpu_usage);
        let output_bytes = self.output.written_bytes();
        match &self.origin {
            Origin::Spawned { .. } => tree.sample(output_bytes, group_cpu),
            Origin::Adopted(inherited) => tree.sample_of(inherited.pids()?, output_bytes, group_cpu),
        }
    }

    /// Sends a signal to the child alone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.note(signal);
        self.pidfd.pidfd().signal(signal)
    }

    /// Sends a signal to the child's whole tree.
    pub(crate) fn signal_tree(&self, tree: &Tree, signal: Signal) -> io::Result<()> {
        self.note(signal);
        match &self.origin {
            Origin::Spawned { .. } => tree.signal(self.pid, signal),
            Origin::Adopted(inherited) => inherited.signal(signal),
        }
    }

    /// Returns when nothing of the child's tree lives. Can be dropped at any point, and called again.
    pub(crate) async fn tree_gone(&self, tree: &Tree, force: Force) -> io::Result<()> {
        match force {
            Force::Kill => self.note(Signal::KILL),
            Force::None => {}
        }
        match &self.origin {
            Origin::Spawned { group } => tree.gone(self.root(group.as_ref()), force).await,
            Origin::Adopted(inherited) => inherited.gone(force, self.pidfd.pidfd()).await,
        }
    }

    /// Names what lives of the child's tree.
    pub(crate) fn survivors(&self, tree: &Tree) -> io::Result<Vec<Survivor>> {
        match &self.origin {
            Origin::Spawned { group } => tree.survivors(self.root(group.as_ref())),
            Origin::Adopted(inherited) => inherited.survivors(),
        }
    }

    /// Before a signal is sent: whether it may be what ends the child.
    fn note(&self, signal: Signal) {
        if signal == Signal::KILL && !self.pidfd.pidfd().is_dead() {
            self.killed.set(Force::Kill);
        }
    }

    pub(super) fn group(&self) -> Option<&Group> {
        match &self.origin {
            Origin::Spawned { group } => group.as_ref(),
            Origin::Adopted(inherited) => inherited.group(),
        }
    }

    const fn root<'a>(&self, group: Option<&'a Group>) -> Root<'a> {
        let leader = self.pid;
        Root { leader, group }
    }

    /// Reaps the child, where that is this process's to do, and tells what is left of it. The child and its tree are
    /// dead; others of the tree who died are reaped by [`Tree::reap`].
    pub(crate) fn bury(self) -> Remains {
        let (stdout_tail, stderr_tail) = self.output.finish();
        let death = match &self.origin {
            Origin::Spawned { .. } => reap::bury(self.pid),
            Origin::Adopted(_) => Death::of_stranger(inherited::exit_status(self.pidfd.pidfd())),
        };
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

impl Outputs {
    /// As [`Outputs::pause`], of this child if there is one; `None` where that took longer than `limit`.
    pub(crate) async fn paused(&mut self, child: Option<&Child>, limit: Duration) -> Option<Vec<Pause>> {
        let pause = self.pause(child.map(|child| &child.output));
        tokio::time::timeout(limit, pause).await.ok()
    }
}

impl Tree {
    /// Takes away the dead who have lost their parents; `child` is reaped by [`Child::bury`] alone.
    pub(crate) fn reap(&self, child: Option<&Child>) -> io::Result<()> {
        let own = child.filter(|child| match child.origin {
            Origin::Spawned { .. } => true,
            Origin::Adopted(_) => false,
        });
        self.reap_orphans(own.map(Child::pid))
    }
}
