//! A batch as keys and values: the one place where records become what a backend stores.

use std::collections::BTreeMap;

use rekindle_server_core::checkpoint::CheckpointRecord;
use rekindle_server_core::record::Record;

use super::span::Span;
use super::{StoreError, Text, record};

/// Most bytes of one stored value. An agent's record with all its labels and the last lines of both streams stays
/// below it even if every character needs an escape in JSON, so that no agent's output can stop the server.
pub const VALUE_MAX_BYTES: usize = 101 * 1024;

/// What one batch changes: per key the last word that the batch has on it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WriteSet {
    /// The value of a key, or its removal.
    pub(super) writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The log after the batch.
    pub(super) span: Span,
}

impl WriteSet {
    /// Encodes a batch that follows a log of this span, and checks every limit.
    pub(super) fn encode(batch: &[Record], span: Span) -> Result<Self, StoreError> {
        let mut set = Self {
            writes: BTreeMap::new(),
            span,
        };
        for record in batch {
            set.add(record)?;
        }
        Ok(set)
    }

    fn add(&mut self, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Agent(agent) => self.put(record::agent::key(&agent.id), record::agent::encode(agent), || {
                agent.id.name()
            }),
            Record::AgentDeleted(id) => {
                self.writes.insert(record::agent::key(id), None);
                Ok(())
            }
            Record::Event(event) => {
                self.span.append(event.sequence)?;
                self.put(record::event::key(event.sequence), record::event::encode(event), || {
                    format!("event {}", event.sequence)
                })
            }
            Record::EventsTrimmed { through } => {
                let gone = self.span.trim(*through)?;
                let keys = gone.into_iter().flatten().map(record::event::key_of_number);
                self.writes.extend(keys.map(|key| (key, None)));
                Ok(())
            }
            Record::Request(request) => self.put(
                record::request::key(&request.agent, &request.id),
                record::request::encode(request),
                || format!("request {:?} to {}", request.id.as_str(), request.agent.name()),
            ),
            Record::Execution(execution) => self.put(
                record::execution::key(&execution.agent, &execution.id),
                record::execution::encode(execution),
                || execution.id.name(&execution.agent),
            ),
            Record::ExecutionMessage { agent, id, text } => {
                self.writes.extend(record::body::writes(agent, id, Text::Message, text));
                Ok(())
            }
            Record::ExecutionOutput { agent, id, text } => {
                self.writes.extend(record::body::writes(agent, id, Text::Output, text));
                Ok(())
            }
            Record::ExecutionForgotten { agent, id } => {
                self.writes.insert(record::execution::key(agent, id), None);
                self.writes.extend(record::body::keys(agent, id).map(|key| (key, None)));
                Ok(())
            }
            Record::Checkpoint(checkpoint) => {
                let CheckpointRecord { agent, id, .. } = &**checkpoint;
                self.put(
                    record::checkpoint::key(agent, *id),
                    record::checkpoint::encode(checkpoint),
                    || id.name(agent),
                )
            }
            Record::CheckpointContent { agent, checkpoint } => {
                self.writes.extend(record::checkpoint::body_writes(agent, checkpoint));
                self.put(
                    record::checkpoint::fields_key(agent, checkpoint.id),
                    record::checkpoint::encode_fields(&checkpoint.fields),
                    || checkpoint.id.name(agent),
                )
            }
            Record::CheckpointForgotten { agent, id } => {
                self.writes
                    .extend(record::checkpoint::keys(agent, *id).map(|key| (key, None)));
                Ok(())
            }
            Record::RequestForgotten { agent, id } => {
                self.writes.insert(record::request::key(agent, id), None);
                Ok(())
            }
            Record::Workflow(workflow) => self.put(
                record::workflow::key(&workflow.id),
                record::workflow::encode(workflow),
                || workflow.id.name(),
            ),
            Record::WorkflowMessage { id, text } => {
                self.writes.extend(record::workflow_text::message_writes(id, text));
                Ok(())
            }
            Record::FirePayload { id, fire, text } => {
                self.writes
                    .extend(record::workflow_text::payload_writes(id, *fire, text));
                Ok(())
            }
            Record::FirePayloadForgotten { id, fire } => {
                let keys = record::workflow_text::payload_keys(id, *fire);
                self.writes.extend(keys.map(|key| (key, None)));
                Ok(())
            }
            Record::WorkflowDeleted(id) => {
                self.writes.insert(record::workflow::key(id), None);
                let keys = record::workflow_text::message_keys(id);
                self.writes.extend(keys.map(|key| (key, None)));
                Ok(())
            }
            Record::Host(host) => self.put(record::host::key(&host.key), record::host::encode(host), || {
                format!("host {}", host.key.name())
            }),
            Record::HostForgotten(host) => {
                self.writes.insert(record::host::key(host), None);
                Ok(())
            }
        }
    }

    fn put(
        &mut self,
        key: Vec<u8>,
        value: Result<Vec<u8>, serde_json::Error>,
        record: impl Fn() -> String,
    ) -> Result<(), StoreError> {
        let value = value.map_err(|source| StoreError::Encode {
            record: record(),
            source,
        })?;
        if value.len() > VALUE_MAX_BYTES {
            return Err(StoreError::RecordTooLarge {
                record: record(),
                bytes: value.len(),
                limit: VALUE_MAX_BYTES,
            });
        }
        self.writes.insert(key, Some(value));
        Ok(())
    }
}
