//! What fires are told from one another by, and what a webhook's caller is known by.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::RequestId;

/// Longest key of a fire, in bytes: twice a request id's, as gateways make theirs of several parts.
pub const FIRE_KEY_MAX_BYTES: usize = 128;

/// What makes two fires of one workflow the same: the caller's id for its request, a schedule's own time, or what else
/// set it off. 1 to 128 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FireKey(Box<str>);

/// Why a text is no [`FireKey`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a trigger's key has 1 to {FIRE_KEY_MAX_BYTES} printable ASCII characters, a UUID for example")]
pub struct FireKeyError;

impl FireKey {
    /// Parses a key.
    pub fn new(key: &str) -> Result<Self, FireKeyError> {
        let fits = (1..=FIRE_KEY_MAX_BYTES).contains(&key.len());
        if fits && key.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(key.into()))
        } else {
            Err(FireKeyError)
        }
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FireKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&RequestId> for FireKey {
    fn from(id: &RequestId) -> Self {
        Self(id.as_str().into())
    }
}

impl TryFrom<String> for FireKey {
    type Error = FireKeyError;

    fn try_from(key: String) -> Result<Self, FireKeyError> {
        Self::new(&key)
    }
}

impl From<FireKey> for String {
    fn from(key: FireKey) -> Self {
        key.0.into()
    }
}

/// The SHA-256 of a webhook's secret. The secret itself is nowhere kept.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(pub [u8; 32]);

/// Says nothing: what is logged by chance must not help anybody to guess.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printable_and_short() {
        for good in ["a", "2026-11-24T02:00:00Z", &"k".repeat(FIRE_KEY_MAX_BYTES)] {
            assert_eq!(
                FireKey::new(good).map(|key| key.as_str().to_owned()).as_deref(),
                Ok(good)
            );
        }
        for bad in ["", "a b", "ä", "a\n", &"k".repeat(FIRE_KEY_MAX_BYTES + 1)] {
            assert_eq!(FireKey::new(bad), Err(FireKeyError), "{bad:?}");
        }
        let id = RequestId::new(&"r".repeat(crate::id::REQUEST_ID_MAX_BYTES)).expect("valid");
        assert!(
            FireKey::new(FireKey::from(&id).as_str()).is_ok(),
            "each request id is a key"
        );
    }

    #[test]
    fn a_hash_does_not_show_itself() {
        assert_eq!(format!("{:?}", SecretHash([7; 32])), "SecretHash(..)");
    }
}
