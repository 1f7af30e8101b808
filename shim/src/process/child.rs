//! One life of the agent's process, from its spawn to its last line.

use std::io;

use rekindle::id::{BootId, Incarnation};
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle_shim_core::Remains;
use rustix::process::{Pid, Signal};

use super::output::{Output, Outputs};
use super::pidfd::{Pidfd, Watched};
use super::spawn::{self, Birth, Program, SpawnError};
use super::tree::{Force, Tree};
use super::{identity, reap};

/// A child that was spawned and is not reaped. Dropping it ends nothing.
#[derive(Debug)]
pub(crate) struct Child {
    incarnation: Incarnation,
    pid: Pid,
    pidfd: Watched,
    process: ProcessIdentity,
    output: Output,
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
        let spawned = match spawn::spawn(program, birth, ends) {
            Ok(spawned) => spawned,
            Err(error) => return Ok(Err(error)),
        };
        let pid = Pid::from_child(&spawned);
        let known = Self::know(pid, boot_id).map(|(pidfd, process)| Self {
            incarnation: birth.incarnation,
            pid,
            pidfd,
            process,
            output,
        });
        match known {
            Ok(child) => Ok(Ok(child)),
            Err(source) => {
                // Without a descriptor there is no way to watch it: nobody must find it running.
                drop(spawned);
                tree.end_unwatched(pid).await?;
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

    /// Sends a signal to the child alone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.pidfd.signal(signal)
    }

    /// Sends a signal to the child's whole tree.
    pub(crate) fn signal_tree(&self, tree: &Tree, signal: Signal) -> io::Result<()> {
        tree.signal(self.pid, signal)
    }

    /// Returns when nothing of the child's tree lives. Can be dropped at any point, and called again.
    pub(crate) async fn tree_gone(&self, tree: &Tree, force: Force) -> io::Result<()> {
        tree.gone(self.pid, force).await
    }

    /// Names what lives of the child's tree.
    pub(crate) fn survivors(&self, tree: &Tree) -> io::Result<Vec<Survivor>> {
        tree.survivors()
    }

    /// Reaps the child and tells what is left of it. The child and its tree are dead; others of the tree who died are
    /// reaped by [`Tree::reap`].
    pub(crate) fn bury(self) -> Remains {
        let (stdout_tail, stderr_tail) = self.output.finish();
        let death = reap::bury(self.pid);
        Remains {
            status: death.status,
            oom_killed: false,
            user_time: death.user_time,
            system_time: death.system_time,
            max_rss_kib: death.max_rss_kib,
            stderr_tail,
            stdout_tail,
        }
    }
}

impl Tree {
    /// Takes away the dead who have lost their parents; `child` is reaped by [`Child::bury`] alone.
    pub(crate) fn reap(&self, child: Option<&Child>) -> io::Result<()> {
        self.reap_orphans(child.map(Child::pid))
    }
}
