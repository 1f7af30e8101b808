//! Workflows: what becomes of fires while their agent is away, or busy, and what sets them off.

use rekindle::wire::v1::trigger::{self, Kind};
use rekindle::wire::v1::{EventType, ExecutionState, Misfire, Overlap, RunnerState};
use rekindle_e2e::client::runs;
use rekindle_e2e::process::signal;
use rekindle_e2e::work::{in_state, is_over, open_gate, pulls, until_file};
use rekindle_e2e::workflows::{by_hand, every, pending, state, workflow_name};
use rekindle_e2e::{Client, World, eventually, tools};
use rustix::process::Signal;
use serde_json::Value;

/// How many executions of a workflow are done.
async fn done(client: &mut Client, workflow: &str) -> usize {
    let made = client.made_by(workflow).await;
    made.iter()
        .filter(|execution| execution.state() == ExecutionState::Succeeded)
        .count()
}

#[tokio::test]
async fn points_of_a_schedule_while_the_agent_is_away() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    for (workflow, misfire) in [("skip", Misfire::Skip), ("once", Misfire::Once), ("all", Misfire::All)] {
        client
            .make_with(workflow, "a", workflow, every(1), |w| w.set_misfire(misfire))
            .await;
    }
    let all = client.until_workflow("all", |w| pending(w) >= 3).await;
    assert_eq!(state(&all), RunnerState::Waiting);
    let once = client.until_workflow("once", |w| pending(w) > 0).await;
    assert_eq!(pending(&once), 1, "the newest alone");
    let skip = client.workflow("skip").await.expect("it is kept");
    assert_eq!(pending(&skip), 0);
    let history = client.history().await;
    assert!(
        history.count_of_workflow("skip", EventType::WorkflowSkipped) >= 1,
        "{history:#?}"
    );
    assert!(
        history.count_of_workflow("once", EventType::WorkflowSkipped) >= 1,
        "{history:#?}"
    );
    assert_eq!(
        history.count_of_workflow("all", EventType::WorkflowSkipped),
        0,
        "{history:#?}"
    );
    let waited = pending(&client.workflow("all").await.expect("it is kept")) as usize;

    let _shim = world.shim("a").per_message("cat").start(&server);
    client.until("a", runs(1)).await;
    eventually("what waited is done", async || {
        let all = done(&mut client, "all").await >= waited;
        (all && done(&mut client, "once").await > 0 && done(&mut client, "skip").await > 0).then_some(())
    })
    .await;
    let history = client.history().await;
    for workflow in ["skip", "once", "all"] {
        assert_eq!(history.armed(workflow, "a"), 1);
    }
}

#[tokio::test]
async fn fires_while_an_execution_goes_on() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    for (workflow, overlap) in [
        ("skip", Overlap::Skip),
        ("queue", Overlap::Queue),
        ("cancel", Overlap::CancelRunning),
    ] {
        client
            .make_with(workflow, "a", "{payload}", by_hand(), |w| w.set_overlap(overlap))
            .await;
    }
    let _shim = world
        .shim("a")
        .flag("--max-concurrent", "8")
        .per_message(&until_file(&world))
        .start(&server);
    client.until("a", runs(1)).await;
    let mut firsts = Vec::new();
    for workflow in ["skip", "queue", "cancel"] {
        let first = client.fire(workflow, "first").await.execution.expect("nothing goes on");
        client
            .until_execution(&first.name, in_state(ExecutionState::Running))
            .await;
        firsts.push(first.name);
    }
    let skipped = client.fire("skip", "second").await;
    assert!(
        skipped.execution.is_none() && !skipped.skipped.is_empty(),
        "{skipped:?}"
    );
    let queued = client.fire("queue", "second").await;
    assert!(queued.execution.is_none() && queued.skipped.is_empty(), "{queued:?}");
    let waits = client.workflow("queue").await.expect("it is kept");
    assert_eq!((state(&waits), pending(&waits)), (RunnerState::InFlight, 1));
    client.fire("cancel", "second").await;
    let cancelled = client.until_execution(&firsts[2], is_over).await;
    assert_eq!(cancelled.state(), ExecutionState::Cancelled);
    let second = |execution: &rekindle::wire::v1::Execution| execution.name != firsts[2];
    client.until_made("cancel", second).await;

    open_gate(&world, "first");
    for first in &firsts[..2] {
        let over = client.until_execution(first, is_over).await;
        assert_eq!(over.state(), ExecutionState::Succeeded);
    }
    open_gate(&world, "second");
    for (workflow, expected) in [("skip", 1), ("queue", 2), ("cancel", 1)] {
        eventually(workflow, async || {
            (done(&mut client, workflow).await == expected).then_some(())
        })
        .await;
        let over = client
            .until_workflow(workflow, |w| state(w) == RunnerState::Armed)
            .await;
        assert_eq!(pending(&over), 0);
    }
}

#[tokio::test]
async fn a_fire_that_waits_for_too_long_expires() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    client
        .make_with("w", "a", "{payload}", by_hand(), |w| {
            w.expires_after = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        })
        .await;
    client.fire("w", "late").await;
    let history = client.until_told(EventType::WorkflowExpired).await;
    assert_eq!(history.count_of_workflow("w", EventType::WorkflowExpired), 1);
    let empty = client.workflow("w").await.expect("it is kept");
    assert_eq!(pending(&empty), 0);
    let _shim = world.shim("a").per_message("cat").start(&server);
    client.until("a", runs(1)).await;
    let over = client.fire("w", "in time").await.execution.expect("its agent is there");
    client
        .until_execution(&over.name, in_state(ExecutionState::Succeeded))
        .await;
    assert_eq!(client.made_by("w").await.len(), 1);
}

#[tokio::test]
async fn one_after_another_and_after_a_crash() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    client.make("first", "a", "1", by_hand()).await;
    let completion = Kind::Completion(trigger::Completion {
        workflow: workflow_name("first"),
        states: Vec::new(),
    });
    client.make("second", "b", "after {payload}", completion).await;
    let crash = Kind::AgentEvent(trigger::AgentEvent {
        agent: "agents/a".to_owned(),
        types: vec![EventType::AgentCrashed.into()],
    });
    client.make("mourner", "b", "{payload}", crash).await;
    let shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .flag("--cooldown", "0s")
        .script(&pulls("self done ok"))
        .start(&server);
    let _other = world.shim("b").per_message("cat").start(&server);
    client.until("a", runs(1)).await;
    client.until("b", runs(1)).await;
    let first = client.fire("first", "").await.execution.expect("its agent is there");
    let second = client.until_made("second", in_state(ExecutionState::Succeeded)).await;
    let second = client.execution(&second.name).await.expect("it is kept");
    assert!(second.output.contains(&first.name), "{}", second.output);
    assert_eq!(second.name.split('/').nth(1), Some("b"));

    signal(shim.life(1).await.pid, Signal::KILL);
    let mourned = client.until_made("mourner", in_state(ExecutionState::Succeeded)).await;
    let mourned = client.execution(&mourned.name).await.expect("it is kept");
    let told: Value = serde_json::from_str(&mourned.output).expect("JSON");
    assert_eq!(
        (&told["agent"], &told["event"]),
        (&"agents/a".into(), &"AGENT_CRASHED".into())
    );
    client.until("a", runs(2)).await;
    assert_eq!(client.made_by("mourner").await.len(), 1, "it crashed once");
}

#[tokio::test]
async fn what_is_disabled_or_deleted_fires_no_more() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let _shim = world.shim("a").per_message("cat").start(&server);
    client.until("a", runs(1)).await;
    for workflow in ["off", "gone", "beside"] {
        client.make(workflow, "a", "x", every(1)).await;
        client.until_made(workflow, is_over).await;
    }
    client.change("off", |w| w.enabled = Some(false)).await;
    client.forget("gone").await;
    let counts = async |client: &mut Client| (client.made_by("off").await.len(), client.made_by("gone").await.len());
    let before = counts(&mut client).await;
    let passed = client.made_by("beside").await.len() + 3;
    eventually("three more intervals", async || {
        (client.made_by("beside").await.len() >= passed).then_some(())
    })
    .await;
    assert_eq!(counts(&mut client).await, before);
    client.change("off", |w| w.enabled = Some(true)).await;
    eventually("it fires again", async || {
        (client.made_by("off").await.len() > before.0).then_some(())
    })
    .await;
    assert_eq!(client.history().await.armed("off", "a"), 2);
}

#[tokio::test]
async fn grpcurl_makes_and_fires_one() {
    let Some(tool) = tools::find("grpcurl") else { return };
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let _shim = world.shim("a").per_message("cat").start(&server);
    client.until("a", runs(1)).await;
    let address = server.address().to_string();
    let ask = async |method: &str, request: &str| -> Value {
        let mut command = world.command(&tool);
        let method = format!("rekindle.v1.WorkflowService/{method}");
        command.args(["-plaintext", "-d", request, &address, &method]);
        let output = tokio::process::Command::from(command)
            .output()
            .await
            .expect("grpcurl runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{method}: {errors}");
        serde_json::from_slice(&output.stdout).expect("grpcurl prints JSON")
    };
    let made = ask(
        "CreateWorkflow",
        r#"{"workflow_id": "report", "workflow": {"agent": "agents/a", "message": "report {payload}",
            "trigger": {"cron": {"expression": "0 7 * * 1-5", "time_zone": "Europe/Berlin"}}}}"#,
    )
    .await;
    assert_eq!(made["workflow"]["runner"]["state"], "RUNNER_STATE_ARMED", "{made}");
    assert!(made["workflow"]["runner"]["nextFireTime"].is_string(), "{made}");
    let fired = ask("TriggerWorkflow", r#"{"name": "workflows/report", "payload": "x"}"#).await;
    let execution = fired["execution"]["name"].as_str().expect("its agent is there");
    let over = client
        .until_execution(execution, in_state(ExecutionState::Succeeded))
        .await;
    assert_eq!(over.output, "report x");
    let listed = ask("ListWorkflows", r#"{"filter": "trigger = CRON"}"#).await;
    assert_eq!(listed["workflows"][0]["name"], "workflows/report", "{listed}");
    let off = r#"{"workflow": {"name": "workflows/report", "enabled": false}}"#;
    let off = ask("UpdateWorkflow", off).await;
    assert_eq!(off["workflow"]["runner"]["state"], "RUNNER_STATE_DISARMED", "{off}");
    ask("DeleteWorkflow", r#"{"name": "workflows/report"}"#).await;
    let listed = ask("ListWorkflows", "{}").await;
    assert!(listed["workflows"].is_null(), "{listed}");
}
