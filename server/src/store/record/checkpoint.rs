//! `c/{agent}/{checkpoint}`: what changes of a checkpoint; `f/{agent}/{checkpoint}`: its fields; `b/{agent}/{checkpoint}/` + the
//! part, one byte: its body, in parts that each fit a value.
//!
//! Fields and body are written once. The fields have a value of their own, as those that take the most room in JSON fill one.

use std::sync::Arc;

use rekindle::checkpoint::{BODY_MAX_BYTES, Checkpoint, CheckpointFields, CheckpointId};
use rekindle::id::AgentId;
use rekindle_server_core::checkpoint::CheckpointRecord;

use super::super::StoreError;
use super::parts::PART_BYTES;
use super::{DecodeError, corrupt};

/// Most parts of one body.
const PARTS_MAX: u8 = 4;

const _: () = assert!(
    BODY_MAX_BYTES <= PART_BYTES * PARTS_MAX as usize,
    "a body fits its parts"
);

/// What the keys of checkpoints begin with.
pub(in super::super) const PREFIX: &[u8] = b"c/";

/// The key of a checkpoint.
pub(in super::super) fn key(agent: &AgentId, id: CheckpointId) -> Vec<u8> {
    under(PREFIX, agent, id)
}

/// The key of a checkpoint's fields.
pub(in super::super) fn fields_key(agent: &AgentId, id: CheckpointId) -> Vec<u8> {
    under(b"f/", agent, id)
}

fn body_key(agent: &AgentId, id: CheckpointId, part: u8) -> Vec<u8> {
    [&under(b"b/", agent, id)[..], b"/", &[part]].concat()
}

fn under(prefix: &[u8], agent: &AgentId, id: CheckpointId) -> Vec<u8> {
    [prefix, agent.as_str().as_bytes(), b"/", id.to_string().as_bytes()].concat()
}

/// The value of a checkpoint.
pub(in super::super) fn encode(checkpoint: &CheckpointRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(checkpoint)
}

/// The value of a checkpoint's fields.
pub(in super::super) fn encode_fields(fields: &CheckpointFields) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(fields)
}

/// The checkpoint that is stored under this key, with its fields, which `get` looks up.
pub(in super::super) fn decode(
    key: &[u8],
    value: &[u8],
    get: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<CheckpointRecord, StoreError> {
    let head = super::decode_under(key, value, |checkpoint: &CheckpointRecord| {
        self::key(&checkpoint.agent, checkpoint.id)
    })?;
    let key = fields_key(&head.agent, head.id);
    let stored = get(&key)?.ok_or_else(|| corrupt(&key, DecodeError::Missing))?;
    let fields = serde_json::from_slice(&stored).map_err(|error| corrupt(&key, DecodeError::Value(error)))?;
    Ok(CheckpointRecord {
        fields: Arc::new(fields),
        ..head
    })
}

/// The parts of a checkpoint's body.
pub(in super::super) fn body_writes<'a>(
    agent: &'a AgentId,
    checkpoint: &'a Checkpoint,
) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + 'a {
    let parts = checkpoint.body.as_bytes().chunks(PART_BYTES);
    (0..PARTS_MAX)
        .zip(parts)
        .map(move |(part, bytes)| (body_key(agent, checkpoint.id, part), Some(bytes.to_vec())))
}

/// The keys that a checkpoint may have.
pub(in super::super) fn keys(agent: &AgentId, id: CheckpointId) -> impl Iterator<Item = Vec<u8>> {
    let body = (0..PARTS_MAX).map(move |part| body_key(agent, id, part));
    [key(agent, id), fields_key(agent, id)].into_iter().chain(body)
}

/// Reads a body from its parts; empty where there is none.
pub(in super::super) fn read_body(
    agent: &AgentId,
    id: CheckpointId,
    mut get: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Vec<u8>, StoreError> {
    let mut body = Vec::new();
    for part in 0..PARTS_MAX {
        match get(&body_key(agent, id, part))? {
            Some(more) => body.extend(more),
            None => break,
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::super::super::{VALUE_MAX_BYTES, sample};
    use super::super::arbitrary;
    use super::*;
    use proptest::prelude::*;

    fn stored(fields: &CheckpointFields) -> impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = encode_fields(fields).expect("they have an encoding");
        |_| Ok(Some(value))
    }

    proptest! {
        #[test]
        fn keys_are_as_distinct_as_checkpoints(
            a in (arbitrary::agent_id(), arbitrary::checkpoint_id()),
            b in (arbitrary::agent_id(), arbitrary::checkpoint_id()),
        ) {
            prop_assert_eq!(key(&a.0, a.1) == key(&b.0, b.1), a == b);
            let keys = |of: &(AgentId, CheckpointId)| keys(&of.0, of.1).collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(!keys(&a).is_disjoint(&keys(&b)), a == b);
        }

        #[test]
        fn round_trip(checkpoint in arbitrary::checkpoint()) {
            let key = key(&checkpoint.agent, checkpoint.id);
            prop_assert!(key.starts_with(PREFIX));
            let value = encode(&checkpoint).expect("every checkpoint has an encoding");
            let decoded = decode(&key, &value, stored(&checkpoint.fields)).expect("what was encoded is valid");
            prop_assert_eq!(decoded, checkpoint);
        }
    }

    #[test]
    fn format() {
        let checkpoint = sample::checkpoint("planner-1", "7.3");
        let value = String::from_utf8(encode(&checkpoint).expect("it has an encoding")).expect("JSON is UTF-8");
        insta::assert_snapshot!(value, @r#"{"agent":"planner-1","id":"7.3","body_bytes":4,"saved":1795435200000000000,"standing":"Open","flags":{"unclean":true,"in_flight":["000000000000000000000000000000000000000000000000000000000000001"]},"crashes":1,"read":{"by":8,"crashes":0},"confirmed_by":null}"#);
        let fields = String::from_utf8(encode_fields(&checkpoint.fields).expect("an encoding")).expect("JSON is UTF-8");
        insta::assert_snapshot!(fields, @r#"{"task_id":"e-1","issue":"","workspace":"","branch":"","stage":"","memory_refs":[],"values":{"step":"3"}}"#);
        assert_eq!(key(&checkpoint.agent, checkpoint.id), b"c/planner-1/7.3");
        assert_eq!(fields_key(&checkpoint.agent, checkpoint.id), b"f/planner-1/7.3");
        assert_eq!(body_key(&checkpoint.agent, checkpoint.id, 1), b"b/planner-1/7.3/\x01");
    }

    #[test]
    fn the_largest_checkpoint_fits() {
        let largest = sample::largest_checkpoint();
        let head = encode(&largest).expect("it has an encoding");
        let fields = encode_fields(&largest.fields).expect("they have an encoding");
        assert!(head.len() <= VALUE_MAX_BYTES, "{} bytes", head.len());
        assert!(fields.len() <= VALUE_MAX_BYTES, "{} bytes", fields.len());
        assert!(
            fields.len() > VALUE_MAX_BYTES / 10 * 9,
            "the sample is not the largest: {}",
            fields.len()
        );
    }

    #[test]
    fn what_is_not_whole_is_refused_by_key() {
        let checkpoint = sample::checkpoint("planner-1", "7.3");
        let value = encode(&checkpoint).expect("it has an encoding");
        let failed = |key: &[u8], found: Option<&[u8]>| {
            let found = found.map(<[u8]>::to_vec);
            let error = decode(key, &value, |_| Ok(found)).expect_err("it is not whole");
            let source = std::error::Error::source(&error).expect("a source").to_string();
            format!("{error}: {source}")
        };
        assert!(failed(b"c/planner-1/7.4", Some(b"{}")).contains("belongs under the key \"c/planner-1/7.3\""));
        let missing = failed(b"c/planner-1/7.3", None);
        assert!(
            missing.contains("f/planner-1/7.3") && missing.contains("is missing"),
            "{missing}"
        );
        assert!(failed(b"c/planner-1/7.3", Some(b"{\"stage\":7}")).contains("not a valid record"));
    }
}
