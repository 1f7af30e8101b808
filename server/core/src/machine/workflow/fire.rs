//! How fires come, wait, are skipped and expire: each of them with the one event that says so.

use std::sync::Arc;

use rekindle::id::FireNumber;
use rekindle::time::Timestamp;
use rekindle::workflow::{CHAIN_MAX, FireKey, PENDING_MAX, WorkflowId};

use super::super::step::{Attributes, Step, attributes};
use crate::event::EventKind;
use crate::record::Record;
use crate::workflow::{ErrorOf, Fire, FireSource, LastError, Misfired};

/// What set a workflow off, and when.
pub(super) struct Spark {
    pub(super) key: FireKey,
    pub(super) at: Timestamp,
    pub(super) source: FireSource,
    pub(super) misfired: Misfired,
    pub(super) hops: u8,
    pub(super) payload: String,
}

/// Times of a schedule that nobody numbered.
#[derive(Clone, Copy)]
pub(super) struct Missed {
    pub(super) times: usize,
    /// Whether there were others, that nobody counted.
    pub(super) at_least: bool,
}

impl Step<'_> {
    /// A workflow went off: the fire waits for its turn, or there is no room for it.
    pub(super) fn fire(&mut self, id: &WorkflowId, spark: Spark) -> FireNumber {
        let now = self.now;
        let record = self.edit_workflow(id);
        record.fired = record.fired.next();
        let number = record.fired;
        let (is_full, agent) = (record.is_full(), record.spec.agent.clone());
        let fire = Fire {
            number,
            key: spark.key,
            at: spark.at,
            source: spark.source,
            misfired: spark.misfired,
            hops: spark.hops,
            payload_bytes: spark.payload.len() as u64,
        };
        let expires = record
            .time_left(&fire, now.wall)
            .map(|left| now.mono.saturating_add(left));
        let details = attributes([
            ("fire", &number),
            ("key", &fire.key),
            ("source", &fire.source.as_str()),
            ("at", &fire.at.as_unix_nanos()),
        ]);
        let message = format!("fire {number}, set off {}, waits for its turn", fire.source.told());
        record.pending.push_back(fire);
        self.workflow_event(EventKind::WorkflowTriggered, (id, &agent), message, details);
        if !spark.payload.is_empty() {
            self.keep_payload(id, number, spark.payload.into());
        }
        if let Some(workflow) = self.machine.workflows.all.get_mut(id) {
            workflow.expiries.extend(expires.map(|at| (number, at)));
        }
        self.machine.workflows.rearm(id);
        self.flow.woken.insert(id.clone());
        if spark.hops > CHAIN_MAX {
            let why = format!(
                "it is {} ends of executions away from what set off the first of them: a ring",
                spark.hops
            );
            self.skip_with(id, &[number], None, &why, attributes([("hops", &spark.hops)]));
        } else if is_full {
            self.skip(
                id,
                &[number],
                &format!("{PENDING_MAX} others wait already, which is the limit"),
            );
        }
        number
    }

    fn keep_payload(&mut self, id: &WorkflowId, number: FireNumber, text: Arc<str>) {
        let workflows = &mut self.machine.workflows;
        workflows.text_bytes += text.len();
        if let Some(workflow) = workflows.all.get_mut(id) {
            workflow.payloads.insert(number, text.clone());
        }
        let (id, fire) = (id.clone(), number);
        self.persist(Record::FirePayload { id, fire, text });
    }

    /// A fire waits no longer.
    pub(super) fn take(&mut self, id: &WorkflowId, number: FireNumber) -> Option<(Fire, Option<Arc<str>>)> {
        let record = self.edit_workflow(id);
        let place = record.pending.iter().position(|fire| fire.number == number)?;
        let fire = record.pending.remove(place)?;
        let workflow = self.machine.workflows.all.get_mut(id)?;
        workflow.expiries.remove(&number);
        let payload = workflow.payloads.remove(&number);
        if let Some(text) = &payload {
            self.machine.workflows.text_bytes -= text.len();
            let (id, fire) = (id.clone(), number);
            self.persist(Record::FirePayloadForgotten { id, fire });
        }
        self.machine.workflows.rearm(id);
        Some((fire, payload))
    }

    /// Fires are skipped, all for one reason.
    pub(super) fn skip(&mut self, id: &WorkflowId, numbers: &[FireNumber], why: &str) {
        self.skip_with(id, numbers, None, why, Attributes::new());
    }

    /// Fires are skipped, and with them times of a schedule that nobody numbered.
    pub(super) fn skip_with(
        &mut self,
        id: &WorkflowId,
        numbers: &[FireNumber],
        missed: Option<Missed>,
        why: &str,
        also: Attributes,
    ) {
        for number in numbers {
            self.take(id, *number);
            self.flow.skipped.insert((id.clone(), *number), why.to_owned());
        }
        let mut details = also;
        details.extend(match numbers {
            [] => Attributes::new(),
            [one] => attributes([("fire", one)]),
            [..] => {
                let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                attributes([("fires", &all.join(","))])
            }
        });
        let mut what = Vec::new();
        match numbers {
            [] => {}
            [one] => what.push(format!("fire {one}")),
            [first, .., last] => what.push(format!("{} fires from {first} to {last}", numbers.len())),
        }
        if let Some(Missed { times, at_least }) = missed {
            details.extend(attributes([("missed", &times)]));
            if at_least {
                details.extend(attributes([("more", &true)]));
            }
            let what_of = if times == 1 { "time" } else { "times" };
            let at_least = if at_least { "at least " } else { "" };
            what.push(format!("{at_least}{times} {what_of} of its schedule"));
        }
        let message = format!("skipped {}: {why}", what.join(" and "));
        self.is_dropped(id, &message);
        self.tell(EventKind::WorkflowSkipped, id, message, details);
    }

    /// A fire waited for longer than it may.
    pub(super) fn expire(&mut self, id: &WorkflowId, number: FireNumber) {
        self.take(id, number);
        let why = "it waited for longer than expires_after".to_owned();
        self.flow.skipped.insert((id.clone(), number), why);
        let message = format!("fire {number} waited for longer than expires_after, and is dropped");
        self.is_dropped(id, &message);
        self.tell(EventKind::WorkflowExpired, id, message, attributes([("fire", &number)]));
        // What waited behind it may go.
        self.flow.woken.insert(id.clone());
    }

    fn is_dropped(&mut self, id: &WorkflowId, message: &str) {
        let error = LastError::new(self.now.wall, ErrorOf::Dropped, message.to_owned());
        self.edit_workflow(id).last_error = Some(error);
    }

    /// Adds a line to the log on a workflow that is there.
    pub(super) fn tell(&mut self, kind: EventKind, id: &WorkflowId, message: String, details: Attributes) {
        if let Some(workflow) = self.workflow(id) {
            let agent = workflow.record.spec.agent.clone();
            self.workflow_event(kind, (id, &agent), message, details);
        }
    }
}
