//! A shim whose server is gone.

use super::*;
use crate::journal::Told;
use rekindle::exit::ExitClass;
use rekindle::session::{Charge, Wanted};

fn charge(wanted: Wanted, attempts: u32, ago: Option<u64>) -> Input {
    Input::Commanded(
        CommandId(9),
        Command::Charge(Charge {
            wanted,
            attempts,
            last_attempt_ago: ago.map(secs),
            salt: 7,
            past: Incarnation::ZERO,
        }),
    )
}

fn past(mut input: Input, incarnation: u64) -> Input {
    if let Input::Commanded(_, Command::Charge(charge)) = &mut input {
        charge.past = Incarnation::new(incarnation);
    }
    input
}

/// A life runs, and the server has been gone for long.
fn left_alone(wanted: Wanted, attempts: u32, ago: Option<u64>) -> Bench {
    let mut bench = Bench::running(1);
    bench.does(charge(wanted, attempts, ago), &["write"]);
    bench.does(Input::LinkLost, &[]);
    bench.pass(secs(60));
    bench
}

fn crash(bench: &mut Bench, incarnation: u64) -> Vec<String> {
    bench.step(exited(incarnation));
    bench.step(gone(incarnation))
}

#[test]
fn it_starts_a_crashed_child_by_the_budget_and_tells_all_of_it_later() {
    let mut bench = left_alone(Wanted::Run, 1, Some(1000));
    assert_eq!(
        crash(&mut bench, 1),
        ["write and sync", "spawn"],
        "the cooldown has passed"
    );
    bench.step(spawned(2));
    assert_eq!(crash(&mut bench, 2), ["write"]);
    assert_eq!(bench.waits(), Some(secs(60)));
    bench.does_after(secs(60), &["write and sync", "spawn"]);
    bench.step(spawned(3));
    assert_eq!(crash(&mut bench, 3), ["write"]);
    assert_eq!(bench.waits(), None, "3 of 3 attempts are used");
    let told = [
        "3 exited",
        "4 recovering 2",
        "5 spawned",
        "6 ready",
        "7 exited",
        "8 recovering 3",
        "9 spawned",
        "10 ready",
        "11 exited",
    ];
    bench.links(2, &[&format!("has 3 None {told:?}")]);
}

#[test]
fn a_number_that_the_server_has_given_is_nobody_elses() {
    let mut bench = Bench::running(1);
    bench.step(past(charge(Wanted::Run, 0, None), 3));
    bench.step(Input::LinkLost);
    bench.pass(secs(60));
    assert_eq!(crash(&mut bench, 1), ["write and sync", "spawn"]);
    assert_eq!(bench.step(spawned(2)), [""; 0], "2 and 3 were the server's");
    assert_eq!(bench.step(spawned(4)), ["write"]);
}

#[test]
fn it_gives_a_server_that_is_only_just_gone_its_time() {
    let mut bench = Bench::running(1);
    bench.does(charge(Wanted::Run, 0, None), &["write"]);
    bench.step(exited(1));
    bench.does(gone(1), &["write", "say 3 exited"]);
    assert_eq!(bench.waits(), None, "the server decides");
    bench.does(Input::LinkLost, &[]);
    assert_eq!(bench.waits(), Some(secs(5)));
    bench.step(Input::LinkOpened);
    assert_eq!(bench.waits(), None);
    bench.does(Input::LinkLost, &[]);
    bench.does_after(secs(5), &["write and sync", "spawn"]);
}

#[test]
fn it_starts_nothing_that_is_to_rest_or_that_was_stopped() {
    let mut bench = left_alone(Wanted::Rest, 0, None);
    assert_eq!(crash(&mut bench, 1), ["write"]);
    assert_eq!(bench.waits(), None);

    let mut bench = Bench::running(1);
    bench.does(charge(Wanted::Run, 0, None), &["write"]);
    bench.does(stop(1, None), &["write", "signal tree TERM"]);
    bench.does(Input::LinkLost, &[]);
    bench.pass(secs(60));
    assert_eq!(crash(&mut bench, 1), ["write"]);
    assert_eq!(bench.waits(), None);
}

#[test]
fn it_confirms_that_it_rests_once_that_is_written() {
    let mut bench = Bench::running(1);
    bench.step(charge(Wanted::Run, 0, None));
    assert!(bench.confirmed.is_empty());
    bench.does(charge(Wanted::Rest, 0, None), &["write"]);
    assert_eq!(bench.confirmed.len(), 1);
    bench.step(charge(Wanted::Run, 0, None));
    bench.step(stop(1, None));
    assert_eq!(bench.confirmed.len(), 2);
}

#[test]
fn it_starts_nothing_that_may_be_elsewhere() {
    let mut bench = left_alone(Wanted::Run, 0, None);
    bench.does(Input::ClaimLost, &["write", "kill tree"]);
    bench.step(gone(1));
    assert_eq!(bench.waits(), None);

    let mut bench = left_alone(Wanted::Run, 0, None);
    bench.does(Input::ClaimDoubted, &["write"]);
    bench.does(Input::ClaimDoubted, &[]);
    assert_eq!(crash(&mut bench, 1), ["write"], "it was left alone until then");
    assert_eq!(bench.waits(), None);
    // Nor does its next shim, nor this one when the server is gone altogether.
    let left = bench.supervisor.journal().clone();
    let (next, _) = Bench::new(settings(), left);
    assert_eq!(next.waits(), None);
    bench.does(Input::LinkLost, &[]);
    assert_eq!(bench.waits(), None);
    // A server that has welcomed it says what is to be.
    bench.links(1, &["has 1 None [\"3 exited\"]"]);
    bench.does(charge(Wanted::Run, 0, None), &["write"]);
    bench.does(Input::LinkLost, &[]);
    assert_eq!(bench.waits(), Some(secs(5)));

    let fencing = Settings {
        fence_after: Some(secs(30)),
        ..settings()
    };
    let (mut bench, _) = Bench::new(fencing.clone(), journal());
    bench.link(0);
    bench.step(charge(Wanted::Run, 0, None));
    bench.step(run(1));
    bench.step(spawned(1));
    bench.step(Input::LinkLost);
    bench.pass(secs(29));
    assert_eq!(crash(&mut bench, 1), ["write and sync", "spawn"]);
    bench.step(spawned(2));
    bench.does_after(secs(1), &["signal tree TERM"]);
    assert_eq!(crash(&mut bench, 2), ["write"]);
    assert_eq!(bench.waits(), None);

    let (mut bench, _) = Bench::new(fencing, journal());
    bench.link(0);
    bench.step(charge(Wanted::Run, 1, Some(0)));
    bench.step(run(1));
    bench.step(spawned(1));
    bench.step(Input::LinkLost);
    crash(&mut bench, 1);
    bench.pass(secs(30));
    bench.link(0);
    bench.step(Input::LinkLost);
    assert_eq!(bench.waits(), None, "it was welcomed, and not charged anew");

    let mut left = left_alone(Wanted::Run, 0, None).supervisor.journal().clone();
    left.boot_id = BootId::from_u128(77);
    let (bench, _) = Bench::new(settings(), left);
    assert_eq!(bench.waits(), None, "another boot");
}

#[test]
fn a_shim_that_comes_up_without_a_server_goes_on_with_the_budget() {
    let left = left_alone(Wanted::Run, 2, None).supervisor.journal().clone();
    let (mut bench, shown) = Bench::new(settings(), left);
    assert_eq!(shown, ["write", "sweep pid 101"]);
    bench.does(Input::Swept { survivors: vec![] }, &["write", "connect"]);
    bench.does_after(secs(5), &["write and sync", "spawn"]);
    let budget = bench.supervisor.journal().charge.as_ref().map(|charge| charge.budget);
    assert_eq!(budget.map(|budget| budget.attempts), Some(3));
}

#[test]
fn who_has_run_for_long_has_the_whole_budget_again() {
    let mut bench = left_alone(Wanted::Run, 3, Some(0));
    bench.pass(secs(600));
    assert_eq!(crash(&mut bench, 1), ["write and sync", "spawn"]);
    let budget = bench.supervisor.journal().charge.as_ref().map(|charge| charge.budget);
    assert_eq!(budget.map(|budget| budget.attempts), Some(1));
}

#[test]
fn a_shim_that_comes_up_without_a_server_judges_by_the_policy_that_it_was_last_told() {
    let mut left = left_alone(Wanted::Run, 2, None).supervisor.journal().clone();
    let patient = PolicyFields {
        stable_after: secs(7200),
        ..PolicyFields::default()
    };
    assert!(settings().policy.stable_after < patient.stable_after);
    let charge = left.charge.as_mut().expect("it was charged");
    charge.policy = AgentPolicy::new(patient).expect("valid");
    let (mut bench, _) = Bench::new(settings(), left);
    bench.does(Input::Swept { survivors: vec![] }, &["write", "connect"]);
    bench.does_after(secs(5), &["write and sync", "spawn"]);
    bench.step(spawned(2));
    bench.pass(secs(3600));
    assert_eq!(crash(&mut bench, 2), ["write"]);
    assert_eq!(
        bench.waits(),
        None,
        "it has not run for long, and 3 of 3 attempts are used"
    );
}

#[test]
fn a_life_that_a_cancelled_message_took_with_it_costs_nothing() {
    // As the server has it (`a_cancel_that_ends_the_agent_spends_nothing_of_its_budget`).
    let mut journal = left_alone(Wanted::Run, 3, Some(1)).supervisor.journal().clone();
    for (class, waits) in [(ExitClass::Interrupted, Some(secs(5))), (ExitClass::Crash, None)] {
        journal.ended = None;
        let (mut bench, _) = Bench::new(settings(), journal.clone());
        bench.does(Input::Swept { survivors: vec![] }, &["write", "connect"]);
        bench.supervisor.note_failure(n(1), class, Told::Yes);
        assert_eq!(bench.waits(), waits, "{class:?}");
    }
    for (by, class) in [
        (EndedBy::MessageCancel, ExitClass::Interrupted),
        (EndedBy::MessageTimeout, ExitClass::Crash),
    ] {
        let mut bench = left_alone(Wanted::Run, 0, None);
        let evidence = remains().evidence(by, secs(1));
        bench.supervisor.note_end(n(1), &evidence);
        let ended = bench.supervisor.journal().ended.as_ref().map(|ended| ended.class);
        assert_eq!(ended, Some(class), "{by:?}");
    }
}
