//! An attempt whose message cannot be read: it fails alone, and its agent goes on.

use rekindle::execution::{AttemptId, ExecutionState};
use rekindle::state::FailureCause;

use super::super::step::{Step, attributes};
use crate::execution::Ending;
use crate::input::SessionId;
use crate::record::Failure;

impl Step<'_> {
    /// The attempt did not reach its shim, and no other will. A word of an earlier stream counts for nothing: what became
    /// of its attempts the inventory has told since.
    pub(in super::super) fn message_lost(&mut self, session: SessionId, attempt: &AttemptId) {
        let Some(agent) = self.speaker(session) else { return };
        let id = &attempt.execution;
        let record = self.work(&agent).find(id);
        let Some(record) =
            record.filter(|record| record.state == ExecutionState::Dispatched && record.newest() == *attempt)
        else {
            return;
        };
        match record.ending.clone() {
            Some(ending @ Ending::Cancelled { .. }) => return self.cancelled_unseen(&agent, id, &ending),
            // Queued again it would fail as well.
            Some(Ending::Interrupted(_) | Ending::OutOfTime) | None => {}
        }
        self.take_back(&agent, id);
        let cause = FailureCause::MessageLost;
        let message = "its message cannot be read from the server's store; the server's log says why, and a new execution \
                       has to bring the message anew";
        let failure = Failure {
            cause,
            message: message.to_owned(),
            time: self.now.wall,
            incarnation: self.record(&agent).incarnation,
            evidence: None,
            survivors: Vec::new(),
        };
        self.edit_execution(&agent, id).failure = Some(failure);
        let details = attributes([("cause", &cause)]);
        self.enter_execution(&agent, id, ExecutionState::Failed, message, details);
    }
}
