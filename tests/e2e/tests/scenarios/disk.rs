//! A disk that is full, or read-only: the server stops with the reason, and acknowledges nothing that it did not write.

use rekindle::wire::v1::{Agent, UpdateAgentRequest};
use rekindle_e2e::World;
use rekindle_e2e::client::name;
use rekindle_e2e::disk::Disk;
use tonic::Status;

use rekindle_e2e::Client;

/// Makes an agent with labels that take some space.
async fn register(client: &mut Client, agent: &str) -> Result<(), Status> {
    let labels = (0..16)
        .map(|label| (format!("label-{label}"), "x".repeat(60)))
        .collect();
    let agent = Agent {
        name: name(agent),
        labels,
        ..Default::default()
    };
    let request = UpdateAgentRequest {
        agent: Some(agent),
        allow_missing: true,
        ..Default::default()
    };
    client.agents.update_agent(request).await.map(drop)
}

#[tokio::test]
async fn full() {
    let world = World::new();
    let Some(disk) = Disk::mount(&world, 64) else { return };
    let mut server = world.server().data(disk.path().join("data")).start().await;
    let mut client = server.client();
    register(&mut client, "before").await.expect("there is space");
    disk.fill();

    // What was allocated before may take some more, all of it acknowledged truthfully.
    let mut acknowledged = vec!["before".to_owned()];
    for round in 0..200_000 {
        let agent = format!("agent-{round}");
        match register(&mut client, &agent).await {
            Ok(()) => acknowledged.push(agent),
            Err(_) => break,
        }
    }
    let status = server.end().await;
    assert!(!status.success());
    let log = server.log().to_lowercase();
    assert!(log.contains("no space left"), "the reason is said: {log}");

    disk.free();
    server.start_again().await;
    for agent in &acknowledged {
        client.until(agent, |_| true).await;
    }
    client.history().await;
}

#[tokio::test]
async fn broken_under_a_running_server() {
    let world = World::new();
    let Some(disk) = Disk::mount_ext4(&world, 64) else {
        return;
    };
    let mut server = world.server().data(disk.path().join("data")).start().await;
    let mut client = server.client();
    register(&mut client, "before").await.expect("the disk works");
    disk.break_down();
    register(&mut client, "after")
        .await
        .expect_err("nothing is acknowledged that is not on the disk");
    let status = server.end().await;
    assert!(!status.success());
    let log = server.log().to_lowercase();
    assert!(log.contains("input/output error"), "the reason is said: {log}");
}

#[tokio::test]
async fn read_only() {
    let world = World::new();
    let Some(disk) = Disk::mount(&world, 64) else { return };
    let data = disk.path().join("data");
    let mut server = world.server().data(data.clone()).start().await;
    register(&mut server.client(), "before")
        .await
        .expect("the disk takes it");
    server.terminate().await;
    disk.make_read_only();

    let (status, log) = world.server().data(data).fails().await;
    assert!(!status.success());
    assert!(log.to_lowercase().contains("read-only"), "the reason is said: {log}");
}
