//! Messages that an earlier shim left.

use super::*;

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
    let (supervisor, _) = Supervisor::recover(keeps(), journal, None, at);
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
    let (supervisor, _) = Supervisor::recover(keeps(), journal, None, bench.at);
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
fn an_adopted_agent_goes_on_by_the_word_of_what_was_blocked() {
    let does = |state| Input::Notified {
        incarnation: n(1),
        notices: vec![Notice::Activity(state)],
    };
    let blocked = ActivityState::Blocked(BlockedOn::Quota);
    let mut bench = adopted(|bench| {
        bench.step(does(blocked));
    });
    bench.step(does(ActivityState::Busy));
    assert_eq!(bench.waits(), Some(secs(60)));
    let mut bench = adopted(|bench| {
        bench.step(does(blocked));
        bench.step(said(2, None, Word::Blocked(BlockedOn::User)));
    });
    bench.step(does(ActivityState::Busy));
    assert_eq!(bench.waits(), Some(secs(24 * 3600 + 60)), "its message waits still");
    bench.step(said(3, None, Word::Moves));
    assert_eq!(bench.waits(), Some(secs(60)));
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
fn what_was_written_down_without_its_uid_is_ended_by_its_name() {
    let keeps = || Settings {
        on_shim_exit: OnShimExit::Keep,
        ..at(Delivery::Pull, 1)
    };
    let mut bench = adopted(|_| ());
    let mut journal = bench.supervisor.journal().clone();
    for held in &mut journal.attempts {
        held.attempt.uid = ExecutionUid::UNKNOWN;
    }
    let (supervisor, _) = Supervisor::recover(keeps(), journal, None, bench.at);
    bench.supervisor = supervisor;
    bench.step(Input::Adopted { incarnation: n(1) });
    bench.link(5);
    let (attempt, grace, when) = (attempt(1), None, EndWhen::Now);
    bench.does(
        Input::Commanded(CommandId(9), Command::EndAttempt { attempt, grace, when }),
        &["signal tree TERM"],
    );
}
