//! The files of the log: a live one for each stream, and old ones, which are rotated by size.
//!
//! `stdout.log` is the live one; `stdout.log.1` is the newest of the old ones. What cannot be written is lost, and told
//! once: no child waits for a disk with room.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::lock::{Lock, LockError};

/// Which files, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFiles {
    /// Their directory; made when it is not there, for its owner alone.
    pub(crate) dir: PathBuf,
    /// Most bytes of one file. Those that a child writes itself may exceed it, by what it writes in a second.
    pub(crate) max_bytes: u64,
    /// Most old files of each stream.
    pub(crate) old_files: u16,
}

/// Why there can be no log files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFilesError {
    #[error("cannot write files into {}; choose another directory with --log-dir", dir.display())]
    Dir { dir: PathBuf, source: io::Error },
    #[error("another shim writes its files into {}; give each agent its own directory with --log-dir", .0.display())]
    Locked(PathBuf),
}

/// Both streams' files, for this process alone.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) stdout: Series,
    pub(super) stderr: Series,
    pub(super) lock: Lock,
}

impl LogFiles {
    /// Makes the directory, and takes it; its lock may be among the `handed` ones. Opens no file yet: a disk that is full may have room later.
    pub(super) fn take(&self, handed: &mut Vec<OwnedFd>) -> Result<Held, LogFilesError> {
        let failed = |source| LogFilesError::Dir {
            dir: self.dir.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(failed)?;
        access(&self.dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(error.into()))?;
        let lock = File::open(&self.dir).map_err(failed)?;
        let lock = match Lock::take(lock, handed) {
            Ok(lock) => lock,
            Err(LockError::Taken) => return Err(LogFilesError::Locked(self.dir.clone())),
            Err(LockError::Failed(error)) => return Err(failed(error)),
        };
        Ok(Held {
            stdout: self.series("stdout.log"),
            stderr: self.series("stderr.log"),
            lock,
        })
    }

    pub(super) fn series(&self, name: &str) -> Series {
        Series {
            live: self.dir.join(name),
            max_bytes: self.max_bytes,
            old_files: self.old_files,
        }
    }
}

/// The files of one stream.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) live: PathBuf,
    pub(super) max_bytes: u64,
    pub(super) old_files: u16,
}

impl Series {
    /// The live file, to write at its end.
    pub(super) fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.live)
    }

    /// Makes a file the newest of the old ones; the oldest goes.
    pub(super) fn retire(&self, file: &Path) -> io::Result<()> {
        if self.old_files == 0 {
            return gone_or(std::fs::remove_file(file));
        }
        for number in (1..self.old_files).rev() {
            gone_or(std::fs::rename(self.old(number), self.old(number + 1)))?;
        }
        gone_or(std::fs::rename(file, self.old(1)))
    }

    pub(super) fn old(&self, number: u16) -> PathBuf {
        self.beside(&number.to_string())
    }

    /// The file whose name has this behind the live one's.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.live.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    /// What there is beside the live file: each with what its name has behind the live one's.
    pub(super) fn list(&self) -> io::Result<Vec<(PathBuf, String)>> {
        let name = self.live.file_name().unwrap_or_default().to_string_lossy();
        let dir = self.live.parent().unwrap_or(Path::new("."));
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let file = entry.file_name();
            let suffix = file
                .to_str()
                .and_then(|file| file.strip_prefix(&*name)?.strip_prefix('.'));
            if let Some(suffix) = suffix {
                files.push((entry.path(), suffix.to_owned()));
            }
        }
        Ok(files)
    }

    /// Removes the old files of a time when more were kept.
    pub(super) fn tidy(&self) -> io::Result<()> {
        for (path, suffix) in self.list()? {
            if suffix
                .parse()
                .is_ok_and(|number: u64| number > u64::from(self.old_files))
            {
                gone_or(std::fs::remove_file(path))?;
            }
        }
        Ok(())
    }
}

/// A file that somebody else has removed is what was wanted.
fn gone_or(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Tells what goes wrong with a file, once, and when that is over.
#[derive(Debug)]
pub(super) struct Trouble {
    file: PathBuf,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    Told,
}

impl Trouble {
    pub(super) fn new(file: PathBuf) -> Self {
        let state = State::Fine;
        Self { file, state }
    }

    /// `what` fits after "cannot".
    pub(super) fn tell(&mut self, what: &str, error: &io::Error) {
        if self.state == State::Fine {
            self.state = State::Told;
            let file = self.file.display();
            tracing::error!(
                %file,
                %error,
                "cannot {what}; the agent runs on without it. Check the room on its disk, and the directory's permissions"
            );
        }
    }

    pub(super) fn over(&mut self) {
        if self.state == State::Told {
            self.state = State::Fine;
            tracing::info!(file = %self.file.display(), "the agent's log is whole again, from here on");
        }
    }
}

/// A live file that the shim writes.
#[derive(Debug)]
pub(super) struct LogFile {
    series: Series,
    open: Option<Open>,
    trouble: Trouble,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl LogFile {
    pub(super) fn new(series: Series) -> Self {
        let trouble = Trouble::new(series.live.clone());
        Self {
            series,
            open: None,
            trouble,
        }
    }

    /// Writes a chunk, or loses it.
    pub(super) fn take(&mut self, chunk: &[u8]) {
        match self.write(chunk) {
            Ok(()) => self.trouble.over(),
            Err(error) => {
                // Whatever it was, the next chunk finds the file as it is then.
                self.open = None;
                self.trouble.tell("write what the agent writes", &error);
            }
        }
    }

    /// Where a file is full, lines stay whole if they can.
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let max_bytes = self.series.max_bytes;
            let open = self.opened()?;
            let room = usize::try_from(max_bytes.saturating_sub(open.bytes)).unwrap_or(usize::MAX);
            let (fits, beyond) = rest.split_at(split(rest, room, open.bytes));
            open.file.write_all(fits)?;
            open.bytes += fits.len() as u64;
            if !beyond.is_empty() {
                self.open = None;
                self.series.retire(&self.series.live)?;
            }
            rest = beyond;
        }
        Ok(())
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                self.series.tidy()?;
                let file = self.series.open()?;
                let bytes = file.metadata()?.len();
                Open { file, bytes }
            }
        };
        Ok(self.open.insert(open))
    }
}

/// How much of `bytes` goes into a file that has room for so much, and holds `held` bytes: what ends with a line; a line
/// that no file can hold is cut.
fn split(bytes: &[u8], room: usize, held: u64) -> usize {
    if bytes.len() <= room {
        return bytes.len();
    }
    let head = bytes.get(..room).unwrap_or_default();
    match head.iter().rposition(|byte| *byte == b'\n') {
        Some(end_of_line) => end_of_line + 1,
        None if held > 0 => 0,
        None => room,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 64 << 10;

    fn series(dir: &Path, old_files: u16) -> Series {
        let dir = dir.to_owned();
        let files = LogFiles {
            dir,
            max_bytes: MAX,
            old_files,
        };
        files.series("stdout.log")
    }

    fn read(path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap_or_default()
    }

    #[test]
    fn files_are_rotated_between_lines() {
        let dir = tempfile::tempdir().expect("a folder");
        let series = series(dir.path(), 3);
        let all: Vec<u8> = (0..40_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let mut written = 0;
        for chunk in all.chunks(7919) {
            // As with each start of a shim.
            LogFile::new(series.clone()).take(chunk);
            written += chunk.len();
            let live = read(&series.live);
            assert!(!live.is_empty() && live.len() as u64 <= MAX);
            assert!(all.get(..written).is_some_and(|so_far| so_far.ends_with(&live)));
        }
        let names: Vec<PathBuf> = (1..=3).rev().map(|number| series.old(number)).collect();
        let mut kept = Vec::new();
        for old in names.iter().chain([&series.live]) {
            let bytes = read(old);
            assert!(bytes.len() as u64 <= MAX);
            assert_eq!(bytes.first(), Some(&b'l'), "whole lines");
            kept.extend(bytes);
        }
        assert!(all.ends_with(&kept));
        assert!(kept.len() as u64 > 3 * (MAX - 8000));
        assert_eq!(read(&series.old(4)), b"");
    }

    #[test]
    fn a_line_that_no_file_can_hold_is_cut() {
        let dir = tempfile::tempdir().expect("a folder");
        let series = series(dir.path(), 2);
        let mut file = LogFile::new(series.clone());
        file.take(b"short\n");
        file.take(&[b'x'; 100_000]);
        assert_eq!(read(&series.old(2)), b"short\n");
        assert_eq!(
            (read(&series.old(1)).len() as u64, read(&series.live).len()),
            (MAX, 100_000 - 65_536)
        );
    }

    #[test]
    fn fewer_old_files_are_kept_when_fewer_are_wanted() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in [
            "stdout.log.1",
            "stdout.log.2",
            "stdout.log.9",
            "stdout.log.mine",
            "stderr.log.9",
        ] {
            std::fs::write(dir.path().join(name), name).expect("written");
        }
        let mut file = LogFile::new(series(dir.path(), 1));
        file.take(b"x");
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).expect("there").collect();
        left.sort_by_key(|entry| entry.as_ref().map(std::fs::DirEntry::file_name).unwrap_or_default());
        let left: Vec<_> = left.into_iter().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["stderr.log.9", "stdout.log", "stdout.log.1", "stdout.log.mine"]);
        let none = series(dir.path(), 0);
        LogFile::new(none.clone()).take(&vec![b'\n'; 65_537]);
        assert!(!none.old(1).exists());
    }
}
