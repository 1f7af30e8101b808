//! So many missing at once that the server rather doubts itself: it gives no verdict, and the truth comes later. Of a few it
//! gives them, and the truth wins.

use rekindle::wire::v1::{AgentState, EventType, ExecutionState};
use rekindle_e2e::client::runs;
use rekindle_e2e::shim::Shim;
use rekindle_e2e::work::{in_state, open_gate, until_file};
use rekindle_e2e::{Client, Host, Server, World};

/// The fewest that may be a mass (`MASS_MIN` of the server's core).
const MASS: usize = 10;

/// A shim's state directory goes missing with the results of `count` executions in it, as on a volume that is not mounted
/// after a reboot; another one takes its place. Gives the executions, and the two shims.
async fn missing<'w>(
    host: &Host<'w>,
    world: &'w World,
    server: &mut Server<'_>,
    count: usize,
) -> (Vec<String>, Shim<'w>, Shim<'w>) {
    let mut client = server.client();
    let shim = |state: &str| {
        let shim = host.shim("a").state(state);
        let shim = shim.flag("--max-concurrent", &count.to_string());
        shim.per_message(&until_file(world))
    };
    let mut first = shim("first").start(server);
    client.until("a", runs(1)).await;
    let mut given = Vec::new();
    for _ in 0..count {
        given.push(client.give("a", "gate").await.name);
    }
    for name in &given {
        client.until_execution(name, in_state(ExecutionState::Running)).await;
    }
    server.kill();
    open_gate(world, "gate");
    first.keeps_results(count).await;
    assert!(first.terminate().await.success(), "it keeps what it has to tell");
    host.boots(2);
    server.start_again().await;
    let second = shim("second").start(server);
    client.until("a", |agent| agent.ready && agent.incarnation > 1).await;
    (given, first, second)
}

/// The volume is there again.
async fn tells(first: &mut Shim<'_>, mut second: Shim<'_>, client: &mut Client, given: &[String]) {
    assert!(second.terminate().await.success());
    first.start_again();
    for name in given {
        let done = client.until_execution(name, in_state(ExecutionState::Succeeded)).await;
        assert_eq!((done.attempt, done.output.as_str(), done.failure), (1, "done\n", None));
    }
    first.keeps_results(0).await;
    client.until("a", |agent| agent.state() == AgentState::Running).await;
}

#[tokio::test]
async fn ten_that_are_all_missing_are_told_and_left_and_their_results_count() {
    let world = World::new();
    let host = Host::new(&world);
    let server = world.server().flag("--adoption-window", "1s");
    let mut server = server.flag("--heartbeat-interval", "500ms").start().await;
    let mut client = server.client();
    let (given, mut first, second) = missing(&host, &world, &mut server, MASS).await;
    let history = client.until_told(EventType::ExecutionVerdictsHeld).await;
    let held = history.all(EventType::ExecutionVerdictsHeld);
    let count = MASS.to_string();
    for (attribute, value) in [("missing", count.as_str()), ("unknown", "0"), ("judged", &count)] {
        assert_eq!(held[0].attributes[attribute], value, "{held:#?}");
    }
    for name in &given {
        let unknown = client.execution(name).await.expect("GetExecution succeeds");
        assert_eq!(unknown.state(), ExecutionState::Running, "{unknown:#?}");
    }
    tells(&mut first, second, &mut client, &given).await;
    let history = client.history().await;
    for (kind, times) in [
        (EventType::ExecutionVerdictsHeld, 1),
        (EventType::ExecutionLost, 0),
        (EventType::ExecutionSucceeded, MASS),
        (EventType::ExecutionDisowned, 0),
    ] {
        assert_eq!(history.all(kind).len(), times, "{}: {history:#?}", kind.as_str_name());
    }
}

#[tokio::test]
async fn nine_that_are_all_missing_are_lost_and_their_results_replace_that() {
    const FEW: usize = MASS - 1;
    let world = World::new();
    let host = Host::new(&world);
    let server = world.server().flag("--adoption-window", "1s");
    let mut server = server.flag("--heartbeat-interval", "500ms").start().await;
    let mut client = server.client();
    let (given, mut first, second) = missing(&host, &world, &mut server, FEW).await;
    for name in &given {
        client.until_execution(name, in_state(ExecutionState::Lost)).await;
    }
    tells(&mut first, second, &mut client, &given).await;
    let history = client.history().await;
    for (kind, times) in [
        (EventType::ExecutionVerdictsHeld, 0),
        (EventType::ExecutionLost, FEW),
        (EventType::ExecutionSucceeded, FEW),
    ] {
        assert_eq!(history.all(kind).len(), times, "{}: {history:#?}", kind.as_str_name());
    }
}
