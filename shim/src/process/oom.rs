//! Whether the kernel ended a child because memory ran out: the one SIGKILL that nobody sends.
//!
//! A child's status does not tell it from others, so a counter of such kills is compared with what it was before the
//! spawn. The kernel counts before it kills. In order of preference:
//!
//! - `memory.events` of the child's control group, or of the nearest one above that has it (cgroup v2). It counts the
//!   kills in all groups below.
//! - `memory.oom_control` of the shim's memory group, which the child is in too, unless somebody has moved it (cgroup
//!   v1, Linux 4.13). It counts the kills in this group alone.
//! - /proc/vmstat: the kills on the whole host.
//!
//! What this mistakes: whom somebody else ended by SIGKILL, if any other process that the counter covers was killed for
//! memory in the same life. With the first two these are the agent's own and its group's neighbours; with the last,
//! everybody on the host. What it misses: a child that was moved to another memory group (cgroup v1), and daemons that
//! kill before memory runs out (systemd-oomd(8)), which send SIGKILL like anybody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cgroup::{Group, Hierarchy, Version};

/// A counter of kills, and what it was when a life began.
#[derive(Debug)]
pub(super) struct Kills {
    file: PathBuf,
    before: u64,
}

impl Kills {
    /// Begins to count for who is about to be spawned, into this group where it gets one; `None` where the kernel
    /// counts nothing.
    pub(super) fn from_here_on(group: Option<&Group>) -> Option<Self> {
        let candidates = in_version_2(group).into_iter().chain(in_version_1());
        let mut found = candidates.chain([PathBuf::from("/proc/vmstat")]);
        found.find_map(|file| count(&file).ok().map(|before| Self { file, before }))
    }

    /// Whether there was one since.
    pub(super) fn any(&self) -> bool {
        count(&self.file).is_ok_and(|kills| kills > self.before)
    }

    /// Where the kernel counts.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// From the group upwards, as far as it is shown.
fn in_version_2(group: Option<&Group>) -> Vec<PathBuf> {
    let Some(hierarchy) = Hierarchy::find(Version::Two).ok().flatten() else {
        return Vec::new();
    };
    let own = hierarchy.own();
    let nearest = group.map_or(own.as_path(), Group::dir);
    let shown = nearest.ancestors().take_while(|dir| dir.starts_with(hierarchy.mount()));
    shown.map(|dir| dir.join("memory.events")).collect()
}

fn in_version_1() -> Option<PathBuf> {
    let hierarchy = Hierarchy::find(Version::OneMemory).ok().flatten()?;
    Some(hierarchy.own().join("memory.oom_control"))
}

fn count(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    parse(&text).ok_or_else(|| io::Error::other("a line of kills was expected"))
}

/// The three files have one line for it, of one form.
fn parse(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_three_files() {
        assert_eq!(
            parse("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"),
            Some(1)
        );
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(parse("nr_free_pages 1\noom_kill 0\n"), Some(0));
        // Before Linux 4.13.
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn one_that_rises_is_seen() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let says = |count: u64| fs::write(file.path(), format!("oom_kill {count}\n")).expect("written");
        says(4);
        let kills = Kills {
            file: file.path().to_owned(),
            before: count(file.path()).expect("told"),
        };
        assert!(!kills.any());
        says(5);
        assert!(kills.any());
    }

    #[test]
    fn this_kernel_counts() {
        let kills = Kills::from_here_on(None).expect("Linux does since 4.13");
        assert!(kills.file().is_file() && !kills.any());
    }
}
