//! Restart, Start and Stop from every state, joined, repeated and replaced.

use super::*;
use crate::effect::OperationOutcome;

fn outcome(world: &World, call: CallId) -> Option<OperationOutcome> {
    world.answer(call).map(|answer| answer.expect("no error").outcome)
}

fn killed() -> ReportFact {
    ended(
        ExitStatus::Signaled {
            signal: 15,
            core_dumped: false,
        },
        EndedBy::Command,
    )
}

#[test]
fn a_restart_is_answered_when_the_new_process_is_ready() {
    let mut world = World::running();
    let call = world.restart(|_| ());
    assert_eq!(
        (world.state(), world.told()),
        (AgentState::Stopping, "AGENT_STOPPING".into())
    );
    assert_eq!(world.commands(), run(2));
    world.report(1, killed());
    assert_eq!(world.told(), "AGENT_STARTING");
    world.report(2, ReportFact::Spawned(Some(process(2))));
    assert_eq!(outcome(&world, call), None);
    world.report(2, ReportFact::Ready);
    assert_eq!(world.told(), "AGENT_STARTED AGENT_READY AGENT_RESTARTED");
    let answer = world.answer(call).expect("answered").expect("no error");
    assert_eq!(
        (answer.outcome, answer.previous_state),
        (OperationOutcome::Completed, AgentState::Running)
    );
    let identity = answer
        .agent
        .process
        .as_ref()
        .and_then(|process| process.identity.as_ref());
    assert_eq!(identity.map(|identity| identity.pid), Some(2));
    assert_eq!(world.agent().budget.attempts, 0);
}

#[test]
fn two_restarts_at_once_are_one_and_a_later_one_is_another() {
    let mut world = World::running();
    let first = world.restart(|_| ());
    let second = world.restart(|_| ());
    assert_eq!(world.commands(), run(2), "the second joined the first");
    world.report(1, killed());
    world.report(2, ReportFact::Spawned(Some(process(2))));
    let third = world.restart(|_| ());
    assert_eq!(world.commands(), run(3), "the third came after the spawn");
    assert_eq!(
        outcome(&world, first),
        Some(OperationOutcome::Failed),
        "its incarnation never became ready"
    );
    assert_eq!(outcome(&world, second), Some(OperationOutcome::Failed));
    world.report(2, killed());
    world.spawn(3);
    assert_eq!(outcome(&world, third), Some(OperationOutcome::Completed));
}

#[test]
fn the_same_request_twice_is_one_restart_over_a_server_restart_too() {
    let mut world = World::running();
    world.restart(|run| run.request_id = request_id("r-1"));
    world.commands();
    let again = world.restart(|run| run.request_id = request_id("r-1"));
    assert_eq!(world.commands(), [], "it waits for the running one");
    world.restart_server();
    let exited = world.numbered(1, killed());
    let child = Some(world.child(2));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(2),
            reports: vec![exited],
            ..Inventory::default()
        },
    );
    assert_eq!(world.state(), AgentState::Running);
    let retried = world.restart(|run| run.request_id = request_id("r-1"));
    assert_eq!(outcome(&world, retried), Some(OperationOutcome::Completed));
    assert_eq!(world.agent().incarnation, Incarnation::new(2));
    let _ = again;
    let reused = world.restart(|run| {
        run.request_id = request_id("r-1");
        run.kind = OperationKind::Start;
    });
    assert!(matches!(
        world.answer(reused),
        Some(Err(RequestError::RequestIdReused { .. }))
    ));
}

#[test]
fn restart_works_from_every_resting_state() {
    for prepare in [
        (|world: &mut World| world.exit(1, 0)) as fn(&mut World),
        |world| {
            world.stop();
            world.report(1, killed());
        },
        |world| {
            for n in 1..=3 {
                world.exit(n, 1);
                world.pass(if n == 1 { 1 } else { 60 });
                world.spawn(n + 1);
            }
            world.exit(4, 1);
        },
    ] {
        let mut world = World::running();
        prepare(&mut world);
        let state = world.state();
        world.commands();
        let incarnation = world.agent().incarnation.next().get();
        let call = world.restart(|_| ());
        assert_eq!(world.commands(), run(incarnation), "from {state}");
        world.spawn(incarnation);
        assert_eq!(outcome(&world, call), Some(OperationOutcome::Completed), "from {state}");
        assert_eq!(world.state(), AgentState::Running);
    }
}

#[test]
fn without_a_shim_it_is_pending_and_happens_once() {
    let mut world = World::running();
    world.disconnect();
    world.pass(20);
    let call = world.restart(|_| ());
    assert_eq!(outcome(&world, call), Some(OperationOutcome::Pending));
    assert_eq!(
        world.state(),
        AgentState::Unreachable,
        "what cannot be told changes nothing that is seen"
    );
    let child = Some(world.child(1));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(world.state(), AgentState::Stopping);
    assert_eq!(world.commands(), run(2));
    world.report(1, killed());
    world.spawn(2);
    assert_eq!(world.state(), AgentState::Running);
    assert!(world.told().ends_with("AGENT_STARTED AGENT_READY AGENT_RESTARTED"));
}

#[test]
fn a_new_process_that_fails_fails_the_restart_and_the_recovery_goes_on() {
    let mut world = World::running();
    let call = world.restart(|_| ());
    world.report(1, killed());
    world.commands();
    world.report(2, ReportFact::SpawnFailed("gone".into()));
    assert_eq!(outcome(&world, call), Some(OperationOutcome::Failed));
    assert_eq!(world.commands(), run(3));
}

#[test]
fn guards() {
    let mut world = World::running();
    let stale = world.restart(|run| run.expected_incarnation = Some(Incarnation::new(9)));
    assert!(matches!(
        world.answer(stale),
        Some(Err(RequestError::IncarnationMismatch { .. }))
    ));
    let up = world.restart(|run| run.unless = Unless::Up);
    assert_eq!(outcome(&world, up), Some(OperationOutcome::Completed));
    let unknown = world.restart(|run| run.agent = AgentId::new("b").expect("valid"));
    assert!(matches!(world.answer(unknown), Some(Err(RequestError::NotFound(_)))));
    assert_eq!(world.commands(), []);
    let accepted = world.restart(|run| run.wait = Wait::Accepted);
    assert_eq!(outcome(&world, accepted), Some(OperationOutcome::Completed));
}

#[test]
fn a_stop_ends_the_agent_and_calls_off_the_recovery() {
    let mut world = World::running();
    let call = world.stop();
    assert_eq!(world.told(), "AGENT_STOPPING");
    world.report(1, killed());
    assert_eq!(
        (world.state(), world.told()),
        (AgentState::Stopped, "AGENT_STOPPED".into())
    );
    assert_eq!(outcome(&world, call), Some(OperationOutcome::Completed));

    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.exit(2, 1);
    world.commands();
    let call = world.stop();
    let stop = Command::Stop {
        incarnation: Incarnation::new(2),
        grace: None,
    };
    assert_eq!(world.commands(), [stop]);
    assert_eq!(
        outcome(&world, call),
        None,
        "a shim that does not hear of it may begin the next life alone"
    );
    world.confirm();
    assert_eq!(outcome(&world, call), Some(OperationOutcome::Completed));
    world.pass(1000);
    assert_eq!((world.state(), world.commands()), (AgentState::Stopped, vec![]));
}

#[test]
fn a_stop_of_what_is_down_ends_a_life_that_its_shim_begins_alone_meanwhile() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.exit(2, 1);
    let call = world.stop();
    world.disconnect();
    world.commands();
    let alone = Inventory {
        last_incarnation: Incarnation::new(3),
        child: Some(world.child(3)),
        ..Inventory::default()
    };
    world.connect_with(hello("a", 1), alone);
    assert_eq!((world.state(), outcome(&world, call)), (AgentState::Stopping, None));
    world.report(3, killed());
    assert_eq!(
        (world.state(), outcome(&world, call)),
        (AgentState::Stopped, Some(OperationOutcome::Completed))
    );
}

/// The life is over, and the shim has not said yet that nothing follows.
fn stop_that_waits_for_a_word(world: &mut World) -> CallId {
    let call = world.stop();
    world.commands();
    let report = world.numbered(1, killed());
    world.step(Input::ShimReported {
        session: world.last_session(),
        report,
    });
    assert_eq!((world.state(), outcome(world, call)), (AgentState::Stopping, None));
    call
}

#[test]
fn a_stop_that_waits_for_its_shims_word_waits_for_a_life_that_was_seen_since() {
    let mut world = World::running();
    let call = world.stop();
    world.disconnect();
    let reports = vec![
        world.numbered(1, killed()),
        world.numbered(2, ReportFact::Recovering { attempts: 1 }),
        world.numbered(2, ReportFact::Spawned(Some(process(2)))),
    ];
    let alone = Inventory {
        last_incarnation: Incarnation::new(2),
        child: Some(world.child(2)),
        reports,
        wanted: Wanted::Run,
        ..Inventory::default()
    };
    world.connect_with(hello("a", 1), alone);
    world.confirm();
    assert_eq!((world.state(), outcome(&world, call)), (AgentState::Stopping, None));
    world.report(2, killed());
    assert_eq!(
        (world.state(), outcome(&world, call)),
        (AgentState::Stopped, Some(OperationOutcome::Completed))
    );
}

#[test]
fn a_later_order_forgets_what_an_earlier_stop_waited_for() {
    let mut world = World::running();
    let first = stop_that_waits_for_a_word(&mut world);
    world.restart(|_| ());
    assert_eq!(
        (outcome(&world, first), world.commands()),
        (Some(OperationOutcome::Failed), run(2))
    );
    let second = world.stop();
    world.confirm();
    assert_eq!(
        (world.state(), outcome(&world, second)),
        (AgentState::Stopping, None),
        "2 may have begun before the stop came"
    );
}

#[test]
fn a_restart_that_replaces_a_stop_runs_and_a_stop_that_replaces_a_restart_stops() {
    let mut world = World::running();
    let stop = world.stop();
    world.commands();
    let restart = world.restart(|_| ());
    assert_eq!(outcome(&world, stop), Some(OperationOutcome::Failed));
    assert_eq!(world.commands(), run(2));
    let stop = world.stop();
    assert_eq!(outcome(&world, restart), Some(OperationOutcome::Failed));
    world.report(1, killed());
    assert_eq!(
        world.state(),
        AgentState::Stopping,
        "2 may have begun before the stop came"
    );
    world.report(2, ReportFact::SpawnFailed("it was stopped before it began".into()));
    assert_eq!(world.state(), AgentState::Stopped);
    assert_eq!(outcome(&world, stop), Some(OperationOutcome::Completed));
}

#[test]
fn a_later_order_decides_a_start_that_joined_what_was_starting_anyway() {
    let joins = |run: &mut RunRequest| {
        run.unless = Unless::Up;
        run.request_id = request_id("r1");
    };
    for stops in [true, false] {
        let mut world = World::running();
        world.exit(1, 1);
        let joined = world.restart(joins);
        assert_eq!((world.state(), outcome(&world, joined)), (AgentState::Starting, None));
        // What is spawned is not joined by a restart, but replaced.
        world.report(2, ReportFact::Spawned(Some(process(2))));
        if stops {
            world.stop();
        } else {
            world.restart(|_| ());
        }
        assert_eq!(outcome(&world, joined), Some(OperationOutcome::Failed));
        let again = world.restart(joins);
        assert_eq!(outcome(&world, again), Some(OperationOutcome::Failed), "it is decided");
    }
}

#[test]
fn a_caller_whose_time_is_up_is_told_that_it_goes_on() {
    let mut world = World::running();
    let call = world.restart(|_| ());
    world.step(Input::CallExpired { call });
    assert_eq!(outcome(&world, call), Some(OperationOutcome::Pending));
    world.report(1, killed());
    world.spawn(2);
    assert_eq!(world.state(), AgentState::Running);
}

#[test]
fn what_counts_as_up_is_not_ordered_and_a_start_that_fails_is_remembered_as_failed() {
    let mut world = World::running();
    world.disconnect();
    world.pass(15);
    let up = world.restart(|run| run.unless = Unless::Up);
    let answer = world.answer(up).expect("answered").expect("no error");
    assert_eq!(
        (answer.outcome, answer.agent.incarnation),
        (OperationOutcome::Completed, Incarnation::new(1))
    );

    let mut world = World::new();
    world.connect(hello("a", 1));
    let only_if_down = |run: &mut RunRequest| {
        run.unless = Unless::Up;
        run.request_id = request_id("r-9");
    };
    let first = world.restart(only_if_down);
    world.report(1, ReportFact::SpawnFailed("gone".into()));
    assert_eq!(outcome(&world, first), Some(OperationOutcome::Failed));
    let retry = world.restart(only_if_down);
    assert_eq!(
        outcome(&world, retry),
        Some(OperationOutcome::Failed),
        "the same request, the same answer"
    );
}

#[test]
fn an_order_outlives_the_shim_that_leaves() {
    let mut world = World::running();
    let call = world.restart(|_| ());
    world.report(
        1,
        ended(
            ExitStatus::Signaled {
                signal: 15,
                core_dumped: false,
            },
            EndedBy::ShimStop,
        ),
    );
    world.step(Input::ShimLeft { session: SessionId(1) });
    assert_eq!(outcome(&world, call), Some(OperationOutcome::Pending));
    world.commands();
    world.connect_with(
        hello("a", 2),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    let ordered = world.agent().incarnation.get();
    assert_eq!(world.commands(), run(ordered));
    world.spawn(ordered);
    assert!(world.told().ends_with("AGENT_STARTED AGENT_READY AGENT_RESTARTED"));

    let mut world = World::running();
    world.report(1, ended(ExitStatus::Exited(0), EndedBy::ShimStop));
    world.step(Input::ShimLeft { session: SessionId(1) });
    world.restart(|_| ());
    world.restart_server();
    world.pass(100_000);
    assert_eq!(world.state(), AgentState::Starting, "nobody is to be heard from");
    let stop = world.stop();
    assert_eq!(outcome(&world, stop), Some(OperationOutcome::Completed));
    assert_eq!(world.state(), AgentState::Stopped);
}

#[test]
fn a_shorter_grace_is_passed_on() {
    let mut world = World::running();
    world.stop();
    world.commands();
    world.request(Request::Stop(StopRequest {
        agent: AgentId::new("a").expect("valid"),
        reason: String::new(),
        request_id: None,
        expected_incarnation: None,
        grace: Some(Duration::ZERO),
        wait: Wait::Ready,
    }));
    let sooner = Command::Stop {
        incarnation: Incarnation::new(1),
        grace: Some(Duration::ZERO),
    };
    assert_eq!(world.commands(), [sooner]);
}
