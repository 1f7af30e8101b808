//! A shim whose server is gone recovers its agent by the policy and the budget, and the server counts what was spent.

use std::time::{Duration, SystemTime};

use rekindle::wire::v1::{Agent, AgentState, EventType, FailureCause};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::{World, process};
use rustix::process::Signal;

fn attempts(agent: &Agent) -> u32 {
    agent.recovery.map_or(0, |recovery| recovery.attempts)
}

/// When something was, as far as it is told.
fn time(told: Option<prost_types::Timestamp>) -> SystemTime {
    told.and_then(|time| time.try_into().ok()).expect("it has a time")
}

#[tokio::test]
async fn each_attempt_is_told_once_and_the_server_counts_it() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").flag("--cooldown", "100ms").start(&server);
    client.until("a", runs(1)).await;

    server.kill();
    let alone_since = SystemTime::now();
    for incarnation in 1..=2 {
        process::signal(shim.life(incarnation).await.pid, Signal::KILL);
    }
    let third = shim.life(3).await;
    // The child is there a moment before its shim knows since when.
    shim.says(r#"the agent's process runs","tree":"incarnation 3""#).await;
    let back = SystemTime::now();
    server.start_again().await;
    let agent = client.until("a", runs(3)).await;
    assert_eq!(attempts(&agent), 2);
    let failure = agent.last_failure.expect("the failure is kept");
    assert_eq!((failure.cause(), failure.incarnation), (FailureCause::Signaled, 2));
    let process = agent.process.expect("it runs");
    assert_eq!(process.pid, third.pid, "the shim's third life is the server's");
    let (died, began) = (time(failure.time), time(process.start_time));
    assert!(
        alone_since < died && died <= began && began <= back,
        "when it was, not when it was told: {alone_since:?}, {died:?}, {began:?}, {back:?}"
    );
    let history = client.history().await;
    let crash = history.0.iter().find(|event| event.r#type() == EventType::AgentCrashed);
    let crash = crash.expect("it crashed");
    let late = Duration::from_millis(crash.attributes["late_ms"].parse().expect("a number"));
    let was = time(crash.time) - late;
    assert!(alone_since < was && was <= back, "{alone_since:?}, {was:?}, {back:?}");
    let told = history.of("a");
    let alone = told.iter().position(|event| event.0 == EventType::AgentCrashed);
    let life = |incarnation| {
        [
            (EventType::AgentCrashed, incarnation - 1),
            (EventType::RecoveryStarted, incarnation),
            (EventType::AgentStarting, incarnation),
            (EventType::AgentStarted, incarnation),
            (EventType::AgentReady, incarnation),
            (EventType::RecoverySucceeded, incarnation),
        ]
    };
    assert_eq!(
        told[alone.expect("it crashed")..],
        [life(2), life(3)].concat(),
        "each once, and in order"
    );

    // The third attempt is the server's own, and the last.
    process::signal(third.pid, Signal::KILL);
    let agent = client.until("a", runs(4)).await;
    assert_eq!(attempts(&agent), 3);
    process::signal(shim.life(4).await.pid, Signal::KILL);
    client.until("a", is(AgentState::Terminated)).await;
    assert_eq!(client.history().await.count("a", EventType::RecoveryExhausted), 1);
    assert_eq!(shim.lives().len(), 4);
    shim.check_lives();
}

#[tokio::test]
async fn a_budget_that_was_spent_alone_is_spent() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let flags = |agent| world.shim(agent).flag("--cooldown", "0s");
    let shim = flags("a").flag("--max-attempts", "1").start(&server);
    let other = flags("b").flag("--max-attempts", "2").start(&server);
    client.until("a", runs(1)).await;
    client.until("b", runs(1)).await;

    server.kill();
    for shim in [&shim, &other] {
        for incarnation in 1..=2 {
            process::signal(shim.life(incarnation).await.pid, Signal::KILL);
        }
    }
    // Whose end came later is begun again: the one would have been, if it were to be.
    other.life(3).await;
    server.start_again().await;
    let agent = client.until("a", is(AgentState::Terminated)).await;
    assert_eq!((attempts(&agent), agent.incarnation), (1, 2));
    let agent = client.until("b", runs(3)).await;
    assert_eq!(attempts(&agent), 2);
    assert_eq!(shim.lives().len(), 2);
    client.history().await;
}

#[tokio::test]
async fn who_was_stopped_is_not_started_alone() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let mut stopped = world.shim("stopped").start(&server);
    let running = world.shim("running").start(&server);
    client.until("stopped", runs(1)).await;
    client.until("running", runs(1)).await;
    client.stop("stopped").await.expect("StopAgent succeeds");

    server.kill();
    // A shim that begins without a server goes by its journal.
    stopped.kill();
    stopped.start_again();
    stopped.says("cannot").await;
    process::signal(running.life(1).await.pid, Signal::KILL);
    // Whose server is gone for as long is recovered: the other would have been, if it were to be.
    running.life(2).await;
    assert_eq!(stopped.lives().len(), 1);
    server.start_again().await;
    client.until("running", runs(2)).await;
    let connected = |agent: &Agent| agent.connection.as_ref().is_some_and(|shim| shim.connected);
    let agent = client.until("stopped", connected).await;
    assert_eq!(agent.state(), AgentState::Stopped);
    assert_eq!(stopped.lives().len(), 1);
}

#[tokio::test]
async fn a_shim_that_dies_alone_is_followed_by_one_that_recovers_alone() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;

    server.kill();
    shim.kill();
    shim.start_again();
    let second = shim.life(2).await;
    server.start_again().await;
    let agent = client.until("a", runs(2)).await;
    assert_eq!(agent.process.as_ref().map(|process| process.pid), Some(second.pid));
    assert_eq!(attempts(&agent), 1);
    let failure = agent.last_failure.expect("the failure is kept");
    assert_eq!((failure.cause(), failure.incarnation), (FailureCause::ShimLost, 1));
    client.history().await;
    shim.check_lives();
}
