//! What the end of a life means for what it has saved, and for what it was handed.

use rekindle::checkpoint::AskedSave;

use super::*;

fn clean_exit(bench: &mut Bench, incarnation: u64) {
    bench.step(Input::TreeGone {
        tree: life(incarnation),
        remains: Remains {
            status: ExitStatus::Exited(0),
            ..remains()
        },
    });
}

#[test]
fn the_end_of_a_crash_waits_for_the_disk_as_well() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(exited(1));
    bench.does(gone(1), &[]);
    bench.does(save(1, "u"), &["answer 1 NotRunning"]);
    bench.does(gone(1), &[]);
    assert_eq!(bench.waits(), None);
    let refused = "answer 1 NotWritten(NotWritten { cause: Room, message: \"no space\" })";
    bench.does(no_room(1, 1), &["write", refused, "say 3 exited"]);
    assert_eq!(bench.newest(), None);
}

#[test]
fn a_planned_end_says_whether_the_agent_saved() {
    let stopped = |by: Input, saves: bool| {
        let mut bench = Bench::lives(1);
        bench.saves(1, 1, "t");
        bench.step(by);
        if saves {
            bench.step(save(1, "t"));
            bench.step(written(1, 2));
        }
        bench.step(gone(1));
        let unclean = bench.newest().map(|state| state.flags.unclean);
        (asked(&bench), unclean)
    };
    let saved = Some(AskedSave::Saved(id(1, 2)));
    assert_eq!(stopped(stop(1, None), true), (saved, Some(false)));
    assert_eq!(stopped(run(2), true), (saved, Some(false)));
    assert_eq!(stopped(Input::StopRequested, true), (saved, Some(false)));
    assert_eq!(stopped(stop(1, None), false), (Some(AskedSave::NotSaved), Some(true)));
    let at_once = stop(1, Some(secs(0)));
    assert_eq!(stopped(at_once, false), (Some(AskedSave::NotAsked), Some(true)));
    assert_eq!(stopped(exited(1), false), (Some(AskedSave::NotAsked), Some(true)));
    let hung = Input::Notified {
        incarnation: n(1),
        notices: vec![Notice::Stuck],
    };
    assert_eq!(stopped(hung, true).0, Some(AskedSave::NotAsked), "nobody planned that");
}

#[test]
fn who_saved_and_went_on_until_it_was_killed_ended_unclean() {
    let unclean = |kills: bool, status: ExitStatus, late: bool| {
        let mut bench = Bench::lives(1);
        bench.saves(1, 1, "t");
        bench.step(stop(1, None));
        bench.step(save(1, "t"));
        if !late {
            bench.step(written(1, 2));
        }
        if kills {
            bench.does_after(secs(10), &["kill tree"]);
        }
        let remains = Remains { status, ..remains() };
        bench.step(Input::TreeGone { tree: life(1), remains });
        if late {
            bench.step(written(1, 2));
        }
        assert_eq!(asked(&bench), Some(AskedSave::Saved(id(1, 2))));
        bench.newest().map(|state| state.flags.unclean)
    };
    let by = |signal| ExitStatus::Signaled {
        signal,
        core_dumped: false,
    };
    assert_eq!(unclean(false, by(15), false), Some(false));
    assert_eq!(unclean(false, by(15), true), Some(false));
    assert_eq!(unclean(false, by(9), false), Some(true), "by somebody else");
    assert_eq!(unclean(true, by(9), false), Some(true));
    assert_eq!(unclean(true, by(15), false), Some(true), "others of its tree went on");
    assert_eq!(unclean(true, by(15), true), Some(true));
}

#[test]
fn what_was_on_its_way_when_the_life_was_asked_to_save_is_no_answer() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(save(1, "t"));
    bench.step(stop(1, None));
    bench.step(written(1, 1));
    bench.step(written(1, 2));
    bench.step(gone(1));
    assert_eq!(asked(&bench), Some(AskedSave::NotSaved));
}

#[test]
fn a_clean_exit_is_no_unclean_end() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    clean_exit(&mut bench, 1);
    assert_eq!(bench.newest().map(|state| state.flags), Some(Flags::default()));
    // Who has confirmed one answers for it.
    bench.begins(run(2), 2);
    bench.step(load(2));
    bench.step(confirm(2));
    bench.crashes(2);
    assert_eq!(bench.newest().map(|state| state.flags), Some(unclean()));
    // Who has only read it says nothing of it.
    bench.begins(run(3), 3);
    bench.step(load(3));
    clean_exit(&mut bench, 3);
    assert_eq!(bench.newest().map(|state| state.flags), Some(unclean()));
}

#[test]
fn two_crashes_of_who_read_it_set_it_aside() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.crashes(1);
    let crashes = |bench: &Bench| bench.newest().map(|state| (state.crashes, state.standing));
    assert_eq!(
        crashes(&bench),
        Some((0, Standing::Open)),
        "who saved it has not read it"
    );
    for (life, expected) in [(2, (1, Standing::Open)), (3, (2, Standing::SetAside))] {
        bench.begins(run(life), life);
        bench.step(load(life));
        bench.crashes(life);
        assert_eq!(crashes(&bench), Some(expected));
    }
    bench.begins(run(4), 4);
    assert_eq!(bench.handed(4), None);
}

#[test]
fn a_crash_is_not_blamed_on_what_nobody_read_or_who_read_it_accepted() {
    let count = |words: &[Input]| {
        let mut bench = Bench::lives(1);
        bench.saves(1, 1, "t");
        bench.crashes(1);
        bench.begins(run(2), 2);
        bench.step(load(2));
        bench.crashes(2);
        bench.begins(run(3), 3);
        for word in words {
            bench.step(word.clone());
        }
        bench.crashes(3);
        bench.newest().map(|state| (state.id, state.crashes))
    };
    assert_eq!(count(&[]), Some((id(1, 1), 1)));
    assert_eq!(count(&[load(3)]), Some((id(1, 1), 2)));
    assert_eq!(count(&[load(3), confirm(3)]), Some((id(1, 1), 0)));
    assert_eq!(count(&[load(3), save(3, "t"), written(3, 1)]), Some((id(3, 1), 0)));
    assert_eq!(count(&[load(3), stop(3, None)]), Some((id(1, 1), 0)), "in a row");
}

#[test]
fn who_ran_for_long_did_not_crash_of_what_it_had_read() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.crashes(1);
    let stable_after = settings().policy.stable_after;
    for (life, ran, crashes) in [(2, secs(1), 1), (3, stable_after, 0), (4, stable_after - secs(1), 1)] {
        bench.begins(run(life), life);
        bench.step(load(life));
        bench.pass(ran);
        bench.crashes(life);
        assert_eq!(bench.newest().map(|state| state.crashes), Some(crashes), "{ran:?}");
    }
}

#[test]
fn the_command_saves_before_the_signal_and_within_the_grace() {
    let by_command = || {
        let settings = Settings {
            asks_to_save: AsksToSave::ByCommand,
            ..settings()
        };
        let mut bench = Bench::with_server(settings, None);
        bench.begins(run(1), 1);
        bench
    };
    let done = || Input::CheckpointCommandDone { incarnation: n(1) };
    let mut bench = by_command();
    bench.does(stop(1, None), &["run the checkpoint command for 5s"]);
    bench.pass(secs(4));
    bench.saves(1, 1, "t");
    bench.does(done(), &["signal tree TERM"]);
    bench.does(done(), &[]);
    bench.does_after(secs(4), &[]);
    bench.does_after(secs(1), &["kill tree"]);
    bench.step(gone(1));
    assert_eq!(asked(&bench), Some(AskedSave::Saved(id(1, 1))));

    let mut bench = by_command();
    bench.step(stop(1, None));
    bench.does_after(secs(5), &["end the checkpoint command", "signal tree TERM"]);
    bench.does(done(), &[]);
    assert_eq!(bench.waits(), Some(secs(5)));
    bench.does_after(secs(5), &["kill tree"]);
    bench.does(done(), &[]);

    let mut bench = by_command();
    bench.step(stop(1, None));
    bench.does(exited(1), &["await tree"]);
    bench.does(stop(1, Some(secs(0))), &["kill tree"]);

    let mut bench = by_command();
    bench.does(stop(1, Some(secs(0))), &["kill tree"]);
    let mut bench = by_command();
    bench.does(exited(1), &["kill tree"]);
}

#[test]
fn a_confirmed_one_is_blamed_for_nothing_any_more() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.crashes(1);
    bench.begins(run(2), 2);
    bench.step(load(2));
    bench.crashes(2);
    bench.begins(run(3), 3);
    bench.step(confirm(3));
    assert_eq!(bench.newest().map(|state| state.crashes), Some(0));
}

#[test]
fn who_is_ended_by_sigkill_alone_is_not_asked() {
    let policy = AgentPolicy::new(PolicyFields {
        stop_signal: rekindle::policy::StopSignal::Kill,
        ..PolicyFields::default()
    });
    let settings = Settings {
        policy: policy.expect("valid"),
        ..settings()
    };
    let mut bench = Bench::with_server(settings, None);
    bench.begins(run(1), 1);
    bench.does(stop(1, None), &["kill tree"]);
    bench.step(gone(1));
    assert_eq!(asked(&bench), Some(AskedSave::NotAsked));
}

#[test]
fn an_upgrade_waits_for_the_disk() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.does(Input::UpgradeRequested, &[]);
    let told = bench.step(written(1, 1));
    assert!(told.contains(&"upgrade".to_owned()), "{told:?}");
}

#[test]
fn who_saves_all_the_time_puts_off_no_upgrade() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    bench.step(save(1, "u"));
    bench.does(Input::UpgradeRequested, &[]);
    let told = bench.step(written(1, 1));
    assert!(told.contains(&"upgrade".to_owned()), "{told:?}");
    bench.does(save(1, "v"), &[]);
    let told = bench.step(Input::UpgradeFailed);
    assert!(told.contains(&"write 1.2 Open []".to_owned()), "{told:?}");
}
