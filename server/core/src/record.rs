//! What is durable: the records that the machine is recovered from, and that every outcome adds to.

mod request;

pub use request::{Fate, RequestRecord};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rekindle::checkpoint::{AskedSave, Checkpoint, CheckpointId};
use rekindle::execution::{Delivery, ExecutionId};
use rekindle::exit::ExitEvidence;
use rekindle::host::Host;
use rekindle::id::{
    AgentId, AgentUid, Epoch, FireNumber, Incarnation, Marker, ReportSequence, RequestId, Sequence, ShimInstance,
};
use rekindle::launch::Launch;
use rekindle::policy::AgentPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::recovery::Budget;
use rekindle::report::{HelloOrder, Survivor};
use rekindle::session::Wanted;
use rekindle::state::{AgentState, Desired, FailureCause};
use rekindle::time::Timestamp;
use rekindle::workflow::WorkflowId;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointRecord, Line};
use crate::claim::Admission;
use crate::event::Event;
use crate::execution::ExecutionRecord;
use crate::host::{HostKey, HostRecord};
use crate::workflow::WorkflowRecord;

/// One durable change. Those of one outcome are written as one atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The agent is this, from here on.
    Agent(Arc<AgentRecord>),
    /// The agent is forgotten.
    AgentDeleted(AgentId),
    /// A line is added to the log.
    Event(Arc<Event>),
    /// The log's oldest lines, through this one, are forgotten. Never the newest line.
    EventsTrimmed {
        /// The newest line that goes.
        through: Sequence,
    },
    /// What is known of an operator's request.
    Request(Arc<RequestRecord>),
    /// The execution is this, from here on.
    Execution(Arc<ExecutionRecord>),
    /// What an execution asks for. Written once, with the execution.
    ExecutionMessage {
        /// The agent.
        agent: AgentId,
        /// The execution.
        id: ExecutionId,
        /// At most [`rekindle::execution::MESSAGE_MAX_BYTES`].
        text: String,
    },
    /// What is kept of the output of an execution's newest attempt.
    ExecutionOutput {
        /// The agent.
        agent: AgentId,
        /// The execution.
        id: ExecutionId,
        /// At most [`rekindle::execution::OUTPUT_MAX_BYTES`].
        text: Arc<str>,
    },
    /// An execution is forgotten, with its message and its output.
    ExecutionForgotten {
        /// The agent.
        agent: AgentId,
        /// The execution.
        id: ExecutionId,
    },
    /// The checkpoint is this, from here on, but for its body.
    Checkpoint(Arc<CheckpointRecord>),
    /// What a checkpoint says. Written once, with its first [`Record::Checkpoint`].
    CheckpointContent {
        /// The agent.
        agent: AgentId,
        /// All that does not change of it.
        checkpoint: Arc<Checkpoint>,
    },
    /// A checkpoint is forgotten, with all that it says.
    CheckpointForgotten {
        /// The agent.
        agent: AgentId,
        /// The checkpoint.
        id: CheckpointId,
    },
    /// A request is forgotten.
    RequestForgotten {
        /// The agent that it was for.
        agent: AgentId,
        /// The request.
        id: RequestId,
    },
    /// The workflow is this, from here on.
    Workflow(Arc<WorkflowRecord>),
    /// What a workflow asks for, from here on.
    WorkflowMessage {
        /// The workflow.
        id: WorkflowId,
        /// At most [`rekindle::execution::MESSAGE_MAX_BYTES`].
        text: Arc<str>,
    },
    /// What a fire that waits has brought. Written once, with the fire.
    FirePayload {
        /// The workflow.
        id: WorkflowId,
        /// The fire.
        fire: FireNumber,
        /// At most [`rekindle::workflow::PAYLOAD_MAX_BYTES`], and not empty.
        text: Arc<str>,
    },
    /// A fire that brought something waits no longer.
    FirePayloadForgotten {
        /// The workflow.
        id: WorkflowId,
        /// The fire.
        fire: FireNumber,
    },
    /// The workflow is forgotten, with its message and the payloads of its fires.
    WorkflowDeleted(WorkflowId),
    /// What is known of a host's boots.
    Host(Arc<HostRecord>),
    /// A host is forgotten: no agent is held there.
    HostForgotten(HostKey),
}

/// Everything that a machine is recovered from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Every agent.
    pub agents: Vec<AgentRecord>,
    /// Every remembered request.
    pub requests: Vec<RequestRecord>,
    /// Every execution that is kept.
    pub executions: Vec<ExecutionRecord>,
    /// Every checkpoint that is kept.
    pub checkpoints: Vec<CheckpointRecord>,
    /// Every host that is known to have rebooted.
    pub hosts: Vec<HostRecord>,
    /// Every workflow.
    pub workflows: Vec<WorkflowRecord>,
    /// What each of them asks for.
    pub workflow_messages: Vec<(WorkflowId, Arc<str>)>,
    /// What fires that wait have brought.
    pub fire_payloads: Vec<(WorkflowId, FireNumber, Arc<str>)>,
    /// The oldest and the newest event that are kept.
    pub events: Option<(Sequence, Sequence)>,
}

/// What is durable of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// `{agent}` of `agents/{agent}`.
    pub id: AgentId,
    /// Another one for each creation.
    pub uid: AgentUid,
    /// When it became known.
    pub created: Timestamp,
    /// When this record was written.
    pub updated: Timestamp,
    /// Rises with each write; the etag.
    pub revision: u64,
    /// Labels in force.
    pub labels: BTreeMap<String, String>,
    /// Who set them.
    pub labels_source: Source,
    /// Policy in force.
    pub policy: AgentPolicy,
    /// Who set it.
    pub policy_source: Source,
    /// What operators want.
    pub desired: Desired,
    /// What is.
    pub state: AgentState,
    /// Why it is so.
    pub reason: StateReason,
    /// Since when it is so.
    pub state_since: Timestamp,
    /// The newest incarnation that was ordered or seen.
    pub incarnation: Incarnation,
    /// The highest number that a shim says it has used, or may have given to a life of which nobody will hear.
    #[serde(default)]
    pub used_elsewhere: Incarnation,
    /// An operator has taken the blame for what is left of lives through this one.
    #[serde(default)]
    pub given_up: Incarnation,
    /// The life that goes on, as far as is known, with its process.
    pub process: Option<AgentProcess>,
    /// The newest session.
    pub epoch: Epoch,
    /// The shim that holds the agent, or held it last.
    pub holder: Option<Holder>,
    /// The newest report that was applied.
    pub reports: Option<ReportCursor>,
    /// What is spent of the recovery's budget.
    pub budget: Budget,
    /// Whether the newest incarnation was started by the recovery, and is not ready yet.
    pub recovering: bool,
    /// What an operator ordered and is not done.
    pub operation: Option<Operation>,
    /// The newest failure.
    pub last_failure: Option<Failure>,
    /// Until when the newest failure parks the agent, where it is of class QUOTA.
    #[serde(default)]
    pub parked_until: Option<Timestamp>,
    /// What a start goes on from: the life that a reboot has ended, until a later one is ready.
    #[serde(default)]
    pub resume: Option<Resume>,
    /// Its checkpoints, but for those that are kept.
    #[serde(default)]
    pub checkpoint_line: Line,
}

impl AgentRecord {
    /// An agent that nobody has heard of: PENDING, with every default, and without a uid.
    pub fn unborn(id: AgentId, now: Timestamp) -> Self {
        Self {
            id,
            uid: AgentUid::from_u128(0),
            created: now,
            updated: now,
            revision: 0,
            labels: BTreeMap::new(),
            labels_source: Source::Shim,
            policy: AgentPolicy::default(),
            policy_source: Source::Shim,
            desired: Desired::Running,
            state: AgentState::Pending,
            reason: StateReason::None,
            state_since: now,
            incarnation: Incarnation::ZERO,
            used_elsewhere: Incarnation::ZERO,
            given_up: Incarnation::ZERO,
            process: None,
            epoch: Epoch::ZERO,
            holder: None,
            reports: None,
            budget: Budget::default(),
            recovering: false,
            operation: None,
            last_failure: None,
            parked_until: None,
            resume: None,
            checkpoint_line: Line::default(),
        }
    }
}

/// Who set an agent's labels or policy. An operator wins over the shim's flags, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The shim's flags.
    Shim,
    /// UpdateAgent.
    Operator,
}

/// Why an agent is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateReason {
    /// The state says it all.
    None,
    /// A failure, `last_failure`.
    Failure(FailureCause),
    /// An operator's call.
    Operator,
    /// The automatic recovery.
    Recovery,
    /// The first start.
    FirstStart,
    /// The work is done: a clean exit that the policy does not repeat.
    Finished,
    /// A clean exit that the policy repeats.
    Repeat,
    /// The host has rebooted.
    Reboot,
    /// The shim was told to stop, and ended its child.
    ShimStopped,
    /// No shim is connected that could start it.
    AwaitingShim,
    /// The lease ran out.
    LeaseExpired,
    /// Processes of the old tree outlived SIGKILL.
    Survivors,
    /// The agent said that it is ending by itself.
    Agent,
}

impl StateReason {
    /// The stable word of `state_reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Failure(cause) => cause.as_str(),
            Self::Operator => "operator",
            Self::Recovery => "recovery",
            Self::FirstStart => "first_start",
            Self::Finished => "exit:clean",
            Self::Repeat => "exit:repeat",
            Self::Reboot => "exit:reboot",
            Self::ShimStopped => "exit:shim_stopped",
            Self::AwaitingShim => "awaiting_shim",
            Self::LeaseExpired => "lease_expired",
            Self::Survivors => "survivors",
            Self::Agent => "agent",
        }
    }
}

/// A life that goes on, as far as is known, and its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProcess {
    /// The life.
    pub incarnation: Incarnation,
    /// What its process is told from others by; `None` where it has none of its own, but one for each message.
    pub identity: Option<ProcessIdentity>,
    /// Host that it runs on.
    pub host: String,
}

/// A life that a reboot has ended, and what it ran with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The life.
    pub incarnation: Incarnation,
    /// What it ran with, where its shim has told.
    pub launch: Option<Launch>,
}

/// The shim that holds an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its life.
    pub instance: ShimInstance,
    /// Where it runs.
    pub host: Host,
    /// The marker of its state directory.
    pub marker: Marker,
    /// Its version.
    pub shim_version: String,
    /// Without a server for so long, it ends its child.
    pub fence_after: Option<Duration>,
    /// How it hands messages to the agent.
    #[serde(default)]
    pub delivery: Delivery,
    /// The longest stop grace that it may be going by: a shorter one may not have reached it.
    pub stop_grace_max: Duration,
    /// The place of the hello that it was welcomed by.
    #[serde(default)]
    pub order: HelloOrder,
    /// When its newest session began.
    pub connected: Timestamp,
    /// When it was last heard, once its newest session is over; unknown where the server ended before the session.
    #[serde(default)]
    pub last_heard: Option<Timestamp>,
    /// Whether it still has a claim on the agent.
    pub claim: Claim,
    /// What it may go by where it is left alone: `Run` from before it is told so until it has confirmed that it rests.
    #[serde(default)]
    pub goes_by: Wanted,
    /// What it runs the program with, where it tells.
    #[serde(default)]
    pub launch: Option<Launch>,
    /// How it came to hold the agent, until its inventory was held against what is wanted: what became of the lives
    /// before its own depends on it, and neither another stream nor a restart of the server may forget it.
    #[serde(default)]
    pub unsettled: Option<Unsettled>,
}

/// What is still to be concluded when a holder says what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// How it came to hold the agent.
    pub admission: Admission,
    /// What the lives before its own ran with, where that was told.
    pub launch: Option<Launch>,
}

impl Holder {
    /// What the newest life that may not be its own ran with, where that was told.
    pub fn launch_of_lives(&self) -> Option<&Launch> {
        match &self.unsettled {
            Some(unsettled) => unsettled.launch.as_ref(),
            None => self.launch.as_ref(),
        }
    }
}

/// Whether a holder's claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// Nobody else may take the agent but by the rules.
    Held,
    /// An operator took the claim away.
    Released,
    /// It said goodbye, and had told everything by then.
    Left,
}

/// The newest report that was applied, by the numbering of one marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportCursor {
    /// Whose numbering.
    pub marker: Marker,
    /// The newest applied.
    pub sequence: ReportSequence,
}

/// What an operator ordered. Open until it is done, has failed, or is replaced by a later order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Which order.
    pub kind: OperationKind,
    /// The incarnation that shall run, or the newest that shall end.
    pub target: Incarnation,
    /// The state before the order.
    pub previous_state: AgentState,
    /// The caller's words.
    pub reason: String,
    /// Replaces the policy's `stop_grace`.
    pub grace: Option<Duration>,
    /// Executions that it cancels, as the policy's `on_restart` has it.
    #[serde(default)]
    pub cancels: Vec<ExecutionId>,
    /// What the life that it orders goes on from.
    #[serde(default)]
    pub context: Context,
    /// Whether the life that it ended saved when it was asked to; `None` as long as none has ended.
    #[serde(default)]
    pub asked: Option<AskedSave>,
}

/// What a life that an operator orders goes on from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Context {
    /// The agent's checkpoint, where one is open.
    #[default]
    Resume,
    /// Nothing: what is open is closed.
    Fresh,
}

/// Which order an operator gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationKind {
    /// RestartAgent.
    Restart,
    /// StartAgent, the same under another name.
    Start,
    /// StopAgent.
    Stop,
}

impl OperationKind {
    /// The verb, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// The newest failure of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why.
    pub cause: FailureCause,
    /// One sentence for people.
    pub message: String,
    /// When it was, by the clock of the host that saw it; where nobody saw it, when the server learned of it.
    pub time: Timestamp,
    /// The life that failed.
    pub incarnation: Incarnation,
    /// How the life ended, where a shim saw it.
    pub evidence: Option<ExitEvidence>,
    /// What is left of a tree that SIGKILL did not end.
    pub survivors: Vec<Survivor>,
}
