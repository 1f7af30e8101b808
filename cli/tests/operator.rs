//! What operators and their scripts see.

use rustix::process::Signal;
use serde_json::Value as Json;

use crate::program::{Answer, Running, Server, eventually, rekindle};

#[test]
fn usage_is_told_without_a_server() {
    for args in [
        &["agents", "get", "Not/A/Name"][..],
        &["agents", "restart", "a", "--grace-period", "soon"],
        &["agents", "restart", "a", "--grace-period", "10000000000000000000s"],
        &["agents", "stop", "a", "--timeout", "100000years"],
        &["agents", "restart"],
        &["unknown"],
        &["fleet", "--server", "https://localhost:1"],
    ] {
        let answer = Answer::of(args);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.out.is_empty() && answer.err.starts_with("error: "), "{answer:?}");
    }
    let help = Answer::of(&["agents", "restart", "--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Examples:"), "{help:?}");
    let completions = Answer::of(&["completions", "bash"]);
    assert!(completions.out.contains("complete -F _rekindle"), "{completions:?}");
    assert!(!completions.out.contains("__shim"));
}

#[test]
fn a_server_that_is_not_there() {
    let mut server = Server::start();
    server.kill();
    for args in [
        &["fleet"][..],
        &["agents", "restart", "planner"],
        &["events", "--follow"],
    ] {
        let answer = server.rekindle(args);
        assert_eq!(answer.code, 4, "{answer:?}");
        assert!(answer.err.contains("cannot reach the server at"), "{answer:?}");
        assert!(answer.err.contains("--server"), "{answer:?}");
    }
}

#[test]
fn agents_that_do_not_exist() {
    let server = Server::start();
    for args in [
        &["agents", "get", "ghost"][..],
        &["agents", "explain", "agents/ghost"],
        &["agents", "restart", "ghost"],
        &["agents", "start", "ghost", "--output", "json"],
        &["agents", "stop", "ghost"],
        &["agents", "signal", "ghost", "HUP"],
        &["agents", "delete", "ghost"],
    ] {
        let answer = server.rekindle(args);
        assert_eq!(answer.code, 3, "{args:?}: {answer:?}");
        assert!(answer.out.is_empty(), "{answer:?}");
        assert!(answer.err.contains("rekindle agents list"), "{answer:?}");
    }
}

#[test]
fn an_empty_fleet() {
    let server = Server::start();
    assert_eq!(server.rekindle(&["agents", "list"]).out.lines().count(), 1);
    let agents = server.rekindle(&["agents", "list", "--output", "json"]).json();
    assert_eq!(agents["agents"], Json::Array(Vec::new()));
    let processes = server.rekindle(&["agents", "processes", "--output", "json"]).json();
    assert_eq!(processes["processes"], Json::Array(Vec::new()));
    let fleet = server.rekindle(&["fleet", "--output", "json"]).json();
    assert_eq!(fleet["agents"], 0);
    assert!(fleet["store"]["schema_version"].as_u64() >= Some(1), "{fleet}");
    assert!(server.rekindle(&["fleet"]).out.starts_with("0 agents, 0 connected\n"));
    let wrong = server.rekindle(&["agents", "list", "--filter", "colour = red"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.err.contains("colour"), "{wrong:?}");
}

#[test]
fn events_are_followed_over_a_restart() {
    let mut server = Server::start();
    // A server listens before its own start is durable, and so before anybody sees it.
    let first = eventually("the first event", || {
        let events = server.rekindle(&["events", "--output", "json"]);
        events.out.lines().next().map(str::to_owned)
    });
    let first: Json = serde_json::from_str(&first).expect("JSON");
    assert_eq!(first["type"], "SERVER_STARTED");
    assert_eq!(first["sequence"], 1);
    assert_eq!(first["agent"], "");

    let args = [
        "--server",
        &server.address,
        "events",
        "--follow",
        "--after",
        "0",
        "--output",
        "json",
    ];
    let mut follower = Running::start(rekindle(&args));
    let mut seen = Vec::new();
    let mut next = |follower: &mut Running| {
        follower.line("an event", |line| {
            let event: Json = serde_json::from_str(line).expect("one JSON object for each line");
            seen.push(event["sequence"].as_u64().expect("a number"));
            (event["type"] == "SERVER_STARTED").then_some(())
        });
    };
    next(&mut follower);
    server.restart();
    next(&mut follower);
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
    let after = server.rekindle(&["events", "--output", "json", "--after", "1"]);
    assert!(
        after.out.lines().count() >= 1 && !after.out.contains("\"sequence\":1,"),
        "{after:?}"
    );

    // A reader that has enough is no failure.
    drop(follower);
    let mut piped = Running::start(rekindle(&["--server", &server.address, "events", "--follow"]));
    piped.signal(Signal::TERM);
    piped.end();
}
