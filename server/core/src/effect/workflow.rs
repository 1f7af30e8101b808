//! Answers to calls about workflows.

use std::sync::Arc;

use rekindle::id::{AgentId, FireNumber};
use rekindle::workflow::{FireKey, WorkflowId};

use crate::execution::ExecutionRecord;
use crate::workflow::WorkflowRecord;

/// A workflow that was made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowAnswer {
    /// The workflow, as it is by then.
    pub workflow: Arc<WorkflowRecord>,
    /// What it asks for.
    pub message: Arc<str>,
    /// Whether it was there before the call.
    pub was: Was,
}

/// Whether something was there before a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// The call has made it.
    Absent,
    /// It was, as after the retry of a call that made it.
    Present,
}

/// What came of a trigger, when its call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerAnswer {
    /// The workflow, as it is by then.
    pub workflow: Arc<WorkflowRecord>,
    /// The fire; that of the first call, where this is a retry.
    pub fire: FireNumber,
    /// Its key.
    pub key: FireKey,
    /// What came of it so far.
    pub outcome: TriggerOutcome,
}

/// What came of a fire so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerOutcome {
    /// It is durable, and waits.
    Pending,
    /// It made this execution.
    Execution(Arc<ExecutionRecord>),
    /// It was skipped, as the workflow's policy has it; why, in words.
    Skipped(String),
}

/// Why a call about a workflow changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    /// No such workflow.
    #[error("{} does not exist; ListWorkflows shows those that do", .0.name())]
    NotFound(WorkflowId),
    /// Another one has this name.
    #[error("{} exists already; choose another workflow_id, or change it with UpdateWorkflow", .0.name())]
    Exists(WorkflowId),
    /// The workflow has changed since the caller looked.
    #[error("{} has changed: its etag is \"{actual}\", not \"{expected}\"; read it again", id.name())]
    EtagMismatch {
        /// The workflow.
        id: WorkflowId,
        /// The caller's.
        expected: u64,
        /// The workflow's.
        actual: u64,
    },
    /// The request id was used for something else.
    #[error("the request id was used for {}; use another id", .0.name())]
    RequestIdReused(WorkflowId),
    /// The result would not be valid.
    #[error("{0}")]
    Invalid(rekindle::workflow::WorkflowError),
    /// Its schedule means nothing, or never comes.
    #[error("{0}")]
    Schedule(rekindle::workflow::TriggerError),
    /// More workflows than the machine's limit.
    #[error("the server has its limit of {limit} workflows; delete those that are gone")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// More workflows for one agent than the limit.
    #[error("agents/{agent} has its limit of {limit} workflows; delete those that are gone")]
    TooManyOfAgent {
        /// The agent.
        agent: AgentId,
        /// The limit.
        limit: usize,
    },
    /// More workflows that wait for one thing than the limit.
    #[error("{limit} workflows wait for {of} already, which is the limit; delete some of them")]
    TooManyWaiting {
        /// What they wait for: an agent, or another workflow.
        of: String,
        /// The limit.
        limit: usize,
    },
    /// The messages of all workflows, and the payloads of what waits, take all of the room that they have.
    #[error(
        "the messages of the server's workflows, and the payloads of the fires that wait, have their limit of {limit} bytes; \
         make messages shorter, or wait until fires have gone"
    )]
    NoRoom {
        /// The limit.
        limit: usize,
    },
    /// It is disabled.
    #[error("{} is disabled; enable it first", .0.name())]
    Disabled(WorkflowId),
    /// It has no webhook.
    #[error(
        "{} has no webhook; give it the trigger `webhook` with UpdateWorkflow, or fire it with TriggerWorkflow",
        .0.name()
    )]
    NoWebhook(WorkflowId),
    /// So many fires of it wait already.
    #[error("{} has {limit} fires waiting, which is the limit; try again later", id.name())]
    TooManyPending {
        /// The workflow.
        id: WorkflowId,
        /// The limit.
        limit: usize,
    },
    /// The message would be too long with the payload.
    #[error("the message of {} would be longer than {limit} bytes with this payload; send less", id.name())]
    PayloadTooLong {
        /// The workflow.
        id: WorkflowId,
        /// The limit.
        limit: usize,
    },
}
