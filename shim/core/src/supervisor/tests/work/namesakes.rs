//! Executions of one name: the server has forgotten one of which the shim has something, and gives another.

use super::*;

/// The first attempt at another execution of the first one's name.
fn namesake() -> AttemptId {
    AttemptId {
        uid: ExecutionUid::from_u128(2),
        ..attempt(1)
    }
}

fn dispatch_namesake() -> Input {
    let dispatch = Dispatch {
        attempt: namesake(),
        message: "other".into(),
        timeout: secs(60),
    };
    Input::Commanded(CommandId(9), Command::Dispatch(Box::new(dispatch)))
}

fn end_namesake() -> Input {
    let (attempt, grace, when) = (namesake(), None, EndWhen::Now);
    Input::Commanded(CommandId(10), Command::EndAttempt { attempt, grace, when })
}

#[test]
fn a_namesake_waits_for_the_end_of_what_runs_and_others_pass_it() {
    let mut bench = ready(Delivery::PerMessage, 3);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.does(dispatch_namesake(), &["write", "say 5 accepted e1#1"]);
    bench.does(dispatch_namesake(), &[]);
    bench.does(dispatch(2), &["write", "say 6 accepted e2#1", "run e2#1 \"m2\""]);
    bench.step(Input::ChildExited { tree: tree(1) });
    let begins = ["write", "say 7 finished e1#1 Succeeded", "run e1#1 \"other\""];
    bench.does(over(1, ExitStatus::Exited(0)), &begins);
}

#[test]
fn an_end_that_nobody_has_acknowledged_is_not_that_of_a_namesake() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(Input::ChildExited { tree: tree(1) });
    bench.step(over(1, ExitStatus::Exited(0)));
    let begins = ["write", "say 6 accepted e1#1", "run e1#1 \"other\""];
    bench.does(dispatch_namesake(), &begins);
    bench.does(dispatch(1), &[]);
}

#[test]
fn an_order_is_about_one_of_two_namesakes() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(dispatch_namesake());
    bench.does(end_namesake(), &["write", "say 6 finished e1#1 Cancelled"]);
    bench.does(end_namesake(), &[]);
    bench.does(end(1, Some(secs(0))), &["kill tree of e1#1"]);
}

#[test]
fn a_namesake_that_outlives_the_life_is_given_back() {
    let mut bench = ready(Delivery::Pull, 2);
    bench.step(dispatch(1));
    bench.step(asked(1));
    bench.step(dispatch_namesake());
    bench.does(asked(2), &[]);
    // What the agent says of that name is said of what it was given.
    bench.does(said(3, Some(1), Word::Moves), &["answer 3 Ok(())"]);
    bench.step(exited(1));
    let ends = [
        "write",
        "say 6 exited",
        "say 7 finished e1#1 Interrupted",
        "say 8 finished e1#1 NotBegun",
        "answer 2 Err(NotRunning)",
    ];
    bench.does(gone(1), &ends);
}

#[test]
fn a_shim_tells_of_each_of_two_namesakes() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(dispatch_namesake());
    let told: Vec<AttemptId> = bench
        .supervisor
        .attempts_told()
        .into_iter()
        .map(|held| held.attempt)
        .collect();
    assert_eq!(told, [attempt(1), namesake()]);
}
