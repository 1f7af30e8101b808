//! What is durable in a scenario's world.

use super::*;

impl World {
    /// A record is durable.
    pub(super) fn keep(&mut self, record: Record) {
        match record {
            Record::Agent(agent) => {
                self.records.agents.retain(|known| known.id != agent.id);
                self.records.agents.push((*agent).clone());
            }
            Record::AgentDeleted(id) => self.records.agents.retain(|known| known.id != id),
            Record::Event(event) => {
                let first = self.records.events.map_or(event.sequence, |(first, _)| first);
                self.records.events = Some((first, event.sequence));
                self.events.push(event.kind.as_str().to_owned());
                self.says.clone_from(&event.message);
                self.log.push(event.clone());
                let late = event.attributes.get("late_ms").cloned();
                self.late
                    .extend(late.map(|late| (event.kind.as_str().to_owned(), late)));
            }
            Record::EventsTrimmed { through } => {
                self.records.events = self.records.events.map(|(_, last)| (through.next(), last));
            }
            Record::Request(request) => {
                self.records.requests.retain(|known| known.id != request.id);
                self.records.requests.push((*request).clone());
            }
            Record::RequestForgotten { id, .. } => self.records.requests.retain(|known| known.id != id),
            Record::Host(host) => {
                self.records.hosts.retain(|known| known.key != host.key);
                self.records.hosts.push((*host).clone());
            }
            Record::Execution(execution) => {
                self.records.executions.retain(|known| known.id != execution.id);
                self.records.executions.push((*execution).clone());
            }
            Record::ExecutionForgotten { id, .. } => self.records.executions.retain(|known| known.id != id),
            Record::ExecutionMessage { text, .. } => self.messages.push(text),
            Record::ExecutionOutput { .. } => {}
            Record::Workflow(workflow) => {
                self.writes += 1;
                if !self.uids.contains(&workflow.uid) {
                    self.uids.push(workflow.uid);
                }
                self.records.workflows.retain(|known| known.id != workflow.id);
                self.records.workflows.push((*workflow).clone());
            }
            Record::WorkflowMessage { id, text } => {
                self.records.workflow_messages.retain(|(known, _)| *known != id);
                self.records.workflow_messages.push((id, text));
            }
            Record::FirePayload { id, fire, text } => self.records.fire_payloads.push((id, fire, text)),
            Record::FirePayloadForgotten { id, fire } => {
                let of = |(known, number, _): &(WorkflowId, FireNumber, _)| *known == id && *number == fire;
                self.records.fire_payloads.retain(|known| !of(known));
            }
            Record::WorkflowDeleted(id) => {
                self.records.workflows.retain(|known| known.id != id);
                self.records.workflow_messages.retain(|(known, _)| *known != id);
                self.records.fire_payloads.retain(|(known, _, _)| *known != id);
            }
            Record::Checkpoint(checkpoint) => {
                self.records.checkpoints.retain(|known| known.id != checkpoint.id);
                self.records.checkpoints.push((*checkpoint).clone());
            }
            Record::CheckpointForgotten { id, .. } => self.records.checkpoints.retain(|known| known.id != id),
            Record::CheckpointContent { .. } => {}
            Record::HostForgotten(key) => self.records.hosts.retain(|known| known.key != key),
        }
    }
}
