//! The data directory: created, told from others' directories, and locked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::OpenError;

/// sled's folder.
const STORE: &str = "store";
/// The file of the [`Mark`](super::mark::Mark).
const MARK: &str = "newest-event";
/// The file that is locked.
const LOCK: &str = "lock";
/// What `mkfs` puts into the root of a file system, which makes a fine data directory.
const LOST_AND_FOUND: &str = "lost+found";

/// A data directory that no other server can use as long as this lives.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    /// Its flock(2) ends when it is closed.
    _lock: File,
}

impl DataDirectory {
    /// Creates the directory where it is missing, refuses it where it is not ours, and locks it.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        create_directories(path)?;
        refuse_foreign(path)?;
        let lock = lock(path)?;
        create_directory(&path.join(STORE))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Makes the directory and its entries durable.
    pub(super) fn sync(&self) -> Result<(), OpenError> {
        sync_directory(&self.path)?;
        match sync_directory(parent_of(&self.path)) {
            // Who may not read the parent cannot have created the directory here: that ends with the parent's fsync.
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    }

    /// sled's folder in it.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// The file of the mark.
    pub(super) fn mark(&self) -> PathBuf {
        self.path.join(MARK)
    }
}

/// Makes a directory's entries durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), OpenError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error("fsync", path))
}

/// The directory that a directory's entry is in.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Creates a directory and what is missing above it, each durably, for its owner alone.
fn create_directories(path: &Path) -> Result<(), OpenError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty())
        .take_while(|ancestor| matches!(ancestor.try_exists(), Ok(false)))
        .collect();
    missing.into_iter().rev().try_for_each(create_directory)?;
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotADirectory { path: path.to_owned() }),
        Err(source) => Err(io_error("open the data directory", path)(source)),
    }
}

/// Creates a directory whose parent exists.
fn create_directory(path: &Path) -> Result<(), OpenError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(parent_of(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_error("create the directory", path)(error)),
    }
}

/// Refuses a directory that holds anything but what a server puts there; an empty one is ours to take.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    let names = list(path)?;
    let is_ours = names.iter().any(|name| name == LOCK);
    let foreign = names.iter().find(|name| match name.as_str() {
        LOCK | LOST_AND_FOUND => false,
        STORE | MARK => !is_ours,
        _ => true,
    });
    // With both in place an operator's file beside them does no harm.
    let complete = is_ours && names.iter().any(|name| name == STORE);
    if let (Some(found), false) = (foreign, complete) {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
            found: found.clone(),
        });
    }
    Ok(())
}

fn list(path: &Path) -> Result<Vec<String>, OpenError> {
    let names = fs::read_dir(path).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names = names.map_err(io_error("list", path))?;
    names.sort();
    Ok(names)
}

/// Locks the directory by a file of our own: sled's lock alone says neither what it guards nor who holds it.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder);
            return Err(OpenError::InUse {
                path: directory.to_owned(),
                process: read.ok().and_then(|_| holder.trim().parse().ok()),
            });
        }
        Err(error) => return Err(io_error("lock", &path)(error.into())),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(io_error("write to", &path))?;
    Ok(file)
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        action,
        path: path.clone(),
        source,
    }
}
