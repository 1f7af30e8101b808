//! Control groups that shims under test make, and processes that outlive them. Those of a shim that is killed stay, as
//! nobody is there to end and remove them.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::wait_for;

/// The directory of this process's group of cgroup v2, below which shims make theirs.
pub(crate) fn own() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let groups = fs::read_to_string("/proc/self/cgroup").expect("read");
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(mount.split(' ').nth(4)?).join(own).components().collect())
}

/// The groups of a shim's lives.
pub(crate) fn of(state_dir: &Path) -> Vec<PathBuf> {
    let Some(own) = own() else { return Vec::new() };
    let markers = markers(state_dir);
    let is_one = |group: &PathBuf| {
        markers
            .iter()
            .any(|marker| group.display().to_string().contains(marker))
    };
    let groups = fs::read_dir(own).expect("listed").flatten().map(|entry| entry.path());
    groups.filter(is_one).collect()
}

fn markers(state_dir: &Path) -> Vec<String> {
    ["journal.0", "journal.1"]
        .iter()
        .filter_map(|slot| fs::read(state_dir.join(slot)).ok())
        .filter_map(|journal| marker(&String::from_utf8_lossy(&journal)))
        .collect()
}

/// Who lives and carries one of the markers.
fn carriers(markers: &[String]) -> Vec<Pid> {
    let wanted: Vec<String> = markers
        .iter()
        .map(|marker| format!("REKINDLE_MARKER={marker}"))
        .collect();
    let pids = fs::read_dir("/proc").expect("listed").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    let carries = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|variable| wanted.iter().any(|wanted| variable == wanted.as_bytes()))
    };
    pids.filter(carries).filter_map(Pid::from_raw).collect()
}

fn marker(journal: &str) -> Option<String> {
    let (_, rest) = journal.split_once("\"marker\":\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Ends and removes what a shim that was killed has left.
pub(crate) fn end(state_dir: &Path) {
    let markers = markers(state_dir);
    wait_for("the end of who outlived a shim", || {
        let left = carriers(&markers);
        for pid in &left {
            // It may have ended by itself.
            let _ = kill_process(*pid, Signal::KILL);
        }
        left.is_empty().then_some(())
    });
    for group in of(state_dir) {
        // Its shim may be about to remove it.
        let _ = fs::write(group.join("cgroup.kill"), "1");
        wait_for("the end of a group", || match fs::remove_dir(&group) {
            Ok(()) => Some(()),
            Err(_) => (!group.exists()).then_some(()),
        });
    }
}
