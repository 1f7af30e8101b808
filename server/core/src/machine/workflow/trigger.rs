//! What sets workflows off beside their schedules: somebody's call, an agent's event, the end of another one's execution.

use rekindle::execution::MESSAGE_MAX_BYTES;
use rekindle::id::{AgentId, Sequence};
use rekindle::workflow::{AgentEventKind, FireKey, PENDING_MAX, Trigger, WorkflowId, with_payload};

use super::super::hello::uuid_v4;
use super::super::step::Step;
use super::fire::Spark;
use super::reply::Asked;
use super::{TEXTS_MAX_BYTES, Workflow};
use crate::effect::{Answer, WorkflowError};
use crate::execution::ExecutionRecord;
use crate::input::{CallId, TriggerWorkflow, TriggeredBy};
use crate::workflow::{FireSource, Misfired};

impl Step<'_> {
    pub(in super::super) fn trigger_requested(&mut self, call: CallId, trigger: TriggerWorkflow) {
        let id = trigger.id.clone();
        match self.trigger(trigger) {
            Ok(asked) => self.flow.reply_at_end(call, id, asked),
            Err(error) => self.reply(call, Answer::Triggered(Err(error))),
        }
    }

    fn trigger(&mut self, trigger: TriggerWorkflow) -> Result<Asked, WorkflowError> {
        let TriggerWorkflow {
            id,
            uid,
            key,
            payload,
            by,
        } = trigger;
        let workflow = self
            .workflow(&id)
            .filter(|workflow| uid.is_none_or(|uid| uid == workflow.record.uid));
        let workflow = workflow.ok_or_else(|| WorkflowError::NotFound(id.clone()))?;
        let record = &workflow.record;
        if by == TriggeredBy::Webhook && record.spec.trigger != Trigger::Webhook {
            return Err(WorkflowError::NoWebhook(id));
        }
        if let Some(known) = key.as_ref().and_then(|key| workflow.known(key)) {
            return Ok(known);
        }
        if !record.spec.enabled {
            return Err(WorkflowError::Disabled(id));
        }
        if record.is_full() {
            let limit = PENDING_MAX;
            return Err(WorkflowError::TooManyPending { id, limit });
        }
        if with_payload(&workflow.message, &payload).is_none() {
            let limit = MESSAGE_MAX_BYTES;
            return Err(WorkflowError::PayloadTooLong { id, limit });
        }
        if self.machine.workflows.text_bytes + payload.len() > TEXTS_MAX_BYTES {
            return Err(WorkflowError::NoRoom { limit: TEXTS_MAX_BYTES });
        }
        let key = key.unwrap_or_else(|| self.random_key());
        let source = match by {
            TriggeredBy::Call => FireSource::Manual,
            TriggeredBy::Webhook => FireSource::Webhook,
        };
        let fire = self.fire(&id, Spark::at_once(key.clone(), self.now.wall, source, 0, payload));
        Ok(Asked::Fire(fire, key))
    }

    fn random_key(&mut self) -> FireKey {
        let bits = uuid_v4(self.machine.rng.u128(..));
        let uid = rekindle::id::WorkflowUid::from_u128(bits);
        FireKey::new(&uid.to_string()).expect("a UUID is short, and printable")
    }

    /// An agent's life took a turn that workflows may wait for.
    pub(super) fn fire_watching(&mut self, agent: &AgentId, kind: AgentEventKind, sequence: Sequence) {
        let watching = self.machine.workflows.watching.get(agent).into_iter().flatten();
        let fires = |workflow: &Workflow| match &workflow.record.spec.trigger {
            Trigger::AgentEvent(events) => workflow.record.spec.enabled && events.types.contains(&kind),
            Trigger::Interval(_)
            | Trigger::Cron(_)
            | Trigger::OneShot(_)
            | Trigger::Manual
            | Trigger::Webhook
            | Trigger::Completion(_) => false,
        };
        let all: Vec<WorkflowId> = watching
            .filter(|id| self.workflow(id).is_some_and(fires))
            .cloned()
            .collect();
        for id in all {
            let key = FireKey::new(&format!("event-{sequence}")).expect("a number is short, and printable");
            let source = FireSource::AgentEvent {
                agent: agent.clone(),
                kind,
                sequence,
            };
            self.fire(&id, Spark::at_once(key, self.now.wall, source, 0, String::new()));
        }
    }

    /// An execution has ended so, unless something else has become of it since: others may wait for the ends of those of its
    /// workflow.
    pub(super) fn fire_following(&mut self, record: &ExecutionRecord) {
        let (agent, id, state) = (&record.agent, &record.id, record.state);
        let now = self.find(agent).and_then(|found| found.work.find(id));
        if now.is_some_and(|now| now.state != state) {
            return;
        }
        let Some(by) = record.workflow.clone() else { return };
        // An earlier workflow of a name that is used again is not the one that is meant. One that is gone is.
        let known = self.workflow(&by.workflow);
        if known.is_some_and(|workflow| workflow.record.uid != by.uid) {
            return;
        }
        let following = self.machine.workflows.following.get(&by.workflow).into_iter().flatten();
        let fires = |workflow: &Workflow| match &workflow.record.spec.trigger {
            Trigger::Completion(completion) => workflow.record.spec.enabled && completion.states.contains(&state),
            Trigger::Interval(_)
            | Trigger::Cron(_)
            | Trigger::OneShot(_)
            | Trigger::Manual
            | Trigger::Webhook
            | Trigger::AgentEvent(_) => false,
        };
        let all: Vec<WorkflowId> = following
            .filter(|id| self.workflow(id).is_some_and(fires))
            .cloned()
            .collect();
        for follower in all {
            let key = format!("{}-{}-{state}", record.uid, record.attempt);
            let key = FireKey::new(&key).expect("a UUID, a number and a word are short, and printable");
            let source = FireSource::Completion {
                workflow: by.workflow.clone(),
                agent: agent.clone(),
                execution: id.clone(),
                state,
            };
            let hops = by.hops.saturating_add(1);
            self.fire(
                &follower,
                Spark::at_once(key, self.now.wall, source, hops, String::new()),
            );
        }
    }
}

impl Workflow {
    /// What came of a fire with this key: it waits, or its execution goes on or has SUCCEEDED.
    fn known(&self, key: &FireKey) -> Option<Asked> {
        let waits = self.record.pending.iter().find(|fire| fire.key == *key);
        if let Some(fire) = waits {
            return Some(Asked::Fire(fire.number, key.clone()));
        }
        let (_, agent, execution) = self.keys.iter().rfind(|(known, _, _)| known == key)?;
        Some(Asked::Execution(agent.clone(), execution.clone()))
    }
}

impl Spark {
    /// Of something that has just happened.
    fn at_once(key: FireKey, at: rekindle::time::Timestamp, source: FireSource, hops: u8, payload: String) -> Self {
        Self {
            key,
            at,
            source,
            misfired: Misfired::No,
            hops,
            payload,
        }
    }
}
