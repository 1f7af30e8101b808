//! Workflows: what makes executions for agents, and the runners that are armed while their agents are there.
//!
//! ```text
//!  interval, cron, one-shot ──┐            enabled, and the agent RUNNING:
//!  TriggerWorkflow, webhook ──┼─> a fire ──────────────────────────────────> an execution, QUEUED
//!  an agent's event ──────────┤   durable  \── by misfire, overlap, a limit ─> skipped
//!  another one's end ─────────┘             \─ past expires_after ───────────> expired
//! ```
//!
//! A fire is durable with the event that tells of it, and waits in its workflow's record until the commit that makes an
//! execution of it, skips it or has it expire (I10). A runner is not stored: it is armed exactly while its workflow is
//! enabled and its agent RUNNING, however the agent came to be that, and what it works on is those of its executions that go
//! on. An index by agent finds the workflows that a turn of an agent's life is about.
//!
//! Intervals are counted by the monotonic clock. What goes by the wall clock waits for a time of that clock, so that a clock
//! that is set moves no timer: set on, the times between have passed, and the misfire policy is for them; set back, no time
//! through the newest that fired comes again.

mod arm;
mod change;
mod check;
mod due;
mod fire;
mod index;
mod load;
mod reply;
mod run;
mod trigger;

pub(super) use reply::Flow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, FireNumber, RequestId};
use rekindle::time::{MonoTime, Now, Timestamp};
use rekindle::workflow::{FireKey, WorkflowId};

use super::Machine;
use super::step::Step;
use crate::effect::{Deadline, DeadlineReason};
use crate::workflow::WorkflowRecord;

/// Most workflows: one for each agent that the design aims at.
pub(super) const WORKFLOWS_MAX: usize = 100_000;

/// Most workflows of one agent: each of them has an event when the agent comes or goes, in one commit.
pub(super) const WORKFLOWS_OF_AGENT_MAX: usize = 10_000;

/// Most workflows that wait for the events of one agent, or for the ends of one other's executions: each of them fires in the
/// commit of what it waits for.
pub(super) const WAITING_FOR_ONE_MAX: usize = 1_000;

/// Most bytes of the messages of all workflows, and of the payloads of the fires that wait. They are held in memory, as a
/// fire needs them in the step that it goes in.
pub(super) const TEXTS_MAX_BYTES: usize = 256 * 1024 * 1024;

/// Time between two looks at the wall clock while something waits for a time of it: what a clock that was set on is noticed
/// too late by, at most.
const CLOCK_LOOK: Duration = Duration::from_secs(30);

/// A time that is taken up later than this is late, and its fire a misfire: more than a server's restart takes.
const LATE_MIN: Duration = Duration::from_secs(60);

/// How far past the wall clock what a schedule has gone through may lie: a day, by which a clock of the wrong zone or half of
/// the day is off, and an hour. What lies further was gone through by a clock that was wrong.
const AHEAD_MAX: Duration = Duration::from_secs(25 * 3600);

/// How much less the wall clock may move on than the other one, before it is looked at what it was wrong about: more than a
/// clock is slewed by between two looks.
const SET_BACK_MIN: Duration = Duration::from_secs(1);

/// Most workflows whose time has come that one step looks at, and most runners that go on in one, so that a step's batch
/// stays small. The others' turn comes at once.
const WORKFLOWS_PER_STEP: usize = 256;

/// Most bytes of messages that the runners of one step hand on, but for the last: as much as a batch of the server's takes.
const TEXT_PER_STEP_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Every workflow, and what waits for what.
#[derive(Debug)]
pub(super) struct Workflows {
    all: BTreeMap<WorkflowId, Workflow>,
    /// Which ones are for which agent.
    of_agent: BTreeMap<AgentId, BTreeSet<WorkflowId>>,
    /// Which ones wait for the events of which agent.
    watching: BTreeMap<AgentId, BTreeSet<WorkflowId>>,
    /// Which ones wait for the ends of which other one's executions.
    following: BTreeMap<WorkflowId, BTreeSet<WorkflowId>>,
    /// Those whose agent did not take their next execution, in the order in which it is offered again.
    blocked: BTreeMap<AgentId, BTreeSet<(Timestamp, WorkflowId)>>,
    /// Which request made which.
    requests: BTreeMap<RequestId, WorkflowId>,
    /// Those that wait for a time of the monotonic clock.
    timers: BTreeSet<(MonoTime, WorkflowId)>,
    /// Those that wait for a time of the wall clock.
    walls: BTreeSet<(Timestamp, WorkflowId)>,
    /// Both clocks, as they were read last.
    clocks: Now,
    /// Whether the wall clock may have been wrong before: it was set back, or an earlier life of the server had read it.
    was_wrong: bool,
    /// Bytes of all messages and payloads.
    text_bytes: usize,
}

#[derive(Debug)]
struct Workflow {
    record: Arc<WorkflowRecord>,
    message: Arc<str>,
    payloads: BTreeMap<FireNumber, Arc<str>>,
    /// When it goes off next, of an interval.
    next: Option<MonoTime>,
    /// When it goes off next, of a cron or a one-shot.
    wall: Option<Timestamp>,
    /// When which of its fires expires.
    expiries: BTreeMap<FireNumber, MonoTime>,
    /// When its runner goes on, where a step had no room for it.
    again: Option<MonoTime>,
    /// The first of these times.
    timer: Option<MonoTime>,
    /// Its place among the blocked.
    blocked: Option<Timestamp>,
    /// Its executions that go on.
    live: BTreeSet<(AgentId, ExecutionId)>,
    /// Its executions that go on or have SUCCEEDED, by the keys of their fires.
    keys: BTreeSet<(FireKey, AgentId, ExecutionId)>,
}

impl Workflows {
    pub(super) const fn new(now: Now) -> Self {
        Self {
            all: BTreeMap::new(),
            of_agent: BTreeMap::new(),
            watching: BTreeMap::new(),
            following: BTreeMap::new(),
            blocked: BTreeMap::new(),
            requests: BTreeMap::new(),
            timers: BTreeSet::new(),
            walls: BTreeSet::new(),
            clocks: now,
            was_wrong: true,
            text_bytes: 0,
        }
    }

    /// Both clocks are read with each step.
    pub(super) fn look_at_clocks(&mut self, now: Now) {
        let passed = now.mono.saturating_since(self.clocks.mono);
        let expected = self.clocks.wall.saturating_add(passed);
        self.was_wrong |= expected.saturating_since(now.wall) > SET_BACK_MIN;
        self.clocks = now;
    }

    /// When the machine must be woken for a workflow. A time of the wall clock comes when that clock says so, which is
    /// looked at again and again.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let wall = self.walls.first().map(|(at, _)| {
            let wait = at.saturating_since(self.clocks.wall).min(CLOCK_LOOK);
            self.clocks.mono.saturating_add(wait)
        });
        let wall = wall.map(|at| if self.was_wrong { self.clocks.mono } else { at });
        let timer = self.timers.first().map(|(at, _)| *at);
        let first = wall.into_iter().chain(timer).min()?;
        Some((first, DeadlineReason::Workflow))
    }
}

impl Machine {
    /// Every workflow's record, as it will be once all outcomes are durable, in the order of ids.
    pub fn workflows(&self) -> impl Iterator<Item = &Arc<WorkflowRecord>> {
        self.workflows.all.values().map(|workflow| &workflow.record)
    }
}

impl Step<'_> {
    fn workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        self.machine.workflows.all.get(id)
    }

    /// A workflow's record, to change: it will be persisted.
    fn edit_workflow(&mut self, id: &WorkflowId) -> &mut WorkflowRecord {
        self.flow.touched.insert(id.clone());
        let workflow = self.machine.workflows.all.get_mut(id);
        let workflow = workflow.expect("a step looks up the workflows it was handed, and deletes none of them");
        Arc::make_mut(&mut workflow.record)
    }

    /// Whether a workflow that is enabled would fire: its agent is RUNNING.
    fn is_up(&self, agent: &AgentId) -> bool {
        let found = self.find(agent);
        found.is_some_and(|found| found.record.state == rekindle::state::AgentState::Running)
    }
}
