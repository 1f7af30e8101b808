//! What the next life is handed.

use rekindle::checkpoint::{AskedSave, Flags};
use rekindle::report::ReportFact;

use super::super::work::tree;
use super::*;

#[test]
fn the_next_life_is_handed_the_newest_and_that_is_told() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.crashes(1);
    let begun = bench.begins(run(2), 2);
    let expected = [
        "write",
        "spawn",
        "write",
        "say 4 spawned",
        "say 5 handed 1.1 over",
        "say 6 ready",
    ];
    assert_eq!(begun, expected);
    let handed = bench.handed(2).expect("handed over");
    assert_eq!((handed.checkpoint.id, handed.flags), (id(1, 1), unclean()));
    assert_eq!(bench.handed(1), None);
    let loaded = "answer 2 loaded 1.1 Open unclean []";
    bench.does(load(2), &["write", "say 7 read 1.1", loaded]);
    bench.does(load(2), &[loaded]);
    bench.does(Input::StateFileRead { incarnation: n(2) }, &[]);
    bench.does(confirm(2), &["write and sync", "say 8 confirmed 1.1", "answer 3 done"]);
    bench.does(confirm(2), &["answer 3 done"]);
}

#[test]
fn a_state_file_that_was_opened_was_read() {
    let mut bench = Bench::lives(1);
    bench.does(Input::StateFileRead { incarnation: n(1) }, &[]);
    bench.saves(1, 1, "t");
    bench.does(Input::StateFileRead { incarnation: n(1) }, &[]);
    bench.crashes(1);
    bench.begins(run(2), 2);
    bench.does(Input::StateFileRead { incarnation: n(1) }, &[]);
    bench.does(Input::StateFileRead { incarnation: n(2) }, &["write", "say 7 read 1.1"]);
    bench.does(Input::StateFileRead { incarnation: n(2) }, &[]);
}

#[test]
fn what_is_closed_or_begun_afresh_is_handed_to_nobody() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.step(close(1));
    bench.crashes(1);
    bench.begins(run(2), 2);
    assert_eq!(bench.handed(2), None);
    bench.saves(2, 1, "t");
    bench.crashes(2);
    bench.begins(run_with(3, RunContext::Fresh), 3);
    assert_eq!(bench.handed(3), None);
    assert_eq!(bench.standing(), Some(Standing::Closed(ClosedBy::Fresh)));
    bench.does(load(3), &["answer 2 loaded nothing"]);
    bench.saves(3, 1, "t");
    bench.crashes(3);
    bench.begins(run(4), 4);
    assert_eq!(bench.handed(4).map(|held| held.checkpoint.id), Some(id(3, 1)));
}

#[test]
fn what_the_old_life_saves_before_a_fresh_start_is_closed_too() {
    let mut bench = Bench::lives(1);
    bench.step(run_with(2, RunContext::Fresh));
    bench.saves(1, 1, "t");
    bench.step(gone(1));
    bench.step(spawned(2));
    assert_eq!(bench.handed(2), None);
    assert_eq!(bench.standing(), Some(Standing::Closed(ClosedBy::Fresh)));
}

#[test]
fn the_next_life_waits_for_the_disk() {
    let mut bench = Bench::lives(1);
    bench.does(run(2), &["signal tree TERM"]);
    bench.step(save(1, "t"));
    bench.does(gone(1), &[]);
    bench.does_after(secs(600), &[]);
    let begun = bench.step(written(1, 1));
    let expected = [
        "write",
        "answer 1 saved 1.1",
        "holds 1.1 Open []",
        "say 3 exited by Command",
        "spawn",
    ];
    assert_eq!(begun, expected);
    assert_eq!(asked(&bench), Some(AskedSave::Saved(id(1, 1))));
    assert_eq!(bench.handed(2).map(|held| held.flags), Some(Flags::default()));
}

#[test]
fn a_server_hands_over_what_another_host_has_saved() {
    let context = resume(|resumption| resumption.offered = Some(offered(6, 3, Standing::Open)));
    let mut bench = Bench::with_server(settings(), None);
    bench.does(run_with(7, context.clone()), &["write 6.3 Open []"]);
    bench.does(run_with(7, context.clone()), &[]);
    let begun = bench.begins(written(6, 3), 7);
    let expected = [
        "write",
        "spawn",
        "write",
        "say 1 spawned",
        "say 2 handed 6.3 over",
        "say 3 ready",
    ];
    assert_eq!(begun, expected);
    assert_eq!(bench.handed(7), Some(held(6, 3, "t")));
    // A disk that is full holds no life up.
    let mut bench = Bench::with_server(settings(), None);
    bench.step(run_with(7, context.clone()));
    bench.does(no_room(6, 3), &["write", "spawn"]);
    assert!(bench.handed(7).is_some());
    // One that was called off meanwhile does not begin.
    let mut bench = Bench::with_server(settings(), None);
    bench.step(run_with(7, context));
    bench.step(stop(7, None));
    assert!(!bench.step(written(6, 3)).contains(&"spawn".to_owned()));
}

#[test]
fn the_newer_one_of_both_is_handed_over() {
    let with = |context: RunContext| {
        let mut bench = Bench::lives(5);
        bench.saves(5, 1, "t");
        bench.crashes(5);
        bench.step(run_with(7, context));
        bench.step(written(6, 3));
        bench.step(written(4, 9));
        bench.step(spawned(7));
        bench.handed(7).map(|held| held.checkpoint.id)
    };
    let offer = |offer: OfferedCheckpoint| resume(|resumption| resumption.offered = Some(offer));
    let own = Some(id(5, 1));
    assert_eq!(with(RunContext::default()), own, "the server has none");
    assert_eq!(with(offer(offered(4, 9, Standing::Open))), own);
    assert_eq!(with(offer(offered(6, 3, Standing::Open))), Some(id(6, 3)));
    assert_eq!(
        with(offer(offered(6, 3, Standing::SetAside))),
        None,
        "the newer one is no good"
    );
    assert_eq!(with(offer(offered(5, 1, Standing::Open))), own);
    assert_eq!(
        with(offer(offered(5, 1, Standing::SetAside))),
        None,
        "by the server's word"
    );
    let without_content = OfferedCheckpoint {
        content: None,
        ..offered(6, 3, Standing::Open)
    };
    assert_eq!(
        with(offer(without_content)),
        None,
        "what was superseded is handed to nobody"
    );
    let crashed = OfferedCheckpoint {
        state: CheckpointState {
            crashes: 2,
            ..CheckpointState::saved(id(5, 1))
        },
        content: None,
    };
    assert_eq!(with(offer(crashed)), None, "it has crashed too many");
    let late = |offer: Option<OfferedCheckpoint>, through: u64| {
        resume(|resumption| {
            resumption.offered = offer;
            resumption.late_through = n(through);
        })
    };
    assert_eq!(with(late(None, 5)), None, "the agent was elsewhere since");
    assert_eq!(with(late(None, 4)), own);
    assert_eq!(with(late(Some(offered(4, 9, Standing::Open)), 5)), Some(id(4, 9)));
    assert_eq!(
        with(late(Some(offered(5, 1, Standing::Open)), 5)),
        own,
        "the server has it"
    );
}

#[test]
fn what_a_deleted_namesake_has_left_is_not_taken_for_the_servers() {
    let mut bench = Bench::lives(5);
    bench.saves(5, 1, "of the deleted one");
    bench.step(close(5));
    bench.crashes(5);
    let content = Checkpoint {
        saved: Timestamp::from_unix_nanos(9),
        ..(*content(5, 1, "t")).clone()
    };
    let offer = OfferedCheckpoint {
        content: Some(Arc::new(content)),
        ..offered(5, 1, Standing::Open)
    };
    let context = resume(|resumption| resumption.offered = Some(offer));
    bench.does(run_with(7, context), &["write 5.1 Open []"]);
    bench.step(written(5, 1));
    bench.step(spawned(7));
    let handed = bench.handed(7).expect("the server's");
    assert_eq!(handed.checkpoint.fields.task_id, "t");
}

#[test]
fn a_task_that_the_order_ends_is_not_revived_by_its_last_save() {
    let mut bench = Bench::lives(1);
    let closed = resume(|resumption| resumption.closed_tasks = vec![attempt(1).execution]);
    bench.step(run_with(2, closed));
    bench.saves(1, 1, "e1");
    bench.step(gone(1));
    bench.step(spawned(2));
    assert_eq!(bench.handed(2), None);
    assert_eq!(bench.standing(), Some(Standing::Closed(ClosedBy::Task)));
}

#[test]
fn an_agent_that_closes_while_an_order_is_under_way_is_not_handed_it_again() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.step(close(1));
    let context = resume(|resumption| resumption.offered = Some(offered(1, 1, Standing::Open)));
    bench.step(run_with(2, context));
    bench.step(gone(1));
    bench.step(spawned(2));
    assert_eq!(bench.handed(2), None);
}

#[test]
fn a_message_is_handed_what_is_of_its_task() {
    let per_message = Settings {
        delivery: Delivery::PerMessage,
        ..settings()
    };
    let mut bench = Bench::with_server(per_message, Some(CheckpointState::saved(id(3, 1))));
    let context = resume(|resumption| {
        resumption.offered = Some(OfferedCheckpoint {
            content: Some(content(3, 1, "e1")),
            ..offered(3, 1, Standing::Open)
        });
    });
    bench.step(run_with(4, context));
    bench.step(written(3, 1));
    let begun = |number: u64| Input::AttemptSpawned {
        attempt: attempt(number),
        process: process(50 + number),
    };
    bench.step(dispatch(2));
    assert_eq!(bench.supervisor.handed_over(&tree(2)), None);
    let told = bench.step(begun(2));
    assert!(!told.iter().any(|told| told.contains("handed")), "{told:?}");
    bench.does(load(4), &["answer 2 loaded nothing"]);
    bench.step(dispatch(1));
    bench.step(Input::TreeGone {
        tree: tree(2),
        remains: remains(),
    });
    assert!(bench.supervisor.handed_over(&tree(1)).is_some());
    let told = bench.step(begun(1));
    assert!(told.iter().any(|told| told.contains("handed 3.1 over")), "{told:?}");
    let read = bench.step(load(4));
    assert!(read.iter().any(|told| told.contains("read 3.1")), "{read:?}");
}

#[test]
fn a_shim_that_is_left_alone_hands_over_what_it_has() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    let charge = rekindle::session::Charge {
        wanted: rekindle::session::Wanted::Run,
        attempts: 0,
        last_attempt_ago: None,
        salt: 0,
        past: n(1),
    };
    bench.step(Input::Commanded(CommandId(3), Command::Charge(charge)));
    bench.step(Input::LinkLost);
    bench.step(exited(1));
    bench.step(gone(1));
    let wait = bench.waits().expect("it begins again");
    bench.pass(wait);
    let begun = bench.step(Input::Tick);
    assert!(begun.ends_with(&["spawn".to_owned()]), "{begun:?}");
    assert_eq!(bench.handed(2).map(|held| held.checkpoint.id), Some(id(1, 1)));
    bench.step(spawned(2));
    let outbox = &bench.supervisor.journal().outbox;
    assert!(
        outbox
            .iter()
            .any(|report| report.fact == ReportFact::HandedOver(id(1, 1)))
    );
}

#[test]
fn a_forced_life_waits_for_the_disk_as_well() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(stop(1, Some(secs(0))));
    bench.does_after(secs(2), &["name survivors"]);
    bench.step(survived(1));
    let told = bench.supervisor.journal().last_report;
    bench.step(Input::Acknowledged(told));
    bench.does(run(2), &[]);
    let begun = bench.step(written(1, 1));
    assert!(
        begun.ends_with(&["give up".to_owned(), "spawn".to_owned()]),
        "{begun:?}"
    );
    assert_eq!(bench.handed(2).map(|held| held.flags), Some(unclean()));
}

#[test]
fn an_order_that_is_given_again_counts_as_it_was_given_last() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.step(run(2));
    bench.step(run_with(2, RunContext::Fresh));
    bench.step(gone(1));
    bench.step(spawned(2));
    assert_eq!(bench.handed(2), None);
}

#[test]
fn a_life_that_could_not_begin_has_read_nothing() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.crashes(1);
    bench.step(run(2));
    bench.step(Input::SpawnFailed {
        incarnation: n(2),
        message: "no such file".into(),
    });
    assert_eq!(bench.supervisor.journal().handed, None);
    assert_eq!(bench.newest().map(|state| state.crashes), Some(0));
    bench.begins(run(3), 3);
    assert!(bench.handed(3).is_some());
}

#[test]
fn what_came_late_is_found_closed_by_the_next_shim_too() {
    let mut bench = Bench::lives(5);
    bench.saves(5, 1, "t");
    bench.crashes(5);
    bench.step(run_with(7, resume(|resumption| resumption.late_through = n(5))));
    assert_eq!(bench.standing(), Some(Standing::Closed(ClosedBy::Fresh)));
}

#[test]
fn no_life_gets_the_number_of_one_that_has_saved_elsewhere() {
    let mut bench = Bench::with_server(settings(), None);
    let context = resume(|resumption| resumption.offered = Some(offered(9, 3, Standing::Open)));
    bench.step(run_with(7, context));
    bench.step(written(9, 3));
    assert_eq!(bench.supervisor.journal().numbered, n(9));
}
