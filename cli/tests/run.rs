//! `rekindle run` against a server that does what a network can: loses answers, streams and pieces of output.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use rekindle::wire::v1;
use rekindle::wire::v1::{ExecutionState, FailureCause};
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::{Fake, NAME, Step, execution, output, progress, state};
use crate::program::{Answer, eventually, rekindle};
use crate::terminal::Terminal;

fn command(server: &Fake, extra: &[&str]) -> Command {
    let args = ["--server", &server.address, "run", "planner", "sort the inbox"];
    rekindle(&[&args, extra].concat())
}

fn run(server: &Fake, extra: &[&str]) -> Answer {
    Answer::of_command(command(server, extra))
}

fn done(text: &str) -> Step {
    state(v1::Execution {
        output: text.to_owned(),
        ..execution(ExecutionState::Succeeded)
    })
}

fn running() -> Step {
    state(v1::Execution {
        process: Some(v1::Process {
            host: "vm-7".to_owned(),
            pid: 4242,
            ..v1::Process::default()
        }),
        ..execution(ExecutionState::Running)
    })
}

#[test]
fn output_comes_once_and_whole() {
    let server = Fake::start([vec![
        state(execution(ExecutionState::Queued)),
        running(),
        output(0, b"one \x1b[1m"),
        // In the middle of a character.
        output(8, b"zw\xc3"),
        output(11, b"\xb6lf"),
        done("one \x1b[1mzwölf three"),
    ]]);
    let answer = run(&server, &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.out, "one \x1b[1mzwölf three", "a pipe gets what the agent wrote");
    assert_eq!(answer.err, "planner/e-1\n");
    let asked = server.asked();
    let [create] = asked.creates.as_slice() else {
        panic!("one execution: {asked:?}")
    };
    assert_eq!(create.parent, "agents/planner");
    assert_eq!(
        create.execution.as_ref().map(|it| it.message.as_str()),
        Some("sort the inbox")
    );
}

#[test]
fn a_server_that_streams_nothing() {
    let server = Fake::start([vec![running(), done("the result\n")]]);
    assert_eq!(run(&server, &[]).out, "the result\n");
}

#[test]
fn a_gap_is_told() {
    let server = Fake::start([vec![
        running(),
        output(0, b"one"),
        output(7, b"three"),
        done("onetwo.three!"),
    ]]);
    let answer = run(&server, &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.out, "onethree!");
    assert!(answer.err.contains("4 bytes of output are missing"), "{answer:?}");
    assert!(
        answer.err.contains("rekindle executions output planner/e-1"),
        "{answer:?}"
    );
}

#[test]
fn another_attempt_is_told() {
    let again = state(v1::Execution {
        attempt: 2,
        output: "second".to_owned(),
        ..execution(ExecutionState::Succeeded)
    });
    let server = Fake::start([vec![running(), output(0, b"first"), again]]);
    let answer = run(&server, &[]);
    assert_eq!(answer.out, "firstsecond");
    assert!(
        answer.err.contains("planner/e-1: what follows is of attempt 2"),
        "{answer:?}"
    );
}

#[test]
fn a_lost_connection_is_made_anew() {
    let server = Fake::start([
        vec![Step::Lose],
        vec![running(), output(0, b"one "), Step::Lose],
        vec![running(), output(0, b"one two "), Step::End],
        vec![running(), done("one two three")],
    ]);
    let answer = run(&server, &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.out, "one two three");
    assert!(answer.err.contains("trying again"), "{answer:?}");
    assert_eq!(answer.err.matches("connected again").count(), 3, "{answer:?}");
    assert_eq!(server.asked().watches, 4);
}

#[test]
fn a_lost_answer_makes_no_second_execution() {
    let server = Fake::start([vec![done("")]]).lose_answers(2);
    let answer = run(&server, &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let ids: Vec<_> = server.asked().creates.into_iter().map(|it| it.request_id).collect();
    assert_eq!(ids.len(), 3);
    assert!(!ids[0].is_empty() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn every_end_has_its_exit_code() {
    let ends = [
        (ExecutionState::Succeeded, 0),
        (ExecutionState::Failed, 1),
        (ExecutionState::Cancelled, 1),
        (ExecutionState::Lost, 1),
        (ExecutionState::DeadLetter, 1),
        (ExecutionState::TimedOut, 6),
    ];
    for (end, code) in ends {
        let over = v1::Execution {
            output: "half of it".to_owned(),
            failure: (code > 0).then(|| v1::Failure {
                cause: FailureCause::Exited.into(),
                exit_code: Some(3),
                message: "failed: \x1b[2Jits process exited with code 3".to_owned(),
                stderr_tail: "out of ideas\n".to_owned(),
                ..v1::Failure::default()
            }),
            ..execution(end)
        };
        let server = Fake::start([vec![running(), state(over)]]);
        let answer = run(&server, &[]);
        assert_eq!(answer.code, code, "{answer:?}");
        assert_eq!(answer.out, "half of it", "{answer:?}");
        if code > 0 {
            for told in [
                end.as_str_name().trim_start_matches("EXECUTION_STATE_"),
                "EXITED",
                "exit code 3",
            ] {
                assert!(answer.err.contains(told), "{told}: {answer:?}");
            }
            assert!(answer.err.contains("  stderr | out of ideas\n"), "{answer:?}");
            assert!(!answer.err.contains('\x1b'), "{answer:?}");
        }
    }
}

#[test]
fn an_end_of_a_later_version_is_no_end_for_ever() {
    let later = v1::Execution {
        state: 1000,
        ..execution(ExecutionState::Unspecified)
    };
    let server = Fake::start([vec![state(later), Step::End]]);
    let answer = run(&server, &[]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.contains("another version"), "{answer:?}");
}

#[test]
fn the_flags_reach_the_server() {
    let server = Fake::start([]);
    let mut child = rekindle(&["--server", &server.address, "run", "agents/planner", "-", "--detach"])
        .args(["--timeout", "90s", "--schedule-to-start-timeout", "5m"])
        .args(["--priority", "-7", "--id", "e-1", "--request-id", "mine"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rekindle can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(b"first line\nsecond line\n").expect("it is read");
    drop(stdin);
    let answer = Answer::of_output(child.wait_with_output().expect("it ends"));
    assert_eq!((answer.code, answer.out.as_str()), (0, "planner/e-1\n"), "{answer:?}");
    let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let expected = v1::CreateExecutionRequest {
        parent: "agents/planner".to_owned(),
        execution_id: "e-1".to_owned(),
        execution: Some(v1::Execution {
            message: "first line\nsecond line\n".to_owned(),
            timeout: duration(90),
            schedule_to_start_timeout: duration(300),
            priority: -7,
            ..v1::Execution::default()
        }),
        request_id: "mine".to_owned(),
    };
    assert_eq!(server.asked().creates, [expected]);
    assert_eq!(server.asked().watches, 0);
}

#[test]
fn programs_get_the_execution_or_every_update() {
    let steps = vec![running(), output(0, b"one "), output(4, b"two"), done("one two")];
    let server = Fake::start([steps.clone(), steps]);
    let ended = run(&server, &["--output", "json"]).json();
    assert_eq!(
        (&ended["state"], &ended["output"]),
        (&"SUCCEEDED".into(), &"one two".into())
    );
    let watched = Answer::of(&[
        "--server",
        &server.address,
        "executions",
        "watch",
        NAME,
        "--output",
        "json",
    ]);
    let lines: Vec<serde_json::Value> = watched
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object for each line"))
        .collect();
    assert_eq!(lines[0]["execution"]["state"], "RUNNING");
    assert_eq!(
        lines[2]["output"],
        serde_json::json!({ "attempt": 1, "offset": 4, "data": "two" })
    );
    assert_eq!(lines[3]["execution"]["output"], "one two");
    assert_eq!(lines.len(), 4, "{watched:?}");
}

/// Starts a command that is on its way, with what it says caught.
fn started(server: &Fake, mut command: Command) -> Child {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("rekindle can be started");
    eventually("the stream", || (server.asked().watches > 0).then_some(()));
    child
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).expect("it has not been waited for");
}

fn ended(child: Child) -> Answer {
    Answer::of_output(child.wait_with_output().expect("it ends"))
}

#[test]
fn who_leaves_leaves_the_work_alone() {
    let server = Fake::start([vec![running(), Step::Hold]]);
    let child = started(&server, command(&server, &[]));
    interrupt(&child);
    let answer = ended(child);
    assert_eq!(answer.code, 6, "{answer:?}");
    for told in [
        "rekindle executions watch planner/e-1",
        "rekindle executions cancel planner/e-1",
    ] {
        assert!(answer.err.contains(told), "{answer:?}");
    }
    assert_eq!(server.asked().cancels, []);
}

#[test]
fn an_interrupt_cancels_where_that_was_asked_for() {
    let cancelled = state(execution(ExecutionState::Cancelled));
    let server = Fake::start([vec![running(), Step::AwaitCancel, cancelled]]);
    let child = started(&server, command(&server, &["--cancel-on-interrupt"]));
    interrupt(&child);
    let answer = ended(child);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.contains("planner/e-1 is CANCELLED"), "{answer:?}");
    assert_eq!(server.asked().cancels.len(), 1);

    let server = Fake::start([vec![running(), Step::AwaitCancel, Step::Hold]]);
    let child = started(&server, command(&server, &["--cancel-on-interrupt"]));
    interrupt(&child);
    eventually("the cancel", || (!server.asked().cancels.is_empty()).then_some(()));
    interrupt(&child);
    let answer = ended(child);
    assert_eq!(answer.code, 6, "{answer:?}");
    assert_eq!(server.asked().cancels.len(), 1);
}

#[test]
fn the_result_counts_although_nobody_reads_the_output() {
    let failed = state(execution(ExecutionState::Failed));
    let server = Fake::start([vec![running(), output(0, b"one"), output(3, b"two"), failed]]);
    let (reader, writer) = io::pipe().expect("a pipe can be made");
    drop(reader);
    let mut unread = command(&server, &[]);
    let status = unread.stdout(writer).stderr(Stdio::null()).status();
    assert_eq!(status.expect("rekindle can be started").code(), Some(1));
}

#[test]
fn a_terminal_shows_progress_and_is_not_commanded() {
    let server = Fake::start([vec![
        state(execution(ExecutionState::Queued)),
        state(v1::Execution {
            process: Some(v1::Process {
                host: "vm-7\x1b[2J".to_owned(),
                pid: 4242,
                ..v1::Process::default()
            }),
            ..execution(ExecutionState::Running)
        }),
        output(0, b"\x1b]0;title\x07one\nand a half"),
        state(execution(ExecutionState::Failed)),
    ]]);
    let (status, seen) = Terminal::start(command(&server, &[]), 80).end();
    assert_eq!(status.code(), Some(1), "{seen:?}");
    let clear = "\r\x1b[K";
    let drawn = format!("planner/e-1: running on vm-7\\u{{1b}}[2J as pid 4242{clear}");
    assert!(seen.contains(&drawn), "{seen:?}");
    assert!(seen.contains("planner/e-1: queued"), "{seen:?}");
    assert!(
        seen.contains("\\u{1b}]0;title\\u{7}one\r\nand a half\r\nerror: "),
        "{seen:?}"
    );
    assert!(!seen.replace(clear, "").contains('\x1b'), "{seen:?}");

    let server = Fake::start([vec![running(), done("")]]);
    let (_, seen) = Terminal::start(command(&server, &[]), 20).end();
    assert!(seen.contains(&format!("planner/e-1: runni…{clear}")), "{seen:?}");
}

#[test]
fn who_waits_sees_the_place_in_the_queue() {
    let server = Fake::start([vec![state(execution(ExecutionState::Queued)), Step::Hold]]);
    let mut terminal = Terminal::start(command(&server, &[]), 80);
    terminal.until("planner/e-1: queued, 1 before it");
    terminal.interrupt();
    let (status, seen) = terminal.end();
    assert_eq!(status.code(), Some(6), "{seen:?}");
}

#[test]
fn how_far_it_is_is_told_once_and_is_no_part_of_the_result() {
    let server = Fake::start([
        vec![running(), progress(0, b"half\n"), Step::Lose],
        vec![running(), progress(0, b"half\nnearly\n"), done("the result")],
    ]);
    let answer = run(&server, &[]);
    assert_eq!((answer.code, answer.out.as_str()), (0, "the result"), "{}", answer.err);
    let told = |text: &str| answer.err.lines().filter(|line| *line == text).count();
    assert_eq!((told("half"), told("nearly")), (1, 1), "{}", answer.err);
}
