//! What checkpoints are told from one another by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, AgentIdError, Incarnation};

/// Longest checkpoint id, in bytes: 20 digits, a point and 10 digits.
pub const CHECKPOINT_ID_MAX_BYTES: usize = 31;

const COLLECTION: &str = "/checkpoints/";

/// The `{checkpoint}` of the resource name `agents/{agent}/checkpoints/{checkpoint}` (AIP-122): `7.3` is the third that
/// incarnation 7 has saved. In the order in which they were saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckpointId {
    /// The life that saved it.
    pub incarnation: Incarnation,
    /// 1 for the first that it has saved.
    pub number: u32,
}

/// Why a text names no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointIdError {
    /// Not two numbers with a point between them.
    #[error("{0:?} is not a checkpoint's id; write INCARNATION.NUMBER, for example \"7.3\"")]
    Form(String),
    /// A resource name that is not one of a checkpoint.
    #[error("{0:?} is not a checkpoint's resource name; write \"agents/AGENT/checkpoints/INCARNATION.NUMBER\"")]
    NotACheckpoint(String),
    /// The agent's part is wrong.
    #[error(transparent)]
    Agent(#[from] AgentIdError),
}

impl CheckpointId {
    /// From its two numbers.
    pub const fn new(incarnation: Incarnation, number: u32) -> Self {
        Self { incarnation, number }
    }

    /// Parses the resource name `agents/{agent}/checkpoints/{checkpoint}`.
    pub fn from_name(name: &str) -> Result<(AgentId, Self), CheckpointIdError> {
        match name.split_once(COLLECTION) {
            Some((agent, id)) => Ok((AgentId::from_name(agent)?, id.parse()?)),
            None => Err(CheckpointIdError::NotACheckpoint(shown(name))),
        }
    }

    /// The resource name, `agents/{agent}/checkpoints/{checkpoint}`.
    pub fn name(&self, agent: &AgentId) -> String {
        format!("{}{COLLECTION}{self}", agent.name())
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.number)
    }
}

impl FromStr for CheckpointId {
    type Err = CheckpointIdError;

    /// One id has one text: no sign, and no zero in front.
    fn from_str(text: &str) -> Result<Self, CheckpointIdError> {
        let error = || CheckpointIdError::Form(shown(text));
        let (incarnation, number) = text.split_once('.').ok_or_else(error)?;
        let id = Self {
            incarnation: Incarnation::new(incarnation.parse().map_err(|_| error())?),
            number: number.parse().map_err(|_| error())?,
        };
        let first = id.incarnation == Incarnation::ZERO || id.number == 0;
        if first || id.to_string() != text {
            return Err(error());
        }
        Ok(id)
    }
}

impl TryFrom<String> for CheckpointId {
    type Error = CheckpointIdError;

    fn try_from(text: String) -> Result<Self, CheckpointIdError> {
        text.parse()
    }
}

impl From<CheckpointId> for String {
    fn from(id: CheckpointId) -> Self {
        id.to_string()
    }
}

fn shown(text: &str) -> String {
    text.chars().take(2 * CHECKPOINT_ID_MAX_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_say_what_is_wrong_with_them() {
        let (agent, id) = CheckpointId::from_name("agents/planner-1/checkpoints/7.3").expect("valid");
        assert_eq!(id, CheckpointId::new(Incarnation::new(7), 3));
        assert_eq!(id.name(&agent), "agents/planner-1/checkpoints/7.3");
        for bad in [
            "",
            ".",
            "7",
            "7.",
            ".3",
            "0.1",
            "7.0",
            "07.3",
            "7.03",
            "+7.3",
            "7.3.1",
            "7.-3",
            "7.4294967296",
        ] {
            assert_eq!(bad.parse::<CheckpointId>(), Err(CheckpointIdError::Form(bad.into())));
        }
        for (name, problem) in [
            ("agents/a", "is not a checkpoint's resource name"),
            ("agents/a/checkpoints/x", "is not a checkpoint's id"),
            ("a/checkpoints/7.3", "is not an agent's resource name"),
        ] {
            let error = CheckpointId::from_name(name).expect_err(name).to_string();
            assert!(error.contains(problem), "{name}: {error}");
        }
        let longest = CheckpointId::new(Incarnation::new(u64::MAX), u32::MAX);
        assert_eq!(longest.to_string().len(), CHECKPOINT_ID_MAX_BYTES);
    }

    proptest! {
        #[test]
        fn ids_round_trip(incarnation in 1u64.., number in 1u32..) {
            let id = CheckpointId::new(Incarnation::new(incarnation), number);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn no_text_panics(text in "[0-9.+a]{0,12}") {
            if let Ok(id) = text.parse::<CheckpointId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
