//! `rekindle self`, as agents run it, against a shim that says what each test wants.

mod checkpoints;
mod shim;

use std::collections::HashMap;
use std::process::Command;

use rekindle::wire::agent_v1 as wire;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::program::{Answer, Running};

use shim::{Bench, KIB, Told};

fn work(number: u32, message: &str) -> Result<Option<wire::Assignment>, Status> {
    Ok(Some(wire::Assignment {
        execution: format!("agents/a/executions/e-{number}"),
        attempt: number,
        message: message.to_owned(),
        timeout: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
    }))
}

fn refusal(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "rekindle", HashMap::new());
    Status::with_error_details(code, "refused", details)
}

#[test]
fn only_what_a_shim_runs_has_a_shim() {
    for args in [&["self", "next"][..], &["self", "done", "x"], &["self", "unblocked"]] {
        let answer = Answer::of(args);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(
            answer.out.is_empty() && answer.err.contains("REKINDLE_SOCKET is not set"),
            "{answer:?}"
        );
        assert!(answer.err.contains("rekindle-shim"), "{answer:?}");
    }
    for args in [
        &["self", "next", "--wait", "2h"][..],
        &["self", "blocked", "soon"],
        &["self", "fail"],
    ] {
        assert_eq!(Answer::of(args).code, 2, "{args:?}");
    }
}

#[test]
fn an_agent_in_five_lines() {
    let bench = Bench::new();
    let shim = bench.shim(vec![
        work(1, "add 1 2"),
        Ok(None),
        Err(refusal(Code::ResourceExhausted, "TOO_MANY_WAITING")),
        work(2, "-n 'a  b'\n\n$HOME"),
        work(3, "break"),
    ]);
    let mut agent = Command::new("sh");
    agent.env("REKINDLE_SOCKET", bench.socket());
    agent.env("REKINDLE", env!("CARGO_BIN_EXE_rekindle"));
    agent.args([
        "-c",
        r#"while true; do
            message=$("$REKINDLE" self next --wait 1s) || continue
            if result=$(test "$message" != break && printf '%s' "-> $message"); then
                "$REKINDLE" self done "$result"; else "$REKINDLE" self fail "exit $?"; fi
        done"#,
    ]);
    let _agent = Running::start(agent);
    let mut words = Vec::new();
    while words.len() < 3 {
        match shim.told() {
            Told::Asked => {}
            told @ (Told::Completed(_)
            | Told::Failed(_)
            | Told::Progress(_)
            | Told::Blocked(_)
            | Told::Unblocked(_)
            | Told::Checkpoint(_)) => words.push(told),
        }
    }
    let completed = |output: &str| {
        Told::Completed(wire::CompleteRequest {
            output: output.to_owned(),
            ..wire::CompleteRequest::default()
        })
    };
    let failed = Told::Failed(wire::FailRequest {
        message: "exit 1".to_owned(),
        ..wire::FailRequest::default()
    });
    assert_eq!(
        words,
        [completed("-> add 1 2"), completed("-> -n 'a  b'\n\n$HOME"), failed]
    );
}

#[test]
fn what_comes_is_told_whole_and_nothing_without_a_word() {
    let bench = Bench::new();
    let _shim = bench.shim(vec![work(1, "m\nn"), work(7, "m"), Ok(None)]);
    let answer = bench.run(&["next"]);
    assert_eq!((answer.code, answer.out.as_str()), (0, "m\nn\n"), "{answer:?}");
    let assignment = bench.run(&["next", "--output", "json"]).json();
    assert_eq!(assignment["execution"], "agents/a/executions/e-7");
    assert_eq!(
        (&assignment["attempt"], &assignment["message"]),
        (&7.into(), &"m".into())
    );
    assert_eq!(assignment["timeout"], "90s");
    let answer = bench.run(&["next", "--wait", "0s"]);
    assert_eq!((answer.code, answer.out.as_str(), answer.err.as_str()), (6, "", ""));
}

#[test]
fn every_word_reaches_the_shim() {
    let bench = Bench::new();
    let shim = bench.shim(Vec::new());
    let execution = "agents/a/executions/e-1".to_owned();
    for args in [
        &["fail", "--execution", &execution, "--attempt", "3", "no way"][..],
        &["progress", "-- half --"],
        &["blocked", "approval"],
        &["unblocked"],
    ] {
        let mut command = bench.command(args);
        command.env("REKINDLE_EXECUTION", "e-2").env("REKINDLE_ATTEMPT", "2");
        let output = command.output().expect("it runs");
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
    let own = || "e-2".to_owned();
    let told: Vec<Told> = (0..4).map(|_| shim.told()).collect();
    let expected = [
        Told::Failed(wire::FailRequest {
            execution,
            attempt: 3,
            message: "no way".to_owned(),
            ..wire::FailRequest::default()
        }),
        Told::Progress(wire::ReportProgressRequest {
            execution: own(),
            attempt: 2,
            text: "-- half --".to_owned(),
        }),
        Told::Blocked(wire::BlockRequest {
            execution: own(),
            attempt: 2,
            reason: wire::BlockReason::Approval.into(),
        }),
        Told::Unblocked(wire::UnblockRequest {
            execution: own(),
            attempt: 2,
        }),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_result_of_any_length_and_content_is_taken() {
    let bench = Bench::new();
    let shim = bench.shim(Vec::new());
    let completed = || match shim.told() {
        Told::Completed(said) => said,
        told @ (Told::Asked
        | Told::Failed(_)
        | Told::Progress(_)
        | Told::Blocked(_)
        | Told::Unblocked(_)
        | Told::Checkpoint(_)) => {
            panic!("{told:?}")
        }
    };
    assert_eq!(bench.run(&["done"]).code, 0);
    assert_eq!(completed(), wire::CompleteRequest::default());
    assert_eq!(bench.feed(&["done", "-"], b"a\xff\n").code, 0);
    assert_eq!(completed().output, "a\u{fffd}\n");

    let mut long = vec![b'.'; 300 * KIB];
    long.extend_from_slice(b"the end");
    let answer = bench.feed(&["done", "-"], &long);
    assert_eq!(answer.code, 0);
    assert!(answer.err.contains("only the last 256 KiB"), "{answer:?}");
    let said = completed();
    assert!(said.output.len() == 256 * KIB && said.output.ends_with("the end"));
    assert_eq!(said.output_dropped, (44 * KIB + 7) as u64);
}

#[test]
fn errors_have_their_exit_codes() {
    let bench = Bench::new();
    let _shim = bench.shim(vec![
        Err(refusal(Code::FailedPrecondition, "NOT_PULLED")),
        Err(refusal(Code::InvalidArgument, "INVALID_ARGUMENT")),
    ]);
    let answer = bench.run(&["next"]);
    assert_eq!(answer.code, 1);
    assert_eq!(answer.err, "error: refused (NOT_PULLED)\n");
    assert_eq!(bench.run(&["next"]).code, 2);
}

#[test]
fn a_shim_that_is_away_is_waited_for() {
    let bench = Bench::new();
    let answer = bench.run(&["next", "--wait", "10ms"]);
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.err.contains("cannot reach the rekindle-shim at"), "{answer:?}");

    // It ends while somebody waits, and the next one has work.
    let first = bench.shim(Vec::new());
    let mut waiting = Running::start(bench.command(&["next"]));
    assert_eq!(first.told(), Told::Asked);
    drop(first);
    let second = bench.shim(vec![
        Err(refusal(Code::Unavailable, "SHIM_ENDING")),
        work(1, "from the second"),
    ]);
    waiting.line("the message", |line| (line == "from the second").then_some(()));
    assert!(waiting.end().success());
    assert_eq!((second.told(), second.told()), (Told::Asked, Told::Asked));
}
