//! The floor: what the kernel alone takes for the end of one process and the start of another.

use std::path::Path;

use super::Supervisor;
use crate::birth::{Birth, Births};
use crate::clock::Moment;
use crate::daemon::Daemon;
use crate::programs::Programs;

/// `respawn`.
pub(super) struct Floor {
    _respawn: Daemon,
}

impl Floor {
    pub(super) fn start(programs: &Programs, dir: &Path, births: &Births) -> anyhow::Result<Self> {
        let mut command = births.command(&programs.respawn);
        command.arg(&programs.child);
        Ok(Self {
            _respawn: Daemon::start(command, &dir.join("log"))?,
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
