//! A shim that runs its program anew in its place, by SIGUSR2.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle::report::{ChildPhase, ReportFact};
use rekindle::session::Command;
use rustix::process::Signal;

use crate::bench::{Bench, Shim, exited, lives, spawned, wait_for};
use crate::fake::Session;

const MODES: [&[&str]; 3] = [&[], &["--cgroup", "off"], &["--on-shim-exit", "keep"]];

/// Has the shim upgraded, and takes its next session, in which it must say that this child goes on.
pub(crate) fn upgraded(bench: &mut Bench, shim: &Shim, session: Session, process: &ProcessIdentity) -> Session {
    let before = session.hello.order.life;
    shim.signal(Signal::USR2);
    let next = bench.server.welcome();
    drop(session);
    let child = next.inventory.child.as_ref().expect("it goes on");
    assert_eq!(
        (child.incarnation, child.process.as_ref()),
        (Incarnation::new(1), Some(process))
    );
    assert_eq!(next.hello.order.life, before + 1, "a new life of the shim");
    next
}

/// Writes numbered lines as fast as it can, until it is told to end.
const COUNTS: &str = "exec python3 -c '
import signal, sys
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
n = 0
while not ended:
    sys.stdout.write(f\"{n:011}\\n\")
    n += 1
sys.stdout.flush()
print(\"end\", n, file=sys.stderr)
sys.exit(7)
'";

#[test]
fn ten_upgrades_lose_neither_the_child_nor_a_line() {
    let mut bench = Bench::new();
    let mut command = bench.command(&[], COUNTS);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the shim runs");
    let stdout = child.stdout.take().expect("a pipe");
    let shim = Shim::of(child);
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    let reader = std::thread::spawn(move || {
        for (number, line) in BufReader::new(stdout).lines().enumerate() {
            assert_eq!(line.expect("read"), format!("{number:011}"));
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut session = bench.server.welcome();
    session.run(1);
    let process = spawned(&mut session, 1);
    for _ in 0..10 {
        let before = read.load(Ordering::Relaxed);
        wait_for("lines that go through this program", || {
            (read.load(Ordering::Relaxed) > before + 10_000).then_some(())
        });
        session = upgraded(&mut bench, &shim, session, &process);
    }
    session.command(Command::Stop {
        incarnation: Incarnation::new(1),
        grace: None,
    });
    let report = session.report();
    let evidence = exited(&report);
    assert_eq!(evidence.ended_by, EndedBy::Command);
    assert_eq!(
        evidence.status,
        ExitStatus::Exited(7),
        "it is the shim's own child as before"
    );
    assert!(evidence.user_time > Duration::ZERO);
    let count = evidence.stderr_tail.trim().strip_prefix("end ").expect("the last word");
    let count: u64 = count.parse().expect("a number");
    assert!(evidence.stdout_tail.ends_with(&format!("{:011}\n", count - 1)));
    session.acknowledge(&report);
    shim.signal(Signal::TERM);
    drop(session);
    assert_eq!(shim.ended().code(), Some(0));
    reader.join().expect("no line is missing");
    assert_eq!(read.load(Ordering::Relaxed), count);
}

#[test]
fn an_upgraded_shim_goes_on_with_the_whole_tree() {
    for flags in MODES {
        let mut bench = Bench::new();
        let script = "setsid sh -c 'trap \"\" TERM; echo $$ > $0/daemon; while :; do sleep 1; done' $D & \
                      echo before; while [ ! -e $D/go ]; do sleep 0.02; done; echo after; echo > $D/said; sleep 60";
        let (shim, session, process) = bench.running(flags, script);
        let daemon = bench.told("daemon");
        let session = upgraded(&mut bench, &shim, session, &process);
        fs::write(bench.file("go"), "").expect("written");
        wait_for("what is written afterwards", || {
            bench.file("said").exists().then_some(())
        });
        let mut session = upgraded(&mut bench, &shim, session, &process);
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
        let term = ExitStatus::Signaled {
            signal: Signal::TERM.as_raw(),
            core_dumped: false,
        };
        assert_eq!((evidence.status, evidence.ended_by), (term, EndedBy::Command));
        assert_eq!(evidence.stdout_tail, "before\nafter\n");
    }
}

#[test]
fn an_adopted_child_stays_adopted() {
    let flags = MODES[2];
    let mut bench = Bench::new();
    let (shim, session, process) = bench.running(flags, "sleep 60");
    drop(session);
    shim.killed();
    let shim = bench.spawn(flags, "sleep 60");
    let session = bench.server.welcome();
    let mut session = upgraded(&mut bench, &shim, session, &process);
    session.command(Command::Stop {
        incarnation: Incarnation::new(1),
        grace: Some(Duration::from_millis(300)),
    });
    assert_eq!(exited(&session.report()).ended_by, EndedBy::Command);
    assert!(!lives(process.pid));
}

#[test]
fn no_descriptor_of_the_shim_reaches_the_next_life() {
    let mut bench = Bench::new();
    let script = "ls /proc/$$/fd > $D/part; env | grep HANDOVER >> $D/part; mv $D/part $D/$REKINDLE_INCARNATION; \
                  sleep 60";
    let (shim, session, process) = bench.running(&["--log", "file"], script);
    bench.told("1");
    let mut session = upgraded(&mut bench, &shim, session, &process);
    session.run(2);
    assert_eq!(exited(&session.report()).ended_by, EndedBy::Command);
    spawned(&mut session, 2);
    // Whoever runs the tests may have left some open to all.
    assert_eq!(bench.told("2"), bench.told("1"));
}

#[test]
fn what_the_child_says_is_heard_across_an_upgrade() {
    let mut bench = Bench::new();
    let script = "exec python3 -c '
import os, socket, sys, time
shim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
shim.connect(\"\\0\" + os.environ[\"NOTIFY_SOCKET\"][1:])
open(sys.argv[1] + \"/up\", \"w\").write(\"\\n\")
while not os.path.exists(sys.argv[1] + \"/go\"):
    time.sleep(0.02)
shim.send(b\"READY=1\")
time.sleep(60)
' $D";
    let shim = bench.spawn(&["--ready", "notify"], script);
    let mut session = bench.server.welcome();
    session.run(1);
    let report = session.report();
    let ReportFact::Spawned(Some(process)) = &report.fact else {
        panic!("a life was expected, not {report:?}")
    };
    session.acknowledge(&report);
    bench.told("up");
    let mut session = upgraded(&mut bench, &shim, session, process);
    let child = session.inventory.child.as_ref().expect("it goes on");
    assert_eq!(child.phase, ChildPhase::Starting);
    fs::write(bench.file("go"), "").expect("written");
    // By the connection that it has: the socket is the same one.
    assert_eq!(session.report().fact, ReportFact::Ready);
}

#[test]
fn a_replaced_program_is_run_and_one_that_cannot_run_changes_nothing() {
    let mut bench = Bench::new();
    let (own, part) = (bench.file("shim"), bench.file("shim.part"));
    let place = |from: &dyn Fn(&std::path::Path)| {
        from(&part);
        fs::rename(&part, &own).expect("renamed");
    };
    let copy = |to: &std::path::Path| {
        fs::copy(env!("CARGO_BIN_EXE_rekindle-shim"), to).expect("copied");
    };
    place(&copy);
    let log = bench.file("log").display().to_string();
    let template = bench.command(
        &["--log-file", &log],
        "echo a; while [ ! -e $D/go ]; do sleep 0.02; done; echo b; exit 3",
    );
    let mut command = std::process::Command::new(&own);
    command.args(template.get_args()).stdin(Stdio::null());
    for (name, value) in template.get_envs() {
        assert!(value.is_none());
        command.env_remove(name);
    }
    let child = command.spawn().expect("the shim runs");
    let exe = format!("/proc/{}/exe", child.id());
    let shim = Shim::of(child);
    let mut session = bench.server.welcome();
    session.run(1);
    let process = spawned(&mut session, 1);

    place(&|to| fs::write(to, "no program").expect("written"));
    let before = fs::metadata(&exe).expect("it runs").ino();
    shim.signal(Signal::USR2);
    wait_for("the failure", || {
        let log = fs::read_to_string(&log).ok()?;
        log.contains("the upgrade failed").then_some(())
    });
    assert_eq!(fs::metadata(&exe).expect("it runs").ino(), before);

    place(&copy);
    let mut session = upgraded(&mut bench, &shim, session, &process);
    let after = fs::metadata(&exe).expect("it runs").ino();
    assert_eq!(
        after,
        fs::metadata(bench.file("shim")).expect("there").ino(),
        "the file of that name"
    );
    assert_ne!(after, before);
    fs::write(bench.file("go"), "").expect("written");
    let report = session.report();
    assert_eq!(exited(&report).status, ExitStatus::Exited(3));
    assert_eq!(exited(&report).stdout_tail, "a\nb\n");
}

#[test]
fn a_stop_that_comes_with_an_upgrade_is_not_lost() {
    for _ in 0..5 {
        let mut bench = Bench::new();
        let (shim, session, process) = bench.running(&[], "exec sleep 60");
        shim.signal(Signal::USR2);
        shim.signal(Signal::TERM);
        // Whichever of the two programs hears it.
        wait_for("the child's end", || (!lives(process.pid)).then_some(()));
        // Without waiting for a server that acknowledges nothing.
        shim.signal(Signal::TERM);
        drop(session);
        assert_eq!(shim.ended().code(), Some(0));
    }
}

#[test]
fn a_shim_without_a_child_upgrades_too() {
    let mut bench = Bench::new();
    let shim = bench.spawn(&[], "sleep 60");
    let session = bench.server.welcome();
    shim.signal(Signal::USR2);
    let mut next = bench.server.welcome();
    drop(session);
    assert_eq!(next.inventory.child, None);
    next.run(1);
    spawned(&mut next, 1);
    let second = crate::bench::output(&mut bench.command(&[], "sleep 60"));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another shim runs from the state directory"), "{said}");
}
