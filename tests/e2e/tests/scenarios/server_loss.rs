//! A server that is away restarts nobody, loses nothing, and is brought up to date.

use std::time::{Duration, SystemTime};

use rekindle::wire::v1::{AgentState, EventType, ExecutionState, FailureCause, UpdateAgentRequest};
use rekindle_e2e::client::{is, name, runs};
use rekindle_e2e::history::History;
use rekindle_e2e::work::{in_state, is_over, open_gate, time, until_file};
use rekindle_e2e::{World, eventually, process};
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
async fn one_that_was_paused_judges_nobody_by_its_own_absence() {
    let world = World::new();
    let mut server = world.server().flag("--heartbeat-interval", "200ms").start().await;
    let mut client = server.client();
    let shim = world.shim("a").flag("--heartbeat-timeout", "1s").start(&server);
    let before = client.until("a", runs(1)).await;

    server.pause();
    // Longer than the lease and the heartbeat timeout: the time is what is under test.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    server.resume();
    let paused = |history: &History| history.0.iter().any(|event| event.r#type() == EventType::ServerPaused);
    eventually("the event of the pause", async || {
        paused(&client.history().await).then_some(())
    })
    .await;
    let after = client.until("a", runs(1)).await;
    assert_eq!(after.process, before.process);
    let history = client.history().await;
    for kind in [EventType::AgentUnreachable, EventType::AgentCrashed] {
        assert_eq!(history.count("a", kind), 0, "{history:#?}");
    }
    assert_eq!(shim.lives().len(), 1);
}

#[tokio::test]
async fn one_that_was_paused_loses_no_work() {
    /// Longer than the time between two passes of the watchdog (10 s), than leases, and than a shim takes to give a link up.
    const PAUSE: Duration = Duration::from_secs(12);
    /// Over in the middle of it.
    const TIMEOUT: Duration = Duration::from_secs(5);
    const AGENTS: [&str; 3] = ["a", "b", "c"];
    let world = World::new();
    let server = world.server().flag("--adoption-window", "1s");
    let mut server = server.flag("--heartbeat-interval", "200ms").start().await;
    let mut client = server.client();
    let shim = |agent| {
        let shim = world
            .shim(agent)
            .flag("--max-concurrent", "3")
            .flag("--stop-grace", "0s");
        shim.per_message(&until_file(&world)).start(&server)
    };
    let _shims = AGENTS.map(shim);
    let mut given = Vec::new();
    for agent in AGENTS {
        client.until(agent, runs(1)).await;
        let meanwhile = client.give(agent, "meanwhile").await.name;
        let later = client.give(agent, "later").await.name;
        let never = client.give_for(agent, "never", TIMEOUT).await.name;
        let waits = client.give(agent, "later").await.name;
        given.push((meanwhile, later, never, waits));
    }
    for (meanwhile, later, never, _) in &given {
        for name in [meanwhile, later, never] {
            client.until_execution(name, in_state(ExecutionState::Running)).await;
        }
    }

    server.pause();
    open_gate(&world, "meanwhile");
    // The time is what is under test.
    tokio::time::sleep(PAUSE).await;
    let resumed = SystemTime::now();
    server.resume();
    client.until_told(EventType::ServerPaused).await;
    for (meanwhile, later, never, waits) in &given {
        let done = client.until_execution(meanwhile, is_over).await;
        assert_eq!(done.state(), ExecutionState::Succeeded, "{done:#?}");
        let over = client.until_execution(never, is_over).await;
        assert_eq!(over.state(), ExecutionState::TimedOut, "{over:#?}");
        for ended in [done, over] {
            assert!(time(ended.end_time) < resumed, "it ended when it did: {ended:#?}");
        }
        for name in [later, waits] {
            client.until_execution(name, in_state(ExecutionState::Running)).await;
        }
    }
    open_gate(&world, "later");
    for (meanwhile, later, _, waits) in &given {
        for name in [meanwhile, later, waits] {
            let done = client.until_execution(name, is_over).await;
            assert_eq!(
                (done.state(), done.attempt),
                (ExecutionState::Succeeded, 1),
                "{done:#?}"
            );
        }
    }
    let history = client.history().await;
    for kind in [
        EventType::ExecutionLost,
        EventType::ExecutionVerdictsHeld,
        EventType::ExecutionDisowned,
        EventType::AgentUnreachable,
        EventType::AgentCrashed,
    ] {
        assert_eq!(history.all(kind).len(), 0, "{}: {history:#?}", kind.as_str_name());
    }
}

#[tokio::test]
async fn server_and_shim_that_die_at_once_come_back_to_one_recovery() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;

    server.kill();
    shim.kill();
    shim.start_again();
    server.start_again().await;
    let agent = client.until("a", runs(2)).await;
    assert_eq!(
        agent.last_failure.map(|failure| failure.cause()),
        Some(FailureCause::ShimLost)
    );
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(1));
    client.history().await;
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
