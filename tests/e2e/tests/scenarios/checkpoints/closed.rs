//! Work that is over is not revived, and planned ends say what they saved.

use rekindle::wire::v1::{CheckpointClosedBy, ExecutionState, SaveOutcome};
use rekindle_e2e::work::{in_state, open_gate};

use super::*;

/// Takes work, saves where it is with it, and waits for a file before it is done.
fn worker(world: &World) -> String {
    let gate = world.path("gate");
    agent(&format!(
        "trap 'self save --stage asked; exit 0' TERM
        while :; do
            message=$(self next) || continue
            self save --stage begun
            until [ -e {} ]; do sleep 0.02; done
            self done
        done",
        gate.display()
    ))
}

#[tokio::test]
async fn the_end_of_its_execution_closes_it() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .script(&worker(&world))
        .start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    let saved = client.until_saved("a", is_open).await;
    assert!(given.name.ends_with(&saved.task_id), "{saved:#?}");
    open_gate(&world, "gate");
    client
        .until_execution(&given.name, in_state(ExecutionState::Succeeded))
        .await;
    let closed = client.until_saved("a", |newest| !is_open(newest)).await;
    assert_eq!(closed.closed_by(), CheckpointClosedBy::Task);
    kill(&shim, 1).await;
    client.until("a", runs(2)).await;
    assert_eq!(handed(&world, "a", 2).await, NOTHING, "finished work is not revived");
    assert_eq!(client.history().await.count("a", EventType::CheckpointClosed), 1);
}

#[tokio::test]
async fn what_a_restart_cancels_is_over_whatever_is_still_saved_of_it() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let _shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .script(&worker(&world))
        .start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    client.until_saved("a", is_open).await;
    let answer = client.restart("a").await.expect("restarted");
    assert_eq!(answer.cancelled_executions, [given.name]);
    assert_eq!(handed(&world, "a", 2).await, NOTHING);
    let newest = client.until_saved("a", |newest| !is_open(newest)).await;
    assert_eq!(newest.closed_by(), CheckpointClosedBy::Task);
}

#[tokio::test]
async fn an_agent_that_is_to_end_is_asked_and_the_answer_says_what_came_of_it() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "trap 'self save --stage asked; exit 0' TERM; while :; do sleep 0.02; done";
    let _asked = world.shim("a").script(&agent(script)).start(&server);
    let _silent = world.shim("b").start(&server);
    client.until("a", runs(1)).await;
    client.until("b", runs(1)).await;
    let answer = client.restart("a").await.expect("restarted");
    assert_eq!(answer.save_outcome(), SaveOutcome::Saved, "{answer:#?}");
    assert_eq!(answer.checkpoint, "agents/a/checkpoints/1.1");
    assert_eq!(handed(&world, "a", 2).await, "[1.1] [asked] []", "it ended well");
    let answer = client.stop("a").await.expect("stopped");
    assert_eq!(answer.save_outcome(), SaveOutcome::Saved);
    assert_eq!(answer.checkpoint, "agents/a/checkpoints/2.1");
    let answer = client.restart("b").await.expect("restarted");
    assert_eq!(
        (answer.save_outcome(), answer.checkpoint.as_str()),
        (SaveOutcome::NotSaved, "")
    );
    let request = v1::StopAgentRequest {
        name: name("b"),
        grace_period: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let killed = client.agents.stop_agent(request).await.expect("stopped").into_inner();
    assert_eq!(killed.save_outcome(), SaveOutcome::NotAsked, "it was killed at once");
}
