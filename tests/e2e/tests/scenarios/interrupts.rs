//! What a restart or a stop by an operator makes of an agent's work, as its policy has it (`on_restart`).

use rekindle::wire::v1::{AgentState, EventType, ExecutionState};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::shim::ShimBuilder;
use rekindle_e2e::work::{in_state, is_over, pulls};
use rekindle_e2e::{Client, World};

/// A shim with an agent whose first life never ends a message that is `slow`.
fn per_message(world: &World) -> ShimBuilder<'_> {
    world.shim("a").per_message(
        "read -r message; [ \"$message $REKINDLE_INCARNATION\" = 'slow 1' ] && exec sleep 1000\n\
         printf \"$message in life $REKINDLE_INCARNATION\"",
    )
}

/// The same, of an agent that asks for its work.
fn pull(world: &World) -> ShimBuilder<'_> {
    let script = pulls(
        "[ \"$message $REKINDLE_INCARNATION\" = 'slow 1' ] && exec sleep 1000\n\
         self done \"$message in life $REKINDLE_INCARNATION\"",
    );
    world.shim("a").flag("--delivery", "pull").script(&script)
}

/// One that runs, and two that wait behind it.
async fn at_work(client: &mut Client) -> [String; 3] {
    client.until("a", runs(1)).await;
    let running = client.give("a", "slow").await.name;
    client
        .until_execution(&running, in_state(ExecutionState::Running))
        .await;
    let mut waiting = Vec::new();
    for message in ["second", "third"] {
        let given = client.give("a", message).await;
        assert_eq!(given.state(), ExecutionState::Queued);
        waiting.push(given.name);
    }
    let [second, third] = waiting.try_into().expect("two were given");
    [running, second, third]
}

async fn goes_on_in_the_next_life(world: &World, shim: ShimBuilder<'_>) {
    let server = world.server().start().await;
    let mut client = server.client();
    // Nothing runs twice unasked: but the operator asks.
    let shim = shim.flag("--on-restart", "requeue").flag("--max-deliveries", "1");
    let _shim = shim.start(&server);
    let given = at_work(&mut client).await;
    let answer = client.restart("a").await.expect("RestartAgent succeeds");
    assert_eq!(answer.cancelled_executions, [""; 0], "nothing is cancelled");
    for (name, message, attempt) in [
        (&given[0], "slow", 2),
        (&given[1], "second", 1),
        (&given[2], "third", 1),
    ] {
        let done = client.until_execution(name, is_over).await;
        assert_eq!(
            (done.state(), done.attempt, done.incarnation, done.output),
            (ExecutionState::Succeeded, attempt, 2, format!("{message} in life 2")),
        );
    }
    let history = client.history().await;
    let chain = history.of_execution(&given[0]);
    let once = [
        EventType::ExecutionQueued,
        EventType::ExecutionDispatched,
        EventType::ExecutionAccepted,
        EventType::ExecutionRunning,
    ];
    let twice = [&once[..], &once, &[EventType::ExecutionSucceeded]].concat();
    assert_eq!(chain, twice, "{history:#?}");
    let requeued = history.all(EventType::ExecutionQueued);
    let said = &requeued.last().expect("it is the newest of them").message;
    assert!(said.contains("interrupted by an operator"), "it is told why: {said}");
    let dispatched = history.all(EventType::ExecutionDispatched);
    let order: Vec<&String> = dispatched.iter().map(|event| &event.execution).collect();
    assert_eq!(
        order,
        [&given[0], &given[0], &given[1], &given[2]],
        "it keeps its place"
    );
}

#[tokio::test]
async fn what_is_to_be_queued_again_goes_on_in_the_next_life() {
    let world = World::new();
    goes_on_in_the_next_life(&world, per_message(&world)).await;
}

#[tokio::test]
async fn what_is_to_be_queued_again_is_given_to_the_next_process() {
    let world = World::new();
    goes_on_in_the_next_life(&world, pull(&world)).await;
}

#[tokio::test]
async fn what_is_queued_outlives_a_stop() {
    for (on_restart, state, cancelled) in [
        ("cancel", ExecutionState::Cancelled, 1),
        ("requeue", ExecutionState::Queued, 0),
    ] {
        let world = World::new();
        let server = world.server().start().await;
        let mut client = server.client();
        let shim = per_message(&world).flag("--on-restart", on_restart);
        let _shim = shim.start(&server);
        let given = at_work(&mut client).await;
        let answer = client.stop("a").await.expect("StopAgent succeeds");
        client.until("a", is(AgentState::Stopped)).await;
        assert_eq!(
            answer.cancelled_executions,
            given[..cancelled],
            "{on_restart}: it is said"
        );
        for (name, state) in given
            .iter()
            .zip([state, ExecutionState::Queued, ExecutionState::Queued])
        {
            let left = client.execution(name).await.expect("GetExecution succeeds");
            assert_eq!(left.state(), state, "{on_restart}: {left:#?}");
        }
        client.start("a").await.expect("StartAgent succeeds");
        for name in &given[cancelled..] {
            let done = client.until_execution(name, is_over).await;
            assert_eq!(
                (done.state(), done.incarnation),
                (ExecutionState::Succeeded, 2),
                "{done:#?}"
            );
        }
    }
}
