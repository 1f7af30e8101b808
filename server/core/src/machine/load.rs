//! From records to a machine: what a server's start makes of what an earlier one left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rekindle::id::{Incarnation, Sequence};
use rekindle::recovery::Verdict;
use rekindle::state::AgentState;
use rekindle::time::Now;

use super::session::may_fall_silent;
use super::step::{Step, attributes};
use super::workflow::Workflows;
use super::{Agent, Due, Heard, Machine, Overdue, Policy, PolicyTold, Session, Settled, Timer, Verdicts};
use crate::effect::{DeadlineReason, Outcome};
use crate::event::EventKind;
use crate::input::SessionId;
use crate::record::Records;

impl Machine {
    /// Builds a machine from what is durable. `seed` is all the randomness that it will ever have.
    ///
    /// Restarts nobody: whoever may live has the adoption window to be reported, and only then counts as silent.
    pub fn recover(policy: Policy, seed: u64, records: Records, now: Now) -> (Self, Outcome) {
        let (first_event, last_event) = records.events.unwrap_or((Sequence::ZERO, Sequence::ZERO));
        let mut machine = Self {
            policy,
            rng: fastrand::Rng::with_seed(seed),
            agents: BTreeMap::new(),
            hosts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            calls: BTreeMap::new(),
            signals: BTreeMap::new(),
            timers: BTreeSet::new(),
            next_command: 1,
            workflows: Workflows::new(now),
            pass: None,
            verdicts: Verdicts::Passed,
            unclear: BTreeSet::new(),
            watched: 0,
            renewed: now.mono,
            adopts_until: now.mono.saturating_add(policy.adoption_window.max(policy.lease)),
            first_event,
            last_event,
        };
        for record in records.agents {
            let id = record.id.clone();
            if let Some(holder) = &record.holder {
                let host = machine.hosts.entry(holder.host_key()).or_default();
                host.agents.insert(id.clone());
            }
            machine.agents.insert(id, Agent::new(Arc::new(record), now));
        }
        for record in records.hosts {
            if let Some(host) = machine.hosts.get_mut(&record.key) {
                host.record = Some(Arc::new(record));
            }
        }
        let mut requests = records.requests;
        requests.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.id.cmp(&b.id)));
        for request in requests {
            if let Some(agent) = machine.agents.get_mut(&request.agent) {
                agent.requests.push_back(Arc::new(request));
            }
        }
        for record in records.executions {
            if let Some(agent) = machine.agents.get_mut(&record.agent) {
                agent.work.recover(Arc::new(record), now);
            }
        }
        for record in records.checkpoints {
            if let Some(agent) = machine.agents.get_mut(&record.agent) {
                agent.checkpoints.insert(Arc::new(record));
            }
        }
        machine.recover_workflows(records.workflows, records.workflow_messages, records.fire_payloads, now);
        for id in machine.agents.keys().cloned().collect::<Vec<_>>() {
            machine.rearm(&id, now);
            machine.rearm_work(&id);
        }
        let agents = machine.agents.len();
        let mut step = Step::new(&mut machine, now);
        step.event(
            EventKind::ServerStarted,
            None,
            Incarnation::ZERO,
            format!("the server started with {agents} agents"),
            attributes([("agents", &agents)]),
        );
        let outcome = step.finish();
        (machine, outcome)
    }

    /// Timers are facts of the record, not records: they are derived anew.
    fn rearm(&mut self, id: &rekindle::id::AgentId, now: Now) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let record = agent.record.clone();
        match record.state {
            AgentState::Starting | AgentState::Running | AgentState::Stopping if may_fall_silent(&record) => {
                let window = self.policy.adoption_window.max(self.policy.lease);
                self.set_lease(id, Some(now.mono.saturating_add(window)));
            }
            AgentState::Unreachable => {
                let window = self.policy.adoption_window.max(record.policy.heartbeat_timeout);
                let at = now.mono.saturating_add(window);
                self.set_timer(
                    id,
                    Some(Timer {
                        at,
                        reason: DeadlineReason::HeartbeatTimeout,
                    }),
                );
            }
            AgentState::Pending | AgentState::Crashed | AgentState::Stopped => {
                let Some(Verdict::Restart { at, .. }) = record.recovery_verdict() else {
                    return;
                };
                // The wall clock may have jumped while no server ran: the wait is never longer than it is in full.
                let left = at.saturating_since(now.wall).min(record.recovery_pause().full());
                if left.is_zero() {
                    agent.due = Due::Now;
                } else {
                    let at = now.mono.saturating_add(left);
                    self.set_timer(
                        id,
                        Some(Timer {
                            at,
                            reason: DeadlineReason::Recovery,
                        }),
                    );
                }
            }
            AgentState::Starting
            | AgentState::Running
            | AgentState::Stopping
            | AgentState::Terminated
            | AgentState::Quarantined => {}
        }
    }
}

impl Agent {
    /// The stream on which its shim can be told what to do.
    pub(super) fn settled(&self) -> Option<SessionId> {
        match self.session {
            Some(Session {
                id,
                settled: Settled::Yes,
            }) => Some(id),
            Some(Session {
                settled: Settled::No, ..
            })
            | None => None,
        }
    }

    pub(super) fn new(record: Arc<crate::record::AgentRecord>, now: Now) -> Self {
        Self {
            record,
            session: None,
            charged: None,
            policy: PolicyTold::Yes,
            heard: Heard::No,
            rests: Vec::new(),
            stopped: None,
            last_heard: now.mono,
            lease: None,
            timer: None,
            due: Due::NotYet,
            overdue: Overdue::No,
            attempted: None,
            waiters: Vec::new(),
            work: super::work::Work::default(),
            checkpoints: super::checkpoint::Checkpoints::default(),
            work_timer: None,
            watched: 0,
            requests: VecDeque::new(),
        }
    }
}
