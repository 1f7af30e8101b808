//! Who waits for the next change of an execution: a commit wakes those whose execution it has, and nobody else.
//!
//! A subscriber looks at the snapshot first and waits then, so that it misses nothing: a snapshot is published before its
//! subscribers are woken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rekindle::execution::ExecutionId;
use rekindle::id::AgentId;
use rekindle_server_core::record::Record;
use tokio::sync::watch;

use crate::handle::Unavailable;

type Key = (AgentId, ExecutionId);

/// Every subscriber, by its execution. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    Open(HashMap<Key, watch::Sender<()>>),
    /// Nothing changes any more.
    Ended,
}

impl Default for State {
    fn default() -> Self {
        Self::Open(HashMap::new())
    }
}

/// One who waits for the changes of an execution, until dropped.
#[derive(Debug)]
pub struct Subscription {
    subscriptions: Subscriptions,
    key: Key,
    changes: watch::Receiver<()>,
}

impl Subscriptions {
    /// Waits for the changes of an execution from here on, whether there is such a one or not.
    pub fn subscribe(&self, agent: &AgentId, id: &ExecutionId) -> Subscription {
        let key = (agent.clone(), id.clone());
        let changes = match &mut *self.state() {
            State::Open(executions) => executions
                .entry(key.clone())
                .or_insert_with(|| watch::channel(()).0)
                .subscribe(),
            // Its sender is gone, which is what the end looks like.
            State::Ended => watch::channel(()).1,
        };
        Subscription {
            subscriptions: self.clone(),
            key,
            changes,
        }
    }

    /// These records are durable and published.
    pub fn wake(&self, durable: &[Record]) {
        let state = self.state();
        let executions = match &*state {
            State::Open(executions) if !executions.is_empty() => executions,
            State::Open(_) | State::Ended => return,
        };
        for record in durable {
            let key = match record {
                Record::Execution(execution) => (execution.agent.clone(), execution.id.clone()),
                Record::ExecutionForgotten { agent, id } => (agent.clone(), id.clone()),
                Record::Agent(_)
                | Record::AgentDeleted(_)
                | Record::Event(_)
                | Record::EventsTrimmed { .. }
                | Record::Request(_)
                | Record::RequestForgotten { .. }
                | Record::Checkpoint(_)
                | Record::CheckpointContent { .. }
                | Record::CheckpointForgotten { .. }
                | Record::ExecutionMessage { .. }
                | Record::ExecutionOutput { .. }
                | Record::Workflow(_)
                | Record::WorkflowMessage { .. }
                | Record::FirePayload { .. }
                | Record::FirePayloadForgotten { .. }
                | Record::WorkflowDeleted(_)
                | Record::Host(_)
                | Record::HostForgotten(_) => continue,
            };
            if let Some(subscribers) = executions.get(&key) {
                subscribers.send_replace(());
            }
        }
    }

    /// Nothing changes any more: all who wait are told so.
    pub fn end(&self) {
        *self.state() = State::Ended;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the writes of one change, so a poisoned state is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits until the execution has changed since the last time, or since it was subscribed to. Can be dropped and asked
    /// for again.
    ///
    /// # Errors
    /// The driver has ended.
    pub async fn changed(&mut self) -> Result<(), Unavailable> {
        self.changes.changed().await.map_err(|_| Unavailable)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.subscriptions.state();
        let State::Open(executions) = &mut *state else { return };
        // This receiver is still one of them.
        if executions
            .get(&self.key)
            .is_some_and(|sender| sender.receiver_count() <= 1)
        {
            executions.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgotten(id: &str) -> Record {
        let (agent, id) = key(id);
        Record::ExecutionForgotten { agent, id }
    }

    fn key(id: &str) -> Key {
        let agent = AgentId::new("a").expect("valid");
        (agent, ExecutionId::new(id).expect("valid"))
    }

    fn subscribe(subscriptions: &Subscriptions, id: &str) -> Subscription {
        let (agent, id) = key(id);
        subscriptions.subscribe(&agent, &id)
    }

    fn count(subscriptions: &Subscriptions) -> usize {
        match &*subscriptions.state() {
            State::Open(executions) => executions.len(),
            State::Ended => 0,
        }
    }

    #[tokio::test]
    async fn all_who_wait_for_an_execution_are_woken_and_leave_nothing() {
        let subscriptions = Subscriptions::default();
        let mut first = subscribe(&subscriptions, "e");
        let mut second = subscribe(&subscriptions, "e");
        let other = subscribe(&subscriptions, "other");
        subscriptions.wake(&[forgotten("e"), forgotten("nobody")]);
        assert_eq!(first.changed().await, Ok(()));
        assert_eq!(second.changed().await, Ok(()));
        assert_eq!(other.changes.has_changed().ok(), Some(false));
        drop(first);
        assert_eq!(count(&subscriptions), 2);
        drop((second, other));
        assert_eq!(count(&subscriptions), 0);
    }

    #[tokio::test]
    async fn the_end_is_told_to_all() {
        let subscriptions = Subscriptions::default();
        let mut before = subscribe(&subscriptions, "e");
        subscriptions.end();
        assert_eq!(before.changed().await, Err(Unavailable));
        assert_eq!(subscribe(&subscriptions, "e").changed().await, Err(Unavailable));
    }
}
