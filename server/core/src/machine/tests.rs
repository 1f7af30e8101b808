//! Scenarios: a machine, a clock, and what shims and operators do to it.

mod alone;
mod checkpoints;
mod classes;
mod inventories;
mod kept;
mod matrix;
mod operations;
mod per_message;
mod quarantines;
mod reboots;
mod recoveries;
mod sessions;
mod silence;
mod takeovers;
mod work;
mod workflows;

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::checkpoint::{Resumption, RunContext};
use rekindle::execution::ExecutionId;
use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus};
use rekindle::host::Host;
use rekindle::id::{
    AgentId, BootId, ExecutionUid, FireNumber, Incarnation, Marker, ReportSequence, RequestId, ShimInstance,
};
use rekindle::policy::{AgentPolicy, PolicyFields};
use rekindle::process::ProcessIdentity;
use rekindle::report::{Child, ChildPhase, Hello, Inventory, Report, ReportFact};
use rekindle::session::{Charge, Command, CommandId, Wanted};
use rekindle::state::AgentState;
use rekindle::time::{MonoTime, Now, Timestamp};
use rekindle::workflow::WorkflowId;

use super::{Machine, Policy};
use crate::effect::{Answer, Effect, OperationAnswer, Outcome, RequestError};
use crate::input::{CallId, DeleteRequest, Force, Input, Request, RunRequest, SessionId, StopRequest, Unless, Wait};
use crate::record::{AgentRecord, Claim, Context, Holder, OperationKind, Record, Records};

/// The hello of a fresh shim of `agent`; `life` tells its instances apart.
pub(crate) fn hello(agent: &str, life: u128) -> Hello {
    Hello {
        agent: AgentId::new(agent).expect("valid"),
        shim_version: "0.1.0".into(),
        instance: ShimInstance::from_u128(life),
        host: Host {
            name: "host-a".into(),
            machine_id: Some("machine-a".into()),
            boot_id: BootId::from_u128(1),
        },
        marker: Marker::from_u128(1),
        labels: BTreeMap::new(),
        policy: AgentPolicy::default(),
        fence_after: None,
        order: rekindle::report::HelloOrder::default(),
        launch: None,
        delivery: rekindle::execution::Delivery::None,
    }
}

/// A record that the shim of `hello` holds.
pub(crate) fn held_by(hello: &Hello) -> AgentRecord {
    AgentRecord {
        holder: Some(Holder {
            instance: hello.instance,
            host: hello.host.clone(),
            marker: hello.marker,
            shim_version: hello.shim_version.clone(),
            fence_after: hello.fence_after,
            stop_grace_max: hello.policy.stop_grace,
            order: hello.order,
            connected: Timestamp::UNIX_EPOCH,
            last_heard: None,
            claim: Claim::Held,
            launch: None,
            unsettled: None,
            goes_by: Wanted::Rest,
            delivery: hello.delivery,
        }),
        ..AgentRecord::unborn(hello.agent.clone(), Timestamp::UNIX_EPOCH)
    }
}

fn process(pid: u32) -> ProcessIdentity {
    ProcessIdentity {
        boot_id: BootId::from_u128(1),
        pid,
        pidfd_inode: Some(u64::from(pid) + 1000),
        start_time_ticks: 5,
        start_time: Timestamp::UNIX_EPOCH,
    }
}

fn ended(status: ExitStatus, ended_by: EndedBy) -> ReportFact {
    ReportFact::Exited(Box::new(ExitEvidence {
        status,
        ended_by,
        oom_killed: false,
        uptime: Duration::from_secs(1),
        user_time: Duration::ZERO,
        system_time: Duration::ZERO,
        max_rss_kib: 100,
        stderr_tail: String::new(),
        stdout_tail: String::new(),
        asked_save: rekindle::checkpoint::AskedSave::NotAsked,
    }))
}

/// One agent, `a`, and its world. Every step checks the machine, and keeps what became durable.
struct World {
    machine: Machine,
    now: Now,
    records: Records,
    /// Kinds of the events since they were last taken.
    events: Vec<String>,
    /// Of the server; the randomness of each is another.
    lives: u64,
    /// How often a workflow's record was written.
    writes: usize,
    /// Which workflows were made, in their order.
    uids: Vec<rekindle::id::WorkflowUid>,
    /// All events.
    log: Vec<std::sync::Arc<crate::event::Event>>,
    /// What the newest event says.
    says: String,
    /// How late those of them were told that were told late: their kinds, and milliseconds.
    late: Vec<(String, String)>,
    effects: Vec<Effect>,
    /// The newest command by which the shim of the newest session begins nothing alone.
    rests: Vec<CommandId>,
    next: u64,
    sequence: u64,
    /// What executions ask for, in the order in which they were made.
    messages: Vec<String>,
    /// What the shims were last given under each name.
    given: BTreeMap<ExecutionId, ExecutionUid>,
}

impl World {
    fn new() -> Self {
        let now = Now {
            mono: MonoTime::from_nanos(1),
            wall: Timestamp::from_unix_nanos(1_000_000_000_000_000_000),
        };
        let (machine, outcome) = Machine::recover(Policy::default(), 1, Records::default(), now);
        let mut world = Self {
            machine,
            now,
            records: Records::default(),
            events: Vec::new(),
            lives: 1,
            writes: 0,
            uids: Vec::new(),
            log: Vec::new(),
            says: String::new(),
            late: Vec::new(),
            effects: Vec::new(),
            rests: Vec::new(),
            next: 1,
            sequence: 0,
            messages: Vec::new(),
            given: BTreeMap::new(),
        };
        world.take(outcome);
        world.events.clear();
        world
    }

    /// A world in which incarnation 1 of `a` runs under the shim of session 1.
    fn running() -> Self {
        let mut world = Self::new();
        world.connect(hello("a", 1));
        world.spawn(1);
        world.events.clear();
        world.effects.clear();
        world
    }

    fn take(&mut self, outcome: Outcome) {
        self.machine.check().expect("the machine's invariants hold");
        for record in outcome.persist {
            self.keep(record);
        }
        for effect in &outcome.then {
            if let Effect::Command {
                id,
                command:
                    Command::Stop { .. }
                    | Command::Charge(Charge {
                        wanted: Wanted::Rest, ..
                    }),
                ..
            } = effect
            {
                self.rests.push(*id);
            }
            if let Effect::Dispatch { attempt, .. } = effect {
                self.given.insert(attempt.execution.clone(), attempt.uid);
            }
        }
        self.effects.extend(outcome.then);
    }

    /// The shim of the newest session confirms that it begins nothing alone.
    fn confirm(&mut self) {
        let session = self.last_session();
        assert!(!self.rests.is_empty(), "it was told so");
        for command in std::mem::take(&mut self.rests) {
            self.step(Input::ShimConfirmed { session, command });
        }
    }

    fn delete(&mut self, agent: &str) -> Option<Result<(), RequestError>> {
        let call = self.request(Request::Delete(DeleteRequest {
            agent: AgentId::new(agent).expect("valid"),
            etag: None,
            force: Force::No,
        }));
        self.effects.iter().find_map(|effect| match effect {
            Effect::Reply {
                call: answered,
                answer: Answer::Deleted(answer),
            } if *answered == call => Some(answer.clone()),
            Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::CheckpointKept { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        })
    }

    fn step(&mut self, input: Input) {
        let outcome = self.machine.step(self.now, input);
        self.take(outcome);
    }

    fn pass(&mut self, seconds: u64) {
        let by = Duration::from_secs(seconds);
        self.now = Now {
            mono: self.now.mono.saturating_add(by),
            wall: self.now.wall.saturating_add(by),
        };
        while self.machine.deadline().is_some_and(|(at, _)| at <= self.now.mono) {
            self.step(Input::Tick);
        }
    }

    /// The server dies and starts again with what was durable.
    fn restart_server(&mut self) {
        self.now.mono = MonoTime::from_nanos(1);
        self.lives += 1;
        let (machine, outcome) = Machine::recover(Policy::default(), self.lives, self.records.clone(), self.now);
        self.machine = machine;
        self.effects.clear();
        self.take(outcome);
    }

    /// A shim says hello, and then that it holds nothing.
    fn connect(&mut self, hello: Hello) -> SessionId {
        self.connect_with(hello, Inventory::default())
    }

    /// A shim says hello, and then what it holds.
    fn connect_with(&mut self, hello: Hello, inventory: Inventory) -> SessionId {
        let session = self.greet(hello);
        self.inventory(inventory);
        session
    }

    /// The shim of the newest session says what it holds.
    fn inventory(&mut self, inventory: Inventory) {
        self.step(Input::ShimInventoried {
            session: self.last_session(),
            inventory: Box::new(inventory),
        });
    }

    /// A shim says hello, and nothing more.
    fn greet(&mut self, hello: Hello) -> SessionId {
        let session = SessionId(self.next);
        self.next += 1;
        self.step(Input::ShimConnected {
            session,
            hello: Box::new(hello),
        });
        session
    }

    fn last_session(&self) -> SessionId {
        SessionId(self.next - 1)
    }

    fn disconnect(&mut self) {
        let (session, last_heard) = (self.last_session(), self.now.mono);
        self.step(Input::SessionClosed { session, last_heard });
    }

    fn numbered(&mut self, incarnation: u64, fact: ReportFact) -> Report {
        self.sequence += 1;
        Report {
            sequence: ReportSequence::new(self.sequence),
            time: self.now.wall,
            incarnation: Incarnation::new(incarnation),
            fact,
        }
    }

    /// A shim reports, which has confirmed what it was told before.
    fn report(&mut self, incarnation: u64, fact: ReportFact) {
        if !self.rests.is_empty() {
            self.confirm();
        }
        let report = self.numbered(incarnation, fact);
        self.step(Input::ShimReported {
            session: self.last_session(),
            report,
        });
    }

    fn spawn(&mut self, incarnation: u64) {
        self.report(
            incarnation,
            ReportFact::Spawned(Some(process(u32::try_from(incarnation).expect("small")))),
        );
        self.report(incarnation, ReportFact::Ready);
    }

    fn exit(&mut self, incarnation: u64, code: i32) {
        self.report(incarnation, ended(ExitStatus::Exited(code), EndedBy::Itself));
    }

    fn child(&self, incarnation: u64) -> Child {
        Child {
            incarnation: Incarnation::new(incarnation),
            process: Some(process(u32::try_from(incarnation).expect("small"))),
            phase: ChildPhase::Ready,
        }
    }

    fn request(&mut self, request: Request) -> CallId {
        let call = CallId(self.next_call());
        self.step(Input::Requested { call, request });
        call
    }

    fn next_call(&self) -> u64 {
        1 + self.effects.len() as u64 + 1000 * self.records.requests.len() as u64 + self.machine.calls.len() as u64 * 7
    }

    fn restart(&mut self, change: impl FnOnce(&mut RunRequest)) -> CallId {
        let mut run = RunRequest {
            agent: AgentId::new("a").expect("valid"),
            kind: OperationKind::Restart,
            reason: String::new(),
            request_id: None,
            expected_incarnation: None,
            grace: None,
            unless: Unless::Never,
            force: Force::No,
            context: Context::Resume,
            wait: Wait::Ready,
        };
        change(&mut run);
        self.request(Request::Run(run))
    }

    fn stop(&mut self) -> CallId {
        self.request(Request::Stop(StopRequest {
            agent: AgentId::new("a").expect("valid"),
            reason: String::new(),
            request_id: None,
            expected_incarnation: None,
            grace: None,
            wait: Wait::Ready,
        }))
    }

    fn agent(&self) -> &AgentRecord {
        self.machine.records().next().expect("the agent is known")
    }

    fn state(&self) -> AgentState {
        self.agent().state
    }

    /// The events since they were last taken.
    fn told(&mut self) -> String {
        std::mem::take(&mut self.events).join(" ")
    }

    /// The commands since they were last taken.
    fn commands(&mut self) -> Vec<Command> {
        let taken = std::mem::take(&mut self.effects);
        let (commands, others) = taken
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Command { .. }));
        self.effects = others;
        let commands: Vec<Effect> = commands;
        commands
            .into_iter()
            .filter_map(|effect| {
                // What a shim is to go by alone comes with nearly everything.
                if let Effect::Command { command, .. } = effect
                    && !matches!(command, Command::Charge(_))
                {
                    Some(command)
                } else {
                    None
                }
            })
            .collect()
    }

    /// The answer to an operation's call, if it was answered.
    fn answer(&self, call: CallId) -> Option<Result<OperationAnswer, RequestError>> {
        self.effects.iter().find_map(|effect| {
            let Effect::Reply {
                call: answered,
                answer: Answer::Operation(answer),
            } = effect
            else {
                return None;
            };
            (*answered == call).then(|| answer.clone())
        })
    }
}

fn run(incarnation: u64) -> Vec<Command> {
    run_after(incarnation, 0)
}

/// An order to run of a shim that had the agent before another one: what its lives through this one save is late.
fn run_after(incarnation: u64, late_through: u64) -> Vec<Command> {
    vec![Command::Run {
        incarnation: Incarnation::new(incarnation),
        grace: None,
        context: RunContext::Resume(Box::new(Resumption {
            late_through: Incarnation::new(late_through),
            ..Resumption::default()
        })),
    }]
}

fn policy(change: impl FnOnce(&mut PolicyFields)) -> AgentPolicy {
    let mut fields = PolicyFields::default();
    change(&mut fields);
    AgentPolicy::new(fields).expect("valid")
}

fn request_id(id: &str) -> Option<RequestId> {
    Some(RequestId::new(id).expect("valid"))
}
