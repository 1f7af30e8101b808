//! Lives, and what the server is told of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::{AgentId, Incarnation};
use rekindle::process::ProcessIdentity;
use rekindle::report::{ChildPhase, Inventory, ReportFact};
use rekindle::session::{Charge, Command, CommandId, ShimMessage, Wanted};
use rustix::process::Signal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::bench::{Bench, Shim, exited, kill, lives, spawned, wait_for};

#[test]
fn a_crash_is_told_and_the_next_life_runs() {
    let mut bench = Bench::new();
    let _shim = bench.spawn(&["--label", "team=x"], "echo last words >&2; exec sleep 60");
    let mut session = bench.server.welcome();
    let hello = session.hello.clone();
    assert_eq!(hello.agent, AgentId::new("planner-1").expect("valid"));
    assert_eq!(session.inventory, Inventory::default(), "nothing was before");
    assert_eq!(hello.labels.get("team").map(String::as_str), Some("x"));
    session.run(1);
    let mut process = spawned(&mut session, 1);
    for life in 2..5 {
        assert!(process.pidfd_inode.is_some());
        wait_for("exec", || {
            std::fs::read_to_string(format!("/proc/{}/comm", process.pid))
                .ok()
                .filter(|c| c == "sleep\n")
        });
        kill(&process, Signal::KILL);
        let report = session.report();
        let evidence = exited(&report);
        assert_eq!(
            evidence.status,
            ExitStatus::Signaled {
                signal: 9,
                core_dumped: false
            }
        );
        assert_eq!(
            (evidence.ended_by, evidence.stderr_tail.as_str()),
            (EndedBy::Itself, "last words\n")
        );
        session.run(life);
        session.acknowledge(&report);
        let next = spawned(&mut session, life);
        assert!(!next.same_process(&process));
        process = next;
    }
}

#[test]
fn a_restart_ends_the_old_tree_first() {
    let mut bench = Bench::new();
    let deaf = bench.file("deaf");
    let script = format!("trap '' TERM; echo yes > {}; while :; do sleep 1; done", deaf.display());
    let (_shim, mut session, first) = bench.running(&["--stop-grace", "100ms"], &script);
    bench.told("deaf");
    let start = Instant::now();
    session.run(2);
    let report = session.report();
    assert!(!lives(first.pid));
    assert_eq!(exited(&report).ended_by, EndedBy::Command);
    assert!(start.elapsed() >= Duration::from_millis(100));
    spawned(&mut session, 2);
}

#[test]
fn a_program_that_does_not_exist_is_told() {
    let mut bench = Bench::new();
    let mut command = crate::bench::command();
    command.args([
        "--agent",
        "planner-1",
        "--server",
        &format!("http://{}", bench.server.address),
        "--state-dir",
    ]);
    command.arg(bench.file("state")).args(["--", "/no/such/program"]);
    let _shim = crate::bench::Shim::of(command.spawn().expect("the shim runs"));
    let mut session = bench.server.welcome();
    session.run(1);
    let fact = session.report().fact;
    let ReportFact::SpawnFailed(message) = fact else {
        panic!("{fact:?}")
    };
    assert!(
        message.starts_with("cannot run /no/such/program: No such file or directory;"),
        "{message}"
    );
}

#[test]
fn a_server_that_was_away_is_told_everything() {
    let mut bench = Bench::new();
    let (_shim, session, process) = bench.running(&[], "sleep 60; exit 3");
    drop(session);
    let mut session = bench.server.welcome();
    let child = session.inventory.child.clone().expect("it runs on");
    let same = |child: &ProcessIdentity| child.same_process(&process);
    assert!(child.process.as_ref().is_some_and(same));
    assert_eq!(child.phase, ChildPhase::Ready);
    assert!(lives(process.pid));

    session.command(Command::Signal {
        incarnation: Incarnation::new(1),
        signal: Signal::CONT.as_raw(),
    });
    let answer = session.hear();
    assert_eq!(
        answer,
        Some(ShimMessage::SignalResult(CommandId(7), Ok(process.clone())))
    );

    session.refuse(Status::unavailable("the server restarts"));
    kill(&process, Signal::KILL);
    wait_for("the child's end", || {
        (!std::path::Path::new(&format!("/proc/{}", process.pid)).exists()).then_some(())
    });
    // The link may have come back before the child had died.
    let report = loop {
        let mut session = bench.server.welcome();
        if let [report] = session.inventory.reports.as_slice() {
            assert_eq!(session.inventory.child, None);
            break report.clone();
        }
        if let Some(ShimMessage::Report(report)) = session.hear() {
            break *report;
        }
    };
    assert_eq!(exited(&report).ended_by, EndedBy::Itself);
}

#[test]
fn heartbeats_keep_their_interval() {
    let mut bench = Bench::new();
    let _shim = bench.spawn(&[], "sleep 60");
    let mut session = bench.server.next();
    session.welcome(Duration::from_millis(20));
    let start = Instant::now();
    session.beats(20);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

#[test]
fn a_refused_shim_tries_again_and_ends_what_another_shim_holds() {
    let mut bench = Bench::new();
    let (_shim, session, process) = bench.running(&[], "sleep 60");
    drop(session);
    bench
        .server
        .next()
        .refuse(Status::resource_exhausted("too many agents"));
    let mut session = bench.server.welcome();
    let child = session.inventory.child.take().expect("a refusal alone ends nobody");
    let same = |child: &ProcessIdentity| child.same_process(&process);
    assert!(child.process.as_ref().is_some_and(same) && lives(process.pid));

    let metadata = [("host", "h2"), ("last_heartbeat", "3")];
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let held = ErrorDetails::with_error_info("AGENT_HELD", "rekindle", metadata);
    session.refuse(Status::with_error_details(Code::FailedPrecondition, "held", held));
    wait_for("the fence", || (!lives(process.pid)).then_some(()));
    // The link may come back before the shim has seen the end.
    let report = loop {
        if let Some(report) = bench.server.welcome().inventory.reports.into_iter().next() {
            break report;
        }
    };
    assert_eq!(exited(&report).ended_by, EndedBy::Fence);
}

#[test]
fn a_shim_whose_boot_counts_as_over_keeps_its_child_and_starts_none() {
    let mut bench = Bench::new();
    let (_shim, mut session, process) = bench.running(&[], "sleep 60");
    let run = Charge {
        wanted: Wanted::Run,
        attempts: 0,
        last_attempt_ago: None,
        salt: 1,
        past: Incarnation::new(1),
    };
    session.command(Command::Charge(run));
    // Commands are carried out in their order: once this one is answered, the charge is known.
    session.command(Command::Signal {
        incarnation: Incarnation::new(1),
        signal: Signal::CONT.as_raw(),
    });
    assert!(matches!(session.hear(), Some(ShimMessage::SignalResult(_, Ok(_)))));
    session.refuse(Status::unavailable("the server restarts"));
    let mut session = bench.server.welcome();
    assert_eq!(session.inventory.wanted, Wanted::Run);

    let details = ErrorDetails::with_error_info("BOOT_OVER", "rekindle", [("host".to_owned(), "h1".to_owned())]);
    let over = Status::with_error_details(Code::Aborted, "h1 is in a later boot", details);
    session.refuse(over.clone());
    bench.server.next().refuse(over);
    session = bench.server.welcome();
    let child = session.inventory.child.as_ref().expect("it goes on");
    let same = |child: &ProcessIdentity| child.same_process(&process);
    assert!(child.process.as_ref().is_some_and(same) && lives(process.pid));
    assert_eq!(
        session.inventory.wanted,
        Wanted::Rest,
        "without the server nothing is started any more"
    );
}

#[test]
fn what_a_newer_server_says_is_skipped() {
    let mut bench = Bench::new();
    let _shim = bench.spawn(&[], "sleep 60");
    let mut session = bench.server.welcome();
    session.say_something_unknown();
    session.say_something_unknown();
    session.run(1);
    spawned(&mut session, 1);
}

#[test]
fn a_shim_alone_for_long_ends_its_child_where_it_was_told_to() {
    let mut bench = Bench::new();
    let (_shim, session, process) = bench.running(&["--fence-after", "1s"], "sleep 60");
    drop(session);
    // From here on nobody answers Hello.
    let start = Instant::now();
    wait_for("the fence", || (!lives(process.pid)).then_some(()));
    assert!(start.elapsed() >= Duration::from_millis(950), "{:?}", start.elapsed());
}

#[test]
fn the_server_is_told_what_the_program_is_run_with_but_no_secret() {
    let mut bench = Bench::new();
    std::fs::create_dir(bench.file("sk-place")).expect("made");
    let place = bench.file("sk-place").display().to_string();
    let flags = ["--redact", "sk-[a-z]+", "--directory", place.as_str()];
    let mut command = bench.command(&flags, "sleep 60");
    command.args(["--api-key", "abc", "sk-def", "PASSWORD=a b"]);
    let shim = Shim::of(command.spawn().expect("the shim runs"));
    let mut session = bench.server.welcome();
    let launch = session.hello.launch.clone().expect("it is told");
    let redacted = bench.file("[redacted]").display().to_string();
    assert_eq!(launch.directory(), redacted);
    let arguments = launch.arguments();
    assert_eq!(arguments[0], "/bin/sh");
    assert_eq!(
        arguments[3..],
        ["--api-key", "[redacted]", "[redacted]", "PASSWORD=[redacted]"]
    );
    let journal: String = std::fs::read_dir(bench.file("state"))
        .expect("listed")
        .map(|file| std::fs::read(file.expect("listed").path()).unwrap_or_default())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    assert!(
        journal.contains("planner-1") && !journal.contains("sk-def"),
        "{journal}"
    );
    // Its program works there all the same.
    session.run(1);
    let process = spawned(&mut session, 1);
    let works_in = std::fs::read_link(format!("/proc/{}/cwd", process.pid)).expect("it lives");
    assert_eq!(works_in, std::fs::canonicalize(place).expect("there"));
    drop(session);
    shim.killed();

    let _shim = bench.spawn(&["--launch", "hide"], "sleep 60");
    assert_eq!(bench.server.welcome().hello.launch, None);
}

#[test]
fn a_reboot_leaves_nothing() {
    let mut bench = Bench::new();
    let boot_file = bench.file("boot_id");
    std::fs::write(&boot_file, "00000000-0000-0000-0000-000000000001\n").expect("written");
    let boot_flag = boot_file.display().to_string();
    let flags = ["--boot-id-file", boot_flag.as_str()];
    let (shim, session, _) = bench.running(&flags, "sleep 60");
    let first = session.hello.host.clone();
    drop(session);
    shim.killed();
    std::fs::write(&boot_file, "00000000-0000-0000-0000-000000000002\n").expect("written");
    let _shim = bench.spawn(&flags, "sleep 60");
    let session = bench.server.welcome();
    assert_eq!(
        (session.inventory.last_incarnation, &session.inventory.child),
        (Incarnation::new(1), &None)
    );
    assert_ne!(session.hello.host.boot_id, first.boot_id);
}
