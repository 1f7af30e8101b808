//! The oracle: what must hold, checked against what truly happened in the world, not against what the cores think.

mod boots;
mod flows;
mod history;
mod lives;
mod saves;
mod silence;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rekindle::id::{AgentId, Incarnation, Marker, ReportSequence, RequestId, Sequence};
use rekindle::process::ProcessIdentity;
use rekindle::report::Report;
use rekindle::time::MonoTime;
use rekindle_server_core::record::{AgentRecord, RequestRecord};

use crate::host::Branch;
use crate::queue::Uid;
use boots::Boots;
use flows::Flows;
use saves::Saves;
use work::Ledger;

pub(crate) use lives::End;
pub(crate) use saves::{Handed, TaskIsOver};
pub(crate) use work::WantedEnded;

/// What always holds; the numbers are DESIGN.md's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// A core's own check.
    Core,
    /// At most one live incarnation per agent.
    I1,
    /// No signal goes to a process that is not the agent's.
    I2,
    /// Automatic restarts stay within the budget.
    I3,
    /// An outage alone restarts nothing.
    I4,
    /// Acknowledged is durable; each change has its event; the log has no hole.
    I5,
    /// Each execution ends once, and slots are those that are held.
    I6,
    /// After a stop nothing of the tree lives.
    I7,
    /// A life is handed what an earlier one saved last, whole, or nothing.
    I8,
    /// A trigger that fired is dispatched, skipped or expired, and each runner is armed when it should be.
    I10,
    /// Each end is applied once.
    I11,
    /// Jumps, suspends and pauses make no verdict.
    I12,
    /// A message that runs past its time is ended in time.
    InTime,
    /// When all faults have ended, all is well in bounded time.
    Convergence,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) invariant: Invariant,
    pub(crate) what: String,
}

/// What truly is of one agent.
#[derive(Debug, Default)]
struct Truth {
    /// An operator forced a start while the old process lived: two lives are that operator's doing.
    lied: Lied,
    /// The highest life that was begun.
    last: Incarnation,
    /// When the newest life began, and ended.
    began: Duration,
    ended: Option<Duration>,
    end: End,
    /// Whose it was, unless the agent was another shim's since.
    by: Option<Marker>,
    /// Automatic restarts since the budget was whole, and what it allowed at most.
    spent: u32,
    allowed: u32,
    /// The newest life that an operator ordered to run, and to be stopped.
    run_target: Incarnation,
    stop_target: Incarnation,
    /// The newest life that hung.
    hung: Incarnation,
    /// Whether the newest life has a process.
    has: HasProcess,
    /// Every process that this agent ever had.
    processes: Vec<ProcessIdentity>,
}

/// Whether a life has a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum HasProcess {
    #[default]
    Yes,
    /// Each of its messages has one.
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Lied {
    #[default]
    No,
    Yes,
}

/// Whether the store is the newest that there ever was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Store {
    #[default]
    Newest,
    SetBack,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// The first that did not hold.
    pub(crate) broken: Option<Broken>,
    agents: BTreeMap<AgentId, Truth>,
    owners: BTreeMap<Uid, (AgentId, Incarnation, Branch)>,
    /// Executions.
    pub(crate) work: Ledger,
    /// Workflows.
    pub(crate) flows: Flows,
    /// Checkpoints.
    saves: Saves,
    /// As the machine has them, ahead of the disk.
    ahead: BTreeMap<AgentId, Arc<AgentRecord>>,
    ahead_sequence: Sequence,
    durable_sequence: Sequence,
    /// What was said by somebody who could not take it back.
    promised: BTreeMap<AgentId, Arc<AgentRecord>>,
    promised_sequence: Sequence,
    requests: BTreeMap<(AgentId, RequestId), Arc<RequestRecord>>,
    applied: BTreeMap<(Marker, ReportSequence), Report>,
    /// Exits that the input under way tells of for the first time.
    fresh_exits: usize,
    /// Those of earlier steps that no event has told of.
    untold_exits: usize,
    seen_reports: BTreeMap<Marker, ReportSequence>,
    /// When each agent was last heard, in time that the server was there to hear.
    contact: BTreeMap<AgentId, Duration>,
    /// When the server started, by the same, and how long nobody is silent from then on.
    started: Duration,
    adoption_window: Duration,
    /// Boots that truly ended, and what was told of them.
    pub(crate) boots: Boots,
    store: Store,
    /// When the newest attempt of each agent began, by the clock of this life of the server.
    attempts: BTreeMap<AgentId, MonoTime>,
}

impl Oracle {
    pub(crate) fn fail(&mut self, invariant: Invariant, what: String) {
        if self.broken.is_none() {
            self.broken = Some(Broken { invariant, what });
        }
    }

    /// A core's own check has failed.
    pub(crate) fn core(&mut self, what: String) {
        self.fail(Invariant::Core, what);
    }

    /// The world does not come to rest.
    pub(crate) fn stuck(&mut self, what: String) {
        self.fail(Invariant::Convergence, what);
    }

    fn truth(&mut self, agent: &AgentId) -> &mut Truth {
        if !self.agents.contains_key(agent) {
            self.agents.insert(agent.clone(), Truth::default());
        }
        self.agents.get_mut(agent).expect("it was just made sure of")
    }

    /// An operator said that a process was dead which was not.
    pub(crate) fn lied(&mut self, agent: &AgentId) {
        self.truth(agent).lied = Lied::Yes;
    }

    /// Operators put a copy of the store in its place: nothing that was promised since binds the server, and of no agent it
    /// can know what became of it.
    pub(crate) fn set_back(&mut self) {
        self.store = Store::SetBack;
        self.promised.clear();
        self.promised_sequence = Sequence::ZERO;
        self.requests.clear();
        self.work.set_back();
        self.flows.set_back();
        self.saves_set_back();
        for truth in self.agents.values_mut() {
            truth.lied = Lied::Yes;
        }
    }

    pub(crate) fn is_set_back(&self) -> bool {
        self.store == Store::SetBack
    }

    /// Whether the operators' words about an agent were true.
    pub(crate) fn is_honest(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_none_or(|truth| truth.lied == Lied::No)
    }
}
