//! Who looks whether something happens to the state files: inotify(7) or, where the host has no instance of it left, the shim
//! itself once in a while.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// Time between two looks, where inotify does not look. What a life has written last is read at its end anyway.
const LOOK: Duration = Duration::from_secs(1);

/// Events that are read before others have their turn: as many as a queue has (inotify(7), max_queued_events).
const EVENTS_MAX: usize = 16_384;

/// Room for events, which are read as many at a time.
const EVENTS_BYTES: usize = 4096;

/// That a file was written, or one was renamed to its name.
const WRITTEN: WatchFlags = WatchFlags::CLOSE_WRITE.union(WatchFlags::MOVED_TO);

/// That a file was read, or was open for nothing else. Who opens one to write it has not read it by that.
const READ: WatchFlags = WatchFlags::ACCESS.union(WatchFlags::CLOSE_NOWRITE);

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// The file of this name was written.
    Written(&'a str),
    /// The file of this name was read.
    Read(&'a str),
    /// Anything may have been written.
    Anything,
}

/// Whether there may be more to be seen at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Some,
    None,
}

/// Whether it matters that files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Seen,
    Unseen,
}

/// See above.
#[derive(Debug)]
pub(super) enum Eyes {
    Kernel(AsyncFd<OwnedFd>),
    Looking,
}

impl Eyes {
    /// To be called in the runtime that waits.
    pub(super) fn open() -> Self {
        let opened = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(io::Error::from)
            .and_then(crate::process::readable);
        opened.map_or_else(
            |error| {
                tracing::warn!(
                    %error,
                    "the agent's state file is looked at once a second, and who reads it is not seen: raise \
                     fs.inotify.max_user_instances (sysctl(8)), of which each shim takes one"
                );
                Self::Looking
            },
            Self::Kernel,
        )
    }

    /// Looks at a directory from here on.
    pub(super) fn watch(&self, dir: &Path, reads: Reads) -> io::Result<()> {
        let wanted = match reads {
            Reads::Seen => WRITTEN | READ,
            Reads::Unseen => WRITTEN,
        };
        match self {
            Self::Kernel(fd) => {
                inotify::add_watch(
                    fd.get_ref(),
                    dir,
                    wanted | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW,
                )?;
            }
            Self::Looking => {}
        }
        Ok(())
    }

    /// Waits until there may be something to be seen. Can be dropped at any point, and called again.
    pub(super) async fn wait(&self) {
        match self {
            Self::Kernel(fd) => {
                // An error is one of the runtime's end.
                if let Ok(mut ready) = fd.readable().await {
                    ready.clear_ready();
                }
            }
            Self::Looking => sleep(LOOK).await,
        }
    }

    /// Tells what has happened by now, and was not told.
    pub(super) fn look(&self, tell: &mut dyn FnMut(Seen<'_>)) -> Rest {
        let Self::Kernel(fd) = self else {
            tell(Seen::Anything);
            return Rest::None;
        };
        let mut room = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut events = Reader::new(fd.get_ref(), &mut room);
        for _ in 0..EVENTS_MAX {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                // There are no more.
                Err(_) => return Rest::None,
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                tell(Seen::Anything);
            }
            let Some(name) = event.file_name().and_then(|name| CStr::to_str(name).ok()) else {
                continue;
            };
            if flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
                tell(Seen::Written(name));
            } else if flags.intersects(ReadFlags::ACCESS | ReadFlags::CLOSE_NOWRITE) {
                tell(Seen::Read(name));
            }
        }
        Rest::Some
    }
}
