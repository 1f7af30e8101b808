//! The fake: a store whose disk is a map, and whose failures are ordered by the test.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rekindle::checkpoint::CheckpointId;
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Sequence};
use rekindle_server_core::event::Event;
use rekindle_server_core::record::{Record, Records};

use super::poison::Poison;
use super::span::Span;
use super::write_set::WriteSet;
use super::{SCHEMA_VERSION, Store, StoreDescription, StoreError, Text, record};

/// What survives a store: the store that a dead server's successor opens on it has all that was committed.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    span: Span,
    next_fault: Option<Fault>,
    reads: Reads,
}

/// Whether texts can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Reads {
    #[default]
    Succeed,
    Fail,
}

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of it is durable.
    Lost,
    /// All of it is durable, and its caller is told that it failed.
    Written,
}

/// How a text is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// It is not there.
    Gone,
    /// It is no text.
    Garbled,
}

impl MemoryDisk {
    /// A store on this disk.
    pub(crate) fn open(&self) -> MemoryStore {
        MemoryStore {
            disk: self.clone(),
            poison: Poison::default(),
        }
    }

    /// The next commit fails like this.
    pub(crate) fn fail_next_commit(&self, fault: Fault) {
        self.lock().next_fault = Some(fault);
    }

    /// No text can be read from here on.
    pub(crate) fn fail_reads(&self) {
        self.lock().reads = Reads::Fail;
    }

    /// The message of an execution is like this from here on.
    pub(crate) fn damage_message(&self, agent: &AgentId, id: &ExecutionId, damage: Damage) {
        let mut disk = self.lock();
        for (key, value) in record::body::writes(agent, id, Text::Message, "x") {
            match damage {
                Damage::Gone => _ = disk.durable.remove(&key),
                Damage::Garbled => _ = disk.durable.insert(key, value.map_or_else(Vec::new, |_| vec![0xff])),
            }
        }
    }

    /// A part of the body of a checkpoint is gone from here on.
    pub(crate) fn damage_checkpoint(&self, agent: &AgentId, id: CheckpointId) {
        let mut disk = self.lock();
        let parts = record::checkpoint::keys(agent, id).filter(|key| key.starts_with(b"b/"));
        let last = parts.filter(|key| disk.durable.contains_key(key)).last();
        assert!(
            last.and_then(|key| disk.durable.remove(&key)).is_some(),
            "it has a body"
        );
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store in memory.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    disk: MemoryDisk,
    poison: Poison,
}

impl MemoryStore {
    fn try_commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        let set = WriteSet::encode(batch, disk.span)?;
        let fault = disk.next_fault.take();
        if fault != Some(Fault::Lost) {
            for (key, value) in set.writes {
                match value {
                    Some(value) => disk.durable.insert(key, value),
                    None => disk.durable.remove(&key),
                };
            }
            disk.span = set.span;
        }
        match fault {
            None => Ok(()),
            Some(Fault::Lost | Fault::Written) => Err(ordered("write to")),
        }
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Records, StoreError> {
        self.poison.check()?;
        let disk = self.disk.lock();
        let texts = disk
            .durable
            .iter()
            .filter(|(key, _)| key.starts_with(record::workflow_text::PREFIX));
        let texts = texts.map(|(key, value)| record::workflow_text::decode(key, value));
        let (workflow_messages, fire_payloads) = record::workflow_text::gather(texts.collect::<Result<_, _>>()?)?;
        let under = |prefix: &'static [u8]| disk.durable.iter().filter(move |(key, _)| key.starts_with(prefix));
        Ok(Records {
            agents: under(record::agent::PREFIX)
                .map(|(key, value)| record::agent::decode(key, value))
                .collect::<Result<_, _>>()?,
            requests: under(record::request::PREFIX)
                .map(|(key, value)| record::request::decode(key, value))
                .collect::<Result<_, _>>()?,
            executions: under(record::execution::PREFIX)
                .map(|(key, value)| record::execution::decode(key, value))
                .collect::<Result<_, _>>()?,
            checkpoints: under(record::checkpoint::PREFIX)
                .map(|(key, value)| record::checkpoint::decode(key, value, |key| Ok(disk.durable.get(key).cloned())))
                .collect::<Result<_, _>>()?,
            hosts: under(record::host::PREFIX)
                .map(|(key, value)| record::host::decode(key, value))
                .collect::<Result<_, _>>()?,
            workflows: under(record::workflow::PREFIX)
                .map(|(key, value)| record::workflow::decode(key, value))
                .collect::<Result<_, _>>()?,
            workflow_messages,
            fire_payloads,
            events: disk.span.ends(),
        })
    }

    fn commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        self.poison.check()?;
        self.try_commit(batch).inspect_err(|error| self.poison.set(error))
    }

    fn events(&self, after: Sequence, through: Sequence, limit: usize) -> Result<Vec<Event>, StoreError> {
        let disk = self.disk.lock();
        match keys_between(after, through) {
            Some(keys) => disk
                .durable
                .range(keys)
                .take(limit)
                .map(|(key, value)| record::event::decode(key, value))
                .collect(),
            None => Ok(Vec::new()),
        }
    }

    fn text(&self, agent: &AgentId, id: &ExecutionId, text: Text) -> Result<String, StoreError> {
        let disk = self.disk.lock();
        record::body::read(agent, id, text, |key| match disk.reads {
            Reads::Succeed => Ok(disk.durable.get(key).cloned()),
            Reads::Fail => Err(ordered("read")),
        })
    }

    fn checkpoint_body(&self, agent: &AgentId, id: CheckpointId) -> Result<Vec<u8>, StoreError> {
        let disk = self.disk.lock();
        record::checkpoint::read_body(agent, id, |key| match disk.reads {
            Reads::Succeed => Ok(disk.durable.get(key).cloned()),
            Reads::Fail => Err(ordered("read")),
        })
    }

    fn describe(&self) -> Result<StoreDescription, StoreError> {
        let disk = self.disk.lock();
        let bytes: usize = disk.durable.iter().map(|(key, value)| key.len() + value.len()).sum();
        Ok(StoreDescription {
            backend: "memory",
            schema_version: SCHEMA_VERSION,
            size_bytes: bytes as u64,
        })
    }
}

/// The failure that a test ordered.
fn ordered(action: &'static str) -> StoreError {
    StoreError::Io {
        action,
        path: PathBuf::from("memory"),
        source: io::Error::other("the test ordered it"),
    }
}

fn keys_between(after: Sequence, through: Sequence) -> Option<RangeInclusive<Vec<u8>>> {
    (after < through).then(|| record::event::key(after.next())..=record::event::key(through))
}
