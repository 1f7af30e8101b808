//! Lives without a process of their own: those of agents that have a process for each message.

use rekindle::execution::Delivery;
use rekindle::exit::ExitStatus;

use super::*;
use crate::effect::OperationOutcome;
use crate::input::SignalRequest;
use crate::record::{AgentProcess, StateReason};

fn hello_in(boot: u128, instance: u128) -> Hello {
    let mut hello = hello("a", instance);
    hello.delivery = Delivery::PerMessage;
    hello.host.boot_id = BootId::from_u128(boot);
    hello
}

impl World {
    /// A world in which incarnation 1 of `a` takes messages.
    fn taking_messages() -> Self {
        let mut world = Self::new();
        world.connect(hello_in(1, 1));
        world.commands();
        world.told();
        world.begin(1);
        assert_eq!(world.told(), "AGENT_STARTED AGENT_READY");
        world
    }

    fn begin(&mut self, incarnation: u64) {
        self.report(incarnation, ReportFact::Spawned(None));
        self.report(incarnation, ReportFact::Ready);
    }

    /// The shim takes no more messages, as it was told.
    fn gives_up(&mut self, incarnation: u64) {
        self.report(incarnation, ended(ExitStatus::Unknown, EndedBy::Command));
    }

    /// All that the shim has.
    fn holds(&self, incarnation: u64, phase: ChildPhase) -> Inventory {
        Inventory {
            last_incarnation: Incarnation::new(incarnation),
            child: Some(Child {
                incarnation: Incarnation::new(incarnation),
                process: None,
                phase,
            }),
            ..Inventory::default()
        }
    }

    fn life(&self, incarnation: u64) -> Option<AgentProcess> {
        Some(AgentProcess {
            incarnation: Incarnation::new(incarnation),
            identity: None,
            host: "host-a".into(),
        })
    }
}

#[test]
fn it_is_there_from_run_to_stop() {
    let mut world = World::taking_messages();
    assert_eq!(
        (world.state(), world.agent().process.clone()),
        (AgentState::Running, world.life(1))
    );
    assert!(world.agent().is_ready() && world.agent().is_spawned());
    let call = world.stop();
    assert_eq!(world.state(), AgentState::Stopping);
    assert!(matches!(world.commands()[..], [Command::Stop { .. }]));
    world.gives_up(1);
    assert_eq!(
        (world.state(), world.agent().process.clone()),
        (AgentState::Stopped, None)
    );
    let answer = world.answer(call).expect("answered").expect("stopped");
    assert_eq!(answer.outcome, OperationOutcome::Completed);
}

#[test]
fn a_restart_replaces_it_without_a_crash() {
    let mut world = World::taking_messages();
    let call = world.restart(|_| ());
    assert_eq!(world.commands(), run(2));
    world.gives_up(1);
    world.begin(2);
    assert_eq!(
        world.told(),
        "AGENT_STOPPING AGENT_STARTING AGENT_STARTED AGENT_READY AGENT_RESTARTED"
    );
    let answer = world.answer(call).expect("answered").expect("restarted");
    assert_eq!(answer.outcome, OperationOutcome::Completed);
    assert_eq!(world.agent().process, world.life(2));
    assert_eq!((world.agent().budget.attempts, &world.agent().last_failure), (0, &None));
}

#[test]
fn what_the_shim_says_when_it_is_back_decides() {
    for (phase, state, told, incarnation) in [
        (Some(ChildPhase::Ready), AgentState::Running, "", 1),
        (Some(ChildPhase::Starting), AgentState::Starting, "AGENT_STARTING", 1),
        (Some(ChildPhase::Stopping), AgentState::Stopping, "AGENT_STOPPING", 1),
        (
            None,
            AgentState::Starting,
            "AGENT_CRASHED RECOVERY_STARTED AGENT_STARTING",
            2,
        ),
    ] {
        let mut world = World::taking_messages();
        world.disconnect();
        let inventory = match phase {
            Some(phase) => world.holds(1, phase),
            None => Inventory {
                last_incarnation: Incarnation::new(1),
                ..Inventory::default()
            },
        };
        world.connect_with(hello_in(1, 1), inventory);
        let happened = (world.state(), world.told(), world.agent().incarnation.get());
        assert_eq!(happened, (state, told.to_owned(), incarnation), "{phase:?}");
    }
}

#[test]
fn it_is_unreachable_with_its_shim_and_back_with_it() {
    let mut world = World::taking_messages();
    world.disconnect();
    world.pass(16);
    assert_eq!(
        (world.state(), world.agent().process.clone()),
        (AgentState::Unreachable, world.life(1))
    );
    world.connect_with(hello_in(1, 1), world.holds(1, ChildPhase::Ready));
    assert_eq!(world.told(), "AGENT_UNREACHABLE AGENT_RECONNECTED");
    assert_eq!(
        (world.state(), world.agent().process.clone()),
        (AgentState::Running, world.life(1))
    );
}

#[test]
fn a_restart_of_the_server_restarts_none_of_it() {
    let mut world = World::taking_messages();
    world.restart_server();
    world.connect_with(hello_in(1, 1), world.holds(1, ChildPhase::Ready));
    assert_eq!(world.told(), "SERVER_STARTED");
    assert_eq!(world.commands(), []);
    assert_eq!(world.agent().process, world.life(1));
}

#[test]
fn it_is_gone_with_a_reboot() {
    let mut world = World::taking_messages();
    world.disconnect();
    world.pass(16);
    world.told();
    world.connect_with(
        hello_in(2, 2),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(
        world.told(),
        "HOST_REBOOTED AGENT_TAKEN_OVER AGENT_STOPPED AGENT_STARTING"
    );
    world.begin(2);
    assert_eq!(
        (world.state(), world.agent().process.clone()),
        (AgentState::Running, world.life(2))
    );
    assert_eq!(world.agent().reason, StateReason::None);
}

#[test]
fn it_gets_no_signal() {
    let mut world = World::taking_messages();
    world.commands();
    let call = world.request(Request::Signal(SignalRequest {
        agent: AgentId::new("a").expect("valid"),
        expected_incarnation: None,
        signal: 10,
    }));
    let why = world.effects.iter().find_map(|effect| match effect {
        Effect::Reply {
            call: answered,
            answer: Answer::Signalled(Err(error)),
        } if *answered == call => Some(error.to_string()),
        Effect::Reply { .. }
        | Effect::Welcome { .. }
        | Effect::Refuse { .. }
        | Effect::Disconnect { .. }
        | Effect::Acknowledge { .. }
        | Effect::CheckpointKept { .. }
        | Effect::Dispatch { .. }
        | Effect::Command { .. } => None,
    });
    assert!(why.is_some_and(|why| why.contains("CancelExecution")));
    assert_eq!(world.commands(), []);
}
