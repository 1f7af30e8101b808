//! How a session ends: its shim leaves, its stream breaks, or its lease runs out.

use rekindle::id::AgentId;
use rekindle::state::AgentState;
use rekindle::time::MonoTime;

use super::Heard;
use super::life::{End, Lost};
use super::step::{Attributes, Step};
use crate::effect::{Disconnect, Effect, OperationOutcome};
use crate::input::SessionId;
use crate::record::{AgentRecord, Claim, StateReason};

impl Step<'_> {
    pub(super) fn shim_left(&mut self, session: SessionId) {
        let Some(id) = self.speaker(session) else { return };
        let record = self.edit(&id);
        if let Some(holder) = &mut record.holder {
            holder.claim = Claim::Left;
        }
        let (state, newest) = (record.state, record.incarnation);
        let ordered = record.run_order().is_some() && record.process.is_none();
        self.unbind(&id, session, self.now.mono);
        self.then(Effect::Disconnect {
            session,
            cause: Disconnect::Left,
        });
        match state {
            AgentState::Starting | AgentState::Stopping if ordered => {
                // The order is for the next shim; its number was never spawned.
                let message = "the shim left; the order waits for the next one";
                self.enter(
                    &id,
                    AgentState::Starting,
                    StateReason::AwaitingShim,
                    message,
                    Attributes::new(),
                );
                self.answer_waiters(
                    &id,
                    |_| true,
                    OperationOutcome::Pending,
                    "pending: no shim is connected",
                );
            }
            AgentState::Starting | AgentState::Running | AgentState::Stopping => {
                self.life_ended(&id, newest, End::Lost(Lost::ShimStop));
            }
            AgentState::Pending
            | AgentState::Unreachable
            | AgentState::Crashed
            | AgentState::Stopped
            | AgentState::Terminated
            | AgentState::Quarantined => {}
        }
    }

    /// The agent of a stream whose shim has said what it holds.
    pub(super) fn speaker(&self, session: SessionId) -> Option<AgentId> {
        let id = self.machine.sessions.get(&session)?;
        let settled = self.find(id)?.settled()?;
        (settled == session).then(|| id.clone())
    }

    pub(super) fn session_closed(&mut self, session: SessionId, last_heard: MonoTime) {
        let Some(id) = self.machine.sessions.get(&session).cloned() else {
            return;
        };
        self.close(&id, session, last_heard);
    }

    /// A stream is gone; its shim has what is left of the lease to come back.
    pub(super) fn close(&mut self, id: &AgentId, session: SessionId, last_heard: MonoTime) {
        let last_heard = last_heard.max(self.machine.renewed);
        self.unbind(id, session, last_heard);
        if may_fall_silent(self.record(id)) {
            let at = last_heard.saturating_add(self.machine.policy.lease);
            self.machine.set_lease(id, Some(at));
        }
        if self.record(id).state == AgentState::Unreachable {
            self.await_word(id);
        }
    }

    /// A silent shim loses its stream, so that its next hello and inventory are the one way back.
    pub(super) fn lease_expired(&mut self, session: SessionId, last_heard: MonoTime) {
        let Some(id) = self.machine.sessions.get(&session).cloned() else {
            return;
        };
        let last_heard = last_heard.max(self.machine.renewed);
        self.unbind(&id, session, last_heard);
        self.then(Effect::Disconnect {
            session,
            cause: Disconnect::LeaseExpired,
        });
        self.silent(&id);
    }

    fn unbind(&mut self, id: &AgentId, session: SessionId, last_heard: MonoTime) {
        self.machine.sessions.remove(&session);
        let agent = self.agent(id);
        agent.session = None;
        agent.stopped = None;
        agent.last_heard = last_heard;
        agent.heard = Heard::Yes;
        let wall = self.now.wall.saturating_sub(self.now.mono.saturating_since(last_heard));
        if let Some(holder) = &mut self.edit(id).holder {
            holder.last_heard = Some(wall);
        }
        self.signals_lost(session);
    }
}

/// Whether a process may live under a shim that is to be heard from.
pub(super) fn may_fall_silent(record: &AgentRecord) -> bool {
    let held = record.holder.as_ref().is_some_and(|holder| holder.claim == Claim::Held);
    held && match record.state {
        AgentState::Starting | AgentState::Running | AgentState::Stopping => true,
        AgentState::Pending
        | AgentState::Unreachable
        | AgentState::Crashed
        | AgentState::Stopped
        | AgentState::Terminated
        | AgentState::Quarantined => false,
    }
}
