//! To which tree a child of this process belongs, where several stand side by side.
//!
//! By what is known of it, in this order:
//!
//! 1. It is the tree's leader, or was found to be of the tree before.
//! 2. It lives in the tree's control group.
//! 3. Its process group or its session is the leader's, whose pid names no other as long as it is not reaped.
//! 4. Its environment has the tree's marks, which only the leader was given, and whoever inherits from it.
//!
//! Of an orphan that has nothing of it, a descendant may: then it is of that one's tree, as an environment is only ever
//! handed down. Who was told apart once stays told apart, whatever becomes of its marks.
//!
//! Without control groups, an orphan that wiped its environment, and left its process group and session before anybody
//! looked, is nobody's while several trees stand; it belongs to the last one.

use std::io;
use std::rc::Rc;

use rekindle_shim_core::TreeId;
use rustix::process::Pid;

use super::super::cgroup;
use super::super::proc::{self, Environ, Life};
use super::super::want::of_process;
use super::{Root, Tree, top_of};

/// Most processes below an orphan whose marks are looked at: a daemon has a few, and each look takes some 50 µs.
const LOOKED_AT_MAX: usize = 64;

/// What a tree's root has to do with a child of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is of the root's tree.
    Ours,
    /// It is of another tree that stands.
    Theirs,
    /// Nobody can tell whose it is.
    Nobodys,
    /// Not to be told at this moment: it is about to run another program.
    Unclear,
}

/// What marks say.
enum Told {
    Of(Rc<Root>),
    Nothing,
    NotYet,
}

impl Tree {
    /// Whether a child of this process that is not exempt is of the root's tree.
    ///
    /// # Errors
    /// Want: then it may be of any tree.
    pub(super) fn claim(&self, root: &Root, child: Pid) -> io::Result<Claim> {
        if self.is_alone(root) {
            return Ok(Claim::Ours);
        }
        let roots = self.roots();
        let ours_or_theirs = |tree: &TreeId| if *tree == root.tree { Claim::Ours } else { Claim::Theirs };
        if let Some(leads) = roots.iter().find(|root| root.leader == child) {
            return Ok(ours_or_theirs(&leads.tree));
        }
        let before = self.branches.borrow().get(&child.as_raw_pid()).cloned();
        if let Some(tree) = before {
            return Ok(ours_or_theirs(&tree));
        }
        Ok(match tell_branch(child, &roots)? {
            Told::Of(of) => {
                let mut branches = self.branches.borrow_mut();
                branches.insert(child.as_raw_pid(), of.tree.clone());
                ours_or_theirs(&of.tree)
            }
            Told::Nothing => Claim::Nobodys,
            Told::NotYet => Claim::Unclear,
        })
    }
}

/// What the marks of an orphan say, or of those below it.
fn tell_branch(orphan: Pid, roots: &[Rc<Root>]) -> io::Result<Told> {
    let told = tell(orphan, roots)?;
    match told {
        Told::Nothing => {}
        Told::Of(_) | Told::NotYet => return Ok(told),
    }
    let mut open = children(orphan)?;
    for _ in 0..LOOKED_AT_MAX {
        let Some(pid) = open.pop() else { break };
        match tell(pid, roots)? {
            // Asked again: its pid may have come to mean somebody elsewhere.
            Told::Of(root) if top_of(pid)? == Some(orphan) => return Ok(Told::Of(root)),
            Told::NotYet => return Ok(Told::NotYet),
            Told::Of(_) | Told::Nothing => open.extend(children(pid)?),
        }
    }
    Ok(Told::Nothing)
}

/// None of one that is gone.
fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    Ok(of_process(proc::children(pid))?.unwrap_or_default())
}

/// What the marks of one process say.
fn tell(pid: Pid, roots: &[Rc<Root>]) -> io::Result<Told> {
    let of = |is_its: &dyn Fn(&Root) -> bool| roots.iter().find(|root| is_its(root)).cloned();
    let group = of_process(cgroup::group_of(pid))?.flatten();
    let Some(stat) = of_process(proc::stat(pid))? else {
        return Ok(Told::Nothing);
    };
    let leader = [stat.group, stat.session];
    let found = of(&|root| root.knows(pid))
        .or_else(|| {
            let group = group.as_deref()?;
            of(&|root| root.group.as_ref().is_some_and(|own| own.has(group)))
        })
        .or_else(|| of(&|root| leader.contains(&Some(root.leader))));
    Ok(match (found, stat.life) {
        (Some(root), _) => Told::Of(root),
        (None, Life::Dead) => Told::Nothing,
        (None, Life::Living) => match Environ::of(pid)? {
            Environ::Readable(variables) => {
                let has_marks = |root: &Root| !root.marks.is_empty() && variables.has_all(&root.marks);
                of(&has_marks).map_or(Told::Nothing, Told::Of)
            }
            Environ::Hidden => Told::Nothing,
            Environ::NotYet => Told::NotYet,
        },
    })
}
