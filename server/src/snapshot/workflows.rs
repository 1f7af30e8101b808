//! The workflows of a snapshot, with what they ask for.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use rekindle::workflow::WorkflowId;
use rekindle_server_core::record::Records;
use rekindle_server_core::workflow::WorkflowRecord;

/// Every workflow. Cloning shares all but what changes.
#[derive(Debug, Clone, Default)]
pub struct Workflows {
    all: OrdMap<WorkflowId, Arc<WorkflowRecord>>,
    /// What they ask for, shared with the machine.
    messages: OrdMap<WorkflowId, Arc<str>>,
}

impl Workflows {
    /// Those that a server starts with.
    pub fn of(records: &Records) -> Self {
        let all = records.workflows.iter();
        Self {
            all: all
                .map(|record| (record.id.clone(), Arc::new(record.clone())))
                .collect(),
            messages: records.workflow_messages.iter().cloned().collect(),
        }
    }

    /// One of them.
    pub fn get(&self, id: &WorkflowId) -> Option<&Arc<WorkflowRecord>> {
        self.all.get(id)
    }

    /// What one of them asks for.
    pub fn message(&self, id: &WorkflowId) -> Option<&Arc<str>> {
        self.messages.get(id)
    }

    /// Those behind one, or all of them, in the order of their ids.
    pub fn after(&self, after: Option<WorkflowId>) -> impl Iterator<Item = &Arc<WorkflowRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range((from, Bound::Unbounded)).map(|(_, record)| record)
    }

    /// The workflow is this, from here on.
    pub fn insert(&mut self, record: Arc<WorkflowRecord>) {
        self.all.insert(record.id.clone(), record);
    }

    /// A workflow asks for this, from here on.
    pub fn ask(&mut self, id: WorkflowId, message: Arc<str>) {
        self.messages.insert(id, message);
    }

    /// The workflow is forgotten.
    pub fn remove(&mut self, id: &WorkflowId) {
        self.all.remove(id);
        self.messages.remove(id);
    }
}
