//! Control groups, version 2 (cgroups(7)): a second hold on a child's tree, where the host lets the shim have it.
//!
//! Each life, and each attempt at a message that has a process of its own, gets a group of its own below the shim's, in
//! which it begins. Whoever it forks is in it too, whatever becomes of parents, sessions and environment. The group is
//! killed in one go (`cgroup.kill`, Linux
//! 5.14), which no fork outruns, and the kernel says when nobody lives in it (`populated` of `cgroup.events`).
//!
//! The names hold the marker, a random number that nobody else has: who is in such a group is the agent's, by the same
//! right as who carries the marker. That is how a shim finds what an earlier one left, wherever that one ran.
//!
//! Nothing depends on it: the tree's proof of death holds without, and becomes stricter with it.

mod hierarchy;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekindle::execution::AttemptId;
use rekindle::id::{Incarnation, Marker};
use rekindle_shim_core::TreeId;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use super::want::of_process;

pub(super) use hierarchy::{Hierarchy, Version, group_of};

/// Most groups that are looked at when those of a marker are looked for, or one is removed with those below it: far
/// more than hosts have, and a bound for one that does nothing but make them.
const LOOK_MAX: usize = 65_536;

/// The groups of one marker's trees, below the shim's own group.
#[derive(Debug)]
pub(crate) struct Groups {
    hierarchy: Hierarchy,
    marker: Marker,
}

/// Why lives get no groups.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoGroups {
    #[error("no cgroup v2 hierarchy is mounted that shows the shim's own group")]
    NotMounted,
    #[error("cannot read where cgroup v2 is mounted")]
    Unreadable(#[source] io::Error),
    #[error("cannot make a group below {}", dir.display())]
    Denied { dir: PathBuf, source: io::Error },
    #[error("cannot move processes out of {}", dir.display())]
    Captive { dir: PathBuf, source: io::Error },
    #[error("a group below {} is {kind}, and takes no processes", dir.display())]
    Threaded { dir: PathBuf, kind: String },
}

/// The group of one tree. Dropping it removes it, unless somebody lives in it.
#[derive(Debug)]
pub(super) struct Group {
    dir: PathBuf,
    /// As /proc/PID/cgroup has it.
    name: PathBuf,
}

/// Whether anybody lives in a group, or below it. Zombies do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Population {
    Nobody,
    Somebody,
}

impl Groups {
    /// Finds out, by making one, whether lives can have groups. Removes empty ones that earlier shims left.
    pub(crate) fn open(marker: Marker) -> Result<Self, NoGroups> {
        let hierarchy = Hierarchy::find(Version::Two).map_err(NoGroups::Unreadable)?;
        let hierarchy = hierarchy.ok_or(NoGroups::NotMounted)?;
        let groups = Self { hierarchy, marker };
        let dir = groups.hierarchy.own();
        groups.probe(&dir)?;
        for group in children(&dir) {
            if is_of(&group, marker) {
                drop(groups.known(group));
            }
        }
        Ok(groups)
    }

    fn probe(&self, own: &Path) -> Result<Group, NoGroups> {
        let dir = own.to_owned();
        let denied = |source| NoGroups::Denied {
            dir: own.to_owned(),
            source,
        };
        let group = self.make_named("probe").map_err(denied)?;
        let kind = fs::read_to_string(group.dir.join("cgroup.type")).map_err(denied)?;
        if kind.trim_end() != "domain" {
            let kind = kind.trim_end().to_owned();
            return Err(NoGroups::Threaded { dir, kind });
        }
        let _door = group.door().map_err(denied)?;
        // Who is moved must be let out too: of the group that holds both ends, which is the shim's own.
        match open_to_write(&own.join("cgroup.procs")) {
            Ok(_door) => Ok(group),
            Err(source) => Err(NoGroups::Captive { dir, source }),
        }
    }

    /// Below which group they are, for people.
    pub(super) fn below(&self) -> PathBuf {
        self.hierarchy.own()
    }

    /// Whether the kernel kills such a group in one go.
    pub(super) fn can_kill(&self) -> io::Result<bool> {
        self.make_named("probe")?.dir.join("cgroup.kill").try_exists()
    }

    /// A group for a tree, with nobody in it.
    pub(super) fn make(&self, tree: &TreeId) -> io::Result<Group> {
        let group = self.make_named(&own_name(tree))?;
        match group.population()? {
            Population::Nobody => Ok(group),
            Population::Somebody => Err(io::Error::other("processes of an earlier tree are in its group")),
        }
    }

    fn make_named(&self, tree: &str) -> io::Result<Group> {
        let dir = self.hierarchy.own().join(format!("{}{tree}", prefix(self.marker)));
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(self.known(dir))
    }

    fn known(&self, dir: PathBuf) -> Group {
        let name = self.hierarchy.name_of(&dir);
        Group { dir, name }
    }

    /// The group of a life that goes on, by who is in it.
    pub(super) fn of(marker: Marker, incarnation: Incarnation, pid: Pid) -> io::Result<Option<Group>> {
        let name = format!("{}{}", prefix(marker), own_name(&TreeId::Life(incarnation)));
        let is_its = |group: &Group| group.dir.file_name().is_some_and(|own| own == name.as_str()) && group.holds(pid);
        Ok(Self::left_by(marker)?.into_iter().find(is_its))
    }

    /// Every group of a marker's lives that is there, wherever an earlier shim made it. But for one that this process
    /// is in: nobody sweeps himself.
    pub(super) fn left_by(marker: Marker) -> io::Result<Vec<Group>> {
        let Some(hierarchy) = Hierarchy::find(Version::Two)? else {
            return Ok(Vec::new());
        };
        let groups = Self { hierarchy, marker };
        let mut left = Vec::new();
        let mut open = vec![groups.hierarchy.mount().to_owned()];
        for _ in 0..LOOK_MAX {
            let Some(dir) = open.pop() else { break };
            if is_of(&dir, marker) {
                left.push(groups.known(dir));
            } else {
                open.extend(listed(&dir)?);
            }
        }
        left.retain(|group| !group.holds(getpid()));
        Ok(left)
    }
}

impl Group {
    /// What a process can be born in (clone3(2)).
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let options = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.dir, options, Mode::empty())?)
    }

    /// What a process writes `0` to, to be in the group with all that it forks.
    pub(super) fn door(&self) -> io::Result<File> {
        open_to_write(&self.dir.join("cgroup.procs"))
    }

    /// Whether a process, alive or not reaped, is in the group or below it.
    pub(super) fn holds(&self, pid: Pid) -> bool {
        self.holds_surely(pid).is_ok_and(|holds| holds)
    }

    /// As [`Group::holds`], for who concludes something from that it is not.
    ///
    /// # Errors
    /// Want.
    pub(super) fn holds_surely(&self, pid: Pid) -> io::Result<bool> {
        let name = of_process(group_of(pid))?.flatten();
        Ok(name.is_some_and(|name| self.has(&name)))
    }

    /// Whether a group, by its name in /proc/PID/cgroup, is this one or below it.
    pub(super) fn has(&self, name: &Path) -> bool {
        name.starts_with(&self.name)
    }

    /// Sends SIGKILL to everybody in it and below. Nothing happens on kernels that cannot: then the walk over the tree
    /// has to do.
    pub(super) fn kill(&self) -> io::Result<()> {
        match open_to_write(&self.dir.join("cgroup.kill")) {
            Ok(mut file) => absent_is(file.write_all(b"1"), ()),
            Err(error) => absent_is(Err(error), ()),
        }
    }

    /// Whether anybody lives in it or below.
    pub(super) fn population(&self) -> io::Result<Population> {
        let events = absent_is(fs::read_to_string(self.dir.join("cgroup.events")), "populated 0".into())?;
        parse_population(&events).ok_or_else(|| io::Error::other("a populated line of cgroups(7) was expected"))
    }

    /// CPU time of all that is or was in it or below, the dead included; `None` where the kernel does not tell.
    pub(super) fn cpu_usage(&self) -> Option<Duration> {
        let stat = fs::read_to_string(self.dir.join("cpu.stat")).ok()?;
        parse_cpu_usage(&stat)
    }

    /// Who is in it and below, as far as the pid namespace shows them.
    pub(super) fn pids(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        for dir in subtree(&self.dir) {
            // A group of threads lists none, the group above it does; and one that was removed has none.
            let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(procs.lines().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw)));
        }
        pids
    }

    /// Where it is, for people.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Where somebody lives, even the empty groups that it has made in it are its own.
        if self
            .population()
            .is_ok_and(|population| population == Population::Somebody)
        {
            return;
        }
        for dir in subtree(&self.dir).iter().rev() {
            // Who came in meanwhile keeps it; a later shim finds it by its name.
            let _ = fs::remove_dir(dir);
        }
    }
}

/// What the group of a tree is called behind its prefix: `7` of a life, `e-1.UID.2` of the second attempt at `e-1`. The id of
/// an execution has no sign that a name of a directory cannot have, and no life's number has a dot.
fn own_name(tree: &TreeId) -> String {
    match tree {
        TreeId::Life(incarnation) => incarnation.to_string(),
        TreeId::Attempt(AttemptId { execution, uid, number }) => format!("{execution}.{uid}.{number}"),
    }
}

/// What the groups of a marker's trees are called, before the tree's own name.
fn prefix(marker: Marker) -> String {
    format!("rekindle-{marker}.")
}

fn is_of(group: &Path, marker: Marker) -> bool {
    let name = group.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(prefix(marker).as_bytes())
}

/// A group and all below it, each after the one that it is in.
fn subtree(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(dir) = all.get(next).filter(|_| next < LOOK_MAX) {
        let below = children(dir);
        all.extend(below);
        next += 1;
    }
    all
}

/// The groups right below one; none where it is gone, or cannot be read.
fn children(dir: &Path) -> Vec<PathBuf> {
    listed(dir).unwrap_or_default()
}

/// As [`children`], for who concludes something from that there are none.
///
/// # Errors
/// Want.
fn listed(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = of_process(fs::read_dir(dir))?.into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(dirs.map(|entry| entry.path()).collect())
}

fn open_to_write(file: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).open(file)
}

/// A group that is gone, or a file that the kernel does not have, means this.
fn absent_is<T>(result: io::Result<T>, absent: T) -> io::Result<T> {
    match result {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) =>
        {
            Ok(absent)
        }
        Ok(_) | Err(_) => result,
    }
}

fn parse_population(events: &str) -> Option<Population> {
    match events.lines().find_map(|line| line.strip_prefix("populated "))? {
        "0" => Some(Population::Nobody),
        "1" => Some(Population::Somebody),
        _ => None,
    }
}

fn parse_cpu_usage(stat: &str) -> Option<Duration> {
    let microseconds = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    microseconds.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_one_marker() {
        let (ours, other) = (Marker::from_u128(1), Marker::from_u128(2));
        let dir = Path::new("/cg").join(format!("{}7", prefix(ours)));
        assert!(is_of(&dir, ours) && !is_of(&dir, other));
        assert!(!is_of(Path::new("/cg"), ours));
    }

    #[test]
    fn the_population_is_told() {
        assert_eq!(parse_population("populated 1\nfrozen 0\n"), Some(Population::Somebody));
        assert_eq!(parse_population("frozen 1\npopulated 0\n"), Some(Population::Nobody));
        assert_eq!(parse_population("frozen 1\n"), None);
    }

    #[test]
    fn the_cpu_time_is_told() {
        let stat = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n";
        assert_eq!(parse_cpu_usage(stat), Some(Duration::from_micros(1500)));
        assert_eq!(parse_cpu_usage(""), None);
    }
}
