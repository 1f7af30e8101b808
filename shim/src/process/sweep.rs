//! What an earlier life of the shim left behind, and its end.
//!
//! A process is the agent's when it is the child that the journal names, by its whole identity; when it carries the
//! marker that every child inherits; when it is in a control group that has the marker in its name; when it is of that
//! child's process group, while the child is there; or when its parent is one of these. Without control groups, a
//! process that wiped its environment, left the process group and lost its parent is not found.

use std::io;
use std::time::Duration;

use rekindle::id::Marker;
use rekindle::process::ProcessIdentity;
use rekindle::report::{SURVIVORS_MAX, Survivor};
use rustix::process::{Pid, Signal, getpid};
use tokio::time::{Instant, timeout_at};

use super::cgroup::{Group, Groups, Population};
use super::pidfd::Pidfd;
use super::tree::{LOOK_AGAIN, survivor};
use super::{identity, proc};

/// Most processes that are ended at once; the others are found at the next look.
const MEMBERS_MAX: usize = 256;

/// The living that a sweep could not end, each held by a descriptor.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(Vec<Member>);

#[derive(Debug)]
struct Member {
    pid: Pid,
    pidfd: Pidfd,
}

impl Leftovers {
    /// Names them.
    pub(crate) fn survivors(&self) -> Vec<Survivor> {
        let named = self.0.iter().take(SURVIVORS_MAX);
        named.map(|member| survivor(member.pid, &member.pidfd)).collect()
    }

    /// Returns when all of them are dead.
    async fn dead(&self) -> io::Result<()> {
        for member in &self.0 {
            member.pidfd.dead().await?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        for member in &self.0 {
            // Dead by now, or not ours to end: then it is named in the end.
            let _ = member.pidfd.signal(signal);
        }
    }
}

/// Ends every process of the agent, and gives those that live after `limit`.
///
/// Who calls it holds the lock of the marker's state directory, so that no living shim can own what is found.
///
/// # Errors
/// Where the living cannot be told from the dead: /proc cannot be read or does not show them, or no descriptor is to
/// be had.
pub(crate) async fn sweep(marker: Marker, child: Option<&ProcessIdentity>, limit: Duration) -> io::Result<Leftovers> {
    let end = Instant::now() + limit;
    let groups = Groups::left_by(marker)?;
    let hunt = Hunt { marker, child, groups };
    loop {
        let mut found = hunt.halt()?;
        if found.is_empty() && hunt.groups_are_empty()? {
            return Ok(Leftovers::default());
        }
        if end <= Instant::now() {
            if found.is_empty() {
                return Err(io::Error::other(
                    "the agent's cgroup holds processes of another pid namespace, which outlive SIGKILL",
                ));
            }
            let left = Leftovers(found);
            left.signal(Signal::KILL);
            return Ok(left);
        }
        // The child goes last: its process group can be told from a stranger's only while it is there.
        if found.len() > 1 && found.iter().any(|member| hunt.is_child_pid(member.pid)) {
            found.retain(|member| !hunt.is_child_pid(member.pid));
        } else {
            hunt.groups.iter().try_for_each(Group::kill)?;
        }
        if found.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let wave = Leftovers(found);
        wave.signal(Signal::KILL);
        if let Ok(dead) = timeout_at(end, wave.dead()).await {
            dead?;
        }
    }
}

/// Who is looked for.
struct Hunt<'a> {
    marker: Marker,
    child: Option<&'a ProcessIdentity>,
    /// Of earlier lives. Those that are empty in the end are removed when the hunt is over.
    groups: Vec<Group>,
}

impl Hunt<'_> {
    /// Everyone who is the agent's, each held and stopped: who is stopped forks no more, so that a look that finds
    /// nobody new has missed nobody.
    fn halt(&self) -> io::Result<Vec<Member>> {
        let mut members = Vec::new();
        loop {
            let known = members.len();
            self.look(&mut members)?;
            for member in members.iter().skip(known) {
                // As for SIGKILL: who cannot be stopped is named in the end.
                let _ = member.pidfd.signal(Signal::STOP);
            }
            if members.len() == known || members.len() == MEMBERS_MAX {
                members.retain(|member| !member.pidfd.is_dead());
                return Ok(members);
            }
        }
    }

    /// Adds those who are not known yet, each checked while a descriptor of it is held. A pid that came to mean
    /// another process in between leaves a descriptor of a dead one, which no signal reaches.
    fn look(&self, members: &mut Vec<Member>) -> io::Result<()> {
        let here = getpid();
        for pid in proc::pids()? {
            let known = |member: &Member| member.pid == pid && !member.pidfd.is_dead();
            if pid == here || members.iter().any(known) || !self.is_ours(pid, members)? {
                continue;
            }
            if let Some(pidfd) = Pidfd::find(pid)?
                && self.is_ours(pid, members)?
                && !pidfd.is_dead()
            {
                members.push(Member { pid, pidfd });
            }
            if members.len() == MEMBERS_MAX {
                break;
            }
        }
        Ok(())
    }

    fn is_ours(&self, pid: Pid, members: &[Member]) -> io::Result<bool> {
        if proc::carries(pid, self.marker) || self.groups.iter().any(|group| group.holds(pid)) {
            return Ok(true);
        }
        if self.is_child_pid(pid) {
            return self.child_is_there();
        }
        let Ok(stat) = proc::stat(pid) else { return Ok(false) };
        let parent = |member: &Member| Some(member.pid) == stat.parent && !member.pidfd.is_dead();
        if members.iter().any(parent) {
            return Ok(true);
        }
        Ok(stat.group.is_some_and(|group| self.is_child_pid(group)) && self.child_is_there()?)
    }

    fn groups_are_empty(&self) -> io::Result<bool> {
        for group in &self.groups {
            if group.population()? == Population::Somebody {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_child_pid(&self, pid: Pid) -> bool {
        self.child
            .is_some_and(|child| child.pid == pid.as_raw_pid().unsigned_abs())
    }

    /// Whether the child's pid still means the child, alive or not reaped; so does its group then.
    fn child_is_there(&self) -> io::Result<bool> {
        match self.child {
            Some(child) => Ok(identity::find(child)?.is_some()),
            None => Ok(false),
        }
    }
}
