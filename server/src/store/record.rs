//! How records are stored: one file per type, with its key and its value.
//!
//! | key | value |
//! | --- | --- |
//! | `a/{agent}` | [`agent`] |
//! | `e/` + the sequence, 8 bytes, big endian | [`event`] |
//! | `r/{agent}/{request}` | [`request`] |
//! | `x/{agent}/{execution}` | [`execution`] |
//! | `t/{agent}/{execution}/{text}/` + the part, 1 byte | [`body`], the text itself |
//! | `c/{agent}/{checkpoint}` | [`checkpoint`], what changes of it |
//! | `f/{agent}/{checkpoint}` | its fields |
//! | `b/{agent}/{checkpoint}/` + the part, 1 byte | its body, as it is |
//! | `w/{workflow}` | [`workflow`] |
//! | `v/{workflow}/message/` + the part, 1 byte | [`workflow_text`], what a workflow asks for |
//! | `v/{workflow}/fire/` + the fire, 8 bytes, big endian, + the part, 1 byte | [`workflow_text`], what a fire has brought |
//! | `h/` + name and id, JSON | [`host`] |
//! | `m/schema` | [`schema`] |
//!
//! Other values are JSON by field name: an operator can read them, and a field can be added without a new schema version.
//! Decoding validates, because the vocabulary's types do.

use serde::de::DeserializeOwned;

use super::StoreError;

pub(super) mod agent;
pub(super) mod body;
pub(super) mod checkpoint;
pub(super) mod event;
pub(super) mod execution;
pub(super) mod host;
mod parts;
pub(super) mod request;
pub(super) mod schema;
pub(super) mod workflow;
pub(super) mod workflow_text;

#[cfg(test)]
mod arbitrary;

pub use schema::SCHEMA_VERSION;

/// Why a stored key or value is not one that this server writes.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The key does not have its type's form.
    #[error("the key is not that of {expected}")]
    Key {
        /// What it should be the key of.
        expected: &'static str,
    },
    /// The value is not the JSON of a valid record.
    #[error("the value is not a valid record")]
    Value(#[from] serde_json::Error),
    /// The value is no text.
    #[error("the value is not UTF-8")]
    Text(#[source] std::str::Utf8Error),
    /// Another value tells of this one.
    #[error("the value is missing")]
    Missing,
    /// The value is a record that belongs under another key.
    #[error("the value belongs under the key {belongs:?}")]
    Misplaced {
        /// Where it belongs.
        belongs: String,
    },
}

/// Decodes a value, and checks that it lies under its own key.
fn decode_under<T: DeserializeOwned>(
    key: &[u8],
    value: &[u8],
    key_of: impl Fn(&T) -> Vec<u8>,
) -> Result<T, StoreError> {
    let decoded = serde_json::from_slice(value).map_err(|error| corrupt(key, DecodeError::Value(error)))?;
    let belongs = key_of(&decoded);
    if belongs == key {
        Ok(decoded)
    } else {
        let belongs = show_key(&belongs);
        Err(corrupt(key, DecodeError::Misplaced { belongs }))
    }
}

/// The error for what lies under this key.
pub(super) fn corrupt(key: &[u8], source: DecodeError) -> StoreError {
    StoreError::Corrupt {
        key: show_key(key),
        source,
    }
}

fn show_key(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
