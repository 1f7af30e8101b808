//! Commands that save for a life that is about to be ended.

use std::time::Instant;

use rekindle::exit::ExitStatus;
use rustix::process::Signal;

use super::super::{CheckpointCommand, CommandEnd};
use super::*;

impl Bench {
    /// Runs a shell script beside a life, in which `D` is the test's folder.
    fn command(&mut self, life: &Child, script: &str) -> CheckpointCommand {
        let program = Program {
            path: "/no/such/program".into(),
            arguments: vec!["of the agent alone".into()],
            confinement: Confinement::default(),
            on_shim_exit: OnShimExit::Kill,
            delivery: self.delivery,
        };
        let birth = Birth {
            handed: vec![("REKINDLE_TASK_ID".to_owned(), "T-7".to_owned())],
            purpose: Purpose::CheckpointCommand,
            ..birth()
        };
        let script = format!("D={}; {script}", self.dir.path().display());
        let _inside = self.runtime.enter();
        CheckpointCommand::spawn(&program, &script.into(), &birth, life, &mut self.outputs, &self.tree)
            .expect("it runs")
    }

    #[track_caller]
    fn command_end(&self, command: CheckpointCommand) -> CommandEnd {
        self.within(LIMIT, command.exited()).expect("it ends");
        // Nobody takes it away before.
        self.tree.reap().expect("reaped");
        command.bury()
    }
}

#[test]
fn it_is_told_what_the_agent_was_told_and_how_it_ended_is_known() {
    let mut bench = Bench::new();
    let life = bench.sh("sleep 60");
    let script = "echo \"$REKINDLE_INCARNATION $REKINDLE_TASK_ID $REKINDLE_STATE_FILE ${NOTIFY_SOCKET-none}\" > $D/env
        cat; echo why >&2; exit 7";
    let command = bench.command(&life, script);
    assert!(command.is_of(life.tree()) && command.incarnation() == birth().incarnation);
    let end = bench.command_end(command);
    assert_eq!((end.status, end.stderr_tail.as_str()), (ExitStatus::Exited(7), "why\n"));
    let state_file = birth().state_file;
    assert_eq!(bench.told("env").trim(), format!("3 T-7 {} none", state_file.display()));
    bench.end(life);
}

#[test]
fn what_it_writes_goes_where_the_agents_words_go() {
    let mut bench = Bench::new();
    let life = bench.sh("sleep 60");
    let command = bench.command(&life, "echo saved");
    bench.command_end(command);
    bench.end(life);
    assert_eq!(bench.passed(), b"saved\n");
}

#[test]
fn it_ends_with_the_tree_and_what_it_has_begun_too() {
    let mut bench = Bench::new();
    let life = bench.sh("sleep 60");
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > $0/daemon; while :; do sleep 1; done' $D &
        echo $$ > $D/command; while :; do sleep 1; done";
    let command = bench.command(&life, script);
    let (daemon, own) = (bench.told("daemon"), bench.told("command"));
    life.signal_tree(&bench.tree, Signal::TERM).expect("signalled");
    bench.exited(&life);
    let early = bench.within(Duration::from_millis(20), life.tree_gone(&bench.tree, Force::None));
    assert!(early.is_none(), "what saves is of the tree");
    let start = Instant::now();
    bench.gone(&life, Force::Kill);
    assert!(start.elapsed() < AT_ONCE && !lives(&daemon) && !lives(&own));
    let end = bench.command_end(command);
    assert!(matches!(end.status, ExitStatus::Signaled { signal: 9, .. }), "{end:?}");
    bench.bury(life);
}

#[test]
fn it_gets_the_signal_that_the_tree_gets() {
    let mut bench = Bench::new();
    let life = bench.sh("trap 'exit 0' TERM; echo > $D/up; while :; do sleep 0.02; done");
    let command = bench.command(
        &life,
        "trap 'exit 5' TERM; echo > $D/saving; while :; do sleep 0.02; done",
    );
    bench.told("up");
    bench.told("saving");
    life.signal_tree(&bench.tree, Signal::TERM).expect("signalled");
    assert_eq!(bench.command_end(command).status, ExitStatus::Exited(5));
    bench.exited(&life);
    bench.end(life);
}

#[test]
fn it_is_in_the_group_of_the_life() {
    let Some(mut bench) = Bench::grouped() else { return };
    let life = bench.sh("sleep 60");
    let command = bench.command(
        &life,
        "cat /proc/self/cgroup > $D/cgroup; echo $$ > $D/command; sleep 60",
    );
    bench.told("command");
    let group = life.group().expect("a group").dir().to_owned();
    let told = bench.told("cgroup");
    let name = group.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(told.trim().ends_with(&name), "{told} is not {name}");
    bench.gone(&life, Force::Kill);
    bench.command_end(command);
    bench.bury(life);
    assert!(!group.exists());
}
