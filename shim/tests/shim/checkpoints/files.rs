//! What is saved by the state file, whoever dies.

use std::path::Path;

use super::*;
use crate::bench::{Shim, is_root, lives, skip, wait_for};
use crate::keep::adopted;
use crate::upgrade::upgraded;

/// Saves one stage after the other, as fast as it can.
const COUNTS: &str = "exec python3 -c '
import os, sys
state = os.environ[\"REKINDLE_STATE_FILE\"]
n = 0
while True:
    n += 1
    with open(state + \".new\", \"w\") as file:
        file.write(\"{\\\"stage\\\": \\\"%d\\\"}\" % n)
    os.replace(state + \".new\", state)
    if n == 20:
        print(state, file=open(sys.argv[1] + \"/path\", \"w\"), flush=True)
' $D";

/// What stands in a state file.
fn stands(path: &Path) -> String {
    let json = fs::read(path).expect("there");
    StateFile::parse(&json).expect("whole").draft.stage
}

#[test]
fn what_is_written_right_before_a_sigkill_counts() {
    let mut bench = Bench::new();
    let script = format!(
        "{SAVES} case $REKINDLE_INCARNATION in 1) save '{{\"stage\": \"last words\"}}'; kill -9 $$;; esac; {TELLS}"
    );
    let _shim = bench.spawn(&[], &script);
    let mut session = bench.server.welcome();
    session.run(1);
    spawned(&mut session, 1);
    next_life(&mut session, 2);
    assert_eq!(bench.handed_stage(2).as_deref(), Some("last words"));
    assert_eq!(bench.variable(2, "REKINDLE_CHECKPOINT").as_deref(), Some("1.1"));
}

#[test]
fn a_save_that_races_the_death_is_the_one_that_stands_there() {
    let mut bench = Bench::new();
    let script = format!("case $REKINDLE_INCARNATION in 1) {COUNTS};; esac; {TELLS}");
    let (_shim, mut session, process) = bench.running(&[], &script);
    bench.told("path");
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);
    let stage: u64 = bench.handed_stage(2).expect("handed over").parse().expect("a number");
    assert!(stage >= 20, "{stage}");
}

#[test]
fn what_shim_and_agent_have_died_over_is_found_by_the_next_shim() {
    let mut bench = Bench::new();
    let script = format!("case $REKINDLE_INCARNATION in 1) {COUNTS};; esac; {TELLS}");
    let (shim, session, process) = bench.running(&[], &script);
    let path = bench.told("path");
    drop(session);
    shim.killed();
    wait_for("its agent's end", || (!lives(process.pid)).then_some(()));
    let last = stands(Path::new(&path));

    let _shim = bench.spawn(&[], &script);
    let mut session = bench.server.welcome();
    session.run(2);
    spawned(&mut session, 2);
    assert_eq!(bench.handed_stage(2), Some(last));
}

#[test]
fn a_kept_child_saves_while_no_shim_runs_and_under_the_next_one() {
    let mut bench = Bench::new();
    let flags = ["--on-shim-exit", "keep"];
    let script = format!(
        "{SAVES} case $REKINDLE_INCARNATION in 1)
            echo $REKINDLE_SOCKET > $D/socket
            for step in one two; do
                while [ ! -e $D/$step ]; do sleep 0.02; done
                save \"{{\\\"stage\\\": \\\"$step\\\"}}\"; echo saved > $D/saved.$step
            done; sleep 600;; esac; {TELLS}"
    );
    let (shim, session, process) = bench.running(&flags, &script);
    drop(session);
    shim.killed();
    fs::write(bench.file("one"), "").expect("written");
    bench.told("saved.one");
    let (shim, session) = adopted(&mut bench, &flags, &script, &process);
    let mut client = Client::of(&bench);
    assert_eq!(loaded_stage(&mut client).as_deref(), Some("one"));
    fs::write(bench.file("two"), "").expect("written");
    wait_for("the save", || loaded_stage(&mut client).filter(|stage| stage == "two"));
    drop(session);
    shim.killed();
    let (_shim, mut session) = adopted(&mut bench, &flags, &script, &process);
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);
    assert_eq!(bench.handed_stage(2).as_deref(), Some("two"));
    // Nothing was saved twice.
    assert_eq!(bench.variable(2, "REKINDLE_CHECKPOINT").as_deref(), Some("1.2"));
}

fn loaded_stage(client: &mut Client) -> Option<String> {
    client.load(1)?.state.map(|state| state.stage)
}

#[test]
fn an_upgraded_shim_goes_on_with_the_file() {
    let mut bench = Bench::new();
    let script = format!(
        "{SAVES} case $REKINDLE_INCARNATION in 1)
            save '{{\"stage\": \"before\"}}'; echo $REKINDLE_SOCKET > $D/socket
            while [ ! -e $D/go ]; do sleep 0.02; done
            save '{{\"stage\": \"after\"}}'; sleep 600;; esac; {TELLS}"
    );
    let (shim, session, process) = bench.running(&[], &script);
    let before = |stage: &String| stage == "before";
    let mut client = Client::of(&bench);
    wait_for("the save", || loaded_stage(&mut client).filter(before));
    let mut session = upgraded(&mut bench, &shim, session, &process);
    let mut client = Client::of(&bench);
    assert_eq!(loaded_stage(&mut client).as_deref(), Some("before"));
    fs::write(bench.file("go"), "").expect("written");
    wait_for("the save", || {
        loaded_stage(&mut client).filter(|stage| stage == "after")
    });
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);
    assert_eq!(bench.variable(2, "REKINDLE_CHECKPOINT").as_deref(), Some("1.2"));
    assert_eq!(bench.handed_stage(2).as_deref(), Some("after"));
}

#[test]
fn closed_in_the_file_is_closed() {
    let mut bench = Bench::new();
    let script = format!(
        "{SAVES} case $REKINDLE_INCARNATION in 1)
            save '{{\"stage\": \"1\"}}'; save '{{\"stage\": \"2\", \"closed\": true}}'; kill -9 $$;; esac; {TELLS}"
    );
    let _shim = bench.spawn(&[], &script);
    let mut session = bench.server.welcome();
    session.run(1);
    spawned(&mut session, 1);
    next_life(&mut session, 2);
    assert_eq!(bench.handed(2), None);
}

#[test]
fn broken_and_oversized_ones_are_refused_loudly_and_the_last_whole_one_stays() {
    let mut bench = Bench::new();
    let script = format!(
        "{SAVES} case $REKINDLE_INCARNATION in 1)
            echo $REKINDLE_SOCKET > $D/socket; save '{{\"stage\": \"whole\"}}'
            while [ ! -e $D/go ]; do sleep 0.02; done
            head -c 3000000 /dev/zero > $REKINDLE_STATE_FILE
            ln -sf /etc/passwd $REKINDLE_STATE_FILE.link; mv $REKINDLE_STATE_FILE.link $REKINDLE_STATE_FILE
            save '{{\"stage\": '; kill -9 $$;; esac; {TELLS}"
    );
    let log = fs::File::create(bench.file("log")).expect("made");
    let shim = Shim::of(bench.command(&[], &script).stderr(log).spawn().expect("runs"));
    let mut session = bench.server.welcome();
    session.run(1);
    spawned(&mut session, 1);
    let mut client = Client::of(&bench);
    wait_for("the save", || loaded_stage(&mut client));
    fs::write(bench.file("go"), "").expect("written");
    next_life(&mut session, 2);
    assert_eq!(bench.handed_stage(2).as_deref(), Some("whole"));
    drop(shim);
    let log = fs::read_to_string(bench.file("log")).expect("a log");
    assert!(log.contains("what it has saved before is kept"), "{log}");
}

#[test]
fn an_agent_of_another_user_saves_and_reads_its_file() {
    if !is_root() {
        return skip("another user's agent needs root");
    }
    let mut bench = Bench::new();
    let flags = ["--user", "nobody", "--directory", "/"];
    let script = format!(
        "{SAVES} case $REKINDLE_INCARNATION in 1) save '{{\"stage\": \"of nobody\"}}';; esac
        echo \"$(cat $REKINDLE_STATE_FILE | tr -d '\\n') $REKINDLE_STATE_FILE\"; sleep 600"
    );
    let told = |session: &mut Session| {
        let report = session.report();
        let tail = exited(&report).stdout_tail.clone();
        session.acknowledge(&report);
        tail
    };
    let (_shim, mut session, process) = bench.running(&flags, &script);
    wait_for("its words", || {
        let path = find(&bench, "1.json")?;
        (fs::metadata(path).ok()?.uid() == 65_534).then_some(())
    });
    kill(&process, Signal::KILL);
    told(&mut session);
    session.run(2);
    let process = spawned(&mut session, 2);
    let path = wait_for("its file", || find(&bench, "2.json"));
    assert_eq!(
        (fs::metadata(&path).expect("there").uid(), stands(&path).as_str()),
        (65_534, "of nobody")
    );
    let dir = path.parent().expect("a directory");
    assert_eq!(fs::metadata(dir).expect("there").mode() & 0o777, 0o700);
    kill(&process, Signal::KILL);
    told(&mut session);
}

/// A state file of the bench's shim, whose socket's directory is named by a link where another user must reach it.
fn find(bench: &Bench, name: &str) -> Option<std::path::PathBuf> {
    let path = bench.file("state/socket/state").join(name);
    path.exists().then_some(path)
}

#[test]
fn a_state_that_kills_who_reads_it_is_set_aside_and_no_other() {
    for (reads, expected) in [("cat $REKINDLE_STATE_FILE > /dev/null", None), (":", Some("poison"))] {
        let mut bench = Bench::new();
        let script = format!(
            "{SAVES} case $REKINDLE_INCARNATION in
                1) save '{{\"stage\": \"poison\"}}'; kill -9 $$;;
                2|3) {reads}; kill -9 $$;;
            esac; {TELLS}"
        );
        let _shim = bench.spawn(&["--poison-after", "2"], &script);
        let mut session = bench.server.welcome();
        session.run(1);
        spawned(&mut session, 1);
        for life in 2..=4 {
            next_life(&mut session, life);
        }
        assert_eq!(bench.handed_stage(4).as_deref(), expected, "{reads}");
    }
}
