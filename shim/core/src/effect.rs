//! Imperatives: all that a supervisor wants done, once its journal is written.

use std::sync::Arc;
use std::time::Duration;

use rekindle::checkpoint::{CheckpointId, HeldCheckpoint};
use rekindle::execution::AttemptId;
use rekindle::id::Incarnation;
use rekindle::policy::StopSignal;
use rekindle::process::ProcessIdentity;
use rekindle::session::{CommandId, ShimMessage};
use rekindle::time::MonoTime;

use crate::input::{NotWritten, RequestNumber};
use crate::journal::Journal;
use crate::tree::TreeId;

/// What one step decided. `persist` is written whole; then, and only then, `then` is carried out in its order.
#[must_use = "an outcome that is dropped loses a life or a fact"]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The journal to write first; `None` when it has not changed.
    pub persist: Option<Journal>,
    /// What the journal must outlive before anything is done.
    pub outlives: Outlives,
    /// What is done afterwards.
    pub then: Vec<Effect>,
}

/// What a journal that was written outlives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outlives {
    /// The shim: what it tells of dies with the boot, or the server knows it too.
    #[default]
    TheShim,
    /// A power loss (fdatasync(2)): a life that begins without the server has a number that nobody else knows, and what
    /// a life is run with is what its host goes on with after a reboot.
    TheBoot,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Kill what an earlier shim left of its child's tree: the child itself, who carries the marker, and who surely
    /// belongs to these. Tell `Swept` when nothing is left, or after the kill proof.
    Sweep {
        /// The child, if it was written down who that was. A process with any other identity is not it.
        child: Option<ProcessIdentity>,
    },
    /// Look for the child that an earlier shim left alive; tell `Adopted` when it is this very process, and from here on
    /// `ChildExited` when it dies; else `NotAdopted`.
    Adopt {
        /// The life.
        incarnation: Incarnation,
        /// A process with any other identity is not it.
        child: ProcessIdentity,
    },
    /// Run the shim's program anew in this process (execve(2)), and leave the child and what it writes to it. Tell
    /// `UpgradeFailed` where that cannot be done. Whoever waits for work is turned away either way.
    Upgrade,
    /// Keep a stream to the server, from here on: tell `LinkOpened`, `LinkLost`, and open the next.
    Connect,
    /// Drop the stream, if there is one, and open the next.
    Reconnect,
    /// Watch no more what older lives have left, nor kill it: it is of no life any more, and of no message's. What begins
    /// from here on begins beside it.
    GiveUp,
    /// Run the program; tell `Spawned` or `SpawnFailed`. From here on, tell `ChildExited` when the child dies.
    Spawn {
        /// The life.
        incarnation: Incarnation,
    },
    /// Send a signal to every process of the tree.
    SignalTree {
        /// Whose.
        tree: TreeId,
        /// The signal.
        signal: StopSignal,
    },
    /// SIGKILL every process of the tree until none lives; tell `TreeGone`.
    KillTree {
        /// Whose.
        tree: TreeId,
    },
    /// Tell `TreeGone` when nothing of the tree lives, without a signal.
    AwaitTree {
        /// Whose.
        tree: TreeId,
    },
    /// Tell what the child has said and was not told yet, and then `Probed`.
    Probe {
        /// The life.
        incarnation: Incarnation,
    },
    /// Tell `TreeSurvived`.
    NameSurvivors {
        /// Whose.
        tree: TreeId,
    },
    /// Run the program for one message; tell `AttemptSpawned` or `AttemptSpawnFailed`. From here on, tell `ChildExited` when
    /// its process dies.
    SpawnAttempt {
        /// The attempt.
        attempt: AttemptId,
        /// The life that it belongs to.
        incarnation: Incarnation,
        /// What the agent is asked to do.
        message: Arc<str>,
    },
    /// Give an attempt to the agent that asked for one; tell `GiveFailed` where it is gone.
    Give {
        /// Its request.
        request: RequestNumber,
        /// The life that it belongs to.
        incarnation: Incarnation,
        /// The attempt.
        attempt: AttemptId,
        /// What it is asked to do.
        message: Arc<str>,
        /// Time that it has.
        timeout: Duration,
    },
    /// Write an attempt to the agent's standard input, as one line; tell `FeedFailed` where that cannot be done.
    Feed {
        /// The life.
        incarnation: Incarnation,
        /// The attempt.
        attempt: AttemptId,
        /// What the agent is asked to do.
        message: Arc<str>,
        /// Time that it has.
        timeout: Duration,
    },
    /// Show how far an attempt is to those who watch it. Of one that has a process of its own, that is its output.
    ShowProgress {
        /// The attempt.
        attempt: AttemptId,
        /// In the agent's words.
        text: String,
    },
    /// Answer what the agent said of an attempt, or asked for.
    Answer {
        /// Its request.
        request: RequestNumber,
        /// `Ok`: what it said is durable.
        answer: Result<(), Refused>,
    },
    /// Write this as the newest checkpoint, durable on the host's disk, and keep the one before it; tell `CheckpointWritten`.
    /// The next one comes when this one is told.
    WriteCheckpoint(HeldCheckpoint),
    /// Have the agent's checkpoint command save, in the tree of the life; tell `CheckpointCommandDone`. Its time is over with
    /// `EndCheckpointCommand`, or when the tree gets SIGKILL.
    RunCheckpointCommand {
        /// The life.
        incarnation: Incarnation,
        /// Time that it has.
        within: Duration,
    },
    /// Kill the checkpoint command, if it still runs, and nothing else of the tree.
    EndCheckpointCommand {
        /// The life.
        incarnation: Incarnation,
    },
    /// Answer what the agent said of its checkpoints.
    AnswerCheckpoint {
        /// Its request.
        request: RequestNumber,
        /// `Ok`: what it said is durable.
        answer: Result<CheckpointAnswer, CheckpointRefused>,
    },
    /// Send a signal to the child alone, and tell `Signalled`.
    SignalChild {
        /// The command to answer.
        command: CommandId,
        /// The life.
        incarnation: Incarnation,
        /// The signal's number.
        signal: i32,
    },
    /// Say this on the stream. Where there is none any more, it is lost: what matters is in the outbox.
    Send(ShimMessage),
    /// Let what was sent go out, and end the shim.
    Exit(ExitCode),
}

/// Why an agent's word on an attempt has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Messages do not reach this agent by its asking for them.
    NotPulled,
    /// The agent works on nothing of this name: it never did, has ended it, or its time is over.
    NotRunning,
    /// It works on another attempt at this execution: the one that it speaks of is over.
    OtherAttempt,
    /// It did not say which attempt at this execution, and was given several.
    WhichAttempt,
    /// How the attempt has ended is told already, and is not what it says.
    EndedOtherwise,
    /// It did not say which, and works on several, or none.
    Which,
    /// More requests wait for work than the agent could be given.
    TooMany,
}

/// What an agent is answered that speaks of its checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointAnswer {
    /// It is saved, as this one.
    Saved(CheckpointId),
    /// What it is to go on with; `None`: with nothing.
    Loaded(Option<HeldCheckpoint>),
    /// It is so.
    Done,
}

/// Why an agent's word on its checkpoints has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointRefused {
    /// It is of another life than the one that goes on.
    OldIncarnation {
        /// This one does.
        living: Incarnation,
    },
    /// No life goes on.
    NotRunning,
    /// More wait for the disk than a life has to say at a time.
    TooMany,
    /// There is no checkpoint that this could be of.
    NothingSaved,
    /// It could not be written; the one before it is whole.
    NotWritten(NotWritten),
}

/// How a shim ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Its child is dead.
    Done,
    /// Its child lives on, for the next shim.
    Kept,
    /// Processes of its child's tree live.
    Survivors,
}

/// Why a supervisor must be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadlineReason {
    /// The child had its time to end by itself.
    StopGrace,
    /// A tree that got SIGKILL must be dead.
    KillProof,
    /// A shim that ends has waited long enough for the server.
    Farewell,
    /// The child must be ready.
    StartTimeout,
    /// The child must have pinged.
    Watchdog,
    /// The child must have moved.
    Stall,
    /// An attempt must be over.
    MessageTimeout,
    /// What the child is doing may be told again.
    Activity,
    /// What was acknowledged must be off the disk.
    Forget,
    /// A shim that is left alone starts the agent again.
    Alone,
    /// The shim has been without a server for long, or must look whether it slept.
    Fence,
    /// The server may be told of a newer checkpoint.
    Checkpoint,
}

/// When a supervisor must be woken, and why.
pub type Deadline = (MonoTime, DeadlineReason);
