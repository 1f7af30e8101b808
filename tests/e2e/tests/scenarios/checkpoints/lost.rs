//! Lives that end unseen, or in the middle of something: the next one is told what was in flight.

use rekindle::wire::v1::{AgentState, ExecutionState};
use rekindle_e2e::Host;
use rekindle_e2e::client::is;
use rekindle_e2e::work::in_state;

use super::*;

#[tokio::test]
async fn what_was_in_flight_is_told_and_given_again() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    // The first life takes its work, and does not come to its end; the second one is done with it at once.
    let script = agent(
        "echo \"[$REKINDLE_IN_FLIGHT]\" >> \"$E2E_LIVES.in-flight\"
        while :; do
            message=$(self next) || continue
            [ -n \"$REKINDLE_CHECKPOINT\" ] || { self save --stage begun; exec sleep 1000; }
            self done
        done",
    );
    let shim = world.shim("a").flag("--delivery", "pull").flag("--max-deliveries", "2");
    let shim = shim.script(&script).start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    let saved = client.until_saved("a", is_open).await;
    kill(&shim, 1).await;
    client
        .until_execution(&given.name, in_state(ExecutionState::Succeeded))
        .await;
    assert_eq!(handed(&world, "a", 2).await, "[1.1] [begun] [1]");
    let noted = fs::read_to_string(world.path("lives-a.in-flight")).expect("written");
    assert_eq!(noted.lines().nth(1), Some(format!("[{}]", saved.task_id).as_str()));
    let closed = client.until_saved("a", |newest| !is_open(newest)).await;
    assert_eq!(closed.in_flight, [given.name]);
    assert!(closed.unclean);
    let history = client.history().await;
    let told = history.all(EventType::CheckpointHandedOver);
    assert_eq!(told[0].attributes["in_flight"], "1");
}

#[tokio::test]
async fn after_a_reboot_a_start_goes_on_from_it() {
    let world = World::new();
    let host = Host::new(&world);
    let server = world.server().flag("--heartbeat-interval", "1s").start().await;
    let mut client = server.client();
    let mut shim = host
        .shim("a")
        .flag("--on-reboot", "stay")
        .script(&agent(SAVES_ONCE))
        .start(&server);
    client.until_saved("a", is_open).await;
    client.until("a", runs(1)).await;
    // The power is gone.
    shim.kill();
    world.none_left("sleep 1000").await;
    host.boots(2);
    shim.start_again();
    let down = client.until("a", is(AgentState::Stopped)).await;
    let resume = down.resume.expect("its life was lost");
    assert_eq!(
        (resume.incarnation, resume.checkpoint.as_str()),
        (1, "agents/a/checkpoints/1.1")
    );
    let answer = client.start("a").await.expect("started");
    assert_eq!(answer.checkpoint, "agents/a/checkpoints/1.1");
    assert_eq!(handed(&world, "a", 2).await, "[1.1] [half] [1]");
}
