//! Executions whose processes do not die.

use super::*;

#[test]
fn processes_that_outlive_sigkill_are_told_and_hold_their_slot() {
    let mut world = World::at_work(|p| p.max_concurrent = 1);
    world.send("e");
    world.start("e", 1);
    world.cancel("e");
    world.send("waits");
    world.told();
    let stuck = world.attempt("e", 1);
    let survived = |pid| {
        let survivor = rekindle::report::Survivor {
            pid,
            pidfd_inode: Some(70),
            start_time_ticks: 700,
            command: "stuck".into(),
        };
        ReportFact::AttemptSurvived(stuck.clone(), vec![survivor])
    };
    world.report(1, survived(9));
    world.report(1, survived(10));
    assert_eq!(world.told(), "EXECUTION_QUARANTINED EXECUTION_QUARANTINED");
    assert_eq!(
        (world.is("e"), world.is("waits")),
        (ExecutionState::Running, ExecutionState::Queued)
    );
    let failure = world.execution("e").failure.clone().expect("it is told");
    assert_eq!(failure.cause, FailureCause::Survivors);
    assert_eq!(
        failure.message,
        "SIGKILL did not end stuck (pid 10, pidfd inode 70); its slot is held until they are dead"
    );
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(
        (world.is("e"), world.is("waits")),
        (ExecutionState::Cancelled, ExecutionState::Dispatched)
    );
    assert_eq!(world.execution("e").failure, None);
    // What is told of one that is over is old.
    world.told();
    world.report(1, survived(9));
    assert_eq!(world.told(), "");
}
