//! How a message goes its way: the queue and its slots, what an end means, and what one request makes.

use super::*;

#[test]
fn a_message_goes_its_way() {
    let mut world = World::at_work(|_| ());
    assert_eq!(world.send("e"), Some(Ok(())));
    assert_eq!(world.dispatched(), ["e#1"]);
    assert_eq!(world.is("e"), ExecutionState::Dispatched);
    world.start("e", 1);
    assert_eq!(world.is("e"), ExecutionState::Running);
    world.finish("e", 1, ReportFactOf(Verdict::Succeeded, "42\n"));
    assert_eq!(
        (world.is("e"), world.execution("e").output.kept),
        (ExecutionState::Succeeded, 3)
    );
    assert_eq!(
        world.told(),
        "EXECUTION_QUEUED EXECUTION_DISPATCHED EXECUTION_ACCEPTED EXECUTION_RUNNING EXECUTION_SUCCEEDED"
    );
    // Told again, and late.
    world.finish("e", 1, result(Verdict::Failed));
    assert_eq!(
        (world.is("e"), world.told()),
        (ExecutionState::Succeeded, String::new())
    );
}

#[test]
fn slots_are_taken_by_priority_and_then_by_age() {
    let mut world = World::at_work(|p| (p.max_concurrent, p.queue_limit) = (2, 3));
    for execution in ["a", "b", "c", "d"] {
        assert_eq!(world.send(execution), Some(Ok(())));
    }
    assert_eq!(world.send_with("urgent", |create| create.priority = 1), Some(Ok(())));
    let full = world.send("f");
    assert!(
        matches!(full, Some(Err(ExecutionError::QueueFull { limit: 3, .. }))),
        "{full:?}"
    );
    assert_eq!(world.dispatched(), ["a#1", "b#1"]);
    world.start("a", 1);
    world.finish("a", 1, result(Verdict::Succeeded));
    assert_eq!(world.dispatched(), ["urgent#1"]);
    world.finish("b", 1, result(Verdict::Succeeded));
    world.finish("urgent", 1, result(Verdict::Succeeded));
    assert_eq!(world.dispatched(), ["c#1", "d#1"]);
}

#[test]
fn nothing_is_given_to_an_agent_that_is_not_ready() {
    let mut world = World::new();
    world.connect(worker(|_| ()));
    assert_eq!(world.send("e"), Some(Ok(())));
    assert_eq!(world.dispatched(), [""; 0]);
    world.spawn(1);
    assert_eq!(world.dispatched(), ["e#1"]);

    let mut world = World::new();
    world.connect(hello("a", 1));
    assert!(matches!(world.send("e"), Some(Err(ExecutionError::TakesNone(_)))));
}

#[test]
fn what_an_end_means() {
    let redeliver = |p: &mut PolicyFields| p.max_deliveries = 2;
    for (verdict, state) in [
        (Verdict::Succeeded, ExecutionState::Succeeded),
        (Verdict::Failed, ExecutionState::Failed),
        (Verdict::SpawnFailed, ExecutionState::Failed),
        (Verdict::TimedOut, ExecutionState::TimedOut),
        (Verdict::Cancelled, ExecutionState::Cancelled),
        (Verdict::Interrupted, ExecutionState::DeadLetter),
    ] {
        let mut world = World::at_work(|_| ());
        world.send("e");
        world.start("e", 1);
        world.dispatched();
        world.finish("e", 1, result(verdict));
        assert_eq!((world.is("e"), world.dispatched()), (state, vec![]), "{verdict:?}");
    }
    // The agent died with it: once more, and no more.
    let mut world = World::at_work(redeliver);
    world.send("e");
    world.start("e", 1);
    world.dispatched();
    world.finish("e", 1, result(Verdict::Interrupted));
    assert_eq!(world.dispatched(), ["e#2"]);
    world.start("e", 2);
    world.finish("e", 2, result(Verdict::Interrupted));
    assert_eq!(world.is("e"), ExecutionState::DeadLetter);
    // What did not begin does not count.
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.accept("e", 1);
    world.dispatched();
    world.finish("e", 1, result(Verdict::NotBegun));
    assert_eq!(world.dispatched(), ["e#1"]);
}

#[test]
fn how_an_attempt_failed_is_told_until_the_next_one_is_given() {
    let mut world = World::at_work(|p| p.max_deliveries = 2);
    world.send("e");
    world.send("next");
    world.start("e", 1);
    world.finish("e", 1, ReportFactOf(Verdict::Interrupted, "half"));
    // It has its old place in the queue.
    let record = world.execution("e");
    assert_eq!((record.attempt, record.state), (2, ExecutionState::Dispatched));
    assert_eq!(
        (record.failure.as_ref(), record.output.kept),
        (None, 0),
        "of the newest attempt there is none"
    );
    let mut world = World::at_work(|p| p.max_deliveries = 2);
    world.send("e");
    world.start("e", 1);
    world.report(1, ended(ExitStatus::Exited(1), EndedBy::Itself));
    world.finish("e", 1, ReportFactOf(Verdict::Interrupted, "half"));
    let record = world.execution("e");
    assert_eq!((record.attempt, record.state), (1, ExecutionState::Queued));
    let cause = record.failure.as_ref().map(|failure| failure.cause);
    assert_eq!((cause, record.output.kept), (Some(FailureCause::Interrupted), 4));
}

#[test]
fn a_request_is_one_request_and_a_name_is_one_execution() {
    let mut world = World::at_work(|_| ());
    let with_id = |create: &mut CreateExecution| create.request_id = request_id("r");
    assert_eq!(world.send_with("e", with_id), Some(Ok(())));
    world.restart_server();
    assert_eq!(world.send_with("e", with_id), Some(Ok(())));
    assert!(matches!(
        world.send_with("f", with_id),
        Some(Err(ExecutionError::RequestIdReused { .. }))
    ));
    assert!(matches!(world.send("e"), Some(Err(ExecutionError::Exists { .. }))));
    assert_eq!(world.machine.executions().count(), 1);
}

#[test]
fn what_is_over_can_be_done_again() {
    let mut world = World::at_work(|_| ());
    let again = |create: &mut CreateExecution| create.redrive_of = Some(id("e"));
    assert!(matches!(
        world.send_with("f", again),
        Some(Err(ExecutionError::NotFound { .. }))
    ));
    world.send("e");
    assert!(matches!(
        world.send_with("f", again),
        Some(Err(ExecutionError::NotOver { .. }))
    ));
    world.start("e", 1);
    world.finish("e", 1, result(Verdict::Interrupted));
    assert_eq!(world.send_with("f", again), Some(Ok(())));
    assert_eq!(world.execution("e").redriven_as, Some(id("f")));
    assert_eq!(world.execution("f").redrive_of, Some(id("e")));
}

#[test]
fn what_waits_for_a_shim_that_takes_none_is_told_once_and_ends_by_its_time() {
    let mut world = World::at_work(|_| ());
    world.send("busy");
    world.send_with("e", |create| create.schedule_to_start = Some(Duration::from_secs(100)));
    world.start("busy", 1);
    world.finish("busy", 1, result(Verdict::Interrupted));
    world.accept("e", 1);
    world.finish("e", 1, result(Verdict::NotBegun));
    world.disconnect();
    world.send("later");
    world.told();
    // The same agent, under a shim that was started without --delivery.
    for told in ["EXECUTION_STRANDED", ""] {
        world.connect(hello("a", 1));
        let stranded = world
            .told()
            .split(' ')
            .filter(|told| *told == "EXECUTION_STRANDED")
            .collect::<String>();
        assert_eq!(stranded, told);
        world.disconnect();
    }
    assert!(matches!(world.send("f"), Some(Err(ExecutionError::TakesNone(_)))));
    world.pass(100);
    assert_eq!(
        (world.is("e"), world.is("later")),
        (ExecutionState::TimedOut, ExecutionState::Queued)
    );
}
