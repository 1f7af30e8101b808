//! What the agent writes.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::report::ReportFact;
use rustix::process::Signal;

use crate::bench::{Bench, Shim, exited, kill, output, spawned, wait_for};

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

#[test]
fn files_take_the_output_and_what_leaves_the_host_is_redacted() {
    let mut bench = Bench::new();
    let flags = ["--log=file", "--redact", "sk-[a-z]+", "--redact", "(?i)password=.*"];
    let mut command = bench.command(&flags, "echo key sk-abc; echo Password=x >&2; exit 1");
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the shim runs");
    let mut stdout = child.stdout.take().expect("a pipe");
    let shim = Shim::of(child);
    let mut session = bench.server.welcome();
    for life in 1..3 {
        session.run(life);
        spawned(&mut session, life);
        let report = session.report();
        let evidence = exited(&report);
        assert_eq!(
            (evidence.stdout_tail.as_str(), evidence.stderr_tail.as_str()),
            ("key [redacted]\n", "[redacted]\n")
        );
        session.acknowledge(&report);
    }
    shim.signal(Signal::TERM);
    assert_eq!(shim.ended().code(), Some(0));
    let mut passed = String::new();
    stdout.read_to_string(&mut passed).expect("text");
    assert_eq!(passed, "");

    let logs = bench.file("state/logs");
    let read = |name| std::fs::read_to_string(logs.join(name)).expect("there");
    assert_eq!(read("stdout.log"), "key sk-abc\nkey sk-abc\n");
    assert_eq!(read("stderr.log"), "Password=x\nPassword=x\n");
    let mode = |path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(logs.clone()), mode(logs.join("stdout.log"))), (0o700, 0o600));
}

#[test]
fn why_a_start_failed_is_redacted() {
    let mut bench = Bench::new();
    let mut command = crate::bench::command();
    command
        .args(["--agent", "planner-1", "--redact", "/home/[a-z]+"])
        .args(["--server", &format!("http://{}", bench.server.address)])
        .arg("--state-dir")
        .arg(bench.file("state"))
        .args(["--", "/home/alice/none"]);
    let _shim = Shim::of(command.spawn().expect("the shim runs"));
    let mut session = bench.server.welcome();
    session.run(1);
    let fact = session.report().fact;
    let ReportFact::SpawnFailed(message) = fact else {
        panic!("{fact:?}")
    };
    assert!(message.starts_with("cannot run [redacted]/none: "), "{message}");
}

#[test]
fn two_agents_do_not_share_their_files() {
    let mut bench = Bench::new();
    let logs = bench.file("logs").display().to_string();
    let flags = ["--log=file", "--log-dir", &logs];
    let _shim = bench.running(&flags, "sleep 60");
    let mut other = crate::bench::command();
    other.args(["--agent", "b", "--state-dir"]).arg(bench.file("other"));
    let other = output(other.args(flags).args(["--", "true"]));
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(1), "{said}");
    assert!(said.contains("another shim writes its files into"), "{said}");

    let mut third = crate::bench::command();
    third.args(["--agent", "c", "--state-dir"]).arg(bench.file("third"));
    let third = output(third.args(["--log=file", "--log-dir=/proc/none", "--", "true"]));
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert_eq!(third.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot write files into /proc/none; choose another"),
        "{said}"
    );
}

#[test]
fn a_full_disk_is_told_once_and_stops_nobody() {
    let mut bench = Bench::new();
    let (logs, own_log) = (bench.file("logs"), bench.file("own.log"));
    let file = logs.join("stdout.log");
    std::fs::create_dir(&logs).expect("made");
    std::os::unix::fs::symlink("/dev/full", &file).expect("linked");
    let (logs, log_file) = (logs.display().to_string(), own_log.display().to_string());
    let flags = ["--log=file", "--log-dir", &logs, "--log-file", &log_file];
    let _shim = bench.spawn(&flags, "head -c 1000000 /dev/zero; echo end; exit 3");
    let mut session = bench.server.welcome();
    let mut live = |number| {
        session.run(number);
        spawned(&mut session, number);
        let report = session.report();
        let evidence = exited(&report);
        assert_eq!(evidence.status, ExitStatus::Exited(3));
        assert!(evidence.stdout_tail.ends_with("end\n"));
        session.acknowledge(&report);
    };
    live(1);
    live(2);
    std::fs::remove_file(&file).expect("a link");
    live(3);
    let told = |what: &str| {
        let text = std::fs::read_to_string(&own_log).expect("there");
        text.lines().filter(|line| line.contains(what)).count()
    };
    wait_for("the log", || {
        (told("the agent's log is whole again") == 1).then_some(())
    });
    assert_eq!(told("cannot write what the agent writes"), 1);
}
