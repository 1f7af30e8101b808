//! `rekindle workflows` against a real server, without agents.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value as Json;

use crate::program::{Answer, Server, rekindle};

#[test]
fn usage_is_told_without_a_server() {
    let base = ["workflows", "create", "w", "--agent", "a", "--message", "x"];
    for args in [
        &[][..],
        &["--every", "soon"],
        &["--every", "1m", "--manual"],
        &["--every", "1m", "--time-zone", "UTC"],
        &["--at", "2027-01-01"],
        &["--on-agent", "b"],
        &["--on-event", "AGENT_READY"],
        &["--on-agent", "b", "--on-event", "died"],
        &["--after", "v", "--after-state", "well"],
        &["--manual", "--misfire", "never"],
        &["--manual", "--request-id", "a b"],
    ] {
        let answer = Answer::of(&[&base, args].concat());
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.out.is_empty() && answer.err.starts_with("error: "), "{answer:?}");
    }
    for command in [
        "create", "get", "list", "update", "enable", "disable", "trigger", "delete",
    ] {
        let help = Answer::of(&["workflows", command, "--help"]);
        assert!(help.out.contains("Example"), "{help:?}");
    }
}

#[test]
fn a_workflow_from_its_making_to_its_end() {
    let server = Server::start();
    let create = |id: &str, trigger: &[&str]| {
        let base = [
            "workflows",
            "create",
            id,
            "--agent",
            "planner",
            "--message",
            "do {payload}",
        ];
        server.rekindle(&[&base, trigger].concat())
    };
    let made = create(
        "nightly",
        &[
            "--cron",
            "30 2 * * *",
            "--time-zone",
            "Europe/Berlin",
            "--misfire",
            "all",
        ],
    );
    assert_eq!(
        made.out, "nightly: created, WAITING for agents/planner, which does not exist\n",
        "{made:?}"
    );
    assert_eq!(
        create("rounds", &["--every", "90s", "--disabled"]).out,
        "rounds: created, DISARMED\n"
    );
    for (id, trigger) in [
        ("once", &["--at", "2527-01-01T00:00:00Z"][..]),
        ("crash", &["--on-agent", "b", "--on-event", "crashed,AGENT_STOPPED"]),
        ("after", &["--after", "nightly", "--after-state", "failed,timed-out"]),
    ] {
        let made = create(id, trigger);
        assert!(made.out.starts_with(&format!("{id}: created, WAITING")), "{made:?}");
    }
    let twice = create("rounds", &["--manual"]);
    assert_eq!(twice.code, 1, "{twice:?}");
    let never = create("never", &["--cron", "0 0 30 2 *"]);
    assert_eq!(never.code, 2, "{never:?}");
    assert!(never.err.contains("never fires"), "{never:?}");

    let listed = server.rekindle(&["workflows", "list"]);
    for cell in [
        "30 2 * * * in Europe/Berlin",
        "every 1m30s",
        "AGENT_CRASHED or AGENT_STOPPED of b",
        "after nightly is FAILED or TIMED_OUT",
        "DISARMED",
    ] {
        assert!(listed.out.contains(cell), "{cell}: {listed:?}");
    }
    let names = |args: &[&str]| -> Vec<Json> {
        let listed = server
            .rekindle(&[&["workflows", "list", "--output", "json"], args].concat())
            .json();
        let workflows = listed["workflows"].as_array().expect("a list").iter();
        workflows.map(|workflow| workflow["name"].clone()).collect()
    };
    assert_eq!(names(&["--filter", "trigger = INTERVAL"]), ["workflows/rounds"]);
    assert_eq!(
        names(&["--agent", "planner", "--filter", "enabled = false OR trigger = CRON"]),
        ["workflows/nightly", "workflows/rounds"]
    );
    assert_eq!(names(&["--agent", "b"]), Vec::<Json>::new());

    let shown = server.rekindle(&["workflows", "show", "workflows/nightly"]);
    assert!(shown.out.starts_with("workflows/nightly  WAITING\n"), "{shown:?}");
    assert!(shown.out.contains("\nMessage\n  do {payload}\n"), "{shown:?}");
    let got = server
        .rekindle(&["workflows", "get", "nightly", "--output", "json"])
        .json();
    assert_eq!(
        (&got["misfire"], &got["overlap"], &got["trigger"]["cron"]["time_zone"]),
        (&"ALL".into(), &"QUEUE".into(), &"Europe/Berlin".into())
    );

    let updated = server.rekindle(&["workflows", "update", "nightly", "--overlap", "skip", "--every", "1h"]);
    assert!(updated.out.starts_with("nightly: updated, WAITING"), "{updated:?}");
    let got = server
        .rekindle(&["workflows", "get", "nightly", "--output", "json"])
        .json();
    assert_eq!((&got["overlap"], &got["misfire"]), (&"SKIP".into(), &"ALL".into()));
    assert_eq!(got["trigger"]["interval"]["every"], "3600s");
    let stale = server.rekindle(&["workflows", "update", "nightly", "--manual", "--etag", "1"]);
    assert_eq!(stale.code, 1, "{stale:?}");
    assert!(stale.err.contains("rekindle workflows get"), "{stale:?}");

    let disabled = server.rekindle(&["workflows", "disable", "nightly"]);
    assert_eq!(disabled.out, "nightly: disabled, DISARMED\n");
    let refused = server.rekindle(&["workflows", "trigger", "nightly"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("rekindle workflows enable"), "{refused:?}");
    let enabled = server.rekindle(&["workflows", "enable", "nightly"]);
    assert!(enabled.out.starts_with("nightly: enabled, WAITING"), "{enabled:?}");

    assert_eq!(
        server.rekindle(&["workflows", "delete", "nightly"]).out,
        "nightly: deleted\n"
    );
    for command in ["get", "delete", "trigger", "enable"] {
        let missing = server.rekindle(&["workflows", command, "nightly"]);
        assert_eq!(missing.code, 3, "{missing:?}");
        assert!(missing.err.contains("rekindle workflows list"), "{missing:?}");
    }
}

#[test]
fn fires_wait_and_are_the_same_by_their_id() {
    let server = Server::start();
    let made = server.rekindle(&[
        "workflows",
        "create",
        "w",
        "--agent",
        "a",
        "--message",
        "{payload}",
        "--manual",
    ]);
    assert_eq!(made.code, 0, "{made:?}");
    let fire = |args: &[&str]| server.rekindle(&[&["workflows", "trigger", "w"], args].concat()).out;
    assert_eq!(fire(&["--request-id", "r-1"]), "w: fire 1 waits for its turn\n");
    assert_eq!(fire(&["--request-id", "r-1"]), "w: fire 1 waits for its turn\n");
    assert_eq!(fire(&["--payload", "x"]), "w: fire 2 waits for its turn\n");
    let mut piped = rekindle(&[
        "--server",
        &server.address,
        "workflows",
        "trigger",
        "w",
        "--payload",
        "-",
    ]);
    let mut piped = piped
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rekindle can be started");
    let mut stdin = piped.stdin.take().expect("piped");
    stdin.write_all(b"from a file\n").expect("it is read");
    drop(stdin);
    let piped = Answer::of_output(piped.wait_with_output().expect("it ends"));
    assert_eq!(piped.out, "w: fire 3 waits for its turn\n");
    let shown = server.rekindle(&["workflows", "get", "w"]);
    assert!(shown.out.contains("waiting    3 fires"), "{shown:?}");
    let events = server.rekindle(&[
        "events",
        "--filter",
        "workflow = workflows/w AND type = WORKFLOW_TRIGGERED",
    ]);
    assert_eq!(events.out.lines().count(), 3, "{events:?}");
    assert!(events.out.lines().all(|line| line.contains("  w: ")), "{events:?}");
}

#[test]
fn a_webhooks_secret_is_told_once_with_how_to_use_it() {
    let server = Server::start();
    let create = [
        "workflows",
        "create",
        "hook",
        "--agent",
        "a",
        "--message",
        "{payload}",
        "--webhook",
        "--request-id",
        "r-1",
    ];
    let secret_of = |answer: &Answer| {
        let line = answer.out.lines().nth(2).unwrap_or_else(|| panic!("{answer:?}"));
        let secret = line.trim().to_owned();
        assert_eq!(secret.len(), 43, "{answer:?}");
        let call = format!(
            "Bearer {secret}' --data-binary @FILE http://{}/v1/workflows/hook:trigger",
            server.address
        );
        assert!(answer.out.contains(&call), "{answer:?}");
        secret
    };
    let first = secret_of(&server.rekindle(&create));
    let again = server.rekindle(&create);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        !again.out.contains("Bearer") && again.err.contains("--rotate-secret"),
        "{again:?}"
    );
    let shown = server.rekindle(&["workflows", "get", "hook", "--output", "json"]);
    assert!(!shown.out.contains(&first), "{shown:?}");
    let rotated = secret_of(&server.rekindle(&["workflows", "update", "hook", "--rotate-secret"]));
    assert_ne!(rotated, first);
    let json = server
        .rekindle(&["workflows", "update", "hook", "--rotate-secret", "--output", "json"])
        .json();
    assert_eq!(json["webhook_secret"].as_str().map(str::len), Some(43));
}
