//! `x/{agent}/{execution}`: what is durable of an execution but for its texts, which [`super::body`] has.

use rekindle::execution::ExecutionId;
use rekindle::id::AgentId;
use rekindle_server_core::execution::ExecutionRecord;

use super::super::StoreError;

/// What the keys of executions begin with.
pub(in super::super) const PREFIX: &[u8] = b"x/";

/// The key of an execution.
pub(in super::super) fn key(agent: &AgentId, id: &ExecutionId) -> Vec<u8> {
    [PREFIX, agent.as_str().as_bytes(), b"/", id.as_str().as_bytes()].concat()
}

/// The value of an execution.
pub(in super::super) fn encode(execution: &ExecutionRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(execution)
}

/// The execution that is stored under this key.
pub(in super::super) fn decode(key: &[u8], value: &[u8]) -> Result<ExecutionRecord, StoreError> {
    super::decode_under(key, value, |execution: &ExecutionRecord| {
        self::key(&execution.agent, &execution.id)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::{VALUE_MAX_BYTES, sample};
    use super::super::arbitrary;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_as_distinct_as_executions(
            a in (arbitrary::agent_id(), arbitrary::execution_id()),
            b in (arbitrary::agent_id(), arbitrary::execution_id()),
        ) {
            prop_assert_eq!(key(&a.0, &a.1) == key(&b.0, &b.1), a == b);
        }

        #[test]
        fn round_trip(execution in arbitrary::execution()) {
            let key = key(&execution.agent, &execution.id);
            let value = encode(&execution).expect("every execution has an encoding");
            prop_assert_eq!(decode(&key, &value).expect("what was encoded is valid"), execution);
        }
    }

    #[test]
    fn format() {
        let execution = sample::execution("planner-1", "e-1");
        let value = String::from_utf8(encode(&execution).expect("it has an encoding")).expect("JSON is UTF-8");
        insta::assert_snapshot!(value, @r#"{"agent":"planner-1","id":"e-1","uid":"01920000-0000-7000-8000-000000000002","revision":4,"state":"Running","ending":null,"priority":1,"order":7,"timeout":{"secs":300,"nanos":0},"start_by":null,"attempt":1,"given_to":{"marker":"00000000-0000-0000-0000-000000000001","boot":"00000000-0000-0000-0000-000000000002","incarnation":3,"after":4},"given_before":null,"process":{"incarnation":3,"identity":{"boot_id":"00000000-0000-0000-0000-000000000002","pid":4711,"pidfd_inode":99,"start_time_ticks":5,"start_time":1795435200000000000},"host":"h1"},"times":{"created":1795435200000000000,"dispatched":1795435200000000000,"accepted":1795435200000000000,"started":1795435200000000000,"ended":null,"closed":null},"failure":null,"output":{"kept":0,"dropped":0},"request":"r-1","redrive_of":null,"redriven_as":null}"#);
        assert_eq!(key(&execution.agent, &execution.id), b"x/planner-1/e-1");
    }

    #[test]
    fn the_largest_execution_fits() {
        let value = encode(&sample::largest_execution()).expect("it has an encoding");
        assert!(value.len() <= VALUE_MAX_BYTES, "{} bytes", value.len());
    }

    #[test]
    fn what_is_of_another_execution_is_refused_by_key() {
        let execution = sample::execution("planner-1", "e-1");
        let value = encode(&execution).expect("it has an encoding");
        let error = decode(b"x/planner-1/e-2", &value).expect_err("it is not that one");
        let source = std::error::Error::source(&error).expect("a source").to_string();
        assert!(source.contains("belongs under the key \"x/planner-1/e-1\""), "{source}");
    }
}
