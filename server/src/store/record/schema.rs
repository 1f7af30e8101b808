//! `m/schema`: which format the rest is in.

use serde::{Deserialize, Serialize};

use super::super::StoreError;
use super::{DecodeError, corrupt};

/// The format that this server reads and writes. Raised when what an older server stored can no longer be read as it
/// is, or an older server could misread what this one stores; a new field with a default does neither.
pub const SCHEMA_VERSION: u32 = 1;

/// The key of the schema.
pub(in super::super) const KEY: &[u8] = b"m/schema";

/// Which format a store is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Schema {
    /// The format's version.
    pub(in super::super) version: u32,
}

impl Schema {
    /// The format that this server reads and writes.
    pub(in super::super) const CURRENT: Self = Self {
        version: SCHEMA_VERSION,
    };
}

/// The value of the schema.
pub(in super::super) fn encode(schema: Schema) -> Vec<u8> {
    serde_json::to_vec(&schema).expect("a number has an encoding")
}

/// The schema that is stored.
pub(in super::super) fn decode(value: &[u8]) -> Result<Schema, StoreError> {
    serde_json::from_slice(value).map_err(|error| corrupt(KEY, DecodeError::Value(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(version: u32) {
            let schema = Schema { version };
            prop_assert_eq!(decode(&encode(schema)).expect("what was encoded is valid"), schema);
        }
    }

    #[test]
    fn format() {
        insta::assert_snapshot!(String::from_utf8_lossy(&encode(Schema::CURRENT)), @r#"{"version":1}"#);
    }

    #[test]
    fn a_later_format_may_say_more() {
        let later = decode(br#"{"version":9,"by":"2.0.0"}"#).expect("the version is all that matters");
        assert_eq!(later.version, 9);
        let error = decode(b"nine").expect_err("it is not JSON");
        assert!(error.to_string().contains("m/schema"), "{error}");
    }
}
