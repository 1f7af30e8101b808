//! Want: errors that say nothing of a process, but that this one, or its host, has run out of something that others may
//! give back. Who cannot be looked at for that reason is neither dead nor a stranger: it is unknown, and looked at again.

use std::io;

use rustix::io::Errno;

/// Descriptors that must be left when a child has its own: what a look at a tree takes, with a few of its processes held,
/// and what a spawn takes for as long as it lasts. So what children hold never keeps the shim from proving them dead.
const SPARE_DESCRIPTORS: usize = 16;

/// Whether an error is for want of descriptors, memory or processes (open(2), fork(2)).
pub(crate) fn is_want(error: &io::Error) -> bool {
    const WANTS: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| WANTS.contains(&errno))
}

/// What was read of a process; `None` where there is nothing to be read, as it is gone, or is not shown.
///
/// # Errors
/// Want.
pub(super) fn of_process<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if is_want(&error) => Err(error),
        Ok(read) => Ok(Some(read)),
        Err(_gone_or_hidden) => Ok(None),
    }
}

/// Checks that enough descriptors are left to look after children.
///
/// # Errors
/// Where they are not.
pub(super) fn check_spare() -> io::Result<()> {
    let spare = (0..SPARE_DESCRIPTORS).map(|_| rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC));
    spare.collect::<Result<Vec<_>, _>>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_is_no_news_of_a_process() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN] {
            assert!(of_process::<()>(Err(errno.into())).is_err(), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::SRCH, Errno::ACCESS, Errno::PERM] {
            assert_eq!(of_process::<()>(Err(errno.into())).ok(), Some(None), "{errno}");
        }
        assert_eq!(of_process(Ok(7)).ok(), Some(Some(7)));
        assert!(!is_want(&io::Error::other("a line was expected")));
    }
}
