//! What is left of the dead, and how it is taken away: one known child at a time, never "any child".
#![expect(
    unsafe_code,
    reason = "wait4(2) has no safe form that gives the resources a child has used"
)]

use std::io;
use std::time::Duration;

use nix::libc;
use rekindle::exit::ExitStatus;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};

/// What the kernel knows of a dead child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) status: ExitStatus,
    pub(super) user_time: Duration,
    pub(super) system_time: Duration,
    pub(super) max_rss_kib: u64,
}

impl Death {
    /// Of who was another process's to reap: what it has used, that one was told.
    pub(super) const fn of_stranger(status: ExitStatus) -> Self {
        Self {
            status,
            user_time: Duration::ZERO,
            system_time: Duration::ZERO,
            max_rss_kib: 0,
        }
    }
}

/// Whether a child of this process is dead. It stays a zombie, so that its pid and its group keep their meaning.
pub(super) fn is_dead(child: Pid) -> io::Result<bool> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(child), look)?.is_some())
}

/// Whether a process is a child of this one, dead or alive.
pub(super) fn is_child(pid: Pid) -> io::Result<bool> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid), look) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::CHILD) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes away a child that is dead, whoever it was.
pub(super) fn discard(child: Pid) -> io::Result<()> {
    waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
    Ok(())
}

/// Takes away a child that is dead, and tells how it lived. Without status where somebody else was quicker.
pub(super) fn bury(child: Pid) -> Death {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = match waitid(WaitId::Pid(child), look) {
        Ok(Some(status)) => exit_status(&status),
        Ok(None) | Err(_) => ExitStatus::Unknown,
    };
    let usage = resources(child);
    Death {
        status,
        user_time: usage.as_ref().map_or(Duration::ZERO, |usage| duration(usage.ru_utime)),
        system_time: usage.as_ref().map_or(Duration::ZERO, |usage| duration(usage.ru_stime)),
        max_rss_kib: usage.map_or(0, |usage| u64::try_from(usage.ru_maxrss).unwrap_or(0)),
    }
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    if let Some(code) = status.exit_status() {
        return ExitStatus::Exited(code);
    }
    match status.terminating_signal() {
        Some(signal) => ExitStatus::Signaled {
            signal,
            core_dumped: status.dumped(),
        },
        None => ExitStatus::Unknown,
    }
}

/// Reaps a zombie, and gives what it has used (wait4(2)).
fn resources(child: Pid) -> Option<libc::rusage> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for the call, or null where wait4(2) allows it; rusage is valid when zeroed.
    let reaped = unsafe {
        libc::wait4(
            child.as_raw_pid(),
            std::ptr::null_mut(),
            libc::WNOHANG,
            usage.as_mut_ptr(),
        )
    };
    // SAFETY: as above, whether or not the kernel has written to it.
    (reaped == child.as_raw_pid()).then(|| unsafe { usage.assume_init() })
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
