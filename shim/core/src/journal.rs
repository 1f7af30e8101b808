//! What a supervisor writes down, so that the shim's next life tells the truth.
//!
//! It guards against the death of the shim. After that of the host the boot id differs and every process of the earlier
//! boot is dead, so that most of what a power loss takes can only make the shim tell less than it knew. What it must not
//! take, the number of a life that began alone and what a life is run with, is flushed before it is gone by
//! ([`Outlives`](crate::effect::Outlives)).

use std::time::Duration;

use rekindle::activity::BlockedOn;
use rekindle::checkpoint::{CheckpointId, CheckpointState, Reception};
use rekindle::execution::AttemptId;
use rekindle::exit::ExitClass;
use rekindle::id::{AgentId, BootId, Incarnation, Marker, ReportSequence};
use rekindle::launch::Launch;
use rekindle::policy::AgentPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::recovery::Budget;
use rekindle::report::Report;
use rekindle::session::Wanted;
use rekindle::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything that outlives one life of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The agent that the state directory belongs to.
    pub agent: AgentId,
    /// Planted in the environment of every child that was ever spawned from this directory.
    pub marker: Marker,
    /// The boot that `child` was spawned in.
    pub boot_id: BootId,
    /// Lives of the shim so far, this one included.
    pub lives: u64,
    /// The newest report's number.
    pub last_report: ReportSequence,
    /// The highest incarnation that was spawned, or tried. Written before the spawn.
    pub last_incarnation: Incarnation,
    /// The highest incarnation that the server has given a life, as far as is known here: no other gets its number.
    #[serde(default)]
    pub numbered: Incarnation,
    /// The life whose tree is not proven dead.
    pub child: Option<JournalChild>,
    /// What the server last said of what the shim is to do alone.
    #[serde(default)]
    pub charge: Option<JournalCharge>,
    /// How the newest life ended, where nobody asked for its end.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// Whether the shim gives its child to the next one by running another program in its place.
    #[serde(default)]
    pub handover: Handover,
    /// What the newest life was run with.
    #[serde(default)]
    pub launch: Option<JournalLaunch>,
    /// The life that a reboot has ended, until a later one was ready.
    #[serde(default)]
    pub lost: Option<Incarnation>,
    /// The attempts that the shim holds, in the order in which they came.
    #[serde(default)]
    pub attempts: Vec<JournalAttempt>,
    /// How the newest checkpoint stands, where that is not as it was saved: a newer one of the state directory is open.
    #[serde(default)]
    pub checkpoint: Option<CheckpointState>,
    /// What the state directory holds, by its id and when it was saved, where that counts no more: the agent was elsewhere
    /// since.
    #[serde(default)]
    pub passed_over: Option<(CheckpointId, Timestamp)>,
    /// The newest checkpoint that was seen to be offered no more: whatever a file says, none up to it comes back.
    #[serde(default)]
    pub closed_through: Option<CheckpointId>,
    /// What the life that is not over was handed, and has done with it.
    #[serde(default)]
    pub handed: Option<JournalHanded>,
    /// Whether the server takes checkpoints, by its newest welcome.
    #[serde(default)]
    pub checkpoints: Takes,
    /// What the server has not acknowledged, in order.
    pub outbox: Vec<Report>,
}

/// What a life was handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHanded {
    /// The life.
    pub incarnation: Incarnation,
    /// The checkpoint.
    pub id: CheckpointId,
    /// What it has done with it.
    pub reception: Reception,
}

/// Whether a server takes what it is told of checkpoints. One of an earlier version does not understand it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Takes {
    /// It does not, or none has said so.
    #[default]
    No,
    /// It does.
    Yes,
}

/// An attempt that the shim holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalAttempt {
    /// Which attempt at which execution.
    pub attempt: AttemptId,
    /// How far it is.
    pub stage: JournalStage,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JournalStage {
    /// It has not begun.
    Accepted,
    /// The agent works on it.
    Begun {
        /// Its time; `None` where it has processes of its own, which do not outlive the shim.
        clock: Option<JournalClock>,
    },
}

/// The time of an attempt, by the monotonic clock of its boot (`CLOCK_MONOTONIC`, clock_gettime(2)), which stands still in
/// suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalClock {
    /// When it is over, if it stands still no longer.
    pub until: Duration,
    /// Since when it stands still, if it does.
    pub blocked: Option<Duration>,
    /// By whose word, if it does.
    #[serde(default)]
    pub blockers: Blockers,
    /// For whom the agent says that it waits with it.
    #[serde(default)]
    pub on: Option<BlockedOn>,
    /// How much longer it may stand still in all.
    pub patience: Duration,
}

/// By whose word the time of an attempt stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Blockers {
    /// What the agent says of the attempt. Also where it was not written down.
    #[default]
    Attempt,
    /// What the agent says of itself.
    Agent,
    /// Both: it goes on when neither says so any more.
    Both,
}

/// A life whose tree is not proven dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalChild {
    /// The life.
    pub incarnation: Incarnation,
    /// Its process, once that is known.
    pub process: Option<ProcessIdentity>,
    /// How far it is.
    #[serde(default)]
    pub phase: JournalPhase,
}

/// What a life was run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLaunch {
    /// Within the limits of what the server is told, and its arguments without what must not leave the host.
    pub launch: Launch,
    /// Where it worked, in full; `None` for a path that is not UTF-8.
    pub directory: Option<String>,
    /// Where its shim was started, if it worked where an earlier life was lost.
    pub instead_of: Option<String>,
}

/// What a shim that is left alone goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalCharge {
    /// Whether the agent is to run.
    pub wanted: Wanted,
    /// In force when the server was last heard.
    pub policy: AgentPolicy,
    /// What is spent.
    pub budget: Budget,
    /// Makes the jitter of different agents differ.
    pub salt: u64,
}

/// An end that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The life.
    pub incarnation: Incarnation,
    /// What its end means.
    pub class: ExitClass,
    /// When, by the host's wall clock.
    pub at: Timestamp,
    /// Whether a report tells of it.
    pub told: Told,
}

/// Whether a report tells of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// One does.
    Yes,
    /// The life died with its shim: an inventory that tells that nothing runs says as much.
    No,
}

/// How far a life is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JournalPhase {
    /// Not ready.
    #[default]
    Starting,
    /// Ready.
    Ready,
}

/// Whether the shim that wrote the journal has left its child to the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handover {
    /// It has not.
    #[default]
    No,
    /// It was about to run another program in its place (execve(2)).
    Yes {
        /// When the server was surely there, by the clock that goes on in suspend: the fence goes on from then.
        contact: Duration,
    },
}

impl JournalStage {
    /// Whether the agent works on it.
    pub const fn has_begun(self) -> bool {
        match self {
            Self::Accepted => false,
            Self::Begun { .. } => true,
        }
    }
}

impl Journal {
    /// The journal of a state directory that has spawned nothing.
    pub const fn new(agent: AgentId, marker: Marker, boot_id: BootId) -> Self {
        Self {
            agent,
            marker,
            boot_id,
            lives: 0,
            last_report: ReportSequence::ZERO,
            last_incarnation: Incarnation::ZERO,
            numbered: Incarnation::ZERO,
            child: None,
            charge: None,
            ended: None,
            handover: Handover::No,
            launch: None,
            lost: None,
            attempts: Vec::new(),
            checkpoint: None,
            passed_over: None,
            closed_through: None,
            handed: None,
            checkpoints: Takes::No,
            outbox: Vec::new(),
        }
    }
}
