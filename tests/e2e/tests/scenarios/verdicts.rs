//! What the watchdog says of work whose shim or processes do not do as they should, and that the truth wins over it.

use std::time::{Duration, SystemTime};

use rekindle::wire::v1::{AgentState, EventType, ExecutionState, FailureCause};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::disk::Disk;
use rekindle_e2e::work::{cause, in_state, is_over, open_gate, time, until_file};
use rekindle_e2e::{Relay, World, eventually, process};

/// A shim's state directory goes missing with a result in it, as on a volume that is not mounted after a reboot; another
/// shim takes its place. Then the directory is back.
#[tokio::test]
async fn a_true_result_replaces_lost() {
    let world = World::new();
    let server = world.server().flag("--heartbeat-interval", "500ms");
    let mut server = server.flag("--adoption-window", "1s").start().await;
    let mut client = server.client();
    let shim = |state: &str| {
        let shim = world.shim("a").state(state).flag("--fence-after", "1s");
        shim.flag("--stop-grace", "0s").per_message(&until_file(&world))
    };
    let mut first = shim("first").start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "gate").await.name;
    client.pid_of(&given).await;
    server.kill();
    open_gate(&world, "gate");
    first.keeps_results(1).await;
    assert!(
        first.terminate().await.success(),
        "it leaves, and keeps what it has to tell"
    );

    server.start_again().await;
    let mut second = shim("second").start(&server);
    client.until("a", |agent| agent.ready && agent.incarnation > 1).await;
    let over = client.until_execution(&given, is_over).await;
    assert_eq!((over.state(), cause(&over)), (ExecutionState::Lost, FailureCause::Lost));
    assert!(second.terminate().await.success());
    first.start_again();
    let done = client
        .until_execution(&given, in_state(ExecutionState::Succeeded))
        .await;
    assert_eq!((done.attempt, done.output.as_str()), (1, "done\n"), "{done:#?}");
    assert_eq!(done.failure, None);
    first.keeps_results(0).await;
    let history = client.history().await;
    assert_eq!(
        history.of_execution(&given),
        [
            EventType::ExecutionQueued,
            EventType::ExecutionDispatched,
            EventType::ExecutionAccepted,
            EventType::ExecutionRunning,
            EventType::ExecutionLost,
            EventType::ExecutionSucceeded,
        ],
        "one chain"
    );
}

#[tokio::test]
async fn what_never_arrived_is_given_again_as_if_it_had_been_queued_all_along() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let relay = Relay::start(&world, &server).await;
    let shim = world.shim("a").per_message("echo once; echo b >> begun");
    let _shim = shim.start_at(&relay.url());
    client.until("a", runs(1)).await;

    // Written down, and never sent, as far as anybody can tell.
    relay.lose_words();
    let given = client.give("a", "x").await.name;
    client
        .until_execution(&given, in_state(ExecutionState::Dispatched))
        .await;
    server.kill();
    relay.carry_words();
    server.start_again().await;
    let done = client.until_execution(&given, is_over).await;
    assert_eq!(
        (done.state(), done.attempt, done.incarnation, done.output.as_str()),
        (ExecutionState::Succeeded, 1, 1, "once\n"),
        "that was no delivery: {done:#?}"
    );
    let begun = std::fs::read_to_string(world.path("begun")).expect("it has begun");
    assert_eq!(begun, "b\n", "it ran once");
    assert_eq!(
        client.history().await.of_execution(&given),
        [
            EventType::ExecutionQueued,
            EventType::ExecutionDispatched,
            EventType::ExecutionQueued,
            EventType::ExecutionDispatched,
            EventType::ExecutionAccepted,
            EventType::ExecutionRunning,
            EventType::ExecutionSucceeded,
        ]
    );
}

#[tokio::test]
async fn what_waits_for_a_shim_that_takes_no_messages_is_told_and_waits() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut first = world.shim("a").per_message("echo done").start(&server);
    client.until("a", runs(1)).await;
    assert!(first.terminate().await.success());
    client.until("a", is(AgentState::Stopped)).await;
    let given = client.give("a", "x").await;
    assert_eq!(given.state(), ExecutionState::Queued);

    let mut without = world.shim("a").flag("--delivery", "none").start(&server);
    client.until("a", runs(2)).await;
    let history = client.until_told(EventType::ExecutionStranded).await;
    let told = history.all(EventType::ExecutionStranded);
    assert_eq!(told.len(), 1, "once for this shim: {history:#?}");
    assert_eq!(
        (told[0].agent.as_str(), told[0].attributes["waiting"].as_str()),
        ("agents/a", "1")
    );
    let explained = client.explain("a").await.expect("ExplainAgent answers");
    assert!(explained.contains("--delivery"), "what to do is said: {explained}");
    let waiting = client.execution(&given.name).await.expect("GetExecution succeeds");
    assert_eq!(waiting.state(), ExecutionState::Queued);

    assert!(without.terminate().await.success());
    first.start_again();
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!((done.state(), done.incarnation), (ExecutionState::Succeeded, 3));
}

/// Who writes to a file system that is frozen waits in the kernel, and no signal reaches it there.
#[tokio::test]
async fn processes_that_outlive_sigkill_are_told_and_hold_their_slot() {
    let world = World::new();
    let Some(disk) = Disk::mount_ext4(&world, 16) else {
        return;
    };
    let server = world.server().start().await;
    let mut client = server.client();
    let script = format!(
        "read -r what; [ $what = quick ] || echo x > {}",
        disk.path().join("file").display()
    );
    let shim = world.shim("a").flag("--stop-grace", "0s").per_message(&script);
    let _shim = shim.start(&server);
    client.until("a", runs(1)).await;

    let frozen = disk.freeze();
    let given = client.give_for("a", "hang", Duration::from_secs(1)).await.name;
    let waiting = client.give("a", "quick").await.name;
    let pid = client.pid_of(&given).await;
    let told = client.until_told(EventType::ExecutionQuarantined).await;
    let told = told.all(EventType::ExecutionQuarantined);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(
        (told[0].execution.as_str(), told[0].attributes["survivors"].as_str()),
        (given.as_str(), "1")
    );
    let held = client.execution(&given).await.expect("GetExecution succeeds");
    assert_eq!(
        (held.state(), cause(&held)),
        (ExecutionState::Running, FailureCause::Survivors)
    );
    let named = &held.failure.as_ref().expect("it is told").message;
    assert!(named.contains(&pid.to_string()), "it is named: {named}");
    assert!(process::is_alive(pid), "SIGKILL has not ended it");
    let next = client.execution(&waiting).await.expect("GetExecution succeeds");
    assert_eq!(next.state(), ExecutionState::Queued, "the slot is held");

    drop(frozen);
    process::is_gone(pid).await;
    let over = client.until_execution(&given, is_over).await;
    assert_eq!(
        (over.state(), cause(&over)),
        (ExecutionState::TimedOut, FailureCause::MessageTimeout)
    );
    let done = client.until_execution(&waiting, is_over).await;
    assert_eq!(done.state(), ExecutionState::Succeeded, "the slot is free");
    assert!(time(done.start_time) >= time(over.end_time));
    assert_eq!(client.until("a", runs(1)).await.incarnation, 1, "the agent goes on");
}

#[tokio::test]
async fn what_is_over_its_time_at_a_stopped_shim_is_ended_when_the_shim_goes_on() {
    /// Long enough for the shim to be stopped before it is over.
    const TIMEOUT: Duration = Duration::from_secs(4);
    /// More than the 5 s that a shim has beyond it until the server looks itself (`WATCH_MARGIN` of its core).
    const SERVERS_LOOK: Duration = Duration::from_secs(6);
    let world = World::new();
    let server = world.server().flag("--heartbeat-interval", "500ms").start().await;
    let mut client = server.client();
    let shim = world.shim("a").flag("--stop-grace", "0s");
    let mut shim = shim.per_message("exec sleep 1000").start(&server);
    client.until("a", runs(1)).await;
    let given = client.give_for("a", "x", TIMEOUT).await.name;
    let pid = client.pid_of(&given).await;
    shim.pause();
    client.until("a", is(AgentState::Unreachable)).await;
    let running = client.execution(&given).await.expect("GetExecution succeeds");
    let limit = time(running.start_time) + TIMEOUT;
    eventually("the end of its time, and the server's look", async || {
        (SystemTime::now() > limit + SERVERS_LOOK).then_some(())
    })
    .await;
    let unknown = client.execution(&given).await.expect("GetExecution succeeds");
    assert_eq!(unknown.state(), ExecutionState::Running, "unreachable is unknown");
    assert!(process::is_alive(pid), "who would end it is stopped");

    shim.resume();
    process::is_gone(pid).await;
    let over = client.until_execution(&given, is_over).await;
    assert_eq!(
        (over.state(), cause(&over), over.attempt),
        (ExecutionState::TimedOut, FailureCause::MessageTimeout, 1),
        "{over:#?}"
    );
    assert!(time(over.end_time) > limit + SERVERS_LOOK, "it ended when it did");
    let history = client.history().await;
    let ends = history.of_execution(&given);
    assert_eq!(
        ends.iter()
            .filter(|kind| **kind == EventType::ExecutionTimedOut)
            .count(),
        1
    );
    assert_eq!(ends.last(), Some(&EventType::ExecutionTimedOut), "{ends:?}");
    assert_eq!(client.until("a", runs(1)).await.incarnation, 1, "the agent goes on");
}
