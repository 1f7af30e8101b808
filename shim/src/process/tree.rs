//! A child and all its descendants: how they are signalled, and when they are surely dead.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use rekindle::id::Incarnation;
use rekindle::report::{SURVIVORS_MAX, Survivor};
use rekindle_shim_core::KILL_PROOF;
use rustix::process::{Pid, Signal, getpgid, getpid, kill_process_group};

use super::cgroup::{Group, Groups, Population};
use super::handover::ExemptOne;
use super::pidfd::Pidfd;
use super::{proc, reap};

/// Most processes that are handled at once, so that a fork bomb does not use the shim's descriptors up; the others are
/// found when these are dead.
const MEMBERS_MAX: usize = 256;

/// Deepest nesting of processes that is followed; what lies deeper comes up when its parents die.
pub(super) const DEPTH_MAX: usize = 4096;

/// Most looks for a process whose ancestors end meanwhile: each fails only if another one ends within microseconds.
const LOOKS_MAX: usize = 8;

/// Wait before the next look, where there is nothing that could be waited for: a process that was not there at one
/// look and lived at the next.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Whether the processes of a tree are killed, or only watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// They end by themselves.
    None,
    /// SIGKILL, whenever one is found.
    Kill,
}

/// Whether a process is of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kin {
    Yes,
    No,
}

/// Every descendant of this process, but for those that are exempt.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    exempt: Vec<Exempt>,
    /// Where the host lets lives have groups.
    groups: Option<Groups>,
}

/// What a tree has grown from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root<'a> {
    /// Its process, which is not reaped, and leads a process group.
    pub(super) leader: Pid,
    /// Its control group, where it has one.
    pub(super) group: Option<&'a Group>,
}

impl ExemptOne {
    fn of(pid: Pid, pidfd: &Pidfd) -> Self {
        Self {
            pid: pid.as_raw_pid(),
            pidfd_inode: pidfd.inode(),
            // Of one that has just ended nobody needs it.
            start_time_ticks: proc::stat(pid).map_or(0, |stat| stat.start_time_ticks),
        }
    }
}

/// A process that is not part of the tree, although it descends from the shim.
#[derive(Debug)]
struct Exempt {
    pid: Pid,
    pidfd: Pidfd,
}

#[derive(Debug)]
struct Member {
    pid: Pid,
    pidfd: Pidfd,
}

impl Tree {
    /// A tree that does not exist yet: whoever descends from this process by now does not belong to it.
    /// Where there are groups, each life gets one.
    pub(crate) fn new(groups: Option<Groups>) -> io::Result<Self> {
        let mut tree = Self {
            exempt: Vec::new(),
            groups,
        };
        tree.exempt_all()?;
        Ok(tree)
    }

    /// The tree that this process had when it ran another program: whoever descends from it belongs to it, but for the
    /// `exempt`.
    pub(crate) fn resumed(groups: Option<Groups>, exempt: &[ExemptOne]) -> io::Result<Self> {
        let mut tree = Self {
            exempt: Vec::new(),
            groups,
        };
        for one in exempt {
            let Some(pid) = Pid::from_raw(one.pid) else { continue };
            if let Some(pidfd) = Pidfd::find(pid)?
                && ExemptOne::of(pid, &pidfd) == *one
            {
                tree.exempt.push(Exempt { pid, pidfd });
            }
        }
        Ok(tree)
    }

    /// Who lives of those that do not belong to it, although they descend from this process.
    pub(crate) fn exempt(&self) -> Vec<ExemptOne> {
        let living = self.exempt.iter().filter(|exempt| !exempt.pidfd.is_dead());
        living.map(|exempt| ExemptOne::of(exempt.pid, &exempt.pidfd)).collect()
    }

    /// A group for a life; `None` where the host has none to give, which is told.
    pub(super) fn group(&self, incarnation: Incarnation) -> Option<Group> {
        let made = self.groups.as_ref()?.make(incarnation);
        made.inspect_err(|error| tracing::warn!(%incarnation, %error, "the agent's process gets no cgroup"))
            .ok()
    }

    /// Gives up on what lives: the next tree begins without it.
    pub(crate) fn exempt_all(&mut self) -> io::Result<()> {
        self.exempt.retain(|exempt| !exempt.pidfd.is_dead());
        let living = self.members(None)?;
        self.exempt
            .extend(living.into_iter().map(|Member { pid, pidfd }| Exempt { pid, pidfd }));
        Ok(())
    }

    /// Sends a signal to the group of `leader`, which must not be reaped, and to all members outside of it. Then lets
    /// those run that were stopped, as they could not end otherwise.
    pub(super) fn signal(&self, leader: Pid, signal: Signal) -> io::Result<()> {
        signal_group(leader, signal)?;
        let outside = |member: &Member| getpgid(Some(member.pid)).is_ok_and(|group| group != leader);
        let members: Vec<Member> = self.members(None)?.into_iter().filter(outside).collect();
        for member in &members {
            ignore_dead(member.pidfd.signal(signal))?;
        }
        signal_group(leader, Signal::CONT)?;
        members
            .iter()
            .try_for_each(|member| ignore_dead(member.pidfd.signal(Signal::CONT)))
    }

    /// Returns when nothing of the tree lives. Can be dropped at any point, and called again.
    pub(super) async fn gone(&self, root: Root<'_>, force: Force) -> io::Result<()> {
        loop {
            if force == Force::Kill {
                kill(root)?;
            }
            if self.is_gone(root)? {
                return Ok(());
            }
            let members = self.members(root.group)?;
            if force == Force::Kill {
                members
                    .iter()
                    .try_for_each(|member| ignore_dead(member.pidfd.signal(Signal::KILL)))?;
            }
            if members.is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            for member in &members {
                member.pidfd.dead().await?;
            }
        }
    }

    /// Ends the tree of a leader that cannot be watched, and reaps the leader.
    ///
    /// # Errors
    /// When the tree is not proven dead within [`KILL_PROOF`].
    pub(super) async fn end_unwatched(&self, root: Root<'_>) -> io::Result<()> {
        // The process group dies without a descriptor, which may be what the shim lacks; its death gives some back.
        signal_group(root.leader, Signal::KILL)?;
        match tokio::time::timeout(KILL_PROOF, self.gone(root, Force::Kill)).await {
            Ok(gone) => gone?,
            Err(_elapsed) => {
                return Err(io::Error::other(
                    "processes of a program that cannot be watched outlive SIGKILL",
                ));
            }
        }
        reap::discard(root.leader)
    }

    /// Names what lives.
    pub(super) fn survivors(&self, root: Root<'_>) -> io::Result<Vec<Survivor>> {
        let members = self.members(root.group)?;
        let named = members.iter().take(SURVIVORS_MAX);
        Ok(named.map(|member| survivor(member.pid, &member.pidfd)).collect())
    }

    /// Takes away the dead who have lost their parents, but for `leader`.
    pub(super) fn reap_orphans(&self, leader: Option<Pid>) -> io::Result<()> {
        for child in proc::children(getpid())? {
            if Some(child) != leader && reap::is_dead(child)? {
                reap::discard(child)?;
            }
        }
        Ok(())
    }

    /// Whether every child of this process is dead, and so every descendant: a process that dies hands its children to
    /// the shim before it counts as dead. The list is read until it holds nobody who was not known dead before it was
    /// read, as one who dies between the reading and the asking could have handed somebody over. Where there is a
    /// control group, nobody lives in it either.
    fn is_gone(&self, root: Root<'_>) -> io::Result<bool> {
        if let Some(group) = root.group
            && group.population()? == Population::Somebody
        {
            return Ok(false);
        }
        let mut dead = BTreeSet::new();
        if reap::is_dead(root.leader)? {
            dead.insert(root.leader.as_raw_pid());
        }
        loop {
            let mut anybody_new = false;
            for child in proc::children(getpid())? {
                if self.is_exempt(child) || !dead.insert(child.as_raw_pid()) {
                    continue;
                }
                if !reap::is_dead(child)? {
                    return Ok(false);
                }
                anybody_new = true;
            }
            if !anybody_new {
                return Ok(true);
            }
        }
    }

    /// The living, from the top, each held by a descriptor and checked to be of the tree while it is held; then who is
    /// in the group beside them.
    fn members(&self, group: Option<&Group>) -> io::Result<Vec<Member>> {
        let mut members: Vec<Member> = Vec::new();
        let mut open = proc::children(getpid())?;
        open.reverse();
        while let Some(pid) = open.pop() {
            if members.len() == MEMBERS_MAX {
                return Ok(members);
            }
            if !self.is_exempt(pid)
                && let Some(member) = Member::hold(pid, descends_from_here)?
            {
                open.extend(proc::children(pid).unwrap_or_default());
                members.push(member);
            }
        }
        let Some(group) = group else { return Ok(members) };
        for pid in group.pids() {
            if members.len() == MEMBERS_MAX {
                break;
            }
            let known = members.iter().any(|member| member.pid == pid) || self.is_exempt(pid);
            if !known && let Some(member) = Member::hold(pid, |pid| group.holds(pid))? {
                members.push(member);
            }
        }
        Ok(members)
    }

    /// Whether the process that has this pid is of the tree. Asked while a descriptor of it is held: if it lives
    /// afterwards too, the answer is about that process.
    pub(super) fn has(&self, pid: Pid) -> bool {
        (0..LOOKS_MAX).find_map(|_| self.look_up_from(pid)) == Some(Kin::Yes)
    }

    /// `None` when a process between this one and the shim ended meanwhile: its children have another parent by now.
    fn look_up_from(&self, pid: Pid) -> Option<Kin> {
        let here = getpid();
        let mut ancestor = pid;
        for _ in 0..DEPTH_MAX {
            if self.is_exempt(ancestor) {
                return Some(Kin::No);
            }
            match proc::stat(ancestor).ok()?.parent {
                Some(parent) if parent == here => return Some(Kin::Yes),
                Some(parent) => ancestor = parent,
                None => return Some(Kin::No),
            }
        }
        Some(Kin::No)
    }

    pub(super) fn is_exempt(&self, pid: Pid) -> bool {
        self.exempt
            .iter()
            .any(|exempt| exempt.pid == pid && !exempt.pidfd.is_dead())
    }
}

impl Member {
    /// Holds the process that has this pid, if it lives and is of the tree. That is asked after the descriptor was
    /// opened: then either the descriptor is the process's own, or it is of a dead one, which no signal reaches.
    fn hold(pid: Pid, is_of_tree: impl FnOnce(Pid) -> bool) -> io::Result<Option<Self>> {
        let pidfd = match Pidfd::open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if is_gone_error(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok((!pidfd.is_dead() && is_of_tree(pid)).then_some(Self { pid, pidfd }))
    }
}

/// SIGKILL to the process group and the control group.
fn kill(root: Root<'_>) -> io::Result<()> {
    signal_group(root.leader, Signal::KILL)?;
    root.group.map_or(Ok(()), Group::kill)
}

/// Whether the process that has this pid is a descendant of this one.
fn descends_from_here(pid: Pid) -> bool {
    let here = getpid();
    let mut ancestor = pid;
    for _ in 0..DEPTH_MAX {
        match proc::stat(ancestor).ok().and_then(|stat| stat.parent) {
            Some(parent) if parent == here => return true,
            Some(parent) => ancestor = parent,
            None => return false,
        }
    }
    false
}

/// Signals the process group that `leader` leads. As long as the leader is not reaped, its pid names no other group.
fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    ignore_dead(kill_process_group(leader, signal).map_err(Into::into))
}

/// What is dead needs no signal; and a group in which nobody may be signalled is left to the walk over the tree.
fn ignore_dead(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_gone_error(&error) || error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Ok(()) | Err(_) => result,
    }
}

fn is_gone_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Names a process that is held.
pub(super) fn survivor(pid: Pid, pidfd: &Pidfd) -> Survivor {
    Survivor {
        pid: pid.as_raw_pid().unsigned_abs(),
        pidfd_inode: pidfd.inode(),
        // Unknown where it has just ended.
        start_time_ticks: proc::stat(pid).map_or(0, |stat| stat.start_time_ticks),
        command: proc::command(pid),
    }
}
