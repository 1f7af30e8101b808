//! The newest event that was ever acknowledged, outside of sled.
//!
//! sled takes a damaged spot in its log for the log's end: a few overwritten bytes made it forget, without an error,
//! all that had been written after them. Incarnations and epochs would be given a second time. So each commit, once it
//! is durable, notes the newest event's number beside sled, and a store that comes back with less is refused.
//!
//! The note is not synced, so that it costs a microsecond: it survives the process at once, and a power cut soon. It is
//! written after the `fdatasync`, and so never says more than what is durable.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rekindle::id::Sequence;

use super::OpenError;
use super::directory::io_error;
use crate::store::StoreError;

/// Digits of the largest number; a shorter one has zeros before it, so that each note covers the one before.
const DIGITS: usize = 20;

/// The file with the note.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    file: File,
}

impl Mark {
    /// What the note says; `None` where there is none, because no store was begun.
    pub(super) fn read(path: &Path) -> Result<Option<Sequence>, OpenError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        // Empty: it was created, and the process ended.
        match text.trim_end() {
            "" => Ok(None),
            number => number.parse().map(Sequence::new).map(Some).map_err(|error| {
                let invalid = io::Error::new(io::ErrorKind::InvalidData, error);
                io_error("read the number in", path)(invalid)
            }),
        }
    }

    /// Begins or goes on to note, durably this once.
    pub(super) fn begin(path: &Path, newest: Sequence) -> Result<Self, OpenError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(io_error("open", path))?;
        let mark = Self {
            path: path.to_owned(),
            file,
        };
        let written = mark.write(newest).and_then(|()| mark.file.sync_all());
        written.map_err(io_error("write to", path))?;
        Ok(mark)
    }

    /// Notes the newest durable event.
    pub(super) fn note(&self, newest: Sequence) -> Result<(), StoreError> {
        self.write(newest).map_err(|source| StoreError::Io {
            action: "write to",
            path: self.path.clone(),
            source,
        })
    }

    fn write(&self, newest: Sequence) -> io::Result<()> {
        let text = format!("{:0DIGITS$}\n", newest.get());
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_noted_last() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mark");
        assert_eq!(Mark::read(&path).expect("there is none"), None);
        std::fs::write(&path, "").expect("written");
        assert_eq!(Mark::read(&path).expect("it is empty"), None);
        let mark = Mark::begin(&path, Sequence::new(7)).expect("begun");
        for number in [8, u64::MAX, 3] {
            mark.note(Sequence::new(number)).expect("noted");
            assert_eq!(Mark::read(&path).expect("read"), Some(Sequence::new(number)));
        }
        std::fs::write(&path, "seven").expect("written");
        let error = Mark::read(&path).expect_err("it is no number");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
