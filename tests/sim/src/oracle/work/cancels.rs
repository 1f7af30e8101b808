//! I11: what is CANCELLED somebody wanted ended.

use rekindle::execution::{AttemptId, ExecutionId, Verdict};
use rekindle::id::AgentId;
use rekindle::policy::InterruptPolicy;
use rekindle::report::{Report, ReportFact};
use rekindle::time::Timestamp;
use rekindle_server_core::execution::Ending;

use super::super::Oracle;

/// Who wants an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedEnded {
    /// Somebody cancelled it.
    Itself,
    /// An operator ended or replaced its agent's life.
    WithItsAgent,
}

impl Oracle {
    /// Somebody wants it cancelled.
    pub(crate) fn cancel_asked(&mut self, agent: &AgentId, id: &ExecutionId) {
        self.work.cancels.insert((agent.clone(), id.clone()));
    }

    /// Whether somebody wanted it ended.
    pub(crate) fn wanted_ended(&self, agent: &AgentId, id: &ExecutionId) -> Option<WantedEnded> {
        let key = (agent.clone(), id.clone());
        if self.work.cancels.contains(&key) {
            return Some(WantedEnded::Itself);
        }
        let ending = self.work.ahead.get(&key).and_then(|record| record.ending.as_ref());
        (ending == Some(&Ending::Interrupted(InterruptPolicy::Cancel))).then_some(WantedEnded::WithItsAgent)
    }

    /// Whether its shim knows of an end that it had not begun: after a reboot nobody does.
    pub(crate) fn ended_unbegun(&self, agent: &AgentId, attempt: &AttemptId, began: Option<Timestamp>) -> bool {
        began.is_none() && self.work.cancelled.contains(attempt) && !self.work.rebooted.contains(agent)
    }
}

/// The attempt that a shim has given up at the server's word, if the report tells of one.
pub(super) fn cancelled(report: &Report) -> Option<AttemptId> {
    if let ReportFact::AttemptFinished(attempt, result) = &report.fact
        && result.verdict == Verdict::Cancelled
    {
        Some(attempt.clone())
    } else {
        None
    }
}
