//! What is durable of one execution.

use std::time::Duration;

use rekindle::execution::{AttemptId, ExecutionId, ExecutionState};
use rekindle::id::{AgentId, BootId, ExecutionUid, Incarnation, Marker, ReportSequence, RequestId};
use rekindle::policy::InterruptPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::Failure;
use crate::workflow::FiredBy;

/// What is durable of one execution, but for its message and its output, which are records of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionRecord {
    /// The agent that it is for.
    pub agent: AgentId,
    /// `{execution}` of `agents/{agent}/executions/{execution}`.
    pub id: ExecutionId,
    /// Another one for each creation.
    pub uid: ExecutionUid,
    /// Rises with each write; the etag.
    pub revision: u64,
    /// What is.
    pub state: ExecutionState,
    /// Why somebody asked for the end of the newest attempt, of which it is not known that it is over.
    pub ending: Option<Ending>,
    /// The higher, the earlier.
    pub priority: i32,
    /// Its place among those of equal priority: the sequence of the event that told of its creation.
    pub order: u64,
    /// Its place among those that are over: the sequence of the event that told of its end. Which ended first no clock has a
    /// word in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_order: Option<u64>,
    /// From the start of an attempt, past which it is ended.
    pub timeout: Duration,
    /// When it is TIMED_OUT if it has not started by then.
    pub start_by: Option<Timestamp>,
    /// Deliveries so far that have, or may have, begun.
    pub attempt: u32,
    /// Who was given the newest attempt.
    pub given_to: Option<GivenTo>,
    /// Who was given the attempt before that: it is the newest again where that does not begin.
    #[serde(default)]
    pub given_before: Option<GivenTo>,
    /// The process of the newest attempt, as long as it may live.
    pub process: Option<AttemptProcess>,
    /// When each step was taken, of the newest attempt.
    pub times: Times,
    /// How the newest attempt failed.
    pub failure: Option<Failure>,
    /// What was kept of the newest attempt's output.
    pub output: OutputSize,
    /// The caller's id for the request that made it.
    pub request: Option<RequestId>,
    /// The execution that this one does again.
    pub redrive_of: Option<ExecutionId>,
    /// The execution that does this one again.
    pub redriven_as: Option<ExecutionId>,
    /// Which fire of which workflow made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<FiredBy>,
}

impl ExecutionRecord {
    /// Whether its newest attempt is being ended.
    pub fn is_being_ended(&self) -> bool {
        self.ending.is_some() && !self.state.is_over()
    }

    /// The newest delivery.
    pub fn newest(&self) -> AttemptId {
        AttemptId {
            execution: self.id.clone(),
            uid: self.uid,
            number: self.attempt,
        }
    }
}

/// The shim that was given an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenTo {
    /// Of its state directory.
    pub marker: Marker,
    /// The boot that it was in.
    pub boot: BootId,
    /// The agent's life by then.
    pub incarnation: Incarnation,
    /// The newest report of that shim by then. What it has told before is about another delivery: one that did not begin
    /// is given again under its number, and the name of an execution that was forgotten may come again. Once the attempt's
    /// end was heard, the report of that.
    #[serde(default)]
    pub after: ReportSequence,
}

/// The process of an attempt that has one of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptProcess {
    /// The agent's life that it belongs to.
    pub incarnation: Incarnation,
    /// What it is told from others by.
    pub identity: ProcessIdentity,
    /// Host that it runs on.
    pub host: String,
}

/// When each step was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// The execution was made.
    pub created: Timestamp,
    /// The newest attempt was sent.
    pub dispatched: Option<Timestamp>,
    /// The shim had it in its keeping.
    pub accepted: Option<Timestamp>,
    /// The agent began, by the host's clock.
    pub started: Option<Timestamp>,
    /// It was over, by the host's clock where its shim saw it.
    pub ended: Option<Timestamp>,
    /// The server learned of the end, by its own clock: what the execution is kept for counts from here.
    pub closed: Option<Timestamp>,
}

impl Times {
    /// Of one that was just made.
    pub const fn created(created: Timestamp) -> Self {
        Self {
            created,
            dispatched: None,
            accepted: None,
            started: None,
            ended: None,
            closed: None,
        }
    }
}

/// How much there was of an output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSize {
    /// Bytes that are kept.
    pub kept: u64,
    /// Bytes before them that are not.
    pub dropped: u64,
}

/// Why an attempt is being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Somebody cancelled it.
    Cancelled {
        /// The caller's words.
        reason: String,
        /// Replaces the policy's `stop_grace`.
        grace: Option<Duration>,
    },
    /// An operator ended or replaced the agent's life that works on it.
    Interrupted(InterruptPolicy),
    /// It ran for longer than its time, and its shim did not end it.
    OutOfTime,
}

impl Ending {
    /// What replaces the policy's `stop_grace` at it.
    pub const fn grace(&self) -> Option<Duration> {
        match self {
            Self::Cancelled { grace, .. } => *grace,
            Self::Interrupted(_) | Self::OutOfTime => None,
        }
    }

    /// In the words of who asked for it; empty where there are none.
    pub fn reason(&self) -> &str {
        match self {
            Self::Cancelled { reason, .. } => reason,
            Self::Interrupted(_) | Self::OutOfTime => "",
        }
    }
}
