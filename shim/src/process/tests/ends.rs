//! How trees end.

use std::time::Instant;

use rekindle::exit::ExitStatus;
use rustix::process::Signal;

use super::*;

const KILLED: ExitStatus = ExitStatus::Signaled {
    signal: 9,
    core_dumped: false,
};
const TERMINATED: ExitStatus = ExitStatus::Signaled {
    signal: 15,
    core_dumped: false,
};

#[test]
fn a_child_that_dies_on_term_costs_no_waiting() {
    let mut bench = Bench::new();
    let child = bench.sh("echo > $D/up; exec sleep 60");
    bench.told("up");
    let start = Instant::now();
    child.signal_tree(&bench.tree, Signal::TERM).expect("signalled");
    bench.exited(&child);
    bench.gone(&child, Force::None);
    assert!(start.elapsed() < AT_ONCE);
    assert_eq!(bench.bury(child).status, TERMINATED);
}

#[test]
fn a_child_that_ignores_term_is_killed() {
    let mut bench = Bench::new();
    let child = bench.sh("trap '' TERM; echo > $D/up; while :; do sleep 1; done");
    bench.told("up");
    child.signal_tree(&bench.tree, Signal::TERM).expect("signalled");
    assert!(
        bench.within(Duration::from_millis(200), child.exited()).is_none(),
        "it goes on"
    );
    let start = Instant::now();
    assert_eq!(bench.end(child).status, KILLED);
    assert!(start.elapsed() < AT_ONCE);
}

#[test]
fn a_stopped_child_can_end() {
    let mut bench = Bench::new();
    let child = bench.sh("trap 'exit 5' TERM; echo > $D/up; kill -STOP $$; while :; do sleep 0.01; done");
    bench.told("up");
    child.signal_tree(&bench.tree, Signal::TERM).expect("signalled");
    bench.exited(&child);
    assert_eq!(bench.end(child).status, ExitStatus::Exited(5));
}

#[test]
fn a_grandchild_that_holds_the_pipes_goes_with_its_leader() {
    let mut bench = Bench::new();
    let child = bench.sh("sleep 60 & echo $! > $D/grandchild; exit 7");
    let grandchild = bench.told("grandchild");
    bench.exited(&child);
    let start = Instant::now();
    assert_eq!(bench.end(child).status, ExitStatus::Exited(7));
    assert!(!lives(&grandchild));
    assert!(start.elapsed() < AT_ONCE, "no pipe was waited for");
}

const DAEMON: &str = "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if len(sys.argv) > 5 else signal.SIG_DFL)
        open(D + '/daemon', 'w').write(f'{os.getpid()}\\n')
        time.sleep(60)
    os._exit(0)
os.wait()
";

#[test]
fn a_daemon_is_signalled_and_waited_for() {
    let mut bench = Bench::new();
    let child = bench.python(&format!("{DAEMON}\nsys.exit(0)"));
    let daemon = bench.told("daemon");
    bench.exited(&child);
    assert!(
        bench
            .within(Duration::from_millis(100), child.tree_gone(&bench.tree, Force::None))
            .is_none()
    );
    let survivors = child.survivors(&bench.tree).expect("named");
    assert_eq!(
        survivors
            .iter()
            .map(|survivor| survivor.pid.to_string())
            .collect::<Vec<_>>(),
        [daemon.trim()]
    );
    assert!(
        survivors.iter().all(|survivor| survivor.command.starts_with("python")),
        "{survivors:?}"
    );
    child.signal_tree(&bench.tree, Signal::TERM).expect("signalled");
    bench.gone(&child, Force::None);
    assert!(!lives(&daemon));
    assert_eq!(bench.bury(child).status, ExitStatus::Exited(0));
}

#[test]
fn a_daemon_is_killed_with_its_leader_alive() {
    let mut bench = Bench::new();
    let child = bench.python(&format!("{DAEMON}\ntime.sleep(60)"));
    let daemon = bench.told("daemon");
    assert_eq!(bench.end(child).status, KILLED);
    assert!(!lives(&daemon));
}

#[test]
fn a_tree_that_keeps_forking_is_outrun() {
    let mut bench = Bench::new();
    let child = bench.python(
        "
import subprocess
def breed():
    while True:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
            os._exit(0)
        os.wait()
        time.sleep(0.0005)
if os.fork() == 0:
    os.setsid()
    breed()
time.sleep(0.3)
open(D + '/up', 'w').write('\\n')
breed()",
    );
    bench.told("up");
    let start = Instant::now();
    bench.end(child);
    assert!(start.elapsed() < Duration::from_secs(2), "within the kill proof");
}

#[test]
fn a_dead_main_thread_is_no_dead_process() {
    let mut bench = Bench::new();
    let child = bench.python(
        "
import ctypes, threading
def on():
    time.sleep(0.2)
    open(D + '/up', 'w').write('\\n')
    time.sleep(60)
threading.Thread(target=on).start()
ctypes.CDLL(None).pthread_exit(None)",
    );
    bench.told("up");
    assert!(bench.within(Duration::from_millis(100), child.exited()).is_none());
    assert!(
        bench
            .within(Duration::from_millis(100), child.tree_gone(&bench.tree, Force::None))
            .is_none()
    );
    assert_eq!(bench.end(child).status, KILLED);
}

#[test]
fn orphans_are_reaped_while_the_child_lives() {
    let mut bench = Bench::new();
    let child = bench.python(
        "
if os.fork() == 0:
    if os.fork() == 0:
        while os.path.exists(D + '/hold'):
            time.sleep(0.001)
        os._exit(0)
    os._exit(0)
os.wait()
open(D + '/up', 'w').write('\\n')
time.sleep(60)",
    );
    bench.told("up");
    let leader = Some(child.pid());
    let mine = || super::super::proc::children(rustix::process::getpid()).expect("listed");
    wait_for("the orphan's end", || {
        bench.tree.reap().expect("reaped");
        mine()
            .iter()
            .all(|pid| Some(*pid) == leader || bench.tree.is_exempt(*pid))
            .then_some(())
    });
    assert!(
        mine().contains(&child.pid()),
        "the child is not reaped before its tree is dead"
    );
    bench.end(child);
}

#[test]
fn a_signal_for_the_child_alone() {
    let mut bench = Bench::new();
    let child = bench.sh("trap 'exit 9' USR2; echo > $D/up; while :; do sleep 0.01; done");
    bench.told("up");
    child.signal(Signal::USR2).expect("signalled");
    bench.exited(&child);
    assert_eq!(bench.end(child).status, ExitStatus::Exited(9));
}
