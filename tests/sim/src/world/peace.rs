//! After the storm: nothing goes wrong any more, and all must become well in bounded time.

use std::time::Duration;

use rekindle::execution::{Delivery, ExecutionState};
use rekindle::exit::ExitStatus;
use rekindle::id::AgentId;
use rekindle::policy::{RebootPolicy, RestartPolicy};
use rekindle::state::{AgentState, Desired, FailureCause};
use rekindle_server_core::record::{AgentRecord, StateReason};

use super::workflows::TURN_MAX;
use super::{Over, Weather, World};
use crate::host::{Branch, Health, Manners, Role, Up as HostUp};
use crate::oracle::Invariant;
use crate::queue::{Event, HostIx, ShimIx, Uid};
use crate::stream::ServerEnd;
use crate::task::Task;

/// Time in which all must be well: the longest cooldown four times, doubled by backoff to its two minutes, and the
/// longest heartbeat timeout after the adoption window.
const PEACE_MAX: Duration = Duration::from_secs(1200);

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(5);

impl World {
    pub(super) fn calms(&mut self) {
        self.weather = Weather::Calm;
        self.trace.note(self.now, || "-- calm".to_owned());
        let mut last = self.now.max(self.server.stands_still_until());
        for host in 0..self.hosts.len() {
            self.calm_host(HostIx(host));
            let here = &self.hosts[host];
            last = last.max(here.deaf_up).max(here.deaf_down);
            if let HostUp::Sleeps { until, .. } = here.up {
                last = last.max(until);
            }
        }
        for shim in &self.shims {
            last = last.max(
                shim.running
                    .as_ref()
                    .and_then(|running| running.frozen)
                    .unwrap_or_default(),
            );
        }
        self.calm_since = last;
        self.after(LOOK, Event::Probes);
    }

    /// Programs behave from here on. An end that is on its way comes; one that is only in mind does not.
    fn calm_host(&mut self, host: HostIx) {
        let soon = self.now + Duration::from_secs(1);
        let now = self.now;
        let mut hanging: Vec<(Uid, ExitStatus)> = Vec::new();
        let mut ends: Vec<(Uid, ExitStatus)> = Vec::new();
        for process in self.hosts[host.0].processes.values_mut() {
            process.manners = Manners::EndsSoon;
            process.health = Health::Works;
            process.hangs_for = Duration::ZERO;
            match process.dying {
                Some((_, status @ ExitStatus::Signaled { signal: 9, .. })) => {
                    process.dying = Some((now, status));
                    hanging.push((process.uid, status));
                }
                // What works on a message comes to its end all the same, and soon.
                Some((at, status)) if at > soon && process.owner.is_some_and(|owner| owner.branch != Branch::Life) => {
                    process.dying = Some((soon, status));
                    ends.push((process.uid, status));
                }
                Some((at, _)) if at > soon => process.dying = None,
                Some(_) | None => {}
            }
        }
        for (uid, status) in ends {
            self.queue.push(soon, Event::Dies(host, uid, status));
        }
        for (uid, status) in hanging {
            self.queue.push(now, Event::Dies(host, uid, status));
        }
    }

    pub(super) fn probes(&mut self) {
        self.tidy_up();
        self.calm_workflows();
        for nature in 0..self.swarm.agents.len() {
            self.cancel_what_is_held_back(&AgentId::new(&format!("agent-{nature}")).expect("valid"));
        }
        let problem = self.problem();
        match problem {
            None if self.now >= self.calm_since => self.over = Over::Yes,
            Some(problem) if self.now > self.calm_since + PEACE_MAX => {
                self.oracle.fail(Invariant::Convergence, problem);
            }
            Some(_) | None => self.after(LOOK, Event::Probes),
        }
    }

    /// What is not well yet.
    fn problem(&self) -> Option<String> {
        let Some(running) = &self.server.running else {
            return Some("the server does not run".to_owned());
        };
        if !running.calls.is_empty() {
            return Some(format!("{:?} have no answer", running.calls.keys()));
        }
        for nature in 0..self.swarm.agents.len() {
            let agent = AgentId::new(&format!("agent-{nature}")).expect("valid");
            let Some(record) = self.server.disk.agent(&agent) else {
                return Some(format!("{agent} is not known"));
            };
            if let Some(problem) = self.problem_of(record) {
                return Some(format!("{agent}: {problem}; {record:?}"));
            }
        }
        None
    }

    fn problem_of(&self, record: &AgentRecord) -> Option<String> {
        let Some(holder) = self.holder(&record.id) else {
            return Some("no shim is connected".to_owned());
        };
        let outbox = self.shims[holder.0]
            .running
            .as_ref()
            .map_or(0, |shim| shim.supervisor.journal().outbox.len());
        if outbox > 0 {
            return Some(format!("{outbox} reports are not acknowledged"));
        }
        if record.operation.is_some() {
            return Some("an operation is open".to_owned());
        }
        let lives = self.lives(&record.id);
        match may_rest(record) {
            Rests::Running => self
                .problem_of_running(record, holder, lives)
                .or_else(|| self.problem_of_work(&record.id, self.queues(holder))),
            Rests::Down if lives == 0 => self.problem_of_work(&record.id, Queues::Wait),
            Rests::Down => Some(format!("{lives} processes live")),
            Rests::No => Some("it does not rest".to_owned()),
        }
    }

    fn problem_of_running(&self, record: &AgentRecord, holder: ShimIx, lives: usize) -> Option<String> {
        let Some(process) = &record.process else {
            return Some("no process is known".to_owned());
        };
        let Some(identity) = &process.identity else {
            let life = self.shims[holder.0].journal.child.as_ref();
            let lives = life.is_some_and(|life| life.incarnation == record.incarnation && life.process.is_none());
            return (!lives).then(|| "its shim has another life".to_owned());
        };
        let mut children = self
            .hosts
            .iter()
            .flat_map(|host| host.processes.values())
            .filter(|known| {
                known
                    .owner
                    .is_some_and(|owner| owner.role == Role::Child && self.shims[owner.shim.0].agent == record.id)
            });
        match (children.next(), children.next()) {
            (Some(child), None) => {
                let other = child.owner.is_none_or(|owner| owner.incarnation != record.incarnation);
                let unlike = !child.identity.same_process(identity);
                (other || unlike).then(|| format!("another process lives: {child:?}"))
            }
            (None, _) => Some(format!("no child lives, and {lives} others do")),
            (Some(_), Some(_)) => Some("two children live".to_owned()),
        }
    }

    /// What is not well with an agent's work. What waits for an agent that is down waits on.
    fn problem_of_work(&self, agent: &AgentId, queues: Queues) -> Option<String> {
        for record in self.server.disk.executions_of(agent) {
            let waits = record.state == ExecutionState::Queued && queues == Queues::Drain;
            // Workflows go on going off.
            let made = self.oracle.made_since(record);
            let recent = made.is_some_and(|made| self.now.saturating_sub(made.max(self.calm_since)) < TURN_MAX);
            if (waits || record.state.is_held()) && !recent {
                return Some(format!("{record:?}"));
            }
        }
        let goes_on = |task: &&Task| task.agent == *agent && !task.is_over() && !self.is_given_up(task);
        let by_hand = |task: &&Task| {
            let known = self.server.disk.execution_of(agent, &task.attempt);
            known.is_none_or(|record| record.workflow.is_none())
        };
        let task = self.tasks.iter().filter(goes_on).find(by_hand);
        if let Some(task) = task {
            return Some(format!("{task:?} goes on"));
        }
        if queues == Queues::Drain {
            self.problem_of_fires(agent)
        } else {
            None
        }
    }

    /// What was asked of an agent before it was known that it takes no messages waits until it does.
    fn queues(&self, holder: ShimIx) -> Queues {
        match self.swarm.delivery(self.shims[holder.0].nature) {
            Delivery::None => Queues::Wait,
            Delivery::PerMessage | Delivery::Pull | Delivery::Stdin => Queues::Drain,
        }
    }

    /// The shim that the server hears about an agent.
    fn holder(&self, agent: &AgentId) -> Option<ShimIx> {
        (0..self.shims.len()).map(ShimIx).find(|ix| {
            self.shims[ix.0].agent == *agent
                && self
                    .stream_of_shim(*ix)
                    .is_some_and(|stream| self.streams[stream.0].server == ServerEnd::Held)
        })
    }
}

/// Whether an agent's queue is to become empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queues {
    Drain,
    Wait,
}

/// Where an agent may stay for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rests {
    Running,
    Down,
    No,
}

fn may_rest(record: &AgentRecord) -> Rests {
    match (record.desired, record.state, record.reason) {
        (Desired::Running, AgentState::Running, _) => Rests::Running,
        (Desired::Stopped, AgentState::Stopped, _) => Rests::Down,
        (Desired::Running, AgentState::Terminated, _) => Rests::Down,
        (Desired::Running, AgentState::Stopped, StateReason::Finished) => Rests::Down,
        // What was to be repeated under an older policy is not under this one.
        (Desired::Running, AgentState::Stopped, StateReason::Repeat)
            if record.policy.restart != RestartPolicy::Always =>
        {
            Rests::Down
        }
        (Desired::Running, AgentState::Stopped, StateReason::Reboot) => match record.policy.on_reboot {
            RebootPolicy::Stay => Rests::Down,
            RebootPolicy::Start => Rests::No,
        },
        (Desired::Running, AgentState::Crashed, StateReason::Failure(cause))
            if record.policy.restart == RestartPolicy::Never && cause != FailureCause::HeartbeatTimeout =>
        {
            Rests::Down
        }
        (
            Desired::Running,
            AgentState::Pending
            | AgentState::Starting
            | AgentState::Unreachable
            | AgentState::Crashed
            | AgentState::Stopping
            | AgentState::Stopped
            | AgentState::Quarantined,
            _,
        )
        | (
            Desired::Stopped,
            AgentState::Pending
            | AgentState::Starting
            | AgentState::Running
            | AgentState::Unreachable
            | AgentState::Crashed
            | AgentState::Stopping
            | AgentState::Terminated
            | AgentState::Quarantined,
            _,
        ) => Rests::No,
    }
}
