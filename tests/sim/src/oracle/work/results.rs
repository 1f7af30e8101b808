//! I11: a true result is applied once, and to what it is the result of.

use rekindle::execution::{ExecutionState, Verdict};
use rekindle::id::ReportSequence;
use rekindle::report::{Report, ReportFact};

use super::super::{Invariant, Oracle};
use super::{Expected, cancels};
use crate::shim::Shim;

impl Oracle {
    /// Results are about to reach the machine: what they must make of their executions, where nobody was faster.
    pub(in crate::oracle) fn results_delivered(&mut self, shim: &Shim, reports: &[Report], known: ReportSequence) {
        self.work.expected.clear();
        let fresh = || reports.iter().filter(|report| report.sequence > known);
        self.work.cancelled = fresh().filter_map(cancels::cancelled).collect();
        for report in fresh() {
            let ReportFact::AttemptFinished(attempt, result) = &report.fact else {
                continue;
            };
            let state = match result.verdict {
                Verdict::Succeeded => ExecutionState::Succeeded,
                Verdict::Failed | Verdict::SpawnFailed => ExecutionState::Failed,
                Verdict::TimedOut => ExecutionState::TimedOut,
                Verdict::Cancelled | Verdict::Interrupted | Verdict::NotBegun => continue,
            };
            let told_otherwise = fresh().any(|other| {
                let earlier = other.sequence < report.sequence;
                earlier && other.fact.finished_attempt() == Some(attempt)
            });
            let key = (shim.agent.clone(), attempt.execution.clone());
            let open = self.work.ahead.get(&key).is_some_and(|record| {
                let waits = record.state == ExecutionState::Queued || record.state == ExecutionState::Lost;
                // A name that was forgotten comes again, for another shim.
                let given = record.given_to.as_ref();
                let is_its = given.is_some_and(|given| given.marker == shim.marker && report.sequence > given.after);
                let is_newest = is_its && record.attempt == attempt.number && (record.state.is_held() || waits);
                // The store was set back to before it was given.
                let is_ahead = record.state == ExecutionState::Queued && record.attempt < attempt.number;
                record.uid == attempt.uid && (is_newest || is_ahead)
            });
            if open && !told_otherwise {
                self.work.expected.push(Expected {
                    key,
                    state,
                    by: (shim.marker, report.sequence),
                });
            }
        }
    }

    pub(super) fn settle_expected(&mut self) {
        for Expected {
            key,
            state,
            by: (marker, sequence),
        } in std::mem::take(&mut self.work.expected)
        {
            let cursor = self.ahead.get(&key.0).and_then(|record| record.reports);
            let applied = cursor.is_some_and(|cursor| cursor.marker == marker && cursor.sequence >= sequence);
            let is = self.work.ahead.get(&key).map(|record| record.state);
            if applied && is.is_some_and(|is| is != state) {
                let what = format!("{} of {} has ended {state}, and is {is:?}", key.1, key.0);
                self.fail(Invariant::I11, what);
            }
        }
    }
}
