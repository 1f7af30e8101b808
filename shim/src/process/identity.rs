//! Who a process is: more than its pid.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use rekindle::id::{BootId, Marker};
use rekindle::process::ProcessIdentity;
use rekindle::time::Timestamp;
use rustix::process::Pid;

use super::pidfd::Pidfd;
use super::proc;
use super::want::of_process;

/// Reads the id of this boot from `file`, which is `/proc/sys/kernel/random/boot_id` but in tests of a reboot.
pub(crate) fn boot_id(file: &Path) -> io::Result<BootId> {
    let text = std::fs::read_to_string(file)?;
    text.trim().parse().map_err(io::Error::other)
}

/// The identity of a child that has just been spawned, and is not reaped.
pub(super) fn of_child(pid: Pid, pidfd: &Pidfd, boot_id: BootId) -> io::Result<ProcessIdentity> {
    Ok(ProcessIdentity {
        boot_id,
        pid: pid.as_raw_pid().unsigned_abs(),
        pidfd_inode: pidfd.inode(),
        start_time_ticks: proc::stat(pid)?.start_time_ticks,
        start_time: Timestamp::from_system_time(SystemTime::now()),
    })
}

/// The identity of a process that lives, held by `pidfd`, and may have lived for long.
pub(super) fn of_living(pid: Pid, pidfd: &Pidfd, boot_id: BootId) -> io::Result<ProcessIdentity> {
    let start_time_ticks = proc::stat(pid)?.start_time_ticks;
    Ok(ProcessIdentity {
        boot_id,
        pid: pid.as_raw_pid().unsigned_abs(),
        pidfd_inode: pidfd.inode(),
        start_time_ticks,
        start_time: Timestamp::from_system_time(proc::booted()? + proc::of_ticks(start_time_ticks)),
    })
}

/// Holds the process that has exactly this identity, be it dead and not reaped; `None` when there is none any more. The
/// boot is the caller's to compare.
///
/// On kernels without pidfs the start time stands in for the inode, which tells processes apart that began in different
/// clock ticks: see [`find_marked`].
pub(super) fn find(process: &ProcessIdentity) -> io::Result<Option<Pidfd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let Some(pidfd) = Pidfd::find(pid)? else {
        return Ok(None);
    };
    let same = match (pidfd.inode(), process.pidfd_inode) {
        (Some(found), Some(expected)) => found == expected,
        (None, None) => {
            of_process(proc::stat(pid))?.is_some_and(|stat| stat.start_time_ticks == process.start_time_ticks)
        }
        (Some(_), None) | (None, Some(_)) => false,
    };
    Ok(same.then_some(pidfd))
}

/// As [`find`], for who is to be trusted with a life rather than ended: without an inode, the marker has to agree as well.
pub(super) fn find_marked(process: &ProcessIdentity, marker: Marker) -> io::Result<Option<Pidfd>> {
    let found = find(process)?;
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    Ok(match (found, pid) {
        (Some(found), Some(pid)) if found.inode().is_some() || proc::carries(pid, marker)? => Some(found),
        (Some(_) | None, _) => None,
    })
}
