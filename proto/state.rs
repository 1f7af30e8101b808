//! What an agent is, and what operators want it to be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What operators want. Durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Desired {
    /// A process should run.
    Running,
    /// No process should run.
    Stopped,
}

/// What is, as far as the server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AgentState {
    /// Known; no shim has ever connected.
    Pending,
    /// Told to start, or spawned and not ready.
    Starting,
    /// The child is alive by identity, and ready.
    Running,
    /// The shim's lease ran out. The child is presumed alive; nothing destructive follows.
    Unreachable,
    /// The child is dead, or its shim silent past `heartbeat_timeout`.
    Crashed,
    /// The old process tree is being ended.
    Stopping,
    /// Ended on purpose, finished cleanly, or gone with a reboot.
    Stopped,
    /// Recovery is exhausted. Parked until an operator acts.
    Terminated,
    /// The old process tree could not be proven dead.
    Quarantined,
}

impl AgentState {
    /// Every state, in the order of the lifecycle.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Unreachable,
        Self::Crashed,
        Self::Stopping,
        Self::Stopped,
        Self::Terminated,
        Self::Quarantined,
    ];

    /// The word of the design, as operators see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Unreachable => "UNREACHABLE",
            Self::Crashed => "CRASHED",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Terminated => "TERMINATED",
            Self::Quarantined => "QUARANTINED",
        }
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why an agent, or an execution, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCause {
    /// The child exited by itself.
    Exited,
    /// A signal that the shim did not send ended the child.
    Signaled,
    /// The program does not exist, or could not be executed.
    SpawnFailed,
    /// Not ready within `start_timeout`.
    StartTimeout,
    /// The shim was silent past `heartbeat_timeout`.
    HeartbeatTimeout,
    /// The shim died; its child died with it, unseen.
    ShimLost,
    /// The shim had no server for `fence_after`, and ended its child.
    Fenced,
    /// Processes of the tree outlived SIGKILL.
    Survivors,
    /// The kernel ran out of memory, and ended the child.
    OomKilled,
    /// No ping came within `watchdog_timeout`.
    WatchdogTimeout,
    /// Nothing moved within `stall_timeout`.
    Stalled,
    /// Something is used up for a while, by an exit rule.
    Quota,
    /// A fault of the configuration, by an exit rule.
    Config,
    /// Credentials are missing or refused, by an exit rule.
    Auth,
    /// A message ran past its time.
    MessageTimeout,
    /// A message was cancelled that the agent worked on.
    MessageCancelled,
    /// The agent answered that it failed at an execution.
    Reported,
    /// Nobody can say how an execution ended.
    Lost,
    /// The agent was ended, or died, while it worked on an execution.
    Interrupted,
    /// An execution did not start within `schedule_to_start_timeout`.
    QueueTimeout,
    /// The message of an execution cannot be read, so that nobody was given it.
    MessageLost,
}

impl FailureCause {
    /// Every cause.
    pub const ALL: [Self; 21] = [
        Self::Exited,
        Self::Signaled,
        Self::SpawnFailed,
        Self::StartTimeout,
        Self::HeartbeatTimeout,
        Self::ShimLost,
        Self::Fenced,
        Self::Survivors,
        Self::OomKilled,
        Self::WatchdogTimeout,
        Self::Stalled,
        Self::Quota,
        Self::Config,
        Self::Auth,
        Self::MessageTimeout,
        Self::MessageCancelled,
        Self::Reported,
        Self::Lost,
        Self::Interrupted,
        Self::QueueTimeout,
        Self::MessageLost,
    ];

    /// The stable word, as in `state_reason` and in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "EXITED",
            Self::Signaled => "SIGNALED",
            Self::SpawnFailed => "SPAWN_FAILED",
            Self::StartTimeout => "START_TIMEOUT",
            Self::HeartbeatTimeout => "HEARTBEAT_TIMEOUT",
            Self::ShimLost => "SHIM_LOST",
            Self::Fenced => "FENCED",
            Self::Survivors => "SURVIVORS",
            Self::OomKilled => "OOM_KILLED",
            Self::WatchdogTimeout => "WATCHDOG_TIMEOUT",
            Self::Stalled => "STALLED",
            Self::Quota => "QUOTA",
            Self::Config => "CONFIG",
            Self::Auth => "AUTH",
            Self::MessageTimeout => "MESSAGE_TIMEOUT",
            Self::MessageCancelled => "MESSAGE_CANCELLED",
            Self::Reported => "REPORTED",
            Self::Lost => "LOST",
            Self::Interrupted => "INTERRUPTED",
            Self::QueueTimeout => "QUEUE_TIMEOUT",
            Self::MessageLost => "MESSAGE_LOST",
        }
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
