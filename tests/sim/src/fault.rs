//! Everything that can go wrong, and how often it did.

use std::fmt;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)*) => {
        /// One way in which the world goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in tables.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

faults! {
    /// A child ends by itself, with a code or by a signal.
    ChildExits => "child exits by itself",
    /// A child ends within milliseconds of its start.
    ExitsAtOnce => "child exits at once",
    /// A program cannot be run.
    ExecFails => "exec fails",
    /// A child that gets its stop signal does not mind.
    IgnoresTerm => "child ignores its stop signal",
    /// A child has a child that outlives it.
    Forks => "grandchild outlives its parent",
    /// A descendant leaves the process group.
    Setsid => "descendant calls setsid",
    /// A process lives on for a while after SIGKILL.
    Unkillable => "process survives SIGKILL",
    /// A child that has to say that it is ready does not.
    NeverReady => "child never becomes ready",
    /// A child pings, writes and computes no more.
    Hangs => "child hangs",
    /// A child says that it ends by itself, and does so or not.
    AnnouncesEnd => "child announces its end",
    /// A pid is given to another process.
    PidReused => "pid is reused",
    /// A shim gets SIGKILL, between two steps.
    ShimKilled => "shim is killed",
    /// A shim dies before what it decided is written.
    ShimDiedUnwritten => "shim dies before its journal is written",
    /// A shim dies after what it decided is written, and before it is done.
    ShimDiedWritten => "shim dies after its journal is written",
    /// A shim gets SIGTERM.
    ShimStopped => "shim is stopped",
    /// A shim without a server starts its agent again by itself.
    RecoversAlone => "shim recovers its agent alone",
    /// A shim runs another program in its place.
    ShimUpgraded => "shim is upgraded in its place",
    /// A child goes on under another life of its shim.
    Adopted => "child is adopted",
    /// A child that was to be adopted ended before.
    NotAdopted => "child to adopt is gone",
    /// A shim gets SIGSTOP, and later SIGCONT.
    ShimFrozen => "shim is frozen",
    /// A power loss takes the newest writes of a journal.
    JournalSetBack => "journal loses its newest lines in a reboot",
    /// A host reboots.
    HostRebooted => "host reboots",
    /// A host sleeps.
    HostSuspended => "host is suspended",
    /// A host's wall clock jumps.
    WallJumped => "wall clock of a host jumps",
    /// The server's wall clock jumps.
    ServerWallJumped => "wall clock of the server jumps",
    /// The server gets SIGKILL.
    ServerKilled => "server is killed",
    /// The server does not run for a while, and its clock goes on.
    ServerPaused => "server is paused",
    /// The server's host sleeps, and its monotonic clock with it.
    ServerSuspended => "server is suspended",
    /// A flush fails.
    FlushFailed => "flush fails",
    /// A flush takes seconds.
    FlushSlow => "flush is slow",
    /// A batch that was not flushed is gone.
    BatchLost => "unflushed batch is lost",
    /// A batch whose flush nobody saw end is durable all the same.
    BatchKept => "unacknowledged batch is durable",
    /// The server's store is put back to what it was a while ago.
    StoreSetBack => "store is set back",
    /// A connection breaks, and both ends see it.
    ConnectionDropped => "connection drops",
    /// A connection breaks, and the server does not see it.
    HalfOpen => "connection is half open",
    /// A message is late by seconds.
    MessageDelayed => "message is delayed",
    /// What was said on an older stream arrives after a newer one was opened.
    Reordered => "streams are reordered",
    /// A hello arrives when its shim, having given it up, has begun a life alone.
    HelloOutlived => "hello arrives after a life begun alone",
    /// Nothing gets through.
    Partitioned => "network is partitioned",
    /// Nothing gets through to the server.
    PartitionedUp => "network is partitioned toward the server",
    /// Nothing gets through to a host.
    PartitionedDown => "network is partitioned toward a host",
    /// A shim for an agent that another shim holds is refused.
    RivalRefused => "second shim is refused",
    /// A shim takes over from one that let go, or was ruled out.
    RivalAdmitted => "second shim takes over",
    /// A shim that was without a server for long ends its child.
    Fenced => "shim fences itself",
    /// A request is sent again, with its id.
    RequestRetried => "request is retried",
    /// A caller hangs up.
    CallAbandoned => "caller hangs up",
    /// A caller's time is up.
    CallExpired => "call expires",
    /// An operator forces a start, and the old process is dead.
    ForcedRightly => "start is forced, rightly",
    /// An operator forces a start, and the old process lives.
    ForcedWrongly => "start is forced, wrongly",
    /// An agent is deleted.
    AgentDeleted => "agent is deleted",
    /// Old events are trimmed.
    EventsAged => "events are trimmed",
    /// The program of a message cannot be run.
    TaskExecFails => "message's program cannot be run",
    /// The agent fails at a message.
    TaskFails => "agent fails at a message",
    /// The agent never comes to the end of a message.
    TaskHangs => "message takes for ever",
    /// The agent is blocked in a message.
    TaskBlocks => "agent is blocked in a message",
    /// The process of a message outlives SIGKILL for a while.
    TaskOutlivesKill => "message's process survives SIGKILL",
    /// The process of a message leaves another one behind.
    TaskLeavesBehind => "message's process leaves another behind",
    /// Who asked for work does not wait for it.
    AskWithdrawn => "agent hangs up on its question for work",
    /// Who asked for work is gone when it is given.
    GiveFailed => "work is given to somebody who is gone",
    /// An agent whose shim was gone says again how a message went.
    WordRepeated => "agent says again how a message went",
    /// What an agent says of a message has no effect.
    WordRefused => "agent's word on a message is refused",
    /// A request for work comes again.
    CreateRepeated => "request for work is repeated",
    /// There is no room for more work.
    QueueFull => "queue is full",
    /// Somebody wants work cancelled.
    CancelAsked => "cancel is asked for",
    /// What was to be cancelled was over.
    CancelTooLate => "cancel comes too late",
    /// Work is to be done again.
    Redriven => "work is to be done again",
    /// Old executions are forgotten.
    ExecutionsForgotten => "executions are forgotten",
    /// An execution is made under the name of another one, which the server has forgotten and some shim has not.
    NameUsedAgain => "a name that a shim still has is used again",
    /// More work comes than there is room for.
    Overloaded => "more work comes than there is room for",
    /// More work comes than there is room for, and nothing else goes wrong.
    OverloadedAlone => "nothing is wrong but that more work comes than there is room for",
    /// An agent gets fewer slots than it works in.
    SlotsTaken => "agent gets fewer slots than it works in",
    /// An agent gets more slots while work waits for one.
    SlotsAdded => "agent gets more slots while work waits",
    /// What was sent to a shim did not arrive.
    NeverArrived => "attempt never arrives at its shim",
    /// A shim is gone with work that has not begun.
    ShimGoneWithAccepted => "shim is gone with accepted work",
    /// A shim is gone with work that has begun.
    ShimGoneWithRunning => "shim is gone with running work",
    /// A shim is gone, and has results that nobody has acknowledged.
    ShimGoneWithFinished => "shim is gone with results",
    /// A power loss takes from a shim what it was given.
    WorkForgotten => "journal loses work in a reboot",
    /// A result comes long after it was, as the server was away.
    ToldLate => "result is told late",
    /// An attempt is given back before it began.
    GivenBack => "attempt is given back",
    /// What an agent died with, or was lost, is given again.
    Redelivered => "work is given again",
    /// What an operator interrupted is given again.
    Requeued => "interrupted work is given again",
    /// An agent died with it once too often.
    DeadLettered => "work is a dead letter",
    /// A message ran past its time.
    TimedOut => "work runs past its time",
    /// Work did not begin in time.
    NotStarted => "work does not begin in time",
    /// Nobody can say how it ended.
    CalledLost => "work is called lost",
    /// Somebody could say after all.
    LostReplaced => "lost work has a true result",
    /// So much is missing that nothing is called lost.
    VerdictsHeld => "verdicts of loss are held back",
    /// A shim dies while what its agent saved is on its way to the disk, and it never gets there.
    SaveLost => "save under way is lost",
    /// A shim dies before it has told its agent that a save is on the disk.
    SaveKept => "save that nobody was told of is on the disk",
    /// A shim's disk has no room for a save.
    StateDiskFull => "no room for a save",
    /// A save takes its time.
    StateDiskSlow => "save is slow",
    /// The newest file of a state directory cannot be read any more.
    StateTorn => "newest checkpoint is torn",
    /// Somebody saves for a life that is over.
    SaveLate => "save comes for a life that is over",
    /// A state file was written, and the agent was gone before anybody looked at it.
    FileUnseen => "agent dies before its state file is looked at",
    /// An agent is asked to save, and does.
    SavedWhenAsked => "agent saves when it is asked to",
    /// An agent is asked to save, and does not.
    NotSavedWhenAsked => "agent does not save when it is asked to",
    /// A life is handed what another host's life has saved.
    SavedElsewhere => "checkpoint comes from another host",
    /// A life dies of what it was handed.
    Poisoned => "agent dies of what it was handed",
    /// What lives die of is set aside.
    SetAside => "checkpoint is set aside",
    /// An operator wants a life to begin anew.
    BegunAnew => "start is to begin anew",
    /// What an agent had saved is closed by the end of its task.
    ClosedWithTask => "checkpoint is closed with its task",
    /// An agent closes what it has saved.
    ClosedByAgent => "agent closes its checkpoint",
    /// A life confirms what it was handed.
    Confirmed => "life confirms what it was handed",
    /// The server refuses what a shim has of its agent.
    CheckpointRefused => "server refuses a checkpoint",
    /// An operator deletes what was saved.
    CheckpointDeleted => "checkpoint is deleted",
    /// A workflow is changed.
    WorkflowChanged => "workflow is changed",
    /// A workflow is deleted.
    WorkflowDeleted => "workflow is deleted",
    /// More triggers come at once than may wait.
    TriggersRushed => "more triggers come than may wait",
    /// A trigger is refused, as too many wait.
    TriggerRefused => "trigger is refused as too many wait",
    /// A workflow goes off while its agent is away.
    FiredAway => "workflow goes off while its agent is away",
    /// A time of a schedule passes while no server runs.
    Missed => "time of a schedule is missed",
    /// A fire is skipped by its policy.
    FireSkipped => "fire is skipped",
    /// A fire has waited for too long.
    FireExpired => "fire expires",
    /// A fire waits while another one's execution goes on.
    Overlapped => "fire waits for another one's execution",
    /// An execution is cancelled to make room for the next fire.
    FireMakesRoom => "execution makes room for the next fire",
    /// A fire has no room in its agent's queue.
    FireHeldUp => "fire has no room in the queue",
    /// A trigger's key comes again.
    KeyRepeated => "trigger's key comes again",
    /// Workflows set one another off in a ring.
    ChainEnded => "chain of workflows is cut",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How often each fault fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts([u64; Fault::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl Counts {
    /// It fired once more.
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How often it fired.
    pub fn get(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The kinds that never fired.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL
            .iter()
            .copied()
            .filter(|fault| self.get(*fault) == 0)
            .collect()
    }
}
