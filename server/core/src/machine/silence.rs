//! Silence: a shim's lease runs out, and then its agent's `heartbeat_timeout`. Nothing is restarted for it (I4).

use rekindle::id::AgentId;
use rekindle::state::{AgentState, FailureCause};

use super::Timer;
use super::step::{Step, attributes};
use crate::claim::Admission;
use crate::effect::DeadlineReason;
use crate::record::{AgentRecord, StateReason};

impl Step<'_> {
    /// The shim's lease has run out.
    pub(super) fn silent(&mut self, id: &AgentId) {
        let agent = self.find(id).expect("timers are of agents that exist");
        let record = &agent.record;
        if is_rebooted(record) {
            return self.gone_with_host(id);
        }
        let last_heard = agent.last_heard;
        let host = record
            .holder
            .as_ref()
            .map_or_else(String::new, |holder| holder.host.name.clone());
        match record.state {
            AgentState::Starting | AgentState::Running | AgentState::Stopping => {}
            // It was heard, and said nothing of its child.
            AgentState::Unreachable => return self.await_word(id),
            AgentState::Pending
            | AgentState::Crashed
            | AgentState::Stopped
            | AgentState::Terminated
            | AgentState::Quarantined => return,
        }
        let millis = self.now.mono.saturating_since(last_heard).as_millis();
        self.enter(
            id,
            AgentState::Unreachable,
            StateReason::LeaseExpired,
            format!("no word from the shim on {host} for {millis} ms; its child is presumed alive"),
            attributes([("silent_ms", &millis), ("host", &host)]),
        );
        self.await_word(id);
    }

    /// An agent that is UNREACHABLE has `heartbeat_timeout` from when its shim was last heard.
    pub(super) fn await_word(&mut self, id: &AgentId) {
        let agent = self.find(id).expect("the caller has an agent that exists");
        let (last_heard, heartbeat_timeout) = (agent.last_heard, agent.record.policy.heartbeat_timeout);
        let at = last_heard
            .saturating_add(heartbeat_timeout.max(self.machine.policy.lease))
            .max(self.now.mono);
        self.machine.set_timer(
            id,
            Some(Timer {
                at,
                reason: DeadlineReason::HeartbeatTimeout,
            }),
        );
    }

    pub(super) fn heartbeat_timed_out(&mut self, id: &AgentId) {
        let agent = self.find(id).expect("timers are of agents that exist");
        // A shim that is welcomed is heard; should it go without a word of its child, the wait begins anew.
        if agent.record.state != AgentState::Unreachable || agent.session.is_some() {
            return;
        }
        if is_rebooted(&agent.record) {
            return self.gone_with_host(id);
        }
        let incarnation = agent.record.incarnation;
        let millis = self.now.mono.saturating_since(agent.last_heard).as_millis();
        let cause = FailureCause::HeartbeatTimeout;
        let message = format!("no word from the shim for {millis} ms; nothing is restarted before it is heard");
        self.set_failure(id, cause, incarnation, &message, None, Vec::new());
        let details = attributes([("cause", &cause), ("silent_ms", &millis)]);
        self.enter(id, AgentState::Crashed, StateReason::Failure(cause), message, details);
    }
}

/// Whether its shim's hello has proven a reboot, and its shim was gone before it said what it holds: that would have been
/// about later lives alone.
fn is_rebooted(record: &AgentRecord) -> bool {
    let unsettled = record.holder.as_ref().and_then(|holder| holder.unsettled.as_ref());
    unsettled.is_some_and(|unsettled| unsettled.admission == Admission::Rebooted)
}
