//! The executions of a snapshot, and which of them are asked for often.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::{AgentId, WorkflowUid};
use rekindle::time::Timestamp;
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::workflow::WorkflowRecord;

/// What an execution is found by: those of one agent are together.
type Key = (AgentId, ExecutionId);

/// Every execution that is kept, without its texts. Cloning shares all but what changes.
#[derive(Debug, Clone, Default)]
pub struct Executions {
    all: OrdMap<Key, Arc<ExecutionRecord>>,
    /// Those that have a process of their own: as many as slots are taken, and not as many as are kept.
    processes: OrdSet<Key>,
    /// Those that wait for their agents.
    queued: OrdSet<Key>,
    /// Those that workflows have made, and that go on.
    fired: OrdMap<WorkflowUid, OrdSet<Key>>,
    /// Those that are over, from when the server learned of it.
    over: OrdMap<Place, Key>,
    /// The same, in the order of their ends.
    ended: OrdMap<u64, Key>,
}

/// A place among the executions that are over, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the server learned of the end.
    pub closed: Timestamp,
    /// [`ExecutionRecord::order`], which no two have.
    order: u64,
}

impl Place {
    /// No execution that is over since then, or since later, has a place before this one.
    pub const fn first_of(closed: Timestamp) -> Self {
        Self { closed, order: 0 }
    }

    fn of(record: &ExecutionRecord) -> Option<Self> {
        let closed = record.times.closed?;
        Some(Self {
            closed,
            order: record.order,
        })
    }
}

impl Executions {
    /// One of them.
    pub fn get(&self, key: &Key) -> Option<&Arc<ExecutionRecord>> {
        self.all.get(key)
    }

    /// Those from a key on, in the order of their keys.
    pub fn from(&self, from: Bound<Key>) -> impl Iterator<Item = &Arc<ExecutionRecord>> {
        self.all.range((from, Bound::Unbounded)).map(|(_, record)| record)
    }

    /// Those of an agent that have a process of their own, in the order of their ids; `after` and what comes before it is
    /// left out.
    pub fn with_process(
        &self,
        agent: &AgentId,
        after: Option<&ExecutionId>,
    ) -> impl Iterator<Item = &Arc<ExecutionRecord>> {
        let from = match after {
            Some(after) => Bound::Excluded((agent.clone(), after.clone())),
            None => Bound::Included((agent.clone(), ExecutionId::first())),
        };
        self.processes
            .range((from, Bound::Unbounded))
            .take_while(move |(of, _)| of == agent)
            .filter_map(|key| self.all.get(key))
    }

    /// How many of an agent are QUEUED.
    pub fn queued(&self, agent: &AgentId) -> usize {
        let from = Bound::Included((agent.clone(), ExecutionId::first()));
        self.queued
            .range((from, Bound::Unbounded))
            .take_while(|(of, _)| of == agent)
            .count()
    }

    /// Those that a workflow has made, and that go on.
    pub fn of_workflow(&self, workflow: &WorkflowRecord) -> impl Iterator<Item = &Arc<ExecutionRecord>> {
        let keys = self.fired.get(&workflow.uid).into_iter().flatten();
        keys.filter_map(|key| self.all.get(key))
    }

    /// How many are over.
    pub fn over_count(&self) -> usize {
        self.over.len()
    }

    /// Those that are over, from a place on, the oldest first.
    pub fn over(&self, from: Bound<Place>) -> impl Iterator<Item = (Place, Arc<ExecutionRecord>)> {
        self.over
            .range((from, Bound::Unbounded))
            .filter_map(|(place, key)| Some((*place, self.all.get(key)?.clone())))
    }

    /// Those that are over, behind a place in the order of their ends, each with its own; the first to have ended first.
    pub fn ended(&self, after: Option<u64>) -> impl Iterator<Item = (u64, Arc<ExecutionRecord>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.ended
            .range((from, Bound::Unbounded))
            .filter_map(|(place, key)| Some((*place, self.all.get(key)?.clone())))
    }

    /// The execution is this, from here on.
    pub fn insert(&mut self, record: Arc<ExecutionRecord>) {
        let key = (record.agent.clone(), record.id.clone());
        self.take_place(&key);
        if let Some(place) = Place::of(&record) {
            self.over.insert(place, key.clone());
            self.ended.insert(end_order(&record), key.clone());
        }
        match &record.process {
            Some(_) => self.processes.insert(key.clone()),
            None => self.processes.remove(&key),
        };
        if let Some(by) = record.workflow.as_ref().filter(|_| !record.state.is_over()) {
            self.fired.entry(by.uid).or_default().insert(key.clone());
        }
        if record.state == ExecutionState::Queued {
            self.queued.insert(key.clone());
        } else {
            self.queued.remove(&key);
        }
        self.all.insert(key, record);
    }

    /// The execution is forgotten.
    pub fn remove(&mut self, key: &Key) {
        self.take_place(key);
        self.processes.remove(key);
        self.queued.remove(key);
        self.all.remove(key);
    }

    fn take_place(&mut self, key: &Key) {
        let Some(known) = self.all.get(key) else { return };
        if let Some(place) = Place::of(known) {
            self.over.remove(&place);
            self.ended.remove(&end_order(known));
        }
        let Some(by) = &known.workflow else { return };
        if let Some(live) = self.fired.get_mut(&by.uid) {
            live.remove(key);
            if live.is_empty() {
                self.fired.remove(&by.uid);
            }
        }
    }
}

/// The place of one that is over in the order of ends. One that ended before that was written has its creation's, which no
/// other has either: both are sequences of events.
fn end_order(record: &ExecutionRecord) -> u64 {
    record.end_order.unwrap_or(record.order)
}

impl Extend<ExecutionRecord> for Executions {
    fn extend<T: IntoIterator<Item = ExecutionRecord>>(&mut self, records: T) {
        for record in records {
            self.insert(Arc::new(record));
        }
    }
}
