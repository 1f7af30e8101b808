//! Facts, in the past tense: all that a supervisor learns from outside.

use std::time::Duration;

use rekindle::activity::{ActivityState, BlockedOn};
use rekindle::checkpoint::{CheckpointBody, CheckpointFields, CheckpointId};
use rekindle::execution::{AttemptId, ExecutionId, Output};
use rekindle::exit::ExitStatus;
use rekindle::id::{Incarnation, ReportSequence};
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle::session::{CheckpointKept, Command, CommandId, Welcome};
use rekindle::time::Now;

use crate::tree::TreeId;

/// The clocks of a shim, read together, and handed in with each input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// For intervals, and for what outlives the shim. The monotonic one stands still while the host is suspended.
    pub now: Now,
    /// `CLOCK_BOOTTIME` (clock_gettime(2)): goes on while the host is suspended. Only the fence goes by it.
    pub since_boot: Duration,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// What an earlier shim left of its child's tree was killed; these are left all the same.
    Swept {
        /// Empty when nothing lives.
        survivors: Vec<Survivor>,
    },
    /// The child that an earlier shim left alive is watched from here on.
    Adopted {
        /// The life.
        incarnation: Incarnation,
    },
    /// What an earlier shim left alive is not there any more, or cannot be told from a stranger.
    NotAdopted,
    /// A stream to the server is open, and nothing was said on it.
    LinkOpened,
    /// The server welcomed the shim.
    Welcomed(Box<Welcome>),
    /// Reports through this one are durable.
    Acknowledged(ReportSequence),
    /// The server told the shim to do something.
    Commanded(CommandId, Command),
    /// The stream is gone.
    LinkLost,
    /// The server refused the shim, as its boot counts as over there: the agent may have been given to another shim, or
    /// has only this one.
    ClaimDoubted,
    /// The server refused the shim, because its claim on the agent was taken away: another life may run elsewhere.
    ClaimLost,
    /// The program runs: its exec has succeeded.
    Spawned {
        /// The life.
        incarnation: Incarnation,
        /// The process.
        process: ProcessIdentity,
    },
    /// The child has said something of itself (sd_notify(3)).
    Notified {
        /// The life.
        incarnation: Incarnation,
        /// What it said, in its order.
        notices: Vec<Notice>,
    },
    /// Everything that the child had said was handed in, and what its tree has used and written by then is this.
    Probed {
        /// The life.
        incarnation: Incarnation,
        /// Of the tree as it lives.
        sample: Sample,
    },
    /// The program could not be run.
    SpawnFailed {
        /// The life that did not begin.
        incarnation: Incarnation,
        /// Which path, and why.
        message: String,
    },
    /// The child itself is dead; others of its tree may live.
    ChildExited {
        /// Whose.
        tree: TreeId,
    },
    /// Nothing of the tree lives, the child included.
    TreeGone {
        /// Whose.
        tree: TreeId,
        /// What is left of it.
        remains: Remains,
    },
    /// These live, although they got SIGKILL. Empty when the last of them ended while they were being named.
    TreeSurvived {
        /// Whose.
        tree: TreeId,
        /// Its processes.
        survivors: Vec<Survivor>,
    },
    /// The program runs for a message: its exec has succeeded.
    AttemptSpawned {
        /// The attempt.
        attempt: AttemptId,
        /// Its process.
        process: ProcessIdentity,
    },
    /// The program could not be run for a message.
    AttemptSpawnFailed {
        /// The attempt.
        attempt: AttemptId,
        /// Which path, and why.
        message: String,
    },
    /// The agent asks for work, and waits for `Give` or `Answer`.
    WorkAsked {
        /// Its request.
        request: RequestNumber,
    },
    /// The agent does not wait any longer.
    AskWithdrawn {
        /// Its request.
        request: RequestNumber,
    },
    /// The agent that asked for an attempt is gone, and never had it.
    GiveFailed {
        /// The attempt.
        attempt: AttemptId,
    },
    /// An attempt could not be written to the agent, and cannot be: it has closed its standard input, or reads nothing. It
    /// may have read a part of the line.
    FeedFailed {
        /// The attempt.
        attempt: AttemptId,
        /// Why, for people.
        message: String,
    },
    /// The agent said something of an attempt, and waits for `Answer`, or wrote it as a line (no request).
    WorkSaid {
        /// Its request, where it made one.
        request: Option<RequestNumber>,
        /// Which attempt.
        about: About,
        /// What it said.
        word: Word,
    },
    /// The agent saves a checkpoint, on the socket or by its state file, and waits for `AnswerCheckpoint`. Where both the life
    /// that it is of and the shim died, the first thing that the next shim hears.
    SaveAsked {
        /// Its request.
        request: RequestNumber,
        /// The life that says so, where it tells.
        incarnation: Option<Incarnation>,
        /// What it saves.
        fields: CheckpointFields,
        /// And what only it understands.
        body: CheckpointBody,
        /// Whether that is the last of its task.
        task: TaskIs,
    },
    /// The agent asks for the checkpoint that it is to go on with, and waits for `AnswerCheckpoint`; as with each below.
    LoadAsked {
        /// Its request.
        request: RequestNumber,
        /// The life that asks, where it tells.
        incarnation: Option<Incarnation>,
    },
    /// The agent says that it goes on with the checkpoint that it was handed.
    ConfirmAsked {
        /// Its request.
        request: RequestNumber,
        /// The life that says so, where it tells.
        incarnation: Option<Incarnation>,
    },
    /// The agent says that what its newest checkpoint is of is done.
    CloseAsked {
        /// Its request.
        request: RequestNumber,
        /// The life that says so, where it tells.
        incarnation: Option<Incarnation>,
    },
    /// The file that a life was handed its checkpoint in was opened by somebody else than the shim.
    StateFileRead {
        /// The life.
        incarnation: Incarnation,
    },
    /// A checkpoint is durable, or is not: then the one before it is whole.
    CheckpointWritten {
        /// Which one.
        id: CheckpointId,
        /// Why it is not.
        result: Result<(), NotWritten>,
    },
    /// The command that saves before an end is over, or could not be run.
    CheckpointCommandDone {
        /// The life that it saved for.
        incarnation: Incarnation,
    },
    /// The server answered the checkpoint that it was told.
    CheckpointAnswered(CheckpointKept),
    /// A signal command was carried out, or was not.
    Signalled {
        /// The command.
        command: CommandId,
        /// The process that got it, or why none did.
        result: Result<ProcessIdentity, String>,
    },
    /// The shim was told to run its program anew in its place.
    UpgradeRequested,
    /// The program could not be run; the shim goes on as it is. All who had asked for work are withdrawn.
    UpgradeFailed,
    /// The shim was told to end, by a signal. Told twice, it does not wait for the child any longer.
    StopRequested,
    /// Time has passed.
    Tick,
}

/// Tells requests of the agent apart, for as long as the shim's process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestNumber(pub u64);

/// Whether a task goes on once its checkpoint is saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskIs {
    /// It does.
    #[default]
    GoingOn,
    /// The checkpoint is its last, and closed with the save.
    Over,
}

/// Why a checkpoint is not durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotWritten {
    /// What lacks.
    pub cause: WriteFault,
    /// In words.
    pub message: String,
}

/// What a write lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// Room: ENOSPC or EDQUOT (write(2)).
    Room,
    /// Something else.
    Other,
}

/// Which attempt an agent speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The only one that it works on.
    Only,
    /// That at this execution. It counts only where the agent's life was given no other attempt at it: a word that comes
    /// late would be taken for one on a later attempt.
    Execution(ExecutionId),
    /// The one with this number at this execution. Agents know no more of it: of one name nothing else goes on meanwhile.
    Attempt {
        /// Its execution.
        execution: ExecutionId,
        /// Its number.
        number: u32,
    },
}

impl About {
    /// As an agent speaks of this attempt where it tells it from every other.
    pub fn attempt(attempt: &AttemptId) -> Self {
        Self::Attempt {
            execution: attempt.execution.clone(),
            number: attempt.number,
        }
    }
}

/// What an agent says of an attempt that it works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It is done.
    Done {
        /// The result.
        output: Output,
    },
    /// The agent failed at it.
    Failed {
        /// Why, in the agent's words; at most [`rekindle::exit::TAIL_MAX_BYTES`].
        message: String,
        /// What there is of a result.
        output: Output,
    },
    /// It waits for somebody: its time stands still, for as long as the policy's `blocked_limit`.
    Blocked(BlockedOn),
    /// It goes on.
    Moves,
    /// It goes on, and is so far.
    Progress {
        /// In the agent's words, without what must not leave the host; at most [`rekindle::exit::TAIL_MAX_BYTES`].
        text: String,
    },
}

/// What is known of a dead child when its tree is dead too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// How it ended.
    pub status: ExitStatus,
    /// Whether the kernel ran out of memory, and ended it by SIGKILL.
    pub oom_killed: bool,
    /// User CPU time of the child and of the descendants that it waited for (getrusage(2)).
    pub user_time: Duration,
    /// System CPU time of the same.
    pub system_time: Duration,
    /// Largest resident set of the same, in KiB.
    pub max_rss_kib: u64,
    /// Last lines of stderr.
    pub stderr_tail: String,
    /// Last lines of stdout.
    pub stdout_tail: String,
    /// What it wrote to stdout, where it was run for a message; else empty.
    pub output: Output,
}

/// What a process of the agent's tree said on its notify socket (sd_notify(3)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// `READY=1`: it is up.
    Ready,
    /// `WATCHDOG=1`: it is alive.
    Ping,
    /// `WATCHDOG=trigger`: it found itself hung, and wants to be ended as if it had not pinged in time.
    Stuck,
    /// `WATCHDOG_USEC=`: the time from ping to ping that is to hold from here on. Any length, in microseconds; zero and
    /// `u64::MAX` turn the watchdog off, as with systemd.
    WatchdogTimeout(Duration),
    /// `STOPPING=1`: it is about to end by itself.
    Stopping,
    /// `EXTEND_TIMEOUT_USEC=`: its start or its end may take this long, from this notice on. Any length, in microseconds.
    Extend(Duration),
    /// `MAINPID=`: the process that counts as the agent's main one. It was alive, and of the tree, when it was named.
    Main(ProcessIdentity),
    /// `STATUS=`: what it is doing, for people; at most [`rekindle::activity::STATUS_MAX_BYTES`], without control
    /// characters.
    Status(String),
    /// `X_REKINDLE_ACTIVITY=`: what it is doing.
    Activity(ActivityState),
}

/// What a tree has used and done by one moment. Two samples that differ show that it did something between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// User and system time of the living processes, and of the dead ones that they have waited for; in steps of 10 ms
    /// where the kernel tells it so (proc_pid_stat(5)). Shrinks when a process takes its share with it.
    pub cpu: Duration,
    /// What was read from the child's two pipes.
    pub output_bytes: u64,
    /// A digest of who lives, by pid and start time, in any order: it changes whenever a process begins or ends.
    pub processes: u64,
}
