//! `e/` + sequence: one line of the durable history. Big endian, so that the keys' order is the log's.

use rekindle::id::Sequence;
use rekindle_server_core::event::Event;

use super::super::StoreError;
use super::{DecodeError, corrupt};

/// What the keys of events begin with.
pub(in super::super) const PREFIX: &[u8] = b"e/";

/// The key of an event.
pub(in super::super) fn key(sequence: Sequence) -> Vec<u8> {
    key_of_number(sequence.get())
}

/// The key of the event with this number.
pub(in super::super) fn key_of_number(number: u64) -> Vec<u8> {
    [PREFIX, &number.to_be_bytes()].concat()
}

/// The event that a key is of.
pub(in super::super) fn sequence_of(key: &[u8]) -> Result<Sequence, StoreError> {
    let number = key.strip_prefix(PREFIX).and_then(|rest| rest.try_into().ok());
    match number {
        Some(bytes) => Ok(Sequence::new(u64::from_be_bytes(bytes))),
        None => Err(corrupt(key, DecodeError::Key { expected: "an event" })),
    }
}

/// The value of an event.
pub(in super::super) fn encode(event: &Event) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(event)
}

/// The event that is stored under this key.
pub(in super::super) fn decode(key: &[u8], value: &[u8]) -> Result<Event, StoreError> {
    super::decode_under(key, value, |event: &Event| self::key(event.sequence))
}

#[cfg(test)]
mod tests {
    use super::super::super::sample;
    use super::super::arbitrary;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(event in arbitrary::event()) {
            let key = key(event.sequence);
            prop_assert_eq!(sequence_of(&key).expect("it is an event's"), event.sequence);
            let value = encode(&event).expect("every event has an encoding");
            prop_assert_eq!(decode(&key, &value).expect("what was encoded is valid"), event);
        }

        #[test]
        fn keys_are_in_the_order_of_the_log(a: u64, b: u64) {
            prop_assert_eq!(key_of_number(a).cmp(&key_of_number(b)), a.cmp(&b));
        }
    }

    #[test]
    fn format() {
        let event = sample::event(258);
        let value = String::from_utf8(encode(&event).expect("it has an encoding")).expect("JSON is UTF-8");
        insta::assert_snapshot!(value, @r#"{"sequence":258,"time":1795435200000000000,"kind":"AgentReady","agent":"planner-1","incarnation":1,"message":"planner-1 is ready","attributes":{"pid":"4711"}}"#);
        assert_eq!(key(event.sequence), b"e/\0\0\0\0\0\0\x01\x02");
    }

    #[test]
    fn a_key_of_another_form_is_refused() {
        for bad in [&b"e/"[..], b"e/1234567", b"e/123456789", b"a/12345678"] {
            let error = sequence_of(bad).expect_err("it is not an event's");
            assert!(error.to_string().contains(&bad.escape_ascii().to_string()), "{error}");
        }
    }
}
