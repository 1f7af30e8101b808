//! The server's disk: what is durable, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekindle::id::{AgentId, RequestId, Sequence};
use rekindle_server_core::host::{HostKey, HostRecord};
use rekindle_server_core::record::{AgentRecord, Record, Records, RequestRecord};

/// Durable records.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    agents: BTreeMap<AgentId, Arc<AgentRecord>>,
    requests: BTreeMap<(AgentId, RequestId), Arc<RequestRecord>>,
    hosts: BTreeMap<HostKey, Arc<HostRecord>>,
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
            hosts: self.hosts.values().map(|host| (**host).clone()).collect(),
            events: self.events,
        }
    }

    pub(crate) fn agent(&self, id: &AgentId) -> Option<&Arc<AgentRecord>> {
        self.agents.get(id)
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = &Arc<AgentRecord>> {
        self.agents.values()
    }

    pub(crate) const fn events(&self) -> Option<(Sequence, Sequence)> {
        self.events
    }
}
