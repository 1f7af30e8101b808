//! What becomes of attempts.

use rekindle::execution::{AttemptId, Delivery, Dispatch, ExecutionId, Output};

use rekindle::activity::{ActivityState, BlockedOn};
use rekindle::session::EndWhen;

use super::*;
use crate::input::{About, RequestNumber, Word};
use crate::journal::JournalStage;
use crate::supervisor::KILL_PROOF;

pub(super) fn attempt(number: u64) -> AttemptId {
    AttemptId {
        execution: ExecutionId::new(&format!("e{number}")).expect("valid"),
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

fn tree(number: u64) -> TreeId {
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
    bench.does(survivors_of(tree(1)), &["kill tree of e1#1"]);
    bench.does(over(1, ExitStatus::Unknown), &["write"]);
    bench.links(
        2,
        &[r#"has 1 Some((1, Ready)) ["3 accepted e1#1", "4 started e1#1", "5 finished e1#1 TimedOut"]"#],
    );
}

#[test]
fn survivors_of_messages_are_swept_again_after_an_upgrade() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(stop(1, Some(Duration::ZERO)));
    bench.does_after(KILL_PROOF, &["name survivors of e1#1"]);
    bench.step(survivors_of(tree(1)));
    bench.does(Input::UpgradeRequested, &["upgrade"]);
    let (_, shown) = Bench::new(at(Delivery::PerMessage, 1), bench.supervisor.journal().clone());
    assert_eq!(shown, ["write", "sweep"]);
}

#[test]
fn a_shim_that_did_not_run_looks_again_before_it_judges() {
    let mut bench = ready(Delivery::Pull, 1);
    bench.step(dispatch(1));
    bench.step(asked(1));
    bench.does_after(secs(90), &["write"]);
    bench.does(
        said(2, None, done()),
        &["write", "say 5 finished e1#1 Succeeded", "answer 2 Ok(())"],
    );
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
fn nothing_is_begun_by_an_agent_that_does_not_run() {
    let (mut bench, _) = Bench::new(at(Delivery::Pull, 1), journal());
    bench.link(0);
    bench.does(dispatch(1), &["write", "say 1 finished e1#1 NotBegun"]);
    let mut bench = ready(Delivery::None, 1);
    bench.does(dispatch(1), &["write", "say 3 finished e1#1 NotBegun"]);
}

#[test]
fn an_agent_asks_for_its_work_and_says_how_it_went() {
    let mut bench = ready(Delivery::Pull, 2);
    bench.does(asked(1), &[]);
    bench.does(
        Input::AskWithdrawn {
            request: RequestNumber(1),
        },
        &[],
    );
    bench.does(dispatch(1), &["write", "say 3 accepted e1#1"]);
    bench.does(asked(2), &["write", "say 4 started e1#1", "give e1#1 to 2"]);
    bench.does(asked(3), &[]);
    bench.does(
        dispatch(2),
        &["write", "say 5 accepted e2#1", "say 6 started e2#1", "give e2#1 to 3"],
    );
    bench.does(said(4, None, done()), &["answer 4 Err(Which)"]);
    bench.does(said(5, Some(9), done()), &["answer 5 Err(NotRunning)"]);
    bench.does(
        said(6, Some(2), done()),
        &["write", "say 7 finished e2#1 Succeeded", "answer 6 Ok(())"],
    );
    let failed = Word::Failed {
        message: "no".into(),
        output: Output::default(),
    };
    bench.does(
        said(7, None, failed),
        &["write", "say 8 finished e1#1 Failed", "answer 7 Ok(())"],
    );
    bench.does(said(8, None, done()), &["answer 8 Err(NotRunning)"]);
}

#[test]
fn what_nobody_took_is_given_back() {
    let mut bench = ready(Delivery::Pull, 1);
    bench.step(dispatch(1));
    bench.step(asked(1));
    let failed = Input::GiveFailed { attempt: attempt(1) };
    bench.does(failed.clone(), &["write", "say 5 finished e1#1 NotBegun"]);
    bench.does(failed, &[]);
}

#[test]
fn only_an_agent_that_pulls_is_asked() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.does(asked(1), &["answer 1 Err(NotPulled)"]);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.does(said(2, None, done()), &["answer 2 Err(NotPulled)"]);
}

#[test]
fn a_message_past_its_time_ends_the_agent_that_works_on_it() {
    let mut bench = ready(Delivery::Pull, 2);
    bench.step(dispatch(1));
    bench.step(asked(1));
    bench.pass(secs(5));
    bench.step(dispatch(2));
    bench.step(asked(2));
    bench.does_after(secs(55), &["signal tree TERM"]);
    // Its word comes too late; the other's does not.
    bench.does(said(3, Some(1), done()), &["answer 3 Err(NotRunning)"]);
    bench.step(exited(1));
    let end = [
        "write",
        "say 7 exited by MessageTimeout",
        "say 8 finished e1#1 TimedOut",
        "say 9 finished e2#1 Interrupted",
    ];
    bench.does(gone(1), &end);
}

#[test]
fn an_agent_that_dies_gives_back_what_it_had_not_begun() {
    let mut bench = ready(Delivery::Stdin, 1);
    let fed = ["write", "say 3 accepted e1#1", "say 4 started e1#1", "feed e1#1 \"m1\""];
    bench.does(dispatch(1), &fed);
    bench.does(dispatch(2), &["write", "say 5 accepted e2#1"]);
    bench.step(exited(1));
    let end = [
        "write",
        "say 6 exited",
        "say 7 finished e1#1 Interrupted",
        "say 8 finished e2#1 NotBegun",
    ];
    bench.does(gone(1), &end);
}

#[test]
fn a_blocked_agents_clock_stands_still_for_so_long() {
    let mut bench = ready(Delivery::Pull, 1);
    bench.step(dispatch(1));
    bench.step(asked(1));
    bench.pass(secs(59));
    let blocked = ["write", "answer 2 Ok(())", "does Blocked(User) \"\""];
    bench.does(said(2, None, Word::Blocked(BlockedOn::User)), &blocked);
    bench.does_after(secs(3600), &[]);
    let goes_on = ["write", "answer 3 Ok(())", "does Busy \"\""];
    bench.does(said(3, None, Word::Moves), &goes_on);
    assert_eq!(bench.waits(), Some(secs(1)));
    bench.step(Input::LinkLost);
    bench.step(said(4, None, Word::Blocked(BlockedOn::User)));
    // A day in all, of which an hour is used up.
    assert_eq!(bench.waits(), Some(secs(23 * 3600 + 1)));
    bench.does_after(secs(23 * 3600 + 1), &["signal tree TERM"]);
}

#[test]
fn a_shim_that_died_tells_the_end_of_what_it_had_once_nothing_of_it_is_left() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.step(dispatch(2));
    let journal = bench.supervisor.journal().clone();
    let stages: Vec<bool> = journal.attempts.iter().map(|held| held.stage.has_begun()).collect();
    assert_eq!(stages, [true, false]);
    let (mut bench, first) = Bench::new(at(Delivery::PerMessage, 1), journal);
    assert_eq!(first, ["write", "sweep"]);
    bench.does(Input::Swept { survivors: vec![] }, &["write", "connect"]);
    let has = r#"has 1 None ["3 accepted e1#1", "4 started e1#1", "5 accepted e2#1", "6 finished e1#1 Interrupted", "7 finished e2#1 NotBegun"]"#;
    bench.links(2, &[has]);
}

#[test]
fn a_reboot_gives_nothing_back_as_a_power_loss_may_have_taken_that_it_began() {
    let mut bench = ready(Delivery::Pull, 1);
    bench.step(dispatch(1));
    let journal = bench.supervisor.journal().clone();
    let mut rebooted = at(Delivery::Pull, 1);
    rebooted.host.boot_id = BootId::from_u128(99);
    let (mut bench, first) = Bench::new(rebooted, journal);
    assert_eq!(first, ["write", "connect"]);
    let has = r#"has 1 None ["3 accepted e1#1", "4 finished e1#1 Interrupted"]"#;
    bench.links(2, &[has]);
}

#[test]
fn an_adopted_agent_goes_on_with_its_work_and_its_time() {
    let keeps = || Settings {
        on_shim_exit: OnShimExit::Keep,
        ..at(Delivery::Pull, 1)
    };
    let (mut bench, _) = Bench::new(keeps(), journal());
    bench.link(0);
    bench.step(run(1));
    bench.step(spawned(1));
    bench.step(dispatch(1));
    bench.step(asked(1));
    bench.step(dispatch(2));
    bench.pass(secs(10));
    let (at, journal) = (bench.at, bench.supervisor.journal().clone());
    let begun = journal.attempts.first().expect("it began").stage;
    assert!(matches!(begun, JournalStage::Begun { clock: Some(_) }), "{begun:?}");
    let (supervisor, _) = Supervisor::recover(keeps(), journal, at);
    bench.supervisor = supervisor;
    bench.does(Input::Adopted { incarnation: n(1) }, &["write", "connect"]);
    assert_eq!(bench.waits(), Some(secs(50)));
    bench.link(5);
    bench.does(
        said(1, Some(1), done()),
        &["write", "say 7 finished e1#1 Succeeded", "answer 1 Ok(())"],
    );
}

/// A shim beside an agent that lives on with one message, whose next one is run at the time that `before` ends.
fn adopted(before: impl FnOnce(&mut Bench)) -> Bench {
    let keeps = || Settings {
        on_shim_exit: OnShimExit::Keep,
        ..at(Delivery::Pull, 1)
    };
    let (mut bench, _) = Bench::new(keeps(), journal());
    bench.link(0);
    bench.step(run(1));
    bench.step(spawned(1));
    bench.step(dispatch(1));
    bench.step(asked(1));
    before(&mut bench);
    let journal = bench.supervisor.journal().clone();
    let (supervisor, _) = Supervisor::recover(keeps(), journal, bench.at);
    bench.supervisor = supervisor;
    bench.step(Input::Adopted { incarnation: n(1) });
    bench
}

#[test]
fn an_adopted_agent_stays_blocked_for_as_long_as_it_may_in_all() {
    let mut bench = adopted(|bench| {
        bench.pass(secs(50));
        bench.step(said(2, None, Word::Blocked(BlockedOn::User)));
        bench.pass(secs(3600));
    });
    assert_eq!(bench.waits(), Some(secs(23 * 3600 + 10)));
    bench.step(said(3, None, Word::Moves));
    assert_eq!(bench.waits(), Some(secs(10)));
}

#[test]
fn an_adopted_agent_has_a_moment_to_say_that_it_is_done() {
    let mut bench = adopted(|bench| bench.pass(secs(100)));
    bench.does(said(2, None, done()), &["write", "answer 2 Ok(())"]);
    let mut bench = adopted(|bench| bench.pass(secs(100)));
    assert_eq!(bench.waits(), Some(secs(5)));
    bench.does_after(secs(5), &["signal tree TERM"]);
}

#[test]
fn a_suspend_takes_nothing_of_an_adopted_agents_time() {
    let bench = adopted(|bench| bench.at.since_boot += secs(3600));
    assert_eq!(bench.waits(), Some(secs(60)));
}

#[test]
fn no_agent_puts_off_the_end_of_a_message() {
    let mut bench = ready(Delivery::Pull, 1);
    bench.step(dispatch(1));
    bench.step(asked(1));
    bench.does_after(secs(60), &["signal tree TERM"]);
    let notices = vec![Notice::Extend(secs(3600))];
    bench.does(
        Input::Notified {
            incarnation: n(1),
            notices,
        },
        &[],
    );
    assert_eq!(bench.waits(), Some(secs(10)));
}

#[test]
fn a_shim_that_is_always_late_judges_the_second_time() {
    let mut bench = ready(Delivery::Pull, 1);
    bench.step(dispatch(1));
    bench.step(asked(1));
    bench.does_after(secs(90), &["write"]);
    bench.does_after(secs(90), &["signal tree TERM"]);
}

#[test]
fn a_message_that_begins_while_the_agent_is_blocked_waits_too() {
    let mut bench = ready(Delivery::Stdin, 1);
    let says = |state| Input::Notified {
        incarnation: n(1),
        notices: vec![Notice::Activity(state)],
    };
    bench.step(says(ActivityState::Blocked(BlockedOn::Quota)));
    bench.step(dispatch(1));
    assert_eq!(bench.waits(), Some(secs(24 * 3600 + 60)));
    bench.step(said(1, None, Word::Blocked(BlockedOn::User)));
    bench.pass(secs(100));
    bench.step(says(ActivityState::Busy));
    // What it said of the message holds on.
    bench.pass(secs(100));
    bench.step(said(2, None, Word::Moves));
    assert_eq!(bench.waits(), Some(secs(60)));
}

#[test]
fn an_upgrade_waits_for_what_only_this_process_knows() {
    let mut bench = ready(Delivery::PerMessage, 1);
    bench.step(dispatch(1));
    bench.step(begun(1));
    bench.does(Input::UpgradeRequested, &[]);
    bench.does(dispatch(2), &["write", "say 5 accepted e2#1"]);
    let end = ["write", "say 6 finished e1#1 Succeeded", "upgrade"];
    bench.does(over(1, ExitStatus::Exited(0)), &end);
    let (mut bench, first) = Bench::new(at(Delivery::PerMessage, 1), bench.supervisor.journal().clone());
    assert_eq!(first, ["write", "connect"]);
    let reports = bench.link(6);
    assert_eq!(reports, [r#"has 1 Some((1, Ready)) ["7 finished e2#1 NotBegun"]"#]);
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
