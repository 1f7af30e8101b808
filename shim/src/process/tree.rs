//! A child and all its descendants: how they are signalled, and when they are surely dead.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use rekindle::report::{SURVIVORS_MAX, Survivor};
use rekindle_shim_core::KILL_PROOF;
use rustix::process::{Pid, Signal, getpgid, getpid, kill_process_group};

use super::pidfd::Pidfd;
use super::{proc, reap};

/// Most processes that are handled at once, so that a fork bomb does not use the shim's descriptors up; the others are
/// found when these are dead.
const MEMBERS_MAX: usize = 256;

/// Deepest nesting of processes that is followed; what lies deeper comes up when its parents die.
const DEPTH_MAX: usize = 4096;

/// Wait before the next look, where there is nothing that could be waited for: a process that was not there at one
/// look and lived at the next.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Whether the processes of a tree are killed, or only watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// They end by themselves.
    None,
    /// SIGKILL, whenever one is found.
    Kill,
}

/// Every descendant of this process, but for those that are exempt.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    exempt: Vec<Exempt>,
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
    pub(crate) fn new() -> io::Result<Self> {
        let mut tree = Self::default();
        tree.exempt_all()?;
        Ok(tree)
    }

    /// Gives up on what lives: the next tree begins without it.
    pub(crate) fn exempt_all(&mut self) -> io::Result<()> {
        self.exempt.retain(|exempt| !exempt.pidfd.is_dead());
        let living = self.members()?;
        self.exempt
            .extend(living.into_iter().map(|Member { pid, pidfd }| Exempt { pid, pidfd }));
        Ok(())
    }

    /// Sends a signal to the group of `leader`, which must not be reaped, and to all members outside of it. Then lets
    /// those run that were stopped, as they could not end otherwise.
    pub(super) fn signal(&self, leader: Pid, signal: Signal) -> io::Result<()> {
        signal_group(leader, signal)?;
        let outside = |member: &Member| getpgid(Some(member.pid)).is_ok_and(|group| group != leader);
        let members: Vec<Member> = self.members()?.into_iter().filter(outside).collect();
        for member in &members {
            ignore_dead(member.pidfd.signal(signal))?;
        }
        signal_group(leader, Signal::CONT)?;
        members
            .iter()
            .try_for_each(|member| ignore_dead(member.pidfd.signal(Signal::CONT)))
    }

    /// Returns when nothing of the tree lives. Can be dropped at any point, and called again.
    pub(super) async fn gone(&self, leader: Pid, force: Force) -> io::Result<()> {
        loop {
            if force == Force::Kill {
                signal_group(leader, Signal::KILL)?;
            }
            if self.is_gone(leader)? {
                return Ok(());
            }
            let members = self.members()?;
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
    pub(super) async fn end_unwatched(&self, leader: Pid) -> io::Result<()> {
        // The group dies without a descriptor, which may be what the shim lacks; its death gives some back.
        signal_group(leader, Signal::KILL)?;
        match tokio::time::timeout(KILL_PROOF, self.gone(leader, Force::Kill)).await {
            Ok(gone) => gone?,
            Err(_elapsed) => {
                return Err(io::Error::other(
                    "processes of a program that cannot be watched outlive SIGKILL",
                ));
            }
        }
        reap::discard(leader)
    }

    /// Names what lives.
    pub(super) fn survivors(&self) -> io::Result<Vec<Survivor>> {
        let members = self.members()?;
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
    /// read, as one who dies between the reading and the asking could have handed somebody over.
    fn is_gone(&self, leader: Pid) -> io::Result<bool> {
        let mut dead = BTreeSet::new();
        if reap::is_dead(leader)? {
            dead.insert(leader.as_raw_pid());
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

    /// The living, from the top, each held by a descriptor and checked to be of the tree while it is held.
    fn members(&self) -> io::Result<Vec<Member>> {
        let mut members: Vec<Member> = Vec::new();
        let mut open = proc::children(getpid())?;
        open.reverse();
        while let Some(pid) = open.pop() {
            if members.len() == MEMBERS_MAX {
                break;
            }
            if self.is_exempt(pid) {
                continue;
            }
            let pidfd = match Pidfd::open(pid) {
                Ok(pidfd) => pidfd,
                Err(error) if is_gone_error(&error) => continue,
                Err(error) => return Err(error),
            };
            if pidfd.is_dead() || !descends_from_here(pid) {
                continue;
            }
            open.extend(proc::children(pid).unwrap_or_default());
            members.push(Member { pid, pidfd });
        }
        Ok(members)
    }

    pub(super) fn is_exempt(&self, pid: Pid) -> bool {
        self.exempt
            .iter()
            .any(|exempt| exempt.pid == pid && !exempt.pidfd.is_dead())
    }
}

/// Whether the process that has this pid is a descendant of this one. Asked after a descriptor of it was opened: then
/// either the descriptor is the process's own, or it is of a dead one, which no signal reaches.
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
