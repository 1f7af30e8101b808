//! The supervisor: one agent's child on one host, and what the server is told of it.
//!
//! ```text
//!              Run n          exec succeeded
//! Idle ----------------> Starting ---------> Running
//!  ^ ^                      |                  |  |
//!  | |      exec failed     |     Stop, Run m, |  | died by itself
//!  | `----------------------'     TERM, fence  |  |
//!  |                                           v  v
//!  |  nothing of the tree lives              Ending: asked -- grace is over --> killed
//!  `-------------------------------------------'                                  |
//!       (then Run m, if that is what comes next)      lives 2 s after SIGKILL     |
//!  Quarantined <------------------------------------------------------------------'
//! ```
//!
//! Called by the shim's driver and by the simulator, which write what an [`Outcome`] persists before they do what it
//! asks for. Keeps the invariants I1 (one life: the next begins when the last is proven dead), I7 (a stopped tree is
//! dead, or said to live), I11 (facts are numbered, and told until acknowledged) and I12 (a jump of the wall clock
//! decides nothing).

mod alone;
mod begin;
mod check;
mod checkpoint;
mod inherit;
mod ladder;
mod leave;
mod link;
mod order;
mod resume;
mod settings;
mod watch;
mod work;

#[cfg(test)]
mod tests;

use std::time::Duration;

use rekindle::checkpoint::HeldCheckpoint;
use rekindle::exit::EndedBy;
use rekindle::id::{Incarnation, ReportSequence};
use rekindle::launch::Launch;
use rekindle::policy::AgentPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle::time::MonoTime;

use crate::effect::{Deadline, DeadlineReason, Effect, Outcome, Outlives};
use crate::input::{Input, Moment, Remains};
use crate::journal::{Handover, Journal, JournalChild, JournalLaunch};
use crate::tree::TreeId;
use checkpoint::{Asked, Checkpoints};
use watch::{Probing, Said, Stage};
use work::Work;

pub use alone::PATIENCE;
pub use check::Violation;
pub use resume::Directory;
pub use settings::{AsksToSave, OnShimExit, Readiness, Settings};

/// Time in which a tree that got SIGKILL must be proven dead: the kernel ends a process within milliseconds, unless it
/// hangs in the kernel (proc_pid_stat(5), state D), which no waiting cures.
pub const KILL_PROOF: Duration = Duration::from_secs(2);

/// Longest time that a shim which was told to end waits for the server's acknowledgement. The facts stay in the
/// journal, and service managers lose patience.
pub const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// Most time between two looks at the clocks of a shim that fences itself, so that a suspend is noticed soon.
const FENCE_LOOK: Duration = Duration::from_secs(5);

/// Longest time from the server's acknowledgement of what a message has written until its text is off the disk. Where
/// messages come one after the other, their own facts have the journal written sooner; for a last one it is written once
/// more.
const FORGET_MAX: Duration = Duration::from_secs(1);

/// Growth of `CLOCK_BOOTTIME` over the monotonic clock that counts as a suspend. Both are read one after the other, so
/// that they differ by microseconds.
const SUSPEND_MIN: Duration = Duration::from_secs(1);

/// Changes of the main process that one life may report: a program that daemonizes makes one.
const MAIN_CHANGES_MAX: usize = 4;

/// Most reports that one life can make: the end of the one before, recovering, spawned, ready, stopping, survived, exited, each
/// change of its main process, and of its checkpoint that it was handed over, read and confirmed.
const REPORTS_PER_LIFE: usize = 7 + MAIN_CHANGES_MAX + 3;

/// One agent's supervisor. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Supervisor {
    settings: Settings,
    /// In force.
    policy: AgentPolicy,
    journal: Journal,
    /// What lives are run with.
    launch: JournalLaunch,
    life: Life,
    /// What begins once the life that is ending is proven dead.
    next: Option<Incarnation>,
    /// The newest life that the server has stopped. Nothing at or below it begins.
    stopped_through: Incarnation,
    /// The newest report of survivors.
    survivors_told: ReportSequence,
    /// A life that was stopped before it began, and of which the server does not know whether it did.
    unbegun: Option<Incarnation>,
    link: Link,
    leaving: Leaving,
    clock: Moment,
    /// When the server was surely there, on the clock that goes on in suspend.
    contact: Duration,
    /// Since when there is no stream, while there is none.
    alone_since: MonoTime,
    /// When the newest attempt of the budget began.
    attempted: Option<MonoTime>,
    fenced: Fenced,
    welcome: Welcomes,
    probing: Probing,
    work: Work,
    checkpoints: Checkpoints,
    upgrade: Upgrade,
    said: Said,
    /// Streams on which Hello was said in this life.
    greetings: u64,
    /// When the journal must be written without what was acknowledged.
    forget_by: Option<MonoTime>,
    // Of the step that is being made.
    unwritten: Unwritten,
    outlives: Outlives,
    effects: Vec<Effect>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Life {
    /// The child that an earlier shim left alive is looked for.
    Adopting(JournalChild),
    Sweeping(Cause),
    Idle,
    Starting {
        incarnation: Incarnation,
        end: Option<End>,
    },
    Running(Child),
    Ending(Ending),
    Quarantined(Quarantine),
}

/// What there is to sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// What a child left that died with its shim.
    ShimDied,
    /// What a child left that was to be adopted, and ended unseen.
    EndedUnseen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Child {
    incarnation: Incarnation,
    /// `None` where each message has a process of its own.
    process: Option<ProcessIdentity>,
    since: MonoTime,
    stage: Stage,
    main_changes: usize,
}

/// A life's end that was asked for before its process was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    by: EndedBy,
    grace: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ending {
    child: Child,
    by: EndedBy,
    died: Option<MonoTime>,
    phase: Phase,
    /// Whether it was asked to save.
    asked: Asked,
    /// What is left of it, where it is dead and what it has saved is not durable yet.
    remains: Option<Box<Remains>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its checkpoint command saves. It gets its stop signal when that is done, or has had its part of the grace.
    Saving {
        since: MonoTime,
        signal_at: MonoTime,
        until: MonoTime,
    },
    /// Got its stop signal, or said that it ends by itself.
    Asked { since: MonoTime, until: MonoTime },
    /// Got SIGKILL.
    Killed { until: MonoTime },
    /// Its survivors are being named.
    Overdue,
    /// It has no process, and ends with the last of its attempts.
    WithAttempts,
    /// It is dead, and what it has said last is on its way to the disk.
    Gone(Cut),
}

/// Whether it took SIGKILL to end a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    No,
    Yes,
}

/// A tree that outlived SIGKILL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Quarantine {
    /// `None` when an earlier shim spawned it.
    ending: Option<Ending>,
    survivors: Vec<Survivor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    /// Open, and Hello has to wait until what an earlier shim left is swept.
    Opened,
    /// Hello was said.
    Greeted,
    /// The server is there, and the inventory has to wait until it is known whether a life has begun.
    Welcomed,
    /// The inventory was said; what happens from here on is told as it happens.
    Up,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// As soon as the child is dead.
    Asked,
    /// As soon as the server knows.
    Farewell {
        until: MonoTime,
    },
    Left,
}

/// Whether the shim is to run its program anew, once its child allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    No,
    Asked,
    UnderWay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fenced {
    No,
    Yes,
}

/// Whether the server knows of this life of the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Welcomes {
    None,
    Some,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwritten {
    Nothing,
    Journal,
}

impl Supervisor {
    /// Goes on from a journal: what an earlier life of the shim left is swept before the server is greeted.
    /// `held` is the newest checkpoint of its state directory, as it was written there.
    pub fn recover(settings: Settings, journal: Journal, held: Option<HeldCheckpoint>, at: Moment) -> (Self, Outcome) {
        // What an earlier life was told holds until this one is told something else.
        let charge = journal.charge.as_ref();
        let policy = charge.map_or_else(|| settings.policy.clone(), |charge| charge.policy.clone());
        let launch = JournalLaunch {
            launch: Launch::new(settings.launch.clone()),
            directory: None,
            instead_of: None,
        };
        let work = Work::left(&journal);
        let mut supervisor = Self {
            settings,
            policy,
            journal,
            launch,
            life: Life::Idle,
            next: None,
            stopped_through: Incarnation::ZERO,
            survivors_told: ReportSequence::ZERO,
            unbegun: None,
            link: Link::Down,
            leaving: Leaving::No,
            clock: at,
            contact: at.since_boot,
            alone_since: at.now.mono,
            attempted: None,
            fenced: Fenced::No,
            welcome: Welcomes::None,
            probing: Probing::No,
            work,
            checkpoints: Checkpoints::default(),
            upgrade: Upgrade::No,
            said: Said::default(),
            greetings: 0,
            forget_by: None,
            unwritten: Unwritten::Nothing,
            outlives: Outlives::TheShim,
            effects: Vec::new(),
        };
        supervisor.take_up_checkpoint(held);
        supervisor.wake();
        let outcome = supervisor.outcome();
        (supervisor, outcome)
    }

    fn wake(&mut self) {
        self.journal_mut().lives += 1;
        let boot_id = self.settings.host.boot_id;
        // It counts for the very next shim, whether there is a child or not.
        let handover = std::mem::take(&mut self.journal_mut().handover);
        if self.journal.boot_id != boot_id {
            self.journal_mut().boot_id = boot_id;
            self.hear_last_words(self.journal.last_incarnation);
            self.resume_after_reboot();
            // Only a server that is there can say that the agent is not elsewhere by now.
            self.journal_mut().charge = None;
        } else {
            self.resume_in_boot();
            if let Handover::Yes { contact } = handover {
                self.contact = contact;
            }
        }
        match self.journal.child.clone() {
            Some(child) => {
                self.hear_last_words(child.incarnation);
                self.inherit(child, handover);
            }
            None => self.effects.push(Effect::Connect),
        }
    }

    /// Takes one fact in. Facts of a life or a stream that is over change nothing.
    pub fn step(&mut self, at: Moment, input: Input) -> Outcome {
        if self.leaving == Leaving::Left {
            return Outcome::default();
        }
        self.look(at);
        match input {
            Input::Adopted { incarnation } => self.adopted(incarnation),
            Input::NotAdopted => self.not_adopted(),
            Input::Swept { survivors } => self.swept(survivors),
            Input::LinkOpened => self.link = Link::Opened,
            Input::Welcomed(welcome) => self.welcomed(*welcome),
            Input::Acknowledged(through) => self.acknowledged(through),
            Input::Commanded(id, command) => self.commanded(id, command),
            Input::LinkLost => self.link_lost(),
            Input::ClaimDoubted => self.claim_doubted(),
            Input::ClaimLost => self.claim_lost(),
            Input::Spawned { incarnation, process } => self.spawned(incarnation, process),
            Input::SpawnFailed { incarnation, message } => self.spawn_failed(incarnation, message),
            Input::ChildExited { tree } => match tree {
                TreeId::Life(incarnation) => self.child_exited(incarnation),
                TreeId::Attempt(attempt) => self.attempt_exited(&attempt),
            },
            Input::Notified { incarnation, notices } => self.notified(incarnation, notices),
            Input::Probed { incarnation, sample } => self.probed(incarnation, sample),
            Input::TreeGone { tree, remains } => self.tree_gone(tree, remains),
            Input::TreeSurvived { tree, survivors } => self.tree_survived(tree, survivors),
            Input::AttemptSpawned { attempt, process } => self.attempt_spawned(&attempt, process),
            Input::AttemptSpawnFailed { attempt, message } => self.attempt_spawn_failed(&attempt, message),
            Input::WorkAsked { request } => self.work_asked(request),
            Input::AskWithdrawn { request } => self.ask_withdrawn(request),
            Input::GiveFailed { attempt } => self.give_failed(&attempt),
            Input::WorkSaid { request, about, word } => self.work_said(request, &about, word),
            Input::FeedFailed { attempt, message } => self.feed_failed(&attempt, message),
            Input::SaveAsked {
                request,
                incarnation,
                fields,
                body,
                task,
            } => self.save_asked(request, incarnation, fields, body, task),
            Input::LoadAsked { request, incarnation } => self.load_asked(request, incarnation),
            Input::ConfirmAsked { request, incarnation } => self.confirm_asked(request, incarnation),
            Input::CloseAsked { request, incarnation } => self.close_asked(request, incarnation),
            Input::StateFileRead { incarnation } => self.state_file_read(incarnation),
            Input::CheckpointWritten { id, result } => self.checkpoint_written(id, result),
            Input::CheckpointCommandDone { incarnation } => self.checkpoint_command_done(incarnation),
            Input::CheckpointAnswered(kept) => self.checkpoint_answered(kept),
            Input::Signalled { command, result } => self.signalled(command, result),
            Input::UpgradeRequested => self.upgrade_requested(),
            Input::UpgradeFailed => self.upgrade_failed(),
            Input::StopRequested => self.stop_requested(),
            Input::Tick => {}
        }
        self.take_stock();
        self.expire();
        self.end_with_attempts();
        self.pursue_work();
        self.tell_checkpoint_in_time();
        self.greet();
        self.leave();
        self.pursue_upgrade();
        self.outcome()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before, and why.
    pub fn deadline(&self) -> Option<Deadline> {
        if self.leaving == Leaving::Left {
            return None;
        }
        let ladder = match &self.life {
            Life::Ending(ending) => ending.phase.deadline(),
            Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Running(_)
            | Life::Quarantined(_) => None,
        };
        let farewell = match self.leaving {
            Leaving::Farewell { until } => Some((until, DeadlineReason::Farewell)),
            Leaving::No | Leaving::Asked | Leaving::Left => None,
        };
        let fence = self.fence_deadline().map(|at| (at, DeadlineReason::Fence));
        let alone = self.alone_deadline().map(|at| (at, DeadlineReason::Alone));
        [
            ladder,
            farewell,
            fence,
            alone,
            self.watch_deadline(),
            self.work_deadline(),
            self.checkpoint_deadline(),
            self.forget_by.map(|at| (at, DeadlineReason::Forget)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The policy in force.
    pub const fn policy(&self) -> &AgentPolicy {
        &self.policy
    }

    /// Why a tree is being ended; `None` where it is not.
    pub fn ending(&self, tree: &TreeId) -> Option<EndedBy> {
        match (tree, &self.life) {
            (TreeId::Attempt(attempt), _) => self.attempt_ending(attempt),
            (TreeId::Life(_), Life::Ending(ending)) => Some(ending.by),
            (TreeId::Life(_), Life::Starting { end, .. }) => end.map(|end| end.by),
            (
                TreeId::Life(_),
                Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Running(_) | Life::Quarantined(_),
            ) => None,
        }
    }

    /// What is written down.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    fn expire(&mut self) {
        self.expire_fence();
        self.expire_ladder();
        self.expire_watch();
        self.expire_work();
        self.expire_alone();
        self.forget(self.clock.now.mono);
    }

    fn journal_mut(&mut self) -> &mut Journal {
        self.unwritten = Unwritten::Journal;
        &mut self.journal
    }

    fn outcome(&mut self) -> Outcome {
        let persist = match std::mem::replace(&mut self.unwritten, Unwritten::Nothing) {
            Unwritten::Journal => {
                self.forget_by = None;
                self.remember_closed();
                Some(self.journal.clone())
            }
            Unwritten::Nothing => None,
        };
        Outcome {
            persist,
            outlives: std::mem::take(&mut self.outlives),
            then: std::mem::take(&mut self.effects),
        }
    }
}
