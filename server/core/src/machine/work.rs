//! Work: the executions of an agent, and the order in which it is given them.
//!
//! ```text
//!         a slot is free, the agent is ready
//! QUEUED ------------------------------------> DISPATCHED --> ACCEPTED --> RUNNING --> SUCCEEDED, FAILED
//!  |  ^                                            |             |            |
//!  |  `---- it never arrived, or did not begin ----+-------------'            |-- cancelled --> CANCELLED
//!  |  `---- the agent died with it, or nobody can say: as often as allowed ---|-- its time ---> TIMED_OUT
//!  |                                                                          |-- died -------> DEAD_LETTER
//!  `-- cancelled, or not started in time                                      `-- unknown ----> LOST
//! ```
//!
//! A slot is taken by exactly those that are DISPATCHED, ACCEPTED or RUNNING, also while they are being ended: a shim
//! tells the end of an attempt once none of its processes is left. Keeps I6 (one terminal chain for each execution).

mod cancel;
mod create;
mod dispatch;
mod due;
mod forget;
mod inventory;
mod message;
mod outcome;
mod pass;
mod reply;

pub(super) use outcome::Attempt;
pub(super) use reply::ExecutionReply;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rekindle::execution::{AttemptId, AttemptPhase, ExecutionId, ExecutionState};
use rekindle::id::{AgentId, ExecutionUid, RequestId};
use rekindle::time::{MonoTime, Now};

use super::step::{Attributes, Step};
use super::{Agent, Machine, Timer};
use crate::effect::DeadlineReason;
use crate::event::EventKind;
use crate::execution::ExecutionRecord;
use crate::input::CallId;

/// The executions of one agent.
#[derive(Debug, Default)]
pub(super) struct Work {
    executions: BTreeMap<ExecutionId, Execution>,
    /// Those that are QUEUED, in the order in which they are given.
    queue: BTreeSet<Place>,
    /// Those that take a slot.
    held: BTreeSet<ExecutionId>,
    /// Those that wait for a time.
    due: BTreeSet<(MonoTime, ExecutionId)>,
    /// Which request made which.
    requests: BTreeMap<RequestId, ExecutionId>,
    /// Those that the shim, asked for all that it has, did not name.
    missing: BTreeSet<ExecutionId>,
    /// What the shim has, and no record tells of.
    strangers: BTreeMap<AttemptId, AttemptPhase>,
    /// What the shim has, and was told to end as nobody wants it.
    disowned: BTreeSet<AttemptId>,
    /// Those that are LOST, and that the shim says it has: their true end may come.
    awaited: BTreeSet<ExecutionId>,
    /// Who waits for an end.
    waiters: Vec<EndWaiter>,
}

#[derive(Debug)]
struct Execution {
    record: Arc<ExecutionRecord>,
    due: Option<MonoTime>,
    /// When it must end, whatever its shim says of its time.
    must_end: Option<MonoTime>,
    /// When it is too late to begin.
    start_by: Option<MonoTime>,
}

/// A place in the queue: the highest priority first, then the oldest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    priority: Reverse<i32>,
    order: u64,
    id: ExecutionId,
}

impl Place {
    fn of(record: &ExecutionRecord) -> Self {
        Self {
            priority: Reverse(record.priority),
            order: record.order,
            id: record.id.clone(),
        }
    }
}

/// A caller that waits for the end of an execution that it cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndWaiter {
    pub(super) call: CallId,
    execution: ExecutionId,
}

impl Work {
    /// Adds one that is durable, or new.
    pub(super) fn insert(&mut self, record: Arc<ExecutionRecord>) {
        if let Some(request) = &record.request {
            self.requests.insert(request.clone(), record.id.clone());
        }
        self.index(&record);
        self.executions.insert(
            record.id.clone(),
            Execution {
                record,
                due: None,
                must_end: None,
                start_by: None,
            },
        );
    }

    /// Adds one that an earlier life of the server left. What its agent has is looked at when its shim is back; what waits
    /// for its start has the time that is left of it.
    pub(super) fn recover(&mut self, record: Arc<ExecutionRecord>, now: Now) {
        let (id, state) = (record.id.clone(), record.state);
        let left = record.start_by.map(|at| at.saturating_since(now.wall));
        self.insert(record);
        if let Some(left) = left {
            let at = now.mono.saturating_add(left);
            self.set_start_by(&id, at);
            if state == ExecutionState::Queued {
                self.set_due(&id, Some(at));
            }
        }
    }

    fn index(&mut self, record: &ExecutionRecord) {
        self.queue.remove(&Place::of(record));
        self.held.remove(&record.id);
        self.missing.remove(&record.id);
        self.awaited.remove(&record.id);
        if record.state == ExecutionState::Queued {
            self.queue.insert(Place::of(record));
        }
        if record.state.is_held() {
            self.held.insert(record.id.clone());
        }
    }

    fn set_due(&mut self, id: &ExecutionId, at: Option<MonoTime>) {
        let Some(execution) = self.executions.get_mut(id) else {
            return;
        };
        let old = std::mem::replace(&mut execution.due, at);
        if let Some(old) = old {
            self.due.remove(&(old, id.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, id.clone()));
        }
    }

    /// When it is too late to begin. By the clock that nobody sets: a jump of the wall's makes no verdict (I12).
    fn start_by(&self, id: &ExecutionId) -> Option<MonoTime> {
        self.executions.get(id)?.start_by
    }

    fn set_start_by(&mut self, id: &ExecutionId, at: MonoTime) {
        if let Some(execution) = self.executions.get_mut(id) {
            execution.start_by = Some(at);
        }
    }

    fn must_end(&self, id: &ExecutionId) -> Option<MonoTime> {
        self.executions.get(id)?.must_end
    }

    fn set_must_end(&mut self, id: &ExecutionId, at: MonoTime) {
        if let Some(execution) = self.executions.get_mut(id) {
            execution.must_end = Some(at);
        }
    }

    /// One of them.
    pub(super) fn find(&self, id: &ExecutionId) -> Option<&Arc<ExecutionRecord>> {
        Some(&self.executions.get(id)?.record)
    }

    /// Counts a write of one of them, and gives it.
    pub(super) fn renew(&mut self, id: &ExecutionId) -> Arc<ExecutionRecord> {
        let execution = self
            .executions
            .get_mut(id)
            .expect("what a step changed is there, or is not changed any more");
        Arc::make_mut(&mut execution.record).revision += 1;
        execution.record.clone()
    }

    /// All of them, in the order of their ids.
    pub(super) fn records(&self) -> impl Iterator<Item = &Arc<ExecutionRecord>> {
        self.executions.values().map(|execution| &execution.record)
    }

    /// Whether the shim, asked for all that it has, named other attempts than it was given.
    pub(super) fn is_unclear(&self) -> bool {
        !self.missing.is_empty() || !self.strangers.is_empty()
    }

    /// The shim has told how an attempt ended, and has it no longer.
    fn is_gone(&mut self, attempt: &AttemptId) {
        self.strangers.remove(attempt);
        self.disowned.remove(attempt);
    }

    /// The attempt that a shim names. One that tells no uid, as an earlier version does, means who has the name.
    fn named(&self, attempt: AttemptId) -> AttemptId {
        match self.find(&attempt.execution) {
            Some(record) if attempt.uid == ExecutionUid::UNKNOWN => AttemptId {
                uid: record.uid,
                ..attempt
            },
            Some(_) | None => attempt,
        }
    }

    /// The execution that an attempt is one at. Another one of the same name it has nothing to do with.
    fn find_tried(&self, attempt: &AttemptId) -> Option<&Arc<ExecutionRecord>> {
        self.find(&attempt.execution).filter(|record| record.uid == attempt.uid)
    }

    /// The first of the queue that may go. What the shim has of the same name, and nobody counts with, comes first: agents
    /// know their work by its name, and two of one would be taken for each other.
    fn next_to_give(&self) -> Option<ExecutionId> {
        let next = self.queue.iter().find(|place| !self.is_in_the_way_of(&place.id))?;
        Some(next.id.clone())
    }

    /// Whether the shim has something of this name that nobody counts with. Of all names it has few
    /// ([`ATTEMPTS_MAX`](rekindle::execution::ATTEMPTS_MAX)).
    fn is_in_the_way_of(&self, id: &ExecutionId) -> bool {
        let mut strays = self.strangers.keys().chain(&self.disowned);
        strays.any(|attempt| attempt.execution == *id)
    }

    /// What its timer should be.
    pub(super) fn first_due(&self) -> Option<MonoTime> {
        Some(self.due.first()?.0)
    }

    pub(super) fn waiters(&self) -> &[EndWaiter] {
        &self.waiters
    }

    /// What does not hold between two steps.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let queued = self.records().filter(|record| record.state == ExecutionState::Queued);
        if queued.map(|record| Place::of(record)).ne(self.queue_by_id()) {
            return Some("its queue is not those that are QUEUED");
        }
        let held = self.records().filter(|record| record.state.is_held());
        if held.map(|record| &record.id).ne(&self.held) {
            return Some("its slots are not those that it has");
        }
        let due = |(at, id): &(MonoTime, ExecutionId)| self.executions.get(id).and_then(|e| e.due) == Some(*at);
        if !self.due.iter().all(due) || self.due.len() != self.executions.values().filter(|e| e.due.is_some()).count() {
            return Some("a time is not indexed");
        }
        if !self.missing.is_subset(&self.held) {
            return Some("one that takes no slot is missing");
        }
        let is_lost = |id: &ExecutionId| self.find(id).is_some_and(|record| record.state == ExecutionState::Lost);
        let is_disowned = |attempt| self.disowned.contains(attempt);
        if self.strangers.keys().any(is_disowned) {
            return Some("an attempt is judged, and waits to be");
        }
        if !self.awaited.iter().all(is_lost) {
            return Some("the true end is awaited of one that is not LOST");
        }
        if self
            .records()
            .any(|record| record.times.closed.is_some() != record.state.is_over())
        {
            return Some("one that is over has no time of that, or another has one");
        }
        None
    }

    fn queue_by_id(&self) -> impl Iterator<Item = Place> {
        let mut places: Vec<Place> = self.queue.iter().cloned().collect();
        places.sort_by(|a, b| a.id.cmp(&b.id));
        places.into_iter()
    }
}

impl Machine {
    /// Every execution's record, as it will be once all outcomes are durable, agent by agent.
    pub fn executions(&self) -> impl Iterator<Item = &Arc<ExecutionRecord>> {
        self.agents.values().flat_map(|agent| agent.work.records())
    }

    /// Counts anew what the shim of an agent, while it is there, was given: the end of each step that may change it.
    pub(super) fn recount(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let watches = agent.watches();
        let before = std::mem::replace(&mut agent.watched, watches);
        self.watched = self.watched + watches - before;
    }

    /// Sets the timer of an agent's work to the first of its times.
    pub(super) fn rearm_work(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let timer = |at| Timer {
            at,
            reason: DeadlineReason::Work,
        };
        let first = agent.work.first_due();
        let old = std::mem::replace(&mut agent.work_timer, first);
        self.swap(id, old.map(timer), first.map(timer));
    }
}

impl Agent {
    /// How many executions its shim was given, and can be asked about.
    pub(super) fn watches(&self) -> usize {
        match self.settled() {
            Some(_) => self.work.held.len(),
            None => 0,
        }
    }
}

impl Step<'_> {
    pub(super) fn work(&mut self, agent: &AgentId) -> &mut Work {
        &mut self.agent(agent).work
    }

    /// An execution that is known to exist.
    fn execution(&mut self, agent: &AgentId, id: &ExecutionId) -> &ExecutionRecord {
        self.work(agent)
            .find(id)
            .expect("a step looks up the executions it was handed, and forgets none of them")
    }

    /// An execution's record, to change: it will be persisted. Its state changes through [`Step::enter_execution`].
    fn edit_execution(&mut self, agent: &AgentId, id: &ExecutionId) -> &mut ExecutionRecord {
        self.touch_execution(agent, id);
        let execution = self
            .work(agent)
            .executions
            .get_mut(id)
            .expect("a step looks up the executions it was handed, and forgets none of them");
        Arc::make_mut(&mut execution.record)
    }

    /// Puts an execution into a state, with the one event that tells of it.
    fn enter_execution(
        &mut self,
        agent: &AgentId,
        id: &ExecutionId,
        state: ExecutionState,
        message: impl Into<String>,
        attributes: Attributes,
    ) {
        let (now, message) = (self.now, message.into());
        self.touch_pump(agent);
        let told_by = self.machine.last_event.next().get();
        let record = self.edit_execution(agent, id);
        let attempt = record.attempt;
        record.state = state;
        if state.is_over() {
            record.process = None;
            // The true end of one that is LOST is read by what was wanted of it.
            if state != ExecutionState::Lost {
                record.ending = None;
            }
            record.times.ended.get_or_insert(now.wall);
            record.times.closed = Some(now.wall);
            record.end_order = Some(told_by);
        } else {
            record.times.ended = None;
            record.times.closed = None;
            record.end_order = None;
        }
        let record = record.clone();
        let incarnation = record
            .given_to
            .as_ref()
            .map_or_else(Default::default, |given| given.incarnation);
        let work = self.work(agent);
        work.index(&record);
        work.set_due(id, None);
        self.machine.rearm_work(agent);
        self.execution_event(
            EventKind::from(state),
            (agent, id),
            incarnation,
            message.clone(),
            with_attempt(attributes, attempt),
        );
        self.execution_moved(&record, &message);
        if state.is_over() {
            self.close_what_is_over(agent);
            self.answer_end_waiters(agent, id);
        }
    }

    fn set_execution_due(&mut self, agent: &AgentId, id: &ExecutionId, at: Option<MonoTime>) {
        self.work(agent).set_due(id, at);
        self.machine.rearm_work(agent);
    }
}

fn with_attempt(mut attributes: Attributes, attempt: u32) -> Attributes {
    if attempt > 0 {
        attributes.insert("attempt".to_owned(), attempt.to_string());
    }
    attributes
}
