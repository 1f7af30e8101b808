//! Control groups. They need root, or a delegated hierarchy.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rekindle::exit::ExitStatus;
use rekindle_shim_core::TreeId;

use super::super::cgroup::{Group, Population};
use super::super::sweep;
use super::*;

fn group_of(child: &Child) -> &Group {
    child.group().expect("a life with a group")
}

#[test]
fn a_life_has_a_group_that_goes_with_it() {
    let Some(mut bench) = Bench::grouped() else { return };
    let child = bench.sh("(setsid sleep 60 & echo $! > $D/daemon); sleep 60");
    let daemon = bench.told("daemon");
    let dir = group_of(&child).dir().to_owned();
    assert!(group_of(&child).holds(child.pid()));
    assert_eq!(group_of(&child).population().expect("told"), Population::Somebody);
    bench.end(child);
    assert!(!lives(&daemon));
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn groups_below_go_too() {
    let Some(mut bench) = Bench::grouped() else { return };
    let child = bench.sh("echo > $D/up; exec sleep 60");
    bench.told("up");
    let dir = group_of(&child).dir().to_owned();
    std::fs::create_dir_all(dir.join("a/b")).expect("made");
    std::fs::write(dir.join("a/b/cgroup.procs"), child.process().pid.to_string()).expect("moved");
    assert!(group_of(&child).holds(child.pid()));
    assert_eq!(group_of(&child).pids(), [child.pid()]);
    bench.end(child);
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn a_program_that_cannot_run_leaves_no_group() {
    let Some(mut bench) = Bench::grouped() else { return };
    bench.try_spawn("/no/such/program", &[]).expect_err("cannot run");
    bench.tree.reap().expect("reaped");
    let group = bench.tree.group(&birth().tree()).expect("it is free");
    assert_eq!(group.pids(), []);
}

#[test]
fn who_is_in_the_group_is_of_the_tree_whoever_it_descends_from() {
    let bench = Bench::new();
    let mut stranger = Command::new("sleep").arg("60").spawn().expect("sleep runs");
    drop(bench);
    let Some(mut bench) = Bench::grouped() else {
        stranger.kill().expect("killed");
        stranger.wait().expect("reaped");
        return;
    };
    let child = bench.sh("exec sleep 60");
    let procs = group_of(&child).dir().join("cgroup.procs");
    std::fs::write(procs, stranger.id().to_string()).expect("moved");
    child.signal(rustix::process::Signal::TERM).expect("signalled");
    bench.exited(&child);
    assert!(
        bench
            .within(Duration::from_millis(200), child.tree_gone(&bench.tree, Force::None))
            .is_none(),
        "somebody lives in the group"
    );
    bench.gone(&child, Force::Kill);
    assert!(stranger.wait().expect("reaped").code().is_none(), "it was killed");
    bench.bury(child);
}

/// A shell whose group a sweep must find: it has no marker, no parent of the agent's, and no process group of it.
fn without_trace(group: &Group) -> std::process::Child {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "sleep 60 & sleep 60"])
        .env_clear()
        .stdin(Stdio::null());
    command.process_group(0);
    let child = command.spawn().expect("sh runs");
    std::fs::write(group.dir().join("cgroup.procs"), child.id().to_string()).expect("moved");
    child
}

#[test]
fn a_sweep_finds_who_left_no_other_trace() {
    let Some(bench) = Bench::grouped() else { return };
    let marker = marker();
    let groups = Groups::open(marker).expect("this host gives groups");
    let group = groups.make(&TreeId::Life(Incarnation::new(7))).expect("made");
    let dir = group.dir().to_owned();
    let mut left = without_trace(&group);
    drop(group);
    assert!(dir.exists(), "a group with somebody in it stays");
    Groups::open(marker).expect("this host gives groups");
    assert!(dir.exists(), "for the sweep to find");

    let swept = bench.within(LIMIT, sweep(marker, None, Duration::from_secs(2)));
    assert_eq!(swept.expect("ends").survivors(), []);
    let status = left.try_wait().expect("a child").expect("dead");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(!dir.exists(), "{} is left", dir.display());
    bench.tree.reap().expect("reaped");
}

#[test]
fn empty_groups_of_earlier_shims_are_removed() {
    let Some(bench) = Bench::grouped() else { return };
    let (marker, other) = (marker(), marker());
    let made = |marker| {
        let group = Groups::open(marker)
            .expect("groups")
            .make(&TreeId::Life(Incarnation::new(1)))
            .expect("made");
        let dir = group.dir().to_owned();
        std::mem::forget(group);
        dir
    };
    let (ours, strangers) = (made(marker), made(other));
    drop(Groups::open(marker));
    assert!(!ours.exists() && strangers.exists());
    drop(Groups::open(other));
    assert!(!strangers.exists());
    drop(bench);
}

#[test]
fn a_fork_bomb_is_ended() {
    let Some(mut bench) = Bench::grouped() else { return };
    let child = bench.python(
        "os.setpgid(0, 0)
end = time.monotonic() + 30
def bomb():
    while time.monotonic() < end:
        try:
            if os.fork() == 0:
                os.setsid()
        except BlockingIOError:
            pass
        time.sleep(0.02)
open(D + '/up', 'w').write('up\\n')
bomb()",
    );
    bench.told("up");
    let remains = bench.end(child);
    assert_eq!(
        remains.status,
        ExitStatus::Signaled {
            signal: 9,
            core_dumped: false
        }
    );
}
