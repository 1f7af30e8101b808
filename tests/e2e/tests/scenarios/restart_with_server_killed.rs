//! SIGKILL of the server at every stage of a restart: the restart happens, once.

use std::time::Duration;

use rekindle::wire::v1::{EventType, Outcome, RestartAgentRequest, Wait};
use rekindle_e2e::World;
use rekindle_e2e::client::{name, runs};
use uuid::Uuid;

/// When the server is killed.
enum Moment {
    /// As soon as a watcher has been told of this event.
    Told(EventType),
    /// So long after the call was made, whatever has happened by then.
    After(Duration),
    /// As soon as the order was acknowledged.
    Acknowledged,
}

/// Restarts an agent with one request id, kills the server at the moment, starts it again, and asks again: what must
/// hold is that the agent then runs in its second life, and never had a third.
async fn restart_happens_once(moment: Moment) {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    // The first life takes a while to end, so that the stages before the new life are wide enough to be hit.
    let shim = world
        .shim("a")
        .flag("--stop-grace", "100ms")
        .script("trap '' TERM; exec sleep 1000")
        .start(&server);
    client.until("a", runs(1)).await;
    let mut watch = client.watch().await;
    watch.until("a", EventType::AgentReady).await;

    let request = RestartAgentRequest {
        name: name("a"),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let mut caller = client.clone();
    let first = RestartAgentRequest {
        wait: if matches!(moment, Moment::Acknowledged) {
            Wait::Accepted
        } else {
            Wait::Ready
        }
        .into(),
        ..request.clone()
    };
    let call = tokio::spawn(async move { caller.restart_with(first).await });
    let acknowledged = match moment {
        Moment::Told(kind) => {
            watch.until("a", kind).await;
            true
        }
        Moment::After(delay) => {
            tokio::time::sleep(delay).await;
            false
        }
        Moment::Acknowledged => {
            call.await
                .expect("the call does not panic")
                .expect("RestartAgent succeeds");
            true
        }
    };
    server.kill();
    server.start_again().await;

    if acknowledged {
        // Without being asked again: what was acknowledged or shown is durable.
        client.until("a", runs(2)).await;
    }
    client
        .until("a", |agent| {
            agent.connection.as_ref().is_some_and(|shim| shim.connected)
        })
        .await;
    let answer = client.restart_with(request).await.expect("RestartAgent succeeds");
    assert_eq!(answer.outcome(), Outcome::Completed, "{answer:?}");
    assert!(runs(2)(&answer.agent.expect("the answer has the agent")));

    let history = client.history().await;
    assert_eq!(history.count("a", EventType::AgentRestarted), 1, "{history:#?}");
    assert_eq!(history.count("a", EventType::AgentCrashed), 0, "{history:#?}");
    assert_eq!(shim.lives().len(), 2, "one restart");
    shim.check_lives();
}

#[tokio::test]
async fn when_the_order_was_acknowledged() {
    restart_happens_once(Moment::Acknowledged).await;
}

#[tokio::test]
async fn when_the_old_tree_is_being_ended() {
    restart_happens_once(Moment::Told(EventType::AgentStopping)).await;
}

#[tokio::test]
async fn when_the_new_life_is_ordered() {
    restart_happens_once(Moment::Told(EventType::AgentStarting)).await;
}

#[tokio::test]
async fn when_the_new_process_exists() {
    restart_happens_once(Moment::Told(EventType::AgentStarted)).await;
}

#[tokio::test]
async fn when_the_new_process_is_ready() {
    restart_happens_once(Moment::Told(EventType::AgentReady)).await;
}

#[tokio::test]
async fn when_the_restart_is_done() {
    restart_happens_once(Moment::Told(EventType::AgentRestarted)).await;
}

/// Moments that no event marks: before the order is durable, and between two commits.
#[tokio::test]
async fn at_any_other_moment() {
    for milliseconds in [0, 1, 2, 3, 5, 90, 98, 100, 101, 102, 103, 104, 106, 110] {
        restart_happens_once(Moment::After(Duration::from_millis(milliseconds))).await;
    }
}
