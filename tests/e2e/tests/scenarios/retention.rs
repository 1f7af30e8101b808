//! What is over is forgotten once it is too much of it: the first that ended first, and what goes on never.

use std::collections::BTreeSet;

use rekindle::wire::v1::{AgentPolicy, CancelOutcome, EventType, ExecutionState};
use rekindle_e2e::client::runs;
use rekindle_e2e::work::{is_over, open_gate, until_file};
use rekindle_e2e::{Client, World, eventually};
use tokio::task::JoinSet;
use tonic::Code;

/// The least that `--executions-max` takes.
const KEPT: usize = 1000;

/// Those that are over and too many.
const SURPLUS: usize = 40;

/// Those that are not over, and older than all that are.
const QUEUED: usize = 20;

/// Creates and cancels under way at once.
const AT_ONCE: usize = 64;

/// Gives the agent so many, several at once.
async fn create(client: &Client, count: usize) -> Vec<String> {
    let give = |number: usize| {
        let mut client = client.clone();
        async move { client.give("later", &number.to_string()).await.name }
    };
    at_once((0..count).map(give)).await
}

/// Cancels them, several at once.
async fn cancel(client: &Client, names: &[String]) {
    let cancel = |name: &String| {
        let (mut client, name) = (client.clone(), name.clone());
        async move {
            let answer = client.cancel(&name).await;
            answer.expect("CancelExecution succeeds").outcome()
        }
    };
    let outcomes = at_once(names.iter().map(cancel)).await;
    assert!(outcomes.iter().all(|outcome| *outcome == CancelOutcome::Cancelled));
}

/// What all of these give, in any order, with [`AT_ONCE`] of them under way.
async fn at_once<T: Send + 'static>(all: impl Iterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let mut under_way = JoinSet::new();
    let mut given = Vec::new();
    for one in all {
        if under_way.len() == AT_ONCE {
            given.extend(under_way.join_next().await);
        }
        under_way.spawn(one);
    }
    while let Some(one) = under_way.join_next().await {
        given.push(one);
    }
    given.into_iter().map(|one| one.expect("no panic")).collect()
}

#[tokio::test]
async fn the_first_that_ended_go_first_and_what_goes_on_stays() {
    let world = World::new();
    let server = world.server().flag("--executions-max", &KEPT.to_string());
    let mut server = server.start().await;
    let mut client = server.client();
    let _shim = world.shim("a").per_message(&until_file(&world)).start(&server);
    client.until("a", runs(1)).await;
    let running = client.give("a", "gate").await.name;
    client.pid_of(&running).await;
    // No shim has come for it yet.
    let policy = AgentPolicy {
        queue_limit: Some(10_000),
        ..Default::default()
    };
    client.set_policy("later", policy).await.expect("UpdateAgent succeeds");
    let queued = create(&client, QUEUED).await;
    let older = create(&client, SURPLUS).await;
    let younger = create(&client, KEPT).await;
    // The younger ones end first: it is the end that counts.
    cancel(&client, &younger).await;
    cancel(&client, &older).await;
    let history = client.history().await;
    let ends = history.all(EventType::ExecutionCancelled);
    let ends: Vec<&String> = ends.iter().map(|event| &event.execution).collect();
    assert_eq!(ends.len(), KEPT + SURPLUS);

    // A server looks right after its start, and each minute from there on.
    server.start_again().await;
    client.until("a", runs(1)).await;
    let kept = eventually("as many as are to be kept", async || {
        let left = client.executions_of("later").await;
        (left.len() == KEPT + QUEUED).then_some(left)
    })
    .await;
    let kept: BTreeSet<&String> = kept.iter().map(|execution| &execution.name).collect();
    let wanted: BTreeSet<&String> = ends[SURPLUS..].iter().copied().chain(&queued).collect();
    assert_eq!(kept, wanted, "the first to end are gone");
    let forgotten = client.execution(ends[0]).await.expect_err("it is gone");
    assert_eq!(forgotten.code(), Code::NotFound);

    let lives = client.execution(&running).await.expect("GetExecution succeeds");
    assert_eq!(lives.state(), ExecutionState::Running);
    open_gate(&world, "gate");
    let done = client.until_execution(&running, is_over).await;
    assert_eq!(done.state(), ExecutionState::Succeeded, "{done:#?}");
    for name in &queued {
        let waits = client.execution(name).await.expect("GetExecution succeeds");
        assert_eq!(waits.state(), ExecutionState::Queued, "{waits:#?}");
    }
}
