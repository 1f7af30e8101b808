//! `rekindle dev`: a crash and a recovery on real processes, and nothing that stays.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::program::{Answer, Running, eventually, rekindle};

/// The processes that were started by [`command`] with this folder, or by one of those.
pub(crate) fn processes_of(dir: &Path) -> Vec<u32> {
    let entry = format!("DEV_TEST={}", dir.display());
    let pids = fs::read_dir("/proc").expect("/proc is there");
    pids.filter_map(|pid| pid.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|one| one == entry.as_bytes())
        })
        .collect()
}

/// `rekindle dev` with an agent that is a shell script, its data in the folder.
pub(crate) fn command(dir: &Path, extra: &[&str], script: &str) -> Command {
    let agent: &[&str] = if extra.contains(&"--agent") {
        &[]
    } else {
        &["--agent", "worker"]
    };
    let mut command = rekindle(&["dev", "--listen", "127.0.0.1:0"]);
    // Every process of this life has the folder in its environment.
    command
        .env("DEV_TEST", dir)
        .args(agent)
        .args(extra)
        .arg("--data-dir")
        .arg(dir)
        .args(["--", "sh", "-c", script]);
    command
}

/// Starts [`command`].
pub(crate) fn start(dir: &Path, extra: &[&str], script: &str) -> Running {
    Running::start(command(dir, extra, script))
}

/// Waits for an event of this type.
pub(crate) fn event(dev: &mut Running, kind: &str) -> Json {
    dev.line(kind, |line| {
        let event: Json = serde_json::from_str(line).expect("one JSON object for each line");
        (event["type"] == kind).then_some(event)
    })
}

/// A script that fails in its first life, and stays in the second.
fn fails_once(dir: &Path) -> String {
    let mark = dir.join("mark");
    let mark = mark.display();
    format!("if test -e {mark}; then exec sleep 1000; fi; touch {mark}; echo 'out of ideas' >&2; exit 7")
}

#[test]
fn a_crash_is_recovered_and_nothing_stays() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut dev = start(dir.path(), &["--output", "json"], &fails_once(dir.path()));
    let crashed = event(&mut dev, "AGENT_CRASHED");
    assert_eq!(crashed["agent"], "agents/worker");
    let ready = event(&mut dev, "AGENT_READY");
    assert!(
        ready["incarnation"].as_u64() > crashed["incarnation"].as_u64(),
        "{crashed} {ready}"
    );

    let address = fs::read_to_string(dir.path().join("server.address")).expect("the server's address");
    let ask = |args: &[&str]| Answer::of(&[&["--server", address.trim()], args].concat());
    let agent = ask(&["agents", "get", "worker", "--output", "json"]).json();
    assert_eq!(agent["state"], "RUNNING");
    assert_eq!(agent["last_failure"]["exit_code"], 7);
    assert_eq!(agent["last_failure"]["stderr_tail"], "out of ideas\n");
    assert!(ask(&["agents", "list"]).out.contains("exit code 7"));
    assert!(ask(&["agents", "get", "worker"]).out.contains("stderr | out of ideas"));

    let restarted = ask(&[
        "agents",
        "restart",
        "agents/worker",
        "--output",
        "json",
        "--reason",
        "a test",
    ]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    let restarted = restarted.json();
    assert_eq!(restarted["outcome"], "COMPLETED");
    assert_eq!(restarted["previous_state"], "RUNNING");
    assert!(restarted["agent"]["incarnation"].as_u64() > ready["incarnation"].as_u64());
    let guarded = ask(&["agents", "restart", "worker", "--expected-incarnation", "1"]);
    assert_eq!(guarded.code, 1, "{guarded:?}");
    let shim = processes_of(dir.path()).into_iter().find(|pid| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|&byte| byte == 0).nth(1) == Some(b"__shim"))
    });
    let shim = Pid::from_raw(shim.expect("a shim runs").cast_signed()).expect("a pid is not 0");
    kill_process(shim, Signal::STOP).expect("the shim lives");
    let pending = ask(&["agents", "restart", "worker", "--timeout", "1s"]);
    let (reader, writer) = io::pipe().expect("a pipe can be made");
    drop(reader);
    let unread = ["agents", "restart", "worker", "--timeout", "1s", "--output", "json"];
    let unread = rekindle(&[&["--server", address.trim()], &unread[..]].concat())
        .stdout(writer)
        .stderr(Stdio::null())
        .status()
        .expect("rekindle can be started");
    kill_process(shim, Signal::CONT).expect("the shim lives");
    assert_eq!(unread.code(), Some(6), "although nobody reads the answer");
    assert_eq!(pending.code, 6, "{pending:?}");
    assert!(
        pending.out.is_empty() && pending.err.contains("agents explain"),
        "{pending:?}"
    );
    let stopped = ask(&["agents", "stop", "worker"]);
    assert!(stopped.out.starts_with("worker: stopped"), "{stopped:?}");
    let started = ask(&["agents", "start", "worker", "--only-if-down"]);
    assert!(started.out.starts_with("worker: started"), "{started:?}");
    assert_eq!(ask(&["agents", "explain", "worker"]).code, 0);
    assert_eq!(ask(&["agents", "processes"]).out.lines().count(), 2);

    dev.signal(Signal::TERM);
    assert!(dev.end().success());
    assert_eq!(processes_of(dir.path()), Vec::<u32>::new());
}

#[test]
fn a_person_sees_what_happens() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut dev = start(dir.path(), &[], &fails_once(dir.path()));
    let seen = |text: &'static str| move |line: &str| line.contains(text).then(|| line.to_owned());
    dev.line("the address", seen("Rekindle runs at http://127.0.0.1:"));
    dev.line("what to try", seen("rekindle.v1.AgentService/RestartAgent"));
    let crashed = dev.line("the crash", seen("crashed"));
    assert!(crashed.contains("exit code 7"), "{crashed}");
    dev.line("the evidence", seen("out of ideas"));
    let recovered = dev.line("the recovery", seen("recovered"));
    assert!(recovered.contains(" ms, incarnation "), "{recovered}");
    dev.signal(Signal::INT);
    dev.line("the end", seen("stopped"));
    assert!(dev.end().success());
}

#[test]
fn the_end_of_dev_is_the_end_of_all() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut dev = start(dir.path(), &["--output", "json"], "exec sleep 1000");
    event(&mut dev, "AGENT_READY");
    let all = processes_of(dir.path());
    assert_eq!(all.len(), 4, "dev, server, shim and agent: {all:?}");
    dev.signal(Signal::KILL);
    dev.end();
    eventually("the end of server, shim and agent", || {
        processes_of(dir.path()).is_empty().then_some(())
    });
}

#[test]
fn the_sample_agent_comes_back() {
    let mut dev = Running::start(rekindle(&["dev", "--listen", "127.0.0.1:0"]));
    let seen = |text: &'static str| move |line: &str| line.contains(text).then(|| line.to_owned());
    let said = dev.line("the folder", seen("Its data and logs are in "));
    let folder = said.rsplit(' ').next().expect("a word").to_owned();
    dev.line("its first words", seen("| hello, this is life 1"));
    dev.line("a crash", seen("crashed"));
    // Its words and its events come by different ways.
    let mut missing = vec!["| hello, this is life 2", "recovered"];
    dev.line("a recovery", |line| {
        missing.retain(|text| !line.contains(text));
        missing.is_empty().then_some(())
    });
    dev.signal(Signal::INT);
    assert!(dev.end().success());
    assert!(!Path::new(&folder).exists(), "{folder} is removed");
}

#[test]
fn a_taken_address_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let answer = Answer::of(&["dev", "--listen", &address]);
    assert_eq!(answer.code, 1);
    assert!(
        answer.err.contains(&address) && answer.err.contains("--listen 127.0.0.1:0"),
        "{answer:?}"
    );
}
