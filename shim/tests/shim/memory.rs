//! Kills for want of memory, in a memory group of cgroup v1. They need root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::session::{Command as Order, ShimMessage};
use rustix::process::Signal;

use crate::bench::{Bench, Shim, exited, is_root, kill, skip, spawned, wait_for};

/// Enough for a shim, and for an agent that does nothing.
const LIMIT_BYTES: u64 = 128 << 20;

/// A memory group with a limit; removed when its processes are gone.
struct Group(PathBuf);

impl Group {
    /// `None` where there can be none.
    fn make() -> Option<Self> {
        let own = own().filter(|_| is_root());
        let Some(own) = own else {
            skip("a memory group needs root, and the memory controller of cgroup v1");
            return None;
        };
        let name = tempfile::Builder::new()
            .prefix("rekindle-test-")
            .make_in(own, |path| fs::create_dir(path));
        let dir = name.expect("made").into_temp_path().keep().expect("kept");
        fs::write(dir.join("memory.limit_in_bytes"), LIMIT_BYTES.to_string()).expect("limited");
        Some(Self(dir))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        wait_for("the end of who is in a memory group", || fs::remove_dir(&self.0).ok());
    }
}

/// The directory of this process's memory group.
fn own() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
    let mount = mounts.lines().find(|line| line.ends_with("rw,memory"))?;
    let groups = fs::read_to_string("/proc/self/cgroup").expect("read");
    let own = groups.lines().find_map(|line| line.split_once(":memory:/"))?.1;
    Some(Path::new(mount.split(' ').nth(4)?).join(own))
}

/// In its first life, it takes all memory; in its third, a process that it runs does.
const SCRIPT: &str = "case $REKINDLE_INCARNATION in
1) exec tail /dev/zero;;
3) tail /dev/zero; echo > $D/rose;;
esac
exec sleep 60";

#[test]
fn a_kill_for_want_of_memory_is_told_from_others() {
    let Some(group) = Group::make() else { return };
    let mut bench = Bench::new();
    let shim = bench.command(&[], SCRIPT);
    let mut inside = Command::new("/bin/sh");
    inside
        .args(["-c", "echo $$ > $0/cgroup.procs; exec \"$@\""])
        .arg(&group.0);
    inside
        .arg(shim.get_program())
        .args(shim.get_args())
        .stdin(Stdio::null());
    let _shim = Shim::of(inside.spawn().expect("sh runs"));
    let mut session = bench.server.welcome();
    session.run(1);
    spawned(&mut session, 1);
    let report = session.report();
    let evidence = exited(&report);
    let sigkill = ExitStatus::Signaled {
        signal: 9,
        core_dumped: false,
    };
    assert_eq!((evidence.status, evidence.ended_by), (sigkill, EndedBy::Itself));
    assert!(evidence.oom_killed, "{evidence:?}");

    session.run(2);
    session.acknowledge(&report);
    let process = spawned(&mut session, 2);
    kill(&process, Signal::KILL);
    let report = session.report();
    let evidence = exited(&report);
    assert_eq!((evidence.status, evidence.ended_by), (sigkill, EndedBy::Itself));
    assert!(!evidence.oom_killed, "nobody was: {evidence:?}");

    session.run(3);
    session.acknowledge(&report);
    spawned(&mut session, 3);
    bench.told("rose");
    session.command(Order::Signal {
        incarnation: Incarnation::new(3),
        signal: Signal::KILL.as_raw(),
    });
    assert!(matches!(session.hear(), Some(ShimMessage::SignalResult(_, Ok(_)))));
    let report = session.report();
    let evidence = exited(&report);
    assert_eq!(evidence.status, sigkill);
    assert!(!evidence.oom_killed, "the shim killed it: {evidence:?}");
}
