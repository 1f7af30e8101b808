//! The fork, and what the child does between it and its exec.
//!
//! A child with a group is born in it (clone3(2) with CLONE_INTO_CGROUP, Linux 5.7): who moves by writing to
//! `cgroup.procs` takes a lock for which the kernel waits for every processor, some 10 ms. Where that cannot be (an
//! older kernel, a sandbox that does not know clone3) the child is forked as ever, and moves.
//!
//! To the C library a child of clone3 was never forked: locks that another thread holds stay held in it, and its thread
//! id is its parent's. So the child allocates nothing, takes no lock, calls nothing that could, and does not panic: it
//! makes system calls on values that were made before.
#![expect(
    unsafe_code,
    reason = "forks, and what runs between fork and exec, have no safe form"
)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getppid, set_parent_process_death_signal, setpgid, waitid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::super::cgroup::Group;
use super::super::confinement::Step;
use super::super::output::Ends;
use super::image::{Image, SHELL, Strings};

/// `CLONE_INTO_CGROUP` (linux/sched.h).
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// What rt_sigaction(2) calls the size of a signal set: a bit for each of 64 signals.
const SIGNAL_SET_BYTES: usize = 8;

/// More than `struct sigaction` of the kernel has on any architecture, in words of 8 bytes.
const SIGACTION_WORDS: usize = 8;

/// In the place of a step's number, of a failure that is none's.
const NO_STEP: u32 = u32::MAX;

/// A child that is to be.
#[derive(Debug)]
pub(super) struct Newborn<'a> {
    pub(super) image: Image,
    pub(super) stdin: OwnedFd,
    pub(super) ends: Ends,
    pub(super) steps: &'a [Step],
    /// With whom it dies.
    pub(super) shim: Option<Pid>,
}

/// Why there is no child.
#[derive(Debug)]
pub(super) struct Failure {
    /// Which step failed, if one has.
    pub(super) step: Option<usize>,
    pub(super) source: io::Error,
}

impl<E: Into<io::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            step: None,
            source: error.into(),
        }
    }
}

/// Where a process finds itself after a fork.
enum Side {
    Parent(Pid),
    Child {
        /// To be gone through, by who was not born in its group.
        door: Option<File>,
    },
}

impl Newborn<'_> {
    /// Forks, and returns once the child's exec has succeeded or failed. Of one that failed nothing is left.
    ///
    /// The child is in `group`, if the kernel lets it: see [`Group::holds`].
    pub(super) fn spawn(&self, group: Option<&Group>) -> Result<Pid, Failure> {
        let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
        // The child has the shim's handlers until it has reset them, and what they write to: none may run in it.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let forked = match fork(group) {
            Ok(Side::Child { door }) => self.begin(door.as_ref(), &tell),
            Ok(Side::Parent(pid)) => Ok(pid),
            Err(error) => Err(error),
        };
        mask.thread_set_mask().expect("it was the mask before");
        let pid = forked?;
        // Only the child holds it from here on, until its exec closes it.
        drop(tell);
        match failure(&told) {
            None => Ok(pid),
            Some(failure) => {
                // It exits at once, and nobody else reaps it.
                let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
                Err(failure)
            }
        }
    }

    fn begin(&self, door: Option<&File>, tell: &OwnedFd) -> ! {
        let (number, error) = match self.prepare(door) {
            Ok(()) => (NO_STEP, self.exec()),
            Err((number, error)) => (number, error),
        };
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        let told = [number.to_ne_bytes(), errno.to_ne_bytes()];
        // The shim holds the other end, and so little fits into an empty pipe.
        let _ = rustix::io::write(tell, told.as_flattened());
        // SAFETY: _exit(2) runs nothing that is the shim's to run.
        unsafe { libc::_exit(1) }
    }

    /// Everything before the exec; the number of the step that failed, and why.
    fn prepare(&self, door: Option<&File>) -> Result<(), (u32, io::Error)> {
        let no_step = |error: Errno| (NO_STEP, error.into());
        dup2_stdin(&self.stdin).map_err(no_step)?;
        dup2_stdout(&self.ends.stdout).map_err(no_step)?;
        dup2_stderr(&self.ends.stderr).map_err(no_step)?;
        // A group rather than a session: the child keeps the terminal that a person started the shim on.
        setpgid(None, None).map_err(no_step)?;
        if let Some(door) = door {
            // Who is kept out runs all the same: the shim sees it, and does without the group.
            let _ = rustix::io::write(door, b"0");
        }
        for (number, step) in (0..).zip(self.steps) {
            step.take().map_err(|error| (number, error))?;
        }
        if let Some(shim) = self.shim {
            die_with(shim).map_err(no_step)?;
        }
        reset_signals();
        Ok(())
    }

    /// As execvp(3): a place where the program is not lets the next one be tried; the program that may not be run is told
    /// of if none can be. Returns only when all of it failed.
    fn exec(&self) -> io::Error {
        let mut told = io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.image.candidates {
            let mut error = self.execve(&candidate.path, &self.image.arguments);
            if error.raw_os_error() == Some(libc::ENOEXEC) {
                error = self.execve(SHELL, &candidate.shell_arguments);
            }
            match error.raw_os_error() {
                Some(libc::EACCES) => told = error,
                Some(
                    libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT | libc::ENAMETOOLONG,
                ) => {
                    if told.raw_os_error() != Some(libc::EACCES) {
                        told = error;
                    }
                }
                Some(_) | None => return error,
            }
        }
        told
    }

    fn execve(&self, path: &CStr, arguments: &Strings) -> io::Error {
        // SAFETY: a string, and two arrays of strings that end with a null, which all live as long as `self`.
        unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), self.image.environment.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// Forks this process, into the group if the kernel can do so. Whatever keeps it from that, the other way is tried: it
/// works or says why.
fn fork(group: Option<&Group>) -> io::Result<Side> {
    if let Some(dir) = group.and_then(|group| group.open().ok())
        && let Ok(side) = fork_into(&dir)
    {
        return Ok(side);
    }
    // Who finds no door does not enter, which the shim sees and tells.
    let door = group.and_then(|group| group.door().ok());
    // SAFETY: the child only makes system calls, on values that were made before.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Child { door }),
        pid => parent(pid.into()),
    }
}

/// Forks this process into a group, which is given by its directory.
///
/// # Errors
/// The kernel cannot (ENOSYS, E2BIG, EINVAL), a sandbox does not let it (ENOSYS, EPERM), or the group does not (EACCES,
/// EBUSY, EOPNOTSUPP); or there is no process to be had.
fn fork_into(dir: &OwnedFd) -> io::Result<Side> {
    let arguments = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: dir.as_raw_fd().unsigned_abs().into(),
    };
    // SAFETY: as nothing of the memory is shared, and no stack is given, both return from here as from fork(2). The
    // child only makes system calls, on values that were made before.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) } {
        0 => Ok(Side::Child { door: None }),
        pid => parent(pid),
    }
}

/// In the process that has forked: what the call returned.
fn parent(returned: libc::c_long) -> io::Result<Side> {
    let pid = i32::try_from(returned).ok().filter(|pid| *pid > 0);
    let pid = pid.and_then(Pid::from_raw).ok_or_else(io::Error::last_os_error)?;
    Ok(Side::Parent(pid))
}

/// What a child tells that could not be what it should. Waits for its exec, or for its end.
fn failure(told: &OwnedFd) -> Option<Failure> {
    let mut failure = [[0; 4]; 2];
    match retry_on_intr(|| rustix::io::read(told, failure.as_flattened_mut())) {
        // Whole, as every write to a pipe of so few bytes is (pipe(7)).
        Ok(read) if read == failure.as_flattened().len() => {
            let [number, errno] = failure;
            let number = u32::from_ne_bytes(number);
            Some(Failure {
                step: usize::try_from(number).ok().filter(|_| number != NO_STEP),
                source: io::Error::from_raw_os_error(i32::from_ne_bytes(errno)),
            })
        }
        Ok(_) | Err(_) => None,
    }
}

/// Comes after the steps, as the kernel forgets it when credentials change (PR_SET_PDEATHSIG(2const)).
fn die_with(shim: Pid) -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The shim may have died before the call above could notice.
    if getppid() == Some(shim) {
        Ok(())
    } else {
        Err(Errno::SRCH)
    }
}

/// All dispositions become default ones, as exec leaves ignored signals ignored; then none is blocked.
fn reset_signals() {
    // All bytes zero: SIG_DFL, no flags, an empty mask.
    let default = [0_u64; SIGACTION_WORDS];
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the kernel reads no more than its own `struct sigaction`. It refuses, without harm, for the two that
        // have no other disposition. By system call, as sigaction(3) takes a lock (glibc 2.41).
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                SIGNAL_SET_BYTES,
            )
        };
    }
    // SAFETY: the set is initialised by sigemptyset(3), which is async-signal-safe, as is sigprocmask(2).
    unsafe {
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use rekindle::id::Incarnation;
    use rekindle_shim_core::TreeId;

    use super::super::super::cgroup::Groups;
    use super::super::super::tests::{marker, skip, turn};
    use super::*;

    #[test]
    fn a_child_is_born_in_its_group() {
        let _turn = turn();
        let groups = match Groups::open(marker()) {
            Ok(groups) => groups,
            Err(error) => return skip(&format!("cgroups need root, or a delegated hierarchy: {error}")),
        };
        let group = groups.make(&TreeId::Life(Incarnation::new(1))).expect("made");
        let dir = group.open().expect("opened");
        match fork_into(&dir).expect("Linux 5.7") {
            // SAFETY: it runs nothing that is the parent's to run.
            Side::Child { .. } => unsafe { libc::_exit(7) },
            Side::Parent(pid) => {
                let end = WaitIdOptions::EXITED;
                let look = end | WaitIdOptions::NOWAIT;
                let status = waitid(WaitId::Pid(pid), look).expect("a child").expect("dead");
                assert!(group.holds(pid), "a zombie says where it was");
                assert_eq!(status.exit_status(), Some(7));
                waitid(WaitId::Pid(pid), end).expect("reaped");
            }
        }
    }
}
