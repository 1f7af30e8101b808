//! Who lives of a tree, each held by a descriptor.

use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use rustix::process::{Pid, getpid};

use super::super::cgroup::Group;
use super::super::hunt::{Member, Members};
use super::super::proc;
use super::super::want::{is_want, of_process};
use super::branch::Claim;
use super::{Root, Tree, top_of};

/// Most processes that are held at once, so that a fork bomb does not use the shim's descriptors up; the others are
/// found when these are dead. Trees that stand side by side share it.
pub(super) const MEMBERS_MAX: usize = 256;

/// What each of them holds at least: so many for each of the most trees that there are at a time (64) is half of what
/// an ordinary process may open (1024).
const MEMBERS_MIN: usize = 8;

/// How much of what was looked for is held.
#[derive(Debug)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// As many as there was room for; there may be others.
    NoRoom,
    /// As many as could be had; there may be others.
    Want(io::Error),
}

impl Tree {
    /// The living of one tree, from the top, each held by a descriptor and checked to be of it while it is held; then
    /// who is in the group beside them. Who was found once stays known for as long as it lives, whatever becomes of its
    /// parents and its marks.
    pub(super) fn members(&self, root: &Root) -> io::Result<Members> {
        let mut open = Vec::new();
        for child in proc::children(getpid())? {
            if !self.is_exempt(child) && self.claim(root, child)? == Claim::Ours {
                open.push(child);
            }
        }
        let room = (MEMBERS_MAX / self.roots().len().max(1)).max(MEMBERS_MIN);
        let mut members = root.known();
        let is_of_root = |pid| match top_of(pid)? {
            Some(top) => Ok(self.claim(root, top)? == Claim::Ours),
            None => Ok(false),
        };
        match self.hold_all(open, &mut members, room, is_of_root)? {
            // The others are found when these are dead.
            Extent::Whole | Extent::NoRoom | Extent::Want(_) => {}
        }
        if let Some(group) = &root.group {
            self.hold_group(group, &mut members, room)?;
        }
        root.know(&members);
        Ok(members)
    }

    fn hold_group(&self, group: &Group, members: &mut Members, room: usize) -> io::Result<()> {
        for pid in group.pids() {
            if members.len() >= room {
                break;
            }
            let known = members.iter().any(|member| member.pid == pid) || self.is_exempt(pid);
            if known {
                continue;
            }
            match Member::hold(pid, |pid| group.holds_surely(pid)) {
                Ok(Some(member)) => members.push(Rc::new(member)),
                Ok(None) => {}
                // As where there is no room.
                Err(error) if is_want(&error) && !members.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Holds these and their descendants, from the top, as far as there is room, and there are descriptors; says how far.
    pub(super) fn hold_all(
        &self,
        mut open: Vec<Pid>,
        members: &mut Members,
        room: usize,
        is_of_tree: impl Fn(Pid) -> io::Result<bool>,
    ) -> io::Result<Extent> {
        open.reverse();
        let mut seen = BTreeSet::new();
        while let Some(pid) = open.pop() {
            if self.is_exempt(pid) || !seen.insert(pid.as_raw_pid()) {
                continue;
            }
            if members.len() >= room {
                return Ok(Extent::NoRoom);
            }
            if !members.iter().any(|member| member.pid == pid) {
                match Member::hold(pid, &is_of_tree) {
                    Ok(Some(member)) => members.push(Rc::new(member)),
                    Ok(None) => continue,
                    Err(error) if is_want(&error) && !members.is_empty() => return Ok(Extent::Want(error)),
                    Err(error) => return Err(error),
                }
            }
            open.extend(of_process(proc::children(pid))?.unwrap_or_default());
        }
        Ok(Extent::Whole)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::io::Errno;

    use super::*;
    use crate::process::tests::Bench;

    #[test]
    fn who_is_not_held_for_want_or_room_is_told_of() {
        let mut bench = Bench::new();
        let child = bench.sh("sleep 60 & echo > $D/up; exec sleep 60");
        bench.told("up");
        let hold = |room, descriptors: usize| {
            let left = Cell::new(descriptors);
            let is_of_tree = |_| match left.get().checked_sub(1) {
                Some(fewer) => {
                    left.set(fewer);
                    Ok(true)
                }
                None => Err(Errno::MFILE.into()),
            };
            let (mut members, children) = (Members::new(), proc::children(getpid()).expect("listed"));
            let extent = bench.tree.hold_all(children, &mut members, room, is_of_tree);
            (extent, members.len())
        };
        assert!(matches!(hold(2, 2), (Ok(Extent::Whole), 2)));
        assert!(matches!(hold(1, 2), (Ok(Extent::NoRoom), 1)));
        assert!(matches!(hold(2, 1), (Ok(Extent::Want(_)), 1)));
        assert!(matches!(hold(2, 0), (Err(_), 0)), "nobody's end can be waited for");
        bench.end(child);
    }
}
