//! What the workflows of an agent add to its explanation.

use rekindle::state::AgentState;

use super::{Explanation, Fact};
use crate::record::AgentRecord;
use crate::workflow::{ErrorOf, WorkflowRecord};

impl Explanation {
    /// Adds how many of the agent's workflows are armed, what waits, and why the newest that could not go did not.
    #[must_use]
    pub fn with_workflows<'a>(
        mut self,
        agent: &AgentRecord,
        workflows: impl IntoIterator<Item = &'a WorkflowRecord>,
    ) -> Self {
        let (mut all, mut enabled, mut fires) = (0, 0, 0);
        let mut newest = None;
        for workflow in workflows {
            all += 1;
            enabled += usize::from(workflow.spec.enabled);
            fires += workflow.pending.len();
            let error = workflow.last_error.as_ref().filter(|error| {
                // How earlier ones ended keeps nothing waiting.
                error.about == ErrorOf::Waiting && !workflow.pending.is_empty()
            });
            newest = newest.into_iter().chain(error).max_by_key(|error| error.time);
        }
        if all == 0 {
            return self;
        }
        let armed = match (agent.state, enabled) {
            (_, 0) => "none of them enabled".to_owned(),
            (AgentState::Running, enabled) => format!("{enabled} of them armed"),
            (
                AgentState::Pending
                | AgentState::Starting
                | AgentState::Unreachable
                | AgentState::Crashed
                | AgentState::Stopping
                | AgentState::Stopped
                | AgentState::Terminated
                | AgentState::Quarantined,
                enabled,
            ) => format!("{enabled} of them wait until it is RUNNING"),
        };
        let mut value = format!("{all}, {armed}");
        if fires > 0 {
            let waits = format!("fires that wait: {fires}");
            let why = newest.map_or_else(String::new, |error| format!(", as {}", error.message));
            value += &format!("; {waits}{why}");
            self.summary += &format!("; workflows: {waits}{why}");
        }
        self.facts.push(Fact {
            name: "workflows",
            value,
        });
        self
    }
}
