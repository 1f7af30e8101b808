//! What is done about an execution whose time has come: the second line behind the shim, which keeps the times itself.

use std::time::Duration;

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::AgentId;
use rekindle::session::{Command, EndWhen};
use rekindle::state::FailureCause;

use super::super::step::{Step, attributes};
use crate::effect::{Disconnect, Effect};
use crate::execution::{Ending, ExecutionRecord};
use crate::record::Failure;

/// Time that a shim has for its own timers, and to tell of what they did, before the server asks for the end itself.
const WATCH_MARGIN: Duration = Duration::from_secs(5);

/// Time between two looks of a shim at an attempt whose time is over by the server's clock, and which it has not ended.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Time between two requests for the same end. The second one goes without grace.
const END_AGAIN: Duration = Duration::from_secs(5);

/// Most executions of one agent that are looked at in one step, so that its batch stays small.
const DUE_PER_STEP: usize = 64;

impl Step<'_> {
    /// Looks at those executions of an agent whose time has come, each alone.
    pub(in super::super) fn work_due(&mut self, agent: &AgentId) {
        let now = self.now.mono;
        let due: Vec<ExecutionId> = self
            .work(agent)
            .due
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, id)| id.clone())
            .take(DUE_PER_STEP)
            .collect();
        for id in due {
            self.work(agent).set_due(&id, None);
            self.execution_due(agent, &id);
        }
        self.machine.rearm_work(agent);
    }

    fn execution_due(&mut self, agent: &AgentId, id: &ExecutionId) {
        let record = self.execution(agent, id);
        match record.state {
            ExecutionState::Queued => self.not_started(agent, id),
            ExecutionState::Dispatched => self.not_accepted(agent),
            ExecutionState::Accepted if record.ending.is_none() => self.not_begun(agent, id),
            ExecutionState::Running if record.ending.is_none() => self.overdue(agent, id),
            ExecutionState::Accepted | ExecutionState::Running => self.order_end(agent, id, Some(Duration::ZERO)),
            ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::Cancelled
            | ExecutionState::TimedOut
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => {}
        }
    }

    /// It is too late to begin. Whether it has begun its shim knows: it gives it back if not.
    fn not_begun(&mut self, agent: &AgentId, id: &ExecutionId) {
        let (attempt, grace, when) = (self.execution(agent, id).newest(), None, EndWhen::NotBegun);
        // A shim that is away is asked when it is back.
        if self
            .command(agent, Command::EndAttempt { attempt, grace, when })
            .is_some()
        {
            let again = self.now.mono.saturating_add(LOOK_AGAIN);
            self.set_execution_due(agent, id, Some(again));
        }
    }

    pub(super) fn not_started(&mut self, agent: &AgentId, id: &ExecutionId) {
        let (now, incarnation) = (self.now.wall, self.record(agent).incarnation);
        let message = "it did not start within its schedule_to_start_timeout";
        let cause = FailureCause::QueueTimeout;
        self.edit_execution(agent, id).failure = Some(Failure {
            cause,
            message: message.to_owned(),
            time: now,
            incarnation,
            evidence: None,
            survivors: Vec::new(),
        });
        self.enter_execution(
            agent,
            id,
            ExecutionState::TimedOut,
            message,
            attributes([("cause", &cause)]),
        );
    }

    /// Its time is over, by the server's clock. The shim's decides, which stands still while the agent is blocked, for as
    /// long as that may last.
    fn overdue(&mut self, agent: &AgentId, id: &ExecutionId) {
        let now = self.now.mono;
        if self.find(agent).and_then(|found| found.settled()).is_none() {
            // Nobody knows. It is watched anew when its shim is back.
            return;
        }
        let at_last = self.work(agent).must_end(id).unwrap_or(now);
        if at_last <= now {
            return self.ask_for_end(agent, id, Ending::OutOfTime);
        }
        let (attempt, when) = (self.execution(agent, id).newest(), EndWhen::Overdue);
        let grace = None;
        self.command(agent, Command::EndAttempt { attempt, grace, when });
        self.set_execution_due(agent, id, Some(now.saturating_add(LOOK_AGAIN).min(at_last)));
    }

    /// The shim has the message, or has not: what it says when it connects again decides.
    fn not_accepted(&mut self, agent: &AgentId) {
        let Some(session) = self.find(agent).and_then(|found| found.settled()) else {
            return;
        };
        // It is there until the stream is cut, which waits for the commit: its lease counts from what was heard last by then.
        self.then(Effect::Disconnect {
            session,
            cause: Disconnect::Overdue,
        });
    }

    /// Has an attempt ended that its agent has. It keeps its slot until its shim says that nothing of it is left.
    pub(super) fn ask_for_end(&mut self, agent: &AgentId, id: &ExecutionId, ending: Ending) {
        let grace = ending.grace();
        self.edit_execution(agent, id).ending = Some(ending);
        self.order_end(agent, id, grace);
    }

    /// Tells the shim to end it, if it is there; else it is told when it is back.
    pub(super) fn order_end(&mut self, agent: &AgentId, id: &ExecutionId, grace: Option<Duration>) {
        let record = self.execution(agent, id);
        let (attempt, when) = (record.newest(), end_when(record));
        if self
            .command(agent, Command::EndAttempt { attempt, grace, when })
            .is_none()
        {
            return;
        }
        self.await_end_of(agent, id, grace);
    }

    /// Sets the time at which an end that was asked for is asked for again.
    pub(super) fn await_end_of(&mut self, agent: &AgentId, id: &ExecutionId, grace: Option<Duration>) {
        if self.execution(agent, id).state == ExecutionState::Dispatched {
            // A stream keeps its order: the shim has got the attempt and this request, or neither, and has the grace of the
            // dispatch to say that it has the attempt.
            return;
        }
        let grace = grace.unwrap_or(self.record(agent).policy.stop_grace);
        let at = self.now.mono.saturating_add(grace).saturating_add(END_AGAIN);
        self.set_execution_due(agent, id, Some(at));
    }

    /// Sets the time at which an attempt that has just begun is looked at: it may have been cancelled before.
    pub(super) fn watch_begun(&mut self, agent: &AgentId, id: &ExecutionId) {
        self.watch(agent, id);
        if let Some(Ending::Cancelled { grace, .. }) = self.execution(agent, id).ending {
            self.await_end_of(agent, id, grace);
        }
    }

    /// Sets the time at which a running attempt should have been ended by its shim.
    pub(super) fn watch(&mut self, agent: &AgentId, id: &ExecutionId) {
        let grace = self.record(agent).policy.stop_grace;
        let blocked_limit = self.record(agent).policy.blocked_limit;
        let record = self.execution(agent, id);
        let limit = record.timeout.saturating_add(grace).saturating_add(WATCH_MARGIN);
        let at = self.now.mono.saturating_add(limit);
        self.work(agent).set_must_end(id, at.saturating_add(blocked_limit));
        self.set_execution_due(agent, id, Some(at));
    }
}

/// An operator's order ends what has begun, with the life that works on it; what has not goes to the next life.
fn end_when(record: &ExecutionRecord) -> EndWhen {
    match (record.state, &record.ending) {
        (ExecutionState::Accepted, Some(Ending::Interrupted(_))) => EndWhen::NotBegun,
        (_, _) => EndWhen::Now,
    }
}
