//! Crashes, budgets, and what follows an end that nobody asked for.

use super::*;
use crate::input::{Missing, UpdateMode, UpdateRequest};
use rekindle::policy::RestartPolicy;
use rekindle::report::Survivor;

#[test]
fn a_first_hello_starts_the_agent() {
    let mut world = World::new();
    world.connect(hello("a", 1));
    assert_eq!(world.told(), "AGENT_REGISTERED AGENT_STARTING");
    assert!(
        matches!(world.effects.first(), Some(Effect::Welcome { .. })),
        "the welcome comes before any command"
    );
    assert_eq!(world.commands(), run(1));
    world.spawn(1);
    assert_eq!(world.told(), "AGENT_STARTED AGENT_READY");
    assert_eq!(world.state(), AgentState::Running);
}

#[test]
fn three_attempts_then_terminated_and_still_so_after_a_server_restart() {
    let mut world = World::running();
    world.exit(1, 3);
    assert_eq!(
        world.told(),
        "AGENT_CRASHED RECOVERY_STARTED AGENT_STARTING",
        "the first attempt comes at once"
    );
    assert_eq!(world.commands(), run(2));
    world.spawn(2);
    assert_eq!(world.told(), "AGENT_STARTED AGENT_READY RECOVERY_SUCCEEDED");
    for incarnation in 2..=3 {
        world.exit(incarnation, 3);
        assert_eq!(world.told(), "AGENT_CRASHED RECOVERY_SCHEDULED");
        world.pass(59);
        assert_eq!(world.commands(), [], "not before the cooldown has passed");
        world.pass(1);
        assert_eq!(world.commands(), run(incarnation + 1));
        world.spawn(incarnation + 1);
        world.told();
    }
    world.exit(4, 3);
    assert_eq!(world.told(), "AGENT_CRASHED RECOVERY_EXHAUSTED AGENT_TERMINATED");
    world.restart_server();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(4),
            ..Inventory::default()
        },
    );
    world.pass(100_000);
    assert_eq!(world.state(), AgentState::Terminated);
    assert_eq!(world.commands(), []);
    assert_eq!(world.agent().budget.attempts, 3);
}

#[test]
fn a_server_that_dies_between_attempts_goes_on_with_the_next() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.exit(2, 1);
    world.pass(20);
    world.told();
    world.restart_server();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(2),
            ..Inventory::default()
        },
    );
    assert_eq!(world.commands(), [], "the cooldown goes on over the restart");
    world.pass(39);
    assert_eq!(world.commands(), []);
    world.pass(1);
    assert_eq!(world.commands(), run(3));
    assert_eq!(world.agent().budget.attempts, 2);
}

#[test]
fn an_attempt_whose_command_was_lost_is_given_again_and_spends_once() {
    let mut world = World::running();
    world.exit(1, 1);
    assert_eq!(world.agent().budget.attempts, 1);
    world.restart_server();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(world.commands(), run(2));
    assert_eq!(world.agent().budget.attempts, 1);
}

#[test]
fn stable_after_gives_the_budget_back() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.pass(600 + 14);
    assert_eq!(
        world.agent().budget.attempts,
        1,
        "it may have been silent for nearly a lease"
    );
    world.pass(1);
    assert_eq!(world.agent().budget.attempts, 0);
    world.commands();
    world.exit(2, 1);
    assert_eq!(world.commands(), run(3), "at once again");
}

#[test]
fn a_shims_word_that_a_life_was_stable_gives_the_budget_back() {
    for (uptime, attempts) in [(599, 1), (600, 0)] {
        let mut world = World::running();
        world.exit(1, 1);
        world.spawn(2);
        let mut exit = ended(ExitStatus::Exited(1), EndedBy::Itself);
        if let ReportFact::Exited(evidence) = &mut exit {
            evidence.uptime = Duration::from_secs(uptime);
        }
        world.commands();
        world.report(2, exit);
        assert_eq!(world.commands(), if attempts == 0 { run(3) } else { vec![] });
    }
}

#[test]
fn pauses_of_the_server_make_no_budget_whole() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.pass(600 + 14);
    world.step(Input::Paused {
        gap: Duration::from_secs(1),
    });
    world.pass(14);
    assert_eq!(world.agent().budget.attempts, 1, "the lease began anew with the pause");
    world.pass(1);
    assert_eq!(world.agent().budget.attempts, 0);
}

#[test]
fn ends_that_are_no_failures() {
    let mut world = World::running();
    world.exit(1, 0);
    assert_eq!(
        (world.state(), world.agent().reason.as_str()),
        (AgentState::Stopped, "exit:clean")
    );
    world.pass(10_000);
    assert_eq!(world.commands(), []);

    let mut world = World::new();
    world.connect(Hello {
        policy: policy(|p| p.restart = RestartPolicy::Always),
        ..hello("a", 1)
    });
    world.spawn(1);
    world.commands();
    world.exit(1, 0);
    assert_eq!(world.commands(), run(2), "the first repeat comes at once");
    world.spawn(2);
    world.exit(2, 0);
    assert_eq!(world.commands(), [], "the next is paced");
    world.pass(60);
    assert_eq!(world.commands(), run(3));
    assert_eq!(world.agent().budget.attempts, 0, "a clean exit spends nothing");

    let mut world = World::new();
    world.connect(Hello {
        policy: policy(|p| p.restart = RestartPolicy::Never),
        ..hello("a", 1)
    });
    world.spawn(1);
    world.commands();
    world.exit(1, 9);
    world.pass(10_000);
    assert_eq!((world.state(), world.commands()), (AgentState::Crashed, vec![]));
}

#[test]
fn a_spawn_that_fails_spends_the_budget_without_a_hot_loop() {
    let mut world = World::new();
    world.connect(hello("a", 1));
    world.commands();
    let fail = |world: &mut World, n| world.report(n, ReportFact::SpawnFailed("no /bin/x".into()));
    fail(&mut world, 1);
    assert_eq!(world.commands(), run(2));
    fail(&mut world, 2);
    assert_eq!(world.commands(), []);
    world.pass(60);
    fail(&mut world, 3);
    world.pass(60);
    fail(&mut world, 4);
    assert_eq!(
        (world.state(), world.agent().reason.as_str()),
        (AgentState::Terminated, "SPAWN_FAILED")
    );
}

#[test]
fn a_tree_that_outlives_sigkill_is_quarantined_until_force() {
    let mut world = World::running();
    world.report(
        1,
        ReportFact::Survived(vec![Survivor {
            pid: 7,
            pidfd_inode: Some(70),
            start_time_ticks: 700,
            command: "stuck".into(),
        }]),
    );
    assert_eq!(
        (world.state(), world.told()),
        (AgentState::Quarantined, "AGENT_QUARANTINED".into())
    );
    let call = world.restart(|_| ());
    assert!(matches!(world.answer(call), Some(Err(RequestError::Quarantined(_)))));
    world.restart(|run| run.force = Force::Yes);
    assert_eq!(world.commands(), run(2));
}

#[test]
fn a_budget_is_not_made_whole_while_nobody_says_that_the_agent_runs() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.pass(599);
    world.disconnect();
    world.pass(5);
    assert_eq!(world.agent().budget.attempts, 1);
    world.connect_with(
        hello("a", 1),
        Inventory {
            child: Some(world.child(2)),
            ..Inventory::default()
        },
    );
    world.pass(15);
    assert_eq!(world.agent().budget.attempts, 0);
}

#[test]
fn a_clock_that_jumps_between_attempt_and_crash_changes_no_cooldown() {
    for wall in [1, 2_000_000_000_000_000_000] {
        let mut world = World::running();
        world.exit(1, 1);
        world.spawn(2);
        world.pass(20);
        world.now.wall = Timestamp::from_unix_nanos(wall);
        world.commands();
        world.exit(2, 1);
        world.pass(39);
        assert_eq!(world.commands(), []);
        world.pass(1);
        assert_eq!(world.commands(), run(3));
    }
}

#[test]
fn a_clock_that_jumps_changes_no_cooldown() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.exit(2, 1);
    world.commands();
    world.now.wall = world.now.wall.saturating_add(Duration::from_secs(86_400));
    world.disconnect();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(2),
            ..Inventory::default()
        },
    );
    assert_eq!(world.commands(), []);
    world.now.wall = Timestamp::from_unix_nanos(1);
    world.pass(60);
    assert_eq!(world.commands(), run(3));
}

#[test]
fn an_order_that_is_not_carried_out_in_time_is_a_failure_once_the_shim_has_said_so() {
    let mut world = World::new();
    world.connect(hello("a", 1));
    world.commands();
    world.pass(60);
    let overdue = |e: &Effect| {
        matches!(
            e,
            Effect::Disconnect {
                cause: crate::effect::Disconnect::Overdue,
                ..
            }
        )
    };
    assert!(world.effects.iter().any(overdue), "the shim is asked what runs");
    assert_eq!(
        (world.state(), world.agent().budget.attempts),
        (AgentState::Starting, 0),
        "and nothing is judged"
    );
    world.connect(hello("a", 1));
    assert_eq!(
        world.agent().last_failure.as_ref().map(|f| f.cause.as_str()),
        Some("START_TIMEOUT")
    );
    assert_eq!(world.commands(), run(2));

    let mut world = World::new();
    world.connect(hello("a", 1));
    world.commands();
    world.pass(60);
    let child = Some(world.child(1));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(
        (world.state(), world.commands()),
        (AgentState::Running, vec![]),
        "its report was only late"
    );
}

#[test]
fn a_longer_cooldown_holds_where_the_wall_clock_has_jumped_past_it() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.now.wall = world.now.wall.saturating_add(Duration::from_secs(86_400));
    world.exit(2, 1);
    world.commands();
    world.request(Request::Update(Box::new(UpdateRequest {
        agent: AgentId::new("a").expect("valid"),
        policy: Some(rekindle::policy::PolicyPatch {
            cooldown: Some(Duration::from_secs(100)),
            ..Default::default()
        }),
        labels: None,
        etag: None,
        missing: Missing::Fail,
        mode: UpdateMode::Apply,
    })));
    world.pass(99);
    assert_eq!(
        world
            .commands()
            .iter()
            .filter(|c| matches!(c, Command::Run { .. }))
            .count(),
        0
    );
    world.pass(1);
    assert_eq!(world.commands(), run(3));
}

#[test]
fn a_life_that_is_forced_while_the_shim_is_away_becomes_ready_beside_the_survivors() {
    let mut world = World::running();
    let survivor = Survivor {
        pid: 7,
        pidfd_inode: None,
        start_time_ticks: 0,
        command: "stuck".into(),
    };
    world.report(1, ReportFact::Survived(vec![survivor]));
    assert_eq!(world.state(), AgentState::Quarantined);
    world.disconnect();
    world.restart(|run| run.force = Force::Yes);
    world.connect_with(
        hello("a", 1),
        Inventory {
            child: Some(Child {
                phase: ChildPhase::Stopping,
                ..world.child(1)
            }),
            ..Inventory::default()
        },
    );
    assert_eq!(world.commands(), run(2));
    world.spawn(2);
    assert_eq!(world.state(), AgentState::Running);
    assert_eq!(world.agent().operation, None);
}
