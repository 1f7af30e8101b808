//! However `rekindle dev` ends, nothing that it started stays.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rekindle::wire::v1;
use rekindle::wire::v1::agent_service_client::AgentServiceClient;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Signal;
use tonic::transport::Endpoint;

use crate::dev::{command, event, processes_of, start};
use crate::program::{Answer, Running, eventually};

/// An agent that ignores TERM, as does its grandchild. The grandchild does not notice the agent's death.
const STUBBORN: &str = "trap '' TERM; sleep 4447 & while :; do sleep 1; done";

fn wait_for_grandchild(dir: &Path) {
    eventually("the grandchild", || {
        let lines = processes_of(dir).into_iter();
        let mut lines = lines.map(|pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
        lines.any(|line| line == b"sleep\x004447\x00").then_some(())
    });
}

/// Gives the agent more time to stop than a test has.
fn set_longest_grace(address: &str) {
    let agent = v1::Agent {
        name: "agents/worker".to_owned(),
        policy: Some(v1::AgentPolicy {
            stop_grace: Some(prost_types::Duration {
                seconds: 3600,
                nanos: 0,
            }),
            ..v1::AgentPolicy::default()
        }),
        ..v1::Agent::default()
    };
    let update = async {
        let server = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
        let request = v1::UpdateAgentRequest {
            agent: Some(agent),
            ..v1::UpdateAgentRequest::default()
        };
        AgentServiceClient::new(server).update_agent(request).await?;
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let updated = runtime.expect("a runtime can be made").block_on(update);
    updated.expect("the policy can be updated");
}

#[test]
fn a_second_interrupt_kills_the_whole_tree() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut dev = start(dir.path(), &["--output", "json"], STUBBORN);
    event(&mut dev, "AGENT_READY");
    wait_for_grandchild(dir.path());
    let address = fs::read_to_string(dir.path().join("server.address")).expect("the server's address");
    set_longest_grace(address.trim());
    dev.signal(Signal::INT);
    eventually("the stop signal", || {
        let log = fs::read_to_string(dir.path().join("shim.log")).unwrap_or_default();
        log.contains("ending the agent's processes").then_some(())
    });
    assert!(processes_of(dir.path()).len() >= 5, "TERM is ignored");
    dev.signal(Signal::INT);
    event(&mut dev, "AGENT_STOPPED");
    assert!(dev.end().success());
    assert_eq!(processes_of(dir.path()), Vec::<u32>::new());
}

#[test]
fn a_reader_that_leaves_at_once_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    // The first line of `rekindle dev` does not fit into the pipe, so that it is still being written when its agent
    // runs.
    let (reader, mut writer) = io::pipe().expect("a pipe can be made");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("a pipe has flags");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).expect("a pipe has flags");
    let mut command = command(dir.path(), &[], "sleep 4447 & sleep 4448");
    command.stdout(writer);
    let mut dev = Running::start_unread(command);
    wait_for_grandchild(dir.path());
    drop(reader);
    dev.end();
    assert_eq!(processes_of(dir.path()), Vec::<u32>::new());
}

#[test]
fn a_folder_serves_several_agents_in_turn() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for agent in ["first", "second", "first"] {
        let mut dev = start(dir.path(), &["--output", "json", "--agent", agent], "exec sleep 1000");
        let ready = event(&mut dev, "AGENT_READY");
        assert_eq!(ready["agent"], format!("agents/{agent}"));
        dev.signal(Signal::INT);
        assert!(dev.end().success());
    }
    assert!(dir.path().join("shims/first").is_dir() && dir.path().join("shims/second").is_dir());
}

#[test]
fn a_shim_that_ends_by_itself_is_told() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = dir.path().to_str().expect("UTF-8");
    fs::create_dir(dir.path().join("shims")).expect("the folder is ours");
    fs::write(dir.path().join("shims/worker"), "in the way").expect("the folder is ours");
    let mut args = vec!["dev", "--listen", "127.0.0.1:0", "--data-dir", folder];
    args.extend(["--agent", "worker", "--", "sleep", "1000"]);
    let answer = Answer::of(&args);
    assert_eq!(answer.code, 1);
    assert!(answer.err.contains("the shim has ended"), "{answer:?}");
}
