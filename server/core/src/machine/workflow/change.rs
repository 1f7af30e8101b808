//! CreateWorkflow, UpdateWorkflow and DeleteWorkflow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::{AgentId, FireNumber, WorkflowUid};
use rekindle::time::{Now, Timestamp};
use rekindle::workflow::{SecretHash, Trigger, WorkflowId, WorkflowSpec};

use super::super::hello::uuid_v4;
use super::super::step::{Attributes, Step, attributes};
use super::reply::Asked;
use super::{TEXTS_MAX_BYTES, WAITING_FOR_ONE_MAX, WORKFLOWS_MAX, WORKFLOWS_OF_AGENT_MAX, Workflow};
use crate::effect::{Answer, Was, WorkflowAnswer, WorkflowError};
use crate::event::EventKind;
use crate::input::{CallId, CreateWorkflow, DeleteWorkflow, Missing, Rotate, UpdateMode, UpdateWorkflow};
use crate::record::Record;
use crate::schedule;
use crate::workflow::WorkflowRecord;

/// What becomes of a call that is right.
enum Done {
    /// It is answered at the step's end, with the workflow as it is then.
    Changed(WorkflowId, Was),
    /// It was only checked.
    Checked(Box<WorkflowAnswer>),
}

impl Step<'_> {
    pub(in super::super) fn create_workflow_requested(&mut self, call: CallId, create: CreateWorkflow) {
        let done = self.create_workflow(create);
        self.workflow_done(call, done);
    }

    pub(in super::super) fn update_workflow_requested(&mut self, call: CallId, update: UpdateWorkflow) {
        let done = self.update_workflow(update);
        self.workflow_done(call, done);
    }

    fn workflow_done(&mut self, call: CallId, done: Result<Done, WorkflowError>) {
        match done {
            Ok(Done::Changed(id, was)) => self.flow.reply_at_end(call, id, Asked::Workflow(was)),
            Ok(Done::Checked(answer)) => self.reply(call, Answer::Workflow(Ok(*answer))),
            Err(error) => self.reply(call, Answer::Workflow(Err(error))),
        }
    }

    fn create_workflow(&mut self, create: CreateWorkflow) -> Result<Done, WorkflowError> {
        let CreateWorkflow {
            id,
            spec,
            message,
            secret,
            request_id,
            mode,
        } = create;
        let known = request_id
            .as_ref()
            .and_then(|request| self.machine.workflows.requests.get(request));
        if let Some(known) = known {
            return match id {
                Some(id) if id != *known => Err(WorkflowError::RequestIdReused(known.clone())),
                Some(_) | None => Ok(Done::Changed(known.clone(), Was::Present)),
            };
        }
        if let Some(id) = id.as_ref().filter(|id| self.workflow(id).is_some()) {
            return Err(WorkflowError::Exists(id.clone()));
        }
        let limit = WORKFLOWS_MAX;
        if self.machine.workflows.all.len() >= limit {
            return Err(WorkflowError::TooMany { limit });
        }
        self.has_room_for(&spec, None, message.len())?;
        schedule::check(&spec.trigger, self.now.wall).map_err(WorkflowError::Schedule)?;
        let uid = WorkflowUid::from_u128(uuid_v4(self.machine.rng.u128(..)));
        let id = id.unwrap_or_else(|| WorkflowId::new(&uid.to_string()).expect("a UUID is within the alphabet"));
        let now = self.now.wall;
        let record = WorkflowRecord {
            id: id.clone(),
            uid,
            revision: 1,
            created: now,
            updated: now,
            toggled: now,
            message_bytes: message.len() as u64,
            secret: secret.filter(|_| spec.trigger == Trigger::Webhook),
            request: request_id,
            fired: FireNumber::ZERO,
            through: counts_from(&spec.trigger, now),
            pending: VecDeque::new(),
            last_error: None,
            spec,
        };
        let message: Arc<str> = message.into();
        if mode == UpdateMode::ValidateOnly {
            return Ok(checked(record, message, Was::Absent));
        }
        let text = message.clone();
        self.machine.workflows.insert(Workflow::new(Arc::new(record), message));
        self.persist(Record::WorkflowMessage { id: id.clone(), text });
        self.workflow_made(&id);
        Ok(Done::Changed(id, Was::Absent))
    }

    fn workflow_made(&mut self, id: &WorkflowId) {
        let record = self.edit_workflow(id);
        let (agent, enabled, by) = (
            record.spec.agent.clone(),
            record.spec.enabled,
            record.spec.trigger.as_str(),
        );
        let message = format!("{} was made, for {}, by {by}", id.name(), agent.name());
        self.workflow_event(
            EventKind::WorkflowCreated,
            (id, &agent),
            message,
            attributes([("trigger", &by)]),
        );
        if enabled && self.is_up(&agent) {
            let message = format!("{} is RUNNING: the workflow fires", agent.name());
            self.workflow_event(EventKind::WorkflowArmed, (id, &agent), message, Attributes::new());
        }
        self.machine.workflows.begin(id, self.now);
    }

    /// Whether there is room for what a workflow, `old` where there is one, becomes, and for so much more text.
    fn has_room_for(
        &self,
        spec: &WorkflowSpec,
        old: Option<&WorkflowSpec>,
        more_bytes: usize,
    ) -> Result<(), WorkflowError> {
        let workflows = &self.machine.workflows;
        let of_agent = workflows.of_agent.get(&spec.agent).map_or(0, BTreeSet::len);
        let is_new = old.is_none_or(|old| old.agent != spec.agent);
        if is_new && of_agent >= WORKFLOWS_OF_AGENT_MAX {
            return Err(WorkflowError::TooManyOfAgent {
                agent: spec.agent.clone(),
                limit: WORKFLOWS_OF_AGENT_MAX,
            });
        }
        let of = waits_for(&spec.trigger);
        let is_new = of != old.and_then(|old| waits_for(&old.trigger));
        let all = match &spec.trigger {
            Trigger::AgentEvent(events) => workflows.watching.get(&events.agent),
            Trigger::Completion(completion) => workflows.following.get(&completion.workflow),
            Trigger::Interval(_) | Trigger::Cron(_) | Trigger::OneShot(_) | Trigger::Manual | Trigger::Webhook => None,
        };
        let waiting = of.zip(all);
        if let Some((of, all)) = waiting
            && is_new
            && all.len() >= WAITING_FOR_ONE_MAX
        {
            let limit = WAITING_FOR_ONE_MAX;
            return Err(WorkflowError::TooManyWaiting { of, limit });
        }
        if more_bytes > 0 && workflows.text_bytes + more_bytes > TEXTS_MAX_BYTES {
            return Err(WorkflowError::NoRoom { limit: TEXTS_MAX_BYTES });
        }
        Ok(())
    }

    fn update_workflow(&mut self, update: UpdateWorkflow) -> Result<Done, WorkflowError> {
        let Some(workflow) = self.workflow(&update.id) else {
            return self.update_missing(update);
        };
        let (old, old_message) = (workflow.record.clone(), workflow.message.clone());
        let (id, actual) = (update.id, old.revision);
        if let Some(expected) = update.etag.filter(|etag| *etag != actual) {
            return Err(WorkflowError::EtagMismatch { id, expected, actual });
        }
        let spec = update.patch.apply(&old.spec).map_err(WorkflowError::Invalid)?;
        if spec.trigger != old.spec.trigger {
            schedule::check(&spec.trigger, self.now.wall).map_err(WorkflowError::Schedule)?;
        }
        let message = update.message.map_or_else(|| old_message.clone(), Into::into);
        let more_bytes = message.len().saturating_sub(old_message.len());
        self.has_room_for(&spec, Some(&old.spec), more_bytes)?;
        let mut new = (*old).clone();
        new.secret = secret_of(&spec, old.secret, update.secret, update.rotate);
        new.message_bytes = message.len() as u64;
        new.spec = spec;
        if update.mode == UpdateMode::ValidateOnly {
            return Ok(checked(new, message, Was::Present));
        }
        self.change_workflow(&old, new, (&old_message, message));
        Ok(Done::Changed(id, Was::Present))
    }

    /// There is no such workflow: a caller who has read one, as an etag says, does not mean to make it.
    fn update_missing(&mut self, update: UpdateWorkflow) -> Result<Done, WorkflowError> {
        if update.missing == Missing::Fail || update.etag.is_some() {
            return Err(WorkflowError::NotFound(update.id));
        }
        let spec = update.patch.into_spec().map_err(WorkflowError::Invalid)?;
        let message = update.message.filter(|message| !message.is_empty());
        let message = message.ok_or_else(|| {
            WorkflowError::Invalid(rekindle::workflow::WorkflowError {
                field: "message",
                problem: "must not be empty".to_owned(),
            })
        })?;
        self.create_workflow(CreateWorkflow {
            id: Some(update.id),
            spec,
            message,
            secret: update.secret,
            request_id: None,
            mode: update.mode,
        })
    }

    fn change_workflow(&mut self, old: &WorkflowRecord, mut new: WorkflowRecord, messages: (&Arc<str>, Arc<str>)) {
        let (id, now) = (old.id.clone(), self.now);
        let (old_message, message) = messages;
        let changed = changed_fields(old, &new, *old_message != message);
        if changed.is_empty() {
            return;
        }
        let begins = new.spec.trigger != old.spec.trigger || new.spec.enabled && !old.spec.enabled;
        if new.spec.trigger != old.spec.trigger {
            new.through = counts_from(&new.spec.trigger, now.wall);
        } else if begins {
            new.through = now.wall;
        }
        if new.spec.enabled != old.spec.enabled {
            new.toggled = now.wall;
        }
        new.revision += 1;
        new.updated = now.wall;
        let workflows = &mut self.machine.workflows;
        workflows.unblock(&id);
        workflows.unlink(&id, &old.spec);
        workflows.link(&id, &new.spec);
        workflows.text_bytes = workflows.text_bytes - old_message.len() + message.len();
        if let Some(workflow) = workflows.all.get_mut(&id) {
            workflow.message = message.clone();
        }
        let spec = new.spec.clone();
        *self.edit_workflow(&id) = new;
        if *old_message != message {
            let (id, text) = (id.clone(), message);
            self.persist(Record::WorkflowMessage { id, text });
        }
        if begins || !spec.enabled {
            self.machine.workflows.begin(&id, now);
        }
        if spec.expires_after != old.spec.expires_after {
            self.machine.workflows.count_expiries(&id, now);
        }
        let what = format!("changed: {}", changed.join(", "));
        let details = attributes([("fields", &changed.join(","))]);
        self.workflow_event(EventKind::WorkflowUpdated, (&id, &spec.agent), what, details);
        if spec.agent != old.spec.agent {
            self.cancel_queued(&id, &old.spec.agent);
        }
        let was_armed = old.spec.enabled && self.is_up(&old.spec.agent);
        self.rearmed(&id, &spec, was_armed);
        self.flow.woken.insert(id);
    }

    /// It is for another agent from here on: the one that it was for does what it has, and is given no more of it.
    fn cancel_queued(&mut self, id: &WorkflowId, agent: &AgentId) {
        let live = self.workflow(id).into_iter().flat_map(|workflow| &workflow.live);
        let work = self.find(agent).map(|found| &found.work);
        let is_queued = |id: &ExecutionId| {
            let known = work.and_then(|work| work.find(id));
            known.is_some_and(|known| known.state == ExecutionState::Queued)
        };
        let at_old = live.filter(|(of, id)| of == agent && is_queued(id));
        let queued: Vec<ExecutionId> = at_old.map(|(_, id)| id.clone()).collect();
        let why = format!("{} is for another agent now", id.name());
        for execution in queued {
            self.supersede(agent, &execution, &why);
        }
    }

    fn rearmed(&mut self, id: &WorkflowId, spec: &WorkflowSpec, was_armed: bool) {
        let (kind, message) = match (was_armed, spec.enabled && self.is_up(&spec.agent)) {
            (false, true) => (
                EventKind::WorkflowArmed,
                format!("enabled, and {} is RUNNING: the workflow fires", spec.agent.name()),
            ),
            (true, false) if !spec.enabled => (EventKind::WorkflowDisarmed, "disabled".to_owned()),
            (true, false) => (
                EventKind::WorkflowDisarmed,
                format!("{} is not RUNNING: the workflow waits for it", spec.agent.name()),
            ),
            (true, true) | (false, false) => return,
        };
        self.workflow_event(kind, (id, &spec.agent), message, Attributes::new());
    }

    pub(in super::super) fn delete_workflow_requested(&mut self, call: CallId, delete: &DeleteWorkflow) {
        let answer = self.delete_workflow(delete);
        self.reply(call, Answer::WorkflowDeleted(answer));
    }

    /// Forgets a workflow, and drops its fires that wait. What it made goes on.
    fn delete_workflow(&mut self, delete: &DeleteWorkflow) -> Result<(), WorkflowError> {
        let id = &delete.id;
        let workflow = self.workflow(id).ok_or_else(|| WorkflowError::NotFound(id.clone()))?;
        let actual = workflow.record.revision;
        if let Some(expected) = delete.etag.filter(|etag| *etag != actual) {
            let id = id.clone();
            return Err(WorkflowError::EtagMismatch { id, expected, actual });
        }
        let record = workflow.record.clone();
        let fires: Vec<String> = record.pending.iter().map(|fire| fire.number.to_string()).collect();
        let payloads: Vec<FireNumber> = workflow.payloads.keys().copied().collect();
        if record.spec.enabled && self.is_up(&record.spec.agent) {
            self.tell(EventKind::WorkflowDisarmed, id, "deleted".to_owned(), Attributes::new());
        }
        let (message, details) = match fires.len() {
            0 => ("deleted".to_owned(), Attributes::new()),
            dropped => (
                format!("deleted, and with it {dropped} fires that waited"),
                attributes([("dropped", &dropped), ("fires", &fires.join(","))]),
            ),
        };
        self.tell(EventKind::WorkflowDeleted, id, message, details);
        self.machine.workflows.remove(id);
        self.flow.touched.remove(id);
        for fire in payloads {
            let id = id.clone();
            self.persist(Record::FirePayloadForgotten { id, fire });
        }
        self.persist(Record::WorkflowDeleted(id.clone()));
        Ok(())
    }
}

impl Workflow {
    pub(super) fn new(record: Arc<WorkflowRecord>, message: Arc<str>) -> Self {
        Self {
            record,
            message,
            payloads: BTreeMap::new(),
            next: None,
            wall: None,
            expiries: BTreeMap::new(),
            again: None,
            timer: None,
            blocked: None,
            live: BTreeSet::new(),
            keys: BTreeSet::new(),
        }
    }
}

impl super::Workflows {
    /// Its schedule begins to count, where it is enabled; else it ends.
    fn begin(&mut self, id: &WorkflowId, now: Now) {
        let Some(workflow) = self.all.get_mut(id) else { return };
        let spec = &workflow.record.spec;
        workflow.next = match &spec.trigger {
            Trigger::Interval(interval) if spec.enabled => Some(now.mono.saturating_add(interval.every())),
            Trigger::Interval(_)
            | Trigger::Cron(_)
            | Trigger::OneShot(_)
            | Trigger::Manual
            | Trigger::Webhook
            | Trigger::AgentEvent(_)
            | Trigger::Completion(_) => None,
        };
        self.rearm(id);
        self.await_wall(id);
    }

    /// Sets when it goes off next by the wall clock.
    pub(super) fn await_wall(&mut self, id: &WorkflowId) {
        let Some(record) = self.all.get(id).map(|workflow| workflow.record.clone()) else {
            return;
        };
        let next = schedule::next_after(&record.spec.trigger, record.through);
        self.set_wall(id, next.filter(|_| record.spec.enabled));
    }

    /// Counts anew how long each fire may wait.
    pub(super) fn count_expiries(&mut self, id: &WorkflowId, now: Now) {
        let Some(workflow) = self.all.get_mut(id) else { return };
        let record = workflow.record.clone();
        let left = |fire| Some(now.mono.saturating_add(record.time_left(fire, now.wall)?));
        workflow.expiries = (record.pending.iter())
            .filter_map(|fire| Some((fire.number, left(fire)?)))
            .collect();
        self.rearm(id);
    }
}

/// The name of the agent or workflow that a trigger waits for.
fn waits_for(trigger: &Trigger) -> Option<String> {
    match trigger {
        Trigger::AgentEvent(events) => Some(events.agent.name()),
        Trigger::Completion(completion) => Some(completion.workflow.name()),
        Trigger::Interval(_) | Trigger::Cron(_) | Trigger::OneShot(_) | Trigger::Manual | Trigger::Webhook => None,
    }
}

/// From when a schedule counts that begins now. A single time that is already past comes at once.
const fn counts_from(trigger: &Trigger, now: Timestamp) -> Timestamp {
    match trigger {
        Trigger::OneShot(_) => Timestamp::UNIX_EPOCH,
        Trigger::Interval(_)
        | Trigger::Cron(_)
        | Trigger::Manual
        | Trigger::Webhook
        | Trigger::AgentEvent(_)
        | Trigger::Completion(_) => now,
    }
}

/// By what a webhook's caller is known after a change: what is no webhook has no secret.
fn secret_of(
    spec: &WorkflowSpec,
    old: Option<SecretHash>,
    fresh: Option<SecretHash>,
    rotate: Rotate,
) -> Option<SecretHash> {
    match (&spec.trigger, rotate) {
        (Trigger::Webhook, Rotate::Yes) => fresh.or(old),
        (Trigger::Webhook, Rotate::No) => old.or(fresh),
        (
            Trigger::Interval(_)
            | Trigger::Cron(_)
            | Trigger::OneShot(_)
            | Trigger::Manual
            | Trigger::AgentEvent(_)
            | Trigger::Completion(_),
            _,
        ) => None,
    }
}

fn changed_fields(old: &WorkflowRecord, new: &WorkflowRecord, message: bool) -> Vec<&'static str> {
    let (from, to) = (&old.spec, &new.spec);
    let fields = [
        ("agent", from.agent != to.agent),
        ("enabled", from.enabled != to.enabled),
        ("trigger", from.trigger != to.trigger),
        ("message", message),
        ("timeout", from.timeout != to.timeout),
        ("misfire", from.misfire != to.misfire),
        ("overlap", from.overlap != to.overlap),
        ("expires_after", from.expires_after != to.expires_after),
        ("secret", old.secret != new.secret),
    ];
    fields
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(field, _)| field)
        .collect()
}

fn checked(workflow: WorkflowRecord, message: Arc<str>, was: Was) -> Done {
    Done::Checked(Box::new(WorkflowAnswer {
        workflow: Arc::new(workflow),
        message,
        was,
    }))
}
