//! The embedded store: sled 0.34, made durable by our own `fdatasync`.
//!
//! What sled does, and what follows from it (ADR 0001 has the numbers):
//!
//! - Its `flush` calls `sync_file_range(2)`, which does not make data durable. Each commit is apply, flush, `fdatasync`
//!   of its `db` file, and sled flushes nothing by a timer of its own.
//! - A page larger than a quarter of a segment goes to a file under `blobs/`, which nothing syncs. What counts is the
//!   page, not the value: a leaf has up to 17 entries before it is split, and is written as a whole. Segments are so
//!   large that a leaf full of the largest values fits, and a commit after which `blobs/` is not empty fails.
//! - On a full disk a commit fails with the file system's error, from `apply_batch` or from `flush`. After a failure in
//!   the middle of a page's write sled can wait for ever, for example in its `drop`. So a failed store is never asked
//!   again and never dropped; its caller gives up on a commit that does not return.
//! - A panic in a thread of sled ends the process where panics abort, as in the release profile. Where they unwind, it
//!   ends the thread that commits, or leaves it waiting.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rekindle::checkpoint::CheckpointId;
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Sequence};
use rekindle_server_core::event::Event;
use rekindle_server_core::record::{Record, Records};

use self::directory::DataDirectory;
use self::engine::Engine;
use self::mark::Mark;
use super::poison::Poison;
use super::span::Span;
use super::write_set::WriteSet;
use super::{SCHEMA_VERSION, Store, StoreDescription, StoreError, Text, record};

mod directory;
mod engine;
mod mark;
mod open;

#[cfg(test)]
pub(super) mod tests;

pub use open::OpenError;

/// A store in a data directory, which it has for itself alone as long as it lives.
///
/// ```text
/// {data-dir}/        mode 0700
///   lock             flock(2) of the server that lives; holds its process id, for people
///   newest-event     the newest event that was acknowledged, against damage that sled does not see
///   store/           sled's own: conf, db, blobs/ (always empty)
/// ```
#[derive(Debug)]
pub struct SledStore {
    engine: Arc<Engine>,
    mark: Mark,
    /// The durable part of the log. Readers see nothing beyond it, although sled has it in memory before.
    durable: Mutex<Span>,
    /// Held by who commits or loads.
    turn: Mutex<()>,
    poison: Poison,
    /// Held, not used.
    _directory: DataDirectory,
}

impl SledStore {
    /// Opens the store in a data directory, which is created where it is missing.
    ///
    /// # Errors
    /// Each names the directory, and says what to do.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let directory = DataDirectory::claim(data_dir)?;
        let (engine, span, mark) = open::open(&directory)?;
        Ok(Self {
            engine: Arc::new(engine),
            mark,
            durable: Mutex::new(span),
            turn: Mutex::new(()),
            poison: Poison::default(),
            _directory: directory,
        })
    }

    fn try_commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        let WriteSet { writes, span } = WriteSet::encode(batch, self.durable())?;
        if writes.is_empty() {
            return Ok(());
        }
        let result = self.engine.write(writes).and_then(|()| self.mark.note(span.newest()));
        match result {
            Ok(()) => *self.durable.lock().unwrap_or_else(PoisonError::into_inner) = span,
            // sled's drop flushes, and after a failure it can wait for ever: it is left to the process's end.
            Err(_) => std::mem::forget(Arc::clone(&self.engine)),
        }
        result
    }

    fn panicked(&self) -> StoreError {
        StoreError::Panicked {
            path: self.engine.path().to_owned(),
        }
    }

    fn durable(&self) -> Span {
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SledStore {
    fn load(&self) -> Result<Records, StoreError> {
        // While a batch is being written, sled shows what is not durable.
        let _turn = self.turn.lock().map_err(|_| self.panicked())?;
        self.poison.check()?;
        let engine = &self.engine;
        let texts = engine.decode_under(record::workflow_text::PREFIX, record::workflow_text::decode)?;
        let (workflow_messages, fire_payloads) = record::workflow_text::gather(texts)?;
        Ok(Records {
            agents: engine.decode_under(record::agent::PREFIX, record::agent::decode)?,
            requests: engine.decode_under(record::request::PREFIX, record::request::decode)?,
            executions: engine.decode_under(record::execution::PREFIX, record::execution::decode)?,
            checkpoints: engine.decode_under(record::checkpoint::PREFIX, |key, value| {
                record::checkpoint::decode(key, value, |key| engine.get(key))
            })?,
            hosts: engine.decode_under(record::host::PREFIX, record::host::decode)?,
            workflows: engine.decode_under(record::workflow::PREFIX, record::workflow::decode)?,
            workflow_messages,
            fire_payloads,
            events: self.durable().ends(),
        })
    }

    fn commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        let _turn = self.turn.lock().map_err(|_| self.panicked())?;
        self.poison.check()?;
        self.try_commit(batch).inspect_err(|error| self.poison.set(error))
    }

    fn events(&self, after: Sequence, through: Sequence, limit: usize) -> Result<Vec<Event>, StoreError> {
        let through = through.min(self.durable().newest());
        let mut events: Vec<Event> = Vec::new();
        if after >= through {
            return Ok(events);
        }
        let keys = record::event::key(after.next())..=record::event::key(through);
        for event in self.engine.decode_range(keys, record::event::decode).take(limit) {
            let event = event?;
            // A commit that trims the log while it is read takes its oldest lines: what was read of them goes too.
            if events.last().is_some_and(|last| last.sequence.next() != event.sequence) {
                events.clear();
            }
            events.push(event);
        }
        Ok(events)
    }

    fn text(&self, agent: &AgentId, id: &ExecutionId, text: Text) -> Result<String, StoreError> {
        let _turn = match text {
            // Written once, with its execution, of which nobody hears before both are durable: no batch is waited for.
            Text::Message => None,
            // As in `load`.
            Text::Output => Some(self.turn.lock().map_err(|_| self.panicked())?),
        };
        self.poison.check()?;
        record::body::read(agent, id, text, |key| self.engine.get(key))
    }

    fn checkpoint_body(&self, agent: &AgentId, id: CheckpointId) -> Result<Vec<u8>, StoreError> {
        // Written once, as a message is. One that is being forgotten lacks parts, and is not as long as its record says.
        self.poison.check()?;
        record::checkpoint::read_body(agent, id, |key| self.engine.get(key))
    }

    fn describe(&self) -> Result<StoreDescription, StoreError> {
        Ok(StoreDescription {
            backend: "sled 0.34",
            schema_version: SCHEMA_VERSION,
            size_bytes: self.engine.size_bytes()?,
        })
    }
}
