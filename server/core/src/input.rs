//! Facts, in the past tense: all that a machine learns from outside.

use std::time::Duration;

use rekindle::checkpoint::{CheckpointId, HeldCheckpoint};
use rekindle::execution::{AttemptId, ExecutionId};
use rekindle::id::{AgentId, Incarnation, RequestId, Sequence, WorkflowUid};
use rekindle::policy::PolicyPatch;
use rekindle::process::ProcessIdentity;
use rekindle::report::{Hello, Inventory, Report};
use rekindle::session::CommandId;
use rekindle::time::MonoTime;
use rekindle::workflow::{FireKey, SecretHash, WorkflowId, WorkflowPatch, WorkflowSpec};

use crate::record::{Context, OperationKind};
use rekindle::label::LabelsPatch;

/// One stream from a shim, numbered by the driver; never used twice in one life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// One call of a client that waits for an answer, numbered by the driver; never used twice in one life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A stream was opened, and its first message was this.
    ShimConnected {
        /// The stream.
        session: SessionId,
        /// What the shim said of itself.
        hello: Box<Hello>,
    },
    /// The shim, having been welcomed, said what it holds. Nothing else of what it says is handed in before that.
    ShimInventoried {
        /// The stream that it came by.
        session: SessionId,
        /// What it holds.
        inventory: Box<Inventory>,
    },
    /// The shim told of a fact.
    ShimReported {
        /// The stream that it came by.
        session: SessionId,
        /// The fact.
        report: Report,
    },
    /// The shim told of the newest checkpoint that its state directory holds.
    ShimSaved {
        /// The stream that it came by.
        session: SessionId,
        /// What it holds.
        held: Box<HeldCheckpoint>,
    },
    /// The shim ends; its child is dead.
    ShimLeft {
        /// The stream that it came by.
        session: SessionId,
    },
    /// The shim begins nothing alone from here on: it has got a Stop, or a Charge to rest.
    ShimConfirmed {
        /// The stream that it came by.
        session: SessionId,
        /// The command.
        command: CommandId,
    },
    /// A signal command was carried out, or was not.
    ShimSignalled {
        /// The stream that it came by.
        session: SessionId,
        /// The command.
        command: CommandId,
        /// The process that got the signal, or why none did.
        result: Result<ProcessIdentity, String>,
    },
    /// A stream ended, for whatever reason.
    SessionClosed {
        /// The stream.
        session: SessionId,
        /// When the shim was last heard.
        last_heard: MonoTime,
    },
    /// A lease was not renewed in time.
    LeaseExpired {
        /// The stream whose lease it is.
        session: SessionId,
        /// When the shim was last heard.
        last_heard: MonoTime,
    },
    /// A command may or may not have reached the shim; its stream is gone or going.
    CommandLost {
        /// The command.
        command: CommandId,
    },
    /// The message of an attempt could not be read, so that the shim was not given the attempt.
    MessageLost {
        /// The stream that it was to go by.
        session: SessionId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// An operator asked for something.
    Requested {
        /// Where the answer goes.
        call: CallId,
        /// What was asked for.
        request: Request,
    },
    /// A caller's time is up: what it waits for goes on, and it is told so.
    CallExpired {
        /// The call.
        call: CallId,
    },
    /// A caller hung up: what it waited for goes on.
    CallAbandoned {
        /// The call.
        call: CallId,
    },
    /// Events through this one are older than the log keeps.
    EventsAged {
        /// The newest of them.
        through: Sequence,
    },
    /// These executions are over for longer than they are kept, or are among those that are more than are kept.
    ExecutionsAged {
        /// Which ones, those that are to go first before the others.
        executions: Vec<(AgentId, ExecutionId)>,
        /// How many of them go at most. One that has to stay is passed over, and does not count.
        most: usize,
    },
    /// The server found that it did not run for this long. It has renewed all leases.
    Paused {
        /// For how long.
        gap: Duration,
    },
    /// Time has passed.
    Tick,
}

/// What an operator can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// RestartAgent and StartAgent.
    Run(RunRequest),
    /// StopAgent.
    Stop(StopRequest),
    /// UpdateAgent.
    Update(Box<UpdateRequest>),
    /// DeleteAgent.
    Delete(DeleteRequest),
    /// SignalAgent.
    Signal(SignalRequest),
    /// CreateExecution and RedriveExecution.
    CreateExecution(Box<CreateExecution>),
    /// CancelExecution.
    CancelExecution(CancelExecution),
    /// CreateWorkflow.
    CreateWorkflow(Box<CreateWorkflow>),
    /// UpdateWorkflow.
    UpdateWorkflow(Box<UpdateWorkflow>),
    /// DeleteWorkflow.
    DeleteWorkflow(DeleteWorkflow),
    /// TriggerWorkflow, and a webhook's request whose secret is right.
    TriggerWorkflow(TriggerWorkflow),
    /// DeleteCheckpoint.
    DeleteCheckpoint {
        /// The agent.
        agent: AgentId,
        /// The checkpoint.
        id: CheckpointId,
    },
}

/// RestartAgent or StartAgent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRequest {
    /// The agent.
    pub agent: AgentId,
    /// Restart or Start; they differ in name alone.
    pub kind: OperationKind,
    /// The caller's words, for events.
    pub reason: String,
    /// Makes retries one request.
    pub request_id: Option<RequestId>,
    /// Guards against acting on an old picture.
    pub expected_incarnation: Option<Incarnation>,
    /// Replaces the policy's `stop_grace`.
    pub grace: Option<Duration>,
    /// When it does nothing.
    pub unless: Unless,
    /// What stops it.
    pub force: Force,
    /// What the new life goes on from.
    pub context: Context,
    /// What the call waits for.
    pub wait: Wait,
}

/// When a Restart or Start does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unless {
    /// It always acts.
    Never,
    /// It does nothing on an agent that is RUNNING or STARTING.
    Up,
}

/// Whether an operator takes the blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// The guards hold.
    No,
    /// The operator says that the old process is dead, or does not matter.
    Yes,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// That the order is durable.
    Accepted,
    /// That the process is spawned.
    Started,
    /// That the process is ready; for a stop, that the tree is dead.
    Ready,
}

/// StopAgent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopRequest {
    /// The agent.
    pub agent: AgentId,
    /// The caller's words, for events.
    pub reason: String,
    /// Makes retries one request.
    pub request_id: Option<RequestId>,
    /// Guards against acting on an old picture.
    pub expected_incarnation: Option<Incarnation>,
    /// Replaces the policy's `stop_grace`.
    pub grace: Option<Duration>,
    /// What the call waits for.
    pub wait: Wait,
}

/// UpdateAgent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRequest {
    /// The agent.
    pub agent: AgentId,
    /// What changes in the policy.
    pub policy: Option<PolicyPatch>,
    /// What changes in the labels.
    pub labels: Option<LabelsPatch>,
    /// When set, the agent's revision must be this one.
    pub etag: Option<u64>,
    /// What happens where there is no such agent.
    pub missing: Missing,
    /// Whether anything changes.
    pub mode: UpdateMode,
}

/// What an update does where there is no such agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It fails.
    Fail,
    /// It creates the agent, as PENDING.
    Create,
}

/// Whether an update changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// It does.
    Apply,
    /// It is only checked.
    ValidateOnly,
}

/// DeleteAgent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// The agent.
    pub agent: AgentId,
    /// When set, the agent's revision must be this one.
    pub etag: Option<u64>,
    /// Whether a process that may live stops it.
    pub force: Force,
}

/// CreateExecution, and RedriveExecution, which makes the same message once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateExecution {
    /// The agent.
    pub agent: AgentId,
    /// Its id; given by the machine where it is absent.
    pub id: Option<ExecutionId>,
    /// What the agent is asked to do.
    pub message: String,
    /// From the start of an attempt, past which it is ended. The agent's where it is absent.
    pub timeout: Option<Duration>,
    /// From now, past which it does not start any more.
    pub schedule_to_start: Option<Duration>,
    /// The higher, the earlier.
    pub priority: i32,
    /// Makes retries one request.
    pub request_id: Option<RequestId>,
    /// The execution that is done again, which must be over.
    pub redrive_of: Option<ExecutionId>,
}

/// CancelExecution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelExecution {
    /// The agent.
    pub agent: AgentId,
    /// The execution.
    pub id: ExecutionId,
    /// The caller's words, for events.
    pub reason: String,
    /// Replaces the policy's `stop_grace`.
    pub grace: Option<Duration>,
}

/// CreateWorkflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateWorkflow {
    /// Its id; given by the machine where it is absent.
    pub id: Option<WorkflowId>,
    /// What it shall do.
    pub spec: WorkflowSpec,
    /// What its agent is asked to do, at most [`rekindle::execution::MESSAGE_MAX_BYTES`].
    pub message: String,
    /// By what a webhook's caller is known; kept where the trigger is a webhook.
    pub secret: Option<SecretHash>,
    /// Makes retries one request.
    pub request_id: Option<RequestId>,
    /// Whether anything changes.
    pub mode: UpdateMode,
}

/// UpdateWorkflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateWorkflow {
    /// The workflow.
    pub id: WorkflowId,
    /// What changes of what it shall do.
    pub patch: WorkflowPatch,
    /// What its agent is asked to do from here on, at most [`rekindle::execution::MESSAGE_MAX_BYTES`].
    pub message: Option<String>,
    /// By what a webhook's caller is known from here on; kept where the trigger is a webhook, and has no secret yet or is
    /// to get another.
    pub secret: Option<SecretHash>,
    /// Whether a webhook that has a secret gets another.
    pub rotate: Rotate,
    /// When set, the workflow's revision must be this one.
    pub etag: Option<u64>,
    /// What happens where there is no such workflow.
    pub missing: Missing,
    /// Whether anything changes.
    pub mode: UpdateMode,
}

/// Whether a webhook that has a secret gets another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotate {
    /// It keeps its own.
    No,
    /// It does, and the old one is good no longer.
    Yes,
}

/// DeleteWorkflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteWorkflow {
    /// The workflow.
    pub id: WorkflowId,
    /// When set, the workflow's revision must be this one.
    pub etag: Option<u64>,
}

/// TriggerWorkflow, and a webhook's request whose secret is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerWorkflow {
    /// The workflow.
    pub id: WorkflowId,
    /// When set, which of those that have had this name: whose secret was right.
    pub uid: Option<WorkflowUid>,
    /// Makes retries one fire; given by the machine where it is absent.
    pub key: Option<FireKey>,
    /// What the message gets for `{payload}`; at most [`rekindle::workflow::PAYLOAD_MAX_BYTES`].
    pub payload: String,
    /// By which way it came.
    pub by: TriggeredBy,
}

/// By which way a workflow was triggered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggeredBy {
    /// TriggerWorkflow, which each workflow allows.
    Call,
    /// An HTTP request, which one with a webhook allows alone.
    Webhook,
}

/// SignalAgent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalRequest {
    /// The agent.
    pub agent: AgentId,
    /// The signal's number.
    pub signal: i32,
    /// Guards against acting on an old picture.
    pub expected_incarnation: Option<Incarnation>,
}
