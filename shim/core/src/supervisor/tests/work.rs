//! What becomes of attempts; here, of those that have processes of their own.

mod asked;
mod inherited;
mod namesakes;

use rekindle::execution::{AttemptId, Delivery, Dispatch, ExecutionId, Output};
use rekindle::id::ExecutionUid;

use rekindle::activity::{ActivityState, BlockedOn};
use rekindle::session::EndWhen;

use super::*;
use crate::input::{About, RequestNumber, Word};
use crate::journal::JournalStage;
use crate::supervisor::KILL_PROOF;

pub(super) fn attempt(number: u64) -> AttemptId {
    AttemptId {
        execution: ExecutionId::new(&format!("e{number}")).expect("valid"),
        uid: ExecutionUid::from_u128(1),
        number: 1,
    }
}

pub(super) fn dispatch(number: u64) -> Input {
    let dispatch = Dispatch {
        attempt: attempt(number),
        message: format!("m{number}"),
        timeout: secs(60),
    };
    Input::Commanded(CommandId(7), Command::Dispatch(Box::new(dispatch)))
}

fn end(number: u64, grace: Option<Duration>) -> Input {
    let attempt = attempt(number);
    Input::Commanded(
        CommandId(8),
        Command::EndAttempt {
            attempt,
            grace,
            when: EndWhen::Now,
        },
    )
}

fn begun(number: u64) -> Input {
    Input::AttemptSpawned {
        attempt: attempt(number),
        process: process(50 + number),
    }
}

pub(super) fn tree(number: u64) -> TreeId {
    TreeId::Attempt(attempt(number))
}

fn over(number: u64, status: ExitStatus) -> Input {
    Input::TreeGone {
        tree: tree(number),
        remains: Remains { status, ..remains() },
    }
}

pub(super) fn said(request: u64, execution: Option<u64>, word: Word) -> Input {
    Input::WorkSaid {
        request: Some(RequestNumber(request)),
        about: execution.map_or(About::Only, |number| About::Execution(attempt(number).execution)),
        word,
    }
}

pub(super) fn done() -> Word {
    Word::Done {
        output: Output::default(),
    }
}

pub(super) fn asked(request: u64) -> Input {
    Input::WorkAsked {
        request: RequestNumber(request),
    }
}

fn at(delivery: Delivery, slots: u32) -> Settings {
    let fields = PolicyFields {
        max_concurrent: slots,
        ..PolicyFields::default()
    };
    Settings {
        delivery,
        policy: AgentPolicy::new(fields).expect("valid"),
        ..settings()
    }
}

/// Linked, with a life that takes messages, acknowledged through report 2.
pub(super) fn ready(delivery: Delivery, slots: u32) -> Bench {
    let (mut bench, _) = Bench::new(at(delivery, slots), journal());
    bench.link(0);
    match delivery {
        Delivery::PerMessage => bench.does(run(1), &["write", "say 1 spawned", "say 2 ready"]),
        Delivery::None | Delivery::Pull | Delivery::Stdin => {
            bench.does(run(1), &["write", "spawn"]);
            bench.does(spawned(1), &["write", "say 1 spawned", "say 2 ready"]);
        }
    }
    bench.does(Input::Acknowledged(seq(2)), &[]);
    bench
}

#[test]
fn each_message_has_a_process_of_its_own_and_waits_for_a_slot() {
    let mut bench = ready(Delivery::PerMessage, 2);
    bench.does(dispatch(1), &["write", "say 3 accepted e1#1", "run e1#1 \"m1\""]);
    bench.does(dispatch(1), &[]);
    bench.does(dispatch(2), &["write", "say 4 accepted e2#1", "run e2#1 \"m2\""]);
    bench.does(dispatch(3), &["write", "say 5 accepted e3#1"]);
    bench.does(begun(1), &["write", "say 6 started e1#1"]);
    bench.does(begun(2), &["write", "say 7 started e2#1"]);
    bench.does(Input::ChildExited { tree: tree(1) }, &["kill tree of e1#1"]);
    let next = ["write", "say 8 finished e1#1 Succeeded", "run e3#1 \"m3\""];
    bench.does(over(1, ExitStatus::Exited(0)), &next);
    // The end that nobody has acknowledged is told, and not begun again.
    bench.does(dispatch(1), &[]);
    bench.does(over(2, ExitStatus::Exited(1)), &["write", "say 9 finished e2#1 Failed"]);
}

#[test]
fn a_program_that_cannot_be_run_fails_its_message_alone() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    let failed = Input::AttemptSpawnFailed {
        attempt: attempt(1),
        message: "no such file".into(),
    };
    bench.does(failed, &["write", "say 4 finished e1#1 SpawnFailed"]);
    bench.does(dispatch(2), &["write", "say 5 accepted e2#1", "run e2#1 \"m2\""]);
}

#[test]
fn a_message_past_its_time_is_ended_with_the_server_up_or_down() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(Input::LinkLost);
    assert_eq!(bench.waits(), Some(secs(60)));
    bench.does_after(secs(60), &["signal tree of e1#1 TERM"]);
    bench.does_after(secs(10), &["kill tree of e1#1"]);
    bench.does_after(KILL_PROOF, &["name survivors of e1#1"]);
    // It keeps its slot, and is killed until it is dead. The agent goes on.
    bench.does(survivors_of(tree(1)), &["write", "kill tree of e1#1"]);
    bench.does(over(1, ExitStatus::Unknown), &["write"]);
    let told = r#"["3 accepted e1#1", "4 started e1#1", "5 survived e1#1", "6 finished e1#1 TimedOut"]"#;
    bench.links(2, &[&format!("has 1 Some((1, Ready)) {told}")]);
}

#[test]
fn survivors_are_told_once_and_again_when_they_are_others() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.does(end(1, Some(secs(0))), &["kill tree of e1#1"]);
    let survives = |pids: &[u32]| Input::TreeSurvived {
        tree: tree(1),
        survivors: pids.iter().map(|pid| survivor(*pid)).collect(),
    };
    let looks = |bench: &mut Bench, pids: &[u32], expected: &[&str]| {
        bench.does_after(KILL_PROOF, &["name survivors of e1#1"]);
        bench.does(survives(pids), expected);
    };
    let told = ["write", "kill tree of e1#1", "say 5 survived e1#1"];
    looks(&mut bench, &[5, 6], &told);
    looks(&mut bench, &[6, 5], &["kill tree of e1#1"]);
    // Who else there is waits until the server knows of these.
    looks(&mut bench, &[5], &["kill tree of e1#1"]);
    bench.step(Input::Acknowledged(seq(5)));
    looks(&mut bench, &[5, 6], &["kill tree of e1#1"]);
    let told = ["write", "kill tree of e1#1", "say 6 survived e1#1"];
    looks(&mut bench, &[5], &told);
    looks(&mut bench, &[], &[]);
    bench.does(dispatch(2), &["write", "say 7 accepted e2#1"]);
    let next = ["write", "say 8 finished e1#1 Cancelled", "run e2#1 \"m2\""];
    bench.does(over(1, ExitStatus::Unknown), &next);
}

#[test]
fn what_an_older_life_has_left_of_messages_is_given_up_by_force() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(stop(1, Some(Duration::ZERO)));
    bench.pass(KILL_PROOF);
    bench.step(Input::Tick);
    bench.does(survivors_of(tree(1)), &["write", "kill tree of e1#1", "say 5 survived"]);
    bench.step(Input::Acknowledged(seq(5)));
    let forced = [
        "write",
        "give up",
        "say 6 finished e1#1 Interrupted",
        "say 7 spawned",
        "say 8 ready",
    ];
    bench.does(run(2), &forced);
    bench.does(over(1, ExitStatus::Unknown), &[]);
}

#[test]
fn what_a_message_has_written_leaves_the_disk_soon_after_the_server_has_it() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(over(1, ExitStatus::Exited(0)));
    bench.step(Input::Acknowledged(seq(4)));
    assert_eq!(bench.waits(), None);
    bench.does(Input::Acknowledged(seq(5)), &[]);
    bench.does_after(secs(1), &["write"]);
    assert!(bench.supervisor.journal().outbox.is_empty());
    assert_eq!(bench.waits(), None, "once");

    // What comes meanwhile does it by the way; so does the shim's end.
    bench.step(dispatch(2));
    bench.step(begun(2));
    bench.step(over(2, ExitStatus::Exited(0)));
    bench.does(Input::Acknowledged(seq(8)), &[]);
    bench.does(dispatch(3), &["write", "say 9 accepted e3#1", "run e3#1 \"m3\""]);
    bench.step(begun(3));
    bench.step(Input::StopRequested);
    bench.step(over(3, ExitStatus::Exited(0)));
    let left = bench.step(Input::Acknowledged(seq(12)));
    assert_eq!(left, ["write", "goodbye", "exit Done"]);
}

#[test]
fn a_cancel_ends_what_runs_and_takes_back_what_waits() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(dispatch(2));
    bench.does(end(2, None), &["write", "say 5 finished e2#1 Cancelled"]);
    // Between the spawn and its exec.
    bench.does(end(1, Some(secs(0))), &[]);
    bench.does(begun(1), &["write", "say 6 started e1#1", "kill tree of e1#1"]);
    bench.does(end(9, None), &[]);
    bench.does(
        over(1, ExitStatus::Unknown),
        &["write", "say 7 finished e1#1 Cancelled"],
    );
    bench.does(end(1, None), &[]);
}

#[test]
fn what_is_not_to_begin_so_late_is_given_back_unless_it_has_begun() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(dispatch(2));
    let late = |number| {
        let (attempt, grace, when) = (attempt(number), None, EndWhen::NotBegun);
        Input::Commanded(CommandId(9), Command::EndAttempt { attempt, grace, when })
    };
    bench.does(late(1), &[]);
    bench.does(late(2), &["write", "say 5 finished e2#1 NotBegun"]);
}

#[test]
fn what_ended_before_the_cancel_came_has_ended() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(Input::ChildExited { tree: tree(1) });
    bench.does(end(1, None), &[]);
    bench.does(
        over(1, ExitStatus::Exited(0)),
        &["write", "say 5 finished e1#1 Succeeded"],
    );
}

#[test]
fn a_stop_ends_all_that_the_life_works_on() {
    let mut bench = ready(Delivery::PerMessage, 2);
    for number in 1..=3 {
        bench.step(dispatch(number));
    }
    bench.step(begun(1));
    bench.step(begun(2));
    let asked = ["signal tree of e1#1 TERM", "signal tree of e2#1 TERM"];
    bench.does(stop(1, None), &asked);
    bench.does(
        over(1, ExitStatus::Exited(0)),
        &["write", "say 8 finished e1#1 Interrupted"],
    );
    // A shorter grace counts for what is left.
    bench.does(stop(1, Some(secs(1))), &[]);
    bench.does_after(secs(1), &["kill tree of e2#1"]);
    let end = [
        "write",
        "say 9 finished e2#1 Interrupted",
        "say 10 exited by Command",
        "say 11 finished e3#1 NotBegun",
    ];
    bench.does(over(2, ExitStatus::Unknown), &end);
}

#[test]
fn a_life_without_a_process_makes_way_at_once() {
    let mut bench = ready(Delivery::PerMessage, 2);
    let next = ["write", "say 3 exited by Command", "say 4 spawned", "say 5 ready"];
    bench.does(run(2), &next);
    bench.does(dispatch(1), &["write", "say 6 accepted e1#1", "run e1#1 \"m1\""]);
}

#[test]
fn a_tree_that_outlives_its_life_quarantines_the_agent_until_it_is_dead() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.does(stop(1, Some(secs(0))), &["kill tree of e1#1"]);
    bench.does_after(KILL_PROOF, &["name survivors of e1#1"]);
    bench.does(survivors_of(tree(1)), &["write", "kill tree of e1#1", "say 5 survived"]);
    let end = ["write", "say 6 finished e1#1 Interrupted", "say 7 exited by Command"];
    bench.does(over(1, ExitStatus::Unknown), &end);
}

#[test]
fn a_life_is_quarantined_once_all_that_is_left_of_it_outlives_sigkill() {
    let mut bench = ready(Delivery::PerMessage, 2);
    for message in [1, 2] {
        bench.step(dispatch(message));
        bench.step(begun(message));
    }
    bench.does(end(1, Some(secs(0))), &["kill tree of e1#1"]);
    bench.does(stop(1, Some(secs(3))), &["signal tree of e2#1 TERM"]);
    bench.does_after(KILL_PROOF, &["name survivors of e1#1"]);
    // An order that is forced now would leave the other one behind, and nobody would know.
    bench.does(survivors_of(tree(1)), &["kill tree of e1#1"]);
    bench.does_after(secs(1), &["kill tree of e2#1"]);
    bench.does_after(secs(1), &["name survivors of e1#1"]);
    bench.does(survivors_of(tree(1)), &["kill tree of e1#1"]);
    bench.does_after(secs(1), &["name survivors of e2#1"]);
    let quarantined = ["write", "kill tree of e2#1", "say 7 survived"];
    bench.does(survivors_of(tree(2)), &quarantined);
}

#[test]
fn nobody_signals_a_life_that_has_no_process() {
    let mut bench = ready(Delivery::PerMessage, 1);
    let command = Command::Signal {
        incarnation: n(1),
        signal: 1,
    };
    let refused = "not signalled: it has no process of its own: each message has one; cancel the execution";
    bench.does(Input::Commanded(CommandId(3), command), &[refused]);
}
