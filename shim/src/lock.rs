//! What one process has for itself: a file or a directory, locked (flock(2)).
//!
//! The lock belongs to the open file, and so goes with the descriptor when this process runs another program; a second
//! open file of the same process would be refused like a stranger's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, flock, fstat};

/// Held for as long as the value lives. Closed on exec, so that no child keeps it.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// Why there is none.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it.
    Taken,
    Failed(io::Error),
}

impl Lock {
    /// Locks `file`, or goes on with the lock of it that is among the `handed` ones, which this process had before it ran
    /// this program.
    pub(crate) fn take(file: File, handed: &mut Vec<OwnedFd>) -> Result<Self, LockError> {
        let failed = |error: rustix::io::Errno| LockError::Failed(error.into());
        let wanted = fstat(&file).map_err(failed)?;
        let same = |fd: &OwnedFd| fstat(fd).is_ok_and(|had| (had.st_dev, had.st_ino) == (wanted.st_dev, wanted.st_ino));
        let file = match handed.iter().position(same) {
            Some(index) => File::from(handed.swap_remove(index)),
            None => file,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Taken),
            Err(error) => Err(failed(error)),
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_handed_over_is_the_one_that_is_held() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let open = || File::open(file.path()).expect("there");
        let held = Lock::take(open(), &mut Vec::new()).expect("free");
        assert!(matches!(Lock::take(open(), &mut Vec::new()), Err(LockError::Taken)));

        let other = File::open("/proc/self/mountinfo").expect("there");
        let mut handed = vec![OwnedFd::from(other), OwnedFd::from(held.0)];
        let held = Lock::take(open(), &mut handed).expect("its own");
        assert_eq!(handed.len(), 1);
        assert!(matches!(Lock::take(open(), &mut Vec::new()), Err(LockError::Taken)));
        drop(held);
    }
}
