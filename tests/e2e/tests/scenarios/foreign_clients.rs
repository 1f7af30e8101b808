//! The clients that users have, none of them ours: grpcurl, Envoy, grpcio.

use std::path::Path;
use std::process::Stdio;

use rekindle::wire::v1::{Agent, AgentState, GetFleetRequest};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::envoy::Envoy;
use rekindle_e2e::{Client, LIMIT, World, eventually, process, tools};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tonic::{Code, Status};

/// Runs grpcurl on a server, and gives what it prints.
async fn grpcurl(world: &World, tool: &Path, arguments: &[&str]) -> String {
    let mut command = world.command(tool);
    command.arg("-plaintext").args(arguments);
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output)
        .await
        .expect("grpcurl ends")
        .expect("grpcurl runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "grpcurl {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("grpcurl prints text")
}

#[tokio::test]
async fn grpcurl_lists_describes_and_restarts_by_name_alone() {
    let Some(tool) = tools::find("grpcurl") else { return };
    let world = World::new();
    let server = world.server().start().await;
    let address = server.address().to_string();
    let _shim = world.shim("a").start(&server);
    let mut client = server.client();
    client.until("a", runs(1)).await;

    let services = grpcurl(&world, &tool, &[&address, "list"]).await;
    for service in ["AgentService", "EventService", "FleetService", "ShimService"] {
        assert!(services.contains(&format!("rekindle.v1.{service}")), "{services}");
    }
    assert!(services.contains("grpc.health.v1.Health"), "{services}");
    let described = grpcurl(
        &world,
        &tool,
        &[&address, "describe", "rekindle.v1.RestartAgentRequest"],
    )
    .await;
    assert!(described.contains("expected_incarnation"), "{described}");

    let method = "rekindle.v1.AgentService/RestartAgent";
    let answer = grpcurl(&world, &tool, &["-d", r#"{"name": "agents/a"}"#, &address, method]).await;
    let answer: Value = serde_json::from_str(&answer).expect("grpcurl prints JSON");
    assert_eq!(answer["outcome"], "OUTCOME_COMPLETED");
    assert_eq!(answer["previousState"], "AGENT_STATE_RUNNING");
    assert_eq!(answer["agent"]["incarnation"], "2");
    assert!(answer["agent"]["process"]["pid"].is_number(), "{answer}");

    let listed = grpcurl(&world, &tool, &[&address, "rekindle.v1.AgentService/ListAgents"]).await;
    assert!(listed.contains("agents/a"), "{listed}");
    let check = [
        "-d",
        r#"{"service": "agents/a"}"#,
        &address,
        "grpc.health.v1.Health/Check",
    ];
    let health = grpcurl(&world, &tool, &check).await;
    assert!(health.contains(r#""SERVING""#), "{health}");
    let health = grpcurl(&world, &tool, &[&address, "grpc.health.v1.Health/List"]).await;
    assert!(
        health.contains("agents/a") && health.contains("rekindle.v1.AgentService"),
        "{health}"
    );
}

#[tokio::test]
async fn grpcurl_shows_what_an_agent_does_and_what_its_ends_mean() {
    let (Some(tool), Some(_)) = (tools::find("grpcurl"), tools::find("systemd-notify")) else {
        return;
    };
    let world = World::new();
    let server = world.server().start().await;
    let address = server.address().to_string();
    let script = "systemd-notify 'STATUS=waits for bob' X_REKINDLE_ACTIVITY=BLOCKED:approval\nexec sleep 1000";
    let _shim = world
        .shim("a")
        .flag("--exit-rule", "config:code=78")
        .flag(
            "--exit-rule",
            "quota:signal=XCPU,park=1h,output=retry in (?<minutes>[0-9]+) min",
        )
        .script(script)
        .start(&server);
    let activity = |agent: &Agent| agent.activity.is_some();
    server.client().until("a", activity).await;

    let get = [
        "-d",
        r#"{"name": "agents/a"}"#,
        &address,
        "rekindle.v1.AgentService/GetAgent",
    ];
    let answer = grpcurl(&world, &tool, &get).await;
    let answer: Value = serde_json::from_str(&answer).expect("grpcurl prints JSON");
    assert_eq!(
        answer["agent"]["activity"],
        json!({
            "state": "ACTIVITY_STATE_BLOCKED",
            "blockedReason": "BLOCKED_REASON_APPROVAL",
            "status": "waits for bob",
        })
    );
    assert_eq!(
        answer["agent"]["policy"]["exitRules"],
        json!([
            {"exitCodes": [78], "exitClass": "EXIT_CLASS_CONFIG"},
            {
                "signals": ["XCPU"],
                "outputPattern": "retry in (?<minutes>[0-9]+) min",
                "exitClass": "EXIT_CLASS_QUOTA",
                "park": "3600s",
            },
        ])
    );
}

/// One call through a pool of Envoy.
async fn call(client: &mut Client) -> Result<(), Status> {
    client.fleet.get_fleet(GetFleetRequest {}).await.map(drop)
}

/// Waits until calls through a pool are answered.
async fn is_in(client: &Client) {
    eventually("a pool with its member", async || call(&mut client.clone()).await.ok()).await;
}

/// Waits until calls through a pool find it empty.
async fn is_out(client: &Client) {
    eventually("an empty pool", async || {
        let status = call(&mut client.clone()).await.err()?;
        (status.code() == Code::Unavailable && status.message().contains("no healthy upstream")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn envoy_takes_an_agent_out_of_its_pool_when_it_stops() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").flag("--cooldown", "0s").start(&server);
    client.until("a", runs(1)).await;
    let services = ["agents/a", "rekindle.v1.AgentService", ""];
    let Some(envoy) = Envoy::start(&world, server.address(), &services) else {
        return;
    };
    let [agent, service, process] = [0, 1, 2].map(|pool| envoy.client(pool));

    for pool in [&agent, &service, &process] {
        is_in(pool).await;
    }
    client.stop("a").await.expect("StopAgent succeeds");
    is_out(&agent).await;
    is_in(&service).await;
    is_in(&process).await;

    client.start("a").await.expect("StartAgent succeeds");
    is_in(&agent).await;
    process::signal(shim.life(2).await.pid, Signal::KILL);
    client.until("a", runs(3)).await;
    is_in(&agent).await;

    server.kill();
    for pool in [&agent, &service, &process] {
        is_out(pool).await;
    }
    server.start_again().await;
    for pool in [&agent, &service, &process] {
        is_in(pool).await;
    }
}

/// grpcio, watching one service's health.
struct Watcher {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watcher {
    fn start(world: &World, python: &Path, address: &str, service: &str) -> Self {
        let mut command = world.command(python);
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/watch_health.py"))
            .args([address, service])
            .stdout(Stdio::piped());
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .expect("python runs");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Self { _child: child, lines }
    }

    async fn prints(&mut self, status: &str) {
        let seen = async {
            loop {
                let line = self
                    .lines
                    .next_line()
                    .await
                    .expect("python prints text")
                    .expect("the watch stays open");
                if line == status {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, seen)
            .await
            .unwrap_or_else(|_| panic!("grpcio does not see {status}"));
    }
}

/// Whether this Python has what the script imports.
fn has_grpcio(python: &Path) -> bool {
    let imports = std::process::Command::new(python)
        .args(["-c", "import grpc, grpc_health.v1"])
        .output();
    let found = imports.is_ok_and(|output| output.status.success());
    if !found {
        tools::skip("python3 has no grpcio: run `.ci/run prepare`, and set REKINDLE_E2E_TOOLS=$PWD/target/ci/bin");
    }
    found
}

#[tokio::test]
async fn grpcio_watches_the_health_of_an_agent() {
    let Some(python) = tools::find("python3").filter(|python| has_grpcio(python)) else {
        return;
    };
    let world = World::new();
    let server = world.server().start().await;
    let address = server.address().to_string();
    let mut client = server.client();

    let mut watcher = Watcher::start(&world, &python, &address, "agents/a");
    watcher.prints("SERVICE_UNKNOWN").await;
    let _shim = world.shim("a").start(&server);
    watcher.prints("SERVING").await;
    client.stop("a").await.expect("StopAgent succeeds");
    client.until("a", is(AgentState::Stopped)).await;
    watcher.prints("NOT_SERVING").await;
    client.start("a").await.expect("StartAgent succeeds");
    watcher.prints("SERVING").await;

    let mut process = Watcher::start(&world, &python, &address, "");
    process.prints("SERVING").await;
}
