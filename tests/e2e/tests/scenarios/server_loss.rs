//! A server that is away restarts nobody, loses nothing, and is brought up to date.

use rekindle::wire::v1::{AgentState, EventType, FailureCause, UpdateAgentRequest};
use rekindle_e2e::client::{is, name, runs};
use rekindle_e2e::{World, process};
use rustix::process::Signal;

#[tokio::test]
async fn its_restart_restarts_nobody() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let shims = ["a", "b", "c"].map(|agent| world.shim(agent).start(&server));
    let mut before = Vec::new();
    for agent in ["a", "b", "c"] {
        before.push(client.until(agent, runs(1)).await);
    }
    for gentle in [false, true] {
        if gentle {
            let status = server.terminate().await;
            assert!(status.success(), "{status}");
        } else {
            server.kill();
        }
        server.start_again().await;
        for (agent, before) in ["a", "b", "c"].into_iter().zip(&before) {
            let connected = |agent: &rekindle::wire::v1::Agent| {
                agent.connection.as_ref().is_some_and(|connection| connection.connected)
            };
            let after = client.until(agent, |agent| runs(1)(agent) && connected(agent)).await;
            assert_eq!((&after.process, &after.uid), (&before.process, &before.uid));
        }
    }
    let history = client.history().await;
    for (agent, shim) in ["a", "b", "c"].into_iter().zip(&shims) {
        assert_eq!(history.count(agent, EventType::AgentCrashed), 0, "{history:#?}");
        assert_eq!(shim.lives().len(), 1);
    }
}

#[tokio::test]
async fn a_child_that_ends_meanwhile_is_reported_with_its_evidence() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let script = "[ \"$REKINDLE_INCARNATION\" -gt 1 ] && exec sleep 1000\ntrap 'echo gone >&2; exit 9' USR1\n\
                  echo armed\nwhile :; do sleep 0.01; done";
    let shim = world.shim("a").script(script).start(&server);
    client.until("a", runs(1)).await;
    shim.says("armed").await;

    server.kill();
    let first = shim.life(1).await;
    process::signal(first.pid, Signal::USR1);
    process::is_gone(first.pid).await;
    server.start_again().await;
    let agent = client.until("a", runs(2)).await;
    let failure = agent.last_failure.expect("the failure is kept");
    assert_eq!((failure.cause(), failure.exit_code), (FailureCause::Exited, Some(9)));
    assert_eq!(failure.stderr_tail.trim(), "gone");
    let history = client.history().await;
    assert_eq!(
        history.count("a", EventType::AgentCrashed),
        1,
        "applied once: {history:#?}"
    );
    shim.check_lives();
}

#[tokio::test]
async fn a_shim_that_was_there_first_is_found() {
    let world = World::new();
    let mut server = world.server().start().await;
    server.kill();
    let shim = world.shim("a").start(&server);
    shim.says("server").await;
    assert_eq!(shim.lives(), [], "nothing runs that the server did not order");
    server.start_again().await;
    server.client().until("a", runs(1)).await;
}

#[tokio::test]
async fn killed_right_after_its_answer_it_loses_nothing() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    for round in 0..20 {
        let agent = format!("planned-{round}");
        let mut update = rekindle::wire::v1::Agent {
            name: name(&agent),
            ..Default::default()
        };
        update.labels.insert("round".to_owned(), round.to_string());
        let request = UpdateAgentRequest {
            agent: Some(update),
            allow_missing: true,
            ..Default::default()
        };
        let made = client
            .agents
            .update_agent(request)
            .await
            .expect("UpdateAgent succeeds")
            .into_inner();
        server.kill();
        server.start_again().await;
        let found = client.until(&agent, is(AgentState::Pending)).await;
        assert_eq!(Some(found), made.agent, "acknowledged means durable (I5)");
    }
    client.history().await;
}

#[tokio::test]
async fn two_servers_never_share_a_data_directory() {
    let world = World::new();
    let _server = world.server().start().await;
    let (status, log) = world.server().flag("--heartbeat-interval", "5s").fails().await;
    assert!(!status.success());
    assert!(
        log.contains("lock") || log.contains("in use") || log.contains("another"),
        "the reason is said: {log}"
    );
}
