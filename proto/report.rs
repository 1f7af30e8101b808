//! What a shim says of its child: numbered facts, told again until the server has acknowledged them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointId;
use crate::execution::{ATTEMPTS_MAX, AttemptId, AttemptResult, Delivery, HeldAttempt};
use crate::exit::ExitEvidence;
use crate::host::Host;
use crate::id::{AgentId, Incarnation, Marker, ReportSequence, ShimInstance};
use crate::launch::Launch;
use crate::policy::AgentPolicy;
use crate::process::ProcessIdentity;
use crate::session::Wanted;
use crate::time::Timestamp;

/// Most unacknowledged reports of lives. A shim that acts on commands alone has at most a handful.
pub const LIFE_REPORTS_MAX: usize = 64;

/// Most unacknowledged reports that come with one inventory: those of lives, and those of the executions that a shim can
/// have, each of which makes four.
pub const INVENTORY_REPORTS_MAX: usize = LIFE_REPORTS_MAX + 4 * ATTEMPTS_MAX;

/// Most lives that a shim which is left alone can begin and tell nobody of: each is in two reports at least.
pub const ALONE_LIVES_MAX: u64 = LIFE_REPORTS_MAX as u64 / 2;

/// Most survivors that are named when a tree could not be ended.
pub const SURVIVORS_MAX: usize = 16;

/// How long a shim that fences itself goes without a server: less would end children for a server's restart, more is
/// no fence.
pub const FENCE_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 60 * 60);

/// One fact about one incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its place among the reports of one marker.
    pub sequence: ReportSequence,
    /// When it happened, by the host's wall clock.
    pub time: Timestamp,
    /// The life that it is about.
    pub incarnation: Incarnation,
    /// What happened.
    pub fact: ReportFact,
}

/// What happened to an incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportFact {
    /// A shim that is left alone begins it by the policy; so many attempts are spent by then.
    Recovering {
        /// This one included.
        attempts: u32,
    },
    /// It runs, in this process where it has one: that of an agent with a process for each message has none.
    Spawned(Option<ProcessIdentity>),
    /// Another process of its tree is the one whose end is the life's.
    MainProcess(ProcessIdentity),
    /// It is ready.
    Ready,
    /// It says that it is ending by itself.
    Stopping,
    /// It is dead, and so is its whole tree.
    Exited(Box<ExitEvidence>),
    /// Its process could not be created; the text says which path, and why.
    SpawnFailed(String),
    /// SIGKILL did not end its tree within the kill proof.
    Survived(Vec<Survivor>),
    /// The attempt is in the shim's keeping.
    AttemptAccepted(AttemptId),
    /// The agent works on it, in this process where it has one of its own.
    AttemptStarted(AttemptId, Option<ProcessIdentity>),
    /// SIGKILL did not end its tree within the kill proof. Told again when others live of it.
    AttemptSurvived(AttemptId, Vec<Survivor>),
    /// It is over, and none of its processes is left.
    AttemptFinished(AttemptId, Box<AttemptResult>),
    /// It was handed this checkpoint. Once a life, as the two below.
    HandedOver(CheckpointId),
    /// It has read the checkpoint that it was handed.
    CheckpointRead(CheckpointId),
    /// It goes on with the checkpoint that it was handed, by its own word.
    CheckpointConfirmed(CheckpointId),
}

impl ReportFact {
    /// The attempt that it tells of.
    pub const fn attempt(&self) -> Option<&AttemptId> {
        match self {
            Self::AttemptAccepted(attempt)
            | Self::AttemptStarted(attempt, _)
            | Self::AttemptSurvived(attempt, _)
            | Self::AttemptFinished(attempt, _) => Some(attempt),
            Self::Recovering { .. }
            | Self::Spawned(_)
            | Self::MainProcess(_)
            | Self::Ready
            | Self::Stopping
            | Self::Exited(_)
            | Self::SpawnFailed(_)
            | Self::Survived(_)
            | Self::HandedOver(_)
            | Self::CheckpointRead(_)
            | Self::CheckpointConfirmed(_) => None,
        }
    }

    /// The attempt whose end it tells.
    pub const fn finished_attempt(&self) -> Option<&AttemptId> {
        match self.finished() {
            Some((attempt, _)) => Some(attempt),
            None => None,
        }
    }

    /// The attempt whose end it tells, and that.
    pub const fn finished(&self) -> Option<(&AttemptId, &AttemptResult)> {
        match self {
            Self::AttemptFinished(attempt, result) => Some((attempt, result)),
            Self::AttemptAccepted(_)
            | Self::AttemptStarted(..)
            | Self::AttemptSurvived(..)
            | Self::Recovering { .. }
            | Self::Spawned(_)
            | Self::MainProcess(_)
            | Self::Ready
            | Self::Stopping
            | Self::Exited(_)
            | Self::SpawnFailed(_)
            | Self::Survived(_)
            | Self::HandedOver(_)
            | Self::CheckpointRead(_)
            | Self::CheckpointConfirmed(_) => None,
        }
    }

    /// Whether it tells the end of its life.
    pub const fn is_end(&self) -> bool {
        match self {
            Self::Exited(_) | Self::SpawnFailed(_) => true,
            Self::Recovering { .. }
            | Self::Spawned(_)
            | Self::MainProcess(_)
            | Self::Ready
            | Self::Stopping
            | Self::Survived(_)
            | Self::AttemptAccepted(_)
            | Self::AttemptStarted(..)
            | Self::AttemptSurvived(..)
            | Self::AttemptFinished(..)
            | Self::HandedOver(_)
            | Self::CheckpointRead(_)
            | Self::CheckpointConfirmed(_) => false,
        }
    }
}

/// A process that SIGKILL did not end in time, in the boot of the shim that tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Its pid, in the shim's pid namespace.
    pub pid: u32,
    /// As [`crate::process::ProcessIdentity::pidfd_inode`].
    #[serde(default)]
    pub pidfd_inode: Option<u64>,
    /// As [`crate::process::ProcessIdentity::start_time_ticks`]; 0 where it could not be read.
    #[serde(default)]
    pub start_time_ticks: u64,
    /// Its name, /proc/pid/comm.
    pub command: String,
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}, ", self.command, self.pid)?;
        match self.pidfd_inode {
            Some(inode) => write!(f, "pidfd inode {inode})"),
            None => write!(f, "start time {})", self.start_time_ticks),
        }
    }
}

/// Who a shim is. Nothing in it changes while a stream is opened, so that it holds good however long it is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The agent that it supervises.
    pub agent: AgentId,
    /// The shim's version.
    pub shim_version: String,
    /// This life of the shim.
    pub instance: ShimInstance,
    /// Where it runs.
    pub host: Host,
    /// The marker of its state directory.
    pub marker: Marker,
    /// From its flags.
    pub labels: BTreeMap<String, String>,
    /// From its flags.
    pub policy: AgentPolicy,
    /// Without a server for so long, within [`FENCE_AFTER`], the shim ends its child.
    pub fence_after: Option<Duration>,
    /// Its place among the hellos of its marker.
    pub order: HelloOrder,
    /// What it runs the program with, where it tells.
    pub launch: Option<Launch>,
    /// How it hands messages to the agent.
    pub delivery: Delivery,
}

/// The place of a hello among those of one marker: one that was long under way is older than what came after it.
/// All zero where a shim does not number them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HelloOrder {
    /// Which life of the shim, counted in the state directory.
    pub life: u64,
    /// Which stream of that life.
    pub stream: u64,
}

/// What a shim holds: the whole truth about its child, once the server has welcomed it. A shim that is welcomed does
/// nothing alone, and a stream keeps its order, so that this is true still when it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Highest incarnation that its state directory has spawned, or tried to.
    pub last_incarnation: Incarnation,
    /// What runs.
    pub child: Option<Child>,
    /// The life of which processes are left that SIGKILL did not end, where the life itself is not known to run.
    pub quarantined: Option<Incarnation>,
    /// Executions that it has; at most [`ATTEMPTS_MAX`].
    pub attempts: Vec<HeldAttempt>,
    /// What the server has not acknowledged, in order; at most [`INVENTORY_REPORTS_MAX`]. Told before the rest, one
    /// message each.
    pub reports: Vec<Report>,
    /// What it goes by where the server is gone.
    pub wanted: Wanted,
    /// The newest checkpoint that its state directory holds whole, and when that was saved: ids begin anew with an agent that
    /// was deleted and made again.
    pub checkpoint: Option<(CheckpointId, Timestamp)>,
}

/// A life that goes on under a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its life.
    pub incarnation: Incarnation,
    /// Its identity; `None` for the life of an agent that has a process for each message instead.
    pub process: Option<ProcessIdentity>,
    /// How far it is.
    pub phase: ChildPhase,
}

/// How far a child's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildPhase {
    /// Spawned, and not ready.
    Starting,
    /// Ready.
    Ready,
    /// Being ended.
    Stopping,
}
