//! The shim's state directory: one shim at a time, and its journal.
//!
//! The journal has two slots, which are written in turn and in place: whatever moment the shim is killed at, the other
//! slot is whole. A file that replaces another by rename(2) would be simpler, and is no choice on the way from a crash
//! to the next life: ext4 then starts to write the file out, and waits for the disk (ext4(5), auto_da_alloc).

mod active_state;
mod slot;
mod texts;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rekindle::id::{AgentId, Incarnation, Marker};
use rekindle_shim_core::Journal;
use uuid::Uuid;

use crate::lock::{Lock, LockError};
use crate::process::NotifyName;

pub(crate) use active_state::{ActiveState, Writer};
pub(crate) use slot::checksum;
use slot::{Entry, Slot, VERSION};
use texts::Texts;

/// What is written down of a life's notify socket: 20 digits, a space, 32 hexadecimal digits, and the end of a line. One
/// length for all, so that none leaves the end of a longer one.
const NOTES_BYTES: usize = 54;

/// A state directory that this process has for itself, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    lock: Lock,
    slots: [File; 2],
    notes: File,
    texts: Texts,
    /// How often the journal was written. Its lowest bit says which slot is the newer one.
    writes: u64,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot use the state directory {}; choose another with --state-dir", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("another shim runs from the state directory {}; stop it, or choose another with --state-dir", .0.display())]
    Locked(PathBuf),
    #[error(
        "the journal in {} is damaged; end what is left of the agent, if anything, and then remove the directory",
        .0.display()
    )]
    Damaged(PathBuf),
    #[error(
        "the journal in {} has format {version}, and this shim reads {VERSION}; run the version of the shim that wrote \
         it, or end the agent and remove the directory",
        path.display()
    )]
    Version { path: PathBuf, version: u32 },
    #[error("cannot write the journal in {}; without it no child can be started safely", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl StateDir {
    /// What says that the directory is this process's.
    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Makes the directory where it is not there, for its owner alone, and takes it; its lock may be among the `handed`
    /// ones. Gives the journal of the shim's
    /// last life, unless this is its first.
    ///
    /// A journal that a power loss has damaged counts as none: who was last written before `booted`, the start of this
    /// boot, tells of processes that are dead, whatever it told.
    pub(crate) fn open(
        path: &Path,
        booted: SystemTime,
        handed: &mut Vec<OwnedFd>,
    ) -> Result<(Self, Option<Journal>), StateError> {
        let failed = |source| StateError::Open {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let lock = open(&path.join("lock")).map_err(failed)?;
        let lock = match Lock::take(lock, handed) {
            Ok(lock) => lock,
            Err(LockError::Taken) => return Err(StateError::Locked(path.to_owned())),
            Err(LockError::Failed(error)) => return Err(failed(error)),
        };
        let mut slots = [
            open(&path.join("journal.0")).map_err(failed)?,
            open(&path.join("journal.1")).map_err(failed)?,
        ];
        let notes = open(&path.join("notify")).map_err(failed)?;
        let mut newest: Option<Box<Entry>> = None;
        let (mut torn, mut damaged_in_this_boot) = (false, false);
        for slot in &mut slots {
            let mut bytes = Vec::new();
            slot.read_to_end(&mut bytes).map_err(failed)?;
            match Slot::parse(&bytes) {
                Slot::Blank => {}
                Slot::Torn => {
                    let written = slot
                        .metadata()
                        .and_then(|metadata| metadata.modified())
                        .map_err(failed)?;
                    damaged_in_this_boot |= booted <= written;
                    torn = true;
                }
                Slot::Foreign(version) => {
                    let path = path.to_owned();
                    return Err(StateError::Version { path, version });
                }
                Slot::Unreadable => return Err(StateError::Damaged(path.to_owned())),
                Slot::Whole(entry) => {
                    if newest.as_ref().is_none_or(|old| old.number < entry.number) {
                        newest = Some(entry);
                    }
                }
            }
        }
        if newest.is_none() && torn {
            if damaged_in_this_boot {
                return Err(StateError::Damaged(path.to_owned()));
            }
            tracing::warn!(state_dir = %path.display(), "a power loss took the journal; the shim begins anew");
        }
        let writes = newest.as_ref().map_or(0, |entry| entry.number);
        let mut newest = newest.map(|entry| entry.journal);
        let outbox = newest.as_mut().map(|journal| journal.outbox.as_mut_slice());
        let texts = Texts::open(path, outbox.unwrap_or_default()).map_err(failed)?;
        let state_dir = Self {
            path: path.to_owned(),
            lock,
            slots,
            notes,
            texts,
            writes,
        };
        Ok((state_dir, newest))
    }

    /// The files of what the agent saves, where the directory is this agent's, with this marker.
    pub(crate) fn active_state(&self, agent: AgentId, marker: Marker) -> ActiveState {
        ActiveState::new(&self.path, agent, marker)
    }

    /// Writes the journal, whole or not at all. It outlives the shim, not a power loss: after one, every process of the
    /// boot that it tells of is dead.
    pub(crate) fn write(&mut self, journal: &Journal) -> Result<(), StateError> {
        self.texts.keep(&journal.outbox);
        self.try_write(journal).map_err(|source| StateError::Write {
            path: self.path.clone(),
            source,
        })?;
        self.texts.forget_others(&journal.outbox);
        Ok(())
    }

    /// Makes the newest journal outlive a power loss too.
    pub(crate) fn sync(&self) -> Result<(), StateError> {
        let [even, odd] = &self.slots;
        let slot = if self.writes.is_multiple_of(2) { even } else { odd };
        slot.sync_data().map_err(|source| StateError::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// Writes down which life is told which notify socket: whoever adopts its process must find the very name that this
    /// has in its environment. Not part of the journal, as it is the operating system's side alone that needs it.
    ///
    /// A name that could be told from what is known of a life would be simpler; but everybody on the host could take it
    /// before the life begins.
    pub(crate) fn write_notify(&self, incarnation: Incarnation, name: NotifyName) -> Result<(), StateError> {
        let line = format!("{:020} {}\n", incarnation.get(), name.uuid().simple());
        self.notes
            .write_all_at(line.as_bytes(), 0)
            .map_err(|source| StateError::Write {
                path: self.path.clone(),
                source,
            })
    }

    /// The name that this life was told, if it was written down whole.
    pub(crate) fn read_notify(&self, incarnation: Incarnation) -> Option<NotifyName> {
        let mut line = [0; NOTES_BYTES];
        self.notes.read_exact_at(&mut line, 0).ok()?;
        let line = std::str::from_utf8(&line).ok()?.strip_suffix('\n')?;
        let (number, name) = line.split_once(' ')?;
        let name = Uuid::parse_str(name).ok()?;
        (number.parse() == Ok(incarnation.get())).then(|| name.into())
    }

    fn try_write(&mut self, journal: &Journal) -> io::Result<()> {
        let number = self.writes + 1;
        let [even, odd] = &self.slots;
        let slot = if number.is_multiple_of(2) { even } else { odd };
        slot.write_all_at(&Entry::encode(number, journal)?, 0)?;
        if self.writes == 0 {
            // The marker at least is worth a wait, once.
            slot.sync_all()?;
            File::open(&self.path)?.sync_all()?;
        }
        self.writes = number;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use rekindle::id::BootId;

    use super::*;

    /// Everything was written in this boot.
    const LONG_AGO: SystemTime = SystemTime::UNIX_EPOCH;

    /// Opens a directory that is free, or about to be: a child that another test is spawning holds every descriptor of
    /// this process, until its exec.
    fn reopen(path: &Path, booted: SystemTime) -> Result<(StateDir, Option<Journal>), StateError> {
        let start = Instant::now();
        loop {
            match StateDir::open(path, booted, &mut Vec::new()) {
                Err(StateError::Locked(_)) if start.elapsed() < Duration::from_secs(20) => std::thread::yield_now(),
                opened => return opened,
            }
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    fn journal() -> Journal {
        Journal::new(
            AgentId::new("a").expect("valid"),
            Marker::from_u128(1),
            BootId::from_u128(2),
        )
    }

    #[test]
    fn the_newest_journal_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/b");
        let mut journal = journal();
        let (mut state, none) = reopen(&path, LONG_AGO).expect("made");
        assert_eq!(none, None);
        state.write(&journal).expect("written");
        for _ in 0..5 {
            drop(state);
            let (again, read) = reopen(&path, LONG_AGO).expect("readable");
            assert_eq!(read.as_ref(), Some(&journal));
            state = again;
            journal.last_incarnation = journal.last_incarnation.next();
            // Longer and shorter ones in turn: what is left of a longer one means nothing.
            journal.agent = AgentId::new(if journal.agent.as_str() == "a" {
                "a-longer-name"
            } else {
                "a"
            })
            .expect("valid");
            state.write(&journal).expect("written");
        }
        assert_eq!((mode(&path), mode(&path.join("journal.0"))), (0o700, 0o600));
    }

    #[test]
    fn a_write_that_was_cut_off_leaves_the_one_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut state, _) = reopen(dir.path(), LONG_AGO).expect("made");
        let (first, mut second) = (journal(), journal());
        second.last_incarnation = second.last_incarnation.next();
        state.write(&first).expect("written");
        state.write(&second).expect("written");
        drop(state);
        let newer = dir.path().join("journal.0");
        let whole = std::fs::read(&newer).expect("there");
        for length in 0..whole.len() {
            let mut torn = whole.clone();
            torn.truncate(length);
            torn.resize(whole.len(), b'#');
            std::fs::write(&newer, torn).expect("written");
            let (_, read) = reopen(dir.path(), LONG_AGO).expect("readable");
            assert_eq!(read.as_ref(), Some(&first), "cut off after {length}");
        }
        std::fs::write(dir.path().join("journal.1"), "{").expect("written");
        assert!(matches!(reopen(dir.path(), LONG_AGO), Err(StateError::Damaged(_))));
    }

    #[test]
    fn a_journal_that_a_power_loss_took_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut state, _) = reopen(dir.path(), LONG_AGO).expect("made");
        state.write(&journal()).expect("written");
        state.write(&journal()).expect("written");
        drop(state);
        for slot in ["journal.0", "journal.1"] {
            std::fs::write(dir.path().join(slot), [0; 4096]).expect("written");
        }
        assert!(matches!(reopen(dir.path(), LONG_AGO), Err(StateError::Damaged(_))));
        let booted = SystemTime::now() + Duration::from_secs(60);
        let (mut state, none) = reopen(dir.path(), booted).expect("of an earlier boot");
        assert_eq!(none, None);
        state.write(&journal()).expect("written");
        drop(state);
        let (_, read) = reopen(dir.path(), LONG_AGO).expect("readable");
        assert_eq!(read, Some(journal()));
    }

    #[test]
    fn another_format_is_named_and_not_passed_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut state, _) = reopen(dir.path(), LONG_AGO).expect("made");
        state.write(&journal()).expect("written");
        drop(state);
        let other = dir.path().join("journal.0");
        std::fs::write(&other, "v2 something else\n").expect("written");
        let error = reopen(dir.path(), LONG_AGO).expect_err("refused").to_string();
        assert!(error.contains("has format 2, and this shim reads 1"), "{error}");

        let no_journal = b"{}";
        let line = format!("v1 9 2 {:016x}\n{{}}", checksum(9, no_journal));
        std::fs::write(&other, line).expect("written");
        assert!(matches!(reopen(dir.path(), LONG_AGO), Err(StateError::Damaged(_))));
    }

    #[test]
    fn the_notify_socket_of_a_life_comes_back_and_of_no_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let (state, _) = reopen(dir.path(), LONG_AGO).expect("made");
        let life = Incarnation::new(7);
        assert_eq!(state.read_notify(life), None);
        for _ in 0..2 {
            let name = NotifyName::random();
            state.write_notify(life, name).expect("written");
            assert_eq!(state.read_notify(life), Some(name));
        }
        assert_eq!(state.read_notify(life.next()), None);
        assert_eq!(mode(&dir.path().join("notify")), 0o600);
    }

    #[test]
    fn a_directory_has_one_shim() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = reopen(dir.path(), LONG_AGO).expect("free");
        assert!(matches!(
            StateDir::open(dir.path(), LONG_AGO, &mut Vec::new()),
            Err(StateError::Locked(_))
        ));
        drop(first);
        reopen(dir.path(), LONG_AGO).expect("free again");
    }
}
