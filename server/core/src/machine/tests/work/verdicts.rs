//! What the server and its shims say different things of: verdicts, true ends that replace them, and mass absences.

use super::*;

#[test]
fn what_is_missing_is_lost_and_a_true_end_replaces_that() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    world.back_with(&[]);
    assert_eq!(world.is("e"), ExecutionState::Running, "the pass decides");
    world.pass(11);
    assert_eq!(world.is("e"), ExecutionState::Lost);
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(world.is("e"), ExecutionState::Succeeded);
    world.finish("e", 1, result(Verdict::Failed));
    assert_eq!(world.is("e"), ExecutionState::Succeeded, "once");
}

#[test]
fn what_is_told_again_of_an_earlier_delivery_means_nothing_to_a_later_one() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.accept("e", 1);
    let given_back = world.numbered(1, result(Verdict::NotBegun).of(world.attempt("e", 1)));
    let session = world.last_session();
    let report = given_back.clone();
    world.step(Input::ShimReported { session, report });
    // It did not begin, and is given again under its number.
    world.start("e", 1);
    assert_eq!(world.is("e"), ExecutionState::Running);
    // As after another shim had the agent: its own reports count from their beginning.
    let cursor = world.records.agents[0].reports.as_mut().expect("it has reported");
    cursor.sequence = ReportSequence::ZERO;
    world.restart_server();
    world.back_with_reports(&[("e", 1, AttemptPhase::Running)], vec![given_back]);
    assert_eq!(world.is("e"), ExecutionState::Running, "or it would run twice");
}

#[test]
fn a_true_end_of_the_attempt_before_counts_where_the_newest_never_arrived() {
    let mut world = World::at_work(|p| p.max_deliveries = 2);
    world.send("e");
    world.start("e", 1);
    world.back_with(&[]);
    world.pass(11);
    assert_eq!(
        world.is("e"),
        ExecutionState::Dispatched,
        "called lost, and given again"
    );
    world.restart_server();
    world.back_with_reports(&[], Vec::new());
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(
        world.is("e"),
        ExecutionState::Dispatched,
        "the second one is under way by then"
    );
    world.stop();
    world.finish("e", 2, result(Verdict::NotBegun));
    assert_eq!(world.is("e"), ExecutionState::Queued);
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(world.is("e"), ExecutionState::Succeeded);
}

#[test]
fn a_mass_of_missing_executions_is_not_judged() {
    let mut world = World::at_work(|p| p.max_concurrent = 12);
    let names: Vec<String> = (0..12).map(|number| format!("e{number}")).collect();
    for name in &names {
        world.send(name);
        world.start(name, 1);
    }
    world.told();
    world.back_with(&[]);
    world.told();
    world.pass(60);
    assert_eq!(world.told(), "EXECUTION_VERDICTS_HELD", "once");
    assert!(names.iter().all(|name| world.is(name) == ExecutionState::Running));
}

#[test]
fn what_is_missing_waits_for_those_who_may_still_come_back() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    world.restart_server();
    world.back_with_reports(&[], Vec::new());
    world.pass(50);
    assert_eq!(
        world.is("e"),
        ExecutionState::Running,
        "the first one back is no measure"
    );
    world.pass(20);
    assert_eq!(world.is("e"), ExecutionState::Lost);
}

#[test]
fn a_small_fleet_that_differs_both_ways_is_not_judged() {
    let mut world = World::at_work(|p| p.max_concurrent = 4);
    for name in ["x", "missing1", "missing2", "stranger"] {
        world.send(name);
        world.start(name, 1);
    }
    world.records.executions.retain(|record| record.id != id("stranger"));
    world.restart_server();
    let held = ["x", "stranger"].map(|name| (name, 1, AttemptPhase::Running));
    world.back_with_reports(&held, Vec::new());
    world.told();
    world.pass(120);
    assert_eq!(
        (world.told().as_str(), world.ends()),
        ("EXECUTION_VERDICTS_HELD", vec![]),
        "of four, two are missing and one is unknown"
    );
    for name in ["missing1", "missing2"] {
        assert_eq!(world.is(name), ExecutionState::Running, "none means none");
    }
}

#[test]
fn what_an_operator_gives_up_ends_in_a_mass_absence_too() {
    let mut world = World::at_work(|p| p.max_concurrent = 12);
    let names: Vec<String> = (0..12).map(|number| format!("e{number}")).collect();
    for name in &names {
        world.send(name);
        world.start(name, 1);
    }
    world.back_with(&[]);
    world.pass(60);
    world.cancel("e0");
    world.pass(60);
    assert_eq!(world.is("e0"), ExecutionState::Cancelled);
    assert_eq!(world.is("e1"), ExecutionState::Running, "the others wait for a word");
    world.cancel("e1");
    world.cancel("e2");
    world.pass(60);
    assert_eq!(world.is("e3"), ExecutionState::Lost, "they are no mass any more");
}

#[test]
fn what_was_lost_past_its_time_is_timed_out_once_its_shim_has_ended_it() {
    let mut world = World::at_work(|p| {
        p.message_timeout = Duration::from_secs(1);
        p.blocked_limit = Duration::from_secs(1);
        p.max_deliveries = 2;
    });
    world.send("e");
    world.start("e", 1);
    world.pass(17);
    world.back_with(&[]);
    world.pass(11);
    assert_eq!(
        world.is("e"),
        ExecutionState::Lost,
        "and not given again: it had its time"
    );
    assert!(!world.execution("e").is_being_ended());
    world.back_with(&[("e", 1, AttemptPhase::Running)]);
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(world.is("e"), ExecutionState::TimedOut);
}

impl World {
    /// The server's store was set back to when none of the executions was made, and a fleet that is no small one is back.
    fn set_back(names: &[String]) -> Self {
        let mut world = Self::at_work(|p| p.max_concurrent = 12);
        for name in names {
            world.send(name);
            world.start(name, 1);
        }
        world.records.executions.clear();
        world.restart_server();
        let held: Vec<(&str, u32, AttemptPhase)> = names
            .iter()
            .map(|name| (name.as_str(), 1, AttemptPhase::Running))
            .collect();
        world.back_with_reports(&held, Vec::new());
        world.told();
        world
    }
}

#[test]
fn a_server_whose_store_was_set_back_ends_nothing() {
    for count in [1, 12] {
        let names: Vec<String> = (0..count).map(|number| format!("e{number}")).collect();
        let mut world = World::set_back(&names);
        world.pass(50);
        assert_eq!(world.told(), "", "{count}: others may be about to come back");
        world.pass(70);
        assert_eq!(
            (world.told().as_str(), world.ends()),
            ("EXECUTION_VERDICTS_HELD", vec![]),
            "{count}"
        );
        for call in ["CancelExecution", "RestartAgent", "ListExecutions"] {
            assert!(world.says.contains(call), "{}", world.says);
        }
        // Their ends are acknowledged, or nothing behind them would be heard; and told, as nobody else keeps them.
        for name in &names {
            world.finish(name, 1, ReportFactOf(Verdict::Succeeded, "42"));
            assert_eq!(world.told(), "EXECUTION_DISOWNED");
            assert!(world.says.contains("succeeded"), "{}", world.says);
        }
        world.pass(120);
        assert_eq!(world.told(), "");
    }
}

#[test]
fn few_that_no_record_tells_of_are_ended_once_all_had_their_time_to_come() {
    let mut world = World::at_work(|p| p.max_concurrent = 3);
    let names = ["x", "y", "e"];
    for name in names {
        world.send(name);
        world.start(name, 1);
    }
    world.records.executions.retain(|record| record.id != id("e"));
    world.restart_server();
    let held = names.map(|name| (name, 1, AttemptPhase::Running));
    world.back_with_reports(&held, Vec::new());
    world.told();
    world.pass(50);
    assert_eq!(
        (world.told().as_str(), world.ends()),
        ("", vec![]),
        "the adoption window"
    );
    world.pass(15);
    assert_eq!(world.told(), "EXECUTION_DISOWNED");
    assert_eq!(world.ends(), ["e#1"]);
    // It takes its time, over a new stream.
    world.back_with(&held);
    assert_eq!((world.told().as_str(), world.ends()), ("", vec!["e#1".to_owned()]));
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(world.told(), "", "there is nothing that is lost with it");
    world.finish("e", 2, ReportFactOf(Verdict::Cancelled, "half of it"));
    assert_eq!(world.told(), "EXECUTION_DISOWNED", "what it wrote is");
    assert!(world.says.contains("attempt 2 was ended"), "{}", world.says);
}

#[test]
fn two_attempts_at_one_execution_are_told_from_each_other() {
    let mut world = World::at_work(|p| p.max_deliveries = 2);
    world.send("e");
    world.start("e", 1);
    world.back_with(&[]);
    world.pass(11);
    world.start("e", 2);
    world.commands();
    world.back_with(&[("e", 2, AttemptPhase::Running), ("e", 1, AttemptPhase::Running)]);
    assert_eq!(world.ends(), ["e#1"]);
    world.pass(11);
    assert_eq!(world.is("e"), ExecutionState::Running, "the second one is there");
}

#[test]
fn a_true_result_that_comes_too_late_is_dropped_in_words() {
    let mut world = World::at_work(|p| p.max_deliveries = 2);
    world.send("e");
    world.start("e", 1);
    world.back_with(&[]);
    world.pass(11);
    world.start("e", 2);
    world.told();
    world.finish("e", 1, ReportFactOf(Verdict::Succeeded, "42"));
    assert_eq!(
        (world.is("e"), world.told().as_str()),
        (ExecutionState::Running, "EXECUTION_DISOWNED")
    );
}
