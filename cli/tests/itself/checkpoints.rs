//! What an agent says of its checkpoints.

use std::process::Command;

use rekindle::wire::agent_v1 as wire;
use tonic::Code;

use super::refusal;
use super::shim::{Bench, Checkpoint, KIB, Shim, Told};
use crate::program::Running;

fn told(shim: &Shim) -> Checkpoint {
    match shim.told() {
        Told::Checkpoint(told) => told,
        told @ (Told::Asked
        | Told::Completed(_)
        | Told::Failed(_)
        | Told::Progress(_)
        | Told::Blocked(_)
        | Told::Unblocked(_)) => panic!("{told:?}"),
    }
}

fn state() -> wire::ActiveState {
    wire::ActiveState {
        task_id: "T-7".to_owned(),
        stage: "2 of 3".to_owned(),
        memory_refs: vec!["mem://a".to_owned(), "it's".to_owned()],
        values: [
            ("line".to_owned(), "a=b".to_owned()),
            ("note".to_owned(), "$(exit 9)\n".to_owned()),
        ]
        .into(),
        body: b"text".to_vec(),
        ..wire::ActiveState::default()
    }
}

const SAVE: [&str; 14] = [
    "save",
    "--task-id",
    "T-7",
    "--stage",
    "2 of 3",
    "--memory-ref",
    "mem://a",
    "--memory-ref",
    "it's",
    "--set",
    "line=a=b",
    "--set",
    "note=$(exit 9)\n",
    "--body=-",
];

#[test]
fn what_is_saved_is_loaded_as_json_and_for_a_shell() {
    let bench = Bench::new();
    let shim = bench.shim(Vec::new());
    let none = bench.run(&["load"]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (3, "", ""));
    let none = bench.run(&["load", "--export"]);
    assert!(
        none.code == 3 && none.out.starts_with("unset REKINDLE_CHECKPOINT "),
        "{none:?}"
    );
    assert_eq!(told(&shim), Checkpoint::Load(wire::LoadRequest::default()));
    told(&shim);

    let saved = bench.feed(&SAVE, b"text");
    assert_eq!((saved.code, saved.out.as_str()), (0, ""), "{saved:?}");
    let request = wire::SaveRequest {
        incarnation: 0,
        state: Some(state()),
    };
    assert_eq!(told(&shim), Checkpoint::Save(request));

    let loaded = bench.run(&["load"]).json();
    assert_eq!(loaded["checkpoint"], "0.1");
    assert_eq!((&loaded["task_id"], &loaded["issue"]), (&"T-7".into(), &"".into()));
    assert_eq!(loaded["values"]["line"], "a=b");
    assert_eq!((&loaded["body"], &loaded["unclean"]), (&"text".into(), &false.into()));

    let script = "set -eu; REKINDLE_ISSUE=old; eval \"$(\"$REKINDLE\" self load --export)\"
        printf '%s|' \"$REKINDLE_CHECKPOINT\" \"$REKINDLE_TASK_ID\" \"${REKINDLE_ISSUE-unset}\" \"$REKINDLE_STAGE\" \
        \"$REKINDLE_MEMORY_REFS\" \"$REKINDLE_VALUE_line\" \"$REKINDLE_VALUE_note\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).env("REKINDLE_SOCKET", bench.socket());
    shell.env("REKINDLE", env!("CARGO_BIN_EXE_rekindle"));
    let output = shell.output().expect("a shell");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0.1|T-7|unset|2 of 3|mem://a\nit's|a=b|$(exit 9)\n|",
        "{output:?}"
    );
}

#[test]
fn a_body_goes_by_files_and_is_never_cut() {
    let bench = Bench::new();
    let shim = bench.shim(Vec::new());
    let (from, to) = (bench.dir.path().join("from"), bench.dir.path().join("to"));
    let body = vec![0xff; 256 * KIB];
    std::fs::write(&from, &body).expect("written");
    let path = from.display().to_string();
    let saved = bench.run(&["--output", "json", "save", "--body", &path]);
    assert_eq!(saved.json()["checkpoint"], "0.1");
    let loaded = bench.run(&["load", "--body", &to.display().to_string()]).json();
    assert_eq!(loaded["body"], "");
    assert_eq!(std::fs::read(&to).expect("written"), body);
    let printed = bench.command(&["load", "--body", "-"]).output().expect("it runs");
    assert_eq!(printed.stdout, body);
    for _ in 0..3 {
        told(&shim);
    }

    std::fs::write(&from, vec![0; 256 * KIB + 1]).expect("written");
    let refused = bench.run(&["save", "--body", &path]);
    assert!(
        refused.code == 2 && refused.err.contains("more than 256 KiB"),
        "{refused:?}"
    );
    let missing = bench.run(&["save", "--body", "/no/such/file"]);
    assert!(
        missing.code == 1 && missing.err.contains("/no/such/file"),
        "{missing:?}"
    );
    assert_eq!(bench.run(&["save", "--set", "novalue"]).code, 2);
    assert_eq!(bench.run(&["confirm"]).code, 0);
    let nothing_between = Checkpoint::Confirm(wire::ConfirmRequest::default());
    assert_eq!(told(&shim), nothing_between, "what is refused here is not sent");
}

#[test]
fn each_says_which_life_it_is_of() {
    let bench = Bench::new();
    let shim = bench.shim(Vec::new());
    for (args, expected) in [
        (
            &["confirm"][..],
            Checkpoint::Confirm(wire::ConfirmRequest { incarnation: 7 }),
        ),
        (&["close"], Checkpoint::Close(wire::CloseRequest { incarnation: 7 })),
        (&["load"], Checkpoint::Load(wire::LoadRequest { incarnation: 7 })),
        (
            &["save"],
            Checkpoint::Save(wire::SaveRequest {
                incarnation: 7,
                state: Some(wire::ActiveState {
                    task_id: "e-1".to_owned(),
                    ..wire::ActiveState::default()
                }),
            }),
        ),
    ] {
        let mut command = bench.command(args);
        command
            .env("REKINDLE_INCARNATION", "7")
            .env("REKINDLE_EXECUTION", "e-1");
        command.output().expect("it runs");
        assert_eq!(told(&shim), expected);
    }
}

#[test]
fn refusals_have_their_exit_codes_and_a_shim_that_is_away_is_told_again() {
    let bench = Bench::new();
    bench.saved.blocking_lock().refusals = vec![
        refusal(Code::FailedPrecondition, "OLD_INCARNATION"),
        refusal(Code::ResourceExhausted, "DISK_FULL"),
        refusal(Code::InvalidArgument, "INVALID_ARGUMENT"),
    ];
    let first = bench.shim(Vec::new());
    for (code, reason) in [(2, "INVALID_ARGUMENT"), (1, "DISK_FULL"), (1, "OLD_INCARNATION")] {
        let answer = bench.run(&["save"]);
        assert_eq!(
            (answer.code, answer.err),
            (code, format!("error: refused ({reason})\n"))
        );
        told(&first);
    }
    bench.saved.blocking_lock().refusals = vec![refusal(Code::Unavailable, "SHIM_ENDING"); 2];
    let mut saving = Running::start(bench.command(&["save", "--stage", "1"]));
    told(&first);
    drop(first);
    let second = bench.shim(Vec::new());
    assert!(saving.end().success());
    let state = wire::ActiveState {
        stage: "1".to_owned(),
        ..wire::ActiveState::default()
    };
    let request = wire::SaveRequest {
        incarnation: 0,
        state: Some(state),
    };
    assert_eq!(told(&second), Checkpoint::Save(request));
}
