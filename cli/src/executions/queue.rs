//! What waits before an execution.

use std::cmp::Reverse;

use rekindle::wire::v1;

use super::ExecutionName;
use crate::connection::{Connection, PAGE_SIZE};

/// How many executions are given to the agent before one that is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// So many.
    Exactly(usize),
    /// So many among those that were looked at; the queue is longer.
    AtLeast(usize),
}

/// Looks at one page of the agent's queue. `None` where the server does not tell: the answer is for a line that people
/// watch, and nothing rests on it.
pub(super) async fn ahead(server: Connection, name: ExecutionName, place: Place) -> Option<Ahead> {
    let request = v1::ListExecutionsRequest {
        parent: name.agent().name(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
        filter: "state = QUEUED".to_owned(),
    };
    let page = server.executions().list_executions(request).await.ok()?.into_inner();
    let before = page.executions.iter().filter(|other| Place::of(other) < place).count();
    Some(if page.next_page_token.is_empty() {
        Ahead::Exactly(before)
    } else {
        Ahead::AtLeast(before)
    })
}

/// A place in the queue: the highest priority first, then the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    priority: Reverse<i32>,
    created: (i64, i32),
}

impl Place {
    pub(super) fn of(execution: &v1::Execution) -> Self {
        let created = execution.create_time.unwrap_or_default();
        Self {
            priority: Reverse(execution.priority),
            created: (created.seconds, created.nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_before_whom() {
        let place = |priority, seconds| {
            Place::of(&v1::Execution {
                priority,
                create_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
                ..v1::Execution::default()
            })
        };
        assert!(place(0, 1) < place(0, 2));
        assert!(place(5, 2) < place(0, 1));
        assert!(place(0, 1) < place(-5, 0));
        assert!(place(0, 1) >= place(0, 1), "nobody is before itself");
    }
}
