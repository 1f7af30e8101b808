//! What starts a shim under test that is to have less than the tests have.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use crate::bench::{command, is_root, program};

/// The user and group of nobody: those of the kernel's own overflow ids (`DEFAULT_OVERFLOWUID`, linux/highuid.h).
const NOBODY: u32 = 65534;

/// What stands before the shim in its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Launcher {
    None,
    /// A filter of system calls (seccomp(2)), by which the kernel has neither pidfs nor `PIDFD_GET_INFO`, as before
    /// Linux 6.9: fstatfs(2), by which pidfs is known, fails with ENOSYS, and the ioctl with ENOTTY.
    OldKernel,
    /// A change of user, to one who owns the test's folder and nothing else. Who runs the tests without being root is an
    /// ordinary user already.
    OrdinaryUser,
}

/// For python3: sets the filter, and runs what its arguments say.
const OLD_KERNEL: &str = "
import ctypes, os, platform, struct, sys
FSTATFS, IOCTL = {'x86_64': (138, 16), 'aarch64': (44, 29)}[platform.machine()]
LOAD, AND, IF_EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06
ENOSYS, ENOTTY = 38, 25
ALLOW, ERROR = 0x7fff0000, 0x00050000
NUMBER, SECOND_ARGUMENT = 0, 24
steps = [
    (LOAD, 0, 0, NUMBER),
    (IF_EQUAL, 0, 1, FSTATFS),
    (RETURN, 0, 0, ERROR | ENOSYS),
    (IF_EQUAL, 0, 4, IOCTL),
    (LOAD, 0, 0, SECOND_ARGUMENT),
    (AND, 0, 0, 0xffff),
    (IF_EQUAL, 0, 1, 0xff0b),
    (RETURN, 0, 0, ERROR | ENOTTY),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack('@HP', len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
for call in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)]:
    if libc.prctl(*call) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
";

impl Launcher {
    /// The beginning of a command line, up to the shim; `dir` is the test's folder.
    pub(crate) fn command(self, dir: &Path) -> Command {
        match self {
            Self::None => command(),
            Self::OldKernel => {
                let mut launched = program("python3");
                launched.args(["-c", OLD_KERNEL]).arg(command().get_program());
                launched
            }
            Self::OrdinaryUser if is_root() => {
                // Where it was built, others than its owner may not come.
                let copy = dir.join("rekindle-shim");
                if !copy.exists() {
                    fs::copy(command().get_program(), &copy).expect("copied");
                    chown(dir, Some(NOBODY), Some(NOBODY)).expect("root can");
                }
                let mut launched = program("setpriv");
                launched
                    .arg(format!("--reuid={NOBODY}"))
                    .arg(format!("--regid={NOBODY}"));
                launched.arg("--clear-groups").arg(copy);
                launched
            }
            Self::OrdinaryUser => command(),
        }
    }
}
