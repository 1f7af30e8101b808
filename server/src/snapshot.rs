//! What readers see: an immutable picture of what is durable, published after each commit.

mod executions;
mod subscriptions;
mod workflows;

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use rekindle::checkpoint::CheckpointId;
use rekindle::id::{AgentId, Incarnation, Sequence};
use rekindle_server_core::checkpoint::CheckpointRecord;
use rekindle_server_core::event::Event;
use rekindle_server_core::record::{AgentRecord, Record};

pub use executions::{Executions, Place};
pub use subscriptions::{Subscription, Subscriptions};
pub use workflows::Workflows;

/// Newest events that a snapshot carries, so that watchers who keep up never read the store. A few seconds of a fleet
/// in trouble, at some 500 bytes each.
const RECENT_MAX: usize = 4096;

/// Everything durable at one moment. Cloning shares all but what changes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every agent.
    pub agents: OrdMap<AgentId, Arc<AgentRecord>>,
    /// Every execution that is kept, without its texts.
    pub executions: Executions,
    /// Every checkpoint that is kept, without its body.
    pub checkpoints: OrdMap<(AgentId, CheckpointId), Arc<CheckpointRecord>>,
    /// Every workflow.
    pub workflows: Workflows,
    /// The oldest event that is kept; zero before the first.
    pub first_event: Sequence,
    /// The newest event; zero before the first.
    pub last_event: Sequence,
    /// The newest events, oldest first.
    pub recent: Vector<Arc<Event>>,
}

impl Snapshot {
    /// Adds what one commit made durable.
    pub fn apply(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Agent(agent) => {
                    self.agents.insert(agent.id.clone(), agent.clone());
                }
                Record::AgentDeleted(id) => {
                    self.agents.remove(id);
                }
                Record::Event(event) => {
                    if self.first_event == Sequence::ZERO {
                        self.first_event = event.sequence;
                    }
                    self.last_event = event.sequence;
                    self.recent.push_back(event.clone());
                    if self.recent.len() > RECENT_MAX {
                        self.recent.pop_front();
                    }
                }
                Record::EventsTrimmed { through } => {
                    self.first_event = self.first_event.max(through.next());
                    while self.recent.front().is_some_and(|event| event.sequence <= *through) {
                        self.recent.pop_front();
                    }
                }
                Record::Execution(execution) => self.executions.insert(execution.clone()),
                Record::ExecutionForgotten { agent, id } => {
                    self.executions.remove(&(agent.clone(), id.clone()));
                }
                Record::Checkpoint(checkpoint) => {
                    let key = (checkpoint.agent.clone(), checkpoint.id);
                    self.checkpoints.insert(key, checkpoint.clone());
                }
                Record::CheckpointForgotten { agent, id } => {
                    self.checkpoints.remove(&(agent.clone(), *id));
                }
                Record::Workflow(workflow) => self.workflows.insert(workflow.clone()),
                Record::WorkflowMessage { id, text } => self.workflows.ask(id.clone(), text.clone()),
                Record::WorkflowDeleted(id) => self.workflows.remove(id),
                Record::Request(_)
                | Record::RequestForgotten { .. }
                | Record::CheckpointContent { .. }
                | Record::ExecutionMessage { .. }
                | Record::ExecutionOutput { .. }
                | Record::FirePayload { .. }
                | Record::FirePayloadForgotten { .. }
                | Record::Host(_)
                | Record::HostForgotten(_) => {}
            }
        }
    }

    /// The checkpoints of an agent, the newest first.
    pub fn checkpoints_of(&self, agent: &AgentId) -> impl Iterator<Item = &Arc<CheckpointRecord>> {
        let end = |incarnation, number| (agent.clone(), CheckpointId::new(Incarnation::new(incarnation), number));
        let all = self.checkpoints.range(end(0, 0)..=end(u64::MAX, u32::MAX));
        all.rev().map(|(_, record)| record)
    }

    /// At most `limit` events after a sequence, if the snapshot carries the first of them.
    pub fn recent_after(&self, after: Sequence, limit: usize) -> Option<Vec<Arc<Event>>> {
        if after >= self.last_event {
            return Some(Vec::new());
        }
        let oldest = self.recent.front()?.sequence;
        let wanted = after.next().max(self.first_event);
        let skip = usize::try_from(wanted.get().checked_sub(oldest.get())?).ok()?;
        Some(self.recent.iter().skip(skip).take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle::time::Timestamp;
    use rekindle_server_core::event::EventKind;

    fn event(sequence: u64) -> Record {
        Record::Event(Arc::new(Event {
            sequence: Sequence::new(sequence),
            time: Timestamp::UNIX_EPOCH,
            kind: EventKind::ServerStarted,
            agent: None,
            incarnation: Incarnation::ZERO,
            execution: None,
            workflow: None,
            message: String::new(),
            attributes: std::collections::BTreeMap::new(),
        }))
    }

    #[test]
    fn recent_events_are_those_that_the_log_keeps() {
        let mut snapshot = Snapshot {
            first_event: Sequence::new(1),
            last_event: Sequence::new(10),
            ..Snapshot::default()
        };
        let after = |snapshot: &Snapshot, after, limit| {
            snapshot
                .recent_after(Sequence::new(after), limit)
                .map(|events| events.iter().map(|event| event.sequence.get()).collect::<Vec<_>>())
        };
        assert_eq!(after(&snapshot, 3, 9), None, "only the store has them");
        assert_eq!(after(&snapshot, 10, 9), Some(vec![]));
        snapshot.apply(&[event(11), event(12), event(13)]);
        assert_eq!(after(&snapshot, 10, 2), Some(vec![11, 12]));
        assert_eq!(after(&snapshot, 9, 2), None);
        snapshot.apply(&[Record::EventsTrimmed {
            through: Sequence::new(11),
        }]);
        assert_eq!(after(&snapshot, 0, 9), Some(vec![12, 13]), "what is gone is skipped");
    }
}
