//! What a process uses, as /proc tells it (proc(5)).

use std::fs;
use std::ops::Sub;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

/// Memory of one process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident: every page of it that is in memory.
    pub rss_kib: u64,
    /// Proportional: a page that n processes share counts as one n-th.
    pub pss_kib: u64,
    /// Pages that are its own, and were written: what one process more costs.
    pub private_dirty_kib: u64,
}

impl Memory {
    /// Of a process that runs.
    ///
    /// # Errors
    /// It has ended, or belongs to somebody else.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name| field(&text, name).with_context(|| format!("{path} has no {name}"));
        Ok(Self {
            rss_kib: field("Rss:")?,
            pss_kib: field("Pss:")?,
            private_dirty_kib: field("Private_Dirty:")?,
        })
    }

    /// The higher of each.
    pub fn highest(self, other: Self) -> Self {
        Self {
            rss_kib: self.rss_kib.max(other.rss_kib),
            pss_kib: self.pss_kib.max(other.pss_kib),
            private_dirty_kib: self.private_dirty_kib.max(other.private_dirty_kib),
        }
    }
}

/// What a process has used since it began, over all threads that it still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Time on a CPU, from /proc/pid/task/tid/schedstat.
    pub cpu: Duration,
    /// Times that a thread went to sleep and was woken: voluntary context switches.
    pub wake_ups: u64,
}

impl Spent {
    /// By a process that runs.
    ///
    /// # Errors
    /// It has ended.
    pub fn by(pid: u32) -> anyhow::Result<Self> {
        let mut spent = Self {
            cpu: Duration::ZERO,
            wake_ups: 0,
        };
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            // A thread that ends meanwhile takes its counts along.
            if let Some(task) = Self::by_thread(&task?.path()) {
                spent.cpu += task.cpu;
                spent.wake_ups += task.wake_ups;
            }
        }
        Ok(spent)
    }

    fn by_thread(task: &Path) -> Option<Self> {
        let schedstat = fs::read_to_string(task.join("schedstat")).ok()?;
        let cpu = Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?);
        let status = fs::read_to_string(task.join("status")).ok()?;
        Some(Self {
            cpu,
            wake_ups: field(&status, "voluntary_ctxt_switches:")?,
        })
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            wake_ups: self.wake_ups.saturating_sub(earlier.wake_ups),
        }
    }
}

/// The number in the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_process() {
        let memory = Memory::of(std::process::id()).expect("a process may read its own memory");
        assert!(
            memory.rss_kib >= memory.pss_kib && memory.pss_kib >= memory.private_dirty_kib,
            "{memory:?}"
        );
        assert!(memory.private_dirty_kib > 0);
        let before = Spent::by(std::process::id()).expect("it runs");
        let mut last = before;
        while last.cpu == before.cpu {
            last = Spent::by(std::process::id()).expect("it runs");
        }
        assert!((last - before).cpu > Duration::ZERO);
    }

    #[test]
    fn finds_fields_by_their_whole_name() {
        let text = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t42\nPss_Dirty:  1 kB\nPss:   9 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(42));
        assert_eq!(field(text, "Pss:"), Some(9));
        assert_eq!(field(text, "Rss:"), None);
    }
}
