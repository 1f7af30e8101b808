//! How a shim ends.

use super::*;

#[test]
fn the_child_first_then_the_server() {
    let mut bench = Bench::running(1);
    bench.does(Input::StopRequested, &["signal tree TERM"]);
    bench.does(run(2), &[]);
    bench.does(gone(1), &["write", "say 3 exited by ShimStop"]);
    assert_eq!(bench.waits(), Some(secs(5)));
    bench.does(Input::Acknowledged(seq(3)), &["goodbye", "exit Done"]);
    bench.does(run(2), &[]);
    assert_eq!(bench.waits(), None);
}

#[test]
fn a_second_request_does_not_wait_for_the_child() {
    let mut bench = Bench::running(1);
    bench.does(Input::StopRequested, &["signal tree TERM"]);
    bench.does(Input::StopRequested, &["kill tree"]);
    bench.does(gone(1), &["write", "say 3 exited by ShimStop"]);
    bench.does(Input::StopRequested, &["exit Done"]);
}

#[test]
fn a_silent_server_is_not_waited_for_long() {
    let mut bench = Bench::running(1);
    bench.does(Input::LinkLost, &[]);
    bench.does(Input::StopRequested, &["signal tree TERM"]);
    bench.does(gone(1), &["write"]);
    bench.does_after(secs(4), &[]);
    bench.does_after(secs(1), &["exit Done"]);
}

#[test]
fn a_shim_that_nobody_knows_leaves_at_once() {
    let (mut bench, _) = Bench::new(settings(), journal());
    bench.does(Input::StopRequested, &["exit Done"]);
    let mut bench = Bench::linked(|_| ());
    bench.does(Input::StopRequested, &["goodbye", "exit Done"]);
}

#[test]
fn survivors_are_no_goodbye() {
    let mut bench = Bench::running(1);
    bench.does(stop(1, Some(secs(0))), &["kill tree"]);
    bench.does(Input::StopRequested, &[]);
    bench.does_after(secs(2), &["name survivors"]);
    bench.does(survived(1), &["write", "say 3 survived"]);
    bench.does(Input::Acknowledged(seq(3)), &["exit Survivors"]);
}
