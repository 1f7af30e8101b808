//! A server whose data was set back, as by a restored backup: work that it knows nothing of, or less than its shim does.

use rekindle::wire::v1::{EventType, ExecutionState};
use rekindle_e2e::client::runs;
use rekindle_e2e::server::ServerBuilder;
use rekindle_e2e::shim::ShimBuilder;
use rekindle_e2e::work::{in_state, is_over, open_gate, until_file};
use rekindle_e2e::{Client, Server, Shim, World, eventually, process};
use tonic::Code;

/// One that soon says what it makes of its shims after a start.
fn server(world: &World) -> ServerBuilder<'_> {
    let server = world.server().flag("--adoption-window", "1s");
    server.flag("--heartbeat-interval", "500ms")
}

/// One whose messages note that they begin, and are done when there is the file that they name.
fn shim<'w>(world: &'w World, slots: &str) -> ShimBuilder<'w> {
    let script = format!("echo $REKINDLE_EXECUTION >> begun; {}", until_file(world));
    let shim = world.shim("a").flag("--max-concurrent", slots);
    shim.per_message(&script)
}

/// How many messages have begun.
fn begun(world: &World) -> usize {
    let noted = std::fs::read_to_string(world.path("begun"));
    noted.map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn what_runs_goes_on_where_most_of_it_is_unknown() {
    let world = World::new();
    let mut server = server(&world).start().await;
    let mut client = server.client();
    let shim = shim(&world, "3").start(&server);
    client.until("a", runs(1)).await;
    server.back_up().await;
    client.until("a", runs(1)).await;
    let mut given = Vec::new();
    for _ in 0..3 {
        let name = client.give("a", "gate").await.name;
        let pid = client.pid_of(&name).await;
        given.push((name, pid));
    }

    server.set_back().await;
    client.until("a", runs(1)).await;
    let history = client.until_told(EventType::ExecutionVerdictsHeld).await;
    let held = history.all(EventType::ExecutionVerdictsHeld);
    assert_eq!(held.len(), 1, "one alarm: {history:#?}");
    for (attribute, value) in [("missing", "0"), ("unknown", "3"), ("judged", "3")] {
        assert_eq!(held[0].attributes[attribute], value, "{held:#?}");
    }
    for (name, pid) in &given {
        assert!(process::is_alive(*pid), "nothing destructive follows");
        let unknown = client.execution(name).await.expect_err("no record tells of it");
        assert_eq!(unknown.code(), Code::NotFound);
    }

    open_gate(&world, "gate");
    for (_, pid) in &given {
        process::is_gone(*pid).await;
    }
    for (name, _) in &given {
        eventually("word of its result, and of nothing else", async || {
            let told = client.history().await.of_execution(name);
            (told == [EventType::ExecutionDisowned]).then_some(())
        })
        .await;
    }
    shim.keeps_results(0).await;
    // The slots are free, and the agent goes on.
    let next = client.give("a", "gate").await;
    let done = client.until_execution(&next.name, is_over).await;
    assert_eq!((done.state(), done.incarnation), (ExecutionState::Succeeded, 1));
}

#[tokio::test]
async fn what_runs_unknown_is_ended_where_it_is_little_of_much() {
    let world = World::new();
    let mut server = server(&world).start().await;
    let mut client = server.client();
    let shim = shim(&world, "4").start(&server);
    client.until("a", runs(1)).await;
    let mut known = Vec::new();
    for _ in 0..3 {
        let name = client.give("a", "gate").await.name;
        let pid = client.pid_of(&name).await;
        known.push((name, pid));
    }
    server.back_up().await;
    client.until("a", runs(1)).await;
    let unknown = client.give("a", "gate").await.name;
    let pid = client.pid_of(&unknown).await;

    server.set_back().await;
    client.until("a", runs(1)).await;
    process::is_gone(pid).await;
    for (name, pid) in &known {
        let neighbour = client.execution(name).await.expect("GetExecution succeeds");
        assert_eq!(neighbour.state(), ExecutionState::Running);
        assert!(process::is_alive(*pid), "its neighbours are unharmed");
    }
    open_gate(&world, "gate");
    for (name, _) in &known {
        let done = client.until_execution(name, is_over).await;
        assert_eq!(
            (done.state(), done.attempt, done.output.as_str()),
            (ExecutionState::Succeeded, 1, "done\n")
        );
    }
    shim.keeps_results(0).await;
    let history = client.history().await;
    assert_eq!(
        history.of_execution(&unknown),
        [EventType::ExecutionDisowned],
        "its end was ordered, so that only the order is told: {history:#?}"
    );
    assert_eq!(history.all(EventType::ExecutionVerdictsHeld).len(), 0, "{history:#?}");
}

#[tokio::test]
async fn a_result_of_an_unknown_attempt_is_told_and_dropped() {
    let world = World::new();
    let mut server = server(&world).start().await;
    let mut client = server.client();
    let shim = shim(&world, "1").start(&server);
    client.until("a", runs(1)).await;
    server.back_up().await;
    client.until("a", runs(1)).await;
    let given = client.give("a", "gate").await.name;
    client.pid_of(&given).await;
    server.kill();
    open_gate(&world, "gate");
    shim.keeps_results(1).await;

    server.set_back().await;
    client.until("a", runs(1)).await;
    let history = client.until_told(EventType::ExecutionDisowned).await;
    let told = history.all(EventType::ExecutionDisowned);
    assert_eq!(told.len(), 1, "{history:#?}");
    assert_eq!(told[0].execution, given);
    for (attribute, value) in [("attempt", "1"), ("verdict", "succeeded"), ("output_bytes", "5")] {
        assert_eq!(told[0].attributes[attribute], value, "{told:#?}");
    }
    shim.keeps_results(0).await;
    let unknown = client.execution(&given).await.expect_err("no record tells of it");
    assert_eq!(unknown.code(), Code::NotFound);
    let next = client.give("a", "gate").await;
    let done = client.until_execution(&next.name, is_over).await;
    assert_eq!(done.state(), ExecutionState::Succeeded);
}

/// A store that is copied while the first of two messages runs, and the second waits.
async fn backed_up_with_a_queue(world: &World) -> (Server<'_>, Client, Shim<'_>, [String; 2]) {
    let mut server = server(world).start().await;
    let mut client = server.client();
    let shim = shim(world, "1").start(&server);
    client.until("a", runs(1)).await;
    let first = client.give("a", "one").await.name;
    client.pid_of(&first).await;
    let second = client.give("a", "two").await.name;
    client.until_execution(&second, in_state(ExecutionState::Queued)).await;
    server.back_up().await;
    (server, client, shim, [first, second])
}

/// The copy has one that ran and one that waited. By the time that it is put back the one has ended and is forgotten at
/// its shim, and the other runs.
#[tokio::test]
async fn what_was_queued_in_the_copy_is_not_run_a_second_time() {
    let world = World::new();
    let (mut server, mut client, shim, [first, second]) = backed_up_with_a_queue(&world).await;
    open_gate(&world, "one");
    client
        .until_execution(&first, in_state(ExecutionState::Succeeded))
        .await;
    let pid = client.pid_of(&second).await;
    shim.keeps_results(0).await;

    server.set_back().await;
    let lost = client.until_execution(&first, is_over).await;
    assert_eq!(lost.state(), ExecutionState::Lost, "nobody can say: {lost:#?}");
    let running = client.until_execution(&second, in_state(ExecutionState::Running)).await;
    assert_eq!(running.attempt, 1);
    assert!(process::is_alive(pid));
    open_gate(&world, "two");
    let done = client.until_execution(&second, is_over).await;
    assert_eq!(
        (done.state(), done.attempt, done.output.as_str()),
        (ExecutionState::Succeeded, 1, "done\n"),
        "{done:#?}"
    );
    assert_eq!(begun(&world), 2, "each ran once");
}

/// The copy has the second one in its queue. By the time that it is put back its end waits at its shim.
#[tokio::test]
async fn what_was_queued_in_the_copy_and_has_ended_since_is_over() {
    let world = World::new();
    let (mut server, mut client, shim, [_, second]) = backed_up_with_a_queue(&world).await;
    open_gate(&world, "one");
    client.pid_of(&second).await;
    shim.keeps_results(0).await;
    server.kill();
    open_gate(&world, "two");
    shim.keeps_results(1).await;

    server.set_back().await;
    let done = client.until_execution(&second, is_over).await;
    assert_eq!(
        (done.state(), done.attempt, done.output.as_str()),
        (ExecutionState::Succeeded, 1, "done\n"),
        "{done:#?}"
    );
    shim.keeps_results(0).await;
    assert_eq!(begun(&world), 2, "each ran once");
}
