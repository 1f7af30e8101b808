//! What is saved on being asked, before an end that was planned.

use std::time::Instant;

use rekindle::checkpoint::AskedSave;
use rekindle::exit::{EndedBy, ExitEvidence};
use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle::session::Command;

use super::*;

/// Stops a life, and gives its end.
fn stopped(session: &mut Session, grace: Option<Duration>) -> ExitEvidence {
    session.command(Command::Stop {
        incarnation: Incarnation::new(1),
        grace,
    });
    let report = session.report();
    let evidence = exited(&report).clone();
    session.acknowledge(&report);
    evidence
}

/// A life that does nothing, but what a signal has it do.
fn up(bench: &mut Bench, flags: &[&str], on_term: &str) -> (crate::bench::Shim, Session, ProcessIdentity) {
    let script = format!(
        "{SAVES} case $REKINDLE_INCARNATION in 1)
            trap '{on_term}' TERM; echo up > $D/up; while :; do sleep 0.02; done;; esac; {TELLS}"
    );
    let (shim, session, process) = bench.running(flags, &script);
    bench.told("up");
    (shim, session, process)
}

const COMMAND: &str = "printf '{\"stage\": \"by the command of %s\"}' \"$REKINDLE_INCARNATION\" > $REKINDLE_STATE_FILE";

#[test]
fn the_first_signal_asks() {
    let mut bench = Bench::new();
    let (_shim, mut session, _) = up(&mut bench, &[], "save \"{\\\"stage\\\": \\\"asked\\\"}\"; exit 0");
    let evidence = stopped(&mut session, None);
    assert_eq!(evidence.ended_by, EndedBy::Command);
    assert_eq!(evidence.asked_save, AskedSave::Saved("1.1".parse().expect("valid")));
    session.run(2);
    spawned(&mut session, 2);
    assert_eq!(bench.handed_stage(2).as_deref(), Some("asked"));
    assert_eq!(
        bench.variable(2, "REKINDLE_UNCLEAN"),
        None,
        "it saved when it was asked"
    );
}

#[test]
fn who_does_not_save_has_not_saved() {
    let mut bench = Bench::new();
    let (_shim, mut session, _) = up(&mut bench, &[], "exit 0");
    assert_eq!(stopped(&mut session, None).asked_save, AskedSave::NotSaved);
    let mut bench = Bench::new();
    let (_shim, mut session, _) = up(&mut bench, &[], "exit 0");
    assert_eq!(
        stopped(&mut session, Some(Duration::ZERO)).asked_save,
        AskedSave::NotAsked
    );
}

#[test]
fn the_checkpoint_command_saves_before_the_signal() {
    for flags in [&[][..], &["--cgroup", "off"]] {
        let mut bench = Bench::new();
        let flags = [flags, &["--checkpoint-command", COMMAND]].concat();
        let (_shim, mut session, _) = up(&mut bench, &flags, "exit 3");
        let evidence = stopped(&mut session, None);
        assert_eq!(evidence.status, ExitStatus::Exited(3), "the signal came after it");
        assert_eq!(evidence.asked_save, AskedSave::Saved("1.1".parse().expect("valid")));
        session.run(2);
        spawned(&mut session, 2);
        assert_eq!(bench.handed_stage(2).as_deref(), Some("by the command of 1"));
    }
}

#[test]
fn a_command_that_fails_or_hangs_ends_with_the_tree_within_the_grace() {
    let mut bench = Bench::new();
    let (_shim, mut session, _) = up(&mut bench, &["--checkpoint-command", "exit 7"], "exit 3");
    let evidence = stopped(&mut session, None);
    assert_eq!(
        (evidence.status, evidence.asked_save),
        (ExitStatus::Exited(3), AskedSave::NotSaved)
    );

    let mut bench = Bench::new();
    let hangs = format!("trap '' TERM; echo $$ > {}; sleep 600", bench.file("command").display());
    let flags = ["--checkpoint-command", &hangs, "--stop-grace", "500ms"];
    let (_shim, mut session, _) = up(&mut bench, &flags, ":");
    let start = Instant::now();
    let evidence = stopped(&mut session, None);
    assert_eq!(evidence.asked_save, AskedSave::NotSaved);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(!crate::bench::lives(bench.told("command")));
}

#[test]
fn a_shim_that_is_told_to_end_asks_too() {
    let mut bench = Bench::new();
    let (shim, mut session, _) = up(&mut bench, &["--checkpoint-command", COMMAND], "exit 0");
    shim.signal(Signal::TERM);
    let report = session.report();
    let evidence = exited(&report);
    assert_eq!(evidence.ended_by, EndedBy::ShimStop);
    assert_eq!(evidence.asked_save, AskedSave::Saved("1.1".parse().expect("valid")));
    session.acknowledge(&report);
    drop(session);
    assert_eq!(shim.ended().code(), Some(0));
    // Its directory is left as it was found.
    assert!(!bench.file("state/socket/state").exists());
}

#[test]
fn an_adopted_child_is_saved_by_the_command_of_its_new_shim() {
    let mut bench = Bench::new();
    let flags = ["--on-shim-exit", "keep", "--checkpoint-command", COMMAND];
    let (shim, session, process) = up(&mut bench, &flags, "exit 0");
    drop(session);
    shim.killed();
    let (_shim, mut session) = crate::keep::adopted(&mut bench, &flags, TELLS, &process);
    let evidence = stopped(&mut session, None);
    assert_eq!(evidence.asked_save, AskedSave::Saved("1.1".parse().expect("valid")));
}
