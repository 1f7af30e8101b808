//! The server's disk: what is durable, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekindle::checkpoint::{Checkpoint, CheckpointId};
use rekindle::execution::{AttemptId, ExecutionId};
use rekindle::id::{AgentId, FireNumber, Incarnation, RequestId, Sequence};
use rekindle::workflow::WorkflowId;
use rekindle_server_core::checkpoint::CheckpointRecord;
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::host::{HostKey, HostRecord};
use rekindle_server_core::record::{AgentRecord, Record, Records, RequestRecord};
use rekindle_server_core::workflow::WorkflowRecord;

/// Durable records.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    agents: BTreeMap<AgentId, Arc<AgentRecord>>,
    requests: BTreeMap<(AgentId, RequestId), Arc<RequestRecord>>,
    hosts: BTreeMap<HostKey, Arc<HostRecord>>,
    executions: BTreeMap<(AgentId, ExecutionId), Arc<ExecutionRecord>>,
    messages: BTreeMap<(AgentId, ExecutionId), String>,
    outputs: BTreeMap<(AgentId, ExecutionId), Arc<str>>,
    checkpoints: BTreeMap<(AgentId, CheckpointId), Arc<CheckpointRecord>>,
    contents: BTreeMap<(AgentId, CheckpointId), Arc<Checkpoint>>,
    workflows: BTreeMap<WorkflowId, Arc<WorkflowRecord>>,
    workflow_messages: BTreeMap<WorkflowId, Arc<str>>,
    fire_payloads: BTreeMap<(WorkflowId, FireNumber), Arc<str>>,
    events: Option<(Sequence, Sequence)>,
}

impl Disk {
    /// Makes one batch durable, whole.
    pub(crate) fn apply(&mut self, batch: &[Record]) {
        for record in batch {
            match record {
                Record::Agent(agent) => {
                    self.agents.insert(agent.id.clone(), agent.clone());
                }
                Record::AgentDeleted(agent) => {
                    self.agents.remove(agent);
                }
                Record::Event(event) => {
                    let first = self.events.map_or(event.sequence, |(first, _)| first);
                    self.events = Some((first, event.sequence));
                }
                Record::EventsTrimmed { through } => {
                    self.events = self.events.map(|(_, last)| (through.next(), last));
                }
                Record::Request(request) => {
                    self.requests
                        .insert((request.agent.clone(), request.id.clone()), request.clone());
                }
                Record::RequestForgotten { agent, id } => {
                    self.requests.remove(&(agent.clone(), id.clone()));
                }
                Record::Execution(execution) => {
                    let key = (execution.agent.clone(), execution.id.clone());
                    self.executions.insert(key, execution.clone());
                }
                Record::ExecutionMessage { agent, id, text } => {
                    self.messages.insert((agent.clone(), id.clone()), text.clone());
                }
                Record::ExecutionOutput { agent, id, text } => {
                    self.outputs.insert((agent.clone(), id.clone()), text.clone());
                }
                Record::ExecutionForgotten { agent, id } => {
                    let key = (agent.clone(), id.clone());
                    self.executions.remove(&key);
                    self.messages.remove(&key);
                    self.outputs.remove(&key);
                }
                Record::Checkpoint(checkpoint) => {
                    let key = (checkpoint.agent.clone(), checkpoint.id);
                    self.checkpoints.insert(key, checkpoint.clone());
                }
                Record::CheckpointContent { agent, checkpoint } => {
                    self.contents.insert((agent.clone(), checkpoint.id), checkpoint.clone());
                }
                Record::CheckpointForgotten { agent, id } => {
                    let key = (agent.clone(), *id);
                    self.checkpoints.remove(&key);
                    self.contents.remove(&key);
                }
                Record::Workflow(workflow) => {
                    self.workflows.insert(workflow.id.clone(), workflow.clone());
                }
                Record::WorkflowMessage { id, text } => {
                    self.workflow_messages.insert(id.clone(), text.clone());
                }
                Record::FirePayload { id, fire, text } => {
                    self.fire_payloads.insert((id.clone(), *fire), text.clone());
                }
                Record::FirePayloadForgotten { id, fire } => {
                    self.fire_payloads.remove(&(id.clone(), *fire));
                }
                Record::WorkflowDeleted(id) => {
                    self.workflows.remove(id);
                    self.workflow_messages.remove(id);
                    self.fire_payloads.retain(|(workflow, _), _| workflow != id);
                }
                Record::Host(host) => {
                    self.hosts.insert(host.key.clone(), host.clone());
                }
                Record::HostForgotten(host) => {
                    self.hosts.remove(host);
                }
            }
        }
    }

    pub(crate) fn load(&self) -> Records {
        Records {
            agents: self.agents.values().map(|agent| (**agent).clone()).collect(),
            requests: self.requests.values().map(|request| (**request).clone()).collect(),
            executions: self
                .executions
                .values()
                .map(|execution| (**execution).clone())
                .collect(),
            hosts: self.hosts.values().map(|host| (**host).clone()).collect(),
            checkpoints: self
                .checkpoints
                .values()
                .map(|checkpoint| (**checkpoint).clone())
                .collect(),
            workflows: self.workflows.values().map(|workflow| (**workflow).clone()).collect(),
            workflow_messages: (self.workflow_messages.iter())
                .map(|(id, text)| (id.clone(), text.clone()))
                .collect(),
            fire_payloads: (self.fire_payloads.iter())
                .map(|((id, fire), text)| (id.clone(), *fire, text.clone()))
                .collect(),
            events: self.events,
        }
    }

    /// The newest checkpoint of an agent.
    pub(crate) fn newest_checkpoint(&self, agent: &AgentId) -> Option<&Arc<CheckpointRecord>> {
        let from = (agent.clone(), CheckpointId::new(Incarnation::ZERO, 0));
        let of_it = self.checkpoints.range(from..).take_while(|((of, _), _)| of == agent);
        of_it.map(|(_, checkpoint)| checkpoint).last()
    }

    /// What a checkpoint says.
    pub(crate) fn content(&self, agent: &AgentId, id: CheckpointId) -> Option<&Arc<Checkpoint>> {
        self.contents.get(&(agent.clone(), id))
    }

    pub(crate) fn workflow(&self, id: &WorkflowId) -> Option<&Arc<WorkflowRecord>> {
        self.workflows.get(id)
    }

    pub(crate) fn workflows(&self) -> impl Iterator<Item = &Arc<WorkflowRecord>> {
        self.workflows.values()
    }

    pub(crate) fn agent(&self, id: &AgentId) -> Option<&Arc<AgentRecord>> {
        self.agents.get(id)
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = &Arc<AgentRecord>> {
        self.agents.values()
    }

    /// The execution that an attempt is one at; none where only its name is known.
    pub(crate) fn execution_of(&self, agent: &AgentId, attempt: &AttemptId) -> Option<&Arc<ExecutionRecord>> {
        let known = self.execution(agent, &attempt.execution);
        known.filter(|record| record.uid == attempt.uid)
    }

    pub(crate) fn execution(&self, agent: &AgentId, id: &ExecutionId) -> Option<&Arc<ExecutionRecord>> {
        self.executions.get(&(agent.clone(), id.clone()))
    }

    pub(crate) fn executions(&self) -> impl Iterator<Item = &Arc<ExecutionRecord>> {
        self.executions.values()
    }

    pub(crate) fn executions_of(&self, agent: &AgentId) -> impl Iterator<Item = &Arc<ExecutionRecord>> {
        let from = (agent.clone(), ExecutionId::first());
        let of = agent.clone();
        self.executions
            .range(from..)
            .take_while(move |((agent, _), _)| *agent == of)
            .map(|(_, execution)| execution)
    }

    /// What an agent is asked to do.
    pub(crate) fn message(&self, agent: &AgentId, id: &ExecutionId) -> Option<&String> {
        self.messages.get(&(agent.clone(), id.clone()))
    }

    /// What an agent has written.
    pub(crate) fn output(&self, agent: &AgentId, id: &ExecutionId) -> Option<&Arc<str>> {
        self.outputs.get(&(agent.clone(), id.clone()))
    }

    pub(crate) const fn events(&self) -> Option<(Sequence, Sequence)> {
        self.events
    }
}
