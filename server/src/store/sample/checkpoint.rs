//! Checkpoints, a plain one and the largest that the vocabulary allows.

use std::sync::Arc;

use rekindle::checkpoint::{
    Checkpoint, CheckpointBody, CheckpointDraft, CheckpointFields, CheckpointId, ClosedBy, FIELDS_MAX_BYTES, Flags,
    IN_FLIGHT_MAX, Standing, VALUE_MAX_BYTES,
};
use rekindle::id::{AGENT_ID_MAX_BYTES, AgentId, Incarnation};
use rekindle_server_core::checkpoint::{CheckpointRecord, Reading};
use rekindle_server_core::record::Record;

use super::{NOON, longest_execution_id};

/// A checkpoint that is open.
pub(in super::super) fn checkpoint(agent: &str, id: &str) -> CheckpointRecord {
    CheckpointRecord {
        agent: AgentId::new(agent).expect("a valid id"),
        id: id.parse().expect("a valid id"),
        fields: Arc::new(fields("e-1", [("step", "3".to_owned())])),
        body_bytes: 4,
        saved: NOON,
        standing: Standing::Open,
        flags: Flags::unclean([longest_execution_id(1)]),
        crashes: 1,
        read: Some(Reading {
            by: Incarnation::new(8),
            crashes: 0,
        }),
        confirmed_by: None,
    }
}

/// What a checkpoint says, with this body.
pub(in super::super) fn content(record: &CheckpointRecord, body: Vec<u8>) -> Record {
    let checkpoint = Checkpoint {
        id: record.id,
        fields: (*record.fields).clone(),
        body: CheckpointBody::new(body).expect("within its limit"),
        saved: record.saved,
    };
    Record::CheckpointContent {
        agent: record.agent.clone(),
        checkpoint: Arc::new(checkpoint),
    }
}

fn fields<const N: usize>(task: &str, values: [(&str, String); N]) -> CheckpointFields {
    let draft = CheckpointDraft {
        task_id: task.to_owned(),
        values: values.map(|(key, value)| (key.to_owned(), value)).into(),
        ..CheckpointDraft::default()
    };
    CheckpointFields::new(draft).expect("within its limits")
}

/// A checkpoint whose every text is as long as it may be, of characters that take the most room in JSON.
pub(in super::super) fn largest_checkpoint() -> CheckpointRecord {
    let value = "\u{1}".repeat(VALUE_MAX_BYTES);
    let last = value[..FIELDS_MAX_BYTES - 3 * (VALUE_MAX_BYTES + 1) - 1].to_owned();
    let values = [("a", value.clone()), ("b", value.clone()), ("c", value), ("d", last)];
    CheckpointRecord {
        agent: AgentId::new(&"a".repeat(AGENT_ID_MAX_BYTES)).expect("a valid id"),
        id: CheckpointId::new(Incarnation::new(u64::MAX), u32::MAX),
        fields: Arc::new(fields("", values)),
        body_bytes: u64::MAX,
        standing: Standing::Closed(ClosedBy::Agent),
        flags: Flags::unclean((0..).map(longest_execution_id).take(IN_FLIGHT_MAX)),
        crashes: u32::MAX,
        read: Some(Reading {
            by: Incarnation::new(u64::MAX),
            crashes: u32::MAX,
        }),
        confirmed_by: Some(Incarnation::new(u64::MAX)),
        ..checkpoint("planner-1", "7.3")
    }
}

/// As one change of a batch.
pub(in super::super) fn put_checkpoint(checkpoint: CheckpointRecord) -> Record {
    Record::Checkpoint(Arc::new(checkpoint))
}
