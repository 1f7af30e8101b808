//! Ends that somebody asked for: cancels, restarts and stops, and what comes of them when.

use super::*;

#[test]
fn a_cancel_comes_first_or_not() {
    // Before it is given to anybody.
    let mut world = World::at_work(|_| ());
    world.send("busy");
    world.send("e");
    let call = world.cancel("e");
    assert_eq!(
        (world.cancelled(call), world.is("e")),
        (Some(CancelOutcome::Cancelled), ExecutionState::Cancelled)
    );
    // While it runs: answered when none of its processes is left.
    world.start("busy", 1);
    let call = world.cancel("busy");
    assert_eq!((world.cancelled(call), world.ends()), (None, vec!["busy#1".to_owned()]));
    world.finish("busy", 1, result(Verdict::Cancelled));
    assert_eq!(world.cancelled(call), Some(CancelOutcome::Cancelled));
    // An end that was on its way wins.
    world.send("f");
    world.start("f", 1);
    let call = world.cancel("f");
    world.finish("f", 1, result(Verdict::Succeeded));
    assert_eq!(
        (world.cancelled(call), world.is("f")),
        (Some(CancelOutcome::AlreadyOver), ExecutionState::Succeeded)
    );
    // Between accept and spawn.
    world.send("g");
    world.accept("g", 1);
    let call = world.cancel("g");
    world.finish("g", 1, result(Verdict::NotBegun));
    assert_eq!(
        (world.cancelled(call), world.is("g")),
        (Some(CancelOutcome::Cancelled), ExecutionState::Cancelled)
    );
}

#[test]
fn a_cancel_is_told_with_its_reason() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    world.request(Request::CancelExecution(CancelExecution {
        agent: agent(),
        id: id("e"),
        reason: "wrong inbox".into(),
        grace: None,
    }));
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(world.says, "ended, as somebody asked for it (wrong inbox)");
}

#[test]
fn a_cancel_of_what_a_silent_shim_has_is_told_when_it_is_back() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    world.disconnect();
    let call = world.cancel("e");
    assert_eq!(world.cancelled(call), Some(CancelOutcome::Pending));
    world.commands();
    world.connect_with(
        worker(|_| ()),
        Inventory {
            last_incarnation: Incarnation::new(1),
            child: Some(world.child(1)),
            attempts: vec![HeldAttempt {
                attempt: world.attempt("e", 1),
                phase: AttemptPhase::Running,
            }],
            ..Inventory::default()
        },
    );
    assert_eq!(world.ends(), ["e#1"]);
}

#[test]
fn a_cancel_that_ends_the_agent_spends_nothing_of_its_budget() {
    for (by, attempts) in [(EndedBy::MessageCancel, 0), (EndedBy::MessageTimeout, 1)] {
        let mut world = World::at_work(|_| ());
        world.report(1, ended(ExitStatus::Exited(0), by));
        let record = world.agent();
        assert_eq!(
            (record.incarnation.get(), record.budget.attempts),
            (2, attempts),
            "{by:?}"
        );
    }
}

#[test]
fn a_restart_cancels_or_requeues_what_runs() {
    for (policy, state) in [
        (InterruptPolicy::Cancel, ExecutionState::Cancelled),
        (InterruptPolicy::Requeue, ExecutionState::Queued),
    ] {
        let mut world = World::at_work(|p| p.on_restart = policy);
        world.send("e");
        world.send("waits");
        world.start("e", 1);
        let call = world.restart(|_| ());
        world.finish("e", 1, result(Verdict::Interrupted));
        assert_eq!((world.is("e"), world.is("waits")), (state, ExecutionState::Queued));
        world.report(1, ended(ExitStatus::Exited(0), EndedBy::Command));
        world.report(2, ReportFact::Spawned(Some(process(2))));
        world.report(2, ReportFact::Ready);
        let answer = world.answer(call).expect("answered").expect("done");
        let cancels: Vec<String> = answer.cancels.iter().map(ToString::to_string).collect();
        match policy {
            InterruptPolicy::Cancel => assert_eq!(cancels, ["e"]),
            InterruptPolicy::Requeue => assert!(cancels.is_empty()),
        }
    }
}

/// A stream keeps its order: a shim that has not got the attempt has not got its cancel either.
#[test]
fn a_cancel_takes_nothing_of_the_time_that_a_dispatch_has() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.pass(1);
    world.cancel("e");
    assert_eq!(world.ends(), ["e#1"]);
    let is_cut = |world: &World| {
        let cut = |effect: &Effect| matches!(effect, Effect::Disconnect { .. });
        world.effects.iter().any(cut)
    };
    world.pass(58);
    assert!(!is_cut(&world));
    world.pass(1);
    assert!(is_cut(&world));
}

#[test]
fn a_cancel_before_the_start_is_asked_for_again_after_it() {
    for started in [false, true] {
        let mut world = World::at_work(|_| ());
        world.send("e");
        world.cancel("e");
        assert_eq!(world.ends(), ["e#1"]);
        if started {
            world.start("e", 1);
        } else {
            world.accept("e", 1);
        }
        assert_eq!(world.ends(), [""; 0], "started {started}");
        world.pass(15);
        assert_eq!(world.ends(), ["e#1"], "started {started}: its grace is over");
    }
}

#[test]
fn what_never_arrived_outlives_an_order_for_its_agent_and_no_cancel() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.restart(|_| ());
    world.back_with(&[]);
    assert_eq!(world.is("e"), ExecutionState::Queued, "it goes to the next life");
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.cancel("e");
    world.back_with(&[]);
    assert_eq!(world.is("e"), ExecutionState::Cancelled);
}

/// Nor is what waited at a shim, as a pull agent's messages do until they are asked for.
#[test]
fn what_had_not_begun_outlives_an_order_that_came_while_its_shim_was_away() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.accept("e", 1);
    world.disconnect();
    world.restart(|_| ());
    world.commands();
    world.back_with_reports(&[("e", 1, AttemptPhase::Accepted)], Vec::new());
    assert_eq!(world.ends(), ["e#1 if not begun"]);
    world.pass(20);
    assert_eq!(world.ends(), ["e#1 if not begun"], "it is asked for again");
    world.finish("e", 1, result(Verdict::NotBegun));
    let record = world.execution("e");
    assert_eq!((record.state, record.attempt), (ExecutionState::Queued, 0));
}

/// What runs under the old grace of a cancel keeps it over a lost stream.
#[test]
fn a_cancel_is_told_again_with_its_own_grace() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    let grace = Some(Duration::from_secs(40));
    world.request(Request::CancelExecution(CancelExecution {
        agent: agent(),
        id: id("e"),
        reason: String::new(),
        grace,
    }));
    world.commands();
    world.back_with(&[("e", 1, AttemptPhase::Running)]);
    let told = world.commands();
    let with_it = |command: &Command| matches!(command, Command::EndAttempt { grace: told, .. } if *told == grace);
    assert!(told.iter().any(with_it), "{told:?}");
}

#[test]
fn an_end_that_was_heard_ends_nothing_when_it_is_told_again_after_the_agent_was_elsewhere() {
    let requeues = |policy: &mut PolicyFields| policy.on_restart = InterruptPolicy::Requeue;
    let mut world = World::at_work(requeues);
    world.send("e");
    world.start("e", 1);
    world.stop();
    let before = world.sequence;
    world.finish("e", 1, result(Verdict::Cancelled));
    world.report(1, ended(ExitStatus::Exited(0), EndedBy::Command));
    assert_eq!(world.is("e"), ExecutionState::Queued);
    let leaves = |world: &mut World| {
        let session = world.last_session();
        world.step(Input::ShimLeft { session });
    };
    leaves(&mut world);
    let mut other = worker(requeues);
    (other.instance, other.marker) = (hello("a", 2).instance, Marker::from_u128(9));
    world.connect(other);
    leaves(&mut world);
    // The acknowledgement was lost on the first one, and what the server knows of its reports is forgotten by now.
    world.sequence = before;
    let reports = vec![
        world.numbered(1, result(Verdict::Cancelled).of(world.attempt("e", 1))),
        world.numbered(1, ended(ExitStatus::Exited(0), EndedBy::Command)),
    ];
    world.told();
    world.back_with_reports(&[], reports);
    assert_eq!(world.is("e"), ExecutionState::Queued);
    assert!(!world.told().contains("EXECUTION"));
}

/// An operator's order has ended `e`, and nobody has told of that: it waits to be given again.
fn queued_again_unseen() -> World {
    let mut world = World::at_work(|policy| policy.on_restart = InterruptPolicy::Requeue);
    world.send("e");
    world.start("e", 1);
    world.stop();
    world.back_with(&[]);
    world.pass(11);
    assert_eq!(world.is("e"), ExecutionState::Queued);
    world.told();
    world
}

#[test]
fn an_end_that_an_operators_order_brought_ends_nothing_once_its_work_is_queued_again() {
    let mut world = queued_again_unseen();
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(world.is("e"), ExecutionState::Queued);
    assert!(!world.told().contains("EXECUTION"), "nothing is lost with it");
}

#[test]
fn what_was_written_until_an_end_that_counts_no_more_is_told() {
    let mut world = queued_again_unseen();
    world.finish("e", 1, ReportFactOf(Verdict::Cancelled, "half of it"));
    assert_eq!(world.is("e"), ExecutionState::Queued);
    assert!(world.told().contains("EXECUTION_DISOWNED"));
}
