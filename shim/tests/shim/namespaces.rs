//! Shims in pid namespaces of their own, which need root: as PID 1 of a container, and where a pid comes back.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle::time::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, Shim, exited, is_root, lives, of_life, skip, spawned, wait_for};
use crate::fake::Session;
use crate::launcher::Launcher;

/// A command that runs another in a pid namespace of its own, with its arguments. All in it dies with who runs it.
fn unshare() -> Option<Command> {
    if !is_root() {
        skip("a pid namespace needs root");
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .stdin(Stdio::null());
    Some(command)
}

/// The children of a process, each with the letter of its state (proc_pid_stat(5)).
fn children(parent: u32) -> Vec<(u32, char)> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let pids = list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(|pid| state(pid).map(|state| (pid, state))).collect()
}

fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// The pid of a process in its own namespace (proc_pid_status(5), NSpid).
fn inside(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    pids.split_ascii_whitespace().last()?.parse().ok()
}

/// Two who daemonize, and many who die as orphans.
const FAMILY: &str = "trap '' TERM
for name in one two; do
    (setsid sh -c 'trap \"\" TERM; echo $$ > $0/$1; while :; do sleep 1; done' $D $name &)
done
for i in 1 2 3 4 5 6 7 8; do (true &); done
while :; do sleep 1; done";

#[test]
fn a_shim_works_as_pid_1() {
    for flags in [
        &["--stop-grace", "100ms"][..],
        &["--stop-grace", "100ms", "--cgroup", "off"],
    ] {
        let Some(mut unshare) = unshare() else { return };
        let mut bench = Bench::new();
        let shim = bench.command(flags, FAMILY);
        unshare.arg(shim.get_program()).args(shim.get_args());
        let unshare = unshare.spawn().expect("unshare runs");
        let outside = unshare.id();
        let unshare = Shim::of(unshare);
        let mut session = bench.server.welcome();
        session.run(1);
        let process = spawned(&mut session, 1);
        assert!(process.pid < 100, "{process} is of a namespace of its own");
        let (shim, _) = *children(outside).first().expect("PID 1");
        assert_eq!(inside(shim), Some(1));

        for daemon in ["one", "two"] {
            bench.told(daemon);
        }
        let marker = session.hello.marker;
        wait_for("the orphans' burial, and nobody else's", || {
            let mine = children(shim);
            (mine.len() == 3 && mine.iter().all(|(_, state)| *state != 'Z')).then_some(())
        });
        assert!(of_life(marker, 1).len() >= 3);

        session.run(2);
        let report = session.report();
        exited(&report);
        let left = of_life(marker, 1);
        assert!(left.is_empty(), "{left:?} live when the end is told");
        session.acknowledge(&report);
        spawned(&mut session, 2);

        kill_process(Pid::from_raw(shim.cast_signed()).expect("a pid"), Signal::TERM).expect("it lives");
        let report = session.report();
        let left = of_life(marker, 2);
        assert!(left.is_empty(), "{left:?} live when the end is told");
        session.acknowledge(&report);
        drop(session);
        assert_eq!(unshare.ended().code(), Some(0));
    }
}

/// More than the grain of start times, by which a kernel without pidfs tells two processes of one pid apart (time(7),
/// USER_HZ).
const TICK: Duration = Duration::from_millis(20);

/// Leads a group, and tells of every signal that can be caught.
const STRANGER: &str = r#"
stranger() {
    echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid
    setsid sh -c '
        trap "echo > $0/signalled" HUP INT QUIT TERM USR1 USR2 CONT
        echo $$ > $0/stranger
        while :; do sleep 0.05; done
    ' $D &
}
D=$0
"#;

/// PID 1 of the namespace: runs a shim, kills it when told a pid, gives that pid to a stranger, and runs the shim again.
const REUSE: &str = r#"
"$@" & shim=$!
while [ ! -e $D/pid ]; do sleep 0.02; done
read pid < $D/pid
kill -9 $shim
# Who is to outlive its shim does not come as far as that.
kill -9 $pid 2> /dev/null
while [ -d /proc/$shim ] || [ -d /proc/$pid ]; do sleep 0.02; done
stranger $pid
while [ ! -e $D/again ]; do sleep 0.02; done
"$@"
"#;

/// PID 1 of the next namespace: gives a pid to a stranger, and runs a shim.
const ANEW: &str = r#"
read pid < $D/pid
stranger $pid
while [ ! -e $D/again ]; do sleep 0.02; done
"$@"
"#;

/// A namespace whose PID 1 is a script with a stranger in it, and with the shim's command line as its arguments.
fn with_stranger(mut unshare: Command, bench: &Bench, script: &str, shim: &Command) -> Shim {
    unshare
        .args(["/bin/sh", "-c", &format!("{STRANGER}{script}")])
        .arg(bench.dir.path());
    unshare.arg(shim.get_program()).args(shim.get_args());
    Shim::of(unshare.spawn().expect("unshare runs"))
}

/// Tells the scripts who the child was, in a tick of the kernel's clock in which it did not begin.
fn tell_pid(bench: &Bench, process: &ProcessIdentity) {
    wait_for("another tick of the kernel's clock", || {
        let now = Timestamp::from_system_time(SystemTime::now());
        (now.saturating_since(process.start_time) > TICK).then_some(())
    });
    // Written whole, as somebody reads it meanwhile.
    fs::write(bench.file("pid.part"), format!("{}\n", process.pid)).expect("written");
    fs::rename(bench.file("pid.part"), bench.file("pid")).expect("renamed");
}

/// Has the next shim come up beside a stranger with the pid of the dead child, whose session is over, and begin a life: the
/// stranger gets no signal. Gives that shim's session.
#[track_caller]
fn next_shim_leaves_the_stranger_alone(
    bench: &mut Bench,
    unshare: &Shim,
    session: Session,
    process: &ProcessIdentity,
) -> Session {
    assert_eq!(bench.told("stranger"), process.pid.to_string(), "the pid is used again");
    // Only now, as a shim that lives would connect again.
    drop(session);
    let (init, _) = *children(unshare.pid()).first().expect("PID 1");
    let mut pids = children(init).into_iter().map(|(pid, _)| pid);
    let stranger = pids.find(|pid| inside(*pid) == Some(process.pid)).expect("it runs");

    fs::write(bench.file("again"), "").expect("written");
    let mut session = bench.server.welcome();
    let inventory = &session.inventory;
    assert_eq!(
        (inventory.last_incarnation, &inventory.child),
        (Incarnation::new(1), &None)
    );
    session.run(2);
    let next = spawned(&mut session, 2);
    assert!(!next.same_process(process));
    let state = state(stranger).expect("the stranger lives");
    // Who waits for a vfork is in D for a moment.
    assert!(
        !matches!(state, 'T' | 't' | 'Z' | 'X'),
        "the stranger was stopped, or ended: {state}"
    );
    // It looks for signals each time that a sleep of its ends.
    let sleep = children(stranger);
    wait_for("the stranger's next look", || {
        (children(stranger) != sleep).then_some(())
    });
    assert!(!bench.file("signalled").exists(), "the stranger got a signal");
    session
}

#[test]
fn who_gets_the_pid_of_a_dead_child_gets_no_signal() {
    for launcher in [Launcher::None, Launcher::OldKernel] {
        for flags in [
            &[][..],
            &["--cgroup", "off"],
            &["--on-shim-exit", "keep"],
            &["--on-shim-exit", "keep", "--cgroup", "off"],
        ] {
            let Some(unshare) = unshare() else { return };
            let mut bench = Bench::with(launcher);
            let shim = bench.command(flags, "exec sleep 60");
            let unshare = with_stranger(unshare, &bench, REUSE, &shim);
            let mut session = bench.server.welcome();
            session.run(1);
            let process = spawned(&mut session, 1);
            assert_eq!(process.pidfd_inode.is_some(), launcher == Launcher::None);
            tell_pid(&bench, &process);
            next_shim_leaves_the_stranger_alone(&mut bench, &unshare, session, &process);
        }
    }
}

#[test]
fn a_container_that_starts_anew_is_not_taken_for_the_one_before() {
    for launcher in [Launcher::None, Launcher::OldKernel] {
        for flags in [
            &["--on-shim-exit", "keep"][..],
            &["--on-shim-exit", "keep", "--cgroup", "off"],
        ] {
            let (Some(mut first), Some(next)) = (unshare(), unshare()) else {
                return;
            };
            let mut bench = Bench::with(launcher);
            let shim = bench.command(flags, "exec sleep 60");
            first.arg(shim.get_program()).args(shim.get_args());
            let first = Shim::of(first.spawn().expect("unshare runs"));
            let mut session = bench.server.welcome();
            let boot_id = session.hello.host.boot_id;
            session.run(1);
            let process = spawned(&mut session, 1);
            let (init, _) = *children(first.pid()).first().expect("PID 1");
            let mut pids = children(init).into_iter().map(|(pid, _)| pid);
            let child = pids.find(|pid| inside(*pid) == Some(process.pid)).expect("it runs");
            assert_eq!(inside(init), Some(1), "the shim is PID 1, as in a container");

            first.killed();
            wait_for("the end of the whole namespace", || (!lives(child)).then_some(()));
            tell_pid(&bench, &process);
            let next = with_stranger(next, &bench, ANEW, &shim);
            let session = next_shim_leaves_the_stranger_alone(&mut bench, &next, session, &process);
            assert_eq!(session.hello.host.boot_id, boot_id);
            let last = session.inventory.reports.last().expect("an end");
            assert_eq!(last.incarnation, Incarnation::new(1));
            let evidence = exited(last);
            assert_eq!(
                (evidence.status, evidence.ended_by),
                (ExitStatus::Unknown, EndedBy::Itself)
            );
        }
    }
}
