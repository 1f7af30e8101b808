//! Opening a store, and every reason not to.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

use rekindle::id::Sequence;

use super::directory::DataDirectory;
use super::engine::Engine;
use super::mark::Mark;
use crate::store::record::schema::Schema;
use crate::store::span::Span;
use crate::store::{SCHEMA_VERSION, StoreError, remedy};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path is something else than a directory.
    #[error("the data directory {} is not a directory; choose another with --data-dir", .path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory is in use by something else.
    #[error(
        "{} is no data directory of rekindle-server: it holds {found:?}; choose an empty directory with --data-dir",
        .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The first thing in it that is not ours, in the order of names.
        found: String,
    },
    /// Another server lives on the directory.
    #[error(
        "another rekindle-server{} uses the data directory {}; stop it, or choose another with --data-dir",
        show_process(.process),
        .path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other server's process id, where it could be read.
        process: Option<u32>,
    },
    /// The store was written by a newer server.
    #[error(
        "the store in {} has format {found}, and this rekindle-server reads format {SCHEMA_VERSION}: a newer release \
         wrote it; run that release, or choose another directory with --data-dir",
        .path.display()
    )]
    TooNew {
        /// sled's folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The store was written by an older server, and its format is no longer read.
    #[error(
        "the store in {} has format {found}, and this rekindle-server reads format {SCHEMA_VERSION}: an older release \
         wrote it; run that release, or choose another directory with --data-dir",
        .path.display()
    )]
    TooOld {
        /// sled's folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file system failed.
    #[error("cannot {action} {}{}", .path.display(), remedy(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// sled could not recover what it finds.
    #[error("sled cannot recover {}; restore the data directory from a backup", .path.display())]
    Engine {
        /// sled's folder.
        path: PathBuf,
        /// Why.
        source: sled::Error,
    },
    /// sled finds nothing where there was a store: it takes a log that it cannot read for an empty one.
    #[error(
        "sled finds no store in {}, although there was one: its files are damaged; restore the data directory from a \
         backup",
        .path.display()
    )]
    Lost {
        /// sled's folder.
        path: PathBuf,
    },
    /// sled finds less than was acknowledged: it takes a damaged spot in its log for the log's end.
    #[error(
        "sled finds the events through {found} in {}, although {noted} was acknowledged: its log is damaged; restore the \
         data directory from a backup, or remove {} to go on with what is left",
        .path.display(),
        .mark.display()
    )]
    RolledBack {
        /// sled's folder.
        path: PathBuf,
        /// The newest event that sled finds.
        found: Sequence,
        /// The newest event that was acknowledged.
        noted: Sequence,
        /// The file that says so.
        mark: PathBuf,
    },
    /// sled panicked over what it finds.
    #[error("sled panicked over {}: {message}; restore the data directory from a backup", .path.display())]
    Panicked {
        /// sled's folder.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// What sled recovered is not what this server stores, or could not be made durable.
    #[error("cannot use the store in {}", .path.display())]
    Unusable {
        /// sled's folder.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

fn show_process(process: &Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (process {process})"))
}

/// Opens sled in a claimed directory: its format is checked, and what it has recovered is made durable before anyone
/// sees it.
pub(super) fn open(directory: &DataDirectory) -> Result<(Engine, Span, Mark), OpenError> {
    let noted = Mark::read(&directory.mark())?;
    let path = directory.store();
    let engine = Engine::open(&path)?;
    let unusable = |source| OpenError::Unusable {
        path: path.clone(),
        source,
    };
    match (engine.schema().map_err(unusable)?, noted) {
        (Some(schema), _) => check(schema, &path)?,
        (None, None) if engine.is_empty().map_err(unusable)? => engine.begin(Schema::CURRENT).map_err(unusable)?,
        (None, _) => return Err(OpenError::Lost { path }),
    }
    let span = engine.span().map_err(unusable)?;
    if let Some(noted) = noted
        && span.newest() < noted
    {
        return Err(OpenError::RolledBack {
            path,
            found: span.newest(),
            noted,
            mark: directory.mark(),
        });
    }
    // A process that was killed before its fdatasync leaves writes in the kernel's memory. They are read here like
    // durable ones, so that they must become durable.
    engine.make_durable().map_err(unusable)?;
    engine.sync_files()?;
    let mark = Mark::begin(&directory.mark(), span.newest())?;
    directory.sync()?;
    Ok((engine, span, mark))
}

fn check(schema: Schema, path: &Path) -> Result<(), OpenError> {
    let (path, found) = (path.to_owned(), schema.version);
    match found.cmp(&SCHEMA_VERSION) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(OpenError::TooNew { path, found }),
        Ordering::Less => Err(OpenError::TooOld { path, found }),
    }
}
