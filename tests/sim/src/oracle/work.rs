//! I6, I11: each execution goes one way, and ends once; slots are those that are held; results are applied once.

mod cancels;
mod results;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rekindle::execution::{AttemptId, ExecutionId, ExecutionState};
use rekindle::id::{AgentId, ExecutionUid, Marker, ReportSequence, RequestId};
use rekindle::policy::InterruptPolicy;
use rekindle::state::FailureCause;
use rekindle_server_core::effect::{Answer, CancelOutcome, Effect, Outcome};
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::execution::{Ending, ExecutionRecord, GivenTo};
use rekindle_server_core::record::Record;

use super::{Invariant, Oracle};
use crate::disk::Disk;
use crate::fault::Fault;

pub(crate) use cancels::WantedEnded;

type Key = (AgentId, ExecutionId);
type Unique = (AgentId, ExecutionUid);

/// What is kept of executions.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// As the machine has them, ahead of the disk.
    ahead: BTreeMap<Key, Arc<ExecutionRecord>>,
    /// What was shown to somebody.
    promised: BTreeMap<Key, Arc<ExecutionRecord>>,
    /// How often each truly began. By what tells it from others of its name.
    began: BTreeMap<Unique, u32>,
    /// How often an operator's restart had it given again.
    requeued: BTreeMap<Unique, u32>,
    /// The most deliveries that its agent's policy ever allowed.
    deliveries: BTreeMap<AgentId, u32>,
    /// How many slots each agent has.
    slots: BTreeMap<AgentId, usize>,
    cancels: BTreeSet<Key>,
    /// Those of which a host was down with what its shim had.
    pub(super) rebooted: BTreeSet<AgentId>,
    /// Attempts that a shim has given up at the server's word, as it tells now.
    cancelled: Vec<AttemptId>,
    /// What the results under way must make of their executions.
    expected: Vec<Expected>,
    made_by: BTreeMap<(AgentId, RequestId), ExecutionId>,
    held_back: HeldBack,
    /// What has happened that is counted.
    pub(crate) news: Vec<Fault>,
}

/// Whether the newest that was said of verdicts of loss is that they are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum HeldBack {
    #[default]
    No,
    Yes,
}

/// What must be once a report is applied.
#[derive(Debug)]
struct Expected {
    key: Key,
    state: ExecutionState,
    by: (Marker, ReportSequence),
}

/// Whether an execution may go from one state into another. What was called lost, and waits for its next attempt, may
/// still have the end of the one before.
fn may_go(from: Option<ExecutionState>, to: ExecutionState) -> bool {
    use ExecutionState::{
        Accepted, Cancelled, DeadLetter, Dispatched, Failed, Lost, Queued, Running, Succeeded, TimedOut,
    };
    match from {
        None => to == Queued,
        Some(Queued) => matches!(to, Dispatched | Cancelled | TimedOut | Succeeded | Failed),
        Some(Dispatched) => !matches!(to, Dispatched),
        Some(Accepted) => !matches!(to, Dispatched | Accepted),
        Some(Running) => !matches!(to, Dispatched | Accepted | Running),
        Some(Lost) => matches!(to, Queued | Succeeded | Failed | Cancelled | TimedOut),
        Some(Succeeded | Failed | Cancelled | TimedOut | DeadLetter) => false,
    }
}

impl Ledger {
    /// Every execution, as the machine has them.
    pub(super) fn all(&self) -> impl Iterator<Item = &ExecutionRecord> {
        self.ahead.values().map(|record| &**record)
    }

    /// The store is an older one.
    pub(super) fn set_back(&mut self) {
        self.promised.clear();
        self.made_by.clear();
    }
}

impl Oracle {
    /// A server has begun with what is durable.
    pub(super) fn work_recovered(&mut self, disk: &Disk) {
        let kept = |promised: &Arc<ExecutionRecord>| {
            let known = disk.execution(&promised.agent, &promised.id);
            known.is_some_and(|known| known.uid == promised.uid && known.revision >= promised.revision)
        };
        if let Some(lost) = self.work.promised.values().find(|promised| !kept(promised)) {
            let what = format!("{} was {} for others to see, and is not", lost.id, lost.state);
            return self.fail(Invariant::I5, what);
        }
        self.work.expected.clear();
        self.work.held_back = HeldBack::No;
        self.work.ahead = disk
            .executions()
            .map(|record| ((record.agent.clone(), record.id.clone()), record.clone()))
            .collect();
    }

    /// One step's decisions on executions, ahead of the disk; those on agents are known already.
    pub(super) fn work_stepped(&mut self, outcome: &Outcome) {
        let mut told: BTreeMap<Key, Vec<(ExecutionState, &Event)>> = BTreeMap::new();
        for record in &outcome.persist {
            if let Record::Event(event) = record {
                if event.kind == EventKind::ExecutionVerdictsHeld {
                    self.work.held_back = HeldBack::Yes;
                    self.work.news.push(Fault::VerdictsHeld);
                }
                if let (Some(agent), Some(id), Some(kind)) =
                    (&event.agent, &event.execution, event.kind.execution_state())
                {
                    told.entry((agent.clone(), id.clone())).or_default().push((kind, event));
                }
            }
        }
        let mut made = Vec::new();
        for record in &outcome.persist {
            match record {
                Record::Execution(record) => {
                    let key = (record.agent.clone(), record.id.clone());
                    if !self.work.ahead.contains_key(&key) {
                        // That it was forgotten a server may forget, and what was asked of it holds then.
                        self.work.cancels.remove(&key);
                        made.push(key.clone());
                    }
                    self.execution_changed(record, told.get(&key).map_or(&[], Vec::as_slice));
                }
                Record::ExecutionForgotten { agent, id } => self.execution_forgotten(agent, id),
                Record::Agent(record) => {
                    let most = self.work.deliveries.entry(record.id.clone()).or_default();
                    *most = record.policy.max_deliveries.max(*most);
                    self.note_slots(record);
                }
                Record::AgentDeleted(_)
                | Record::Event(_)
                | Record::EventsTrimmed { .. }
                | Record::Request(_)
                | Record::RequestForgotten { .. }
                | Record::ExecutionMessage { .. }
                | Record::ExecutionOutput { .. }
                | Record::Workflow(_)
                | Record::WorkflowMessage { .. }
                | Record::FirePayload { .. }
                | Record::FirePayloadForgotten { .. }
                | Record::WorkflowDeleted(_)
                | Record::Checkpoint(_)
                | Record::CheckpointContent { .. }
                | Record::CheckpointForgotten { .. }
                | Record::Host(_)
                | Record::HostForgotten(_) => {}
            }
        }
        // What a shim turns out to have, where the store was set back, is not given to it.
        for effect in &outcome.then {
            if let Effect::Dispatch { agent, .. } = effect {
                self.judge_dispatch(agent);
            }
        }
        for key in &made {
            self.judge_room(key);
        }
        self.settle_expected();
    }

    fn execution_changed(&mut self, record: &Arc<ExecutionRecord>, told: &[(ExecutionState, &Event)]) {
        let key = (record.agent.clone(), record.id.clone());
        let before = self.work.ahead.insert(key.clone(), record.clone());
        let name = format!("{} of {}", record.id, record.agent);
        let mut state = before.as_ref().map(|before| before.state);
        for (told, event) in told {
            if !may_go(state, *told) {
                let what = format!("{name} was {state:?}, and became {told}");
                return self.fail(Invariant::I6, what);
            }
            self.note_way(record, before.as_deref(), state, *told, event);
            state = Some(*told);
        }
        if state != Some(record.state) {
            let what = format!("{name} is {}, and its events say {state:?}", record.state);
            return self.fail(Invariant::I5, what);
        }
        let revision = before.as_ref().map_or(0, |before| before.revision);
        if record.revision != revision + 1 {
            let what = format!("{name} went from revision {revision} to {}", record.revision);
            return self.fail(Invariant::I5, what);
        }
        let skips = record.attempt > before.as_ref().map_or(0, |before| before.attempt) + 1;
        // A store that was set back learns the number from the shim.
        if skips && !self.is_set_back() {
            self.fail(Invariant::I6, format!("{name} skips an attempt"));
        }
    }

    /// Counts what is worth counting.
    fn note_way(
        &mut self,
        record: &ExecutionRecord,
        before: Option<&ExecutionRecord>,
        from: Option<ExecutionState>,
        to: ExecutionState,
        event: &Event,
    ) {
        let requeues =
            before.and_then(|before| before.ending.as_ref()) == Some(&Ending::Interrupted(InterruptPolicy::Requeue));
        let cause = event.attributes.get("cause").map(String::as_str);
        let news = match (from, to) {
            (Some(ExecutionState::Lost), ExecutionState::Queued) => Fault::Redelivered,
            (Some(ExecutionState::Lost), _) => Fault::LostReplaced,
            (Some(ExecutionState::Queued), ExecutionState::Succeeded | ExecutionState::Failed) => Fault::LostReplaced,
            (Some(_), ExecutionState::Queued) if event.message.starts_with("it never arrived") => Fault::NeverArrived,
            (Some(_), ExecutionState::Queued) if event.message.starts_with("given back") => Fault::GivenBack,
            (Some(_), ExecutionState::Queued) if requeues => {
                let key = (record.agent.clone(), record.uid);
                *self.work.requeued.entry(key).or_default() += 1;
                Fault::Requeued
            }
            (Some(_), ExecutionState::Queued) => Fault::Redelivered,
            (_, ExecutionState::Lost) => Fault::CalledLost,
            (_, ExecutionState::DeadLetter) => Fault::DeadLettered,
            (_, ExecutionState::TimedOut) if cause == Some(FailureCause::QueueTimeout.as_str()) => Fault::NotStarted,
            (_, ExecutionState::TimedOut) => Fault::TimedOut,
            (
                _,
                ExecutionState::Queued
                | ExecutionState::Dispatched
                | ExecutionState::Accepted
                | ExecutionState::Running
                | ExecutionState::Succeeded
                | ExecutionState::Failed
                | ExecutionState::Cancelled,
            ) => return,
        };
        self.work.news.push(news);
    }

    /// What is forgotten is over, or its agent is forgotten too.
    fn execution_forgotten(&mut self, agent: &AgentId, id: &ExecutionId) {
        let key = (agent.clone(), id.clone());
        let before = self.work.ahead.remove(&key);
        let open = before.as_ref().is_some_and(|before| !before.state.is_over());
        if open && self.ahead.contains_key(agent) {
            self.fail(Invariant::I6, format!("{id} of {agent} was forgotten, and is not over"));
        }
        self.work.made_by.retain(|(of, _), made| of != agent || made != id);
        if let Some(before) = before {
            let unique = (agent.clone(), before.uid);
            self.work.began.remove(&unique);
            self.work.requeued.remove(&unique);
        }
    }

    /// An attempt truly begins.
    pub(crate) fn task_began(&mut self, agent: &AgentId, attempt: &AttemptId) {
        let key = (agent.clone(), attempt.uid);
        let began = self.work.began.entry(key.clone()).or_default();
        *began += 1;
        let began = *began;
        let deliveries = self.work.deliveries.get(agent).copied().unwrap_or(1);
        let asked = deliveries + self.work.requeued.get(&key).copied().unwrap_or_default();
        if began > asked {
            let what = format!("{attempt} of {agent} is start {began}, and {asked} were asked for");
            self.fail(Invariant::I6, what);
        }
    }

    /// One execution, as the machine has it, ahead of the disk.
    pub(crate) fn execution(&self, agent: &AgentId, id: &ExecutionId) -> Option<Arc<ExecutionRecord>> {
        self.work.ahead.get(&(agent.clone(), id.clone())).cloned()
    }

    /// Who was given its newest attempt.
    pub(crate) fn given_to(&self, agent: &AgentId, id: &ExecutionId) -> Option<GivenTo> {
        let key = (agent.clone(), id.clone());
        self.work.ahead.get(&key)?.given_to.clone()
    }

    /// Whose shim holds an agent.
    pub(crate) fn holder_of(&self, agent: &AgentId) -> Option<Marker> {
        let record = self.ahead.get(agent)?;
        record.holder.as_ref().map(|holder| holder.marker)
    }

    /// Whether the server said that it calls nothing lost, as so much is missing.
    pub(crate) fn verdicts_are_held(&self) -> bool {
        self.work.held_back == HeldBack::Yes
    }

    /// An answer about executions leaves the server: what it shows is durable, and one request makes one.
    pub(super) fn work_answered(&mut self, answer: &Answer, disk: &Disk) {
        let shown = match answer {
            Answer::Execution(Ok(record)) => record,
            Answer::Cancelled(Ok(cancelled)) => {
                let is = cancelled.execution.state;
                let fits = match cancelled.outcome {
                    CancelOutcome::Cancelled => is == ExecutionState::Cancelled,
                    CancelOutcome::AlreadyOver => is.is_over() && is != ExecutionState::Cancelled,
                    CancelOutcome::Pending => !is.is_over(),
                };
                if !fits {
                    let what = format!("a cancel is answered {:?}, and it is {is}", cancelled.outcome);
                    return self.fail(Invariant::I6, what);
                }
                if cancelled.outcome == CancelOutcome::AlreadyOver {
                    self.work.news.push(Fault::CancelTooLate);
                }
                &cancelled.execution
            }
            Answer::Execution(Err(rekindle_server_core::effect::ExecutionError::QueueFull { .. })) => {
                return self.work.news.push(Fault::QueueFull);
            }
            Answer::Execution(Err(_))
            | Answer::Cancelled(Err(_))
            | Answer::Operation(_)
            | Answer::Updated(_)
            | Answer::Deleted(_)
            | Answer::Signalled(_)
            | Answer::Workflow(_)
            | Answer::WorkflowDeleted(_)
            | Answer::Triggered(_)
            | Answer::CheckpointDeleted(_) => return,
        };
        let key = (shown.agent.clone(), shown.id.clone());
        // What is gone was forgotten by a later step of the same batch.
        let Some(known) = disk.execution(&shown.agent, &shown.id) else {
            return;
        };
        if known.uid == shown.uid && known.revision < shown.revision {
            let what = format!(
                "revision {} of {} was shown before it was durable",
                shown.revision, shown.id
            );
            return self.fail(Invariant::I5, what);
        }
        self.work.promised.insert(key.clone(), known.clone());
        // A request is remembered for as long as its execution, which a step since may have forgotten.
        let remembered = self.work.ahead.contains_key(&key);
        if let Some(request) = shown.request.as_ref().filter(|_| remembered) {
            let made = self.work.made_by.entry((shown.agent.clone(), request.clone()));
            let made = made.or_insert_with(|| shown.id.clone()).clone();
            if made != shown.id {
                let what = format!("request {request:?} made {made}, and {}", shown.id);
                self.fail(Invariant::I11, what);
            }
        }
    }

    /// One record has become durable.
    pub(super) fn work_durable(&mut self, agent: &AgentId, id: &ExecutionId) {
        self.work.promised.remove(&(agent.clone(), id.clone()));
    }
}
