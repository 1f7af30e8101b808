//! A child that dies comes back, until its budget is spent.

use rekindle::wire::v1::{AgentState, DesiredState, EventType, FailureCause};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::{World, process};
use rustix::process::Signal;

/// The first life ends by itself with code 3 as soon as it may; the second stays.
const FAILS_ONCE: &str = "[ \"$REKINDLE_INCARNATION\" -gt 1 ] && exec sleep 1000\necho last words >&2\nexit 3";

#[tokio::test]
async fn by_exit_code() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").script(FAILS_ONCE).start(&server);

    let agent = client.until("a", runs(2)).await;
    let failure = agent.last_failure.expect("the failure is kept");
    assert_eq!(failure.cause(), FailureCause::Exited);
    assert_eq!(failure.exit_code, Some(3));
    assert_eq!(failure.signal, None);
    assert_eq!(failure.incarnation, 1);
    assert_eq!(failure.stderr_tail.trim(), "last words");
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(1));
    assert_eq!(agent.process.map(|process| process.pid), Some(shim.life(2).await.pid));

    let history = client.history().await;
    for kind in [
        EventType::AgentCrashed,
        EventType::RecoveryStarted,
        EventType::RecoverySucceeded,
    ] {
        assert_eq!(history.count("a", kind), 1, "{kind:?}: {history:#?}");
    }
    shim.check_lives();
}

#[tokio::test]
async fn by_signal() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;

    process::signal(shim.life(1).await.pid, Signal::KILL);
    let failure = client
        .until("a", runs(2))
        .await
        .last_failure
        .expect("the failure is kept");
    assert_eq!(failure.cause(), FailureCause::Signaled);
    assert_eq!((failure.signal, failure.exit_code), (Some(9), None));
    client.history().await;
    shim.check_lives();
}

#[tokio::test]
async fn in_a_loop_is_terminated_and_stays_so_over_a_restart_of_the_server() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let shim = world
        .shim("a")
        .flag("--cooldown", "50ms")
        .script("exit 7")
        .start(&server);

    let agent = client.until("a", is(AgentState::Terminated)).await;
    assert_eq!(agent.incarnation, 4, "the first life, and three attempts");
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(3));
    assert_eq!(agent.process, None);
    let lives = shim.lives();
    assert_eq!(
        lives.iter().map(|life| life.incarnation).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );

    server.kill();
    server.start_again().await;
    let agent = client
        .until("a", |agent| {
            agent.connection.as_ref().is_some_and(|shim| shim.connected)
        })
        .await;
    assert_eq!(agent.state(), AgentState::Terminated);
    assert_eq!(client.history().await.count("a", EventType::RecoveryExhausted), 1);
    assert_eq!(shim.lives(), lives, "nothing was started");

    // An operator's Restart resets the budget: three attempts more.
    let answer = client.restart("a").await.expect("RestartAgent works from every state");
    assert_eq!(answer.previous_state(), AgentState::Terminated);
    let agent = client
        .until("a", |agent| is(AgentState::Terminated)(agent) && agent.incarnation > 4)
        .await;
    assert_eq!(agent.incarnation, 8);
    shim.check_lives();
}

#[tokio::test]
async fn between_attempts_the_count_survives_a_restart_of_the_server() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let mut watch = client.watch().await;
    let shim = world.shim("a").flag("--cooldown", "1s").script("exit 7").start(&server);

    // The first life, and two attempts; the third attempt waits for its time.
    for _ in 0..3 {
        watch.until("a", EventType::AgentCrashed).await;
    }
    server.kill();
    server.start_again().await;
    let agent = client.until("a", is(AgentState::Terminated)).await;
    assert_eq!(
        agent.incarnation, 4,
        "no attempt was forgotten, and none was made twice"
    );
    client.history().await;
    shim.check_lives();
}

#[tokio::test]
async fn a_clean_exit_is_no_crash() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").script("exit 0").start(&server);

    let agent = client.until("a", is(AgentState::Stopped)).await;
    assert_eq!(agent.desired_state(), DesiredState::Running);
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(0));
    assert_eq!(client.history().await.count("a", EventType::AgentCrashed), 0);
    assert_eq!(shim.lives().len(), 1);
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named_and_spends_the_budget() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let program = world.path("no-such-program").display().to_string();
    let _shim = world
        .shim("a")
        .flag("--cooldown", "50ms")
        .program(&program)
        .start(&server);

    let agent = client.until("a", is(AgentState::Terminated)).await;
    let failure = agent.last_failure.expect("the failure is kept");
    assert_eq!(failure.cause(), FailureCause::SpawnFailed);
    assert!(failure.message.contains(&program), "which path: {failure:?}");
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(3), "no hot loop");
    assert_eq!(client.history().await.count("a", EventType::AgentStarted), 0);
}

#[tokio::test]
async fn a_file_that_is_no_program_is_named() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let program = world.path("not-executable");
    std::fs::write(&program, "text").expect("the world's directory takes a file");
    let program = program.display().to_string();
    let _shim = world
        .shim("a")
        .flag("--max-attempts", "0")
        .program(&program)
        .start(&server);

    let failure = client
        .until("a", is(AgentState::Terminated))
        .await
        .last_failure
        .expect("the failure is kept");
    assert_eq!(failure.cause(), FailureCause::SpawnFailed);
    assert!(failure.message.contains(&program), "{failure:?}");
    assert!(
        failure.message.to_lowercase().contains("permission denied"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipes_delays_nothing_and_does_not_stay() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    // Both have the child's stdout and stderr; the second has left its process group and its session.
    let script = "[ \"$REKINDLE_INCARNATION\" -gt 1 ] && exec sleep 1000\n\
                  sleep 4242 &\n\
                  setsid sh -c 'echo > away; exec sleep 4243' &\n\
                  until [ -e away ]; do :; done\n\
                  exit 5";
    let shim = world.shim("a").script(script).start(&server);
    let mut watch = client.watch().await;
    let started = watch
        .until("a", EventType::AgentStarted)
        .await
        .time
        .expect("an event has a time");

    let failure = client
        .until("a", runs(2))
        .await
        .last_failure
        .expect("the failure is kept");
    assert_eq!(failure.exit_code, Some(5));
    let uptime = failure.uptime.expect("the evidence has the uptime");
    let told = failure.time.expect("a failure has a time").seconds - started.seconds;
    assert!(
        uptime.seconds < 4 && told < 4,
        "the verdict waited for the pipes: {uptime:?}, {told} s"
    );
    world.none_left("sleep 424").await;
    client.history().await;
    shim.check_lives();
}
