//! What must hold between any two steps.

use rekindle::id::{AgentId, Incarnation};
use rekindle::state::{AgentState, Desired, FailureCause};

use super::{Agent, Machine, Settled};
use crate::record::{Fate, Holder, OperationKind, StateReason};

/// A broken invariant: a bug of the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{agent}: {problem}")]
pub struct Violation {
    /// The agent that it shows in.
    pub agent: AgentId,
    /// What does not hold.
    pub problem: &'static str,
}

impl Machine {
    /// Checks the invariants. For the simulator and for tests: it looks at every agent.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        for (id, agent) in &self.agents {
            let fail = |problem| {
                Err(Violation {
                    agent: id.clone(),
                    problem,
                })
            };
            if let Some(problem) = record_problem(agent) {
                return fail(problem);
            }
            if agent
                .session
                .is_some_and(|session| self.sessions.get(&session.id) != Some(id))
            {
                return fail("its session is not bound to it");
            }
            if let Some(problem) = session_problem(agent) {
                return fail(problem);
            }
            if agent.session.is_some() && agent.lease.is_some() {
                return fail("a lease runs beside an open stream");
            }
            if agent
                .timers()
                .any(|(at, reason)| !self.timers.contains(&(at, reason, id.clone())))
            {
                return fail("a timer is not in the set");
            }
            if agent
                .waiters
                .iter()
                .map(|waiter| waiter.call)
                .chain(agent.work.waiters().iter().map(|waiter| waiter.call))
                .any(|call| self.calls.get(&call) != Some(id))
            {
                return fail("a waiter's call is not known");
            }
            if agent.work.is_unclear() && !self.unclear.contains(id) {
                return fail("what is unclear of its work is not looked at");
            }
            if agent.watched != agent.watches() {
                return fail("what its shim was given is not counted");
            }
            if agent.work_timer != agent.work.first_due() {
                return fail("its work's timer is not its first time");
            }
            if let Some(problem) = agent.work.problem() {
                return fail(problem);
            }
            if let Some(problem) = agent.checkpoints.problem(&agent.record) {
                return fail(problem);
            }
            if !agent
                .waiters
                .iter()
                .all(|waiter| goes_on(agent, waiter.kind, waiter.target))
            {
                return fail("somebody waits for an operation that is over");
            }
            let mut open = agent.requests.iter().filter(|request| request.fate == Fate::Open);
            if !open.all(|request| goes_on(agent, request.kind, request.target)) {
                return fail("a request is open whose operation is over");
            }
        }
        let timers: usize = self.agents.values().map(|agent| agent.timers().count()).sum();
        let waiters: usize = self
            .agents
            .values()
            .map(|a| a.waiters.len() + a.work.waiters().len())
            .sum();
        let watched: usize = self.agents.values().map(|agent| agent.watched).sum();
        let bound = self.agents.values().filter(|agent| agent.session.is_some()).count();
        let counts = self.is_indexed_by_host()
            && timers == self.timers.len()
            && waiters == self.calls.len()
            && watched == self.watched
            && bound == self.sessions.len();
        self.check_workflows()?;
        match self.agents.keys().next() {
            Some(agent) if !counts => Err(Violation {
                agent: agent.clone(),
                problem: "something is indexed that is not there",
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl Machine {
    /// Whether the index of hosts has each agent under its holder's host, and under no other.
    fn is_indexed_by_host(&self) -> bool {
        let held = self
            .agents
            .iter()
            .filter_map(|(id, agent)| Some((id, agent.record.holder.as_ref()?)));
        let indexed: usize = self.hosts.values().map(|host| host.agents.len()).sum();
        let is_there = |(id, holder): (&AgentId, &Holder)| {
            let host = self.hosts.get(&holder.host_key());
            host.is_some_and(|host| host.agents.contains(id))
        };
        held.clone().count() == indexed && held.clone().all(is_there)
    }
}

fn session_problem(agent: &Agent) -> Option<&'static str> {
    let unsettled = agent
        .record
        .holder
        .as_ref()
        .and_then(|holder| holder.unsettled.as_ref());
    match agent.session.map(|session| session.settled) {
        Some(Settled::Yes) if unsettled.is_some() => {
            Some("what its shim holds is known, and still to be concluded from")
        }
        Some(Settled::Yes) if agent.record.state == AgentState::Unreachable => {
            Some("UNREACHABLE, and its shim is heard")
        }
        Some(Settled::No) if unsettled.is_none() => Some("how its shim came to hold it is forgotten"),
        Some(Settled::Yes | Settled::No) | None => None,
    }
}

/// Whether an order of this kind and number is not decided yet.
fn goes_on(agent: &Agent, kind: OperationKind, target: Incarnation) -> bool {
    let (stops, record) = (kind == OperationKind::Stop, &agent.record);
    match &record.operation {
        Some(operation) => (operation.kind == OperationKind::Stop) == stops && operation.target == target,
        // A start that joins what is starting anyway makes no operation of its own.
        None => !stops && record.incarnation == target,
    }
}

fn record_problem(agent: &Agent) -> Option<&'static str> {
    let record = &agent.record;
    let process = record.process.as_ref();
    if process.is_some_and(|process| process.incarnation > record.incarnation) {
        return Some("its process is newer than its newest incarnation");
    }
    let silent = record.reason == StateReason::Failure(FailureCause::HeartbeatTimeout);
    let by_state = match record.state {
        // An order that could not be told to the shim yet leaves the older process in sight.
        AgentState::Running if process.is_none() || (!record.is_spawned() && record.operation.is_none()) => {
            Some("RUNNING without the process of its newest incarnation")
        }
        AgentState::Pending | AgentState::Stopped | AgentState::Terminated if process.is_some() => {
            Some("a process in a state that has none")
        }
        AgentState::Crashed if process.is_some() && !silent => Some("CRASHED with a process that was seen to die"),
        AgentState::Pending
        | AgentState::Starting
        | AgentState::Running
        | AgentState::Unreachable
        | AgentState::Crashed
        | AgentState::Stopping
        | AgentState::Stopped
        | AgentState::Terminated
        | AgentState::Quarantined => None,
    };
    if by_state.is_some() {
        return by_state;
    }
    if record.recovering && record.budget.last_attempt.is_none() && record.budget.attempts > 0 {
        return Some("attempts without a time");
    }
    if record
        .resume
        .as_ref()
        .is_some_and(|resume| resume.incarnation > record.incarnation)
    {
        return Some("it resumes a life that is not numbered");
    }
    match &record.operation {
        Some(operation) if operation.target > record.incarnation => Some("an order for a life that is not numbered"),
        Some(operation) if (operation.kind == OperationKind::Stop) != (record.desired == Desired::Stopped) => {
            Some("an order against what is desired")
        }
        Some(_) | None => None,
    }
}
