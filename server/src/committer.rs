//! The one thread that writes: it makes a batch durable, and says so.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use rekindle_server_core::record::Record;
use tokio::sync::mpsc;

use crate::store::{Store, StoreError};

/// Longest commit. Cloud volumes stall for tens of seconds and come back; past this an operator must look.
const COMMIT_LIMIT: Duration = Duration::from_secs(60);

/// Hands batches to the committing thread, one at a time, and hears of their end.
pub struct Committer {
    batches: SyncSender<Vec<Record>>,
    done: mpsc::Receiver<Result<Vec<Record>, StoreError>>,
    limit: tokio::time::Instant,
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
        Ok(Self {
            batches,
            done,
            limit: tokio::time::Instant::now(),
        })
    }

    /// Begins a commit. The one before must have ended.
    pub fn begin(&mut self, batch: Vec<Record>) {
        self.limit = tokio::time::Instant::now() + COMMIT_LIMIT;
        // A thread that has ended is told of by `ended`.
        let _ = self.batches.try_send(batch);
    }

    /// Time in which this process did not run is not the disk's.
    pub fn extend(&mut self, gap: Duration) {
        self.limit += gap;
    }

    /// Waits for the commit's end: what is durable now, or why nothing more ever will be. Can be dropped and called
    /// again.
    pub async fn ended(&mut self) -> Result<Vec<Record>, CommitError> {
        match tokio::time::timeout_at(self.limit, self.done.recv()).await {
            Ok(Some(result)) => result.map_err(CommitError::Store),
            Ok(None) => Err(CommitError::Panicked),
            Err(_elapsed) => Err(CommitError::Stuck(COMMIT_LIMIT)),
        }
    }
}

/// Why nothing more can be made durable. The server ends: there is no third way.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// The store panicked; what it said is on stderr.
    #[error("the store panicked while it committed")]
    Panicked,
    /// The disk does not answer.
    #[error("the disk has not finished a commit within {0:?}; check it")]
    Stuck(Duration),
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use rekindle::checkpoint::CheckpointId;
    use rekindle::execution::ExecutionId;
    use rekindle::id::{AgentId, Sequence};
    use rekindle_server_core::event::Event;
    use rekindle_server_core::record::Records;

    use super::*;
    use crate::store::memory::MemoryDisk;
    use crate::store::{StoreDescription, Text};

    /// A store whose commits wait for a word that never comes, and panic when the test hangs up.
    struct HungStore(Mutex<Receiver<()>>);

    impl Store for HungStore {
        fn load(&self) -> Result<Records, StoreError> {
            MemoryDisk::default().open().load()
        }

        fn commit(&self, _batch: &[Record]) -> Result<(), StoreError> {
            let word = self.0.lock().map(|words| words.recv());
            panic!("the test ordered it: {word:?}");
        }

        fn events(&self, _after: Sequence, _through: Sequence, _limit: usize) -> Result<Vec<Event>, StoreError> {
            Ok(Vec::new())
        }

        fn text(&self, _agent: &AgentId, _id: &ExecutionId, _text: Text) -> Result<String, StoreError> {
            Ok(String::new())
        }

        fn checkpoint_body(&self, _agent: &AgentId, _id: CheckpointId) -> Result<Vec<u8>, StoreError> {
            Ok(Vec::new())
        }

        fn describe(&self) -> Result<StoreDescription, StoreError> {
            MemoryDisk::default().open().describe()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_never_ends_is_given_up_and_a_panic_is_told() {
        let (hang_up, words) = channel();
        let mut committer = Committer::start(Arc::new(HungStore(Mutex::new(words)))).expect("a thread");
        committer.begin(Vec::new());
        // Nothing else runs, so that the paused clock goes straight to the limit.
        assert!(matches!(committer.ended().await, Err(CommitError::Stuck(_))));
        drop(hang_up);
        let done = committer.done.recv().await;
        assert!(done.is_none(), "the thread has ended, and said nothing");
    }
}
