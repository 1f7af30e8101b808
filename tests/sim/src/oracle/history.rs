//! I5: what is acknowledged is durable, each change has its event, and the log has no hole. I11: each report is
//! applied once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rekindle::id::{AgentId, Marker, ReportSequence, Sequence};
use rekindle::report::{Report, ReportFact};
use rekindle::session::Command;
use rekindle::state::AgentState;
use rekindle::time::{MonoTime, Now};
use rekindle::workflow::AgentEventKind;
use rekindle_server_core::effect::{Answer, Effect, Outcome};
use rekindle_server_core::event::{About, Event, EventKind};
use rekindle_server_core::record::{AgentRecord, Record};

use super::{Invariant, Oracle};
use crate::disk::Disk;
use crate::shim::Shim;

impl Oracle {
    /// A server has begun with what is durable.
    pub(crate) fn recovered(&mut self, disk: &Disk, now: Now) {
        for (agent, promised) in &self.promised {
            let kept = disk.agent(agent).is_some_and(|record| {
                record.uid != promised.uid || record.revision >= promised.revision && record.epoch >= promised.epoch
            });
            if !kept {
                let what = format!(
                    "{agent} was at revision {} for others to see, and is not",
                    promised.revision
                );
                return self.fail(Invariant::I5, what);
            }
        }
        let last = disk.events().map_or(Sequence::ZERO, |(_, last)| last);
        if last < self.promised_sequence {
            let what = format!(
                "event {} was there for others to see, and the log ends at {last}",
                self.promised_sequence
            );
            return self.fail(Invariant::I5, what);
        }
        self.ahead = disk
            .agents()
            .map(|record| (record.id.clone(), record.clone()))
            .collect();
        self.ahead_sequence = last;
        self.durable_sequence = last;
        self.attempts.clear();
        self.untold_exits = 0;
        self.work_recovered(disk);
        self.flows_recovered(disk, now);
    }

    /// One step's decisions, ahead of the disk.
    pub(crate) fn stepped(&mut self, outcome: &Outcome, now: Now, world: Duration) {
        let mut changes: BTreeMap<&AgentId, Vec<&Event>> = BTreeMap::new();
        let mut exits = 0;
        for record in &outcome.persist {
            if let Record::Event(event) = record {
                if event.sequence != self.ahead_sequence.next() {
                    let what = format!("event {} came after {}", event.sequence, self.ahead_sequence);
                    return self.fail(Invariant::I5, what);
                }
                self.ahead_sequence = event.sequence;
                exits += usize::from(event.attributes.contains_key("uptime_ms"));
                if let Some(agent) = &event.agent {
                    if event.kind == EventKind::AgentTakenOver {
                        self.truth(agent).by = None;
                    }
                    changes.entry(agent).or_default().push(event);
                }
            }
        }
        // A stop whose shim has not confirmed yet that nothing follows is told later than the end that it was.
        let fresh = std::mem::take(&mut self.fresh_exits) + self.untold_exits;
        self.untold_exits = fresh.saturating_sub(exits);
        if exits > fresh {
            self.fail(
                Invariant::I11,
                format!("{exits} ends were applied, and {fresh} were reported"),
            );
        }
        for record in &outcome.persist {
            match record {
                Record::Agent(record) => {
                    self.changed(record, changes.get(&record.id).map_or(&[], Vec::as_slice), now.mono)
                }
                Record::AgentDeleted(agent) => {
                    self.ahead.remove(agent);
                    let told = changes
                        .get(agent)
                        .is_some_and(|events| events.iter().any(|event| event.kind == EventKind::AgentDeleted));
                    if !told {
                        self.fail(Invariant::I5, format!("{agent} was deleted, and no event says so"));
                    }
                }
                Record::EventsTrimmed { through } if *through >= self.ahead_sequence => {
                    self.fail(Invariant::I5, "the newest event was trimmed".to_owned());
                }
                Record::Event(_)
                | Record::EventsTrimmed { .. }
                | Record::Request(_)
                | Record::RequestForgotten { .. }
                | Record::Execution(_)
                | Record::ExecutionMessage { .. }
                | Record::ExecutionOutput { .. }
                | Record::ExecutionForgotten { .. }
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
        self.flows_cut_off(outcome);
        self.work_stepped(outcome);
        self.flows_stepped(outcome, now, world);
    }

    /// An agent's record was written: its state changed exactly as its events tell.
    fn changed(&mut self, record: &Arc<AgentRecord>, events: &[&Event], now: MonoTime) {
        let before = self.ahead.insert(record.id.clone(), record.clone());
        let told: Vec<AgentState> = events
            .iter()
            .filter_map(|event| implied(event.kind, record.state))
            .collect();
        let state_before = before.as_ref().map(|before| (before.state, before.reason));
        let changed = state_before != Some((record.state, record.reason));
        match told.last() {
            Some(last) if *last != record.state => {
                let what = format!("{} is {}, and its newest event says {last}", record.id, record.state);
                self.fail(Invariant::I5, what);
            }
            None if changed => {
                self.fail(
                    Invariant::I5,
                    format!("{} became {}, and no event says so", record.id, record.state),
                );
            }
            Some(_) | None => {}
        }
        let Some(before) = before else { return };
        if record.uid == before.uid && record.revision != before.revision + 1 {
            let what = format!(
                "{} went from revision {} to {}",
                record.id, before.revision, record.revision
            );
            self.fail(Invariant::I5, what);
        }
        let alone = |event: &&Event| event.kind == EventKind::RecoveryStarted && event.attributes.contains_key("by");
        if events.iter().any(alone) {
            // What a shim did alone it paced by its own clock; what follows is paced from there.
            self.attempts.remove(&record.id);
        }
        self.attempted(&before, record, now);
    }

    /// One record has become durable.
    pub(crate) fn durable(&mut self, record: &Record) {
        self.flow_durable(record);
        self.save_durable(record);
        match record {
            Record::Event(event) => {
                if event.sequence != self.durable_sequence.next() {
                    let what = format!("the log goes from {} to {}", self.durable_sequence, event.sequence);
                    self.fail(Invariant::I5, what);
                }
                self.durable_sequence = event.sequence;
                self.reboot_told(event);
            }
            Record::Agent(record) => self.ordered(record),
            Record::AgentDeleted(agent) => {
                self.promised.remove(agent);
                self.boots.forget(agent);
                self.requests.retain(|(of, _), _| of != agent);
                self.forget(agent);
            }
            Record::Request(request) => {
                let key = (request.agent.clone(), request.id.clone());
                if let Some(first) = self.requests.get(&key)
                    && (first.kind, first.time) != (request.kind, request.time)
                {
                    let what = format!("request {:?} of {} was carried out twice", request.id, request.agent);
                    self.fail(Invariant::I5, what);
                }
                self.requests.insert(key, request.clone());
            }
            Record::RequestForgotten { agent, id } => {
                self.requests.remove(&(agent.clone(), id.clone()));
            }
            Record::Host(host) => self.boots_counted_out(host),
            Record::HostForgotten(host) => self.boots.host_forgotten(host),
            Record::ExecutionForgotten { agent, id } => self.work_durable(agent, id),
            Record::EventsTrimmed { .. }
            | Record::Execution(_)
            | Record::ExecutionMessage { .. }
            | Record::ExecutionOutput { .. }
            | Record::Workflow(_)
            | Record::WorkflowMessage { .. }
            | Record::FirePayload { .. }
            | Record::FirePayloadForgotten { .. }
            | Record::WorkflowDeleted(_)
            | Record::Checkpoint(_)
            | Record::CheckpointContent { .. }
            | Record::CheckpointForgotten { .. } => {}
        }
    }

    /// An effect leaves the server: what it says must be durable.
    pub(crate) fn leaves(&mut self, effect: &Effect, disk: &Disk, shim: Option<&Shim>) {
        let durable = shim.and_then(|shim| disk.agent(&shim.agent));
        // A cursor of another marker tells nothing of this one's.
        let applied = |record: &AgentRecord, sequence: ReportSequence| {
            let cursor = record
                .reports
                .filter(|cursor| shim.is_some_and(|shim| shim.marker == cursor.marker));
            cursor.is_none_or(|cursor| cursor.sequence >= sequence)
        };
        let problem = match effect {
            Effect::Welcome {
                epoch, acknowledged, ..
            } => {
                let known = durable.is_some_and(|record| record.epoch >= *epoch && applied(record, *acknowledged));
                (!known).then(|| format!("epoch {epoch} was given"))
            }
            Effect::Acknowledge { through, .. } => {
                let known = durable.is_none_or(|record| applied(record, *through));
                (!known).then(|| format!("report {through} was acknowledged"))
            }
            Effect::Command {
                command: Command::Run { incarnation, .. },
                ..
            } => {
                // An agent that is gone was deleted by a later step of the same batch.
                let known = durable.is_none_or(|record| record.incarnation >= *incarnation);
                (!known).then(|| format!("incarnation {incarnation} was ordered"))
            }
            Effect::Dispatch { agent, attempt, .. } => {
                let state = disk.execution(agent, &attempt.execution);
                // One that is gone was forgotten by a later step of the same batch.
                let known = state.is_none_or(|record| record.attempt >= attempt.number || !record.state.is_held());
                (!known).then(|| format!("{attempt} was given"))
            }
            Effect::Reply { answer, .. } => shown(answer).and_then(|shown| {
                let known = disk
                    .agent(&shown.id)
                    .is_none_or(|record| record.uid != shown.uid || record.revision >= shown.revision);
                (!known).then(|| format!("revision {} of {} was shown", shown.revision, shown.id))
            }),
            Effect::CheckpointKept { id, refused: None, .. } => {
                // One that is gone was deleted, or forgotten, by a later step of the same batch.
                let newest = durable.and_then(|record| disk.newest_checkpoint(&record.id));
                let gone = durable.is_none_or(|record| record.checkpoint_line.deleted >= Some(*id));
                let known = gone || newest.is_some_and(|newest| newest.id >= *id);
                (!known).then(|| format!("checkpoint {id} was acknowledged"))
            }
            Effect::Command { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::CheckpointKept { .. } => None,
        };
        if let Some(problem) = problem {
            return self.fail(Invariant::I5, format!("{problem} before it was durable"));
        }
        if let Effect::Reply { answer, .. } = effect {
            self.work_answered(answer, disk);
            self.flow_answered(answer, disk);
        }
        if let Some(record) = durable {
            self.promised.insert(record.id.clone(), record.clone());
        }
        self.promised_sequence = self
            .promised_sequence
            .max(disk.events().map_or(Sequence::ZERO, |(_, last)| last));
    }

    /// Reports reach the server, by a stream of this shim; `cursor` is the newest that it has applied.
    pub(crate) fn delivered(&mut self, shim: &Shim, reports: &[Report], cursor: Option<(Marker, ReportSequence)>) {
        let known = cursor
            .filter(|(marker, _)| *marker == shim.marker)
            .map_or(ReportSequence::ZERO, |(_, seq)| seq);
        self.results_delivered(shim, reports, known);
        for report in reports {
            let key = (shim.marker, report.sequence);
            if report.sequence > known {
                self.fresh_exits += usize::from(matches!(report.fact, ReportFact::Exited(_)));
                self.applied.insert(key, report.clone());
            } else if self.applied.get(&key).is_some_and(|applied| applied != report) {
                let what = format!(
                    "report {} of {} is another one than was applied",
                    report.sequence, shim.agent
                );
                self.fail(Invariant::I11, what);
            }
        }
    }
}

/// The state that an event says the agent is in. A return from silence is into the state that was left.
fn implied(kind: EventKind, state: AgentState) -> Option<AgentState> {
    let turn = match kind.about() {
        About::Agent(turn) => turn,
        About::Execution(_) | About::Workflow | About::Other => return None,
    };
    match turn {
        AgentEventKind::Registered => Some(AgentState::Pending),
        AgentEventKind::Starting => Some(AgentState::Starting),
        AgentEventKind::Ready => Some(AgentState::Running),
        AgentEventKind::Reconnected if state == AgentState::Starting => Some(AgentState::Starting),
        AgentEventKind::Reconnected => Some(AgentState::Running),
        AgentEventKind::Crashed => Some(AgentState::Crashed),
        AgentEventKind::Unreachable => Some(AgentState::Unreachable),
        AgentEventKind::Stopping => Some(AgentState::Stopping),
        AgentEventKind::Stopped => Some(AgentState::Stopped),
        AgentEventKind::Terminated => Some(AgentState::Terminated),
        AgentEventKind::Quarantined => Some(AgentState::Quarantined),
        AgentEventKind::Started | AgentEventKind::Restarted | AgentEventKind::TakenOver | AgentEventKind::Deleted => {
            None
        }
    }
}

/// The record that an answer shows.
fn shown(answer: &Answer) -> Option<&AgentRecord> {
    match answer {
        Answer::Operation(Ok(answer)) => Some(&answer.agent),
        Answer::Updated(Ok(record)) => Some(record),
        Answer::Operation(Err(_))
        | Answer::Updated(Err(_))
        | Answer::Deleted(_)
        | Answer::Signalled(_)
        | Answer::Execution(_)
        | Answer::Cancelled(_)
        | Answer::Workflow(_)
        | Answer::WorkflowDeleted(_)
        | Answer::Triggered(_)
        | Answer::CheckpointDeleted(_) => None,
    }
}
