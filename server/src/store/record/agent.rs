//! `a/{agent}`: what is durable of one agent.

use rekindle::id::AgentId;
use rekindle_server_core::record::AgentRecord;

use super::super::StoreError;

/// What the keys of agents begin with.
pub(in super::super) const PREFIX: &[u8] = b"a/";

/// The key of an agent.
pub(in super::super) fn key(id: &AgentId) -> Vec<u8> {
    [PREFIX, id.as_str().as_bytes()].concat()
}

/// The value of an agent.
pub(in super::super) fn encode(agent: &AgentRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(agent)
}

/// The agent that is stored under this key.
pub(in super::super) fn decode(key: &[u8], value: &[u8]) -> Result<AgentRecord, StoreError> {
    super::decode_under(key, value, |agent: &AgentRecord| self::key(&agent.id))
}

#[cfg(test)]
mod tests {
    use super::super::super::{VALUE_MAX_BYTES, sample};
    use super::super::arbitrary;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(agent in arbitrary::agent()) {
            let key = key(&agent.id);
            prop_assert!(key.starts_with(PREFIX));
            let value = encode(&agent).expect("every agent has an encoding");
            prop_assert_eq!(decode(&key, &value).expect("what was encoded is valid"), agent);
        }

        #[test]
        fn keys_are_as_distinct_as_agents(a in arbitrary::agent_id(), b in arbitrary::agent_id()) {
            prop_assert_eq!(key(&a) == key(&b), a == b);
        }
    }

    #[test]
    fn format() {
        let agent = sample::agent("planner-1", 7);
        let value = String::from_utf8(encode(&agent).expect("it has an encoding")).expect("JSON is UTF-8");
        insta::assert_snapshot!(value, @r#"{"id":"planner-1","uid":"01920000-0000-7000-8000-000000000001","created":1795435200000000000,"updated":1795435200000000000,"revision":7,"labels":{"team":"search"},"labels_source":"Shim","policy":{"heartbeat_timeout":{"secs":180,"nanos":0},"message_timeout":{"secs":300,"nanos":0},"start_timeout":{"secs":60,"nanos":0},"stop_grace":{"secs":10,"nanos":0},"stop_signal":"Term","restart":"OnFailure","max_attempts":3,"cooldown":{"secs":60,"nanos":0},"backoff":null,"stable_after":{"secs":600,"nanos":0},"max_concurrent":1,"queue_limit":100,"max_deliveries":1,"on_restart":"Cancel","on_reboot":"Start","watchdog_timeout":null,"stall_timeout":null,"blocked_limit":{"secs":86400,"nanos":0},"exit_rules":[],"poison_after":2},"policy_source":"Shim","desired":"Running","state":"Running","reason":"FirstStart","state_since":1795435200000000000,"incarnation":1,"used_elsewhere":0,"given_up":0,"process":null,"epoch":1,"holder":null,"reports":null,"budget":{"attempts":0,"last_attempt":null},"recovering":false,"operation":null,"last_failure":null,"parked_until":null,"resume":null,"checkpoint_line":{"deleted":null,"begun":null,"begun_elsewhere":null}}"#);
        assert_eq!(key(&agent.id), b"a/planner-1");
    }

    /// What a server wrote that knew no executions, and no life without a process.
    const WITHOUT_WORK: &str = r#"{"id":"planner-1","uid":"01920000-0000-7000-8000-000000000001","created":1795435200000000000,"updated":1795435200000000000,"revision":7,"labels":{"team":"search"},"labels_source":"Shim","policy":{"heartbeat_timeout":{"secs":180,"nanos":0},"start_timeout":{"secs":60,"nanos":0},"stop_grace":{"secs":10,"nanos":0},"stop_signal":"Term","restart":"OnFailure","max_attempts":3,"cooldown":{"secs":60,"nanos":0},"backoff":null,"stable_after":{"secs":600,"nanos":0},"on_reboot":"Start","watchdog_timeout":null,"stall_timeout":null,"blocked_limit":{"secs":86400,"nanos":0},"exit_rules":[]},"policy_source":"Shim","desired":"Running","state":"Running","reason":"FirstStart","state_since":1795435200000000000,"incarnation":1,"used_elsewhere":0,"process":{"incarnation":1,"identity":{"boot_id":"00000000-0000-0000-0000-000000000002","pid":4711,"pidfd_inode":99,"start_time_ticks":5,"start_time":1795435200000000000},"host":"h1"},"epoch":1,"holder":null,"reports":null,"budget":{"attempts":0,"last_attempt":null},"recovering":false,"operation":{"kind":"Restart","target":1,"previous_state":"Running","reason":"deploy","grace":null},"last_failure":null,"parked_until":null,"resume":null}"#;

    #[test]
    fn an_agent_from_before_executions_is_read() {
        let agent = decode(b"a/planner-1", WITHOUT_WORK.as_bytes()).expect("it has what was needed");
        let process = agent.process.expect("it had one");
        assert_eq!(process.identity, Some(sample::identity_of(4711)));
        assert_eq!(agent.policy, rekindle::policy::AgentPolicy::default());
        assert_eq!(agent.operation.expect("it had one").cancels, []);
    }

    #[test]
    fn the_largest_agent_fits() {
        let value = encode(&sample::largest_agent()).expect("it has an encoding");
        assert!(value.len() <= VALUE_MAX_BYTES, "{} bytes", value.len());
        assert!(
            value.len() > VALUE_MAX_BYTES / 2,
            "the sample is not the largest: {}",
            value.len()
        );
    }

    #[test]
    fn what_is_not_an_agent_is_refused_by_key() {
        let agent = sample::agent("planner-1", 7);
        let value = encode(&agent).expect("it has an encoding");
        for (key, value, says) in [
            (&b"a/planner-2"[..], &value[..], "belongs under the key \"a/planner-1\""),
            (b"a/planner-1", &value[..value.len() - 1], "not a valid record"),
            (b"a/planner-1", b"{}", "not a valid record"),
        ] {
            let error = decode(key, value).expect_err("it is not the agent's");
            let source = std::error::Error::source(&error).expect("a source").to_string();
            assert!(error.to_string().contains(&*key.escape_ascii().to_string()), "{error}");
            assert!(source.contains(says), "{source}");
        }
    }

    #[test]
    fn decoding_validates() {
        let value = encode(&sample::agent("planner-1", 7)).expect("it has an encoding");
        let text = String::from_utf8(value).expect("JSON is UTF-8");
        let bad = text.replace("\"planner-1\"", "\"Planner 1\"");
        assert_ne!(bad, text);
        assert!(decode(b"a/Planner 1", bad.as_bytes()).is_err());
    }
}
