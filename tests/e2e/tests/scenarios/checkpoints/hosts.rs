//! The next life is on another host: two network namespaces, with names, machine ids and boots of their own.

use rekindle_e2e::Network;
use rekindle_e2e::network::Remote;
use rekindle_e2e::server::ServerBuilder;
use rekindle_e2e::work::open_gate;

use super::*;

/// A server that both hosts reach.
fn server<'w>(world: &'w World, network: &Network<'_>) -> ServerBuilder<'w> {
    let server = world.server().listen(network.any_port());
    server.flag("--heartbeat-interval", "500ms")
}

/// Saves a body, again once there is a file for that, and keeps what it loads.
fn script(world: &World) -> String {
    agent(&format!(
        "cd {}
        if [ -n \"$REKINDLE_CHECKPOINT\" ]; then self load --body loaded.$REKINDLE_INCARNATION > /dev/null; exec sleep 1000; fi
        self save --task-id t --stage first --body body
        until [ -e gate ]; do sleep 0.02; done
        self save --task-id t --stage late
        touch late
        exec sleep 1000",
        world.path("").display()
    ))
}

async fn forced(client: &mut Client) {
    let request = v1::RestartAgentRequest {
        name: name("a"),
        force: true,
        wait: v1::Wait::Accepted.into(),
        ..Default::default()
    };
    client.restart_with(request).await.expect("ordered");
}

/// Waits until the server hears nothing of the agent's shim.
async fn is_unheard(client: &mut Client) {
    client
        .until("a", |agent| {
            agent.connection.as_ref().is_some_and(|link| !link.connected)
        })
        .await;
}

fn body(world: &World) -> Vec<u8> {
    let body: Vec<u8> = (0..200_000).map(|byte| (byte % 253) as u8).collect();
    fs::write(world.path("body"), &body).expect("writable");
    body
}

/// Two hosts, and an agent on the first one that has saved.
async fn on_the_first<'w>(
    world: &'w World,
    server: &rekindle_e2e::Server<'w>,
    client: &mut Client,
    first: &Remote<'w>,
) -> Shim<'w> {
    let shim = first.shim("a").script(&script(world)).start(server);
    client.until("a", runs(1)).await;
    client.until_saved("a", is_open).await;
    shim
}

#[tokio::test]
async fn another_host_goes_on_from_the_whole_of_it() {
    let world = World::new();
    let Some(mut network) = Network::new(&world) else {
        return;
    };
    let (first, second) = (network.host(), network.host());
    let body = body(&world);
    let server = server(&world, &network).start().await;
    let mut client = server.client();
    let mut shim = on_the_first(&world, &server, &mut client, &first).await;
    // The host is gone with all that is on it.
    first.unplug();
    shim.kill();
    is_unheard(&mut client).await;
    forced(&mut client).await;
    let _elsewhere = second.shim("a").script(&script(&world)).start(&server);
    let there = client.until("a", |agent| agent.ready && agent.incarnation > 1).await;
    let life = there.incarnation;
    assert_eq!(handed(&world, "a", life).await, "[1.1] [first] [1]");
    let loaded = world.path(format!("loaded.{life}"));
    let loaded = eventually("the body", async || {
        fs::read(&loaded).ok().filter(|loaded| loaded.len() == body.len())
    })
    .await;
    assert!(loaded == body);
    let process = there.process.expect("it runs");
    let history = client.until_told(EventType::CheckpointHandedOver).await;
    let told = history.all(EventType::CheckpointHandedOver);
    assert_eq!(told[0].incarnation, life);
    let taken = history.all(EventType::AgentStarted);
    assert!(
        taken
            .iter()
            .any(|event| event.attributes["host"] == process.host && event.incarnation == life)
    );
}

#[tokio::test]
async fn a_late_write_from_the_host_before_is_refused_and_handed_to_nobody() {
    let world = World::new();
    let Some(mut network) = Network::new(&world) else {
        return;
    };
    let (first, second) = (network.host(), network.host());
    body(&world);
    let server = server(&world, &network).start().await;
    let mut client = server.client();
    let mut shim = on_the_first(&world, &server, &mut client, &first).await;
    first.unplug();
    is_unheard(&mut client).await;
    // It goes on there, unheard, and saves.
    open_gate(&world, "gate");
    let late = world.path("late");
    eventually("the late save", async || late.exists().then_some(())).await;
    shim.kill();
    forced(&mut client).await;
    let mut elsewhere = second.shim("a").script(&script(&world)).start(&server);
    let life = client
        .until("a", |agent| agent.ready && agent.incarnation > 1)
        .await
        .incarnation;
    assert_eq!(handed(&world, "a", life).await, "[1.1] [first] [1]");
    elsewhere.terminate().await;
    first.plug_in();
    shim.start_again();
    shim.says("late write").await;
    let back = client
        .until("a", |agent| agent.ready && agent.incarnation > life)
        .await
        .incarnation;
    assert!(
        handed(&world, "a", back).await.starts_with("[1.1] [first]"),
        "not what was saved late"
    );
    let kept = client.checkpoints_of("a").await.expect("listed");
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert_eq!(client.history().await.count("a", EventType::CheckpointSaved), 1);
}
