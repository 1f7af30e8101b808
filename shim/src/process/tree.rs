//! Trees of processes, each a child with all its descendants: how they are signalled, and when they are surely dead.
//!
//! Whoever loses its parent becomes this process's child. With one tree that is all there is to know: every descendant
//! is of it. With several side by side, [`branch`] tells whose such an orphan is. Who cannot be told gets no signal while
//! there are several, and is the last one's in the end.

mod branch;
mod members;
mod root;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use rekindle::report::{SURVIVORS_MAX, Survivor};
use rekindle_shim_core::TreeId;
use rustix::process::{Pid, RawPid, Signal, getpgid, getpid, kill_process_group};

use super::cgroup::{Group, Groups, Population};
use super::handover::ExemptOne;
use super::hunt::{Member, Members};
use super::pidfd::Pidfd;
use super::want::of_process;
use super::{proc, reap};

use branch::Claim;
use members::{Extent, MEMBERS_MAX};
pub(super) use root::Root;

/// Deepest nesting of processes that is followed; what lies deeper comes up when its parents die.
pub(super) const DEPTH_MAX: usize = 4096;

/// Most looks for a process whose ancestors end meanwhile: each fails only if another one ends within microseconds. And
/// most looks for those who are forked while others are stopped.
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
    exempt: Members,
    /// Where the host lets trees have groups.
    groups: Option<Groups>,
    /// What has grown here, as long as it is not buried.
    roots: RefCell<Vec<Weak<Root>>>,
    /// Whose the orphans are that were told apart once. As only this process reaps them, their pids mean nobody else.
    branches: RefCell<BTreeMap<RawPid, TreeId>>,
}

impl ExemptOne {
    fn of(member: &Member) -> Self {
        Self {
            pid: member.pid.as_raw_pid(),
            pidfd_inode: member.pidfd.inode(),
            // Of one that has just ended nobody needs it.
            start_time_ticks: proc::stat(member.pid).map_or(0, |stat| stat.start_time_ticks),
        }
    }
}

impl Tree {
    /// A tree that does not exist yet: whoever descends from this process by now does not belong to it.
    /// Where there are groups, each child gets one.
    pub(crate) fn new(groups: Option<Groups>) -> io::Result<Self> {
        let mut tree = Self {
            groups,
            ..Self::default()
        };
        tree.exempt_all()?;
        Ok(tree)
    }

    /// The tree that this process had when it ran another program: whoever descends from it belongs to it, but for the
    /// `exempt`.
    pub(crate) fn resumed(groups: Option<Groups>, exempt: &[ExemptOne]) -> io::Result<Self> {
        let mut tree = Self {
            groups,
            ..Self::default()
        };
        for one in exempt {
            let Some(pid) = Pid::from_raw(one.pid) else { continue };
            if let Some(pidfd) = Pidfd::find(pid)? {
                let member = Member { pid, pidfd };
                if ExemptOne::of(&member) == *one {
                    tree.exempt.push(Rc::new(member));
                }
            }
        }
        Ok(tree)
    }

    /// Who lives of those that do not belong to it, although they descend from this process.
    pub(crate) fn exempt(&self) -> Vec<ExemptOne> {
        let living = self.exempt.iter().filter(|exempt| !exempt.pidfd.is_dead());
        living.map(|exempt| ExemptOne::of(exempt)).collect()
    }

    /// A group for a child; `None` where the host has none to give, which is told.
    pub(super) fn group(&self, tree: &TreeId) -> Option<Group> {
        let made = self.groups.as_ref()?.make(tree);
        made.inspect_err(|error| tracing::warn!(%tree, %error, "the agent's process gets no cgroup"))
            .ok()
    }

    /// From here on this root's tree is told from all others, for as long as the root lives.
    pub(super) fn plant(&self, root: Root) -> Rc<Root> {
        let root = Rc::new(root);
        let mut roots = self.roots.borrow_mut();
        roots.retain(|root| root.strong_count() > 0);
        roots.push(Rc::downgrade(&root));
        root
    }

    fn roots(&self) -> Vec<Rc<Root>> {
        self.roots.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Gives up on what lives: the next tree begins without it.
    ///
    /// # Errors
    /// Where some of it cannot be held, and counts to the next tree; what can be is given up all the same.
    pub(crate) fn exempt_all(&mut self) -> io::Result<()> {
        self.exempt.retain(|exempt| !exempt.pidfd.is_dead());
        let mut living = Members::new();
        let children = proc::children(getpid())?;
        let held = self.hold_all(children, &mut living, MEMBERS_MAX, |pid| Ok(top_of(pid)?.is_some()))?;
        self.exempt.extend(living);
        match held {
            Extent::Whole => Ok(()),
            Extent::NoRoom => Err(io::Error::other(format!("more than {MEMBERS_MAX} processes live"))),
            Extent::Want(error) => Err(error),
        }
    }

    /// Sends a signal to the group of the root's leader, and to all members outside of it. Then lets those run that were
    /// stopped, as they could not end otherwise.
    pub(super) fn signal(&self, root: &Root, signal: Signal) -> io::Result<()> {
        // Found before: whom its parent's end makes an orphan could not be told from others' afterwards.
        let outside = |member: &Member| getpgid(Some(member.pid)).is_ok_and(|group| group != root.leader);
        let mut members = match self.members(root) {
            Ok(members) => members,
            Err(error) => {
                // The group at least gets it without a descriptor.
                signal_group(root.leader, signal)?;
                signal_group(root.leader, Signal::CONT)?;
                return Err(error);
            }
        };
        members.retain(|member| outside(member));
        for signal in [signal, Signal::CONT] {
            signal_group(root.leader, signal)?;
            members
                .iter()
                .try_for_each(|member| ignore_dead(member.pidfd.signal(signal)))?;
        }
        Ok(())
    }

    /// Returns when nothing of the root's tree lives. Can be dropped at any point, and called again.
    pub(super) async fn gone(&self, root: &Root, force: Force) -> io::Result<()> {
        while !self.is_gone(root)? {
            let members = match force {
                Force::None => self.members(root)?,
                Force::Kill => self.kill(root)?,
            };
            if members.is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            for member in &members {
                member.pidfd.dead().await?;
            }
        }
        Ok(())
    }

    /// SIGKILL to the groups, and to all members that are found.
    fn kill(&self, root: &Root) -> io::Result<Members> {
        // Found before, as for every signal.
        let members = if self.is_alone(root) || root.group.is_some() {
            self.members(root)?
        } else {
            self.halt(root)?
        };
        root.kill()?;
        members
            .iter()
            .try_for_each(|member| ignore_dead(member.pidfd.signal(Signal::KILL)))?;
        Ok(members)
    }

    /// Finds all members, as far as there is room, and stops each: who is stopped forks no more, so that a look that finds
    /// nobody new has missed nobody who would be an orphan without a trace, once the others are killed.
    fn halt(&self, root: &Root) -> io::Result<Members> {
        signal_group(root.leader, Signal::STOP)?;
        let mut members = Members::new();
        for _ in 0..LOOKS_MAX {
            let found = self.members(root)?;
            found
                .iter()
                .try_for_each(|member| ignore_dead(member.pidfd.signal(Signal::STOP)))?;
            let is_new = |member: &Rc<Member>| !members.iter().any(|known| Rc::ptr_eq(known, member));
            let anybody_new = found.iter().any(is_new);
            members = found;
            if !anybody_new {
                break;
            }
        }
        Ok(members)
    }

    /// Whether no other tree stands beside this one.
    fn is_alone(&self, root: &Root) -> bool {
        self.roots().iter().all(|other| other.tree == root.tree)
    }

    /// Names what lives.
    pub(super) fn survivors(&self, root: &Root) -> io::Result<Vec<Survivor>> {
        let members = self.members(root)?;
        let named = members.iter().take(SURVIVORS_MAX);
        Ok(named.map(|member| survivor(member.pid, &member.pidfd)).collect())
    }

    /// Takes away the dead who have lost their parents. Children are reaped by [`super::Child::bury`] alone.
    pub(crate) fn reap(&self) -> io::Result<()> {
        let roots = self.roots();
        for child in proc::children(getpid())? {
            if roots.iter().all(|root| root.leader != child) && reap::is_dead(child)? {
                reap::discard(child)?;
                self.branches.borrow_mut().remove(&child.as_raw_pid());
            }
        }
        Ok(())
    }

    /// Whether every child of this process that is of the tree is dead, and so every descendant: a process that dies
    /// hands its children to the shim before it counts as dead. The list is read until it holds nobody who was not known
    /// dead before it was read, as one who dies between the reading and the asking could have handed somebody over. Where
    /// there is a control group, nobody lives in it either.
    fn is_gone(&self, root: &Root) -> io::Result<bool> {
        if let Some(group) = &root.group
            && group.population()? == Population::Somebody
        {
            return Ok(false);
        }
        let mut dead = BTreeSet::new();
        let mut others = BTreeSet::new();
        if reap::is_dead(root.leader)? {
            dead.insert(root.leader.as_raw_pid());
        }
        loop {
            let mut anybody_new = false;
            for child in proc::children(getpid())? {
                let pid = child.as_raw_pid();
                if dead.contains(&pid) || others.contains(&pid) || self.is_exempt(child) {
                    continue;
                }
                let claim = self.claim(root, child)?;
                // Asked last: who lives after its marks were looked at had them when they were.
                match (claim, reap::is_dead(child)?) {
                    (Claim::Theirs, _) | (Claim::Nobodys, false) => {
                        others.insert(pid);
                    }
                    (Claim::Ours | Claim::Unclear, false) => return Ok(false),
                    (Claim::Ours | Claim::Unclear | Claim::Nobodys, true) => {
                        dead.insert(pid);
                        anybody_new = true;
                    }
                }
            }
            if !anybody_new {
                return Ok(true);
            }
        }
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

/// The child of this process that a process descends from, or is; `None` where it is no descendant.
///
/// # Errors
/// Want.
fn top_of(pid: Pid) -> io::Result<Option<Pid>> {
    let here = getpid();
    let mut ancestor = pid;
    for _ in 0..DEPTH_MAX {
        match of_process(proc::stat(ancestor))?.and_then(|stat| stat.parent) {
            Some(parent) if parent == here => return Ok(Some(ancestor)),
            Some(parent) => ancestor = parent,
            None => return Ok(None),
        }
    }
    Ok(None)
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
