//! What a workflow shall do, valid by construction.

use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EXPIRES_AFTER_MAX, EXPIRES_AFTER_MIN, Misfire, Overlap, Trigger};
use crate::id::AgentId;
use crate::policy::{MESSAGE_TIMEOUT_MAX, MESSAGE_TIMEOUT_MIN};

/// The fields of a workflow that its author sets, but for its message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowSpecFields {
    /// The agent that gets the executions. It need not exist.
    pub agent: AgentId,
    /// Whether it fires at all.
    pub enabled: bool,
    /// What sets it off.
    pub trigger: Trigger,
    /// Of each execution; the agent's `message_timeout` where it is absent; 100 ms to 7 days.
    pub timeout: Option<Duration>,
    /// What becomes of fires that come while the agent is away.
    pub misfire: Misfire,
    /// What becomes of fires that come while an execution goes on.
    pub overlap: Overlap,
    /// Time from a fire within which its execution has to start; 1 s to 366 days. `None`: it waits for ever.
    pub expires_after: Option<Duration>,
}

impl WorkflowSpecFields {
    /// For this agent and by this trigger, enabled, with every default.
    pub const fn new(agent: AgentId, trigger: Trigger) -> Self {
        Self {
            agent,
            enabled: true,
            trigger,
            timeout: None,
            misfire: Misfire::Once,
            overlap: Overlap::Queue,
            expires_after: None,
        }
    }
}

/// What a valid workflow shall do. Read its fields as those of [`WorkflowSpecFields`]; change it through
/// [`WorkflowPatch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WorkflowSpecFields", into = "WorkflowSpecFields")]
pub struct WorkflowSpec(WorkflowSpecFields);

/// Which field of a workflow is out of its limits, or missing, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WorkflowError {
    /// The field's name in the API.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl WorkflowSpec {
    /// Checks every limit.
    pub fn new(fields: WorkflowSpecFields) -> Result<Self, WorkflowError> {
        within("timeout", fields.timeout, MESSAGE_TIMEOUT_MIN, MESSAGE_TIMEOUT_MAX)?;
        within(
            "expires_after",
            fields.expires_after,
            EXPIRES_AFTER_MIN,
            EXPIRES_AFTER_MAX,
        )?;
        Ok(Self(fields))
    }

    /// The fields, to be changed and checked again.
    pub fn into_fields(self) -> WorkflowSpecFields {
        self.0
    }
}

impl Deref for WorkflowSpec {
    type Target = WorkflowSpecFields;

    fn deref(&self) -> &WorkflowSpecFields {
        &self.0
    }
}

impl TryFrom<WorkflowSpecFields> for WorkflowSpec {
    type Error = WorkflowError;

    fn try_from(fields: WorkflowSpecFields) -> Result<Self, WorkflowError> {
        Self::new(fields)
    }
}

impl From<WorkflowSpec> for WorkflowSpecFields {
    fn from(spec: WorkflowSpec) -> Self {
        spec.0
    }
}

/// What changes in a workflow; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkflowPatch {
    /// The agent.
    pub agent: Option<AgentId>,
    /// Whether it fires at all.
    pub enabled: Option<bool>,
    /// What sets it off.
    pub trigger: Option<Trigger>,
    /// Of each execution; `Some(None)` leaves it to the agent.
    pub timeout: Option<Option<Duration>>,
    /// What becomes of fires that come while the agent is away.
    pub misfire: Option<Misfire>,
    /// What becomes of fires that come while an execution goes on.
    pub overlap: Option<Overlap>,
    /// How long a fire may wait; `Some(None)` lets it wait for ever.
    pub expires_after: Option<Option<Duration>>,
}

impl WorkflowPatch {
    /// What a workflow is after it.
    pub fn apply(&self, to: &WorkflowSpec) -> Result<WorkflowSpec, WorkflowError> {
        let mut fields = to.0.clone();
        self.change(&mut fields);
        WorkflowSpec::new(fields)
    }

    /// A workflow that is made of it, with the default of each field that is absent.
    pub fn into_spec(self) -> Result<WorkflowSpec, WorkflowError> {
        let missing = |field| WorkflowError {
            field,
            problem: "it has no default; set it".to_owned(),
        };
        let agent = self.agent.clone().ok_or_else(|| missing("agent"))?;
        let trigger = self.trigger.clone().ok_or_else(|| missing("trigger"))?;
        let mut fields = WorkflowSpecFields::new(agent, trigger);
        self.change(&mut fields);
        WorkflowSpec::new(fields)
    }

    fn change(&self, fields: &mut WorkflowSpecFields) {
        let Self {
            agent,
            enabled,
            trigger,
            timeout,
            misfire,
            overlap,
            expires_after,
        } = self.clone();
        set(&mut fields.agent, agent);
        set(&mut fields.enabled, enabled);
        set(&mut fields.trigger, trigger);
        set(&mut fields.timeout, timeout);
        set(&mut fields.misfire, misfire);
        set(&mut fields.overlap, overlap);
        set(&mut fields.expires_after, expires_after);
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn within(field: &'static str, value: Option<Duration>, min: Duration, max: Duration) -> Result<(), WorkflowError> {
    let Some(value) = value.filter(|value| !(min..=max).contains(value)) else {
        return Ok(());
    };
    let show = crate::duration::show;
    let problem = format!("{} is not between {} and {}", show(value), show(min), show(max));
    Err(WorkflowError { field, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> AgentId {
        AgentId::new("a").expect("valid")
    }

    #[test]
    fn limits_name_their_field() {
        let check = |change: fn(&mut WorkflowSpecFields)| {
            let mut fields = WorkflowSpecFields::new(agent(), Trigger::Manual);
            change(&mut fields);
            WorkflowSpec::new(fields).err().map(|error| error.field)
        };
        assert_eq!(check(|_| ()), None);
        assert_eq!(check(|f| f.timeout = Some(Duration::ZERO)), Some("timeout"));
        assert_eq!(check(|f| f.expires_after = Some(Duration::ZERO)), Some("expires_after"));
        assert_eq!(check(|f| f.expires_after = Some(Duration::MAX)), Some("expires_after"));
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let spec = WorkflowSpec::new(WorkflowSpecFields::new(agent(), Trigger::Manual)).expect("valid");
        assert_eq!(WorkflowPatch::default().apply(&spec), Ok(spec.clone()));
        let patch = WorkflowPatch {
            enabled: Some(false),
            timeout: Some(Some(Duration::from_secs(7))),
            ..WorkflowPatch::default()
        };
        let changed = patch.apply(&spec).expect("valid");
        let back = WorkflowPatch {
            enabled: Some(true),
            timeout: Some(None),
            ..WorkflowPatch::default()
        };
        assert!(!changed.enabled && changed.timeout == Some(Duration::from_secs(7)) && changed.agent == spec.agent);
        assert_eq!(back.apply(&changed), Ok(spec));
    }

    #[test]
    fn what_has_no_default_must_be_there() {
        let field = |patch: WorkflowPatch| patch.into_spec().map_err(|error| error.field);
        assert_eq!(field(WorkflowPatch::default()), Err("agent"));
        let of_agent = WorkflowPatch {
            agent: Some(agent()),
            ..WorkflowPatch::default()
        };
        assert_eq!(field(of_agent.clone()), Err("trigger"));
        let whole = WorkflowPatch {
            trigger: Some(Trigger::Webhook),
            ..of_agent
        };
        assert!(whole.into_spec().is_ok_and(|spec| spec.enabled));
    }
}
