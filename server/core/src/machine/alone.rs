//! What a shim did by itself while the server was gone, as far as it tells.

use rekindle::id::{AgentId, Incarnation};
use rekindle::recovery::Budget;
use rekindle::report::{Report, ReportFact};
use rekindle::session::{CommandId, Wanted};
use rekindle::state::{AgentState, Desired};
use rekindle::time::Timestamp;

use super::life::{SameBoot, is_over};
use super::operation::{is_up, may_be_starting};
use super::step::{Attributes, Step, attributes};
use crate::event::EventKind;
use crate::input::SessionId;
use crate::record::{Claim, Fate, OperationKind, StateReason};

/// What is told of a stop that is done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) message: String,
    pub(super) details: Attributes,
}

impl Step<'_> {
    /// The shim begins nothing alone any more. A stop of what was down is done by that.
    pub(super) fn shim_confirmed(&mut self, session: SessionId, command: CommandId) {
        let Some(id) = self.machine.sessions.get(&session).cloned() else {
            return;
        };
        if !self.agent(&id).rests.contains(&command) {
            return;
        }
        self.agent(&id).rests.clear();
        let record = self.edit(&id);
        if let Some(holder) = &mut record.holder {
            holder.goes_by = Wanted::Rest;
        }
        let stops = record
            .operation
            .as_ref()
            .is_some_and(|operation| operation.kind == OperationKind::Stop);
        let lives = record.state == AgentState::Quarantined || record.process.is_some() || may_be_starting(record);
        // A life may have been seen since, of which the end is still to be told.
        let is_done = record.desired == Desired::Stopped && record.process.is_none();
        match self.agent(&id).stopped.take().filter(|_| is_done) {
            Some(done) => self.stopped(&id, done, SameBoot::Yes),
            None if stops && !lives => {
                let done = Done {
                    message: "stopped by an operator; nothing ran".to_owned(),
                    details: Attributes::new(),
                };
                self.stopped(&id, done, SameBoot::Yes);
            }
            None => {}
        }
    }

    /// Nothing lives, and nothing shall. Done once the shim's word is there that it begins nothing alone: what it said
    /// before may have waited here for long, and its stream be gone.
    pub(super) fn stopped(&mut self, id: &AgentId, done: Done, boot: SameBoot) {
        let holder = self.record(id).holder.as_ref();
        let goes_on = holder.is_some_and(|holder| holder.claim == Claim::Held && holder.goes_by == Wanted::Run);
        if goes_on && boot == SameBoot::Yes {
            if is_up(self.record(id).state) {
                let message = format!("{}; its shim's word that nothing follows is waited for", done.message);
                self.enter(
                    id,
                    AgentState::Stopping,
                    StateReason::Operator,
                    message,
                    Attributes::new(),
                );
            }
            self.agent(id).stopped = Some(done);
            return;
        }
        let Done { message, details } = done;
        self.enter(id, AgentState::Stopped, StateReason::Operator, message.clone(), details);
        self.finish_operation(id, Fate::Completed(message));
    }

    /// What was ordered while the shim was alone is about the lives, too, that the shim has begun meanwhile.
    pub(super) fn order_anew(&mut self, id: &AgentId, reports: &[Report]) {
        let alone = |report: &Report| matches!(report.fact, ReportFact::Recovering { .. });
        let Some(newest) = reports
            .iter()
            .filter(|report| alone(report))
            .map(|r| r.incarnation)
            .max()
        else {
            return;
        };
        let Some(operation) = &self.record(id).operation else {
            return;
        };
        let old = operation.target;
        if old > newest {
            return;
        }
        match operation.kind {
            OperationKind::Restart | OperationKind::Start => {
                let next = self.record(id).next_incarnation().max(newest.next());
                self.renumber_order(id, next);
            }
            OperationKind::Stop => {
                if let Some(operation) = &mut self.edit(id).operation {
                    operation.target = newest;
                }
                self.retarget(id, |kind, target| kind == OperationKind::Stop && target == old, newest);
            }
        }
    }

    /// The shim, being without a server, has begun a life by the policy.
    pub(super) fn recovering_alone(&mut self, id: &AgentId, incarnation: Incarnation, attempts: u32, at: Timestamp) {
        let record = self.record(id);
        let lives = record
            .process
            .as_ref()
            .is_some_and(|process| process.incarnation >= incarnation);
        let target = record
            .operation
            .as_ref()
            .map(|operation| (operation.kind, operation.target));
        if lives || (target.is_none() && incarnation < record.incarnation) {
            return;
        }
        let budget = Budget {
            attempts,
            last_attempt: Some(at),
        };
        if incarnation <= record.incarnation && is_over(record) {
            // Told again, or ended by a reboot that another shim told of.
            return;
        }
        if incarnation == record.incarnation && target.is_none() {
            // What the server had ordered under this number did not arrive; either of them is the one attempt.
            if record.state == AgentState::Starting && attempts > record.budget.attempts {
                self.edit(id).budget = budget;
            }
            return;
        }
        let max = record.policy.max_attempts;
        let text = format!("its shim began attempt {attempts} of {max} by itself, the server being gone");
        let mut numbers = attributes([("attempt", &attempts), ("max_attempts", &max), ("by", &"shim")]);
        numbers.extend(self.lateness());
        self.event(EventKind::RecoveryStarted, Some(id), incarnation, text.clone(), numbers);
        let wanted = self.record(id).desired == Desired::Running;
        match target {
            Some((OperationKind::Restart | OperationKind::Start, _)) => {
                self.enter(id, AgentState::Stopping, StateReason::Operator, text, Attributes::new());
            }
            Some((OperationKind::Stop, _)) | None if !wanted => {
                let record = self.edit(id);
                record.incarnation = record.incarnation.max(incarnation);
                self.enter(id, AgentState::Stopping, StateReason::Operator, text, Attributes::new());
            }
            Some((OperationKind::Stop, _)) | None => {
                let record = self.edit(id);
                record.incarnation = incarnation;
                record.budget = budget;
                record.recovering = true;
                self.agent(id).attempted = None;
                self.enter(id, AgentState::Starting, StateReason::Recovery, text, Attributes::new());
            }
        }
    }
}
