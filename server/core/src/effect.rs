//! Imperatives: all that a machine wants done, once what it persists is durable.

mod workflow;

pub use workflow::{TriggerAnswer, TriggerOutcome, Was, WorkflowAnswer, WorkflowError};

use std::sync::Arc;
use std::time::Duration;

use rekindle::checkpoint::{AskedSave, CheckpointId, CheckpointState};
use rekindle::execution::{AttemptId, ExecutionId, ExecutionState};
use rekindle::host::Host;
use rekindle::id::{AgentId, Epoch, Incarnation, ReportSequence};
use rekindle::policy::AgentPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::session::{Command, CommandId};
use rekindle::state::AgentState;
use rekindle::time::MonoTime;

use crate::execution::ExecutionRecord;
use crate::input::{CallId, SessionId};
use crate::record::{AgentRecord, Record};

/// What one step decided. `persist` is written as one atomic batch and made durable; then, and only then, `then` is
/// carried out in its order.
#[must_use = "an outcome that is dropped loses acknowledged state"]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What must be durable first.
    pub persist: Vec<Record>,
    /// What is done afterwards.
    pub then: Vec<Effect>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell a shim that it holds its agent.
    Welcome {
        /// Its stream.
        session: SessionId,
        /// The agent.
        agent: AgentId,
        /// The session's epoch.
        epoch: Epoch,
        /// The policy in force.
        policy: AgentPolicy,
        /// Reports through this one are durable.
        acknowledged: ReportSequence,
        /// What the server wants, in words for the shim's log.
        standing: String,
        /// The agent's newest checkpoint, as far as the server has one.
        checkpoint: Option<Box<CheckpointState>>,
    },
    /// End a stream that was not welcomed.
    Refuse {
        /// The stream.
        session: SessionId,
        /// Why.
        refusal: Refusal,
    },
    /// End a stream that was replaced by another, or broke the protocol.
    Disconnect {
        /// The stream.
        session: SessionId,
        /// Why.
        cause: Disconnect,
    },
    /// Tell a shim that its reports are durable.
    Acknowledge {
        /// Its stream.
        session: SessionId,
        /// Through this one.
        through: ReportSequence,
    },
    /// Tell a shim that the checkpoint that it told of is durable, or is not taken.
    CheckpointKept {
        /// Its stream.
        session: SessionId,
        /// Which one.
        id: CheckpointId,
        /// Why it is not taken.
        refused: Option<String>,
    },
    /// Tell a shim to do something. A command that cannot be delivered comes back as `CommandLost`. In a `Run` that offers a
    /// checkpoint with its content the body is left out: who carries it out puts it in.
    Command {
        /// Its stream.
        session: SessionId,
        /// The command's number.
        id: CommandId,
        /// What to do.
        command: Command,
    },
    /// Send a shim an attempt, with the execution's message. One that cannot be delivered is given again when the shim has
    /// said what it has; one whose message cannot be read comes back as `MessageLost`.
    Dispatch {
        /// Its stream.
        session: SessionId,
        /// The command's number.
        id: CommandId,
        /// The agent.
        agent: AgentId,
        /// The attempt.
        attempt: AttemptId,
        /// Time from its start, past which it is ended.
        timeout: Duration,
    },
    /// Answer a caller.
    Reply {
        /// The call.
        call: CallId,
        /// The answer.
        answer: Answer,
    },
}

/// Why a shim was not welcomed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another shim holds the agent: what the newcomer still runs of it must end, and nothing be started.
    #[error("another shim holds {agent}")]
    Held {
        /// The agent.
        agent: AgentId,
        /// Where the holder runs.
        holder: Host,
        /// How long ago the holder was last heard; `None` while its stream is open.
        silent_for: Option<Duration>,
    },
    /// The hello was long under way: a later one of the same shim came before it.
    #[error("a later hello of this shim came before this one")]
    Stale,
    /// The hello comes from a boot of its host that is known to be over.
    #[error(
        "{host} is in a later boot than the one that this shim says hello from; if it is not, two hosts share their name \
         and /etc/machine-id: give one another id (systemd-machine-id-setup(1)), and restart its shims"
    )]
    BootOver {
        /// Its node name.
        host: String,
    },
    /// More agents than the machine's limit.
    #[error("the server has its limit of {limit} agents")]
    TooManyAgents {
        /// The limit.
        limit: usize,
    },
}

/// Why a stream is ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disconnect {
    /// A newer session of the same agent took its place.
    #[error("a newer session has taken the place of this one")]
    Replaced,
    /// The shim said something that cannot be.
    #[error("the shim broke the protocol: {0}")]
    Protocol(String),
    /// An order to start was not carried out in time. It may connect again at once, and say what runs.
    #[error("an order to start was not carried out in time; connect again")]
    Overdue,
    /// The shim said goodbye.
    #[error("the shim said goodbye")]
    Left,
    /// The shim was silent for longer than its lease. It may connect again at once.
    #[error("the lease has run out; connect again")]
    LeaseExpired,
}

/// The answer to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To Run and Stop.
    Operation(Result<OperationAnswer, RequestError>),
    /// To Update.
    Updated(Result<Arc<AgentRecord>, RequestError>),
    /// To Delete.
    Deleted(Result<(), RequestError>),
    /// To Signal.
    Signalled(Result<SignalAnswer, RequestError>),
    /// To CreateExecution and RedriveExecution.
    Execution(Result<Arc<ExecutionRecord>, ExecutionError>),
    /// To CancelExecution.
    Cancelled(Result<CancelAnswer, ExecutionError>),
    /// To DeleteCheckpoint.
    CheckpointDeleted(Result<(), CheckpointError>),
    /// To CreateWorkflow and UpdateWorkflow.
    Workflow(Result<WorkflowAnswer, WorkflowError>),
    /// To DeleteWorkflow.
    WorkflowDeleted(Result<(), WorkflowError>),
    /// To TriggerWorkflow.
    Triggered(Result<TriggerAnswer, WorkflowError>),
}

/// Why a call about a checkpoint changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// No such checkpoint.
    #[error("{} does not exist; ListCheckpoints shows those that do", id.name(agent))]
    NotFound {
        /// The agent.
        agent: AgentId,
        /// The checkpoint.
        id: CheckpointId,
    },
}

/// What came of a cancel, when its call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelAnswer {
    /// The execution, as it is by then.
    pub execution: Arc<ExecutionRecord>,
    /// What came of it.
    pub outcome: CancelOutcome,
}

/// What came of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It is CANCELLED.
    Cancelled,
    /// It had ended otherwise first.
    AlreadyOver,
    /// Its end is durable as an order, and goes on.
    Pending,
}

/// Why a call about an execution changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// No such agent.
    #[error("agents/{0} does not exist; ListAgents shows those that do")]
    AgentNotFound(AgentId),
    /// No such execution.
    #[error("{} does not exist; ListExecutions shows those that do", id.name(agent))]
    NotFound {
        /// The agent.
        agent: AgentId,
        /// The execution.
        id: ExecutionId,
    },
    /// Another one has this name.
    #[error("{} exists already; choose another execution_id, or leave it out", id.name(agent))]
    Exists {
        /// The agent.
        agent: AgentId,
        /// The execution.
        id: ExecutionId,
    },
    /// The request id was used for something else.
    #[error("the request id was used for {}; use another id", used_for.name(agent))]
    RequestIdReused {
        /// The agent.
        agent: AgentId,
        /// What it was used for.
        used_for: ExecutionId,
    },
    /// It goes on, and cannot be done again meanwhile.
    #[error("{} is {state}; it can be done again when it is over", id.name(agent))]
    NotOver {
        /// The agent.
        agent: AgentId,
        /// The execution.
        id: ExecutionId,
        /// What it is.
        state: ExecutionState,
    },
    /// The agent takes no messages.
    #[error("agents/{0} takes no messages; start its shim with --delivery per-message, pull or stdin")]
    TakesNone(AgentId),
    /// So many wait already.
    #[error("agents/{agent} has {limit} executions waiting, its queue_limit; try again later")]
    QueueFull {
        /// The agent.
        agent: AgentId,
        /// The limit.
        limit: u32,
    },
}

/// How an operation stands when its call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationAnswer {
    /// The agent, as it is by then.
    pub agent: Arc<AgentRecord>,
    /// The state before the call.
    pub previous_state: AgentState,
    /// How it stands.
    pub outcome: OperationOutcome,
    /// Why, in words.
    pub detail: String,
    /// Executions that it cancels, or has cancelled.
    pub cancels: Vec<ExecutionId>,
    /// Whether the life that it ended saved when it was asked to; `None` as long as none has ended, as far as is known.
    pub asked: Option<AskedSave>,
    /// What the life that it ordered was handed.
    pub handed: Option<CheckpointId>,
}

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationOutcome {
    /// Done, as far as was waited for.
    Completed,
    /// Durable, and going on.
    Pending,
    /// Carried out, without success.
    Failed,
}

/// A signal was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalAnswer {
    /// Where the process runs.
    pub host: String,
    /// The process that got it.
    pub process: ProcessIdentity,
}

/// Why a call changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such agent.
    #[error("agents/{0} does not exist; ListAgents shows those that do")]
    NotFound(AgentId),
    /// The agent has changed since the caller looked.
    #[error("agents/{agent} has changed: its etag is \"{actual}\", not \"{expected}\"; read it again")]
    EtagMismatch {
        /// The agent.
        agent: AgentId,
        /// The caller's.
        expected: u64,
        /// The agent's.
        actual: u64,
    },
    /// The agent is in another life than the caller thinks.
    #[error("agents/{agent} is at incarnation {actual}, not {expected}; read it again")]
    IncarnationMismatch {
        /// The agent.
        agent: AgentId,
        /// The caller's.
        expected: Incarnation,
        /// The agent's.
        actual: Incarnation,
    },
    /// The request id was used for another kind of request.
    #[error("request id {id:?} was used for a {used_for} of agents/{agent}; use another id")]
    RequestIdReused {
        /// The agent.
        agent: AgentId,
        /// The id.
        id: String,
        /// What it was used for.
        used_for: &'static str,
    },
    /// Processes of the old tree live, and a second life must not begin beside them.
    #[error("agents/{0} is quarantined: processes of its old tree outlived SIGKILL; end them, then restart with force")]
    Quarantined(AgentId),
    /// The agent's shim is there, or may be.
    #[error("agents/{agent} is held by a shim on {host}; stop that shim first{}", if *.connected { "" } else { ", or use force" })]
    Active {
        /// The agent.
        agent: AgentId,
        /// Where its shim runs.
        host: String,
        /// Whether the shim is connected.
        connected: bool,
    },
    /// Nothing runs that could get the signal.
    #[error("agents/{agent} has no process that can be signalled: {why}")]
    NoProcess {
        /// The agent.
        agent: AgentId,
        /// Why.
        why: String,
    },
    /// The result would not be valid.
    #[error("{0}")]
    InvalidPolicy(rekindle::policy::PolicyError),
    /// The result would not be valid.
    #[error("{0}")]
    InvalidLabels(rekindle::label::LabelError),
    /// More agents than the machine's limit.
    #[error("the server has its limit of {limit} agents; delete those that are gone")]
    TooManyAgents {
        /// The limit.
        limit: usize,
    },
}

/// Why the machine must be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadlineReason {
    /// A shim whose stream has ended counts as silent.
    Lease,
    /// A cooldown ends, and an attempt begins.
    Recovery,
    /// An order to start was not carried out.
    StartTimeout,
    /// An agent has run long enough for its count of attempts to return to zero.
    Stable,
    /// A silent shim's agent counts as crashed.
    HeartbeatTimeout,
    /// An execution waits for a time of its own.
    Work,
    /// Executions are missing at their shims.
    Pass,
    /// A workflow waits for a time.
    Workflow,
}

/// When the machine must be woken, and why.
pub type Deadline = (MonoTime, DeadlineReason);
