//! How people name an execution.

use std::fmt;
use std::str::FromStr;

use rekindle::execution::{ExecutionId, ExecutionNameError};
use rekindle::id::AgentId;

use crate::failure::Failure;

/// An execution of an agent; shown as `AGENT/EXECUTION`, which is what every command takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecutionName {
    agent: AgentId,
    id: ExecutionId,
}

impl ExecutionName {
    /// From the wire.
    ///
    /// # Errors
    /// It is no resource name of an execution.
    pub(crate) fn of(execution: &rekindle::wire::v1::Execution) -> Result<Self, Failure> {
        let named = ExecutionId::from_name(&execution.name);
        let (agent, id) = named.map_err(|_| Failure::Answer("does not name the execution"))?;
        Ok(Self { agent, id })
    }

    /// The agent that it is given to.
    pub(crate) fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// The resource name, `agents/{agent}/executions/{execution}`.
    pub(crate) fn resource(&self) -> String {
        self.id.name(&self.agent)
    }
}

impl fmt::Display for ExecutionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.agent, self.id)
    }
}

/// Accepts `planner-1/e-1`, `agents/planner-1/executions/e-1`, and what lies between, as a person types any.
impl FromStr for ExecutionName {
    type Err = ExecutionNameError;

    fn from_str(text: &str) -> Result<Self, ExecutionNameError> {
        let bare = text.strip_prefix(AgentId::COLLECTION).unwrap_or(text);
        let Some((agent, id)) = bare.split_once('/') else {
            return Err(ExecutionNameError::NotAnExecution(text.to_owned()));
        };
        let id = id.strip_prefix("executions/").unwrap_or(id);
        Ok(Self {
            agent: AgentId::new(agent)?,
            id: ExecutionId::new(id)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_name() {
        for text in [
            "planner-1/e-1",
            "agents/planner-1/executions/e-1",
            "planner-1/executions/e-1",
            "agents/planner-1/e-1",
        ] {
            let name: ExecutionName = text.parse().expect(text);
            assert_eq!(name.to_string(), "planner-1/e-1");
            assert_eq!(name.resource(), "agents/planner-1/executions/e-1");
        }
        for text in [
            "",
            "planner-1",
            "agents/planner-1",
            "planner-1/",
            "/e-1",
            "a/b/c",
            "A/b",
        ] {
            assert!(text.parse::<ExecutionName>().is_err(), "{text}");
        }
    }
}
