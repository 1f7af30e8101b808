//! What workflows are told from one another by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::is_resource_id;

/// Longest workflow id, in bytes: as of an agent's.
pub const WORKFLOW_ID_MAX_BYTES: usize = 63;

/// The `{workflow}` of the resource name `workflows/{workflow}` (AIP-122).
///
/// Lowercase letters, digits, `-`, `_` and `.`; the first and last character a letter or digit; 1 to 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkflowId(Box<str>);

/// Why a text names no workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowNameError {
    /// Nothing stands where the id should be.
    #[error("a workflow's name must not be empty; write for example \"workflows/nightly-report\"")]
    Empty,
    /// Longer than [`WORKFLOW_ID_MAX_BYTES`].
    #[error("a workflow's name has at most {WORKFLOW_ID_MAX_BYTES} characters, and this one has {0}")]
    TooLong(usize),
    /// A character outside of the alphabet, or a separator at an end.
    #[error(
        "a workflow's name has lowercase letters, digits, \"-\", \"_\" and \".\", and starts and ends with a letter or \
         digit; {0:?} does not"
    )]
    Alphabet(String),
    /// A resource name that is not one of a workflow.
    #[error("{0:?} is not a workflow's resource name; write \"workflows/NAME\"")]
    NotAWorkflow(String),
}

impl WorkflowId {
    /// The collection that workflows are in.
    pub const COLLECTION: &str = "workflows/";

    /// Parses the bare id, without `workflows/`.
    pub fn new(id: &str) -> Result<Self, WorkflowNameError> {
        if id.is_empty() {
            return Err(WorkflowNameError::Empty);
        }
        if id.len() > WORKFLOW_ID_MAX_BYTES {
            return Err(WorkflowNameError::TooLong(id.len()));
        }
        if is_resource_id(id) {
            Ok(Self(id.into()))
        } else {
            Err(WorkflowNameError::Alphabet(id.to_owned()))
        }
    }

    /// Parses the resource name `workflows/{workflow}`.
    pub fn from_name(name: &str) -> Result<Self, WorkflowNameError> {
        if name.is_empty() {
            return Err(WorkflowNameError::Empty);
        }
        match name.strip_prefix(Self::COLLECTION) {
            Some(id) => Self::new(id),
            None => Err(WorkflowNameError::NotAWorkflow(
                name.chars().take(WORKFLOW_ID_MAX_BYTES).collect(),
            )),
        }
    }

    /// The resource name, `workflows/{workflow}`.
    pub fn name(&self) -> String {
        format!("{}{}", Self::COLLECTION, self.0)
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Accepts both `nightly` and `workflows/nightly`, as a person types either.
impl FromStr for WorkflowId {
    type Err = WorkflowNameError;

    fn from_str(text: &str) -> Result<Self, WorkflowNameError> {
        Self::new(text.strip_prefix(Self::COLLECTION).unwrap_or(text))
    }
}

impl TryFrom<String> for WorkflowId {
    type Error = WorkflowNameError;

    fn try_from(id: String) -> Result<Self, WorkflowNameError> {
        Self::new(&id)
    }
}

impl From<WorkflowId> for String {
    fn from(id: WorkflowId) -> Self {
        id.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_wrong_with_them() {
        let id = WorkflowId::from_name("workflows/nightly-1").expect("valid");
        assert_eq!(id.name(), "workflows/nightly-1");
        assert_eq!("nightly-1".parse(), Ok(id.clone()));
        assert_eq!("workflows/nightly-1".parse(), Ok(id));
        for (name, problem) in [
            ("", "must not be empty"),
            ("workflows/", "must not be empty"),
            ("nightly", "is not a workflow's resource name"),
            ("agents/nightly", "is not a workflow's resource name"),
            ("workflows/Nightly", "starts and ends with a letter or digit"),
            ("workflows/a/b", "starts and ends with a letter or digit"),
        ] {
            let error = WorkflowId::from_name(name).expect_err(name).to_string();
            assert!(error.contains(problem), "{name}: {error}");
        }
        assert_eq!(WorkflowId::new(&"a".repeat(64)), Err(WorkflowNameError::TooLong(64)));
    }
}
