//! Automatic recovery: when the next attempt comes, how it begins, and when the budget is whole again.

use std::time::Duration;

use rekindle::id::AgentId;
use rekindle::recovery::{Budget, Spends, Verdict};
use rekindle::state::AgentState;
use rekindle::time::Timestamp;

use super::step::{Attributes, Step, attributes};
use super::{Due, Timer};
use crate::effect::DeadlineReason;
use crate::event::EventKind;
use crate::record::StateReason;

impl Step<'_> {
    /// Decides when the recovery tries again, if it does.
    pub(super) fn plan_recovery(&mut self, id: &AgentId) {
        let record = self.record(id);
        let (budget, max, incarnation) = (record.budget, record.policy.max_attempts, record.incarnation);
        match record.recovery_verdict() {
            None | Some(Verdict::LeftToOperators) => self.call_off(id),
            Some(Verdict::Finished) => {
                let message = "the policy no longer repeats the work";
                self.enter(
                    id,
                    AgentState::Stopped,
                    StateReason::Finished,
                    message,
                    Attributes::new(),
                );
            }
            Some(Verdict::Exhausted) => {
                let used = attributes([("attempts", &budget.attempts), ("max_attempts", &max)]);
                let message = format!("{} of {max} attempts are used", budget.attempts);
                self.event(
                    EventKind::RecoveryExhausted,
                    Some(id),
                    incarnation,
                    message,
                    used.clone(),
                );
                let reason = self.record(id).reason;
                self.enter(
                    id,
                    AgentState::Terminated,
                    reason,
                    "parked until an operator acts",
                    used,
                );
            }
            Some(Verdict::Hopeless) => {
                let reason = self.record(id).reason;
                let message = "no restart can help; parked until an operator acts";
                self.enter(id, AgentState::Terminated, reason, message, Attributes::new());
            }
            Some(Verdict::Restart { at, spends }) => self.schedule(id, at, spends),
        }
    }

    fn call_off(&mut self, id: &AgentId) {
        let waits = |timer: Timer| timer.reason == DeadlineReason::Recovery;
        if self.agent(id).timer.is_some_and(waits) {
            self.machine.set_timer(id, None);
        }
        self.agent(id).due = Due::NotYet;
    }

    fn schedule(&mut self, id: &AgentId, at: Timestamp, spends: Spends) {
        let record = self.record(id);
        let pause = record.recovery_pause();
        let attempted = self.find(id).and_then(|agent| agent.attempted);
        let wait = pause.left(at, self.now, attempted);
        if wait.is_zero() {
            self.machine.set_timer(id, None);
            self.agent(id).due = Due::Now;
            return;
        }
        let (budget, max, incarnation) = (record.budget, record.policy.max_attempts, record.incarnation);
        let at = self.now.mono.saturating_add(wait);
        self.machine.set_timer(
            id,
            Some(Timer {
                at,
                reason: DeadlineReason::Recovery,
            }),
        );
        self.agent(id).due = Due::NotYet;
        let seconds = wait.as_secs_f64();
        let attempt = match spends {
            Spends::Attempt => budget.attempts + 1,
            Spends::Nothing => budget.attempts,
        };
        let what = match spends {
            Spends::Attempt => format!("attempt {attempt} of {max} begins"),
            Spends::Nothing => "an attempt that spends nothing begins".to_owned(),
        };
        self.event(
            EventKind::RecoveryScheduled,
            Some(id),
            incarnation,
            format!("{what} in {seconds:.1} s"),
            attributes([
                ("attempt", &attempt),
                ("max_attempts", &max),
                ("wait_ms", &wait.as_millis()),
            ]),
        );
    }

    pub(super) fn recovery_due(&mut self, id: &AgentId) {
        self.agent(id).due = Due::Now;
        self.pursue_recovery(id);
    }

    /// Begins what is due, if a shim is there. Called for each agent that a step touched.
    pub(super) fn pursue_recovery(&mut self, id: &AgentId) {
        let Some(agent) = self.find(id) else { return };
        if agent.due == Due::NotYet || agent.settled().is_none() {
            return;
        }
        let Some(Verdict::Restart { spends, .. }) = agent.record.recovery_verdict() else {
            return;
        };
        let now = self.now;
        let record = self.edit(id);
        record.incarnation = record.unbegun().unwrap_or_else(|| record.next_incarnation());
        let incarnation = record.incarnation;
        let reason = match record.state {
            AgentState::Pending => StateReason::FirstStart,
            AgentState::Stopped => record.reason,
            AgentState::Crashed
            | AgentState::Starting
            | AgentState::Running
            | AgentState::Unreachable
            | AgentState::Stopping
            | AgentState::Terminated
            | AgentState::Quarantined => StateReason::Recovery,
        };
        if spends == Spends::Attempt {
            record.budget.attempts += 1;
        }
        let paced = spends == Spends::Attempt || reason == StateReason::Repeat;
        if paced {
            record.budget.last_attempt = Some(now.wall);
        }
        let message = format!("incarnation {incarnation} is ordered");
        if reason == StateReason::Recovery {
            record.recovering = true;
            let (attempt, max) = (record.budget.attempts, record.policy.max_attempts);
            let text = match spends {
                Spends::Attempt => format!("attempt {attempt} of {max} begins"),
                Spends::Nothing => "an attempt that spends nothing begins".to_owned(),
            };
            let numbers = attributes([("attempt", &attempt), ("max_attempts", &max)]);
            self.event(EventKind::RecoveryStarted, Some(id), incarnation, text, numbers);
        }
        if paced {
            self.agent(id).attempted = Some(now.mono);
        }
        self.enter(id, AgentState::Starting, reason, message, Attributes::new());
        self.order_run(id);
    }

    /// An agent that has spent attempts must run for long before its budget is whole again. Whose lease has not run out a
    /// lease later was heard since.
    pub(super) fn await_stable(&mut self, id: &AgentId) {
        let idle = self.find(id).is_some_and(|agent| agent.timer.is_none());
        let record = self.record(id);
        if idle && record.state == AgentState::Running && record.budget != Budget::default() {
            let stable = self.now.mono.saturating_add(record.policy.stable_after);
            let at = stable.saturating_add(self.machine.policy.lease);
            let reason = DeadlineReason::Stable;
            self.machine.set_timer(id, Some(Timer { at, reason }));
        }
    }

    /// The agent has run long enough for its budget to be whole again, if its shim is there to say that it runs.
    pub(super) fn stable(&mut self, id: &AgentId) {
        let Some(agent) = self.find(id) else { return };
        if agent.record.state != AgentState::Running {
            return;
        }
        if agent.settled().is_some() {
            self.edit(id).budget = Budget::default();
            return;
        }
        // Within the lease either the shim is back, with the same process or without, or the agent is UNREACHABLE.
        let at = self.now.mono.saturating_add(self.machine.policy.lease);
        let reason = DeadlineReason::Stable;
        self.machine.set_timer(id, Some(Timer { at, reason }));
    }

    /// A life has ended. Its shim's word counts where it ran long enough for the budget to be whole again, and was not
    /// watched for so long.
    pub(super) fn was_stable(&mut self, id: &AgentId, uptime: Duration) {
        if uptime >= self.record(id).policy.stable_after {
            self.edit(id).budget = Budget::default();
            self.agent(id).attempted = None;
        }
    }
}
