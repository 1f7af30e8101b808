//! The shim's state directory: one shim at a time, and its journal.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rekindle_shim_core::Journal;
use rustix::fs::{FlockOperation, flock};

/// A state directory that this process has for itself, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Closed on exec, so that no child keeps it.
    _lock: File,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot use the state directory {}; choose another with --state-dir", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("another shim runs from the state directory {}; stop it, or choose another with --state-dir", .0.display())]
    Locked(PathBuf),
    #[error("cannot read the journal {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the journal {} is damaged; end what is left of the agent, if anything, and then remove the file",
        path.display()
    )]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("cannot write the journal {}; without it no child can be started safely", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl StateDir {
    /// Makes the directory where it is not there, for its owner alone, and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Open {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(path.join("lock")).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Locked(path.to_owned())),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The journal of the shim's last life; `None` in a directory that has none.
    pub(crate) fn read(&self) -> Result<Option<Journal>, StateError> {
        let path = self.journal();
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| StateError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Read { path, source }),
        }
    }

    /// Replaces the journal as a whole. It outlives the shim, not a power loss: after one, every process is dead.
    pub(crate) fn write(&self, journal: &Journal) -> Result<(), StateError> {
        self.try_write(journal).map_err(|source| StateError::Write {
            path: self.journal(),
            source,
        })
    }

    fn try_write(&self, journal: &Journal) -> io::Result<()> {
        let draft = self.path.join("journal.json.tmp");
        let text = serde_json::to_vec(journal)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&text)?;
        drop(file);
        std::fs::rename(&draft, self.journal())
    }

    fn journal(&self) -> PathBuf {
        self.path.join("journal.json")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rekindle::id::{AgentId, BootId, Marker};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_journal_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/b");
        let state = StateDir::open(&path).expect("made");
        assert_eq!(state.read().expect("readable"), None);
        let mut journal = Journal::new(
            AgentId::new("a").expect("valid"),
            Marker::from_u128(1),
            BootId::from_u128(2),
        );
        for _ in 0..2 {
            state.write(&journal).expect("written");
            assert_eq!(state.read().expect("readable"), Some(journal.clone()));
            journal.last_incarnation = journal.last_incarnation.next();
        }
        assert_eq!((mode(&path), mode(&path.join("journal.json"))), (0o700, 0o600));
        std::fs::write(path.join("journal.json"), "{").expect("written");
        assert!(matches!(state.read(), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn a_directory_has_one_shim() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = StateDir::open(dir.path()).expect("free");
        assert!(matches!(StateDir::open(dir.path()), Err(StateError::Locked(_))));
        drop(first);
        StateDir::open(dir.path()).expect("free again");
    }
}
