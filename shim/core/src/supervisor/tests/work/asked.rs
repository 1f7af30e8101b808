//! Messages of an agent that asks for them, or reads them: one process works on all of them.

use rekindle::policy::MAX_CONCURRENT_MAX;

use super::*;

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
fn an_upgrade_that_fails_turns_away_who_asked_before_it() {
    let mut bench = ready(Delivery::Pull, 1);
    for request in 1..=u64::from(MAX_CONCURRENT_MAX) {
        bench.does(asked(request), &[]);
    }
    bench.does(asked(100), &["answer 100 Err(TooMany)"]);
    bench.does(Input::UpgradeRequested, &["write", "upgrade"]);
    bench.does(Input::UpgradeFailed, &["write"]);
    bench.does(asked(101), &[]);
    bench.does(
        dispatch(1),
        &["write", "say 3 accepted e1#1", "say 4 started e1#1", "give e1#1 to 101"],
    );
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
fn nor_does_one_that_was_on_its_way_out() {
    let mut bench = ready(Delivery::Pull, 1);
    bench.step(dispatch(1));
    bench.step(asked(1));
    let says = |notice| Input::Notified {
        incarnation: n(1),
        notices: vec![notice],
    };
    bench.step(says(Notice::Stopping));
    bench.step(says(Notice::Extend(secs(3600))));
    // Its message is out of time: from here on it has its grace.
    bench.does_after(secs(60), &[]);
    assert_eq!(bench.waits(), Some(secs(10)));
    bench.does(says(Notice::Extend(secs(3600))), &[]);
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
