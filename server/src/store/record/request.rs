//! `r/{agent}/{request}`: what is known of an operator's request. An agent's id has no `/`, so that the key is read in
//! one way only.

use rekindle::id::{AgentId, RequestId};
use rekindle_server_core::record::RequestRecord;

use super::super::StoreError;

/// What the keys of requests begin with.
pub(in super::super) const PREFIX: &[u8] = b"r/";

/// The key of a request.
pub(in super::super) fn key(agent: &AgentId, id: &RequestId) -> Vec<u8> {
    [PREFIX, agent.as_str().as_bytes(), b"/", id.as_str().as_bytes()].concat()
}

/// The value of a request.
pub(in super::super) fn encode(request: &RequestRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(request)
}

/// The request that is stored under this key.
pub(in super::super) fn decode(key: &[u8], value: &[u8]) -> Result<RequestRecord, StoreError> {
    super::decode_under(key, value, |request: &RequestRecord| {
        self::key(&request.agent, &request.id)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::sample;
    use super::super::arbitrary;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(request in arbitrary::request()) {
            let key = key(&request.agent, &request.id);
            prop_assert!(key.starts_with(PREFIX));
            let value = encode(&request).expect("every request has an encoding");
            prop_assert_eq!(decode(&key, &value).expect("what was encoded is valid"), request);
        }

        #[test]
        fn keys_are_as_distinct_as_requests(a in arbitrary::request(), b in arbitrary::request()) {
            let same = (&a.agent, &a.id) == (&b.agent, &b.id);
            prop_assert_eq!(key(&a.agent, &a.id) == key(&b.agent, &b.id), same);
        }
    }

    #[test]
    fn format() {
        let request = sample::request("planner-1", "5b3f");
        let value = String::from_utf8(encode(&request).expect("it has an encoding")).expect("JSON is UTF-8");
        insta::assert_snapshot!(value, @r#"{"agent":"planner-1","id":"5b3f","time":1795435200000000000,"kind":"Restart","target":2,"previous_state":"Crashed","fate":"Open"}"#);
        assert_eq!(key(&request.agent, &request.id), b"r/planner-1/5b3f");
    }
}
