//! What a shim and the server say to each other on one stream.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::activity::Activity;
use crate::checkpoint::{CheckpointId, CheckpointState, HeldCheckpoint, RunContext};
use crate::execution::{AttemptId, Dispatch, Follow, OutputPart};
use crate::id::{Epoch, Incarnation, ReportSequence};
use crate::policy::AgentPolicy;
use crate::process::ProcessIdentity;
use crate::report::{Hello, Inventory, Report};

/// Time between two pings of a shim on its connection (RFC 9113, PING).
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Time that a shim waits for the answer to a ping, past which its link is dead.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time that a shim takes for alive a link whose server is gone. The rules of takeover count on it.
pub const LINK_LOSS_MAX: Duration = KEEPALIVE_INTERVAL.saturating_add(KEEPALIVE_TIMEOUT);

/// One command that was sent, numbered by the server; never used twice in one life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What a shim says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShimMessage {
    /// First, and once.
    Hello(Box<Hello>),
    /// First after the welcome, but for heartbeats, and once.
    Inventory(Box<Inventory>),
    /// The shim lives.
    Heartbeat,
    /// A fact.
    Report(Box<Report>),
    /// The shim ends; its child is dead.
    Goodbye,
    /// What the child says that it is doing. Lost with the stream, and said again on the next.
    Activity(Activity),
    /// From here on it begins nothing alone: it has got this Stop, or this Charge to rest. Lost with the stream; the next
    /// inventory tells the same.
    Confirmed(CommandId),
    /// What came of a signal command: the process that got it, or why none did.
    SignalResult(CommandId, Result<ProcessIdentity, String>),
    /// A piece of what a running attempt has written, as `Follow` asked for.
    Output(OutputPart),
    /// The newest checkpoint that its state directory holds. Said where the server does not have it just so; the next one
    /// once this one is answered.
    Checkpoint(Box<HeldCheckpoint>),
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// First, and once.
    Welcome(Box<Welcome>),
    /// Reports through this one are durable.
    Acknowledge(ReportSequence),
    /// Something to do.
    Command(CommandId, Command),
    /// Whether what an attempt writes is to be sent.
    Follow(Follow),
    /// What became of the checkpoint that the shim has told.
    CheckpointKept(CheckpointKept),
}

/// The server's answer to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointKept {
    /// Which one.
    pub id: CheckpointId,
    /// Why it does not keep it, for people; `None`: it is durable there.
    pub refused: Option<String>,
}

/// What a server has of an agent's checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CheckpointStock {
    /// It is of a version that takes none, and would not understand what it is told of them.
    #[default]
    NotTaken,
    /// The newest, where there is one.
    Newest(Option<CheckpointState>),
}

/// What a shim that holds its agent goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The session's epoch.
    pub epoch: Epoch,
    /// Time between two heartbeats; the lease is three of them.
    pub heartbeat_interval: Duration,
    /// The policy in force.
    pub policy: AgentPolicy,
    /// Reports through this one are durable.
    pub acknowledged: ReportSequence,
    /// What the server wants, in words for the shim's log.
    pub standing: String,
    /// What it has of the agent's checkpoints.
    pub checkpoints: CheckpointStock,
}

/// What a shim can be told to do. It is never told what program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run this incarnation: end an older one, prove it dead, spawn. Told again, it does nothing.
    Run {
        /// The life.
        incarnation: Incarnation,
        /// Replaces the policy's `stop_grace`.
        grace: Option<Duration>,
        /// What it begins with.
        context: RunContext,
    },
    /// End this incarnation and any older one.
    Stop {
        /// The newest to end.
        incarnation: Incarnation,
        /// Replaces the policy's `stop_grace`.
        grace: Option<Duration>,
    },
    /// Send a signal to this incarnation's process.
    Signal {
        /// The life.
        incarnation: Incarnation,
        /// The signal's number.
        signal: i32,
    },
    /// Go by this policy from here on.
    SetPolicy(Box<AgentPolicy>),
    /// Go by this where the server is gone.
    Charge(Charge),
    /// Take this attempt, and begin it when a slot is free. Told again, it does nothing.
    Dispatch(Box<Dispatch>),
    /// End this attempt, and prove its processes dead. Of one that is not held, it does nothing.
    EndAttempt {
        /// Which one.
        attempt: AttemptId,
        /// Replaces the policy's `stop_grace`.
        grace: Option<Duration>,
        /// Whether it is to end in any case.
        when: EndWhen,
    },
}

/// When an attempt is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndWhen {
    /// At once.
    Now,
    /// If its time is over, by the shim's clock: that stands still while the agent is blocked.
    Overdue,
    /// If it has not begun.
    NotBegun,
}

/// What a shim goes by that is left alone: whether it may start the agent again, and what is spent of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Whether the agent is to run.
    pub wanted: Wanted,
    /// Attempts since the count last returned to zero.
    pub attempts: u32,
    /// How long ago the newest of them began.
    pub last_attempt_ago: Option<Duration>,
    /// Makes the jitter of different agents differ.
    pub salt: u64,
    /// Every life through this one has been, as far as the server knows: a power loss may have taken that from the shim.
    pub past: Incarnation,
}

/// Whether an agent is to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// After an end that nobody asked for it starts again, as its policy has it.
    Run,
    /// It stays as it is.
    #[default]
    Rest,
}
