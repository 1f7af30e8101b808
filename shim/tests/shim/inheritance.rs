//! What a shim's death leaves, and what the next shim does about it.

use std::time::Duration;

use rekindle::id::Incarnation;

use crate::bench::{Bench, cgroups_are_here, is_root, lives, skip, spawned, wait_for};

#[test]
fn what_a_killed_shim_left_is_swept() {
    let mut bench = Bench::new();
    let script = "setsid sh -c 'echo $$ > $0/daemon; exec sleep 60' $D & echo up; sleep 60";
    let (shim, session, process) = bench.running(&[], script);
    let daemon = bench.told("daemon");
    let marker = session.hello.marker;
    drop(session);
    shim.killed();
    wait_for("the child's end with its shim", || (!lives(process.pid)).then_some(()));
    assert!(lives(&daemon), "a daemon outlives the shim");

    let _shim = bench.spawn(&[], script);
    let mut session = bench.server.next();
    assert!(!lives(&daemon), "nothing lives when the next shim says hello");
    assert_eq!(session.hello.marker, marker);
    session.welcome(Duration::from_secs(5));
    let inventory = &session.inventory;
    assert_eq!(
        (inventory.last_incarnation, &inventory.child),
        (Incarnation::new(1), &None)
    );
    session.run(1);
    session.run(2);
    spawned(&mut session, 2);
}

#[test]
fn a_child_of_another_user_dies_with_its_shim_too() {
    if !is_root() {
        skip("another user needs root");
        return;
    }
    let mut bench = Bench::new();
    // By then the kernel has forgotten a death signal that was asked for before the change of user.
    let (shim, session, process) = bench.running(&["--user", "nobody", "--directory", "/"], "exec sleep 60");
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).expect("read");
    assert!(!status.contains("\nUid:\t0\t"), "{status}");
    drop(session);
    shim.killed();
    wait_for("the child's end with its shim", || (!lives(process.pid)).then_some(()));
}

/// A child that dies with its shim, and leaves a process that nothing but its control group tells from others.
const ESCAPED: &str = r#"exec python3 -c '
import os, sys, time
dir = sys.argv[1]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(f"{dir}/escaped", "w") as file:
            print(os.getpid(), file=file)
        os.execve("/bin/sleep", ["sleep", "60"], {})
    os._exit(0)
os.wait()
time.sleep(60)
' $D"#;

#[test]
fn who_wiped_every_trace_is_found_by_its_cgroup() {
    if !cgroups_are_here() {
        return;
    }
    let mut bench = Bench::new();
    let (shim, session, process) = bench.running(&[], ESCAPED);
    let escaped = bench.told("escaped");
    wait_for("an empty environment", || {
        std::fs::read(format!("/proc/{escaped}/environ"))
            .ok()
            .filter(Vec::is_empty)
    });
    let cgroup = std::fs::read_to_string(format!("/proc/{escaped}/cgroup")).expect("read");
    assert!(
        cgroup.contains(&format!("rekindle-{}.1", session.hello.marker)),
        "{cgroup}"
    );
    drop(session);
    shim.killed();
    wait_for("the child's end with its shim", || (!lives(process.pid)).then_some(()));
    assert!(lives(&escaped), "it outlives the shim");

    let _shim = bench.spawn(&[], "sleep 60");
    let mut session = bench.server.next();
    assert!(!lives(&escaped), "nothing lives when the next shim says hello");
    session.welcome(Duration::from_secs(5));
    assert_eq!(session.inventory.child, None);
}

#[test]
fn cgroups_can_be_declined() {
    let mut bench = Bench::new();
    let (_shim, session, process) = bench.running(&["--cgroup", "off"], "sleep 60");
    let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).expect("read");
    assert!(!cgroup.contains(&session.hello.marker.to_string()), "{cgroup}");
}

/// A child that lives on without its shim, and which nothing but its identity tells from other processes.
const STRAY: &str = r#"exec python3 -c '
import ctypes, os, sys
dir = sys.argv[1]
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG
def sleep(name):
    with open(f"{dir}/{name}", "w") as file:
        print(os.getpid(), file=file)
    os.execve("/bin/sleep", ["sleep", "60"], {})
if os.fork() == 0:
    if os.fork() == 0:
        sleep("orphan")
    os._exit(0)
os.wait()
if os.fork() == 0:
    os.setsid()
    sleep("daemon")
while not all(os.path.exists(f"{dir}/{name}") for name in ("orphan", "daemon")):
    pass
sleep("child")
' $D"#;

#[test]
fn a_child_that_shed_its_environment_is_found_by_its_identity() {
    let mut bench = Bench::new();
    let (shim, session, process) = bench.running(&[], STRAY);
    let child = bench.told("child");
    assert_eq!(child, process.pid.to_string());
    let tree = [child, bench.told("orphan"), bench.told("daemon")];
    for pid in &tree {
        wait_for("an empty environment", || {
            std::fs::read(format!("/proc/{pid}/environ")).ok().filter(Vec::is_empty)
        });
    }
    drop(session);
    shim.killed();
    assert!(tree.iter().all(lives), "they outlive the shim");

    let _shim = bench.spawn(&[], "sleep 60");
    let mut session = bench.server.next();
    for pid in &tree {
        assert!(!lives(pid), "{pid} of {tree:?} lives when the next shim says hello");
    }
    session.welcome(Duration::from_secs(5));
    assert_eq!(session.inventory.child, None);
}
