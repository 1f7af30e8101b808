//! sled as this store uses it: opened with its settings, written durably, and read.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::OpenError;
use super::directory::{io_error, sync_directory};
use crate::store::record::schema::{self, Schema};
use crate::store::span::Span;
use crate::store::{StoreError, VALUE_MAX_BYTES, record};

/// sled's log, with all data.
const LOG: &str = "db";
/// sled's settings.
const SETTINGS: &str = "conf";
/// Where sled puts what does not fit its log.
const BLOBS: &str = "blobs";

/// What sled may keep in memory of its pages. The driver reads nothing back but events, so that the least that was
/// measured is plenty.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// sled's unit of space. A quarter of it holds the largest leaf.
const SEGMENT_BYTES: usize = 8 * 1024 * 1024;

/// Most entries of a leaf: sled splits one with more than 16 at the next visit, and a merge adds fewer than 4.
const LEAF_ENTRIES_MAX: usize = 16 + 1 + 3;

/// Room for an entry's key and for the lengths around it.
const ENTRY_OVERHEAD_MAX_BYTES: usize = 512;

const _: () = assert!(
    LEAF_ENTRIES_MAX * (VALUE_MAX_BYTES + ENTRY_OVERHEAD_MAX_BYTES) < SEGMENT_BYTES / 4 - 64,
    "a leaf of the largest values must fit a quarter of a segment, or sled writes it to a file of its own"
);

/// An open sled, and what makes it durable.
#[derive(Debug)]
pub(super) struct Engine {
    db: sled::Db,
    /// sled's log file. Open for as long as the store is: a failed write-back is reported to a descriptor that was open
    /// when it happened (fsync(2)).
    log: File,
    path: PathBuf,
}

impl Engine {
    /// Opens sled in a folder, which it fills if it is empty.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let db = open_sled(path)?;
        let log = path.join(LOG);
        Ok(Self {
            db,
            log: File::open(&log).map_err(io_error("open", &log))?,
            path: path.to_owned(),
        })
    }

    /// The format of what is stored; `None` where nothing of ours is.
    pub(super) fn schema(&self) -> Result<Option<Schema>, StoreError> {
        let stored = self.db.get(schema::KEY).map_err(|error| self.failed("read", error))?;
        stored.map(|value| schema::decode(&value)).transpose()
    }

    /// Stores the format of what will be stored, where nothing is yet. Not durable by itself.
    pub(super) fn begin(&self, schema: Schema) -> Result<(), StoreError> {
        let inserted = self.db.insert(schema::KEY, schema::encode(schema));
        inserted.map(drop).map_err(|error| self.failed("write to", error))
    }

    /// Whether sled holds nothing at all.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        let first = self.db.first().map_err(|error| self.failed("read", error))?;
        Ok(first.is_none())
    }

    /// Makes sled's files themselves durable: their names, and its settings.
    pub(super) fn sync_files(&self) -> Result<(), OpenError> {
        let settings = self.path.join(SETTINGS);
        let synced = File::open(&settings).and_then(|file| file.sync_all());
        synced.map_err(io_error("fsync", &settings))?;
        sync_directory(&self.path)
    }

    /// Applies writes as one atomic batch, and makes them durable.
    pub(super) fn write(&self, writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db
            .apply_batch(batch)
            .map_err(|error| self.failed("write to", error))?;
        self.make_durable()
    }

    /// Makes durable what sled has in memory and in its log.
    pub(super) fn make_durable(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.failed("write to", error))?;
        self.log.sync_data().map_err(|source| StoreError::Io {
            action: "fdatasync",
            path: self.path.join(LOG),
            source,
        })?;
        let path = self.path.join(BLOBS);
        match path.read_dir() {
            Ok(mut blobs) => match blobs.next() {
                None => Ok(()),
                Some(_) => Err(StoreError::BlobWritten { path }),
            },
            Err(source) => Err(StoreError::Io {
                action: "list",
                path,
                source,
            }),
        }
    }

    /// The log's ends, as sled has them in memory.
    pub(super) fn span(&self) -> Result<Span, StoreError> {
        let mut keys = self.db.scan_prefix(record::event::PREFIX).keys();
        let end = |key: Option<sled::Result<sled::IVec>>| {
            key.map(|key| record::event::sequence_of(&key.map_err(|error| self.failed("read", error))?))
                .transpose()
        };
        let oldest = end(keys.next())?;
        // With one event the iterator is at its end on both sides.
        let newest = end(keys.next_back())?.or(oldest);
        Ok(Span::new(oldest.zip(newest)))
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db.get(key).map_err(|error| self.failed("read", error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// All values under a prefix, in the order of their keys.
    pub(super) fn decode_under<T>(
        &self,
        prefix: &[u8],
        decode: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.decode(self.db.scan_prefix(prefix), decode).collect()
    }

    /// The values of a range of keys, in their order, read as they are asked for.
    pub(super) fn decode_range<T>(
        &self,
        keys: RangeInclusive<Vec<u8>>,
        decode: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> impl Iterator<Item = Result<T, StoreError>> {
        self.decode(self.db.range(keys), decode)
    }

    fn decode<T>(
        &self,
        items: sled::Iter,
        decode: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> impl Iterator<Item = Result<T, StoreError>> {
        items.map(move |item| {
            let (key, value) = item.map_err(|error| self.failed("read", error))?;
            decode(&key, &value)
        })
    }

    /// What sled takes on disk.
    pub(super) fn size_bytes(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(|error| self.failed("measure", error))
    }

    /// sled's folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, action: &'static str, error: sled::Error) -> StoreError {
        let path = self.path.clone();
        match error {
            sled::Error::Io(source) => StoreError::Io { action, path, source },
            source @ (sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Corruption { .. }) => StoreError::Engine { action, path, source },
        }
    }
}

fn open_sled(path: &Path) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new()
        .path(path)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None);
    // sled panics over some kinds of damage that others of its checks report.
    let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
    let path = path.to_owned();
    match opened {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(source))) => Err(OpenError::Io {
            action: "open sled's files in",
            path,
            source,
        }),
        Ok(Err(source)) => Err(OpenError::Engine { path, source }),
        Err(panic) => Err(OpenError::Panicked {
            path,
            message: panic_message(&*panic),
        }),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
