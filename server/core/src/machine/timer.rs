//! Timers: at most one lease, one for its work and one other per agent, in one ordered set. A query, never an effect.

use rekindle::id::AgentId;
use rekindle::time::MonoTime;

use super::{Agent, Machine, Timer};
use crate::effect::DeadlineReason;

impl Machine {
    /// Arms, moves or (`None`) disarms what an agent's state waits for.
    pub(super) fn set_timer(&mut self, id: &AgentId, timer: Option<Timer>) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let old = std::mem::replace(&mut agent.timer, timer);
        self.swap(id, old, timer);
    }

    /// Arms, moves or (`None`) disarms the lease of an agent whose stream has ended.
    pub(super) fn set_lease(&mut self, id: &AgentId, at: Option<MonoTime>) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let timer = |at| Timer {
            at,
            reason: DeadlineReason::Lease,
        };
        let old = std::mem::replace(&mut agent.lease, at).map(timer);
        self.swap(id, old, at.map(timer));
    }

    /// Takes the earliest timer that is due.
    pub(super) fn take_due(&mut self, now: MonoTime) -> Option<(DeadlineReason, AgentId)> {
        let (at, reason, id) = self.timers.first()?.clone();
        if at > now {
            return None;
        }
        match reason {
            DeadlineReason::Lease => self.set_lease(&id, None),
            DeadlineReason::Work => {
                // It is set anew once all that is due was looked at.
                if let Some(agent) = self.agents.get_mut(&id) {
                    agent.work_timer = None;
                }
                self.timers.remove(&(at, reason, id.clone()));
            }
            DeadlineReason::Recovery
            | DeadlineReason::StartTimeout
            | DeadlineReason::Stable
            | DeadlineReason::HeartbeatTimeout
            | DeadlineReason::Pass
            | DeadlineReason::Workflow => self.set_timer(&id, None),
        }
        Some((reason, id))
    }

    pub(super) fn swap(&mut self, id: &AgentId, old: Option<Timer>, new: Option<Timer>) {
        if old == new {
            return;
        }
        if let Some(Timer { at, reason }) = old {
            self.timers.remove(&(at, reason, id.clone()));
        }
        if let Some(Timer { at, reason }) = new {
            self.timers.insert((at, reason, id.clone()));
        }
    }
}

impl Agent {
    /// The timers that this agent should have in the set.
    pub(super) fn timers(&self) -> impl Iterator<Item = (MonoTime, DeadlineReason)> {
        let lease = self.lease.map(|at| (at, DeadlineReason::Lease));
        let work = self.work_timer.map(|at| (at, DeadlineReason::Work));
        lease
            .into_iter()
            .chain(work)
            .chain(self.timer.map(|timer| (timer.at, timer.reason)))
    }
}
