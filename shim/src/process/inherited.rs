//! The tree of a child that an earlier shim has spawned, and that lives on under this one.
//!
//! Neither the child nor who loses its parent there comes to this process, so that the proof of death is the sweep's:
//! nobody whom [`super::hunt`] finds lives. Who was found once is held until it is dead, whatever becomes of its marks.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::id::Marker;
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rustix::process::{Pid, Signal};
use tokio::time::Instant;

use super::cgroup::Group;
use super::hunt::{self, Hunt, Left, Members};
use super::pidfd::Pidfd;
use super::tree::{Force, LOOK_AGAIN};

/// Longest wait for a dead child's exit status, which the kernel tells once whoever has become its parent has reaped it:
/// init(1) of some containers looks for the dead every second or two only.
const STATUS_MAX_WAIT: Duration = Duration::from_secs(3);

/// Time between two looks for it: short beside what a report takes, long beside a look.
const STATUS_LOOK: Duration = Duration::from_millis(10);

/// What there is of such a tree.
#[derive(Debug)]
pub(super) struct Inherited {
    marker: Marker,
    child: ProcessIdentity,
    /// Removed with the tree.
    group: Option<Group>,
    known: RefCell<Members>,
    /// When its last process was dead.
    gone: OnceCell<Instant>,
}

impl Inherited {
    /// Takes the tree up.
    ///
    /// # Errors
    /// Where it cannot be seen, as /proc cannot be read or no descriptor is to be had.
    pub(super) fn of(marker: Marker, child: ProcessIdentity, group: Option<Group>) -> io::Result<Self> {
        let tree = Self {
            marker,
            child,
            group,
            known: RefCell::default(),
            gone: OnceCell::new(),
        };
        // Who can be told from others only while its parents live, is held from here on.
        tree.members()?;
        Ok(tree)
    }

    pub(super) fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Whom it is found by.
    pub(super) fn hunt(&self) -> Hunt<'_> {
        Hunt {
            marker: self.marker,
            child: Some(&self.child),
            groups: self.group.as_slice(),
        }
    }

    fn members(&self) -> io::Result<Members> {
        let mut known = self.known.borrow_mut();
        self.hunt().find(&mut known)?;
        Ok(known.clone())
    }

    /// The living, for who only looks.
    pub(super) fn pids(&self) -> io::Result<Vec<Pid>> {
        match &self.group {
            Some(group) => Ok(group.pids()),
            None => Ok(self.members()?.iter().map(|member| member.pid).collect()),
        }
    }

    /// Sends a signal to everybody, each through a descriptor: as whoever has become the child's parent may reap it at
    /// any moment, its pid may not be used for its process group. Then lets those run that were stopped, as they could
    /// not end otherwise.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let members = self.members()?;
        hunt::signal(&members, signal);
        hunt::signal(&members, Signal::CONT);
        Ok(())
    }

    /// Returns when nothing of the tree lives, and its exit status is known or will not be. Can be dropped at any point,
    /// and called again.
    pub(super) async fn gone(&self, force: Force, child: &Pidfd) -> io::Result<()> {
        if self.gone.get().is_none() {
            self.all_dead(force).await?;
        }
        let give_up = *self.gone.get_or_init(Instant::now) + STATUS_MAX_WAIT;
        // An error says that this kernel never tells.
        while child.exit_status().is_ok_and(|status| status.is_none()) && Instant::now() < give_up {
            tokio::time::sleep(STATUS_LOOK).await;
        }
        Ok(())
    }

    async fn all_dead(&self, force: Force) -> io::Result<()> {
        loop {
            let (found, wave) = match force {
                Force::None => {
                    let found = self.members()?;
                    (found.clone(), found)
                }
                Force::Kill => self.kill()?,
            };
            match self.hunt().left(&found)? {
                Left::Nobody => return Ok(()),
                Left::Unseen => tokio::time::sleep(LOOK_AGAIN).await,
                Left::Somebody => hunt::dead(&wave).await?,
            }
        }
    }

    /// Who was found, and those of them whose death can be waited for.
    fn kill(&self) -> io::Result<(Members, Members)> {
        let mut known = self.known.borrow_mut();
        self.hunt().halt(&mut known)?;
        let wave = self.hunt().kill(&known)?;
        Ok((known.clone(), wave))
    }

    /// Names what lives.
    pub(super) fn survivors(&self) -> io::Result<Vec<Survivor>> {
        Ok(hunt::survivors(&self.members()?))
    }
}

/// How a child ended whose parent this process is not.
pub(super) fn exit_status(child: &Pidfd) -> ExitStatus {
    child.exit_status().ok().flatten().unwrap_or(ExitStatus::Unknown)
}
