//! What is durable of one workflow, and what follows from it: whether its runner is armed.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::{AgentId, FireNumber, RequestId, Sequence, WorkflowUid};
use rekindle::state::AgentState;
use rekindle::time::Timestamp;
use rekindle::workflow::{AgentEventKind, FireKey, Overlap, PENDING_MAX, SecretHash, WorkflowId, WorkflowSpec};
use serde::{Deserialize, Serialize};

use crate::execution::ExecutionRecord;
use crate::record::AgentRecord;

/// What is durable of one workflow, but for its message and the payloads of its fires, which are records of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRecord {
    /// `{workflow}` of `workflows/{workflow}`.
    pub id: WorkflowId,
    /// Another one for each creation.
    pub uid: WorkflowUid,
    /// Rises with each change by a call; the etag. That it fires changes nothing that a caller goes by.
    pub revision: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed by a call.
    pub updated: Timestamp,
    /// What it shall do.
    pub spec: WorkflowSpec,
    /// Since when it is enabled, or not.
    pub toggled: Timestamp,
    /// Bytes of its message.
    pub message_bytes: u64,
    /// By what a webhook's caller is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretHash>,
    /// The caller's id for the request that made it.
    pub request: Option<RequestId>,
    /// How often it went off; the newest fire's number.
    pub fired: FireNumber,
    /// Through when its schedule was looked at: of a cron or a one-shot, no time through this one fires any more. Of an
    /// interval, when it went off last, or began to count.
    pub through: Timestamp,
    /// The fires that wait, oldest first; at most [`PENDING_MAX`].
    pub pending: VecDeque<Fire>,
    /// Why the newest fire made no execution, or how the newest execution ended that did not succeed, until one does.
    pub last_error: Option<LastError>,
}

/// Once that a workflow went off, until it is an execution, or skipped, or expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fire {
    /// Its place among those of its workflow.
    pub number: FireNumber,
    /// What makes another one the same.
    pub key: FireKey,
    /// When it went off: the schedule's own time, else when the server learned of it.
    pub at: Timestamp,
    /// What set it off.
    pub source: FireSource,
    /// Whether it is a schedule's, and came while its agent was away, or late.
    pub misfired: Misfired,
    /// Through how many ends of other executions it came.
    pub hops: u8,
    /// Bytes of its payload, which is a record of its own; 0 where it has none.
    #[serde(default)]
    pub payload_bytes: u64,
}

/// Whether a schedule's fire came while its agent was away, or late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Misfired {
    /// It came on time, or is no schedule's.
    No,
    /// It did.
    Yes,
}

/// What set a workflow off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FireSource {
    /// Its schedule.
    Schedule,
    /// TriggerWorkflow.
    Manual,
    /// An HTTP request.
    Webhook,
    /// A turn of an agent's life.
    AgentEvent {
        /// The agent.
        agent: AgentId,
        /// The turn.
        kind: AgentEventKind,
        /// The event that tells of it.
        sequence: Sequence,
    },
    /// The end of another workflow's execution.
    Completion {
        /// The other workflow.
        workflow: WorkflowId,
        /// Its agent.
        agent: AgentId,
        /// The execution.
        execution: ExecutionId,
        /// How it ended.
        state: ExecutionState,
    },
}

impl FireSource {
    /// A word for it, in events.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Webhook => "webhook",
            Self::AgentEvent { .. } => "agent_event",
            Self::Completion { .. } => "completion",
        }
    }

    /// What it was, as the end of a sentence.
    pub fn told(&self) -> String {
        match self {
            Self::Schedule => "by its schedule".to_owned(),
            Self::Manual => "by a call".to_owned(),
            Self::Webhook => "by its webhook".to_owned(),
            Self::AgentEvent { agent, kind, .. } => format!("by {} of {}", kind.as_str(), agent.name()),
            Self::Completion { workflow, state, .. } => {
                format!("by an execution of {} that is {state}", workflow.name())
            }
        }
    }

    /// What stands for a payload, where nobody brought one: what happened, as JSON.
    pub fn payload(&self) -> String {
        match self {
            Self::Schedule | Self::Manual | Self::Webhook => String::new(),
            Self::AgentEvent { agent, kind, sequence } => format!(
                r#"{{"agent":"{}","event":"{}","sequence":{sequence}}}"#,
                agent.name(),
                kind.as_str()
            ),
            Self::Completion {
                workflow,
                agent,
                execution,
                state,
            } => format!(
                r#"{{"workflow":"{}","execution":"{}","state":"{state}"}}"#,
                workflow.name(),
                execution.name(agent)
            ),
        }
    }
}

/// Most bytes of what is kept of one error: a sentence, which an agent may have added its own to.
pub const LAST_ERROR_MAX_BYTES: usize = 1024;

/// Why a fire made no execution, or how an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub time: Timestamp,
    /// What it is about.
    #[serde(default)]
    pub about: ErrorOf,
    /// One sentence for people, of at most [`LAST_ERROR_MAX_BYTES`].
    pub message: String,
}

/// What a workflow's error is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorOf {
    /// A fire that waits, as the agent takes no execution.
    #[default]
    Waiting,
    /// A fire that was skipped, or has expired.
    Dropped,
    /// An execution that ended, and not well.
    Ended,
}

impl LastError {
    /// An error, with no more of its words than are kept.
    pub fn new(time: Timestamp, about: ErrorOf, mut message: String) -> Self {
        let mut end = LAST_ERROR_MAX_BYTES.min(message.len());
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        Self { time, about, message }
    }
}

/// Which fire of which workflow made an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiredBy {
    /// The workflow.
    pub workflow: WorkflowId,
    /// Which of those that have had this name.
    pub uid: WorkflowUid,
    /// The fire.
    pub fire: FireNumber,
    /// Its key.
    pub key: FireKey,
    /// Through how many ends of other executions it came.
    pub hops: u8,
}

/// What fires a workflow's trigger, as it stands. Derived, never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// How it stands.
    pub state: RunnerState,
    /// What it waits for; empty where it waits for nothing.
    pub waiting_for: String,
    /// Since when it stands so.
    pub since: Timestamp,
}

/// How a workflow's runner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunnerState {
    /// The workflow is disabled.
    Disarmed,
    /// Its agent is not RUNNING.
    Waiting,
    /// It fires.
    Armed,
    /// It fires, and an execution of it goes on.
    InFlight,
}

impl RunnerState {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Disarmed, Self::Waiting, Self::Armed, Self::InFlight];

    /// The word of the design.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disarmed => "DISARMED",
            Self::Waiting => "WAITING",
            Self::Armed => "ARMED",
            Self::InFlight => "IN_FLIGHT",
        }
    }
}

impl fmt::Display for RunnerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl WorkflowRecord {
    /// How its runner stands, beside its agent and those of its executions that go on
    /// ([`ExecutionRecord::goes_on_of`]).
    pub fn runner<'a>(
        &self,
        agent: Option<&AgentRecord>,
        live: impl IntoIterator<Item = &'a ExecutionRecord>,
    ) -> Runner {
        let since = agent.map_or(self.toggled, |agent| agent.state_since.max(self.toggled));
        let oldest = live.into_iter().map(|execution| execution.times.created).min();
        let (state, waiting_for, since) = match (agent, oldest) {
            _ if !self.spec.enabled => (RunnerState::Disarmed, String::new(), self.toggled),
            (None, _) => {
                let name = self.spec.agent.name();
                (RunnerState::Waiting, format!("{name}, which does not exist"), since)
            }
            (Some(agent), _) if agent.state != AgentState::Running => {
                let (name, state) = (agent.id.name(), agent.state);
                (
                    RunnerState::Waiting,
                    format!("{name} to be RUNNING; it is {state}"),
                    since,
                )
            }
            (Some(_), Some(oldest)) => (RunnerState::InFlight, String::new(), oldest),
            (Some(_), None) => (RunnerState::Armed, String::new(), since),
        };
        Runner {
            state,
            waiting_for,
            since,
        }
    }

    /// Whether no more fires may wait. One that takes the place of those that wait always may.
    pub fn is_full(&self) -> bool {
        self.spec.overlap != Overlap::CancelRunning && self.pending.len() >= PENDING_MAX
    }

    /// Until when a fire may wait for its execution to start, by the wall clock.
    pub fn expires(&self, fire: &Fire) -> Option<Timestamp> {
        Some(fire.at.saturating_add(self.spec.expires_after?))
    }

    /// What is left of the time that a fire may wait. Not more than all of it, whatever became of the wall clock.
    pub fn time_left(&self, fire: &Fire, now: Timestamp) -> Option<Duration> {
        let whole = self.spec.expires_after?;
        Some(self.expires(fire)?.saturating_since(now).min(whole))
    }
}

impl ExecutionRecord {
    /// Whether it was made by this workflow, and not by an earlier one of its name.
    pub fn is_of(&self, workflow: &WorkflowRecord) -> bool {
        let by = self.workflow.as_ref();
        by.is_some_and(|by| by.workflow == workflow.id && by.uid == workflow.uid)
    }

    /// Whether it was made by this workflow, and goes on.
    pub fn goes_on_of(&self, workflow: &WorkflowRecord) -> bool {
        self.is_of(workflow) && !self.state.is_over()
    }
}
