//! A server's core with so many agents that work, as its driver would have it: what it makes durable is kept, as readers
//! keep it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rekindle::execution::{AttemptId, AttemptPhase, Delivery, ExecutionId, HeldAttempt};
use rekindle::host::Host;
use rekindle::id::{AgentId, BootId, Incarnation, Marker, ReportSequence, ShimInstance};
use rekindle::policy::{AgentPolicy, MESSAGE_TIMEOUT_MAX, PolicyFields};
use rekindle::report::{Child, ChildPhase, Hello, HelloOrder, Inventory, Report, ReportFact};
use rekindle::time::{MonoTime, Now, Timestamp};
use rekindle_server_core::effect::{Answer, DeadlineReason, Effect, Outcome};
use rekindle_server_core::event::EventKind;
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::input::{CallId, CancelExecution, CreateExecution, Input, Request, SessionId};
use rekindle_server_core::machine::{Machine, Policy};
use rekindle_server_core::record::{AgentRecord, Record, Records};

/// The life that every agent is in.
const LIFE: Incarnation = Incarnation::new(1);

/// Agents, each with as many executions as it has slots.
pub(super) struct Crowd {
    machine: Machine,
    now: Now,
    agents: Vec<Worker>,
    next_session: u64,
    next_call: u64,
    /// What readers see. That they have it makes the machine copy what it changes.
    agent_records: BTreeMap<AgentId, Arc<AgentRecord>>,
    execution_records: BTreeMap<(AgentId, ExecutionId), Arc<ExecutionRecord>>,
}

/// An agent's shim, and what it works on.
struct Worker {
    agent: AgentId,
    /// Of its host, its directory and itself.
    number: u128,
    slots: u32,
    session: SessionId,
    /// Streams so far.
    streams: u64,
    /// Reports so far.
    reports: u64,
    /// In the order in which they began.
    works_on: Vec<AttemptId>,
}

/// An input whose step is to be measured.
pub(super) struct Prepared(Input);

/// What came of a step, once it is durable.
pub(super) struct Done {
    events: Vec<EventKind>,
    effects: Vec<Effect>,
}

impl Done {
    /// How many events it told of that are of this kind.
    pub(super) fn told(&self, kind: EventKind) -> usize {
        self.events.iter().filter(|told| **told == kind).count()
    }
}

impl Crowd {
    /// One without agents.
    pub(super) fn new() -> Self {
        let now = Now {
            mono: MonoTime::from_nanos(1),
            wall: Timestamp::from_system_time(std::time::SystemTime::now()),
        };
        let policy = Policy::default();
        let (machine, started) = Machine::recover(policy, 1, Records::default(), now);
        let mut crowd = Self {
            machine,
            // Nothing is judged before everybody had the time to come back.
            now: Now {
                mono: now.mono.saturating_add(policy.adoption_window),
                wall: now.wall.saturating_add(policy.adoption_window),
            },
            agents: Vec::new(),
            next_session: 1,
            next_call: 1,
            agent_records: BTreeMap::new(),
            execution_records: BTreeMap::new(),
        };
        crowd.keep(started);
        crowd
    }

    /// Adds an agent, and has it work in all of its slots. Its index; agents are in the order of their ids.
    pub(super) fn add(&mut self, slots: u32) -> anyhow::Result<usize> {
        let index = self.agents.len();
        self.agents.push(Worker {
            agent: AgentId::new(&format!("agent-{index:06}"))?,
            number: index as u128 + 1,
            slots,
            session: SessionId(0),
            streams: 0,
            reports: 0,
            works_on: Vec::new(),
        });
        self.say_hello(index)?;
        let inventory = self.inventory(index, Inventory::default());
        self.step(inventory);
        self.report(index, ReportFact::Spawned(None));
        self.report(index, ReportFact::Ready);
        self.fill(index)?;
        Ok(index)
    }

    /// Has an agent work in those slots that are free.
    pub(super) fn fill(&mut self, index: usize) -> anyhow::Result<()> {
        while self.agents[index].works_on.len() < self.agents[index].slots as usize {
            let create = self.create(index);
            let given = self.step(create).effects.into_iter().find_map(|effect| match effect {
                Effect::Dispatch { attempt, .. } => Some(attempt),
                Effect::Welcome { .. }
                | Effect::Refuse { .. }
                | Effect::Disconnect { .. }
                | Effect::Acknowledge { .. }
                | Effect::CheckpointKept { .. }
                | Effect::Command { .. }
                | Effect::Reply { .. } => None,
            });
            let attempt = given.context("an agent with a free slot was given nothing")?;
            self.report(index, ReportFact::AttemptAccepted(attempt.clone()));
            self.report(index, ReportFact::AttemptStarted(attempt.clone(), None));
            self.agents[index].works_on.push(attempt);
        }
        Ok(())
    }

    /// Has an agent's shim come back without what it worked on.
    pub(super) fn lose_work(&mut self, index: usize) -> anyhow::Result<()> {
        self.agents[index].works_on.clear();
        let inventory = self.come_back(index)?;
        self.step(inventory);
        Ok(())
    }

    /// Has an agent's shim come back; what it has is to be told yet.
    pub(super) fn come_back(&mut self, index: usize) -> anyhow::Result<Prepared> {
        let closed = Input::SessionClosed {
            session: self.agents[index].session,
            last_heard: self.now.mono,
        };
        self.step(Prepared(closed));
        self.say_hello(index)?;
        let held = self.agents[index].works_on.iter().map(|attempt| HeldAttempt {
            attempt: attempt.clone(),
            phase: AttemptPhase::Running,
        });
        let inventory = Inventory {
            last_incarnation: LIFE,
            child: Some(Child {
                incarnation: LIFE,
                process: None,
                phase: ChildPhase::Ready,
            }),
            attempts: held.collect(),
            ..Inventory::default()
        };
        Ok(self.inventory(index, inventory))
    }

    /// Lets time pass until the pass is due.
    pub(super) fn wait_for_pass(&mut self) -> anyhow::Result<Prepared> {
        match self.machine.deadline() {
            Some((at, DeadlineReason::Pass)) => {
                let wait = at.saturating_since(self.now.mono);
                self.now = Now {
                    mono: at,
                    wall: self.now.wall.saturating_add(wait),
                };
                Ok(Prepared(Input::Tick))
            }
            other => bail!("the pass was to be due next, not {other:?}"),
        }
    }

    /// A call for an execution.
    pub(super) fn create(&mut self, index: usize) -> Prepared {
        let agent = self.agents[index].agent.clone();
        self.call(Request::CreateExecution(Box::new(CreateExecution {
            agent,
            id: None,
            message: "benchmark".to_owned(),
            timeout: None,
            schedule_to_start: None,
            priority: 0,
            request_id: None,
            redrive_of: None,
        })))
    }

    /// Takes back what was created by this step, and waits in the queue.
    pub(super) fn take_back(&mut self, done: &Done) -> anyhow::Result<()> {
        let created = done.effects.iter().find_map(|effect| match effect {
            Effect::Reply {
                answer: Answer::Execution(Ok(record)),
                ..
            } => Some(record.clone()),
            Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::CheckpointKept { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        });
        let record = created.context("an execution was refused")?;
        let cancel = self.call(Request::CancelExecution(CancelExecution {
            agent: record.agent.clone(),
            id: record.id.clone(),
            reason: String::new(),
            grace: None,
        }));
        match self.step(cancel).told(EventKind::ExecutionCancelled) {
            1 => Ok(()),
            other => bail!("a cancel of what is queued cancelled {other} executions"),
        }
    }

    /// What is to be measured. Nothing of it is kept before [`Crowd::keep`].
    pub(super) fn decide(&mut self, prepared: Prepared) -> Outcome {
        self.machine.step(self.now, prepared.0)
    }

    /// Has readers see what became durable.
    pub(super) fn keep(&mut self, outcome: Outcome) -> Done {
        let mut events = Vec::new();
        for record in outcome.persist {
            match record {
                Record::Agent(agent) => {
                    self.agent_records.insert(agent.id.clone(), agent);
                }
                Record::Execution(execution) => {
                    let key = (execution.agent.clone(), execution.id.clone());
                    self.execution_records.insert(key, execution);
                }
                Record::Event(event) => events.push(event.kind),
                Record::AgentDeleted(_)
                | Record::EventsTrimmed { .. }
                | Record::Request(_)
                | Record::RequestForgotten { .. }
                | Record::ExecutionMessage { .. }
                | Record::ExecutionOutput { .. }
                | Record::ExecutionForgotten { .. }
                | Record::Workflow(_)
                | Record::WorkflowMessage { .. }
                | Record::FirePayload { .. }
                | Record::FirePayloadForgotten { .. }
                | Record::WorkflowDeleted(_)
                | Record::Checkpoint(_)
                | Record::CheckpointContent { .. }
                | Record::CheckpointForgotten { .. }
                | Record::Host(_)
                | Record::HostForgotten(_) => {}
            }
        }
        Done {
            events,
            effects: outcome.then,
        }
    }

    /// A step that is not measured.
    fn step(&mut self, prepared: Prepared) -> Done {
        let outcome = self.decide(prepared);
        self.keep(outcome)
    }

    /// The agent that was added last.
    pub(super) fn newest(&self) -> Option<usize> {
        self.agents.len().checked_sub(1)
    }

    /// Executions that agents have, as the machine knows them.
    pub(super) fn live(&self) -> usize {
        self.machine
            .executions()
            .filter(|record| record.state.is_held())
            .count()
    }

    fn say_hello(&mut self, index: usize) -> anyhow::Result<()> {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let worker = &mut self.agents[index];
        worker.session = session;
        worker.streams += 1;
        let hello = Box::new(worker.hello()?);
        self.step(Prepared(Input::ShimConnected { session, hello }));
        Ok(())
    }

    fn inventory(&self, index: usize, inventory: Inventory) -> Prepared {
        Prepared(Input::ShimInventoried {
            session: self.agents[index].session,
            inventory: Box::new(inventory),
        })
    }

    fn report(&mut self, index: usize, fact: ReportFact) {
        let worker = &mut self.agents[index];
        worker.reports += 1;
        let report = Report {
            sequence: ReportSequence::new(worker.reports),
            time: self.now.wall,
            incarnation: LIFE,
            fact,
        };
        let session = worker.session;
        self.step(Prepared(Input::ShimReported { session, report }));
    }

    fn call(&mut self, request: Request) -> Prepared {
        let call = CallId(self.next_call);
        self.next_call += 1;
        Prepared(Input::Requested { call, request })
    }
}

impl Worker {
    /// Its messages have the longest time that there is, so that none of them is over while others are looked at.
    fn hello(&self) -> anyhow::Result<Hello> {
        let policy = AgentPolicy::new(PolicyFields {
            message_timeout: MESSAGE_TIMEOUT_MAX,
            max_concurrent: self.slots,
            ..PolicyFields::default()
        })?;
        Ok(Hello {
            agent: self.agent.clone(),
            shim_version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: ShimInstance::from_u128(self.number),
            host: Host {
                name: format!("host-of-{}", self.agent),
                machine_id: Some(format!("{:032x}", self.number)),
                boot_id: BootId::from_u128(self.number),
            },
            marker: Marker::from_u128(self.number),
            labels: BTreeMap::new(),
            policy,
            fence_after: None,
            order: HelloOrder {
                life: 1,
                stream: self.streams,
            },
            launch: None,
            delivery: Delivery::PerMessage,
        })
    }
}
