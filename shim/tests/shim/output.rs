//! What the agent writes.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::bench::{Bench, Shim, exited, kill, spawned};

#[test]
fn what_systemd_tells_the_shim_is_not_passed_on() {
    let mut bench = Bench::new();
    let mut command = bench.command(&[], "env > $D/env; echo > $D/told; sleep 60");
    for name in [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
    ] {
        command.env(name, "1");
    }
    command.env("NOTIFY_SOCKET_OF_MINE", "kept");
    let _shim = Shim::of(command.spawn().expect("the shim runs"));
    let session = bench.server.welcome();
    session.run(1);
    bench.told("told");
    let environment = std::fs::read_to_string(bench.file("env")).expect("told");
    let passed: Vec<&str> = environment
        .lines()
        .filter(|line| {
            ["NOTIFY_", "WATCHDOG_", "LISTEN_"]
                .iter()
                .any(|start| line.starts_with(start))
        })
        .collect();
    let (own, passed): (Vec<&str>, Vec<&str>) = passed.iter().partition(|line| line.starts_with("NOTIFY_SOCKET="));
    assert_eq!(passed, ["NOTIFY_SOCKET_OF_MINE=kept"]);
    assert!(
        matches!(own.as_slice(), [name] if name.starts_with("NOTIFY_SOCKET=@rekindle/")),
        "{own:?}"
    );
}

#[test]
fn output_is_passed_on() {
    let mut bench = Bench::new();
    let log = bench.file("log").display().to_string();
    let mut command = bench.command(&["--log-file", &log], "echo out; echo err >&2; kill -9 $$");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shim runs");
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let shim = Shim::of(child);
    let mut session = bench.server.welcome();
    session.run(1);
    spawned(&mut session, 1);
    let report = session.report();
    session.acknowledge(&report);
    shim.signal(Signal::TERM);
    let (mut out, mut err) = (String::new(), String::new());
    stdout.expect("a pipe").read_to_string(&mut out).expect("text");
    stderr.expect("a pipe").read_to_string(&mut err).expect("text");
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    assert_eq!(shim.ended().code(), Some(0));
}

#[test]
fn nobody_who_reads_slows_the_child_and_nothing_else() {
    for script in ["exec yes", "exec yes >&2"] {
        let mut bench = Bench::new();
        let mut command = bench.command(&[], script);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the shim runs");
        let _unread = (child.stdout.take(), child.stderr.take());
        let _shim = Shim::of(child);
        let mut session = bench.server.next();
        session.welcome(Duration::from_millis(20));
        session.run(1);
        let mut process = spawned(&mut session, 1);
        for life in 2..4 {
            session.beats(30);
            kill(&process, Signal::KILL);
            let report = session.report();
            let evidence = exited(&report);
            assert!(evidence.stdout_tail.ends_with("y\ny\n") || evidence.stderr_tail.ends_with("y\ny\n"));
            session.run(life);
            session.acknowledge(&report);
            process = spawned(&mut session, life);
        }
    }
}
