//! What one tree has grown from, and what of it was found.

use std::cell::RefCell;
use std::io;

use rekindle_shim_core::TreeId;
use rustix::process::{Pid, Signal};

use super::super::cgroup::Group;
use super::super::hunt::Members;
use super::signal_group;

/// What a tree has grown from.
#[derive(Debug)]
pub(in crate::process) struct Root {
    pub(in crate::process) tree: TreeId,
    /// Its process, which is not reaped, and leads a process group.
    pub(in crate::process) leader: Pid,
    /// Its control group, where it has one. Removed with this.
    pub(in crate::process) group: Option<Group>,
    /// Variables that its processes alone have in their environment, each as `NAME=value`; empty where there are none.
    pub(in crate::process) marks: Vec<String>,
    /// Who was found to be of the tree, and lived.
    known: RefCell<Members>,
}

impl Root {
    pub(in crate::process) fn new(tree: TreeId, leader: Pid, group: Option<Group>, marks: Vec<String>) -> Self {
        Self {
            tree,
            leader,
            group,
            marks,
            known: RefCell::default(),
        }
    }

    /// Who was found, and lives.
    pub(super) fn known(&self) -> Members {
        let mut known = self.known.borrow_mut();
        known.retain(|member| !member.pidfd.is_dead());
        known.clone()
    }

    pub(super) fn know(&self, members: &Members) {
        self.known.replace(members.clone());
    }

    /// Whether the process that has this pid was found to be of the tree, and lives.
    pub(super) fn knows(&self, pid: Pid) -> bool {
        let known = self.known.borrow();
        known.iter().any(|member| member.pid == pid && !member.pidfd.is_dead())
    }

    /// SIGKILL to the process group.
    pub(in crate::process) fn kill_process_group(&self) -> io::Result<()> {
        signal_group(self.leader, Signal::KILL)
    }

    /// SIGKILL to the process group and the control group.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.kill_process_group()?;
        self.group.as_ref().map_or(Ok(()), Group::kill)
    }
}
