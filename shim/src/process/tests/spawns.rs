//! How children begin, and what they say.

use std::time::Instant;

use rekindle::exit::{ExitStatus, TAIL_MAX_BYTES};
use rustix::process::Signal;

use super::super::output::Ends;
use super::super::spawn;
use super::*;

#[test]
fn a_program_that_cannot_run_says_which_and_why() {
    let mut bench = Bench::new();
    let script = bench.file("script");
    std::fs::write(&script, "no interpreter").expect("written");
    let script = script.display().to_string();
    let error = |bench: &mut Bench, path: &str| bench.try_spawn(path, &[]).expect_err("cannot run").to_string();

    assert_eq!(
        error(&mut bench, "/no/such/program"),
        "cannot run /no/such/program: No such file or directory; check the path after `--`, and the interpreter that a \
         script names in its first line"
    );
    let denied = error(&mut bench, &script);
    assert!(
        denied.starts_with(&format!("cannot run {script}: Permission denied; make it executable")),
        "{denied}"
    );
    assert!(error(&mut bench, "no-such-name").starts_with("cannot run no-such-name: No such file"));
    bench.tree.reap().expect("reaped");
}

#[test]
fn of_a_child_that_cannot_be_watched_nothing_is_left() {
    let bench = Bench::new();
    let dir = bench.dir.path().display();
    let script = format!("setsid sh -c 'echo $$ > {dir}/daemon; exec sleep 60' & sleep 60");
    let program = Program {
        path: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        confinement: Confinement::default(),
        on_shim_exit: OnShimExit::Kill,
        delivery: Delivery::None,
    };
    let ends = Ends::nowhere().expect("opened");
    let birth = birth();
    let (stdin, _) = spawn::stdin(&program, &birth).expect("opened");
    let leader = spawn::spawn(&program, &birth, stdin, ends, None).expect("sh runs");
    let daemon = bench.told("daemon");
    let root = bench.tree.plant(Root::new(birth.tree(), leader, None, Vec::new()));
    let want = std::io::Error::from(rustix::io::Errno::MFILE);
    let stillborn = Stillborn::of(root, SpawnError::new(&program, want));
    bench.within(LIMIT, stillborn.gone(&bench.tree)).expect("ends");
    assert!(!lives(&daemon));
    let error = stillborn.bury().to_string();
    assert!(error.contains("raise it with ulimit -n"), "{error}");
    assert!(!lives(&leader.as_raw_pid().to_string()));
    bench.tree.reap().expect("reaped");
}

#[test]
fn the_end_is_told_with_evidence() {
    let mut bench = Bench::new();
    let child = bench.sh("echo out; echo err >&2; exit 3");
    bench.exited(&child);
    let remains = bench.end(child);
    assert_eq!(remains.status, ExitStatus::Exited(3));
    assert_eq!(
        (remains.stdout_tail.as_str(), remains.stderr_tail.as_str()),
        ("out\n", "err\n")
    );
    assert!(remains.max_rss_kib > 0);

    let child = bench.sh("kill -USR1 $$; sleep 60");
    bench.exited(&child);
    let signal = Signal::USR1.as_raw();
    assert_eq!(
        bench.end(child).status,
        ExitStatus::Signaled {
            signal,
            core_dumped: false
        }
    );
}

#[test]
fn what_a_child_finds() {
    let mut bench = Bench::new();
    let child = bench.python(
        "import json
env = {k: v for k, v in os.environ.items() if k.startswith('REKINDLE_')}
masked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
ignored = [s for s in range(1, 32) if signal.getsignal(s) == signal.SIG_IGN and s not in (13, 25)]
print(json.dumps([env, os.getpgid(0) == os.getpid(), sys.stdin.read(), len(masked), ignored], sort_keys=True))",
    );
    let process = child.process().clone();
    bench.exited(&child);
    let stat = rustix::process::Pid::from_raw(i32::try_from(process.pid).expect("a pid"));
    let ticks = super::super::proc::stat(stat.expect("a pid"))
        .expect("a zombie has a stat")
        .start_time_ticks;
    assert_eq!(process.start_time_ticks, ticks);
    assert!(process.pidfd_inode.is_some(), "this kernel has pidfs");
    let remains = bench.end(child);
    let expected = format!(
        "[{{\"REKINDLE_AGENT\": \"planner-1\", \"REKINDLE_INCARNATION\": \"3\", \"REKINDLE_MARKER\": \"{}\", \
         \"REKINDLE_SOCKET\": \"{}\", \"REKINDLE_STATE_FILE\": \"{}\"}}, true, \"\", 0, []]\n",
        birth().marker,
        birth().socket.display(),
        birth().state_file.display()
    );
    assert_eq!(remains.stdout_tail, expected, "{}", remains.stderr_tail);
}

#[test]
fn a_flood_keeps_its_last_lines() {
    let mut bench = Bench::new();
    let child = bench.sh("i=0; while [ $i -lt 30000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1");
    bench.exited(&child);
    let remains = bench.end(child);
    assert!(remains.stderr_tail.ends_with("line 29998\nline 29999\n"));
    assert!((TAIL_MAX_BYTES - 20..=TAIL_MAX_BYTES).contains(&remains.stderr_tail.len()));
}

#[test]
fn everything_is_passed_on() {
    let mut bench = Bench::new();
    let child = bench.sh("head -c 300000 /dev/zero; echo end");
    bench.exited(&child);
    bench.end(child);
    let passed = bench.passed();
    assert_eq!(passed.len(), 300_004);
    assert!(passed.ends_with(b"end\n"));
}

#[test]
fn a_flood_can_be_ended() {
    let mut bench = Bench::new();
    let child = bench.sh("yes >&2 & yes >&2 & echo $! > $D/flood; wait");
    bench.told("flood");
    let start = Instant::now();
    bench.end(child);
    assert!(start.elapsed() < AT_ONCE);
}

#[test]
fn a_stranger_with_the_pipe_delays_nothing() {
    let mut bench = Bench::new();
    let child = bench.sh("sleep 60 & echo $! > $D/stranger; echo last words; while [ ! -e $D/go ]; do :; done");
    let stranger = bench.told("stranger");
    // Both are exempt then, but a child's own death is seen all the same.
    bench.tree.exempt_all().expect("works");
    std::fs::write(bench.file("go"), "").expect("written");
    bench.exited(&child);
    let start = Instant::now();
    bench
        .within(AT_ONCE, child.tree_gone(&bench.tree, Force::None))
        .expect("no tree is left");
    assert_eq!(bench.bury(child).stdout_tail, "last words\n");
    assert!(start.elapsed() < AT_ONCE);
    assert!(lives(&stranger), "a stranger gets no signal");
    let tree = Tree::default();
    let pid = rustix::process::Pid::from_raw(stranger.trim().parse().expect("a pid")).expect("a pid");
    let root = Root::new(birth().tree(), pid, None, Vec::new());
    tree.signal(&root, Signal::KILL).expect("ended");
    wait_for("the stranger's end", || (!lives(&stranger)).then_some(()));
    tree.reap().expect("reaped");
}
