//! The machine: every agent's state, and the decisions that change it.
//!
//! ```text
//!            inventory                spawned, ready
//! PENDING ----------> STARTING ------------------------> RUNNING
//!                      ^  ^  ^ \                         /  |  \
//!      attempt is due  |  |  |  `--------. .------------'   |   `--- stop, restart ---> STOPPING
//!                      |  |  |            v                 |                              |
//!                 CRASHED |  `-- start -- UNREACHABLE       | clean exit                   | tree dead
//!                   |     |               (lease ran out)   v                              v
//!   budget is spent |     `------------------------------ STOPPED <--------------- or STARTING again
//!                   v                                       ^
//!              TERMINATED -- start, restart --> STARTING    `-- reboot, shim told to stop
//! ```
//!
//! Called by the driver, which writes what an [`Outcome`] persists before it does what the outcome asks for. Keeps the
//! invariants I1 (one life at a time), I3 (the budget), I4 (silence restarts nothing), I5 (one event per change),
//! I9 (the same inputs, the same decisions) and I11 (each report is applied once).

mod admission;
mod alone;
mod check;
mod checkpoint;
mod hello;
mod host;
mod inventory;
mod life;
mod load;
mod log;
mod manage;
mod operation;
mod recovery;
mod report;
mod request;
mod session;
mod silence;
mod step;
mod timer;
mod waiters;
mod work;
mod workflow;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rekindle::id::{AgentId, Incarnation, Sequence};
use rekindle::recovery::Budget;
use rekindle::session::{CommandId, Wanted};
use rekindle::state::AgentState;
use rekindle::time::{MonoTime, Now};

use crate::checkpoint::CheckpointRecord;
use crate::effect::{Deadline, DeadlineReason, Outcome};
use crate::host::HostKey;
use crate::input::{CallId, Input, SessionId, Wait};
use crate::record::{AgentRecord, OperationKind, RequestRecord};

use alone::Done;
use checkpoint::Checkpoints;
use work::Work;
use workflow::Workflows;

pub use check::Violation;
use host::KnownHost;

/// What the machine goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Silence after which a shim's lease has run out.
    pub lease: Duration,
    /// After the machine's start, nobody is called silent for so long.
    pub adoption_window: Duration,
    /// Most agents.
    pub agents_max: usize,
    /// Most events that are kept.
    pub events_max: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            adoption_window: Duration::from_secs(60),
            agents_max: AGENTS_MAX,
            events_max: EVENTS_MAX,
        }
    }
}

/// Most agents by default: twice the scale that the design aims at.
const AGENTS_MAX: usize = 200_000;

/// Most events that are kept by default: a month of a hundred crashes an hour, each with its eight events, and room.
const EVENTS_MAX: u64 = 1_000_000;

/// Most requests that are remembered per agent. A caller retries for minutes, and no operator sends more in them.
const REQUESTS_MAX: usize = 32;

/// Most callers that wait for one agent. More are answered at once that the operation is pending.
const WAITERS_MAX: usize = 256;

/// Most timers that fire in one step, so that a step's batch stays far below what one commit can carry.
const TIMERS_PER_STEP: usize = 256;

/// Events are trimmed this many at a time, so that most commits trim nothing.
const TRIM_STEP: u64 = 1_000;

/// Most events that one step trims, so that its batch stays small where the limit was lowered by much.
const TRIM_STEP_MAX: u64 = 10_000;

/// Every agent, and who waits for what. See the module's documentation.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    rng: fastrand::Rng,
    agents: BTreeMap<AgentId, Agent>,
    /// Those that agents are held on.
    hosts: BTreeMap<HostKey, KnownHost>,
    sessions: BTreeMap<SessionId, AgentId>,
    calls: BTreeMap<CallId, AgentId>,
    signals: BTreeMap<CommandId, PendingSignal>,
    timers: BTreeSet<(MonoTime, DeadlineReason, AgentId)>,
    next_command: u64,
    workflows: Workflows,
    /// When it is judged of what the server and its shims say different things.
    pass: Option<MonoTime>,
    verdicts: Verdicts,
    /// Agents of whose work the server and a shim have said different things, and some of which have.
    unclear: BTreeSet<AgentId>,
    /// Executions that shims which are there were given: the sum over all agents.
    watched: usize,
    /// Nobody was silent before: the server did not run, or has renewed all leases since.
    renewed: MonoTime,
    /// Who was not heard since the start has until then to be heard.
    adopts_until: MonoTime,
    /// Oldest and newest event that are kept; the newest is zero before the first.
    first_event: Sequence,
    last_event: Sequence,
}

#[derive(Debug)]
struct Agent {
    record: Arc<AgentRecord>,
    /// The stream of its shim, while it is open.
    session: Option<Session>,
    /// What its shim was told on that stream to go by alone.
    charged: Option<Charged>,
    /// Whether its policy has changed since its shim was welcomed, and could not be told yet.
    policy: PolicyTold,
    /// The commands that it was told since by which it begins nothing alone, and has confirmed none of.
    rests: Vec<CommandId>,
    /// A stop that is done as soon as one of them is confirmed.
    stopped: Option<Done>,
    /// When the shim was last heard, while no stream is open.
    last_heard: MonoTime,
    /// Whether that was in this life of the server.
    heard: Heard,
    /// Runs while no stream is open and the child may live.
    lease: Option<MonoTime>,
    /// What the state waits for.
    timer: Option<Timer>,
    /// Whether the recovery's wait is over, and only a shim is missing.
    due: Due,
    overdue: Overdue,
    /// When the newest attempt that counts began, if this life of the server saw it.
    attempted: Option<MonoTime>,
    waiters: Vec<Waiter>,
    work: Work,
    checkpoints: Checkpoints,
    /// When something of its work is due.
    work_timer: Option<MonoTime>,
    /// Its part of [`Machine::watched`].
    watched: usize,
    /// Oldest first.
    requests: VecDeque<Arc<RequestRecord>>,
}

/// A stream whose shim was welcomed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Session {
    id: SessionId,
    settled: Settled,
}

/// Whether a shim has said on its stream what it holds. Before that its beats count, and nothing is ordered of it or
/// concluded about its child: what it was ordered is made good by what the inventory entails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Timer {
    at: MonoTime,
    reason: DeadlineReason,
}

/// Whether a shim was heard in this life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    No,
    Yes,
}

/// Whether a shim goes by the policy in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PolicyTold {
    Yes,
    /// It is told as soon as the shim has said what it holds.
    No,
}

/// Whether an automatic restart may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// It waits for its timer, or there is none to begin.
    NotYet,
    /// It may begin as soon as a shim is there.
    Now,
}

/// Whether the order to start was not carried out in time, so that the next inventory decides what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    No,
    Yes,
}

/// What came of the last pass over what the server and its shims say different things of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdicts {
    /// Each was judged.
    Passed,
    /// It was so much that nothing was judged, and an event has said so.
    Held,
}

/// What a shim was told to go by alone, without what changes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Charged {
    wanted: Wanted,
    budget: Budget,
}

/// A caller that waits for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiter {
    call: CallId,
    kind: OperationKind,
    target: Incarnation,
    wait: Wait,
    previous_state: AgentState,
}

#[derive(Debug)]
struct PendingSignal {
    call: CallId,
    agent: AgentId,
    session: SessionId,
    host: String,
}

impl Machine {
    /// Takes one fact, at one time, and decides what follows.
    ///
    /// The machine's own state is changed at once: it runs ahead of what is durable, and no reader may see it before
    /// the outcome's records are.
    pub fn step(&mut self, now: Now, input: Input) -> Outcome {
        step::Step::new(self, now).run(input)
    }

    /// When the machine wants a [`Input::Tick`], at the latest, and why. A time that has passed means at once.
    pub fn deadline(&self) -> Option<Deadline> {
        let timer = self.timers.first().map(|(at, reason, _)| (*at, *reason));
        let pass = self.pass.map(|at| (at, DeadlineReason::Pass));
        timer.into_iter().chain(pass).chain(self.workflows.deadline()).min()
    }

    /// Every agent's record, as it will be once all outcomes are durable, in the order of ids.
    pub fn records(&self) -> impl Iterator<Item = &Arc<AgentRecord>> {
        self.agents.values().map(|agent| &agent.record)
    }

    /// Every checkpoint's record that is kept, as it will be once all outcomes are durable, agent by agent, the oldest first.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Arc<CheckpointRecord>> {
        self.agents.values().flat_map(|agent| agent.checkpoints.records())
    }

    /// The oldest and the newest event that are kept.
    pub fn events(&self) -> (Sequence, Sequence) {
        (self.first_event, self.last_event)
    }
}
