//! A store that failed once stays failed: what its memory holds may differ from what is durable.

use std::error::Error;
use std::sync::OnceLock;

use super::StoreError;

/// Whether, and by what, a store was poisoned. Never healed: only a new process knows what is durable.
#[derive(Debug, Default)]
pub(super) struct Poison(OnceLock<String>);

impl Poison {
    /// Fails once the store has failed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.0.get() {
            Some(first) => Err(StoreError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    /// Remembers the first failure.
    pub(super) fn set(&self, error: &StoreError) {
        self.0.get_or_init(|| with_sources(error));
    }
}

fn with_sources(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
