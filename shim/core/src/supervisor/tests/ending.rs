//! How lives end.

use super::*;
use rekindle::policy::StopSignal;

#[test]
fn a_crash_is_told_once_the_tree_is_dead() {
    let mut bench = Bench::running(1);
    bench.pass(secs(9));
    bench.does(exited(1), &["kill tree"]);
    bench.pass(secs(1));
    let outcome = bench.supervisor.step(bench.at, gone(1));
    let report = outcome.persist.expect("written").outbox.pop().expect("a report");
    let ReportFact::Exited(evidence) = report.fact else {
        panic!("{report:?}")
    };
    assert_eq!(evidence.uptime, secs(9), "from spawn to death, not to its proof");
    assert_eq!(evidence.stderr_tail, "oops");
    bench.does(run(2), &["write", "spawn"]);
}

#[test]
fn a_program_that_cannot_run_is_told() {
    let mut bench = Bench::linked(|_| ());
    bench.does(run(1), &["write", "spawn"]);
    let failed = Input::SpawnFailed {
        incarnation: n(1),
        message: "cannot run /x".into(),
    };
    bench.does(failed.clone(), &["write", "say 1 spawn failed"]);
    bench.does(failed, &[]);
    bench.does(run(1), &[]);
    bench.does(run(2), &["write", "spawn"]);
}

#[test]
fn a_run_of_a_newer_life_ends_the_older_first() {
    let mut bench = Bench::running(1);
    bench.does(run(2), &["signal tree TERM"]);
    assert_eq!(bench.waits(), Some(secs(10)));
    bench.does(exited(1), &["await tree"]);
    bench.does(gone(1), &["write", "say 3 exited by Command", "spawn"]);
    bench.does(spawned(2), &["write", "say 4 spawned", "say 5 ready"]);
}

#[test]
fn orders_of_lives_that_have_been_do_nothing() {
    let mut bench = Bench::running(5);
    for input in [
        run(5),
        run(4),
        stop(4, None),
        exited(4),
        gone(4),
        survived(5),
        spawned(5),
    ] {
        bench.does(input, &[]);
    }
}

#[test]
fn the_grace_can_only_become_shorter() {
    let mut bench = Bench::running(1);
    bench.does(stop(1, Some(secs(5))), &["signal tree TERM"]);
    bench.does(stop(1, Some(secs(60))), &[]);
    assert_eq!(bench.waits(), Some(secs(5)));
    bench.does(stop(1, Some(secs(2))), &[]);
    bench.does_after(secs(1), &[]);
    bench.does_after(secs(1), &["kill tree"]);
    bench.does(stop(1, Some(secs(0))), &[]);
    bench.does(gone(1), &["write", "say 3 exited by Command"]);
    assert_eq!(bench.waits(), None);
}

#[test]
fn no_grace_is_kill_at_once() {
    let mut bench = Bench::running(1);
    bench.does(stop(1, Some(secs(0))), &["kill tree"]);
    let mut bench = Bench::linked(|policy| policy.stop_signal = StopSignal::Kill);
    bench.does(run(1), &["write", "spawn"]);
    bench.does(spawned(1), &["write", "say 1 spawned", "say 2 ready"]);
    bench.does(stop(1, None), &["kill tree"]);
}

#[test]
fn what_comes_next_can_change_while_a_life_ends() {
    let mut bench = Bench::running(1);
    bench.does(run(2), &["signal tree TERM"]);
    bench.does(run(4), &[]);
    bench.does(run(3), &[]);
    bench.does(stop(2, None), &[]);
    let told = ["write", "say 3 exited by Command", "say 4 spawn failed"];
    bench.does(gone(1), &[&told[..], &["spawn"]].concat());
    assert_eq!(bench.supervisor.journal().last_incarnation, n(4));

    let mut bench = Bench::running(1);
    bench.does(run(2), &["signal tree TERM"]);
    bench.does(stop(2, None), &[]);
    bench.does(run(2), &[]);
    bench.does(gone(1), &told);
    bench.does(run(2), &[]);
    bench.does(run(3), &["write", "spawn"]);
}

#[test]
fn a_stop_that_meets_a_spawn_waits_for_its_process() {
    let mut bench = Bench::linked(|_| ());
    bench.does(run(1), &["write", "spawn"]);
    bench.does(stop(1, Some(secs(3))), &[]);
    bench.does(stop(1, Some(secs(0))), &[]);
    bench.does(spawned(1), &["write", "say 1 spawned", "kill tree"]);
    bench.does(gone(1), &["write", "say 2 exited by Command"]);
}

#[test]
fn a_tree_that_outlives_sigkill_is_quarantined() {
    let mut bench = Bench::running(1);
    bench.does(run(2), &["signal tree TERM"]);
    bench.does_after(secs(10), &["kill tree"]);
    bench.does(exited(1), &[]);
    assert_eq!(bench.waits(), Some(secs(2)));
    bench.does_after(secs(2), &["name survivors"]);
    assert_eq!(bench.waits(), None);
    bench.does(survived(1), &["write", "say 3 survived"]);
    bench.does(run(3), &["write"]);
    bench.does(Input::Acknowledged(seq(3)), &[]);
    bench.does(run(3), &["write", "give up", "spawn"]);
    bench.does(gone(1), &[]);
}

#[test]
fn a_tree_that_dies_late_ends_its_quarantine() {
    let mut bench = Bench::running(1);
    bench.does(exited(1), &["kill tree"]);
    bench.does_after(secs(2), &["name survivors"]);
    let none = Input::TreeSurvived {
        tree: life(1),
        survivors: Vec::new(),
    };
    bench.does(none, &[]);
    bench.does_after(secs(2), &["name survivors"]);
    bench.does(survived(1), &["write", "say 3 survived"]);
    bench.does(gone(1), &["write", "say 4 exited"]);
    // The server gave this order before it knew of the survivors, and has called it failed since.
    bench.does(run(2), &["write"]);
    bench.does(Input::Acknowledged(seq(3)), &[]);
    bench.does(run(3), &["write", "spawn"]);
}

#[test]
fn survivors_are_told_again_to_a_server_that_has_not_heard_of_them() {
    let mut bench = Bench::running(1);
    bench.does(exited(1), &["kill tree"]);
    bench.does_after(secs(2), &["name survivors"]);
    bench.does(survived(1), &["write", "say 3 survived"]);
    bench.does(Input::Acknowledged(seq(3)), &[]);
    bench.step(Input::LinkLost);
    bench.links(3, &["has 1 Some((1, Stopping)) []"]);
    bench.step(Input::LinkLost);
    // Another shim had the agent since, or the server's store was set back.
    bench.links(0, &["write", "has 1 Some((1, Stopping)) [\"4 survived\"]"]);
    // It was given by a server that knew nothing of them.
    bench.does(run(9), &["write"]);
    bench.does(Input::Acknowledged(seq(4)), &[]);
    bench.does(run(10), &["write", "give up", "spawn"]);
}

#[test]
fn signals_reach_the_life_they_are_for() {
    let mut bench = Bench::running(2);
    let signal = |life| {
        Input::Commanded(
            CommandId(9),
            Command::Signal {
                incarnation: n(life),
                signal: 10,
            },
        )
    };
    bench.does(signal(2), &["signal child 10"]);
    bench.does(
        Input::Signalled {
            command: CommandId(9),
            result: Ok(process(2)),
        },
        &["signalled pid 102"],
    );
    bench.does(signal(1), &["not signalled: incarnation 1 is over; 2 runs"]);
    bench.does(exited(2), &["kill tree"]);
    bench.does(signal(2), &["not signalled: nothing runs"]);
}
