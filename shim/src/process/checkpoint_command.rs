//! The command that saves for an agent which is about to be ended: a process beside the agent's own, of the same tree.
//!
//! It runs as the agent does, with what the agent was told, and what it writes goes where the agent's words go. It ends with
//! the tree, by the same signals; the shim reaps it.

use std::ffi::OsString;
use std::io;
use std::rc::Rc;

use rekindle::exit::ExitStatus;
use rekindle::id::Incarnation;
use rekindle_shim_core::TreeId;
use rustix::process::Pid;

use super::child::Child;
use super::output::{LastWords, Output, Outputs, Stdout};
use super::pidfd::{Pidfd, Watched};
use super::reap;
use super::spawn::{self, Birth, Program, SpawnError};
use super::tree::{Root, Tree};

/// What reads the command.
const SHELL: &str = "/bin/sh";

/// A checkpoint command that runs, or is dead and not reaped. Dropping it ends nothing.
#[derive(Debug)]
pub(crate) struct CheckpointCommand {
    incarnation: Incarnation,
    root: Rc<Root>,
    pidfd: Watched,
    output: Output,
}

/// How a checkpoint command has ended.
#[derive(Debug)]
pub(crate) struct CommandEnd {
    pub(crate) status: ExitStatus,
    /// The last lines of what it wrote, redacted.
    pub(crate) stderr_tail: String,
}

impl CheckpointCommand {
    /// Runs the command in the tree of a life; returns once its exec has succeeded or failed. Only for the main thread.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn spawn(
        program: &Program,
        command: &OsString,
        birth: &Birth,
        life: &Child,
        outputs: &mut Outputs,
        tree: &Tree,
    ) -> Result<Self, SpawnError> {
        let program = Program {
            path: SHELL.into(),
            arguments: vec!["-c".into(), command.clone()],
            ..program.clone()
        };
        let failed = |source| SpawnError::new(&program, source);
        let (output, ends) = outputs.open(Stdout::Lines).map_err(failed)?;
        let (stdin, _) = spawn::stdin(&program, birth).map_err(failed)?;
        let pid = spawn::spawn(&program, birth, stdin, ends, life.group())?;
        // Not reaped by who takes the orphans away: its pid means it until its end was told.
        let root = tree.plant(Root::new(birth.tree(), pid, None, Vec::new()));
        match watch(pid) {
            Ok(pidfd) => Ok(Self {
                incarnation: birth.incarnation,
                root,
                pidfd,
                output,
            }),
            Err(source) => {
                // Nobody would hear of its end. What it has begun goes with the tree.
                let _ = root.kill_process_group();
                Err(failed(source))
            }
        }
    }

    /// Whose state it saves.
    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether it is of this tree.
    pub(crate) fn is_of(&self, tree: &TreeId) -> bool {
        self.root.tree == *tree
    }

    /// Returns when it is dead; what it has begun may live. Can be dropped at any point, and called again.
    pub(crate) async fn exited(&self) -> io::Result<()> {
        self.pidfd.dead().await
    }

    /// Kills it, with what it has begun in its own process group. The rest of that goes with the tree.
    pub(crate) fn kill(&self) {
        // It may be dead already, and its end be told.
        let _ = self.root.kill_process_group();
    }

    /// Reaps it, once it is dead.
    pub(crate) fn bury(self) -> CommandEnd {
        let LastWords { stderr_tail, .. } = self.output.finish();
        CommandEnd {
            status: reap::bury(self.root.leader).status,
            stderr_tail,
        }
    }
}

fn watch(pid: Pid) -> io::Result<Watched> {
    Pidfd::open(pid)?.watch()
}
