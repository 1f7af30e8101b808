//! What the next life goes on from, and why.

use rekindle::checkpoint::{ClosedBy, Standing};
use rekindle::time::Timestamp;

use super::span::Span;
use crate::checkpoint::CheckpointRecord;
use crate::record::{AgentRecord, Context, Operation, OperationKind};

/// In words; `None` where nothing was ever saved, as far as is known.
pub(super) fn what_is_next(record: &AgentRecord, newest: Option<&CheckpointRecord>, now: Timestamp) -> Option<String> {
    if record.operation.as_ref().is_some_and(is_fresh) {
        return Some("the life that an operator ordered begins without one (CONTEXT_FRESH)".to_owned());
    }
    let deleted = record.checkpoint_line.deleted;
    if let Some(id) = deleted.filter(|id| newest.is_none_or(|newest| newest.id < *id)) {
        return Some(format!(
            "{id} was deleted by an operator: the next life begins without one"
        ));
    }
    let newest = newest?;
    let id = newest.id;
    let closed = |why: &str| format!("{id} is closed, as {why}: the next life begins without one");
    Some(match newest.standing {
        Standing::Open => open(record, newest, now),
        Standing::Closed(ClosedBy::Agent) => closed("the agent says that its task is over"),
        Standing::Closed(ClosedBy::Task) => closed("the execution that it is about is over"),
        Standing::Closed(ClosedBy::Fresh) => closed("an operator had a life begin without it"),
        Standing::SetAside => {
            let crashes = newest.crashes;
            format!(
                "{id} is set aside, crashes in a row of lives that had read it: {crashes}; the next one begins without one"
            )
        }
    })
}

fn open(record: &AgentRecord, newest: &CheckpointRecord, now: Timestamp) -> String {
    let saved = Span(now.saturating_since(newest.saved));
    let mut text = format!("{}, saved {saved} ago: the next life goes on from it", newest.id);
    if newest.flags.unclean {
        let in_flight = newest.flags.in_flight.len();
        text += &format!("; the life whose it is ended uncleanly, executions in flight: {in_flight}");
    }
    if newest.crashes > 0 {
        let limit = record.policy.poison_after;
        let crashes = newest.crashes;
        text += &format!("; crashes in a row of lives that had read it: {crashes}, and poison_after is {limit}");
    }
    text
}

fn is_fresh(operation: &Operation) -> bool {
    match operation.kind {
        OperationKind::Restart | OperationKind::Start => operation.context == Context::Fresh,
        OperationKind::Stop => false,
    }
}
