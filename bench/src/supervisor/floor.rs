//! The floor: what the kernel alone takes for the end of one process and the start of another.

use super::{Launch, Supervisor};
use crate::birth::Birth;
use crate::clock::Moment;
use crate::daemon::Daemon;

/// `respawn`.
pub(super) struct Floor {
    _respawn: Daemon,
}

impl Floor {
    pub(super) fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        let mut command = launch.births.command(&launch.programs.respawn);
        command.arg(&launch.programs.child);
        Ok(Self {
            _respawn: Daemon::start(command, &launch.dir.join("log"))?,
        })
    }
}

impl Supervisor for Floor {
    /// There is nobody to ask: the child is told to end, and the loop goes round.
    fn restart(&mut self, child: &Birth) -> anyhow::Result<Option<Moment>> {
        child.terminate();
        Ok(None)
    }
}
