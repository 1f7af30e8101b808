//! The shim's state directory: one shim at a time, and its journal.
//!
//! The journal has two slots, which are written in turn and in place: whatever moment the shim is killed at, the other
//! slot is whole. A file that replaces another by rename(2) would be simpler, and is no choice on the way from a crash
//! to the next life: ext4 then starts to write the file out, and waits for the disk (ext4(5), auto_da_alloc).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rekindle_shim_core::Journal;
use rustix::fs::{FlockOperation, flock};

/// A state directory that this process has for itself, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Closed on exec, so that no child keeps it.
    _lock: File,
    slots: [File; 2],
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
    #[error("cannot write the journal in {}; without it no child can be started safely", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl StateDir {
    /// Makes the directory where it is not there, for its owner alone, and takes it. Gives the journal of the shim's
    /// last life, unless this is its first.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Journal>), StateError> {
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
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::Locked(path.to_owned())),
            Err(error) => return Err(failed(error.into())),
        }
        let mut slots = [
            open(&path.join("journal.0")).map_err(failed)?,
            open(&path.join("journal.1")).map_err(failed)?,
        ];
        let mut newest: Option<Entry> = None;
        let mut blank = true;
        for slot in &mut slots {
            let mut bytes = Vec::new();
            slot.read_to_end(&mut bytes).map_err(failed)?;
            blank &= bytes.is_empty();
            let entry =
                Entry::parse(&bytes).filter(|entry| newest.as_ref().is_none_or(|old| old.number < entry.number));
            newest = entry.or(newest);
        }
        if newest.is_none() && !blank {
            return Err(StateError::Damaged(path.to_owned()));
        }
        let writes = newest.as_ref().map_or(0, |entry| entry.number);
        let state_dir = Self {
            path: path.to_owned(),
            _lock: lock,
            slots,
            writes,
        };
        Ok((state_dir, newest.map(|entry| entry.journal)))
    }

    /// Writes the journal, whole or not at all. It outlives the shim, not a power loss: after one, every process of the
    /// boot that it tells of is dead.
    pub(crate) fn write(&mut self, journal: &Journal) -> Result<(), StateError> {
        self.try_write(journal).map_err(|source| StateError::Write {
            path: self.path.clone(),
            source,
        })
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

/// What one slot holds: a line with number, length and checksum, the journal as JSON, and perhaps the end of a longer
/// one.
struct Entry {
    number: u64,
    journal: Journal,
}

impl Entry {
    fn encode(number: u64, journal: &Journal) -> io::Result<Vec<u8>> {
        let body = serde_json::to_vec(journal)?;
        let mut bytes = format!("{number} {} {:016x}\n", body.len(), checksum(number, &body)).into_bytes();
        bytes.extend(body);
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end_of_line = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = bytes.split_at_checked(end_of_line)?;
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let number = words.next()?.parse().ok()?;
        let length: usize = words.next()?.parse().ok()?;
        let sum = u64::from_str_radix(words.next()?, 16).ok()?;
        let body = rest.get(1..)?.get(..length)?;
        if sum != checksum(number, body) {
            return None;
        }
        Some(Self {
            number,
            journal: serde_json::from_slice(body).ok()?,
        })
    }
}

/// FNV-1a, 64 bits: tells a slot that was half written from a whole one. Nobody forges one's own journal.
fn checksum(number: u64, body: &[u8]) -> u64 {
    let seed = number.to_le_bytes();
    let bytes = seed.iter().chain(body);
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rekindle::id::{AgentId, BootId, Marker};

    use super::*;

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
        let (mut state, none) = StateDir::open(&path).expect("made");
        assert_eq!(none, None);
        state.write(&journal).expect("written");
        for _ in 0..5 {
            drop(state);
            let (again, read) = StateDir::open(&path).expect("readable");
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
        let (mut state, _) = StateDir::open(dir.path()).expect("made");
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
            let (_, read) = StateDir::open(dir.path()).expect("readable");
            assert_eq!(read.as_ref(), Some(&first), "cut off after {length}");
        }
        std::fs::write(dir.path().join("journal.1"), "{").expect("written");
        assert!(matches!(StateDir::open(dir.path()), Err(StateError::Damaged(_))));
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
