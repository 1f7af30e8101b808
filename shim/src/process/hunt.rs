//! The agent's processes where they do not descend from this one, because an earlier shim has spawned them.
//!
//! A process is the agent's when it is the child that the journal names, by its whole identity; when it carries the
//! marker that every child inherits; when it is in a control group that has the marker in its name; when it is of that
//! child's process group, while the child is there; or when its parent is one of these. Without control groups, a
//! process that wiped its environment, left the process group and lost its parent before it was found is not found.

use std::io;
use std::rc::Rc;

use rekindle::id::Marker;
use rekindle::process::ProcessIdentity;
use rekindle::report::{SURVIVORS_MAX, Survivor};
use rustix::process::{Pid, Signal, getpid};

use super::cgroup::{Group, Population};
use super::pidfd::Pidfd;
use super::tree::{DEPTH_MAX, survivor};
use super::want::of_process;
use super::{identity, proc};

/// Most processes that are held at once; the others are found when these are dead.
pub(super) const MEMBERS_MAX: usize = 256;

/// One who is the agent's, held by a descriptor.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: Pid,
    pub(super) pidfd: Pidfd,
}

impl Member {
    /// Holds the process that has this pid, if it lives and is of a tree. That is asked after the descriptor was
    /// opened: then either the descriptor is the process's own, or it is of a dead one, which no signal reaches.
    ///
    /// # Errors
    /// Want.
    pub(super) fn hold(pid: Pid, is_of_tree: impl FnOnce(Pid) -> io::Result<bool>) -> io::Result<Option<Self>> {
        let Some(pidfd) = Pidfd::find(pid)? else {
            return Ok(None);
        };
        Ok((!pidfd.is_dead() && is_of_tree(pid)?).then_some(Self { pid, pidfd }))
    }
}

/// Who is held. Shared, as somebody may wait for their death while others are found.
pub(super) type Members = Vec<Rc<Member>>;

/// Who is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hunt<'a> {
    pub(super) marker: Marker,
    pub(super) child: Option<&'a ProcessIdentity>,
    pub(super) groups: &'a [Group],
}

/// Whether somebody is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nobody,
    /// In a control group, and of another pid namespace, so that this process cannot name them.
    Unseen,
    Somebody,
}

impl Hunt<'_> {
    /// Everyone who is the agent's and lives, with those who were held before.
    pub(super) fn find(&self, members: &mut Members) -> io::Result<()> {
        self.find_and(members, |_| ())
    }

    /// As [`Hunt::find`], each stopped: who is stopped forks no more, so that a look that finds nobody new has missed
    /// nobody.
    pub(super) fn halt(&self, members: &mut Members) -> io::Result<()> {
        self.find_and(members, |member| {
            // As for SIGKILL: who cannot be stopped is named in the end.
            let _ = member.pidfd.signal(Signal::STOP);
        })
    }

    fn find_and(&self, members: &mut Members, meet: impl Fn(&Member)) -> io::Result<()> {
        members.retain(|member| !member.pidfd.is_dead());
        members.iter().for_each(|member| meet(member));
        loop {
            let known = members.len();
            self.look(members)?;
            members.iter().skip(known).for_each(|member| meet(member));
            if members.len() == known || members.len() == MEMBERS_MAX {
                members.retain(|member| !member.pidfd.is_dead());
                return Ok(());
            }
        }
    }

    /// Adds those who are not known yet, each checked while a descriptor of it is held. A pid that came to mean
    /// another process in between leaves a descriptor of a dead one, which no signal reaches.
    fn look(&self, members: &mut Members) -> io::Result<()> {
        let here = getpid();
        for pid in proc::pids()? {
            if members.len() == MEMBERS_MAX {
                break;
            }
            let known = |member: &Rc<Member>| member.pid == pid && !member.pidfd.is_dead();
            if pid == here || members.iter().any(known) || !self.is_ours(pid, members)? {
                continue;
            }
            if let Some(pidfd) = Pidfd::find(pid)?
                && self.is_ours(pid, members)?
                && !pidfd.is_dead()
            {
                members.push(Rc::new(Member { pid, pidfd }));
            }
        }
        Ok(())
    }

    fn is_ours(&self, pid: Pid, members: &Members) -> io::Result<bool> {
        if self.is_marked(pid)? {
            return Ok(true);
        }
        if self.is_child_pid(pid) {
            return self.child_is_there();
        }
        let Some(stat) = of_process(proc::stat(pid))? else {
            return Ok(false);
        };
        let parent = |member: &Rc<Member>| Some(member.pid) == stat.parent && !member.pidfd.is_dead();
        if members.iter().any(parent) {
            return Ok(true);
        }
        Ok(stat.group.is_some_and(|group| self.is_child_pid(group)) && self.child_is_there()?)
    }

    /// Whether the process that has this pid is the agent's, or descends from one who is. Asked while a descriptor of it
    /// is held: if it lives afterwards too, the answer is about that process.
    pub(super) fn has(&self, pid: Pid) -> bool {
        let mut ancestor = pid;
        for _ in 0..DEPTH_MAX {
            if ancestor == getpid() {
                return false;
            }
            if self.is_ours(ancestor, &Vec::new()).is_ok_and(|ours| ours) {
                return true;
            }
            match proc::stat(ancestor).ok().and_then(|stat| stat.parent) {
                Some(parent) => ancestor = parent,
                None => return false,
            }
        }
        false
    }

    fn is_marked(&self, pid: Pid) -> io::Result<bool> {
        if proc::carries(pid, self.marker)? {
            return Ok(true);
        }
        for group in self.groups {
            if group.holds_surely(pid)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Who is left when these were found.
    pub(super) fn left(&self, found: &Members) -> io::Result<Left> {
        if !found.is_empty() {
            return Ok(Left::Somebody);
        }
        for group in self.groups {
            if group.population()? == Population::Somebody {
                return Ok(Left::Unseen);
            }
        }
        Ok(Left::Nobody)
    }

    /// SIGKILL to those who were stopped by [`Hunt::halt`], in waves, each of which is to be waited for. The child goes
    /// last: its process group can be told from a stranger's only while it is there.
    pub(super) fn kill(&self, halted: &Members) -> io::Result<Members> {
        let mut wave = halted.clone();
        if wave.len() > 1 && wave.iter().any(|member| self.is_child_pid(member.pid)) {
            wave.retain(|member| !self.is_child_pid(member.pid));
        } else {
            self.groups.iter().try_for_each(Group::kill)?;
        }
        signal(&wave, Signal::KILL);
        Ok(wave)
    }

    pub(super) fn is_child_pid(&self, pid: Pid) -> bool {
        self.child
            .is_some_and(|child| child.pid == pid.as_raw_pid().unsigned_abs())
    }

    /// Whether the child's pid still means the child, alive or not reaped; so does its group then.
    pub(super) fn child_is_there(&self) -> io::Result<bool> {
        match self.child {
            Some(child) => Ok(identity::find(child)?.is_some()),
            None => Ok(false),
        }
    }
}

/// Sends a signal to all of them.
pub(super) fn signal(members: &Members, signal: Signal) {
    for member in members {
        // Dead by now, or not ours to end: then it is named in the end.
        let _ = member.pidfd.signal(signal);
    }
}

/// Returns when all of them are dead.
pub(super) async fn dead(members: &Members) -> io::Result<()> {
    for member in members {
        member.pidfd.dead().await?;
    }
    Ok(())
}

/// Names them.
pub(super) fn survivors(members: &Members) -> Vec<Survivor> {
    let named = members.iter().take(SURVIVORS_MAX);
    named.map(|member| survivor(member.pid, &member.pidfd)).collect()
}
