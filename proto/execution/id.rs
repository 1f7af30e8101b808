//! What executions and attempts are told from one another by.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, AgentIdError, ExecutionUid, is_resource_id};

/// Longest execution id, in bytes: as of an agent's.
pub const EXECUTION_ID_MAX_BYTES: usize = 63;

const COLLECTION: &str = "/executions/";

/// The `{execution}` of the resource name `agents/{agent}/executions/{execution}` (AIP-122).
///
/// Lowercase letters, digits, `-`, `_` and `.`; the first and last character a letter or digit; 1 to 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExecutionId(Box<str>);

/// Why a text names no execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionNameError {
    /// Nothing stands where the id should be.
    #[error("an execution's id must not be empty")]
    Empty,
    /// Longer than [`EXECUTION_ID_MAX_BYTES`].
    #[error("an execution's id has at most {EXECUTION_ID_MAX_BYTES} characters, and this one has {0}")]
    TooLong(usize),
    /// A character outside of the alphabet, or a separator at an end.
    #[error(
        "an execution's id has lowercase letters, digits, \"-\", \"_\" and \".\", and starts and ends with a letter or \
         digit; {0:?} does not"
    )]
    Alphabet(String),
    /// A resource name that is not one of an execution.
    #[error("{0:?} is not an execution's resource name; write \"agents/AGENT/executions/EXECUTION\"")]
    NotAnExecution(String),
    /// The agent's part is wrong.
    #[error(transparent)]
    Agent(#[from] AgentIdError),
}

impl ExecutionId {
    /// Parses the bare id.
    pub fn new(id: &str) -> Result<Self, ExecutionNameError> {
        if id.is_empty() {
            return Err(ExecutionNameError::Empty);
        }
        if id.len() > EXECUTION_ID_MAX_BYTES {
            return Err(ExecutionNameError::TooLong(id.len()));
        }
        if is_resource_id(id) {
            Ok(Self(id.into()))
        } else {
            Err(ExecutionNameError::Alphabet(id.to_owned()))
        }
    }

    /// No id comes before this one.
    pub fn first() -> Self {
        Self("0".into())
    }

    /// Parses the resource name `agents/{agent}/executions/{execution}`.
    pub fn from_name(name: &str) -> Result<(AgentId, Self), ExecutionNameError> {
        match name.split_once(COLLECTION) {
            Some((agent, id)) => Ok((AgentId::from_name(agent)?, Self::new(id)?)),
            None => Err(ExecutionNameError::NotAnExecution(
                name.chars().take(EXECUTION_ID_MAX_BYTES).collect(),
            )),
        }
    }

    /// The resource name, `agents/{agent}/executions/{execution}`.
    pub fn name(&self, agent: &AgentId) -> String {
        format!("{}{COLLECTION}{}", agent.name(), self.0)
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ExecutionId {
    type Error = ExecutionNameError;

    fn try_from(id: String) -> Result<Self, ExecutionNameError> {
        Self::new(&id)
    }
}

impl From<ExecutionId> for String {
    fn from(id: ExecutionId) -> Self {
        id.0.into()
    }
}

/// One delivery of one execution. Those at one name are in the order of their executions, and each execution's in that of
/// their numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The execution, of the agent that the stream or the record is of.
    pub execution: ExecutionId,
    /// Which of the executions that have had this name. In what was written without it,
    /// [`UNKNOWN`](ExecutionUid::UNKNOWN).
    #[serde(default = "ExecutionUid::unknown")]
    pub uid: ExecutionUid,
    /// 1 for the first delivery.
    pub number: u32,
}

impl AttemptId {
    /// Whether the other one is at another execution, of the same name.
    pub fn is_namesake(&self, other: &Self) -> bool {
        self.execution == other.execution && self.uid != other.uid
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.execution, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_was_written_without_its_uid_is_nobodys() {
        let written = r#"{"execution":"e","number":2}"#;
        let attempt: AttemptId = serde_json::from_str(written).expect("it is known but for its uid");
        assert_eq!((attempt.uid, attempt.number), (ExecutionUid::UNKNOWN, 2));
        let uid = ExecutionUid::from_u128(7);
        let whole = AttemptId { uid, ..attempt.clone() };
        assert!(attempt.is_namesake(&whole));
        let written = serde_json::to_string(&whole).expect("plain fields");
        assert_eq!(serde_json::from_str::<AttemptId>(&written).ok(), Some(whole));
    }

    #[test]
    fn names_say_what_is_wrong_with_them() {
        let (agent, id) = ExecutionId::from_name("agents/planner-1/executions/e-1").expect("valid");
        assert_eq!(id.name(&agent), "agents/planner-1/executions/e-1");
        for (name, problem) in [
            ("agents/planner-1", "is not an execution's resource name"),
            ("agents/planner-1/executions/", "must not be empty"),
            (
                "agents/planner-1/executions/A",
                "starts and ends with a letter or digit",
            ),
            (
                "agents/planner-1/executions/a/b",
                "starts and ends with a letter or digit",
            ),
            ("planner-1/executions/a", "is not an agent's resource name"),
        ] {
            let error = ExecutionId::from_name(name).expect_err(name).to_string();
            assert!(error.contains(problem), "{name}: {error}");
        }
        let long = "a".repeat(EXECUTION_ID_MAX_BYTES + 1);
        assert_eq!(ExecutionId::new(&long), Err(ExecutionNameError::TooLong(64)));
    }
}
