//! What a shim leaves that has died, and what the next one makes of it.

use rekindle::checkpoint::{CheckpointState, Flags, Reception};
use rekindle::id::BootId;

use super::*;
use crate::journal::{JournalChild, JournalHanded, JournalPhase};

/// The journal, and the newest in its state directory, of a shim that has died with its life.
fn left(task: &str) -> (Journal, Option<HeldCheckpoint>) {
    let mut bench = Bench::lives(4);
    bench.saves(4, 1, task);
    (bench.supervisor.journal().clone(), Some(held(4, 1, task)))
}

fn recovered(settings: Settings, journal: Journal, held: Option<HeldCheckpoint>) -> Bench {
    let (mut bench, _) = Bench::new(settings.clone(), journal.clone());
    let (supervisor, _) = Supervisor::recover(settings, journal, held, bench.at);
    bench.supervisor = supervisor;
    bench
}

fn rebooted() -> Settings {
    let mut rebooted = settings();
    rebooted.host.boot_id = BootId::from_u128(77);
    rebooted
}

fn child(incarnation: u64) -> JournalChild {
    JournalChild {
        incarnation: n(incarnation),
        process: Some(process(incarnation)),
        phase: JournalPhase::Ready,
    }
}

fn newest(bench: &Bench) -> Option<(CheckpointId, Flags)> {
    bench.newest().map(|state| (state.id, state.flags))
}

fn swept() -> Input {
    Input::Swept { survivors: Vec::new() }
}

#[test]
fn the_next_shim_goes_on_with_it() {
    let (journal, file) = left("t");
    let mut bench = recovered(settings(), journal, file);
    bench.step(swept());
    assert_eq!(newest(&bench), Some((id(4, 1), Flags::unclean([]))));
    bench.step(Input::LinkOpened);
    bench.welcomed_with(None);
    bench.step(run(5));
    bench.step(spawned(5));
    assert_eq!(bench.handed(5).map(|held| held.checkpoint.id), Some(id(4, 1)));
}

#[test]
fn what_was_read_when_the_shim_died_is_neither_blamed_nor_cleared() {
    let (mut journal, file) = left("t");
    journal.last_incarnation = n(5);
    journal.child = Some(child(5));
    journal.handed = Some(JournalHanded {
        incarnation: n(5),
        id: id(4, 1),
        reception: Reception::Read,
    });
    journal.checkpoint = Some(CheckpointState {
        crashes: 1,
        ..CheckpointState::saved(id(4, 1))
    });
    let mut bench = recovered(settings(), journal.clone(), file.clone());
    bench.step(swept());
    assert_eq!(bench.newest().map(|state| state.crashes), Some(1));
    assert_eq!(bench.supervisor.journal().handed, None);
    // The host is not the checkpoint's to answer for.
    let bench = recovered(rebooted(), journal, file);
    assert_eq!(bench.newest().map(|state| state.crashes), Some(0));
}

#[test]
fn the_last_words_of_a_life_come_before_the_greeting() {
    let (journal, file) = left("t");
    let mut bench = recovered(settings(), journal.clone(), file.clone());
    bench.does(save(4, "u"), &["write 4.2 Open []"]);
    bench.step(swept());
    bench.does(Input::LinkOpened, &[]);
    let told = bench.step(written(4, 2));
    assert!(told.ends_with(&["hello".to_owned()]), "{told:?}");
    assert_eq!(newest(&bench), Some((id(4, 2), Flags::unclean([]))));
    bench.does(save(4, "u"), &["answer 1 NotRunning"]);
    // After a reboot as well.
    let mut bench = recovered(rebooted(), journal, file);
    bench.does(save(3, "u"), &["answer 1 NotRunning"]);
    bench.does(save(4, "u"), &["write 4.2 Open []"]);
    bench.step(written(4, 2));
    assert_eq!(newest(&bench), Some((id(4, 2), Flags::unclean([]))));
}

#[test]
fn after_a_reboot_what_was_in_flight_is_told() {
    let mut bench = pulls();
    bench.takes(1);
    bench.saves(1, 1, "");
    bench.step(dispatch(2));
    let journal = bench.supervisor.journal().clone();
    let settings = Settings {
        delivery: Delivery::Pull,
        ..rebooted()
    };
    let bench = recovered(settings, journal, Some(held(1, 1, "e1")));
    // The second may have begun: a power loss takes the newest lines.
    let executions = [1, 2].map(|number| attempt(number).execution);
    assert_eq!(newest(&bench), Some((id(1, 1), Flags::unclean(executions))));
}

#[test]
fn what_a_power_loss_has_taken_from_the_journal_counts_as_unclean() {
    let journal = journal();
    let bench = recovered(rebooted(), journal.clone(), Some(held(4, 1, "t")));
    assert_eq!(newest(&bench), Some((id(4, 1), Flags::unclean([]))));
    let bench = recovered(settings(), journal, Some(held(4, 1, "t")));
    assert_eq!(newest(&bench), Some((id(4, 1), Flags::default())));
}

#[test]
fn the_journal_and_the_file_are_reconciled() {
    let closed = Standing::Closed(ClosedBy::Agent);
    for (written, file, expected, why) in [
        (None, Some(2), Some((2, Standing::Open)), "the journal came later"),
        (Some((1, closed)), Some(2), Some((2, Standing::Open)), "saved since"),
        (Some((2, closed)), Some(2), Some((2, closed)), "closed since"),
        (
            Some((3, Standing::Open)),
            Some(2),
            Some((2, Standing::Open)),
            "the newest is torn",
        ),
        (Some((3, closed)), Some(2), Some((3, closed)), "its task is over"),
        (Some((3, closed)), None, Some((3, closed)), "no file"),
        (None, None, None, "nothing"),
    ] {
        let mut left = journal();
        left.checkpoint = written.map(|(number, standing)| CheckpointState {
            standing,
            ..CheckpointState::saved(id(4, number))
        });
        let bench = recovered(settings(), left, file.map(|number| held(4, number, "t")));
        let found = bench.newest().map(|state| (state.id.number, state.standing));
        assert_eq!(found, expected, "{why}");
        let is_older = file < written.map(|(number, _)| number) && found == Some((2, Standing::Open));
        assert_eq!(
            bench.newest().is_some_and(|state| state.flags.unclean),
            is_older,
            "{why}"
        );
    }
}

#[test]
fn what_is_over_does_not_come_back_where_the_newest_is_torn() {
    let newest = |ends: Input| {
        let mut bench = Bench::lives(4);
        bench.saves(4, 1, "t");
        bench.step(ends);
        bench.saves(4, 2, "t");
        // Has the journal written.
        bench.crashes(4);
        let journal = bench.supervisor.journal().clone();
        recovered(settings(), journal, Some(held(4, 1, "t"))).newest()
    };
    let state = |number| CheckpointState {
        flags: Flags::unclean([]),
        ..CheckpointState::saved(id(4, number))
    };
    assert_eq!(newest(close(4)), Some(state(2)), "of which there is no content");
    assert_eq!(newest(load(4)), Some(state(1)));
}

#[test]
fn what_came_too_late_does_not_come_back_with_the_next_shim() {
    let mut bench = Bench::lives(4);
    bench.saves(4, 1, "t");
    bench.crashes(4);
    let late = resume(|resumption| {
        resumption.offered = Some(OfferedCheckpoint {
            content: None,
            ..offered(3, 9, Standing::Closed(ClosedBy::Task))
        });
        resumption.late_through = n(8);
    });
    bench.begins(run_with(9, late), 9);
    let journal = bench.supervisor.journal().clone();
    let file = Some(held(4, 1, "t"));
    let mut bench = recovered(settings(), journal, file);
    bench.step(swept());
    assert_ne!(bench.standing(), Some(Standing::Open));
    bench.step(Input::LinkOpened);
    bench.welcomed_with(None);
    bench.step(run(10));
    bench.step(spawned(10));
    assert_eq!(bench.handed(10), None);
}

#[test]
fn a_number_is_never_given_twice() {
    let mut left = journal();
    left.last_incarnation = n(4);
    left.checkpoint = Some(CheckpointState::saved(id(4, 3)));
    left.child = Some(child(4));
    let keeps = Settings {
        on_shim_exit: OnShimExit::Keep,
        ..settings()
    };
    let mut bench = recovered(keeps, left, Some(held(4, 2, "t")));
    bench.step(Input::Adopted { incarnation: n(4) });
    bench.does(save(4, "t"), &["write 4.4 Open []"]);
}

#[test]
fn a_shim_that_ends_lets_the_server_have_the_last_save() {
    let mut bench = Bench::lives(1);
    bench.step(Input::StopRequested);
    bench.step(save(1, "t"));
    bench.step(written(1, 1));
    bench.step(gone(1));
    let told = bench.supervisor.journal().last_report;
    bench.does(Input::Acknowledged(told), &[]);
    bench.does(kept(1, 1), &["goodbye", "exit Done"]);
}

#[test]
fn a_life_that_was_to_go_on_and_did_not_ended_unclean() {
    let (journal, file) = left("t");
    let keeps = Settings {
        on_shim_exit: OnShimExit::Keep,
        ..settings()
    };
    let mut bench = recovered(keeps, journal, file);
    bench.step(Input::NotAdopted);
    bench.step(swept());
    assert_eq!(newest(&bench), Some((id(4, 1), Flags::unclean([]))));
}

#[test]
fn a_shim_that_is_left_alone_hears_the_last_words_before_it_begins() {
    let (mut journal, file) = left("t");
    journal.charge = Some(crate::journal::JournalCharge {
        wanted: rekindle::session::Wanted::Run,
        policy: AgentPolicy::default(),
        budget: rekindle::recovery::Budget::default(),
        salt: 0,
    });
    let mut bench = recovered(settings(), journal, file);
    bench.does(save(4, "u"), &["write 4.2 Open []"]);
    bench.step(swept());
    bench.does_after(secs(600), &[]);
    let begun = bench.step(written(4, 2));
    assert!(begun.ends_with(&["spawn".to_owned()]), "{begun:?}");
    assert_eq!(bench.handed(5).map(|held| held.checkpoint.id), Some(id(4, 2)));
    bench.does(save(4, "u"), &["answer 1 OldIncarnation { living: Incarnation(5) }"]);
}

#[test]
fn what_the_disk_was_late_with_is_as_unclean_as_the_save_before_it() {
    let (mut journal, _) = left("t");
    journal.child = None;
    journal.checkpoint = Some(CheckpointState {
        flags: Flags::unclean([]),
        ..CheckpointState::saved(id(4, 1))
    });
    // It was on the disk, and the shim died before its journal was written.
    let bench = recovered(settings(), journal, Some(held(4, 2, "t")));
    assert_eq!(newest(&bench), Some((id(4, 2), Flags::unclean([]))));
}
