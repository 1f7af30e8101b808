//! `w/{workflow}`: what is durable of a workflow but for its message and what its fires have brought, which
//! [`super::workflow_text`] has.

use rekindle::workflow::WorkflowId;
use rekindle_server_core::workflow::WorkflowRecord;

use super::super::StoreError;

/// What the keys of workflows begin with.
pub(in super::super) const PREFIX: &[u8] = b"w/";

/// The key of a workflow.
pub(in super::super) fn key(id: &WorkflowId) -> Vec<u8> {
    [PREFIX, id.as_str().as_bytes()].concat()
}

/// The value of a workflow.
pub(in super::super) fn encode(workflow: &WorkflowRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(workflow)
}

/// The workflow that is stored under this key.
pub(in super::super) fn decode(key: &[u8], value: &[u8]) -> Result<WorkflowRecord, StoreError> {
    super::decode_under(key, value, |workflow: &WorkflowRecord| self::key(&workflow.id))
}

#[cfg(test)]
mod tests {
    use super::super::super::{VALUE_MAX_BYTES, sample};
    use super::super::arbitrary;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(workflow in arbitrary::workflow()) {
            let key = key(&workflow.id);
            let value = encode(&workflow).expect("every workflow has an encoding");
            prop_assert_eq!(decode(&key, &value).expect("what was encoded is valid"), workflow);
        }
    }

    #[test]
    fn format() {
        let workflow = sample::workflow("nightly");
        let value = String::from_utf8(encode(&workflow).expect("it has an encoding")).expect("JSON is UTF-8");
        insta::assert_snapshot!(value, @r#"{"id":"nightly","uid":"01920000-0000-7000-8000-000000000003","revision":2,"created":1795435200000000000,"updated":1795435200000000000,"spec":{"agent":"planner-1","enabled":true,"trigger":"Webhook","timeout":null,"misfire":"Once","overlap":"Queue","expires_after":null},"toggled":1795435200000000000,"message_bytes":5,"secret":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"request":null,"fired":7,"through":1795435200000000000,"pending":[{"number":7,"key":"k-1","at":1795435200000000000,"source":"Webhook","misfired":"No","hops":0,"payload_bytes":3}],"last_error":null}"#);
        assert_eq!(key(&workflow.id), b"w/nightly");
    }

    #[test]
    fn the_largest_workflow_fits_its_value() {
        let value = encode(&sample::largest_workflow()).expect("it has an encoding");
        assert!(value.len() <= VALUE_MAX_BYTES, "{}", value.len());
    }
}
