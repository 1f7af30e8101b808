//! Children that outlive their shim, and the shims that adopt them.

use std::time::Duration;

use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle::report::{ChildPhase, ReportFact};
use rekindle::session::{Command, ShimMessage};
use rustix::process::Signal;

use crate::bench::{Bench, Shim, exited, kill, lives, output, spawned, wait_for};
use crate::fake::Session;

const KEEP: [&[&str]; 2] = [
    &["--on-shim-exit", "keep"],
    &["--on-shim-exit", "keep", "--cgroup", "off"],
];

/// The next shim, which must say that this child goes on.
pub(crate) fn adopted(bench: &mut Bench, flags: &[&str], script: &str, process: &ProcessIdentity) -> (Shim, Session) {
    let shim = bench.spawn(flags, script);
    let session = bench.server.welcome();
    let child = session.inventory.child.as_ref().expect("it goes on");
    assert_eq!(
        (child.incarnation, child.process.as_ref()),
        (Incarnation::new(1), Some(process))
    );
    assert_eq!(session.inventory.last_incarnation, Incarnation::new(1));
    // An acknowledgement may have come too late for the shim before.
    for report in &session.inventory.reports {
        match &report.fact {
            ReportFact::Spawned(told) => assert_eq!(told.as_ref(), Some(process)),
            ReportFact::Ready => {}
            other @ (ReportFact::Recovering { .. }
            | ReportFact::MainProcess(_)
            | ReportFact::Stopping
            | ReportFact::AttemptAccepted(_)
            | ReportFact::AttemptStarted(..)
            | ReportFact::AttemptSurvived(..)
            | ReportFact::AttemptFinished(..)
            | ReportFact::Exited(_)
            | ReportFact::SpawnFailed(_)
            | ReportFact::Survived(_)
            | ReportFact::HandedOver(_)
            | ReportFact::CheckpointRead(_)
            | ReportFact::CheckpointConfirmed(_)) => panic!("nothing has ended, and nothing else begun: {other:?}"),
        }
    }
    (shim, session)
}

/// Told by pidfd, or, before Linux 6.15, not at all.
#[track_caller]
fn is_told(status: ExitStatus, expected: ExitStatus) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("read");
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok());
    let version: (u32, u32) = (numbers.next().expect("a version"), numbers.next().expect("a version"));
    let told = if version >= (6, 15) {
        expected
    } else {
        ExitStatus::Unknown
    };
    assert_eq!(status, told);
}

#[test]
fn a_kept_child_is_adopted_and_a_stop_ends_its_whole_tree() {
    for flags in KEEP {
        let mut bench = Bench::new();
        let script = "setsid sh -c 'trap \"\" TERM; echo $$ > $0/daemon; while :; do sleep 1; done' $D & \
                      echo before; while [ ! -e $D/go ]; do sleep 0.02; done; echo after; echo > $D/gone; sleep 60";
        let (shim, session, process) = bench.running(flags, script);
        let daemon = bench.told("daemon");
        drop(session);
        shim.killed();
        assert!(lives(process.pid), "the child outlives its shim");
        std::fs::write(bench.file("go"), "").expect("written");
        wait_for("what is written meanwhile", || {
            bench.file("gone").exists().then_some(())
        });

        let (_shim, mut session) = adopted(&mut bench, flags, script, &process);
        session.command(Command::Stop {
            incarnation: Incarnation::new(1),
            grace: Some(Duration::from_millis(300)),
        });
        let report = session.report();
        let evidence = exited(&report);
        assert!(
            !lives(process.pid) && !lives(&daemon),
            "nothing lives when the end is told"
        );
        assert_eq!(evidence.ended_by, EndedBy::Command);
        assert_eq!(session.confirmed, [7], "it has got the stop, and begins nothing alone");
        let term = Signal::TERM.as_raw();
        is_told(
            evidence.status,
            ExitStatus::Signaled {
                signal: term,
                core_dumped: false,
            },
        );
        assert_eq!(evidence.stdout_tail, "before\nafter\n");
        let log = std::fs::read_to_string(bench.file("state/logs/stdout.log")).expect("a log");
        assert_eq!(log, "before\nafter\n");

        session.run(2);
        let next = spawned(&mut session, 2);
        assert!(!next.same_process(&process));
    }
}

#[test]
fn the_end_of_an_adopted_child_is_seen_and_its_status_told() {
    for flags in KEEP {
        let mut bench = Bench::new();
        let script = "while [ ! -e $D/go ]; do sleep 0.02; done; echo bye >&2; exit 7";
        let (shim, session, process) = bench.running(flags, script);
        drop(session);
        shim.killed();
        let (_shim, mut session) = adopted(&mut bench, flags, script, &process);
        std::fs::write(bench.file("go"), "").expect("written");
        let report = session.report();
        let evidence = exited(&report);
        assert_eq!(evidence.ended_by, EndedBy::Itself);
        is_told(evidence.status, ExitStatus::Exited(7));
        assert_eq!(evidence.stderr_tail, "bye\n");
    }
}

#[test]
fn a_shim_that_is_told_to_end_leaves_its_child_and_says_no_goodbye() {
    let mut bench = Bench::new();
    let flags = KEEP[0];
    let (shim, mut session, process) = bench.running(flags, "sleep 60");
    shim.signal(Signal::TERM);
    assert_eq!(session.hear(), None);
    drop(session);
    assert_eq!(shim.ended().code(), Some(0));
    assert!(lives(process.pid));

    let (shim, mut session) = adopted(&mut bench, flags, "sleep 60", &process);
    kill(&process, Signal::KILL);
    let report = session.report();
    assert_eq!(exited(&report).ended_by, EndedBy::Itself);
    session.acknowledge(&report);
    shim.signal(Signal::TERM);
    assert_eq!(session.hear(), Some(ShimMessage::Goodbye));
    drop(session);
    assert_eq!(shim.ended().code(), Some(0));
}

#[test]
fn a_child_that_ends_between_two_shims_is_told_as_ended_unseen() {
    for flags in KEEP {
        let mut bench = Bench::new();
        let script = "setsid sh -c 'echo $$ > $0/daemon; exec sleep 60' $D & sleep 60";
        let (shim, session, process) = bench.running(flags, script);
        let daemon = bench.told("daemon");
        drop(session);
        shim.killed();
        kill(&process, Signal::KILL);
        wait_for("whoever reaps it", || {
            (!std::path::Path::new(&format!("/proc/{}", process.pid)).exists()).then_some(())
        });

        let _shim = bench.spawn(flags, script);
        let session = bench.server.welcome();
        assert!(!lives(&daemon), "nothing lives when the next shim says hello");
        assert_eq!(session.inventory.child, None);
        let last = session.inventory.reports.last().expect("an end");
        assert_eq!(last.incarnation, Incarnation::new(1));
        let evidence = exited(last);
        assert_eq!(
            (evidence.status, evidence.ended_by),
            (ExitStatus::Unknown, EndedBy::Itself)
        );
    }
}

/// Says that it is ready for as long as it lives.
const SAYS_READY: &str = "exec python3 -c '
import os, socket, sys, time
socket_of_shim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
while True:
    if os.path.exists(sys.argv[1] + \"/go\"):
        try:
            socket_of_shim.sendto(b\"READY=1\", \"\\0\" + os.environ[\"NOTIFY_SOCKET\"][1:])
        except ConnectionRefusedError:
            pass
    time.sleep(0.02)
' $D";

#[test]
fn an_adopted_child_is_heard_by_the_name_that_it_was_told() {
    for keep in KEEP {
        let mut bench = Bench::new();
        let flags = [keep, &["--ready", "notify"]].concat();
        let shim = bench.spawn(&flags, SAYS_READY);
        let mut session = bench.server.welcome();
        session.run(1);
        let report = session.report();
        let ReportFact::Spawned(Some(process)) = &report.fact else {
            panic!("a life was expected, not {report:?}")
        };
        session.acknowledge(&report);
        session.beats(1);
        drop(session);
        shim.killed();

        let (_shim, mut session) = adopted(&mut bench, &flags, SAYS_READY, process);
        let child = session.inventory.child.as_ref().expect("it goes on");
        assert_eq!(child.phase, ChildPhase::Starting);
        std::fs::write(bench.file("go"), "").expect("written");
        assert_eq!(session.report().fact, ReportFact::Ready);
    }
}

#[test]
fn what_cannot_be_with_a_child_that_lives_on_is_refused() {
    for (flags, expected) in [
        (
            &["--on-shim-exit", "keep", "--log", "inherit"][..],
            "rekindle-shim: --log: what the program writes cannot go through a shim that it outlives; with --on-shim-exit \
             keep write --log file, or --log off\n",
        ),
        (
            &["--on-shim-exit", "keep", "--fence-after", "30s"],
            "rekindle-shim: --fence-after: with --on-shim-exit keep the program lives on when nobody can end it, and \
             could run twice; leave one of the two out\n",
        ),
    ] {
        let bench = Bench::new();
        let refused = output(&mut bench.command(flags, "true"));
        assert_eq!(refused.status.code(), Some(2));
        assert_eq!(String::from_utf8_lossy(&refused.stderr), expected);
    }
}
