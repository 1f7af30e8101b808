//! Times: what starts too late, runs too long, or is not answered.

use super::*;

#[test]
fn a_start_that_comes_too_late_is_none() {
    let mut world = World::at_work(|_| ());
    world.send("busy");
    world.send_with("e", |create| create.schedule_to_start = Some(Duration::from_secs(5)));
    world.pass(4);
    assert_eq!(world.is("e"), ExecutionState::Queued);
    world.pass(1);
    assert_eq!(world.is("e"), ExecutionState::TimedOut);
}

#[test]
fn whether_what_was_accepted_has_begun_in_time_its_shim_knows() {
    for (away, begun) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::at_work(|_| ());
        world.send_with("e", |create| create.schedule_to_start = Some(Duration::from_secs(5)));
        world.report(1, ReportFact::AttemptAccepted(world.attempt("e", 1)));
        if away {
            world.disconnect();
        }
        world.pass(20);
        if away {
            assert_eq!(world.ends(), [""; 0]);
            if begun {
                let started = world.numbered(1, ReportFact::AttemptStarted(world.attempt("e", 1), None));
                world.back_with_reports(&[("e", 1, AttemptPhase::Running)], vec![started]);
            } else {
                world.back_with_reports(&[("e", 1, AttemptPhase::Accepted)], Vec::new());
            }
            world.pass(1);
        }
        let case = format!("away {away}, begun {begun}");
        if begun && !away {
            // It began before it was asked.
            assert_eq!(world.ends(), ["e#1 if not begun"], "{case}");
            world.start("e", 1);
            assert_eq!(world.is("e"), ExecutionState::Running, "{case}");
            world.finish("e", 1, result(Verdict::Succeeded));
            assert_eq!(world.is("e"), ExecutionState::Succeeded, "{case}");
        } else if begun {
            assert_eq!(world.ends(), [""; 0], "{case}");
            assert_eq!(world.is("e"), ExecutionState::Running, "{case}");
        } else {
            assert_eq!(world.ends(), ["e#1 if not begun"], "{case}");
            world.finish("e", 1, result(Verdict::NotBegun));
            assert_eq!(world.is("e"), ExecutionState::TimedOut, "{case}");
        }
    }
}

#[test]
fn a_shim_that_is_away_is_not_judged_by_the_servers_clock() {
    let mut world = World::at_work(|p| {
        p.message_timeout = Duration::from_secs(30);
        p.blocked_limit = Duration::from_secs(1);
    });
    world.send("e");
    world.start("e", 1);
    world.disconnect();
    world.pass(1000);
    assert_eq!(world.execution("e").ending, None);
    world.back_with_reports(&[("e", 1, AttemptPhase::Running)], Vec::new());
    assert_eq!(world.ends(), [""; 0]);
}

#[test]
fn a_shim_that_does_not_keep_the_time_is_asked_to_and_asked_again() {
    let mut world = World::at_work(|p| {
        p.message_timeout = Duration::from_secs(30);
        p.blocked_limit = Duration::from_secs(40);
    });
    world.send("e");
    world.start("e", 1);
    world.pass(40);
    assert_eq!(world.ends(), [""; 0]);
    world.pass(5);
    assert_eq!(world.ends(), ["e#1 if overdue"]);
    world.pass(30);
    assert_eq!(world.ends(), ["e#1 if overdue"], "its agent may be blocked");
    world.pass(10);
    assert_eq!(world.ends(), ["e#1"]);
    world.pass(15);
    assert_eq!(world.ends(), ["e#1"], "without grace");
    assert_eq!(world.is("e"), ExecutionState::Running, "its slot is held");
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(world.is("e"), ExecutionState::TimedOut);
}

#[test]
fn a_dispatch_that_is_not_answered_ends_the_stream() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.pass(60);
    assert!(
        world
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Disconnect { .. }))
    );
    world.dispatched();
    world.back_with(&[]);
    assert_eq!(world.dispatched(), ["e#1"]);
}

#[test]
fn a_shim_that_is_cut_off_to_be_asked_was_heard_until_then() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.effects.clear();
    world.pass(60);
    let cut = |effect: &Effect| {
        matches!(
            effect,
            Effect::Disconnect {
                cause: crate::effect::Disconnect::Overdue,
                ..
            }
        )
    };
    assert!(world.effects.iter().any(cut));
    // The commit takes its time, and the stream is cut after it.
    world.pass(10);
    world.disconnect();
    world.pass(14);
    assert_eq!(world.state(), AgentState::Running);
    world.pass(1);
    assert_eq!(world.state(), AgentState::Unreachable);
}
