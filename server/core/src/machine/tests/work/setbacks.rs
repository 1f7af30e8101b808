//! A store that was set back to when an execution was QUEUED, which its shim has begun or ended since: it is not done twice,
//! and its result counts.

use super::*;

impl World {
    /// The shim had e#2 when the server's store was set back to when `e` was made; nobody is back.
    fn set_back_to_queued() -> Self {
        let mut world = Self::at_work(|p| p.max_deliveries = 2);
        world.send("e");
        world.start("e", 1);
        world.back_with(&[]);
        world.pass(11);
        world.start("e", 2);
        let record = world.records.executions.first_mut().expect("it is kept");
        (record.state, record.attempt) = (ExecutionState::Queued, 0);
        (record.given_to, record.given_before) = (None, None);
        world.restart_server();
        world.told();
        world.effects.clear();
        world
    }

    fn back_with_end(&mut self, end: ReportFactOf) {
        let report = self.numbered(1, end.of(self.attempt("e", 2)));
        self.back_with_reports(&[], vec![report]);
    }
}

#[test]
fn what_a_shim_has_of_an_execution_that_waits_is_its_newest_attempt() {
    let mut world = World::set_back_to_queued();
    world.back_with_reports(&[("e", 2, AttemptPhase::Running)], Vec::new());
    let record = world.execution("e");
    assert_eq!((record.state, record.attempt), (ExecutionState::Running, 2));
    assert!(world.dispatched().is_empty(), "or it would run beside itself");
    world.pass(120);
    assert!(world.ends().is_empty(), "it is no stranger");
    world.finish("e", 2, ReportFactOf(Verdict::Succeeded, "42"));
    assert_eq!(world.is("e"), ExecutionState::Succeeded);
}

#[test]
fn of_two_attempts_at_an_execution_that_waits_the_later_one_goes_on() {
    let mut world = World::set_back_to_queued();
    let held = [1, 2].map(|number| ("e", number, AttemptPhase::Running));
    world.back_with_reports(&held, Vec::new());
    assert_eq!(world.execution("e").attempt, 2);
    assert_eq!(world.ends(), ["e#1"]);
}

#[test]
fn what_has_ended_is_over_and_is_not_done_again() {
    for (verdict, state) in [
        (Verdict::Succeeded, ExecutionState::Succeeded),
        (Verdict::Failed, ExecutionState::Failed),
        (Verdict::SpawnFailed, ExecutionState::Failed),
        (Verdict::TimedOut, ExecutionState::TimedOut),
        (Verdict::Cancelled, ExecutionState::Cancelled),
        // It has had the two deliveries that its policy allows.
        (Verdict::Interrupted, ExecutionState::DeadLetter),
    ] {
        let mut world = World::set_back_to_queued();
        world.back_with_end(ReportFactOf(verdict, "42"));
        let record = world.execution("e");
        assert_eq!((record.state, record.attempt, record.output.kept), (state, 2, 2));
        assert_eq!(world.dispatched(), [""; 0], "{verdict:?}");
        assert!(!world.told().contains("EXECUTION_DISOWNED"), "{verdict:?}");
        world.pass(120);
        assert_eq!(world.is("e"), state);
    }
}

#[test]
fn what_was_begun_and_ended_meanwhile_has_its_true_times() {
    let mut world = World::set_back_to_queued();
    let started = world.numbered(1, ReportFact::AttemptStarted(world.attempt("e", 2), None));
    let began = started.time;
    world.pass(5);
    let finished = world.numbered(1, result(Verdict::Succeeded).of(world.attempt("e", 2)));
    world.back_with_reports(&[], vec![started, finished]);
    let record = world.execution("e");
    assert_eq!(record.state, ExecutionState::Succeeded);
    assert_eq!(record.times.started, Some(began));
    assert!(record.times.ended > Some(began));
}

#[test]
fn what_did_not_begin_is_given() {
    let mut world = World::set_back_to_queued();
    world.back_with_end(result(Verdict::NotBegun));
    assert_eq!(world.dispatched(), ["e#1"]);
}

#[test]
fn what_was_told_to_end_is_no_attempt_at_one_that_was_made_since() {
    let mut world = World::at_work(|p| p.max_concurrent = 3);
    let held = ["x", "y", "e"].map(|name| (name, 1, AttemptPhase::Running));
    for (name, ..) in held {
        world.send(name);
        world.start(name, 1);
    }
    world.records.executions.retain(|record| record.id != id("e"));
    world.restart_server();
    world.back_with_reports(&held, Vec::new());
    world.pass(70);
    assert_eq!(world.ends(), ["e#1"], "no record told of it");
    world.stop();
    world.send("e");
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(world.is("e"), ExecutionState::Queued, "nobody cancelled this one");
}
