//! The shim without any privilege. Where the tests run as root, it runs as nobody.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::report::ReportFact;
use rekindle::session::Command;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{
    Bench, Shim, exited, is_root, lives, nobody_lives, of_life, output, program, skip, spawned, wait_for,
};
use crate::doctor::line;
use crate::keep::adopted;
use crate::launcher::Launcher;
use crate::upgrade::upgraded;

/// Two who daemonize by a double fork and do not mind SIGTERM, beside a child that does not either.
const FAMILY: &str = "trap '' TERM
for name in one two; do
    (setsid sh -c 'trap \"\" TERM; echo $$ > $0/$1; while :; do sleep 1; done' $D $name &)
done
while [ ! -e $D/go ]; do sleep 0.02; done
echo bye >&2
exit 7";

/// Short, so that a test that waits for one does not wait long.
const BEAT: Duration = Duration::from_millis(100);

/// Waits until the whole family is there.
fn family(bench: &Bench) -> [String; 2] {
    ["one", "two"].map(|daemon| bench.told(daemon))
}

#[test]
fn a_crash_is_seen_and_nothing_of_the_tree_is_left() {
    let mut bench = Bench::with(Launcher::OrdinaryUser);
    let (_shim, mut session, process) = bench.running(&[], FAMILY);
    family(&bench);
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).expect("read");
    assert!(!status.contains("\nUid:\t0\t"), "{status}");
    let marker = session.hello.marker;
    assert!(of_life(marker, 1).len() >= 3);

    fs::write(bench.file("go"), "").expect("written");
    let report = session.report();
    nobody_lives(marker, 1, "when the end is told");
    let evidence = exited(&report);
    assert_eq!(
        (evidence.status, evidence.ended_by, evidence.stderr_tail.as_str()),
        (ExitStatus::Exited(7), EndedBy::Itself, "bye\n")
    );
    session.acknowledge(&report);
    session.run(2);
    assert!(!spawned(&mut session, 2).same_process(&process));
}

#[test]
fn a_stop_ends_the_whole_tree() {
    let mut bench = Bench::with(Launcher::OrdinaryUser);
    let (shim, mut session, _) = bench.running(&["--stop-grace", "100ms"], FAMILY);
    family(&bench);
    let marker = session.hello.marker;
    shim.signal(Signal::TERM);
    let report = session.report();
    nobody_lives(marker, 1, "when the end is told");
    assert_eq!(exited(&report).ended_by, EndedBy::ShimStop);
    session.acknowledge(&report);
    drop(session);
    assert_eq!(shim.ended().code(), Some(0));
}

#[test]
fn what_a_killed_shim_left_is_swept() {
    let mut bench = Bench::with(Launcher::OrdinaryUser);
    let (shim, session, process) = bench.running(&[], FAMILY);
    let daemons = family(&bench);
    let marker = session.hello.marker;
    drop(session);
    shim.killed();
    wait_for("the child's end with its shim", || (!lives(process.pid)).then_some(()));
    assert!(daemons.iter().all(lives), "daemons outlive the shim");

    let _shim = bench.spawn(&[], FAMILY);
    let mut session = bench.server.next();
    nobody_lives(marker, 1, "when the next shim says hello");
    session.welcome(Duration::from_secs(5));
    let told = &session.inventory;
    assert_eq!(
        (session.hello.marker, told.last_incarnation, &told.child),
        (marker, Incarnation::new(1), &None)
    );
}

#[test]
fn a_kept_child_is_adopted() {
    let flags = ["--on-shim-exit", "keep"];
    let mut bench = Bench::with(Launcher::OrdinaryUser);
    let (shim, session, process) = bench.running(&flags, FAMILY);
    family(&bench);
    let marker = session.hello.marker;
    drop(session);
    shim.killed();
    let (_shim, mut session) = adopted(&mut bench, &flags, FAMILY, &process);
    fs::write(bench.file("go"), "").expect("written");
    let report = session.report();
    nobody_lives(marker, 1, "when the end is told");
    let evidence = exited(&report);
    assert_eq!(
        (evidence.ended_by, evidence.stderr_tail.as_str()),
        (EndedBy::Itself, "bye\n")
    );
}

#[test]
fn an_upgrade_in_place_keeps_the_child_and_its_output() {
    let mut bench = Bench::with(Launcher::OrdinaryUser);
    let (shim, session, process) = bench.running(&[], FAMILY);
    family(&bench);
    let marker = session.hello.marker;
    let mut session = upgraded(&mut bench, &shim, session, &process);
    fs::write(bench.file("go"), "").expect("written");
    let report = session.report();
    nobody_lives(marker, 1, "when the end is told");
    let evidence = exited(&report);
    assert_eq!(
        (evidence.status, evidence.stderr_tail.as_str()),
        (ExitStatus::Exited(7), "bye\n"),
        "it stays the shim's own child"
    );
}

#[test]
fn who_became_another_user_is_named() {
    let bench = &mut Bench::with(Launcher::OrdinaryUser);
    let flags = statvfs(bench.dir.path()).expect("a file system").f_flag;
    if !is_root() || flags.contains(StatVfsMountFlags::NOSUID) {
        skip("a set-user-ID program of root's needs root, and a folder for temporary files that is not mounted nosuid");
        return;
    }
    // As sudo does it: who it runs has nothing of the user that ran it.
    let sudo = bench.file("sudo");
    fs::copy("/usr/bin/setpriv", &sudo).expect("setpriv comes with Debian's util-linux");
    fs::set_permissions(&sudo, Permissions::from_mode(0o4755)).expect("root can");
    let script =
        "$D/sudo --reuid=0 --regid=0 --clear-groups sh -c 'echo $$ > $0/became; exec sleep 60' $D & exec sleep 60";
    let (_shim, mut session, process) = bench.running(&["--stop-grace", "100ms"], script);
    let became = bench.told("became");
    session.command(Command::Stop {
        incarnation: Incarnation::new(1),
        grace: None,
    });
    let report = session.report();
    let ReportFact::Survived(survivors) = &report.fact else {
        panic!("nobody's signals do not reach root's processes: {report:?}")
    };
    let named: Vec<String> = survivors.iter().map(|survivor| survivor.pid.to_string()).collect();
    assert_eq!(named, [became.as_str()]);
    assert!(lives(&became) && !lives(process.pid));
    session.acknowledge(&report);

    let became = Pid::from_raw(became.parse().expect("a pid")).expect("a pid");
    kill_process(became, Signal::KILL).expect("root can");
    assert_eq!(exited(&session.report()).ended_by, EndedBy::Command);
}

#[test]
fn what_the_agent_says_is_heard() {
    let there = program("systemd-notify").arg("--version").output().is_ok();
    if !there {
        skip("systemd-notify is not installed: it comes with systemd");
        return;
    }
    let mut bench = Bench::with(Launcher::OrdinaryUser);
    // The one lives until it is heard, the other may be gone by then.
    for (life, said) in [(1, "--ready"), (2, "--no-block --ready")] {
        let script = format!(
            "until [ -e $D/go-$REKINDLE_INCARNATION ]; do sleep 0.02; done; systemd-notify {said}; exec sleep 60"
        );
        let _shim = bench.spawn(&["--ready", "notify"], &script);
        let mut session = bench.server.next();
        session.welcome(BEAT);
        session.run(life);
        let report = session.report();
        assert!(matches!(report.fact, ReportFact::Spawned(_)), "{report:?}");
        session.acknowledge(&report);
        session.beats(1);
        fs::write(bench.file(&format!("go-{life}")), "").expect("written");
        let report = session.report();
        assert_eq!(report.fact, ReportFact::Ready);
        session.acknowledge(&report);
    }
}

#[test]
fn the_doctor_says_what_there_is_to_do_without() {
    let bench = Bench::with(Launcher::OrdinaryUser);
    let output = output(bench.program().arg("doctor"));
    let table = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.ends_with("\nThe shim can work here.\n"), "{table}");
    let (state, text) = line(&table, "root");
    assert!(
        state == "no" && text.ends_with("--user and --group cannot be used"),
        "{table}"
    );
    for what in ["/proc", "pidfd_open", "child subreaper", "NOTIFY_SOCKET"] {
        assert_eq!(line(&table, what).0, "yes", "{what} in\n{table}");
    }
    // Who is not nobody may have been given a group of its own.
    if is_root() && crate::groups::own().is_some() {
        let (state, text) = line(&table, "cgroup v2");
        assert!(
            state == "no" && text.starts_with("cannot make a group below ") && text.contains("Delegate=yes"),
            "{table}"
        );
        assert_eq!(line(&table, "cgroup.kill").0, "no");
    }
}

#[test]
fn a_cgroup_that_cannot_be_written_is_done_without() {
    if !is_root() || crate::groups::own().is_none() {
        skip("who may surely make no cgroup is nobody, which needs root, and cgroup v2");
        return;
    }
    let mut bench = Bench::with(Launcher::OrdinaryUser);
    let mut command = bench.command(&["--cgroup", "auto"], "exec sleep 60");
    let log = fs::File::create(bench.file("log")).expect("a log");
    let _shim = Shim::of(command.stderr(Stdio::from(log)).spawn().expect("the shim runs"));
    let mut session = bench.server.welcome();
    session.run(1);
    let process = spawned(&mut session, 1);
    let group = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).expect("read");
    assert!(!group.contains(&session.hello.marker.to_string()), "{group}");
    let log = fs::read_to_string(bench.file("log")).expect("text");
    assert!(log.contains("the agent's processes get no cgroup"), "{log}");
    assert!(log.contains("cannot make a group below"), "{log}");
}
