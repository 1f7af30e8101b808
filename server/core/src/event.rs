//! One line of the durable history.

use std::collections::BTreeMap;
use std::fmt;

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::{AgentId, Incarnation, Sequence};
use rekindle::time::Timestamp;
use rekindle::workflow::{AgentEventKind, WorkflowId};
use serde::{Deserialize, Serialize};

/// One durable line of history, written in the same commit as the change that it tells of (invariant I5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the log, without holes.
    pub sequence: Sequence,
    /// When it was decided, by the server's wall clock.
    pub time: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The agent that it is about.
    pub agent: Option<AgentId>,
    /// The agent's incarnation that it is about.
    pub incarnation: Incarnation,
    /// The agent's execution that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
    /// The workflow that it is about, or that made the execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// One sentence for people.
    pub message: String,
    /// The numbers behind the sentence, for programs.
    pub attributes: BTreeMap<String, String>,
}

/// What an event tells of. Every change of an agent's state has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// PENDING: the agent became known.
    AgentRegistered,
    /// STARTING: the order to start is given.
    AgentStarting,
    /// Still STARTING: the process exists.
    AgentStarted,
    /// RUNNING: the process is ready.
    AgentReady,
    /// CRASHED.
    AgentCrashed,
    /// UNREACHABLE.
    AgentUnreachable,
    /// Back from silence, with the same process.
    AgentReconnected,
    /// An operator's restart or start has its new process ready.
    AgentRestarted,
    /// STOPPING: the old tree is being ended.
    AgentStopping,
    /// STOPPED.
    AgentStopped,
    /// TERMINATED.
    AgentTerminated,
    /// QUARANTINED.
    AgentQuarantined,
    /// Another shim holds the agent.
    AgentTakenOver,
    /// The agent is forgotten.
    AgentDeleted,
    /// An automatic restart waits for its time.
    RecoveryScheduled,
    /// An automatic restart begins, and has spent its attempt.
    RecoveryStarted,
    /// The process of an automatic restart is ready.
    RecoverySucceeded,
    /// The budget is spent.
    RecoveryExhausted,
    /// An execution is QUEUED: it waits for a slot.
    ExecutionQueued,
    /// An execution is DISPATCHED: sent to the shim.
    ExecutionDispatched,
    /// An execution is ACCEPTED: in the shim's keeping.
    ExecutionAccepted,
    /// An execution is RUNNING: the agent works on it.
    ExecutionRunning,
    /// An execution is SUCCEEDED.
    ExecutionSucceeded,
    /// An execution is FAILED.
    ExecutionFailed,
    /// An execution is CANCELLED.
    ExecutionCancelled,
    /// An execution is TIMED_OUT.
    ExecutionTimedOut,
    /// An execution is LOST: nobody can say how it ended.
    ExecutionLost,
    /// An execution is DEAD_LETTER: the agent died with it, as often as its policy allows.
    ExecutionDeadLetter,
    /// So many executions are missing, or known to their shims alone, that no verdict falls on them.
    ExecutionVerdictsHeld,
    /// An attempt that the server does not want, or does not know: its shim is told to end it, or its result is dropped.
    ExecutionDisowned,
    /// Executions wait for an agent whose shim takes none.
    ExecutionStranded,
    /// Processes of an execution outlived SIGKILL; it is held until they are dead.
    ExecutionQuarantined,
    /// A workflow was made.
    WorkflowCreated,
    /// A workflow was changed.
    WorkflowUpdated,
    /// A workflow is forgotten.
    WorkflowDeleted,
    /// A workflow that is enabled has its agent RUNNING: its runner fires.
    WorkflowArmed,
    /// A workflow is disabled, or its agent is RUNNING no longer: its runner fires no more.
    WorkflowDisarmed,
    /// A workflow went off: the fire waits for its turn.
    WorkflowTriggered,
    /// Fires of a workflow were skipped, as its policy or a limit has it.
    WorkflowSkipped,
    /// A fire of a workflow waited for longer than it may.
    WorkflowExpired,
    /// A checkpoint is kept.
    CheckpointSaved,
    /// A life was handed a checkpoint.
    CheckpointHandedOver,
    /// No life gets a checkpoint any more, as what it is about is over.
    CheckpointClosed,
    /// No life gets a checkpoint any more, as lives crashed that had read it.
    CheckpointSetAside,
    /// A host is in a later boot.
    HostRebooted,
    /// A server began to serve these records.
    ServerStarted,
    /// The server found that it had been paused; it judged nobody for that.
    ServerPaused,
}

/// What an event is about, as far as others go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// An agent's life took this turn.
    Agent(AgentEventKind),
    /// An execution is in this state.
    Execution(ExecutionState),
    /// A workflow, or its fires.
    Workflow,
    /// Something that nothing goes by.
    Other,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 47] = [
        Self::AgentRegistered,
        Self::AgentStarting,
        Self::AgentStarted,
        Self::AgentReady,
        Self::AgentCrashed,
        Self::AgentUnreachable,
        Self::AgentReconnected,
        Self::AgentRestarted,
        Self::AgentStopping,
        Self::AgentStopped,
        Self::AgentTerminated,
        Self::AgentQuarantined,
        Self::AgentTakenOver,
        Self::AgentDeleted,
        Self::RecoveryScheduled,
        Self::RecoveryStarted,
        Self::RecoverySucceeded,
        Self::RecoveryExhausted,
        Self::ExecutionQueued,
        Self::ExecutionDispatched,
        Self::ExecutionAccepted,
        Self::ExecutionRunning,
        Self::ExecutionSucceeded,
        Self::ExecutionFailed,
        Self::ExecutionCancelled,
        Self::ExecutionTimedOut,
        Self::ExecutionLost,
        Self::ExecutionDeadLetter,
        Self::ExecutionVerdictsHeld,
        Self::ExecutionDisowned,
        Self::ExecutionStranded,
        Self::ExecutionQuarantined,
        Self::WorkflowCreated,
        Self::WorkflowUpdated,
        Self::WorkflowDeleted,
        Self::WorkflowArmed,
        Self::WorkflowDisarmed,
        Self::WorkflowTriggered,
        Self::WorkflowSkipped,
        Self::WorkflowExpired,
        Self::CheckpointSaved,
        Self::CheckpointHandedOver,
        Self::CheckpointClosed,
        Self::CheckpointSetAside,
        Self::HostRebooted,
        Self::ServerStarted,
        Self::ServerPaused,
    ];

    /// The word of the design, as `EVENT_TYPE_` has it in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentRegistered => "AGENT_REGISTERED",
            Self::AgentStarting => "AGENT_STARTING",
            Self::AgentStarted => "AGENT_STARTED",
            Self::AgentReady => "AGENT_READY",
            Self::AgentCrashed => "AGENT_CRASHED",
            Self::AgentUnreachable => "AGENT_UNREACHABLE",
            Self::AgentReconnected => "AGENT_RECONNECTED",
            Self::AgentRestarted => "AGENT_RESTARTED",
            Self::AgentStopping => "AGENT_STOPPING",
            Self::AgentStopped => "AGENT_STOPPED",
            Self::AgentTerminated => "AGENT_TERMINATED",
            Self::AgentQuarantined => "AGENT_QUARANTINED",
            Self::AgentTakenOver => "AGENT_TAKEN_OVER",
            Self::AgentDeleted => "AGENT_DELETED",
            Self::RecoveryScheduled => "RECOVERY_SCHEDULED",
            Self::RecoveryStarted => "RECOVERY_STARTED",
            Self::RecoverySucceeded => "RECOVERY_SUCCEEDED",
            Self::RecoveryExhausted => "RECOVERY_EXHAUSTED",
            Self::ExecutionQueued => "EXECUTION_QUEUED",
            Self::ExecutionDispatched => "EXECUTION_DISPATCHED",
            Self::ExecutionAccepted => "EXECUTION_ACCEPTED",
            Self::ExecutionRunning => "EXECUTION_RUNNING",
            Self::ExecutionSucceeded => "EXECUTION_SUCCEEDED",
            Self::ExecutionFailed => "EXECUTION_FAILED",
            Self::ExecutionCancelled => "EXECUTION_CANCELLED",
            Self::ExecutionTimedOut => "EXECUTION_TIMED_OUT",
            Self::ExecutionLost => "EXECUTION_LOST",
            Self::ExecutionDeadLetter => "EXECUTION_DEAD_LETTER",
            Self::ExecutionVerdictsHeld => "EXECUTION_VERDICTS_HELD",
            Self::ExecutionDisowned => "EXECUTION_DISOWNED",
            Self::ExecutionStranded => "EXECUTION_STRANDED",
            Self::ExecutionQuarantined => "EXECUTION_QUARANTINED",
            Self::WorkflowCreated => "WORKFLOW_CREATED",
            Self::WorkflowUpdated => "WORKFLOW_UPDATED",
            Self::WorkflowDeleted => "WORKFLOW_DELETED",
            Self::WorkflowArmed => "WORKFLOW_ARMED",
            Self::WorkflowDisarmed => "WORKFLOW_DISARMED",
            Self::WorkflowTriggered => "WORKFLOW_TRIGGERED",
            Self::WorkflowSkipped => "WORKFLOW_SKIPPED",
            Self::WorkflowExpired => "WORKFLOW_EXPIRED",
            Self::CheckpointSaved => "CHECKPOINT_SAVED",
            Self::CheckpointHandedOver => "CHECKPOINT_HANDED_OVER",
            Self::CheckpointClosed => "CHECKPOINT_CLOSED",
            Self::CheckpointSetAside => "CHECKPOINT_SET_ASIDE",
            Self::HostRebooted => "HOST_REBOOTED",
            Self::ServerStarted => "SERVER_STARTED",
            Self::ServerPaused => "SERVER_PAUSED",
        }
    }

    /// What it is about, for what follows from it.
    pub const fn about(self) -> About {
        use {AgentEventKind as Agent, ExecutionState as Execution};
        match self {
            Self::AgentRegistered => About::Agent(Agent::Registered),
            Self::AgentStarting => About::Agent(Agent::Starting),
            Self::AgentStarted => About::Agent(Agent::Started),
            Self::AgentReady => About::Agent(Agent::Ready),
            Self::AgentCrashed => About::Agent(Agent::Crashed),
            Self::AgentUnreachable => About::Agent(Agent::Unreachable),
            Self::AgentReconnected => About::Agent(Agent::Reconnected),
            Self::AgentRestarted => About::Agent(Agent::Restarted),
            Self::AgentStopping => About::Agent(Agent::Stopping),
            Self::AgentStopped => About::Agent(Agent::Stopped),
            Self::AgentTerminated => About::Agent(Agent::Terminated),
            Self::AgentQuarantined => About::Agent(Agent::Quarantined),
            Self::AgentTakenOver => About::Agent(Agent::TakenOver),
            Self::AgentDeleted => About::Agent(Agent::Deleted),
            Self::ExecutionQueued => About::Execution(Execution::Queued),
            Self::ExecutionDispatched => About::Execution(Execution::Dispatched),
            Self::ExecutionAccepted => About::Execution(Execution::Accepted),
            Self::ExecutionRunning => About::Execution(Execution::Running),
            Self::ExecutionSucceeded => About::Execution(Execution::Succeeded),
            Self::ExecutionFailed => About::Execution(Execution::Failed),
            Self::ExecutionCancelled => About::Execution(Execution::Cancelled),
            Self::ExecutionTimedOut => About::Execution(Execution::TimedOut),
            Self::ExecutionLost => About::Execution(Execution::Lost),
            Self::ExecutionDeadLetter => About::Execution(Execution::DeadLetter),
            Self::WorkflowCreated
            | Self::WorkflowUpdated
            | Self::WorkflowDeleted
            | Self::WorkflowArmed
            | Self::WorkflowDisarmed
            | Self::WorkflowTriggered
            | Self::WorkflowSkipped
            | Self::WorkflowExpired => About::Workflow,
            Self::RecoveryScheduled
            | Self::RecoveryStarted
            | Self::RecoverySucceeded
            | Self::RecoveryExhausted
            | Self::ExecutionVerdictsHeld
            | Self::ExecutionDisowned
            | Self::ExecutionStranded
            | Self::ExecutionQuarantined
            | Self::CheckpointSaved
            | Self::CheckpointHandedOver
            | Self::CheckpointClosed
            | Self::CheckpointSetAside
            | Self::HostRebooted
            | Self::ServerStarted
            | Self::ServerPaused => About::Other,
        }
    }

    /// The state that an execution is in from here on, where it is about that.
    pub const fn execution_state(self) -> Option<ExecutionState> {
        match self.about() {
            About::Execution(state) => Some(state),
            About::Agent(_) | About::Workflow | About::Other => None,
        }
    }
}

impl From<ExecutionState> for EventKind {
    fn from(state: ExecutionState) -> Self {
        match state {
            ExecutionState::Queued => Self::ExecutionQueued,
            ExecutionState::Dispatched => Self::ExecutionDispatched,
            ExecutionState::Accepted => Self::ExecutionAccepted,
            ExecutionState::Running => Self::ExecutionRunning,
            ExecutionState::Succeeded => Self::ExecutionSucceeded,
            ExecutionState::Failed => Self::ExecutionFailed,
            ExecutionState::Cancelled => Self::ExecutionCancelled,
            ExecutionState::TimedOut => Self::ExecutionTimedOut,
            ExecutionState::Lost => Self::ExecutionLost,
            ExecutionState::DeadLetter => Self::ExecutionDeadLetter,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_and_each_state_is_told_of_by_the_event_of_its_name() {
        let (mut turns, mut states) = (0, 0);
        for kind in EventKind::ALL {
            match kind.about() {
                About::Agent(turn) => {
                    assert_eq!(turn.as_str(), kind.as_str());
                    turns += 1;
                }
                About::Execution(state) => {
                    assert_eq!(EventKind::from(state), kind);
                    states += 1;
                }
                About::Workflow => assert!(kind.as_str().starts_with("WORKFLOW_")),
                About::Other => assert!(!kind.as_str().starts_with("WORKFLOW_")),
            }
        }
        assert_eq!((turns, states), (AgentEventKind::ALL.len(), ExecutionState::ALL.len()));
    }
}
