//! What is sled's alone: refusals at the door, damage, kills and full disks.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekindle::checkpoint::CheckpointId;
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Sequence};
use rekindle_server_core::event::Event;
use rekindle_server_core::record::{Record, Records};
use tempfile::TempDir;

use super::{OpenError, SledStore};
use crate::store::{Store, StoreDescription, StoreError, Text};

mod damage;
mod directory;
mod full_disk;
mod kill;
mod workload;

/// A folder that is gone after the test, with the data directory in it.
#[derive(Debug, Clone)]
pub(in crate::store) struct SledFolder(Arc<TempDir>);

impl Default for SledFolder {
    fn default() -> Self {
        Self(Arc::new(tempfile::tempdir().expect("a temporary folder")))
    }
}

impl SledFolder {
    fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Opens the store.
    pub(in crate::store) fn open(&self) -> SledInFolder {
        SledInFolder {
            store: open_again(&self.data_dir()),
            _folder: self.clone(),
        }
    }
}

/// A store whose folder outlives it.
pub(in crate::store) struct SledInFolder {
    store: SledStore,
    _folder: SledFolder,
}

impl Deref for SledInFolder {
    type Target = SledStore;

    fn deref(&self) -> &SledStore {
        &self.store
    }
}

impl Store for SledInFolder {
    fn load(&self) -> Result<Records, StoreError> {
        self.store.load()
    }

    fn commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        self.store.commit(batch)
    }

    fn events(&self, after: Sequence, through: Sequence, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.store.events(after, through, limit)
    }

    fn text(&self, agent: &AgentId, id: &ExecutionId, text: Text) -> Result<String, StoreError> {
        self.store.text(agent, id, text)
    }

    fn checkpoint_body(&self, agent: &AgentId, id: CheckpointId) -> Result<Vec<u8>, StoreError> {
        self.store.checkpoint_body(agent, id)
    }

    fn describe(&self) -> Result<StoreDescription, StoreError> {
        self.store.describe()
    }
}

/// Writes what no record is the encoding of.
fn plant(store: &SledStore, key: &[u8], value: &[u8]) {
    let writes = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
    store.engine.write(writes).expect("written");
}

/// Opens a store whose predecessor in this process has just gone.
///
/// Its locks may outlive it for a moment: sled's threads still hold its file, and so does a child that another test has
/// forked, until its exec.
fn open_result(data_dir: &Path) -> Result<SledStore, OpenError> {
    const LIMIT: Duration = Duration::from_secs(10);
    let start = Instant::now();
    loop {
        match SledStore::open(data_dir) {
            Err(OpenError::InUse { .. } | OpenError::Io { .. }) if start.elapsed() < LIMIT => std::thread::yield_now(),
            result => return result,
        }
    }
}

fn open_again(data_dir: &Path) -> SledStore {
    open_result(data_dir).expect("the store is whole")
}
