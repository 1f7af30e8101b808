//! What the server is told of checkpoints, and when.

use super::*;

fn refused(incarnation: u64, number: u32) -> Input {
    Input::CheckpointAnswered(rekindle::session::CheckpointKept {
        id: id(incarnation, number),
        refused: Some("no".into()),
    })
}

#[test]
fn the_first_is_told_at_once_and_the_newest_of_the_next_after_a_second() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.does(written(1, 1), &["answer 1 saved 1.1", "holds 1.1 Open []"]);
    bench.step(save(1, "t"));
    bench.does(written(1, 2), &["answer 1 saved 1.2"]);
    bench.does(kept(1, 1), &[]);
    bench.step(save(1, "t"));
    bench.does(written(1, 3), &["answer 1 saved 1.3"]);
    assert_eq!(bench.waits(), Some(secs(1)));
    bench.does_after(secs(1), &["holds 1.3 Open []"]);
    bench.does(kept(1, 3), &[]);
    assert_eq!(bench.waits(), None);
}

#[test]
fn one_at_a_time_is_under_way() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(written(1, 1));
    bench.step(save(1, "t"));
    bench.step(written(1, 2));
    bench.does_after(secs(9), &[]);
    bench.does(kept(1, 9), &[]);
    bench.does(kept(1, 1), &["holds 1.2 Open []"]);
}

#[test]
fn the_end_of_a_life_tells_at_once_and_before_the_end_is_told() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(written(1, 1));
    bench.step(kept(1, 1));
    bench.step(exited(1));
    bench.does(gone(1), &["write", "holds 1.1 Open unclean []", "say 3 exited"]);
}

#[test]
fn what_the_server_refuses_is_not_told_again() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(written(1, 1));
    bench.does(refused(1, 1), &[]);
    bench.does_after(secs(9), &[]);
    bench.step(Input::LinkLost);
    bench.step(Input::LinkOpened);
    let told = bench.welcomed_with(None);
    assert!(!told.iter().any(|told| told.starts_with("holds")), "{told:?}");
    bench.step(save(1, "t"));
    bench.does(written(1, 2), &["answer 1 saved 1.2", "holds 1.2 Open []"]);
}

#[test]
fn after_each_welcome_what_the_server_lacks_is_told() {
    let with = |stock: Option<CheckpointState>| {
        let mut bench = Bench::lives(5);
        bench.saves(5, 1, "t");
        bench.step(Input::LinkLost);
        bench.step(Input::LinkOpened);
        let told = bench.welcomed_with(stock);
        let told = told.iter().any(|told| told.starts_with("holds"));
        (told, bench.standing())
    };
    let state = |incarnation, standing| CheckpointState {
        standing,
        ..CheckpointState::saved(id(incarnation, 1))
    };
    let (open, closed) = (Some(Standing::Open), Standing::Closed(ClosedBy::Task));
    assert_eq!(with(None), (true, open), "its store was set back");
    assert_eq!(with(Some(state(4, Standing::Open))), (true, open));
    assert_eq!(with(Some(state(5, Standing::Open))), (false, open));
    assert_eq!(with(Some(state(5, closed))), (false, Some(closed)), "the server's word");
    assert_eq!(
        with(Some(state(6, Standing::Open))),
        (false, open),
        "it would be refused"
    );
}

#[test]
fn a_server_of_an_earlier_version_is_told_nothing() {
    let mut bench = Bench::running(1);
    bench.step(save(1, "t"));
    bench.does(written(1, 1), &["answer 1 saved 1.1"]);
    bench.does_after(secs(9), &[]);
    bench.step(exited(1));
    bench.does(gone(1), &["write", "say 3 exited"]);
    bench.step(run(2));
    bench.does(spawned(2), &["write", "say 4 spawned", "say 5 ready"]);
    bench.does(load(2), &["write", "answer 2 loaded 1.1 Open unclean []"]);
    bench.does(confirm(2), &["write and sync", "answer 3 done"]);
}

#[test]
fn an_inventory_names_what_is_held() {
    let mut bench = Bench::lives(5);
    bench.saves(5, 1, "t");
    bench.step(Input::LinkLost);
    bench.step(Input::LinkOpened);
    let welcome = bench.welcome(9);
    let outcome = bench.supervisor.step(bench.at, welcome);
    let named = outcome.then.iter().find_map(|effect| {
        let Effect::Send(ShimMessage::Inventory(inventory)) = effect else {
            return None;
        };
        inventory.checkpoint
    });
    assert_eq!(named, Some((id(5, 1), Timestamp::UNIX_EPOCH)));
}

#[test]
fn what_was_not_answered_is_told_to_the_next_server() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(written(1, 1));
    bench.step(Input::LinkLost);
    bench.step(Input::LinkOpened);
    let told = bench.welcomed_with(None);
    assert!(told.contains(&"holds 1.1 Open []".to_owned()), "{told:?}");
}

#[test]
fn of_a_life_that_is_over_nothing_is_put_off() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(written(1, 1));
    bench.step(exited(1));
    bench.does(gone(1), &["write", "say 3 exited"]);
    bench.does(kept(1, 1), &["holds 1.1 Open unclean []"]);
}

#[test]
fn what_a_fresh_start_closes_the_server_has_closed_itself() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.crashes(1);
    bench.step(kept(1, 1));
    bench.pass(secs(9));
    bench.does(run_with(2, RunContext::Fresh), &["write", "spawn"]);
}

#[test]
fn who_saves_all_the_time_puts_off_no_greeting() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(save(1, "u"));
    bench.step(Input::LinkLost);
    bench.does(Input::LinkOpened, &["hello"]);
    // Nor does one that was adopted.
    let mut left = bench.supervisor.journal().clone();
    left.handover = crate::journal::Handover::Yes { contact: secs(0) };
    let (supervisor, _) = Supervisor::recover(settings(), left, None, bench.at);
    bench.supervisor = supervisor;
    bench.step(Input::Adopted { incarnation: n(1) });
    bench.step(save(1, "t"));
    bench.does(Input::LinkOpened, &["hello"]);
}
