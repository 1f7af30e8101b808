//! What one program of this process leaves to the next, so that the shim can run a newer version of itself in its place
//! (execve(2)): neither the child, which stays this process's own, nor a byte of what it writes is lost.
//!
//! Descriptors stay open; what they are, and what was read of the pipes, is in a file in memory (memfd_create(2)), which
//! one environment variable names, with the process that it is meant for. The journal says whether a child was left.
#![expect(
    unsafe_code,
    reason = "a descriptor's number becomes a descriptor, and a variable of the environment goes"
)]

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use rekindle::id::Incarnation;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::getpid;
use serde::{Deserialize, Serialize};

use super::output::Read as StreamRead;
use crate::itself::Itself;

/// Names the process, and the descriptor of the file: `7:12`.
const VARIABLE: &str = "REKINDLE_HANDOVER";

/// Largest file that is read: the evidence of both streams, a line that may become an answer, and answers that wait, as
/// JSON, several times over.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// Those that the shim listens to, and that must not meet it while nobody listens: their default is to end it.
const LISTENED_TO: [Signal; 5] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR2,
];

/// All that is left.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handover<Fd> {
    /// Of directories that the shim has for itself.
    pub(crate) locks: Vec<Fd>,
    pub(crate) exempt: Vec<ExemptOne>,
    pub(crate) child: Option<ChildsOwn<Fd>>,
}

/// A process that descends from the shim, and is not of the child's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExemptOne {
    pub(super) pid: i32,
    pub(super) pidfd_inode: Option<u64>,
    pub(super) start_time_ticks: u64,
}

/// What belongs to the child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ChildsOwn<Fd> {
    pub(crate) incarnation: Incarnation,
    pub(super) notify: Fd,
    /// stdout and stderr, of a child that does not write files itself.
    pub(super) streams: Option<[StreamsOwn<Fd>; 2]>,
    /// Where messages go, of a child that reads them from its stdin.
    pub(super) stdin: Option<Fd>,
}

/// One stream of the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StreamsOwn<Fd> {
    pub(super) pipe: Fd,
    pub(super) read: StreamRead,
}

impl<Fd> Handover<Fd> {
    fn map<To>(self, to: &mut impl FnMut(Fd) -> To) -> Handover<To> {
        let stream = |StreamsOwn { pipe, read }, to: &mut dyn FnMut(Fd) -> To| StreamsOwn { pipe: to(pipe), read };
        Handover {
            locks: self.locks.into_iter().map(&mut *to).collect(),
            exempt: self.exempt,
            child: self.child.map(|child| ChildsOwn {
                incarnation: child.incarnation,
                notify: to(child.notify),
                streams: child.streams.map(|streams| streams.map(|one| stream(one, to))),
                stdin: child.stdin.map(&mut *to),
            }),
        }
    }
}

impl Handover<OwnedFd> {
    /// Takes what the program before has left, if there was one, and its variable out of the environment.
    ///
    /// To be called at the start, while this process has no other thread, and nothing in it uses descriptors that it was
    /// not given by name.
    ///
    /// # Errors
    /// What was left cannot be understood. The child's pipes are lost then.
    pub(crate) fn receive() -> io::Result<Option<Self>> {
        let Some(value) = std::env::var_os(VARIABLE) else {
            return Ok(None);
        };
        // SAFETY: there is no other thread, as the caller says.
        unsafe { std::env::remove_var(VARIABLE) };
        let Some(file) = named(&value.to_string_lossy()).and_then(own) else {
            // Left in the environment by who has it of another process: meant for nobody here.
            return Ok(None);
        };
        let mut json = Vec::new();
        File::from(file).take(FILE_MAX_BYTES).read_to_end(&mut json)?;
        let numbers: Handover<RawFd> = serde_json::from_slice(&json)?;
        let mut lost = None;
        let owned = numbers.map(&mut |number| {
            let fd = own(number);
            if fd.is_none() {
                lost = Some(number);
            }
            fd
        });
        match lost {
            Some(number) => Err(io::Error::other(format!("descriptor {number} is not open"))),
            None => Ok(Some(owned.map(&mut |fd| fd.expect("none is lost")))),
        }
    }
}

impl Handover<BorrowedFd<'_>> {
    /// Runs the program in this process's place. Returns only when that failed: everything is as it was then.
    ///
    /// To be called with signals held back ([`hold_signals`]), so that none meets a program that does not listen yet.
    pub(crate) fn run(self, itself: &Itself) -> io::Error {
        match self.try_run(itself) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_run(self, itself: &Itself) -> io::Result<std::convert::Infallible> {
        let mut left = Vec::new();
        let numbers = self.map(&mut |fd| {
            left.push(fd);
            fd.as_raw_fd()
        });
        let mut file = File::from(memfd_create("rekindle-handover", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(&numbers)?)?;
        file.seek(SeekFrom::Start(0))?;
        left.push(file.as_fd());
        let variable = format!("{VARIABLE}={}:{}", getpid().as_raw_pid(), file.as_raw_fd());
        let path = CString::new(itself.path.as_os_str().as_bytes())?;
        let arguments: Vec<CString> = c_strings(itself.arguments.iter().cloned())?;
        let variables = std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        let environment = c_strings(variables.chain([OsString::from(variable)]))?;
        let result = left
            .iter()
            .try_for_each(|fd| fcntl_setfd(fd, FdFlags::empty()))
            .map_err(io::Error::from)
            .and_then(|()| nix::unistd::execve(&path, &arguments, &environment).map_err(io::Error::from));
        for fd in &left {
            // Only a descriptor that is not open cannot get the flag.
            let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
        }
        result
    }
}

/// Holds the signals back that the shim listens to; they are kept for who lets them come again, in this program or the
/// next.
pub(crate) fn hold_signals() -> Result<(), Errno> {
    SigSet::from_iter(LISTENED_TO).thread_block()
}

/// Lets them come.
pub(crate) fn release_signals() -> Result<(), Errno> {
    SigSet::from_iter(LISTENED_TO).thread_unblock()
}

fn c_strings(strings: impl Iterator<Item = OsString>) -> io::Result<Vec<CString>> {
    strings.map(|string| Ok(CString::new(string.into_vec())?)).collect()
}

/// The descriptor that a variable names, if it is meant for this process.
fn named(value: &str) -> Option<RawFd> {
    let (pid, number) = value.split_once(':')?;
    let here = getpid().as_raw_pid();
    (pid.parse() == Ok(here)).then(|| number.parse().ok())?
}

/// A descriptor that the program before left to this one; `None` where there is none of this number.
fn own(number: RawFd) -> Option<OwnedFd> {
    if number <= nix::libc::STDERR_FILENO {
        return None;
    }
    // SAFETY: borrowed only to ask whether it is open; the number is that of no stream of the standard library.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(fd).ok()?;
    fcntl_setfd(fd, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, and was left by this process's program before for this one alone, which has not owned it yet.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_this_process_is_taken() {
        let here = getpid().as_raw_pid();
        assert_eq!(named(&format!("{here}:12")), Some(12));
        for other in [
            format!("{}:12", here + 1),
            format!("{here}"),
            format!("{here}:x"),
            String::new(),
        ] {
            assert_eq!(named(&other), None, "{other:?}");
        }
        assert!(own(2).is_none(), "stderr is nobody's to own");
        assert!(own(-1).is_none());
        assert!(own(RawFd::MAX).is_none(), "not open");
    }

    #[test]
    fn what_is_left_comes_back() {
        let (pipe, notify) = (
            tempfile::tempfile().expect("a file"),
            tempfile::tempfile().expect("a file"),
        );
        let stream = |fd| StreamsOwn {
            pipe: fd,
            read: StreamRead::default(),
        };
        let left = Handover {
            locks: vec![notify.as_fd()],
            exempt: vec![ExemptOne {
                pid: 7,
                pidfd_inode: Some(u64::MAX),
                start_time_ticks: 1,
            }],
            child: Some(ChildsOwn {
                incarnation: Incarnation::new(3),
                notify: notify.as_fd(),
                streams: Some([stream(pipe.as_fd()), stream(pipe.as_fd())]),
                stdin: Some(pipe.as_fd()),
            }),
        };
        let exempt = left.exempt.clone();
        let json = serde_json::to_vec(&left.map(&mut |fd| fd.as_raw_fd())).expect("written");
        let back: Handover<RawFd> = serde_json::from_slice(&json).expect("read");
        assert_eq!((back.locks, back.exempt), (vec![notify.as_raw_fd()], exempt));
        let child = back.child.expect("one");
        assert_eq!(
            (child.incarnation, child.notify),
            (Incarnation::new(3), notify.as_raw_fd())
        );
        let pipes = child.streams.expect("two").map(|stream| stream.pipe);
        assert_eq!(pipes, [pipe.as_raw_fd(); 2]);
    }
}
