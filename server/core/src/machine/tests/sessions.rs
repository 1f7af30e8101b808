//! Sessions: what a shim tells when it is back, and reports that come more than once.

use rekindle::execution::Delivery;

use super::*;
use crate::effect::Disconnect;

#[test]
fn an_exit_while_the_server_was_away_is_recovered_from_once() {
    let mut world = World::running();
    world.restart_server();
    world.told();
    let exited = world.numbered(
        1,
        ended(
            ExitStatus::Signaled {
                signal: 9,
                core_dumped: false,
            },
            EndedBy::Itself,
        ),
    );
    let back = Inventory {
        last_incarnation: Incarnation::new(1),
        reports: vec![exited],
        ..Inventory::default()
    };
    world.connect_with(hello("a", 1), back.clone());
    assert_eq!(world.told(), "AGENT_CRASHED RECOVERY_STARTED AGENT_STARTING");
    assert_eq!(world.commands(), run(2));
    // The acknowledgement was lost, and so was the command: everything is told again.
    world.disconnect();
    world.connect_with(hello("a", 1), back);
    assert_eq!(world.told(), "");
    assert_eq!(world.commands(), run(2));
    assert_eq!(world.agent().budget.attempts, 1);
}

#[test]
fn a_report_out_of_order_ends_the_stream() {
    let mut world = World::running();
    world.sequence += 1;
    world.exit(1, 1);
    assert!(world.effects.iter().any(|e| matches!(
        e,
        Effect::Disconnect {
            cause: Disconnect::Protocol(_),
            ..
        }
    )));
    assert_eq!(world.state(), AgentState::Running);
}

#[test]
fn a_life_without_its_process_ends_the_stream_where_messages_have_none() {
    for (delivery, taken) in [
        (Delivery::None, false),
        (Delivery::Pull, false),
        (Delivery::PerMessage, true),
    ] {
        let mut world = World::new();
        world.connect(Hello {
            delivery,
            ..hello("a", 1)
        });
        world.report(1, ReportFact::Spawned(None));
        let cut = world.effects.iter().any(|effect| {
            matches!(
                effect,
                Effect::Disconnect {
                    cause: Disconnect::Protocol(_),
                    ..
                }
            )
        });
        assert_eq!((cut, world.agent().process.is_some()), (!taken, taken), "{delivery}");
    }
}

#[test]
fn late_words_of_a_replaced_stream_do_nothing() {
    let mut world = World::running();
    let child = Some(world.child(1));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    world.told();
    world.step(Input::SessionClosed {
        session: SessionId(1),
        last_heard: MonoTime::START,
    });
    let report = world.numbered(1, ended(ExitStatus::Exited(1), EndedBy::Itself));
    world.step(Input::ShimReported {
        session: SessionId(1),
        report,
    });
    world.pass(1000);
    assert_eq!((world.state(), world.told()), (AgentState::Running, String::new()));
}

#[test]
fn a_server_with_an_older_store_adopts_what_runs() {
    let mut world = World::new();
    let child = Some(world.child(7));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(7),
            ..Inventory::default()
        },
    );
    assert_eq!(
        (world.state(), world.agent().incarnation),
        (AgentState::Running, Incarnation::new(7))
    );
    assert_eq!(world.commands(), []);
}

#[test]
fn force_after_an_order_leaves_nothing_running_in_sight() {
    let mut world = World::running();
    world.disconnect();
    world.restart(|_| ());
    assert_eq!(world.state(), AgentState::Running);
    world.restart(|run| run.force = Force::Yes);
    assert_eq!(world.state(), AgentState::Starting);
}

#[test]
fn a_policy_that_comes_by_hello_is_acted_on() {
    let mut world = World::new();
    world.connect(Hello {
        policy: policy(|p| p.restart = rekindle::policy::RestartPolicy::Never),
        ..hello("a", 1)
    });
    world.spawn(1);
    world.exit(1, 1);
    world.commands();
    world.disconnect();
    world.connect_with(
        hello("a", 2),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(world.commands(), run(2));
}

#[test]
fn attempts_are_given_back_after_a_server_restart_too() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.restart_server();
    let child = Some(world.child(2));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(2),
            ..Inventory::default()
        },
    );
    world.pass(600 + 15);
    assert_eq!(world.agent().budget.attempts, 0);
}
