//! A kernel before 6.9: the start time and the marker stand in for the inode of a pidfd, and nobody tells how a process of
//! another shim ended.

use std::time::Duration;

use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::session::Command;

use crate::bench::{Bench, exited, lives, nobody_lives, output, spawned, wait_for};
use crate::doctor::line;
use crate::keep::adopted;
use crate::launcher::Launcher;

const KEEP: [&[&str]; 2] = [
    &["--on-shim-exit", "keep"],
    &["--on-shim-exit", "keep", "--cgroup", "off"],
];

#[test]
fn the_doctor_says_what_stands_in() {
    let bench = Bench::with(Launcher::OldKernel);
    let output = output(bench.program().arg("doctor"));
    let table = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{table}");
    for (what, state, text) in [
        ("pidfd_open", "yes", "by descriptor"),
        ("pidfd inode", "no", "the start time stands in"),
        ("pidfd exit status", "no", "unknown"),
    ] {
        let (found, why) = line(&table, what);
        assert!(found == state && why.contains(text), "{what} in\n{table}");
    }
}

#[test]
fn what_a_killed_shim_left_is_swept() {
    for flags in [&[][..], &["--cgroup", "off"]] {
        let mut bench = Bench::with(Launcher::OldKernel);
        let script = "setsid sh -c 'echo $$ > $0/daemon; exec sleep 60' $D & sleep 60";
        let (shim, session, process) = bench.running(flags, script);
        assert_eq!(process.pidfd_inode, None);
        let daemon = bench.told("daemon");
        let marker = session.hello.marker;
        drop(session);
        shim.killed();
        wait_for("the child's end with its shim", || (!lives(process.pid)).then_some(()));
        assert!(lives(&daemon), "a daemon outlives the shim");

        let _shim = bench.spawn(flags, script);
        let mut session = bench.server.next();
        nobody_lives(marker, 1, "when the next shim says hello");
        session.welcome(Duration::from_secs(5));
        let told = &session.inventory;
        assert_eq!((told.last_incarnation, &told.child), (Incarnation::new(1), &None));
    }
}

#[test]
fn a_kept_child_is_adopted_and_a_stop_ends_its_whole_tree() {
    for flags in KEEP {
        let mut bench = Bench::with(Launcher::OldKernel);
        let script = "setsid sh -c 'trap \"\" TERM; echo $$ > $0/daemon; while :; do sleep 1; done' $D & exec sleep 60";
        let (shim, session, process) = bench.running(flags, script);
        bench.told("daemon");
        let marker = session.hello.marker;
        drop(session);
        shim.killed();

        let (_shim, mut session) = adopted(&mut bench, flags, script, &process);
        session.command(Command::Stop {
            incarnation: Incarnation::new(1),
            grace: Some(Duration::from_millis(300)),
        });
        let report = session.report();
        nobody_lives(marker, 1, "when the end is told");
        let evidence = exited(&report);
        assert_eq!(
            (evidence.status, evidence.ended_by),
            (ExitStatus::Unknown, EndedBy::Command)
        );
        session.run(2);
        assert!(!spawned(&mut session, 2).same_process(&process));
    }
}

#[test]
fn the_end_of_an_adopted_child_is_seen_and_how_it_was_is_not_made_up() {
    for flags in KEEP {
        let mut bench = Bench::with(Launcher::OldKernel);
        let script = "while [ ! -e $D/go ]; do sleep 0.02; done; echo bye >&2; exit 7";
        let (shim, session, process) = bench.running(flags, script);
        drop(session);
        shim.killed();
        let (_shim, mut session) = adopted(&mut bench, flags, script, &process);
        std::fs::write(bench.file("go"), "").expect("written");
        let report = session.report();
        let evidence = exited(&report);
        assert_eq!(
            (evidence.status, evidence.ended_by),
            (ExitStatus::Unknown, EndedBy::Itself)
        );
        assert_eq!(evidence.stderr_tail, "bye\n");
    }
}
