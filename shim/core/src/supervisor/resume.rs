//! What a shim runs its program with, and where: after a reboot, where the life worked that was lost, and not where the
//! host's init happens to start shims.
//!
//! ```text
//! journal: the newest life worked in D ── another boot ──> this shim was started in C, without a directory of its own:
//!                                                          lives begin in D, and of later shims those in C do as well
//! ```

use rekindle::id::Incarnation;
use rekindle::launch::{Launch, LaunchFields};

use super::Supervisor;
use super::checkpoint::Ended;
use crate::journal::JournalLaunch;

/// Where the shim's flags, or whoever started it, have its program work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// A flag says so; an absolute path.
    Given(String),
    /// Where the shim itself was started; an absolute path.
    Shims(String),
    /// A path that is not UTF-8, as far as it can be shown: it is gone by, and not kept.
    Unspeakable(String),
}

/// Which boot the journal is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boot {
    Same,
    Later,
}

impl Supervisor {
    /// What the lives of this shim are run with.
    pub fn launch(&self) -> &Launch {
        &self.launch.launch
    }

    /// Where lives begin, in full; `None` for a path that is not UTF-8.
    pub fn works_in(&self) -> Option<&str> {
        self.launch.directory.as_deref()
    }

    /// Where lives begin in place of the shim's own directory: where one was lost in a reboot.
    pub fn resumes_in(&self) -> Option<&str> {
        self.launch.instead_of.as_ref()?;
        self.works_in()
    }

    /// The life that a reboot has ended, until a later one was ready.
    pub const fn resumed(&self) -> Option<Incarnation> {
        self.journal.lost
    }

    /// A later boot than the journal's has begun.
    pub(super) fn resume_after_reboot(&mut self) {
        self.presume_attempts_begun();
        if let Some(child) = self.journal_mut().child.take() {
            self.checkpoint_outlives(child.incarnation, Ended::otherwise());
            self.journal_mut().lost = Some(child.incarnation);
        }
        self.forsake_attempts(None);
        self.launch = self.launch_in(Boot::Later);
    }

    /// The journal is of this boot.
    pub(super) fn resume_in_boot(&mut self) {
        self.launch = self.launch_in(Boot::Same);
    }

    fn launch_in(&self, boot: Boot) -> JournalLaunch {
        let settings = &self.settings;
        let (shown, directory, instead_of) = match &settings.directory {
            Directory::Given(directory) => (directory.clone(), Some(directory.clone()), None),
            Directory::Unspeakable(shown) => (shown.clone(), None, None),
            Directory::Shims(own) => {
                let last = self.journal.launch.as_ref();
                let goes_on = last.filter(|last| match boot {
                    Boot::Later => true,
                    Boot::Same => last.instead_of.as_ref() == Some(own),
                });
                match goes_on.and_then(|last| last.directory.as_ref()) {
                    Some(lost) if lost != own => (lost.clone(), Some(lost.clone()), Some(own.clone())),
                    Some(_) | None => (own.clone(), Some(own.clone()), None),
                }
            }
        };
        JournalLaunch {
            launch: Launch::new(LaunchFields {
                directory: shown,
                ..settings.launch.clone()
            }),
            directory,
            instead_of,
        }
    }
}
