//! `h/` + the host's key as JSON: which boots of a host are over. A name and an id may hold any character; JSON keeps them
//! apart.

use rekindle_server_core::host::{HostKey, HostRecord};

use super::super::StoreError;

/// What the keys of hosts begin with.
pub(in super::super) const PREFIX: &[u8] = b"h/";

/// The key of a host.
pub(in super::super) fn key(host: &HostKey) -> Vec<u8> {
    let json = serde_json::to_vec(host).expect("texts and numbers have an encoding");
    [PREFIX, &json].concat()
}

/// The value of a host.
pub(in super::super) fn encode(host: &HostRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(host)
}

/// The host that is stored under this key.
pub(in super::super) fn decode(key: &[u8], value: &[u8]) -> Result<HostRecord, StoreError> {
    super::decode_under(key, value, |host: &HostRecord| self::key(&host.key))
}

#[cfg(test)]
mod tests {
    use super::super::super::sample;
    use super::super::arbitrary;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(host in arbitrary::host_record()) {
            let key = key(&host.key);
            prop_assert!(key.starts_with(PREFIX));
            let value = encode(&host).expect("every host has an encoding");
            prop_assert_eq!(decode(&key, &value).expect("what was encoded is valid"), host);
        }

        #[test]
        fn keys_are_as_distinct_as_hosts(a in arbitrary::host_record(), b in arbitrary::host_record()) {
            prop_assert_eq!(key(&a.key) == key(&b.key), a.key == b.key);
        }
    }

    #[test]
    fn format() {
        let host = sample::host("h1", 2);
        let value = String::from_utf8(encode(&host).expect("it has an encoding")).expect("JSON is UTF-8");
        insta::assert_snapshot!(value, @r#"{"key":{"Machine":{"name":"h1","machine_id":"m1"}},"boot_id":"00000000-0000-0000-0000-000000000002","over":["00000000-0000-0000-0000-000000000066"]}"#);
        assert_eq!(key(&host.key), br#"h/{"Machine":{"name":"h1","machine_id":"m1"}}"#);
    }
}
