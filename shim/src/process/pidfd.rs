//! A process by descriptor (pidfd_open(2)): it never comes to mean another one, as a number does.
#![expect(
    unsafe_code,
    reason = "tokio watches a descriptor only for who vouches that it stays open; no crate has PIDFD_GET_INFO"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::libc;
use rekindle::exit::ExitStatus;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{fstat, fstatfs};
use rustix::io::Errno;
use rustix::ioctl;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `PID_FS_MAGIC` (linux/magic.h): the file system of pidfds from Linux 6.9 on, whose inodes are unique in a boot.
const PIDFS_MAGIC: i64 = 0x5049_4446;

/// `PIDFD_INFO_EXIT` (linux/pidfd.h).
const INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info` (linux/pidfd.h), as its first version had it; the operation is `PIDFD_GET_INFO`.
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// One process, dead or alive.
#[derive(Debug)]
pub(super) struct Pidfd(OwnedFd);

impl From<OwnedFd> for Pidfd {
    /// Of a descriptor that the kernel gave as a process's.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Pidfd {
    /// The process that has this pid at this moment.
    pub(super) fn open(pid: Pid) -> io::Result<Self> {
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// As [`Pidfd::open`]; `None` when no process has this pid, but a thread perhaps.
    pub(super) fn find(pid: Pid) -> io::Result<Option<Self>> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether all its threads are gone; a zombie is dead.
    pub(super) fn is_dead(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        // An error is no proof of death.
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Sends a signal; `ESRCH` when the process is dead and reaped.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
    }

    /// What tells this process from every other one of the boot; `None` on kernels without pidfs.
    pub(super) fn inode(&self) -> Option<u64> {
        let on_pidfs = fstatfs(&self.0).is_ok_and(|fs| fs.f_type == PIDFS_MAGIC);
        if on_pidfs {
            fstat(&self.0).ok().map(|stat| stat.st_ino)
        } else {
            None
        }
    }

    /// How a process ended that is dead and reaped, whoever its parent was: an error on kernels before 6.15, `None` where
    /// it was not reaped. The descriptor must have been opened before.
    pub(super) fn exit_status(&self) -> io::Result<Option<ExitStatus>> {
        let mut info = Info {
            mask: INFO_EXIT,
            ..Info::default()
        };
        // SAFETY: the kernel writes no more than the size that is part of the operation's code, and any bytes are an
        // `Info`.
        unsafe {
            let get = ioctl::Updater::<{ ioctl::opcode::read_write::<Info>(0xff, 11) }, Info>::new(&mut info);
            ioctl::ioctl(&self.0, get)?;
        }
        Ok((info.mask & INFO_EXIT != 0).then(|| exit_status(info.exit_code)))
    }

    /// Returns when the process is dead.
    pub(super) async fn dead(&self) -> io::Result<()> {
        let _ready = register(self.0.as_fd())?.readable().await?;
        Ok(())
    }

    /// Watches the process from here on, for who asks often.
    pub(super) fn watch(self) -> io::Result<Watched> {
        register(self).map(Watched)
    }
}

/// A process whose death is watched for.
#[derive(Debug)]
pub(super) struct Watched(AsyncFd<Pidfd>);

impl Watched {
    /// Returns when the process is dead.
    pub(super) async fn dead(&self) -> io::Result<()> {
        let _ready = self.0.readable().await?;
        Ok(())
    }

    /// For what can be asked at once.
    pub(super) fn pidfd(&self) -> &Pidfd {
        self.0.get_ref()
    }
}

/// What waitpid(2) calls a status.
fn exit_status(status: i32) -> ExitStatus {
    if libc::WIFEXITED(status) {
        ExitStatus::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        ExitStatus::Signaled {
            signal: libc::WTERMSIG(status),
            core_dumped: libc::WCOREDUMP(status),
        }
    } else {
        ExitStatus::Unknown
    }
}

/// Watches any descriptor from here on for what can be read.
pub(crate) fn register<Fd: AsFd + AsRawFd>(fd: Fd) -> io::Result<AsyncFd<Fd>> {
    // SAFETY: `AsFd` says that the descriptor is open for as long as the value lives, which the result owns, and an
    // owned or borrowed descriptor always gives the same number.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_stranger_ended_is_told() {
        let _turn = crate::process::tests::turn();
        for (script, expected) in [
            ("exit 7", ExitStatus::Exited(7)),
            (
                "kill -9 $$",
                ExitStatus::Signaled {
                    signal: 9,
                    core_dumped: false,
                },
            ),
        ] {
            let mut child = std::process::Command::new("/bin/sh")
                .args(["-c", script])
                .spawn()
                .expect("sh runs");
            let pidfd = Pidfd::open(Pid::from_child(&child)).expect("opened");
            child.wait().expect("reaped");
            match pidfd.exit_status() {
                Ok(status) => assert_eq!(status, Some(expected)),
                // A kernel before 6.15 does not know.
                Err(error) => assert!(
                    [Errno::NOTTY, Errno::INVAL].contains(&Errno::from_io_error(&error).expect("the kernel's")),
                    "{error}"
                ),
            }
        }
    }
}
