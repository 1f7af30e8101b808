//! Deliberate defects of the model drivers: an oracle that does not catch them proves nothing.

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutation {
    /// The drivers keep their rules.
    #[default]
    None,
    /// The server does what a step decided before that is durable.
    EffectsBeforeFlush,
    /// The server acknowledges reports before they are durable.
    AcknowledgesBeforeFlush,
    /// The store calls durable what a crash takes away.
    StoreForgets,
    /// The server forgets at its restart what is spent of the recovery's budgets.
    BudgetForgotten,
    /// The server forgets at its restart which boots are over.
    HostsForgotten,
    /// The server does not find out that it was paused.
    PauseUnnoticed,
    /// A batch is written without its last event.
    EventLost,
    /// A shim's journal is gone with the shim.
    JournalForgotten,
    /// A shim takes each of its starts for another boot of its host.
    BootMistaken,
    /// A shim proves a tree dead by its child alone.
    ChildIsTree,
    /// A shim does not sweep what an earlier life of it left.
    NotSwept,
    /// A shim signals whoever has the pid by then.
    SignalsBarePid,
    /// A shim takes whoever has its child's pid for its child.
    AdoptsBarePid,
    /// A shim runs its program twice for one message.
    MessageRunTwice,
    /// A shim's journal does not keep what it was given.
    WorkUnwritten,
    /// The server forgets at its restart what it has given to whom.
    GivenForgotten,
    /// A shim takes a message's process for dead once it was told to end.
    TaskTakenForDead,
    /// A shim's timers come seconds late.
    TimersLate,
    /// A shim calls a save durable that is not yet.
    SaveUnwritten,
    /// A shim takes up the older of the two checkpoints that it finds.
    OlderTakenUp,
    /// A shim does not look at a state file once its tree is dead.
    FileIgnored,
    /// The server sends a checkpoint without what it says.
    ContentMissing,
    /// The server forgets at its restart what it has of checkpoints.
    CheckpointsForgotten,
    /// The server forgets at its restart which fires wait.
    FiresForgotten,
    /// The server takes at its restart a fire that went for one that waits.
    FiresAgain,
    /// The server counts intervals anew at its restart.
    IntervalsAnew,
    /// The server's timers come seconds late.
    ServerTimersLate,
}

impl Mutation {
    /// Every defect.
    pub const DEFECTS: [Self; 27] = [
        Self::EffectsBeforeFlush,
        Self::AcknowledgesBeforeFlush,
        Self::StoreForgets,
        Self::BudgetForgotten,
        Self::HostsForgotten,
        Self::PauseUnnoticed,
        Self::EventLost,
        Self::JournalForgotten,
        Self::BootMistaken,
        Self::ChildIsTree,
        Self::NotSwept,
        Self::SignalsBarePid,
        Self::AdoptsBarePid,
        Self::MessageRunTwice,
        Self::WorkUnwritten,
        Self::GivenForgotten,
        Self::TaskTakenForDead,
        Self::TimersLate,
        Self::SaveUnwritten,
        Self::OlderTakenUp,
        Self::FileIgnored,
        Self::ContentMissing,
        Self::CheckpointsForgotten,
        Self::FiresForgotten,
        Self::FiresAgain,
        Self::IntervalsAnew,
        Self::ServerTimersLate,
    ];
}
