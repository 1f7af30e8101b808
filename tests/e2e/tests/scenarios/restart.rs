//! An operator's Restart, Start and Stop: what they end, what they start, and what they answer.

use std::time::{Duration, Instant};

use rekindle::wire::v1::{AgentState, DesiredState, EventType, Outcome, RestartAgentRequest};
use rekindle_e2e::client::{is, name, runs};
use rekindle_e2e::shim::STUBBORN;
use rekindle_e2e::{World, process};
use tonic::Code;
use uuid::Uuid;

#[tokio::test]
async fn answers_with_the_new_process_and_costs_no_grace_when_the_child_dies_on_term() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").flag("--stop-grace", "20s").start(&server);
    client.until("a", runs(1)).await;

    let begin = Instant::now();
    let answer = client.restart("a").await.expect("RestartAgent succeeds");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "a child that dies at once on TERM costs no waiting"
    );
    assert_eq!(answer.outcome(), Outcome::Completed, "{answer:?}");
    assert_eq!(answer.previous_state(), AgentState::Running);
    let agent = answer.agent.expect("the answer has the agent");
    assert!(runs(2)(&agent), "an ok means that it runs: {agent:?}");
    assert_eq!(agent.process.map(|process| process.pid), Some(shim.life(2).await.pid));
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(0));

    let history = client.history().await;
    assert_eq!(history.count("a", EventType::AgentRestarted), 1);
    assert_eq!(
        history.count("a", EventType::AgentCrashed),
        0,
        "an end that was asked for is no crash"
    );
    shim.check_lives();
}

#[tokio::test]
async fn a_child_that_ignores_term_is_killed_after_the_grace() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world
        .shim("a")
        .flag("--stop-grace", "300ms")
        .script(STUBBORN)
        .start(&server);
    client.until("a", runs(1)).await;

    let begin = Instant::now();
    let answer = client.restart("a").await.expect("RestartAgent succeeds");
    assert!(begin.elapsed() >= Duration::from_millis(300), "the child has its grace");
    assert_eq!(answer.outcome(), Outcome::Completed, "{answer:?}");
    assert!(!process::is_alive(shim.life(1).await.pid));

    // The call's own grace replaces the policy's.
    let begin = Instant::now();
    let request = RestartAgentRequest {
        name: name("a"),
        grace_period: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let answer = client.restart_with(request).await.expect("RestartAgent succeeds");
    assert_eq!(answer.outcome(), Outcome::Completed, "{answer:?}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    shim.life(3).await;
    shim.check_lives();
}

#[tokio::test]
async fn two_at_once_join() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world
        .shim("a")
        .flag("--stop-grace", "500ms")
        .script(STUBBORN)
        .start(&server);
    client.until("a", runs(1)).await;

    let mut other = client.clone();
    let (one, two) = tokio::join!(client.restart("a"), other.restart("a"));
    for answer in [one, two] {
        let answer = answer.expect("RestartAgent succeeds");
        assert_eq!(answer.outcome(), Outcome::Completed, "{answer:?}");
        assert_eq!(answer.agent.map(|agent| agent.incarnation), Some(2));
    }
    assert_eq!(shim.lives().len(), 2, "one restart");
    let later = client.restart("a").await.expect("RestartAgent succeeds");
    assert_eq!(
        later.agent.map(|agent| agent.incarnation),
        Some(3),
        "a later one restarts again"
    );
    client.history().await;
    shim.check_lives();
}

#[tokio::test]
async fn one_request_id_is_one_restart_across_restarts_of_the_server() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;

    let request = RestartAgentRequest {
        name: name("a"),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    for again in 0..3 {
        let answer = client
            .restart_with(request.clone())
            .await
            .expect("RestartAgent succeeds");
        assert_eq!(answer.outcome(), Outcome::Completed, "{answer:?}");
        assert_eq!(answer.previous_state(), AgentState::Running);
        assert_eq!(answer.agent.map(|agent| agent.incarnation), Some(2));
        if again == 1 {
            server.kill();
            server.start_again().await;
            client.until("a", runs(2)).await;
        }
    }
    assert_eq!(shim.lives().len(), 2);
    client.history().await;
}

#[tokio::test]
async fn an_old_picture_is_refused() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;

    let request = |expected_incarnation| RestartAgentRequest {
        name: name("a"),
        expected_incarnation,
        ..Default::default()
    };
    let refused = client
        .restart_with(request(7))
        .await
        .expect_err("another incarnation runs");
    assert!(
        matches!(refused.code(), Code::FailedPrecondition | Code::Aborted),
        "{refused:?}"
    );
    assert_eq!(shim.lives().len(), 1);
    client.restart_with(request(1)).await.expect("this one runs");
    client.until("a", runs(2)).await;
}

#[tokio::test]
async fn stop_leaves_nothing_and_start_begins_the_next_life() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "sleep 4242 &\nexec sleep 4243";
    let shim = world.shim("a").script(script).start(&server);
    client.until("a", runs(1)).await;

    let answer = client.stop("a").await.expect("StopAgent succeeds");
    assert_eq!(answer.outcome(), Outcome::Completed, "{answer:?}");
    assert_eq!(
        world.processes("sleep 424"),
        Vec::<u32>::new(),
        "nothing of the tree is left (I7)"
    );
    let agent = answer.agent.expect("the answer has the agent");
    assert_eq!(agent.state(), AgentState::Stopped);
    assert_eq!(agent.desired_state(), DesiredState::Stopped);
    assert_eq!(agent.process, None);

    let answer = client.start("a").await.expect("StartAgent succeeds");
    assert_eq!(answer.previous_state(), AgentState::Stopped);
    assert!(runs(2)(&answer.agent.expect("the answer has the agent")));
    client.history().await;
    shim.check_lives();
}

#[tokio::test]
async fn without_a_shim_it_is_pending_and_happens_once_the_shim_is_there() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;
    shim.terminate().await;
    client.until("a", is(AgentState::Stopped)).await;

    let answer = client.restart("a").await.expect("RestartAgent works from every state");
    assert_eq!(answer.outcome(), Outcome::Pending, "{answer:?}");
    assert!(!answer.detail.is_empty(), "what it waits for is said");
    shim.start_again();
    client.until("a", runs(2)).await;
    client.history().await;
    assert_eq!(shim.lives().len(), 2);
}
