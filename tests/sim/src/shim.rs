//! A shim as the world sees it: a state directory, and the program that runs from it now and then.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rekindle::checkpoint::{HeldCheckpoint, RunContext};
use rekindle::execution::AttemptId;
use rekindle::exit::ExitStatus;
use rekindle::id::{AgentId, Incarnation, Marker};
use rekindle_shim_core::{Journal, RequestNumber, Supervisor, TreeId};

use crate::host::Branch;
use crate::mind::{Ask, StateDir, Writing};
use crate::queue::{HandIx, HostIx, Life, StreamIx, Uid};

/// Journals that a power loss may bring back.
const OLDER_KEPT: usize = 4;

/// One state directory, and who runs from it.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) agent: AgentId,
    /// Which of the swarm's agents that is.
    pub(crate) nature: usize,
    pub(crate) host: HostIx,
    pub(crate) marker: Marker,
    /// On disk.
    pub(crate) journal: Journal,
    older: VecDeque<Journal>,
    /// On disk, too: what its agent has saved.
    pub(crate) state: StateDir,
    /// What the server has said that lives begin with.
    pub(crate) runs: BTreeMap<Incarnation, RunContext>,
    pub(crate) life: Life,
    pub(crate) running: Option<Running>,
}

/// A shim that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) supervisor: Supervisor,
    pub(crate) keeps_link: KeepsLink,
    pub(crate) stream: Option<StreamIx>,
    /// Since the last welcome.
    pub(crate) attempts: u32,
    pub(crate) watched: Option<Watched>,
    /// What it runs for messages.
    pub(crate) errands: BTreeMap<AttemptId, Watched>,
    /// Who of the agent waits for an answer.
    pub(crate) requests: BTreeMap<RequestNumber, HandIx>,
    /// Who asked for something about checkpoints, and for what.
    pub(crate) asks: BTreeMap<RequestNumber, Ask>,
    /// What those are handed who are about to begin.
    pub(crate) handing: BTreeMap<TreeId, Option<HeldCheckpoint>>,
    pub(crate) writing: Writing,
    pub(crate) sweeping: Option<Duration>,
    pub(crate) leftovers: Leftovers,
    pub(crate) timer_at: Option<Duration>,
    /// It runs since then, and nothing was in its way.
    pub(crate) steady_since: Duration,
    /// SIGSTOP, until then.
    pub(crate) frozen: Option<Duration>,
    pub(crate) stop: StopAsked,
    pub(crate) linked: Linked,
    /// When it last could take the server for present, by the clock that goes on in suspend.
    pub(crate) contact: Duration,
}

/// Whether something that a sweep could not end is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftovers {
    No,
    Yes,
}

/// Whether a shim was told to open streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepsLink {
    NotYet,
    Yes,
}

/// Whether a shim was welcomed, and has not lost its stream since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linked {
    No,
    Yes,
}

/// Whether a shim got SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopAsked {
    No,
    Yes,
}

/// The tree that a shim has an eye on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pub(crate) incarnation: Incarnation,
    pub(crate) branch: Branch,
    pub(crate) child: Uid,
    /// What the child's pid was, for a driver that goes by that.
    pub(crate) pid: u32,
    pub(crate) died: Option<ExitStatus>,
    pub(crate) watch: Watch,
    pub(crate) asked: EndAsked,
}

/// Whether somebody who may wanted a tree to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndAsked {
    No,
    Yes,
}

/// Whether somebody waits for the tree's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    No,
    /// It is waited for.
    Await,
    /// Whoever is found of it is killed.
    Kill,
}

impl Running {
    /// The tree of this name, if this life of the shim has it.
    pub(crate) fn watched(&self, tree: &TreeId) -> Option<&Watched> {
        match tree {
            TreeId::Life(incarnation) => self
                .watched
                .as_ref()
                .filter(|watched| watched.incarnation == *incarnation),
            TreeId::Attempt(attempt) => self.errands.get(attempt),
        }
    }

    /// The same, to change.
    pub(crate) fn watched_mut(&mut self, tree: &TreeId) -> Option<&mut Watched> {
        match tree {
            TreeId::Life(incarnation) => self
                .watched
                .as_mut()
                .filter(|watched| watched.incarnation == *incarnation),
            TreeId::Attempt(attempt) => self.errands.get_mut(attempt),
        }
    }

    /// It is over.
    pub(crate) fn forget(&mut self, tree: &TreeId) {
        match tree {
            TreeId::Life(_) => self.watched = None,
            TreeId::Attempt(attempt) => _ = self.errands.remove(attempt),
        }
    }

    /// The tree that a process leads.
    pub(crate) fn led_by(&self, uid: Uid) -> Option<TreeId> {
        let life = self.watched.filter(|watched| watched.child == uid);
        let errand = self.errands.iter().find(|(_, watched)| watched.child == uid);
        life.map(|watched| TreeId::Life(watched.incarnation))
            .or_else(|| errand.map(|(attempt, _)| TreeId::Attempt(attempt.clone())))
    }
}

impl Shim {
    pub(crate) fn new(agent: AgentId, nature: usize, host: HostIx, marker: Marker, journal: Journal) -> Self {
        Self {
            agent,
            nature,
            host,
            marker,
            journal,
            older: VecDeque::new(),
            state: StateDir::default(),
            runs: BTreeMap::new(),
            life: Life::default(),
            running: None,
        }
    }

    /// Writes the journal, whole.
    pub(crate) fn write(&mut self, journal: Journal) {
        if self.older.len() == OLDER_KEPT {
            self.older.pop_front();
        }
        self.older.push_back(std::mem::replace(&mut self.journal, journal));
    }

    /// A power loss takes the newest `lost` writes.
    pub(crate) fn set_back(&mut self, lost: usize) {
        for _ in 0..lost {
            if let Some(older) = self.older.pop_back() {
                self.journal = older;
            }
        }
    }

    /// What was written is on disk for good.
    pub(crate) fn synced(&mut self) {
        self.older.clear();
    }
}
