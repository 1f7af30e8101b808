//! The one thread that writes: it makes a batch durable, and says so.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use rekindle_server_core::record::Record;
use tokio::sync::mpsc;

use crate::store::{Store, StoreError};

/// Hands batches to the committing thread, one at a time, and hears of their end.
pub struct Committer {
    batches: SyncSender<Vec<Record>>,
    done: mpsc::Receiver<Result<Vec<Record>, StoreError>>,
}

impl Committer {
    /// Starts the thread. It ends with the committer.
    pub fn start(store: Arc<dyn Store>) -> std::io::Result<Self> {
        // The driver has at most one batch under way.
        let (batches, next) = sync_channel::<Vec<Record>>(1);
        let (report, done) = mpsc::channel(1);
        std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || {
                while let Ok(batch) = next.recv() {
                    let result = store.commit(&batch).map(|()| batch);
                    let failed = result.is_err();
                    if report.blocking_send(result).is_err() || failed {
                        return;
                    }
                }
            })?;
        Ok(Self { batches, done })
    }

    /// Begins a commit. The one before must have ended.
    pub fn begin(&self, batch: Vec<Record>) {
        // A thread that has ended is told of by `ended`.
        let _ = self.batches.try_send(batch);
    }

    /// Waits for the commit's end: what is durable now, or why nothing more ever will be.
    pub async fn ended(&mut self) -> Result<Vec<Record>, CommitError> {
        match self.done.recv().await {
            Some(result) => result.map_err(CommitError::Store),
            None => Err(CommitError::ThreadEnded),
        }
    }
}

/// Why nothing more can be made durable. The server ends: there is no third way.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// The committing thread is gone.
    #[error("the committing thread has ended")]
    ThreadEnded,
}
