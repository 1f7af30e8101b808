//! Whichever way an agent comes back, its workflows are armed within a second, once, and fire.

use rekindle::wire::v1::{AgentState, EventType, Execution, ExecutionState, RunnerState};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::process::signal;
use rekindle_e2e::shim::ShimBuilder;
use rekindle_e2e::work::{in_state, is_over, pulls};
use rekindle_e2e::workflows::{every, state};
use rekindle_e2e::{Client, Host, Relay, Server, World};
use rustix::process::Signal;

/// An agent that does at once whatever it is given.
fn worker(shim: ShimBuilder<'_>) -> ShimBuilder<'_> {
    shim.flag("--delivery", "pull")
        .flag("--cooldown", "0s")
        .script(&pulls("self done \"$message\""))
}

/// Makes a workflow that fires each second, and two that never may.
async fn make(client: &mut Client) {
    client.make("w", "a", "go", every(1)).await;
    client
        .make_with("off", "a", "go", every(1), |w| w.enabled = Some(false))
        .await;
    client.make("gone", "a", "go", every(1)).await;
    client.forget("gone").await;
}

fn done_in(incarnation: u64) -> impl Fn(&Execution) -> bool {
    move |execution| execution.state() == ExecutionState::Succeeded && execution.incarnation == incarnation
}

/// It has been armed so often, and does its work in this life of the agent; the others never were or did.
async fn fires_in(client: &mut Client, incarnation: u64, armed: usize) {
    client.until_made("w", done_in(incarnation)).await;
    client
        .until_workflow("w", |w| [RunnerState::Armed, RunnerState::InFlight].contains(&state(w)))
        .await;
    let history = client.history().await;
    assert_eq!(history.armed("w", "a"), armed, "{history:#?}");
    for never in ["off", "gone"] {
        assert_eq!(history.count_of_workflow(never, EventType::WorkflowTriggered), 0);
        assert!(client.made_by(never).await.is_empty());
    }
    assert_eq!(history.armed("off", "a"), 0);
    let off = client.workflow("off").await.expect("it is kept");
    assert_eq!(state(&off), RunnerState::Disarmed);
}

/// Starts a server and makes the workflows before there is an agent.
async fn server(world: &World) -> (Server<'_>, Client) {
    let server = world.server().flag("--heartbeat-interval", "200ms").start().await;
    let mut client = server.client();
    make(&mut client).await;
    let waits = client.workflow("w").await.expect("it was made");
    assert_eq!(state(&waits), RunnerState::Waiting);
    (server, client)
}

#[tokio::test]
async fn an_operators_restart() {
    let world = World::new();
    let (server, mut client) = server(&world).await;
    let _shim = worker(world.shim("a")).start(&server);
    fires_in(&mut client, 1, 1).await;
    client.restart("a").await.expect("RestartAgent succeeds");
    fires_in(&mut client, 2, 2).await;
    client.stop("a").await.expect("StopAgent succeeds");
    let waits = client.until_workflow("w", |w| state(w) == RunnerState::Waiting).await;
    let waiting_for = waits.runner.expect("told").waiting_for;
    assert!(
        waiting_for.contains("agents/a") && waiting_for.contains("STOPPED"),
        "{waiting_for}"
    );
    client.start("a").await.expect("StartAgent succeeds");
    fires_in(&mut client, 3, 3).await;
}

#[tokio::test]
async fn the_automatic_recovery() {
    let world = World::new();
    let (server, mut client) = server(&world).await;
    let shim = worker(world.shim("a")).start(&server);
    fires_in(&mut client, 1, 1).await;
    signal(shim.life(1).await.pid, Signal::KILL);
    fires_in(&mut client, 2, 2).await;
}

#[tokio::test]
async fn a_shim_that_acts_alone() {
    let world = World::new();
    let (mut server, mut client) = server(&world).await;
    let shim = worker(world.shim("a")).start(&server);
    fires_in(&mut client, 1, 1).await;
    server.kill();
    signal(shim.life(1).await.pid, Signal::KILL);
    shim.life(2).await;
    server.start_again().await;
    client.until("a", runs(2)).await;
    fires_in(&mut client, 2, 2).await;
}

#[tokio::test]
async fn a_reboot() {
    let world = World::new();
    let host = Host::new(&world);
    let (server, mut client) = server(&world).await;
    // Nothing of it may wait for work when it is killed: what a real reboot ends, this one leaves.
    let mut shim = host.shim("a").per_message("cat").start(&server);
    fires_in(&mut client, 1, 1).await;
    shim.kill();
    client.until("a", is(AgentState::Unreachable)).await;
    host.boots(2);
    shim.start_again();
    fires_in(&mut client, 2, 2).await;
}

#[tokio::test]
async fn the_end_of_a_partition() {
    let world = World::new();
    let (server, mut client) = server(&world).await;
    let relay = Relay::start(&world, &server).await;
    let shim = worker(world.shim("a")).start_at(&relay.url());
    fires_in(&mut client, 1, 1).await;
    relay.cut();
    client.until("a", is(AgentState::Unreachable)).await;
    let waits = client.workflow("w").await.expect("it is kept");
    assert_eq!(state(&waits), RunnerState::Waiting);
    let before = client.made_by("w").await.len();
    relay.carry_words();
    client.until("a", runs(1)).await;
    rekindle_e2e::eventually("more work", async || {
        let made = client.made_by("w").await;
        let done = made
            .iter()
            .filter(|execution| execution.state() == ExecutionState::Succeeded);
        (done.count() > before).then_some(())
    })
    .await;
    fires_in(&mut client, 1, 2).await;
    assert_eq!(shim.lives().len(), 1, "it was never restarted");
}

#[tokio::test]
async fn a_restart_of_the_server() {
    let world = World::new();
    let (mut server, mut client) = server(&world).await;
    let shim = worker(world.shim("a")).start(&server);
    fires_in(&mut client, 1, 1).await;
    for _ in 0..2 {
        let before = client.made_by("w").await.len();
        server.kill();
        server.start_again().await;
        client.until("a", runs(1)).await;
        rekindle_e2e::eventually("more work", async || {
            let made = client.made_by("w").await;
            let done = made
                .iter()
                .filter(|execution| execution.state() == ExecutionState::Succeeded);
            (done.count() > before + 1).then_some(())
        })
        .await;
    }
    let armed = client.history().await.armed("w", "a");
    assert!((1..=3).contains(&armed), "at most once for each server: {armed}");
    assert_eq!(shim.lives().len(), 1);
}

#[tokio::test]
async fn a_dispatch_in_flight_when_the_agent_dies() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    client.make("w", "a", "go", every(1)).await;
    let script = pulls("[ \"$REKINDLE_INCARNATION\" = 1 ] && exec sleep 1000; self done ok");
    let shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .flag("--cooldown", "0s")
        .script(&script)
        .start(&server);
    let hangs = client.until_made("w", in_state(ExecutionState::Running)).await;
    let flies = client.workflow("w").await.expect("it is kept");
    assert_eq!(state(&flies), RunnerState::InFlight);
    assert_eq!(
        flies.runner.expect("told").executions,
        std::slice::from_ref(&hangs.name)
    );
    signal(shim.life(1).await.pid, Signal::KILL);
    let over = client.until_execution(&hangs.name, is_over).await;
    assert_eq!(over.state(), ExecutionState::DeadLetter, "{over:#?}");
    client.until_made("w", done_in(2)).await;
    assert_eq!(client.history().await.armed("w", "a"), 2);
}

#[tokio::test]
async fn a_dispatch_in_flight_that_is_delivered_again() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    client.make("w", "a", "go", every(1)).await;
    let script = pulls("[ \"$REKINDLE_INCARNATION\" = 1 ] && exec sleep 1000; self done ok");
    let shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .flag("--cooldown", "0s")
        .flag("--max-deliveries", "2")
        .script(&script)
        .start(&server);
    let hangs = client.until_made("w", in_state(ExecutionState::Running)).await;
    signal(shim.life(1).await.pid, Signal::KILL);
    let over = client.until_execution(&hangs.name, is_over).await;
    assert_eq!(
        (over.state(), over.attempt),
        (ExecutionState::Succeeded, 2),
        "{over:#?}"
    );
    let next = |execution: &Execution| execution.name != hangs.name && done_in(2)(execution);
    client.until_made("w", next).await;
}

#[tokio::test]
async fn an_agent_that_is_away_for_long_is_still_waited_for() {
    let world = World::new();
    let (server, mut client) = server(&world).await;
    let shim = worker(world.shim("a"));
    let first = shim.clone().start(&server);
    fires_in(&mut client, 1, 1).await;
    client.stop("a").await.expect("StopAgent succeeds");
    drop(first);
    let since = client.until_workflow("w", |w| state(w) == RunnerState::Waiting).await;
    let since = since.runner.expect("told").since;
    // Several points of its schedule, and what they leave; nobody gives it up.
    let skipped = async |client: &mut Client| {
        let history = client.history().await;
        history.count_of_workflow("w", EventType::WorkflowTriggered)
    };
    let before = skipped(&mut client).await;
    rekindle_e2e::eventually("three more points of the schedule", async || {
        (skipped(&mut client).await >= before + 3).then_some(())
    })
    .await;
    let waits = client.workflow("w").await.expect("it is kept");
    assert_eq!(waits.runner.expect("told").since, since, "it waits since then");
    let _second = shim.start(&server);
    client.start("a").await.expect("StartAgent succeeds");
    fires_in(&mut client, 2, 2).await;
}
