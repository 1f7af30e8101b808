//! The directory of the state files: what is written there for the agent, and what of it is read.
//!
//! It is the agent's own, so that a file there can be replaced by rename(2); nothing that the agent puts there is followed,
//! and nothing is read but a file of its user, of a bounded length.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use rekindle::state_file::FILE_MAX_BYTES;
use rustix::fs::OFlags;
use rustix::process::{Uid, geteuid};

use crate::state_dir::checksum;

/// In the directory of the agent's socket.
const DIRECTORY: &str = "state";

/// What is about to be a state file, beside the directory: nobody sees half of it, and nothing that the agent's directory is
/// watched for happens in it.
const UNDER_WAY: &str = "state.new";

/// Begins the names of the notes of what is known of a state file.
const KNOWN: &str = "known.";

/// Files of the directory that are looked at: more than there can be messages at work, several times over.
const LISTED_MAX: usize = 1024;

/// Of the directory and its files.
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// See above.
#[derive(Debug)]
pub(super) struct Dir {
    /// The shim's: that of the agent's socket.
    home: PathBuf,
    path: PathBuf,
    /// Whose its files are, where that is not the shim's user.
    other: Option<Uid>,
}

/// Why a state file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it cannot be read: {0}")]
    Failed(#[from] io::Error),
    #[error("it is no regular file; write one, or rename one to its name")]
    NoFile,
    #[error("it belongs to user {0}, and not to the agent's")]
    Foreign(u32),
    #[error("it has {0} bytes, and at most {FILE_MAX_BYTES} are read")]
    TooLarge(u64),
}

/// What tells a file that was replaced or written from what it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([i64; 6]);

/// Tells one content from another; not from one that was made to be taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(checksum(0, bytes))
    }
}

impl Dir {
    /// Beside the socket, whose directory is there.
    pub(super) fn new(home: &Path, other: Option<Uid>) -> Self {
        Self {
            home: home.to_owned(),
            path: home.join(DIRECTORY),
            other,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, where it is not there.
    pub(super) fn make(&self) -> io::Result<()> {
        match DirBuilder::new().mode(PRIVATE_DIR).create(&self.path) {
            Ok(()) => {
                fs::set_permissions(&self.path, Permissions::from_mode(PRIVATE_DIR))?;
                // Its own directory is the shim's, so that nobody can have put something else there.
                chown(&self.path, self.other.map(Uid::as_raw), None)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let found = fs::symlink_metadata(&self.path)?;
        if found.is_dir() && found.uid() == self.owner() {
            return Ok(());
        }
        let problem = "something else has the name of the directory of the agent's state files";
        Err(io::Error::new(io::ErrorKind::AlreadyExists, problem))
    }

    fn owner(&self) -> u32 {
        self.other.unwrap_or_else(geteuid).as_raw()
    }

    /// Puts a file there that nobody has opened. Whoever watches the directory sees neither a write nor a move by that.
    pub(super) fn hand(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let under_way = self.home.join(UNDER_WAY);
        remove(&under_way)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(&under_way)?;
        let put = file
            .write_all(content)
            .and_then(|()| fchown(&file, self.other.map(Uid::as_raw), None))
            .and_then(|()| self.remove(name))
            .and_then(|()| fs::hard_link(&under_way, self.path.join(name)));
        remove(&under_way)?;
        put
    }

    /// The bytes of a file; `None` where there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        // Who opens a named pipe must not wait for its other end.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(self.path.join(name));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(Unreadable::NoFile);
            }
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(Unreadable::NoFile);
        }
        if found.uid() != self.owner() {
            return Err(Unreadable::Foreign(found.uid()));
        }
        if found.len() > FILE_MAX_BYTES as u64 {
            return Err(Unreadable::TooLarge(found.len()));
        }
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > FILE_MAX_BYTES {
            return Err(Unreadable::TooLarge(bytes.len() as u64));
        }
        Ok(Some(bytes))
    }

    /// As the file is at this moment; `None` where there is none.
    pub(super) fn stamp(&self, name: &str) -> Option<Stamp> {
        let found = fs::symlink_metadata(self.path.join(name)).ok()?;
        let (inode, size) = (found.ino().cast_signed(), found.size().cast_signed());
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
        Some(Stamp([inode, size, mtime, mtime_nsec, ctime, ctime_nsec]))
    }

    /// Names of what is there; none of a directory that is not.
    pub(super) fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return Vec::new();
        };
        let names = entries.flatten().take(LISTED_MAX);
        names.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Takes a file away, where it is there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        remove(&self.path.join(name))
    }

    /// Takes a file away, and what is noted of it.
    pub(super) fn forget(&self, name: &str) {
        // What stays is taken away before a later life begins.
        let _ = self.remove(name);
        let _ = remove(&self.note(name));
    }

    /// Takes the directory away, unless something is in it.
    pub(super) fn remove_if_empty(&self) {
        let _ = fs::remove_dir(&self.path);
    }

    /// Notes that this content is no news: the shim has put it there, or has it.
    pub(super) fn know(&self, name: &str, digest: Digest) {
        if let Err(error) = fs::write(self.note(name), format!("{:016x}\n", digest.0)) {
            tracing::warn!(%error, name, "cannot note what is known of the agent's state file; the next shim reads it again");
        }
    }

    /// What was noted.
    pub(super) fn known(&self, name: &str) -> Option<Digest> {
        let note = File::open(self.note(name)).ok()?;
        let mut text = String::new();
        note.take(64).read_to_string(&mut text).ok()?;
        u64::from_str_radix(text.strip_suffix('\n')?, 16).ok().map(Digest)
    }

    fn note(&self, name: &str) -> PathBuf {
        self.home.join(format!("{KNOWN}{name}"))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn dir() -> (tempfile::TempDir, Dir) {
        let home = tempfile::tempdir().expect("a folder");
        let dir = Dir::new(home.path(), None);
        dir.make().expect("made");
        (home, dir)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("is there").mode() & 0o777
    }

    #[test]
    fn what_is_handed_is_read_and_nobody_elses() {
        let (home, dir) = dir();
        dir.make().expect("it is there");
        for content in [&b"one"[..], b"", b"another"] {
            dir.hand("7.json", content).expect("handed");
            assert_eq!(dir.read("7.json").expect("read").as_deref(), Some(content));
        }
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(mode(&dir.path().join("7.json")), 0o600);
        assert_eq!(dir.names(), ["7.json"]);
        assert!(!home.path().join(UNDER_WAY).exists());
        assert!(dir.read("8.json").expect("read").is_none());
    }

    #[test]
    fn what_is_known_is_forgotten_with_the_file() {
        let (_home, dir) = dir();
        dir.hand("7.json", b"{}").expect("handed");
        assert_eq!(dir.known("7.json"), None);
        dir.know("7.json", Digest::of(b"{}"));
        assert_eq!(dir.known("7.json"), Some(Digest::of(b"{}")));
        assert_ne!(Digest::of(b"{}"), Digest::of(b"{ }"));
        fs::write(dir.note("7.json"), "0123").expect("written");
        assert_eq!(dir.known("7.json"), None, "half a note");
        dir.forget("7.json");
        assert_eq!((dir.names(), dir.known("7.json")), (Vec::new(), None));
        dir.remove_if_empty();
        assert!(!dir.path().exists());
    }

    #[test]
    fn nothing_is_followed_and_nothing_waited_for() {
        let (home, dir) = dir();
        let secret = home.path().join("secret");
        fs::write(&secret, "secret").expect("written");
        symlink(&secret, dir.path().join("link")).expect("made");
        assert!(matches!(dir.read("link"), Err(Unreadable::NoFile)));
        fs::create_dir(dir.path().join("dir")).expect("made");
        assert!(matches!(dir.read("dir"), Err(Unreadable::NoFile)));
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
        assert!(matches!(dir.read("pipe"), Err(Unreadable::NoFile)));
        let large = File::create(dir.path().join("large")).expect("made");
        large.set_len(FILE_MAX_BYTES as u64 + 1).expect("long");
        assert!(matches!(dir.read("large"), Err(Unreadable::TooLarge(_))));
    }

    #[test]
    fn a_file_of_another_user_is_not_the_agents() {
        if !geteuid().is_root() {
            return crate::socket::tests::skip("files of another user need root");
        }
        let home = tempfile::tempdir().expect("a folder");
        let somebody = Uid::from_raw(65_533);
        let dir = Dir::new(home.path(), Some(somebody));
        dir.make().expect("made");
        dir.hand("7.json", b"{}").expect("handed");
        for path in [dir.path().to_owned(), dir.path().join("7.json")] {
            assert_eq!(fs::metadata(path).expect("is there").uid(), somebody.as_raw());
        }
        assert!(dir.read("7.json").expect("read").is_some());
        // As a hard link to a file of somebody else would be.
        fs::write(dir.path().join("8.json"), "{}").expect("written");
        assert!(matches!(dir.read("8.json"), Err(Unreadable::Foreign(0))));
    }
}
