//! A server that is away, or dies, loses nothing that was saved.

use rekindle_e2e::work::open_gate;

use super::*;

/// Saves once a file is there.
fn saves_at(world: &World, gate: &str) -> String {
    agent(&format!(
        "[ -n \"$REKINDLE_CHECKPOINT\" ] && exec sleep 1000
        until [ -e {} ]; do sleep 0.02; done
        self save --stage half
        touch {}
        exec sleep 1000",
        world.path(gate).display(),
        world.path("saved").display()
    ))
}

async fn saved(world: &World) {
    let file = world.path("saved");
    eventually("the save", async || file.exists().then_some(())).await;
}

#[tokio::test]
async fn what_is_saved_while_the_server_is_away_reaches_the_next_life_and_then_the_server() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").script(&saves_at(&world, "gate")).start(&server);
    client.until("a", runs(1)).await;
    server.kill();
    open_gate(&world, "gate");
    saved(&world).await;
    kill(&shim, 1).await;
    assert_eq!(handed(&world, "a", 2).await, "[1.1] [half] [1]", "by its shim alone");
    server.start_again().await;
    client.until("a", runs(2)).await;
    let kept = client.until_saved("a", is_open).await;
    assert_eq!((kept.name.as_str(), kept.unclean), ("agents/a/checkpoints/1.1", true));
    let history = client.until_told(EventType::CheckpointHandedOver).await;
    assert_eq!(history.count("a", EventType::CheckpointHandedOver), 1);
    assert_eq!(history.count("a", EventType::CheckpointSaved), 1);
    shim.check_lives();
}

#[tokio::test]
async fn a_server_that_is_killed_right_after_it_was_saved_has_it() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").script(&saves_at(&world, "gate")).start(&server);
    client.until("a", runs(1)).await;
    let mut watch = client.watch().await;
    open_gate(&world, "gate");
    watch.until("a", EventType::CheckpointSaved).await;
    server.kill();
    server.start_again().await;
    client
        .until("a", |agent| {
            agent.connection.as_ref().is_some_and(|link| link.connected)
        })
        .await;
    client.until_saved("a", is_open).await;
    kill(&shim, 1).await;
    client.until("a", runs(2)).await;
    assert_eq!(handed(&world, "a", 2).await, "[1.1] [half] [1]");
    let history = client.history().await;
    assert_eq!(history.count("a", EventType::CheckpointSaved), 1, "told once");
}

#[tokio::test]
async fn a_server_that_was_set_back_is_told_anew() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let _shim = world.shim("a").script(&saves_at(&world, "gate")).start(&server);
    client.until("a", runs(1)).await;
    server.back_up().await;
    client.until("a", runs(1)).await;
    open_gate(&world, "gate");
    client.until_saved("a", is_open).await;
    server.set_back().await;
    let again = client.until_saved("a", is_open).await;
    assert_eq!(again.stage, "half");
    assert_eq!(client.history().await.count("a", EventType::CheckpointSaved), 1);
}
