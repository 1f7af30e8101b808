//! Children that outlive their shim, and those that should not have.

use super::*;
use crate::journal::{Handover, JournalChild, JournalPhase};

fn keeping() -> Settings {
    Settings {
        on_shim_exit: OnShimExit::Keep,
        ..settings()
    }
}

fn left(phase: JournalPhase) -> Journal {
    let mut journal = journal();
    journal.last_incarnation = n(4);
    journal.child = Some(JournalChild {
        incarnation: n(4),
        process: Some(process(4)),
        phase,
    });
    journal
}

#[test]
fn a_kept_child_is_adopted_and_goes_on_as_it_was() {
    let (mut bench, shown) = Bench::new(keeping(), left(JournalPhase::Ready));
    assert_eq!(shown, ["write", "adopt pid 104"]);
    bench.does(Input::Adopted { incarnation: n(3) }, &[]);
    bench.does(Input::Adopted { incarnation: n(4) }, &["connect"]);
    bench.links(0, &[r"has 4 Some((4, Ready)) []"]);
    bench.does(exited(4), &["kill tree"]);
    bench.does(gone(4), &["write", "say 1 exited"]);
}

#[test]
fn a_kept_child_that_is_not_ready_has_its_time_anew() {
    let settings = Settings {
        readiness: Readiness::Notify,
        ..keeping()
    };
    let (mut bench, _) = Bench::new(settings, left(JournalPhase::Starting));
    bench.does(Input::Adopted { incarnation: n(4) }, &["connect"]);
    bench.links(0, &[r"has 4 Some((4, Starting)) []"]);
    assert_eq!(bench.waits(), Some(secs(60)));
}

#[test]
fn a_kept_child_that_ended_meanwhile_is_told_as_ended_unseen() {
    let (mut bench, _) = Bench::new(keeping(), left(JournalPhase::Ready));
    bench.does(Input::NotAdopted, &["sweep pid 104"]);
    bench.does(Input::Swept { survivors: vec![] }, &["write", "connect"]);
    bench.links(0, &[r#"has 4 None ["1 exited"]"#]);
}

#[test]
fn a_shim_that_ends_leaves_the_child_and_says_no_goodbye() {
    let (mut bench, _) = Bench::new(keeping(), left(JournalPhase::Ready));
    bench.does(Input::StopRequested, &[]);
    bench.does(Input::Adopted { incarnation: n(4) }, &["connect", "exit Kept"]);

    let (mut bench, _) = Bench::new(keeping(), journal());
    bench.link(0);
    bench.does(run(1), &["write", "spawn"]);
    bench.does(Input::StopRequested, &[]);
    bench.does(spawned(1), &["write", "say 1 spawned", "say 2 ready", "exit Kept"]);

    let (mut bench, _) = Bench::new(keeping(), journal());
    bench.link(0);
    bench.does(Input::StopRequested, &["goodbye", "exit Done"]);
}

#[test]
fn a_shim_that_ends_while_its_child_is_ended_sees_that_through() {
    let (mut bench, _) = Bench::new(keeping(), journal());
    bench.link(0);
    bench.does(run(1), &["write", "spawn"]);
    bench.does(spawned(1), &["write", "say 1 spawned", "say 2 ready"]);
    bench.does(stop(1, None), &["signal tree TERM"]);
    bench.does(Input::StopRequested, &[]);
    bench.does(gone(1), &["write", "say 3 exited by Command"]);
    bench.does(Input::Acknowledged(seq(3)), &["goodbye", "exit Done"]);
}

#[test]
fn an_upgrade_hands_the_child_over_whatever_the_setting() {
    let mut bench = Bench::running(1);
    bench.does(Input::UpgradeRequested, &["write", "upgrade"]);
    let journal = bench.supervisor.journal().clone();
    assert_eq!(journal.handover, Handover::Yes { contact: secs(1000) });
    let (mut next, shown) = Bench::new(settings(), journal);
    assert_eq!(shown, ["write", "adopt pid 101"]);
    assert_eq!(next.supervisor.journal().handover, Handover::No, "once");
    next.does(Input::Adopted { incarnation: n(1) }, &["connect"]);

    bench.does(Input::UpgradeFailed, &["write"]);
    bench.does(exited(1), &["kill tree"]);
}

#[test]
fn an_upgrade_with_nothing_to_hand_over_hands_nothing_over_later() {
    let mut bench = Bench::linked(|_| ());
    bench.does(Input::UpgradeRequested, &["write", "upgrade"]);
    let journal = bench.supervisor.journal().clone();
    let (mut next, shown) = Bench::new(settings(), journal);
    assert_eq!(shown, ["write", "connect"]);
    assert_eq!(next.supervisor.journal().handover, Handover::No, "once");
    next.link(0);
    next.does(run(1), &["write", "spawn"]);
    next.does(spawned(1), &["write", "say 1 spawned", "say 2 ready"]);
    let (_, shown) = Bench::new(settings(), next.supervisor.journal().clone());
    assert_eq!(shown, ["write", "sweep pid 101"], "it died with its shim");
}

#[test]
fn an_upgrade_waits_for_what_is_under_way() {
    let mut bench = Bench::linked(|_| ());
    bench.does(run(1), &["write", "spawn"]);
    bench.does(Input::UpgradeRequested, &[]);
    bench.does(spawned(1), &["write", "say 1 spawned", "say 2 ready", "upgrade"]);
}

#[test]
fn a_quarantine_that_a_sweep_began_ends_with_the_survivors() {
    let (mut bench, _) = Bench::new(settings(), left(JournalPhase::Ready));
    let survivors = vec![Survivor {
        pid: 9,
        pidfd_inode: None,
        start_time_ticks: 0,
        command: "stuck".into(),
    }];
    bench.does(Input::Swept { survivors }, &["write", "connect"]);
    bench.link(0);
    bench.does(Input::Acknowledged(seq(1)), &[]);
    // Those are dead, and there was somebody else.
    let survivors = vec![Survivor {
        pid: 10,
        pidfd_inode: None,
        start_time_ticks: 0,
        command: "stuck, too".into(),
    }];
    bench.does(Input::Swept { survivors }, &["write", "say 2 survived"]);
    bench.does(Input::Acknowledged(seq(2)), &[]);
    bench.does(Input::Swept { survivors: vec![] }, &["write", "say 3 exited"]);
    bench.does(run(5), &["write", "spawn"]);
}

#[test]
fn an_upgrade_does_not_put_a_fence_off() {
    let fencing = Settings {
        fence_after: Some(secs(30)),
        ..settings()
    };
    let (mut bench, _) = Bench::new(fencing.clone(), journal());
    bench.link(0);
    bench.does(run(1), &["write", "spawn"]);
    bench.does(spawned(1), &["write", "say 1 spawned", "say 2 ready"]);
    bench.does(Input::LinkLost, &[]);
    bench.pass(secs(20));
    bench.does(Input::UpgradeRequested, &["write", "upgrade"]);
    let (at, journal) = (bench.at, bench.supervisor.journal().clone());
    let (supervisor, _) = Supervisor::recover(fencing, journal, None, at);
    let mut next = Bench {
        supervisor,
        at,
        confirmed: Vec::new(),
    };
    next.does(Input::Adopted { incarnation: n(1) }, &["connect"]);
    assert_eq!(next.waits(), Some(secs(10)));
    next.does_after(secs(10), &["signal tree TERM"]);
}
