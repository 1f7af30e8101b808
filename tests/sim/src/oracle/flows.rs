//! I10: a trigger that fired is dispatched, skipped by its policy or expired by it, and each of them once.
//!
//! What must go off, and when, is counted here again, from what truly happened: the arithmetic of the schedules is in
//! `schedules`, that of turns and ends of others in `causes`.

mod causes;
mod fates;
mod schedules;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rekindle::execution::ExecutionState;
use rekindle::id::{AgentId, ExecutionUid, FireNumber, WorkflowUid};
use rekindle::state::AgentState;
use rekindle::time::{MonoTime, Now};
use rekindle::workflow::{FireKey, Overlap, WorkflowId};
use rekindle_server_core::effect::{Answer, Outcome, WorkflowError};
use rekindle_server_core::event::{About, Event, EventKind};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::record::{AgentRecord, Record};
use rekindle_server_core::workflow::{ErrorOf, WorkflowRecord};

use super::{Invariant, Oracle, WantedEnded};
use crate::disk::Disk;
use crate::fault::Fault;
use schedules::Schedule;

/// What is kept of workflows.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    /// As the machine has them, ahead of the disk.
    ahead: BTreeMap<WorkflowId, Flow>,
    /// What each fire made, as far as that is durable. It stays known when the execution is forgotten.
    went: BTreeMap<(WorkflowUid, FireNumber), ExecutionUid>,
    /// The keys of fires, ahead of the disk.
    keys: BTreeMap<(WorkflowUid, FireNumber), FireKey>,
    /// Whether the newest durable event says that it is armed.
    armed: BTreeMap<WorkflowId, Armed>,
    /// When the execution of a fire was made, in the world's time.
    made: BTreeMap<(AgentId, ExecutionUid), Duration>,
    /// Since when a fire waits, in the world's time.
    waits: BTreeMap<(WorkflowUid, FireNumber), Duration>,
    /// The same by the server's clock that does not jump, as far as that can be known after a restart.
    counted: BTreeMap<(WorkflowUid, FireNumber), MonoTime>,
    /// What went on of executions that the newest step forgot, with their agent.
    cut: Vec<Arc<ExecutionRecord>>,
    /// When a wall clock of the server's last jumped.
    jumped: Option<Duration>,
}

/// One workflow, as the machine has it.
#[derive(Debug, Clone)]
struct Flow {
    record: Arc<WorkflowRecord>,
    armed: Armed,
    fires: BTreeMap<FireNumber, Fate>,
    schedule: Schedule,
    /// When somebody last changed what it shall do, in the world's time.
    changed: Duration,
}

/// What the newest event says of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Armed {
    #[default]
    No,
    Yes,
}

/// What became of a fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    /// It made this execution.
    Went(ExecutionUid),
    /// It was skipped, or has expired.
    Gone,
}

/// The events of one step about one workflow.
#[derive(Debug, Default)]
struct News<'a> {
    events: Vec<&'a Event>,
    record: Option<&'a Arc<WorkflowRecord>>,
    deleted: bool,
    made: Vec<&'a ExecutionRecord>,
}

impl News<'_> {
    fn count(&self, kind: EventKind) -> usize {
        self.of(kind).count()
    }

    fn of(&self, kind: EventKind) -> impl Iterator<Item = &&Event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }
}

impl Flows {
    /// The store is an older one: what its fires had made since nobody knows.
    pub(super) fn set_back(&mut self) {
        self.went.clear();
        self.armed.clear();
    }
}

impl Oracle {
    /// A server has begun with what is durable.
    pub(super) fn flows_recovered(&mut self, disk: &Disk, now: Now) {
        // What was lost with a batch has its numbers used again.
        self.flows.keys.clear();
        let mut ahead = BTreeMap::new();
        let mut problem = None;
        for record in disk.workflows() {
            self.count_waits(record, |_| true, now);
            let should = should_be_armed(record, disk.agent(&record.spec.agent));
            let told = self.flows.armed.get(&record.id).copied().unwrap_or_default();
            // What an older store has said last nobody remembers here.
            let armed = if self.is_set_back() { should } else { told };
            if armed != should {
                problem = Some(format!("{} is {armed:?} by its newest event, and is not", record.id));
            }
            let flow = Flow {
                record: record.clone(),
                armed,
                fires: fates_of(record, &self.flows.went),
                schedule: Schedule::recovered(record, now),
                changed: Duration::ZERO,
            };
            ahead.insert(record.id.clone(), flow);
        }
        self.flows.ahead = ahead;
        if let Some(problem) = problem {
            self.fail(Invariant::I10, problem);
        }
    }

    /// One step's decisions on workflows, ahead of the disk; those on agents and executions are known already.
    pub(super) fn flows_stepped(&mut self, outcome: &Outcome, now: Now, world: Duration) {
        let mut all: BTreeMap<WorkflowId, News<'_>> = BTreeMap::new();
        for record in &outcome.persist {
            match record {
                Record::Event(event) => {
                    if let Some(workflow) = event
                        .workflow
                        .as_ref()
                        .filter(|_| event.kind.about() == About::Workflow)
                    {
                        all.entry(workflow.clone()).or_default().events.push(event);
                    }
                }
                Record::Workflow(workflow) => {
                    all.entry(workflow.id.clone()).or_default().record = Some(workflow);
                }
                Record::WorkflowDeleted(workflow) => all.entry(workflow.clone()).or_default().deleted = true,
                Record::Execution(execution) => {
                    let unique = (execution.agent.clone(), execution.uid);
                    // What is done again, an operator has done again.
                    if let Some(by) = execution.workflow.as_ref().filter(|_| execution.redrive_of.is_none())
                        && !self.flows.made.contains_key(&unique)
                    {
                        self.flows.made.insert(unique, world);
                        all.entry(by.workflow.clone()).or_default().made.push(execution);
                    }
                }
                Record::Agent(_)
                | Record::AgentDeleted(_)
                | Record::EventsTrimmed { .. }
                | Record::Request(_)
                | Record::RequestForgotten { .. }
                | Record::ExecutionMessage { .. }
                | Record::ExecutionOutput { .. }
                | Record::ExecutionForgotten { .. }
                | Record::WorkflowMessage { .. }
                | Record::FirePayload { .. }
                | Record::FirePayloadForgotten { .. }
                | Record::Checkpoint(_)
                | Record::CheckpointContent { .. }
                | Record::CheckpointForgotten { .. }
                | Record::Host(_)
                | Record::HostForgotten(_) => {}
            }
        }
        self.judge_causes(outcome, &all);
        for (id, news) in &all {
            self.flow_changed(id, news, now, world);
        }
        if !outcome.persist.is_empty() {
            self.judge_armed();
        }
    }

    fn flow_changed(&mut self, id: &WorkflowId, news: &News<'_>, now: Now, world: Duration) {
        let before = self.flows.ahead.remove(id);
        if news.deleted {
            return self.flow_deleted(id, before, news);
        }
        let held_up = |record: &&Arc<WorkflowRecord>| {
            let error = record.last_error.as_ref();
            error.is_some_and(|error| error.about == ErrorOf::Waiting)
        };
        if news.record.is_some_and(|record| held_up(&record)) {
            self.note(Fault::FireHeldUp);
        }
        let Some(record) = news.record else {
            // Whether it is armed follows from its agent, too: nothing of it changes with that.
            let armings = [EventKind::WorkflowArmed, EventKind::WorkflowDisarmed];
            if news.events.iter().any(|event| !armings.contains(&event.kind)) || !news.made.is_empty() {
                self.fail(
                    Invariant::I10,
                    format!("{id} does something, and is not written: {:?}", news.events),
                );
            }
            let armed = newest_armed(news);
            self.flows.ahead.extend(before.map(|mut before| {
                before.armed = armed.unwrap_or(before.armed);
                (id.clone(), before)
            }));
            return;
        };
        // A name that was deleted comes again, in one step or another.
        let before = before.filter(|before| before.record.uid == record.uid);
        if before.is_none() && news.count(EventKind::WorkflowCreated) != 1 {
            self.fail(Invariant::I5, format!("{id} was made, and no event says so"));
        }
        let armed =
            newest_armed(news).unwrap_or_else(|| before.as_ref().map(|before| before.armed).unwrap_or_default());
        let fires = self.judge_fates(before.as_ref(), record, news, now, world);
        let schedule = self.judge_schedule(before.as_ref(), record, news, now);
        let same = before.as_ref().filter(|before| before.record.spec == record.spec);
        // Who changes how long fires may wait has what waits counted anew.
        let as_long = |before: &&Flow| before.record.spec.expires_after == record.spec.expires_after;
        let fired = before
            .as_ref()
            .filter(as_long)
            .map_or(FireNumber::ZERO, |before| before.record.fired);
        self.count_waits(record, |number| number > fired, now);
        let flow = Flow {
            record: record.clone(),
            armed,
            fires,
            schedule,
            changed: same.map_or(world, |before| before.changed),
        };
        self.flows.ahead.insert(id.clone(), flow);
    }

    fn flow_deleted(&mut self, id: &WorkflowId, before: Option<Flow>, news: &News<'_>) {
        if news.count(EventKind::WorkflowDeleted) != 1 {
            self.fail(Invariant::I5, format!("{id} was deleted, and no event says so"));
        }
        if let Some(made) = news.made.first().filter(|_| before.is_none()) {
            self.fail(Invariant::I10, format!("{id} is gone, and made {}", made.id));
        }
    }

    /// Each runner is armed exactly while its workflow is enabled and its agent RUNNING, and an event has said so.
    fn judge_armed(&mut self) {
        let wrong = self.flows.ahead.values().find_map(|flow| {
            let wanted = should_be_armed(&flow.record, self.ahead.get(&flow.record.spec.agent));
            (flow.armed != wanted).then(|| {
                format!(
                    "{} is {:?} by its events, and should be {wanted:?}",
                    flow.record.id, flow.armed
                )
            })
        });
        if let Some(what) = wrong {
            self.fail(Invariant::I10, what);
        }
    }

    /// One record has become durable.
    pub(super) fn flow_durable(&mut self, record: &Record) {
        if let Record::Event(event) = record
            && let Some(workflow) = &event.workflow
        {
            if let Some(armed) = armed_by(event) {
                self.flows.armed.insert(workflow.clone(), armed);
            } else if event.kind == EventKind::WorkflowDeleted {
                self.flows.armed.remove(workflow);
            }
        }
        if let Record::Execution(execution) = record
            && execution.redrive_of.is_none()
            && let Some(by) = &execution.workflow
        {
            self.flows.went.entry((by.uid, by.fire)).or_insert(execution.uid);
        }
    }

    /// An answer to a trigger leaves the server: its fire is durable.
    pub(super) fn flow_answered(&mut self, answer: &Answer, disk: &Disk) {
        let answer = match answer {
            Answer::Triggered(Ok(answer)) => answer,
            Answer::Triggered(Err(WorkflowError::TooManyPending { .. })) => return self.note(Fault::TriggerRefused),
            Answer::Triggered(Err(_))
            | Answer::Operation(_)
            | Answer::Updated(_)
            | Answer::Deleted(_)
            | Answer::Signalled(_)
            | Answer::Execution(_)
            | Answer::Cancelled(_)
            | Answer::Workflow(_)
            | Answer::WorkflowDeleted(_)
            | Answer::CheckpointDeleted(_) => return,
        };
        let shown = &answer.workflow;
        let known = disk.workflow(&shown.id).filter(|known| known.uid == shown.uid);
        // One that is gone was deleted by a later step of the same batch.
        if known.is_some_and(|known| known.fired < answer.fire || known.revision < shown.revision) {
            let what = format!(
                "fire {} of {} was answered before it was durable",
                answer.fire, shown.id
            );
            self.fail(Invariant::I5, what);
        }
    }

    /// A wall clock of the server jumps.
    pub(crate) fn server_wall_jumped(&mut self, world: Duration) {
        self.flows.jumped = Some(world);
    }

    /// Since when an execution goes on that a workflow has made.
    pub(crate) fn made_since(&self, execution: &ExecutionRecord) -> Option<Duration> {
        execution.workflow.as_ref()?;
        self.flows.made.get(&(execution.agent.clone(), execution.uid)).copied()
    }

    /// Fires of an agent's workflows that wait, and since when.
    pub(crate) fn fires_that_wait<'a>(&'a self, agent: &'a AgentId) -> impl Iterator<Item = (String, Duration)> + 'a {
        let enabled = move |flow: &&Flow| flow.record.spec.agent == *agent && flow.record.spec.enabled;
        self.flows.ahead.values().filter(enabled).flat_map(|flow| {
            let waits = flow.fires.iter().filter(|(_, fate)| **fate == Fate::Waits);
            waits.map(|(number, _)| {
                let since = self.flows.waits.get(&(flow.record.uid, *number)).copied();
                (
                    format!("fire {number} of {}", flow.record.id),
                    since.unwrap_or_default(),
                )
            })
        })
    }

    /// What a workflow ends to make room for its next fire was wanted ended, by whoever has made it so.
    pub(crate) fn flows_make_room(&mut self, outcome: &Outcome) {
        let mut wanted = Vec::new();
        for record in &outcome.persist {
            let Record::Execution(execution) = record else { continue };
            let ends = execution.ending.is_some() || execution.state == ExecutionState::Cancelled;
            let Some(by) = execution.workflow.as_ref().filter(|_| ends) else {
                continue;
            };
            let written = outcome.persist.iter().find_map(|record| {
                let Record::Workflow(record) = record else { return None };
                (record.id == by.workflow && record.uid == by.uid).then_some(record)
            });
            let known = self.flows.ahead.get(&by.workflow).map(|flow| &flow.record);
            let both = [written, known.filter(|known| known.uid == by.uid)]
                .into_iter()
                .flatten();
            let mut makes_room = false;
            let mut waits = false;
            for record in both {
                makes_room |= record.spec.overlap == Overlap::CancelRunning;
                waits |= !record.pending.is_empty();
            }
            let went_off = outcome.persist.iter().any(|record| {
                let Record::Event(event) = record else { return false };
                event.kind == EventKind::WorkflowTriggered && event.workflow.as_ref() == Some(&by.workflow)
            });
            let has_moved = written.is_some_and(|record| record.spec.agent != execution.agent);
            if has_moved || makes_room && (waits || went_off) {
                wanted.push((execution.agent.clone(), execution.id.clone()));
            }
        }
        for (agent, id) in wanted {
            if self.wanted_ended(&agent, &id) != Some(WantedEnded::Itself) {
                self.note(Fault::FireMakesRoom);
                self.cancel_asked(&agent, &id);
            }
        }
    }

    fn note(&mut self, fault: Fault) {
        self.work.news.push(fault);
    }
}

/// Whether a workflow is enabled, and its agent RUNNING.
fn should_be_armed(record: &WorkflowRecord, agent: Option<&Arc<AgentRecord>>) -> Armed {
    let is_running = agent.is_some_and(|agent| agent.state == AgentState::Running);
    if record.spec.enabled && is_running {
        Armed::Yes
    } else {
        Armed::No
    }
}

fn newest_armed(news: &News<'_>) -> Option<Armed> {
    news.events.iter().rev().find_map(|event| armed_by(event))
}

/// Whether a runner is armed from an event on.
fn armed_by(event: &Event) -> Option<Armed> {
    let arms = event.kind == EventKind::WorkflowArmed;
    let disarms = event.kind == EventKind::WorkflowDisarmed;
    let armed = if arms { Armed::Yes } else { Armed::No };
    (arms || disarms).then_some(armed)
}

/// What is known of the fires of a workflow that was read from a disk.
fn fates_of(
    record: &WorkflowRecord,
    went: &BTreeMap<(WorkflowUid, FireNumber), ExecutionUid>,
) -> BTreeMap<FireNumber, Fate> {
    let waits = record.pending.iter().map(|fire| (fire.number, Fate::Waits));
    let of_it = (record.uid, FireNumber::ZERO)..=(record.uid, record.fired);
    let went = went
        .range(of_it)
        .map(|((_, number), made)| (*number, Fate::Went(*made)));
    went.chain(waits).collect()
}

/// Whether this is what set a workflow off, as its event tells.
fn source_is(event: &Event, source: &str) -> bool {
    event.attributes.get("source").is_some_and(|told| told == source)
}
