//! How a shim ends.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rekindle::exit::EndedBy;
use rekindle::session::ShimMessage;
use rustix::process::Signal;

use crate::bench::{Bench, Shim, exited, lives, output, spawned, wait_for};

#[test]
fn a_shim_that_is_told_to_end_says_goodbye() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut bench = Bench::new();
        let shim = bench.command(&[], "sleep 60");
        // What whoever runs the tests has ignored would stay ignored.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,QUIT").arg(shim.get_program());
        command.args(shim.get_args()).stdin(Stdio::null());
        let shim = Shim::of(command.spawn().expect("env runs"));
        let mut session = bench.server.welcome();
        session.run(1);
        let process = spawned(&mut session, 1);
        let start = Instant::now();
        shim.signal(signal);
        let report = session.report();
        assert_eq!(exited(&report).ended_by, EndedBy::ShimStop);
        assert!(!lives(process.pid));
        session.acknowledge(&report);
        assert_eq!(session.hear(), Some(ShimMessage::Goodbye));
        assert_eq!(session.hear(), None);
        drop(session);
        assert_eq!(shim.ended().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn what_nohup_ignores_ends_nobody() {
    let mut bench = Bench::new();
    let shim = bench.command(&[], "sleep 60");
    let mut nohup = Command::new("nohup");
    nohup.arg(shim.get_program()).args(shim.get_args()).stdin(Stdio::null());
    let shim = Shim::of(nohup.spawn().expect("nohup runs"));
    let mut session = bench.server.welcome();
    session.run(1);
    let process = spawned(&mut session, 1);
    shim.signal(Signal::HUP);
    drop(session);
    assert_eq!(
        bench.server.welcome().inventory.child.and_then(|child| child.process),
        Some(process)
    );
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut bench = Bench::new();
    let script = "trap 'echo > $D/term' TERM; echo > $D/up; while :; do sleep 0.05; done";
    let (shim, mut session, process) = bench.running(&[], script);
    bench.told("up");
    shim.signal(Signal::TERM);
    wait_for("the stop signal", || bench.file("term").exists().then_some(()));
    assert!(lives(process.pid));
    shim.signal(Signal::TERM);
    let report = session.report();
    assert_eq!(exited(&report).ended_by, EndedBy::ShimStop);
    session.acknowledge(&report);
    assert_eq!(shim.ended().code(), Some(0));
}

#[test]
fn a_shim_that_was_never_welcomed_ends_at_once() {
    let mut bench = Bench::new();
    let shim = bench.spawn(&[], "sleep 60");
    let session = bench.server.next();
    let start = Instant::now();
    shim.signal(Signal::TERM);
    drop(session);
    assert_eq!(shim.ended().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_state_directory_has_one_shim_of_one_agent() {
    let mut bench = Bench::new();
    let (shim, session, _) = bench.running(&[], "sleep 60");
    let second = output(&mut bench.command(&[], "sleep 60"));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another shim runs from the state directory"), "{said}");
    drop(session);
    shim.killed();

    let mut other = crate::bench::command();
    other
        .args(["--agent", "b", "--state-dir"])
        .arg(bench.file("state"))
        .args(["--", "true"]);
    let other = output(&mut other);
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(1), "{said}");
    assert!(said.contains("belongs to agents/planner-1"), "{said}");
}
