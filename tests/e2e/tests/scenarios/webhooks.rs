//! Webhooks, called by curl.

use rekindle::wire::v1::{EventType, ExecutionState, RunnerState};
use rekindle_e2e::client::runs;
use rekindle_e2e::workflows::{by_hand, by_webhook, call, pending, state};
use rekindle_e2e::{World, tools};
use serde_json::Value;

/// What is HTTP/2 without an upgrade, for curl.
const HTTP2: &str = "--http2-prior-knowledge";

#[tokio::test]
async fn curl_calls_over_both_https_beside_grpc() {
    let Some(_) = tools::find("curl") else { return };
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let secret = client.make("deploys", "a", "<{payload}>", by_webhook()).await;
    let _shim = world.shim("a").per_message("cat").start(&server);
    client.until("a", runs(1)).await;
    for (number, arguments) in [&["--http1.1"][..], &[HTTP2], &["--http2"]].into_iter().enumerate() {
        // What JSON would escape, and what a shell would take for its own.
        let payload = format!("{{\"n\": {number}, \"q\": \"a\\\"b\", \"s\": \"$HOME `id`\"}}\n");
        let called = call(&world, &server, ("deploys", &secret), &payload, arguments).await;
        assert_eq!(called.status, 202, "{called:?}");
        let execution = called.body["execution"]
            .as_str()
            .expect("its agent is there")
            .to_owned();
        let done = |execution: &rekindle::wire::v1::Execution| execution.state() == ExecutionState::Succeeded;
        let over = client.until_execution(&execution, done).await;
        assert_eq!(over.output, format!("<{payload}>"), "as it came");
        assert_eq!(over.workflow, "workflows/deploys");
    }
    let upgraded = server.log();
    assert!(!upgraded.contains("panicked"), "{upgraded}");
}

#[tokio::test]
async fn what_came_while_the_agent_was_away_survives_the_server() {
    let Some(_) = tools::find("curl") else { return };
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let secret = client.make("deploys", "a", "{payload}", by_webhook()).await;
    let long = "x".repeat(60_000);
    for (payload, arguments) in [("one", &["--http1.1"][..]), (&long, &[HTTP2]), ("three", &[])] {
        let called = call(&world, &server, ("deploys", &secret), payload, arguments).await;
        assert_eq!(
            (called.status, &called.body["execution"]),
            (202, &Value::Null),
            "{called:?}"
        );
    }
    let key = ["--header", "Idempotency-Key: k-4"];
    let first = call(&world, &server, ("deploys", &secret), "four", &key).await;
    server.kill();
    server.start_again().await;
    let again = call(&world, &server, ("deploys", &secret), "four", &key).await;
    assert_eq!(again.body, first.body, "the same key is the same fire over restarts");
    let waits = client.workflow("deploys").await.expect("it is kept");
    assert_eq!((state(&waits), pending(&waits)), (RunnerState::Waiting, 4));

    let _shim = world.shim("a").per_message("cat").start(&server);
    let mut outputs = Vec::new();
    rekindle_e2e::eventually("all of it is done", async || {
        let made = client.made_by("deploys").await;
        let done = made
            .iter()
            .filter(|execution| execution.state() == ExecutionState::Succeeded);
        (done.count() == 4).then_some(())
    })
    .await;
    for execution in client.made_by("deploys").await {
        outputs.push(client.execution(&execution.name).await.expect("it is kept").output);
    }
    assert_eq!(
        outputs,
        ["one", &long, "three", "four"],
        "in the order in which they came"
    );
    let history = client.history().await;
    assert_eq!(history.count_of_workflow("deploys", EventType::WorkflowTriggered), 4);
    // It is done: the key is known still.
    let done = call(&world, &server, ("deploys", &secret), "four", &key).await;
    assert_eq!(done.body["fire"], first.body["fire"]);
    assert!(done.body["execution"].is_string(), "{done:?}");
}

#[tokio::test]
async fn a_secret_is_nowhere() {
    let Some(_) = tools::find("curl") else { return };
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let secret = client.make("deploys", "a", "{payload}", by_webhook()).await;
    client.make("manual", "a", "x", by_hand()).await;
    let wrong = call(&world, &server, ("deploys", "wrong"), "x", &[]).await;
    assert_eq!(
        (wrong.status, &wrong.body["error"]["reason"]),
        (401, &"WEBHOOK_UNAUTHENTICATED".into())
    );
    let other = call(&world, &server, ("manual", &secret), "x", &[HTTP2]).await;
    assert_eq!(other.status, 401);
    let right = call(&world, &server, ("deploys", &secret), "x", &[]).await;
    assert_eq!(right.status, 202);
    assert!(!server.log().contains(&secret), "{}", server.log());
    let shown = format!("{:?} {:?}", client.workflow("deploys").await, client.history().await);
    assert!(!shown.contains(&secret));
    let grep = world
        .command("grep")
        .args(["-r", "-q", "-F", "-e", &secret])
        .arg(world.path("data"))
        .status();
    assert_eq!(grep.expect("grep runs").code(), Some(1), "it is not on the disk");
}
